CREATE FUNCTION journey._publications() RETURNS TABLE (publication text, message text, hint text)
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT p.pubname::text,
           CASE WHEN p.puballtables THEN format('publication %I carries every table, the inbox included', p.pubname)
                ELSE format('publication %I carries tables that belong to this node: %s', p.pubname, t.names) END,
           CASE WHEN p.puballtables OR EXISTS (SELECT FROM pg_publication_namespace n
                                               WHERE n.pnpubid = p.oid AND n.pnnspid = 'journey'::regnamespace)
                THEN format('Name the tables: ALTER PUBLICATION %I SET TABLE ...; the inbox means nothing in another cluster.', p.pubname)
                ELSE format('ALTER PUBLICATION %I DROP TABLE %s; they mean nothing in another cluster.', p.pubname, t.names) END
    FROM pg_publication p
    JOIN (SELECT x.pubname, string_agg(format('%I.%I', x.schemaname, x.tablename), ', ' ORDER BY x.tablename) AS names
          FROM pg_publication_tables x
          JOIN pg_class c ON c.relname = x.tablename AND c.relnamespace = 'journey'::regnamespace
          JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
          WHERE x.schemaname = 'journey'
          GROUP BY x.pubname) t ON t.pubname = p.pubname
    ORDER BY p.pubname;
END
$$;
COMMENT ON FUNCTION journey._publications() IS
    'Publications that carry tables of the node (inbox, cursor, ...), what is wrong with that, and what to do. For install() and health.';

CREATE FUNCTION journey.install() RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET client_min_messages = warning
AS $$
DECLARE
    p record;
BEGIN
    FOR p IN SELECT x.message, x.hint FROM journey._publications() x LOOP
        RAISE WARNING '%', p.message USING HINT = p.hint;
    END LOOP;
    IF to_regclass('journey.schema_version') IS NOT NULL THEN
        RETURN 'already installed';
    END IF;
    EXECUTE journey._ddl('tables');
    EXECUTE journey._ddl('views');
    EXECUTE journey._ddl('seed');
    EXECUTE journey._ddl('grants');
    INSERT INTO journey.schema_version (version, installed_at)
    SELECT extversion, clock_timestamp() FROM pg_extension WHERE extname = 'journey';
    RETURN 'installed';
END
$$;
COMMENT ON FUNCTION journey.install() IS
    'Creates the data tables, views and reports in schema journey, owned by journey_owner, as ordinary tables that pg_dump saves. Idempotent: does nothing when they exist. Then run journey.adopt().';

