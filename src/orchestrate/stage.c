/*
 * stage.c
 *		The main stage of a person, moved by rules of kind stage, and the
 *		history of the stages of carts, orders and shipments.
 *
 * Called for each event. The first rule that fits, by falling priority, moves
 * the person; a rule that names the stage they are in moves nobody. Memory
 * only: observe writes profile_state, write.c the history.
 */
#include "orchestrate/engine.h"

static bool
leaves(const JnyRule *r, const char *stage)
{
	if (r->nfrom == 0)
		return true;
	for (int i = 0; i < r->nfrom; i++)
		if (strcmp(r->from[i], stage) == 0)
			return true;
	return false;
}

static void
put_row(JnyRun *run, const JnyProfile *p, int64 seq, const char *object, const char *from, const char *to,
		TimestampTz at, const char *rule, const pg_uuid_t *event_id)
{
	JnyCols    *c = jny_rows(run, JNY_ROWS_STAGES);

	jny_cols_set(c, 0, Int16GetDatum(p->bucket));
	jny_cols_set(c, 1, jny_uuid_datum(&p->id));
	jny_cols_set(c, 2, Int64GetDatum(seq));
	jny_cols_set(c, 3, Int32GetDatum(jny_cols_count(c) + 1));
	jny_cols_text(c, 4, object);
	jny_cols_text(c, 5, from);
	jny_cols_text(c, 6, to);
	jny_cols_set(c, 7, TimestampTzGetDatum(at));
	jny_cols_text(c, 8, rule);
	if (event_id != NULL)
		jny_cols_set(c, 9, UUIDPGetDatum(event_id));
	jny_cols_set(c, 10, BoolGetDatum(run->batch->node.test));
	jny_cols_next(c);
}

static void
move(JnyRun *run, JnyProfile *p, const JnyRule *r, const JnyEvent *event)
{
	put_row(run, p, event->seq, "", p->stage, r->to, event->occurred_at,
			psprintf("%s v%d #%d", r->document, r->version, r->n + 1), &event->event_id);
	p->stage = MemoryContextStrdup(run->batch->cxt, r->to);
	p->dirty = true;
}

/* Their stage follows from their state, which observe has moved; no rule says otherwise. */
void
jny_stage_objects(JnyRun *run)
{
	ListCell   *lc;

	foreach(lc, run->batch->moves)
	{
		const JnyObjectMove *m = lfirst(lc);

		put_row(run, m->profile, m->seq, m->object, m->from, m->to, m->at, psprintf("status %s", m->status), NULL);
	}
}

void
jny_stage_apply(JnyRun *run, const JnyEvent *event)
{
	const JnyRule *rules;
	int			n = jny_rules("stage", &rules);
	JnyProfile *p = event->profile;
	JnySubjectContext subject;

	if (event->is_action || n == 0)
		return;
	jny_subject_of(run, jny_run_person(run, p), NULL, NULL, &subject);
	subject.scope = event->scope;
	for (int i = 0; i < n; i++)
	{
		const JnyRule *r = &rules[i];

		if (r->to == NULL || !jny_on_type(&r->on, event->type) || !leaves(r, p->stage) ||
			(strcmp(r->scope, "*") != 0 && strcmp(r->scope, event->scope) != 0) ||
			event->occurred_at < r->valid_from || event->occurred_at >= r->valid_to)
			continue;
		if (r->on.when != NULL &&
			jny_run_judge(run, NULL, &subject, event, r->owner, r->on.when,
						  psprintf("%s #%d", r->document, r->n + 1)) != JNY_TRUE)
			continue;
		if (strcmp(r->to, p->stage) != 0)
			move(run, p, r, event);
		return;
	}
}
