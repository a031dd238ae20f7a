/*
 * batch.h
 *		One lap's events and people: what observe hands to interpret and
 *		orchestrate.
 *
 * Everything lives in the batch's memory context, which the worker deletes
 * after the lap. State tables (cart, orders, consent ...) are already written
 * when orchestrate sees the batch: a condition sees the newest known truth.
 */
#ifndef JNY_BATCH_H
#define JNY_BATCH_H

#include "core/core.h"

#include "nodes/pg_list.h"
#include "utils/hsearch.h"

typedef struct JnyProfile
{
	pg_uuid_t	id;				/* hash key, first */
	int16		bucket;
	double		confidence;
	bool		is_session;		/* only session keys are known */
	bool		restricted;
	Jsonb	   *traits;
	const char *zone;			/* NULL = unknown */
	const char *locale;
	const char *stage;			/* main stage before this lap; orchestrate changes it */
	bytea	   *features;		/* packed; NULL = empty */
	TimestampTz last_event_at;	/* 0 = never */
	TimestampTz last_order_at;	/* latest placed order that is not cancelled; 0 = none */
	int			orders;
	int64		events;
	bool		is_new;
	bool		dirty;			/* profile_state must be written */
} JnyProfile;

typedef struct JnyEvent
{
	int64		seq;
	FullTransactionId xact;
	pg_uuid_t	event_id;		/* v7 */
	TimestampTz occurred_at;
	const char *type;			/* canonical */
	const char *source;
	const char *scope;
	const char *message_id;		/* NULL = none */
	Jsonb	   *props;			/* canonical names; never NULL */
	bool		backfill;		/* state yes, enroll never */
	bool		late;			/* older than journey.max_event_age */
	bool		is_action;		/* JNY_OP_ACTION: outcome for an enrollment, not in the event log */
	bool		fence_only;		/* no event, not in the event log: its fence becomes a suppression, nothing else */
	JnyProfile *profile;		/* never NULL (rows without a person are not in the batch) */
	/* further people whom a key of the event names (not merged, or not yet): a fence ends their actions too */
	int			nothers;
	JnyProfile **others;
	/* objects it speaks of, NULL when none */
	const char *cart_id;
	const char *order_id;
	const char *sku;
	const char *session_id;
	bool		has_action;
	pg_uuid_t	action_id;		/* message events and action outcomes */
	/* action outcomes only */
	bool		has_enrollment;
	pg_uuid_t	enrollment_id;
	const char *step;
	int			visit;
	const char *reason;
	const char *journey;		/* NULL = not told */
	/* fence, as stored in the inbox; on the first event of an inbox row only */
	char		fence;
	const char *fence_type;		/* what the fence stands for; may differ from type (an order that got a new owner) */
	const char *ref;			/* NULL = none */
} JnyEvent;

/* Two people whom this lap has linked, or linked more strongly. */
typedef struct JnyLinkedNow
{
	const JnyProfile *a;
	const JnyProfile *b;
} JnyLinkedNow;

/* A cart, an order or a shipment whose state has moved it to another stage; "" = none, before it was there and after its end. */
typedef struct JnyObjectMove
{
	const JnyProfile *profile;	/* whose it was then */
	const char *object;			/* as order:42 */
	const char *from;
	const char *to;
	const char *status;			/* that says so */
	TimestampTz at;
	int64		seq;
} JnyObjectMove;

typedef struct JnyBatch
{
	MemoryContext cxt;
	JnyNode		node;
	int64		lap;			/* number of this lap */
	int64		last_seq;		/* greatest seq in it, or the cursor's */
	int64		earlier_seq;	/* greatest seq of earlier laps */
	int			nevents;
	JnyEvent   *events;			/* in order of seq; identity and consent rows first within one transaction */
	HTAB	   *profiles;		/* pg_uuid_t -> JnyProfile */
	List	   *links;			/* of JnyLinkedNow * */
	List	   *moves;			/* of JnyObjectMove * */
	bool		held_up;		/* somebody holds a lock that the lap needs: nothing was done */
	bool		more;			/* the window was not finished: call again at once */
	struct JnyWindow *window;	/* the inbox rows behind it; observe's own */
	/* counters for run_once() */
	int64		taken;
	int64		duplicates;
	int64		quarantined;
	int64		backfilled;		/* rows appended, for laps to come */
	int64		entered;
	int64		exited;
	int64		stepped;
	int64		enqueued;
	int64		refused;
	int64		held_out;
	int64		merged;
	int64		timers_left;	/* due now but not in this lap */
} JnyBatch;

/* profile.c: loads the profiles (and their state) that the batch lacks. */
extern void jny_profiles_load(JnyBatch *batch, List *profile_ids);	/* of pg_uuid_t * */
extern JnyProfile *jny_profile_get(JnyBatch *batch, const pg_uuid_t *id);	/* NULL when not loaded */

#endif							/* JNY_BATCH_H */
