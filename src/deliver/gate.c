/*
 * gate.c
 *		May this action go out? The one place that says no.
 *
 * Called by claim and begin_send after they have locked the rows and
 * jny_limits_lock() the people. Every read here takes a new snapshot and
 * none can wait, so that what was committed during those waits holds, the
 * node's mode and clock too: the fences come first, so that an event which the worker
 * consumes in between has become a suppression, a consent or the end of an
 * enrollment by the time those are read. Reads only. Memory: the caller's.
 *
 * A certain veto is final and beats doubt; doubt (stale_data, held, a pause,
 * quiet hours) plans the action again.
 */
#include "deliver/people.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

/* whose message, and on which channel; ids that are none match nothing */
#define OF_MESSAGE(table, condition) \
	"SELECT k.n, o.profile_id, o.scope, o.channel" \
	" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS k(n, action, ref)" \
	" JOIN journey." table " o ON " condition
#define SAME_ACTION \
	"o.action_id = CASE WHEN k.action ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'" \
	" THEN k.action::pg_catalog.uuid END"
JNY_PLAN(read_messages, "integer[], text[], text[]",
		 OF_MESSAGE("outbox", SAME_ACTION) " UNION ALL " OF_MESSAGE("outbox_history", SAME_ACTION)
		 " UNION ALL " OF_MESSAGE("outbox_history", "o.provider_ref = k.ref AND k.action IS NULL"));
/*
 * The shop's own tables where they are attached, all of them, else what was
 * last observed; unknown is not zero. The third: one is locked now, or cannot be
 * read; the fourth: what they say is too old.
 */
JNY_PLAN(read_stock, "text[]",
		 "SELECT k.sku, COALESCE(s.available, p.available) <= 0, s.sku IS NOT NULL AND s.available IS NULL, COALESCE(s.stale, false)"
		 " FROM pg_catalog.unnest($1) AS k(sku)"
		 " LEFT JOIN journey._stock($1) AS s ON s.sku = k.sku"
		 " LEFT JOIN journey.product p ON p.sku = k.sku");

/* stock that has not been told of for long will not be told of within a second */
#define STALE_STOCK_US USECS_PER_MINUTE

/* additions that a sender has */
JNY_PLAN(read_additions, "integer[], text[], timestamptz",
		 "SELECT k.n, o.lease_until FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k(n, action)"
		 " JOIN journey.outbox o ON " SAME_ACTION
		 " WHERE o.status IN ('claimed', 'sending') AND o.lease_until > $3");

/* For good: this beats every postponement, and the first such answer stands. */
void
jny_refuse(JnyWork *w, const char *reason)
{
	if (w->reason != NULL && w->final)
		return;
	w->reason = reason;
	w->final = true;
}

/*
 * Not now. Without a time of its own it comes back in a second; under the
 * test clock, which stands still, at once.
 */
void
jny_postpone(JnyGate *gate, JnyWork *w, const char *reason, TimestampTz retry_at)
{
	if (w->reason != NULL)
		return;
	w->reason = reason;
	w->final = false;
	w->retry_at = retry_at != 0 ? retry_at
		: gate->node.test ? gate->node.now : gate->node.now + USECS_PER_SEC;
}

/* ---- what stops an action ------------------------------------------------ */

static bool
scope_fits(const JnyGate *gate, const char *a, const char *b)
{
	return gate->house->cross_scopes || strcmp(a, b) == 0 ||
		strcmp(a, "*") == 0 || strcmp(b, "*") == 0;
}

static bool
is_opt_out(const char *type)
{
	return jny_type_is_opt_out(type) || strcmp(type, "opted_out") == 0;
}

/* Nothing said is said of all. */
static bool
covers(const char *said, const char *value)
{
	return said == NULL || strcmp(said, "*") == 0 || strcmp(said, value) == 0;
}

/* How far an event has got: nobody has read it yet, or the worker has judged it for this enrollment. */
typedef enum Stage
{
	UNREAD,
	CONSUMED,
	MATCHED
} Stage;

