/*
 * enqueue.c
 *		Into the outbox: enqueue, cancel, announce.
 *
 * Called by the lap (orchestrate and worker), as journey_owner, inside
 * SPI_connect(). One statement per batch. Waits for no outbox row: an action
 * that exists is left alone, and cancelling skips what a sender has locked.
 */
#include "deliver/work.h"

#include "access/xact.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

#include "core/shmem.h"

#define ENQUEUE_TYPES \
	"smallint[], uuid[], uuid[], text[], integer[], timestamptz[], timestamptz[], interval[], uuid[], text[]," \
	" integer[], text[], integer[], text[], text[], text[], integer[], text[], jsonb[], text[], text[], jsonb[]," \
	" text[], bigint[], text[], jsonb[], jsonb[], integer[], uuid[], timestamptz[], bigint[], bigint[], boolean[]"

JNY_PLAN(insert_actions, ENQUEUE_TYPES,
		 "INSERT INTO journey.outbox (bucket, profile_id, action_id, channel, status, claim_at, reap_at, priority, due_at,"
		 "  not_after, late, enrollment_id, journey, version, step, visit, purpose, scope, template, template_version,"
		 "  locale, payload, placement, exclusion, suppress_on, own_ref, entry_hash, stock_sku, caps, quiet,"
		 "  max_attempts, idempotency_key, decision_id, decided_at, decided_lap, decided_seq, test)"
		 " SELECT u.bucket, u.profile_id, u.action_id, u.channel, 'pending', u.due_at, u.not_after, u.priority, u.due_at,"
		 "  u.not_after, u.late, u.enrollment_id, u.journey, u.version, u.step, u.visit, u.purpose, u.scope, u.template,"
		 "  u.template_version, u.locale, u.payload, u.placement, u.exclusion, u.suppress_on, u.own_ref, u.entry_hash,"
		 "  u.stock_sku::text[], u.caps, u.quiet, u.max_attempts, u.action_id::text, u.decision_id, u.decided_at,"
		 "  u.decided_lap, u.decided_seq, u.test"
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), "
		 "pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12), "
		 "pg_catalog.unnest($13), pg_catalog.unnest($14), pg_catalog.unnest($15), pg_catalog.unnest($16), pg_catalog.unnest($17), pg_catalog.unnest($18), "
		 "pg_catalog.unnest($19), pg_catalog.unnest($20), pg_catalog.unnest($21), pg_catalog.unnest($22), pg_catalog.unnest($23), pg_catalog.unnest($24), "
		 "pg_catalog.unnest($25), pg_catalog.unnest($26), pg_catalog.unnest($27), pg_catalog.unnest($28), pg_catalog.unnest($29), pg_catalog.unnest($30), "
		 "pg_catalog.unnest($31), pg_catalog.unnest($32), pg_catalog.unnest($33))"
		 "  AS u(bucket, profile_id, action_id, channel, priority, due_at, not_after, late, enrollment_id, journey,"
		 "   version, step, visit, purpose, scope, template, template_version, locale, payload, placement, exclusion,"
		 "   suppress_on, own_ref, entry_hash, stock_sku, caps, quiet, max_attempts, decision_id, decided_at,"
		 "   decided_lap, decided_seq, test)"
		 " WHERE NOT EXISTS (SELECT FROM journey.outbox_history h WHERE h.action_id = u.action_id)"
		 " ON CONFLICT (bucket, profile_id, action_id) DO NOTHING");
JNY_PLAN(cancel_actions, "smallint[], uuid[], uuid[], text, timestamptz",
		 "WITH k AS (SELECT o.bucket, o.profile_id, o.action_id"
		 "   FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS u(bucket, profile_id, enrollment_id)"
		 "   JOIN journey.outbox o ON o.bucket = u.bucket AND o.profile_id = u.profile_id"
		 "    AND o.enrollment_id = u.enrollment_id"
		 "   WHERE o.status = 'pending' FOR UPDATE OF o SKIP LOCKED),"
		 " d AS (DELETE FROM journey.outbox o USING k WHERE o.bucket = k.bucket AND o.profile_id = k.profile_id"
		 "   AND o.action_id = k.action_id RETURNING o.*)"
		 " INSERT INTO journey.outbox_history (bucket, profile_id, finished_at, action_id, channel, status, reason,"
		 "   in_flight, priority, due_at, not_after, enrollment_id, journey, version, step, visit, purpose, scope,"
		 "   template, template_version, locale, payload, attempt, sender, error, idempotency_key, decision_id,"
		 "   decided_at, decided_lap, test)"
		 " SELECT d.bucket, d.profile_id, $5, d.action_id, d.channel, 'cancelled', $4, false, d.priority, d.due_at,"
		 "   d.not_after, d.enrollment_id, d.journey, d.version, d.step, d.visit, d.purpose, d.scope, d.template,"
		 "   d.template_version, d.locale, d.payload, d.attempt, d.sender, d.error, d.idempotency_key, d.decision_id,"
		 "   d.decided_at, d.decided_lap, d.test FROM d");

static Datum
uuid_copy(const pg_uuid_t *id)
{
	return jny_uuid_datum(id);
}

