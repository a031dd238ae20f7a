/*
 * ddl_guard.c
 *		Commands that must know of journey: DROP EXTENSION ... CASCADE, and
 *		commands on databases that an idle worker would block.
 *
 * A chained ProcessUtility hook, active in every backend when preloaded and
 * otherwise in backends that have called one of our functions.
 *
 * - DROP EXTENSION journey is refused while data tables or attachments
 *   exist, CASCADE included, unless journey.allow_drop_data is on.
 * - DROP, RENAME, SET TABLESPACE and use as TEMPLATE wait for other sessions
 *   of the database and signal none but autovacuum: the worker is stopped
 *   first, and let in again when the command is over.
 * - A command that brings a partition tells observe, which asks whether it
 *   is one of an attached table.
 * - CREATE, ALTER and DROP EXTENSION journey nudge the launcher at commit.
 */
#include "worker/worker.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/procarray.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"

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

JNY_PLAN(data_tables, "",
		 "SELECT count(*) FROM pg_catalog.pg_class c"
		 " WHERE c.relnamespace = 'journey'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p')"
		 "   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
		 "                   AND d.objid = c.oid AND d.deptype IN ('e', 'i'))");
JNY_PLAN(capture_triggers, "",
		 "SELECT t.tgrelid::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_trigger t"
		 " JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid"
		 " WHERE p.proname = '_capture' AND p.pronamespace = 'journey'::pg_catalog.regnamespace LIMIT 1");

static void
refuse_drop(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot drop extension journey: %s", what),
			 errdetail("Dropping the extension would take customers' data or the shop's triggers with it."),
			 errhint("Run journey.detach() for each attached table, then journey.uninstall('drop all journey data'), then DROP EXTENSION.")));
}

static void
guard_drop(DropStmt *stmt)
{
	ListCell   *lc;
	bool		ours = false;

	if (stmt->removeType != OBJECT_EXTENSION)
		return;
	foreach(lc, stmt->objects)
		if (strcmp(strVal(lfirst(lc)), "journey") == 0)
			ours = true;
	if (!ours || !OidIsValid(get_extension_oid("journey", true)))
		return;
	nudge_at_commit = true;
	if (jny_allow_drop_data)
		return;
	SPI_connect();
	if (jny_run(&capture_triggers, NULL, NULL) > 0)
		refuse_drop(psprintf("table %s is attached", jny_get_text(0, 1)));
	if (jny_run(&data_tables, NULL, NULL) > 0 && jny_get_int8(0, 1, 0) > 0)
		refuse_drop("its data tables exist");
	SPI_finish();
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

/* The database that the command, if its caller may run it, needs empty of sessions. */
static Oid
database_of(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_DropdbStmt:
			return get_database_oid(((DropdbStmt *) stmt)->dbname, true);
		case T_CreatedbStmt:
			return template_of((CreatedbStmt *) stmt);
		case T_AlterDatabaseStmt:
			return get_database_oid(((AlterDatabaseStmt *) stmt)->dbname, true);
		case T_RenameStmt:
			if (((RenameStmt *) stmt)->renameType == OBJECT_DATABASE)
				return get_database_oid(((RenameStmt *) stmt)->subname, true);
			return InvalidOid;
		default:
			return InvalidOid;
	}
}

void
jny_worker_stop(Oid dboid)
{
	pid_t		pid = -1;

	for (int tries = 0; pid != 0 && tries < 500; tries++)
	{
		JnyDatabase *db;

		LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
		db = jny_shared_database(dboid, true);
		pid = db ? db->pid : 0;
		if (db != NULL)
		{
			/* a worker that is being started sees the flag at its first lap */
			if (pid == 0 && db->state == JNY_WORKER_STARTING && tries < 100)
				pid = -1;
			db->stop = true;
			if (db->latch != NULL)
				SetLatch(db->latch);
		}
		LWLockRelease(jny_shared->lock);
		if (pid != 0)
		{
			CHECK_FOR_INTERRUPTS();
			pg_usleep(10000L);
		}
	}
}

void
jny_worker_release(Oid dboid)
{
	JnyDatabase *db;

	LWLockAcquire(jny_shared->lock, LW_EXCLUSIVE);
	db = jny_shared_database(dboid, false);
	if (db != NULL)
	{
		db->stop = false;
		db->nudged = true;
	}
	if (jny_shared->launcher_latch != NULL)
		SetLatch(jny_shared->launcher_latch);
	LWLockRelease(jny_shared->lock);
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

static void
guard_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *stmt = pstmt->utilityStmt;
	volatile Oid dboid = InvalidOid;

	if (IsA(stmt, DropStmt))
		guard_drop((DropStmt *) stmt);
	else if (names_us(stmt))
		nudge_at_commit = true;
	else if (jny_shared != NULL && IsTransactionState())
	{
		dboid = database_of(stmt);
		if (OidIsValid(dboid) && !IsA(stmt, CreatedbStmt) && !jny_owns_database(dboid, GetUserId()))
			dboid = InvalidOid;
	}

	if (!OidIsValid(dboid))
	{
		bool		partition = brings_partition(stmt);

		next_utility(pstmt, query, read_only_tree, context, params, env, dest, qc);
		if (partition)
			jny_leaves_note();
		return;
	}
	jny_worker_stop(dboid);
	PG_TRY();
	{
		next_utility(pstmt, query, read_only_tree, context, params, env, dest, qc);
	}
	PG_FINALLY();
	{
		jny_worker_release(dboid);
	}
	PG_END_TRY();
}

void
jny_ddl_guard_init(void)
{
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = guard_utility;
	RegisterXactCallback(at_commit, NULL);
}
