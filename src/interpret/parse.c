/*
 * parse.c
 *		From the text of a rule to the raw tree of one expression, and to its
 *		AND clauses in the author's words.
 *
 * Called by the compiler. PostgreSQL's grammar does the parsing, in the mode
 * made for PL/pgSQL expressions; that mode accepts whole query bodies
 * ("true FROM pg_class"), so everything but one target is refused here. All
 * memory is the caller's context. Errors: 42601 and 0A000 with the position.
 *
 * "order" is reserved in SQL but is a name of ours. The lexer finds it where a
 * dot follows and a spelling of the same length takes its place, so that no
 * position shifts.
 */
#include "interpret/rule.h"

#include <ctype.h>

#include "common/keywords.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_node.h"
#include "parser/parser.h"
#include "parser/scanner.h"

#include "interpret/rulenames.h"

/* ---- tokens ----------------------------------------------------------------- */

/* Keywords get numbers of our own, so that no grammar's token codes are needed. */
#define KEYWORD_BASE 20000

typedef struct Token
{
	int			code;			/* a character, or beyond KEYWORD_BASE a keyword */
	int			start;			/* byte offset */
} Token;

typedef struct Tokens
{
	const char *text;
	int			n;
	int			room;
	Token	   *tok;
} Tokens;

static uint16 *
keyword_tokens(void)
{
	uint16	   *codes = palloc(sizeof(uint16) * ScanKeywords.num_keywords);

	for (int i = 0; i < ScanKeywords.num_keywords; i++)
		codes[i] = KEYWORD_BASE + i;
	return codes;
}

static bool
is_keyword(const Token *t, const char *word)
{
	return t->code >= KEYWORD_BASE &&
		strcmp(GetScanKeyword(t->code - KEYWORD_BASE, &ScanKeywords), word) == 0;
}

static void
lex(const char *text, Tokens *tokens)
{
	core_yy_extra_type extra;
	core_yyscan_t scanner = scanner_init(text, &extra, &ScanKeywords, keyword_tokens());
	core_YYSTYPE value;
	YYLTYPE		at;
	int			code;

	tokens->text = text;
	tokens->n = 0;
	tokens->room = 64;
	tokens->tok = palloc(sizeof(Token) * tokens->room);
	while ((code = core_yylex(&value, &at, scanner)) != 0)
	{
		if (tokens->n == tokens->room)
		{
			tokens->room *= 2;
			tokens->tok = repalloc(tokens->tok, sizeof(Token) * tokens->room);
		}
		tokens->tok[tokens->n].code = code;
		tokens->tok[tokens->n++].start = at;
	}
	scanner_finish(scanner);
}

/* order.status becomes _ordr.status: same length, not reserved. */
static char *
unreserve(const char *source, const Tokens *tokens)
{
	char	   *text = pstrdup(source);

	for (int i = 0; i + 1 < tokens->n; i++)
		if (is_keyword(&tokens->tok[i], "order") && tokens->tok[i + 1].code == '.')
			memcpy(text + tokens->tok[i].start, JNY_ORDER_ALIAS, strlen(JNY_ORDER_ALIAS));
	return text;
}

/* ---- one expression ----------------------------------------------------------- */

static void
refuse_clause(Node *clause, const char *source)
{
	ParseState *pstate = make_parsestate(NULL);

	pstate->p_sourcetext = source;
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("a rule is one expression, not a query"),
			 errhint("Remove FROM, WHERE and all other clauses of a query."),
			 parser_errposition(pstate, clause ? exprLocation(clause) : -1)));
}

static Node *
first_of(List *list)
{
	return list != NIL ? linitial(list) : NULL;
}

/* last is where the last token starts: a word behind the expression becomes its label. */
static Node *
parse_one(const char *text, const char *source, int last)
{
	List	   *stmts = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *s = (SelectStmt *) linitial_node(RawStmt, stmts)->stmt;
	ResTarget  *target;

	Assert(list_length(stmts) == 1 && IsA(s, SelectStmt));
	if (s->distinctClause || s->intoClause || s->fromClause || s->whereClause ||
		s->groupClause || s->havingClause || s->windowClause || s->valuesLists ||
		s->sortClause || s->limitOffset || s->limitCount || s->lockingClause ||
		s->withClause || s->op != SETOP_NONE)
	{
		Node	   *where = first_of(s->fromClause);

		if (where == NULL)
			where = s->whereClause ? s->whereClause : s->limitCount;
		if (where == NULL)
			where = first_of(s->sortClause);
		refuse_clause(where, source);
	}
	if (s->targetList == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("a rule must not be empty"),
				 errhint("Write \"true\" for one that always holds.")));
	if (list_length(s->targetList) > 1)
		refuse_clause(lsecond(s->targetList), source);
	target = linitial_node(ResTarget, s->targetList);
	if (target->name != NULL)
	{
		ParseState *pstate = make_parsestate(NULL);

		pstate->p_sourcetext = source;
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("unexpected \"%s\" behind the expression", target->name),
				 errhint("A rule is one expression; join several with AND or OR."),
				 parser_errposition(pstate, last)));
	}
	return target->val;
}

