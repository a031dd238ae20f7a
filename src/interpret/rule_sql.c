/*
 * rule_sql.c
 *		SQL functions about rules: check_rule, explain_rule, _rule_value, _is_own_name.
 *
 * SECURITY DEFINER as journey_owner; the rule itself runs as the person who
 * asks, or as journey_owner when that is a superuser, since rules of
 * superusers are not evaluated. Read only. No locks beyond those of SELECT.
 */
#include "interpret/rule.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/value.h"

PG_FUNCTION_INFO_V1(journey_check_rule);
PG_FUNCTION_INFO_V1(journey_explain_rule);
PG_FUNCTION_INFO_V1(journey_rule_value);
PG_FUNCTION_INFO_V1(journey_is_own_name);

Oid
jny_asking_role(void)
{
	Oid			user = GetOuterUserId();

	return superuser_arg(user) ? jny_owner_oid(false) : user;
}

static Datum
one_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

Datum
journey_check_rule(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ErrorData  *error;
	Datum		values[3] = {0};
	bool		nulls[3] = {false, true, true};

	(void) jny_expr_check(source, jny_asking_role(), BOOLOID, &error);
	values[0] = BoolGetDatum(error == NULL);
	if (error != NULL)
	{
		int			position = error->internalpos > 0 ? error->internalpos : error->cursorpos;

		nulls[1] = false;
		values[1] = CStringGetTextDatum(error->hint == NULL ? error->message
										: psprintf("%s. %s", error->message, error->hint));
		nulls[2] = position <= 0;
		values[2] = Int32GetDatum(position);
	}
	return one_row(fcinfo, values, nulls);
}

/* ---- explain_rule ------------------------------------------------------------------- */

static void
read_event(Jsonb *json, JnySubjectContext *s, JnyEvent *event)
{
	char	   *at = jny_json_text(json, "occurred_at");

	memset(event, 0, sizeof(*event));
	event->type = jny_json_text(json, "type");
	event->source = jny_json_text(json, "source");
	event->scope = jny_json_text(json, "scope");
	event->props = jny_json_object(json, "props");
	event->occurred_at = s->now;
	if (at != NULL)
		(void) jny_value_time(at, &event->occurred_at);
	event->cart_id = jny_json_text(event->props, "cart_id");
	event->order_id = jny_json_text(event->props, "order_id");
	event->sku = jny_json_text(event->props, "sku");
	s->event = event;
}

/* {"event": {"type", "props" …}, "entry": {}, "steps": {}, "key", "scope", "cart_id", "order_id", "sku"} */
static void
read_context(Jsonb *json, JnySubjectContext *s, JnyEvent *event)
{
	Jsonb	   *given = jny_json_object(json, "event");

	s->entry = jny_json_object(json, "entry");
	s->steps = jny_json_object(json, "steps");
	s->key = jny_json_text(json, "key");
	s->scope = jny_json_text(json, "scope");
	s->cart_id = jny_json_text(json, "cart_id");
	s->order_id = jny_json_text(json, "order_id");
	s->sku = jny_json_text(json, "sku");
	if (given != NULL)
		read_event(given, s, event);
}

static const char *
verdict_name(JnyVerdict verdict)
{
	static const char *const names[] = {"false", "true", "unknown"};

	return names[verdict];
}

/* The values of a clause, with the reason why it could not be evaluated. */
static Jsonb *
values_and_error(const JnyClause *clause)
{
	Jsonb	   *error;
	JsonbParseState *state = NULL;
	JsonbValue	v;

	if (clause->error == NULL)
		return clause->values;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	v.type = jbvString;
	v.val.string.val = "<error>";
	v.val.string.len = strlen(v.val.string.val);
	pushJsonbValue(&state, WJB_KEY, &v);
	v.val.string.val = unconstify(char *, clause->error);
	v.val.string.len = strlen(clause->error);
	pushJsonbValue(&state, WJB_VALUE, &v);
	error = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(clause->values),
											  JsonbPGetDatum(error)));
}

Datum
journey_explain_rule(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	JnySubjectContext subject = {0};
	JnyEvent	event;
	JnyExpr    *expr;
	List	   *clauses;
	ListCell   *lc;
	MemoryContext here = CurrentMemoryContext;

	InitMaterializedSRF(fcinfo, 0);
	expr = jny_expr_compile(source, jny_asking_role(), BOOLOID);
	SPI_connect();
	subject.cxt = here;
	subject.now = jny_now();
	MemoryContextSwitchTo(here);
	if (jny_subject_find(PG_GETARG_JSONB_P(1), &subject.profile_id))
	{
		read_context(PG_GETARG_JSONB_P(2), &subject, &event);
		(void) jny_expr_explain(expr, jny_subject_resolve, &subject, &clauses, NULL);
		foreach(lc, clauses)
		{
			JnyClause  *clause = lfirst(lc);
			Datum		values[3] = {CStringGetTextDatum(clause->clause),
				CStringGetTextDatum(verdict_name(clause->verdict)),
			JsonbPGetDatum(values_and_error(clause))};
			bool		nulls[3] = {false, false, false};

			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
	SPI_finish();
	return (Datum) 0;
}

/*
 * The value of any expression in a given context, without a person: an oracle
 * for what is counted, and a way to try expressions.
 */
Datum
journey_rule_value(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	MemoryContext here = CurrentMemoryContext;
	JnySubjectContext subject = {0};
	JnyEvent	event;
	JnyExpr    *expr = jny_expr_compile(source, jny_asking_role(), InvalidOid);
	Jsonb	   *result;
	Datum		value;
	bool		isnull;

	SPI_connect();
	MemoryContextSwitchTo(here);
	subject.cxt = here;
	subject.now = jny_now();
	read_context(PG_GETARG_JSONB_P(1), &subject, &event);
	value = jny_expr_value(expr, jny_subject_resolve, &subject, &isnull);
	result = jny_value_jsonb(value, jny_expr_type(expr), isnull);
	SPI_finish();
	PG_RETURN_JSONB_P(result);
}

Datum
journey_is_own_name(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(jny_subject_is_own(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}
