/*
 * event.c
 *		What one event does to the people it speaks of: exits, then goals, then
 *		the waits it wakes; outcomes of actions move their enrollment on.
 *
 * Called for each event in order of seq, after its suppressions and before
 * entries. Reads and writes memory only.
 */
#include "orchestrate/engine.h"

#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/numeric.h"

/*
 * The event that enrolls does not also end what it has begun: same object,
 * and a type that this journey enters on.
 */
bool
jny_is_own_event(const JnyEnrollment *e, const JnyEvent *event)
{
	if (e->has_entry_event && memcmp(&e->entry_event, &event->event_id, UUID_LEN) == 0)
		return true;
	if (e->entry_ref[0] == '\0' || event->ref == NULL || strcmp(e->entry_ref, event->ref) != 0)
		return false;
	for (int i = 0; e->journey != NULL && i < e->journey->nentries; i++)
		if (jny_on_type(&e->journey->entries[i].on, event->type))
			return true;
	return false;
}

/* Does the event concern the enrollment at all? Its own entry does not, nor do old facts that come in late by back-fill. */
static bool
concerns(JnyRun *run, const JnyEnrollment *e, const JnyEvent *event)
{
	return e->journey != NULL && jny_same_scope(run, e->scope, event->scope) &&
		!(e->has_entry_event && memcmp(&e->entry_event, &event->event_id, UUID_LEN) == 0) &&
		!(event->backfill && event->occurred_at < e->entered_at);
}

/* The moment an event counts as: its own time, but not the future and not before what was done already. */
static TimestampTz
moment(const JnyRun *run, const JnyEnrollment *e, const JnyEvent *event)
{
	TimestampTz at = Min(event->occurred_at, run->now);

	return Max(at, e->stepped_at);
}

/* ---- exits --------------------------------------------------------------- */

static void
exit_enrollment(JnyRun *run, JnyEnrollment *e, const char *reason, TimestampTz at, const JnyEvent *event)
{
	JnyStop    *stop = palloc(sizeof(JnyStop));

	stop->enrollment = e;
	stop->reason = reason;
	run->stopped = lappend(run->stopped, stop);
	jny_end(run, e, "exited", "exit", reason, at, event);
}

static bool
exit_by_event(JnyRun *run, JnyEnrollment *e, const JnyEvent *event)
{
	const JnyJourney *j = e->journey;

	if (strcmp(event->type, "erased") == 0 || strcmp(event->type, "restricted") == 0)
	{
		exit_enrollment(run, e, event->type, moment(run, e, event), event);
		return true;
	}
	/* the order that asked for a confirmation, told again by another source, does not end it */
	if (jny_is_own_event(e, event))
		return false;
	for (int i = 0; i < j->nexits; i++)
	{
		const JnyOn *on = &j->exits[i];

		if (on->ntypes == 0 || !jny_on_type(on, event->type))
			continue;
		if (jny_run_on(run, e, event, on, psprintf("journey/%s exit", j->name)) != JNY_TRUE)
			continue;
		exit_enrollment(run, e, on->reason ? on->reason : event->type, moment(run, e, event), event);
		return true;
	}
	return false;
}

bool
jny_exit_by_state(JnyRun *run, JnyEnrollment *e)
{
	const JnyJourney *j = e->journey;

	if (e->exited_at != 0 || j == NULL)
		return e->exited_at != 0;
	for (int i = 0; i < j->nexits; i++)
	{
		const JnyOn *on = &j->exits[i];

		if (on->ntypes > 0)
			continue;
		if (jny_run_on(run, e, NULL, on, psprintf("journey/%s exit", j->name)) != JNY_TRUE)
			continue;
		exit_enrollment(run, e, on->reason ? on->reason : "condition", run->now, NULL);
		return true;
	}
	return false;
}

/* ---- goals --------------------------------------------------------------- */

