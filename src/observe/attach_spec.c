/*
 * attach_spec.c
 *		The mapping of a capture trigger, parsed once per backend.
 *
 * A trigger's arguments are (attachment id, kind, source, scope, spec), the
 * spec being {"columns": [...], "map": {...}, "groups": {...}, "scoped": {...}} as
 * journey.attach() wrote it; groups names the namespaces whose keys stand for more
 * than one person, scoped those whose keys are a scope's own.
 * Columns are found by name: a leaf partition has its own order of columns
 * and its own copy of the trigger, so the cache is keyed by the trigger's oid.
 *
 * Called by the capture trigger in the shop's transaction. No locks, no
 * catalogue reads but syscache look-ups of types. Specs live in a context of
 * their own under CacheMemoryContext; a relcache invalidation marks a spec,
 * the next use of it rebuilds. Raises only for arguments that attach() never
 * writes.
 */
#include "observe/attach_spec.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

static HTAB *specs = NULL;
/* The one used last, which is mostly the next one, too. */
static JnySpec *latest = NULL;

typedef struct SpecEntry
{
	Oid			trigger;		/* hash key, first */
	JnySpec    *spec;
} SpecEntry;

/* Runs at any moment a lock is taken: marks, never frees. */
static void
forget_relation(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS seq;
	SpecEntry  *entry;

	hash_seq_init(&seq, specs);
	while ((entry = hash_seq_search(&seq)) != NULL)
		if (entry->spec != NULL && (relid == InvalidOid || entry->spec->relid == relid))
			entry->spec->valid = false;
}

static void
init_specs(void)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(SpecEntry);
	ctl.hcxt = CacheMemoryContext;
	specs = hash_create("journey attachments", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	jny_watch_relations(forget_relation);
}

/* ---- values ------------------------------------------------------------ */

const char *
jny_attach_value(Jsonb *values, const char *raw)
{
	JsonbValue	v;

	if (values == NULL)
		return raw;
	if (jny_json_field(values, raw != NULL ? raw : "", &v) == NULL
		&& (raw == NULL || jny_json_field(values, "*", &v) == NULL))
		return NULL;
	return jny_json_scalar_text(&v);
}

bool
jny_status_is_placed(const char *canonical)
{
	return canonical != NULL
		&& (strcmp(canonical, "placed") == 0 || strcmp(canonical, "paid") == 0
			|| strcmp(canonical, "shipped") == 0 || strcmp(canonical, "delivered") == 0);
}

/* ---- columns ----------------------------------------------------------- */

static JnyForm
form_of(Oid type)
{
	switch (type)
	{
		case TEXTOID:
		case VARCHAROID:
			return JNY_FORM_STRING;
		case BPCHAROID:
			return JNY_FORM_PADDED;
		case BOOLOID:
			return JNY_FORM_BOOL;
		case INT2OID:
			return JNY_FORM_INT2;
		case INT4OID:
			return JNY_FORM_INT4;
		case INT8OID:
			return JNY_FORM_INT8;
		case DATEOID:
			return JNY_FORM_DATE;
		case TIMESTAMPOID:
			return JNY_FORM_TIMESTAMP;
		case TIMESTAMPTZOID:
			return JNY_FORM_TIMESTAMPTZ;
		case MONEYOID:
			return JNY_FORM_MONEY;
		case FLOAT4OID:
		case FLOAT8OID:
		case TIMEOID:
		case TIMETZOID:
		case INTERVALOID:
			return JNY_FORM_STYLED;
		case NUMERICOID:
		case UUIDOID:
		case INETOID:
		case CIDROID:
		case OIDOID:
		case CHAROID:
		case NAMEOID:
		case JSONOID:
		case JSONBOID:
			return JNY_FORM_PLAIN;
		default:
			return JNY_FORM_ODD;
	}
}

static void
resolve_column(JnySpec *spec, JnyColumn *column, TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Oid			type,
					out;

		if (att->attisdropped || strcmp(NameStr(att->attname), column->name) != 0)
			continue;
		type = getBaseType(att->atttypid);
		getTypeOutputInfo(type, &out, &column->varlena);
		fmgr_info_cxt(out, &column->out, spec->cxt);
		column->form = form_of(type);
		column->attno = att->attnum;
		spec->needs_settings |= column->form == JNY_FORM_STYLED || column->form == JNY_FORM_ODD;
		spec->max_attno = Max(spec->max_attno, att->attnum);
		return;
	}
	column->form = JNY_FORM_MISSING;
	spec->broken = spec->kind != JNY_SPEC_PRODUCT && spec->kind != JNY_SPEC_STOCK;
}

