/*
 * preview.c
 *		journey.preview(): the way that one person would take, by the engine
 *		itself, with nothing written.
 *
 * The person's last event of an entry type (or, where there is none, an empty
 * one) is played at the given moment; waits are passed by moving the clock to
 * their end, sends are taken as sent when they are due. Reads only; memory of
 * the call.
 */
#include "orchestrate/engine.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define MAX_MOVES 100

PG_FUNCTION_INFO_V1(journey_preview);

JNY_PLAN(last_event, "smallint, uuid, text[], text",
		 "SELECT e.type, e.scope, e.source, e.props, e.seq FROM journey.event e"
		 " WHERE e.bucket = $1 AND e.profile_id = $2 AND e.type = ANY ($3) AND ($4 = '*' OR e.scope = $4)"
		 " ORDER BY e.received_at DESC, e.seq DESC LIMIT 1");

static const JnyJourney *
find_journey(const char *name)
{
	const JnyJourney **list;
	int			n = jny_journeys_active(&list);

	for (int i = 0; i < n; i++)
		if (strcmp(list[i]->name, name) == 0)
			return list[i];
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("there is no live journey named \"%s\"", name),
			 errhint("The rows of journey.document with kind journey and state active are the live ones.")));
	return NULL;
}

static Datum
entry_types(const JnyJourney *j)
{
	JnyCols    *cols = jny_cols("text");

	for (int i = 0; i < j->nentries; i++)
		for (int t = 0; t < j->entries[i].on.ntypes; t++)
		{
			jny_cols_text(cols, 0, j->entries[i].on.types[t]);
			jny_cols_next(cols);
		}
	return jny_cols_datums(cols, 0)[0];
}

static void
fill_event(JnyEvent *ev, JnyProfile *profile, const JnyJourney *j, TimestampTz at, int64 seq)
{
	Datum		values[4] = {
		Int16GetDatum(profile->bucket), UUIDPGetDatum(&profile->id),
		entry_types(j), CStringGetTextDatum(j->scope)
	};
	bool		isnull;

	memset(ev, 0, sizeof(*ev));
	jny_uuid_v7(&ev->event_id);
	ev->seq = seq;
	ev->occurred_at = at;
	ev->profile = profile;
	ev->source = "preview";
	if (jny_run(&last_event, values, NULL) == 1)
	{
		ev->type = pstrdup(jny_get_text(0, 1));
		ev->scope = pstrdup(jny_get_text(0, 2));
		ev->source = pstrdup(jny_get_text(0, 3));
		ev->props = DatumGetJsonbPCopy(jny_get(0, 4, &isnull));
	}
	else
	{
		ev->type = j->nentries > 0 && j->entries[0].on.ntypes > 0 ? j->entries[0].on.types[0] : "preview";
		ev->scope = strcmp(j->scope, "*") == 0 ? "default" : j->scope;
		ev->props = jny_json_parse("{}");
	}
	ev->cart_id = jny_json_text(ev->props, "cart_id");
	ev->order_id = jny_json_text(ev->props, "order_id");
	ev->sku = jny_json_text(ev->props, "sku");
	ev->session_id = jny_json_text(ev->props, "session_id");
	if (ev->order_id != NULL)
		ev->ref = psprintf("order:%s", ev->order_id);
	else if (ev->cart_id != NULL)
		ev->ref = psprintf("cart:%s", ev->cart_id);
}

/* Walks until the journey ends or nothing moves it any more. */
static void
walk(JnyRun *run, JnyPerson *person, const JnyJourney *j)
{
	JnyEnrollment *e = NULL;
	ListCell   *lc;

	foreach(lc, person->enrollments)
		if (((JnyEnrollment *) lfirst(lc))->is_new)
			e = lfirst(lc);
	for (int i = 0; e != NULL && e->exited_at == 0 && i < MAX_MOVES; i++)
	{
		const JnyStep *step;

		run->batch->lap++;
		e->hops = 0;
		jny_decide_all(run);
		if (e->exited_at != 0)
			break;
		step = &e->journey->steps[e->step];
		if (e->wake_at != 0)
		{
			run->now = Max(run->now, e->wake_at);
			jny_timer_fired(run, e, e->planned_at);
		}
		else if (step->kind == JNY_STEP_SEND && run->actions != NIL)
		{
			JnyAction  *a = llast(run->actions);

			run->now = Max(run->now, a->due_at);
			person->actions = NIL;
			jny_advance(run, e, step->next, "next", "taken as sent", run->now, 0, NULL);
		}
		else
			break;
	}
}

