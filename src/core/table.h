/*
 * table.h
 *		Rows by key: our own data tables, written and read without a statement.
 *
 * What a lap or a sender's call does to a table is declared, not spelled: the
 * table, the index by which rows are found, and the columns. It then runs
 * straight on heap and index, which costs a tenth of a statement's start; or,
 * with journey.direct_access off and for tables that carry triggers or are no
 * plain heap, as the SQL that the declaration says. Both give the same rows:
 * the second is the first one's oracle, and the suites run on either.
 *
 * Rows come and go as JnyCols (core.h), made by jny_cols_of() in the order of
 * the declaration. Every call takes a new snapshot at READ COMMITTED and sees
 * what this transaction has done before, as a statement does.
 *
 * Constraints and unique indexes hold in both.
 */
#ifndef JNY_CORE_TABLE_H
#define JNY_CORE_TABLE_H

#include "core/core.h"

#include "storage/itemptr.h"
#include "utils/snapshot.h"

typedef enum JnyVerb
{
	JNY_DO_LOOKUP,
	JNY_DO_INSERT,
	JNY_DO_UPSERT,
	JNY_DO_UPDATE,
	JNY_DO_DELETE,
	JNY_DO_CHANGE
} JnyVerb;

typedef struct JnyAccess
{
	JnyVerb		verb;
	const char *table;			/* of the schema journey */
	const char *index;			/* a btree, by which rows are found; NULL for inserts */
	const char *key;			/* its leading columns; the last may carry an operator: "bucket, granted_at >=" */
	const char *columns;		/* read or written */
	const char *rest;			/* of an upsert and a change: what is written; of a lookup: the index's predicate */
	struct JnyPath *path;		/* what has been learned about them */
} JnyAccess;

/*
 * An empty key means every row, in the order of the index (one empty row of
 * keys asks for it). Otherwise, rows whose leading index columns equal (or compare to) the given ones, for
 * each row of keys, in the order of the index. where: the predicate of a
 * partial index as SQL on the columns of "t", or NULL.
 */
#define JNY_LOOKUP(name, table_, index_, key_, columns_, where_) \
	static JnyAccess name = {JNY_DO_LOOKUP, table_, index_, key_, columns_, where_, NULL}
#define JNY_INSERT(name, table_, columns_) \
	static JnyAccess name = {JNY_DO_INSERT, table_, NULL, NULL, columns_, NULL, NULL}
/*
 * index: unique, of just the key's columns. update says what happens to a row
 * that is there: "a, b +, c >" sets a, adds to b, keeps the greater c; "" leaves it alone.
 */
#define JNY_UPSERT(name, table_, index_, key_, columns_, update_) \
	static JnyAccess name = {JNY_DO_UPSERT, table_, index_, key_, columns_, update_, NULL}
/* Rows of keys: the key's columns, then the others. A row that is not there is left out. */
#define JNY_UPDATE(name, table_, index_, key_, columns_) \
	static JnyAccess name = {JNY_DO_UPDATE, table_, index_, key_, columns_, NULL, NULL}
#define JNY_DELETE(name, table_, index_, key_) \
	static JnyAccess name = {JNY_DO_DELETE, table_, index_, key_, NULL, NULL, NULL}

/* Rows that are judged where they are found, and changed at once. changed: those of the columns that are set; NULL = the rows are deleted. */
#define JNY_CHANGE(name, table_, index_, key_, columns_, changed_) \
	static JnyAccess name = {JNY_DO_CHANGE, table_, index_, key_, columns_, changed_, NULL}

/* An empty set of rows with the columns of the declaration; of a lookup and a change those of the key; of an update and delete these first. */
extern JnyCols *jny_cols_of(JnyAccess *access);

/* ---- reading ------------------------------------------------------------ */

/* One row that was found; values live in the context that was current. */
typedef struct JnyRow
{
	int			key;			/* which row of the keys it answers, from 0 */
	ItemPointerData tid;
	Datum	   *values;			/* the declared columns, from 0 */
	bool	   *nulls;
} JnyRow;

typedef struct JnyRows
{
	int			n;
	int			max;
	JnyRow	   *row;
	const Oid  *types;
} JnyRows;

extern JnyRows *jny_lookup(JnyAccess *access, JnyCols *keys);
/*
 * Says whether a row is wanted, before it is copied; of rows that are to be
 * locked it is asked again about the latest version. arg is the caller's.
 */
typedef bool (*JnyWanted) (const JnyRow *row, void *arg);
extern JnyRows *jny_lookup_wanted(JnyAccess *access, JnyCols *keys, JnyWanted wanted, void *arg);
/* The first of them. */
extern JnyRows *jny_lookup_first(JnyAccess *access, JnyCols *keys, JnyWanted wanted, void *arg);
/*
 * The same, at most limit rows, and as of one snapshot, registered or active,
 * so that lookups of several tables agree; NULL = a new one.
 */
extern JnyRows *jny_lookup_at(JnyAccess *access, JnyCols *keys, Snapshot snapshot, int limit);

extern char *jny_row_text(const JnyRow *row, int col);	/* of a text column; palloc'd; NULL for null */
extern int64 jny_row_int(const JnyRows *rows, int i, int col, int64 missing);	/* int2, int4, int8, bool */
extern pg_uuid_t *jny_row_uuid(const JnyRow *row, int col);
extern TimestampTz jny_row_time(const JnyRow *row, int col);	/* 0 for null */

/* ---- locking ------------------------------------------------------------ */

/* At most limit rows that are wanted, locked FOR UPDATE. skip: leaves out what others have locked, else waits. */
extern JnyRows *jny_lookup_locked(JnyAccess *access, JnyCols *keys, bool skip, int limit, JnyWanted wanted, void *arg);

/* ---- writing ------------------------------------------------------------ */

/* Writes all rows; returns how many it inserted, changed or deleted. */
extern int	jny_write(JnyAccess *access, JnyCols *rows);

/*
 * Changes or deletes the very rows that jny_lookup_locked() gave; row i of
 * rows (the columns; NULL for a delete) belongs to found->row[i]. A key of
 * NULL in the declaration says that rows are known by their place.
 */
extern void jny_write_found(JnyAccess *access, const JnyRows *found, JnyCols *rows);

/* ---- changing what is found ------------------------------------------------ */

typedef enum JnyChoice
{
	JNY_LEAVE,					/* leave the row */
	JNY_CHOOSE,					/* change or delete it */
	JNY_STOP					/* leave this one and all that follow */
} JnyChoice;

/*
 * Sees a row as it was found and sets the columns to be changed in its values.
 * When another transaction was quicker, the latest version is judged again.
 * arg is the caller's.
 */
typedef JnyChoice (*JnyJudge) (JnyRow *row, void *arg);

/*
 * At most limit rows, in the order of the keys and of the index, with the
 * values that they have now (deleted ones: had). Rows that another transaction
 * holds are waited for, or left out with skip. A row is changed once, however
 * many keys name it.
 */
extern JnyRows *jny_change(JnyAccess *access, JnyCols *keys, bool skip, int limit, JnyJudge judge, void *arg);

#endif							/* JNY_CORE_TABLE_H */
