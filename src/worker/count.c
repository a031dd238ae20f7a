/*
 * count.c
 *		Features that are younger than the people: counted from the event log by
 *		the laps, so many people at a time.
 *
 * A walk over journey.profile_state by bucket and id; where it is stands in
 * journey.feature_count, a row per feature, and moves with the vectors in one
 * transaction, so a crash repeats a portion at most. People who come later have
 * the feature from the start, and laps keep up what has been counted; those
 * whom the walk has not reached yet the laps leave alone. When it is through,
 * rules read the feature; until then it is unknown for everybody.
 *
 * Called by lap.c after a lap that left nothing to do, in a subtransaction, with
 * the cursor locked: nobody else writes vectors meanwhile. Memory: the batch's
 * context.
 */
#include "worker/worker.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/table.h"
#include "interpret/interpret.h"

/* People of a portion. */
#define PORTION 500
#define BUCKETS 1024
/* What failed is tried again after this long. */
#define RETRY (60 * USECS_PER_SEC)

JNY_PLAN(begin_counts, "text[], bigint[], timestamptz, uuid",
		 "INSERT INTO journey.feature_count AS c (name, number, started_at, at_bucket, after_id, people)"
		 " SELECT n.name, n.number, $3, 0, $4, 0 FROM unnest($1, $2) AS n (name, number)"
		 " ON CONFLICT (name) DO UPDATE SET number = excluded.number, started_at = excluded.started_at, at_bucket = 0,"
		 "  after_id = excluded.after_id, people = 0, finished_at = NULL, problem = NULL, retry_at = NULL"
		 "  WHERE c.number <> excluded.number");
JNY_PLAN(find_place, "text[], timestamptz",
		 "SELECT c.at_bucket, c.after_id FROM journey.feature_count c"
		 " WHERE c.name = ANY ($1) AND c.finished_at IS NULL AND (c.retry_at IS NULL OR c.retry_at <= $2)"
		 " ORDER BY c.at_bucket, c.after_id LIMIT 1");
/* The one behind takes along those that it has caught up with. */
JNY_PLAN(move_on, "text[], smallint, uuid, bigint, timestamptz",
		 "UPDATE journey.feature_count SET at_bucket = $2, after_id = $3, people = people + $4, problem = NULL, retry_at = NULL,"
		 "  finished_at = CASE WHEN $2 >= 1024 THEN $5 END"
		 " WHERE name = ANY ($1) AND finished_at IS NULL AND (at_bucket, after_id) < ($2, $3)");
JNY_PLAN(note_failure, "text, timestamptz",
		 "UPDATE journey.feature_count SET problem = $1, retry_at = $2 WHERE finished_at IS NULL");
JNY_PLAN(tell_everybody, "", "SELECT journey._invalidate('journey.document')");

JNY_LOOKUP(next_people, "profile_state", "profile_state_pkey", "bucket, profile_id >", "bucket, profile_id, features", NULL);
JNY_UPDATE(write_features, "profile_state", "profile_state_pkey", "bucket, profile_id", "features");

static const pg_uuid_t before_all = {{0}};

bool
jny_count_waits(void)
{
	JnyFeatureToCount *features;

	return jny_features_to_count(&features) > 0;
}

/* The features to be counted, as text[]; notes those that are new. */
static Datum
begin(const JnyFeatureToCount *features, int n)
{
	JnyCols    *cols = jny_cols("text, bigint");
	Datum	   *args;

	for (int i = 0; i < n; i++)
	{
		jny_cols_text(cols, 0, features[i].name);
		jny_cols_set(cols, 1, Int64GetDatum((int64) features[i].number));
		jny_cols_next(cols);
	}
	args = jny_cols_datums(cols, 2);
	args[2] = TimestampTzGetDatum(GetCurrentTimestamp());
	args[3] = UUIDPGetDatum(&before_all);
	jny_run(&begin_counts, args, NULL);
	return args[0];
}

/* The people behind a place. */
static JnyRows *
read_people(int bucket, const pg_uuid_t *after)
{
	JnyCols    *keys = jny_cols_of(&next_people);

	for (int b = bucket; b < BUCKETS; b++)
	{
		jny_cols_set(keys, 0, Int16GetDatum((int16) b));
		jny_cols_set(keys, 1, UUIDPGetDatum(b == bucket ? after : &before_all));
		jny_cols_next(keys);
	}
	return jny_lookup_at(&next_people, keys, NULL, PORTION);
}

static void
count(const JnyRows *people)
{
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * (people->n + 1));
	bytea	  **vectors = palloc(sizeof(bytea *) * (people->n + 1));
	JnyCols    *cols = NULL;

	for (int i = 0; i < people->n; i++)
	{
		const JnyRow *row = &people->row[i];

		ids[i] = *jny_row_uuid(row, 1);
		vectors[i] = row->nulls[2] ? NULL : (bytea *) PG_DETOAST_DATUM(row->values[2]);
	}
	jny_features_fill(ids, vectors, people->n);
	for (int i = 0; i < people->n; i++)
	{
		if (vectors[i] == NULL)
			continue;
		if (cols == NULL)
			cols = jny_cols_of(&write_features);
		jny_cols_set(cols, 0, people->row[i].values[0]);
		jny_cols_set(cols, 1, UUIDPGetDatum(&ids[i]));
		jny_cols_set(cols, 2, PointerGetDatum(vectors[i]));
		jny_cols_next(cols);
	}
	if (cols != NULL)
		jny_write(&write_features, cols);
}

static void
move(Datum names, const JnyRows *people)
{
	bool		through = people->n < PORTION;
	const JnyRow *last = through ? NULL : &people->row[people->n - 1];
	Datum		args[5] = {
		names, through ? Int16GetDatum(BUCKETS) : last->values[0],
		through ? UUIDPGetDatum(&before_all) : last->values[1], Int64GetDatum(people->n),
		TimestampTzGetDatum(GetCurrentTimestamp())
	};

	jny_run(&move_on, args, NULL);
	if (through)
		jny_run(&tell_everybody, NULL, NULL);
}

/* Counts a portion; false when there is none to be counted now. Inside SPI_connect(). */
bool
jny_count_portion(JnyBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->cxt);
	JnyFeatureToCount *features;
	int			n = jny_features_to_count(&features);
	Datum		args[2];
	bool		any = false;

	if (n > 0)
	{
		args[0] = begin(features, n);
		args[1] = TimestampTzGetDatum(GetCurrentTimestamp());
		any = jny_run(&find_place, args, NULL) > 0;
	}
	if (any)
	{
		int			bucket = (int) jny_get_int8(0, 1, 0);
		pg_uuid_t	after = *jny_get_uuid(0, 2);
		JnyRows    *people = read_people(bucket, &after);

		count(people);
		move(args[0], people);
	}
	MemoryContextSwitchTo(old);
	return any;
}

/* Its effects have been rolled back, that it had begun among them. Inside SPI_connect(). */
void
jny_count_failed(const ErrorData *error)
{
	JnyFeatureToCount *features;
	int			n = jny_features_to_count(&features);
	Datum		args[2] = {
		CStringGetTextDatum(psprintf("%s (%s)", error->message, unpack_sql_state(error->sqlerrcode))),
		TimestampTzGetDatum(GetCurrentTimestamp() + RETRY)
	};

	ereport(LOG,
			(errmsg("journey could not go on counting features: %s", error->message)));
	(void) begin(features, n);
	jny_run(&note_failure, args, NULL);
}
