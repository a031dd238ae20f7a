/*
 * load_gates.c
 *		Reads what the gates of pending sends ask about their people, and
 *		nothing that none of them asks.
 *
 * Called by decide.c once per round, inside SPI_connect(). Plain reads, no
 * locks: a permit looks again at whatever may change before the sender has
 * the action. Memory: run->cxt.
 */
#include "orchestrate/engine.h"

#include "utils/builtins.h"

/* No cap looks back further than this. */
#define CAP_HORIZON (INT64CONST(400) * USECS_PER_DAY)

JNY_LOOKUP(read_consents, "consent", "consent_pkey", "bucket, profile_id",
		   "scope, channel, purpose, state, expires_at", NULL);
JNY_LOOKUP(read_contacts, "contact_point", "contact_point_pkey", "bucket, profile_id",
		   "scope, channel, state, address_hash", NULL);
JNY_LOOKUP(read_suppressions, "suppression", "suppression_pkey", "bucket, profile_id",
		   "seq, type, ref, scope, channel, purpose, reason, matched, until, released_by, lap, linked", NULL);
JNY_LOOKUP(read_actions, "outbox", "outbox_pkey", "bucket, profile_id",
		   "exclusion, scope, journey, step, enrollment_id, priority, status, reap_at", NULL);
JNY_LOOKUP(read_permits, "attempt_log", "attempt_log_pkey", "bucket, profile_id, granted_at >",
		   "granted_at, journey, scope, channel, purpose, action_id, attempt, counted", NULL);
JNY_LOOKUP(read_stock, "product", "product_pkey", "sku", "sku, available", NULL);

/* Of a row of keys, the person it stands for. */
static JnyPerson *
owner_of(List *people, const JnyRow *row)
{
	return list_nth(people, row->key);
}

static void
load_consents(JnyRun *run, List *people)
{
	JnyRows    *rows = jny_lookup(&read_consents, jny_people_keys(&read_consents, people));

	for (int i = 0; i < rows->n; i++)
	{
		const JnyRow *row = &rows->row[i];
		JnyPerson  *person = owner_of(people, row);
		JnyConsentRow *c = palloc(sizeof(JnyConsentRow));

		c->scope = jny_row_text(row, 0);
		c->channel = jny_row_text(row, 1);
		c->purpose = jny_row_text(row, 2);
		c->state = jny_row_text(row, 3);
		c->expires_at = jny_row_time(row, 4);
		person->consents = lappend(person->consents, c);
	}
}

static void
load_contacts(JnyRun *run, List *people)
{
	JnyRows    *rows = jny_lookup(&read_contacts, jny_people_keys(&read_contacts, people));

	for (int i = 0; i < rows->n; i++)
	{
		const JnyRow *row = &rows->row[i];
		JnyPerson  *person = owner_of(people, row);
		JnyContactRow *c = palloc(sizeof(JnyContactRow));

		c->scope = jny_row_text(row, 0);
		c->channel = jny_row_text(row, 1);
		c->state = jny_row_text(row, 2);
		c->address_hash = jny_row_int(rows, i, 3, 0);
		person->contacts = lappend(person->contacts, c);
	}
}

/* What came after the entry of any enrollment of the person; what somebody ordered by hand holds always. */
static bool
may_suppress(const JnyRow *row, void *arg)
{
	JnyPerson  *person = owner_of(arg, row);
	int64		seq = DatumGetInt64(row->values[0]);
	int64		lap = DatumGetInt64(row->values[10]);
	ListCell   *lc;

	if (!row->nulls[9])
		return false;
	foreach(lc, person->enrollments)
		if (jny_came_after(lfirst(lc), lap, seq))
			return true;
	return strcmp(jny_row_text(row, 1), "manual") == 0;
}

