/*
 * limits.c
 *		How often, when and how fast: caps, quiet hours, rates.
 *
 * Caps are counted in attempt_log under a lock of the person, taken in one
 * order for all (by hash) before the permit's snapshot; an address that
 * several people share is locked after it, without waiting: who does not get
 * that lock tries again shortly. Both are locks of the lock manager, held to
 * the end of the transaction, so that counting writes no row. A rate is one
 * row of channel_state: claims of that channel wait for each other, a
 * twentieth of a second at most. One that takes nothing writes nothing and
 * lets go at once. What was taken counts from the commit on, so that a claim
 * under a rate may not be part of a longer transaction.
 *
 * Called by gate.c, claim.c and permit.c inside SPI_connect().
 */
#include "deliver/people.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

/* Classes of advisory locks that pg_advisory_lock() cannot take. */
#define LOCK_PERSON 7
#define LOCK_ADDRESS 8
#define LOCK_RATE 9

typedef struct Attempt
{
	TimestampTz at;
	const char *channel;
	const char *journey;
	const char *step;
	const char *scope;
	bool		marketing;
	pg_uuid_t	action_id;
} Attempt;

JNY_LOOKUP(attempts_since, "attempt_log", "attempt_log_pkey", "bucket, profile_id, granted_at >=",
		   "granted_at, channel, journey, step, scope, purpose, action_id, counted, address_hash", NULL);

JNY_PLAN(read_rate, "text, timestamptz, text",
		 "SELECT s.tokens, s.filled_at, CASE WHEN s.day = ($2 AT TIME ZONE $3)::date THEN s.day_count ELSE 0 END"
		 " FROM journey.channel_state s WHERE s.channel = $1");
JNY_PLAN(write_rate, "text, double precision, timestamptz, text, bigint",
		 "INSERT INTO journey.channel_state AS s (channel, tokens, filled_at, day, day_count)"
		 " VALUES ($1, $2, $3, ($3 AT TIME ZONE $4)::date, $5)"
		 " ON CONFLICT (channel) DO UPDATE SET tokens = EXCLUDED.tokens, filled_at = EXCLUDED.filled_at,"
		 "  day = EXCLUDED.day, day_count = EXCLUDED.day_count");

/* ---- the person's calendar ------------------------------------------------ */

static const char *
zone_of(const JnyWork *w, const JnyHouse *house)
{
	return jny_zone_valid(w->zone) ? w->zone : house->zone;
}

/* The journey's own hours are those of the decision; the house's are those of this moment. */
void
jny_limits_quiet(JnyGate *gate, JnyWork *w)
{
	const JnyQuiet *quiet = w->quiet;
	TimestampTz until;

	if (quiet == NULL && jny_house_channel(gate->house, w->channel)->push)
		quiet = gate->house->quiet;
	if (quiet == NULL || w->transactional || w->reason != NULL)
		return;
	until = jny_zone_quiet_until(gate->node.now, quiet->from, quiet->to,
								 jny_zone_valid(quiet->zone) ? quiet->zone : zone_of(w, gate->house));
	if (until == 0)
		return;
	if (quiet->hold)
		jny_postpone(gate, w, "quiet_hours", until);
	else
		jny_refuse(w, "quiet_hours");
}

/* Of a cap in a zone: the same for all actions of a call, so it is found once. */
typedef struct Window
{
	const JnyCap *cap;
	const char *zone;
	TimestampTz start;
	TimestampTz next;
} Window;

static TimestampTz
window_start(JnyGate *gate, const JnyCap *cap, const JnyWork *w, TimestampTz *next)
{
	const char *zone = zone_of(w, gate->house);
	Window	   *known;
	ListCell   *lc;

	foreach(lc, gate->windows)
	{
		known = lfirst(lc);
		if (known->cap == cap && strcmp(known->zone, zone) == 0)
		{
			*next = known->next;
			return known->start;
		}
	}
	known = palloc(sizeof(Window));
	known->cap = cap;
	known->zone = zone;
	known->start = jny_zone_window(gate->node.now, &cap->per, cap->calendar, zone, &known->next);
	gate->windows = lappend(gate->windows, known);
	*next = known->next;
	return known->start;
}

/* ---- caps ------------------------------------------------------------------ */

static bool
is_capped(JnyGate *gate, const JnyWork *w)
{
	return !w->transactional && (w->ncaps > 0 || (w->marketing && gate->house->ncaps > 0)) &&
		!jny_house_channel(gate->house, w->channel)->ops;
}

static bool
lock(int class, uint64 key, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (key >> 32), (uint32) key, class);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

static int
by_key(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return x < y ? -1 : x > y;
}

