/*
 * advance.c
 *		The state machine: from one step to the next, with its transition, its
 *		timer and its end.
 *
 * Called by event.c, entry.c, decide.c and when timers fire. Memory only; a
 * send is put on run->pending and decided when the phase has seen everything.
 * Every move writes exactly one transition, so the chain has no gap.
 */
#include "orchestrate/engine.h"

#include "utils/builtins.h"

/* Steps that one enrollment may enter in one phase: a document that runs in circles ends here. */
#define MAX_HOPS 64

void
jny_touch(JnyRun *run, JnyEnrollment *e)
{
	if (e->dirty)
		return;
	e->dirty = true;
	run->touched = lappend(run->touched, e);
}

static const char *
step_name(const JnyEnrollment *e, int step)
{
	return step == JNY_EDGE_NONE ? NULL : e->journey->steps[step].name;
}

static void
transition(JnyRun *run, JnyEnrollment *e, const char *to, const char *edge, const char *reason,
		   TimestampTz at, const JnyEvent *event)
{
	JnyCols    *c = jny_rows(run, JNY_ROWS_TRANSITIONS);
	JnyProfile *profile = e->person->profile;

	jny_cols_set(c, 0, Int16GetDatum(profile->bucket));
	jny_cols_set(c, 1, UUIDPGetDatum(&profile->id));
	jny_cols_set(c, 2, UUIDPGetDatum(&e->id));
	jny_cols_set(c, 3, Int32GetDatum(++e->transitions));
	jny_cols_text(c, 4, step_name(e, e->step));
	jny_cols_text(c, 5, to);
	jny_cols_text(c, 6, edge);
	jny_cols_text(c, 7, reason);
	jny_cols_set(c, 8, TimestampTzGetDatum(at));
	if (event != NULL && !event->is_action)
		jny_cols_set(c, 9, UUIDPGetDatum(&event->event_id));
	jny_cols_next(c);
	e->cause = event;
	jny_touch(run, e);
	if (run->preview)
	{
		JnyPathRow *row = palloc0(sizeof(JnyPathRow));

		row->at = at;
		row->step = to ? to : "(end)";
		row->what = edge;
		row->reason = reason;
		run->path = lappend(run->path, row);
	}
}

void
jny_set_timer(JnyRun *run, JnyEnrollment *e, TimestampTz wake_at, TimestampTz planned_at)
{
	e->wake_at = wake_at;
	e->planned_at = planned_at;
	e->timer_dirty = true;
	jny_touch(run, e);
}

static void
clear_timer(JnyRun *run, JnyEnrollment *e)
{
	if (e->wake_at != 0)
		jny_set_timer(run, e, 0, e->planned_at);
}

/* Merges {"remind": json} into what the steps left behind. */
void
jny_note_step(JnyRun *run, JnyEnrollment *e, const char *step, const char *json)
{
	Jsonb	   *old = jny_json_object(e->steps, step);
	Jsonb	   *note = jny_json_parse(json);
	JsonbParseState *state = NULL;

	if (old != NULL)
		note = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(old), JsonbPGetDatum(note)));
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jny_json_put(&state, step, note);
	note = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	e->steps = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(e->steps), JsonbPGetDatum(note)));
	e->subject.steps = e->steps;
	jny_touch(run, e);
}

/* What an earlier visit of the step left behind says nothing about this one. */
static void
forget_step(JnyEnrollment *e, const char *step)
{
	if (jny_json_object(e->steps, step) == NULL)
		return;
	e->steps = DatumGetJsonbP(DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(e->steps), CStringGetTextDatum(step)));
	e->subject.steps = e->steps;
}

void
jny_end(JnyRun *run, JnyEnrollment *e, const char *status, const char *edge,
		const char *reason, TimestampTz at, const JnyEvent *event)
{
	if (e->exited_at != 0)
		return;
	transition(run, e, NULL, edge, reason, at, event);
	clear_timer(run, e);
	e->step = JNY_EDGE_NONE;
	e->pending = false;
	e->status = status;
	e->exited_at = at;
	e->exit_reason = reason;
	e->stepped_at = at;
	run->batch->exited++;
	jny_run_day(run, e->journey_name)->n[JNY_COUNT_ENDED]++;
}

/* First case that holds; unknown has its own edge, when the document gives it one. */
static int
choose_branch(JnyRun *run, JnyEnrollment *e, const JnyStep *step, const JnyEvent *event,
			  const char **edge)
{
	JnyDecision *d = jny_decision_of(run, e, step->name, "branch");
	bool		unknown = false;
	int			to = JNY_EDGE_NONE;
	int			chosen = -1;

	d->event = event;
	d->verdict = "branch";
	for (int i = 0; i < step->nbranch && chosen < 0; i++)
	{
		JnyVerdict	v = jny_run_explain(run, d, &e->subject, event, e->journey->owner, step->branch[i].on,
										psprintf("journey/%s step %s", e->journey->name, step->name));

		if (v == JNY_TRUE)
			chosen = i;
		else if (v == JNY_UNKNOWN)
			unknown = true;
	}
	if (chosen >= 0)
	{
		to = step->branch[chosen].to;
		d->rule = step->branch[chosen].on;
		*edge = "branch";
	}
	else if (unknown && step->on_unknown != JNY_EDGE_NONE)
	{
		to = step->on_unknown;
		*edge = "unknown";
	}
	else
	{
		to = step->on_else;
		*edge = "else";
	}
	d->reason = psprintf("to %s", to == JNY_EDGE_NONE ? "the end" : step_name(e, to));
	return to;
}

