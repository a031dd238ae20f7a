/*
 * skip.c
 *		Sets the next inbox row aside when its lap has failed, and keeps what
 *		its fence and its opt-out said.
 *
 * Called by worker/lap.c inside a READ COMMITTED transaction, as
 * journey_owner and within SPI. Locks the cursor row (window.c) and writes
 * rows of its own data tables. Memory: the batch's context. Errors abort the
 * transaction: then the cursor has not moved and the fence stands as before.
 */
#include "observe/observe.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/xid8.h"

#include "observe/attach_spec.h"
#include "observe/every_channel.h"
#include "observe/fact.h"

/*
 * What the row would have meant for people cannot be judged any more, so it
 * counts for everybody whom its keys name, whatever a match says: better one
 * reminder less. People are found by identity, by the cart or order of a live
 * enrollment, and by the message that a complaint or an opt-out is about, which
 * also tells channel and scope. What stops them stops whoever is linked with
 * them (core/link.h).
 */
#define SAME_ACTION \
	"o.action_id = CASE WHEN $15 ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'" \
	" THEN $15::pg_catalog.uuid END"
#define PEOPLE \
	"(SELECT i.profile_bucket, i.profile_id, NULL, $6" \
	"       FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k(bucket, hash)" \
	"       JOIN journey.identity i ON i.bucket = k.bucket AND i.key_hash = k.hash" \
	"       UNION SELECT e.bucket, e.profile_id, NULL, $6 FROM pg_catalog.unnest($2) AS k(hash)" \
	"       JOIN journey.enrollment e ON e.entry_hash = k.hash AND e.exited_at IS NULL" \
	"       UNION SELECT o.bucket, o.profile_id, o.channel, o.scope FROM journey.outbox o WHERE " SAME_ACTION \
	"       UNION SELECT o.bucket, o.profile_id, o.channel, o.scope FROM journey.outbox_history o WHERE " SAME_ACTION \
	"       UNION SELECT o.bucket, o.profile_id, o.channel, o.scope FROM journey.outbox_history o WHERE o.provider_ref = NULLIF($16, '')" \
	"      ) AS p(bucket, profile_id, channel, scope)"
#define TYPES \
	"smallint[], bigint[], bigint, text, text, text, text, text, text, timestamptz, xid8, timestamptz, integer," \
	" bigint, text, text"
#define NARGS 16

JNY_PLAN(keep_fence, TYPES,
		 "WITH RECURSIVE reached AS ("
		 "  SELECT p.bucket, p.profile_id, p.channel, p.scope, true AS named, true AS strong FROM " PEOPLE
		 "  UNION SELECT l.other_bucket, l.other_id, r.channel, r.scope, false, l.strong FROM reached r"
		 "  JOIN journey.profile_link l ON l.bucket = r.bucket AND l.profile_id = r.profile_id"
		 "  WHERE r.strong AND (l.strong OR r.named))"
		 " INSERT INTO journey.suppression (bucket, profile_id, seq, type, ref, scope, channel, purpose, reason,"
		 "  occurred_at, fence_xact, effective_at, incarnation, lap, note, unread, linked, matched)"
		 " SELECT p.bucket, p.profile_id, $3, $4, $5, p.scope, $7, $8, $9, $10, $11, $12, $13, $14,"
		 "  'the event was set aside: see journey.quarantine', true, NOT p.named,"
		 "  ARRAY(SELECT e.enrollment_id FROM journey.enrollment e"
		 "        WHERE e.bucket = p.bucket AND e.profile_id = p.profile_id AND e.exited_at IS NULL)"
		 " FROM (SELECT DISTINCT ON (r.bucket, r.profile_id) r.* FROM reached r"
		 "  ORDER BY r.bucket, r.profile_id, r.named DESC, r.channel) AS p"
		 " ON CONFLICT (bucket, profile_id, seq, type, linked) DO NOTHING");

/*
 * A suppression speaks of decisions up to now. An opt-out is for later ones
 * too: the consent goes, as far as the event's channel reaches, or that of
 * the message, or everywhere. $5 is unused: an opt-out has no object.
 */
