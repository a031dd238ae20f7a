/*
 * claim.c
 *		Handing actions to a sender: claim, and claim fused with the permit.
 *
 * The next candidates of a priority are locked and changed where the index
 * has them, leaving out what others have locked, so a claim waits for nobody;
 * then they are judged with newer snapshots. A token is the hash of the action
 * under a seed that is random for each look at the index. What
 * is refused is settled at once and the claim goes on, so that a block of
 * ended actions at the head starves nobody; but only so far, so that a call's
 * locks and time are bounded. The next one goes on where it ended.
 *
 * A claim must not walk the dead index entries that an old snapshot keeps:
 * each backend remembers, per channel and priority, up to where it has taken
 * everything (a hint). A claim that comes up short starts again from the
 * beginning, unless the last such look was dear; one look a second is always
 * made. The mark never passes the beginning of a lap that has not committed.
 * Correctness never depends on the hint.
 *
 * Called as SQL functions, as journey_owner. READ COMMITTED, primary only.
 */
#include "deliver/claim.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "core/fault.h"
#include "core/shmem.h"

/* rows that a call may judge for each that it wants; JNY_MAX_BATCH in all */
#define ROUNDS 100
/* rows that commit late, other than a lap's, appear a little below what was taken before them */
#define HINT_SLACK (20 * INT64CONST(1000))
/* a look from the beginning may take this part of the time */
#define RESCAN_SHARE 20
/* microseconds; one that costs less is always made ... */
#define CHEAP_LOOK 5000
/* ... unless something was found without it: then so often is enough */
#define SOON (100 * INT64CONST(1000))

JNY_CHANGE(take, "outbox", "outbox_claim", "channel, priority, claim_at >=", JNY_HELD_COLUMNS,
		   "status, lease_until, token, sender, claimed_at, granted_at, permit_batch, attempt");
/* The first row below a priority: that of the next one. */
JNY_LOOKUP(next_priority, "outbox", "outbox_claim", "channel, priority <", "priority", "t.claim_at IS NOT NULL");
JNY_LOOKUP(of_priority, "outbox", "outbox_claim", "channel, priority, claim_at >=",
		   "claim_at, status, scope, journey, template, test", "t.claim_at IS NOT NULL");
JNY_INSERT(leases, "lease", "until, lease_id, actions");

/* ---- the hint ------------------------------------------------------------- */

#define HINT_PRIORITIES 32

typedef struct Hint
{
	char		channel[NAMEDATALEN];	/* hash key, first */
	int			n;
	int			priority[HINT_PRIORITIES];	/* falling */
	TimestampTz mark[HINT_PRIORITIES];	/* everything before was taken */
	TimestampTz looked_at;		/* real time of the last look from the beginning */
	int64		look_cost;		/* microseconds it took */
	TimestampTz last_now;		/* clock at the last use */
} Hint;

