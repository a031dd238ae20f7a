/*
 * entry.c
 *		Who enters a journey, and why somebody does not.
 *
 * Called for each event after exits and waits. Memory only. A condition that
 * is false is counted; every other refusal is a decision row, and the same
 * refusal of the same person and key is one row that counts.
 */
#include "orchestrate/engine.h"

#include "core/inbox.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

typedef struct ById
{
	pg_uuid_t	id;
	JnyDecision *decision;
} ById;

static void
refuse(JnyRun *run, JnyPerson *person, const JnyJourney *j, const char *key, const char *reason,
	   const char *rule, const JnyEvent *event)
{
	pg_uuid_t	id;
	bool		found;
	ById	   *slot;
	JnyDecision *d;

	run->batch->refused++;
	jny_uuid_of(&id, "refusal", j->name, jny_uuid_str(&person->id), key, reason, NULL);
	slot = hash_search(run->refusals, &id, HASH_ENTER, &found);
	if (found)
	{
		slot->decision->repeats++;
		return;
	}
	slot->decision = d = jny_decision_new(run, person, j, "entry");
	d->id = id;
	d->step = key;
	d->verdict = "not_enrolled";
	d->reason = reason;
	d->rule = rule;
	d->event = event;
	jny_decision_input(run, d, "event.type", event->type);
	jny_decision_input(run, d, "key", key);
}

/* An order of the same scope that is younger than the event. */
static bool
ordered_since(JnyRun *run, JnyPerson *person, const JnyEvent *event)
{
	ListCell   *lc;

	foreach(lc, person->orders)
	{
		JnyLastOrder *last = lfirst(lc);

		if (jny_same_scope(run, last->scope, event->scope) && event->occurred_at < last->at)
			return true;
	}
	return false;
}

bool
jny_ends_by_order(const JnyJourney *j)
{
	for (int i = 0; i < j->nsuppress; i++)
		if (j->suppress[i].match == NULL && jny_on_type(&j->suppress[i], "order_placed"))
			return true;
	return false;
}

/* A type becomes a fence when its first document is applied; rows written before carry none. */
static bool
fences_effective(const JnyJourney *j)
{
	for (int i = 0; i < j->nsuppress; i++)
		for (int t = 0; t < j->suppress[i].ntypes; t++)
			if (!jny_type_is_effective(j->suppress[i].types[t]))
				return false;
	return true;
}

/* The enrollment that stands in the way, and the number of the new one. */
static const char *
check_reentry(JnyRun *run, JnyPerson *person, const JnyJourney *j, const char *key,
			  const JnyEvent *event, int *occurrence)
{
	ListCell   *lc;
	TimestampTz at = Min(event->occurred_at, run->now);

	*occurrence = 1;
	foreach(lc, person->past)
	{
		JnyPast    *past = lfirst(lc);
		bool		same_key = strcmp(past->key, key) == 0;

		if (strcmp(past->journey, j->name) != 0)
			continue;
		if (same_key)
			*occurrence = Max(*occurrence, past->occurrence + 1);
		if (!same_key && j->reentry_per == JNY_REENTRY_KEY)
			continue;
		if (past->ended_at == 0)
			return "already_enrolled";
		if (j->reentry_never)
			return "reentry";
		if (j->reentry_after != NULL &&
			at < jny_later(run, person, past->ended_at, j->reentry_after))
			return "reentry";
	}
	return NULL;
}

static const char *
check_person(JnyRun *run, JnyPerson *person, const JnyJourney *j, const JnyEvent *event)
{
	JnyProfile *p = person->profile;
	JnyDay	   *day;

	if (event->late)
		return "too_late";
	if (!fences_effective(j))
		return "not_effective";
	if (p->restricted)
		return "restricted";
	/* whom the house holds out is settled here, and for good */
	if (run->policy->holdout < 0 && strcmp(j->purpose, "marketing") == 0)
		return "stale_data";
	if (jny_ends_by_order(j) && p->last_order_at != 0 && ordered_since(run, person, event))
		return "ordered";
	if (p->confidence < j->min_confidence)
		return strcmp(j->low_identity, "skip") == 0 ? "" : "low_confidence";
	if (j->rollout < 1.0 && jny_assign(j->rollout_salt, &p->id) >= j->rollout)
		return "rollout";
	day = jny_run_day(run, j->name);
	if (j->max_per_day > 0 && day->before + day->n[JNY_COUNT_ENTERED] >= j->max_per_day)
		return "max_per_day";
	return NULL;
}

