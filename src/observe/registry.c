/*
 * registry.c
 *		Namespaces and the vocabulary, as they are registered when the lap
 *		begins.
 *
 * Called by take.c and decode_event.c. A lap reads the few namespaces anew,
 * so that a change holds from the next lap on whoever made it; of event types
 * it looks up those that make a difference, once each. Lives in the batch's
 * context.
 */
#include "observe/fact.h"

#include "utils/builtins.h"

JNY_LOOKUP(find_spaces, "namespace", "namespace_pkey", "namespace >=",
		   "namespace, class, rank, crosses_scopes, confidence, merges", NULL);
JNY_LOOKUP(find_type, "event_type", "event_type_pkey", "type", "known", NULL);

typedef struct KnownType
{
	const char *name;			/* hash key, first */
	bool		known;
} KnownType;

void
jny_registry_load(JnyTake *take)
{
	JnyCols    *from = jny_cols_of(&find_spaces);
	JnyRows    *rows;

	jny_cols_text(from, 0, "");
	jny_cols_next(from);
	rows = jny_lookup(&find_spaces, from);
	take->spaces = palloc(sizeof(JnySpace) * Max(rows->n, 1));
	take->nspaces = rows->n;
	for (int i = 0; i < rows->n; i++)
	{
		const JnyRow *row = &rows->row[i];
		JnySpace   *space = &take->spaces[i];
		const char *class = jny_row_text(row, 1);

		space->name = jny_row_text(row, 0);
		space->class = strcmp(class, "person") == 0 ? JNY_CLASS_PERSON
			: strcmp(class, "session") == 0 ? JNY_CLASS_SESSION
			: strcmp(class, "object") == 0 ? JNY_CLASS_OBJECT : JNY_CLASS_OTHER;
		space->rank = (int) jny_row_int(rows, i, 2, 0);
		space->crosses_scopes = jny_row_int(rows, i, 3, 1) != 0;
		space->confidence = DatumGetFloat8(row->values[4]);
		space->merges = jny_row_int(rows, i, 5, 1) != 0;
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
	t = hash_search(take->types, &type, HASH_ENTER, &found);
	if (!found)
		t->known = look_up(type);
	return t->known;
}
