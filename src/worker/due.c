/*
 * due.c
 *		When the clock next gives a lap something to do.
 *
 * Called by a worker that is about to rest, at the end of its lap's work and
 * as journey_owner. Everything else that a lap does follows from a commit,
 * and those are counted (jny_commits_of_others()). A lap that looks at a
 * moment of its own has its index here, or the worker sleeps through it.
 * Reads one index entry per table; no locks.
 */
#include "worker/worker.h"

#include "core/table.h"

#include "observe/observe.h"

JNY_LOOKUP(first_timer, "timer", "timer_due", "", "wake_at", NULL);
JNY_LOOKUP(first_overdue, "outbox", "outbox_reap", "", "reap_at", NULL);
JNY_LOOKUP(first_lease, "lease", "lease_pkey", "", "until", NULL);
JNY_LOOKUP(first_merge, "merge_wish", "merge_wish_due", "", "try_at", NULL);
JNY_LOOKUP(first_asked, "person_wish", "person_wish_due", "", "try_at", NULL);
JNY_LOOKUP(first_early, "early_message", "early_message_look", "", "look_at", NULL);

static JnyAccess *const moments[] = {
	&first_overdue, &first_lease, &first_merge, &first_asked, &first_early, &first_timer
};

static TimestampTz
first_of(JnyAccess *access)
{
	JnyCols    *all = jny_cols_of(access);
	JnyRows    *rows;

	jny_cols_next(all);
	rows = jny_lookup_at(access, all, NULL, 1);
	return rows->n == 0 || rows->row[0].nulls[0] ? DT_NOEND : jny_row_time(&rows->row[0], 0);
}

TimestampTz
jny_lap_due(const JnyNode *node)
{
	TimestampTz due = DT_NOEND;
	/* timers stand still while nothing may be done; they come last */
	int			n = (int) lengthof(moments) - (node->mode == JNY_MODE_OFF ? 1 : 0);

	if (!node->adopted)
		return DT_NOEND;
	/* tables that are read in portions, or wait for a lock that no commit releases */
	if (jny_history_waits() || jny_count_waits() || jny_attachments_touched())
		return DT_NOBEGIN;
	for (int i = 0; i < n; i++)
		due = Min(due, first_of(moments[i]));
	/* the test clock stands until a commit moves it, and is not the worker's: what is due by it is due at once */
	if (node->test)
		return due > node->now ? DT_NOEND : DT_NOBEGIN;
	return due;
}
