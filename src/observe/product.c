/*
 * product.c
 *		The catalogue: products, prices and what is in stock.
 *
 * Called by take.c. Rows and events each say a part of what is known of a
 * product; what they leave out stays, also what another session has just said:
 * a row is changed where it is found, after its lock. Permits, decisions
 * and rules read the live stock table where one is attached (journey._stock);
 * what is here counts while that is locked or cannot be read.
 *
 * A stock table may have several rows of a product, one for each location, and
 * a row that changed says nothing of the others. So it is no more than the
 * news that there is another sum, which is asked of the table as it is now.
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
	bool		stocked;		/* a row of a stock table spoke of it */
} Product;

typedef struct JnyProducts
{
	HTAB	   *table;
} JnyProducts;

#define PRODUCT_COLUMNS \
	"name, category, class, replenishable, replenish_after, price, cost, currency, available, traits, changed_at"
#define NPRODUCT_COLUMNS 11
#define TRAITS 9
JNY_CHANGE(change_products, "product", "product_pkey", "sku", PRODUCT_COLUMNS, PRODUCT_COLUMNS);
JNY_UPSERT(insert_products, "product", "product_pkey", "sku", "sku, " PRODUCT_COLUMNS, "");

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
	p->stocked |= fact->kind == JNY_KIND_STOCK;
	if (fact->kind == JNY_KIND_EVENT)
		apply_event(p, fact->props);
	else
		apply_row(p, fact);
}

/* ---- several rows of one product ---------------------------------------- */

/*
 * The table may be gone, or not to be read, and then the row counts as it
 * came. So it does where nothing is found: deleted, the last one leaves 0.
 */
static void
sum_locations(JnyTake *take)
{
	JnyCols    *skus = jny_cols("text");
	JnyStockLevel *levels;
	HASH_SEQ_STATUS scan;
	Product    *p;
	int			n = 0;

	hash_seq_init(&scan, take->products->table);
	while ((p = hash_seq_search(&scan)) != NULL)
		if (p->stocked)
		{
			jny_cols_text(skus, 0, p->sku);
			jny_cols_next(skus);
		}
	if (jny_cols_count(skus) > 0)
		n = jny_stock_live(jny_cols_datums(skus, 0)[0], &levels);
	for (int i = 0; i < n; i++)
		number(&find(take, levels[i].sku)->available, levels[i].available);
}

/* ---- writing ---------------------------------------------------------- */

static void
put(JnyRow *row, int col, Datum said)
{
	if (said == (Datum) 0)
		return;
	row->values[col] = said;
	row->nulls[col] = false;
}

static void
put_word(JnyRow *row, int col, const char *said)
{
	if (said != NULL)
		put(row, col, CStringGetTextDatum(said));
}

static void
put_flag(JnyRow *row, int col, const char *said)
{
	bool		flag;

	if (said == NULL || !jny_value_bool(said, &flag))
		return;
	row->values[col] = BoolGetDatum(flag);
	row->nulls[col] = false;
}

/* What the lap says of a product, in the order of PRODUCT_COLUMNS; the rest of the row is left as it is. */
static void
put_said(JnyRow *row, const Product *p)
{
	put_word(row, 0, p->name);
	put_word(row, 1, p->category);
	put_word(row, 2, p->class);
	put_flag(row, 3, p->replenishable);
	put(row, 4, IntervalPGetDatum(p->replenish_after));
	put(row, 5, p->price);
	put(row, 6, p->cost);
	put_word(row, 7, p->currency);
	put(row, 8, p->available);
	put(row, TRAITS, JsonbPGetDatum(jny_object_merged(row->nulls[TRAITS] ? NULL : DatumGetJsonbP(row->values[TRAITS]), p->traits)));
	put(row, 10, TimestampTzGetDatum(p->changed_at));
}

/* Products that the lap speaks of, in the order of the keys. */
typedef struct Spoken
{
	int			n;
	Product   **product;
	bool	   *stored;
} Spoken;

static JnyChoice
change(JnyRow *row, void *arg)
{
	Spoken	   *spoken = arg;

	put_said(row, spoken->product[row->key]);
	spoken->stored[row->key] = true;
	return JNY_CHOOSE;
}

static void
change_stored(Spoken *spoken)
{
	JnyCols    *keys = jny_cols_of(&change_products);

	memset(spoken->stored, 0, sizeof(bool) * spoken->n);
	for (int i = 0; i < spoken->n; i++)
	{
		jny_cols_text(keys, 0, spoken->product[i]->sku);
		jny_cols_next(keys);
	}
	(void) jny_change(&change_products, keys, false, PG_INT32_MAX, change, spoken);
}

static void
add_row(JnyCols *cols, const Product *p)
{
	Datum		values[NPRODUCT_COLUMNS];
	bool		nulls[NPRODUCT_COLUMNS];
	JnyRow		row = {.values = values, .nulls = nulls};

	memset(nulls, true, sizeof(nulls));
	put_said(&row, p);
	jny_cols_text(cols, 0, p->sku);
	for (int i = 0; i < NPRODUCT_COLUMNS; i++)
		if (!nulls[i])
			jny_cols_set(cols, i + 1, values[i]);
	jny_cols_next(cols);
}

/* Leaves in the list those that were new. False when somebody else was quicker with one: then it is to be changed. */
static bool
insert_new(Spoken *spoken)
{
	JnyCols    *cols = jny_cols_of(&insert_products);
	int			n = 0;

	for (int i = 0; i < spoken->n; i++)
		if (!spoken->stored[i])
		{
			spoken->product[n++] = spoken->product[i];
			add_row(cols, spoken->product[i]);
		}
	spoken->n = n;
	return jny_write(&insert_products, cols) == n;
}

void
jny_product_write(JnyTake *take)
{
	Spoken		spoken = {0};
	HASH_SEQ_STATUS scan;
	Product    *p;
	long		n;

	if (take->products == NULL)
		return;
	sum_locations(take);
	n = hash_get_num_entries(take->products->table);
	spoken.product = palloc(sizeof(Product *) * n);
	spoken.stored = palloc(sizeof(bool) * n);
	hash_seq_init(&scan, take->products->table);
	while ((p = hash_seq_search(&scan)) != NULL)
		spoken.product[spoken.n++] = p;
	do
		change_stored(&spoken);
	while (!insert_new(&spoken));
}
