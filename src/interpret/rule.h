/*
 * rule.h
 *		What the files of the room interpret share: the vocabulary, the
 *		parser, the policy and the compiled form of an expression.
 */
#ifndef JNY_RULE_H
#define JNY_RULE_H

#include "interpret/interpret.h"

#include "lib/ilist.h"
#include "nodes/execnodes.h"
#include "nodes/primnodes.h"
#include "parser/parse_node.h"

/* ---- vocabulary.c ------------------------------------------------------ */

/*
 * Counts changes of the vocabulary, of the allowed functions, of features or
 * of a function that some compiled rule uses: what was compiled under an
 * older number is compiled again.
 */
extern uint64 jny_rule_generation(void);
/* The same for any function, type or operator: rules that use more than built-in functions. */
extern uint64 jny_rule_user_generation(void);
/* Loads what is missing or stale, as the present user; before any look-up below. */
extern void jny_vocabulary_refresh(void);
/* Fills input for a dotted name or raises 42703 (with the nearest name) or 0A000. */
extern void jny_vocabulary_resolve(const char *name, int location, ParseState *pstate, JnyInput *input);
/* Is the function, given as pg_catalog spells it, on the list? */
extern bool jny_function_allowed(const char *signature, bool *never_fails);
/* Remembers that some rule depends on this row of a system cache. */
extern void jny_rule_depends(int cache, Oid oid);

/* ---- parse.c ------------------------------------------------------------ */

typedef struct JnyParsed
{
	const char *source;			/* the author's text */
	Node	   *raw;			/* the one expression */
	List	   *clauses;		/* raw trees of the top-level AND; the whole when there is none */
	List	   *texts;			/* the author's words for each */
} JnyParsed;

/* Raw tree of exactly one expression, with the constructs refused that no rule may have. */
extern void jny_rule_parse(const char *source, bool split, JnyParsed *parsed);
/* Turns source.age('x') and the like into names; once per raw tree. */
extern void jny_rule_rewrite(Node *raw, ParseState *pstate);

/* ---- policy.c ----------------------------------------------------------- */

typedef struct JnyPolicyWalk
{
	ParseState *pstate;
	bool		may_fail;		/* some function may raise an error */
	bool		user_functions; /* some function is not built in */
	Bitmapset  *attnos;			/* attributes read */
} JnyPolicyWalk;

/* now(), current_timestamp and relatives become the name "now". */
extern Node *jny_policy_clock(Node *node, ParseState *pstate, Var *(*now) (ParseState *, int));
/* Raises 0A000 for whatever is not on the lists. */
extern void jny_policy_check(Node *node, JnyPolicyWalk *walk);
/* Where the raw tree has literals such as 'today'; before analysis, which changes the raw tree. */
extern List *jny_policy_moments(Node *raw);
/* Refuses those that became dates or times: they would be frozen when the rule is compiled. */
extern void jny_policy_literals(Node *analyzed, List *moments, ParseState *pstate);

/* ---- expr.c -------------------------------------------------------------- */

typedef struct JnyExprClause
{
	const char *text;
	ExprState  *state;
	bool		may_fail;
	bool		zoned;			/* the time zone matters */
	uint32		parts;			/* that its inputs need */
	int			ninputs;
	int		   *inputs;			/* indexes into JnyExpr.inputs */
} JnyExprClause;

struct JnyExpr
{
	uint64		hash;			/* key: of source, owner, wanted type */
	MemoryContext cxt;			/* holds everything below */
	const char *source;
	Oid			owner;
	Oid			wanted;
	Oid			type;
	int16		typlen;
	bool		typbyval;
	bool		user_functions;
	uint64		generation;
	uint64		user_generation;
	int			zone;			/* index of the input profile.zone when some clause is zoned, else -1 */
	int			ninputs;
	JnyInput   *inputs;
	uint32		parts;
	TupleTableSlot *slot;		/* pseudo row: one attribute per input */
	bool	   *read;			/* which of them this evaluation has resolved */
	ExprContext *econtext;		/* its own when it runs functions that are not built in */
	int			nclauses;
	JnyExprClause *clauses;
	char	   *error;			/* of the last evaluation; in cxt */
	Size		size;
	int			pins;			/* evaluations under way */
	dlist_node	lru;
};

/* Like jny_expr_try, with the whole error. */
extern JnyExpr *jny_expr_check(const char *source, Oid owner, Oid result_type, ErrorData **error);

/* rule_sql.c: whose rights a rule has that somebody tries by hand. */
extern Oid	jny_asking_role(void);

/* compile.c: a new JnyExpr in a context of its own, child of CurrentMemoryContext. */
extern JnyExpr *jny_expr_build(const char *source, Oid owner, Oid result_type);
/* Who was speaking before the rule's owner. */
typedef struct JnyIdentity
{
	Oid			user;
	int			sec;
	int			nest;			/* 0 = no settings were changed */
} JnyIdentity;
extern void jny_identity_enter(JnyIdentity *saved, Oid owner);
extern void jny_identity_leave(JnyIdentity *saved);

/* ---- subject.c ------------------------------------------------------------ */

/* How a vocabulary name is served; false when nobody can. */
extern bool jny_subject_bind(const char *pattern, JnyInput *input);
extern bool jny_subject_is_own(const char *name);

#endif							/* JNY_RULE_H */
