/*
 * shmem.c
 *		The shared state: one slot per database, with a condition variable and
 *		the counter of captured rows.
 *
 * Locking: every field of JnyShared but those two and rest_at, which is only
 * written under it, is guarded by JnyShared.lock, held for a few instructions only and never across I/O, a
 * wait or another lock. Latch pointers are published by their owner at start
 * and cleared before it leaves; a stale one would be a spurious wakeup for
 * the next owner of the same PGPROC, nothing worse.
 */
#include "core/shmem.h"

#include "access/xact.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "core/fault.h"
#include "core/inbox.h"

JnyShared  *jny_shared = NULL;

static shmem_request_hook_type prev_request = NULL;
static shmem_startup_hook_type prev_startup = NULL;

static void
request(void)
{
	if (prev_request)
		prev_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(JnyShared)));
	RequestNamedLWLockTranche("journey", 1);
}

static void
startup(void)
{
	bool		found;

	if (prev_startup)
		prev_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	jny_shared = ShmemInitStruct("journey", sizeof(JnyShared), &found);
	if (!found)
	{
		memset(jny_shared, 0, sizeof(JnyShared));
		jny_shared->lock = &(GetNamedLWLockTranche("journey"))->lock;
		pg_atomic_init_u64(&jny_shared->rest_at, 0);
		for (int i = 0; i < JNY_MAX_DATABASES; i++)
		{
			ConditionVariableInit(&jny_shared->db[i].work);
			pg_atomic_init_u64(&jny_shared->db[i].next_seq, 0);
		}
	}
	LWLockRelease(AddinShmemInitLock);
	jny_wake_worker_hook = jny_wake_worker;
}

void
jny_shmem_init(void)
{
	prev_request = shmem_request_hook;
	shmem_request_hook = request;
	prev_startup = shmem_startup_hook;
	shmem_startup_hook = startup;
}

JnyDatabase *
jny_shared_database(Oid dboid)
{
	for (int i = 0; i < JNY_MAX_DATABASES; i++)
		if (jny_shared->db[i].dboid == dboid)
			return &jny_shared->db[i];
	return NULL;
}

JnyDatabase *
jny_shared_make(Oid dboid, TimestampTz due)
{
	JnyDatabase *db = jny_shared_database(dboid);
	JnyDatabase *place = jny_shared_database(InvalidOid);

	if (db != NULL)
		return db;
	for (int i = 0; place == NULL && i < JNY_MAX_DATABASES; i++)
	{
		db = &jny_shared->db[i];
		if (!db->kept && db->stoppers == 0 && db->next_try != 0 && db->next_try <= due)
			place = db;
	}
	if (place != NULL)
	{
		memset(place, 0, offsetof(JnyDatabase, work));
		place->dboid = dboid;
		place->sequence = InvalidOid;
	}
	return place;
}

bool
jny_shared_full(void)
{
	for (int i = 0; i < JNY_MAX_DATABASES; i++)
		if (!jny_shared->db[i].kept)
			return false;
	return true;
}

/* This database has journey, so it takes precedence over those that may not, and keeps its slot. Exclusive lock. */
static JnyDatabase *
keep_slot(void)
{
	JnyDatabase *db = jny_shared_make(MyDatabaseId, DT_NOEND);

	if (db != NULL && !db->kept)
	{
		db->kept = true;
		if (jny_shared->launcher_latch != NULL)
			SetLatch(jny_shared->launcher_latch);
	}
	return db;
}

void
jny_wake_worker(void)
{
	JnyDatabase *db;

	if (jny_shared == NULL)
		return;
	JNY_FAULT_COMMITTED("commit_before_latch");
	LWLockAcquire(jny_shared->lock, LW_SHARED);
	db = jny_shared_database(MyDatabaseId);
	if (db != NULL && db->latch != NULL && !db->inert)
		SetLatch(db->latch);
	LWLockRelease(jny_shared->lock);
}

void
jny_nudge_launcher(void)
{
	JnyDatabase *db;

	if (jny_shared == NULL)
		return;
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	db = keep_slot();
	if (db != NULL)
		db->nudged = true;
	if (db != NULL && db->latch != NULL)
		SetLatch(db->latch);
	if (jny_shared->launcher_latch != NULL)
		SetLatch(jny_shared->launcher_latch);
	LWLockRelease(jny_shared->lock);
}

/*
 * This backend's slot. It stays its database's as long as that exists: the
 * launcher sees to it, and this looks.
 */
