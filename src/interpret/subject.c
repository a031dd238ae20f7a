/*
 * subject.c
 *		The vocabulary, served: the value of a name for one subject.
 *
 * Called through jny_subject_resolve by the evaluation of rules. A name was
 * bound to a number when its rule was compiled (jny_subject_bind); reading it
 * is a switch. Tables are read by subject_load.c, for a whole batch or, when a
 * part is missing, for this one subject. Results live in CurrentMemoryContext
 * or in the subject's. No locks, no writes; what is not known is null.
 */
#include "interpret/rule.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "interpret/feature.h"
#include "interpret/subject.h"

typedef enum Code
{
	CODE_NOW = 1,
	CODE_KEY,
	CODE_STAGE,
	CODE_FEATURE,
	CODE_EVENT_TYPE,
	CODE_EVENT_OCCURRED_AT,
	CODE_EVENT_SOURCE,
	CODE_EVENT_SCOPE,
	CODE_EVENT_PROP,
	CODE_PROFILE_ZONE,
	CODE_PROFILE_LOCALE,
	CODE_PROFILE_CONFIDENCE,
	CODE_PROFILE_TRAIT,
	CODE_CART_ID,
	CODE_CART_STATUS,
	CODE_CART_ITEMS,
	CODE_CART_LINES,
	CODE_CART_VALUE,
	CODE_CART_CURRENCY,
	CODE_CART_AGE,
	CODE_CART_TOP_SKU,
	CODE_CART_TOP_CATEGORY,
	CODE_CART_SKUS,
	CODE_CART_CATEGORIES,
	CODE_ORDER_ID,
	CODE_ORDER_STATUS,
	CODE_ORDER_AMOUNT,
	CODE_ORDER_CURRENCY,
	CODE_ORDER_ORIGIN,
	CODE_ORDER_PLACED_AT,
	CODE_ORDER_LINES,
	CODE_ORDER_SKUS,
	CODE_ORDER_PROP,
	CODE_ORDERS_COUNT,
	CODE_ORDERS_SUM,
	CODE_ORDERS_LAST_AT,
	CODE_ORDERS_DAYS_SINCE,
	CODE_SHIPMENT,
	CODE_RETURNS,
	CODE_PRODUCT_SKU,
	CODE_PRODUCT_NAME,
	CODE_PRODUCT_CATEGORY,
	CODE_PRODUCT_CLASS,
	CODE_PRODUCT_PRICE,
	CODE_PRODUCT_CURRENCY,
	CODE_PRODUCT_AVAILABLE,
	CODE_PRODUCT_REPLENISHABLE,
	CODE_PRODUCT_REPLENISH_AFTER,
	CODE_PRODUCT_VIEWS,
	CODE_PRODUCT_REPEAT_VIEWS,
	CODE_PRODUCT_DWELL,
	CODE_SESSION_ID,
	CODE_SESSION_STARTED_AT,
	CODE_SESSION_FIRST_REFERRER,
	CODE_SESSION_LAST_REFERRER,
	CODE_TICKETS_OPEN,
	CODE_TICKETS_CONTACTS_30D,
	CODE_CONSENT,
	CODE_ENTRY,
	CODE_STEP_SENT,
	CODE_STEP_DELIVERED,
	CODE_STEP_OPENED,
	CODE_STEP_CLICKED,
	CODE_STEP_REFUSED,
	CODE_SOURCE_AGE
} Code;

typedef struct Served
{
	const char *name;
	int			code;
	uint32		part;
} Served;

