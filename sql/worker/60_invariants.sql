-- The promises as queries: no rows, no violation. Snapshots and laps are
-- compared, wall clocks only where a lease should have ended.

CREATE FUNCTION journey._actions()
    RETURNS TABLE (bucket smallint, profile_id uuid, action_id uuid, status text, reason text, live boolean,
                   enrollment_id uuid, journey text, version integer, step text, visit integer, purpose text,
                   scope text, channel text, due_at timestamptz, not_after timestamptz, attempt integer,
                   idempotency_key text, decision_id uuid, decided_at timestamptz, decided_lap bigint, finished_at timestamptz,
                   removal boolean, entry_lap bigint, entry_seq bigint, own_ref text, fences jsonb)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT a.bucket, a.profile_id, a.action_id, a.status, a.reason, a.live, a.enrollment_id, a.journey, a.version,
           a.step, a.visit, a.purpose, a.scope, a.channel, a.due_at, a.not_after, a.attempt, a.idempotency_key,
           a.decision_id, a.decided_at, a.decided_lap, a.finished_at, a.removal, e.lap, e.entry_seq, COALESCE(e.entry_ref, ''),
           (SELECT COALESCE(jsonb_object_agg(CASE jsonb_typeof(s) WHEN 'string' THEN s #>> '{}' ELSE s ->> 'on' END,
                                             jsonb_typeof(s) = 'object' AND s ? 'match'), '{}')
            FROM jsonb_array_elements(COALESCE(d.doc -> 'suppress_on', '[]')) s)
    FROM (SELECT o.bucket, o.profile_id, o.action_id, o.status, o.reason, true AS live, o.enrollment_id, o.journey,
                 o.version, o.step, o.visit, o.purpose, o.scope, o.channel, o.due_at, o.not_after, o.attempt,
                 o.idempotency_key, o.decision_id, o.decided_at, o.decided_lap, NULL::timestamptz AS finished_at,
                 o.payload ? '_remove' AS removal
          FROM journey.outbox o
          UNION ALL
          SELECT h.bucket, h.profile_id, h.action_id, h.status, h.reason, false, h.enrollment_id, h.journey,
                 h.version, h.step, h.visit, h.purpose, h.scope, h.channel, h.due_at, h.not_after, h.attempt,
                 h.idempotency_key, h.decision_id, h.decided_at, h.decided_lap, h.finished_at,
                 h.payload ? '_remove'
          FROM journey.outbox_history h) a
    LEFT JOIN journey.enrollment e
        ON e.bucket = a.bucket AND e.profile_id = a.profile_id AND e.enrollment_id = a.enrollment_id
    LEFT JOIN journey.document d
        ON d.kind = 'journey' AND d.name = a.journey AND d.version = a.version;
END
$$;
COMMENT ON FUNCTION journey._actions() IS
    'Every action, live or final, with the event types that stop it (type to: has a match condition) and the object that caused it. For check_invariants().';

-- Documents live by real time, permits by journey.clock(): the id tells the former.
CREATE FUNCTION journey._house_at(permit_batch uuid) RETURNS SETOF jsonb
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    at timestamptz := to_timestamp(('x' || left(replace(permit_batch::text, '-', ''), 12))::bit(48)::bigint / 1000.0);
BEGIN
    RETURN QUERY
    SELECT h.doc
    FROM (SELECT d.doc, d.state, COALESCE(d.activated_at, d.applied_at) AS since,
                 lead(COALESCE(d.activated_at, d.applied_at)) OVER (PARTITION BY d.name ORDER BY d.version) AS replaced_at
          FROM journey.document d
          WHERE d.kind = 'policy' AND (d.state = 'active' OR d.activated_at IS NOT NULL)) h
    WHERE h.since <= at AND (at < h.replaced_at OR h.replaced_at IS NULL AND h.state = 'active');
END
$$;
COMMENT ON FUNCTION journey._house_at(uuid) IS
    'The house policy as it was at a permit; no row when there was none. For check_invariants().';

