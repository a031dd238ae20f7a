/*
 * rotate.c
 *		House-keeping of observe: emptying the inbox by generations.
 *
 * Called between laps in a short transaction of its own, inside SPI_connect()
 * and as journey_owner. Never waits for the shop: a generation is emptied
 * under an ACCESS EXCLUSIVE lock that is had at once or not at all, because a
 * TRUNCATE that waits makes every INSERT behind it wait too.
 *
 * TRUNCATE is not MVCC: a snapshot from before the consuming lap would still
 * count the rows as unconsumed and find them gone. So it takes two visits.
 * The first notes that everything is consumed, by which snapshot, and the
 * next transaction id; the second truncates when no snapshot is older than
 * that id and, under the lock, no row has come that the noted snapshot does
 * not see. Whatever does not fit now is left for the next visit, and the
 * current generation just grows.
 */
#include "observe/observe.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#include "core/inbox.h"

JNY_PLAN(read_pointer, "",
		 "SELECT p.generation, p.rotated_at FROM journey.inbox_pointer p WHERE p.one");
JNY_PLAN(move_pointer, "integer",
		 "UPDATE journey.inbox_pointer SET generation = $1, rotated_at = pg_catalog.clock_timestamp()");
JNY_PLAN(read_cursor, "",
		 "SELECT c.previous::pg_catalog.text FROM journey.cursor c WHERE c.one AND c.previous IS NOT NULL");
JNY_PLAN(read_note, "text",
		 "SELECT d.previous::pg_catalog.text, d.next_xid FROM journey.inbox_drained d WHERE d.name = $1");
JNY_PLAN(put_note, "text, pg_snapshot, xid8",
		 "INSERT INTO journey.inbox_drained (name, previous, next_xid, noted_at)"
		 " VALUES ($1, $2, $3, pg_catalog.clock_timestamp())"
		 " ON CONFLICT (name) DO UPDATE SET previous = excluded.previous, next_xid = excluded.next_xid,"
		 " noted_at = excluded.noted_at");
JNY_PLAN(drop_note, "text", "DELETE FROM journey.inbox_drained WHERE name = $1");
#define OUTSIDE_OF(table, which) \
	"SELECT FROM journey." table " i WHERE " which "i.xact >= pg_catalog.pg_snapshot_xmax($1)" \
	" UNION ALL" \
	" SELECT FROM journey." table " i" \
	" WHERE " which "i.xact = ANY (ARRAY(SELECT pg_catalog.pg_snapshot_xip($1)))"
/* a generation has an index for fenced rows and one for the others */
#define OUTSIDE(generation) \
	OUTSIDE_OF(generation, "i.fence IS NULL AND ") " UNION ALL " \
	OUTSIDE_OF(generation, "i.fence IS NOT NULL AND ") " LIMIT 1"

/*
 * A row that was read by back-fill and is not in $1 yet: what it has to be
 * compared with stays. Whoever read it had an id before a snapshot, so that of
 * an id that was not given out when $2 was taken sees all that $2 sees, and
 * compares with nothing of it.
 */
#define UNREAD(generation) \
	"SELECT FROM journey." generation " i WHERE i.fence IS NULL AND i.op = 'B'" \
	" AND i.xact >= pg_catalog.pg_snapshot_xmax($1) AND i.xact < pg_catalog.pg_snapshot_xmax($2)" \
	" UNION ALL " \
	"SELECT FROM journey." generation " i WHERE i.fence IS NULL AND i.op = 'B'" \
	" AND i.xact = ANY (ARRAY(SELECT x FROM pg_catalog.pg_snapshot_xip($1) AS x WHERE x < pg_catalog.pg_snapshot_xmax($2)))"
JNY_PLAN(backfill_waits, "pg_snapshot, pg_snapshot",
		 UNREAD("inbox_0") " UNION ALL " UNREAD("inbox_1") " UNION ALL " UNREAD("inbox_2") " LIMIT 1");

#define NTABLES (JNY_GENERATIONS + 1)

/* The generations by number, then the landing table of COPY. */
static struct
{
	const char *name;
	JnyPlan		outside;
	const char *truncate;
} tables[NTABLES] = {
	{"inbox_0", {.sql = OUTSIDE("inbox_0"), .types = "pg_snapshot", .nargs = -1}, "TRUNCATE journey.inbox_0"},
	{"inbox_1", {.sql = OUTSIDE("inbox_1"), .types = "pg_snapshot", .nargs = -1}, "TRUNCATE journey.inbox_1"},
	{"inbox_2", {.sql = OUTSIDE("inbox_2"), .types = "pg_snapshot", .nargs = -1}, "TRUNCATE journey.inbox_2"},
	{"inbox_copy", {.sql = OUTSIDE_OF("inbox_copy", "") " LIMIT 1", .types = "pg_snapshot", .nargs = -1}, "TRUNCATE journey.inbox_copy"},
};

static Oid
member_oid(const char *name)
{
	return get_relname_relid(name, get_namespace_oid("journey", false));
}

static BlockNumber
blocks(const char *name)
{
	Relation	rel = table_open(member_oid(name), AccessShareLock);
	BlockNumber n = RelationGetNumberOfBlocks(rel);

	table_close(rel, AccessShareLock);
	return n;
}

/* Does a row stand there that this snapshot does not see? */
static bool
has_outside(int t, const char *snapshot)
{
	Datum		arg = DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(snapshot));

	return jny_run_latest(&tables[t].outside, &arg, NULL) > 0;
}

/* ---- emptying ------------------------------------------------------------- */

