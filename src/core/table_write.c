/*
 * table_write.c
 *		Rows into our tables, changed and out of them, without a statement.
 *
 * Called by every room. Takes RowExclusiveLock to the end of the transaction. A row that another
 * transaction is changing is waited for and changed in its latest version, as
 * a statement at READ COMMITTED does; one that another inserts at the same
 * time raises 23505, and the lap or call is run again. At the end the command
 * counter moves, so that what comes next sees the rows.
 */
#include "core/path.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/tupconvert.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* What one call of jny_write() holds open. */
typedef struct Writer
{
	JnyPath    *path;
	Relation	rel;
	Relation	index;			/* by which rows are found */
	EState	   *estate;
	ResultRelInfo *target;
	TupleTableSlot *slot;		/* the row to be written */
	TupleTableSlot *old;		/* the row that is there */
	IndexScanDesc scan;
	IndexScanDesc again;		/* of find_latest */
	SnapshotData dirty;
	ModifyTableState *routing;	/* of a partitioned table */
	PartitionTupleRouting *partitions;
	CommandId	cid;
} Writer;

/* Rows are found as a snapshot sees them, or, without one, in whatever state they are. */
static void
open_writer(Writer *w, JnyPath *path, Relation rel, Snapshot snapshot)
{
	memset(w, 0, sizeof(*w));
	w->path = path;
	w->rel = rel;
	w->estate = CreateExecutorState();
	w->target = makeNode(ResultRelInfo);
	InitResultRelInfo(w->target, rel, 0, NULL, 0);
	w->slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsVirtual);
	w->cid = GetCurrentCommandId(true);
	if (path->partitioned)
	{
		w->routing = makeNode(ModifyTableState);
		w->routing->ps.state = w->estate;
		w->routing->operation = CMD_INSERT;
		w->routing->resultRelInfo = w->target;
		w->routing->rootResultRelInfo = w->target;
		w->partitions = ExecSetupPartitionTupleRouting(w->estate, rel);
	}
	else if (jny_path_fills(path))
		ExecOpenIndices(w->target, false);
	if (path->access->verb == JNY_DO_INSERT)
		return;
	w->old = table_slot_create(rel, NULL);
	if (path->indexid == InvalidOid)
		return;
	w->index = index_open(path->indexid, AccessShareLock);
	InitDirtySnapshot(w->dirty);
	w->scan = jny_index_beginscan(rel, w->index, snapshot != NULL ? snapshot : &w->dirty, path->nkeys);
}

static void
close_writer(Writer *w)
{
	if (w->scan != NULL)
		index_endscan(w->scan);
	if (w->again != NULL)
	{
		index_endscan(w->again);
		PopActiveSnapshot();
	}
	if (w->index != NULL)
		index_close(w->index, NoLock);
	if (w->old != NULL)
		ExecDropSingleTupleTableSlot(w->old);
	if (w->partitions != NULL)
		ExecCleanupTupleRouting(w->routing, w->partitions);
	else if (jny_path_fills(w->path))
		ExecCloseIndices(w->target);
	ExecDropSingleTupleTableSlot(w->slot);
	ExecResetTupleTable(w->estate->es_tupleTable, false);
	FreeExecutorState(w->estate);
	CommandCounterIncrement();
}

/* ---- inserting --------------------------------------------------------------- */

#define FOREIGN_CONSTRAINT "If somebody else has added the constraint to the table of journey, drop it; if not, report what was done."

static void
check_nulls(Relation rel, TupleTableSlot *slot)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attnotnull && slot->tts_isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("null value in column \"%s\" of relation \"%s\" violates not-null constraint",
							NameStr(att->attname), RelationGetRelationName(rel)),
					 errhint(FOREIGN_CONSTRAINT),
					 errtablecol(rel, i + 1)));
	}
}

