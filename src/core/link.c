/*
 * link.c
 *		Walks the links between people.
 *
 * Called at every claim and permit while events are unread, and by laps that
 * consume a fence. Plain reads by key, a lookup per step away, and none that
 * costs anything while no two people have ever been linked. Memory: the caller's.
 */
#include "core/link.h"

#include "miscadmin.h"
#include "utils/hsearch.h"

#include "core/table.h"

JNY_LOOKUP(find_links, "profile_link", "profile_link_pkey", "bucket, profile_id", "other_bucket, other_id, strong", NULL);

/* One who was reached from one of the people asked about. */
typedef struct Reached
{
	struct
	{
		pg_uuid_t	id;
		int			of;
	}			key;
	bool		strong;			/* by own keys alone: their links are links of the first, too */
} Reached;

static void
add(JnyLinks *links, int of, const JnyWho *who)
{
	if (links->n == links->max)
	{
		links->max = Max(16, links->max * 2);
		links->link = links->link == NULL ? palloc(sizeof(JnyLinked) * links->max)
			: repalloc_huge(links->link, sizeof(JnyLinked) * links->max);
	}
	links->link[links->n++] = (JnyLinked) {of, *who};
}

static Reached *
reach(HTAB *all, int of, const pg_uuid_t *id, bool *found)
{
	Reached		wanted;

	memset(&wanted, 0, sizeof(wanted));
	wanted.key.id = *id;
	wanted.key.of = of;
	return hash_search(all, &wanted.key, HASH_ENTER, found);
}

/* All who were asked about, each reached from themselves. */
static HTAB *
begin(const JnyLinks *asked)
{
	HASHCTL		ctl = {0};
	HTAB	   *all;
	bool		found;

	ctl.keysize = sizeof(((Reached *) 0)->key);
	ctl.entrysize = sizeof(Reached);
	ctl.hcxt = CurrentMemoryContext;
	all = hash_create("journey linked people", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (int i = 0; i < asked->n; i++)
		reach(all, asked->link[i].of, &asked->link[i].who.id, &found)->strong = true;
	return all;
}

static JnyRows *
read_links(const JnyLinks *from)
{
	JnyCols    *keys = jny_cols_of(&find_links);

	for (int i = 0; i < from->n; i++)
	{
		jny_cols_set(keys, 0, Int16GetDatum(from->link[i].who.bucket));
		jny_cols_set(keys, 1, UUIDPGetDatum(&from->link[i].who.id));
		jny_cols_next(keys);
	}
	return jny_lookup(&find_links, keys);
}

JnyLinks *
jny_links_of(const JnyWho *who, int n)
{
	JnyLinks   *links = palloc0(sizeof(JnyLinks));
	JnyLinks	from = {0};
	HTAB	   *all = NULL;

	for (int i = 0; i < n; i++)
		add(&from, i, &who[i]);
	for (bool first = true; from.n > 0; first = false)
	{
		JnyRows    *rows = read_links(&from);
		JnyLinks	next = {0};

		CHECK_FOR_INTERRUPTS();
		if (rows->n == 0)
			break;
		if (all == NULL)
			all = begin(&from);
		for (int i = 0; i < rows->n; i++)
		{
			JnyWho		other = {(int16) jny_row_int(rows, i, 0, 0), *jny_row_uuid(&rows->row[i], 1)};
			int			of = from.link[rows->row[i].key].of;
			bool		strong = jny_row_int(rows, i, 2, 0) != 0;
			bool		found;
			Reached    *r;

			if (!first && !strong)
				continue;
			r = reach(all, of, &other.id, &found);
			if (!found)
			{
				r->strong = false;
				add(links, of, &other);
			}
			if (strong && !r->strong)
			{
				r->strong = true;
				add(&next, of, &other);
			}
		}
		from = next;
	}
	return links;
}
