/*
 * document.h
 *		Documents as the engine reads them: parsed once per backend, edges
 *		resolved to step numbers, short forms spelled out.
 *
 * Life of what is handed out: until the next jny_documents_refresh(). Call
 * that once where a lap or an SQL function starts; it throws the cache away
 * only when a document has changed since (an invalidation of the relation
 * journey.document, which every change of a document sends). Between two
 * refreshes all look-ups see one set of documents. Look-ups read through SPI
 * on their own; the caller need not be connected.
 *
 * Conditions and value expressions stay text; the reader compiles them with
 * jny_expr_try(text, owner, ...). A document is as applied: lint has passed,
 * so that a broken edge here is an internal error (XX000).
 *
 * An interval is never negative; NULL means that the document does not say.
 */
#ifndef JNY_DOCUMENT_H
#define JNY_DOCUMENT_H

#include "core/core.h"

/* step numbers used as edges */
#define JNY_EDGE_NONE	(-1)	/* no such edge: the enrollment ends as finished */

/* {"on": type or types, "match": …, "when": …, "reason": …}; no types = judged at every event of the person */
typedef struct JnyOn
{
	int			ntypes;
	const char **types;
	const char *match;			/* NULL = always; reads event.*, entry.*, key */
	const char *when;			/* NULL = always */
	const char *reason;			/* exits; NULL = the event's type */
} JnyOn;

typedef struct JnyNamed
{
	const char *name;
	const char *value;			/* an expression; for template variables the type */
} JnyNamed;

typedef struct JnyEntry
{
	JnyOn		on;				/* match is always NULL here */
	const char *where;			/* how incidents name its condition */
	const char *key_namespace;	/* "cart" …; NULL = the journey has no key (key = '') */
	const char *key;			/* expression, e.g. event.cart_id */
	int			ndata;
	JnyNamed   *data;			/* frozen as entry.* */
} JnyEntry;

typedef enum JnyStepKind
{
	JNY_STEP_SEND,
	JNY_STEP_WAIT_FOR,			/* a duration, restarted by restart_on */
	JNY_STEP_WAIT_EVENT,		/* until_event, with timeout */
	JNY_STEP_BRANCH,
	JNY_STEP_EXIT
} JnyStepKind;

/* What becomes of an action when nobody can tell whether a condition holds. */
typedef enum JnyOnUnknown
{
	JNY_UNKNOWN_UNSAID,			/* as the kind of rule has it */
	JNY_UNKNOWN_PASS,
	JNY_UNKNOWN_HOLD,
	JNY_UNKNOWN_REFUSE
} JnyOnUnknown;

/* What a send requires: stock of a sku variable, or a condition. */
typedef struct JnyRequire
{
	const char *stock;			/* name in data whose value is the sku; NULL = a condition */
	const char *when;			/* with what it says of the age of sources */
	const char *reason;			/* out_of_stock, or as written */
	JnyOnUnknown on_unknown;
} JnyRequire;

typedef struct JnyEdge
{
	const char *on;				/* branch: condition; refused: reason or "*" */
	int			to;
} JnyEdge;

typedef struct JnyStep
{
	const char *name;
	JnyStepKind kind;
	int			next;			/* JNY_EDGE_NONE = none */
	int			on_timeout;		/* wait event; falls back to next */
	int			on_failed;		/* own, else the default's */
	int			on_unknown;		/* own, else the default's; a branch whose condition is unknown */
	int			on_else;		/* branch */
	int			nrefused;
	JnyEdge    *refused;		/* send; own, else the default's; use jny_edge_refused() */
	/* send */
	int			nchannels;
	const char **channels;		/* a ladder: the first that reaches the person */
	const char *template;
	int			template_version;	/* as locked when the journey was applied; 0 = follow the active one */
	int			ndata;
	JnyNamed   *data;			/* template variable -> expression */
	int			nrequire;
	JnyRequire *require;
	const char *placement;		/* NULL = none */
	Interval   *not_after;		/* own, else the default's, else 7 days */
	Interval   *late;			/* own, else the default's; NULL = none */
	/* wait */
	Interval   *wait_for;
	int			nrestart;
	JnyOn	   *restart;
	int			restart_max;
	JnyOn		until;
	int			nof;
	int		   *of;				/* the sends whose events count; 0 = any */
	Interval   *timeout;		/* NULL = none */
	/* branch */
	int			nbranch;
	JnyEdge    *branch;
	/* exit */
	const char *exit_reason;
} JnyStep;

typedef enum JnyReentryPer
{
	JNY_REENTRY_KEY,
	JNY_REENTRY_PERSON
} JnyReentryPer;

