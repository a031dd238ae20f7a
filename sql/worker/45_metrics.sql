-- Figures for monitoring: what is counted already, and short looks at what is small.

-- By the indexes on xact: costs what waits, not what the inbox holds.
CREATE FUNCTION journey._waiting(OUT events bigint, OUT oldest timestamptz)
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    c journey.cursor;
    branch record;
    more bigint;
    first timestamptz;
BEGIN
    events := 0;
    IF current_setting('transaction_isolation') = 'serializable' THEN
        events := NULL;
        RETURN;
    END IF;
    SELECT * INTO c FROM journey.cursor;
    FOR branch IN
        SELECT t.name, f.cond, x.cond AS since
        FROM (VALUES ('inbox_0'), ('inbox_1'), ('inbox_2'), ('inbox_copy')) t(name)
        CROSS JOIN (VALUES ('i.fence IS NULL'), ('i.fence IS NOT NULL')) f(cond)
        CROSS JOIN (VALUES ('i.xact >= pg_snapshot_xmax($1)'), ('i.xact = ANY (ARRAY(SELECT pg_snapshot_xip($1)))')) x(cond)
        WHERE c.previous IS NOT NULL
    LOOP
        EXECUTE format('SELECT count(*), min(i.received_at) FROM journey.%I i WHERE %s AND %s'
                       ' AND ($2 IS NULL OR NOT pg_visible_in_snapshot(i.xact, $2) OR i.seq > $3)', branch.name, branch.cond, branch.since)
        INTO more, first USING c.previous, c.window_snapshot, c.window_seq;
        events := events + more;
        oldest := least(oldest, first);
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._waiting() IS
    'What waits in the inbox: rows not consumed, and real time of the oldest. Null at SERIALIZABLE, where the inbox is not read.';

CREATE FUNCTION journey._metrics_of_laps() RETURNS TABLE (name text, labels jsonb, value double precision)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    w record;
    u record;
    at timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY SELECT 'journey_mode', jsonb_build_object('mode', m.mode), (journey.mode() = m.mode)::integer::double precision
                 FROM (VALUES ('off'), ('test'), ('sandbox'), ('live')) m(mode);
    RETURN QUERY SELECT 'journey_adopted', '{}'::jsonb, (journey._node_state() = 'adopted')::integer::double precision;
    SELECT * INTO w FROM journey._workers() x WHERE x.here;
    RETURN QUERY
    SELECT v.name, '{}'::jsonb, v.value
    FROM (VALUES ('journey_worker_running', (w.pid IS NOT NULL)::integer::double precision),
                 ('journey_worker_laps_total', w.laps::double precision),
                 ('journey_worker_events_total', w.events::double precision),
                 ('journey_worker_failures', w.failures::double precision),
                 ('journey_worker_held_up_seconds', CASE WHEN w.here THEN COALESCE(extract(epoch FROM at - w.held_since), 0) END::double precision),
                 ('journey_cursor_age_seconds', (SELECT extract(epoch FROM at - c.moved_at)::double precision FROM journey.cursor c))) v(name, value)
    WHERE v.value IS NOT NULL;
    SELECT * INTO u FROM journey._waiting();
    RETURN QUERY
    SELECT v.name, '{}'::jsonb, v.value
    FROM (VALUES ('journey_inbox_events', u.events::double precision),
                 ('journey_inbox_lag_seconds', CASE WHEN u.events IS NOT NULL THEN COALESCE(extract(epoch FROM at - u.oldest), 0) END::double precision)) v(name, value)
    WHERE v.value IS NOT NULL;
    RETURN QUERY
    SELECT 'journey_table_bytes', jsonb_build_object('table', t.name),
           sum(pg_total_relation_size(p.relid))::double precision
    FROM (VALUES ('event'), ('decision'), ('outbox'), ('outbox_history'), ('attempt_log'), ('inbox_0'), ('inbox_1'), ('inbox_2'), ('inbox_copy')) t(name)
    CROSS JOIN LATERAL pg_partition_tree(to_regclass('journey.' || t.name)) p
    GROUP BY t.name;
