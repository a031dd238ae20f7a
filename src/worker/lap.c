/*
 * lap.c
 *		One lap: take, interpret, orchestrate, deliver, move the cursor.
 *
 * Called by journey.run_once(), journey.run_until_idle() and the background
 * worker, inside a READ COMMITTED transaction and as journey_owner. Locks the
 * cursor row (SKIP LOCKED) and rows of its own data tables only; it never
 * waits for an outbox row. Memory: one context per lap. Any error aborts the
 * transaction, and with it every effect of the lap: the cursor has not moved.
 */
#include "worker/worker.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "core/fault.h"

#include "deliver/deliver.h"
#include "interpret/interpret.h"
#include "observe/observe.h"
#include "orchestrate/orchestrate.h"

static void
start_batch(JnyBatch *batch)
{
	HASHCTL		ctl = {0};

	memset(batch, 0, sizeof(*batch));
	batch->cxt = AllocSetContextCreate(CurrentMemoryContext, "journey lap", ALLOCSET_DEFAULT_SIZES);
	ctl.keysize = sizeof(pg_uuid_t);
	ctl.entrysize = sizeof(JnyProfile);
	ctl.hcxt = batch->cxt;
	batch->profiles = hash_create("journey lap profiles", 256, &ctl,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	jny_node_read(&batch->node);
}

/* False when somebody else consumes. Within SPI. */
static bool
phases(JnyBatch *batch, int max_events, int max_timers)
{
	if (!jny_observe_take(batch, max_events))
		return false;
	if (!batch->node.adopted)
		return true;			/* the cursor is another cluster's: nothing may move */
	jny_deliver_faults(&batch->node);
	JNY_FAULT("lap_before_features");
	jny_features_update(batch);
	jny_orchestrate_events(batch);
	if (batch->node.mode != JNY_MODE_OFF)
		jny_orchestrate_timers(batch, max_timers);
	jny_deliver_reap(&batch->node, jny_batch_timers);
	jny_deliver_announce();
	jny_observe_finish(batch);
	return true;
}

/* A snapshot hides what is committed meanwhile; at SERIALIZABLE what we read would fail the shop's writes. */
static void
need_read_committed(const char *what, const char *function)
{
	jny_require_primary(what);
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s needs isolation level READ COMMITTED", what),
				 errdetail("It must see what other transactions commit while it runs."),
				 errhint("Run journey.%s() in a transaction of its own, at READ COMMITTED.", function)));
}

bool
jny_lap(JnyBatch *batch, int max_events, int max_timers)
{
	bool		mine;
	int			level;

	need_read_committed("a lap", "run_once");
	start_batch(batch);
	if (!batch->node.adopted)
		return true;
	SPI_connect();
	level = jny_pin_plans();
	mine = phases(batch, max_events, max_timers);
	jny_unpin(level);
	SPI_finish();
	return mine;
}

/*
 * Runs one attempt in a subtransaction. On an error everything it did is
 * rolled back and the error is returned; a cancel that somebody asked for is
 * passed on. Each attempt has the lap's time to itself: what a lap is split
 * into may hold the same rule that never ends.
 */
static ErrorData *
attempt(bool (*work) (JnyBatch *batch, int events, int timers),
		JnyBatch *batch, int events, int timers, bool *mine)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Oid			user;
	int			security;
	ErrorData  *volatile error = NULL;

	GetUserIdAndSecContext(&user, &security);
	BeginInternalSubTransaction("journey_lap");
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		jny_limit_start();
		*mine = work(batch, events, timers);
		jny_limit_stop();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		jny_limit_stop();
		MemoryContextSwitchTo(cxt);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		SetUserIdAndSecContext(user, security);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	if (error != NULL &&
		(error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		 (error->sqlerrcode == ERRCODE_QUERY_CANCELED && !jny_limit_hit(error))))
		ReThrowError(error);
	return error;
}

