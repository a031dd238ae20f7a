/*
 * subject_load.c
 *		Reading what rules speak of, set-based: part by part, each for any
 *		number of subjects.
 *
 * Called before a lap judges its subjects, and by the resolver for one subject
 * whose part is missing. Plain SELECTs, no locks; each sees what this
 * transaction has written. What is read is copied into the subject's context.
 * The caller is inside SPI_connect().
 */
#include "interpret/rule.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "interpret/subject.h"

JNY_PLAN(read_profiles, "integer[], smallint[], uuid[]",
		 "SELECT k.n, p.traits, p.zone, p.locale, p.confidence,"
		 "       coalesce(s.stage, 'awareness'), s.features"
		 " FROM unnest($1, $2, $3) AS k(n, bucket, profile_id)"
		 " JOIN journey.profile p ON p.bucket = k.bucket AND p.profile_id = k.profile_id"
		 " LEFT JOIN journey.profile_state s ON s.bucket = k.bucket AND s.profile_id = k.profile_id");

JNY_PLAN(read_order, "integer[], smallint[], uuid[], text[], text[]",
		 "SELECT k.n, o.order_id, o.status, o.amount, o.currency, o.origin, o.placed_at, l.lines, l.skus, o.props"
		 " FROM unnest($1, $2, $3, $4, $5) AS k(n, bucket, profile_id, scope, id)"
		 " CROSS JOIN LATERAL (SELECT * FROM journey.orders o"
		 "  WHERE o.bucket = k.bucket AND o.profile_id = k.profile_id"
		 "    AND (o.order_id = k.id OR k.id IS NULL AND o.placed_at IS NOT NULL)"
		 "  ORDER BY o.scope = k.scope DESC, o.placed_at DESC NULLS LAST, o.order_id LIMIT 1) o"
		 " CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS lines,"
		 "         pg_catalog.array_agg(DISTINCT l.sku) AS skus"
		 "  FROM journey.order_line l"
		 "  WHERE l.bucket = o.bucket AND l.profile_id = o.profile_id AND l.scope = o.scope"
		 "    AND l.order_id = o.order_id) l");

/* Orders that stand; a sum over several currencies would mean nothing. */
JNY_PLAN(read_orders, "integer[], smallint[], uuid[]",
		 "SELECT k.n, pg_catalog.count(*),"
		 "       CASE WHEN pg_catalog.count(DISTINCT o.currency) <= 1 THEN coalesce(pg_catalog.sum(o.amount), 0) END,"
		 "       pg_catalog.max(o.placed_at)"
		 " FROM unnest($1, $2, $3) AS k(n, bucket, profile_id)"
		 " JOIN journey.orders o ON o.bucket = k.bucket AND o.profile_id = k.profile_id"
		 " WHERE o.status IN ('placed', 'paid', 'shipped', 'delivered')"
		 " GROUP BY k.n");

JNY_PLAN(read_shipment, "integer[], smallint[], uuid[], text[], text[], text[], text[]",
		 "SELECT k.n, s.props || pg_catalog.jsonb_build_object('id', s.shipment_id, 'order_id', s.order_id, 'status', s.status,"
		 "  'promised_at', s.promised_at, 'expected_at', s.expected_at, 'shipped_at', s.shipped_at, 'ready_at', s.ready_at, 'delivered_at', s.delivered_at)"
		 " FROM unnest($1, $2, $3, $4, $5, $6, $7) AS k(n, bucket, profile_id, scope, id, key, order_id)"
		 " CROSS JOIN LATERAL (SELECT * FROM journey.shipment s"
		 "  WHERE s.bucket = k.bucket AND s.profile_id = k.profile_id AND (k.id IS NULL OR s.shipment_id = k.id)"
		 "  ORDER BY s.scope = k.scope DESC, coalesce(s.shipment_id = k.key, false) DESC, coalesce(s.order_id = k.order_id, false) DESC,"
		 "   s.changed_at DESC, s.shipment_id LIMIT 1) s");

