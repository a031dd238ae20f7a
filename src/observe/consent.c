/*
 * consent.c
 *		What people agreed to: the present state, and every statement as history.
 *
 * Called by take.c. The latest statement by its own time stands; at the same
 * time the one that takes rights away. A source that is not trusted may take
 * rights away, never grant them. Nobody but the lap writes journey.consent:
 * what people say through journey.unsubscribe() and set_preferences() is
 * history when they commit, and the next lap takes it up.
 */
#include "observe/fact.h"

#include "executor/spi.h"
#include "utils/builtins.h"

#include "observe/every_channel.h"

typedef struct ConsentKey
{
	pg_uuid_t	id;
	int64		what;			/* hash of scope, channel, purpose */
} ConsentKey;

typedef struct Consent
{
	ConsentKey	key;
	JnyProfile *profile;
	const char *scope;
	JnyConsent	now;			/* state NULL: nothing stated yet */
	const char *source;
	bool		dirty;
} Consent;

typedef struct JnyConsents
{
	HTAB	   *table;
	List	   *all;			/* of Consent, of this lap's people */
	JnyOut		history;
	const char *purpose;		/* that house is of; NULL = not read yet */
	List	   *house;			/* of char *: channels that may carry it */
} JnyConsents;

#define STATEMENT "state, basis, source, proof, at, expires_at"
JNY_LOOKUP(find_consents, "consent", "consent_pkey", "bucket, profile_id",
		   "profile_id, scope, channel, purpose, " STATEMENT, NULL);
#define CONSENT_KEY "bucket, profile_id, scope, channel, purpose"
JNY_UPSERT(upsert_consents, "consent", "consent_pkey", CONSENT_KEY, CONSENT_KEY ", " STATEMENT, STATEMENT);
#define HISTORY_KEY CONSENT_KEY ", recorded_at, seq"
JNY_UPSERT(insert_history, "consent_history", "consent_history_pkey", HISTORY_KEY, HISTORY_KEY ", " STATEMENT, "");

JNY_PLAN(house_channels, "text", JNY_CHANNELS_OF_HOUSE("$1") " ORDER BY 1");
JNY_LOOKUP(any_unread, "consent_history", "consent_history_unread", "", "seq", "t.unread");
/* Of several words about one consent the last; taking it back needs no younger date than what it takes back. */
JNY_PLAN(read_history, "",
		 "WITH said AS (UPDATE journey.consent_history h SET unread = false WHERE h.unread RETURNING h.*)"
		 " INSERT INTO journey.consent AS c (" CONSENT_KEY ", " STATEMENT ")"
		 " SELECT DISTINCT ON (" CONSENT_KEY ") " CONSENT_KEY ", " STATEMENT " FROM said"
		 " ORDER BY " CONSENT_KEY ", seq DESC"
		 " ON CONFLICT (" CONSENT_KEY ") DO UPDATE"
		 " SET state = excluded.state, basis = excluded.basis, source = excluded.source, proof = excluded.proof,"
		 "  at = GREATEST(c.at, excluded.at), expires_at = excluded.expires_at"
		 " WHERE (c.state <> excluded.state OR c.expires_at <= excluded.at) AND (excluded.state <> 'granted' OR c.at <= excluded.at)");

static bool
takes_away(const char *state)
{
	return strcmp(state, "denied") == 0 || strcmp(state, "revoked") == 0 ||
		strcmp(state, "bounced") == 0 || strcmp(state, "complained") == 0;
}

/* Does the row say, whatever else of it cannot be read, that somebody wants no more? */
bool
jny_consent_takes_away(const JnyFact *fact)
{
	ListCell   *lc;

	if (fact->kind == JNY_KIND_EVENT)
		return jny_type_is_opt_out(fact->type);
	if (fact->kind == JNY_KIND_MESSAGE)
		return fact->type != NULL && jny_type_is_opt_out(fact->type) && jny_message_counts(fact);
	foreach(lc, fact->consents)
		if (takes_away(((const JnyConsent *) lfirst(lc))->state))
			return true;
	return false;
}

