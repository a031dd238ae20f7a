/*
 * tally.c
 *		What a lap counts, reports and sets aside: sources and their freshness,
 *		event types, second writers of a signal, incidents, quarantine.
 *
 * Called by every file of observe; written at the end of the lap. Counted in
 * memory first, so that a burst of one kind of trouble is one row touched.
 * Incidents have other writers beside the lap, hence their statement.
 */
#include "observe/fact.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#define SIGNALS 5
#define IDENTITY (1 << 0)
#define ORDERS (1 << 1)
#define INVENTORY (1 << 2)
#define CONSENT (1 << 3)
#define ELIGIBILITY (1 << 4)

typedef struct SourceCount
{
	const char *name;			/* hash key, first */
	int64		events;
	TimestampTz last_event_at;
	TimestampTz last_received_at;
	int64		signal[SIGNALS];
} SourceCount;

typedef struct TypeCount
{
	const char *name;			/* hash key, first */
	int64		seen;
	bool		counted;		/* its row is there */
} TypeCount;

typedef struct IncidentKey
{
	char		kind[NAMEDATALEN];
	char		name[128];		/* a longer one is cut */
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
	HTAB	   *incidents;		/* NULL = none */
	JnyOut		quarantine;
} JnyTally;

static const char *const signals[SIGNALS] = {"identity", "orders", "inventory", "consent", "eligibility"};

JNY_UPSERT(count_sources, "source", "source_pkey", "source",
		   "source, events, last_event_at, last_received_at", "events +, last_event_at >, last_received_at >");
JNY_CHANGE(count_types, "event_type", "event_type_pkey", "type", "seen, first_at, last_at", "seen, first_at, last_at");
JNY_INSERT(insert_types, "event_type", "type, known, meaning, seen, first_at, last_at");
JNY_LOOKUP(find_truth, "source_of_truth", "source_of_truth_pkey", "signal", "source", NULL);
JNY_CHANGE(note_writers, "source_of_truth", "source_of_truth_pkey", "signal",
		   "second_writer, second_at, second_count", "second_writer, second_at, second_count");
JNY_PLAN(note_incidents, "text[], text[], text[], bigint[], text[], text[], timestamptz",
		 "INSERT INTO journey.incident AS i (kind, name, severity, count, first_at, last_at, message, hint, detail)"
		 " SELECT n.kind, n.name, n.severity, n.count, $7, $7, n.message, n.hint, '{}'"
		 " FROM unnest($1, $2, $3, $4, $5, $6) AS n(kind, name, severity, count, message, hint)"
		 " ON CONFLICT (kind, name) DO UPDATE SET count = i.count + excluded.count, last_at = excluded.last_at,"
		 "  severity = excluded.severity, message = excluded.message, hint = excluded.hint, resolved_at = NULL");
JNY_INSERT(insert_quarantine, "quarantine",
		   "quarantine_id, received_at, origin, source, sqlstate, reason, original, original_text");

static JnyTally *
tally_of(JnyTake *take)
{
	if (take->tally == NULL)
	{
		take->tally = palloc0(sizeof(JnyTally));
		take->tally->sources = jny_table_of_names(take, "journey source counts", sizeof(SourceCount));
		take->tally->types = jny_table_of_names(take, "journey type counts", sizeof(TypeCount));
		take->tally->quarantine.access = &insert_quarantine;
	}
	return take->tally;
}

/* Which of the five signals an event writes. */
static uint32
signals_of_event(const JnyFact *fact)
{
	if (strcmp(fact->type, "identified") == 0)
		return IDENTITY;
	if (strncmp(fact->type, "order_", 6) == 0)
		return ORDERS;
	if (strcmp(fact->type, "stock_changed") == 0 ||
		(strcmp(fact->type, "product_changed") == 0 && jny_json_text(fact->props, "available") != NULL))
		return INVENTORY;
	if (strncmp(fact->type, "consent_", 8) == 0)
		return CONSENT;
	if (strcmp(fact->type, "tier_changed") == 0 || strncmp(fact->type, "reward_", 7) == 0)
		return ELIGIBILITY;
	return 0;
}

