/*
 * gates.c
 *		What stands between a send and the outbox, each gate by itself.
 *
 * Called by decide.c in the documented order. Every gate leaves what it saw
 * in the decision. Memory only: load.c has read the rows. Permits look again
 * at whatever may change between here and the sender.
 */
#include "orchestrate/engine.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"

static bool
is_marketing(const JnySend *s)
{
	return strcmp(s->e->journey->purpose, "marketing") == 0;
}

static const char *
where_of(const JnySend *s, const char *what)
{
	return psprintf("journey/%s step %s %s", s->e->journey->name, s->step->name, what);
}

/*
 * What the house allows, when its policy and rule sets can be read: nobody can
 * tell whom one that is damaged protects. Transactional messages ask for nothing.
 */
static const char *
judge_house(JnyRun *run, JnySend *s)
{
	if (run->policy->unreadable == NULL || strcmp(s->e->journey->purpose, "transactional") == 0)
		return NULL;
	s->decision->rule = psprintf("%s cannot be read", run->policy->unreadable);
	return "stale_data";
}

/* A house that can be read, and conditions that the step itself requires, freshness of sources among them. */
const char *
jny_gate_requires(JnyRun *run, JnySend *s)
{
	const char *reason = judge_house(run, s);

	if (reason != NULL)
		return reason;
	for (int i = 0; i < s->step->nrequire; i++)
	{
		const JnyRequire *r = &s->step->require[i];

		JnyVerdict	v;

		if (r->when == NULL)
			continue;
		s->decision->failed = false;
		v = jny_run_explain(run, s->decision, &s->e->subject, NULL, s->e->journey->owner, r->when, where_of(s, "require"));
		if (v == JNY_TRUE || (v == JNY_UNKNOWN && r->on_unknown == JNY_UNKNOWN_PASS && !s->decision->failed))
			continue;
		s->decision->rule = r->when;
		if (v == JNY_UNKNOWN && (r->on_unknown == JNY_UNKNOWN_PASS || r->on_unknown == JNY_UNKNOWN_HOLD))
			return "stale_data";
		return r->reason != NULL ? r->reason : "required";
	}
	return NULL;
}

/*
 * One rule before an action: veto and suppress refuse when true, eligible
 * unless true. A veto about what is not known of somebody does not speak, if it
 * does not say otherwise; one that failed, or no longer compiles, holds the
 * action until it is mended: better one message less.
 */
static const char *
judge_rule(JnyRun *run, JnySend *s, const JnyRule *r)
{
	const char *name = psprintf("%s v%d #%d", r->document, r->version, r->n + 1);
	bool		refuses;
	JnyVerdict	v;

	if ((strcmp(r->scope, "*") != 0 && strcmp(r->scope, s->e->scope) != 0) ||
		run->now < r->valid_from || run->now >= r->valid_to || r->on.when == NULL)
		return NULL;
	s->decision->failed = false;
	v = jny_run_explain(run, s->decision, &s->e->subject, NULL, r->owner, r->on.when, name);
	refuses = strcmp(r->kind, "eligible") == 0 ? v != JNY_TRUE : v == JNY_TRUE;
	if (v == JNY_UNKNOWN && r->on_unknown == JNY_UNKNOWN_REFUSE)
		refuses = true;
	else if (v == JNY_UNKNOWN && (s->decision->failed || r->on_unknown == JNY_UNKNOWN_HOLD))
	{
		s->decision->rule = psprintf("%s cannot be judged", name);
		return "stale_data";
	}
	else if (v == JNY_UNKNOWN && r->on_unknown == JNY_UNKNOWN_PASS)
		refuses = false;
	if (!refuses)
		return NULL;
	s->decision->rule = name;
	return r->reason != NULL ? r->reason : strcmp(r->kind, "veto") == 0 ? "vetoed" : "suppressed";
}

