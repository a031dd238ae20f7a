/*
 * outcome.c
 *		What a sender says after a permit: ack and fail.
 *
 * Final rows move to history and their outcome goes to the enrollment through
 * the inbox. A late word about a lease that was lost, with its token, is
 * still the truth about an unknown outcome and is taken. Called as SQL
 * functions, SECURITY DEFINER as journey_owner; a stale token is answered
 * with false and changes nothing.
 */
#include "deliver/outcome.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(journey_ack);
PG_FUNCTION_INFO_V1(journey_ack_array);
PG_FUNCTION_INFO_V1(journey_fail);
PG_FUNCTION_INFO_V1(journey_fail_array);

static char *
text_arg(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

/* ---- ack -------------------------------------------------------------------------- */

JNY_PLAN(move_sent, "uuid[], bigint[], text[], numeric[], timestamptz",
		 "WITH d AS (DELETE FROM journey.outbox o WHERE " JNY_PROVEN
		 "   AND o.status IN ('sending', 'unknown') RETURNING o.*)"
		 " INSERT INTO journey.outbox_history AS h (bucket, profile_id, finished_at, action_id, channel, status, reason,"
		 "   in_flight, priority, due_at, not_after, enrollment_id, journey, version, step, visit, purpose, scope,"
		 "   template, template_version, locale, payload, attempt, sender, granted_at, permit_batch, sent_at,"
		 "   provider_ref, cost, error, idempotency_key, decision_id, decided_at, decided_lap, test)"
		 " SELECT d.bucket, d.profile_id, $5, d.action_id, d.channel, 'sent', '', false, d.priority, d.due_at, d.not_after,"
		 "   d.enrollment_id, d.journey, d.version, d.step, d.visit, d.purpose, d.scope, d.template, d.template_version,"
		 "   d.locale, d.payload, d.attempt, d.sender, d.granted_at, d.permit_batch, $5,"
		 "   CASE WHEN $3 IS NULL THEN NULL ELSE $3[pg_catalog.array_position($1, d.action_id)] END,"
		 "   CASE WHEN $4 IS NULL THEN NULL ELSE $4[pg_catalog.array_position($1, d.action_id)] END,"
		 "   NULL, d.idempotency_key, d.decision_id, d.decided_at, d.decided_lap, d.test FROM d"
		 " RETURNING h.profile_id, h.action_id, h.enrollment_id, h.step, h.visit, h.scope");

/* The rows that were sent, as far as their enrollments need them. */
static List *
read_sent(const JnyCall *call)
{
	List	   *works = NIL;

	for (uint64 row = 0; row < SPI_processed; row++)
	{
		JnyWork    *w = palloc0(sizeof(JnyWork));
		pg_uuid_t  *enrollment = jny_get_uuid(row, 3);

		w->profile_id = *jny_get_uuid(row, 1);
		w->action_id = *jny_get_uuid(row, 2);
		w->has_enrollment = enrollment != NULL;
		if (enrollment != NULL)
		{
			w->enrollment_id = *enrollment;
			w->step = jny_get_text(row, 4);
			w->visit = (int) jny_get_int8(row, 5, 0);
			w->scope = jny_get_text(row, 6);
		}
		for (w->input = 0; w->input < call->n; w->input++)
			if (!call->nulls[w->input] && !(call->idle != NULL && call->idle[w->input]) &&
				memcmp(DatumGetUUIDP(call->ids[w->input]), &w->action_id, sizeof(pg_uuid_t)) == 0)
				break;
		works = lappend(works, w);
	}
	return works;
}

static List *
ack(JnyCall *call, Datum refs, bool norefs, Datum costs, bool nocosts)
{
	Datum		values[5];
	bool		nulls[] = {false, false, norefs, nocosts, false};
	List	   *sent;

	jny_call_once(call);
	values[0] = call->id_array;
	values[1] = call->token_array;
	values[2] = refs;
	values[3] = costs;
	values[4] = TimestampTzGetDatum(call->node.now);
	jny_run(&move_sent, values, nulls);
	sent = read_sent(call);
	jny_outcome_append(sent, "action_sent");
	return sent;
}

Datum
journey_ack(PG_FUNCTION_ARGS)
{
	JnyCall		call = {0};
	Datum		ref = PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2);
	Datum		cost = PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3);
	bool		done;

	jny_call_open(&call, "ack");
	jny_call_one(fcinfo, &call);
	if (!PG_ARGISNULL(2))
		ref = PointerGetDatum(construct_array(&ref, 1, TEXTOID, -1, false, TYPALIGN_INT));
	if (!PG_ARGISNULL(3))
		cost = PointerGetDatum(construct_array(&cost, 1, NUMERICOID, -1, false, TYPALIGN_INT));
	done = ack(&call, ref, PG_ARGISNULL(2), cost, PG_ARGISNULL(3)) != NIL;
	jny_call_close(&call);
	PG_RETURN_BOOL(done);
}

