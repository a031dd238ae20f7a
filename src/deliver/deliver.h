/*
 * deliver.h
 *		The only code that writes the outbox. Uses core only.
 */
#ifndef JNY_DELIVER_H
#define JNY_DELIVER_H

#include "core/core.h"

#include "nodes/pg_list.h"

typedef struct JnyAction
{
	pg_uuid_t	profile_id;
	int16		bucket;
	pg_uuid_t	action_id;
	const char *channel;
	int			priority;
	TimestampTz due_at;
	TimestampTz not_after;
	Interval   *late;			/* NULL = none */
	bool		has_enrollment;
	bool		fresh;			/* the enrollment was made in this transaction: nothing bears the action's id yet */
	pg_uuid_t	enrollment_id;
	const char *journey;
	int			version;
	const char *step;
	int			visit;
	const char *purpose;
	const char *scope;
	const char *template;
	int			template_version;
	const char *locale;
	Jsonb	   *payload;
	const char *placement;
	const char *exclusion;
	Jsonb	   *suppress_on;	/* [{"on": type, "match": bool}] */
	const char *own_ref;
	int64		entry_hash;		/* 0 = none */
	ArrayType  *stock_sku;		/* text[], NULL = none */
	Jsonb	   *caps;
	Jsonb	   *quiet;
	int			max_attempts;
	pg_uuid_t	decision_id;
	TimestampTz decided_at;
	int64		decided_lap;
	int64		decided_seq;
	bool		test;
} JnyAction;

/*
 * In a payload, the action that this one takes back: it takes somebody out of
 * an audience. No variable of a template can have the name.
 */
#define JNY_REMOVES "_remove"

/* Set-based insert; an action that already exists is left alone. */
extern void jny_enqueue(List *actions);
/*
 * Clean-up after an exit: the pending actions of these enrollments, SKIP
 * LOCKED. One that a sender holds is left: its permit finds the enrollment
 * ended and is refused. Returns how many.
 */
typedef struct JnyOwner
{
	pg_uuid_t	profile_id;
	pg_uuid_t	enrollment_id;
	int			cancelled;		/* how many were */
} JnyOwner;

extern int64 jny_cancel_of(List *owners, const char *reason);	/* of JnyOwner * */
/* Addresses that senders found to be at fault are marked so; before the lap decides anything. */
extern void jny_deliver_faults(const JnyNode *node);
/* Expired leases, expired actions, dead rates: the reaper's lap. Once per worker lap. */
extern void jny_deliver_reap(const JnyNode *node, int limit);
/* NOTIFY journey_outbox_<channel> once per batch; wakes waiting claims after commit. */
extern void jny_deliver_announce(void);

#endif							/* JNY_DELIVER_H */
