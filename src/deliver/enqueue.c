/*
 * enqueue.c
 *		Into the outbox: enqueue, cancel, announce.
 *
 * Called by the lap (orchestrate and worker), as journey_owner, inside
 * SPI_connect(). Waits for no outbox row: an action that exists is left
 * alone, and cancelling skips what a sender has locked.
 */
#include "deliver/work.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/shmem.h"
#include "core/table.h"

JNY_UPSERT(insert_actions, "outbox", "outbox_pkey", "bucket, profile_id, action_id",
		   "bucket, profile_id, action_id, channel, status, claim_at, reap_at, priority, due_at, not_after, late,"
		   " enrollment_id, journey, version, step, visit, purpose, scope, template, template_version, locale, payload,"
		   " placement, exclusion, suppress_on, own_ref, entry_hash, stock_sku, caps, quiet, max_attempts,"
		   " idempotency_key, decision_id, decided_at, decided_lap, decided_seq, test", "");
JNY_PLAN(find_final, "uuid[]",
		 "SELECT h.action_id FROM pg_catalog.unnest($1) AS u(action_id)"
		 " JOIN journey.outbox_history h ON h.action_id = u.action_id");
JNY_LOOKUP(find_pending, "outbox", "outbox_pkey", "bucket, profile_id", "enrollment_id, status", NULL);
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
		 "   template, template_version, locale, payload, attempt, sender, granted_at, permit_batch, error,"
		 "   idempotency_key, decision_id, decided_at, decided_lap, test)"
		 " SELECT d.bucket, d.profile_id, $5, d.action_id, d.channel, 'cancelled', $4, false, d.priority, d.due_at,"
		 "   d.not_after, d.enrollment_id, d.journey, d.version, d.step, d.visit, d.purpose, d.scope, d.template,"
		 "   d.template_version, d.locale, d.payload, d.attempt, d.sender, l.granted_at, l.permit_batch, d.error,"
		 "   d.idempotency_key, d.decision_id, d.decided_at, d.decided_lap, d.test FROM d" JNY_LAST_PERMIT("attempt") " RETURNING action_id");

static void
set_what(JnyCols *cols, const JnyAction *a)
{
	jny_cols_set(cols, 0, Int16GetDatum(jny_bucket_of_id(&a->profile_id)));
	jny_cols_set(cols, 1, UUIDPGetDatum(&a->profile_id));
	jny_cols_set(cols, 2, UUIDPGetDatum(&a->action_id));
	jny_cols_text(cols, 3, a->channel);
	jny_cols_text(cols, 4, "pending");
	jny_cols_set(cols, 5, TimestampTzGetDatum(a->due_at));
	jny_cols_set(cols, 6, TimestampTzGetDatum(a->not_after));
	jny_cols_set(cols, 7, Int32GetDatum(a->priority));
	jny_cols_set(cols, 8, TimestampTzGetDatum(a->due_at));
	jny_cols_set(cols, 9, TimestampTzGetDatum(a->not_after));
	if (a->late != NULL)
		jny_cols_set(cols, 10, IntervalPGetDatum(a->late));
	if (a->has_enrollment)
		jny_cols_set(cols, 11, UUIDPGetDatum(&a->enrollment_id));
	jny_cols_text(cols, 12, a->journey);
	jny_cols_set(cols, 13, Int32GetDatum(a->version));
	jny_cols_text(cols, 14, a->step);
	jny_cols_set(cols, 15, Int32GetDatum(a->visit));
	jny_cols_text(cols, 16, a->purpose);
	jny_cols_text(cols, 17, a->scope);
	jny_cols_text(cols, 18, a->template);
	jny_cols_set(cols, 19, Int32GetDatum(a->template_version));
	jny_cols_text(cols, 20, a->locale);
}

static void
set_how(JnyCols *cols, const JnyAction *a)
{
	jny_cols_set(cols, 21, JsonbPGetDatum(a->payload));
	jny_cols_text(cols, 22, a->placement);
	jny_cols_text(cols, 23, a->exclusion);
	jny_cols_set(cols, 24, JsonbPGetDatum(a->suppress_on));
	jny_cols_text(cols, 25, a->own_ref ? a->own_ref : "");
	if (a->entry_hash != 0)
		jny_cols_set(cols, 26, Int64GetDatum(a->entry_hash));
	if (a->stock_sku != NULL)
		jny_cols_set(cols, 27, PointerGetDatum(a->stock_sku));
	jny_cols_set(cols, 28, JsonbPGetDatum(a->caps));
	if (a->quiet != NULL)
		jny_cols_set(cols, 29, JsonbPGetDatum(a->quiet));
	jny_cols_set(cols, 30, Int32GetDatum(Max(1, a->max_attempts)));
	jny_cols_text(cols, 31, jny_uuid_str(&a->action_id));
	jny_cols_set(cols, 32, UUIDPGetDatum(&a->decision_id));
	jny_cols_set(cols, 33, TimestampTzGetDatum(a->decided_at));
	jny_cols_set(cols, 34, Int64GetDatum(a->decided_lap));
	jny_cols_set(cols, 35, Int64GetDatum(a->decided_seq));
	jny_cols_set(cols, 36, BoolGetDatum(a->test));
}

