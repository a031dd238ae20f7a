/*
 * forget.c
 *		Keys of people who were erased.
 *
 * Called by identity.c when the lap's keys have been looked up. A key that
 * nobody has may be that of somebody who was erased: what was captured before
 * the erasure is dropped, so that a late commit brings nobody back; whoever
 * comes later under such a key gets no message but transactional ones, so that
 * a re-import contacts nobody, until unsuppress() says otherwise. Only keyed
 * digests are kept (sql/worker/27_erase.sql); a shop that never erased anybody
 * pays for one look at an index per lap with new keys.
 *
 * A row that names a cart or an order alone, as a line does, follows these:
 * with what is dropped its cart and its order are forgotten, so that a line
 * that is read later does not make them somebody's again.
 */
#include "observe/fact.h"

#include "utils/builtins.h"

JNY_LOOKUP(any_forgotten, "forgotten", "forgotten_pkey", "", "seq", NULL);
JNY_PLAN(find_forgotten, "text[], text[]", "SELECT n, seq FROM journey._forgotten($1, $2)");
JNY_PLAN(forget_objects, "text[], text[], text[], text[]", "SELECT journey._forget_objects($1, $2, $3, $4)");
JNY_UPSERT(suppress, "suppression", "suppression_pkey", "bucket, profile_id, seq, type, linked",
		   "bucket, profile_id, seq, type, linked, ref, scope, reason, occurred_at, effective_at, incarnation, lap, note", "");

static bool
is_any_forgotten(void)
{
	JnyCols    *all = jny_cols_of(&any_forgotten);

	jny_cols_next(all);
	return jny_lookup_at(&any_forgotten, all, NULL, 1)->n > 0;
}

static List *
ask(List *asked, JnyKey *key)
{
	if (key == NULL || key->known || key->asked)
		return asked;
	key->asked = true;
	return lappend(asked, key);
}

/* What a fact names with a person needs no asking: it is dropped with them, or theirs. */
static void
names_with_person(JnyKey *object)
{
	if (object != NULL)
		object->asked = true;
}

/* Keys that nobody has: of people and browsers, and of what facts name without saying whose it is. */
static List *
unknown_keys(JnyTake *take)
{
	List	   *asked = NIL;

	for (int i = 0; i < take->nfacts; i++)
	{
		const JnyFact *fact = take->facts[i];

		if (fact->nkeys == 0 || fact->drop)
			continue;
		for (int k = 0; k < fact->nkeys; k++)
			if (fact->keys[k]->id.space->class <= JNY_CLASS_SESSION)
				asked = ask(asked, fact->keys[k]);
		names_with_person(fact->order);
		names_with_person(fact->cart);
		names_with_person(fact->parcel);
	}
	for (int i = 0; i < take->nfacts; i++)
	{
		const JnyFact *fact = take->facts[i];

		if (fact->nkeys > 0 || fact->has_owner || fact->drop)
			continue;
		asked = ask(ask(ask(asked, fact->order), fact->cart), fact->parcel);
	}
	return asked;
}

static bool
is_any_unknown(const JnyTake *take)
{
	HASH_SEQ_STATUS scan;
	JnyKey	   *key;

	hash_seq_init(&scan, take->keys);
	while ((key = hash_seq_search(&scan)) != NULL)
		if (!key->known)
		{
			hash_seq_term(&scan);
			return true;
		}
	return false;
}

void
jny_forget_find(JnyTake *take)
{
	JnyCols    *cols;
	List	   *asked;
	ListCell   *lc;
	uint64		n;

#ifdef JOURNEY_BUG_ERASURE_WITHOUT_TOMBSTONE
	/* who was erased is somebody new */
	return;
#endif
	if (!is_any_unknown(take) || !is_any_forgotten())
		return;
	asked = unknown_keys(take);
	if (asked == NIL)
		return;
	cols = jny_cols("text, text");
	foreach(lc, asked)
	{
		const JnyKey *key = lfirst(lc);

		jny_cols_text(cols, 0, key->id.space->name);
		jny_cols_text(cols, 1, key->value);
		jny_cols_next(cols);
	}
	n = jny_run(&find_forgotten, jny_cols_datums(cols, 0), NULL);
	for (uint64 row = 0; row < n; row++)
	{
		JnyKey	   *key = list_nth(asked, (int) jny_get_int8(row, 1, 0));

		key->forgotten = jny_get_int8(row, 2, 0);
	}
}

