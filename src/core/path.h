/*
 * path.h
 *		Inside of table*.c: what has been learned about a declared access.
 *
 * Kept for the life of the backend in a context of its own under
 * CacheMemoryContext; a relcache message about the table or its index makes
 * it invalid, and the next use learns again.
 */
#ifndef JNY_CORE_PATH_H
#define JNY_CORE_PATH_H

#include "core/cols.h"
#include "core/table.h"

#include "access/skey.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

typedef struct JnyKeyCol
{
	AttrNumber	att;			/* in the table */
	StrategyNumber op;			/* btree: 1 < to 5 > */
	Oid			collation;
	FmgrInfo	fn;				/* compares the index column with it */
} JnyKeyCol;

typedef enum JnySqlForm
{
	JNY_SQL_PLAIN,				/* what the verb says */
	JNY_SQL_WAIT,				/* a lookup FOR UPDATE; a change's first half */
	JNY_SQL_SKIP,				/* and SKIP LOCKED */
	JNY_SQL_FORMS
} JnySqlForm;

typedef struct JnyPath
{
	struct JnyPath *next;
	bool		valid;			/* learned to the end, and no message since it was begun */
	bool		unchanged;		/* no message since learning was begun */
	MemoryContext cxt;
	const JnyAccess *access;
	Oid			relid;
	Oid			indexid;
	bool		simple;			/* may be reached directly: a plain heap without triggers, or an insert into partitions of one */
	bool		partitioned;
	bool		filled;			/* the table has had a page */
	int			natts;
	int			nkeys;
	JnyKeyCol  *keys;
	int			ncols;
	AttrNumber *atts;			/* of the columns */
	char	   *update;			/* of an upsert and a change, per column: 0 as it is, '=', '+', '>' */
	bool		updates;		/* any of them */
	Oid		   *types;			/* of the columns */
	JnyColType *columns;		/* the same, with what copying needs */
	int			nin;			/* columns of JnyCols: keys, then columns, as the verb has them */
	JnyColType *in;
	Datum	   *defaults;		/* of all attributes, for inserts */
	bool	   *nodefault;
	bool		usable;			/* the index is built */
	ExprState  *predicate;		/* of a partial index */
	int			nchecks;
	ExprState **checks;			/* of what is written */
	char	  **check_names;
	AttrNumber	last;			/* the last attribute that a lookup needs */
	JnyPlan		sql[JNY_SQL_FORMS];
} JnyPath;

/* Opens the table, and its path as it is under this lock, which is the caller's to keep. */
extern JnyPath *jny_path_open(JnyAccess *access, LOCKMODE mode, Relation *rel);
extern bool jny_path_direct(const JnyPath *path);
/* The statement that says the same. */
extern JnyPlan *jny_path_sql(JnyPath *path, JnySqlForm form);
/* Scan keys of one row of JnyCols; false when one is null, which finds nothing. */
extern bool jny_path_keys(const JnyPath *path, const Datum *values, const bool *nulls, ScanKey out);

/* Does a row still fit, key and index, that was found by them in an earlier version? */
extern bool jny_path_fits(const JnyPath *path, ScanKey keys, TupleTableSlot *slot);

/* Whether rows of the table stay or come, so that its indexes are filled. */
extern bool jny_path_fills(const JnyPath *path);

/* ---- rows that are found (table_read.c) ------------------------------------ */

extern JnyRows *jny_rows_of(const JnyPath *path);
extern void jny_rows_add(JnyRows *rows, const JnyRow *row);
extern void jny_row_init(JnyRow *row, const JnyPath *path, int key);
/* The row as it lies in the slot; its values point into the page that the slot has pinned. */
extern void jny_row_view(JnyRow *row, const JnyPath *path, TupleTableSlot *slot);
/* Copies what they point to. */
extern void jny_row_own(JnyRow *row, const JnyPath *path);
/* Locks the row's latest version, which replaces what is in the slot; false when it is gone or another's. */
extern bool jny_row_lock(Relation rel, TupleTableSlot *slot, Snapshot snapshot, bool skip);
/* The rows that a lookup FOR UPDATE gives and the judge takes. */
extern void jny_rows_judged(JnyRows *rows, JnyPath *path, JnyCols *keys, bool skip, int limit, JnyJudge judge, void *arg);

#endif							/* JNY_CORE_PATH_H */
