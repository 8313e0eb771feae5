/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_backoff.c - rules are read exactly, written back in one way, and give the delays
 * that they promise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "model/backoff.h"

#define DAY_MS (86400LL * 1000)

/* given; the rule as it is stored, or the error */
struct row {
	const char *given;
	const char *stored;
	const char *error;
};

static const struct row json_rows[] = {
    {"{\"kind\":\"polynomial\"}", "{\"kind\":\"polynomial\"}", NULL},
    {"{\"kind\":\"exponential\"}",
	"{\"kind\":\"exponential\",\"base\":10,\"factor\":2,\"cap\":3600,\"jitter\":0}",
	NULL},
    {"{ \"base\": 0.25, \"kind\": \"exponential\", \"factor\": 1.5,"
     " \"cap\": \"P1D\", \"jitter\": 1 }",
	"{\"kind\":\"exponential\",\"base\":0.25,\"factor\":1.5,\"cap\":86400,"
	"\"jitter\":1}",
	NULL},
    {"{\"kind\":\"fixed\",\"delay\":\"PT5M\",\"jitter\":0.1}",
	"{\"kind\":\"fixed\",\"delay\":300,\"jitter\":0.1}", NULL},
    {"{\"kind\":\"fixed\",\"delay\":0}",
	"{\"kind\":\"fixed\",\"delay\":0,\"jitter\":0}", NULL},
    {"[5, 60, \"PT10M\"]", "[5,60,600]", NULL},
    {"[0.001,31622400]", "[0.001,31622400]", NULL},
    {"[100,100,100,100,100,100,100,100,31622399.999,31622399.999,31622399.999,"
     "31622399.999,31622399.999,31622399.999,31622399.999,31622399.999]",
	"[100,100,100,100,100,100,100,100,31622399.999,31622399.999,31622399.999,"
	"31622399.999,31622399.999,31622399.999,31622399.999,31622399.999]",
	NULL},
    {"{\"kind\":\"linear\"}", NULL,
	"kind 'linear' is none of polynomial, exponential and fixed"},
    {"{\"kind\":7}", NULL, "kind must be \"polynomial\", \"exponential\" or \"fixed\""},
    {"{\"delay\":7}", NULL,
	"kind must be \"polynomial\", \"exponential\" or \"fixed\""},
    {"{\"kind\":\"fixed\"}", NULL, "fixed needs a delay"},
    {"{\"kind\":\"fixed\",\"delay\":5,\"cap\":9}", NULL,
	"fixed knows delay and jitter, and no 'cap'"},
    {"{\"kind\":\"polynomial\",\"jitter\":1}", NULL,
	"polynomial knows no options, and no 'jitter'"},
    {"{\"kind\":\"fixed\",\"delay\":-1}", NULL,
	"delay must be a number of seconds or an ISO 8601 duration such as \"PT5M\""},
    {"{\"kind\":\"fixed\",\"delay\":\"P1M\"}", NULL,
	"delay must be a number of seconds or an ISO 8601 duration such as \"PT5M\""},
    {"{\"kind\":\"fixed\",\"delay\":31622401}", NULL, "delay must be at most 366 days"},
    {"{\"kind\":\"fixed\",\"delay\":1e300}", NULL, "delay must be at most 366 days"},
    {"{\"kind\":\"exponential\",\"base\":0}", NULL,
	"base must be more than nothing and at most 366 days"},
    {"{\"kind\":\"exponential\",\"cap\":\"P367D\"}", NULL,
	"cap must be more than nothing and at most 366 days"},
    {"{\"kind\":\"exponential\",\"base\":60,\"cap\":30}", NULL,
	"base must not be above cap"},
    {"{\"kind\":\"exponential\",\"factor\":0.5}", NULL,
	"factor must be a number from 1 to 100"},
    {"{\"kind\":\"exponential\",\"factor\":\"2\"}", NULL,
	"factor must be a number from 1 to 100"},
    {"{\"kind\":\"exponential\",\"jitter\":1.1}", NULL,
	"jitter must be a number from 0 to 1"},
    {"[]", NULL, "a list has at least one delay"},
    {"[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", NULL,
	"a list has at most 16 delays"},
    {"[1,null]", NULL,
	"delay 2 must be a number of seconds or an ISO 8601 duration such as \"PT5M\""},
    {"\"fixed\"", NULL, "it must be an object with a kind, or a list of delays"},
    {"null", NULL, "it must be an object with a kind, or a list of delays"},
};