static void
load_suppressions(JnyRun *run, List *people)
{
	JnyRows    *rows = jny_lookup_wanted(&read_suppressions, jny_people_keys(&read_suppressions, people),
										 may_suppress, people);

	/* by seq, as the index is */
	for (int i = 0; i < rows->n; i++)
	{
		const JnyRow *row = &rows->row[i];
		JnyPerson  *person = owner_of(people, row);
		JnySuppressionRow *s = palloc(sizeof(JnySuppressionRow));

		s->seq = jny_row_int(rows, i, 0, 0);
		s->lap = jny_row_int(rows, i, 10, 0);
		s->type = jny_row_text(row, 1);
		s->ref = jny_row_text(row, 2);
		s->scope = jny_row_text(row, 3);
		s->channel = jny_row_text(row, 4);
		s->purpose = jny_row_text(row, 5);
		s->reason = jny_row_text(row, 6);
		s->matched = row->nulls[7] ? NULL : DatumGetArrayTypeP(row->values[7]);
		s->until = jny_row_time(row, 8);
		s->linked = jny_row_int(rows, i, 11, 0) != 0;
		person->suppressions = lappend(person->suppressions, s);
	}
}

/*
 * Whatever is in the outbox is live, but for what is held because nobody knows
 * its outcome: it has been sent, or will not be unless somebody says so.
 */
static bool
excludes(const JnyRow *row, void *arg)
{
	return !row->nulls[0] && (!row->nulls[7] || strcmp(jny_row_text(row, 6), "unknown") != 0);
}

static void
load_actions(JnyRun *run, List *people)
{
	JnyRows    *rows = jny_lookup_wanted(&read_actions, jny_people_keys(&read_actions, people), excludes, NULL);

	for (int i = 0; i < rows->n; i++)
	{
		const JnyRow *row = &rows->row[i];
		JnyPerson  *person = owner_of(people, row);
		JnyLiveAction *a = palloc0(sizeof(JnyLiveAction));

		a->exclusion = jny_row_text(row, 0);
		a->scope = jny_row_text(row, 1);
		a->journey = jny_row_text(row, 2);
		a->step = jny_row_text(row, 3);
		if (!row->nulls[4])
			a->enrollment_id = *jny_row_uuid(row, 4);
		a->priority = (int) jny_row_int(rows, i, 5, 0);
		a->pending = strcmp(jny_row_text(row, 6), "pending") == 0;
		person->actions = lappend(person->actions, a);
	}
}

static bool
is_counted(const JnyRow *row, void *arg)
{
	return DatumGetBool(row->values[7]);
}

static bool
has_id(List *ids, const pg_uuid_t *id)
{
	ListCell   *lc;

	foreach(lc, ids)
		if (memcmp(lfirst(lc), id, UUID_LEN) == 0)
			return true;
	return false;
}

/* Youngest first; of an action that got several, the last one counts. */
static void
load_permits(JnyRun *run, List *people)
{
	JnyCols    *keys = jny_cols_of(&read_permits);
	List	   *repeated = NIL;
	JnyRows    *rows;
	ListCell   *lc;

	foreach(lc, people)
	{
		JnyPerson  *person = lfirst(lc);

		jny_cols_set(keys, 0, Int16GetDatum(person->profile->bucket));
		jny_cols_set(keys, 1, UUIDPGetDatum(&person->id));
		jny_cols_set(keys, 2, TimestampTzGetDatum(run->now - CAP_HORIZON));
		jny_cols_next(keys);
	}
	rows = jny_lookup_wanted(&read_permits, keys, is_counted, NULL);
	for (int i = rows->n - 1; i >= 0; i--)
	{
		const JnyRow *row = &rows->row[i];
		JnyPerson  *person = owner_of(people, row);
		pg_uuid_t  *action = jny_row_uuid(row, 5);
		JnyPermitRow *p;

		if (has_id(repeated, action))
			continue;
		if (jny_row_int(rows, i, 6, 1) > 1)
			repeated = lappend(repeated, action);
		p = palloc(sizeof(JnyPermitRow));
		p->at = jny_row_time(row, 0);
		p->journey = jny_row_text(row, 1);
		p->scope = jny_row_text(row, 2);
		p->channel = jny_row_text(row, 3);
		p->purpose = jny_row_text(row, 4);
		person->permits = lappend(person->permits, p);
	}
}

/* ---- who needs what --------------------------------------------------------- */

typedef enum Need
{
	NEED_CONSENTS = 1 << 0,
	NEED_CONTACTS = 1 << 1,
	NEED_SUPPRESSIONS = 1 << 2,
	NEED_ACTIONS = 1 << 3,
	NEED_PERMITS = 1 << 4
} Need;