static Hint *
hint_of(const char *channel, TimestampTz now)
{
	static HTAB *hints = NULL;
	char		key[NAMEDATALEN] = {0};
	bool		found;
	Hint	   *h;

	if (hints == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = NAMEDATALEN;
		ctl.entrysize = sizeof(Hint);
		ctl.hcxt = TopMemoryContext;
		hints = hash_create("journey claim hints", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	strlcpy(key, channel, NAMEDATALEN);
	h = hash_search(hints, key, HASH_ENTER, &found);
	if (!found || now < h->last_now)	/* a clock was set back */
	{
		memset((char *) h + NAMEDATALEN, 0, sizeof(Hint) - NAMEDATALEN);
		h->looked_at = DT_NOBEGIN;
	}
	h->last_now = now;
	return h;
}

/* The greatest priority below this one that has an action; false when there is none. */
static bool
next_below(const char *channel, int *priority)
{
	JnyCols    *key = jny_cols_of(&next_priority);
	JnyRows    *next;

	jny_cols_text(key, 0, channel);
	jny_cols_set(key, 1, Int32GetDatum(*priority));
	jny_cols_next(key);
	next = jny_lookup_at(&next_priority, key, NULL, 1);
	if (next->n > 0)
		*priority = DatumGetInt32(next->row[0].values[0]);
	return next->n > 0;
}

static void
list_priorities(Hint *h, const char *channel)
{
	int			last = PG_INT32_MAX;

	for (h->n = 0; h->n < HINT_PRIORITIES && next_below(channel, &last); h->n++)
	{
		h->priority[h->n] = last;
		h->mark[h->n] = DT_NOBEGIN;
	}
}

/* ---- taking ---------------------------------------------------------------- */

static int64
random_seed(void)
{
	int64		seed;

	jny_random_drawn((uint8 *) &seed);
#ifdef JOURNEY_BUG_TOKEN_REUSED
	/* who claimed an action before can answer for it still */
	seed = 1;
#endif
	return seed;
}

/* Candidates of one priority, in the order of the index, from a place on. */
typedef struct Take
{
	JnyClaim   *claim;
	TimestampTz from;
	const pg_uuid_t *after;
	int64		seed;			/* of the tokens */
	Datum		status;
	Datum		sender;
	const pg_uuid_t *batch;
} Take;

static bool
is_paused(const JnyHouse *house, JnyPaused what, const JnyRow *row, int col)
{
	return house->paused[what] != NIL && jny_house_paused(house, what, jny_row_text(row, col));
}

static JnyChoice
choose(JnyRow *row, void *arg)
{
	Take	   *t = arg;
	JnyClaim   *c = t->claim;
	TimestampTz now = c->gate.node.now;
	TimestampTz at = jny_row_time(row, W_CLAIM_AT);
	pg_uuid_t  *id = jny_row_uuid(row, W_ACTION);
	Datum		hash;

	if (!row->nulls[W_CLAIM_AT] && at > now)
		return JNY_STOP;
	/* what others have stays where it is in the index */
	if (row->nulls[W_CLAIM_AT] || at < t->from || (at == t->from && memcmp(id, t->after, sizeof(*id)) <= 0) ||
		!jny_text_is(row, W_STATUS, "pending") || DatumGetBool(row->values[W_TEST]) != c->gate.node.test ||
		is_paused(c->gate.house, JNY_PAUSED_SCOPE, row, W_SCOPE) ||
		is_paused(c->gate.house, JNY_PAUSED_JOURNEY, row, W_JOURNEY) ||
		is_paused(c->gate.house, JNY_PAUSED_TEMPLATE, row, W_TEMPLATE))
		return JNY_LEAVE;
	hash = DirectFunctionCall2(uuid_hash_extended, UUIDPGetDatum(id), Int64GetDatum(t->seed));
	jny_row_set(row, W_STATUS, t->status);
	jny_row_set(row, W_LEASE_UNTIL, TimestampTzGetDatum(c->lease_until));
	jny_row_set(row, W_TOKEN, Int64GetDatum(DatumGetInt64(hash) & PG_INT64_MAX));
	jny_row_set(row, W_SENDER, t->sender);
	jny_row_set(row, W_CLAIMED_AT, TimestampTzGetDatum(now));
	if (c->fused)
	{
		jny_row_set(row, W_GRANTED_AT, TimestampTzGetDatum(now));
		jny_row_set(row, W_PERMIT_BATCH, UUIDPGetDatum(t->batch));
		jny_row_set(row, W_ATTEMPT, Int32GetDatum(DatumGetInt32(row->values[W_ATTEMPT]) + 1));
	}
	return JNY_CHOOSE;
}

static List *
take_some(JnyClaim *c, int priority, TimestampTz from, const pg_uuid_t *after, int limit,
		  const pg_uuid_t *batch)
{
	Take		t = {
		.claim = c, .from = from, .after = after, .seed = random_seed(),
		.status = CStringGetTextDatum(c->fused ? "sending" : "claimed"),
		.sender = CStringGetTextDatum(c->sender), .batch = batch
	};
	JnyCols    *key = jny_cols_of(&take);
	TimestampTz began = GetCurrentTimestamp();
	List	   *works;

	jny_cols_text(key, 0, c->channel->name);
	jny_cols_set(key, 1, Int32GetDatum(priority));
	jny_cols_set(key, 2, TimestampTzGetDatum(from));
	jny_cols_next(key);
	works = jny_works_of(jny_change(&take, key, true, limit, choose, &t));
	c->walked += GetCurrentTimestamp() - began;
	return works;
}

/* It has what it wants, or has judged as much as one call may. */
static bool
is_done(const JnyClaim *c)
{
	return list_length(c->granted) >= c->want || jny_claim_exhausted(c);
}

/* Takes, judges and keeps what may go, until done or dry. Returns the place reached. */
static TimestampTz
take_priority(JnyClaim *c, int priority, TimestampTz mark)
{
	TimestampTz from = mark;
	pg_uuid_t	after = {{0}};
	bool		dry = false;

	while (!dry && !is_done(c))
	{
		int			limit = Min(c->want - list_length(c->granted), c->most - c->judged);
		List	   *works;
		ListCell   *lc;
		pg_uuid_t	batch;

		jny_uuid_v7(&batch);
		works = take_some(c, priority, from, &after, limit, &batch);
		JNY_FAULT("claim_taken");
		dry = list_length(works) < limit;
		c->judged += list_length(works);
		if (works == NIL)
			break;
		from = ((JnyWork *) llast(works))->claim_at;
		after = ((JnyWork *) llast(works))->action_id;
		if (c->fused)
			jny_permit_decide(&c->gate, works, &batch);
		else
		{
			jny_gate_judge(&c->gate, works);
			jny_settle(&c->gate, works);
		}
		foreach(lc, works)
		{
			JnyWork    *w = lfirst(lc);

			if (w->reason == NULL)
				c->granted = lappend(c->granted, w);
		}
	}
	if (dry)
		return c->complete - HINT_SLACK;
	return from == DT_NOBEGIN ? from : Min(from, c->complete) - HINT_SLACK;
}

static void
scan(JnyClaim *c, Hint *h)
{
	for (int i = 0; i < h->n && !is_done(c); i++)
	{
		TimestampTz reached = take_priority(c, h->priority[i], h->mark[i]);

		if (reached > h->mark[i])
			h->mark[i] = reached;
	}
	/* more priorities than have a mark */
	if (h->n == HINT_PRIORITIES)
		for (int p = h->priority[h->n - 1]; !is_done(c) && next_below(c->channel->name, &p);)
			take_priority(c, p, DT_NOBEGIN);
}

/* How long after a look from the beginning the next one may come. */
static int64
pause_after(const JnyClaim *c, const Hint *h)
{
	return h->look_cost < CHEAP_LOOK || c->gate.node.test ? 0 : Min(USECS_PER_SEC, h->look_cost * RESCAN_SHARE);
}

static void
take_all(JnyClaim *c)
{
	Hint	   *h = hint_of(c->channel->name, c->gate.node.now);
	TimestampTz began = GetCurrentTimestamp();
	int64		age = h->looked_at == DT_NOBEGIN ? PG_INT64_MAX : began - h->looked_at;
	int64		pause = pause_after(c, h);

	c->complete = c->gate.node.test ? c->gate.node.now : Min(c->gate.node.now, jny_lap_under_way());
	if (age < USECS_PER_SEC)
		scan(c, h);
	if (is_done(c))
		return;
	if (c->granted != NIL && !c->gate.node.test)
		pause = Max(pause, SOON);
	if (age < pause)
		c->look_at = h->looked_at + pause;
	else
	{
		TimestampTz start = GetCurrentTimestamp();

#ifdef JOURNEY_BUG_MARK_WITHOUT_RESCAN
		/* what appears below the mark is never looked for */
		if (h->n == 0)
#endif
		list_priorities(h, c->channel->name);
		c->walked = GetCurrentTimestamp() - start;
		scan(c, h);
		h->looked_at = GetCurrentTimestamp();
		h->look_cost = c->walked;
		if (pause_after(c, h) > 0)
			c->look_at = h->looked_at + pause_after(c, h);
	}
}

/* The reaper finds the end of this lease by it. */
static void
write_lease(const JnyClaim *c)
{
	JnyCols    *cols = jny_cols_of(&leases);
	Datum	   *ids = palloc(sizeof(Datum) * Max(1, list_length(c->granted)));
	int			n = 0;
	pg_uuid_t	id;
	ListCell   *lc;

	if (c->granted == NIL)
		return;
	foreach(lc, c->granted)
		ids[n++] = ((JnyWork *) lfirst(lc))->values[W_ACTION];
	jny_uuid_v7(&id);
	jny_cols_set(cols, 0, TimestampTzGetDatum(c->lease_until));
	jny_cols_set(cols, 1, UUIDPGetDatum(&id));
	jny_cols_set(cols, 2, PointerGetDatum(construct_array(ids, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR)));
	jny_cols_next(cols);
	jny_write(&leases, cols);
}

/* ---- preparing ------------------------------------------------------------- */

void
jny_require_sender_session(const char *what)
{
	jny_require_primary(what);
	if (XactIsoLevel != XACT_READ_COMMITTED)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s needs isolation level READ COMMITTED", what),
				 errdetail("It must see what other transactions have committed until the moment it answers."),
				 errhint("Call it in a transaction of its own, at READ COMMITTED.")));
}

