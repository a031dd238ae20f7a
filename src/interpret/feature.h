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
 * Every active feature has an entry, an empty one too: a missing entry says
 * that the feature is younger than the vector and has to be counted from the
 * event log.
 *
 * What an event adds does not depend on the order of arrival. Its time is
 * least(occurred_at, received_at). A windowed feature keeps one sum per grain
 * (bucket = floor(microseconds since 2000-01-01 UTC / grain)) for the
 * ceil(window / grain) buckets that end with the newest it has seen; its value
 * at an instant covers that many buckets up to the instant's own.
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
	JNY_AGG_DAYS_SINCE
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
	int64		grain;			/* microseconds; 0 = no window */
	int64		buckets;		/* window in grains */
	const char *broken;			/* why it cannot be computed; NULL = it can */
} JnyFeature;

typedef struct JnyFeatureBucket
{
	int64		index;
	int64		count;
	Datum		sum;			/* numeric; 0 = none */
} JnyFeatureBucket;

typedef struct JnyFeatureEntry
{
	uint64		number;
	uint8		kind;			/* JnyAggregate; windowed ones plus JNY_WINDOWED */
	int64		count;
	Datum		value;			/* sum, or last or first value; 0 = none */
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
/* While set, the registry stays as it is. */
extern void jny_features_pin(bool pin);

/* vector.c */
extern void jny_vector_read(JnyVector *vector, bytea *packed);
extern bytea *jny_vector_write(const JnyVector *vector);
extern JnyFeatureEntry *jny_vector_entry(JnyVector *vector, const JnyFeature *f, bool create);
/* Adds what one event says: its value (0 = null), time and place in the order. */
extern void jny_entry_add(JnyFeatureEntry *entry, const JnyFeature *f, Datum value,
						  TimestampTz at, int64 seq);
extern Datum jny_entry_value(const JnyFeatureEntry *entry, const JnyFeature *f, TimestampTz at, bool *isnull);

/* feature_update.c: counted from the log when the vector does not have it. */
extern Datum jny_feature_of(const pg_uuid_t *profile_id, bytea *packed, const JnyFeature *f,
							TimestampTz at, bool *isnull);

#endif							/* JNY_FEATURE_H */