/* Waiting in the order of keys cannot deadlock; for one more, while holding these, it could. */
static void
lock_more(JnyGate *gate, List *works)
{
	ListCell   *lc;

	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);

		if (is_capped(gate, w) && !lock(LOCK_PERSON, jny_hash64(w->profile_id.data, UUID_LEN, 0), false))
			jny_postpone(gate, w, "changed", 0);
	}
}

void
jny_limits_lock(JnyGate *gate, List *works)
{
	uint64	   *keys = palloc(sizeof(uint64) * Max(1, list_length(works)));
	int			n = 0;
	ListCell   *lc;

	if (gate->locked)
	{
		lock_more(gate, works);
		return;
	}
	gate->locked = true;
	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);

		if (is_capped(gate, w))
			keys[n++] = jny_hash64(w->profile_id.data, UUID_LEN, 0);
	}
	qsort(keys, n, sizeof(uint64), by_key);
#ifdef JOURNEY_BUG_CAPS_WITHOUT_LOCK
	/* two permits at once count the same past */
	n = 0;
#endif
	for (int i = 0; i < n; i++)
		if (i == 0 || keys[i] != keys[i - 1])
			(void) lock(LOCK_PERSON, keys[i], true);
}

/*
 * What counts is a message, not how often it was tried: an action whose
 * outcome nobody knows goes out again under the same key. Its last permit,
 * which comes last, is in every window that one of its permits is in. What is
 * transactional counts nowhere: a marketing journey takes people out of
 * audiences by it.
 */
static List *
add_attempt(List *attempts, const JnyRow *row)
{
	pg_uuid_t  *action = jny_row_uuid(row, 6);
	Attempt    *a;
	ListCell   *lc;

	if (jny_text_is(row, 5, "transactional"))
		return attempts;
	foreach(lc, attempts)
	{
		a = lfirst(lc);
		if (memcmp(&a->action_id, action, sizeof(pg_uuid_t)) == 0)
		{
			a->at = jny_row_time(row, 0);
			return attempts;
		}
	}
	a = palloc(sizeof(Attempt));
	a->at = jny_row_time(row, 0);
	a->channel = jny_row_text(row, 1);
	a->journey = jny_row_text(row, 2);
	a->step = jny_row_text(row, 3);
	a->scope = jny_row_text(row, 4);
	a->marketing = strcmp(jny_row_text(row, 5), "marketing") == 0;
	a->action_id = *action;
	return lappend(attempts, a);
}

/* The earliest instant that any cap of this action looks at. */
static TimestampTz
earliest(JnyGate *gate, const JnyWork *w)
{
	TimestampTz since = gate->node.now;
	TimestampTz next;

	for (int i = 0; i < w->ncaps; i++)
		since = Min(since, window_start(gate, &w->caps[i], w, &next));
	if (w->marketing)
		for (int i = 0; i < gate->house->ncaps; i++)
			since = Min(since, window_start(gate, &gate->house->caps[i], w, &next));
	return since;
}

static void
load_attempts(JnyGate *gate, List *works)
{
	JnyPeople  *people = jny_people_of(works);
	JnyCols    *cols = jny_cols_of(&attempts_since);
	JnyWork   **asked = palloc(sizeof(JnyWork *) * people->nworks);
	int			n = 0;
	JnyRows    *rows;

	for (int i = 0; i < people->nworks; i++)
	{
		JnyWork    *w = people->work[i];

		if (w->reason != NULL || !is_capped(gate, w))
			continue;
		jny_cols_set(cols, 0, w->values[W_BUCKET]);
		jny_cols_set(cols, 1, w->values[W_PROFILE]);
		jny_cols_set(cols, 2, TimestampTzGetDatum(earliest(gate, w)));
		jny_cols_next(cols);
		asked[n++] = w;
	}
	rows = jny_lookup(&attempts_since, cols);
	for (int i = 0; i < rows->n; i++)
	{
		JnyWork    *w = asked[rows->row[i].key];

		if (jny_row_int(rows, i, 7, 0) != 0)
			w->attempts = add_attempt(w->attempts, &rows->row[i]);
	}
}

static bool
counts(const JnyGate *gate, const JnyCap *cap, const JnyWork *w, const Attempt *a)
{
	/* an action that is tried again does not stand in its own way */
	return memcmp(&a->action_id, &w->action_id, sizeof(pg_uuid_t)) != 0 &&
		(gate->house->caps_cross_scopes || strcmp(a->scope, w->scope) == 0) &&
		(strcmp(cap->channel, "*") == 0 || strcmp(cap->channel, a->channel) == 0) &&
		(cap->journey ? strcmp(a->journey, w->journey) == 0 : a->marketing);
}

