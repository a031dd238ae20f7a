/*
 * subject_cart.c
 *		The cart that rules speak of, and what lies in it.
 *
 * Called by subject_load.c for all subjects that lack it, inside
 * SPI_connect(). Plain reads by key, no locks. What is kept lives in each
 * subject's context, the rest where the caller is.
 */
#include "interpret/rule.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "core/table.h"
#include "interpret/subject.h"

JNY_LOOKUP(find_carts, "cart", "cart_pkey", "bucket, profile_id",
		   "cart_id, scope, status, items, lines, value, currency, changed_at", NULL);
JNY_LOOKUP(find_lines, "cart_line", "cart_line_pkey", "bucket, profile_id, scope, cart_id", "sku, quantity, price", NULL);
JNY_LOOKUP(find_products, "product", "product_pkey", "sku", "category, price", NULL);

static void
set_owner(JnyCols *keys, const JnySubjectContext *s)
{
	jny_cols_set(keys, 0, Int16GetDatum(jny_bucket_of_id(&s->profile_id)));
	jny_cols_set(keys, 1, UUIDPGetDatum(&s->profile_id));
}

static Datum
copy_of(const JnyRow *row, int col)
{
	return row->nulls[col] ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(row->values[col]));
}

/* ---- which cart ----------------------------------------------------------------- */

static bool
is_meant(const JnyRow *row, void *arg)
{
	JnySubjectContext *s = ((JnySubjectContext **) arg)[row->key];
	const char *id = jny_subject_cart(s);

	return id != NULL ? strcmp(jny_row_text(row, 0), id) == 0 : strcmp(jny_row_text(row, 2), "open") == 0;
}

/* The own scope first, then the one that changed last. */
static bool
goes_before(const JnyRow *a, const JnyRow *b, const char *scope)
{
	bool		own_a = scope != NULL && strcmp(jny_row_text(a, 1), scope) == 0;
	bool		own_b = scope != NULL && strcmp(jny_row_text(b, 1), scope) == 0;

	if (own_a != own_b)
		return own_a;
	if (jny_row_time(a, 7) != jny_row_time(b, 7))
		return jny_row_time(a, 7) > jny_row_time(b, 7);
	return strcmp(jny_row_text(a, 0), jny_row_text(b, 0)) < 0;
}

static void
take_cart(JnySubjectContext *s, const JnyRows *rows, int i)
{
	JnySubjectParts *p = s->parts;
	const JnyRow *row = &rows->row[i];
	MemoryContext old = MemoryContextSwitchTo(s->cxt);

	p->has_cart = true;
	p->cart_id = jny_row_text(row, 0);
	p->cart_scope = jny_row_text(row, 1);
	p->cart_status = jny_row_text(row, 2);
	p->cart_items = copy_of(row, 3);
	p->cart_lines = jny_row_int(rows, i, 4, 0);
	p->cart_value = copy_of(row, 5);
	p->cart_currency = jny_row_text(row, 6);
	p->cart_changed_at = jny_row_time(row, 7);
	MemoryContextSwitchTo(old);
}

/* The cart of that id, else the open one that changed last. */
void
jny_subjects_read_carts(JnySubjectContext **subjects, int n)
{
	JnyCols    *keys = jny_cols_of(&find_carts);
	JnyRows    *rows;

	for (int i = 0; i < n; i++)
	{
		set_owner(keys, subjects[i]);
		jny_cols_next(keys);
	}
	rows = jny_lookup_wanted(&find_carts, keys, is_meant, subjects);
	for (int i = 0; i < rows->n;)
	{
		JnySubjectContext *s = subjects[rows->row[i].key];
		int			best = i;

		while (++i < rows->n && rows->row[i].key == rows->row[best].key)
			if (goes_before(&rows->row[i], &rows->row[best], jny_subject_scope(s)))
				best = i;
		take_cart(s, rows, best);
	}
}

/* ---- what lies in it --------------------------------------------------------------- */

typedef struct Line
{
	int			subject;
	Datum		sku;
	Datum		category;		/* 0 = unknown */
	Datum		quantity;
	Datum		price;			/* 0 = unknown */
	Datum		value;
} Line;

static bool
is_some(const JnyRow *row, void *arg)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, row->values[1], *(Datum *) arg)) > 0;
}

static int
compare_text(Datum a, Datum b)
{
	return DatumGetInt32(DirectFunctionCall2Coll(bttextcmp, DEFAULT_COLLATION_OID, a, b));
}