static const struct
{
	Need		need;
	void		(*load) (JnyRun *run, List *people);
}			loaders[] = {
	{NEED_CONSENTS, load_consents},
	{NEED_CONTACTS, load_contacts},
	{NEED_SUPPRESSIONS, load_suppressions},
	{NEED_ACTIONS, load_actions},
	{NEED_PERMITS, load_permits}
};

/* What the gates of gates.c may look at for the send on which it stands. */
static uint32
needs_of(const JnyRun *run, const JnyEnrollment *e)
{
	const JnyJourney *j = e->journey;
	const JnyStep *step = &j->steps[e->step];
	uint32		needs = 0;

	if (strcmp(j->purpose, "marketing") == 0)
		needs |= NEED_CONSENTS | (j->caps != NULL || run->policy->caps != NULL ? NEED_PERMITS : 0);
	if (strcmp(j->purpose, "transactional") != 0 || j->nsuppress > 0)
		needs |= NEED_SUPPRESSIONS;
	if (j->exclusion != NULL)
		needs |= NEED_ACTIONS;
	for (int i = 0; i < step->nchannels; i++)
	{
		const JnyChannel *channel = jny_channel(step->channels[i]);

		if (channel != NULL && channel->address != NULL)
			needs |= NEED_CONTACTS;
	}
	return needs;
}

void
jny_load_gates(JnyRun *run)
{
	List	   *people[lengthof(loaders)] = {NIL};
	ListCell   *lc;

	foreach(lc, run->pending)
	{
		JnyEnrollment *e = lfirst(lc);
		uint32		missing = e->pending ? needs_of(run, e) & ~e->person->gates : 0;

		e->person->gates |= missing;
		for (int i = 0; i < (int) lengthof(loaders); i++)
			if (missing & loaders[i].need)
				people[i] = lappend(people[i], e->person);
	}
	for (int i = 0; i < (int) lengthof(loaders); i++)
		if (people[i] != NIL)
			loaders[i].load(run, people[i]);
}

/* ---- stock -------------------------------------------------------------------- */

static int
by_text(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* Of a sku that is there twice, the first counts. */
static void
add_stock(JnyRun *run, const char *sku, Datum available)
{
	JnyStock   *stock = palloc(sizeof(JnyStock));

	stock->sku = sku;
	stock->stale = available == (Datum) 0;
	stock->in_stock = !stock->stale && DatumGetBool(DirectFunctionCall2(numeric_gt, available,
													   DirectFunctionCall1(int4_numeric, Int32GetDatum(0))));
	run->stocks = lappend(run->stocks, stock);
}

/* The shop's own tables where they say it, else what was last observed. Sorts the list. */
void
jny_load_stock(JnyRun *run, List *skus)
{
	const char *last = NULL;
	JnyCols    *keys;
	JnyRows    *rows;
	JnyStockLevel *levels;
	int			nlevels;
	ListCell   *lc;

	run->stocks = NIL;
	if (skus == NIL)
		return;
	keys = jny_cols_of(&read_stock);
	list_sort(skus, by_text);
	foreach(lc, skus)
	{
		if (last != NULL && strcmp(last, lfirst(lc)) == 0)
			continue;
		last = lfirst(lc);
		jny_cols_text(keys, 0, last);
		jny_cols_next(keys);
	}
	nlevels = jny_stock_live(jny_cols_datums(keys, 0)[0], &levels);
	for (int i = 0; i < nlevels; i++)
		add_stock(run, levels[i].sku, levels[i].available);
	rows = jny_lookup(&read_stock, keys);
	for (int i = 0; i < rows->n; i++)
	{
		const JnyRow *row = &rows->row[i];

		if (!row->nulls[1])
			add_stock(run, jny_row_text(row, 0), row->values[1]);
	}
}

const JnyStock *
jny_stock_of(JnyRun *run, const char *sku)
{
	ListCell   *lc;

	foreach(lc, run->stocks)
	{
		JnyStock   *stock = lfirst(lc);

		if (strcmp(stock->sku, sku) == 0)
			return stock;
	}
	return NULL;
}
