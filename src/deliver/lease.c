/*
 * lease.c
 *		Leases and their ends: unknown, release, extend, resolve, requeue.
 *
 * What has been lost while sending is unknown, never pending: only the
 * channel's policy or a person may say what follows. Called as SQL functions,
 * SECURITY DEFINER as journey_owner. Reaping leases that nobody ended: reap.c.
 */
#include "deliver/outcome.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(journey_unknown);
PG_FUNCTION_INFO_V1(journey_unknown_array);
PG_FUNCTION_INFO_V1(journey_release);
PG_FUNCTION_INFO_V1(journey_extend);
PG_FUNCTION_INFO_V1(journey_extend_array);
PG_FUNCTION_INFO_V1(journey_resolve);
PG_FUNCTION_INFO_V1(journey_requeue);

JNY_PLAN(set_unknown, "uuid[], text, timestamptz[]",
		 "UPDATE journey.outbox o SET status = 'unknown', reason = 'unknown', error = COALESCE($2, o.error),"
		 "  claim_at = NULL, lease_until = NULL, reap_at = $3[pg_catalog.array_position($1, o.action_id)]"
		 " WHERE o.action_id = ANY ($1)");
JNY_PLAN(set_lease, "uuid[], timestamptz, uuid",
		 "WITH o AS (UPDATE journey.outbox o SET lease_until = LEAST($2, GREATEST(o.not_after, o.lease_until))"
		 "  WHERE o.action_id = ANY ($1) RETURNING o.action_id, o.lease_until)"
		 " INSERT INTO journey.lease (until, lease_id, actions)"
		 " SELECT o.lease_until, $3, pg_catalog.array_agg(o.action_id) FROM o GROUP BY o.lease_until");
JNY_PLAN(lock_unknown, "uuid",
		 "SELECT " JNY_WORK_COLUMNS " FROM journey.outbox o WHERE o.action_id = $1 AND o.status = 'unknown' FOR UPDATE");
JNY_PLAN(note_sent, "uuid, text",
		 "UPDATE journey.outbox o SET provider_ref = $2 WHERE o.action_id = $1");
JNY_PLAN(hold_people, "uuid[]", "SELECT journey._hold_people_of($1)");
JNY_PLAN(bring_back, "uuid[], timestamptz",
		 "WITH d AS (DELETE FROM journey.outbox_history h WHERE h.action_id = ANY ($1) AND h.status = 'dead'"
		 "   AND h.gates IS NOT NULL AND h.not_after > $2 RETURNING h.*)"
		 " INSERT INTO journey.outbox AS o (bucket, profile_id, action_id, channel, status, reason, claim_at, reap_at, priority,"
		 "   due_at, not_after, late, enrollment_id, journey, version, step, visit, purpose, scope, template,"
		 "   template_version, locale, payload, placement, offer, exclusion, suppress_on, own_ref, entry_hash, stock_sku,"
		 "   caps, quiet, attempt, failures, max_attempts, error, idempotency_key, decision_id, decided_at, decided_lap,"
		 "   decided_seq, test)"
		 " SELECT d.bucket, d.profile_id, d.action_id, d.channel, 'pending', 'requeued', $2, d.not_after, d.priority,"
		 "   d.due_at, d.not_after, (d.gates ->> 'late')::interval, NULL, d.journey, d.version, d.step, d.visit, d.purpose,"
		 "   d.scope, d.template, d.template_version, d.locale, d.payload, d.gates ->> 'placement', d.gates ->> 'offer',"
		 "   d.gates ->> 'exclusion', d.gates -> 'suppress_on', d.gates ->> 'own_ref', (d.gates ->> 'entry_hash')::bigint,"
		 "   CASE WHEN d.gates -> 'stock_sku' <> 'null' THEN"
		 "    ARRAY(SELECT pg_catalog.jsonb_array_elements_text(d.gates -> 'stock_sku')) END,"
		 "   d.gates -> 'caps', NULLIF(d.gates -> 'quiet', 'null'), d.attempt, 0, (d.gates ->> 'max_attempts')::integer,"
		 "   d.error, d.idempotency_key, d.decision_id, d.decided_at, d.decided_lap,"
		 "   (d.gates ->> 'decided_seq')::bigint, d.test"
		 " FROM d RETURNING o.channel");

