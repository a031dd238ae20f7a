/*
 * vocabulary.c
 *		Names that other systems use for what we know: events, properties and
 *		points in time.
 *
 * Pure functions for track() and ingest(); results are palloc'd in the
 * caller's context. An unknown name stays as it is: it is stored and counted,
 * not refused.
 */
#include "observe/message.h"

#include "utils/builtins.h"
#include "utils/datetime.h"

static const char *const event_names[][2] = {
	/* Segment and RudderStack, e-commerce version 2 */
	{"Product Viewed", "product_viewed"},
	{"Product Clicked", "product_engaged"},
	{"Product List Viewed", "list_viewed"},
	{"Products Searched", "searched"},
	{"Product Added", "cart_item_added"},
	{"Product Removed", "cart_item_removed"},
	{"Cart Viewed", "cart_viewed"},
	{"Checkout Started", "checkout_started"},
	{"Checkout Step Viewed", "checkout_step_viewed"},
	{"Order Completed", "order_placed"},
	{"Order Updated", "order_updated"},
	{"Order Cancelled", "order_cancelled"},
	{"Order Refunded", "order_refunded"},
	{"Product Added to Wishlist", "wishlist_added"},
	{"Email Delivered", "message_delivered"},
	{"Email Opened", "message_opened"},
	{"Email Link Clicked", "message_clicked"},
	{"Email Bounced", "message_bounced"},
	{"Email Marked as Spam", "message_complained"},
	{"Unsubscribed", "unsubscribed"},
	/* Google Analytics 4 */
	{"view_item", "product_viewed"},
	{"view_item_list", "list_viewed"},
	{"search", "searched"},
	{"add_to_cart", "cart_item_added"},
	{"remove_from_cart", "cart_item_removed"},
	{"add_to_wishlist", "wishlist_added"},
	{"view_cart", "cart_viewed"},
	{"begin_checkout", "checkout_started"},
	{"purchase", "order_placed"},
	{"refund", "order_refunded"},
};

const char *
jny_event_name(const char *name, bool *foreign)
{
	for (int i = 0; i < (int) lengthof(event_names); i++)
	{
		if (pg_strcasecmp(event_names[i][0], name) == 0)
		{
			*foreign = true;
			return event_names[i][1];
		}
	}
	*foreign = false;
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
	push_lines(&state, props);
	push_codes(&state, props);
	push_object(&state, props);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
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
