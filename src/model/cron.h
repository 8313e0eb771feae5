/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cron.h - a rule in cron's language: which readings of a wall clock it names.
 *
 * Pure, and without any time zone: a wall clock's reading is counted as if it were UTC,
 * in seconds since 1970.  What a reading means in a zone is rule.h's business.
 *
 *     minute hour day-of-month month day-of-week
 *     second minute hour day-of-month month day-of-week
 *     @yearly @annually @monthly @weekly @daily @midnight @hourly, @every DURATION
 *
 * A field is a list of: an asterisk, a number, a range, each with /STEP if wanted (N/S
 * goes from N to the field's end); months and weekdays also by three letters; 0 and 7
 * are Sunday.  L is the last day of the month, and 5L (or FRIL) the last Friday.  As
 * with Vixie's cron a day fits if either day field names it, when both are restricted;
 * one that begins with an asterisk is not, and then the day must fit both.
 *
 * @every counts from 1970-01-01T00:00:00Z, so that it says the same on every node and
 * after every change: it reads no wall clock.
 */
#ifndef MODEL_CRON_H
#define MODEL_CRON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"

#define CRON_TEXT_MAX	200
#define CRON_NEVER	INT64_MAX
#define CRON_YEARS_MOST 50 /* a day that a rule names comes within so many years */

struct cron {
	int64_t every_s; /* 0: by the fields below, of which bit n stands for n */
	uint64_t seconds, minutes;
	uint32_t hours;
	uint32_t days;	   /* of the month, 1 to 31 */
	uint32_t months;   /* 1 to 12 */
	uint32_t weekdays; /* 0 to 6, Sunday first */
	uint32_t last_weekdays;
	bool last_day;
	bool any_day, any_weekday; /* the field begins with an asterisk */
};

/* ERR_INVALID says which field is wrong, and refuses days that no month has */
int cron_parse(const char *text, struct cron *c, struct err *err) ATTR_CHECK;
/* it names every hour of the day, or none: it goes by real time, whatever clocks do */
bool cron_is_steady(const struct cron *c);
/* the first reading that is from_s or later; CRON_NEVER */
int64_t cron_next(const struct cron *c, int64_t from_s);

#endif