static const Served served[] = {
	{"now", CODE_NOW, 0},
	{"key", CODE_KEY, 0},
	{"stage", CODE_STAGE, JNY_PART_PROFILE},
	{"<feature>", CODE_FEATURE, JNY_PART_PROFILE},
	{"event.type", CODE_EVENT_TYPE, JNY_PART_EVENT},
	{"event.occurred_at", CODE_EVENT_OCCURRED_AT, JNY_PART_EVENT},
	{"event.source", CODE_EVENT_SOURCE, JNY_PART_EVENT},
	{"event.scope", CODE_EVENT_SCOPE, JNY_PART_EVENT},
	{"event.*", CODE_EVENT_PROP, JNY_PART_EVENT},
	{"profile.zone", CODE_PROFILE_ZONE, JNY_PART_PROFILE},
	{"profile.locale", CODE_PROFILE_LOCALE, JNY_PART_PROFILE},
	{"profile.confidence", CODE_PROFILE_CONFIDENCE, JNY_PART_PROFILE},
	{"profile.stage", CODE_STAGE, JNY_PART_PROFILE},
	{"profile.*", CODE_PROFILE_TRAIT, JNY_PART_PROFILE},
	{"cart.id", CODE_CART_ID, JNY_PART_CART},
	{"cart.status", CODE_CART_STATUS, JNY_PART_CART},
	{"cart.items", CODE_CART_ITEMS, JNY_PART_CART},
	{"cart.lines", CODE_CART_LINES, JNY_PART_CART},
	{"cart.value", CODE_CART_VALUE, JNY_PART_CART},
	{"cart.currency", CODE_CART_CURRENCY, JNY_PART_CART},
	{"cart.age", CODE_CART_AGE, JNY_PART_CART},
	{"cart.top_sku", CODE_CART_TOP_SKU, JNY_PART_LINES},
	{"cart.top_category", CODE_CART_TOP_CATEGORY, JNY_PART_LINES},
	{"cart.skus", CODE_CART_SKUS, JNY_PART_LINES},
	{"cart.categories", CODE_CART_CATEGORIES, JNY_PART_LINES},
	{"order.id", CODE_ORDER_ID, JNY_PART_ORDER},
	{"order.status", CODE_ORDER_STATUS, JNY_PART_ORDER},
	{"order.amount", CODE_ORDER_AMOUNT, JNY_PART_ORDER},
	{"order.currency", CODE_ORDER_CURRENCY, JNY_PART_ORDER},
	{"order.origin", CODE_ORDER_ORIGIN, JNY_PART_ORDER},
	{"order.placed_at", CODE_ORDER_PLACED_AT, JNY_PART_ORDER},
	{"order.lines", CODE_ORDER_LINES, JNY_PART_ORDER},
	{"order.skus", CODE_ORDER_SKUS, JNY_PART_ORDER},
	{"order.*", CODE_ORDER_PROP, JNY_PART_ORDER},
	{"orders.count", CODE_ORDERS_COUNT, JNY_PART_ORDERS},
	{"orders.sum", CODE_ORDERS_SUM, JNY_PART_ORDERS},
	{"orders.last_at", CODE_ORDERS_LAST_AT, JNY_PART_ORDERS},
	{"orders.days_since", CODE_ORDERS_DAYS_SINCE, JNY_PART_ORDERS},
	{"shipment.*", CODE_SHIPMENT, JNY_PART_SHIPMENT},
	{"returns.*", CODE_RETURNS, JNY_PART_RETURNS},
	{"product.sku", CODE_PRODUCT_SKU, JNY_PART_PRODUCT},
	{"product.name", CODE_PRODUCT_NAME, JNY_PART_PRODUCT},
	{"product.category", CODE_PRODUCT_CATEGORY, JNY_PART_PRODUCT},
	{"product.class", CODE_PRODUCT_CLASS, JNY_PART_PRODUCT},
	{"product.price", CODE_PRODUCT_PRICE, JNY_PART_PRODUCT},
	{"product.currency", CODE_PRODUCT_CURRENCY, JNY_PART_PRODUCT},
	{"product.available", CODE_PRODUCT_AVAILABLE, JNY_PART_STOCK},
	{"product.replenishable", CODE_PRODUCT_REPLENISHABLE, JNY_PART_PRODUCT},
	{"product.replenish_after", CODE_PRODUCT_REPLENISH_AFTER, JNY_PART_PRODUCT},
	{"product.views", CODE_PRODUCT_VIEWS, JNY_PART_PROFILE},	/* what the person did with it */
	{"product.repeat_views", CODE_PRODUCT_REPEAT_VIEWS, JNY_PART_PROFILE},
	{"product.dwell_seconds", CODE_PRODUCT_DWELL, JNY_PART_PROFILE},
	{"session.id", CODE_SESSION_ID, JNY_PART_SESSION},
	{"session.started_at", CODE_SESSION_STARTED_AT, JNY_PART_SESSION},
	{"session.first_referrer", CODE_SESSION_FIRST_REFERRER, JNY_PART_SESSION},
	{"session.last_referrer", CODE_SESSION_LAST_REFERRER, JNY_PART_SESSION},
	{"tickets.open", CODE_TICKETS_OPEN, JNY_PART_TICKETS},
	{"tickets.contacts_30d", CODE_TICKETS_CONTACTS_30D, JNY_PART_TICKETS},
	{"consent.*", CODE_CONSENT, JNY_PART_CONSENT},
	{"entry.*", CODE_ENTRY, 0},
	{"step.*.sent", CODE_STEP_SENT, 0},
	{"step.*.delivered", CODE_STEP_DELIVERED, 0},
	{"step.*.opened", CODE_STEP_OPENED, 0},
	{"step.*.clicked", CODE_STEP_CLICKED, 0},
	{"step.*.refused", CODE_STEP_REFUSED, 0},
	{"source.age:*", CODE_SOURCE_AGE, JNY_PART_SOURCE},
	{NULL, 0, 0}
};

