/*
 * backfill.h
 *		Reading blocks of an attached table. Private to the files that do.
 */
#ifndef JNY_OBSERVE_BACKFILL_H
#define JNY_OBSERVE_BACKFILL_H

#include "observe/observe.h"

#include "storage/block.h"
#include "utils/relcache.h"

/* The table, locked until the transaction ends; NULL when this is none, or neither it nor what it inherits from has a trigger of that attachment. */
extern Relation jny_open_attached(Oid relid, int attachment);
/* The table that was attached, of which others may be partitions; InvalidOid when its trigger is gone. */
extern Oid	jny_attached_root(int attachment);
/*
 * Appends the rows of blocks from <= b < to of a table or partition to the
 * inbox as back-fill, of fewer blocks when these have many rows: "to" then says
 * where it ended. only_changed leaves out orders and carts whose state is
 * known. Returns how many it appended.
 */
extern int64 jny_read_blocks(int attachment, Oid part, BlockNumber from, BlockNumber *to, bool only_changed);

#endif							/* JNY_OBSERVE_BACKFILL_H */
