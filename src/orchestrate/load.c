/*
 * load.c
 *		Reads what a phase needs to know of its people: where they are, where
 *		they have been, what they have ordered, and whose timer is due.
 *
 * Called by orchestrate.c and preview.c, inside SPI_connect(). Reads data
 * tables of this node; pops timers, which it locks. No other locks: one
 * consumer per node, holding the cursor row, changes these rows. Memory:
 * run->cxt.
 */
#include "orchestrate/engine.h"

#include "utils/builtins.h"

typedef struct ById
{
	pg_uuid_t	id;
	JnyEnrollment *enrollment;
} ById;

JNY_LOOKUP(find_enrollments, "enrollment", "enrollment_pkey", "bucket, profile_id",
		   "enrollment_id, journey, key, occurrence, exited_at, goal_at, goal_until", NULL);
JNY_LOOKUP(find_objects, "enrollment", "enrollment_object", "entry_hash",
		   "bucket, profile_id, enrollment_id", "t.exited_at IS NULL AND t.entry_hash IS NOT NULL");
JNY_LOOKUP(read_enrollments, "enrollment", "enrollment_pkey", "bucket, profile_id, enrollment_id",
		   "profile_id, enrollment_id, journey, version, scope, key, occurrence, status, step, visit, transitions,"
		   " entry_event, entry_seq, entry_ref, entry_cart, entry_hash, data, steps, arm, confidence, entered_at,"
		   " stepped_at, wake_at, restarts, exited_at, exit_reason, goal_at, goal_until, lap, test", NULL);
JNY_LOOKUP(read_orders, "orders", "orders_pkey", "bucket, profile_id", "scope, placed_at, cancelled_at", NULL);
JNY_LOOKUP(read_days, "journey_day", "journey_day_pkey", "journey, day, test", "journey, entered", NULL);
JNY_LOOKUP(due_timers, "timer", "timer_due", "wake_at <=", "bucket, profile_id, enrollment_id, planned_at, visit", NULL);
JNY_DELETE(pop_timers, "timer", NULL, NULL);

/* ---- people --------------------------------------------------------------- */

JnyCols *
jny_people_keys(JnyAccess *access, List *people)
{
	JnyCols    *keys = jny_cols_of(access);
	ListCell   *lc;

	foreach(lc, people)
	{
		JnyPerson  *person = lfirst(lc);

		jny_cols_set(keys, 0, Int16GetDatum(person->profile->bucket));
		jny_cols_set(keys, 1, UUIDPGetDatum(&person->id));
		jny_cols_next(keys);
	}
	return keys;
}

static List *
everybody(JnyRun *run)
{
	List	   *people = NIL;
	HASH_SEQ_STATUS scan;
	JnyPerson  *person;

	hash_seq_init(&scan, run->people);
	while ((person = hash_seq_search(&scan)) != NULL)
		people = lappend(people, person);
	return people;
}

/* Those whom the first two columns of the rows name, so that they are in the run before their enrollments are. */
static void
take_people(JnyRun *run, const JnyRows *rows)
{
	List	   *ids = NIL;

	for (int i = 0; i < rows->n; i++)
		ids = lappend(ids, jny_row_uuid(&rows->row[i], 1));
	jny_profiles_load(run->batch, ids);
	for (int i = 0; i < rows->n; i++)
	{
		JnyProfile *profile = jny_profile_get(run->batch, jny_row_uuid(&rows->row[i], 1));

		if (profile == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("enrollment %s belongs to a profile that does not exist",
							jny_uuid_str(jny_row_uuid(&rows->row[i], 2))),
					 errhint("Rows of the profile were deleted by hand: bring them back, or delete those of the enrollment, too.")));
		jny_run_person(run, profile);
	}
}

/* ---- enrollments ---------------------------------------------------------- */

