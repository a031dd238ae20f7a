/*
 * backfill.c
 *		The history of attached tables, read by laps, portion by portion.
 *
 * attach() notes a row per table, partition and heir in journey.backfill: how
 * many blocks it had while the trigger was made and nobody wrote. A partition
 * that comes with rows later is noted by attach_leaf.c, of no file: whoever
 * begins to read it counts its blocks. Rows that come
 * or move later fire the trigger (not those of heirs, which are attached each), so reading these blocks once, in order, misses
 * none: a row that leaves a block before it is read was captured as it left,
 * and one that moves behind the reader's back is told apart by stale.c.
 *
 * Called by lap.c after a lap that left nothing to do, inside SPI_connect() and
 * in a subtransaction of the lap's: progress is committed with the rows.
 * Permits wait for journey.backfill (node.c), so a row goes only when the
 * cursor has passed what was read last.
 *
 * Locks: ACCESS SHARE on the table, and rows of ours; it waits for none of
 * them, whoever holds one is left alone until later. Memory: one batch of rows.
 */
#include "observe/backfill.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/xid8.h"

#include "core/fault.h"
#include "core/table.h"

/* Of a portion, whose rows are limited, too (attach_read.c). */
#define MOST_BLOCKS 32
/* A part that failed, or is locked, is tried again after this long. */
#define RETRY_FAILED (60 * USECS_PER_SEC)
#define RETRY_LOCKED (1 * USECS_PER_SEC)

JNY_LOOKUP(any_part, "backfill", "backfill_pkey", "", "attachment", NULL);
JNY_PLAN(next_part, "timestamptz",
		 "SELECT b.attachment, b.part, b.file, b.again, b.blocks_total, b.blocks_done FROM journey.backfill b"
		 " WHERE b.blocks_done < b.blocks_total AND (b.retry_at IS NULL OR b.retry_at <= $1)"
		 " ORDER BY b.attachment, b.part LIMIT 1 FOR UPDATE SKIP LOCKED");
JNY_PLAN(note_progress, "integer, oid, bigint, bigint, xid8",
		 "UPDATE journey.backfill SET blocks_done = $3, rows_appended = rows_appended + $4, xact = $5,"
		 " problem = NULL, retry_at = NULL WHERE attachment = $1 AND part = $2");
JNY_PLAN(note_gone, "integer, oid",
		 "UPDATE journey.backfill SET blocks_total = blocks_done, problem = NULL, retry_at = NULL WHERE attachment = $1 AND part = $2");
JNY_PLAN(note_rewritten, "integer, oid, oid, bigint",
		 "UPDATE journey.backfill SET file = $3, blocks_total = $4, blocks_done = 0, again = true"
		 " WHERE attachment = $1 AND part = $2");
JNY_PLAN(note_problem, "integer, oid, text, timestamptz",
		 "UPDATE journey.backfill SET problem = $3, retry_at = $4 WHERE attachment = $1 AND part = $2");
/* Of an attachment that somebody detaches or attaches anew at this moment the row is locked. */
JNY_PLAN(finish_consumed, "timestamptz",
		 "WITH consumed AS (SELECT b.attachment, pg_catalog.bool_or(NOT b.later) AS history FROM journey.backfill b, journey.cursor c GROUP BY b.attachment"
		 "  HAVING pg_catalog.bool_and(b.blocks_done >= b.blocks_total"
		 "   AND (b.xact IS NULL OR pg_catalog.pg_visible_in_snapshot(b.xact, c.previous)))),"
		 " mine AS (SELECT a.attachment, c.history FROM journey.attachment a JOIN consumed c ON c.attachment = a.attachment"
		 "  FOR UPDATE OF a SKIP LOCKED),"
		 " gone AS (DELETE FROM journey.backfill b USING mine m WHERE b.attachment = m.attachment)"
		 " UPDATE journey.attachment a SET backfilled_at = $1 FROM mine m WHERE a.attachment = m.attachment"
		 "  AND (a.backfilled_at IS NOT NULL OR m.history)");

typedef struct Part
{
	int			attachment;
	Oid			relid;
	Oid			file;			/* whose blocks are counted */
	bool		again;
	int64		total;
	int64		done;
} Part;

/* What is being read, for whoever sees the error. */
static Part current;

bool
jny_history_waits(void)
{
	JnyCols    *any = jny_cols_of(&any_part);

	jny_cols_next(any);
	return jny_lookup_at(&any_part, any, NULL, 1)->n > 0;
}

