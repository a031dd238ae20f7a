/*
 * sender.c
 *		What a sender calls: claim, begin_send, claim_and_begin, next_due.
 *
 * Called as SQL functions, SECURITY DEFINER as journey_owner. claim commits
 * as the session does, or asynchronously when it is all that a SELECT of the
 * client's calls: it has no outward effect, its tokens are random and the
 * permit's flush covers it. begin_send forces its commit to disk, since a
 * permit counts once committed.
 */
#include "deliver/claim.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "optimizer/optimizer.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "core/shmem.h"

#define MAX_WAIT_MS 1000

PG_FUNCTION_INFO_V1(journey_claim);
PG_FUNCTION_INFO_V1(journey_claim_and_begin);
PG_FUNCTION_INFO_V1(journey_begin_send);
PG_FUNCTION_INFO_V1(journey_begin_send_array);
PG_FUNCTION_INFO_V1(journey_next_due);

/* ---- whose statement it is ------------------------------------------------------ */

/*
 * Whether this call belongs to the statement that the client sent. What SPI
 * runs (PL functions, DO, triggers, their cursors) is told by SPI itself, what
 * a function in SQL runs by its text, which is not the portal's.
 */
static bool
called_by_client(FunctionCallInfo fcinfo)
{
	EState	   *estate = ((ReturnSetInfo *) fcinfo->resultinfo)->econtext->ecxt_estate;

	return SPI_unregister_relation("") == SPI_ERROR_UNCONNECTED && ActivePortal != NULL &&
		estate != NULL && estate->es_sourceText == ActivePortal->sourceText;
}

/* Whether others share the transaction: a block, or in a pipeline what came before. */
static bool
in_longer_transaction(void)
{
	return IsTransactionBlock() || IsSubTransaction() || (MyXactFlags & XACT_FLAGS_PIPELINING) != 0;
}

/* ---- claim ------------------------------------------------------------------ */

/* action_id ... test, as DESIGN has them; returns how many columns it filled. */
static int
claim_columns(const JnyWork *w, Datum *values, bool *nulls)
{
	static const JnyWorkColumn columns[] = {
		W_ACTION, W_TOKEN, W_PROFILE, W_JOURNEY, W_STEP, W_PURPOSE, W_SCOPE, W_TEMPLATE, W_TEMPLATE_VERSION,
		W_LOCALE, W_PAYLOAD, W_PLACEMENT, W_OFFER, W_ATTEMPT, W_KEY, W_NOT_AFTER, W_LEASE_UNTIL, W_DECISION, W_TEST
	};

	for (size_t i = 0; i < lengthof(columns); i++)
	{
		values[i] = w->values[columns[i]];
		nulls[i] = w->nulls[columns[i]];
	}
	return lengthof(columns);
}

static const char *
sender_arg(FunctionCallInfo fcinfo, int arg)
{
	if (PG_NARGS() <= arg || PG_ARGISNULL(arg))
		return GetUserNameFromId(GetSessionUserId(), false);
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

static const char *
channel_arg(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("no channel given"),
				 errhint("Give the name of a channel, as in claim('email').")));
	return text_to_cstring(PG_GETARG_TEXT_PP(0));
}

/*
 * How long to sleep: to the end of the wait, or until something is due. Where
 * a look from the beginning is dear, for what is due would be such a look:
 * until the next one may come.
 */
static long
nap(const char *channel, const JnyClaim *c, TimestampTz until)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		left = until - now;

	if (c->look_at != 0)
		left = Min(left, c->look_at - now);
	else if (!c->gate.node.test)
	{
		TimestampTz due = jny_next_due(channel);

		if (due > c->gate.node.now)
			left = Min(left, due - c->gate.node.now);
	}
	return (long) Max(1, (left + 999) / 1000);
}

static void
claim_waiting(JnyClaim *c, const char *channel, int n, Interval *lease, int wait_ms)
{
	TimestampTz until = GetCurrentTimestamp() + (int64) wait_ms * 1000;

	for (;;)
	{
		if (wait_ms > 0)
			jny_work_prepare();
		(void) jny_claim(c, channel, n, lease);
		if (c->granted != NIL || jny_claim_exhausted(c) || wait_ms == 0 || GetCurrentTimestamp() >= until)
			break;
		(void) jny_wait_for_work(nap(channel, c, until));
		CHECK_FOR_INTERRUPTS();
	}
	if (wait_ms > 0)
		jny_work_done();
}

/*
 * Whether a SELECT reads one function and calls nothing else that may write:
 * a sender's own log of its claims may be a function in the select list.
 */
