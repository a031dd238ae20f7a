CREATE FUNCTION journey.event_usage()
    RETURNS TABLE (type text, stage text, seen bigint, journeys text[], others text[], used boolean, meaning text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH words AS (
        -- every "on" names types, in whatever step or edge it stands; the lists may name them without one
        SELECT DISTINCT d.kind, d.name, w.word #>> '{}' AS word
        FROM journey.document AS d
        CROSS JOIN LATERAL (
            SELECT jsonb_path_query(d.doc, '$.**.on[*] ? (@.type() == "string")')
            UNION ALL SELECT jsonb_path_query(d.doc, '$.**.suppress_on[*] ? (@.type() == "string")')
            UNION ALL SELECT jsonb_path_query(d.doc, '$.**.restart_on[*] ? (@.type() == "string")')) AS w (word)
        WHERE d.state = 'active'),
    users AS (
        SELECT t.type, t.stage, t.seen, t.meaning,
            ARRAY(SELECT w.name FROM words AS w WHERE w.word = t.type AND w.kind = 'journey' ORDER BY 1) AS journeys,
            ARRAY(SELECT w.kind || '/' || w.name FROM words AS w WHERE w.word = t.type AND w.kind <> 'journey' ORDER BY 1) AS others
        FROM journey.event_type AS t)
    SELECT u.type, u.stage, u.seen, u.journeys, u.others, cardinality(u.journeys) + cardinality(u.others) > 0, u.meaning
    FROM users AS u ORDER BY 1;
END
$$;
COMMENT ON FUNCTION journey.event_usage() IS
    'Activation plan by event: each event type with the live journeys and other documents that listen to it; used is false where nobody does. seen counts the events taken in so far.';
