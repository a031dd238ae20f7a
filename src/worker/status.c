/*
 * status.c
 *		The shared state of launcher and workers, as rows.
 *
 * Called by journey._workers() for the views health and stat_worker. Takes
 * JnyShared.lock shared while it copies the slots; reads nothing else.
 */
#include "worker/worker.h"

#include "commands/dbcommands.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "core/shmem.h"

#define WORKER_COLS 12

static const char *
state_name(JnyWorkerState state)
{
	static const char *const names[] = {
		"unknown", "starting", "running", "stopping", "absent", "backoff", "no slot", "no room"
	};

	return names[state];
}

static void
put_database(ReturnSetInfo *rsinfo, const JnyDatabase *db)
{
	Datum		values[WORKER_COLS] = {0};
	bool		nulls[WORKER_COLS] = {0};
	char	   *name = get_database_name(db->dboid);

	if (name == NULL)
		return;
	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(state_name(db->state));
	values[2] = Int32GetDatum(db->pid);
	nulls[2] = db->pid == 0;
	values[3] = TimestampTzGetDatum(db->started_at);
	nulls[3] = db->started_at == 0;
	values[4] = TimestampTzGetDatum(db->last_lap_at);
	nulls[4] = db->last_lap_at == 0;
	values[5] = Int64GetDatum(db->laps);
	values[6] = Int64GetDatum(db->events);
	values[7] = Int32GetDatum(db->failures);
	values[8] = TimestampTzGetDatum(db->next_try);
	nulls[8] = db->next_try == 0;
	values[9] = BoolGetDatum(db->dboid == MyDatabaseId);
	values[10] = TimestampTzGetDatum(db->lap_at);
	nulls[10] = db->lap_at == 0;
	values[11] = TimestampTzGetDatum(db->held_since);
	nulls[11] = db->held_since == 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(journey_workers);
PG_FUNCTION_INFO_V1(journey_preloaded);

Datum
journey_workers(PG_FUNCTION_ARGS)
{
	JnyDatabase *copy;
	JnyDatabase here = {.dboid = MyDatabaseId, .state = JNY_WORKER_NO_ROOM};
	bool		no_room;

	InitMaterializedSRF(fcinfo, 0);
	if (jny_shared == NULL)
		return (Datum) 0;
	copy = palloc(sizeof(jny_shared->db));
	LWLockAcquire(jny_shared->lock, LW_SHARED);
	memcpy(copy, jny_shared->db, sizeof(jny_shared->db));
	no_room = jny_shared_full() && jny_shared_database(MyDatabaseId) == NULL;
	LWLockRelease(jny_shared->lock);
	for (int i = 0; i < JNY_MAX_DATABASES; i++)
		if (OidIsValid(copy[i].dboid))
			put_database((ReturnSetInfo *) fcinfo->resultinfo, &copy[i]);
	if (no_room)
		put_database((ReturnSetInfo *) fcinfo->resultinfo, &here);
	return (Datum) 0;
}

Datum
journey_preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(jny_shared != NULL);
}