-- All in one statement: they may depend on each other, but nobody else's goes with them.
CREATE FUNCTION journey._drop(kind text, names name[], hint text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    list text;
    dependents text;
BEGIN
    SELECT string_agg(format('journey.%I', n), ', ') INTO list FROM unnest(names) n;
    IF list IS NULL THEN
        RETURN;
    ELSIF kind = 'view' THEN
        EXECUTE 'DROP VIEW ' || list;
    ELSE
        EXECUTE 'DROP TABLE ' || list;
    END IF;
EXCEPTION WHEN dependent_objects_still_exist THEN
    GET STACKED DIAGNOSTICS dependents = PG_EXCEPTION_DETAIL;
    RAISE EXCEPTION 'other objects depend on %s of journey', kind
        USING ERRCODE = 'dependent_objects_still_exist', DETAIL = dependents, HINT = hint;
END
$$;
COMMENT ON FUNCTION journey._drop(text, name[], text) IS
    'Drops these tables or views; 2BP01 with their names when objects of others depend on them.';

CREATE FUNCTION journey.migrate() RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET client_min_messages = warning
AS $$
DECLARE
    target text;
    ours name[];
    foreign_views text;
    mend text;
BEGIN
    IF to_regclass('journey.schema_version') IS NULL THEN
        RAISE EXCEPTION 'journey is not installed in this database'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Run journey.install() first.';
    END IF;
    SELECT string_agg(v.message, '; '), string_agg(v.hint, ' ') INTO foreign_views, mend FROM journey._views_of_others() v;
    IF foreign_views IS NOT NULL THEN
        RAISE EXCEPTION 'views of journey belong to others'
            USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = foreign_views,
                  HINT = format('Those that are journey''s own, as after pg_restore --no-owner: %s One that somebody has made under such a name wants another: ALTER VIEW ... RENAME TO.', mend);
    END IF;
    SELECT extversion INTO target FROM pg_extension WHERE extname = 'journey';
    SELECT array_agg(c.relname) INTO ours
    FROM pg_class c
    WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind = 'v' AND c.relowner = current_user::regrole
      AND NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e');
    PERFORM journey._drop('view', ours, 'Drop them, run journey.migrate(), and create them again: its views are made anew.');
    -- what changed in tables that are there, then what is new, then the words of this release
    EXECUTE journey._ddl('changes');
    EXECUTE regexp_replace(journey._ddl('tables'), '^CREATE (TABLE|INDEX|UNIQUE INDEX) ', 'CREATE \1 IF NOT EXISTS ', 'gn');
    EXECUTE journey._ddl('words');
    EXECUTE journey._ddl('views');
    EXECUTE journey._ddl('grants');
    PERFORM journey._invalidate('journey.vocabulary');
    INSERT INTO journey.schema_version (version, installed_at) VALUES (target, clock_timestamp())
    ON CONFLICT (version) DO UPDATE SET installed_at = excluded.installed_at;
    PERFORM journey._nudge();
    RETURN target;
END
$$;
COMMENT ON FUNCTION journey.migrate() IS
    'Brings the data tables to the version of the extension, after ALTER EXTENSION journey UPDATE, and makes views and reports anew. Returns the version. 55000 when install() has not been run or a view of ours belongs to another, 2BP01 with their names when objects of others depend on the views.';

CREATE FUNCTION journey.uninstall(confirm text) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    SET client_min_messages = warning
AS $$
DECLARE
    r record;
BEGIN
    IF confirm IS DISTINCT FROM 'drop all journey data' THEN
        RAISE EXCEPTION 'uninstall drops every customer, event, consent and decision that journey holds'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'To go on: SELECT journey.uninstall(''drop all journey data'').';
    END IF;
    SELECT t.tgrelid::regclass::text AS rel INTO r
    FROM pg_trigger t
    JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE p.proname = '_capture' AND p.pronamespace = 'journey'::regnamespace
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'table % is still attached', r.rel
            USING ERRCODE = 'dependent_objects_still_exist',
                  HINT = format('Run journey.detach(%L) first.', r.rel);
    END IF;
    SELECT string_agg(format('%s journey.%I of %I', CASE WHEN c.relkind IN ('v', 'm') THEN 'view' ELSE 'table' END,
                             c.relname, pg_get_userbyid(c.relowner)), ', ' ORDER BY c.relname) AS names
    INTO r
    FROM pg_class c
    WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
      AND c.relowner <> current_user::regrole;
    IF r.names IS NOT NULL THEN
        RAISE EXCEPTION 'schema journey holds tables or views of others'
            USING ERRCODE = 'dependent_objects_still_exist', DETAIL = r.names,
                  HINT = 'Move them to another schema with ALTER ... SET SCHEMA, or drop them, then run journey.uninstall() again. Those that are journey''s own, as after pg_restore --no-owner, get their owner back by the hints of journey.health.';
    END IF;
    UPDATE journey.node SET mode = 'off', incarnation = 0, test_clock = NULL, changed_at = clock_timestamp();
    TRUNCATE journey.inbox_0, journey.inbox_1, journey.inbox_2, journey.inbox_copy, journey.inbox_drained, journey.backfill, journey.leaf;
    UPDATE journey.cursor SET incarnation = 0, previous = NULL, window_snapshot = NULL;
    SELECT count(*) AS n, array_agg(c.relname) FILTER (WHERE c.relkind = 'v') AS views,
           array_agg(c.relname) FILTER (WHERE c.relkind <> 'v') AS tables
    INTO r
    FROM pg_class c
    WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
      AND NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e');
    PERFORM journey._drop('view', r.views, 'Drop them, then run journey.uninstall() again.');
    PERFORM journey._drop('table', r.tables, 'Drop them, then run journey.uninstall() again.');
    RETURN format('dropped %s tables and views', r.n);
END
$$;
COMMENT ON FUNCTION journey.uninstall(text) IS
    'Drops every data table, view and report of journey; the argument must be ''drop all journey data''. Refused (2BP01) while a table is attached, objects of others depend on what it drops, or tables or views of others are in schema journey; it names them. Afterwards DROP EXTENSION works.';
