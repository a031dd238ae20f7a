/*
 * aggregate.c
 *		What an event adds to a feature, and what the feature's value is; see
 *		feature.h and docs/rules.md for the formulas.
 *
 * Pure functions on memory, called for the events of a batch and by whoever
 * reads a feature. None depends on the order in which events come: sums are
 * exact, and where only so much is kept, what is kept is the newest.
 *
 * A decayed value is the sum of value * 2^((t - now) / half-life). It is kept
 * by forward decay: per half-life k the exact sum of value * 2^(t / half-life - k),
 * a factor between 1 and 2 that never changes. Only reading weighs the
 * half-lives against now. What is older than 64 of them, less than 1 in 10^19,
 * is let go. Results live in CurrentMemoryContext.
 */
#include "interpret/feature.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"

/* ---- values that are kept ------------------------------------------------------------ */

void
jny_keep_value(Datum *kept, Datum value)
{
	Datum		old = *kept;

	*kept = datumCopy(value, false, -1);
	if (old != (Datum) 0)
		pfree(DatumGetPointer(old));
}

/* What was made for this call is kept as it is. */
static void
replace_value(Datum *kept, Datum made)
{
	if (*kept != (Datum) 0 && *kept != made)
		pfree(DatumGetPointer(*kept));
	*kept = made;
}

static Datum
add_numeric(Datum sum, Datum value)
{
	return sum == (Datum) 0 ? value : DirectFunctionCall2(numeric_add, sum, value);
}

static void
keep_sum(Datum *kept, Datum value)
{
	if (*kept == (Datum) 0)
		jny_keep_value(kept, value);
	else
		replace_value(kept, add_numeric(*kept, value));
}

int
jny_compare_text(Oid type, Datum a, Datum b)
{
	char	   *x = type == NUMERICOID ? DatumGetCString(DirectFunctionCall1(numeric_out, a)) : TextDatumGetCString(a);
	char	   *y = type == NUMERICOID ? DatumGetCString(DirectFunctionCall1(numeric_out, b)) : TextDatumGetCString(b);
	int			c = strcmp(x, y);

	pfree(x);
	pfree(y);
	return c;
}

/* 1.0 and 1.00 are the same number: the longer one is the greater, so that one of them stays. */
static int
compare(Oid type, Datum a, Datum b)
{
	int			c = type == NUMERICOID ? DatumGetInt32(DirectFunctionCall2(numeric_cmp, a, b)) : 0;

	return c != 0 ? c : jny_compare_text(type, a, b);
}

/* ---- one value after the other ------------------------------------------------------- */

static int64
bucket_of(TimestampTz at, int64 grain)
{
	int64		index = at / grain;

	return at % grain < 0 ? index - 1 : index;
}

/* An event weighs as much as at the start of its half-life. */
static void
add_weighted(Datum *sum, const JnyFeature *f, const JnyFeatureNews *news)
{
	double		part = (double) (news->at - bucket_of(news->at, f->grain) * f->grain) / (double) f->grain;
	Datum		weight = DirectFunctionCall1(float8_numeric, Float8GetDatum(exp2(part)));
	Datum		value = f->aggregate == JNY_AGG_DECAYED_COUNT ? weight
		: DirectFunctionCall2(numeric_mul, news->value, weight);

	keep_sum(sum, value);
	if (value != weight)
		pfree(DatumGetPointer(value));
	pfree(DatumGetPointer(weight));
}

