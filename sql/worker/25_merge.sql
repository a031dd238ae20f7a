-- Two people who turn out to be one become one: every row of the one goes to
-- the other, in the transaction of a lap and after its work. Until then, and
-- when they cannot be merged, they are linked, so that nothing depends on when
-- it happens. What was moved is written down, so that it can be taken apart.
--
-- "from" is the id that is given up, "into" the one that takes over. Pairs are
-- jsonb, as merge_log is a data table, which functions of the extension must
-- not depend on.

CREATE FUNCTION journey._pairs(pairs jsonb)
    RETURNS TABLE (from_bucket smallint, from_id uuid, into_bucket smallint, into_id uuid, merge_id uuid, confidence double precision, method text)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED ROWS 10
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT p.from_bucket, p.from_id, p.into_bucket, p.into_id, p.merge_id, p.confidence, p.method
    FROM jsonb_to_recordset(pairs) AS p (from_bucket smallint, from_id uuid, into_bucket smallint, into_id uuid,
                                         merge_id uuid, confidence double precision, method text);
END
$$;
COMMENT ON FUNCTION journey._pairs(jsonb) IS 'The merges that are being made, a row each.';

-- By declaration, so that a table that is added later is not forgotten.
CREATE FUNCTION journey._personal_tables() RETURNS TABLE (name text, keys text[], original boolean)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT c.relname::text, COALESCE(array_agg(quote_ident(a.attname) ORDER BY k.n) FILTER (WHERE k.n > 2), '{}'),
           EXISTS (SELECT FROM pg_attribute o WHERE o.attrelid = c.oid AND o.attname = 'original_id')
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indrelid
    CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (att, n)
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.att
    WHERE i.indisprimary AND c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      -- these name people in other columns, too
      AND c.relname NOT IN ('profile_alias', 'profile_link', 'merge_wish')
    GROUP BY c.oid, c.relname
    HAVING (array_agg(a.attname::text ORDER BY k.n))[1:2] = '{bucket,profile_id}'
    ORDER BY c.relname;
END
$$;
COMMENT ON FUNCTION journey._personal_tables() IS
    'The data tables whose rows belong to a person (primary key from bucket and profile_id on), the rest of each key, and whether they say who it was before a merge.';

CREATE FUNCTION journey._strictness(state text) RETURNS integer
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE state
        WHEN 'unknown' THEN 0 WHEN 'pending' THEN 0 WHEN 'granted' THEN 1
        WHEN 'denied' THEN 2 WHEN 'bounced' THEN 3 WHEN 'revoked' THEN 4 WHEN 'complained' THEN 5
        WHEN 'replaced' THEN 0 WHEN 'unverified' THEN 1 WHEN 'active' THEN 2 WHEN 'test' THEN 3 WHEN 'soft' THEN 4 WHEN 'hard' THEN 5
    END;
END
$$;
COMMENT ON FUNCTION journey._strictness(text) IS
    'Which of two states of a consent, or of an address, stands when two people become one: the greater. A consent that was never given is no word against one that was; an address that one of the two has given up may still be the other''s.';

