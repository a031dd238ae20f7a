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

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/itemptr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/xid8.h"

/* Places kept at most: 32 bytes each. */
#define MAX_PLACES 500000
/* A lap that would end between rows of one transaction takes up to this many times as many. */
#define MAX_STRETCH 4

JNY_PLAN(lock_cursor, "",
		 "SELECT c.incarnation, c.previous::pg_catalog.text, c.window_snapshot::pg_catalog.text,"
		 "       c.window_seq, c.applied_seq, c.lap, c.window_at"
		 " FROM journey.cursor c WHERE c.one FOR UPDATE SKIP LOCKED");
/* A statement of its own: a snapshot from before the lock could be older than the last window. */
JNY_PLAN(now_snapshot, "",
		 "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text, pg_catalog.clock_timestamp()");

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

JNY_PLAN(step_cursor, "pg_snapshot, timestamptz, bigint, bigint, bigint",
		 "UPDATE journey.cursor SET window_snapshot = $1, window_at = $2, window_seq = $3,"
		 " applied_seq = $4, lap = $5");
JNY_PLAN(close_window, "pg_snapshot, timestamptz, bigint, bigint",
		 "UPDATE journey.cursor SET previous = $1, moved_at = $2, applied_seq = $3, lap = $4,"
		 " window_snapshot = NULL, window_at = NULL, window_seq = 0");
JNY_PLAN(report_foreign, "text",
		 "SELECT journey._incident('foreign_cursor', 'cursor', 'error',"
		 " 'the inbox cursor belongs to another cluster or database: ' OPERATOR(pg_catalog.||) $1,"
		 " 'Run journey.adopt(): it gives the cursor a fresh start and reconciles.', '{}')");