/* A partition's constraints are its parent's. */
static void
check_row(Writer *w, TupleTableSlot *slot)
{
	ExprContext *context = GetPerTupleExprContext(w->estate);

	check_nulls(w->rel, slot);
	context->ecxt_scantuple = slot;
	for (int i = 0; i < w->path->nchecks; i++)
		if (!ExecCheck(w->path->checks[i], context))
			ereport(ERROR,
					(errcode(ERRCODE_CHECK_VIOLATION),
					 errmsg("new row for relation \"%s\" violates check constraint \"%s\"",
							RelationGetRelationName(w->rel), w->path->check_names[i]),
					 errhint(FOREIGN_CONSTRAINT),
					 errtableconstraint(w->rel, w->path->check_names[i])));
}

/* Has somebody given a partition of ours what its parent has not? */
static bool
is_plain_leaf(Relation parent, const ResultRelInfo *leaf)
{
	const TupleConstr *of_parent = RelationGetDescr(parent)->constr;
	const TupleConstr *of_leaf = RelationGetDescr(leaf->ri_RelationDesc)->constr;
	int			checks = of_parent != NULL ? of_parent->num_check : 0;

	return leaf->ri_TrigDesc == NULL && leaf->ri_RelationDesc->rd_rel->relkind == RELKIND_RELATION &&
		(of_leaf == NULL || (of_leaf->num_check <= checks && !of_leaf->has_generated_stored));
}

static void
insert_by_statement(JnyPath *path, const Datum *values, const bool *nulls)
{
	MemoryContext cxt = CurrentMemoryContext;

	SPI_connect();
	jny_run(jny_path_sql(path, JNY_SQL_PLAIN), unconstify(Datum *, values), nulls);
	SPI_finish();
	MemoryContextSwitchTo(cxt);
}

static void
insert_row(Writer *w, const Datum *values, const bool *nulls)
{
	JnyPath    *path = w->path;
	TupleTableSlot *slot = w->slot;
	ResultRelInfo *target = w->target;

	ExecClearTuple(slot);
	memcpy(slot->tts_values, path->defaults, sizeof(Datum) * path->natts);
	memcpy(slot->tts_isnull, path->nodefault, sizeof(bool) * path->natts);
	for (int i = 0; i < path->ncols; i++)
	{
		slot->tts_values[path->atts[i] - 1] = values[i];
		slot->tts_isnull[path->atts[i] - 1] = nulls[i];
	}
	ExecStoreVirtualTuple(slot);
	check_row(w, slot);
	if (w->partitions != NULL)
	{
		TupleConversionMap *map;

		target = ExecFindPartition(w->routing, w->target, w->partitions, slot, w->estate);
		if (!is_plain_leaf(w->rel, target))
		{
			insert_by_statement(path, values, nulls);
			return;
		}
		map = jny_root_to_child(target, w->estate);
		if (map != NULL)
			slot = execute_attr_map_slot(map->attrMap, slot,
										 MakeTupleTableSlot(RelationGetDescr(target->ri_RelationDesc), &TTSOpsVirtual));
	}
	slot->tts_tableOid = RelationGetRelid(target->ri_RelationDesc);
	table_tuple_insert(target->ri_RelationDesc, slot, w->cid, 0, NULL);
	if (target->ri_NumIndices > 0)
		list_free(jny_insert_index_tuples(target, slot, w->estate));
	ResetPerTupleExprContext(w->estate);
}

/* ---- changing ------------------------------------------------------------------ */

/*
 * A dirty scan takes a page of the index with it, and reads the rows later: a
 * version that has made room for the next one in between is dead, and the
 * next one is not on the page that was taken. A new snapshot sees it.
 */
static bool
is_really_gone(Writer *w, ScanKey keys)
{
	bool		found;

	if (w->again != NULL)
	{
		index_endscan(w->again);
		PopActiveSnapshot();
	}
	PushActiveSnapshot(GetLatestSnapshot());
	w->again = jny_index_beginscan(w->rel, w->index, GetActiveSnapshot(), w->path->nkeys);
	index_rescan(w->again, keys, w->path->nkeys, NULL, 0);
	found = index_getnext_slot(w->again, ForwardScanDirection, w->old);
	ExecClearTuple(w->old);
	return !found;
}