static void
wait_until(JnyRun *run, JnyEnrollment *e, TimestampTz wake)
{
	jny_set_timer(run, e, wake, wake);
}

const char *
jny_noted_as(const char *type)
{
	if (strncmp(type, "message_", 8) == 0)
		return type + 8;
	return strcmp(type, "session_started") == 0 ? type : NULL;
}

/*
 * The type that such a wait has met before it began: a message may be opened
 * before its sender has said that it is sent. What a condition would ask of
 * that event nobody can tell any more. NULL = none.
 */
static const char *
met_before(const JnyEnrollment *e, const JnyStep *step)
{
	if (step->until.match != NULL || step->until.when != NULL)
		return NULL;
	for (int i = 0; i < step->nof; i++)
	{
		Jsonb	   *left = jny_json_object(e->steps, e->journey->steps[step->of[i]].name);

		for (int t = 0; left != NULL && t < step->until.ntypes; t++)
		{
			const char *flag = jny_noted_as(step->until.types[t]);

			if (flag != NULL && jny_json_bool(left, flag, false))
				return step->until.types[t];
		}
	}
	return NULL;
}

/* Enters one step; true when it leads on at once, to *to by *edge, for *reason. */
static bool
enter(JnyRun *run, JnyEnrollment *e, TimestampTz at, TimestampTz planned, const JnyEvent *event,
	  int *to, const char **edge, const char **reason)
{
	const JnyStep *step = &e->journey->steps[e->step];

	switch (step->kind)
	{
		case JNY_STEP_SEND:
			forget_step(e, step->name);
			e->planned_at = planned != 0 ? planned : at;
			e->pending = true;
			run->pending = lappend(run->pending, e);
			return false;
		case JNY_STEP_WAIT_FOR:
			wait_until(run, e, jny_later(run, e->person, at, step->wait_for));
			return false;
		case JNY_STEP_WAIT_EVENT:
			*reason = met_before(e, step);
			if (*reason != NULL)
			{
				*to = step->next;
				*edge = "next";
				return true;
			}
			if (step->timeout != NULL)
				wait_until(run, e, jny_later(run, e->person, at, step->timeout));
			return false;
		case JNY_STEP_BRANCH:
			*to = choose_branch(run, e, step, event, edge);
			return true;
		case JNY_STEP_EXIT:
			jny_end(run, e, "finished", "exit", step->exit_reason, at, event);
			return false;
	}
	return false;
}

/*
 * Moves to a step and on through the steps that take no time. planned is the
 * moment at which the document wanted the step, when that differs from at: a
 * timer that was overdue.
 */
void
jny_advance(JnyRun *run, JnyEnrollment *e, int to, const char *edge, const char *reason,
			TimestampTz at, TimestampTz planned, const JnyEvent *event)
{
	for (;;)
	{
		if (to == JNY_EDGE_NONE)
		{
			jny_end(run, e, "finished", edge, reason ? reason : "finished", at, event);
			return;
		}
		if (++e->hops > MAX_HOPS)
		{
			jny_run_incident(run, "circle", psprintf("journey/%s", e->journey_name),
							 psprintf("more than %d steps at once, last to %s", MAX_HOPS, step_name(e, to)));
			jny_end(run, e, "exited", "exit", "error", at, event);
			return;
		}
		transition(run, e, step_name(e, to), edge, reason, at, event);
		clear_timer(run, e);
		e->step = to;
		e->visit++;
		e->restarts = 0;
		e->pending = false;
		e->stepped_at = at;
		reason = NULL;
		if (!enter(run, e, at, planned, event, &to, &edge, &reason))
			return;
	}
}

/* Its timer has been popped: planned is when it was to fire by the document. */
void
jny_timer_fired(JnyRun *run, JnyEnrollment *e, TimestampTz planned)
{
	const JnyStep *step = &e->journey->steps[e->step];

	run->batch->stepped++;
	jny_touch(run, e);
	switch (step->kind)
	{
		case JNY_STEP_WAIT_FOR:
			jny_advance(run, e, step->next, "next", NULL, run->now, planned, NULL);
			break;
		case JNY_STEP_WAIT_EVENT:
			jny_advance(run, e, step->on_timeout, "timeout", NULL, run->now, planned, NULL);
			break;
		case JNY_STEP_SEND:
			/* held by a gate that may open: decided again, within the same visit */
			e->planned_at = planned;
			e->pending = true;
			run->pending = lappend(run->pending, e);
			break;
		case JNY_STEP_BRANCH:
		case JNY_STEP_EXIT:
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("enrollment %s waits on step %s, which never waits",
							jny_uuid_str(&e->id), step->name),
					 errhint("Its row or its journey's document was changed by hand: set the row's step to one that waits, or end it.")));
	}
}