/* Digits, perhaps with a sign and a fraction: no exponent, no NaN. */
static bool
is_number(const char *text)
{
	size_t		n;

	text += text[0] == '-';
	n = strspn(text, "0123456789");
	if (n == 0 || text[n] == '\0')
		return n > 0;
	text += n + 1;
	return text[-1] == '.' && text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

static void
reach_goal(JnyRun *run, JnyEnrollment *e, const JnyEvent *event)
{
	JnyProfile *profile = e->person->profile;
	JnyCols    *c = jny_rows(run, JNY_ROWS_CONVERSIONS);
	char	   *amount = jny_json_text(event->props, "amount");

	e->goal_at = event->occurred_at;
	jny_touch(run, e);
	jny_cols_set(c, 0, Int16GetDatum(profile->bucket));
	jny_cols_set(c, 1, UUIDPGetDatum(&profile->id));
	jny_cols_set(c, 2, UUIDPGetDatum(&e->id));
	jny_cols_text(c, 3, event->type);
	jny_cols_set(c, 4, UUIDPGetDatum(&event->event_id));
	jny_cols_set(c, 5, TimestampTzGetDatum(event->occurred_at));
	jny_cols_text(c, 6, event->order_id);
	if (amount != NULL && is_number(amount))
		jny_cols_set(c, 7, DirectFunctionCall3(numeric_in, CStringGetDatum(amount),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	jny_cols_text(c, 8, jny_json_text(event->props, "currency"));
	jny_cols_set(c, 9, BoolGetDatum(run->batch->node.test));
	jny_cols_next(c);
}

static void
try_goal(JnyRun *run, JnyEnrollment *e, const JnyEvent *event)
{
	const JnyJourney *j = e->journey;

	if (!j->has_goal || e->goal_at != 0 || !jny_on_type(&j->goal, event->type) ||
		event->occurred_at < e->entered_at ||
		(e->goal_until != 0 && event->occurred_at > e->goal_until) ||
		(e->goal_until == 0 && e->exited_at != 0 && e->cause != event))
		return;
	if (jny_run_on(run, e, event, &j->goal, psprintf("journey/%s goal", j->name)) == JNY_TRUE)
		reach_goal(run, e, event);
}

/* ---- waits --------------------------------------------------------------- */

/* Is a message event, or a visit that a message led to, about one of these sends? */
static bool
is_about(const JnyEnrollment *e, const JnyStep *step, const JnyEvent *event)
{
	bool		message = strncmp(event->type, "message_", 8) == 0;
	char	   *action;

	if (message && jny_json_bool(event->props, "machine", false))
		return false;
	if (step->nof == 0)
		return true;
	if (!event->has_action)
		return !message;
	action = jny_uuid_str(&event->action_id);
	for (int i = 0; i < step->nof; i++)
	{
		Jsonb	   *left = jny_json_object(e->steps, e->journey->steps[step->of[i]].name);
		char	   *id = left ? jny_json_text(left, "action_id") : NULL;

		if (id != NULL && strcmp(id, action) == 0)
			return true;
	}
	return false;
}

static void
try_restart(JnyRun *run, JnyEnrollment *e, const JnyStep *step, const JnyEvent *event)
{
	TimestampTz at = moment(run, e, event);
	TimestampTz wake;

	for (int i = 0; i < step->nrestart; i++)
	{
		const JnyOn *on = &step->restart[i];

		if (!jny_on_type(on, event->type))
			continue;
		if (jny_run_on(run, e, event, on, psprintf("journey/%s restart_on", e->journey->name)) != JNY_TRUE)
			continue;
		if (step->restart_max > 0 && e->restarts >= step->restart_max)
			return;
		wake = jny_later(run, e->person, at, step->wait_for);
		e->restarts++;
		jny_set_timer(run, e, Max(wake, e->wake_at), Max(wake, e->wake_at));
		return;
	}
}

static void
try_wake(JnyRun *run, JnyEnrollment *e, const JnyEvent *event)
{
	const JnyStep *step;

	if (e->step == JNY_EDGE_NONE)
		return;
	step = &e->journey->steps[e->step];
	if (step->kind == JNY_STEP_WAIT_FOR)
		try_restart(run, e, step, event);
	else if (step->kind == JNY_STEP_WAIT_EVENT && jny_on_type(&step->until, event->type) &&
			 event->occurred_at >= e->stepped_at - USECS_PER_MINUTE &&
			 is_about(e, step, event) &&
			 jny_run_on(run, e, event, &step->until, psprintf("journey/%s until_event", e->journey->name)) == JNY_TRUE)
		jny_advance(run, e, step->next, "next", event->type, moment(run, e, event), 0, event);
}

/* step.tell.clicked: what a send's message came to. */
static void
note_message(JnyRun *run, JnyPerson *person, const JnyEvent *event)
{
	const char *flag = jny_noted_as(event->type);
	char	   *action;
	ListCell   *lc;

	if (!event->has_action || flag == NULL || jny_json_bool(event->props, "machine", false))
		return;
	action = jny_uuid_str(&event->action_id);
	foreach(lc, person->enrollments)
	{
		JnyEnrollment *e = lfirst(lc);

		for (int i = 0; e->journey != NULL && i < e->journey->nsteps; i++)
		{
			const JnyStep *step = &e->journey->steps[i];
			Jsonb	   *left;
			char	   *id;

			if (step->kind != JNY_STEP_SEND || (left = jny_json_object(e->steps, step->name)) == NULL)
				continue;
			id = jny_json_text(left, "action_id");
			if (id != NULL && strcmp(id, action) == 0)
				jny_note_step(run, e, step->name, psprintf("{\"%s\": true}", flag));
		}
	}
}

/* ---- outcomes of actions ------------------------------------------------- */

/* When the document wanted the send that is to be decided again. */
static TimestampTz
planned_of(const JnyEnrollment *e, const JnyStep *step)
{
	Jsonb	   *left = jny_json_object(e->steps, step->name);
	char	   *text = left ? jny_json_text(left, "planned_at") : NULL;

	if (text == NULL)
		return 0;
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
												   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

static void
take_outcome(JnyRun *run, JnyEnrollment *e, const JnyEvent *event)
{
	const JnyStep *step;
	const char *outcome = event->type + strlen("action_");
	const char *reason = event->reason != NULL && event->reason[0] ? event->reason : NULL;
	TimestampTz at = moment(run, e, event);
	StringInfoData note;

	if (e->exited_at != 0 || e->journey == NULL || e->step == JNY_EDGE_NONE ||
		event->step == NULL || strcmp(e->journey->steps[e->step].name, event->step) != 0 ||
		e->visit != event->visit)
		return;
	step = &e->journey->steps[e->step];
	initStringInfo(&note);
	appendStringInfo(&note, "{\"outcome\": ");
	escape_json(&note, outcome);
	appendStringInfo(&note, ", \"reason\": ");
	escape_json(&note, reason ? reason : "");
	appendStringInfo(&note, ", \"%s\": true}", outcome);
	jny_note_step(run, e, step->name, note.data);

	if (strcmp(outcome, "sent") == 0)
		jny_advance(run, e, step->next, "next", NULL, at, 0, event);
	else if (strcmp(outcome, "dead") == 0)
		jny_advance(run, e, step->on_failed, "failed", reason, at, 0, event);
	else if (strcmp(outcome, "unknown") == 0)
		jny_advance(run, e, step->on_unknown, "unknown", reason, at, 0, event);
	else if (reason != NULL && (strcmp(reason, "too_late") == 0 || strcmp(reason, "changed") == 0))
		/* overdue, or the world moved: decided again with what is known now */
		jny_advance(run, e, e->step, "again", reason, at, planned_of(e, step), event);
	else
	{
		if (reason == NULL)
			reason = outcome;
		jny_advance(run, e, jny_edge_refused(step, reason), "refused", reason, at, 0, event);
	}
	run->batch->stepped++;
}

/* Whoever it was sent to may have left the journey meanwhile. */
static void
count_outcome(JnyRun *run, const JnyEvent *event)
{
	const char *outcome = event->type + strlen("action_");
	JnyDay	   *day;

	if (event->journey == NULL)
		return;					/* appended by a library of before */
	day = jny_run_day(run, event->journey);
	if (strcmp(outcome, "sent") == 0)
		day->n[JNY_COUNT_SENT]++;
	else if (strcmp(outcome, "dead") == 0)
		day->n[JNY_COUNT_DEAD]++;
	else if (strcmp(outcome, "unknown") == 0)
		day->n[JNY_COUNT_UNKNOWN]++;
	else
		day->n[JNY_COUNT_STOPPED]++;
}

static void
apply_outcome(JnyRun *run, const JnyEvent *event)
{
	JnyPerson  *person = jny_run_person(run, event->profile);
	JnyEnrollment *e = event->has_enrollment ? jny_enrollment_of(person, &event->enrollment_id) : NULL;

	count_outcome(run, event);
	if (e != NULL)
		take_outcome(run, e, event);
}

static void
apply_to_person(JnyRun *run, JnyPerson *person, const JnyEvent *event, bool exits_only)
{
	ListCell   *lc;

	foreach(lc, person->enrollments)
	{
		JnyEnrollment *e = lfirst(lc);

		if (!concerns(run, e, event))
			continue;
		if (e->exited_at == 0 && !exit_by_event(run, e, event) && !exits_only)
			try_wake(run, e, event);
		if (!exits_only && !jny_is_own_event(e, event))
			try_goal(run, e, event);
	}
}

void
jny_event_apply(JnyRun *run, const JnyEvent *event)
{
	JnyPerson  *person;
	ListCell   *lc;

	if (event->is_action)
	{
		apply_outcome(run, event);
		return;
	}
	person = jny_run_person(run, event->profile);
	note_message(run, person, event);
	apply_to_person(run, person, event, false);
	if (event->fence == '\0')
		return;
	for (int i = 0; i < event->nothers; i++)
		apply_to_person(run, jny_run_person(run, event->others[i]), event, true);
	foreach(lc, jny_linked_with(run, event))
		apply_to_person(run, lfirst(lc), event, true);
	if (event->cart_id != NULL && run->by_object != NIL)
	{
		int64		hash = jny_key_hash("cart", psprintf("%s:%s", event->scope, event->cart_id));

		foreach(lc, run->by_object)
		{
			JnyEnrollment *e = lfirst(lc);

			if (e->entry_hash == hash && e->exited_at == 0 && concerns(run, e, event))
				(void) exit_by_event(run, e, event);
		}
	}
}
