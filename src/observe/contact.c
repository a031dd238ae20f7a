/*
 * contact.c
 *		Addresses: where a person can be reached, by scope and channel.
 *
 * Called by take.c. An address that the person or the shop's customer row
 * states replaces the one before it and starts fresh; one that merely came
 * along in a subject is taken only while there is no other; one that they take
 * away is replaced by none. What became of an address for good (a hard bounce, a
 * complaint) stays with the address. A source that is not trusted states no address.
 * Nobody but the lap writes the table.
 */
#include "observe/fact.h"

#include "utils/builtins.h"

#define POINT_KEY "bucket, profile_id, scope, channel"
JNY_LOOKUP(find_points, "contact_point", "contact_point_pkey", POINT_KEY, "address_hash, state", NULL);
JNY_CHANGE(change_points, "contact_point", "contact_point_pkey", POINT_KEY ", address_hash",
		   "state, since, changed_at, reason", "state, since, changed_at, reason");
JNY_UPSERT(insert_points, "contact_point", "contact_point_pkey", POINT_KEY ", address_hash",
		   POINT_KEY ", address_hash, address, state, since, changed_at", "");

/* The one address that this lap leaves a person, per scope and channel. */
typedef struct ContactKey
{
	pg_uuid_t	id;
	int64		where;			/* hash of scope and channel */
} ContactKey;

typedef struct Contact
{
	ContactKey	key;
	JnyProfile *profile;
	const char *scope;
	const char *channel;
	const char *address;		/* NULL: none any more */
	int64		hash;
	bool		asserted;
	List	   *stored;			/* of JnyRow: the addresses that are there */
} Contact;

/* An address that is there is replaced now, or used again. */
typedef struct Change
{
	const Contact *contact;
	int64		hash;
	bool		again;
} Change;

typedef struct JnyContacts
{
	HTAB	   *table;
} JnyContacts;

static bool
has_control(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char) *text < 0x20 || *text == 0x7f)
			return true;
	return false;
}

static void
note(JnyTake *take, JnyFact *fact, const char *channel, const char *namespace, const char *value, bool asserted)
{
	ContactKey	key;
	Contact    *c;
	const char *address = value != NULL ? jny_normalise(namespace, value) : NULL;
	bool		found;

	if (address == NULL ? !asserted : !jny_value_fits(address))
		return;
	if (address != NULL && has_control(address))
	{
		jny_tally_incident(take, "odd_address", channel, "warning",
						   "an address with a line break or another control character came in; it was left out",
						   "Correct it where it is kept: a sender would write it into a header.");
		return;
	}
	if (take->contacts == NULL)
	{
		take->contacts = palloc(sizeof(JnyContacts));
		take->contacts->table = jny_table(take, "journey contacts", sizeof(ContactKey), sizeof(Contact));
	}
	memset(&key, 0, sizeof(key));
	key.id = fact->profile->id;
	key.where = jny_key_hash(fact->scope, channel);
	c = hash_search(take->contacts->table, &key, HASH_ENTER, &found);
	if (found && c->asserted && !asserted)
		return;
	if (found && !asserted)
		return;
	c->profile = fact->profile;
	c->scope = fact->scope;
	c->channel = channel;
	c->address = address;
	c->hash = address != NULL ? jny_key_hash(namespace, address) : 0;
	c->asserted = asserted;
	c->stored = NIL;
}

static bool
is_own_key(const JnyFact *fact, const JnyKey *key)
{
	return key->profile == fact->profile;
}

static bool
is_blank(const char *namespace, const char *value)
{
	return value == NULL || jny_normalise(namespace, value) == NULL;
}

/*
 * A customer's row says what address there is. That there is none it says when
 * it is seen to lose one: a blank that is read may never have been anything
 * else, and what it does not have, another source may know.
 */
static void
note_field(JnyTake *take, JnyFact *fact, const char *channel, const char *namespace, JnyField field)
{
	if (!jny_fact_maps(fact, field))
		return;
	if (!is_blank(namespace, fact->f[field]) ||
		(fact->has_old && !is_blank(namespace, fact->old[field])))
		note(take, fact, channel, namespace, fact->f[field], true);
}

/* Traits that do not speak of an address leave it as it is; null takes it away. */
static void
note_trait(JnyTake *take, JnyFact *fact, const char *channel, const char *namespace, Jsonb *traits, const char *name)
{
	JsonbValue	v;

	if (jny_json_field(traits, name, &v) != NULL)
		note(take, fact, channel, namespace, jny_json_text(traits, name), true);
}

/* Addresses that the fact brings, or takes away. */
void
jny_contact_apply(JnyTake *take, JnyFact *fact)
{
	bool		customer = fact->kind == JNY_KIND_CUSTOMER;
	bool		identified = fact->trusted && fact->kind == JNY_KIND_EVENT && strcmp(fact->type, "identified") == 0;

	if (fact->op == JNY_OP_DELETE)
		return;

	for (int i = 0; i < fact->nkeys; i++)
	{
		JnyKey	   *key = fact->keys[i];
		const char *name = key->id.space->name;

		if (!is_own_key(fact, key) || customer)
			continue;
		if (strcmp(name, "email") == 0)
			note(take, fact, "email", "email", key->value, identified);
		else if (strcmp(name, "phone") == 0)
			note(take, fact, "sms", "phone", key->value, identified);
	}
	if (customer && fact->trusted)
	{
		note_field(take, fact, "email", "email", JNY_F_EMAIL);
		note_field(take, fact, "sms", "phone", JNY_F_PHONE);
		note_field(take, fact, "push", "push_token", JNY_F_PUSH);
	}
	else if (identified)
	{
		Jsonb	   *traits = jny_json_object(fact->props, "traits");

		if (traits == NULL)
			traits = fact->props;
		note_trait(take, fact, "email", "email", traits, "email");
		note_trait(take, fact, "sms", "phone", traits, "phone");
		note_trait(take, fact, "push", "push_token", traits, "push_token");
	}
}