CREATE FUNCTION journey._was(pairs jsonb, name text, was jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    INSERT INTO journey.merge_row (bucket, profile_id, merge_id, name, was)
    SELECT m.into_bucket, m.into_id, m.merge_id, _was.name, jsonb_agg(w.value)
    FROM journey._pairs(pairs) m
    JOIN jsonb_array_elements(was) w ON (w.value ->> 'profile_id')::uuid = m.into_id
    GROUP BY m.into_bucket, m.into_id, m.merge_id;
END
$$;
COMMENT ON FUNCTION journey._was(jsonb, text, jsonb) IS 'Writes down rows of a table as they are before merges change them.';

-- ---- what two people have of the same thing -----------------------------------

CREATE FUNCTION journey._merge_consents(pairs jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    was jsonb;
BEGIN
    WITH stricter AS (
        SELECT w.ctid AS at_row, to_jsonb(w) AS was, f.*
        FROM journey._pairs(pairs) m
        JOIN journey.consent f ON f.bucket = m.from_bucket AND f.profile_id = m.from_id
        JOIN journey.consent w ON w.bucket = m.into_bucket AND w.profile_id = m.into_id
                              AND w.scope = f.scope AND w.channel = f.channel AND w.purpose = f.purpose
        WHERE (journey._strictness(f.state), f.at) > (journey._strictness(w.state), w.at)
    ), changed AS (
        UPDATE journey.consent w
        SET state = s.state, basis = s.basis, source = s.source, proof = s.proof, at = s.at, expires_at = s.expires_at
        FROM stricter s WHERE w.ctid = s.at_row
    )
    SELECT jsonb_agg(s.was) INTO was FROM stricter s;
    PERFORM journey._was(pairs, 'consent', was);
    WITH stricter AS (
        SELECT w.ctid AS at_row, to_jsonb(w) AS was, f.*
        FROM journey._pairs(pairs) m
        JOIN journey.contact_point f ON f.bucket = m.from_bucket AND f.profile_id = m.from_id
        JOIN journey.contact_point w ON w.bucket = m.into_bucket AND w.profile_id = m.into_id
                                    AND w.scope = f.scope AND w.channel = f.channel AND w.address_hash = f.address_hash
        WHERE journey._strictness(f.state) > journey._strictness(w.state)
    ), changed AS (
        UPDATE journey.contact_point w SET state = s.state, changed_at = s.changed_at, reason = s.reason
        FROM stricter s WHERE w.ctid = s.at_row
    )
    SELECT jsonb_agg(s.was) INTO was FROM stricter s;
    PERFORM journey._was(pairs, 'contact_point', was);
    -- an event that has stopped both
    UPDATE journey.suppression w
    SET matched = (SELECT array_agg(DISTINCT x.id) FROM unnest(w.matched || f.matched) x (id)),
        lap = GREATEST(w.lap, f.lap)
    FROM journey._pairs(pairs) m
    JOIN journey.suppression f ON f.bucket = m.from_bucket AND f.profile_id = m.from_id
    WHERE w.bucket = m.into_bucket AND w.profile_id = m.into_id AND w.seq = f.seq AND w.type = f.type AND w.linked = f.linked
      AND NOT w.matched @> f.matched;
END
$$;
COMMENT ON FUNCTION journey._merge_consents(jsonb) IS
    'Of consents and addresses that both have the stricter state stands; an event that stopped both has matched the enrollments of both.';

CREATE FUNCTION journey._merge_sessions(pairs jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    was jsonb;
BEGIN
    WITH both_of AS (
        SELECT w.ctid AS at_row, to_jsonb(w) AS was, f.*,
               w.first_at IS NULL OR (f.first_at, f.first_seq) < (w.first_at, w.first_seq) AS is_first,
               w.last_at IS NULL OR (f.last_at, f.last_seq) > (w.last_at, w.last_seq) AS is_last
        FROM journey._pairs(pairs) m
        JOIN journey.session f ON f.bucket = m.from_bucket AND f.profile_id = m.from_id
        JOIN journey.session w ON w.bucket = m.into_bucket AND w.profile_id = m.into_id AND w.session_id = f.session_id
    ), changed AS (
        UPDATE journey.session w
        SET started_at = LEAST(w.started_at, f.started_at), seen_at = GREATEST(w.seen_at, f.seen_at),
            first_referrer = CASE WHEN is_first THEN f.first_referrer ELSE w.first_referrer END,
            first_at = CASE WHEN is_first THEN f.first_at ELSE w.first_at END,
            first_seq = CASE WHEN is_first THEN f.first_seq ELSE w.first_seq END,
            last_referrer = CASE WHEN is_last THEN f.last_referrer ELSE w.last_referrer END,
            last_at = CASE WHEN is_last THEN f.last_at ELSE w.last_at END,
            last_seq = CASE WHEN is_last THEN f.last_seq ELSE w.last_seq END
        FROM both_of f WHERE w.ctid = f.at_row
    )
    SELECT jsonb_agg(f.was) INTO was FROM both_of f;
    PERFORM journey._was(pairs, 'session', was);
END
$$;
COMMENT ON FUNCTION journey._merge_sessions(jsonb) IS
    'A visit in which somebody was known by two ids, as when they log in, is one, with the first and the last referrer of both.';

CREATE FUNCTION journey._merge_profiles(pairs jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    was jsonb;
BEGIN
    -- while both can be asked who is a session: a browser says little about where a person stands
    WITH later AS (
        SELECT w.ctid AS at_row, to_jsonb(w) AS was, f.stage
        FROM journey._pairs(pairs) m
        JOIN journey.profile_state f ON f.bucket = m.from_bucket AND f.profile_id = m.from_id
        JOIN journey.profile_state w ON w.bucket = m.into_bucket AND w.profile_id = m.into_id
        JOIN journey.profile fp ON fp.bucket = m.from_bucket AND fp.profile_id = m.from_id
        JOIN journey.profile wp ON wp.bucket = m.into_bucket AND wp.profile_id = m.into_id
        WHERE f.stage <> w.stage AND (fp.class = 'person' OR wp.class = 'session')
          AND COALESCE((SELECT max(t.at) FROM journey.stage_transition t WHERE t.bucket = f.bucket AND t.profile_id = f.profile_id AND t.object = ''), '-infinity')
            > COALESCE((SELECT max(t.at) FROM journey.stage_transition t WHERE t.bucket = w.bucket AND t.profile_id = w.profile_id AND t.object = ''), '-infinity')
    ), changed AS (
        UPDATE journey.profile_state w SET stage = l.stage FROM later l WHERE w.ctid = l.at_row
    )
    SELECT jsonb_agg(l.was) INTO was FROM later l;
    PERFORM journey._was(pairs, 'profile_state', was);
    WITH both_of AS (
        SELECT w.ctid AS at_row, to_jsonb(w) AS was, f.*
        FROM journey._pairs(pairs) m
        JOIN journey.profile f ON f.bucket = m.from_bucket AND f.profile_id = m.from_id
        JOIN journey.profile w ON w.bucket = m.into_bucket AND w.profile_id = m.into_id
    ), changed AS (
        UPDATE journey.profile w
        SET class = CASE WHEN 'person' IN (w.class, f.class) THEN 'person' ELSE 'session' END,
            confidence = GREATEST(w.confidence, f.confidence), traits = f.traits || w.traits,
            zone = COALESCE(w.zone, f.zone), locale = COALESCE(w.locale, f.locale),
            restricted = w.restricted OR f.restricted, created_at = LEAST(w.created_at, f.created_at), changed_at = journey.clock()
        FROM both_of f WHERE w.ctid = f.at_row
    )
    SELECT jsonb_agg(f.was) INTO was FROM both_of f;
    PERFORM journey._was(pairs, 'profile', was);
END
$$;
COMMENT ON FUNCTION journey._merge_profiles(jsonb) IS
    'Traits, zone and locale of the person who stays go before those of the other; who was restricted stays so. The main stage is that of whoever changed it last; a session says nothing about a person''s.';

CREATE FUNCTION journey._cancel_pending(people uuid[], enrollments uuid[], reason text) RETURNS bigint
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_cancel_pending';
COMMENT ON FUNCTION journey._cancel_pending(uuid[], uuid[], text) IS
    'Cancels the pending actions of enrollments, each with its person; those that somebody has locked are left to their permit. Returns how many.';

CREATE FUNCTION journey._end_enrollments(people uuid[], enrollments uuid[], status text, reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    moment timestamptz := journey.clock();
    zone text := COALESCE((SELECT d.doc ->> 'zone' FROM journey.document d WHERE d.kind = 'policy' AND d.state = 'active' LIMIT 1), 'UTC');
    j record;
BEGIN
    INSERT INTO journey.transition (bucket, profile_id, enrollment_id, n, from_step, to_step, edge, reason, at)
    SELECT e.bucket, e.profile_id, e.enrollment_id, e.transitions + 1, e.step, NULL, 'exit', _end_enrollments.reason, moment
    FROM unnest(people, enrollments) AS x (person, enrollment)
    JOIN journey.enrollment e ON e.bucket = journey.bucket(x.person) AND e.profile_id = x.person AND e.enrollment_id = x.enrollment;
    DELETE FROM journey.timer t USING unnest(people, enrollments) AS x (person, enrollment)
    WHERE t.bucket = journey.bucket(x.person) AND t.profile_id = x.person AND t.enrollment_id = x.enrollment;
    UPDATE journey.enrollment e
    SET status = _end_enrollments.status, step = NULL, wake_at = NULL, exited_at = moment, stepped_at = moment,
        exit_reason = _end_enrollments.reason, transitions = e.transitions + 1
    FROM unnest(people, enrollments) AS x (person, enrollment)
    WHERE e.bucket = journey.bucket(x.person) AND e.profile_id = x.person AND e.enrollment_id = x.enrollment;
    FOR j IN
        SELECT e.journey, e.test, array_agg(x.person) AS people, array_agg(x.enrollment) AS enrollments
        FROM unnest(people, enrollments) AS x (person, enrollment)
        JOIN journey.enrollment e ON e.bucket = journey.bucket(x.person) AND e.profile_id = x.person AND e.enrollment_id = x.enrollment
        GROUP BY e.journey, e.test
    LOOP
        INSERT INTO journey.journey_day AS d (journey, day, entered, not_entered, ended, held_out, cancelled, test)
        VALUES (j.journey, (moment AT TIME ZONE zone)::date, 0, 0, cardinality(j.people),
                CASE WHEN _end_enrollments.status = 'held_out' THEN cardinality(j.people) ELSE 0 END,
                journey._cancel_pending(j.people, j.enrollments, _end_enrollments.reason), j.test)
        ON CONFLICT (journey, day, test) DO UPDATE
        SET ended = d.ended + EXCLUDED.ended, held_out = d.held_out + EXCLUDED.held_out, cancelled = d.cancelled + EXCLUDED.cancelled;
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._end_enrollments(uuid[], uuid[], text, text) IS
    'Ends live enrollments, each with its person, as an exit does: their pending actions are cancelled.';

CREATE FUNCTION journey._held_out(journey text, version integer, profile_id uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    doc jsonb;
    house jsonb;
BEGIN
    SELECT d.doc INTO doc FROM journey.document d WHERE d.kind = 'journey' AND d.name = _held_out.journey AND d.version = _held_out.version;
    IF doc ->> 'purpose' IS DISTINCT FROM 'marketing' THEN
        RETURN false;
    END IF;
    SELECT d.doc INTO house FROM journey.document d WHERE d.kind = 'policy' AND d.state = 'active' LIMIT 1;
    RETURN journey.assign('policy/house', profile_id) < COALESCE((house ->> 'holdout')::float8, 0)
        OR journey.assign('journey/' || _held_out.journey, profile_id)
           < COALESCE((doc ->> 'holdout')::float8, (doc -> 'control' ->> 'holdout')::float8, 0);
END
$$;
COMMENT ON FUNCTION journey._held_out(text, integer, uuid) IS
    'Whether a person is in the control group of a version of a journey, or of the house, as entries tell it.';

CREATE FUNCTION journey._unclaim(people uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    UPDATE journey.outbox o
    SET status = 'pending', reason = 'changed', claim_at = GREATEST(journey.clock(), o.due_at), reap_at = o.not_after,
        token = NULL, sender = NULL, lease_until = NULL, claimed_at = NULL
    FROM unnest(people) AS x (id)
    WHERE o.bucket = journey.bucket(x.id) AND o.profile_id = x.id AND o.status = 'claimed';
END
$$;
COMMENT ON FUNCTION journey._unclaim(uuid[]) IS
    'Takes claimed actions of these people back from their senders, to be claimed and judged anew; what has a permit is left.';

-- Before anything moves: an action goes to history under the id that it had.
CREATE FUNCTION journey._merge_enrollments(pairs jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    people uuid[];
    ended uuid[];
BEGIN
    -- who has a message in hands: it is claimed and judged anew
    PERFORM journey._unclaim(ARRAY(SELECT x.id FROM journey._pairs(pairs) m CROSS JOIN LATERAL (VALUES (m.from_id), (m.into_id)) AS x (id)));
    -- who is held out is contacted under no id
    SELECT array_agg(e.profile_id), array_agg(e.enrollment_id) INTO people, ended
    FROM journey._pairs(pairs) m
    JOIN journey.enrollment e ON e.bucket = m.from_bucket AND e.profile_id = m.from_id
    WHERE e.exited_at IS NULL AND e.arm = 'treatment' AND journey._held_out(e.journey, e.version, m.into_id);
    PERFORM journey._end_enrollments(people, ended, 'held_out', 'holdout');
    -- and on one journey once for one key: who came first stays
    SELECT array_agg(e.profile_id), array_agg(e.enrollment_id) INTO people, ended
    FROM (SELECT x.profile_id, x.enrollment_id,
                 row_number() OVER (PARTITION BY m.merge_id, x.journey, x.key ORDER BY x.entered_at, x.entry_seq, x.enrollment_id) AS n
          FROM journey._pairs(pairs) m
          JOIN journey.enrollment x ON (x.bucket, x.profile_id) IN ((m.from_bucket, m.from_id), (m.into_bucket, m.into_id))
          WHERE x.exited_at IS NULL) e
    WHERE e.n > 1;
    PERFORM journey._end_enrollments(people, ended, 'exited', 'merged');
END
$$;
COMMENT ON FUNCTION journey._merge_enrollments(jsonb) IS
    'Claimed actions of both go back, to be judged as those of one person; enrollments end that one person would not have: a second one under the same key, and any that the holdout of the person who stays forbids.';

-- ---- moving ----------------------------------------------------------------------

CREATE FUNCTION journey._merge_links(pairs jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    -- both directions stand in the table; they count from now on: whom a permit before this heeded is written with it
    INSERT INTO journey.profile_link AS l (bucket, profile_id, other_bucket, other_id, strong, source, since, link_xact, incarnation)
    SELECT DISTINCT ON (x.bucket, x.profile_id, x.other_bucket, x.other_id)
           x.bucket, x.profile_id, x.other_bucket, x.other_id, x.strong, x.source, x.since, pg_current_xact_id(), c.incarnation
    FROM journey._pairs(pairs) m
    JOIN journey.profile_link f ON f.bucket = m.from_bucket AND f.profile_id = m.from_id AND f.other_id <> m.into_id
    CROSS JOIN LATERAL (VALUES (m.into_bucket, m.into_id, f.other_bucket, f.other_id, f.strong, f.source, f.since),
                               (f.other_bucket, f.other_id, m.into_bucket, m.into_id, f.strong, f.source, f.since))
               AS x (bucket, profile_id, other_bucket, other_id, strong, source, since)
    CROSS JOIN journey.cursor c
    ON CONFLICT (bucket, profile_id, other_bucket, other_id)
        DO UPDATE SET strong = true, link_xact = EXCLUDED.link_xact, incarnation = EXCLUDED.incarnation
        WHERE EXCLUDED.strong AND NOT l.strong;
    WITH gone AS (
        DELETE FROM journey.profile_link l
        USING journey._pairs(pairs) m
        JOIN journey.profile_link f ON f.bucket = m.from_bucket AND f.profile_id = m.from_id
        WHERE (l.bucket, l.profile_id, l.other_bucket, l.other_id)
              IN ((f.bucket, f.profile_id, f.other_bucket, f.other_id), (f.other_bucket, f.other_id, f.bucket, f.profile_id))
        RETURNING m.into_bucket, m.into_id, m.merge_id, to_jsonb(l) AS twin
    )
    INSERT INTO journey.merge_row (bucket, profile_id, merge_id, name, twins)
    SELECT g.into_bucket, g.into_id, g.merge_id, 'profile_link', jsonb_agg(g.twin) FROM gone g GROUP BY 1, 2, 3;
    INSERT INTO journey.merge_wish (bucket, profile_id, other_bucket, other_id, method, confidence, keys, source, since,
                                    link_xact, incarnation, try_at, refused, undo)
    SELECT CASE WHEN x.turn THEN x.other_bucket ELSE m.into_bucket END, CASE WHEN x.turn THEN x.other_id ELSE m.into_id END,
           CASE WHEN x.turn THEN m.into_bucket ELSE x.other_bucket END, CASE WHEN x.turn THEN m.into_id ELSE x.other_id END,
           w.method, w.confidence, w.keys, w.source, w.since, w.link_xact, w.incarnation, w.try_at, w.refused, w.undo
    FROM journey._pairs(pairs) m
    JOIN journey.merge_wish w ON (w.bucket, w.profile_id) = (m.from_bucket, m.from_id) OR (w.other_bucket, w.other_id) = (m.from_bucket, m.from_id)
    CROSS JOIN LATERAL (SELECT o.other_bucket, o.other_id, w.undo IS NULL AND o.other_id < m.into_id AS turn
                        FROM (SELECT CASE WHEN w.profile_id = m.from_id THEN w.other_bucket ELSE w.bucket END AS other_bucket,
                                     CASE WHEN w.profile_id = m.from_id THEN w.other_id ELSE w.profile_id END AS other_id) o) x
    WHERE x.other_id <> m.into_id
    ON CONFLICT DO NOTHING;
    DELETE FROM journey.merge_wish w USING journey._pairs(pairs) m
    WHERE (w.bucket, w.profile_id) = (m.from_bucket, m.from_id) OR (w.other_bucket, w.other_id) = (m.from_bucket, m.from_id);
END
$$;
COMMENT ON FUNCTION journey._merge_links(jsonb) IS 'Whom the one was linked with, or is to be merged with, the other is.';

CREATE FUNCTION journey._merge_move(pairs jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    t record;
BEGIN
    FOR t IN
        SELECT p.name, p.original,
               (SELECT COALESCE(string_agg(format(' AND w.%1$s = t.%1$s', k), ''), '') FROM unnest(p.keys) k) AS same,
               (SELECT COALESCE(string_agg('t.' || k, ', '), '') FROM unnest(p.keys) k) AS key
        FROM journey._personal_tables() p
    LOOP
        EXECUTE format($s$
            WITH m AS MATERIALIZED (SELECT * FROM journey._pairs($1)),
            twin AS (
                DELETE FROM journey.%1$I t USING m
                WHERE t.bucket = m.from_bucket AND t.profile_id = m.from_id
                  AND EXISTS (SELECT FROM journey.%1$I w WHERE w.bucket = m.into_bucket AND w.profile_id = m.into_id%2$s)
                RETURNING m.into_bucket, m.into_id, m.merge_id, NULL::jsonb AS key, to_jsonb(t) AS twin),
            moved AS (
                UPDATE journey.%1$I t SET bucket = m.into_bucket, profile_id = m.into_id%4$s FROM m
                WHERE t.bucket = m.from_bucket AND t.profile_id = m.from_id
                  AND NOT EXISTS (SELECT FROM journey.%1$I w WHERE w.bucket = m.into_bucket AND w.profile_id = m.into_id%2$s)
                RETURNING m.into_bucket, m.into_id, m.merge_id, jsonb_build_array(%3$s) AS key, NULL::jsonb AS twin)
            INSERT INTO journey.merge_row AS r (bucket, profile_id, merge_id, name, keys, twins)
            SELECT x.into_bucket, x.into_id, x.merge_id, %1$L, jsonb_agg(x.key) FILTER (WHERE x.key IS NOT NULL),
                   jsonb_agg(x.twin) FILTER (WHERE x.twin IS NOT NULL)
            FROM (SELECT * FROM twin UNION ALL SELECT * FROM moved) x GROUP BY 1, 2, 3
            ON CONFLICT (bucket, profile_id, merge_id, name) DO UPDATE SET keys = EXCLUDED.keys, twins = EXCLUDED.twins $s$,
            t.name, t.same, t.key, CASE WHEN t.original THEN ', original_id = COALESCE(t.original_id, t.profile_id)' ELSE '' END)
        USING pairs;
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._merge_move(jsonb) IS
    'Moves every row of the ids that are given up. Where the other has a row of the same key, that one stands, and what it replaces is written down.';

CREATE FUNCTION journey._merge_keys(pairs jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    WITH found AS (
        SELECT i.bucket, i.key_hash, i.namespace, i.value, i.confidence, i.method, m.into_bucket, m.into_id, m.merge_id,
               m.confidence AS of_merge, m.method AS by_method
        FROM journey._pairs(pairs) m
        JOIN journey.identity i ON i.profile_bucket = m.from_bucket AND i.profile_id = m.from_id
    ), moved AS (
        UPDATE journey.identity i
        SET profile_bucket = f.into_bucket, profile_id = f.into_id, confidence = LEAST(f.confidence, f.of_merge), method = f.by_method
        FROM found f
        WHERE i.bucket = f.bucket AND i.key_hash = f.key_hash AND i.namespace = f.namespace AND i.value = f.value
    )
    INSERT INTO journey.merge_row (bucket, profile_id, merge_id, name, keys)
    SELECT f.into_bucket, f.into_id, f.merge_id, 'identity',
           jsonb_agg(jsonb_build_array(f.bucket, f.key_hash, f.namespace, f.value, f.confidence, f.method))
    FROM found f GROUP BY 1, 2, 3;
    WITH moved AS (
        UPDATE journey.profile_alias a SET into_bucket = m.into_bucket, into_id = m.into_id
        FROM journey._pairs(pairs) m WHERE a.into_bucket = m.from_bucket AND a.into_id = m.from_id
        RETURNING m.into_bucket, m.into_id, m.merge_id, a.profile_id
    )
    INSERT INTO journey.merge_row (bucket, profile_id, merge_id, name, keys)
    SELECT a.into_bucket, a.into_id, a.merge_id, 'profile_alias', jsonb_agg(jsonb_build_array(a.profile_id)) FROM moved a GROUP BY 1, 2, 3;
    INSERT INTO journey.profile_alias (bucket, profile_id, into_bucket, into_id)
    SELECT m.from_bucket, m.from_id, m.into_bucket, m.into_id FROM journey._pairs(pairs) m;
END
$$;
COMMENT ON FUNCTION journey._merge_keys(jsonb) IS 'Keys name the person who stays, with no more confidence than the merge has; the id that is given up becomes an alias.';

CREATE FUNCTION journey._recount_into(people uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    INSERT INTO journey.profile_state AS s (bucket, profile_id, features, last_event_at, last_order_at, orders, events)
    SELECT journey.bucket(r.profile_id), r.profile_id, r.features, r.last_event_at, r.last_order_at, r.orders, r.events
    FROM journey._recount(people) r
    ON CONFLICT (bucket, profile_id) DO UPDATE
    SET features = EXCLUDED.features, last_event_at = EXCLUDED.last_event_at, last_order_at = EXCLUDED.last_order_at,
        orders = EXCLUDED.orders, events = EXCLUDED.events;
END
$$;
COMMENT ON FUNCTION journey._recount_into(uuid[]) IS 'Counts anew, from the log, what follows from the events and orders of these people.';

-- ---- who is merged -----------------------------------------------------------------

CREATE FUNCTION journey._may_merge(one uuid, other uuid) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    twice text;
BEGIN
    IF EXISTS (SELECT FROM journey.merge_log g
               WHERE g.undone_at IS NOT NULL AND (g.bucket, g.profile_id, g.from_id) IN
                     ((journey.bucket(one), one, other), (journey.bucket(other), other, one))) THEN
        RETURN 'somebody has taken them apart';
    END IF;
    SELECT n.namespace INTO twice
    FROM journey.namespace n
    JOIN journey.identity a ON a.profile_bucket = journey.bucket(one) AND a.profile_id = one AND a.namespace = n.namespace
    JOIN journey.identity b ON b.profile_bucket = journey.bucket(other) AND b.profile_id = other AND b.namespace = n.namespace
    WHERE n.one_per_person LIMIT 1;
    IF FOUND THEN
        RETURN format('each has a %s of their own', twice);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION journey._may_merge(uuid, uuid) IS 'Why what an event says does not make these two people one; null = it does.';

-- A test clock stands still: there the next lap is the next try.
CREATE FUNCTION journey._try_again() RETURNS timestamptz
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN journey.clock() + CASE WHEN journey.mode() = 'test' THEN interval '0' ELSE interval '100 milliseconds' END;
END
$$;
COMMENT ON FUNCTION journey._try_again() IS 'When a lap tries again what somebody was in the way of, by journey.clock().';

-- Nobody waits: what a sender or an administrator has locked is left for a later lap.
CREATE FUNCTION journey._lock_people(people uuid[]) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    n bigint;
BEGIN
    PERFORM FROM journey.profile p
    WHERE (p.bucket, p.profile_id) IN (SELECT journey.bucket(x), x FROM unnest(people) x)
    ORDER BY p.profile_id FOR UPDATE SKIP LOCKED;
    GET DIAGNOSTICS n = ROW_COUNT;
    IF n < cardinality(people) THEN
        RETURN false;
    END IF;
    PERFORM FROM journey.outbox o
    WHERE (o.bucket, o.profile_id) IN (SELECT journey.bucket(x), x FROM unnest(people) x) FOR UPDATE SKIP LOCKED;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n = (SELECT count(*) FROM journey.outbox o
                WHERE (o.bucket, o.profile_id) IN (SELECT journey.bucket(x), x FROM unnest(people) x));
END
$$;
COMMENT ON FUNCTION journey._lock_people(uuid[]) IS
    'Locks people and their live actions to the end of the transaction; false when somebody else has one of them.';

-- The person who stays has the stronger key, else was there first.
CREATE FUNCTION journey._stays(one uuid, other uuid) RETURNS uuid
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN (SELECT x.id FROM unnest(ARRAY[one, other]) AS x (id)
            JOIN journey.profile p ON p.bucket = journey.bucket(x.id) AND p.profile_id = x.id
            ORDER BY (SELECT max(n.rank) FROM journey.identity i JOIN journey.namespace n USING (namespace)
                      WHERE i.profile_bucket = p.bucket AND i.profile_id = p.profile_id AND n.class IN ('person', 'session')) DESC NULLS LAST,
                     p.created_at, p.profile_id LIMIT 1);
END
$$;
COMMENT ON FUNCTION journey._stays(uuid, uuid) IS 'Which of two people keeps their id when they become one.';

CREATE FUNCTION journey._refuse_merge(one uuid, other uuid, reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    UPDATE journey.merge_wish w SET try_at = NULL, refused = _refuse_merge.reason
    WHERE w.bucket = journey.bucket(one) AND w.profile_id = one AND w.other_bucket = journey.bucket(other) AND w.other_id = other;
    INSERT INTO journey.incident AS i (kind, name, severity, count, first_at, last_at, message, hint, detail)
    SELECT 'identity_conflict', w.keys, 'warning', 1, clock_timestamp(), clock_timestamp(),
           'keys that came together belong to two profiles; they were not merged',
           'A purchase ends the messages of both. journey.merge_wish says why; journey.merge() makes them one all the same.',
           jsonb_build_object('profiles', jsonb_build_array(one, other), 'reason', _refuse_merge.reason)
    FROM journey.merge_wish w
    WHERE w.bucket = journey.bucket(one) AND w.profile_id = one AND w.other_bucket = journey.bucket(other) AND w.other_id = other
    ON CONFLICT (kind, name) DO UPDATE SET count = i.count + 1, last_at = EXCLUDED.last_at, detail = EXCLUDED.detail, resolved_at = NULL;
END
$$;
COMMENT ON FUNCTION journey._refuse_merge(uuid, uuid, text) IS 'Two people stay two, for good, and an incident says so.';

-- Merges of one round share nobody: who is in two of them waits for the next.
CREATE FUNCTION journey._merge_round(INOUT tried jsonb, OUT pairs jsonb)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    moment timestamptz := journey.clock();
    w record;
    busy uuid[] := '{}';
    stays uuid;
    goes uuid;
    id uuid;
    why text;
BEGIN
    pairs := '[]';
    FOR w IN
        SELECT * FROM journey.merge_wish x
        WHERE x.try_at <= moment AND x.undo IS NULL AND NOT tried ? (x.profile_id || ' ' || x.other_id)
        ORDER BY x.since, x.profile_id, x.other_id LIMIT 1000
    LOOP
        CONTINUE WHEN w.profile_id = ANY (busy) OR w.other_id = ANY (busy);
        busy := busy || ARRAY[w.profile_id, w.other_id];
        tried := tried || to_jsonb(w.profile_id || ' ' || w.other_id);
        stays := journey._stays(w.profile_id, w.other_id);
        goes := CASE stays WHEN w.profile_id THEN w.other_id ELSE w.profile_id END;
        IF (SELECT count(*) FROM journey.profile p WHERE (p.bucket, p.profile_id) IN ((w.bucket, w.profile_id), (w.other_bucket, w.other_id))) < 2 THEN
            -- one has been erased meanwhile
            DELETE FROM journey.merge_wish x WHERE x.bucket = w.bucket AND x.profile_id = w.profile_id
                AND x.other_bucket = w.other_bucket AND x.other_id = w.other_id;
            CONTINUE;
        END IF;
        why := CASE WHEN w.method <> 'asserted' THEN journey._may_merge(w.profile_id, w.other_id) END;
        IF why IS NOT NULL THEN
            PERFORM journey._refuse_merge(w.profile_id, w.other_id, why);
            CONTINUE;
        END IF;
        IF NOT journey._lock_people(ARRAY[w.profile_id, w.other_id]) THEN
            UPDATE journey.merge_wish x
            SET refused = 'a sender has one of their messages, or somebody writes about one of them; tried again shortly',
                try_at = journey._try_again()
            WHERE x.bucket = w.bucket AND x.profile_id = w.profile_id AND x.other_bucket = w.other_bucket AND x.other_id = w.other_id;
            CONTINUE;
        END IF;
        id := journey.uuid_v7();
        INSERT INTO journey.merge_log (bucket, profile_id, merge_id, from_bucket, from_id, into_bucket, into_id, method, confidence,
                                       keys, source, merged_at, link_xact, merge_xact, incarnation)
        VALUES (journey.bucket(stays), stays, id, journey.bucket(goes), goes, journey.bucket(stays), stays, w.method, w.confidence,
                w.keys, w.source, moment, w.link_xact, pg_current_xact_id(), w.incarnation);
        pairs := pairs || jsonb_build_object('from_bucket', journey.bucket(goes), 'from_id', goes, 'into_bucket', journey.bucket(stays),
            'into_id', stays, 'merge_id', id, 'confidence', w.confidence, 'method', w.method);
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._merge_round(jsonb) IS
    'Goes through the wishes that are due: refuses, postpones, or locks two people and logs their merge. Returns the merges to be made, and which wishes have been looked at in this lap.';

CREATE FUNCTION journey._merge_due() RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC' -- keys are written down as text
AS $$
DECLARE
    tried jsonb := '[]';
    pairs jsonb;
    n bigint := 0;
    undo record;
BEGIN
    LOOP
        SELECT r.tried, r.pairs INTO tried, pairs FROM journey._merge_round(tried) r;
        EXIT WHEN pairs = '[]';
        n := n + jsonb_array_length(pairs);
        PERFORM journey._merge_consents(pairs);
        PERFORM journey._merge_sessions(pairs);
        PERFORM journey._merge_profiles(pairs);
        PERFORM journey._merge_enrollments(pairs);
        PERFORM journey._merge_links(pairs);
        PERFORM journey._merge_move(pairs);
        PERFORM journey._merge_keys(pairs);
        PERFORM journey._recount_into(ARRAY(SELECT m.into_id FROM journey._pairs(pairs) m));
    END LOOP;
    FOR undo IN SELECT w.* FROM journey.merge_wish w WHERE w.try_at <= journey.clock() AND w.undo IS NOT NULL LOOP
        n := n + journey._unmerge(undo.profile_id, undo.undo, undo.source)::integer;
    END LOOP;
    RETURN n;
END
$$;
COMMENT ON FUNCTION journey._merge_due() IS 'Makes the merges, and takes apart what is to be, that are due and hold up nobody; returns how many.';
