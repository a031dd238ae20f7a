/*
 * vocabulary.c
 *		Names that other systems use for what we know: events, properties,
 *		products and points in time.
 *
 * Pure functions for track() and ingest(); results are palloc'd in the
 * caller's context. An unknown name stays as it is: it is stored and counted,
 * not refused.
 */
#include "observe/message.h"

#include "utils/builtins.h"
#include "utils/datetime.h"

static const struct
{
	const char *name;
	const char *type;
	const char *step;			/* of a checkout; NULL = none */
}			event_names[] = {
	/* Segment and RudderStack, e-commerce version 2 */
	{"Product Viewed", "product_viewed", NULL},
	{"Product Clicked", "product_engaged", NULL},
	{"Product Reviewed", "product_engaged", NULL},
	{"Product Shared", "product_engaged", NULL},
	{"Product List Viewed", "list_viewed", NULL},
	{"Product List Filtered", "list_viewed", NULL},
	{"Products Searched", "searched", NULL},
	{"Product Added", "cart_item_added", NULL},
	{"Wishlist Product Added to Cart", "cart_item_added", NULL},
	{"Product Removed", "cart_item_removed", NULL},
	{"Cart Viewed", "cart_viewed", NULL},
	{"Checkout Started", "checkout_started", NULL},
	{"Checkout Step Viewed", "checkout_step_viewed", NULL},
	{"Payment Info Entered", "checkout_step_viewed", "payment"},
	{"Order Completed", "order_placed", NULL},
	{"Order Updated", "order_updated", NULL},
	{"Order Cancelled", "order_cancelled", NULL},
	{"Order Refunded", "order_refunded", NULL},
	{"Product Added to Wishlist", "wishlist_added", NULL},
	{"Email Delivered", "message_delivered", NULL},
	{"Email Opened", "message_opened", NULL},
	{"Email Link Clicked", "message_clicked", NULL},
	{"Email Bounced", "message_bounced", NULL},
	{"Email Marked as Spam", "message_complained", NULL},
	{"Unsubscribed", "unsubscribed", NULL},
	/* Google Analytics 4 */
	{"view_item", "product_viewed", NULL},
	{"select_item", "product_engaged", NULL},
	{"view_item_list", "list_viewed", NULL},
	{"search", "searched", NULL},
	{"view_search_results", "searched", NULL},
	{"add_to_cart", "cart_item_added", NULL},
	{"remove_from_cart", "cart_item_removed", NULL},
	{"add_to_wishlist", "wishlist_added", NULL},
	{"view_cart", "cart_viewed", NULL},
	{"begin_checkout", "checkout_started", NULL},
	{"add_shipping_info", "checkout_step_viewed", "shipping"},
	{"add_payment_info", "checkout_step_viewed", "payment"},
	{"purchase", "order_placed", NULL},
	{"refund", "order_refunded", NULL},
	{"page_view", "page_viewed", NULL},
	{"screen_view", "screen_viewed", NULL},
	{"session_start", "session_started", NULL},
	{"join_group", "group_joined", NULL},
	{"earn_virtual_currency", "points_earned", NULL},
	{"spend_virtual_currency", "points_redeemed", NULL},
};

static int
find_name(const char *name)
{
	for (int i = 0; i < (int) lengthof(event_names); i++)
		if (pg_strcasecmp(event_names[i].name, name) == 0)
			return i;
	return -1;
}

const char *
jny_event_name(const char *name, bool *foreign)
{
	int			i = find_name(name);

	*foreign = i >= 0;
	return i >= 0 ? event_names[i].type : name;
}

