/*
 * window.h
 *		The reading side of the inbox: a frozen window, walked by seq.
 *
 * The cursor is (previous snapshot, frozen window snapshot, last seq applied
 * in it). A window holds the rows that are visible in its snapshot and not in
 * the previous one; nothing is ever added to it, so it can be walked in
 * several laps. Only the consumer calls this, at READ COMMITTED and inside
 * SPI_connect().
 */
#ifndef JNY_WINDOW_H
#define JNY_WINDOW_H

#include "core/batch.h"
#include "core/inbox.h"

/* One inbox row as it was appended. Strings are NULL when the column is null. */
typedef struct JnyInboxRaw
{
	int64		seq;
	FullTransactionId xact;
	TimestampTz received_at;	/* real time */
	char		op;				/* JNY_OP_* */
	bool		copied;			/* came in through inbox_copy: nobody made a fence for it */
	const char *source;
	const char *type;
	TimestampTz occurred_at;	/* 0 = not said: received_at */
	const char *message_id;
	Jsonb	   *subject;
	Jsonb	   *props;
	int			attachment;		/* 0 = none */
	ArrayType  *cols;			/* text[] */
	char		fence;			/* JNY_FENCE_* */
	int			nkeys;			/* key hashes; stored for fenced rows only */
	int64	   *keys;
	const char *ref;
	const char *scope;			/* NULL = of the source, else 'default' */
	bool		recorded;		/* its event is in the log although something in it was not taken */
	bool		stale;			/* read before a change that was captured: passed over (stale.c) */
} JnyInboxRaw;

struct JnyWindow
{
	int			nrows;
	JnyInboxRaw *rows;			/* in order of seq, in the batch's context */
	bool		last;			/* the window ends with these rows */
	/* private to window.c */
	bool		refused;		/* the cursor is not of this cluster: nothing may move */
	int64		window_seq;		/* where the previous lap stopped in this window */
	int64		applied_seq;
	char	   *previous;		/* pg_snapshot texts */
	char	   *snapshot;
	TimestampTz opened_at;
	TimestampTz moved_at;		/* of the cursor, as it stands */
};

/*
 * Locks the cursor and reads the next rows, at most max of them, into
 * batch->window; fills batch->lap, last_seq, more and taken. False when
 * another consumer holds the cursor. A cursor of another cluster gives the
 * incident foreign_cursor, an empty window and a batch whose node is not
 * adopted: the lap must then do nothing else.
 */
extern bool jny_window_open(JnyBatch *batch, int max);

/* Moves the cursor past batch->window; last statement of the lap. */
extern void jny_window_finish(JnyBatch *batch);

#endif							/* JNY_WINDOW_H */
