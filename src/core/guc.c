/*
 * guc.c
 *		Every setting of journey, with its unit, range and default.
 *
 * Called once from _PG_init. None is PGC_POSTMASTER: the library may be
 * loaded by the first function call of a running backend, where such a
 * setting would end the session.
 */
#include "core/core.h"

#include <limits.h>

#include "utils/guc.h"

#include "core/fault.h"

char	   *jny_site = NULL;
bool		jny_worker_enabled = true;
int			jny_naptime_ms = 1000;
int			jny_batch_events = 5000;
int			jny_batch_timers = 1000;
int			jny_lap_timeout_ms = 60000;
int			jny_max_permit_lag_ms = 5000;
int			jny_max_fences = 5000;
int			jny_max_event_age_s = 7 * 86400;
int			jny_rotate_interval_ms = 30000;
int			jny_rotate_size_kb = 65536;
int			jny_rule_cache_kb = 16384;
int			jny_max_value_bytes = 65536;
bool		jny_allow_in_transaction = false;
bool		jny_allow_drop_data = false;
bool		jny_outbox_events = false;
bool		jny_direct_access = true;

static void
define_int(const char *name, const char *what, const char *more, int *var,
		   int min, int max, GucContext context, int flags)
{
	DefineCustomIntVariable(name, what, more, var, *var, min, max, context,
							flags, NULL, NULL, NULL);
}

/* Read by SQL alone: sql/worker/50_retention.sql. */
static void
define_retention(void)
{
	static int	dedupe_window_s = 30 * 86400;
	static int	event_s = 0;
	static int	decision_s = 0;
	static int	outbox_event_s = 7 * 86400;

	define_int("journey.dedupe_window", "How long a (source, message id) pair is remembered.",
			   "To the hour: at least so long.",
			   &dedupe_window_s, 60, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("journey.event_retention", "How long events and what was set aside of them are kept; 0 = for ever.",
			   "By whole days, and by journey.maintain() or the worker. Features that count longer than that are wrong once they are counted anew.",
			   &event_s, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("journey.decision_retention", "How long decisions, final actions and their permits are kept; 0 = for ever.",
			   "By whole days, and by journey.maintain() or the worker. Permits are kept for as long as the longest cap looks back.",
			   &decision_s, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_int("journey.outbox_event_retention", "How long rows of outbox_event are kept; 0 = for ever.",
			   "To the hour. Whoever reads them from the log of the database needs none of them.",
			   &outbox_event_s, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
}

void
jny_guc_init(void)
{
	/* not by ALTER SYSTEM: its file is in the data directory, and a copy of that must not be live */
	DefineCustomStringVariable("journey.site",
							   "Name of the site that this server may speak for.",
							   "The second of the two keys that let a database contact customers. It belongs in the server's configuration, outside the data directory; empty keeps every database silent.",
							   &jny_site, "", PGC_SIGHUP, GUC_DISALLOW_IN_AUTO_FILE, NULL, NULL, NULL);
	DefineCustomBoolVariable("journey.worker",
							 "Starts a background worker in each database where journey is installed.",
							 "Needs journey in shared_preload_libraries; without it journey.run_once() does the same work.",
							 &jny_worker_enabled, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	define_int("journey.naptime", "How long the worker sleeps after a lap when nothing wakes it.",
			   "A commit with new events wakes the worker at once. When nobody has committed anything for a second, it makes no further lap until somebody does or something is due.",
			   &jny_naptime_ms, 10, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("journey.batch_events", "Most events that one lap takes in.", NULL,
			   &jny_batch_events, 1, 1000000, PGC_SIGHUP, 0);
	define_int("journey.batch_timers", "Most due timers that one lap wakes.", NULL,
			   &jny_batch_timers, 1, 1000000, PGC_SIGHUP, 0);
	define_int("journey.lap_timeout", "Longest that one lap may run before it is cancelled and split.", NULL,
			   &jny_lap_timeout_ms, 100, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("journey.max_permit_lag", "Longest that unconsumed events may wait before permits that an event could end answer stale_data.", NULL,
			   &jny_max_permit_lag_ms, 100, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("journey.max_fences", "Most unconsumed fenced events that a permit reads before it answers stale_data.", NULL,
			   &jny_max_fences, 100, 10000000, PGC_SIGHUP, 0);
	define_int("journey.max_event_age", "Events older than this update state but never enroll anyone.", NULL,
			   &jny_max_event_age_s, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_S);
	define_retention();
	define_int("journey.rotate_interval", "Shortest time between two rotations of the inbox.", NULL,
			   &jny_rotate_interval_ms, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("journey.rotate_size", "Size of an inbox generation that makes the worker rotate before the interval is over.", NULL,
			   &jny_rotate_size_kb, 64, INT_MAX, PGC_SIGHUP, GUC_UNIT_KB);
	define_int("journey.rule_cache", "Memory that one backend may hold in compiled rule expressions.", NULL,
			   &jny_rule_cache_kb, 64, INT_MAX, PGC_SIGHUP, GUC_UNIT_KB);
	define_int("journey.max_value", "Longest column value that the capture trigger stores; longer ones are cut and flagged.", NULL,
			   &jny_max_value_bytes, 64, 1024 * 1024 * 64, PGC_SUSET, GUC_UNIT_BYTE);
	DefineCustomBoolVariable("journey.allow_in_transaction",
							 "Lets begin_send, and claim where there is a rate, run inside a transaction block.",
							 "A permit counts once committed; a sender that turns this on must not send before its COMMIT has returned.",
							 &jny_allow_in_transaction, false, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("journey.outbox_events",
							 "Writes what becomes of actions into journey.outbox_event, for change data capture.", NULL,
							 &jny_outbox_events, false, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("journey.allow_drop_data",
							 "Lets DROP EXTENSION journey CASCADE take the data tables with it.", NULL,
							 &jny_allow_drop_data, false, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("journey.direct_access",
							 "Reaches the data tables of journey by heap and index instead of by SQL statements.",
							 "Off gives the same rows, more slowly; for tests and for finding faults.",
							 &jny_direct_access, true, PGC_SUSET, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	jny_fault_init();
	MarkGUCPrefixReserved("journey");
}
