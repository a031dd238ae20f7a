CREATE FUNCTION journey._adopt() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_adopt';
COMMENT ON FUNCTION journey._adopt() IS
    'Opens a new incarnation for this cluster and database and gives the cursor a fresh start. Part of adopt().';

CREATE FUNCTION journey._set_mode(wanted text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    UPDATE journey.node
    SET mode = wanted, changed_at = clock_timestamp(),
        test_clock = CASE WHEN wanted = 'test' THEN test_clock END,
        site = CASE WHEN site = '' THEN current_setting('journey.site') ELSE site END;
    PERFORM journey._nudge();
END
$$;
COMMENT ON FUNCTION journey._set_mode(text) IS 'Writes the mode; the callers have checked that it may be entered.';

CREATE FUNCTION journey._nudge() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_nudge';
COMMENT ON FUNCTION journey._nudge() IS 'Wakes the launcher and this database''s worker when the transaction has committed.';

CREATE FUNCTION journey._node_hint(state text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE WHEN state = 'not installed' THEN 'Run journey.install(), then journey.adopt().'
                WHEN state LIKE 'the data tables are not of version %'
                THEN 'Run ALTER EXTENSION journey UPDATE, then journey.migrate(). A server that has the old library preloaded has to be restarted first.'
                ELSE 'If this database may contact customers, run journey.adopt().' END;
END
$$;
COMMENT ON FUNCTION journey._node_hint(text) IS 'What to do about a _node_state() other than adopted.';

CREATE FUNCTION journey._require_adopted() RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    state text := journey._node_state();
BEGIN
    IF state <> 'adopted' THEN
        RAISE EXCEPTION 'this database is not adopted: %', state
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'A restored copy, a clone and a fresh install stay silent until somebody says that this is the real one.',
                  HINT = journey._node_hint(state);
    END IF;
END
$$;
COMMENT ON FUNCTION journey._require_adopted() IS 'Raises 55000 with the reason unless this database is adopted.';

CREATE FUNCTION journey._require_reconciled() RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    open text;
BEGIN
    SELECT string_agg(format('%s: %s', i.name, i.message), '; ' ORDER BY i.name) INTO open
    FROM journey.incident i WHERE i.kind = 'reconcile_failed' AND i.resolved_at IS NULL;
    IF open IS NOT NULL THEN
        RAISE EXCEPTION 'adopt() could not read every attached table'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = open,
                  HINT = 'An order in them may be the one that ends a reminder. Mend the cause and run journey.reconcile() for each; journey.detach(name) gives one up that is gone for good.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey._require_reconciled() IS 'Raises 55000 while an incident reconcile_failed is open.';

CREATE FUNCTION journey.adopt() RETURNS TABLE (name text, value text)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    a record;
    v record;
    stranger record;
BEGIN
    IF to_regclass('journey.schema_version') IS NULL THEN
        RAISE EXCEPTION 'journey is not installed in this database'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run journey.install() first.';
    END IF;
    SELECT s.message, s.hint INTO stranger FROM journey._strangers() s LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'this database cannot be adopted: %', stranger.message
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = stranger.hint;
    END IF;
    SELECT e.extversion AS code, (SELECT s.version FROM journey.schema_version s ORDER BY s.installed_at DESC LIMIT 1) AS tables
    INTO v FROM pg_extension e WHERE e.extname = 'journey';
    IF v.tables IS DISTINCT FROM v.code THEN
        RAISE EXCEPTION 'the data tables are of version %, the extension of version %', coalesce(v.tables, 'none'), v.code
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run journey.migrate() first.';
    END IF;
    -- each table is read behind a savepoint, which would make this a failure of each
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'adopt() needs isolation level READ COMMITTED'
            USING ERRCODE = 'active_sql_transaction',
                  DETAIL = 'It reads the attached tables, and an older snapshot would miss what has been committed since.',
                  HINT = 'Run it in a transaction of its own, at READ COMMITTED.';
    END IF;
    PERFORM journey._adopt();
    -- who asked elsewhere to be erased: by another cluster's ids nobody can tell what came before it
    UPDATE journey.person_wish SET xact = pg_current_xact_id();
    -- Orders whose events stood in the inbox that no dump carries: read them again from the shop's tables.
    PERFORM journey._attach_follow();
    FOR a IN
        SELECT x.attachment, format('%I.%I', x.rel_schema, x.rel_name) AS rel, x.kind FROM journey.attachment x
        WHERE x.detached_at IS NULL ORDER BY array_position(journey._attach_kinds(), x.kind), x.attachment
    LOOP
        name := a.rel;
        UPDATE journey.node SET adopted_xid = pg_current_xact_id();
        BEGIN
            value := journey._reconcile(a.attachment) || ' rows as ' || a.kind;
            IF value IS NULL THEN
                RAISE EXCEPTION 'the table or its capture trigger is gone'
                    USING ERRCODE = 'undefined_table', HINT = 'Attach it again, or detach it by its name.';
            END IF;
        EXCEPTION WHEN OTHERS THEN
            value := format('not reconciled: %s (%s)', SQLERRM, SQLSTATE);
            PERFORM journey._incident('reconcile_failed', a.rel || ' ' || a.kind, 'error', value,
                                      format('Mend the cause, then run journey.reconcile(%L); journey.resume() waits for it. When the table is gone for good: SELECT journey.detach(%1$L).', a.rel),
                                      jsonb_build_object('attachment', a.attachment));
        END;
        RETURN NEXT;
    END LOOP;
    -- or the rows of the first day would lie in the default one
    PERFORM journey._partitions(journey.clock());
    name := 'incarnation';
    value := (SELECT n.incarnation::text FROM journey.node n);
    RETURN NEXT;
    name := 'state';
    value := journey._node_state();
    RETURN NEXT;
    PERFORM journey._nudge();
END
$$;
COMMENT ON FUNCTION journey.adopt() IS
    'Says that this database and cluster are the real ones: opens a new incarnation, starts the cursor afresh, reads attached tables again so that no order is missed, and stays in mode off until resume(), sandbox() or set_clock(). Needed after install(), after a restore, a clone or pg_upgrade; not after failover.';

CREATE FUNCTION journey.set_clock(at timestamptz) RETURNS timestamptz
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    node journey.node;
BEGIN
    PERFORM journey._require_adopted();
    SELECT * INTO node FROM journey.node FOR UPDATE;
    IF node.mode IN ('live', 'sandbox') THEN
        RAISE EXCEPTION 'the clock of a % database is the real one', node.mode
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Use a database of its own for tests; journey.mode() must be off or test.';
    END IF;
    IF at IS NOT NULL AND NOT isfinite(at) THEN
        RAISE EXCEPTION 'the test clock needs a finite time'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give a timestamp, or null for real time.';
    END IF;
    -- what is reckoned from it, such as next month's partition, must be a time, too
    IF at NOT BETWEEN '0001-01-01 00:00+00' AND '9999-12-31 00:00+00' THEN
        RAISE EXCEPTION 'the test clock goes from the year 1 to the year 9999'
            USING ERRCODE = 'datetime_field_overflow', HINT = 'Give a time between them, or null for real time.';
    END IF;
    IF at < node.test_clock AND EXISTS (SELECT FROM journey.outbox WHERE lease_until IS NOT NULL) THEN
        RAISE EXCEPTION 'the test clock cannot go back while actions are leased'
            USING ERRCODE = 'object_in_use',
                  HINT = 'Ack, fail or release what is claimed first, or go forward.';
    END IF;
    -- rates count by this clock: of a time that it has not come to, or of another clock, they say nothing
    IF at IS NULL OR node.test_clock IS NULL OR at < node.test_clock THEN
        DELETE FROM journey.channel_state;
    END IF;
    UPDATE journey.node
    SET test_clock = at, mode = CASE WHEN at IS NULL THEN 'off' ELSE 'test' END, changed_at = clock_timestamp();
    PERFORM journey._nudge();
    RETURN journey.clock();
END
$$;
COMMENT ON FUNCTION journey.set_clock(timestamptz) IS
    'Sets the one clock and enters mode test, where every row written carries test = true. Null returns to real time and mode off. Rates of channels begin anew when it goes back or the clock is another one. 55000 while live or in the sandbox, 55006 when it would go back while actions are leased.';

CREATE FUNCTION journey._require_catch_up(catch_up text, spread interval) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF catch_up IS NULL OR catch_up NOT IN ('re-decide', 'drop', 'as-is') THEN
        RAISE EXCEPTION 'unknown catch_up: %', coalesce(catch_up, 'null')
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Use re-decide (what is late is decided again, spread over time), drop (what is late expires) or as-is.';
    END IF;
    IF spread IS NULL OR spread < interval '0' THEN
        RAISE EXCEPTION 'spread must not be negative'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give an interval, such as ''1 hour''.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey._require_catch_up(text, interval) IS
    'Raises 22023 for another catch_up than the three, or a negative spread.';

CREATE FUNCTION journey.resume(catch_up text DEFAULT 're-decide', spread interval DEFAULT '1 hour')
    RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    node journey.node;
    replanned bigint;
BEGIN
    PERFORM journey._require_catch_up(catch_up, spread);
    PERFORM journey._require_adopted();
    PERFORM journey._require_reconciled();
    SELECT * INTO node FROM journey.node FOR UPDATE;
    IF node.mode = 'test' THEN
        RAISE EXCEPTION 'this database runs on a test clock'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Run journey.set_clock(null) and journey.discard_test() first.';
    END IF;
    IF current_setting('journey.site') = '' THEN
        RAISE EXCEPTION 'journey.site is not set in this server''s configuration'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'It is the second key: it lives outside the data directory, so that a copied database stays silent.',
                  HINT = 'Set journey.site = ''your-shop'' in postgresql.conf, reload, and run journey.resume() again.';
    END IF;
    -- nothing was held up that would have to be caught up with
    IF node.mode = 'live' AND NOT EXISTS (SELECT FROM journey.pause p WHERE p.what = 'all') THEN
        RETURN 'live already';
    END IF;
    replanned := journey._catch_up(catch_up, spread);
    DELETE FROM journey.pause WHERE what = 'all';
    PERFORM journey._set_mode('live');
    RETURN format('live, %s late items: %s', replanned, catch_up);
END
$$;
COMMENT ON FUNCTION journey.resume(text, interval) IS
    'Goes live: permits are granted from this commit on. What became due meanwhile is, by catch_up: re-decide (default: late actions and timers are decided again, spread evenly by profile over the interval), drop (late actions expire) or as-is. Changes nothing when the database is live and not paused as a whole. Needs adopt(), with every attached table read, and the setting journey.site (55000 otherwise, with the reason).';

CREATE FUNCTION journey._catch_up_within(spread interval, life interval) RETURNS interval
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN CASE WHEN life > interval '0' THEN LEAST(spread, life / 2) ELSE spread END;
END
$$;
COMMENT ON FUNCTION journey._catch_up_within(interval, interval) IS
    'Over how long what is late is spread: the interval asked for, at most half of what is left of its life. What is over, or lasts for ever (null), has all of it.';

CREATE FUNCTION journey._shortest_life(doc jsonb) RETURNS interval
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN (SELECT min(COALESCE(s.send ->> 'not_after', doc #>> '{defaults,not_after}')::interval)
            FROM jsonb_path_query(doc, '$.steps.*.send') s(send));
END
$$;
COMMENT ON FUNCTION journey._shortest_life(jsonb) IS
    'The shortest not_after among the sends of a journey''s document; null when none says one.';

CREATE FUNCTION journey._catch_up(catch_up text, spread interval, what text DEFAULT 'all', name text DEFAULT '')
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    at timestamptz := journey.clock();
    n bigint := 0;
    m bigint;
BEGIN
    PERFORM journey._require_catch_up(catch_up, spread);
    IF catch_up = 'as-is' THEN
        RETURN 0;
    END IF;
    -- A person's place in the spread is fixed by the id: the same for all of their late items.
    -- Nobody's place lies behind the half of what is left of an item's life.
    -- What is transactional was asked for and is not spread.
    IF what IN ('all', 'scope', 'journey') THEN
        WITH lives AS MATERIALIZED (
            SELECT d.name, d.version, d.doc ->> 'purpose' AS purpose,
                   CASE WHEN journey._unreadable(d.kind, d.name, d.doc) IS NULL THEN journey._shortest_life(d.doc) END AS life
            FROM journey.document d
            WHERE d.kind = 'journey'
              AND EXISTS (SELECT FROM journey.enrollment x WHERE x.journey = d.name AND x.version = d.version AND x.exited_at IS NULL))
        UPDATE journey.timer t
        SET wake_at = at + journey._catch_up_within(spread, t.planned_at + d.life - at)
                           * journey.assign('catch_up', t.profile_id)
        FROM journey.enrollment e
        JOIN lives d ON d.name = e.journey AND d.version = e.version
        WHERE e.bucket = t.bucket AND e.profile_id = t.profile_id AND e.enrollment_id = t.enrollment_id
          AND t.wake_at < at AND d.purpose <> 'transactional'
          AND CASE _catch_up.what WHEN 'scope' THEN e.scope = _catch_up.name
                                  WHEN 'journey' THEN e.journey = _catch_up.name ELSE true END;
        GET DIAGNOSTICS n = ROW_COUNT;
    END IF;
    UPDATE journey.outbox o
    SET claim_at = CASE catch_up WHEN 'drop' THEN o.claim_at
                                 ELSE at + journey._catch_up_within(spread, o.not_after - at)
                                           * journey.assign('catch_up', o.profile_id) END,
        -- what comes of an enrollment is refused as too_late by the claim, which decides it again
        late = CASE WHEN catch_up = 're-decide' AND o.enrollment_id IS NOT NULL THEN interval '0' ELSE o.late END,
        not_after = CASE catch_up WHEN 'drop' THEN at ELSE o.not_after END,
        reap_at = CASE catch_up WHEN 'drop' THEN at ELSE o.reap_at END
    WHERE o.status = 'pending' AND o.claim_at < at AND o.not_after > at AND o.purpose <> 'transactional'
      AND CASE _catch_up.what WHEN 'scope' THEN o.scope = _catch_up.name
                              WHEN 'journey' THEN o.journey = _catch_up.name
                              WHEN 'channel' THEN o.channel = _catch_up.name
                              WHEN 'template' THEN o.template = _catch_up.name ELSE true END;
    GET DIAGNOSTICS m = ROW_COUNT;
    RETURN n + m;
END
$$;
COMMENT ON FUNCTION journey._catch_up(text, interval, text, text) IS
    'Plans what became due during a pause of everything, or of one scope, journey, channel or template: returns how many timers and actions it moved. Late waits are spread; late actions are spread too and decided again by claim, whatever their late says, or expire with drop. 22023 for another catch_up or a negative spread.';

CREATE FUNCTION journey.sandbox() RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    PERFORM journey._require_adopted();
    PERFORM journey._require_reconciled();
    IF (SELECT n.mode FROM journey.node n FOR UPDATE) = 'test' THEN
        RAISE EXCEPTION 'this database runs on a test clock'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Run journey.set_clock(null) and journey.discard_test() first.';
    END IF;
    PERFORM journey._set_mode('sandbox');
    RETURN 'sandbox';
END
$$;
COMMENT ON FUNCTION journey.sandbox() IS
    'Decides everything on live traffic, but only profiles marked by mark_test() get permits; others are refused with reason sandbox. Needs what resume() needs but journey.site.';

CREATE FUNCTION journey._require_whole_or_named(what text, name text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF what IS NULL AND name IS NOT NULL THEN
        RAISE EXCEPTION 'no kind given for "%"', name
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Say first whether it is a scope, journey, channel or template; with no argument everything is meant.';
    ELSIF what NOT IN ('scope', 'journey', 'channel', 'template') THEN
        RAISE EXCEPTION 'cannot pause a %', what
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Pause everything with no argument, or a scope, journey, channel or template by name.';
    ELSIF what IS NOT NULL AND coalesce(name, '') = '' THEN
        RAISE EXCEPTION 'no name given for the %', what
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give its name as the second argument.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey._require_whole_or_named(text, text) IS
    'Raises 22023 unless a pause is of everything, or of a kind and a name.';

CREATE FUNCTION journey.pause(what text DEFAULT NULL, name text DEFAULT NULL, reason text DEFAULT NULL)
    RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    known text[];
BEGIN
    PERFORM journey._require_whole_or_named(pause.what, pause.name);
    known := CASE pause.what
        WHEN 'scope' THEN journey._scopes()
        WHEN pause.what THEN ARRAY(SELECT DISTINCT d.name FROM journey.document d WHERE d.kind = pause.what) END;
    IF pause.name <> ALL (known) THEN
        RAISE EXCEPTION 'there is no % "%"', pause.what, pause.name
            USING ERRCODE = 'undefined_object',
                  HINT = coalesce('Did you mean "' || journey._nearest(pause.name, known) || '"?',
                                  CASE pause.what WHEN 'scope' THEN 'Scopes are those of sources and journeys: ' || array_to_string(known, ', ') || '.'
                                                  ELSE 'journey.document lists what can be paused.' END);
    END IF;
    INSERT INTO journey.pause (what, name, reason, paused_by, paused_at)
    VALUES (coalesce(pause.what, 'all'), coalesce(pause.name, ''), pause.reason, session_user, journey.clock())
    ON CONFLICT (what, name) DO UPDATE
    SET reason = excluded.reason, paused_by = excluded.paused_by, paused_at = excluded.paused_at;
    RETURN format('paused: %s', coalesce(pause.what || ' ' || pause.name, 'everything'));
END
$$;
COMMENT ON FUNCTION journey.pause(text, text, text) IS
    'Stops permits from this commit on: of everything, or of one scope, journey, channel or template. Events are still taken in. End it with unpause() or, for everything, resume().';

CREATE FUNCTION journey.unpause(what text DEFAULT NULL, name text DEFAULT NULL,
                                catch_up text DEFAULT 're-decide', spread interval DEFAULT '1 hour')
    RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM journey._require_whole_or_named(unpause.what, unpause.name);
    DELETE FROM journey.pause p
    WHERE p.what = coalesce(unpause.what, 'all') AND p.name = coalesce(unpause.name, '');
    IF NOT FOUND THEN
        RETURN 'was not paused';
    END IF;
    PERFORM journey._catch_up(unpause.catch_up, unpause.spread, coalesce(unpause.what, 'all'), coalesce(unpause.name, ''));
    PERFORM journey._nudge();
    RETURN 'permits are granted again';
END
$$;
COMMENT ON FUNCTION journey.unpause(text, text, text, interval) IS
    'Ends a pause(); what became due meanwhile is caught up as in resume().';

CREATE FUNCTION journey.discard_test() RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    t text;
    n bigint;
    total bigint := 0;
BEGIN
    IF (SELECT mode FROM journey.node) = 'test' THEN
        RAISE EXCEPTION 'the test is still running'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run journey.set_clock(null) first.';
    END IF;
    -- A lap has the people it works on in memory and writes them at its end: not beside one.
    PERFORM FROM journey.cursor FOR UPDATE;
    -- No features: the next lap that sees the person, or whoever reads them, counts them from the log.
    UPDATE journey.profile_state s
    SET features = NULL, events = s.events - t.events,
        last_event_at = (SELECT max(e.occurred_at) FROM journey.event e
                         WHERE e.bucket = s.bucket AND e.profile_id = s.profile_id AND NOT e.test)
    FROM (SELECT e.bucket, e.profile_id, count(*) AS events FROM journey.event e WHERE e.test GROUP BY 1, 2) t
    WHERE s.bucket = t.bucket AND s.profile_id = t.profile_id;
    UPDATE journey.profile_state s
    SET stage = COALESCE((SELECT x.to_stage FROM journey.stage_transition x
                          WHERE x.bucket = s.bucket AND x.profile_id = s.profile_id AND NOT x.test AND x.object = ''
                          ORDER BY x.seq DESC, x.n DESC LIMIT 1), t.from_stage)
    FROM (SELECT DISTINCT ON (x.bucket, x.profile_id) x.bucket, x.profile_id, x.from_stage
          FROM journey.stage_transition x WHERE x.test AND x.object = '' ORDER BY x.bucket, x.profile_id, x.seq, x.n) t
    WHERE s.bucket = t.bucket AND s.profile_id = t.profile_id;
    DELETE FROM journey.message_event x USING journey.event e
    WHERE e.test AND (x.bucket, x.profile_id, x.event_id) = (e.bucket, e.profile_id, e.event_id);
    DELETE FROM journey.timer x USING journey.enrollment e
    WHERE e.test AND (x.bucket, x.profile_id, x.enrollment_id) = (e.bucket, e.profile_id, e.enrollment_id);
    DELETE FROM journey.transition x USING journey.enrollment e
    WHERE e.test AND (x.bucket, x.profile_id, x.enrollment_id) = (e.bucket, e.profile_id, e.enrollment_id);
    DELETE FROM journey.attempt_log x USING journey.outbox o
    WHERE o.test AND (x.bucket, x.profile_id, x.action_id) = (o.bucket, o.profile_id, o.action_id);
    DELETE FROM journey.attempt_log x USING journey.outbox_history o
    WHERE o.test AND (x.bucket, x.profile_id, x.action_id) = (o.bucket, o.profile_id, o.action_id);
    FOREACH t IN ARRAY ARRAY['event', 'decision', 'outbox', 'outbox_history', 'exposure', 'conversion',
                             'stage_transition', 'enrollment', 'early_message', 'event_key', 'journey_day'] LOOP
        EXECUTE format('DELETE FROM journey.%I WHERE test', t);
        GET DIAGNOSTICS n = ROW_COUNT;
        total := total + n;
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION journey.discard_test() IS
    'Removes every row that a test clock left (test = true); returns how many. Counts, features and stages of people are what they are without them. Profiles, consents, carts and orders stay: they came from the shop. What the test has sent must have been consumed: what is taken in later is no test.';
