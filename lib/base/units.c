/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * units.c - durations and sizes as people write them.
 *
 * Whole numbers with one suffix out of a table, both ways.  What cannot be held
 * exactly is refused, never rounded.  A new unit is a row; rows are ordered from
 * the largest to the smallest because writing takes the first that divides.  ISO 8601
 * durations, as programs write them, are read only.
 */
#include "base/units.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

struct unit {
	const char *name;
	int64_t factor;
	int shown; /* used when writing; the others are only read */
};

static const struct unit duration_units[] = {
    {"d", 86400000, 1},
    {"h", 3600000, 1},
    {"min", 60000, 1},
    {"m", 60000, 0},
    {"s", 1000, 1},
    {"", 1000, 0},
    {"ms", 1, 1},
};

static const struct unit size_units[] = {
    {"GiB", 1 << 30, 1},
    {"G", 1 << 30, 0},
    {"MiB", 1 << 20, 1},
    {"M", 1 << 20, 0},
    {"KiB", 1 << 10, 1},
    {"K", 1 << 10, 0},
    {"", 1, 1},
    {"B", 1, 0},
};

static int
parse(const char *text, const struct unit *units, size_t count, const char *what,
    const char *spelling, int64_t *value, struct err *err)
{
	char shown[64];
	const char *at = text;
	int64_t n = 0;
	size_t i;

	str_printable(shown, sizeof(shown), text, strnlen(text, sizeof(shown)));
	while (*at >= '0' && *at <= '9') {
		int digit = *at++ - '0';

		if (n > (INT64_MAX - digit) / 10)
			return err_set(
			    err, ERR_INVALID, "%s '%s' is too large", what, shown);
		n = n * 10 + digit;
	}
	for (i = 0; at > text && i < count; i++) {
		if (!str_eq(at, units[i].name))
			continue;
		if (n > INT64_MAX / units[i].factor)
			return err_set(
			    err, ERR_INVALID, "%s '%s' is too large", what, shown);
		*value = n * units[i].factor;
		return 0;
	}
	return err_set(err, ERR_INVALID, "'%s' is no %s: write a whole number and %s",
	    shown, what, spelling);
}

int
units_duration_ms(const char *text, int64_t *ms, struct err *err)
{
	return parse(text, duration_units, COUNT_OF(duration_units), "duration",
	    "ms, s, min, h or d, such as 30s", ms, err);
}

int
units_size_bytes(const char *text, int64_t *bytes, struct err *err)
{
	return parse(text, size_units, COUNT_OF(size_units), "size",
	    "KiB, MiB or GiB, such as 64KiB", bytes, err);
}

/* parts in the order in which they must come; time parts follow a T */
static const struct iso_part {
	char name;
	bool time;
	int64_t ms;
} iso_parts[] = {
    {'W', false, 604800000},
    {'D', false, 86400000},
    {'H', true, 3600000},
    {'M', true, 60000},
    {'S', true, 1000},
};

/* ".25" as milliseconds; the next byte, NULL: no digits, or finer than that */
static const char *
read_fraction(const char *at, int64_t *ms)
{
	int64_t worth = 100;

	*ms = 0;
	if (*at != '.' && *at != ',')
		return at;
	at++;
	if (*at < '0' || *at > '9')
		return NULL;
	for (; *at >= '0' && *at <= '9'; at++, worth /= 10) {
		if (worth == 0 && *at != '0')
			return NULL;
		*ms += (*at - '0') * worth;
	}
	return at;
}

/* "15M" and the like; the next byte, NULL: it is no part that may stand here */
static const char *
read_iso_part(const char *at, bool time, size_t *next, int64_t *total)
{
	int64_t n = 0, fraction;
	const char *digits = at;
	size_t i;

	for (; *at >= '0' && *at <= '9'; at++) {
		if (n > (INT64_MAX - (*at - '0')) / 10)
			return NULL;
		n = n * 10 + (*at - '0');
	}
	if (at == digits || (at = read_fraction(digits = at, &fraction)) == NULL)
		return NULL;
	for (i = *next; i < COUNT_OF(iso_parts); i++) {
		if (iso_parts[i].time == time && iso_parts[i].name == *at)
			break;
	}
	if (i == COUNT_OF(iso_parts) || (at != digits && *at != 'S'))
		return NULL;
	if (n > (INT64_MAX - fraction - *total) / iso_parts[i].ms)
		return NULL;
	*total += n * iso_parts[i].ms + fraction;
	*next = i + 1;
	return at + 1;
}

int
units_iso8601_ms(const char *text, int64_t *ms)
{
	const char *at = text;
	int64_t total = 0;
	size_t next = 0;
	bool time = false;

	if (*at++ != 'P' || *at == '\0')
		return -1;
	while (*at != '\0') {
		if (*at == 'T' && !time) {
			time = true;
			at++;
		}
		at = read_iso_part(at, time, &next, &total);
		if (at == NULL)
			return -1;
	}
	*ms = total;
	return 0;
}

static char *
format(
    int64_t value, const struct unit *units, size_t count, const char *zero, char *buf)
{
	size_t i;

	if (value == 0) {
		str_copy(buf, UNITS_TEXT_SIZE, zero);
		return buf;
	}
	for (i = 0; i < count; i++) {
		if (!units[i].shown || value % units[i].factor != 0)
			continue;
		snprintf(buf, UNITS_TEXT_SIZE, "%lld%s",
		    (long long)(value / units[i].factor), units[i].name);
		break;
	}
	return buf;
}

char *
units_duration_text(int64_t ms, char buf[UNITS_TEXT_SIZE])
{
	return format(ms, duration_units, COUNT_OF(duration_units), "0s", buf);
}

char *
units_size_text(int64_t bytes, char buf[UNITS_TEXT_SIZE])
{
	return format(bytes, size_units, COUNT_OF(size_units), "0", buf);
}