JNY_PLAN(note_incident, "text, text, text, text, timestamptz, text",
		 "INSERT INTO journey.incident AS i (kind, name, severity, count, first_at, last_at, message, hint, detail)"
		 " VALUES ($1, $2, 'error', 1, $5, $5, $3, $6, pg_catalog.jsonb_build_object('sqlstate', $4))"
		 " ON CONFLICT (kind, name) DO UPDATE SET count = i.count + 1, last_at = EXCLUDED.last_at,"
		 "  message = EXCLUDED.message, detail = EXCLUDED.detail, resolved_at = NULL");

JNY_PLAN(close_incident, "text, text, timestamptz",
		 "UPDATE journey.incident SET resolved_at = $3 WHERE kind = $1 AND name = $2 AND resolved_at IS NULL");

/* Within SPI. */
static void
note(const char *kind, const char *name, const ErrorData *error, const char *hint)
{
	Datum		values[6] = {
		CStringGetTextDatum(kind), CStringGetTextDatum(name),
		CStringGetTextDatum(error->message),
		CStringGetTextDatum(unpack_sql_state(error->sqlerrcode)),
		TimestampTzGetDatum(GetCurrentTimestamp()),
		CStringGetTextDatum(hint)
	};

	jny_run(&note_incident, values, NULL);
}

/* What the worker could not do, it has done. Within SPI. */
static void
settle(const char *kind)
{
	Datum		args[3] = {
		CStringGetTextDatum(kind), CStringGetTextDatum("worker"), TimestampTzGetDatum(GetCurrentTimestamp())
	};

	jny_run(&close_incident, args, NULL);
}

/* Within SPI. */
static void
note_poison(const char *kind, const char *name, const ErrorData *error)
{
	ereport(LOG,
			(errmsg("journey set aside one %s: %s", kind, error->message)));
	note(kind, name, error,
		 "Look at the reason, mend the rule or the data, then use journey.replay_quarantine() where an event was set aside.");
}

/* What the item that skip_*() sets aside has raised. */
static ErrorData *lap_error = NULL;

/* The next event of the window goes to quarantine, with the reason, and the cursor passes it. */
static bool
skip_event(JnyBatch *batch, int events, int timers)
{
	bool		mine;

	start_batch(batch);
	SPI_connect();
	mine = jny_observe_skip(batch, lap_error);
	note_poison("poison_event", "inbox", lap_error);
	SPI_finish();
	return mine;
}

static bool
skip_timer(JnyBatch *batch, int events, int timers)
{
	start_batch(batch);
	SPI_connect();
	jny_orchestrate_skip_timer(batch, lap_error);
	note_poison("poison_timer", "timer", lap_error);
	SPI_finish();
	batch->timers_left = 1;		/* others may be due, too */
	return true;
}

/*
 * What the same work may not meet again: a lock held by somebody, a deadlock,
 * a full disk, a shutdown, a wrong isolation level or privilege. No event is
 * to blame for these; the lap is tried again later. The lap's own time limit
 * is not among them: one event may well be what takes so long.
 */
static bool
is_passing(const ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		return false;
	if (error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE)
		return true;
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_INVALID_TRANSACTION_STATE:
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return true;
		default:
			return false;
	}
}

/*
 * The search for the event, or the timer, that makes laps fail. What succeeds
 * is committed, so it goes on in the laps that follow: these take as few as
 * went well, until all those have passed among which the bad one was. A lap
 * that began with all again would fail again first, and when the reason is a
 * rule that never ends, only at its time limit. No more than a hint.
 */
typedef struct Search
{
	bool		timers;
	bool		(*skip) (JnyBatch *batch, int events, int timers);
	int			left;			/* of those of which one is bad; 0 = all is well */
	int			step;			/* so many at a time, until then */
} Search;

static Search bad_event = {.skip = skip_event};
static Search bad_timer = {.timers = true, .skip = skip_timer};

static int
careful(const Search *s, int max)
{
	return s->left > 0 ? Min(s->step, max) : max;
}

