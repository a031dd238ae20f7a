/*
 * ddl_guard.c
 *		Commands that must know of journey: those that drop the extension, and
 *		commands on databases that an idle worker would block.
 *
 * A chained ProcessUtility hook, active in every backend when preloaded and
 * otherwise in backends that have called one of our functions.
 *
 * - Whatever drops the extension is refused while data tables or attachments
 *   exist, CASCADE included, unless journey.allow_drop_data is on.
 * - DROP, RENAME, SET TABLESPACE and use as TEMPLATE wait for other sessions
 *   of the database and signal none but autovacuum: the worker is stopped
 *   first, and let in again when the command is over.
 * - A command that brings a partition tells observe, which asks whether it
 *   is one of an attached table.
 * - Nobody but a superuser puts a trigger or rule on a table of ours, whatever
 *   was granted: it would run with the rights of journey_owner.
 * - Making, altering and dropping the extension nudge the launcher at commit.
 */
#include "worker/worker.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "core/shmem.h"
#include "observe/observe.h"

static ProcessUtility_hook_type prev_utility = NULL;
static bool nudge_at_commit = false;

static void
at_commit(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && nudge_at_commit)
		jny_nudge_launcher();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		nudge_at_commit = false;
}

void
jny_nudge_at_commit(void)
{
	nudge_at_commit = true;
}

/* ---- the data guard ---------------------------------------------------- */

/* The schema is looked up by its row: it may have gone already. */
static const char *const kept =
	"(SELECT 'table ' || t.tgrelid::pg_catalog.regclass || ' is attached' FROM pg_catalog.pg_trigger t"
	" JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
	" WHERE p.proname = '_capture' AND n.nspname = 'journey' LIMIT 1)"
	" UNION ALL "
	"(SELECT 'its data tables exist' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
	" WHERE n.nspname = 'journey' AND c.relkind IN ('r', 'p')"
	"   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
	"                   AND d.objid = c.oid AND d.deptype IN ('e', 'i')) LIMIT 1)";

/*
 * Raises an error when there are data or attachments, as everybody has
 * committed them and as they were before this command of ours: it may have
 * dropped them since.
 */
static void
refuse_drop(CommandId before)
{
	int			level;

	if (jny_allow_drop_data)
		return;
	PushCopiedSnapshot(GetLatestSnapshot());
	GetActiveSnapshot()->curcid = before;
	level = jny_pin_path();
	SPI_connect();
	if (SPI_execute(kept, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for data of journey");
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop extension journey: %s", jny_get_text(0, 1)),
				 errdetail("Dropping the extension would take customers' data or the shop's triggers with it."),
				 errhint("Run journey.detach() for each attached table, then journey.uninstall('drop all journey data'), then DROP EXTENSION.")));
	SPI_finish();
	jny_unpin(level);
	PopActiveSnapshot();
}

static bool
drops_us(Node *stmt)
{
	ListCell   *lc;

	if (!IsA(stmt, DropStmt) || ((DropStmt *) stmt)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(lc, ((DropStmt *) stmt)->objects)
		if (strcmp(strVal(lfirst(lc)), "journey") == 0)
			return true;
	return false;
}

/* ---- commands on databases --------------------------------------------- */

static Oid
template_of(CreatedbStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->options)
	{
		DefElem    *opt = lfirst(lc);

		if (strcmp(opt->defname, "template") == 0 && opt->arg != NULL)
			return get_database_oid(defGetString(opt), true);
	}
	return InvalidOid;
}

static bool
may_create(void)
{
	HeapTuple	role;
	bool		may = superuser();

	if (!may && HeapTupleIsValid(role = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()))))
	{
		may = ((Form_pg_authid) GETSTRUCT(role))->rolcreatedb;
		ReleaseSysCache(role);
	}
	return may;
}

static bool
is_template(Oid dboid)
{
	HeapTuple	db = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	bool		is = HeapTupleIsValid(db) && ((Form_pg_database) GETSTRUCT(db))->datistemplate;

	if (HeapTupleIsValid(db))
		ReleaseSysCache(db);
	return is;
}

/*
 * The database that the command needs empty of sessions; none when its caller
 * may not run it: what is refused stops no worker.
 */
static Oid
database_of(Node *stmt)
{
	Oid			dboid = InvalidOid;
	bool		may = true;

	switch (nodeTag(stmt))
	{
		case T_DropdbStmt:
			dboid = get_database_oid(((DropdbStmt *) stmt)->dbname, true);
			break;
		case T_AlterDatabaseStmt:
			dboid = get_database_oid(((AlterDatabaseStmt *) stmt)->dbname, true);
			break;
		case T_RenameStmt:
			if (((RenameStmt *) stmt)->renameType == OBJECT_DATABASE)
				dboid = get_database_oid(((RenameStmt *) stmt)->subname, true);
			may = OidIsValid(dboid) && may_create();
			break;
		case T_CreatedbStmt:
			dboid = template_of((CreatedbStmt *) stmt);
			may = OidIsValid(dboid) && may_create();
			if (may && is_template(dboid))
				return dboid;
			break;
		default:
			break;
	}
	return OidIsValid(dboid) && may && jny_owns_database(dboid, GetUserId()) ? dboid : InvalidOid;
}

/* Counts us among those who keep the database's worker out; NULL = no database, or it has no slot, and so no worker. */
static JnyDatabase *
keep_out(Oid dboid)
{
	JnyDatabase *db;

	if (!OidIsValid(dboid))
		return NULL;
	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	db = jny_shared_make(dboid, DT_NOEND);
	if (db != NULL)
		db->stoppers++;
	LWLockRelease(jny_shared->lock);
	return db;
}

