/*
 * table_read.c
 *		Finding rows of our tables by key, and locking them.
 *
 * Called by every room. Takes AccessShareLock, or RowShareLock when rows are locked, to the end of the
 * transaction as a statement would. A lookup takes a new snapshot, reads what
 * it sees and copies it into the caller's context.
 */
#include "core/path.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "executor/tuptable.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

typedef struct Lookup
{
	JnyPath    *path;
	JnyRows    *rows;
	bool		lock;
	bool		skip;			/* what others have locked */
	int			limit;
	Snapshot	snapshot;		/* NULL = a new one */
	JnyWanted	wanted;
	JnyJudge	judge;			/* instead of wanted */
	void	   *arg;
} Lookup;

JnyRows *
jny_rows_of(const JnyPath *path)
{
	JnyRows    *rows = palloc0(sizeof(JnyRows));

	/* its own copy: what is learned may be learned again while the rows are in use */
	rows->types = memcpy(palloc(sizeof(Oid) * Max(1, path->ncols)), path->types, sizeof(Oid) * path->ncols);
	return rows;
}

void
jny_row_init(JnyRow *row, const JnyPath *path, int key)
{
	row->key = key;
	row->values = palloc((sizeof(Datum) + sizeof(bool)) * Max(1, path->ncols));
	row->nulls = (bool *) (row->values + Max(1, path->ncols));
}

void
jny_rows_add(JnyRows *rows, const JnyRow *row)
{
	if (rows->n == rows->max)
	{
		rows->max = Max(8, rows->max * 2);
		rows->row = rows->row == NULL ? palloc(sizeof(JnyRow) * rows->max)
			: repalloc_huge(rows->row, sizeof(JnyRow) * rows->max);
	}
	rows->row[rows->n++] = *row;
}

void
jny_row_view(JnyRow *row, const JnyPath *path, TupleTableSlot *slot)
{
	slot_getsomeattrs(slot, path->last);
	row->tid = slot->tts_tid;
	for (int i = 0; i < path->ncols; i++)
	{
		row->values[i] = slot->tts_values[path->atts[i] - 1];
		row->nulls[i] = slot->tts_isnull[path->atts[i] - 1];
	}
}

void
jny_row_own(JnyRow *row, const JnyPath *path)
{
	for (int i = 0; i < path->ncols; i++)
		if (!row->nulls[i] && !path->columns[i].byval)
			row->values[i] = datumCopy(row->values[i], false, path->columns[i].len);
}

/* ---- straight --------------------------------------------------------------- */

bool
jny_row_lock(Relation rel, TupleTableSlot *slot, Snapshot snapshot, bool skip)
{
	TM_FailureData failure;
	ItemPointerData tid = slot->tts_tid;

	switch (table_tuple_lock(rel, &tid, snapshot, slot, GetCurrentCommandId(true), LockTupleExclusive,
							 skip ? LockWaitSkip : LockWaitBlock, TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure))
	{
		case TM_Ok:
			return true;
		case TM_WouldBlock:
		case TM_Deleted:
		case TM_SelfModified:
			return false;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to concurrent update"),
					 errhint("The transaction might succeed if retried.")));
	}
}

/*
 * Locks the row in slot and looks at its latest version, which the key and
 * the index must still fit, as a statement would ask again.
 */
static bool
lock_found(Lookup *l, Relation rel, ScanKey key, TupleTableSlot *slot, TupleTableSlot *latest, Snapshot snapshot,
		   JnyRow *row)
{
	latest->tts_tid = slot->tts_tid;
	if (!jny_row_lock(rel, latest, snapshot, l->skip))
		return false;
	jny_row_view(row, l->path, latest);
	return ItemPointerEquals(&slot->tts_tid, &latest->tts_tid) ||
		(jny_path_fits(l->path, key, latest) && (l->wanted == NULL || l->wanted(row, l->arg)));
}

static void
add_copy(Lookup *l, const JnyRow *seen)
{
	JnyRow		row;

	jny_row_init(&row, l->path, seen->key);
	row.tid = seen->tid;
	memcpy(row.values, seen->values, sizeof(Datum) * l->path->ncols);
	memcpy(row.nulls, seen->nulls, sizeof(bool) * l->path->ncols);
	jny_row_own(&row, l->path);
	jny_rows_add(l->rows, &row);
}

