/*
 * shmem.h
 *		What the backends of one cluster share: whom to wake, and who waits.
 */
#ifndef JNY_SHMEM_H
#define JNY_SHMEM_H

#include "core/core.h"

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#define JNY_MAX_DATABASES 64

/* Where the launcher stands with a database; drawn in src/worker/README.md. */
typedef enum JnyWorkerState
{
	JNY_WORKER_UNKNOWN,			/* never tried */
	JNY_WORKER_STARTING,
	JNY_WORKER_RUNNING,
	JNY_WORKER_STOPPING,		/* asked to leave */
	JNY_WORKER_ABSENT,			/* the extension is not there */
	JNY_WORKER_BACKOFF,			/* it failed; next try at next_try */
	JNY_WORKER_NO_SLOT,			/* max_worker_processes is used up */
	JNY_WORKER_NO_ROOM			/* shown only: all slots are kept by other databases */
} JnyWorkerState;

/* All fields under JnyShared.lock, but the condition variable and next_seq. */
typedef struct JnyDatabase
{
	Oid			dboid;			/* InvalidOid = free slot */
	bool		kept;			/* journey has been seen there: its backends may hold on to the slot */
	JnyWorkerState state;
	int			stoppers;		/* commands that ask the worker to leave, and the launcher to keep it out */
	bool		nudged;			/* look again now */
	bool		inert;			/* its last lap found it not adopted: commits need not wake the worker */
	pid_t		pid;
	Latch	   *latch;			/* of the worker, NULL = none */
	uint64		generation;		/* of the launcher that started it */
	int			failures;		/* in a row */
	TimestampTz next_try;		/* 0 = never tried, or under way */
	TimestampTz started_at;
	TimestampTz last_lap_at;
	int64		laps;
	int64		events;
	int64		errors;
	TimestampTz lap_at;			/* real time at which the lap under way began, 0 = none */
	pid_t		lap_pid;		/* whose it is */
	bool		resting;		/* the worker sleeps until others have committed */
	uint64		rest_commits;	/* since this count */
	TimestampTz held_since;		/* since when the worker's laps wait for somebody's lock in vain, 0 = they do not */
	ConditionVariable work;		/* claims that wait for work in this database */
	Oid			sequence;		/* of next_seq: a new extension counts anew */
	pg_atomic_uint64 next_seq;	/* a multiple of JNY_SEQ_BLOCK = none left */
} JnyDatabase;

typedef struct JnyShared
{
	LWLock	   *lock;
	pid_t		launcher_pid;
	Latch	   *launcher_latch;
	uint64		generation;
	int			committing;		/* workers whose commit the server may or may not have counted yet */
	uint64		worker_commits; /* of all workers, so far */
	pg_atomic_uint64 rest_at;	/* the server's count up to which no resting worker is to be woken; 0 = none rests */
	JnyDatabase db[JNY_MAX_DATABASES];
} JnyShared;

/* NULL when journey is not in shared_preload_libraries. */
extern JnyShared *jny_shared;

/* From _PG_init while the postmaster preloads libraries. */
extern void jny_shmem_init(void);
/* The slot of a database, NULL when it has none. Caller holds the lock. */
extern JnyDatabase *jny_shared_database(Oid dboid);
/*
 * The same, made when there is none: a free one, or that of a database without
 * journey whose next try is due by then. NULL = no room. Exclusive lock.
 */
extern JnyDatabase *jny_shared_make(Oid dboid, TimestampTz due);
/* No room for any other database with journey. Caller holds the lock. */
extern bool jny_shared_full(void);

/* This database's worker: runs in a commit callback, allocates nothing, raises nothing. */
extern void jny_wake_worker(void);
/* The launcher, for this database: extension made, adopted or dropped. Same rules. */
extern void jny_nudge_launcher(void);

/*
 * Waiting for work in the server. jny_wait_for_work returns after a broadcast
 * or timeout_ms, whichever is first; without shared memory it sleeps in short
 * steps. The caller holds no lock and re-checks its condition afterwards:
 * jny_work_prepare(); check; jny_wait_for_work(); ... jny_work_done();
 */
extern void jny_work_prepare(void);
extern bool jny_wait_for_work(long timeout_ms);	/* true = timed out */
extern void jny_work_done(void);
extern void jny_work_broadcast(void);			/* after commit */

/*
 * A lap commits later than it reads the clock. What nobody can see yet is due
 * at jny_lap_under_way() or later; DT_NOEND = no lap. Announced until the
 * transaction ends, to snapshots that are taken after the answer. A lap begins
 * once it has locked the cursor, and then reads the clock: there is never more
 * than one.
 */
extern void jny_lap_begins(void);
extern TimestampTz jny_lap_under_way(void);

/* ---- rest.c --------------------------------------------------------------- */

/*
 * How many transactions with an id have ended in this cluster that were not a
 * worker's: as long as this stays, nobody but workers has changed anything,
 * however it was done. Asked before a snapshot is taken, it is no newer than
 * that. JNY_COMMITS_UNKNOWN = a worker commits just now. Invalidation messages
 * and the release of locks follow a moment after it.
 */
#define JNY_COMMITS_UNKNOWN PG_UINT64_MAX
extern uint64 jny_commits_of_others(void);
/* Around a worker's commit that has an id; jny_worker_committed() also where that failed. */
extern void jny_worker_commits(void);
extern void jny_worker_committed(bool counted);

/*
 * A worker that rests: its latch is set as soon as that count is another than
 * the one that its last lap began with, also when it is already.
 */
extern void jny_rest_init(void);	/* from _PG_init while the postmaster preloads libraries */
extern void jny_rest_begins(JnyDatabase *db, uint64 commits);
extern void jny_rest_ends(JnyDatabase *db);

#endif							/* JNY_SHMEM_H */
