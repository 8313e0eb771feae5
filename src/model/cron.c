/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cron.c - reads cron's language, and finds the next reading that a rule names; see
 * cron.h.
 *
 * A field is a word of bits.  Looking for the next reading walks over days (and over
 * months that are not named at one step), then takes the lowest bits of that day.
 *
 * New name with an @?  A row in aliases and a line in man/shoal.1 and api/openapi.yaml.
 */
#include "model/cron.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/units.h"

#define DAY_S	    86400
#define ALL_HOURS   0xffffffU
#define EVERY_MOST  (366LL * DAY_S)
#define FIELDS_MOST 6

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun",
    "jul", "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const weekday_names[] = {
    "sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

static const struct alias {
	const char *name, *text;
} aliases[] = {
    {"@yearly", "0 0 1 1 *"},
    {"@annually", "0 0 1 1 *"},
    {"@monthly", "0 0 1 * *"},
    {"@weekly", "0 0 * * 0"},
    {"@daily", "0 0 * * *"},
    {"@midnight", "0 0 * * *"},
    {"@hourly", "0 * * * *"},
};

enum which { SECOND = 0, MINUTE, HOUR, DAY, MONTH, WEEKDAY };

static const struct field {
	const char *name;
	int min, max;
	const char *const *names; /* of min and what follows */
} fields[] = {
    [SECOND] = {"second", 0, 59, NULL},
    [MINUTE] = {"minute", 0, 59, NULL},
    [HOUR] = {"hour", 0, 23, NULL},
    [DAY] = {"day of month", 1, 31, NULL},
    [MONTH] = {"month", 1, 12, month_names},
    [WEEKDAY] = {"day of week", 0, 7, weekday_names},
};

/* what a field says */
struct said {
	uint64_t bits;
	uint32_t last_weekdays;
	bool any, last;
};

/* ---------------------------------------------------------------- reading */

static int
complain(struct err *err, const struct field *f, const char *item, const char *what)
{
	char shown[80];

	str_printable(shown, sizeof(shown), item, strnlen(item, sizeof(shown)));
	return err_set(
	    err, ERR_INVALID, "the %s field's '%s' %s", f->name, shown, what);
}

/* a number or a name at *at, which moves behind it; -1: neither */
static int
take_number(const struct field *f, const char **at)
{
	int n = 0, digits = 0;

	for (int i = 0; f->names != NULL && f->names[i] != NULL; i++) {
		if (strncasecmp(*at, f->names[i], 3) == 0) {
			*at += 3;
			return f->min + i;
		}
	}
	while (**at >= '0' && **at <= '9' && digits++ < 4)
		n = n * 10 + (*(*at)++ - '0');
	return digits > 0 && digits <= 4 ? n : -1;
}

/* behind a slash; 1 without one */
static int
take_step(const struct field *f, const char *item, const char **at, struct err *err)
{
	const struct field plain = {f->name, f->min, f->max, NULL};
	int span = f->max - f->min + (f->names == weekday_names ? 0 : 1), step;

	if (**at != '/')
		return 1;
	(*at)++;
	step = take_number(&plain, at);
	if (step < 1 || step > span) {
		char what[80];

		snprintf(what, sizeof(what), "needs a step from 1 to %d", span);
		return complain(err, f, item, what);
	}
	return step;
}