TimestampTz
jny_backoff(const JnyChannelRules *channel, int failures, TimestampTz now)
{
	double		wait = channel->backoff_first;

	for (int i = 1; i < failures && wait < channel->backoff_max; i++)
		wait *= channel->backoff_factor;
	return now + (int64) (Min(wait, channel->backoff_max) * USECS_PER_SEC);
}

/* ---- unknown ---------------------------------------------------------------- */

/*
 * drop: given up, as unknown. retry: the reaper plans it again under the same
 * key, after the backoff. hold: waits for resolve(); its enrollment goes on.
 */
void
jny_to_unknown(JnyHouse *house, const JnyNode *node, List *works, const char *error)
{
	List	   *dropped = NIL;
	List	   *kept = NIL;
	List	   *told = NIL;
	JnyCols    *cols = jny_cols("timestamptz");
	ListCell   *lc;

	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);
		JnyChannelRules *channel = jny_house_channel(house, w->channel);
		bool		retry = channel->on_unknown == 'r' && w->failures + 1 < w->max_attempts;

		w->reason = "unknown";
		w->failures++;
		if (!retry)
			told = lappend(told, w);
		if (channel->on_unknown == 'd')
		{
			dropped = lappend(dropped, w);
			continue;
		}
		kept = lappend(kept, w);
		if (retry)
			jny_cols_set(cols, 0, TimestampTzGetDatum(jny_backoff(channel, w->failures, node->now)));
		jny_cols_next(cols);
	}
	jny_note_attempts(works, "unknown", true, NULL);
	if (works != NIL)
		jny_note_errors(works, error);
	if (kept != NIL)
		jny_run(&set_unknown, (Datum[]) {jny_work_ids(kept), error ? CStringGetTextDatum(error) : (Datum) 0,
										 jny_cols_datums(cols, 0)[0]},
				(bool[]) {false, error == NULL, false});
	jny_settle_final(dropped, "unknown", node->now, true);
	jny_outcome_append(told, "action_unknown");
}

static List *
unknown(JnyCall *call, FunctionCallInfo fcinfo)
{
	static const char *const sending[] = {"sending"};
	List	   *works = jny_call_lock(call, sending, 1);

	if (works != NIL)
		jny_to_unknown(jny_house_read(jny_work_channels(works)), &call->node, works,
					   PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)));
	return works;
}

Datum
journey_unknown(PG_FUNCTION_ARGS)
{
	JnyCall		call = {0};
	bool		done;

	jny_call_open(&call, "unknown");
	jny_call_one(fcinfo, &call);
	done = unknown(&call, fcinfo) != NIL;
	jny_call_close(&call);
	PG_RETURN_BOOL(done);
}

Datum
journey_unknown_array(PG_FUNCTION_ARGS)
{
	JnyCall		call = {0};
	Datum		result;

	jny_call_arrays(fcinfo, &call);
	jny_call_open(&call, "unknown");
	result = SPI_datumTransfer(jny_call_answers(&call, unknown(&call, fcinfo)), false, -1);
	jny_call_close(&call);
	return result;
}

/* ---- release, extend ---------------------------------------------------------- */

/* The sender gives back what it did not send; a permit gives its place under the caps back. */
Datum
journey_release(PG_FUNCTION_ARGS)
{
	static const char *const held[] = {"claimed", "sending"};
	JnyCall		call = {0};
	List	   *works;
	List	   *granted = NIL;
	ListCell   *lc;
	Datum		result;

	jny_call_arrays(fcinfo, &call);
	jny_call_open(&call, "release");
	works = jny_call_lock(&call, held, 2);
	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);

		w->retry_at = call.node.now;
		/* of what was only claimed, the last permit in the log is of an earlier lease */
		if (strcmp(TextDatumGetCString(w->values[W_STATUS]), "sending") == 0)
			granted = lappend(granted, w);
	}
	jny_note_attempts(granted, "returned", false, NULL);
	jny_plan_retries(works, "");
	result = SPI_datumTransfer(jny_call_answers(&call, works), false, -1);
	jny_call_close(&call);
	return result;
}

