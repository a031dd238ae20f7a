/*
 * capture_row.c
 *		A row of the shop as text, keys and status.
 *
 * Called by the capture trigger with the row's slot. Values are written as
 * the output functions of their types do, but for money, which is written as
 * the number that it is. Built-in scalars cannot fail; any other type's output runs in a subtransaction of its own
 * that writes nothing and so takes no transaction id: when it raises, the
 * value is null and flagged. Values larger than journey.max_value are cut
 * before they are detoasted, where the type allows it.
 *
 * Memory: the caller's context. No locks, no catalogue access but what an
 * output function does (enums look their label up).
 */
#include "observe/capture_row.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* ---- settings ---------------------------------------------------------- */

/*
 * The variables themselves are set and put back: going through the settings'
 * own machinery would cost more than the rest of the capture.
 */
void
jny_text_settings_begin(JnyTextSettings *saved)
{
	static pg_tz *utc = NULL;

	if (utc == NULL)
		utc = pg_tzset("UTC");
	saved->date_style = DateStyle;
	saved->date_order = DateOrder;
	saved->interval_style = IntervalStyle;
	saved->float_digits = extra_float_digits;
	saved->zone = session_timezone;
	DateStyle = USE_ISO_DATES;
	DateOrder = DATEORDER_YMD;
	IntervalStyle = INTSTYLE_POSTGRES;
	extra_float_digits = 1;
	session_timezone = utc;
}

void
jny_text_settings_end(const JnyTextSettings *saved)
{
	DateStyle = saved->date_style;
	DateOrder = saved->date_order;
	IntervalStyle = saved->interval_style;
	extra_float_digits = saved->float_digits;
	session_timezone = saved->zone;
}

/* ---- one value --------------------------------------------------------- */

static void
set_null(JnyText *text, bool cut)
{
	memset(text, 0, sizeof(*text));
	text->isnull = true;
	text->cut = cut;
}

/* The bytes of a string value: no more of it is read than is kept. */
static void
write_string(JnyText *text, Datum value, bool padded)
{
	struct varlena *stored = (struct varlena *) DatumGetPointer(value);
	struct varlena *slice = stored;
	int			keep = jny_max_value_bytes;

	text->full = toast_raw_datum_size(value) - VARHDRSZ;
	if (VARATT_IS_EXTERNAL(stored) || VARATT_IS_COMPRESSED(stored))
		/* one character more than is kept, so that the cut finds its edge */
		slice = detoast_attr_slice(stored, 0, Min((Size) keep + MAX_MULTIBYTE_CHAR_LEN, text->full));
	text->data = VARDATA_ANY(slice);
	text->len = VARSIZE_ANY_EXHDR(slice);
	if (text->len > keep)
	{
		text->len = pg_mbcliplen(text->data, text->len, keep);
		text->cut = true;
	}
	if (padded)
		while (text->len > 0 && text->data[text->len - 1] == ' ')
			text->len--;
}

static void
write_cstring(JnyText *text, const char *data)
{
	text->data = data;
	text->len = strlen(data);
	text->full = text->len;
	/* half a number or half a document would be another one */
	if (text->len > jny_max_value_bytes)
		set_null(text, true);
}

static char *
output_of(JnyColumn *column, Datum value)
{
	if (column->form == JNY_FORM_MONEY)
		return DatumGetCString(DirectFunctionCall1(numeric_out, DirectFunctionCall1(cash_numeric, value)));
	return OutputFunctionCall(&column->out, value);
}

/*
 * Output of a type that we know nothing about, or of money, which asks the
 * system for its locale. What it raises ends here, but for a cancel, which is
 * the shop's own.
 */
static char *
guarded_output(JnyColumn *column, Datum value)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile result = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		result = output_of(column, value);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(cxt);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(cxt);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		result = NULL;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	return result;
}

