-- The rights of a person: to be forgotten, to be left alone, to see what is
-- known. Erasing deletes what laps and senders write, so a lap does it, as its
-- last work and when nobody is in the way; permits are refused from the commit
-- of the request on.

CREATE FUNCTION journey._append_fence(type text, at timestamptz, subject jsonb, keys bigint[]) RETURNS void
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_append_fence';
COMMENT ON FUNCTION journey._append_fence(text, timestamptz, jsonb, bigint[]) IS
    'Appends an event of a person, for every scope, with a fence under these key hashes (the first 14) to the inbox.';

CREATE FUNCTION journey._forget_digest(namespace text, value text) RETURNS bytea
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN journey._hmac((SELECT s.value FROM journey.secret s WHERE s.name = 'forget'),
                         convert_to(_forget_digest.namespace || chr(31) || _forget_digest.value, 'UTF8'));
END
$$;
COMMENT ON FUNCTION journey._forget_digest(text, text) IS
    'What is kept of a key of an erased person: a keyed digest, which without the secret of this database says nothing.';

CREATE FUNCTION journey._digest_bucket(digest bytea) RETURNS smallint
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (get_byte(digest, 0) << 8 | get_byte(digest, 1)) >> 6;
END
$$;
COMMENT ON FUNCTION journey._digest_bucket(bytea) IS 'Bucket of a digest: its first ten bits.';

CREATE FUNCTION journey._forgotten(namespaces text[], keys text[]) RETURNS TABLE (n integer, seq bigint)
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT k.n::integer - 1, f.seq
    FROM unnest(namespaces, keys) WITH ORDINALITY AS k (namespace, value, n)
    CROSS JOIN LATERAL journey._forget_digest(k.namespace, k.value) AS d (digest)
    JOIN journey.forgotten f ON f.bucket = journey._digest_bucket(d.digest) AND f.digest = d.digest;
END
$$;
COMMENT ON FUNCTION journey._forgotten(text[], text[]) IS
    'Which of these keys (normalised values, from 0) are those of somebody who was erased, and when in order of capture.';

CREATE FUNCTION journey._keys_of(id uuid, subject jsonb) RETURNS TABLE (namespace text, value text, class text, rank integer)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT x.namespace, x.value, n.class, n.rank
    FROM (SELECT i.namespace, i.value FROM journey.identity i WHERE i.profile_bucket = journey.bucket(id) AND i.profile_id = id
          UNION
          SELECT k.key, v.value FROM jsonb_each_text(_keys_of.subject) k
          CROSS JOIN LATERAL journey._key_forms(k.key, k.value, NULL) AS v (value)
          WHERE v.value IS NOT NULL) x
    JOIN journey.namespace n ON n.namespace = x.namespace AND n.class IN ('person', 'session', 'object');
END
$$;
COMMENT ON FUNCTION journey._keys_of(uuid, jsonb) IS
    'The keys by which a person is known, with their carts and orders, and those that a subject names, in every form.';

CREATE FUNCTION journey._names_one_of(original jsonb, cols text[], namespaces text[], keys text[]) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM unnest(namespaces, keys) AS k (namespace, value)
        WHERE position(k.value IN lower(concat_ws(' ', original, cols))) > 0
          AND (EXISTS (SELECT FROM jsonb_path_query(original, 'strict $.** ? (@.type() == "object")') AS o (object), jsonb_each_text(o.object) AS m (name, value)
                       WHERE lower(m.value) = k.value
                         AND (replace(lower(m.name), '_', '') = replace(k.namespace, '_', '') OR m.name IN ('userId', 'anonymousId', 'previousId')))
               -- a short number is also an amount, or a year, of somebody else
               OR k.value !~ '^([0-9]{0,6}|.{0,3})$'
                  AND EXISTS (SELECT FROM (SELECT o.scalar #>> '{}' FROM jsonb_path_query(original, 'strict $.** ? (@.type() == "string" || @.type() == "number")') AS o (scalar)
                                           UNION ALL SELECT unnest(cols)) AS t (said)
                              WHERE lower(t.said) = k.value
                                 OR length(k.value) > 5 AND lower(t.said) ~ ('(^|[^[:alnum:]._@+-])' || regexp_replace(k.value, '([^[:alnum:]])', '\\\1', 'g') || '\.?($|[^[:alnum:]._@+-])'))));
