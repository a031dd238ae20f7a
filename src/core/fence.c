/*
 * fence.c
 *		The fences that stand in the inbox, as a permit sees them.
 *
 * Called by claim and begin_send, after their row locks, and by readers that
 * answer at once; as journey_owner. The cursor and all generations are read
 * with one new snapshot, so it does not
 * matter which generation is current or being emptied. AccessShareLock only.
 * The result is palloc'd in the caller's context.
 *
 * A row is unconsumed when the cursor's snapshot does not see it, and it is
 * not among the rows of the open window that have been applied. Both sides of
 * that are index conditions: the transactions begun after the snapshot, and
 * those that were running then and have ended since.
 */
#include "core/inbox.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "core/snap.h"
#include "core/table.h"

#define FENCE_COLUMNS "seq, xact, fence, type, ref, scope, keys, props"
#define STANDS "t.fence IS NOT NULL"
#define PASSES "t.fence IS NULL"

JNY_LOOKUP(read_cursor, "cursor", "cursor_pkey", "one",
		   "lap, applied_seq, moved_at, previous, window_snapshot, window_seq", NULL);
JNY_LOOKUP(read_attachments, "attachment", "attachment_live", "", "kind, broken", "t.detached_at IS NULL");

/* Per generation: the transactions begun since the cursor's snapshot, and those that ran in it and have ended. */
#define BEGUN_SINCE(n) {JNY_DO_LOOKUP, "inbox_" n, "inbox_" n "_fence", "xact >=", FENCE_COLUMNS, STANDS, NULL}
#define ENDED_SINCE(n) {JNY_DO_LOOKUP, "inbox_" n, "inbox_" n "_fence", "xact", FENCE_COLUMNS, STANDS, NULL}
static JnyAccess fences_begun[JNY_GENERATIONS] = {BEGUN_SINCE("0"), BEGUN_SINCE("1"), BEGUN_SINCE("2")};
static JnyAccess fences_ended[JNY_GENERATIONS] = {ENDED_SINCE("0"), ENDED_SINCE("1"), ENDED_SINCE("2")};

/* And all rows, fenced or not, of which the first tells how long the oldest has waited. */
#define ROWS(name, index, key, where) {JNY_DO_LOOKUP, name, name index, key, "received_at", where, NULL}
#define ALL_ROWS(key) \
	ROWS("inbox_0", "_xact", key, PASSES), ROWS("inbox_0", "_fence", key, STANDS), \
	ROWS("inbox_1", "_xact", key, PASSES), ROWS("inbox_1", "_fence", key, STANDS), \
	ROWS("inbox_2", "_xact", key, PASSES), ROWS("inbox_2", "_fence", key, STANDS), \
	ROWS("inbox_copy", "_xact", key, NULL)
static JnyAccess rows_begun[] = {ALL_ROWS("xact >=")};
static JnyAccess rows_ended[] = {ALL_ROWS("xact")};

/* The cursor, as one snapshot shows it, and what it makes of each side. */
typedef struct Cursor
{
	int64		lap;
	int64		applied_seq;
	TimestampTz moved_at;
	bool		window_open;
	JnySnap		walked;			/* of the open window: consumed up to walked_seq */
	int64		walked_seq;
	uint64		xmax;
	int			nended;
	uint64	   *ended;
} Cursor;

enum
{
	F_SEQ, F_XACT, F_FENCE, F_TYPE, F_REF, F_SCOPE, F_KEYS, F_PROPS
};

/* ---- reading ------------------------------------------------------------ */

static void
read_keys(JnyFence *fence, const JnyRow *row)
{
	ArrayType  *keys;

	if (row->nulls[F_KEYS])
		return;
	keys = DatumGetArrayTypeP(row->values[F_KEYS]);
	if (ARR_NDIM(keys) != 1 || ARR_HASNULL(keys))
		return;
	fence->nkeys = ARR_DIMS(keys)[0];
	fence->keys = (int64 *) ((char *) keys + ARR_OVERHEAD_NONULLS(1));
}

/* Only opt-outs and complaints say more than their type. */
static void
read_props(JnyFence *fence, const JnyRow *row)
{
	Jsonb	   *props;

	if (row->nulls[F_PROPS] || fence->type == NULL || !jny_type_is_opt_out(fence->type))
		return;
	props = DatumGetJsonbP(row->values[F_PROPS]);
	fence->channel = jny_json_text(props, "channel");
	fence->purpose = jny_json_text(props, "purpose");
	fence->action = jny_json_text(props, "action_id");
	if (fence->action == NULL)
		fence->action = jny_json_text(props, "idempotency_key");
	fence->provider_ref = jny_json_text(props, "provider_ref");
}