/* Also when the session ends within the command. */
static void
let_in(int code, Datum arg)
{
	JnyDatabase *db = (JnyDatabase *) DatumGetPointer(arg);

	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	db->stoppers--;
	db->nudged = true;
	if (jny_shared->launcher_latch != NULL)
		SetLatch(jny_shared->launcher_latch);
	LWLockRelease(jny_shared->lock);
}

/* Until the worker has gone, or five seconds have: then the command says who is there. */
static void
wait_until_gone(JnyDatabase *db)
{
	pid_t		pid = -1;

	for (int tries = 0; pid != 0 && tries < 500; tries++)
	{
		LWLockAcquire(jny_shared->lock, LW_SHARED);
		pid = db->pid;
		/* a worker that is being started sees that it must go at its first lap */
		if (pid == 0 && db->state == JNY_WORKER_STARTING && tries < 100)
			pid = -1;
		if (db->latch != NULL)
			SetLatch(db->latch);
		LWLockRelease(jny_shared->lock);
		if (pid != 0)
		{
			CHECK_FOR_INTERRUPTS();
			pg_usleep(10000L);
		}
	}
}

static void
next_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			 ProcessUtilityContext context, ParamListInfo params,
			 QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	if (prev_utility)
		prev_utility(pstmt, query, read_only_tree, context, params, env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, env, dest, qc);
}

static bool
names_us(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CreateExtensionStmt:
			return strcmp(((CreateExtensionStmt *) stmt)->extname, "journey") == 0;
		case T_AlterExtensionStmt:
			return strcmp(((AlterExtensionStmt *) stmt)->extname, "journey") == 0;
		default:
			return false;
	}
}

static bool
brings_partition(Node *stmt)
{
	ListCell   *lc;

	if (IsA(stmt, CreateStmt))
		return ((CreateStmt *) stmt)->partbound != NULL;
	if (!IsA(stmt, AlterTableStmt))
		return false;
	foreach(lc, ((AlterTableStmt *) stmt)->cmds)
		if (lfirst_node(AlterTableCmd, lc)->subtype == AT_AttachPartition)
			return true;
	return false;
}

/*
 * What names us is refused before it locks anything. What takes us along
 * without naming us (CASCADE from the language, DROP OWNED) is seen
 * afterwards, and undone by the error.
 */
static void
guard_drop(PlannedStmt *pstmt, const char *query, bool read_only_tree,
		   ProcessUtilityContext context, ParamListInfo params,
		   QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	Oid			extension = get_extension_oid("journey", true);
	CommandId	before = GetCurrentCommandId(false);

	if (OidIsValid(extension) && drops_us(pstmt->utilityStmt))
		refuse_drop(before);
	next_utility(pstmt, query, read_only_tree, context, params, env, dest, qc);
	if (OidIsValid(extension) && !OidIsValid(get_extension_oid("journey", true)))
	{
		refuse_drop(before);
		nudge_at_commit = true;
	}
}

static void
guard_database(JnyDatabase *stopped, PlannedStmt *pstmt, const char *query, bool read_only_tree,
			   ProcessUtilityContext context, ParamListInfo params,
			   QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	PG_ENSURE_ERROR_CLEANUP(let_in, PointerGetDatum(stopped));
	{
		wait_until_gone(stopped);
		next_utility(pstmt, query, read_only_tree, context, params, env, dest, qc);
	}
	PG_END_ENSURE_ERROR_CLEANUP(let_in, PointerGetDatum(stopped));
	let_in(0, PointerGetDatum(stopped));
}

static void
refuse_trigger(Node *stmt)
{
	const RangeVar *on = IsA(stmt, CreateTrigStmt) ? ((CreateTrigStmt *) stmt)->relation : ((RuleStmt *) stmt)->relation;
	Oid			relid = RangeVarGetRelid(on, NoLock, true);

	if (!OidIsValid(relid) || get_rel_namespace(relid) != get_namespace_oid("journey", true) ||
		superuser() || GetUserId() == jny_owner_oid(true))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("no trigger or rule of others may be put on journey.%s", on->relname),
			 errdetail("It would run with the rights of journey_owner."),
			 errhint("Read journey's views instead; and REVOKE TRIGGER on the tables of the schema journey.")));
}

static void
guard_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *stmt = pstmt->utilityStmt;
	JnyDatabase *stopped = NULL;
	bool		partition;

	if (IsA(stmt, DropStmt) || IsA(stmt, DropOwnedStmt))
	{
		guard_drop(pstmt, query, read_only_tree, context, params, env, dest, qc);
		return;
	}
	if (IsA(stmt, CreateTrigStmt) || IsA(stmt, RuleStmt))
		refuse_trigger(stmt);
	else if (names_us(stmt))
		nudge_at_commit = true;
	else if (jny_shared != NULL && IsTransactionState())
		stopped = keep_out(database_of(stmt));
	if (stopped != NULL)
	{
		guard_database(stopped, pstmt, query, read_only_tree, context, params, env, dest, qc);
		return;
	}
	partition = brings_partition(stmt);
	next_utility(pstmt, query, read_only_tree, context, params, env, dest, qc);
	if (partition)
		jny_leaves_note();
}

void
jny_ddl_guard_init(void)
{
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = guard_utility;
	RegisterXactCallback(at_commit, NULL);
}