static void
passed(Search *s, int n)
{
	s->left = Max(0, s->left - n);
}

/*
 * A lap of the worker that waited in vain for a lock: it tries again, and
 * health says who holds it. A search for what is bad goes on where it was.
 * Elsewhere the caller is told.
 */
static bool
is_held_up(JnyBatch *batch, const ErrorData *error)
{
	JnyNode		node = batch->node;

	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE || !jny_is_worker)
		return false;
	memset(batch, 0, sizeof(*batch));
	batch->node = node;
	batch->held_up = true;
	return true;
}

/*
 * So many failed: fewer, until one is left; that one is set aside. alone: the
 * error of one by itself, if that is known.
 */
static bool
find_bad(Search *s, JnyBatch *batch, int failed, ErrorData *alone, bool *mine)
{
	ErrorData  *error;

	while (alone == NULL)
	{
		int			n;

		/* one that fails says nothing new of the others that are still to pass */
		s->left = s->step == 1 ? Max(s->left, failed) : failed;
		s->step = Max(1, Min(failed, s->step) / 8);
		error = attempt(jny_lap, batch, s->timers ? 0 : s->step, s->timers ? s->step : 0, mine);
		/* a lap may reach to the end of a transaction */
		n = Max(s->step, (int) batch->taken);
		if (error == NULL)
		{
			passed(s, n);
			return *mine;
		}
		if (is_held_up(batch, error))
			return false;
		failed = Min(failed, n);
		if (s->step == 1)
			alone = error;
	}
	if (is_passing(alone))
		ReThrowError(alone);
	lap_error = alone;
	if ((error = attempt(s->skip, batch, 1, 1, mine)) != NULL)
	{
		if (is_held_up(batch, error))
			return false;
		ReThrowError(error);
	}
	passed(s, 1);
	return *mine;
}

static bool
lap_of_what_works(JnyBatch *batch, int max_events)
{
	int			events = careful(&bad_event, max_events);
	int			timers = careful(&bad_timer, jny_batch_timers);
	bool		mine = false;
	ErrorData  *error = attempt(jny_lap, batch, events, timers, &mine);
	ErrorData  *idle;
	int			taken = (int) batch->taken;

	if (error == NULL && mine)
	{
		passed(&bad_event, Max(events, taken));
		passed(&bad_timer, timers);
	}
	if (error == NULL)
		return mine;
	if (is_held_up(batch, error))
		return false;
	if (is_passing(error))
		ReThrowError(error);
	/* nor is any event to blame when a lap fails with no work */
	if ((idle = attempt(jny_lap, batch, 0, 0, &mine)) != NULL)
	{
		if (is_held_up(batch, idle))
			return false;
		ReThrowError(error);
	}
	bad_event.step = events;
	bad_timer.step = timers;
	error = attempt(jny_lap, batch, 0, timers, &mine);
	if (error != NULL && is_held_up(batch, error))
		return false;
	if (error != NULL)
		return find_bad(&bad_timer, batch, timers, timers == 1 ? error : NULL, &mine);
	return find_bad(&bad_event, batch, taken > 0 ? taken : events, NULL, &mine);
}

static bool
read_history(JnyBatch *batch, int events, int timers)
{
	bool		more;

	SPI_connect();
	more = jny_history_read(batch);
	SPI_finish();
	batch->more |= more;
	return true;
}

static bool
count_features(JnyBatch *batch, int events, int timers)
{
	bool		more;

	SPI_connect();
	more = jny_count_portion(batch);
	SPI_finish();
	batch->more |= more;
	return true;
}

/* What fails there is no failure of the lap. */
static void
on_the_side(bool (*work) (JnyBatch *batch, int events, int timers), void (*failed) (const ErrorData *error),
			JnyBatch *batch)
{
	bool		done;
	ErrorData  *error = attempt(work, batch, 0, 0, &done);

	if (error == NULL)
		return;
	SPI_connect();
	failed(error);
	SPI_finish();
}

