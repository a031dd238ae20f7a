-- A merge taken apart: what it moved goes back, what it made one is two again.
-- What has come since stays with the person, but for what belongs to an
-- enrollment, a message, a cart or an order that goes back: its lines, parcels and returns.

CREATE FUNCTION journey._unmerge_rows(owner uuid, of_merge uuid, back uuid) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    t record;
BEGIN
    FOR t IN
        SELECT p.name, p.original, r.keys, r.twins, (SELECT COALESCE(string_agg('t.' || k, ', '), '') FROM unnest(p.keys) k) AS key
        FROM journey._personal_tables() p
        JOIN journey.merge_row r ON r.bucket = journey.bucket(owner) AND r.profile_id = owner AND r.merge_id = of_merge AND r.name = p.name
    LOOP
        EXECUTE format($s$
            UPDATE journey.%1$I t SET bucket = journey.bucket($2), profile_id = $2%3$s
            FROM jsonb_array_elements($3) k
            WHERE t.bucket = journey.bucket($1) AND t.profile_id = $1 AND jsonb_build_array(%2$s) = k.value $s$,
            t.name, t.key, CASE WHEN t.original THEN ', original_id = NULLIF(t.original_id, $2)' ELSE '' END)
        USING owner, back, t.keys;
        EXECUTE format($s$
            INSERT INTO journey.%1$I SELECT (jsonb_populate_record(NULL::journey.%1$I, x.value)).* FROM jsonb_array_elements($1) x
            ON CONFLICT DO NOTHING $s$, t.name)
        USING t.twins;
    END LOOP;
    -- what has come since and belongs to something that went back
    FOR t IN
        SELECT p.name, p.original, x.part, x.of
        FROM journey._personal_tables() p
        JOIN (VALUES ('enrollment_id', 'SELECT e.enrollment_id FROM journey.enrollment e WHERE e.bucket = journey.bucket($2) AND e.profile_id = $2'),
                     ('action_id', 'SELECT o.action_id FROM journey.outbox o WHERE o.bucket = journey.bucket($2) AND o.profile_id = $2'
                                   ' UNION ALL SELECT o.action_id FROM journey.outbox_history o WHERE o.bucket = journey.bucket($2) AND o.profile_id = $2'),
                     ('(t.scope, t.cart_id)', 'SELECT c.scope, c.cart_id FROM journey.cart c WHERE c.bucket = journey.bucket($2) AND c.profile_id = $2'),
                     ('(t.scope, t.order_id)', 'SELECT o.scope, o.order_id FROM journey.orders o WHERE o.bucket = journey.bucket($2) AND o.profile_id = $2'))
             AS x (part, of)
          ON CASE x.part WHEN '(t.scope, t.cart_id)' THEN p.name = 'cart_line' WHEN '(t.scope, t.order_id)' THEN p.name IN ('order_line', 'shipment', 'returns')
                         ELSE EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = format('journey.%I', p.name)::regclass AND a.attname = x.part) END
        -- actions follow their enrollments, the rest follows both
        ORDER BY x.part DESC
    LOOP
        EXECUTE format('UPDATE journey.%I t SET bucket = journey.bucket($2), profile_id = $2%s'
                       ' WHERE t.bucket = journey.bucket($1) AND t.profile_id = $1 AND %s IN (%s)',
                       t.name, CASE WHEN t.original THEN ', original_id = COALESCE(t.original_id, $1)' ELSE '' END, t.part, t.of)
        USING owner, back;
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._unmerge_rows(uuid, uuid, uuid) IS
    'Gives a person back the rows that a merge took from them, and what has come of these since.';

CREATE FUNCTION journey._unmerge_state(owner uuid, of_merge uuid, back uuid, merged_at timestamptz) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    r record;
    was record;
    twin record;
