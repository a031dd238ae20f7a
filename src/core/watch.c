/*
 * watch.c
 *		Who of us wants to know that a relation has changed.
 *
 * A backend has ten places for callbacks about relations, for all extensions
 * together, and ends when they are full. We take one. Each function is told
 * once, for the life of the backend, and may be called at any time at which
 * messages come in: it only marks.
 */
#include "core/core.h"

#include "utils/inval.h"

static RelcacheCallbackFunction watchers[16];
static int	nwatchers = 0;

static void
relation_changed(Datum arg, Oid relid)
{
	for (int i = 0; i < nwatchers; i++)
		watchers[i] (arg, relid);
}

void
jny_watch_relations(void (*changed) (Datum arg, Oid relid))
{
	if (nwatchers == (int) lengthof(watchers))
		elog(ERROR, "too many watch relations");
	if (nwatchers == 0)
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	watchers[nwatchers++] = changed;
}