/* Is no snapshot of any backend, prepared transaction or walsender older than this id? */
static bool
everybody_is_past(Oid relid, FullTransactionId xid)
{
	Relation	rel = table_open(relid, NoLock);
	TransactionId oldest;

	oldest = GetOldestNonRemovableTransactionId(rel);
	table_close(rel, NoLock);
	return TransactionIdPrecedesOrEquals(XidFromFullTransactionId(xid), oldest);
}

static void
note(int t, const char *previous)
{
	Datum		args[3];

	if (previous == NULL || has_outside(t, previous))
		return;
	args[0] = CStringGetTextDatum(tables[t].name);
	args[1] = DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(previous));
	args[2] = FullTransactionIdGetDatum(ReadNextFullTransactionId());
	jny_run(&put_note, args, NULL);
}

/*
 * Under the lock nobody is writing, so every row is of a transaction that has
 * ended; a writer that used a stale pointer shows here.
 */
static bool
empty(int t, const char *noted, FullTransactionId next_xid, const char *previous)
{
	Oid			relid = member_oid(tables[t].name);
	Datum		name = CStringGetTextDatum(tables[t].name);
	Datum		unread[2];
	bool		safe;
	int			rc;

	if (!ConditionalLockRelationOid(relid, AccessExclusiveLock))
		return false;
	unread[0] = DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(previous));
	unread[1] = DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(noted));
	safe = !has_outside(t, noted) && everybody_is_past(relid, next_xid) &&
		jny_run_latest(&backfill_waits, unread, NULL) == 0;
#ifdef JOURNEY_BUG_TRUNCATE_WITHOUT_HORIZON
	/* what was seen before the lock is believed, and nobody else is asked */
	safe = true;
#endif
	if (!safe)
	{
		UnlockRelationOid(relid, AccessExclusiveLock);
		return false;
	}
	rc = SPI_execute(tables[t].truncate, false, 0);
	if (rc != SPI_OK_UTILITY)
		elog(ERROR, "could not run \"%s\": %s", tables[t].truncate, SPI_result_code_string(rc));
	jny_run(&drop_note, &name, NULL);
	return true;
}

/* True when the table is empty afterwards. */
static bool
try_empty(int t, const char *previous)
{
	Datum		name = CStringGetTextDatum(tables[t].name);
	char	   *noted;
	bool		isnull;
	FullTransactionId next_xid;

	if (blocks(tables[t].name) == 0)
		return true;
	if (jny_run(&read_note, &name, NULL) > 0)
	{
		noted = jny_get_text(0, 1);
		next_xid = DatumGetFullTransactionId(jny_get(0, 2, &isnull));
		if (previous != NULL && !has_outside(t, noted))
			return empty(t, noted, next_xid, previous);
	}
	note(t, previous);
	return false;
}

/* ---- rotating -------------------------------------------------------------- */

static bool
is_full(int generation, TimestampTz rotated_at)
{
	BlockNumber size = blocks(tables[generation].name);

	if ((uint64) size * BLCKSZ / 1024 >= (uint64) jny_rotate_size_kb)
		return true;
	return size > 0 &&
		TimestampDifferenceExceeds(rotated_at, GetCurrentTimestamp(), jny_rotate_interval_ms);
}

void
jny_observe_rotate(void)
{
	char	   *previous = NULL;
	int			current;
	int			next;
	TimestampTz rotated_at;
	bool		isnull;
	bool		next_is_empty = false;

	if (jny_run(&read_cursor, NULL, NULL) > 0)
		previous = jny_get_text(0, 1);
	if (jny_run(&read_pointer, NULL, NULL) == 0)
		return;
	current = (int) jny_get_int8(0, 1, 0);
	rotated_at = DatumGetTimestampTz(jny_get(0, 2, &isnull));
	next = (current + 1) % JNY_GENERATIONS;
	for (int t = 0; t < NTABLES; t++)
	{
		bool		is_empty = t != current && try_empty(t, previous);

		if (t == next)
			next_is_empty = is_empty;
	}
	if (next_is_empty && is_full(current, rotated_at))
	{
		Datum		arg = Int32GetDatum(next);

		jny_run(&move_pointer, &arg, NULL);
		CacheInvalidateRelcacheByRelid(member_oid("inbox_pointer"));
	}
}

PG_FUNCTION_INFO_V1(journey_horizons);

/*
 * What everybody_is_past() waits for. pg_stat_activity hides the horizons of
 * others from journey_owner, as whom health is asked.
 */
Datum
journey_horizons(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			n = 0;
	Datum	   *pids = palloc(sizeof(Datum) * ProcGlobal->allProcCount);
	Datum	   *xmins = palloc(sizeof(Datum) * ProcGlobal->allProcCount);
	bool		nulls[2] = {false, false};

	InitMaterializedSRF(fcinfo, 0);
	LWLockAcquire(ProcArrayLock, LW_SHARED);
	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		PGPROC	   *proc = &ProcGlobal->allProcs[i];
		TransactionId xmin = proc->xmin;

		if (!TransactionIdIsValid(xmin) || (TransactionIdIsValid(proc->xid) && TransactionIdPrecedes(proc->xid, xmin)))
			xmin = proc->xid;
		if (proc->pid == 0 || proc->pid == MyProcPid || !TransactionIdIsValid(xmin) ||
			(proc->databaseId != MyDatabaseId && OidIsValid(proc->databaseId)) ||
			(proc->statusFlags & (PROC_IN_VACUUM | PROC_IN_LOGICAL_DECODING)))
			continue;
		pids[n] = Int32GetDatum(proc->pid);
		xmins[n++] = TransactionIdGetDatum(xmin);
	}
	LWLockRelease(ProcArrayLock);
	for (int i = 0; i < n; i++)
	{
		Datum		values[2] = {pids[i], xmins[i]};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
