/*
 * limit.c
 *		The time that one lap of the worker may take (journey.lap_timeout).
 *
 * A timeout of our own, so that a cancel that somebody asked for with
 * pg_cancel_backend() is not taken for it: what takes too long is set aside,
 * what was cancelled is tried again. Outside our worker the caller's limits
 * hold, and these functions do nothing.
 */
#include "worker/worker.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timeout.h"

bool		jny_is_worker = false;
static TimeoutId limit;
static volatile sig_atomic_t is_over = false;

static void
end(void)
{
	is_over = true;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

void
jny_limit_init(void)
{
	jny_is_worker = true;
	limit = RegisterTimeout(USER_TIMEOUT, end);
}

void
jny_limit_start(void)
{
	is_over = false;
	if (jny_is_worker)
		enable_timeout_after(limit, jny_lap_timeout_ms);
}

void
jny_limit_stop(void)
{
	if (!jny_is_worker)
		return;
	disable_timeout(limit, false);
	/* one that fired when the work was over must not hit the next */
	if (is_over)
		QueryCancelPending = false;
}

/* Whether work failed because its time was over; then the error says so. */
bool
jny_limit_hit(ErrorData *error)
{
	if (!is_over || error->sqlerrcode != ERRCODE_QUERY_CANCELED)
		return false;
	error->message = psprintf("longer than journey.lap_timeout (%d ms)", jny_lap_timeout_ms);
	return true;
}
