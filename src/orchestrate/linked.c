/*
 * linked.c
 *		People whom events have linked: an event that ends the actions of one
 *		ends those of the others, and what one of them did before they were
 *		linked catches up with the others.
 *
 * Called by orchestrate.c, inside SPI_connect(). Links stand in the table
 * already, those of this lap too, so that it does not matter which of link and
 * order a lap sees first. What is ended are live enrollments, and membership
 * of audiences (audience.c), which lasts beyond them; of actions that somebody
 * brought back the permit knows (deliver/linked.c). No locks. Memory: run->cxt.
 */
#include "orchestrate/engine.h"

#include "core/inbox.h"
#include "core/link.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

JNY_LOOKUP(find_live, "enrollment", "enrollment_live", "bucket, profile_id", "bucket, profile_id, enrollment_id",
		   "t.exited_at IS NULL");
#define CARRIED "ref, scope, channel, purpose, reason, occurred_at, fence_xact, incarnation, until"
JNY_LOOKUP(find_suppressions, "suppression", "suppression_pkey", "bucket, profile_id",
		   "seq, type, lap, released_by, linked, " CARRIED, NULL);
JNY_LOOKUP(find_own, "suppression", "suppression_pkey", "bucket, profile_id, seq, type", "linked, matched", NULL);
JNY_UPSERT(carry_suppressions, "suppression", "suppression_pkey", "bucket, profile_id, seq, type, linked",
		   "bucket, profile_id, seq, type, linked, " CARRIED ", effective_at, lap, matched", "lap, matched");
/* of a suppression that was found; columns of CARRIED follow */
enum
{
	S_SEQ, S_TYPE, S_LAP, S_RELEASED, S_LINKED, S_REF, S_SCOPE, S_CHANNEL, S_PURPOSE, S_REASON, S_UNTIL = S_REF + 8
};

/* ---- whom it may concern ------------------------------------------------------- */

/* Loads the live enrollments of these people. */
static void
load_live(JnyRun *run, const JnyWho *who, int n)
{
	JnyCols    *keys = jny_cols_of(&find_live);

	for (int i = 0; i < n; i++)
	{
		jny_cols_set(keys, 0, Int16GetDatum(who[i].bucket));
		jny_cols_set(keys, 1, UUIDPGetDatum(&who[i].id));
		jny_cols_next(keys);
	}
	(void) jny_take_live(run, jny_lookup(&find_live, keys));
}

/* Where there are audiences: everybody, since who is on no journey may be in one. Of JnyPerson *. */
static List *
load_people(JnyRun *run, JnyWho *who, int n)
{
	List	   *ids = NIL;
	List	   *people = NIL;

	if (!jny_has_audiences())
		return NIL;
	for (int i = 0; i < n; i++)
		ids = lappend(ids, &who[i].id);
	jny_profiles_load(run->batch, ids);
	for (int i = 0; i < n; i++)
	{
		JnyProfile *profile = jny_profile_get(run->batch, &who[i].id);

		if (profile != NULL)
			people = lappend(people, jny_run_person(run, profile));
	}
	return people;
}

static JnyPerson *
find_person(JnyRun *run, const pg_uuid_t *id)
{
	return hash_search(run->people, id, HASH_FIND, NULL);
}

/* Whether they are on a journey, or in an audience. */
static bool
is_concerned(const JnyPerson *person)
{
	return person != NULL && (person->enrollments != NIL || person->members != NIL);
}

static JnyWho
who_is(const JnyProfile *profile)
{
	return (JnyWho) {profile->bucket, profile->id};
}

/* ---- events ---------------------------------------------------------------------- */

bool
jny_is_fenced(const JnyEvent *event)
{
	return !event->is_action &&
		(event->fence == JNY_FENCE_EVENT || event->fence == JNY_FENCE_RELEASE || jny_type_is_fenced(event->type));
}

static List *
ask(JnyRun *run, JnyProfile *profile, List *asked)
{
	JnyPerson  *person = jny_run_person(run, profile);

	if (person->asked)
		return asked;
	person->asked = true;
	return lappend(asked, person);
}

/* Of everybody whom a fenced event names, the linked ones that are on a journey, may enter one before it in this lap, or be in an audience. */
void
jny_load_linked(JnyRun *run)
{
	List	   *asked = NIL;
	JnyLinks   *links;
	JnyWho	   *who;

	for (int i = 0; i < run->batch->nevents; i++)
	{
		JnyEvent   *event = &run->batch->events[i];

		if (!jny_is_fenced(event))
			continue;
		asked = ask(run, event->profile, asked);
		for (int k = 0; k < event->nothers; k++)
			asked = ask(run, event->others[k], asked);
	}
	if (asked == NIL)
		return;
	who = palloc(sizeof(JnyWho) * list_length(asked));
	for (int i = 0; i < list_length(asked); i++)
		who[i] = who_is(((JnyPerson *) list_nth(asked, i))->profile);
	links = jny_links_of(who, list_length(asked));
	if (links->n == 0)
		return;
	who = palloc(sizeof(JnyWho) * links->n);
	for (int i = 0; i < links->n; i++)
		who[i] = links->link[i].who;
	load_live(run, who, links->n);
	(void) load_people(run, who, links->n);
	for (int i = 0; i < links->n; i++)
	{
		JnyPerson  *person = list_nth(asked, links->link[i].of);
		JnyPerson  *other = find_person(run, &links->link[i].who.id);

		if (other != NULL)
			person->linked = lappend(person->linked, other);
	}
}