/* treatment, or control with who holds them back. Depends on salt and profile only. */
static const char *
arm_of(JnyRun *run, const JnyJourney *j, const JnyProfile *p)
{
	if (strcmp(j->purpose, "marketing") != 0)
		return "treatment";
	if (run->policy->holdout > 0 && jny_assign(run->policy->holdout_salt, &p->id) < run->policy->holdout)
		return "control";
	if (j->holdout > 0 && jny_assign(j->holdout_salt, &p->id) < j->holdout)
		return "control";
	return "treatment";
}

/* The entry's data, frozen: {"top_sku": ...}. */
static Jsonb *
freeze(JnyRun *run, const JnyJourney *j, const JnyEntry *entry, JnySubjectContext *subject,
	   const JnyEvent *event)
{
	JsonbParseState *state = NULL;

	if (entry->ndata == 0)
		return jny_json_empty_object();
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < entry->ndata; i++)
	{
		Datum		value;
		Oid			type = InvalidOid;
		bool		isnull;
		Jsonb	   *json = NULL;

		if (jny_run_value(run, subject, event, j->owner, entry->data[i].value, InvalidOid,
						  psprintf("journey/%s entry data %s", j->name, entry->data[i].name),
						  &value, &type, &isnull) && !isnull)
			json = jny_value_jsonb(value, type, false);
		jny_json_put(&state, entry->data[i].name, json);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static JnyEnrollment *
make_enrollment(JnyRun *run, JnyPerson *person, const JnyJourney *j, const JnyEvent *event,
				const char *key, int occurrence, Jsonb *data)
{
	JnyEnrollment *e = palloc0(sizeof(JnyEnrollment));

	e->person = person;
	e->journey = j;
	e->journey_name = j->name;
	e->version = j->version;
	e->scope = event->scope;
	e->key = key;
	e->occurrence = occurrence;
	e->status = "active";
	e->step = JNY_EDGE_NONE;
	e->has_entry_event = true;
	e->entry_event = event->event_id;
	e->entry_seq = event->seq;
	e->entry_ref = event->ref ? event->ref : "";
	e->entry_cart = event->cart_id ? event->cart_id : "";
	if (event->cart_id != NULL)
		e->entry_hash = jny_key_hash("cart", psprintf("%s:%s", event->scope, event->cart_id));
	else if (event->order_id != NULL)
		e->entry_hash = jny_key_hash("order", psprintf("%s:%s", event->scope, event->order_id));
	e->data = data;
	e->steps = jny_json_empty_object();
	e->arm = arm_of(run, j, person->profile);
	e->confidence = person->profile->confidence;
	e->entered_at = Min(event->occurred_at, run->now);
	e->stepped_at = e->entered_at;
	if (j->has_goal && j->goal_within != NULL)
		e->goal_until = jny_later(run, person, e->entered_at, j->goal_within);
	e->lap = run->batch->lap;
	e->test = run->batch->node.test;
	e->is_new = true;
	jny_uuid_of(&e->id, "enrollment", j->name, jny_uuid_str(&person->id), key,
				psprintf("%d", occurrence), NULL);
	return e;
}

static void
enroll(JnyRun *run, JnyPerson *person, const JnyJourney *j, const JnyEntry *entry,
	   const JnyEvent *event, const char *key, int occurrence, JnySubjectContext *subject)
{
	JnyEnrollment *e = make_enrollment(run, person, j, event, key, occurrence,
									   freeze(run, j, entry, subject, event));
	JnyDecision *d = jny_decision_of(run, e, key, "entry");
	JnyPast    *past = palloc(sizeof(JnyPast));

	d->verdict = "enrolled";
	d->rule = entry->on.when;
	d->event = event;
	(void) jny_run_explain(run, d, subject, event, j->owner, entry->on.when, entry->where);
	jny_subject_of(run, person, j, e, &e->subject);
	person->enrollments = lappend(person->enrollments, e);
	past->journey = j->name;
	past->key = key;
	past->occurrence = occurrence;
	past->ended_at = 0;
	person->past = lcons(past, person->past);
	jny_run_day(run, j->name)->n[JNY_COUNT_ENTERED]++;
	run->batch->entered++;
	jny_touch(run, e);
	jny_advance(run, e, 0, "entry", event->type, e->entered_at, 0, event);
}

/* Ends of this phase count for re-entry in the same phase. */
static void
refresh_past(JnyPerson *person, const JnyJourney *j)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, person->past)
	{
		JnyPast    *past = lfirst(lc);

		if (past->ended_at != 0 || strcmp(past->journey, j->name) != 0)
			continue;
		foreach(lc2, person->enrollments)
		{
			JnyEnrollment *e = lfirst(lc2);

			if (e->occurrence == past->occurrence && strcmp(e->key, past->key) == 0 &&
				strcmp(e->journey_name, past->journey) == 0)
				past->ended_at = e->exited_at;
		}
	}
}

