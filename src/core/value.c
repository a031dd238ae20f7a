/*
 * value.c
 *		Text to values without raising.
 *
 * Called where a value from outside is read: what PostgreSQL's input function
 * would reject must be an answer (quarantined, unknown), not an error, and no
 * subtransaction is needed. Numbers are scanned first, times go through the
 * date parser's own error codes. Results live in CurrentMemoryContext.
 */
#include "core/value.h"

#include <ctype.h>

#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#define MAX_NUMBER 200			/* longest number taken for one */

/* [+-]digits[.digits][e[+-]digits]; no NaN, no infinity: a price is a number. */
static bool
looks_like_number(const char *s)
{
	int			digits = 0;
	int			exponent = 0;

	if (*s == '+' || *s == '-')
		s++;
	for (; isdigit((unsigned char) *s); s++)
		digits++;
	if (*s == '.')
		for (s++; isdigit((unsigned char) *s); s++)
			digits++;
	if (digits == 0)
		return false;
	if (*s == 'e' || *s == 'E')
	{
		s++;
		if (*s == '+' || *s == '-')
			s++;
		if (!isdigit((unsigned char) *s))
			return false;
		for (; isdigit((unsigned char) *s); s++)
			exponent++;
	}
	return *s == '\0' && exponent <= 2;
}

bool
jny_value_number(const char *text, Numeric *out)
{
	char		buf[MAX_NUMBER + 1];
	size_t		len;

	while (isspace((unsigned char) *text))
		text++;
	len = strlen(text);
	while (len > 0 && isspace((unsigned char) text[len - 1]))
		len--;
	if (len == 0 || len > MAX_NUMBER)
		return false;
	memcpy(buf, text, len);
	buf[len] = '\0';
	if (!looks_like_number(buf))
		return false;
	*out = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(buf),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	return true;
}

/*
 * A time as timestamptz_in reads it, finite only; without a zone it is UTC,
 * which is how capture writes. The parser takes its default from the session,
 * whose zone is set aside for the call (nothing in it raises).
 */
static int
decode_utc(char **field, int *ftype, int nf, int *dtype, struct pg_tm *tm, fsec_t *fsec, int *tz)
{
	pg_tz	   *session = session_timezone;
	int			rc;

	session_timezone = pg_tzset("GMT");
	rc = JNY_DECODE_DATETIME(field, ftype, nf, dtype, tm, fsec, tz);
	session_timezone = session;
	return rc;
}

bool
jny_value_time(const char *text, TimestampTz *out)
{
	char	   *field[MAXDATEFIELDS];
	int			ftype[MAXDATEFIELDS];
	char		work[MAXDATELEN + MAXDATEFIELDS];
	int			nf;
	int			dtype;
	int			tz = 0;
	struct pg_tm tm;
	fsec_t		fsec;

	if (strlen(text) > MAXDATELEN ||
		ParseDateTime(text, work, sizeof(work), field, ftype, MAXDATEFIELDS, &nf) != 0)
		return false;
	/* only the fixed forms: 'now' and 'tomorrow' are no data */
	if (!isdigit((unsigned char) text[strspn(text, " ")]))
		return false;
	if (decode_utc(field, ftype, nf, &dtype, &tm, &fsec, &tz) != 0 || dtype != DTK_DATE)
		return false;
	return tm2timestamp(&tm, fsec, &tz, out) == 0;
}

bool
jny_value_zoned(const char *text)
{
	const char *clock = strchr(text, ':');

	return clock != NULL && strpbrk(clock, "+-zZ/") != NULL;
}
