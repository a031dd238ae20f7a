/*
 * parcel.c
 *		Shipments and returns: one status machine for rows and events.
 *
 * Called by take.c and decode_event.c. A step that no parcel can make is an
 * incident and does not move the state; what is told late, by its own time, is
 * a milestone that is filled in, and moves nothing back. The change against
 * what we knew becomes the event, so a row that is read again says nothing. A
 * shipment that is expected after what was promised is late once for each
 * expected time. No statements here (parcel_store.c has them).
 */
#include "observe/parcel.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"

#include "observe/decode.h"

/* ---- the status machines ------------------------------------------------- */

typedef struct Status
{
	const char *name;
	int			progress;		/* -1: a way out */
	int			milestone;		/* -1 = none */
	const char *event;			/* that tells it; NULL = the kind's update */
} Status;

typedef struct Machine
{
	const char *what;
	const char *id;				/* property that names it */
	const char *update;
	const Status *status;
	int			nstatus;
	JnyField	milestone[JNY_MILESTONES];
	const char *milestone_name[JNY_MILESTONES];
} Machine;

static const Status shipment_status[] = {
	{"pending", 0, -1, NULL}, {"shipped", 1, 0, "shipment_shipped"}, {"ready", 2, 1, "pickup_ready"},
	{"delivered", 3, 2, "shipment_delivered"}, {"picked_up", 3, 2, "picked_up"},
	{"failed", -1, -1, NULL}, {"cancelled", -1, -1, NULL}
};

static const Status return_status[] = {
	{"requested", 0, 0, "return_requested"}, {"approved", 1, 1, NULL}, {"received", 2, 2, "return_received"},
	{"rejected", -1, -1, NULL}, {"cancelled", -1, -1, NULL}
};

static const Machine machines[] = {
	{
		"shipment", "shipment_id", "shipment_updated", shipment_status, lengthof(shipment_status),
		{JNY_F_SHIPPED, JNY_F_READY, JNY_F_DELIVERED}, {"shipped_at", "ready_at", "delivered_at"}
	},
	{
		"return", "return_id", "return_updated", return_status, lengthof(return_status),
		{JNY_F_REQUESTED, JNY_F_APPROVED, JNY_F_RECEIVED}, {"requested_at", "approved_at", "received_at"}
	}
};

static const Machine *
machine_of(JnyKind kind)
{
	return &machines[kind == JNY_KIND_SHIPMENT ? 0 : 1];
}

static const Status *
find_status(const Machine *m, const char *name)
{
	for (int i = 0; name != NULL && i < m->nstatus; i++)
		if (strcmp(m->status[i].name, name) == 0)
			return &m->status[i];
	return NULL;
}

/* A return is of an order that has arrived; so it stays in that stage until it is settled. */
static const char *
stage_of(const JnyParcel *p, const Status *status)
{
	if (p->kind == JNY_KIND_RETURN)
		return "";
	if (status == NULL || strcmp(status->name, "cancelled") == 0)
		return "";
	return status->progress == 3 ? "post_purchase" : "fulfillment";
}

static bool
is_legal(const Status *from, const Status *to, JnyKind kind)
{
	if (from->progress >= 0 && to->progress >= 0)
		return to->progress > from->progress;
	if (to->progress >= 0)
		return strcmp(from->name, "failed") == 0 && to->progress > 0;	/* another attempt, or found */
	if (from->progress < 0)
		return strcmp(from->name, "failed") == 0 && strcmp(to->name, "cancelled") == 0;
	if (strcmp(to->name, "failed") == 0)
		return from->progress == 1 || from->progress == 2;	/* on its way */
	if (strcmp(to->name, "rejected") == 0)
		return true;			/* when it is asked for, or when it is looked at */
	return from->progress < (kind == JNY_KIND_SHIPMENT ? 3 : 2);
}

/* ---- what is said ----------------------------------------------------------- */

