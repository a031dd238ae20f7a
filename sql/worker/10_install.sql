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

CREATE FUNCTION journey._objects_of_others() RETURNS TABLE (what text, owner name)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    -- what depends on its table (rows' types, indexes) has its owner
    RETURN QUERY
    SELECT i.type || ' ' || i.identity, pg_get_userbyid(o.owner)
    FROM (SELECT 'pg_class'::regclass AS classid, c.oid, c.relowner AS owner FROM pg_class c
          WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind NOT IN ('i', 'I', 't') AND NOT c.relispartition
          UNION ALL SELECT 'pg_proc'::regclass, p.oid, p.proowner FROM pg_proc p WHERE p.pronamespace = 'journey'::regnamespace
          UNION ALL SELECT 'pg_operator'::regclass, p.oid, p.oprowner FROM pg_operator p WHERE p.oprnamespace = 'journey'::regnamespace
          UNION ALL SELECT 'pg_type'::regclass, t.oid, t.typowner FROM pg_type t
                    WHERE t.typnamespace = 'journey'::regnamespace AND t.typtype IN ('b', 'd', 'e', 'r') AND t.typelem = 0) o,
         LATERAL pg_identify_object(o.classid, o.oid, 0) i
    WHERE o.owner <> 'journey_owner'::regrole
    ORDER BY 1;
END
$$;
COMMENT ON FUNCTION journey._objects_of_others() IS
    'Tables, views, functions, operators and types in schema journey that belong to another role than journey_owner.';

CREATE FUNCTION journey._require_own_schema() RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    names text := (SELECT string_agg(format('%s of %I', o.what, o.owner), ', ' ORDER BY o.what) FROM journey._objects_of_others() o);
BEGIN
    IF names IS NOT NULL THEN
        RAISE EXCEPTION 'schema journey holds objects of others'
            USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = names,
                  HINT = 'Drop them or move them to another schema, and REVOKE CREATE ON SCHEMA journey from whoever made them. Those that are journey''s own, as after pg_restore --no-owner, get their owner back by the hints of journey.health.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey._require_own_schema() IS
    'Raises 55000 with their names when somebody else has put objects into schema journey, where they could stand for ours.';

CREATE FUNCTION journey._revoke_all(kinds text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    r record;
BEGIN
    FOR r IN
        SELECT DISTINCT c.relname, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS who
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relnamespace = 'journey'::regnamespace AND strpos(kinds, c.relkind::text) > 0 AND a.grantee <> c.relowner
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    LOOP
        EXECUTE format('REVOKE ALL ON journey.%I FROM %s', r.relname, r.who);
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._revoke_all(text) IS
    'Takes from data tables or views that were just made what default privileges of this database have given to others.';

CREATE FUNCTION journey._scopes_of(who name) RETURNS text[]
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- MEMBER, not USAGE: what a role could take by SET ROLE it has
    IF NOT pg_has_role(who, 'journey_reader', 'MEMBER')
        OR EXISTS (SELECT FROM pg_roles r
                   WHERE r.rolname = who AND r.rolsuper
                      OR r.rolname IN ('journey_owner', 'journey_analyst', 'journey_author', 'journey_approver', 'journey_admin')
                         AND pg_has_role(who, r.oid, 'MEMBER')) THEN
        RETURN NULL;
    END IF;
    RETURN '{*}' || ARRAY(SELECT substr(r.rolname, length('journey_scope_') + 1) FROM pg_roles r
                          WHERE starts_with(r.rolname, 'journey_scope_') AND pg_has_role(who, r.oid, 'MEMBER'));
END
$$;
COMMENT ON FUNCTION journey._scopes_of(name) IS
    'The scopes that a member of journey_reader may see: those whose roles, journey_scope_NAME, it is a member of, and what concerns every scope (*). Null for everybody else: no limit.';

CREATE FUNCTION journey._row_security() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    seen text := 'OR scope = ANY ((SELECT journey._scopes_of(current_user))::text[])';
    of_enrollment text := 'OR EXISTS (SELECT FROM journey.enrollment e WHERE e.bucket = %1$I.bucket AND e.profile_id = %1$I.profile_id AND e.enrollment_id = %1$I.enrollment_id)';
    t record;
BEGIN
    FOR t IN
        SELECT u.name, u.rule
        FROM (SELECT n, seen FROM unnest(ARRAY['outbox', 'outbox_history', 'attempt_log', 'cart', 'cart_line', 'orders', 'order_line', 'shipment', 'returns', 'consent', 'suppression', 'enrollment']) n
              UNION ALL
              SELECT n, format(of_enrollment, n) FROM unnest(ARRAY['decision', 'transition', 'exposure', 'conversion']) n) u (name, rule)
        WHERE NOT EXISTS (SELECT FROM pg_policy p WHERE p.polname = 'by_scope' AND p.polrelid = to_regclass('journey.' || u.name))
    LOOP
        -- the owner, and so the engine, is not concerned; nor is anybody who may read all
        EXECUTE format('ALTER TABLE journey.%I ENABLE ROW LEVEL SECURITY', t.name);
        EXECUTE format('CREATE POLICY by_scope ON journey.%I FOR SELECT USING ((SELECT journey._scopes_of(current_user)) IS NULL %s)', t.name, t.rule);
        EXECUTE format('COMMENT ON POLICY by_scope ON journey.%I IS ''A member of journey_reader sees rows of its scopes only.''', t.name);
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._row_security() IS
    'Puts row security by scope on the tables that journey_reader may read, where it is not there yet.';

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
    IF NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = to_regclass('journey.schema_version') AND c.relowner = 'journey_owner'::regrole) THEN
        PERFORM journey._require_own_schema();
    ELSE
        RETURN 'already installed';
    END IF;
    EXECUTE journey._ddl('tables');
    EXECUTE journey._ddl('views');
    EXECUTE journey._ddl('seed');
    PERFORM journey._row_security();
    PERFORM journey._revoke_all('rpv');
    EXECUTE journey._ddl('grants');
    INSERT INTO journey.schema_version (version, installed_at)
    SELECT extversion, clock_timestamp() FROM pg_extension WHERE extname = 'journey';
    RETURN 'installed';
END
$$;
COMMENT ON FUNCTION journey.install() IS
    'Creates the data tables, views and reports in schema journey, owned by journey_owner, as ordinary tables that pg_dump saves. Idempotent: does nothing when they exist. 55000 when others have put objects into the schema. Then run journey.adopt().';

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
    -- and the documents that it ships, unless one of that name has ever been here
    PERFORM journey._apply(d.docs, 'journey_owner', 'journey_owner', true, NULL)
    FROM (SELECT jsonb_agg(e.doc) AS docs
          FROM regexp_matches(journey._ddl('seed'), '\$doc\$(.*?)\$doc\$', 'g') m, LATERAL jsonb_array_elements(m[1]::jsonb) AS e(doc)
          WHERE NOT EXISTS (SELECT FROM journey.document o WHERE o.kind = e.doc ->> 'kind' AND o.name = e.doc ->> 'name')) d
    WHERE d.docs IS NOT NULL;
    EXECUTE journey._ddl('views');
    PERFORM journey._row_security();
    PERFORM journey._revoke_all('v');
    EXECUTE journey._ddl('grants');
    PERFORM journey._invalidate('journey.vocabulary');
    PERFORM journey._ship_features();
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