BEGIN
    -- what either has taken back since, both have; else each has what they had
    FOR r IN
        SELECT w.value AS was, t.value AS twin
        FROM journey.merge_row m
        CROSS JOIN jsonb_array_elements(m.was) w
        JOIN jsonb_array_elements(m.twins) t ON t.value -> 'scope' = w.value -> 'scope' AND t.value -> 'channel' = w.value -> 'channel'
                                            AND t.value -> 'purpose' = w.value -> 'purpose'
        WHERE m.bucket = journey.bucket(owner) AND m.profile_id = owner AND m.merge_id = of_merge AND m.name = 'consent'
    LOOP
        UPDATE journey.consent c
        SET state = r.was ->> 'state', basis = r.was ->> 'basis', source = r.was ->> 'source', proof = r.was -> 'proof',
            at = (r.was ->> 'at')::timestamptz, expires_at = (r.was ->> 'expires_at')::timestamptz
        WHERE c.bucket = journey.bucket(owner) AND c.profile_id = owner AND c.scope = r.was ->> 'scope' AND c.channel = r.was ->> 'channel'
          AND c.purpose = r.was ->> 'purpose' AND c.state = r.twin ->> 'state' AND c.at = (r.twin ->> 'at')::timestamptz;
    END LOOP;
    UPDATE journey.consent b
    SET state = o.state, basis = o.basis, source = o.source, proof = o.proof, at = o.at
    FROM journey.consent o
    WHERE b.bucket = journey.bucket(back) AND b.profile_id = back AND o.bucket = journey.bucket(owner) AND o.profile_id = owner
      AND o.scope = b.scope AND o.channel = b.channel AND o.purpose = b.purpose
      AND o.at > merged_at AND journey._strictness(o.state) > GREATEST(journey._strictness(b.state), 1);
    UPDATE journey.contact_point c
    SET state = w.value ->> 'state', changed_at = (w.value ->> 'changed_at')::timestamptz, reason = w.value ->> 'reason'
    FROM journey.merge_row m CROSS JOIN jsonb_array_elements(m.was) w
    WHERE m.bucket = journey.bucket(owner) AND m.profile_id = owner AND m.merge_id = of_merge AND m.name = 'contact_point'
      AND c.bucket = m.bucket AND c.profile_id = owner AND c.scope = w.value ->> 'scope' AND c.channel = w.value ->> 'channel'
      AND c.address_hash = (w.value ->> 'address_hash')::bigint AND c.changed_at <= merged_at;
    UPDATE journey.session s
    SET started_at = w.started_at, seen_at = w.seen_at, first_referrer = w.first_referrer, first_at = w.first_at,
        first_seq = w.first_seq, last_referrer = w.last_referrer, last_at = w.last_at, last_seq = w.last_seq
    FROM journey.merge_row m CROSS JOIN jsonb_populate_recordset(NULL::journey.session, m.was) w
    WHERE m.bucket = journey.bucket(owner) AND m.profile_id = owner AND m.merge_id = of_merge AND m.name = 'session'
      AND s.bucket = m.bucket AND s.profile_id = owner AND s.session_id = w.session_id AND s.seen_at <= merged_at;
    -- traits that were told since stay
    SELECT (jsonb_populate_record(NULL::journey.profile, m.was -> 0)).* INTO was FROM journey.merge_row m
    WHERE m.bucket = journey.bucket(owner) AND m.profile_id = owner AND m.merge_id = of_merge AND m.name = 'profile';
    SELECT (jsonb_populate_record(NULL::journey.profile, m.twins -> 0)).* INTO twin FROM journey.merge_row m
    WHERE m.bucket = journey.bucket(owner) AND m.profile_id = owner AND m.merge_id = of_merge AND m.name = 'profile';
    UPDATE journey.profile p
    SET traits = was.traits || COALESCE((SELECT jsonb_object_agg(k.key, k.value) FROM jsonb_each(p.traits) k
                                         WHERE k.value IS DISTINCT FROM (twin.traits || was.traits) -> k.key), '{}'),
        zone = CASE WHEN was.zone IS NULL AND p.zone = twin.zone THEN NULL ELSE p.zone END,
        locale = CASE WHEN was.locale IS NULL AND p.locale = twin.locale THEN NULL ELSE p.locale END,
        restricted = CASE WHEN twin.restricted AND NOT was.restricted THEN false ELSE p.restricted END,
        created_at = was.created_at, changed_at = journey.clock()
    WHERE p.bucket = journey.bucket(owner) AND p.profile_id = owner;
    UPDATE journey.profile_state s SET stage = x.value ->> 'stage'
    FROM journey.merge_row m CROSS JOIN jsonb_array_elements(m.was) x
    WHERE m.bucket = journey.bucket(owner) AND m.profile_id = owner AND m.merge_id = of_merge AND m.name = 'profile_state'
      AND s.bucket = m.bucket AND s.profile_id = owner AND s.stage = m.twins -> 0 ->> 'stage';
