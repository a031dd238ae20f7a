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

#include "core/fault.h"
#include "core/shmem.h"

#define MAINTAIN_MS 10000L
/* As long as nothing has happened each pause is four times the last one: what the clock alone makes old can wait. */
#define MAINTAIN_AT_REST_MS 1800000L
/* A worker at rest looks at the clock, which somebody may have set. */
#define REST_MS 60000L
/*
 * A commit is counted before its locks are released and its messages are sent:
 * a lap that finds nothing to do is believed when it comes so much later.
 */
#define SETTLE_MS 1000
#define HELD_UP_MS 10L			/* the wait for the lock is the pause */

static JnyDatabase *slot = NULL;
static uint64 my_generation;

/* The last maintenance, and what there was then. */
static struct
{
	TimestampTz at;
	uint64		commits;
	bool		again;			/* it, or a lap since, has changed something */
	long		pause;			/* until the next one, when nothing happens */
} maintained;

static bool reloaded = false;	/* the settings, since the last lap */

/* A lap, and what it leaves to do. */
typedef struct Lap
{
	JnyBatch	batch;
	bool		look_ahead;		/* find out when the next one is due */
	TimestampTz due;			/* by the clock alone; DT_NOBEGIN = not known */
} Lap;

static void
leave(int code, Datum arg)
{
	jny_worker_committed(false);
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	if (slot->pid == MyProcPid)
	{
		slot->pid = 0;
		slot->resting = false;
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

/*
 * Runs one short transaction of ours as journey_owner; false when the extension
 * has gone. wrote: did it change anything?
 */
static bool
as_owner(void (*work) (void *arg), void *arg, const char *what, bool *wrote)
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
	JNY_FAULT("lap_before_commit");
	*wrote = TransactionIdIsValid(GetTopTransactionIdIfAny());
	if (*wrote)
		jny_worker_commits();
	CommitTransactionCommand();
	jny_worker_committed(true);
	JNY_FAULT_COMMITTED("lap_committed");
	debug_query_string = NULL;
	(void) pgstat_report_stat(false);	/* once a second is enough */
	pgstat_report_activity(STATE_IDLE, NULL);
	return there;
}

static bool
did_nothing(const JnyBatch *batch)
{
	return !batch->more && batch->taken == 0 && batch->stepped == 0 && batch->merged == 0 && !batch->held_up;
}

static void
lap_work(void *arg)
{
	Lap		   *lap = arg;

	if (!jny_lap_guarded(&lap->batch, jny_batch_events) || !lap->look_ahead || !did_nothing(&lap->batch))
		return;
	SPI_connect();
	lap->due = jny_lap_due(&lap->batch.node);
	SPI_finish();
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
 * starts beside it. A latch that is set hides the postmaster's death. True when
 * the latch was not set.
 */
static bool
nap(long ms)
{
	int			events;

	if (!PostmasterIsAlive())
		proc_exit(1);
	events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
					   jny_wait_event("JourneyWorkerMain"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		reloaded = true;
	}
	return (events & WL_LATCH_SET) == 0;
}

static bool
is_maintained(void)
{
	return !maintained.again && maintained.commits == jny_commits_of_others();
}

static TimestampTz
maintenance_due(void)
{
	return TimestampTzPlusMilliseconds(maintained.at, is_maintained() ? maintained.pause : MAINTAIN_MS);
}

/* First of all, or what has come in while no worker ran would find no partition of today. */
static void
maintain_when_due(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now < maintenance_due())
		return;
	maintained.pause = is_maintained() ? Min(maintained.pause * 4, MAINTAIN_AT_REST_MS) : MAINTAIN_MS;
	maintained.at = now;
	maintained.commits = jny_commits_of_others();
	if (!as_owner(maintain_work, NULL, "journey: maintenance", &maintained.again))
		goes_away(JNY_WORKER_ABSENT);
}

/*
 * With nothing due by the clock before that, and nothing committed by others
 * since, the next lap would do what the last one did, which is nothing: so
 * there is none until others commit, which sets our latch. Signals do, too,
 * and the time limit of a lap that ended long ago: so we look whether it was
 * for something. What the lap itself has put into the inbox has set it by now.
 */
static void
rest(TimestampTz due, uint64 commits)
{
	TimestampTz now = GetCurrentTimestamp();

	due = Min(due, maintenance_due());
	if (due > now)
		(void) pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, "journey: rest");
	jny_rest_begins(slot, commits);
	if (nap(0))
		while (due > now && !reloaded && commits == jny_commits_of_others() && !told_to_stop())
		{
			LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
			slot->last_lap_at = now;
			LWLockRelease(jny_shared->lock);
			(void) nap(Min(Max(REST_MS, jny_naptime_ms), TimestampDifferenceMilliseconds(now, due)));
			now = GetCurrentTimestamp();
		}
	jny_rest_ends(slot);
}

/* What was committed last is this long ago, and there was no worker's commit on its way when we looked. */
static bool
has_settled(uint64 commits)
{
	static uint64 last = JNY_COMMITS_UNKNOWN;
	static TimestampTz since;
	TimestampTz now = GetCurrentTimestamp();

	if (commits != last)
		since = now;
	last = commits;
	return commits != JNY_COMMITS_UNKNOWN && TimestampDifferenceExceeds(since, now, SETTLE_MS);
}

static void
run(void)
{
	for (;;)
	{
		Lap			lap;
		uint64		commits;
		bool		wrote;

		CHECK_FOR_INTERRUPTS();
		if (told_to_stop())
			goes_away(JNY_WORKER_STOPPING);
		reloaded = false;
		commits = jny_commits_of_others();
		maintain_when_due();
		memset(&lap, 0, sizeof(lap));
		lap.look_ahead = has_settled(commits);
		lap.due = DT_NOBEGIN;
		if (!as_owner(lap_work, &lap, "journey: lap", &wrote))
			goes_away(JNY_WORKER_ABSENT);
		count_lap(&lap.batch);
		maintained.again |= !did_nothing(&lap.batch);
		if (lap.batch.held_up)
			(void) nap(HELD_UP_MS);
		else if (lap.batch.more || lap.batch.timers_left > 0)
			(void) nap(0);
		else if (lap.due > GetCurrentTimestamp())
			rest(lap.due, commits);
		else
			(void) nap(jny_naptime_ms);
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
