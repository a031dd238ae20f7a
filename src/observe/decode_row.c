/*
 * decode_row.c
 *		Captured rows to facts, through the map of their table.
 *
 * Called by decode.c, one row at a time; no statements. What the columns of
 * inbox.cols are is said in capture.h.
 */
#include "observe/decode.h"

#include "utils/builtins.h"

#define MAX_QUOTE 100			/* bytes of a value that a reason quotes */

static void
read_fields(JnyFact *fact, const JnyMap *map, char **cols, const char **out, bool judge)
{
	bool		said;

	for (int i = 0; i < JNY_NFIELDS; i++)
	{
		if (map->f[i].how == JNY_MAP_NONE)
			continue;
		fact->mapped |= JNY_FIELD_BIT(i);
		out[i] = jny_map_value(&map->f[i], cols, &said);
		if (!said && judge && (i == JNY_F_STATUS || i == JNY_F_TYPE || i == JNY_F_STATE))
			fact->unmapped = true;
		else if (!said && !judge && i == JNY_F_STATUS)
			out[i] = NULL;
	}
}

static void
read_subject(JnyTake *take, JnyFact *fact, const JnyMap *map, char **cols, char **old)
{
	ListCell   *lc;
	bool		said;

	foreach(lc, map->subject)
	{
		const JnyMapEntry *entry = lfirst(lc);
		const char *value = jny_map_value(&entry->field, cols, &said);
		int			field = strcmp(entry->name, "email") == 0 ? JNY_F_EMAIL
			: strcmp(entry->name, "phone") == 0 ? JNY_F_PHONE : -1;

		jny_fact_key(take, fact, entry->name, value);
		if (field < 0)
			continue;
		fact->mapped |= JNY_FIELD_BIT(field);
		if (fact->f[field] == NULL)
			fact->f[field] = value;
		if (old != NULL && fact->old[field] == NULL)
			fact->old[field] = jny_map_value(&entry->field, old, &said);
	}
}

/* A trait or prop keeps its text; true and false become json's own. */
static Jsonb *
read_object(const List *entries, char **cols)
{
	JnyObject	o;
	const ListCell *lc;
	bool		said;

	if (entries == NIL)
		return NULL;
	jny_object_begin(&o);
	foreach(lc, entries)
	{
		const JnyMapEntry *entry = lfirst(lc);
		const char *value = jny_map_value(&entry->field, cols, &said);

		if (value != NULL && (strcmp(value, "true") == 0 || strcmp(value, "false") == 0))
			jny_object_bool(&o, entry->name, value[0] == 't');
		else
			jny_object_text(&o, entry->name, value);
	}
	return jny_object_end(&o);
}

static const char *const consent_states[] = {
	"unknown", "pending", "granted", "denied", "revoked", "bounced", "complained", NULL
};

static bool
is_consent_state(const char *state)
{
	for (int i = 0; consent_states[i] != NULL; i++)
		if (strcmp(state, consent_states[i]) == 0)
			return true;
	return false;
}

static JnyConsent *
add_consent(JnyFact *fact, const char *channel, const char *purpose, const char *state)
{
	JnyConsent *c = palloc0(sizeof(JnyConsent));

	c->channel = channel;
	c->purpose = purpose;
	c->state = state;
	c->at = fact->occurred_at;
	c->local = fact->local;
	fact->consents = lappend(fact->consents, c);
	return c;
}

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/*
 * The consents that a customer's row states: those that changed, or all of a
 * new row. Most rows only know when they were made: a time that an UPDATE left
 * alone is not that of the change.
 */
static void
read_consents(JnyTake *take, JnyFact *fact, const JnyMap *map, char **cols, char **old)
{
	ListCell   *lc;

	foreach(lc, map->consents)
	{
		const JnyMapConsent *spec = lfirst(lc);
		bool		said;
		bool		old_said;
		const char *state = jny_map_value(&spec->state, cols, &said);
		const char *at = jny_map_value(&spec->at, cols, &old_said);
		JnyConsent *c;

		if (state == NULL)
			continue;
		if (!said || !is_consent_state(state))
		{
			jny_tally_incident(take, "unmapped_status", psprintf("%s.%s", fact->attachment_name, spec->channel), "warning",
							   psprintf("the consent map has no word for the value \"%s\"", jny_clip(state, MAX_QUOTE)),
							   "Add the value to the map with journey.attach(); until then the row states no consent.");
			continue;
		}
		if (old != NULL)
		{
			if (same_text(state, jny_map_value(&spec->state, old, &old_said)))
				continue;
			if (same_text(at, jny_map_value(&spec->at, old, &old_said)))
				at = NULL;
		}
		c = add_consent(fact, spec->channel, spec->purpose, state);
		c->basis = spec->basis;
		if (at == NULL || !jny_value_time(at, &c->at))
			c->weak = fact->backfill;
		else
			c->local = !jny_value_zoned(at);
	}
}

