/*
 * merge.c
 *		The lap's last work: people who turned out to be one become one, and who
 *		asked to be forgotten is.
 *
 * Called by lap.c in the lap's transaction, once everything of two people is
 * written. Whoever is due is found by key, so that a lap without any pays for
 * one look at an index; the merge itself is SQL (sql/worker/25_merge.sql),
 * because it is rare and touches every table. Locks people and their actions,
 * and waits for nobody. Errors are the caller's.
 */
#include "worker/worker.h"

#include "executor/spi.h"

#include "core/table.h"

JNY_LOOKUP(find_due, "merge_wish", "merge_wish_due", "try_at <=", "profile_id", NULL);
JNY_LOOKUP(find_asked, "person_wish", "person_wish_due", "try_at <=", "profile_id", NULL);
JNY_PLAN(merge_due, "", "SELECT journey._merge_due() + journey._do_by_people()");

static bool
is_due(const JnyBatch *batch, JnyAccess *access)
{
	JnyCols    *keys = jny_cols_of(access);

	jny_cols_set(keys, 0, TimestampTzGetDatum(batch->node.now));
	jny_cols_next(keys);
	return jny_lookup_at(access, keys, NULL, 1)->n > 0;
}

/* Within SPI. */
bool
jny_merges_wait(const JnyBatch *batch)
{
	return is_due(batch, &find_due) || is_due(batch, &find_asked);
}

void
jny_merge(JnyBatch *batch)
{
	jny_run(&merge_due, NULL, NULL);
	batch->merged += jny_get_int8(0, 1, 0);
}
