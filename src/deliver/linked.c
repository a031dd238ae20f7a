/*
 * linked.c
 *		Whose fences an action heeds: its person's, and those of whoever events
 *		have linked with the person.
 *
 * Called by gate.c and people.c after the rows and people are locked, inside
 * SPI_connect(). An order of somebody who is linked with an action's person
 * ends the action: while it is unread, by the other's keys; once a lap has
 * consumed it, by the suppression that the lap wrote for everybody linked. A
 * link that nobody has consumed may lead to an order that was consumed before
 * it: the lap that consumes the link sees to that, and till then the action is
 * held. Reads only.
 */
#include "deliver/people.h"

JNY_LOOKUP(keys_of_person, "identity", "identity_profile", "profile_bucket, profile_id", "key_hash", NULL);
JNY_LOOKUP(find_aliases, "profile_alias", "profile_alias_pkey", "bucket, profile_id", "into_id", NULL);
JNY_LOOKUP(people_of_key, "identity", "identity_pkey", "bucket, key_hash", "profile_bucket, profile_id", NULL);

static int
by_who(const void *a, const void *b)
{
	const JnyWho *x = &((const JnyLinked *) a)->who;
	const JnyWho *y = &((const JnyLinked *) b)->who;

	if (x->bucket != y->bucket)
		return x->bucket < y->bucket ? -1 : 1;
	return memcmp(&x->id, &y->id, sizeof(pg_uuid_t));
}

/* The people themselves, each linked with himself; in order, as the people are. */
static JnyLinks
themselves(const JnyPeople *people)
{
	JnyLinks	own = {.n = people->n, .link = palloc(sizeof(JnyLinked) * Max(1, people->n))};

	for (int p = 0; p < people->n; p++)
	{
		const JnyWork *w = people->work[people->first[p]];

		own.link[p] = (JnyLinked) {.of = p, .who = {w->bucket, w->profile_id}};
	}
	return own;
}

const JnyLinks *
jny_people_links(JnyPeople *people)
{
	JnyLinks	own;
	JnyWho	   *who;

	if (people->links != NULL)
		return people->links;
	own = themselves(people);
	who = palloc(sizeof(JnyWho) * Max(1, own.n));
	for (int p = 0; p < own.n; p++)
		who[p] = own.link[p].who;
	people->links = jny_links_of(who, own.n);
	qsort(people->links->link, people->links->n, sizeof(JnyLinked), by_who);
	return people->links;
}

