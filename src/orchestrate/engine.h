/*
 * engine.h
 *		What orchestrate's own files share: the people of one phase of a lap,
 *		with their enrollments and everything a decision reads, in memory.
 *
 * A phase (the lap's events, its timers, or a preview) is a JnyRun. It loads
 * what its people need in a few statements (load.c), works one event or timer
 * at a time without touching a table (suppress.c, event.c, entry.c, advance.c),
 * decides all sends that came up together (decide.c, gates.c), and writes
 * every table once (write.c). See README.md for the state machine.
 *
 * Included by orchestrate/ only. Everything lives in run->cxt.
 */
#ifndef JNY_ENGINE_H
#define JNY_ENGINE_H

#include "core/batch.h"
#include "core/table.h"
#include "deliver/deliver.h"
#include "interpret/interpret.h"
#include "orchestrate/document.h"

typedef struct JnyPerson JnyPerson;

typedef struct JnyEnrollment
{
	pg_uuid_t	id;
	JnyPerson  *person;
	const JnyJourney *journey;	/* the pinned version; NULL = that version is gone */
	const char *journey_name;
	int			version;
	const char *scope;
	const char *key;
	int			occurrence;
	const char *status;
	int			step;			/* JNY_EDGE_NONE = ended */
	int			visit;
	int			transitions;
	bool		has_entry_event;
	pg_uuid_t	entry_event;
	int64		entry_seq;
	const char *entry_ref;
	const char *entry_cart;
	int64		entry_hash;		/* 0 = none */
	Jsonb	   *data;
	Jsonb	   *steps;
	const char *arm;
	double		confidence;
	TimestampTz entered_at;
	TimestampTz stepped_at;
	TimestampTz wake_at;		/* 0 = none */
	int			restarts;
	TimestampTz exited_at;		/* 0 = live */
	const char *exit_reason;
	TimestampTz goal_at;		/* 0 = not reached */
	TimestampTz goal_until;		/* 0 = while live */
	int64		lap;
	bool		test;
	/* of this phase only */
	bool		is_new;
	bool		dirty;
	bool		timer_dirty;	/* wake_at differs from the stored timer */
	bool		pending;		/* stands on a send that has to be decided */
	bool		exposed;		/* exposure row written in this phase */
	TimestampTz planned_at;		/* when the document wanted the step; 0 = stepped_at */
	int			hops;			/* steps entered in this phase */
	const JnyEvent *cause;		/* event that moved it last; NULL = the clock */
	JnySubjectContext subject;
} JnyEnrollment;

/* The last enrollment of a person in a journey under a key. */
typedef struct JnyPast
{
	const char *journey;
	const char *key;
	int			occurrence;
	TimestampTz ended_at;		/* 0 = live */
} JnyPast;

typedef struct JnyConsentRow
{
	const char *scope;
	const char *channel;
	const char *purpose;
	const char *state;
	TimestampTz expires_at;		/* 0 = never */
} JnyConsentRow;

typedef struct JnyContactRow
{
	const char *scope;
	const char *channel;
	const char *state;
	int64		address_hash;
} JnyContactRow;

typedef struct JnySuppressionRow
{
	int64		seq;
	int64		lap;
	const char *type;
	const char *ref;
	const char *scope;
	const char *channel;
	const char *purpose;
	const char *reason;
	ArrayType  *matched;
	bool		linked;			/* stops the matched ones alone */
	TimestampTz until;			/* 0 = no end */
} JnySuppressionRow;

/* An action that is live in the outbox, or was enqueued in this phase. */
typedef struct JnyLiveAction
{
	const char *exclusion;
	const char *scope;
	const char *journey;
	const char *step;
	pg_uuid_t	enrollment_id;
	int			priority;
	bool		pending;		/* in nobody's hands */
} JnyLiveAction;

typedef struct JnyPermitRow
{
	TimestampTz at;
	const char *journey;
	const char *scope;
	const char *channel;
	const char *purpose;
} JnyPermitRow;

