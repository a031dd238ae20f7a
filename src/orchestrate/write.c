/*
 * write.c
 *		Every table of the room, written once per phase.
 *
 * Called at the end of a phase, inside SPI_connect(). Rows belong to people
 * that only the one consumer of the node changes; outbox rows that a sender
 * holds are left alone by jny_cancel_of (SKIP LOCKED). Any error aborts the lap.
 */
#include "orchestrate/engine.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/xid8.h"

#include "core/fault.h"


JNY_INSERT(insert_enrollments, "enrollment",
		   "bucket, profile_id, enrollment_id, journey, version, scope, key, occurrence, status, step, visit, transitions,"
		   " entry_event, entry_seq, entry_ref, entry_cart, entry_hash, data, steps, arm, confidence, entered_at,"
		   " stepped_at, wake_at, restarts, exited_at, exit_reason, goal_at, goal_until, lap, test");
JNY_UPDATE(update_enrollments, "enrollment", "enrollment_pkey", "bucket, profile_id, enrollment_id",
		   "status, step, visit, transitions, steps, stepped_at, wake_at, restarts, exited_at, exit_reason, goal_at");
JNY_UPSERT(set_timers, "timer", "timer_pkey", "bucket, profile_id, enrollment_id",
		   "bucket, profile_id, enrollment_id, wake_at, planned_at, visit", "wake_at, planned_at, visit");
JNY_DELETE(clear_timers, "timer", "timer_pkey", "bucket, profile_id, enrollment_id");
JNY_INSERT(insert_transitions, "transition",
		   "bucket, profile_id, enrollment_id, n, from_step, to_step, edge, reason, at, event_id");
JNY_PLAN(bump_refusals, "smallint[], uuid[], uuid[], integer[], timestamptz",
		 "UPDATE journey.decision d SET repeats = d.repeats + x.n"
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) AS x(bucket, profile_id, decision_id, n)"
		 " WHERE d.bucket = x.bucket AND d.profile_id = x.profile_id AND d.decision_id = x.decision_id"
		 "  AND d.decided_at > $5"
		 " RETURNING d.decision_id");
JNY_INSERT(insert_decisions, "decision",
		   "bucket, profile_id, decided_at, decision_id, enrollment_id, journey, version, step, kind, verdict, reason,"
		   " rule, clauses, inputs, versions, fallback, candidates, arm, identity_confidence, action_id, event_id,"
		   " repeats, lap, test, touchpoint, channel, template");
JNY_UPSERT(insert_suppressions, "suppression", "suppression_pkey", "bucket, profile_id, seq, type, linked",
		   "bucket, profile_id, seq, type, ref, scope, channel, purpose, reason, occurred_at, fence_xact, matched,"
		   " effective_at, incarnation, lap, linked", "");
JNY_PLAN(release_suppressions, "smallint[], uuid[], text[], text[], bigint[], xid8[], timestamptz, integer",
		 "UPDATE journey.suppression s SET released_by = x.seq, released_at = $7,"
		 "  released_xact = CASE WHEN s.incarnation = $8 THEN x.xact END"
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
		 " pg_catalog.unnest($5), pg_catalog.unnest($6)) AS x(bucket, profile_id, type, ref, seq, xact)"
		 " WHERE s.bucket = x.bucket AND s.profile_id = x.profile_id AND s.type = x.type AND s.ref = x.ref"
		 "  AND s.seq < x.seq AND s.released_by IS NULL");
JNY_UPSERT(insert_exposures, "exposure", "exposure_pkey", "bucket, profile_id, enrollment_id",
		   "bucket, profile_id, enrollment_id, journey, version, arm, held_by, salt, place, algo, exposed_at, test", "");
JNY_UPSERT(insert_conversions, "conversion", "conversion_pkey", "bucket, profile_id, enrollment_id, goal",
		   "bucket, profile_id, enrollment_id, goal, event_id, at, order_id, amount, currency, test", "");
JNY_INSERT(insert_stages, "stage_transition",
		   "bucket, profile_id, seq, n, object, from_stage, to_stage, at, rule, event_id, test");
JNY_UPSERT(add_days, "journey_day", "journey_day_pkey", "journey, day, test",
		   "journey, day, test, entered, not_entered, ended, held_out, enqueued, withheld, cancelled, sent, stopped, dead, unknown",
		   "entered +, not_entered +, ended +, held_out +, enqueued +, withheld +, cancelled +, sent +, stopped +, dead +, unknown +");
