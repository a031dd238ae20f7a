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

typedef struct JnyMessage
{
	char	   *source;
	char	   *type;			/* canonical, or as given when nobody knows it */
	Jsonb	   *subject;
	Jsonb	   *props;			/* NULL = none */
	TimestampTz occurred_at;	/* 0 = not said */
	char	   *message_id;
	bool		backfill;
} JnyMessage;

typedef struct JnyFault
{
	int			sqlstate;
	char	   *reason;			/* as an error message */
	const char *hint;
} JnyFault;

/* Reads our own envelope or a Segment call; false and the fault when it is neither. */
extern bool jny_message_parse(Jsonb *json, JnyMessage *message, JnyFault *fault);

/* Checks a message and makes its row; keys is where row->keys points to. */
extern bool jny_message_row(JnyMessage *message, JnyInboxRow *row, JnyKeys *keys, JnyFault *fault);

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

/* Properties of other vocabularies under canonical names, beside their own. */
extern Jsonb *jny_canonical_props(Jsonb *props);

/* ISO 8601, without a zone UTC, or a date; never raises. */
extern bool jny_time_parse(const char *text, TimestampTz *result);

#endif							/* JNY_MESSAGE_H */
