/*
 * compile.c
 *		One rule, from text to executable states, under its owner's identity.
 *
 * Called by the cache (expr.c) on a miss. Names become Vars of a pseudo scan
 * tuple with one attribute per distinct name, so that no Params are needed and
 * one virtual slot feeds all clauses. The result lives in a context of its own
 * below CurrentMemoryContext; an error leaves nothing behind.
 *
 * Planning folds constants, which runs functions, and initialising checks the
 * right to execute them: both happen as the owner, in a security-restricted
 * context with a fixed search_path and UTC, so that the same text compiles to
 * the same rule in every session. No locks. Errors point into the rule's text.
 */
#include "interpret/rule.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "interpret/rulenames.h"

/* ---- identity -------------------------------------------------------------------- */

/* A text must not mean something else because a session likes other settings. */
static const char *const safe_settings[][2] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"TimeZone", "UTC"},
	{"DateStyle", "ISO, MDY"},
	{"IntervalStyle", "postgres"},
	{"standard_conforming_strings", "on"},
	{"backslash_quote", "safe_encoding"},
	{"transform_null_equals", "off"},
	{NULL, NULL}
};

void
jny_identity_enter(JnyIdentity *saved, Oid owner)
{
	GetUserIdAndSecContext(&saved->user, &saved->sec);
	saved->nest = 0;
	SetUserIdAndSecContext(owner, saved->sec | SECURITY_RESTRICTED_OPERATION |
						   SECURITY_LOCAL_USERID_CHANGE);
}

void
jny_identity_leave(JnyIdentity *saved)
{
	if (saved->nest > 0)
		AtEOXact_GUC(true, saved->nest);
	SetUserIdAndSecContext(saved->user, saved->sec);
}

static void
safe_session(JnyIdentity *saved)
{
	saved->nest = NewGUCNestLevel();
	for (int i = 0; safe_settings[i][0] != NULL; i++)
		jny_set(safe_settings[i][0], safe_settings[i][1]);
}

/* A rule must not have more rights than the people who may write rules. */
static void
check_owner(Oid owner)
{
	char	   *name = GetUserNameFromId(owner, false);

	if (superuser_arg(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("rules of superuser \"%s\" are not evaluated", name),
				 errdetail("A rule runs with the rights of its owner."),
				 errhint("Apply the document as a role that is not a superuser, for example a member of journey_admin.")));
	pfree(name);
}

/* ---- names ----------------------------------------------------------------------------- */

typedef struct Names
{
	int			n;
	int			room;
	JnyInput   *inputs;
} Names;

static Var *
name_var(ParseState *pstate, const char *name, int location)
{
	Names	   *names = pstate->p_ref_hook_state;
	JnyInput	input;
	Var		   *var;
	int			i;

	for (i = 0; i < names->n; i++)
		if (strcmp(names->inputs[i].name, name) == 0)
			break;
	if (i == names->n)
	{
		jny_vocabulary_resolve(name, location, pstate, &input);
		if (names->n == MaxTupleAttributeNumber)
			ereport(ERROR,
					(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
					 errmsg("a rule reads too many names"),
					 errhint("Split it into several rules.")));
		if (names->n == names->room)
		{
			names->room *= 2;
			names->inputs = repalloc(names->inputs, sizeof(JnyInput) * names->room);
		}
		names->inputs[names->n++] = input;
	}
	var = makeVar(1, i + 1, names->inputs[i].type, -1,
				  get_typcollation(names->inputs[i].type), 0);
	var->location = location;
	return var;
}

static Var *
now_var(ParseState *pstate, int location)
{
	return name_var(pstate, "now", location);
}

static Node *
column_hook(ParseState *pstate, ColumnRef *ref)
{
	StringInfoData name;
	ListCell   *lc;

	initStringInfo(&name);
	foreach(lc, ref->fields)
	{
		const char *field = strVal(lfirst(lc));

		if (name.len == 0 && strcmp(field, JNY_ORDER_ALIAS) == 0)
			field = JNY_ORDER_NAME;
		appendStringInfo(&name, "%s%s", name.len ? "." : "", field);
	}
	return (Node *) name_var(pstate, name.data, ref->location);
}

/* ---- analysis ---------------------------------------------------------------------------- */

typedef struct RuleText
{
	const char *source;
	bool		analyzing;
} RuleText;

/* Positions belong to the rule, not to the statement that asked for it. */
static void
point_into_rule(void *arg)
{
	RuleText   *rule = arg;
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(rule->source);
	}
}

