/*
 * policy.c
 *		What a rule may contain: a list of node types, of types, of functions.
 *
 * Called by the compiler on the analyzed tree, before anything of it is
 * planned, since planning runs immutable functions. What is not on a list is
 * refused with 0A000 and its position; volatility plays no part. Types and
 * collations are built-in ones only, so that a cast cannot run the CHECK of a
 * domain or the input function of a user's type; functions are those of
 * journey.allowed_function. Every function, type and operator that is seen is
 * remembered as a dependency of the compiled rules, before constant folding
 * could hide it.
 */
#include "interpret/rule.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_node.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/* ---- the clock ----------------------------------------------------------------- */

typedef struct ClockContext
{
	ParseState *pstate;
	Var		   *(*now) (ParseState *, int);
} ClockContext;

static Node *
clock_call(Oid function, Oid type, ClockContext *context, int location)
{
	Var		   *now = context->now(context->pstate, location);
	FuncExpr   *f = makeFuncExpr(function, type, list_make1(now), InvalidOid, InvalidOid,
								 COERCE_EXPLICIT_CAST);

	f->location = location;
	return (Node *) f;
}

static Node *
clock_value(SQLValueFunction *f, ClockContext *context)
{
	switch (f->op)
	{
		case SVFOP_CURRENT_TIMESTAMP:
			return (Node *) context->now(context->pstate, f->location);
		case SVFOP_CURRENT_DATE:
			return clock_call(F_DATE_TIMESTAMPTZ, DATEOID, context, f->location);
		case SVFOP_LOCALTIMESTAMP:
			return clock_call(F_TIMESTAMP_TIMESTAMPTZ, TIMESTAMPOID, context, f->location);
		case SVFOP_LOCALTIME:
			return clock_call(F_TIME_TIMESTAMPTZ, TIMEOID, context, f->location);
		default:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a rule cannot ask the session who or when it is in this way"),
					 errhint("The present moment is the name now."),
					 parser_errposition(context->pstate, f->location)));
	}
	return NULL;				/* not reached */
}

static Node *
clock_mutator(Node *node, void *arg)
{
	ClockContext *context = arg;

	if (node == NULL)
		return NULL;
	if (IsA(node, SQLValueFunction))
		return clock_value((SQLValueFunction *) node, context);
	if (IsA(node, FuncExpr))
	{
		FuncExpr   *f = (FuncExpr *) node;

		if (f->funcid == F_NOW || f->funcid == F_TRANSACTION_TIMESTAMP ||
			f->funcid == F_STATEMENT_TIMESTAMP || f->funcid == F_CLOCK_TIMESTAMP)
			return (Node *) context->now(context->pstate, f->location);
	}
	return expression_tree_mutator(node, clock_mutator, arg);
}

Node *
jny_policy_clock(Node *node, ParseState *pstate, Var *(*now) (ParseState *, int))
{
	ClockContext context = {pstate, now};

	return clock_mutator(node, &context);
}

/* ---- literals that mean another moment each time ------------------------------------ */

static bool
means_a_moment(const char *text)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday", NULL};

	for (int i = 0; words[i] != NULL; i++)
		for (const char *at = text; *at != '\0'; at++)
			if (pg_strncasecmp(at, words[i], strlen(words[i])) == 0)
				return true;
	return false;
}

static bool
literal_walker(Node *node, void *context)
{
	List	  **found = context;

	if (node == NULL)
		return false;
	if (IsA(node, A_Const))
	{
		A_Const    *c = (A_Const *) node;

		if (!c->isnull && nodeTag(&c->val) == T_String && means_a_moment(strVal(&c->val)))
			*found = lappend_int(*found, c->location);
		return false;
	}
	return raw_expression_tree_walker(node, literal_walker, context);
}

typedef struct LiteralContext
{
	ParseState *pstate;
	List	   *locations;
} LiteralContext;

static bool
is_moment_type(Oid type)
{
	Oid			element = get_element_type(type);

	switch (OidIsValid(element) ? element : type)
	{
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return true;
		default:
			return false;
	}
}

static bool
constant_walker(Node *node, void *arg)
{
	LiteralContext *context = arg;

	if (node == NULL)
		return false;
	if (IsA(node, Const))
	{
		Const	   *c = (Const *) node;

		if (is_moment_type(c->consttype) && list_member_int(context->locations, c->location))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("this literal would mean the moment at which the rule was compiled"),
					 errhint("Use the name now, for example now::date."),
					 parser_errposition(context->pstate, c->location)));
		return false;
	}
	return expression_tree_walker(node, constant_walker, arg);
}

List *
jny_policy_moments(Node *raw)
{
	List	   *locations = NIL;

	literal_walker(raw, &locations);
	return locations;
}

void
jny_policy_literals(Node *analyzed, List *moments, ParseState *pstate)
{
	LiteralContext context = {pstate, moments};

	if (moments != NIL)
		constant_walker(analyzed, &context);
}

/* ---- types ---------------------------------------------------------------------------- */

static bool
type_is_allowed(Oid type)
{
	Oid			element = get_element_type(type);

	switch (OidIsValid(element) ? element : type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case FLOAT4OID:
		case FLOAT8OID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case UNKNOWNOID:
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case INTERVALOID:
		case UUIDOID:
		case JSONBOID:
			return true;
		default:
			return false;
	}
}