/* Our own names, as they are seeded: what a CloudEvent may put behind the name of its sender. */
static const char *const canonical_names[] = {
	"product_viewed", "product_engaged", "list_viewed", "searched", "wishlist_added", "recommendation_shown",
	"recommendation_clicked", "cart_item_added", "cart_item_removed", "cart_viewed", "checkout_started",
	"checkout_step_viewed", "payment_failed", "order_placed", "order_paid", "order_updated", "order_cancelled",
	"order_refunded", "order_line_placed", "order_line_returned", "shipment_shipped", "shipment_updated",
	"shipment_delivered", "delivery_delayed", "pickup_ready", "picked_up", "return_requested", "return_updated", "return_received",
	"ticket_opened", "ticket_closed", "points_earned", "points_redeemed", "tier_changed", "reward_issued",
	"reward_updated", "reward_redeemed", "reward_cancelled", "reward_expiring", "message_delivered",
	"message_opened", "message_clicked", "message_bounced", "message_complained", "message_replied",
	"consent_granted", "consent_revoked", "unsubscribed", "subscription_started", "subscription_renewed",
	"subscription_paused", "subscription_cancelled", "subscription_payment_failed", "product_changed",
	"stock_changed", "price_changed", "session_started", "page_viewed", "screen_viewed", "identified", "alias",
	"group_joined", "signal", "erased", "restricted"
};

const char *
jny_event_without_prefix(const char *name)
{
	const char *last = strrchr(name, '.');

	if (last == NULL)
		return name;
	last++;
	if (find_name(last) >= 0)
		return last;
	for (size_t i = 0; i < lengthof(canonical_names); i++)
		if (strcmp(canonical_names[i], last) == 0)
			return last;
	return name;
}

/* ---- properties ----------------------------------------------------------- */

static void
push_field(JsonbParseState **state, const char *key, JsonbValue *value)
{
	JsonbValue	k = {.type = jbvString};

	k.val.string.val = pstrdup(key);
	k.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &k);
	pushJsonbValue(state, WJB_VALUE, value);
}

/* The first of these fields that the object has, under the canonical key. */
static void
push_alias(JsonbParseState **state, Jsonb *object, const char *key, const char *const *aliases)
{
	JsonbValue	value;

	for (; *aliases != NULL; aliases++)
	{
		if (jny_json_field(object, *aliases, &value) != NULL && value.type != jbvNull)
		{
			push_field(state, key, &value);
			return;
		}
	}
}

/* Canonical fields come first: of equal keys the last one stays, so what the object says itself wins. */
static void
push_object(JsonbParseState **state, Jsonb *object)
{
	JsonbIterator *it = JsonbIteratorInit(&object->root);
	JsonbValue	v;

	(void) JsonbIteratorNext(&it, &v, true);
	while (JsonbIteratorNext(&it, &v, true) == WJB_KEY)
	{
		pushJsonbValue(state, WJB_KEY, &v);
		(void) JsonbIteratorNext(&it, &v, true);
		pushJsonbValue(state, WJB_VALUE, &v);
	}
}

static const char *const sku_names[] = {"product_id", "item_id", NULL};
static const char *const amount_names[] = {"total", "revenue", "value", NULL};
static const char *const order_names[] = {"transaction_id", NULL};
static const char *const query_names[] = {"search_term", NULL};
static const char *const list_names[] = {"list_id", "item_list_id", "item_list_name", NULL};
static const char *const url_names[] = {"page_location", NULL};
static const char *const referrer_names[] = {"page_referrer", NULL};
static const char *const session_names[] = {"ga_session_id", NULL};

