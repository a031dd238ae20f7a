/*
 * take.c
 *		Observe's half of a lap: from inbox rows to the batch, and what is
 *		written at its end.
 *
 * Called by worker/lap.c inside one READ COMMITTED transaction, as
 * journey_owner and within SPI. Locks the cursor row (window.c) and rows of
 * its own data tables. Reads and writes are by key (core/table.h), each table
 * once for all events. Memory: the batch's context. Errors abort the lap; the
 * worker then finds the row and calls jny_observe_skip (skip.c).
 */
#include "observe/observe.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/fault.h"

#include "observe/fact.h"

JNY_INSERT(insert_events, "event",
		   "bucket, profile_id, event_id, seq, type, occurred_at, source, scope, message_id, props, backfill, late,"
		   " received_at, test, lap");
#define STATE_COLUMNS "stage, features, last_event_at, last_order_at, orders, events"
JNY_UPSERT(upsert_states, "profile_state", "profile_state_pkey", "bucket, profile_id",
		   "bucket, profile_id, " STATE_COLUMNS, STATE_COLUMNS);

JNY_PLAN(leaf_truncated, "integer", "SELECT journey._leaf_truncated($1)");

/* ---- events ----------------------------------------------------------- */

static JnyEvent *
add_event(JnyTake *take, JnyFact *fact, const char *type, Jsonb *props)
{
	JnyBatch   *batch = take->batch;
	JnyEvent   *e;

	if (batch->nevents == take->maxevents)
	{
		take->maxevents = Max(256, take->maxevents * 2);
		batch->events = batch->events == NULL
			? MemoryContextAllocHuge(batch->cxt, sizeof(JnyEvent) * take->maxevents)
			: repalloc_huge(batch->events, sizeof(JnyEvent) * take->maxevents);
	}
	e = &batch->events[batch->nevents++];
	memset(e, 0, sizeof(JnyEvent));
	e->seq = fact->seq;
	e->xact = fact->xact;
	jny_uuid_v7(&e->event_id);
	e->occurred_at = fact->occurred_at;
	e->type = type;
	e->source = fact->source;
	e->scope = fact->scope;
	e->message_id = fact->message_id;
	e->props = props;
	e->backfill = fact->backfill;
	e->late = fact->late;
	e->profile = fact->profile;
	e->nothers = fact->nothers;
	e->others = fact->others;
	e->cart_id = fact->cart_id;
	e->order_id = fact->order_id;
	e->sku = jny_json_text(props, "sku");
	e->session_id = jny_json_text(props, "session_id");
	e->has_action = fact->has_action;
	e->action_id = fact->action_id;
	/* every event of a row is about its object: an order's lines are the order's own */
	e->ref = fact->ref;
	if (!fact->fence_given)
	{
		e->fence = fact->fence;
		e->fence_type = fact->fence != JNY_FENCE_NONE ? fact->type : NULL;
		fact->fence_given = true;
	}
	return e;
}

/* An event of the person: counted, logged, handed on. NULL when nobody is known. */
JnyEvent *
jny_emit(JnyTake *take, JnyFact *fact, const char *type, Jsonb *props)
{
	JnyProfile *p = fact->profile;

	jny_tally_type(take, type);
	if (p == NULL)
		return NULL;
	p->events++;
	p->last_event_at = Max(p->last_event_at, fact->occurred_at);
	p->dirty = true;
	return add_event(take, fact, type, props != NULL ? props : jny_object_empty());
}

void
jny_object_moved(JnyTake *take, const JnyFact *fact, const JnyProfile *profile, const char *object,
				 const char *from, const char *to, const char *status)
{
	JnyObjectMove *m;

	if (profile == NULL || strcmp(from, to) == 0)
		return;
	m = palloc(sizeof(JnyObjectMove));
	*m = (JnyObjectMove) {profile, object, from, to, status, fact->occurred_at, fact->seq};
	take->batch->moves = lappend(take->batch->moves, m);
}

static void
emit_action(JnyTake *take, JnyFact *fact)
{
	JnyEvent   *e = add_event(take, fact, fact->type, fact->props);

	e->is_action = true;
	e->has_enrollment = fact->has_enrollment;
	e->enrollment_id = fact->enrollment_id;
	e->step = fact->step;
	e->visit = fact->visit;
	e->reason = fact->reason;
	e->journey = fact->journey;
}

