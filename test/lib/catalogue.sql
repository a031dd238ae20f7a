-- What is in schema journey, a line per thing, each as the statement that makes
-- it or close to one: two databases with the same lines have the same catalogue.
-- Partitions of time and views of a reader's are left out. For psql -XqAt.
SET search_path = pg_catalog;
CREATE TEMP VIEW rel AS
SELECT c.*, c.oid::regclass::text AS name,
       CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'i' THEN 'INDEX' ELSE 'TABLE' END AS what
FROM pg_class c
WHERE c.relnamespace = 'journey'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
  AND (NOT c.relispartition OR c.relname LIKE '%\_default');
CREATE TEMP VIEW func AS
SELECT p.*, p.oid::regprocedure::text AS name FROM pg_proc p WHERE p.pronamespace = 'journey'::regnamespace;

SELECT line FROM (
    SELECT format('ALTER %s %s OWNER TO %s', what, name, relowner::regrole) FROM rel
    UNION ALL
    SELECT format('%s %s: %s', what, name, concat_ws(', ', relpersistence, array_to_string(reloptions, ' '),
                  CASE WHEN relkind = 'p' THEN pg_get_partkeydef(oid) END,
                  (SELECT 'member' FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = rel.oid AND d.deptype = 'e')))
    FROM rel
    UNION ALL
    SELECT format('CREATE VIEW %s AS %s', name, pg_get_viewdef(oid)) FROM rel WHERE relkind = 'v'
    UNION ALL
    SELECT format('SEQUENCE %s: %s', name, concat_ws(' ', seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle)) FROM rel JOIN pg_sequence s ON s.seqrelid = rel.oid
    UNION ALL
    SELECT format('ALTER TABLE %s ADD COLUMN IF NOT EXISTS %I %s', name, attname,
                  concat_ws(' ', format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' END,
                            'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), CASE WHEN attgenerated <> '' THEN 'generated' END,
                            CASE WHEN attidentity <> '' THEN 'identity' END,
                            CASE WHEN attcollation NOT IN (0, 100) THEN 'COLLATE ' || attcollation::regcollation END,
                            CASE WHEN attstorage <> typstorage THEN 'STORAGE ' || attstorage::text END))
    FROM rel JOIN pg_attribute a ON attrelid = rel.oid AND attnum > 0 AND NOT attisdropped
    JOIN pg_type t ON t.oid = atttypid LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
    WHERE relkind <> 'v'
    UNION ALL
    SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', name, conname, pg_get_constraintdef(k.oid))
    FROM rel JOIN pg_constraint k ON conrelid = rel.oid WHERE contype <> 'n'
    UNION ALL
    SELECT pg_get_indexdef(indexrelid) FROM rel JOIN pg_index i ON indrelid = rel.oid
    UNION ALL
    SELECT pg_get_triggerdef(g.oid) FROM rel JOIN pg_trigger g ON tgrelid = rel.oid WHERE NOT tgisinternal
    UNION ALL
    SELECT format('COMMENT ON %s %s IS %L', what, name, obj_description(oid, 'pg_class')) FROM rel
    UNION ALL
    SELECT format('COMMENT ON COLUMN %s.%I IS %L', name, attname, col_description(attrelid, attnum))
    FROM rel JOIN pg_attribute ON attrelid = rel.oid AND attnum > 0 AND NOT attisdropped
    WHERE col_description(attrelid, attnum) IS NOT NULL
    UNION ALL
    SELECT format('GRANT %s ON %s TO %s', x.privilege_type, name, CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END)
    FROM rel, aclexplode(coalesce(relacl, acldefault((CASE relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", relowner))) x
    UNION ALL
    SELECT format('FUNCTION %s: (%s) RETURNS %s; %s', name, pg_get_function_arguments(oid), pg_get_function_result(oid),
                  concat_ws(' ', (SELECT lanname FROM pg_language l WHERE l.oid = prolang), provolatile, proparallel, prokind, proowner::regrole,
                            CASE WHEN proisstrict THEN 'strict' END, CASE WHEN prosecdef THEN 'definer' END,
                            CASE WHEN proleakproof THEN 'leakproof' END, 'cost ' || procost, 'rows ' || prorows,
                            array_to_string(proconfig, ' '),
                            (SELECT 'member' FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = func.oid AND d.deptype = 'e'),
                            CASE WHEN probin IS NULL THEN 'body ' || md5(prosrc) ELSE prosrc END))
    FROM func
    UNION ALL
    SELECT format('COMMENT ON FUNCTION %s IS %L', name, obj_description(oid, 'pg_proc')) FROM func
    UNION ALL
    SELECT format('GRANT %s ON FUNCTION %s TO %s', x.privilege_type, name, CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END)
    FROM func, aclexplode(coalesce(proacl, acldefault('f', proowner))) x
    UNION ALL
    SELECT format('TYPE journey.%I %s', typname, typtype) FROM pg_type t
    WHERE typnamespace = 'journey'::regnamespace AND typrelid = 0 AND typelem = 0
    UNION ALL
    SELECT format('SCHEMA journey: %s, %s', nspowner::regrole, (SELECT string_agg(x::text, ' ' ORDER BY x::text) FROM unnest(nspacl) x))
    FROM pg_namespace WHERE nspname = 'journey'
    UNION ALL
    SELECT format('EXTENSION %s, configuration %s', extversion, extconfig::regclass[]) FROM pg_extension WHERE extname = 'journey'
    UNION ALL
    SELECT format('EVENT TRIGGER %I on %s does %s', evtname, evtevent, evtfoid::regproc) FROM pg_event_trigger
) AS x(line)
ORDER BY line COLLATE "C";
