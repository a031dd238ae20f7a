/*
 * vocabulary.c
 *		The names that rules may read, the functions that they may call, and
 *		the news that makes compiled rules stale.
 *
 * Called by the compiler of expressions. journey.vocabulary and
 * journey.allowed_function are read through SPI into one memory context per
 * backend; it is thrown away when an invalidation of one of these relations
 * arrives (the functions that change them send one, journey._invalidate()), and
 * read again by the next jny_vocabulary_refresh(), never in the middle of a
 * compilation. The callbacks only set flags: they may run at any moment.
 * No locks beyond those of the two SELECTs. Errors: 55000 before install(),
 * 42703 for an unknown name, 0A000 for one that a later release will serve.
 */
#include "interpret/rule.h"

#include "catalog/namespace.h"
#include "executor/spi.h"
#include "parser/parse_node.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "interpret/feature.h"

#define NAME_LEN 200
#define SIGNATURE_LEN 512

typedef struct Word
{
	char		name[NAME_LEN]; /* hash key */
	Oid			type;
	bool		served;
} Word;

typedef struct Allowed
{
	char		signature[SIGNATURE_LEN];	/* hash key */
	bool		never_fails;
} Allowed;

typedef struct Dependency
{
	int			cache;
	uint32		hash;
} Dependency;

static MemoryContext words_cxt = NULL;
static HTAB *words = NULL;
static HTAB *functions = NULL;
static HTAB *dependencies = NULL;
static bool stale = true;
static uint64 generation = 1;
static uint64 user_generation = 1;
static Oid	watched[3] = {InvalidOid, InvalidOid, InvalidOid};

static const char *const watched_names[3] = {"vocabulary", "allowed_function", "document"};

/* ---- what makes rules stale -------------------------------------------- */

static void
relation_changed(Datum arg, Oid relid)
{
	for (int i = 0; i < 3; i++)
	{
		if (relid == InvalidOid || (watched[i] != InvalidOid && watched[i] == relid))
		{
			stale = true;
			generation++;
			return;
		}
	}
}

static void
catalog_changed(Datum arg, int cache, uint32 hash)
{
	Dependency	key = {cache, hash};

	user_generation++;
	if (hash == 0 || hash_search(dependencies, &key, HASH_FIND, NULL) != NULL)
		generation++;
}

static void
watch(void)
{
	HASHCTL		ctl = {0};

	if (dependencies != NULL)
		return;
	ctl.keysize = sizeof(Dependency);
	ctl.entrysize = sizeof(Dependency);
	/* Bounded by the number of functions, types and operators that rules name. */
	dependencies = hash_create("journey rule dependencies", 256, &ctl, HASH_ELEM | HASH_BLOBS);
	jny_watch_relations(relation_changed);
	CacheRegisterSyscacheCallback(PROCOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(OPEROID, catalog_changed, (Datum) 0);
}

uint64
jny_rule_generation(void)
{
	return generation;
}

uint64
jny_rule_user_generation(void)
{
	return user_generation;
}

void
jny_rule_depends(int cache, Oid oid)
{
	Dependency	key;

	memset(&key, 0, sizeof(key));
	key.cache = cache;
	key.hash = GetSysCacheHashValue1(cache, ObjectIdGetDatum(oid));
	hash_search(dependencies, &key, HASH_ENTER, NULL);
}

/* ---- loading -------------------------------------------------------------- */

JNY_PLAN(read_words, "", "SELECT name, type, served FROM journey.vocabulary");
JNY_PLAN(read_functions, "", "SELECT signature, never_fails FROM journey.allowed_function");

static void
find_relations(void)
{
	Oid			nsp = get_namespace_oid("journey", true);

	for (int i = 0; i < 3; i++)
		watched[i] = OidIsValid(nsp) ? get_relname_relid(watched_names[i], nsp) : InvalidOid;
	if (!OidIsValid(watched[0]) || !OidIsValid(watched[1]) || !OidIsValid(watched[2]))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the data tables of journey do not exist in this database"),
				 errhint("Run SELECT journey.install().")));
}

