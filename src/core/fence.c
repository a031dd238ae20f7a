/*
 * fence.c
 *		The fences that stand in the inbox, as a permit sees them.
 *
 * Called by claim and begin_send, after their row locks, and by readers that
 * answer at once; inside SPI_connect() and as journey_owner. One statement
 * reads the cursor and all generations with one new snapshot, so it does not
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
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#ifdef JOURNEY_BUG_ORDER_BY_XID
/* who began last is taken for who came last */
#define CAPTURE_ORDER "i.xact::pg_catalog.text::pg_catalog.int8"
#else
#define CAPTURE_ORDER "i.seq"
#endif

#define UNCONSUMED(generation, bounds) \
	" SELECT " CAPTURE_ORDER " AS seq, i.fence, i.type, i.ref, i.scope, i.keys, i.props" \
	" FROM journey.inbox_" generation " i" \
	" WHERE i.fence IS NOT NULL AND " bounds \
	"   AND NOT (i.seq <= c.walked_seq AND pg_catalog.pg_visible_in_snapshot(i.xact, c.walked))"
#define BEGUN_SINCE "i.xact >= c.xmax"
#define ENDED_SINCE "i.xact = ANY (c.ended)"
#define BOTH_SIDES(generation) \
	UNCONSUMED(generation, BEGUN_SINCE) " UNION ALL" UNCONSUMED(generation, ENDED_SINCE)

/*
 * The cursor, and what it makes of each side. Before adopt() there is no
 * snapshot: everything counts as unconsumed.
 */
#define CURSOR \
	"WITH c AS MATERIALIZED (" \
	"  SELECT u.lap, u.applied_seq, u.moved_at, u.window_snapshot," \
	"         COALESCE(pg_catalog.pg_snapshot_xmax(u.previous), xid8 '1') AS xmax," \
	"         ARRAY(SELECT x.xid FROM pg_catalog.pg_snapshot_xip(u.previous) AS x(xid)" \
	"               WHERE pg_catalog.pg_visible_in_snapshot(x.xid, pg_catalog.pg_current_snapshot())) AS ended," \
	"         COALESCE(u.window_snapshot, pg_snapshot '1:1:') AS walked, u.window_seq AS walked_seq" \
	"  FROM journey.cursor u WHERE u.one)"

/* The cursor's row comes always, with nulls for a fence when none stands. */
JNY_PLAN(read_fences, "integer",
		 CURSOR
		 " SELECT c.lap, c.applied_seq, pg_catalog.pg_current_snapshot()::pg_catalog.text,"
		 "        c.moved_at, c.window_snapshot IS NOT NULL,"
		 "        f.seq, f.fence, f.type, f.ref, f.scope, f.keys,"
		 "        CASE WHEN f.type IN ('unsubscribed', 'message_complained') OR f.type LIKE 'consent%' THEN f.props END,"
		 "        EXISTS (SELECT FROM journey.attachment a WHERE a.broken IS NOT NULL AND a.detached_at IS NULL"
		 "                AND a.kind NOT IN ('product', 'stock'))"
		 " FROM c LEFT JOIN LATERAL (SELECT * FROM ("
		 BOTH_SIDES("0") " UNION ALL" BOTH_SIDES("1") " UNION ALL" BOTH_SIDES("2")
		 "  LIMIT $1) AS u) AS f ON true ORDER BY f.seq");

#define FIRST(table, bounds) \
	" (SELECT i.received_at FROM journey." table " i WHERE " bounds " ORDER BY i.xact LIMIT 1)"
#define FIRST_BOTH(table, which) FIRST(table, which BEGUN_SINCE) " UNION ALL" FIRST(table, which ENDED_SINCE)
#define FIRST_OF(generation) \
	FIRST_BOTH(generation, "i.fence IS NULL AND ") " UNION ALL" FIRST_BOTH(generation, "i.fence IS NOT NULL AND ")

/* The longest waiting row of all, fenced or not: the first of each side by transaction. */
JNY_PLAN(oldest_row, "",
		 CURSOR
		 " SELECT pg_catalog.min(o.received_at) FROM c, LATERAL ("
		 FIRST_OF("inbox_0") " UNION ALL" FIRST_OF("inbox_1") " UNION ALL"
		 FIRST_OF("inbox_2") " UNION ALL" FIRST_BOTH("inbox_copy", "") ") AS o(received_at)");

enum
{
	F_LAP = 1, F_APPLIED, F_SNAPSHOT, F_MOVED_AT, F_WINDOW, F_SEQ, F_FENCE, F_TYPE, F_REF,
	F_SCOPE, F_KEYS, F_PROPS, F_BROKEN
};

