CREATE FUNCTION journey._workers()
    RETURNS TABLE (database text, state text, pid integer, started_at timestamptz, last_lap_at timestamptz,
                   laps bigint, events bigint, failures integer, next_try timestamptz, here boolean,
                   lap_since timestamptz, held_since timestamptz)
    LANGUAGE C VOLATILE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_workers';
COMMENT ON FUNCTION journey._workers() IS
    'State of the worker of each database that the launcher knows; no rows when journey is not preloaded.';

CREATE FUNCTION journey._preloaded() RETURNS boolean
    LANGUAGE C STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_preloaded';
COMMENT ON FUNCTION journey._preloaded() IS 'Is journey in shared_preload_libraries of this server?';

CREATE FUNCTION journey._unconsumed(OUT events bigint, OUT oldest timestamptz, OUT untold text[])
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    c journey.cursor;
BEGIN
    IF current_setting('transaction_isolation') = 'serializable' THEN
        RAISE EXCEPTION 'the inbox is not read at isolation level SERIALIZABLE'
            USING ERRCODE = 'active_sql_transaction',
                  DETAIL = 'Its predicate locks would fail the shop''s own transactions.',
                  HINT = 'Use READ COMMITTED or REPEATABLE READ.';
    END IF;
    SELECT * INTO c FROM journey.cursor;
    SELECT count(*), min(i.received_at), COALESCE(array_agg(i.action) FILTER (WHERE i.op = 'a'), '{}') INTO events, oldest, untold
    FROM (SELECT xact, seq, received_at, op, cols[2] AS action FROM journey.inbox_0
          UNION ALL SELECT xact, seq, received_at, op, cols[2] FROM journey.inbox_1
          UNION ALL SELECT xact, seq, received_at, op, cols[2] FROM journey.inbox_2
          UNION ALL SELECT xact, seq, received_at, op, NULL FROM journey.inbox_copy) i
    WHERE c.previous IS NOT NULL
      AND NOT pg_visible_in_snapshot(i.xact, c.previous)
      AND NOT (c.window_snapshot IS NOT NULL AND pg_visible_in_snapshot(i.xact, c.window_snapshot)
               AND i.seq <= c.window_seq);
END
$$;
COMMENT ON FUNCTION journey._unconsumed() IS
    'What waits in the inbox: rows not consumed, real time of the oldest, and the actions whose outcome is among them. 25001 at SERIALIZABLE.';

CREATE FUNCTION journey._inbox_state(OUT unconsumed bigint, OUT oldest timestamptz, OUT bytes bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    SELECT u.events, u.oldest INTO unconsumed, oldest FROM journey._unconsumed() u;
    bytes := pg_total_relation_size('journey.inbox_0') + pg_total_relation_size('journey.inbox_1')
           + pg_total_relation_size('journey.inbox_2') + pg_total_relation_size('journey.inbox_copy');
END
$$;
COMMENT ON FUNCTION journey._inbox_state() IS
    'What waits in the inbox: rows not consumed, real time of the oldest, bytes of all generations. 25001 at SERIALIZABLE.';

CREATE FUNCTION journey._progress()
    RETURNS TABLE (command text, name text, kind text, phase text, started_at timestamptz, blocks_total bigint,
                   blocks_done bigint, rows_appended bigint, holds_permits boolean, problem text, share numeric, people bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    (SELECT 'back-fill', format('%I.%I', a.rel_schema, a.rel_name), a.kind,
           CASE WHEN max(b.problem) IS NOT NULL THEN 'failing'
                WHEN sum(b.blocks_done) < sum(b.blocks_total) THEN 'reading' ELSE 'consuming' END,
           min(b.started_at), sum(b.blocks_total)::bigint, sum(b.blocks_done)::bigint, sum(b.rows_appended)::bigint,
           bool_or(b.holds_permits), max(b.problem), round(sum(b.blocks_done) / nullif(sum(b.blocks_total), 0), 3), NULL::bigint
    FROM journey.backfill b JOIN journey.attachment a ON a.attachment = b.attachment
    GROUP BY a.attachment ORDER BY a.attachment)
    UNION ALL
    (SELECT 'count', s.name, 'feature', CASE WHEN c.problem IS NOT NULL THEN 'failing' WHEN c.name IS NULL THEN 'waiting' ELSE 'counting' END,
           c.started_at, NULL, NULL, NULL, false, c.problem, round(coalesce(c.at_bucket, 0) / 1024.0, 3), coalesce(c.people, 0)
    FROM journey._feature_states() s LEFT JOIN journey.feature_count c ON c.name = s.name AND c.finished_at IS NULL
    WHERE s.counting AND s.broken IS NULL ORDER BY s.name COLLATE "C");
END
$$;
COMMENT ON FUNCTION journey._progress() IS 'The rows of the view journey.stat_progress.';

CREATE FUNCTION journey._strangers() RETURNS TABLE (message text, hint text, of_owner boolean)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT format('the table journey.%I belongs to %I, not to journey_owner', c.relname, pg_get_userbyid(c.relowner)),
           format('ALTER TABLE journey.%I OWNER TO journey_owner;', c.relname), true
    FROM pg_class c
    WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p') AND c.relowner <> 'journey_owner'::regrole
    UNION ALL
    SELECT format('the table journey.%I has the trigger %I, which is not of journey', c.relname, t.tgname),
           format('DROP TRIGGER %I ON journey.%I;', t.tgname, c.relname), false
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = 'journey'::regnamespace AND NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled <> 'D'
      AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                      WHERE d.classid = 'pg_proc'::regclass AND d.objid = t.tgfoid AND d.deptype = 'e'
                        AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'journey')
    UNION ALL
    SELECT format('the table journey.%I has the rule %I', c.relname, r.rulename), format('DROP RULE %I ON journey.%I;', r.rulename, c.relname), false
    FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
    WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p') AND r.ev_enabled <> 'D'
    UNION ALL
    -- a function or operator that fits a call of ours better than the system's own would run in its place
    SELECT format('schema journey holds the %s of %I', o.what, o.owner),
           format('DROP %s or ALTER it with SET SCHEMA; REVOKE CREATE ON SCHEMA journey FROM %I;', o.what, o.owner), false
    FROM journey._objects_of_others() o
    WHERE o.what ~ '^(function|procedure|aggregate|operator|type) ' AND NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = o.owner);
