-- ---- what runs as the extension's owner, for an administrator -------------

CREATE FUNCTION journey._captures()
    RETURNS TABLE (attachment integer, capture oid, rel oid, root boolean, enabled "char", scope text)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT x.args[1]::integer, x.oid, x.tgrelid, x.tgparentid = 0, x.tgenabled, x.args[4]
    FROM (SELECT t.*, string_to_array(encode(t.tgargs, 'escape'), '\000') AS args
          FROM pg_trigger t
          WHERE t.tgfoid = 'journey._capture()'::regprocedure AND t.tgname LIKE 'journey\_capture\_%') x
    WHERE x.args[1] ~ '^[0-9]{1,9}$';
END
$$;
COMMENT ON FUNCTION journey._captures() IS
    'The capture triggers that are really there: of which attachment, on which table (root: not one that a partition has from its parent), enabled how, for which scope.';

-- ---- partitions that come later ---------------------------------------------

CREATE FUNCTION journey._backfill_later(attachment integer, parts oid[]) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    -- of no file yet: the lap that begins to read finds which, and how many blocks it has
    INSERT INTO journey.backfill AS b (attachment, part, file, holds_permits, blocks_total, started_at, later)
    SELECT a.attachment, c.oid, 0, a.kind NOT IN ('product', 'stock'), 1, clock_timestamp(), true
    FROM journey.attachment a, pg_class c
    WHERE a.attachment = _backfill_later.attachment AND c.oid = ANY (parts) AND c.relkind = 'r' AND journey._has_blocks(c.oid)
    ON CONFLICT ON CONSTRAINT backfill_pkey
    DO UPDATE SET file = 0, blocks_total = 1, blocks_done = 0, problem = NULL, retry_at = NULL;
END
$$;
COMMENT ON FUNCTION journey._backfill_later(integer, oid[]) IS
    'Has the laps read all that these partitions of an attached table hold, where they hold anything.';

-- Also called within the shop's ALTER TABLE ... ATTACH PARTITION, which waits for none of us.
CREATE FUNCTION journey._note_leaves() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    SET lock_timeout = '200ms'
AS $$
DECLARE
    r record;
BEGIN
    FOR r IN
        SELECT t.attachment, array_agg(t.capture) AS captures, array_agg(t.rel) AS rels
        FROM journey._captures() t
        JOIN journey.attachment a ON a.attachment = t.attachment AND a.detached_at IS NULL
        WHERE NOT t.root AND NOT EXISTS (SELECT FROM journey.leaf l WHERE l.capture = t.capture)
        GROUP BY t.attachment
    LOOP
        INSERT INTO journey.leaf SELECT unnest(r.captures) ON CONFLICT DO NOTHING;
        PERFORM journey._backfill_later(r.attachment, r.rels);
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._note_leaves() IS
    'Notes partitions that attached tables have got since, and has the laps read those that came with rows.';

CREATE FUNCTION journey._leaves_known(attachment integer) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    INSERT INTO journey.leaf
    SELECT t.capture FROM journey._captures() t WHERE t.attachment = _leaves_known.attachment AND NOT t.root
    ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION journey._leaves_known(integer) IS
    'Notes the partitions that an attached table has as seen: all of them are about to be read, or none is wanted.';

-- A row that TRUNCATE took is known to nobody. So every cart of the source is
-- emptied, and what the other partitions have is read again.
CREATE FUNCTION journey._leaf_truncated(attachment integer) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    r record;
BEGIN
    FOR r IN
        SELECT t.attachment, array_agg(t.rel) AS rels
        FROM journey.attachment a
        JOIN journey.attachment b ON b.source = a.source AND b.kind IN ('cart', 'cart_line') AND b.detached_at IS NULL
        JOIN journey._captures() t ON t.attachment = b.attachment
        WHERE a.attachment = _leaf_truncated.attachment
          AND EXISTS (SELECT FROM journey._captures() l WHERE l.attachment = a.attachment AND NOT l.root)
        GROUP BY t.attachment
    LOOP
        PERFORM journey._backfill_later(r.attachment, r.rels);
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._leaf_truncated(integer) IS
    'Has the laps read the carts and cart lines of a source again, when the attached table is one with partitions.';

-- A table's name is where its trigger is. One that is gone has only the name
-- that was noted, and when another attached table has taken that, it is replaced.
CREATE FUNCTION journey._attach_follow() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    r record;
BEGIN
    -- row by row: an UPDATE of nothing would wait for an attach() under way
    FOR r IN
        SELECT a.attachment, n.nspname, c.relname
        FROM journey.attachment a
        JOIN journey._captures() t ON t.attachment = a.attachment AND t.root
        JOIN pg_class c ON c.oid = t.rel JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE a.detached_at IS NULL AND (a.rel_schema, a.rel_name) <> (n.nspname, c.relname)
    LOOP
        UPDATE journey.attachment a SET rel_schema = r.nspname, rel_name = r.relname WHERE a.attachment = r.attachment;
    END LOOP;
    FOR r IN
        SELECT a.attachment
        FROM journey.attachment a
        WHERE a.detached_at IS NULL
          AND EXISTS (SELECT FROM journey.attachment b
                      WHERE b.detached_at IS NULL AND b.attachment > a.attachment
                        AND (b.rel_schema, b.rel_name, b.kind) = (a.rel_schema, a.rel_name, a.kind))
          AND NOT EXISTS (SELECT FROM journey._captures() t WHERE t.attachment = a.attachment)
    LOOP
        PERFORM journey._attach_unregister(r.attachment);
    END LOOP;
