CREATE FUNCTION journey.profile_id(subject jsonb) RETURNS uuid
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    r record;
    hash bigint;
    found_id uuid;
BEGIN
    IF jsonb_typeof(subject) <> 'object' THEN
        RETURN NULL;
    END IF;
    FOR r IN
        SELECT n.namespace, journey.normalise(n.namespace, k.value) AS value
        FROM jsonb_each_text(subject) AS k(namespace, value)
        JOIN journey.namespace n ON n.namespace = k.namespace
        WHERE n.class IN ('person', 'session')
        ORDER BY n.rank DESC
    LOOP
        hash := journey.key_hash(r.namespace, r.value);
        SELECT i.profile_id INTO found_id
        FROM journey.identity i
        WHERE i.bucket = ((hash >> 54) & 1023)::smallint AND i.key_hash = hash
          AND i.namespace = r.namespace AND i.value = r.value;
        IF found_id IS NOT NULL THEN
            RETURN found_id;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION journey.profile_id(jsonb) IS
    'The person whom a subject (namespace -> value) names, by its strongest known key; null when nobody is known by any of them.';

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
    id uuid := journey.profile_id(subject);
BEGIN
    PERFORM journey._demand(mark_test.subject IS NOT NULL AND is_test IS NOT NULL, 'mark_test',
                            'Name the person, as {"customer_id": "42"}, and say true or false.');
    IF NOT EXISTS (SELECT FROM journey.profile p WHERE p.bucket = journey.bucket(id) AND p.profile_id = id) THEN
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
