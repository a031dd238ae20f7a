/*
 * decide.c
 *		All sends that came up in a phase, decided together: by person, the
 *		journey of the greatest priority first.
 *
 * Called once the phase has seen all its events or timers, so that a decision
 * knows everything up to batch->last_seq. A refusal may lead to another send,
 * hence rounds; each round loads what it needs in a fixed number of
 * statements. The order of the gates is the order of the documentation:
 *
 *	too late, a policy that can be read, required conditions (freshness among them) -> vetoes ->
 *	restriction, consent, address, stock -> holdout -> suppression, exclusion
 *	-> caps -> quiet hours -> enqueue
 */
#include "orchestrate/engine.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/json.h"

/* How long a hold without a better idea waits. */
#define HOLD_US (5 * USECS_PER_MINUTE)

/* ---- building a decision -------------------------------------------------- */

JnyDecision *
jny_decision_new(JnyRun *run, JnyPerson *person, const JnyJourney *journey, const char *kind)
{
	JnyDecision *d = palloc0(sizeof(JnyDecision));

	d->person = person;
	d->journey = journey;
	d->kind = kind;
	d->step = "";
	d->reason = "";
	d->at = run->now;
	d->repeats = 1;
	jny_decision_version(d, "journey", journey->name, journey->version);
	run->decisions = lappend(run->decisions, d);
	return d;
}

JnyDecision *
jny_decision_of(JnyRun *run, JnyEnrollment *e, const char *step, const char *kind)
{
	JnyDecision *d = jny_decision_new(run, e->person, e->journey, kind);

	d->enrollment = e;
	d->step = step;
	d->arm = e->arm;
	jny_uuid_of(&d->id, "decision", jny_uuid_str(&e->id), kind, step, psprintf("%d", e->visit),
				psprintf(INT64_FORMAT, run->batch->lap), NULL);
	return d;
}

void
jny_decision_clause(JnyDecision *d, const char *clause, JnyVerdict verdict)
{
	if (d->clauses == NULL)
		d->clauses = makeStringInfo();
	else
		appendStringInfoString(d->clauses, ", ");
	appendStringInfoString(d->clauses, "{\"clause\": ");
	escape_json(d->clauses, clause);
	appendStringInfo(d->clauses, ", \"verdict\": %s}",
					 verdict == JNY_TRUE ? "true" : verdict == JNY_FALSE ? "false" : "null");
}

void
jny_decision_input(JnyRun *run, JnyDecision *d, const char *name, const char *value)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	escape_json(&buf, name);
	appendStringInfoString(&buf, ": ");
	escape_json(&buf, value);
	appendStringInfoChar(&buf, '}');
	d->inputs = lappend(d->inputs, jny_json_parse(buf.data));
}

void
jny_decision_version(JnyDecision *d, const char *kind, const char *name, int version)
{
	if (d->versions == NULL)
		d->versions = makeStringInfo();
	else
		appendStringInfoString(d->versions, ", ");
	escape_json(d->versions, psprintf("%s/%s", kind, name));
	appendStringInfo(d->versions, ": %d", version);
}

/* ---- what follows from a verdict ------------------------------------------ */

static const char *
refusal_note(const char *reason)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "{\"refused\": true, \"reason\": ");
	escape_json(&buf, reason);
	appendStringInfoChar(&buf, '}');
	return buf.data;
}

static void
refuse_send(JnyRun *run, JnySend *s, const char *reason)
{
	s->decision->verdict = "refused";
	s->decision->reason = reason;
	run->batch->refused++;
	jny_run_day(run, s->e->journey_name)->n[JNY_COUNT_WITHHELD]++;
	jny_note_step(run, s->e, s->step->name, refusal_note(reason));
	jny_advance(run, s->e, jny_edge_refused(s->step, reason), "refused", reason, run->now, 0, NULL);
}

