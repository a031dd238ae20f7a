/*
 * value.h
 *		Text to values without raising: false when the text is no such value.
 */
#ifndef JNY_VALUE_H
#define JNY_VALUE_H

#include "core/core.h"

#include "utils/numeric.h"

/* A finite decimal number of at most 200 characters. */
extern bool jny_value_number(const char *text, Numeric *out);
/* A finite time in digits; without a zone it is UTC. */
extern bool jny_value_time(const char *text, TimestampTz *out);
/* Does a text that jny_value_time() takes name a zone? */
extern bool jny_value_zoned(const char *text);

#endif							/* JNY_VALUE_H */