/* The first of those who are linked with this one; links->n when nobody is. */
static int
first_of(const JnyLinks *links, JnyWho who)
{
	JnyLinked	wanted = {.who = who};
	int			low = 0;
	int			high = links->n;

	while (low < high)
	{
		int			mid = (low + high) / 2;

		if (by_who(&links->link[mid], &wanted) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low < links->n && by_who(&links->link[low], &wanted) == 0 ? low : links->n;
}

static JnyWho
owner_of(const JnyRows *rows, int i)
{
	return (JnyWho) {(int16) jny_row_int(rows, i, 0, 0), *jny_row_uuid(&rows->row[i], 1)};
}

/* ---- keys that stand in a fence ---------------------------------------------------- */

static int
by_key(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/* Each once, in order. */
static int64 *
keys_of_fences(const JnyFences *fences, int *n)
{
	int64	   *keys;
	int			kept = 0;

	*n = 0;
	for (int i = 0; i < fences->n; i++)
		*n += fences->fence[i].nkeys;
	keys = palloc(sizeof(int64) * Max(1, *n));
	*n = 0;
	for (int i = 0; i < fences->n; i++)
		for (int k = 0; k < fences->fence[i].nkeys; k++)
			keys[(*n)++] = fences->fence[i].keys[k];
	qsort(keys, *n, sizeof(int64), by_key);
	for (int i = 0; i < *n; i++)
		if (i == 0 || keys[i] != keys[i - 1])
			keys[kept++] = keys[i];
	*n = kept;
	return keys;
}

static void
add_key(JnyWork *w, int64 key)
{
	if (w->nkeys == w->max_keys)
	{
		w->max_keys = Max(4, w->max_keys * 2);
		w->keys = w->keys == NULL ? palloc(sizeof(int64) * w->max_keys)
			: repalloc(w->keys, sizeof(int64) * w->max_keys);
	}
	w->keys[w->nkeys++] = key;
}

static void
add_key_of(const JnyPeople *people, int person, int64 key)
{
	for (int i = people->first[person]; i < people->first[person + 1]; i++)
		add_key(people->work[i], key);
}

/* From the fences to the people: whose are these keys? */
static void
find_people(const JnyPeople *people, const JnyLinks *links, const int64 *keys, int n)
{
	JnyCols    *cols = jny_cols_of(&people_of_key);
	JnyRows    *rows;

	for (int i = 0; i < n; i++)
	{
		jny_cols_set(cols, 0, Int16GetDatum(jny_bucket_of_hash(keys[i])));
		jny_cols_set(cols, 1, Int64GetDatum(keys[i]));
		jny_cols_next(cols);
	}
	rows = jny_lookup(&people_of_key, cols);
	for (int i = 0; i < rows->n; i++)
	{
		int			first = first_of(links, owner_of(rows, i));

		for (int l = first; l < links->n && by_who(&links->link[l], &links->link[first]) == 0; l++)
			add_key_of(people, links->link[l].of, keys[rows->row[i].key]);
	}
}

/* From the people to the fences. */
static void
find_keys(const JnyPeople *people, const JnyLinks *links, const int64 *keys, int n)
{
	JnyCols    *cols = jny_cols_of(&keys_of_person);
	JnyRows    *rows;

	for (int i = 0; i < links->n; i++)
	{
		jny_cols_set(cols, 0, Int16GetDatum(links->link[i].who.bucket));
		jny_cols_set(cols, 1, UUIDPGetDatum(&links->link[i].who.id));
		jny_cols_next(cols);
	}
	rows = jny_lookup(&keys_of_person, cols);
	for (int i = 0; i < rows->n; i++)
	{
		int64		key = jny_row_int(rows, i, 0, 0);

		if (bsearch(&key, keys, n, sizeof(int64), by_key) != NULL)
			add_key_of(people, links->link[rows->row[i].key].of, key);
	}
}

/* Whichever are fewer are looked up. */
static void
find_fenced(const JnyPeople *people, const JnyLinks *links, const int64 *keys, int n)
{
	if (n <= links->n)
		find_people(people, links, keys, n);
	else
		find_keys(people, links, keys, n);
}

/* ---- links that nobody has consumed ------------------------------------------------- */

static bool
is_known(const JnyPeople *people, const JnyLinks *links, const JnyWork *w, JnyWho who)
{
	int			first = first_of(links, who);

	if (memcmp(&who.id, &w->profile_id, sizeof(pg_uuid_t)) == 0)
		return true;
	for (int l = first; l < links->n && by_who(&links->link[l], &links->link[first]) == 0; l++)
	{
		const JnyWork *of = people->work[people->first[links->link[l].of]];

		if (memcmp(&of->profile_id, &w->profile_id, sizeof(pg_uuid_t)) == 0)
			return true;
	}
	return false;
}

/* Whose are the keys to which unread events lead, beyond those of the person and of whoever is linked with them? */
static void
find_unmet(const JnyPeople *people, const JnyLinks *links, JnyFences *fences)
{
	JnyCols    *cols = jny_cols_of(&people_of_key);
	List	   *asked = NIL;
	JnyRows    *rows;

	for (int i = 0; i < people->nworks; i++)
	{
		const JnyWork *w = people->work[i];
		int64	   *keys = w->keys;
		int			nkeys = w->nkeys;

		if (nkeys == 0 || !jny_fences_close(fences, &keys, &nkeys))
			continue;
		for (int k = w->nkeys; k < nkeys; k++)
		{
			jny_cols_set(cols, 0, Int16GetDatum(jny_bucket_of_hash(keys[k])));
			jny_cols_set(cols, 1, Int64GetDatum(keys[k]));
			jny_cols_next(cols);
			asked = lappend_int(asked, i);
		}
	}
	rows = jny_lookup(&people_of_key, cols);
	for (int i = 0; i < rows->n; i++)
	{
		JnyWork    *w = people->work[list_nth_int(asked, rows->row[i].key)];

		w->unmet = w->unmet || !is_known(people, links, w, owner_of(rows, i));
	}
}

/*
 * A merge takes the keys away from one whom the links, read before it, still
 * name. The people themselves are safe: nobody is merged whose action is locked.
 */
static void
find_merging(const JnyPeople *people, const JnyLinks *links)
{
	JnyCols    *cols;
	JnyRows    *rows;

	if (links->n == 0)
		return;
	cols = jny_cols_of(&find_aliases);
	for (int i = 0; i < links->n; i++)
	{
		jny_cols_set(cols, 0, Int16GetDatum(links->link[i].who.bucket));
		jny_cols_set(cols, 1, UUIDPGetDatum(&links->link[i].who.id));
		jny_cols_next(cols);
	}
	rows = jny_lookup(&find_aliases, cols);
	for (int i = 0; i < rows->n; i++)
	{
		int			person = links->link[rows->row[i].key].of;

		for (int k = people->first[person]; k < people->first[person + 1]; k++)
			people->work[k]->merging = true;
	}
}

void
jny_people_fenced(JnyPeople *people, JnyFences *fences)
{
	JnyLinks	own = themselves(people);
	const JnyLinks *links;
	int			n;
	int64	   *keys = keys_of_fences(fences, &n);

	if (n == 0)
		return;
	find_fenced(people, &own, keys, n);
	for (int i = 0; i < people->nworks; i++)
	{
		JnyWork    *w = people->work[i];

		if (w->has_entry && bsearch(&w->entry_hash, keys, n, sizeof(int64), by_key) != NULL)
			add_key(w, w->entry_hash);
	}
	links = jny_people_links(people);
	find_fenced(people, links, keys, n);
	find_unmet(people, links, fences);
	find_merging(people, links);
}
