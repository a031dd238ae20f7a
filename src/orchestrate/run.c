/*
 * run.c
 *		A phase of a lap: its people, and how conditions are judged for them.
 *
 * Called by every file of the room. No locks, no writes. Memory: run->cxt,
 * which is the lap's context. A rule that no longer compiles never raises: it
 * is unknown, and an incident of kind broken_rule names it. One that fails on
 * some values is unknown for these; that is a rule_error.
 */
#include "orchestrate/engine.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

static HTAB *
make_table(JnyRun *run, const char *name, Size key, Size entry, int flags)
{
	HASHCTL		ctl = {0};

	ctl.keysize = key;
	ctl.entrysize = entry;
	ctl.hcxt = run->cxt;
	return hash_create(name, 128, &ctl, HASH_ELEM | HASH_CONTEXT | flags);
}

typedef struct ById
{
	pg_uuid_t	id;
	void	   *what;
} ById;

JnyRun *
jny_run_start(JnyBatch *batch, bool preview)
{
	JnyRun	   *run = palloc0(sizeof(JnyRun));

	run->batch = batch;
	run->cxt = CurrentMemoryContext;
	run->scratch = AllocSetContextCreate(run->cxt, "journey condition", ALLOCSET_DEFAULT_SIZES);
	run->preview = preview;
	run->now = batch->node.now;
	jny_documents_refresh();
	run->policy = jny_policy();
	run->njourneys = jny_journeys_active(&run->journeys);
	run->people = make_table(run, "journey people", sizeof(pg_uuid_t), sizeof(JnyPerson), HASH_BLOBS);
	run->by_id = make_table(run, "journey enrollments", sizeof(pg_uuid_t), sizeof(ById), HASH_BLOBS);
	run->refusals = make_table(run, "journey refusals", sizeof(pg_uuid_t), sizeof(ById), HASH_BLOBS);
	run->days = make_table(run, "journey days", sizeof(((JnyDay *) 0)->journey), sizeof(JnyDay), HASH_STRINGS);
	return run;
}

JnyPerson *
jny_run_person(JnyRun *run, JnyProfile *profile)
{
	bool		found;
	JnyPerson  *person = hash_search(run->people, &profile->id, HASH_ENTER, &found);

	if (!found)
	{
		memset(person, 0, sizeof(*person));
		person->id = profile->id;
		person->profile = profile;
	}
	return person;
}

JnyDay *
jny_run_day(JnyRun *run, const char *journey)
{
	bool		found;
	JnyDay	   *day = hash_search(run->days, journey, HASH_ENTER, &found);

	if (!found)
	{
		day->before = 0;
		memset(day->n, 0, sizeof(day->n));
	}
	return day;
}

Datum
jny_run_today(JnyRun *run)
{
	return DirectFunctionCall1(timestamp_date, TimestampGetDatum(jny_zone_local(run->now, run->policy->zone)));
}

/* Does what happened in one scope concern the other? */
bool
jny_same_scope(const JnyRun *run, const char *a, const char *b)
{
	return strcmp(a, b) == 0 || strcmp(a, "*") == 0 || strcmp(b, "*") == 0 ||
		run->policy->fences_cross_scopes;
}

void
jny_run_incident(JnyRun *run, const char *kind, const char *name, const char *message)
{
	JnyIncident *in;
	ListCell   *lc;

	foreach(lc, run->incidents)
	{
		in = lfirst(lc);
		if (strcmp(in->kind, kind) == 0 && strcmp(in->name, name) == 0)
		{
			in->count++;
			/* of several messages the same one, whichever came first */
			if (strcmp(message, in->message) < 0)
				in->message = message;
			return;
		}
	}
	in = palloc(sizeof(JnyIncident));
	in->kind = kind;
	in->name = name;
	in->message = message;
	in->count = 1;
	run->incidents = lappend(run->incidents, in);
}

JnyEnrollment *
jny_enrollment_of(const JnyPerson *person, const pg_uuid_t *id)
{
	ListCell   *lc;

	foreach(lc, person->enrollments)
		if (memcmp(&((JnyEnrollment *) lfirst(lc))->id, id, UUID_LEN) == 0)
			return lfirst(lc);
	return NULL;
}

/* What conditions about this person on this journey speak of. */
void
jny_subject_of(JnyRun *run, JnyPerson *person, const JnyJourney *journey,
			   const JnyEnrollment *e, JnySubjectContext *subject)
{
	memset(subject, 0, sizeof(*subject));
	subject->cxt = run->cxt;
	subject->profile_id = person->id;
	subject->profile = person->profile;
	subject->now = run->now;
	if (e == NULL)
		return;
	subject->scope = e->scope;
	subject->key = e->key;
	subject->cart_id = e->entry_cart[0] ? e->entry_cart : NULL;
	subject->entry = e->data;
	subject->steps = e->steps;
	if (strncmp(e->entry_ref, "order:", 6) == 0)
		subject->order_id = e->entry_ref + 6;
}

/* The moment and the event that conditions speak of; product.* and the like may follow the event. */
void
jny_subject_at(JnyRun *run, JnySubjectContext *subject, const JnyEvent *event)
{
	if (subject->event != event && subject->parts != NULL)
		jny_subject_forget(subject);
	subject->event = event;
	subject->now = run->now;
}

static JnyExpr *
compile(JnyRun *run, Oid owner, const char *text, Oid wanted, const char *where)
{
	char	   *error = NULL;
	JnyExpr    *expr = NULL;

	if (!OidIsValid(owner))
		error = "the role that owns the rule is gone";
	else
		expr = jny_expr_try(text, owner, wanted, &error);
	if (expr == NULL)
		jny_run_incident(run, "broken_rule", where, error != NULL ? error : "the rule does not compile");
	return expr;
}

