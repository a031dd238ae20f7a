/*
 * feature_update.c
 *		Features kept up with the events of a lap, and counted from the event
 *		log where a vector does not have them yet.
 *
 * jny_features_update() is the lap's second act: it changes the vectors of the
 * batch's profiles in memory (observe writes them when the lap ends). A vector
 * may lack an entry for a feature, as one that somebody has emptied does: that
 * entry is counted from the log once, for all such profiles of the batch
 * in one statement, whose rows are read in portions: a history may be longer
 * than memory. Readers of people who are not in a batch do the same for
 * one person and write nothing. Features that the worker has still to count for
 * everybody are left out. jny_profiles_recount() counts everything of
 * some people anew. The caller is inside SPI_connect(). No locks.
 */
#include "interpret/rule.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "interpret/feature.h"

/* Rows of the log that are in memory at a time. */
#define PORTION 500

/* Rows of this lap are in the log already, but are applied as events. */
JNY_PLAN(read_log, "integer[], smallint[], uuid[], bigint",
		 "SELECT k.n, e.seq, e.type, e.occurred_at, e.received_at, e.source, e.scope, e.props"
		 " FROM unnest($1, $2, $3) AS k(n, bucket, profile_id)"
		 " JOIN journey.event e ON e.bucket = k.bucket AND e.profile_id = k.profile_id"
		 " WHERE e.lap < $4");

/* Orders that count are those of count_placed() in observe/order.c: placed, and not cancelled since. */
JNY_PLAN(read_totals, "integer[], smallint[], uuid[]",
		 "SELECT k.n, e.events, e.last_at, o.orders, o.last_at FROM unnest($1, $2, $3) AS k(n, bucket, profile_id)"
		 " CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS events, pg_catalog.max(e.occurred_at) AS last_at"
		 "  FROM journey.event e WHERE e.bucket = k.bucket AND e.profile_id = k.profile_id) AS e"
		 " CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS orders, pg_catalog.max(o.placed_at) AS last_at"
		 "  FROM journey.orders o WHERE o.bucket = k.bucket AND o.profile_id = k.profile_id"
		 "  AND o.placed_at IS NOT NULL AND o.cancelled_at IS NULL) AS o");

typedef struct Tracked
{
	pg_uuid_t	id;
	JnyVector	vector;
	bool	   *missing;		/* per feature: has to be counted from the log */
	bool		any_missing;
} Tracked;

/* ---- one event, one feature ------------------------------------------------------------ */

/* Has it an entry in every vector? */
static bool
is_kept(const JnyFeature *f)
{
	return f->broken == NULL && f->aggregate != JNY_AGG_RATIO;
}

static bool
counts_type(const JnyFeature *f, const char *type)
{
	for (int i = 0; i < f->ntypes; i++)
		if (strcmp(f->types[i], type) == 0)
			return true;
	return false;
}

/* 0 = null, or no expression. */
static Datum
value_of(const JnyFeature *f, const char *expression, Oid type, JnySubjectContext *subject)
{
	bool		isnull = true;
	Datum		value = (Datum) 0;

	if (expression != NULL)
		value = jny_expr_value(jny_expr_compile(expression, f->owner, type), jny_subject_resolve, subject, &isnull);
	return isnull ? (Datum) 0 : value;
}

/* What stays in the vector is allocated in keep. */
static void
apply(const JnyFeature *f, JnyVector *vector, const JnyEvent *event, TimestampTz received_at, MemoryContext keep)
{
	JnySubjectContext subject = {0};
	MemoryContext here;
	JnyFeatureEntry *entry = jny_vector_entry(vector, f, false);
	JnyFeatureNews news = {(Datum) 0, (Datum) 0, Min(event->occurred_at, received_at), event->seq};

	if (entry == NULL)
		return;					/* it is counted later */
	subject.cxt = CurrentMemoryContext;
	subject.event = event;
	subject.now = received_at;
	if (jny_by_machine(event, f->where))
		return;
	if (f->where != NULL &&
		jny_expr_verdict(jny_expr_compile(f->where, f->owner, BOOLOID),
						 jny_subject_resolve, &subject) != JNY_TRUE)
		return;
	news.value = value_of(f, f->of, f->value_type, &subject);
	news.amount = value_of(f, f->amount, NUMERICOID, &subject);
	here = MemoryContextSwitchTo(keep);
	jny_entry_add(entry, f, &news);
	MemoryContextSwitchTo(here);
}