-- A document's channel has the address that the document says; else its name implies one.
CREATE FUNCTION journey._address_of(channel text) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    doc jsonb;
BEGIN
    SELECT d.doc INTO doc FROM journey.document d
    WHERE d.kind = 'channel' AND d.name = channel AND d.state = 'active';
    RETURN CASE WHEN FOUND THEN doc ->> 'address'
                ELSE CASE channel WHEN 'email' THEN 'email' WHEN 'sms' THEN 'phone' WHEN 'push' THEN 'push' END END;
END
$$;
COMMENT ON FUNCTION journey._address_of(text) IS
    'The namespace of the addresses that a channel sends to; null when it needs none. For check_invariants().';

CREATE FUNCTION journey._permit_people()
    RETURNS TABLE (person uuid, permit_batch uuid, other uuid)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    WITH RECURSIVE link AS (
        SELECT l.profile_id AS one, l.other_id AS other, l.strong, l.link_xact, l.incarnation FROM journey.profile_link l
        UNION ALL
        -- who was merged was linked before, by the event that said so
        SELECT x.one, x.other, true, g.link_xact, g.incarnation
        FROM journey.merge_log g
        CROSS JOIN LATERAL (VALUES (g.from_id, g.into_id), (g.into_id, g.from_id)) AS x (one, other)
        WHERE g.undone_at IS NULL
    ), reached AS (
        SELECT COALESCE(t.original_id, t.profile_id) AS person, t.permit_batch, COALESCE(t.original_id, t.profile_id) AS other, true AS strong
        FROM journey.attempt_log t
        UNION
        SELECT r.person, r.permit_batch, l.other, l.strong
        FROM reached r
        JOIN link l ON l.one = r.other
        JOIN journey.permit_batch b ON b.permit_batch = r.permit_batch
        -- what met in a browser or at an object is linked with each other and no further
        WHERE r.strong AND (l.strong OR r.other = r.person)
          AND (l.incarnation < b.incarnation
               OR l.incarnation = b.incarnation AND pg_visible_in_snapshot(l.link_xact, b.snapshot))
    )
    SELECT DISTINCT r.person, r.permit_batch, r.other FROM reached r;
END
$$;
COMMENT ON FUNCTION journey._permit_people() IS
    'Of each permit its person, and everybody with whom events that its snapshot sees have linked them, under the ids that they had then. For check_invariants().';