struct JnyPerson
{
	pg_uuid_t	id;				/* hash key, first */
	JnyProfile *profile;
	List	   *enrollments;	/* of JnyEnrollment *: live, or their goal is still open */
	List	   *past;			/* of JnyPast * */
	TimestampTz last_order_at;	/* scope-wise answers are in orders */
	List	   *orders;			/* of JnyLastOrder *, only where a journey ends by an order */
	List	   *linked;			/* of JnyPerson *: linked with them; of people whom a fenced event names */
	bool		asked;			/* their links are read */
	List	   *members;		/* of audiences, what put them in: audience.c */
	bool		members_read;
	uint64		listed;			/* by which call of jny_linked_with() */
	uint32		gates;			/* which of the lists below are loaded: load_gates.c */
	List	   *consents;
	List	   *contacts;
	List	   *suppressions;
	List	   *actions;
	List	   *permits;
};

typedef struct JnyLastOrder
{
	const char *scope;
	TimestampTz at;
} JnyLastOrder;

typedef struct JnyDecision
{
	pg_uuid_t	id;
	const JnyPerson *person;
	const JnyEnrollment *enrollment;	/* NULL = a refused entry */
	const JnyJourney *journey;
	const char *step;
	const char *kind;
	const char *verdict;
	const char *reason;
	const char *rule;
	StringInfo	clauses;		/* json text of the elements, NULL = none */
	bool		failed;			/* one of them could not be computed, and not for want of data */
	List	   *inputs;			/* of Jsonb *: objects to be merged */
	StringInfo	versions;
	StringInfo	candidates;
	const char *fallback;
	const char *arm;
	const char *channel;		/* chosen; NULL = none, and so is the template */
	const char *template;
	bool		has_action;
	pg_uuid_t	action_id;
	const JnyEvent *event;
	TimestampTz at;
	int			repeats;
} JnyDecision;

/* Stock of a product at the decision, where it is known. */
typedef struct JnyStock
{
	const char *sku;
	bool		in_stock;
	bool		stale;			/* whether there is any is known too long ago */
} JnyStock;

/* Rows that are collected as they come up, and written at the end. */
typedef enum JnyRowSet
{
	JNY_ROWS_TRANSITIONS,
	JNY_ROWS_EXPOSURES,
	JNY_ROWS_CONVERSIONS,
	JNY_ROWS_STAGES,
	JNY_ROW_SETS
} JnyRowSet;

typedef struct JnyRun
{
	JnyBatch   *batch;
	MemoryContext cxt;
	MemoryContext scratch;		/* of one condition while it is judged */
	bool		preview;		/* nothing is written, nothing enqueued */
	TimestampTz now;
	const JnyPolicy *policy;
	int			njourneys;
	const JnyJourney **journeys;	/* live ones */
	HTAB	   *people;			/* pg_uuid_t -> JnyPerson */
	HTAB	   *by_id;			/* enrollment id -> JnyEnrollment * */
	List	   *by_object;		/* of JnyEnrollment *: found by a cart or order that an event names */
	List	   *pending;		/* of JnyEnrollment *: sends to decide */
	List	   *touched;		/* of JnyEnrollment *: to be written */
	List	   *stopped;		/* of JnyStop * : actions to cancel */
	List	   *actions;		/* of JnyAction *: to be enqueued */
	List	   *decisions;		/* of JnyDecision * */
	HTAB	   *refusals;		/* decision id -> JnyDecision *: refused entries, counted */
	HTAB	   *days;			/* journey name -> JnyDay */
	int64	  **not_entered;	/* that count of each of journeys; NULL = none yet */
	List	   *stocks;			/* of JnyStock *, of the present round */
	JnySubjectContext *subjects;	/* of entries: one per event of the batch */
	struct JnyDoors *doors;		/* entries by type of event: entry.c */
	uint64	   *closed;			/* per event: doors that its own words close */
	List	   *suppressions;	/* of JnySuppress * */
	List	   *late;			/* of JnySuppress *: what links of this lap bring to people in audiences */
	JnyCols    *releases;		/* NULL = none */
	JnyCols    *rows[JNY_ROW_SETS];	/* by jny_rows(); NULL = none */
	List	   *incidents;		/* of JnyIncident * */
	List	   *path;			/* preview: of JnyPathRow * */
} JnyRun;

