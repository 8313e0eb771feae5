/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clock.h - the only place, with the loop, that asks the kernel for the time.
 *
 * Durations are monotonic milliseconds or microseconds.  Wall-clock times are
 * microseconds since 1970-01-01T00:00:00Z; what is due or expired is decided by
 * PostgreSQL's clock alone, so these serve logs and the UUIDv7 guess only.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#include "base/attr.h"

#define CLOCK_TEXT_SIZE 32

int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
int64_t clock_wall_us(void);

/* RFC 3339 in UTC with six decimals: 2026-11-23T12:00:00.000000Z; returns buf */
char *clock_format(int64_t wall_us, char buf[CLOCK_TEXT_SIZE]);
/* RFC 3339 date-time with any offset; years 1970 to 9999; -1 if it is not that */
int clock_parse(const char *text, int64_t *wall_us) ATTR_CHECK;

/* the calendar in plain integers (proleptic Gregorian): days since 1970-01-01 */
int64_t clock_days(int year, int month, int day);
void clock_date(int64_t days, int *year, int *month, int *day); /* from year 0 on */
int clock_month_days(int year, int month);

#endif