/* ---- from the log ------------------------------------------------------------------------ */

static JnyEvent *
event_of_row(uint64 row)
{
	JnyEvent   *e = palloc0(sizeof(JnyEvent));
	bool		isnull;

	e->seq = jny_get_int8(row, 2, 0);
	e->type = jny_get_text(row, 3);
	e->occurred_at = DatumGetTimestampTz(jny_get(row, 4, &isnull));
	e->source = jny_get_text(row, 6);
	e->scope = jny_get_text(row, 7);
	e->props = DatumGetJsonbP(jny_get(row, 8, &isnull));
	return e;
}

static void
count_row(Tracked **tracked, uint64 row, MemoryContext keep)
{
	const JnyFeature *features;
	int			nfeatures = jny_features(&features);
	Tracked    *t = tracked[jny_get_int8(row, 1, 0)];
	JnyEvent   *e = event_of_row(row);
	bool		isnull;
	TimestampTz received_at = DatumGetTimestampTz(jny_get(row, 5, &isnull));

	for (int i = 0; i < nfeatures; i++)
		if (t->missing[i] && counts_type(&features[i], e->type))
			apply(&features[i], &t->vector, e, received_at, keep);
}

static void
count_portion(Tracked **tracked, uint64 nrows, MemoryContext keep)
{
	MemoryContext one = AllocSetContextCreate(keep, "journey event of the log", ALLOCSET_DEFAULT_SIZES);
	MemoryContext here = MemoryContextSwitchTo(one);
	SPITupleTable *rows = SPI_tuptable;

	for (uint64 row = 0; row < nrows; row++)
	{
		SPI_tuptable = rows;	/* rules may read tables when they compile */
		count_row(tracked, row, keep);
		MemoryContextReset(one);
	}
	MemoryContextSwitchTo(here);
	MemoryContextDelete(one);
	SPI_freetuptable(rows);
}

static void
put_person(JnyCols *cols, int i, const pg_uuid_t *id)
{
	jny_cols_set(cols, 0, Int32GetDatum(i));
	jny_cols_set(cols, 1, Int16GetDatum(jny_bucket_of_id(id)));
	jny_cols_set(cols, 2, UUIDPGetDatum(id));
	jny_cols_next(cols);
}

static void
count_from_log(Tracked **tracked, int n, int64 before_lap)
{
	JnyCols    *cols = jny_cols("integer, smallint, uuid");
	Datum	   *args;
	struct PortalData *log;
	uint64		nrows;

	for (int i = 0; i < n; i++)
		put_person(cols, i, &tracked[i]->id);
	args = jny_cols_datums(cols, 1);
	args[3] = Int64GetDatum(before_lap);
	log = jny_open(&read_log, args);
	while ((nrows = jny_fetch(log, PORTION)) > 0)
		count_portion(tracked, nrows, CurrentMemoryContext);
}

typedef enum Missing
{
	KNOWN_EMPTY,				/* the person is new */
	COUNT_LATER,				/* leave out what the worker has still to count */
	COUNT_ALL
} Missing;

/* Gives every active feature its entry; says which of them have to be counted. */
static void
track(Tracked *t, const pg_uuid_t *id, bytea *packed, Missing missing)
{
	const JnyFeature *features;
	int			n = jny_features(&features);
	JnyVector	old;

	t->id = *id;
	t->missing = palloc0(sizeof(bool) * Max(n, 1));
	t->any_missing = false;
	memset(&t->vector, 0, sizeof(t->vector));
	jny_vector_read(&old, packed);
	t->vector.room = n;
	t->vector.entries = palloc(sizeof(JnyFeatureEntry) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		JnyFeatureEntry *e;

		if (!is_kept(&features[i]))
			continue;
		e = jny_vector_entry(&old, &features[i], false);
		if (e == NULL && missing == COUNT_LATER && features[i].counting)
			continue;
		t->missing[i] = e == NULL && missing != KNOWN_EMPTY;
		t->any_missing |= t->missing[i];
		/* entries of features that are gone stay behind */
		if (e != NULL)
			*jny_vector_entry(&t->vector, &features[i], true) = *e;
		else
			(void) jny_vector_entry(&t->vector, &features[i], true);
	}
}