/* A rule or document that does not work, met count times in this phase. */
typedef struct JnyIncident
{
	const char *kind;
	const char *name;
	const char *message;
	int64		count;
} JnyIncident;

/* A consumed fence, on its way to the table suppression. */
typedef struct JnySuppress
{
	const JnyPerson *person;
	const JnyEvent *event;		/* NULL = not of this lap: a row that waited for it */
	const char *type;
	const char *ref;			/* '' = none */
	const char *scope;
	const char *channel;		/* of an opt-out; * = every */
	const char *purpose;
	const char *reason;
	List	   *matched;		/* of JnyEnrollment *: their match expression held */
	bool		linked;			/* the event names somebody with whom the person is linked: ends the matched ones alone */
	bool		late;			/* was there before the link: ends only what it came after */
	int64		lap;			/* of a late one, where it stands */
	int64		seq;
} JnySuppress;

typedef struct JnyStop
{
	JnyEnrollment *enrollment;
	const char *reason;
} JnyStop;

typedef struct JnyPathRow
{
	TimestampTz at;
	const char *step;
	const char *what;
	const char *verdict;
	const char *reason;
	const char *detail;
} JnyPathRow;

/* What is counted per journey and day: columns of journey_day, in the order of add_days (write.c). */
typedef enum JnyCount
{
	JNY_COUNT_ENTERED,
	JNY_COUNT_NOT_ENTERED,
	JNY_COUNT_ENDED,
	JNY_COUNT_HELD_OUT,
	JNY_COUNT_ENQUEUED,
	JNY_COUNT_WITHHELD,
	JNY_COUNT_CANCELLED,
	JNY_COUNT_SENT,
	JNY_COUNT_STOPPED,
	JNY_COUNT_DEAD,
	JNY_COUNT_UNKNOWN,
	JNY_NCOUNTS
} JnyCount;

typedef struct JnyDay
{
	char		journey[NAMEDATALEN * 2];	/* hash key, first */
	int64		before;			/* stored, of those who entered */
	int64		n[JNY_NCOUNTS]; /* in this phase */
} JnyDay;

/*
 * Is what a lap consumed younger than the entry? One that was captured before
 * the entering event and committed after it is consumed by a later lap.
 */
static inline bool
jny_came_after(const JnyEnrollment *e, int64 lap, int64 seq)
{
	return lap > e->lap || seq > e->entry_seq;
}

/* ---- run.c -------------------------------------------------------------- */

extern JnyRun *jny_run_start(JnyBatch *batch, bool preview);
extern JnyPerson *jny_run_person(JnyRun *run, JnyProfile *profile);
extern JnyEnrollment *jny_enrollment_of(const JnyPerson *person, const pg_uuid_t *id);	/* NULL = not among those loaded */
extern JnyDay *jny_run_day(JnyRun *run, const char *journey);
extern Datum jny_run_today(JnyRun *run);		/* date, of the house's zone */
extern bool jny_same_scope(const JnyRun *run, const char *a, const char *b);
extern void jny_run_incident(JnyRun *run, const char *kind, const char *name, const char *message);
/* A NULL text is true. A rule that no longer compiles is unknown, and an incident. */
extern JnyVerdict jny_run_judge(JnyRun *run, const JnyEnrollment *e, JnySubjectContext *subject,
								const JnyEvent *event, Oid owner, const char *text, const char *where);
/* False when what needs these parts alone makes it false; else unknown. */
extern JnyVerdict jny_run_foretell(JnyRun *run, JnySubjectContext *subject, uint32 parts, Oid owner,
								   const char *text, const char *where);
