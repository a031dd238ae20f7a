CREATE FUNCTION journey._adopt() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_adopt';
COMMENT ON FUNCTION journey._adopt() IS
    'Opens a new incarnation for this cluster and database and gives the cursor a fresh start.';

CREATE FUNCTION journey.adopt() RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    PERFORM journey._adopt();
    RETURN journey._node_state();
END
$$;
COMMENT ON FUNCTION journey.adopt() IS
    'Makes this database and cluster the ones that may run journeys.';

CREATE FUNCTION journey.set_clock(at timestamptz) RETURNS timestamptz
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    UPDATE journey.node SET test_clock = at, mode = CASE WHEN at IS NULL THEN 'off' ELSE 'test' END;
    RETURN journey.clock();
END
$$;
COMMENT ON FUNCTION journey.set_clock(timestamptz) IS
    'Sets the test clock and enters mode test; null returns to real time and mode off.';
