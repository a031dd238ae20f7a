/*
 * cart.c
 *		Carts and their lines.
 *
 * Called by take.c and order.c. Sent events add and take away; captured lines
 * say what there is now, and the difference to what we knew becomes the
 * event, so that a row read twice says nothing twice. Value and number of
 * items are always the sums over the lines.
 */
#include "observe/fact.h"

#include "executor/spi.h"
#include "utils/builtins.h"

typedef struct CartLine
{
	const char *line;
	const char *sku;
	Datum		quantity;
	Datum		price;			/* 0 = unknown */
	TimestampTz changed_at;
	bool		stored;			/* in the table, under the cart's old owner */
	bool		dirty;
	bool		gone;
} CartLine;

typedef struct Cart
{
	JnyKey	   *key;			/* hash key, first */
	const char *scope;
	const char *cart_id;
	const char *source;
	const char *status;
	const char *currency;
	const char *order_id;
	TimestampTz created_at;
	TimestampTz changed_at;
	List	   *lines;			/* of CartLine */
	const char *stage;			/* in which its history has it */
	bool		exists;
	bool		dirty;
} Cart;

typedef struct JnyCarts
{
	HTAB	   *table;			/* NULL = none */
	int			n;
	int			max;
	Cart	  **cart;
} JnyCarts;

#define CART_KEY "bucket, profile_id, scope, cart_id"
#define CART_COLUMNS "status, items, lines, value, currency, order_id, changed_at"
#define LINE_COLUMNS "sku, quantity, price, changed_at"
JNY_LOOKUP(find_carts, "cart", "cart_pkey", CART_KEY, "source, status, currency, order_id, created_at, changed_at", NULL);
JNY_LOOKUP(find_lines, "cart_line", "cart_line_pkey", CART_KEY, "line, " LINE_COLUMNS, NULL);
JNY_DELETE(delete_carts, "cart", "cart_pkey", CART_KEY);
JNY_DELETE(delete_lines, "cart_line", "cart_line_pkey", CART_KEY ", line");
JNY_UPSERT(upsert_carts, "cart", "cart_pkey", CART_KEY, CART_KEY ", source, " CART_COLUMNS ", created_at", CART_COLUMNS);
JNY_UPSERT(upsert_lines, "cart_line", "cart_line_pkey", CART_KEY ", line", CART_KEY ", line, " LINE_COLUMNS, LINE_COLUMNS);
JNY_PLAN(empty_carts, "text, timestamptz",
		 "WITH c AS (UPDATE journey.cart SET status = 'emptied', items = 0, lines = 0, value = 0, changed_at = $2"
		 "  WHERE source = $1 AND lines > 0 RETURNING bucket, profile_id, scope, cart_id)"
		 " DELETE FROM journey.cart_line l USING c WHERE l.bucket = c.bucket AND l.profile_id = c.profile_id"
		 "  AND l.scope = c.scope AND l.cart_id = c.cart_id");

/* ---- loading ---------------------------------------------------------- */

static Cart *
add_cart(JnyTake *take, JnyFact *fact)
{
	JnyCarts   *carts = take->carts;
	Cart	   *c;
	bool		found;

	if (carts->table == NULL)
		carts->table = jny_table(take, "journey carts", sizeof(JnyKey *), sizeof(Cart));
	c = hash_search(carts->table, &fact->cart, HASH_ENTER, &found);
	if (found)
		return c;
	memset((char *) c + sizeof(JnyKey *), 0, sizeof(Cart) - sizeof(JnyKey *));
	c->scope = fact->scope;
	c->cart_id = fact->cart_id;
	c->source = fact->source;
	c->status = "open";
	c->stage = "";
	c->created_at = c->changed_at = fact->occurred_at;
	if (carts->n == carts->max)
	{
		carts->max = Max(64, carts->max * 2);
		carts->cart = carts->cart == NULL ? palloc(sizeof(Cart *) * carts->max)
			: repalloc(carts->cart, sizeof(Cart *) * carts->max);
	}
	carts->cart[carts->n++] = c;
	return c;
}

