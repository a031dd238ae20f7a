/*
 * window.c
 *		Walking the inbox: a frozen window after the other, in order of seq.
 *
 * Called by jny_observe_take and jny_observe_finish, inside the lap's READ
 * COMMITTED transaction and SPI_connect(), as journey_owner. Locks the cursor
 * row until the lap ends, with SKIP LOCKED: the second consumer goes away.
 * Rows live in the batch's context.
 *
 * A window that is longer than one lap is read twice: once by transaction id,
 * to learn where its rows lie in order of seq, then place by place. The list
 * of places stays in this backend from lap to lap; a frozen window's rows are
 * immutable, and no generation with unconsumed rows is ever emptied. Without
 * the list, each lap of a million-row COPY would sort the rest of the million.
 * Rows do move between laps when somebody runs VACUUM FULL or CLUSTER; then
 * other rows, or none, lie at their places, and the list is made again.
 */
#include "observe/window.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/itemptr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "core/shmem.h"
#include "core/snap.h"
#include "core/table.h"

/* Places kept at most: 32 bytes each. */
#define MAX_PLACES 500000
/* A lap that would end between rows of one transaction takes up to this many times as many. */
#define MAX_STRETCH 4
/* Rows that are worth finding without a statement, which can sort and skip better. */
#define SHORT_WINDOW 1000

JNY_LOOKUP(lock_cursor, "cursor", "cursor_pkey", "one",
		   "incarnation, previous, window_snapshot, window_seq, applied_seq, lap, window_at, moved_at", NULL);
JNY_UPDATE(move_cursor, "cursor", "cursor_pkey", "one",
		   "previous, moved_at, window_snapshot, window_at, window_seq, applied_seq, lap");

/* Rows of one table that are in the window $2 and not in $1, behind seq $5. */
#define SIDE(table, number, columns, bounds) \
	" SELECT " columns ", " number " AS place FROM journey." table " i" \
	" WHERE " bounds " AND i.seq > $5 AND pg_catalog.pg_visible_in_snapshot(i.xact, $2)"
#define BEGUN_SINCE "i.xact >= $3 AND i.xact < pg_catalog.pg_snapshot_xmax($2)"
#define ENDED_SINCE "i.xact = ANY ($4)"
#define TABLE_SIDES(table, number, columns, which) \
	SIDE(table, number, columns, which BEGUN_SINCE) " UNION ALL" SIDE(table, number, columns, which ENDED_SINCE)
/* a generation has an index for fenced rows and one for the others */
#define GENERATION(table, number, columns) \
	TABLE_SIDES(table, number, columns, "i.fence IS NULL AND ") " UNION ALL" \
	TABLE_SIDES(table, number, columns, "i.fence IS NOT NULL AND ")
#define ALL_TABLES(columns) \
	GENERATION("inbox_0", "0", columns) " UNION ALL" GENERATION("inbox_1", "1", columns) " UNION ALL" \
	GENERATION("inbox_2", "2", columns) " UNION ALL" TABLE_SIDES("inbox_copy", "3", columns, "")
#define COLUMNS \
	"i.seq, i.xact, i.received_at, i.op, i.source, i.type, i.occurred_at, i.message_id, i.subject," \
	" i.props, i.attachment, i.cols, i.fence, i.keys, i.ref, i.scope"
#define WINDOW_TYPES "pg_snapshot, pg_snapshot, xid8, xid8[], bigint, integer"

JNY_PLAN(read_rows, WINDOW_TYPES,
		 "SELECT * FROM (" ALL_TABLES(COLUMNS) ") AS w ORDER BY w.seq LIMIT $6");
JNY_PLAN(read_places, WINDOW_TYPES,
		 "SELECT w.seq, w.place, w.ctid, w.xact FROM (" ALL_TABLES("i.seq, i.ctid, i.xact") ") AS w ORDER BY w.seq LIMIT $6");

#define AT(table, number, param) \
	" SELECT " COLUMNS ", " number " AS place FROM journey." table " i WHERE i.ctid = ANY (" param ")"
