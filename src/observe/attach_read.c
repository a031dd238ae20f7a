/*
 * attach_read.c
 *		Reading attached tables: back-fill, reconcile, live stock.
 *
 * Called by the functions of sql/observe/3x_attach.sql and by backfill.c, as
 * journey_owner, which has no right to the shop's tables. They are read as their owner, in a
 * restricted context, as REFRESH MATERIALIZED VIEW does, so that nothing that
 * the shop put there can run with more rights than the shop has. What is read
 * must be a table with our trigger on it, whatever its name says; the SELECT
 * calls functions of the system only, and output functions.
 *
 * Locks: ACCESS SHARE on the attached table, for which live stock does not
 * wait. Rows are read through a cursor and appended in batches; memory is that
 * of one batch.
 */
#include "observe/capture_row.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/qunique.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/uuid.h"
#include "utils/varlena.h"

#include "core/inbox.h"
#include "core/table.h"
#include "observe/backfill.h"
#include "observe/fact.h"

#define READ_BATCH 1000
/* An order may have to wait while a portion is read and taken in: some tens of milliseconds. More than one block holds. */
#define PORTION_ROWS Max(300, MaxHeapTuplesPerPage + 1)

typedef struct Reader
{
	int			attachment;		/* attachment */
	JnySpec    *spec;			/* made once the first rows tell their columns */
	char	   *kind;
	char	   *source;
	char	   *scope;
	Jsonb	   *doc;
	Oid			relid;
	Oid			owner;
	const char *name;			/* of the table, quoted */
	bool		only_changed;	/* leave out orders and carts whose state and people are known */
	BlockNumber from;			/* these blocks only, up to the one before "to" */
	BlockNumber to;				/* 0 = all of it, partitions too */
	Jsonb	   *snapshot;		/* {"snapshot"}: what is visible in it was read, stale.c asks */
} Reader;

JNY_PLAN(now_snapshot, "", "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text");
JNY_PLAN(find_root, "integer",
		 "SELECT t.rel FROM journey._captures() t WHERE t.attachment = $1 AND t.root");
JNY_PLAN(load_attachment, "integer",
		 "SELECT a.kind, a.source, a.spec, COALESCE(s.scope, 'default')"
		 " FROM journey.attachment a LEFT JOIN journey.source s ON s.source = a.source"
		 " WHERE a.attachment = $1 AND a.detached_at IS NULL");

JNY_LOOKUP(key_owners, "identity", "identity_pkey", "bucket, key_hash", "profile_bucket, profile_id", NULL);
JNY_LOOKUP(stored_orders, "orders", "orders_pkey", "bucket, profile_id, scope, order_id", "status", NULL);
JNY_LOOKUP(stored_carts, "cart", "cart_pkey", "bucket, profile_id, scope, cart_id", "status", NULL);

/* ---- what is read, and whose eyes read --------------------------------- */

static bool
is_captured(Relation rel, int attachment)
{
	Oid			capture = LookupFuncName(list_make2(makeString("journey"), makeString("_capture")), 0, NULL, false);
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *t = &triggers->triggers[i];

		if (t->tgfoid == capture && TRIGGER_FOR_ROW(t->tgtype) && t->tgnargs > 0 && atoi(t->tgargs[0]) == attachment)
			return true;
	}
	return false;
}

/* Of the old inheritance: what reads the table reads it, too, though it has no trigger. */
static bool
is_heir(Relation rel, int attachment)
{
	Oid			root;

	if (rel->rd_rel->relispartition || !has_superclass(RelationGetRelid(rel)))
		return false;
	root = jny_attached_root(attachment);
	return OidIsValid(root) &&
		list_member_oid(find_all_inheritors(root, NoLock, NULL), RelationGetRelid(rel));
}

