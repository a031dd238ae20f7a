/*
 * link.c
 *		People whom an event names together, and who are two.
 *
 * Called by identity.c and take.c. Whether they are merged (wish.c) or not,
 * they are linked, in both directions, and stay so when the event has been
 * consumed: a permit looks for orders under the keys of both. A source
 * that is not trusted links nobody, nor does what was found through a message,
 * which proves nothing about keys; keys of groups and shared ones are not
 * among a fact's keys. Rows are written once; there is one consumer.
 */
#include "observe/fact.h"

#include "utils/xid8.h"

#define LINK_KEY "bucket, profile_id, other_bucket, other_id"
JNY_LOOKUP(find_links, "profile_link", "profile_link_pkey", LINK_KEY, "strong", NULL);
JNY_UPSERT(write_links, "profile_link", "profile_link_pkey", LINK_KEY,
		   LINK_KEY ", strong, source, since, link_xact, incarnation", "strong, link_xact, incarnation");

typedef struct Link
{
	struct
	{
		pg_uuid_t	a;			/* the smaller id */
		pg_uuid_t	b;
	}			key;
	const JnyProfile *a;
	const JnyProfile *b;
	bool		strong;
	const JnyFact *fact;
} Link;

/* One whom a fact names. */
typedef struct Party
{
	const JnyProfile *profile;
	bool		own;			/* by a key of their own, not by a browser or an object */
} Party;

static void
link_two(JnyTake *take, const JnyFact *fact, const JnyProfile *a, const JnyProfile *b, bool strong)
{
	Link		wanted;
	Link	   *link;
	bool		found;

	if (memcmp(&a->id, &b->id, UUID_LEN) > 0)
	{
		link_two(take, fact, b, a, strong);
		return;
	}
	wanted.key.a = a->id;
	wanted.key.b = b->id;
	if (take->links == NULL)
		take->links = jny_table(take, "journey links", sizeof(wanted.key), sizeof(Link));
	link = hash_search(take->links, &wanted.key, HASH_ENTER, &found);
	if (found && (link->strong || !strong))
		return;
	link->a = a;
	link->b = b;
	link->strong = strong;
	link->fact = fact;
}

static int
add_party(Party *parties, int n, const JnyProfile *profile, bool own)
{
	if (profile == NULL)
		return n;
	for (int i = 0; i < n; i++)
		if (parties[i].profile == profile)
		{
			parties[i].own |= own;
			return n;
		}
	parties[n] = (Party) {profile, own};
	return n + 1;
}

void
jny_link_people(JnyTake *take, const JnyFact *fact, JnyProfile *of_order, JnyProfile *of_cart)
{
	Party		parties[JNY_SUBJECT_KEYS + 3];
	int			n;

	if (fact->nothers == 0 || !fact->trusted)
		return;
	n = add_party(parties, 0, fact->profile, false);
	for (int i = 0; i < fact->nkeys; i++)
		n = add_party(parties, n, fact->keys[i]->profile, fact->keys[i]->id.space->class == JNY_CLASS_PERSON);
	n = add_party(parties, n, of_order, false);
	n = add_party(parties, n, of_cart, false);
	for (int i = 0; i < n; i++)
		for (int k = i + 1; k < n; k++)
			link_two(take, fact, parties[i].profile, parties[k].profile, parties[i].own && parties[k].own);
}

static void
put_key(JnyCols *cols, const JnyProfile *one, const JnyProfile *other)
{
	jny_cols_set(cols, 0, Int16GetDatum(one->bucket));
	jny_cols_set(cols, 1, UUIDPGetDatum(&one->id));
	jny_cols_set(cols, 2, Int16GetDatum(other->bucket));
	jny_cols_set(cols, 3, UUIDPGetDatum(&other->id));
}

static void
put_link(JnyCols *cols, const Link *link, const JnyProfile *one, const JnyProfile *other, const JnyBatch *batch)
{
	put_key(cols, one, other);
	jny_cols_set(cols, 4, BoolGetDatum(link->strong));
	jny_cols_text(cols, 5, link->fact->source);
	jny_cols_set(cols, 6, TimestampTzGetDatum(batch->node.now));
	jny_cols_set(cols, 7, FullTransactionIdGetDatum(link->fact->xact));
	jny_cols_set(cols, 8, Int32GetDatum(batch->node.incarnation));
	jny_cols_next(cols);
}

void
jny_link_write(JnyTake *take)
{
	JnyBatch   *batch = take->batch;
	JnyOut		out = {.access = &write_links};
	List	   *all = NIL;
	JnyCols    *keys;
	JnyRows    *known;
	HASH_SEQ_STATUS scan;
	Link	   *link;
	ListCell   *lc;

	if (take->links == NULL)
		return;
	keys = jny_cols_of(&find_links);
	hash_seq_init(&scan, take->links);
	while ((link = hash_seq_search(&scan)) != NULL)
	{
		put_key(keys, link->a, link->b);
		jny_cols_next(keys);
		all = lappend(all, link);
	}
	known = jny_lookup(&find_links, keys);
	for (int i = 0; i < known->n; i++)
	{
		ListCell   *cell = list_nth_cell(all, known->row[i].key);

		link = lfirst(cell);
		if (jny_row_int(known, i, 0, 0) != 0 || !link->strong)
			lfirst(cell) = NULL;
	}
	foreach(lc, all)
	{
		JnyLinkedNow *now;

		if ((link = lfirst(lc)) == NULL)
			continue;
		put_link(jny_out(&out), link, link->a, link->b, batch);
		put_link(jny_out(&out), link, link->b, link->a, batch);
		now = palloc(sizeof(JnyLinkedNow));
		*now = (JnyLinkedNow) {link->a, link->b};
		batch->links = lappend(batch->links, now);
	}
	jny_out_write(&out);
}