static void
refuse_node(const char *what, Node *node, ParseState *pstate)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("a rule cannot contain %s", what),
			 errhint("A rule is an expression over the names of the vocabulary, with constants and functions."),
			 parser_errposition(pstate, exprLocation(node))));
}

/* Refuses early what would otherwise look up tables or be explained badly. */
static bool
refuse_walker(Node *node, void *context)
{
	ParseState *pstate = context;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_SubLink:
			refuse_node("a subquery", node, pstate);
			break;
		case T_ParamRef:
			refuse_node("a parameter", node, pstate);
			break;
		case T_SetToDefault:
			refuse_node("DEFAULT", node, pstate);
			break;
		case T_CurrentOfExpr:
			refuse_node("CURRENT OF", node, pstate);
			break;
		case T_ColumnRef:
			if (IsA(llast(((ColumnRef *) node)->fields), A_Star))
				refuse_node("*", node, pstate);
			break;
		case T_FuncCall:
			{
				FuncCall   *f = (FuncCall *) node;

				if (f->over || f->agg_filter || f->agg_order || f->agg_star ||
					f->agg_distinct || f->agg_within_group)
					refuse_node("aggregate or window functions", node, pstate);
				break;
			}
		case T_A_Indirection:
			{
				ListCell   *lc;

				foreach(lc, ((A_Indirection *) node)->indirection)
					if (IsA(lfirst(lc), A_Star))
						refuse_node("*", node, pstate);
				break;
			}
		case T_TypeName:
			{
				TypeName   *t = (TypeName *) node;

				if (t->pct_type || t->setof)
					refuse_node("%TYPE or SETOF", node, pstate);
				break;
			}
		default:
			break;
	}
	return raw_expression_tree_walker(node, refuse_walker, context);
}

/* ---- names in the shape of function calls ---------------------------------------- */

/*
 * source.age('shipments') is a name with an argument: its call is replaced,
 * in place, by a reference to the name source.age:shipments.
 */
static void
call_to_name(FuncCall *call, ParseState *pstate)
{
	int			location = call->location;
	ColumnRef  *ref = (ColumnRef *) call;
	A_Const    *arg;
	char	   *source;

	StaticAssertStmt(sizeof(FuncCall) >= sizeof(ColumnRef), "a call must have room for a name");
	arg = list_length(call->args) == 1 ? linitial(call->args) : NULL;
	if (arg == NULL || !IsA(arg, A_Const) || arg->isnull || nodeTag(&arg->val) != T_String)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("source.age takes the name of one source as a string"),
				 errhint("For example: source.age('shipments') > interval '2 hours'."),
				 parser_errposition(pstate, location)));
	source = strVal(&arg->val);
	memset(call, 0, sizeof(FuncCall));
	ref->type = T_ColumnRef;
	ref->fields = list_make2(makeString("source"), makeString(psprintf("age:%s", source)));
	ref->location = location;
}

/* score.lower('m', key): objects of later releases, called like functions. */
static void
refuse_later(FuncCall *call, ParseState *pstate)
{
	static const char *const later[] = {"score", "confidence", "subscriptions", "returns", "tickets", NULL};
	const char *schema = strVal(linitial(call->funcname));

	for (int i = 0; later[i] != NULL; i++)
		if (strcmp(schema, later[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("\"%s.%s\" is not served by this release of journey",
							schema, strVal(llast(call->funcname))),
					 errhint("The names that can be read are listed in journey.vocabulary (served)."),
					 parser_errposition(pstate, call->location)));
}

static bool
rewrite_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, FuncCall))
	{
		FuncCall   *call = (FuncCall *) node;

		if (list_length(call->funcname) == 2)
		{
			if (strcmp(strVal(linitial(call->funcname)), "source") == 0 &&
				strcmp(strVal(lsecond(call->funcname)), "age") == 0)
			{
				call_to_name(call, context);
				return false;
			}
			refuse_later(call, context);
		}
	}
	return raw_expression_tree_walker(node, rewrite_walker, context);
}

void
jny_rule_rewrite(Node *raw, ParseState *pstate)
{
	rewrite_walker(raw, pstate);
}

/* ---- clauses ------------------------------------------------------------------------ */

static int
depth_change(const Token *t)
{
	if (t->code == '(' || t->code == '[' || is_keyword(t, "case"))
		return 1;
	if (t->code == ')' || t->code == ']' || is_keyword(t, "end"))
		return -1;
	return 0;
}

