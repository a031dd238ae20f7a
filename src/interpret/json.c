/*
 * json.c
 *		Values of the vocabulary's types to jsonb and back.
 *
 * Called to explain rules, to freeze entry data and to read properties and
 * traits. Reading never raises: what does not fit the declared type is null,
 * which a rule sees as unknown. Results live in CurrentMemoryContext.
 */
#include "interpret/rule.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "core/value.h"

/* ---- to jsonb ------------------------------------------------------------------- */

static void
to_string(char *text, JsonbValue *out)
{
	out->type = jbvString;
	out->val.string.val = text;
	out->val.string.len = strlen(text);
}

static void
to_number(Numeric n, JsonbValue *out)
{
	if (numeric_is_nan(n) || numeric_is_inf(n))
	{
		to_string(DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(n))), out);
		return;
	}
	out->type = jbvNumeric;
	out->val.numeric = n;
}

static void
to_binary(Jsonb *json, JsonbValue *out)
{
	if (JB_ROOT_IS_SCALAR(json))
	{
		(void) JsonbExtractScalar(&json->root, out);
		return;
	}
	out->type = jbvBinary;
	out->val.binary.data = &json->root;
	out->val.binary.len = VARSIZE(json) - VARHDRSZ;
}

static void
array_as_json(Datum value, Oid element, JsonbValue *out)
{
	JsonbParseState *state = NULL;
	int16		len;
	bool		byval;
	char		align;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	get_typlenbyvalalign(element, &len, &byval, &align);
	deconstruct_array(DatumGetArrayTypeP(value), element, len, byval, align, &elements, &nulls, &n);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
	{
		JsonbValue	v;

		jny_value_to_json(elements[i], element, nulls[i], &v);
		pushJsonbValue(&state, WJB_ELEM, &v);
	}
	to_binary(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL)), out);
}

void
jny_value_to_json(Datum value, Oid type, bool isnull, JsonbValue *out)
{
	Oid			element;
	Oid			output;
	bool		varlena;
	int			utc = 0;

	if (isnull)
	{
		out->type = jbvNull;
		return;
	}
	switch (type)
	{
		case BOOLOID:
			out->type = jbvBool;
			out->val.boolean = DatumGetBool(value);
			return;
		case INT2OID:
			to_number(int64_to_numeric(DatumGetInt16(value)), out);
			return;
		case INT4OID:
			to_number(int64_to_numeric(DatumGetInt32(value)), out);
			return;
		case INT8OID:
			to_number(int64_to_numeric(DatumGetInt64(value)), out);
			return;
		case NUMERICOID:
			to_number(DatumGetNumeric(value), out);
			return;
		case FLOAT8OID:
			to_number(DatumGetNumeric(DirectFunctionCall1(float8_numeric, value)), out);
			return;
		case TEXTOID:
			to_string(TextDatumGetCString(value), out);
			return;
		case JSONBOID:
			to_binary(DatumGetJsonbP(value), out);
			return;
		case TIMESTAMPTZOID:
			to_string(JsonEncodeDateTime(NULL, value, TIMESTAMPTZOID, &utc), out);
			return;
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
			to_string(JsonEncodeDateTime(NULL, value, type, NULL), out);
			return;
		default:
			element = get_element_type(type);
			if (OidIsValid(element))
			{
				array_as_json(value, element, out);
				return;
			}
			getTypeOutputInfo(type, &output, &varlena);
			to_string(OidOutputFunctionCall(output, value), out);
	}
}

Jsonb *
jny_value_jsonb(Datum value, Oid type, bool isnull)
{
	JsonbValue	v;

	jny_value_to_json(value, type, isnull, &v);
	return JsonbValueToJsonb(&v);
}

/* ---- from jsonb ------------------------------------------------------------------------ */

static char *
json_text(JsonbValue *json)
{
	Jsonb	   *whole;

	if (json->type != jbvBinary)
		return jny_json_scalar_text(json);
	whole = JsonbValueToJsonb(json);
	return JsonbToCString(NULL, &whole->root, VARSIZE(whole));
}

static bool
json_number(JsonbValue *json, Numeric *out)
{
	char	   *text;

	if (json->type == jbvNumeric)
	{
		*out = json->val.numeric;
		return true;
	}
	if (json->type != jbvString)
		return false;
	text = jny_json_scalar_text(json);
	return jny_value_number(text, out);
}

/* A whole number that fits; null otherwise, never rounded. */
static Datum
number_int8(Numeric number, bool *isnull)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
	char	   *end;
	int64		n;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (*end == '.')
		end += 1 + strspn(end + 1, "0");
	*isnull = errno != 0 || *end != '\0';
	return Int64GetDatum(n);
}

static Datum
number_float8(Numeric number, bool *isnull)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
	double		d = strtod(text, NULL);

	*isnull = isinf(d) || isnan(d);
	return Float8GetDatum(d);
}

static Datum
json_array(JsonbValue *json, bool *isnull)
{
	ArrayBuildState *state = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;

	*isnull = json->type != jbvBinary || !JsonContainerIsArray(json->val.binary.data);
	if (*isnull)
		return (Datum) 0;
	it = JsonbIteratorInit(json->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		char	   *text;

		if (token != WJB_ELEM)
			continue;
		text = json_text(&v);
		accumArrayResult(state, text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL,
						 TEXTOID, CurrentMemoryContext);
	}
	return makeArrayResult(state, CurrentMemoryContext);
}

Datum
jny_json_to_value(JsonbValue *json, Oid type, bool *isnull)
{
	Numeric		number;
	char	   *text;
	TimestampTz at;
	bool		yes;

	*isnull = json == NULL || json->type == jbvNull;
	if (*isnull)
		return (Datum) 0;
	switch (type)
	{
		case JSONBOID:
			return JsonbPGetDatum(JsonbValueToJsonb(json));
		case TEXTOID:
			return CStringGetTextDatum(json_text(json));
		case NUMERICOID:
		case INT8OID:
		case FLOAT8OID:
			if (!json_number(json, &number))
				break;
			if (type == INT8OID)
				return number_int8(number, isnull);
			if (type == FLOAT8OID)
				return number_float8(number, isnull);
			return NumericGetDatum(number);
		case BOOLOID:
			if (json->type == jbvBool)
				return BoolGetDatum(json->val.boolean);
			text = jny_json_scalar_text(json);
			if (json->type != jbvString || !parse_bool(text, &yes))
				break;
			return BoolGetDatum(yes);
		case TIMESTAMPTZOID:
			if (json->type != jbvString)
				break;
			text = jny_json_scalar_text(json);
			if (!jny_value_time(text, &at))
				break;
			return TimestampTzGetDatum(at);
		case TEXTARRAYOID:
			return json_array(json, isnull);
		default:
			break;
	}
	*isnull = true;
	return (Datum) 0;
}
