/*
 * tally.c
 *		What a lap counts, reports and sets aside: sources and their freshness,
 *		event types, second writers of a signal, incidents, quarantine.
 *
 * Called by every file of observe; five statements per lap at most, all at
 * its end. Counted in memory first, so that a burst of one kind of trouble is
 * one row touched.
 */
#include "observe/fact.h"

#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#define SIGNALS 5

typedef struct SourceCount
{
	char		name[JNY_NAME_KEY];
	int64		events;
	TimestampTz last_event_at;
	TimestampTz last_received_at;
	int64		signal[SIGNALS];
} SourceCount;

typedef struct TypeCount
{
	char		name[JNY_NAME_KEY];
	int64		seen;
} TypeCount;

typedef struct IncidentKey
{
	char		kind[NAMEDATALEN];
	char		name[JNY_NAME_KEY];
} IncidentKey;

typedef struct Incident
{
	IncidentKey key;
	int64		count;
	const char *severity;
	const char *message;
	const char *hint;
} Incident;

typedef struct JnyTally
{
	HTAB	   *sources;
	HTAB	   *types;
	HTAB	   *incidents;
	JnyCols    *quarantine;
} JnyTally;

static const char *const signals[SIGNALS] = {"identity", "orders", "inventory", "consent", "eligibility"};

JNY_PLAN(count_sources, "text[], bigint[], timestamptz[], timestamptz[]",
		 "INSERT INTO journey.source AS s (source, events, last_event_at, last_received_at)"
		 " SELECT n.* FROM unnest($1, $2, $3, $4) AS n"
		 " ON CONFLICT (source) DO UPDATE SET events = s.events + excluded.events,"
		 "  last_event_at = GREATEST(s.last_event_at, excluded.last_event_at),"
		 "  last_received_at = GREATEST(s.last_received_at, excluded.last_received_at)");
JNY_PLAN(count_types, "text[], bigint[], timestamptz",
		 "INSERT INTO journey.event_type AS t (type, known, meaning, seen, first_at, last_at)"
		 " SELECT n.type, false, 'seen, but not in the vocabulary', n.seen, $3, $3"
		 " FROM unnest($1, $2) AS n(type, seen)"
		 " ON CONFLICT (type) DO UPDATE SET seen = t.seen + excluded.seen,"
		 "  first_at = COALESCE(t.first_at, excluded.first_at), last_at = excluded.last_at");
JNY_PLAN(note_writers, "text[], text[], bigint[], timestamptz",
		 "UPDATE journey.source_of_truth t SET second_writer = n.source, second_at = $4,"
		 "  second_count = t.second_count + n.count"
		 " FROM (SELECT w.signal, pg_catalog.min(w.source) AS source, pg_catalog.sum(w.count)::bigint AS count"
		 "   FROM unnest($1, $2, $3) AS w(signal, source, count)"
		 "   JOIN journey.source_of_truth d ON d.signal = w.signal AND d.source <> w.source GROUP BY w.signal) AS n"
		 " WHERE t.signal = n.signal RETURNING t.signal, n.source");
JNY_PLAN(note_incidents, "text[], text[], text[], bigint[], text[], text[], timestamptz",
		 "INSERT INTO journey.incident AS i (kind, name, severity, count, first_at, last_at, message, hint, detail)"
		 " SELECT n.kind, n.name, n.severity, n.count, $7, $7, n.message, n.hint, '{}'"
		 " FROM unnest($1, $2, $3, $4, $5, $6) AS n(kind, name, severity, count, message, hint)"
		 " ON CONFLICT (kind, name) DO UPDATE SET count = i.count + excluded.count, last_at = excluded.last_at,"
		 "  severity = excluded.severity, message = excluded.message, hint = excluded.hint, resolved_at = NULL");
JNY_PLAN(insert_quarantine, "uuid[], timestamptz[], text[], text[], text[], text[], jsonb[], text[]",
		 "INSERT INTO journey.quarantine (quarantine_id, received_at, origin, source, sqlstate, reason, original, original_text)"
		 " SELECT n.* FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) AS n");

static HTAB *
table(JnyTake *take, const char *name, size_t key, size_t entry, int flags)
{
	HASHCTL		ctl = {.keysize = key, .entrysize = entry, .hcxt = take->batch->cxt};

	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_CONTEXT | flags);
}