static Node *
coerce_to_wanted(Node *node, Oid wanted, ParseState *pstate)
{
	Oid			type = exprType(node);
	Node	   *result;

	if (wanted == BOOLOID)
		return coerce_to_boolean(pstate, node, "a rule");
	if (!OidIsValid(wanted))
	{
		if (type != UNKNOWNOID)
			return node;
		wanted = TEXTOID;
	}
	result = coerce_to_target_type(pstate, node, type, wanted, -1, COERCION_ASSIGNMENT,
								   COERCE_IMPLICIT_CAST, -1);
	if (result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("this expression must give %s, not %s",
						format_type_be(wanted), format_type_be(type)),
				 errhint("Write a cast, for example (…)::%s.", format_type_be(wanted)),
				 parser_errposition(pstate, exprLocation(node))));
	return result;
}

static Node *
analyze(Node *raw, Oid wanted, ParseState *pstate, JnyPolicyWalk *walk)
{
	List	   *moments = jny_policy_moments(raw);
	Node	   *node;

	jny_rule_rewrite(raw, pstate);
	node = transformExpr(pstate, raw, EXPR_KIND_OTHER);
	node = coerce_to_wanted(node, wanted, pstate);
	assign_expr_collations(pstate, node);
	node = jny_policy_clock(node, pstate, now_var);
	memset(walk, 0, sizeof(*walk));
	walk->pstate = pstate;
	jny_policy_check(node, walk);
	jny_policy_literals(node, moments, pstate);
	return node;
}

/* ---- the compiled form ---------------------------------------------------------------------- */

static void
keep_names(JnyExpr *expr, const Names *names)
{
	TupleDesc	desc = CreateTemplateTupleDesc(names->n);

	expr->ninputs = names->n;
	expr->inputs = palloc0(sizeof(JnyInput) * Max(names->n, 1));
	for (int i = 0; i < names->n; i++)
	{
		JnyInput   *in = &expr->inputs[i];

		*in = names->inputs[i];
		in->name = pstrdup(in->name);
		if (in->field != NULL)
			in->field = pstrdup(in->field);
		expr->parts |= in->part;
		TupleDescInitEntry(desc, i + 1, NULL, in->type, -1, 0);
	}
	expr->slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	expr->read = palloc0(sizeof(bool) * Max(names->n, 1));
	/* All attributes are always set: unread ones are null. */
	memset(expr->slot->tts_isnull, true, sizeof(bool) * names->n);
	ExecStoreVirtualTuple(expr->slot);
}

typedef struct Analyzed
{
	Node	   *node;
	JnyPolicyWalk walk;
	Expr	   *planned;
	const char *text;
	bool		zoned;			/* the time zone matters */
} Analyzed;

/* Constants become parameters without a value and back again, by their place in the list. */
static Node *
hide_constants(Node *node, void *arg)
{
	List	  **constants = arg;
	Param	   *param;

	if (node == NULL || !IsA(node, Const))
		return node ? expression_tree_mutator(node, hide_constants, arg) : NULL;
	*constants = lappend(*constants, node);
	param = makeNode(Param);
	param->paramkind = PARAM_EXTERN;
	param->paramid = list_length(*constants);
	param->paramtype = exprType(node);
	param->paramtypmod = exprTypmod(node);
	param->paramcollid = exprCollation(node);
	param->location = -1;
	return (Node *) param;
}

static Node *
show_constants(Node *node, void *arg)
{
	if (node != NULL && IsA(node, Param))
		return list_nth(arg, ((Param *) node)->paramid - 1);
	return node ? expression_tree_mutator(node, show_constants, arg) : NULL;
}

static void
plan_clause(void *arg)
{
	Analyzed   *part = arg;

	part->planned = expression_planner((Expr *) part->node);
}

/*
 * Constant parts are computed once, here. One that cannot be computed, as 1/0,
 * is left for the evaluation, where failing means unknown: it may stand in a
 * branch that is never taken, and whoever explains the rule sees why.
 */
static Expr *
planned_clause(Analyzed *part)
{
	List	   *constants = NIL;
	ErrorData  *error;

	if (!part->walk.may_fail)
	{
		plan_clause(part);
		return part->planned;
	}
	error = jny_guard(plan_clause, part);
	if (error == NULL)
		return part->planned;
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION)
		ReThrowError(error);
	part->node = hide_constants(part->node, &constants);
	return (Expr *) show_constants((Node *) expression_planner((Expr *) part->node), constants);
}

