/*
 * ids.c
 *		Keys made without sequences: uuid v7 by time, uuid v8 by content.
 *
 * A data table may live on several nodes, where a sequence would repeat
 * itself. Ids by content make a repeated write the same write.
 */
#include "core/core.h"

#include <sys/time.h>

#include "utils/builtins.h"

static void
stamp(pg_uuid_t *id, int version)
{
	id->data[6] = (id->data[6] & 0x0f) | (version << 4);
	id->data[8] = (id->data[8] & 0x3f) | 0x80;
}

void
jny_random(void *out, size_t n)
{
	if (!pg_strong_random(out, n))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values"),
				 errhint("Try again; if it stays so, see to the random source of the server's operating system.")));
}

void
jny_random_drawn(uint8 out[8])
{
	static uint8 drawn[64 * 8];
	static size_t left = 0;

	if (left == 0)
	{
		jny_random(drawn, sizeof(drawn));
		left = sizeof(drawn);
	}
	left -= 8;
	memcpy(out, drawn + left, 8);
}

/*
 * Milliseconds, then 12 bits of the microsecond so that ids of one backend
 * sort in the order they were made, then random bits (RFC 9562, method 3).
 */
void
jny_uuid_v7(pg_uuid_t *out)
{
	static uint64 last = 0;
	struct timeval tv;
	uint64		ticks;
	uint64		ms;

	gettimeofday(&tv, NULL);
	/* 4096 ticks to the millisecond; never the same tick twice here */
	ticks = ((uint64) tv.tv_sec * 1000 + tv.tv_usec / 1000) * 4096 +
		(uint64) (tv.tv_usec % 1000) * 4096 / 1000;
	if (ticks <= last)
		ticks = last + 1;
	last = ticks;
	ms = ticks >> 12;

	for (int i = 0; i < 6; i++)
		out->data[i] = (ms >> (40 - 8 * i)) & 0xff;
	out->data[6] = (ticks >> 8) & 0x0f;
	out->data[7] = ticks & 0xff;
	jny_random_drawn(out->data + 8);
	stamp(out, 7);
}

void
jny_uuid_of(pg_uuid_t *out, const char *first,...)
{
	StringInfoData buf;
	va_list		args;
	uint64		half[2];

	initStringInfo(&buf);
	va_start(args, first);
	for (const char *part = first; part != NULL; part = va_arg(args, const char *))
		appendBinaryStringInfo(&buf, part, strlen(part) + 1);
	va_end(args);
	half[0] = jny_hash64(buf.data, buf.len, 0);
	half[1] = jny_hash64(buf.data, buf.len, UINT64CONST(0x9e3779b97f4a7c15));
	for (int i = 0; i < 16; i++)
		out->data[i] = (half[i / 8] >> (56 - 8 * (i % 8))) & 0xff;
	stamp(out, 8);
	pfree(buf.data);
}

Datum
jny_uuid_datum(const pg_uuid_t *id)
{
	pg_uuid_t  *copy = palloc(sizeof(pg_uuid_t));

	*copy = *id;
	return UUIDPGetDatum(copy);
}

char *
jny_uuid_str(const pg_uuid_t *id)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
}

PG_FUNCTION_INFO_V1(journey_uuid_v7);

Datum
journey_uuid_v7(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id;

	jny_uuid_v7(&id);
	PG_RETURN_UUID_P((pg_uuid_t *) DatumGetPointer(jny_uuid_datum(&id)));
}
