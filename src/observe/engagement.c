/*
 * engagement.c
 *		What became of the messages that were sent.
 *
 * Called by take.c. A message event names its action (or the provider's
 * reference), not its reader: the person is found through the outbox and its
 * history, one statement; three more write what was learned. A bounce or a
 * complaint is the address's, not the person's: consent is not touched. An
 * opt-out is the person's, on the message's channel (consent.c).
 */
#include "observe/fact.h"

#include "executor/spi.h"
#include "utils/builtins.h"

typedef struct JnyMessages
{
	JnyCols    *events;
	JnyCols    *addresses;
} JnyMessages;

JNY_PLAN(find_actions, "integer[], uuid[], text[]",
		 "SELECT k.n, o.profile_id, o.action_id, o.channel, o.scope"
		 " FROM unnest($1, $2, $3) AS k(n, action_id, provider_ref)"
		 " JOIN journey.outbox o ON o.action_id = k.action_id"
		 " UNION ALL SELECT k.n, h.profile_id, h.action_id, h.channel, h.scope"
		 " FROM unnest($1, $2, $3) AS k(n, action_id, provider_ref)"
		 " JOIN journey.outbox_history h ON h.action_id = k.action_id"
		 " UNION ALL SELECT k.n, h.profile_id, h.action_id, h.channel, h.scope"
		 " FROM unnest($1, $2, $3) AS k(n, action_id, provider_ref)"
		 " JOIN journey.outbox_history h ON h.provider_ref = k.provider_ref WHERE k.action_id IS NULL");
JNY_PLAN(insert_message_events, "smallint[], uuid[], uuid[], text[], timestamptz[], uuid[], boolean[], jsonb[]",
		 "INSERT INTO journey.message_event (bucket, profile_id, action_id, type, at, event_id, machine, props)"
		 " SELECT n.* FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) AS n ON CONFLICT DO NOTHING");
/* What happened to an address within one lap counts once: the worst of what is for good, else the last. */
JNY_PLAN(mark_addresses, "smallint[], uuid[], uuid[], text[], bigint[], text[], text[], timestamptz",
		 "UPDATE journey.contact_point c SET state = n.state, reason = n.reason, changed_at = $8"
		 " FROM (SELECT DISTINCT ON (m.bucket, m.profile_id, m.channel, a.hash) m.*, a.hash"
		 "  FROM unnest($1, $2, $3, $4, $5, $6, $7) WITH ORDINALITY"
		 "   AS m(bucket, profile_id, action_id, channel, address_hash, state, reason, i)"
		 "  CROSS JOIN LATERAL (SELECT COALESCE(m.address_hash,"
		 "   (SELECT a.address_hash FROM journey.attempt_log a WHERE a.bucket = m.bucket AND a.profile_id = m.profile_id"
		 "     AND a.action_id = m.action_id AND a.address_hash IS NOT NULL ORDER BY a.granted_at DESC LIMIT 1),"
		 "   (SELECT o.address_hash FROM journey.contact_point o WHERE o.bucket = m.bucket AND o.profile_id = m.profile_id"
		 "     AND o.channel = m.channel AND o.state = 'active' ORDER BY o.since DESC LIMIT 1)) AS hash) a"
		 "  ORDER BY m.bucket, m.profile_id, m.channel, a.hash,"
		 "   array_position(ARRAY['complained', 'hard'], m.state), m.i DESC) n"
		 " WHERE c.bucket = n.bucket AND c.profile_id = n.profile_id AND c.channel = n.channel AND c.address_hash = n.hash"
		 "  AND CASE n.state WHEN 'active' THEN c.state = 'soft' WHEN 'soft' THEN c.state IN ('active', 'unverified')"
		 "   ELSE c.state <> 'complained' END");
/*
 * A channel that borrows its addresses from another has none of its own to
 * mark. What failed is noted under its name, as fail() does: it will not use
 * the address again, and the one that it belongs to keeps it.
 */
JNY_PLAN(mark_borrowed, "smallint[], uuid[], uuid[], text[], bigint[], text[], text[], timestamptz",
		 "INSERT INTO journey.contact_point AS p (bucket, profile_id, scope, channel, address, address_hash, state, since,"
		 "  changed_at, reason)"
		 " SELECT DISTINCT ON (n.bucket, n.profile_id, c.scope, n.channel, c.address_hash)"
		 "  n.bucket, n.profile_id, c.scope, n.channel, c.address, c.address_hash, n.state, $8, $8, n.reason"
		 " FROM unnest($1, $2, $3, $4, $5, $6, $7)"
		 "  AS n(bucket, profile_id, action_id, channel, address_hash, state, reason)"
		 " JOIN journey.contact_point c ON c.bucket = n.bucket AND c.profile_id = n.profile_id"
		 "  AND c.address_hash = COALESCE(n.address_hash,"
		 "   (SELECT a.address_hash FROM journey.attempt_log a WHERE a.bucket = n.bucket AND a.profile_id = n.profile_id"
		 "     AND a.action_id = n.action_id AND a.address_hash IS NOT NULL ORDER BY a.granted_at DESC LIMIT 1))"
		 " WHERE n.state IN ('hard', 'complained')"
		 " ORDER BY n.bucket, n.profile_id, c.scope, n.channel, c.address_hash, n.state"
		 " ON CONFLICT (bucket, profile_id, scope, channel, address_hash) DO NOTHING");

