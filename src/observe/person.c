/*
 * person.c
 *		Who people are: new profiles, their class, traits, zone and locale.
 *
 * Called by take.c and identity.c. Traits come from customer rows and from
 * identified events; what came last stands.
 */
#include "observe/fact.h"

#include "utils/builtins.h"

typedef struct JnyPeople
{
	HTAB	   *changed;		/* PersonChange by profile id */
} JnyPeople;

typedef struct PersonChange
{
	pg_uuid_t	id;
	JnyProfile *profile;
} PersonChange;

#define PERSON_COLUMNS "class, confidence, traits, zone, locale, changed_at"
JNY_UPSERT(make_profiles, "profile", "profile_pkey", "bucket, profile_id",
		   "bucket, profile_id, " PERSON_COLUMNS ", created_at", "");
JNY_UPDATE(change_profiles, "profile", "profile_pkey", "bucket, profile_id", PERSON_COLUMNS);

void
jny_person_changed(JnyTake *take, JnyProfile *profile)
{
	PersonChange *change;

	if (take->people == NULL)
	{
		take->people = palloc(sizeof(JnyPeople));
		take->people->changed = jny_table(take, "journey changed people", sizeof(pg_uuid_t), sizeof(PersonChange));
	}
	change = hash_search(take->people->changed, &profile->id, HASH_ENTER, NULL);
	change->profile = profile;
}

static bool
same_json(JsonbValue *a, JsonbValue *b)
{
	if (a == NULL || b == NULL || a->type != b->type)
		return false;
	if (a->type == jbvBinary)
		return compareJsonbContainers(a->val.binary.data, b->val.binary.data) == 0;
	if (a->type == jbvNumeric)
		return jny_num_cmp(NumericGetDatum(a->val.numeric), NumericGetDatum(b->val.numeric)) == 0;
	if (a->type == jbvBool)
		return a->val.boolean == b->val.boolean;
	return a->type == jbvNull ||
		(a->val.string.len == b->val.string.len &&
		 memcmp(a->val.string.val, b->val.string.val, a->val.string.len) == 0);
}

/* The fields of said that the known object has not, or otherwise; NULL when none. */
static Jsonb *
news_in(Jsonb *known, Jsonb *said)
{
	JnyObject	o;
	JsonbIterator *it = jny_json_members(said);
	JsonbValue	now;
	char	   *name;
	bool		any = false;

	jny_object_begin(&o);
	while (jny_json_next(&it, &name, &now))
	{
		JsonbValue	before;

		if (same_json(jny_json_field(known, name, &before), &now))
			continue;
		jny_object_json(&o, name, JsonbValueToJsonb(&now));
		any = true;
	}
	return any ? jny_object_end(&o) : NULL;
}

static bool
take_word(const char **known, const char *said)
{
	if (said == NULL || (*known != NULL && strcmp(*known, said) == 0))
		return false;
	*known = said;
	return true;
}

static bool
take_zone(JnyTake *take, JnyFact *fact, const char *zone)
{
	if (zone == NULL)
		return false;
	if (!jny_value_zone(zone))
	{
		jny_tally_incident(take, "unknown_zone", zone, "warning",
						   "a person's time zone is no zone that the server knows; it was left out",
						   "Send a name of pg_timezone_names, such as Europe/Berlin.");
		return false;
	}
	return take_word(&fact->profile->zone, zone);
}

/* Customer rows and identified events. */
void
jny_person_apply(JnyTake *take, JnyFact *fact)
{
	JnyProfile *p = fact->profile;
	bool		captured = fact->kind == JNY_KIND_CUSTOMER;
	Jsonb	   *said = captured ? fact->traits : fact->props;
	Jsonb	   *news;
	bool		changed;

	if (fact->op == JNY_OP_DELETE)
		return;					/* the shop forgot them; erase() is how we do */
	if (p == NULL)
	{
		/* only a message is named, and it is not ours */
		jny_tally_quarantine(take, fact->raw, "22000", "subject names nobody");
		return;
	}
	if (!captured && jny_json_object(fact->props, "traits") != NULL)
		said = jny_json_object(fact->props, "traits");
	news = news_in(p->traits, said);
	changed = news != NULL;
	if (changed)
		p->traits = jny_object_merged(p->traits, news);
	changed |= take_zone(take, fact, captured ? fact->f[JNY_F_ZONE] : jny_json_text(said, "zone"));
	changed |= take_word(&p->locale, captured ? fact->f[JNY_F_LOCALE] : jny_json_text(said, "locale"));
	if (changed)
		jny_person_changed(take, p);
	if (!captured)
		jny_emit(take, fact, fact->type, fact->props);
	else if (news != NULL || p->events == 0)
		jny_emit(take, fact, "identified", news != NULL ? news : jny_object_empty());
}

static JnyCols *
put_profile(JnyOut *out, const JnyProfile *p, TimestampTz now)
{
	JnyCols    *cols = jny_out(out);

	jny_cols_set(cols, 0, Int16GetDatum(p->bucket));
	jny_cols_set(cols, 1, UUIDPGetDatum(&p->id));
	jny_cols_text(cols, 2, p->is_session ? "session" : "person");
	jny_cols_set(cols, 3, Float8GetDatum(p->confidence));
	jny_cols_set(cols, 4, JsonbPGetDatum(p->traits));
	jny_cols_text(cols, 5, p->zone);
	jny_cols_text(cols, 6, p->locale);
	jny_cols_set(cols, 7, TimestampTzGetDatum(now));
	return cols;
}

void
jny_person_write(JnyTake *take)
{
	TimestampTz now = take->batch->node.now;
	JnyOut		made = {.access = &make_profiles};
	JnyOut		changed = {.access = &change_profiles};
	HASH_SEQ_STATUS scan;
	PersonChange *change;

	if (take->people == NULL)
		return;
	hash_seq_init(&scan, take->people->changed);
	while ((change = hash_seq_search(&scan)) != NULL)
	{
		const JnyProfile *p = change->profile;
		JnyCols    *cols = put_profile(p->is_new ? &made : &changed, p, now);

		if (p->is_new)
			jny_cols_set(cols, 8, TimestampTzGetDatum(now));	/* created_at */
		jny_cols_next(cols);
	}
	jny_out_write(&made);
	jny_out_write(&changed);
}