/* Rules of the house and of rule sets. Nothing but restriction stands above a transactional message. */
const char *
jny_gate_vetoes(JnyRun *run, JnySend *s)
{
	static const char *const kinds[] = {"veto", "suppress", "eligible"};

	if (strcmp(s->e->journey->purpose, "transactional") == 0)
		return NULL;
	for (int k = 0; k < (int) lengthof(kinds); k++)
	{
		const JnyRule *rules;
		int			n = jny_rules(kinds[k], &rules);

		for (int i = 0; i < n; i++)
		{
			const char *reason = judge_rule(run, s, &rules[i]);

			if (reason != NULL)
				return reason;
		}
	}
	return NULL;
}

static bool
same_or_any(const char *value, const char *wanted)
{
	return strcmp(value, "*") == 0 || strcmp(value, wanted) == 0;
}

/* Whether what is said of this channel is said of that one: by its name, by the namespace of its addresses, or of all. */
static bool
is_of_channel(const char *said, const JnyChannel *channel)
{
	return same_or_any(said, channel->name) ||
		(channel->address != NULL && strcmp(said, channel->address) == 0);
}

/*
 * The most restrictive statement about channel and purpose wins; none is not
 * enough. The permit reads consent and address alike: deliver/gate.c.
 */
static bool
has_consent(JnyRun *run, const JnySend *s, const JnyChannel *channel)
{
	bool		granted = false;
	ListCell   *lc;

	foreach(lc, s->e->person->consents)
	{
		JnyConsentRow *c = lfirst(lc);

		if (!same_or_any(c->scope, s->e->scope) || !same_or_any(c->purpose, s->e->journey->purpose) ||
			!is_of_channel(c->channel, channel))
			continue;
		if (strcmp(c->state, "granted") == 0)
		{
			if (c->expires_at == 0 || c->expires_at > run->now)
				granted = true;
		}
		else if (strcmp(c->state, "unknown") != 0 && strcmp(c->state, "pending") != 0)
			return false;
	}
	return granted;
}

/* An address that has failed under one of the channel's names is not used under another. */
static bool
is_spoilt(const JnySend *s, const JnyChannel *channel, int64 address_hash)
{
	ListCell   *lc;

	foreach(lc, s->e->person->contacts)
	{
		JnyContactRow *c = lfirst(lc);

		if (c->address_hash == address_hash && same_or_any(c->scope, s->e->scope) && is_of_channel(c->channel, channel) &&
			(strcmp(c->state, "hard") == 0 || strcmp(c->state, "complained") == 0))
			return true;
	}
	return false;
}

static bool
has_contact(const JnySend *s, const JnyChannel *channel)
{
	ListCell   *lc;

	if (channel->address == NULL)
		return true;
	foreach(lc, s->e->person->contacts)
	{
		JnyContactRow *c = lfirst(lc);

		if (same_or_any(c->scope, s->e->scope) && is_of_channel(c->channel, channel) &&
			strcmp(c->state, "replaced") != 0 && !is_spoilt(s, channel, c->address_hash))
			return true;
	}
	return false;
}

static bool
in_list(int n, const char **list, const char *value)
{
	for (int i = 0; i < n; i++)
		if (strcmp(list[i], value) == 0)
			return true;
	return false;
}

/* A manual suppression of this person on this channel. */
static bool
manually_suppressed(JnyRun *run, const JnySend *s, const char *channel)
{
	ListCell   *lc;

	if (strcmp(s->e->journey->purpose, "transactional") == 0)
		return false;
	foreach(lc, s->e->person->suppressions)
	{
		JnySuppressionRow *row = lfirst(lc);

		if (strcmp(row->type, "manual") == 0 && (row->until == 0 || row->until > run->now) &&
			same_or_any(row->scope, s->e->scope) && same_or_any(row->channel, channel) &&
			same_or_any(row->purpose, s->e->journey->purpose))
			return true;
	}
	return false;
}

