/*
 * load.c
 *		Reads what a phase needs, a statement per kind for all its people.
 *
 * Called by orchestrate.c and decide.c, inside SPI_connect(). Reads data
 * tables of this node; pops timers (DELETE). No other locks: one consumer per
 * node, holding the cursor row, changes these rows. Memory: run->cxt.
 */
#include "orchestrate/engine.h"

#include "executor/spi.h"
#include "utils/builtins.h"

typedef struct ById
{
	pg_uuid_t	id;
	JnyEnrollment *enrollment;
} ById;

#define ENROLLMENT_COLUMNS \
	" e.profile_id, e.enrollment_id, e.journey, e.version, e.scope, e.key, e.occurrence, e.status," \
	" e.step, e.visit, e.transitions, e.entry_event, e.entry_seq, e.entry_ref, e.entry_cart, e.entry_hash," \
	" e.data, e.steps, e.arm, e.confidence, e.entered_at, e.stepped_at, e.wake_at, e.restarts," \
	" e.exited_at, e.exit_reason, e.goal_at, e.goal_until, e.lap, e.test"

JNY_PLAN(load_live, "smallint[], uuid[], timestamptz",
		 "SELECT" ENROLLMENT_COLUMNS
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k(bucket, profile_id)"
		 " JOIN journey.enrollment e ON e.bucket = k.bucket AND e.profile_id = k.profile_id AND e.exited_at IS NULL"
		 " UNION ALL"
		 " SELECT" ENROLLMENT_COLUMNS
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k(bucket, profile_id)"
		 " JOIN journey.enrollment e ON e.bucket = k.bucket AND e.profile_id = k.profile_id"
		 "  AND e.exited_at IS NOT NULL AND e.goal_at IS NULL AND e.goal_until IS NOT NULL AND e.goal_until >= $3"
		 " ORDER BY entered_at, enrollment_id");
JNY_PLAN(load_objects, "bigint[]",
		 "SELECT" ENROLLMENT_COLUMNS
		 " FROM pg_catalog.unnest($1) AS k(hash)"
		 " JOIN journey.enrollment e ON e.entry_hash = k.hash AND e.exited_at IS NULL"
		 " ORDER BY e.entered_at, e.enrollment_id");
JNY_PLAN(load_past, "smallint[], uuid[], text[]",
		 "SELECT DISTINCT ON (e.profile_id, e.journey, e.key) e.profile_id, e.journey, e.key, e.occurrence, e.exited_at"
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k(bucket, profile_id)"
		 " JOIN journey.enrollment e ON e.bucket = k.bucket AND e.profile_id = k.profile_id AND e.journey = ANY ($3)"
		 " ORDER BY e.profile_id, e.journey, e.key, e.occurrence DESC");
JNY_PLAN(load_orders, "smallint[], uuid[]",
		 "SELECT o.profile_id, o.scope, pg_catalog.max(o.placed_at)"
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k(bucket, profile_id)"
		 " JOIN journey.orders o ON o.bucket = k.bucket AND o.profile_id = k.profile_id"
		 " WHERE o.placed_at IS NOT NULL AND o.cancelled_at IS NULL"
		 " GROUP BY o.profile_id, o.scope");
JNY_PLAN(load_days, "text[], date",
		 "SELECT d.journey, d.entered FROM journey.journey_day d WHERE d.journey = ANY ($1) AND d.day = $2");
JNY_PLAN(pop_timers, "timestamptz, integer",
		 "WITH due AS MATERIALIZED ("
		 "  SELECT t.bucket, t.profile_id, t.enrollment_id FROM journey.timer t"
		 "  WHERE t.wake_at <= $1 ORDER BY t.wake_at, t.bucket, t.profile_id, t.enrollment_id LIMIT $2),"
		 " popped AS ("
		 "  DELETE FROM journey.timer t USING due d"
		 "  WHERE t.bucket = d.bucket AND t.profile_id = d.profile_id AND t.enrollment_id = d.enrollment_id"
		 "  RETURNING t.bucket, t.profile_id, t.enrollment_id, t.wake_at, t.planned_at, t.visit)"
		 " SELECT" ENROLLMENT_COLUMNS ", p.planned_at, p.visit"
		 " FROM popped p"
		 " JOIN journey.enrollment e ON e.bucket = p.bucket AND e.profile_id = p.profile_id AND e.enrollment_id = p.enrollment_id"
		 " ORDER BY p.wake_at, p.bucket, p.profile_id, p.enrollment_id");

