/*
 * strangers.c
 *		Does anybody else's code hang on our tables?
 *
 * Called before each lap, inside SPI_connect(), as journey_owner. A trigger or
 * rule on a table of ours runs in the lap with its rights, and so does what
 * another owner of a table may put on it at any time: a lap refuses beside
 * either. A function of theirs in our schema may stand for one of ours. The
 * catalogue is asked when a message about one of the tables, or any function,
 * has come (a new partition comes with one about its parent), not at each lap.
 */
#include "worker/worker.h"

#include "executor/spi.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

JNY_PLAN(our_tables, "",
		 "SELECT c.oid FROM pg_catalog.pg_class c"
		 " WHERE c.relnamespace = 'journey'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1");
JNY_PLAN(strangers, "", "SELECT s.message, s.hint FROM journey._strangers() s LIMIT 1");

static bool unsure = true;
static Oid *ours = NULL;		/* sorted */
static int	nours = 0;

static int
by_oid(const void *a, const void *b)
{
	Oid			x = *(const Oid *) a;
	Oid			y = *(const Oid *) b;

	return x < y ? -1 : x > y;
}

static void
relation_changed(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || (ours != NULL && bsearch(&relid, ours, nours, sizeof(Oid), by_oid) != NULL))
		unsure = true;
}

static void
function_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	unsure = true;
}

static void
learn_tables(void)
{
	int			n = (int) jny_run(&our_tables, NULL, NULL);
	Oid		   *found = MemoryContextAlloc(TopMemoryContext, sizeof(Oid) * Max(1, n));
	Oid		   *known = ours;
	bool		isnull;

	for (int i = 0; i < n; i++)
		found[i] = DatumGetObjectId(jny_get(i, 1, &isnull));
	ours = found;
	nours = n;
	if (known != NULL)
		pfree(known);
}

bool
jny_may_be_strangers(void)
{
	static bool registered = false;

	if (!registered)
	{
		jny_watch_relations(relation_changed);
		CacheRegisterSyscacheCallback(PROCOID, function_changed, (Datum) 0);
	}
	registered = true;
	return unsure;
}

const char *
jny_stranger(char **hint)
{
	/* first, so that a message that comes meanwhile counts */
	unsure = false;
	learn_tables();
	if (jny_run(&strangers, NULL, NULL) == 0)
		return NULL;
	unsure = true;
	*hint = jny_get_text(0, 2);
	return jny_get_text(0, 1);
}
