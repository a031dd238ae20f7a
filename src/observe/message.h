/*
 * message.h
 *		A message from outside, checked and made into an inbox row.
 *
 * Nothing here raises on account of what a message says: a fault is an
 * answer, because one bad message must not fail the others of its batch.
 */
#ifndef JNY_MESSAGE_H
#define JNY_MESSAGE_H

#include "core/inbox.h"

#define JNY_MAX_NAME 256		/* bytes of a source, type or message id */
#define JNY_MAX_KEY 512			/* bytes of one key's value */
#define JNY_MAX_MESSAGE (1024 * 1024)	/* bytes of subject and properties */
#define JNY_MAX_ITEMS 200		/* products that one message may be about, as in GA4 */

typedef struct JnyMessage
{
	char	   *source;
	char	   *type;			/* canonical, or as given when nobody knows it */
	Jsonb	   *subject;
	Jsonb	   *props;			/* NULL = none */
	TimestampTz occurred_at;	/* 0 = not said */
	char	   *message_id;
	bool		backfill;
	bool		foreign;		/* props are another vocabulary's, whatever the type */
} JnyMessage;

typedef struct JnyFault
{
	int			sqlstate;
	char	   *reason;			/* as an error message */
	const char *hint;
} JnyFault;

/* Reads our own envelope, a CloudEvent, a Segment call or a GA4 payload; false and the fault when it is none of them. */
extern bool jny_message_parse(Jsonb *json, JnyMessage *message, JnyFault *fault);

/* The messages of a GA4 payload with several events, as Jsonb *; NIL = the json is one message. */
extern List *jny_message_parts(Jsonb *json);

/* Type and properties under canonical names. */
extern void jny_message_canonical(JnyMessage *message);

/*
 * The same message for each of the products that it lists although its type is
 * about one: an add_to_cart of GA4 may name several. jny_message_items() says
 * how many there are, 0 when it is no such message, -1 and the fault when too many.
 */
extern int jny_message_items(const JnyMessage *message, JnyFault *fault);
extern void jny_message_item(const JnyMessage *message, int i, JnyMessage *one);

/* Facts about products, signals and sent messages name no person themselves. */
extern bool jny_message_needs_subject(const JnyMessage *message);

/* Checks a message and makes its row; keys is where row->keys points to. */
extern bool jny_message_row(JnyMessage *message, JnyInboxRow *row, JnyKeys *keys, JnyFault *fault);

extern void jny_message_make_row(const JnyMessage *message, JnyInboxRow *row, JnyKeys *keys);

/* Adds the keys that an alias says were the person's before. */
extern void jny_message_alias(JnyKeys *keys, const char *type, Jsonb *props, const char *scope);

/* Adds the keys of the order and the cart that the properties name; returns the ref of the first, or NULL. */
extern const char *jny_message_objects(JnyKeys *keys, Jsonb *props, const char *scope);

/*
 * Of a message that has a fault: the row of what it says when that is an
 * opt-out, made of what can be read; false when it is none or names nobody.
 */
extern bool jny_message_opt_out(Jsonb *json, JnyInboxRow *row, JnyKeys *keys);

extern bool jny_fault(JnyFault *fault, int sqlstate, const char *hint, const char *fmt,...)
			pg_attribute_printf(4, 5);

/* The canonical name of an event that another vocabulary names otherwise; the name itself when none does. */
extern const char *jny_event_name(const char *name, bool *foreign);

/* "com.example.shop.order_placed" -> "order_placed"; a name whose last word we do not know stays as it is. */
extern const char *jny_event_without_prefix(const char *name);

/* Properties of other vocabularies under canonical names, beside their own. */
extern Jsonb *jny_canonical_props(Jsonb *props);

/* ISO 8601, without a zone UTC, or a date; never raises. */
extern bool jny_time_parse(const char *text, TimestampTz *result);

#endif							/* JNY_MESSAGE_H */