END
$$;
COMMENT ON FUNCTION journey._strangers() IS
    'What of somebody else''s hangs on tables of journey or could stand for its functions, so that no lap runs beside it: another owner, a trigger, a rule, a function in its schema; and the command that takes it away.';

CREATE FUNCTION journey._views_of_others() RETURNS TABLE (message text, hint text, owner name)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT format('the view journey.%I belongs to %I, not to journey_owner', c.relname, pg_get_userbyid(c.relowner)),
           format('ALTER VIEW journey.%I OWNER TO journey_owner;', c.relname), pg_get_userbyid(c.relowner)
    FROM pg_class c
    WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind = 'v' AND c.relowner <> 'journey_owner'::regrole
      AND c.relname IN (SELECT m[1] FROM regexp_matches(journey._ddl('views'), '^CREATE VIEW journey\.(\w+)', 'gn') m)
    ORDER BY c.relname;
END
$$;
COMMENT ON FUNCTION journey._views_of_others() IS
    'Views under the names of ours that belong to another, as after pg_restore --no-owner, and the command that gives them back.';

CREATE FUNCTION journey._health_worker(state text)
    RETURNS TABLE (topic text, status text, detail text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    w record;
BEGIN
    topic := 'worker';
    SELECT * INTO w FROM journey._workers() WHERE here;
    IF pg_is_in_recovery() THEN
        status := 'ok';
        detail := 'this is a standby: laps run on the primary';
        hint := CASE WHEN journey._preloaded() THEN 'After a promotion the worker comes by itself.'
                     ELSE 'Preload journey here, too, or after a promotion no worker comes.' END;
    ELSIF NOT journey._preloaded() THEN
        status := 'warning';
        detail := 'no worker: journey is not in shared_preload_libraries';
        hint := 'Preload it and restart, or let a scheduler call journey.run_once().';
    ELSIF w.pid IS NULL THEN
        status := CASE WHEN state = 'adopted' THEN 'error' ELSE 'ok' END;
        detail := 'no worker is running: ' || CASE WHEN NOT current_setting('journey.worker')::boolean THEN 'journey.worker is off'
                                                   WHEN w.state = 'no room' THEN 'no room: as many databases as the launcher serves have journey, or had it'
                                                   ELSE coalesce(w.state, 'unknown') END;
        hint := CASE w.state WHEN 'no slot' THEN 'Raise max_worker_processes.'
                             WHEN 'no room' THEN 'Let a scheduler call journey.run_once() in this database, or drop a database that needs journey no more.'
                             ELSE CASE WHEN current_setting('journey.worker')::boolean THEN 'Look into the server''s log.'
                                       ELSE 'Turn journey.worker on in the configuration and reload it, or let a scheduler call journey.run_once().' END END;
    ELSIF w.held_since IS NOT NULL THEN
        status := 'error';
        detail := format('pid %s has waited for %s for a lock that is held by %s', w.pid,
                         date_trunc('second', clock_timestamp() - w.held_since),
                         coalesce('pid ' || nullif(array_to_string(pg_blocking_pids(w.pid), ', '), ''), 'somebody who has just let go'));
        hint := 'No event is taken in meanwhile. Look the pid up in pg_stat_activity (0 is a prepared transaction, see pg_prepared_xacts) and let it commit, or end it with pg_terminate_backend().';
    ELSE
        status := 'ok';
        detail := format('pid %s, %s laps, last %s', w.pid, w.laps,
                         coalesce(date_trunc('second', clock_timestamp() - w.last_lap_at)::text || ' ago', 'never'));
        hint := NULL;
    END IF;
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION journey._health_worker(text) IS 'Rows of the view journey.health: the worker.';

CREATE FUNCTION journey._health_node(state text)
    RETURNS TABLE (topic text, status text, detail text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    i record;
BEGIN
    topic := 'mode';
    detail := journey.mode();
    IF state <> 'adopted' THEN
        status := CASE WHEN state LIKE 'the data tables%' THEN 'error' ELSE 'warning' END;
        detail := detail || ': ' || state;
        hint := journey._node_hint(state);
    ELSE
        status := 'ok';
        hint := CASE detail WHEN 'off' THEN 'journey.resume() goes live; journey.sandbox() contacts test profiles only.' END;
    END IF;
    RETURN NEXT;

    RETURN QUERY SELECT * FROM journey._health_worker(state);

    topic := 'inbox';
    IF current_setting('transaction_isolation') = 'serializable' THEN
        status := 'warning';
        detail := 'not read at isolation level SERIALIZABLE';
        hint := 'Ask again at READ COMMITTED.';
    ELSE
        SELECT * INTO i FROM journey._inbox_state();
        status := CASE WHEN i.oldest < clock_timestamp() - make_interval(secs =>
                       extract(epoch FROM current_setting('journey.max_permit_lag')::interval)) THEN 'error' ELSE 'ok' END;
        detail := format('%s events wait%s, %s', i.unconsumed,
                         coalesce(', the oldest for ' || date_trunc('second', clock_timestamp() - i.oldest)::text, ''),
                         pg_size_pretty(i.bytes));
        hint := CASE status WHEN 'error' THEN 'Permits that an event could end answer stale_data: see to the worker, or run journey.run_once().' END;
    END IF;
    RETURN NEXT;

    FOR topic, status, detail, hint IN
        SELECT 'tables', 'error', s.message || ': it would run with the rights of journey_owner, so no lap runs', s.hint
        FROM journey._strangers() s
    LOOP
        RETURN NEXT;
    END LOOP;

    FOR topic, status, detail, hint IN
        SELECT 'tables', 'warning', format('%s: it reads with the rights of %I, and migrate() refuses beside it', v.message, v.owner), v.hint
        FROM journey._views_of_others() v
    LOOP
        RETURN NEXT;
    END LOOP;

    -- a few minutes are a dump or a report
    FOR topic, status, detail, hint IN
        SELECT 'rotation', 'warning',
               format('%s (%s) has been read and cannot be emptied since %s: %s needs an older snapshot', b.name,
                      pg_size_pretty(b.bytes), date_trunc('second', b.drained_at), b.blocked_by),
               CASE WHEN b.blocked_by LIKE 'pid %' THEN format('Have it end its transaction, or SELECT pg_terminate_backend(%s).', substr(b.blocked_by, 5))
                    WHEN b.blocked_by LIKE 'prepared %' THEN 'COMMIT PREPARED or ROLLBACK PREPARED.'
                    ELSE 'See whether its consumer still runs; if not, SELECT pg_drop_replication_slot().' END
        FROM journey._inbox() b
        WHERE b.blocked_by IS NOT NULL AND b.drained_at < clock_timestamp() - interval '10 minutes'
    LOOP
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._health_node(text) IS 'Rows of the view journey.health: mode, worker, inbox, and what is not ours in our schema.';

CREATE FUNCTION journey._health_shop(state text)
    RETURNS TABLE (topic text, status text, detail text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    IF state = 'adopted' AND (SELECT x.test_clock FROM journey.node x) IS NULL THEN
        FOR topic, status, detail, hint IN
            SELECT 'partitions', 'warning', format('%s has no partition of today: what comes lies in %1$s_default', t.name),
                   'Maintenance makes them: see to the worker, or have a scheduler call journey.maintain(). When most of the day lies there already, the next one has its own.'
            FROM journey._retained() t
            WHERE t.partitioned AND NOT EXISTS (SELECT FROM journey._parts(t.name) p
                                                WHERE clock_timestamp() >= p.lower AND clock_timestamp() < p.upper)
        LOOP
            RETURN NEXT;
        END LOOP;
    END IF;

    FOR topic, status, detail, hint IN
        SELECT 'incident', CASE x.severity WHEN 'error' THEN 'error' ELSE 'warning' END,
               format('%s %s: %s (%s times)', x.kind, x.name, x.message, x.count), x.hint
        FROM journey.incident x WHERE x.resolved_at IS NULL
        ORDER BY x.last_at DESC
    LOOP
        RETURN NEXT;
    END LOOP;

    FOR topic, status, detail, hint IN
        SELECT 'attachment', 'error', format('%I.%I as %s: %s', a.rel_schema, a.rel_name, a.kind, a.broken),
               COALESCE((SELECT x.hint FROM journey.incident x
                         WHERE x.kind = 'stock_unreadable' AND x.message = a.broken AND x.detail ->> 'attachment' = a.attachment::text),
                        'Attach the table again with a mapping that fits. One that is gone for good: '
                        || format('SELECT journey.detach(%L).', format('%I.%I', a.rel_schema, a.rel_name)))
        FROM journey.attachment a WHERE a.broken IS NOT NULL AND a.detached_at IS NULL
    LOOP
        RETURN NEXT;
    END LOOP;

    FOR topic, status, detail, hint IN
        SELECT 'attachment', 'warning',
               format('%I.%I as %s: rows that were there before it was attached have not been read', a.rel_schema, a.rel_name, a.kind),
               format('SELECT * FROM journey.reconcile(%L);', format('%I.%I', a.rel_schema, a.rel_name))
        FROM journey.attachment a
        WHERE a.backfilled_at IS NULL AND a.broken IS NULL AND a.detached_at IS NULL
          AND NOT EXISTS (SELECT FROM journey.backfill b WHERE b.attachment = a.attachment)
    LOOP
        RETURN NEXT;
    END LOOP;

    FOR topic, status, detail, hint IN
        SELECT 'back-fill', CASE WHEN p.problem IS NULL THEN 'warning' ELSE 'error' END,
               format('%s as %s: %s of %s blocks read since %s', p.name, p.kind, p.blocks_done, p.blocks_total, date_trunc('second', p.started_at))
               || CASE WHEN p.holds_permits THEN '; permits that an event could end wait for the rest' ELSE '' END
               || COALESCE('. ' || p.problem, ''),
               CASE WHEN p.problem IS NULL THEN 'The laps go on by themselves; journey.stat_progress shows how far.'
                    ELSE format('Mend the cause: it is tried again every minute. To do without its history: SELECT journey.detach(%L), then attach it with backfill => false.', p.name) END
        FROM journey._progress() p WHERE p.command = 'back-fill'
    LOOP
        RETURN NEXT;
    END LOOP;

    FOR topic, status, detail, hint IN
        SELECT 'feature', 'error', format('%s cannot be counted, and is unknown: %s', p.name, p.problem),
               'Mend the cause: it is tried again every minute.'
        FROM journey._progress() p WHERE p.command = 'count' AND p.problem IS NOT NULL
    LOOP
        RETURN NEXT;
    END LOOP;

    FOR topic, status, detail, hint IN
        SELECT 'source', 'warning',
               format('%s has sent nothing for %s; its max_lag is %s', s.source,
                      date_trunc('second', clock_timestamp() - s.last_received_at), s.max_lag),
               'See whether it still sends and its events arrive; max_lag is in its source document.'
        FROM journey.source s
        WHERE clock_timestamp() - s.last_received_at > s.max_lag
        ORDER BY s.source
    LOOP
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._health_shop(text) IS 'Rows of the view journey.health: what comes in, and where from.';

CREATE FUNCTION journey._health_work()
    RETURNS TABLE (topic text, status text, detail text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    n bigint;
BEGIN
    FOR topic, status, detail, hint IN
        SELECT 'document', 'error', format('%s "%s" version %s is stored, but cannot be read: %s', x.kind, x.name, x.version, x.fault),
               CASE x.kind WHEN 'policy' THEN 'What it forbids is not known, so nothing but transactional messages is decided or permitted'
                           WHEN 'rule_set' THEN 'What it forbids is not known, so nothing but transactional messages is decided'
                           WHEN 'channel' THEN 'Nothing is decided or permitted for this channel'
                           ELSE 'It counts for nothing' END
               || format('. Apply a document that passes journey.lint(), or SELECT journey.retire(%L, %L).', x.kind, x.name)
        FROM (SELECT d.kind, d.name, d.version, journey._unreadable(d.kind, d.name, d.doc) AS fault
              FROM journey.document d WHERE d.state = 'active') x
        WHERE x.fault IS NOT NULL ORDER BY x.kind, x.name
    LOOP
        RETURN NEXT;
    END LOOP;

    SELECT count(*) INTO n FROM journey.quarantine q WHERE q.replayed_at IS NULL;
    topic := 'quarantine';
    status := CASE WHEN n > 0 THEN 'warning' ELSE 'ok' END;
    detail := format('%s messages set aside', n);
    hint := CASE WHEN n > 0 THEN 'Read journey.quarantine; after mending, run journey.replay_quarantine()'
        || CASE WHEN EXISTS (SELECT FROM journey.quarantine q WHERE q.replayed_at IS NULL AND q.origin = 'capture')
                THEN ', and for captured rows journey.reconcile(), which reads their tables again.' ELSE '.' END END;
    RETURN NEXT;

    SELECT count(*) INTO n FROM journey.outbox_history o
    WHERE o.status = 'dead' AND o.finished_at > journey.clock() - interval '1 day';
    topic := 'dead letters';
    status := CASE WHEN n > 0 THEN 'warning' ELSE 'ok' END;
    detail := format('%s in the last day', n);
    hint := CASE WHEN n > 0 THEN 'Read the error in journey.outbox_history; journey.requeue() tries again.' END;
    RETURN NEXT;

    SELECT count(*), count(*) || ' on hold'
               || coalesce(', the oldest for ' || date_trunc('second', journey.clock() - min(o.granted_at))::text, '')
    INTO n, detail
    FROM journey.outbox o WHERE o.status = 'unknown' AND o.reap_at IS NULL;
    topic := 'unknown outcomes';
    status := CASE WHEN n > 0 THEN 'warning' ELSE 'ok' END;
    hint := CASE WHEN n > 0 THEN 'Look at the provider what became of those with status unknown in journey.outbox, then say so: journey.resolve(action_id, ''sent''), ''failed'', or ''retry''.' END;
    RETURN NEXT;

    FOR topic, status, detail, hint IN
        SELECT 'pause', 'warning', format('%s since %s: %s', CASE p.what WHEN 'all' THEN 'everything' ELSE p.what || ' ' || p.name END,
                                          p.paused_at, coalesce(p.reason, 'no reason given')),
               CASE p.what WHEN 'all' THEN 'SELECT journey.unpause();' ELSE format('SELECT journey.unpause(%L, %L);', p.what, p.name) END
        FROM journey.pause p
    LOOP
        RETURN NEXT;
    END LOOP;

    FOR topic, status, detail, hint IN
        SELECT 'publication', 'warning', p.message, p.hint FROM journey._publications() p
    LOOP
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._health_work() IS 'Rows of the view journey.health: documents, what was set aside, and what goes out.';

CREATE FUNCTION journey._health()
    RETURNS TABLE (topic text, status text, detail text, hint text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    state text := journey._node_state();
BEGIN
    RETURN QUERY SELECT * FROM journey._health_node(state);
    -- the rest stands in the tables, which may be another's after pg_restore --no-owner
    IF to_regclass('journey.schema_version') IS NULL OR EXISTS (SELECT FROM journey._strangers() s WHERE s.of_owner) THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT * FROM journey._health_shop(state);
    RETURN QUERY SELECT * FROM journey._health_work();
END
$$;
COMMENT ON FUNCTION journey._health() IS 'The rows of the view journey.health.';
