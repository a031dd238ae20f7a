/*
 * decode.h
 *		Between the files that turn inbox rows into facts.
 */
#ifndef JNY_DECODE_H
#define JNY_DECODE_H

#include "observe/fact.h"

/* Where a canonical field of a captured row comes from. */
typedef struct JnyMapField
{
	enum {JNY_MAP_NONE, JNY_MAP_COLUMN, JNY_MAP_CONST} how;
	int			col;			/* -1: the column is gone */
	const char *constant;
	Jsonb	   *values;			/* shop's value -> canonical value; NULL = as it is */
} JnyMapField;

typedef struct JnyMapEntry
{
	const char *name;			/* of a namespace, prop or trait */
	JnyMapField field;
} JnyMapEntry;

typedef struct JnyMapConsent
{
	const char *channel;
	const char *purpose;
	const char *basis;
	JnyMapField state;
	JnyMapField at;
} JnyMapConsent;

typedef struct JnyMap
{
	int			attachment;		/* hash key, first */
	bool		present;
	JnyKind		kind;
	const char *rel;
	int			ncols;
	char	  **cols;
	JnyMapField f[JNY_NFIELDS];
	List	   *subject;		/* of JnyMapEntry */
	List	   *props;
	List	   *traits;
	List	   *consents;		/* of JnyMapConsent */
	const char *on_delete;		/* what a DELETE means; NULL = nothing */
} JnyMap;

extern void jny_maps_load(JnyTake *take, JnyInboxRaw *rows, int nrows);
extern const JnyMap *jny_map_get(JnyTake *take, int attachment);	/* NULL when it is gone */
extern const char *jny_map_value(const JnyMapField *field, char **cols, bool *said);
extern char **jny_text_array(ArrayType *array, int *n);

extern void jny_decode_event(JnyTake *take, JnyInboxRaw *row);
extern void jny_decode_action(JnyTake *take, JnyInboxRaw *row);
extern void jny_decode_fence(JnyTake *take, JnyInboxRaw *row);
extern void jny_decode_captured(JnyTake *take, JnyInboxRaw *row);

extern JnyFact *jny_fact_new(JnyTake *take, JnyInboxRaw *row);
/* Room for its fields. Most facts are events, which have none: they share some that are all NULL. */
extern void jny_fact_own_fields(JnyFact *fact);
extern void jny_fact_subject(JnyTake *take, JnyFact *fact, Jsonb *subject);
extern JnyKey *jny_fact_key(JnyTake *take, JnyFact *fact, const char *namespace, const char *value);
/* alias.c: the keys under which the person of an alias may have been known before */
extern void jny_alias_keys(JnyTake *take, JnyFact *fact);
/* parcel.c: what an event says of a shipment or return, in the fields that a row of one has */
extern void jny_parcel_fields(JnyFact *fact);
extern void jny_fact_objects(JnyTake *take, JnyFact *fact);

#endif							/* JNY_DECODE_H */
