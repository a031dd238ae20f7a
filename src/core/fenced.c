/*
 * fenced.c
 *		Which event types are fences, and since when everybody knows.
 *
 * A document that lists a type in suppress_on adds it to journey.fenced_type
 * (function _fence, called by apply). Every backend keeps the list and drops
 * it on a relcache message. A transaction that had already asked may write
 * one more row without a fence; so a type is *effective*, and may be relied
 * upon, only when the consumer has passed every transaction of that time.
 *
 * fenced_type is only ever inserted into, which makes it safe to read with
 * SnapshotSelf: the shop reads it, at any isolation level, without a
 * predicate lock. The consumer's notes are in fenced_since, apart.
 */
#include "core/inbox.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

JNY_PLAN(unknown_types, "",
		 "SELECT f.type FROM journey.fenced_type f"
		 " WHERE f.xact <> pg_catalog.pg_current_xact_id()"
		 "   AND NOT EXISTS (SELECT FROM journey.fenced_since s WHERE s.type = f.type)");
JNY_PLAN(note_types, "xid8",
		 "INSERT INTO journey.fenced_since (type, next_xid, effective)"
		 " SELECT f.type, $1, false FROM journey.fenced_type f"
		 " WHERE f.xact <> pg_catalog.pg_current_xact_id()"
		 " ON CONFLICT (type) DO NOTHING");
JNY_PLAN(waiting_types, "", "SELECT FROM journey.fenced_since s WHERE NOT s.effective");
/*
 * Everybody else's transaction below next_xid must be visible in the window
 * $1; ids from $3 on were still running. $2 is our own id.
 */
JNY_PLAN(settle_types, "pg_snapshot, xid8, xid8",
		 "UPDATE journey.fenced_since s SET effective = true"
		 " WHERE NOT s.effective AND s.next_xid <= $3"
		 "   AND NOT EXISTS (SELECT FROM pg_catalog.pg_snapshot_xip($1) AS x(xid)"
		 "                   WHERE x.xid < s.next_xid AND x.xid <> $2)");
JNY_PLAN(is_effective, "text",
		 "SELECT FROM journey.fenced_since s WHERE s.type = $1 AND s.effective");

static const char *const always[] = {"order_placed", "erased", "restricted"};

static struct
{
	bool		registered;
	bool		valid;			/* read to the end, and no message since that was begun */
	bool		unchanged;		/* no message since reading was begun */
	bool		settled;		/* consumer: nothing left to note or to settle */
	Oid			relid;
	MemoryContext cxt;
	int			ntypes;
	char	  **types;
} fenced;

static void
forget(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == fenced.relid)
		fenced.valid = fenced.unchanged = fenced.settled = false;
}

/* An interrupted scan leaves a short list, which must not pass for the whole one. */
static void
load(void)
{
	int			room = 64;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	if (!fenced.registered)
	{
		fenced.cxt = AllocSetContextCreate(CacheMemoryContext, "journey fenced types", ALLOCSET_SMALL_SIZES);
		jny_watch_relations(forget);
		fenced.registered = true;
	}
	fenced.valid = false;
	MemoryContextReset(fenced.cxt);
	fenced.ntypes = 0;
	fenced.types = MemoryContextAlloc(fenced.cxt, room * sizeof(char *));
	fenced.relid = get_relname_relid("fenced_type", get_namespace_oid("journey", false));
	fenced.unchanged = true;
	rel = table_open(fenced.relid, AccessShareLock);
	scan = table_beginscan(rel, SnapshotSelf, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		bool		isnull;
		Datum		d = heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull);
		MemoryContext old = MemoryContextSwitchTo(fenced.cxt);

		if (fenced.ntypes == room)
			fenced.types = repalloc(fenced.types, (room *= 2) * sizeof(char *));
		fenced.types[fenced.ntypes++] = TextDatumGetCString(d);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	fenced.valid = fenced.unchanged;
}

/* What the worker takes rights away for (observe/consent.c), and a complaint. */
bool
jny_type_is_opt_out(const char *type)
{
	if (strncmp(type, "consent_", 8) == 0)
		return strcmp(type, "consent_granted") != 0;
	return strcmp(type, "unsubscribed") == 0 || strcmp(type, "message_complained") == 0;
}

bool
jny_names_message(const char *type, Jsonb *props)
{
	return jny_type_is_opt_out(type) &&
		(jny_json_text(props, "action_id") != NULL || jny_json_text(props, "idempotency_key") != NULL ||
		 jny_json_text(props, "provider_ref") != NULL);
}

const char *
jny_suppression_reason(const char *type)
{
	if (strcmp(type, "order_placed") == 0)
		return "ordered";
	return jny_type_is_opt_out(type) ? "opted_out" : type;
}

static bool
is_always(const char *type)
{
	if (jny_type_is_opt_out(type))
		return true;
	for (int i = 0; i < (int) lengthof(always); i++)
		if (strcmp(always[i], type) == 0)
			return true;
	return false;
}

bool
jny_type_is_fenced(const char *type)
{
	if (is_always(type))
		return true;
	(void) GetTopFullTransactionId();
	AcceptInvalidationMessages();
	if (!fenced.valid)
		load();
	for (int i = 0; i < fenced.ntypes; i++)
		if (strcmp(fenced.types[i], type) == 0)
			return true;
	return false;
}

bool
jny_type_is_effective(const char *type)
{
	Datum		arg;
	bool		result;

	if (is_always(type))
		return true;
	SPI_connect();
	arg = CStringGetTextDatum(type);
	result = jny_run(&is_effective, &arg, NULL) > 0;
	SPI_finish();
	return result;
}

/*
 * The transaction that added a type sends its messages after it has become
 * visible but before it releases its locks: who gets the lock that conflicts
 * with its INSERT knows that everybody has been told. From the next id on,
 * all writers know.
 */
void
jny_types_note(void)
{
	Datum		next;

	if (!fenced.valid)
		load();
	if (fenced.settled || jny_run(&unknown_types, NULL, NULL) == 0)
		return;
	if (!ConditionalLockRelationOid(fenced.relid, ShareLock))
		return;
	next = FullTransactionIdGetDatum(ReadNextFullTransactionId());
	jny_run(&note_types, &next, NULL);
	UnlockRelationOid(fenced.relid, ShareLock);
}

/* The first id from the window's xmax on that is not ours or a savepoint's of ours. */
static FullTransactionId
first_of_others(const char *window)
{
	FullTransactionId xid = FullTransactionIdFromU64(strtou64(strchr(window, ':') + 1, NULL, 10));
	FullTransactionId next = ReadNextFullTransactionId();

	while (FullTransactionIdPrecedes(xid, next) &&
		   TransactionIdIsCurrentTransactionId(XidFromFullTransactionId(xid)))
		FullTransactionIdAdvance(&xid);
	return xid;
}

void
jny_types_settle(const char *window)
{
	if (fenced.settled)
		return;
	if (jny_run(&waiting_types, NULL, NULL) > 0)
	{
		Datum		args[3];

		args[0] = DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(window));
		args[1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
		args[2] = FullTransactionIdGetDatum(first_of_others(window));
		jny_run(&settle_types, args, NULL);
	}
	else if (jny_run(&unknown_types, NULL, NULL) == 0)
		fenced.settled = fenced.valid;
}
