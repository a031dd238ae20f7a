/*
 * people.c
 *		What is known about the people of a call's actions.
 *
 * Called by gate.c after the rows and people are locked, inside
 * SPI_connect(). Reads only; see people.h.
 */
#include "deliver/people.h"

#include "utils/builtins.h"

#include "core/snap.h"

#define SUPPRESSION \
	"type, ref, scope, channel, purpose, reason, seq, lap, matched, until, released_by, released_xact, incarnation," \
	" bucket, profile_id, linked"
JNY_LOOKUP(recent_suppressions, "suppression", "suppression_lap", "lap >", SUPPRESSION, NULL);
JNY_LOOKUP(all_suppressions, "suppression", "suppression_pkey", "bucket, profile_id", SUPPRESSION, NULL);
JNY_LOOKUP(manual_suppressions, "suppression", "suppression_manual", "bucket, profile_id", SUPPRESSION, "t.type = 'manual'");
JNY_LOOKUP(profiles, "profile", "profile_pkey", "bucket, profile_id", "restricted, zone", NULL);
JNY_LOOKUP(test_profiles, "test_profile", "test_profile_pkey", "bucket, profile_id", "bucket", NULL);
JNY_LOOKUP(enrollments, "enrollment", "enrollment_pkey", "bucket, profile_id, enrollment_id",
		   "exited_at, exit_reason, status", NULL);
JNY_LOOKUP(consents, "consent", "consent_pkey", "bucket, profile_id", "scope, channel, purpose, state, expires_at", NULL);
/* what no lap has read yet, each before the table to which the lap takes it */
JNY_LOOKUP(unread_consents, "consent_history", "consent_history_unread", "bucket, profile_id",
		   "scope, channel, purpose, state, expires_at", "t.unread");
JNY_LOOKUP(faults, "attempt_log", "attempt_log_fault", "bucket, profile_id",
		   "scope, channel, address_hash", "t.address_fault IS NOT NULL");
JNY_LOOKUP(addresses, "contact_point", "contact_point_pkey", "bucket, profile_id",
		   "scope, channel, state, since, address_hash, address", NULL);
JNY_LOOKUP(sharing, "contact_point", "contact_point_address", "address_hash", "bucket, profile_id", NULL);

/* ---- in the order of the tables --------------------------------------------- */

static int
compare_person(const JnyWork *x, const JnyWork *y)
{
	if (x->bucket != y->bucket)
		return x->bucket < y->bucket ? -1 : 1;
	return memcmp(&x->profile_id, &y->profile_id, sizeof(pg_uuid_t));
}

static int
by_person(const void *a, const void *b)
{
	return compare_person(*(JnyWork *const *) a, *(JnyWork *const *) b);
}

JnyPeople *
jny_people_of(List *works)
{
	JnyPeople  *people = palloc0(sizeof(JnyPeople));
	ListCell   *lc;

	people->work = palloc(sizeof(JnyWork *) * Max(1, list_length(works)));
	people->first = palloc(sizeof(int) * (list_length(works) + 1));
	foreach(lc, works)
		people->work[people->nworks++] = lfirst(lc);
	qsort(people->work, people->nworks, sizeof(JnyWork *), by_person);
	for (int i = 0; i < people->nworks; i++)
		if (i == 0 || compare_person(people->work[i - 1], people->work[i]) != 0)
			people->first[people->n++] = i;
	people->first[people->n] = people->nworks;
	return people;
}

/* Each person's actions, one after the other: w is one, i its place. */
#define FOR_WORKS_OF(people, person, w) \
	for (int i_ = (people)->first[person]; i_ < (people)->first[(person) + 1] && ((w) = (people)->work[i_], true); i_++)