static int
read_range(const struct field *f, const char *item, struct said *said, struct err *err)
{
	const char *at = item;
	int from = f->min, to = f->max, step;
	char what[80];

	if (*at == '*') {
		at++;
		to -= f->names == weekday_names; /* 7 is Sunday again */
	} else {
		from = to = take_number(f, &at);
		if (from >= 0 && *at == '-') {
			at++;
			to = take_number(f, &at);
			/* a week that ends with Sunday */
			if (f->names == weekday_names && to == 0 && from > 0)
				to = 7;
		} else if (from >= 0 && *at == '/') {
			to = f->max - (f->names == weekday_names);
		} else if (from >= 0 && str_ieq(at, "L") && f->names == weekday_names &&
			   from <= f->max) {
			said->last_weekdays |= 1U << from % 7;
			return 0;
		}
		if (from < f->min || from > f->max || to < f->min || to > f->max) {
			snprintf(what, sizeof(what), "is not within %d to %d%s", f->min,
			    f->max, f->names != NULL ? ", nor a name" : "");
			return complain(err, f, item, what);
		}
		if (to < from)
			return complain(err, f, item, "ends before it begins");
	}
	step = take_step(f, item, &at, err);
	if (step < 0)
		return -1;
	if (*at != '\0')
		return complain(err, f, item, "is not understood");
	for (int n = from; n <= to; n += step)
		said->bits |= 1ULL << (f->names == weekday_names ? n % 7 : n);
	return 0;
}

static int
read_field(const struct field *f, char *text, struct said *said, struct err *err)
{
	char *rest = text, *item;

	memset(said, 0, sizeof(*said));
	said->any = text[0] == '*';
	while ((item = strsep(&rest, ",")) != NULL) {
		if (f == &fields[DAY] && str_ieq(item, "L"))
			said->last = true;
		else if (item[0] == '\0')
			return complain(err, f, item, "is empty between commas");
		else if (read_range(f, item, said, err) != 0)
			return -1;
	}
	return 0;
}

/* some month that is named has a day that is named */
static bool
is_possible(const struct cron *c)
{
	if (c->last_day || !(c->any_day || c->any_weekday))
		return true; /* with both days restricted the weekday comes anyway */
	for (int month = 1; month <= 12; month++) {
		uint32_t has = (2U << clock_month_days(2000, month)) - 2; /* 1 and on */

		if ((c->months >> month & 1) != 0 && (c->days & has) != 0)
			return true;
	}
	return false;
}

static int
read_every(const char *text, struct cron *c, struct err *err)
{
	int64_t ms;

	if (units_duration_ms(text, &ms, err) != 0)
		return err_wrap(err, "@every");
	if (ms < 1000 || ms % 1000 != 0 || ms / 1000 > EVERY_MOST)
		return err_set(
		    err, ERR_INVALID, "@every takes whole seconds from 1 to 366 days");
	c->every_s = ms / 1000;
	return 0;
}

static int
read_fields(char *text, struct cron *c, struct err *err)
{
	char *words[FIELDS_MOST + 1], *rest = text, *word;
	struct said said[FIELDS_MOST];
	int count = 0, skip;

	while ((word = strsep(&rest, " \t")) != NULL) {
		if (word[0] == '\0')
			continue;
		if (count <= FIELDS_MOST)
			words[count] = word;
		count++;
	}
	if (count < 5 || count > FIELDS_MOST)
		return err_set(err, ERR_INVALID,
		    "it has %d fields; there must be 5 (minute, hour, day of month, "
		    "month, day of week), or 6 with the second in front",
		    count);
	skip = FIELDS_MOST - count;
	for (int i = 0; i < count; i++) {
		if (read_field(&fields[i + skip], words[i], &said[i + skip], err) != 0)
			return -1;
	}
	c->seconds = skip == 1 ? 1 : said[SECOND].bits;
	c->minutes = said[MINUTE].bits;
	c->hours = (uint32_t)said[HOUR].bits;
	c->days = (uint32_t)said[DAY].bits;
	c->last_day = said[DAY].last;
	c->any_day = said[DAY].any;
	c->months = (uint32_t)said[MONTH].bits;
	c->weekdays = (uint32_t)said[WEEKDAY].bits;
	c->last_weekdays = said[WEEKDAY].last_weekdays;
	c->any_weekday = said[WEEKDAY].any;
	if (!is_possible(c))
		return err_set(err, ERR_INVALID,
		    "it never comes: none of its months has such a day");
	return 0;
}