#define SAID \
	" (SELECT DISTINCT p.bucket, p.profile_id, p.scope, w.channel," \
	"   CASE WHEN $8 = '*' THEN 'marketing' ELSE $8 END AS purpose" \
	"  FROM " PEOPLE ", LATERAL (" \
	"   SELECT CASE WHEN $7 <> '*' THEN $7 ELSE p.channel END" \
	"   UNION SELECT u.channel FROM " JNY_EVERY_CHANNEL("CASE WHEN $8 = '*' THEN 'marketing' ELSE $8 END", "p") \
	"    WHERE $7 = '*' AND p.channel IS NULL) AS w(channel)" \
	"  WHERE w.channel IS NOT NULL) AS n"
#define PROOF "'{\"set_aside\": true}'"
JNY_PLAN(take_consent, TYPES ", text, text",
		 "INSERT INTO journey.consent AS c (bucket, profile_id, scope, channel, purpose, state, source, proof, at)"
		 " SELECT n.bucket, n.profile_id, n.scope, n.channel, n.purpose, $17, $18, " PROOF ", $10 FROM" SAID
		 " ON CONFLICT (bucket, profile_id, scope, channel, purpose) DO UPDATE"
		 " SET state = excluded.state, basis = NULL, source = excluded.source, proof = excluded.proof,"
		 "  at = excluded.at, expires_at = NULL"
		 " WHERE excluded.at >= c.at");
JNY_PLAN(note_consent, TYPES ", text, text",
		 "INSERT INTO journey.consent_history (bucket, profile_id, scope, channel, purpose, recorded_at, seq,"
		 "  state, source, proof, at)"
		 " SELECT n.bucket, n.profile_id, n.scope, n.channel, n.purpose, $12, $3, $17, $18, " PROOF ", $10 FROM" SAID
		 " ON CONFLICT DO NOTHING");

/* Who is known by none of the keys may be by tomorrow: early_optout.c. */
JNY_PLAN(keep_opt_out, "smallint[], bigint[], bigint, text, text, text, text, text, timestamptz",
		 "INSERT INTO journey.early_opt_out (bucket, key_hash, seq, scope, channel, purpose, state, source, at)"
		 " SELECT k.bucket, k.hash, $3, $4, $5, $6, $7, $8, $9"
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k(bucket, hash)"
		 " WHERE NOT EXISTS (SELECT FROM journey.identity i WHERE i.bucket = k.bucket AND i.key_hash = k.hash)"
		 " ON CONFLICT DO NOTHING");

/* What cannot be stored is as if it were not there: nothing may fail here. */
static const char *
text_or(Jsonb *props, const char *name, const char *otherwise)
{
	char	   *value = props != NULL && JB_ROOT_IS_OBJECT(props) ? jny_json_text(props, name) : NULL;

	return value != NULL && value[0] != '\0' && jny_value_fits(value) ? value : otherwise;
}

static Datum
text_datum(const char *s)
{
	return CStringGetTextDatum(s);
}

/*
 * The row's keys, and those that rows still unread say are the same person's:
 * as a permit took them while the row stood in the inbox.
 */
static Datum *
keys_of(const JnyInboxRaw *raw, int nextra)
{
	JnyCols    *cols = jny_cols("smallint, bigint");
	int64	   *keys = raw->keys;
	int			n = raw->nkeys;

	(void) jny_fences_close(jny_fences_read(), &keys, &n);
	for (int i = 0; i < n; i++)
	{
		jny_cols_set(cols, 0, Int16GetDatum(jny_bucket_of_hash(keys[i])));
		jny_cols_set(cols, 1, Int64GetDatum(keys[i]));
		jny_cols_next(cols);
	}
	return jny_cols_datums(cols, nextra);
}

