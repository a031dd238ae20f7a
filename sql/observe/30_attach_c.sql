-- Looked up by nobody at run time: the trigger calls it by oid, inside the
-- shop's statement and as the shop's role, so it carries no SET clause.
CREATE FUNCTION journey._capture() RETURNS trigger
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'journey_capture';
COMMENT ON FUNCTION journey._capture() IS
    'Trigger that journey.attach() puts on the shop''s tables: appends what changed to the inbox, with the fence where the change is one.';

CREATE FUNCTION journey._read_attached(attachment integer, only_changed boolean) RETURNS bigint
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_read_attached';
COMMENT ON FUNCTION journey._read_attached(integer, boolean) IS
    'Reads an attached table and appends its rows to the inbox as back-fill; only_changed leaves out orders and carts whose stored status is the same and whose keys are already those of one person. Returns the rows appended, null when nothing of that number is attached, or its table or trigger is gone. READ COMMITTED only (25001).';

CREATE FUNCTION journey._attachments_changed() RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_attachments_changed';
COMMENT ON FUNCTION journey._attachments_changed() IS
    'Tells every session, once this transaction commits, to look again at which tables are attached.';

CREATE FUNCTION journey._has_blocks(part oid) RETURNS boolean
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_has_blocks';
COMMENT ON FUNCTION journey._has_blocks(oid) IS
    'Has this table a block that may hold rows? True, too, while somebody has it locked: nobody is waited for.';

CREATE FUNCTION journey._watch_truncate() RETURNS integer
    LANGUAGE C VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_watch_truncate';
COMMENT ON FUNCTION journey._watch_truncate() IS
    'Puts the TRUNCATE trigger of attached tables on partitions that have none, and returns on how many: PostgreSQL gives them only triggers for each row. One that is locked is left for the next call.';

CREATE FUNCTION journey._stock(skus text[]) RETURNS TABLE (sku text, available numeric, stale boolean)
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_stock';
COMMENT ON FUNCTION journey._stock(text[]) IS
    'Stock as the attached tables have it now, the sum over their rows, under the caller''s snapshot: those of kind stock or, without any, the tables of products whose map has "available". No row for what no table knows; what is no number, or whose mapping no longer fits, says nothing. Null for every sku while somebody has such a table locked, for which nobody waits, or one cannot be read. Rows that are older than the max_age of their table''s map are left out; stale, and null, where no other place has any.';

CREATE FUNCTION journey._column_text(rel regclass, name text) RETURNS text
    LANGUAGE C STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, journey, pg_temp
    AS 'MODULE_PATHNAME', 'journey_column_text';
COMMENT ON FUNCTION journey._column_text(regclass, text) IS
    'The expression by which a column of table t is read as text: what its type prints; no cast that the shop has made is called.';

CREATE FUNCTION journey._nearest(word text, names text[]) RETURNS text
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'journey_nearest';
COMMENT ON FUNCTION journey._nearest(text, text[]) IS
    'The name that is fewest edits away from the word, for hints; null when none is near.';