static void
write_output(JnyText *text, JnyColumn *column, Datum value)
{
	Size		most = Min((Size) jny_max_value_bytes * 16, (Size) 64 * 1024 * 1024);
	char	   *data;

	/*
	 * No output is asked of a value that will not fit: text is at most some
	 * ten times as long as what is stored, and a sixteenth at least.
	 */
	if (column->varlena && toast_raw_datum_size(value) > most)
	{
		set_null(text, true);
		return;
	}
	data = column->form == JNY_FORM_ODD || column->form == JNY_FORM_MONEY
		? guarded_output(column, value)
		: output_of(column, value);
	if (data == NULL)
		set_null(text, true);
	else
		write_cstring(text, data);
}

/* Dates and times in ISO and UTC: their output functions are a good part of a capture. */
static void
write_date(JnyText *text, DateADT date)
{
	char	   *buf = palloc(MAXDATELEN + 1);
	struct pg_tm tm;

	if (DATE_NOT_FINITE(date))
		EncodeSpecialDate(date, buf);
	else
	{
		j2date(date + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
		EncodeDateOnly(&tm, USE_ISO_DATES, buf);
	}
	write_cstring(text, buf);
}

static void
write_timestamp(JnyText *text, Timestamp at, bool zoned)
{
	char	   *buf = palloc(MAXDATELEN + 1);
	struct pg_tm tm;
	fsec_t		fsec;

	if (TIMESTAMP_NOT_FINITE(at))
		EncodeSpecialTimestamp(at, buf);
	else if (timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) == 0)
	{
		tm.tm_isdst = 0;
		EncodeDateTime(&tm, fsec, zoned, 0, NULL, USE_ISO_DATES, buf);
	}
	else
	{
		set_null(text, true);
		return;
	}
	write_cstring(text, buf);
}

static void
write_value(JnyText *text, JnyColumn *column, Datum value)
{
	char	   *digits;

	switch (column->form)
	{
		case JNY_FORM_STRING:
		case JNY_FORM_PADDED:
			write_string(text, value, column->form == JNY_FORM_PADDED);
			return;
		case JNY_FORM_BOOL:
			text->data = DatumGetBool(value) ? "true" : "false";
			text->len = text->full = strlen(text->data);
			return;
		case JNY_FORM_INT2:
		case JNY_FORM_INT4:
		case JNY_FORM_INT8:
			text->data = digits = palloc(MAXINT8LEN + 1);
			text->len = column->form == JNY_FORM_INT8 ? pg_lltoa(DatumGetInt64(value), digits)
				: column->form == JNY_FORM_INT4 ? pg_ltoa(DatumGetInt32(value), digits)
				: pg_ltoa(DatumGetInt16(value), digits);
			text->full = text->len;
			return;
		case JNY_FORM_DATE:
			write_date(text, DatumGetDateADT(value));
			return;
		case JNY_FORM_TIMESTAMP:
		case JNY_FORM_TIMESTAMPTZ:
			write_timestamp(text, DatumGetTimestamp(value), column->form == JNY_FORM_TIMESTAMPTZ);
			return;
		default:
			write_output(text, column, value);
	}
}

/* ---- fields, keys ------------------------------------------------------ */

static const char *
raw_field(const JnyImage *image, const JnySpecField *field)
{
	const JnyText *text;

	if (!field->present)
		return NULL;
	if (field->col < 0)
		return field->constant;
	text = &image->text[field->col];
	return text->isnull ? NULL : pnstrdup(text->data, text->len);
}

const char *
jny_image_field(const JnySpec *spec, const JnyImage *image, const JnySpecField *field)
{
	if (!field->present)
		return NULL;
	return jny_attach_value(field->values, raw_field(image, field));
}

static bool
add_hash(JnyImage *image, int64 hash)
{
	if (image->nkeys == JNY_SPEC_KEYS)
		return false;
	image->keys[image->nkeys++] = hash;
	return true;
}

/* A person without a key is not the same person as another without one. */
static bool
add_key(const JnySpec *spec, JnyImage *image, const JnySpecKey *key)
{
	const char *value = raw_field(image, &key->field);
	char	   *normal = value == NULL ? NULL : jny_normalise(key->namespace, value);

	if (normal == NULL)
		return false;
	return add_hash(image, jny_key_hash(key->namespace, key->scoped ? jny_key_in_scope(spec->scope, normal) : normal));
}

