/*
 * inbox.c
 *		Appending to the inbox, straight into heap and indexes.
 *
 * Called by the capture trigger, track(), ingest() and the sender's calls, in
 * their transaction and as whoever they run as. Takes RowExclusiveLock on the
 * current generation and on the indexes it fills, held to the end of the
 * transaction as for any INSERT; waits for nobody. No privilege is looked at,
 * no snapshot taken, no user code run, so it works the same at every
 * isolation level. Values are palloc'd in the caller's context.
 *
 * What is known about the tables is kept for the life of the backend and
 * dropped on a relcache message for any of them. Which generation is current
 * is part of that: rotation sends such a message. An append into a generation
 * that has just been retired is no harm, since readers look at all of them
 * and none is emptied before its last row has been consumed.
 */
#include "core/inbox.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#define MAX_INDEXES 4

typedef enum Column
{
	COL_SEQ, COL_XACT, COL_RECEIVED_AT, COL_OP, COL_SOURCE, COL_TYPE, COL_OCCURRED_AT,
	COL_MESSAGE_ID, COL_SUBJECT, COL_PROPS, COL_ATTACHMENT, COL_COLS, COL_FENCE, COL_KEYS,
	COL_REF, COL_SCOPE, COL_HASH_VERSION, NCOLUMNS
} Column;

static const char *const column_names[NCOLUMNS] = {
	"seq", "xact", "received_at", "op", "source", "type", "occurred_at",
	"message_id", "subject", "props", "attachment", "cols", "fence", "keys",
	"ref", "scope", "hash_version"
};

typedef struct InboxIndex
{
	Oid			oid;
	bool		fenced;			/* predicate: fence IS NOT NULL */
	bool		unfenced;		/* predicate: fence IS NULL */
	bool		unique;
	IndexInfo  *info;
} InboxIndex;

static struct
{
	bool		registered;
	bool		valid;			/* learned to the end, and no message since it was begun */
	bool		unchanged;		/* no message since learning was begun */
	MemoryContext cxt;			/* of what hangs below, under CacheMemoryContext */
	Oid			pointer;
	Oid			node;
	Oid			sequence;
	TimestampTz test_clock;		/* when events occur that do not say; 0 = now */
	Oid			relid;			/* the current generation */
	int			natts;
	int			place[NCOLUMNS];	/* from 0, in the generation's row type */
	bool		plain;			/* its indexes are ours, or as simple */
	int			nindexes;
	InboxIndex	index[MAX_INDEXES];
} inbox;

static bool wake_at_commit = false;

/* ---- what is known about the tables ------------------------------------ */

static void
forget(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == inbox.relid || relid == inbox.pointer || relid == inbox.node)
		inbox.valid = inbox.unchanged = false;
}

/*
 * Runs when the transaction's id has left the list of running ones, so the
 * woken worker sees its rows. Neither allocates nor raises. A prepared
 * transaction wakes nobody here; a worker's nap ends in time for it, or its
 * rest (rest.c).
 */
static void
at_end_of_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && wake_at_commit && jny_wake_worker_hook != NULL)
		jny_wake_worker_hook();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		wake_at_commit = false;
}

static Oid
member_oid(Oid nsp, const char *name)
{
	Oid			oid = OidIsValid(nsp) ? get_relname_relid(name, nsp) : InvalidOid;

	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("journey.%s does not exist", name),
				 errhint("Run CREATE EXTENSION journey in this database.")));
	return oid;
}

/*
 * A member's one row as it is now, whatever the transaction's snapshot: at
 * REPEATABLE READ that may be hours old. SnapshotSelf also leaves no predicate
 * lock behind.
 */
static bool
read_member(Oid relid, const char *column, Datum *value)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TableScanDesc scan = table_beginscan(rel, SnapshotSelf, 0, NULL);
	AttrNumber	att = get_attnum(relid, column);
	HeapTuple	tuple;
	bool		found = false;

	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		bool		isnull;
		Datum		d = heap_getattr(tuple, att, RelationGetDescr(rel), &isnull);

		/* of a type passed by value, so it outlives the scan */
		if (!isnull)
			*value = d;
		found = !isnull;
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* Any generation would be correct; 0 always exists. */
static int
current_generation(void)
{
	Datum		d;

	return read_member(inbox.pointer, "generation", &d) ? DatumGetInt32(d) : 0;
}

/* 0 = real time */
static TimestampTz
test_clock(void)
{
	Datum		d;

	return read_member(inbox.node, "test_clock", &d) ? DatumGetTimestampTz(d) : 0;
}

/* Is the predicate nothing but this test of fence? */
static bool
is_fence_predicate(List *predicate, NullTestType type, AttrNumber fence)
{
	NullTest   *test = list_length(predicate) == 1 ? linitial(predicate) : NULL;

	return test != NULL && IsA(test, NullTest) && test->nulltesttype == type &&
		IsA(test->arg, Var) && ((Var *) test->arg)->varattno == fence;
}