static void
entry_verdict(JnyRun *run)
{
	ListCell   *lc;

	foreach(lc, run->decisions)
	{
		JnyDecision *d = lfirst(lc);
		JnyPathRow *row;

		if (strcmp(d->kind, "entry") != 0)
			continue;
		row = palloc0(sizeof(JnyPathRow));
		row->at = run->now;
		row->step = "(entry)";
		row->what = "entry";
		row->verdict = d->verdict;
		row->reason = d->reason;
		row->detail = d->clauses ? psprintf("[%s]", d->clauses->data) : NULL;
		run->path = lcons(row, run->path);
		return;
	}
	if (run->path == NIL)
	{
		JnyPathRow *row = palloc0(sizeof(JnyPathRow));

		row->at = run->now;
		row->step = "(entry)";
		row->what = "entry";
		row->verdict = "not_enrolled";
		row->reason = "condition";
		run->path = list_make1(row);
	}
}

static void
put_rows(ReturnSetInfo *rsinfo, List *path)
{
	ListCell   *lc;

	foreach(lc, path)
	{
		JnyPathRow *row = lfirst(lc);
		Datum		values[6] = {0};
		bool		nulls[6] = {false, false, false, row->verdict == NULL, row->reason == NULL, row->detail == NULL};

		values[0] = TimestampTzGetDatum(row->at);
		values[1] = CStringGetTextDatum(row->step);
		values[2] = CStringGetTextDatum(row->what);
		if (row->verdict)
			values[3] = CStringGetTextDatum(row->verdict);
		if (row->reason)
			values[4] = CStringGetTextDatum(row->reason);
		if (row->detail)
			values[5] = JsonbPGetDatum(jny_json_parse(row->detail));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

Datum
journey_preview(PG_FUNCTION_ARGS)
{
	char	   *name;
	JnyBatch	batch = {0};
	JnyEvent	event;
	HASHCTL		ctl = {0};
	pg_uuid_t	id = {{0}};
	const JnyJourney *journey;
	JnyRun	   *run;
	JnyPerson  *person;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	SPI_connect();
	batch.cxt = CurrentMemoryContext;
	ctl.keysize = sizeof(pg_uuid_t);
	ctl.entrysize = sizeof(JnyProfile);
	ctl.hcxt = batch.cxt;
	batch.profiles = hash_create("journey preview", 4, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	jny_node_read(&batch.node);
	if (!PG_ARGISNULL(2))
		batch.node.now = PG_GETARG_TIMESTAMPTZ(2);
	if (jny_subject_find(PG_GETARG_JSONB_P(1), &id))
		jny_profiles_load(&batch, list_make1(&id));
	if (jny_profile_get(&batch, &id) == NULL)
	{
		/* an unknown subject gives no row, not an error */
		SPI_finish();
		return (Datum) 0;
	}
	batch.events = &event;
	batch.nevents = 1;
	batch.last_seq = PG_INT64_MAX - 1;
	run = jny_run_start(&batch, true);
	journey = find_journey(name);
	fill_event(&event, jny_profile_get(&batch, &id), journey, batch.node.now, PG_INT64_MAX - 1);
	run->journeys = &journey;
	run->njourneys = 1;
	person = jny_run_person(run, event.profile);
	jny_load_enrollments(run);
	jny_load_orders(run);
	jny_load_days(run);
	jny_entry_prepare(run);
	jny_entry_apply(run, &event);
	entry_verdict(run);
	walk(run, person, journey);
	put_rows((ReturnSetInfo *) fcinfo->resultinfo, run->path);
	SPI_finish();
	return (Datum) 0;
}