/* The gate may open: the same visit is decided again later, unless that is too late. */
static void
hold_send(JnyRun *run, JnySend *s, const char *reason)
{
	/* a cap that opens at this very moment has not opened yet */
	TimestampTz again = s->again != 0 ? Max(s->again, run->now + 1) : run->now + HOLD_US;

	if (again > s->not_after)
	{
		refuse_send(run, s, reason);
		return;
	}
	s->decision->verdict = "held";
	s->decision->reason = reason;
	jny_decision_input(run, s->decision, "held_until", timestamptz_to_str(again));
	jny_set_timer(run, s->e, again, s->e->planned_at);
}

/* What is too old to be trusted, or cannot be read, may be mended in a moment. */
static void
hold_or_refuse(JnyRun *run, JnySend *s, const char *reason)
{
	if (strcmp(reason, "stale_data") == 0)
		hold_send(run, s, reason);
	else
		refuse_send(run, s, reason);
}

/* ---- arms ------------------------------------------------------------------ */

static void
expose(JnyRun *run, JnySend *s)
{
	const JnyJourney *j = s->e->journey;
	JnyProfile *p = s->e->person->profile;
	bool		control = strcmp(s->e->arm, "control") == 0;
	bool		own = j->holdout > 0 && jny_assign(j->holdout_salt, &p->id) < j->holdout;
	/* the policy may have changed since the entry: whom the journey does not hold out, the house did */
	bool		global = !own || (run->policy->holdout > 0 &&
								  jny_assign(run->policy->holdout_salt, &p->id) < run->policy->holdout);
	const char *salt = control && global ? run->policy->holdout_salt : j->holdout > 0 ? j->holdout_salt : "";
	JnyCols    *c;

	if (s->e->exposed)
		return;
	s->e->exposed = true;
	c = jny_rows(run, JNY_ROWS_EXPOSURES);
	jny_cols_set(c, 0, Int16GetDatum(p->bucket));
	jny_cols_set(c, 1, UUIDPGetDatum(&p->id));
	jny_cols_set(c, 2, UUIDPGetDatum(&s->e->id));
	jny_cols_text(c, 3, j->name);
	jny_cols_set(c, 4, Int32GetDatum(j->version));
	jny_cols_text(c, 5, s->e->arm);
	jny_cols_text(c, 6, !control ? "" : global ? "global" : "journey");
	jny_cols_text(c, 7, salt);
	jny_cols_set(c, 8, Float8GetDatum(jny_assign(salt, &p->id)));
	jny_cols_set(c, 9, Int32GetDatum(JNY_HASH_VERSION));
	jny_cols_set(c, 10, TimestampTzGetDatum(run->now));
	jny_cols_set(c, 11, BoolGetDatum(run->batch->node.test));
	jny_cols_next(c);
}

/* True when the person is held out: they have walked as far as anybody of the control group does. */
static bool
hold_out(JnyRun *run, JnySend *s)
{
	if (strcmp(s->e->journey->purpose, "marketing") != 0)
		return false;
	expose(run, s);
	if (strcmp(s->e->arm, "control") != 0)
		return false;
	s->decision->verdict = "refused";
	s->decision->reason = "holdout";
	s->decision->rule = "holdout";
	run->batch->held_out++;
	jny_run_day(run, s->e->journey_name)->n[JNY_COUNT_HELD_OUT]++;
	jny_end(run, s->e, "held_out", "exit", "holdout", run->now, NULL);
	return true;
}

/* ---- enqueue --------------------------------------------------------------- */

static const char *
locale_for(const JnyTemplate *template, const char *wanted)
{
	for (int i = 0; wanted != NULL && i < template->nlocales; i++)
		if (strcmp(template->locales[i], wanted) == 0)
			return wanted;
	/* "de" serves "de-AT" */
	for (int i = 0; wanted != NULL && i < template->nlocales; i++)
		if (strncmp(template->locales[i], wanted, 2) == 0 && strlen(template->locales[i]) == 2)
			return template->locales[i];
	return template->locale;
}

static ArrayType *
sku_array(List *skus)
{
	JnyCols    *cols = jny_cols("text");
	ListCell   *lc;

	if (skus == NIL)
		return NULL;
	foreach(lc, skus)
	{
		jny_cols_text(cols, 0, lfirst(lc));
		jny_cols_next(cols);
	}
	return DatumGetArrayTypeP(jny_cols_datums(cols, 0)[0]);
}