/* An event that may stop actions: a fence, or the suppression that it has become. */
typedef struct Stop
{
	const char *type;
	const char *ref;
	const char *scope;
	const char *channel;		/* of an opt-out; NULL or * = every */
	const char *purpose;
	const char *reason;			/* NULL = by type */
	int64		seq;
	Stage		stage;
	bool		of_message;		/* names a message, which tells the channel */
} Stop;

/* An opt-out names the channel, or the namespace of its addresses. */
static bool
covers_channel(const JnyGate *gate, const Stop *stop, const JnyWork *w)
{
	const char *namespace = jny_house_channel(gate->house, w->channel)->address;

	return covers(stop->channel, w->channel) || (namespace != NULL && covers(stop->channel, namespace));
}

/* The answer to an event that needs no listing: it always ends such actions. NULL = not of that kind. */
static const char *
stops_always(const JnyGate *gate, const JnyWork *w, const Stop *stop)
{
	const char *type = stop->type;

	if (strcmp(type, "erased") == 0 || strcmp(type, "erase") == 0 || strcmp(type, "restricted") == 0)
		return "restricted";
	if (is_opt_out(type) && w->marketing && covers_channel(gate, stop, w) &&
		covers(stop->purpose, w->purpose))
		return "opted_out";
	if (strcmp(type, "manual") == 0 && !w->transactional)
		return "suppressed";
	return NULL;
}

static bool
is_complaint(const char *type)
{
	return strcmp(type, "message_complained") == 0;
}

/* A complaint, or an opt-out from a message, of which nobody can tell yet how far it reaches: the worker will. */
static bool
is_vague(const Stop *stop)
{
	return stop->stage == UNREAD && stop->channel == NULL && (stop->of_message || is_complaint(stop->type));
}

/*
 * One event that may stop one action. With a match, what is unread holds it
 * until the worker has judged, and what was judged stops it if it matched.
 */
static void
try_stop(JnyGate *gate, JnyWork *w, const Stop *stop)
{
	const char *always;
	bool		hold;

	if (w->removal || (w->reason != NULL && w->final))
		return;
	if (!scope_fits(gate, stop->scope, w->scope))
		return;
	always = stops_always(gate, w, stop);
	hold = always != NULL && is_vague(stop);
	if (always == NULL)
	{
		int			i = 0;

		while (i < w->stop->n && strcmp(w->stop->type[i], stop->type) != 0)
			i++;
		if (i == w->stop->n || (stop->stage == CONSUMED && w->stop->match[i]))
			return;
		if (stop->ref != NULL && stop->ref[0] != '\0' && strcmp(stop->ref, w->own_ref) == 0)
			return;
		hold = w->stop->match[i] && stop->stage == UNREAD;
	}
	if (hold && w->reason != NULL)
		return;
	w->stop_type = stop->type;
	w->stop_ref = stop->ref;
	w->stop_seq = stop->seq;
	if (hold)
	{
		jny_postpone(gate, w, "held", 0);
		return;
	}
	jny_refuse(w, always != NULL ? always :
			   stop->reason != NULL ? stop->reason :
			   strcmp(stop->type, "order_placed") == 0 ? "ordered" : stop->type);
}

/* ---- fences -------------------------------------------------------------- */

static Stop
stop_of(const JnyFence *f)
{
	return (Stop) {
		.type = f->type, .ref = f->ref, .scope = f->scope, .channel = f->channel,
		.purpose = f->purpose, .seq = f->seq, .stage = UNREAD,
		.of_message = f->action != NULL || f->provider_ref != NULL
	};
}

/*
 * A complaint names the message that it is about, not the person, and so may
 * an opt-out: the message's person is meant, and its channel, unless the
 * opt-out says which. Whom an opt-out names beside the message may have left
 * more than that, which the worker will tell.
 */