int
cron_parse(const char *text, struct cron *c, struct err *err)
{
	struct cron made = {0};
	char copy[CRON_TEXT_MAX + 1], shown[80];
	char *trimmed;

	if (!str_copy(copy, sizeof(copy), text))
		return err_set(
		    err, ERR_INVALID, "it is longer than %d bytes", CRON_TEXT_MAX);
	trimmed = str_trim(copy);
	if (strncasecmp(trimmed, "@every", 6) == 0 &&
	    (trimmed[6] == ' ' || trimmed[6] == '\t' || trimmed[6] == '\0')) {
		if (read_every(str_trim(trimmed + 6), &made, err) != 0)
			return -1;
		*c = made;
		return 0;
	}
	if (trimmed[0] == '@') {
		size_t i = 0;

		while (i < COUNT_OF(aliases) && !str_ieq(aliases[i].name, trimmed))
			i++;
		if (i == COUNT_OF(aliases)) {
			str_printable(shown, sizeof(shown), trimmed, strlen(trimmed));
			return err_set(err, ERR_INVALID,
			    "there is no '%s'; there are @yearly, @annually, @monthly, "
			    "@weekly, @daily, @midnight, @hourly and @every DURATION",
			    shown);
		}
		str_copy(copy, sizeof(copy), aliases[i].text);
		trimmed = copy;
	}
	if (read_fields(trimmed, &made, err) != 0)
		return -1;
	*c = made;
	return 0;
}

bool
cron_is_steady(const struct cron *c)
{
	return c->every_s != 0 || c->hours == ALL_HOURS;
}

/* ---------------------------------------------------------------- the next one */

static bool
names_day(const struct cron *c, int year, int month, int day, int64_t days)
{
	int last = clock_month_days(year, month);
	uint32_t weekday = 1U << ((days + 4) % 7); /* 1970 began with a Thursday */
	bool by_day = (c->days >> day & 1) != 0 || (c->last_day && day == last);
	bool by_weekday = (c->weekdays & weekday) != 0 ||
			  ((c->last_weekdays & weekday) != 0 && day > last - 7);

	if (c->any_day || c->any_weekday)
		return by_day && by_weekday;
	return by_day || by_weekday;
}

/* the lowest bit of bits that is n or higher; -1: none */
static int
lowest(uint64_t bits, int n)
{
	bits = n < 64 ? bits >> n << n : 0;
	return bits != 0 ? __builtin_ctzll(bits) : -1;
}

/* the first second of a day that is from or later; -1: none is left */
static int
in_day(const struct cron *c, int from)
{
	int hour = from / 3600, minute = from / 60 % 60, second = from % 60, h, m, s;

	h = lowest(c->hours, hour);
	if (h == hour) {
		m = lowest(c->minutes, minute);
		if (m == minute) {
			s = lowest(c->seconds, second);
			if (s >= 0)
				return h * 3600 + m * 60 + s;
			m = lowest(c->minutes, minute + 1);
		}
		if (m >= 0)
			return h * 3600 + m * 60 + lowest(c->seconds, 0);
		h = lowest(c->hours, hour + 1);
	}
	if (h < 0)
		return -1;
	return h * 3600 + lowest(c->minutes, 0) * 60 + lowest(c->seconds, 0);
}

int64_t
cron_next(const struct cron *c, int64_t from_s)
{
	int64_t days, end;
	int from, found, year, month, day;

	if (from_s < 0)
		from_s = 0;
	if (c->every_s != 0)
		return (from_s + c->every_s - 1) / c->every_s * c->every_s;
	days = from_s / DAY_S;
	from = (int)(from_s % DAY_S);
	end = days + CRON_YEARS_MOST * 366;
	clock_date(days, &year, &month, &day);
	while (days < end) {
		int length = clock_month_days(year, month);

		if ((c->months >> month & 1) == 0) {
			days += length - day;
			day = length;
		} else if (names_day(c, year, month, day, days)) {
			found = in_day(c, from);
			if (found >= 0)
				return days * DAY_S + found;
		}
		from = 0;
		days++;
		if (++day > length) {
			day = 1;
			if (++month > 12) {
				month = 1;
				year++;
			}
		}
	}
	return CRON_NEVER;
}
