/*
 * identity.c
 *		Messages seen before are dropped; facts get their person.
 *
 * Called by take.c once per lap. Linking is deterministic: a key
 * that is new joins the person of the keys it came with. Keys of two people
 * name both on the event and link them (link.c), so that a purchase ends the
 * actions of both; where they say that the two are one, these are merged at
 * the end of the lap (wish.c). Carts and orders are keys too: the weakest, and
 * they follow the person who last named them. A source that is
 * not trusted, such as a browser, says of each event whose it is and nothing
 * more: what keys it names together, and whose cart it names, links nobody.
 */
#include "observe/fact.h"

#include "utils/builtins.h"

JNY_LOOKUP(find_messages, "event_key", "event_key_pkey", "bucket, hash", "", NULL);
JNY_INSERT(insert_messages, "event_key", "bucket, hash, received_at, test");
JNY_LOOKUP(find_keys, "identity", "identity_pkey", "bucket, key_hash, namespace, value", "profile_id, source", NULL);
#define KEY_COLUMNS \
	"bucket, key_hash, namespace, value, profile_bucket, profile_id, confidence, method, source, since"
JNY_INSERT(insert_keys, "identity", KEY_COLUMNS);
JNY_UPSERT(move_keys, "identity", "identity_pkey", "bucket, key_hash, namespace, value",
		   KEY_COLUMNS, "profile_bucket, profile_id, source");

/* ---- dedupe ----------------------------------------------------------- */

typedef struct Message
{
	pg_uuid_t	hash;
	JnyFact    *fact;			/* the first of this lap */
} Message;

static void
drop_duplicate(JnyTake *take, JnyFact *fact)
{
	fact->drop = true;
	take->batch->duplicates++;
}

static void
put_message(JnyCols *cols, const Message *m)
{
	jny_cols_set(cols, 0, Int16GetDatum(jny_bucket_of_id(&m->hash)));
	jny_cols_set(cols, 1, UUIDPGetDatum(&m->hash));
}

/* Drops what this lap has twice; the rest is returned. */
static List *
distinct_messages(JnyTake *take)
{
	HTAB	   *table = NULL;
	List	   *messages = NIL;

	for (int i = 0; i < take->nfacts; i++)
	{
		JnyFact    *fact = take->facts[i];
		Message    *m;
		pg_uuid_t	hash;
		bool		found;

		if (fact->message_id == NULL || fact->drop)
			continue;
		if (table == NULL)
			table = jny_table(take, "journey messages", sizeof(pg_uuid_t), sizeof(Message));
		jny_uuid_of(&hash, fact->source, fact->message_id, NULL);
		m = hash_search(table, &hash, HASH_ENTER, &found);
		if (found)
		{
			drop_duplicate(take, fact);
			continue;
		}
		m->fact = fact;
		messages = lappend(messages, m);
	}
	return messages;
}

/* There is one consumer: what is not found now, nobody else inserts. */
void
jny_dedupe(JnyTake *take)
{
	List	   *messages = distinct_messages(take);
	JnyOut		fresh = {.access = &insert_messages, .portions = true};
	JnyCols    *keys;
	JnyRows    *known;
	ListCell   *lc;

	if (messages == NIL)
		return;
	keys = jny_cols_of(&find_messages);
	foreach(lc, messages)
	{
		put_message(keys, lfirst(lc));
		jny_cols_next(keys);
	}
	known = jny_lookup(&find_messages, keys);
	for (int i = 0; i < known->n; i++)
		drop_duplicate(take, ((Message *) list_nth(messages, known->row[i].key))->fact);
	foreach(lc, messages)
	{
		const Message *m = lfirst(lc);

		if (m->fact->drop)
			continue;
		put_message(jny_out(&fresh), m);
		jny_cols_set(fresh.cols, 2, TimestampTzGetDatum(take->batch->node.now));
		jny_cols_set(fresh.cols, 3, BoolGetDatum(take->batch->node.test));
		jny_cols_next(fresh.cols);
	}
	jny_out_write(&fresh);
}

/* ---- finding ---------------------------------------------------------- */

static void
put_key(JnyCols *cols, const JnyKey *key)
{
	jny_cols_set(cols, 0, Int16GetDatum(jny_bucket_of_hash(key->id.hash)));
	jny_cols_set(cols, 1, Int64GetDatum(key->id.hash));
	jny_cols_text(cols, 2, key->id.space->name);
	jny_cols_text(cols, 3, key->value);
}

static void
find_known(JnyTake *take)
{
	JnyOut		keys = {.access = &find_keys};
	List	   *asked = NIL;
	JnyRows    *found;
	HASH_SEQ_STATUS scan;
	JnyKey	   *key;

	hash_seq_init(&scan, take->keys);
	while ((key = hash_seq_search(&scan)) != NULL)
	{
		put_key(jny_out(&keys), key);
		jny_cols_next(keys.cols);
		asked = lappend(asked, key);
	}
	if (asked == NIL)
		return;
	found = jny_lookup(&find_keys, keys.cols);
	for (int i = 0; i < found->n; i++)
	{
		key = list_nth(asked, found->row[i].key);
		key->known = key->stored = key->found = true;
		key->owner = *jny_row_uuid(&found->row[i], 0);
		key->source = jny_row_text(&found->row[i], 1);
	}
}