static uint32
signals_of(const JnyFact *fact)
{
	switch (fact->kind)
	{
		case JNY_KIND_CUSTOMER:
			return fact->consents != NIL ? IDENTITY | CONSENT : IDENTITY;
		case JNY_KIND_ORDER:
		case JNY_KIND_ORDER_LINE:
			return ORDERS;
		case JNY_KIND_STOCK:
			return INVENTORY;
		case JNY_KIND_PRODUCT:
			return fact->f[JNY_F_AVAILABLE] != NULL ? INVENTORY : 0;
		case JNY_KIND_CONSENT:
			return CONSENT;
		case JNY_KIND_EVENT:
			return signals_of_event(fact);
		default:
			return 0;
	}
}

void
jny_tally_fact(JnyTake *take, JnyFact *fact)
{
	SourceCount *s;
	uint32		written = signals_of(fact);
	bool		found;

	if (fact->kind == JNY_KIND_ACTION || fact->kind == JNY_KIND_OTHER)
		return;
	s = hash_search(tally_of(take)->sources, &fact->source, HASH_ENTER, &found);
	if (!found)
		*s = (SourceCount) {.name = fact->source};
	s->events++;
	s->last_event_at = Max(s->last_event_at, fact->occurred_at);
	s->last_received_at = Max(s->last_received_at, fact->received_at);
	for (int i = 0; i < SIGNALS; i++)
		if (written & (1 << i))
			s->signal[i]++;
}

void
jny_tally_type(JnyTake *take, const char *type)
{
	bool		found;
	TypeCount  *t = hash_search(tally_of(take)->types, &type, HASH_ENTER, &found);

	t->seen = found ? t->seen + 1 : 1;
	t->counted = false;
}

void
jny_tally_incident(JnyTake *take, const char *kind, const char *name, const char *severity,
				   const char *message, const char *hint)
{
	JnyTally   *t = tally_of(take);
	IncidentKey key;
	Incident   *i;
	bool		found;

	if (t->incidents == NULL)
		t->incidents = jny_table(take, "journey incidents", sizeof(IncidentKey), sizeof(Incident));
	memset(&key, 0, sizeof(key));
	strlcpy(key.kind, kind, sizeof(key.kind));
	strlcpy(key.name, jny_clip(name, sizeof(key.name) - 1), sizeof(key.name));
	i = hash_search(t->incidents, &key, HASH_ENTER, &found);
	i->count = found ? i->count + 1 : 1;
	i->severity = severity;
	i->message = message;
	i->hint = hint;
}

static const char *
origin_of(const JnyInboxRaw *row)
{
	if (row->copied)
		return "copy";
	if (row->op == JNY_OP_ACTION)
		return "worker";
	return row->op == JNY_OP_EVENT || row->op == JNY_OP_OLD_EVENT ? "track" : "capture";
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
	if (row->recorded)
		jny_object_bool(&o, "recorded", true);
	return jny_object_end(&o);
}

void
jny_tally_quarantine(JnyTake *take, const JnyInboxRaw *row, const char *sqlstate, const char *reason)
{
	JnyCols    *q = jny_out(&tally_of(take)->quarantine);
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
	JnyOut		out = {.access = &count_sources};
	HASH_SEQ_STATUS scan;
	SourceCount *s;

	hash_seq_init(&scan, take->tally->sources);
	while ((s = hash_seq_search(&scan)) != NULL)
	{
		JnyCols    *cols = jny_out(&out);

		jny_cols_text(cols, 0, s->name);
		jny_cols_set(cols, 1, Int64GetDatum(s->events));
		jny_cols_set(cols, 2, TimestampTzGetDatum(s->last_event_at));
		jny_cols_set(cols, 3, TimestampTzGetDatum(s->last_received_at));
		jny_cols_next(cols);
	}
	jny_out_write(&out);
}

/* Another source than the declared one wrote the signal in this lap. */
typedef struct SecondWriter
{
	const char *source;
	int64		count;
	TimestampTz now;
} SecondWriter;

static void
find_second_writer(const JnyTally *tally, int signal, const char *truth, SecondWriter *second)
{
	HASH_SEQ_STATUS scan;
	SourceCount *s;

	hash_seq_init(&scan, tally->sources);
	while ((s = hash_seq_search(&scan)) != NULL)
	{
		if (s->signal[signal] == 0 || strcmp(s->name, truth) == 0)
			continue;
		second->count += s->signal[signal];
		if (second->source == NULL || strcmp(s->name, second->source) < 0)
			second->source = s->name;
	}
}

static bool
is_written(const JnyTally *tally, int signal)
{
	HASH_SEQ_STATUS scan;
	SourceCount *s;
	bool		written = false;

	hash_seq_init(&scan, tally->sources);
	while ((s = hash_seq_search(&scan)) != NULL)
		written |= s->signal[signal] > 0;
	return written;
}

