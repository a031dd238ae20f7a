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

static MemoryContext registry_cxt = NULL;
static JnyFeature *registry = NULL;
static const JnyFeature **registry_list = NULL;
static int	nfeatures = 0;
static uint64 loaded = 0;		/* generation of the rules at which it was read */
static bool busy = false;

JNY_PLAN(read_features, "",
		 "SELECT name, doc, owner FROM journey.document"
		 " WHERE kind = 'feature' AND state = 'active' ORDER BY name COLLATE \"C\"");

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
	static const char *const names[] = {"", "count", "sum", "last", "first", "days_since"};
	char	   *text = jny_json_text(doc, "aggregate");

	for (int i = JNY_AGG_COUNT; text != NULL && i <= JNY_AGG_DAYS_SINCE; i++)
		if (strcmp(text, names[i]) == 0)
			f->aggregate = i;
	if (f->aggregate == 0)
		bad(f->name, "has no aggregate that is known",
			"The aggregates are count, sum, last, first and days_since.");
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
	int64		us;

	if (window == NULL)
		return;
	if (f->aggregate != JNY_AGG_COUNT && f->aggregate != JNY_AGG_SUM)
		bad(f->name, "has a window that its aggregate does not take", "Only count and sum take a window.");
	us = microseconds(window);
	f->grain = grain ? microseconds(grain) : Max(USECS_PER_MINUTE, us / 168);
	if (us <= 0 || f->grain < USECS_PER_SEC || f->grain > us)
		bad(f->name, "has a grain that does not fit its window", "A grain is at least a second and at most the window.");
	f->buckets = (us + f->grain - 1) / f->grain;
	if (f->buckets > MAX_BUCKETS)
		bad(f->name, "has too fine a grain", "A window may have at most 10000 grains.");
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

static void
read_value(JnyFeature *f, Jsonb *doc)
{
	char	   *of = jny_json_text(doc, "of");
	JnyExpr    *expr;

	if (f->aggregate == JNY_AGG_COUNT || f->aggregate == JNY_AGG_DAYS_SINCE)
	{
		if (of != NULL)
			bad(f->name, "has a value that its aggregate does not take", "Remove of.");
		f->type = INT8OID;
		return;
	}
	if (of == NULL)
		bad(f->name, "has no value", "Set of, for example to event.amount.");
	/* "amount" is short for event.amount */
	if (strspn(of, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(of))
		of = psprintf("event.%s", of);
	f->of = of;
	expr = jny_expr_compile(of, f->owner, InvalidOid);
	check_reads_event(f, "of", expr);
	switch (jny_expr_type(expr))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			f->value_type = NUMERICOID;
			break;
		case TEXTOID:
		case VARCHAROID:
			f->value_type = TEXTOID;
			break;
		default:
			bad(f->name, psprintf("has a value of type %s", format_type_be(jny_expr_type(expr))),
				"The value is a number or text.");
	}
	if (f->aggregate == JNY_AGG_SUM && f->value_type != NUMERICOID)
		bad(f->name, "sums something that is no number",
			psprintf("Cast it: (%s)::numeric.", of));
	f->type = f->value_type;
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
	return jny_hash64(s.data, s.len, 0);
}

static void
read_definition(JnyFeature *f, Jsonb *doc)
{
	read_aggregate(f, doc);
	read_types(f, doc);
	read_window(f, doc);
	f->where = jny_json_text(doc, "where");
	read_value(f, doc);
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
	ErrorData  *error;

	memset(f, 0, sizeof(*f));
	f->name = name;
	r.doc = (Jsonb *) PG_DETOAST_DATUM_COPY(jny_get(row, 2, &isnull));
	error = jny_guard(read_guarded, &r);
	if (error != NULL)
		f->broken = error->message;
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
jny_features_pin(bool pin)
{
	busy = pin;
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

static int
by_name(const void *key, const void *element)
{
	return strcmp(key, (*(const JnyFeature *const *) element)->name);
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