static const struct
{
	const char *type;
	JnyKind		kind;
	const char *status;			/* NULL = none, or what the event says */
}			events[] = {
	{"shipment_shipped", JNY_KIND_SHIPMENT, "shipped"}, {"shipment_updated", JNY_KIND_SHIPMENT, NULL},
	{"shipment_delivered", JNY_KIND_SHIPMENT, "delivered"}, {"delivery_delayed", JNY_KIND_SHIPMENT, NULL},
	{"pickup_ready", JNY_KIND_SHIPMENT, "ready"}, {"picked_up", JNY_KIND_SHIPMENT, "picked_up"},
	{"return_requested", JNY_KIND_RETURN, "requested"}, {"return_updated", JNY_KIND_RETURN, NULL},
	{"return_received", JNY_KIND_RETURN, "received"}
};

static void
read_time(JnyFact *fact, JnyField field, const char *name)
{
	const char *text = jny_json_text(fact->props, name);
	TimestampTz at;

	if (text == NULL)
		return;
	if (jny_value_time(text, &at))
		fact->f[field] = text;
	else
		fact->bad = psprintf("%s is not a time", name);
}

/* Whoever names no parcel of an order speaks of its only one; of a return, that of the product. */
static const char *
id_of_event(const JnyFact *fact, const Machine *m)
{
	const char *id = jny_json_text(fact->props, m->id);
	const char *sku = fact->parcel_kind == JNY_KIND_RETURN ? jny_json_text(fact->props, "sku") : NULL;

	if (id != NULL || fact->order_id == NULL)
		return id;
	return sku != NULL ? psprintf("%s/%s", fact->order_id, sku) : fact->order_id;
}

void
jny_parcel_fields(JnyFact *fact)
{
	const Machine *m;
	const char *status = NULL;

	for (size_t i = 0; i < lengthof(events); i++)
		if (strcmp(events[i].type, fact->type) == 0)
		{
			fact->parcel_kind = events[i].kind;
			status = events[i].status;
		}
	if (fact->parcel_kind == JNY_KIND_EVENT)
		return;
	m = machine_of(fact->parcel_kind);
	jny_fact_own_fields(fact);
	fact->parcel_id = id_of_event(fact, m);
	if (fact->parcel_id != NULL && !jny_value_fits(fact->parcel_id))
	{
		fact->bad = psprintf("%s is too long", m->id);
		fact->parcel_id = NULL;
	}
	if (status == NULL)
		status = jny_json_text(fact->props, "status");
	fact->f[JNY_F_STATUS] = find_status(m, status) != NULL ? status : NULL;
	fact->f[JNY_F_REASON] = jny_json_text(fact->props, "reason");
	read_time(fact, JNY_F_PROMISED, "promised_at");
	read_time(fact, JNY_F_EXPECTED, "expected_at");
	for (int i = 0; i < JNY_MILESTONES; i++)
		read_time(fact, m->milestone[i], m->milestone_name[i]);
}

/* What the row says its status is, in our words; NULL when it says none that we know. */
static const Status *
status_of_row(JnyTake *take, JnyFact *fact, const Machine *m)
{
	const char *said = fact->f[JNY_F_STATUS];
	const Status *status;

	if (!jny_fact_maps(fact, JNY_F_STATUS))
	{
		/* a table that has no status but times: the furthest that is there */
		for (int i = m->nstatus - 1; i >= 0; i--)
			if (m->status[i].milestone >= 0 && strcmp(m->status[i].name, "picked_up") != 0 &&
				fact->f[m->milestone[m->status[i].milestone]] != NULL)
				return &m->status[i];
		return &m->status[0];
	}
	status = fact->unmapped ? NULL : find_status(m, said);
	if (status == NULL && said != NULL)
		jny_tally_incident(take, "unmapped_status", psprintf("%s: %s", fact->attachment_name, said), "warning",
						   psprintf("a %s has a status that its map does not know; its state was not moved", m->what),
						   "Add the status to the map with journey.attach().");
	return status;
}

