/*
 * zone.c
 *		Local time without the session's TimeZone: a person's midnight, the end
 *		of the night.
 *
 * Pure functions over the server's time zone data; no SPI, no locks. A local
 * time that does not exist (clocks go forward) means the first instant after
 * the gap; one that exists twice means its first occurrence.
 */
#include "core/core.h"

#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#define DAY_US USECS_PER_DAY

static pg_tz *
zone_of(const char *zone)
{
	pg_tz	   *tz = zone != NULL ? pg_tzset(zone) : NULL;

	return tz != NULL ? tz : pg_tzset("UTC");
}

bool
jny_zone_valid(const char *zone)
{
	return zone != NULL && zone[0] != '\0' && pg_tzset(zone) != NULL;
}

/* Seconds to add to UTC at this instant. */
static long
offset_at(TimestampTz at, pg_tz *tz)
{
	pg_time_t	t = timestamptz_to_time_t(at);
	struct pg_tm *tm = pg_localtime(&t, tz);

	return tm != NULL ? tm->tm_gmtoff : 0;
}

/* The wall clock at an instant, as microseconds since 2000-01-01 00:00 on it. */
Timestamp
jny_zone_local(TimestampTz at, const char *zone)
{
	return at + (Timestamp) offset_at(at, zone_of(zone)) * USECS_PER_SEC;
}

TimestampTz
jny_zone_instant(Timestamp local, const char *zone)
{
	pg_tz	   *tz = zone_of(zone);
	long		before = offset_at(local - DAY_US, tz);
	long		after = offset_at(local + DAY_US, tz);
	TimestampTz first = local - (TimestampTz) Max(before, after) * USECS_PER_SEC;
	TimestampTz second = local - (TimestampTz) Min(before, after) * USECS_PER_SEC;
	pg_time_t	t;
	pg_time_t	boundary;
	long		off1;
	long		off2;
	int			dst1;
	int			dst2;

	if (jny_zone_local(first, zone) == local)
		return first;
	if (jny_zone_local(second, zone) == local)
		return second;
	/* in a gap: the instant of the change */
	t = timestamptz_to_time_t(first) - SECS_PER_DAY;
	if (pg_next_dst_boundary(&t, &off1, &dst1, &boundary, &off2, &dst2, tz) == 1)
		return time_t_to_timestamptz(boundary);
	return second;
}

/*
 * Later by an interval: its days and months by the calendar of the zone, the
 * rest as time that passes. "1 day" is the same time tomorrow, "24 hours" may
 * be another. In UTC, and for spans without days, the two are the same.
 */
TimestampTz
jny_zone_plus(TimestampTz at, const Interval *span, const char *zone)
{
	Interval	days = *span;
	Interval	rest = *span;
	Timestamp	local;

	days.time = 0;
	rest.month = 0;
	rest.day = 0;
	if ((days.month != 0 || days.day != 0) && !TIMESTAMP_NOT_FINITE(at))
	{
		local = DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval,
													  TimestampGetDatum(jny_zone_local(at, zone)),
													  IntervalPGetDatum(&days)));
		at = jny_zone_instant(local, zone);
	}
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(at), IntervalPGetDatum(&rest)));
}

/* The local day, as days since the epoch. */
static int
day_of(TimestampTz at, const char *zone)
{
	Timestamp	local = jny_zone_local(at, zone);

	return (int) (local >= 0 ? local / DAY_US : -((-local + DAY_US - 1) / DAY_US));
}

TimestampTz
jny_zone_midnight(TimestampTz at, int days, const char *zone)
{
	return jny_zone_instant(((Timestamp) day_of(at, zone) + days) * DAY_US, zone);
}

/* Local midnight that begins the month, some months on. */
static TimestampTz
month_start(TimestampTz at, int months, const char *zone)
{
	int			y;
	int			m;
	int			d;

	j2date(day_of(at, zone) + POSTGRES_EPOCH_JDATE, &y, &m, &d);
	m += y * 12 - 1 + months;
	return jny_zone_instant((Timestamp) (date2j(m / 12, m % 12 + 1, 1) - POSTGRES_EPOCH_JDATE) * DAY_US, zone);
}

/*
 * Where the window that a cap counts begins, and, for a calendar one, where
 * the next begins (0 for one that rolls): whole months, whole weeks from
 * Monday, or whole days of the calendar there, the present one included.
 * Windows shorter than a day roll.
 */
TimestampTz
jny_zone_window(TimestampTz now, const Interval *per, bool calendar, const char *zone, TimestampTz *next)
{
	int			left = 1;		/* days until the next window */

	*next = 0;
	if (!calendar || (per->month == 0 && per->day == 0))
	{
		Interval	back = {-per->time, -per->day, -per->month};

		return jny_zone_plus(now, &back, "UTC");
	}
	if (per->month > 0)
	{
		*next = month_start(now, 1, zone);
		return month_start(now, 1 - per->month, zone);
	}
	if (per->day % 7 == 0)
		left = 7 - (j2day(day_of(now, zone) + POSTGRES_EPOCH_JDATE) + 6) % 7;
	*next = jny_zone_midnight(now, left, zone);
	return jny_zone_midnight(now, left - per->day, zone);
}

/* "21:00" or "21:00:30" as microseconds of the day; -1 = none. */
int64
jny_zone_time_of_day(const char *text)
{
	int			h = 0;
	int			m = 0;
	int			s = 0;

	if (text == NULL || sscanf(text, "%d:%d:%d", &h, &m, &s) < 2 ||
		h < 0 || h > 24 || m < 0 || m > 59 || s < 0 || s > 60)
		return -1;
	return ((int64) h * 3600 + m * 60 + s) * USECS_PER_SEC;
}

/* The next instant at which the clock there shows this, also in an hour that comes again. */
static TimestampTz
instant_after(TimestampTz at, Timestamp local, const char *zone)
{
	TimestampTz first = jny_zone_instant(local, zone);
	pg_tz	   *tz = zone_of(zone);
	TimestampTz again;

	if (first > at)
		return first;
	again = local - (TimestampTz) offset_at(first + DAY_US, tz) * USECS_PER_SEC;
	return jny_zone_local(again, zone) == local ? again : first;
}

static TimestampTz
quiet_end(TimestampTz at, int64 start, int64 end, const char *zone)
{
	Timestamp	local = jny_zone_local(at, zone);
	int64		time = local % DAY_US;
	Timestamp	midnight;

	if (start < 0 || end < 0 || start == end)
		return 0;
	if (time < 0)
		time += DAY_US;
	midnight = local - time;
	if (start < end)
		return time >= start && time < end ? instant_after(at, midnight + end, zone) : 0;
	if (time >= start)
		return instant_after(at, midnight + DAY_US + end, zone);
	return time < end ? instant_after(at, midnight + end, zone) : 0;
}

/*
 * When the quiet hours that hold at this instant end; 0 = it is not quiet. An
 * end on a day that a zone leaves out is the beginning of the next, which may
 * be quiet as well.
 */
TimestampTz
jny_zone_quiet_until(TimestampTz at, const char *from, const char *to, const char *zone)
{
	int64		start = jny_zone_time_of_day(from);
	int64		end = jny_zone_time_of_day(to);
	TimestampTz until = quiet_end(at, start, end, zone);
	TimestampTz again = until != 0 ? quiet_end(until, start, end, zone) : 0;

	return again != 0 ? again : until;
}
