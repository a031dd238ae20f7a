/*
 * track.c
 *		journey.track() and journey.ingest(): events from applications.
 *
 * Both append to the inbox in the caller's transaction; neither waits for
 * anybody. track() refuses a bad event with an error; ingest() puts it into
 * quarantine, with its reason, and takes the others; an opt-out counts all the same.
 */
#include "observe/message.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Messages that are parsed before they are appended together. */
#define CHUNK 500

JNY_PLAN(put_quarantine, "uuid[], text[], text[], text[], jsonb[]",
		 "INSERT INTO journey.quarantine (quarantine_id, received_at, origin, source, sqlstate, reason, original)"
		 " SELECT q.id, pg_catalog.clock_timestamp(), 'ingest', q.source, q.sqlstate, q.reason, q.original"
		 " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2),"
		 "      pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)) AS q(id, source, sqlstate, reason, original)");

static void
require_installed(const char *what)
{
	Oid			nsp = get_namespace_oid("journey", true);

	if (!OidIsValid(nsp) || !OidIsValid(get_relname_relid("source", nsp)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("journey is not installed in this database"),
				 errhint("Run SELECT journey.install() and SELECT journey.adopt().")));
	jny_require_primary(what);
}

PG_FUNCTION_INFO_V1(journey_track);

static char *
text_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static void
refuse(const JnyFault *fault)
{
	ereport(ERROR,
			(errcode(fault->sqlstate),
			 errmsg("%s", fault->reason),
			 errhint("%s", fault->hint)));
}

/* More than one row: a message in another vocabulary that lists several products. */
static void
track_items(const JnyMessage *m, int n)
{
	JnyInboxRow *row = palloc(sizeof(JnyInboxRow) * n);
	JnyKeys    *keys = palloc(sizeof(JnyKeys) * n);
	JnyFault	fault;

	for (int i = 0; i < n; i++)
	{
		JnyMessage	one;

		jny_message_item(m, i, &one);
		if (!jny_message_row(&one, &row[i], &keys[i], &fault))
			refuse(&fault);
	}
	jny_inbox_append(row, n);
}

Datum
journey_track(PG_FUNCTION_ARGS)
{
	JnyMessage	m = {0};
	JnyFault	fault;
	JnyInboxRow row;
	JnyKeys		keys;
	int			n;

	require_installed("track");
	m.source = text_arg(fcinfo, 0);
	m.type = text_arg(fcinfo, 1);
	m.subject = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	m.props = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3);
	m.occurred_at = PG_ARGISNULL(4) ? 0 : PG_GETARG_TIMESTAMPTZ(4);
	m.message_id = text_arg(fcinfo, 5);
	jny_message_canonical(&m);
	if ((n = jny_message_items(&m, &fault)) < 0)
		refuse(&fault);
	if (n > 0)
	{
		track_items(&m, n);
		PG_RETURN_VOID();
	}
	if (!jny_message_row(&m, &row, &keys, &fault))
		refuse(&fault);
	jny_inbox_append(&row, 1);
	PG_RETURN_VOID();
}

/* ---- ingest ----------------------------------------------------------------- */

typedef struct Ingest
{
	int			nrows;
	JnyInboxRow row[CHUNK];
	JnyKeys		keys[CHUNK];
	MemoryContext chunk;		/* of the messages in row */
	MemoryContext whole;		/* of the call */
	JnyCols    *bad;			/* NULL = none yet */
	int			accepted;
	int			quarantined;
} Ingest;

static void
append_chunk(Ingest *in)
{
	jny_inbox_append(in->row, in->nrows);
	in->nrows = 0;
	MemoryContextReset(in->chunk);
}

static void
put_aside(Ingest *in, Jsonb *original, const JnyMessage *m, const JnyFault *fault)
{
	MemoryContext old = MemoryContextSwitchTo(in->whole);
	pg_uuid_t	id;

	if (in->bad == NULL)
		in->bad = jny_cols("uuid, text, text, text, jsonb");
	jny_uuid_v7(&id);
	jny_cols_set(in->bad, 0, jny_uuid_datum(&id));
	jny_cols_text(in->bad, 1, m->source);
	jny_cols_text(in->bad, 2, unpack_sql_state(fault->sqlstate));
	jny_cols_text(in->bad, 3, fault->reason);
	jny_cols_set(in->bad, 4, JsonbPGetDatum(original));
	jny_cols_next(in->bad);
	in->quarantined++;
	MemoryContextSwitchTo(old);
}