Relation
jny_open_attached(Oid relid, int attachment)
{
	Relation	rel = OidIsValid(relid) ? try_relation_open(relid, AccessShareLock) : NULL;

	if (rel == NULL ||
		((rel->rd_rel->relkind == RELKIND_RELATION || rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE) &&
		 (is_captured(rel, attachment) || is_heir(rel, attachment))))
		return rel;
	relation_close(rel, AccessShareLock);
	return NULL;
}

static const char *
quoted_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)), RelationGetRelationName(rel));
}

typedef struct Identity
{
	Oid			user;
	int			context;
	int			settings;
} Identity;

static void
read_as(Oid owner, Identity *saved)
{
	GetUserIdAndSecContext(&saved->user, &saved->context);
	SetUserIdAndSecContext(owner, saved->context | SECURITY_RESTRICTED_OPERATION | SECURITY_LOCAL_USERID_CHANGE);
	saved->settings = NewGUCNestLevel();
}

/* A portion counts as read up to its last row, so rows must come in the order of their blocks, whatever is set. */
static void
read_in_order(void)
{
	jny_set("enable_tidscan", "on");
	jny_set("synchronize_seqscans", "off");
}

static void
read_end(const Identity *saved)
{
	AtEOXact_GUC(false, saved->settings);
	SetUserIdAndSecContext(saved->user, saved->context);
}

static bool
hides_rows(Oid relid, Oid owner)
{
	return check_enable_rls(relid, owner, true) == RLS_ENABLED;
}

/* The column as text, as it is captured. A type of the shop's own may have casts of its own: what it prints counts. */
static const char *
column_text(Oid relid, const char *column)
{
	const char *quoted = quote_identifier(column);
	Oid			type = getBaseType(get_atttype(relid, get_attnum(relid, column)));

	if (type == MONEYOID)
		return psprintf("t.%s::pg_catalog.money::pg_catalog.\"numeric\"::pg_catalog.text", quoted);
	if (type < FirstNormalObjectId)
		return psprintf("t.%s::pg_catalog.text", quoted);
	return psprintf("NULLIF(pg_catalog.format('%%s', t.%s), '')", quoted);
}

PG_FUNCTION_INFO_V1(journey_column_text);

Datum
journey_column_text(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));

	if (get_attnum(relid, name) == InvalidAttrNumber)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(column_text(relid, name)));
}

/* ---- back-fill --------------------------------------------------------- */

Oid
jny_attached_root(int attachment)
{
	bool		isnull;

	if (jny_run(&find_root, (Datum[]) {Int32GetDatum(attachment)}, NULL) != 1)
		return InvalidOid;
	return DatumGetObjectId(jny_get(0, 1, &isnull));
}

static bool
load_reader(Reader *reader)
{
	Relation	rel;
	bool		isnull;

	if (jny_run(&load_attachment, (Datum[]) {Int32GetDatum(reader->attachment)}, NULL) != 1)
		return false;
	reader->kind = jny_get_text(0, 1);
	reader->source = jny_get_text(0, 2);
	reader->doc = DatumGetJsonbPCopy(jny_get(0, 3, &isnull));
	reader->scope = jny_get_text(0, 4);
	rel = jny_open_attached(reader->relid, reader->attachment);
	if (rel == NULL)
		return false;
	reader->owner = rel->rd_rel->relowner;
	reader->name = quoted_name(rel);
	relation_close(rel, NoLock);
	if (hides_rows(reader->relid, reader->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row security hides rows of %s from its owner", reader->name),
				 errdetail("What is attached is read whole or not at all: a missing order would look like none."),
				 errhint("Run ALTER TABLE %s NO FORCE ROW LEVEL SECURITY, or give its owner BYPASSRLS.", reader->name)));
	return true;
}

/*
 * A portion that was read without a column would count as read, and nobody
 * would come back for it. Whoever calls reconcile() will call it again.
 */
static void
refuse_missing_column(const Reader *reader, const char *column)
{
	if (reader->to > 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("mapped column \"%s\" of %s is missing", column, reader->name),
				 errhint("Run journey.attach() again with a map that fits.")));
}

