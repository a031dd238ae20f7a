/*
 * recent.c
 *		The newest values of a feature with the aggregate recent: what somebody
 *		looked at lately, at most so many.
 *
 * The list holds the feature's limit of events, the newest by (time, place in
 * the order, value), whatever the order in which they came: an event that falls
 * behind that many others never comes back. Pure functions on memory; a list
 * is a bytea: per event its time, place and the lengths and bytes of value and
 * amount, newest first, in the server's byte order.
 */
#include "interpret/feature.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

typedef struct Item
{
	TimestampTz at;
	int64		seq;
	uint32		length;			/* of the value */
	uint32		amount_length;	/* of the varlena; 0 = none */
} Item;

typedef struct Walk
{
	const char *next;
	const char *end;
	Item		item;
	const char *value;
	const char *amount;
} Walk;

static Walk
walk(Datum list)
{
	Walk		w = {0};

	if (list != (Datum) 0)
	{
		w.next = VARDATA_ANY(DatumGetPointer(list));
		w.end = w.next + VARSIZE_ANY_EXHDR(DatumGetPointer(list));
	}
	return w;
}

static bool
step(Walk *w)
{
	if (w->next == w->end)
		return false;
	memcpy(&w->item, w->next, sizeof(Item));
	w->value = w->next + sizeof(Item);
	w->amount = w->value + w->item.length;
	w->next = w->amount + w->item.amount_length;
	return true;
}

static void
put(StringInfo s, const Item *item, const char *value, const char *amount)
{
	appendBinaryStringInfo(s, (const char *) item, sizeof(Item));
	appendBinaryStringInfo(s, value, item->length);
	if (item->amount_length > 0)
		appendBinaryStringInfo(s, amount, item->amount_length);
}

static int
compare_bytes(const char *a, uint32 na, const char *b, uint32 nb)
{
	int			c = memcmp(a, b, Min(na, nb));

	return c != 0 ? c : (na > nb) - (na < nb);
}

/* Events of one row may share time and place. */
static bool
is_newer(const Item *a, const char *value, const char *amount, const Walk *w)
{
	int			c;

	if (a->at != w->item.at)
		return a->at > w->item.at;
	if (a->seq != w->item.seq)
		return a->seq > w->item.seq;
	c = compare_bytes(value, a->length, w->value, w->item.length);
	if (c == 0)
		c = compare_bytes(amount, a->amount_length, w->amount, w->item.amount_length);
	return c > 0;
}

/* Makes a new list. */
Datum
jny_recent_add(Datum list, const JnyFeature *f, const JnyFeatureNews *news)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(news->value);
	struct varlena *amount = news->amount ? PG_DETOAST_DATUM(news->amount) : NULL;
	Item		item = {news->at, news->seq, VARSIZE_ANY_EXHDR(value), amount ? VARSIZE(amount) : 0};
	Walk		w = walk(list);
	bool		more = step(&w);
	bool		put_in = false;
	StringInfoData s;
	bytea	   *made;

	initStringInfo(&s);
	for (int n = 0; n < f->limit && (more || !put_in); n++)
	{
		if (!put_in && (!more || is_newer(&item, VARDATA_ANY(value), (char *) amount, &w)))
		{
			put(&s, &item, VARDATA_ANY(value), (char *) amount);
			put_in = true;
			continue;
		}
		put(&s, &w.item, w.value, w.amount);
		more = step(&w);
	}
	made = palloc(VARHDRSZ + s.len);
	SET_VARSIZE(made, VARHDRSZ + s.len);
	memcpy(VARDATA(made), s.data, s.len);
	pfree(s.data);
	return PointerGetDatum(made);
}

/* Is what the walk stands at within the feature's window? Later than now is what a clock that was set back left. */
static bool
counts(const Walk *w, const JnyFeature *f, TimestampTz at)
{
	return w->item.at <= at && (f->span == 0 || w->item.at > at - f->span);
}

Datum
jny_recent_items(Datum list, const JnyFeature *f, TimestampTz at)
{
	Datum	   *items = palloc(sizeof(Datum) * f->limit);
	int			n = 0;

	for (Walk w = walk(list); step(&w);)
		if (counts(&w, f, at))
			items[n++] = PointerGetDatum(cstring_to_text_with_len(w.value, (int) w.item.length));
	return PointerGetDatum(construct_array(items, n, TEXTOID, -1, false, TYPALIGN_INT));
}

int64
jny_recent_count(Datum list, const JnyFeature *f, TimestampTz at, const char *item, Datum *sum)
{
	int64		n = 0;

	*sum = NumericGetDatum(int64_to_numeric(0));
	for (Walk w = walk(list); step(&w);)
	{
		if (!counts(&w, f, at) || w.item.length != strlen(item) || memcmp(w.value, item, w.item.length) != 0)
			continue;
		n++;
		if (w.item.amount_length > 0)
		{
			char	   *amount = palloc(w.item.amount_length);

			memcpy(amount, w.amount, w.item.amount_length);
			*sum = DirectFunctionCall2(numeric_add, *sum, PointerGetDatum(amount));
		}
	}
	return n;
}
