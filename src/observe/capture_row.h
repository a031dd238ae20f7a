/*
 * capture_row.h
 *		The image of one row as the capture trigger keeps it: text of the
 *		mapped columns, keys, status. Private to the capture files.
 */
#ifndef JNY_CAPTURE_ROW_H
#define JNY_CAPTURE_ROW_H

#include "observe/attach_spec.h"

#include "executor/tuptable.h"

typedef struct JnyText
{
	const char *data;			/* not terminated */
	int			len;
	Size		full;			/* length before it was cut */
	bool		isnull;
	bool		cut;
} JnyText;

typedef struct JnyImage
{
	JnyText    *text;			/* one per column of the spec */
	Datum	   *datum;			/* as stored; meaningless where null */
	const char *status;			/* canonical; NULL = none or unmapped */
	const char *ref;			/* 'order:42'; NULL = none */
	bool		has_object;
	int64		object;			/* key hash of the order or cart itself */
	int			npeople;		/* keys that say who: subject and cart */
	int			nkeys;
	int64		keys[JNY_SPEC_KEYS];
} JnyImage;

/* The settings that output functions look at, held at their canonical values. */
typedef struct JnyTextSettings
{
	int			date_style;
	int			date_order;
	int			interval_style;
	int			float_digits;
	pg_tz	   *zone;
} JnyTextSettings;

extern void jny_text_settings_begin(JnyTextSettings *saved);
extern void jny_text_settings_end(const JnyTextSettings *saved);

extern JnyImage *jny_image_read(JnySpec *spec, TupleTableSlot *slot);
extern bool jny_image_equal(const JnySpec *spec, const JnyImage *a, const JnyImage *b);
/* Canonical value of a field; NULL = null, absent or unmapped. */
extern const char *jny_image_field(const JnySpec *spec, const JnyImage *image, const JnySpecField *field);
/* Order of two numeric values of one column: -1, 0, 1; 0 also when they are no numbers. */
extern int	jny_image_compare_number(const JnyImage *a, const JnyImage *b, int col);
/* text[] of new, then old, then positions of what was cut (capture.h). */
extern Datum jny_image_cols(const JnySpec *spec, const JnyImage *new, const JnyImage *old);
extern Jsonb *jny_image_subject(const JnySpec *spec, const JnyImage *image);
extern Jsonb *jny_image_props(const char *name1, const char *value1, const char *name2, const char *value2);

#endif							/* JNY_CAPTURE_ROW_H */