END
$$;
COMMENT ON FUNCTION journey._attach_follow() IS
    'Notes the names that attached tables have now, and detaches what is gone and replaced by an attached table of the same name and kind.';

CREATE FUNCTION journey._attach_register(rel regclass, kind text, source text, map jsonb,
                                         OUT attachment integer, OUT scope text, OUT spec jsonb)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    columns text[] := journey._attach_columns(map);
    former integer;
BEGIN
    LOCK TABLE journey.attachment IN SHARE ROW EXCLUSIVE MODE;
    PERFORM journey._attach_follow();
    -- a partition that nobody has seen yet came to the attachment that this one may replace
    PERFORM journey._note_leaves();
    INSERT INTO journey.source (source) SELECT _attach_register.source
    ON CONFLICT DO NOTHING;
    SELECT s.scope INTO scope FROM journey.source s WHERE s.source = _attach_register.source;
    spec := jsonb_build_object('columns', columns, 'map', map)
         || COALESCE((SELECT jsonb_build_object('groups', jsonb_object_agg(n.namespace, true))
                      FROM journey.namespace n
                      WHERE n.class IN ('group', 'shared') AND map -> 'subject' ? n.namespace
                      HAVING count(*) > 0), '{}')
         || COALESCE((SELECT jsonb_build_object('scoped', jsonb_object_agg(n.namespace, true))
                      FROM journey.namespace n
                      WHERE NOT n.crosses_scopes AND n.class <> 'object' AND map -> 'subject' ? n.namespace
                      HAVING count(*) > 0), '{}');
    INSERT INTO journey.attachment (attachment, rel_schema, rel_name, kind, source, map, columns, spec, attached_by, attached_at)
    SELECT COALESCE((SELECT max(a.attachment) FROM journey.attachment a), 0) + 1,
           n.nspname, c.relname, _attach_register.kind, _attach_register.source, map, columns, spec, session_user, clock_timestamp()
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = rel
    RETURNING attachment.attachment INTO attachment;
    FOR former IN
        SELECT a.attachment FROM journey._attached(rel) a
        WHERE a.kind = _attach_register.kind AND a.attachment <> _attach_register.attachment
    LOOP
        -- what adopt() could not read has still to be read
        UPDATE journey.incident i SET detail = jsonb_build_object('attachment', _attach_register.attachment)
        WHERE i.kind = 'reconcile_failed' AND i.resolved_at IS NULL AND i.detail ->> 'attachment' = former::text;
        -- and so has the rest of a back-fill, by the new map
        UPDATE journey.backfill b SET attachment = _attach_register.attachment, problem = NULL, retry_at = NULL
        WHERE b.attachment = former;
        PERFORM journey._attach_unregister(former);
    END LOOP;
    PERFORM journey._attachments_changed();
END
$$;
COMMENT ON FUNCTION journey._attach_register(regclass, text, text, jsonb) IS
    'Registers an attachment, in place of an earlier one of the same table and kind, and its source when it is new.';

CREATE FUNCTION journey._attach_unregister(attachment integer) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    UPDATE journey.attachment a SET detached_at = clock_timestamp(), broken = NULL
    WHERE a.attachment = _attach_unregister.attachment AND a.detached_at IS NULL;
    UPDATE journey.incident i SET resolved_at = clock_timestamp()
    WHERE i.kind IN ('capture_disabled', 'mapping_broken', 'stock_unreadable', 'reconcile_failed') AND i.resolved_at IS NULL
      AND i.detail ->> 'attachment' = _attach_unregister.attachment::text;
    DELETE FROM journey.backfill b WHERE b.attachment = _attach_unregister.attachment;
END
$$;
COMMENT ON FUNCTION journey._attach_unregister(integer) IS
    'Marks an attachment detached and closes its incidents. The row stays: rows captured before still need its map.';

CREATE FUNCTION journey._attached(rel regclass) RETURNS TABLE (attachment integer, kind text)
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT a.attachment, a.kind FROM journey.attachment a
    JOIN pg_class c ON c.relname = a.rel_name
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = a.rel_schema
    WHERE c.oid = rel AND a.detached_at IS NULL ORDER BY 1;
END
$$;
COMMENT ON FUNCTION journey._attached(regclass) IS 'Attachments of a table.';

CREATE FUNCTION journey._reconcile(attachment integer) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    a journey.attachment := (SELECT x FROM journey.attachment x WHERE x.attachment = _reconcile.attachment);
    n bigint;
