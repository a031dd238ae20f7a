/*
 * expr.c
 *		Compiled rules: the backend's cache of them, and their evaluation.
 *
 * Called by orchestrate, features and the SQL functions. The cache is keyed by
 * text, owner and wanted type, and bounded by journey.rule_cache (least
 * recently used first). A rule is rebuilt from its text when anything that it
 * depends on may have changed; invalidations only count, entries are freed at
 * the next jny_expr_compile(), and one that is being evaluated only after that:
 * reading a name may compile other rules (a feature counted from the log).
 *
 * What goes wrong at run time must not abort a lap, and an error may be caught
 * only in a subtransaction. Most clauses cannot fail at all: their functions
 * are marked never_fails in journey.allowed_function (comparisons, text and
 * null tests), and those run bare. A clause with anything else in it (casts
 * from text, arithmetic, patterns) runs in an internal subtransaction, which
 * takes no transaction id and costs about a microsecond. The clause is then
 * unknown and the message is kept. Cancellation, lack of resources, internal
 * and serialization errors are passed on.
 *
 * Evaluation happens as the rule's owner; where the time zone matters the
 * session's is set to profile.zone (UTC when unknown), which is then an input
 * like any other.
 */
#include "interpret/rule.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* ---- cache --------------------------------------------------------------------- */

typedef struct CacheSlot
{
	uint64		hash;			/* hash key */
	JnyExpr    *expr;
} CacheSlot;

static HTAB *cache = NULL;
static dlist_head lru = DLIST_STATIC_INIT(lru); /* most recently used first */
static dlist_head dropped = DLIST_STATIC_INIT(dropped);
static Size cache_size = 0;
static ExprContext *shared_econtext = NULL;

static void
start_cache(void)
{
	HASHCTL		ctl = {0};
	MemoryContext old;

	ctl.keysize = sizeof(uint64);
	ctl.entrysize = sizeof(CacheSlot);
	cache = hash_create("journey rules", 128, &ctl, HASH_ELEM | HASH_BLOBS);
	/* For the whole backend: what rules compute on the way is reset each time. */
	old = MemoryContextSwitchTo(CacheMemoryContext);
	shared_econtext = CreateStandaloneExprContext();
	MemoryContextSwitchTo(old);
}

static void
release(JnyExpr *expr)
{
	if (expr->econtext != NULL)
		FreeExprContext(expr->econtext, true);
	MemoryContextDelete(expr->cxt);
}

static void
forget(JnyExpr *expr)
{
	dlist_delete(&expr->lru);
	cache_size -= expr->size;
	hash_search(cache, &expr->hash, HASH_REMOVE, NULL);
	dlist_push_head(&dropped, &expr->lru);
}

/* What fell out of the cache while it was being evaluated lives until now. */
static void
release_dropped(void)
{
	dlist_mutable_iter it;

	dlist_foreach_modify(it, &dropped)
	{
		JnyExpr    *expr = dlist_container(JnyExpr, lru, it.cur);

		if (expr->pins > 0)
			continue;
		dlist_delete(&expr->lru);
		release(expr);
	}
}

static void
make_room(void)
{
	Size		limit = (Size) jny_rule_cache_kb * 1024;

	while (cache_size > limit && !dlist_is_empty(&lru))
		forget(dlist_container(JnyExpr, lru, dlist_tail_node(&lru)));
}

static bool
is_current(const JnyExpr *expr)
{
	return expr->generation == jny_rule_generation() &&
		(!expr->user_functions || expr->user_generation == jny_rule_user_generation()) &&
		!superuser_arg(expr->owner);
}

static JnyExpr *
build(const char *source, Oid owner, Oid result_type, uint64 hash)
{
	uint64		generation;
	uint64		user_generation;
	JnyExpr    *expr;
	CacheSlot  *entry;

	jny_vocabulary_refresh();
	/* Taken before: what changes while we compile makes the result stale. */
	generation = jny_rule_generation();
	user_generation = jny_rule_user_generation();
	expr = jny_expr_build(source, owner, result_type);
	expr->generation = generation;
	expr->user_generation = user_generation;
	expr->hash = hash;
	make_room();
	release_dropped();
	entry = hash_search(cache, &hash, HASH_ENTER, NULL);
	entry->expr = expr;
	MemoryContextSetParent(expr->cxt, CacheMemoryContext);
	expr->size = MemoryContextMemAllocated(expr->cxt, true) + sizeof(CacheSlot);
	cache_size += expr->size;
	dlist_push_head(&lru, &expr->lru);
	return expr;
}

/* The rule as it was compiled before; NULL when it has to be compiled. */
static JnyExpr *
find_current(const char *source, Oid owner, Oid result_type, uint64 *hash)
{
	CacheSlot  *entry;
	JnyExpr    *expr;

	if (cache == NULL)
		start_cache();
	release_dropped();
	*hash = hash_bytes_extended((const unsigned char *) source, (int) strlen(source), ((uint64) owner << 32) | result_type);
	entry = hash_search(cache, hash, HASH_FIND, NULL);
	if (entry == NULL)
		return NULL;
	expr = entry->expr;
	if (is_current(expr) && expr->owner == owner && expr->wanted == result_type &&
		strcmp(expr->source, source) == 0)
	{
		dlist_move_head(&lru, &expr->lru);
		return expr;
	}
	forget(expr);
	return NULL;
}

