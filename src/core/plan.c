/*
 * plan.c
 *		Statements parsed once per backend, and rows passed as arrays.
 *
 * All access to data tables goes through the planner, so that a distributed
 * engine sees it. Callers are inside SPI_connect(); plans are kept for the
 * life of the backend and re-validated by the plan cache after DDL.
 */
#include "core/core.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define MAX_COLS 48

/* "uuid, text[]" into type oids; type names are those of pg_catalog. */
static int
parse_types(const char *types, Oid *oids)
{
	int			n = 0;
	char	   *list = pstrdup(types);
	char	   *save = NULL;

	for (char *tok = strtok_r(list, ",", &save); tok != NULL; tok = strtok_r(NULL, ",", &save))
	{
		int32		typmod;

		while (*tok == ' ')
			tok++;
		if (n >= MAX_COLS)
			elog(ERROR, "too many statement parameters: %s", types);
		parseTypeString(tok, &oids[n++], &typmod, false);
	}
	pfree(list);
	return n;
}

/* The same, remembered by text: parsing a type's name costs more than a row. */
static int
known_types(const char *types, Oid *oids)
{
	static struct
	{
		char	   *types;
		int			n;
		Oid			oids[MAX_COLS];
	}			known[64];
	static int	nknown = 0;
	int			n;

	for (int i = 0; i < nknown; i++)
		if (strcmp(known[i].types, types) == 0)
		{
			memcpy(oids, known[i].oids, sizeof(Oid) * known[i].n);
			return known[i].n;
		}
	n = parse_types(types, oids);
	if (nknown < (int) lengthof(known))
	{
		known[nknown].types = MemoryContextStrdup(TopMemoryContext, types);
		known[nknown].n = n;
		memcpy(known[nknown++].oids, oids, sizeof(Oid) * n);
	}
	return n;
}

static void
prepare(JnyPlan *plan)
{
	SPIPlanPtr	p;

	plan->nargs = parse_types(plan->types, plan->argtypes);
	p = SPI_prepare(plan->sql, plan->nargs, plan->argtypes);
	if (p == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", plan->sql, SPI_result_code_string(SPI_result));
	SPI_keepplan(p);
	plan->plan = p;
}

uint64
jny_run(JnyPlan *plan, Datum *values, const bool *nulls)
{
	char		nullchars[MAX_COLS];
	MemoryContext cxt = CurrentMemoryContext;
	int			rc;

	if (plan->plan == NULL)
		prepare(plan);
	for (int i = 0; i < plan->nargs; i++)
		nullchars[i] = (nulls != NULL && nulls[i]) ? 'n' : ' ';
	rc = SPI_execute_plan(plan->plan, values, nulls ? nullchars : NULL, false, 0);
	MemoryContextSwitchTo(cxt);	/* SPI leaves us in its own */
	if (rc < 0)
		elog(ERROR, "could not run \"%s\": %s", plan->sql, SPI_result_code_string(rc));
	return SPI_processed;
}

uint64
jny_run_latest(JnyPlan *plan, Datum *values, const bool *nulls)
{
	int			level = jny_pin_plans();

	if (!IsolationUsesXactSnapshot())
		jny_run(plan, values, nulls);
	else
	{
		char		nullchars[MAX_COLS];
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
		int			rc;

		if (plan->plan == NULL)
			prepare(plan);
		for (int i = 0; i < plan->nargs; i++)
			nullchars[i] = (nulls != NULL && nulls[i]) ? 'n' : ' ';
		rc = SPI_execute_snapshot(plan->plan, values, nulls ? nullchars : NULL,
								  snapshot, InvalidSnapshot, false, false, 0);
		UnregisterSnapshot(snapshot);
		if (rc < 0)
			elog(ERROR, "could not run \"%s\": %s", plan->sql, SPI_result_code_string(rc));
	}
	jny_unpin_plans(level);
	return SPI_processed;
}

struct JnyCols
{
	int			ncols;
	int			nrows;
	MemoryContext cxt;
	Oid			types[MAX_COLS];
	ArrayBuildState *state[MAX_COLS];
	Datum		values[MAX_COLS];
	bool		isset[MAX_COLS];
};

JnyCols *
jny_cols(const char *types)
{
	JnyCols    *cols = palloc0(sizeof(JnyCols));

	cols->cxt = CurrentMemoryContext;
	cols->ncols = known_types(types, cols->types);
	for (int i = 0; i < cols->ncols; i++)
		cols->state[i] = initArrayResult(cols->types[i], cols->cxt, false);
	return cols;
}

void
jny_cols_set(JnyCols *cols, int col, Datum value)
{
	Assert(col >= 0 && col < cols->ncols);
	cols->values[col] = value;
	cols->isset[col] = true;
}

void
jny_cols_text(JnyCols *cols, int col, const char *value)
{
	if (value != NULL)
		jny_cols_set(cols, col, CStringGetTextDatum(value));
}

void
jny_cols_next(JnyCols *cols)
{
	for (int i = 0; i < cols->ncols; i++)
	{
		accumArrayResult(cols->state[i], cols->values[i], !cols->isset[i],
						 cols->types[i], cols->cxt);
		cols->isset[i] = false;
		cols->values[i] = (Datum) 0;
	}
	cols->nrows++;
}

int
jny_cols_count(JnyCols *cols)
{
	return cols->nrows;
}

Datum *
jny_cols_datums(JnyCols *cols, int nextra)
{
	Datum	   *values = palloc0(sizeof(Datum) * (cols->ncols + nextra));

	for (int i = 0; i < cols->ncols; i++)
		values[i] = cols->nrows == 0
			? PointerGetDatum(construct_empty_array(cols->types[i]))
			: makeArrayResult(cols->state[i], cols->cxt);
	return values;
}

Datum
jny_get(uint64 row, int col, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col, isnull);
}

char *
jny_get_text(uint64 row, int col)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col);
}

int64
jny_get_int8(uint64 row, int col, int64 missing)
{
	bool		isnull;
	Datum		d = jny_get(row, col, &isnull);

	if (isnull)
		return missing;
	switch (SPI_gettypeid(SPI_tuptable->tupdesc, col))
	{
		case INT2OID:
			return DatumGetInt16(d);
		case INT4OID:
			return DatumGetInt32(d);
		case BOOLOID:
			return DatumGetBool(d) ? 1 : 0;
		default:
			return DatumGetInt64(d);
	}
}

pg_uuid_t *
jny_get_uuid(uint64 row, int col)
{
	bool		isnull;
	Datum		d = jny_get(row, col, &isnull);

	return isnull ? NULL : DatumGetUUIDP(d);
}
