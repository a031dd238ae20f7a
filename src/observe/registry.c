/*
 * registry.c
 *		Namespaces and the vocabulary, as they are registered now.
 *
 * Called once per lap by take.c: one statement over two small tables, so
 * that a change of a registry holds from the next lap on without any
 * invalidation. Lives in the batch's context.
 */
#include "observe/fact.h"

#include "executor/spi.h"

JNY_PLAN(load_registry, "",
		 "SELECT 'n', n.namespace, n.class, n.rank, n.crosses_scopes, n.confidence FROM journey.namespace n"
		 " UNION ALL SELECT 't', t.type, NULL, NULL, NULL, NULL FROM journey.event_type t WHERE t.known");

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
	HASHCTL		ctl = {.keysize = JNY_NAME_KEY, .entrysize = JNY_NAME_KEY, .hcxt = take->batch->cxt};

	take->types = hash_create("journey types", 128, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	jny_run(&load_registry, NULL, NULL);
	take->spaces = palloc0(sizeof(JnySpace) * Max(SPI_processed, 1));
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		const char *what = jny_get_text(row, 1);

		if (what[0] == 'n')
			add_space(take, row);
		else
			(void) hash_search(take->types, jny_get_text(row, 2), HASH_ENTER, NULL);
	}
}
