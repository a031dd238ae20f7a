/*
 * node.c
 *		Who this database is, what it may do, and what time it is.
 *
 * One row, journey.node, not dumped, is the first key: it names the cluster
 * and database that were adopted. The setting journey.site, which lives in
 * the server's configuration, is the second. A copy of the data carries at
 * most one of them and stays silent. So does a library whose tables are of
 * another version than itself, until journey.migrate().
 *
 * Reads only. No locks.
 */
#include "core/core.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "core/snap.h"
#include "core/table.h"

void		(*jny_wake_worker_hook) (void) = NULL;

JNY_LOOKUP(read_node, "node", "node_pkey", "one",
		   "mode, incarnation, system_identifier, database_oid, site, test_clock, adopted_xid", NULL);
JNY_LOOKUP(held_history, "backfill", "backfill_holds", "", "attachment", "t.holds_permits");
JNY_LOOKUP(read_versions, "schema_version", "schema_version_pkey", "", "version, installed_at", NULL);
JNY_LOOKUP(read_cursor, "cursor", "cursor_pkey", "one", "previous", NULL);

static JnyMode
mode_of(const char *name)
{
	if (strcmp(name, "live") == 0)
		return JNY_MODE_LIVE;
	if (strcmp(name, "sandbox") == 0)
		return JNY_MODE_SANDBOX;
	if (strcmp(name, "test") == 0)
		return JNY_MODE_TEST;
	return JNY_MODE_OFF;
}

const char *
jny_mode_name(JnyMode mode)
{
	static const char *const names[] = {"off", "test", "sandbox", "live"};

	return names[mode];
}

/* How often relations have changed since this backend began, as far as it knows. */
static uint64 changes = 1;

static void
relation_changed(Datum arg, Oid relid)
{
	changes++;
}

/*
 * Are the data tables those that this library works with? A yes holds until
 * some relation changes: nothing makes tables of another version without that.
 */
static bool
tables_fit(void)
{
	static bool registered = false;
	static uint64 fitted = 0;
	uint64		seen = changes;
	const JnyRow *last = NULL;
	JnyCols    *all;
	JnyRows    *rows;

	if (fitted == seen)
		return true;
	if (!registered)
		jny_watch_relations(relation_changed);
	registered = true;
	all = jny_cols_of(&read_versions);
	jny_cols_next(all);
	rows = jny_lookup(&read_versions, all);
	for (int i = 0; i < rows->n; i++)
		if (last == NULL || jny_row_time(&rows->row[i], 1) > jny_row_time(last, 1))
			last = &rows->row[i];
	if (last == NULL || strcmp(jny_row_text(last, 0), JNY_VERSION) != 0)
		return false;
	fitted = seen;
	return true;
}

/* The two keys, tried one after the other; the first that fails is the reason. */
static void
try_keys(JnyNode *node, const char *sysid, const char *dboid, const char *site)
{
	if (!node->installed)
		node->why_off = "not installed";
	else if (node->incarnation == 0)
		node->why_off = "not adopted";
	else if (strcmp(sysid, psprintf(UINT64_FORMAT, GetSystemIdentifier())) != 0)
		node->why_off = "this is another cluster than the one adopted";
	else if (strcmp(dboid, psprintf("%u", MyDatabaseId)) != 0)
		node->why_off = "this is another database than the one adopted";
	else if (site[0] != '\0' && strcmp(site, jny_site) != 0)
		node->why_off = "journey.site is not the adopted site";
	else if (!tables_fit())
		node->why_off = "the data tables are not of version " JNY_VERSION ", which the library is";
	else
		node->adopted = true;
	if (!node->adopted || (node->mode == JNY_MODE_LIVE && jny_site[0] == '\0'))
		node->mode = JNY_MODE_OFF;
}

static JnyRows *
the_row(JnyAccess *access)
{
	JnyCols    *one = jny_cols_of(access);

	jny_cols_set(one, 0, BoolGetDatum(true));
	jny_cols_next(one);
	return jny_lookup(access, one);
}

/*
 * Has the cursor not yet passed the adopt() that read the shop's tables? Once
 * it has, it has for good; what this transaction has written itself may yet be
 * rolled back.
 */
static bool
is_draining(uint64 adopted_xid)
{
	static uint64 passed = 0;
	JnyRows    *cursor;
	JnySnap		previous;

	if (adopted_xid == passed)
		return false;
	cursor = the_row(&read_cursor);
	if (cursor->n == 0 || cursor->row[0].nulls[0])
		return false;
	previous = jny_snap_parse(jny_snap_text(cursor->row[0].values[0]));
	if (!jny_snap_sees(&previous, adopted_xid))
		return true;
	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		passed = adopted_xid;
	return false;
}

/* Are rows that an attached table had still to be read and consumed, and could end something? */
static bool
is_reading_history(void)
{
	JnyCols    *any = jny_cols_of(&held_history);

	jny_cols_next(any);
	return jny_lookup_at(&held_history, any, NULL, 1)->n > 0;
}

void
jny_node_read(JnyNode *node)
{
	/* first: whoever reads the rest at once notes his transaction in the node */
	bool		reading = is_reading_history();
	JnyRows    *rows = the_row(&read_node);
	const JnyRow *row = rows->row;

	memset(node, 0, sizeof(*node));
	node->now = GetCurrentTimestamp();
	if (rows->n != 1)
	{
		node->why_off = "not installed";
		return;
	}
	node->mode = mode_of(jny_row_text(row, 0));
	node->incarnation = (int) jny_row_int(rows, 0, 1, 0);
	node->installed = OidIsValid(get_relname_relid("schema_version", get_namespace_oid("journey", false)));
	node->draining = reading || (!row->nulls[6] && is_draining(DatumGetUInt64(row->values[6])));
	if (!row->nulls[5])
	{
		node->now = DatumGetTimestampTz(row->values[5]);
		node->test = true;
	}
	try_keys(node, jny_row_text(row, 2), jny_row_text(row, 3), jny_row_text(row, 4));
}

void
jny_require_primary(const char *what)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("%s runs on the primary only", what),
				 errhint("Connect to the primary server.")));
}

TimestampTz
jny_now(void)
{
	JnyNode		node;

	jny_node_read(&node);
	return node.now;
}

Oid
jny_owner_oid(bool missing_ok)
{
	return get_role_oid("journey_owner", missing_ok);
}

PG_FUNCTION_INFO_V1(journey_clock);
PG_FUNCTION_INFO_V1(journey_mode);
PG_FUNCTION_INFO_V1(journey_node_state);

Datum
journey_clock(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(jny_now());
}

Datum
journey_mode(PG_FUNCTION_ARGS)
{
	JnyNode		node;

	jny_node_read(&node);
	PG_RETURN_TEXT_P(cstring_to_text(jny_mode_name(node.mode)));
}

/* adopted, and when not: why */
Datum
journey_node_state(PG_FUNCTION_ARGS)
{
	JnyNode		node;

	jny_node_read(&node);
	PG_RETURN_TEXT_P(cstring_to_text(node.adopted ? "adopted" : node.why_off));
}
