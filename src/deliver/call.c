/*
 * call.c
 *		What the functions after a permit have in common: their arguments,
 *		the rows that a token proves, and writing an attempt's end.
 *
 * A token proves the lease: the word of a stale one finds no row. Rows are
 * locked in the order of action ids, by index. Inside SPI_connect() between
 * jny_call_open() and jny_call_close(), which forces the commit to disk: a
 * sender will not say it twice.
 */
#include "deliver/outcome.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

/* ---- arguments -------------------------------------------------------------- */

void
jny_call_open(JnyCall *call, const char *what)
{
	jny_require_sender_session(what);
	SPI_connect();
	jny_node_read(&call->node);
	call->gucs = jny_pin_plans();
}

void
jny_call_close(JnyCall *call)
{
	jny_unpin(call->gucs);
	ForceSyncCommit();
	SPI_finish();
}

void
jny_call_one(FunctionCallInfo fcinfo, JnyCall *call)
{
	call->proof.n = 1;
	call->proof.ids = palloc(sizeof(Datum));
	call->proof.tokens = palloc(sizeof(Datum));
	call->proof.nulls = palloc(sizeof(bool));
	call->proof.ids[0] = PG_GETARG_DATUM(0);
	call->proof.tokens[0] = PG_GETARG_DATUM(1);
	call->proof.nulls[0] = PG_ARGISNULL(0) || PG_ARGISNULL(1);
	call->id_array = PointerGetDatum(construct_array(call->proof.ids, call->proof.nulls[0] ? 0 : 1, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	call->token_array = PointerGetDatum(construct_array(call->proof.tokens, call->proof.nulls[0] ? 0 : 1, INT8OID, sizeof(int64),
														FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

void
jny_call_arrays(FunctionCallInfo fcinfo, JnyCall *call)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("actions and tokens must not be null"),
				 errhint("Give the action ids and the tokens that claim() gave.")));
	call->id_array = PG_GETARG_DATUM(0);
	call->token_array = PG_GETARG_DATUM(1);
	jny_proof_read(&call->proof, PG_GETARG_ARRAYTYPE_P(0), PG_GETARG_ARRAYTYPE_P(1));
}

JnySaid
jny_call_said(FunctionCallInfo fcinfo, int arg, const JnyCall *call)
{
	JnySaid		said = {0};
	ArrayType  *a;
	int			n;

	if (PG_ARGISNULL(arg))
		return said;
	a = PG_GETARG_ARRAYTYPE_P(arg);
	deconstruct_array(a, ARR_ELEMTYPE(a), -1, false, TYPALIGN_INT, &said.values, &said.nulls, &n);
	if (n != call->proof.n)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("argument %d must have one element per action", arg + 1),
				 errhint("Give one element per action, in the same order, or null for none.")));
	return said;
}

/* ---- an action that is named twice --------------------------------------------- */

static bool
is_place(const JnyProof *proof, int i, const pg_uuid_t *id, int64 token)
{
	return !proof->nulls[i] && DatumGetInt64(proof->tokens[i]) == token &&
		memcmp(DatumGetUUIDP(proof->ids[i]), id, sizeof(pg_uuid_t)) == 0;
}

static int
by_id(const void *a, const void *b)
{
	return memcmp(DatumGetUUIDP(*(const Datum *) a), DatumGetUUIDP(*(const Datum *) b), sizeof(pg_uuid_t));
}

static bool
names_one_twice(const JnyProof *proof)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(1, proof->n));
	int			n = 0;

	for (int i = 0; i < proof->n; i++)
		if (!proof->nulls[i])
			ids[n++] = proof->ids[i];
	qsort(ids, n, sizeof(Datum), by_id);
	for (int i = 1; i < n; i++)
		if (by_id(&ids[i - 1], &ids[i]) == 0)
			return true;
	return false;
}

/* ---- taking the rows that a token proves --------------------------------------- */

JNY_PLAN(lock_rows, "uuid[], bigint[], text[]",
		 "SELECT " JNY_WORK_COLUMNS ", status FROM journey.outbox o WHERE o.action_id = ANY ($1) AND o.token = ANY ($2)"
		 " AND o.status = ANY ($3) ORDER BY o.action_id FOR UPDATE");

static int
place_of(const JnyCall *call, const JnyWork *w)
{
	for (int i = 0; i < call->proof.n; i++)
		if (is_place(&call->proof, i, &w->action_id, w->token))
			return i;
	return -1;
}