static bool
is_matched(ArrayType *matched, const pg_uuid_t *id)
{
	Datum	   *elems;
	int			n;

	if (matched == NULL)
		return false;
	deconstruct_array(matched, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &elems, NULL, &n);
	for (int i = 0; i < n; i++)
		if (memcmp(DatumGetUUIDP(elems[i]), id, UUID_LEN) == 0)
			return true;
	return false;
}

/*
 * An opt-out, an erasure or a restriction of somebody linked with the person,
 * which stands in no consent of theirs: it ends all that the enrollment still
 * sends, as it has ended what lay in the outbox.
 */
static const char *
ended_over_link(JnyRun *run, const JnySend *s, const JnyChannel *channel)
{
	ListCell   *lc;

	foreach(lc, s->e->person->suppressions)
	{
		JnySuppressionRow *row = lfirst(lc);

		if (row->linked && jny_ends_always(s->e->journey, row->type) && is_matched(row->matched, &s->e->id) &&
			(row->until == 0 || row->until > run->now) && jny_same_scope(run, row->scope, s->e->scope) &&
			is_of_channel(row->channel, channel) && same_or_any(row->purpose, s->e->journey->purpose))
			return row->reason;
	}
	return NULL;
}

static const char *
judge_channel(JnyRun *run, JnySend *s, const JnyChannel *channel)
{
	const char *ended = ended_over_link(run, s, channel);

	if (ended != NULL)
		return ended;
	if (!in_list(channel->npurposes, channel->purposes, s->e->journey->purpose))
		return "wrong_purpose";
	if (s->template->nchannels > 0 && !in_list(s->template->nchannels, s->template->channels, channel->name))
		return "no_content";
	if (channel->mode == JNY_CHANNEL_OPS)
		return NULL;
	if (manually_suppressed(run, s, channel->name))
		return "suppressed";
	if (is_marketing(s) && !has_consent(run, s, channel))
		return "opted_out";
	if (!has_contact(s, channel))
		return "bad_address";
	return NULL;
}

static void
note_candidate(JnyDecision *d, const char *kind, const char *name, const char *reason)
{
	if (d->candidates == NULL)
		d->candidates = makeStringInfo();
	else
		appendStringInfoString(d->candidates, ", ");
	appendStringInfoChar(d->candidates, '{');
	escape_json(d->candidates, kind);
	appendStringInfoString(d->candidates, ": ");
	escape_json(d->candidates, name);
	if (reason != NULL)
	{
		appendStringInfoString(d->candidates, ", \"reason\": ");
		escape_json(d->candidates, reason);
	}
	appendStringInfoChar(d->candidates, '}');
}

/* The ladder: which of the step's channels may reach the person. */
const char *
jny_gate_channels(JnyRun *run, JnySend *s)
{
	const char *first = NULL;

	if (s->e->person->profile->restricted)
	{
		s->decision->rule = "restriction";
		return "restricted";
	}
	s->channels = NIL;
	for (int i = 0; i < s->step->nchannels; i++)
	{
		const JnyChannel *channel = jny_channel(s->step->channels[i]);
		const char *reason = channel == NULL ? "no_channel"
			: channel->unreadable ? "stale_data" : judge_channel(run, s, channel);

		if (s->step->nchannels > 1 || reason != NULL)
			note_candidate(s->decision, "channel", s->step->channels[i], reason);
		if (reason == NULL)
			s->channels = lappend(s->channels, (void *) channel);
		/* one that may be mended in a moment may do then */
		else if (first == NULL || (channel != NULL && channel->unreadable))
			first = reason;
	}
	if (s->channels != NIL)
		return NULL;
	s->decision->rule = "consent and address";
	return first != NULL ? first : "no_channel";
}

const char *
jny_gate_stock(JnyRun *run, JnySend *s)
{
	ListCell   *lc;

	foreach(lc, s->skus)
	{
		const char *sku = lfirst(lc);
		const JnyStock *stock = jny_stock_of(run, sku);
		JnyVerdict	v = stock == NULL || stock->stale ? JNY_UNKNOWN : stock->in_stock ? JNY_TRUE : JNY_FALSE;

		jny_decision_clause(s->decision, psprintf("%s is in stock", sku), v);
		if (v == JNY_TRUE)
			continue;
		s->decision->rule = "stock";
		return stock != NULL && stock->stale ? "stale_data" : "out_of_stock";
	}
	return NULL;
}