BEGIN
    -- first: one that comes while the others are read is read by laps
    PERFORM journey._leaves_known(attachment);
    n := journey._read_attached(attachment, a.backfilled_at IS NOT NULL);
    IF n IS NULL THEN
        RETURN NULL;
    END IF;
    UPDATE journey.attachment x SET backfilled_at = clock_timestamp()
    WHERE x.attachment = _reconcile.attachment AND x.backfilled_at IS NULL;
    UPDATE journey.incident i SET resolved_at = clock_timestamp()
    WHERE i.kind = 'reconcile_failed' AND i.resolved_at IS NULL AND i.detail ->> 'attachment' = _reconcile.attachment::text;
    DELETE FROM journey.backfill b WHERE b.attachment = _reconcile.attachment;
    -- what is read has no fence: until it has been consumed permits wait, as behind adopt()
    IF n > 0 AND a.kind NOT IN ('product', 'stock') THEN
        UPDATE journey.node SET adopted_xid = pg_current_xact_id();
    END IF;
    RETURN n;
END
$$;
COMMENT ON FUNCTION journey._reconcile(integer) IS
    'Reads one attached table, the first time all of it; null when the table or its capture trigger is gone.';

CREATE FUNCTION journey._attach_parts(rel regclass) RETURNS TABLE (part regclass)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY
    WITH RECURSIVE tree (oid) AS (
        SELECT rel::oid
        UNION
        SELECT i.inhrelid FROM pg_inherits i JOIN tree t ON i.inhparent = t.oid)
    SELECT t.oid::regclass FROM tree t;
END
$$;
COMMENT ON FUNCTION journey._attach_parts(regclass) IS
    'A table, its partitions and those that inherit from it: what a SELECT from it reads.';

CREATE FUNCTION journey._backfill_start(attachment integer, rel regclass) RETURNS bigint
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    kind text := (SELECT a.kind FROM journey.attachment a WHERE a.attachment = _backfill_start.attachment);
BEGIN
    DELETE FROM journey.backfill b WHERE b.attachment = _backfill_start.attachment;
    INSERT INTO journey.backfill (attachment, part, file, holds_permits, blocks_total, started_at)
    SELECT _backfill_start.attachment, c.oid, c.relfilenode, kind NOT IN ('product', 'stock'),
           pg_relation_size(c.oid) / current_setting('block_size')::bigint, clock_timestamp()
    FROM pg_class c
    WHERE c.relkind = 'r' AND c.oid IN (SELECT p.part FROM journey._attach_parts(rel) p);
    RETURN (SELECT sum(b.blocks_total) FROM journey.backfill b WHERE b.attachment = _backfill_start.attachment);
END
$$;
COMMENT ON FUNCTION journey._backfill_start(integer, regclass) IS
    'Has the laps read all that an attached table, its partitions and those that inherit from it hold now; returns how many blocks. What is written later fires the trigger, which must be there and its writers held off.';

-- ---- helpers of the caller's own rights ------------------------------------

-- DDL on a table that customers are buying from: never queue for its lock
-- longer than 200 ms, because everybody else queues behind us.
CREATE FUNCTION journey._short_lock(rel regclass, statements text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    statement text;
    before text := current_setting('lock_timeout');
    holders text;
BEGIN
    FOR attempt IN 1..8 LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '200ms', true);
            FOREACH statement IN ARRAY statements LOOP
                EXECUTE statement;
            END LOOP;
            PERFORM set_config('lock_timeout', before, true);
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(LEAST(0.1 * 2 ^ (attempt - 1), 1) * (attempt < 8)::integer);
        END;
    END LOOP;
    SELECT string_agg(DISTINCT l.pid::text, ', ') INTO holders
    FROM pg_locks l WHERE l.relation = rel AND l.granted AND l.pid <> pg_backend_pid();
    RAISE EXCEPTION 'could not get a short lock on %', rel
        USING ERRCODE = 'lock_not_available',
              DETAIL = 'Eight attempts of 200 ms each.' || COALESCE(' Locks on it are held by the processes ' || holders || '.', ''),
              HINT = 'Try again when no long transaction writes to the table; pg_stat_activity shows who does.';
END
$$;
COMMENT ON FUNCTION journey._short_lock(regclass, text[]) IS
    'Runs statements that lock a table, with a lock_timeout of 200 ms and a few retries; 55P03 with who is in the way.';

