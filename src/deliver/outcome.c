/*
 * outcome.c
 *		What a sender says after a permit: ack and fail.
 *
 * Final rows move to history and their outcome goes to the enrollment through
 * the inbox. A late word about a lease that was lost, with its token, is
 * still the truth about an unknown outcome and is taken. Called as SQL
 * functions, SECURITY DEFINER as journey_owner; a stale token is answered
 * with false and changes nothing. The lap draws from them what they mean for
 * addresses.
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

/* What goes over to history as it is, in both tables. */
#define KEPT_COLUMNS \
	"profile_id, action_id, enrollment_id, step, visit, scope, bucket, channel, priority, due_at, not_after, journey," \
	" version, purpose, template, template_version, locale, payload, attempt, sender, granted_at, permit_batch," \
	" idempotency_key, decision_id, decided_at, decided_lap, test"

enum
{
	K_PROFILE, K_ACTION, K_ENROLLMENT, K_STEP, K_VISIT, K_SCOPE, K_JOURNEY = 11,
	/* behind them, in the outbox */
	K_TOKEN = 27, K_STATUS,
	/* and in the history */
	K_FINISHED_AT = 27, K_SENT_AT, K_NEW_STATUS, K_REASON, K_IN_FLIGHT, K_PROVIDER_REF, K_COST
};

JNY_CHANGE(take_sent, "outbox", "outbox_action", "action_id", KEPT_COLUMNS ", token, status", NULL);
JNY_INSERT(keep_sent, "outbox_history",
		   KEPT_COLUMNS ", finished_at, sent_at, status, reason, in_flight, provider_ref, cost");

static JnyChoice
choose_sent(JnyRow *row, void *arg)
{
	const JnyCall *call = arg;

	if (row->nulls[K_TOKEN] || !jny_proves(&call->proof, row, DatumGetInt64(row->values[K_TOKEN])) ||
		(!jny_text_is(row, K_STATUS, "sending") && !jny_text_is(row, K_STATUS, "unknown")))
		return JNY_LEAVE;
	return JNY_CHOOSE;
}

static void
set_said(JnyCols *cols, int col, const JnySaid *said, int place)
{
	if (said->values != NULL && !said->nulls[place])
		jny_cols_set(cols, col, said->values[place]);
}

static void
write_sent(const JnyCall *call, const JnyRows *rows, const JnySaid *refs, const JnySaid *costs)
{
	JnyCols    *cols = jny_cols_of(&keep_sent);
	Datum		now = TimestampTzGetDatum(call->node.now);

	for (int i = 0; i < rows->n; i++)
	{
		const JnyRow *row = &rows->row[i];
		int			place = jny_proof_place(&call->proof, row);

		for (int k = 0; k < K_FINISHED_AT; k++)
			if (!row->nulls[k])
				jny_cols_set(cols, k, row->values[k]);
		jny_cols_set(cols, K_FINISHED_AT, now);
		jny_cols_set(cols, K_SENT_AT, now);
		jny_cols_text(cols, K_NEW_STATUS, "sent");
		jny_cols_text(cols, K_REASON, "");
		jny_cols_set(cols, K_IN_FLIGHT, BoolGetDatum(false));
		set_said(cols, K_PROVIDER_REF, refs, place);
		set_said(cols, K_COST, costs, place);
		jny_cols_next(cols);
	}
	jny_write(&keep_sent, cols);
}

/* As far as their enrollments need them. */
static List *
works_sent(const JnyCall *call, const JnyRows *rows)
{
	List	   *works = NIL;

	for (int i = 0; i < rows->n; i++)
	{
		const JnyRow *row = &rows->row[i];
		JnyWork    *w = palloc0(sizeof(JnyWork));

		w->input = jny_proof_place(&call->proof, row);
		w->profile_id = *jny_row_uuid(row, K_PROFILE);
		w->action_id = *jny_row_uuid(row, K_ACTION);
		w->has_enrollment = !row->nulls[K_ENROLLMENT];
		if (w->has_enrollment)
			w->enrollment_id = *jny_row_uuid(row, K_ENROLLMENT);
		w->step = jny_row_text(row, K_STEP);
		w->visit = (int) jny_row_int(rows, i, K_VISIT, 0);
		w->scope = jny_row_text(row, K_SCOPE);
		w->journey = jny_row_text(row, K_JOURNEY);
		works = lappend(works, w);
	}
	return works;
}

static List *
ack(JnyCall *call, const JnySaid *refs, const JnySaid *costs)
{
	JnyRows    *rows = jny_change(&take_sent, jny_proof_keys(&call->proof, &take_sent), false, PG_INT32_MAX,
								  choose_sent, call);
	List	   *sent = works_sent(call, rows);

	write_sent(call, rows, refs, costs);
	jny_publish_final(sent, call->node.now);
	jny_outcome_append(sent, "action_sent");
	return sent;
}