/* The same, leaving clauses and values in the decision. */
extern JnyVerdict jny_run_explain(JnyRun *run, JnyDecision *decision, JnySubjectContext *subject,
								  const JnyEvent *event, Oid owner, const char *text, const char *where);
/* Value of an expression in the type asked for (InvalidOid: its own); false when it is broken. */
extern bool jny_run_value(JnyRun *run, JnySubjectContext *subject, const JnyEvent *event, Oid owner,
						  const char *text, Oid wanted, const char *where,
						  Datum *value, Oid *type, bool *isnull);
extern const char *jny_zone_of(JnyRun *run, const JnyPerson *person);
extern TimestampTz jny_later(JnyRun *run, const JnyPerson *person, TimestampTz at, const Interval *span);
extern JnyVerdict jny_run_on(JnyRun *run, JnyEnrollment *e, const JnyEvent *event,
							 const JnyOn *on, const char *where);
extern void jny_subject_at(JnyRun *run, JnySubjectContext *subject, const JnyEvent *event);
extern void jny_subject_of(JnyRun *run, JnyPerson *person, const JnyJourney *journey,
						   const JnyEnrollment *e, JnySubjectContext *subject);

/* ---- load.c ------------------------------------------------------------- */

extern void jny_load_enrollments(JnyRun *run);	/* of every person in run->people: open ones, and the past */
extern void jny_load_objects(JnyRun *run);		/* of carts and orders that fenced events name */
extern void jny_load_orders(JnyRun *run);
extern void jny_load_days(JnyRun *run);
extern JnyRows *jny_due_timers(TimestampTz now, int limit); /* locked, in the order in which they are due */
extern List *jny_load_due(JnyRun *run, const JnyRows *timers);	/* pops them; of JnyEnrollment *, in their order */
/* The enrollments that the rows name: bucket, profile_id, enrollment_id. Of JnyEnrollment *. */
extern List *jny_take_live(JnyRun *run, const JnyRows *found);
/* Keys of people: bucket and profile_id. */
extern JnyCols *jny_people_keys(JnyAccess *access, List *people);

/* ---- load_gates.c ------------------------------------------------------- */

extern void jny_load_gates(JnyRun *run);		/* of people with pending sends */
extern void jny_load_stock(JnyRun *run, List *skus);
extern const JnyStock *jny_stock_of(JnyRun *run, const char *sku);

/* ---- linked.c ----------------------------------------------------------- */

extern bool jny_is_fenced(const JnyEvent *event);
extern void jny_load_linked(JnyRun *run);
extern List *jny_linked_with(JnyRun *run, const JnyEvent *event);	/* of JnyPerson * */
extern void jny_catch_up(JnyRun *run);

/* ---- suppress.c --------------------------------------------------------- */

/* Such an event ends what the journey sends whether or not it lists it. */
extern bool jny_ends_always(const JnyJourney *j, const char *type);
/* Does it end what the live enrollment sends? Without the event, every match counts as one that holds. */
extern bool jny_ends_sends(JnyRun *run, JnyEnrollment *e, const JnyEvent *event,
						   const char *type, const char *scope, const char *ref);

extern void jny_suppress_event(JnyRun *run, const JnyEvent *event);

/* ---- event.c ------------------------------------------------------------ */

extern void jny_event_apply(JnyRun *run, const JnyEvent *event);
/* Ends the enrollment when a condition on its state says so. */
extern bool jny_exit_by_state(JnyRun *run, JnyEnrollment *e);
extern bool jny_is_own_event(const JnyEnrollment *e, const JnyEvent *event);

/* ---- entry.c ------------------------------------------------------------ */

/* Once per phase, before the first event. */
extern void jny_entry_prepare(JnyRun *run);
extern void jny_entry_apply(JnyRun *run, const JnyEvent *event);
/* An order ends it, whichever order it is. */
extern bool jny_ends_by_order(const JnyJourney *j);

/* ---- advance.c ---------------------------------------------------------- */

extern void jny_advance(JnyRun *run, JnyEnrollment *e, int to, const char *edge, const char *reason,
						TimestampTz at, TimestampTz planned, const JnyEvent *event);