/*
 * The object whose fence does not stop the action: only where the journey is
 * entered by a type that it also lists in suppress_on, so that an order does
 * not block its own confirmation but its cancellation does.
 */
const char *
jny_own_ref(const JnyEnrollment *e)
{
	const JnyJourney *j = e->journey;

	for (int i = 0; i < j->nsuppress; i++)
		for (int t = 0; t < j->suppress[i].ntypes; t++)
			for (int k = 0; k < j->nentries; k++)
				if (jny_on_type(&j->entries[k].on, j->suppress[i].types[t]))
					return e->entry_ref;
	return "";
}

static bool
listed_without_match(const JnyJourney *j, const char *type)
{
	for (int i = 0; i < j->nsuppress; i++)
		if (j->suppress[i].match == NULL && j->suppress[i].when == NULL && jny_on_type(&j->suppress[i], type))
			return true;
	return false;
}

static bool
is_listed(const JnyJourney *j, const char *type)
{
	for (int i = 0; i < j->nsuppress; i++)
		if (jny_on_type(&j->suppress[i], type))
			return true;
	return false;
}

/* What has happened since the entry that ends what the journey wants to send. */
const char *
jny_gate_suppression(JnyRun *run, JnySend *s)
{
	JnyEnrollment *e = s->e;
	const char *own = jny_own_ref(e);
	ListCell   *lc;

	foreach(lc, e->person->suppressions)
	{
		JnySuppressionRow *row = lfirst(lc);

		if (!jny_came_after(e, row->lap, row->seq) || strcmp(row->type, "manual") == 0 ||
			(row->until != 0 && row->until <= run->now) || !jny_same_scope(run, row->scope, e->scope))
			continue;
		if (own[0] != '\0' && strcmp(own, row->ref) == 0)
			continue;
		/* an event that was set aside (observe/skip.c) matches whatever lists its type */
		if (!is_listed(e->journey, row->type) ||
			((row->linked || !listed_without_match(e->journey, row->type)) && !is_matched(row->matched, &e->id)))
			continue;
		s->decision->rule = psprintf("suppress_on %s", row->type);
		jny_decision_input(run, s->decision, "suppression.ref", row->ref);
		return row->reason;
	}
	return NULL;
}

/* What a group per order is counted by: the key, where that is an order, else the order_id of the entry's data. */
static const char *
group_object(const JnyEnrollment *e)
{
	const JnyJourney *j = e->journey;
	const char *id;

	for (int i = 0; i < j->nentries; i++)
		if (j->entries[i].key_namespace != NULL && strcmp(j->entries[i].key_namespace, j->exclusion_per) == 0)
			return e->key;
	id = jny_json_text(e->data, psprintf("%s_id", j->exclusion_per));
	return id != NULL ? id : e->key;
}

/* An exit has ended its enrollment: it is cancelled at the end of this phase. */
static bool
is_cancelled(const JnyPerson *person, const JnyLiveAction *a)
{
	const JnyEnrollment *e = a->pending ? jny_enrollment_of(person, &a->enrollment_id) : NULL;

	return e != NULL && e->exited_at != 0 && strcmp(e->status, "exited") == 0;
}

