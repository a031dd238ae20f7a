/*
 * try.c
 *		What may fail and take nothing else with it.
 *
 * A subtransaction around work that somebody else's locks, rights or tables
 * can make fail: within the shop's own command, or beside the rest of a lap.
 * SPI that was connected before stays so.
 */
#include "core/core.h"

#include "access/xact.h"
#include "utils/resowner.h"

bool
jny_try(void (*work) (void *), void *arg, bool keep, const char *what)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		work(arg);
		if (keep)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	if (error == NULL)
		return true;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		ReThrowError(error);
	ereport(LOG,
			(errmsg("journey could not %s: %s", what, error->message)));
	return false;
}
