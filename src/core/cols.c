/*
 * cols.c
 *		Rows on their way into a table: set column by column, kept in memory.
 *
 * Called by every room. jny_cols_next() copies what the row points to into
 * the context that was current when the set was made, so the caller's
 * variables may go. Statements take the rows as one array per column
 * (jny_cols_datums), table.c takes them as they are. No locks.
 */
#include "core/cols.h"

#include "catalog/pg_type.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define FIRST_ROWS 4

void
jny_col_type(Oid type, JnyColType *out)
{
	out->type = type;
	get_typlenbyvalalign(type, &out->len, &out->byval, &out->align);
}

/* "uuid, text" into types, remembered by text: parsing a type's name costs more than a row. */
static const JnyColType *
known_types(const char *types, int *n)
{
	static struct
	{
		const char *text;
		int			n;
		JnyColType *types;
	}			known[128];
	static int	nknown = 0;
	JnyColType	found[JNY_MAX_COLS];
	char	   *save = NULL;
	JnyColType *copy;

	for (int i = 0; i < nknown; i++)
		if (strcmp(known[i].text, types) == 0)
		{
			*n = known[i].n;
			return known[i].types;
		}
	*n = 0;
	for (char *tok = strtok_r(pstrdup(types), ",", &save); tok != NULL; tok = strtok_r(NULL, ",", &save))
	{
		int32		typmod;
		Oid			oid;

		if (*n >= JNY_MAX_COLS)
			elog(ERROR, "too many columns: %s", types);
		parseTypeString(tok + strspn(tok, " "), &oid, &typmod, false);
		jny_col_type(oid, &found[(*n)++]);
	}
	copy = MemoryContextAlloc(nknown < (int) lengthof(known) ? TopMemoryContext : CurrentMemoryContext,
							  sizeof(JnyColType) * Max(1, *n));
	memcpy(copy, found, sizeof(JnyColType) * *n);
	if (nknown < (int) lengthof(known))
	{
		known[nknown].text = MemoryContextStrdup(TopMemoryContext, types);
		known[nknown].n = *n;
		known[nknown++].types = copy;
	}
	return copy;
}

/* Room for one row more, all of its columns null. */
static void
make_room(JnyCols *cols)
{
	if (cols->nrows == cols->max)
	{
		cols->max *= 2;
		cols->values = repalloc_huge(cols->values, sizeof(Datum) * cols->ncols * cols->max);
		cols->nulls = repalloc_huge(cols->nulls, sizeof(bool) * cols->ncols * cols->max);
	}
	memset(cols->nulls + (size_t) cols->nrows * cols->ncols, true, cols->ncols);
	memset(cols->values + (size_t) cols->nrows * cols->ncols, 0, sizeof(Datum) * cols->ncols);
}

JnyCols *
jny_cols_typed(int ncols, const JnyColType *types)
{
	JnyCols    *cols = palloc(sizeof(JnyCols));

	cols->ncols = ncols;
	cols->nrows = 0;
	cols->max = FIRST_ROWS;
	cols->cxt = CurrentMemoryContext;
	cols->owned = 0;
	cols->types = types;
	cols->values = palloc(sizeof(Datum) * Max(1, ncols) * cols->max);
	cols->nulls = palloc(sizeof(bool) * Max(1, ncols) * cols->max);
	make_room(cols);
	return cols;
}

JnyCols *
jny_cols(const char *types)
{
	int			n;
	const JnyColType *known = known_types(types, &n);

	return jny_cols_typed(n, known);
}

void
jny_cols_set(JnyCols *cols, int col, Datum value)
{
	size_t		at = (size_t) cols->nrows * cols->ncols + col;

	Assert(col >= 0 && col < cols->ncols);
	cols->values[at] = value;
	cols->nulls[at] = false;
	cols->owned &= ~(UINT64CONST(1) << col);
}

StaticAssertDecl(JNY_MAX_COLS <= 64, "the columns of a row are the bits of a word");