/* A row that went takes along what it stood for, where the map says so. */
static void
read_revoked(JnyFact *fact, const JnyMap *map)
{
	const char *purpose = fact->f[JNY_F_PURPOSE];
	ListCell   *lc;

	if (map->on_delete == NULL || strcmp(map->on_delete, "revoked") != 0)
		return;
	foreach(lc, map->consents)
	{
		const JnyMapConsent *spec = lfirst(lc);

		(void) add_consent(fact, spec->channel, spec->purpose, "revoked");
	}
	if (fact->kind == JNY_KIND_CONSENT && fact->f[JNY_F_CHANNEL] != NULL)
		(void) add_consent(fact, fact->f[JNY_F_CHANNEL], purpose != NULL ? purpose : "marketing", "revoked");
}

static bool
differs(const JnyFact *fact, JnyField field)
{
	return !same_text(fact->f[field], fact->old[field]);
}

/* Is the mapped time that of what the row tells now, rather than of its making? */
static bool
tells_its_time(const JnyFact *fact)
{
	switch (fact->op)
	{
		case JNY_OP_INSERT:
		case JNY_OP_BACKFILL:
			return true;
		case JNY_OP_UPDATE:
			return (fact->kind == JNY_KIND_CONSENT || fact->kind == JNY_KIND_MESSAGE) && differs(fact, JNY_F_AT);
		default:
			return false;
	}
}

/* Lengths, numbers and times of the fields that the kind reads. */
static void
check_fields(JnyFact *fact)
{
	static const JnyField keys[] = {
		JNY_F_KEY, JNY_F_SKU, JNY_F_CART, JNY_F_ORDER, JNY_F_LINE, JNY_F_CHANNEL, JNY_F_PURPOSE,
		JNY_F_CURRENCY, JNY_F_ORIGIN
	};
	static const JnyField numbers[] = {
		JNY_F_AMOUNT, JNY_F_QUANTITY, JNY_F_PRICE, JNY_F_AVAILABLE, JNY_F_COST
	};
	static const JnyField times[] = {
		JNY_F_AT, JNY_F_EXPIRES, JNY_F_PROMISED, JNY_F_EXPECTED, JNY_F_SHIPPED, JNY_F_READY, JNY_F_DELIVERED,
		JNY_F_REQUESTED, JNY_F_APPROVED, JNY_F_RECEIVED
	};
	TimestampTz at;
	Numeric		n;

	for (size_t i = 0; i < lengthof(keys); i++)
		if (fact->f[keys[i]] != NULL && !jny_value_fits(fact->f[keys[i]]))
		{
			fact->bad = "a key is too long";
			fact->f[keys[i]] = NULL;
		}
	for (size_t i = 0; i < lengthof(numbers); i++)
	{
		if (fact->f[numbers[i]] != NULL && !jny_value_number(fact->f[numbers[i]], &n))
		{
			fact->bad = psprintf("\"%s\" is not a number", jny_clip(fact->f[numbers[i]], MAX_QUOTE));
			fact->f[numbers[i]] = NULL;
		}
		if (fact->old[numbers[i]] != NULL && !jny_value_number(fact->old[numbers[i]], &n))
			fact->old[numbers[i]] = NULL;
	}
	for (size_t i = 0; i < lengthof(times); i++)
		if (fact->f[times[i]] != NULL && !jny_value_time(fact->f[times[i]], &at))
		{
			fact->bad = psprintf("\"%s\" is not a time", jny_clip(fact->f[times[i]], MAX_QUOTE));
			fact->f[times[i]] = NULL;
		}
	if (tells_its_time(fact) && fact->f[JNY_F_AT] != NULL && jny_value_time(fact->f[JNY_F_AT], &at))
	{
		fact->occurred_at = at;
		fact->timed = true;
		fact->local = !jny_value_zoned(fact->f[JNY_F_AT]);
	}
}