void
jny_tally_begin(JnyTake *take)
{
	JnyTally   *t = palloc0(sizeof(JnyTally));

	t->sources = table(take, "journey source counts", JNY_NAME_KEY, sizeof(SourceCount), HASH_STRINGS);
	t->types = table(take, "journey type counts", JNY_NAME_KEY, sizeof(TypeCount), HASH_STRINGS);
	t->incidents = table(take, "journey incidents", sizeof(IncidentKey), sizeof(Incident), HASH_BLOBS);
	t->quarantine = jny_cols("uuid, timestamptz, text, text, text, text, jsonb, text");
	take->tally = t;
}

/* Which of the five signals the fact writes; -1 = none. */
static int
signal_of(const JnyFact *fact)
{
	switch (fact->kind)
	{
		case JNY_KIND_CUSTOMER:
			return 0;
		case JNY_KIND_ORDER:
		case JNY_KIND_ORDER_LINE:
			return 1;
		case JNY_KIND_STOCK:
			return 2;
		case JNY_KIND_CONSENT:
			return 3;
		case JNY_KIND_EVENT:
			break;
		default:
			return -1;
	}
	if (strcmp(fact->type, "identified") == 0)
		return 0;
	if (strncmp(fact->type, "order_", 6) == 0)
		return 1;
	if (strcmp(fact->type, "stock_changed") == 0)
		return 2;
	if (strncmp(fact->type, "consent_", 8) == 0)
		return 3;
	if (strcmp(fact->type, "tier_changed") == 0 || strncmp(fact->type, "reward_", 7) == 0)
		return 4;
	return -1;
}

void
jny_tally_fact(JnyTake *take, JnyFact *fact)
{
	SourceCount *s;
	int			signal = signal_of(fact);
	bool		found;

	if (fact->kind == JNY_KIND_ACTION || fact->kind == JNY_KIND_OTHER)
		return;
	s = hash_search(take->tally->sources, fact->source, HASH_ENTER, &found);
	if (!found)
		memset((char *) s + JNY_NAME_KEY, 0, sizeof(SourceCount) - JNY_NAME_KEY);
	s->events++;
	s->last_event_at = Max(s->last_event_at, fact->occurred_at);
	s->last_received_at = Max(s->last_received_at, fact->received_at);
	if (signal >= 0)
		s->signal[signal]++;
}

void
jny_tally_type(JnyTake *take, const char *type)
{
	bool		found;
	TypeCount  *t = hash_search(take->tally->types, type, HASH_ENTER, &found);

	t->seen = found ? t->seen + 1 : 1;
}

void
jny_tally_incident(JnyTake *take, const char *kind, const char *name, const char *severity,
				   const char *message, const char *hint)
{
	IncidentKey key;
	Incident   *i;
	bool		found;

	memset(&key, 0, sizeof(key));
	strlcpy(key.kind, kind, sizeof(key.kind));
	/* a name may be cut, but not within a character */
	memcpy(key.name, name, pg_mbcliplen(name, strlen(name), sizeof(key.name) - 1));
	i = hash_search(take->tally->incidents, &key, HASH_ENTER, &found);
	i->count = found ? i->count + 1 : 1;
	i->severity = severity;
	i->message = message;
	i->hint = hint;
}

static const char *
origin_of(const JnyInboxRaw *row)
{
	return row->copied ? "copy" : row->op == JNY_OP_EVENT || row->op == JNY_OP_OLD_EVENT ? "track" : "capture";
}

/* The row as it came, so that it can be sent again once the cause is gone. */
static Jsonb *
original_of(const JnyInboxRaw *row)
{
	JnyObject	o;
	char		op[2] = {row->op, '\0'};

	jny_object_begin(&o);
	jny_object_text(&o, "op", op);
	jny_object_text(&o, "source", row->source);
	jny_object_text(&o, "type", row->type);
	jny_object_text(&o, "scope", row->scope);
	jny_object_text(&o, "ref", row->ref);
	jny_object_text(&o, "message_id", row->message_id);
	if (row->occurred_at != 0)
		jny_object_text(&o, "occurred_at", timestamptz_to_str(row->occurred_at));
	jny_object_json(&o, "subject", row->subject);
	jny_object_json(&o, "props", row->props);
	if (row->attachment != 0)
		jny_object_number(&o, "attachment", jny_num_int(row->attachment));
	return jny_object_end(&o);
}

