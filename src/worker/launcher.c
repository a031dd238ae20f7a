/*
 * launcher.c
 *		One launcher per cluster, which starts one worker per database.
 *
 * The launcher is connected to no database and reads shared catalogues only,
 * so that it blocks nobody's DROP DATABASE. It owns every restart: workers
 * are dynamic and registered with BGW_NEVER_RESTART, their number is bounded
 * by max_worker_processes, and one that fails comes back after a growing
 * pause. The states and their edges are drawn in src/worker/README.md.
 *
 * Locks: JnyShared.lock for a few instructions at a time. Memory: handles and
 * the database list live in the launcher's own contexts.
 */
#include "worker/worker.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "core/shmem.h"

#define RECHECK_MS 60000L		/* database list, and databases without the extension */
#define ABSENT_MS 300000L
#define BACKOFF_MIN_MS 1000L
#define BACKOFF_MAX_MS 60000L

static BackgroundWorkerHandle *handles[JNY_MAX_DATABASES];
/* of each slot's database, as the last list had it */
static Oid	gone[JNY_MAX_DATABASES];
static bool closed[JNY_MAX_DATABASES];	/* no worker may connect */

/* Oids. */
typedef struct Databases
{
	List	   *all;
	List	   *open;			/* those a worker may connect to */
} Databases;

void
jny_launcher_register(void)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 5;
	snprintf(worker.bgw_library_name, BGW_MAXLEN, "journey");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "jny_launcher_main");
	snprintf(worker.bgw_name, BGW_MAXLEN, "journey launcher");
	snprintf(worker.bgw_type, BGW_MAXLEN, "journey launcher");
	RegisterBackgroundWorker(&worker);
}

static void
leave(int code, Datum arg)
{
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	jny_shared->launcher_pid = 0;
	jny_shared->launcher_latch = NULL;
	LWLockRelease(jny_shared->lock);
}

/*
 * Workers of an earlier launcher carry its generation and leave when they see
 * a newer one; their slots are free to be started again.
 */
static void
enter(void)
{
	before_shmem_exit(leave, (Datum) 0);
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	jny_shared->launcher_pid = MyProcPid;
	jny_shared->launcher_latch = MyLatch;
	jny_shared->generation++;
	for (int i = 0; i < JNY_MAX_DATABASES; i++)
	{
		JnyDatabase *db = &jny_shared->db[i];

		if (db->dboid == InvalidOid)
			continue;
		if (db->latch != NULL)
			SetLatch(db->latch);
		db->state = JNY_WORKER_UNKNOWN;
		db->next_try = 0;
	}
	LWLockRelease(jny_shared->lock);
}

static Databases
list_databases(void)
{
	Databases	databases = {NIL, NIL};
	MemoryContext caller = CurrentMemoryContext;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tup;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tup = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database db = (Form_pg_database) GETSTRUCT(tup);
		MemoryContext old = MemoryContextSwitchTo(caller);

		databases.all = lappend_oid(databases.all, db->oid);
		if (!db->datistemplate && db->datallowconn)
			databases.open = lappend_oid(databases.open, db->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return databases;
}

/*
 * No slot for a database that went. Backends hold on to their slot, so it is
 * freed only when its database is in no list at all, two times running: the
 * first may be older than a database that has just come.
 */
static void
free_slots(Databases databases)
{
	for (int i = 0; i < JNY_MAX_DATABASES; i++)
	{
		JnyDatabase *db = &jny_shared->db[i];
		bool		missing = OidIsValid(db->dboid) && !list_member_oid(databases.all, db->dboid);

		if (missing && gone[i] == db->dboid && db->pid == 0 && handles[i] == NULL && db->stoppers == 0)
		{
			db->dboid = InvalidOid;
			db->kept = false;
		}
		gone[i] = missing ? db->dboid : InvalidOid;
	}
}

/*
 * Slots for databases that came. When there are more than slots, those without
 * journey take turns: whose next look is due makes room, and who found none
 * is the first next time. True = there are more that have journey.
 */
static bool
give_slots(Databases databases)
{
	static int	turn = 0;
	int			n = list_length(databases.open);
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < n; i++)
	{
		int			at = (turn + i) % n;

		if (jny_shared_make(list_nth_oid(databases.open, at), now) == NULL)
		{
			turn = at;
			return jny_shared_full();
		}
	}
	return false;
}

