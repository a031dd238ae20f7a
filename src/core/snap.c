/*
 * snap.c
 *		pg_snapshot values in C.
 *
 * The type's inside is private to the server; its text is not. Called by
 * whatever compares transactions with the cursor. No locks.
 */
#include "core/snap.h"

#include "utils/builtins.h"

JnySnap
jny_snap_parse(const char *text)
{
	JnySnap		s;
	char	   *p;

	s.xmin = strtou64(text, &p, 10);
	s.xmax = strtou64(p + 1, &p, 10);
	s.nxip = 0;
	s.xip = palloc(sizeof(uint64) * (strlen(text) / 2 + 2));
	for (p++; *p != '\0'; p += (*p == ','))
		s.xip[s.nxip++] = strtou64(p, &p, 10);
	return s;
}

bool
jny_snap_sees(const JnySnap *s, uint64 xid)
{
	if (xid >= s->xmax)
		return false;
	if (xid < s->xmin)
		return true;
	for (int i = 0; i < s->nxip; i++)
		if (s->xip[i] == xid)
			return false;
	return true;
}

int
jny_snap_ended(const JnySnap *s, const JnySnap *later, uint64 **xids)
{
	int			n = 0;

	*xids = palloc(sizeof(uint64) * (s->nxip + 1));
	for (int i = 0; i < s->nxip; i++)
		if (jny_snap_sees(later, s->xip[i]))
			(*xids)[n++] = s->xip[i];
	return n;
}

char *
jny_snap_text(Datum value)
{
	return DatumGetCString(DirectFunctionCall1(pg_snapshot_out, value));
}

Datum
jny_snap_datum(const char *text)
{
	return DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(text));
}

char *
jny_snap_active(void)
{
	FunctionCallInfoBaseData *fcinfo = palloc0(SizeForFunctionCallInfo(0));

	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	return jny_snap_text(pg_current_snapshot(fcinfo));
}
