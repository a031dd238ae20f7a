/*
 * work.h
 *		Inside of deliver: actions in a sender's hands, and how they are judged.
 *
 * A call of claim or begin_send changes its rows, which is also their lock,
 * and reads the world afterwards with newer snapshots: fences first, then what
 * consumed fences have become (suppressions, consent), so that an event that
 * is consumed in between is seen by one of the two. Rows that must not go out
 * are put back or moved to history before the commit.
 *
 * Everything lives in the caller's memory context, or in the SPI result that
 * it was read from, which stays until SPI_finish().
 */
#ifndef JNY_DELIVER_WORK_H
#define JNY_DELIVER_WORK_H

#include "deliver/deliver.h"

#include "core/inbox.h"
#include "core/table.h"

/* ---- settings.c: what documents and pauses say now --------------------- */

typedef struct JnyCap
{
	bool		journey;		/* counts this journey's permits; else all marketing */
	const char *channel;		/* "*" = all together */
	int			max;
	Interval	per;
	bool		calendar;
	bool		hold;			/* else drop */
} JnyCap;

typedef struct JnyQuiet
{
	const char *from;			/* "21:00" */
	const char *to;
	const char *zone;			/* NULL = the person's */
	bool		hold;
} JnyQuiet;

typedef struct JnyChannelRules
{
	const char *name;
	bool		defined;		/* a document describes it, or its name is one that journey ships */
	bool		unreadable;		/* but not in a way that can be read: nothing goes out on it */
	bool		push;			/* somebody is contacted at once: quiet hours hold */
	bool		ops;			/* contacts nobody: no caps, no consent */
	const char *address;		/* namespace of the contact point it needs; NULL = none */
	Interval	lease;
	double		backoff_first;	/* seconds */
	double		backoff_factor;
	double		backoff_max;
	char		on_unknown;		/* 'r'etry, 'h'old, 'd'rop */
	double		per_second;		/* 0 = no rate */
	double		burst;
	int			per_day;		/* 0 = no limit */
	const char *unsubscribe_url;
	List	   *senders;		/* of char *; NIL = whoever may claim */
} JnyChannelRules;

typedef struct JnyHouse
{
	bool		unreadable;		/* a policy is there and cannot be read: only what is transactional goes out */
	const char *zone;			/* of people whose zone is unknown */
	bool		cross_scopes;	/* a fence of one scope stops actions of all */
	bool		caps_cross_scopes;	/* messages of all scopes count */
	int			ncaps;
	JnyCap	   *caps;			/* on marketing */
	JnyQuiet   *quiet;			/* of journeys that have none of their own; NULL = none */
	List	   *channels;		/* of JnyChannelRules * */
	/* pauses */
	bool		all_paused;
	List	   *paused[4];		/* names, by JnyPaused */
} JnyHouse;

typedef enum JnyPaused
{
	JNY_PAUSED_SCOPE,
	JNY_PAUSED_JOURNEY,
	JNY_PAUSED_CHANNEL,
	JNY_PAUSED_TEMPLATE
} JnyPaused;

extern JnyHouse *jny_house_read(List *channels);	/* of char *, the ones to know */
extern void jny_house_read_pauses(JnyHouse *house);
extern JnyChannelRules *jny_house_channel(JnyHouse *house, const char *name);
extern bool jny_house_paused(const JnyHouse *house, JnyPaused what, const char *name);
extern void jny_require_channel(const char *name);	/* 42704 naming the nearest */
extern void jny_require_own_channel(const JnyChannelRules *channel, const char *what);	/* 42501 */
extern int	jny_caps_parse(Jsonb *doc, bool of_journey, JnyCap **caps);
extern JnyQuiet *jny_quiet_parse(Jsonb *doc);

/* ---- the rows ----------------------------------------------------------- */

typedef struct JnyStopOn
{
	int			n;
	const char **type;
	bool	   *match;
} JnyStopOn;

