/*
 * journey_doc.c
 *		A journey document as the engine walks it: edges as step numbers,
 *		defaults and short forms spelled out.
 *
 * Called by the cache of documents (document.c), in its memory context. Pure:
 * reads no table. The document has passed lint; what contradicts lint's rules
 * all the same is a fault of ours (XX000).
 */
#include "orchestrate/journey_doc.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"

#define DEFAULT_PRIORITY 50
#define DEFAULT_RESTARTS 20
#define DEFAULT_NOT_AFTER "7 days"

/* Number of a step by the name in this field; NONE when the field is absent. */
static int
edge(const JnyJourney *j, Jsonb *object, const char *key)
{
	char	   *name = jny_json_text(object, key);
	int			to;

	if (name == NULL)
		return JNY_EDGE_NONE;
	to = jny_step_index(j, name);
	if (to < 0)
		elog(ERROR, "journey \"%s\" version %d: no step \"%s\"", j->name, j->version, name);
	return to;
}

static int
edge_or_default(const JnyJourney *j, Jsonb *step, Jsonb *defaults, const char *key)
{
	int			own = edge(j, step, key);

	return own != JNY_EDGE_NONE ? own : edge(j, defaults, key);
}

/* Its own edges; those of the defaults behind them, unless it has one for every reason. */
static void
parse_refused(JnyJourney *j, JnyStep *s, Jsonb *step, Jsonb *defaults)
{
	Jsonb	   *from[2] = {step, defaults};
	JnyNamed   *named;
	bool		any;
	int			n;

	for (int i = 0; i < 2; i++)
	{
		if (i == 1 && jny_edge_refused(s, "*") != JNY_EDGE_NONE)
			break;
		n = jny_doc_named(from[i], "on_refused", &named);
		any = n == 0 && jny_json_text(from[i], "on_refused") != NULL;
		if (any)
			n = 1;
		if (n == 0)
			continue;
		s->refused = s->refused == NULL ? palloc(sizeof(JnyEdge) * n)
			: repalloc(s->refused, sizeof(JnyEdge) * (s->nrefused + n));
		for (int k = 0; k < n; k++)
		{
			JnyEdge    *e = &s->refused[s->nrefused++];

			e->on = any ? "*" : named[k].name;
			e->to = any ? edge(j, from[i], "on_refused") : jny_step_index(j, named[k].value);
		}
	}
}

static void
parse_send(JnyJourney *j, JnyStep *s, Jsonb *step, Jsonb *defaults, Jsonb *refs)
{
	Jsonb	   *send = jny_json_object(step, "send");
	JsonbValue *items;

	s->nchannels = jny_doc_texts(send, "channel", &s->channels);
	s->template = jny_json_text(send, "template");
	s->ndata = jny_doc_named(send, "data", &s->data);
	s->placement = jny_json_text(send, "placement");
	s->not_after = jny_json_interval(send, "not_after");
	if (s->not_after == NULL)
		s->not_after = jny_json_interval(defaults, "not_after");
	if (s->not_after == NULL)
		s->not_after = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(DEFAULT_NOT_AFTER),
															 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	s->late = jny_json_interval(send, "late");
	if (s->late == NULL)
		s->late = jny_json_interval(defaults, "late");

	s->nrequire = jny_doc_items(send, "require", &items);
	s->require = s->nrequire == 0 ? NULL : palloc0(sizeof(JnyRequire) * s->nrequire);
	for (int i = 0; i < s->nrequire; i++)
	{
		JnyRequire *r = &s->require[i];
		Jsonb	   *o = jny_doc_of(&items[i]);

		if (o == NULL)
		{
			r->stock = jny_json_scalar_text(&items[i]) + strlen("stock:");
			r->reason = "out_of_stock";
		}
		else
		{
			r->when = jny_doc_when(o);
			r->reason = jny_json_text(o, "reason");
			r->on_unknown = jny_doc_on_unknown(o);
		}
	}
	parse_refused(j, s, step, defaults);

	for (uint32 i = 0; refs != NULL && i < JB_ROOT_COUNT(refs); i++)
	{
		JsonbValue *v = getIthJsonbValueFromContainer(&refs->root, i);
		Jsonb	   *ref = jny_doc_of(v);

		if (strcmp(jny_json_text(ref, "kind"), "template") == 0 && strcmp(jny_json_text(ref, "name"), s->template) == 0)
			s->template_version = (int) jny_doc_number(ref, "version", 0);
	}
}