/*
 * The row with this key, in its latest version, into w->old. Whoever is
 * inserting, changing or deleting it at the moment is waited for.
 */
static bool
find_latest(Writer *w, const Datum *key, const bool *nulls)
{
	ScanKeyData keys[INDEX_MAX_KEYS];

	if (!jny_path_keys(w->path, key, nulls, keys))
		return false;
	for (;;)
	{
		TransactionId other;

		index_rescan(w->scan, keys, w->path->nkeys, NULL, 0);
		if (!index_getnext_slot(w->scan, ForwardScanDirection, w->old))
		{
			/* an insert that should not be one is told by the unique index, and tried again */
			if (w->path->access->verb == JNY_DO_UPSERT || is_really_gone(w, keys))
				return false;
			continue;
		}
		other = TransactionIdIsValid(w->dirty.xmin) ? w->dirty.xmin : w->dirty.xmax;
		if (!TransactionIdIsValid(other))
			return true;
		XactLockTableWait(other, NULL, NULL, XLTW_None);
	}
}

#define FULL_COUNTER "A counter in a row of journey has reached its end: set it back."

static Datum
added(Oid type, Datum a, Datum b)
{
	if (type == INT4OID)
	{
		int32		sum;

		if (pg_add_s32_overflow(DatumGetInt32(a), DatumGetInt32(b), &sum))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("integer out of range"),
					 errhint(FULL_COUNTER)));
		return Int32GetDatum(sum);
	}
	else
	{
		int64		sum;

		if (pg_add_s64_overflow(DatumGetInt64(a), DatumGetInt64(b), &sum))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("bigint out of range"),
					 errhint(FULL_COUNTER)));
		return Int64GetDatum(sum);
	}
}

/* One column of the row that is there, as the declaration says. */
static void
change_column(JnyPath *path, int i, Datum value, bool isnull, TupleTableSlot *slot)
{
	int			at = path->atts[i] - 1;
	char		how = path->update == NULL ? '=' : path->update[i];

	if (how == '\0')
		return;
	if (how == '>' && !slot->tts_isnull[at] &&
		(isnull || DatumGetInt64(slot->tts_values[at]) >= DatumGetInt64(value)))
		return;
	if (how == '+' && (isnull || slot->tts_isnull[at]))
		isnull = true;
	else if (how == '+')
		value = added(path->types[i], slot->tts_values[at], value);
	slot->tts_values[at] = value;
	slot->tts_isnull[at] = isnull;
}

/* Writes over w->old. wait: else what others hold is TM_BeingModified. */
static TM_Result
update_old(Writer *w, const Datum *values, const bool *nulls, bool wait)
{
	TM_FailureData failure;
	LockTupleMode mode;
	JnyUpdatedIndexes which;
	ItemPointerData tid = w->old->tts_tid;
	TM_Result	result;

	slot_getallattrs(w->old);
	ExecClearTuple(w->slot);
	memcpy(w->slot->tts_values, w->old->tts_values, sizeof(Datum) * w->path->natts);
	memcpy(w->slot->tts_isnull, w->old->tts_isnull, sizeof(bool) * w->path->natts);
	for (int i = 0; i < w->path->ncols; i++)
		change_column(w->path, i, values[i], nulls[i], w->slot);
	ExecStoreVirtualTuple(w->slot);
	check_row(w, w->slot);
	w->slot->tts_tableOid = RelationGetRelid(w->rel);
	result = table_tuple_update(w->rel, &tid, w->slot, w->cid, InvalidSnapshot, InvalidSnapshot,
								wait, &failure, &mode, &which);
	if (result == TM_Ok && w->target->ri_NumIndices > 0)
		list_free(jny_update_index_tuples(w->target, w->slot, w->estate, which));
	ResetPerTupleExprContext(w->estate);
	return result;
}

