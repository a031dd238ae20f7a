/*
 * attach_watch.c
 *		Do the attached tables still fit, and when to look.
 *
 * Called by the lap, by maintenance and when a wildcard fence is consumed;
 * inside SPI_connect() and as journey_owner. Whatever happens to an attached
 * table or its triggers sends a relcache message; the lap that follows looks,
 * and a lap without one has a flag to read. attach() sends a message of its
 * own, by which a table is known that was not attached at the last look. What
 * the owner of a table may read depends on schemas and roles, too.
 *
 * Locks: RowExclusiveLock on journey.attachment. Memory: the oids of attached
 * tables, for the life of the backend.
 */
#include "observe/observe.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

JNY_PLAN(watched_tables, "",
		 "SELECT DISTINCT t.rel FROM journey._captures() t"
		 " UNION SELECT 'journey.attachment'::pg_catalog.regclass::pg_catalog.oid ORDER BY 1");
JNY_PLAN(check_attachments, "", "SELECT pg_catalog.count(*) FROM journey._check_attachments()");

static Oid *watched = NULL;		/* in order */
static int	nwatched = 0;
static bool touched = true;		/* since the last look */
static bool unsettled = false;	/* the look is part of a transaction that may still roll back */
static SubTransactionId looked_in;	/* of that transaction */

static int
compare_oid(const void *a, const void *b)
{
	Oid			x = *(const Oid *) a;
	Oid			y = *(const Oid *) b;

	return x < y ? -1 : x > y;
}

static void
relation_changed(Datum arg, Oid relid)
{
	if (!touched)
		touched = !OidIsValid(relid) ||
			bsearch(&relid, watched, nwatched, sizeof(Oid), compare_oid) != NULL;
}

static void
at_end_of_xact(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT)
		unsettled = false;
	else if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		touched = touched || unsettled;
		unsettled = false;
	}
}

static void
at_end_of_subxact(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	/* numbers grow: what is open still and began no later than the look's holds it */
	if (event == SUBXACT_EVENT_ABORT_SUB && mine <= looked_in)
		touched = touched || unsettled;
}

static void
right_changed(Datum arg, int cache, uint32 hash)
{
	touched = true;
}

static void
register_once(void)
{
	static bool registered = false;

	if (registered)
		return;
	registered = true;
	jny_watch_relations(relation_changed);
	CacheRegisterSyscacheCallback(NAMESPACEOID, right_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, right_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMMEMROLE, right_changed, (Datum) 0);
	RegisterXactCallback(at_end_of_xact, NULL);
	RegisterSubXactCallback(at_end_of_subxact, NULL);
}

/* Before the look: what changes a table from here on is seen by the look or brings a message after it. */
static void
watch(void)
{
	Oid		   *oids;
	Oid		   *former = watched;
	int			n;
	bool		isnull;

	register_once();
	n = (int) jny_run(&watched_tables, NULL, NULL);
	oids = MemoryContextAlloc(TopMemoryContext, sizeof(Oid) * n);
	for (int i = 0; i < n; i++)
		oids[i] = DatumGetObjectId(jny_get(i, 1, &isnull));
	watched = oids;
	nwatched = n;
	if (former != NULL)
		pfree(former);
	touched = false;
	unsettled = true;
	looked_in = GetCurrentSubTransactionId();
}

void
jny_attachments_check(void)
{
	watch();
	jny_run(&check_attachments, NULL, NULL);
}

void
jny_attachments_check_if_touched(void)
{
	Oid			attachment;

	if (!touched)
		return;
	/* an attach() under way holds it, perhaps for long: the next lap looks */
	attachment = get_relname_relid("attachment", get_namespace_oid("journey", false));
	if (ConditionalLockRelationOid(attachment, RowExclusiveLock))
		jny_attachments_check();
}

bool
jny_attachments_touched(void)
{
	return touched;
}

PG_FUNCTION_INFO_V1(journey_attachments_changed);

Datum
journey_attachments_changed(PG_FUNCTION_ARGS)
{
	CacheInvalidateRelcacheByRelid(get_relname_relid("attachment", get_namespace_oid("journey", false)));
	PG_RETURN_VOID();
}
