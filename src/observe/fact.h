/*
 * fact.h
 *		What observe's own files share: one lap's facts on their way from inbox
 *		rows to events.
 *
 * The order of work, each step set-based for the whole batch:
 *	decode	   rows -> facts (what a row says; nobody known yet)
 *	dedupe	   facts whose message was seen before are dropped
 *	identity   facts get their person
 *	state	   facts change consent, contact points, catalogue, carts, orders
 *			   and messages in memory, in order, and emit events
 *	write	   every table once
 * Included by observe/ only. Everything lives in the batch's context.
 *
 * Rows of our tables are read and written by key (core/table.h); what is left
 * of statements is rare. They say unnest($1, $2 ...) without a schema: the
 * parser knows that form of several arrays by its bare name alone and takes
 * pg_catalog's.
 */
#ifndef JNY_FACT_H
#define JNY_FACT_H

#include "core/batch.h"
#include "core/inbox.h"
#include "core/table.h"
#include "core/value.h"
#include "observe/window.h"

#include "catalog/pg_type.h"
#include "utils/numeric.h"

/* What a captured row is a row of; JNY_KIND_EVENT is a sent event. */
typedef enum JnyKind
{
	JNY_KIND_EVENT,
	JNY_KIND_ACTION,
	JNY_KIND_CUSTOMER,
	JNY_KIND_PRODUCT,
	JNY_KIND_STOCK,
	JNY_KIND_CART,
	JNY_KIND_CART_LINE,
	JNY_KIND_ORDER,
	JNY_KIND_ORDER_LINE,
	JNY_KIND_CONSENT,
	JNY_KIND_MESSAGE,
	JNY_KIND_SHIPMENT,
	JNY_KIND_RETURN,
	JNY_KIND_OTHER
} JnyKind;

/* Canonical fields of a captured row. The names are in decode_map.c, in this order. */
typedef enum JnyField
{
	JNY_F_KEY, JNY_F_STATUS, JNY_F_AMOUNT, JNY_F_CURRENCY, JNY_F_AT, JNY_F_SKU,
	JNY_F_QUANTITY, JNY_F_PRICE, JNY_F_CART, JNY_F_ORDER, JNY_F_LINE, JNY_F_ORIGIN,
	JNY_F_NAME, JNY_F_CATEGORY, JNY_F_CLASS, JNY_F_AVAILABLE, JNY_F_COST,
	JNY_F_REPLENISHABLE, JNY_F_REPLENISH_AFTER, JNY_F_CHANNEL, JNY_F_PURPOSE,
	JNY_F_STATE, JNY_F_BASIS, JNY_F_PROOF, JNY_F_EXPIRES, JNY_F_TYPE, JNY_F_ACTION,
	JNY_F_PROVIDER_REF, JNY_F_REASON, JNY_F_ZONE, JNY_F_LOCALE, JNY_F_CODES,
	JNY_F_MACHINE, JNY_F_EMAIL, JNY_F_PHONE, JNY_F_PUSH,
	JNY_F_PROMISED, JNY_F_EXPECTED, JNY_F_SHIPPED, JNY_F_READY, JNY_F_DELIVERED,
	JNY_F_REQUESTED, JNY_F_APPROVED, JNY_F_RECEIVED,
	JNY_NFIELDS
} JnyField;

#define JNY_FIELD_BIT(field) (UINT64CONST(1) << (field))
StaticAssertDecl(JNY_NFIELDS <= 64, "a fact's mapped fields are the bits of one word");

/* A namespace of subject keys, as registered. */
typedef struct JnySpace
{
	const char *name;
	enum {JNY_CLASS_PERSON, JNY_CLASS_SESSION, JNY_CLASS_OBJECT, JNY_CLASS_OTHER} class;
	int			rank;
	bool		crosses_scopes;
	bool		merges;			/* two people who share a key become one */
	double		confidence;
} JnySpace;

/* One key of the batch; every fact that carries it points to the same one. */
typedef struct JnyKey
{
	struct
	{
		int64		hash;
		const JnySpace *space;
	}			id;				/* hash key, first */
	const char *value;			/* normalised, scope-prefixed where the space does not cross scopes */
	const char *source;			/* that said whose it is; until then, that brought it */
	bool		known;			/* has a person, stored or made in this lap */
	bool		found;			/* its row exists */
	bool		stored;			/* as it stands; else to be written */
	pg_uuid_t	owner;
	JnyProfile *profile;		/* of owner, once loaded */
	JnyProfile *stored_at;		/* an object's: under whom its state is stored now; NULL = nowhere */
	const char *method;			/* how it came to its person; NULL = created, or came with another key */
	double		confidence;		/* when there is a method */
	bool		asked;			/* whether it was forgotten, or needs no asking: see forget.c */
	int64		forgotten;		/* position at which somebody with this key was erased; 0 = nobody was */
} JnyKey;