JnyExpr *
jny_expr_compile(const char *source, Oid owner, Oid result_type)
{
	uint64		hash;
	JnyExpr    *expr = find_current(source, owner, result_type, &hash);

	return expr != NULL ? expr : build(source, owner, result_type, hash);
}

typedef struct Compilation
{
	const char *source;
	Oid			owner;
	Oid			type;
	JnyExpr    *expr;
} Compilation;

static void
compile_guarded(void *arg)
{
	Compilation *c = arg;

	c->expr = jny_expr_compile(c->source, c->owner, c->type);
}

JnyExpr *
jny_expr_check(const char *source, Oid owner, Oid result_type, ErrorData **error)
{
	Compilation c = {source, owner, result_type, NULL};
	uint64		hash;

	*error = NULL;
	/* a rule that is there needs no subtransaction */
	c.expr = find_current(source, owner, result_type, &hash);
	if (c.expr != NULL)
		return c.expr;
	*error = jny_guard(compile_guarded, &c);
	return *error == NULL ? c.expr : NULL;
}

JnyExpr *
jny_expr_try(const char *source, Oid owner, Oid result_type, char **error)
{
	ErrorData  *data;
	JnyExpr    *expr = jny_expr_check(source, owner, result_type, &data);

	*error = data ? data->message : NULL;
	return expr;
}

/* ---- evaluation -------------------------------------------------------------------------- */

int
jny_expr_inputs(JnyExpr *expr, const JnyInput **inputs)
{
	*inputs = expr->inputs;
	return expr->ninputs;
}

uint32
jny_expr_parts(JnyExpr *expr)
{
	return expr->parts;
}

Oid
jny_expr_type(JnyExpr *expr)
{
	return expr->type;
}

const char *
jny_expr_error(JnyExpr *expr)
{
	return expr->error;
}

typedef struct Run
{
	JnyExpr    *expr;
	JnyResolver resolver;
	void	   *arg;
	JnyExprClause *clause;
	Datum		value;
	bool		isnull;
} Run;

static void
read_input(Run *run, int i)
{
	TupleTableSlot *slot = run->expr->slot;

	if (run->expr->read[i])
		return;
	slot->tts_values[i] = run->resolver(run->arg, &run->expr->inputs[i], &slot->tts_isnull[i]);
	run->expr->read[i] = true;
}

static void
run_clause(void *arg)
{
	Run		   *run = arg;
	ExprContext *econtext = run->expr->econtext ? run->expr->econtext : shared_econtext;

	econtext->ecxt_scantuple = run->expr->slot;
	run->value = ExecEvalExprSwitchContext(run->clause->state, econtext, &run->isnull);
	if (!run->isnull && !run->expr->typbyval)
		run->value = datumCopy(run->value, false, run->expr->typlen);
	ResetExprContext(econtext);
}

static void
set_zone(JnyExpr *expr, JnyIdentity *identity)
{
	TupleTableSlot *slot = expr->slot;
	const char *zone = "UTC";

	if (!slot->tts_isnull[expr->zone])
		zone = TextDatumGetCString(slot->tts_values[expr->zone]);
	if (strcmp(pg_get_timezone_name(session_timezone), zone) == 0)
		return;
	identity->nest = NewGUCNestLevel();
	/* A zone that nobody knows must not stop the rule. */
	if (set_config_option("TimeZone", zone, PGC_USERSET, PGC_S_SESSION,
						  GUC_ACTION_SAVE, true, DEBUG1, false) <= 0)
		jny_set("TimeZone", "UTC");
}

static void
set_error(JnyExpr *expr, const char *message)
{
	if (expr->error != NULL)
		pfree(expr->error);
	expr->error = message ? MemoryContextStrdup(expr->cxt, message) : NULL;
}

/* Evaluates one clause; false when it failed (the message is in expr->error). */
static bool
evaluate_clause(Run *run, JnyExprClause *clause)
{
	JnyExpr    *expr = run->expr;
	JnyIdentity identity;
	ErrorData  *error = NULL;

	run->clause = clause;
	for (int i = 0; i < clause->ninputs; i++)
		read_input(run, clause->inputs[i]);
	jny_identity_enter(&identity, expr->owner);
	if (clause->zoned)
		set_zone(expr, &identity);
	if (clause->may_fail)
		error = jny_guard(run_clause, run);
	else
		run_clause(run);
	jny_identity_leave(&identity);
	if (error == NULL)
		return true;
	ResetExprContext(expr->econtext ? expr->econtext : shared_econtext);
	set_error(expr, error->message);
	FreeErrorData(error);
	return false;
}

static JnyVerdict
clause_verdict(Run *run, JnyExprClause *clause)
{
	if (!evaluate_clause(run, clause) || run->isnull)
		return JNY_UNKNOWN;
	return DatumGetBool(run->value) ? JNY_TRUE : JNY_FALSE;
}