/* The rows of one key; false when there are enough. */
static bool
find_rows(Lookup *l, Relation rel, IndexScanDesc scan, ScanKey keys, TupleTableSlot *slot, Snapshot snapshot, int key)
{
	Datum		values[JNY_MAX_COLS];
	bool		nulls[JNY_MAX_COLS];
	JnyRow		row = {.key = key, .values = values, .nulls = nulls};
	TupleTableSlot *latest = l->lock ? table_slot_create(rel, NULL) : NULL;
	bool		more = true;

	/* most keys of a lap are new: rows are made when there is one */
	while (more && index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		jny_row_view(&row, l->path, slot);
		if (l->wanted != NULL && !l->wanted(&row, l->arg))
			continue;
		if (l->lock && !lock_found(l, rel, keys, slot, latest, snapshot, &row))
			continue;
		add_copy(l, &row);
		more = l->rows->n < l->limit;
	}
	if (latest != NULL)
		ExecDropSingleTupleTableSlot(latest);
	return more;
}

/* Rows that were found key by key in another order, in the order of the keys. */
static void
put_in_order(JnyRows *rows, int nkeys)
{
	int		   *start = palloc0(sizeof(int) * (nkeys + 1));
	JnyRow	   *ordered = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(JnyRow) * Max(1, rows->n));

	for (int i = 0; i < rows->n; i++)
		start[rows->row[i].key + 1]++;
	for (int i = 0; i < nkeys; i++)
		start[i + 1] += start[i];
	for (int i = 0; i < rows->n; i++)
		ordered[start[rows->row[i].key]++] = rows->row[i];
	if (rows->row != NULL)
		pfree(rows->row);
	rows->row = ordered;
	rows->max = Max(1, rows->n);
	pfree(start);
}

static void
lookup_direct(Lookup *l, Relation rel, JnyCols *keys)
{
	JnyPath    *path = l->path;
	Relation	index;
	TupleTableSlot *slot;
	ScanKeyData key[INDEX_MAX_KEYS];
	Snapshot	snapshot;
	IndexScanDesc scan;
	int		   *order = NULL;

	/* a parallel query has begun no command that it could end */
	if (l->snapshot == NULL && !IsInParallelMode())
		CommandCounterIncrement();
	PushActiveSnapshot(l->snapshot != NULL ? l->snapshot : GetTransactionSnapshot());
	snapshot = GetActiveSnapshot();
	/* tables of what happens seldom, and of what is short-lived, often have no page; TRUNCATE makes us learn again */
	if (!path->filled && RelationGetNumberOfBlocks(rel) == 0)
	{
		PopActiveSnapshot();
		return;
	}
	path->filled = true;
	/* locks are taken, and the first ones found, in the order of the keys */
	if (!l->lock && l->limit == PG_INT32_MAX && l->wanted == NULL)
		order = jny_cols_by_bucket(keys);
	index = index_open(path->indexid, AccessShareLock);
	slot = table_slot_create(rel, NULL);
	scan = jny_index_beginscan(rel, index, snapshot, path->nkeys);
	for (int i = 0; i < keys->nrows; i++)
	{
		int			k = order != NULL ? order[i] : i;
		size_t		at = (size_t) k * keys->ncols;

		if (!jny_path_keys(path, keys->values + at, keys->nulls + at, key))
			continue;
		index_rescan(scan, key, path->nkeys, NULL, 0);
		if (!find_rows(l, rel, scan, key, slot, snapshot, k))
			break;
	}
	if (order != NULL)
		put_in_order(l->rows, keys->nrows);
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	PopActiveSnapshot();
	index_close(index, NoLock);
}

/* ---- as SQL ------------------------------------------------------------------- */

/* The rows that a cursor gives, one by one, since how many will be wanted is not known before. */
static bool
fetch_rows(Lookup *l, Portal cursor, int key)
{
	MemoryContext cxt = CurrentMemoryContext;
	JnyRow		row;

	jny_row_init(&row, l->path, key);
	for (;;)
	{
		Datum		d[JNY_MAX_COLS + 1];
		bool		nulls[JNY_MAX_COLS + 1];
		JnyChoice	choice;

		SPI_cursor_fetch(cursor, true, 1);
		MemoryContextSwitchTo(cxt);
		if (SPI_processed == 0)
			return true;
		heap_deform_tuple(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, d, nulls);
		row.tid = *(ItemPointer) DatumGetPointer(d[0]);
		memcpy(row.values, d + 1, sizeof(Datum) * l->path->ncols);
		memcpy(row.nulls, nulls + 1, sizeof(bool) * l->path->ncols);
		choice = l->judge != NULL ? l->judge(&row, l->arg)
			: l->wanted == NULL || l->wanted(&row, l->arg) ? JNY_CHOOSE : JNY_LEAVE;
		if (choice == JNY_CHOOSE)
		{
			jny_row_own(&row, l->path);
			jny_rows_add(l->rows, &row);
			jny_row_init(&row, l->path, key);
		}
		SPI_freetuptable(SPI_tuptable);
		if (choice == JNY_STOP || l->rows->n >= l->limit)
			return false;
	}
}