static bool
names_action(const JnyFact *fact)
{
	if (fact->provider_ref != NULL)
		return true;
	if (fact->kind == JNY_KIND_MESSAGE)
		return fact->f[JNY_F_ACTION] != NULL;
	return jny_json_text(fact->props, "action_id") != NULL || jny_json_text(fact->props, "idempotency_key") != NULL;
}

/* So is an opt-out that names its message and nobody, whichever way it came. */
static bool
is_message(const JnyFact *fact)
{
	if (fact->kind != JNY_KIND_EVENT)
		return fact->kind == JNY_KIND_MESSAGE;
	return strncmp(fact->type, "message_", 8) == 0 ||
		(fact->nkeys == 0 && jny_type_is_opt_out(fact->type) && names_action(fact));
}

static bool
is_as_it_was(const JnyFact *fact, JnyField field)
{
	const char *now = fact->f[field];
	const char *before = fact->old[field];

	return now == NULL || before == NULL ? now == before : strcmp(now, before) == 0;
}

/*
 * A row tells an event when it comes and when it is of another type, message
 * or, where nobody knows the message, person; what happened, happened. The
 * provider's reference to an action that is named is often written in later.
 */
static bool
tells_event(const JnyFact *fact)
{
	if (fact->kind != JNY_KIND_MESSAGE || fact->op == JNY_OP_INSERT || fact->op == JNY_OP_BACKFILL)
		return true;
	return fact->op == JNY_OP_UPDATE &&
		((fact->other_subject && !fact->has_owner) || !is_as_it_was(fact, JNY_F_TYPE) || !is_as_it_was(fact, JNY_F_ACTION) ||
		 (fact->f[JNY_F_ACTION] == NULL && !is_as_it_was(fact, JNY_F_PROVIDER_REF)));
}

bool
jny_message_counts(const JnyFact *fact)
{
	return is_message(fact) && tells_event(fact);
}

/* Finds the people of message events, and of whatever else names an action and nobody. */
void
jny_message_find(JnyTake *take)
{
	JnyCols    *cols = jny_cols("integer, uuid, text");

	for (int i = 0; i < take->nfacts; i++)
	{
		JnyFact    *fact = take->facts[i];

		if (fact->drop || fact->kind == JNY_KIND_ACTION || (!fact->has_action && fact->provider_ref == NULL) ||
			(!is_message(fact) && fact->nkeys > 0))
			continue;
		jny_cols_set(cols, 0, Int32GetDatum(i));
		if (fact->has_action)
			jny_cols_set(cols, 1, jny_uuid_datum(&fact->action_id));
		jny_cols_text(cols, 2, fact->provider_ref);
		jny_cols_next(cols);
	}
	if (jny_cols_count(cols) == 0)
		return;
	jny_run(&find_actions, jny_cols_datums(cols, 0), NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		JnyFact    *fact = take->facts[jny_get_int8(row, 1, 0)];

		fact->has_owner = fact->has_action = true;
		fact->profile_id = *jny_get_uuid(row, 2);
		fact->action_id = *jny_get_uuid(row, 3);
		fact->channel = jny_get_text(row, 4);
		fact->scope = jny_get_text(row, 5);
	}
	jny_early_keep(take);
}

bool
jny_message_opts_out(const JnyFact *fact)
{
	return fact->kind == JNY_KIND_MESSAGE && !fact->fence_only &&
		strcmp(fact->type, "unsubscribed") == 0 && tells_event(fact);
}

/* What an opt-out says of itself counts; the word of a table's row, which is of the message, while nobody knows that. */
const char *
jny_message_channel(const JnyFact *fact)
{
	const char *said = fact->kind == JNY_KIND_EVENT ? jny_json_text(fact->props, "channel") : NULL;

	if (said != NULL && jny_value_fits(said))
		return said;
	return fact->channel != NULL ? fact->channel : fact->f[JNY_F_CHANNEL];
}

static const char *
address_state(const char *type, Jsonb *props)
{
	const char *kind;

	if (strcmp(type, "message_complained") == 0)
		return "complained";
	if (strcmp(type, "message_delivered") == 0)
		return "active";		/* heals a soft bounce */
	if (strcmp(type, "message_bounced") != 0)
		return NULL;
	kind = jny_json_text(props, "bounce");
	return kind != NULL && (strcmp(kind, "soft") == 0 || strcmp(kind, "transient") == 0) ? "soft" : "hard";
}