static void
read_fence(JnyFence *fence, const JnyRow *row)
{
	memset(fence, 0, sizeof(*fence));
#ifdef JOURNEY_BUG_ORDER_BY_XID
	/* who began last is taken for who came last */
	fence->seq = DatumGetInt64(row->values[F_XACT]);
#else
	fence->seq = DatumGetInt64(row->values[F_SEQ]);
#endif
	fence->fence = DatumGetChar(row->values[F_FENCE]);
	fence->type = jny_row_text(row, F_TYPE);
	fence->ref = jny_row_text(row, F_REF);
	fence->scope = jny_row_text(row, F_SCOPE);
	if (fence->scope == NULL)
		fence->scope = JNY_DEFAULT_SCOPE;
	read_props(fence, row);
	read_keys(fence, row);
}

/* What a release takes back: a cancelled order, the placing of that order. */
static const char *
released_type(const JnyFence *fence)
{
	if (fence->ref == NULL || fence->type == NULL)
		return NULL;
	if (strcmp(fence->type, "order_cancelled") == 0)
		return "order_placed";
	return fence->fence == JNY_FENCE_RELEASE ? fence->type : NULL;
}

typedef struct Release
{
	const char *type;
	const char *ref;
	const char *scope;
	int64		seq;
} Release;

static int
compare_release(const void *a, const void *b)
{
	const Release *x = a;
	const Release *y = b;
	int			c = strcmp(x->ref, y->ref);

	if (c == 0)
		c = strcmp(x->type, y->type);
	return c != 0 ? c : strcmp(x->scope, y->scope);
}

/* Fences come by seq, so of equal releases the last one stays. */
static int
collect_releases(const JnyFences *all, Release *releases)
{
	int			n = 0;
	int			kept = 0;

	for (int i = 0; i < all->n; i++)
	{
		const JnyFence *f = &all->fence[i];
		const char *type = released_type(f);

		if (type != NULL)
			releases[n++] = (Release) {type, f->ref, f->scope, f->seq};
	}
	qsort(releases, n, sizeof(Release), compare_release);
	for (int i = 0; i < n; i++)
	{
		if (kept > 0 && compare_release(&releases[kept - 1], &releases[i]) == 0)
			releases[kept - 1].seq = Max(releases[kept - 1].seq, releases[i].seq);
		else
			releases[kept++] = releases[i];
	}
	return kept;
}

/*
 * Drops what has been released since. A released fence, and the release
 * itself, still say that their keys are one person's.
 */
static void
apply_releases(JnyFences *all)
{
	Release    *releases = palloc(sizeof(Release) * (all->n + 1));
	int			n = collect_releases(all, releases);
	int			kept = 0;

	for (int i = 0; i < all->n; i++)
	{
		JnyFence	f = all->fence[i];

		if (n > 0 && f.fence == JNY_FENCE_EVENT && f.ref != NULL && f.type != NULL)
		{
			Release		wanted = {f.type, f.ref, f.scope, 0};
			Release    *r = bsearch(&wanted, releases, n, sizeof(Release), compare_release);

			if (r != NULL && r->seq > f.seq)
				f.fence = JNY_FENCE_LINK;
		}
		if (f.fence == JNY_FENCE_RELEASE)
			f.fence = JNY_FENCE_LINK;
		if (f.fence == JNY_FENCE_BROKEN)
			all->broken = true;
		if (f.fence != JNY_FENCE_LINK || f.nkeys > 1)
			all->fence[kept++] = f;
	}
	all->n = kept;
	pfree(releases);
}

static JnyCols *
one_key(JnyAccess *access, Datum value)
{
	JnyCols    *keys = jny_cols_of(access);

	jny_cols_set(keys, 0, value);
	jny_cols_next(keys);
	return keys;
}

/* Before adopt() there is no snapshot: everything counts as unconsumed. */
static void
look_at_cursor(Cursor *c, Snapshot snapshot)
{
	JnyRows    *rows = jny_lookup_at(&read_cursor, one_key(&read_cursor, BoolGetDatum(true)), snapshot, 1);
	const JnyRow *row = rows->row;
	JnySnap		now = jny_snap_parse(jny_snap_active());

	if (rows->n == 0)
		elog(ERROR, "journey.cursor has no row");
	memset(c, 0, sizeof(*c));
	c->lap = jny_row_int(rows, 0, 0, 0);
	c->applied_seq = jny_row_int(rows, 0, 1, 0);
	c->moved_at = jny_row_time(row, 2);
	c->xmax = 1;
	if (!row->nulls[3])
	{
		JnySnap		previous = jny_snap_parse(jny_snap_text(row->values[3]));

		c->xmax = previous.xmax;
		c->nended = jny_snap_ended(&previous, &now, &c->ended);
	}
	c->window_open = !row->nulls[4];
	if (c->window_open)
	{
		c->walked = jny_snap_parse(jny_snap_text(row->values[4]));
		c->walked_seq = jny_row_int(rows, 0, 5, 0);
	}
}

