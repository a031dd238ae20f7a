/*
 * hash.c
 *		The frozen hash: keys, buckets and experiment arms.
 *
 * The same bytes give the same number on every platform, major version and
 * node, for ever: stored fences, buckets and arms depend on it. It is FNV-1a
 * (64 bit) finished with the fmix64 step of MurmurHash3, so that a client in
 * any language can recompute it in ten lines. Test vectors are published in
 * docs/reference-hash.md and pinned in expected/core_hash.out. To change it
 * means JNY_HASH_VERSION + 1 and a second function beside this one.
 *
 * Pure functions; results of jny_normalise are palloc'd in the caller's context.
 */
#include "core/core.h"

#include "utils/builtins.h"

#define FNV_OFFSET UINT64CONST(0xcbf29ce484222325)
#define FNV_PRIME UINT64CONST(0x00000100000001b3)

static uint64
fnv1a(uint64 h, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * FNV_PRIME;
	return h;
}

static uint64
fmix64(uint64 h)
{
	h ^= h >> 33;
	h *= UINT64CONST(0xff51afd7ed558ccd);
	h ^= h >> 33;
	h *= UINT64CONST(0xc4ceb9fe1a85ec53);
	h ^= h >> 33;
	return h;
}

uint64
jny_hash64(const void *data, size_t len, uint64 seed)
{
	return fmix64(fnv1a(FNV_OFFSET ^ seed, data, len));
}

/*
 * A key is a namespace and a value, with a zero byte between them so that no
 * two pairs share their bytes. Callers pass the value normalised.
 */
int64
jny_key_hash(const char *namespace, const char *value)
{
	uint64		h = fnv1a(FNV_OFFSET, namespace, strlen(namespace) + 1);

	return (int64) fmix64(fnv1a(h, value, strlen(value)));
}

int16
jny_bucket_of_hash(int64 hash)
{
	return (int16) (((uint64) hash) >> 54);
}

int16
jny_bucket_of_id(const pg_uuid_t *id)
{
	return jny_bucket_of_hash((int64) jny_hash64(id->data, UUID_LEN, 0));
}

double
jny_assign(const char *salt, const pg_uuid_t *unit)
{
	uint64		h = fnv1a(FNV_OFFSET, salt, strlen(salt) + 1);

	h = fmix64(fnv1a(h, unit->data, UUID_LEN));
	return (double) (h >> 11) / (double) (UINT64CONST(1) << 53);
}

/*
 * What two spellings of one key share. ASCII folding only: a locale's lower()
 * would give another answer on another server, or after a libc update.
 */
char *
jny_normalise(const char *namespace, const char *value)
{
	const char *start = value;
	const char *end;
	char	   *out;

	while (*start == ' ' || *start == '\t' || *start == '\n' || *start == '\r')
		start++;
	end = start + strlen(start);
	while (end > start && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\n' || end[-1] == '\r'))
		end--;
	if (end == start)
		return NULL;
	out = pnstrdup(start, end - start);
	if (strcmp(namespace, "email") == 0)
		for (char *p = out; *p; p++)
			if (*p >= 'A' && *p <= 'Z')
				*p += 'a' - 'A';
	return out;
}

PG_FUNCTION_INFO_V1(journey_hash64);
PG_FUNCTION_INFO_V1(journey_key_hash);
PG_FUNCTION_INFO_V1(journey_bucket);
PG_FUNCTION_INFO_V1(journey_assign);
PG_FUNCTION_INFO_V1(journey_normalise);

Datum
journey_hash64(PG_FUNCTION_ARGS)
{
	bytea	   *data = PG_GETARG_BYTEA_PP(0);

	PG_RETURN_INT64((int64) jny_hash64(VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data),
									   (uint64) PG_GETARG_INT64(1)));
}

Datum
journey_key_hash(PG_FUNCTION_ARGS)
{
	char	   *namespace = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *value = jny_normalise(namespace, text_to_cstring(PG_GETARG_TEXT_PP(1)));

	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT64(jny_key_hash(namespace, value));
}

Datum
journey_bucket(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT16(jny_bucket_of_id(PG_GETARG_UUID_P(0)));
}

Datum
journey_assign(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(jny_assign(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_UUID_P(1)));
}

Datum
journey_normalise(PG_FUNCTION_ARGS)
{
	char	   *value = jny_normalise(text_to_cstring(PG_GETARG_TEXT_PP(0)),
									  text_to_cstring(PG_GETARG_TEXT_PP(1)));

	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(value));
}