/* A consent that a row states. */
typedef struct JnyConsent
{
	const char *channel;
	const char *purpose;
	const char *state;
	const char *basis;
	Jsonb	   *proof;
	TimestampTz at;
	TimestampTz expires_at;		/* 0 = never */
	bool		local;			/* at was told without a zone: read as UTC, it may be off by a day and more */
	bool		weak;			/* back-filled without a time of its own: never beats a known statement, unless it takes rights away */
	const struct JnyConsent *before;	/* an UPDATE of its terms alone, which were these: the state is not said again */
} JnyConsent;

typedef struct JnyFact
{
	int64		seq;
	int64		place;			/* where it is applied: seq, or earlier within its transaction */
	FullTransactionId xact;
	char		op;
	JnyKind		kind;
	const char *type;			/* of a sent event; of a captured row, what its fence says */
	const char *source;
	bool		trusted;		/* the source: its word may grant consent and link keys */
	const char *scope;
	const char *message_id;
	TimestampTz received_at;
	TimestampTz occurred_at;
	bool		timed;			/* occurred_at is the row's own */
	bool		local;			/* and was told without a zone */
	bool		backfill;
	bool		late;
	char		fence;
	const char *ref;
	bool		fence_given;	/* an event took the fence along */
	Jsonb	   *subject;
	Jsonb	   *props;			/* sent, or the extra columns of the map; NULL = none */
	int			nkeys;
	JnyKey	   *keys[JNY_SUBJECT_KEYS]; /* strongest first; objects not among them */
	JnyKey	   *was_account;	/* of an alias: what it says was the person's before, read as an account's id and */
	JnyKey	   *was_session;	/* as a browser's: one of them goes */
	JnyKey	   *cart;
	JnyKey	   *order;
	JnyKey	   *parcel;
	const char *cart_id;
	const char *order_id;
	const char *parcel_id;
	JnyKind		parcel_kind;	/* JNY_KIND_SHIPMENT or JNY_KIND_RETURN: a row of one or an event about one; else JNY_KIND_EVENT */
	bool		has_action;
	pg_uuid_t	action_id;
	const char *provider_ref;
	const char **f;				/* captured row: new values, or old ones of a DELETE; by JnyField */
	const char **old;			/* UPDATE: old values */
	bool		has_old;
	bool		other_subject;	/* UPDATE: its subject is not what it was */
	bool		unmapped;		/* status had no mapping; f[STATUS] is the shop's word */
	uint64		mapped;			/* JNY_FIELD_BIT of each field that the map has at all */
	int			attachment;
	bool		fence_only;		/* no event: its fence counts, nothing else */
	bool		opts_out;		/* bad, and takes consent away: that counts, too */
	bool		truncate;
	/* of an action's outcome */
	bool		has_enrollment;
	pg_uuid_t	enrollment_id;
	bool		has_owner;		/* profile_id is the person: found through an action */
	pg_uuid_t	profile_id;
	const char *step;
	int			visit;
	const char *reason;
	const char *journey;
	Jsonb	   *traits;
	List	   *consents;		/* of JnyConsent */
	JnyInboxRaw *raw;
	const char *attachment_name;	/* schema.table, for messages */
	const char *on_delete;		/* what a DELETE means: an order's canonical status, revoked consents; NULL = nothing */
	const char *bad;			/* why it cannot be taken; NULL = fine */
	bool		drop;
	JnyProfile *profile;
	int			nothers;
	JnyProfile **others;
	/* of the action's message, found by engagement.c */
	const char *channel;
	/* lines of the same transaction, on the order that opens it */
	List	   *lines;			/* of JnyFact */
	struct JnyFact *first;		/* of its row, when a row gives several */
} JnyFact;

static inline bool
jny_fact_maps(const JnyFact *fact, JnyField field)
{
	return (fact->mapped & JNY_FIELD_BIT(field)) != 0;
}

