/*
 * core.h
 *		What every room stands on: settings, the frozen hash, ids, the node's
 *		state and clock, prepared statements and column builders.
 *
 * core includes no other room.
 */
#ifndef JNY_CORE_H
#define JNY_CORE_H

#include "core/compat.h"

#include "access/transam.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* ---- settings (guc.c) ------------------------------------------------- */

extern char *jny_site;				/* journey.site */
extern bool jny_worker_enabled;		/* journey.worker */
extern int	jny_naptime_ms;			/* journey.naptime */
extern int	jny_batch_events;		/* journey.batch_events */
extern int	jny_batch_timers;		/* journey.batch_timers */
extern int	jny_lap_timeout_ms;		/* journey.lap_timeout */
extern int	jny_max_permit_lag_ms;	/* journey.max_permit_lag */
extern int	jny_max_fences;			/* journey.max_fences */
extern int	jny_max_event_age_s;	/* journey.max_event_age */
extern int	jny_rotate_interval_ms; /* journey.rotate_interval */
extern int	jny_rotate_size_kb;		/* journey.rotate_size */
extern int	jny_rule_cache_kb;		/* journey.rule_cache */
extern int	jny_max_value_bytes;	/* journey.max_value */
extern bool jny_allow_in_transaction;	/* journey.allow_in_transaction */
extern bool jny_allow_drop_data;	/* journey.allow_drop_data */
extern bool jny_outbox_events;	/* journey.outbox_events */
extern bool jny_direct_access;		/* journey.direct_access */

extern void jny_guc_init(void);

/* ---- the frozen hash (hash.c) ----------------------------------------- */

#define JNY_HASH_VERSION 1
#define JNY_BUCKETS 1024

extern uint64 jny_hash64(const void *data, size_t len, uint64 seed);
extern int64 jny_key_hash(const char *namespace, const char *value);
extern int16 jny_bucket_of_hash(int64 hash);
extern int16 jny_bucket_of_id(const pg_uuid_t *id);
extern char *jny_normalise(const char *namespace, const char *value);
/* 0 <= result < 1: the unit's place on the line that arms divide. */
extern double jny_assign(const char *salt, const pg_uuid_t *unit);

/* ---- text (text.c) ---------------------------------------------------- */

extern char *jny_clip(const char *text, int bytes);	/* at most so many bytes of it, whole characters */

/* ---- ids (ids.c) ------------------------------------------------------ */

/* Bits that nobody can guess. */
extern void jny_random(void *out, size_t n);
/* Drawn for many at once: asking the system costs more than all the rest of an id. */
extern void jny_random_drawn(uint8 out[8]);
/* Time-ordered, real time even under the test clock. */
extern void jny_uuid_v7(pg_uuid_t *out);
/* The same parts give the same id for ever (uuid version 8). NULL-terminated list of strings. */
extern void jny_uuid_of(pg_uuid_t *out, const char *first,...);
extern Datum jny_uuid_datum(const pg_uuid_t *id);	/* palloc'd copy */
extern char *jny_uuid_str(const pg_uuid_t *id);

/* ---- this node (node.c) ----------------------------------------------- */

typedef enum JnyMode
{
	JNY_MODE_OFF,				/* nothing claimable, nothing consumed unless adopted */
	JNY_MODE_TEST,				/* clock is ours, every row marked test */
	JNY_MODE_SANDBOX,			/* decides on live traffic, permits to test profiles */
	JNY_MODE_LIVE
} JnyMode;

typedef struct JnyNode
{
	bool		installed;		/* data tables exist */
	bool		adopted;		/* the row's two keys match this cluster, and the tables this library */
	bool		draining;		/* what was read from the shop's tables is not consumed yet: no permits */
	JnyMode		mode;			/* what holds now, after both keys are tried */
	int			incarnation;	/* which life of the cluster stored xids belong to */
	TimestampTz now;			/* journey.clock() for this statement */
	bool		test;			/* rows written now carry test = true */
	const char *why_off;		/* static text when mode is off for a reason */
} JnyNode;

