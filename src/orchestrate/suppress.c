/*
 * suppress.c
 *		A fence that is consumed becomes a suppression, whether or not it has an
 *		effect now, and the enrollments that it concerns are named in it.
 *
 * Called for every event, before anything else is made of it, also in mode
 * off. A type that a journey lists without match stops its actions by type
 * and lap alone; with match, the expression is judged here, once, and permits
 * need only look whether the action's enrollment is in suppression.matched.
 * No locks: claimed rows are not touched. Memory: run->cxt.
 */
#include "orchestrate/engine.h"

#include "core/inbox.h"

#include "utils/xid8.h"

/* What the fenced event means for one live enrollment: true = its match expression holds. */
static bool
judge_match(JnyRun *run, JnyEnrollment *e, const JnyEvent *event, const char *type)
{
	const JnyJourney *j = e->journey;

	if (j == NULL || e->exited_at != 0 || jny_is_own_event(e, event) ||
		!jny_same_scope(run, e->scope, event->scope))
		return false;
	for (int i = 0; i < j->nsuppress; i++)
	{
		const JnyOn *on = &j->suppress[i];

		if ((on->match == NULL && on->when == NULL) || !jny_on_type(on, type))
			continue;
		/* what cannot be judged stops the action: better one reminder less */
		if (jny_run_on(run, e, event, on, psprintf("journey/%s suppress_on", j->name)) != JNY_FALSE)
			return true;
	}
	return false;
}

bool
jny_ends_always(const JnyJourney *j, const char *type)
{
	return strcmp(type, "erased") == 0 || strcmp(type, "erase") == 0 || strcmp(type, "restricted") == 0 ||
		(jny_type_is_opt_out(type) && strcmp(j->purpose, "marketing") == 0);
}

bool
jny_ends_sends(JnyRun *run, JnyEnrollment *e, const JnyEvent *event, const char *type, const char *scope, const char *ref)
{
	const JnyJourney *j = e->journey;
	const char *own;

	if (j == NULL || e->exited_at != 0 || !jny_same_scope(run, e->scope, scope))
		return false;
	if (jny_ends_always(j, type))
		return true;
	own = jny_own_ref(e);
	if (own[0] != '\0' && ref != NULL && strcmp(own, ref) == 0)
		return false;
	for (int i = 0; i < j->nsuppress; i++)
	{
		const JnyOn *on = &j->suppress[i];

		if (!jny_on_type(on, type))
			continue;
		if ((on->match == NULL && on->when == NULL) || event == NULL ||
			jny_run_on(run, e, event, on, psprintf("journey/%s suppress_on", j->name)) != JNY_FALSE)
			return true;
	}
	return false;
}

/* One inbox row may hold several events of a type (the lines of an order): one suppression. */
static JnySuppress *
find(JnyRun *run, const JnyPerson *person, const JnyEvent *event, const char *type)
{
	for (int i = list_length(run->suppressions) - 1; i >= 0; i--)
	{
		JnySuppress *s = list_nth(run->suppressions, i);

		if (s->event->seq != event->seq)
			break;
		if (s->person == person && strcmp(s->type, type) == 0)
			return s;
	}
	return NULL;
}

static const char *
prop_or_any(const JnyEvent *event, const char *name)
{
	char	   *value = jny_json_text(event->props, name);

	return value != NULL && value[0] ? value : "*";
}

static JnySuppress *
suppression_for(JnyRun *run, JnyPerson *person, const JnyEvent *event, const char *type)
{
	JnySuppress *s = find(run, person, event, type);

	if (s != NULL)
		return s;
	s = palloc0(sizeof(JnySuppress));
	s->person = person;
	s->event = event;
	s->type = type;
	s->ref = event->ref != NULL ? event->ref : "";
	s->scope = event->scope;
	s->channel = jny_type_is_opt_out(type) ? prop_or_any(event, "channel") : "*";
	s->purpose = jny_type_is_opt_out(type) ? prop_or_any(event, "purpose") : "*";
	s->reason = jny_suppression_reason(type);
	run->suppressions = lappend(run->suppressions, s);
	return s;
}

static void
suppress_person(JnyRun *run, JnyPerson *person, const JnyEvent *event, const char *type)
{
	JnySuppress *s = suppression_for(run, person, event, type);
	ListCell   *lc;

	foreach(lc, person->enrollments)
	{
		JnyEnrollment *e = lfirst(lc);

		if (judge_match(run, e, event, type))
			s->matched = list_append_unique_ptr(s->matched, e);
	}
}

/* Somebody who is linked with those whom the event names: just what it ends, not each order of theirs for ever. */
static void
suppress_linked(JnyRun *run, JnyPerson *person, const JnyEvent *event, const char *type)
{
	JnySuppress *s = find(run, person, event, type);
	ListCell   *lc;

	if (s != NULL && !s->linked)
		return;					/* their own cart is named */
	foreach(lc, person->enrollments)
	{
		JnyEnrollment *e = lfirst(lc);

		if (jny_is_own_event(e, event) || !jny_ends_sends(run, e, event, type, event->scope, event->ref))
			continue;
		if (s == NULL)
		{
			s = suppression_for(run, person, event, type);
			s->linked = true;
		}
		s->matched = list_append_unique_ptr(s->matched, e);
	}
}

static void
suppress_type(JnyRun *run, const JnyEvent *event, const char *type)
{
	int64		hash;
	ListCell   *lc;

	suppress_person(run, jny_run_person(run, event->profile), event, type);
	for (int i = 0; i < event->nothers; i++)
		suppress_person(run, jny_run_person(run, event->others[i]), event, type);
	if (event->cart_id != NULL && run->by_object != NIL)
	{
		hash = jny_key_hash("cart", psprintf("%s:%s", event->scope, event->cart_id));
		foreach(lc, run->by_object)
		{
			JnyEnrollment *e = lfirst(lc);

			if (e->entry_hash == hash && e->person->profile != event->profile)
				suppress_person(run, e->person, event, type);
		}
	}
	foreach(lc, jny_linked_with(run, event))
		suppress_linked(run, lfirst(lc), event, type);
}

static void
release(JnyRun *run, const JnyEvent *event, const JnyProfile *profile)
{
	if (run->releases == NULL)
		run->releases = jny_cols("smallint, uuid, text, text, bigint, xid8");
	jny_cols_set(run->releases, 0, Int16GetDatum(profile->bucket));
	jny_cols_set(run->releases, 1, jny_uuid_datum(&profile->id));
	jny_cols_text(run->releases, 2, "order_placed");
	jny_cols_text(run->releases, 3, event->ref);
	jny_cols_set(run->releases, 4, Int64GetDatum(event->seq));
	jny_cols_set(run->releases, 5, FullTransactionIdGetDatum(event->xact));
	jny_cols_next(run->releases);
}

void
jny_suppress_event(JnyRun *run, const JnyEvent *event)
{
	const char *type = event->fence_type != NULL ? event->fence_type : event->type;
	ListCell   *lc;

	if (event->is_action)
		return;
	if (event->fence == JNY_FENCE_RELEASE && event->ref != NULL)
	{
		release(run, event, event->profile);
		for (int i = 0; i < event->nothers; i++)
			release(run, event, event->others[i]);
		foreach(lc, jny_linked_with(run, event))
			release(run, event, ((JnyPerson *) lfirst(lc))->profile);
	}
	if (event->fence == JNY_FENCE_EVENT)
		suppress_type(run, event, type);
	if (jny_type_is_fenced(event->type) &&
		(event->fence != JNY_FENCE_EVENT || strcmp(type, event->type) != 0))
		suppress_type(run, event, event->type);
}
