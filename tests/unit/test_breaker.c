/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_breaker.c - when an endpoint is left alone; and what is made of what it says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/mem.h"
#include "handlers/breaker.h"
#include "handlers/http.h"
#include "handlers/outside.h"

static void
faults_in_a_row_open_it_and_one_success_closes_it(void **state)
{
	struct breaker b = {.faults = 3, .pause_ms = 1000};

	(void)state;
	assert_false(breaker_fault(&b, 0));
	assert_false(breaker_fault(&b, 0));
	assert_false(breaker_worked(&b)); /* the row is broken */
	assert_false(breaker_fault(&b, 0));
	assert_false(breaker_fault(&b, 0));
	assert_true(breaker_fault(&b, 5000));
	assert_int_equal(breaker_state(&b, 5999), BREAKER_OPEN);
	assert_false(breaker_fault(&b, 5500)); /* of a request from before */
	assert_int_equal(b.until_ms, 6000);
	assert_int_equal(breaker_state(&b, 6000), BREAKER_HALF_OPEN);
	assert_true(breaker_worked(&b));
	assert_int_equal(breaker_state(&b, 6001), BREAKER_CLOSED);
	/* as at the beginning */
	assert_false(breaker_fault(&b, 7000));
	assert_false(breaker_fault(&b, 7000));
	assert_true(breaker_fault(&b, 7000));
	assert_int_equal(b.until_ms, 8000);
}

static void
the_pause_doubles_up_to_its_most(void **state)
{
	struct breaker b = {.faults = 1, .pause_ms = 100000};
	int64_t now = 0;

	(void)state;
	assert_true(breaker_fault(&b, now));
	for (int64_t pause = 100000;; pause *= 2) {
		if (pause > BREAKER_PAUSE_MOST_MS)
			pause = BREAKER_PAUSE_MOST_MS;
		assert_int_equal(b.until_ms - now, pause);
		now = b.until_ms;
		assert_int_equal(breaker_state(&b, now), BREAKER_HALF_OPEN);
		assert_true(breaker_fault(&b, now));
		if (pause == BREAKER_PAUSE_MOST_MS)
			break;
	}
}

static void
it_can_be_switched_off_and_tripped(void **state)
{
	struct breaker b = {.faults = 0, .pause_ms = 1000};

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_false(breaker_fault(&b, i));
	assert_true(breaker_trip(&b, 1000, 600000));
	assert_int_equal(breaker_state(&b, 600999), BREAKER_OPEN);
	assert_false(breaker_trip(&b, 2000, 600000));
	assert_int_equal(breaker_state(&b, 602000), BREAKER_HALF_OPEN);
	assert_true(
	    breaker_fault(&b, 602000)); /* what was tripped is tried with care */
	assert_int_equal(breaker_state(&b, b.until_ms), BREAKER_HALF_OPEN);
	assert_true(breaker_worked(&b));
	assert_false(breaker_fault(&b, 0));
}