CREATE FUNCTION journey._attach_refuse(rel regclass, kind text) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    c pg_class;
BEGIN
    IF kind IS NULL OR NOT kind = ANY (journey._attach_kinds()) THEN
        RAISE EXCEPTION 'unknown kind "%"', kind
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = COALESCE('Did you mean "' || journey._nearest(kind, journey._attach_kinds()) || '"?',
                                  'Known are ' || array_to_string(journey._attach_kinds(), ', ') || '.');
    END IF;
    IF to_regclass('journey.attachment') IS NULL THEN
        RAISE EXCEPTION 'journey is not installed in this database'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run SELECT journey.install().';
    END IF;
    SELECT * INTO c FROM pg_class WHERE oid = rel;
    IF c.oid IS NULL THEN
        RAISE EXCEPTION 'no table given' USING ERRCODE = 'null_value_not_allowed', HINT = 'Name the table, as in ''public.orders''.';
    ELSIF c.relkind = 'f' THEN
        RAISE EXCEPTION '% is a foreign table', rel
            USING ERRCODE = 'wrong_object_type',
                  DETAIL = 'A commit on the other server is not atomic with ours, and what is written there directly is not seen.',
                  HINT = 'Attach the table where it lives, or send its changes with journey.track().';
    ELSIF c.relkind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '% is not a table', rel
            USING ERRCODE = 'wrong_object_type', HINT = 'Attach the tables that it reads from.';
    ELSIF EXISTS (SELECT FROM journey._attach_parts(rel) p JOIN pg_class f ON f.oid = p.part WHERE f.relkind = 'f') THEN
        RAISE EXCEPTION '% has rows in a foreign table', rel
            USING ERRCODE = 'wrong_object_type',
                  DETAIL = format('What is written to %s on the other server is not seen, and a commit there is not atomic with ours.',
                                  (SELECT string_agg(p.part::text, ', ' ORDER BY p.part::text) FROM journey._attach_parts(rel) p
                                   JOIN pg_class f ON f.oid = p.part WHERE f.relkind = 'f')),
                  HINT = 'Attach each of its other partitions by itself, or detach the foreign one from it.';
    ELSIF c.relpersistence = 't' THEN
        RAISE EXCEPTION '% is a temporary table', rel
            USING ERRCODE = 'wrong_object_type', HINT = 'Attach a permanent table.';
    ELSIF c.relnamespace IN ('journey'::regnamespace, 'pg_catalog'::regnamespace, 'information_schema'::regnamespace) THEN
        RAISE EXCEPTION '% belongs to % itself', rel, c.relnamespace::regnamespace
            USING ERRCODE = 'wrong_object_type', HINT = 'Attach a table of the shop.';
    ELSIF EXISTS (SELECT FROM pg_partition_ancestors(rel) a (anc)
                  JOIN pg_trigger t ON t.tgrelid = a.anc AND t.tgfoid = 'journey._capture'::regproc
                  WHERE a.anc <> rel AND t.tgname = 'journey_capture_' || kind) THEN
        RAISE EXCEPTION '% is a partition of a table that is attached already', rel
            USING ERRCODE = 'duplicate_object', HINT = 'Its rows are captured through its parent.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey._attach_refuse(regclass, text) IS
    'Raises when a relation can not be attached, and says what to do instead.';

