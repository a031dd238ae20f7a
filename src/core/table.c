/*
 * table.c
 *		What a declared access means: table, index, columns, and the SQL that
 *		says the same.
 *
 * Called by table_read.c and table_write.c. Takes the table's lock that they
 * ask for. Learning reads the catalogue once per backend and declaration, and
 * again after a relcache message. Memory: path.h.
 */
#include "core/path.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

static JnyPath *all_paths = NULL;

static void
forget(Datum arg, Oid relid)
{
	for (JnyPath *p = all_paths; p != NULL; p = p->next)
		if (relid == InvalidOid || relid == p->relid || relid == p->indexid)
			p->valid = p->unchanged = false;
}

static Oid
member(const char *name, bool is_index)
{
	Oid			nsp = get_namespace_oid("journey", true);
	Oid			oid = OidIsValid(nsp) ? get_relname_relid(name, nsp) : InvalidOid;

	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("journey.%s does not exist", name),
				 is_index ? errhint("It is an index that journey finds rows by. Create it again as it was.")
				 : errhint("Run SELECT journey.install() in this database.")));
	return oid;
}

/* ---- reading a declaration ------------------------------------------------ */

/* The next word of a list, and what stands behind it before the comma; NULL at the end. */
static char *
next_word(const char **list, char **mark)
{
	const char *at = *list + strspn(*list, " ,");
	size_t		n = strcspn(at, " ,");
	size_t		gap = strspn(at + n, " ");
	size_t		m = strcspn(at + n + gap, " ,");

	if (n == 0)
		return NULL;
	*mark = pnstrdup(at + n + gap, m);
	*list = at + n + gap + m;
	return pnstrdup(at, n);
}

static AttrNumber
column_of(Relation rel, const char *name)
{
	AttrNumber	att = get_attnum(RelationGetRelid(rel), name);

	if (att == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s has no column \"%s\"", RelationGetRelationName(rel), name),
				 errhint("Run ALTER EXTENSION journey UPDATE.")));
	return att;
}

static StrategyNumber
operator_of(const char *mark)
{
	static const char *const ops[] = {"<", "<=", "", ">=", ">"};

	for (size_t i = 0; i < lengthof(ops); i++)
		if (strcmp(mark, ops[i]) == 0)
			return (StrategyNumber) (i + 1);
	elog(ERROR, "no operator of a key: \"%s\"", mark);
}

/*
 * One that is being built, or whose building failed, has not all rows. The
 * table's message that comes with its completion makes us look again.
 */
static bool
is_usable(Relation index)
{
	return index->rd_index->indisvalid && index->rd_index->indisready &&
		(!index->rd_index->indcheckxmin ||
		 TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data), TransactionXmin));
}

/* The key's columns lead the index, in its order. */
static void
learn_keys(JnyPath *p, Relation rel)
{
	const char *list = p->access->key;
	Relation	index;
	char	   *name;
	char	   *mark;

	p->usable = true;
	p->predicate = NULL;
	if (p->access->index == NULL)
		return;
	p->indexid = member(p->access->index, true);
	index = index_open(p->indexid, AccessShareLock);
	if (index->rd_rel->relam != BTREE_AM_OID)
		elog(ERROR, "%s is no btree", p->access->index);
	p->usable = is_usable(index);
	if (RelationGetIndexPredicate(index) != NIL)
		p->predicate = ExecInitQual((List *) expression_planner((Expr *) RelationGetIndexPredicate(index)), NULL);
	p->keys = palloc0(sizeof(JnyKeyCol) * INDEX_MAX_KEYS);
	while ((name = next_word(&list, &mark)) != NULL)
	{
		int			i = p->nkeys++;
		JnyKeyCol  *k = &p->keys[i];
		Oid			type;
		Oid			op;

		k->att = column_of(rel, name);
		k->op = operator_of(mark);
		if (i >= IndexRelationGetNumberOfKeyAttributes(index) || index->rd_index->indkey.values[i] != k->att)
			elog(ERROR, "column %s of %s does not lead it", name, p->access->index);
		type = index->rd_opcintype[i];
		op = get_opfamily_member(index->rd_opfamily[i], type, type, k->op);
		if (!OidIsValid(op))
			elog(ERROR, "column %s of %s has no operator %d", name, p->access->index, k->op);
		fmgr_info_cxt(get_opcode(op), &k->fn, p->cxt);
		k->collation = index->rd_indcollation[i];
		p->last = Max(p->last, k->att);
	}
	index_close(index, NoLock);
}

