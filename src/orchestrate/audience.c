/*
 * audience.c
 *		Who is in an audience and is ended by an event is taken out of it.
 *
 * A channel of mode state keeps people in audiences outside the database. What
 * was sent there lasts, so that a suppression which stops what is still to be
 * sent must also take back what was: an event that the journey lists, an
 * opt-out, an erasure, suppress(). Called once per phase, when the lap's
 * suppressions and what links have brought are known; those that were written beside the laps are marked
 * unread and taken here. The removal is an action of the same channel, without
 * an enrollment, whose payload names the action that it takes back. Locks
 * unread suppressions and additions that nobody has claimed, waiting for
 * neither; jny_write_all() writes decision and action. Memory: run->cxt.
 */
#include "orchestrate/engine.h"

#include "executor/spi.h"

#include "core/inbox.h"

/* Long enough for a channel that is down for a while: a removal is never out of date. */
#define REMOVAL_LASTS (365 * USECS_PER_DAY)
/* Before any addition that comes after it. */
#define REMOVAL_PRIORITY 1000
/* Of what was written beside the laps, however much it is: no lap of it can be split. */
#define UNREAD_PER_LAP 1000

JNY_LOOKUP(any_unread, "suppression", "suppression_unread", "", "seq", "t.unread");
/* Whoever holds one of the rows is about to take the suppression back, or will leave it to the next lap. */
JNY_PLAN(take_unread, "timestamptz, integer",
		 "WITH u AS (SELECT s.bucket, s.profile_id, s.seq, s.type FROM journey.suppression s WHERE s.unread LIMIT $2 FOR UPDATE SKIP LOCKED)"
		 " UPDATE journey.suppression s SET unread = false FROM u"
		 " WHERE s.bucket = u.bucket AND s.profile_id = u.profile_id AND s.seq = u.seq AND s.type = u.type"
		 " RETURNING s.profile_id, s.type, s.ref, s.scope, s.channel, s.purpose, s.reason,"
		 "  s.released_at IS NULL AND COALESCE(s.until > $1, true)");

/*
 * What got a permit, or is in a sender's hands and may get one that it asked
 * for before the event. The sender is done with it when its lease is over. One
 * that cannot be locked, somebody is claiming at this moment, and may get the
 * permit along with it (claim_and_begin); who locks it after this lap sees the
 * suppression.
 */
#define PEOPLE \
	"ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS k(n, bucket, profile_id)"
#define OF_AUDIENCE(table) \
	" JOIN journey." table " a ON a.bucket = k.bucket AND a.profile_id = k.profile_id" \
	" JOIN journey.document c ON c.kind = 'channel' AND c.name = a.channel AND c.state = 'active' AND c.doc ->> 'mode' = 'state'"
#define ADDS " NOT a.payload ? '" JNY_REMOVES "'"
#define REMOVED_BY(table) \
	"(SELECT FROM journey." table " r WHERE r.bucket = a.bucket AND r.profile_id = a.profile_id" \
	"  AND r.payload ->> '" JNY_REMOVES "' = a.action_id::pg_catalog.text)"
#define MEMBERS(table, lease, claiming, condition) \
	"SELECT k.n, a.action_id, a.enrollment_id, a.channel, a.journey, a.version, a.step, a.visit, a.scope, a.template," \
	"  a.template_version, a.locale, (a.payload || pg_catalog.jsonb_build_object('" JNY_REMOVES "', a.action_id))::pg_catalog.text," \
	"  " lease ", a.test, a.purpose, e.entry_ref, " claiming ", COALESCE(e.lap, a.decided_lap), e.entry_seq" \
	" FROM " PEOPLE OF_AUDIENCE(table) \
	" LEFT JOIN journey.enrollment e ON e.bucket = a.bucket AND e.profile_id = a.profile_id AND e.enrollment_id = a.enrollment_id" \
	" WHERE" ADDS " AND " condition \
	"  AND NOT EXISTS " REMOVED_BY("outbox") " AND NOT EXISTS " REMOVED_BY("outbox_history")