extern void jny_end(JnyRun *run, JnyEnrollment *e, const char *status, const char *edge,
					const char *reason, TimestampTz at, const JnyEvent *event);
extern void jny_timer_fired(JnyRun *run, JnyEnrollment *e, TimestampTz planned);
extern void jny_set_timer(JnyRun *run, JnyEnrollment *e, TimestampTz wake_at, TimestampTz planned_at);
extern void jny_touch(JnyRun *run, JnyEnrollment *e);
/* As what an event of this type is noted at the send that it is about; NULL = not at all. */
extern const char *jny_noted_as(const char *type);
extern void jny_note_step(JnyRun *run, JnyEnrollment *e, const char *step, const char *json);

/* ---- decide.c, gates.c, payload.c --------------------------------------- */

extern void jny_decide_all(JnyRun *run);
extern JnyDecision *jny_decision_new(JnyRun *run, JnyPerson *person, const JnyJourney *journey,
									 const char *kind);
extern JnyDecision *jny_decision_of(JnyRun *run, JnyEnrollment *e, const char *step, const char *kind);
extern void jny_decision_clause(JnyDecision *d, const char *clause, JnyVerdict verdict);
extern void jny_decision_input(JnyRun *run, JnyDecision *d, const char *name, const char *value);
extern void jny_decision_version(JnyDecision *d, const char *kind, const char *name, int version);

/* A send on its way through the gates. */
typedef struct JnySend
{
	JnyEnrollment *e;
	const JnyStep *step;
	const JnyTemplate *template;
	JnyDecision *decision;
	Jsonb	   *payload;
	List	   *skus;			/* of char *: must be in stock */
	const char *broken;			/* a data expression that no longer works */
	List	   *channels;		/* of const JnyChannel *: those that may reach the person, in order */
	const JnyChannel *channel;	/* the one chosen */
	const char *exclusion;
	TimestampTz due_at;
	TimestampTz not_after;
	Jsonb	   *quiet;
	TimestampTz again;			/* not 0: the gate may open, decide again then */
} JnySend;

/* Each gate gives NULL (passed) or the reason of its refusal. */
extern const char *jny_gate_requires(JnyRun *run, JnySend *s);
extern const char *jny_gate_vetoes(JnyRun *run, JnySend *s);
extern const char *jny_gate_channels(JnyRun *run, JnySend *s);
extern const char *jny_gate_stock(JnyRun *run, JnySend *s);
extern const char *jny_gate_suppression(JnyRun *run, JnySend *s);
extern const char *jny_gate_exclusion(JnyRun *run, JnySend *s);
extern const char *jny_gate_caps(JnyRun *run, JnySend *s);
extern const char *jny_gate_quiet(JnyRun *run, JnySend *s);
extern const char *jny_own_ref(const JnyEnrollment *e);
extern void jny_payload(JnyRun *run, JnySend *s);
/* What conditions and data of these sends read, loaded for all at once. */
extern void jny_load_subjects(JnyRun *run, List *sends);

/* ---- stage.c ------------------------------------------------------------ */

extern void jny_stage_apply(JnyRun *run, const JnyEvent *event);
extern void jny_stage_objects(JnyRun *run);	/* the history of carts, orders and shipments */

/* ---- audience.c --------------------------------------------------------- */

extern bool jny_audiences_wait(void);	/* somebody has been suppressed beside the laps */
extern void jny_load_members(List *people);	/* of JnyPerson * */
extern void jny_leave_audiences(JnyRun *run);	/* whom suppressions end: out of audiences they were put into */

/* ---- write.c ------------------------------------------------------------ */

extern void jny_write_suppressions(JnyRun *run);
extern Datum jny_enrollment_ids(List *enrollments, ArrayType *more); /* uuid[]; more may be NULL */
extern JnyCols *jny_rows(JnyRun *run, JnyRowSet set);
extern void jny_write_all(JnyRun *run);

#endif							/* JNY_ENGINE_H */
