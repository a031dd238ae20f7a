/*
 * decode_event.c
 *		Sent events and outcomes of actions to facts.
 *
 * Called by decode.c, one row at a time; no statements. Numbers that came as
 * text become numbers under their canonical names, so that rules compare
 * amounts and not strings.
 */
#include "observe/decode.h"
#include "observe/message.h"

#include "utils/builtins.h"

/* Typed props of the vocabulary. */
static const char *const number_props[] = {"quantity", "price", "amount", "value", "available", "cost"};

/* Types that are about a thing, not a person. */
static bool
needs_no_person(const char *type)
{
	return strcmp(type, "product_changed") == 0 || strcmp(type, "stock_changed") == 0 ||
		strcmp(type, "price_changed") == 0;
}

/* Text under a number's name: a number when it reads as one, else the event is bad. */
static void
type_numbers(JnyTake *take, JnyFact *fact)
{
	JnyObject	o;
	bool		changed = false;

	for (size_t i = 0; i < lengthof(number_props); i++)
	{
		JsonbValue	v;
		Numeric		n;

		if (jny_json_field(fact->props, number_props[i], &v) == NULL ||
			v.type == jbvNumeric || v.type == jbvNull)
			continue;
		if (!jny_type_is_known(take, fact->type))
			return;				/* not in the vocabulary: its props are its own */
		if (v.type != jbvString ||
			!jny_value_number(pnstrdup(v.val.string.val, v.val.string.len), &n))
		{
			fact->bad = psprintf("%s is not a number", number_props[i]);
			return;
		}
		if (!changed)
		{
			jny_object_begin(&o);
			jny_object_all(&o, fact->props);
			changed = true;
		}
		jny_object_number(&o, number_props[i], NumericGetDatum(n));
	}
	if (changed)
		fact->props = jny_object_end(&o);
}

static const char *
short_text(JnyFact *fact, Jsonb *props, const char *name)
{
	const char *text = jny_json_text(props, name);

	if (text != NULL && !jny_value_fits(text))
	{
		fact->bad = psprintf("%s is too long", name);
		return NULL;
	}
	return text;
}

static void
read_action(JnyFact *fact)
{
	const char *action = jny_json_text(fact->props, "action_id");

	if (action == NULL)
		action = jny_json_text(fact->props, "idempotency_key");
	if (action != NULL)
		fact->has_action = jny_value_uuid(action, &fact->action_id);
	fact->provider_ref = jny_json_text(fact->props, "provider_ref");
}

/* Nobody made a fence for a copied row: its protection begins here. */
void
jny_mark_copied(JnyInboxRaw *row)
{
	JnyKeys    *keys = palloc0(sizeof(JnyKeys));
	const char *scope = row->scope != NULL ? row->scope : jny_source_scope(row->source);

	jny_keys_add_subject(keys, row->subject, scope);
	if (row->props != NULL && JB_ROOT_IS_OBJECT(row->props))
	{
		row->ref = jny_message_objects(keys, row->props, scope);
		jny_message_alias(keys, row->type, row->props, scope);
	}
	row->fence = jny_fence_of(row->type, row->ref, keys);
	row->keys = keys->hash;
	row->nkeys = keys->n;
}

static const char *
what_is_wrong(const JnyInboxRaw *row)
{
	if (row->type == NULL || row->type[0] == '\0')
		return "type is missing";
	if (row->source == NULL || row->source[0] == '\0')
		return "source is missing";
	if (!jny_value_fits(row->type) || !jny_value_fits(row->source))
		return "type or source is too long";
	if (row->subject != NULL && !JB_ROOT_IS_OBJECT(row->subject))
		return "subject is not an object";
	return NULL;
}

/* What a COPY may bring and track() refuses. What else the row says may still be an opt-out. */
static void
read_copied(JnyTake *take, JnyFact *fact, const JnyInboxRaw *row)
{
	if (row->props != NULL && !JB_ROOT_IS_OBJECT(row->props))
	{
		fact->bad = "props is not an object";
		fact->props = jny_object_empty();
	}
	if (TIMESTAMP_NOT_FINITE(fact->occurred_at))
	{
		fact->bad = "occurred_at is infinite";
		fact->occurred_at = take->batch->node.now;
	}
}

void
jny_decode_event(JnyTake *take, JnyInboxRaw *row)
{
	JnyFact    *fact;
	const char *wrong = what_is_wrong(row);

	if (wrong != NULL)
	{
		jny_tally_quarantine(take, row, "22023", wrong);
		return;
	}
	if (row->copied)
		jny_mark_copied(row);
	fact = jny_fact_new(take, row);
	fact->kind = JNY_KIND_EVENT;
	fact->props = row->props != NULL ? row->props : jny_object_empty();
	read_copied(take, fact, row);
	fact->cart_id = short_text(fact, fact->props, "cart_id");
	fact->order_id = short_text(fact, fact->props, "order_id");
	(void) short_text(fact, fact->props, "sku");
	(void) short_text(fact, fact->props, "line");
	(void) short_text(fact, fact->props, "channel");
	(void) short_text(fact, fact->props, "purpose");
	type_numbers(take, fact);
	read_action(fact);
	jny_parcel_fields(fact);
	jny_fact_subject(take, fact, row->subject);
	jny_alias_keys(take, fact);
	jny_fact_objects(take, fact);
	if (fact->bad == NULL && fact->nkeys == 0 && fact->cart == NULL && fact->order == NULL &&
		!fact->has_action && fact->provider_ref == NULL && !needs_no_person(fact->type))
		fact->bad = "subject names nobody";
}

/* cols = profile_id, action_id, enrollment_id, step, visit, reason, journey; we wrote them ourselves */
void
jny_decode_action(JnyTake *take, JnyInboxRaw *row)
{
	int			n = 0;
	char	  **cols = row->cols != NULL ? jny_text_array(row->cols, &n) : NULL;
	JnyFact    *fact;

	if (n < 6 || cols[0] == NULL || cols[1] == NULL)
	{
		jny_tally_quarantine(take, row, "22023", "outcome of an action lacks its columns");
		return;
	}
	fact = jny_fact_new(take, row);
	fact->kind = JNY_KIND_ACTION;
	fact->props = row->props != NULL ? row->props : jny_object_empty();
	fact->has_action = jny_value_uuid(cols[1], &fact->action_id);
	fact->has_enrollment = cols[2] != NULL && jny_value_uuid(cols[2], &fact->enrollment_id);
	fact->step = cols[3];
	fact->visit = cols[4] != NULL ? pg_strtoint32(cols[4]) : 0;
	fact->reason = cols[5];
	fact->journey = n > 6 ? cols[6] : NULL;
	fact->has_owner = jny_value_uuid(cols[0], &fact->profile_id);
	if (!fact->has_action || !fact->has_owner)
		fact->bad = "outcome of an action has no valid ids";
}

/* A second fence of the captured row before it. */
void
jny_decode_fence(JnyTake *take, JnyInboxRaw *row)
{
	JnyFact    *fact = jny_fact_new(take, row);

	fact->kind = JNY_KIND_OTHER;
	fact->fence_only = true;
	fact->props = row->props != NULL ? row->props : jny_object_empty();
	jny_fact_subject(take, fact, row->subject);
	if (row->ref != NULL && strncmp(row->ref, "order:", 6) == 0)
		fact->order_id = row->ref + 6;
	if (row->ref != NULL && strncmp(row->ref, "cart:", 5) == 0)
		fact->cart_id = row->ref + 5;
	jny_fact_objects(take, fact);
}