static char *
get_string(uint64 row, int col)
{
	char	   *s = jny_get_text(row, col);

	return s ? pstrdup(s) : NULL;
}

static TimestampTz
get_time(uint64 row, int col)
{
	bool		isnull;
	Datum		d = jny_get(row, col, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(d);
}

static void *
get_varlena(uint64 row, int col)
{
	bool		isnull;
	Datum		d = jny_get(row, col, &isnull);

	return isnull ? NULL : PG_DETOAST_DATUM_COPY(d);
}

static JnyPerson *
find_person(JnyRun *run, uint64 row, int col)
{
	return hash_search(run->people, jny_get_uuid(row, col), HASH_FIND, NULL);
}

/* Columns of ENROLLMENT_COLUMNS, from 1. An enrollment that is already in memory stays as it is there. */
static JnyEnrollment *
take_enrollment(JnyRun *run, uint64 row)
{
	bool		found;
	bool		isnull;
	pg_uuid_t  *id = jny_get_uuid(row, 2);
	ById	   *slot = hash_search(run->by_id, id, HASH_ENTER, &found);
	JnyEnrollment *e;
	char	   *step;

	if (found)
		return slot->enrollment;
	slot->enrollment = e = palloc0(sizeof(JnyEnrollment));
	e->id = *id;
	e->person = find_person(run, row, 1);
	e->journey_name = get_string(row, 3);
	e->version = (int) jny_get_int8(row, 4, 0);
	e->journey = jny_journey_version(e->journey_name, e->version);
	e->scope = get_string(row, 5);
	e->key = get_string(row, 6);
	e->occurrence = (int) jny_get_int8(row, 7, 1);
	e->status = get_string(row, 8);
	step = get_string(row, 9);
	e->step = step && e->journey ? jny_step_index(e->journey, step) : JNY_EDGE_NONE;
	e->visit = (int) jny_get_int8(row, 10, 0);
	e->transitions = (int) jny_get_int8(row, 11, 0);
	if (jny_get_uuid(row, 12) != NULL)
	{
		e->has_entry_event = true;
		e->entry_event = *jny_get_uuid(row, 12);
	}
	e->entry_seq = jny_get_int8(row, 13, 0);
	e->entry_ref = get_string(row, 14);
	e->entry_cart = get_string(row, 15);
	e->entry_hash = jny_get_int8(row, 16, 0);
	e->data = get_varlena(row, 17);
	e->steps = get_varlena(row, 18);
	e->arm = get_string(row, 19);
	e->confidence = DatumGetFloat8(jny_get(row, 20, &isnull));
	e->entered_at = get_time(row, 21);
	e->stepped_at = get_time(row, 22);
	e->wake_at = get_time(row, 23);
	e->restarts = (int) jny_get_int8(row, 24, 0);
	e->exited_at = get_time(row, 25);
	e->exit_reason = get_string(row, 26);
	e->goal_at = get_time(row, 27);
	e->goal_until = get_time(row, 28);
	e->lap = jny_get_int8(row, 29, 0);
	e->test = jny_get_int8(row, 30, 0) != 0;
	e->person->enrollments = lappend(e->person->enrollments, e);
	jny_subject_of(run, e->person, e->journey, e, &e->subject);
	return e;
}

/* People of the run as two arrays; chosen says whom, NULL = all. */
static JnyCols *
people_keys(JnyRun *run, bool (*chosen) (JnyPerson *))
{
	JnyCols    *cols = jny_cols("smallint, uuid");
	HASH_SEQ_STATUS scan;
	JnyPerson  *p;

	hash_seq_init(&scan, run->people);
	while ((p = hash_seq_search(&scan)) != NULL)
	{
		if (chosen != NULL && !chosen(p))
			continue;
		jny_cols_set(cols, 0, Int16GetDatum(p->profile->bucket));
		jny_cols_set(cols, 1, UUIDPGetDatum(&p->id));
		jny_cols_next(cols);
	}
	return cols;
}

void
jny_load_live(JnyRun *run)
{
	JnyCols    *keys = people_keys(run, NULL);
	Datum	   *values = jny_cols_datums(keys, 1);

	if (jny_cols_count(keys) == 0)
		return;
	values[2] = TimestampTzGetDatum(run->now - (int64) jny_max_event_age_s * USECS_PER_SEC);
	jny_run(&load_live, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
		take_enrollment(run, row);
}

/* The people of a result, so that they are in the run before their enrollments are. */
static void
take_people(JnyRun *run)
{
	List	   *ids = NIL;
	SPITupleTable *result = SPI_tuptable;
	uint64		n = SPI_processed;

	for (uint64 row = 0; row < n; row++)
	{
		pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

		*id = *jny_get_uuid(row, 1);
		ids = lappend(ids, id);
	}
	jny_profiles_load(run->batch, ids);
	SPI_tuptable = result;
	SPI_processed = n;
	for (uint64 row = 0; row < n; row++)
	{
		JnyProfile *profile = jny_profile_get(run->batch, jny_get_uuid(row, 1));

		if (profile == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("enrollment %s belongs to a profile that does not exist",
							jny_uuid_str(jny_get_uuid(row, 2)))));
		jny_run_person(run, profile);
	}
}

/*
 * An order may name a cart that belongs, as far as is known, to somebody
 * else: a guest's. Enrollments about that very cart are found by its hash.
 */
void
jny_load_objects(JnyRun *run)
{
	JnyCols    *keys = jny_cols("bigint");
	JnyBatch   *batch = run->batch;

	for (int i = 0; i < batch->nevents; i++)
	{
		JnyEvent   *ev = &batch->events[i];

		if (ev->is_action || ev->fence == '\0' || ev->cart_id == NULL)
			continue;
		jny_cols_set(keys, 0, Int64GetDatum(jny_key_hash("cart", psprintf("%s:%s", ev->scope, ev->cart_id))));
		jny_cols_next(keys);
	}
	if (jny_cols_count(keys) == 0)
		return;
	jny_run(&load_objects, jny_cols_datums(keys, 0), NULL);
	take_people(run);
	for (uint64 row = 0; row < SPI_processed; row++)
		run->by_object = list_append_unique_ptr(run->by_object, take_enrollment(run, row));
}

void
jny_load_past(JnyRun *run)
{
	JnyCols    *keys = people_keys(run, NULL);
	JnyCols    *names = jny_cols("text");
	Datum	   *values;

	for (int i = 0; i < run->njourneys; i++)
	{
		jny_cols_text(names, 0, run->journeys[i]->name);
		jny_cols_next(names);
	}
	if (jny_cols_count(keys) == 0 || jny_cols_count(names) == 0)
		return;
	values = jny_cols_datums(keys, 1);
	values[2] = jny_cols_datums(names, 0)[0];
	jny_run(&load_past, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		JnyPerson  *person = find_person(run, row, 1);
		JnyPast    *past = palloc0(sizeof(JnyPast));

		past->journey = get_string(row, 2);
		past->key = get_string(row, 3);
		past->occurrence = (int) jny_get_int8(row, 4, 1);
		past->ended_at = get_time(row, 5);
		person->past = lappend(person->past, past);
	}
}

static bool
has_orders(JnyPerson *person)
{
	return person->profile->last_order_at != 0;
}

void
jny_load_orders(JnyRun *run)
{
	JnyCols    *keys = people_keys(run, has_orders);

	if (jny_cols_count(keys) == 0)
		return;
	jny_run(&load_orders, jny_cols_datums(keys, 0), NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		JnyPerson  *person = find_person(run, row, 1);
		JnyLastOrder *last = palloc(sizeof(JnyLastOrder));

		last->scope = get_string(row, 2);
		last->at = get_time(row, 3);
		person->orders = lappend(person->orders, last);
	}
}

void
jny_load_days(JnyRun *run)
{
	JnyCols    *names = jny_cols("text");
	Datum	   *values;
	Timestamp	local = jny_zone_local(run->now, run->policy->zone);

	for (int i = 0; i < run->njourneys; i++)
	{
		if (run->journeys[i]->max_per_day == 0)
			continue;
		jny_cols_text(names, 0, run->journeys[i]->name);
		jny_cols_next(names);
	}
	if (jny_cols_count(names) == 0)
		return;
	values = jny_cols_datums(names, 1);
	values[1] = DirectFunctionCall1(timestamp_date, TimestampGetDatum(local));
	jny_run(&load_days, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		found;
		JnyDay	   *day = hash_search(run->days, jny_get_text(row, 1), HASH_ENTER, &found);

		if (!found)
			day->entered = day->not_entered = 0;
		day->before = jny_get_int8(row, 2, 0);
	}
}

/*
 * Due timers leave the table here; whoever still waits afterwards gets a new
 * one. A timer of an older visit, or of an ended enrollment, is just gone.
 */
List *
jny_load_due(JnyRun *run, int limit)
{
	Datum		values[2] = {TimestampTzGetDatum(run->now), Int32GetDatum(limit)};
	List	   *due = NIL;
	uint64		n;

	n = jny_run(&pop_timers, values, NULL);
	if (n == 0)
		return NIL;
	take_people(run);
	for (uint64 row = 0; row < n; row++)
	{
		JnyEnrollment *e = take_enrollment(run, row);

		if (e->exited_at != 0 || (int) jny_get_int8(row, 32, 0) != e->visit)
			continue;
		e->planned_at = get_time(row, 31);
		e->wake_at = 0;
		e->due = true;
		due = lappend(due, e);
	}
	return due;
}

/* ---- what the gates of a send read --------------------------------------- */

JNY_PLAN(load_consents, "smallint[], uuid[]",
		 "SELECT c.profile_id, c.scope, c.channel, c.purpose, c.state, c.expires_at"
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k(bucket, profile_id)"
		 " JOIN journey.consent c ON c.bucket = k.bucket AND c.profile_id = k.profile_id");
JNY_PLAN(load_contacts, "smallint[], uuid[]",
		 "SELECT c.profile_id, c.scope, c.channel, c.state, c.address_hash"
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k(bucket, profile_id)"
		 " JOIN journey.contact_point c ON c.bucket = k.bucket AND c.profile_id = k.profile_id");
JNY_PLAN(load_suppressions, "smallint[], uuid[], bigint[]",
		 "SELECT s.profile_id, s.seq, s.type, s.ref, s.scope, s.channel, s.purpose, s.reason, s.matched, s.until"
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS k(bucket, profile_id, seq)"
		 " JOIN journey.suppression s ON s.bucket = k.bucket AND s.profile_id = k.profile_id"
		 " WHERE s.released_by IS NULL AND (s.seq > k.seq OR s.type = 'manual')"
		 " ORDER BY s.seq");
JNY_PLAN(load_actions, "smallint[], uuid[]",
		 "SELECT o.profile_id, o.exclusion, o.scope, o.journey, o.step, o.enrollment_id, o.priority"
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k(bucket, profile_id)"
		 " JOIN journey.outbox o ON o.bucket = k.bucket AND o.profile_id = k.profile_id"
		 " WHERE o.exclusion IS NOT NULL AND o.status IN ('pending', 'claimed', 'sending', 'unknown')");
JNY_PLAN(load_permits, "smallint[], uuid[], timestamptz",
		 "SELECT a.profile_id, pg_catalog.max(a.granted_at), a.journey, a.scope, a.channel, a.purpose"
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k(bucket, profile_id)"
		 " JOIN journey.attempt_log a ON a.bucket = k.bucket AND a.profile_id = k.profile_id"
		 " WHERE a.counted AND a.granted_at > $3"
		 " GROUP BY a.profile_id, a.action_id, a.journey, a.scope, a.channel, a.purpose"
		 " ORDER BY 2 DESC");
JNY_PLAN(load_stock, "text[]",
		 "SELECT p.sku, p.available FROM journey.product p WHERE p.sku = ANY ($1)");

static void
load_consent_rows(JnyRun *run, Datum *keys)
{
	jny_run(&load_consents, keys, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		JnyPerson  *person = find_person(run, row, 1);
		JnyConsentRow *c = palloc(sizeof(JnyConsentRow));

		c->scope = get_string(row, 2);
		c->channel = get_string(row, 3);
		c->purpose = get_string(row, 4);
		c->state = get_string(row, 5);
		c->expires_at = get_time(row, 6);
		person->consents = lappend(person->consents, c);
	}
	jny_run(&load_contacts, keys, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		JnyPerson  *person = find_person(run, row, 1);
		JnyContactRow *c = palloc(sizeof(JnyContactRow));

		c->scope = get_string(row, 2);
		c->channel = get_string(row, 3);
		c->state = get_string(row, 4);
		c->address_hash = jny_get_int8(row, 5, 0);
		person->contacts = lappend(person->contacts, c);
	}
}

static void
load_suppression_rows(JnyRun *run, Datum *keys)
{
	jny_run(&load_suppressions, keys, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		JnyPerson  *person = find_person(run, row, 1);
		JnySuppressionRow *s = palloc(sizeof(JnySuppressionRow));

		s->seq = jny_get_int8(row, 2, 0);
		s->type = get_string(row, 3);
		s->ref = get_string(row, 4);
		s->scope = get_string(row, 5);
		s->channel = get_string(row, 6);
		s->purpose = get_string(row, 7);
		s->reason = get_string(row, 8);
		s->matched = get_varlena(row, 9);
		s->until = get_time(row, 10);
		person->suppressions = lappend(person->suppressions, s);
	}
}

static void
load_action_rows(JnyRun *run, Datum *keys)
{
	jny_run(&load_actions, keys, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		JnyPerson  *person = find_person(run, row, 1);
		JnyLiveAction *a = palloc0(sizeof(JnyLiveAction));

		a->exclusion = get_string(row, 2);
		a->scope = get_string(row, 3);
		a->journey = get_string(row, 4);
		a->step = get_string(row, 5);
		if (jny_get_uuid(row, 6) != NULL)
			a->enrollment_id = *jny_get_uuid(row, 6);
		a->priority = (int) jny_get_int8(row, 7, 0);
		person->actions = lappend(person->actions, a);
	}
}

/* No cap looks back further than this. */
#define CAP_HORIZON (INT64CONST(400) * USECS_PER_DAY)

static void
load_permit_rows(JnyRun *run, Datum *keys)
{
	Datum		values[3] = {keys[0], keys[1], TimestampTzGetDatum(run->now - CAP_HORIZON)};

	jny_run(&load_permits, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		JnyPerson  *person = find_person(run, row, 1);
		JnyPermitRow *p = palloc(sizeof(JnyPermitRow));

		p->at = get_time(row, 2);
		p->journey = get_string(row, 3);
		p->scope = get_string(row, 4);
		p->channel = get_string(row, 5);
		p->purpose = get_string(row, 6);
		person->permits = lappend(person->permits, p);
	}
}

void
jny_load_gates(JnyRun *run)
{
	JnyCols    *cols = jny_cols("smallint, uuid, bigint");
	ListCell   *lc;
	ListCell   *lc2;
	Datum	   *keys;

	foreach(lc, run->pending)
	{
		JnyEnrollment *e = lfirst(lc);
		JnyPerson  *person = e->person;
		int64		seq = e->entry_seq;

		if (person->gates)
			continue;
		person->gates = true;
		foreach(lc2, person->enrollments)
			seq = Min(seq, ((JnyEnrollment *) lfirst(lc2))->entry_seq);
		jny_cols_set(cols, 0, Int16GetDatum(person->profile->bucket));
		jny_cols_set(cols, 1, UUIDPGetDatum(&person->id));
		jny_cols_set(cols, 2, Int64GetDatum(seq));
		jny_cols_next(cols);
	}
	if (jny_cols_count(cols) == 0)
		return;
	keys = jny_cols_datums(cols, 0);
	load_consent_rows(run, keys);
	load_suppression_rows(run, keys);
	load_action_rows(run, keys);
	load_permit_rows(run, keys);
}

void
jny_load_stock(JnyRun *run, List *skus)
{
	JnyCols    *cols = jny_cols("text");
	ListCell   *lc;

	run->stocks = NIL;
	foreach(lc, skus)
	{
		jny_cols_text(cols, 0, lfirst(lc));
		jny_cols_next(cols);
	}
	if (jny_cols_count(cols) == 0)
		return;
	jny_run(&load_stock, jny_cols_datums(cols, 0), NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		JnyStock   *stock = palloc(sizeof(JnyStock));
		bool		isnull;
		Datum		available = jny_get(row, 2, &isnull);

		stock->sku = get_string(row, 1);
		stock->known = !isnull;
		stock->in_stock = !isnull &&
			DatumGetBool(DirectFunctionCall2(numeric_gt, available,
											 DirectFunctionCall1(int4_numeric, Int32GetDatum(0))));
		run->stocks = lappend(run->stocks, stock);
	}
}

const JnyStock *
jny_stock_of(JnyRun *run, const char *sku)
{
	ListCell   *lc;

	foreach(lc, run->stocks)
	{
		JnyStock   *stock = lfirst(lc);

		if (strcmp(stock->sku, sku) == 0)
			return stock;
	}
	return NULL;
}