static void
learn_indexes(Relation rel)
{
	List	   *oids = RelationGetIndexList(rel);
	ListCell   *lc;

	inbox.plain = list_length(oids) <= MAX_INDEXES;
	inbox.nindexes = 0;
	foreach(lc, oids)
	{
		Relation	indexrel = index_open(lfirst_oid(lc), RowExclusiveLock);
		IndexInfo  *info = BuildIndexInfo(indexrel);

		if (inbox.nindexes < MAX_INDEXES)
		{
			InboxIndex *index = &inbox.index[inbox.nindexes++];

			index->oid = lfirst_oid(lc);
			index->info = info;
			index->unique = info->ii_Unique;
			index->fenced = is_fence_predicate(info->ii_Predicate, IS_NOT_NULL, inbox.place[COL_FENCE] + 1);
			index->unfenced = is_fence_predicate(info->ii_Predicate, IS_NULL, inbox.place[COL_FENCE] + 1);
			if (info->ii_Expressions != NIL ||
				(info->ii_Predicate != NIL && !index->fenced && !index->unfenced) ||
				info->ii_ExclusionOps != NULL || indexrel->rd_rel->relam != BTREE_AM_OID)
				inbox.plain = false;
		}
		index_close(indexrel, NoLock);
	}
	list_free(oids);
}

static void
learn_columns(Relation rel)
{
	inbox.natts = RelationGetNumberOfAttributes(rel);
	for (int i = 0; i < NCOLUMNS; i++)
	{
		AttrNumber	att = get_attnum(RelationGetRelid(rel), column_names[i]);

		if (att == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("%s has no column \"%s\"", RelationGetRelationName(rel), column_names[i]),
					 errhint("Run ALTER EXTENSION journey UPDATE.")));
		inbox.place[i] = att - 1;
	}
}

/*
 * Any step may be interrupted, by a timeout for one, and then what is there
 * is half of it: it counts only from the end on, and the next call begins anew.
 */
static Relation
learn(void)
{
	Oid			nsp = get_namespace_oid("journey", true);
	MemoryContext old;
	Relation	rel;

	if (!inbox.registered)
	{
		inbox.cxt = AllocSetContextCreate(CacheMemoryContext, "journey inbox", ALLOCSET_SMALL_SIZES);
		jny_watch_relations(forget);
		RegisterXactCallback(at_end_of_xact, NULL);
		inbox.registered = true;
	}
	inbox.valid = false;
	MemoryContextReset(inbox.cxt);
	old = MemoryContextSwitchTo(inbox.cxt);
	inbox.pointer = member_oid(nsp, "inbox_pointer");
	inbox.node = member_oid(nsp, "node");
	inbox.sequence = member_oid(nsp, "inbox_seq");
	/* before it is read, so that a message about it that comes meanwhile counts */
	inbox.unchanged = true;
	inbox.test_clock = test_clock();
	inbox.relid = member_oid(nsp, psprintf("inbox_%d", current_generation()));
	rel = table_open(inbox.relid, RowExclusiveLock);
	learn_columns(rel);
	learn_indexes(rel);
	MemoryContextSwitchTo(old);
	inbox.valid = inbox.unchanged;
	return rel;
}

static Relation
open_current(void)
{
	Relation	rel;

	if (!inbox.valid)
		return learn();
	rel = table_open(inbox.relid, RowExclusiveLock);
	if (inbox.valid)
		return rel;
	/* the lock let a message in: rotated, or an index came or went */
	table_close(rel, NoLock);
	return learn();
}

/* ---- writing ------------------------------------------------------------ */

static void
set(Datum *values, bool *nulls, Column col, Datum value)
{
	values[inbox.place[col]] = value;
	nulls[inbox.place[col]] = false;
}

static void
set_text(Datum *values, bool *nulls, Column col, const char *value)
{
	if (value != NULL)
		set(values, nulls, col, CStringGetTextDatum(value));
}

/* A fence without a key could match nobody, unless it names a message; a link needs two ends. */
static char
fence_to_store(const JnyInboxRow *row)
{
	if ((row->fence == JNY_FENCE_EVENT && row->nkeys == 0 && !jny_names_message(row->type, row->props)) ||
		(row->fence == JNY_FENCE_LINK && row->nkeys < 2))
		return JNY_FENCE_NONE;
	return row->fence;
}

static Datum
key_array(const JnyInboxRow *row)
{
	Size		size = ARR_OVERHEAD_NONULLS(1) + row->nkeys * sizeof(int64);
	ArrayType  *array = palloc0(size);

	SET_VARSIZE(array, size);
	array->ndim = 1;
	array->elemtype = INT8OID;
	ARR_DIMS(array)[0] = row->nkeys;
	ARR_LBOUND(array)[0] = 1;
	memcpy((char *) array + ARR_OVERHEAD_NONULLS(1), row->keys, row->nkeys * sizeof(int64));
	return PointerGetDatum(array);
}

