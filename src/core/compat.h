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

#include "access/transam.h"
#include "utils/wait_event.h"

/* PostgreSQL 18 lets a module say who it is; older ones take the bare mark. */
#if PG_VERSION_NUM >= 180000
#define JNY_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "journey", .version = JNY_VERSION)
#else
#define JNY_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* Named wait events came with 17. */
#if PG_VERSION_NUM >= 170000
#define jny_wait_event(name) WaitEventExtensionNew(name)
#else
#define jny_wait_event(name) PG_WAIT_EXTENSION
#endif

/* What all backends know of transaction ids got another name in 17. */
#if PG_VERSION_NUM >= 170000
#define jny_xacts_ended() (TransamVariables->xactCompletionCount)
#else
#define jny_xacts_ended() (ShmemVariableCache->xactCompletionCount)
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

/* 16 learned to update the summarising indexes only. */
#if PG_VERSION_NUM >= 160000
#define jny_insert_index_tuples(info, slot, estate) \
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL, false)
#else
#define jny_insert_index_tuples(info, slot, estate) \
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL)
#endif

/* An update says since 16 which indexes need a new entry; before it said whether any. */
#if PG_VERSION_NUM >= 160000
#define JnyUpdatedIndexes TU_UpdateIndexes
#define jny_update_index_tuples(info, slot, estate, which) \
	((which) == TU_None ? NIL : \
	 ExecInsertIndexTuples(info, slot, estate, true, false, NULL, NIL, (which) == TU_Summarizing))
#else
#define JnyUpdatedIndexes bool
#define jny_update_index_tuples(info, slot, estate, which) \
	((which) ? ExecInsertIndexTuples(info, slot, estate, true, false, NULL, NIL) : NIL)
#endif

/* The way from a partitioned table's rows to those of a partition is made on demand since 16. */
#if PG_VERSION_NUM >= 160000
#define jny_root_to_child(info, estate) ExecGetRootToChildMap(info, estate)
#else
#define jny_root_to_child(info, estate) ((info)->ri_RootToPartitionMap)
#endif

/* A constraint may be there and not hold since 18. */
#if PG_VERSION_NUM >= 180000
#define jny_check_holds(check) ((check)->ccenforced)
#else
#define jny_check_holds(check) true
#endif

/* Index scans count for EXPLAIN since 18. */
#if PG_VERSION_NUM >= 180000
#define jny_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define jny_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

#endif							/* JNY_COMPAT_H */
