/*
 * attach_leaf.c
 *		Partitions that come to an attached table, and TRUNCATE of one.
 *
 * PostgreSQL gives a new partition the capture trigger, in the same commit,
 * and takes it away with DETACH. Two things it does not do. What the
 * partition had before fires no trigger: whoever is preloaded notes it within
 * the command (ddl_guard.c calls jny_leaves_note), otherwise the next lap does
 * (journey._check_attachments). And triggers for TRUNCATE, which are for each
 * statement, are not given on: we make them as it makes the others, each as
 * the child of the one a level above, so that DETACH, of a whole branch, too,
 * and journey.detach() take them away.
 *
 * Locks: none is waited for. SHARE ROW EXCLUSIVE on a partition that gets a
 * trigger, until the transaction ends, which is that of attach() or of
 * maintenance. No memory is kept.
 */
#include "observe/backfill.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

JNY_PLAN(note_leaves, "", "SELECT journey._note_leaves()");
/* Partitions without a trigger for TRUNCATE that their parent has; further down once there is one above. */
JNY_PLAN(bare_leaves, "",
		 "SELECT i.inhparent, t.oid, c.oid FROM journey._captures() leaf"
		 " JOIN pg_catalog.pg_class c ON c.oid = leaf.rel AND c.relkind IN ('r', 'p')"
		 " JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid"
		 " JOIN pg_catalog.pg_trigger t ON t.tgrelid = i.inhparent AND t.tgfoid = 'journey._capture()'::pg_catalog.regprocedure"
		 "  AND t.tgname LIKE 'journey\\_truncate\\_%'"
		 "  AND pg_catalog.split_part(pg_catalog.encode(t.tgargs, 'escape'), '\\000', 1) = leaf.attachment::pg_catalog.text"
		 " WHERE NOT leaf.root AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger x"
		 "  WHERE x.tgrelid = c.oid AND x.tgparentid = t.oid AND x.tgargs = t.tgargs)");

/* ---- a partition that comes ---------------------------------------------- */

static void
note(void *arg)
{
	jny_run(&note_leaves, NULL, NULL);
}

static void
note_as_owner(void *arg)
{
	jny_as_owner(note, arg);
}

void
jny_leaves_note(void)
{
	/* what we read might be what a serializable transaction fails for; the lap has no such worry */
	if (IsolationIsSerializable() || !OidIsValid(get_relname_relid("attachment", get_namespace_oid("journey", true))))
		return;
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) jny_try(note_as_owner, NULL, true, "note a new partition within the command; the next lap will");
	PopActiveSnapshot();
}

PG_FUNCTION_INFO_V1(journey_has_blocks);

Datum
journey_has_blocks(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	Relation	rel;
	BlockNumber blocks;

	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		PG_RETURN_BOOL(true);
	rel = try_relation_open(relid, NoLock);
	if (rel == NULL)
		PG_RETURN_BOOL(false);
	blocks = RELKIND_HAS_STORAGE(rel->rd_rel->relkind) ? RelationGetNumberOfBlocks(rel) : 0;
	relation_close(rel, NoLock);
	PG_RETURN_BOOL(blocks > 0);
}

/* ---- TRUNCATE of a partition ---------------------------------------------- */

static const Trigger *
find_trigger(Relation rel, Oid trigger)
{
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
		if (rel->trigdesc->triggers[i].tgoid == trigger)
			return &rel->trigdesc->triggers[i];
	return NULL;
}

/*
 * As the server itself makes the children of a trigger: by nobody's right, for
 * whoever made the partition one of this table wants it treated as part of it.
 */
static void
make_child(Oid leaf, const Trigger *parent)
{
	CreateTrigStmt *stmt = makeNode(CreateTrigStmt);
	Oid			user;
	int			security;

	stmt->replace = true;
	stmt->trigname = parent->tgname;
	stmt->funcname = list_make2(makeString("journey"), makeString("_capture"));
	for (int i = 0; i < parent->tgnargs; i++)
		stmt->args = lappend(stmt->args, makeString(parent->tgargs[i]));
	stmt->timing = TRIGGER_TYPE_AFTER;
	stmt->events = TRIGGER_TYPE_TRUNCATE;
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	CreateTriggerFiringOn(stmt, NULL, leaf, InvalidOid, InvalidOid, InvalidOid, parent->tgfoid, parent->tgoid,
						  NULL, false, true, TRIGGER_FIRES_ALWAYS);
	SetUserIdAndSecContext(user, security);
	CommandCounterIncrement();
}

/* False when one of the two is locked by somebody, or they have parted meanwhile. */
static bool
cover(Oid above, Oid trigger, Oid leaf)
{
	Relation	rel;
	const Trigger *parent;
	bool		done = false;

	if (!ConditionalLockRelationOid(above, AccessShareLock) || !ConditionalLockRelationOid(leaf, ShareRowExclusiveLock))
		return false;
	rel = try_relation_open(above, NoLock);
	if (rel == NULL)
		return false;
	parent = find_trigger(rel, trigger);
	if (parent != NULL && get_rel_relispartition(leaf) && get_partition_parent(leaf, true) == above)
	{
		make_child(leaf, parent);
		done = true;
	}
	relation_close(rel, NoLock);
	return done;
}

static int
cover_level(void)
{
	uint64		n = jny_run(&bare_leaves, NULL, NULL);
	SPITupleTable *found = SPI_tuptable;
	int			covered = 0;

	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;
		Oid			above = DatumGetObjectId(SPI_getbinval(found->vals[i], found->tupdesc, 1, &isnull));
		Oid			trigger = DatumGetObjectId(SPI_getbinval(found->vals[i], found->tupdesc, 2, &isnull));
		Oid			leaf = DatumGetObjectId(SPI_getbinval(found->vals[i], found->tupdesc, 3, &isnull));

		covered += cover(above, trigger, leaf);
	}
	return covered;
}

static int
cover_all(void)
{
	int			covered = 0;
	int			more;

	while ((more = cover_level()) > 0)
		covered += more;
	return covered;
}

static void
watch(void *arg)
{
	SPI_connect();
	(void) cover_all();
	SPI_finish();
}

void
jny_leaves_watch(void)
{
	(void) jny_try(watch, NULL, true, "put a trigger for TRUNCATE on a partition");
}

PG_FUNCTION_INFO_V1(journey_watch_truncate);

Datum
journey_watch_truncate(PG_FUNCTION_ARGS)
{
	int			covered;

	SPI_connect();
	covered = cover_all();
	SPI_finish();
	PG_RETURN_INT32(covered);
}
