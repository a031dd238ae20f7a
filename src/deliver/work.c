/*
 * work.c
 *		Rows of the outbox that a call has taken.
 *
 * Called by claim, permit and the outcome functions inside SPI_connect().
 * Results point into what was read, which lives until SPI_finish(). No lock of its own.
 */
#include "deliver/work.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

/*
 * Rows of one step share their lists byte by byte: what was parsed last is
 * used again while the next row says the same.
 */
typedef struct Shared
{
	Jsonb	   *from;
	void	   *parsed;
	int			n;
} Shared;

static bool
same(Shared *shared, Jsonb *doc)
{
	return shared->from != NULL && VARSIZE(shared->from) == VARSIZE(doc) &&
		memcmp(shared->from, doc, VARSIZE(doc)) == 0;
}

static JnyStopOn *
parse_stop(Jsonb *doc)
{
	JnyStopOn  *stop = palloc0(sizeof(JnyStopOn));
	int			max = JB_ROOT_IS_ARRAY(doc) ? JB_ROOT_COUNT(doc) : 0;
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken tok;

	if (max == 0)
		return stop;
	stop->type = palloc(sizeof(char *) * max);
	stop->match = palloc(sizeof(bool) * max);
	it = JsonbIteratorInit(&doc->root);
	(void) JsonbIteratorNext(&it, &v, true);
	while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		Jsonb	   *o;

		if (tok != WJB_ELEM)
			continue;
		if (v.type == jbvString)
		{
			stop->type[stop->n] = jny_json_scalar_text(&v);
			stop->match[stop->n++] = false;
		}
		else if (v.type == jbvBinary)
		{
			o = JsonbValueToJsonb(&v);
			stop->type[stop->n] = jny_json_text(o, "on");
			stop->match[stop->n] = jny_json_bool(o, "match", false);
			if (stop->type[stop->n] != NULL)
				stop->n++;
		}
	}
	return stop;
}

static char *
text_of(JnyWork *w, JnyWorkColumn col)
{
	return w->nulls[col] ? NULL : TextDatumGetCString(w->values[col]);
}

static void
read_identity(JnyWork *w)
{
	w->bucket = DatumGetInt16(w->values[W_BUCKET]);
	w->profile_id = *DatumGetUUIDP(w->values[W_PROFILE]);
	w->action_id = *DatumGetUUIDP(w->values[W_ACTION]);
	w->channel = text_of(w, W_CHANNEL);
	w->journey = text_of(w, W_JOURNEY);
	w->version = DatumGetInt32(w->values[W_VERSION]);
	w->step = text_of(w, W_STEP);
	w->visit = DatumGetInt32(w->values[W_VISIT]);
	w->purpose = text_of(w, W_PURPOSE);
	w->marketing = strcmp(w->purpose, "marketing") == 0;
	w->transactional = strcmp(w->purpose, "transactional") == 0;
	w->scope = text_of(w, W_SCOPE);
	w->template = text_of(w, W_TEMPLATE);
	w->has_enrollment = !w->nulls[W_ENROLLMENT];
	if (w->has_enrollment)
		w->enrollment_id = *DatumGetUUIDP(w->values[W_ENROLLMENT]);
	if (w->transactional && !w->has_enrollment && !w->nulls[W_PAYLOAD])
		w->removes = jny_json_text(DatumGetJsonbP(w->values[W_PAYLOAD]), JNY_REMOVES);
	w->removal = w->removes != NULL;
	w->test = DatumGetBool(w->values[W_TEST]);
}

static void
read_state(JnyWork *w)
{
	w->attempt = DatumGetInt32(w->values[W_ATTEMPT]);
	w->failures = DatumGetInt32(w->values[W_FAILURES]);
	w->max_attempts = DatumGetInt32(w->values[W_MAX_ATTEMPTS]);
	w->due_at = DatumGetTimestampTz(w->values[W_DUE_AT]);
	w->not_after = DatumGetTimestampTz(w->values[W_NOT_AFTER]);
	w->late = w->nulls[W_LATE] ? NULL : DatumGetIntervalP(w->values[W_LATE]);
	w->own_ref = text_of(w, W_OWN_REF);
	w->has_entry = !w->nulls[W_ENTRY_HASH];
	w->entry_hash = w->has_entry ? DatumGetInt64(w->values[W_ENTRY_HASH]) : 0;
	w->stock_sku = w->nulls[W_STOCK_SKU] ? NULL : DatumGetArrayTypeP(w->values[W_STOCK_SKU]);
	w->token = w->nulls[W_TOKEN] ? 0 : DatumGetInt64(w->values[W_TOKEN]);
	w->lease_until = w->nulls[W_LEASE_UNTIL] ? 0 : DatumGetTimestampTz(w->values[W_LEASE_UNTIL]);
	w->decided_lap = DatumGetInt64(w->values[W_DECIDED_LAP]);
}

static void
read_lists(JnyWork *w, Shared *stop, Shared *caps, Shared *quiet)
{
	Jsonb	   *doc = DatumGetJsonbP(w->values[W_SUPPRESS_ON]);

	if (!same(stop, doc))
	{
		stop->from = doc;
		stop->parsed = parse_stop(doc);
	}
	w->stop = stop->parsed;

	doc = DatumGetJsonbP(w->values[W_CAPS]);
	if (!same(caps, doc))
	{
		caps->from = doc;
		caps->n = jny_caps_parse(doc, true, (JnyCap **) &caps->parsed);
	}
	w->caps = caps->parsed;
	w->ncaps = caps->n;

	if (w->nulls[W_QUIET])
		return;
	doc = DatumGetJsonbP(w->values[W_QUIET]);
	if (!same(quiet, doc))
	{
		quiet->from = doc;
		quiet->parsed = jny_quiet_parse(doc);
	}
	w->quiet = quiet->parsed;
}

