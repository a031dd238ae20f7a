CREATE FUNCTION journey.install() RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    IF to_regclass('journey.schema_version') IS NOT NULL THEN
        RETURN 'already installed';
    END IF;
    EXECUTE journey._ddl('tables');
    EXECUTE journey._ddl('views');
    EXECUTE journey._ddl('seed');
    EXECUTE journey._ddl('grants');
    INSERT INTO journey.schema_version
    SELECT extversion, clock_timestamp() FROM pg_extension WHERE extname = 'journey';
    RETURN 'installed';
END
$$;
COMMENT ON FUNCTION journey.install() IS
    'Creates the data tables, views and reports in schema journey, owned by journey_owner. Does nothing when they exist.';