/* A cart that holds something is somebody's purchase until it is ordered, emptied or gone. */
static const char *
stage_of(const Cart *c)
{
	ListCell   *lc;

	if (strcmp(c->status, "open") == 0)
		foreach(lc, c->lines)
			if (!((const CartLine *) lfirst(lc))->gone)
				return "purchase";
	return "";
}

static void
note_stage(JnyTake *take, const JnyFact *fact, Cart *c)
{
	const char *stage = stage_of(c);

	jny_object_moved(take, fact, c->key->profile, jny_key_in_scope("cart", c->cart_id), c->stage, stage, c->status);
	c->stage = stage;
}

static void
load_cart(Cart *c, const JnyRow *row)
{
	c->exists = true;
	c->source = jny_row_text(row, 0);
	c->status = jny_row_text(row, 1);
	c->currency = jny_row_text(row, 2);
	c->order_id = jny_row_text(row, 3);
	c->created_at = jny_row_time(row, 4);
	c->changed_at = jny_row_time(row, 5);
}

static void
load_line(Cart *c, const JnyRow *row)
{
	CartLine   *l = palloc0(sizeof(CartLine));

	l->line = jny_row_text(row, 0);
	l->sku = jny_row_text(row, 1);
	l->quantity = jny_row_number(row, 2);
	l->price = jny_row_number(row, 3);
	l->changed_at = jny_row_time(row, 4);
	l->stored = true;
	c->lines = lappend(c->lines, l);
}

static void
put_key(JnyCols *cols, const Cart *c, const JnyProfile *owner)
{
	jny_cols_set(cols, 0, Int16GetDatum(owner->bucket));
	jny_cols_set(cols, 1, UUIDPGetDatum(&owner->id));
	jny_cols_text(cols, 2, c->scope);
	jny_cols_text(cols, 3, c->cart_id);
}

static bool
touches_cart(const JnyFact *fact)
{
	if (fact->drop || fact->fence_only || fact->cart == NULL || fact->profile == NULL)
		return false;
	return fact->kind != JNY_KIND_EVENT || strncmp(fact->type, "cart_", 5) == 0 ||
		strncmp(fact->type, "order_", 6) == 0;
}

void
jny_cart_load(JnyTake *take)
{
	JnyOut		keys = {.access = &find_carts};
	List	   *asked = NIL;
	JnyRows    *found;

	take->carts = palloc0(sizeof(JnyCarts));
	for (int i = 0; i < take->nfacts; i++)
		if (touches_cart(take->facts[i]))
			(void) add_cart(take, take->facts[i]);
	for (int i = 0; i < take->carts->n; i++)
	{
		Cart	   *c = take->carts->cart[i];

		if (c->key->stored_at == NULL)
			continue;
		put_key(jny_out(&keys), c, c->key->stored_at);
		jny_cols_next(keys.cols);
		asked = lappend(asked, c);
	}
	if (asked == NIL)
		return;
	found = jny_lookup(&find_carts, keys.cols);
	for (int i = 0; i < found->n; i++)
		load_cart(list_nth(asked, found->row[i].key), &found->row[i]);
	found = jny_lookup(&find_lines, keys.cols);
	for (int i = 0; i < found->n; i++)
		load_line(list_nth(asked, found->row[i].key), &found->row[i]);
	for (int i = 0; i < take->carts->n; i++)
		take->carts->cart[i]->stage = stage_of(take->carts->cart[i]);
}

/* ---- changing --------------------------------------------------------- */

static Cart *
cart_of(JnyTake *take, JnyFact *fact)
{
	if (fact->cart == NULL || take->carts->table == NULL)
		return NULL;
	return hash_search(take->carts->table, &fact->cart, HASH_FIND, NULL);
}

static void
touch(Cart *c, JnyFact *fact)
{
	c->dirty = true;
	c->changed_at = Max(c->changed_at, fact->occurred_at);
}