static void
learn_columns(JnyPath *p, Relation rel)
{
	const char *list = p->access->columns;
	char	   *name;
	char	   *mark;

	p->atts = palloc0(sizeof(AttrNumber) * JNY_MAX_COLS);
	p->types = palloc0(sizeof(Oid) * JNY_MAX_COLS);
	p->columns = palloc0(sizeof(JnyColType) * JNY_MAX_COLS);
	while (list != NULL && (name = next_word(&list, &mark)) != NULL)
	{
		if (p->ncols == JNY_MAX_COLS)
			elog(ERROR, "too many columns of %s", p->access->table);
		p->atts[p->ncols] = column_of(rel, name);
		p->types[p->ncols] = TupleDescAttr(RelationGetDescr(rel), p->atts[p->ncols] - 1)->atttypid;
		jny_col_type(p->types[p->ncols], &p->columns[p->ncols]);
		p->last = Max(p->last, p->atts[p->ncols]);
		p->ncols++;
	}
}

/* What an upsert does to each column of a row that is there. */
static void
learn_update(JnyPath *p, Relation rel)
{
	const char *list = p->access->rest;
	char	   *name;
	char	   *mark;

	p->update = palloc0(JNY_MAX_COLS);
	while ((name = next_word(&list, &mark)) != NULL)
	{
		AttrNumber	att = column_of(rel, name);
		int			i = 0;

		while (i < p->ncols && p->atts[i] != att)
			i++;
		if (i == p->ncols)
			elog(ERROR, "%s is not among the columns", name);
		p->update[i] = mark[0] == '\0' ? '=' : mark[0];
		if (p->update[i] == '+' && p->types[i] != INT8OID && p->types[i] != INT4OID)
			elog(ERROR, "%s cannot be added to", name);
		if (p->update[i] == '>' && p->types[i] != INT8OID && p->types[i] != TIMESTAMPTZOID)
			elog(ERROR, "%s cannot be compared", name);
		p->updates = true;
	}
}

/* Defaults of the columns that are not given; false when one is more than a constant. */
static bool
learn_defaults(JnyPath *p, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	p->defaults = palloc0(sizeof(Datum) * p->natts);
	p->nodefault = palloc(sizeof(bool) * p->natts);
	memset(p->nodefault, true, sizeof(bool) * p->natts);
	for (int i = 0; i < p->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Node	   *expr;
		Const	   *c;
		bool		given = false;

		for (int k = 0; k < p->ncols; k++)
			given |= p->atts[k] == i + 1;
		if (given || att->attisdropped || !att->atthasdef)
			continue;
		expr = build_column_default(rel, i + 1);
		if (expr == NULL)
			continue;
		c = (Const *) expression_planner((Expr *) expr);
		if (!IsA(c, Const))
			return false;
		p->nodefault[i] = c->constisnull;
		if (!c->constisnull)
			p->defaults[i] = datumCopy(c->constvalue, c->constbyval, c->constlen);
	}
	return true;
}

/* CHECK constraints, compiled once: a statement compiles them each time. */
static void
learn_checks(JnyPath *p, Relation rel)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;
	JnyVerb		verb = p->access->verb;

	if (constr == NULL || verb == JNY_DO_LOOKUP || !jny_path_fills(p))
		return;
	p->checks = palloc(sizeof(ExprState *) * Max(1, constr->num_check));
	p->check_names = palloc(sizeof(char *) * Max(1, constr->num_check));
	for (int i = 0; i < constr->num_check; i++)
	{
		ConstrCheck *check = &constr->check[i];

		if (!jny_check_holds(check))
			continue;
		p->checks[p->nchecks] = ExecInitExpr(expression_planner(stringToNode(check->ccbin)), NULL);
		p->check_names[p->nchecks++] = pstrdup(check->ccname);
	}
}