/*
 * An opt-out of now that was told in a time of no zone may look older than a
 * consent that it takes back. A date is off by a day, and zones by 14 hours.
 */
#define LOCAL_US (38 * USECS_PER_HOUR)

static TimestampTz
opted_out_at(TimestampTz at, bool local, TimestampTz came)
{
	return local && came - at < LOCAL_US ? came : at;
}

/* Dates a row's opt-outs and consents; none is later than the row came. */
void
jny_consent_date(JnyFact *fact, TimestampTz came)
{
	ListCell   *lc;

	if (fact->kind == JNY_KIND_MESSAGE && !fact->backfill && jny_consent_takes_away(fact))
		fact->occurred_at = opted_out_at(fact->occurred_at, fact->local, came);
	foreach(lc, fact->consents)
	{
		JnyConsent *c = lfirst(lc);

		c->at = Min(c->at, came);
		if (takes_away(c->state) && !fact->backfill)
			c->at = opted_out_at(c->at, c->local, came);
	}
}

static Consent *
find(JnyTake *take, JnyProfile *p, const char *scope, const char *channel, const char *purpose)
{
	ConsentKey	key;
	Consent    *c;
	bool		found;

	memset(&key, 0, sizeof(key));
	key.id = p->id;
	key.what = jny_key_hash(scope, psprintf("%s\n%s", channel, purpose));
	c = hash_search(take->consents->table, &key, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) c + sizeof(key), 0, sizeof(Consent) - sizeof(key));
		c->profile = p;
		c->scope = scope;
		c->now.channel = channel;
		c->now.purpose = purpose;
		take->consents->all = lappend(take->consents->all, c);
	}
	return c;
}

static bool
speaks_of_consent(const JnyFact *fact)
{
	return !fact->drop && fact->profile != NULL &&
		(fact->opts_out || fact->consents != NIL || jny_message_opts_out(fact) ||
		 (fact->kind == JNY_KIND_EVENT && !fact->fence_only &&
		  (strcmp(fact->type, "unsubscribed") == 0 || strncmp(fact->type, "consent_", 8) == 0)));
}

/* What people said of their consents beside the inbox. */
void
jny_consent_read(void)
{
	JnyCols    *all = jny_cols_of(&any_unread);

	jny_cols_next(all);
	if (jny_lookup_at(&any_unread, all, NULL, 1)->n > 0)
		jny_run(&read_history, NULL, NULL);
}

/* The people of whom consents are stated, each once; NULL when there are none with a past. */
static JnyCols *
keys_of_people(JnyTake *take)
{
	JnyOut		keys = {.access = &find_consents};
	HTAB	   *seen = NULL;
	bool		found;

	for (int i = 0; i < take->nfacts; i++)
	{
		JnyFact    *fact = take->facts[i];

		if (!speaks_of_consent(fact))
			continue;
		if (take->consents == NULL)
		{
			take->consents = palloc0(sizeof(JnyConsents));
			take->consents->table = jny_table(take, "journey consents", sizeof(ConsentKey), sizeof(Consent));
			take->consents->history.access = &insert_history;
			seen = jny_table(take, "journey consenting people", sizeof(pg_uuid_t), sizeof(pg_uuid_t));
		}
		(void) hash_search(seen, &fact->profile->id, HASH_ENTER, &found);
		if (found || (fact->profile->is_new && !take->opted_out_early))
			continue;
		jny_cols_set(jny_out(&keys), 0, Int16GetDatum(fact->profile->bucket));
		jny_cols_set(keys.cols, 1, UUIDPGetDatum(&fact->profile->id));
		jny_cols_next(keys.cols);
	}
	return keys.cols;
}

void
jny_consent_load(JnyTake *take)
{
	JnyCols    *keys = keys_of_people(take);
	JnyRows    *rows;

	if (keys == NULL)
		return;
	rows = jny_lookup(&find_consents, keys);
	for (int i = 0; i < rows->n; i++)
	{
		const JnyRow *row = &rows->row[i];
		Consent    *c = find(take, jny_profile_get(take->batch, jny_row_uuid(row, 0)),
							 jny_row_text(row, 1), jny_row_text(row, 2), jny_row_text(row, 3));

		c->now.state = jny_row_text(row, 4);
		c->now.basis = jny_row_text(row, 5);
		c->source = jny_row_text(row, 6);
		c->now.proof = row->nulls[7] ? NULL : DatumGetJsonbP(row->values[7]);
		c->now.at = jny_row_time(row, 8);
		c->now.expires_at = jny_row_time(row, 9);
	}
}