static void
count_not_entered(JnyRun *run, int journey)
{
	if (run->not_entered[journey] == NULL)
		run->not_entered[journey] = &jny_run_day(run, run->journeys[journey]->name)->n[JNY_COUNT_NOT_ENTERED];
	(*run->not_entered[journey])++;
}

/* False when the entry's own condition does not hold. */
static bool
try_entry(JnyRun *run, JnyPerson *person, int journey, const JnyEntry *entry, const JnyEvent *event)
{
	const JnyJourney *j = run->journeys[journey];
	JnySubjectContext *subject = &run->subjects[event - run->batch->events];
	Datum		value;
	bool		isnull;
	char	   *key = "";
	const char *reason;
	int			occurrence;

	subject->key = NULL;
	if (jny_by_machine(event, entry->on.when) ||
		jny_run_judge(run, NULL, subject, event, j->owner, entry->on.when, entry->where) != JNY_TRUE)
	{
		count_not_entered(run, journey);
		return false;
	}
	if (entry->key != NULL)
	{
		if (!jny_run_value(run, subject, event, j->owner, entry->key, TEXTOID,
						   psprintf("journey/%s key", j->name), &value, NULL, &isnull) || isnull)
		{
			refuse(run, person, j, "", "no_key", entry->key, event);
			return true;
		}
		key = TextDatumGetCString(value);
	}
	subject->key = key;
	refresh_past(person, j);
	reason = check_reentry(run, person, j, key, event, &occurrence);
	if (reason == NULL)
		reason = check_person(run, person, j, event);
	if (reason == NULL)
		enroll(run, person, j, entry, event, key, occurrence, subject);
	else if (reason[0] != '\0')
		refuse(run, person, j, key, reason, NULL, event);
	return true;
}

static bool
may_enter(const JnyJourney *j, const JnyEvent *event)
{
	return strcmp(j->scope, "*") == 0 || strcmp(j->scope, event->scope) == 0;
}

/* Adds the parts that an expression reads. */
static uint32
parts_of(const char *text, Oid owner)
{
	char	   *error;
	JnyExpr    *expr = text != NULL && OidIsValid(owner) ? jny_expr_try(text, owner, InvalidOid, &error) : NULL;

	return expr != NULL ? jny_expr_parts(expr) : 0;
}

/* What condition, key and data of an entry read. */
static uint32
entry_parts(const JnyJourney *j, const JnyEntry *entry)
{
	uint32		parts = parts_of(entry->on.when, j->owner) | parts_of(entry->key, j->owner);

	for (int d = 0; d < entry->ndata; d++)
		parts |= parts_of(entry->data[d].value, j->owner);
	return parts;
}

/*
 * The entries that events of one type may take, in the order in which they are
 * tried: a lap has thousands of events, and few types.
 */
typedef struct Door
{
	int			journey;		/* place in run->journeys */
	const JnyEntry *entry;
} Door;

typedef struct JnyDoors
{
	const char *type;
	int			n;
	Door	   *door;
	struct JnyDoors *next;
} JnyDoors;

/* Doors beyond these are tried without being looked at before. */
#define FORETOLD 64