/*
 * Beside somebody else's code on our tables no lap runs: health says what to
 * do. The worker waits for it, elsewhere the caller is told.
 */
static bool
is_refused(JnyBatch *batch)
{
	const char *why;
	char	   *hint = NULL;

	if (!jny_may_be_strangers())
		return false;
	start_batch(batch);
	if (!batch->node.adopted)
		return false;
	SPI_connect();
	why = jny_stranger(&hint);
	if (why != NULL && !jny_is_worker)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no lap runs: %s", why),
				 errdetail("It would run with the rights of journey_owner."),
				 errhint("%s", hint)));
	SPI_finish();
	return why != NULL;
}

static bool
merge(JnyBatch *batch, int events, int timers)
{
	SPI_connect();
	jny_merge(batch);
	settle("merge");
	SPI_finish();
	return true;
}

/* They are linked already: what fails here is no failure of the lap, and is tried again with the next. */
static void
merge_guarded(JnyBatch *batch)
{
	ErrorData  *error = NULL;
	bool		wait;
	bool		mine;

	SPI_connect();
	wait = jny_merges_wait(batch);
	SPI_finish();
	if (!wait || (error = attempt(merge, batch, 0, 0, &mine)) == NULL)
		return;
	ereport(LOG,
			(errmsg("journey could not merge people: %s", error->message)));
	SPI_connect();
	note("merge", "worker", error, "The people stay two, and linked: a purchase of one ends the messages of both. See to the reason; it is tried again with every lap.");
	SPI_finish();
}

/*
 * The past is read when the present has been taken in, so that what was read
 * never piles up.
 */
bool
jny_lap_guarded(JnyBatch *batch, int max_events)
{
	bool		mine;

	if (is_refused(batch))
		return false;
	mine = lap_of_what_works(batch, max_events);
	JNY_FAULT("lap_before_merges");
	if (mine && batch->node.adopted)
		merge_guarded(batch);
	if (!mine || !batch->node.adopted || batch->more)
		return mine;
	if (jny_history_waits())
		on_the_side(read_history, jny_history_failed, batch);
	if (jny_count_waits())
		on_the_side(count_features, jny_count_failed, batch);
	return mine;
}

JNY_PLAN(forget, "", "SELECT journey._forget()");
JNY_PLAN(make_partitions, "timestamptz", "SELECT journey._partitions($1)");
JNY_PLAN(drop_partitions, "", "SELECT journey._drop_parts()");

/* ---- maintenance ------------------------------------------------------ */

JNY_PLAN(count_sales, "", "SELECT WHERE journey._count_sales()");
static TimestampTz sales_due = 0;	/* after a failure; of this process, because whoever holds the row may be the reason */

static bool
sales(JnyBatch *batch, int events, int timers)
{
	SPI_connect();
	if (jny_run(&count_sales, NULL, NULL) > 0)
		settle("sales");
	SPI_finish();
	return true;
}

/* Within SPI. As after a count that was made: a thousandth of the time; the count comes first in its transaction. */
static void
sales_failed(const ErrorData *error)
{
	TimestampTz now = GetCurrentTimestamp();

	sales_due = now + Max(USECS_PER_HOUR, 1000 * (now - GetCurrentTransactionStartTimestamp()));
	note("sales", "worker", error, "recommend() goes on with what was counted last. See to the reason; where the orders of 90 days are too many, give journey.lap_timeout more.");
}

/*
 * On the side, or orders that are too many to be counted in time would leave
 * nothing else maintained; and first, because maintenance ends with locks.
 */
static void
sales_guarded(JnyBatch *batch)
{
	if (GetCurrentTimestamp() >= sales_due)
		on_the_side(sales, sales_failed, batch);
}