JNY_PLAN(read_returns, "integer[], smallint[], uuid[]",
		 "SELECT k.n, (SELECT pg_catalog.jsonb_build_object('count', pg_catalog.count(*),"
		 "  'open', pg_catalog.count(*) FILTER (WHERE r.status IN ('requested', 'approved')), 'last_at', pg_catalog.max(r.requested_at),"
		 "  'last_reason', (pg_catalog.array_agg(r.reason ORDER BY r.changed_at DESC, r.return_id))[1])"
		 "  FROM journey.returns r WHERE r.bucket = k.bucket AND r.profile_id = k.profile_id)"
		 " FROM unnest($1, $2, $3) AS k(n, bucket, profile_id)");

JNY_PLAN(read_products, "integer[], text[]",
		 "SELECT k.n, p.sku, p.name, p.category, p.class, p.currency, p.price, p.available,"
		 "       p.replenish_after, p.replenishable"
		 " FROM unnest($1, $2) AS k(n, sku)"
		 " JOIN journey.product p ON p.sku = k.sku");

JNY_PLAN(read_consents, "integer[], smallint[], uuid[], text[], timestamptz[]",
		 "SELECT k.n, pg_catalog.array_agg(c.channel || '_' || c.purpose), pg_catalog.array_agg(c.state)"
		 " FROM unnest($1, $2, $3, $4, $5) AS k(n, bucket, profile_id, scope, now)"
		 " JOIN journey.consent c ON c.bucket = k.bucket AND c.profile_id = k.profile_id"
		 "  AND c.scope = k.scope AND (c.expires_at IS NULL OR c.expires_at > k.now)"
		 " GROUP BY k.n");

JNY_PLAN(read_sessions, "integer[], smallint[], uuid[], text[]",
		 "SELECT k.n, s.session_id, s.started_at, s.first_referrer, s.last_referrer"
		 " FROM unnest($1, $2, $3, $4) AS k(n, bucket, profile_id, id)"
		 " CROSS JOIN LATERAL (SELECT * FROM journey.session s"
		 "  WHERE s.bucket = k.bucket AND s.profile_id = k.profile_id AND (s.session_id = k.id OR k.id IS NULL)"
		 "  ORDER BY s.seen_at DESC, s.session_id LIMIT 1) s");

/* From the log, by the index of these events: a case is open when it was opened last. One without an id is a case of its own. */
JNY_PLAN(read_tickets, "integer[], smallint[], uuid[], timestamptz[]",
		 "SELECT k.n, pg_catalog.count(*) FILTER (WHERE t.open), pg_catalog.sum(t.contacts)::bigint"
		 " FROM unnest($1, $2, $3, $4) AS k(n, bucket, profile_id, now)"
		 " CROSS JOIN LATERAL (SELECT"
		 "   (pg_catalog.array_agg(e.type ORDER BY least(e.occurred_at, e.received_at) DESC, e.seq DESC))[1] = 'ticket_opened' AS open,"
		 "   pg_catalog.count(*) FILTER (WHERE e.type = 'ticket_opened'"
		 "    AND least(e.occurred_at, e.received_at) > k.now - interval '30 days') AS contacts"
		 "  FROM journey.event e WHERE e.bucket = k.bucket AND e.profile_id = k.profile_id"
		 "   AND e.type IN ('ticket_opened', 'ticket_closed')"
		 "  GROUP BY coalesce(e.props ->> 'ticket_id', e.event_id::text)) t"
		 " GROUP BY k.n");

JNY_PLAN(read_sources, "",
		 "SELECT source, last_event_at FROM journey.source WHERE last_event_at IS NOT NULL");

/* ---- reading a row into the subject's context ------------------------------------------ */

static const char *
get_string(uint64 row, int col)
{
	return jny_get_text(row, col);	/* palloc'd where we are: the subject's context */
}

static Datum
get_ref(uint64 row, int col)
{
	bool		isnull;
	Datum		d = jny_get(row, col, &isnull);

	return isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(d));
}

static Datum
get_fixed(uint64 row, int col, int len)
{
	bool		isnull;
	Datum		d = jny_get(row, col, &isnull);

	return isnull ? (Datum) 0 : datumCopy(d, false, len);
}

