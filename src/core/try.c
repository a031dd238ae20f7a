/*
 * try.c
 *		Work under other conditions: that may fail and take nothing else with
 *		it, or that has the rights of journey_owner.
 *
 * Called from laps, senders' calls and the shop's own statements. SPI that was
 * connected before stays so. No locks of its own; memory is the caller's.
 */
#include "core/core.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/resowner.h"

/* In a subtransaction: the error, after what was done is rolled back, or NULL. */
static ErrorData *
in_subtransaction(void (*work) (void *), void *arg, bool keep)
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
	return error;
}

static bool
says_nothing_of_the_work(int sqlerrcode)
{
	/* a moment's matter, nothing to remember about a rule */
	if (sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		return true;
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case MAKE_SQLSTATE('4', '0', '0', '0', '0'):	/* transaction rollback */
		case MAKE_SQLSTATE('5', '3', '0', '0', '0'):	/* insufficient resources */
		case MAKE_SQLSTATE('5', '7', '0', '0', '0'):	/* operator intervention, cancel */
		case MAKE_SQLSTATE('5', '8', '0', '0', '0'):	/* system error */
		case MAKE_SQLSTATE('X', 'X', '0', '0', '0'):	/* internal */
			return true;
		default:
			return false;
	}
}

ErrorData *
jny_guard(void (*work) (void *), void *arg)
{
	ErrorData  *error = in_subtransaction(work, arg, true);

	if (error != NULL && says_nothing_of_the_work(error->sqlerrcode))
		ReThrowError(error);
	return error;
}

bool
jny_try(void (*work) (void *), void *arg, bool keep, const char *what)
{
	ErrorData  *error = in_subtransaction(work, arg, keep);

	if (error == NULL)
		return true;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		ReThrowError(error);
	ereport(LOG,
			(errmsg("journey could not %s: %s", what, error->message)));
	return false;
}

void
jny_as_owner(void (*work) (void *), void *arg)
{
	Oid			user;
	int			security;
	int			settings = jny_pin_path();

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(jny_owner_oid(false), security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	SPI_connect();
	work(arg);
	SPI_finish();
	jny_unpin(settings);
	SetUserIdAndSecContext(user, security);
}