JNY_UPSERT(add_incidents, "incident", "incident_pkey", "kind, name",
		   "kind, name, severity, count, first_at, last_at, message, hint, detail, resolved_at",
		   "count +, last_at, message, resolved_at");

/* Rows that other files collect, and where they go. */
static JnyAccess *const row_sets[] = {
	[JNY_ROWS_TRANSITIONS] = &insert_transitions,
	[JNY_ROWS_EXPOSURES] = &insert_exposures,
	[JNY_ROWS_CONVERSIONS] = &insert_conversions,
	[JNY_ROWS_STAGES] = &insert_stages
};

static JnyCols *
begun(JnyCols **rows, JnyAccess *access)
{
	if (*rows == NULL)
		*rows = jny_cols_of(access);
	return *rows;
}

JnyCols *
jny_rows(JnyRun *run, JnyRowSet set)
{
	MemoryContext old = MemoryContextSwitchTo(run->cxt);
	JnyCols    *rows = begun(&run->rows[set], row_sets[set]);

	MemoryContextSwitchTo(old);
	return rows;
}

/* A set of rows that nobody began has none. */
static void
write_rows(JnyAccess *access, JnyCols *rows)
{
	if (rows != NULL)
		jny_write(access, rows);
}

static void
set_owner(JnyCols *c, const JnyPerson *person)
{
	jny_cols_set(c, 0, Int16GetDatum(person->profile->bucket));
	jny_cols_set(c, 1, UUIDPGetDatum(&person->id));
}

static const char *
step_of(const JnyEnrollment *e)
{
	return e->step == JNY_EDGE_NONE ? NULL : e->journey->steps[e->step].name;
}

static void
add_new(JnyCols *c, const JnyEnrollment *e)
{
	set_owner(c, e->person);
	jny_cols_set(c, 2, UUIDPGetDatum(&e->id));
	jny_cols_text(c, 3, e->journey_name);
	jny_cols_set(c, 4, Int32GetDatum(e->version));
	jny_cols_text(c, 5, e->scope);
	jny_cols_text(c, 6, e->key);
	jny_cols_set(c, 7, Int32GetDatum(e->occurrence));
	jny_cols_text(c, 8, e->status);
	jny_cols_text(c, 9, step_of(e));
	jny_cols_set(c, 10, Int32GetDatum(e->visit));
	jny_cols_set(c, 11, Int32GetDatum(e->transitions));
	if (e->has_entry_event)
		jny_cols_set(c, 12, UUIDPGetDatum(&e->entry_event));
	jny_cols_set(c, 13, Int64GetDatum(e->entry_seq));
	jny_cols_text(c, 14, e->entry_ref);
	jny_cols_text(c, 15, e->entry_cart);
	if (e->entry_hash != 0)
		jny_cols_set(c, 16, Int64GetDatum(e->entry_hash));
	jny_cols_set(c, 17, JsonbPGetDatum(e->data));
	jny_cols_set(c, 18, JsonbPGetDatum(e->steps));
	jny_cols_text(c, 19, e->arm);
	jny_cols_set(c, 20, Float8GetDatum(e->confidence));
	jny_cols_time(c, 21, e->entered_at);
	jny_cols_time(c, 22, e->stepped_at);
	jny_cols_time(c, 23, e->wake_at);
	jny_cols_set(c, 24, Int32GetDatum(e->restarts));
	jny_cols_time(c, 25, e->exited_at);
	jny_cols_text(c, 26, e->exit_reason);
	jny_cols_time(c, 27, e->goal_at);
	jny_cols_time(c, 28, e->goal_until);
	jny_cols_set(c, 29, Int64GetDatum(e->lap));
	jny_cols_set(c, 30, BoolGetDatum(e->test));
	jny_cols_next(c);
}

