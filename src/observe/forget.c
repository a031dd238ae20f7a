/*
 * forget.c
 *		Keys of people who were erased.
 *
 * Called by identity.c when the lap's keys have been looked up. A key that
 * nobody has may be that of somebody who was erased: what was captured before
 * the erasure is dropped, so that a late commit brings nobody back; whoever
 * comes later under such a key gets no message but transactional ones, so that
 * a re-import contacts nobody, until unsuppress() says otherwise. Only keyed
 * digests are kept (sql/worker/27_erase.sql); a shop that never erased anybody
 * pays for one look at an index per lap with new keys.
 */
#include "observe/fact.h"

#include "utils/builtins.h"

JNY_LOOKUP(any_forgotten, "forgotten", "forgotten_pkey", "", "seq", NULL);
JNY_PLAN(find_forgotten, "text[], text[]", "SELECT n, seq FROM journey._forgotten($1, $2)");
JNY_UPSERT(suppress, "suppression", "suppression_pkey", "bucket, profile_id, seq, type, linked",
		   "bucket, profile_id, seq, type, linked, ref, scope, reason, occurred_at, effective_at, incarnation, lap, note", "");

static bool
is_any_forgotten(void)
{
	JnyCols    *all = jny_cols_of(&any_forgotten);

	jny_cols_next(all);
	return jny_lookup_at(&any_forgotten, all, NULL, 1)->n > 0;
}

void
jny_forget_find(JnyTake *take)
{
	JnyCols    *cols = NULL;
	List	   *asked = NIL;
	HASH_SEQ_STATUS scan;
	JnyKey	   *key;
	uint64		n;

	hash_seq_init(&scan, take->keys);
	while ((key = hash_seq_search(&scan)) != NULL)
	{
		if (key->known || (key->id.space->class != JNY_CLASS_PERSON && key->id.space->class != JNY_CLASS_SESSION))
			continue;
		asked = lappend(asked, key);
	}
#ifdef JOURNEY_BUG_ERASURE_WITHOUT_TOMBSTONE
	/* who was erased is somebody new */
	asked = NIL;
#endif
	if (asked == NIL || !is_any_forgotten())
		return;
	cols = jny_cols("text, text");
	for (int i = 0; i < list_length(asked); i++)
	{
		key = list_nth(asked, i);
		jny_cols_text(cols, 0, key->id.space->name);
		jny_cols_text(cols, 1, key->value);
		jny_cols_next(cols);
	}
	n = jny_run(&find_forgotten, jny_cols_datums(cols, 0), NULL);
	for (uint64 row = 0; row < n; row++)
	{
		key = list_nth(asked, (int) jny_get_int8(row, 1, 0));
		key->forgotten = jny_get_int8(row, 2, 0);
	}
}

/* What was captured before all its people were erased, and nobody has come back since. */
bool
jny_forget_drops(const JnyFact *fact)
{
	for (int i = 0; i < fact->nkeys; i++)
		if (fact->keys[i]->known || fact->keys[i]->forgotten <= fact->seq)
			return false;
	return fact->nkeys > 0;
}

/* Somebody has come back. */
void
jny_forget_suppress(JnyTake *take, const JnyFact *fact, JnyKey *key)
{
	const JnyBatch *batch = take->batch;
	JnyCols    *cols;

	if (key->forgotten == 0)
		return;
	key->forgotten = 0;
	if (take->forgotten == NULL)
		take->forgotten = jny_cols_of(&suppress);
	cols = take->forgotten;
	jny_cols_set(cols, 0, Int16GetDatum(fact->profile->bucket));
	jny_cols_set(cols, 1, jny_uuid_datum(&fact->profile->id));
	jny_cols_set(cols, 2, Int64GetDatum(fact->seq));
	jny_cols_text(cols, 3, "manual");
	jny_cols_set(cols, 4, BoolGetDatum(false));
	jny_cols_text(cols, 5, "");
	jny_cols_text(cols, 6, "*");
	jny_cols_text(cols, 7, "suppressed");
	jny_cols_set(cols, 8, TimestampTzGetDatum(batch->node.now));
	jny_cols_set(cols, 9, TimestampTzGetDatum(batch->node.now));
	jny_cols_set(cols, 10, Int32GetDatum(batch->node.incarnation));
	jny_cols_set(cols, 11, Int64GetDatum(batch->lap));
	jny_cols_text(cols, 12, "journey: somebody with this key was erased before");
	jny_cols_next(cols);
}

void
jny_forget_write(JnyTake *take)
{
	if (take->forgotten != NULL)
		(void) jny_write(&suppress, take->forgotten);
}