List *
jny_call_lock(JnyCall *call, const char *const *statuses, int n)
{
	JnyCols    *cols = jny_cols("text");
	List	   *all;
	List	   *mine = NIL;
	ListCell   *lc;

	for (int i = 0; i < n; i++)
	{
		jny_cols_text(cols, 0, statuses[i]);
		jny_cols_next(cols);
	}
	jny_run(&lock_rows, (Datum[]) {call->id_array, call->token_array, jny_cols_datums(cols, 0)[0]}, NULL);
	all = jny_work_read();
	foreach(lc, all)
	{
		JnyWork    *w = lfirst(lc);

		w->input = place_of(call, w);
		if (w->input >= 0)
			mine = lappend(mine, w);
	}
	return mine;
}

/* One boolean per place: whether what it says was done. */
Datum
jny_call_answers(const JnyCall *call, List *done)
{
	const JnyProof *proof = &call->proof;
	Datum	   *values = palloc(sizeof(Datum) * Max(1, proof->n));
	bool		twice = names_one_twice(proof);
	ListCell   *lc;

	for (int i = 0; i < call->proof.n; i++)
		values[i] = BoolGetDatum(false);
	foreach(lc, done)
	{
		int			place = ((JnyWork *) lfirst(lc))->input;

		values[place] = BoolGetDatum(true);
		for (int i = 0; twice && i < proof->n; i++)
			if (is_place(proof, i, DatumGetUUIDP(proof->ids[place]), DatumGetInt64(proof->tokens[place])))
				values[i] = BoolGetDatum(true);
	}
	return PointerGetDatum(construct_array(values, proof->n, BOOLOID, 1, true, TYPALIGN_CHAR));
}

/* ---- writing an attempt's end ------------------------------------------------ */

JNY_PLAN(note_error, "uuid[], text, integer[]",
		 "UPDATE journey.outbox o SET error = $2, failures = $3[pg_catalog.array_position($1, o.action_id)]"
		 " WHERE o.action_id = ANY ($1)");
JNY_PLAN(plan_retry, "uuid[], text, timestamptz[]",
		 "UPDATE journey.outbox o SET status = 'pending', reason = $2, reap_at = o.not_after,"
		 "  claim_at = $3[pg_catalog.array_position($1, o.action_id)], token = NULL, lease_until = NULL, claimed_at = NULL,"
		 "  granted_at = NULL, permit_batch = NULL"
		 " WHERE o.action_id = ANY ($1)");
JNY_PLAN(note_attempt, "smallint[], uuid[], uuid[], integer[], text, boolean, text",
		 "UPDATE journey.attempt_log a SET outcome = $5, counted = $6,"
		 "  address_fault = CASE WHEN a.address_hash IS NOT NULL THEN $7 END"
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),"
		 " pg_catalog.unnest($4)) AS u(bucket, profile_id, action_id, attempt)"
		 " WHERE a.bucket = u.bucket AND a.profile_id = u.profile_id AND a.action_id = u.action_id"
		 "  AND a.attempt = u.attempt");

void
jny_note_attempts(List *works, const char *outcome, bool counted, const char *fault)
{
	JnyCols    *cols = jny_cols("smallint, uuid, uuid, integer");
	bool		nulls[7] = {[6] = fault == NULL};
	Datum	   *values;
	ListCell   *lc;

	if (works == NIL)
		return;
	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);

		jny_cols_set(cols, 0, w->values[W_BUCKET]);
		jny_cols_set(cols, 1, w->values[W_PROFILE]);
		jny_cols_set(cols, 2, w->values[W_ACTION]);
		jny_cols_set(cols, 3, Int32GetDatum(w->attempt));
		jny_cols_next(cols);
	}
	values = jny_cols_datums(cols, 3);
	values[4] = CStringGetTextDatum(outcome);
	values[5] = BoolGetDatum(counted);
	values[6] = fault != NULL ? CStringGetTextDatum(fault) : (Datum) 0;
	jny_run(&note_attempt, values, nulls);
}

void
jny_note_errors(List *works, const char *error)
{
	JnyCols    *cols = jny_cols("integer");
	Datum		values[3];
	bool		nulls[3] = {false, error == NULL, false};
	ListCell   *lc;

	foreach(lc, works)
	{
		jny_cols_set(cols, 0, Int32GetDatum(((JnyWork *) lfirst(lc))->failures));
		jny_cols_next(cols);
	}
	values[0] = jny_work_ids(works);
	values[1] = error ? CStringGetTextDatum(error) : (Datum) 0;
	values[2] = jny_cols_datums(cols, 0)[0];
	jny_run(&note_error, values, nulls);
}

void
jny_plan_retries(List *works, const char *reason)
{
	JnyCols    *cols = jny_cols("timestamptz");
	ListCell   *lc;

	if (works == NIL)
		return;
	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);

		jny_cols_set(cols, 0, TimestampTzGetDatum(w->retry_at));
		jny_cols_next(cols);
		jny_announce_channel(w->channel);
	}
	jny_run(&plan_retry, (Datum[]) {jny_work_ids(works), CStringGetTextDatum(reason), jny_cols_datums(cols, 0)[0]}, NULL);
}