/* What an inbox row's fence says holds, even when the row gave no event. */
static void
keep_fence(JnyTake *take, JnyFact *fact)
{
	JnyEvent   *e;

	if (fact->fence_given || fact->profile == NULL ||
		(fact->fence != JNY_FENCE_EVENT && fact->fence != JNY_FENCE_RELEASE) || fact->type == NULL)
		return;
	e = add_event(take, fact, fact->type, fact->props != NULL ? fact->props : jny_object_empty());
	e->fence_only = true;
}

static void
put_event(JnyCols *cols, const JnyEvent *e, const JnyBatch *batch)
{
	jny_cols_set(cols, 0, Int16GetDatum(e->profile->bucket));
	jny_cols_set(cols, 1, UUIDPGetDatum(&e->profile->id));
	jny_cols_set(cols, 2, UUIDPGetDatum(&e->event_id));
	jny_cols_set(cols, 3, Int64GetDatum(e->seq));
	jny_cols_text(cols, 4, e->type);
	jny_cols_set(cols, 5, TimestampTzGetDatum(e->occurred_at));
	jny_cols_text(cols, 6, e->source);
	jny_cols_text(cols, 7, e->scope);
	jny_cols_text(cols, 8, e->message_id);
	jny_cols_set(cols, 9, JsonbPGetDatum(e->props));
	jny_cols_set(cols, 10, BoolGetDatum(e->backfill));
	jny_cols_set(cols, 11, BoolGetDatum(e->late));
	jny_cols_set(cols, 12, TimestampTzGetDatum(batch->node.now));
	jny_cols_set(cols, 13, BoolGetDatum(batch->node.test));
	jny_cols_set(cols, 14, Int64GetDatum(batch->lap));
	jny_cols_next(cols);
}

static void
write_events(const JnyBatch *batch)
{
	JnyOut		out = {.access = &insert_events, .portions = true};

	for (int i = 0; i < batch->nevents; i++)
		if (!batch->events[i].is_action && !batch->events[i].fence_only)
			put_event(jny_out(&out), &batch->events[i], batch);
	jny_out_write(&out);
}

/* ---- one fact --------------------------------------------------------- */

static bool
starts(const char *type, const char *prefix)
{
	return strncmp(type, prefix, strlen(prefix)) == 0;
}

static void
apply_event(JnyTake *take, JnyFact *fact)
{
	const char *type = fact->type;

	if (strcmp(type, "identified") == 0)
		jny_person_apply(take, fact);
	else if (jny_message_counts(fact))
	{
		jny_message_apply(take, fact);
		jny_consent_apply(take, fact);
	}
	else if (strcmp(type, "unsubscribed") == 0 || starts(type, "consent_"))
		jny_consent_apply(take, fact);
	else if (fact->parcel_kind != JNY_KIND_EVENT)
		jny_parcel_apply(take, fact);
	else if (starts(type, "order_"))
		jny_order_apply(take, fact);
	else
	{
		if (starts(type, "cart_item_"))
			jny_cart_apply(take, fact);
		else if (strcmp(type, "product_changed") == 0 || strcmp(type, "stock_changed") == 0 ||
				 strcmp(type, "price_changed") == 0)
			jny_product_apply(take, fact);
		jny_emit(take, fact, type, fact->props);
	}
}

static void
apply_truncate(JnyTake *take, JnyFact *fact)
{
	jny_tally_incident(take, "truncated", fact->attachment_name, "warning",
					   "an attached table was truncated",
					   "Carts of its source were emptied, and what other partitions have is read again; orders, people and consents stay as they were. journey.reconcile() reads the table again.");
	if (fact->kind != JNY_KIND_CART && fact->kind != JNY_KIND_CART_LINE)
		return;
	jny_cart_apply(take, fact);
	/* perhaps of one partition: the lines of others are there still */
	jny_run(&leaf_truncated, (Datum[]) {Int32GetDatum(fact->attachment)}, NULL);
}

