/*
 * order_store.c
 *		Reading and writing orders and their lines.
 *
 * Called by take.c around order.c.
 */
#include "observe/order.h"

#include "utils/array.h"
#include "utils/builtins.h"

#include "observe/decode.h"

#define ORDER_KEY "bucket, profile_id, scope, order_id"
#define ORDER_COLUMNS \
	"status, origin, amount, currency, cart_id, codes, placed_at, cancelled_at, seq, props, changed_at"
#define LINE_COLUMNS "sku, quantity, price, status, changed_at"
JNY_LOOKUP(find_orders, "orders", "orders_pkey", ORDER_KEY,
		   "source, status, origin, amount, currency, cart_id, codes, placed_at, cancelled_at, props, changed_at", NULL);
JNY_LOOKUP(find_lines, "order_line", "order_line_pkey", ORDER_KEY, "line, " LINE_COLUMNS, NULL);
JNY_LOOKUP(find_all, "orders", "orders_pkey", "bucket, profile_id", "placed_at, cancelled_at", NULL);
JNY_DELETE(delete_orders, "orders", "orders_pkey", ORDER_KEY);
JNY_DELETE(delete_lines, "order_line", "order_line_pkey", ORDER_KEY ", line");
JNY_UPSERT(upsert_orders, "orders", "orders_pkey", ORDER_KEY, ORDER_KEY ", source, " ORDER_COLUMNS, ORDER_COLUMNS);
JNY_UPSERT(upsert_lines, "order_line", "order_line_pkey", ORDER_KEY ", line",
		   ORDER_KEY ", line, " LINE_COLUMNS, LINE_COLUMNS);

/* ---- loading ---------------------------------------------------------- */

static bool
touches_order(const JnyFact *fact)
{
	return !fact->drop && !fact->fence_only && fact->order != NULL && fact->profile != NULL &&
		(fact->kind != JNY_KIND_EVENT || strncmp(fact->type, "order_", 6) == 0 ||
		 fact->parcel_kind == JNY_KIND_SHIPMENT);
}

static void
add_order(JnyTake *take, JnyFact *fact)
{
	JnyOrders  *orders = take->orders;
	JnyOrder   *o;
	bool		found;

	if (orders->table == NULL)
		orders->table = jny_table(take, "journey orders", sizeof(JnyKey *), sizeof(JnyOrder));
	o = hash_search(orders->table, &fact->order, HASH_ENTER, &found);
	if (found)
		return;
	memset((char *) o + sizeof(JnyKey *), 0, sizeof(JnyOrder) - sizeof(JnyKey *));
	o->scope = fact->scope;
	o->order_id = fact->order_id;
	o->source = fact->source;
	o->changed_at = fact->occurred_at;
	if (orders->n == orders->max)
	{
		orders->max = Max(64, orders->max * 2);
		orders->order = orders->order == NULL ? palloc(sizeof(JnyOrder *) * orders->max)
			: repalloc(orders->order, sizeof(JnyOrder *) * orders->max);
	}
	orders->order[orders->n++] = o;
}

/* An array of codes as text, one code a line. */
static const char *
codes_of(const JnyRow *row, int col)
{
	StringInfoData out;
	char	  **codes;
	int			n;

	if (row->nulls[col])
		return NULL;
	codes = jny_text_array(DatumGetArrayTypeP(row->values[col]), &n);
	initStringInfo(&out);
	for (int i = 0; i < n; i++)
		appendStringInfo(&out, "%s%s", i > 0 ? "\n" : "", codes[i]);
	return out.data;
}

static Datum
array_of_codes(const char *codes)
{
	ArrayBuildState *array = NULL;
	const char *code;
	int			n;

	while ((code = jny_order_next_code(&codes, &n)) != NULL)
		array = accumArrayResult(array, PointerGetDatum(cstring_to_text_with_len(code, n)), false, TEXTOID,
								 CurrentMemoryContext);
	return makeArrayResult(array, CurrentMemoryContext);
}