CREATE FUNCTION journey._check_promises()
    RETURNS TABLE (invariant text, subject text, detail text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    -- I1, I11: a permit whose snapshot sees what should have stopped it, and nothing that takes it back
    RETURN QUERY
    SELECT DISTINCT CASE WHEN s.reason = 'opted_out' THEN 'I11' ELSE 'I1' END, a.action_id::text,
           format('permit %s of %s was granted on a snapshot that sees %s %s (seq %s)',
                  t.attempt, a.journey, s.type, s.ref, s.seq)
    FROM journey.attempt_log t
    JOIN journey.permit_batch b ON b.permit_batch = t.permit_batch
    JOIN journey._actions() a ON a.bucket = t.bucket AND a.profile_id = t.profile_id AND a.action_id = t.action_id
    JOIN journey._permit_people() p ON p.person = COALESCE(t.original_id, t.profile_id) AND p.permit_batch = t.permit_batch
    JOIN journey.suppression s ON COALESCE(s.original_id, s.profile_id) = p.other
    -- those that a lap wrote for linked people follow from the others and from the links;
    -- what takes somebody out of an audience, nothing stops
    WHERE s.fence_xact IS NOT NULL AND NOT s.linked AND NOT a.removal
      AND CASE WHEN s.incarnation = b.incarnation
               THEN pg_visible_in_snapshot(s.fence_xact, b.snapshot)
                    AND (s.released_xact IS NULL OR NOT pg_visible_in_snapshot(s.released_xact, b.snapshot))
               -- adopt() stands between them; when it was taken back since, nothing tells
               ELSE s.incarnation < b.incarnation AND s.released_by IS NULL END
      AND (s.until IS NULL OR s.until > t.granted_at)
      AND (s.scope IN ('*', a.scope) OR a.scope = '*'
           OR EXISTS (SELECT FROM journey._house_at(t.permit_batch) h WHERE (h ->> 'fences_cross_scopes')::boolean))
      AND CASE WHEN s.type IN ('erased', 'restricted') THEN s.lap > a.decided_lap
               WHEN s.reason = 'opted_out'
               THEN s.lap > a.decided_lap AND a.purpose = 'marketing' AND s.purpose IN ('*', a.purpose)
                    AND (s.channel IN ('*', a.channel) OR s.channel = journey._address_of(a.channel))
               ELSE (s.lap > COALESCE(a.entry_lap, a.decided_lap) OR s.seq > a.entry_seq) AND a.fences ? s.type AND s.ref <> a.own_ref
                    AND (NOT (a.fences -> s.type)::boolean
                         OR EXISTS (SELECT FROM journey.suppression m
                                    WHERE m.bucket = a.bucket AND m.profile_id = a.profile_id AND m.seq = s.seq AND m.type = s.type
                                      AND a.enrollment_id = ANY (m.matched))) END;
    -- I3: one effect per idempotency key, attempts strictly rising
    RETURN QUERY
    SELECT 'I3', a.idempotency_key, format('%s actions with this key were sent', count(*))
    FROM journey._actions() a WHERE a.status = 'sent'
    GROUP BY a.idempotency_key HAVING count(*) > 1;
    RETURN QUERY
    SELECT 'I3', t.action_id::text, format('attempt %s follows attempt %s', t.attempt, t.before)
    FROM (SELECT l.action_id, l.attempt,
                 lag(l.attempt) OVER (PARTITION BY l.bucket, l.profile_id, l.action_id ORDER BY l.granted_at, l.attempt) AS before
          FROM journey.attempt_log l) t
    WHERE t.attempt <= t.before;
    -- I5: nobody held out is contacted, and anybody can recompute the arm
    RETURN QUERY
    SELECT 'I5', e.enrollment_id::text, format('action %s exists for a held-out person', a.action_id)
    FROM journey.enrollment e
    JOIN journey._actions() a USING (bucket, profile_id, enrollment_id)
    WHERE e.arm = 'control';
    RETURN QUERY
    SELECT 'I5', x.enrollment_id::text, format('place %s is not assign(%L, %s)', x.place, x.salt, COALESCE(x.original_id, x.profile_id))
    FROM journey.exposure x
    WHERE x.salt <> '' AND x.place IS DISTINCT FROM journey.assign(x.salt, COALESCE(x.original_id, x.profile_id));
    RETURN QUERY
    SELECT 'I5', x.enrollment_id::text, 'the exposure names another arm than the enrollment'
    FROM journey.exposure x
    JOIN journey.enrollment e USING (bucket, profile_id, enrollment_id)
    WHERE x.arm <> e.arm;
END
$$;
COMMENT ON FUNCTION journey._check_promises() IS 'I1, I3, I5 and I11 of check_invariants().';

CREATE FUNCTION journey._check_books()
    RETURNS TABLE (invariant text, subject text, detail text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    kept timestamptz; -- of what is older, decisions or actions may have been dropped
BEGIN
    SELECT COALESCE(max(r.kept_since), '-infinity') INTO kept FROM journey.retention r WHERE r.name IN ('decision', 'outbox_history');
    -- I2: each decision to contact has exactly one action, and each action its decision
    RETURN QUERY
    SELECT 'I2', d.decision_id::text, format('decided to enqueue action %s, which exists %s times', d.action_id, count(a.action_id))
    FROM journey.decision d
    LEFT JOIN journey._actions() a ON a.bucket = d.bucket AND a.profile_id = d.profile_id AND a.action_id = d.action_id
    WHERE d.verdict = 'enqueue' AND d.decided_at >= kept
    GROUP BY d.decision_id, d.action_id HAVING count(a.action_id) <> 1;
    RETURN QUERY
    SELECT 'I2', a.action_id::text, 'no decision says why this action exists'
    FROM journey._actions() a
    WHERE a.enrollment_id IS NOT NULL AND a.decided_at >= kept
      AND NOT EXISTS (SELECT FROM journey.decision d
                      WHERE d.bucket = a.bucket AND d.profile_id = a.profile_id AND d.action_id = a.action_id
                        AND d.verdict = 'enqueue');
    -- I4: what was stopped has its audit row, exactly one
    RETURN QUERY
    SELECT 'I4', a.action_id::text, format('%s for %s without a decision or an exit that says so', a.status, a.reason)
    FROM journey._actions() a
    WHERE a.status IN ('refused', 'expired', 'cancelled') AND a.enrollment_id IS NOT NULL AND a.decided_at >= kept
      AND NOT EXISTS (SELECT FROM journey.decision d
                      WHERE d.bucket = a.bucket AND d.profile_id = a.profile_id AND d.action_id = a.action_id
                        AND d.kind IN ('claim', 'permit'))
      AND NOT EXISTS (SELECT FROM journey.transition t
                      WHERE t.bucket = a.bucket AND t.profile_id = a.profile_id AND t.enrollment_id = a.enrollment_id
                        AND (t.edge IN ('exit', 'refused')
                             -- held as unknown, it was the end of the step whatever becomes of it
                             OR t.edge = 'unknown' AND t.from_step = a.step))
      -- as long as the enrollment stands there, it has not been told yet: see I13
      AND NOT EXISTS (SELECT FROM journey.enrollment e
                      WHERE e.bucket = a.bucket AND e.profile_id = a.profile_id AND e.enrollment_id = a.enrollment_id
                        AND e.exited_at IS NULL AND e.step = a.step AND e.visit = a.visit);
    RETURN QUERY
    SELECT 'I4', d.action_id::text, format('%s final refusals at %s', count(*), d.kind)
    FROM journey.decision d
    JOIN journey.reason_code r ON r.reason = d.reason AND r.final
    WHERE d.kind IN ('claim', 'permit') AND d.verdict = 'refused'
    GROUP BY d.action_id, d.kind HAVING count(*) > 1;
    -- I7: one state, an unbroken chain, nothing after the end
    RETURN QUERY
    SELECT 'I7', t.enrollment_id::text, format('transition %s does not follow %s', t.n, t.before)
    FROM (SELECT x.enrollment_id, x.n, x.from_step,
                 lag(x.n) OVER w AS before, lag(x.to_step) OVER w AS stood
          FROM journey.transition x
          WINDOW w AS (PARTITION BY x.bucket, x.profile_id, x.enrollment_id ORDER BY x.n)) t
    WHERE (t.before IS NULL AND (t.n <> 1 OR t.from_step IS NOT NULL))
       OR (t.before IS NOT NULL AND (t.n <> t.before + 1 OR t.stood IS NULL OR t.from_step IS DISTINCT FROM t.stood));
    RETURN QUERY
    SELECT 'I7', e.enrollment_id::text, format('stands on %s, the chain ends on %s', COALESCE(e.step, '(end)'), COALESCE(l.to_step, '(end)'))
    FROM journey.enrollment e
    LEFT JOIN LATERAL (SELECT t.to_step, t.n FROM journey.transition t
                       WHERE t.bucket = e.bucket AND t.profile_id = e.profile_id AND t.enrollment_id = e.enrollment_id
                       ORDER BY t.n DESC LIMIT 1) l ON true
    WHERE l.n IS NULL OR l.to_step IS DISTINCT FROM e.step OR (e.step IS NULL) <> (e.exited_at IS NOT NULL);
    RETURN QUERY
    SELECT 'I7', format('%s %s %s', e.journey, e.profile_id, e.key), format('%s live enrollments', count(*))
    FROM journey.enrollment e WHERE e.exited_at IS NULL
    GROUP BY e.journey, e.profile_id, e.key HAVING count(*) > 1;
END
$$;
COMMENT ON FUNCTION journey._check_books() IS 'I2, I4 and I7 of check_invariants().';

CREATE FUNCTION journey._check_caps()
    RETURNS TABLE (invariant text, subject text, detail text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    -- I6: in every window that ends with a permit, no more actions with a permit than the caps that it was judged by
    RETURN QUERY
    WITH permit AS (
        SELECT t.*, COALESCE(p.zone, (SELECT d.doc ->> 'zone' FROM journey.document d WHERE d.kind = 'policy' AND d.state = 'active' LIMIT 1), 'UTC') AS zone
        FROM journey.attempt_log t
        JOIN journey.profile p ON p.bucket = t.bucket AND p.profile_id = t.profile_id
        WHERE t.counted AND t.purpose <> 'transactional'
    ), same AS (
        -- before they were merged, caps counted two people
        SELECT p.permit_batch, p.person, p.other
        FROM journey._permit_people() p
        JOIN journey.permit_batch b ON b.permit_batch = p.permit_batch
        WHERE p.person = p.other
           OR EXISTS (SELECT FROM journey.merge_log g
                      WHERE g.undone_at IS NULL AND (p.person IN (g.from_id, g.into_id) OR p.other IN (g.from_id, g.into_id))
                        AND (g.incarnation < b.incarnation OR g.incarnation = b.incarnation AND pg_visible_in_snapshot(g.merge_xact, b.snapshot)))
    ), cap AS (
        -- the journey's, as they were when the action was decided; frozen with it
        SELECT a.bucket, a.profile_id, a.action_id, c, COALESCE(c ->> 'scope', 'journey') = 'journey' AS own
        FROM journey._actions() a
        JOIN journey.document d ON d.kind = 'journey' AND d.name = a.journey AND d.version = a.version
        CROSS JOIN jsonb_array_elements(COALESCE(d.doc -> 'caps', '[]')) c
        WHERE a.purpose <> 'transactional'
        UNION ALL
        -- the house's on marketing, as they were at the permit
        SELECT t.bucket, t.profile_id, t.action_id, c, false
        FROM permit t
        CROSS JOIN journey._house_at(t.permit_batch) h
        CROSS JOIN jsonb_array_elements(COALESCE(h -> 'caps', '[]')) c
        WHERE t.purpose = 'marketing'
    ), judged AS (
        SELECT DISTINCT t.bucket, t.profile_id, COALESCE(t.original_id, t.profile_id) AS person, t.scope, t.journey, t.granted_at, t.permit_batch, t.zone, c.own,
               NULLIF(c.c ->> 'channel', '*') AS channel, (c.c ->> 'max')::integer AS most,
               (c.c ->> 'per')::interval AS per, COALESCE(c.c ->> 'window', 'rolling') AS kind,
               EXISTS (SELECT FROM journey._house_at(t.permit_batch) h WHERE (h ->> 'caps_cross_scopes')::boolean) AS across
        FROM permit t
        JOIN cap c ON c.bucket = t.bucket AND c.profile_id = t.profile_id AND c.action_id = t.action_id
        LEFT JOIN journey.document ch ON ch.kind = 'channel' AND ch.name = t.channel AND ch.state = 'active'
        WHERE COALESCE(c.c ->> 'channel', '*') IN ('*', t.channel)
          AND COALESCE(ch.doc ->> 'mode', '') <> 'ops'
    )
    SELECT 'I6', j.profile_id::text,
           format('%s actions with a permit on %s up to %s, cap %s per %s (%s)', n.permits, COALESCE(j.channel, 'all channels'),
                  j.granted_at, j.most, j.per, j.kind)
    FROM judged j
    CROSS JOIN LATERAL (
        -- whole months, weeks from Monday, or days, up to the present one; shorter ones roll
        SELECT CASE WHEN j.kind <> 'calendar' OR j.per < '1 day' THEN NULL
                    WHEN extract(year FROM j.per) * 12 + extract(month FROM j.per) > 0
                    THEN date_trunc('month', j.granted_at AT TIME ZONE j.zone) + interval '1 month' - date_trunc('month', j.per)
                    WHEN extract(day FROM j.per)::integer % 7 = 0
                    THEN date_trunc('week', j.granted_at AT TIME ZONE j.zone) + interval '7 days' - date_trunc('day', j.per)
                    ELSE date_trunc('day', j.granted_at AT TIME ZONE j.zone) + interval '1 day' - date_trunc('day', j.per) END AS first) w
    CROSS JOIN LATERAL (
        SELECT count(DISTINCT o.action_id) AS permits FROM permit o
        WHERE o.bucket = j.bucket AND o.profile_id = j.profile_id AND (j.across OR o.scope = j.scope)
          AND EXISTS (SELECT FROM same s WHERE s.permit_batch = j.permit_batch AND s.person = j.person
                      AND s.other = COALESCE(o.original_id, o.profile_id))
          AND CASE WHEN j.own THEN o.journey = j.journey ELSE o.purpose = 'marketing' END
          AND (j.channel IS NULL OR o.channel = j.channel)
          AND (o.granted_at, o.permit_batch) <= (j.granted_at, j.permit_batch)
          AND CASE WHEN w.first IS NOT NULL THEN o.granted_at AT TIME ZONE j.zone >= w.first
              ELSE o.granted_at > j.granted_at - j.per END) n
    WHERE n.permits > j.most;
END
$$;
COMMENT ON FUNCTION journey._check_caps() IS
    'I6 of check_invariants(): every permit but transactional ones, by the caps of the version that decided it and of the house policy of its moment.';

CREATE FUNCTION journey._check_quiet_hours()
    RETURNS TABLE (invariant text, subject text, detail text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    -- the journey's own, of the version that decided; else the house's, as they were at the permit
    RETURN QUERY
    WITH permit AS (
        SELECT t.action_id, t.attempt, t.granted_at, COALESCE(own.doc, h.doc -> 'quiet_hours') AS quiet,
               COALESCE(p.zone, h.doc ->> 'zone', 'UTC') AS zone
        FROM journey.attempt_log t
        JOIN journey._actions() a ON a.bucket = t.bucket AND a.profile_id = t.profile_id AND a.action_id = t.action_id
        JOIN journey.document d ON d.kind = 'journey' AND d.name = a.journey AND d.version = a.version
        JOIN journey.profile p ON p.bucket = t.bucket AND p.profile_id = t.profile_id
        LEFT JOIN journey.document ch ON ch.kind = 'channel' AND ch.name = t.channel AND ch.state = 'active'
        LEFT JOIN LATERAL journey._house_at(t.permit_batch) h (doc) ON true
        CROSS JOIN LATERAL (SELECT NULLIF(d.doc -> 'quiet_hours', 'null')) own (doc)
        WHERE a.purpose <> 'transactional' AND NOT a.removal AND COALESCE(ch.doc ->> 'mode', 'push') = 'push'
          -- whoever has moved since may have had another zone
          AND p.changed_at <= a.decided_at
    )
    SELECT 'I10', q.action_id::text, format('permit %s at %s, %s there, in quiet hours from %s to %s', q.attempt, q.granted_at, q.clock, q.first, q.last)
    FROM (SELECT x.*, (x.granted_at AT TIME ZONE CASE WHEN x.quiet ->> 'zone' <> 'profile' THEN x.quiet ->> 'zone' ELSE x.zone END)::time::interval AS clock,
                 (x.quiet ->> 'from')::interval AS first, (x.quiet ->> 'to')::interval AS last
          FROM permit x
          WHERE x.quiet ->> 'from' ~ '^\d\d?:\d\d(:\d\d)?$' AND x.quiet ->> 'to' ~ '^\d\d?:\d\d(:\d\d)?$') q
    WHERE CASE WHEN q.first < q.last THEN q.clock >= q.first AND q.clock < q.last
               ELSE q.first > q.last AND (q.clock >= q.first OR q.clock < q.last) END;
END
$$;
COMMENT ON FUNCTION journey._check_quiet_hours() IS
    'I10 of check_invariants(): no permit in the quiet hours that it was judged by, on the clock of the person.';

CREATE FUNCTION journey._check_hygiene()
    RETURNS TABLE (invariant text, subject text, detail text)
    LANGUAGE plpgsql STABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    at timestamptz := journey.clock();
    untold text[]; -- actions whose outcome no lap has read yet; null = nobody may look
BEGIN
    IF current_setting('transaction_isolation') <> 'serializable' THEN
        SELECT u.untold INTO untold FROM journey._unconsumed() u;
    END IF;
    -- I9: a lease has an owner, and no token serves twice
    RETURN QUERY
    SELECT 'I9', o.action_id::text, format('%s without token, sender or end of lease', o.status)
    FROM journey.outbox o
    WHERE o.status IN ('claimed', 'sending') AND (o.token IS NULL OR o.lease_until IS NULL OR o.sender IS NULL);
    RETURN QUERY
    SELECT 'I9', t.action_id::text, format('token %s was given to %s permits', t.token, count(*))
    FROM journey.attempt_log t
    GROUP BY t.bucket, t.profile_id, t.action_id, t.token HAVING count(*) > 1;
    -- I10: nothing leaves before its time or after it
    RETURN QUERY
    SELECT 'I10', t.action_id::text, format('permit at %s, due %s, not after %s', t.granted_at, a.due_at, a.not_after)
    FROM journey.attempt_log t
    JOIN journey._actions() a ON a.bucket = t.bucket AND a.profile_id = t.profile_id AND a.action_id = t.action_id
    WHERE t.granted_at < a.due_at OR t.granted_at > a.not_after;
    -- I12: the shop's tables are still watched, by triggers that can fail nothing
    RETURN QUERY
    SELECT 'I12', format('%I.%I', a.rel_schema, a.rel_name), 'the capture trigger is missing or not ENABLE ALWAYS'
    FROM journey.attachment a
    WHERE a.detached_at IS NULL
      AND NOT EXISTS (SELECT FROM journey._captures() t
                      WHERE t.attachment = a.attachment AND t.root AND t.enabled = 'A');
    -- I13: nothing is forgotten
    RETURN QUERY
    SELECT 'I13', o.action_id::text, format('lease of a %s action ended at %s', o.status, o.lease_until)
    FROM journey.outbox o
    WHERE o.status IN ('claimed', 'sending') AND o.lease_until < at - interval '5 seconds'
      -- and a lap has run since; laps go by real time, and a test clock may have jumped since the last
      AND (SELECT c.moved_at > CASE WHEN n.test_clock IS NULL THEN o.lease_until + interval '5 seconds' ELSE n.changed_at END
           FROM journey.cursor c, journey.node n);
    RETURN QUERY
    SELECT 'I13', o.action_id::text, format('%s, and no row of lease leads the reaper to it', o.status)
    FROM journey.outbox o
    WHERE o.status IN ('claimed', 'sending')
      AND NOT EXISTS (SELECT FROM journey.lease l WHERE o.action_id = ANY (l.actions) AND l.until <= o.lease_until);
    RETURN QUERY
    SELECT 'I13', t.enrollment_id::text, 'a timer without a live enrollment'
    FROM journey.timer t
    WHERE NOT EXISTS (SELECT FROM journey.enrollment e
                      WHERE e.bucket = t.bucket AND e.profile_id = t.profile_id
                        AND e.enrollment_id = t.enrollment_id AND e.exited_at IS NULL);
    RETURN QUERY
    SELECT 'I13', e.enrollment_id::text, format('waits on %s for nothing: no timer, no action, no outcome to be told', e.step)
    FROM journey.enrollment e
    WHERE e.exited_at IS NULL
      AND NOT EXISTS (SELECT FROM journey.timer t
                      WHERE t.bucket = e.bucket AND t.profile_id = e.profile_id AND t.enrollment_id = e.enrollment_id)
      AND NOT EXISTS (SELECT FROM journey._actions() a
                      WHERE a.bucket = e.bucket AND a.profile_id = e.profile_id
                        AND a.enrollment_id = e.enrollment_id AND a.visit = e.visit
                        AND (a.live OR untold IS NULL OR a.action_id::text = ANY (untold)))
      -- whose journey cannot be read stands where it stood: health names the document
      AND EXISTS (SELECT FROM journey.document d WHERE d.kind = 'journey' AND d.name = e.journey AND d.version = e.version
                  AND journey._unreadable(d.kind, d.name, d.doc) IS NULL);
    RETURN QUERY
    SELECT 'I13', a.profile_id::text, 'an id that was given up in a merge still has rows'
    FROM journey.profile_alias a
    WHERE EXISTS (SELECT FROM journey.profile p WHERE p.bucket = a.bucket AND p.profile_id = a.profile_id)
       OR EXISTS (SELECT FROM journey.outbox o WHERE o.bucket = a.bucket AND o.profile_id = a.profile_id)
       OR EXISTS (SELECT FROM journey.enrollment e WHERE e.bucket = a.bucket AND e.profile_id = a.profile_id)
       OR EXISTS (SELECT FROM journey.attempt_log t WHERE t.bucket = a.bucket AND t.profile_id = a.profile_id)
       OR EXISTS (SELECT FROM journey.suppression s WHERE s.bucket = a.bucket AND s.profile_id = a.profile_id)
       OR EXISTS (SELECT FROM journey.consent_history h WHERE h.bucket = a.bucket AND h.profile_id = a.profile_id)
       OR EXISTS (SELECT FROM journey.identity i WHERE i.profile_bucket = a.bucket AND i.profile_id = a.profile_id);
    RETURN QUERY
    SELECT 'I13', c.cart_id, format('cart says %s for %s, its lines %s for %s', c.items, c.value, l.items, l.value)
    FROM journey.cart c
    CROSS JOIN LATERAL (SELECT COALESCE(sum(x.quantity), 0) AS items, COALESCE(sum(x.quantity * x.price), 0) AS value
                        FROM journey.cart_line x
                        WHERE x.bucket = c.bucket AND x.profile_id = c.profile_id AND x.scope = c.scope AND x.cart_id = c.cart_id) l
    WHERE c.items <> l.items OR c.value <> l.value;
END
$$;
COMMENT ON FUNCTION journey._check_hygiene() IS 'I9, I10, I12 and I13 of check_invariants().';

CREATE FUNCTION journey.check_invariants()
    RETURNS TABLE (invariant text, subject text, detail text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    -- many queries, each short: compiling them takes longer than they do
    SET jit = off
    SET timezone = 'UTC' -- a day of a rolling cap is 24 hours
AS $$
BEGIN
    RETURN QUERY SELECT * FROM journey._check_promises();
    RETURN QUERY SELECT * FROM journey._check_books();
    RETURN QUERY SELECT * FROM journey._check_caps();
    RETURN QUERY SELECT * FROM journey._check_quiet_hours();
    RETURN QUERY SELECT * FROM journey._check_hygiene();
END
$$;
COMMENT ON FUNCTION journey.check_invariants() IS
    'A row per violation of what journey promises; none when all is well. I1 fence, I2 none lost, I3 one effect per key, I4 audit, I5 holdout, I6 caps, I7 one state, I9 leases, I10 times and quiet hours, I11 consent, I12 the shop''s tables, I13 hygiene. Reads the data tables whole: for tests, after a crash, and at quiet hours.';