/* What JnyCols carry: the key where rows are found by it, then what is written. */
static void
learn_input(JnyPath *p, Relation rel)
{
	JnyVerb		verb = p->access->verb;

	p->in = palloc0(sizeof(JnyColType) * (p->nkeys + p->ncols + 1));
	if (verb != JNY_DO_INSERT && verb != JNY_DO_UPSERT)
		for (int i = 0; i < p->nkeys; i++)
			jny_col_type(TupleDescAttr(RelationGetDescr(rel), p->keys[i].att - 1)->atttypid, &p->in[p->nin++]);
	if (verb != JNY_DO_LOOKUP && verb != JNY_DO_CHANGE)
		for (int i = 0; i < p->ncols; i++)
			jny_col_type(p->types[i], &p->in[p->nin++]);
}

/* An engine that spreads tables over nodes sees statements only: what looks like a heap here may be a shell. */
static bool
is_spread(void)
{
	return OidIsValid(get_extension_oid("citus", true));
}

static bool
is_simple(const JnyPath *p, Relation rel)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	if (p->access->verb != JNY_DO_LOOKUP &&
		(rel->trigdesc != NULL || (constr != NULL && constr->has_generated_stored)))
		return false;
	if (is_spread() || !p->usable || rel->rd_rules != NULL || rel->rd_rel->relforcerowsecurity)
		return false;
	if (p->partitioned)
		return p->access->verb == JNY_DO_INSERT;
	return rel->rd_rel->relkind == RELKIND_RELATION && rel->rd_rel->relam == HEAP_TABLE_AM_OID;
}

static void
learn(JnyAccess *access)
{
	JnyPath    *p = access->path;
	MemoryContext old;
	Relation	rel;

	if (all_paths == NULL)
		jny_watch_relations(forget);
	if (p == NULL)
	{
		p = MemoryContextAllocZero(CacheMemoryContext, sizeof(JnyPath));
		p->cxt = AllocSetContextCreate(CacheMemoryContext, "journey table access", ALLOCSET_SMALL_SIZES);
		p->access = access;
		p->next = all_paths;
		all_paths = p;
		access->path = p;
	}
	for (int i = 0; i < JNY_SQL_FORMS; i++)
		jny_plan_free(&p->sql[i]);
	MemoryContextReset(p->cxt);
	old = MemoryContextSwitchTo(p->cxt);
	p->nkeys = p->ncols = p->nin = p->nchecks = 0;
	p->last = 0;
	p->updates = p->filled = false;
	p->update = NULL;
	p->keys = NULL;
	p->indexid = InvalidOid;
	p->valid = false;
	p->relid = member(access->table, false);
	/* before it is read, so that a message that comes meanwhile counts */
	p->unchanged = true;
	rel = table_open(p->relid, AccessShareLock);
	p->natts = RelationGetNumberOfAttributes(rel);
	p->partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	learn_keys(p, rel);
	learn_columns(p, rel);
	learn_input(p, rel);
	p->simple = is_simple(p, rel);
	learn_checks(p, rel);
	if (access->verb == JNY_DO_UPSERT || (access->verb == JNY_DO_CHANGE && access->rest != NULL))
		learn_update(p, rel);
	if (access->verb == JNY_DO_INSERT || access->verb == JNY_DO_UPSERT)
		p->simple &= learn_defaults(p, rel);
	table_close(rel, NoLock);
	MemoryContextSwitchTo(old);
	p->valid = p->unchanged;
}