/* To value and count of an entry, or of one of its grains. */
static void
add_to(Datum *value, int64 *count, const JnyFeature *f, const JnyFeatureNews *news)
{
	switch (f->aggregate)
	{
		case JNY_AGG_COUNT:
			(*count)++;
			break;
		case JNY_AGG_AVG:
			(*count)++;
			keep_sum(value, news->value);
			break;
		case JNY_AGG_SUM:
			keep_sum(value, news->value);
			break;
		case JNY_AGG_MIN:
		case JNY_AGG_MAX:
			if (*value == (Datum) 0 ||
				(compare(f->value_type, news->value, *value) > 0) == (f->aggregate == JNY_AGG_MAX))
				jny_keep_value(value, news->value);
			break;
		case JNY_AGG_DISTINCT:
			replace_value(value, jny_set_add(*value, news->value, f->value_type));
			break;
		case JNY_AGG_DECAYED_COUNT:
		case JNY_AGG_DECAYED_SUM:
			add_weighted(value, f, news);
			break;
		case JNY_AGG_RECENT:
			replace_value(value, jny_recent_add(*value, f, news));
			break;
		default:
			elog(ERROR, "aggregate %d adds nothing up", f->aggregate);
	}
}

/* ---- windows -------------------------------------------------------------------------- */

static JnyFeatureBucket *
find_bucket(JnyFeatureEntry *e, int64 index)
{
	int			i = e->nbuckets;

	while (i > 0 && e->buckets[i - 1].index >= index)
		i--;
	if (i < e->nbuckets && e->buckets[i].index == index)
		return &e->buckets[i];
	if (e->nbuckets >= e->room)
	{
		e->room = Max(4, e->room * 2);
		e->buckets = e->buckets == NULL ? palloc(sizeof(JnyFeatureBucket) * e->room)
			: repalloc(e->buckets, sizeof(JnyFeatureBucket) * e->room);
	}
	memmove(&e->buckets[i + 1], &e->buckets[i], sizeof(JnyFeatureBucket) * (e->nbuckets - i));
	e->nbuckets++;
	memset(&e->buckets[i], 0, sizeof(JnyFeatureBucket));
	e->buckets[i].index = index;
	return &e->buckets[i];
}

/* The buckets kept depend on the newest one only, not on the order of arrival. */
static void
add_to_window(JnyFeatureEntry *e, const JnyFeature *f, const JnyFeatureNews *news)
{
	int64		index = bucket_of(news->at, f->grain);
	int64		oldest;
	int			gone = 0;
	JnyFeatureBucket *b;

	if (e->nbuckets > 0 && index <= e->buckets[e->nbuckets - 1].index - f->buckets)
		return;
	b = find_bucket(e, index);
	add_to(&b->value, &b->count, f, news);
	oldest = e->buckets[e->nbuckets - 1].index - f->buckets + 1;
	for (; gone < e->nbuckets && e->buckets[gone].index < oldest; gone++)
		if (e->buckets[gone].value != (Datum) 0)
			pfree(DatumGetPointer(e->buckets[gone].value));
	e->nbuckets -= gone;
	memmove(e->buckets, e->buckets + gone, sizeof(JnyFeatureBucket) * e->nbuckets);
}

/* ---- an event --------------------------------------------------------------------------- */

/* Is it behind what the entry holds? Between two values of one moment and place the greater text is the later. */
static bool
is_later(const JnyFeatureEntry *e, const JnyFeature *f, const JnyFeatureNews *news)
{
	if (news->at != e->at)
		return news->at > e->at;
	if (news->seq != e->seq)
		return news->seq > e->seq;
	return jny_compare_text(f->value_type, news->value, e->value) > 0;
}

void
jny_entry_add(JnyFeatureEntry *e, const JnyFeature *f, const JnyFeatureNews *news)
{
	if (f->of != NULL && news->value == (Datum) 0)
		return;
	if (f->grain > 0)
		add_to_window(e, f, news);
	else if (f->aggregate == JNY_AGG_DAYS_SINCE)
		e->at = Max(e->at, news->at);
	else if (f->aggregate != JNY_AGG_LAST && f->aggregate != JNY_AGG_FIRST)
		add_to(&e->value, &e->count, f, news);
	else if (e->value == (Datum) 0 || is_later(e, f, news) == (f->aggregate == JNY_AGG_LAST))
	{
		jny_keep_value(&e->value, news->value);
		e->at = news->at;
		e->seq = news->seq;
	}
}