END
$$;
COMMENT ON FUNCTION journey._metrics_of_laps() IS 'Part of metrics: mode, worker, inbox, sizes.';

CREATE FUNCTION journey._metrics_of_actions() RETURNS TABLE (name text, labels jsonb, value double precision)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    at timestamptz := journey.clock();
BEGIN
    RETURN QUERY
    SELECT v.name, jsonb_build_object('journey', s.journey), v.value::double precision
    FROM (SELECT d.journey, sum(d.entered) AS entered, sum(d.not_entered) AS not_entered, sum(d.ended) AS ended, sum(d.held_out) AS held_out,
                 sum(d.enqueued) AS enqueued, sum(d.withheld) AS withheld, sum(d.cancelled) AS cancelled, sum(d.sent) AS sent,
                 sum(d.stopped) AS stopped, sum(d.dead) AS dead, sum(d.unknown) AS unknown
          FROM journey.journey_day d WHERE NOT d.test GROUP BY d.journey) s
    CROSS JOIN LATERAL (VALUES ('journey_entered_total', s.entered), ('journey_not_entered_total', s.not_entered), ('journey_ended_total', s.ended),
                               ('journey_held_out_total', s.held_out), ('journey_enqueued_total', s.enqueued), ('journey_withheld_total', s.withheld),
                               ('journey_cancelled_total', s.cancelled), ('journey_sent_total', s.sent), ('journey_stopped_total', s.stopped),
                               ('journey_dead_total', s.dead), ('journey_unknown_total', s.unknown)) v(name, value);
    RETURN QUERY
    WITH live AS (SELECT o.channel, o.status, count(*) AS n,
                         min(o.claim_at) FILTER (WHERE o.status = 'pending') AS oldest
                  FROM journey.outbox o GROUP BY o.channel, o.status)
    SELECT 'journey_outbox_actions', jsonb_build_object('channel', l.channel, 'status', l.status), l.n::double precision FROM live l
    UNION ALL
    SELECT 'journey_outbox_overdue_seconds', jsonb_build_object('channel', l.channel), greatest(0, extract(epoch FROM at - l.oldest))::double precision
    FROM live l WHERE l.oldest IS NOT NULL;
    RETURN QUERY
    SELECT 'journey_timers_due', '{}'::jsonb, count(*)::double precision FROM journey.timer t WHERE t.wake_at <= at;
    RETURN QUERY
    SELECT 'journey_incidents_open', jsonb_build_object('kind', i.kind, 'severity', i.severity), count(*)::double precision
    FROM journey.incident i WHERE i.resolved_at IS NULL GROUP BY i.kind, i.severity;
    RETURN QUERY
    SELECT 'journey_quarantined', '{}'::jsonb, count(*)::double precision FROM journey.quarantine q WHERE q.replayed_at IS NULL;
    RETURN QUERY
    SELECT 'journey_paused', jsonb_build_object('what', p.what, 'name', p.name), 1::double precision FROM journey.pause p;
    RETURN QUERY
    SELECT 'journey_source_silent_seconds', jsonb_build_object('source', s.source),
           extract(epoch FROM clock_timestamp() - s.last_received_at)::double precision
    FROM journey.source s WHERE s.last_received_at IS NOT NULL;
END
$$;
COMMENT ON FUNCTION journey._metrics_of_actions() IS 'Part of metrics: journeys, outbox, timers, what wants attention.';