static int
by_value(const void *a, const void *b)
{
	const Line *x = a;
	const Line *y = b;
	int			c = DatumGetInt32(DirectFunctionCall2(numeric_cmp, y->value, x->value));

	return c != 0 ? c : compare_text(x->sku, y->sku);
}

static int
by_text(const void *a, const void *b)
{
	return compare_text(*(const Datum *) a, *(const Datum *) b);
}

/* All lines of the subjects' carts, one subject's together, with what the catalogue says of them. */
static Line *
read_lines(JnySubjectContext **subjects, int n, int *nlines)
{
	Datum		zero = DirectFunctionCall1(int4_numeric, Int32GetDatum(0));
	JnyCols    *keys = jny_cols_of(&find_lines);
	JnyCols    *skus;
	JnyRows    *rows;
	JnyRows    *products;
	Line	   *lines;

	for (int i = 0; i < n; i++)
	{
		set_owner(keys, subjects[i]);
		jny_cols_text(keys, 2, subjects[i]->parts->cart_scope);
		jny_cols_text(keys, 3, subjects[i]->parts->cart_id);
		jny_cols_next(keys);
	}
	rows = jny_lookup_wanted(&find_lines, keys, is_some, &zero);
	lines = palloc0(sizeof(Line) * Max(1, rows->n));
	skus = jny_cols_of(&find_products);
	for (int i = 0; i < rows->n; i++)
	{
		const JnyRow *row = &rows->row[i];

		lines[i].subject = row->key;
		lines[i].sku = row->values[0];
		lines[i].quantity = row->values[1];
		lines[i].price = row->nulls[2] ? (Datum) 0 : row->values[2];
		jny_cols_set(skus, 0, row->values[0]);
		jny_cols_next(skus);
	}
	products = jny_lookup(&find_products, skus);
	for (int i = 0; i < products->n; i++)
	{
		const JnyRow *row = &products->row[i];
		Line	   *line = &lines[row->key];

		line->category = row->nulls[0] ? (Datum) 0 : row->values[0];
		if (line->price == (Datum) 0 && !row->nulls[1])
			line->price = row->values[1];
	}
	for (int i = 0; i < rows->n; i++)
		lines[i].value = lines[i].price == (Datum) 0 ? zero
			: DirectFunctionCall2(numeric_mul, lines[i].quantity, lines[i].price);
	*nlines = rows->n;
	return lines;
}

static Datum
text_array(Datum *values, int n)
{
	return PointerGetDatum(construct_array(values, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Best line first: by value, ties by sku. */
static void
take_lines(JnySubjectContext *s, Line *lines, int n)
{
	JnySubjectParts *p = s->parts;
	Datum	   *skus = palloc(sizeof(Datum) * n);
	Datum	   *categories = palloc(sizeof(Datum) * n);
	int			nskus = 0;
	int			ncategories = 0;
	int			kept = 0;
	MemoryContext old;

	qsort(lines, n, sizeof(Line), by_value);
	for (int i = 0; i < n; i++)
	{
		bool		again = false;

		/* of several lines of a sku the best one counts */
		for (int k = 0; k < nskus && !again; k++)
			again = compare_text(skus[k], lines[i].sku) == 0;
		if (again)
			continue;
		skus[nskus++] = lines[i].sku;
		if (lines[i].category != (Datum) 0)
			categories[ncategories++] = lines[i].category;
	}
	qsort(categories, ncategories, sizeof(Datum), by_text);
	for (int i = 0; i < ncategories; i++)
		if (kept == 0 || compare_text(categories[kept - 1], categories[i]) != 0)
			categories[kept++] = categories[i];
	old = MemoryContextSwitchTo(s->cxt);
	p->skus = text_array(skus, nskus);
	p->top_sku = TextDatumGetCString(skus[0]);
	p->top_category = lines[0].category != (Datum) 0 ? TextDatumGetCString(lines[0].category) : NULL;
	p->categories = kept > 0 ? text_array(categories, kept) : (Datum) 0;
	MemoryContextSwitchTo(old);
}

void
jny_subjects_read_lines(JnySubjectContext **subjects, int n)
{
	int			nlines;
	Line	   *lines = read_lines(subjects, n, &nlines);

	for (int i = 0; i < nlines;)
	{
		int			first = i;

		while (i < nlines && lines[i].subject == lines[first].subject)
			i++;
		take_lines(subjects[lines[first].subject], lines + first, i - first);
	}
}
