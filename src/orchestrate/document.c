/*
 * document.c
 *		The backend's cache of documents.
 *
 * Called by a lap and by SQL functions of this room. Reads journey.document
 * through SPI, no locks beyond those of the SELECTs. Everything lives in one
 * memory context, thrown away by the first jny_documents_refresh() after an
 * invalidation of the relation journey.document. A load that fails half-way
 * leaves nothing behind but memory of that context: each group is entered
 * when it is complete.
 */
#include "orchestrate/journey_doc.h"

#include "catalog/namespace.h"
#include "executor/spi.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/*
 * One that is not as apply() stores it is as if it were not there; health names
 * it. Not so policies, rule sets and channels, which say what must not be done:
 * see JnyPolicy and JnyChannel.
 */
#define READABLE " AND journey._unreadable(d.kind, d.name, d.doc) IS NULL"

JNY_PLAN(read_policy, "",
		 "SELECT d.name, d.version, d.doc FROM journey.document d WHERE d.kind = 'policy' AND d.state = 'active'"
		 " ORDER BY d.name = 'house' DESC, d.name LIMIT 1");
JNY_PLAN(read_unreadable, "",
		 "SELECT d.kind || '/' || d.name FROM journey.document d WHERE d.kind IN ('policy', 'rule_set')"
		 " AND d.state = 'active' AND journey._unreadable(d.kind, d.name, d.doc) IS NOT NULL ORDER BY 1 LIMIT 1");
JNY_PLAN(read_journeys, "text, integer",
		 "SELECT d.name, d.version, d.doc, d.refs, d.owner, journey._start_step(d.doc) FROM journey.document d"
		 " WHERE d.kind = 'journey' AND CASE WHEN $1 IS NULL THEN d.state = 'active'"
		 " ELSE d.name = $1 AND d.version = $2 END" READABLE
		 " ORDER BY COALESCE((d.doc ->> 'priority')::pg_catalog.int4, 50) DESC, d.name");
JNY_PLAN(read_template, "text, integer",
		 "SELECT d.name, d.version, d.doc FROM journey.document d"
		 " WHERE d.kind = 'template' AND d.name = $1"
		 " AND CASE WHEN $2 = 0 THEN d.state = 'active' ELSE d.version = $2 END" READABLE);
/* Of a journey without a send that can be read nobody can tell. */
JNY_PLAN(any_audience, "",
		 "SELECT FROM journey.document d WHERE d.kind = 'channel' AND d.state = 'active' AND d.doc ->> 'mode' = 'state'"
		 " AND EXISTS (SELECT FROM journey.document j WHERE j.kind = 'journey'"
		 "  AND (NOT pg_catalog.jsonb_path_exists(j.doc, '$.steps.*.send.channel')"
		 "   OR pg_catalog.jsonb_path_exists(j.doc, '$.steps.*.send.channel[*] ? (@ == $name || @.type() != \"string\")',"
		 "    pg_catalog.jsonb_build_object('name', d.name)))) LIMIT 1");
JNY_PLAN(read_channel, "text",
		 "SELECT d.name, d.version, d.doc, journey._unreadable(d.kind, d.name, d.doc) IS NOT NULL FROM journey.document d"
		 " WHERE d.kind = 'channel' AND d.name = $1 AND d.state = 'active'");
JNY_PLAN(read_rules, "text",
		 "SELECT d.kind || '/' || d.name, d.version, d.owner, COALESCE(d.doc ->> 'scope', '*'), r.rule, r.n - 1,"
		 " COALESCE((r.rule ->> 'priority')::pg_catalog.int4, 50),"
		 " journey._instant(r.rule ->> 'valid_from'), journey._instant(r.rule ->> 'valid_to')"
		 " FROM journey.document d,"
		 " LATERAL pg_catalog.jsonb_array_elements(CASE WHEN journey._unreadable(d.kind, d.name, d.doc) IS NULL"
		 " THEN CASE d.kind WHEN 'policy' THEN d.doc -> 'vetoes' ELSE d.doc -> 'rules' END END)"
		 " WITH ORDINALITY AS r (rule, n)"
		 " WHERE d.kind IN ('policy', 'rule_set') AND d.state = 'active'"
		 " AND COALESCE(r.rule ->> 'kind', 'veto') = $1"
		 " ORDER BY 7 DESC, 1, 6");

