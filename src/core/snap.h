/*
 * snap.h
 *		pg_snapshot values in C: xmin:xmax:xip,xip
 *
 * What a snapshot of the cursor sees has been consumed. Memory: the caller's.
 */
#ifndef JNY_CORE_SNAP_H
#define JNY_CORE_SNAP_H

#include "core/core.h"

typedef struct JnySnap
{
	uint64		xmin;
	uint64		xmax;
	int			nxip;
	uint64	   *xip;
} JnySnap;

extern JnySnap jny_snap_parse(const char *text);
extern bool jny_snap_sees(const JnySnap *s, uint64 xid);
/* The transactions that ran in s and are not running in later, as it were; returns how many. */
extern int	jny_snap_ended(const JnySnap *s, const JnySnap *later, uint64 **xids);

extern char *jny_snap_text(Datum value);	/* of a column */
extern Datum jny_snap_datum(const char *text);
extern char *jny_snap_active(void); /* the active snapshot's */

#endif							/* JNY_CORE_SNAP_H */