/* All the rows of a message, or none. */
static bool
make_rows(Ingest *in, Jsonb *json, JnyMessage *m, JnyFault *fault)
{
	int			n;

	if (!jny_message_parse(json, m, fault))
		return false;
	if ((n = jny_message_items(m, fault)) < 0)
		return false;
	n = Max(n, 1);
	for (int i = 0; i < n; i++)
	{
		JnyMessage	one;

		jny_message_item(m, i, &one);
		if (!jny_message_row(&one, &in->row[in->nrows + i], &in->keys[in->nrows + i], fault))
			return false;
	}
	in->nrows += n;
	in->accepted++;
	return true;
}

static void
take_message(Ingest *in, Jsonb *json)
{
	MemoryContext old = MemoryContextSwitchTo(in->chunk);
	JnyMessage	m;
	JnyFault	fault;

	if (!make_rows(in, json, &m, &fault))
	{
		put_aside(in, json, &m, &fault);
		if (jny_message_opt_out(json, &in->row[in->nrows], &in->keys[in->nrows]))
			in->nrows++;
	}
	MemoryContextSwitchTo(old);
	if (in->nrows > CHUNK - JNY_MAX_ITEMS)
		append_chunk(in);
}

/* A GA4 payload may hold several events, each good or bad by itself. */
static void
take_json(Ingest *in, Jsonb *json)
{
	List	   *parts = jny_message_parts(json);
	ListCell   *lc;

	if (parts == NIL)
		take_message(in, json);
	foreach(lc, parts)
		take_message(in, lfirst(lc));
}

static void
take_array(Ingest *in, Jsonb *messages)
{
	JsonbIterator *it = JsonbIteratorInit(&messages->root);
	JsonbValue	v;

	(void) JsonbIteratorNext(&it, &v, true);
	while (JsonbIteratorNext(&it, &v, true) == WJB_ELEM)
	{
		MemoryContext old = MemoryContextSwitchTo(in->chunk);
		Jsonb	   *json = JsonbValueToJsonb(&v);

		MemoryContextSwitchTo(old);
		CHECK_FOR_INTERRUPTS();
		take_json(in, json);
	}
}

/* Runs as journey_owner. */
static void
ingest(Ingest *in, Jsonb *messages)
{
	in->whole = CurrentMemoryContext;
	in->chunk = AllocSetContextCreate(CurrentMemoryContext, "journey ingest", ALLOCSET_DEFAULT_SIZES);
	if (JB_ROOT_IS_ARRAY(messages) && !JB_ROOT_IS_SCALAR(messages))
		take_array(in, messages);
	else
		take_json(in, messages);
	append_chunk(in);
	MemoryContextDelete(in->chunk);
}

PG_FUNCTION_INFO_V1(journey_ingest);
PG_FUNCTION_INFO_V1(journey_ingest_one);

Datum
journey_ingest(PG_FUNCTION_ARGS)
{
	Ingest	   *in = palloc0(sizeof(Ingest));
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	require_installed("ingest");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("messages are missing"),
				 errhint("Pass one message or an array of messages.")));
	ingest(in, PG_GETARG_JSONB_P(0));
	if (in->bad != NULL)
	{
		SPI_connect();
		jny_run(&put_quarantine, jny_cols_datums(in->bad, 0), NULL);
		SPI_finish();
	}
	values[0] = Int32GetDatum(in->accepted);
	values[1] = Int32GetDatum(in->quarantined);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* One message again: null when it was taken, else why not. */
Datum
journey_ingest_one(PG_FUNCTION_ARGS)
{
	Ingest	   *in = palloc0(sizeof(Ingest));
	JnyMessage	m;
	JnyFault	fault;

	if (!make_rows(in, PG_GETARG_JSONB_P(0), &m, &fault))
		PG_RETURN_TEXT_P(cstring_to_text(fault.reason));
	jny_inbox_append(in->row, in->nrows);
	PG_RETURN_NULL();
}
