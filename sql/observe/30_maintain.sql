-- Generations whose rows have all been consumed, waiting until nobody can
-- need them any more.
CREATE TABLE journey.inbox_drained (
    name text PRIMARY KEY,
    previous pg_snapshot NOT NULL,
    next_xid xid8 NOT NULL,
    noted_at timestamptz NOT NULL
);
COMMENT ON TABLE journey.inbox_drained IS 'Tables of the inbox that were seen fully consumed and wait to be emptied.';
COMMENT ON COLUMN journey.inbox_drained.name IS 'Name of the table.';
COMMENT ON COLUMN journey.inbox_drained.previous IS 'The cursor''s snapshot that saw all of its rows as consumed.';
COMMENT ON COLUMN journey.inbox_drained.next_xid IS 'It may be emptied once no snapshot is older than this transaction id.';
COMMENT ON COLUMN journey.inbox_drained.noted_at IS 'Real time of the note.';

CREATE FUNCTION journey._maintain() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_maintain';
COMMENT ON FUNCTION journey._maintain() IS
    'House-keeping that the worker does between laps: rotates and empties the inbox, makes partitions and drops old ones, forgets what has been kept long enough. Does nothing in a database that is not adopted.';

CREATE FUNCTION journey._horizons() RETURNS TABLE (pid integer, xmin xid)
    LANGUAGE C VOLATILE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_horizons';
COMMENT ON FUNCTION journey._horizons() IS
    'The oldest transaction that each other process still needs to see, as pg_stat_activity tells it to those who may see everybody''s.';

CREATE FUNCTION journey._inbox()
    RETURNS TABLE (name text, current boolean, bytes bigint, drained_at timestamptz, blocked_by text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT n.name, n.name = 'inbox_' || p.generation, pg_total_relation_size(format('journey.%I', n.name)::regclass),
           d.noted_at, b.who
    FROM (VALUES ('inbox_0'), ('inbox_1'), ('inbox_2'), ('inbox_copy')) AS n(name)
    CROSS JOIN journey.inbox_pointer p
    LEFT JOIN journey.inbox_drained d ON d.name = n.name
    LEFT JOIN LATERAL (
        SELECT w.who
        FROM (SELECT format('pid %s', h.pid) AS who, h.xmin FROM journey._horizons() h
              UNION ALL
              SELECT format('prepared transaction %s', x.gid), x.transaction FROM pg_prepared_xacts x
              WHERE x.database = current_database()
              UNION ALL
              SELECT format('replication slot %s', s.slot_name), s.xmin
              FROM pg_replication_slots s WHERE s.xmin IS NOT NULL) AS w
        WHERE age(w.xmin) > age(d.next_xid::xid)
        ORDER BY age(w.xmin) DESC
        LIMIT 1) AS b ON d.name IS NOT NULL
    ORDER BY n.name;
END
$$;
COMMENT ON FUNCTION journey._inbox() IS
    'The tables of the inbox: which one is current, their size, since when one is consumed and waits to be emptied, and who holds the snapshot it waits for.';