/* ---- reading ------------------------------------------------------------ */

static void
read_keys(JnyFence *fence, uint64 row)
{
	bool		isnull;
	Datum		d = jny_get(row, F_KEYS, &isnull);
	ArrayType  *keys;

	if (isnull)
		return;
	keys = DatumGetArrayTypeP(d);
	if (ARR_NDIM(keys) != 1 || ARR_HASNULL(keys))
		return;
	fence->nkeys = ARR_DIMS(keys)[0];
	fence->keys = (int64 *) ((char *) keys + ARR_OVERHEAD_NONULLS(1));
}

static void
read_props(JnyFence *fence, uint64 row)
{
	bool		isnull;
	Datum		d = jny_get(row, F_PROPS, &isnull);
	Jsonb	   *props = isnull ? NULL : DatumGetJsonbP(d);

	if (props == NULL)
		return;
	fence->channel = jny_json_text(props, "channel");
	fence->purpose = jny_json_text(props, "purpose");
	fence->action = jny_json_text(props, "action_id");
	if (fence->action == NULL)
		fence->action = jny_json_text(props, "idempotency_key");
	fence->provider_ref = jny_json_text(props, "provider_ref");
}

static void
read_fence(JnyFence *fence, uint64 row)
{
	bool		isnull;

	memset(fence, 0, sizeof(*fence));
	fence->seq = jny_get_int8(row, F_SEQ, 0);
	fence->fence = DatumGetChar(jny_get(row, F_FENCE, &isnull));
	fence->type = jny_get_text(row, F_TYPE);
	fence->ref = jny_get_text(row, F_REF);
	fence->scope = jny_get_text(row, F_SCOPE);
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

/*
 * Everything that had committed when the last finished window was frozen has
 * been consumed, so a recent one settles it. Otherwise either the window is
 * long, or nothing has happened since: then the oldest row tells.
 */
static bool
is_lagging(TimestampTz moved_at, bool window_open)
{
	TimestampTz limit = GetCurrentTimestamp() - (TimestampTz) jny_max_permit_lag_ms * 1000;
	bool		isnull;
	Datum		oldest;

	if (moved_at >= limit)
		return false;
	if (window_open)
		return true;
	jny_run_latest(&oldest_row, NULL, NULL);
	oldest = jny_get(0, 1, &isnull);
	return !isnull && DatumGetTimestampTz(oldest) < limit;
}

JnyFences *
jny_fences_read(void)
{
	JnyFences  *all = palloc0(sizeof(JnyFences));
	Datum		limit = Int32GetDatum(jny_max_fences + 1);
	TimestampTz moved_at;
	bool		isnull;

	if (IsolationIsSerializable())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("the inbox cannot be read at isolation level SERIALIZABLE"),
				 errdetail("Reading it so would make transactions of the shop fail with serialization errors."),
				 errhint("Call this in a transaction at READ COMMITTED.")));
	if (jny_run_latest(&read_fences, &limit, NULL) == 0)
		elog(ERROR, "journey.cursor has no row");
	all->lap = jny_get_int8(0, F_LAP, 0);
	all->applied_seq = jny_get_int8(0, F_APPLIED, 0);
	all->snapshot = jny_get_text(0, F_SNAPSHOT);
	moved_at = DatumGetTimestampTz(jny_get(0, F_MOVED_AT, &isnull));
	/* what a wildcard left behind when it was consumed; in the same snapshot as the cursor */
	all->broken = jny_get_int8(0, F_BROKEN, 0) != 0;
	all->fence = palloc(sizeof(JnyFence) * SPI_processed);
	(void) jny_get(0, F_SEQ, &isnull);
	if (!isnull)
	{
		all->n = (int) SPI_processed;
		all->overflow = all->n > jny_max_fences;
		for (int i = 0; i < all->n; i++)
			read_fence(&all->fence[i], i);
	}
	apply_releases(all);
	all->lagging = is_lagging(moved_at, jny_get_int8(0, F_WINDOW, 0) != 0);
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
	SPI_connect();
	fences = jny_fences_read();
	if (fences->overflow)
		ereport(WARNING,
				(errmsg("more than journey.max_fences (%d) events stand unconsumed", jny_max_fences),
				 errhint("Permits answer stale_data until the worker has caught up.")));
	for (int i = 0; i < fences->n; i++)
		put_fence(rsinfo, &fences->fence[i]);
	SPI_finish();
	return (Datum) 0;
}