Datum
journey_ack(PG_FUNCTION_ARGS)
{
	JnyCall		call = {0};
	Datum		ref = PG_GETARG_DATUM(2);
	Datum		cost = PG_GETARG_DATUM(3);
	bool		no_ref = PG_ARGISNULL(2);
	bool		no_cost = PG_ARGISNULL(3);
	bool		done;

	jny_call_open(&call, "ack");
	jny_call_one(fcinfo, &call);
	done = ack(&call, &(JnySaid) {&ref, &no_ref}, &(JnySaid) {&cost, &no_cost}) != NIL;
	jny_call_close(&call);
	PG_RETURN_BOOL(done);
}

Datum
journey_ack_array(PG_FUNCTION_ARGS)
{
	JnyCall		call = {0};
	JnySaid		refs;
	JnySaid		costs;
	Datum		result;

	jny_call_arrays(fcinfo, &call);
	refs = jny_call_said(fcinfo, 2, &call);
	costs = jny_call_said(fcinfo, 3, &call);
	jny_call_open(&call, "ack");
	result = jny_call_answers(&call, ack(&call, &refs, &costs));
	result = SPI_datumTransfer(result, false, -1);
	jny_call_close(&call);
	return result;
}

/* ---- fail --------------------------------------------------------------------------- */

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

/* What the provider asked for goes before the channel's own backoff. */
static TimestampTz
retry_time(const JnyChannelRules *channel, const Failure *f, int failures, TimestampTz now)
{
	if (f->retry_after == NULL)
		return jny_backoff(channel, failures, now);
	return jny_within_a_year(now, f->retry_after);
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
		/* not knowing was counted as a failure already */
		if (strcmp(TextDatumGetCString(w->values[W_STATUS]), "unknown") == 0)
			w->failures--;
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
	jny_note_attempts(works, "failed", false, f->address ? f->code : NULL);
	if (f->address)
		foreach(lc, works)
			((JnyWork *) lfirst(lc))->reason = "bad_address";
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

/* ---- an address at fault -------------------------------------------------------------- */

JNY_LOOKUP(any_fault, "attempt_log", "attempt_log_fault", "", "attempt", "t.address_fault IS NOT NULL");
/* under the channel's own name, so that other channels that borrow the address keep it */
JNY_PLAN(spoil_addresses, "timestamptz",
		 "WITH failed AS (UPDATE journey.attempt_log a SET address_fault = NULL"
		 "  FROM (SELECT l.bucket, l.profile_id, l.granted_at, l.action_id, l.attempt, l.address_fault AS code"
		 "    FROM journey.attempt_log l WHERE l.address_fault IS NOT NULL FOR UPDATE SKIP LOCKED) AS f"
		 "  WHERE a.bucket = f.bucket AND a.profile_id = f.profile_id AND a.granted_at = f.granted_at"
		 "   AND a.action_id = f.action_id AND a.attempt = f.attempt"
		 "  RETURNING a.bucket, a.profile_id, a.scope, a.channel, a.address_hash, f.code)"
		 " INSERT INTO journey.contact_point AS p (bucket, profile_id, scope, channel, address, address_hash, state, since,"
		 "  changed_at, reason)"
		 " SELECT DISTINCT ON (f.bucket, f.profile_id, f.scope, f.channel, f.address_hash)"
		 "  f.bucket, f.profile_id, f.scope, f.channel, c.address, f.address_hash, 'hard', $1, $1, f.code"
		 " FROM failed f JOIN journey.contact_point c ON c.bucket = f.bucket AND c.profile_id = f.profile_id"
		 "  AND c.address_hash = f.address_hash"
		 " ORDER BY f.bucket, f.profile_id, f.scope, f.channel, f.address_hash, f.code"
		 " ON CONFLICT (bucket, profile_id, scope, channel, address_hash) DO UPDATE"
		 " SET state = 'hard', reason = excluded.reason, changed_at = excluded.changed_at WHERE p.state <> 'complained'");

/*
 * fail() marks its attempt, a row of its own, and leaves the address to the
 * lap: what both wrote, an open transaction of the sender would keep from the
 * lap. Until then permits read the marks (people.c).
 */
void
jny_deliver_faults(const JnyNode *node)
{
	JnyCols    *all = jny_cols_of(&any_fault);
	Datum		now = TimestampTzGetDatum(node->now);

	jny_cols_next(all);
	if (jny_lookup_at(&any_fault, all, NULL, 1)->n > 0)
		jny_run(&spoil_addresses, &now, NULL);
}