static TM_Result
delete_old(Writer *w, bool wait)
{
	TM_FailureData failure;

	return table_tuple_delete(w->rel, &w->old->tts_tid, w->cid, InvalidSnapshot, InvalidSnapshot,
							  wait, &failure, false);
}

/* False when another transaction was quicker. */
static bool
is_done(const Writer *w, TM_Result result)
{
	if (result != TM_Ok && result != TM_Updated && result != TM_Deleted)
		elog(ERROR, "row of %s is changed twice by one command", RelationGetRelationName(w->rel));
	return result == TM_Ok;
}

/* The key among the columns of an upsert, in the index's order. */
static void
key_of_columns(const JnyPath *path, const Datum *values, const bool *nulls, Datum *key, bool *keynulls)
{
	for (int i = 0; i < path->nkeys; i++)
	{
		keynulls[i] = true;
		for (int k = 0; k < path->ncols; k++)
			if (path->atts[k] == path->keys[i].att)
			{
				key[i] = values[k];
				keynulls[i] = nulls[k];
			}
	}
}

static int
upsert_row(Writer *w, const Datum *values, const bool *nulls)
{
	Datum		key[INDEX_MAX_KEYS];
	bool		keynulls[INDEX_MAX_KEYS];

	key_of_columns(w->path, values, nulls, key, keynulls);
	for (;;)
	{
		if (!find_latest(w, key, keynulls))
		{
			insert_row(w, values, nulls);
			return 1;
		}
		if (!w->path->updates)
			return 0;
		if (is_done(w, update_old(w, values, nulls, true)))
			return 1;
	}
}

static int
change_row(Writer *w, const Datum *values, const bool *nulls)
{
	int			nkeys = w->path->nkeys;

	while (find_latest(w, values, nulls))
	{
		if (is_done(w, w->path->access->verb == JNY_DO_DELETE ? delete_old(w, true)
					: update_old(w, values + nkeys, nulls + nkeys, true)))
			return 1;
	}
	return 0;
}

static int
write_row(Writer *w, const Datum *values, const bool *nulls)
{
	switch (w->path->access->verb)
	{
		case JNY_DO_INSERT:
			insert_row(w, values, nulls);
			return 1;
		case JNY_DO_UPSERT:
			return upsert_row(w, values, nulls);
		default:
			return change_row(w, values, nulls);
	}
}

/* A row that the caller has locked, at its place. */
static void
write_at(Writer *w, const ItemPointerData *tid, const Datum *values, const bool *nulls)
{
	ItemPointerData at = *tid;
	bool		done;

	if (!table_tuple_fetch_row_version(w->rel, &at, SnapshotSelf, w->old))
		done = false;
	else if (w->path->access->verb == JNY_DO_DELETE)
		done = is_done(w, delete_old(w, true));
	else
		done = is_done(w, update_old(w, values, nulls, true));
	if (!done)
		elog(ERROR, "row of %s is not where it was locked", RelationGetRelationName(w->rel));
}

/* ---- changing what is found ------------------------------------------------------- */

typedef struct Change
{
	Writer		w;
	JnyRows    *rows;
	Snapshot	snapshot;
	bool		skip;
	int			limit;
	JnyJudge	judge;
	void	   *arg;
} Change;

/*
 * The row in w.old, which was judged as the snapshot sees it. To change it is
 * to lock it, without a lock's own record in the log; one that has moved on is
 * locked before it is judged again, and so is one that somebody holds and that
 * may be left out: the lock knows whether that is ourselves.
 */