typedef struct JnyWork
{
	int			input;			/* place in the caller's arrays */
	int16		bucket;
	pg_uuid_t	profile_id;
	pg_uuid_t	action_id;
	const char *channel;
	const char *journey;
	int			version;
	const char *step;
	int			visit;
	const char *purpose;
	bool		marketing;
	bool		transactional;
	bool		removal;		/* takes somebody out of an audience: no event, no wish of the person stops that */
	const char *removes;		/* of a removal: the action that put them in, as its payload names it */
	const char *scope;
	const char *template;
	bool		has_enrollment;
	pg_uuid_t	enrollment_id;
	int			attempt;		/* as stored now */
	int			failures;
	int			max_attempts;
	TimestampTz claim_at;		/* when it became claimable; 0 = not read */
	TimestampTz due_at;
	TimestampTz not_after;
	Interval   *late;
	JnyStopOn  *stop;
	const char *own_ref;
	bool		has_entry;
	int64		entry_hash;
	ArrayType  *stock_sku;
	int			ncaps;
	JnyCap	   *caps;
	JnyQuiet   *quiet;
	int64		token;
	TimestampTz lease_until;
	int64		decided_lap;
	bool		test;
	Datum	   *values;			/* the columns of JNY_HELD_COLUMNS, as far as they were read */
	bool	   *nulls;
	/* what was found out (people.c) */
	int			nkeys;			/* of its person, as far as they stand in a fence */
	int			max_keys;
	int64	   *keys;
	bool		merging;		/* somebody linked with its person has been merged while that was read */
	bool		unmet;			/* events that nobody has read lead from its person to another: whoever consumes them links the two */
	bool		known;			/* the profile exists */
	bool		profile_test;
	bool		restricted;
	const char *zone;
	bool		over;			/* its enrollment is not live any more */
	bool		ended;			/* ... for something has ended it before it had finished */
	const char *exit_reason;
	const char *consent;		/* the strictest state; "expired" when only that; NULL = no row */
	const char *address;
	int64		address_hash;
	const char *address_state;
	bool		address_shared;	/* asked of marketing only */
	List	   *attempts;		/* limits.c */
	/* the verdict: reason NULL = go */
	const char *reason;
	bool		final;
	bool		expired;		/* final with status expired */
	TimestampTz retry_at;		/* when not final */
	const char *stop_type;		/* fence or suppression that stopped it */
	const char *stop_ref;
	int64		stop_seq;
} JnyWork;

/* The order is that of the enum below. */
#define JNY_WORK_COLUMNS \
	"bucket, profile_id, action_id, channel, journey, version, step, visit, purpose, scope," \
	" template, template_version, locale, payload, placement, offer, enrollment_id, attempt," \
	" failures, max_attempts, due_at, not_after, late, suppress_on, own_ref, entry_hash," \
	" stock_sku, caps, quiet, token, lease_until, decided_lap, test, idempotency_key," \
	" decision_id, priority, sender"
/* with what taking it changes */
#define JNY_HELD_COLUMNS \
	JNY_WORK_COLUMNS ", status, claim_at, claimed_at, granted_at, permit_batch"

typedef enum JnyWorkColumn
{
	W_BUCKET, W_PROFILE, W_ACTION, W_CHANNEL, W_JOURNEY, W_VERSION, W_STEP, W_VISIT, W_PURPOSE, W_SCOPE,
	W_TEMPLATE, W_TEMPLATE_VERSION, W_LOCALE, W_PAYLOAD, W_PLACEMENT, W_OFFER, W_ENROLLMENT, W_ATTEMPT,
	W_FAILURES, W_MAX_ATTEMPTS, W_DUE_AT, W_NOT_AFTER, W_LATE, W_SUPPRESS_ON, W_OWN_REF, W_ENTRY_HASH,
	W_STOCK_SKU, W_CAPS, W_QUIET, W_TOKEN, W_LEASE_UNTIL, W_DECIDED_LAP, W_TEST, W_KEY,
	W_DECISION, W_PRIORITY, W_SENDER,
	W_STATUS, W_CLAIM_AT, W_CLAIMED_AT, W_GRANTED_AT, W_PERMIT_BATCH, W_MAX
} JnyWorkColumn;

/* The rows of SPI_tuptable, whose columns are the first of JNY_HELD_COLUMNS. List of JnyWork *. */
extern List *jny_work_read(void);
/* Rows with the columns JNY_HELD_COLUMNS. */
extern List *jny_works_of(const JnyRows *rows);
/* Their action ids, as uuid[]. */
extern Datum jny_work_ids(List *works);
/* Each channel among them once. List of char *. */
extern List *jny_work_channels(List *works);