static bool
is_bare(const PlannedStmt *stmt)
{
	const Plan *plan = stmt->planTree;

	while (plan != NULL && plan->righttree == NULL && !contain_volatile_functions((Node *) plan->targetlist) &&
		   !contain_volatile_functions((Node *) plan->qual))
	{
		const RangeTblFunction *function;

		if (IsA(plan, Agg))
			plan = plan->lefttree;
		else if (IsA(plan, SubqueryScan))
			plan = ((const SubqueryScan *) plan)->subplan;
		else
		{
			if (!IsA(plan, FunctionScan) || stmt->subplans != NIL)
				return false;
			function = linitial(((const FunctionScan *) plan)->functions);
			return list_length(((const FunctionScan *) plan)->functions) == 1 && IsA(function->funcexpr, FuncExpr) &&
				!contain_volatile_functions((Node *) ((FuncExpr *) function->funcexpr)->args);
		}
	}
	return false;
}

/*
 * A claim that is all that its transaction does, a SELECT of the client's,
 * commits asynchronously; what may have written beside it commits as the
 * session says. In a pipeline it commits before the next statement, not with it.
 */
static void
commit_lightly(FunctionCallInfo fcinfo)
{
	if (!called_by_client(fcinfo) || ActivePortal->strategy != PORTAL_ONE_SELECT || in_longer_transaction() ||
		!is_bare(linitial_node(PlannedStmt, ActivePortal->stmts)))
		return;
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	MyXactFlags |= XACT_FLAGS_NEEDIMMEDIATECOMMIT;
}