static TimestampTz
get_time(uint64 row, int col)
{
	bool		isnull;
	Datum		d = jny_get(row, col, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(d);
}

static void
take_profile(JnySubjectParts *p, uint64 row)
{
	bool		isnull;

	p->has_profile = true;
	p->traits = (Jsonb *) DatumGetPointer(get_ref(row, 2));
	p->zone = get_string(row, 3);
	p->locale = get_string(row, 4);
	p->confidence = DatumGetFloat8(jny_get(row, 5, &isnull));
	p->stage = get_string(row, 6);
	p->features = (bytea *) DatumGetPointer(get_ref(row, 7));
}

static void
take_order(JnySubjectParts *p, uint64 row)
{
	p->has_order = true;
	p->order_id = get_string(row, 2);
	p->order_status = get_string(row, 3);
	p->order_amount = get_ref(row, 4);
	p->order_currency = get_string(row, 5);
	p->order_origin = get_string(row, 6);
	p->order_placed_at = get_time(row, 7);
	p->order_lines = jny_get_int8(row, 8, 0);
	p->order_skus = get_ref(row, 9);
	p->order_props = (Jsonb *) DatumGetPointer(get_ref(row, 10));
}

static void
take_shipment(JnySubjectParts *p, uint64 row)
{
	p->shipment = (Jsonb *) DatumGetPointer(get_ref(row, 2));
}

static void
take_returns(JnySubjectParts *p, uint64 row)
{
	p->returns = (Jsonb *) DatumGetPointer(get_ref(row, 2));
}

static void
take_orders(JnySubjectParts *p, uint64 row)
{
	p->orders_count = jny_get_int8(row, 2, 0);
	p->orders_sum = get_ref(row, 3);
	p->orders_last_at = get_time(row, 4);
}

static void
take_product(JnySubjectParts *p, uint64 row)
{
	p->has_product = true;
	p->product_sku = get_string(row, 2);
	p->product_name = get_string(row, 3);
	p->product_category = get_string(row, 4);
	p->product_class = get_string(row, 5);
	p->product_currency = get_string(row, 6);
	p->product_price = get_ref(row, 7);
	p->product_available = get_ref(row, 8);
	p->product_replenish_after = get_fixed(row, 9, sizeof(Interval));
	p->product_replenishable = (int) jny_get_int8(row, 10, -1);
}

static void
take_consents(JnySubjectParts *p, uint64 row)
{
	bool		isnull;
	Datum	   *names;
	Datum	   *states;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(jny_get(row, 2, &isnull)), TEXTOID, -1, false,
					  TYPALIGN_INT, &names, NULL, &n);
	deconstruct_array(DatumGetArrayTypeP(jny_get(row, 3, &isnull)), TEXTOID, -1, false,
					  TYPALIGN_INT, &states, NULL, &n);
	p->nconsents = n;
	p->consents = palloc(sizeof(JnyConsentState) * n);
	for (int i = 0; i < n; i++)
	{
		p->consents[i].name = TextDatumGetCString(names[i]);
		p->consents[i].state = TextDatumGetCString(states[i]);
	}
}

static void
take_session(JnySubjectParts *p, uint64 row)
{
	p->session_id = get_string(row, 2);
	p->session_started_at = get_time(row, 3);
	p->first_referrer = get_string(row, 4);
	p->last_referrer = get_string(row, 5);
}

static void
take_tickets(JnySubjectParts *p, uint64 row)
{
	p->tickets_open = jny_get_int8(row, 2, 0);
	p->contacts_30d = jny_get_int8(row, 3, 0);
}

/* What is attached knows better than what was observed; the product was read before. */
static void
read_stock(JnySubjectContext **subjects, int n)
{
	JnyCols    *skus = jny_cols("text");
	JnyStockLevel *levels;
	int			nlevels;

	for (int i = 0; i < n; i++)
	{
		jny_cols_text(skus, 0, jny_subject_sku(subjects[i]));
		jny_cols_next(skus);
	}
	nlevels = jny_stock_live(jny_cols_datums(skus, 0)[0], &levels);
	for (int i = 0; i < n; i++)
	{
		const char *sku = jny_subject_sku(subjects[i]);

		for (int l = 0; sku != NULL && l < nlevels; l++)
		{
			MemoryContext here;

			if (strcmp(sku, levels[l].sku) != 0)
				continue;
			here = MemoryContextSwitchTo(subjects[i]->cxt);
			subjects[i]->parts->product_available = levels[l].available != (Datum) 0
				? datumCopy(levels[l].available, false, -1) : (Datum) 0;
			MemoryContextSwitchTo(here);
			break;
		}
	}
}

/* ---- one part for all who lack it -------------------------------------------------------- */