/* Only columns that are still there; the others are filled with nulls. */
static char *
select_text(const Reader *reader)
{
	StringInfoData sql;
	Jsonb	   *columns = jny_json_object(reader->doc, "columns");
	const char *sep = "";

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	for (uint32 i = 0; i < JB_ROOT_COUNT(columns); i++)
	{
		char	   *column = jny_json_scalar_text(getIthJsonbValueFromContainer(&columns->root, i));

		if (get_attnum(reader->relid, column) <= 0)
		{
			refuse_missing_column(reader, column);
			continue;
		}
		appendStringInfo(&sql, "%st.%s", sep, quote_identifier(column));
		sep = ", ";
	}
	if (reader->to == 0)
		appendStringInfo(&sql, " FROM %s t", reader->name);
	else
		appendStringInfo(&sql, "%st.ctid FROM ONLY %s t WHERE t.ctid >= '(%u,0)'::pg_catalog.tid AND t.ctid < '(%u,0)'::pg_catalog.tid",
						 sep, reader->name, reader->from, reader->to);
	return sql.data;
}

/* Owners of keys, as they are stored; key i of image j is at j * JNY_SPEC_KEYS + i. NULL = nobody's. */
static const JnyRow **
find_owners(JnyImage **images, int n)
{
	JnyCols    *keys = jny_cols_of(&key_owners);
	const JnyRow **owners = palloc0(sizeof(JnyRow *) * n * JNY_SPEC_KEYS);
	int		   *place = palloc(sizeof(int) * n * JNY_SPEC_KEYS);
	int			nkeys = 0;
	JnyRows    *found;

	for (int i = 0; i < n; i++)
		for (int k = 0; k < images[i]->nkeys; k++)
		{
			jny_cols_set(keys, 0, Int16GetDatum(jny_bucket_of_hash(images[i]->keys[k])));
			jny_cols_set(keys, 1, Int64GetDatum(images[i]->keys[k]));
			jny_cols_next(keys);
			place[nkeys++] = i * JNY_SPEC_KEYS + k;
		}
	found = jny_lookup(&key_owners, keys);
	for (int i = 0; i < found->n; i++)
		owners[place[found->row[i].key]] = &found->row[i];
	return owners;
}

/* Whose the order or cart is, when every key of the row is theirs; else NULL. */
static const JnyRow *
only_owner(const JnyImage *image, const JnyRow **owners)
{
	const JnyRow *owner = NULL;

	for (int k = 0; k < image->nkeys; k++)
	{
		if (owners[k] == NULL ||
			(owner != NULL && memcmp(jny_row_uuid(owner, 1), jny_row_uuid(owners[k], 1), UUID_LEN) != 0))
			return NULL;
		owner = owners[k];
	}
	return owner;
}

/*
 * Orders and carts of which a fence would say nothing new: the stored status
 * is the one read, and their keys are already one person's.
 */
static bool *
find_known(const Reader *reader, JnyImage **images, int n)
{
	JnyAccess  *stored = reader->spec->kind == JNY_SPEC_ORDER ? &stored_orders : &stored_carts;
	JnyCols    *keys = jny_cols_of(stored);
	const JnyRow **owners = find_owners(images, n);
	int		   *asked = palloc(sizeof(int) * n);
	bool	   *known = palloc0(n);
	int			nasked = 0;
	JnyRows    *found;

	for (int i = 0; i < n; i++)
	{
		const JnyRow *owner = images[i]->has_object ? only_owner(images[i], owners + i * JNY_SPEC_KEYS) : NULL;

		if (owner == NULL)
			continue;
		jny_cols_set(keys, 0, owner->values[0]);
		jny_cols_set(keys, 1, owner->values[1]);
		jny_cols_text(keys, 2, reader->scope);
		jny_cols_text(keys, 3, strchr(images[i]->ref, ':') + 1);
		jny_cols_next(keys);
		asked[nasked++] = i;
	}
	found = jny_lookup(stored, keys);
	for (int i = 0; i < found->n; i++)
	{
		int			image = asked[found->row[i].key];
		const char *status = images[image]->status;

		known[image] = status == NULL || strcmp(status, jny_row_text(&found->row[i], 0)) == 0;
	}
	return known;
}