static void
read_columns(JnySpec *spec, Jsonb *columns, TupleDesc desc)
{
	int			n = columns == NULL ? 0 : JB_ROOT_COUNT(columns);

	spec->columns = palloc0(sizeof(JnyColumn) * n);
	spec->ncolumns = n;
	for (int i = 0; i < n; i++)
	{
		spec->columns[i].name = jny_json_scalar_text(getIthJsonbValueFromContainer(&columns->root, i));
		resolve_column(spec, &spec->columns[i], desc);
	}
}

/* ---- fields ------------------------------------------------------------ */

static int
place_of(const JnySpec *spec, const char *column)
{
	for (int i = 0; column != NULL && i < spec->ncolumns; i++)
		if (strcmp(spec->columns[i].name, column) == 0)
			return i;
	return -1;
}

/* "column", {"column": c, "values": {...}} or {"const": v} */
static JnySpecField
read_field(const JnySpec *spec, Jsonb *object, const char *name)
{
	JnySpecField	field = {.col = -1};
	Jsonb	   *how;

	if (object == NULL)
		return field;
	how = jny_json_object(object, name);
	if (how == NULL)
		field.col = place_of(spec, jny_json_text(object, name));
	else
	{
		field.col = place_of(spec, jny_json_text(how, "column"));
		field.values = jny_json_object(how, "values");
		if (field.col < 0)
			field.constant = jny_json_text(how, "const");
	}
	field.present = field.col >= 0 || field.constant != NULL;
	return field;
}

static void
read_subject(JnySpec *spec, Jsonb *subject, Jsonb *groups, Jsonb *scoped)
{
	JsonbIterator *it = jny_json_members(subject);
	JsonbValue	v;
	char	   *namespace;

	if (it == NULL)
		return;
	spec->subject = palloc0(sizeof(JnySpecKey) * (JB_ROOT_COUNT(subject) + 1));
	while (jny_json_next(&it, &namespace, &v))
	{
		JnySpecKey *key = &spec->subject[spec->nsubject];

		key->namespace = namespace;
		key->field = read_field(spec, subject, key->namespace);
		key->personal = !jny_json_bool(groups, key->namespace, false);
		key->scoped = jny_json_bool(scoped, key->namespace, false);
		if (key->field.present && spec->nsubject < JNY_SUBJECT_KEYS)
			spec->nsubject++;
	}
}

static void
read_consents(JnySpec *spec, Jsonb *consents)
{
	if (consents == NULL || !JB_ROOT_IS_ARRAY(consents))
		return;
	spec->consents = palloc0(sizeof(JnySpecConsent) * (JB_ROOT_COUNT(consents) + 1));
	for (uint32 i = 0; i < JB_ROOT_COUNT(consents); i++)
	{
		JsonbValue *v = getIthJsonbValueFromContainer(&consents->root, i);
		JnySpecConsent *consent = &spec->consents[spec->nconsents];
		Jsonb	   *object;
		StringInfoData props;

		if (v->type != jbvBinary)
			continue;
		object = JsonbValueToJsonb(v);
		consent->state.col = place_of(spec, jny_json_text(object, "column"));
		consent->state.values = jny_json_object(object, "values");
		consent->state.present = consent->state.col >= 0;
		consent->channel = jny_json_text(object, "channel");
		consent->purpose = jny_json_text(object, "purpose");
		if (consent->purpose == NULL)
			consent->purpose = "marketing";
		if (!consent->state.present || consent->channel == NULL || spec->nconsents == JNY_SPEC_CONSENTS)
			continue;
		initStringInfo(&props);
		appendStringInfoString(&props, "{\"channel\": ");
		escape_json(&props, consent->channel);
		appendStringInfoString(&props, ", \"purpose\": ");
		escape_json(&props, consent->purpose);
		appendStringInfoChar(&props, '}');
		consent->props = jny_json_parse(props.data);
		spec->nconsents++;
	}
}

static JnySpecKind
kind_of(const char *name)
{
	static const char *const names[] = {
		"customer", "product", "stock", "cart", "cart_line", "order",
		"order_line", "consent", "message_event", "shipment", "return"
	};

	for (int i = 0; i < (int) lengthof(names); i++)
		if (strcmp(names[i], name) == 0)
			return (JnySpecKind) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown kind \"%s\" in a capture trigger", name),
			 errhint("Capture triggers are made by journey.attach().")));
}