/* What locks most comes last, so that it is locked for an instant. */
static bool
maintain(JnyBatch *batch, int events, int timers)
{
	Datum		now = TimestampTzGetDatum(batch->node.now);

	SPI_connect();
	settle("maintenance");
	jny_run(&forget, NULL, NULL);
	JNY_FAULT("maintain_cleaned");
	jny_attachments_check();
	jny_leaves_watch();
	jny_run(&make_partitions, &now, NULL);
	jny_run(&drop_partitions, NULL, NULL);
	jny_observe_rotate();
	SPI_finish();
	return true;
}

/* Maintenance that fails is tried again at its next turn; the laps go on, and an incident says why. */
void
jny_maintain_guarded(JnyBatch *batch)
{
	ErrorData  *error;
	bool		mine;

	if (is_refused(batch))
		return;
	start_batch(batch);
	if (!batch->node.adopted)
		return;
	sales_guarded(batch);
	if ((error = attempt(maintain, batch, 0, 0, &mine)) == NULL)
		return;
	ereport(LOG,
			(errmsg("journey could not maintain its tables: %s", error->message)));
	SPI_connect();
	note("maintenance", "worker", error, "See to the reason, for a lock who holds it; maintenance is tried again every 10 seconds.");
	SPI_finish();
}

/* ---- SQL: run_once, run_until_idle and maintain ----------------------- */

typedef struct Counter
{
	const char *name;
	int64		value;
} Counter;

static void
add_counts(Counter *sum, const JnyBatch *batch)
{
	const Counter counts[] = {
		{"events", batch->taken}, {"duplicates", batch->duplicates},
		{"quarantined", batch->quarantined}, {"backfilled", batch->backfilled}, {"entered", batch->entered},
		{"held_out", batch->held_out}, {"exited", batch->exited},
		{"stepped", batch->stepped}, {"enqueued", batch->enqueued},
		{"refused", batch->refused}, {"merged", batch->merged}, {NULL, 0}
	};

	for (int i = 0; counts[i].name != NULL; i++)
	{
		sum[i].name = counts[i].name;
		sum[i].value += counts[i].value;
	}
}

static void
put_counts(FunctionCallInfo fcinfo, const Counter *sum)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; sum[i].name != NULL; i++)
	{
		Datum		values[2] = {CStringGetTextDatum(sum[i].name), Int64GetDatum(sum[i].value)};
		bool		nulls[2] = {false, false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

PG_FUNCTION_INFO_V1(journey_run_once);
PG_FUNCTION_INFO_V1(journey_run_until_idle);
PG_FUNCTION_INFO_V1(journey_maintain);

Datum
journey_maintain(PG_FUNCTION_ARGS)
{
	JnyBatch	batch;

	need_read_committed("maintenance", "maintain");
	if (!is_refused(&batch))
	{
		start_batch(&batch);
		if (batch.node.adopted)
		{
			sales_guarded(&batch);
			(void) maintain(&batch, 0, 0);
		}
	}
	PG_RETURN_VOID();
}

Datum
journey_run_once(PG_FUNCTION_ARGS)
{
	JnyBatch	batch;
	Counter		sum[16] = {0};

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("run_once() was given null"),
				 errhint("Say how many events a lap may take in, or nothing for 10000.")));
	(void) jny_lap_guarded(&batch, PG_GETARG_INT32(0));
	add_counts(sum, &batch);
	MemoryContextDelete(batch.cxt);
	put_counts(fcinfo, sum);
	return (Datum) 0;
}

Datum
journey_run_until_idle(PG_FUNCTION_ARGS)
{
	JnyBatch	batch;
	Counter		sum[16] = {0};
	bool		busy;

	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!jny_lap_guarded(&batch, jny_batch_events))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("another session is consuming the inbox"),
					 errhint("Stop the worker with journey.worker = off, or try again.")));
		add_counts(sum, &batch);
		busy = batch.more || batch.timers_left > 0 || batch.stepped > 0 || batch.taken > 0 || batch.merged > 0;
		MemoryContextDelete(batch.cxt);
		CommandCounterIncrement();
	} while (busy);
	put_counts(fcinfo, sum);
	return (Datum) 0;
}
