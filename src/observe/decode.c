/*
 * decode.c
 *		Inbox rows to facts, in the order in which they are to be applied.
 *
 * Called by take.c. A row that cannot be read goes to quarantine and its
 * neighbours pass; what its fence says still holds, so it stays as a fact
 * without an event.
 */
#include "observe/decode.h"

#include "utils/builtins.h"

/* ---- facts ------------------------------------------------------------ */

static const char *no_fields[JNY_NFIELDS];	/* nobody writes here */

void
jny_fact_own_fields(JnyFact *fact)
{
	fact->f = palloc0(sizeof(char *) * JNY_NFIELDS);
	fact->old = palloc0(sizeof(char *) * JNY_NFIELDS);
}

/* A zeroed one; made by the dozen, because memory comes in powers of two. */
static JnyFact *
fresh_fact(JnyTake *take)
{
	if (take->nfresh == 0)
	{
		take->nfresh = 1 + Min(take->nfacts, 63);
		take->fresh = palloc0(sizeof(JnyFact) * take->nfresh);
	}
	take->nfresh--;
	return take->fresh++;
}

JnyFact *
jny_fact_new(JnyTake *take, JnyInboxRaw *row)
{
	JnyFact    *fact = fresh_fact(take);
	JnyNode    *node = &take->batch->node;

	fact->raw = row;
	fact->f = fact->old = no_fields;
	fact->seq = fact->place = row->seq;
	fact->xact = row->xact;
	fact->op = row->op;
	fact->type = row->type;
	fact->source = row->source != NULL ? row->source : "unknown";
	fact->trusted = jny_source_trusted(fact->source);
	fact->scope = row->scope != NULL ? row->scope : jny_source_scope(fact->source);
	fact->message_id = row->message_id;
	fact->received_at = row->received_at;
	fact->timed = row->occurred_at != 0;
	fact->occurred_at = fact->timed ? row->occurred_at : node->test ? node->now : row->received_at;
	fact->backfill = row->op == JNY_OP_BACKFILL || row->op == JNY_OP_OLD_EVENT;
	fact->fence = row->fence;
	fact->ref = row->ref;
	fact->subject = row->subject;
	fact->attachment = row->attachment;

	if (take->nfacts == take->maxfacts)
	{
		take->maxfacts = Max(256, take->maxfacts * 2);
		take->facts = take->nfacts == 0 ? palloc(sizeof(JnyFact *) * take->maxfacts)
			: repalloc(take->facts, sizeof(JnyFact *) * take->maxfacts);
	}
	take->facts[take->nfacts++] = fact;
	return fact;
}

static const JnySpace *
space_of(JnyTake *take, const char *namespace)
{
	for (int i = 0; i < take->nspaces; i++)
		if (strcmp(take->spaces[i].name, namespace) == 0)
			return &take->spaces[i];
	return NULL;
}

/* The batch's key of this namespace and value; NULL when it names nothing. */
static JnyKey *
key_of(JnyTake *take, JnyFact *fact, const char *namespace, const char *value)
{
	const JnySpace *space = space_of(take, namespace);
	const char *text;
	JnyKey	   *key;
	bool		found;
	struct
	{
		int64		hash;
		const JnySpace *space;
	}			id;

	if (space == NULL)
	{
		jny_tally_incident(take, "unknown_namespace", namespace, "warning",
						   "a subject uses a namespace that is not registered; the key was left out",
						   "Register it in journey.namespace, or map the key to one that is there.");
		return NULL;
	}
	if (value == NULL || (text = jny_normalise(namespace, value)) == NULL)
		return NULL;
	if (!space->crosses_scopes)
		text = jny_key_in_scope(fact->scope, text);
	if (!jny_value_fits(text))
	{
		fact->bad = psprintf("value of key %s is too long", namespace);
		return NULL;
	}
	id.hash = jny_key_hash(namespace, text);
	id.space = space;
	key = hash_search(take->keys, &id, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) key + sizeof(id), 0, sizeof(JnyKey) - sizeof(id));
		key->value = text;
		key->source = fact->source;
	}
	return key;
}

/* Adds a person's or session's key to the fact, strongest first; NULL when it names nobody. */
JnyKey *
jny_fact_key(JnyTake *take, JnyFact *fact, const char *namespace, const char *value)
{
	JnyKey	   *key = key_of(take, fact, namespace, value);
	int			at;

	if (key == NULL || key->id.space->class == JNY_CLASS_OTHER)
		return NULL;
	if (key->id.space->class == JNY_CLASS_OBJECT)
		return NULL;			/* objects come from the event's own ids */
	for (at = 0; at < fact->nkeys; at++)
		if (fact->keys[at] == key)
			return key;
	if (fact->nkeys == JNY_SUBJECT_KEYS)
	{
		fact->bad = psprintf("the subject has more than %d keys", JNY_SUBJECT_KEYS);
		return NULL;
	}
	for (at = fact->nkeys; at > 0 && fact->keys[at - 1]->id.space->rank < key->id.space->rank; at--)
		fact->keys[at] = fact->keys[at - 1];
	fact->keys[at] = key;
	fact->nkeys++;
	return key;
}

