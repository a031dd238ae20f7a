/*
 * registry.c
 *		Namespaces and the vocabulary, as they are registered when the lap
 *		begins.
 *
 * Called by take.c and decode_event.c. Namespaces are kept by core/keys.c
 * until they change; the lap works on a copy, since a change may arrive while
 * it runs. Event types are looked up one by one, once per lap: few events
 * make it necessary. Lives in the batch's context.
 */
#include "observe/fact.h"

#include "core/table.h"

JNY_LOOKUP(find_type, "event_type", "event_type_pkey", "type", "known", NULL);

typedef struct KnownType
{
	char		name[JNY_NAME_KEY];
	bool		known;
} KnownType;

void
jny_registry_load(JnyTake *take)
{
	const JnySpace *spaces = jny_spaces(&take->nspaces);

	take->spaces = palloc(sizeof(JnySpace) * Max(take->nspaces, 1));
	for (int i = 0; i < take->nspaces; i++)
	{
		take->spaces[i] = spaces[i];
		take->spaces[i].name = pstrdup(spaces[i].name);
	}
}

static bool
look_up(const char *type)
{
	JnyCols    *keys = jny_cols_of(&find_type);
	JnyRows    *found;

	jny_cols_text(keys, 0, type);
	jny_cols_next(keys);
	found = jny_lookup(&find_type, keys);
	return found->n > 0 && jny_row_int(found, 0, 0, 0) != 0;
}

bool
jny_type_is_known(JnyTake *take, const char *type)
{
	KnownType  *t;
	bool		found;

	if (take->types == NULL)
		take->types = jny_table_of_names(take, "journey types", sizeof(KnownType));
	t = hash_search(take->types, type, HASH_ENTER, &found);
	if (!found)
		t->known = look_up(type);
	return t->known;
}