JNY_PLAN(read_at, "tid[], tid[], tid[], tid[]",
		 "SELECT * FROM (" AT("inbox_0", "0", "$1") " UNION ALL" AT("inbox_1", "1", "$2") " UNION ALL"
		 AT("inbox_2", "2", "$3") " UNION ALL" AT("inbox_copy", "3", "$4") ") AS w ORDER BY w.seq");

/* A window that is short, as most are: the transactions begun since the cursor's snapshot, and those that have ended. */
#define RAW_COLUMNS \
	"seq, xact, received_at, op, source, type, occurred_at, message_id, subject," \
	" props, attachment, cols, fence, keys, ref, scope"
#define SHORT(name, index, key, where) {JNY_DO_LOOKUP, name, name index, key, RAW_COLUMNS, where, NULL}
#define GENERATION_BY(name, key) \
	SHORT(name, "_xact", key, "t.fence IS NULL"), SHORT(name, "_fence", key, "t.fence IS NOT NULL")
#define ALL_BY(key) \
	GENERATION_BY("inbox_0", key), GENERATION_BY("inbox_1", key), GENERATION_BY("inbox_2", key), \
	SHORT("inbox_copy", "_xact", key, NULL)
static JnyAccess begun_since[] = {ALL_BY("xact >=")};
static JnyAccess ended_since[] = {ALL_BY("xact")};
#define PARTS ((int) lengthof(begun_since))
#define PART_COPY (PARTS - 1)

JNY_PLAN(report_foreign, "text",
		 "SELECT journey._incident('foreign_cursor', 'cursor', 'error',"
		 " 'the inbox cursor belongs to another cluster or database: ' OPERATOR(pg_catalog.||) $1,"
		 " 'Run journey.adopt(): it gives the cursor a fresh start and reconciles.', '{}')");

enum
{
	C_SEQ, C_XACT, C_RECEIVED_AT, C_OP, C_SOURCE, C_TYPE, C_OCCURRED_AT, C_MESSAGE_ID, C_SUBJECT,
	C_PROPS, C_ATTACHMENT, C_COLS, C_FENCE, C_KEYS, C_REF, C_SCOPE, C_PLACE
};

#define PLACE_COPY 3

typedef struct Place
{
	int64		seq;
	uint64		xact;
	ItemPointerData tid;
	uint8		table;
} Place;

/* Where the rows of the window lie that is being walked; this backend's own knowledge. */
static struct
{
	MemoryContext cxt;
	char	   *snapshot;		/* of which window; NULL = none */
	int			n;
	int			next;			/* first one not yet handed out */
	Place	   *place;
} places;

/* ---- snapshots ----------------------------------------------------------- */

/*
 * A snapshot counts its own transaction as visible. What this lap appends is
 * for a later one, so our id is put among the running ones.
 */
static char *
without_us(const char *text)
{
	uint64		own = U64FromFullTransactionId(GetTopFullTransactionId());
	JnySnap		s = jny_snap_parse(text);
	StringInfoData out;
	bool		put = !jny_snap_sees(&s, own);

	if (put)
		return pstrdup(text);
	initStringInfo(&out);
	appendStringInfo(&out, UINT64_FORMAT ":" UINT64_FORMAT ":", Min(s.xmin, own), s.xmax);
	for (int i = 0; i < s.nxip; i++)
	{
		if (!put && own < s.xip[i])
		{
			appendStringInfo(&out, UINT64_FORMAT ",", own);
			put = true;
		}
		appendStringInfo(&out, UINT64_FORMAT ",", s.xip[i]);
	}
	if (!put)
		appendStringInfo(&out, UINT64_FORMAT ",", own);
	out.data[--out.len] = '\0';
	return out.data;
}

/* ---- opening ------------------------------------------------------------- */

/* Why the cursor cannot be of this cluster; NULL = it can. */
static const char *
foreign(const JnyBatch *batch, int incarnation, const struct JnyWindow *w)
{
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());

	if (incarnation != batch->node.incarnation)
		return psprintf("its incarnation is %d, the node's is %d", incarnation, batch->node.incarnation);
	if (w->previous == NULL)
		return "it was never given a start";
	if (jny_snap_parse(w->previous).xmax > next ||
		(w->snapshot != NULL && jny_snap_parse(w->snapshot).xmax > next))
		return "it is ahead of this cluster's transaction ids";
	return NULL;
}