/* Mode, pauses and the channel's document; false when nothing is claimable. Inside SPI_connect(). */
static bool
open_claim(JnyClaim *c, const char *channel, Interval *lease)
{
	jny_node_read(&c->gate.node);
	if (c->gate.node.mode == JNY_MODE_OFF)
		return false;
	c->gate.house = jny_house_read(list_make1(pstrdup(channel)));
	c->channel = jny_house_channel(c->gate.house, channel);
	if (!c->channel->defined)
		jny_require_channel(channel);
	jny_require_own_channel(c->channel, "claim from");
	jny_house_read_pauses(c->gate.house);
	if (c->gate.house->all_paused || jny_house_paused(c->gate.house, JNY_PAUSED_CHANNEL, channel))
		return false;
	c->lease_until = jny_within_a_year(c->gate.node.now, lease ? lease : &c->channel->lease);
	if (c->lease_until <= c->gate.node.now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a lease must be longer than nothing"),
				 errhint("Give a time that sending takes at most, as '5 minutes', or null for what the channel's document says.")));
	return true;
}

bool
jny_claim(JnyClaim *c, const char *channel, int n, Interval *lease)
{
	int			level;

	c->look_at = 0;
	if (!open_claim(c, channel, lease))
		return false;
	n = Min(n, JNY_MAX_BATCH);
	c->want = jny_rate_take(c->channel, c->gate.house, c->gate.node.now, n);
	c->judged = 0;
	c->most = Min(JNY_MAX_BATCH, c->want * ROUNDS);
	if (c->want <= 0)
		return true;
	c->gate.permit = c->fused;
	level = jny_pin_plans();
	take_all(c);
	JNY_FAULT("claim_before_lease");
	write_lease(c);
	jny_unpin(level);
	jny_rate_spend(c->channel, list_length(c->granted));
	return true;
}