static bool
take_time(TimestampTz *known, const char *said)
{
	TimestampTz at;

	if (said == NULL || !jny_value_time(said, &at) || *known == at)
		return false;
	*known = at;
	return true;
}

static bool
take_text(const char **known, const char *said)
{
	if (said == NULL || (*known != NULL && strcmp(*known, said) == 0))
		return false;
	*known = said;
	return true;
}

/* Beside the status; true when something is new. */
static bool
read_details(const JnyFact *fact, JnyParcel *p, const Machine *m)
{
	bool		changed = !p->exists && p->status == NULL;

	changed |= take_text(&p->order_id, fact->order_id);
	changed |= take_text(&p->reason, fact->f[JNY_F_REASON]);
	changed |= take_time(&p->promised_at, fact->f[JNY_F_PROMISED]);
	changed |= take_time(&p->expected_at, fact->f[JNY_F_EXPECTED]);
	for (int i = 0; i < JNY_MILESTONES; i++)
		changed |= take_time(&p->milestone[i], fact->f[m->milestone[i]]);
	if (fact->kind != JNY_KIND_EVENT && fact->props != NULL &&
		(p->props == NULL || compareJsonbContainers(&p->props->root, &fact->props->root) != 0))
	{
		p->props = fact->props;
		changed = true;
	}
	return changed;
}

/* ---- moving ------------------------------------------------------------------- */

static void
reach(JnyParcel *p, const Status *to, TimestampTz at)
{
	TimestampTz *milestone = to->milestone >= 0 ? &p->milestone[to->milestone] : NULL;

	if (milestone != NULL && (*milestone == 0 || at < *milestone))
		*milestone = at;
}

static void
report_illegal(JnyTake *take, const JnyFact *fact, const Machine *m, const char *from, const char *to)
{
	jny_tally_incident(take, "illegal_transition", psprintf("%s: %s %s -> %s", fact->source, m->what, from, to), "warning",
					   psprintf("a %s made a step that no %s can make; its state was not moved", m->what, m->what),
					   psprintf("Look at the status mapping of the table of %ss, or at the system that sent the step.", m->what));
}

/* When the status was reached, as far as is known. */
static TimestampTz
time_of(const JnyFact *fact, const Machine *m, const Status *to)
{
	TimestampTz at;

	if (to->milestone >= 0 && fact->f[m->milestone[to->milestone]] != NULL &&
		jny_value_time(fact->f[m->milestone[to->milestone]], &at))
		return at;
	return fact->occurred_at;
}

/* False when the state was not moved. */
static bool
move(JnyTake *take, JnyFact *fact, JnyParcel *p, const Machine *m, const Status *to)
{
	const Status *from = find_status(m, p->status);
	TimestampTz at = time_of(fact, m, to);

	if (from == to)
	{
		reach(p, to, at);
		return false;
	}
	if (from != NULL && !is_legal(from, to, p->kind))
	{
		/* told late: it happened before what is known now, and is no step back */
		if (fact->kind == JNY_KIND_EVENT && at <= p->status_at)
			reach(p, to, at);
		else
			report_illegal(take, fact, m, from->name, to->name);
		return false;
	}
	reach(p, to, at);
	jny_object_moved(take, fact, p->key->profile, jny_key_in_scope(m->what, p->id), stage_of(p, from), stage_of(p, to), to->name);
	p->status = to->name;
	p->status_at = at;
	return true;
}

/* ---- events --------------------------------------------------------------------- */

static void
put_time(JnyObject *o, const char *name, TimestampTz at)
{
	char		text[MAXDATELEN + 1];

	if (at != 0)
		jny_object_text(o, name, pstrdup(JsonEncodeDateTime(text, TimestampTzGetDatum(at), TIMESTAMPTZOID, NULL)));
}