static const Served *
find_served(const char *name)
{
	for (const Served *s = served; s->name != NULL; s++)
		if (strcmp(s->name, name) == 0)
			return s;
	return NULL;
}

/* Is the name journey's own, rather than a property, trait or entry value? Then its type is fixed. */
bool
jny_subject_is_own(const char *name)
{
	return find_served(name) != NULL;
}

bool
jny_subject_bind(const char *pattern, JnyInput *input)
{
	const Served *s = find_served(pattern);
	const char *dot = strchr(pattern, '.');

	/* A name that the house declared itself: a typed trait, property or entry value. */
	if (s == NULL && dot != NULL)
	{
		s = find_served(psprintf("%.*s.*", (int) (dot - pattern), pattern));
		input->field = dot + 1;
	}
	/* Typed names that are shipped are rows of the vocabulary, not of the table above. */
	if (s == NULL)
		return false;
	input->code = s->code;
	input->part = s->part;
	return true;
}

/* ---- which object ---------------------------------------------------------------- */

const char *
jny_subject_scope(const JnySubjectContext *s)
{
	if (s->scope != NULL)
		return s->scope;
	return s->event != NULL && s->event->scope != NULL ? s->event->scope : "default";
}

const char *
jny_subject_cart(const JnySubjectContext *s)
{
	if (s->cart_id != NULL)
		return s->cart_id;
	if (s->event != NULL && s->event->cart_id != NULL)
		return s->event->cart_id;
	return jny_json_text(s->entry, "cart_id");
}

const char *
jny_subject_order(const JnySubjectContext *s)
{
	if (s->order_id != NULL)
		return s->order_id;
	if (s->event != NULL && s->event->order_id != NULL)
		return s->event->order_id;
	return jny_json_text(s->entry, "order_id");
}

const char *
jny_subject_session(const JnySubjectContext *s)
{
	return s->event != NULL ? jny_json_text(s->event->props, "session_id") : NULL;
}

const char *
jny_subject_shipment(const JnySubjectContext *s)
{
	const char *id = s->event != NULL ? jny_json_text(s->event->props, "shipment_id") : NULL;

	return id != NULL ? id : jny_json_text(s->entry, "shipment_id");
}

const char *
jny_subject_sku(const JnySubjectContext *s)
{
	const char *sku = s->sku;

	if (sku == NULL && s->event != NULL)
		sku = s->event->sku;
	if (sku == NULL)
		sku = jny_json_text(s->entry, "sku");
	if (sku == NULL)
		sku = jny_json_text(s->entry, "top_sku");
	return sku != NULL ? sku : s->key;
}

/* ---- values -------------------------------------------------------------------------- */