static void
forget_object(JnyTake *take, JnyKey *object, const JnyKey *of)
{
	if (object == NULL || object->known || object->forgotten != 0)
		return;
	object->forgotten = of->forgotten;
	if (take->forgotten_objects == NULL)
		take->forgotten_objects = jny_cols("text, text, text, text");
	jny_cols_text(take->forgotten_objects, 0, object->id.space->name);
	jny_cols_text(take->forgotten_objects, 1, object->value);
	jny_cols_text(take->forgotten_objects, 2, of->id.space->name);
	jny_cols_text(take->forgotten_objects, 3, of->value);
	jny_cols_next(take->forgotten_objects);
}

/* By what was forgotten a fact is nobody's; NULL when it is somebody's. */
static const JnyKey *
forgotten_by(const JnyFact *fact)
{
	JnyKey	   *objects[] = {fact->order, fact->cart, fact->parcel};
	const JnyKey *by = NULL;

	if (fact->nkeys > 0)
	{
		/* captured before all its people were erased, and nobody has come back since */
		for (int i = 0; i < fact->nkeys; i++)
			if (fact->keys[i]->known || fact->keys[i]->forgotten <= fact->seq)
				return NULL;
		return fact->keys[0];
	}
	for (Size i = 0; i < lengthof(objects); i++)
	{
		if (objects[i] == NULL)
			continue;
		if (objects[i]->known)
			return NULL;
		if (objects[i]->forgotten != 0)
			by = objects[i];
	}
	return by;
}

bool
jny_forget_drops(JnyTake *take, const JnyFact *fact)
{
	const JnyKey *by = forgotten_by(fact);

	if (by == NULL)
		return false;
	forget_object(take, fact->order, by);
	forget_object(take, fact->cart, by);
	forget_object(take, fact->parcel, by);
	return true;
}

/* Somebody has come back. */
void
jny_forget_suppress(JnyTake *take, const JnyFact *fact, JnyKey *key)
{
	const JnyBatch *batch = take->batch;
	JnyCols    *cols;

	if (key->forgotten == 0)
		return;
	key->forgotten = 0;
	if (key->id.space->class == JNY_CLASS_OBJECT)
		return;
	if (take->forgotten == NULL)
		take->forgotten = jny_cols_of(&suppress);
	cols = take->forgotten;
	jny_cols_set(cols, 0, Int16GetDatum(fact->profile->bucket));
	jny_cols_set(cols, 1, jny_uuid_datum(&fact->profile->id));
	jny_cols_set(cols, 2, Int64GetDatum(fact->seq));
	jny_cols_text(cols, 3, "manual");
	jny_cols_set(cols, 4, BoolGetDatum(false));
	jny_cols_text(cols, 5, "");
	jny_cols_text(cols, 6, "*");
	jny_cols_text(cols, 7, "suppressed");
	jny_cols_set(cols, 8, TimestampTzGetDatum(batch->node.now));
	jny_cols_set(cols, 9, TimestampTzGetDatum(batch->node.now));
	jny_cols_set(cols, 10, Int32GetDatum(batch->node.incarnation));
	jny_cols_set(cols, 11, Int64GetDatum(batch->lap));
	jny_cols_text(cols, 12, "journey: somebody with this key was erased before");
	jny_cols_next(cols);
}

void
jny_forget_write(JnyTake *take)
{
	if (take->forgotten != NULL)
		(void) jny_write(&suppress, take->forgotten);
	if (take->forgotten_objects != NULL)
		(void) jny_run(&forget_objects, jny_cols_datums(take->forgotten_objects, 0), NULL);
}
