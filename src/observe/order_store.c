/*
 * order_store.c
 *		Reading and writing orders: two statements to load, at most five to
 *		write, one more when an order was taken back.
 *
 * Called by take.c around order.c.
 */
#include "observe/order.h"

#include "executor/spi.h"
#include "utils/builtins.h"

JNY_PLAN(load_orders, "integer[], smallint[], uuid[], text[], text[]",
		 "SELECT k.n, o.source, o.status, o.origin, o.currency, o.cart_id,"
		 "  pg_catalog.array_to_string(o.codes, E'\\n'), o.amount, o.placed_at, o.cancelled_at, o.changed_at, o.props"
		 " FROM unnest($1, $2, $3, $4, $5) AS k(n, bucket, profile_id, scope, order_id)"
		 " JOIN journey.orders o ON o.bucket = k.bucket AND o.profile_id = k.profile_id"
		 "  AND o.scope = k.scope AND o.order_id = k.order_id");
JNY_PLAN(load_lines, "integer[], smallint[], uuid[], text[], text[]",
		 "SELECT k.n, l.line, l.sku, l.status, l.quantity, l.price, l.changed_at"
		 " FROM unnest($1, $2, $3, $4, $5) AS k(n, bucket, profile_id, scope, order_id)"
		 " JOIN journey.order_line l ON l.bucket = k.bucket AND l.profile_id = k.profile_id"
		 "  AND l.scope = k.scope AND l.order_id = k.order_id");
JNY_PLAN(delete_orders, "smallint[], uuid[], text[], text[]",
		 "DELETE FROM journey.orders o USING unnest($1, $2, $3, $4) AS k(bucket, profile_id, scope, order_id)"
		 " WHERE o.bucket = k.bucket AND o.profile_id = k.profile_id AND o.scope = k.scope AND o.order_id = k.order_id");
JNY_PLAN(delete_lines, "smallint[], uuid[], text[], text[]",
		 "DELETE FROM journey.order_line l USING unnest($1, $2, $3, $4) AS k(bucket, profile_id, scope, order_id)"
		 " WHERE l.bucket = k.bucket AND l.profile_id = k.profile_id AND l.scope = k.scope AND l.order_id = k.order_id");
JNY_PLAN(upsert_orders,
		 "smallint[], uuid[], text[], text[], text[], text[], text[], numeric[], text[], text[], text[], timestamptz[], timestamptz[], bigint[], jsonb[], timestamptz[]",
		 "INSERT INTO journey.orders AS o (bucket, profile_id, scope, order_id, source, status, origin, amount,"
		 "  currency, cart_id, codes, placed_at, cancelled_at, seq, props, changed_at)"
		 " SELECT n.bucket, n.profile_id, n.scope, n.order_id, n.source, n.status, n.origin, n.amount, n.currency,"
		 "  n.cart_id, pg_catalog.string_to_array(n.codes, E'\\n'), n.placed_at, n.cancelled_at, n.seq, n.props, n.changed_at"
		 " FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
		 "  AS n(bucket, profile_id, scope, order_id, source, status, origin, amount, currency, cart_id, codes,"
		 "   placed_at, cancelled_at, seq, props, changed_at)"
		 " ON CONFLICT (bucket, profile_id, scope, order_id) DO UPDATE SET status = excluded.status,"
		 "  origin = excluded.origin, amount = excluded.amount, currency = excluded.currency,"
		 "  cart_id = excluded.cart_id, codes = excluded.codes, placed_at = excluded.placed_at,"
		 "  cancelled_at = excluded.cancelled_at, seq = excluded.seq, props = excluded.props,"
		 "  changed_at = excluded.changed_at");
JNY_PLAN(upsert_lines,
		 "smallint[], uuid[], text[], text[], text[], text[], numeric[], numeric[], text[], timestamptz[]",
		 "INSERT INTO journey.order_line (bucket, profile_id, scope, order_id, line, sku, quantity, price, status, changed_at)"
		 " SELECT n.* FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS n"
		 " ON CONFLICT (bucket, profile_id, scope, order_id, line) DO UPDATE SET sku = excluded.sku,"
		 "  quantity = excluded.quantity, price = excluded.price, status = excluded.status,"
		 "  changed_at = excluded.changed_at");
JNY_PLAN(recount_orders, "smallint[], uuid[]",
		 "SELECT k.profile_id, pg_catalog.count(o.placed_at), pg_catalog.max(o.placed_at)"
		 " FROM unnest($1, $2) AS k(bucket, profile_id)"
		 " LEFT JOIN journey.orders o ON o.bucket = k.bucket AND o.profile_id = k.profile_id"
		 "  AND o.placed_at IS NOT NULL AND o.cancelled_at IS NULL"
		 " GROUP BY k.profile_id");