JnyPath *
jny_path_open(JnyAccess *access, LOCKMODE mode, Relation *rel)
{
	if (access->path == NULL || !access->path->valid)
		learn(access);
	for (;;)
	{
		*rel = table_open(access->path->relid, mode);
		if (access->path->valid)
			return access->path;

		/*
		 * The lock let a message in. What is learned behind it is what a
		 * statement would see, whatever comes meanwhile: that makes the next
		 * use learn again.
		 */
		learn(access);
		if (access->path->relid == RelationGetRelid(*rel))
			return access->path;
		table_close(*rel, NoLock);
	}
}

bool
jny_path_direct(const JnyPath *path)
{
	return path->simple && jny_direct_access;
}

bool
jny_path_fills(const JnyPath *path)
{
	return path->access->verb != JNY_DO_DELETE && (path->access->verb != JNY_DO_CHANGE || path->access->rest != NULL);
}

bool
jny_path_keys(const JnyPath *path, const Datum *values, const bool *nulls, ScanKey out)
{
	for (int i = 0; i < path->nkeys; i++)
	{
		const JnyKeyCol *k = &path->keys[i];

		if (nulls[i])
			return false;
		ScanKeyEntryInitializeWithInfo(&out[i], 0, i + 1, k->op, InvalidOid, k->collation,
									   unconstify(FmgrInfo *, &k->fn), values[i]);
	}
	return true;
}

bool
jny_path_fits(const JnyPath *path, ScanKey keys, TupleTableSlot *slot)
{
	ExprContext *context;
	bool		fits = true;

	for (int i = 0; fits && i < path->nkeys; i++)
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, path->keys[i].att, &isnull);

		fits = !isnull && DatumGetBool(FunctionCall2Coll(&keys[i].sk_func, keys[i].sk_collation, value,
														 keys[i].sk_argument));
	}
	if (!fits || path->predicate == NULL)
		return fits;
	context = CreateStandaloneExprContext();
	context->ecxt_scantuple = slot;
	fits = ExecQual(path->predicate, context);
	FreeExprContext(context, true);
	return fits;
}

JnyCols *
jny_cols_of(JnyAccess *access)
{
	JnyPath    *p = access->path;
	JnyColType *types;

	/* types of columns change with the extension's version only; the table's lock comes with the rows */
	if (p == NULL || !p->valid)
	{
		learn(access);
		p = access->path;
	}
	/* its own copy: what is learned may be learned again before the rows are written */
	types = palloc(sizeof(JnyColType) * Max(1, p->nin));
	memcpy(types, p->in, sizeof(JnyColType) * p->nin);
	return jny_cols_typed(p->nin, types);
}

/* ---- the same as SQL -------------------------------------------------------- */

static const char *
name_of(const JnyPath *p, AttrNumber att)
{
	return quote_identifier(get_attname(p->relid, att, false));
}

static void
put_columns(StringInfo sql, const JnyPath *p, const char *prefix)
{
	for (int i = 0; i < p->ncols; i++)
		appendStringInfo(sql, "%s%s%s", i ? ", " : "", prefix, name_of(p, p->atts[i]));
}

static void
put_condition(StringInfo sql, const JnyPath *p)
{
	static const char *const ops[] = {"<", "<=", "=", ">=", ">"};

	for (int i = 0; i < p->nkeys; i++)
		appendStringInfo(sql, " %s t.%s %s $%d", i ? "AND" : "WHERE", name_of(p, p->keys[i].att),
						 ops[p->keys[i].op - 1], i + 1);
}

static void
put_lookup(StringInfo sql, const JnyPath *p, JnySqlForm form)
{
	Relation	index = index_open(p->indexid, AccessShareLock);

	appendStringInfoString(sql, "SELECT t.ctid");
	for (int i = 0; i < p->ncols; i++)
		appendStringInfo(sql, ", t.%s", name_of(p, p->atts[i]));
	appendStringInfo(sql, " FROM journey.%s t", quote_identifier(p->access->table));
	put_condition(sql, p);
	if (p->access->verb == JNY_DO_LOOKUP && p->access->rest != NULL)
		appendStringInfo(sql, " %s %s", p->nkeys > 0 ? "AND" : "WHERE", p->access->rest);
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
		appendStringInfo(sql, "%s t.%s%s", i ? "," : " ORDER BY", name_of(p, index->rd_index->indkey.values[i]),
						 index->rd_indoption[i] & INDOPTION_DESC ? " DESC" : "");
	if (form != JNY_SQL_PLAIN)
		appendStringInfo(sql, " FOR UPDATE%s", form == JNY_SQL_SKIP ? " SKIP LOCKED" : "");
	index_close(index, NoLock);
}

