/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_units.c - durations and sizes are exact both ways.
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
#include "base/units.h"

struct row {
	const char *text;
	int rc;
	int64_t n;
};

static void
durations_are_whole_numbers_with_a_unit(void **state)
{
	static const struct row rows[] = {
	    {"0", 0, 0},
	    {"30", 0, 30000},
	    {"1500ms", 0, 1500},
	    {"30s", 0, 30000},
	    {"15m", 0, 900000},
	    {"15min", 0, 900000},
	    {"2h", 0, 7200000},
	    {"7d", 0, 604800000},
	    {"9223372036854775807ms", 0, INT64_MAX},
	    {"9223372036854775808ms", -1, 0},
	    {"9223372036854776s", -1, 0},
	    {"106751991168d", -1, 0},
	    {"1.5s", -1, 0},
	    {"-1s", -1, 0},
	    {"+1s", -1, 0},
	    {"1 s", -1, 0},
	    {" 1s", -1, 0},
	    {"1S", -1, 0},
	    {"1sec", -1, 0},
	    {"s", -1, 0},
	    {"", -1, 0},
	    {"1h30min", -1, 0},
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT_OF(rows); i++) {
		struct err err = ERR_INIT;
		int64_t n = 0;

		if (units_duration_ms(rows[i].text, &n, &err) != rows[i].rc ||
		    n != rows[i].n)
			fail_msg("'%s' gave %lld", rows[i].text, (long long)n);
		assert_int_equal(err.code, rows[i].rc == 0 ? ERR_NONE : ERR_INVALID);
	}
}

static void
iso_durations_are_exact(void **state)
{
	static const struct row rows[] = {
	    {"PT0S", 0, 0},
	    {"PT5M", 0, 300000},
	    {"P1D", 0, 86400000},
	    {"P2W", 0, 1209600000},
	    {"P1DT2H30M", 0, 95400000},
	    {"P1W2DT3H4M5.678S", 0, 788645678},
	    {"PT1.5S", 0, 1500},
	    {"PT1,5S", 0, 1500},
	    {"PT0.0010S", 0, 1},
	    {"PT36H", 0, 129600000},
	    {"PT9223372036854775.807S", 0, INT64_MAX},
	    {"PT9223372036854775.808S", -1, 0},
	    {"PT9223372036854776S", -1, 0},
	    {"PT99999999999999999999S", -1, 0},
	    {"P106751991167DT9999999999H", -1, 0},
	    {"PT0.0001S", -1, 0},
	    {"PT1.S", -1, 0},
	    {"PT.5S", -1, 0},
	    {"PT1.5M", -1, 0},
	    {"P", -1, 0},
	    {"PT", -1, 0},
	    {"P1DT", -1, 0},
	    {"P1", -1, 0},
	    {"P1M", -1, 0},
	    {"P1Y", -1, 0},
	    {"P1H", -1, 0},
	    {"PT1D", -1, 0},
	    {"PT1M1H", -1, 0},
	    {"PT1S1S", -1, 0},
	    {"PT1HT1M", -1, 0},
	    {"PTT1M", -1, 0},
	    {"-PT1S", -1, 0},
	    {"PT-1S", -1, 0},
	    {"PT1S ", -1, 0},
	    {"pt1s", -1, 0},
	    {"1h", -1, 0},
	    {"", -1, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		int64_t n = 0;

		if (units_iso8601_ms(rows[i].text, &n) != rows[i].rc || n != rows[i].n)
			fail_msg("'%s' gave %lld", rows[i].text, (long long)n);
	}
}

static void
sizes_are_whole_numbers_with_a_binary_unit(void **state)
{
	static const struct row rows[] = {
	    {"0", 0, 0},
	    {"1000", 0, 1000},
	    {"1000B", 0, 1000},
	    {"256KiB", 0, 262144},
	    {"256K", 0, 262144},
	    {"3MiB", 0, 3145728},
	    {"3M", 0, 3145728},
	    {"2GiB", 0, 2147483648},
	    {"2G", 0, 2147483648},
	    {"8589934591GiB", 0, 9223372035781033984},
	    {"8589934592GiB", -1, 0},
	    {"1KB", -1, 0},
	    {"1k", -1, 0},
	    {"1kib", -1, 0},
	    {"0.5M", -1, 0},
	    {"M", -1, 0},
	    {"", -1, 0},
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT_OF(rows); i++) {
		struct err err = ERR_INIT;
		int64_t n = 0;

		if (units_size_bytes(rows[i].text, &n, &err) != rows[i].rc ||
		    n != rows[i].n)
			fail_msg("'%s' gave %lld", rows[i].text, (long long)n);
	}
}

static void
spelling_is_the_shortest_exact_one(void **state)
{
	char buf[UNITS_TEXT_SIZE];

	(void)state;
	assert_string_equal(units_duration_text(0, buf), "0s");
	assert_string_equal(units_duration_text(1500, buf), "1500ms");
	assert_string_equal(units_duration_text(90000, buf), "90s");
	assert_string_equal(units_duration_text(60000, buf), "1min");
	assert_string_equal(units_duration_text(86400000, buf), "1d");
	assert_string_equal(units_duration_text(90000000, buf), "25h");
	assert_string_equal(
	    units_duration_text(INT64_MAX, buf), "9223372036854775807ms");
	assert_string_equal(units_size_text(0, buf), "0");
	assert_string_equal(units_size_text(1023, buf), "1023");
	assert_string_equal(units_size_text(262144, buf), "256KiB");
	assert_string_equal(units_size_text(3LL << 30, buf), "3GiB");
}

static void
what_is_written_is_read_back(void **state)
{
	char buf[UNITS_TEXT_SIZE];
	struct err err;
	int64_t n, back;

	(void)state;
	for (n = 1; n < INT64_MAX / 7; n = n * 5 + n / 3) {
		assert_int_equal(
		    units_duration_ms(units_duration_text(n, buf), &back, &err), 0);
		assert_true(back == n);
		assert_int_equal(
		    units_size_bytes(units_size_text(n, buf), &back, &err), 0);
		assert_true(back == n);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(durations_are_whole_numbers_with_a_unit),
	    cmocka_unit_test(iso_durations_are_exact),
	    cmocka_unit_test(sizes_are_whole_numbers_with_a_binary_unit),
	    cmocka_unit_test(spelling_is_the_shortest_exact_one),
	    cmocka_unit_test(what_is_written_is_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
