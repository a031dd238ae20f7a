/*
 * permit.c
 *		The permit: lock, look, write.
 *
 * The order is the promise. The rows are locked by the caller, who changes
 * them (begin_send in the order of action ids), and the people by jny_limits_lock(); only then are
 * the fences read, with a snapshot newer than every wait, and that snapshot
 * is written with the permits. An order that it sees has stopped them.
 * Nothing waits after it. Called inside SPI_connect(); memory: the caller's.
 */
#include "deliver/claim.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "core/fault.h"

JNY_INSERT(batches, "permit_batch", "permit_batch, incarnation, snapshot, lap, at");
JNY_INSERT(attempts, "attempt_log",
		   "bucket, profile_id, action_id, attempt, token, sender, channel, journey, step, scope, purpose, granted_at,"
		   " permit_batch, address_hash");
JNY_PLAN(unsubscribe_token, "uuid, text, text",
		 "SELECT journey._unsubscribe_token($1, $2, $3)");

/* A permit is of the moment at which it was judged, by which the next ones count it; the row was taken before. */
static void
write_permits(JnyGate *gate, List *granted, const pg_uuid_t *batch)
{
	static const JnyWorkColumn columns[] = {
		W_BUCKET, W_PROFILE, W_ACTION, W_ATTEMPT, W_TOKEN, W_SENDER, W_CHANNEL, W_JOURNEY, W_STEP, W_SCOPE, W_PURPOSE,
		W_GRANTED_AT, W_PERMIT_BATCH
	};
	JnyCols    *calls = jny_cols_of(&batches);
	JnyCols    *cols = jny_cols_of(&attempts);
	ListCell   *lc;

	jny_cols_set(calls, 0, UUIDPGetDatum(batch));
	jny_cols_set(calls, 1, Int32GetDatum(gate->node.incarnation));
	jny_cols_set(calls, 2, DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(gate->fences->snapshot)));
	jny_cols_set(calls, 3, Int64GetDatum(gate->fences->lap));
	jny_cols_set(calls, 4, TimestampTzGetDatum(gate->node.now));
	jny_cols_next(calls);
	jny_write(&batches, calls);
	JNY_FAULT("permit_half_logged");
	foreach(lc, granted)
	{
		JnyWork    *w = lfirst(lc);

		for (size_t i = 0; i < lengthof(columns); i++)
			jny_cols_set(cols, i, columns[i] == W_GRANTED_AT ? TimestampTzGetDatum(gate->node.now) : w->values[columns[i]]);
		if (w->address != NULL)
			jny_cols_set(cols, lengthof(columns), Int64GetDatum(w->address_hash));
		jny_cols_next(cols);
	}
	jny_write(&attempts, cols);
}

void
jny_permit_decide(JnyGate *gate, List *works, const pg_uuid_t *batch)
{
	List	   *granted = NIL;
	ListCell   *lc;

	if (works == NIL)
		return;
	gate->permit = true;
	jny_limits_lock(gate, works);
	JNY_FAULT("permit_locked");
	jny_gate_judge(gate, works);
	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);

		if (w->reason == NULL)
			granted = lappend(granted, w);
		else
			w->attempt--;		/* counted in advance */
	}
	if (granted != NIL)
		write_permits(gate, granted, batch);
	jny_settle(gate, works);
}

/* ---- what a grant reveals --------------------------------------------------- */

/* The URL with the person's token in the place of {token}. */
static char *
unsubscribe_link(const JnyWork *w, const char *url)
{
	const char *at = strstr(url, "{token}");
	char	   *token;

	if (at == NULL)
		return pstrdup(url);
	jny_run(&unsubscribe_token, (Datum[]) {w->values[W_PROFILE], w->values[W_SCOPE], w->values[W_CHANNEL]}, NULL);
	token = jny_get_text(0, 1);
	return psprintf("%.*s%s%s", (int) (at - url), url, token, at + strlen("{token}"));
}

/*
 * contact: {"address": ..., "namespace": ..., "state": ..., "unsubscribe_url":
 * ...}, the first three on a channel that needs an address, the last for
 * marketing on one that has such a link; null when there is neither.
 *
 * headers: Idempotency-Key for an API, Message-ID for SMTP: the same at every
 * attempt, so that a provider that knows either sends once. Marketing carries
 * the one-click unsubscribe of RFC 8058, by the same link.
 */
void
jny_permit_reveal(JnyGate *gate, const JnyWork *w, Datum *contact, bool *no_contact, Datum *headers)
{
	JnyChannelRules *channel = jny_house_channel(gate->house, w->channel);
	char	   *link = w->marketing && channel->unsubscribe_url != NULL ? unsubscribe_link(w, channel->unsubscribe_url) : NULL;
	char	   *key = TextDatumGetCString(w->values[W_KEY]);
	JsonbParseState *state = NULL;

	*no_contact = channel->address == NULL && link == NULL;
	if (!*no_contact)
	{
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		if (channel->address != NULL)
		{
			jny_put_text(&state, "address", w->address);
			jny_put_text(&state, "namespace", channel->address);
			jny_put_text(&state, "state", w->address_state);
		}
		if (link != NULL)
			jny_put_text(&state, "unsubscribe_url", link);
		*contact = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	}

	state = NULL;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jny_put_text(&state, "Idempotency-Key", key);
	if (channel->address != NULL && strcmp(channel->address, "email") == 0)
		jny_put_text(&state, "Message-ID", psprintf("<%s@%s>", key, jny_site[0] ? jny_site : "journey.invalid"));
	if (link != NULL)
	{
		jny_put_text(&state, "List-Unsubscribe", psprintf("<%s>", link));
		jny_put_text(&state, "List-Unsubscribe-Post", "List-Unsubscribe=One-Click");
	}
	*headers = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}
