/*
 * inbox.h
 *		Appending to the inbox and reading the fences that stand in it.
 *
 * The write path of the shop ends here. Appending never waits for the end of
 * another transaction, calls no function that can reject a value, needs no
 * privilege of the caller and takes no snapshot.
 */
#ifndef JNY_INBOX_H
#define JNY_INBOX_H

#include "core/core.h"

#include "nodes/pg_list.h"

/* journey.inbox_seq hands out numbers by blocks of so many: its increment. */
#define JNY_SEQ_BLOCK 64

/* Generations of the inbox: inbox_0, inbox_1 ... */
#define JNY_GENERATIONS 3

#define JNY_DEFAULT_SCOPE "default"

/* Values of inbox.op */
#define JNY_OP_EVENT	'e'		/* track, ingest, COPY: source, type, subject, props ... */
#define JNY_OP_INSERT	'I'		/* captured row: cols = new values */
#define JNY_OP_UPDATE	'U'		/* captured row: cols = new values, then old values */
#define JNY_OP_DELETE	'D'		/* captured row: cols = old values */
#define JNY_OP_TRUNCATE 'T'
#define JNY_OP_BACKFILL 'B'		/* row read by attach's back-fill or reconcile: cols = values; state and suppression yes, enroll never */
#define JNY_OP_OLD_EVENT 'b'	/* as 'e', sent with backfill = true */
#define JNY_OP_ACTION	'a'		/* outcome of an action, for its enrollment; type = action_sent, action_refused,
								 * action_expired, action_dead, action_unknown, action_cancelled;
								 * cols = {profile_id, action_id, enrollment_id, step, visit, reason} */
#define JNY_OP_FENCE	'f'		/* a second fence of the captured row before it: type, ref, keys, subject, props;
								 * stops actions, is no event (observe/capture.h) */

/* Values of inbox.fence */
#define JNY_FENCE_NONE		'\0'
#define JNY_FENCE_EVENT		'f'	/* an event of a fenced type: stops actions that list its type */
#define JNY_FENCE_LINK		'l'	/* no fence of its own; its keys belong to one person */
#define JNY_FENCE_RELEASE	'r'	/* takes back the fence of the same type and ref; highest seq per ref wins */
#define JNY_FENCE_BROKEN	'b'	/* wildcard: a mapping no longer fits, every suppressible permit answers stale_data */

typedef struct JnyInboxRow
{
	char		op;
	char		fence;
	int			attachment;		/* 0 = none */
	const char *source;
	const char *scope;
	const char *type;
	const char *message_id;
	const char *ref;			/* object that the event is about, as 'order:42' */
	TimestampTz occurred_at;	/* 0 = now */
	Jsonb	   *subject;
	Jsonb	   *props;
	Datum		cols;			/* text[], 0 = none */
	int			nkeys;
	const int64 *keys;			/* jny_key_hash of every subject key and entry object; stored with a fence only */
} JnyInboxRow;

extern void jny_inbox_append(const JnyInboxRow *rows, int nrows);

/* The next number in the order of capture (shmem.c); the sequence is journey.inbox_seq. */
extern int64 jny_next_seq(Oid sequence);
/* The sequence was set forward: what is left of the block before is not used. */
extern void jny_renew_seq(Oid sequence);

/*
 * Is this type fenced by any live document (or always)? Cached, invalidated.
 * Assigns the transaction's id: whoever gets a later id than the moment at
 * which everybody knew a type, knows it.
 */
extern bool jny_type_is_fenced(const char *type);

/* Does this type always end marketing, as far as its channel and purpose reach? */
extern bool jny_type_is_opt_out(const char *type);
/* Is it an opt-out that names its message, and so the person? */
extern bool jny_names_message(const char *type, Jsonb *props);
/* The reason code that a permit answers when an event of this type stops it. */
extern const char *jny_suppression_reason(const char *type);

/*
 * The consumer's part of "everybody knows": notes which types became known to
 * all writers before window, and makes effective what the window has passed.
 * Inside SPI_connect().
 */
extern void jny_types_note(void);
extern void jny_types_settle(const char *window);

/*
 * A type becomes fenced when a document lists it. Rows written before every
 * writer knew that carry no fence, so the document may act on the type only
 * once all transactions of that time have been consumed.
 */
extern bool jny_type_is_effective(const char *type);

/* ---- keys and marks of an event (keys.c) ------------------------------- */

#define JNY_MAX_KEYS 32
/* Of one subject: attach() and track() refuse more, copied rows go to quarantine. */
#define JNY_SUBJECT_KEYS 14

typedef struct JnyKeys
{
	int			n;
	int64		hash[JNY_MAX_KEYS];
} JnyKeys;

/* Each adds one hash, once; blank values and group or shared namespaces add none. */
extern void jny_keys_add(JnyKeys *keys, const char *namespace, const char *scope, const char *value);
/* Of an object of namespaces with a value each; anything else adds none. */
extern void jny_keys_add_subject(JnyKeys *keys, Jsonb *subject, const char *scope);
extern void jny_keys_add_object(JnyKeys *keys, const char *namespace, const char *scope, const char *id);

/* What stands for a value that another scope may have, too: identity, fences and specs say it alike. */
extern char *jny_key_in_scope(const char *scope, const char *value);

/* The mark of an event with these keys, as JNY_FENCE_*. */
extern char jny_fence_of(const char *type, const char *ref, const JnyKeys *keys);

/*
 * Scope of a source, from journey.source; JNY_DEFAULT_SCOPE for one that has
 * no row. Cached: whoever changes journey.source or journey.namespace calls
 * journey._invalidate(regclass) in the same transaction. A copy.
 */
extern char *jny_source_scope(const char *source);
/* False when its document says so: its word grants no consent and links no keys. Cached alike. */
extern bool jny_source_trusted(const char *source);

/* ---- fences, as a permit sees them ------------------------------------ */

typedef struct JnyFence
{
	int64		seq;
	char		fence;
	const char *type;
	const char *ref;
	const char *scope;
	int			nkeys;
	int64	   *keys;
	/* of an opt-out; NULL = every */
	const char *channel;
	const char *purpose;
	/* the message that a complaint or an opt-out is about, which tells channel and person */
	const char *action;
	const char *provider_ref;
} JnyFence;

typedef struct JnyFences
{
	int			n;
	JnyFence   *fence;			/* released ones left out; links kept */
	bool		broken;			/* a wildcard stands, or an attachment is noted as broken */
	bool		overflow;		/* more than journey.max_fences: answer stale_data */
	bool		lagging;		/* unconsumed rows older than journey.max_permit_lag */
	int64		lap;			/* cursor's lap, same snapshot */
	int64		applied_seq;
	char	   *snapshot;		/* pg_snapshot text of what read them */
	/* private: entries by key, made on first use */
	int			nby_key;
	struct JnyFenceKey *by_key;
} JnyFences;

/*
 * Reads cursor and every unconsumed fenced row with one new snapshot. Refuses
 * SERIALIZABLE (25001): SIREAD locks on the inbox would fail the shop's
 * transactions. The result lives in the caller's context.
 */
extern JnyFences *jny_fences_read(void);

/*
 * Closes a set of key hashes over unconsumed links, in place; false when the
 * closure does not end within its bound (answer stale_data).
 */
extern bool jny_fences_close(JnyFences *fences, int64 **keys, int *nkeys);

/* The fences (JNY_FENCE_EVENT) with one of these keys, as JnyFence *, each once. */
extern List *jny_fences_matching(JnyFences *fences, const int64 *keys, int nkeys);

#endif							/* JNY_INBOX_H */