/* A template, channel or journey version by name; absent ones are remembered too. */
typedef struct Named
{
	char		kind;			/* 'j', 't' or 'c' */
	const char *name;
	int			version;
	const void *what;			/* NULL = there is none */
	struct Named *next;
} Named;

typedef struct RuleGroup
{
	const char *kind;
	int			n;
	JnyRule    *rules;
	struct RuleGroup *next;
} RuleGroup;

static MemoryContext cache_cxt = NULL;
static bool stale = true;
static Oid	watched = InvalidOid;

/* all of it in cache_cxt */
static Named *by_name = NULL;
static RuleGroup *rule_groups = NULL;
static JnyPolicy *policy = NULL;
static bool active_loaded = false;
static int	nactive = 0;
static const JnyJourney **active = NULL;

/* ---- the life of the cache ----------------------------------------------- */

static void
relation_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == watched)
		stale = true;
}

void
jny_documents_refresh(void)
{
	static bool registered = false;

	if (!registered)
	{
		jny_watch_relations(relation_changed);
		registered = true;
	}
	AcceptInvalidationMessages();
	if (!stale)
		return;
	by_name = NULL;
	rule_groups = NULL;
	policy = NULL;
	active_loaded = false;
	nactive = 0;
	active = NULL;
	if (cache_cxt != NULL)
		MemoryContextReset(cache_cxt);
	else
		cache_cxt = AllocSetContextCreate(TopMemoryContext, "journey documents", ALLOCSET_DEFAULT_SIZES);
	watched = get_relname_relid("document", get_namespace_oid("journey", false));
	/* A relation that is not there yet cannot tell us when it comes. */
	stale = !OidIsValid(watched);
}

static void
begin(MemoryContext *caller)
{
	if (cache_cxt == NULL)
		jny_documents_refresh();
	SPI_connect();
	*caller = MemoryContextSwitchTo(cache_cxt);
}

static void
end(MemoryContext caller)
{
	MemoryContextSwitchTo(caller);
	SPI_finish();
}