static void
load_people(JnyTake *take)
{
	List	   *ids = NIL;
	HTAB	   *seen = jny_table(take, "journey people to load", sizeof(pg_uuid_t), sizeof(pg_uuid_t));
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

/* Is the person the one that this key makes when nobody knows it? */
static bool
is_maker(const JnyKey *key, const pg_uuid_t *profile_id)
{
	pg_uuid_t	made;

	jny_uuid_of(&made, "profile", key->id.space->name, key->value, NULL);
	return memcmp(&made, profile_id, sizeof(made)) == 0;
}

/* The key belongs to the fact's person from now on, and strengthens them. */
static void
link_key(JnyTake *take, JnyKey *key, const JnyFact *fact)
{
	const JnySpace *space = key->id.space;
	JnyProfile *p = fact->profile;

	key->known = true;
	key->stored = false;
	key->owner = p->id;
	key->profile = p;
	key->source = fact->source;
	jny_forget_suppress(take, fact, key);
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
 * session, but not another person: the order may have changed hands. Both
 * the one who says so now and the one who said whose the object is count.
 */
static bool
joins(const JnyFact *fact, const JnyKey *object)
{
	if (object == NULL || !object->known)
		return false;
	if (fact->nkeys > 0 && !(fact->trusted && jny_source_trusted(object->source)))
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
	if (joins(fact, fact->parcel))
		return fact->parcel->profile;
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
		{
			if (fact->trusted || is_maker(key, &fact->profile->id))
				link_key(take, key, fact);
		}
		else if (key->profile != fact->profile)
		{
			bool		session = key->profile->is_session || fact->profile->is_session;

			add_other(fact, key->profile);
			if (jny_wish_merge(take, fact, key))
				continue;
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
		link_key(take, key, fact);
	else if (key->profile != fact->profile)
	{
		add_other(fact, key->profile);
		if ((fact->nkeys > 0 || key == fact->parcel) && fact->trusted && !fact->fence_only &&
			(key->profile->is_session || !fact->profile->is_session))
			link_key(take, key, fact);
	}
}

static JnyProfile *
present_owner(const JnyKey *object)
{
	return object != NULL && object->known ? object->profile : NULL;
}

static void
identify(JnyTake *take, JnyFact *fact)
{
	JnyProfile *of_order = present_owner(fact->order);
	JnyProfile *of_cart = present_owner(fact->cart);

	if (!fact->has_owner && jny_forget_drops(take, fact))
	{
		fact->drop = true;
		return;
	}
	jny_alias_settle(fact);
	fact->profile = owner_of(take, fact);
	if (fact->profile == NULL)
		return;
	if (fact->has_owner)
	{
		/* an outcome or a message's event: found through the action, proves nothing about keys */
		for (int i = 0; i < fact->nkeys; i++)
			if (fact->keys[i]->known)
				add_other(fact, fact->keys[i]->profile);
		jny_wish_by_click(take, fact);
		return;
	}
	link_person_keys(take, fact);
	link_object(take, fact, fact->order);
	link_object(take, fact, fact->cart);
	link_object(take, fact, fact->parcel);
	jny_link_people(take, fact, of_order, of_cart);
}

void
jny_identify(JnyTake *take)
{
	find_known(take);
	load_people(take);
	jny_wish_aliases(take);
	jny_forget_find(take);
	for (int i = 0; i < take->nfacts; i++)
		if (!take->facts[i]->drop)
			identify(take, take->facts[i]);
}

/* ---- writing ---------------------------------------------------------- */

static void
write_key(JnyOut *out, const JnyKey *key, TimestampTz now)
{
	JnyCols    *cols = jny_out(out);

	put_key(cols, key);
	jny_cols_set(cols, 4, Int16GetDatum(key->profile->bucket));
	jny_cols_set(cols, 5, UUIDPGetDatum(&key->owner));
	jny_cols_set(cols, 6, Float8GetDatum(key->method != NULL ? key->confidence : key->id.space->confidence));
	jny_cols_text(cols, 7, key->method != NULL ? key->method : is_maker(key, &key->owner) ? "created" : "deterministic");
	jny_cols_text(cols, 8, key->source);
	jny_cols_set(cols, 9, TimestampTzGetDatum(now));
	jny_cols_next(cols);
}

/* New keys are most of a busy lap's writing: there is one consumer, so they need not be looked for again. */
void
jny_identity_write(JnyTake *take)
{
	JnyOut		fresh = {.access = &insert_keys, .portions = true};
	JnyOut		moved = {.access = &move_keys};
	HASH_SEQ_STATUS scan;
	JnyKey	   *key;

	hash_seq_init(&scan, take->keys);
	while ((key = hash_seq_search(&scan)) != NULL)
		if (key->known && !key->stored)
			write_key(key->found ? &moved : &fresh, key, take->batch->node.now);
	jny_out_write(&fresh);
	jny_out_write(&moved);
}