JNY_PLAN(find_members, "integer[], smallint[], uuid[]",
		 "WITH free AS MATERIALIZED (SELECT a.action_id FROM " PEOPLE OF_AUDIENCE("outbox")
		 "  WHERE" ADDS " AND a.status = 'pending' AND a.attempt = 0 FOR UPDATE OF a SKIP LOCKED) "
		 MEMBERS("outbox_history", "NULL::pg_catalog.timestamptz", "false", "a.attempt > 0") " UNION ALL "
		 MEMBERS("outbox", "a.lease_until", "(a.status = 'pending' AND a.attempt = 0)",
				 "a.action_id NOT IN (SELECT f.action_id FROM free f)"));

/* An action that put somebody into an audience, or may have. */
typedef struct Member
{
	pg_uuid_t	action_id;
	const pg_uuid_t *enrollment;	/* NULL = none */
	const char *channel;
	const char *journey;
	int			version;
	const char *step;
	int			visit;
	const char *scope;
	const char *template;
	int			template_version;
	const char *locale;
	Jsonb	   *payload;		/* of the removal */
	TimestampTz lease;			/* 0 = in nobody's hands */
	bool		test;
	const char *purpose;
	const char *own_ref;		/* '' = none */
	bool		claiming;		/* somebody takes it at this moment: the lease is not known */
	int64		entry_lap;		/* what is later came after the entry that led to it */
	int64		entry_seq;
	bool		leaves;			/* in this phase: two suppressions may take back the same */
} Member;

bool
jny_audiences_wait(void)
{
	JnyCols    *all;

	if (!jny_has_audiences())
		return false;
	all = jny_cols_of(&any_unread);
	jny_cols_next(all);
	return jny_lookup_at(&any_unread, all, NULL, 1)->n > 0;
}

/* Suppressions that were written beside the laps. List of JnySuppress *. */
static List *
find_unread(JnyRun *run)
{
	List	   *found = NIL;
	List	   *people = NIL;
	List	   *known = NIL;
	ListCell   *lc;
	ListCell   *who;
	uint64		n = jny_run(&take_unread, (Datum[]) {TimestampTzGetDatum(run->now), Int32GetDatum(UNREAD_PER_LAP)}, NULL);

	run->batch->more |= n == UNREAD_PER_LAP;
	for (uint64 row = 0; row < n; row++)
	{
		JnySuppress *s;

		if (jny_get_int8(row, 8, 0) == 0)
			continue;
		s = palloc0(sizeof(JnySuppress));
		s->type = jny_get_text(row, 2);
		s->ref = jny_get_text(row, 3);
		s->scope = jny_get_text(row, 4);
		s->channel = jny_get_text(row, 5);
		s->purpose = jny_get_text(row, 6);
		s->reason = jny_get_text(row, 7);
		found = lappend(found, s);
		people = lappend(people, jny_get_uuid(row, 1));
	}
	if (found != NIL)
		jny_profiles_load(run->batch, people);
	forboth(lc, found, who, people)
	{
		JnySuppress *s = lfirst(lc);
		JnyProfile *profile = jny_profile_get(run->batch, lfirst(who));

		if (profile == NULL)
			continue;			/* deleted by hand: there is nobody to take out by it */
		s->person = jny_run_person(run, profile);
		known = lappend(known, s);
	}
	return known;
}

static Member *
member_of(uint64 row)
{
	Member	   *m = palloc0(sizeof(Member));
	bool		isnull;
	Datum		lease = jny_get(row, 14, &isnull);

	m->action_id = *jny_get_uuid(row, 2);
	m->enrollment = jny_get_uuid(row, 3);
	m->channel = jny_get_text(row, 4);
	m->journey = jny_get_text(row, 5);
	m->version = (int) jny_get_int8(row, 6, 0);
	m->step = jny_get_text(row, 7);
	m->visit = (int) jny_get_int8(row, 8, 0);
	m->scope = jny_get_text(row, 9);
	m->template = jny_get_text(row, 10);
	m->template_version = (int) jny_get_int8(row, 11, 1);
	m->locale = jny_get_text(row, 12);
	m->payload = jny_json_parse(jny_get_text(row, 13));
	m->lease = isnull ? 0 : DatumGetTimestampTz(lease);
	m->test = jny_get_int8(row, 15, 0) != 0;
	m->purpose = jny_get_text(row, 16);
	m->own_ref = jny_get_text(row, 17);
	if (m->own_ref == NULL)
		m->own_ref = "";
	m->claiming = jny_get_int8(row, 18, 0) != 0;
	m->entry_lap = jny_get_int8(row, 19, 0);
	m->entry_seq = jny_get_int8(row, 20, PG_INT64_MAX);
	return m;
}