static JnyChoice
note_writer(JnyRow *row, void *arg)
{
	const SecondWriter *second = arg;

	row->values[0] = CStringGetTextDatum(second->source);
	row->values[1] = TimestampTzGetDatum(second->now);
	row->values[2] = Int64GetDatum(DatumGetInt64(row->values[2]) + second->count);
	row->nulls[0] = row->nulls[1] = false;
	return JNY_CHOOSE;
}

static void
write_second_writer(JnyTake *take, int signal)
{
	JnyCols    *key = jny_cols_of(&find_truth);
	SecondWriter second = {.now = take->batch->node.now};
	JnyRows    *truth;

	jny_cols_text(key, 0, signals[signal]);
	jny_cols_next(key);
	truth = jny_lookup(&find_truth, key);
	if (truth->n > 0 && !truth->row[0].nulls[0])
		find_second_writer(take->tally, signal, jny_row_text(&truth->row[0], 0), &second);
	if (second.source == NULL)
		return;
	(void) jny_change(&note_writers, key, false, 1, note_writer, &second);
	jny_tally_incident(take, "second_writer", psprintf("%s: %s", signals[signal], second.source), "warning",
					   "a source writes a signal whose source of truth is declared to be another",
					   "Correct journey.declare_truth(), or stop the second source from writing the signal.");
}

typedef struct Counting
{
	List	   *types;			/* of TypeCount, by key */
	TimestampTz now;
} Counting;

static JnyChoice
count_type(JnyRow *row, void *arg)
{
	const Counting *counting = arg;
	TypeCount  *t = list_nth(counting->types, row->key);

	t->counted = true;
	row->values[0] = Int64GetDatum(DatumGetInt64(row->values[0]) + t->seen);
	if (row->nulls[1])
		row->values[1] = TimestampTzGetDatum(counting->now);
	row->values[2] = TimestampTzGetDatum(counting->now);
	row->nulls[1] = row->nulls[2] = false;
	return JNY_CHOOSE;
}

static void
write_types(JnyTake *take)
{
	Counting	counting = {.now = take->batch->node.now};
	JnyOut		keys = {.access = &count_types};
	JnyOut		fresh = {.access = &insert_types};
	HASH_SEQ_STATUS scan;
	TypeCount  *t;

	hash_seq_init(&scan, take->tally->types);
	while ((t = hash_seq_search(&scan)) != NULL)
	{
		jny_cols_text(jny_out(&keys), 0, t->name);
		jny_cols_next(keys.cols);
		counting.types = lappend(counting.types, t);
	}
	if (counting.types == NIL)
		return;
	(void) jny_change(&count_types, keys.cols, false, PG_INT32_MAX, count_type, &counting);
	hash_seq_init(&scan, take->tally->types);
	while ((t = hash_seq_search(&scan)) != NULL)
	{
		if (t->counted)
			continue;
		jny_cols_text(jny_out(&fresh), 0, t->name);
		jny_cols_set(fresh.cols, 1, BoolGetDatum(false));
		jny_cols_text(fresh.cols, 2, "seen, but not in the vocabulary");
		jny_cols_set(fresh.cols, 3, Int64GetDatum(t->seen));
		jny_cols_set(fresh.cols, 4, TimestampTzGetDatum(counting.now));
		jny_cols_set(fresh.cols, 5, TimestampTzGetDatum(counting.now));
		jny_cols_next(fresh.cols);
	}
	jny_out_write(&fresh);
}

static void
write_incidents(JnyTake *take)
{
	JnyCols    *cols;
	HASH_SEQ_STATUS scan;
	Incident   *i;
	Datum	   *args;

	if (take->tally->incidents == NULL)
		return;
	cols = jny_cols("text, text, text, bigint, text, text");
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
	args = jny_cols_datums(cols, 1);
	args[6] = TimestampTzGetDatum(take->batch->node.now);
	jny_run(&note_incidents, args, NULL);
}

void
jny_tally_write(JnyTake *take)
{
	if (take->tally == NULL)
		return;
	write_sources(take);
	for (int i = 0; i < SIGNALS; i++)
		if (is_written(take->tally, i))
			write_second_writer(take, i);
	write_types(take);
	write_incidents(take);
	jny_out_write(&take->tally->quarantine);
}
