/*
 * publish.c
 *		outbox_event: what becomes of actions, as rows for change data capture.
 *
 * Called by whoever enqueues actions or makes them final, inside SPI_connect()
 * and behind the statement that did so, in its transaction: an event is there
 * when and only when what it tells is. Does nothing unless journey.outbox_events
 * is on. Inserts only, into a table that nothing else writes; waits for nobody.
 * Ids are made of what happened, so that telling it twice is one row.
 */
#include "deliver/work.h"

#include "executor/spi.h"
#include "utils/builtins.h"

#define EVENT_OF(what, about, at, more) \
	"INSERT INTO journey.outbox_event (id, aggregatetype, aggregateid, type, payload, created_at)" \
	" SELECT pg_catalog.md5(a.action_id::text || '/' || " what " || '/' || pg_catalog.date_part('epoch', " at ")::text)::uuid," \
	"  'action', a.action_id::text, 'action_' || " what "," \
	"  pg_catalog.jsonb_build_object('action_id', a.action_id, 'profile_id', a.profile_id, 'journey', a.journey," \
	"   'version', a.version, 'step', a.step, 'channel', a.channel, 'purpose', a.purpose, 'scope', a.scope," \
	"   'template', a.template, 'idempotency_key', a.idempotency_key, 'decision_id', a.decision_id, 'at', " at more ")," \
	"  pg_catalog.clock_timestamp()" \
	" FROM " about " WHERE NOT a.test ON CONFLICT (id) DO NOTHING"

JNY_PLAN(tell_enqueued, "uuid[]",
		 EVENT_OF("'enqueued'", "pg_catalog.unnest($1) AS u(id) JOIN journey.outbox a ON a.action_id = u.id", "a.decided_at",
				  ", 'due_at', a.due_at, 'not_after', a.not_after"));
JNY_PLAN(tell_final, "uuid[], timestamptz",
		 EVENT_OF("a.status",
				  "pg_catalog.unnest($1) AS u(id) JOIN journey.outbox_history a ON a.action_id = u.id AND a.finished_at = $2", "a.finished_at",
				  ", 'reason', a.reason, 'attempt', a.attempt, 'provider_ref', a.provider_ref"));

static void
add(JnyCols *ids, const pg_uuid_t *id)
{
	jny_cols_set(ids, 0, UUIDPGetDatum(id));
	jny_cols_next(ids);
}

void
jny_publish_enqueued(List *actions)
{
	JnyCols    *ids = jny_cols("uuid");
	ListCell   *lc;

	if (!jny_outbox_events || actions == NIL)
		return;
	foreach(lc, actions)
		add(ids, &((JnyAction *) lfirst(lc))->action_id);
	jny_run(&tell_enqueued, jny_cols_datums(ids, 0), NULL);
}

static void
tell_finals(JnyCols *ids, TimestampTz now)
{
	Datum	   *values = jny_cols_datums(ids, 1);

	values[1] = TimestampTzGetDatum(now);
	jny_run(&tell_final, values, NULL);
}

void
jny_publish_final(List *works, TimestampTz now)
{
	JnyCols    *ids = jny_cols("uuid");
	ListCell   *lc;

	if (!jny_outbox_events || works == NIL)
		return;
	foreach(lc, works)
		add(ids, &((JnyWork *) lfirst(lc))->action_id);
	tell_finals(ids, now);
}

void
jny_publish_found(int n, TimestampTz now)
{
	JnyCols    *ids = jny_cols("uuid");

	if (!jny_outbox_events || n == 0)
		return;
	for (int i = 0; i < n; i++)
		add(ids, jny_get_uuid(i, 1));
	tell_finals(ids, now);
}
