/*
 * interpret.h
 *		Features and rule expressions: pure functions from what is known to a
 *		verdict. No writes. Uses core only.
 *
 * An expression is SQL text over a documented vocabulary (journey.vocabulary,
 * docs/rules.md). It is compiled and evaluated as the role that owns the rule.
 * Verdicts have three values; whatever goes wrong at run time (a cast that
 * fails, a division by zero) is "unknown" with a message, never an error.
 */
#ifndef JNY_INTERPRET_H
#define JNY_INTERPRET_H

#include "core/batch.h"

#include "nodes/pg_list.h"

typedef enum JnyVerdict
{
	JNY_FALSE = 0,
	JNY_TRUE = 1,
	JNY_UNKNOWN = 2
} JnyVerdict;

/* What has to be loaded before a name can be read. */
#define JNY_PART_EVENT		(1 << 0)	/* the event at hand */
#define JNY_PART_PROFILE	(1 << 1)	/* traits, stage, features */
#define JNY_PART_CART		(1 << 2)
#define JNY_PART_LINES		(1 << 3)	/* of the cart */
#define JNY_PART_ORDER		(1 << 4)	/* one order and its lines */
#define JNY_PART_ORDERS		(1 << 5)	/* sums over all orders */
#define JNY_PART_PRODUCT	(1 << 6)
#define JNY_PART_CONSENT	(1 << 7)
#define JNY_PART_SOURCE		(1 << 8)	/* freshness of the sources */
#define JNY_PART_STOCK		(1 << 9)	/* of the product, at this moment */
#define JNY_PART_SESSION	(1 << 10)	/* one visit */
#define JNY_PART_TICKETS	(1 << 11)	/* counts of cases at the service desk */
#define JNY_PART_SHIPMENT	(1 << 12)
#define JNY_PART_RETURNS	(1 << 13)	/* sums over all returns */

/*
 * One name of the vocabulary that an expression reads, e.g. "event.step",
 * "cart.items", "profile.city", "orders_30d" (a feature), "stage", "now".
 */
typedef struct JnyInput
{
	const char *name;
	Oid			type;
	int			code;			/* for jny_subject_resolve */
	const char *field;			/* what stands for the * of a wildcard name, else NULL */
	uint32		part;			/* the JNY_PART_ it needs, 0 = none */
} JnyInput;

/* Gives the value of a name; called at most once per name and evaluation. */
typedef Datum (*JnyResolver) (void *arg, const JnyInput *input, bool *isnull);

typedef struct JnyExpr JnyExpr;

typedef struct JnyClause
{
	const char *clause;			/* the author's words */
	JnyVerdict	verdict;
	const char *error;			/* why evaluation failed (the verdict is then unknown), else NULL */
	Jsonb	   *values;			/* name -> value, of the names in this clause */
} JnyClause;

/*
 * Compiles (or finds in the backend's cache) the expression as the given
 * role. Raises 42601/42703/42883/42804/0A000/42501 with the position in the
 * text. result_type InvalidOid keeps the expression's own type. The result
 * stays valid until the next jny_expr_compile of any text, so call it before
 * each use: a hit in the cache costs less than a microsecond, and it notices
 * functions, names and features that changed.
 */
extern JnyExpr *jny_expr_compile(const char *source, Oid owner, Oid result_type);
/* NULL instead of an error; *error says why (a broken rule). */
extern JnyExpr *jny_expr_try(const char *source, Oid owner, Oid result_type, char **error);
extern int	jny_expr_inputs(JnyExpr *expr, const JnyInput **inputs);
/* The parts (JNY_PART_) that its names need: what to load for a whole batch. */
extern uint32 jny_expr_parts(JnyExpr *expr);
extern Oid	jny_expr_type(JnyExpr *expr);
/*
 * The result lives in the caller's memory context. A failure at run time
 * gives null (unknown); jny_expr_error() then has the message of the last
 * evaluation, NULL when there was none.
 */
extern Datum jny_expr_value(JnyExpr *expr, JnyResolver resolver, void *arg, bool *isnull);
extern JnyVerdict jny_expr_verdict(JnyExpr *expr, JnyResolver resolver, void *arg);
/*
 * False when a clause that reads nothing but these parts (and what needs none)
 * is false already, and with it the whole; else unknown.
 */
extern JnyVerdict jny_expr_foretell(JnyExpr *expr, uint32 parts, JnyResolver resolver, void *arg);
extern const char *jny_expr_error(JnyExpr *expr);
/* Verdict with each AND clause (List of JnyClause *) and, in inputs, the values it read. */
extern JnyVerdict jny_expr_explain(JnyExpr *expr, JnyResolver resolver, void *arg,
								   List **clauses, Jsonb **inputs);