static bool
refuse(JnyBatch *batch, const char *why)
{
	Datum		arg = CStringGetTextDatum(why);

	jny_run(&report_foreign, &arg, NULL);
	batch->window->refused = true;
	batch->node.adopted = false;
	batch->node.mode = JNY_MODE_OFF;
	batch->node.why_off = "the inbox cursor belongs to another cluster or database";
	return true;
}

/* ---- decoding ------------------------------------------------------------- */

static void *
get_varlena(Datum d, bool isnull)
{
	return isnull ? NULL : (void *) PG_DETOAST_DATUM_COPY(d);
}

static char *
get_text(Datum d, bool isnull)
{
	return isnull ? NULL : TextDatumGetCString(d);
}

static TimestampTz
get_time(Datum d, bool isnull)
{
	return isnull ? 0 : DatumGetTimestampTz(d);
}

#define VALUE(col) d[col], nulls[col]

/* Columns as in RAW_COLUMNS. */
static void
decode(JnyInboxRaw *raw, const Datum *d, const bool *nulls, int place)
{
	ArrayType  *keys;

	raw->seq = DatumGetInt64(d[C_SEQ]);
	raw->xact = FullTransactionIdFromU64(DatumGetUInt64(d[C_XACT]));
	raw->received_at = DatumGetTimestampTz(d[C_RECEIVED_AT]);
	raw->op = DatumGetChar(d[C_OP]);
	raw->copied = place == PLACE_COPY;
	raw->source = get_text(VALUE(C_SOURCE));
	raw->type = get_text(VALUE(C_TYPE));
	raw->occurred_at = get_time(VALUE(C_OCCURRED_AT));
	raw->message_id = get_text(VALUE(C_MESSAGE_ID));
	raw->subject = get_varlena(VALUE(C_SUBJECT));
	raw->props = get_varlena(VALUE(C_PROPS));
	raw->attachment = nulls[C_ATTACHMENT] ? 0 : DatumGetInt32(d[C_ATTACHMENT]);
	raw->cols = get_varlena(VALUE(C_COLS));
	raw->fence = nulls[C_FENCE] ? JNY_FENCE_NONE : DatumGetChar(d[C_FENCE]);
	raw->ref = get_text(VALUE(C_REF));
	raw->scope = get_text(VALUE(C_SCOPE));
	keys = get_varlena(VALUE(C_KEYS));
	if (keys != NULL && ARR_NDIM(keys) == 1 && !ARR_HASNULL(keys))
	{
		raw->nkeys = ARR_DIMS(keys)[0];
		raw->keys = (int64 *) ((char *) keys + ARR_OVERHEAD_NONULLS(1));
	}
}

/* The first n rows of the statement that has just run. */
static void
decode_rows(JnyBatch *batch, int n)
{
	struct JnyWindow *w = batch->window;
	MemoryContext old = MemoryContextSwitchTo(batch->cxt);

	w->nrows = n;
	w->rows = palloc0(sizeof(JnyInboxRaw) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		Datum		d[C_PLACE + 1];
		bool		nulls[C_PLACE + 1];

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, d, nulls);
		decode(&w->rows[i], d, nulls, DatumGetInt32(d[C_PLACE]));
	}
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
}

/* ---- a short window ---------------------------------------------------------- */