static void
judge_messages(JnyGate *gate, List *works)
{
	JnyCols    *cols = jny_cols("integer, text, text");

	for (int i = 0; i < gate->fences->n; i++)
	{
		const JnyFence *f = &gate->fences->fence[i];

		if (f->fence != JNY_FENCE_EVENT || (f->action == NULL && f->provider_ref == NULL) ||
			(f->channel != NULL && f->nkeys > 0 && !is_complaint(f->type)))
			continue;
		jny_cols_set(cols, 0, Int32GetDatum(i));
		jny_cols_text(cols, 1, f->action);
		jny_cols_text(cols, 2, f->provider_ref);
		jny_cols_next(cols);
	}
	if (jny_cols_count(cols) == 0)
		return;
	jny_run(&read_messages, jny_cols_datums(cols, 0), NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		JnyFence   *f = &gate->fences->fence[jny_get_int8(row, 1, 0)];
		pg_uuid_t  *profile = jny_get_uuid(row, 2);
		ListCell   *lc;
		Stop		stop = stop_of(f);

		stop.scope = jny_get_text(row, 3);
		if (f->channel == NULL || is_complaint(f->type))
			stop.channel = jny_get_text(row, 4);
		if (is_complaint(f->type))
		{
			f->scope = stop.scope;
			f->channel = stop.channel;
		}
		foreach(lc, works)
		{
			JnyWork    *w = lfirst(lc);

			if (memcmp(&w->profile_id, profile, UUID_LEN) == 0)
				try_stop(gate, w, &stop);
		}
	}
}

/* Whether some event that nobody has read yet could end this action. */
static bool
suppressible(const JnyWork *w)
{
	return w->marketing || w->stop->n > 0;
}

static void
judge_fences_of(JnyGate *gate, JnyWork *w)
{
	int64	   *keys = w->keys;
	int			nkeys = w->nkeys;
	ListCell   *lc;

	if (w->merging && suppressible(w))
		jny_postpone(gate, w, "held", 0);
	if (nkeys == 0)
		return;
	if (!jny_fences_close(gate->fences, &keys, &nkeys))
	{
		jny_postpone(gate, w, "stale_data", 0);
		return;
	}
	foreach(lc, jny_fences_matching(gate->fences, keys, nkeys))
	{
		Stop		stop = stop_of(lfirst(lc));

		try_stop(gate, w, &stop);
	}
	if (w->unmet && suppressible(w))
		jny_postpone(gate, w, "held", 0);
}

static void
judge_fences(JnyGate *gate, JnyPeople *people)
{
	jny_people_fenced(people, gate->fences);
	for (int i = 0; i < people->nworks; i++)
		judge_fences_of(gate, people->work[i]);
}

/* ---- state --------------------------------------------------------------- */

/*
 * Whether the worker found that the event matches this action's enrollment.
 * An action that was brought back without one, or when its own was over, has
 * nobody to judge it: there every event counts as one that matches, better one
 * reminder less.
 */
static bool
is_matched(const JnySuppression *s, const JnyWork *w)
{
	const pg_uuid_t *ids = (const pg_uuid_t *) ((const char *) s->matched + ARR_OVERHEAD_NONULLS(ARR_NDIM(s->matched)));
	int			n = ARR_HASNULL(s->matched) ? 0 : ArrayGetNItems(ARR_NDIM(s->matched), ARR_DIMS(s->matched));

	if (!w->has_enrollment || w->over)
		return true;
	for (int i = 0; i < n; i++)
		if (memcmp(&ids[i], &w->enrollment_id, sizeof(pg_uuid_t)) == 0)
			return true;
	return false;
}

static void
judge_suppressions(JnyGate *gate, JnyPeople *people)
{
	ListCell   *lc;

	foreach(lc, jny_people_suppressions(gate, people))
	{
		JnySuppression *s = lfirst(lc);
		Stop		stop = {
			.type = s->type, .ref = s->ref, .scope = s->scope, .channel = s->channel, .purpose = s->purpose,
			.reason = s->reason, .seq = s->seq
		};

		for (int i = people->first[s->person]; i < people->first[s->person + 1]; i++)
		{
			JnyWork    *w = people->work[i];

			stop.stage = is_matched(s, w) ? MATCHED : CONSUMED;
			if (s->lap > w->decided_lap && (stop.stage == MATCHED || !s->linked))
				try_stop(gate, w, &stop);
		}
	}
}

