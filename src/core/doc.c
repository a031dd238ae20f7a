/*
 * doc.c
 *		Reading jsonb documents from C.
 *
 * Thin wrappers over the server's own jsonb code, so that the rooms read a
 * document field in one call. Results are palloc'd in the caller's context.
 */
#include "core/batch.h"
#include "core/core.h"

#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

JsonbValue *
jny_json_field(Jsonb *object, const char *key, JsonbValue *out)
{
	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return NULL;
	return getKeyJsonValueFromContainer(&object->root, key, strlen(key), out);
}

char *
jny_json_scalar_text(JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return NULL;
	}
}

char *
jny_json_text(Jsonb *object, const char *key)
{
	JsonbValue	v;

	if (jny_json_field(object, key, &v) == NULL)
		return NULL;
	return jny_json_scalar_text(&v);
}

Jsonb *
jny_json_object(Jsonb *object, const char *key)
{
	JsonbValue	v;

	if (jny_json_field(object, key, &v) == NULL || v.type != jbvBinary)
		return NULL;
	return JsonbValueToJsonb(&v);
}

bool
jny_json_bool(Jsonb *object, const char *key, bool missing)
{
	JsonbValue	v;

	if (jny_json_field(object, key, &v) == NULL || v.type != jbvBool)
		return missing;
	return v.val.boolean;
}

bool
jny_by_machine(const JnyEvent *event, const char *condition)
{
	return (strcmp(event->type, "message_opened") == 0 || strcmp(event->type, "message_clicked") == 0) &&
		jny_json_bool(event->props, "machine", false) &&
		(condition == NULL || strstr(condition, "event.machine") == NULL);
}

Interval *
jny_json_interval(Jsonb *object, const char *key)
{
	char	   *text = jny_json_text(object, key);

	if (text == NULL)
		return NULL;
	return DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text),
												 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

JsonbIterator *
jny_json_members(Jsonb *object)
{
	JsonbIterator *it;
	JsonbValue	v;

	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return NULL;
	it = JsonbIteratorInit(&object->root);
	(void) JsonbIteratorNext(&it, &v, true);
	return it;
}

bool
jny_json_next(JsonbIterator **it, char **name, JsonbValue *value)
{
	JsonbValue	key;

	if (*it == NULL || JsonbIteratorNext(it, &key, true) != WJB_KEY)
		return false;
	*name = pnstrdup(key.val.string.val, key.val.string.len);
	(void) JsonbIteratorNext(it, value, true);
	return true;
}

Jsonb *
jny_json_parse(const char *text)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

void
jny_json_put(JsonbParseState **state, const char *key, Jsonb *value)
{
	JsonbValue	k = {.type = jbvString};
	JsonbValue	v = {.type = jbvNull};

	k.val.string.val = unconstify(char *, key);
	k.val.string.len = (int) strlen(key);
	pushJsonbValue(state, WJB_KEY, &k);
	if (value != NULL)
	{
		/* taken apart by pushJsonbValue, a lone scalar too */
		v.type = jbvBinary;
		v.val.binary.data = &value->root;
		v.val.binary.len = VARSIZE(value) - VARHDRSZ;
	}
	pushJsonbValue(state, WJB_VALUE, &v);
}

static Jsonb *
keep(const char *text)
{
	Jsonb	   *parsed = jny_json_parse(text);
	Jsonb	   *kept = MemoryContextAlloc(TopMemoryContext, VARSIZE(parsed));

	return memcpy(kept, parsed, VARSIZE(parsed));
}

Jsonb *
jny_json_empty_object(void)
{
	static Jsonb *empty = NULL;

	if (empty == NULL)
		empty = keep("{}");
	return empty;
}

Jsonb *
jny_json_empty_array(void)
{
	static Jsonb *empty = NULL;

	if (empty == NULL)
		empty = keep("[]");
	return empty;
}