/* The lap's workspace. */
typedef struct JnyTake
{
	JnyBatch   *batch;
	int			nfacts;
	int			maxfacts;
	JnyFact   **facts;
	int			nfresh;			/* facts that are made and not yet in use */
	JnyFact    *fresh;
	int			maxevents;
	HTAB	   *keys;			/* JnyKey by id */
	int			nspaces;
	JnySpace   *spaces;
	HTAB	   *types;			/* event types that were asked for: in the vocabulary? */
	HTAB	   *maps;			/* JnyMap by attachment (decode.h) */
	/* each of the following belongs to the file of its name */
	struct JnyTally *tally;
	struct JnyPeople *people;
	HTAB	   *links;			/* NULL = nobody is linked */
	HTAB	   *wishes;			/* NULL = nobody is to be merged */
	JnyCols    *forgotten;		/* NULL = nobody has come back who was erased */
	JnyCols    *forgotten_objects;	/* carts and orders of what was dropped; NULL = none */
	bool		opted_out_early;	/* people who are new here have consents already */
	struct JnyContacts *contacts;
	struct JnyConsents *consents;
	struct JnyProducts *products;
	struct JnyCarts *carts;
	struct JnyOrders *orders;
	struct JnyParcels *parcels;
	struct JnyMessages *messages;
} JnyTake;

/* value.c: conversions that answer false instead of raising */
extern bool jny_value_interval(const char *text, Interval **out);
extern bool jny_value_uuid(const char *text, pg_uuid_t *out);
extern bool jny_value_bool(const char *text, bool *out);
extern bool jny_value_zone(const char *text);
extern bool jny_value_fits(const char *text);	/* short enough to be part of an index key */
extern Datum jny_num_add(Datum a, Datum b);
extern Datum jny_num_sub(Datum a, Datum b);
extern Datum jny_num_mul(Datum a, Datum b);
extern int	jny_num_cmp(Datum a, Datum b);
extern Datum jny_num_int(int64 n);
extern Datum jny_num_text(const char *text);	/* 0 when it is none */
extern Datum jny_num_field(Jsonb *props, const char *name);	/* 0 when there is none */

/* A jsonb object under construction. */
typedef struct JnyObject
{
	struct JsonbParseState *state;
} JnyObject;

extern void jny_object_begin(JnyObject *o);
extern void jny_object_put(JnyObject *o, const JsonbValue *key, JsonbValue *value);
extern void jny_object_all(JnyObject *o, Jsonb *from);	/* every field of an object; NULL allowed */
extern Jsonb *jny_object_empty(void);
extern Jsonb *jny_object_merged(Jsonb *known, Jsonb *news);	/* the fields of both, the news before the known; NULL allowed */
extern void jny_object_text(JnyObject *o, const char *key, const char *value);	/* NULL = left out */
extern void jny_object_number(JnyObject *o, const char *key, Datum numeric);	/* 0 = left out */
extern void jny_object_bool(JnyObject *o, const char *key, bool value);
extern void jny_object_json(JnyObject *o, const char *key, Jsonb *value);	/* NULL = left out */
extern Jsonb *jny_object_end(JnyObject *o);

/* workspace.c: the lap's tables in memory, and rows on their way out */
extern void jny_take_begin(JnyTake *take, JnyBatch *batch);
extern HTAB *jny_table(const JnyTake *take, const char *name, Size key, Size entry);
extern HTAB *jny_table_of_names(const JnyTake *take, const char *name, Size entry);	/* key: a const char *, first */

/*
 * Rows for one table, begun with the first. With portions, every few hundred
 * are written as they come, so that what a lap writes need not be in memory
 * all at once.
 */
typedef struct JnyOut
{
	JnyAccess  *access;
	JnyCols    *cols;
	bool		portions;
	MemoryContext cxt;			/* of a portion */
} JnyOut;

extern JnyCols *jny_out(JnyOut *out);	/* to set the next row in */
extern void jny_out_write(JnyOut *out);
extern Datum jny_row_number(const JnyRow *row, int col);	/* 0 for null */

/* take.c */
/* stale.c: marks rows that back-fill read and the shop has changed since. */
extern void jny_stale_mark(struct JnyWindow *window);
extern void jny_take_note_broken(const struct JnyWindow *window);

/* decode.c: rows to facts, in the order in which they are to be applied */
extern void jny_decode(JnyTake *take);
extern void jny_mark_copied(JnyInboxRaw *row);	/* fence, ref and keys, as track() would have made them */

/* registry.c: namespaces and vocabulary as they are registered */
extern void jny_registry_load(JnyTake *take);
extern bool jny_type_is_known(JnyTake *take, const char *type);

/* link.c */
/* Whom the fact names together; the owners that its order and its cart had before it, NULL = none. */
extern void jny_link_people(JnyTake *take, const JnyFact *fact, JnyProfile *of_order, JnyProfile *of_cart);
extern void jny_link_write(JnyTake *take);