static void
judge_cap(JnyGate *gate, JnyWork *w, const JnyCap *cap)
{
	TimestampTz next;
	TimestampTz start;
	TimestampTz oldest = DT_NOEND;
	int			n = 0;
	ListCell   *lc;

	if (strcmp(cap->channel, "*") != 0 && strcmp(cap->channel, w->channel) != 0)
		return;
	start = window_start(gate, cap, w, &next);
	foreach(lc, w->attempts)
	{
		Attempt    *a = lfirst(lc);

		if (a->at < start || (next == 0 && a->at == start) || !counts(gate, cap, w, a))
			continue;
		n++;
		oldest = Min(oldest, a->at);
	}
	if (n < cap->max)
		return;
	if (!cap->hold)
		jny_refuse(w, "capped");
	else
		jny_postpone(gate, w, "capped", next != 0 ? next : jny_zone_plus(oldest, &cap->per, "UTC"));
}

/*
 * Several people share the address: what the others were sent there counts
 * too, and the same step of the same journey goes there once a day.
 */
static List *
shared_attempts(JnyGate *gate, JnyWork *w)
{
	JnyRows    *others;
	JnyRows    *rows;
	JnyCols    *cols = jny_cols_of(&attempts_since);
	TimestampTz since = Min(gate->node.now - USECS_PER_DAY, earliest(gate, w));
	List	   *out = NIL;

	if (!lock(LOCK_ADDRESS, (uint64) w->address_hash ^ jny_hash64(w->channel, strlen(w->channel), 0), false))
	{
		jny_postpone(gate, w, "changed", 0);
		return NIL;
	}
	others = jny_people_sharing(w->address_hash);
	for (int i = 0; i < others->n; i++)
	{
		pg_uuid_t  *profile = jny_row_uuid(&others->row[i], 1);

		if (memcmp(profile, &w->profile_id, sizeof(pg_uuid_t)) == 0)
			continue;
		jny_cols_set(cols, 0, others->row[i].values[0]);
		jny_cols_set(cols, 1, UUIDPGetDatum(profile));
		jny_cols_set(cols, 2, TimestampTzGetDatum(since));
		jny_cols_next(cols);
	}
	rows = jny_lookup(&attempts_since, cols);
	for (int i = 0; i < rows->n; i++)
		if (jny_row_int(rows, i, 7, 0) != 0 && jny_row_int(rows, i, 8, ~w->address_hash) == w->address_hash &&
			strcmp(jny_row_text(&rows->row[i], 1), w->channel) == 0)
			out = add_attempt(out, &rows->row[i]);
	return out;
}

static Attempt *
as_attempt(const JnyWork *w, TimestampTz at)
{
	Attempt    *a = palloc(sizeof(Attempt));

	a->at = at;
	a->channel = w->channel;
	a->journey = w->journey;
	a->step = w->step;
	a->scope = w->scope;
	a->marketing = w->marketing;
	a->action_id = w->action_id;
	return a;
}

/* What this very call has granted before: to the same person, or to others at the same address. */
static List *
granted_here(JnyGate *gate, List *works, const JnyWork *w, bool others)
{
	List	   *out = NIL;
	ListCell   *lc;

	foreach(lc, works)
	{
		JnyWork    *before = lfirst(lc);
		bool		same;

		if (before == w)
			break;
		if (before->reason != NULL || before->transactional)
			continue;
		same = memcmp(&before->profile_id, &w->profile_id, sizeof(pg_uuid_t)) == 0;
		if (others ? !same && before->address != NULL && before->address_hash == w->address_hash &&
			strcmp(before->channel, w->channel) == 0 : same)
			out = lappend(out, as_attempt(before, gate->node.now));
	}
	return out;
}

static void
judge_shared(JnyGate *gate, JnyWork *w, List *others)
{
	TimestampTz day_ago = gate->node.now - USECS_PER_DAY;
	ListCell   *lc;

	foreach(lc, others)
	{
		Attempt    *a = lfirst(lc);

		if (a->at > day_ago && strcmp(a->journey, w->journey) == 0 && strcmp(a->step, w->step) == 0)
			jny_refuse(w, "superseded");
	}
}

