/*
 * wish.c
 *		People who turn out to be one: they are to be merged.
 *
 * Called by identity.c and take.c. The lap links them, as it links all whom an
 * event names together (link.c), so that from its commit on a purchase of one
 * ends the messages of both; that they become one is then only a matter of
 * when. The wish is written once per pair and stays when it is refused:
 * worker/merge.c takes it from there.
 */
#include "observe/fact.h"

#include "utils/xid8.h"

#define PAIR "bucket, profile_id, other_bucket, other_id"
JNY_UPSERT(write_wishes, "merge_wish", "merge_wish_pkey", PAIR,
		   PAIR ", method, confidence, keys, source, since, link_xact, incarnation, try_at", "");
JNY_LOOKUP(find_aliases, "profile_alias", "profile_alias_pkey", "bucket, profile_id", "into_id", NULL);

/* Somebody says so; keys that came together prove it. */
#define BY_WORD 0.9
/* Whoever follows a link in a message is most likely whom it was sent to; it may have been passed on. */
#define BY_CLICK 0.7

typedef struct Wish
{
	struct
	{
		pg_uuid_t	a;			/* the smaller id */
		pg_uuid_t	b;
	}			pair;
	const JnyFact *fact;
	const char *method;
	double		confidence;
	const char *keys;
} Wish;

static void
wish(JnyTake *take, const JnyFact *fact, const pg_uuid_t *one, const JnyKey *key, const char *method, double confidence)
{
	Wish		wanted;
	Wish	   *w;
	bool		swap = memcmp(one, &key->profile->id, UUID_LEN) > 0;
	bool		found;

	wanted.pair.a = swap ? key->profile->id : *one;
	wanted.pair.b = swap ? *one : key->profile->id;
	if (take->wishes == NULL)
		take->wishes = jny_table(take, "journey merge wishes", sizeof(wanted.pair), sizeof(Wish));
	w = hash_search(take->wishes, &wanted.pair, HASH_ENTER, &found);
	if (found && w->confidence >= confidence)
		return;
	w->fact = fact;
	w->method = method;
	w->confidence = confidence;
	w->keys = fact->keys[0] == key ? key->id.space->name : psprintf("%s %s", fact->keys[0]->id.space->name, key->id.space->name);
}

/*
 * A key of their own makes two people one; so does a browser, as long as
 * nobody else has said that it is theirs: two people may use one.
 */
bool
jny_wish_merge(JnyTake *take, const JnyFact *fact, const JnyKey *key)
{
	const JnySpace *space = key->id.space;
	bool		said = strcmp(fact->type != NULL ? fact->type : "", "alias") == 0;

	if (!fact->trusted || !space->merges || fact->profile->is_session)
		return false;
	if (space->class != JNY_CLASS_PERSON && !key->profile->is_session)
		return false;
	wish(take, fact, &fact->profile->id, key, said ? "asserted" : "deterministic", said ? BY_WORD : 1.0);
	return true;
}

void
jny_wish_by_click(JnyTake *take, JnyFact *fact)
{
	if (!fact->trusted || strcmp(fact->type, "message_clicked") != 0 || fact->profile->is_session ||
		jny_json_bool(jny_message_props(fact), "machine", false))
		return;
	for (int i = 0; i < fact->nkeys; i++)
	{
		JnyKey	   *key = fact->keys[i];

		if (key->id.space->class != JNY_CLASS_SESSION || !key->id.space->merges)
			continue;
		if (!key->known)
		{
			key->method = "click";
			key->confidence = Min(BY_CLICK, key->id.space->confidence);
			key->known = true;
			key->owner = fact->profile->id;
			key->profile = fact->profile;
			key->source = fact->source;
		}
		else if (key->profile != fact->profile && key->profile->is_session)
			wish(take, fact, &fact->profile->id, key, "click", BY_CLICK);
	}
}

void
jny_wish_write(JnyTake *take)
{
	const JnyNode *node = &take->batch->node;
	JnyOut		out = {.access = &write_wishes};
	HASH_SEQ_STATUS scan;
	Wish	   *w;

	if (take->wishes == NULL)
		return;
	hash_seq_init(&scan, take->wishes);
	while ((w = hash_seq_search(&scan)) != NULL)
	{
		JnyCols    *cols = jny_out(&out);

		jny_cols_set(cols, 0, Int16GetDatum(jny_bucket_of_id(&w->pair.a)));
		jny_cols_set(cols, 1, UUIDPGetDatum(&w->pair.a));
		jny_cols_set(cols, 2, Int16GetDatum(jny_bucket_of_id(&w->pair.b)));
		jny_cols_set(cols, 3, UUIDPGetDatum(&w->pair.b));
		jny_cols_text(cols, 4, w->method);
		jny_cols_set(cols, 5, Float8GetDatum(w->confidence));
		jny_cols_text(cols, 6, w->keys);
		jny_cols_text(cols, 7, w->fact->source);
		jny_cols_set(cols, 8, TimestampTzGetDatum(node->now));
		jny_cols_set(cols, 9, FullTransactionIdGetDatum(w->fact->xact));
		jny_cols_set(cols, 10, Int32GetDatum(node->incarnation));
		jny_cols_set(cols, 11, TimestampTzGetDatum(node->now));
		jny_cols_next(cols);
	}
	jny_out_write(&out);
}

/* ---- who was merged ------------------------------------------------------ */

void
jny_wish_aliases(JnyTake *take)
{
	JnyCols    *keys = NULL;
	List	   *asked = NIL;
	List	   *ids = NIL;
	JnyRows    *found;

	for (int i = 0; i < take->nfacts; i++)
	{
		JnyFact    *fact = take->facts[i];

		if (!fact->has_owner || jny_profile_get(take->batch, &fact->profile_id) != NULL)
			continue;
		if (keys == NULL)
			keys = jny_cols_of(&find_aliases);
		jny_cols_set(keys, 0, Int16GetDatum(jny_bucket_of_id(&fact->profile_id)));
		jny_cols_set(keys, 1, UUIDPGetDatum(&fact->profile_id));
		jny_cols_next(keys);
		asked = lappend(asked, fact);
	}
	if (keys == NULL)
		return;
	found = jny_lookup(&find_aliases, keys);
	for (int i = 0; i < found->n; i++)
	{
		JnyFact    *fact = list_nth(asked, found->row[i].key);

		fact->profile_id = *jny_row_uuid(&found->row[i], 0);
		ids = lappend(ids, &fact->profile_id);
	}
	if (ids != NIL)
		jny_profiles_load(take->batch, ids);
}
