/*
 * fault.c
 *		What happens at a named place of a build with -DJOURNEY_FAULTS.
 *
 * The setting journey.fault_point, 'name=action[:nth]', picks one place and
 * what it does, once per session, at the nth time the session comes by:
 * error (a passing one, as of a full disk, so that no event is to blame),
 * sleep (two seconds) or crash (SIGKILL to itself, as from the system).
 * Called from everywhere by JNY_FAULT(); in other builds this file is empty.
 */
#include "core/core.h"

#include "core/fault.h"

#ifdef JOURNEY_FAULTS

#include <signal.h>

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#define SLEEP_USECS (2 * USECS_PER_SEC)

typedef struct Point
{
	char		name[NAMEDATALEN];
	char		action[NAMEDATALEN];
	int			nth;			/* 0 = over */
} Point;

static char *setting = NULL;
static Point point;

static bool
parse(const char *text, Point *p)
{
	const char *equals = strchr(text, '=');
	const char *colon = strchr(text, ':');
	size_t		len = equals == NULL ? 0 : (colon ? (size_t) (colon - equals) : strlen(equals)) - 1;

	memset(p, 0, sizeof(*p));
	if (text[0] == '\0')
		return true;
	if (equals == NULL || equals - text >= NAMEDATALEN || len >= NAMEDATALEN)
		return false;
	memcpy(p->name, text, equals - text);
	memcpy(p->action, equals + 1, len);
	p->nth = colon ? atoi(colon + 1) : 1;
	return p->nth > 0 &&
		(strcmp(p->action, "error") == 0 || strcmp(p->action, "sleep") == 0 || strcmp(p->action, "crash") == 0);
}

static bool
check(char **newval, void **extra, GucSource source)
{
	Point		p;

	return parse(*newval, &p);
}

static void
assign(const char *newval, void *extra)
{
	(void) parse(newval, &point);
}

void
jny_fault_init(void)
{
	DefineCustomStringVariable("journey.fault_point",
							   "Makes one named place fail: 'name=action[:nth]', action error, sleep or crash.",
							   "Only builds for tests have it.",
							   &setting, "", PGC_SUSET, GUC_NOT_IN_SAMPLE, check, assign, NULL);
}

void
jny_fault_visit(const char *name, bool committed)
{
	if (point.nth == 0 || strcmp(name, point.name) != 0 || --point.nth > 0)
		return;
	/* told to the server's log, whatever then becomes of this session */
	fprintf(stderr, "journey fault %s %s\n", name, point.action);
	fflush(stderr);
	if (strcmp(point.action, "crash") == 0)
		kill(MyProcPid, SIGKILL);
	else if (strcmp(point.action, "sleep") == 0)
		pg_usleep(SLEEP_USECS);
	else if (!committed)
		ereport(ERROR,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("journey fault \"%s\"", name),
				 errhint("Empty journey.fault_point.")));
}

/* So that the harness can put a place into a function that is SQL. */
PG_FUNCTION_INFO_V1(journey_fault);
Datum		journey_fault(PG_FUNCTION_ARGS);

Datum
journey_fault(PG_FUNCTION_ARGS)
{
	jny_fault_visit(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	PG_RETURN_VOID();
}

#endif							/* JOURNEY_FAULTS */