static void
fill_entry(JnyEnrollment *e, const JnyRows *rows, int i)
{
	const JnyRow *row = &rows->row[i];

	e->journey_name = jny_row_text(row, 2);
	e->version = (int) jny_row_int(rows, i, 3, 0);
	e->journey = jny_journey_version(e->journey_name, e->version);
	e->scope = jny_row_text(row, 4);
	e->key = jny_row_text(row, 5);
	e->occurrence = (int) jny_row_int(rows, i, 6, 1);
	e->has_entry_event = !row->nulls[11];
	if (e->has_entry_event)
		e->entry_event = *jny_row_uuid(row, 11);
	e->entry_seq = jny_row_int(rows, i, 12, 0);
	e->entry_ref = jny_row_text(row, 13);
	e->entry_cart = jny_row_text(row, 14);
	e->entry_hash = jny_row_int(rows, i, 15, 0);
	e->data = DatumGetJsonbP(row->values[16]);
	e->arm = jny_row_text(row, 18);
	e->confidence = DatumGetFloat8(row->values[19]);
	e->entered_at = jny_row_time(row, 20);
	e->goal_until = jny_row_time(row, 27);
	e->lap = jny_row_int(rows, i, 28, 0);
	e->test = jny_row_int(rows, i, 29, 0) != 0;
}

static void
fill_state(JnyEnrollment *e, const JnyRows *rows, int i)
{
	const JnyRow *row = &rows->row[i];
	char	   *step = jny_row_text(row, 8);

	e->status = jny_row_text(row, 7);
	e->step = step && e->journey ? jny_step_index(e->journey, step) : JNY_EDGE_NONE;
	e->visit = (int) jny_row_int(rows, i, 9, 0);
	e->transitions = (int) jny_row_int(rows, i, 10, 0);
	e->steps = DatumGetJsonbP(row->values[17]);
	e->stepped_at = jny_row_time(row, 21);
	e->wake_at = jny_row_time(row, 22);
	e->restarts = (int) jny_row_int(rows, i, 23, 0);
	e->exited_at = jny_row_time(row, 24);
	e->exit_reason = jny_row_text(row, 25);
	e->goal_at = jny_row_time(row, 26);
}

/* A row of read_enrollments. An enrollment that is already in memory stays as it is there. */
static JnyEnrollment *
take_enrollment(JnyRun *run, const JnyRows *rows, int i)
{
	bool		found;
	pg_uuid_t  *id = jny_row_uuid(&rows->row[i], 1);
	ById	   *slot = hash_search(run->by_id, id, HASH_ENTER, &found);
	JnyEnrollment *e;

	if (found)
		return slot->enrollment;
	slot->enrollment = e = palloc0(sizeof(JnyEnrollment));
	e->id = *id;
	e->person = hash_search(run->people, jny_row_uuid(&rows->row[i], 0), HASH_FIND, NULL);
	fill_entry(e, rows, i);
	fill_state(e, rows, i);
	e->person->enrollments = lappend(e->person->enrollments, e);
	jny_subject_of(run, e->person, e->journey, e, &e->subject);
	return e;
}

/* The enrollments that the first three columns of the rows name. */
static JnyRows *
read_named(const JnyRows *rows)
{
	JnyCols    *keys = jny_cols_of(&read_enrollments);

	for (int i = 0; i < rows->n; i++)
	{
		for (int k = 0; k < 3; k++)
			jny_cols_set(keys, k, rows->row[i].values[k]);
		jny_cols_next(keys);
	}
	return jny_lookup(&read_enrollments, keys);
}

static int
by_entry(const ListCell *a, const ListCell *b)
{
	const JnyEnrollment *x = lfirst(a);
	const JnyEnrollment *y = lfirst(b);

	if (x->entered_at != y->entered_at)
		return x->entered_at < y->entered_at ? -1 : 1;
	return memcmp(&x->id, &y->id, UUID_LEN);
}