static void
apply(JnyTake *take, JnyFact *fact)
{
	if (fact->fence_only)
	{
		if (fact->opts_out)
			jny_consent_apply(take, fact);
		keep_fence(take, fact);
		return;
	}
	jny_tally_fact(take, fact);
	if (fact->truncate)
	{
		apply_truncate(take, fact);
		return;
	}
	if (fact->profile != NULL)
		jny_contact_apply(take, fact);
	switch (fact->kind)
	{
		case JNY_KIND_EVENT:
			apply_event(take, fact);
			break;
		case JNY_KIND_ACTION:
			if (fact->profile != NULL)
				emit_action(take, fact);
			break;
		case JNY_KIND_CUSTOMER:
			jny_person_apply(take, fact);
			jny_consent_apply(take, fact);
			break;
		case JNY_KIND_CONSENT:
			jny_consent_apply(take, fact);
			break;
		case JNY_KIND_PRODUCT:
		case JNY_KIND_STOCK:
			jny_product_apply(take, fact);
			break;
		case JNY_KIND_CART:
		case JNY_KIND_CART_LINE:
			jny_cart_apply(take, fact);
			break;
		case JNY_KIND_ORDER:
		case JNY_KIND_ORDER_LINE:
			jny_order_apply(take, fact);
			break;
		case JNY_KIND_MESSAGE:
			jny_message_apply(take, fact);
			jny_consent_apply(take, fact);
			break;
		case JNY_KIND_SHIPMENT:
		case JNY_KIND_RETURN:
			jny_parcel_apply(take, fact);
			break;
		case JNY_KIND_OTHER:
			break;
	}
	keep_fence(take, fact);
}

/* ---- the lap ---------------------------------------------------------- */

static void
write_state(JnyTake *take)
{
	jny_person_write(take);
	jny_identity_write(take);
	jny_link_write(take);
	jny_wish_write(take);
	jny_forget_write(take);
	jny_contact_write(take);
	jny_consent_write(take);
	jny_product_write(take);
	jny_cart_write(take);
	jny_order_write(take);
	jny_parcel_write(take);
	jny_message_write(take);
	JNY_FAULT("take_before_log");
	write_events(take->batch);
	jny_session_write(take);
	jny_tally_write(take);
}

/*
 * A wildcard goes with the cursor; what it warned of stays, as a note at the
 * attachment that permits read beside the fences.
 */
void
jny_take_note_broken(const struct JnyWindow *window)
{
	for (int i = 0; i < window->nrows; i++)
		if (window->rows[i].fence == JNY_FENCE_BROKEN)
		{
			jny_attachments_check();
			return;
		}
}

bool
jny_observe_take(JnyBatch *batch, int max_events)
{
	JnyTake		take;
	MemoryContext old;

	if (!jny_window_open(batch, max_events))
		return false;
	if (!batch->node.adopted)
		return true;
	jny_attachments_check_if_touched();
	/* after the window was opened: who opted out as an event of it says is among them */
	jny_consent_read();
	old = MemoryContextSwitchTo(batch->cxt);
	jny_early_look(batch);
	if (batch->window->nrows == 0)
	{
		MemoryContextSwitchTo(old);
		return true;
	}
	JNY_FAULT("take_read");
	jny_take_begin(&take, batch);
	jny_stale_mark(batch->window);
	jny_registry_load(&take);
	jny_decode(&take);
	jny_early_call(&take);
	/* before the ids of messages are noted: what is kept is not taken */
	jny_message_find(&take);
	jny_dedupe(&take);
	JNY_FAULT("take_deduplicated");
	jny_identify(&take);
	jny_early_opt_outs(&take);
	jny_consent_load(&take);
	jny_cart_load(&take);
	jny_order_load(&take);
	jny_parcel_load(&take);
	for (int i = 0; i < take.nfacts; i++)
		if (!take.facts[i]->drop)
			apply(&take, take.facts[i]);
	JNY_FAULT("take_before_state");
	write_state(&take);
	jny_take_note_broken(batch->window);
	MemoryContextSwitchTo(old);
	return true;
}

static void
put_state(JnyCols *cols, const JnyProfile *p)
{
	jny_cols_set(cols, 0, Int16GetDatum(p->bucket));
	jny_cols_set(cols, 1, UUIDPGetDatum(&p->id));
	jny_cols_text(cols, 2, p->stage);
	if (p->features != NULL)
		jny_cols_set(cols, 3, PointerGetDatum(p->features));
	jny_cols_time(cols, 4, p->last_event_at);
	jny_cols_time(cols, 5, p->last_order_at);
	jny_cols_set(cols, 6, Int32GetDatum(p->orders));
	jny_cols_set(cols, 7, Int64GetDatum(p->events));
	jny_cols_next(cols);
}

static void
write_states(JnyBatch *batch)
{
	JnyOut		out = {.access = &upsert_states, .portions = true};
	HASH_SEQ_STATUS scan;
	JnyProfile *p;

	hash_seq_init(&scan, batch->profiles);
	while ((p = hash_seq_search(&scan)) != NULL)
		if (p->dirty)
			put_state(jny_out(&out), p);
	jny_out_write(&out);
}

void
jny_observe_finish(JnyBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->cxt);

	write_states(batch);
	JNY_FAULT("lap_before_cursor");
	jny_window_finish(batch);
	MemoryContextSwitchTo(old);
}
