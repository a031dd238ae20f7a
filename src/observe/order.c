/*
 * order.c
 *		Orders and their lines: one status machine for rows and events.
 *
 * Called by take.c. Captured rows say what an order is now; the change
 * against what we knew becomes the event, so a row that is read again says
 * nothing. A transition that no order can make is an incident and does not
 * move the state. No statements here (order_store.c has them).
 */
#include "observe/order.h"

#include "utils/builtins.h"

#include "observe/capture.h"

/* ---- the status machine ----------------------------------------------- */

/* How far an order has come; -1 for the ways out. */
static int
progress(const char *status)
{
	static const char *const steps[] = {"pending", "placed", "paid", "shipped", "delivered"};

	for (size_t i = 0; i < lengthof(steps); i++)
		if (strcmp(steps[i], status) == 0)
			return (int) i;
	return -1;
}

static bool
is_status(const char *status)
{
	return progress(status) >= 0 || strcmp(status, "cancelled") == 0 ||
		strcmp(status, "refunded") == 0 || strcmp(status, "returned") == 0;
}

static const char *
stage_of(const char *status)
{
	if (status != NULL && strcmp(status, "delivered") == 0)
		return "post_purchase";
	return jny_status_is_placed(status) ? "fulfillment" : "";
}

static bool
is_legal(const char *from, const char *to)
{
	int			was = progress(from);
	int			is = progress(to);

	if (was >= 0 && is >= 0)
		return is >= was;
	if (strcmp(from, "cancelled") == 0)
		return (is >= 0 && is <= 2) || strcmp(to, "refunded") == 0;	/* placed again, or the money went back */
	if (strcmp(from, "returned") == 0)
		return strcmp(to, "refunded") == 0;
	if (was < 0)
		return false;			/* refunded is the end */
	if (strcmp(to, "cancelled") == 0)
		return was < progress("delivered");
	if (strcmp(to, "returned") == 0)
		return was >= progress("shipped");
	return was >= progress("placed");	/* refunded */
}

static void
report_illegal(JnyTake *take, JnyFact *fact, const char *from, const char *to)
{
	/* a release that cannot be stands for nothing */
	if (fact->fence == JNY_FENCE_RELEASE)
		fact->fence = JNY_FENCE_NONE;
	jny_tally_incident(take, "illegal_transition", psprintf("%s: %s -> %s", fact->source, from, to), "warning",
					   "an order made a step that no order can make; its state was not moved",
					   "Look at the status mapping of the order's table, or at the system that sent the step.");
}

/* ---- counting --------------------------------------------------------- */

/* The order counts as bought from here on. */
static void
count_placed(JnyOrder *o, JnyFact *fact, TimestampTz at)
{
	JnyProfile *p = o->key->profile;

	o->placed_at = at;
	o->cancelled_at = 0;
	p->orders++;
	p->last_order_at = Max(p->last_order_at, at);
	p->dirty = true;
}

static bool
counts(const JnyOrder *o)
{
	return o->placed_at != 0 && o->cancelled_at == 0;
}

/* ---- events ----------------------------------------------------------- */