/* A value of a vocabulary type as jsonb, e.g. to freeze entry data. */
extern Jsonb *jny_value_jsonb(Datum value, Oid type, bool isnull);
/* The same as a JsonbValue that pushJsonbValue() takes. */
extern void jny_value_to_json(Datum value, Oid type, bool isnull, JsonbValue *out);
/* A piece of jsonb as a value of a vocabulary type; null when it does not fit. */
extern Datum jny_json_to_value(JsonbValue *json, Oid type, bool *isnull);

/*
 * ---- the subject of a rule (subject.c) ---------------------------------
 *
 * Everything the vocabulary can speak of, for one person at one moment. Zero
 * it, set what is known, and pass it as the argument of jny_subject_resolve.
 * Tables are read when a name first needs them, once per subject, and kept in
 * cxt; a lap calls jny_subjects_load() first, one statement per part for all
 * its subjects. The caller is inside SPI_connect().
 *
 * cart.*		the cart cart_id; else of the event; else of the entry's cart_id;
 *				else the person's open cart that changed last
 * order.*		the order order_id; else of the event; else the last placed one
 * session.*	the visit of the event, else the one that was seen last
 * shipment.*	the shipment of the event, else entry.shipment_id, else of the key, else of the order, else the last
 * product.*	the product sku; else event.sku, entry.sku, entry.top_sku, key
 */
typedef struct JnySubjectParts JnySubjectParts;

typedef struct JnySubjectContext
{
	MemoryContext cxt;			/* for what is loaded; required */
	pg_uuid_t	profile_id;
	const JnyProfile *profile;	/* as the lap knows it; NULL: read from the tables */
	const JnyEvent *event;		/* NULL: event.* is unknown */
	const char *scope;			/* NULL: the event's, else 'default' */
	const char *cart_id;		/* NULL: see above */
	const char *order_id;
	const char *sku;
	const char *key;			/* of the enrollment; NULL = unknown */
	Jsonb	   *entry;			/* enrollment.data */
	Jsonb	   *steps;			/* enrollment.steps */
	TimestampTz now;			/* batch->node.now; required */
	JnySubjectParts *parts;		/* private; NULL = nothing loaded yet */
} JnySubjectContext;

extern Datum jny_subject_resolve(void *subject, const JnyInput *input, bool *isnull);
/* Loads parts for many subjects at once; those already loaded are left alone. */
extern void jny_subjects_load(JnySubjectContext **subjects, int n, uint32 parts);
/* Forget what was loaded (a new event changed it). */
extern void jny_subject_forget(JnySubjectContext *subject);
/* The profile that a subject's strongest known key belongs to. Inside SPI_connect(). */
extern bool jny_subject_find(Jsonb *subject, pg_uuid_t *profile_id);

/* ---- features ---------------------------------------------------------- */

/* Packed vector of one profile, changed by each event of the batch. */
extern void jny_features_update(JnyBatch *batch);
/*
 * Everything that follows from the event log and the table of orders, counted
 * anew for these people: features from the events of laps before before_lap
 * (batch->lap: those of this lap are still to come by jny_features_update();
 * PG_INT64_MAX: of all), events, orders and their times from what the tables
 * hold now. Changes features, events, orders, last_event_at, last_order_at and
 * dirty of each JnyProfile, in CurrentMemoryContext, and writes nothing. Equals
 * what is kept from lap to lap, whatever the order in which events came. A
 * person may be in the list once. Two statements, whatever n. Inside SPI_connect().
 */
extern void jny_profiles_recount(JnyProfile **profiles, int n, int64 before_lap);

/*
 * Features that are not yet counted for everybody: null until journey.feature_count
 * says that they are. What stands there is the worker's business (worker/count.c).
 */
typedef struct JnyFeatureToCount
{
	const char *name;
	uint64		number;			/* of its definition */
} JnyFeatureToCount;

extern int	jny_features_to_count(JnyFeatureToCount **features);
/*
 * Gives these people what their vectors lack, counted from the whole log; a
 * vector that lacks nothing becomes NULL. Inside SPI_connect().
 */
extern void jny_features_fill(const pg_uuid_t *ids, bytea **vectors, int n);

extern bool jny_feature_exists(const char *name, Oid *type);
/* Raises 22023 and friends when a document of kind feature cannot work. */
extern void jny_feature_check(Jsonb *doc, Oid owner);

#endif							/* JNY_INTERPRET_H */