static bool
change_found(Change *c, ScanKey keys, JnyRow *row)
{
	Writer	   *w = &c->w;
	bool		lock = false;

	for (;;)
	{
		ItemPointerData seen = w->old->tts_tid;
		bool		wait = lock || !c->skip;

		if (lock && !jny_row_lock(w->rel, w->old, c->snapshot, c->skip))
			return false;
		if (!ItemPointerEquals(&seen, &w->old->tts_tid))
		{
			jny_row_view(row, w->path, w->old);
			if (!jny_path_fits(w->path, keys, w->old) || c->judge(row, c->arg) != JNY_CHOOSE)
				return false;
		}
		switch (w->path->updates ? update_old(w, row->values, row->nulls, wait) : delete_old(w, wait))
		{
			case TM_Ok:
				return true;
			case TM_SelfModified:	/* another key named it, too */
				return false;
			case TM_Updated:
			case TM_Deleted:
			case TM_BeingModified:
				lock = true;
				break;
			default:
				elog(ERROR, "row of %s cannot be changed", RelationGetRelationName(w->rel));
		}
	}
}

/* The rows of one key; false when there are enough. */
static bool
change_rows(Change *c, ScanKey keys, int key)
{
	Writer	   *w = &c->w;
	JnyRow		row;

	jny_row_init(&row, w->path, key);
	while (index_getnext_slot(w->scan, ForwardScanDirection, w->old))
	{
		JnyChoice	choice;

		jny_row_view(&row, w->path, w->old);
		choice = c->judge(&row, c->arg);
		if (choice == JNY_STOP)
			return false;
		if (choice == JNY_LEAVE || !change_found(c, keys, &row))
			continue;
		jny_row_own(&row, w->path);
		jny_rows_add(c->rows, &row);
		jny_row_init(&row, w->path, key);
		if (c->rows->n >= c->limit)
			return false;
	}
	return true;
}

static void
change_direct(Change *c, JnyPath *path, Relation rel, JnyCols *keys)
{
	ScanKeyData key[INDEX_MAX_KEYS];

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	c->snapshot = GetActiveSnapshot();
	open_writer(&c->w, path, rel, c->snapshot);
	for (int i = 0; i < keys->nrows; i++)
	{
		if (!jny_path_keys(path, keys->values + (size_t) i * keys->ncols, keys->nulls + (size_t) i * keys->ncols, key))
			continue;
		index_rescan(c->w.scan, key, path->nkeys, NULL, 0);
		if (!change_rows(c, key, i))
			break;
	}
	close_writer(&c->w);
	PopActiveSnapshot();
}

/* ---- as SQL ---------------------------------------------------------------------- */

static int
write_sql(JnyPath *path, const ItemPointerData *tids, JnyCols *rows, int nrows)
{
	JnyPlan    *plan = jny_path_sql(path, JNY_SQL_PLAIN);
	MemoryContext cxt = CurrentMemoryContext;
	int			done = 0;

	SPI_connect();
	for (int i = 0; i < nrows; i++)
	{
		Datum		values[JNY_MAX_COLS + 1];
		bool		nulls[JNY_MAX_COLS + 1];
		int			n = 0;

		if (tids != NULL)
		{
			values[n] = PointerGetDatum(&tids[i]);
			nulls[n++] = false;
		}
		if (rows != NULL)
		{
			memcpy(values + n, rows->values + (size_t) i * rows->ncols, sizeof(Datum) * rows->ncols);
			memcpy(nulls + n, rows->nulls + (size_t) i * rows->ncols, sizeof(bool) * rows->ncols);
		}
		done += (int) jny_run(plan, values, nulls);
	}
	SPI_finish();
	MemoryContextSwitchTo(cxt);
	return done;
}

static bool
is_among(const JnyRows *rows, int n, const ItemPointerData *tid)
{
	for (int i = 0; i < n; i++)
		if (ItemPointerEquals(&rows->row[i].tid, unconstify(ItemPointerData *, tid)))
			return true;
	return false;
}

