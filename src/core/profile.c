/*
 * profile.c
 *		Loading people into a batch.
 *
 * One statement for all that are missing. Results live in the batch's
 * context. No locks: one consumer per node changes profiles.
 */
#include "core/batch.h"

#include "executor/spi.h"
#include "utils/builtins.h"

JNY_PLAN(load_profiles, "smallint[], uuid[]",
		 "SELECT p.bucket, p.profile_id, p.confidence, p.class = 'session', p.test, p.restricted,"
		 "       p.traits, p.zone, p.locale, s.stage, s.features, s.last_event_at,"
		 "       s.last_order_at, s.orders, s.events"
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k(bucket, profile_id)"
		 " JOIN journey.profile p ON p.bucket = k.bucket AND p.profile_id = k.profile_id"
		 " LEFT JOIN journey.profile_state s ON s.bucket = k.bucket AND s.profile_id = k.profile_id");

static TimestampTz
get_time(uint64 row, int col)
{
	bool		isnull;
	Datum		d = jny_get(row, col, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(d);
}

static void *
get_copy(JnyBatch *batch, uint64 row, int col)
{
	bool		isnull;
	Datum		d = jny_get(row, col, &isnull);
	struct varlena *value;
	void	   *copy;

	if (isnull)
		return NULL;
	value = PG_DETOAST_DATUM(d);
	copy = MemoryContextAlloc(batch->cxt, VARSIZE(value));
	memcpy(copy, value, VARSIZE(value));
	return copy;
}

static char *
get_string(JnyBatch *batch, uint64 row, int col)
{
	char	   *s = jny_get_text(row, col);

	return s ? MemoryContextStrdup(batch->cxt, s) : NULL;
}

static void
fill_profile(JnyBatch *batch, uint64 row)
{
	bool		found;
	JnyProfile *p = hash_search(batch->profiles, jny_get_uuid(row, 2), HASH_ENTER, &found);
	pg_uuid_t	id = p->id;
	bool		isnull;

	if (found)
		return;
	memset(p, 0, sizeof(*p));
	p->id = id;
	p->bucket = (int16) jny_get_int8(row, 1, 0);
	p->confidence = DatumGetFloat8(jny_get(row, 3, &isnull));
	p->is_session = jny_get_int8(row, 4, 0) != 0;
	p->test = jny_get_int8(row, 5, 0) != 0;
	p->restricted = jny_get_int8(row, 6, 0) != 0;
	p->traits = get_copy(batch, row, 7);
	p->zone = get_string(batch, row, 8);
	p->locale = get_string(batch, row, 9);
	p->stage = get_string(batch, row, 10);
	if (p->stage == NULL)
		p->stage = "awareness";
	p->features = get_copy(batch, row, 11);
	p->last_event_at = get_time(row, 12);
	p->last_order_at = get_time(row, 13);
	p->orders = (int) jny_get_int8(row, 14, 0);
	p->events = jny_get_int8(row, 15, 0);
}

void
jny_profiles_load(JnyBatch *batch, List *profile_ids)
{
	JnyCols    *cols = jny_cols("smallint, uuid");
	ListCell   *lc;

	foreach(lc, profile_ids)
	{
		pg_uuid_t  *id = lfirst(lc);

		if (jny_profile_get(batch, id) != NULL)
			continue;
		jny_cols_set(cols, 0, Int16GetDatum(jny_bucket_of_id(id)));
		jny_cols_set(cols, 1, UUIDPGetDatum(id));
		jny_cols_next(cols);
	}
	if (jny_cols_count(cols) == 0)
		return;
	jny_run(&load_profiles, jny_cols_datums(cols, 0), NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
		fill_profile(batch, row);
}

JnyProfile *
jny_profile_get(JnyBatch *batch, const pg_uuid_t *id)
{
	return hash_search(batch->profiles, id, HASH_FIND, NULL);
}