/* Reads the node's one row, as it is now. */
extern void jny_node_read(JnyNode *node);
extern TimestampTz jny_now(void);
extern void jny_require_primary(const char *what);	/* 25006 on a standby */
extern const char *jny_mode_name(JnyMode mode);
extern Oid	jny_owner_oid(bool missing_ok);
/* watch.c: relid is InvalidOid when it may be any. Once per function. */
extern void jny_watch_relations(void (*changed) (Datum arg, Oid relid));
/* The worker's shared state lives in worker/, which nobody includes: it leaves its alarm here. */
extern void (*jny_wake_worker_hook) (void);

/* ---- work under other conditions (try.c) ------------------------------- */

/*
 * In a subtransaction. False when it failed: what it did is rolled back, and
 * the log says that journey could not do this. A cancel is passed on. Not to
 * keep is for what only reads: the locks go with the subtransaction.
 */
extern bool jny_try(void (*work) (void *), void *arg, bool keep, const char *what);
/* In a subtransaction: its error, or NULL. What says nothing of the work, such as a cancel or a full disk, is passed on. */
extern ErrorData *jny_guard(void (*work) (void *), void *arg);
/*
 * Inside SPI, with the rights of journey_owner in a restricted context, and
 * with a search_path that nobody chose: for what may be called by anybody.
 */
extern void jny_as_owner(void (*work) (void *), void *arg);

/* ---- stock of the shop's own tables (stock.c) --------------------------- */

typedef struct JnyStockLevel
{
	const char *sku;
	Datum		available;		/* numeric; 0 = too old to be known */
} JnyStockLevel;

/*
 * Of some skus (text[]) those that attached tables know at this moment; none
 * where no table is attached, or they cannot be read now. Inside SPI_connect().
 */
extern int	jny_stock_live(Datum skus, JnyStockLevel **levels);

/* ---- prepared statements (plan.c) ------------------------------------- */

/*
 * A statement that is parsed once per backend. Every object in the text is
 * schema-qualified; types is a comma-separated list of type names.
 */
typedef struct JnyPlan
{
	const char *sql;
	const char *types;			/* NULL: argtypes are there already */
	int			nargs;
	Oid			argtypes[48];
	struct _SPI_plan *plan;
} JnyPlan;

#define JNY_PLAN(name, types_, sql_) \
	static JnyPlan name = {.sql = (sql_), .types = (types_), .nargs = -1}

/*
 * Runs inside SPI_connect(); returns SPI_processed; tuples in SPI_tuptable.
 * Not read-only: each call sees what this transaction did before it, and, at
 * READ COMMITTED, what others have committed. nulls may be NULL.
 */
extern uint64 jny_run(JnyPlan *plan, Datum *values, const bool *nulls);
/*
 * The same a portion at a time, for results that need not fit into memory.
 * jny_fetch() returns how many rows it has put into SPI_tuptable, which the
 * caller frees; 0 at the end, when it has closed the cursor.
 */
struct PortalData;
extern struct PortalData *jny_open(JnyPlan *plan, Datum *values);
extern uint64 jny_fetch(struct PortalData *cursor, int n);
/*
 * The same, read-only, with the newest snapshot even at REPEATABLE READ, and
 * planned by index: for inbox, cursor and registries, whose statistics say
 * nothing. Nothing that this transaction did since its last statement ended
 * is missing from it.
 */
extern uint64 jny_run_latest(JnyPlan *plan, Datum *values, const bool *nulls);

extern void jny_plan_prepare(JnyPlan *plan);
/* Forgets a statement whose text was made, not written. */
extern void jny_plan_free(JnyPlan *plan);