enum
{
	C_SEQ = 1, C_XACT, C_RECEIVED_AT, C_OP, C_SOURCE, C_TYPE, C_OCCURRED_AT, C_MESSAGE_ID, C_SUBJECT,
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

/* ---- snapshots as text: xmin:xmax:xip,xip ------------------------------- */

typedef struct ParsedSnapshot
{
	uint64		xmin;
	uint64		xmax;
	int			nxip;
	uint64	   *xip;
} ParsedSnapshot;

static ParsedSnapshot
parse_snapshot(const char *text)
{
	ParsedSnapshot s;
	char	   *p;

	s.xmin = strtou64(text, &p, 10);
	s.xmax = strtou64(p + 1, &p, 10);
	s.nxip = 0;
	s.xip = palloc(sizeof(uint64) * (strlen(text) / 2 + 2));
	for (p++; *p != '\0'; p += (*p == ','))
		s.xip[s.nxip++] = strtou64(p, &p, 10);
	return s;
}

static bool
is_running_in(const ParsedSnapshot *s, uint64 xid)
{
	if (xid >= s->xmax)
		return true;
	for (int i = 0; i < s->nxip; i++)
		if (s->xip[i] == xid)
			return true;
	return false;
}

/*
 * A snapshot counts its own transaction as visible. What this lap appends is
 * for a later one, so our id is put among the running ones.
 */
static char *
without_us(const char *text)
{
	uint64		own = U64FromFullTransactionId(GetTopFullTransactionId());
	ParsedSnapshot s = parse_snapshot(text);
	StringInfoData out;
	bool		put = is_running_in(&s, own);

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

static Datum
snapshot_datum(const char *text)
{
	return DirectFunctionCall1(pg_snapshot_in, CStringGetDatum(text));
}

/* Transactions that ran in the previous snapshot and have ended in the window. */
static Datum
ended_since(const ParsedSnapshot *previous, const ParsedSnapshot *window)
{
	Datum	   *xids = palloc(sizeof(Datum) * (previous->nxip + 1));
	int			n = 0;

	for (int i = 0; i < previous->nxip; i++)
		if (!is_running_in(window, previous->xip[i]))
			xids[n++] = UInt64GetDatum(previous->xip[i]);
	return PointerGetDatum(construct_array(xids, n, XID8OID, sizeof(uint64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
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
	if (parse_snapshot(w->previous).xmax > next ||
		(w->snapshot != NULL && parse_snapshot(w->snapshot).xmax > next))
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

static TimestampTz
get_time(uint64 row, int col)
{
	bool		isnull;
	Datum		d = jny_get(row, col, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(d);
}

static char *
copy_text(MemoryContext cxt, uint64 row, int col)
{
	char	   *s = jny_get_text(row, col);

	return s ? MemoryContextStrdup(cxt, s) : NULL;
}

/* ---- decoding ------------------------------------------------------------- */

static void *
get_varlena(uint64 row, int col)
{
	bool		isnull;
	Datum		d = jny_get(row, col, &isnull);

	return isnull ? NULL : (void *) PG_DETOAST_DATUM_COPY(d);
}

static char
get_char(uint64 row, int col)
{
	bool		isnull;
	Datum		d = jny_get(row, col, &isnull);

	return isnull ? '\0' : DatumGetChar(d);
}

static void
decode(JnyInboxRaw *raw, uint64 row)
{
	bool		isnull;
	ArrayType  *keys;

	raw->seq = jny_get_int8(row, C_SEQ, 0);
	raw->xact = FullTransactionIdFromU64(DatumGetUInt64(jny_get(row, C_XACT, &isnull)));
	raw->received_at = get_time(row, C_RECEIVED_AT);
	raw->op = get_char(row, C_OP);
	raw->copied = jny_get_int8(row, C_PLACE, 0) == PLACE_COPY;
	raw->source = jny_get_text(row, C_SOURCE);
	raw->type = jny_get_text(row, C_TYPE);
	raw->occurred_at = get_time(row, C_OCCURRED_AT);
	raw->message_id = jny_get_text(row, C_MESSAGE_ID);
	raw->subject = get_varlena(row, C_SUBJECT);
	raw->props = get_varlena(row, C_PROPS);
	raw->attachment = (int) jny_get_int8(row, C_ATTACHMENT, 0);
	raw->cols = get_varlena(row, C_COLS);
	raw->fence = get_char(row, C_FENCE);
	raw->ref = jny_get_text(row, C_REF);
	raw->scope = jny_get_text(row, C_SCOPE);
	keys = get_varlena(row, C_KEYS);
	if (keys != NULL && ARR_NDIM(keys) == 1 && !ARR_HASNULL(keys))
	{
		raw->nkeys = ARR_DIMS(keys)[0];
		raw->keys = (int64 *) ((char *) keys + ARR_OVERHEAD_NONULLS(1));
	}
}

static void
decode_rows(JnyBatch *batch, int n)
{
	struct JnyWindow *w = batch->window;
	MemoryContext old = MemoryContextSwitchTo(batch->cxt);

	w->nrows = n;
	w->rows = palloc0(sizeof(JnyInboxRaw) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		decode(&w->rows[i], i);
	}
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
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
		if (jny_get_int8(i, C_SEQ, 0) != places.place[places.next + i].seq)
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

	return DatumGetUInt64(jny_get(row, C_XACT, &isnull));
}

static void
read_window(JnyBatch *batch, int max)
{
	struct JnyWindow *w = batch->window;
	ParsedSnapshot previous = parse_snapshot(w->previous);
	ParsedSnapshot window = parse_snapshot(w->snapshot);
	Datum		args[6];

	if (find_places(w) && read_by_place(batch, max))
		return;
	args[0] = snapshot_datum(w->previous);
	args[1] = snapshot_datum(w->snapshot);
	args[2] = UInt64GetDatum(previous.xmax);
	args[3] = ended_since(&previous, &window);
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

bool
jny_window_open(JnyBatch *batch, int max)
{
	struct JnyWindow *w;
	MemoryContext old;
	const char *why;

	if (jny_run(&lock_cursor, NULL, NULL) == 0)
		return false;
	old = MemoryContextSwitchTo(batch->cxt);
	w = batch->window = palloc0(sizeof(struct JnyWindow));
	MemoryContextSwitchTo(old);
	w->previous = copy_text(batch->cxt, 0, 2);
	w->snapshot = copy_text(batch->cxt, 0, 3);
	w->window_seq = jny_get_int8(0, 4, 0);
	w->applied_seq = jny_get_int8(0, 5, 0);
	batch->lap = jny_get_int8(0, 6, 0) + 1;
	batch->last_seq = w->applied_seq;
	w->opened_at = get_time(0, 7);
	why = foreign(batch, (int) jny_get_int8(0, 1, 0), w);
	if (why != NULL)
		return refuse(batch, why);
	if (w->snapshot == NULL)
	{
		jny_types_note();
		jny_run(&now_snapshot, NULL, NULL);
		w->snapshot = MemoryContextStrdup(batch->cxt, without_us(jny_get_text(0, 1)));
		w->opened_at = get_time(0, 2);
		w->window_seq = 0;
	}
	read_window(batch, max);
	batch->more = !w->last;
	batch->taken = w->nrows;
	if (w->nrows > 0)
		batch->last_seq = Max(batch->last_seq, w->rows[w->nrows - 1].seq);
	return true;
}

/* ---- moving on ------------------------------------------------------------ */

void
jny_window_finish(JnyBatch *batch)
{
	struct JnyWindow *w = batch->window;
	Datum		args[5];

	if (w->refused)
		return;
	args[0] = snapshot_datum(w->snapshot);
	args[1] = TimestampTzGetDatum(w->opened_at);
	if (w->last)
	{
		args[2] = Int64GetDatum(batch->last_seq);
		args[3] = Int64GetDatum(batch->lap);
		jny_run(&close_window, args, NULL);
		jny_types_settle(w->snapshot);
		forget_places();
		return;
	}
	args[2] = Int64GetDatum(w->nrows > 0 ? w->rows[w->nrows - 1].seq : w->window_seq);
	args[3] = Int64GetDatum(batch->last_seq);
	args[4] = Int64GetDatum(batch->lap);
	jny_run(&step_cursor, args, NULL);
}
