/*
 * attach_spec.h
 *		An attachment as the capture trigger sees it: the mapping of its
 *		arguments, resolved against one relation. Private to capture.c and
 *		attach_spec.c.
 */
#ifndef JNY_ATTACH_SPEC_H
#define JNY_ATTACH_SPEC_H

#include "core/inbox.h"
#include "observe/capture.h"

#include "access/attnum.h"
#include "commands/trigger.h"
#include "utils/relcache.h"

typedef enum JnySpecKind
{
	JNY_SPEC_CUSTOMER,
	JNY_SPEC_PRODUCT,
	JNY_SPEC_STOCK,
	JNY_SPEC_CART,
	JNY_SPEC_CART_LINE,
	JNY_SPEC_ORDER,
	JNY_SPEC_ORDER_LINE,
	JNY_SPEC_CONSENT,
	JNY_SPEC_MESSAGE_EVENT,
	JNY_SPEC_SHIPMENT,
	JNY_SPEC_RETURN
} JnySpecKind;

/* How a column's value becomes text without a function that may fail. */
typedef enum JnyForm
{
	JNY_FORM_MISSING,			/* no such column any more */
	JNY_FORM_STRING,			/* text, varchar: its own bytes, cut by characters */
	JNY_FORM_PADDED,			/* char(n): as string, without the padding */
	JNY_FORM_BOOL,
	JNY_FORM_INT2,
	JNY_FORM_INT4,
	JNY_FORM_INT8,
	JNY_FORM_DATE,
	JNY_FORM_TIMESTAMP,
	JNY_FORM_TIMESTAMPTZ,
	JNY_FORM_PLAIN,				/* output function of a built-in scalar: cannot fail */
	JNY_FORM_STYLED,			/* the same, and it looks at the session's settings */
	JNY_FORM_MONEY,				/* as a number: what it prints depends on lc_monetary; guarded */
	JNY_FORM_ODD				/* any other output function: guarded */
} JnyForm;

typedef struct JnyColumn
{
	const char *name;
	AttrNumber	attno;
	JnyForm		form;
	bool		varlena;
	FmgrInfo	out;
} JnyColumn;

/* A canonical field: a column, with or without a value map, or a constant. */
typedef struct JnySpecField
{
	bool		present;
	int			col;			/* place in columns, -1 = constant */
	const char *constant;
	Jsonb	   *values;			/* NULL = a value stands for itself */
} JnySpecField;

typedef struct JnySpecKey
{
	const char *namespace;
	bool		personal;		/* false: a group's key, which says nothing about one person */
	bool		scoped;			/* the same value in another scope is another key */
	JnySpecField field;
} JnySpecKey;

typedef struct JnySpecConsent
{
	JnySpecField state;
	const char *channel;
	const char *purpose;
	Jsonb	   *props;			/* {"channel", "purpose"} of the fence */
} JnySpecConsent;

#define JNY_SPEC_KEYS (JNY_SUBJECT_KEYS + 2)	/* of a subject, its cart and its order */
#define JNY_SPEC_CONSENTS 16		/* of a customer; attach() refuses more */

typedef struct JnySpec
{
	Oid			trigger;		/* hash key, first */
	Oid			relid;
	bool		valid;			/* cleared by the relcache callback */
	MemoryContext cxt;			/* everything below */
	int			attachment;
	JnySpecKind		kind;
	const char *source;
	const char *scope;
	int			ncolumns;
	JnyColumn  *columns;
	AttrNumber	max_attno;
	bool		broken;			/* a mapped column is missing and people depend on it */
	int			nsubject;
	JnySpecKey *subject;
	JnySpecField key;			/* order or cart id */
	JnySpecField cart;			/* the cart an order came from */
	JnySpecField order;			/* shipment, return: the order it is of */
	JnySpecField milestone[3];	/* shipment, return: in the order in which they are reached */
	JnySpecField promised;		/* shipment */
	JnySpecField expected;		/* shipment */
	JnySpecField status;			/* order, order_line, shipment, return */
	JnySpecField state;			/* consent */
	JnySpecField channel;		/* consent */
	JnySpecField purpose;		/* consent */
	JnySpecField type;			/* message_event */
	JnySpecField action;		/* message_event */
	JnySpecField provider_ref;	/* message_event */
	int			quantity;		/* cart_line: place in columns, -1 = none */
	int			nconsents;
	JnySpecConsent *consents;	/* customer */
	bool		needs_settings;	/* some output function may look at DateStyle and the like */
	bool		delete_cancels; /* map: "on_delete": "cancelled" */
	bool		delete_revokes; /* map: "on_delete": "revoked" */
} JnySpec;

/*
 * The spec of this trigger on this relation, from the cache of the backend.
 * Valid until the next call; the relcache callback only marks it.
 */
extern JnySpec *jny_spec_of(Relation rel, Trigger *trigger);

/* The same, made in the current context from its parts; desc names the columns. */
extern JnySpec *jny_spec_make(int attachment, const char *kind, const char *source,
							  const char *scope, Jsonb *doc, TupleDesc desc);

#endif							/* JNY_ATTACH_SPEC_H */
