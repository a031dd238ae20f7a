/*
 * optout.c
 *		The parts of consent that SQL cannot do: keyed digests, random bytes,
 *		and an opt-out that counts from the commit of the caller.
 *
 * Called by journey.unsubscribe() and its like (sql/observe/41_consent.sql),
 * as journey_owner. Appends to the inbox; takes no lock.
 */
#include "core/inbox.h"

#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(journey_hmac);
PG_FUNCTION_INFO_V1(journey_random_bytes);
PG_FUNCTION_INFO_V1(journey_append_opt_out);
PG_FUNCTION_INFO_V1(journey_append_fence);

Datum
journey_hmac(PG_FUNCTION_ARGS)
{
	bytea	   *key = PG_GETARG_BYTEA_PP(0);
	bytea	   *data = PG_GETARG_BYTEA_PP(1);
	bytea	   *result = palloc(VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	pg_hmac_ctx *ctx = pg_hmac_create(PG_SHA256);

	if (ctx == NULL ||
		pg_hmac_init(ctx, (uint8 *) VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)) < 0 ||
		pg_hmac_update(ctx, (uint8 *) VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data)) < 0 ||
		pg_hmac_final(ctx, (uint8 *) VARDATA(result), PG_SHA256_DIGEST_LENGTH) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute a keyed digest: %s", pg_hmac_error(ctx)),
				 errhint("Tokens are SHA-256 with a key: see whether the server's OpenSSL allows it.")));
	pg_hmac_free(ctx);
	SET_VARSIZE(result, VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	PG_RETURN_BYTEA_P(result);
}

Datum
journey_random_bytes(PG_FUNCTION_ARGS)
{
	int32		n = PG_GETARG_INT32(0);
	bytea	   *result;

	if (n < 1 || n > 1024)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of random bytes must be between 1 and 1024"),
				 errhint("Call it again for more.")));
	result = palloc(VARHDRSZ + n);
	SET_VARSIZE(result, VARHDRSZ + n);
	jny_random(VARDATA(result), n);
	PG_RETURN_BYTEA_P(result);
}

/*
 * An unsubscribed event with its fence, in the scope that the token names
 * (which need not be the source's). subject: one value per namespace.
 */
Datum
journey_append_opt_out(PG_FUNCTION_ARGS)
{
	JnyKeys		keys = {0};
	JnyInboxRow row = {0};

	row.op = JNY_OP_EVENT;
	row.fence = JNY_FENCE_EVENT;
	row.source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	row.scope = text_to_cstring(PG_GETARG_TEXT_PP(1));
	row.type = "unsubscribed";
	row.occurred_at = PG_GETARG_TIMESTAMPTZ(2);
	row.subject = PG_GETARG_JSONB_P(3);
	row.props = PG_GETARG_JSONB_P(4);

	jny_keys_add_subject(&keys, row.subject, row.scope);
	if (keys.n > 0)
	{
		row.nkeys = keys.n;
		row.keys = keys.hash;
		jny_inbox_append(&row, 1);
	}
	PG_RETURN_VOID();
}

/* An event of a person for every scope, with a fence under the hashes of the person's keys. */
Datum
journey_append_fence(PG_FUNCTION_ARGS)
{
	JnyInboxRow row = {0};
	Datum	   *hashes;
	int64	   *keys;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(3), INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &hashes, NULL, &n);
	n = Min(n, JNY_SUBJECT_KEYS);
	row.op = JNY_OP_EVENT;
	row.fence = JNY_FENCE_EVENT;
	row.source = "journey";
	row.scope = "*";
	row.type = text_to_cstring(PG_GETARG_TEXT_PP(0));
	row.occurred_at = PG_GETARG_TIMESTAMPTZ(1);
	row.subject = PG_GETARG_JSONB_P(2);
	keys = palloc(sizeof(int64) * Max(1, n));
	for (int i = 0; i < n; i++)
		keys[i] = DatumGetInt64(hashes[i]);
	row.nkeys = n;
	row.keys = keys;
	if (n > 0)
		jny_inbox_append(&row, 1);
	PG_RETURN_VOID();
}
