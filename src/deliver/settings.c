/*
 * settings.c
 *		What channel documents, the house's policy and pauses say right now.
 *
 * Read anew in each call, with a new snapshot each: a pause must hold within one
 * commit, and house policy is never pinned. Called by claim, permit and the
 * outcome functions inside SPI_connect(). Takes no lock. Results live in the
 * caller's memory context. A field that is missing takes its documented
 * default. A document that is not as apply() stores it is not looked into.
 */
#include "deliver/work.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/varlena.h"

JNY_LOOKUP(documents, "document", "document_active", "kind, name", "kind, name, doc", "t.state = 'active'");
JNY_LOOKUP(policies, "document", "document_active", "kind", "kind, name, doc", "t.state = 'active'");
JNY_LOOKUP(pauses, "pause", "pause_pkey", "", "what, name", NULL);
JNY_PLAN(fault_of, "text, text, jsonb", "SELECT journey._unreadable($1, $2, $3)");
JNY_PLAN(nearest_channel, "text",
		 "SELECT d.name FROM journey.document d WHERE d.kind = 'channel' AND d.state = 'active'"
		 " ORDER BY d.name = $1 DESC, d.name");

static double
json_number(Jsonb *doc, const char *key, double missing)
{
	JsonbValue	v;

	if (jny_json_field(doc, key, &v) == NULL || v.type != jbvNumeric)
		return missing;
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(v.val.numeric)));
}

static double
seconds_of(const Interval *i)
{
	return (double) i->time / USECS_PER_SEC + i->day * 86400.0 + i->month * 30.0 * 86400.0;
}

static double
json_seconds(Jsonb *doc, const char *key, double missing)
{
	Interval   *i = jny_json_interval(doc, key);

	return i == NULL ? missing : seconds_of(i);
}

/* The elements of a jsonb array that are objects. */
static List *
json_objects(Jsonb *doc)
{
	List	   *out = NIL;
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken tok;

	if (doc == NULL || !JB_ROOT_IS_ARRAY(doc))
		return NIL;
	it = JsonbIteratorInit(&doc->root);
	(void) JsonbIteratorNext(&it, &v, true);
	while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		if (tok == WJB_ELEM && v.type == jbvBinary)
			out = lappend(out, JsonbValueToJsonb(&v));
	return out;
}

int
jny_caps_parse(Jsonb *doc, bool of_journey, JnyCap **caps)
{
	List	   *objects = json_objects(doc);
	int			n = 0;
	ListCell   *lc;

	*caps = objects == NIL ? NULL : palloc0(sizeof(JnyCap) * list_length(objects));
	foreach(lc, objects)
	{
		Jsonb	   *o = lfirst(lc);
		JnyCap	   *cap = &(*caps)[n];
		char	   *scope = jny_json_text(o, "scope");
		char	   *window = jny_json_text(o, "window");
		char	   *otherwise = jny_json_text(o, "otherwise");
		Interval   *per = jny_json_interval(o, "per");

		if (per == NULL)
			continue;
		cap->journey = scope ? strcmp(scope, "journey") == 0 : of_journey;
		cap->channel = jny_json_text(o, "channel");
		if (cap->channel == NULL)
			cap->channel = "*";
		cap->max = (int) json_number(o, "max", 1);
		cap->per = *per;
		cap->calendar = window != NULL && strcmp(window, "calendar") == 0;
		cap->hold = otherwise != NULL && strcmp(otherwise, "hold") == 0;
		n++;
	}
	return n;
}

JnyQuiet *
jny_quiet_parse(Jsonb *doc)
{
	JnyQuiet   *quiet;
	char	   *otherwise;

	if (doc == NULL || !JB_ROOT_IS_OBJECT(doc))
		return NULL;
	quiet = palloc0(sizeof(JnyQuiet));
	quiet->from = jny_json_text(doc, "from");
	quiet->to = jny_json_text(doc, "to");
	quiet->zone = jny_json_text(doc, "zone");
	if (quiet->zone != NULL && strcmp(quiet->zone, "profile") == 0)
		quiet->zone = NULL;
	otherwise = jny_json_text(doc, "otherwise");
	quiet->hold = otherwise == NULL || strcmp(otherwise, "drop") != 0;
	return quiet;
}

/* ---- documents that can be read ------------------------------------------ */

/* The document that was last judged under a name, so that it is judged once. */
typedef struct Judged
{
	struct Judged *next;
	char	   *kind;
	char	   *name;
	Jsonb	   *doc;
	bool		readable;
} Judged;