static void
match_databases(Databases databases)
{
	static bool full = false;
	bool		was_full = full;

	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	free_slots(databases);
	full = give_slots(databases);
	for (int i = 0; i < JNY_MAX_DATABASES; i++)
		closed[i] = !list_member_oid(databases.open, jny_shared->db[i].dboid);
	LWLockRelease(jny_shared->lock);
	if (full && !was_full)
		ereport(LOG,
				(errmsg("journey serves at most %d databases of a cluster", JNY_MAX_DATABASES),
				 errhint("Run journey.run_once() from a scheduler in the others.")));
}

/* A worker that has gone: what it left in its slot says why. */
static void
reap(int i)
{
	JnyDatabase *db = &jny_shared->db[i];
	pid_t		pid;

	if (handles[i] == NULL || GetBackgroundWorkerPid(handles[i], &pid) != BGWH_STOPPED)
		return;
	pfree(handles[i]);
	handles[i] = NULL;
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	db->pid = 0;
	db->resting = false;
	db->latch = NULL;
	if (db->state == JNY_WORKER_ABSENT)
		db->next_try = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ABSENT_MS);
	else if (db->state == JNY_WORKER_STOPPING || db->stoppers > 0)
	{
		db->state = JNY_WORKER_UNKNOWN;
		db->next_try = 0;
	}
	else
	{
		long		pause = BACKOFF_MIN_MS << Min(db->failures, 6);

		db->state = JNY_WORKER_BACKOFF;
		db->failures++;
		db->next_try = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Min(pause, BACKOFF_MAX_MS));
	}
	LWLockRelease(jny_shared->lock);
}

static void
start(int i)
{
	JnyDatabase *db = &jny_shared->db[i];
	BackgroundWorker worker = {0};
	uint64		generation;
	bool		ok;

	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	generation = jny_shared->generation;
	db->state = JNY_WORKER_STARTING;
	db->next_try = 0;
	db->nudged = false;
	db->generation = generation;
	LWLockRelease(jny_shared->lock);

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = ObjectIdGetDatum(db->dboid);
	memcpy(worker.bgw_extra, &generation, sizeof(generation));
	snprintf(worker.bgw_library_name, BGW_MAXLEN, "journey");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "jny_worker_main");
	snprintf(worker.bgw_name, BGW_MAXLEN, "journey worker for database %u", db->dboid);
	snprintf(worker.bgw_type, BGW_MAXLEN, "journey worker");
	ok = RegisterDynamicBackgroundWorker(&worker, &handles[i]);
	if (!ok)
	{
		bool		first;

		handles[i] = NULL;
		LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
		first = db->failures++ == 0;
		db->state = JNY_WORKER_NO_SLOT;
		db->next_try = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 10000L);
		LWLockRelease(jny_shared->lock);
		if (first)
			ereport(LOG,
					(errmsg("no background worker slot is free for journey in database %u", db->dboid),
					 errhint("Raise max_worker_processes, or run journey.run_once() from a scheduler.")));
	}
}

/* Starts what is due; returns how long until the next thing is, in ms. */
static long
start_due(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long		wait = RECHECK_MS;

	for (int i = 0; i < JNY_MAX_DATABASES; i++)
	{
		JnyDatabase *db = &jny_shared->db[i];
		bool		due = false;

		reap(i);
		LWLockAcquire(jny_shared->lock, LW_SHARED);
		if (db->dboid != InvalidOid && !closed[i] && handles[i] == NULL && db->pid == 0 && db->stoppers == 0 && jny_worker_enabled)
		{
			long		ms = db->nudged ? 0 : TimestampDifferenceMilliseconds(now, db->next_try);

			due = ms <= 0;
			wait = Min(wait, Max(ms, 1));
		}
		LWLockRelease(jny_shared->lock);
		if (due)
			start(i);
	}
	return wait;
}

void
jny_launcher_main(Datum arg)
{
	MemoryContext loop;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	enter();
	loop = AllocSetContextCreate(TopMemoryContext, "journey launcher lap", ALLOCSET_DEFAULT_SIZES);

	for (;;)
	{
		long		wait;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextSwitchTo(loop);
		MemoryContextReset(loop);
		match_databases(list_databases());
		MemoryContextSwitchTo(TopMemoryContext);	/* handles outlive the lap */
		wait = start_due();
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, wait,
						 jny_wait_event("JourneyLauncherMain"));
		ResetLatch(MyLatch);
	}
}
