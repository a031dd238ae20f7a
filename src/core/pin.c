/*
 * pin.c
 *		Plans that stay right while tables grow.
 *
 * Statements of a lap and of a sender's call are planned once per backend and
 * kept. Their tables are probed by key, but a planner that meets them young,
 * empty or just vacuumed, reads them through or turns the join around, and
 * such a plan then costs what the table has grown to: tens of milliseconds a
 * lap after an hour. So while plans are pinned, tables of the schema journey
 * are planned as large, and only for nested loops over their indexes, in the
 * order in which keys are given; the order in which rows are locked depends
 * on that, too.
 *
 * Called by core/plan.c, worker/lap.c and deliver; the hook by the planner.
 * The pins are settings of a nest level: whatever aborts gives them back.
 */
#include "core/core.h"

#include "catalog/namespace.h"
#include "optimizer/cost.h"
#include "optimizer/plancat.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"

/* What a table is planned as, at least. */
#define LARGE_PAGES 100000
#define LARGE_INDEX_PAGES 30000
#define LARGE_ROWS 10000000.0

static get_relation_info_hook_type next_hook = NULL;

/* A setting until the caller's nest level of settings ends. */
void
jny_set(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

int
jny_pin_plans(void)
{
	static const char *const pins[][2] = {
		{"enable_seqscan", "off"}, {"enable_bitmapscan", "off"},
		{"enable_hashjoin", "off"}, {"enable_mergejoin", "off"},
		{"enable_material", "off"}, {"enable_memoize", "off"},
		{"plan_cache_mode", "force_generic_plan"}, {"jit", "off"}
	};
	int			level = NewGUCNestLevel();

	for (int i = 0; i < (int) lengthof(pins); i++)
		jny_set(pins[i][0], pins[i][1]);
	return level;
}

/* What SPI runs for a caller finds no operator or function of the caller's own. */
int
jny_pin_path(void)
{
	int			level = NewGUCNestLevel();

	jny_set("search_path", "pg_catalog, pg_temp");
	return level;
}

void
jny_unpin(int level)
{
	AtEOXact_GUC(true, level);
}

static bool
pinned(void)
{
	return plan_cache_mode == PLAN_CACHE_MODE_FORCE_GENERIC_PLAN && !enable_seqscan && !enable_hashjoin;
}

static void
plan_as_large(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)
{
	ListCell   *lc;

	if (next_hook != NULL)
		next_hook(root, relid, inhparent, rel);
	if (inhparent || !pinned() ||
		get_rel_namespace(relid) != get_namespace_oid("journey", true))
		return;
	rel->pages = Max(rel->pages, LARGE_PAGES);
	rel->tuples = Max(rel->tuples, LARGE_ROWS);
	foreach(lc, rel->indexlist)
	{
		IndexOptInfo *index = lfirst(lc);

		index->pages = Max(index->pages, LARGE_INDEX_PAGES);
		index->tuples = Max(index->tuples, LARGE_ROWS);
	}
}

void
jny_pin_init(void)
{
	next_hook = get_relation_info_hook;
	get_relation_info_hook = plan_as_large;
}