static void
parse_wait(JnyJourney *j, JnyStep *s, Jsonb *step)
{
	Jsonb	   *wait = jny_json_object(step, "wait");
	Jsonb	   *until = jny_json_object(wait, "until_event");
	Jsonb	  **restart;
	const char **of;

	s->kind = until != NULL ? JNY_STEP_WAIT_EVENT : JNY_STEP_WAIT_FOR;
	s->wait_for = jny_json_interval(wait, "for");
	s->restart_max = (int) jny_doc_number(wait, "restart_max", DEFAULT_RESTARTS);
	s->nrestart = jny_doc_objects(wait, "restart_on", &restart);
	s->restart = s->nrestart == 0 ? NULL : palloc0(sizeof(JnyOn) * s->nrestart);
	for (int i = 0; i < s->nrestart; i++)
		jny_doc_on(&s->restart[i], restart[i]);

	s->timeout = jny_json_interval(wait, "timeout");
	jny_doc_on(&s->until, until);
	s->nof = jny_doc_texts(until, "of", &of);
	s->of = s->nof == 0 ? NULL : palloc(sizeof(int) * s->nof);
	for (int i = 0; i < s->nof; i++)
		s->of[i] = jny_step_index(j, of[i]);
	s->on_timeout = edge(j, step, "on_timeout");
	if (s->on_timeout == JNY_EDGE_NONE)
		s->on_timeout = s->next;
}

static void
parse_step(JnyJourney *j, JnyStep *s, Jsonb *step, Jsonb *defaults, Jsonb *refs)
{
	Jsonb	  **branch;

	s->next = edge(j, step, "next");
	s->on_timeout = s->next;
	s->on_failed = edge_or_default(j, step, defaults, "on_failed");
	s->on_unknown = edge_or_default(j, step, defaults, "on_unknown");
	s->on_else = edge(j, step, "else");
	s->exit_reason = jny_json_text(step, "exit");
	if (s->exit_reason != NULL)
		s->kind = JNY_STEP_EXIT;
	else if (jny_json_object(step, "send") != NULL)
	{
		s->kind = JNY_STEP_SEND;
		parse_send(j, s, step, defaults, refs);
	}
	else if (jny_json_object(step, "wait") != NULL)
		parse_wait(j, s, step);
	else
	{
		s->kind = JNY_STEP_BRANCH;
		s->nbranch = jny_doc_objects(step, "branch", &branch);
		s->branch = palloc0(sizeof(JnyEdge) * Max(1, s->nbranch));
		for (int i = 0; i < s->nbranch; i++)
		{
			s->branch[i].on = jny_json_text(branch[i], "when");
			s->branch[i].to = edge(j, branch[i], "to");
		}
	}
}

/* Names first, so that edges can be resolved; the first step becomes number 0. */
static void
parse_steps(JnyJourney *j, Jsonb *refs, const char *start)
{
	Jsonb	   *steps = jny_json_object(j->doc, "steps");
	Jsonb	   *defaults = jny_json_object(j->doc, "defaults");
	JnyNamed   *names;

	j->nsteps = jny_doc_named(j->doc, "steps", &names);
	j->steps = palloc0(sizeof(JnyStep) * j->nsteps);
	for (int i = 0; i < j->nsteps; i++)
	{
		if (start != NULL && strcmp(names[i].name, start) == 0)
		{
			j->steps[i].name = j->steps[0].name;
			j->steps[0].name = names[i].name;
			start = NULL;
		}
		else
			j->steps[i].name = names[i].name;
	}
	if (start != NULL)
		elog(ERROR, "journey \"%s\" version %d: no first step \"%s\"", j->name, j->version, start);
	for (int i = 0; i < j->nsteps; i++)
		parse_step(j, &j->steps[i], jny_json_object(steps, j->steps[i].name), defaults, refs);
}

