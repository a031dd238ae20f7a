-- Tables that grow: partitions ahead of time, and what has been kept long enough.
-- All of it within maintenance, by whoever runs that; nothing waits long for a lock.

CREATE FUNCTION journey._parts(parent text)
    RETURNS TABLE (name text, lower timestamptz, upper timestamptz)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC' SET datestyle = 'ISO, YMD'
AS $$
BEGIN
    RETURN QUERY
    SELECT x.name, x.bounds[1]::timestamptz, x.bounds[2]::timestamptz
    FROM (SELECT c.relname::text AS name, regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') AS bounds
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
          WHERE i.inhparent = format('journey.%I', parent)::regclass) x
    WHERE x.bounds IS NOT NULL
    ORDER BY 2;
END
$$;
COMMENT ON FUNCTION journey._parts(text) IS
    'Partitions of a table of journey that have two bounds, those that somebody else has made included; the default one has none.';

-- Rows came before their partition, as in a lap that ran before any maintenance.
-- What is read is read through the parent, whose grants count.
CREATE FUNCTION journey._own_part(child text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    g record;
BEGIN
    EXECUTE format('ALTER TABLE journey.%I OWNER TO journey_owner', child);
    FOR g IN
        SELECT DISTINCT a.grantee FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
        WHERE c.oid = format('journey.%I', child)::regclass AND a.grantee <> c.relowner
    LOOP
        IF g.grantee = 0 THEN
            EXECUTE format('REVOKE ALL ON TABLE journey.%I FROM PUBLIC', child);
        ELSE
            EXECUTE format('REVOKE ALL ON TABLE journey.%I FROM %I', child, pg_get_userbyid(g.grantee));
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._own_part(text) IS
    'A new partition belongs to journey_owner, whoever made it, and gives nobody a right, whatever default privileges say.';

CREATE FUNCTION journey._move_default(parent text, key text, child text, lower timestamptz, upper timestamptz) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    most constant integer := 10000; -- the table is locked meanwhile: some tenths of a second
    n integer;
BEGIN
    EXECUTE format('LOCK TABLE journey.%I IN ACCESS EXCLUSIVE MODE', parent || '_default');
    EXECUTE format('SELECT count(*) FROM (SELECT FROM journey.%I WHERE %I >= %L AND %2$I < %4$L LIMIT %5$s) x',
                   parent || '_default', key, lower, upper, most + 1) INTO n;
    IF n > most THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE journey.%I (LIKE journey.%I INCLUDING ALL)', child, parent);
    PERFORM journey._own_part(child);
    EXECUTE format('WITH d AS (DELETE FROM journey.%I WHERE %I >= %L AND %2$I < %4$L RETURNING *) INSERT INTO journey.%5$I SELECT * FROM d',
                   parent || '_default', key, lower, upper, child);
    EXECUTE format('ALTER TABLE journey.%I ATTACH PARTITION journey.%I FOR VALUES FROM (%L) TO (%L)', parent, child, lower, upper);
    RETURN true;
END
$$;
COMMENT ON FUNCTION journey._move_default(text, text, text, timestamptz, timestamptz) IS
    'Makes a partition for a range of which rows lie in the default one, and moves them; false when they are too many to do so beside running laps.';

CREATE FUNCTION journey._partitions(at timestamptz) RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC'
    SET client_min_messages = warning
    SET lock_timeout = '100ms'
AS $$
DECLARE
    made integer := 0;
    t record;
    day timestamptz;
    child text;
BEGIN
    FOR t IN SELECT * FROM (VALUES ('event', 'received_at'), ('decision', 'decided_at'), ('outbox_history', 'finished_at')) x(parent, key) LOOP
        FOR i IN 0..2 LOOP
            day := date_trunc('day', at) + i * interval '1 day';
            child := t.parent || '_' || to_char(day, 'YYYYMMDD');
            CONTINUE WHEN EXISTS (SELECT FROM journey._parts(t.parent) p WHERE p.lower <= day AND p.upper > day);
            BEGIN
                EXECUTE format('CREATE TABLE journey.%I PARTITION OF journey.%I FOR VALUES FROM (%L) TO (%L)',
                               child, t.parent, day, day + interval '1 day');
                -- an administrator may have called us; laps refuse beside what is not journey_owner's
                PERFORM journey._own_part(child);
                made := made + 1;
            EXCEPTION
                WHEN check_violation THEN
                    BEGIN
                        made := made + journey._move_default(t.parent, t.key, child, day, day + interval '1 day')::integer;
                    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
                        EXIT;
                    END;
                -- a partition of somebody's own covers part of the day
                WHEN invalid_object_definition OR duplicate_table THEN
                    NULL;
                -- somebody reads the table for long, and writers queue behind
                -- us: leave it alone until the next time
                WHEN lock_not_available OR deadlock_detected THEN
                    EXIT;
            END;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;
COMMENT ON FUNCTION journey._partitions(timestamptz) IS
    'Makes the daily partitions of event, decision and outbox_history for a day and the two after it, and moves up to 10,000 rows of such a day there that lie in the default one; never waits long for a lock.';

CREATE FUNCTION journey._setting_interval(setting text) RETURNS interval
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT make_interval(secs => s.setting::double precision) FROM pg_settings s WHERE s.name = _setting_interval.setting);
END
$$;
COMMENT ON FUNCTION journey._setting_interval(text) IS 'A setting in seconds, as an interval; null when there is none of that name.';

