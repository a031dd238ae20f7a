/*
 * session.c
 *		Visits: when each began, and from where its visitor came first and last.
 *
 * Called by take.c when the lap's events are known. A visit is of the person
 * whose events name it; first and last are by the events' own time, so it does
 * not matter in which order they come. One look and one write for all visits of
 * a lap; of events that neither begin a visit nor name a referrer nothing is kept.
 */
#include "observe/fact.h"

#include "utils/builtins.h"

#define SESSION_COLUMNS "started_at, seen_at, first_referrer, first_at, first_seq, last_referrer, last_at, last_seq"
JNY_LOOKUP(find_sessions, "session", "session_pkey", "bucket, profile_id, session_id", SESSION_COLUMNS, NULL);
JNY_UPSERT(write_sessions, "session", "session_pkey", "bucket, profile_id, session_id",
		   "bucket, profile_id, session_id, " SESSION_COLUMNS, SESSION_COLUMNS);

typedef struct Referrer
{
	const char *from;			/* NULL = none known */
	TimestampTz at;
	int64		seq;
} Referrer;

typedef struct Session
{
	const char *key;			/* person and id, for the table */
	const JnyProfile *profile;
	const char *id;
	TimestampTz started_at;
	TimestampTz seen_at;
	Referrer	first;
	Referrer	last;
} Session;

static bool
is_before(TimestampTz at, int64 seq, const Referrer *r)
{
	return at != r->at ? at < r->at : seq < r->seq;
}

static void
referred(Session *s, const char *from, TimestampTz at, int64 seq)
{
	if (s->first.from == NULL || is_before(at, seq, &s->first))
		s->first = (Referrer) {from, at, seq};
	if (s->last.from == NULL || !is_before(at, seq, &s->last))
		s->last = (Referrer) {from, at, seq};
}

static Session *
find(HTAB *sessions, const JnyEvent *e)
{
	const char *key = psprintf("%s %s", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&e->profile->id))),
							   e->session_id);
	bool		found;
	Session    *s = hash_search(sessions, &key, HASH_ENTER, &found);

	if (!found)
	{
		memset((char *) s + sizeof(s->key), 0, sizeof(Session) - sizeof(s->key));
		s->profile = e->profile;
		s->id = e->session_id;
	}
	return s;
}

/* The visits that the lap's events speak of; NULL = none. */
static HTAB *
gather(JnyTake *take)
{
	const JnyBatch *batch = take->batch;
	HTAB	   *sessions = NULL;

	for (int i = 0; i < batch->nevents; i++)
	{
		const JnyEvent *e = &batch->events[i];
		const char *referrer;
		TimestampTz at = Min(e->occurred_at, batch->node.now);
		Session    *s;

		if (e->session_id == NULL || e->is_action || e->fence_only || !jny_value_fits(e->session_id))
			continue;
		referrer = jny_json_text(e->props, "referrer");
		if (referrer != NULL && *referrer == '\0')
			referrer = NULL;
		if (referrer == NULL && strcmp(e->type, "session_started") != 0)
			continue;
		if (sessions == NULL)
			sessions = jny_table_of_names(take, "journey lap sessions", sizeof(Session));
		s = find(sessions, e);
		s->started_at = s->started_at == 0 ? at : Min(s->started_at, at);
		s->seen_at = Max(s->seen_at, at);
		if (referrer != NULL)
			referred(s, referrer, at, e->seq);
	}
	return sessions;
}

/* What was known before. */
static void
join(Session *s, const JnyRow *row, const JnyRows *rows, int i)
{
	s->started_at = Min(s->started_at, jny_row_time(row, 0));
	s->seen_at = Max(s->seen_at, jny_row_time(row, 1));
	if (!row->nulls[2])
		referred(s, jny_row_text(row, 2), jny_row_time(row, 3), jny_row_int(rows, i, 4, 0));
	if (!row->nulls[5])
		referred(s, jny_row_text(row, 5), jny_row_time(row, 6), jny_row_int(rows, i, 7, 0));
}

static void
put_key(JnyCols *cols, const Session *s)
{
	jny_cols_set(cols, 0, Int16GetDatum(s->profile->bucket));
	jny_cols_set(cols, 1, UUIDPGetDatum(&s->profile->id));
	jny_cols_text(cols, 2, s->id);
}

static void
put(JnyCols *cols, const Session *s)
{
	put_key(cols, s);
	jny_cols_time(cols, 3, s->started_at);
	jny_cols_time(cols, 4, s->seen_at);
	if (s->first.from != NULL)
	{
		jny_cols_text(cols, 5, s->first.from);
		jny_cols_time(cols, 6, s->first.at);
		jny_cols_set(cols, 7, Int64GetDatum(s->first.seq));
		jny_cols_text(cols, 8, s->last.from);
		jny_cols_time(cols, 9, s->last.at);
		jny_cols_set(cols, 10, Int64GetDatum(s->last.seq));
	}
	jny_cols_next(cols);
}

void
jny_session_write(JnyTake *take)
{
	HTAB	   *sessions = gather(take);
	Session   **list;
	int			n = 0;
	HASH_SEQ_STATUS scan;
	Session    *s;
	JnyCols    *keys;
	JnyRows    *known;
	JnyOut		out = {.access = &write_sessions};

	if (sessions == NULL)
		return;
	list = palloc(sizeof(Session *) * hash_get_num_entries(sessions));
	keys = jny_cols_of(&find_sessions);
	hash_seq_init(&scan, sessions);
	while ((s = hash_seq_search(&scan)) != NULL)
	{
		list[n++] = s;
		put_key(keys, s);
		jny_cols_next(keys);
	}
	known = jny_lookup(&find_sessions, keys);
	for (int i = 0; i < known->n; i++)
		join(list[known->row[i].key], &known->row[i], known, i);
	for (int i = 0; i < n; i++)
		put(jny_out(&out), list[i]);
	jny_out_write(&out);
}