static Datum
text_value(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

static Datum
ref_value(Datum value, bool *isnull)
{
	*isnull = value == (Datum) 0;
	return value;
}

static Datum
time_value(TimestampTz at, bool *isnull)
{
	*isnull = at == 0;
	return TimestampTzGetDatum(at);
}

/* Exact difference in days and time, as timestamptz - timestamptz gives it. */
static Datum
age_value(TimestampTz now, TimestampTz since, bool *isnull)
{
	*isnull = since == 0;
	return *isnull ? (Datum) 0
		: DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(now), TimestampTzGetDatum(since));
}

static Datum
json_value(Jsonb *object, const char *field, Oid type, bool *isnull)
{
	JsonbValue	v;

	return jny_json_to_value(jny_json_field(object, field, &v), type, isnull);
}

/* What a step left behind counts when it is there and neither null nor false. */
static Datum
step_value(const JnySubjectContext *s, const char *step, const char *what, bool *isnull)
{
	Jsonb	   *left;
	JsonbValue	v;

	*isnull = s->steps == NULL;
	left = *isnull ? NULL : jny_json_object(s->steps, step);
	if (left == NULL || jny_json_field(left, what, &v) == NULL)
		return BoolGetDatum(false);
	return BoolGetDatum(v.type != jbvNull && !(v.type == jbvBool && !v.val.boolean));
}

static Datum
event_value(const JnySubjectContext *s, const JnyInput *in, bool *isnull)
{
	const JnyEvent *e = s->event;

	*isnull = e == NULL;
	if (e == NULL)
		return (Datum) 0;
	switch (in->code)
	{
		case CODE_EVENT_TYPE:
			return text_value(e->type, isnull);
		case CODE_EVENT_OCCURRED_AT:
			return TimestampTzGetDatum(e->occurred_at);
		case CODE_EVENT_SOURCE:
			return text_value(e->source, isnull);
		case CODE_EVENT_SCOPE:
			return text_value(e->scope, isnull);
		default:
			return json_value(e->props, in->field, in->type, isnull);
	}
}

static Datum
feature_value(const JnySubjectContext *s, bytea *packed, const char *name, bool *isnull)
{
	const JnyFeature *f = jny_feature_find(name);

	*isnull = f == NULL;
	return f ? jny_feature_of(&s->profile_id, packed, f, s->now, isnull) : (Datum) 0;
}

/* From the lists that the shipped features keep; unknown where a house has replaced them by something else. */
static Datum
browsing_value(const JnySubjectContext *s, bytea *packed, int code, bool *isnull)
{
	const char *sku = jny_subject_sku(s);
	int64		times;
	Datum		seconds;

	*isnull = sku == NULL ||
		!jny_feature_recent(&s->profile_id, packed, code == CODE_PRODUCT_DWELL ? "dwelled_products" : "viewed_products",
							sku, s->now, &times, &seconds);
	if (*isnull)
		return (Datum) 0;
	if (code == CODE_PRODUCT_DWELL)
		return seconds;
	return Int64GetDatum(code == CODE_PRODUCT_VIEWS ? times : Max(times - 1, 0));
}

static Datum
profile_value(const JnySubjectContext *s, const JnyInput *in, bool *isnull)
{
	const JnyProfile *p = s->profile;
	const JnySubjectParts *q = s->parts;

	*isnull = p == NULL && !q->has_profile;
	if (*isnull)
		return (Datum) 0;
	switch (in->code)
	{
		case CODE_STAGE:
			return text_value(p ? p->stage : q->stage, isnull);
		case CODE_PROFILE_ZONE:
			return text_value(p ? p->zone : q->zone, isnull);
		case CODE_PROFILE_LOCALE:
			return text_value(p ? p->locale : q->locale, isnull);
		case CODE_PROFILE_CONFIDENCE:
			return Float8GetDatum(p ? p->confidence : q->confidence);
		case CODE_FEATURE:
			return feature_value(s, p ? p->features : q->features, in->name, isnull);
		case CODE_PRODUCT_VIEWS:
		case CODE_PRODUCT_REPEAT_VIEWS:
		case CODE_PRODUCT_DWELL:
			return browsing_value(s, p ? p->features : q->features, in->code, isnull);
		default:
			return json_value(p ? p->traits : q->traits, in->field, in->type, isnull);
	}
}

