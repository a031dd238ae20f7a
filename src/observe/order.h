/*
 * order.h
 *		Orders in memory, between order.c (what changes them) and
 *		order_store.c (reading and writing them).
 */
#ifndef JNY_ORDER_H
#define JNY_ORDER_H

#include "observe/fact.h"

typedef struct JnyOrderLine
{
	const char *line;
	const char *sku;
	const char *status;			/* placed, returned, cancelled */
	Datum		quantity;
	Datum		price;			/* 0 = unknown */
	TimestampTz changed_at;
	bool		announced;		/* order_line_placed was emitted, now or before */
	bool		stored;			/* in the table, under the order's old owner */
	bool		dirty;
} JnyOrderLine;

typedef struct JnyOrder
{
	JnyKey	   *key;			/* hash key, first */
	const char *scope;
	const char *order_id;
	const char *source;
	const char *status;			/* NULL: not known yet */
	const char *origin;
	const char *currency;
	const char *cart_id;
	const char *codes;			/* separated by newlines; NULL = none */
	Datum		amount;			/* 0 = unknown */
	TimestampTz placed_at;		/* 0 = not placed */
	TimestampTz cancelled_at;
	TimestampTz changed_at;
	int64		seq;
	Jsonb	   *props;
	List	   *lines;			/* of JnyOrderLine */
	bool		exists;
	bool		dirty;
} JnyOrder;

typedef struct JnyOrders
{
	HTAB	   *table;			/* NULL = none */
	int			n;
	int			max;
	JnyOrder  **order;
	List	   *recount;		/* of JnyProfile: an order left them, or was taken back */
} JnyOrders;

extern JnyOrder *jny_order_of(JnyTake *take, JnyFact *fact);
extern JnyOrderLine *jny_order_line_of(JnyOrder *order, const char *line);
extern void jny_order_recount(JnyTake *take, JnyProfile *profile);

/* The codes of an order one by one: its length, and *rest behind it; NULL behind the last. */
static inline const char *
jny_order_next_code(const char **rest, int *len)
{
	const char *code = *rest;

	if (code != NULL)
	{
		*len = (int) strcspn(code, "\n");
		*rest = code[*len] == '\0' ? NULL : code + *len + 1;
	}
	return code;
}

#endif							/* JNY_ORDER_H */