END
$$;
COMMENT ON FUNCTION journey._names_one_of(jsonb, text[], text[], text[]) IS
    'Whether what was set aside names one of these keys (normalised): as the value of a field of that name, or as a value of any field, or apart within one; keys of less than four characters or seven digits only under their name.';

CREATE FUNCTION journey._forget_quarantined(id uuid, subject jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    said record;
BEGIN
    SELECT array_agg(k.namespace) AS namespaces,
           array_agg(lower(CASE WHEN n.crosses_scopes THEN k.value ELSE substr(k.value, strpos(k.value, ':') + 1) END)) AS keys INTO said
    FROM journey._keys_of(id, _forget_quarantined.subject) k JOIN journey.namespace n ON n.namespace = k.namespace
    WHERE k.class <> 'object';
    UPDATE journey.quarantine q SET original = NULL, original_text = NULL, reason = 'of a person who was erased'
    WHERE CASE WHEN EXISTS (SELECT FROM unnest(said.keys) AS v WHERE position(v IN lower(concat_ws(' ', q.original, q.original_text))) > 0)
               THEN journey._names_one_of(q.original, q.original_text::text[], said.namespaces, said.keys) END;
END
$$;
COMMENT ON FUNCTION journey._forget_quarantined(uuid, jsonb) IS
    'Takes a person, and those whom a subject names, out of what was set aside. Reads all of it.';

CREATE FUNCTION journey._tell_all(id uuid, type text, moment timestamptz, subject jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    PERFORM journey._append_fence(_tell_all.type, moment, COALESCE(journey._subject_of(_tell_all.id, 'default'), _tell_all.subject),
        ARRAY(SELECT h.hash FROM journey._keys_of(_tell_all.id, _tell_all.subject) k
              CROSS JOIN LATERAL journey.key_hash(k.namespace, k.value) AS h (hash)
              ORDER BY k.rank DESC, h.hash));
END
$$;
COMMENT ON FUNCTION journey._tell_all(uuid, text, timestamptz, jsonb) IS
    'An event of a person in every scope, with a fence under the strongest of all their keys: permits heed it from the commit on.';

CREATE FUNCTION journey._forget_keys(id uuid, subject jsonb, proof uuid, moment timestamptz) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    at_seq bigint := journey._next_seq();
    n integer;
BEGIN
    INSERT INTO journey.forgotten AS f (bucket, digest, seq, forgotten_at, erasure_id)
    SELECT DISTINCT journey._digest_bucket(d.digest), d.digest, at_seq, moment, proof
    FROM journey._keys_of(id, _forget_keys.subject) k
    CROSS JOIN LATERAL journey._forget_digest(k.namespace, k.value) AS d (digest)
    ON CONFLICT (bucket, digest) DO UPDATE SET seq = EXCLUDED.seq, forgotten_at = EXCLUDED.forgotten_at, erasure_id = EXCLUDED.erasure_id
    WHERE f.erasure_id <> EXCLUDED.erasure_id;
    GET DIAGNOSTICS n = ROW_COUNT;
    UPDATE journey.erasure e SET keys = e.keys + n WHERE e.erasure_id = proof;
END
$$;
COMMENT ON FUNCTION journey._forget_keys(uuid, jsonb, uuid, timestamptz) IS
    'Remembers the keys of a person, and those of a subject, as digests of an erasure, and counts them in its proof.';

CREATE FUNCTION journey._forget_objects(namespaces text[], keys text[], of_namespaces text[], of_keys text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    INSERT INTO journey.forgotten AS f (bucket, digest, seq, forgotten_at, erasure_id)
    SELECT DISTINCT ON (d.digest) journey._digest_bucket(d.digest), d.digest, o.seq, o.forgotten_at, o.erasure_id
    FROM unnest(namespaces, _forget_objects.keys, of_namespaces, of_keys) AS k (namespace, value, of_namespace, of_value)
    CROSS JOIN LATERAL journey._forget_digest(k.namespace, k.value) AS d (digest)
    CROSS JOIN LATERAL journey._forget_digest(k.of_namespace, k.of_value) AS by (digest)
    JOIN journey.forgotten o ON o.bucket = journey._digest_bucket(by.digest) AND o.digest = by.digest
    ORDER BY d.digest
    ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION journey._forget_objects(text[], text[], text[], text[]) IS
    'Remembers carts and orders that were read after their person was erased, each with the key by which that person was known.';

CREATE FUNCTION journey.erase(subject jsonb, reason text DEFAULT NULL) RETURNS uuid
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    moment timestamptz := journey.clock();
    proof uuid := journey.uuid_v7();
    id uuid := journey._hold_person(journey.profile_id(erase.subject));
BEGIN
    PERFORM journey._demand(jsonb_typeof(erase.subject) = 'object', 'erase', 'Name the person, as {"customer_id": "42"}.');
    -- a proof of nothing would be worse than none
    IF NOT EXISTS (SELECT FROM journey._keys_of(NULL, erase.subject)) THEN
        RAISE EXCEPTION 'erase() was given a subject that names nobody'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = format('It has %s.', (SELECT COALESCE(string_agg(quote_ident(left(k, 100)), ', '), 'no key') FROM jsonb_object_keys(erase.subject) k)),
                  HINT = format('Name the person by %s.', (SELECT string_agg(n.namespace, ', ' ORDER BY n.rank DESC, n.namespace)
                                                           FROM journey.namespace n WHERE n.class IN ('person', 'session')));
    END IF;
    PERFORM journey._tell_all(id, 'erased', moment, erase.subject);
    -- Whom nobody knows yet, a lap that is at work may come to know: the next one looks
    -- again. Who is to be erased already keeps the proof that there is.
    INSERT INTO journey.person_wish AS w (bucket, profile_id, kind, try_at, xact, erasure_id)
    VALUES (journey.bucket(COALESCE(id, proof)), COALESCE(id, proof), CASE WHEN id IS NULL THEN 'find' ELSE 'erase' END,
            moment, pg_current_xact_id(), proof)
    ON CONFLICT (bucket, profile_id, kind) DO UPDATE SET try_at = EXCLUDED.try_at, xact = EXCLUDED.xact
    RETURNING w.erasure_id INTO proof;
    INSERT INTO journey.erasure (erasure_id, asked_by, asked_at, reason, keys, subject)
    VALUES (proof, session_user, moment, erase.reason, 0, CASE WHEN id IS NULL THEN erase.subject END)
    ON CONFLICT DO NOTHING;
    PERFORM journey._forget_keys(id, erase.subject, proof, moment);
    PERFORM journey._forget_quarantined(id, erase.subject);
    RETURN proof;
END
$$;
COMMENT ON FUNCTION journey.erase(jsonb, text) IS
    'Forgets a person: permits are refused when this commits, and the next lap deletes every row of theirs; who is in an audience is taken out of it first. What stays is a keyed digest of each key, so that a re-import contacts nobody, and the proof in journey.erasure, whose id this returns; who is to be erased already keeps the proof that there is. The shop''s own tables are the shop''s to clean. A subject that nobody is known by is remembered all the same, and whoever is found by it in what was captured before goes, too. 22023 for one without a key that we know.';

CREATE FUNCTION journey.restrict(subject jsonb, restricted boolean DEFAULT true) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    id uuid := journey._hold_person(journey.profile_id(restrict.subject));
    moment timestamptz := journey.clock();
BEGIN
    PERFORM journey._demand(restrict.subject IS NOT NULL AND restrict.restricted IS NOT NULL, 'restrict',
                            'Name the person, as {"customer_id": "42"}, and say true or false.');
    IF id IS NULL THEN
        RETURN false;
    END IF;
    IF restrict.restricted THEN
        PERFORM journey._tell_all(id, 'restricted', moment, '{}');
    END IF;
    DELETE FROM journey.person_wish w
    WHERE w.bucket = journey.bucket(id) AND w.profile_id = id AND w.kind IN ('restrict', 'unrestrict');
    INSERT INTO journey.person_wish (bucket, profile_id, kind, try_at, xact)
    VALUES (journey.bucket(id), id, CASE WHEN restrict.restricted THEN 'restrict' ELSE 'unrestrict' END, moment, pg_current_xact_id());
    RETURN true;
END
$$;
COMMENT ON FUNCTION journey.restrict(jsonb, boolean) IS
    'Leaves a person alone (or no longer): nothing at all is sent to them, from the commit on; what is known of them stays. False when nobody is known by the subject.';

CREATE FUNCTION journey.export_person(subject jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    id uuid := journey.profile_id(export_person.subject);
    t record;
    rows jsonb;
    result jsonb := '{}';
BEGIN
    IF id IS NULL THEN
        RETURN NULL;
    END IF;
    FOR t IN SELECT p.name FROM journey._personal_tables() p WHERE p.name NOT LIKE 'merge%' LOOP
        EXECUTE format('SELECT jsonb_agg(to_jsonb(x) - ''bucket'') FROM journey.%I x WHERE x.bucket = journey.bucket($1) AND x.profile_id = $1', t.name)
        INTO rows USING id;
        IF rows IS NOT NULL THEN
            result := result || jsonb_build_object(t.name, rows);
        END IF;
    END LOOP;
    SELECT jsonb_agg(jsonb_build_object('namespace', i.namespace, 'value', i.value, 'confidence', i.confidence, 'source', i.source, 'since', i.since)
                     ORDER BY i.namespace, i.value) INTO rows
    FROM journey.identity i WHERE i.profile_bucket = journey.bucket(id) AND i.profile_id = id;
    RETURN result || jsonb_build_object('identity', COALESCE(rows, '[]'));
END
$$;
COMMENT ON FUNCTION journey.export_person(jsonb) IS
    'Everything that is known of a person, table by table: {"profile": [{...}], "orders": [...], "identity": [...]}. Null when nobody is known by the subject.';

-- ---- what a lap does -----------------------------------------------------------

CREATE FUNCTION journey._erase_person(id uuid, proof uuid) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    t record;
    n bigint;
    deleted jsonb := '{}';
BEGIN
    PERFORM journey._forget_quarantined(id, '{}');
    -- keys that came since it was asked
    PERFORM journey._forget_keys(id, '{}', proof, journey.clock());
    DELETE FROM journey.early_opt_out e USING journey.identity i
    WHERE i.profile_bucket = journey.bucket(id) AND i.profile_id = id AND e.bucket = i.bucket AND e.key_hash = i.key_hash;
    DELETE FROM journey.profile_link l USING journey.profile_link f
    WHERE f.bucket = journey.bucket(id) AND f.profile_id = id AND l.bucket = f.other_bucket AND l.profile_id = f.other_id
      AND l.other_bucket = f.bucket AND l.other_id = f.profile_id;
    DELETE FROM journey.profile_link l WHERE l.bucket = journey.bucket(id) AND l.profile_id = id;
    DELETE FROM journey.merge_wish w WHERE w.bucket = journey.bucket(id) AND w.profile_id = id OR w.other_bucket = journey.bucket(id) AND w.other_id = id;
    DELETE FROM journey.outbox_event o
    WHERE o.payload ->> 'profile_id' = ANY (ARRAY(SELECT _erase_person.id::text UNION ALL
        SELECT a.profile_id::text FROM journey.profile_alias a WHERE a.into_bucket = journey.bucket(_erase_person.id) AND a.into_id = _erase_person.id));
    DELETE FROM journey.profile_alias a WHERE a.into_bucket = journey.bucket(id) AND a.into_id = id;
    DELETE FROM journey.identity i WHERE i.profile_bucket = journey.bucket(id) AND i.profile_id = id;
    GET DIAGNOSTICS n = ROW_COUNT;
    deleted := jsonb_build_object('identity', n);
    -- figures count what has ended
    PERFORM journey._end_enrollments(array_agg(e.profile_id), array_agg(e.enrollment_id), 'exited', 'erased')
    FROM journey.enrollment e WHERE e.bucket = journey.bucket(id) AND e.profile_id = id AND e.exited_at IS NULL;
    FOR t IN SELECT p.name FROM journey._personal_tables() p LOOP
        EXECUTE format('DELETE FROM journey.%I x WHERE x.bucket = journey.bucket($1) AND x.profile_id = $1', t.name) USING id;
        GET DIAGNOSTICS n = ROW_COUNT;
        IF n > 0 THEN
            deleted := deleted || jsonb_build_object(t.name, n);
        END IF;
    END LOOP;
    UPDATE journey.erasure e SET erased_at = journey.clock(), rows = e.rows || deleted WHERE e.erasure_id = proof;
END
$$;
COMMENT ON FUNCTION journey._erase_person(uuid, uuid) IS 'Deletes every row of a person, takes them out of what was set aside, and writes the proof.';

CREATE FUNCTION journey._find_erased(proof uuid, moment timestamptz) RETURNS uuid
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    id uuid := (SELECT i.profile_id
                FROM journey.erasure e
                CROSS JOIN LATERAL journey._keys_of(NULL, e.subject) k
                CROSS JOIN LATERAL journey.key_hash(k.namespace, k.value) AS h (hash)
                JOIN journey.identity i ON i.bucket = ((h.hash >> 54) & 1023)::smallint AND i.key_hash = h.hash
                                       AND i.namespace = k.namespace AND i.value = k.value
                WHERE e.erasure_id = proof AND k.class <> 'object'
                ORDER BY k.rank DESC, i.profile_id LIMIT 1);
BEGIN
    IF id IS NULL THEN
        PERFORM journey._forget_quarantined(NULL, e.subject) FROM journey.erasure e WHERE e.erasure_id = proof;
        UPDATE journey.erasure e SET subject = NULL, erased_at = moment WHERE e.erasure_id = proof;
    END IF;
    RETURN id;
END
$$;
COMMENT ON FUNCTION journey._find_erased(uuid, timestamptz) IS
    'Who was read meanwhile of those whom an erasure named when nobody knew them. Null when there is nobody: then it is done.';

CREATE FUNCTION journey._do_by_people() RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    moment timestamptz := journey.clock();
    w record;
    found_id uuid;
    n bigint := 0;
BEGIN
    FOR w IN
        SELECT x.*,
               -- what was captured with it, or before it, is read first; a removal from an audience is sent first
               NOT pg_visible_in_snapshot(x.xact, c.previous)
               OR x.kind = 'erase' AND EXISTS (SELECT FROM journey.outbox o WHERE o.bucket = x.bucket AND o.profile_id = x.profile_id AND o.payload ? '_remove')
               AS waits
        FROM journey.person_wish x CROSS JOIN journey.cursor c
        WHERE x.try_at <= moment ORDER BY x.try_at LIMIT 1000
    LOOP
        IF w.waits OR w.kind <> 'find' AND NOT journey._lock_people(ARRAY[w.profile_id]) THEN
            UPDATE journey.person_wish x SET try_at = journey._try_again()
            WHERE x.bucket = w.bucket AND x.profile_id = w.profile_id AND x.kind = w.kind;
            CONTINUE;
        END IF;
        n := n + 1;
        IF w.kind = 'find' THEN
            DELETE FROM journey.person_wish x WHERE x.bucket = w.bucket AND x.profile_id = w.profile_id AND x.kind = w.kind;
            found_id := journey._find_erased(w.erasure_id, moment);
            -- again, until nobody is found
            INSERT INTO journey.person_wish (bucket, profile_id, kind, try_at, xact, erasure_id)
            SELECT v.bucket, v.id, v.kind, v.try_at, w.xact, w.erasure_id
            FROM (VALUES (journey.bucket(found_id), found_id, 'erase', moment),
                         (w.bucket, w.profile_id, 'find', journey._try_again())) AS v (bucket, id, kind, try_at)
            WHERE found_id IS NOT NULL
            ON CONFLICT DO NOTHING;
        ELSIF w.kind = 'erase' THEN
            PERFORM journey._erase_person(w.profile_id, w.erasure_id);
        ELSE
            UPDATE journey.profile p SET restricted = w.kind = 'restrict' WHERE p.bucket = w.bucket AND p.profile_id = w.profile_id;
            DELETE FROM journey.person_wish x WHERE x.bucket = w.bucket AND x.profile_id = w.profile_id AND x.kind = w.kind;
        END IF;
    END LOOP;
    RETURN n;
END
$$;
COMMENT ON FUNCTION journey._do_by_people() IS 'Erases and restricts the people who asked for it, as far as nobody is in the way; returns how many.';