static void
add_changed(JnyCols *c, const JnyEnrollment *e)
{
	set_owner(c, e->person);
	jny_cols_set(c, 2, UUIDPGetDatum(&e->id));
	jny_cols_text(c, 3, e->status);
	jny_cols_text(c, 4, step_of(e));
	jny_cols_set(c, 5, Int32GetDatum(e->visit));
	jny_cols_set(c, 6, Int32GetDatum(e->transitions));
	jny_cols_set(c, 7, JsonbPGetDatum(e->steps));
	jny_cols_time(c, 8, e->stepped_at);
	jny_cols_time(c, 9, e->wake_at);
	jny_cols_set(c, 10, Int32GetDatum(e->restarts));
	jny_cols_time(c, 11, e->exited_at);
	jny_cols_text(c, 12, e->exit_reason);
	jny_cols_time(c, 13, e->goal_at);
	jny_cols_next(c);
}

static void
add_timer(JnyCols *c, const JnyEnrollment *e)
{
	set_owner(c, e->person);
	jny_cols_set(c, 2, UUIDPGetDatum(&e->id));
	jny_cols_time(c, 3, e->wake_at);
	jny_cols_time(c, 4, e->planned_at);
	jny_cols_set(c, 5, Int32GetDatum(e->visit));
	jny_cols_next(c);
}

static void
write_enrollments(JnyRun *run)
{
	JnyCols    *fresh = NULL;
	JnyCols    *old = NULL;
	JnyCols    *timers = NULL;
	JnyCols    *cleared = NULL;
	ListCell   *lc;

	foreach(lc, run->touched)
	{
		JnyEnrollment *e = lfirst(lc);

		if (e->is_new)
			add_new(begun(&fresh, &insert_enrollments), e);
		else
			add_changed(begun(&old, &update_enrollments), e);
		if (e->timer_dirty && e->wake_at != 0)
			add_timer(begun(&timers, &set_timers), e);
		else if (e->timer_dirty && !e->is_new)
		{
			set_owner(begun(&cleared, &clear_timers), e->person);
			jny_cols_set(cleared, 2, UUIDPGetDatum(&e->id));
			jny_cols_next(cleared);
		}
	}
	write_rows(&insert_enrollments, fresh);
	write_rows(&update_enrollments, old);
	write_rows(&clear_timers, cleared);
	write_rows(&set_timers, timers);
}

/* ---- decisions -------------------------------------------------------------- */

static Datum
json_list(StringInfo text, char open, char close)
{
	if (text == NULL)
		return JsonbPGetDatum(open == '{' ? jny_json_empty_object() : jny_json_empty_array());
	return JsonbPGetDatum(jny_json_parse(psprintf("%c%s%c", open, text->data, close)));
}

static Datum
merged_inputs(const JnyDecision *d)
{
	Datum		all = JsonbPGetDatum(d->inputs != NIL ? linitial(d->inputs) : jny_json_empty_object());
	ListCell   *lc;

	for_each_from(lc, d->inputs, 1)
		all = DirectFunctionCall2(jsonb_concat, all, JsonbPGetDatum((Jsonb *) lfirst(lc)));
	return all;
}

static void
add_decision(JnyRun *run, JnyCols *c, const JnyDecision *d)
{
	set_owner(c, d->person);
	jny_cols_set(c, 2, TimestampTzGetDatum(d->at));
	jny_cols_set(c, 3, UUIDPGetDatum(&d->id));
	if (d->enrollment != NULL)
		jny_cols_set(c, 4, UUIDPGetDatum(&d->enrollment->id));
	jny_cols_text(c, 5, d->journey->name);
	jny_cols_set(c, 6, Int32GetDatum(d->journey->version));
	jny_cols_text(c, 7, d->step);
	jny_cols_text(c, 8, d->kind);
	jny_cols_text(c, 9, d->verdict);
	jny_cols_text(c, 10, d->reason);
	jny_cols_text(c, 11, d->rule);
	jny_cols_set(c, 12, json_list(d->clauses, '[', ']'));
	jny_cols_set(c, 13, merged_inputs(d));
	jny_cols_set(c, 14, json_list(d->versions, '{', '}'));
	jny_cols_text(c, 15, d->fallback);
	jny_cols_set(c, 16, json_list(d->candidates, '[', ']'));
	jny_cols_text(c, 17, d->arm);
	jny_cols_set(c, 18, Float8GetDatum(d->person->profile->confidence));
	if (d->has_action)
		jny_cols_set(c, 19, UUIDPGetDatum(&d->action_id));
	if (d->event != NULL)
		jny_cols_set(c, 20, UUIDPGetDatum(&d->event->event_id));
	jny_cols_set(c, 21, Int32GetDatum(d->repeats));
	jny_cols_set(c, 22, Int64GetDatum(run->batch->lap));
	jny_cols_set(c, 23, BoolGetDatum(run->batch->node.test));
	jny_cols_text(c, 24, d->journey->touchpoint);
	jny_cols_text(c, 25, d->channel);
	jny_cols_text(c, 26, d->template);
	jny_cols_next(c);
}