/* One live action per person and group; who came first, or has the greater priority, has it. */
const char *
jny_gate_exclusion(JnyRun *run, JnySend *s)
{
	const JnyJourney *j = s->e->journey;
	ListCell   *lc;

	if (j->exclusion == NULL)
		return NULL;
	s->exclusion = j->exclusion_per == NULL || strcmp(j->exclusion_per, "person") == 0
		? j->exclusion : psprintf("%s/%s", j->exclusion, group_object(s->e));
	foreach(lc, s->e->person->actions)
	{
		JnyLiveAction *a = lfirst(lc);

		if (strcmp(a->exclusion, s->exclusion) != 0 || !jny_same_scope(run, a->scope, s->e->scope) ||
			memcmp(&a->enrollment_id, &s->e->id, UUID_LEN) == 0 || is_cancelled(s->e->person, a))
			continue;
		note_candidate(s->decision, "winner", psprintf("%s/%s", a->journey, a->step), NULL);
		s->decision->rule = psprintf("exclusion group %s: %s has it", s->exclusion, a->journey);
		return "superseded";
	}
	return NULL;
}

/* ---- caps ---------------------------------------------------------------- */

typedef struct Cap
{
	const char *scope;			/* journey, or the house's */
	const char *channel;
	int			max;
	Interval   *per;
	bool		calendar;
	bool		hold;
} Cap;

static void
read_cap(Jsonb *json, const char *scope, Cap *cap)
{
	char	   *text;

	cap->scope = jny_json_text(json, "scope");
	if (cap->scope == NULL)
		cap->scope = scope;
	cap->channel = jny_json_text(json, "channel");
	if (cap->channel == NULL)
		cap->channel = "*";
	text = jny_json_text(json, "max");
	cap->max = text ? pg_strtoint32(text) : 0;
	cap->per = jny_json_interval(json, "per");
	text = jny_json_text(json, "window");
	cap->calendar = text != NULL && strcmp(text, "calendar") == 0;
	text = jny_json_text(json, "otherwise");
	cap->hold = text != NULL && strcmp(text, "drop") != 0;
}

static const char *
zone_for(JnyRun *run, const JnySend *s, const char *zone)
{
	if (zone != NULL && strcmp(zone, "profile") != 0 && jny_zone_valid(zone))
		return zone;
	return jny_zone_of(run, s->e->person);
}

/* True when one more is allowed; else *again says from when. */
static bool
cap_allows(JnyRun *run, JnySend *s, const Cap *cap, const JnyChannel *channel, TimestampTz *again)
{
	bool		journey = strcmp(cap->scope, "journey") == 0;
	TimestampTz next;
	TimestampTz start = jny_zone_window(run->now, cap->per, cap->calendar, zone_for(run, s, "profile"), &next);
	TimestampTz oldest = 0;
	int			n = 0;
	ListCell   *lc;

	if (strcmp(cap->channel, "*") != 0 && strcmp(cap->channel, channel->name) != 0)
		return true;
	/* youngest first */
	foreach(lc, s->e->person->permits)
	{
		JnyPermitRow *p = lfirst(lc);

		if (p->at < start || (next == 0 && p->at == start) || strcmp(p->purpose, "marketing") != 0 ||
			(!run->policy->caps_cross_scopes && strcmp(p->scope, s->e->scope) != 0) ||
			(journey && strcmp(p->journey, s->e->journey->name) != 0) ||
			(strcmp(cap->channel, "*") != 0 && strcmp(cap->channel, p->channel) != 0))
			continue;
		if (++n == cap->max)
			oldest = p->at;
	}
	if (n < cap->max)
		return true;
	if (next != 0)
		*again = next;
	else
		*again = jny_zone_plus(oldest != 0 ? oldest : run->now, cap->per, "UTC");
	return false;
}

/* What a cap counts that does not say so, follows from whose it is. */
static bool
caps_allow(JnyRun *run, JnySend *s, const JnyChannel *channel, Jsonb *caps, const char *scope)
{
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken tok;

	if (caps == NULL)
		return true;
	it = JsonbIteratorInit(&caps->root);
	tok = JsonbIteratorNext(&it, &v, false);
	while ((tok = JsonbIteratorNext(&it, &v, true)) == WJB_ELEM)
	{
		Cap			cap;
		TimestampTz again = 0;

		read_cap(JsonbValueToJsonb(&v), scope, &cap);
		if (cap.per == NULL || cap_allows(run, s, &cap, channel, &again))
			continue;
		s->decision->rule = psprintf("cap: %d per %s, %s", cap.max,
									 DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(cap.per))),
									 cap.scope);
		s->again = cap.hold ? again : 0;
		return false;
	}
	return true;
}

