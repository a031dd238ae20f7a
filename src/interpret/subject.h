/*
 * subject.h
 *		What has been read about one subject; shared by the files subject*.c.
 */
#ifndef JNY_SUBJECT_H
#define JNY_SUBJECT_H

#include "interpret/interpret.h"

#include "utils/numeric.h"

typedef struct JnyConsentState
{
	const char *name;			/* channel_purpose */
	const char *state;
} JnyConsentState;

typedef struct JnySourceState
{
	const char *source;
	TimestampTz last_event_at;
} JnySourceState;

/* Datum 0 stands for null in the by-reference fields. */
struct JnySubjectParts
{
	uint32		loaded;			/* JNY_PART_ bits */

	bool		has_profile;
	Jsonb	   *traits;
	const char *zone;
	const char *locale;
	const char *stage;
	double		confidence;
	bytea	   *features;

	bool		has_cart;
	const char *cart_id;
	const char *cart_scope;
	const char *cart_status;
	const char *cart_currency;
	Datum		cart_items;
	Datum		cart_value;
	int64		cart_lines;
	TimestampTz cart_changed_at;
	const char *top_sku;
	const char *top_category;
	Datum		skus;
	Datum		categories;

	bool		has_order;
	const char *order_id;
	const char *order_status;
	const char *order_currency;
	const char *order_origin;
	Datum		order_amount;
	TimestampTz order_placed_at;	/* 0 = null */
	int64		order_lines;
	Datum		order_skus;
	Jsonb	   *order_props;

	int64		orders_count;
	Datum		orders_sum;
	TimestampTz orders_last_at; /* 0 = never */

	Jsonb	   *shipment;		/* its columns and props; NULL = none */
	Jsonb	   *returns;

	bool		has_product;
	const char *product_sku;
	const char *product_name;
	const char *product_category;
	const char *product_class;
	const char *product_currency;
	Datum		product_price;
	Datum		product_available;
	Datum		product_replenish_after;
	int			product_replenishable;	/* -1 = null */

	const char *session_id;		/* NULL = none */
	TimestampTz session_started_at;
	const char *first_referrer;
	const char *last_referrer;

	int64		tickets_open;
	int64		contacts_30d;

	int			nconsents;
	JnyConsentState *consents;
	int			nsources;
	JnySourceState *sources;
};

/* Which object the names speak of; NULL = none known. */
extern const char *jny_subject_scope(const JnySubjectContext *s);
extern const char *jny_subject_cart(const JnySubjectContext *s);
extern const char *jny_subject_order(const JnySubjectContext *s);
extern const char *jny_subject_session(const JnySubjectContext *s);
extern const char *jny_subject_shipment(const JnySubjectContext *s);
extern const char *jny_subject_sku(const JnySubjectContext *s);

/* subject_cart.c: one part of subjects that lack it; lines belong to the cart that was read. */
extern void jny_subjects_read_carts(JnySubjectContext **subjects, int n);
extern void jny_subjects_read_lines(JnySubjectContext **subjects, int n);

#endif							/* JNY_SUBJECT_H */