static void
remember(JnyTake *take, JnyFact *fact, const JnyConsent *said)
{
	JnyCols    *h = jny_out(&take->consents->history);

	jny_cols_set(h, 0, Int16GetDatum(fact->profile->bucket));
	jny_cols_set(h, 1, UUIDPGetDatum(&fact->profile->id));
	jny_cols_text(h, 2, fact->scope);
	jny_cols_text(h, 3, said->channel);
	jny_cols_text(h, 4, said->purpose);
	jny_cols_set(h, 5, TimestampTzGetDatum(take->batch->node.now));
	jny_cols_set(h, 6, Int64GetDatum(fact->seq));
	jny_cols_text(h, 7, said->state);
	jny_cols_text(h, 8, said->basis);
	jny_cols_text(h, 9, fact->source);
	jny_cols_set(h, 10, JsonbPGetDatum(said->proof != NULL ? said->proof : jny_object_empty()));
	jny_cols_set(h, 11, TimestampTzGetDatum(said->at));
	jny_cols_time(h, 12, said->expires_at);
	jny_cols_next(h);
}

static void
emit_change(JnyTake *take, JnyFact *fact, const JnyConsent *said, bool granted)
{
	JnyObject	o;

	jny_object_begin(&o);
	jny_object_text(&o, "channel", said->channel);
	jny_object_text(&o, "purpose", said->purpose);
	jny_object_text(&o, "state", said->state);
	jny_object_text(&o, "basis", said->basis);
	/* the fence of a captured row says what the trigger took it for */
	jny_emit(take, fact, granted ? "consent_granted"
			 : fact->fence == JNY_FENCE_EVENT && fact->type != NULL ? fact->type : "consent_revoked",
			 jny_object_end(&o));
}

/* Reports a statement that its source may not make. */
static bool
may_state(JnyTake *take, const JnyFact *fact, const char *state)
{
	if (fact->trusted || takes_away(state))
		return true;
	jny_tally_incident(take, "untrusted_consent", fact->source, "warning",
					   "a source that is not trusted stated a consent; it was not taken",
					   "Let a trusted source state it, or apply the source's document without trusted = false.");
	return false;
}

static bool
same_proof(Jsonb *a, Jsonb *b)
{
	a = a != NULL ? a : jny_object_empty();
	b = b != NULL ? b : jny_object_empty();
	return compareJsonbContainers(&a->root, &b->root) == 0;
}

/* Of what the row has no column for, it does not speak. */
static bool
same_terms(const JnyFact *row, const JnyConsent *a, const JnyConsent *b)
{
	const char *basis = a->basis != NULL ? a->basis : "";

	return (!jny_fact_maps(row, JNY_F_BASIS) || strcmp(basis, b->basis != NULL ? b->basis : "") == 0) &&
		(!jny_fact_maps(row, JNY_F_PROOF) || same_proof(a->proof, b->proof)) &&
		(!jny_fact_maps(row, JNY_F_EXPIRES) || a->expires_at == b->expires_at);
}

static bool
ends_earlier(const JnyConsent *said, const JnyConsent *now)
{
	return said->expires_at != 0 && (now->expires_at == 0 || said->expires_at < now->expires_at);
}

/*
 * The row speaks of what stands, and its terms are other ones by now. Where no
 * time tells whether it is this row that stands, the source does, and for an
 * UPDATE the terms that the row had: it may be one of many that a shop keeps.
 * One that is merely read again may for the same reason take rights away, and
 * give none.
 */