/* Waits for its time, and not for the end of a pause. */
static bool
is_coming(const JnyRow *row, void *arg)
{
	const JnyGate *gate = arg;

	return jny_text_is(row, 1, "pending") && DatumGetBool(row->values[5]) == gate->node.test &&
		!jny_house_paused(gate->house, JNY_PAUSED_SCOPE, jny_row_text(row, 2)) &&
		!jny_house_paused(gate->house, JNY_PAUSED_JOURNEY, jny_row_text(row, 3)) &&
		!jny_house_paused(gate->house, JNY_PAUSED_TEMPLATE, jny_row_text(row, 4));
}

TimestampTz
jny_next_due(const char *channel)
{
	JnyGate		gate = {.house = palloc0(sizeof(JnyHouse))};
	int			priority = PG_INT32_MAX;
	TimestampTz due = DT_NOEND;

	jny_node_read(&gate.node);
	jny_house_read_pauses(gate.house);
	if (gate.node.mode == JNY_MODE_OFF || gate.house->all_paused ||
		jny_house_paused(gate.house, JNY_PAUSED_CHANNEL, channel))
		return due;
	while (next_below(channel, &priority))
	{
		JnyCols    *keys = jny_cols_of(&of_priority);
		JnyRows    *first;

		jny_cols_text(keys, 0, channel);
		jny_cols_set(keys, 1, Int32GetDatum(priority));
		jny_cols_set(keys, 2, TimestampTzGetDatum(DT_NOBEGIN));
		jny_cols_next(keys);
		first = jny_lookup_first(&of_priority, keys, is_coming, &gate);
		if (first->n > 0)
			due = Min(due, jny_row_time(&first->row[0], 0));
	}
	return due;
}
