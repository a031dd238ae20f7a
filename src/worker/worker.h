/*
 * worker.h
 *		The lap, the background worker and its launcher. Nobody includes this
 *		but worker/ and journey.c.
 */
#ifndef JNY_WORKER_H
#define JNY_WORKER_H

#include "core/batch.h"

/*
 * One lap in the current transaction, as the current user. False when
 * another consumer is at it. Any error is the caller's.
 */
extern bool jny_lap(JnyBatch *batch, int max_events, int max_timers);

/*
 * The same in a subtransaction: an error halves the lap until the one event
 * or timer is found that raises it; that one is set aside with its reason.
 */
extern bool jny_lap_guarded(JnyBatch *batch, int max_events);
extern void jny_maintain_guarded(JnyBatch *batch);

/* count.c: features that are to be counted for people who are older; the latter two inside SPI_connect() */
extern bool jny_count_waits(void);
extern bool jny_count_portion(JnyBatch *batch);
extern void jny_count_failed(const ErrorData *error);

/* merge.c: are people to be merged now? And does so. */
extern bool jny_merges_wait(const JnyBatch *batch);
extern void jny_merge(JnyBatch *batch);

/*
 * due.c: when the clock, and nothing else, next gives a lap something to do.
 * DT_NOEND = never; not later than the clock = at once. Inside SPI_connect(),
 * after what the lap has done.
 */
extern TimestampTz jny_lap_due(const JnyNode *node);

/* strangers.c: what of somebody else's hangs on our tables, and what to do about it; NULL = nothing */
extern const char *jny_stranger(char **hint);
/* False as long as nobody has touched our tables since that was asked. */
extern bool jny_may_be_strangers(void);

/* launcher.c, worker.c: entry points of background workers */
extern void jny_launcher_register(void);
extern PGDLLEXPORT void jny_launcher_main(Datum arg);
extern PGDLLEXPORT void jny_worker_main(Datum arg);

/* limit.c: the time that a lap of our worker may take */
extern bool jny_is_worker;		/* of ours: pg_cron has background workers, too */
extern void jny_limit_init(void);
extern void jny_limit_start(void);
extern void jny_limit_stop(void);
extern bool jny_limit_hit(ErrorData *error);

/* ddl_guard.c: commands that the worker or the data tables must know of */
extern void jny_ddl_guard_init(void);
extern void jny_nudge_at_commit(void);

#endif							/* JNY_WORKER_H */