List *
jny_take_live(JnyRun *run, const JnyRows *found)
{
	List	   *live = NIL;
	JnyRows    *rows;
	ListCell   *lc;

	take_people(run, found);
	rows = read_named(found);
	for (int i = 0; i < rows->n; i++)
		live = list_append_unique_ptr(live, take_enrollment(run, rows, i));
	list_sort(live, by_entry);
	foreach(lc, live)
		list_sort(((JnyEnrollment *) lfirst(lc))->person->enrollments, by_entry);
	return live;
}

/*
 * An order may name a cart that belongs, as far as is known, to somebody
 * else: a guest's. Enrollments about that very cart are found by its hash.
 */
void
jny_load_objects(JnyRun *run)
{
	JnyCols    *hashes = NULL;
	JnyBatch   *batch = run->batch;

	for (int i = 0; i < batch->nevents; i++)
	{
		JnyEvent   *ev = &batch->events[i];

		if (ev->is_action || ev->fence == '\0' || ev->cart_id == NULL)
			continue;
		if (hashes == NULL)
			hashes = jny_cols_of(&find_objects);
		jny_cols_set(hashes, 0, Int64GetDatum(jny_key_hash("cart", psprintf("%s:%s", ev->scope, ev->cart_id))));
		jny_cols_next(hashes);
	}
	if (hashes == NULL)
		return;
	run->by_object = jny_take_live(run, jny_lookup(&find_objects, hashes));
}

/* ---- where they are and have been ------------------------------------------- */

/* Live, or ended with a goal that may still be reached. */
static bool
is_open(const JnyRun *run, const JnyRow *row)
{
	TimestampTz oldest = run->now - (int64) jny_max_event_age_s * USECS_PER_SEC;

	return row->nulls[4] || (row->nulls[5] && jny_row_time(row, 6) >= oldest && !row->nulls[6]);
}

static int
by_key(const ListCell *a, const ListCell *b)
{
	const JnyPast *x = lfirst(a);
	const JnyPast *y = lfirst(b);
	int			c = strcmp(x->journey, y->journey);

	if (c == 0)
		c = strcmp(x->key, y->key);
	return c != 0 ? c : y->occurrence - x->occurrence;
}

/* Of each journey and key, the last enrollment is what counts. */
static List *
last_ones(List *past)
{
	List	   *kept = NIL;
	ListCell   *lc;

	if (list_length(past) < 2)
		return past;
	list_sort(past, by_key);
	foreach(lc, past)
	{
		JnyPast    *p = lfirst(lc);
		JnyPast    *last = kept != NIL ? llast(kept) : NULL;

		if (last == NULL || strcmp(last->journey, p->journey) != 0 || strcmp(last->key, p->key) != 0)
			kept = lappend(kept, p);
	}
	return kept;
}

static void
note_past(JnyPerson *person, const JnyRows *rows, int i)
{
	JnyPast    *past = palloc(sizeof(JnyPast));

	past->journey = jny_row_text(&rows->row[i], 1);
	past->key = jny_row_text(&rows->row[i], 2);
	past->occurrence = (int) jny_row_int(rows, i, 3, 1);
	past->ended_at = jny_row_time(&rows->row[i], 4);
	person->past = lappend(person->past, past);
}

void
jny_load_enrollments(JnyRun *run)
{
	List	   *people = everybody(run);
	JnyRows    *all = jny_lookup(&find_enrollments, jny_people_keys(&find_enrollments, people));
	JnyCols    *open;
	JnyRows    *rows;
	ListCell   *lc;

	if (all->n == 0)
		return;
	open = jny_cols_of(&read_enrollments);
	for (int i = 0; i < all->n; i++)
	{
		JnyPerson  *person = list_nth(people, all->row[i].key);

		note_past(person, all, i);
		if (!is_open(run, &all->row[i]))
			continue;
		jny_cols_set(open, 0, Int16GetDatum(person->profile->bucket));
		jny_cols_set(open, 1, UUIDPGetDatum(&person->id));
		jny_cols_set(open, 2, all->row[i].values[0]);
		jny_cols_next(open);
	}
	rows = jny_lookup(&read_enrollments, open);
	for (int i = 0; i < rows->n; i++)
		(void) take_enrollment(run, rows, i);
	foreach(lc, people)
	{
		JnyPerson  *person = lfirst(lc);

		person->past = last_ones(person->past);
		list_sort(person->enrollments, by_entry);
	}
}