/* ---- writing ---------------------------------------------------------- */

static void
put_key(JnyCols *cols, const Contact *c)
{
	jny_cols_set(cols, 0, Int16GetDatum(c->profile->bucket));
	jny_cols_set(cols, 1, UUIDPGetDatum(&c->profile->id));
	jny_cols_text(cols, 2, c->scope);
	jny_cols_text(cols, 3, c->channel);
}

static List *
find_stored(JnyTake *take)
{
	JnyCols    *keys = jny_cols_of(&find_points);
	List	   *all = NIL;
	HASH_SEQ_STATUS scan;
	Contact    *c;
	JnyRows    *found;

	hash_seq_init(&scan, take->contacts->table);
	while ((c = hash_seq_search(&scan)) != NULL)
	{
		put_key(keys, c);
		jny_cols_next(keys);
		all = lappend(all, c);
	}
	found = jny_lookup(&find_points, keys);
	for (int i = 0; i < found->n; i++)
	{
		c = list_nth(all, found->row[i].key);
		c->stored = lappend(c->stored, &found->row[i]);
	}
	return all;
}

/* Is the person's address, as far as we know: what bounced softly is sent to again. */
static bool
is_current(const char *state)
{
	return strcmp(state, "active") == 0 || strcmp(state, "unverified") == 0 || strcmp(state, "soft") == 0;
}

static List *
add_change(List *changes, const Contact *c, int64 hash, bool again)
{
	Change	   *change = palloc(sizeof(Change));

	change->contact = c;
	change->hash = hash;
	change->again = again;
	return lappend(changes, change);
}

/* What the contact means for the addresses that are there; new ones go out. */
static List *
judge(const Contact *c, List *changes, JnyOut *fresh, TimestampTz now)
{
	bool		current = false;
	bool		known = false;
	ListCell   *lc;

	foreach(lc, c->stored)
		current |= is_current(jny_row_text(lfirst(lc), 1));
	if (current && !c->asserted)
		return changes;
	foreach(lc, c->stored)
	{
		const JnyRow *row = lfirst(lc);
		int64		hash = DatumGetInt64(row->values[0]);
		const char *state = jny_row_text(row, 1);

		bool		same = c->address != NULL && hash == c->hash;

		known |= same;
		if (same ? strcmp(state, "replaced") == 0 : is_current(state))
			changes = add_change(changes, c, hash, same);
	}
	if (known || c->address == NULL)
		return changes;
	put_key(jny_out(fresh), c);
	jny_cols_set(fresh->cols, 4, Int64GetDatum(c->hash));
	jny_cols_text(fresh->cols, 5, c->address);
	jny_cols_text(fresh->cols, 6, "active");
	jny_cols_set(fresh->cols, 7, TimestampTzGetDatum(now));
	jny_cols_set(fresh->cols, 8, TimestampTzGetDatum(now));
	jny_cols_next(fresh->cols);
	return changes;
}

typedef struct Changes
{
	List	   *list;			/* of Change, by key */
	TimestampTz now;
} Changes;

/* What a hard bounce or a complaint has made of an address stays. */
static JnyChoice
change_point(JnyRow *row, void *arg)
{
	const Changes *changes = arg;
	bool		again = ((Change *) list_nth(changes->list, row->key))->again;
	const char *state = jny_row_text(row, 0);

	if (again ? strcmp(state, "replaced") != 0 : !is_current(state))
		return JNY_LEAVE;
	row->values[0] = CStringGetTextDatum(again ? "active" : "replaced");
	row->values[2] = TimestampTzGetDatum(changes->now);
	if (again)
	{
		row->values[1] = TimestampTzGetDatum(changes->now);
		row->nulls[3] = true;
	}
	return JNY_CHOOSE;
}

static void
apply_changes(Changes *changes)
{
	JnyCols    *keys = jny_cols_of(&change_points);
	ListCell   *lc;

	foreach(lc, changes->list)
	{
		const Change *change = lfirst(lc);

		put_key(keys, change->contact);
		jny_cols_set(keys, 4, Int64GetDatum(change->hash));
		jny_cols_next(keys);
	}
	(void) jny_change(&change_points, keys, false, PG_INT32_MAX, change_point, changes);
}

void
jny_contact_write(JnyTake *take)
{
	Changes		changes = {.now = take->batch->node.now};
	JnyOut		fresh = {.access = &insert_points};
	ListCell   *lc;

	if (take->contacts == NULL)
		return;
	foreach(lc, find_stored(take))
		changes.list = judge(lfirst(lc), changes.list, &fresh, changes.now);
	if (changes.list != NIL)
		apply_changes(&changes);
	jny_out_write(&fresh);
}
