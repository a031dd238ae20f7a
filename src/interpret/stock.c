/*
 * stock.c
 *		What the shop's own stock tables say at this moment.
 *
 * Decisions and rules read them as permits do (deliver/gate.c); what was last
 * observed counts where no table says anything. Called inside SPI_connect().
 * The reading is a subtransaction that is always rolled back: it writes
 * nothing, and the locks on the shop's tables go with it, so that no change of
 * such a table waits for the end of a lap. A table that cannot be read now,
 * because the shop is changing it or has a word where a number should be,
 * leaves what was observed; the permit looks again.
 */
#include "interpret/rule.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

JNY_PLAN(any_table, "",
		 "SELECT FROM journey.attachment a"
		 " WHERE a.kind = 'stock' AND a.detached_at IS NULL AND a.broken IS NULL LIMIT 1");
JNY_PLAN(read_tables, "text[]",
		 "SELECT s.sku, pg_catalog.sum(s.available) FROM journey._stock($1) AS s"
		 " GROUP BY s.sku HAVING pg_catalog.bool_and(s.available IS NOT NULL)");

/* What is found outlives the subtransaction. */
static int
read_levels(Datum skus, MemoryContext to, JnyStockLevel **levels)
{
	int			n = (int) jny_run(&read_tables, &skus, NULL);
	MemoryContext here = MemoryContextSwitchTo(to);

	*levels = palloc(sizeof(JnyStockLevel) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		bool		isnull;

		(*levels)[i].sku = jny_get_text(i, 1);
		(*levels)[i].available = datumCopy(jny_get(i, 2, &isnull), false, -1);
	}
	MemoryContextSwitchTo(here);
	return n;
}

int
jny_stock_live(Datum skus, JnyStockLevel **levels)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	volatile int n = 0;

	if (jny_run(&any_table, NULL, NULL) == 0)
		return 0;
	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		n = read_levels(skus, old, levels);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	if (error != NULL && jny_must_pass_on(error->sqlerrcode))
		ReThrowError(error);
	return error == NULL ? n : 0;
}
