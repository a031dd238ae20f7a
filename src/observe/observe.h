/*
 * observe.h
 *		From inbox rows to events, people and the state of their carts and
 *		orders. Uses core only.
 */
#ifndef JNY_OBSERVE_H
#define JNY_OBSERVE_H

#include "core/batch.h"

/*
 * Takes the next rows of the window (at most max_events), applies them to
 * identity, consent, catalogue, cart, order and message state, writes the
 * event log and fills the batch. False when another consumer holds the cursor.
 */
extern bool jny_observe_take(JnyBatch *batch, int max_events);
/* Writes profile_state of dirty profiles and moves the cursor; last act of a lap. */
extern void jny_observe_finish(JnyBatch *batch);
/*
 * Sets the next row of the window aside: into quarantine with the error, and
 * the cursor past it. Instead of take and finish, when a lap of one event
 * has failed. False when another consumer holds the cursor.
 */
extern bool jny_observe_skip(JnyBatch *batch, const ErrorData *error);
/* Rotation and truncation of generations; the last act of a short transaction, as it locks what the shop writes. */
extern void jny_observe_rotate(void);

/*
 * The history of attached tables (backfill.c). Is there some that is not read
 * and consumed? Reads the next portion, false when there is none; when that
 * has failed, and its effects have been rolled back, notes why. The latter two
 * inside SPI_connect().
 */
extern bool jny_history_waits(void);
extern bool jny_history_read(JnyBatch *batch);
extern void jny_history_failed(const ErrorData *error);

/* Compares attachments with their triggers and columns; notes what no longer fits. Inside SPI_connect(). */
extern void jny_attachments_check(void);
/* The same, when something has happened to one of their tables since, and nobody is attaching. */
extern void jny_attachments_check_if_touched(void);
/* Has something happened that is still to be looked at? */
extern bool jny_attachments_touched(void);

/*
 * Partitions that attached tables get later (attach_leaf.c). Within the
 * command that brings one: notes it, so that permits wait for what it has from
 * that commit on; never fails the command, the next lap looks again.
 */
extern void jny_leaves_note(void);
/* Sees to TRUNCATE of those that are there; inside SPI_connect(), raises nothing. */
extern void jny_leaves_watch(void);

#endif							/* JNY_OBSERVE_H */