Datum
journey_ack_array(PG_FUNCTION_ARGS)
{
	JnyCall		call = {0};
	Datum		refs;
	Datum		costs;
	bool		norefs;
	bool		nocosts;
	Datum		result;

	jny_call_arrays(fcinfo, &call);
	refs = jny_call_companion(fcinfo, 2, &call, &norefs);
	costs = jny_call_companion(fcinfo, 3, &call, &nocosts);
	jny_call_open(&call, "ack");
	result = jny_call_answers(&call, ack(&call, refs, norefs, costs, nocosts));
	result = SPI_datumTransfer(result, false, -1);
	jny_call_close(&call);
	return result;
}

/* ---- fail --------------------------------------------------------------------------- */

/* under the channel's own name, so that other channels that borrow the address keep it */
JNY_PLAN(spoil_address, "smallint[], uuid[], text[], text[], bigint[], text, timestamptz",
		 "INSERT INTO journey.contact_point AS p (bucket, profile_id, scope, channel, address, address_hash, state, since,"
		 "  changed_at, reason)"
		 " SELECT DISTINCT ON (u.bucket, u.profile_id, u.scope, u.channel, u.address_hash)"
		 "  u.bucket, u.profile_id, u.scope, u.channel, c.address, u.address_hash, 'hard', $7, $7, $6"
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),"
		 " pg_catalog.unnest($4), pg_catalog.unnest($5)) AS u(bucket, profile_id, scope, channel, address_hash)"
		 " JOIN journey.contact_point c ON c.bucket = u.bucket AND c.profile_id = u.profile_id"
		 "  AND c.address_hash = u.address_hash"
		 " ON CONFLICT (bucket, profile_id, scope, channel, address_hash) DO UPDATE"
		 " SET state = 'hard', reason = excluded.reason, changed_at = excluded.changed_at");
JNY_PLAN(last_address, "smallint[], uuid[], uuid[], integer[]",
		 "SELECT u.i, a.address_hash FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),"
		 " pg_catalog.unnest($4))"
		 "  WITH ORDINALITY AS u(bucket, profile_id, action_id, attempt, i)"
		 " JOIN journey.attempt_log a ON a.bucket = u.bucket AND a.profile_id = u.profile_id"
		 "  AND a.action_id = u.action_id AND a.attempt = u.attempt");

typedef struct Failure
{
	const char *error;
	const char *code;
	bool		retryable;
	bool		free;			/* takes no attempt */
	bool		address;		/* the address is at fault */
	Interval   *retry_after;
} Failure;

static void
read_failure(FunctionCallInfo fcinfo, Failure *f)
{
	static const char *const codes[] = {
		"rate_limited", "provider_down", "bad_address", "blocked_address", "content_rejected", "other"
	};
	bool		known = false;

	f->error = text_arg(fcinfo, 2);
	f->code = text_arg(fcinfo, 4);
	f->retry_after = PG_ARGISNULL(5) ? NULL : PG_GETARG_INTERVAL_P(5);
	if (f->code == NULL)
		f->code = "other";
	for (size_t i = 0; i < lengthof(codes); i++)
		known |= strcmp(codes[i], f->code) == 0;
	if (!known)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a code of failure", f->code),
				 errhint("Codes are rate_limited, provider_down, bad_address, blocked_address, content_rejected and other.")));
	f->free = strcmp(f->code, "rate_limited") == 0 || strcmp(f->code, "provider_down") == 0;
	f->address = strcmp(f->code, "bad_address") == 0 || strcmp(f->code, "blocked_address") == 0;
	f->retryable = PG_ARGISNULL(3)
		? !f->address && strcmp(f->code, "content_rejected") != 0
		: PG_GETARG_BOOL(3) && !f->address;
}

