/*
 * feature.c
 *		The features of this database: active documents of kind feature.
 *
 * Read through SPI into one context per backend, again after an invalidation
 * of journey.document. A feature that cannot be computed (its expression does
 * not compile any more, its owner is gone) is kept with the reason: rules that
 * read it see unknown, and _features() shows why. No locks beyond SELECT.
 */
#include "interpret/rule.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "interpret/feature.h"

#define MAX_BUCKETS 10000
#define MAX_SETS 64				/* grains of a distinct, each a set of up to a kilobyte */
#define HALF_LIVES 64
#define MAX_RECENT 200

static MemoryContext registry_cxt = NULL;
static JnyFeature *registry = NULL;
static const JnyFeature **registry_list = NULL;
static int	nfeatures = 0;
static uint64 loaded = 0;		/* generation of the rules at which it was read */
static bool busy = false;

JNY_PLAN(read_features, "",
		 "SELECT d.name, d.doc, d.owner, c.number FROM journey.document d"
		 " LEFT JOIN journey.feature_count c ON c.name = d.name AND c.finished_at IS NOT NULL"
		 " WHERE d.kind = 'feature' AND d.state = 'active' ORDER BY d.name COLLATE \"C\"");

/* ---- a document ---------------------------------------------------------------------- */

static int64
microseconds(Interval *span)
{
	return span->time + (span->day + (int64) span->month * DAYS_PER_MONTH) * USECS_PER_DAY;
}

static void
bad(const char *name, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("feature \"%s\" %s", name, what),
			 errhint("%s", hint)));
}

static void
read_aggregate(JnyFeature *f, Jsonb *doc)
{
	static const char *const names[] = {
		"", "count", "sum", "last", "first", "days_since", "min", "max", "avg", "distinct",
		"decayed_count", "decayed_sum", "recent", "ratio"
	};
	char	   *text = jny_json_text(doc, "aggregate");

	for (int i = JNY_AGG_COUNT; text != NULL && i < (int) lengthof(names); i++)
		if (strcmp(text, names[i]) == 0)
			f->aggregate = i;
	if (f->aggregate == 0)
		bad(f->name, "has no aggregate that is known",
			"The aggregates are count, sum, min, max, avg, distinct, last, first, days_since, decayed_count, decayed_sum, recent and ratio.");
}

static bool
takes_window(const JnyFeature *f)
{
	return f->aggregate == JNY_AGG_COUNT || f->aggregate == JNY_AGG_SUM || f->aggregate == JNY_AGG_AVG ||
		f->aggregate == JNY_AGG_MIN || f->aggregate == JNY_AGG_MAX || f->aggregate == JNY_AGG_DISTINCT;
}

static bool
is_decayed(const JnyFeature *f)
{
	return f->aggregate == JNY_AGG_DECAYED_COUNT || f->aggregate == JNY_AGG_DECAYED_SUM;
}

static bool
takes_number(const JnyFeature *f)
{
	return f->aggregate == JNY_AGG_SUM || f->aggregate == JNY_AGG_AVG || f->aggregate == JNY_AGG_DECAYED_SUM;
}

/* A type or an array of types. */
static void
read_types(JnyFeature *f, Jsonb *doc)
{
	JsonbValue	v;
	bool		isnull;
	Datum	   *elements;

	if (jny_json_field(doc, "on", &v) != NULL && v.type == jbvString)
	{
		f->ntypes = 1;
		f->types = palloc(sizeof(char *));
		f->types[0] = jny_json_scalar_text(&v);
		return;
	}
	if (jny_json_field(doc, "on", &v) == NULL || v.type != jbvBinary)
		bad(f->name, "does not say on which events it counts", "Set on to an event type or a list of them.");
	deconstruct_array(DatumGetArrayTypeP(jny_json_to_value(&v, TEXTARRAYOID, &isnull)), TEXTOID, -1,
					  false, TYPALIGN_INT, &elements, NULL, &f->ntypes);
	f->types = palloc(sizeof(char *) * Max(f->ntypes, 1));
	for (int i = 0; i < f->ntypes; i++)
		f->types[i] = TextDatumGetCString(elements[i]);
}