void
jny_fact_subject(JnyTake *take, JnyFact *fact, Jsonb *subject)
{
	JsonbIterator *it = jny_json_members(subject);
	JsonbValue	value;
	char	   *namespace;

	while (jny_json_next(&it, &namespace, &value))
		jny_fact_key(take, fact, namespace, jny_json_scalar_text(&value));
}

/* The keys of the cart and the order that the fact speaks of. */
void
jny_fact_objects(JnyTake *take, JnyFact *fact)
{
	if (fact->cart_id != NULL)
		fact->cart = key_of(take, fact, "cart", fact->cart_id);
	if (fact->order_id != NULL)
		fact->order = key_of(take, fact, "order", fact->order_id);
	if (fact->parcel_id != NULL)
		fact->parcel = key_of(take, fact, fact->parcel_kind == JNY_KIND_SHIPMENT ? "shipment" : "return", fact->parcel_id);
	if (fact->cart == NULL)
		fact->cart_id = NULL;
	if (fact->order == NULL)
		fact->order_id = NULL;
}

/* ---- what one transaction wrote, joined ------------------------------- */

typedef struct TxKey
{
	uint64		xact;
	int64		hash;			/* of kind, attachment and key; or of an object */
} TxKey;

typedef struct TxEntry
{
	TxKey		key;
	JnyFact    *fact;
	int64		first;			/* smallest seq of a fact that depends on it */
} TxEntry;

static HTAB *
tx_table(JnyTake *take, const char *name)
{
	return jny_table(take, name, sizeof(TxKey), sizeof(TxEntry));
}

static TxEntry *
tx_find(HTAB *table, const JnyFact *fact, int64 hash, HASHACTION action, bool *found)
{
	TxKey		key = {.xact = U64FromFullTransactionId(fact->xact), .hash = hash};

	return hash_search(table, &key, action, found);
}

/* The identity of a captured row, whatever its operation. */
static int64
row_hash(const JnyFact *fact)
{
	const char *part[] = {fact->f[JNY_F_KEY], fact->f[JNY_F_LINE], fact->f[JNY_F_SKU], fact->f[JNY_F_CHANNEL], fact->f[JNY_F_PURPOSE]};
	uint64		hash = fact->attachment;

	for (size_t i = 0; i < lengthof(part); i++)
		if (part[i] != NULL)
			hash = jny_hash64(part[i], strlen(part[i]), hash + i);
	if (fact->f[JNY_F_KEY] == NULL && fact->nkeys > 0)
		hash = jny_hash64(&fact->keys[0]->id.hash, sizeof(int64), hash);
	return (int64) hash;
}

/*
 * A row that moves between partitions is deleted in one and inserted into
 * another: together they are one update.
 */
static void
join_moved_rows(JnyTake *take)
{
	HTAB	   *deleted = NULL;
	bool		found;

	for (int i = 0; i < take->nfacts; i++)
	{
		JnyFact    *fact = take->facts[i];
		TxEntry    *entry;

		if (fact->op == JNY_OP_DELETE)
		{
			if (deleted == NULL)
				deleted = tx_table(take, "journey deleted rows");
			entry = tx_find(deleted, fact, row_hash(fact), HASH_ENTER, &found);
			entry->fact = fact;
		}
		else if (deleted != NULL && fact->op == JNY_OP_INSERT)
		{
			entry = tx_find(deleted, fact, row_hash(fact), HASH_REMOVE, &found);
			if (!found)
				continue;
			fact->op = JNY_OP_UPDATE;
			fact->has_old = true;
			memcpy(fact->old, entry->fact->f, sizeof(char *) * JNY_NFIELDS);
			entry->fact->fence_only = true;
		}
	}
}

static bool
is_parent(const JnyFact *fact)
{
	return (fact->kind == JNY_KIND_ORDER || fact->kind == JNY_KIND_CART) &&
		(fact->op == JNY_OP_INSERT || fact->op == JNY_OP_BACKFILL);
}

/* Says who the person is or what may be sent to them, and nothing can have come before it under a row lock. */
static bool
is_about_person(const JnyFact *fact)
{
	if (fact->kind == JNY_KIND_EVENT)
		return fact->type != NULL &&
			(strcmp(fact->type, "identified") == 0 || strcmp(fact->type, "unsubscribed") == 0 ||
			 strncmp(fact->type, "consent_", 8) == 0);
	return (fact->kind == JNY_KIND_CUSTOMER || fact->kind == JNY_KIND_CONSENT) && fact->op == JNY_OP_INSERT;
}

static const JnyKey *
parent_key(const JnyFact *fact)
{
	switch (fact->kind)
	{
		case JNY_KIND_ORDER:
		case JNY_KIND_ORDER_LINE:
			return fact->order;
		case JNY_KIND_CART:
		case JNY_KIND_CART_LINE:
			return fact->cart;
		default:
			return NULL;
	}
}