/* The rows of one side in all tables, at most limit of each table. */
static void
look_at_side(const Cursor *c, JnyAccess *begun, JnyAccess *ended, Snapshot snapshot, int limit, List **found)
{
	JnyCols    *keys = jny_cols_of(ended);

	*found = lappend(*found, jny_lookup_at(begun, one_key(begun, UInt64GetDatum(c->xmax)), snapshot, limit));
	for (int i = 0; i < c->nended; i++)
	{
		jny_cols_set(keys, 0, UInt64GetDatum(c->ended[i]));
		jny_cols_next(keys);
	}
	*found = lappend(*found, jny_lookup_at(ended, keys, snapshot, limit));
}

static int
by_seq(const void *a, const void *b)
{
	const JnyFence *x = a;
	const JnyFence *y = b;

	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void
look_at_fences(JnyFences *all, const Cursor *c, Snapshot snapshot)
{
	List	   *found = NIL;
	ListCell   *lc;
	int			max = 0;

	for (int g = 0; g < JNY_GENERATIONS; g++)
		look_at_side(c, &fences_begun[g], &fences_ended[g], snapshot, jny_max_fences + 1, &found);
	foreach(lc, found)
		max += ((JnyRows *) lfirst(lc))->n;
	all->fence = palloc(sizeof(JnyFence) * (max + 1));
	foreach(lc, found)
	{
		JnyRows    *rows = lfirst(lc);

		for (int i = 0; i < rows->n; i++)
		{
			const JnyRow *row = &rows->row[i];

			if (c->window_open && DatumGetInt64(row->values[F_SEQ]) <= c->walked_seq &&
				jny_snap_sees(&c->walked, DatumGetUInt64(row->values[F_XACT])))
				continue;
			read_fence(&all->fence[all->n++], row);
		}
	}
	qsort(all->fence, all->n, sizeof(JnyFence), by_seq);
	all->overflow = all->n > jny_max_fences;
}

/* A wildcard goes with the cursor; what it warned of is noted at the attachment. */
static bool
has_broken(Snapshot snapshot)
{
	JnyCols    *all = jny_cols_of(&read_attachments);
	JnyRows    *rows;

	jny_cols_next(all);
	rows = jny_lookup_at(&read_attachments, all, snapshot, PG_INT32_MAX);
	for (int i = 0; i < rows->n; i++)
	{
		char	   *kind = jny_row_text(&rows->row[i], 0);

		if (!rows->row[i].nulls[1] && strcmp(kind, "product") != 0 && strcmp(kind, "stock") != 0)
			return true;
	}
	return false;
}

/*
 * Everything that had committed when the last finished window was frozen has
 * been consumed, so a recent one settles it. Otherwise either the window is
 * long, or nothing has happened since: then the oldest row tells.
 */
static bool
is_lagging(const Cursor *c, Snapshot snapshot)
{
	TimestampTz limit = GetCurrentTimestamp() - (TimestampTz) jny_max_permit_lag_ms * 1000;
	List	   *found = NIL;
	ListCell   *lc;

	if (c->moved_at >= limit)
		return false;
	if (c->window_open)
		return true;
	for (int t = 0; t < (int) lengthof(rows_begun); t++)
		look_at_side(c, &rows_begun[t], &rows_ended[t], snapshot, 1, &found);
	foreach(lc, found)
	{
		JnyRows    *rows = lfirst(lc);

		if (rows->n > 0 && jny_row_time(&rows->row[0], 0) < limit)
			return true;
	}
	return false;
}

JnyFences *
jny_fences_read(void)
{
	JnyFences  *all = palloc0(sizeof(JnyFences));
	Snapshot	snapshot;
	Cursor		cursor;

	if (IsolationIsSerializable())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("the inbox cannot be read at isolation level SERIALIZABLE"),
				 errdetail("Reading it so would make transactions of the shop fail with serialization errors."),
				 errhint("Call this in a transaction at READ COMMITTED.")));
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	snapshot = GetActiveSnapshot();
	look_at_cursor(&cursor, snapshot);
	all->lap = cursor.lap;
	all->applied_seq = cursor.applied_seq;
	all->snapshot = jny_snap_active();
	all->broken = has_broken(snapshot);
	look_at_fences(all, &cursor, snapshot);
	apply_releases(all);
	all->lagging = is_lagging(&cursor, snapshot);
	PopActiveSnapshot();
	return all;
}

/* ---- by key --------------------------------------------------------------- */

/* More keys than one person can have, or a chain that somebody built on purpose. */
#define MAX_CLOSURE 256