static void
put_insert(StringInfo sql, const JnyPath *p)
{
	const char *sep = " DO UPDATE SET ";

	appendStringInfo(sql, "INSERT INTO journey.%s AS t (", quote_identifier(p->access->table));
	put_columns(sql, p, "");
	appendStringInfoString(sql, ") VALUES (");
	for (int i = 0; i < p->ncols; i++)
		appendStringInfo(sql, "%s$%d", i ? ", " : "", i + 1);
	appendStringInfoString(sql, ")");
	if (p->access->verb != JNY_DO_UPSERT)
		return;
	appendStringInfo(sql, " ON CONFLICT (%s)%s", p->access->key, p->updates ? "" : " DO NOTHING");
	for (int i = 0; i < p->ncols; i++)
	{
		const char *name = name_of(p, p->atts[i]);

		if (p->update[i] == 0)
			continue;
		appendStringInfo(sql, "%s%s = ", sep, name);
		if (p->update[i] == '+')
			appendStringInfo(sql, "t.%s OPERATOR(pg_catalog.+) excluded.%s", name, name);
		else if (p->update[i] == '>')
			appendStringInfo(sql, "GREATEST(t.%s, excluded.%s)", name, name);
		else
			appendStringInfo(sql, "excluded.%s", name);
		sep = ", ";
	}
}

/* Rows that are known by their place, and not by a key. */
static bool
by_place(const JnyPath *p)
{
	return p->access->verb == JNY_DO_CHANGE ||
		(p->access->key == NULL && (p->access->verb == JNY_DO_UPDATE || p->access->verb == JNY_DO_DELETE));
}

static void
put_change(StringInfo sql, const JnyPath *p)
{
	int			first = (by_place(p) ? 1 : p->nkeys) + 1;
	const char *sep = " ";

	if (!jny_path_fills(p))
		appendStringInfo(sql, "DELETE FROM journey.%s t", quote_identifier(p->access->table));
	else
	{
		appendStringInfo(sql, "UPDATE journey.%s t SET", quote_identifier(p->access->table));
		for (int i = 0; i < p->ncols; i++)
		{
			if (p->update != NULL && p->update[i] == 0)
				continue;
			appendStringInfo(sql, "%s%s = $%d", sep, name_of(p, p->atts[i]), first + i);
			sep = ", ";
		}
	}
	if (by_place(p))
		appendStringInfoString(sql, " WHERE t.ctid = $1");
	else
		put_condition(sql, p);
}

JnyPlan *
jny_path_sql(JnyPath *path, JnySqlForm form)
{
	JnyPlan    *plan = &path->sql[form];
	bool		finds = form != JNY_SQL_PLAIN || path->access->verb == JNY_DO_LOOKUP;
	StringInfoData sql;

	if (plan->sql != NULL)
		return plan;
	initStringInfo(&sql);
	plan->nargs = 0;
	if (!finds && by_place(path))
		plan->argtypes[plan->nargs++] = TIDOID;
	if (!finds && path->access->verb == JNY_DO_CHANGE)
		for (int i = 0; i < path->ncols && path->updates; i++)
			plan->argtypes[plan->nargs++] = path->types[i];
	else
		for (int i = 0; i < path->nin; i++)
			plan->argtypes[plan->nargs++] = path->in[i].type;
	if (finds)
		put_lookup(&sql, path, form);
	else if (path->access->verb == JNY_DO_INSERT || path->access->verb == JNY_DO_UPSERT)
		put_insert(&sql, path);
	else
		put_change(&sql, path);
	plan->sql = MemoryContextStrdup(path->cxt, sql.data);
	return plan;
}