static bool
pick(Part *part)
{
	Datum		now = TimestampTzGetDatum(GetCurrentTimestamp());
	bool		isnull;

	memset(part, 0, sizeof(*part));
	if (jny_run(&next_part, &now, NULL) == 0)
		return false;
	part->attachment = (int) jny_get_int8(0, 1, 0);
	part->relid = DatumGetObjectId(jny_get(0, 2, &isnull));
	part->file = DatumGetObjectId(jny_get(0, 3, &isnull));
	part->again = DatumGetBool(jny_get(0, 4, &isnull));
	part->total = jny_get_int8(0, 5, 0);
	part->done = jny_get_int8(0, 6, 0);
	return true;
}

/* Not now; problem is what health says, NULL = nothing worth a word. */
static void
set_aside(const Part *part, const char *problem, int64 usecs)
{
	Datum		values[4] = {
		Int32GetDatum(part->attachment), ObjectIdGetDatum(part->relid), (Datum) 0,
		TimestampTzGetDatum(GetCurrentTimestamp() + usecs)
	};
	bool		nulls[4] = {false, false, problem == NULL, false};

	if (problem != NULL)
		values[2] = CStringGetTextDatum(problem);
	jny_run(&note_problem, values, nulls);
}

/*
 * A partition that was dropped or detached has no rows of the table. One whose
 * trigger is gone still has; and those that a dropped one had are known to
 * nobody, until somebody says that they do not matter.
 */
static void
not_attached(const Part *part)
{
	Datum		key[2] = {Int32GetDatum(part->attachment), ObjectIdGetDatum(part->relid)};

	if (OidIsValid(jny_attached_root(part->attachment)))
		jny_run(&note_gone, key, NULL);
	else if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(part->relid)))
		set_aside(part, "the capture trigger is gone", RETRY_FAILED);
	else
		set_aside(part, "the table is gone", RETRY_FAILED);
}

static void
start_again(const Part *part, Oid file, BlockNumber blocks)
{
	Datum		values[4] = {
		Int32GetDatum(part->attachment), ObjectIdGetDatum(part->relid), ObjectIdGetDatum(file), Int64GetDatum((int64) blocks)
	};

	jny_run(&note_rewritten, values, NULL);
}

static int64
read_portion(const Part *part)
{
	BlockNumber to = (BlockNumber) Min(part->done + MOST_BLOCKS, part->total);
	int64		rows = jny_read_blocks(part->attachment, part->relid, (BlockNumber) part->done, &to, part->again);
	Datum		values[5] = {
		Int32GetDatum(part->attachment), ObjectIdGetDatum(part->relid), Int64GetDatum((int64) to), Int64GetDatum(rows),
		FullTransactionIdGetDatum(GetTopFullTransactionId())
	};

	JNY_FAULT("backfill_read");
	jny_run(&note_progress, values, NULL);
	return rows;
}

/* An attach() under way holds the table of attachments, perhaps for long: a later lap finishes. */
static void
finish(void)
{
	Datum		now = TimestampTzGetDatum(GetCurrentTimestamp());
	Oid			attachment = get_relname_relid("attachment", get_namespace_oid("journey", false));

	if (ConditionalLockRelationOid(attachment, RowExclusiveLock))
		jny_run(&finish_consumed, &now, NULL);
}

bool
jny_history_read(JnyBatch *batch)
{
	Part	   *part = &current;
	Relation	rel;
	Oid			file;
	BlockNumber blocks;

	finish();
	if (!pick(part))
		return false;
	if (!ConditionalLockRelationOid(part->relid, AccessShareLock))
	{
		set_aside(part, NULL, RETRY_LOCKED);
		return true;
	}
	rel = jny_open_attached(part->relid, part->attachment);
	if (rel == NULL)
	{
		not_attached(part);
		return true;
	}
	file = rel->rd_rel->relfilenode;
	blocks = RelationGetNumberOfBlocks(rel);
	relation_close(rel, NoLock);
	if (file != part->file)
		start_again(part, file, blocks);
	else
		batch->backfilled += read_portion(part);
	return true;
}

void
jny_history_failed(const ErrorData *error)
{
	ereport(LOG,
			(errmsg("journey could not go on with a back-fill: %s", error->message)));
	if (current.attachment != 0)
		set_aside(&current, psprintf("%s (%s)", error->message, unpack_sql_state(error->sqlerrcode)), RETRY_FAILED);
}