static const JnyDoors *
doors_of(JnyRun *run, const char *type)
{
	JnyDoors   *d = run->doors;
	int			max = 0;

	while (d != NULL && d->type != type && strcmp(d->type, type) != 0)
		d = d->next;
	if (d != NULL)
		return d;
	for (int i = 0; i < run->njourneys; i++)
		max += run->journeys[i]->nentries;
	d = palloc(sizeof(JnyDoors));
	d->type = type;
	d->n = 0;
	d->door = palloc(sizeof(Door) * (max + 1));
	for (int i = 0; i < run->njourneys; i++)
		for (int k = 0; k < run->journeys[i]->nentries; k++)
		{
			const JnyEntry *entry = &run->journeys[i]->entries[k];

			if (entry->on.ntypes > 0 && jny_on_type(&entry->on, type))
				d->door[d->n++] = (Door) {i, entry};
		}
	d->next = run->doors;
	run->doors = d;
	return d;
}

/* Whether the event itself says that the condition is false, whatever is known of the person. */
static bool
closes(JnyRun *run, JnySubjectContext *subject, const JnyJourney *j, const JnyEntry *entry)
{
	return jny_by_machine(subject->event, entry->on.when) ||
		jny_run_foretell(run, subject, JNY_PART_EVENT, j->owner, entry->on.when, entry->where) == JNY_FALSE;
}

/*
 * One subject for each event that some journey may be entered by, with what
 * the conditions read, loaded for the whole batch. Conditions that the event
 * itself makes false, as most do, are settled here, and nothing is read for them.
 */
void
jny_entry_prepare(JnyRun *run)
{
	JnyBatch   *batch = run->batch;
	JnySubjectContext **wanted = palloc(sizeof(JnySubjectContext *) * (batch->nevents + 1));
	int			n = 0;
	uint32		parts = 0;

	run->subjects = palloc0(sizeof(JnySubjectContext) * (batch->nevents + 1));
	run->closed = palloc0(sizeof(uint64) * (batch->nevents + 1));
	run->not_entered = palloc0(sizeof(int64 *) * (run->njourneys + 1));
	if (batch->node.mode == JNY_MODE_OFF && !run->preview)
		return;					/* nobody enters */
	for (int ev = 0; ev < batch->nevents; ev++)
	{
		const JnyEvent *event = &batch->events[ev];
		JnySubjectContext *subject = &run->subjects[ev];
		const JnyDoors *doors;
		bool		some = false;

		if (event->is_action || event->backfill)
			continue;
		doors = doors_of(run, event->type);
		for (int i = 0; i < doors->n; i++)
		{
			const JnyJourney *j = run->journeys[doors->door[i].journey];

			if (!may_enter(j, event))
				continue;
			if (subject->event == NULL)
			{
				jny_subject_of(run, jny_run_person(run, event->profile), NULL, NULL, subject);
				subject->scope = event->scope;
				subject->event = event;
			}
			if (i < FORETOLD && closes(run, subject, j, doors->door[i].entry))
				run->closed[ev] |= UINT64CONST(1) << i;
			else
			{
				parts |= entry_parts(j, doors->door[i].entry);
				some = true;
			}
		}
		if (some)
			wanted[n++] = subject;
	}
	if (n > 0 && parts != 0)
		jny_subjects_load(wanted, n, parts);
}

void
jny_entry_apply(JnyRun *run, const JnyEvent *event)
{
	const JnyDoors *doors;
	JnyPerson  *person = NULL;
	uint64		closed = run->closed[event - run->batch->events];
	int			entered = -1;	/* by one door only */

	if (event->is_action || event->backfill)
		return;
	doors = doors_of(run, event->type);
	for (int i = 0; i < doors->n; i++)
	{
		const Door *door = &doors->door[i];

		if (door->journey == entered || !may_enter(run->journeys[door->journey], event))
			continue;
		if (i < FORETOLD && (closed & (UINT64CONST(1) << i)))
		{
			count_not_entered(run, door->journey);
			continue;
		}
		if (person == NULL)
			person = jny_run_person(run, event->profile);
		if (try_entry(run, person, door->journey, door->entry, event))
			entered = door->journey;
	}
}
