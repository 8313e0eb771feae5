/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_queue_request.c - settings of queues as JSON, both ways; rates.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/queue_request.h"
#include "base/strbuf.h"
#include "model/rate.h"

static void
rates_are_a_number_and_a_period(void **state)
{
	static const struct {
		const char *text;
		int32_t limit, per_ms;
	} good[] = {
	    {"", 0, 0},
	    {"100/1s", 100, 1000},
	    {"1/1d", 1, 86400000},
	    {"1000000/15min", 1000000, 900000},
	};
	static const char *const bad[] = {"100", "/1s", "100/", "0/1s", "-1/1s",
	    "1000001/1s", "5/999ms", "5/2d", "5/1s/1s", "5 /1s", "x/1s",
	    "11111111111111111111/1s"};
	struct rate rate;
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		if (rate_parse(good[i].text, &rate, &err) != 0)
			fail_msg("%s: %s", good[i].text, err.text);
		assert_int_equal(rate.limit, good[i].limit);
		assert_int_equal(rate.per_ms, good[i].per_ms);
	}
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		if (rate_parse(bad[i], &rate, &err) == 0)
			fail_msg("%s was taken", bad[i]);
	}
}

static void
parse(const char *body, struct queue_request *qr)
{
	struct refusal why;

	if (queue_request_parse(body, strlen(body), qr, &why) != 0)
		fail_msg("%s: %s", body, why.detail);
}

static void
settings_are_given_set_or_taken_away(void **state)
{
	struct queue_request qr;

	(void)state;
	parse("{\"priority\":3,\"concurrency\":null,\"rate\":{\"limit\":5,\"per\":"
	      "\"1min\"},"
	      "\"shed\":0.25,\"keep_failed\":0,\"keep_finished\":\"12h\"}",
	    &qr);
	assert_int_equal(qr.given, QUEUE_PRIORITY | QUEUE_CONCURRENCY | QUEUE_RATE |
				       QUEUE_SHED | QUEUE_KEEP_FAILED |
				       QUEUE_KEEP_FINISHED);
	assert_int_equal(qr.values.set, qr.given & ~(unsigned)QUEUE_CONCURRENCY);
	assert_int_equal(qr.values.priority, 3);
	assert_int_equal(qr.values.rate, 5);
	assert_int_equal(qr.values.rate_ms, 60000);
	assert_int_equal(qr.values.shed_ppm, 250000);
	assert_int_equal(qr.values.keep_failed_ms, 0);
	assert_int_equal(qr.values.keep_finished_ms, 12 * 3600000);
	parse("{\"rate\":\"7/10s\",\"max_length\":1000000,\"shed_below\":0}", &qr);
	assert_int_equal(qr.values.rate, 7);
	assert_int_equal(qr.values.rate_ms, 10000);
	assert_int_equal(qr.values.max_length, 1000000);
}

static void
what_cannot_be_set_is_refused_by_its_name(void **state)
{
	static const struct {
		const char *body, *code, *part;
	} bad[] = {
	    {"", "invalid_json", "empty"},
	    {"[]", "invalid_request", "an object"},
	    {"{}", "missing_field", "no setting"},
	    {"{\"paused\":true}", "unknown_field", "paused"},
	    {"{\"priority\":1,\"priority\":2}", "invalid_json", "byte"},
	    {"{\"priority\":\"1\"}", "invalid_field", "priority"},
	    {"{\"priority\":1.5}", "invalid_field", "priority"},
	    {"{\"max_length\":0}", "invalid_field", "max_length"},
	    {"{\"concurrency\":100001}", "invalid_field", "concurrency"},
	    {"{\"rate\":{\"limit\":5,\"per\":\"1s\",\"burst\":1}}", "invalid_field",
		"rate"},
	    {"{\"rate\":{\"per\":\"1s\"}}", "invalid_field", "rate"},
	    {"{\"rate\":\"\"}", "invalid_field", "rate"},
	    {"{\"shed\":1e300}", "invalid_field", "shed"},
	    {"{\"shed\":-0.1}", "invalid_field", "shed"},
	    {"{\"keep_failed\":59}", "invalid_field", "keep_failed"},
	    {"{\"keep_failed\":1e300}", "invalid_field", "keep_failed"},
	};
	struct queue_request qr;
	struct refusal why;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		if (queue_request_parse(bad[i].body, strlen(bad[i].body), &qr, &why) ==
		    0)
			fail_msg("%s was taken", bad[i].body);
		assert_int_equal(why.status, 400);
		assert_string_equal(why.code, bad[i].code);
		if (strstr(why.detail, bad[i].part) == NULL)
			fail_msg("%s: %s", bad[i].body, why.detail);
	}
}

static void
a_pause_may_say_why(void **state)
{
	static const char given[] = "{\"reason\":\"a \\u00fc flood\"}";
	char reason[4 * QUEUE_REASON_MAX + 1];
	char body[3 * 4 * QUEUE_REASON_MAX];
	struct refusal why;

	(void)state;
	assert_int_equal(pause_request_parse(NULL, 0, reason, &why), 0);
	assert_string_equal(reason, "");
	assert_int_equal(
	    pause_request_parse(given, sizeof(given) - 1, reason, &why), 0);
	assert_string_equal(reason, "a \xc3\xbc flood");
	assert_int_equal(pause_request_parse("{\"why\":1}", 9, reason, &why), -1);
	assert_string_equal(why.code, "unknown_field");
	memset(body, 'x', sizeof(body));
	memcpy(body, "{\"reason\":\"", 11);
	memcpy(body + sizeof(body) - 2, "\"}", 2);
	assert_int_equal(pause_request_parse(body, sizeof(body), reason, &why), -1);
	assert_string_equal(why.code, "invalid_field");
}

static void
what_is_not_set_is_shown_as_null(void **state)
{
	struct queue_settings_row s = {.set = QUEUE_RATE | QUEUE_SHED,
	    .rate = 9,
	    .rate_ms = 1000,
	    .shed_ppm = 500000};
	struct strbuf sb;
	struct jsonw w;

	(void)state;
	strbuf_init(&sb, 4096);
	jsonw_init(&w, &sb);
	jsonw_object(&w);
	queue_settings_json(&w, &s);
	jsonw_end(&w);
	assert_string_equal(sb.data,
	    "{\"priority\":null,\"max_length\":null,\"concurrency\":null,"
	    "\"rate\":{\"limit\":9,\"per\":\"1s\"},\"shed\":0.5,\"shed_below\":null,"
	    "\"keep_finished\":null,\"keep_failed\":null}");
	strbuf_fini(&sb);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rates_are_a_number_and_a_period),
	    cmocka_unit_test(settings_are_given_set_or_taken_away),
	    cmocka_unit_test(what_cannot_be_set_is_refused_by_its_name),
	    cmocka_unit_test(a_pause_may_say_why),
	    cmocka_unit_test(what_is_not_set_is_shown_as_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