static void
keep_clause(JnyExprClause *clause, Analyzed *part, int zone)
{
	Expr	   *planned = planned_clause(part);
	int			attno = -1;

	clause->text = pstrdup(part->text);
	clause->may_fail = part->walk.may_fail;
	clause->zoned = part->zoned;
	if (clause->zoned)
		part->walk.attnos = bms_add_member(part->walk.attnos, zone + 1);
	clause->inputs = palloc(sizeof(int) * Max(bms_num_members(part->walk.attnos), 1));
	while ((attno = bms_next_member(part->walk.attnos, attno)) >= 0)
		clause->inputs[clause->ninputs++] = attno - 1;
	clause->state = ExecInitExpr(copyObject(planned), NULL);
}


static JnyExpr *
keep(const char *source, Oid owner, Oid wanted, Analyzed *parts, int n, const Names *names, int zone)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "journey rule",
											  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	JnyExpr    *expr = palloc0(sizeof(JnyExpr));

	expr->cxt = cxt;
	expr->source = pstrdup(source);
	MemoryContextSetIdentifier(cxt, expr->source);
	expr->owner = owner;
	expr->wanted = wanted;
	expr->type = exprType(parts[0].node);
	expr->zone = zone;
	get_typlenbyval(expr->type, &expr->typlen, &expr->typbyval);
	keep_names(expr, names);
	expr->nclauses = n;
	expr->clauses = palloc0(sizeof(JnyExprClause) * n);
	for (int i = 0; i < n; i++)
	{
		keep_clause(&expr->clauses[i], &parts[i], zone);
		expr->user_functions |= parts[i].walk.user_functions;
		for (int k = 0; k < expr->clauses[i].ninputs; k++)
			expr->clauses[i].parts |= expr->inputs[expr->clauses[i].inputs[k]].part;
		/* functions of the house may read anything */
		if (parts[i].walk.user_functions)
			expr->clauses[i].parts = ~(uint32) 0;
	}
	if (expr->user_functions)
		expr->econtext = CreateStandaloneExprContext();
	MemoryContextSwitchTo(old);
	return expr;
}

/*
 * Compiles in two steps: all clauses are analyzed first, since they share one
 * pseudo row whose shape is known only then.
 */
static JnyExpr *
compile(const char *source, Oid owner, Oid wanted)
{
	JnyParsed	parsed;
	ParseState *pstate = make_parsestate(NULL);
	Names		names = {0, 8, palloc(sizeof(JnyInput) * 8)};
	Analyzed   *parts;
	bool		zoned = false;
	int			n = 0;
	ListCell   *raw;
	ListCell   *text;

	pstate->p_sourcetext = source;
	pstate->p_pre_columnref_hook = column_hook;
	pstate->p_ref_hook_state = &names;
	jny_rule_parse(source, wanted == BOOLOID, &parsed);
	parts = palloc0(sizeof(Analyzed) * list_length(parsed.clauses));
	forboth(raw, parsed.clauses, text, parsed.texts)
	{
		parts[n].node = analyze(lfirst(raw), wanted, pstate, &parts[n].walk);
		parts[n].text = lfirst(text);
		parts[n].zoned = contain_mutable_functions(parts[n].node);
		zoned |= parts[n].zoned;
		n++;
	}
	/* What depends on the time zone reads the person's, as one more input. */
	if (zoned)
		(void) name_var(pstate, "profile.zone", -1);
	for (int i = 0; zoned && i < names.n; i++)
		if (strcmp(names.inputs[i].name, "profile.zone") == 0)
			return keep(source, owner, wanted, parts, n, &names, i);
	return keep(source, owner, wanted, parts, n, &names, -1);
}

JnyExpr *
jny_expr_build(const char *source, Oid owner, Oid wanted)
{
	JnyIdentity identity;
	RuleText	rule = {source, true};
	ErrorContextCallback callback;
	MemoryContext tmp;
	MemoryContext old;
	JnyExpr    *expr;

	check_owner(owner);
	tmp = AllocSetContextCreate(CurrentMemoryContext, "journey rule compilation", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(tmp);
	callback.callback = point_into_rule;
	callback.arg = &rule;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	jny_identity_enter(&identity, owner);
	safe_session(&identity);

	expr = compile(source, owner, wanted);

	jny_identity_leave(&identity);
	error_context_stack = callback.previous;
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(expr->cxt, old);
	MemoryContextDelete(tmp);
	return expr;
}