void
jny_load_members(List *people)
{
	JnyCols    *cols = jny_cols("integer, smallint, uuid");
	ListCell   *lc;
	uint64		n;

	foreach(lc, people)
	{
		JnyPerson  *person = lfirst(lc);

		if (person->members_read)
			continue;
		person->members_read = true;
		jny_cols_set(cols, 0, Int32GetDatum(foreach_current_index(lc)));
		jny_cols_set(cols, 1, Int16GetDatum(person->profile->bucket));
		jny_cols_set(cols, 2, jny_uuid_datum(&person->id));
		jny_cols_next(cols);
	}
	if (jny_cols_count(cols) == 0 || !jny_has_audiences())
		return;
	n = jny_run(&find_members, jny_cols_datums(cols, 0), NULL);
	for (uint64 row = 0; row < n; row++)
	{
		JnyPerson  *person = list_nth(people, (int) jny_get_int8(row, 1, 0));

		person->members = lappend(person->members, member_of(row));
	}
}

static bool
is_over(const JnyPerson *person, const pg_uuid_t *enrollment)
{
	const JnyEnrollment *e = jny_enrollment_of(person, enrollment);

	return e == NULL || e->exited_at != 0;
}

static bool
is_matched(const JnySuppress *s, const pg_uuid_t *enrollment)
{
	ListCell   *lc;

	foreach(lc, s->matched)
		if (memcmp(&((JnyEnrollment *) lfirst(lc))->id, enrollment, UUID_LEN) == 0)
			return true;
	return false;
}

static bool
covers(const char *said, const char *value)
{
	return strcmp(said, "*") == 0 || (value != NULL && strcmp(said, value) == 0);
}

/* What takes back whatever a journey lists. */
static bool
ends_always(const JnySuppress *s, const JnyChannel *channel, const Member *m)
{
	if (strcmp(s->type, "erased") == 0 || strcmp(s->type, "restricted") == 0)
		return true;
	if (strcmp(s->type, "manual") == 0)
		return strcmp(m->purpose, "transactional") != 0;
	/* whose addresses it has nobody can tell while the channel cannot be read */
	return jny_type_is_opt_out(s->type) && strcmp(m->purpose, "marketing") == 0 && covers(s->purpose, m->purpose) &&
		(covers(s->channel, channel->name) || covers(s->channel, channel->address) || channel->unreadable);
}

/*
 * As the permit would judge what has still to be sent: nobody judges a match
 * for an enrollment that is over, or for an event that had to be set aside,
 * and nobody can tell what a journey lists that cannot be read (j is NULL):
 * better out than in.
 */
static bool
takes_back(const JnyRun *run, const JnyJourney *j, const JnyChannel *channel, const JnySuppress *s, const Member *m)
{
	bool		matched = m->enrollment == NULL || is_matched(s, m->enrollment);
	bool		over = is_over(s->person, m->enrollment);

	if (!jny_same_scope(run, s->scope, m->scope) || (s->linked && !matched && !over) ||
		(s->late && s->lap <= m->entry_lap && s->seq <= m->entry_seq))
		return false;
	if (ends_always(s, channel, m))
		return true;
	/* the order that put somebody in, told again by another source */
	if (m->own_ref[0] != '\0' && strcmp(m->own_ref, s->ref) == 0)
		return false;
	if (j == NULL)
		return true;
	for (int i = 0; i < j->nsuppress; i++)
	{
		const JnyOn *on = &j->suppress[i];

		if (jny_on_type(on, s->type) &&
			(matched || over || (on->match == NULL && on->when == NULL) || s->event == NULL))
			return true;
	}
	return false;
}

/* All that is known of a journey that cannot be read, or is gone: what a decision names. */
static const JnyJourney *
just_named(const Member *m)
{
	JnyJourney *j = palloc0(sizeof(JnyJourney));

	j->name = m->journey;
	j->version = m->version;
	return j;
}