static void
amend(JnyTake *take, JnyFact *fact, Consent *c, const JnyConsent *said)
{
	if ((said->weak || said->before != NULL) && strcmp(c->source, fact->source) != 0)
		return;
	if (said->before != NULL ? !same_terms(fact, &c->now, said->before)
		: said->weak && !(jny_fact_maps(fact, JNY_F_EXPIRES) && ends_earlier(said, &c->now)))
		return;
	if (same_terms(fact, &c->now, said))
		return;
	if (jny_fact_maps(fact, JNY_F_BASIS))
		c->now.basis = said->basis;
	if (jny_fact_maps(fact, JNY_F_PROOF))
		c->now.proof = said->proof;
	if (jny_fact_maps(fact, JNY_F_EXPIRES))
		c->now.expires_at = said->expires_at;
	c->dirty = true;
	remember(take, fact, &c->now);
}

static bool
is_granted(const JnyTake *take, const JnyConsent *c)
{
	return c->state != NULL && strcmp(c->state, "granted") == 0 &&
		(c->expires_at == 0 || c->expires_at > take->batch->node.now);
}

/* True when the person's rights changed. */
static bool
state_consent(JnyTake *take, JnyFact *fact, const JnyConsent *said)
{
	Consent    *c = find(take, fact->profile, fact->scope, said->channel, said->purpose);
	const char *before = c->now.state;
	bool		was = is_granted(take, &c->now);

	if (before != NULL && strcmp(before, said->state) == 0 &&
		(said->before != NULL || said->weak || c->now.at == said->at))
	{
		amend(take, fact, c, said);
		return was != is_granted(take, &c->now);
	}
	if (said->before != NULL)
		return false;			/* what stands is something else, said elsewhere */
	remember(take, fact, said);
	if (before != NULL &&
		(said->weak ? !(strcmp(before, "granted") == 0 && takes_away(said->state))
		 : said->at < c->now.at ||
		 (said->at == c->now.at && takes_away(before) && !takes_away(said->state))))
		return false;
	c->now = *said;
	c->source = fact->source;
	c->dirty = true;
	return was != is_granted(take, said);
}

static List *
channels_of_house(JnyConsents *consents, const char *purpose)
{
	uint64		n;

	if (consents->purpose != NULL && strcmp(consents->purpose, purpose) == 0)
		return consents->house;
	consents->purpose = purpose;
	consents->house = NIL;
	n = jny_run(&house_channels, (Datum[]) {CStringGetTextDatum(purpose)}, NULL);
	for (uint64 row = 0; row < n; row++)
		consents->house = lappend(consents->house, jny_get_text(row, 1));
	return consents->house;
}

/* Where no channel is named, an opt-out is meant for every one. */
static void
opt_out_everywhere(JnyTake *take, JnyFact *fact, JnyConsent *said)
{
	ListCell   *lc;
	List	   *known = list_copy(take->consents->all);

	foreach(lc, channels_of_house(take->consents, said->purpose))
	{
		said->channel = lfirst(lc);
		(void) state_consent(take, fact, said);
	}
	foreach(lc, known)
	{
		Consent    *c = lfirst(lc);

		if (c->profile != fact->profile || strcmp(c->scope, fact->scope) != 0 ||
			strcmp(c->now.purpose, said->purpose) != 0)
			continue;
		said->channel = c->now.channel;
		(void) state_consent(take, fact, said);
	}
}

/* The event itself is recorded, so it is not to be sent again. */
static void
put_aside(JnyTake *take, JnyFact *fact, const char *sqlstate, const char *reason)
{
	fact->raw->recorded = true;
	jny_tally_quarantine(take, fact->raw, sqlstate, reason);
}

static void
apply_event(JnyTake *take, JnyFact *fact)
{
	bool		granted = strcmp(fact->type, "consent_granted") == 0;
	/* what is taken back is taken back for good */
	const char *expires = granted ? jny_json_text(fact->props, "expires_at") : NULL;
	JnyConsent	said = {
		.channel = granted ? jny_json_text(fact->props, "channel") : jny_message_channel(fact),
		.purpose = jny_json_text(fact->props, "purpose"),
		.basis = jny_json_text(fact->props, "basis"),
		.proof = jny_json_object(fact->props, "proof"),
		.state = granted ? "granted" : "revoked",
		.at = fact->occurred_at
	};

	if (!may_state(take, fact, said.state))
		return;
	if (said.purpose == NULL)
		said.purpose = "marketing";
	if (expires != NULL && !jny_value_time(expires, &said.expires_at))
		put_aside(take, fact, "22007", "expires_at is not a time; the consent was not taken");
	else if (said.channel != NULL)
		(void) state_consent(take, fact, &said);
	else if (granted)
		put_aside(take, fact, "22023", "a consent needs its channel");
	else
		opt_out_everywhere(take, fact, &said);
	if (!jny_message_counts(fact))	/* which has emitted it */
		jny_emit(take, fact, fact->type, fact->props);
}