/* Rows written column by column: one array per column, for unnest(). */
typedef struct JnyCols JnyCols;
extern JnyCols *jny_cols(const char *types);	/* element types, e.g. "uuid, text" */
extern void jny_cols_set(JnyCols *cols, int col, Datum value);	/* columns from 0; unset = NULL */
extern void jny_cols_text(JnyCols *cols, int col, const char *value);	/* NULL allowed */
extern void jny_cols_time(JnyCols *cols, int col, TimestampTz at);	/* 0 = NULL */
extern void jny_cols_next(JnyCols *cols);		/* ends a row */
extern int	jny_cols_count(JnyCols *cols);
/* Values for jny_run: the arrays first, then extra values copied by the caller. */
extern Datum *jny_cols_datums(JnyCols *cols, int nextra);

/* Reading a result row; the strings live in the SPI context unless copied. */
extern Datum jny_get(uint64 row, int col, bool *isnull);	/* columns from 1 */
extern char *jny_get_text(uint64 row, int col);			/* NULL for null */
extern int64 jny_get_int8(uint64 row, int col, int64 missing);
extern pg_uuid_t *jny_get_uuid(uint64 row, int col);

/* ---- plans that stay right while tables grow (pin.c) ------------------- */

/*
 * Index probes only and one plan for all parameters, until the level that is
 * returned is given back: in laps and in the calls of senders. An abort of
 * the (sub)transaction gives it back, too.
 */
extern void jny_set(const char *name, const char *value);
extern int	jny_pin_plans(void);
extern int	jny_pin_path(void);
extern void jny_unpin(int level);	/* either */
extern void jny_pin_init(void);

/* ---- jsonb in C (doc.c) ----------------------------------------------- */

extern JsonbValue *jny_json_field(Jsonb *object, const char *key, JsonbValue *out); /* NULL when absent */
extern char *jny_json_text(Jsonb *object, const char *key);		/* scalar as text; NULL when absent, null or not a scalar */
extern Jsonb *jny_json_object(Jsonb *object, const char *key);	/* nested object or array; NULL when absent */
extern bool jny_json_bool(Jsonb *object, const char *key, bool missing);
extern Interval *jny_json_interval(Jsonb *object, const char *key);
extern Jsonb *jny_json_parse(const char *text);
extern char *jny_json_scalar_text(JsonbValue *value);
/*
 * The members of an object one after the other; of anything else there are
 * none. The values are valid as long as the object.
 *	JsonbIterator *it = jny_json_members(object);
 *	while (jny_json_next(&it, &name, &value)) ...
 */
extern JsonbIterator *jny_json_members(Jsonb *object);
extern bool jny_json_next(JsonbIterator **it, char **name, JsonbValue *value);
/* One more member of the object that is being built; NULL = null. */
extern void jny_json_put(JsonbParseState **state, const char *key, Jsonb *value);
/* {} and [], for the life of the backend. */
extern Jsonb *jny_json_empty_object(void);
extern Jsonb *jny_json_empty_array(void);

/* ---- local time (zone.c) ---------------------------------------------- */

extern bool jny_zone_valid(const char *zone);
extern Timestamp jny_zone_local(TimestampTz at, const char *zone);	/* unknown zone = UTC */
extern TimestampTz jny_zone_instant(Timestamp local, const char *zone);
extern TimestampTz jny_zone_plus(TimestampTz at, const Interval *span, const char *zone);	/* days and months by the calendar there */
extern TimestampTz jny_zone_midnight(TimestampTz at, int days, const char *zone);	/* of the local day, days later */
extern TimestampTz jny_zone_window(TimestampTz now, const Interval *per, bool calendar, const char *zone, TimestampTz *next);
extern int64 jny_zone_time_of_day(const char *text);	/* "21:00" in microseconds; -1 = no time */
extern TimestampTz jny_zone_quiet_until(TimestampTz at, const char *from, const char *to, const char *zone); /* 0 = not quiet */

#endif							/* JNY_CORE_H */