/* Does the parenthesis at from close at the last token before to? */
static bool
is_wrapped(const Tokens *tokens, int from, int to)
{
	int			depth = 0;

	if (to - from < 2 || tokens->tok[from].code != '(')
		return false;
	for (int i = from; i < to; i++)
	{
		depth += depth_change(&tokens->tok[i]);
		if (depth == 0)
			return i == to - 1;
	}
	return false;
}

/* Token numbers of the ANDs that join the clauses; NIL when there are none. */
static List *
top_level_ands(const Tokens *tokens, int from, int to)
{
	List	   *ands = NIL;
	int			depth = 0;
	int			betweens = 0;

	for (int i = from; i < to; i++)
	{
		const Token *t = &tokens->tok[i];

		depth += depth_change(t);
		if (depth > 0)
			continue;
		if (is_keyword(t, "or"))
			return NIL;
		if (is_keyword(t, "between"))
			betweens++;
		else if (is_keyword(t, "and"))
		{
			if (betweens > 0)
				betweens--;
			else
				ands = lappend_int(ands, i);
		}
	}
	return ands;
}

/* The text of tokens from .. to-1, without the white space around it. */
static char *
words_of(const Tokens *tokens, int from, int to, const char *text)
{
	int			start = tokens->tok[from].start;
	int			end = to < tokens->n ? tokens->tok[to].start : (int) strlen(text);

	while (end > start && isspace((unsigned char) text[end - 1]))
		end--;
	return pnstrdup(text + start, end - start);
}

typedef struct Piece
{
	char	   *words;			/* the author's */
	char	   *text;			/* with names unreserved */
} Piece;

static List *
split(const Tokens *tokens, int from, int to, const char *source, List *pieces)
{
	int			inner_from = from;
	int			inner_to = to;
	List	   *ands;
	ListCell   *lc;
	Piece	   *piece;

	if (from >= to)
		return lappend(pieces, NULL);	/* cannot be: the grammar has accepted it */
	while (is_wrapped(tokens, inner_from, inner_to))
	{
		inner_from++;
		inner_to--;
	}
	ands = top_level_ands(tokens, inner_from, inner_to);
	if (ands != NIL)
	{
		foreach(lc, ands)
		{
			pieces = split(tokens, inner_from, lfirst_int(lc), source, pieces);
			inner_from = lfirst_int(lc) + 1;
		}
		return split(tokens, inner_from, inner_to, source, pieces);
	}
	piece = palloc(sizeof(Piece));
	piece->words = words_of(tokens, from, to, source);
	piece->text = words_of(tokens, from, to, tokens->text);
	return lappend(pieces, piece);
}

static List *
flatten_and(Node *node, List *args)
{
	ListCell   *lc;

	if (!IsA(node, BoolExpr) || ((BoolExpr *) node)->boolop != AND_EXPR)
		return lappend(args, node);
	foreach(lc, ((BoolExpr *) node)->args)
		args = flatten_and(lfirst(lc), args);
	return args;
}

/*
 * Splits the text with the lexer and believes the result only when the
 * grammar reads each piece as the same tree as in the whole.
 */
static bool
split_clauses(JnyParsed *parsed, const Tokens *tokens)
{
	List	   *args = flatten_and(parsed->raw, NIL);
	List	   *pieces = split(tokens, 0, tokens->n, parsed->source, NIL);
	ListCell   *arg;
	ListCell   *lc;

	if (list_length(args) < 2 || list_length(args) != list_length(pieces))
		return false;
	forboth(arg, args, lc, pieces)
	{
		Piece	   *piece = lfirst(lc);

		if (piece == NULL || !equal(parse_one(piece->text, piece->text, 0), lfirst(arg)))
			return false;
		parsed->texts = lappend(parsed->texts, piece->words);
	}
	parsed->clauses = args;
	return true;
}

void
jny_rule_parse(const char *source, bool wants_clauses, JnyParsed *parsed)
{
	Tokens		tokens;
	ParseState *pstate = make_parsestate(NULL);

	memset(parsed, 0, sizeof(*parsed));
	parsed->source = source;
	pstate->p_sourcetext = source;
	lex(source, &tokens);
	tokens.text = unreserve(source, &tokens);
	parsed->raw = parse_one(tokens.text, source, tokens.n > 0 ? tokens.tok[tokens.n - 1].start : -1);
	refuse_walker(parsed->raw, pstate);
	if (!wants_clauses || !split_clauses(parsed, &tokens))
	{
		parsed->clauses = list_make1(parsed->raw);
		parsed->texts = list_make1(words_of(&tokens, 0, tokens.n, source));
	}
}
