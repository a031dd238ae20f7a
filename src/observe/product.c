/*
 * product.c
 *		The catalogue: products, prices and what is in stock.
 *
 * Called by take.c. Rows and events each say a part of what is known of a
 * product; what they leave out stays. Only laps write products. Permits read
 * the live stock table where one is attached; this is what rules see.
 */
#include "observe/fact.h"

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

#define PRODUCT_COLUMNS \
	"name, category, class, replenishable, replenish_after, price, cost, currency, available, traits, changed_at"
#define NPRODUCT_COLUMNS 11
#define TRAITS 10				/* with the sku in front */
JNY_LOOKUP(find_products, "product", "product_pkey", "sku", PRODUCT_COLUMNS, NULL);
JNY_UPSERT(upsert_products, "product", "product_pkey", "sku", "sku, " PRODUCT_COLUMNS, PRODUCT_COLUMNS);

static Product *
find(JnyTake *take, const char *sku)
{
	int64		hash = jny_key_hash("sku", sku);
	Product    *p;
	bool		found;

	if (take->products == NULL)
	{
		take->products = palloc(sizeof(JnyProducts));
		take->products->table = jny_table(take, "journey products", sizeof(int64), sizeof(Product));
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

/* ---- writing ---------------------------------------------------------- */

static void
put_stored(JnyCols *cols, const JnyRow *row)
{
	for (int i = 0; i < NPRODUCT_COLUMNS; i++)
		if (!row->nulls[i])
			jny_cols_set(cols, i + 1, row->values[i]);
}

static Jsonb *
merged(Jsonb *stored, Jsonb *said)
{
	JnyObject	o;

	jny_object_begin(&o);
	jny_object_all(&o, stored);
	jny_object_all(&o, said);
	return jny_object_end(&o);
}

static void
put_number(JnyCols *cols, int col, Datum number)
{
	if (number != (Datum) 0)
		jny_cols_set(cols, col, number);
}

/* What the lap says of a product; the rest of the row is left as it is set. */
static void
put_said(JnyCols *cols, const Product *p)
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
	put_number(cols, 6, p->price);
	put_number(cols, 7, p->cost);
	jny_cols_text(cols, 8, p->currency);
	put_number(cols, 9, p->available);
	jny_cols_set(cols, 11, TimestampTzGetDatum(p->changed_at));
}

void
jny_product_write(JnyTake *take)
{
	JnyCols    *keys;
	JnyCols    *cols;
	List	   *all = NIL;
	const JnyRow **stored;
	JnyRows    *found;
	HASH_SEQ_STATUS scan;
	Product    *p;

	if (take->products == NULL)
		return;
	keys = jny_cols_of(&find_products);
	cols = jny_cols_of(&upsert_products);
	hash_seq_init(&scan, take->products->table);
	while ((p = hash_seq_search(&scan)) != NULL)
	{
		jny_cols_text(keys, 0, p->sku);
		jny_cols_next(keys);
		all = lappend(all, p);
	}
	found = jny_lookup(&find_products, keys);
	stored = palloc0(sizeof(JnyRow *) * list_length(all));
	for (int i = 0; i < found->n; i++)
		stored[found->row[i].key] = &found->row[i];
	for (int i = 0; i < list_length(all); i++)
	{
		p = list_nth(all, i);
		if (stored[i] != NULL)
			put_stored(cols, stored[i]);
		put_said(cols, p);
		jny_cols_set(cols, TRAITS, JsonbPGetDatum(merged(stored[i] ? DatumGetJsonbP(stored[i]->values[TRAITS - 1]) : NULL,
														 p->traits)));
		jny_cols_next(cols);
	}
	jny_write(&upsert_products, cols);
}
