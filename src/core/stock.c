/*
 * stock.c
 *		What the shop's own stock tables say at this moment.
 *
 * Laps ask when a row of one has changed, decisions and rules each time, as
 * permits do (deliver/gate.c); what was last observed counts where no table
 * says anything. The reading is rolled back: it writes nothing, and the locks
 * on the shop's tables go with it, so that no change of such a table waits for
 * the end of a lap. A table that is locked or cannot be read leaves what was
 * observed; the permit looks again. What a table says is too old to count is
 * unknown, which what was observed of it before cannot mend.
 */
#include "core/core.h"

#include "executor/spi.h"
#include "utils/datum.h"

JNY_PLAN(read_stock, "text[]",
		 "SELECT s.sku, s.available FROM journey._stock($1) AS s WHERE s.available IS NOT NULL OR s.stale");

typedef struct Reading
{
	Datum		skus;
	MemoryContext cxt;			/* outlives the subtransaction */
	JnyStockLevel *level;
	int			n;
} Reading;

static void
read_levels(void *arg)
{
	Reading    *r = arg;
	int			n = (int) jny_run(&read_stock, &r->skus, NULL);
	MemoryContext here = MemoryContextSwitchTo(r->cxt);

	r->level = palloc(sizeof(JnyStockLevel) * Max(n, 1));
	for (; r->n < n; r->n++)
	{
		bool		isnull;
		Datum		available = jny_get(r->n, 2, &isnull);

		r->level[r->n].sku = jny_get_text(r->n, 1);
		r->level[r->n].available = isnull ? (Datum) 0 : datumCopy(available, false, -1);
	}
	MemoryContextSwitchTo(here);
}

int
jny_stock_live(Datum skus, JnyStockLevel **levels)
{
	Reading		r = {.skus = skus, .cxt = CurrentMemoryContext};

	if (!jny_try(read_levels, &r, false, "read the stock tables"))
		return 0;
	*levels = r.level;
	return r.n;
}