static void
a_lease_is_as_long_as_the_answer_says_within_bounds(void **state)
{
	static const struct {
		const char *value;
		int64_t timeout_ms, ms;
	} cases[] = {
	    {"", 30000, 30000},
	    {"60", 30000, 60000},
	    {"1", 30000, 5000},
	    {"999999", 30000, 3600000},
	    {"9223372036854775807", 30000, 3600000},
	    {"0", 30000, 30000},
	    {"-5", 30000, 30000},
	    {"1.5", 30000, 30000},
	    {"soon", 30000, 30000},
	    {"", 100, 5000},
	    {"", 604800000, 3600000},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(http_lease_ttl_ms(cases[i].value, cases[i].timeout_ms),
		    cases[i].ms);
}

static void
retry_after_is_seconds_or_a_date(void **state)
{
	static const struct {
		const char *value;
		int64_t ms;
	} cases[] = {
	    {"", -1},
	    {"7", 7000},
	    {"0", 1000},
	    {"86400", 86400000},
	    {"86401", 86400000},
	    {"9223372036854775807", 86400000},
	    {"99999999999999999999999", 86400000},
	    {"-5", -1},
	    {"+5", -1},
	    {"1.5", -1},
	    {"soon", -1},
	    {"5 seconds", -1},
	    /* now is Sun, 06 Nov 1994 08:49:30.5 GMT */
	    {"Sun, 06 Nov 1994 08:49:37 GMT", 6500},
	    {"Sunday, 06-Nov-94 08:49:37 GMT", 6500},
	    {"Sun Nov  6 08:49:37 1994", 6500},
	    {"Sun, 06 Nov 1994 08:49:30 GMT", 1000},
	    {"Sat, 05 Nov 1994 08:49:37 GMT", 1000},
	    {"Sun, 06 Nov 2094 08:49:37 GMT", 86400000},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		int64_t ms = http_retry_after_ms(cases[i].value, 784111770500000);

		if (ms != cases[i].ms)
			fail_msg("'%s' gives %lld", cases[i].value, (long long)ms);
	}
}

static void
bytes_become_results(void **state)
{
	static const struct {
		const char *bytes, *json;
	} cases[] = {
	    {"{\"a\":1}", "{\"a\":1}"},
	    {" [1, 2]\n", "[1, 2]"},
	    {"null", "null"},
	    {"hello\n", "\"hello\""},
	    {"hello\n\n", "\"hello\\n\""},
	    {"{\"a\":", "\"{\\\"a\\\":\""},
	    {"<html>\x80</html>", "\"<html>\xef\xbf\xbd</html>\""},
	};
	struct err err;
	size_t len;
	char *json;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(outside_result(cases[i].bytes, strlen(cases[i].bytes),
				     1000, &json, &len, &err),
		    0);
		assert_int_equal(len, strlen(cases[i].json));
		assert_memory_equal(json, cases[i].json, len);
		mem_free(json);
	}
	assert_int_equal(outside_result("", 0, 10, &json, &len, &err), 0);
	assert_null(json);
	assert_int_equal(outside_result("12345", 5, 5, &json, &len, &err), 0);
	mem_free(json);
	assert_int_equal(outside_result("123456", 6, 5, &json, &len, &err), -1);
	assert_int_equal(err.code, ERR_LIMIT);
	/* the quotes count */
	assert_int_equal(outside_result("abcd", 4, 5, &json, &len, &err), -1);
	for (unsigned n = 1;; n++) {
		mem_fail_nth(n);
		if (outside_result("hello", 5, 100, &json, &len, &err) == 0)
			break;
		assert_int_equal(err.code, ERR_NOMEM);
	}
	mem_fail_nth(0);
	mem_free(json);
}

static void
bytes_become_messages(void **state)
{
	char to[OUTSIDE_MESSAGE_MOST], long_one[OUTSIDE_MESSAGE_MOST + 10];
	size_t len;

	(void)state;
	assert_int_equal(outside_message("", 0, to), 0);
	assert_int_equal(outside_message(" \r\n", 3, to), 0);
	len = outside_message("not\xff good\0!\r\n", 13, to);
	assert_int_equal(len, 11);
	assert_memory_equal(to, "not? good?!", len);
	/* not cut within a character */
	memset(long_one, 'x', sizeof(long_one));
	memcpy(long_one + OUTSIDE_MESSAGE_MOST - 1, "\xc3\xa9", 2);
	assert_int_equal(
	    outside_message(long_one, sizeof(long_one), to), OUTSIDE_MESSAGE_MOST - 1);
	long_one[OUTSIDE_MESSAGE_MOST - 1] = 'x';
	long_one[OUTSIDE_MESSAGE_MOST] = 'x';
	assert_int_equal(
	    outside_message(long_one, sizeof(long_one), to), OUTSIDE_MESSAGE_MOST);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(faults_in_a_row_open_it_and_one_success_closes_it),
	    cmocka_unit_test(the_pause_doubles_up_to_its_most),
	    cmocka_unit_test(it_can_be_switched_off_and_tripped),
	    cmocka_unit_test(a_lease_is_as_long_as_the_answer_says_within_bounds),
	    cmocka_unit_test(retry_after_is_seconds_or_a_date),
	    cmocka_unit_test(bytes_become_results),
	    cmocka_unit_test(bytes_become_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