/* A row's column of type text. */
extern bool jny_text_is(const JnyRow *row, int col, const char *value);
extern void jny_row_set(JnyRow *row, int col, Datum value);

/* Later by a span, but a year at most: no lease and no retry is longer, and time has an end. */
extern TimestampTz jny_within_a_year(TimestampTz now, const Interval *span);

/* Actions that a caller names, each with the token that proves the lease. */
typedef struct JnyProof
{
	int			n;
	Datum	   *ids;
	Datum	   *tokens;
	bool	   *nulls;			/* of either */
	int		   *order;			/* their places, by id: in this order rows are locked */
} JnyProof;

/* From arrays of uuid and bigint, which must be of the same length. */
extern void jny_proof_read(JnyProof *proof, ArrayType *ids, ArrayType *tokens);
/* Keys (action_id) of an access, in that order. */
extern JnyCols *jny_proof_keys(JnyProof *proof, JnyAccess *access);
/* Which of them it is that has found this row. */
extern int	jny_proof_place(const JnyProof *proof, const JnyRow *row);
extern bool jny_proves(const JnyProof *proof, const JnyRow *row, int64 token);

/* One field of an object that is being built. */
extern void jny_put(JsonbParseState **state, const char *key, JsonbValue *value);
extern void jny_put_text(JsonbParseState **state, const char *key, const char *value);

/* ---- gate.c: may it go? ------------------------------------------------- */

typedef struct JnyGate
{
	JnyNode		node;
	JnyHouse   *house;
	JnyFences  *fences;			/* what the permit may not contradict */
	bool		permit;			/* begin_send or claim_and_begin; else claim, which judges less */
	bool		held;			/* begin_send: a sender had the actions before it asked */
	List	   *windows;		/* of caps, as far as limits.c has asked for them */
	bool		locked;			/* people are locked: whoever comes later is not waited for */
} JnyGate;

/* Reads the world after the rows were locked, and gives every row its verdict. */
extern void jny_gate_judge(JnyGate *gate, List *works);
extern void jny_refuse(JnyWork *w, const char *reason);
extern void jny_postpone(JnyGate *gate, JnyWork *w, const char *reason, TimestampTz retry_at);	/* 0 = shortly */

/* ---- limits.c: the person's clock, caps, rates -------------------------- */

extern void jny_limits_lock(JnyGate *gate, List *works);	/* before the snapshot */
extern void jny_limits_quiet(JnyGate *gate, JnyWork *w);
extern void jny_limits_caps(JnyGate *gate, List *works);
extern int	jny_rate_take(const JnyChannelRules *channel, const JnyHouse *house, TimestampTz now, int n);
extern void jny_rate_spend(const JnyChannelRules *channel, int n);

/* ---- settle.c: what becomes of a row ------------------------------------ */

/* l: the last permit of an action that leaves as d. What the outbox says may be of one that was asked for and refused. */
#define JNY_LAST_PERMIT(attempt) \
	" LEFT JOIN journey.attempt_log l ON d." attempt " > 0 AND l.bucket = d.bucket AND l.profile_id = d.profile_id" \
	"  AND l.action_id = d.action_id AND l.attempt = d." attempt

/* Rows with a verdict leave the sender: final ones to history and their enrollment, the others are planned again. */
extern void jny_settle(JnyGate *gate, List *works);
/* An outcome for the enrollments of these rows; rows without one are left out. */
extern void jny_outcome_append(List *works, const char *type);

/* ---- publish.c: events for change data capture, when they are wanted ----- */

extern void jny_publish_enqueued(List *actions);	/* of JnyAction *, now in the outbox */
extern void jny_publish_final(List *works, TimestampTz now);	/* now in the history, with that time */
extern void jny_publish_found(int n, TimestampTz now);	/* the same; ids are the result of the last statement */
extern void jny_settle_final(List *works, const char *status, TimestampTz now, bool in_flight);

/* ---- enqueue.c ----------------------------------------------------------- */

/* Somebody may wait for this channel: told when this transaction commits. */
extern void jny_announce_channel(const char *channel);

#endif							/* JNY_DELIVER_WORK_H */