static void
load_order(JnyOrder *o, const JnyRow *row)
{
	o->exists = true;
	o->source = jny_row_text(row, 0);
	o->status = jny_row_text(row, 1);
	o->origin = jny_row_text(row, 2);
	o->amount = jny_row_number(row, 3);
	o->currency = jny_row_text(row, 4);
	o->cart_id = jny_row_text(row, 5);
	o->codes = codes_of(row, 6);
	o->placed_at = jny_row_time(row, 7);
	o->cancelled_at = jny_row_time(row, 8);
	o->props = DatumGetJsonbP(row->values[9]);
	o->changed_at = jny_row_time(row, 10);
}

static void
load_line(JnyOrder *o, const JnyRow *row)
{
	JnyOrderLine *l = palloc0(sizeof(JnyOrderLine));

	l->line = jny_row_text(row, 0);
	l->sku = jny_row_text(row, 1);
	l->quantity = jny_row_number(row, 2);
	l->price = jny_row_number(row, 3);
	l->status = jny_row_text(row, 4);
	l->changed_at = jny_row_time(row, 5);
	l->announced = o->placed_at != 0;
	l->stored = true;
	o->lines = lappend(o->lines, l);
}

static void
put_key(JnyCols *cols, const JnyOrder *o, const JnyProfile *owner)
{
	jny_cols_set(cols, 0, Int16GetDatum(owner->bucket));
	jny_cols_set(cols, 1, UUIDPGetDatum(&owner->id));
	jny_cols_text(cols, 2, o->scope);
	jny_cols_text(cols, 3, o->order_id);
}

void
jny_order_load(JnyTake *take)
{
	JnyOut		keys = {.access = &find_orders};
	List	   *asked = NIL;
	JnyRows    *found;

	take->orders = palloc0(sizeof(JnyOrders));
	for (int i = 0; i < take->nfacts; i++)
		if (touches_order(take->facts[i]))
			add_order(take, take->facts[i]);
	for (int i = 0; i < take->orders->n; i++)
	{
		JnyOrder   *o = take->orders->order[i];

		if (o->key->stored_at == NULL)
			continue;
		put_key(jny_out(&keys), o, o->key->stored_at);
		jny_cols_next(keys.cols);
		asked = lappend(asked, o);
	}
	if (asked == NIL)
		return;
	found = jny_lookup(&find_orders, keys.cols);
	for (int i = 0; i < found->n; i++)
		load_order(list_nth(asked, found->row[i].key), &found->row[i]);
	found = jny_lookup(&find_lines, keys.cols);
	for (int i = 0; i < found->n; i++)
		load_line(list_nth(asked, found->row[i].key), &found->row[i]);
}

JnyOrder *
jny_order_of(JnyTake *take, JnyFact *fact)
{
	if (fact->order == NULL || take->orders->table == NULL)
		return NULL;
	return hash_search(take->orders->table, &fact->order, HASH_FIND, NULL);
}

JnyOrderLine *
jny_order_line_of(JnyOrder *order, const char *line)
{
	JnyOrderLine *l;
	ListCell   *lc;

	foreach(lc, order->lines)
	{
		l = lfirst(lc);
		if (strcmp(l->line, line) == 0)
			return l;
	}
	l = palloc0(sizeof(JnyOrderLine));
	l->line = line;
	order->lines = lappend(order->lines, l);
	return l;
}

void
jny_order_recount(JnyTake *take, JnyProfile *profile)
{
	take->orders->recount = list_append_unique_ptr(take->orders->recount, profile);
}

/* ---- writing ---------------------------------------------------------- */

static void
put_number(JnyCols *cols, int col, Datum number)
{
	if (number != (Datum) 0)
		jny_cols_set(cols, col, number);
}