typedef enum Argument
{
	ARG_N,
	ARG_PROFILE,				/* bucket and profile_id */
	ARG_SCOPE,
	ARG_ORDER,
	ARG_SHIPMENT,				/* its id and the enrollment's key */
	ARG_SKU,
	ARG_SESSION,
	ARG_NOW,
	ARG_END
} Argument;

typedef struct PartReader
{
	uint32		part;
	void		(*read) (JnySubjectContext **subjects, int n);	/* by key; else by a statement */
	JnyPlan    *plan;
	Argument	args[7];
	void		(*take) (JnySubjectParts *parts, uint64 row);
} PartReader;

static const PartReader readers[] = {
	{JNY_PART_PROFILE, NULL, &read_profiles, {ARG_N, ARG_PROFILE, ARG_END}, take_profile},
	{JNY_PART_CART, jny_subjects_read_carts, NULL, {ARG_END}, NULL},
	{JNY_PART_LINES, jny_subjects_read_lines, NULL, {ARG_END}, NULL},
	{JNY_PART_ORDER, NULL, &read_order, {ARG_N, ARG_PROFILE, ARG_SCOPE, ARG_ORDER, ARG_END}, take_order},
	{JNY_PART_ORDERS, NULL, &read_orders, {ARG_N, ARG_PROFILE, ARG_END}, take_orders},
	{JNY_PART_SHIPMENT, NULL, &read_shipment, {ARG_N, ARG_PROFILE, ARG_SCOPE, ARG_SHIPMENT, ARG_ORDER, ARG_END}, take_shipment},
	{JNY_PART_RETURNS, NULL, &read_returns, {ARG_N, ARG_PROFILE, ARG_END}, take_returns},
	{JNY_PART_PRODUCT, NULL, &read_products, {ARG_N, ARG_SKU, ARG_END}, take_product},
	{JNY_PART_STOCK, read_stock, NULL, {ARG_END}, NULL},
	{JNY_PART_SESSION, NULL, &read_sessions, {ARG_N, ARG_PROFILE, ARG_SESSION, ARG_END}, take_session},
	{JNY_PART_TICKETS, NULL, &read_tickets, {ARG_N, ARG_PROFILE, ARG_NOW, ARG_END}, take_tickets},
	{JNY_PART_CONSENT, NULL, &read_consents, {ARG_N, ARG_PROFILE, ARG_SCOPE, ARG_NOW, ARG_END}, take_consents},
	{0, NULL, NULL, {ARG_END}, NULL}
};

static void
put_argument(JnyCols *cols, int *col, Argument arg, const JnySubjectContext *s, int n)
{
	switch (arg)
	{
		case ARG_N:
			jny_cols_set(cols, *col, Int32GetDatum(n));
			break;
		case ARG_PROFILE:
			jny_cols_set(cols, (*col)++, Int16GetDatum(jny_bucket_of_id(&s->profile_id)));
			jny_cols_set(cols, *col, UUIDPGetDatum(&s->profile_id));
			break;
		case ARG_SCOPE:
			jny_cols_text(cols, *col, jny_subject_scope(s));
			break;
		case ARG_ORDER:
			jny_cols_text(cols, *col, jny_subject_order(s));
			break;
		case ARG_SHIPMENT:
			jny_cols_text(cols, (*col)++, jny_subject_shipment(s));
			jny_cols_text(cols, *col, s->key);
			break;
		case ARG_SKU:
			jny_cols_text(cols, *col, jny_subject_sku(s));
			break;
		case ARG_SESSION:
			jny_cols_text(cols, *col, jny_subject_session(s));
			break;
		case ARG_NOW:
			jny_cols_set(cols, *col, TimestampTzGetDatum(s->now));
			break;
		case ARG_END:
			break;
	}
	(*col)++;
}

/* The element types of "integer[], uuid[]", for jny_cols. */
static char *
element_types(const char *types)
{
	char	   *out = pstrdup(types);
	char	   *to = out;

	for (const char *from = types; *from != '\0'; from++)
		if (*from != '[' && *from != ']')
			*to++ = *from;
	*to = '\0';
	return out;
}