static int64
append_batch(Reader *reader, JnyImage **images, int n)
{
	JnyInboxRow *rows = palloc0(sizeof(JnyInboxRow) * n);
	bool		compare = reader->only_changed
		&& (reader->spec->kind == JNY_SPEC_ORDER || reader->spec->kind == JNY_SPEC_CART);
	bool	   *known = compare ? find_known(reader, images, n) : NULL;
	int			nrows = 0;

	for (int i = 0; i < n; i++)
	{
		JnyInboxRow *row = &rows[nrows];

		if (known != NULL && known[i])
			continue;
		row->op = JNY_OP_BACKFILL;
		row->attachment = reader->spec->attachment;
		row->source = reader->source;
		row->scope = reader->scope;
		row->ref = images[i]->ref;
		row->cols = jny_image_cols(reader->spec, images[i], NULL);
		row->props = reader->snapshot;
		nrows++;
	}
	if (nrows > 0)
		jny_inbox_append(rows, nrows);
	return nrows;
}

static int64
read_batch(Reader *reader, SPITupleTable *table, int n)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(table->tupdesc, &TTSOpsHeapTuple);
	JnyImage  **images = palloc(sizeof(JnyImage *) * n);
	JnyTextSettings settings;

	jny_text_settings_begin(&settings);
	PG_TRY();
	{
		for (int i = 0; i < n; i++)
		{
			ExecStoreHeapTuple(table->vals[i], slot, false);
			images[i] = jny_image_read(reader->spec, slot);
		}
	}
	PG_FINALLY();
	{
		jny_text_settings_end(&settings);
	}
	PG_END_TRY();
	ExecDropSingleTupleTableSlot(slot);
	return append_batch(reader, images, n);
}

/* The ctid is the last column. */
static BlockNumber
block_of(SPITupleTable *table, int row)
{
	bool		isnull;
	Datum		ctid = SPI_getbinval(table->vals[row], table->tupdesc, table->tupdesc->natts, &isnull);

	return ItemPointerGetBlockNumber((ItemPointer) DatumGetPointer(ctid));
}

/*
 * So many rows were fetched of a portion: how many of them are of blocks that
 * have no more. The last block is left to the next portion when it may.
 */
static int
cut_portion(Reader *reader, SPITupleTable *table, int n)
{
	if (n < PORTION_ROWS)
		return n;
	reader->to = block_of(table, n - 1);
	while (n > 0 && block_of(table, n - 1) == reader->to)
		n--;
	return n;
}

static int64
read_table(Reader *reader)
{
	Identity	identity;
	Portal		portal;
	int64		appended = 0;
	MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "journey back-fill",
												ALLOCSET_DEFAULT_SIZES);

	/*
	 * Our id before the snapshot: as long as it runs, no generation is emptied
	 * that holds a change which the snapshot does not see.
	 */
	(void) GetTopFullTransactionId();
	jny_run_latest(&now_snapshot, NULL, NULL);
	reader->snapshot = jny_image_props("snapshot", jny_get_text(0, 1), NULL, NULL);
	read_as(reader->owner, &identity);
	read_in_order();
	portal = SPI_cursor_parse_open(NULL, select_text(reader), &(SPIParseOpenOptions) {.read_only = false});
	read_end(&identity);
	for (;;)
	{
		SPITupleTable *table;
		MemoryContext old;
		int			n;

		CHECK_FOR_INTERRUPTS();
		read_as(reader->owner, &identity);
		read_in_order();
		SPI_cursor_fetch(portal, true, reader->to > 0 ? PORTION_ROWS : READ_BATCH);
		read_end(&identity);
		n = (int) SPI_processed;
		table = SPI_tuptable;
		if (n == 0)
			break;
		if (reader->to > 0)
			n = cut_portion(reader, table, n);
		if (reader->spec == NULL)
			reader->spec = jny_spec_make(reader->attachment, reader->kind, reader->source,
										 reader->scope, reader->doc, table->tupdesc);
		old = MemoryContextSwitchTo(batch);
		appended += read_batch(reader, table, n);
		MemoryContextSwitchTo(old);
		MemoryContextReset(batch);
		SPI_freetuptable(table);
		if (reader->to > 0)
			break;
	}
	SPI_cursor_close(portal);
	return appended;
}