static JnyAction *
make_action(JnyRun *run, JnySend *s)
{
	JnyEnrollment *e = s->e;
	const JnyJourney *j = e->journey;
	JnyAction  *a = palloc0(sizeof(JnyAction));

	a->profile_id = e->person->id;
	a->bucket = e->person->profile->bucket;
	jny_uuid_of(&a->action_id, "action", jny_uuid_str(&e->id), s->step->name, psprintf("%d", e->visit), NULL);
	a->channel = s->channel->name;
	a->priority = j->priority;
	a->due_at = s->due_at;
	a->not_after = s->not_after;
	a->late = s->step->late;
	a->has_enrollment = true;
	a->fresh = e->is_new;
	a->enrollment_id = e->id;
	a->journey = j->name;
	a->version = j->version;
	a->step = s->step->name;
	a->visit = e->visit;
	a->purpose = j->purpose;
	a->scope = e->scope;
	a->template = s->template->name;
	a->template_version = s->template->version;
	a->locale = locale_for(s->template, e->person->profile->locale);
	a->payload = s->payload;
	a->placement = s->step->placement;
	a->exclusion = s->exclusion;
	a->suppress_on = j->suppress_on != NULL ? j->suppress_on : jny_json_empty_array();
	a->own_ref = jny_own_ref(e);
	a->entry_hash = e->entry_hash;
	a->stock_sku = sku_array(s->skus);
	a->caps = j->caps != NULL ? j->caps : jny_json_empty_array();
	a->quiet = s->quiet;
	a->max_attempts = s->channel->attempts;
	a->decision_id = s->decision->id;
	a->decided_at = run->now;
	a->decided_lap = run->batch->lap;
	a->decided_seq = run->batch->last_seq;
	a->test = e->test || run->batch->node.test;
	return a;
}

static void
enqueue(JnyRun *run, JnySend *s)
{
	JnyAction  *a = make_action(run, s);
	StringInfoData note;

	run->actions = lappend(run->actions, a);
	run->batch->enqueued++;
	jny_run_day(run, s->e->journey_name)->n[JNY_COUNT_ENQUEUED]++;
	s->decision->verdict = "enqueue";
	s->decision->has_action = true;
	s->decision->action_id = a->action_id;
	s->decision->channel = a->channel;
	s->decision->template = a->template;
	if (s->due_at > run->now)
		s->decision->reason = "quiet_hours";
	jny_decision_version(s->decision, "template", s->template->name, s->template->version);
	jny_decision_version(s->decision, "channel", s->channel->name, s->channel->version);

	initStringInfo(&note);
	appendStringInfo(&note, "{\"action_id\": \"%s\"", jny_uuid_str(&a->action_id));
	appendStringInfo(&note, ", \"at\": \"%s\"", timestamptz_to_str(run->now));
	appendStringInfo(&note, ", \"planned_at\": \"%s\", \"channel\": ", timestamptz_to_str(s->e->planned_at));
	escape_json(&note, a->channel);
	appendStringInfoChar(&note, '}');
	jny_note_step(run, s->e, s->step->name, note.data);
	s->e->pending = false;
	if (s->exclusion != NULL)
	{
		JnyLiveAction *live = palloc0(sizeof(JnyLiveAction));

		live->exclusion = s->exclusion;
		live->scope = s->e->scope;
		live->journey = a->journey;
		live->step = a->step;
		live->enrollment_id = s->e->id;
		live->priority = a->priority;
		s->e->person->actions = lappend(s->e->person->actions, live);
	}
}

/* ---- the order of the gates -------------------------------------------------- */

