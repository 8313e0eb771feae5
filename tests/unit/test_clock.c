/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_clock.c - times are read and written exactly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/clock.h"

static void
times_are_parsed_as_the_standard_writes_them(void **state)
{
	static const struct {
		const char *text;
		int rc;
		int64_t us;
	} rows[] = {
	    {"1970-01-01T00:00:00Z", 0, 0},
	    {"2026-11-23T12:00:00Z", 0, 1795435200000000},
	    {"2026-11-23t12:00:00z", 0, 1795435200000000},
	    {"2026-11-23T12:00:00.5Z", 0, 1795435200500000},
	    {"2026-11-23T12:00:00.123456789Z", 0, 1795435200123456},
	    {"2026-11-23T14:00:00+02:00", 0, 1795435200000000},
	    {"2026-11-23T06:30:00-05:30", 0, 1795435200000000},
	    {"2026-11-23T12:00:00-00:00", 0, 1795435200000000},
	    {"1969-12-31T23:30:00-00:30", 0, 0},
	    {"2000-02-29T00:00:00Z", 0, 951782400000000},
	    {"2016-12-31T23:59:60Z", 0, 1483228800000000},
	    {"2017-01-01T00:59:60+01:00", 0, 1483228800000000},
	    {"9999-12-31T23:59:59.999999Z", 0, 253402300799999999},
	    {"9999-12-31T23:59:59-00:01", -1, 0},
	    {"1969-12-31T23:59:59Z", -1, 0},
	    {"1970-01-01T00:00:00+00:01", -1, 0},
	    {"2100-02-29T00:00:00Z", -1, 0},
	    {"2026-02-30T00:00:00Z", -1, 0},
	    {"2026-00-10T00:00:00Z", -1, 0},
	    {"2026-13-10T00:00:00Z", -1, 0},
	    {"2026-01-00T00:00:00Z", -1, 0},
	    {"2026-04-31T00:00:00Z", -1, 0},
	    {"2026-01-01T24:00:00Z", -1, 0},
	    {"2026-01-01T00:60:00Z", -1, 0},
	    {"2026-01-01T00:00:60Z", -1, 0},
	    {"2026-01-01T00:00:00", -1, 0},
	    {"2026-01-01T00:00:00.Z", -1, 0},
	    {"2026-01-01T00:00:00,5Z", -1, 0},
	    {"2026-01-01T00:00:00+0100", -1, 0},
	    {"2026-01-01T00:00:00+24:00", -1, 0},
	    {"2026-01-01T00:00:00Zx", -1, 0},
	    {"2026-01-01 00:00:00Z", -1, 0},
	    {" 2026-01-01T00:00:00Z", -1, 0},
	    {"2026-1-1T00:00:00Z", -1, 0},
	    {"", -1, 0},
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT_OF(rows); i++) {
		int64_t us = 0;

		if (clock_parse(rows[i].text, &us) != rows[i].rc || us != rows[i].us)
			fail_msg("%s gave %lld", rows[i].text, (long long)us);
	}
}

static void
every_month_comes_back_as_it_was_written(void **state)
{
	const int64_t day = 86400000000;
	char text[CLOCK_TEXT_SIZE], last[CLOCK_TEXT_SIZE] = "";
	int64_t at, us = 0;

	(void)state;
	for (at = 12345678901; at < 253402300800000000; at += 28 * day + 1000007) {
		clock_format(at, text);
		if (clock_parse(text, &us) != 0 || us != at)
			fail_msg("%s is not %lld", text, (long long)at);
		assert_true(strcmp(last, text) < 0);
		memcpy(last, text, sizeof(last));
	}
}

static void
format_has_one_shape_whatever_the_time(void **state)
{
	char text[CLOCK_TEXT_SIZE];

	(void)state;
	assert_string_equal(clock_format(0, text), "1970-01-01T00:00:00.000000Z");
	assert_string_equal(clock_format(-1, text), "1969-12-31T23:59:59.999999Z");
	assert_string_equal(
	    clock_format(INT64_MIN, text), "0001-01-01T00:00:00.000000Z");
	assert_string_equal(
	    clock_format(INT64_MAX, text), "9999-12-31T23:59:59.999999Z");
}

static void
clocks_agree_on_their_units(void **state)
{
	int64_t ms = clock_mono_ms(), us = clock_mono_us();

	(void)state;
	assert_true(us / 1000 >= ms && us / 1000 - ms < 60000);
	assert_true(clock_mono_us() >= us);
	assert_true(clock_wall_us() > 1700000000000000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(times_are_parsed_as_the_standard_writes_them),
	    cmocka_unit_test(every_month_comes_back_as_it_was_written),
	    cmocka_unit_test(format_has_one_shape_whatever_the_time),
	    cmocka_unit_test(clocks_agree_on_their_units),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
