/*
 * distinct.c
 *		How many different values: a set that stays small.
 *
 * Up to JNY_SET_EXACT values their 32-bit hashes are kept, in order; beyond
 * that the registers of a HyperLogLog, as the server's own library has it.
 * Which of the two depends on how many there are, and both on nothing but the
 * values: a recount gives the same bytes. Pure functions on memory; a set is a
 * bytea: byte 0 says which, then hashes or registers, in the server's byte order.
 */
#include "interpret/feature.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "lib/hyperloglog.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#define WIDTH 10				/* bits: 2^10 registers, error 3.25 % */
#define REGISTERS (1 << WIDTH)
#define LIST 'l'
#define SKETCH 's'

#define HEAD (VARHDRSZ + 1)

static char
kind(Datum set)
{
	return *VARDATA(DatumGetPointer(set));
}

static char *
body(Datum set)
{
	return VARDATA(DatumGetPointer(set)) + 1;
}

static Datum
make(char what, Size size)
{
	bytea	   *set = palloc(HEAD + size);

	SET_VARSIZE(set, HEAD + size);
	*VARDATA(set) = what;
	return PointerGetDatum(set);
}

static int
list_length_of(Datum list)
{
	return (int) ((VARSIZE(DatumGetPointer(list)) - HEAD) / sizeof(uint32));
}

/* The bytes of a list lie where they like. */
static uint32
hash_at(Datum list, int i)
{
	uint32		hash;

	memcpy(&hash, body(list) + i * sizeof(uint32), sizeof(hash));
	return hash;
}

/* 1.0 and 1.00 are one value. */
static uint32
hash_of(Datum value, Oid type)
{
	Datum		number = type == NUMERICOID ? DirectFunctionCall1(numeric_trim_scale, value) : (Datum) 0;
	char	   *words = number ? DatumGetCString(DirectFunctionCall1(numeric_out, number)) : TextDatumGetCString(value);
	uint32		hash = (uint32) jny_hash64(words, strlen(words), 0);

	pfree(words);
	if (number)
		pfree(DatumGetPointer(number));
	return hash;
}

/* ---- the sketch ------------------------------------------------------------------------ */

static Datum
add_to_sketch(Datum sketch, uint32 hash)
{
	hyperLogLogState state;

	initHyperLogLog(&state, WIDTH);
	memcpy(state.hashesArr, body(sketch), REGISTERS);
	addHyperLogLog(&state, hash);
	memcpy(body(sketch), state.hashesArr, REGISTERS);
	freeHyperLogLog(&state);
	return sketch;
}

static Datum
sketch_of(Datum list)
{
	Datum		sketch = make(SKETCH, REGISTERS);

	memset(body(sketch), 0, REGISTERS);
	for (int i = 0; i < list_length_of(list); i++)
		(void) add_to_sketch(sketch, hash_at(list, i));
	return sketch;
}

/* ---- adding ------------------------------------------------------------------------------ */

/* The same set when it has the hash, else a new one. */
static Datum
add_hash(Datum set, uint32 hash)
{
	int			n;
	int			at = 0;
	Datum		more;

	if (kind(set) == SKETCH)
		return add_to_sketch(set, hash);
	n = list_length_of(set);
	while (at < n && hash_at(set, at) < hash)
		at++;
	if (at < n && hash_at(set, at) == hash)
		return set;
	if (n >= JNY_SET_EXACT)
		return add_to_sketch(sketch_of(set), hash);
	more = make(LIST, (n + 1) * sizeof(uint32));
	memcpy(body(more), body(set), at * sizeof(uint32));
	memcpy(body(more) + at * sizeof(uint32), &hash, sizeof(hash));
	memcpy(body(more) + (at + 1) * sizeof(uint32), body(set) + at * sizeof(uint32), (n - at) * sizeof(uint32));
	return more;
}

/* May change the set that it is given, or make a new one. */
Datum
jny_set_add(Datum set, Datum value, Oid type)
{
	return add_hash(set != (Datum) 0 ? set : make(LIST, 0), hash_of(value, type));
}

/* Changes neither. */
Datum
jny_set_union(Datum a, Datum b)
{
	Datum		both = kind(a) == LIST ? b : a;
	Datum		other = kind(a) == LIST ? a : b;
	Datum		set = make(kind(both), VARSIZE(DatumGetPointer(both)) - HEAD);

	memcpy(body(set), body(both), VARSIZE(DatumGetPointer(both)) - HEAD);
	if (kind(other) == LIST)
		for (int i = 0; i < list_length_of(other); i++)
			set = add_hash(set, hash_at(other, i));
	else
		for (int i = 0; i < REGISTERS; i++)
			body(set)[i] = Max(body(set)[i], body(other)[i]);
	return set;
}

int64
jny_set_count(Datum set)
{
	hyperLogLogState state;
	double		estimate;

	if (kind(set) == LIST)
		return list_length_of(set);
	initHyperLogLog(&state, WIDTH);
	memcpy(state.hashesArr, body(set), REGISTERS);
	estimate = estimateHyperLogLog(&state);
	freeHyperLogLog(&state);
	return Max((int64) rint(estimate), JNY_SET_EXACT + 1);
}