/* The place of a person; -1 when none of the actions is theirs. */
static int
person_of(const JnyPeople *people, int16 bucket, const pg_uuid_t *id)
{
	JnyWork		wanted = {.bucket = bucket, .profile_id = *id};
	int			low = 0;
	int			high = people->n - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		int			c = compare_person(&wanted, people->work[people->first[middle]]);

		if (c == 0)
			return middle;
		if (c < 0)
			high = middle - 1;
		else
			low = middle + 1;
	}
	return -1;
}

/* Bucket and id of each person; of all, or of those with an action that is asked about. */
static JnyRows *
find(JnyAccess *access, const JnyPeople *people, bool (*asked) (const JnyGate *, const JnyWork *), const JnyGate *gate)
{
	JnyCols    *cols = jny_cols_of(access);
	int		   *person = palloc(sizeof(int) * Max(1, people->n));
	int			n = 0;
	JnyRows    *rows;

	for (int p = 0; p < people->n; p++)
	{
		JnyWork    *w;
		bool		wanted = asked == NULL;

		FOR_WORKS_OF(people, p, w)
			wanted = wanted || asked(gate, w);
		if (!wanted)
			continue;
		w = people->work[people->first[p]];
		jny_cols_set(cols, 0, Int16GetDatum(w->bucket));
		jny_cols_set(cols, 1, UUIDPGetDatum(&w->profile_id));
		jny_cols_next(cols);
		person[n++] = p;
	}
	rows = jny_lookup(access, cols);
	for (int i = 0; i < rows->n; i++)
		rows->row[i].key = person[rows->row[i].key];
	return rows;
}

/* ---- state ------------------------------------------------------------------ */

/*
 * Those of laps that one of the decisions had not seen, and perhaps more; the
 * place of the person is the key. Decisions are mostly so young that few laps,
 * and few of anybody's suppressions, are later.
 */
static JnyRows *
find_later(const JnyPeople *people)
{
	JnyCols    *cols = jny_cols_of(&recent_suppressions);
	int			few = Max(8, people->n / 4);
	int64		lap = PG_INT64_MAX;
	JnyRows    *rows;
	int			kept = 0;

	for (int i = 0; i < people->nworks; i++)
		lap = Min(lap, people->work[i]->decided_lap);
	jny_cols_set(cols, 0, Int64GetDatum(lap));
	jny_cols_next(cols);
	rows = jny_lookup_at(&recent_suppressions, cols, NULL, few + 1);
	if (rows->n > few)
		return find(&all_suppressions, people, NULL, NULL);
	for (int i = 0; i < rows->n; i++)
	{
		JnyRow		row = rows->row[i];

		row.key = person_of(people, (int16) jny_row_int(rows, i, 13, 0), jny_row_uuid(&row, 14));
		if (row.key >= 0)
			rows->row[kept++] = row;
	}
	rows->n = kept;
	return rows;
}

/*
 * Of those who are linked with the person of an action that somebody brought
 * back: a lap writes suppressions of linked people for live enrollments alone.
 */
static JnyRows *
find_of_linked(JnyPeople *people)
{
	JnyCols    *cols = jny_cols_of(&all_suppressions);
	const JnyLinks *links = NULL;
	List	   *asked = NIL;
	JnyRows    *rows;

	for (int i = 0; i < people->nworks && links == NULL; i++)
		if (!people->work[i]->has_enrollment || people->work[i]->over)
			links = jny_people_links(people);
	for (int l = 0; links != NULL && l < links->n; l++)
	{
		jny_cols_set(cols, 0, Int16GetDatum(links->link[l].who.bucket));
		jny_cols_set(cols, 1, UUIDPGetDatum(&links->link[l].who.id));
		jny_cols_next(cols);
		asked = lappend_int(asked, links->link[l].of);
	}
	rows = jny_lookup(&all_suppressions, cols);
	for (int i = 0; i < rows->n; i++)
		rows->row[i].key = list_nth_int(asked, rows->row[i].key);
	return rows;
}

