/*
 * stale.c
 *		Rows that back-fill or reconcile read while the shop was changing them.
 *
 * Called by take.c before the rows of a window are decoded, inside
 * SPI_connect(). The reader saw the row as it was; the change that it did not
 * see was captured. Whichever of the two is consumed last would stand, and
 * the reader's is the older one. So a row that was read is passed over when a
 * captured change that its reader's snapshot does not see replaced or removed
 * just this image: that change was consumed, or is before this window ends, and
 * brings all of the row. One that comes after the window is none of them: until
 * it is consumed what was read stands, for permits go on meanwhile.
 *
 * Captured rows are there to be compared with: no generation of the inbox is
 * emptied while a row that was read waits (rotate.c). One statement per
 * reading, no locks; memory is the batch's.
 */
#include "observe/observe.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "observe/fact.h"

#define REPLACED(generation, which) \
	" SELECT i.op, i.cols FROM journey." generation " i" \
	" WHERE i.fence IS " which " AND i.xact >= pg_catalog.pg_snapshot_xmin($1)" \
	"   AND i.attachment = $2 AND i.op IN ('U', 'D') AND NOT pg_catalog.pg_visible_in_snapshot(i.xact, $1)" \
	"   AND pg_catalog.pg_visible_in_snapshot(i.xact, $3)"
#define OF(generation) REPLACED(generation, "NULL") " UNION ALL" REPLACED(generation, "NOT NULL")

/* The images that changes unseen by $1, and of a window up to $3, took the place of, and how many columns each has. */
JNY_PLAN(replaced_images, "pg_snapshot, integer, pg_snapshot",
		 "SELECT pg_catalog.cardinality(a.columns),"
		 " CASE r.op WHEN 'U' THEN r.cols[pg_catalog.cardinality(a.columns) + 1 : 2 * pg_catalog.cardinality(a.columns)]"
		 "  ELSE r.cols[1 : pg_catalog.cardinality(a.columns)] END"
		 " FROM journey.attachment a, (" OF("inbox_0") " UNION ALL" OF("inbox_1") " UNION ALL" OF("inbox_2") ") AS r"
		 " WHERE a.attachment = $2");

typedef struct Digest
{
	uint64		part[2];
} Digest;

/* What one reading may have missed. */
typedef struct Reading
{
	int			attachment;
	const char *snapshot;
	int			ncolumns;
	HTAB	   *replaced;		/* of Digest; NULL = nothing */
} Reading;

static Digest
digest(ArrayType *cols, int ncolumns)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;
	StringInfoData s;
	Digest		d;

	initStringInfo(&s);
	deconstruct_array(cols, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	for (int i = 0; i < Min(n, ncolumns); i++)
	{
		struct varlena *v = nulls[i] ? NULL : PG_DETOAST_DATUM_PACKED(values[i]);
		int			len = v == NULL ? -1 : (int) VARSIZE_ANY_EXHDR(v);

		appendBinaryStringInfo(&s, (char *) &len, sizeof(len));
		if (v != NULL)
			appendBinaryStringInfo(&s, VARDATA_ANY(v), len);
	}
	d.part[0] = jny_hash64(s.data, s.len, 0);
	d.part[1] = jny_hash64(s.data, s.len, 1);
	pfree(s.data);
	return d;
}

static void
learn(Reading *reading, const char *window)
{
	HASHCTL		ctl = {.keysize = sizeof(Digest), .entrysize = sizeof(Digest), .hcxt = CurrentMemoryContext};
	Datum		args[3];

	args[0] = DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(reading->snapshot));
	args[1] = Int32GetDatum(reading->attachment);
	args[2] = DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(window));
	if (jny_run_latest(&replaced_images, args, NULL) == 0)
		return;
	reading->ncolumns = (int) jny_get_int8(0, 1, 0);
	reading->replaced = hash_create("journey replaced images", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		isnull;
		Datum		cols = jny_get(row, 2, &isnull);
		Digest		d;

		if (isnull)
			continue;
		d = digest(DatumGetArrayTypeP(cols), reading->ncolumns);
		(void) hash_search(reading->replaced, &d, HASH_ENTER, NULL);
	}
	SPI_freetuptable(SPI_tuptable);
}

static Reading *
reading_of(List **readings, int attachment, const char *snapshot, const char *window)
{
	Reading    *reading;
	ListCell   *lc;

	foreach(lc, *readings)
	{
		reading = lfirst(lc);
		if (reading->attachment == attachment && strcmp(reading->snapshot, snapshot) == 0)
			return reading;
	}
	reading = palloc0(sizeof(Reading));
	reading->attachment = attachment;
	reading->snapshot = snapshot;
	learn(reading, window);
	*readings = lappend(*readings, reading);
	return reading;
}

void
jny_stale_mark(struct JnyWindow *window)
{
	List	   *readings = NIL;

	for (int i = 0; i < window->nrows; i++)
	{
		JnyInboxRaw *row = &window->rows[i];
		const char *snapshot;
		Reading    *reading;

		if (row->op != JNY_OP_BACKFILL || row->cols == NULL || row->props == NULL)
			continue;
		snapshot = jny_json_text(row->props, "snapshot");
		row->props = NULL;		/* of the reading, not of the row */
		if (snapshot == NULL)
			continue;
		reading = reading_of(&readings, row->attachment, snapshot, window->snapshot);
		if (reading->replaced != NULL)
		{
			Digest		d = digest(row->cols, reading->ncolumns);

			row->stale = hash_search(reading->replaced, &d, HASH_FIND, NULL) != NULL;
		}
	}
}