static void
read_objects(JnyTake *take, JnyFact *fact)
{
	const char *key = fact->f[JNY_F_KEY];

	switch (fact->kind)
	{
		case JNY_KIND_CART:
		case JNY_KIND_CART_LINE:
			fact->cart_id = key;
			if (fact->cart_id == NULL)
				fact->bad = "the row has no cart id";
			if (fact->kind == JNY_KIND_CART_LINE && fact->f[JNY_F_LINE] == NULL && fact->f[JNY_F_SKU] == NULL)
				fact->bad = "the line has no sku";
			break;
		case JNY_KIND_ORDER:
		case JNY_KIND_ORDER_LINE:
			fact->order_id = key;
			if (fact->kind == JNY_KIND_ORDER)
				fact->cart_id = fact->f[JNY_F_CART];
			if (fact->order_id == NULL)
				fact->bad = "the row has no order id";
			if (fact->kind == JNY_KIND_ORDER_LINE && fact->f[JNY_F_LINE] == NULL && fact->f[JNY_F_SKU] == NULL)
				fact->bad = "the line has no sku";
			break;
		case JNY_KIND_SHIPMENT:
		case JNY_KIND_RETURN:
			fact->parcel_kind = fact->kind;
			fact->parcel_id = key;
			fact->order_id = fact->f[JNY_F_ORDER];
			if (fact->parcel_id == NULL)
				fact->bad = psprintf("the row has no %s id", fact->kind == JNY_KIND_SHIPMENT ? "shipment" : "return");
			else if (fact->order_id == NULL && fact->nkeys == 0)
				fact->bad = "the row names neither an order nor a person";
			break;
		case JNY_KIND_PRODUCT:
		case JNY_KIND_STOCK:
			if (fact->f[JNY_F_SKU] == NULL)
				fact->f[JNY_F_SKU] = key;
			if (fact->f[JNY_F_SKU] == NULL)
				fact->bad = "the row has no sku";
			break;
		default:
			break;
	}
	jny_fact_objects(take, fact);
}

static bool
is_other_subject(const JnyMap *map, char **cols, char **old)
{
	ListCell   *lc;
	bool		said;

	foreach(lc, map->subject)
	{
		const JnyMapField *field = &((const JnyMapEntry *) lfirst(lc))->field;

		if (!same_text(jny_map_value(field, cols, &said), jny_map_value(field, old, &said)))
			return true;
	}
	return false;
}

/* An UPDATE that touched neither who, what nor when says nothing again: the person may have changed it elsewhere. */
static bool
states_consent(const JnyFact *fact)
{
	return !fact->has_old || fact->other_subject || differs(fact, JNY_F_STATE) || differs(fact, JNY_F_CHANNEL) ||
		differs(fact, JNY_F_PURPOSE) || differs(fact, JNY_F_AT);
}

/* Whatever it is in the shop, it is kept word for word. */
static Jsonb *
proof_of(const char *text)
{
	JnyObject	o;

	if (text == NULL)
		return NULL;
	jny_object_begin(&o);
	jny_object_text(&o, "proof", text);
	return jny_object_end(&o);
}

static bool
changes_terms(const JnyFact *fact)
{
	return differs(fact, JNY_F_EXPIRES) || differs(fact, JNY_F_BASIS) || differs(fact, JNY_F_PROOF);
}

static void
read_terms(JnyConsent *c, const char *const *f)
{
	c->basis = f[JNY_F_BASIS];
	c->proof = proof_of(f[JNY_F_PROOF]);
	if (f[JNY_F_EXPIRES] != NULL)
		(void) jny_value_time(f[JNY_F_EXPIRES], &c->expires_at);
}

static void
read_consent(JnyFact *fact, bool terms_only)
{
	JnyConsent *before = NULL;
	const char *purpose = fact->f[JNY_F_PURPOSE];
	JnyConsent *c;

	if (fact->f[JNY_F_CHANNEL] == NULL || fact->f[JNY_F_STATE] == NULL ||
		!is_consent_state(fact->f[JNY_F_STATE]))
		fact->bad = "the row states no consent that is known";
	if (fact->f[JNY_F_STATE] == NULL || !is_consent_state(fact->f[JNY_F_STATE]))
		return;
	c = add_consent(fact, fact->f[JNY_F_CHANNEL], purpose != NULL ? purpose : "marketing", fact->f[JNY_F_STATE]);
	read_terms(c, fact->f);
	c->weak = fact->backfill && fact->f[JNY_F_AT] == NULL;
	if (terms_only)
	{
		before = palloc0(sizeof(JnyConsent));
		read_terms(before, fact->old);
		c->before = before;
	}
}

