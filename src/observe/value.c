/*
 * value.c
 *		More of text to values without raising (core/value.c has numbers and
 *		times), and jsonb objects built field by field.
 *
 * Called by observe's decoding. A value that PostgreSQL's input function
 * would reject must cost a quarantined row, not the lap, and no
 * subtransaction. Results live in CurrentMemoryContext.
 */
#include "observe/fact.h"

#include <ctype.h>

#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"

#define MAX_KEY 512				/* longest text that may become part of an index key */

bool
jny_value_interval(const char *text, Interval **out)
{
	Numeric		n;
	char		unit[16];
	int			used;
	int			count;

	/* "30 days", "2 weeks", or a bare number of days: what a catalogue column holds */
	if (jny_value_number(text, &n))
	{
		if (strlen(text) > 5 || strpbrk(text, ".eE-") != NULL)
			return false;
		text = psprintf("%s days", text);
	}
	else if (sscanf(text, "%5d %15[a-z]%n", &count, unit, &used) != 2 || text[used] != '\0' ||
			 strstr(" minute minutes hour hours day days week weeks mon mons month months year years ",
					psprintf(" %s ", unit)) == NULL)
		return false;
	*out = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text),
												 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	return true;
}

/* The canonical 36 characters, in either case. */
bool
jny_value_uuid(const char *text, pg_uuid_t *out)
{
	if (strlen(text) != 36)
		return false;
	for (int i = 0; i < 36; i++)
	{
		bool		dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !isxdigit((unsigned char) text[i]))
			return false;
	}
	*out = *DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(text)));
	return true;
}

bool
jny_value_bool(const char *text, bool *out)
{
	return parse_bool(text, out);
}

bool
jny_value_zone(const char *text)
{
	pg_tz	   *tz;

	/* a name, not a POSIX offset rule, which would take nearly any word */
	if (strlen(text) > TZ_STRLEN_MAX || strpbrk(text, "0123456789,<>") != NULL)
		return strncmp(text, "Etc/GMT", 7) == 0 && pg_tzset(text) != NULL;
	tz = pg_tzset(text);
	return tz != NULL && pg_tz_acceptable(tz);
}

bool
jny_value_fits(const char *text)
{
	return strlen(text) <= MAX_KEY;
}

Datum
jny_num_add(Datum a, Datum b)
{
	return DirectFunctionCall2(numeric_add, a, b);
}

Datum
jny_num_sub(Datum a, Datum b)
{
	return DirectFunctionCall2(numeric_sub, a, b);
}

Datum
jny_num_mul(Datum a, Datum b)
{
	return DirectFunctionCall2(numeric_mul, a, b);
}

int
jny_num_cmp(Datum a, Datum b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, a, b));
}

Datum
jny_num_int(int64 n)
{
	return NumericGetDatum(int64_to_numeric(n));
}

Datum
jny_num_text(const char *text)
{
	Numeric		n;

	return text != NULL && jny_value_number(text, &n) ? NumericGetDatum(n) : (Datum) 0;
}

Datum
jny_num_field(Jsonb *props, const char *name)
{
	JsonbValue	v;

	if (jny_json_field(props, name, &v) == NULL)
		return (Datum) 0;
	if (v.type == jbvNumeric)
		return NumericGetDatum(v.val.numeric);
	return v.type == jbvString ? jny_num_text(jny_json_scalar_text(&v)) : (Datum) 0;
}

/* ---- jsonb objects ---------------------------------------------------- */

void
jny_object_begin(JnyObject *o)
{
	o->state = NULL;
	pushJsonbValue(&o->state, WJB_BEGIN_OBJECT, NULL);
}

static void
push_key(JnyObject *o, const char *key, int len)
{
	JsonbValue	k;

	k.type = jbvString;
	k.val.string.val = unconstify(char *, key);
	k.val.string.len = len;
	pushJsonbValue(&o->state, WJB_KEY, &k);
}

void
jny_object_put(JnyObject *o, const JsonbValue *key, JsonbValue *value)
{
	push_key(o, key->val.string.val, key->val.string.len);
	pushJsonbValue(&o->state, WJB_VALUE, value);
}

void
jny_object_all(JnyObject *o, Jsonb *from)
{
	JsonbIterator *it;
	JsonbIteratorToken tok;
	JsonbValue	v;
	JsonbValue	field;

	if (from == NULL || !JB_ROOT_IS_OBJECT(from))
		return;
	it = JsonbIteratorInit(&from->root);
	while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (tok != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &field, true);
		jny_object_put(o, &v, &field);
	}
}

void
jny_object_text(JnyObject *o, const char *key, const char *value)
{
	JsonbValue	v;

	if (value == NULL)
		return;
	push_key(o, key, strlen(key));
	v.type = jbvString;
	v.val.string.val = unconstify(char *, value);
	v.val.string.len = strlen(value);
	pushJsonbValue(&o->state, WJB_VALUE, &v);
}

void
jny_object_number(JnyObject *o, const char *key, Datum numeric)
{
	JsonbValue	v;

	if (numeric == (Datum) 0)
		return;
	push_key(o, key, strlen(key));
	v.type = jbvNumeric;
	v.val.numeric = DatumGetNumeric(numeric);
	pushJsonbValue(&o->state, WJB_VALUE, &v);
}

void
jny_object_bool(JnyObject *o, const char *key, bool value)
{
	JsonbValue	v;

	push_key(o, key, strlen(key));
	v.type = jbvBool;
	v.val.boolean = value;
	pushJsonbValue(&o->state, WJB_VALUE, &v);
}

void
jny_object_json(JnyObject *o, const char *key, Jsonb *value)
{
	JsonbValue	v;

	if (value == NULL)
		return;
	push_key(o, key, strlen(key));
	if (JB_ROOT_IS_SCALAR(value))
		(void) JsonbExtractScalar(&value->root, &v);
	else
	{
		v.type = jbvBinary;
		v.val.binary.data = &value->root;
		v.val.binary.len = VARSIZE(value) - VARHDRSZ;
	}
	pushJsonbValue(&o->state, WJB_VALUE, &v);
}

Jsonb *
jny_object_end(JnyObject *o)
{
	return JsonbValueToJsonb(pushJsonbValue(&o->state, WJB_END_OBJECT, NULL));
}

Jsonb *
jny_object_merged(Jsonb *known, Jsonb *news)
{
	JnyObject	o;

	jny_object_begin(&o);
	jny_object_all(&o, known);
	jny_object_all(&o, news);
	return jny_object_end(&o);
}

Jsonb *
jny_object_empty(void)
{
	JnyObject	o;

	jny_object_begin(&o);
	return jny_object_end(&o);
}
