/*
 * adopt.c
 *		A new incarnation: from here on, stored transaction ids are of this
 *		cluster and database.
 *
 * Called by journey.adopt() as journey_owner. Locks the node row.
 */
#include "core/inbox.h"

#include "access/xlog.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "core/fault.h"

#include "worker/worker.h"

JNY_PLAN(new_incarnation, "text, text, text",
		 "INSERT INTO journey.incarnation (incarnation, system_identifier, database_oid, first_xid, site, adopted_at)"
		 " SELECT COALESCE(pg_catalog.max(i.incarnation), 0) + 1, $1, $2,"
		 "        pg_catalog.pg_current_xact_id(), $3, pg_catalog.clock_timestamp()"
		 " FROM journey.incarnation i RETURNING incarnation");
JNY_PLAN(arm_node, "integer, text, text, text",
		 "UPDATE journey.node SET incarnation = $1, system_identifier = $2, database_oid = $3, site = $4,"
		 " adopted_xid = NULL, mode = 'off', test_clock = NULL, changed_at = pg_catalog.clock_timestamp()");
/*
 * Inbox and cursor always travel together: a physical copy has both, a dump
 * neither. So a cursor that this cluster can have written is kept, or what it
 * has consumed would take effect twice. Any other gets a fresh start.
 */
#ifdef JOURNEY_BUG_DUMPED_CURSOR
/* whatever the cursor says, it is believed */
#define OURS(snapshot) "true"
#elif defined(JOURNEY_BUG_ADOPT_BY_OWN_ID)
/* a lap that began after this transaction is another cluster's */
#define OURS(snapshot) "pg_catalog.pg_snapshot_xmax(" snapshot ") <= pg_catalog.pg_current_xact_id()"
#else
#define OURS(snapshot) "pg_catalog.pg_snapshot_xmax(" snapshot ") <= pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())"
#endif
/* A lap may have moved it since this transaction began: it is compared with what a snapshot sees that is newer. */
JNY_PLAN(hold_cursor, "", "SELECT FROM journey.cursor FOR UPDATE");
JNY_PLAN(fresh_cursor, "integer",
		 "UPDATE journey.cursor SET incarnation = $1, moved_at = pg_catalog.clock_timestamp(),"
		 " previous = CASE WHEN " OURS("previous") " THEN previous ELSE pg_catalog.pg_snapshot '1:1:' END,"
		 " window_snapshot = CASE WHEN " OURS("window_snapshot") " THEN window_snapshot END,"
		 " window_seq = CASE WHEN " OURS("window_snapshot") " THEN window_seq ELSE 0 END");

/*
 * Laps and positions order what the data tables say; a dump brings those of
 * another cluster, and what happens here must stand behind all of them, or an
 * order would look older than the reminder that it ends. This reads the
 * tables whole, as the back-fill that follows does.
 */
JNY_PLAN(stand_behind, "",
		 "WITH known AS ("
		 "  SELECT max(lap) AS lap, max(seq) AS seq FROM journey.event"
		 "  UNION ALL SELECT max(lap), max(seq) FROM journey.suppression"
		 "  UNION ALL SELECT max(lap), max(entry_seq) FROM journey.enrollment"
		 "  UNION ALL SELECT max(decided_lap), max(decided_seq) FROM journey.outbox"
		 "  UNION ALL SELECT max(lap), NULL FROM journey.decision"
		 "  UNION ALL SELECT NULL, max(seq) FROM journey.orders"
		 "  UNION ALL SELECT NULL, max(seq) FROM journey.stage_transition"
		 "  UNION ALL SELECT lap, applied_seq FROM journey.cursor),"
		 " behind AS (SELECT max(lap) AS lap, max(seq) AS seq FROM known),"
		 " moved AS (UPDATE journey.cursor c SET lap = b.lap FROM behind b WHERE c.lap < b.lap)"
		 " SELECT pg_catalog.setval('journey.inbox_seq', (b.seq / " CppAsString2(JNY_SEQ_BLOCK) " + 1) * " CppAsString2(JNY_SEQ_BLOCK) ")"
		 " FROM behind b, journey.inbox_seq s WHERE b.seq >= s.last_value");

PG_FUNCTION_INFO_V1(journey_adopt);
PG_FUNCTION_INFO_V1(journey_nudge);

/* The launcher and the worker look again once this transaction has committed. */
Datum
journey_nudge(PG_FUNCTION_ARGS)
{
	jny_nudge_at_commit();
	PG_RETURN_VOID();
}

Datum
journey_adopt(PG_FUNCTION_ARGS)
{
	Datum		sysid = CStringGetTextDatum(psprintf(UINT64_FORMAT, GetSystemIdentifier()));
	Datum		dboid = CStringGetTextDatum(psprintf("%u", MyDatabaseId));
	Datum		site = CStringGetTextDatum(jny_site);
	Datum		first[] = {sysid, dboid, site};
	Datum		node[4];
	Datum		incarnation;

	SPI_connect();
	jny_run(&new_incarnation, first, NULL);
	incarnation = Int32GetDatum((int32) jny_get_int8(0, 1, 0));
	node[0] = incarnation;
	node[1] = sysid;
	node[2] = dboid;
	node[3] = site;
	jny_run(&arm_node, node, NULL);
	JNY_FAULT("adopt_before_cursor");
	jny_run(&hold_cursor, NULL, NULL);
	jny_run(&fresh_cursor, &incarnation, NULL);
	if (jny_run(&stand_behind, NULL, NULL) > 0)
		jny_renew_seq(get_relname_relid("inbox_seq", get_namespace_oid("journey", false)));
	SPI_finish();
	PG_RETURN_VOID();
}