static int
by_id(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

/* Ids of those among the actions that are final already, sorted. Of a new enrollment none can be. */
static int
final_ones(List *actions, pg_uuid_t **ids)
{
	JnyCols    *cols = NULL;
	ListCell   *lc;
	int			n;

	foreach(lc, actions)
	{
		JnyAction  *a = lfirst(lc);

		if (a->fresh)
			continue;
		if (cols == NULL)
			cols = jny_cols("uuid");
		jny_cols_set(cols, 0, UUIDPGetDatum(&a->action_id));
		jny_cols_next(cols);
	}
	if (cols == NULL)
		return 0;
	n = (int) jny_run(&find_final, jny_cols_datums(cols, 0), NULL);
	*ids = palloc(sizeof(pg_uuid_t) * Max(1, n));
	for (int i = 0; i < n; i++)
		(*ids)[i] = *jny_get_uuid(i, 1);
	qsort(*ids, n, sizeof(pg_uuid_t), by_id);
	return n;
}

void
jny_enqueue(List *actions)
{
	pg_uuid_t  *final = NULL;
	int			nfinal = final_ones(actions, &final);
	JnyCols    *cols;
	ListCell   *lc;

	if (actions == NIL)
		return;
	cols = jny_cols_of(&insert_actions);
	foreach(lc, actions)
	{
		JnyAction  *a = lfirst(lc);

		jny_announce_channel(a->channel);
		if (nfinal > 0 && bsearch(&a->action_id, final, nfinal, sizeof(pg_uuid_t), by_id) != NULL)
			continue;
		set_what(cols, a);
		set_how(cols, a);
		jny_cols_next(cols);
	}
	jny_write(&insert_actions, cols);
	jny_publish_enqueued(actions);
}

/* ---- cancelling ----------------------------------------------------------------- */

/* A pending action of the enrollment that its key stands for. */
static bool
is_pending(const JnyRow *row, void *arg)
{
	JnyOwner   *o = list_nth(arg, row->key);

	return !row->nulls[0] && memcmp(jny_row_uuid(row, 0), &o->enrollment_id, UUID_LEN) == 0 &&
		strcmp(jny_row_text(row, 1), "pending") == 0;
}

int64
jny_cancel_of(List *owners, const char *reason)
{
	JnyCols    *keys = jny_cols_of(&find_pending);
	JnyCols    *cols;
	JnyRows    *pending;
	Datum	   *values;
	TimestampTz now = jny_now();
	int64		n;
	ListCell   *lc;

	foreach(lc, owners)
	{
		JnyOwner   *o = lfirst(lc);

		jny_cols_set(keys, 0, Int16GetDatum(jny_bucket_of_id(&o->profile_id)));
		jny_cols_set(keys, 1, UUIDPGetDatum(&o->profile_id));
		jny_cols_next(keys);
	}
	pending = jny_lookup_wanted(&find_pending, keys, is_pending, owners);
	if (pending->n == 0)
		return 0;
	cols = jny_cols("smallint, uuid, uuid");
	for (int i = 0; i < pending->n; i++)
	{
		JnyOwner   *o = list_nth(owners, pending->row[i].key);

		o->cancelled++;
		jny_cols_set(cols, 0, Int16GetDatum(jny_bucket_of_id(&o->profile_id)));
		jny_cols_set(cols, 1, UUIDPGetDatum(&o->profile_id));
		jny_cols_set(cols, 2, UUIDPGetDatum(&o->enrollment_id));
		jny_cols_next(cols);
	}
	values = jny_cols_datums(cols, 2);
	values[3] = CStringGetTextDatum(reason);
	values[4] = TimestampTzGetDatum(now);
	n = (int64) jny_run(&cancel_actions, values, NULL);
	jny_publish_found((int) n, now);
	return n;
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

PG_FUNCTION_INFO_V1(journey_cancel_pending);

/* For merges, which end enrollments in SQL: jny_cancel_of(). */
Datum
journey_cancel_pending(PG_FUNCTION_ARGS)
{
	Datum	   *people;
	Datum	   *enrollments;
	int			n;
	int			m;
	List	   *owners = NIL;
	int64		cancelled = 0;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &people, NULL, &n);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &enrollments, NULL, &m);
	for (int i = 0; i < Min(n, m); i++)
	{
		JnyOwner   *owner = palloc0(sizeof(JnyOwner));

		owner->profile_id = *DatumGetUUIDP(people[i]);
		owner->enrollment_id = *DatumGetUUIDP(enrollments[i]);
		owners = lappend(owners, owner);
	}
	if (owners != NIL)
	{
		SPI_connect();
		cancelled = jny_cancel_of(owners, text_to_cstring(PG_GETARG_TEXT_PP(2)));
		SPI_finish();
	}
	PG_RETURN_INT64(cancelled);
}