static bool
is_released(const JnyGate *gate, const JnyRows *rows, int i)
{
	const JnyRow *row = &rows->row[i];
	JnySnap		snapshot;

	if (row->nulls[10])
		return false;
	if (row->nulls[11] || jny_row_int(rows, i, 12, 0) != gate->node.incarnation)
		return true;
	snapshot = jny_snap_parse(gate->fences->snapshot);
	return jny_snap_sees(&snapshot, DatumGetUInt64(row->values[11]));
}

List *
jny_people_suppressions(const JnyGate *gate, JnyPeople *people)
{
	JnyRows    *found[] = {find_later(people), find(&manual_suppressions, people, NULL, NULL), find_of_linked(people)};
	List	   *hold = NIL;

	for (int f = 0; f < (int) lengthof(found); f++)
		for (int i = 0; i < found[f]->n; i++)
		{
			JnyRow	   *row = &found[f]->row[i];
			char	   *type = jny_row_text(row, 0);
			bool		manual = strcmp(type, "manual") == 0;
			bool		linked = jny_row_int(found[f], i, 15, 0) != 0;
			JnySuppression *s;

			if (manual != (f == 1) || (f == 2 && linked) || is_released(gate, found[f], i) ||
				(!row->nulls[9] && jny_row_time(row, 9) <= gate->node.now))
				continue;
			s = palloc(sizeof(JnySuppression));
			*s = (JnySuppression) {
				.person = row->key, .type = type, .ref = jny_row_text(row, 1), .scope = jny_row_text(row, 2),
				.channel = jny_row_text(row, 3), .purpose = jny_row_text(row, 4), .reason = jny_row_text(row, 5),
				.seq = jny_row_int(found[f], i, 6, 0), .lap = manual ? PG_INT64_MAX : jny_row_int(found[f], i, 7, 0),
				.matched = DatumGetArrayTypeP(row->values[8]),
				.linked = linked || f == 2
			};
			hold = lappend(hold, s);
		}
	return hold;
}

static void
read_profiles(const JnyGate *gate, const JnyPeople *people)
{
	JnyRows    *rows = find(&profiles, people, NULL, NULL);
	JnyWork    *w;

	for (int i = 0; i < rows->n; i++)
	{
		char	   *zone = jny_row_text(&rows->row[i], 1);

		FOR_WORKS_OF(people, rows->row[i].key, w)
		{
			w->known = true;
			w->restricted = jny_row_int(rows, i, 0, 0) != 0;
			w->zone = zone;
		}
	}
	if (gate->node.mode != JNY_MODE_SANDBOX)
		return;
	rows = find(&test_profiles, people, NULL, NULL);
	for (int i = 0; i < rows->n; i++)
		FOR_WORKS_OF(people, rows->row[i].key, w)
			w->profile_test = true;
}

static void
read_enrollments(const JnyPeople *people)
{
	JnyCols    *cols = jny_cols_of(&enrollments);
	JnyWork   **asked = palloc(sizeof(JnyWork *) * Max(1, people->nworks));
	int			n = 0;
	JnyRows    *rows;

	for (int i = 0; i < people->nworks; i++)
	{
		JnyWork    *w = people->work[i];

		if (!w->has_enrollment)
			continue;
		jny_cols_set(cols, 0, Int16GetDatum(w->bucket));
		jny_cols_set(cols, 1, UUIDPGetDatum(&w->profile_id));
		jny_cols_set(cols, 2, UUIDPGetDatum(&w->enrollment_id));
		jny_cols_next(cols);
		asked[n++] = w;
	}
	rows = jny_lookup(&enrollments, cols);
	for (int i = 0; i < rows->n; i++)
	{
		JnyWork    *w = asked[rows->row[i].key];

		w->over = !rows->row[i].nulls[0];
		w->ended = w->over && !jny_text_is(&rows->row[i], 2, "finished");
		w->exit_reason = jny_row_text(&rows->row[i], 1);
	}
}

/*
 * Consent and address are said of the channel, of the namespace of its
 * addresses, or of all (*), and so are scope and purpose; the strictest wins.
 * The decision reads them alike: has_consent() and has_contact() of
 * orchestrate/gates.c.
 */