static Judged *
judged_as(const char *kind, const char *name)
{
	static Judged *all = NULL;
	MemoryContext old;
	Judged	   *j;

	for (j = all; j != NULL; j = j->next)
		if (strcmp(j->kind, kind) == 0 && strcmp(j->name, name) == 0)
			return j;
	old = MemoryContextSwitchTo(TopMemoryContext);
	j = palloc0(sizeof(Judged));
	j->kind = pstrdup(kind);
	j->name = pstrdup(name);
	j->next = all;
	all = j;
	MemoryContextSwitchTo(old);
	return j;
}

static bool
is_readable(const char *kind, const char *name, Jsonb *doc)
{
	Judged	   *j = judged_as(kind, name);
	char	   *fault;

	if (j->doc != NULL && VARSIZE(j->doc) == VARSIZE(doc) && memcmp(j->doc, doc, VARSIZE(doc)) == 0)
		return j->readable;
	jny_run(&fault_of, (Datum[]) {CStringGetTextDatum(kind), CStringGetTextDatum(name), JsonbPGetDatum(doc)}, NULL);
	fault = jny_get_text(0, 1);
	if (j->doc != NULL)
		pfree(j->doc);
	j->doc = NULL;
	j->doc = memcpy(MemoryContextAlloc(TopMemoryContext, VARSIZE(doc)), doc, VARSIZE(doc));
	j->readable = fault == NULL;
	return j->readable;
}

/* ---- channels ------------------------------------------------------------ */

/* A channel that no document describes: the address that its name implies. */
static JnyChannelRules *
default_channel(const char *name)
{
	static const char *const known[][2] = {
		{"email", "email"}, {"sms", "phone"}, {"push", "push"}
	};
	JnyChannelRules *c = palloc0(sizeof(JnyChannelRules));

	c->name = pstrdup(name);
	c->push = true;
	for (size_t i = 0; i < lengthof(known); i++)
		if (strcmp(name, known[i][0]) == 0)
		{
			c->address = known[i][1];
			c->defined = true;
		}
	c->lease.time = INT64CONST(300) * USECS_PER_SEC;
	c->backoff_first = 60;
	c->backoff_factor = 2;
	c->backoff_max = 3600;
	c->on_unknown = 'h';
	return c;
}

static void
read_channel(JnyChannelRules *c, Jsonb *doc)
{
	Jsonb	   *rate = jny_json_object(doc, "rate");
	Jsonb	   *backoff = jny_json_object(doc, "backoff");
	char	   *mode = jny_json_text(doc, "mode");
	char	   *unknown = jny_json_text(doc, "on_unknown");
	Interval   *lease = jny_json_interval(doc, "lease");
	Jsonb	   *senders = jny_json_object(doc, "senders");

	c->defined = true;
	c->push = mode == NULL || strcmp(mode, "push") == 0;
	c->ops = mode != NULL && strcmp(mode, "ops") == 0;
	c->address = jny_json_text(doc, "address");
	if (lease != NULL)
		c->lease = *lease;
	if (backoff != NULL)
	{
		c->backoff_first = json_seconds(backoff, "first", c->backoff_first);
		c->backoff_factor = json_number(backoff, "factor", c->backoff_factor);
		c->backoff_max = json_seconds(backoff, "max", c->backoff_max);
	}
	if (unknown != NULL)
		c->on_unknown = unknown[0];
	if (rate != NULL)
	{
		c->per_second = json_number(rate, "per_second", 0);
		c->burst = json_number(rate, "burst", Max(1, c->per_second));
		c->per_day = (int) json_number(rate, "per_day", 0);
	}
	c->unsubscribe_url = jny_json_text(doc, "list_unsubscribe_url");
	if (senders != NULL && JB_ROOT_IS_ARRAY(senders))
	{
		JsonbIterator *it = JsonbIteratorInit(&senders->root);
		JsonbValue	v;
		JsonbIteratorToken tok;

		while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
			if (tok == WJB_ELEM && v.type == jbvString)
				c->senders = lappend(c->senders, jny_json_scalar_text(&v));
	}
}

JnyChannelRules *
jny_house_channel(JnyHouse *house, const char *name)
{
	ListCell   *lc;
	JnyChannelRules *c;

	foreach(lc, house->channels)
	{
		c = lfirst(lc);
		if (strcmp(c->name, name) == 0)
			return c;
	}
	c = default_channel(name);
	house->channels = lappend(house->channels, c);
	return c;
}

