/*
 * reap.c
 *		The reaper: leases that nobody ended, and actions whose time is over.
 *
 * A lease that is lost while claimed makes its action claimable again; one
 * that is lost while sending makes it unknown, never pending. Called by the
 * lap; rows that somebody has locked are left for the next look, and so is
 * the row of journey.lease that has led to them.
 */
#include "deliver/outcome.h"

#include "executor/spi.h"
#include "utils/builtins.h"

#include "core/fault.h"

#define LEASES 200				/* at a time, each of a call's batch */

/* in a sender's hands, and rightly so */
#define IS_HELD "o.status IN ('claimed', 'sending') AND o.lease_until > $1"

JNY_LOOKUP(find_overdue, "outbox", "outbox_reap", "reap_at <=", "status, lease_until", NULL);
JNY_LOOKUP(find_leases, "lease", "lease_pkey", "until <=", "lease_id", NULL);
JNY_PLAN(overdue, "timestamptz, integer",
		 "SELECT " JNY_WORK_COLUMNS ", status FROM journey.outbox o WHERE o.reap_at <= $1 AND NOT (" IS_HELD ")"
		 " ORDER BY o.reap_at LIMIT $2 FOR UPDATE SKIP LOCKED");
JNY_PLAN(lost, "timestamptz, integer",
		 "SELECT " JNY_WORK_COLUMNS ", status FROM journey.outbox o"
		 " WHERE o.action_id = ANY (ARRAY(SELECT pg_catalog.unnest(l.actions) FROM (SELECT actions FROM journey.lease"
		 "   WHERE until <= $1 ORDER BY until, lease_id LIMIT $2) AS l))"
		 "  AND o.status IN ('claimed', 'sending') AND o.lease_until <= $1"
		 " ORDER BY o.action_id FOR UPDATE SKIP LOCKED");
/* what somebody has locked still stands as it did */
JNY_PLAN(forget_leases, "timestamptz, integer",
		 "DELETE FROM journey.lease l USING (SELECT until, lease_id FROM journey.lease"
		 "   WHERE until <= $1 ORDER BY until, lease_id LIMIT $2) AS d"
		 " WHERE l.until = d.until AND l.lease_id = d.lease_id AND NOT EXISTS (SELECT FROM journey.outbox o"
		 "   WHERE o.action_id = ANY (l.actions) AND o.status IN ('claimed', 'sending') AND o.lease_until <= $1)");

static bool
needs_a_look(const JnyRow *row, void *arg)
{
	bool		in_hands = jny_text_is(row, 0, "claimed") || jny_text_is(row, 0, "sending");

	return !in_hands || jny_row_time(row, 1) <= *(TimestampTz *) arg;
}

/* One probe says most of the time that there is nothing to do. */
static bool
is_any(JnyAccess *access, TimestampTz now, JnyWanted wanted)
{
	JnyCols    *key = jny_cols_of(access);

	jny_cols_set(key, 0, TimestampTzGetDatum(now));
	jny_cols_next(key);
	return jny_lookup_locked(access, key, true, 1, wanted, &now)->n > 0;
}

static void
reap(const JnyNode *node, List *works)
{
	List	   *again = NIL;
	List	   *gone = NIL;
	List	   *expired = NIL;
	ListCell   *lc;

	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);
		char	   *status = TextDatumGetCString(w->values[W_STATUS]);

		w->retry_at = node->now;
		if (strcmp(status, "sending") == 0)
			gone = lappend(gone, w);
		else if (w->not_after <= node->now)
		{
			w->reason = "expired";
			expired = lappend(expired, w);
		}
		else if (strcmp(status, "pending") != 0)	/* claimed, or unknown and to be tried again */
			again = lappend(again, w);
	}
	jny_plan_retries(again, "");
	if (gone != NIL)
		jny_to_unknown(jny_house_read(jny_work_channels(gone)), node, gone, "the lease ended without a word");
	jny_settle_final(expired, "expired", node->now, false);
	jny_outcome_append(expired, "action_expired");
}

void
jny_deliver_reap(const JnyNode *node, int limit)
{
	static TimestampTz last = 0;
	TimestampTz real = GetCurrentTimestamp();

	/* once a second is enough, and spares walking what an old snapshot keeps */
	if (!node->test && real - last < USECS_PER_SEC && real >= last)
		return;
	last = real;
	if (is_any(&find_overdue, node->now, needs_a_look))
	{
		jny_run(&overdue, (Datum[]) {TimestampTzGetDatum(node->now), Int32GetDatum(limit)}, NULL);
		reap(node, jny_work_read());
	}
	if (is_any(&find_leases, node->now, NULL))
	{
		Datum		args[] = {TimestampTzGetDatum(node->now), Int32GetDatum(LEASES)};

		jny_run(&lost, args, NULL);
		reap(node, jny_work_read());
		JNY_FAULT("reap_before_lease");
		jny_run(&forget_leases, args, NULL);
	}
}
