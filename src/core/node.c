/*
 * node.c
 *		Who this database is, what it may do, and what time it is.
 *
 * One row, journey.node, not dumped, is the first key: it names the cluster
 * and database that were adopted. The setting journey.site, which lives in
 * the server's configuration, is the second. A copy of the data carries at
 * most one of them and stays silent.
 *
 * Reads only, through SPI, with the caller's snapshot. No locks.
 */
#include "core/core.h"

#include "access/xlog.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

void		(*jny_wake_worker_hook) (void) = NULL;

JNY_PLAN(read_node, "",
		 "SELECT n.mode, n.incarnation, n.system_identifier, n.database_oid, n.site, n.test_clock,"
		 " pg_catalog.to_regclass('journey.schema_version') IS NOT NULL,"
		 " NOT pg_catalog.pg_visible_in_snapshot(n.adopted_xid, c.previous)"
		 " FROM journey.node n, journey.cursor c");

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
	else
		node->adopted = true;
	if (!node->adopted || (node->mode == JNY_MODE_LIVE && jny_site[0] == '\0'))
		node->mode = JNY_MODE_OFF;
}

void
jny_node_read(JnyNode *node)
{
	bool		isnull;
	Datum		clock;

	memset(node, 0, sizeof(*node));
	node->now = GetCurrentTimestamp();
	SPI_connect();
	if (jny_run(&read_node, NULL, NULL) != 1)
		node->why_off = "not installed";
	else
	{
		node->mode = mode_of(jny_get_text(0, 1));
		node->incarnation = (int) jny_get_int8(0, 2, 0);
		node->installed = jny_get_int8(0, 7, 0) != 0;
		node->draining = jny_get_int8(0, 8, 0) != 0;
		clock = jny_get(0, 6, &isnull);
		if (!isnull)
		{
			node->now = DatumGetTimestampTz(clock);
			node->test = true;
		}
		try_keys(node, jny_get_text(0, 3), jny_get_text(0, 4), jny_get_text(0, 5));
	}
	SPI_finish();
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
