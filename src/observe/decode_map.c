/*
 * decode_map.c
 *		The maps of attached tables, compiled: canonical field -> column.
 *
 * Called by decode.c, once per lap, for the attachments that its rows name.
 * A row of an attachment that is no longer there cannot be
 * read and goes to quarantine. Maps live in the batch's context.
 */
#include "observe/decode.h"

#include "utils/builtins.h"

#include "observe/capture.h"

/* In the order of JnyField. */
static const char *const field_names[JNY_NFIELDS] = {
	"key", "status", "amount", "currency", "at", "sku",
	"quantity", "price", "cart", "order", "line", "origin",
	"name", "category", "class", "available", "cost",
	"replenishable", "replenish_after", "channel", "purpose",
	"state", "basis", "proof", "expires_at", "type", "action_id",
	"provider_ref", "reason", "zone", "locale", "codes",
	"machine", "email", "phone", "push_token",
	"promised_at", "expected_at", "shipped_at", "ready_at", "delivered_at",
	"requested_at", "approved_at", "received_at"
};

static const struct
{
	const char *name;
	JnyKind		kind;
}			kinds[] = {
	{"customer", JNY_KIND_CUSTOMER}, {"product", JNY_KIND_PRODUCT},
	{"stock", JNY_KIND_STOCK}, {"cart", JNY_KIND_CART},
	{"cart_line", JNY_KIND_CART_LINE}, {"order", JNY_KIND_ORDER},
	{"order_line", JNY_KIND_ORDER_LINE}, {"consent", JNY_KIND_CONSENT},
	{"message_event", JNY_KIND_MESSAGE},
	{"shipment", JNY_KIND_SHIPMENT}, {"return", JNY_KIND_RETURN}
};

JNY_LOOKUP(find_maps, "attachment", "attachment_pkey", "attachment",
		   "kind, rel_schema, rel_name, map, columns", NULL);

static JnyKind
kind_of(const char *name)
{
	for (size_t i = 0; i < lengthof(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return kinds[i].kind;
	return JNY_KIND_OTHER;
}

static int
column_of(const JnyMap *map, const char *name)
{
	for (int i = 0; i < map->ncols; i++)
		if (strcmp(map->cols[i], name) == 0)
			return i;
	return -1;
}

/* A column's name, {"column", "values"} or {"const"}. */
static JnyMapField
compile_field(const JnyMap *map, JsonbValue *v)
{
	JnyMapField field = {.how = JNY_MAP_NONE, .col = -1};

	if (v->type == jbvString)
	{
		field.how = JNY_MAP_COLUMN;
		field.col = column_of(map, pnstrdup(v->val.string.val, v->val.string.len));
	}
	else if (v->type == jbvBinary)
	{
		Jsonb	   *spec = JsonbValueToJsonb(v);
		char	   *column = jny_json_text(spec, "column");

		field.values = jny_json_object(spec, "values");
		field.constant = jny_json_text(spec, "const");
		field.how = column != NULL ? JNY_MAP_COLUMN : field.constant != NULL ? JNY_MAP_CONST : JNY_MAP_NONE;
		if (column != NULL)
			field.col = column_of(map, column);
	}
	return field;
}

static JnyMapField
compile_named(const JnyMap *map, Jsonb *in, const char *name)
{
	JsonbValue	v;
	JnyMapField none = {.how = JNY_MAP_NONE, .col = -1};

	return jny_json_field(in, name, &v) == NULL ? none : compile_field(map, &v);
}

/* An object name -> field, or an array of columns that keep their names. */
static List *
compile_list(const JnyMap *map, Jsonb *from)
{
	List	   *list = NIL;
	JsonbIterator *it;
	JsonbIteratorToken tok;
	JsonbValue	v;
	char	   *name = NULL;

	if (from == NULL || JB_ROOT_IS_SCALAR(from))
		return NIL;
	it = JsonbIteratorInit(&from->root);
	while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		JnyMapEntry *entry;

		if (tok == WJB_KEY)
			name = pnstrdup(v.val.string.val, v.val.string.len);
		if (tok != WJB_VALUE && tok != WJB_ELEM)
			continue;
		entry = palloc0(sizeof(JnyMapEntry));
		entry->field = compile_field(map, &v);
		entry->name = tok == WJB_VALUE ? name : jny_json_scalar_text(&v);
		if (entry->name != NULL)
			list = lappend(list, entry);
	}
	return list;
}

static List *
compile_consents(const JnyMap *map, Jsonb *from)
{
	List	   *list = NIL;
	JsonbIterator *it;
	JsonbIteratorToken tok;
	JsonbValue	v;

	if (from == NULL || !JB_ROOT_IS_ARRAY(from))
		return NIL;
	it = JsonbIteratorInit(&from->root);
	while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		JnyMapConsent *c;
		Jsonb	   *spec;

		if (tok != WJB_ELEM || v.type != jbvBinary)
			continue;
		spec = JsonbValueToJsonb(&v);
		c = palloc0(sizeof(JnyMapConsent));
		c->channel = jny_json_text(spec, "channel");
		c->purpose = jny_json_text(spec, "purpose");
		if (c->purpose == NULL)
			c->purpose = "marketing";
		c->basis = jny_json_text(spec, "basis");
		c->state = compile_field(map, &v);
		c->at = compile_named(map, spec, "at");
		if (c->channel != NULL)
			list = lappend(list, c);
	}
	return list;
}

