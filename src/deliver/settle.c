/*
 * settle.c
 *		What becomes of a row that does not go out, or has gone.
 *
 * Final rows move to outbox_history in one statement, tell why in a decision
 * row and hand their outcome to the enrollment through the inbox: a sender's
 * transaction never touches an enrollment. The others are planned again.
 * Called inside SPI_connect() with the rows locked; takes no further lock.
 */
#include "deliver/work.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#define HISTORY_COLUMNS \
	"bucket, profile_id, finished_at, action_id, channel, status, reason, in_flight, priority, due_at, not_after," \
	" enrollment_id, journey, version, step, visit, purpose, scope, template, template_version, locale, payload," \
	" attempt, sender, granted_at, permit_batch, sent_at, provider_ref, cost, error, idempotency_key, decision_id," \
	" decided_at, decided_lap, gates, test"

JNY_PLAN(move_final, "smallint[], uuid[], uuid[], text[], integer[], text, timestamptz, boolean",
		 "WITH d AS (DELETE FROM journey.outbox o"
		 "  USING ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),"
		 " pg_catalog.unnest($4), pg_catalog.unnest($5)) AS u(bucket, profile_id, action_id, reason, attempt)"
		 "  WHERE o.bucket = u.bucket AND o.profile_id = u.profile_id AND o.action_id = u.action_id"
		 "  RETURNING o.*, u.reason AS why, u.attempt AS permits)"
		 " INSERT INTO journey.outbox_history (" HISTORY_COLUMNS ")"
		 " SELECT d.bucket, d.profile_id, $7, d.action_id, d.channel, $6, d.why, $8, d.priority, d.due_at, d.not_after,"
		 "  d.enrollment_id, d.journey, d.version, d.step, d.visit, d.purpose, d.scope, d.template, d.template_version,"
		 "  d.locale, d.payload, d.permits, d.sender, l.granted_at, l.permit_batch,"
		 "  CASE WHEN $6 = 'sent' THEN $7 END, d.provider_ref, d.cost, d.error, d.idempotency_key,"
		 "  d.decision_id, d.decided_at, d.decided_lap,"
		 "  CASE WHEN $6 = 'dead' THEN pg_catalog.jsonb_build_object('suppress_on', d.suppress_on, 'own_ref', d.own_ref,"
		 "   'entry_hash', d.entry_hash, 'stock_sku', d.stock_sku, 'caps', d.caps, 'quiet', d.quiet, 'late', d.late,"
		 "   'placement', d.placement, 'offer', d.offer, 'exclusion', d.exclusion, 'max_attempts', d.max_attempts,"
		 "   'decided_seq', d.decided_seq) END, d.test FROM d" JNY_LAST_PERMIT("permits"));
JNY_PLAN(plan_again, "smallint[], uuid[], uuid[], text[], integer[], timestamptz[]",
		 "UPDATE journey.outbox o SET status = 'pending', reason = u.reason, claim_at = u.retry_at,"
		 "  reap_at = o.not_after, attempt = u.attempt, token = NULL, lease_until = NULL, claimed_at = NULL,"
		 "  granted_at = NULL, permit_batch = NULL"
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),"
		 " pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6))"
		 "  AS u(bucket, profile_id, action_id, reason, attempt, retry_at)"
		 " WHERE o.bucket = u.bucket AND o.profile_id = u.profile_id AND o.action_id = u.action_id");
/* The same answer to the same action is counted, not repeated. */
JNY_PLAN(log_decisions, "smallint[], uuid[], uuid[], uuid[], text[], integer[], text[], text[], text[], jsonb[], uuid[], boolean[], text, timestamptz, bigint",
		 "WITH u AS (SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),"
		 " pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7),"
		 " pg_catalog.unnest($8), pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11),"
		 " pg_catalog.unnest($12))"
		 "   AS u(bucket, profile_id, decision_id, enrollment_id, journey, version, step, verdict, reason, inputs, action_id, test)),"
		 " again AS (UPDATE journey.decision d SET repeats = d.repeats + 1 FROM u"
		 "   WHERE d.bucket = u.bucket AND d.profile_id = u.profile_id AND d.action_id = u.action_id"
		 "    AND d.kind = $13 AND d.reason = u.reason AND d.verdict = u.verdict RETURNING d.action_id)"
		 " INSERT INTO journey.decision (bucket, profile_id, decided_at, decision_id, enrollment_id, journey, version,"
		 "   step, kind, verdict, reason, inputs, action_id, lap, test)"
		 " SELECT u.bucket, u.profile_id, $14, u.decision_id, u.enrollment_id, u.journey, u.version, u.step, $13,"
		 "   u.verdict, u.reason, u.inputs, u.action_id, $15, u.test FROM u"
		 " WHERE NOT EXISTS (SELECT FROM again WHERE again.action_id = u.action_id)");

static void
set_key(JnyCols *cols, const JnyWork *w)
{
	jny_cols_set(cols, 0, w->values[W_BUCKET]);
	jny_cols_set(cols, 1, w->values[W_PROFILE]);
	jny_cols_set(cols, 2, w->values[W_ACTION]);
}

void
jny_settle_final(List *works, const char *status, TimestampTz now, bool in_flight)
{
	JnyCols    *cols = jny_cols("smallint, uuid, uuid, text, integer");
	Datum	   *values;
	ListCell   *lc;

	if (works == NIL)
		return;
	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);

		set_key(cols, w);
		jny_cols_text(cols, 3, w->reason ? w->reason : "");
		jny_cols_set(cols, 4, Int32GetDatum(w->attempt));
		jny_cols_next(cols);
	}
	values = jny_cols_datums(cols, 3);
	values[5] = CStringGetTextDatum(status);
	values[6] = TimestampTzGetDatum(now);
	values[7] = BoolGetDatum(in_flight);
	jny_run(&move_final, values, NULL);
	jny_publish_final(works, now);
}

