-- A key of a namespace that does not cross scopes is stored with its scope in
-- front. Whoever names a person says it as events do, without.
CREATE FUNCTION journey._key_forms(namespace text, value text, scope text) RETURNS SETOF text
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    -- as it is stored, which also names the scope
    RETURN NEXT journey.normalise(namespace, value);
    IF (SELECT n.crosses_scopes FROM journey.namespace n WHERE n.namespace = _key_forms.namespace) THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT x.scope || ':' || journey.normalise(namespace, value)
    FROM (SELECT scope WHERE scope IS NOT NULL
          UNION
          SELECT s.scope FROM journey.source s WHERE _key_forms.scope IS NULL
          UNION
          SELECT 'default' WHERE scope IS NULL) AS x (scope);
END
$$;
COMMENT ON FUNCTION journey._key_forms(text, text, text) IS
    'The values under which a key may be stored: where its namespace does not cross scopes, one for the scope that is given, or for each.';

CREATE FUNCTION journey.profile_id(subject jsonb, scope text DEFAULT NULL) RETURNS uuid
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    r record;
    found_ids uuid[];
    forms text;
    unclear text;
    unclear_forms text;
BEGIN
    IF jsonb_typeof(subject) IS DISTINCT FROM 'object' THEN
        RETURN NULL;
    END IF;
    FOR r IN
        SELECT n.namespace, k.value
        FROM jsonb_each_text(subject) AS k(namespace, value)
        JOIN journey.namespace n ON n.namespace = k.namespace
        WHERE n.class IN ('person', 'session')
        ORDER BY n.rank DESC
    LOOP
        SELECT array_agg(DISTINCT i.profile_id), string_agg(DISTINCT i.value, ', ') INTO found_ids, forms
        FROM journey._key_forms(r.namespace, r.value, profile_id.scope) AS f (value)
        CROSS JOIN LATERAL journey.key_hash(r.namespace, f.value) AS h (hash)
        JOIN journey.identity i ON i.bucket = ((h.hash >> 54) & 1023)::smallint AND i.key_hash = h.hash
                               AND i.namespace = r.namespace AND i.value = f.value;
        IF cardinality(found_ids) = 1 THEN
            RETURN found_ids[1];
        ELSIF cardinality(found_ids) > 1 AND unclear IS NULL THEN
            unclear := r.namespace;
            unclear_forms := forms;
        END IF;
    END LOOP;
    IF unclear IS NOT NULL THEN
        RAISE EXCEPTION 'the subject names several people: % has another owner in each scope', unclear
            USING ERRCODE = 'cardinality_violation',
                  DETAIL = format('Keys of namespace %s do not cross scopes, and these are known: %s.', unclear, unclear_forms),
                  HINT = format('Say which: {"%s": "%s"}, or name another key of the person.', unclear, split_part(unclear_forms, ', ', 1));
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION journey.profile_id(jsonb, text) IS
    'The person whom a subject (namespace -> value) names, by its strongest known key; null when nobody is known by any of them. A key whose namespace does not cross scopes is that of the scope given, else of the one scope in which it is known; 21000 when several people have it and no other key says which. "scope:value" names the scope, too.';

-- Whoever was merged is somebody else by now; who is held is merged with nobody
-- until this transaction ends, so that what it writes is not left behind.
CREATE FUNCTION journey._hold_person(id uuid) RETURNS uuid
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    WHILE id IS NOT NULL LOOP
        PERFORM FROM journey.profile p WHERE p.bucket = journey.bucket(id) AND p.profile_id = id FOR KEY SHARE;
        EXIT WHEN FOUND;
        id := (SELECT a.into_id FROM journey.profile_alias a WHERE a.bucket = journey.bucket(id) AND a.profile_id = id);
    END LOOP;
    RETURN id;
END
$$;
COMMENT ON FUNCTION journey._hold_person(uuid) IS
    'The person of an id, which may have been given up in a merge; null when there is none. No lap merges them before this transaction ends.';

CREATE FUNCTION journey._hold_people_of(action_ids uuid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    PERFORM journey._hold_person(x.profile_id)
    FROM (SELECT DISTINCT h.profile_id FROM journey.outbox_history h WHERE h.action_id = ANY (action_ids) ORDER BY 1) x;
END
$$;
COMMENT ON FUNCTION journey._hold_people_of(uuid[]) IS '_hold_person() for the people of final actions.';

CREATE FUNCTION journey.stage(subject jsonb) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    id uuid := journey.profile_id(subject);
BEGIN
    RETURN (SELECT s.stage FROM journey.profile_state s
            WHERE s.bucket = journey.bucket(id) AND s.profile_id = id);
END
$$;
COMMENT ON FUNCTION journey.stage(jsonb) IS
    'The main stage of a person, as of the last lap; null when nobody is known by the subject.';

CREATE FUNCTION journey.mark_test(subject jsonb, is_test boolean DEFAULT true) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    id uuid := journey._hold_person(journey.profile_id(subject));
BEGIN
    PERFORM journey._demand(mark_test.subject IS NOT NULL AND is_test IS NOT NULL, 'mark_test',
                            'Name the person, as {"customer_id": "42"}, and say true or false.');
    IF id IS NULL THEN
        RETURN false;
    ELSIF is_test THEN
        INSERT INTO journey.test_profile (bucket, profile_id, marked_by, marked_at)
        VALUES (journey.bucket(id), id, session_user, journey.clock())
        ON CONFLICT DO NOTHING;
    ELSE
        DELETE FROM journey.test_profile t WHERE t.bucket = journey.bucket(id) AND t.profile_id = id;
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION journey.mark_test(jsonb, boolean) IS
    'Makes a known person a test profile (or not): in mode sandbox only test profiles are contacted. False when nobody is known by the subject.';

CREATE FUNCTION journey.declare_truth(signal text, source text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    UPDATE journey.source_of_truth t
    SET source = declare_truth.source, declared_by = session_user, declared_at = clock_timestamp(),
        second_writer = NULL, second_at = NULL, second_count = 0
    WHERE t.signal = declare_truth.signal;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no signal "%"', declare_truth.signal
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The signals are identity, orders, inventory, consent and eligibility.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey.declare_truth(text, text) IS
    'Declares which source is the truth for a signal (identity, orders, inventory, consent or eligibility); another source seen writing it is then reported. A null source takes the declaration back.';
