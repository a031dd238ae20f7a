/*
 * doc.c
 *		Reading jsonb documents from C.
 *
 * Thin wrappers over the server's own jsonb code, so that the rooms read a
 * document field in one call. Results are palloc'd in the caller's context.
 */
#include "core/core.h"

#include "utils/builtins.h"
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

Interval *
jny_json_interval(Jsonb *object, const char *key)
{
	char	   *text = jny_json_text(object, key);

	if (text == NULL)
		return NULL;
	return DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text),
												 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

Jsonb *
jny_json_parse(const char *text)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}