END
$$;
COMMENT ON FUNCTION journey._unmerge_state(uuid, uuid, uuid, timestamptz) IS
    'Consents, addresses, traits and stage of the person who stays, as they were before a merge, as far as nothing has been said since.';

CREATE FUNCTION journey._unmerge_keys(owner uuid, of_merge uuid, back uuid) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    UPDATE journey.identity i
    SET profile_bucket = journey.bucket(back), profile_id = back, confidence = (k.value ->> 4)::float8, method = k.value ->> 5
    FROM journey.merge_row m CROSS JOIN jsonb_array_elements(m.keys) k
    WHERE m.bucket = journey.bucket(owner) AND m.profile_id = owner AND m.merge_id = of_merge AND m.name = 'identity'
      AND i.bucket = (k.value ->> 0)::smallint AND i.key_hash = (k.value ->> 1)::bigint AND i.namespace = k.value ->> 2 AND i.value = k.value ->> 3
      -- an object that has changed hands since belongs to whoever has it
      AND i.profile_bucket = journey.bucket(owner) AND i.profile_id = owner;
    DELETE FROM journey.profile_alias a WHERE a.bucket = journey.bucket(back) AND a.profile_id = back;
    UPDATE journey.profile_alias a SET into_bucket = journey.bucket(back), into_id = back
    FROM journey.merge_row m CROSS JOIN jsonb_array_elements(m.keys) k
    WHERE m.bucket = journey.bucket(owner) AND m.profile_id = owner AND m.merge_id = of_merge AND m.name = 'profile_alias'
      AND a.bucket = journey.bucket((k.value ->> 0)::uuid) AND a.profile_id = (k.value ->> 0)::uuid;
    INSERT INTO journey.profile_link
    SELECT (jsonb_populate_record(NULL::journey.profile_link, x.value)).*
    FROM journey.merge_row m CROSS JOIN jsonb_array_elements(m.twins) x
    WHERE m.bucket = journey.bucket(owner) AND m.profile_id = owner AND m.merge_id = of_merge AND m.name = 'profile_link'
    ON CONFLICT DO NOTHING;
    -- what each is known by says what they are
    UPDATE journey.profile p
    SET class = CASE WHEN k.person THEN 'person' ELSE 'session' END, confidence = COALESCE(k.confidence, p.confidence)
    FROM unnest(ARRAY[owner, back]) AS x (id)
    CROSS JOIN LATERAL (SELECT bool_or(n.class = 'person') IS TRUE AS person, max(i.confidence) FILTER (WHERE n.class <> 'object') AS confidence
                        FROM journey.identity i JOIN journey.namespace n USING (namespace)
                        WHERE i.profile_bucket = journey.bucket(x.id) AND i.profile_id = x.id) k
    WHERE p.bucket = journey.bucket(x.id) AND p.profile_id = x.id;
END
$$;
COMMENT ON FUNCTION journey._unmerge_keys(uuid, uuid, uuid) IS 'Keys, aliases and links of a person whose merge is taken apart.';