/*
 * Within one transaction an order or cart is applied before its lines, and
 * people before what they do. Only rows that the transaction inserted move:
 * for those that it updated, another transaction may have come between, and
 * seq alone tells the order.
 */
static void
join_transactions(JnyTake *take)
{
	HTAB	   *first;
	HTAB	   *parents;
	bool		found;

	if (take->nfacts < 2)
		return;
	first = tx_table(take, "journey transactions");
	parents = tx_table(take, "journey parents");
	for (int i = 0; i < take->nfacts; i++)
	{
		JnyFact    *fact = take->facts[i];
		const JnyKey *key = parent_key(fact);
		TxEntry    *entry = tx_find(first, fact, 0, HASH_ENTER, &found);

		if (!found)
			entry->first = fact->seq;
		if (key == NULL)
			continue;
		entry = tx_find(parents, fact, key->id.hash, HASH_ENTER, &found);
		if (!found)
		{
			entry->first = fact->seq;
			entry->fact = NULL;
		}
		if (is_parent(fact) && entry->fact == NULL)
			entry->fact = fact;
	}
	for (int i = 0; i < take->nfacts; i++)
	{
		JnyFact    *fact = take->facts[i];
		const JnyKey *key = parent_key(fact);
		TxEntry    *entry;

		if (is_about_person(fact))
			fact->place = tx_find(first, fact, 0, HASH_FIND, &found)->first;
		if (key == NULL)
			continue;
		entry = tx_find(parents, fact, key->id.hash, HASH_FIND, &found);
		if (entry->fact == fact)
			fact->place = entry->first;
		else if (entry->fact != NULL && fact->kind == JNY_KIND_ORDER_LINE && fact->op != JNY_OP_DELETE)
			entry->fact->lines = lappend(entry->fact->lines, fact);
	}
}

static int
rank_of(const JnyFact *fact)
{
	return is_about_person(fact) ? 0 : is_parent(fact) ? 1 : 2;
}

static int
by_place(const void *a, const void *b)
{
	const JnyFact *x = *(JnyFact *const *) a;
	const JnyFact *y = *(JnyFact *const *) b;

	if (x->place != y->place)
		return x->place < y->place ? -1 : 1;
	if (rank_of(x) != rank_of(y))
		return rank_of(x) - rank_of(y);
	if (x->seq != y->seq)
		return x->seq < y->seq ? -1 : 1;
	/* the two halves of a line that got another key */
	return (y->op == JNY_OP_DELETE) - (x->op == JNY_OP_DELETE);
}

/* ---- the batch -------------------------------------------------------- */

static void
set_aside(JnyTake *take, JnyFact *fact)
{
	if (fact->bad == NULL)
		return;
	jny_tally_quarantine(take, fact->raw, "22000", fact->bad);
	/* an order with an odd amount is still an order */
	if (fact->kind == JNY_KIND_ORDER && fact->order != NULL)
		return;
	fact->fence_only = true;
	fact->opts_out = jny_consent_takes_away(fact);
	if (fact->opts_out)
		fact->drop = fact->nkeys == 0 && !fact->has_action && fact->provider_ref == NULL;
	else
		fact->drop = fact->nkeys == 0 || fact->fence == JNY_FENCE_NONE;
}

/* Nothing occurred after it came; what says so told a time without its zone, or has a clock that is ahead. */
static void
date(const JnyTake *take, JnyFact *fact)
{
	TimestampTz came = take->batch->node.test ? take->batch->node.now : fact->received_at;

	fact->occurred_at = Min(fact->occurred_at, came);
	jny_consent_date(fact, came);
}

void
jny_decode(JnyTake *take)
{
	struct JnyWindow *window = take->batch->window;
	TimestampTz oldest = take->batch->node.now - (int64) jny_max_event_age_s * USECS_PER_SEC;
	TimestampTz newest = take->batch->node.now + USECS_PER_DAY;

	jny_maps_load(take, window->rows, window->nrows);
	for (int i = 0; i < window->nrows; i++)
	{
		JnyInboxRaw *row = &window->rows[i];

		if (row->stale)
			continue;
		switch (row->op)
		{
			case JNY_OP_EVENT:
			case JNY_OP_OLD_EVENT:
				jny_decode_event(take, row);
				break;
			case JNY_OP_ACTION:
				jny_decode_action(take, row);
				break;
			case JNY_OP_FENCE:
				jny_decode_fence(take, row);
				break;
			default:
				jny_decode_captured(take, row);
		}
	}
	for (int i = 0; i < take->nfacts; i++)
	{
		JnyFact    *fact = take->facts[i];

		fact->late = fact->occurred_at < oldest;
		if (fact->occurred_at > newest)
			jny_tally_incident(take, "clock_ahead", fact->source, "warning",
							   "events come dated more than a day ahead of the clock; the time of receipt was taken",
							   "Correct the clock of the system that sends them.");
		date(take, fact);
		set_aside(take, fact);
	}
	join_moved_rows(take);
	join_transactions(take);
	qsort(take->facts, take->nfacts, sizeof(JnyFact *), by_place);
}