static Datum
cart_value(const JnySubjectContext *s, const JnyInput *in, bool *isnull)
{
	const JnySubjectParts *q = s->parts;

	*isnull = !q->has_cart;
	if (*isnull)
		return (Datum) 0;
	switch (in->code)
	{
		case CODE_CART_ID:
			return text_value(q->cart_id, isnull);
		case CODE_CART_STATUS:
			return text_value(q->cart_status, isnull);
		case CODE_CART_ITEMS:
			return ref_value(q->cart_items, isnull);
		case CODE_CART_LINES:
			return Int64GetDatum(q->cart_lines);
		case CODE_CART_VALUE:
			return ref_value(q->cart_value, isnull);
		case CODE_CART_CURRENCY:
			return text_value(q->cart_currency, isnull);
		case CODE_CART_AGE:
			return age_value(s->now, q->cart_changed_at, isnull);
		case CODE_CART_TOP_SKU:
			return text_value(q->top_sku, isnull);
		case CODE_CART_TOP_CATEGORY:
			return text_value(q->top_category, isnull);
		case CODE_CART_SKUS:
			return ref_value(q->skus, isnull);
		default:
			return ref_value(q->categories, isnull);
	}
}

static Datum
order_value(const JnySubjectContext *s, const JnyInput *in, bool *isnull)
{
	const JnySubjectParts *q = s->parts;

	*isnull = !q->has_order;
	if (*isnull)
		return (Datum) 0;
	switch (in->code)
	{
		case CODE_ORDER_ID:
			return text_value(q->order_id, isnull);
		case CODE_ORDER_STATUS:
			return text_value(q->order_status, isnull);
		case CODE_ORDER_AMOUNT:
			return ref_value(q->order_amount, isnull);
		case CODE_ORDER_CURRENCY:
			return text_value(q->order_currency, isnull);
		case CODE_ORDER_ORIGIN:
			return text_value(q->order_origin, isnull);
		case CODE_ORDER_PLACED_AT:
			return time_value(q->order_placed_at, isnull);
		case CODE_ORDER_LINES:
			return Int64GetDatum(q->order_lines);
		case CODE_ORDER_PROP:
			return json_value(q->order_props, in->field, in->type, isnull);
		default:
			return ref_value(q->order_skus, isnull);
	}
}

static Datum
orders_value(const JnySubjectContext *s, const JnyInput *in, bool *isnull)
{
	const JnySubjectParts *q = s->parts;

	*isnull = false;
	switch (in->code)
	{
		case CODE_ORDERS_COUNT:
			return Int64GetDatum(q->orders_count);
		case CODE_ORDERS_SUM:
			if (q->orders_count == 0)
				return NumericGetDatum(int64_to_numeric(0));
			return ref_value(q->orders_sum, isnull);
		case CODE_ORDERS_LAST_AT:
			return time_value(q->orders_last_at, isnull);
		default:
			*isnull = q->orders_last_at == 0;
			return Int64GetDatum(Max(s->now - q->orders_last_at, 0) / USECS_PER_DAY);
	}
}

static Datum
product_value(const JnySubjectContext *s, const JnyInput *in, bool *isnull)
{
	const JnySubjectParts *q = s->parts;

	/* a table of stock may know what the catalogue does not */
	if (in->code == CODE_PRODUCT_AVAILABLE)
		return ref_value(q->product_available, isnull);
	*isnull = !q->has_product;
	if (*isnull)
		return (Datum) 0;
	switch (in->code)
	{
		case CODE_PRODUCT_SKU:
			return text_value(q->product_sku, isnull);
		case CODE_PRODUCT_NAME:
			return text_value(q->product_name, isnull);
		case CODE_PRODUCT_CATEGORY:
			return text_value(q->product_category, isnull);
		case CODE_PRODUCT_CLASS:
			return text_value(q->product_class, isnull);
		case CODE_PRODUCT_PRICE:
			return ref_value(q->product_price, isnull);
		case CODE_PRODUCT_CURRENCY:
			return text_value(q->product_currency, isnull);
		case CODE_PRODUCT_REPLENISH_AFTER:
			return ref_value(q->product_replenish_after, isnull);
		default:
			*isnull = q->product_replenishable < 0;
			return BoolGetDatum(q->product_replenishable > 0);
	}
}