static void
read_window(JnyFeature *f, Jsonb *doc)
{
	Interval   *window = jny_json_interval(doc, "window");
	Interval   *grain = jny_json_interval(doc, "grain");
	int			most = f->aggregate == JNY_AGG_DISTINCT ? MAX_SETS : MAX_BUCKETS;
	int64		us;

	if (window == NULL)
		return;
	us = microseconds(window);
	if (f->aggregate == JNY_AGG_RECENT && us > 0 && grain == NULL)
	{
		f->span = us;
		return;
	}
	if (!takes_window(f))
		bad(f->name, "has a window that its aggregate does not take",
			"Only count, sum, min, max, avg, distinct and recent take a window, recent none with a grain.");
	f->grain = grain ? microseconds(grain)
		: Max(USECS_PER_MINUTE, us / (f->aggregate == JNY_AGG_DISTINCT ? MAX_SETS : 168));
	if (us <= 0 || f->grain < USECS_PER_SEC || f->grain > us)
		bad(f->name, "has a grain that does not fit its window", "A grain is at least a second and at most the window.");
	f->buckets = (us + f->grain - 1) / f->grain;
	/* the default may leave a rest of a grain */
	if (grain == NULL && f->buckets > most)
	{
		f->grain = (us + most - 1) / most;
		f->buckets = (us + f->grain - 1) / f->grain;
	}
	if (f->buckets > most)
		bad(f->name, "has too fine a grain",
			psprintf("A window of %s may have at most %d grains.",
					 f->aggregate == JNY_AGG_DISTINCT ? "distinct" : "this", most));
}

static void
read_half_life(JnyFeature *f, Jsonb *doc)
{
	Interval   *half_life = jny_json_interval(doc, "half_life");

	if (!is_decayed(f))
	{
		if (half_life != NULL)
			bad(f->name, "has a half-life that its aggregate does not take", "Only decayed_count and decayed_sum take one.");
		return;
	}
	if (half_life == NULL || microseconds(half_life) < USECS_PER_MINUTE)
		bad(f->name, "has no half-life of a minute or more", "Set half_life, for example to \"7 days\".");
	f->grain = microseconds(half_life);
	f->buckets = HALF_LIVES;
}

/* Only the event itself may be read, so that a value can be counted again from the log. */
static void
check_reads_event(JnyFeature *f, const char *what, JnyExpr *expr)
{
	const JnyInput *inputs;
	int			n = jny_expr_inputs(expr, &inputs);

	for (int i = 0; i < n; i++)
		if (inputs[i].part != JNY_PART_EVENT)
			bad(f->name, psprintf("reads \"%s\" in %s", inputs[i].name, what),
				"A feature may read only event.*, and nothing that depends on the time zone.");
}

/* "amount" is short for event.amount */
static JnyExpr *
compile_value(JnyFeature *f, const char *what, char **of)
{
	JnyExpr    *expr;

	if (strspn(*of, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(*of))
		*of = psprintf("event.%s", *of);
	expr = jny_expr_compile(*of, f->owner, InvalidOid);
	check_reads_event(f, what, expr);
	return expr;
}

static Oid
kept_type(JnyFeature *f, const char *of, Oid type)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return NUMERICOID;
		case TEXTOID:
		case VARCHAROID:
			if (takes_number(f))
				bad(f->name, "sums something that is no number",
					psprintf("Cast it: (%s)::numeric.", of));
			return TEXTOID;
		default:
			bad(f->name, psprintf("has a value of type %s", format_type_be(type)),
				"The value is a number or text.");
	}
	return InvalidOid;			/* not reached */
}

static Oid
result_type(const JnyFeature *f)
{
	switch (f->aggregate)
	{
		case JNY_AGG_COUNT:
		case JNY_AGG_DAYS_SINCE:
		case JNY_AGG_DISTINCT:
			return INT8OID;
		case JNY_AGG_DECAYED_COUNT:
		case JNY_AGG_DECAYED_SUM:
			return FLOAT8OID;
		case JNY_AGG_RECENT:
			return TEXTARRAYOID;
		case JNY_AGG_RATIO:
			return NUMERICOID;
		default:
			return f->value_type;
	}
}

static void
read_value(JnyFeature *f, Jsonb *doc)
{
	char	   *of = jny_json_text(doc, "of");

	if (f->aggregate == JNY_AGG_COUNT || f->aggregate == JNY_AGG_DAYS_SINCE || f->aggregate == JNY_AGG_DECAYED_COUNT)
	{
		if (of != NULL)
			bad(f->name, "has a value that its aggregate does not take", "Remove of.");
		return;
	}
	if (of == NULL)
		bad(f->name, "has no value", "Set of, for example to event.amount.");
	f->value_type = kept_type(f, of, jny_expr_type(compile_value(f, "of", &of)));
	f->of = of;
}