static Jsonb *
lines_json(const JnyOrder *o)
{
	JsonbParseState *state = NULL;
	ListCell   *lc;

	if (o->lines == NIL)
		return NULL;
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, o->lines)
	{
		const JnyOrderLine *l = lfirst(lc);
		JnyObject	one;
		Jsonb	   *json;
		JsonbValue	v;

		jny_object_begin(&one);
		jny_object_text(&one, "line", l->line);
		jny_object_text(&one, "sku", l->sku);
		jny_object_number(&one, "quantity", l->quantity);
		jny_object_number(&one, "price", l->price);
		json = jny_object_end(&one);
		v.type = jbvBinary;
		v.val.binary.data = &json->root;
		v.val.binary.len = VARSIZE(json) - VARHDRSZ;
		pushJsonbValue(&state, WJB_ELEM, &v);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

static Jsonb *
codes_json(const char *codes)
{
	JsonbParseState *state = NULL;
	JsonbValue	v = {.type = jbvString};
	const char *code;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	while ((code = jny_order_next_code(&codes, &v.val.string.len)) != NULL)
	{
		v.val.string.val = unconstify(char *, code);
		pushJsonbValue(&state, WJB_ELEM, &v);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

static void
emit_order(JnyTake *take, JnyFact *fact, const JnyOrder *o, const char *type, const char *status)
{
	JnyObject	p;

	jny_object_begin(&p);
	jny_object_all(&p, o->props);
	jny_object_text(&p, "order_id", o->order_id);
	jny_object_number(&p, "amount", o->amount);
	jny_object_text(&p, "currency", o->currency);
	jny_object_text(&p, "cart_id", o->cart_id);
	jny_object_text(&p, "origin", o->origin);
	jny_object_text(&p, "status", status);
	if (o->codes != NULL)
	{
		jny_object_text(&p, "code", pnstrdup(o->codes, strcspn(o->codes, "\n")));
		jny_object_json(&p, "codes", codes_json(o->codes));
	}
	if (strcmp(type, "order_placed") == 0)
		jny_object_json(&p, "lines", lines_json(o));
	jny_emit(take, fact, type, jny_object_end(&p));
}

static Jsonb *
line_props(const JnyFact *fact, const JnyOrder *o, const JnyOrderLine *l)
{
	JnyObject	p;

	jny_object_begin(&p);
	if (fact->kind == JNY_KIND_ORDER_LINE)
		jny_object_all(&p, fact->props);
	jny_object_text(&p, "order_id", o->order_id);
	jny_object_text(&p, "line", l->line);
	jny_object_text(&p, "sku", l->sku);
	jny_object_number(&p, "quantity", l->quantity);
	jny_object_number(&p, "price", l->price);
	jny_object_text(&p, "currency", o->currency);
	jny_object_text(&p, "origin", o->origin);
	return jny_object_end(&p);
}

static void
emit_line(JnyTake *take, JnyFact *fact, const JnyOrder *o, const JnyOrderLine *l, const char *type)
{
	jny_emit(take, fact, type, line_props(fact, o, l));
}

static void
announce_lines(JnyTake *take, JnyFact *fact, JnyOrder *o)
{
	ListCell   *lc;

	foreach(lc, o->lines)
	{
		JnyOrderLine *l = lfirst(lc);

		if (l->announced)
			continue;
		l->announced = true;
		emit_line(take, fact, o, l, "order_line_placed");
	}
}

/*
 * A row that was deleted before anybody had read it, as a back-fill would have:
 * then it was read first, and went after. Shops move old orders elsewhere, and
 * who has bought has bought.
 */
static JnyFact
what_went(const JnyFact *fact)
{
	JnyFact		row = *fact;

	row.op = JNY_OP_BACKFILL;
	row.backfill = true;
	row.fence_given = true;		/* the fence is that of the deletion */
	row.timed = row.f[JNY_F_AT] != NULL && jny_value_time(row.f[JNY_F_AT], &row.occurred_at);
	row.occurred_at = Min(row.occurred_at, fact->occurred_at);
	return row;
}

/* ---- lines ------------------------------------------------------------ */

static void
set_line(JnyOrder *o, JnyOrderLine *l, const char *sku, Datum quantity, Datum price, TimestampTz at)
{
	if (sku != NULL)
		l->sku = sku;
	if (l->sku == NULL)
		l->sku = l->line;
	l->quantity = quantity != (Datum) 0 ? quantity : l->quantity != (Datum) 0 ? l->quantity : jny_num_int(1);
	if (price != (Datum) 0)
		l->price = price;
	if (l->status == NULL)
		l->status = "placed";
	l->changed_at = at;
	l->dirty = true;
	o->dirty = true;
}

static JnyOrderLine *
line_of_row(JnyOrder *o, JnyFact *fact)
{
	const char *line = fact->f[JNY_F_LINE] != NULL ? fact->f[JNY_F_LINE] : fact->f[JNY_F_SKU];
	JnyOrderLine *l = jny_order_line_of(o, line);

	if (fact->op != JNY_OP_DELETE)
		set_line(o, l, fact->f[JNY_F_SKU], jny_num_text(fact->f[JNY_F_QUANTITY]),
				 jny_num_text(fact->f[JNY_F_PRICE]), fact->occurred_at);
	return l;
}

static void
apply_line_row(JnyTake *take, JnyFact *fact, JnyOrder *o)
{
	const char *status = fact->f[JNY_F_STATUS];
	JnyOrderLine *l = line_of_row(o, fact);
	const char *now = fact->op == JNY_OP_DELETE ? "cancelled"
		: status != NULL && strcmp(status, "returned") == 0 ? "returned"
		: status != NULL && strcmp(status, "cancelled") == 0 ? "cancelled" : "placed";
	bool		returned = strcmp(now, "returned") == 0 && (l->status == NULL || strcmp(l->status, now) != 0);

	if (fact->op == JNY_OP_DELETE && l->sku == NULL)
	{
		JnyFact		row = what_went(fact);

		apply_line_row(take, &row, o);
	}
	if (o->key->profile == NULL)
		return;
	l->status = now;
	l->dirty = true;
	o->dirty = true;
	if (counts(o) && !l->announced && strcmp(now, "placed") == 0)
	{
		l->announced = true;
		emit_line(take, fact, o, l, "order_line_placed");
	}
	else if (returned)
		emit_line(take, fact, o, l, "order_line_returned");
	else
		fact->props = line_props(fact, o, l);	/* its fence is judged by what the line is */
}

/* Lines that an event lists. */
static void
read_event_lines(JnyFact *fact, JnyOrder *o)
{
	Jsonb	   *lines = jny_json_object(fact->props, "lines");
	JsonbIterator *it;
	JsonbIteratorToken tok;
	JsonbValue	v;

	if (lines == NULL || !JB_ROOT_IS_ARRAY(lines))
		return;
	it = JsonbIteratorInit(&lines->root);
	while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		Jsonb	   *one;
		const char *sku;
		const char *line;

		if (tok != WJB_ELEM || v.type != jbvBinary)
			continue;
		one = JsonbValueToJsonb(&v);
		sku = jny_json_text(one, "sku");
		line = jny_json_text(one, "line");
		if (line == NULL)
			line = sku;
		if (line != NULL && jny_value_fits(line) && (sku == NULL || jny_value_fits(sku)))
			set_line(o, jny_order_line_of(o, line), sku, jny_num_field(one, "quantity"),
					 jny_num_field(one, "price"), fact->occurred_at);
	}
}

/* ---- moving ----------------------------------------------------------- */

static void
placed(JnyTake *take, JnyFact *fact, JnyOrder *o, TimestampTz at)
{
	if (counts(o))
		return;
	count_placed(o, fact, at);
}

/*
 * Moves the order when it may; false when not. What the move means for the
 * person's orders is counted here.
 */
static bool
move(JnyTake *take, JnyFact *fact, JnyOrder *o, const char *to)
{
	if (o->status != NULL && !is_legal(o->status, to))
	{
		report_illegal(take, fact, o->status, to);
		return false;
	}
	if (jny_status_is_placed(to))
		placed(take, fact, o, fact->occurred_at);
	else if (strcmp(to, "cancelled") == 0)
	{
		if (counts(o))
			jny_order_recount(take, o->key->profile);
		o->cancelled_at = fact->occurred_at;
	}
	else if (o->status == NULL && strcmp(to, "pending") != 0)
		o->placed_at = fact->occurred_at;	/* first seen refunded or returned: it was bought once */
	jny_object_moved(take, fact, o->key->profile, jny_key_in_scope("order", o->order_id), stage_of(o->status), stage_of(to), to);
	o->status = to;
	o->dirty = true;
	return true;
}

static void
touch(JnyOrder *o, JnyFact *fact)
{
	o->dirty = true;
	o->seq = fact->seq;
	o->changed_at = Max(o->changed_at, fact->occurred_at);
}

static bool
take_text(const char **known, const char *said)
{
	if (said == NULL || (*known != NULL && strcmp(*known, said) == 0))
		return false;
	*known = said;
	return true;
}

static bool
take_number(Datum *known, Datum said)
{
	if (said == (Datum) 0 || (*known != (Datum) 0 && jny_num_cmp(*known, said) == 0))
		return false;
	*known = said;
	return true;
}

/* {A,B}, A,B or A: one code a line */
static const char *
codes_of(const char *text)
{
	StringInfoData out;

	if (text == NULL || text[0] == '\0')
		return NULL;
	initStringInfo(&out);
	for (const char *p = text; *p != '\0'; p++)
	{
		if (*p == ',')
			appendStringInfoChar(&out, '\n');
		else if (*p != '{' && *p != '}' && *p != '"')
			appendStringInfoChar(&out, *p);
	}
	return out.len > 0 ? out.data : NULL;
}

static const char *
codes_in(Jsonb *props)
{
	Jsonb	   *codes = jny_json_object(props, "codes");
	StringInfoData out;

	if (codes == NULL || !JB_ROOT_IS_ARRAY(codes))
		return codes_of(jny_json_text(props, "code"));
	initStringInfo(&out);
	for (uint32 i = 0; i < JB_ROOT_COUNT(codes); i++)
	{
		char	   *code = jny_json_scalar_text(getIthJsonbValueFromContainer(&codes->root, i));

		if (code != NULL)
			appendStringInfo(&out, "%s%s", out.len > 0 ? "\n" : "", code);
	}
	return out.len > 0 ? out.data : NULL;
}

static void
close_cart(JnyTake *take, JnyFact *fact, JnyOrder *o)
{
	if (fact->cart != NULL && counts(o))
		jny_cart_ordered(take, fact, o->order_id);
}

/* ---- captured rows ---------------------------------------------------- */

/* What the row says beside the status; true when something is new. */
static bool
read_row(JnyFact *fact, JnyOrder *o)
{
	bool		changed = !o->exists && o->status == NULL;

	changed |= take_text(&o->currency, fact->f[JNY_F_CURRENCY]);
	changed |= take_text(&o->origin, fact->f[JNY_F_ORIGIN]);
	changed |= take_text(&o->cart_id, fact->cart_id);
	changed |= take_text(&o->codes, codes_of(fact->f[JNY_F_CODES]));
	changed |= take_number(&o->amount, jny_num_text(fact->f[JNY_F_AMOUNT]));
	if (fact->props != NULL && (o->props == NULL || compareJsonbContainers(&o->props->root, &fact->props->root) != 0))
	{
		o->props = fact->props;
		changed = true;
	}
	return changed;
}

/* What the row says its status is, in our words; NULL when it says none that we know. */
static const char *
status_of(JnyTake *take, JnyFact *fact)
{
	const char *said = fact->f[JNY_F_STATUS];

	if (fact->op == JNY_OP_DELETE)
		return fact->on_delete;
	if (said == NULL && !fact->unmapped)
		return jny_fact_maps(fact, JNY_F_STATUS) ? NULL : "placed";	/* a table of orders without a status holds placed ones */
	if (!fact->unmapped && is_status(said))
		return said;
	jny_tally_incident(take, "unmapped_status", psprintf("%s: %s", fact->attachment_name, said), "warning",
					   "an order has a status that its map does not know; it was taken as order_updated",
					   "Add the status to the map with journey.attach().");
	return NULL;
}

/* Two tables that count by themselves: whoever bought first loses the order to whoever has its number. */
static void
report_clash(JnyTake *take, const JnyFact *fact, const JnyOrder *o)
{
	const JnyProfile *before = o->key->stored_at;

	if ((fact->op != JNY_OP_INSERT && fact->op != JNY_OP_BACKFILL) || o->status == NULL ||
		before == NULL || before == o->key->profile || before->is_session || strcmp(fact->source, o->source) == 0)
		return;
	jny_tally_incident(take, "order_clash", psprintf("%s and %s", o->source, fact->source), "warning",
					   "two sources told of an order of the same number, for different people; it was taken as one that has changed hands",
					   "If they are two orders, give the numbers of one table a prefix, as by a generated column that its map names as key.");
}

/* Captured for the first time by an UPDATE: what it was before is no news. */
static void
assume_old(JnyFact *fact, JnyOrder *o)
{
	const char *was = fact->has_old ? fact->old[JNY_F_STATUS] : NULL;
	TimestampTz at;

	if (o->status != NULL || was == NULL || !is_status(was))
		return;
	o->status = was;
	if (!jny_status_is_placed(was))
		return;
	if (fact->f[JNY_F_AT] == NULL || !jny_value_time(fact->f[JNY_F_AT], &at))
		at = fact->occurred_at;
	count_placed(o, fact, Min(at, fact->occurred_at));
	if (o->lines != NIL)
		for (int i = 0; i < list_length(o->lines); i++)
			((JnyOrderLine *) list_nth(o->lines, i))->announced = true;
}

static const char *
type_of_move(const char *from, const char *to, bool was_bought)
{
	if (from != NULL && strcmp(from, to) == 0)
		return "order_updated";
	if (jny_status_is_placed(to) && !was_bought)
		return "order_placed";
	if (strcmp(to, "paid") == 0)
		return "order_paid";
	if (strcmp(to, "cancelled") == 0)
		return "order_cancelled";
	if (strcmp(to, "refunded") == 0)
		return "order_refunded";
	return "order_updated";
}

static void
apply_row(JnyTake *take, JnyFact *fact, JnyOrder *o)
{
	const char *to = status_of(take, fact);
	const char *from;
	const char *type = "order_updated";
	bool		changed;
	bool		was_bought;
	ListCell   *lc;

	if (fact->op == JNY_OP_DELETE && o->status == NULL)
	{
		JnyFact		row = what_went(fact);

		apply_row(take, &row, o);
	}
	report_clash(take, fact, o);
	assume_old(fact, o);
	from = o->status;
	was_bought = counts(o);
	changed = fact->op != JNY_OP_DELETE && read_row(fact, o);
	foreach(lc, fact->lines)
		(void) line_of_row(o, lfirst(lc));
	if (to != NULL && (from == NULL || strcmp(from, to) != 0))
	{
		if (move(take, fact, o, to))
			type = type_of_move(from, to, was_bought);
		changed = true;
	}
	else if (to == NULL && from == NULL)
		o->status = "pending";
	touch(o, fact);
	close_cart(take, fact, o);
	if (!changed && !fact->unmapped && o->key->stored_at == o->key->profile)
		return;
	emit_order(take, fact, o, type, to != NULL ? to : fact->f[JNY_F_STATUS]);
	if (strcmp(type, "order_placed") == 0)
	{
		announce_lines(take, fact, o);
		if (strcmp(to, "paid") == 0)
			emit_order(take, fact, o, "order_paid", to);
	}
}

/* ---- sent events ------------------------------------------------------ */

static const char *
status_of_event(JnyFact *fact)
{
	static const char *const map[][2] = {
		{"order_placed", "placed"}, {"order_paid", "paid"}, {"order_cancelled", "cancelled"},
		{"order_refunded", "refunded"}
	};
	const char *said = jny_json_text(fact->props, "status");

	for (size_t i = 0; i < lengthof(map); i++)
		if (strcmp(map[i][0], fact->type) == 0)
			return map[i][1];
	return strcmp(fact->type, "order_updated") == 0 && said != NULL && is_status(said) ? said : NULL;
}

/* What the order has a column for, or its lines. */
static bool
has_place(const JsonbValue *key)
{
	static const char *const places[] = {
		"order_id", "status", "origin", "amount", "currency", "cart_id", "code", "codes", "lines"
	};

	for (size_t i = 0; i < lengthof(places); i++)
		if ((size_t) key->val.string.len == strlen(places[i]) &&
			memcmp(key->val.string.val, places[i], key->val.string.len) == 0)
			return true;
	return false;
}

/*
 * What an event says of its order beside that, such as store and pick-up place: rules read
 * it as order.*, long after the event. Only the source that told of the order first is
 * heard, or two that see it differently would take turns.
 */
static void
read_details(const JnyFact *fact, JnyOrder *o)
{
	JsonbIterator *it;
	JsonbIteratorToken tok;
	JsonbValue	key;
	JsonbValue	value;
	JnyObject	details;

	if (fact->props == NULL || !JB_ROOT_IS_OBJECT(fact->props) || strcmp(fact->source, o->source) != 0)
		return;
	jny_object_begin(&details);
	jny_object_all(&details, o->props);
	it = JsonbIteratorInit(&fact->props->root);
	while ((tok = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		if (tok != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);
		if (value.type != jbvBinary && !has_place(&key))
			jny_object_put(&details, &key, &value);
	}
	o->props = jny_object_end(&details);
}

static void
apply_event(JnyTake *take, JnyFact *fact, JnyOrder *o)
{
	const char *to = status_of_event(fact);
	bool		repeats = o->status != NULL && strcmp(fact->type, "order_placed") == 0 && counts(o);

	(void) take_text(&o->currency, jny_json_text(fact->props, "currency"));
	(void) take_text(&o->origin, jny_json_text(fact->props, "origin"));
	(void) take_text(&o->cart_id, fact->cart_id);
	(void) take_text(&o->codes, codes_in(fact->props));
	if (strcmp(fact->type, "order_refunded") != 0)
		(void) take_number(&o->amount, jny_num_field(fact->props, "amount"));
	read_details(fact, o);
	read_event_lines(fact, o);
	/* a second system that reports the same order says nothing new of its state */
	if (to != NULL && !(repeats && progress(o->status) >= 1))
		(void) move(take, fact, o, to);
	if (o->status == NULL)
		o->status = "pending";
	touch(o, fact);
	close_cart(take, fact, o);
	jny_emit(take, fact, fact->type, fact->props);
	if (counts(o))
		announce_lines(take, fact, o);
}

/* A line event changes its line, and is itself the announcement. */
static void
apply_line_event(JnyTake *take, JnyFact *fact, JnyOrder *o)
{
	const char *sku = jny_json_text(fact->props, "sku");
	const char *line = jny_json_text(fact->props, "line");
	JnyOrderLine *l;

	if (line == NULL)
		line = sku;
	if (line != NULL)
	{
		l = jny_order_line_of(o, line);
		set_line(o, l, sku, jny_num_field(fact->props, "quantity"), jny_num_field(fact->props, "price"),
				 fact->occurred_at);
		l->announced = true;
		if (strcmp(fact->type, "order_line_returned") == 0)
			l->status = "returned";
		if (o->status == NULL)
			o->status = "pending";
		touch(o, fact);
	}
	jny_emit(take, fact, fact->type, fact->props);
}

void
jny_order_follow(JnyTake *take, JnyFact *fact, const char *status)
{
	JnyOrder   *o = jny_order_of(take, fact);
	const char *to = strcmp(status, "shipped") == 0 ? "shipped"
		: strcmp(status, "delivered") == 0 || strcmp(status, "picked_up") == 0 ? "delivered" : NULL;

	if (o == NULL || to == NULL || o->status == NULL || progress(o->status) < 0 || progress(o->status) >= progress(to))
		return;
	(void) move(take, fact, o, to);
	touch(o, fact);
}

void
jny_order_apply(JnyTake *take, JnyFact *fact)
{
	JnyOrder   *o = fact->truncate ? NULL : jny_order_of(take, fact);

	if (o == NULL)
	{
		if (fact->kind == JNY_KIND_EVENT)
			jny_emit(take, fact, fact->type, fact->props);
		return;
	}
	if (fact->kind == JNY_KIND_ORDER_LINE)
		apply_line_row(take, fact, o);
	else if (fact->kind == JNY_KIND_ORDER)
		apply_row(take, fact, o);
	else if (strncmp(fact->type, "order_line_", 11) == 0)
		apply_line_event(take, fact, o);
	else
		apply_event(take, fact, o);
}