/* Whom the row's fence stopped stays stopped, in the transaction that moves the cursor past it. */
static void
keep(const JnyBatch *batch, const JnyInboxRaw *raw)
{
	bool		opt_out = jny_type_is_opt_out(raw->type);
	bool		complaint = strcmp(raw->type, "message_complained") == 0;
	bool		said = raw->occurred_at != 0 && !TIMESTAMP_NOT_FINITE(raw->occurred_at);
	bool		of_message;
	Datum	   *args = keys_of(raw, NARGS);

	args[2] = Int64GetDatum(raw->seq);
	args[3] = text_datum(raw->type);
	args[4] = text_datum(raw->ref != NULL ? raw->ref : "");
	args[5] = text_datum(raw->scope != NULL ? raw->scope : jny_source_scope(raw->source));
	args[6] = text_datum(opt_out ? text_or(raw->props, "channel", "*") : "*");
	args[7] = text_datum(opt_out ? text_or(raw->props, "purpose", "*") : "*");
	of_message = complaint || (opt_out && (raw->nkeys == 0 || text_or(raw->props, "channel", NULL) == NULL));
	args[8] = text_datum(jny_suppression_reason(raw->type));
	args[9] = TimestampTzGetDatum(said ? raw->occurred_at : raw->received_at);
	args[10] = FullTransactionIdGetDatum(raw->xact);
	args[11] = TimestampTzGetDatum(batch->node.now);
	args[12] = Int32GetDatum(batch->node.incarnation);
	args[13] = Int64GetDatum(batch->lap);
	args[14] = text_datum(of_message ? text_or(raw->props, "action_id", text_or(raw->props, "idempotency_key", "")) : "");
	args[15] = text_datum(of_message ? text_or(raw->props, "provider_ref", "") : "");
	jny_run(&keep_fence, args, NULL);
	if (!opt_out)
		return;
	args[16] = text_datum(complaint ? "complained" : "revoked");
	args[17] = text_datum(raw->source != NULL ? raw->source : "");
	jny_run(&take_consent, args, NULL);
	jny_run(&note_consent, args, NULL);
	jny_run(&keep_opt_out, (Datum[]) {args[0], args[1], args[2], args[5], args[6],
									  text_datum(text_or(raw->props, "purpose", "marketing")),
									  args[16], args[17], args[9]}, NULL);
}

/* A release is not kept: what it would have given free stays stopped. */
static void
keep_fences(const JnyBatch *batch)
{
	const struct JnyWindow *w = batch->window;

	for (int i = 0; i < w->nrows; i++)
		if (w->rows[i].copied && w->rows[i].type != NULL && w->rows[i].source != NULL)
			jny_mark_copied(&w->rows[i]);
	for (int i = 0; i < w->nrows; i++)
		if (w->rows[i].fence == JNY_FENCE_EVENT && w->rows[i].type != NULL)
			keep(batch, &w->rows[i]);
	jny_take_note_broken(w);
}

/* The row that fails, and its further fences: without it they would end no consent. */
static void
narrow(JnyBatch *batch)
{
	struct JnyWindow *w = batch->window;
	int			n = 1;

	while (n < w->nrows && w->rows[n].op == JNY_OP_FENCE &&
		   w->rows[n].attachment == w->rows[0].attachment &&
		   FullTransactionIdEquals(w->rows[n].xact, w->rows[0].xact))
		n++;
	if (n >= w->nrows)
		return;
	w->nrows = batch->taken = n;
	w->last = false;
	batch->more = true;
	batch->last_seq = w->rows[n - 1].seq;
}

bool
jny_observe_skip(JnyBatch *batch, const ErrorData *error)
{
	JnyTake		take;
	MemoryContext old;

	if (!jny_window_open(batch, 1 + JNY_SPEC_CONSENTS))
		return false;
	if (!batch->node.adopted)
		return true;
	old = MemoryContextSwitchTo(batch->cxt);
	narrow(batch);
	jny_take_begin(&take, batch);
	if (batch->window->nrows > 0)
		jny_tally_quarantine(&take, &batch->window->rows[0], unpack_sql_state(error->sqlerrcode), error->message);
	keep_fences(batch);
	jny_tally_write(&take);
	jny_window_finish(batch);
	MemoryContextSwitchTo(old);
	return true;
}
