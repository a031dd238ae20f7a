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

bool
jny_lap(JnyBatch *batch, int max_events)
{
	bool		orchestrates;

	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("a lap needs isolation level READ COMMITTED"),
				 errdetail("It must see what other transactions commit while it runs."),
				 errhint("Run journey.run_once() in a transaction of its own, at READ COMMITTED.")));
	start_batch(batch);
	if (!batch->node.adopted)
		return true;

	SPI_connect();
	if (!jny_observe_take(batch, max_events))
	{
		SPI_finish();
		return false;
	}
	orchestrates = batch->node.mode != JNY_MODE_OFF;
	jny_features_update(batch);
	jny_orchestrate_events(batch);
	if (orchestrates)
		jny_orchestrate_timers(batch, jny_batch_timers);
	jny_deliver_reap(&batch->node, jny_batch_timers);
	jny_deliver_announce();
	jny_observe_finish(batch);
	SPI_finish();
	return true;
}

/* ---- SQL: run_once and run_until_idle --------------------------------- */

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
		{"quarantined", batch->quarantined}, {"entered", batch->entered},
		{"held_out", batch->held_out}, {"exited", batch->exited},
		{"stepped", batch->stepped}, {"enqueued", batch->enqueued},
		{"refused", batch->refused}, {NULL, 0}
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

Datum
journey_run_once(PG_FUNCTION_ARGS)
{
	JnyBatch	batch;
	Counter		sum[16] = {0};

	jny_lap(&batch, PG_GETARG_INT32(0));
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
		if (!jny_lap(&batch, jny_batch_events))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("another session is consuming the inbox"),
					 errhint("Stop the worker with journey.worker = off, or try again.")));
		add_counts(sum, &batch);
		busy = batch.more || batch.timers_left > 0 || batch.stepped > 0 || batch.taken > 0;
		MemoryContextDelete(batch.cxt);
		CommandCounterIncrement();
	} while (busy);
	put_counts(fcinfo, sum);
	return (Datum) 0;
}