/* Orders and carts are known by their scope and id, as in jny_keys_add_object(). */
static bool
add_object(const JnySpec *spec, JnyImage *image, const char *namespace, const char *id)
{
	char	   *normal = id == NULL ? NULL : jny_normalise(namespace, id);

	return normal != NULL
		&& add_hash(image, jny_key_hash(namespace, jny_key_in_scope(spec->scope, normal)));
}

static void
read_keys(const JnySpec *spec, JnyImage *image)
{
	bool		of_cart = spec->kind == JNY_SPEC_CART || spec->kind == JNY_SPEC_CART_LINE;
	bool		of_order = spec->kind == JNY_SPEC_ORDER || spec->kind == JNY_SPEC_ORDER_LINE;
	const char *id;

	for (int i = 0; i < spec->nsubject; i++)
		if (spec->subject[i].personal
			&& add_key(spec, image, &spec->subject[i]))
			image->npeople++;
	if (spec->cart.present
		&& add_object(spec, image, "cart", raw_field(image, &spec->cart)))
		image->npeople++;
	if (spec->order.present && add_object(spec, image, "order", raw_field(image, &spec->order)))
		image->ref = jny_key_in_scope("order", raw_field(image, &spec->order));
	if (!of_cart && !of_order)
		return;
	id = raw_field(image, &spec->key);
	if (!add_object(spec, image, of_cart ? "cart" : "order", id))
		return;
	image->npeople += of_cart ? 1 : 0;
	image->has_object = true;
	image->object = image->keys[image->nkeys - 1];
	image->ref = jny_key_in_scope(of_cart ? "cart" : "order", id);
}

/* Of a table that has no status but the times of its milestones: the furthest that has one. */
static const char *
reached(const JnySpec *spec, const JnyImage *image)
{
	static const char *const statuses[][3] = {
		{"shipped", "ready", "delivered"}, {"requested", "approved", "received"}
	};

	for (int i = 2; i >= 0; i--)
		if (raw_field(image, &spec->milestone[i]) != NULL)
			return statuses[spec->kind == JNY_SPEC_RETURN][i];
	return spec->kind == JNY_SPEC_RETURN ? "requested" : "pending";
}

JnyImage *
jny_image_read(JnySpec *spec, TupleTableSlot *slot)
{
	JnyImage   *image = palloc0(sizeof(JnyImage));

	image->text = palloc0(sizeof(JnyText) * spec->ncolumns);
	image->datum = palloc0(sizeof(Datum) * spec->ncolumns);
	if (spec->max_attno > 0)
		slot_getsomeattrs(slot, spec->max_attno);
	for (int i = 0; i < spec->ncolumns; i++)
	{
		JnyColumn  *column = &spec->columns[i];
		int			att = column->attno - 1;

		if (column->form == JNY_FORM_MISSING || slot->tts_isnull[att])
		{
			set_null(&image->text[i], column->form == JNY_FORM_MISSING);
			continue;
		}
		image->datum[i] = slot->tts_values[att];
		write_value(&image->text[i], column, slot->tts_values[att]);
	}
	read_keys(spec, image);
	if ((spec->kind == JNY_SPEC_SHIPMENT || spec->kind == JNY_SPEC_RETURN) && !spec->status.present)
		image->status = reached(spec, image);
	else
		image->status = jny_image_field(spec, image, &spec->status);
	return image;
}

bool
jny_image_equal(const JnySpec *spec, const JnyImage *a, const JnyImage *b)
{
	for (int i = 0; i < spec->ncolumns; i++)
	{
		const JnyText *x = &a->text[i];
		const JnyText *y = &b->text[i];

		if (x->isnull != y->isnull || x->full != y->full || x->len != y->len
			|| (x->len > 0 && memcmp(x->data, y->data, x->len) != 0))
			return false;
		/* neither could be written: the same only when it is the same datum */
		if (x->cut && x->isnull && a->datum[i] != b->datum[i])
			return false;
	}
	return true;
}