static void
decide_send(JnyRun *run, JnySend *s)
{
	const char *reason;

	if (run->now > s->not_after)
	{
		s->decision->rule = "not_after";
		jny_decision_input(run, s->decision, "not_after", timestamptz_to_str(s->not_after));
		refuse_send(run, s, "too_late");
		return;
	}
	if (s->template == NULL || s->broken != NULL)
	{
		s->decision->rule = s->template == NULL ? psprintf("template %s", s->step->template)
			: psprintf("data %s", s->broken);
		refuse_send(run, s, "broken");
		return;
	}
	if ((reason = jny_gate_requires(run, s)) != NULL
		|| (reason = jny_gate_vetoes(run, s)) != NULL
		|| (reason = jny_gate_channels(run, s)) != NULL)
	{
		hold_or_refuse(run, s, reason);
		return;
	}
	if ((reason = jny_gate_stock(run, s)) != NULL)
	{
		hold_or_refuse(run, s, reason);
		return;
	}
	if (hold_out(run, s))
		return;
	if ((reason = jny_gate_suppression(run, s)) != NULL ||
		(reason = jny_gate_exclusion(run, s)) != NULL)
	{
		refuse_send(run, s, reason);
		return;
	}
	if ((reason = jny_gate_caps(run, s)) != NULL)
	{
		if (s->again != 0)
			hold_send(run, s, reason);
		else
			refuse_send(run, s, reason);
		return;
	}
	if ((reason = jny_gate_quiet(run, s)) != NULL)
		refuse_send(run, s, reason);
	else if (s->due_at > s->not_after)
		refuse_send(run, s, "too_late");
	else
		enqueue(run, s);
}

/* A preview lists its decisions among its steps. */
static void
note_path(JnyRun *run, const JnySend *s)
{
	JnyPathRow *row = palloc0(sizeof(JnyPathRow));

	row->at = run->now;
	row->step = s->step->name;
	row->what = s->channel != NULL ? psprintf("send by %s", s->channel->name) : "send";
	row->verdict = s->decision->verdict;
	row->reason = s->decision->reason;
	row->detail = s->decision->clauses ? psprintf("[%s]", s->decision->clauses->data) : NULL;
	run->path = lappend(run->path, row);
}

static int
by_person_and_priority(const ListCell *a, const ListCell *b)
{
	const JnySend *x = lfirst(a);
	const JnySend *y = lfirst(b);
	int			c = memcmp(&x->e->person->id, &y->e->person->id, UUID_LEN);

	if (c != 0)
		return c;
	if (x->e->journey->priority != y->e->journey->priority)
		return x->e->journey->priority > y->e->journey->priority ? -1 : 1;
	c = strcmp(x->e->journey_name, y->e->journey_name);
	return c != 0 ? c : memcmp(&x->e->id, &y->e->id, UUID_LEN);
}

static JnySend *
make_send(JnyRun *run, JnyEnrollment *e)
{
	JnySend    *s = palloc0(sizeof(JnySend));

	s->e = e;
	s->step = &e->journey->steps[e->step];
	s->template = jny_template(s->step->template, s->step->template_version);
	s->due_at = run->now;
	s->not_after = jny_later(run, e->person, e->planned_at, s->step->not_after);
	s->decision = jny_decision_of(run, e, s->step->name, "step");
	s->decision->event = e->cause != NULL && !e->cause->is_action ? e->cause : NULL;
	return s;
}

static void
decide_round(JnyRun *run, List *pending)
{
	List	   *sends = NIL;
	List	   *skus = NIL;
	ListCell   *lc;

	foreach(lc, pending)
	{
		JnyEnrollment *e = lfirst(lc);

		if (e->pending && !jny_exit_by_state(run, e))
			sends = lappend(sends, make_send(run, e));
	}
	jny_load_subjects(run, sends);
	foreach(lc, sends)
	{
		JnySend    *s = lfirst(lc);

		if (s->template == NULL)
			continue;
		jny_payload(run, s);
		skus = list_concat(skus, s->skus);
	}
	jny_load_stock(run, skus);
	list_sort(sends, by_person_and_priority);
	foreach(lc, sends)
	{
		decide_send(run, lfirst(lc));
		if (run->preview)
			note_path(run, lfirst(lc));
	}
}

void
jny_decide_all(JnyRun *run)
{
	while (run->pending != NIL)
	{
		List	   *pending = run->pending;

		jny_load_gates(run);
		run->pending = NIL;
		decide_round(run, pending);
	}
}
