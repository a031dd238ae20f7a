CREATE FUNCTION journey.run_once(max_events integer DEFAULT 10000)
    RETURNS TABLE (name text, value bigint)
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' -- as the worker
    AS 'MODULE_PATHNAME', 'journey_run_once';
COMMENT ON FUNCTION journey.run_once(integer) IS
    'One lap without a worker: takes in about max_events events (a transaction that ends within four times as many is not cut), wakes due timers, steps, decides, enqueues. Returns what it did, a row per counter. Needs READ COMMITTED (25001 otherwise). Does nothing in a database that is not adopted.';

CREATE FUNCTION journey.run_until_idle()
    RETURNS TABLE (name text, value bigint)
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    SET timezone = 'UTC' SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' -- as the worker
    AS 'MODULE_PATHNAME', 'journey_run_until_idle';
COMMENT ON FUNCTION journey.run_until_idle() IS
    'Laps until nothing is due at journey.clock(); returns the sums of run_once''s counters. Raises 55006 when another session, such as the worker, is consuming.';

CREATE FUNCTION journey.maintain() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    PERFORM journey._maintain();
END
$$;
COMMENT ON FUNCTION journey.maintain() IS
    'The worker''s house-keeping for a server without one: empties what is consumed of the inbox, makes partitions and drops old ones, forgets what has been kept long enough. Schedule it beside run_once(), in a transaction of its own. Needs READ COMMITTED (25001 otherwise). Does nothing in a database that is not adopted.';