CREATE FUNCTION journey._unmerge(owner uuid, of_merge uuid, by_whom text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC' -- as keys were written down
AS $$
DECLARE
    g record;
    moment timestamptz := journey.clock();
BEGIN
    SELECT * INTO g FROM journey.merge_log m
    WHERE m.bucket = journey.bucket(owner) AND m.profile_id = owner AND m.merge_id = of_merge AND m.undone_at IS NULL;
    IF NOT FOUND THEN
        DELETE FROM journey.merge_wish w WHERE w.bucket = journey.bucket(owner) AND w.profile_id = owner AND w.undo = of_merge;
        RETURN false;
    ELSIF NOT journey._lock_people(ARRAY[owner]) THEN
        UPDATE journey.merge_wish w SET try_at = journey._try_again()
        WHERE w.bucket = journey.bucket(owner) AND w.profile_id = owner AND w.undo = of_merge;
        RETURN false;
    END IF;
    PERFORM journey._unclaim(ARRAY[owner]);
    PERFORM journey._unmerge_rows(owner, of_merge, g.from_id);
    PERFORM journey._unmerge_state(owner, of_merge, g.from_id, g.merged_at);
    PERFORM journey._unmerge_keys(owner, of_merge, g.from_id);
    PERFORM journey._recount_into(ARRAY[owner, g.from_id]);
    DELETE FROM journey.merge_row m WHERE m.bucket = journey.bucket(owner) AND m.profile_id = owner AND m.merge_id = of_merge;
    UPDATE journey.merge_log m SET undone_at = moment, undone_by = by_whom
    WHERE m.bucket = journey.bucket(owner) AND m.profile_id = owner AND m.merge_id = of_merge;
    DELETE FROM journey.merge_wish w WHERE w.bucket = journey.bucket(owner) AND w.profile_id = owner AND w.undo = of_merge;
    RETURN true;
END
$$;
COMMENT ON FUNCTION journey._unmerge(uuid, uuid, text) IS 'Takes one merge apart, unless somebody has the person locked; then a later lap does.';

-- ---- said by hand ------------------------------------------------------------------

CREATE FUNCTION journey.merge(subject jsonb, other jsonb, scope text DEFAULT NULL) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    a uuid := journey.profile_id(merge.subject, merge.scope);
    b uuid := journey.profile_id(merge.other, merge.scope);
BEGIN
    PERFORM journey._demand(merge.subject IS NOT NULL AND merge.other IS NOT NULL, 'merge',
                            'Name two people, as {"customer_id": "42"} and {"email": "a@b.c"}.');
    IF a IS NULL OR b IS NULL THEN
        RETURN false;
    ELSIF a = b THEN
        RETURN true;
    END IF;
    INSERT INTO journey.merge_wish AS w (bucket, profile_id, other_bucket, other_id, method, confidence, keys, source, since,
                                         link_xact, incarnation, try_at)
    SELECT journey.bucket(LEAST(a, b)), LEAST(a, b), journey.bucket(GREATEST(a, b)), GREATEST(a, b), 'asserted', 0.9, 'merge',
           session_user, journey.clock(), pg_current_xact_id(), c.incarnation, journey.clock()
    FROM journey.cursor c
    ON CONFLICT (bucket, profile_id, other_bucket, other_id) DO UPDATE
    SET method = EXCLUDED.method, confidence = EXCLUDED.confidence, keys = EXCLUDED.keys, source = EXCLUDED.source, since = EXCLUDED.since,
        link_xact = EXCLUDED.link_xact, incarnation = EXCLUDED.incarnation, try_at = EXCLUDED.try_at, refused = NULL;
    RETURN true;
END
$$;
COMMENT ON FUNCTION journey.merge(jsonb, jsonb, text) IS
    'Says that two known people are one: the next lap merges them, also when each has an account number of their own, or somebody has taken them apart before. False when either is not known. journey.unmerge() takes it back.';

CREATE FUNCTION journey.unmerge(merge_id uuid) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    g record;
    last uuid;
BEGIN
    PERFORM journey._demand(unmerge.merge_id IS NOT NULL, 'unmerge', 'Name a merge of journey.merge_log.');
    SELECT * INTO g FROM journey.merge_log m WHERE m.merge_id = unmerge.merge_id AND m.undone_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- the way back is the way there: a later one may have taken rows of an earlier one
    SELECT m.merge_id INTO last FROM journey.merge_log m
    WHERE m.bucket = g.bucket AND m.profile_id = g.profile_id AND m.undone_at IS NULL AND m.merge_xact > g.merge_xact
      AND m.from_id = g.into_id
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'merge % cannot be undone yet', unmerge.merge_id
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'The person has been merged into another since.',
                  HINT = format('Undo that one first: SELECT journey.unmerge(''%s'').', last);
    END IF;
    INSERT INTO journey.merge_wish AS w (bucket, profile_id, other_bucket, other_id, method, confidence, keys, source, since,
                                         link_xact, incarnation, try_at, undo)
    SELECT g.bucket, g.profile_id, g.from_bucket, g.from_id, 'asserted', 1, g.keys, session_user, journey.clock(),
           pg_current_xact_id(), c.incarnation, journey.clock(), unmerge.merge_id
    FROM journey.cursor c
    ON CONFLICT DO NOTHING;
    RETURN true;
END
$$;
COMMENT ON FUNCTION journey.unmerge(uuid) IS
    'Takes a merge of journey.merge_log apart: from the next lap on the two are two again, each with the keys, events, orders, consents, enrollments and messages they had; what has come since stays with the person who has the keys, but for what belongs to something that went back. Events do not merge them again; they stay linked, so that a purchase of one ends messages of both. 55000 when a later merge must be undone first; false when there is none of this id, or it is undone.';