static Datum
session_value(const JnySubjectContext *s, const JnyInput *in, bool *isnull)
{
	const JnySubjectParts *q = s->parts;

	switch (in->code)
	{
		case CODE_SESSION_ID:
			return text_value(q->session_id, isnull);
		case CODE_SESSION_STARTED_AT:
			return time_value(q->session_started_at, isnull);
		case CODE_SESSION_FIRST_REFERRER:
			return text_value(q->first_referrer, isnull);
		default:
			return text_value(q->last_referrer, isnull);
	}
}

/* No row, or one that has expired, is a state too: unknown. */
static Datum
consent_value(const JnySubjectContext *s, const JnyInput *in, bool *isnull)
{
	const JnySubjectParts *q = s->parts;

	for (int i = 0; i < q->nconsents; i++)
		if (strcmp(q->consents[i].name, in->field) == 0)
			return text_value(q->consents[i].state, isnull);
	return text_value("unknown", isnull);
}

static Datum
source_value(const JnySubjectContext *s, const JnyInput *in, bool *isnull)
{
	const JnySubjectParts *q = s->parts;

	for (int i = 0; i < q->nsources; i++)
		if (strcmp(q->sources[i].source, in->field) == 0)
			return age_value(s->now, q->sources[i].last_event_at, isnull);
	*isnull = true;
	return (Datum) 0;
}

Datum
jny_subject_resolve(void *subject, const JnyInput *in, bool *isnull)
{
	JnySubjectContext *s = subject;

	*isnull = false;
	jny_subjects_load(&s, 1, in->part);
	switch (in->part)
	{
		case JNY_PART_EVENT:
			return event_value(s, in, isnull);
		case JNY_PART_PROFILE:
			return profile_value(s, in, isnull);
		case JNY_PART_CART:
		case JNY_PART_LINES:
			return cart_value(s, in, isnull);
		case JNY_PART_ORDER:
			return order_value(s, in, isnull);
		case JNY_PART_ORDERS:
			return orders_value(s, in, isnull);
		case JNY_PART_SHIPMENT:
			return json_value(s->parts->shipment, in->field, in->type, isnull);
		case JNY_PART_RETURNS:
			return json_value(s->parts->returns, in->field, in->type, isnull);
		case JNY_PART_PRODUCT:
		case JNY_PART_STOCK:
			return product_value(s, in, isnull);
		case JNY_PART_SESSION:
			return session_value(s, in, isnull);
		case JNY_PART_TICKETS:
			return Int64GetDatum(in->code == CODE_TICKETS_OPEN ? s->parts->tickets_open : s->parts->contacts_30d);
		case JNY_PART_CONSENT:
			return consent_value(s, in, isnull);
		case JNY_PART_SOURCE:
			return source_value(s, in, isnull);
		default:
			break;
	}
	switch (in->code)
	{
		case CODE_NOW:
			return TimestampTzGetDatum(s->now);
		case CODE_KEY:
			return text_value(s->key, isnull);
		case CODE_ENTRY:
			return json_value(s->entry, in->field, in->type, isnull);
		case CODE_STEP_SENT:
			return step_value(s, in->field, "sent", isnull);
		case CODE_STEP_DELIVERED:
			return step_value(s, in->field, "delivered", isnull);
		case CODE_STEP_OPENED:
			return step_value(s, in->field, "opened", isnull);
		case CODE_STEP_CLICKED:
			return step_value(s, in->field, "clicked", isnull);
		case CODE_STEP_REFUSED:
			return step_value(s, in->field, "refused", isnull);
		default:
			elog(ERROR, "name \"%s\" has no reader", in->name);
	}
	return (Datum) 0;			/* not reached */
}