static void
fill(const JnyInboxRow *row, Datum *values, bool *nulls)
{
	char		fence = fence_to_store(row);

	memset(nulls, true, inbox.natts * sizeof(bool));
	memset(values, 0, inbox.natts * sizeof(Datum));
	set(values, nulls, COL_SEQ, Int64GetDatum(jny_next_seq(inbox.sequence)));
	set(values, nulls, COL_XACT, FullTransactionIdGetDatum(GetTopFullTransactionId()));
	set(values, nulls, COL_RECEIVED_AT, TimestampTzGetDatum(GetCurrentTimestamp()));
	set(values, nulls, COL_OP, CharGetDatum(row->op));
	set_text(values, nulls, COL_SOURCE, row->source);
	set_text(values, nulls, COL_TYPE, row->type);
	if (row->occurred_at != 0 || inbox.test_clock != 0)
		set(values, nulls, COL_OCCURRED_AT,
			TimestampTzGetDatum(row->occurred_at != 0 ? row->occurred_at : inbox.test_clock));
	set_text(values, nulls, COL_MESSAGE_ID, row->message_id);
	if (row->subject != NULL)
		set(values, nulls, COL_SUBJECT, JsonbPGetDatum(row->subject));
	if (row->props != NULL)
		set(values, nulls, COL_PROPS, JsonbPGetDatum(row->props));
	if (row->attachment != 0)
		set(values, nulls, COL_ATTACHMENT, Int32GetDatum(row->attachment));
	if (row->cols != (Datum) 0)
		set(values, nulls, COL_COLS, row->cols);
	set_text(values, nulls, COL_REF, row->ref);
	/* most rows are of the default scope, and bytes of WAL are the price of a capture */
	if (row->scope != NULL && strcmp(row->scope, JNY_DEFAULT_SCOPE) != 0)
		set_text(values, nulls, COL_SCOPE, row->scope);
	if (fence == JNY_FENCE_NONE)
		return;
	set(values, nulls, COL_FENCE, CharGetDatum(fence));
	set(values, nulls, COL_HASH_VERSION, Int16GetDatum(JNY_HASH_VERSION));
	if (row->nkeys > 0)
		set(values, nulls, COL_KEYS, key_array(row));
}

static void
insert_plain(Relation rel, HeapTuple tuple, Datum *values, bool *nulls, bool fenced)
{
	Datum		keys[INDEX_MAX_KEYS];
	bool		keynulls[INDEX_MAX_KEYS];

	for (int i = 0; i < inbox.nindexes; i++)
	{
		InboxIndex *index = &inbox.index[i];
		Relation	indexrel;

		if ((fenced ? index->unfenced : index->fenced) || !index->info->ii_ReadyForInserts)
			continue;
		for (int k = 0; k < index->info->ii_NumIndexAttrs; k++)
		{
			int			att = index->info->ii_IndexAttrNumbers[k] - 1;

			keys[k] = values[att];
			keynulls[k] = nulls[att];
		}
		indexrel = index_open(index->oid, RowExclusiveLock);
		index_insert(indexrel, keys, keynulls, &tuple->t_self, rel,
					 index->unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO, false, index->info);
		index_close(indexrel, NoLock);
	}
}

/* Somebody put an index of another shape on the inbox: the executor knows how to fill it. */
static void
insert_general(Relation rel, HeapTuple tuple)
{
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *info = makeNode(ResultRelInfo);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsHeapTuple);

	InitResultRelInfo(info, rel, 1, NULL, 0);
	ExecOpenIndices(info, false);
	ExecStoreHeapTuple(tuple, slot, false);
	slot->tts_tid = tuple->t_self;
	jny_insert_index_tuples(info, slot, estate);
	ExecCloseIndices(info);
	ExecDropSingleTupleTableSlot(slot);
	FreeExecutorState(estate);
}

void
jny_inbox_append(const JnyInboxRow *rows, int nrows)
{
	Relation	rel;
	CommandId	cid;
	Datum	   *values;
	bool	   *nulls;

	if (nrows == 0)
		return;
	PreventCommandIfReadOnly("INSERT INTO journey.inbox");
	rel = open_current();
	cid = GetCurrentCommandId(true);
	values = palloc(inbox.natts * sizeof(Datum));
	nulls = palloc(inbox.natts * sizeof(bool));
	for (int i = 0; i < nrows; i++)
	{
		HeapTuple	tuple;

		fill(&rows[i], values, nulls);
		tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
		heap_insert(rel, tuple, cid, 0, NULL);
		if (inbox.plain)
			insert_plain(rel, tuple, values, nulls, !nulls[inbox.place[COL_FENCE]]);
		else
			insert_general(rel, tuple);
		heap_freetuple(tuple);
	}
	table_close(rel, NoLock);
	wake_at_commit = true;
}

PG_FUNCTION_INFO_V1(journey_next_seq);

/* The default of inbox.seq, for COPY, and the order of what SQL functions write. */
Datum
journey_next_seq(PG_FUNCTION_ARGS)
{
	if (!inbox.valid)
		table_close(learn(), NoLock);
	PG_RETURN_INT64(jny_next_seq(inbox.sequence));
}

PG_FUNCTION_INFO_V1(journey_invalidate);

Datum
journey_invalidate(PG_FUNCTION_ARGS)
{
	CacheInvalidateRelcacheByRelid(PG_GETARG_OID(0));
	PG_RETURN_VOID();
}
