/*
 * worker.c
 *		The background worker of one database.
 *
 * Started by the launcher. It connects as the bootstrap user, and before it
 * touches anything of ours it becomes journey_owner in a restricted security
 * context, each lap anew: text that people wrote is never run with the rights
 * of a superuser. Every lap is a transaction: the extension is locked and
 * looked up again, so that a DROP EXTENSION waits milliseconds and the next
 * lap finds it gone and leaves.
 *
 * Commits are asynchronous: the cursor and the effects of a lap are one
 * transaction, so a crash that loses it replays the same events.
 */
#include "worker/worker.h"

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/pmsignal.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "core/shmem.h"

#define MAINTAIN_MS 10000L
#define HELD_UP_MS 10L			/* the wait for the lock is the pause */

static JnyDatabase *slot = NULL;
static uint64 my_generation;

static void
leave(int code, Datum arg)
{
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	if (slot->pid == MyProcPid)
	{
		slot->pid = 0;
		slot->held_since = 0;
		slot->latch = NULL;
	}
	if (jny_shared->launcher_latch != NULL)
		SetLatch(jny_shared->launcher_latch);
	LWLockRelease(jny_shared->lock);
}

/* Takes the slot; leaves at once when another worker has it or a newer launcher reigns. */
static void
enter(void)
{
	bool		mine = false;

	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	slot = jny_shared_database(MyDatabaseId);
	if (slot != NULL && jny_shared->generation == my_generation && slot->pid == 0)
	{
		mine = true;
		slot->pid = MyProcPid;
		slot->inert = false;
		slot->latch = MyLatch;
		slot->state = JNY_WORKER_RUNNING;
		slot->started_at = GetCurrentTimestamp();
	}
	LWLockRelease(jny_shared->lock);
	if (!mine)
		proc_exit(0);
	before_shmem_exit(leave, (Datum) 0);
}

/* The settings of the database and of ALTER ROLE are the shop's; ours are these. */
static void
own_settings(void)
{
	static const char *const own[][2] = {
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"synchronous_commit", "off"},
		{"session_replication_role", "origin"},
		{"search_path", "pg_catalog, journey, pg_temp"},
		{"TimeZone", "UTC"}, {"DateStyle", "ISO, YMD"}, {"IntervalStyle", "postgres"},
		{"jit", "off"}, {"lock_timeout", "1s"},
		{"row_security", "off"}, {"check_function_bodies", "on"}
	};

	for (size_t i = 0; i < lengthof(own); i++)
		SetConfigOption(own[i][0], own[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

static void
goes_away(JnyWorkerState state)
{
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	slot->state = state;
	slot->failures = 0;
	LWLockRelease(jny_shared->lock);
	proc_exit(0);
}

static bool
told_to_stop(void)
{
	bool		stop;

	LWLockAcquire(jny_shared->lock, LW_SHARED);
	stop = slot->stoppers > 0 || jny_shared->generation != my_generation;
	LWLockRelease(jny_shared->lock);
	return stop || !jny_worker_enabled;
}

/* True when the extension is there and cannot go before this transaction ends. */
static bool
hold_extension(void)
{
	Oid			oid = get_extension_oid("journey", true);

	if (!OidIsValid(oid))
		return false;
	LockDatabaseObject(ExtensionRelationId, oid, 0, AccessShareLock);
	return get_extension_oid("journey", true) == oid && OidIsValid(jny_owner_oid(true));
}

/* Runs one short transaction of ours as journey_owner; false when the extension has gone. */
static bool
as_owner(void (*work) (void *arg), void *arg, const char *what)
{
	Oid			user;
	int			context;
	bool		there;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, what);
	debug_query_string = what;
	there = hold_extension();
	if (there)
	{
		GetUserIdAndSecContext(&user, &context);
		SetUserIdAndSecContext(jny_owner_oid(false),
							   context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
		jny_limit_start();
		work(arg);
		jny_limit_stop();
		SetUserIdAndSecContext(user, context);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	debug_query_string = NULL;
	(void) pgstat_report_stat(false);	/* once a second is enough */
	pgstat_report_activity(STATE_IDLE, NULL);
	return there;
}

static void
lap_work(void *arg)
{
	JnyBatch   *batch = arg;

	(void) jny_lap_guarded(batch, jny_batch_events);
}

static void
maintain_work(void *arg)
{
	JnyBatch	batch;

	jny_maintain_guarded(&batch);
}

static void
count_lap(const JnyBatch *batch)
{
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	slot->kept = true;
	slot->laps++;
	/* adopt() nudges; whatever else may arm the database is seen after a nap */
	slot->inert = batch->node.now != 0 && !batch->node.adopted;
	slot->events += batch->taken;
	slot->failures = 0;
	if (!batch->held_up)
		slot->held_since = 0;
	else if (slot->held_since == 0)
		slot->held_since = GetCurrentTimestamp();
	slot->last_lap_at = GetCurrentTimestamp();
	LWLockRelease(jny_shared->lock);
}

/*
 * Between two laps, also when there is more to do: a worker that never looked
 * would outlive its postmaster for as long as its backlog lasts, and no server
 * starts beside it. A latch that is set hides the postmaster's death.
 */
static void
nap(long ms)
{
	if (!PostmasterIsAlive())
		proc_exit(1);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
					 jny_wait_event("JourneyWorkerMain"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

static void
run(void)
{
	TimestampTz maintained = 0;

	for (;;)
	{
		JnyBatch	batch;
		bool		busy;

		CHECK_FOR_INTERRUPTS();
		if (told_to_stop())
			goes_away(JNY_WORKER_STOPPING);
		/* first of all, or what has come in while no worker ran would find no partition of today */
		if (TimestampDifferenceExceeds(maintained, GetCurrentTimestamp(), MAINTAIN_MS))
		{
			maintained = GetCurrentTimestamp();
			if (!as_owner(maintain_work, NULL, "journey: maintenance"))
				goes_away(JNY_WORKER_ABSENT);
		}
		memset(&batch, 0, sizeof(batch));
		if (!as_owner(lap_work, &batch, "journey: lap"))
			goes_away(JNY_WORKER_ABSENT);
		busy = batch.more || batch.timers_left > 0;
		count_lap(&batch);
		nap(batch.held_up ? HELD_UP_MS : busy ? 0 : jny_naptime_ms);
	}
}

void
jny_worker_main(Datum arg)
{
	jny_limit_init();
	memcpy(&my_generation, MyBgworkerEntry->bgw_extra, sizeof(my_generation));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	enter();
	own_settings();
	pgstat_report_appname("journey worker");

	/*
	 * An error that the guarded lap could not set aside ends this worker: the
	 * launcher starts a new one after a growing pause, and the log says why.
	 */
	run();
}