-- How the rows of the table stand to the map: a row per value that is mapped, or is not.
CREATE FUNCTION journey._attach_counts(rel regclass, field text, how jsonb)
    RETURNS TABLE (canonical text, raw text, rows bigint)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT COALESCE($1 ->> COALESCE(v, %L), CASE WHEN v IS NOT NULL THEN $1 ->> %L END, CASE WHEN $1 IS NULL THEN v END),'
        '       CASE WHEN $1 IS NULL OR $1 ? COALESCE(v, %L) OR NOT $1 ? %L THEN v ELSE %L END, count(*)'
        ' FROM (SELECT btrim(%s) AS v FROM %s t) x GROUP BY 1, 2 ORDER BY 3 DESC, 2 LIMIT 100',
        '', '*', '', '*', '*', journey._column_text(rel, COALESCE(how ->> 'column', how #>> '{}')), rel)
    USING how -> 'values';
END
$$;
COMMENT ON FUNCTION journey._attach_counts(regclass, text, jsonb) IS
    'Rows of a table per value of a mapped column: its canonical value (null = not mapped), the shop''s value, how many.';

CREATE FUNCTION journey._attach_nulls(rel regclass, map jsonb)
    RETURNS TABLE (col text, total bigint, nulls bigint)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    columns text[] := journey._attach_columns(map);
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT c.col, x.total, x.total - c.filled'
        ' FROM (SELECT count(*) AS total, ARRAY[%s]::bigint[] AS filled FROM %s t) x, unnest($1, x.filled) AS c (col, filled)'
        ' WHERE c.filled < x.total',
        (SELECT string_agg(format('count(t.%I)', u.col), ', ' ORDER BY u.n) FROM unnest(columns) WITH ORDINALITY AS u (col, n)), rel)
    USING columns;
END
$$;
COMMENT ON FUNCTION journey._attach_nulls(regclass, jsonb) IS
    'Mapped columns that are null in some rows of a table: how many rows there are, and in how many.';

CREATE FUNCTION journey._attach_describe(rel regclass, kind text, map jsonb)
    RETURNS TABLE (what text, name text, value text, rows bigint)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    f record;
    listed text[] := '{}'; -- columns whose values are listed, null among them
BEGIN
    RETURN QUERY
        SELECT 'map', m.key,
               CASE WHEN jsonb_typeof(m.value) = 'string' THEN m.value #>> '{}'
                    WHEN length(m.value::text) > 200 AND m.value ? 'values'
                    THEN format('%s, with %s values', m.value ->> 'column', (SELECT count(*) FROM jsonb_object_keys(m.value -> 'values')))
                    ELSE m.value::text END,
               NULL::bigint
        FROM jsonb_each(map) m ORDER BY m.key;
    FOR f IN
        SELECT m.key AS field, m.value AS how
        FROM jsonb_each(map) m
        WHERE m.key IN ('status', 'state', 'type', 'origin') AND journey._attach_values(kind, m.key) IS NOT NULL
          AND (jsonb_typeof(m.value) = 'string' OR m.value ? 'column')
        UNION ALL
        SELECT 'consents', c FROM jsonb_array_elements(COALESCE(map -> 'consents', '[]')) c
    LOOP
        RETURN QUERY
            SELECT CASE WHEN c.canonical = ANY (COALESCE(journey._attach_values(kind, f.field), ARRAY[c.canonical])) THEN 'mapped'
                        WHEN c.raw IS NULL THEN 'null' ELSE 'unmapped' END,
                   f.field || COALESCE(' ' || (f.how ->> 'channel'), ''),
                   CASE WHEN c.canonical = ANY (COALESCE(journey._attach_values(kind, f.field), ARRAY[c.canonical]))
                        THEN COALESCE(c.raw, 'null') || ' → ' || c.canonical ELSE COALESCE(c.raw, 'null') END,
                   c.rows
            FROM journey._attach_counts(rel, f.field, f.how) c;
        listed := listed || COALESCE(f.how ->> 'column', f.how #>> '{}');
    END LOOP;
    RETURN QUERY
        SELECT 'nulls', n.col, round(100.0 * n.nulls / n.total, 1) || ' %', n.nulls
        FROM journey._attach_nulls(rel, map) n WHERE n.col <> ALL (listed) ORDER BY n.col;
    RETURN QUERY
        SELECT 'not mapped', rtrim(k, '!'), COALESCE('nearest column: ' || journey._nearest(rtrim(k, '!'), journey._rel_columns(rel)), 'no column like it'), NULL::bigint
        FROM jsonb_object_keys(journey._attach_fields(kind)) k
        WHERE NOT map ? rtrim(k, '!') AND NOT COALESCE(map -> 'subject', '{}') ? rtrim(k, '!') AND rtrim(k, '!') NOT IN ('props', 'traits', 'consents', 'on_delete', 'max_age', 'order')
        ORDER BY k;
    IF EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = rel AND NOT c.relispartition) THEN
        RETURN QUERY SELECT 'warning', 'inheritance', 'tables that inherit from it are not captured: attach each', NULL::bigint;
    END IF;
END
$$;
COMMENT ON FUNCTION journey._attach_describe(regclass, text, jsonb) IS
    'What attach() prints: the map, how the rows stand to it, how many are null, and which fields have no column.';

-- Back-fill, reconcile and live stock read a table as its owner.
CREATE FUNCTION journey._attach_unreadable(rel regclass, OUT problem text, OUT detail text, OUT hint text)
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    owner regrole;
    namespace regnamespace;
BEGIN
    SELECT c.relowner, c.relnamespace INTO owner, namespace FROM pg_class c WHERE c.oid = rel;
    IF NOT has_schema_privilege(owner, namespace, 'USAGE') OR NOT has_table_privilege(owner, rel, 'SELECT') THEN
        problem := format('%s may not read %s', owner, rel);
        detail := 'What is attached is read with the rights of its owner, and with no others.';
        hint := format('Somebody who may must run: GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s TO %2$s;', namespace, owner, rel);
    ELSIF EXISTS (SELECT FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
                  WHERE c.oid = rel AND c.relrowsecurity AND c.relforcerowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls) THEN
        problem := format('row security hides rows of %s from its owner', rel);
        detail := 'What is attached is read whole or not at all.';
        hint := format('Run ALTER TABLE %s NO FORCE ROW LEVEL SECURITY, or give its owner BYPASSRLS.', rel);
    END IF;
END
$$;
COMMENT ON FUNCTION journey._attach_unreadable(regclass) IS
    'Why a table cannot be read with the rights of its owner, and what to run; null when it can.';

CREATE FUNCTION journey._attach_readable(rel regclass) RETURNS void
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    u record := journey._attach_unreadable(rel);
BEGIN
    IF u.problem IS NOT NULL THEN
        RAISE EXCEPTION '%', u.problem USING ERRCODE = 'insufficient_privilege', DETAIL = u.detail, HINT = u.hint;
    END IF;
END
$$;
COMMENT ON FUNCTION journey._attach_readable(regclass) IS
    'Raises 42501 when a table cannot be read with the rights of its owner.';

-- ---- attach, detach, reconcile ---------------------------------------------

CREATE FUNCTION journey.attach(rel regclass, kind text, map jsonb DEFAULT NULL,
                               dry_run boolean DEFAULT false, backfill boolean DEFAULT true)
    RETURNS TABLE (what text, name text, value text, rows bigint)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    guessed boolean := map IS NULL;
    source_name text;
    registered record;
    args text;
    size bigint;
BEGIN
    PERFORM journey._attach_refuse(rel, kind);
    IF NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = rel), 'USAGE') THEN
        RAISE EXCEPTION 'permission denied to attach %', rel
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Run it as a role that is a member of journey_admin and of %s, the owner of the table.',
                                (SELECT relowner::regrole FROM pg_class WHERE oid = rel));
    END IF;
    IF guessed THEN
        map := journey._attach_guess(rel, kind);
        RETURN QUERY SELECT 'guess'::text, kind, map::text, NULL::bigint;
    END IF;
    map := journey._attach_check(rel, kind, map);
    source_name := COALESCE(map ->> 'source', 'commerce');
    RETURN QUERY SELECT * FROM journey._attach_describe(rel, kind, map);
    IF dry_run THEN
        RETURN QUERY SELECT 'dry run'::text, rel::text, 'nothing was changed; source ' || source_name || ', captured columns '
                            || array_to_string(journey._attach_columns(map), ', '), NULL::bigint;
        RETURN;
    END IF;
    IF backfill AND current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'attach with back-fill needs isolation level READ COMMITTED'
            USING ERRCODE = 'active_sql_transaction',
                  DETAIL = 'The snapshot of this transaction is older than the trigger: rows committed in between would be missed.',
                  HINT = 'Use a READ COMMITTED transaction, or backfill => false and journey.reconcile() afterwards.';
    END IF;

    PERFORM journey._attach_readable(rel);
    SELECT * INTO registered FROM journey._attach_register(rel, kind, source_name, map - 'source');
    args := format('%L, %L, %L, %L, %L', registered.attachment, kind, source_name, registered.scope, registered.spec);
    -- The trigger fires whatever session_replication_role says: a shop that
    -- is fed by replication or by a bulk loader is still a shop.
    PERFORM journey._short_lock(rel, ARRAY[
        format('CREATE OR REPLACE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION journey._capture(%s)',
               'journey_capture_' || kind, rel, args),
        format('CREATE OR REPLACE TRIGGER %I AFTER TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION journey._capture(%s)',
               'journey_truncate_' || kind, rel, format('%L, %L, %L, %L, %L', registered.attachment, kind, source_name, registered.scope, '{}')),
        format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', rel, 'journey_capture_' || kind),
        format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', rel, 'journey_truncate_' || kind)]);
    PERFORM journey._watch_truncate();
    PERFORM journey._leaves_known(registered.attachment);
    RETURN QUERY SELECT 'attached'::text, rel::text,
                        format('attachment %s, kind %s, source %s, scope %s', registered.attachment, kind, source_name, registered.scope), NULL::bigint;
    IF NOT backfill THEN
        RETURN;
    END IF;
    -- CREATE TRIGGER has waited for every writer and holds the rest off until
    -- we commit; the statement that reads takes its snapshot after that, so
    -- each row is either read here or fires the trigger. Writers wait while we
    -- read, therefore only a table that takes a moment is read here.
    SELECT sum(pg_table_size(p.part)) INTO size FROM journey._attach_parts(rel) p;
    IF size > 1024 * 1024 THEN
        RETURN QUERY SELECT 'back-fill'::text, rel::text,
                            format('above 1 MB: the laps to come read its %s blocks, portion by portion; journey.stat_progress shows how far', journey._backfill_start(registered.attachment, rel)), NULL::bigint;
        RETURN;
    END IF;
    RETURN QUERY SELECT 'back-fill'::text, rel::text, 'rows appended; they become state and enroll nobody'::text,
                        journey._reconcile(registered.attachment);
END
$$;
COMMENT ON FUNCTION journey.attach(regclass, text, jsonb, boolean, boolean) IS
    'Captures every change of one of the shop''s tables from now on, and reads the rows it has: up to 1 MB at once, more by the laps to come (journey.stat_progress), and until those have been consumed permits that an event could end answer stale_data. kind: customer, product, stock, cart, cart_line, order, order_line, shipment, return, consent, message_event. map: canonical field → column, {"column", "values"} or {"const"}; null = guessed from usual names, and shown. dry_run shows the same and changes nothing. Needs membership in journey_admin and in the table''s owner. Attaching again replaces the map.';

CREATE FUNCTION journey._detach(attachments integer[], called text, kind text, rel regclass DEFAULT NULL)
    RETURNS TABLE (what text, name text, value text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    a record;
BEGIN
    FOR a IN
        SELECT x.attachment, x.kind, format('%I.%I', x.rel_schema, x.rel_name) AS name, COALESCE(t.rel::regclass, _detach.rel) AS there
        FROM journey.attachment x LEFT JOIN journey._captures() t ON t.attachment = x.attachment AND t.root
        WHERE x.attachment = ANY (attachments) AND (_detach.kind IS NULL OR x.kind = _detach.kind)
        ORDER BY x.attachment
    LOOP
        IF a.there IS NOT NULL THEN
            PERFORM journey._short_lock(a.there, ARRAY[
                format('DROP TRIGGER IF EXISTS %I ON %s', 'journey_capture_' || a.kind, a.there),
                format('DROP TRIGGER IF EXISTS %I ON %s', 'journey_truncate_' || a.kind, a.there)]);
        END IF;
        PERFORM journey._attach_unregister(a.attachment);
        RETURN QUERY SELECT 'detached'::text, a.name,
                            format('attachment %s, kind %s', a.attachment, a.kind) || CASE WHEN a.there IS NULL THEN '; the table is gone' ELSE '' END;
    END LOOP;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is not attached%', called, COALESCE(' as ' || kind, '')
            USING ERRCODE = 'undefined_object', HINT = 'journey.attachment lists what is attached.';
    END IF;
END
$$;
COMMENT ON FUNCTION journey._detach(integer[], text, text, regclass) IS
    'Ends these attachments, of one kind or of all, and drops their triggers where the table, or rel, is there. 42704 when there is none.';

CREATE FUNCTION journey.detach(rel regclass, kind text DEFAULT NULL)
    RETURNS TABLE (what text, name text, value text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
BEGIN
    PERFORM journey._attach_follow();
    RETURN QUERY
    SELECT * FROM journey._detach(ARRAY(SELECT x.attachment FROM journey._attached(rel) x), rel::text, detach.kind, rel);
END
$$;
COMMENT ON FUNCTION journey.detach(regclass, text) IS
    'Stops capturing a table, as one kind or as all. What was captured before is still consumed.';

-- A table that is gone cannot be given as a regclass, and its attachment stops
-- what it could have ended until somebody says that it is gone for good. A bare
-- literal comes here, too, whatever it names: one that is there is looked up as
-- the caller would, for which the default of path is worked out where he calls.
CREATE FUNCTION journey.detach(rel text, kind text DEFAULT NULL, path name[] DEFAULT current_schemas(true))
    RETURNS TABLE (what text, name text, value text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    own_path text := current_setting('search_path');
    there regclass;
    tables text[];
    attachments integer[];
BEGIN
    PERFORM journey._attach_follow();
    BEGIN
        PERFORM set_config('search_path', COALESCE((SELECT string_agg(quote_ident(s), ', ' ORDER BY n) FROM unnest(path) WITH ORDINALITY p (s, n)), ''), true);
        there := pg_catalog.to_regclass(rel);
    EXCEPTION WHEN invalid_name OR syntax_error OR feature_not_supported THEN
        there := NULL; -- no name that SQL would take, but perhaps one that the table had
    END;
    PERFORM pg_catalog.set_config('search_path', own_path, true);
    IF there IS NOT NULL THEN
        RETURN QUERY SELECT * FROM journey._detach(ARRAY(SELECT x.attachment FROM journey._attached(there) x), rel, detach.kind, there);
        RETURN;
    END IF;
    SELECT array_agg(DISTINCT x.full_name), array_agg(x.attachment) INTO tables, attachments
    FROM (SELECT a.*, format('%I.%I', a.rel_schema, a.rel_name) AS full_name FROM journey.attachment a WHERE a.detached_at IS NULL) x
    WHERE rel IN (x.full_name, x.rel_schema || '.' || x.rel_name)
       OR (rel IN (quote_ident(x.rel_name), x.rel_name) AND to_regclass(x.full_name) IS NULL);
    IF cardinality(tables) > 1 THEN
        RAISE EXCEPTION '% is the name of several attached tables', rel
            USING ERRCODE = 'invalid_parameter_value', HINT = format('Name the schema, too: %s.', array_to_string(tables, ', '));
    END IF;
    RETURN QUERY SELECT * FROM journey._detach(attachments, rel, detach.kind);
END
$$;
COMMENT ON FUNCTION journey.detach(text, text, name[]) IS
    'The same by the table''s name, on the caller''s search_path or with its schema as journey.attachment has it, which also works when the table is gone.';

CREATE FUNCTION journey.reconcile(rel regclass DEFAULT NULL)
    RETURNS TABLE (attached text, kind text, appended bigint)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    a record;
    found_any boolean := false;
BEGIN
    PERFORM journey._attach_follow();
    FOR a IN
        SELECT x.* FROM journey.attachment x
        WHERE x.detached_at IS NULL
          AND (rel IS NULL OR x.attachment IN (SELECT y.attachment FROM journey._attached(rel) y))
        ORDER BY array_position(journey._attach_kinds(), x.kind), x.attachment
    LOOP
        found_any := true;
        attached := format('%I.%I', a.rel_schema, a.rel_name);
        kind := a.kind;
        appended := journey._reconcile(a.attachment);
        RETURN NEXT;
    END LOOP;
    IF rel IS NOT NULL AND NOT found_any THEN
        RAISE EXCEPTION '% is not attached', rel
            USING ERRCODE = 'undefined_object', HINT = 'Attach it with journey.attach().';
    END IF;
END
$$;
COMMENT ON FUNCTION journey.reconcile(regclass) IS
    'Reads attached tables again and appends what is missing as back-fill: after a load with triggers off, a restore, or an attach with backfill => false; also what a back-fill has not read yet. Orders and carts whose status and people are known are left out. Holds no lock that the shop waits for. appended is null when the table or its capture trigger is gone.';

CREATE FUNCTION journey._check_attachments()
    RETURNS TABLE (attachment integer, attached text, problem text, hint text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
AS $$
DECLARE
    r record;
BEGIN
    PERFORM journey._attach_follow();
    PERFORM journey._note_leaves();
    DELETE FROM journey.leaf l WHERE NOT EXISTS (SELECT FROM journey._captures() t WHERE t.capture = l.capture);
    FOR r IN
        WITH live AS (
            SELECT a.*, root.rel AS relid,
                   (SELECT string_agg(x.rel::regclass::text, ', ' ORDER BY x.rel) FROM journey._captures() x
                    WHERE x.attachment = a.attachment AND x.enabled <> 'A') AS disabled,
                   (SELECT string_agg(col, ', ' ORDER BY n) FROM unnest(a.columns) WITH ORDINALITY AS c(col, n)
                    WHERE NOT EXISTS (SELECT FROM pg_attribute att
                                      WHERE att.attrelid = root.rel AND att.attname = col AND att.attnum > 0 AND NOT att.attisdropped)) AS gone,
                   root.scope AS trigger_scope, s.scope AS source_scope, u.problem AS unreadable, u.hint AS grants
            FROM journey.attachment a
            LEFT JOIN journey._captures() root ON root.attachment = a.attachment AND root.root
            LEFT JOIN journey.source s ON s.source = a.source
            -- of the others nothing is read but a back-fill, which says itself what keeps it
            LEFT JOIN LATERAL journey._attach_unreadable(root.rel) u ON a.kind = 'stock' OR (a.kind = 'product' AND a.map ? 'available'
                AND NOT EXISTS (SELECT FROM journey.attachment s WHERE s.kind = 'stock' AND s.detached_at IS NULL))
            WHERE a.detached_at IS NULL
        )
        SELECT l.attachment, l.broken, format('%I.%I', l.rel_schema, l.rel_name) AS name, l.kind, v.incident, v.problem, v.hint
        FROM live l,
        LATERAL (SELECT * FROM (VALUES
            (1, l.relid IS NULL, 'capture_disabled', 'the capture trigger is gone',
             format('Run journey.attach() again or, when the table is not coming back, SELECT journey.detach(%L).', format('%I.%I', l.rel_schema, l.rel_name))),
            (2, l.disabled IS NOT NULL, 'capture_disabled', 'the capture trigger is not ENABLE ALWAYS on ' || l.disabled,
             'Run journey.attach() again; it enables the trigger. Then journey.reconcile().'),
            (3, l.gone IS NOT NULL, 'mapping_broken', 'mapped columns are missing: ' || l.gone,
             'Run journey.attach() again with a map that fits, then journey.reconcile().'),
            (4, l.trigger_scope <> l.source_scope, 'mapping_broken', 'the source has moved to scope ' || l.source_scope,
             'Run journey.attach() again with the same map.'),
            (5, l.unreadable IS NOT NULL, 'stock_unreadable', 'stock is unknown: ' || l.unreadable, l.grants),
            (6, true, NULL, NULL, NULL)) AS t (n, holds, incident, problem, hint)
            WHERE t.holds ORDER BY t.n LIMIT 1) v
        ORDER BY l.attachment
    LOOP
        IF r.broken IS DISTINCT FROM r.problem THEN
            UPDATE journey.attachment a SET broken = r.problem WHERE a.attachment = r.attachment;
            IF r.problem IS NOT NULL THEN
                INSERT INTO journey.incident AS i (kind, name, severity, count, first_at, last_at, message, hint, detail)
                VALUES (r.incident, format('%s %s', r.name, r.kind), 'error', 1,
                        clock_timestamp(), clock_timestamp(), r.problem, r.hint, jsonb_build_object('attachment', r.attachment))
                ON CONFLICT (kind, name) DO UPDATE
                SET count = i.count + 1, last_at = EXCLUDED.last_at, message = EXCLUDED.message,
                    hint = EXCLUDED.hint, detail = EXCLUDED.detail, resolved_at = NULL;
            END IF;
        END IF;
        IF r.problem IS NOT NULL THEN
            attachment := r.attachment;
            attached := r.name;
            problem := r.problem;
            hint := r.hint;
            RETURN NEXT;
        END IF;
    END LOOP;
    UPDATE journey.incident i SET resolved_at = clock_timestamp()
    WHERE i.kind IN ('capture_disabled', 'mapping_broken', 'stock_unreadable') AND i.resolved_at IS NULL
      AND NOT EXISTS (SELECT FROM journey.attachment a
                      WHERE a.attachment::text = i.detail ->> 'attachment' AND a.broken = i.message AND a.detached_at IS NULL);
END
$$;
COMMENT ON FUNCTION journey._check_attachments() IS
    'Compares attachments with the triggers and columns that are really there: follows renames, has new partitions read, keeps attachment.broken, opens and closes the incidents capture_disabled, mapping_broken and stock_unreadable. Returns what is wrong now. While attachment.broken is set, permits that an event could end must answer stale_data; of products and stock, those that need stock, while it cannot be read.';