/* What rows of one call have in common. */
typedef struct Lists
{
	Shared		stop;
	Shared		caps;
	Shared		quiet;
} Lists;

static JnyWork *
make_work(Datum *values, bool *nulls, Lists *lists)
{
	JnyWork    *w = palloc0(sizeof(JnyWork));

	w->values = values;
	w->nulls = nulls;
	read_identity(w);
	read_state(w);
	read_lists(w, &lists->stop, &lists->caps, &lists->quiet);
	if (!nulls[W_CLAIM_AT])
		w->claim_at = DatumGetTimestampTz(values[W_CLAIM_AT]);
	return w;
}

List *
jny_work_read(void)
{
	List	   *works = NIL;
	Lists		lists = {0};

	Assert(SPI_tuptable->tupdesc->natts <= W_MAX);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		Datum	   *values = palloc0(sizeof(Datum) * W_MAX);
		bool	   *nulls = palloc(sizeof(bool) * W_MAX);

		memset(nulls, true, sizeof(bool) * W_MAX);
		heap_deform_tuple(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, values, nulls);
		works = lappend(works, make_work(values, nulls, &lists));
	}
	return works;
}

List *
jny_works_of(const JnyRows *rows)
{
	List	   *works = NIL;
	Lists		lists = {0};

	for (int i = 0; i < rows->n; i++)
		works = lappend(works, make_work(rows->row[i].values, rows->row[i].nulls, &lists));
	return works;
}

/* ---- rows that are judged ------------------------------------------------------ */

bool
jny_text_is(const JnyRow *row, int col, const char *value)
{
	text	   *t;

	if (row->nulls[col])
		return false;
	t = DatumGetTextPP(row->values[col]);
	return VARSIZE_ANY_EXHDR(t) == strlen(value) && memcmp(VARDATA_ANY(t), value, strlen(value)) == 0;
}

void
jny_row_set(JnyRow *row, int col, Datum value)
{
	row->values[col] = value;
	row->nulls[col] = false;
}

/* ---- rows that are proven ------------------------------------------------------ */

void
jny_proof_read(JnyProof *proof, ArrayType *ids, ArrayType *tokens)
{
	bool	   *nulls;
	int			m;

	deconstruct_array(ids, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &proof->ids, &proof->nulls, &proof->n);
	deconstruct_array(tokens, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &proof->tokens, &nulls, &m);
	if (proof->n != m)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("%d actions were given with %d tokens", proof->n, m),
				 errhint("Give one token per action, in the same order.")));
	for (int i = 0; i < m; i++)
		proof->nulls[i] |= nulls[i];
}

TimestampTz
jny_within_a_year(TimestampTz now, const Interval *span)
{
	double		days = span->month * 30.0 + span->day + (double) span->time / USECS_PER_DAY;

	if (days < -366 || days > 366)
		return now + (days < 0 ? -366 : 366) * USECS_PER_DAY;
	return jny_zone_plus(now, span, "UTC");
}

static int
by_id(const void *a, const void *b, void *arg)
{
	const JnyProof *proof = arg;
	int			x = *(const int *) a;
	int			y = *(const int *) b;
	int			c = memcmp(DatumGetUUIDP(proof->ids[x]), DatumGetUUIDP(proof->ids[y]), UUID_LEN);

	return c != 0 ? c : x - y;	/* named twice: the first that proves it counts */
}

JnyCols *
jny_proof_keys(JnyProof *proof, JnyAccess *access)
{
	JnyCols    *cols = jny_cols_of(access);
	int			n = 0;

	proof->order = palloc(sizeof(int) * Max(1, proof->n));
	for (int i = 0; i < proof->n; i++)
		if (!proof->nulls[i])
			proof->order[n++] = i;
	qsort_arg(proof->order, n, sizeof(int), by_id, proof);
	for (int i = 0; i < n; i++)
	{
		jny_cols_set(cols, 0, proof->ids[proof->order[i]]);
		jny_cols_next(cols);
	}
	return cols;
}

int
jny_proof_place(const JnyProof *proof, const JnyRow *row)
{
	return proof->order[row->key];
}

bool
jny_proves(const JnyProof *proof, const JnyRow *row, int64 token)
{
	return DatumGetInt64(proof->tokens[jny_proof_place(proof, row)]) == token;
}

Datum
jny_work_ids(List *works)
{
	JnyCols    *cols = jny_cols("uuid");
	ListCell   *lc;

	foreach(lc, works)
	{
		jny_cols_set(cols, 0, ((JnyWork *) lfirst(lc))->values[W_ACTION]);
		jny_cols_next(cols);
	}
	return jny_cols_datums(cols, 0)[0];
}

List *
jny_work_channels(List *works)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);
		ListCell   *n;
		bool		known = false;

		foreach(n, names)
			known |= strcmp(lfirst(n), w->channel) == 0;
		if (!known)
			names = lappend(names, unconstify(char *, w->channel));
	}
	return names;
}

void
jny_put(JsonbParseState **state, const char *key, JsonbValue *value)
{
	JsonbValue	k;

	k.type = jbvString;
	k.val.string.val = pstrdup(key);
	k.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &k);
	pushJsonbValue(state, WJB_VALUE, value);
}

void
jny_put_text(JsonbParseState **state, const char *key, const char *value)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = pstrdup(value);
	v.val.string.len = strlen(value);
	jny_put(state, key, &v);
}
