/*
 * rest.c
 *		Workers that rest until somebody else has committed something.
 *
 * A worker with nothing to do sleeps, and whoever commits sets its latch: any
 * transaction with an id, of any backend and database of the cluster, be it an
 * append to the inbox, COMMIT PREPARED, a timer that a statement has moved or a
 * new member of a role. So nothing has to be polled, and no writer has to know
 * what a lap looks at. Which commits there were is told by the server's own
 * count of transactions that have ended.
 *
 * Every backend pays for it with one read of shared memory at the end of each
 * transaction, two while a worker rests, and with JnyShared.lock, held for a
 * few instructions, when there is a worker to be woken.
 */
#include "core/shmem.h"

#include "access/xact.h"

/* This process is a worker, and between jny_worker_commits() and jny_worker_committed(). */
static bool committing = false;

/*
 * Commits of workers are taken out, or those of two databases would wake each
 * other for ever. One that is on its way is in the one number and perhaps not
 * yet in the other.
 */
static uint64
of_others(uint64 ended)
{
	return jny_shared->committing == 0 ? ended - jny_shared->worker_commits : JNY_COMMITS_UNKNOWN;
}

uint64
jny_commits_of_others(void)
{
	uint64		n;

	LWLockAcquire(jny_shared->lock, LW_SHARED);
	n = of_others(jny_xacts_ended());
	LWLockRelease(jny_shared->lock);
	return n;
}

/*
 * Wakes the resting workers for which others have committed. Exclusive lock.
 * A transaction is counted before it reads rest_at: one that was too early to
 * find it here is counted when we look once more. While a worker commits
 * nothing can be said; it comes here when it has.
 */
static void
wake_who_rests(void)
{
	uint64		ended;
	bool		any;

	if (jny_shared->committing > 0)
		return;
	do
	{
		ended = jny_xacts_ended();
		any = false;
		for (int i = 0; i < JNY_MAX_DATABASES; i++)
		{
			JnyDatabase *db = &jny_shared->db[i];

			if (!db->resting)
				continue;
			if (db->rest_commits == of_others(ended))
				any = true;
			else
			{
				db->resting = false;
				SetLatch(db->latch);
			}
		}
		pg_atomic_write_u64(&jny_shared->rest_at, any ? ended : 0);
		pg_memory_barrier();
	} while (any && jny_xacts_ended() != ended);
}

/*
 * At the end of every transaction, when it has been counted. COMMIT PREPARED
 * ends in one that has no id of its own, hence the count. Neither allocates
 * nor raises.
 */
static void
at_end_of_xact(XactEvent event, void *arg)
{
	uint64		rest_at;

	if ((event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT) || committing)
		return;
	rest_at = pg_atomic_read_u64(&jny_shared->rest_at);
	if (rest_at == 0 || rest_at == jny_xacts_ended())
		return;
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	wake_who_rests();
	LWLockRelease(jny_shared->lock);
}

void
jny_rest_init(void)
{
	RegisterXactCallback(at_end_of_xact, NULL);
}

void
jny_worker_commits(void)
{
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	jny_shared->committing++;
	LWLockRelease(jny_shared->lock);
	committing = true;
}

void
jny_worker_committed(bool counted)
{
	if (!committing)
		return;
	committing = false;
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	jny_shared->committing--;
	if (counted)
		jny_shared->worker_commits++;
	wake_who_rests();
	LWLockRelease(jny_shared->lock);
}

void
jny_rest_begins(JnyDatabase *db, uint64 commits)
{
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	db->resting = true;
	db->rest_commits = commits;
	wake_who_rests();
	LWLockRelease(jny_shared->lock);
}

void
jny_rest_ends(JnyDatabase *db)
{
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	db->resting = false;
	LWLockRelease(jny_shared->lock);
}
