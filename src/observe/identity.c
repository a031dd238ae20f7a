/*
 * identity.c
 *		Messages seen before are dropped; facts get their person.
 *
 * Called by take.c once per lap: one statement for dedupe, one to find keys,
 * one to load people, one to write new keys. Linking is deterministic: a key
 * that is new joins the person of the keys it came with; keys of two people
 * are not merged in this release, but both are named on the event, so that a
 * purchase ends the actions of both. Carts and orders are keys too: the
 * weakest, and they follow the person who last named them.
 */
#include "observe/fact.h"

#include "executor/spi.h"
#include "utils/builtins.h"

JNY_PLAN(insert_event_key, "smallint[], uuid[], timestamptz",
		 "INSERT INTO journey.event_key (bucket, hash, received_at)"
		 " SELECT k.bucket, k.hash, $3 FROM unnest($1, $2) AS k(bucket, hash)"
		 " ON CONFLICT (bucket, hash) DO NOTHING RETURNING hash");
JNY_PLAN(find_keys, "smallint[], bigint[], text[], text[]",
		 "SELECT i.key_hash, i.namespace, i.profile_id"
		 " FROM unnest($1, $2, $3, $4) AS k(bucket, key_hash, namespace, value)"
		 " JOIN journey.identity i ON i.bucket = k.bucket AND i.key_hash = k.key_hash"
		 "  AND i.namespace = k.namespace AND i.value = k.value");
JNY_PLAN(insert_keys, "smallint[], bigint[], text[], text[], smallint[], uuid[], float8[], text[], text[], timestamptz",
		 "INSERT INTO journey.identity (bucket, key_hash, namespace, value, profile_bucket, profile_id,"
		 "  confidence, method, source, since)"
		 " SELECT k.*, $10 FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) AS k");
JNY_PLAN(upsert_keys, "smallint[], bigint[], text[], text[], smallint[], uuid[], float8[], text[], text[], timestamptz",
		 "INSERT INTO journey.identity (bucket, key_hash, namespace, value, profile_bucket, profile_id,"
		 "  confidence, method, source, since)"
		 " SELECT k.*, $10 FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) AS k"
		 " ON CONFLICT (bucket, key_hash, namespace, value) DO UPDATE"
		 " SET profile_bucket = excluded.profile_bucket, profile_id = excluded.profile_id, source = excluded.source");

/* ---- dedupe ----------------------------------------------------------- */

typedef struct Message
{
	pg_uuid_t	hash;
	JnyFact    *fact;
	bool		fresh;
} Message;

