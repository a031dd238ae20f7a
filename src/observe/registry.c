/*
 * registry.c
 *		Namespaces, the vocabulary and the sources, as they are registered now.
 *
 * Called once per lap by take.c: one statement over three small tables, so
 * that a change of a registry holds from the next lap on without any
 * invalidation. Lives in the batch's context.
 */
#include "observe/fact.h"

#include "executor/spi.h"

typedef struct SourceScope
{
	char		name[JNY_NAME_KEY];
	const char *scope;
} SourceScope;

JNY_PLAN(load_registry, "",
		 "SELECT 'n', n.namespace, n.class, n.rank, n.crosses_scopes, n.confidence FROM journey.namespace n"
		 " UNION ALL SELECT 't', t.type, NULL, NULL, NULL, NULL FROM journey.event_type t WHERE t.known"
		 " UNION ALL SELECT 's', s.source, s.scope, NULL, NULL, NULL FROM journey.source s");

static HTAB *
name_table(JnyTake *take, const char *name, size_t entry)
{
	HASHCTL		ctl = {.keysize = JNY_NAME_KEY, .entrysize = entry, .hcxt = take->batch->cxt};

	return hash_create(name, 128, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

static void
add_space(JnyTake *take, uint64 row)
{
	JnySpace   *space = &take->spaces[take->nspaces++];
	const char *class = jny_get_text(row, 3);
	bool		isnull;

	space->name = MemoryContextStrdup(take->batch->cxt, jny_get_text(row, 2));
	space->class = strcmp(class, "person") == 0 ? JNY_CLASS_PERSON
		: strcmp(class, "session") == 0 ? JNY_CLASS_SESSION
		: strcmp(class, "object") == 0 ? JNY_CLASS_OBJECT : JNY_CLASS_OTHER;
	space->rank = (int) jny_get_int8(row, 4, 0);
	space->crosses_scopes = jny_get_int8(row, 5, 1) != 0;
	space->confidence = DatumGetFloat8(jny_get(row, 6, &isnull));
}

void
jny_registry_load(JnyTake *take)
{
	take->types = name_table(take, "journey types", JNY_NAME_KEY);
	take->sources = name_table(take, "journey sources", sizeof(SourceScope));
	jny_run(&load_registry, NULL, NULL);
	take->spaces = palloc0(sizeof(JnySpace) * Max(SPI_processed, 1));
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		const char *what = jny_get_text(row, 1);

		if (what[0] == 'n')
			add_space(take, row);
		else if (what[0] == 't')
			(void) hash_search(take->types, jny_get_text(row, 2), HASH_ENTER, NULL);
		else
		{
			SourceScope *s = hash_search(take->sources, jny_get_text(row, 2), HASH_ENTER, NULL);

			s->scope = MemoryContextStrdup(take->batch->cxt, jny_get_text(row, 3));
		}
	}
}

const char *
jny_source_scope(JnyTake *take, const char *source)
{
	SourceScope *s = hash_search(take->sources, source, HASH_FIND, NULL);

	return s != NULL ? s->scope : "default";
}