static CartLine *
line_of(Cart *c, const char *line, bool make)
{
	CartLine   *l;
	ListCell   *lc;

	foreach(lc, c->lines)
	{
		l = lfirst(lc);
		if (strcmp(l->line, line) == 0 && (make || !l->gone))
		{
			if (l->gone)
			{
				l->gone = false;
				l->quantity = (Datum) 0;
			}
			return l;
		}
	}
	if (!make)
		return NULL;
	l = palloc0(sizeof(CartLine));
	l->line = line;
	c->lines = lappend(c->lines, l);
	return l;
}

static void
clear_lines(Cart *c)
{
	ListCell   *lc;

	foreach(lc, c->lines)
		((CartLine *) lfirst(lc))->gone = true;
}

/* Open or emptied, by what is in it; an ordered cart that gets a line again is a new one. */
static void
settle(Cart *c, bool added)
{
	bool		any = false;
	ListCell   *lc;

	foreach(lc, c->lines)
		any |= !((CartLine *) lfirst(lc))->gone;
	if (strcmp(c->status, "ordered") == 0 && !added)
		return;
	if (strcmp(c->status, "deleted") == 0 && !any)
		return;
	if (strcmp(c->status, "ordered") == 0)
		c->order_id = NULL;
	c->status = any ? "open" : "emptied";
}

static void
set_line(Cart *c, JnyFact *fact, CartLine *l, const char *sku, Datum quantity, Datum price)
{
	l->sku = sku != NULL ? sku : l->sku != NULL ? l->sku : l->line;
	l->quantity = quantity;
	if (price != (Datum) 0)
		l->price = price;
	l->changed_at = fact->occurred_at;
	l->dirty = true;
	l->gone = jny_num_cmp(quantity, jny_num_int(0)) <= 0;
	touch(c, fact);
}

static void
apply_event(JnyTake *take, JnyFact *fact, Cart *c)
{
	bool		adds = strcmp(fact->type, "cart_item_added") == 0;
	const char *sku = jny_json_text(fact->props, "sku");
	const char *line = jny_json_text(fact->props, "line");
	const char *currency = jny_json_text(fact->props, "currency");
	Datum		quantity = jny_num_field(fact->props, "quantity");
	CartLine   *l;

	if (line == NULL)
		line = sku;
	if (line == NULL || (!adds && strcmp(fact->type, "cart_item_removed") != 0))
		return;
	if (adds && strcmp(c->status, "ordered") == 0)
		clear_lines(c);			/* the shop uses the id again */
	l = line_of(c, line, adds);
	if (l == NULL)
		return;
	if (quantity == (Datum) 0)
		quantity = adds ? jny_num_int(1) : l->quantity;
	if (l->quantity == (Datum) 0)
		l->quantity = jny_num_int(0);
	set_line(c, fact, l, sku, adds ? jny_num_add(l->quantity, quantity) : jny_num_sub(l->quantity, quantity),
			 jny_num_field(fact->props, "price"));
	if (currency != NULL)
		c->currency = currency;
	settle(c, adds);
}

static void
emit_line(JnyTake *take, JnyFact *fact, const CartLine *l, const char *type, Datum quantity)
{
	JnyObject	o;

	jny_object_begin(&o);
	jny_object_all(&o, fact->props);
	jny_object_text(&o, "cart_id", fact->cart_id);
	jny_object_text(&o, "line", l->line);
	jny_object_text(&o, "sku", l->sku);
	jny_object_number(&o, "quantity", quantity);
	jny_object_number(&o, "price", l->price);
	jny_emit(take, fact, type, jny_object_end(&o));
}