static void
read_parcel(JnySpec *spec, Jsonb *map)
{
	static const char *const milestones[][3] = {
		{"shipped_at", "ready_at", "delivered_at"}, {"requested_at", "approved_at", "received_at"}
	};

	spec->order = read_field(spec, map, "order");
	for (int i = 0; i < 3; i++)
		spec->milestone[i] = read_field(spec, map, milestones[spec->kind == JNY_SPEC_RETURN][i]);
	spec->promised = read_field(spec, map, "promised_at");
	spec->expected = read_field(spec, map, "expected_at");
}

static void
read_map(JnySpec *spec, Jsonb *map, Jsonb *groups, Jsonb *scoped)
{
	const char *on_delete = jny_json_text(map, "on_delete");

	read_subject(spec, jny_json_object(map, "subject"), groups, scoped);
	read_consents(spec, jny_json_object(map, "consents"));
	spec->key = read_field(spec, map, "key");
	if (spec->kind == JNY_SPEC_ORDER)
		spec->cart = read_field(spec, map, "cart");
	if (spec->kind == JNY_SPEC_SHIPMENT || spec->kind == JNY_SPEC_RETURN)
		read_parcel(spec, map);
	spec->status = read_field(spec, map, "status");
	spec->state = read_field(spec, map, "state");
	spec->channel = read_field(spec, map, "channel");
	spec->purpose = read_field(spec, map, "purpose");
	spec->type = read_field(spec, map, "type");
	spec->action = read_field(spec, map, "action_id");
	spec->provider_ref = read_field(spec, map, "provider_ref");
	spec->quantity = read_field(spec, map, "quantity").col;
	spec->delete_cancels = on_delete != NULL && strcmp(on_delete, "cancelled") == 0;
	spec->delete_revokes = on_delete != NULL && strcmp(on_delete, "revoked") == 0;
}

JnySpec *
jny_spec_make(int attachment, const char *kind, const char *source,
			  const char *scope, Jsonb *doc, TupleDesc desc)
{
	JnySpec    *spec = palloc0(sizeof(JnySpec));

	spec->cxt = CurrentMemoryContext;
	spec->attachment = attachment;
	spec->kind = kind_of(kind);
	spec->source = pstrdup(source);
	spec->scope = pstrdup(scope);
	read_columns(spec, jny_json_object(doc, "columns"), desc);
	read_map(spec, jny_json_object(doc, "map"), jny_json_object(doc, "groups"), jny_json_object(doc, "scoped"));
	return spec;
}

static JnySpec *
build_spec(Relation rel, Trigger *trigger)
{
	MemoryContext cxt;
	MemoryContext old;
	JnySpec    *spec;

	if (trigger->tgnargs != 5)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" does not have the arguments of a capture trigger", trigger->tgname),
				 errhint("Capture triggers are made by journey.attach().")));
	cxt = AllocSetContextCreate(CurrentMemoryContext, "journey attachment", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(cxt);
	spec = jny_spec_make(pg_strtoint32(trigger->tgargs[0]), trigger->tgargs[1],
						 trigger->tgargs[2], trigger->tgargs[3],
						 jny_json_parse(trigger->tgargs[4]), RelationGetDescr(rel));
	spec->trigger = trigger->tgoid;
	spec->relid = RelationGetRelid(rel);
	spec->valid = true;
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(cxt, CacheMemoryContext);
	return spec;
}

JnySpec *
jny_spec_of(Relation rel, Trigger *trigger)
{
	SpecEntry  *entry;
	bool		found;

	if (latest != NULL && latest->valid && latest->trigger == trigger->tgoid &&
		latest->relid == RelationGetRelid(rel))
		return latest;
	if (specs == NULL)
		init_specs();
	latest = NULL;
	entry = hash_search(specs, &trigger->tgoid, HASH_ENTER, &found);
	if (!found)
		entry->spec = NULL;
	if (entry->spec != NULL && entry->spec->valid && entry->spec->relid == RelationGetRelid(rel))
		return latest = entry->spec;
	if (entry->spec != NULL)
	{
		MemoryContext stale = entry->spec->cxt;

		entry->spec = NULL;
		MemoryContextDelete(stale);
	}
	/*
	 * Type look-ups may let an invalidation in, which then finds no spec to
	 * mark. Our relation cannot change meanwhile: the statement holds a lock.
	 */
	return latest = entry->spec = build_spec(rel, trigger);
}