static JnyVerdict
all_of(JnyVerdict a, JnyVerdict b)
{
	if (a == JNY_FALSE || b == JNY_FALSE)
		return JNY_FALSE;
	return a == JNY_TRUE ? b : JNY_UNKNOWN;
}

static void
start_run(Run *run, JnyExpr *expr, JnyResolver resolver, void *arg)
{
	memset(run, 0, sizeof(*run));
	run->expr = expr;
	run->resolver = resolver;
	run->arg = arg;
	set_error(expr, NULL);
	memset(expr->slot->tts_isnull, true, sizeof(bool) * expr->ninputs);
	memset(expr->read, false, sizeof(bool) * expr->ninputs);
}

/* The verdict of clauses that need no other parts; stops at the first one that is false unless verdicts are wanted. */
static JnyVerdict
judge(Run *run, uint32 parts, JnyVerdict *verdicts, char **errors)
{
	JnyExpr    *expr = run->expr;
	volatile JnyVerdict verdict = JNY_TRUE;

	Assert(expr->type == BOOLOID);
	expr->pins++;
	PG_TRY();
	{
		for (int i = 0; i < expr->nclauses; i++)
		{
			JnyVerdict	v;

			if (expr->clauses[i].parts & ~parts)
			{
				verdict = all_of(verdict, JNY_UNKNOWN);
				continue;
			}
			/* told clause by clause, or the last one of all */
			if (verdicts != NULL)
				set_error(expr, NULL);
			v = clause_verdict(run, &expr->clauses[i]);
			verdict = all_of(verdict, v);
			if (verdicts == NULL && v == JNY_FALSE)
				break;
			if (verdicts != NULL)
			{
				verdicts[i] = v;
				errors[i] = expr->error ? pstrdup(expr->error) : NULL;
			}
		}
	}
	PG_FINALLY();
	{
		expr->pins--;
	}
	PG_END_TRY();
	return verdict;
}

JnyVerdict
jny_expr_verdict(JnyExpr *expr, JnyResolver resolver, void *arg)
{
	Run			run;

	start_run(&run, expr, resolver, arg);
	return judge(&run, ~(uint32) 0, NULL, NULL);
}

JnyVerdict
jny_expr_foretell(JnyExpr *expr, uint32 parts, JnyResolver resolver, void *arg)
{
	Run			run;

	start_run(&run, expr, resolver, arg);
	return judge(&run, parts, NULL, NULL) == JNY_FALSE ? JNY_FALSE : JNY_UNKNOWN;
}

Datum
jny_expr_value(JnyExpr *expr, JnyResolver resolver, void *arg, bool *isnull)
{
	Run			run;
	volatile bool ok = false;

	if (expr->nclauses > 1)
	{
		JnyVerdict	verdict = jny_expr_verdict(expr, resolver, arg);

		*isnull = verdict == JNY_UNKNOWN;
		return BoolGetDatum(verdict == JNY_TRUE);
	}
	start_run(&run, expr, resolver, arg);
	expr->pins++;
	PG_TRY();
	{
		ok = evaluate_clause(&run, &expr->clauses[0]);
	}
	PG_FINALLY();
	{
		expr->pins--;
	}
	PG_END_TRY();
	*isnull = !ok || run.isnull;
	return *isnull ? (Datum) 0 : run.value;
}

/* ---- explaining ---------------------------------------------------------------------------- */

static Jsonb *
values_of(Run *run, const int *inputs, int n)
{
	JnyExpr    *expr = run->expr;
	JsonbParseState *state = NULL;
	JsonbValue	key;
	JsonbValue *object;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < n; i++)
	{
		int			k = inputs ? inputs[i] : i;
		JsonbValue	value;

		key.type = jbvString;
		key.val.string.val = unconstify(char *, expr->inputs[k].name);
		key.val.string.len = strlen(expr->inputs[k].name);
		pushJsonbValue(&state, WJB_KEY, &key);
		jny_value_to_json(expr->slot->tts_values[k], expr->inputs[k].type,
						  expr->slot->tts_isnull[k], &value);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(object);
}

JnyVerdict
jny_expr_explain(JnyExpr *expr, JnyResolver resolver, void *arg,
				 List **clauses, Jsonb **inputs)
{
	Run			run;
	JnyVerdict *verdicts = palloc(sizeof(JnyVerdict) * expr->nclauses);
	char	  **errors = palloc0(sizeof(char *) * expr->nclauses);
	JnyVerdict	verdict;

	start_run(&run, expr, resolver, arg);
	verdict = judge(&run, ~(uint32) 0, verdicts, errors);
	if (clauses != NULL)
	{
		*clauses = NIL;
		for (int i = 0; i < expr->nclauses; i++)
		{
			JnyExprClause *from = &expr->clauses[i];
			JnyClause  *to = palloc(sizeof(JnyClause));

			to->clause = pstrdup(from->text);
			to->verdict = verdicts[i];
			to->error = errors[i];
			to->values = values_of(&run, from->inputs, from->ninputs);
			*clauses = lappend(*clauses, to);
		}
	}
	if (inputs != NULL)
		*inputs = values_of(&run, NULL, expr->ninputs);
	return verdict;
}