/* Those who are linked with anybody whom the event names, and whom it does not name itself. */
List *
jny_linked_with(JnyRun *run, const JnyEvent *event)
{
	static uint64 calls = 0;
	uint64		mark = ++calls;		/* who is listed, or named, already */
	List	   *named;
	List	   *linked = NIL;
	ListCell   *lc;
	ListCell   *other;

	if (!jny_is_fenced(event))
		return NIL;
	named = list_make1(jny_run_person(run, event->profile));
	for (int i = 0; i < event->nothers; i++)
		named = lappend(named, jny_run_person(run, event->others[i]));
	foreach(lc, named)
		((JnyPerson *) lfirst(lc))->listed = mark;
	foreach(lc, named)
	{
		foreach(other, ((JnyPerson *) lfirst(lc))->linked)
		{
			JnyPerson  *person = lfirst(other);

			if (person->listed == mark)
				continue;
			person->listed = mark;
			linked = lappend(linked, person);
		}
	}
	return linked;
}

/* ---- what was before the link ------------------------------------------------------ */

static JnyWho *
add_who(JnyWho *who, int *n, JnyWho one)
{
	who = *n == 0 ? palloc(sizeof(JnyWho) * 16)
		: *n % 16 == 0 ? repalloc(who, sizeof(JnyWho) * (*n + 16)) : who;
	who[(*n)++] = one;
	return who;
}

/*
 * For whom something may have to be caught up with: those who are linked now,
 * directly and over others, and those who entered by an event that was captured
 * before others that earlier laps have consumed already.
 */
static JnyWho *
late_people(JnyRun *run, int *n)
{
	JnyWho	   *who = NULL;
	JnyLinks   *links;
	ListCell   *lc;

	*n = 0;
	foreach(lc, run->batch->links)
	{
		JnyLinkedNow *link = lfirst(lc);

		who = add_who(who, n, who_is(link->a));
		who = add_who(who, n, who_is(link->b));
	}
	if (*n > 0)
	{
		links = jny_links_of(who, *n);
		for (int i = 0; i < links->n; i++)
			who = add_who(who, n, links->link[i].who);
		load_live(run, who, *n);
		jny_load_members(load_people(run, who, *n));
	}
	foreach(lc, run->touched)
	{
		JnyEnrollment *e = lfirst(lc);

		if (e->is_new && e->entry_seq < run->batch->earlier_seq)
			who = add_who(who, n, who_is(e->person->profile));
	}
	return who;
}

/* Not what was itself brought by a link, or said by hand of this one person. */
static bool
may_carry(const JnyRun *run, const JnyRows *rows, int i)
{
	const JnyRow *row = &rows->row[i];

	return row->nulls[S_RELEASED] && jny_row_int(rows, i, S_LINKED, 0) == 0 && strcmp(jny_row_text(row, S_TYPE), "manual") != 0 &&
		(row->nulls[S_UNTIL] || jny_row_time(row, S_UNTIL) > run->now);
}

/* The live enrollments that began before it; that its match holds is taken for granted. */
static List *
ended_by(JnyRun *run, const JnyPerson *person, const JnyRows *rows, int i)
{
	const JnyRow *row = &rows->row[i];
	char	   *type = jny_row_text(row, S_TYPE);
	char	   *ref = jny_row_text(row, S_REF);
	char	   *scope = jny_row_text(row, S_SCOPE);
	List	   *ended = NIL;
	ListCell   *lc;

	foreach(lc, person->enrollments)
	{
		JnyEnrollment *e = lfirst(lc);

		if (jny_came_after(e, jny_row_int(rows, i, S_LAP, 0), jny_row_int(rows, i, S_SEQ, 0)) &&
			jny_ends_sends(run, e, NULL, type, scope, ref))
			ended = lappend(ended, e);
	}
	return ended;
}

/* What of another's suppressions is to be one's own. */
typedef struct Carried
{
	const JnyPerson *person;
	const JnyRow *row;
	int64		lap;			/* that consumed it */
	List	   *ended;			/* of JnyEnrollment * */
	bool		judged;			/* for the person, before */
	ArrayType  *matched;		/* of the row that is there already; NULL = none */
} Carried;

static void
put_key(JnyCols *c, const Carried *one)
{
	jny_cols_set(c, 0, Int16GetDatum(one->person->profile->bucket));
	jny_cols_set(c, 1, UUIDPGetDatum(&one->person->id));
	jny_cols_set(c, 2, one->row->values[S_SEQ]);
	jny_cols_set(c, 3, one->row->values[S_TYPE]);
}

