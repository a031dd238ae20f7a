/*
 * interpret.h
 *		Features and rule expressions: pure functions from what is known to a
 *		verdict. No writes. Uses core only.
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

/*
 * One name of the vocabulary that an expression reads, e.g. "event.step",
 * "cart.items", "profile.city", "orders_30d" (a feature), "stage", "now".
 */
typedef struct JnyInput
{
	const char *name;
	Oid			type;
} JnyInput;

/* Gives the value of a name; called at most once per name and evaluation. */
typedef Datum (*JnyResolver) (void *arg, const JnyInput *input, bool *isnull);

typedef struct JnyExpr JnyExpr;

typedef struct JnyClause
{
	const char *clause;			/* the author's words */
	JnyVerdict	verdict;
} JnyClause;

/*
 * Compiles (or finds in the backend's cache) the expression as the given
 * role. Raises 42601/42703/42883/0A000 with the position in the text. The
 * result stays valid until the next jny_expr_compile of any text.
 */
extern JnyExpr *jny_expr_compile(const char *source, Oid owner, Oid result_type);
/* False instead of an error; *error says why (a broken rule). */
extern JnyExpr *jny_expr_try(const char *source, Oid owner, Oid result_type, char **error);
extern int	jny_expr_inputs(JnyExpr *expr, const JnyInput **inputs);
extern Datum jny_expr_value(JnyExpr *expr, JnyResolver resolver, void *arg, bool *isnull);
extern JnyVerdict jny_expr_verdict(JnyExpr *expr, JnyResolver resolver, void *arg);
/* Verdict with each AND clause and, in inputs, the values it read. */
extern JnyVerdict jny_expr_explain(JnyExpr *expr, JnyResolver resolver, void *arg,
								   List **clauses, Jsonb **inputs);

/* Features: packed vector of one profile, changed by each event of the batch. */
extern void jny_features_update(JnyBatch *batch);
/* Value of a feature at an instant; *type is its type; isnull when unknown. */
extern Datum jny_feature_value(bytea *features, const char *name, TimestampTz at, Oid *type, bool *isnull);
extern bool jny_feature_exists(const char *name, Oid *type);

#endif							/* JNY_INTERPRET_H */