/* A refused entry that was refused like this within the last 30 days is counted there. */
static List *
bump_known(JnyRun *run)
{
	JnyCols    *c = NULL;
	List	   *fresh = NIL;
	HTAB	   *known;
	HASHCTL		ctl = {0};
	Datum	   *values;
	ListCell   *lc;

	foreach(lc, run->decisions)
	{
		JnyDecision *d = lfirst(lc);

		if (d->enrollment != NULL)
			continue;
		if (c == NULL)
			c = jny_cols("smallint, uuid, uuid, integer");
		set_owner(c, d->person);
		jny_cols_set(c, 2, UUIDPGetDatum(&d->id));
		jny_cols_set(c, 3, Int32GetDatum(d->repeats));
		jny_cols_next(c);
	}
	if (c == NULL)
		return run->decisions;
	ctl.keysize = sizeof(pg_uuid_t);
	ctl.entrysize = sizeof(pg_uuid_t);
	ctl.hcxt = run->cxt;
	known = hash_create("journey known refusals", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	values = jny_cols_datums(c, 1);
	values[4] = TimestampTzGetDatum(run->now - 30 * USECS_PER_DAY);
	jny_run(&bump_refusals, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
		hash_search(known, jny_get_uuid(row, 1), HASH_ENTER, NULL);
	foreach(lc, run->decisions)
	{
		JnyDecision *d = lfirst(lc);

		if (d->enrollment != NULL || hash_search(known, &d->id, HASH_FIND, NULL) == NULL)
			fresh = lappend(fresh, d);
	}
	return fresh;
}

/* Their ids name the lap and the visit, and nobody decides one visit twice in a lap: none is there yet. */
static void
write_decisions(JnyRun *run)
{
	List	   *fresh = bump_known(run);
	JnyCols    *c = NULL;
	ListCell   *lc;

	foreach(lc, fresh)
	{
		MemoryContext here;

		c = begun(&c, &insert_decisions);
		here = MemoryContextSwitchTo(run->scratch);
		add_decision(run, c, lfirst(lc));
		MemoryContextSwitchTo(here);
		MemoryContextReset(run->scratch);
	}
	write_rows(&insert_decisions, c);
}

/* ---- suppressions ------------------------------------------------------------ */

Datum
jny_enrollment_ids(List *enrollments, ArrayType *more)
{
	Datum	   *ids = NULL;
	int			n = 0;
	ListCell   *lc;

	if (more != NULL)
		deconstruct_array(more, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &ids, NULL, &n);
	ids = n == 0 ? palloc(sizeof(Datum) * (list_length(enrollments) + 1))
		: repalloc(ids, sizeof(Datum) * (n + list_length(enrollments)));
	foreach(lc, enrollments)
		ids[n++] = UUIDPGetDatum(&((JnyEnrollment *) lfirst(lc))->id);
	return PointerGetDatum(construct_array(ids, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
}

void
jny_write_suppressions(JnyRun *run)
{
	JnyCols    *c = NULL;
	ListCell   *lc;

	foreach(lc, run->suppressions)
	{
		JnySuppress *s = lfirst(lc);

		set_owner(begun(&c, &insert_suppressions), s->person);
		jny_cols_set(c, 2, Int64GetDatum(s->event->seq));
		jny_cols_text(c, 3, s->type);
		jny_cols_text(c, 4, s->ref);
		jny_cols_text(c, 5, s->scope);
		jny_cols_text(c, 6, s->channel);
		jny_cols_text(c, 7, s->purpose);
		jny_cols_text(c, 8, s->reason);
		jny_cols_set(c, 9, TimestampTzGetDatum(s->event->occurred_at));
		jny_cols_set(c, 10, FullTransactionIdGetDatum(s->event->xact));
		jny_cols_set(c, 11, jny_enrollment_ids(s->matched, NULL));
		jny_cols_set(c, 12, TimestampTzGetDatum(run->now));
		jny_cols_set(c, 13, Int32GetDatum(run->batch->node.incarnation));
		jny_cols_set(c, 14, Int64GetDatum(run->batch->lap));
		jny_cols_set(c, 15, BoolGetDatum(s->linked));
		jny_cols_next(c);
	}
	write_rows(&insert_suppressions, c);
	if (run->releases != NULL)
	{
		Datum	   *values = jny_cols_datums(run->releases, 2);

		values[6] = TimestampTzGetDatum(run->now);
		values[7] = Int32GetDatum(run->batch->node.incarnation);
		jny_run(&release_suppressions, values, NULL);
	}
}

/* ---- the rest ---------------------------------------------------------------- */

static void
write_days(JnyRun *run)
{
	JnyCols    *c = NULL;
	Datum		today = jny_run_today(run);
	HASH_SEQ_STATUS scan;
	JnyDay	   *day;

	hash_seq_init(&scan, run->days);
	while ((day = hash_seq_search(&scan)) != NULL)
	{
		int64		all = 0;

		for (int i = 0; i < JNY_NCOUNTS; i++)
			all += day->n[i];
		if (all == 0)
			continue;
		jny_cols_text(begun(&c, &add_days), 0, day->journey);
		jny_cols_set(c, 1, today);
		jny_cols_set(c, 2, BoolGetDatum(run->batch->node.test));
		for (int i = 0; i < JNY_NCOUNTS; i++)
			jny_cols_set(c, 3 + i, Int64GetDatum(day->n[i]));
		jny_cols_next(c);
	}
	write_rows(&add_days, c);
}

static void
write_incidents(JnyRun *run)
{
	JnyCols    *c = NULL;
	ListCell   *lc;

	foreach(lc, run->incidents)
	{
		JnyIncident *in = lfirst(lc);

		jny_cols_text(begun(&c, &add_incidents), 0, in->kind);
		jny_cols_text(c, 1, in->name);
		jny_cols_text(c, 2, "error");
		jny_cols_set(c, 3, Int64GetDatum(in->count));
		jny_cols_set(c, 4, TimestampTzGetDatum(run->now));
		jny_cols_set(c, 5, TimestampTzGetDatum(run->now));
		jny_cols_text(c, 6, in->message);
		jny_cols_text(c, 7, "Its journey takes the fallback until the document is mended and applied again.");
		jny_cols_set(c, 8, JsonbPGetDatum(jny_json_empty_object()));
		jny_cols_next(c);
	}
	write_rows(&add_incidents, c);
}

/* One call per reason: pending actions of enrollments that have ended; what a sender holds, the permit refuses. */
static void
cancel_actions(JnyRun *run)
{
	while (run->stopped != NIL)
	{
		const char *reason = ((JnyStop *) linitial(run->stopped))->reason;
		List	   *owners = NIL;
		List	   *of = NIL;
		List	   *rest = NIL;
		ListCell   *lc;
		ListCell   *lc2;

		foreach(lc, run->stopped)
		{
			JnyStop    *stop = lfirst(lc);
			JnyOwner   *owner;

			if (strcmp(stop->reason, reason) != 0)
			{
				rest = lappend(rest, stop);
				continue;
			}
			owner = palloc(sizeof(JnyOwner));
			owner->profile_id = stop->enrollment->person->id;
			owner->enrollment_id = stop->enrollment->id;
			owner->cancelled = 0;
			owners = lappend(owners, owner);
			of = lappend(of, stop->enrollment);
		}
		(void) jny_cancel_of(owners, reason);
		forboth(lc, owners, lc2, of)
			jny_run_day(run, ((JnyEnrollment *) lfirst(lc2))->journey_name)->n[JNY_COUNT_CANCELLED] += ((JnyOwner *) lfirst(lc))->cancelled;
		run->stopped = rest;
	}
}

void
jny_write_all(JnyRun *run)
{
	write_enrollments(run);
	JNY_FAULT("orchestrate_enrolled");
	write_decisions(run);
	for (int i = 0; i < JNY_ROW_SETS; i++)
		write_rows(row_sets[i], run->rows[i]);
	write_incidents(run);
	cancel_actions(run);
	write_days(run);
	JNY_FAULT("orchestrate_before_actions");
	if (run->actions != NIL)
		jny_enqueue(run->actions);
}
