/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_control_request.c - what may be asked of tasks, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/control_request.h"
#include "base/attr.h"

static struct operation_request or ;
static struct control_request cr;
static struct refusal why;

static int
operation(const char *body)
{
	memset(&why, 0, sizeof(why));
	return operation_request_parse(body, strlen(body), & or, &why);
}

static int
one(const char *body, bool with_attempts)
{
	memset(&why, 0, sizeof(why));
	return control_request_parse(body, strlen(body), with_attempts, &cr, &why);
}

static void
nothing_need_be_said_of_one_task(void **state)
{
	(void)state;
	assert_int_equal(control_request_parse(NULL, 0, true, &cr, &why), 0);
	assert_int_equal(cr.attempts, 1);
	assert_false(cr.has_reason);
	assert_int_equal(one("{}", false), 0);
	assert_int_equal(one("{\"reason\":null}", false), 0);
	assert_false(cr.has_reason);
	assert_int_equal(one("{\"attempts\":7,\"reason\":\"a\\u00e4\"}", true), 0);
	assert_int_equal(cr.attempts, 7);
	assert_string_equal(cr.reason, "a\xc3\xa4");
}

static void
only_a_retry_has_attempts(void **state)
{
	(void)state;
	assert_int_equal(one("{\"attempts\":7}", false), -1);
	assert_string_equal(why.code, "unknown_field");
	assert_int_equal(
	    operation("{\"action\":\"delete\",\"filter\":{},\"attempts\":2}"), -1);
	assert_string_equal(why.code, "invalid_field");
	assert_int_equal(
	    operation("{\"action\":\"retry\",\"filter\":{},\"attempts\":2}"), 0);
	assert_int_equal(or.filter.attempts, 2);
}

static void
an_empty_filter_means_all_that_the_action_can_be_done_to(void **state)
{
	static const struct {
		const char *action;
		bool states[TASK_STATE_COUNT];
	} cases[] = {
	    {"cancel", {true, true, true, false, false, false, false}},
	    {"retry", {false, false, false, false, true, true, true}},
	    {"delete", {false, false, false, true, true, true, true}},
	};
	char body[80];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		snprintf(body, sizeof(body), "{\"filter\":{},\"action\":\"%s\"}",
		    cases[i].action);
		assert_int_equal(operation(body), 0);
		assert_string_equal(
		    operation_action_name(or.filter.action), cases[i].action);
		assert_memory_equal(
		    or.filter.states, cases[i].states, sizeof(cases[i].states));
		assert_null(or.filter.ids);
		assert_null(or.filter.queue);
		assert_false(or.dry_run);
	}
}

static void
a_filter_is_taken_apart(void **state)
{
	static const char body[] =
	    "{\"action\":\"cancel\",\"dry_run\":true,\"filter\":{\"state\":[\"queued\","
	    "\"running\"],\"queue\":\"mail\",\"type\":\"a.b\",\"since\":"
	    "\"1970-01-01T00:00:01Z\",\"until\":\"1970-01-01T00:00:02.0005Z\"}}";
	static const struct uuid from = {{0, 0, 0, 0, 0x03, 0xe8}},
				 below = {{0, 0, 0, 0, 0x07, 0xd1}};

	(void)state;
	assert_int_equal(operation(body), 0);
	assert_true(or.dry_run);
	assert_true(or.filter.states[TASK_QUEUED] && or.filter.states[TASK_RUNNING]);
	assert_false(or.filter.states[TASK_SCHEDULED]);
	assert_string_equal(or.filter.queue, "mail");
	assert_string_equal(or.filter.type, "a.b");
	assert_true(uuid_eq(& or.filter.from, &from));
	assert_true(uuid_eq(& or.filter.below, &below));
	assert_int_equal(or.filter_json.len, strlen(strstr(body, "{\"state")) - 1);
	assert_int_equal(
	    operation("{\"action\":\"retry\",\"filter\":{\"state\":\"failed\"}}"), 0);
	assert_true(or.filter.states[TASK_FAILED]);
	assert_false(or.filter.states[TASK_CANCELLED]);
}

static void
ids_are_sorted_and_each_is_there_once(void **state)
{
	(void)state;
	assert_int_equal(operation("{\"action\":\"cancel\",\"filter\":{\"ids\":["
				   "\"00000000-0000-7000-8000-000000000003\","
				   "\"00000000-0000-7000-8000-000000000001\","
				   "\"00000000-0000-7000-8000-000000000003\"]}}"),
	    0);
	assert_int_equal(or.filter.id_count, 2);
	assert_int_equal(or.filter.ids[0].b[15], 1);
	assert_int_equal(or.filter.ids[1].b[15], 3);
}

static void
what_is_not_known_is_refused_and_not_taken_for_all(void **state)
{
	static const struct {
		const char *body, *code;
	} cases[] = {
	    {"", "invalid_json"},
	    {"{", "invalid_json"},
	    {"[]", "invalid_request"},
	    {"{}", "missing_field"},
	    {"{\"action\":\"cancel\"}", "missing_field"},
	    {"{\"filter\":{}}", "missing_field"},
	    {"{\"action\":\"cancel\",\"filter\":null}", "invalid_field"},
	    {"{\"action\":\"Cancel\",\"filter\":{}}", "invalid_field"},
	    {"{\"action\":1,\"filter\":{}}", "invalid_field"},
	    {"{\"action\":\"cancel\",\"filter\":{\"quee\":\"x\"}}", "unknown_field"},
	    {"{\"action\":\"cancel\",\"filter\":{},\"x\":1}", "unknown_field"},
	    {"{\"action\":\"cancel\",\"filter\":{},\"dry_run\":0}", "invalid_field"},
	    {"{\"action\":\"cancel\",\"filter\":{},\"reason\":0}", "invalid_field"},
	    {"{\"action\":\"cancel\",\"filter\":{\"state\":\"failed\"}}",
		"invalid_field"},
	    {"{\"action\":\"cancel\",\"filter\":{\"state\":[1]}}", "invalid_field"},
	    {"{\"action\":\"cancel\",\"filter\":{\"queue\":\"a b\"}}", "invalid_field"},
	    {"{\"action\":\"cancel\",\"filter\":{\"type\":7}}", "invalid_field"},
	    {"{\"action\":\"cancel\",\"filter\":{\"since\":\"now\"}}", "invalid_field"},
	    {"{\"action\":\"cancel\",\"filter\":{\"ids\":\"x\"}}", "invalid_field"},
	    {"{\"action\":\"cancel\",\"filter\":{\"ids\":[]}}", "invalid_field"},
	    {"{\"action\":\"cancel\",\"filter\":{\"ids\":[\"x\"]}}", "invalid_field"},
	    {"{\"action\":\"cancel\",\"filter\":{\"queue\":\"a\",\"queue\":\"b\"}}",
		"invalid_json"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		if (operation(cases[i].body) == 0)
			fail_msg("accepted: %s", cases[i].body);
		assert_int_equal(why.status, 400);
		if (strcmp(why.code, cases[i].code) != 0)
			fail_msg("%s: %s", cases[i].body, why.code);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nothing_need_be_said_of_one_task),
	    cmocka_unit_test(only_a_retry_has_attempts),
	    cmocka_unit_test(an_empty_filter_means_all_that_the_action_can_be_done_to),
	    cmocka_unit_test(a_filter_is_taken_apart),
	    cmocka_unit_test(ids_are_sorted_and_each_is_there_once),
	    cmocka_unit_test(what_is_not_known_is_refused_and_not_taken_for_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