int
jny_image_compare_number(const JnyImage *a, const JnyImage *b, int col)
{
	double		x,
				y;

	if (a->text[col].isnull || b->text[col].isnull)
		return 0;
	x = strtod(pnstrdup(a->text[col].data, a->text[col].len), NULL);
	y = strtod(pnstrdup(b->text[col].data, b->text[col].len), NULL);
	return x > y ? 1 : x < y ? -1 : 0;
}

/* ---- what goes into the inbox ------------------------------------------ */

static const char *
cut_positions(const JnySpec *spec, const JnyImage *const *images, int nimages)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < nimages; i++)
		for (int col = 0; col < spec->ncolumns; col++)
			if (images[i]->text[col].cut)
				appendStringInfo(&buf, "%s%d", buf.len > 0 ? " " : "", i * spec->ncolumns + col + 1);
	return buf.data;
}

/* The array is laid out by hand: one allocation, every byte copied once. */
static Datum
text_array(const JnyText *texts, int n)
{
	int			nulls = 0;
	Size		size;
	ArrayType  *array;
	char	   *p;

	for (int i = 0; i < n; i++)
		nulls += texts[i].isnull ? 1 : 0;
	size = nulls > 0 ? ARR_OVERHEAD_WITHNULLS(1, n) : ARR_OVERHEAD_NONULLS(1);
	for (int i = 0; i < n; i++)
		if (!texts[i].isnull)
			size += INTALIGN(VARHDRSZ + texts[i].len);
	array = palloc0(size);
	SET_VARSIZE(array, size);
	array->ndim = 1;
	array->dataoffset = nulls > 0 ? ARR_OVERHEAD_WITHNULLS(1, n) : 0;
	array->elemtype = TEXTOID;
	ARR_DIMS(array)[0] = n;
	ARR_LBOUND(array)[0] = 1;
	p = (char *) array + (nulls > 0 ? (Size) array->dataoffset : ARR_OVERHEAD_NONULLS(1));
	for (int i = 0; i < n; i++)
	{
		if (texts[i].isnull)
			continue;
		if (nulls > 0)
			ARR_NULLBITMAP(array)[i / 8] |= 1 << (i % 8);
		SET_VARSIZE(p, VARHDRSZ + texts[i].len);
		memcpy(VARDATA(p), texts[i].data, texts[i].len);
		p += INTALIGN(VARHDRSZ + texts[i].len);
	}
	return PointerGetDatum(array);
}

Datum
jny_image_cols(const JnySpec *spec, const JnyImage *new, const JnyImage *old)
{
	const JnyImage *images[2];
	int			nimages = 0;
	int			n;
	JnyText    *texts;
	const char *cut;

	if (new != NULL)
		images[nimages++] = new;
	if (old != NULL)
		images[nimages++] = old;
	n = nimages * spec->ncolumns;
	texts = palloc(sizeof(JnyText) * (n + 1));
	for (int i = 0; i < nimages; i++)
		memcpy(texts + i * spec->ncolumns, images[i]->text, sizeof(JnyText) * spec->ncolumns);
	cut = cut_positions(spec, images, nimages);
	if (cut[0] != '\0')
	{
		memset(&texts[n], 0, sizeof(JnyText));
		texts[n].data = cut;
		texts[n++].len = strlen(cut);
	}
	return text_array(texts, n);
}

static void
push_string(JsonbParseState **state, JsonbIteratorToken token, const char *string)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = unconstify(char *, string);
	v.val.string.len = strlen(string);
	pushJsonbValue(state, token, &v);
}

Jsonb *
jny_image_subject(const JnySpec *spec, const JnyImage *image)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < spec->nsubject; i++)
	{
		const char *value = raw_field(image, &spec->subject[i].field);

		if (value == NULL)
			continue;
		push_string(&state, WJB_KEY, spec->subject[i].namespace);
		push_string(&state, WJB_VALUE, value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* What a fence says beside its keys; a value that is NULL is left out. */
Jsonb *
jny_image_props(const char *name1, const char *value1, const char *name2, const char *value2)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (value1 != NULL)
	{
		push_string(&state, WJB_KEY, name1);
		push_string(&state, WJB_VALUE, value1);
	}
	if (value2 != NULL)
	{
		push_string(&state, WJB_KEY, name2);
		push_string(&state, WJB_VALUE, value2);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
