/*
 * keys.c
 *		The keys of an event, and the mark that they earn it.
 *
 * Also the two registries that capture asks: which scope a source speaks for,
 * whether its word is trusted, and which namespaces name one person. They are small data tables, read
 * through SPI as journey_owner on first use and again after a message that
 * they changed; kept under CacheMemoryContext. No locks beyond the read.
 */
#include "core/inbox.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

JNY_PLAN(read_sources, "", "SELECT s.source, s.scope, s.trusted FROM journey.source s ORDER BY s.source COLLATE \"C\"");
JNY_PLAN(read_spaces, "",
		 "SELECT n.namespace, n.class IN ('group', 'shared') FROM journey.namespace n"
		 " WHERE n.class IN ('group', 'shared') OR (NOT n.crosses_scopes AND n.class <> 'object')");

typedef struct Source
{
	const char *source;
	const char *scope;
	bool		trusted;
} Source;

/* A namespace whose keys are not just their values. */
typedef struct Space
{
	const char *name;
	bool		group;			/* stands for more than one person; else its keys are a scope's own */
} Space;

static struct
{
	bool		registered;
	bool		valid;			/* read to the end, and no message since that was begun */
	bool		unchanged;		/* no message since reading was begun */
	Oid			source_rel;
	Oid			namespace_rel;
	MemoryContext cxt;
	int			nsources;
	Source	   *sources;		/* sorted as strcmp() does */
	int			nspaces;
	Space	   *spaces;
} registry;

static void
forget(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == registry.source_rel || relid == registry.namespace_rel)
		registry.valid = registry.unchanged = false;
}

static void
read_rows(void *arg)
{
	registry.nsources = (int) jny_run_latest(&read_sources, NULL, NULL);
	registry.sources = MemoryContextAlloc(registry.cxt, sizeof(Source) * (registry.nsources + 1));
	for (int i = 0; i < registry.nsources; i++)
	{
		registry.sources[i].source = MemoryContextStrdup(registry.cxt, jny_get_text(i, 1));
		registry.sources[i].scope = MemoryContextStrdup(registry.cxt, jny_get_text(i, 2));
		registry.sources[i].trusted = jny_get_int8(i, 3, 1) != 0;
	}
	registry.nspaces = (int) jny_run_latest(&read_spaces, NULL, NULL);
	registry.spaces = MemoryContextAlloc(registry.cxt, sizeof(Space) * (registry.nspaces + 1));
	for (int i = 0; i < registry.nspaces; i++)
	{
		registry.spaces[i].name = MemoryContextStrdup(registry.cxt, jny_get_text(i, 1));
		registry.spaces[i].group = jny_get_int8(i, 2, 1) != 0;
	}
}

static void
load(void)
{
	Oid			nsp = get_namespace_oid("journey", false);

	if (!registry.registered)
	{
		registry.cxt = AllocSetContextCreate(CacheMemoryContext, "journey registry", ALLOCSET_SMALL_SIZES);
		jny_watch_relations(forget);
		registry.registered = true;
	}
	registry.valid = false;
	MemoryContextReset(registry.cxt);
	registry.nsources = registry.nspaces = 0;
	registry.source_rel = get_relname_relid("source", nsp);
	registry.namespace_rel = get_relname_relid("namespace", nsp);
	/* before install(): the tables' own messages will not reach us, so look again next time */
	if (!OidIsValid(registry.source_rel) || !OidIsValid(registry.namespace_rel))
		return;
	registry.unchanged = true;
	/* the caller may be a shop's role without any right here, with operators of its own */
	jny_as_owner(read_rows, NULL);
	registry.valid = registry.unchanged;
}

static void
refresh(void)
{
	AcceptInvalidationMessages();
	if (!registry.valid)
		load();
}

static int
compare_source(const void *a, const void *b)
{
	return strcmp(((const Source *) a)->source, ((const Source *) b)->source);
}

static const Source *
find_source(const char *source)
{
	Source		wanted = {.source = source};

	refresh();
	if (source == NULL || registry.nsources == 0)
		return NULL;
	return bsearch(&wanted, registry.sources, registry.nsources, sizeof(Source), compare_source);
}

char *
jny_source_scope(const char *source)
{
	const Source *found = find_source(source);

	/* a copy: the next key that is made may read the registry again */
	return pstrdup(found ? found->scope : JNY_DEFAULT_SCOPE);
}

bool
jny_source_trusted(const char *source)
{
	const Source *found = find_source(source);

	return found == NULL || found->trusted;
}

static const Space *
find_space(const char *namespace)
{
	refresh();
	for (int i = 0; i < registry.nspaces; i++)
		if (strcmp(registry.spaces[i].name, namespace) == 0)
			return &registry.spaces[i];
	return NULL;
}

char *
jny_key_in_scope(const char *scope, const char *value)
{
	size_t		len = strlen(scope);
	size_t		rest = strlen(value) + 1;
	char	   *out = palloc(len + 1 + rest);

	/* for each captured row: psprintf would cost several times as much */
	memcpy(out, scope, len);
	out[len] = ':';
	memcpy(out + len + 1, value, rest);
	return out;
}

static void
add_hash(JnyKeys *keys, int64 hash)
{
	for (int i = 0; i < keys->n; i++)
		if (keys->hash[i] == hash)
			return;
	if (keys->n < JNY_MAX_KEYS)
		keys->hash[keys->n++] = hash;
}

void
jny_keys_add(JnyKeys *keys, const char *namespace, const char *scope, const char *value)
{
	char	   *normal = value ? jny_normalise(namespace, value) : NULL;
	const Space *space;

	if (normal == NULL)
		return;
	space = find_space(namespace);
	/* a household's or a company's key must not let one member's order speak for all */
	if (space != NULL && space->group)
		return;
	add_hash(keys, jny_key_hash(namespace, space != NULL ? jny_key_in_scope(scope, normal) : normal));
}

void
jny_keys_add_subject(JnyKeys *keys, Jsonb *subject, const char *scope)
{
	JsonbIterator *it = jny_json_members(subject);
	JsonbValue	value;
	char	   *namespace;

	while (jny_json_next(&it, &namespace, &value))
		jny_keys_add(keys, namespace, scope, jny_json_scalar_text(&value));
}

void
jny_keys_add_object(JnyKeys *keys, const char *namespace, const char *scope, const char *id)
{
	char	   *normal = id ? jny_normalise(namespace, id) : NULL;

	if (normal != NULL)
		add_hash(keys, jny_key_hash(namespace, jny_key_in_scope(scope, normal)));
}

char
jny_fence_of(const char *type, const char *ref, const JnyKeys *keys)
{
	/* an opt-out may name its message, which names the person; one that does not makes no fence (inbox.c) */
	if (jny_type_is_fenced(type))
		return keys->n > 0 || jny_type_is_opt_out(type) ? JNY_FENCE_EVENT : JNY_FENCE_NONE;
	if (strcmp(type, "order_cancelled") == 0 && ref != NULL)
		return JNY_FENCE_RELEASE;
	return keys->n >= 2 ? JNY_FENCE_LINK : JNY_FENCE_NONE;
}