CREATE FUNCTION journey._metric_kinds() RETURNS TABLE (name text, kind text, help text)
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY VALUES
        ('journey_mode', 'gauge', '1 for the mode that holds.'),
        ('journey_adopted', 'gauge', '1 when both keys fit.'),
        ('journey_worker_running', 'gauge', '1 while this database has a worker.'),
        ('journey_worker_laps_total', 'counter', 'Laps of the worker since the server started.'),
        ('journey_worker_events_total', 'counter', 'Events that it has taken in since the server started.'),
        ('journey_worker_failures', 'gauge', 'Failures of the worker in a row.'),
        ('journey_worker_held_up_seconds', 'gauge', 'How long its laps have waited in vain for a lock.'),
        ('journey_cursor_age_seconds', 'gauge', 'Since the last lap that took something in or looked whether there is anything. There is none while nobody commits anything: alert on journey_inbox_lag_seconds.'),
        ('journey_inbox_events', 'gauge', 'Events that no lap has taken in yet.'),
        ('journey_inbox_lag_seconds', 'gauge', 'Age of the oldest of them; above journey.max_permit_lag permits wait.'),
        ('journey_table_bytes', 'gauge', 'Size of a table with its indexes and partitions.'),
        ('journey_entered_total', 'counter', 'Enrollments.'),
        ('journey_not_entered_total', 'counter', 'Events whose entry condition did not hold.'),
        ('journey_ended_total', 'counter', 'Enrollments that ended.'),
        ('journey_held_out_total', 'counter', 'Enrollments that ended in the control group.'),
        ('journey_enqueued_total', 'counter', 'Actions put into the outbox.'),
        ('journey_withheld_total', 'counter', 'Sends that were decided against.'),
        ('journey_cancelled_total', 'counter', 'Actions that ended with their enrollment, as by a purchase.'),
        ('journey_sent_total', 'counter', 'Actions sent.'),
        ('journey_stopped_total', 'counter', 'Actions refused at claim or permit, or expired.'),
        ('journey_dead_total', 'counter', 'Actions given up.'),
        ('journey_unknown_total', 'counter', 'Actions put on hold with an unknown outcome.'),
        ('journey_outbox_actions', 'gauge', 'Actions that are not final.'),
        ('journey_outbox_overdue_seconds', 'gauge', 'For how long the oldest pending action might have been claimed.'),
        ('journey_timers_due', 'gauge', 'Waits that are over and not taken up yet.'),
        ('journey_incidents_open', 'gauge', 'Open incidents.'),
        ('journey_quarantined', 'gauge', 'Messages set aside and not replayed.'),
        ('journey_paused', 'gauge', '1 for each pause.'),
        ('journey_source_silent_seconds', 'gauge', 'Since a source last sent something.');
END
$$;
COMMENT ON FUNCTION journey._metric_kinds() IS 'Name, type and help of each metric.';

CREATE FUNCTION journey._metrics() RETURNS TABLE (name text, labels jsonb, value double precision, kind text, help text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT m.name, m.labels, m.value, k.kind, k.help
    FROM (SELECT * FROM journey._metrics_of_laps() UNION ALL SELECT * FROM journey._metrics_of_actions()) m
    JOIN journey._metric_kinds() k ON k.name = m.name
    ORDER BY m.name, m.labels;
END
$$;
COMMENT ON FUNCTION journey._metrics() IS 'The rows of the view journey.metrics.';

CREATE FUNCTION journey.metrics_text() RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN (
        WITH line AS (
            SELECT m.name, m.kind, m.help,
                   string_agg(m.name || COALESCE('{' || l.said || '}', '') || ' ' || m.value, E'\n' ORDER BY m.labels) AS samples
            FROM journey._metrics() m
            CROSS JOIN LATERAL (SELECT string_agg(format('%s="%s"', x.key, replace(replace(replace(x.value, '\', '\\'), '"', '\"'), E'\n', '\n')), ',' ORDER BY x.key) AS said
                                FROM jsonb_each_text(m.labels) x) l
            GROUP BY m.name, m.kind, m.help)
        SELECT string_agg(format(E'# HELP %1$s %2$s\n# TYPE %1$s %3$s\n%4$s\n', l.name, l.help, l.kind, l.samples), '' ORDER BY l.name) FROM line l);
END
$$;
COMMENT ON FUNCTION journey.metrics_text() IS 'The metrics as Prometheus reads them, for a file that node_exporter picks up or for whatever answers its requests.';