/* Whoever leaves by a message leaves marketing on its channel, whatever it was about. */
static void
opt_out_of_message(JnyTake *take, JnyFact *fact)
{
	JnyConsent	said = {
		.channel = jny_message_channel(fact), .purpose = "marketing", .state = "revoked", .at = fact->occurred_at
	};

	if (said.channel != NULL)
		(void) state_consent(take, fact, &said);
	else
		opt_out_everywhere(take, fact, &said);
}

/* Of a row that had to be set aside, only what takes rights away. */
static void
apply_opt_outs(JnyTake *take, JnyFact *fact)
{
	const char *purpose = fact->kind == JNY_KIND_EVENT ? jny_json_text(fact->props, "purpose") : NULL;
	JnyConsent	event = {
		.channel = jny_message_channel(fact),
		.purpose = purpose != NULL && jny_value_fits(purpose) ? purpose : "marketing",
		.state = fact->type != NULL && strcmp(fact->type, "message_complained") == 0 ? "complained" : "revoked",
		.at = fact->occurred_at
	};
	bool		of_event = fact->kind == JNY_KIND_EVENT || fact->kind == JNY_KIND_MESSAGE;
	ListCell   *lc;

	foreach(lc, of_event ? list_make1(&event) : fact->consents)
	{
		JnyConsent *said = lfirst(lc);

		if (!takes_away(said->state))
			continue;
		if (said->channel != NULL)
			(void) state_consent(take, fact, said);
		else
			opt_out_everywhere(take, fact, said);
	}
}

void
jny_consent_apply(JnyTake *take, JnyFact *fact)
{
	ListCell   *lc;

	if (!speaks_of_consent(fact))
		return;
	if (fact->opts_out)
	{
		apply_opt_outs(take, fact);
		return;
	}
	if (fact->kind == JNY_KIND_MESSAGE)
	{
		opt_out_of_message(take, fact);
		return;
	}
	if (fact->kind == JNY_KIND_EVENT)
	{
		apply_event(take, fact);
		return;
	}
	foreach(lc, fact->consents)
	{
		JnyConsent *said = lfirst(lc);

		if (may_state(take, fact, said->state) && state_consent(take, fact, said))
			emit_change(take, fact, said, is_granted(take, said));
	}
}

static void
put_consent(JnyCols *cols, const Consent *c)
{
	jny_cols_set(cols, 0, Int16GetDatum(c->profile->bucket));
	jny_cols_set(cols, 1, UUIDPGetDatum(&c->profile->id));
	jny_cols_text(cols, 2, c->scope);
	jny_cols_text(cols, 3, c->now.channel);
	jny_cols_text(cols, 4, c->now.purpose);
	jny_cols_text(cols, 5, c->now.state);
	jny_cols_text(cols, 6, c->now.basis);
	jny_cols_text(cols, 7, c->source);
	jny_cols_set(cols, 8, JsonbPGetDatum(c->now.proof != NULL ? c->now.proof : jny_object_empty()));
	jny_cols_set(cols, 9, TimestampTzGetDatum(c->now.at));
	jny_cols_time(cols, 10, c->now.expires_at);
	jny_cols_next(cols);
}

void
jny_consent_write(JnyTake *take)
{
	JnyOut		out = {.access = &upsert_consents};
	ListCell   *lc;

	if (take->consents == NULL)
		return;
	foreach(lc, take->consents->all)
		if (((Consent *) lfirst(lc))->dirty)
			put_consent(jny_out(&out), lfirst(lc));
	jny_out_write(&out);
	jny_out_write(&take->consents->history);
}