/* What could not be computed is unknown; that it could not, somebody should hear. */
static void
report_failure(JnyRun *run, const char *where, const char *error)
{
	if (error != NULL)
		jny_run_incident(run, "rule_error", where, MemoryContextStrdup(run->cxt, error));
}

JnyVerdict
jny_run_judge(JnyRun *run, const JnyEnrollment *e, JnySubjectContext *subject,
			  const JnyEvent *event, Oid owner, const char *text, const char *where)
{
	JnyExpr    *expr;
	JnyVerdict	verdict;
	MemoryContext here;

	if (text == NULL)
		return JNY_TRUE;
	expr = compile(run, owner, text, BOOLOID, where);
	if (expr == NULL)
		return JNY_UNKNOWN;
	jny_subject_at(run, subject, event);
	if (e != NULL)
	{
		subject->entry = e->data;
		subject->steps = e->steps;
	}
	/* what is computed on the way to a verdict goes at once: there are many conditions to an event, and most are false */
	here = MemoryContextSwitchTo(run->scratch);
	verdict = jny_expr_verdict(expr, jny_subject_resolve, subject);
	MemoryContextSwitchTo(here);
	MemoryContextReset(run->scratch);
	report_failure(run, where, jny_expr_error(expr));
	return verdict;
}

/* False when the event alone makes the condition false; else unknown. The subject is of this event. */
JnyVerdict
jny_run_foretell(JnyRun *run, JnySubjectContext *subject, uint32 parts, Oid owner, const char *text, const char *where)
{
	char	   *error;				/* it is told when the condition is judged */
	JnyExpr    *expr = text != NULL && OidIsValid(owner) ? jny_expr_try(text, owner, BOOLOID, &error) : NULL;
	JnyVerdict	verdict;
	MemoryContext here;

	if (expr == NULL)
		return JNY_UNKNOWN;
	here = MemoryContextSwitchTo(run->scratch);
	verdict = jny_expr_foretell(expr, parts, jny_subject_resolve, subject);
	MemoryContextSwitchTo(here);
	MemoryContextReset(run->scratch);
	if (verdict == JNY_FALSE)
		report_failure(run, where, jny_expr_error(expr));
	return verdict;
}

static void
keep_clauses(JnyRun *run, JnyDecision *d, List *clauses, const char *where)
{
	ListCell   *lc;

	foreach(lc, clauses)
	{
		JnyClause  *c = lfirst(lc);

		jny_decision_clause(d, c->clause, c->verdict);
		report_failure(run, where, c->error);
		if (c->error != NULL)
		{
			d->failed = true;
			/* inside the object that was just closed */
			d->clauses->data[--d->clauses->len] = '\0';
			appendStringInfoString(d->clauses, ", \"error\": ");
			escape_json(d->clauses, c->error);
			appendStringInfoChar(d->clauses, '}');
		}
	}
}

JnyVerdict
jny_run_explain(JnyRun *run, JnyDecision *decision, JnySubjectContext *subject,
				const JnyEvent *event, Oid owner, const char *text, const char *where)
{
	JnyExpr    *expr;
	List	   *clauses = NIL;
	Jsonb	   *inputs = NULL;
	JnyVerdict	verdict;

	if (text == NULL)
		return JNY_TRUE;
	expr = compile(run, owner, text, BOOLOID, where);
	if (expr == NULL)
	{
		jny_decision_clause(decision, text, JNY_UNKNOWN);
		decision->failed = true;
		return JNY_UNKNOWN;
	}
	jny_subject_at(run, subject, event);
	verdict = jny_expr_explain(expr, jny_subject_resolve, subject, &clauses, &inputs);
	keep_clauses(run, decision, clauses, where);
	if (inputs != NULL)
		decision->inputs = lappend(decision->inputs, inputs);
	return verdict;
}

bool
jny_run_value(JnyRun *run, JnySubjectContext *subject, const JnyEvent *event, Oid owner,
			  const char *text, Oid wanted, const char *where,
			  Datum *value, Oid *type, bool *isnull)
{
	JnyExpr    *expr = compile(run, owner, text, wanted, where);

	*isnull = true;
	*value = (Datum) 0;
	if (expr == NULL)
		return false;
	jny_subject_at(run, subject, event);
	*value = jny_expr_value(expr, jny_subject_resolve, subject, isnull);
	report_failure(run, where, jny_expr_error(expr));
	if (type != NULL)
		*type = jny_expr_type(expr);
	return true;
}

/* An {"on", "match", "when"} of this enrollment, the event's type already known to fit. */
JnyVerdict
jny_run_on(JnyRun *run, JnyEnrollment *e, const JnyEvent *event, const JnyOn *on, const char *where)
{
	JnyVerdict	match = jny_run_judge(run, e, &e->subject, event, e->journey->owner, on->match, where);
	JnyVerdict	when;

	if (match == JNY_FALSE || (event != NULL && jny_by_machine(event, on->match) && jny_by_machine(event, on->when)))
		return JNY_FALSE;
	when = jny_run_judge(run, e, &e->subject, event, e->journey->owner, on->when, where);
	if (when == JNY_FALSE)
		return JNY_FALSE;
	return match == JNY_TRUE && when == JNY_TRUE ? JNY_TRUE : JNY_UNKNOWN;
}

/* The person's time zone, or the house's while that is unknown. */
const char *
jny_zone_of(JnyRun *run, const JnyPerson *person)
{
	const char *own = person->profile->zone;

	return jny_zone_valid(own) ? own : run->policy->zone;
}

/* Days, weeks and months of a document are those of the person's calendar. */
TimestampTz
jny_later(JnyRun *run, const JnyPerson *person, TimestampTz at, const Interval *span)
{
	return jny_zone_plus(at, span, jny_zone_of(run, person));
}