static void
lookup_sql(Lookup *l, JnyCols *keys)
{
	JnyPlan    *plan = jny_path_sql(l->path, !l->lock ? JNY_SQL_PLAIN : l->skip ? JNY_SQL_SKIP : JNY_SQL_WAIT);
	MemoryContext cxt = CurrentMemoryContext;

	SPI_connect();
	if (plan->plan == NULL)
		jny_plan_prepare(plan);
	if (l->snapshot != NULL)
		PushActiveSnapshot(l->snapshot);
	for (int i = 0; i < keys->nrows; i++)
	{
		char		nullchars[JNY_MAX_COLS];
		Portal		cursor;
		bool		more;

		for (int k = 0; k < keys->ncols; k++)
			nullchars[k] = keys->nulls[(size_t) i * keys->ncols + k] ? 'n' : ' ';
		cursor = SPI_cursor_open(NULL, plan->plan, keys->values + (size_t) i * keys->ncols, nullchars,
								 l->snapshot != NULL);
		MemoryContextSwitchTo(cxt);
		more = fetch_rows(l, cursor, i);
		SPI_cursor_close(cursor);
		MemoryContextSwitchTo(cxt);
		if (!more)
			break;
	}
	if (l->snapshot != NULL)
		PopActiveSnapshot();
	SPI_finish();
	MemoryContextSwitchTo(cxt);
}

void
jny_rows_judged(JnyRows *rows, JnyPath *path, JnyCols *keys, bool skip, int limit, JnyJudge judge, void *arg)
{
	Lookup		l = {.path = path, .rows = rows, .lock = true, .skip = skip, .limit = limit, .judge = judge, .arg = arg};

	lookup_sql(&l, keys);
}

/* ---- calls ---------------------------------------------------------------------- */

static JnyRows *
lookup(Lookup *l, JnyAccess *access, JnyCols *keys)
{
	Relation	rel;

	Assert(access->verb == JNY_DO_LOOKUP);
	if (keys->nrows == 0 || l->limit <= 0)
		return palloc0(sizeof(JnyRows));
	if (l->lock)
		PreventCommandIfReadOnly("SELECT FOR UPDATE");
	l->path = jny_path_open(access, l->lock ? RowShareLock : AccessShareLock, &rel);
	l->rows = jny_rows_of(l->path);
	if (jny_path_direct(l->path))
		lookup_direct(l, rel, keys);
	else
		lookup_sql(l, keys);
	table_close(rel, NoLock);
	return l->rows;
}

JnyRows *
jny_lookup(JnyAccess *access, JnyCols *keys)
{
	Lookup		l = {.limit = PG_INT32_MAX};

	return lookup(&l, access, keys);
}

JnyRows *
jny_lookup_wanted(JnyAccess *access, JnyCols *keys, JnyWanted wanted, void *arg)
{
	Lookup		l = {.limit = PG_INT32_MAX, .wanted = wanted, .arg = arg};

	return lookup(&l, access, keys);
}

JnyRows *
jny_lookup_first(JnyAccess *access, JnyCols *keys, JnyWanted wanted, void *arg)
{
	Lookup		l = {.limit = 1, .wanted = wanted, .arg = arg};

	return lookup(&l, access, keys);
}

JnyRows *
jny_lookup_at(JnyAccess *access, JnyCols *keys, Snapshot snapshot, int limit)
{
	Lookup		l = {.snapshot = snapshot, .limit = limit};

	return lookup(&l, access, keys);
}

JnyRows *
jny_lookup_locked(JnyAccess *access, JnyCols *keys, bool skip, int limit, JnyWanted wanted, void *arg)
{
	Lookup		l = {.lock = true, .skip = skip, .limit = limit, .wanted = wanted, .arg = arg};

	return lookup(&l, access, keys);
}

char *
jny_row_text(const JnyRow *row, int col)
{
	return row->nulls[col] ? NULL : TextDatumGetCString(row->values[col]);
}

int64
jny_row_int(const JnyRows *rows, int i, int col, int64 missing)
{
	const JnyRow *row = &rows->row[i];

	if (row->nulls[col])
		return missing;
	switch (rows->types[col])
	{
		case INT2OID:
			return DatumGetInt16(row->values[col]);
		case INT4OID:
			return DatumGetInt32(row->values[col]);
		case BOOLOID:
			return DatumGetBool(row->values[col]) ? 1 : 0;
		default:
			return DatumGetInt64(row->values[col]);
	}
}

pg_uuid_t *
jny_row_uuid(const JnyRow *row, int col)
{
	return row->nulls[col] ? NULL : DatumGetUUIDP(row->values[col]);
}

TimestampTz
jny_row_time(const JnyRow *row, int col)
{
	return row->nulls[col] ? 0 : DatumGetTimestampTz(row->values[col]);
}