static bool
said_of(const JnyGate *gate, const JnyWork *w, const char *scope, const char *channel)
{
	const char *namespace = jny_house_channel(gate->house, w->channel)->address;

	return (strcmp(scope, w->scope) == 0 || strcmp(scope, "*") == 0) &&
		(strcmp(channel, w->channel) == 0 || strcmp(channel, "*") == 0 ||
		 (namespace != NULL && strcmp(channel, namespace) == 0));
}

static bool
is_marketing(const JnyGate *gate, const JnyWork *w)
{
	return w->marketing;
}

/* A no goes before a yes, a yes before what is neither. */
static int
strictness(const char *state)
{
	if (strcmp(state, "granted") == 0)
		return 1;
	return strcmp(state, "unknown") == 0 || strcmp(state, "pending") == 0 || strcmp(state, "expired") == 0 ? 0 : 2;
}

/* What is unread takes rights away at once; whether it gives any, the lap judges. */
static void
heed_consents(const JnyGate *gate, const JnyPeople *people, const JnyRows *rows, bool unread)
{
	for (int i = 0; i < rows->n; i++)
	{
		const JnyRow *row = &rows->row[i];
		char	   *scope = jny_row_text(row, 0);
		char	   *channel = jny_row_text(row, 1);
		char	   *purpose = jny_row_text(row, 2);
		char	   *state = jny_row_text(row, 3);
		JnyWork    *w;

		if (unread && strictness(state) < 2)
			continue;
		if (strcmp(state, "granted") == 0 && !row->nulls[4] && jny_row_time(row, 4) <= gate->node.now)
			state = "expired";
		FOR_WORKS_OF(people, row->key, w)
		{
			int			more;

			if (!said_of(gate, w, scope, channel) || (strcmp(purpose, w->purpose) != 0 && strcmp(purpose, "*") != 0))
				continue;
			more = w->consent == NULL ? 1 : strictness(state) - strictness(w->consent);
			if (more > 0 || (more == 0 && strcmp(state, w->consent) > 0))
				w->consent = state;
		}
	}
}

static void
read_consents(const JnyGate *gate, const JnyPeople *people)
{
	heed_consents(gate, people, find(&unread_consents, people, is_marketing, gate), true);
	heed_consents(gate, people, find(&consents, people, is_marketing, gate), false);
}

/* ---- addresses -------------------------------------------------------------- */

typedef struct Contact
{
	const JnyRow *row;			/* NULL = a failure that no lap has read yet */
	char	   *scope;
	char	   *channel;
	char	   *state;
	TimestampTz since;
	int64		hash;
	bool		last;			/* it has failed, or another took its place */
} Contact;

static bool
needs_address(const JnyGate *gate, const JnyWork *w)
{
	return jny_house_channel(gate->house, w->channel)->address != NULL;
}

static bool
is_spoilt(const char *state)
{
	return strcmp(state, "hard") == 0 || strcmp(state, "complained") == 0;
}

/* One's own before a borrowed one, what is said of this channel before what is said of all, the newest first. */
static bool
is_better(const JnyWork *w, const Contact *a, const Contact *b)
{
	bool		sides[][2] = {
		{a->last, b->last},
		{strcmp(a->channel, w->channel) != 0, strcmp(b->channel, w->channel) != 0},
		{strcmp(a->channel, "*") == 0, strcmp(b->channel, "*") == 0},
		{strcmp(a->scope, "*") == 0, strcmp(b->scope, "*") == 0},
		{a->since < b->since, b->since < a->since}
	};

	for (size_t i = 0; i < lengthof(sides); i++)
		if (sides[i][0] != sides[i][1])
			return sides[i][1];
	return a->hash < b->hash;
}