/* The sku values of an action; returns how many. */
static int
skus_of(const JnyWork *w, Datum **skus)
{
	int			n = 0;

	if (w->stock_sku != NULL)
		deconstruct_array(w->stock_sku, TEXTOID, -1, false, TYPALIGN_INT, skus, NULL, &n);
	return n;
}

static bool
speaks_of(const JnyWork *w, const char *sku)
{
	Datum	   *skus;
	int			n = skus_of(w, &skus);

	for (int i = 0; i < n; i++)
		if (strcmp(TextDatumGetCString(skus[i]), sku) == 0)
			return true;
	return false;
}

static void
judge_stock(JnyGate *gate, List *works)
{
	JnyCols    *cols = jny_cols("text");
	ListCell   *lc;

	foreach(lc, works)
	{
		Datum	   *skus;
		int			n = skus_of(lfirst(lc), &skus);

		for (int i = 0; i < n; i++)
		{
			jny_cols_set(cols, 0, skus[i]);
			jny_cols_next(cols);
		}
	}
	if (jny_cols_count(cols) == 0)
		return;
	jny_run(&read_stock, jny_cols_datums(cols, 0), NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		char	   *sku = jny_get_text(row, 1);
		bool		out = jny_get_int8(row, 2, 0) != 0;
		bool		unread = jny_get_int8(row, 3, 0) != 0;
		bool		stale = jny_get_int8(row, 4, 0) != 0;

		if (!out && !unread)
			continue;
		foreach(lc, works)
		{
			JnyWork    *w = lfirst(lc);

			if (!speaks_of(w, sku))
				continue;
			if (unread)
				jny_postpone(gate, w, "stale_data", stale && !gate->node.test ? gate->node.now + STALE_STOCK_US : 0);
			else
				jny_refuse(w, "out_of_stock");
		}
	}
}

/* ---- the verdict --------------------------------------------------------- */

static void
judge_time(JnyGate *gate, JnyWork *w)
{
	TimestampTz at;

	if (w->test != gate->node.test)
		return;					/* this clock is not the row's: see judge_pause() */
	if (w->not_after <= gate->node.now)
	{
		jny_refuse(w, "expired");
		w->expired = true;
		return;
	}
	if (w->late == NULL)
		return;
	at = jny_zone_plus(w->due_at, w->late, "UTC");
	if (at < gate->node.now)
		jny_refuse(w, "too_late");
}

static void
judge_person(JnyGate *gate, JnyWork *w)
{
	JnyChannelRules *channel = jny_house_channel(gate->house, w->channel);

	if (channel->ops)
		return;
	if (!w->known || (w->restricted && !w->removal))
		jny_refuse(w, "restricted");
	if (gate->node.mode == JNY_MODE_SANDBOX && !w->profile_test)
	{
		/* seldom enough for what a claim costs of the channel's rate */
		if (w->removal)
			jny_postpone(gate, w, "sandbox", gate->node.now + USECS_PER_HOUR);
		else
			jny_refuse(w, "sandbox");
	}
	if (w->marketing && (w->consent == NULL || strcmp(w->consent, "granted") != 0))
		jny_refuse(w, "opted_out");
	/* an address that takes no more messages still says whom to take out */
	if (channel->address != NULL &&
		(w->address == NULL ||
		 (!w->removal && (strcmp(w->address_state, "hard") == 0 ||
						  strcmp(w->address_state, "complained") == 0 || strcmp(w->address_state, "replaced") == 0))))
		jny_refuse(w, "bad_address");
}

