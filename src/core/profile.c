/*
 * profile.c
 *		Loading people into a batch.
 *
 * All that are missing at once, by key. Results live in the batch's context.
 * No locks: one consumer per node changes profiles.
 */
#include "core/batch.h"

#include "utils/memutils.h"

#include "core/table.h"

JNY_LOOKUP(find_profiles, "profile", "profile_pkey", "bucket, profile_id",
		   "bucket, profile_id, class, confidence, restricted, traits, zone, locale", NULL);
JNY_LOOKUP(find_states, "profile_state", "profile_state_pkey", "bucket, profile_id",
		   "profile_id, stage, features, last_event_at, last_order_at, orders, events", NULL);

static void *
unpacked(const JnyRow *row, int col)
{
	return row->nulls[col] ? NULL : PG_DETOAST_DATUM(row->values[col]);
}

static void
fill_profile(JnyBatch *batch, const JnyRows *rows, int i)
{
	const JnyRow *row = &rows->row[i];
	bool		found;
	JnyProfile *p = hash_search(batch->profiles, jny_row_uuid(row, 1), HASH_ENTER, &found);

	if (found)
		return;
	memset((char *) p + sizeof(pg_uuid_t), 0, sizeof(JnyProfile) - sizeof(pg_uuid_t));
	p->bucket = (int16) jny_row_int(rows, i, 0, 0);
	p->is_session = strcmp(jny_row_text(row, 2), "session") == 0;
	p->confidence = DatumGetFloat8(row->values[3]);
	p->restricted = jny_row_int(rows, i, 4, 0) != 0;
	p->traits = unpacked(row, 5);
	p->zone = jny_row_text(row, 6);
	p->locale = jny_row_text(row, 7);
	p->stage = "awareness";
}

static void
fill_state(JnyBatch *batch, const JnyRows *rows, int i)
{
	const JnyRow *row = &rows->row[i];
	JnyProfile *p = jny_profile_get(batch, jny_row_uuid(row, 0));

	if (p == NULL)
		return;					/* of somebody who has been erased between the two looks */
	p->stage = jny_row_text(row, 1);
	p->features = unpacked(row, 2);
	p->last_event_at = jny_row_time(row, 3);
	p->last_order_at = jny_row_time(row, 4);
	p->orders = (int) jny_row_int(rows, i, 5, 0);
	p->events = jny_row_int(rows, i, 6, 0);
}

static void
load(JnyBatch *batch, JnyCols *keys)
{
	JnyRows    *profiles = jny_lookup(&find_profiles, keys);
	JnyRows    *states = jny_lookup(&find_states, keys);

	for (int i = 0; i < profiles->n; i++)
		fill_profile(batch, profiles, i);
	for (int i = 0; i < states->n; i++)
		fill_state(batch, states, i);
}

void
jny_profiles_load(JnyBatch *batch, List *profile_ids)
{
	MemoryContext old = MemoryContextSwitchTo(batch->cxt);
	JnyCols    *keys = NULL;
	ListCell   *lc;

	foreach(lc, profile_ids)
	{
		pg_uuid_t  *id = lfirst(lc);

		if (jny_profile_get(batch, id) != NULL)
			continue;
		if (keys == NULL)
			keys = jny_cols_of(&find_profiles);
		jny_cols_set(keys, 0, Int16GetDatum(jny_bucket_of_id(id)));
		jny_cols_set(keys, 1, UUIDPGetDatum(id));
		jny_cols_next(keys);
	}
	if (keys != NULL)
		load(batch, keys);
	MemoryContextSwitchTo(old);
}

JnyProfile *
jny_profile_get(JnyBatch *batch, const pg_uuid_t *id)
{
	return hash_search(batch->profiles, id, HASH_FIND, NULL);
}