/* An address that has failed under one of these names is not used under another. */
static void
choose_address(const JnyGate *gate, JnyWork *w, const Contact *contacts, int n)
{
	Contact		best = {0};

	for (int i = 0; i < n; i++)
	{
		Contact		c = contacts[i];

		if (c.row == NULL || !said_of(gate, w, c.scope, c.channel))
			continue;
		for (int k = 0; k < n; k++)
			if (contacts[k].hash == c.hash && is_spoilt(contacts[k].state) &&
				said_of(gate, w, contacts[k].scope, contacts[k].channel))
				c.state = "hard";
		c.last = is_spoilt(c.state) || strcmp(c.state, "replaced") == 0;
		if (best.row == NULL || is_better(w, &c, &best))
			best = c;
	}
	if (best.row == NULL)
		return;
	w->address = jny_row_text(best.row, 5);
	w->address_hash = best.hash;
	w->address_state = best.state;
}

/* The failures of one person's addresses, behind what is known about them; returns how many. */
static int
add_failures(Contact *contacts, const JnyRows *failed, int person)
{
	int			n = 0;

	for (int i = 0; i < failed->n; i++)
		if (failed->row[i].key == person)
			contacts[n++] = (Contact) {
				.scope = jny_row_text(&failed->row[i], 0), .channel = jny_row_text(&failed->row[i], 1),
				.state = "hard", .hash = jny_row_int(failed, i, 2, 0)
			};
	return n;
}

static void
read_addresses(const JnyGate *gate, const JnyPeople *people)
{
	JnyRows    *failed = find(&faults, people, needs_address, gate);
	JnyRows    *rows = find(&addresses, people, needs_address, gate);
	Contact    *contacts = palloc(sizeof(Contact) * Max(1, rows->n + failed->n));
	int			n;

	for (int i = 0; i < rows->n; i += n)
	{
		JnyWork    *w;
		int			all;

		for (n = 0; i + n < rows->n && rows->row[i + n].key == rows->row[i].key; n++)
		{
			const JnyRow *row = &rows->row[i + n];

			contacts[n] = (Contact) {
				.row = row, .scope = jny_row_text(row, 0), .channel = jny_row_text(row, 1),
				.state = jny_row_text(row, 2), .since = jny_row_time(row, 3), .hash = jny_row_int(rows, i + n, 4, 0)
			};
		}
		all = n + add_failures(contacts + n, failed, rows->row[i].key);
		FOR_WORKS_OF(people, rows->row[i].key, w)
			if (needs_address(gate, w))
				choose_address(gate, w, contacts, all);
	}
}

JnyRows *
jny_people_sharing(int64 address_hash)
{
	JnyCols    *cols = jny_cols_of(&sharing);

	jny_cols_set(cols, 0, Int64GetDatum(address_hash));
	jny_cols_next(cols);
	return jny_lookup(&sharing, cols);
}

/* Only what marketing may send to an address depends on who else has it. */
static void
read_shared(const JnyPeople *people)
{
	JnyCols    *cols = jny_cols_of(&sharing);
	JnyWork   **asked = palloc(sizeof(JnyWork *) * Max(1, people->nworks));
	int			n = 0;
	JnyRows    *rows;

	for (int i = 0; i < people->nworks; i++)
	{
		JnyWork    *w = people->work[i];

		if (!w->marketing || w->address == NULL)
			continue;
		jny_cols_set(cols, 0, Int64GetDatum(w->address_hash));
		jny_cols_next(cols);
		asked[n++] = w;
	}
	rows = jny_lookup(&sharing, cols);
	for (int i = 0; i < rows->n; i++)
	{
		JnyWork    *w = asked[rows->row[i].key];

		w->address_shared |= memcmp(jny_row_uuid(&rows->row[i], 1), &w->profile_id, sizeof(pg_uuid_t)) != 0;
	}
}

void
jny_people_read(const JnyGate *gate, const JnyPeople *people)
{
	read_profiles(gate, people);
	read_enrollments(people);
	read_consents(gate, people);
	read_addresses(gate, people);
	read_shared(people);
}
