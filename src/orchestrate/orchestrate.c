/*
 * orchestrate.c
 *		The room's two phases in a lap: events, then timers.
 *
 * Called by worker/lap.c inside SPI_connect(), as journey_owner. Locks: rows
 * of its own tables, which the one consumer of the node alone changes; it
 * never waits for an outbox row. Errors abort the lap, which the worker then
 * takes apart until it has found the event or timer that fails.
 */
#include "orchestrate/orchestrate.h"

#include "executor/spi.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "orchestrate/engine.h"

static void
gather_people(JnyRun *run)
{
	JnyBatch   *batch = run->batch;

	for (int i = 0; i < batch->nevents; i++)
	{
		JnyEvent   *ev = &batch->events[i];

		jny_run_person(run, ev->profile);
		for (int k = 0; k < ev->nothers; k++)
			jny_run_person(run, ev->others[k]);
	}
}

/* Conditions on the state of people whom something happened to. */
static void
exits_by_state(JnyRun *run)
{
	HASH_SEQ_STATUS scan;
	JnyPerson  *person;
	ListCell   *lc;

	hash_seq_init(&scan, run->people);
	while ((person = hash_seq_search(&scan)) != NULL)
		foreach(lc, person->enrollments)
			(void) jny_exit_by_state(run, lfirst(lc));
}

static bool
has_state_exits(const JnyJourney *j, uint32 *parts)
{
	bool		some = false;

	for (int i = 0; i < j->nexits; i++)
	{
		char	   *error;
		JnyExpr    *expr;

		if (j->exits[i].ntypes > 0 || j->exits[i].when == NULL || !OidIsValid(j->owner))
			continue;
		some = true;
		expr = jny_expr_try(j->exits[i].when, j->owner, BOOLOID, &error);
		if (expr != NULL)
			*parts |= jny_expr_parts(expr);
	}
	return some;
}

/* What conditions on state read, for all live enrollments of the phase at once. */
static void
load_states(JnyRun *run)
{
	JnySubjectContext **subjects;
	HASH_SEQ_STATUS scan;
	JnyPerson  *person;
	ListCell   *lc;
	uint32		parts = 0;
	int			n = 0;
	int			max = 0;

	hash_seq_init(&scan, run->people);
	while ((person = hash_seq_search(&scan)) != NULL)
		max += list_length(person->enrollments);
	subjects = palloc(sizeof(JnySubjectContext *) * (max + 1));
	hash_seq_init(&scan, run->people);
	while ((person = hash_seq_search(&scan)) != NULL)
		foreach(lc, person->enrollments)
		{
			JnyEnrollment *e = lfirst(lc);

			if (e->exited_at != 0 || e->journey == NULL || !has_state_exits(e->journey, &parts))
				continue;
			jny_subject_at(run, &e->subject, NULL);
			subjects[n++] = &e->subject;
		}
	if (n > 0 && parts != 0)
		jny_subjects_load(subjects, n, parts);
}

void
jny_orchestrate_events(JnyBatch *batch)
{
	JnyRun	   *run;

	if (batch->nevents == 0 && batch->links == NIL && batch->moves == NIL && !jny_audiences_wait())
		return;
	run = jny_run_start(batch, false);
	gather_people(run);
	jny_load_enrollments(run);
	jny_load_objects(run);
	jny_load_linked(run);
	jny_load_orders(run);
	jny_load_days(run);
	jny_entry_prepare(run);
	jny_stage_objects(run);
	for (int i = 0; i < batch->nevents; i++)
	{
		const JnyEvent *ev = &batch->events[i];

		jny_suppress_event(run, ev);
		jny_event_apply(run, ev);
		/* whoever is on a journey goes on with it: what ends it or answers it comes once */
		if (batch->node.mode == JNY_MODE_OFF)
			continue;
		jny_stage_apply(run, ev);
		jny_entry_apply(run, ev);
	}
	jny_write_suppressions(run);
	jny_catch_up(run);
	jny_leave_audiences(run);
	load_states(run);
	exits_by_state(run);
	jny_decide_all(run);
	jny_write_all(run);
}

void
jny_orchestrate_timers(JnyBatch *batch, int limit)
{
	JnyRows    *timers = jny_due_timers(batch->node.now, limit);
	JnyRun	   *run;
	List	   *due;
	ListCell   *lc;

	if (timers->n == 0)
		return;
	run = jny_run_start(batch, false);
	due = jny_load_due(run, timers);
	if (due == NIL)
		return;
	load_states(run);
	foreach(lc, due)
	{
		JnyEnrollment *e = lfirst(lc);

		if (e->journey == NULL || e->step == JNY_EDGE_NONE)
			jny_end(run, e, "exited", "exit", "version_gone", run->now, NULL);
		else if (!jny_exit_by_state(run, e))
			jny_timer_fired(run, e, e->planned_at);
	}
	jny_decide_all(run);
	jny_write_all(run);
	batch->timers_left = list_length(due) >= limit ? 1 : 0;
}

JNY_PLAN(skip_timer, "timestamptz, text",
		 "WITH due AS MATERIALIZED ("
		 "  SELECT t.bucket, t.profile_id, t.enrollment_id FROM journey.timer t"
		 "  WHERE t.wake_at <= $1 ORDER BY t.wake_at, t.bucket, t.profile_id, t.enrollment_id LIMIT 1),"
		 " gone AS (DELETE FROM journey.timer t USING due d"
		 "  WHERE t.bucket = d.bucket AND t.profile_id = d.profile_id AND t.enrollment_id = d.enrollment_id"
		 "  RETURNING t.bucket, t.profile_id, t.enrollment_id),"
		 " ended AS (UPDATE journey.enrollment e SET status = 'exited', step = NULL, exited_at = $1, exit_reason = 'error',"
		 "   stepped_at = $1, wake_at = NULL, transitions = e.transitions + 1"
		 "  FROM journey.enrollment o, gone g"
		 "  WHERE e.bucket = g.bucket AND e.profile_id = g.profile_id AND e.enrollment_id = g.enrollment_id"
		 "   AND o.bucket = e.bucket AND o.profile_id = e.profile_id AND o.enrollment_id = e.enrollment_id"
		 "   AND e.exited_at IS NULL"
		 "  RETURNING e.bucket, e.profile_id, e.enrollment_id, e.transitions, o.step)"
		 " INSERT INTO journey.transition (bucket, profile_id, enrollment_id, n, from_step, to_step, edge, reason, at)"
		 " SELECT x.bucket, x.profile_id, x.enrollment_id, x.transitions, x.step, NULL, 'exit', $2, $1 FROM ended x");

/* The timer that is due first makes its lap fail: its enrollment ends, and says why. */
void
jny_orchestrate_skip_timer(JnyBatch *batch, const ErrorData *error)
{
	Datum		values[2] = {
		TimestampTzGetDatum(batch->node.now),
		CStringGetTextDatum(psprintf("error: %s", error->message ? error->message : "unknown"))
	};

	jny_run(&skip_timer, values, NULL);
}