static void
spoil_addresses(List *works, const Failure *f, TimestampTz now)
{
	JnyCols    *cols = jny_cols("smallint, uuid, uuid, integer");
	JnyCols    *bad = jny_cols("smallint, uuid, text, text, bigint");
	Datum	   *values;
	ListCell   *lc;

	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);

		jny_cols_set(cols, 0, w->values[W_BUCKET]);
		jny_cols_set(cols, 1, w->values[W_PROFILE]);
		jny_cols_set(cols, 2, w->values[W_ACTION]);
		jny_cols_set(cols, 3, Int32GetDatum(w->attempt));
		jny_cols_next(cols);
	}
	jny_run(&last_address, jny_cols_datums(cols, 0), NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		JnyWork    *w = list_nth(works, (int) jny_get_int8(row, 1, 1) - 1);

		jny_cols_set(bad, 0, w->values[W_BUCKET]);
		jny_cols_set(bad, 1, w->values[W_PROFILE]);
		jny_cols_set(bad, 2, w->values[W_SCOPE]);
		jny_cols_set(bad, 3, w->values[W_CHANNEL]);
		jny_cols_set(bad, 4, Int64GetDatum(jny_get_int8(row, 2, 0)));
		jny_cols_next(bad);
	}
	values = jny_cols_datums(bad, 2);
	values[5] = CStringGetTextDatum(f->code);
	values[6] = TimestampTzGetDatum(now);
	jny_run(&spoil_address, values, NULL);
}

/* What the provider asked for goes before the channel's own backoff. */
static TimestampTz
retry_time(const JnyChannelRules *channel, const Failure *f, int failures, TimestampTz now)
{
	if (f->retry_after == NULL)
		return jny_backoff(channel, failures, now);
	return jny_zone_plus(now, f->retry_after, "UTC");
}

/* refused, dead, expired or planned again, by the failure and by what is left of each */
static List *
fail(JnyCall *call, const Failure *f)
{
	static const char *const statuses[] = {"sending", "unknown"};
	List	   *works = jny_call_lock(call, statuses, 2);
	List	   *dead = NIL;
	List	   *expired = NIL;
	List	   *again = NIL;
	JnyHouse   *house;
	ListCell   *lc;

	if (works == NIL)
		return NIL;
	house = jny_house_read(jny_work_channels(works));
	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);

		w->reason = f->code;
		if (!f->free)
			w->failures++;
		if (!f->retryable || w->failures >= w->max_attempts)
		{
			dead = lappend(dead, w);
			continue;
		}
		w->retry_at = retry_time(jny_house_channel(house, w->channel), f, w->failures, call->node.now);
		if (w->retry_at >= w->not_after)
		{
			w->reason = "expired";
			expired = lappend(expired, w);
		}
		else
			again = lappend(again, w);
	}
	jny_note_errors(works, f->error);
	jny_note_attempts(works, "failed", false);
	if (f->address)
	{
		foreach(lc, works)
			((JnyWork *) lfirst(lc))->reason = "bad_address";
		spoil_addresses(works, f, call->node.now);
	}
	jny_settle_final(dead, f->address ? "refused" : "dead", call->node.now, true);
	jny_outcome_append(dead, f->address ? "action_refused" : "action_dead");
	jny_settle_final(expired, "expired", call->node.now, true);
	jny_outcome_append(expired, "action_expired");
	jny_plan_retries(again, f->code);
	return works;
}

Datum
journey_fail(PG_FUNCTION_ARGS)
{
	JnyCall		call = {0};
	Failure		f;
	bool		done;

	read_failure(fcinfo, &f);
	jny_call_open(&call, "fail");
	jny_call_one(fcinfo, &call);
	done = fail(&call, &f) != NIL;
	jny_call_close(&call);
	PG_RETURN_BOOL(done);
}

Datum
journey_fail_array(PG_FUNCTION_ARGS)
{
	JnyCall		call = {0};
	Failure		f;
	Datum		result;

	jny_call_arrays(fcinfo, &call);
	read_failure(fcinfo, &f);
	jny_call_open(&call, "fail");
	result = SPI_datumTransfer(jny_call_answers(&call, fail(&call, &f)), false, -1);
	jny_call_close(&call);
	return result;
}
