/*
 * cols.h
 *		Inside of JnyCols, for what reads its rows: plan.c and table*.c.
 */
#ifndef JNY_CORE_COLS_H
#define JNY_CORE_COLS_H

#include "core/core.h"

#define JNY_MAX_COLS 48

typedef struct JnyColType
{
	Oid			type;
	int16		len;
	bool		byval;
	char		align;
} JnyColType;

struct JnyCols
{
	int			ncols;
	int			nrows;
	int			max;
	MemoryContext cxt;			/* of the rows, and of what their values point to */
	uint64		owned;			/* columns of the row being made whose values are there already */
	const JnyColType *types;
	Datum	   *values;			/* ncols for each row; the row being made is behind the last */
	bool	   *nulls;
};

extern JnyCols *jny_cols_typed(int ncols, const JnyColType *types);
extern void jny_col_type(Oid type, JnyColType *out);
/*
 * An order of many rows in which neighbours are neighbours in the index, too:
 * by bucket, which leads every key; rows of one bucket as they came. NULL when
 * there are few, or no bucket.
 */
extern int *jny_cols_by_bucket(const JnyCols *cols);

#endif							/* JNY_CORE_COLS_H */
