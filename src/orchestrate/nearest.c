/*
 * nearest.c
 *		The name that somebody probably meant.
 *
 * Called by lint and apply. Takes no locks and allocates nothing that lasts.
 */
#include "core/core.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

/* varstr_levenshtein() refuses longer texts; so do our names. */
#define MAX_NAME 255

PG_FUNCTION_INFO_V1(journey_nearest);

/*
 * A third of the letters may differ, at least two: "emial" is email and
 * "ordre_placed" is order_placed, but "sms" is not "ops".
 */
static int
reach(int len)
{
	return len < 4 ? 1 : Max(2, len / 3);
}

Datum
journey_nearest(PG_FUNCTION_ARGS)
{
	text	   *name = PG_GETARG_TEXT_PP(0);
	int			len = VARSIZE_ANY_EXHDR(name);
	Datum	   *among;
	bool	   *nulls;
	int			n;
	int			best = -1;
	int			limit = reach(len);

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &among, &nulls, &n);
	if (len == 0 || len > MAX_NAME)
		PG_RETURN_NULL();
	for (int i = 0; i < n && limit >= 0; i++)
	{
		text	   *other;
		int			distance;

		if (nulls[i])
			continue;
		other = DatumGetTextPP(among[i]);
		if (VARSIZE_ANY_EXHDR(other) > MAX_NAME)
			continue;
		distance = varstr_levenshtein_less_equal(VARDATA_ANY(name), len,
												 VARDATA_ANY(other), VARSIZE_ANY_EXHDR(other),
												 1, 1, 1, limit, true);
		if (distance <= limit)
		{
			best = i;
			limit = distance - 1;
		}
	}
	if (best < 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(among[best]);
}