static void
parse_entries(JnyJourney *j)
{
	static const char *const short_keys[][2] = {
		{"cart", "event.cart_id"}, {"order", "event.order_id"},
		{"product", "event.sku"}, {"session", "event.session_id"}
	};
	Jsonb	  **entries;

	j->nentries = jny_doc_objects(j->doc, "entry", &entries);
	j->entries = palloc0(sizeof(JnyEntry) * Max(1, j->nentries));
	for (int i = 0; i < j->nentries; i++)
	{
		JnyEntry   *e = &j->entries[i];
		char	   *key = jny_json_text(entries[i], "key");
		JnyNamed   *named;

		jny_doc_on(&e->on, entries[i]);
		e->where = psprintf("journey/%s entry", j->name);
		e->ndata = jny_doc_named(entries[i], "data", &e->data);
		for (size_t k = 0; key != NULL && k < lengthof(short_keys); k++)
			if (strcmp(key, short_keys[k][0]) == 0)
			{
				e->key_namespace = short_keys[k][0];
				e->key = short_keys[k][1];
			}
		if (key == NULL && jny_doc_named(entries[i], "key", &named) == 1)
		{
			e->key_namespace = named[0].name;
			e->key = named[0].value;
		}
	}
}

static void
parse_ends(JnyJourney *j)
{
	Jsonb	  **exits;
	Jsonb	   *goal = jny_json_object(j->doc, "goal");
	JsonbValue *items;
	StringInfoData buf;

	j->nexits = jny_doc_objects(j->doc, "exit", &exits);
	j->exits = palloc0(sizeof(JnyOn) * Max(1, j->nexits));
	for (int i = 0; i < j->nexits; i++)
		jny_doc_on(&j->exits[i], exits[i]);

	j->has_goal = goal != NULL;
	jny_doc_on(&j->goal, goal);
	j->goal_within = jny_json_interval(goal, "within");

	j->nsuppress = jny_doc_items(j->doc, "suppress_on", &items);
	j->suppress = palloc0(sizeof(JnyOn) * Max(1, j->nsuppress));
	initStringInfo(&buf);
	appendStringInfoChar(&buf, '[');
	for (int i = 0; i < j->nsuppress; i++)
	{
		JnyOn	   *on = &j->suppress[i];
		Jsonb	   *o = jny_doc_of(&items[i]);

		if (o != NULL)
			jny_doc_on(on, o);
		else
		{
			on->ntypes = 1;
			on->types = palloc(sizeof(char *));
			on->types[0] = jny_json_scalar_text(&items[i]);
		}
		appendStringInfo(&buf, "%s{\"on\": ", i > 0 ? ", " : "");
		escape_json(&buf, on->types[0]);
		appendStringInfo(&buf, ", \"match\": %s}", on->match != NULL ? "true" : "false");
	}
	appendStringInfoChar(&buf, ']');
	j->suppress_on = jny_json_parse(buf.data);
}

/* How often, when, to whom: the journey's own word. */
static void
parse_limits(JnyJourney *j)
{
	Jsonb	   *control = jny_json_object(j->doc, "control");
	Jsonb	   *rollout = jny_json_object(j->doc, "rollout");
	Jsonb	   *group = jny_json_object(j->doc, "exclusion_group");

	j->holdout = jny_doc_number(j->doc, "holdout", jny_doc_number(control, "holdout", 0));
	j->holdout_salt = psprintf("journey/%s", j->name);
	j->rollout = jny_doc_number(rollout, "percent", 100) / 100;
	j->rollout_salt = psprintf("rollout/%s", j->name);
	j->max_per_day = (int) jny_doc_number(rollout, "max_per_day", 0);
	j->exclusion = group != NULL ? jny_json_text(group, "name") : jny_json_text(j->doc, "exclusion_group");
	if (j->exclusion != NULL)
		j->exclusion_per = group != NULL ? jny_json_text(group, "per") : "person";
	j->caps = jny_json_object(j->doc, "caps");
	j->quiet = jny_json_object(j->doc, "quiet_hours");
}