static HTAB *
make_table(const char *name, Size keysize, Size entrysize)
{
	HASHCTL		ctl = {0};

	ctl.keysize = keysize;
	ctl.entrysize = entrysize;
	ctl.hcxt = words_cxt;
	return hash_create(name, 128, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

static void
load_words(void)
{
	uint64		n = jny_run(&read_words, NULL, NULL);

	for (uint64 i = 0; i < n; i++)
	{
		char	   *name = jny_get_text(i, 1);
		int32		typmod;
		Word	   *word;

		if (strlen(name) >= NAME_LEN)
			continue;
		word = hash_search(words, name, HASH_ENTER, NULL);
		parseTypeString(jny_get_text(i, 2), &word->type, &typmod, false);
		word->served = jny_get_int8(i, 3, 0) != 0;
	}
}

static void
load_functions(void)
{
	uint64		n = jny_run(&read_functions, NULL, NULL);

	for (uint64 i = 0; i < n; i++)
	{
		char	   *signature = jny_get_text(i, 1);
		Allowed    *allowed;

		if (strlen(signature) >= SIGNATURE_LEN)
			continue;
		allowed = hash_search(functions, signature, HASH_ENTER, NULL);
		allowed->never_fails = jny_get_int8(i, 2, 0) != 0;
	}
}

static void
load_vocabulary(void)
{
	if (words_cxt != NULL)
		MemoryContextDelete(words_cxt);
	words = functions = NULL;
	words_cxt = AllocSetContextCreate(CacheMemoryContext, "journey vocabulary", ALLOCSET_DEFAULT_SIZES);
	find_relations();
	words = make_table("journey vocabulary", NAME_LEN, sizeof(Word));
	functions = make_table("journey allowed functions", SIGNATURE_LEN, sizeof(Allowed));
	stale = false;				/* an invalidation while we read sets it again */
	PG_TRY();
	{
		SPI_connect();
		load_words();
		load_functions();
		SPI_finish();
	}
	PG_CATCH();
	{
		stale = true;
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
jny_vocabulary_refresh(void)
{
	watch();
	if (stale || words == NULL)
		load_vocabulary();
	jny_features_refresh();
}

/* ---- looking up ------------------------------------------------------------ */

bool
jny_function_allowed(const char *signature, bool *never_fails)
{
	Allowed    *allowed;

	if (strlen(signature) >= SIGNATURE_LEN)
		return false;
	allowed = hash_search(functions, signature, HASH_FIND, NULL);
	*never_fails = allowed != NULL && allowed->never_fails;
	return allowed != NULL;
}

static Word *
find_word(const char *name)
{
	return strlen(name) < NAME_LEN ? hash_search(words, name, HASH_FIND, NULL) : NULL;
}

/* event.foo is served by event.*, step.remind.sent by step.*.sent, source.age('x') by source.age:* */
static Word *
find_wildcard(const char *name, const char **field)
{
	const char *dot = strchr(name, '.');
	const char *last = strrchr(name, '.');
	Word	   *word;
	char	   *pattern;

	if (dot == NULL || dot == name || dot[1] == '\0')
		return NULL;
	if (strncmp(name, "source.age:", strlen("source.age:")) == 0)
	{
		*field = pstrdup(name + strlen("source.age:"));
		return find_word("source.age:*");
	}
	if (last != dot)
	{
		pattern = psprintf("%.*s.*%s", (int) (dot - name), name, last);
		word = find_word(pattern);
		pfree(pattern);
		if (word != NULL)
		{
			*field = pnstrdup(dot + 1, last - dot - 1);
			return word;
		}
	}
	pattern = psprintf("%.*s.*", (int) (dot - name), name);
	word = find_word(pattern);
	pfree(pattern);
	if (word != NULL)
		*field = pstrdup(dot + 1);
	return word;
}

typedef struct Nearest
{
	const char *name;
	int			distance;
	char	   *best;
} Nearest;

static void
consider(Nearest *nearest, const char *candidate)
{
	int			len = strlen(nearest->name);
	int			d;

	if (len > 100 || strlen(candidate) > 100)
		return;
	d = varstr_levenshtein_less_equal(nearest->name, len, candidate, strlen(candidate),
									  1, 1, 1, nearest->distance - 1, true);
	if (d < nearest->distance)
	{
		nearest->distance = d;
		nearest->best = pstrdup(candidate);
	}
}

/* The known name that was probably meant, or NULL. */
static char *
nearest_name(const char *name)
{
	Nearest		nearest = {name, Min(4, (int) strlen(name) / 2 + 1), NULL};
	const char *dot = strchr(name, '.');
	HASH_SEQ_STATUS seq;
	Word	   *word;

	hash_seq_init(&seq, words);
	while ((word = hash_seq_search(&seq)) != NULL)
	{
		char	   *star = strchr(word->name, '*');

		if (!word->served)
			continue;
		if (star == NULL)
			consider(&nearest, word->name);
		else if (star[1] == '\0' && dot != NULL)
			consider(&nearest, psprintf("%.*s%s", (int) (star - word->name), word->name, dot + 1));
	}
	for (int i = 0; jny_feature_name(i) != NULL; i++)
		consider(&nearest, jny_feature_name(i));
	return nearest.best;
}

static void
unknown_name(const char *name, int location, ParseState *pstate)
{
	char	   *nearest = nearest_name(name);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("there is no name \"%s\" that a rule can read", name),
			 nearest ? errhint("Perhaps you meant \"%s\". The names are listed in journey.vocabulary.", nearest)
			 : errhint("The names are listed in journey.vocabulary; features are read by their bare name."),
			 parser_errposition(pstate, location)));
}

void
jny_vocabulary_resolve(const char *name, int location, ParseState *pstate, JnyInput *input)
{
	const char *field = NULL;
	Word	   *word = find_word(name);

	memset(input, 0, sizeof(*input));
	input->name = name;
	if (word == NULL)
		word = find_wildcard(name, &field);
	if (word == NULL && strchr(name, '.') == NULL && jny_feature_exists(name, &input->type))
	{
		(void) jny_subject_bind("<feature>", input);
		return;
	}
	if (word == NULL || strchr(name, '*') != NULL)
		unknown_name(name, location, pstate);
	input->type = word->type;
	input->field = field;
	if (!word->served || !jny_subject_bind(word->name, input))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" is not served by this release of journey", name),
				 errhint("The names that can be read are listed in journey.vocabulary (served)."),
				 parser_errposition(pstate, location)));
}