/* A captured line says what there is: the difference is the event. */
static void
apply_line(JnyTake *take, JnyFact *fact, Cart *c)
{
	const char *line = fact->f[JNY_F_LINE] != NULL ? fact->f[JNY_F_LINE] : fact->f[JNY_F_SKU];
	CartLine   *l = line_of(c, line, fact->op != JNY_OP_DELETE);
	Datum		zero = jny_num_int(0);
	Datum		before;
	Datum		now;
	int			change;

	if (l == NULL)
		return;
	/* unknown to us although it was there: captured since, never back-filled */
	if (l->quantity == (Datum) 0)
		l->quantity = fact->has_old && fact->old[JNY_F_QUANTITY] != NULL
			? jny_num_text(fact->old[JNY_F_QUANTITY]) : zero;
	before = l->quantity;
	now = fact->op == JNY_OP_DELETE ? zero : jny_num_text(fact->f[JNY_F_QUANTITY]);
	if (now == (Datum) 0)
		now = jny_num_int(1);
	if (l->sku != NULL && fact->f[JNY_F_SKU] != NULL && strcmp(l->sku, fact->f[JNY_F_SKU]) != 0)
	{
		emit_line(take, fact, l, "cart_item_removed", before);
		before = zero;
	}
	change = jny_num_cmp(now, before);
	set_line(c, fact, l, fact->f[JNY_F_SKU], now, jny_num_text(fact->f[JNY_F_PRICE]));
	if (fact->f[JNY_F_CURRENCY] != NULL)
		c->currency = fact->f[JNY_F_CURRENCY];
	settle(c, change > 0);
	if (change > 0)
		emit_line(take, fact, l, "cart_item_added", jny_num_sub(now, before));
	else if (change < 0)
		emit_line(take, fact, l, "cart_item_removed", jny_num_sub(before, now));
}

/*
 * What the row says of itself. Open and emptied follow from the lines and
 * ordered from the order, so a row that only goes on to say open or emptied
 * knows less than we do.
 */
static void
take_status(const JnyFact *fact, Cart *c)
{
	const char *order = fact->f[JNY_F_ORDER];
	const char *was = fact->has_old ? fact->old[JNY_F_STATUS] : NULL;
	const char *status = fact->f[JNY_F_STATUS];
	bool		changed;

	if (status == NULL && order != NULL && !jny_fact_maps(fact, JNY_F_STATUS))
		status = "ordered";
	if (order != NULL)
		c->order_id = order;
	if (status == NULL)
		return;
	changed = fact->has_old && (was == NULL || strcmp(was, status) != 0);
	if (strcmp(status, "ordered") == 0 || strcmp(status, "deleted") == 0)
		c->status = status;
	else if (strcmp(status, "open") == 0 &&
			 (changed || (!fact->has_old && strcmp(c->status, "deleted") == 0)))
	{
		c->status = status;
		c->order_id = order;
	}
	else if (strcmp(status, "emptied") == 0 && (changed || !fact->has_old))
	{
		clear_lines(c);
		if (strcmp(c->status, "ordered") != 0)
			c->status = status;
	}
}

static void
apply_cart(JnyFact *fact, Cart *c)
{
	if (fact->op == JNY_OP_DELETE)
	{
		clear_lines(c);
		if (strcmp(c->status, "ordered") != 0)
			c->status = "deleted";
	}
	else
		take_status(fact, c);
	if (fact->f[JNY_F_CURRENCY] != NULL)
		c->currency = fact->f[JNY_F_CURRENCY];
	if (!c->exists)
		c->created_at = fact->occurred_at;
	touch(c, fact);
}

static void
truncate_carts(JnyTake *take, JnyFact *fact)
{
	Datum		args[] = {CStringGetTextDatum(fact->source), TimestampTzGetDatum(take->batch->node.now)};

	jny_run(&empty_carts, args, NULL);
	for (int i = 0; i < take->carts->n; i++)
	{
		Cart	   *c = take->carts->cart[i];

		if (strcmp(c->source, fact->source) != 0)
			continue;
		clear_lines(c);
		settle(c, false);
		note_stage(take, fact, c);
	}
}