PG_FUNCTION_INFO_V1(journey_read_attached);

/* (attachment, only_changed) -> rows appended; null when it is not attached any more */
Datum
journey_read_attached(PG_FUNCTION_ARGS)
{
	Reader		reader = {.attachment = PG_GETARG_INT32(0), .only_changed = PG_GETARG_BOOL(1)};
	int64		appended;

	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("an attached table is read at isolation level READ COMMITTED only"),
				 errdetail("An older snapshot would miss what was committed before the trigger was there."),
				 errhint("Call it in a READ COMMITTED transaction, or attach with backfill => false and reconcile later.")));
	SPI_connect();
	reader.relid = jny_attached_root(reader.attachment);
	if (!load_reader(&reader))
	{
		SPI_finish();
		PG_RETURN_NULL();
	}
	appended = read_table(&reader);
	SPI_finish();
	PG_RETURN_INT64(appended);
}

int64
jny_read_blocks(int attachment, Oid part, BlockNumber from, BlockNumber *to, bool only_changed)
{
	Reader		reader = {.attachment = attachment, .relid = part, .from = from, .to = *to, .only_changed = only_changed};
	int64		appended = load_reader(&reader) ? read_table(&reader) : 0;

	*to = reader.to;
	return appended;
}

/* ---- the nearest name, for hints --------------------------------------- */

PG_FUNCTION_INFO_V1(journey_nearest);

Datum
journey_nearest(PG_FUNCTION_ARGS)
{
	text	   *word = PG_GETARG_TEXT_PP(0);
	int			len = VARSIZE_ANY_EXHDR(word);
	Datum	   *names;
	bool	   *nulls;
	int			n;
	int			best = Min(len / 2 + 2, len); /* farther is no hint, nor is a name without a common letter */
	text	   *found = NULL;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
	for (int i = 0; i < n && len <= NAMEDATALEN; i++)
	{
		text	   *name = nulls[i] ? NULL : DatumGetTextPP(names[i]);
		int			distance;

		if (name == NULL || VARSIZE_ANY_EXHDR(name) > NAMEDATALEN)
			continue;
		distance = varstr_levenshtein_less_equal(VARDATA_ANY(word), len, VARDATA_ANY(name),
												 VARSIZE_ANY_EXHDR(name), 1, 1, 1, best, true);
		if (distance < best)
		{
			best = distance;
			found = name;
		}
	}
	if (found == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(found);
}

/* ---- live stock -------------------------------------------------------- */

/* Small shops keep it in their table of products. */
JNY_PLAN(stock_attachments, "",
		 "SELECT a.attachment, a.rel_schema, a.rel_name, a.map FROM journey.attachment a"
		 " WHERE a.detached_at IS NULL AND (a.kind = 'stock' OR a.kind = 'product' AND a.map ? 'available'"
		 "  AND NOT EXISTS (SELECT FROM journey.attachment s WHERE s.kind = 'stock' AND s.detached_at IS NULL))"
		 " ORDER BY a.attachment");

/* The condition by which an index on the sku column serves, whatever its type. */
static const char *
sku_condition(Oid relid, const char *column)
{
	const char *quoted = quote_identifier(column);

	switch (getBaseType(get_atttype(relid, get_attnum(relid, column))))
	{
		case TEXTOID:
		case VARCHAROID:
			return psprintf("t.%s = ANY ($1)", quoted);
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return psprintf("t.%s = ANY (ARRAY(SELECT s::pg_catalog.int8 FROM pg_catalog.unnest($1) s WHERE s ~ '^[0-9]{1,18}$'))", quoted);
		case UUIDOID:
			return psprintf("t.%s = ANY (ARRAY(SELECT s::pg_catalog.uuid FROM pg_catalog.unnest($1) s"
							" WHERE s ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'))", quoted);
		default:
			return psprintf("pg_catalog.btrim(%s) = ANY ($1)", column_text(relid, column));
	}
}

static const char *
field_column(Jsonb *map, const char *field)
{
	Jsonb	   *how = jny_json_object(map, field);

	return how != NULL ? jny_json_text(how, "column") : jny_json_text(map, field);
}

/*
 * The locks that reading a table takes, on its partitions and on all indexes
 * too, if they can be had at once. A permit may not wait here: an order that
 * commits meanwhile would come too late for it.
 */
static bool
lock_at_once(Oid relid)
{
	ListCell   *lc;

	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		Relation	rel;
		ListCell   *index;
		bool		locked = true;

		if (!ConditionalLockRelationOid(lfirst_oid(lc), AccessShareLock))
			return false;
		rel = try_relation_open(lfirst_oid(lc), NoLock);
		if (rel == NULL)
			continue;
		foreach(index, RelationGetIndexList(rel))
			locked = locked && ConditionalLockRelationOid(lfirst_oid(index), AccessShareLock);
		relation_close(rel, NoLock);
		if (!locked)
			return false;
	}
	return true;
}