static void
read_by_statement(const PartReader *reader, JnySubjectContext **subjects, int n)
{
	MemoryContext here = CurrentMemoryContext;
	JnyCols    *cols = jny_cols(element_types(reader->plan->types));
	uint64		rows;

	for (int i = 0; i < n; i++)
	{
		int			col = 0;

		for (int a = 0; reader->args[a] != ARG_END; a++)
			put_argument(cols, &col, reader->args[a], subjects[i], i);
		jny_cols_next(cols);
	}
	rows = jny_run(reader->plan, jny_cols_datums(cols, 0), NULL);
	for (uint64 row = 0; row < rows; row++)
	{
		JnySubjectContext *s = subjects[jny_get_int8(row, 1, 0)];

		MemoryContextSwitchTo(s->cxt);
		reader->take(s->parts, row);
		MemoryContextSwitchTo(here);
	}
	SPI_freetuptable(SPI_tuptable);
}

static void
read_part(const PartReader *reader, JnySubjectContext **subjects, int n)
{
	JnySubjectContext **lacking = palloc(sizeof(JnySubjectContext *) * n);
	int			nlacking = 0;

	for (int i = 0; i < n; i++)
	{
		if (subjects[i]->parts->loaded & reader->part)
			continue;
		subjects[i]->parts->loaded |= reader->part;
		/* of a profile the lap knows better */
		if (reader->part != JNY_PART_PROFILE || subjects[i]->profile == NULL)
			lacking[nlacking++] = subjects[i];
	}
	if (nlacking == 0)
		return;
	if (reader->read != NULL)
		reader->read(lacking, nlacking);
	else
		read_by_statement(reader, lacking, nlacking);
}

/* Sources belong to nobody: read once, shared by all who ask in this call. */
static void
read_source_ages(JnySubjectContext **subjects, int n)
{
	MemoryContext here = CurrentMemoryContext;
	JnySourceState *sources;
	uint64		rows = jny_run(&read_sources, NULL, NULL);

	for (int i = 0; i < n; i++)
	{
		JnySubjectContext *s = subjects[i];

		if (s->parts->loaded & JNY_PART_SOURCE)
			continue;
		MemoryContextSwitchTo(s->cxt);
		sources = palloc(sizeof(JnySourceState) * Max(rows, 1));
		for (uint64 row = 0; row < rows; row++)
		{
			sources[row].source = get_string(row, 1);
			sources[row].last_event_at = get_time(row, 2);
		}
		s->parts->sources = sources;
		s->parts->nsources = (int) rows;
		s->parts->loaded |= JNY_PART_SOURCE;
		MemoryContextSwitchTo(here);
	}
}

void
jny_subjects_load(JnySubjectContext **subjects, int n, uint32 parts)
{
	uint32		missing = 0;
	MemoryContext here = CurrentMemoryContext;
	MemoryContext work;

	if (parts & JNY_PART_LINES)
		parts |= JNY_PART_CART;
	if (parts & JNY_PART_STOCK)
		parts |= JNY_PART_PRODUCT;
	for (int i = 0; i < n; i++)
	{
		if (subjects[i]->parts == NULL)
			subjects[i]->parts = MemoryContextAllocZero(subjects[i]->cxt, sizeof(JnySubjectParts));
		missing |= parts & ~subjects[i]->parts->loaded;
	}
	missing &= ~JNY_PART_EVENT;
	if (missing == 0)
		return;
	work = AllocSetContextCreate(here, "journey subjects", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(work);
	for (const PartReader *reader = readers; reader->part != 0; reader++)
		if (missing & reader->part)
			read_part(reader, subjects, n);
	if (missing & JNY_PART_SOURCE)
		read_source_ages(subjects, n);
	MemoryContextSwitchTo(here);
	MemoryContextDelete(work);
}

void
jny_subject_forget(JnySubjectContext *subject)
{
	subject->parts = NULL;		/* the memory goes with the subject's context */
}

/* ---- who is it ------------------------------------------------------------------------------ */

JNY_PLAN(find_profile, "jsonb", "SELECT p.id FROM journey.profile_id($1) AS p(id) WHERE p.id IS NOT NULL");

bool
jny_subject_find(Jsonb *subject, pg_uuid_t *profile_id)
{
	if (jny_run(&find_profile, (Datum[]) {JsonbPGetDatum(subject)}, NULL) == 0)
		return false;
	*profile_id = *jny_get_uuid(0, 1);
	return true;
}
