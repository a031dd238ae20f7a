/*
 * early.c
 *		What a provider reports of a message before its sender does.
 *
 * Such an event names the message by the provider's reference alone, which is
 * known here once the sender has acknowledged it: of a batch, some may have
 * bounced by then. It is kept until the reference is known, and then goes
 * through the inbox again; its message id is not noted before. The lap that
 * reads the sender's word calls it back; what no enrollment hears of is looked
 * for at growing intervals, by its own time of keeping, so that the events of
 * messages that were never journey's cost little until they are given up.
 *
 * Called by take.c inside the lap's transaction; writes journey.early_message
 * and the landing table of the inbox, whose rows the next lap takes. Memory:
 * the batch's context.
 */
#include "observe/fact.h"

#include "executor/spi.h"
#include "utils/builtins.h"

#define LOOKS 1000				/* in one lap */
#define KEPT_FOR USECS_PER_DAY

JNY_INSERT(keep, "early_message",
		   "early_id, provider_ref, look_at, kept_at, source, scope, type, message_id, occurred_at, backfill, props, test");
JNY_LOOKUP(find_due, "early_message", "early_message_look", "look_at <=", "look_at", NULL);
JNY_LOOKUP(any_kept, "early_message", "early_message_pkey", "", "provider_ref", NULL);
#define BACK_TO_INBOX \
	" back AS (INSERT INTO journey.inbox_copy (op, source, type, scope, message_id, occurred_at, props)" \
	"  SELECT CASE WHEN g.backfill THEN 'b' ELSE 'e' END::\"char\", g.source, g.type, g.scope, g.message_id," \
	"   g.occurred_at, g.props FROM gone g WHERE g.known)"
JNY_PLAN(call_back, "uuid[]",
		 "WITH gone AS (DELETE FROM journey.early_message e"
		 "  USING pg_catalog.unnest($1) AS k(action_id) JOIN journey.outbox_history h ON h.action_id = k.action_id"
		 "  WHERE e.provider_ref = h.provider_ref RETURNING e.*, true AS known)," BACK_TO_INBOX
		 " SELECT FROM gone");
JNY_PLAN(look_again, "timestamptz, timestamptz, interval, integer",
		 "WITH due AS (SELECT e.early_id, e.kept_at,"
		 "   EXISTS (SELECT FROM journey.outbox_history h WHERE h.provider_ref = e.provider_ref) AS known"
		 "  FROM journey.early_message e WHERE e.look_at <= $1 ORDER BY e.look_at LIMIT $4),"
		 " later AS (UPDATE journey.early_message e SET look_at = $1 + GREATEST($1 - due.kept_at, $3)"
		 "  FROM due WHERE e.early_id = due.early_id AND NOT due.known AND due.kept_at > $2),"
		 " gone AS (DELETE FROM journey.early_message e USING due"
		 "  WHERE e.early_id = due.early_id AND (due.known OR due.kept_at <= $2) RETURNING e.*, due.known),"
		 BACK_TO_INBOX
		 " SELECT g.source, g.known FROM gone g");

/* Under the test clock, which stands still, every lap looks. */
static Interval *
first_wait(const JnyNode *node)
{
	Interval   *wait = palloc0(sizeof(Interval));

	wait->time = node->test ? 0 : USECS_PER_SEC;
	return wait;
}

/* Known by a reference that nobody has told yet, and by nothing else. */
static bool
is_early(const JnyFact *fact)
{
	return !fact->drop && !fact->has_owner && !fact->has_action && fact->provider_ref != NULL &&
		fact->nkeys == 0 && fact->cart == NULL && fact->order == NULL && jny_message_counts(fact);
}

void
jny_early_keep(JnyTake *take)
{
	const JnyNode *node = &take->batch->node;
	JnyOut		out = {.access = &keep};

	for (int i = 0; i < take->nfacts; i++)
	{
		JnyFact    *fact = take->facts[i];
		JnyCols    *cols;
		pg_uuid_t	id;

		if (!is_early(fact))
			continue;
		cols = jny_out(&out);
		jny_uuid_v7(&id);
		jny_cols_set(cols, 0, jny_uuid_datum(&id));
		jny_cols_text(cols, 1, fact->provider_ref);
		jny_cols_set(cols, 2, TimestampTzGetDatum(node->now + first_wait(node)->time));
		jny_cols_set(cols, 3, TimestampTzGetDatum(node->now));
		jny_cols_text(cols, 4, fact->source);
		jny_cols_text(cols, 5, fact->scope);
		jny_cols_text(cols, 6, fact->type);
		jny_cols_text(cols, 7, fact->message_id);
		jny_cols_set(cols, 8, TimestampTzGetDatum(fact->occurred_at));
		jny_cols_set(cols, 9, BoolGetDatum(fact->backfill));
		jny_cols_set(cols, 10, JsonbPGetDatum(jny_message_props(fact)));
		jny_cols_set(cols, 11, BoolGetDatum(node->test));
		jny_cols_next(cols);
		fact->drop = true;
	}
	jny_out_write(&out);
}

static bool
is_any_kept(void)
{
	JnyCols    *all = jny_cols_of(&any_kept);

	jny_cols_next(all);
	return jny_lookup_at(&any_kept, all, NULL, 1)->n > 0;
}

/* What this lap has learned to be sent may have bounced before. */
void
jny_early_call(JnyTake *take)
{
	JnyCols    *sent = NULL;

	for (int i = 0; i < take->nfacts; i++)
	{
		const JnyFact *fact = take->facts[i];

		if (fact->kind != JNY_KIND_ACTION || fact->drop || fact->type == NULL || strcmp(fact->type, "action_sent") != 0)
			continue;
		if (sent == NULL)
			sent = jny_cols("uuid");
		jny_cols_set(sent, 0, jny_uuid_datum(&fact->action_id));
		jny_cols_next(sent);
	}
	if (sent != NULL && is_any_kept() && jny_run(&call_back, jny_cols_datums(sent, 0), NULL) > 0)
		take->batch->more = true;
}

static bool
is_any_due(TimestampTz now)
{
	JnyCols    *key = jny_cols_of(&find_due);

	jny_cols_set(key, 0, TimestampTzGetDatum(now));
	jny_cols_next(key);
	return jny_lookup_at(&find_due, key, NULL, 1)->n > 0;
}

void
jny_early_look(JnyBatch *batch)
{
	TimestampTz now = batch->node.now;
	JnyTake		take;

	if (!is_any_due(now))
		return;
	jny_take_begin(&take, batch);
	jny_run(&look_again, (Datum[]) {TimestampTzGetDatum(now), TimestampTzGetDatum(now - KEPT_FOR),
									IntervalPGetDatum(first_wait(&batch->node)), Int32GetDatum(LOOKS)}, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		isnull;

		if (DatumGetBool(jny_get(row, 2, &isnull)))
			batch->more = true;
		else
			jny_message_orphan(&take, jny_get_text(row, 1));
	}
	jny_tally_write(&take);
}
