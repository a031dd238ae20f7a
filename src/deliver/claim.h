/*
 * claim.h
 *		A claim in progress, shared by claim() and claim_and_begin().
 */
#ifndef JNY_DELIVER_CLAIM_H
#define JNY_DELIVER_CLAIM_H

#include "deliver/work.h"

#define JNY_MAX_BATCH 1000

typedef struct JnyClaim
{
	JnyGate		gate;
	JnyChannelRules *channel;
	const char *sender;
	bool		fused;			/* with the permit */
	TimestampTz lease_until;
	int			want;			/* rows, after the rate */
	int			judged;			/* rows, whatever became of them ... */
	int			most;			/* ... and how many it may judge */
	int64		walked;			/* microseconds spent on finding them */
	TimestampTz complete;		/* what is due before this can be seen */
	TimestampTz look_at;		/* when the next look from the beginning may be made; 0 = at once */
	List	   *granted;		/* of JnyWork *, by falling priority */
} JnyClaim;

/* It has judged as many rows as one call may, and there may be more. */
static inline bool
jny_claim_exhausted(const JnyClaim *claim)
{
	return claim->most > 0 && claim->judged >= claim->most;
}

/* Takes up to n actions; false when nothing is claimable at all. Inside SPI_connect(). */
extern bool jny_claim(JnyClaim *claim, const char *channel, int n, Interval *lease);
/* DT_NOEND when nothing waits that may be claimed when its time comes. Inside SPI_connect(). */
extern TimestampTz jny_next_due(const char *channel);

/* 25001 unless READ COMMITTED, 25006 on a standby. */
extern void jny_require_sender_session(const char *what);

/* permit.c: judges rows whose permit was counted in advance; writes permits, settles the rest. */
extern void jny_permit_decide(JnyGate *gate, List *works, const pg_uuid_t *batch);
extern void jny_permit_reveal(JnyGate *gate, const JnyWork *w, Datum *contact, bool *no_contact, Datum *headers);

#endif							/* JNY_DELIVER_CLAIM_H */