static Jsonb *
props_of(const JnyParcel *p, const Machine *m)
{
	JnyObject	o;

	jny_object_begin(&o);
	jny_object_all(&o, p->props);
	jny_object_text(&o, m->id, p->id);
	jny_object_text(&o, "order_id", p->order_id);
	jny_object_text(&o, "status", p->status);
	jny_object_text(&o, "reason", p->reason);
	put_time(&o, "promised_at", p->promised_at);
	put_time(&o, "expected_at", p->expected_at);
	for (int i = 0; i < JNY_MILESTONES; i++)
		put_time(&o, m->milestone_name[i], p->milestone[i]);
	return jny_object_end(&o);
}

/* An event of a row happened when its milestone was reached. */
static void
emit(JnyTake *take, JnyFact *fact, const JnyParcel *p, const Machine *m, const char *type, TimestampTz at)
{
	TimestampTz occurred_at = fact->occurred_at;

	if (at != 0)
		fact->occurred_at = Min(at, take->batch->node.now);
	jny_emit(take, fact, type, props_of(p, m));
	fact->occurred_at = occurred_at;
}

static bool
is_late(const JnyParcel *p)
{
	return p->kind == JNY_KIND_SHIPMENT && p->promised_at != 0 && p->expected_at > p->promised_at &&
		p->milestone[2] == 0 && p->expected_at != p->delayed_to;
}

/* ---- rows and events ---------------------------------------------------------------- */

/* Captured for the first time by an UPDATE: what it was before is no news. */
static void
assume_old(const JnyFact *fact, JnyParcel *p, const Machine *m)
{
	const Status *was = fact->has_old ? find_status(m, fact->old[JNY_F_STATUS]) : NULL;

	if (p->status == NULL && was != NULL)
	{
		p->status = was->name;
		p->status_at = fact->occurred_at;
	}
}

static void
apply_row(JnyTake *take, JnyFact *fact, JnyParcel *p, const Machine *m)
{
	const Status *to;
	bool		changed;
	bool		moved;

	if (fact->op == JNY_OP_DELETE)
		return;					/* shops move old rows elsewhere: what arrived has arrived */
	assume_old(fact, p, m);
	to = status_of_row(take, fact, m);
	changed = read_details(fact, p, m);
	moved = to != NULL && move(take, fact, p, m, to);
	if (p->status == NULL)
		p->status = m->status[0].name;
	if (moved)
		emit(take, fact, p, m, to->event != NULL ? to->event : m->update, time_of(fact, m, to));
	else if (changed || fact->unmapped || p->key->stored_at != p->key->profile)
		emit(take, fact, p, m, m->update, 0);
}

static void
apply_event(JnyTake *take, JnyFact *fact, JnyParcel *p, const Machine *m)
{
	const Status *to = find_status(m, fact->f[JNY_F_STATUS]);

	(void) read_details(fact, p, m);
	if (to != NULL)
		(void) move(take, fact, p, m, to);
	if (p->status == NULL)
		p->status = strcmp(fact->type, "delivery_delayed") == 0 ? "shipped" : m->status[0].name;
	jny_emit(take, fact, fact->type, fact->props);
	if (strcmp(fact->type, "delivery_delayed") == 0)
		p->delayed_to = p->expected_at;
}

void
jny_parcel_apply(JnyTake *take, JnyFact *fact)
{
	JnyParcel  *p = fact->truncate ? NULL : jny_parcel_of(take, fact);
	const Machine *m;

	if (p == NULL)
	{
		if (fact->kind == JNY_KIND_EVENT)
			jny_emit(take, fact, fact->type, fact->props);
		return;
	}
	m = machine_of(p->kind);
	if (fact->kind == JNY_KIND_EVENT)
		apply_event(take, fact, p, m);
	else
		apply_row(take, fact, p, m);
	if (is_late(p))
	{
		p->delayed_to = p->expected_at;
		emit(take, fact, p, m, "delivery_delayed", 0);
	}
	p->dirty = true;
	p->seq = fact->seq;
	p->changed_at = Max(p->changed_at, fact->occurred_at);
	if (p->kind == JNY_KIND_SHIPMENT && p->status != NULL)
		jny_order_follow(take, fact, p->status);
}