static void
read_policy(JnyHouse *house, Jsonb *doc)
{
	char	   *zone = jny_json_text(doc, "zone");

	if (zone != NULL)
		house->zone = zone;
	house->cross_scopes = jny_json_bool(doc, "fences_cross_scopes", false);
	house->caps_cross_scopes = jny_json_bool(doc, "caps_cross_scopes", false);
	house->ncaps = jny_caps_parse(jny_json_object(doc, "caps"), false, &house->caps);
	house->quiet = jny_quiet_parse(jny_json_object(doc, "quiet_hours"));
}

JnyHouse *
jny_house_read(List *channels)
{
	JnyHouse   *house = palloc0(sizeof(JnyHouse));
	JnyCols    *of_channels = jny_cols_of(&documents);
	JnyCols    *of_house = jny_cols_of(&policies);
	JnyRows    *rows;
	ListCell   *lc;

	house->zone = "UTC";
	jny_cols_text(of_house, 0, "policy");
	jny_cols_next(of_house);
	rows = jny_lookup(&policies, of_house);
	for (int i = 0; i < rows->n; i++)
	{
		Jsonb	   *doc = DatumGetJsonbP(rows->row[i].values[2]);

		if (is_readable("policy", jny_row_text(&rows->row[i], 1), doc))
			read_policy(house, doc);
		else
			house->unreadable = true;
	}
	foreach(lc, channels)
	{
		jny_cols_text(of_channels, 0, "channel");
		jny_cols_text(of_channels, 1, lfirst(lc));
		jny_cols_next(of_channels);
	}
	rows = jny_lookup(&documents, of_channels);
	for (int i = 0; i < rows->n; i++)
	{
		char	   *name = jny_row_text(&rows->row[i], 1);
		Jsonb	   *doc = DatumGetJsonbP(rows->row[i].values[2]);
		JnyChannelRules *channel = jny_house_channel(house, name);

		if (is_readable("channel", name, doc))
			read_channel(channel, doc);
		else
			channel->defined = channel->unreadable = true;
	}
	return house;
}

void
jny_require_channel(const char *name)
{
	const char *nearest = NULL;
	int			best = 0;

	jny_run(&nearest_channel, (Datum[]) {CStringGetTextDatum(name)}, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		char	   *known = jny_get_text(row, 1);
		int			d;

		if (strcmp(known, name) == 0)
			return;
		d = varstr_levenshtein(known, strlen(known), name, Min(strlen(name), 200), 1, 1, 1, true);
		if (nearest == NULL || d < best)
		{
			nearest = known;
			best = d;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("channel \"%s\" does not exist", name),
			 nearest ? errhint("Did you mean \"%s\"?", nearest)
			 : errhint("Define it with journey.apply() and a document of kind channel.")));
}

/* Who calls, or one of the roles that it is a member of, must be on the list, where there is one. */
void
jny_require_own_channel(const JnyChannelRules *channel, const char *what)
{
	ListCell   *lc;

	if (channel->senders == NIL || superuser_arg(GetSessionUserId()))
		return;
	foreach(lc, channel->senders)
	{
		Oid			role = get_role_oid(lfirst(lc), true);

		if (OidIsValid(role) && has_privs_of_role(GetSessionUserId(), role))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to %s channel \"%s\"", what, channel->name),
			 errhint("Its document lists the roles that may, under \"senders\".")));
}

/* ---- pauses -------------------------------------------------------------- */

void
jny_house_read_pauses(JnyHouse *house)
{
	static const char *const whats[] = {"scope", "journey", "channel", "template"};
	JnyCols    *all = jny_cols_of(&pauses);
	JnyRows    *rows;

	jny_cols_next(all);
	rows = jny_lookup(&pauses, all);
	for (int i = 0; i < rows->n; i++)
	{
		const JnyRow *row = &rows->row[i];

		if (jny_text_is(row, 0, "all"))
			house->all_paused = true;
		for (size_t k = 0; k < lengthof(whats); k++)
			if (jny_text_is(row, 0, whats[k]))
				house->paused[k] = lappend(house->paused[k], jny_row_text(row, 1));
	}
}

bool
jny_house_paused(const JnyHouse *house, JnyPaused what, const char *name)
{
	ListCell   *lc;

	foreach(lc, house->paused[what])
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	return false;
}