static void
set_what(JnyCols *cols, const JnyAction *a)
{
	jny_cols_set(cols, 0, Int16GetDatum(jny_bucket_of_id(&a->profile_id)));
	jny_cols_set(cols, 1, uuid_copy(&a->profile_id));
	jny_cols_set(cols, 2, uuid_copy(&a->action_id));
	jny_cols_text(cols, 3, a->channel);
	jny_cols_set(cols, 4, Int32GetDatum(a->priority));
	jny_cols_set(cols, 5, TimestampTzGetDatum(a->due_at));
	jny_cols_set(cols, 6, TimestampTzGetDatum(a->not_after));
	if (a->late != NULL)
		jny_cols_set(cols, 7, IntervalPGetDatum(a->late));
	if (a->has_enrollment)
		jny_cols_set(cols, 8, uuid_copy(&a->enrollment_id));
	jny_cols_text(cols, 9, a->journey);
	jny_cols_set(cols, 10, Int32GetDatum(a->version));
	jny_cols_text(cols, 11, a->step);
	jny_cols_set(cols, 12, Int32GetDatum(a->visit));
	jny_cols_text(cols, 13, a->purpose);
	jny_cols_text(cols, 14, a->scope);
	jny_cols_text(cols, 15, a->template);
	jny_cols_set(cols, 16, Int32GetDatum(a->template_version));
	jny_cols_text(cols, 17, a->locale);
}

static Datum
json_or(Jsonb *doc, const char *missing)
{
	return JsonbPGetDatum(doc != NULL ? doc : jny_json_parse(missing));
}

static void
set_how(JnyCols *cols, const JnyAction *a)
{
	jny_cols_set(cols, 18, json_or(a->payload, "{}"));
	jny_cols_text(cols, 19, a->placement);
	jny_cols_text(cols, 20, a->exclusion);
	jny_cols_set(cols, 21, json_or(a->suppress_on, "[]"));
	jny_cols_text(cols, 22, a->own_ref ? a->own_ref : "");
	if (a->entry_hash != 0)
		jny_cols_set(cols, 23, Int64GetDatum(a->entry_hash));
	if (a->stock_sku != NULL)	/* an array of arrays would have to be rectangular */
		jny_cols_text(cols, 24, OidOutputFunctionCall(F_ARRAY_OUT, PointerGetDatum(a->stock_sku)));
	jny_cols_set(cols, 25, json_or(a->caps, "[]"));
	if (a->quiet != NULL)
		jny_cols_set(cols, 26, JsonbPGetDatum(a->quiet));
	jny_cols_set(cols, 27, Int32GetDatum(Max(1, a->max_attempts)));
	jny_cols_set(cols, 28, uuid_copy(&a->decision_id));
	jny_cols_set(cols, 29, TimestampTzGetDatum(a->decided_at));
	jny_cols_set(cols, 30, Int64GetDatum(a->decided_lap));
	jny_cols_set(cols, 31, Int64GetDatum(a->decided_seq));
	jny_cols_set(cols, 32, BoolGetDatum(a->test));
}

void
jny_enqueue(List *actions)
{
	JnyCols    *cols;
	ListCell   *lc;

	if (actions == NIL)
		return;
	cols = jny_cols("smallint, uuid, uuid, text, integer, timestamptz, timestamptz, interval, uuid, text,"
					" integer, text, integer, text, text, text, integer, text, jsonb, text, text, jsonb,"
					" text, bigint, text, jsonb, jsonb, integer, uuid, timestamptz, bigint, bigint, boolean");
	foreach(lc, actions)
	{
		JnyAction  *a = lfirst(lc);

		set_what(cols, a);
		set_how(cols, a);
		jny_cols_next(cols);
		jny_announce_channel(a->channel);
	}
	jny_run(&insert_actions, jny_cols_datums(cols, 0), NULL);
}

int64
jny_cancel_of(List *owners, const char *reason)
{
	JnyCols    *cols;
	Datum	   *values;
	ListCell   *lc;

	if (owners == NIL)
		return 0;
	cols = jny_cols("smallint, uuid, uuid");
	foreach(lc, owners)
	{
		JnyOwner   *o = lfirst(lc);

		jny_cols_set(cols, 0, Int16GetDatum(jny_bucket_of_id(&o->profile_id)));
		jny_cols_set(cols, 1, UUIDPGetDatum(&o->profile_id));
		jny_cols_set(cols, 2, UUIDPGetDatum(&o->enrollment_id));
		jny_cols_next(cols);
	}
	values = jny_cols_datums(cols, 2);
	values[3] = CStringGetTextDatum(reason);
	values[4] = TimestampTzGetDatum(jny_now());
	return (int64) jny_run(&cancel_actions, values, NULL);
}

/* ---- announcing --------------------------------------------------------------- */

/*
 * Channels that got work in this transaction. In TopMemoryContext, since a
 * rolled-back subtransaction may have named some: a needless wake is harmless.
 */
static List *announced = NIL;
static bool broadcast = false;

static void
at_commit(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && broadcast)
		jny_work_broadcast();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		broadcast = false;
		list_free_deep(announced);
		announced = NIL;
	}
}

void
jny_announce_channel(const char *channel)
{
	static bool registered = false;
	MemoryContext old;
	ListCell   *lc;

	if (!registered)
	{
		RegisterXactCallback(at_commit, NULL);
		registered = true;
	}
	broadcast = true;
	foreach(lc, announced)
		if (strcmp(lfirst(lc), channel) == 0)
			return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	announced = lappend(announced, pstrdup(channel));
	MemoryContextSwitchTo(old);
}

/*
 * Wakes senders that LISTEN, once per channel and batch. Only the lap calls
 * it: a NOTIFY on the way of an order would queue commits behind each other.
 */
void
jny_deliver_announce(void)
{
	ListCell   *lc;

	foreach(lc, announced)
	{
		char		name[NAMEDATALEN];

		strlcpy(name, psprintf("journey_outbox_%s", (char *) lfirst(lc)), NAMEDATALEN);
		Async_Notify(name, "");
	}
}
