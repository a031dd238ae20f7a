/*
 * early_optout.c
 *		Opt-outs that were said by keys which named nobody then.
 *
 * An opt-out that had to be set aside takes the consent of whom its keys name
 * (skip.c). A key that names nobody is kept with it, and whoever gets the key
 * gets the opt-out: it is a consent like any other from then on, so that a
 * younger agreement counts and an older one does not.
 *
 * Called by take.c once people are known and before their consents are read.
 * Writes journey.early_opt_out and consents. Memory: the batch's context.
 */
#include "observe/fact.h"

#include "executor/spi.h"

#include "observe/every_channel.h"

JNY_LOOKUP(any_kept, "early_opt_out", "early_opt_out_pkey", "", "seq", NULL);
#define CONSENT_KEY "bucket, profile_id, scope, channel, purpose"
JNY_PLAN(take_over, "smallint[], bigint[], smallint[], uuid[], timestamptz",
		 "WITH met AS (DELETE FROM journey.early_opt_out e"
		 "  USING unnest($1, $2, $3, $4) AS k(key_bucket, hash, bucket, profile_id)"
		 "  WHERE e.bucket = k.key_bucket AND e.key_hash = k.hash"
		 "  RETURNING k.bucket, k.profile_id, e.seq, e.scope, e.channel, e.purpose, e.state, e.source, e.at),"
		 " said AS (SELECT DISTINCT ON (m.bucket, m.profile_id, m.scope, w.channel, m.purpose)"
		 "   m.bucket, m.profile_id, m.seq, m.scope, w.channel, m.purpose, m.state, m.source, m.at"
		 "  FROM met m, LATERAL (SELECT m.channel WHERE m.channel <> '*'"
		 "   UNION SELECT u.channel FROM " JNY_EVERY_CHANNEL("m.purpose", "m") " WHERE m.channel = '*') AS w(channel)"
		 "  ORDER BY m.bucket, m.profile_id, m.scope, w.channel, m.purpose, m.at DESC, m.seq DESC),"
		 " noted AS (INSERT INTO journey.consent_history"
		 "   (" CONSENT_KEY ", recorded_at, seq, state, source, proof, at)"
		 "  SELECT " CONSENT_KEY ", $5, seq, state, source, '{\"set_aside\": true}', at FROM said"
		 "  ON CONFLICT DO NOTHING)"
		 " INSERT INTO journey.consent AS c (" CONSENT_KEY ", state, source, proof, at)"
		 " SELECT " CONSENT_KEY ", state, source, '{\"set_aside\": true}', at FROM said"
		 " ON CONFLICT (" CONSENT_KEY ") DO UPDATE"
		 " SET state = excluded.state, basis = NULL, source = excluded.source, proof = excluded.proof,"
		 "  at = excluded.at, expires_at = NULL"
		 " WHERE excluded.at >= c.at");

static bool
is_any_kept(void)
{
	JnyCols    *all = jny_cols_of(&any_kept);

	jny_cols_next(all);
	return jny_lookup_at(&any_kept, all, NULL, 1)->n > 0;
}

/* Keys of people that this lap gives an owner. */
static JnyCols *
new_keys(JnyTake *take)
{
	JnyCols    *cols = NULL;
	HASH_SEQ_STATUS scan;
	JnyKey	   *key;

	hash_seq_init(&scan, take->keys);
	while ((key = hash_seq_search(&scan)) != NULL)
	{
		if (!key->known || key->stored || key->id.space->class == JNY_CLASS_OBJECT)
			continue;
		if (cols == NULL)
			cols = jny_cols("smallint, bigint, smallint, uuid");
		jny_cols_set(cols, 0, Int16GetDatum(jny_bucket_of_hash(key->id.hash)));
		jny_cols_set(cols, 1, Int64GetDatum(key->id.hash));
		jny_cols_set(cols, 2, Int16GetDatum(key->profile->bucket));
		jny_cols_set(cols, 3, jny_uuid_datum(&key->owner));
		jny_cols_next(cols);
	}
	return cols;
}

void
jny_early_opt_outs(JnyTake *take)
{
	JnyCols    *keys = new_keys(take);
	Datum	   *args;

	if (keys == NULL || !is_any_kept())
		return;
	args = jny_cols_datums(keys, 1);
	args[4] = TimestampTzGetDatum(take->batch->node.now);
	jny_run(&take_over, args, NULL);
	take->opted_out_early = true;
}
