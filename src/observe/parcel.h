/*
 * parcel.h
 *		Shipments and returns in memory, between parcel.c (what changes them)
 *		and parcel_store.c (reading and writing them).
 */
#ifndef JNY_PARCEL_H
#define JNY_PARCEL_H

#include "observe/fact.h"

#define JNY_MILESTONES 3

typedef struct JnyParcel
{
	JnyKey	   *key;			/* hash key, first */
	JnyKind		kind;			/* JNY_KIND_SHIPMENT or JNY_KIND_RETURN */
	const char *scope;
	const char *id;
	const char *source;
	const char *order_id;		/* NULL = unknown */
	const char *status;			/* NULL: not known yet */
	TimestampTz status_at;		/* when it was reached */
	TimestampTz milestone[JNY_MILESTONES];	/* shipped, ready, delivered or picked up; requested, approved, received; 0 = not, or unknown when */
	TimestampTz promised_at;	/* of a shipment; 0 = unknown */
	TimestampTz expected_at;
	TimestampTz delayed_to;		/* the expected time that was last told as a delay; 0 = none was */
	const char *reason;			/* of a return; NULL = unknown */
	int64		seq;
	Jsonb	   *props;
	TimestampTz changed_at;
	bool		exists;
	bool		dirty;
} JnyParcel;

typedef struct JnyParcels
{
	HTAB	   *table;			/* NULL = none */
	int			n;
	int			max;
	JnyParcel **parcel;
} JnyParcels;

extern JnyParcel *jny_parcel_of(JnyTake *take, JnyFact *fact);	/* NULL when it names none */

#endif							/* JNY_PARCEL_H */