/* Nobody is taken out while a sender may still be putting them in, however long it has asked for meanwhile. */
static void
judge_removals(JnyGate *gate, List *works)
{
	JnyCols    *cols = jny_cols("integer, text");
	Datum	   *values;
	uint64		n;
	ListCell   *lc;

	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);

		if (!w->removal)
			continue;
		jny_cols_set(cols, 0, Int32GetDatum(foreach_current_index(lc)));
		jny_cols_text(cols, 1, w->removes);
		jny_cols_next(cols);
	}
	if (jny_cols_count(cols) == 0)
		return;
	values = jny_cols_datums(cols, 1);
	values[2] = TimestampTzGetDatum(gate->node.now);
	n = jny_run(&read_additions, values, NULL);
	for (uint64 row = 0; row < n; row++)
	{
		bool		isnull;

		jny_postpone(gate, list_nth(works, (int) jny_get_int8(row, 1, 0)), "held", DatumGetTimestampTz(jny_get(row, 2, &isnull)));
	}
}

static void
judge_pause(JnyGate *gate, JnyWork *w)
{
	JnyHouse   *house = gate->house;

	if (gate->node.mode == JNY_MODE_OFF || w->test != gate->node.test || house->all_paused ||
		jny_house_paused(house, JNY_PAUSED_SCOPE, w->scope) ||
		jny_house_paused(house, JNY_PAUSED_JOURNEY, w->journey) ||
		jny_house_paused(house, JNY_PAUSED_CHANNEL, w->channel) ||
		jny_house_paused(house, JNY_PAUSED_TEMPLATE, w->template))
		jny_postpone(gate, w, "paused", w->claim_at != 0 ? w->claim_at : gate->node.now);
}

/* Nobody can tell what a policy or channel forbids that is there and cannot be read. */
static bool
unreadable(const JnyGate *gate, const JnyWork *w)
{
	return (gate->house->unreadable && !w->transactional) || jny_house_channel(gate->house, w->channel)->unreadable;
}

/* Its lease ended while the permit waited: a send that begins now would be nobody's. */
static void
judge_lease(JnyGate *gate, JnyWork *w)
{
	if (w->lease_until <= gate->node.now)
		jny_postpone(gate, w, "changed", 0);
}

static void
judge_ended(JnyWork *w)
{
	if (!w->ended)
		return;
	if (w->exit_reason != NULL && (strcmp(w->exit_reason, "ordered") == 0 ||
								   strcmp(w->exit_reason, "opted_out") == 0))
		jny_refuse(w, w->exit_reason);
	jny_refuse(w, "superseded");
}

void
jny_gate_judge(JnyGate *gate, List *works)
{
	JnyPeople  *people;
	ListCell   *lc;
	bool		unread;			/* any event, an erasure too, may be among what was not read */
	bool		doubt;

	if (works == NIL)
		return;
#ifdef JOURNEY_BUG_FENCE_BEFORE_LOCK
	if (gate->fences == NULL)
#endif
	gate->fences = jny_fences_read();
	jny_node_read(&gate->node);
	gate->windows = NIL;		/* they end with the clock that was read before */
	jny_house_read_pauses(gate->house);
	unread = gate->fences->overflow;
	doubt = gate->fences->broken || gate->fences->lagging || gate->node.draining;
	foreach(lc, works)
		judge_time(gate, lfirst(lc));
	judge_messages(gate, works);
	people = jny_people_of(works);
#ifdef JOURNEY_BUG_NO_SECOND_LOOK
	/* the claim has seen the fences, and that must do */
	if (!gate->permit)
#endif
	judge_fences(gate, people);
	if (gate->permit)
		jny_people_read(gate, people);
	judge_suppressions(gate, people);
	judge_stock(gate, works);
	judge_removals(gate, works);
	foreach(lc, works)
	{
		JnyWork    *w = lfirst(lc);

		judge_ended(w);
		if (gate->permit)
			judge_person(gate, w);
		if (unread || (doubt && suppressible(w)) || unreadable(gate, w))
			jny_postpone(gate, w, "stale_data", 0);
		judge_pause(gate, w);
		if (!gate->permit)
			continue;
		judge_lease(gate, w);
		jny_limits_quiet(gate, w);
	}
	if (gate->permit)
		jny_limits_caps(gate, works);
}