/* ---- the lap --------------------------------------------------------------------------------- */

/* What was set aside stops actions, and is no event of anybody. */
static bool
is_logged(const JnyEvent *e)
{
	return !e->is_action && !e->fence_only;
}

/* The features that count events of one type: a lap has thousands of events and few types. */
typedef struct Counting
{
	const char *type;
	int			n;
	const JnyFeature **features;
	struct Counting *next;
} Counting;

/* A person of the batch and their events, in order: indexes into the batch's, linked by next[]. */
typedef struct Doing
{
	JnyProfile *profile;		/* hash key */
	int			first;			/* -1 = none */
	int			last;
} Doing;

typedef struct Update
{
	JnyBatch   *batch;
	Counting   *types;
	HTAB	   *all;			/* of Doing */
	int		   *next;
	List	   *order;			/* of Doing *, as they come */
} Update;

static const Counting *
counting(Update *u, const char *type)
{
	const JnyFeature *features;
	int			n = jny_features(&features);
	Counting   *c = u->types;

	while (c != NULL && c->type != type && strcmp(c->type, type) != 0)
		c = c->next;
	if (c != NULL)
		return c;
	c = MemoryContextAlloc(u->batch->cxt, sizeof(Counting));
	c->type = type;
	c->n = 0;
	c->features = MemoryContextAlloc(u->batch->cxt, sizeof(JnyFeature *) * Max(n, 1));
	for (int i = 0; i < n; i++)
		if (is_kept(&features[i]) && counts_type(&features[i], type))
			c->features[c->n++] = &features[i];
	c->next = u->types;
	u->types = c;
	return c;
}

static Doing *
doing(Update *u, JnyProfile *p)
{
	bool		found;
	Doing	   *d = hash_search(u->all, &p, HASH_ENTER, &found);

	if (!found)
	{
		d->first = d->last = -1;
		u->order = lappend(u->order, d);
	}
	return d;
}

/* Whose vectors change: people with events, and those who are new and have done nothing yet. */
static void
gather(Update *u)
{
	JnyBatch   *batch = u->batch;
	HASHCTL		ctl = {0};
	HASH_SEQ_STATUS seq;
	JnyProfile *p;

	ctl.keysize = sizeof(void *);
	ctl.entrysize = sizeof(Doing);
	ctl.hcxt = batch->cxt;
	u->all = hash_create("journey lap features", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	u->next = palloc(sizeof(int) * (batch->nevents + 1));
	for (int i = 0; i < batch->nevents; i++)
	{
		Doing	   *d;

		if (!is_logged(&batch->events[i]))
			continue;
		d = doing(u, batch->events[i].profile);
		u->next[i] = -1;
		if (d->first < 0)
			d->first = i;
		else
			u->next[d->last] = i;
		d->last = i;
	}
	hash_seq_init(&seq, batch->profiles);
	while ((p = hash_seq_search(&seq)) != NULL)
		if (p->is_new)
			(void) doing(u, p);
}

/* The vector with the events of this lap, back to the profile. */
static void
add_events(Update *u, const Doing *d, Tracked *t, MemoryContext scratch)
{
	JnyBatch   *batch = u->batch;
	bytea	   *packed;

	for (int i = d->first; i >= 0; i = u->next[i])
	{
		const Counting *c = counting(u, batch->events[i].type);

		for (int k = 0; k < c->n; k++)
			apply(c->features[k], &t->vector, &batch->events[i], batch->node.now, scratch);
	}
	packed = jny_vector_write(&t->vector);
	MemoryContextSwitchTo(batch->cxt);
	d->profile->features = (bytea *) DatumGetPointer(datumCopy(PointerGetDatum(packed), false, -1));
	d->profile->dirty = true;
}

/*
 * Person by person, so that what a vector is while it is open is in memory
 * for one of them only; those whose vectors lack something stay open until
 * all of them have been counted from the log.
 */
static void
update(void *arg)
{
	Update		u = {.batch = arg};
	MemoryContext scratch = AllocSetContextCreate(u.batch->cxt, "journey features", ALLOCSET_DEFAULT_SIZES);
	Tracked   **missing;
	List	   *lacking = NIL;
	ListCell   *lc;
	int			n = 0;

	gather(&u);
	foreach(lc, u.order)
	{
		const Doing *d = lfirst(lc);
		Tracked		t;

		MemoryContextSwitchTo(scratch);
		track(&t, &d->profile->id, d->profile->features, d->profile->is_new ? KNOWN_EMPTY : COUNT_LATER);
		if (t.any_missing)
		{
			MemoryContextSwitchTo(u.batch->cxt);
			lacking = lappend(lacking, unconstify(Doing *, d));
		}
		else
			add_events(&u, d, &t, scratch);
		MemoryContextReset(scratch);
	}
	if (lacking == NIL)
		return;
	missing = palloc(sizeof(Tracked *) * list_length(lacking));
	foreach(lc, lacking)
	{
		const Doing *d = lfirst(lc);

		missing[n] = palloc(sizeof(Tracked));
		track(missing[n++], &d->profile->id, d->profile->features, COUNT_LATER);
	}
	count_from_log(missing, n, u.batch->lap);
	for (int i = 0; i < n; i++)
		add_events(&u, list_nth(lacking, i), missing[i], u.batch->cxt);
}

static void
pinned(void (*work) (void *), void *arg)
{
	jny_vocabulary_refresh();
	jny_features_hold(work, arg);
}

void
jny_features_update(JnyBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->cxt);

	pinned(update, batch);
	MemoryContextSwitchTo(old);
}