static void
read_kind(JnyTake *take, JnyFact *fact, const JnyMap *map, char **cols, char **old)
{
	fact->traits = read_object(map->traits, cols);
	fact->other_subject = old != NULL && is_other_subject(map, cols, old);
	switch (fact->kind)
	{
		case JNY_KIND_CUSTOMER:
			if (fact->op == JNY_OP_DELETE)
				read_revoked(fact, map);
			else
				read_consents(take, fact, map, cols, old);
			break;
		case JNY_KIND_CONSENT:
			if (fact->op == JNY_OP_DELETE)
				read_revoked(fact, map);
			else if (states_consent(fact))
				read_consent(fact, false);
			else if (changes_terms(fact))
				read_consent(fact, true);
			break;
		case JNY_KIND_MESSAGE:
			fact->type = fact->f[JNY_F_TYPE];
			fact->provider_ref = fact->f[JNY_F_PROVIDER_REF];
			if (fact->f[JNY_F_ACTION] != NULL)
				fact->has_action = jny_value_uuid(fact->f[JNY_F_ACTION], &fact->action_id);
			if (fact->type == NULL || fact->unmapped ||
				(strncmp(fact->type, "message_", 8) != 0 && strcmp(fact->type, "unsubscribed") != 0))
				fact->bad = "the row has no type of message event that is known";
			break;
		default:
			break;
	}
	if (fact->nkeys == 0 && fact->bad == NULL &&
		(fact->kind == JNY_KIND_CUSTOMER || fact->kind == JNY_KIND_CONSENT))
		fact->bad = "subject names nobody";
}

/* A line that an UPDATE gave another key is two: one that went and one that came. */
static void
split_rekeyed_line(JnyTake *take, JnyInboxRaw *row, JnyFact *fact)
{
	JnyFact    *gone;

	if (fact->kind != JNY_KIND_CART_LINE && fact->kind != JNY_KIND_ORDER_LINE)
		return;
	if (!differs(fact, JNY_F_KEY) && !differs(fact, JNY_F_ORDER) &&
		!differs(fact, JNY_F_LINE) && (fact->f[JNY_F_LINE] != NULL || !differs(fact, JNY_F_SKU)))
		return;
	gone = jny_fact_new(take, row);
	jny_fact_own_fields(gone);
	gone->kind = fact->kind;
	gone->op = JNY_OP_DELETE;
	gone->attachment_name = fact->attachment_name;
	gone->fence = JNY_FENCE_NONE;
	memcpy(gone->f, fact->old, sizeof(char *) * JNY_NFIELDS);
	read_objects(take, gone);
	fact->op = JNY_OP_INSERT;
	fact->has_old = false;
	memset(fact->old, 0, sizeof(char *) * JNY_NFIELDS);
}

void
jny_decode_captured(JnyTake *take, JnyInboxRaw *row)
{
	const JnyMap *map = jny_map_get(take, row->attachment);
	int			n = 0;
	char	  **cols = row->cols != NULL ? jny_text_array(row->cols, &n) : NULL;
	char	  **old = NULL;
	JnyFact    *fact;

	if (map == NULL || map->kind == JNY_KIND_OTHER || strchr("IUDBT", row->op) == NULL)
	{
		jny_tally_quarantine(take, row, "22023", "the row's attachment or operation is not known");
		return;
	}
	if (row->op != JNY_OP_TRUNCATE && n < map->ncols * (row->op == JNY_OP_UPDATE ? 2 : 1))
	{
		jny_tally_quarantine(take, row, "22023", "the row has fewer columns than its map");
		return;
	}
	fact = jny_fact_new(take, row);
	jny_fact_own_fields(fact);
	fact->kind = map->kind;
	fact->attachment_name = map->rel;
	fact->on_delete = map->on_delete;
	if (row->op == JNY_OP_TRUNCATE)
	{
		fact->truncate = true;
		return;
	}
	if (row->op == JNY_OP_UPDATE)
	{
		old = cols + map->ncols;
		fact->has_old = true;
		read_fields(fact, map, old, fact->old, false);
	}
	read_fields(fact, map, cols, fact->f, true);
	read_subject(take, fact, map, cols, old);
	fact->props = read_object(map->props, cols);
	check_fields(fact);
	read_objects(take, fact);
	read_kind(take, fact, map, cols, old);
	if (fact->has_old)
		split_rekeyed_line(take, row, fact);
}