static void
push_line(JsonbParseState **state, JsonbValue *element)
{
	Jsonb	   *line = JsonbValueToJsonb(element);

	if (!JB_ROOT_IS_OBJECT(line))
		return;
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_alias(state, line, "sku", sku_names);
	push_object(state, line);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static void
push_lines(JsonbParseState **state, Jsonb *props)
{
	Jsonb	   *products = jny_json_object(props, "products");
	JsonbIterator *it;
	JsonbValue	v;
	JsonbValue	key = {.type = jbvString, .val.string = {5, "lines"}};

	if (products == NULL)
		products = jny_json_object(props, "items");
	if (products == NULL || !JB_ROOT_IS_ARRAY(products))
		return;
	pushJsonbValue(state, WJB_KEY, &key);
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	it = JsonbIteratorInit(&products->root);
	(void) JsonbIteratorNext(&it, &v, true);
	while (JsonbIteratorNext(&it, &v, true) == WJB_ELEM)
		push_line(state, &v);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
push_codes(JsonbParseState **state, Jsonb *props)
{
	JsonbValue	key = {.type = jbvString, .val.string = {5, "codes"}};
	JsonbValue	coupon;

	if (jny_json_field(props, "coupon", &coupon) == NULL || coupon.type != jbvString)
		return;
	pushJsonbValue(state, WJB_KEY, &key);
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	pushJsonbValue(state, WJB_ELEM, &coupon);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

Jsonb *
jny_canonical_props(Jsonb *props)
{
	JsonbParseState *state = NULL;

	if (props == NULL || !JB_ROOT_IS_OBJECT(props))
		return props;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_alias(&state, props, "sku", sku_names);
	push_alias(&state, props, "amount", amount_names);
	push_alias(&state, props, "order_id", order_names);
	push_alias(&state, props, "query", query_names);
	push_alias(&state, props, "category", list_names);
	push_alias(&state, props, "url", url_names);
	push_alias(&state, props, "referrer", referrer_names);
	push_alias(&state, props, "session_id", session_names);
	push_lines(&state, props);
	push_codes(&state, props);
	push_object(&state, props);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static Jsonb *
with_step(Jsonb *props, const char *step)
{
	JsonbParseState *state = NULL;
	JsonbValue	v = {.type = jbvString};

	v.val.string.val = pstrdup(step);
	v.val.string.len = strlen(step);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_field(&state, "step", &v);
	if (props != NULL)
		push_object(&state, props);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

void
jny_message_canonical(JnyMessage *m)
{
	int			i = m->type != NULL ? find_name(m->type) : -1;

	if (m->props != NULL && !JB_ROOT_IS_OBJECT(m->props))
		return;					/* a fault, found later */
	if (i >= 0 || m->foreign)
		m->props = jny_canonical_props(m->props);
	if (i < 0)
		return;
	m->type = pstrdup(event_names[i].type);
	m->foreign = true;
	if (event_names[i].step != NULL)
		m->props = with_step(m->props, event_names[i].step);
}

/* ---- products ---------------------------------------------------------------- */

/* What a message in another vocabulary lists although its type is about one product; NULL = nothing. */
static Jsonb *
listed(const JnyMessage *m)
{
	static const char *const types[] = {
		"product_viewed", "product_engaged", "cart_item_added", "cart_item_removed", "wishlist_added"
	};
	Jsonb	   *lines;

	if (!m->foreign || m->type == NULL || m->props == NULL || !JB_ROOT_IS_OBJECT(m->props) ||
		jny_json_text(m->props, "sku") != NULL)
		return NULL;
	lines = jny_json_object(m->props, "lines");
	if (lines == NULL || !JB_ROOT_IS_ARRAY(lines) || JB_ROOT_COUNT(lines) == 0)
		return NULL;
	for (size_t i = 0; i < lengthof(types); i++)
		if (strcmp(types[i], m->type) == 0)
			return lines;
	return NULL;
}

int
jny_message_items(const JnyMessage *m, JnyFault *fault)
{
	Jsonb	   *lines = listed(m);

	if (lines == NULL)
		return 0;
	if (JB_ROOT_COUNT(lines) <= JNY_MAX_ITEMS)
		return (int) JB_ROOT_COUNT(lines);
	(void) jny_fault(fault, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "Send several messages.",
					 "the message is about more than %d products", JNY_MAX_ITEMS);
	return -1;
}

static bool
is_list(const JsonbValue *key)
{
	static const char *const lists[] = {"lines", "items", "products"};

	for (size_t i = 0; i < lengthof(lists); i++)
		if ((size_t) key->val.string.len == strlen(lists[i]) &&
			memcmp(key->val.string.val, lists[i], key->val.string.len) == 0)
			return true;
	return false;
}

/* The product's own fields first: what the message says of itself wins. */
void
jny_message_item(const JnyMessage *m, int i, JnyMessage *one)
{
	JsonbParseState *state = NULL;
	Jsonb	   *lines = listed(m);
	JsonbValue *line;
	JsonbIterator *it;
	JsonbValue	v;

	*one = *m;
	if (lines == NULL)
		return;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	line = getIthJsonbValueFromContainer(&lines->root, i);
	if (line->type == jbvBinary && JsonContainerIsObject(line->val.binary.data))
		push_object(&state, JsonbValueToJsonb(line));
	it = JsonbIteratorInit(&m->props->root);
	(void) JsonbIteratorNext(&it, &v, true);
	while (JsonbIteratorNext(&it, &v, true) == WJB_KEY)
	{
		JsonbValue	key = v;

		(void) JsonbIteratorNext(&it, &v, true);
		if (is_list(&key))
			continue;
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &v);
	}
	one->props = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	if (i > 0 && m->message_id != NULL)
		one->message_id = psprintf("%s#%d", m->message_id, i);
}

/* ---- time ------------------------------------------------------------------ */

/* n digits; false when they are not all digits. */
static bool
digits(const char **p, int n, int *value)
{
	*value = 0;
	for (; n > 0; n--, (*p)++)
	{
		if (**p < '0' || **p > '9')
			return false;
		*value = *value * 10 + (**p - '0');
	}
	return true;
}

static bool
parse_fraction(const char **p, fsec_t *fsec)
{
	int			scale = 100000;

	*fsec = 0;
	if (**p != '.' && **p != ',')
		return true;
	(*p)++;
	if (**p < '0' || **p > '9')
		return false;
	for (; **p >= '0' && **p <= '9'; (*p)++, scale /= 10)
		*fsec += (**p - '0') * scale;
	return true;
}

/* Seconds east of UTC; nothing said is UTC. */
static bool
parse_zone(const char **p, int *east)
{
	int			sign = **p == '-' ? -1 : 1;
	int			hours;
	int			minutes = 0;

	*east = 0;
	if (**p == '\0')
		return true;
	if (**p == 'Z' || **p == 'z')
	{
		(*p)++;
		return true;
	}
	if (**p != '+' && **p != '-')
		return false;
	(*p)++;
	if (!digits(p, 2, &hours))
		return false;
	if (**p == ':')
		(*p)++;
	if (**p != '\0' && !digits(p, 2, &minutes))
		return false;
	*east = sign * (hours * 3600 + minutes * 60);
	return hours <= 15 && minutes <= 59;
}

static bool
parse_clock(const char **p, struct pg_tm *tm, fsec_t *fsec)
{
	tm->tm_hour = tm->tm_min = tm->tm_sec = 0;
	*fsec = 0;
	if (**p == '\0')
		return true;
	if (**p != 'T' && **p != 't' && **p != ' ')
		return false;
	(*p)++;
	if (!digits(p, 2, &tm->tm_hour) || **p != ':')
		return false;
	(*p)++;
	if (!digits(p, 2, &tm->tm_min))
		return false;
	if (**p != ':')
		return true;
	(*p)++;
	return digits(p, 2, &tm->tm_sec) && parse_fraction(p, fsec);
}

bool
jny_time_parse(const char *text, TimestampTz *result)
{
	const char *p = text;
	struct pg_tm tm = {0};
	fsec_t		fsec;
	int			east;
	int			zone;

	if (!digits(&p, 4, &tm.tm_year) || *p++ != '-' ||
		!digits(&p, 2, &tm.tm_mon) || *p++ != '-' ||
		!digits(&p, 2, &tm.tm_mday) ||
		!parse_clock(&p, &tm, &fsec) || !parse_zone(&p, &east) || *p != '\0')
		return false;
	if (tm.tm_year < 1 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
		tm.tm_mday > day_tab[isleap(tm.tm_year)][tm.tm_mon - 1] ||
		tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
		return false;
	zone = -east;
	return tm2timestamp(&tm, fsec, &zone, result) == 0;
}
