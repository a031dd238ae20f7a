/*
 * contact.c
 *		Addresses: where a person can be reached, by scope and channel.
 *
 * Called by take.c. An address that the person or the shop's customer row
 * states replaces the one before it and starts fresh; one that merely came
 * along in a subject is taken only while there is no other. What became of
 * an address (a bounce, a complaint) stays with the address. Two statements
 * per lap at most.
 */
#include "observe/fact.h"

#include "executor/spi.h"
#include "utils/builtins.h"

JNY_PLAN(replace_contacts, "smallint[], uuid[], text[], text[], bigint[], timestamptz",
		 "UPDATE journey.contact_point c SET state = 'replaced', changed_at = $6"
		 " FROM unnest($1, $2, $3, $4, $5) AS n(bucket, profile_id, scope, channel, address_hash)"
		 " WHERE c.bucket = n.bucket AND c.profile_id = n.profile_id AND c.scope = n.scope"
		 "  AND c.channel = n.channel AND c.address_hash <> n.address_hash AND c.state IN ('active', 'unverified')");
JNY_PLAN(insert_contacts, "smallint[], uuid[], text[], text[], text[], bigint[], boolean[], timestamptz",
		 "INSERT INTO journey.contact_point AS c (bucket, profile_id, scope, channel, address, address_hash,"
		 "  state, since, changed_at)"
		 " SELECT n.bucket, n.profile_id, n.scope, n.channel, n.address, n.address_hash, 'active', $8, $8"
		 " FROM unnest($1, $2, $3, $4, $5, $6, $7)"
		 "  AS n(bucket, profile_id, scope, channel, address, address_hash, asserted)"
		 " WHERE n.asserted OR NOT EXISTS ("
		 "  SELECT FROM journey.contact_point o WHERE o.bucket = n.bucket AND o.profile_id = n.profile_id"
		 "   AND o.scope = n.scope AND o.channel = n.channel AND o.state IN ('active', 'unverified'))"
		 " ON CONFLICT (bucket, profile_id, scope, channel, address_hash) DO UPDATE"
		 " SET state = 'active', since = excluded.since, changed_at = excluded.changed_at, reason = NULL"
		 " WHERE c.state = 'replaced'");

/* The one address that this lap leaves a person, per scope and channel. */
typedef struct ContactKey
{
	pg_uuid_t	id;
	int64		where;			/* hash of scope and channel */
} ContactKey;

typedef struct Contact
{
	ContactKey	key;
	JnyProfile *profile;
	const char *scope;
	const char *channel;
	const char *address;
	int64		hash;
	bool		asserted;
} Contact;

typedef struct JnyContacts
{
	HTAB	   *table;
} JnyContacts;

static void
note(JnyTake *take, JnyFact *fact, const char *channel, const char *namespace, const char *value, bool asserted)
{
	ContactKey	key;
	Contact    *c;
	const char *address = value != NULL ? jny_normalise(namespace, value) : NULL;
	bool		found;

	if (address == NULL || !jny_value_fits(address))
		return;
	if (take->contacts == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(ContactKey), .entrysize = sizeof(Contact), .hcxt = take->batch->cxt};

		take->contacts = palloc0(sizeof(JnyContacts));
		take->contacts->table = hash_create("journey contacts", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	memset(&key, 0, sizeof(key));
	key.id = fact->profile->id;
	key.where = jny_key_hash(fact->scope, channel);
	c = hash_search(take->contacts->table, &key, HASH_ENTER, &found);
	if (found && c->asserted && !asserted)
		return;
	if (found && !asserted)
		return;
	c->profile = fact->profile;
	c->scope = fact->scope;
	c->channel = channel;
	c->address = address;
	c->hash = jny_key_hash(namespace, address);
	c->asserted = asserted;
}

static bool
is_own_key(const JnyFact *fact, const JnyKey *key)
{
	return key->profile == fact->profile;
}

/* Addresses that the fact brings. */
void
jny_contact_apply(JnyTake *take, JnyFact *fact)
{
	bool		customer = fact->kind == JNY_KIND_CUSTOMER && fact->op != JNY_OP_DELETE;
	bool		identified = fact->kind == JNY_KIND_EVENT && strcmp(fact->type, "identified") == 0;

	for (int i = 0; i < fact->nkeys; i++)
	{
		JnyKey	   *key = fact->keys[i];
		const char *name = key->id.space->name;

		if (!is_own_key(fact, key) || customer)
			continue;
		if (strcmp(name, "email") == 0)
			note(take, fact, "email", "email", key->value, identified);
		else if (strcmp(name, "phone") == 0)
			note(take, fact, "sms", "phone", key->value, identified);
	}
	if (customer)
	{
		note(take, fact, "email", "email", fact->f[JNY_F_EMAIL], true);
		note(take, fact, "sms", "phone", fact->f[JNY_F_PHONE], true);
		note(take, fact, "push", "push_token", fact->f[JNY_F_PUSH], true);
	}
	else if (identified)
	{
		Jsonb	   *traits = jny_json_object(fact->props, "traits");

		if (traits == NULL)
			traits = fact->props;
		note(take, fact, "email", "email", jny_json_text(traits, "email"), true);
		note(take, fact, "sms", "phone", jny_json_text(traits, "phone"), true);
		note(take, fact, "push", "push_token", jny_json_text(traits, "push_token"), true);
	}
}

static void
add_contact(JnyCols *all, JnyCols *stated, const Contact *c)
{
	jny_cols_set(all, 0, Int16GetDatum(c->profile->bucket));
	jny_cols_set(all, 1, jny_uuid_datum(&c->profile->id));
	jny_cols_text(all, 2, c->scope);
	jny_cols_text(all, 3, c->channel);
	jny_cols_text(all, 4, c->address);
	jny_cols_set(all, 5, Int64GetDatum(c->hash));
	jny_cols_set(all, 6, BoolGetDatum(c->asserted));
	jny_cols_next(all);
	if (!c->asserted || c->profile->is_new)
		return;
	jny_cols_set(stated, 0, Int16GetDatum(c->profile->bucket));
	jny_cols_set(stated, 1, jny_uuid_datum(&c->profile->id));
	jny_cols_text(stated, 2, c->scope);
	jny_cols_text(stated, 3, c->channel);
	jny_cols_set(stated, 4, Int64GetDatum(c->hash));
	jny_cols_next(stated);
}

void
jny_contact_write(JnyTake *take)
{
	JnyCols    *all = jny_cols("smallint, uuid, text, text, text, bigint, boolean");
	JnyCols    *stated = jny_cols("smallint, uuid, text, text, bigint");
	HASH_SEQ_STATUS scan;
	Contact    *c;
	Datum	   *args;

	if (take->contacts == NULL)
		return;
	hash_seq_init(&scan, take->contacts->table);
	while ((c = hash_seq_search(&scan)) != NULL)
		add_contact(all, stated, c);
	if (jny_cols_count(stated) > 0)
	{
		args = jny_cols_datums(stated, 1);
		args[5] = TimestampTzGetDatum(take->batch->node.now);
		jny_run(&replace_contacts, args, NULL);
	}
	args = jny_cols_datums(all, 1);
	args[7] = TimestampTzGetDatum(take->batch->node.now);
	jny_run(&insert_contacts, args, NULL);
}
