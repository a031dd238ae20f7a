/*
 * workspace.c
 *		What the files of a lap share: tables in memory, and rows on their way
 *		into tables on disk.
 *
 * Called by every file of observe. A lap with one event must not pay for one
 * with thousands: tables are made as large as the lap, rows when there is the
 * first. Lives in the batch's context.
 */
#include "observe/fact.h"

#include "utils/memutils.h"

void
jny_take_begin(JnyTake *take, JnyBatch *batch)
{
	memset(take, 0, sizeof(JnyTake));
	take->batch = batch;
	take->keys = jny_table(take, "journey keys", sizeof(((JnyKey *) 0)->id), sizeof(JnyKey));
}

static HTAB *
table(const JnyTake *take, const char *name, HASHCTL *ctl, int flags)
{
	ctl->hcxt = take->batch->cxt;
	return hash_create(name, Max(16, take->batch->window->nrows), ctl, HASH_ELEM | HASH_CONTEXT | flags);
}

HTAB *
jny_table(const JnyTake *take, const char *name, Size key, Size entry)
{
	HASHCTL		ctl = {.keysize = key, .entrysize = entry};

	return table(take, name, &ctl, HASH_BLOBS);
}

static uint32
hash_name(const void *key, Size keysize)
{
	const char *name = *(const char *const *) key;

	return (uint32) jny_hash64(name, strlen(name), 0);
}

static int
compare_names(const void *a, const void *b, Size keysize)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

HTAB *
jny_table_of_names(const JnyTake *take, const char *name, Size entry)
{
	HASHCTL		ctl = {.keysize = sizeof(char *), .entrysize = entry, .hash = hash_name, .match = compare_names};

	return table(take, name, &ctl, HASH_FUNCTION | HASH_COMPARE);
}

/* Rows of a portion: enough to make opening the table cheap. */
#define PORTION 2000

JnyCols *
jny_out(JnyOut *out)
{
	MemoryContext here;

	if (!out->portions)
		return out->cols != NULL ? out->cols : (out->cols = jny_cols_of(out->access));
	if (out->cols != NULL && jny_cols_count(out->cols) < PORTION)
		return out->cols;
	if (out->cxt == NULL)
		out->cxt = AllocSetContextCreate(CurrentMemoryContext, "journey rows", ALLOCSET_DEFAULT_SIZES);
	jny_out_write(out);
	here = MemoryContextSwitchTo(out->cxt);
	out->cols = jny_cols_of(out->access);
	MemoryContextSwitchTo(here);
	return out->cols;
}

void
jny_out_write(JnyOut *out)
{
	MemoryContext here;

	if (out->cols == NULL)
		return;
	here = MemoryContextSwitchTo(out->cxt != NULL ? out->cxt : CurrentMemoryContext);
	jny_write(out->access, out->cols);
	MemoryContextSwitchTo(here);
	if (out->cxt != NULL)
		MemoryContextReset(out->cxt);
	out->cols = NULL;
}

Datum
jny_row_number(const JnyRow *row, int col)
{
	return row->nulls[col] ? (Datum) 0 : NumericGetDatum(DatumGetNumeric(row->values[col]));
}