static int
by_seq(const void *a, const void *b)
{
	const JnyInboxRaw *x = a;
	const JnyInboxRaw *y = b;

	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* What both sides of each part hold since the previous snapshot; false when that is more than max. */
static bool
find_sides(JnyRows **side, int max, const JnySnap *previous, const JnySnap *window)
{
	uint64	   *ended;
	int			nended = jny_snap_ended(previous, window, &ended);
	int			n = 0;

	for (int part = 0; part < PARTS; part++)
	{
		JnyCols    *begun = jny_cols_of(&begun_since[part]);
		JnyCols    *each = jny_cols_of(&ended_since[part]);

		jny_cols_set(begun, 0, UInt64GetDatum(previous->xmax));
		jny_cols_next(begun);
		for (int i = 0; i < nended; i++)
		{
			jny_cols_set(each, 0, UInt64GetDatum(ended[i]));
			jny_cols_next(each);
		}
		side[2 * part] = jny_lookup_at(&begun_since[part], begun, GetActiveSnapshot(), max - n + 1);
		n += side[2 * part]->n;
		side[2 * part + 1] = jny_lookup_at(&ended_since[part], each, GetActiveSnapshot(), max - n + 1);
		n += side[2 * part + 1]->n;
		if (n > max)
			return false;
	}
	return true;
}

/* Takes all of a window that fits into one lap; false, with nothing read, when it does not. */
static bool
read_short(JnyBatch *batch, int max, const JnySnap *previous, const JnySnap *window)
{
	struct JnyWindow *w = batch->window;
	MemoryContext old = MemoryContextSwitchTo(batch->cxt);
	JnyRows    *side[2 * lengthof(begun_since)];
	bool		all;
	int			n = 0;

	PushActiveSnapshot(GetLatestSnapshot());
	all = find_sides(side, max, previous, window);
	PopActiveSnapshot();
	for (int s = 0; all && s < 2 * PARTS; s++)
		n += side[s]->n;
	if (all)
	{
		w->rows = palloc0(sizeof(JnyInboxRaw) * (n + 1));
		for (int s = 0; s < 2 * PARTS; s++)
			for (int i = 0; i < side[s]->n; i++)
			{
				const JnyRow *row = &side[s]->row[i];

				if (jny_snap_sees(window, DatumGetUInt64(row->values[C_XACT])))
					decode(&w->rows[w->nrows++], row->values, row->nulls, s / 2 == PART_COPY ? PLACE_COPY : 0);
			}
		qsort(w->rows, w->nrows, sizeof(JnyInboxRaw), by_seq);
		w->last = true;
	}
	MemoryContextSwitchTo(old);
	return all;
}

/* ---- the list of places --------------------------------------------------- */

static void
forget_places(void)
{
	if (places.cxt != NULL)
		MemoryContextReset(places.cxt);
	places.snapshot = NULL;
	places.place = NULL;
	places.n = places.next = 0;
}

static void
learn_places(const char *snapshot, Datum *args)
{
	args[5] = Int32GetDatum(MAX_PLACES);
	jny_run_latest(&read_places, args, NULL);
	forget_places();
	if (places.cxt == NULL)
		places.cxt = AllocSetContextCreate(TopMemoryContext, "journey window", ALLOCSET_DEFAULT_SIZES);
	places.place = MemoryContextAlloc(places.cxt, sizeof(Place) * (SPI_processed + 1));
	places.n = (int) SPI_processed;
	for (int i = 0; i < places.n; i++)
	{
		bool		isnull;
		Place	   *p = &places.place[i];

		p->seq = jny_get_int8(i, 1, 0);
		p->table = (uint8) jny_get_int8(i, 2, 0);
		p->tid = *(ItemPointer) DatumGetPointer(jny_get(i, 3, &isnull));
		p->xact = DatumGetUInt64(jny_get(i, 4, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
	places.snapshot = MemoryContextStrdup(places.cxt, snapshot);
}

/* The list fits when it is of this window and reaches beyond what was applied. */
static bool
find_places(const struct JnyWindow *w)
{
	if (places.snapshot == NULL || strcmp(places.snapshot, w->snapshot) != 0)
		return false;
	/* a lap that was rolled back comes again */
	while (places.next > 0 && places.place[places.next - 1].seq > w->window_seq)
		places.next--;
	while (places.next < places.n && places.place[places.next].seq <= w->window_seq)
		places.next++;
	return places.next < places.n;
}

/*
 * How many of the next rows make a lap of max: an order and its lines should
 * be taken together, when their transaction ends soon.
 */
static int
stretch(int max)
{
	int			left = places.n - places.next;
	int			most = (int) Min((int64) max * MAX_STRETCH, left);
	const Place *p = &places.place[places.next];
	int			n = max;

	if (max <= 1 || left <= max)
		return Min(max, left);
	while (n < most && p[n].xact == p[n - 1].xact)
		n++;
	return n < left && p[n].xact == p[n - 1].xact ? max : n;
}

/* Are the n rows read those of the next n places? */
static bool
are_in_place(uint64 n)
{
	if (SPI_processed != n)
		return false;
	for (uint64 i = 0; i < n; i++)
		if (jny_get_int8(i, C_SEQ + 1, 0) != places.place[places.next + i].seq)
			return false;
	return true;
}

/*
 * Reads up to max rows by place, or to the end of their transaction; the last
 * row of the list says whether there may be more. False, with nothing read:
 * the rows have moved.
 */
static bool
read_by_place(JnyBatch *batch, int max)
{
	int			n = stretch(max);
	Datum	   *tids[PLACE_COPY + 1];
	int			count[PLACE_COPY + 1] = {0};
	Datum		args[PLACE_COPY + 1];

	for (int t = 0; t <= PLACE_COPY; t++)
		tids[t] = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		Place	   *p = &places.place[places.next + i];

		tids[p->table][count[p->table]++] = PointerGetDatum(&p->tid);
	}
	for (int t = 0; t <= PLACE_COPY; t++)
		args[t] = PointerGetDatum(construct_array(tids[t], count[t], TIDOID, sizeof(ItemPointerData),
												  false, TYPALIGN_SHORT));
	jny_run_latest(&read_at, args, NULL);
	if (!are_in_place(n))
	{
		SPI_freetuptable(SPI_tuptable);
		return false;
	}
	decode_rows(batch, n);
	places.next += n;
	batch->window->last = places.next == places.n && places.n < MAX_PLACES;
	return true;
}

/* For a long window that this backend does not know yet, or needs more of. */
static void
read_anew(JnyBatch *batch, int max, Datum *args)
{
	learn_places(batch->window->snapshot, args);
	if (places.n == 0)
		batch->window->last = true;
	/* our lock on the tables is held since they were listed: now they cannot have moved */
	else if (!read_by_place(batch, max))
		elog(ERROR, "inbox rows of an open window have gone");
}

static uint64
xact_of(uint64 row)
{
	bool		isnull;

	return DatumGetUInt64(jny_get(row, C_XACT + 1, &isnull));
}

static void
read_window(JnyBatch *batch, int max)
{
	struct JnyWindow *w = batch->window;
	JnySnap		previous = jny_snap_parse(w->previous);
	JnySnap		window = jny_snap_parse(w->snapshot);
	uint64	   *ended;
	int			nended;
	Datum		args[6];

	if (find_places(w) && read_by_place(batch, max))
		return;
	if (w->window_seq == 0 && max > 0 && read_short(batch, Min(max, SHORT_WINDOW), &previous, &window))
		return;
	nended = jny_snap_ended(&previous, &window, &ended);
	args[0] = jny_snap_datum(w->previous);
	args[1] = jny_snap_datum(w->snapshot);
	args[2] = UInt64GetDatum(previous.xmax);
	args[3] = PointerGetDatum(construct_array((Datum *) ended, nended, XID8OID, sizeof(uint64), FLOAT8PASSBYVAL,
											  TYPALIGN_DOUBLE));
	args[4] = Int64GetDatum(w->window_seq);
	if (w->window_seq > 0)
	{
		read_anew(batch, max, args);
		return;
	}
	args[5] = Int32GetDatum(max + 1);
	w->last = jny_run_latest(&read_rows, args, NULL) <= (uint64) max;
	if (!w->last && max > 1 && xact_of(max) == xact_of(max - 1))
	{
		/* the lap would end inside a transaction */
		read_anew(batch, max, args);
		return;
	}
	decode_rows(batch, (int) Min(SPI_processed, (uint64) max));
}

/* The cursor's row, locked; what another consumer has locked is left to it. */
static JnyRows *
lock_the_cursor(void)
{
	JnyCols    *one = jny_cols_of(&lock_cursor);

	jny_cols_set(one, 0, BoolGetDatum(true));
	jny_cols_next(one);
	return jny_lookup_locked(&lock_cursor, one, true, 1, NULL, NULL);
}

static char *
snapshot_of(const JnyRow *row, int col)
{
	return row->nulls[col] ? NULL : jny_snap_text(row->values[col]);
}

/* Its snapshot is taken after the lock: one from before it could be older than the last window. */
static void
freeze_window(struct JnyWindow *w)
{
	jny_types_note();
	PushActiveSnapshot(GetLatestSnapshot());
	w->snapshot = without_us(jny_snap_active());
	w->opened_at = GetCurrentTimestamp();
	w->window_seq = 0;
	PopActiveSnapshot();
}

bool
jny_window_open(JnyBatch *batch, int max)
{
	MemoryContext old = MemoryContextSwitchTo(batch->cxt);
	JnyRows    *cursor = lock_the_cursor();
	const JnyRow *row = cursor->row;
	struct JnyWindow *w;
	const char *why;

	if (cursor->n == 0)
	{
		MemoryContextSwitchTo(old);
		return false;
	}
	jny_lap_begins();
	jny_node_read(&batch->node);	/* the clock, and what has been said of the mode meanwhile */
	w = batch->window = palloc0(sizeof(struct JnyWindow));
	w->previous = snapshot_of(row, 1);
	w->snapshot = snapshot_of(row, 2);
	w->window_seq = jny_row_int(cursor, 0, 3, 0);
	w->applied_seq = jny_row_int(cursor, 0, 4, 0);
	batch->lap = jny_row_int(cursor, 0, 5, 0) + 1;
	batch->last_seq = batch->earlier_seq = w->applied_seq;
	w->opened_at = jny_row_time(row, 6);
	w->moved_at = jny_row_time(row, 7);
	why = foreign(batch, (int) jny_row_int(cursor, 0, 0, 0), w);
	if (why == NULL && w->snapshot == NULL)
		freeze_window(w);
	MemoryContextSwitchTo(old);
	if (why != NULL)
		return refuse(batch, why);
	read_window(batch, max);
	batch->more = !w->last;
	batch->taken = w->nrows;
	if (w->nrows > 0)
		batch->last_seq = Max(batch->last_seq, w->rows[w->nrows - 1].seq);
	return true;
}

/* ---- moving on ------------------------------------------------------------ */

/* The window is done: what it sees is behind us. */
static void
close_window(JnyBatch *batch, JnyCols *cursor)
{
	struct JnyWindow *w = batch->window;

	jny_cols_set(cursor, 1, jny_snap_datum(w->snapshot));
	jny_cols_set(cursor, 2, TimestampTzGetDatum(w->opened_at));
	jny_cols_set(cursor, 5, Int64GetDatum(0));
}

/* It goes on with the next lap. */
static void
keep_window(JnyBatch *batch, JnyCols *cursor)
{
	struct JnyWindow *w = batch->window;

	jny_cols_set(cursor, 1, jny_snap_datum(w->previous));
	jny_cols_set(cursor, 2, TimestampTzGetDatum(w->moved_at));
	jny_cols_set(cursor, 3, jny_snap_datum(w->snapshot));
	jny_cols_set(cursor, 4, TimestampTzGetDatum(w->opened_at));
	jny_cols_set(cursor, 5, Int64GetDatum(w->nrows > 0 ? w->rows[w->nrows - 1].seq : w->window_seq));
}

void
jny_window_finish(JnyBatch *batch)
{
	struct JnyWindow *w = batch->window;
	JnyCols    *cursor;

	if (w->refused)
		return;
	cursor = jny_cols_of(&move_cursor);
	jny_cols_set(cursor, 0, BoolGetDatum(true));
	jny_cols_set(cursor, 6, Int64GetDatum(batch->last_seq));
	jny_cols_set(cursor, 7, Int64GetDatum(batch->lap));
	if (w->last)
		close_window(batch, cursor);
	else
		keep_window(batch, cursor);
	jny_cols_next(cursor);
	if (jny_write(&move_cursor, cursor) != 1)
		elog(ERROR, "journey.cursor has no row");
	if (w->last)
	{
		jny_types_settle(w->snapshot);
		forget_places();
	}
}