void
jny_limits_caps(JnyGate *gate, List *works)
{
	ListCell   *lc;

	load_attempts(gate, works);
	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);
		bool		capped = is_capped(gate, w);
		bool		shared = w->address_shared && w->marketing;

		if (w->reason != NULL || (!capped && !shared))
			continue;
		if (capped)
			w->attempts = list_concat(w->attempts, granted_here(gate, works, w, false));
		if (shared)
		{
			List	   *others = list_concat(shared_attempts(gate, w),
											 granted_here(gate, works, w, true));

			judge_shared(gate, w, others);
			w->attempts = list_concat(w->attempts, others);
		}
		for (int i = 0; i < w->ncaps; i++)
			judge_cap(gate, w, &w->caps[i]);
		if (w->marketing)
			for (int i = 0; i < gate->house->ncaps; i++)
				judge_cap(gate, w, &gate->house->caps[i]);
	}
}

/* ---- rates ------------------------------------------------------------------ */

/* claims that wait for each other's count have read the clock in another order: by no more than this */
#define CLOCK_SLACK USECS_PER_SEC

typedef struct Rate
{
	double		tokens;
	TimestampTz now;
	int64		day_count;
	const char *zone;
	bool		set_back;
} Rate;

static Rate rate;

static void
rate_tag(const char *channel, LOCKTAG *tag)
{
	uint64		key = jny_hash64(channel, strlen(channel), 0);

	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (key >> 32), (uint32) key, LOCK_RATE);
}

/*
 * Claims of one channel count its rate one after the other. One that takes
 * long (an outbox full of what is refused) must not hold up this one.
 */
static bool
lock_rate(const char *channel)
{
	LOCKTAG		tag;

	rate_tag(channel, &tag);
	for (int tries = 0; tries < 50; tries++)
	{
		if (LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL)
			return true;
		pg_usleep(1000);
		CHECK_FOR_INTERRUPTS();
	}
	return false;
}

static void
write_state(const JnyChannelRules *channel, int n)
{
	jny_run(&write_rate, (Datum[]) {CStringGetTextDatum(channel->name), Float8GetDatum(rate.tokens - n),
									TimestampTzGetDatum(rate.now), CStringGetTextDatum(rate.zone),
									Int64GetDatum(rate.day_count + n)}, NULL);
}

/* What is in the bucket at this moment. */
static void
read_state(const JnyChannelRules *channel, const JnyHouse *house, TimestampTz now)
{
	bool		isnull;
	TimestampTz filled = now;

	rate = (Rate) {.tokens = channel->burst, .now = now, .zone = house->zone};
	if (jny_run(&read_rate, (Datum[]) {CStringGetTextDatum(channel->name), TimestampTzGetDatum(now),
									   CStringGetTextDatum(house->zone)}, NULL) == 1)
	{
		rate.tokens = DatumGetFloat8(jny_get(0, 1, &isnull));
		filled = DatumGetTimestampTz(jny_get(0, 2, &isnull));
		rate.day_count = jny_get_int8(0, 3, 0);
	}
	/* written under a clock that has been set back since: time begins again, whatever is taken */
	rate.set_back = filled > now + CLOCK_SLACK;
	if (rate.set_back)
	{
		write_state(channel, 0);
		return;
	}
	rate.now = Max(now, filled);
	if (channel->per_second > 0)
		rate.tokens = Min(channel->burst,
						  rate.tokens + channel->per_second * (rate.now - filled) / USECS_PER_SEC);
}

static void
require_short_transaction(const JnyChannelRules *channel)
{
	if (IsTransactionBlock() && !jny_allow_in_transaction)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("channel \"%s\" cannot be claimed inside a transaction block", channel->name),
				 errdetail("It has a rate, which is counted by one claim at a time, until its commit: no other sender would get anything meanwhile."),
				 errhint("Call it as a statement of its own, or set journey.allow_in_transaction and commit at once.")));
}

int
jny_rate_take(const JnyChannelRules *channel, const JnyHouse *house, TimestampTz now, int n)
{
	if (channel->per_second <= 0 && channel->per_day <= 0)
		return n;
	require_short_transaction(channel);
	if (!lock_rate(channel->name))
		return 0;
	read_state(channel, house, now);
	if (channel->per_second > 0)
		n = Min(n, (int) rate.tokens);
	if (channel->per_day > 0)
		n = (int) Min(n, channel->per_day - rate.day_count);
	if (n <= 0)
		jny_rate_spend(channel, 0);
	return Max(n, 0);
}

/* What was written counts from the commit on, until which the others wait. */
void
jny_rate_spend(const JnyChannelRules *channel, int n)
{
	LOCKTAG		tag;

	if (channel->per_second <= 0 && channel->per_day <= 0)
		return;
	if (n > 0)
		write_state(channel, n);
	else if (!rate.set_back)
	{
		rate_tag(channel->name, &tag);
		(void) LockRelease(&tag, ExclusiveLock, false);
	}
}