static void
put_order(JnyCols *cols, const JnyOrder *o)
{
	put_key(cols, o, o->key->profile);
	jny_cols_text(cols, 4, o->source);
	jny_cols_text(cols, 5, o->status != NULL ? o->status : "pending");
	jny_cols_text(cols, 6, o->origin);
	put_number(cols, 7, o->amount);
	jny_cols_text(cols, 8, o->currency);
	jny_cols_text(cols, 9, o->cart_id);
	if (o->codes != NULL)
		jny_cols_set(cols, 10, array_of_codes(o->codes));
	jny_cols_time(cols, 11, o->placed_at);
	jny_cols_time(cols, 12, o->cancelled_at);
	jny_cols_set(cols, 13, Int64GetDatum(o->seq));
	jny_cols_set(cols, 14, JsonbPGetDatum(o->props != NULL ? o->props : jny_object_empty()));
	jny_cols_set(cols, 15, TimestampTzGetDatum(o->changed_at));
	jny_cols_next(cols);
}

static void
put_line(JnyCols *cols, const JnyOrder *o, const JnyOrderLine *l)
{
	put_key(cols, o, o->key->profile);
	jny_cols_text(cols, 4, l->line);
	jny_cols_text(cols, 5, l->sku);
	jny_cols_set(cols, 6, l->quantity);
	put_number(cols, 7, l->price);
	jny_cols_text(cols, 8, l->status);
	jny_cols_time(cols, 9, l->changed_at);
	jny_cols_next(cols);
}

/* The orders that still count, for people of whom one was taken back or moved away. */
static void
recount(JnyTake *take)
{
	JnyOut		keys = {.access = &find_all};
	JnyRows    *found;
	ListCell   *lc;

	foreach(lc, take->orders->recount)
	{
		JnyProfile *p = lfirst(lc);

		p->orders = 0;
		p->last_order_at = 0;
		p->dirty = true;
		jny_cols_set(jny_out(&keys), 0, Int16GetDatum(p->bucket));
		jny_cols_set(keys.cols, 1, UUIDPGetDatum(&p->id));
		jny_cols_next(keys.cols);
	}
	if (keys.cols == NULL)
		return;
	found = jny_lookup(&find_all, keys.cols);
	for (int i = 0; i < found->n; i++)
	{
		const JnyRow *row = &found->row[i];
		JnyProfile *p = list_nth(take->orders->recount, row->key);

		if (row->nulls[0] || !row->nulls[1])
			continue;			/* never placed, or cancelled */
		p->orders++;
		p->last_order_at = p->orders == 1 ? jny_row_time(row, 0) : Max(p->last_order_at, jny_row_time(row, 0));
	}
}

/* What is written under the order's owner was stored under another before. */
static void
take_away(JnyTake *take, JnyOrder *o, JnyOut *orders, JnyOut *lines)
{
	ListCell   *lc;

	put_key(jny_out(orders), o, o->key->stored_at);
	jny_cols_next(orders->cols);
	foreach(lc, o->lines)
	{
		const JnyOrderLine *l = lfirst(lc);

		if (!l->stored)
			continue;
		put_key(jny_out(lines), o, o->key->stored_at);
		jny_cols_text(lines->cols, 4, l->line);
		jny_cols_next(lines->cols);
	}
	jny_order_recount(take, o->key->stored_at);
	jny_order_recount(take, o->key->profile);
}

void
jny_order_write(JnyTake *take)
{
	JnyOut		gone = {.access = &delete_orders};
	JnyOut		gone_lines = {.access = &delete_lines};
	JnyOut		orders = {.access = &upsert_orders};
	JnyOut		lines = {.access = &upsert_lines};

	for (int i = 0; i < take->orders->n; i++)
	{
		JnyOrder   *o = take->orders->order[i];
		bool		moved = o->exists && o->key->stored_at != o->key->profile;
		ListCell   *lc;

		if (!o->dirty && !moved)
			continue;
		if (moved)
			take_away(take, o, &gone, &gone_lines);
		put_order(jny_out(&orders), o);
		foreach(lc, o->lines)
		{
			const JnyOrderLine *l = lfirst(lc);

			if (l->sku != NULL && (moved || l->dirty))
				put_line(jny_out(&lines), o, l);
		}
	}
	jny_out_write(&gone);
	jny_out_write(&gone_lines);
	jny_out_write(&orders);
	jny_out_write(&lines);
	recount(take);
}