/* All have been found and locked; the second time that one was found does not count. */
static void
change_sql(JnyPath *path, JnyRows *rows)
{
	JnyPlan    *plan = jny_path_sql(path, JNY_SQL_PLAIN);
	Datum		values[JNY_MAX_COLS + 1];
	bool		nulls[JNY_MAX_COLS + 1];
	int			kept = 0;

	for (int i = 0; i < rows->n; i++)
	{
		JnyRow		row = rows->row[i];

		if (is_among(rows, kept, &row.tid))
			continue;
		values[0] = PointerGetDatum(&row.tid);
		nulls[0] = false;
		memcpy(values + 1, row.values, sizeof(Datum) * path->ncols);
		memcpy(nulls + 1, row.nulls, sizeof(bool) * path->ncols);
		jny_run(plan, values, nulls);
		rows->row[kept++] = row;
	}
	rows->n = kept;
}

/* ---- calls ------------------------------------------------------------------------- */

static void
require_writable(const JnyAccess *access)
{
	const char *what = access->verb == JNY_DO_DELETE ? "DELETE" :
		access->verb == JNY_DO_UPDATE || access->verb == JNY_DO_CHANGE ? "UPDATE" : "INSERT";

	PreventCommandIfReadOnly(what);
	PreventCommandIfParallelMode(what);
}

int
jny_write(JnyAccess *access, JnyCols *rows)
{
	Relation	rel;
	JnyPath    *path;
	int			done = 0;

	Assert(access->verb != JNY_DO_LOOKUP && access->path != NULL);
	if (rows->nrows == 0)
		return 0;
	require_writable(access);
	path = jny_path_open(access, RowExclusiveLock, &rel);
	if (!jny_path_direct(path))
		done = write_sql(path, NULL, rows, rows->nrows);
	else
	{
		Writer		w;
		int		   *order = jny_cols_by_bucket(rows);

		open_writer(&w, path, rel, NULL);
		for (int i = 0; i < rows->nrows; i++)
		{
			size_t		at = (size_t) (order != NULL ? order[i] : i) * rows->ncols;

			done += write_row(&w, rows->values + at, rows->nulls + at);
		}
		close_writer(&w);
	}
	table_close(rel, NoLock);
	return done;
}

void
jny_write_found(JnyAccess *access, const JnyRows *found, JnyCols *rows)
{
	Relation	rel;
	JnyPath    *path;

	if (found->n == 0)
		return;
	Assert(rows == NULL || rows->nrows == found->n);
	require_writable(access);
	path = jny_path_open(access, RowExclusiveLock, &rel);
	if (!jny_path_direct(path))
	{
		ItemPointerData *tids = palloc(sizeof(ItemPointerData) * found->n);

		for (int i = 0; i < found->n; i++)
			tids[i] = found->row[i].tid;
		write_sql(path, tids, rows, found->n);
	}
	else
	{
		Writer		w;

		open_writer(&w, path, rel, NULL);
		for (int i = 0; i < found->n; i++)
			write_at(&w, &found->row[i].tid,
					 rows ? rows->values + (size_t) i * rows->ncols : NULL,
					 rows ? rows->nulls + (size_t) i * rows->ncols : NULL);
		close_writer(&w);
	}
	table_close(rel, NoLock);
}

JnyRows *
jny_change(JnyAccess *access, JnyCols *keys, bool skip, int limit, JnyJudge judge, void *arg)
{
	Change		c = {.skip = skip, .limit = limit, .judge = judge, .arg = arg};
	Relation	rel;
	JnyPath    *path;

	Assert(access->verb == JNY_DO_CHANGE);
	if (keys->nrows == 0 || limit <= 0)
		return palloc0(sizeof(JnyRows));
	require_writable(access);
	path = jny_path_open(access, RowExclusiveLock, &rel);
	c.rows = jny_rows_of(path);
	if (jny_path_direct(path))
		change_direct(&c, path, rel, keys);
	else
	{
		jny_rows_judged(c.rows, path, keys, skip, limit, judge, arg);
		change_sql(path, c.rows);
	}
	table_close(rel, NoLock);
	return c.rows;
}