static void
check_type(Oid type, Node *node, JnyPolicyWalk *walk)
{
	if (!type_is_allowed(type))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("type %s cannot be used in a rule", format_type_be(type)),
				 errhint("Rules know boolean, numbers, text, date and time types, uuid, jsonb and their arrays."),
				 parser_errposition(walk->pstate, exprLocation(node))));
	jny_rule_depends(TYPEOID, type);
}

static void
check_collation(Oid collation, Node *node, JnyPolicyWalk *walk)
{
	if (collation >= FirstNormalObjectId)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a rule cannot use a collation that is not built in"),
				 errhint("Use one of pg_catalog, such as COLLATE \"C\"."),
				 parser_errposition(walk->pstate, exprLocation(node))));
}

/* ---- functions ---------------------------------------------------------------------------- */

static void
check_function(Oid function, Node *node, JnyPolicyWalk *walk)
{
	char	   *signature = format_procedure(function);
	bool		never_fails;

	if (!jny_function_allowed(signature, &never_fails))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("function %s cannot be called by a rule", signature),
				 errhint("The functions are listed in journey.allowed_function; an administrator can add one with journey.allow_function()."),
				 parser_errposition(walk->pstate, exprLocation(node))));
	if (function >= FirstNormalObjectId)
		walk->user_functions = true;
	if (!never_fails || function >= FirstNormalObjectId)
		walk->may_fail = true;
	jny_rule_depends(PROCOID, function);
}

static void
check_operator(Oid operator, Oid function, Node *node, JnyPolicyWalk *walk)
{
	if (!OidIsValid(function))
		function = get_opcode(operator);
	if (operator >= FirstNormalObjectId)
		walk->user_functions = true;
	check_function(function, node, walk);
	jny_rule_depends(OPEROID, operator);
}

/* An input function may refuse its text; turning anything into text works. */
static void
check_cast_by_text(CoerceViaIO *cast, JnyPolicyWalk *walk)
{
	if (cast->resulttype != TEXTOID && cast->resulttype != VARCHAROID)
		walk->may_fail = true;
}

/* ---- the walk --------------------------------------------------------------------------------- */

static void
refuse(Node *node, JnyPolicyWalk *walk)
{
	const char *what = "this construct";

	switch (nodeTag(node))
	{
		case T_Aggref:
		case T_WindowFunc:
		case T_GroupingFunc:
			what = "aggregate or window functions";
			break;
		case T_SubLink:
			what = "a subquery";
			break;
		case T_CoerceToDomain:
			what = "a cast to a domain";
			break;
		case T_RowExpr:
		case T_RowCompareExpr:
			what = "rows";
			break;
		default:
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("a rule cannot contain %s", what),
			 errhint("A rule is an expression over the names of the vocabulary, with constants and functions."),
			 parser_errposition(walk->pstate, exprLocation(node))));
}

static void
check_node(Node *node, JnyPolicyWalk *walk)
{
	switch (nodeTag(node))
	{
		case T_Var:
			walk->attnos = bms_add_member(walk->attnos, ((Var *) node)->varattno);
			break;
		case T_FuncExpr:
			if (((FuncExpr *) node)->funcretset)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("a rule cannot contain functions that return sets"),
						 errhint("Compare with = ANY (array) instead."),
						 parser_errposition(walk->pstate, exprLocation(node))));
			check_function(((FuncExpr *) node)->funcid, node, walk);
			break;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			check_operator(((OpExpr *) node)->opno, ((OpExpr *) node)->opfuncid, node, walk);
			break;
		case T_ScalarArrayOpExpr:
			check_operator(((ScalarArrayOpExpr *) node)->opno,
						   ((ScalarArrayOpExpr *) node)->opfuncid, node, walk);
			break;
		case T_CoerceViaIO:
			check_cast_by_text((CoerceViaIO *) node, walk);
			break;
		case T_SubscriptingRef:
			if (((SubscriptingRef *) node)->refassgnexpr != NULL)
				refuse(node, walk);
			break;
		case T_Const:
		case T_NamedArgExpr:
		case T_BoolExpr:
		case T_RelabelType:
		case T_ArrayCoerceExpr:
		case T_CollateExpr:
		case T_CaseExpr:
		case T_CaseTestExpr:
		case T_ArrayExpr:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_NullTest:
		case T_BooleanTest:
			break;
		default:
			refuse(node, walk);
	}
}

static bool
policy_walker(Node *node, void *arg)
{
	JnyPolicyWalk *walk = arg;

	if (node == NULL)
		return false;
	if (!IsA(node, List) && !IsA(node, CaseWhen))
	{
		check_node(node, walk);
		check_type(exprType(node), node, walk);
		check_collation(exprCollation(node), node, walk);
		if (IsA(node, CollateExpr))
			check_collation(((CollateExpr *) node)->collOid, node, walk);
	}
	return expression_tree_walker(node, policy_walker, arg);
}

void
jny_policy_check(Node *node, JnyPolicyWalk *walk)
{
	policy_walker(node, walk);
}