static const struct row setting_rows[] = {
    {"polynomial", "{\"kind\":\"polynomial\"}", NULL},
    {"exponential base=10s factor=2 cap=1h jitter=20%",
	"{\"kind\":\"exponential\",\"base\":10,\"factor\":2,\"cap\":3600,"
	"\"jitter\":0.2}",
	NULL},
    {"  fixed   delay=1500ms  jitter=0.5 ",
	"{\"kind\":\"fixed\",\"delay\":1.5,\"jitter\":0.5}", NULL},
    {"[5,60,600]", "[5,60,600]", NULL},
    {"{\"kind\":\"fixed\",\"delay\":60}",
	"{\"kind\":\"fixed\",\"delay\":60,\"jitter\":0}", NULL},
    {"", NULL, "it is empty"},
    {"  ", NULL, "it is empty"},
    {"fast", NULL, "kind 'fast' is none of polynomial, exponential and fixed"},
    {"fixed 60s", NULL, "options are written as base=10s, after the kind"},
    {"fixed delay=60s delay=61s", NULL, "delay is said twice"},
    {"fixed delay=1x", NULL,
	"'1x' is no duration: write a whole number and ms, s, min, h or d, such as "
	"30s"},
    {"fixed delay=1s jitter=120%", NULL, "jitter must be a number from 0 to 1"},
    {"fixed delay=1s jitter=x", NULL, "jitter must be a number from 0 to 1"},
};

static void
check_rows(const struct row *rows, size_t count,
    int (*parse)(const char *text, struct backoff *b, struct err *err))
{
	for (size_t i = 0; i < count; i++) {
		char text[BACKOFF_TEXT_SIZE];
		struct err err = ERR_INIT;
		struct backoff b = {.count = 99};

		if (parse(rows[i].given, &b, &err) != 0) {
			assert_int_equal(err.code, ERR_INVALID);
			assert_string_equal(
			    err.text, rows[i].error != NULL ? rows[i].error : "none");
			assert_int_equal(b.count, 99); /* untouched */
			continue;
		}
		assert_string_equal(backoff_text(&b, text),
		    rows[i].stored != NULL ? rows[i].stored : "an error");
	}
}

static int
parse_json(const char *text, struct backoff *b, struct err *err)
{
	return backoff_parse_json(text, strlen(text), b, err);
}

static void
rules_in_json_are_read_or_refused_in_words(void **state)
{
	(void)state;
	check_rows(json_rows, COUNT_OF(json_rows), parse_json);
}

static void
settings_may_say_it_in_words(void **state)
{
	char longer[400];
	struct backoff b;
	struct err err = ERR_INIT;

	(void)state;
	check_rows(setting_rows, COUNT_OF(setting_rows), backoff_parse_setting);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(backoff_parse_setting(longer, &b, &err), -1);
	assert_string_equal(err.text, "it is longer than 255 bytes");
}

static void
what_is_stored_is_read_back_as_the_same_rule(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(json_rows); i++) {
		char text[BACKOFF_TEXT_SIZE], again[BACKOFF_TEXT_SIZE];
		struct backoff b;
		struct err err = ERR_INIT;

		if (json_rows[i].stored == NULL)
			continue;
		assert_int_equal(parse_json(json_rows[i].stored, &b, &err), 0);
		backoff_text(&b, text);
		assert_int_equal(parse_json(text, &b, &err), 0);
		assert_string_equal(backoff_text(&b, again), text);
	}
}

