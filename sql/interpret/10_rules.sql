CREATE FUNCTION journey.check_rule(condition text, OUT ok boolean, OUT error text, OUT "position" integer)
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_check_rule';
COMMENT ON FUNCTION journey.check_rule(text) IS
    'Whether a condition would be accepted as a rule of the present user; if not, why, and the character at which it goes wrong.';

CREATE FUNCTION journey.explain_rule(condition text, subject jsonb, context jsonb DEFAULT '{}')
    RETURNS TABLE (clause text, verdict text, "values" jsonb)
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    SET datestyle = 'ISO, MDY'
    SET intervalstyle = 'postgres'
    SET timezone = 'UTC'
    SET extra_float_digits = 1
    AS 'MODULE_PATHNAME', 'journey_explain_rule';
COMMENT ON FUNCTION journey.explain_rule(text, jsonb, jsonb) IS
    'Judges a condition for a person, clause by clause: the author''s words, true, false or unknown, and the values read ("<error>" says why a clause could not be computed). context may give an event {"type", "props", …}, entry, steps, key, scope, cart_id, order_id and sku. No rows for an unknown person.';

CREATE FUNCTION journey._is_own_name(name text) RETURNS boolean
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_is_own_name';
COMMENT ON FUNCTION journey._is_own_name(text) IS
    'Whether a name of the vocabulary is served by journey itself, not by a property, trait or entry value of that name. For define_name().';

CREATE FUNCTION journey.define_name(name text, type text, meaning text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    known text[] := ARRAY['text', 'numeric', 'bigint', 'double precision', 'boolean',
                          'timestamp with time zone', 'text[]', 'jsonb'];
    spelled text;
BEGIN
    PERFORM journey._demand(define_name.name IS NOT NULL AND define_name.type IS NOT NULL AND define_name.meaning IS NOT NULL, 'define_name',
                            'For example: journey.define_name(''profile.points'', ''numeric'', ''loyalty points'').');
    IF define_name.name !~ '^(event|order|profile|entry)\.[^.*:]+$' THEN
        RAISE EXCEPTION 'only names of event, order, profile and entry can be defined, not "%"', define_name.name
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'For example: journey.define_name(''profile.points'', ''numeric'', ''loyalty points'').';
    END IF;
    IF octet_length(define_name.name) > 256 THEN
        RAISE EXCEPTION 'the name "%..." is too long', left(define_name.name, 60)
            USING ERRCODE = 'name_too_long', HINT = 'Names have at most 256 bytes.';
    END IF;
    IF journey._is_own_name(define_name.name) THEN
        RAISE EXCEPTION 'the type of "%" is fixed', define_name.name
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = 'It is not a property, trait or entry value: journey itself knows it.',
                  HINT = 'Give yours another name. SELECT name, type, meaning FROM journey.vocabulary lists those that are taken.';
    END IF;
    BEGIN
        spelled := format_type(to_regtype(define_name.type), NULL);
    EXCEPTION WHEN syntax_error THEN
        NULL;   -- nor is it the name of any type
    END;
    IF spelled IS NULL OR spelled <> ALL (known) THEN
        RAISE EXCEPTION 'a name cannot have the type "%"', define_name.type
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The types are ' || array_to_string(known, ', ') || '.';
    END IF;
    INSERT INTO journey.vocabulary AS v (name, type, served, meaning)
    VALUES (define_name.name, spelled, true, define_name.meaning)
    ON CONFLICT ON CONSTRAINT vocabulary_pkey DO UPDATE
        SET type = excluded.type, meaning = excluded.meaning;
    PERFORM journey._invalidate('journey.vocabulary');
END
$$;
COMMENT ON FUNCTION journey.define_name(text, text, text) IS
    'Gives a property (event.x, order.x), trait (profile.x) or entry value (entry.x) a type, so that rules read it without a cast. A value that does not fit reads as unknown.';

CREATE FUNCTION journey.allow_function(function regprocedure) RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM journey._demand(function IS NOT NULL, 'allow_function',
                            'Give its signature, as in allow_function(''upper(text)'').');
    IF length(function::text) > 500 THEN
        RAISE EXCEPTION 'the signature of % is too long', function USING
            ERRCODE = 'name_too_long',
            HINT = 'Allow a function of fewer arguments, or with shorter names, that calls it.';
    END IF;
    INSERT INTO journey.allowed_function (signature, never_fails, shipped)
    VALUES (function::text, false, false)
    ON CONFLICT (signature) DO NOTHING;
    PERFORM journey._invalidate('journey.allowed_function');
    RETURN function::text;
END
$$;
COMMENT ON FUNCTION journey.allow_function(regprocedure) IS
    'Lets rules call a function. It runs with the rights of the rule''s owner, who needs EXECUTE on it; it must not write and should be quick.';

CREATE FUNCTION journey.disallow_function(function text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    was_allowed boolean;
BEGIN
    PERFORM journey._demand(disallow_function.function IS NOT NULL, 'disallow_function',
                            'Give its signature as it stands in journey.allowed_function.');
    DELETE FROM journey.allowed_function a WHERE a.signature = disallow_function.function;
    was_allowed := FOUND;
    PERFORM journey._invalidate('journey.allowed_function');
    RETURN was_allowed;
END
$$;
COMMENT ON FUNCTION journey.disallow_function(text) IS
    'Takes a function, by its signature in journey.allowed_function, from what rules may call; rules that use it are broken from then on.';