-- Caps count what attempt_log has, so it is kept for as long as the longest looks back.
CREATE FUNCTION journey._longest_cap() RETURNS interval
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN COALESCE((SELECT max((c ->> 'per')::interval) + interval '31 days'
                     FROM journey.document d, jsonb_array_elements(CASE jsonb_typeof(d.doc -> 'caps') WHEN 'array' THEN d.doc -> 'caps' ELSE '[]' END) c
                     WHERE d.kind IN ('policy', 'journey') AND d.state <> 'draft'), '0');
END
$$;
COMMENT ON FUNCTION journey._longest_cap() IS 'How far back permits are counted at most: the longest cap of any document, and a month for those that go by the calendar.';

CREATE FUNCTION journey._retained()
    RETURNS TABLE (name text, key text, partitioned boolean, setting text, keep interval, step text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT x.name, x.key, x.partitioned, x.setting,
           CASE WHEN x.keep > interval '0' THEN greatest(x.keep, CASE WHEN x.name IN ('attempt_log', 'permit_batch') THEN journey._longest_cap() END) END,
           CASE WHEN x.setting IN ('journey.dedupe_window', 'journey.outbox_event_retention') THEN 'hour' ELSE 'day' END
    FROM (SELECT v.*, journey._setting_interval(v.setting) AS keep
          FROM (VALUES ('event', 'received_at', true, 'journey.event_retention'),
                       ('quarantine', 'received_at', false, 'journey.event_retention'),
                       ('event_key', 'received_at', false, 'journey.dedupe_window'),
                       ('decision', 'decided_at', true, 'journey.decision_retention'),
                       ('outbox_history', 'finished_at', true, 'journey.decision_retention'),
                       ('attempt_log', 'granted_at', false, 'journey.decision_retention'),
                       ('permit_batch', 'permit_batch', false, 'journey.decision_retention'),
                       ('outbox_event', 'created_at', false, 'journey.outbox_event_retention')) v(name, key, partitioned, setting)) x;
END
$$;
COMMENT ON FUNCTION journey._retained() IS
    'Tables of which rows are dropped by age: by which column and setting, how long they are kept (null = for ever), and whether by whole hours or days.';

CREATE FUNCTION journey._forget_rows(name text, key text, before timestamptz, most integer) RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    n integer;
BEGIN
    EXECUTE format('DELETE FROM journey.%I WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM journey.%1$I t WHERE t.%I < %L%s LIMIT %s))',
                   name, key,
                   CASE key WHEN 'permit_batch' -- an id, which begins with its time
                            THEN rpad(lpad(to_hex((extract(epoch FROM before) * 1000)::bigint), 12, '0'), 32, '0')
                            ELSE before::text END,
                   CASE name WHEN 'attempt_log' THEN ' AND NOT EXISTS (SELECT FROM journey.outbox o WHERE o.action_id = t.action_id)' ELSE '' END,
                   most);
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;
COMMENT ON FUNCTION journey._forget_rows(text, text, timestamptz, integer) IS
    'Deletes rows of a table that are older, so many at most; returns how many. Permits of actions that are not final stay.';

CREATE FUNCTION journey._forget() RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    most constant integer := 20000; -- of a table at one visit
    at timestamptz := clock_timestamp();
    t record;
    cutoff timestamptz;
    n integer;
    total bigint := 0;
BEGIN
    -- under a test clock, which says nothing of how old anything is, all is kept
    IF (SELECT n.test_clock FROM journey.node n) IS NOT NULL THEN
        RETURN 0;
    END IF;
    FOR t IN SELECT r.* FROM journey._retained() r WHERE r.keep IS NOT NULL LOOP
        cutoff := date_trunc(t.step, at - t.keep);
        -- one pass a day: each looks at the whole table
        CONTINUE WHEN EXISTS (SELECT FROM journey.retention r WHERE r.name = t.name AND r.kept_since >= cutoff AND NOT r.under_way);
        n := journey._forget_rows(t.name || CASE WHEN t.partitioned THEN '_default' ELSE '' END, t.key, cutoff, most);
        total := total + n;
        INSERT INTO journey.retention AS r (name, kept_since, under_way, changed_at)
        VALUES (t.name, cutoff, n = most OR t.partitioned AND EXISTS (SELECT FROM journey._parts(t.name) p WHERE p.upper <= cutoff), at)
        ON CONFLICT ON CONSTRAINT retention_pkey DO UPDATE
        SET kept_since = greatest(r.kept_since, excluded.kept_since), under_way = excluded.under_way, changed_at = excluded.changed_at;
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION journey._forget() IS
    'Deletes a portion of the rows that have been kept for as long as their setting says, of tables without partitions and of default partitions, and writes down in journey.retention from when on each table is whole. Partitions go by _drop_parts(). Nothing under a test clock.';

CREATE FUNCTION journey._drop_parts() RETURNS integer
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET lock_timeout = '100ms'
AS $$
DECLARE
    dropped integer := 0;
    p record;
    needed_by text;
BEGIN
    FOR p IN SELECT r.name AS parent, x.name FROM journey.retention r, journey._parts(r.name) x
             WHERE r.under_way AND r.name IN (SELECT t.name FROM journey._retained() t WHERE t.partitioned AND t.keep IS NOT NULL)
               AND x.upper <= r.kept_since
             ORDER BY r.name, x.upper LOOP
        BEGIN
            EXECUTE format('DROP TABLE journey.%I', p.name);
            dropped := dropped + 1;
            UPDATE journey.incident i SET resolved_at = clock_timestamp()
            WHERE i.kind = 'retention' AND i.name = p.name AND i.resolved_at IS NULL;
        EXCEPTION
            -- somebody reads it: next time, for others would queue behind us
            WHEN lock_not_available OR deadlock_detected THEN
                EXIT;
            WHEN dependent_objects_still_exist THEN
                GET STACKED DIAGNOSTICS needed_by = PG_EXCEPTION_DETAIL;
                PERFORM journey._incident('retention', p.name, 'warning',
                                          format('the partition %s is old enough to be dropped, but is needed: %s', p.name, needed_by),
                                          format('Drop or change what needs it, or keep it for yourself: ALTER TABLE journey.%I DETACH PARTITION journey.%I.', p.parent, p.name),
                                          '{}');
        END;
    END LOOP;
    RETURN dropped;
END
$$;
COMMENT ON FUNCTION journey._drop_parts() IS
    'Drops partitions all of whose rows have been kept long enough, by what _forget() has written down; one that is in use is left for the next time, one that others need is an incident.';
