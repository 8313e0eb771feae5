/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clock.c - what time it is, and how it is written.
 *
 * Calendar arithmetic is done here in plain integers (proleptic Gregorian, UTC):
 * the C library's conversions read TZ, take locks and differ in what they
 * accept.  Leap seconds do not exist on our time line: 23:59:60 is read as the
 * second that follows it.
 */
#include "base/clock.h"

#include <stdbool.h>
#include <time.h>

#define US_PER_SECOND	1000000LL
#define SECONDS_PER_DAY 86400LL
/* 0001-01-01 and 10000-01-01 in seconds since 1970 */
#define FIRST_SECOND	  (-62135596800LL)
#define AFTER_LAST_SECOND 253402300800LL

static int64_t
now_us(clockid_t id)
{
	struct timespec ts;

	/* cannot fail for these two clocks and a valid pointer */
	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * US_PER_SECOND + ts.tv_nsec / 1000;
}

int64_t
clock_mono_us(void)
{
	return now_us(CLOCK_MONOTONIC);
}

int64_t
clock_mono_ms(void)
{
	return now_us(CLOCK_MONOTONIC) / 1000;
}

int64_t
clock_wall_us(void)
{
	return now_us(CLOCK_REALTIME);
}

/*
 * Years are counted from 1 March, so that the leap day is the last one and the
 * lengths of the months before it repeat every five: 153 days.
 */
int64_t
clock_days(int year, int month, int day)
{
	int64_t y = month > 2 ? year : year - 1;
	int64_t month_from_march = (month + 9) % 12;
	int64_t day_of_year = (153 * month_from_march + 2) / 5 + day - 1;

	return y * 365 + y / 4 - y / 100 + y / 400 + day_of_year - 719468;
}

void
clock_date(int64_t days, int *year, int *month, int *day)
{
	int64_t since = days + 719468; /* 0000-03-01; never negative in our range */
	int64_t era = since / 146097, in_era = since % 146097;
	int64_t y = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
	int64_t in_year = in_era - (365 * y + y / 4 - y / 100);
	int64_t month_from_march = (5 * in_year + 2) / 153;

	*day = (int)(in_year - (153 * month_from_march + 2) / 5 + 1);
	*month =
	    (int)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
	*year = (int)(y + era * 400 + (*month <= 2));
}

/* the last count digits of n, and what follows them */
static void
put_digits(char *to, unsigned n, int count, char after)
{
	to[count] = after;
	while (count-- > 0) {
		to[count] = (char)('0' + n % 10);
		n /= 10;
	}
}

char *
clock_format(int64_t wall_us, char buf[CLOCK_TEXT_SIZE])
{
	int64_t second, us, days, rest;
	int year, month, day;

	if (wall_us < FIRST_SECOND * US_PER_SECOND)
		wall_us = FIRST_SECOND * US_PER_SECOND;
	if (wall_us >= AFTER_LAST_SECOND * US_PER_SECOND)
		wall_us = AFTER_LAST_SECOND * US_PER_SECOND - 1;
	/* shifted to year 1, where all is positive and division rounds down */
	wall_us -= FIRST_SECOND * US_PER_SECOND;
	second = wall_us / US_PER_SECOND;
	us = wall_us % US_PER_SECOND;
	days = second / SECONDS_PER_DAY;
	rest = second % SECONDS_PER_DAY;
	clock_date(days + FIRST_SECOND / SECONDS_PER_DAY, &year, &month, &day);
	put_digits(buf, (unsigned)year, 4, '-');
	put_digits(buf + 5, (unsigned)month, 2, '-');
	put_digits(buf + 8, (unsigned)day, 2, 'T');
	put_digits(buf + 11, (unsigned)(rest / 3600), 2, ':');
	put_digits(buf + 14, (unsigned)(rest / 60 % 60), 2, ':');
	put_digits(buf + 17, (unsigned)(rest % 60), 2, '.');
	put_digits(buf + 20, (unsigned)us, 6, 'Z');
	buf[27] = '\0';
	return buf;
}

/* exactly count digits at *at, which moves behind them */
static bool
take_digits(const char **at, int count, int min, int max, int *value)
{
	int n = 0;

	while (count-- > 0) {
		if (**at < '0' || **at > '9')
			return false;
		n = n * 10 + (*(*at)++ - '0');
	}
	*value = n;
	return n >= min && n <= max;
}

static bool
take_char(const char **at, char c, char other)
{
	if (**at != c && **at != other)
		return false;
	(*at)++;
	return true;
}

int
clock_month_days(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days[month - 1] + (month == 2 && leap);
}

/* microseconds of ".5" and the like; digits beyond the sixth are dropped */
static bool
take_fraction(const char **at, int *us)
{
	int scale = 100000;

	*us = 0;
	if (**at != '.')
		return true;
	(*at)++;
	if (**at < '0' || **at > '9')
		return false;
	for (; **at >= '0' && **at <= '9'; (*at)++) {
		*us += (**at - '0') * scale;
		scale /= 10;
	}
	return true;
}

static bool
take_offset(const char **at, int *minutes)
{
	int hour, minute, sign;

	*minutes = 0;
	if (take_char(at, 'Z', 'z'))
		return true;
	sign = **at == '-' ? -1 : 1;
	if (!take_char(at, '+', '-') || !take_digits(at, 2, 0, 23, &hour) ||
	    !take_char(at, ':', ':') || !take_digits(at, 2, 0, 59, &minute))
		return false;
	*minutes = sign * (hour * 60 + minute);
	return true;
}

int
clock_parse(const char *text, int64_t *wall_us)
{
	int year, month, day, hour, minute, second, us, offset;
	int64_t t;

	if (!take_digits(&text, 4, 0, 9999, &year) || !take_char(&text, '-', '-') ||
	    !take_digits(&text, 2, 1, 12, &month) || !take_char(&text, '-', '-') ||
	    !take_digits(&text, 2, 1, 31, &day) || !take_char(&text, 'T', 't') ||
	    !take_digits(&text, 2, 0, 23, &hour) || !take_char(&text, ':', ':') ||
	    !take_digits(&text, 2, 0, 59, &minute) || !take_char(&text, ':', ':') ||
	    !take_digits(&text, 2, 0, 60, &second) || !take_fraction(&text, &us) ||
	    !take_offset(&text, &offset) || *text != '\0')
		return -1;
	/* a year outside is possible in one zone and inside in another: check at the
	 * end */
	if (year < 1969 || day > clock_month_days(year, month))
		return -1;
	t = clock_days(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 +
	    second - (int64_t)offset * 60;
	/* leap seconds only ever end a day of UTC */
	if (second == 60 && t % SECONDS_PER_DAY != 0)
		return -1;
	if (t < 0 || t >= AFTER_LAST_SECOND)
		return -1;
	*wall_us = t * US_PER_SECOND + us;
	return 0;
}
