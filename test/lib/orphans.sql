-- Rows that belong to nobody, or to an object that is not there: pg_temp.orphans(), none when all is well.
CREATE FUNCTION pg_temp.orphans() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    child record;
BEGIN
    -- every table that has a person
    FOR child IN
        SELECT c.oid::regclass AS rel FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'profile_id'
        WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND c.relname <> 'profile_alias'  -- whose ids are nobody's by definition
    LOOP
        RETURN QUERY EXECUTE format('SELECT %L || '' of nobody: '' || c.profile_id FROM %s c
            WHERE NOT EXISTS (SELECT FROM journey.profile p WHERE p.profile_id = c.profile_id AND p.bucket = journey.bucket(c.profile_id))', child.rel, child.rel);
        IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = child.rel AND attname = 'bucket') AND child.rel <> 'journey.identity'::regclass THEN
            RETURN QUERY EXECUTE format('SELECT %L || '' in another bucket: '' || c.profile_id FROM %s c WHERE c.bucket <> journey.bucket(c.profile_id)', child.rel, child.rel);
        END IF;
    END LOOP;
    -- and every part of something
    FOR child IN
        SELECT * FROM (VALUES ('cart_line', 'cart', 'scope, cart_id'), ('order_line', 'orders', 'scope, order_id'), ('timer', 'enrollment', 'enrollment_id'),
                              ('transition', 'enrollment', 'enrollment_id'), ('exposure', 'enrollment', 'enrollment_id'), ('message_event', 'event', 'event_id')) t (rel, of, keys)
    LOOP
        RETURN QUERY EXECUTE format('SELECT %L || '' without its %s: '' || c.profile_id FROM journey.%I c LEFT JOIN journey.%I p USING (bucket, profile_id, %s) WHERE p.tableoid IS NULL',
                                    child.rel, child.of, child.rel, child.of, child.keys);
    END LOOP;
END $$;