/* ---- anew ---------------------------------------------------------------------------------------- */

static TimestampTz
time_or_never(uint64 row, int col)
{
	bool		isnull;
	Datum		at = jny_get(row, col, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(at);
}

static void
recount_totals(JnyProfile **profiles, int n)
{
	JnyCols    *cols = jny_cols("integer, smallint, uuid");
	uint64		nrows;

	for (int i = 0; i < n; i++)
		put_person(cols, i, &profiles[i]->id);
	nrows = jny_run(&read_totals, jny_cols_datums(cols, 0), NULL);
	for (uint64 row = 0; row < nrows; row++)
	{
		JnyProfile *p = profiles[jny_get_int8(row, 1, 0)];

		p->events = jny_get_int8(row, 2, 0);
		p->last_event_at = time_or_never(row, 3);
		p->orders = (int) jny_get_int8(row, 4, 0);
		p->last_order_at = time_or_never(row, 5);
		p->dirty = true;
	}
	SPI_freetuptable(SPI_tuptable);
}

typedef struct Recount
{
	JnyProfile **profiles;
	int			n;
	int64		before_lap;
} Recount;

static void
recount_features(void *arg)
{
	const Recount *r = arg;
	int			n = r->n;
	Tracked    *tracked = palloc0(sizeof(Tracked) * n);
	Tracked   **list = palloc(sizeof(Tracked *) * n);

	for (int i = 0; i < n; i++)
	{
		list[i] = &tracked[i];
		track(list[i], &r->profiles[i]->id, NULL, COUNT_ALL);
	}
	count_from_log(list, n, r->before_lap);
	for (int i = 0; i < n; i++)
		r->profiles[i]->features = jny_vector_write(&tracked[i].vector);
}

typedef struct Fill
{
	const pg_uuid_t *ids;
	bytea	  **vectors;
	int			n;
} Fill;

static void
fill(void *arg)
{
	const Fill *f = arg;
	int			n = f->n;
	Tracked    *tracked = palloc0(sizeof(Tracked) * (n + 1));
	Tracked   **missing = palloc(sizeof(Tracked *) * (n + 1));
	int			nmissing = 0;

	for (int i = 0; i < n; i++)
	{
		track(&tracked[i], &f->ids[i], f->vectors[i], COUNT_ALL);
		if (tracked[i].any_missing)
			missing[nmissing++] = &tracked[i];
	}
	if (nmissing > 0)
		count_from_log(missing, nmissing, PG_INT64_MAX);
	for (int i = 0; i < n; i++)
		f->vectors[i] = tracked[i].any_missing ? jny_vector_write(&tracked[i].vector) : NULL;
}

void
jny_profiles_recount(JnyProfile **profiles, int n, int64 before_lap)
{
	Recount		r = {profiles, n, before_lap};

	if (n == 0)
		return;
	recount_totals(profiles, n);
	pinned(recount_features, &r);
}

void
jny_features_fill(const pg_uuid_t *ids, bytea **vectors, int n)
{
	Fill		f = {ids, vectors, n};

	pinned(fill, &f);
}

/* ---- one person -------------------------------------------------------------------------------- */

static Datum
number_of(const pg_uuid_t *profile_id, bytea *packed, const char *name, TimestampTz at, bool *isnull)
{
	const JnyFeature *f = jny_feature_find(name);
	Datum		value = jny_feature_of(profile_id, packed, f, at, isnull);

	if (*isnull || f->type == NUMERICOID)
		return value;
	return f->type == INT8OID ? NumericGetDatum(int64_to_numeric(DatumGetInt64(value)))
		: DirectFunctionCall1(float8_numeric, value);
}

/* Null where there is nothing to divide, or by. */
static Datum
ratio_of(const pg_uuid_t *profile_id, bytea *packed, const JnyFeature *f, TimestampTz at, bool *isnull)
{
	Datum		numerator = number_of(profile_id, packed, f->numerator, at, isnull);
	Datum		denominator;

	if (*isnull)
		return (Datum) 0;
	denominator = number_of(profile_id, packed, f->denominator, at, isnull);
	if (!*isnull)
		*isnull = DatumGetInt32(DirectFunctionCall2(numeric_cmp, denominator, NumericGetDatum(int64_to_numeric(0)))) == 0;
	return *isnull ? (Datum) 0 : DirectFunctionCall2(numeric_div, numerator, denominator);
}

static void
count_one(void *arg)
{
	Tracked    *one = arg;

	count_from_log(&one, 1, PG_INT64_MAX);
}

/* Its entry, counted from the log where the vector lacks it. The caller goes on with what it has of the registry. */
static JnyFeatureEntry *
entry_of(const pg_uuid_t *profile_id, bytea *packed, const JnyFeature *f)
{
	JnyVector	vector;
	JnyFeatureEntry *e;
	Tracked		t;

	jny_vector_read(&vector, packed);
	e = jny_vector_entry(&vector, f, false);
	if (e != NULL)
		return e;
	track(&t, profile_id, packed, COUNT_LATER);
	jny_features_hold(count_one, &t);
	return jny_vector_entry(&t.vector, f, true);
}

bool
jny_feature_recent(const pg_uuid_t *profile_id, bytea *packed, const char *name, const char *item,
				   TimestampTz at, int64 *times, Datum *sum)
{
	const JnyFeature *f = jny_feature_find(name);

	if (f == NULL || f->aggregate != JNY_AGG_RECENT || f->broken != NULL || f->counting)
		return false;
	*times = jny_recent_count(entry_of(profile_id, packed, f)->value, f, at, item, sum);
	return true;
}

Datum
jny_feature_of(const pg_uuid_t *profile_id, bytea *packed, const JnyFeature *f,
			   TimestampTz at, bool *isnull)
{
	*isnull = true;
	if (f->broken != NULL || f->counting)
		return (Datum) 0;
	if (f->aggregate == JNY_AGG_RATIO)
		return ratio_of(profile_id, packed, f, at, isnull);
	return jny_entry_value(entry_of(profile_id, packed, f), f, at, isnull);
}

JNY_PLAN(read_vector, "smallint, uuid",
		 "SELECT features FROM journey.profile_state WHERE bucket = $1 AND profile_id = $2");

static bytea *
vector_of(const pg_uuid_t *profile_id)
{
	Datum		args[2] = {Int16GetDatum(jny_bucket_of_id(profile_id)), UUIDPGetDatum(profile_id)};
	bool		isnull = true;
	Datum		d = (Datum) 0;

	if (jny_run(&read_vector, args, NULL) > 0)
		d = jny_get(0, 1, &isnull);
	return isnull ? NULL : (bytea *) PG_DETOAST_DATUM_COPY(d);
}

static Jsonb *
all_features(const pg_uuid_t *profile_id, TimestampTz at)
{
	const JnyFeature *features;
	int			n;
	bytea	   *packed = vector_of(profile_id);
	JsonbParseState *state = NULL;

	n = jny_features(&features);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < n; i++)
	{
		bool		isnull;
		Datum		value = jny_feature_of(profile_id, packed, &features[i], at, &isnull);
		JsonbValue	v;

		v.type = jbvString;
		v.val.string.val = unconstify(char *, features[i].name);
		v.val.string.len = strlen(features[i].name);
		pushJsonbValue(&state, WJB_KEY, &v);
		jny_value_to_json(value, features[i].type, isnull, &v);
		pushJsonbValue(&state, WJB_VALUE, &v);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

PG_FUNCTION_INFO_V1(journey_features);
PG_FUNCTION_INFO_V1(journey_recount);
PG_FUNCTION_INFO_V1(journey_feature_states);
PG_FUNCTION_INFO_V1(journey_feature_check);

Datum
journey_features(PG_FUNCTION_ARGS)
{
	MemoryContext here = CurrentMemoryContext;
	pg_uuid_t	id;
	Jsonb	   *result = NULL;

	jny_vocabulary_refresh();
	SPI_connect();
	MemoryContextSwitchTo(here);
	if (jny_subject_find(PG_GETARG_JSONB_P(0), &id))
		result = all_features(&id, jny_now());
	SPI_finish();
	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(result);
}

static void
put_recounted(ReturnSetInfo *rsinfo, JnyProfile *p)
{
	Datum		values[6] = {
		UUIDPGetDatum(&p->id), PointerGetDatum(p->features), TimestampTzGetDatum(p->last_event_at),
		TimestampTzGetDatum(p->last_order_at), Int32GetDatum(p->orders), Int64GetDatum(p->events)
	};
	bool		nulls[6] = {false, p->features == NULL, p->last_event_at == 0, p->last_order_at == 0, false, false};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

Datum
journey_recount(PG_FUNCTION_ARGS)
{
	Datum	   *ids;
	bool	   *nulls;
	int			n;
	JnyProfile *people;
	JnyProfile **list;
	int			npeople = 0;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &ids, &nulls, &n);
	InitMaterializedSRF(fcinfo, 0);
	people = palloc0(sizeof(JnyProfile) * (n + 1));
	list = palloc(sizeof(JnyProfile *) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			continue;
		people[npeople].id = *DatumGetUUIDP(ids[i]);
		list[npeople] = &people[npeople];
		npeople++;
	}
	SPI_connect();
	jny_profiles_recount(list, npeople, PG_INT64_MAX);
	for (int i = 0; i < npeople; i++)
		put_recounted((ReturnSetInfo *) fcinfo->resultinfo, list[i]);
	SPI_finish();
	return (Datum) 0;
}

Datum
journey_feature_states(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const JnyFeature *features;
	int			n;

	jny_vocabulary_refresh();
	n = jny_features(&features);
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n; i++)
	{
		const JnyFeature *f = &features[i];
		Datum		values[6] = {0};
		bool		nulls[6] = {false, f->type == InvalidOid, f->grain == 0, f->grain == 0, f->broken == NULL, false};

		values[0] = CStringGetTextDatum(f->name);
		if (!nulls[1])
			values[1] = CStringGetTextDatum(format_type_be(f->type));
		values[2] = Int64GetDatum(f->grain);
		values[3] = Int64GetDatum(f->buckets);
		if (!nulls[4])
			values[4] = CStringGetTextDatum(f->broken);
		values[5] = BoolGetDatum(f->counting);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
journey_feature_check(PG_FUNCTION_ARGS)
{
	jny_feature_check(PG_GETARG_JSONB_P(0), jny_asking_role());
	PG_RETURN_VOID();
}
