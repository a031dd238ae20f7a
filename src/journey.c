/*
 * journey.c
 *		Loads the library: settings, hooks, the launcher; nothing else.
 *
 * _PG_init runs in the postmaster when journey is preloaded, and otherwise
 * in any backend that first touches one of its functions; it must be silent
 * in both, and do nothing at all while pg_upgrade drives the server.
 */
#include "core/core.h"

#include "miscadmin.h"

#include "core/shmem.h"
#include "worker/worker.h"

JNY_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	if (IsBinaryUpgrade)
		return;
	jny_guc_init();
	jny_pin_init();
	if (process_shared_preload_libraries_in_progress)
	{
		jny_shmem_init();
		jny_rest_init();
		jny_launcher_register();
	}
	jny_ddl_guard_init();
}