/* Two who are linked with a person may have been stopped by the same event. */
static bool
is_there(List *all, const JnyPerson *person, const JnyRow *row)
{
	ListCell   *lc;

	foreach(lc, all)
	{
		const Carried *one = lfirst(lc);

		if (one->person == person && DatumGetInt64(one->row->values[S_SEQ]) == DatumGetInt64(row->values[S_SEQ]) &&
			strcmp(jny_row_text(one->row, S_TYPE), jny_row_text(row, S_TYPE)) == 0)
			return true;
	}
	return false;
}

/*
 * The event may have been judged for the person before: because it names them,
 * or over another link. Then only who entered since is new to it.
 */
static void
leave_judged(List *all)
{
	JnyCols    *keys = jny_cols_of(&find_own);
	JnyRows    *own;
	ListCell   *lc;

	foreach(lc, all)
	{
		put_key(keys, lfirst(lc));
		jny_cols_next(keys);
	}
	own = jny_lookup(&find_own, keys);
	for (int i = 0; i < own->n; i++)
	{
		Carried    *one = list_nth(all, own->row[i].key);
		List	   *late = NIL;

		foreach(lc, one->ended)
			if (((JnyEnrollment *) lfirst(lc))->is_new)
				late = lappend(late, lfirst(lc));
		/* own words and what a link brought may both be there, once two have become one */
		if (jny_row_int(own, i, 0, 0) == 0)
			one->ended = NIL;
		else
		{
			one->ended = one->ended == NIL ? NIL : late;
			one->matched = DatumGetArrayTypeP(own->row[i].values[1]);
		}
		one->judged = true;
	}
}

static void
write_carried(JnyRun *run, List *all)
{
	JnyCols    *c = jny_cols_of(&carry_suppressions);
	ListCell   *lc;

	foreach(lc, all)
	{
		const Carried *one = lfirst(lc);

		if (one->ended == NIL)
			continue;
		put_key(c, one);
		for (int k = S_REF; k <= S_UNTIL; k++)
			if (!one->row->nulls[k])
				jny_cols_set(c, 5 + k - S_REF, one->row->values[k]);
		jny_cols_set(c, 4, BoolGetDatum(true));
		jny_cols_set(c, 14, TimestampTzGetDatum(run->now));
		jny_cols_set(c, 15, Int64GetDatum(run->batch->lap));
		jny_cols_set(c, 16, jny_enrollment_ids(one->ended, one->matched));
		jny_cols_next(c);
	}
	(void) jny_write(&carry_suppressions, c);
}

/* Who is in an audience may have to leave it. */
static void
hand_over(JnyRun *run, List *all)
{
	ListCell   *lc;

	foreach(lc, all)
	{
		const Carried *one = lfirst(lc);
		JnySuppress *s;

		if (one->judged || one->person->members == NIL)
			continue;
		s = palloc(sizeof(JnySuppress));
		*s = (JnySuppress) {
			.person = one->person, .type = jny_row_text(one->row, S_TYPE), .ref = jny_row_text(one->row, S_REF),
			.scope = jny_row_text(one->row, S_SCOPE), .channel = jny_row_text(one->row, S_CHANNEL),
			.purpose = jny_row_text(one->row, S_PURPOSE), .reason = jny_row_text(one->row, S_REASON),
			.matched = one->ended, .linked = true, .late = true, .lap = one->lap,
			.seq = DatumGetInt64(one->row->values[S_SEQ])
		};
		run->late = lappend(run->late, s);
	}
}

static JnyRows *
suppressions_of(const JnyLinks *links)
{
	JnyCols    *keys = jny_cols_of(&find_suppressions);

	for (int i = 0; i < links->n; i++)
	{
		jny_cols_set(keys, 0, Int16GetDatum(links->link[i].who.bucket));
		jny_cols_set(keys, 1, UUIDPGetDatum(&links->link[i].who.id));
		jny_cols_next(keys);
	}
	return jny_lookup(&find_suppressions, keys);
}

/* Called once the lap's own suppressions and releases are written. */
void
jny_catch_up(JnyRun *run)
{
	int			n;
	JnyWho	   *who = late_people(run, &n);
	int			kept = 0;
	JnyLinks   *links;
	JnyRows    *rows;
	List	   *all = NIL;

	for (int i = 0; i < n; i++)
		if (is_concerned(find_person(run, &who[i].id)))
			who[kept++] = who[i];
	if (kept == 0)
		return;
	links = jny_links_of(who, kept);
	rows = suppressions_of(links);
	for (int i = 0; i < rows->n; i++)
	{
		JnyPerson  *person = find_person(run, &who[links->link[rows->row[i].key].of].id);
		List	   *ended;
		Carried    *one;

		if (!may_carry(run, rows, i))
			continue;
		ended = ended_by(run, person, rows, i);
		if ((ended == NIL && person->members == NIL) || is_there(all, person, &rows->row[i]))
			continue;
		one = palloc(sizeof(Carried));
		*one = (Carried) {
			.person = person, .row = &rows->row[i], .lap = jny_row_int(rows, i, S_LAP, 0), .ended = ended
		};
		all = lappend(all, one);
	}
	if (all == NIL)
		return;
	leave_judged(all);
	write_carried(run, all);
	hand_over(run, all);
}
