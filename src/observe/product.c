/*
 * product.c
 *		The catalogue: products, prices and what is in stock.
 *
 * Called by take.c. Rows and events each say a part of what is known of a
 * product; what they leave out stays. One statement per lap. Permits read
 * the live stock table where one is attached; this is what rules see.
 */
#include "observe/fact.h"

#include "executor/spi.h"
#include "utils/builtins.h"

typedef struct Product
{
	int64		hash;
	const char *sku;
	const char *name;
	const char *category;
	const char *class;
	const char *currency;
	const char *replenishable;
	Interval   *replenish_after;
	Datum		price;
	Datum		cost;
	Datum		available;
	Jsonb	   *traits;
	TimestampTz changed_at;
} Product;

typedef struct JnyProducts
{
	HTAB	   *table;
} JnyProducts;

JNY_PLAN(upsert_products,
		 "text[], text[], text[], text[], boolean[], interval[], numeric[], numeric[], text[], numeric[], jsonb[], timestamptz[]",
		 "INSERT INTO journey.product AS p (sku, name, category, class, replenishable, replenish_after, price, cost,"
		 "  currency, available, traits, changed_at)"
		 " SELECT n.* FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) AS n"
		 " ON CONFLICT (sku) DO UPDATE SET name = COALESCE(excluded.name, p.name),"
		 "  category = COALESCE(excluded.category, p.category), class = COALESCE(excluded.class, p.class),"
		 "  replenishable = COALESCE(excluded.replenishable, p.replenishable),"
		 "  replenish_after = COALESCE(excluded.replenish_after, p.replenish_after),"
		 "  price = COALESCE(excluded.price, p.price), cost = COALESCE(excluded.cost, p.cost),"
		 "  currency = COALESCE(excluded.currency, p.currency),"
		 "  available = COALESCE(excluded.available, p.available),"
		 "  traits = p.traits || excluded.traits, changed_at = excluded.changed_at");

static Product *
find(JnyTake *take, const char *sku)
{
	int64		hash = jny_key_hash("sku", sku);
	Product    *p;
	bool		found;

	if (take->products == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(int64), .entrysize = sizeof(Product), .hcxt = take->batch->cxt};

		take->products = palloc0(sizeof(JnyProducts));
		take->products->table = hash_create("journey products", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	p = hash_search(take->products->table, &hash, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) p + sizeof(int64), 0, sizeof(Product) - sizeof(int64));
		p->sku = sku;
	}
	return p;
}

static void
word(const char **known, const char *said)
{
	if (said != NULL)
		*known = said;
}

static void
number(Datum *known, Datum said)
{
	if (said != (Datum) 0)
		*known = said;
}

static void
apply_row(Product *p, JnyFact *fact)
{
	bool		gone = fact->op == JNY_OP_DELETE;
	const char **f = fact->f;

	if (gone)
	{
		p->available = jny_num_int(0);
		return;
	}
	word(&p->name, f[JNY_F_NAME]);
	word(&p->category, f[JNY_F_CATEGORY]);
	word(&p->class, f[JNY_F_CLASS]);
	word(&p->currency, f[JNY_F_CURRENCY]);
	word(&p->replenishable, f[JNY_F_REPLENISHABLE]);
	if (f[JNY_F_REPLENISH_AFTER] != NULL)
		(void) jny_value_interval(f[JNY_F_REPLENISH_AFTER], &p->replenish_after);
	number(&p->price, jny_num_text(f[JNY_F_PRICE]));
	number(&p->cost, jny_num_text(f[JNY_F_COST]));
	number(&p->available, jny_num_text(f[JNY_F_AVAILABLE]));
	if (fact->props != NULL || fact->traits != NULL)
	{
		JnyObject	o;

		jny_object_begin(&o);
		jny_object_all(&o, p->traits);
		jny_object_all(&o, fact->traits);
		jny_object_all(&o, fact->props);
		p->traits = jny_object_end(&o);
	}
}

static void
apply_event(Product *p, Jsonb *props)
{
	const char *after = jny_json_text(props, "replenish_after");

	word(&p->name, jny_json_text(props, "name"));
	word(&p->category, jny_json_text(props, "category"));
	word(&p->class, jny_json_text(props, "class"));
	word(&p->currency, jny_json_text(props, "currency"));
	word(&p->replenishable, jny_json_text(props, "replenishable"));
	if (after != NULL)
		(void) jny_value_interval(after, &p->replenish_after);
	number(&p->price, jny_num_field(props, "price"));
	number(&p->cost, jny_num_field(props, "cost"));
	number(&p->available, jny_num_field(props, "available"));
}

void
jny_product_apply(JnyTake *take, JnyFact *fact)
{
	const char *sku = fact->kind == JNY_KIND_EVENT ? jny_json_text(fact->props, "sku") : fact->f[JNY_F_SKU];
	Product    *p;

	if (sku == NULL)
	{
		jny_tally_quarantine(take, fact->raw, "22023", "sku is missing");
		return;
	}
	p = find(take, sku);
	p->changed_at = fact->occurred_at;
	if (fact->kind == JNY_KIND_EVENT)
		apply_event(p, fact->props);
	else
		apply_row(p, fact);
}

static void
add_product(JnyCols *cols, const Product *p)
{
	bool		replenishable;

	jny_cols_text(cols, 0, p->sku);
	jny_cols_text(cols, 1, p->name);
	jny_cols_text(cols, 2, p->category);
	jny_cols_text(cols, 3, p->class);
	if (p->replenishable != NULL && jny_value_bool(p->replenishable, &replenishable))
		jny_cols_set(cols, 4, BoolGetDatum(replenishable));
	if (p->replenish_after != NULL)
		jny_cols_set(cols, 5, IntervalPGetDatum(p->replenish_after));
	if (p->price != (Datum) 0)
		jny_cols_set(cols, 6, p->price);
	if (p->cost != (Datum) 0)
		jny_cols_set(cols, 7, p->cost);
	jny_cols_text(cols, 8, p->currency);
	if (p->available != (Datum) 0)
		jny_cols_set(cols, 9, p->available);
	jny_cols_set(cols, 10, JsonbPGetDatum(p->traits != NULL ? p->traits : jny_object_empty()));
	jny_cols_set(cols, 11, TimestampTzGetDatum(p->changed_at));
	jny_cols_next(cols);
}

void
jny_product_write(JnyTake *take)
{
	JnyCols    *cols;
	HASH_SEQ_STATUS scan;
	Product    *p;

	if (take->products == NULL)
		return;
	cols = jny_cols("text, text, text, text, boolean, interval, numeric, numeric, text, numeric, jsonb, timestamptz");
	hash_seq_init(&scan, take->products->table);
	while ((p = hash_seq_search(&scan)) != NULL)
		add_product(cols, p);
	jny_run(&upsert_products, jny_cols_datums(cols, 0), NULL);
}