static HTAB *
uuid_table(JnyTake *take, const char *name, size_t entry)
{
	HASHCTL		ctl = {.keysize = sizeof(pg_uuid_t), .entrysize = entry, .hcxt = take->batch->cxt};

	return hash_create(name, 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
drop_duplicate(JnyTake *take, JnyFact *fact)
{
	fact->drop = true;
	take->batch->duplicates++;
}

void
jny_dedupe(JnyTake *take)
{
	HTAB	   *messages = uuid_table(take, "journey messages", sizeof(Message));
	JnyCols    *cols = jny_cols("smallint, uuid");
	HASH_SEQ_STATUS scan;
	Message    *m;
	Datum	   *args;

	for (int i = 0; i < take->nfacts; i++)
	{
		JnyFact    *fact = take->facts[i];
		pg_uuid_t	hash;
		bool		found;

		if (fact->message_id == NULL || fact->drop)
			continue;
		jny_uuid_of(&hash, fact->source, fact->message_id, NULL);
		m = hash_search(messages, &hash, HASH_ENTER, &found);
		if (found)
		{
			drop_duplicate(take, fact);
			continue;
		}
		m->fact = fact;
		m->fresh = false;
		jny_cols_set(cols, 0, Int16GetDatum(jny_bucket_of_id(&hash)));
		jny_cols_set(cols, 1, jny_uuid_datum(&hash));
		jny_cols_next(cols);
	}
	if (jny_cols_count(cols) == 0)
		return;
	args = jny_cols_datums(cols, 1);
	args[2] = TimestampTzGetDatum(take->batch->node.now);
	jny_run(&insert_event_key, args, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		m = hash_search(messages, jny_get_uuid(row, 1), HASH_FIND, NULL);
		m->fresh = true;
	}
	hash_seq_init(&scan, messages);
	while ((m = hash_seq_search(&scan)) != NULL)
		if (!m->fresh)
			drop_duplicate(take, m->fact);
}

/* ---- finding ---------------------------------------------------------- */

static void
find_known(JnyTake *take)
{
	JnyCols    *cols = jny_cols("smallint, bigint, text, text");
	HASH_SEQ_STATUS scan;
	JnyKey	   *key;

	hash_seq_init(&scan, take->keys);
	while ((key = hash_seq_search(&scan)) != NULL)
	{
		jny_cols_set(cols, 0, Int16GetDatum(jny_bucket_of_hash(key->id.hash)));
		jny_cols_set(cols, 1, Int64GetDatum(key->id.hash));
		jny_cols_text(cols, 2, key->id.space->name);
		jny_cols_text(cols, 3, key->value);
		jny_cols_next(cols);
	}
	if (jny_cols_count(cols) == 0)
		return;
	jny_run(&find_keys, jny_cols_datums(cols, 0), NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		const char *namespace = jny_get_text(row, 2);
		struct
		{
			int64		hash;
			const JnySpace *space;
		}			id = {.hash = jny_get_int8(row, 1, 0)};

		for (int i = 0; i < take->nspaces; i++)
			if (strcmp(take->spaces[i].name, namespace) == 0)
				id.space = &take->spaces[i];
		key = hash_search(take->keys, &id, HASH_FIND, NULL);
		if (key == NULL)
			continue;
		key->known = key->stored = key->found = true;
		key->owner = *jny_get_uuid(row, 3);
	}
}

static void
load_people(JnyTake *take)
{
	List	   *ids = NIL;
	HTAB	   *seen = uuid_table(take, "journey people to load", sizeof(pg_uuid_t));
	HASH_SEQ_STATUS scan;
	JnyKey	   *key;
	bool		found;

	hash_seq_init(&scan, take->keys);
	while ((key = hash_seq_search(&scan)) != NULL)
		if (key->known)
		{
			pg_uuid_t  *id = hash_search(seen, &key->owner, HASH_ENTER, &found);

			if (!found)
				ids = lappend(ids, id);
		}
	for (int i = 0; i < take->nfacts; i++)
		if (take->facts[i]->has_owner)
		{
			pg_uuid_t  *id = hash_search(seen, &take->facts[i]->profile_id, HASH_ENTER, &found);

			if (!found)
				ids = lappend(ids, id);
		}
	if (ids != NIL)
		jny_profiles_load(take->batch, ids);
	hash_seq_init(&scan, take->keys);
	while ((key = hash_seq_search(&scan)) != NULL)
		if (key->known)
		{
			key->profile = jny_profile_get(take->batch, &key->owner);
			key->known = key->profile != NULL;	/* a person who was erased: the key starts anew */
			key->stored_at = key->profile;
		}
}

/* ---- linking ---------------------------------------------------------- */

static JnyProfile *
make_profile(JnyTake *take, JnyKey *key)
{
	pg_uuid_t	id;
	JnyProfile *p;
	bool		found;

	jny_uuid_of(&id, "profile", key->id.space->name, key->value, NULL);
	p = hash_search(take->batch->profiles, &id, HASH_ENTER, &found);
	if (found)
		return p;
	memset((char *) p + sizeof(pg_uuid_t), 0, sizeof(JnyProfile) - sizeof(pg_uuid_t));
	p->bucket = jny_bucket_of_id(&id);
	p->is_session = true;
	p->traits = jny_object_empty();
	p->stage = "awareness";
	p->is_new = true;
	return p;
}

/* The key belongs to the person from now on, and strengthens them. */
static void
link_key(JnyTake *take, JnyKey *key, JnyProfile *p)
{
	const JnySpace *space = key->id.space;

	key->known = true;
	key->stored = false;
	key->owner = p->id;
	key->profile = p;
	if (space->class == JNY_CLASS_PERSON && p->is_session)
	{
		p->is_session = false;
		jny_person_changed(take, p);
	}
	if (space->class != JNY_CLASS_OBJECT && space->confidence > p->confidence)
	{
		p->confidence = space->confidence;
		jny_person_changed(take, p);
	}
	if (p->is_new)
		jny_person_changed(take, p);
}

static void
add_other(JnyFact *fact, JnyProfile *p)
{
	if (p == NULL || p == fact->profile)
		return;
	for (int i = 0; i < fact->nothers; i++)
		if (fact->others[i] == p)
			return;
	fact->others = fact->nothers == 0 ? palloc(sizeof(JnyProfile *))
		: repalloc(fact->others, sizeof(JnyProfile *) * (fact->nothers + 1));
	fact->others[fact->nothers++] = p;
}

/*
 * May keys that nobody knows join the owner of a cart or an order? A browser
 * that goes on with a cart is its owner's; a person's own key joins a
 * session, but not another person: the order may have changed hands.
 */
static bool
joins(const JnyFact *fact, const JnyKey *object)
{
	if (object == NULL || !object->known)
		return false;
	return object->profile->is_session || fact->nkeys == 0 ||
		fact->keys[0]->id.space->class != JNY_CLASS_PERSON;
}

static JnyProfile *
owner_of(JnyTake *take, JnyFact *fact)
{
	JnyKey	   *maker;

	if (fact->has_owner)
		return jny_profile_get(take->batch, &fact->profile_id);
	for (int i = 0; i < fact->nkeys; i++)
		if (fact->keys[i]->known)
			return fact->keys[i]->profile;
	if (joins(fact, fact->order))
		return fact->order->profile;
	if (joins(fact, fact->cart))
		return fact->cart->profile;
	maker = fact->nkeys > 0 ? fact->keys[0] : fact->order != NULL ? fact->order : fact->cart;
	return maker != NULL ? make_profile(take, maker) : NULL;
}

static void
link_person_keys(JnyTake *take, JnyFact *fact)
{
	for (int i = 0; i < fact->nkeys; i++)
	{
		JnyKey	   *key = fact->keys[i];

		if (!key->known)
			link_key(take, key, fact->profile);
		else if (key->profile != fact->profile)
		{
			bool		session = key->profile->is_session || fact->profile->is_session;

			add_other(fact, key->profile);
			jny_tally_incident(take, "identity_conflict",
							   psprintf("%s %s", fact->keys[0]->id.space->name, key->id.space->name),
							   session ? "info" : "warning",
							   "keys that came together belong to two profiles; they were not merged",
							   "The event went to the profile of the stronger key; a purchase still ends the actions of both.");
		}
	}
}

/* A cart or an order follows the person who names it, but never from a person to a session. */
static void
link_object(JnyTake *take, JnyFact *fact, JnyKey *key)
{
	if (key == NULL)
		return;
	if (!key->known)
		link_key(take, key, fact->profile);
	else if (key->profile != fact->profile)
	{
		add_other(fact, key->profile);
		if (fact->nkeys > 0 && !fact->fence_only && (key->profile->is_session || !fact->profile->is_session))
		{
			link_key(take, key, fact->profile);
		}
	}
}

static void
identify(JnyTake *take, JnyFact *fact)
{
	fact->profile = owner_of(take, fact);
	if (fact->profile == NULL)
		return;
	if (fact->has_owner)
	{
		/* an outcome or a message's event: found through the action, proves nothing about keys */
		for (int i = 0; i < fact->nkeys; i++)
			if (fact->keys[i]->known)
				add_other(fact, fact->keys[i]->profile);
		return;
	}
	link_person_keys(take, fact);
	link_object(take, fact, fact->order);
	link_object(take, fact, fact->cart);
}

void
jny_identify(JnyTake *take)
{
	find_known(take);
	load_people(take);
	for (int i = 0; i < take->nfacts; i++)
		if (!take->facts[i]->drop)
			identify(take, take->facts[i]);
}

static JnyCols *
key_cols(void)
{
	return jny_cols("smallint, bigint, text, text, smallint, uuid, float8, text, text");
}

static void
put_key(JnyCols *cols, const JnyKey *key)
{
	pg_uuid_t	made;

	jny_uuid_of(&made, "profile", key->id.space->name, key->value, NULL);
	jny_cols_set(cols, 0, Int16GetDatum(jny_bucket_of_hash(key->id.hash)));
	jny_cols_set(cols, 1, Int64GetDatum(key->id.hash));
	jny_cols_text(cols, 2, key->id.space->name);
	jny_cols_text(cols, 3, key->value);
	jny_cols_set(cols, 4, Int16GetDatum(key->profile->bucket));
	jny_cols_set(cols, 5, UUIDPGetDatum(&key->owner));
	jny_cols_set(cols, 6, Float8GetDatum(key->id.space->confidence));
	jny_cols_text(cols, 7, memcmp(&made, &key->owner, sizeof(made)) == 0 ? "created" : "deterministic");
	jny_cols_text(cols, 8, key->source);
	jny_cols_next(cols);
}

static void
write_keys(JnyTake *take, JnyPlan *plan, JnyCols *cols)
{
	Datum	   *args;

	if (jny_cols_count(cols) == 0)
		return;
	args = jny_cols_datums(cols, 1);
	args[9] = TimestampTzGetDatum(take->batch->node.now);
	jny_run(plan, args, NULL);
}

/* New keys are most of a busy lap's writing: there is one consumer, so they need no conflict clause. */
void
jny_identity_write(JnyTake *take)
{
	JnyCols    *fresh = key_cols();
	JnyCols    *changed = key_cols();
	HASH_SEQ_STATUS scan;
	JnyKey	   *key;

	hash_seq_init(&scan, take->keys);
	while ((key = hash_seq_search(&scan)) != NULL)
		if (key->known && !key->stored)
			put_key(key->found ? changed : fresh, key);
	write_keys(take, &insert_keys, fresh);
	write_keys(take, &upsert_keys, changed);
}
