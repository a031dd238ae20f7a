/*
 * compat.h
 *		The one place that knows that PostgreSQL has major versions.
 *
 * Everything else is written against the newest spelling; where an older
 * server spells it otherwise, the difference is bridged here.
 */
#ifndef JNY_COMPAT_H
#define JNY_COMPAT_H

#include "postgres.h"

#include "utils/wait_event.h"

/* PostgreSQL 18 lets a module say who it is; older ones take the bare mark. */
#if PG_VERSION_NUM >= 180000
#define JNY_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "journey", .version = "0.1")
#else
#define JNY_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* Named wait events came with 17. */
#if PG_VERSION_NUM >= 170000
#define jny_wait_event(name) WaitEventExtensionNew(name)
#else
#define jny_wait_event(name) PG_WAIT_EXTENSION
#endif

/* The date parser explains itself further since 16. */
#if PG_VERSION_NUM >= 160000
#define JNY_DECODE_DATETIME(field, ftype, nf, dtype, tm, fsec, tz) \
	DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tz, &(DateTimeErrorExtra) {0})
#else
#define JNY_DECODE_DATETIME(field, ftype, nf, dtype, tm, fsec, tz) \
	DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tz)
#endif

/* One ownership check for every kind of object came with 16. */
#if PG_VERSION_NUM >= 160000
#define jny_owns_database(oid, role) object_ownercheck(DatabaseRelationId, oid, role)
#else
#define jny_owns_database(oid, role) pg_database_ownercheck(oid, role)
#endif

/* The variable became a macro on the backend's type with 17. */
#if PG_VERSION_NUM < 170000
#define AmBackgroundWorkerProcess() IsBackgroundWorker
#endif

/* 16 learned to update the summarising indexes only. */
#if PG_VERSION_NUM >= 160000
#define jny_insert_index_tuples(info, slot, estate) \
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL, false)
#else
#define jny_insert_index_tuples(info, slot, estate) \
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL)
#endif

#endif							/* JNY_COMPAT_H */