/* What the tables say together of the skus that are asked about. */
typedef struct Level
{
	char	   *sku;
	Datum		sum;			/* 0 = no table knows it */
	bool		stale;			/* what one place says of it is too old to count */
} Level;

typedef struct Levels
{
	Level	   *level;			/* by sku */
	int			n;
} Levels;

static int
by_sku(const void *a, const void *b)
{
	return strcmp(((const Level *) a)->sku, ((const Level *) b)->sku);
}

static Levels
levels_of(Datum skus)
{
	Levels		all = {0};
	Datum	   *sku;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(skus), TEXTOID, -1, false, TYPALIGN_INT, &sku, &nulls, &n);
	all.level = palloc0(sizeof(Level) * Max(n, 1));
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			all.level[all.n++].sku = TextDatumGetCString(sku[i]);
	qsort(all.level, all.n, sizeof(Level), by_sku);
	all.n = (int) qunique(all.level, all.n, sizeof(Level), by_sku);
	return all;
}

/* What is no number is unknown, as it is where captured rows are read. */
static void
add_row(Levels *all, char *sku, const char *available, bool stale)
{
	Level		wanted = {.sku = sku};
	Level	   *level = bsearch(&wanted, all->level, all->n, sizeof(Level), by_sku);
	Datum		n = jny_num_text(available);

	if (level != NULL && stale)
		level->stale = true;
	else if (level != NULL && n != (Datum) 0)
		level->sum = level->sum != (Datum) 0 ? jny_num_add(level->sum, n) : n;
}

typedef struct StockTable
{
	Relation	rel;
	Jsonb	   *map;
	Datum		skus;
	Levels	   *all;
} StockTable;

/* Older than the map's max_age, of no known age, or so far ahead that it was misread. Neither sum leaves the calendar. */
static bool
is_stale(Interval *max_age, TimestampTz now, const char *text)
{
	TimestampTz at;

	if (max_age == NULL)
		return false;
	if (text == NULL || !jny_value_time(text, &at))
		return true;
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(Min(at, now)), IntervalPGetDatum(max_age)))
		< Max(at, now);
}

/* Some of the goods in a place that has spoken lately are enough; without any nobody can tell. */
static bool
nobody_knows(const Level *level)
{
	return level->stale && (level->sum == (Datum) 0
							|| !DatumGetBool(DirectFunctionCall2(numeric_gt, level->sum, jny_num_int(0))));
}