/* Made where it is to stay. */
void
jny_cols_text(JnyCols *cols, int col, const char *value)
{
	size_t		len;
	text	   *made;

	if (value == NULL)
		return;
	len = strlen(value);
	made = MemoryContextAlloc(cols->cxt, VARHDRSZ + len);
	SET_VARSIZE(made, VARHDRSZ + len);
	memcpy(VARDATA(made), value, len);
	jny_cols_set(cols, col, PointerGetDatum(made));
	cols->owned |= UINT64CONST(1) << col;
}

void
jny_cols_time(JnyCols *cols, int col, TimestampTz at)
{
	if (at != 0)
		jny_cols_set(cols, col, TimestampTzGetDatum(at));
}

void
jny_cols_next(JnyCols *cols)
{
	MemoryContext old = MemoryContextSwitchTo(cols->cxt);
	Datum	   *values = cols->values + (size_t) cols->nrows * cols->ncols;
	bool	   *nulls = cols->nulls + (size_t) cols->nrows * cols->ncols;

	for (int i = 0; i < cols->ncols; i++)
	{
		if (nulls[i] || cols->types[i].byval || (cols->owned & (UINT64CONST(1) << i)))
			continue;
		values[i] = cols->types[i].len == -1
			? PointerGetDatum(PG_DETOAST_DATUM_COPY(values[i]))
			: datumCopy(values[i], false, cols->types[i].len);
	}
	cols->owned = 0;
	cols->nrows++;
	make_room(cols);
	MemoryContextSwitchTo(old);
}

/* Fewer rows than these are taken as they come. */
#define MANY_ROWS 64

int *
jny_cols_by_bucket(const JnyCols *cols)
{
	int			start[JNY_BUCKETS + 1] = {0};
	int		   *order;

	if (cols->nrows < MANY_ROWS || cols->ncols == 0 || cols->types[0].type != INT2OID)
		return NULL;
	for (int row = 0; row < cols->nrows; row++)
	{
		int16		bucket = DatumGetInt16(cols->values[(size_t) row * cols->ncols]);

		if (cols->nulls[(size_t) row * cols->ncols] || bucket < 0 || bucket >= JNY_BUCKETS)
			return NULL;
		start[bucket + 1]++;
	}
	for (int i = 0; i < JNY_BUCKETS; i++)
		start[i + 1] += start[i];
	order = palloc(sizeof(int) * cols->nrows);
	for (int row = 0; row < cols->nrows; row++)
		order[start[DatumGetInt16(cols->values[(size_t) row * cols->ncols])]++] = row;
	return order;
}

int
jny_cols_count(JnyCols *cols)
{
	return cols->nrows;
}

static Datum
array_of(JnyCols *cols, int col)
{
	const JnyColType *t = &cols->types[col];
	Datum	   *values = palloc(sizeof(Datum) * cols->nrows);
	bool	   *nulls = palloc(sizeof(bool) * cols->nrows);
	int			dims[1] = {cols->nrows};
	int			lower[1] = {1};

	for (int row = 0; row < cols->nrows; row++)
	{
		values[row] = cols->values[(size_t) row * cols->ncols + col];
		nulls[row] = cols->nulls[(size_t) row * cols->ncols + col];
	}
	return PointerGetDatum(construct_md_array(values, nulls, 1, dims, lower, t->type, t->len, t->byval, t->align));
}

Datum *
jny_cols_datums(JnyCols *cols, int nextra)
{
	MemoryContext old = MemoryContextSwitchTo(cols->cxt);
	Datum	   *values = palloc0(sizeof(Datum) * (cols->ncols + nextra));

	for (int i = 0; i < cols->ncols; i++)
		values[i] = cols->nrows == 0
			? PointerGetDatum(construct_empty_array(cols->types[i].type))
			: array_of(cols, i);
	MemoryContextSwitchTo(old);
	return values;
}