/* ---- loading ---------------------------------------------------------- */

static bool
touches_order(const JnyFact *fact)
{
	return !fact->drop && !fact->fence_only && fact->order != NULL && fact->profile != NULL &&
		(fact->kind != JNY_KIND_EVENT || strncmp(fact->type, "order_", 6) == 0 ||
		 strncmp(fact->type, "shipment_", 9) == 0);
}

static void
add_order(JnyTake *take, JnyFact *fact)
{
	JnyOrders  *orders = take->orders;
	JnyOrder   *o;
	bool		found;

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

static TimestampTz
get_time(uint64 row, int col)
{
	bool		isnull;
	Datum		d = jny_get(row, col, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(d);
}

static Datum
get_number(uint64 row, int col)
{
	bool		isnull;
	Datum		d = jny_get(row, col, &isnull);

	return isnull ? (Datum) 0 : NumericGetDatum(DatumGetNumericCopy(d));
}

static void
load_order(JnyOrder *o, uint64 row)
{
	bool		isnull;

	o->exists = true;
	o->source = jny_get_text(row, 2);
	o->status = jny_get_text(row, 3);
	o->origin = jny_get_text(row, 4);
	o->currency = jny_get_text(row, 5);
	o->cart_id = jny_get_text(row, 6);
	o->codes = jny_get_text(row, 7);
	o->amount = get_number(row, 8);
	o->placed_at = get_time(row, 9);
	o->cancelled_at = get_time(row, 10);
	o->changed_at = get_time(row, 11);
	o->props = DatumGetJsonbPCopy(jny_get(row, 12, &isnull));
}

static void
load_line(JnyOrder *o, uint64 row)
{
	JnyOrderLine *l = palloc0(sizeof(JnyOrderLine));

	l->line = jny_get_text(row, 2);
	l->sku = jny_get_text(row, 3);
	l->status = jny_get_text(row, 4);
	l->quantity = get_number(row, 5);
	l->price = get_number(row, 6);
	l->changed_at = get_time(row, 7);
	l->announced = o->placed_at != 0;
	o->lines = lappend(o->lines, l);
}

void
jny_order_load(JnyTake *take)
{
	HASHCTL		ctl = {.keysize = sizeof(JnyKey *), .entrysize = sizeof(JnyOrder), .hcxt = take->batch->cxt};
	HASHCTL		set = {.keysize = sizeof(JnyProfile *), .entrysize = sizeof(JnyProfile *), .hcxt = take->batch->cxt};
	JnyCols    *cols = jny_cols("integer, smallint, uuid, text, text");
	Datum	   *args;

	take->orders = palloc0(sizeof(JnyOrders));
	take->orders->table = hash_create("journey orders", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	take->orders->recount = hash_create("journey recounts", 16, &set, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (int i = 0; i < take->nfacts; i++)
		if (touches_order(take->facts[i]))
			add_order(take, take->facts[i]);
	for (int i = 0; i < take->orders->n; i++)
	{
		JnyOrder   *o = take->orders->order[i];

		if (o->key->stored_at == NULL)
			continue;
		jny_cols_set(cols, 0, Int32GetDatum(i));
		jny_cols_set(cols, 1, Int16GetDatum(o->key->stored_at->bucket));
		jny_cols_set(cols, 2, jny_uuid_datum(&o->key->stored_at->id));
		jny_cols_text(cols, 3, o->scope);
		jny_cols_text(cols, 4, o->order_id);
		jny_cols_next(cols);
	}
	if (jny_cols_count(cols) == 0)
		return;
	args = jny_cols_datums(cols, 0);
	jny_run(&load_orders, args, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
		load_order(take->orders->order[jny_get_int8(row, 1, 0)], row);
	jny_run(&load_lines, args, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
		load_line(take->orders->order[jny_get_int8(row, 1, 0)], row);
}

JnyOrder *
jny_order_of(JnyTake *take, JnyFact *fact)
{
	return fact->order != NULL ? hash_search(take->orders->table, &fact->order, HASH_FIND, NULL) : NULL;
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
	(void) hash_search(take->orders->recount, &profile, HASH_ENTER, NULL);
}

/* ---- writing ---------------------------------------------------------- */

static void
put_key(JnyCols *cols, const JnyOrder *o, const JnyProfile *owner)
{
	jny_cols_set(cols, 0, Int16GetDatum(owner->bucket));
	jny_cols_set(cols, 1, jny_uuid_datum(&owner->id));
	jny_cols_text(cols, 2, o->scope);
	jny_cols_text(cols, 3, o->order_id);
}

static void
put_time(JnyCols *cols, int col, TimestampTz at)
{
	if (at != 0)
		jny_cols_set(cols, col, TimestampTzGetDatum(at));
}

static void
put_order(JnyCols *cols, const JnyOrder *o)
{
	put_key(cols, o, o->key->profile);
	jny_cols_text(cols, 4, o->source);
	jny_cols_text(cols, 5, o->status != NULL ? o->status : "pending");
	jny_cols_text(cols, 6, o->origin);
	if (o->amount != (Datum) 0)
		jny_cols_set(cols, 7, o->amount);
	jny_cols_text(cols, 8, o->currency);
	jny_cols_text(cols, 9, o->cart_id);
	jny_cols_text(cols, 10, o->codes);
	put_time(cols, 11, o->placed_at);
	put_time(cols, 12, o->cancelled_at);
	jny_cols_set(cols, 13, Int64GetDatum(o->seq));
	jny_cols_set(cols, 14, JsonbPGetDatum(o->props != NULL ? o->props : jny_object_empty()));
	jny_cols_set(cols, 15, TimestampTzGetDatum(o->changed_at));
	jny_cols_next(cols);
}

static void
put_lines(JnyCols *cols, const JnyOrder *o, bool all)
{
	ListCell   *lc;

	foreach(lc, o->lines)
	{
		const JnyOrderLine *l = lfirst(lc);

		if (l->sku == NULL || (!all && !l->dirty))
			continue;
		put_key(cols, o, o->key->profile);
		jny_cols_text(cols, 4, l->line);
		jny_cols_text(cols, 5, l->sku);
		jny_cols_set(cols, 6, l->quantity);
		if (l->price != (Datum) 0)
			jny_cols_set(cols, 7, l->price);
		jny_cols_text(cols, 8, l->status);
		put_time(cols, 9, l->changed_at);
		jny_cols_next(cols);
	}
}

/* The orders that still count, for people of whom one was taken back or moved away. */
static void
recount(JnyTake *take)
{
	JnyCols    *cols = jny_cols("smallint, uuid");
	HASH_SEQ_STATUS scan;
	JnyProfile **p;

	hash_seq_init(&scan, take->orders->recount);
	while ((p = hash_seq_search(&scan)) != NULL)
	{
		jny_cols_set(cols, 0, Int16GetDatum((*p)->bucket));
		jny_cols_set(cols, 1, jny_uuid_datum(&(*p)->id));
		jny_cols_next(cols);
	}
	if (jny_cols_count(cols) == 0)
		return;
	jny_run(&recount_orders, jny_cols_datums(cols, 0), NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		JnyProfile *profile = jny_profile_get(take->batch, jny_get_uuid(row, 1));

		profile->orders = (int) jny_get_int8(row, 2, 0);
		profile->last_order_at = get_time(row, 3);
		profile->dirty = true;
	}
}

static void
run_if_any(JnyPlan *plan, JnyCols *cols)
{
	if (jny_cols_count(cols) > 0)
		jny_run(plan, jny_cols_datums(cols, 0), NULL);
}

void
jny_order_write(JnyTake *take)
{
	JnyCols    *gone = jny_cols("smallint, uuid, text, text");
	JnyCols    *orders = jny_cols("smallint, uuid, text, text, text, text, text, numeric, text, text, text, timestamptz, timestamptz, bigint, jsonb, timestamptz");
	JnyCols    *lines = jny_cols("smallint, uuid, text, text, text, text, numeric, numeric, text, timestamptz");

	for (int i = 0; i < take->orders->n; i++)
	{
		JnyOrder   *o = take->orders->order[i];
		bool		moved = o->exists && o->key->stored_at != o->key->profile;

		if (!o->dirty && !moved)
			continue;
		if (moved)
		{
			put_key(gone, o, o->key->stored_at);
			jny_cols_next(gone);
			jny_order_recount(take, o->key->stored_at);
			jny_order_recount(take, o->key->profile);
		}
		put_order(orders, o);
		put_lines(lines, o, moved);
	}
	if (jny_cols_count(gone) > 0)
	{
		Datum	   *args = jny_cols_datums(gone, 0);

		jny_run(&delete_orders, args, NULL);
		jny_run(&delete_lines, args, NULL);
	}
	run_if_any(&upsert_orders, orders);
	run_if_any(&upsert_lines, lines);
	recount(take);
}