typedef struct JnyJourney
{
	const char *name;
	int			version;
	Oid			owner;			/* role whose rights its expressions have; InvalidOid = that role is gone: broken */
	const char *scope;			/* '*' = every scope */
	const char *purpose;		/* marketing, service, transactional */
	const char *stage;			/* NULL = none */
	const char *touchpoint;		/* its own, else by the stage; NULL = none */
	int			priority;
	double		min_confidence; /* of identity: 0, 0.5 (low), 0.8 (medium), 1.0 (high) */
	const char *low_identity;	/* "refuse" (a decision row) or "skip" (none) */
	int			nentries;
	JnyEntry   *entries;
	JnyReentryPer reentry_per;
	bool		reentry_never;
	Interval   *reentry_after;	/* since the last enrollment's end; NULL with !never = at once */
	int			nexits;
	JnyOn	   *exits;
	bool		has_goal;
	JnyOn		goal;
	Interval   *goal_within;	/* since the entry; NULL = while enrolled */
	int			nsuppress;
	JnyOn	   *suppress;		/* one type each */
	Jsonb	   *suppress_on;	/* the same for outbox.suppress_on: [{"on": type, "match": bool}] */
	const char *exclusion;		/* exclusion group's name, NULL = none */
	const char *exclusion_per;	/* "person" or a key namespace */
	double		holdout;		/* share never contacted: jny_assign(holdout_salt, profile) < holdout */
	const char *holdout_salt;	/* 'journey/<name>': the same for every version */
	double		rollout;		/* share that may enroll: jny_assign(rollout_salt, profile) < rollout; 1 = all */
	const char *rollout_salt;	/* 'rollout/<name>' */
	int			max_per_day;	/* enrollments per day of the house's zone; 0 = no limit */
	Jsonb	   *caps;			/* its own: [{"scope","channel","max","per","window","otherwise"}]; NULL = none */
	Jsonb	   *quiet;			/* its own: {"from","to","zone","otherwise"}; NULL = none */
	int			nsteps;
	JnyStep    *steps;			/* step 0 is where an enrollment starts */
	Jsonb	   *doc;
} JnyJourney;

typedef struct JnyTemplate
{
	const char *name;
	int			version;
	int			nvariables;
	JnyNamed   *variables;		/* name and type; the payload holds exactly these */
	int			nchannels;
	const char **channels;
	const char *locale;			/* default */
	int			nlocales;
	const char **locales;		/* those it has content for, the default among them */
} JnyTemplate;

typedef enum JnyChannelMode
{
	JNY_CHANNEL_PUSH,			/* a sender takes actions and contacts an address */
	JNY_CHANNEL_PULL,			/* an action waits for its placement */
	JNY_CHANNEL_STATE,			/* membership of an audience */
	JNY_CHANNEL_OPS				/* work for machines or people of the house: no contact, no caps */
} JnyChannelMode;

typedef struct JnyChannel
{
	const char *name;
	int			version;
	JnyChannelMode mode;
	const char *address;		/* namespace of the address; NULL = needs none */
	int			npurposes;
	const char **purposes;		/* that it may carry */
	Interval   *lease;
	int			attempts;
	const char *on_unknown;		/* retry, hold, drop */
	Jsonb	   *doc;			/* rate, backoff and what only delivery needs */
	bool		unreadable;		/* nothing but name and version is known, the rest are defaults, and nothing goes out on it */
} JnyChannel;

/* One row of a rule set or of the policy's vetoes. */
typedef struct JnyRule
{
	const char *document;		/* rule_set/<name> or policy/<name> */
	int			version;
	int			n;				/* place in its document, from 0 */
	Oid			owner;
	const char *scope;			/* '*' = every scope */
	int			priority;		/* greater first */
	const char *kind;			/* veto, suppress, eligible, choose, stage, route, alert */
	JnyOn		on;				/* types and when; no types = every event */
	int			nfrom;
	const char **from;			/* stage: stages it leaves; 0 = any */
	const char *to;				/* stage */
	const char *outcome;
	const char *reason;
	JnyOnUnknown on_unknown;
	TimestampTz valid_from;		/* DT_NOBEGIN when open */
	TimestampTz valid_to;		/* DT_NOEND when open; exclusive */
} JnyRule;

typedef struct JnyPolicy
{
	int			version;		/* 0 = none applied */
	const char *unreadable;		/* a policy or rule set; what it forbids is not known: only what is transactional is decided */
	double		holdout;		/* of everybody, from all marketing; negative: not known */
	const char *holdout_salt;	/* 'policy/<name>' */
	const char *zone;			/* of people whose zone is unknown */
	bool		fences_cross_scopes;
	bool		caps_cross_scopes;
	Jsonb	   *caps;
	Jsonb	   *quiet;
} JnyPolicy;

/* Drops the cache when a document has changed; see above. */
extern void jny_documents_refresh(void);
/* Live journeys in falling priority, then by name. */
extern int	jny_journeys_active(const JnyJourney ***journeys);
/* Any version, as pinned by an enrollment; NULL when there is none. */
extern const JnyJourney *jny_journey_version(const char *name, int version);
/* version 0 = the active one. NULL when there is none. */
extern const JnyTemplate *jny_template(const char *name, int version);
extern const JnyChannel *jny_channel(const char *name);
extern bool jny_has_audiences(void);	/* whether any journey ever used a channel of mode state */
extern const JnyPolicy *jny_policy(void);
/* Rules of one kind of all live rule sets and the policy, by falling priority, document, place. */
extern int	jny_rules(const char *kind, const JnyRule **rules);

extern int	jny_step_index(const JnyJourney *journey, const char *step);	/* -1 = unknown */
/* Where a refusal for this reason leads: the reason's edge, "*", else JNY_EDGE_NONE. */
extern int	jny_edge_refused(const JnyStep *step, const char *reason);
extern bool jny_on_type(const JnyOn *on, const char *type);	/* true also when it lists none */

#endif							/* JNY_DOCUMENT_H */