/* Nobody needs an action longer than it is of use: a lease ends with it at the latest, or when it did before. */
static List *
extend(JnyCall *call, FunctionCallInfo fcinfo)
{
	static const char *const held[] = {"claimed", "sending"};
	List	   *works = jny_call_lock(call, held, 2);
	Interval   *lease = PG_GETARG_INTERVAL_P(2);
	TimestampTz until = jny_within_a_year(call->node.now, lease);
	List	   *alive = NIL;
	pg_uuid_t	id;
	ListCell   *lc;

	if (until <= call->node.now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a lease must be longer than nothing"),
				 errhint("Give it back with release() instead.")));
	foreach(lc, works)
		if (((JnyWork *) lfirst(lc))->lease_until > call->node.now)
			alive = lappend(alive, lfirst(lc));
	jny_uuid_v7(&id);
	if (alive != NIL)
		jny_run(&set_lease, (Datum[]) {jny_work_ids(alive), TimestampTzGetDatum(until), UUIDPGetDatum(&id)}, NULL);
	return alive;
}

Datum
journey_extend(PG_FUNCTION_ARGS)
{
	JnyCall		call = {0};
	bool		done;

	if (PG_ARGISNULL(2))
		PG_RETURN_BOOL(false);
	jny_call_open(&call, "extend");
	jny_call_one(fcinfo, &call);
	done = extend(&call, fcinfo) != NIL;
	jny_call_close(&call);
	PG_RETURN_BOOL(done);
}

Datum
journey_extend_array(PG_FUNCTION_ARGS)
{
	JnyCall		call = {0};
	Datum		result;

	jny_call_arrays(fcinfo, &call);
	if (PG_ARGISNULL(2))
		PG_RETURN_NULL();
	jny_call_open(&call, "extend");
	result = SPI_datumTransfer(jny_call_answers(&call, extend(&call, fcinfo)), false, -1);
	jny_call_close(&call);
	return result;
}

/* ---- people ------------------------------------------------------------------- */

/* No token proves who it is: an administrator, or a sender of that channel. */
static void
require_say(List *works)
{
	const JnyWork *w = linitial(works);
	Oid			admin = get_role_oid("journey_admin", true);

	if (!OidIsValid(admin) || !has_privs_of_role(GetSessionUserId(), admin))
		jny_require_own_channel(jny_house_channel(jny_house_read(jny_work_channels(works)), w->channel),
								"resolve an action of");
}

static void
resolve(JnyWork *w, const char *outcome, const char *ref, const JnyNode *node)
{
	if (ref != NULL)
		jny_run(&note_sent, (Datum[]) {w->values[W_ACTION], CStringGetTextDatum(ref)}, NULL);
	if (strcmp(outcome, "sent") == 0)
	{
		w->reason = NULL;
		jny_settle_final(list_make1(w), "sent", node->now, false);
		jny_outcome_append(list_make1(w), "action_sent");
	}
	else if (strcmp(outcome, "failed") == 0)
	{
		jny_note_attempts(list_make1(w), "failed", false, NULL);
		w->reason = "unknown";
		jny_settle_final(list_make1(w), "dead", node->now, true);
		jny_outcome_append(list_make1(w), "action_dead");
	}
	else
	{
		w->retry_at = node->now;
		jny_plan_retries(list_make1(w), "unknown");
	}
}

Datum
journey_resolve(PG_FUNCTION_ARGS)
{
	const char *outcome = PG_ARGISNULL(1) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(1));
	List	   *works;
	JnyCall		call = {0};

	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	if (strcmp(outcome, "sent") != 0 && strcmp(outcome, "failed") != 0 && strcmp(outcome, "retry") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not an outcome", outcome),
				 errhint("Say sent, failed, or retry.")));
	jny_call_open(&call, "resolve");
	jny_run(&lock_unknown, (Datum[]) {PG_GETARG_DATUM(0)}, NULL);
	works = jny_work_read();
	if (works != NIL)
	{
		require_say(works);
		resolve(linitial(works), outcome, PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)), &call.node);
	}
	jny_call_close(&call);
	PG_RETURN_BOOL(works != NIL);
}

/* Dead letters back into the queue, under their old keys; their enrollments have moved on. */
Datum
journey_requeue(PG_FUNCTION_ARGS)
{
	JnyCall		call = {0};
	int64		n;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("requeue() was given null"),
				 errhint("Name actions of journey.dead_letter.")));
	jny_call_open(&call, "requeue");
	jny_run(&hold_people, (Datum[]) {PG_GETARG_DATUM(0)}, NULL);
	n = (int64) jny_run(&bring_back, (Datum[]) {PG_GETARG_DATUM(0), TimestampTzGetDatum(call.node.now)}, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
		jny_announce_channel(jny_get_text(row, 1));
	jny_call_close(&call);
	PG_RETURN_INT64(n);
}