/* Columns of the present row, copied into the cache. */
static Jsonb *
column_jsonb(uint64 row, int col)
{
	bool		isnull;
	Datum		d = jny_get(row, col, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(d);
}

static char *
column_text(uint64 row, int col)
{
	char	   *text = jny_get_text(row, col);

	return text == NULL ? NULL : MemoryContextStrdup(cache_cxt, text);
}

static TimestampTz
column_time(uint64 row, int col, TimestampTz missing)
{
	bool		isnull;
	Datum		d = jny_get(row, col, &isnull);

	return isnull ? missing : DatumGetTimestampTz(d);
}

/* ---- what has a name and a version --------------------------------------- */

static Named *
find(char kind, const char *name, int version)
{
	for (Named *n = by_name; n != NULL; n = n->next)
		if (n->kind == kind && n->version == version && strcmp(n->name, name) == 0)
			return n;
	return NULL;
}

static void
keep(char kind, const char *name, int version, const void *what)
{
	Named	   *n = palloc(sizeof(Named));

	n->kind = kind;
	n->name = pstrdup(name);
	n->version = version;
	n->what = what;
	n->next = by_name;
	by_name = n;
}

/* Fetches rows of journeys and parses them; already known versions are reused. */
static int
load_journeys(const char *name, int version, const JnyJourney ***journeys)
{
	Datum		values[2] = {name ? CStringGetTextDatum(name) : (Datum) 0, Int32GetDatum(version)};
	bool		nulls[2] = {name == NULL, false};
	MemoryContext caller;
	int			n;

	begin(&caller);
	n = (int) jny_run(&read_journeys, values, nulls);
	*journeys = palloc(sizeof(JnyJourney *) * Max(1, n));
	for (int i = 0; i < n; i++)
	{
		char	   *its_name = column_text(i, 1);
		int			its_version = (int) jny_get_int8(i, 2, 0);
		Named	   *known = find('j', its_name, its_version);

		if (known == NULL)
		{
			keep('j', its_name, its_version,
				 jny_journey_parse(its_name, its_version, get_role_oid(jny_get_text(i, 5), true),
								   column_jsonb(i, 3), column_jsonb(i, 4), column_text(i, 6)));
			known = by_name;
		}
		(*journeys)[i] = known->what;
	}
	end(caller);
	return n;
}

int
jny_journeys_active(const JnyJourney ***journeys)
{
	if (!active_loaded)
	{
		nactive = load_journeys(NULL, 0, &active);
		active_loaded = true;
	}
	*journeys = active;
	return nactive;
}

const JnyJourney *
jny_journey_version(const char *name, int version)
{
	Named	   *known = find('j', name, version);
	const JnyJourney **one;

	if (known != NULL)
		return known->what;
	return load_journeys(name, version, &one) == 1 ? one[0] : NULL;
}

static JnyTemplate *
parse_template(uint64 row)
{
	JnyTemplate *t = palloc0(sizeof(JnyTemplate));
	Jsonb	   *doc = column_jsonb(row, 3);
	JnyNamed   *locales;

	t->name = column_text(row, 1);
	t->version = (int) jny_get_int8(row, 2, 0);
	t->nvariables = jny_doc_named(doc, "variables", &t->variables);
	t->nchannels = jny_doc_texts(doc, "channels", &t->channels);
	t->locale = jny_json_text(doc, "locale");
	if (t->locale == NULL)
		t->locale = "en";
	t->nlocales = jny_doc_named(doc, "content", &locales);
	t->locales = palloc(sizeof(char *) * Max(1, t->nlocales));
	for (int i = 0; i < t->nlocales; i++)
		t->locales[i] = locales[i].name;
	return t;
}

const JnyTemplate *
jny_template(const char *name, int version)
{
	Named	   *known = find('t', name, version);
	Datum		values[2] = {CStringGetTextDatum(name), Int32GetDatum(version)};
	MemoryContext caller;
	const JnyTemplate *t;

	if (known != NULL)
		return known->what;
	begin(&caller);
	t = jny_run(&read_template, values, NULL) == 0 ? NULL : parse_template(0);
	keep('t', name, version, t);
	end(caller);
	return t;
}

static JnyChannel *
parse_channel(uint64 row)
{
	static const char *const modes[] = {"push", "pull", "state", "ops"};
	static const char *purposes[] = {"marketing", "service", "transactional"};
	JnyChannel *c = palloc0(sizeof(JnyChannel));
	Jsonb	   *doc = column_jsonb(row, 3);
	char	   *mode;
	Interval   *lease;
	char	   *on_unknown;

	c->name = column_text(row, 1);
	c->version = (int) jny_get_int8(row, 2, 0);
	c->doc = doc;
	c->unreadable = jny_get_int8(row, 4, 0) != 0;
	c->lease = palloc0(sizeof(Interval));
	c->lease->time = INT64CONST(300) * USECS_PER_SEC;
	c->attempts = 5;
	c->on_unknown = "hold";
	if (c->unreadable)
		return c;
	mode = jny_json_text(doc, "mode");
	for (size_t i = 0; i < lengthof(modes); i++)
		if (strcmp(mode, modes[i]) == 0)
			c->mode = (JnyChannelMode) i;
	c->address = jny_json_text(doc, "address");
	c->npurposes = jny_doc_texts(doc, "purposes", &c->purposes);
	if (c->npurposes == 0)
	{
		c->npurposes = lengthof(purposes);
		c->purposes = purposes;
	}
	lease = jny_json_interval(doc, "lease");
	if (lease != NULL)
		c->lease = lease;
	c->attempts = (int) jny_doc_number(doc, "attempts", c->attempts);
	on_unknown = jny_json_text(doc, "on_unknown");
	if (on_unknown != NULL)
		c->on_unknown = on_unknown;
	return c;
}

bool
jny_has_audiences(void)
{
	static const bool yes = true;
	Named	   *known = find('a', "", 0);
	MemoryContext caller;
	bool		found;

	if (known != NULL)
		return known->what != NULL;
	begin(&caller);
	found = jny_run(&any_audience, NULL, NULL) > 0;
	keep('a', "", 0, found ? &yes : NULL);
	end(caller);
	return found;
}

const JnyChannel *
jny_channel(const char *name)
{
	Named	   *known = find('c', name, 0);
	Datum		value = CStringGetTextDatum(name);
	MemoryContext caller;
	const JnyChannel *c;

	if (known != NULL)
		return known->what;
	begin(&caller);
	c = jny_run(&read_channel, &value, NULL) == 0 ? NULL : parse_channel(0);
	keep('c', name, 0, c);
	end(caller);
	return c;
}

/* ---- the house and its rules --------------------------------------------- */

static bool
has_field(Jsonb *doc, const char *key)
{
	JsonbValue	v;

	return jny_json_field(doc, key, &v) != NULL;
}

const JnyPolicy *
jny_policy(void)
{
	MemoryContext caller;
	JnyPolicy  *p;

	if (policy != NULL)
		return policy;
	begin(&caller);
	p = palloc0(sizeof(JnyPolicy));
	p->zone = "UTC";
	p->holdout_salt = "policy/house";
	if (jny_run(&read_unreadable, NULL, NULL) == 1)
		p->unreadable = column_text(0, 1);
	if (jny_run(&read_policy, NULL, NULL) == 1)
	{
		Jsonb	   *doc = column_jsonb(0, 3);
		char	   *zone = jny_json_text(doc, "zone");

		p->version = (int) jny_get_int8(0, 2, 0);
		p->holdout = jny_doc_number(doc, "holdout", p->unreadable != NULL && has_field(doc, "holdout") ? -1 : 0);
		if (jny_zone_valid(zone))
			p->zone = zone;
		p->fences_cross_scopes = jny_json_bool(doc, "fences_cross_scopes", false);
		p->caps_cross_scopes = jny_json_bool(doc, "caps_cross_scopes", false);
		p->caps = jny_json_object(doc, "caps");
		p->quiet = jny_json_object(doc, "quiet_hours");
	}
	policy = p;
	end(caller);
	return policy;
}

static void
parse_rule(JnyRule *r, uint64 row, const char *kind)
{
	Jsonb	   *rule = column_jsonb(row, 5);

	r->document = column_text(row, 1);
	r->version = (int) jny_get_int8(row, 2, 0);
	r->owner = get_role_oid(jny_get_text(row, 3), true);
	r->scope = column_text(row, 4);
	r->n = (int) jny_get_int8(row, 6, 0);
	r->priority = (int) jny_get_int8(row, 7, 0);
	r->valid_from = column_time(row, 8, DT_NOBEGIN);
	r->valid_to = column_time(row, 9, DT_NOEND);
	r->kind = kind;
	jny_doc_on(&r->on, rule);
	r->on.when = jny_doc_when(rule);
	r->on_unknown = jny_doc_on_unknown(rule);
	r->nfrom = jny_doc_texts(rule, "from", &r->from);
	r->to = jny_json_text(rule, "to");
	r->outcome = jny_json_text(rule, "outcome");
	r->reason = r->on.reason;
}

int
jny_rules(const char *kind, const JnyRule **rules)
{
	MemoryContext caller;
	RuleGroup  *g;
	Datum		value;

	for (g = rule_groups; g != NULL; g = g->next)
		if (strcmp(g->kind, kind) == 0)
		{
			*rules = g->rules;
			return g->n;
		}
	value = CStringGetTextDatum(kind);
	begin(&caller);
	g = palloc0(sizeof(RuleGroup));
	g->kind = pstrdup(kind);
	g->n = (int) jny_run(&read_rules, &value, NULL);
	g->rules = palloc0(sizeof(JnyRule) * Max(1, g->n));
	for (int i = 0; i < g->n; i++)
		parse_rule(&g->rules[i], i, g->kind);
	g->next = rule_groups;
	rule_groups = g;
	end(caller);
	*rules = g->rules;
	return g->n;
}