/* Reads one attached table with the caller's snapshot. */
static void
read_stock(void *arg)
{
	StockTable *table = arg;
	Oid			relid = RelationGetRelid(table->rel);
	const char *sku = field_column(table->map, "sku");
	const char *available = field_column(table->map, "available");
	const char *at = field_column(table->map, "at");
	const char *limit = jny_json_text(table->map, "max_age");
	Interval   *max_age = NULL;
	TimestampTz now = 0;
	Identity	identity;
	char	   *sql;

	/* a mapping that no longer fits leaves the stock unknown */
	if (sku == NULL || available == NULL
		|| get_attnum(relid, sku) <= 0 || get_attnum(relid, available) <= 0)
		return;
	if (limit != NULL && !jny_value_interval(limit, &max_age))
		max_age = palloc0(sizeof(Interval));	/* then nothing is young enough */
	/* the clock is a row: read once, and before there are rows of the table to be kept */
	if (max_age != NULL)
		now = jny_now();
	sql = psprintf("SELECT pg_catalog.btrim(%s), %s, %s FROM %s t WHERE %s",
				   column_text(relid, sku), column_text(relid, available),
				   at != NULL && get_attnum(relid, at) > 0 ? column_text(relid, at) : "NULL",
				   quoted_name(table->rel), sku_condition(relid, sku));
	read_as(table->rel->rd_rel->relowner, &identity);
	SPI_execute_with_args(sql, 1, (Oid[]) {TEXTARRAYOID}, &table->skus, NULL, true, 0);
	read_end(&identity);
	for (uint64 row = 0; row < SPI_processed; row++)
		add_row(table->all, jny_get_text(row, 1), jny_get_text(row, 2),
				is_stale(max_age, now, jny_get_text(row, 3)));
}

/* One that its owner may not read, or not whole, must not stop what needs no stock: _check_attachments() names it. */
static bool
try_read_stock(StockTable *table)
{
	return !hides_rows(RelationGetRelid(table->rel), table->rel->rd_rel->relowner)
		&& jny_try(read_stock, table, true, psprintf("read the stock of %s", quoted_name(table->rel)));
}

PG_FUNCTION_INFO_V1(journey_stock);

Datum
journey_stock(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		skus = PG_GETARG_DATUM(0);
	SPITupleTable *attached;
	uint64		n;
	bool		unknown = false;	/* one is locked, or cannot be read */
	Levels		all;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	all = levels_of(skus);
	n = jny_run(&stock_attachments, NULL, NULL);
	attached = SPI_tuptable;
	for (uint64 i = 0; i < n && !unknown; i++)
	{
		bool		isnull;
		int			attachment = DatumGetInt32(SPI_getbinval(attached->vals[i], attached->tupdesc, 1, &isnull));
		Oid			nsp = get_namespace_oid(SPI_getvalue(attached->vals[i], attached->tupdesc, 2), true);
		char	   *name = SPI_getvalue(attached->vals[i], attached->tupdesc, 3);
		Datum		map = SPI_getbinval(attached->vals[i], attached->tupdesc, 4, &isnull);
		Oid			relid = get_relname_relid(name, nsp);
		Relation	rel;

		unknown = OidIsValid(relid) && !lock_at_once(relid);
		rel = unknown ? NULL : jny_open_attached(relid, attachment);
		if (rel == NULL)
			continue;
		unknown = !try_read_stock(&(StockTable) {rel, DatumGetJsonbPCopy(map), skus, &all});
		relation_close(rel, NoLock);
	}
	/* nobody can tell now how many there are of anything */
	for (int i = 0; i < all.n; i++)
	{
		bool		stale = !unknown && nobody_knows(&all.level[i]);
		Datum		values[3] = {CStringGetTextDatum(all.level[i].sku), all.level[i].sum, BoolGetDatum(stale)};
		bool		nulls[3] = {false, unknown || stale, false};

		if (unknown || stale || all.level[i].sum != (Datum) 0)
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}