static void
remove_member(JnyRun *run, const JnyJourney *j, const JnyChannel *channel, const JnySuppress *s, const Member *m)
{
	JnyAction  *a = palloc0(sizeof(JnyAction));
	JnyDecision *d;

	jny_uuid_of(&a->action_id, "removal", jny_uuid_str(&m->action_id), NULL);
	a->profile_id = s->person->id;
	a->bucket = s->person->profile->bucket;
	a->channel = channel->name;
	a->priority = REMOVAL_PRIORITY;
	a->due_at = m->claiming ? jny_zone_plus(run->now, channel->lease, "UTC") : Max(run->now, m->lease);
	a->not_after = a->due_at + REMOVAL_LASTS;
	a->fresh = true;
	a->journey = j->name;
	a->version = j->version;
	a->step = m->step;
	a->visit = m->visit;
	a->purpose = "transactional";
	a->scope = m->scope;
	a->template = m->template;
	a->template_version = m->template_version;
	a->locale = m->locale;
	a->payload = m->payload;
	a->suppress_on = jny_json_empty_array();
	a->caps = jny_json_empty_array();
	a->max_attempts = channel->attempts;
	a->test = m->test;
	a->decided_at = run->now;
	a->decided_lap = run->batch->lap;
	a->decided_seq = run->batch->last_seq;

	d = jny_decision_new(run, unconstify(JnyPerson *, s->person), j, "removal");
	jny_uuid_of(&d->id, "decision", "removal", jny_uuid_str(&a->action_id), NULL);
	d->step = a->step;
	d->verdict = "enqueue";
	d->reason = s->reason;
	d->rule = ends_always(s, channel, m) ? s->type : psprintf("suppress_on %s", s->type);
	d->event = s->event;
	d->channel = a->channel;
	d->template = a->template;
	d->has_action = true;
	d->action_id = a->action_id;
	a->decision_id = d->id;

	run->actions = lappend(run->actions, a);
	run->batch->enqueued++;
}

/* Those whom an event links with the people that it names leave as well, whether or not they are on a journey. */
static List *
over_links(JnyRun *run)
{
	List	   *all = NIL;
	ListCell   *lc;
	ListCell   *other;
	List	   *people = NIL;

	foreach(lc, run->suppressions)
		if (!((JnySuppress *) lfirst(lc))->linked)
			people = list_concat(people, jny_linked_with(run, ((JnySuppress *) lfirst(lc))->event));
	if (people == NIL)
		return NIL;
	jny_load_members(people);
	foreach(lc, run->suppressions)
	{
		const JnySuppress *s = lfirst(lc);

		if (s->linked)
			continue;
		foreach(other, jny_linked_with(run, s->event))
		{
			JnySuppress *one;

			if (((JnyPerson *) lfirst(other))->members == NIL)
				continue;
			one = palloc(sizeof(JnySuppress));
			*one = *s;
			one->person = lfirst(other);
			one->linked = true;
			one->matched = NIL;
			all = lappend(all, one);
		}
	}
	return all;
}

void
jny_leave_audiences(JnyRun *run)
{
	List	   *suppressions;
	List	   *people = NIL;
	ListCell   *lc;
	ListCell   *member;

	if (!jny_has_audiences())
		return;
	suppressions = list_concat(list_concat_copy(run->suppressions, run->late), over_links(run));
	if (jny_audiences_wait())
		suppressions = list_concat(suppressions, find_unread(run));
	foreach(lc, suppressions)
		people = lappend(people, unconstify(JnyPerson *, ((JnySuppress *) lfirst(lc))->person));
	jny_load_members(people);
	foreach(lc, suppressions)
	{
		const JnySuppress *s = lfirst(lc);

		foreach(member, s->person->members)
		{
			Member	   *m = lfirst(member);
			const JnyJourney *j = jny_journey_version(m->journey, m->version);
			const JnyChannel *channel = jny_channel(m->channel);

			if (m->leaves || channel == NULL || !takes_back(run, j, channel, s, m))
				continue;
			m->leaves = true;
			remove_member(run, j != NULL ? j : just_named(m), channel, s, m);
		}
	}
}
