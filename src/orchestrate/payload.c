/*
 * payload.c
 *		What a message gets to know: exactly the template's declared variables.
 *
 * Called by decide.c. Memory only, except that jny_load_subjects reads what
 * conditions and data speak of, once for all sends of a round.
 */
#include "orchestrate/engine.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

static uint32
parts_of(const char *text, Oid owner)
{
	char	   *error;
	JnyExpr    *expr = text != NULL && OidIsValid(owner) ? jny_expr_try(text, owner, InvalidOid, &error) : NULL;

	return expr != NULL ? jny_expr_parts(expr) : 0;
}

void
jny_load_subjects(JnyRun *run, List *sends)
{
	JnySubjectContext **subjects = palloc(sizeof(JnySubjectContext *) * (list_length(sends) + 1));
	const JnyRule *vetoes;
	int			nvetoes = jny_rules("veto", &vetoes);
	uint32		parts = 0;
	int			n = 0;
	ListCell   *lc;

	for (int i = 0; i < nvetoes; i++)
		parts |= parts_of(vetoes[i].on.when, vetoes[i].owner);
	foreach(lc, sends)
	{
		JnySend    *s = lfirst(lc);
		Oid			owner = s->e->journey->owner;

		for (int i = 0; i < s->step->ndata; i++)
			parts |= parts_of(s->step->data[i].value, owner);
		for (int i = 0; i < s->step->nrequire; i++)
			parts |= parts_of(s->step->require[i].when, owner);
		jny_subject_at(run, &s->e->subject, NULL);
		subjects[n++] = &s->e->subject;
	}
	if (n > 0 && parts != 0)
		jny_subjects_load(subjects, n, parts);
}

static const char *
expression_of(const JnyStep *step, const char *name)
{
	for (int i = 0; i < step->ndata; i++)
		if (strcmp(step->data[i].name, name) == 0)
			return step->data[i].value;
	return NULL;
}

/* The value of one of the step's data, as jsonb; NULL when unknown or broken. */
static Jsonb *
evaluate(JnyRun *run, JnySend *s, const char *name, const char *text)
{
	Datum		value;
	Oid			type = InvalidOid;
	bool		isnull;

	if (!jny_run_value(run, &s->e->subject, NULL, s->e->journey->owner, text, InvalidOid,
					   psprintf("journey/%s step %s data %s", s->e->journey->name, s->step->name, name),
					   &value, &type, &isnull))
	{
		s->broken = name;
		return NULL;
	}
	return isnull ? NULL : jny_value_jsonb(value, type, false);
}

static Oid
type_of(const char *name)
{
	static const struct
	{
		const char *name;
		Oid			type;
	}			types[] = {
		{"text", TEXTOID}, {"numeric", NUMERICOID}, {"integer", INT4OID}, {"boolean", BOOLOID},
		{"timestamptz", TIMESTAMPTZOID}, {"date", DATEOID}, {"interval", INTERVALOID}
	};

	for (int i = 0; i < (int) lengthof(types); i++)
		if (name != NULL && strcmp(types[i].name, name) == 0)
			return types[i].type;
	return InvalidOid;
}

/* In the type that the template declares; null when it does not fit. */
static Jsonb *
as_declared(Jsonb *value, const char *type)
{
	Oid			wanted = type_of(type);
	JsonbValue *scalar;
	Datum		d;
	bool		isnull;

	if (value == NULL || !OidIsValid(wanted) || !JB_ROOT_IS_SCALAR(value))
		return value;
	scalar = getIthJsonbValueFromContainer(&value->root, 0);
	d = jny_json_to_value(scalar, wanted, &isnull);
	return isnull ? NULL : jny_value_jsonb(d, wanted, false);
}

/* Each sku of a scalar or an array. */
static void
collect_skus(JnySend *s, Jsonb *value)
{
	JsonbIterator *it = JsonbIteratorInit(&value->root);
	JsonbValue	v;
	JsonbIteratorToken tok;

	while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		if (tok == WJB_ELEM && jny_json_scalar_text(&v) != NULL)
			s->skus = lappend(s->skus, jny_json_scalar_text(&v));
}

void
jny_payload(JnyRun *run, JnySend *s)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < s->template->nvariables; i++)
	{
		const char *name = s->template->variables[i].name;
		const char *text = expression_of(s->step, name);

		jny_json_put(&state, name, text == NULL ? NULL
					 : as_declared(evaluate(run, s, name, text), s->template->variables[i].value));
	}
	s->payload = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));

	for (int i = 0; i < s->step->nrequire; i++)
	{
		const char *name = s->step->require[i].stock;
		const char *text = name ? expression_of(s->step, name) : NULL;
		Jsonb	   *value = text ? evaluate(run, s, name, text) : NULL;

		if (name == NULL)
			continue;
		if (value != NULL)
			collect_skus(s, value);
		else
			/* what must be in stock is not even known */
			s->skus = lappend(s->skus, pstrdup("(unknown)"));
	}
}