static double
confidence_of(const char *word)
{
	static const struct
	{
		const char *word;
		double		least;
	}			classes[] = {{"low", 0.5}, {"medium", 0.8}, {"high", 1.0}};

	for (size_t i = 0; word != NULL && i < lengthof(classes); i++)
		if (strcmp(word, classes[i].word) == 0)
			return classes[i].least;
	return 0;
}

/* Where it acts: what it says, else what goes with its stage. */
static const char *
touchpoint_of(Jsonb *doc, const char *stage)
{
	static const char *const of_stage[][2] = {
		{"awareness", "search"}, {"consideration", "product_page"}, {"purchase", "cart"},
		{"fulfillment", "order_update"}, {"post_purchase", "service"}, {"loyalty", "loyalty"},
		{"win_back", "reactivation"}
	};
	const char *own = jny_json_text(doc, "touchpoint");

	for (size_t i = 0; own == NULL && stage != NULL && i < lengthof(of_stage); i++)
		if (strcmp(stage, of_stage[i][0]) == 0)
			return of_stage[i][1];
	return own;
}

JnyJourney *
jny_journey_parse(const char *name, int version, Oid owner, Jsonb *doc,
				  Jsonb *refs, const char *start)
{
	JnyJourney *j = palloc0(sizeof(JnyJourney));
	Jsonb	   *identity = jny_json_object(doc, "identity");
	Jsonb	   *reentry = jny_json_object(doc, "reentry");
	char	   *after = jny_json_text(reentry, "after");
	char	   *otherwise = jny_json_text(identity, "otherwise");
	char	   *per = jny_json_text(reentry, "per");

	j->name = name;
	j->version = version;
	j->owner = owner;
	j->doc = doc;
	j->scope = jny_json_text(doc, "scope");
	if (j->scope == NULL)
		j->scope = "*";
	j->purpose = jny_json_text(doc, "purpose");
	j->stage = jny_json_text(doc, "stage");
	j->touchpoint = touchpoint_of(doc, j->stage);
	j->priority = (int) jny_doc_number(doc, "priority", DEFAULT_PRIORITY);
	j->min_confidence = confidence_of(jny_json_text(identity, "min_confidence"));
	j->low_identity = otherwise != NULL ? otherwise : "refuse";
	j->reentry_per = per != NULL && strcmp(per, "person") == 0 ? JNY_REENTRY_PERSON : JNY_REENTRY_KEY;
	j->reentry_never = after != NULL && strcmp(after, "never") == 0;
	if (after != NULL && !j->reentry_never && strcmp(after, "0") != 0)
		j->reentry_after = jny_json_interval(reentry, "after");
	parse_entries(j);
	parse_ends(j);
	parse_limits(j);
	parse_steps(j, refs, start);
	return j;
}

int
jny_step_index(const JnyJourney *journey, const char *step)
{
	for (int i = 0; step != NULL && i < journey->nsteps; i++)
		if (strcmp(journey->steps[i].name, step) == 0)
			return i;
	return -1;
}

/*
 * The reason by name, own or default, before any "*"; of two "*" the step's
 * own is the first. A step whose own edge is for every reason has no defaults.
 */
int
jny_edge_refused(const JnyStep *step, const char *reason)
{
	int			other = JNY_EDGE_NONE;

	for (int i = 0; i < step->nrefused; i++)
	{
		if (strcmp(step->refused[i].on, reason) == 0)
			return step->refused[i].to;
		if (other == JNY_EDGE_NONE && strcmp(step->refused[i].on, "*") == 0)
			other = step->refused[i].to;
	}
	return other;
}

bool
jny_on_type(const JnyOn *on, const char *type)
{
	for (int i = 0; i < on->ntypes; i++)
		if (strcmp(on->types[i], type) == 0)
			return true;
	return on->ntypes == 0;
}
