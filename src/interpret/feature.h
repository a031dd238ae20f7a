/*
 * feature.h
 *		Features inside the room: their definitions and the packed vector.
 *
 * The vector (profile_state.features, one bytea per profile), version 1:
 *		byte 0 version, byte 1 zero, bytes 2..3 number of entries, then the
 *		entries in ascending order of their feature's number: number (8), kind
 *		(1), length (4), payload. Integers in the server's byte order. Numbers
 *		are a hash of name and definition: what is counted changes the number,
 *		a new version that counts the same keeps it.
 *
 * Every active feature has an entry, an empty one too. A missing entry says
 * that the feature is younger than the vector: the worker counts it from the
 * event log (worker/count.c), and until that is done the laps leave it missing.
 * Where it is missing later, because somebody emptied the vector or the feature
 * was broken meanwhile, whoever needs it counts it.
 *
 * What an event adds does not depend on the order of arrival. Its time is
 * least(occurred_at, received_at). A windowed feature keeps one value per grain
 * (bucket = floor(microseconds since 2000-01-01 UTC / grain)) for the
 * ceil(window / grain) buckets that end with the newest it has seen; its value
 * at an instant covers that many buckets up to the instant's own. A decayed one
 * does the same with its half-life as grain (aggregate.c).
 */
#ifndef JNY_FEATURE_H
#define JNY_FEATURE_H

#include "interpret/interpret.h"

#include "utils/numeric.h"

typedef enum JnyAggregate
{
	JNY_AGG_COUNT = 1,
	JNY_AGG_SUM,
	JNY_AGG_LAST,
	JNY_AGG_FIRST,
	JNY_AGG_DAYS_SINCE,
	JNY_AGG_MIN,
	JNY_AGG_MAX,
	JNY_AGG_AVG,
	JNY_AGG_DISTINCT,
	JNY_AGG_DECAYED_COUNT,
	JNY_AGG_DECAYED_SUM,
	JNY_AGG_RECENT,
	JNY_AGG_RATIO				/* of two other features; has no entry */
} JnyAggregate;

typedef struct JnyFeature
{
	const char *name;			/* hash key of the registry */
	uint64		number;
	Oid			owner;
	JnyAggregate aggregate;
	int			ntypes;
	const char **types;
	const char *where;			/* NULL = all */
	const char *of;				/* expression; NULL = none */
	Oid			value_type;		/* of "of", as kept */
	Oid			type;			/* of the feature */
	int64		grain;			/* microseconds; 0 = no window; of a decayed one its half-life */
	int64		buckets;		/* window in grains */
	int			limit;			/* of recent: that many */
	int64		span;			/* of recent: microseconds; 0 = no matter how old */
	const char *amount;			/* of recent: expression; NULL = none */
	const char *numerator;		/* of a ratio */
	const char *denominator;
	bool		counting;		/* not yet counted for everybody: unknown */
	const char *broken;			/* why it cannot be computed; NULL = it can */
} JnyFeature;

typedef struct JnyFeatureBucket
{
	int64		index;
	int64		count;
	Datum		value;			/* as of an entry; 0 = none */
} JnyFeatureBucket;

typedef struct JnyFeatureEntry
{
	uint64		number;
	uint8		kind;			/* JnyAggregate; windowed ones plus JNY_WINDOWED */
	int64		count;
	Datum		value;			/* sum, value, set (distinct.c) or list (recent.c); 0 = none */
	TimestampTz at;				/* of last, first, days_since; DT_NOBEGIN = never */
	int64		seq;
	int			nbuckets;		/* sorted by index */
	int			room;
	JnyFeatureBucket *buckets;
} JnyFeatureEntry;

#define JNY_WINDOWED 0x40

typedef struct JnyVector
{
	int			n;
	int			room;
	JnyFeatureEntry *entries;	/* sorted by number */
} JnyVector;

/* feature.c */
extern void jny_features_refresh(void);
extern const char *jny_feature_name(int i);
extern int	jny_features(const JnyFeature **features);
extern const JnyFeature *jny_feature_find(const char *name);
/* Meanwhile the registry stays as it is: expressions may read tables, and with them learn of changes. */
extern void jny_features_hold(void (*work) (void *), void *arg);

/* vector.c */
extern void jny_vector_read(JnyVector *vector, bytea *packed);
extern bytea *jny_vector_write(const JnyVector *vector);
extern JnyFeatureEntry *jny_vector_entry(JnyVector *vector, const JnyFeature *f, bool create);

/* What one event says. */
typedef struct JnyFeatureNews
{
	Datum		value;			/* of "of"; 0 = null, or there is none */
	Datum		amount;			/* numeric, the same of "amount" */
	TimestampTz at;
	int64		seq;			/* its place in the order */
} JnyFeatureNews;

/* aggregate.c */
extern void jny_entry_add(JnyFeatureEntry *entry, const JnyFeature *f, const JnyFeatureNews *news);
extern Datum jny_entry_value(const JnyFeatureEntry *entry, const JnyFeature *f, TimestampTz at, bool *isnull);

/* Takes a copy and frees what was kept before. */
extern void jny_keep_value(Datum *kept, Datum value);
/* Between values of one kind: by bytes of their text, the same in every locale. */
extern int	jny_compare_text(Oid type, Datum a, Datum b);

/*
 * distinct.c: a set of values, exact up to JNY_SET_EXACT of them, then
 * HyperLogLog with 1024 registers: a standard error of 1.04 / sqrt(1024) = 3.25 %.
 * A function of the values that are in it, not of their order.
 */
#define JNY_SET_EXACT 128
extern Datum jny_set_add(Datum set, Datum value, Oid type);
extern Datum jny_set_union(Datum a, Datum b);
extern int64 jny_set_count(Datum set);

/* recent.c: the newest values with their times. */
extern Datum jny_recent_add(Datum list, const JnyFeature *f, const JnyFeatureNews *news);
extern Datum jny_recent_items(Datum list, const JnyFeature *f, TimestampTz at);	/* text[], newest first */
/* How many of them are item, and the sum of their amounts. */
extern int64 jny_recent_count(Datum list, const JnyFeature *f, TimestampTz at, const char *item, Datum *sum);

/* feature_update.c: counted from the log when the vector does not have it. */
extern Datum jny_feature_of(const pg_uuid_t *profile_id, bytea *packed, const JnyFeature *f,
							TimestampTz at, bool *isnull);
/* How often item is in the list of a feature that is a recent, and the sum of its amounts; false when that is unknown. */
extern bool jny_feature_recent(const pg_uuid_t *profile_id, bytea *packed, const char *name, const char *item,
							   TimestampTz at, int64 *times, Datum *sum);

#endif							/* JNY_FEATURE_H */
