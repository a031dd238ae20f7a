CREATE FUNCTION journey._demand(given boolean, call text, hint text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF given IS NOT TRUE THEN
        RAISE EXCEPTION USING
            ERRCODE = 'null_value_not_allowed',
            MESSAGE = format('%s() was given null', call),
            HINT = _demand.hint;
    END IF;
END
$$;
COMMENT ON FUNCTION journey._demand(boolean, text, text) IS
    'Raises 22004 unless the arguments that a call cannot do without were given.';

CREATE FUNCTION journey._demand_span(span interval, call text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF span NOT BETWEEN interval '-1000 years' AND interval '1000 years' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('%s() was given a span of %s', call, span),
            HINT = 'Give one of at most 1000 years, as in interval ''30 days''.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey._demand_span(interval, text) IS
    'Raises 22023 for a span that may lead out of the calendar; null passes.';

CREATE FUNCTION journey._incident(kind text, name text, severity text, message text, hint text, detail jsonb)
    RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO journey.incident AS i
        (kind, name, severity, count, first_at, last_at, message, hint, detail)
    VALUES (_incident.kind, _incident.name, _incident.severity, 1, clock_timestamp(), clock_timestamp(),
            _incident.message, _incident.hint, _incident.detail)
    ON CONFLICT (kind, name) DO UPDATE
    SET count = i.count + 1, last_at = excluded.last_at, severity = excluded.severity,
        message = excluded.message, hint = excluded.hint, detail = excluded.detail, resolved_at = NULL;
END
$$;
COMMENT ON FUNCTION journey._incident(text, text, text, text, text, jsonb) IS
    'Records that something needs a person: one row per kind and name, counted.';

CREATE FUNCTION journey.resolve_incident(kind text, name text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    UPDATE journey.incident i SET resolved_at = clock_timestamp()
    WHERE i.kind = resolve_incident.kind AND i.name = resolve_incident.name AND i.resolved_at IS NULL;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION journey.resolve_incident(text, text) IS
    'Marks an incident as dealt with; false when there is none open. It opens again when it happens again.';