static bool
channel_allows(JnyRun *run, JnySend *s, const JnyChannel *channel)
{
	return channel->mode == JNY_CHANNEL_OPS ||
		(caps_allow(run, s, channel, run->policy->caps, "house") &&
		 caps_allow(run, s, channel, s->e->journey->caps, "journey"));
}

/*
 * Counts permits granted so far; the permit itself counts again, under a lock.
 * Of several channels the one that is free again first is waited for.
 */
const char *
jny_gate_caps(JnyRun *run, JnySend *s)
{
	TimestampTz again = 0;
	const char *rule = NULL;
	ListCell   *lc;

	foreach(lc, s->channels)
	{
		const JnyChannel *channel = lfirst(lc);

		if (is_marketing(s) && !channel_allows(run, s, channel))
		{
			note_candidate(s->decision, "channel", channel->name, "capped");
			if (rule == NULL || (s->again != 0 && (again == 0 || s->again < again)))
			{
				again = s->again;
				rule = s->decision->rule;
			}
			continue;
		}
		s->channel = channel;
		s->again = 0;
		s->decision->rule = NULL;
		return NULL;
	}
	s->again = again;
	s->decision->rule = rule;
	return "capped";
}

/* ---- quiet hours --------------------------------------------------------- */

/* The journey's own hours, with the zone that they are in, as they are frozen. */
static Jsonb *
frozen_quiet(Jsonb *quiet, const char *zone)
{
	const char *from = jny_json_text(quiet, "from");
	const char *to = jny_json_text(quiet, "to");
	const char *otherwise = jny_json_text(quiet, "otherwise");
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "{\"from\": ");
	escape_json(&buf, from ? from : "");
	appendStringInfoString(&buf, ", \"to\": ");
	escape_json(&buf, to ? to : "");
	appendStringInfoString(&buf, ", \"zone\": ");
	escape_json(&buf, zone);
	appendStringInfoString(&buf, ", \"otherwise\": ");
	escape_json(&buf, otherwise ? otherwise : "hold");
	appendStringInfoChar(&buf, '}');
	return jny_json_parse(buf.data);
}

/*
 * Moves due_at behind the night; the original stays in the decision. Where the
 * journey has no hours of its own the house's hold; the permit asks for those
 * again, as they are then.
 */
const char *
jny_gate_quiet(JnyRun *run, JnySend *s)
{
	Jsonb	   *own = s->e->journey->quiet;
	Jsonb	   *quiet = own != NULL ? own : run->policy->quiet;
	const char *from;
	const char *to;
	const char *zone;
	const char *otherwise;
	TimestampTz until;

	if (quiet == NULL || s->channel->mode != JNY_CHANNEL_PUSH ||
		strcmp(s->e->journey->purpose, "transactional") == 0)
		return NULL;
	from = jny_json_text(quiet, "from");
	to = jny_json_text(quiet, "to");
	zone = zone_for(run, s, jny_json_text(quiet, "zone"));
	otherwise = jny_json_text(quiet, "otherwise");
	if (own != NULL)
		s->quiet = frozen_quiet(own, zone);
	until = jny_zone_quiet_until(s->due_at, from, to, zone);
	if (until == 0)
		return NULL;
	s->decision->rule = psprintf("quiet hours %s to %s, %s", from, to, zone);
	jny_decision_input(run, s->decision, "due_at", timestamptz_to_str(s->due_at));
	jny_decision_input(run, s->decision, "held_until", timestamptz_to_str(until));
	if (otherwise != NULL && strcmp(otherwise, "drop") == 0)
		return "quiet_hours";
	s->due_at = until;
	return NULL;
}