static JnyDatabase *
my_slot(void)
{
	static JnyDatabase *slot = NULL;

	if (jny_shared != NULL && (slot == NULL || slot->dboid != MyDatabaseId))
	{
		LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
		slot = keep_slot();
		LWLockRelease(jny_shared->lock);
	}
	return slot;
}

static ConditionVariable *
my_work(void)
{
	JnyDatabase *slot = my_slot();

	return slot ? &slot->work : NULL;
}

void
jny_work_prepare(void)
{
	ConditionVariable *work = my_work();

	if (work != NULL)
		ConditionVariablePrepareToSleep(work);
}

bool
jny_wait_for_work(long timeout_ms)
{
	ConditionVariable *work = my_work();

	if (work != NULL)
		return ConditionVariableTimedSleep(work, timeout_ms, jny_wait_event("JourneyClaim"));
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Min(timeout_ms, 50), jny_wait_event("JourneyClaim"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return timeout_ms <= 50;
}

void
jny_work_done(void)
{
	if (my_work() != NULL)
		ConditionVariableCancelSleep();
}

void
jny_work_broadcast(void)
{
	ConditionVariable *work = my_work();

	if (work != NULL)
		ConditionVariableBroadcast(work);
}

/* ---- the lap under way ---------------------------------------------------- */

static bool lap_is_mine = false;

/* A commit is visible to others before these are called. */
static void
lap_ends(XactEvent event, void *arg)
{
	JnyDatabase *db;

	if (!lap_is_mine || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE))
		return;
	lap_is_mine = false;
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	db = jny_shared_database(MyDatabaseId);
	if (db != NULL && db->lap_pid == MyProcPid)
		db->lap_at = 0;
	LWLockRelease(jny_shared->lock);
}

void
jny_lap_begins(void)
{
	static bool registered = false;
	JnyDatabase *db;

	if (jny_shared == NULL)
		return;
	if (!registered)
	{
		RegisterXactCallback(lap_ends, NULL);
		registered = true;
	}
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	db = keep_slot();
	/* one that stands there has lost the cursor: it has been committed or rolled back */
	if (db != NULL && !(lap_is_mine && db->lap_pid == MyProcPid && db->lap_at != 0))
	{
		db->lap_at = GetCurrentTimestamp();
		db->lap_pid = MyProcPid;
		lap_is_mine = true;
	}
	LWLockRelease(jny_shared->lock);
}

TimestampTz
jny_lap_under_way(void)
{
	TimestampTz at = 0;
	JnyDatabase *db;

	if (jny_shared == NULL)
		return DT_NOEND;
	LWLockAcquire(jny_shared->lock, LW_SHARED);
	db = jny_shared_database(MyDatabaseId);
	if (db != NULL)
		at = db->lap_at;
	LWLockRelease(jny_shared->lock);
	return at != 0 ? at : DT_NOEND;
}

/* ---- the order of capture ------------------------------------------------ */

static void
count_anew(JnyDatabase *db, Oid sequence)
{
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	if (db->sequence != sequence)
	{
		pg_atomic_write_u64(&db->next_seq, 0);
		db->sequence = sequence;
	}
	LWLockRelease(jny_shared->lock);
}

/* Puts a new block in place, unless a later one stands there already; its first number is the caller's. */
static int64
fetch_block(JnyDatabase *db, Oid sequence)
{
	uint64		first = (uint64) nextval_internal(sequence, false);
	uint64		next = pg_atomic_read_u64(&db->next_seq);

	while (next < first)
		if (pg_atomic_compare_exchange_u64(&db->next_seq, &next, first + 1))
			break;
	return (int64) first;
}

/*
 * nextval() takes a lock, a buffer and two microseconds, for every row that a
 * shop writes. So the sequence is asked once for a block, which all backends
 * use up together: numbers come in the order in which they are asked for, as
 * from the sequence itself, across backends too. A block that was fetched
 * while another backend put a later one in place gives its first number only:
 * no number may be handed out after a greater one that was asked for before.
 */
int64
jny_next_seq(Oid sequence)
{
	JnyDatabase *db = my_slot();
	uint64		next;

	if (db == NULL)
		return nextval_internal(sequence, false);
	if (db->sequence != sequence)
		count_anew(db, sequence);
	next = pg_atomic_read_u64(&db->next_seq);
	while (next % JNY_SEQ_BLOCK != 0)
		if (pg_atomic_compare_exchange_u64(&db->next_seq, &next, next + 1))
			return (int64) next;
	return fetch_block(db, sequence);
}

void
jny_renew_seq(Oid sequence)
{
	JnyDatabase *db = my_slot();

	if (db != NULL)
		(void) fetch_block(db, sequence);
}