/* The list of what was recent: how many, and what may be summed up of each. */
static void
read_recent(JnyFeature *f, Jsonb *doc)
{
	char	   *limit = jny_json_text(doc, "limit");
	char	   *amount = jny_json_text(doc, "amount");

	if (f->aggregate != JNY_AGG_RECENT)
	{
		if (limit != NULL || amount != NULL)
			bad(f->name, "has a limit or an amount that its aggregate does not take", "Only recent takes them.");
		return;
	}
	if (f->value_type != TEXTOID)
		bad(f->name, "lists something that is no text", psprintf("Cast it: (%s)::text.", f->of));
	f->limit = limit ? atoi(limit) : 0;
	if (f->limit < 1 || f->limit > MAX_RECENT)
		bad(f->name, "does not say how many it keeps", "Set limit to 1 to 200.");
	if (amount == NULL)
		return;
	if (kept_type(f, amount, jny_expr_type(compile_value(f, "amount", &amount))) != NUMERICOID)
		bad(f->name, "has an amount that is no number", psprintf("Cast it: (%s)::numeric.", amount));
	f->amount = amount;
}

static void
read_ratio(JnyFeature *f, Jsonb *doc)
{
	static const char *const others[] = {
		"on", "where", "of", "window", "grain", "half_life", "limit", "amount"
	};
	JsonbValue	v;

	for (size_t i = 0; i < lengthof(others); i++)
		if (jny_json_field(doc, others[i], &v) != NULL)
			bad(f->name, psprintf("is a ratio and has \"%s\"", others[i]),
				"A ratio is of two features: numerator and denominator; events and windows are theirs.");
	f->numerator = jny_json_text(doc, "numerator");
	f->denominator = jny_json_text(doc, "denominator");
	if (f->numerator == NULL || f->denominator == NULL)
		bad(f->name, "does not say of which features it is the ratio", "Set numerator and denominator.");
}

/* The same definition has the same number, whatever its version. */
static uint64
number_of(const JnyFeature *f)
{
	StringInfoData s;

	initStringInfo(&s);
	appendStringInfo(&s, "%s\n%d\n" INT64_FORMAT "\n" INT64_FORMAT "\n%s\n%s",
					 f->name, f->aggregate, f->grain, f->buckets,
					 f->of ? f->of : "", f->where ? f->where : "");
	for (int i = 0; i < f->ntypes; i++)
		appendStringInfo(&s, "\n%s", f->types[i]);
	if (f->aggregate == JNY_AGG_RECENT)		/* the window is not kept but read by */
		appendStringInfo(&s, "\n%d\n%s", f->limit, f->amount ? f->amount : "");
	return jny_hash64(s.data, s.len, 0);
}

static void
read_definition(JnyFeature *f, Jsonb *doc)
{
	JsonbValue	v;

	read_aggregate(f, doc);
	f->type = result_type(f);
	if (f->aggregate == JNY_AGG_RATIO)
	{
		read_ratio(f, doc);
		return;
	}
	if (jny_json_field(doc, "numerator", &v) != NULL || jny_json_field(doc, "denominator", &v) != NULL)
		bad(f->name, "has a numerator or denominator and is no ratio", "Remove them, or set aggregate to ratio.");
	read_types(f, doc);
	read_window(f, doc);
	read_half_life(f, doc);
	f->where = jny_json_text(doc, "where");
	read_value(f, doc);
	read_recent(f, doc);
	f->type = result_type(f);
	if (f->where != NULL)
		check_reads_event(f, "where", jny_expr_compile(f->where, f->owner, BOOLOID));
	f->number = number_of(f);
}

void
jny_feature_check(Jsonb *doc, Oid owner)
{
	JnyFeature	f = {0};

	f.name = jny_json_text(doc, "name");
	if (f.name == NULL)
		f.name = "";
	f.owner = owner;
	read_definition(&f, doc);
}

/* ---- the registry ------------------------------------------------------------------------- */

typedef struct Reading
{
	JnyFeature *f;
	Jsonb	   *doc;
	const char *owner;
} Reading;

static void
read_guarded(void *arg)
{
	Reading    *r = arg;

	r->f->owner = get_role_oid(r->owner, false);
	read_definition(r->f, r->doc);
}

static void
read_row(JnyFeature *f, uint64 row)
{
	bool		isnull;
	Reading		r = {f, NULL, jny_get_text(row, 3)};
	const char *name = jny_get_text(row, 1);
	uint64		counted = (uint64) jny_get_int8(row, 4, 0);
	ErrorData  *error;

	memset(f, 0, sizeof(*f));
	f->name = name;
	r.doc = (Jsonb *) PG_DETOAST_DATUM_COPY(jny_get(row, 2, &isnull));
	error = jny_guard(read_guarded, &r);
	if (error != NULL)
		f->broken = error->message;
	f->counting = f->aggregate != JNY_AGG_RATIO && f->number != counted;
}