/* forget.c: people who were erased */
extern void jny_forget_find(JnyTake *take);
extern bool jny_forget_drops(JnyTake *take, const JnyFact *fact);
extern void jny_forget_suppress(JnyTake *take, const JnyFact *fact, JnyKey *key);
extern void jny_forget_write(JnyTake *take);

/* wish.c: people who turn out to be one. False when the key makes nobody one, or its source is not believed. */
extern bool jny_wish_merge(JnyTake *take, const JnyFact *fact, const JnyKey *key);
/* By a link in a message: a browser is that of whom the message was sent to. */
extern void jny_wish_by_click(JnyTake *take, JnyFact *fact);
extern void jny_wish_write(JnyTake *take);
/* Who was merged since an action was sent answers to another id: facts that were found through one. */
extern void jny_wish_aliases(JnyTake *take);
/* alias.c */
extern void jny_alias_settle(JnyFact *fact);

/* identity.c */
extern void jny_dedupe(JnyTake *take);
extern void jny_identify(JnyTake *take);
extern void jny_identity_write(JnyTake *take);

/*
 * State, in the order of flow. *_load reads what the facts will change,
 * *_apply changes it in memory and emits events, *_write writes every table
 * once.
 */
extern JnyEvent *jny_emit(JnyTake *take, JnyFact *fact, const char *type, Jsonb *props);
/* Its status now puts an object into this stage, and put it into that one before: a row of its history. */
extern void jny_object_moved(JnyTake *take, const JnyFact *fact, const JnyProfile *profile, const char *object,
							 const char *from, const char *to, const char *status);
extern void jny_person_apply(JnyTake *take, JnyFact *fact);
extern void jny_person_changed(JnyTake *take, JnyProfile *profile);
extern void jny_person_write(JnyTake *take);
extern void jny_contact_apply(JnyTake *take, JnyFact *fact);
extern void jny_contact_write(JnyTake *take);
extern void jny_consent_read(void);
/* early_optout.c: what people with keys that are new here had said before */
extern void jny_early_opt_outs(JnyTake *take);

extern bool jny_consent_takes_away(const JnyFact *fact);
extern void jny_consent_date(JnyFact *fact, TimestampTz came);
extern void jny_consent_load(JnyTake *take);
extern void jny_consent_apply(JnyTake *take, JnyFact *fact);
extern void jny_consent_write(JnyTake *take);
extern void jny_product_apply(JnyTake *take, JnyFact *fact);
extern void jny_product_write(JnyTake *take);
extern void jny_cart_load(JnyTake *take);
extern void jny_cart_apply(JnyTake *take, JnyFact *fact);
extern void jny_cart_ordered(JnyTake *take, JnyFact *fact, const char *order_id);
extern void jny_cart_write(JnyTake *take);
extern void jny_order_load(JnyTake *take);
extern void jny_order_apply(JnyTake *take, JnyFact *fact);
extern void jny_order_write(JnyTake *take);
extern void jny_session_write(JnyTake *take);
/* A parcel's milestone moves its order forward, never back, and is never illegal. */
extern void jny_order_follow(JnyTake *take, JnyFact *fact, const char *status);
extern void jny_parcel_load(JnyTake *take);
extern void jny_parcel_apply(JnyTake *take, JnyFact *fact);
extern void jny_parcel_write(JnyTake *take);
extern void jny_message_find(JnyTake *take);
extern bool jny_message_opts_out(const JnyFact *fact);
extern const char *jny_message_channel(const JnyFact *fact);	/* NULL = not known */
extern void jny_message_apply(JnyTake *take, JnyFact *fact);
extern void jny_message_write(JnyTake *take);
extern bool jny_message_counts(const JnyFact *fact);
extern Jsonb *jny_message_props(const JnyFact *fact);
extern void jny_message_orphan(JnyTake *take, const char *source);

/* early.c: message events whose message is not known yet are kept; those whose is by now go through the inbox again. */
extern void jny_early_keep(JnyTake *take);
extern void jny_early_call(JnyTake *take);
extern void jny_early_look(JnyBatch *batch);

/* tally.c: what is counted, reported and set aside */
extern void jny_tally_fact(JnyTake *take, JnyFact *fact);
extern void jny_tally_type(JnyTake *take, const char *type);
extern void jny_tally_incident(JnyTake *take, const char *kind, const char *name,
							   const char *severity, const char *message, const char *hint);
extern void jny_tally_quarantine(JnyTake *take, const JnyInboxRaw *row, const char *sqlstate, const char *reason);
extern void jny_tally_write(JnyTake *take);

#endif							/* JNY_FACT_H */