static void
bytes_that_are_no_json_are_refused(void **state)
{
	struct backoff b;
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(parse_json("{\"kind\":", &b, &err), -1);
	assert_int_equal(
	    parse_json("{\"kind\":\"fixed\",\"delay\":1,\"delay\":2}", &b, &err), -1);
}

static void
default_rests_grow_and_end_at_a_month(void **state)
{
	(void)state;
	assert_true(backoff_ms(NULL, 0, 0) == 15000);
	assert_true(backoff_ms(NULL, 1, 0) == 16000);
	assert_true(backoff_ms(NULL, 3, 0) == 96000);
	assert_true(backoff_ms(NULL, -5, 0) == 15000);
	for (int n = 0; n < 100; n++) {
		int64_t least = backoff_ms(NULL, n, 0),
			most = backoff_ms(NULL, n, (uint64_t)(10000 * (n + 1) - 1));

		assert_true(least <= most && most <= 30 * DAY_MS);
		assert_true(most - least < 10000 * (n + 1));
	}
	assert_true(backoff_ms(NULL, 2000, UINT64_MAX) == 30 * DAY_MS);
}

static void
each_kind_gives_the_delays_that_it_promises(void **state)
{
	struct backoff b;
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(
	    backoff_parse_setting("exponential base=10s factor=3 cap=5min", &b, &err),
	    0);
	assert_true(backoff_ms(&b, 0, 99) == 10000);
	assert_true(backoff_ms(&b, 1, 99) == 30000);
	assert_true(backoff_ms(&b, 3, 99) == 270000);
	assert_true(backoff_ms(&b, 4, 99) == 300000);
	assert_true(backoff_ms(&b, 2000000000, 99) == 300000);
	assert_int_equal(
	    backoff_parse_setting("exponential base=1s factor=1 cap=1d", &b, &err), 0);
	assert_true(backoff_ms(&b, 2000000000, 99) == 1000);
	assert_int_equal(parse_json("[5,60,600]", &b, &err), 0);
	assert_true(backoff_ms(&b, -1, 99) == 5000);
	assert_true(backoff_ms(&b, 0, 99) == 5000);
	assert_true(backoff_ms(&b, 2, 99) == 600000);
	assert_true(backoff_ms(&b, 1000, 99) == 600000);
	assert_int_equal(backoff_parse_setting("polynomial", &b, &err), 0);
	assert_true(backoff_ms(&b, 3, 0) == 96000);
}

static void
jitter_takes_off_up_to_its_share(void **state)
{
	struct backoff b;
	struct err err = ERR_INIT;
	int64_t least = INT64_MAX, most = 0;

	(void)state;
	assert_int_equal(
	    backoff_parse_setting("fixed delay=10s jitter=20%", &b, &err), 0);
	for (uint64_t r = 0; r < 10000; r++) {
		int64_t ms = backoff_ms(&b, 0, r);

		least = ms < least ? ms : least;
		most = ms > most ? ms : most;
	}
	assert_true(least == 8000 && most == 10000);
	assert_int_equal(
	    backoff_parse_setting("exponential base=10s cap=20s jitter=1", &b, &err),
	    0);
	assert_true(backoff_ms(&b, 9, 0) == 20000); /* never above the cap */
	assert_true(backoff_ms(&b, 9, 20000) == 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rules_in_json_are_read_or_refused_in_words),
	    cmocka_unit_test(settings_may_say_it_in_words),
	    cmocka_unit_test(what_is_stored_is_read_back_as_the_same_rule),
	    cmocka_unit_test(bytes_that_are_no_json_are_refused),
	    cmocka_unit_test(default_rests_grow_and_end_at_a_month),
	    cmocka_unit_test(each_kind_gives_the_delays_that_it_promises),
	    cmocka_unit_test(jitter_takes_off_up_to_its_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