/* ---- what entries ask for ------------------------------------------------- */

static bool
stands(const JnyRow *row, void *arg)
{
	return !row->nulls[1] && row->nulls[2];
}

/* The last order of each scope, for people who have any and only where a journey ends by it. */
void
jny_load_orders(JnyRun *run)
{
	List	   *people = NIL;
	JnyRows    *rows;
	HASH_SEQ_STATUS scan;
	JnyPerson  *person;
	bool		asked = false;

	for (int i = 0; i < run->njourneys; i++)
		asked |= jny_ends_by_order(run->journeys[i]);
	if (!asked)
		return;
	hash_seq_init(&scan, run->people);
	while ((person = hash_seq_search(&scan)) != NULL)
		if (person->profile->last_order_at != 0)
			people = lappend(people, person);
	if (people == NIL)
		return;
	rows = jny_lookup_wanted(&read_orders, jny_people_keys(&read_orders, people), stands, NULL);
	/* in order of scope, as the index is */
	for (int i = 0; i < rows->n; i++)
	{
		char	   *scope = jny_row_text(&rows->row[i], 0);
		TimestampTz at = jny_row_time(&rows->row[i], 1);
		JnyLastOrder *last;

		person = list_nth(people, rows->row[i].key);
		last = person->orders != NIL ? llast(person->orders) : NULL;
		if (last == NULL || strcmp(last->scope, scope) != 0)
		{
			last = palloc(sizeof(JnyLastOrder));
			last->scope = scope;
			last->at = at;
			person->orders = lappend(person->orders, last);
		}
		last->at = Max(last->at, at);
	}
}

void
jny_load_days(JnyRun *run)
{
	JnyCols    *keys = NULL;
	JnyRows    *rows;
	Datum		today = (Datum) 0;

	for (int i = 0; i < run->njourneys; i++)
	{
		if (run->journeys[i]->max_per_day == 0)
			continue;
		if (keys == NULL)
		{
			keys = jny_cols_of(&read_days);
			today = jny_run_today(run);
		}
		jny_cols_text(keys, 0, run->journeys[i]->name);
		jny_cols_set(keys, 1, today);
		jny_cols_set(keys, 2, BoolGetDatum(run->batch->node.test));
		jny_cols_next(keys);
	}
	if (keys == NULL)
		return;
	rows = jny_lookup(&read_days, keys);
	for (int i = 0; i < rows->n; i++)
		jny_run_day(run, jny_row_text(&rows->row[i], 0))->before = jny_row_int(rows, i, 1, 0);
}

/* ---- timers ---------------------------------------------------------------- */

JnyRows *
jny_due_timers(TimestampTz now, int limit)
{
	JnyCols    *key = jny_cols_of(&due_timers);

	jny_cols_set(key, 0, TimestampTzGetDatum(now));
	jny_cols_next(key);
	return jny_lookup_locked(&due_timers, key, false, limit, NULL, NULL);
}

/*
 * Due timers leave the table here; whoever still waits afterwards gets a new
 * one. A timer of an older visit, or of an ended enrollment, is just gone.
 */
List *
jny_load_due(JnyRun *run, const JnyRows *timers)
{
	List	   *due = NIL;
	JnyRows    *rows;

	jny_write_found(&pop_timers, timers, NULL);
	take_people(run, timers);
	rows = read_named(timers);
	for (int i = 0; i < rows->n; i++)
	{
		int			timer = rows->row[i].key;
		JnyEnrollment *e = take_enrollment(run, rows, i);

		if (e->exited_at != 0 || (int) jny_row_int(timers, timer, 4, 0) != e->visit)
			continue;
		e->planned_at = jny_row_time(&timers->row[timer], 3);
		e->wake_at = 0;
		due = lappend(due, e);
	}
	return due;
}