void
jny_tally_quarantine(JnyTake *take, const JnyInboxRaw *row, const char *sqlstate, const char *reason)
{
	JnyCols    *q = take->tally->quarantine;
	pg_uuid_t	id;

	jny_uuid_v7(&id);
	jny_cols_set(q, 0, jny_uuid_datum(&id));
	jny_cols_set(q, 1, TimestampTzGetDatum(row->received_at));
	jny_cols_text(q, 2, origin_of(row));
	jny_cols_text(q, 3, row->source);
	jny_cols_text(q, 4, sqlstate);
	jny_cols_text(q, 5, reason);
	jny_cols_set(q, 6, JsonbPGetDatum(original_of(row)));
	if (row->cols != NULL)
		jny_cols_text(q, 7, OidOutputFunctionCall(F_ARRAY_OUT, PointerGetDatum(row->cols)));
	jny_cols_next(q);
	take->batch->quarantined++;
}

/* ---- writing ---------------------------------------------------------- */

static void
write_sources(JnyTake *take)
{
	JnyCols    *cols = jny_cols("text, bigint, timestamptz, timestamptz");
	JnyCols    *writers = jny_cols("text, text, bigint");
	HASH_SEQ_STATUS scan;
	SourceCount *s;
	Datum	   *args;

	hash_seq_init(&scan, take->tally->sources);
	while ((s = hash_seq_search(&scan)) != NULL)
	{
		jny_cols_text(cols, 0, s->name);
		jny_cols_set(cols, 1, Int64GetDatum(s->events));
		jny_cols_set(cols, 2, TimestampTzGetDatum(s->last_event_at));
		jny_cols_set(cols, 3, TimestampTzGetDatum(s->last_received_at));
		jny_cols_next(cols);
		for (int i = 0; i < SIGNALS; i++)
		{
			if (s->signal[i] == 0)
				continue;
			jny_cols_text(writers, 0, signals[i]);
			jny_cols_text(writers, 1, s->name);
			jny_cols_set(writers, 2, Int64GetDatum(s->signal[i]));
			jny_cols_next(writers);
		}
	}
	if (jny_cols_count(cols) > 0)
		jny_run(&count_sources, jny_cols_datums(cols, 0), NULL);
	if (jny_cols_count(writers) == 0)
		return;
	args = jny_cols_datums(writers, 1);
	args[3] = TimestampTzGetDatum(take->batch->node.now);
	jny_run(&note_writers, args, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
		jny_tally_incident(take, "second_writer", psprintf("%s: %s", jny_get_text(row, 1), jny_get_text(row, 2)),
						   "warning", "a source writes a signal whose source of truth is declared to be another",
						   "Correct journey.declare_truth(), or stop the second source from writing the signal.");
}

static void
write_types(JnyTake *take)
{
	JnyCols    *cols = jny_cols("text, bigint");
	HASH_SEQ_STATUS scan;
	TypeCount  *t;
	Datum	   *args;

	hash_seq_init(&scan, take->tally->types);
	while ((t = hash_seq_search(&scan)) != NULL)
	{
		jny_cols_text(cols, 0, t->name);
		jny_cols_set(cols, 1, Int64GetDatum(t->seen));
		jny_cols_next(cols);
	}
	if (jny_cols_count(cols) == 0)
		return;
	args = jny_cols_datums(cols, 1);
	args[2] = TimestampTzGetDatum(take->batch->node.now);
	jny_run(&count_types, args, NULL);
}

static void
write_incidents(JnyTake *take)
{
	JnyCols    *cols = jny_cols("text, text, text, bigint, text, text");
	HASH_SEQ_STATUS scan;
	Incident   *i;
	Datum	   *args;

	hash_seq_init(&scan, take->tally->incidents);
	while ((i = hash_seq_search(&scan)) != NULL)
	{
		jny_cols_text(cols, 0, i->key.kind);
		jny_cols_text(cols, 1, i->key.name);
		jny_cols_text(cols, 2, i->severity);
		jny_cols_set(cols, 3, Int64GetDatum(i->count));
		jny_cols_text(cols, 4, i->message);
		jny_cols_text(cols, 5, i->hint);
		jny_cols_next(cols);
	}
	if (jny_cols_count(cols) == 0)
		return;
	args = jny_cols_datums(cols, 1);
	args[6] = TimestampTzGetDatum(take->batch->node.now);
	jny_run(&note_incidents, args, NULL);
}

void
jny_tally_write(JnyTake *take)
{
	write_sources(take);
	write_types(take);
	write_incidents(take);
	if (jny_cols_count(take->tally->quarantine) > 0)
		jny_run(&insert_quarantine, jny_cols_datums(take->tally->quarantine, 0), NULL);
}