static void
compile_map(JnyMap *map, Jsonb *doc)
{
	for (int i = 0; i < JNY_NFIELDS; i++)
		map->f[i] = compile_named(map, doc, field_names[i]);
	map->subject = compile_list(map, jny_json_object(doc, "subject"));
	map->props = compile_list(map, jny_json_object(doc, "props"));
	map->traits = compile_list(map, jny_json_object(doc, "traits"));
	map->consents = compile_consents(map, jny_json_object(doc, "consents"));
	map->on_delete = jny_json_text(doc, "on_delete");
}

static char **
text_array(Datum d, int *n)
{
	Datum	   *elems;
	bool	   *nulls;
	char	  **out;

	deconstruct_array(DatumGetArrayTypeP(d), TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, n);
	out = palloc0(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		out[i] = nulls[i] ? NULL : TextDatumGetCString(elems[i]);
	return out;
}

char	  **
jny_text_array(ArrayType *array, int *n)
{
	return text_array(PointerGetDatum(array), n);
}

static void
fill_map(JnyMap *map, const JnyRow *row)
{
	map->present = true;
	map->kind = kind_of(jny_row_text(row, 0));
	map->rel = psprintf("%s.%s", jny_row_text(row, 1), jny_row_text(row, 2));
	map->cols = text_array(row->values[4], &map->ncols);
	compile_map(map, DatumGetJsonbP(row->values[3]));
}

void
jny_maps_load(JnyTake *take, JnyInboxRaw *rows, int nrows)
{
	JnyOut		keys = {.access = &find_maps};
	List	   *asked = NIL;
	JnyRows    *known;
	bool		found;

	for (int i = 0; i < nrows; i++)
	{
		JnyMap	   *map;

		if (rows[i].attachment == 0)
			continue;
		if (take->maps == NULL)
			take->maps = jny_table(take, "journey maps", sizeof(int), sizeof(JnyMap));
		map = hash_search(take->maps, &rows[i].attachment, HASH_ENTER, &found);
		if (found)
			continue;
		memset((char *) map + sizeof(int), 0, sizeof(JnyMap) - sizeof(int));
		jny_cols_set(jny_out(&keys), 0, Int32GetDatum(map->attachment));
		jny_cols_next(keys.cols);
		asked = lappend(asked, map);
	}
	if (asked == NIL)
		return;
	known = jny_lookup(&find_maps, keys.cols);
	for (int i = 0; i < known->n; i++)
		fill_map(list_nth(asked, known->row[i].key), &known->row[i]);
}

const JnyMap *
jny_map_get(JnyTake *take, int attachment)
{
	JnyMap	   *map = take->maps != NULL ? hash_search(take->maps, &attachment, HASH_FIND, NULL) : NULL;

	return map != NULL && map->present ? map : NULL;
}

/* What the map makes of a row's column; *said = false when it has no word for the value. */
const char *
jny_map_value(const JnyMapField *field, char **cols, bool *said)
{
	const char *raw;
	const char *value;

	*said = true;
	switch (field->how)
	{
		case JNY_MAP_CONST:
			return field->constant;
		case JNY_MAP_COLUMN:
			raw = field->col < 0 ? NULL : cols[field->col];
			if (field->values == NULL)
				return raw;
			value = jny_attach_value(field->values, raw);
			*said = value != NULL || raw == NULL;
			return value != NULL ? value : raw;
		default:
			return NULL;
	}
}