void
jny_outcome_append(List *works, const char *type)
{
	JnyInboxRow *rows = palloc0(sizeof(JnyInboxRow) * Max(1, list_length(works)));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);
		JnyInboxRow *row = &rows[n];
		Datum		cols[7];

		if (!w->has_enrollment)
			continue;
		cols[0] = CStringGetTextDatum(jny_uuid_str(&w->profile_id));
		cols[1] = CStringGetTextDatum(jny_uuid_str(&w->action_id));
		cols[2] = CStringGetTextDatum(jny_uuid_str(&w->enrollment_id));
		cols[3] = CStringGetTextDatum(w->step);
		cols[4] = CStringGetTextDatum(psprintf("%d", w->visit));
		cols[5] = CStringGetTextDatum(w->reason ? w->reason : "");
		cols[6] = CStringGetTextDatum(w->journey);
		row->op = JNY_OP_ACTION;
		row->source = "journey";
		row->scope = w->scope;
		row->type = type;
		row->cols = PointerGetDatum(construct_array(cols, 7, TEXTOID, -1, false, TYPALIGN_INT));
		n++;
	}
	if (n > 0)
		jny_inbox_append(rows, n);
}

/* What stopped it, for the decision row. */
static Datum
why(const JnyGate *gate, const JnyWork *w)
{
	JsonbParseState *state = NULL;
	JsonbValue	v;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (w->stop_type != NULL && w->final)
	{
		jny_put_text(&state, "event", w->stop_type);
		if (w->stop_ref != NULL && w->stop_ref[0] != '\0')
			jny_put_text(&state, "ref", w->stop_ref);
		v.type = jbvNumeric;
		v.val.numeric = int64_to_numeric(w->stop_seq);
		jny_put(&state, "seq", &v);
		v.type = jbvBool;
		v.val.boolean = true;
		if (gate->held)
			jny_put(&state, "in_flight_at_order", &v);
	}
	if (strcmp(w->reason, "opted_out") == 0 && w->stop_type == NULL && w->marketing)
		jny_put_text(&state, "consent", w->consent ? w->consent : "none");
	if (strcmp(w->reason, "bad_address") == 0)
		jny_put_text(&state, "address", w->address_state ? w->address_state : "none");
	if (!w->final)
		jny_put_text(&state, "retry_at", timestamptz_to_str(w->retry_at));
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static void
log_verdicts(JnyGate *gate, List *works)
{
	JnyCols    *cols = jny_cols("smallint, uuid, uuid, uuid, text, integer, text, text, text, jsonb, uuid, boolean");
	Datum	   *values;
	ListCell   *lc;

	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);
		pg_uuid_t	id;

		jny_uuid_v7(&id);
		jny_cols_set(cols, 0, w->values[W_BUCKET]);
		jny_cols_set(cols, 1, w->values[W_PROFILE]);
		jny_cols_set(cols, 2, jny_uuid_datum(&id));
		if (w->has_enrollment)
			jny_cols_set(cols, 3, w->values[W_ENROLLMENT]);
		jny_cols_set(cols, 4, w->values[W_JOURNEY]);
		jny_cols_set(cols, 5, w->values[W_VERSION]);
		jny_cols_set(cols, 6, w->values[W_STEP]);
		jny_cols_text(cols, 7, w->final ? "refused" : "held");
		jny_cols_text(cols, 8, w->reason);
		jny_cols_set(cols, 9, why(gate, w));
		jny_cols_set(cols, 10, w->values[W_ACTION]);
		jny_cols_set(cols, 11, w->values[W_TEST]);
		jny_cols_next(cols);
	}
	values = jny_cols_datums(cols, 3);
	values[12] = CStringGetTextDatum(gate->permit ? "permit" : "claim");
	values[13] = TimestampTzGetDatum(gate->node.now);
	values[14] = Int64GetDatum(gate->fences ? gate->fences->lap : 0);
	jny_run(&log_decisions, values, NULL);
}

static void
replan(List *works)
{
	JnyCols    *cols = jny_cols("smallint, uuid, uuid, text, integer, timestamptz");
	ListCell   *lc;

	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);

		set_key(cols, w);
		jny_cols_text(cols, 3, w->reason);
		jny_cols_set(cols, 4, Int32GetDatum(w->attempt));
		jny_cols_set(cols, 5, TimestampTzGetDatum(w->retry_at));
		jny_cols_next(cols);
	}
	jny_run(&plan_again, jny_cols_datums(cols, 0), NULL);
}

void
jny_settle(JnyGate *gate, List *works)
{
	List	   *refused = NIL;
	List	   *expired = NIL;
	List	   *later = NIL;
	List	   *logged = NIL;
	ListCell   *lc;

	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);

		if (w->reason == NULL)
			continue;
		logged = lappend(logged, w);
		if (!w->final)
			later = lappend(later, w);
		else if (w->expired)
			expired = lappend(expired, w);
		else
			refused = lappend(refused, w);
	}
	if (logged == NIL)
		return;
	log_verdicts(gate, logged);
	jny_settle_final(refused, "refused", gate->node.now, gate->held);
	jny_settle_final(expired, "expired", gate->node.now, gate->held);
	jny_outcome_append(refused, "action_refused");
	jny_outcome_append(expired, "action_expired");
	if (later != NIL)
		replan(later);
}
