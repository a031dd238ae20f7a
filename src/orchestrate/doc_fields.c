/*
 * doc_fields.c
 *		Reading fields of a document, short forms included.
 *
 * Called by the cache of documents (document.c) and by journey_doc.c. Pure
 * functions; results live in the current memory context. A document is as
 * applied, so that a field of an unexpected type reads as absent.
 */
#include "orchestrate/journey_doc.h"

#include "utils/builtins.h"

Jsonb *
jny_doc_of(JsonbValue *value)
{
	return value->type == jbvBinary ? JsonbValueToJsonb(value) : NULL;
}

int
jny_doc_items(Jsonb *object, const char *key, JsonbValue **items)
{
	JsonbValue	field;
	Jsonb	   *array;
	JsonbIterator *it;
	JsonbValue	v;
	int			n = 0;

	*items = NULL;
	if (jny_json_field(object, key, &field) == NULL || field.type == jbvNull)
		return 0;
	array = jny_doc_of(&field);
	if (array == NULL || !JB_ROOT_IS_ARRAY(array))
	{
		*items = palloc(sizeof(JsonbValue));
		(*items)[0] = field;
		return 1;
	}
	*items = palloc(sizeof(JsonbValue) * Max(1, JB_ROOT_COUNT(array)));
	it = JsonbIteratorInit(&array->root);
	(void) JsonbIteratorNext(&it, &v, true);
	while (JsonbIteratorNext(&it, &v, true) == WJB_ELEM)
		(*items)[n++] = v;
	return n;
}

int
jny_doc_texts(Jsonb *object, const char *key, const char ***texts)
{
	JsonbValue *items;
	int			n = jny_doc_items(object, key, &items);

	*texts = n == 0 ? NULL : palloc(sizeof(char *) * n);
	for (int i = 0; i < n; i++)
		(*texts)[i] = jny_json_scalar_text(&items[i]);
	return n;
}

int
jny_doc_objects(Jsonb *object, const char *key, Jsonb ***objects)
{
	JsonbValue *items;
	int			n = jny_doc_items(object, key, &items);
	int			found = 0;

	*objects = n == 0 ? NULL : palloc(sizeof(Jsonb *) * n);
	for (int i = 0; i < n; i++)
	{
		Jsonb	   *o = jny_doc_of(&items[i]);

		if (o != NULL && JB_ROOT_IS_OBJECT(o))
			(*objects)[found++] = o;
	}
	return found;
}

int
jny_doc_named(Jsonb *object, const char *key, JnyNamed **named)
{
	Jsonb	   *map = jny_json_object(object, key);
	JsonbIterator *it = jny_json_members(map);
	JsonbValue	v;
	char	   *name;
	int			n = 0;

	*named = NULL;
	if (it == NULL || JB_ROOT_COUNT(map) == 0)
		return 0;
	*named = palloc(sizeof(JnyNamed) * JB_ROOT_COUNT(map));
	while (jny_json_next(&it, &name, &v))
		(*named)[n++] = (JnyNamed) {.name = name, .value = jny_json_scalar_text(&v)};
	return n;
}

double
jny_doc_number(Jsonb *object, const char *key, double missing)
{
	JsonbValue	v;

	if (jny_json_field(object, key, &v) == NULL || v.type != jbvNumeric)
		return missing;
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(v.val.numeric)));
}

/*
 * The condition of a rule. Of sources that may be only so old, it is null when
 * one of them is older: what is not fresh is not known. Their names have no quotes.
 */
const char *
jny_doc_when(Jsonb *object)
{
	const char *when = jny_json_text(object, "when");
	JnyNamed   *ages;
	int			n = jny_doc_named(object, "max_age", &ages);
	StringInfoData text;

	if (when == NULL || n == 0)
		return when;
	initStringInfo(&text);
	for (int i = 0; i < n; i++)
		appendStringInfo(&text, "%s source.age('%s') <= interval '%s'", i == 0 ? "CASE WHEN" : " AND", ages[i].name, ages[i].value);
	appendStringInfo(&text, " THEN (%s\n) END", when);
	return text.data;
}

JnyOnUnknown
jny_doc_on_unknown(Jsonb *object)
{
	const char *said = jny_json_text(object, "on_unknown");

	if (said == NULL)
		return JNY_UNKNOWN_UNSAID;
	return strcmp(said, "pass") == 0 ? JNY_UNKNOWN_PASS : strcmp(said, "hold") == 0 ? JNY_UNKNOWN_HOLD : JNY_UNKNOWN_REFUSE;
}

void
jny_doc_on(JnyOn *on, Jsonb *object)
{
	on->ntypes = jny_doc_texts(object, "on", &on->types);
	on->match = jny_json_text(object, "match");
	on->when = jny_json_text(object, "when");
	on->reason = jny_json_text(object, "reason");
}