/* ---- values ----------------------------------------------------------------------------------- */

static Datum
zero_numeric(void)
{
	return NumericGetDatum(int64_to_numeric(0));
}

static double
as_double(Datum number)
{
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8, number));
}

static void
merge(Datum *value, int64 *count, const JnyFeature *f, const JnyFeatureBucket *b)
{
	*count += b->count;
	if (b->value == (Datum) 0)
		return;
	if (*value == (Datum) 0)
		*value = b->value;
	else if (f->aggregate == JNY_AGG_DISTINCT)
		*value = jny_set_union(*value, b->value);
	else if (f->aggregate == JNY_AGG_SUM || f->aggregate == JNY_AGG_AVG)
		*value = add_numeric(*value, b->value);
	else if (f->aggregate == JNY_AGG_MIN || f->aggregate == JNY_AGG_MAX)
	{
		if ((compare(f->value_type, b->value, *value) > 0) == (f->aggregate == JNY_AGG_MAX))
			*value = b->value;
	}
}

static Datum
decayed_value(const JnyFeatureEntry *e, const JnyFeature *f, TimestampTz at, bool *isnull)
{
	int64		newest = bucket_of(at, f->grain);
	double		part = (double) (at - newest * f->grain) / (double) f->grain;
	double		sum = 0;

	for (int i = 0; i < e->nbuckets; i++)
	{
		int64		age = newest - e->buckets[i].index;

		if (age >= 0 && age < f->buckets)
			sum += as_double(e->buckets[i].value) * exp2(-(double) age - part);
	}
	*isnull = !isfinite(sum);
	return Float8GetDatum(sum);
}

static Datum
value_of(Datum value, int64 count, const JnyFeature *f, bool *isnull)
{
	switch (f->aggregate)
	{
		case JNY_AGG_COUNT:
			return Int64GetDatum(count);
		case JNY_AGG_SUM:
			return value != (Datum) 0 ? value : zero_numeric();
		case JNY_AGG_DISTINCT:
			return Int64GetDatum(value != (Datum) 0 ? jny_set_count(value) : 0);
		case JNY_AGG_AVG:
			*isnull = count == 0;
			return *isnull ? (Datum) 0
				: DirectFunctionCall2(numeric_div, value, NumericGetDatum(int64_to_numeric(count)));
		default:
			*isnull = value == (Datum) 0;
			return value;
	}
}

static Datum
window_value(const JnyFeatureEntry *e, const JnyFeature *f, TimestampTz at, bool *isnull)
{
	int64		newest = bucket_of(at, f->grain);
	int64		count = 0;
	Datum		value = (Datum) 0;

	for (int i = 0; i < e->nbuckets; i++)
	{
		const JnyFeatureBucket *b = &e->buckets[i];

		if (b->index <= newest && b->index > newest - f->buckets)
			merge(&value, &count, f, b);
	}
	return value_of(value, count, f, isnull);
}

Datum
jny_entry_value(const JnyFeatureEntry *e, const JnyFeature *f, TimestampTz at, bool *isnull)
{
	*isnull = false;
	switch (f->aggregate)
	{
		case JNY_AGG_DECAYED_COUNT:
		case JNY_AGG_DECAYED_SUM:
			return decayed_value(e, f, at, isnull);
		case JNY_AGG_DAYS_SINCE:
			*isnull = e->at == DT_NOBEGIN;
			return *isnull ? (Datum) 0 : Int64GetDatum(Max(at - e->at, 0) / USECS_PER_DAY);
		case JNY_AGG_RECENT:
			return jny_recent_items(e->value, f, at);
		default:
			break;
	}
	if (f->grain > 0)
		return window_value(e, f, at, isnull);
	return value_of(e->value, e->count, f, isnull);
}