void
jny_cart_apply(JnyTake *take, JnyFact *fact)
{
	Cart	   *c;

	if (fact->truncate)
	{
		truncate_carts(take, fact);
		return;
	}
	c = cart_of(take, fact);
	if (c == NULL)
		return;
	if (fact->kind == JNY_KIND_CART_LINE)
		apply_line(take, fact, c);
	else if (fact->kind == JNY_KIND_CART)
		apply_cart(fact, c);
	else
		apply_event(take, fact, c);
	note_stage(take, fact, c);
}

/* The order that came out of the cart ends it. */
void
jny_cart_ordered(JnyTake *take, JnyFact *fact, const char *order_id)
{
	Cart	   *c = cart_of(take, fact);

	if (c == NULL)
		return;
	c->status = "ordered";
	c->order_id = order_id;
	touch(c, fact);
	note_stage(take, fact, c);
}

/* ---- writing ---------------------------------------------------------- */

static void
put_line(JnyOut *lines, JnyOut *gone, const Cart *c, const CartLine *l)
{
	bool		moved = c->key->stored_at != NULL && c->key->stored_at != c->key->profile;

	if (l->stored && (l->gone || moved))
	{
		put_key(jny_out(gone), c, c->key->stored_at);
		jny_cols_text(gone->cols, 4, l->line);
		jny_cols_next(gone->cols);
	}
	if (l->gone || (!l->dirty && !moved))
		return;
	put_key(jny_out(lines), c, c->key->profile);
	jny_cols_text(lines->cols, 4, l->line);
	jny_cols_text(lines->cols, 5, l->sku);
	jny_cols_set(lines->cols, 6, l->quantity);
	if (l->price != (Datum) 0)
		jny_cols_set(lines->cols, 7, l->price);
	jny_cols_set(lines->cols, 8, TimestampTzGetDatum(l->changed_at));
	jny_cols_next(lines->cols);
}

static void
put_cart(JnyCols *cols, const Cart *c)
{
	Datum		items = jny_num_int(0);
	Datum		value = jny_num_int(0);
	int			lines = 0;
	ListCell   *lc;

	foreach(lc, c->lines)
	{
		const CartLine *l = lfirst(lc);

		if (l->gone)
			continue;
		lines++;
		items = jny_num_add(items, l->quantity);
		if (l->price != (Datum) 0)
			value = jny_num_add(value, jny_num_mul(l->quantity, l->price));
	}
	put_key(cols, c, c->key->profile);
	jny_cols_text(cols, 4, c->source);
	jny_cols_text(cols, 5, c->status);
	jny_cols_set(cols, 6, items);
	jny_cols_set(cols, 7, Int32GetDatum(lines));
	jny_cols_set(cols, 8, value);
	jny_cols_text(cols, 9, c->currency);
	jny_cols_text(cols, 10, c->order_id);
	jny_cols_set(cols, 11, TimestampTzGetDatum(c->changed_at));
	jny_cols_set(cols, 12, TimestampTzGetDatum(c->created_at));
	jny_cols_next(cols);
}

void
jny_cart_write(JnyTake *take)
{
	JnyOut		gone = {.access = &delete_carts};
	JnyOut		gone_lines = {.access = &delete_lines};
	JnyOut		carts = {.access = &upsert_carts};
	JnyOut		lines = {.access = &upsert_lines};

	for (int i = 0; i < take->carts->n; i++)
	{
		Cart	   *c = take->carts->cart[i];
		bool		moved = c->exists && c->key->stored_at != c->key->profile;
		ListCell   *lc;

		if (!c->dirty && !moved)
			continue;
		if (moved)
		{
			put_key(jny_out(&gone), c, c->key->stored_at);
			jny_cols_next(gone.cols);
		}
		put_cart(jny_out(&carts), c);
		foreach(lc, c->lines)
			put_line(&lines, &gone_lines, c, lfirst(lc));
	}
	jny_out_write(&gone);
	jny_out_write(&gone_lines);
	jny_out_write(&carts);
	jny_out_write(&lines);
}