static void
mark_address(JnyTake *take, JnyFact *fact, Jsonb *props, const char *state)
{
	JnyCols    *cols = take->messages->addresses;
	const char *address = jny_json_text(props, "email");
	const char *reason = jny_json_text(props, "reason");

	jny_cols_set(cols, 0, Int16GetDatum(fact->profile->bucket));
	jny_cols_set(cols, 1, jny_uuid_datum(&fact->profile->id));
	jny_cols_set(cols, 2, jny_uuid_datum(&fact->action_id));
	jny_cols_text(cols, 3, fact->channel != NULL ? fact->channel : "email");
	if (address != NULL && (address = jny_normalise("email", address)) != NULL)
		jny_cols_set(cols, 4, Int64GetDatum(jny_key_hash("email", address)));
	jny_cols_text(cols, 5, state);
	jny_cols_text(cols, 6, reason != NULL ? reason : state);
	jny_cols_next(cols);
}

void
jny_message_orphan(JnyTake *take, const char *source)
{
	jny_tally_incident(take, "orphan_message", source, "warning",
					   "message events name actions that are not known here",
					   "The sender should pass action_id (or idempotency_key) through to the provider and back.");
}

Jsonb *
jny_message_props(const JnyFact *fact)
{
	JnyObject	o;
	bool		machine;

	if (fact->kind != JNY_KIND_MESSAGE)
		return fact->props;
	jny_object_begin(&o);
	jny_object_all(&o, fact->props);
	jny_object_text(&o, "provider_ref", fact->provider_ref);
	jny_object_text(&o, "reason", fact->f[JNY_F_REASON]);
	jny_object_text(&o, "email", fact->f[JNY_F_EMAIL]);
	if (fact->f[JNY_F_MACHINE] != NULL && jny_value_bool(fact->f[JNY_F_MACHINE], &machine))
		jny_object_bool(&o, "machine", machine);
	return jny_object_end(&o);
}

static Jsonb *
add_channel(Jsonb *props, const char *channel)
{
	JnyObject	o;

	jny_object_begin(&o);
	jny_object_all(&o, props);
	jny_object_text(&o, "channel", channel);
	return jny_object_end(&o);
}

void
jny_message_apply(JnyTake *take, JnyFact *fact)
{
	Jsonb	   *props = jny_message_props(fact);
	const char *state = address_state(fact->type, props);
	const char *channel = jny_message_channel(fact);
	JnyEvent   *event;
	JnyCols    *cols;

	if (!jny_message_counts(fact))
		return;
	if (!fact->has_owner)
	{
		/* campaigns of another system name people, and no action: they are history */
		if (fact->profile == NULL || names_action(fact))
			jny_message_orphan(take, fact->source);
		fact->has_action = false;
	}
	if (fact->profile == NULL)
		return;
	/* what is an opt-out of one channel says so */
	if (jny_type_is_opt_out(fact->type) && channel != NULL && jny_json_text(props, "channel") == NULL)
		props = add_channel(props, channel);
	event = jny_emit(take, fact, fact->type, props);
	if (!fact->has_owner)
		return;
	if (take->messages == NULL)
	{
		take->messages = palloc0(sizeof(JnyMessages));
		take->messages->events = jny_cols("smallint, uuid, uuid, text, timestamptz, uuid, boolean, jsonb");
		take->messages->addresses = jny_cols("smallint, uuid, uuid, text, bigint, text, text");
	}
	cols = take->messages->events;
	jny_cols_set(cols, 0, Int16GetDatum(fact->profile->bucket));
	jny_cols_set(cols, 1, jny_uuid_datum(&fact->profile->id));
	jny_cols_set(cols, 2, jny_uuid_datum(&fact->action_id));
	jny_cols_text(cols, 3, fact->type);
	jny_cols_set(cols, 4, TimestampTzGetDatum(fact->occurred_at));
	jny_cols_set(cols, 5, jny_uuid_datum(&event->event_id));
	jny_cols_set(cols, 6, BoolGetDatum(jny_json_bool(props, "machine", false)));
	jny_cols_set(cols, 7, JsonbPGetDatum(props));
	jny_cols_next(cols);
	if (state != NULL)
		mark_address(take, fact, props, state);
}

void
jny_message_write(JnyTake *take)
{
	Datum	   *args;

	if (take->messages == NULL)
		return;
	jny_run(&insert_message_events, jny_cols_datums(take->messages->events, 0), NULL);
	if (jny_cols_count(take->messages->addresses) == 0)
		return;
	args = jny_cols_datums(take->messages->addresses, 1);
	args[7] = TimestampTzGetDatum(take->batch->node.now);
	jny_run(&mark_addresses, args, NULL);
	jny_run(&mark_borrowed, args, NULL);
}