struct JnyFenceKey
{
	int64		key;
	int			fence;
};

static int
compare_key(const void *a, const void *b)
{
	const struct JnyFenceKey *x = a;
	const struct JnyFenceKey *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->fence - y->fence;
}

static void
index_keys(JnyFences *fences)
{
	int			n = 0;

	if (fences->by_key != NULL)
		return;
	for (int i = 0; i < fences->n; i++)
		n += fences->fence[i].nkeys;
	fences->by_key = palloc(sizeof(struct JnyFenceKey) * (n + 1));
	for (int i = 0; i < fences->n; i++)
		for (int k = 0; k < fences->fence[i].nkeys; k++)
			fences->by_key[fences->nby_key++] = (struct JnyFenceKey) {fences->fence[i].keys[k], i};
	qsort(fences->by_key, n, sizeof(struct JnyFenceKey), compare_key);
}

/* First entry of this key; its entries follow each other. */
static int
first_of_key(const JnyFences *fences, int64 key)
{
	int			low = 0;
	int			high = fences->nby_key;

	while (low < high)
	{
		int			mid = (low + high) / 2;

		if (fences->by_key[mid].key < key)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool
has_key(const int64 *keys, int nkeys, int64 key)
{
	for (int i = 0; i < nkeys; i++)
		if (keys[i] == key)
			return true;
	return false;
}

bool
jny_fences_close(JnyFences *fences, int64 **keys, int *nkeys)
{
	int64		closed[MAX_CLOSURE];
	int			n = *nkeys;

	if (n > MAX_CLOSURE)
		return false;
	index_keys(fences);
	memcpy(closed, *keys, n * sizeof(int64));
	for (int next = 0; next < n; next++)
	{
		for (int e = first_of_key(fences, closed[next]);
			 e < fences->nby_key && fences->by_key[e].key == closed[next]; e++)
		{
			const JnyFence *f = &fences->fence[fences->by_key[e].fence];

			for (int k = 0; k < f->nkeys; k++)
			{
				if (has_key(closed, n, f->keys[k]))
					continue;
				if (n == MAX_CLOSURE)
					return false;
				closed[n++] = f->keys[k];
			}
		}
	}
	if (n > *nkeys)
	{
		*keys = palloc(n * sizeof(int64));
		memcpy(*keys, closed, n * sizeof(int64));
		*nkeys = n;
	}
	return true;
}

List *
jny_fences_matching(JnyFences *fences, const int64 *keys, int nkeys)
{
	List	   *found = NIL;

	index_keys(fences);
	for (int i = 0; i < nkeys; i++)
	{
		for (int e = first_of_key(fences, keys[i]);
			 e < fences->nby_key && fences->by_key[e].key == keys[i]; e++)
		{
			JnyFence   *f = &fences->fence[fences->by_key[e].fence];

			if (f->fence == JNY_FENCE_EVENT)
				found = list_append_unique_ptr(found, f);
		}
	}
	return found;
}

/* ---- SQL: journey._fences() ------------------------------------------------ */

PG_FUNCTION_INFO_V1(journey_fences);

static void
put_fence(ReturnSetInfo *rsinfo, const JnyFence *f)
{
	Datum		values[7];
	bool		nulls[7] = {false};
	Datum	   *keys = palloc(sizeof(Datum) * (f->nkeys + 1));

	for (int i = 0; i < f->nkeys; i++)
		keys[i] = Int64GetDatum(f->keys[i]);
	values[0] = Int64GetDatum(f->seq);
	values[1] = CStringGetTextDatum(f->fence == JNY_FENCE_EVENT ? "event" :
									f->fence == JNY_FENCE_BROKEN ? "broken" : "link");
	values[2] = f->type ? CStringGetTextDatum(f->type) : (Datum) 0;
	nulls[2] = f->type == NULL;
	values[3] = f->ref ? CStringGetTextDatum(f->ref) : (Datum) 0;
	nulls[3] = f->ref == NULL;
	values[4] = CStringGetTextDatum(f->scope);
	values[5] = PointerGetDatum(construct_array(keys, f->nkeys, INT8OID, sizeof(int64),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[6] = f->channel ? CStringGetTextDatum(f->channel) : (Datum) 0;
	nulls[6] = f->channel == NULL;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

Datum
journey_fences(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	JnyFences  *fences;

	InitMaterializedSRF(fcinfo, 0);
	fences = jny_fences_read();
	if (fences->overflow)
		ereport(WARNING,
				(errmsg("more than journey.max_fences (%d) events stand unconsumed", jny_max_fences),
				 errhint("Permits answer stale_data until the worker has caught up.")));
	for (int i = 0; i < fences->n; i++)
		put_fence(rsinfo, &fences->fence[i]);
	return (Datum) 0;
}
