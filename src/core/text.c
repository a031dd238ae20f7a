/*
 * text.c
 *		Text that others wrote, where it has to be short.
 *
 * Half a character makes a row that cannot be read and a dump that cannot be
 * restored: text is never cut by bytes alone. No locks.
 */
#include "core/core.h"

#include "mb/pg_wchar.h"

char *
jny_clip(const char *text, int bytes)
{
	return pnstrdup(text, pg_mbcliplen(text, strlen(text), bytes));
}
