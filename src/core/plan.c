/*
 * plan.c
 *		Statements parsed once per backend.
 *
 * For what needs the planner: joins, the shop's tables, and table.c's SQL
 * form. Callers are inside SPI_connect(); plans are kept for the life of the
 * backend and re-validated by the plan cache after DDL.
 */
#include "core/cols.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

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
		if (n >= JNY_MAX_COLS)
			elog(ERROR, "too many statement parameters: %s", types);
		parseTypeString(tok, &oids[n++], &typmod, false);
	}
	pfree(list);
	return n;
}

void
jny_plan_prepare(JnyPlan *plan)
{
	SPIPlanPtr	p;

	if (plan->types != NULL)
		plan->nargs = parse_types(plan->types, plan->argtypes);
	p = SPI_prepare(plan->sql, plan->nargs, plan->argtypes);
	if (p == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", plan->sql, SPI_result_code_string(SPI_result));
	SPI_keepplan(p);
	plan->plan = p;
}

void
jny_plan_free(JnyPlan *plan)
{
	if (plan->plan != NULL)
		SPI_freeplan(plan->plan);
	plan->plan = NULL;
	plan->sql = NULL;
}

uint64
jny_run(JnyPlan *plan, Datum *values, const bool *nulls)
{
	char		nullchars[JNY_MAX_COLS];
	MemoryContext cxt = CurrentMemoryContext;
	int			rc;

	if (plan->plan == NULL)
		jny_plan_prepare(plan);
	for (int i = 0; i < plan->nargs; i++)
		nullchars[i] = (nulls != NULL && nulls[i]) ? 'n' : ' ';
	rc = SPI_execute_plan(plan->plan, values, nulls ? nullchars : NULL, false, 0);
	MemoryContextSwitchTo(cxt);	/* SPI leaves us in its own */
	if (rc < 0)
		elog(ERROR, "could not run \"%s\": %s", plan->sql, SPI_result_code_string(rc));
	return SPI_processed;
}

struct PortalData *
jny_open(JnyPlan *plan, Datum *values)
{
	MemoryContext cxt = CurrentMemoryContext;
	Portal		cursor;

	if (plan->plan == NULL)
		jny_plan_prepare(plan);
	cursor = SPI_cursor_open(NULL, plan->plan, values, NULL, false);
	MemoryContextSwitchTo(cxt);
	return cursor;
}

uint64
jny_fetch(struct PortalData *cursor, int n)
{
	MemoryContext cxt = CurrentMemoryContext;

	SPI_cursor_fetch(cursor, true, n);
	if (SPI_processed == 0)
	{
		SPI_freetuptable(SPI_tuptable);
		SPI_cursor_close(cursor);
	}
	MemoryContextSwitchTo(cxt);
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
		char		nullchars[JNY_MAX_COLS];
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
		int			rc;

		if (plan->plan == NULL)
			jny_plan_prepare(plan);
		for (int i = 0; i < plan->nargs; i++)
			nullchars[i] = (nulls != NULL && nulls[i]) ? 'n' : ' ';
		rc = SPI_execute_snapshot(plan->plan, values, nulls ? nullchars : NULL,
								  snapshot, InvalidSnapshot, false, false, 0);
		UnregisterSnapshot(snapshot);
		if (rc < 0)
			elog(ERROR, "could not run \"%s\": %s", plan->sql, SPI_result_code_string(rc));
	}
	jny_unpin(level);
	return SPI_processed;
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