static int
by_name(const void *key, const void *element)
{
	return strcmp(key, (*(const JnyFeature *const *) element)->name);
}

/* Of a ratio: one of the two features that it needs. */
static void
check_part(JnyFeature *f, const char *part)
{
	const JnyFeature **found = bsearch(part, registry_list, nfeatures, sizeof(JnyFeature *), by_name);

	if (found == NULL)
		f->broken = psprintf("feature \"%s\" needs the feature \"%s\", which is not applied", f->name, part);
	else if ((*found)->broken != NULL)
		f->broken = psprintf("feature \"%s\" needs the feature \"%s\", which is broken", f->name, part);
	else if ((*found)->aggregate == JNY_AGG_RATIO)
		f->broken = psprintf("feature \"%s\" is a ratio of the ratio \"%s\"", f->name, part);
	else if ((*found)->type != INT8OID && (*found)->type != NUMERICOID && (*found)->type != FLOAT8OID)
		f->broken = psprintf("feature \"%s\" needs the feature \"%s\", which is no number", f->name, part);
}

static void
check_ratios(void)
{
	for (int i = 0; i < nfeatures; i++)
	{
		if (registry[i].aggregate != JNY_AGG_RATIO || registry[i].broken != NULL)
			continue;
		check_part(&registry[i], registry[i].numerator);
		check_part(&registry[i], registry[i].denominator);
	}
}

static void
load(void)
{
	SPITupleTable *rows;
	uint64		n;

	SPI_connect();
	n = jny_run(&read_features, NULL, NULL);
	rows = SPI_tuptable;
	MemoryContextSwitchTo(registry_cxt);
	registry = palloc0(sizeof(JnyFeature) * Max(n, 1));
	registry_list = palloc0(sizeof(JnyFeature *) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
	{
		SPI_tuptable = rows;	/* compiling reads tables too */
		read_row(&registry[i], i);
		registry_list[i] = &registry[i];
	}
	nfeatures = (int) n;
	check_ratios();
	SPI_tuptable = rows;
	SPI_finish();
}

void
jny_features_refresh(void)
{
	MemoryContext old = CurrentMemoryContext;

	if (busy || (registry != NULL && loaded == jny_rule_generation()))
		return;
	if (registry_cxt != NULL)
		MemoryContextDelete(registry_cxt);
	registry_cxt = NULL;
	registry = NULL;
	nfeatures = 0;
	registry_cxt = AllocSetContextCreate(CacheMemoryContext, "journey features", ALLOCSET_DEFAULT_SIZES);
	busy = true;
	PG_TRY();
	{
		loaded = jny_rule_generation();
		load();
	}
	PG_CATCH();
	{
		busy = false;
		nfeatures = 0;
		registry = NULL;
		PG_RE_THROW();
	}
	PG_END_TRY();
	busy = false;
	MemoryContextSwitchTo(old);
}

void
jny_features_hold(void (*work) (void *), void *arg)
{
	bool		held = busy;

	busy = true;
	PG_TRY();
	{
		work(arg);
	}
	PG_CATCH();
	{
		busy = held;
		PG_RE_THROW();
	}
	PG_END_TRY();
	busy = held;
}

int
jny_features_to_count(JnyFeatureToCount **features)
{
	int			n = 0;

	jny_vocabulary_refresh();
	*features = palloc(sizeof(JnyFeatureToCount) * (nfeatures + 1));
	for (int i = 0; i < nfeatures; i++)
		if (registry[i].counting && registry[i].broken == NULL)
			(*features)[n++] = (JnyFeatureToCount) {registry[i].name, registry[i].number};
	return n;
}

int
jny_features(const JnyFeature **features)
{
	*features = registry;
	return nfeatures;
}

const char *
jny_feature_name(int i)
{
	return i < nfeatures ? registry[i].name : NULL;
}

const JnyFeature *
jny_feature_find(const char *name)
{
	const JnyFeature **found;

	if (registry == NULL)
		jny_vocabulary_refresh();
	found = nfeatures == 0 ? NULL
		: bsearch(name, registry_list, nfeatures, sizeof(JnyFeature *), by_name);
	return found ? *found : NULL;
}

bool
jny_feature_exists(const char *name, Oid *type)
{
	const JnyFeature *f = jny_feature_find(name);

	if (f == NULL || f->type == InvalidOid)
		return false;
	*type = f->type;
	return true;
}