Datum
journey_claim(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *channel = channel_arg(fcinfo);
	int			n = PG_ARGISNULL(1) ? 100 : PG_GETARG_INT32(1);
	Interval   *lease = PG_ARGISNULL(2) ? NULL : PG_GETARG_INTERVAL_P(2);
	int			wait_ms = 0;
	JnyClaim	c = {0};
	ListCell   *lc;

	jny_require_sender_session("claim");
	if (!PG_ARGISNULL(4))
	{
		Interval   *wait = PG_GETARG_INTERVAL_P(4);

		wait_ms = wait->day != 0 || wait->month != 0 ? MAX_WAIT_MS
			: (int) Max(0, Min(MAX_WAIT_MS, wait->time / 1000));
	}
	commit_lightly(fcinfo);
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	c.sender = sender_arg(fcinfo, 3);
	claim_waiting(&c, channel, n, lease, wait_ms);
	foreach(lc, c.granted)
	{
		JnyWork    *w = lfirst(lc);
		Datum		values[20];
		bool		nulls[20];

		w->values[W_ATTEMPT] = Int32GetDatum(w->attempt + 1);
		(void) claim_columns(w, values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

Datum
journey_next_due(PG_FUNCTION_ARGS)
{
	TimestampTz due;

	SPI_connect();
	due = jny_next_due(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	SPI_finish();
	if (due == DT_NOEND)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(due);
}

/* ---- begin_send --------------------------------------------------------------- */

static void
require_permit_session(FunctionCallInfo fcinfo, const char *what)
{
	const char *where = NULL;

	jny_require_sender_session(what);
	if (jny_allow_in_transaction)
		return;
	if (!called_by_client(fcinfo))
		where = "a function, procedure or DO block";
	else if (in_longer_transaction())
		where = "a transaction block";
	if (where != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot run inside %s", what, where),
				 errdetail("A permit counts once it is committed; until then an order can still overtake it."),
				 errhint("Call it as a statement of its own, or set journey.allow_in_transaction and send nothing before COMMIT has returned.")));
	/* in a pipeline it commits before the next statement, not with it */
	MyXactFlags |= XACT_FLAGS_NEEDIMMEDIATECOMMIT;
}

JNY_CHANGE(take_permits, "outbox", "outbox_action", "action_id", JNY_HELD_COLUMNS,
		   "status, granted_at, permit_batch, attempt");

typedef struct Permits
{
	JnyGate		gate;
	JnyProof	proof;
	pg_uuid_t	batch;
	Datum		sending;
	List	   *works;
} Permits;

static JnyChoice
choose(JnyRow *row, void *arg)
{
	Permits    *p = arg;
	Datum		now = TimestampTzGetDatum(p->gate.node.now);

	if (row->nulls[W_TOKEN] || !jny_proves(&p->proof, row, DatumGetInt64(row->values[W_TOKEN])) ||
		!jny_text_is(row, W_STATUS, "claimed") || jny_row_time(row, W_LEASE_UNTIL) <= p->gate.node.now)
		return JNY_LEAVE;
	jny_row_set(row, W_STATUS, p->sending);
	jny_row_set(row, W_GRANTED_AT, now);
	jny_row_set(row, W_PERMIT_BATCH, UUIDPGetDatum(&p->batch));
	jny_row_set(row, W_ATTEMPT, Int32GetDatum(DatumGetInt32(row->values[W_ATTEMPT]) + 1));
	return JNY_CHOOSE;
}

/* Takes the rows whose token fits, in the order of action ids, and judges them. To change them is to lock them. */
static void
begin_send(Permits *p)
{
	int			level;

	p->gate.permit = true;
	p->gate.held = true;
	jny_node_read(&p->gate.node);
	jny_uuid_v7(&p->batch);
	p->sending = CStringGetTextDatum("sending");
	level = jny_pin_plans();
#ifdef JOURNEY_BUG_FENCE_BEFORE_LOCK
	/* what commits while the change waits for the rows stays unseen */
	p->gate.fences = jny_fences_read();
#endif
	p->works = jny_works_of(jny_change(&take_permits, jny_proof_keys(&p->proof, &take_permits), false, PG_INT32_MAX,
									   choose, p));
	if (p->works != NIL)
	{
		/*
		 * The policy tells whom to lock, so it is read before; one that is
		 * applied while this call waits for people holds from the next call on.
		 */
		p->gate.house = jny_house_read(jny_work_channels(p->works));
		jny_permit_decide(&p->gate, p->works, &p->batch);
	}
	jny_unpin(level);
	ForceSyncCommit();
}

/* granted, reason, final, retry_at, contact, headers, offer_code */
static void
permit_columns(JnyGate *gate, const JnyWork *w, Datum *values, bool *nulls)
{
	memset(nulls, true, sizeof(bool) * 7);
	values[0] = BoolGetDatum(w != NULL && w->reason == NULL);
	nulls[0] = false;
	if (w == NULL || w->reason != NULL)
	{
		values[1] = CStringGetTextDatum(w == NULL ? "stale_token" : w->reason);
		values[2] = BoolGetDatum(w == NULL || w->final);
		nulls[1] = nulls[2] = false;
		if (w != NULL && !w->final)
		{
			values[3] = TimestampTzGetDatum(w->retry_at);
			nulls[3] = false;
		}
		return;
	}
	jny_permit_reveal(gate, w, &values[4], &nulls[4], &values[5]);
	nulls[5] = false;
}

static JnyWork *
work_with(List *works, const pg_uuid_t *id, int64 token)
{
	ListCell   *lc;

	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);

		if (w->token == token && memcmp(&w->action_id, id, sizeof(pg_uuid_t)) == 0)
			return w;
	}
	return NULL;
}

Datum
journey_begin_send_array(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Permits		p = {0};

	require_permit_session(fcinfo, "begin_send");
	jny_proof_read(&p.proof, PG_GETARG_ARRAYTYPE_P(0), PG_GETARG_ARRAYTYPE_P(1));
	if (p.proof.n > JNY_MAX_BATCH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many actions in one call: %d", p.proof.n),
				 errhint("Ask for at most %d permits at once.", JNY_MAX_BATCH)));
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	begin_send(&p);
	for (int i = 0; i < p.proof.n; i++)
	{
		Datum		values[8];
		bool		nulls[8] = {0};
		JnyWork    *w = p.proof.nulls[i] ? NULL
			: work_with(p.works, DatumGetUUIDP(p.proof.ids[i]), DatumGetInt64(p.proof.tokens[i]));

		values[0] = p.proof.ids[i];
		nulls[0] = p.proof.ids[i] == (Datum) 0;
		permit_columns(&p.gate, w, values + 1, nulls + 1);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

Datum
journey_begin_send(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		id = PG_GETARG_DATUM(0);
	Datum		token = PG_GETARG_DATUM(1);
	bool		none = false;
	Datum		values[7];
	bool		nulls[7];
	Permits		p = {.proof = {.n = 1, .ids = &id, .tokens = &token, .nulls = &none}};

	require_permit_session(fcinfo, "begin_send");
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	begin_send(&p);
	permit_columns(&p.gate, p.works == NIL ? NULL : linitial(p.works), values, nulls);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	SPI_finish();
	return (Datum) 0;
}

Datum
journey_claim_and_begin(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *channel = channel_arg(fcinfo);
	int			n = PG_ARGISNULL(1) ? 100 : PG_GETARG_INT32(1);
	Interval   *lease = PG_ARGISNULL(2) ? NULL : PG_GETARG_INTERVAL_P(2);
	JnyClaim	c = {0};
	ListCell   *lc;

	require_permit_session(fcinfo, "claim_and_begin");
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	c.fused = true;
	c.sender = sender_arg(fcinfo, 3);
	if (jny_claim(&c, channel, n, lease))
	{
		foreach(lc, c.granted)
		{
			JnyWork    *w = lfirst(lc);
			Datum		values[24];
			bool		nulls[24] = {0};
			int			k = claim_columns(w, values, nulls);

			jny_permit_reveal(&c.gate, w, &values[k], &nulls[k], &values[k + 1]);
			nulls[k + 2] = true;
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
		ForceSyncCommit();
	}
	SPI_finish();
	return (Datum) 0;
}
