/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_stream_msg.c - the lines between a node and a child, both ways.
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
#include "base/mem.h"
#include "handlers/stream_msg.h"

#define ID "019ac0de-0000-7000-8000-000000000001"

static void
parse(const char *line, struct stream_msg *m)
{
	struct err err = ERR_INIT;

	if (stream_msg_parse(line, strlen(line), m, &err) != 0)
		fail_msg("%s: %s", line, err.text);
}

static void
hellos_are_read(void **state)
{
	struct stream_msg m;

	(void)state;
	parse("{\"hello\":{\"version\":1,\"concurrency\":8,\"library\":\"x\"}}", &m);
	assert_int_equal(m.kind, STREAM_MSG_HELLO);
	assert_int_equal(m.version, 1);
	assert_int_equal(m.concurrency, 8);
	parse(" { \"new\" : [1] , \"hello\" : { \"version\" : 1 } } ", &m);
	assert_int_equal(m.kind, STREAM_MSG_HELLO);
	assert_int_equal(m.concurrency, 1);
	parse("{\"pong\":3}", &m);
	assert_int_equal(m.kind, STREAM_MSG_PONG);
	parse("{}", &m);
	assert_int_equal(m.kind, STREAM_MSG_OTHER);
	parse("{\"result\":1}", &m);
	assert_int_equal(m.kind, STREAM_MSG_OTHER);
}

static void
what_the_protocol_does_not_know_is_refused_with_a_reason(void **state)
{
	static const char *const cases[][2] = {
	    {"", "no JSON"},
	    {"hello", "no JSON"},
	    {"{\"id\":\"" ID "\",\"result\":[1,}", "no JSON"},
	    {"{\"id\":\"" ID "\",\"id\":\"" ID "\"}", "already"},
	    {"{\"result\":\"\\ud800\"}", "surrogate"},
	    {"{\"result\":\"\\u0000\"}", "stored"},
	    {"{\"result\":\"\xff\"}", "UTF-8"},
	    {"[1]", "must be an object, not array"},
	    {"{\"id\":7}", "id is not that of a task"},
	    {"{\"id\":\"7\"}", "id is not that of a task"},
	    {"{\"hello\":1}", "hello must be an object"},
	    {"{\"hello\":{}}", "no version"},
	    {"{\"hello\":{\"version\":2}}", "another version"},
	    {"{\"hello\":{\"version\":\"1\"}}", "another version"},
	    {"{\"hello\":{\"version\":1,\"concurrency\":0}}", "concurrency"},
	    {"{\"hello\":{\"version\":1,\"concurrency\":257}}", "concurrency"},
	    {"{\"hello\":{\"version\":1,\"concurrency\":1.5}}", "concurrency"},
	};
	struct stream_msg m;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = ERR_INIT;

		assert_int_equal(
		    stream_msg_parse(cases[i][0], strlen(cases[i][0]), &m, &err), -1);
		assert_int_equal(err.code, ERR_INVALID);
		if (strstr(err.text, cases[i][1]) == NULL)
			fail_msg("%s: %s", cases[i][0], err.text);
	}
}

static void
results_are_spans_of_the_line(void **state)
{
	static const char line[] =
	    "{\"id\":\"" ID "\", \"result\" : {\"n\":1.10, \"a\":[]} ,\"progress\":40,"
	    "\"log\":\"a\\nb\"}";
	struct stream_msg m;
	struct uuid id;
	size_t len;
	char *text;

	(void)state;
	assert_int_equal(uuid_parse(ID, 36, &id), 0);
	parse(line, &m);
	assert_int_equal(m.kind, STREAM_MSG_TASK);
	assert_true(uuid_eq(&m.id, &id));
	assert_true(m.result.at > line && m.result.at < line + sizeof(line));
	assert_int_equal(m.result.len, strlen("{\"n\":1.10, \"a\":[]}"));
	assert_int_equal(m.progress.kind, JSON_NUMBER);
	assert_int_equal(m.error.kind, 0);
	text = stream_msg_text(&m.log, 100, &len, NULL);
	assert_string_equal(text, "a\nb");
	assert_int_equal(len, 3);
	mem_free(text);
}

static void
deep_results_pass_up_to_the_bound_of_tasks(void **state)
{
	struct stream_msg m;
	struct err err = ERR_INIT;
	char line[256];

	(void)state;
	for (int depth = 32; depth <= 33; depth++) {
		int at = snprintf(line, sizeof(line), "{\"id\":\"" ID "\",\"result\":");

		memset(line + at, '[', (size_t)depth);
		memset(line + at + depth, ']', (size_t)depth);
		snprintf(line + at + 2 * depth, 4, "}");
		assert_int_equal(stream_msg_parse(line, strlen(line), &m, &err),
		    depth == 32 ? 0 : -1);
	}
}

static void
the_task_of_a_broken_line_can_be_guessed(void **state)
{
	static const char *const no[] = {"", "{", "{\"id\":\"", "{\"id\":\"019ac0de",
	    "{\"id\":\"" ID, "{\"id\":\"" ID "x\"", "{\"result\":1,\"id\":\"" ID "\"}",
	    "x{\"id\":\"" ID "\"}", "{\"id\":\"019ac0de-0000-7000-8000-00000000000g\""};
	static const char *const yes[] = {"{\"id\":\"" ID "\"", "{ \"id\": \"" ID "\",",
	    "{\"id\" : \"" ID "\",\"result\":\xff"};
	struct uuid id, want;

	(void)state;
	assert_int_equal(uuid_parse(ID, 36, &want), 0);
	for (size_t i = 0; i < COUNT_OF(no); i++)
		assert_false(stream_msg_guess(no[i], strlen(no[i]), &id));
	for (size_t i = 0; i < COUNT_OF(yes); i++) {
		assert_true(stream_msg_guess(yes[i], strlen(yes[i]), &id));
		assert_true(uuid_eq(&id, &want));
	}
}

static void
errors_say_whether_and_when_to_try_again(void **state)
{
	static const struct {
		const char *members;
		const char *code, *message;
		bool retry;
		int64_t retry_ms;
	} cases[] = {
	    {"\"error\":{\"code\":\"a_b-c.D9\",\"message\":\"m\"},\"retry\":false",
		"a_b-c.D9", "m", false, -1},
	    {"\"error\":{}", "failed", NULL, true, -1},
	    {"\"error\":\"why\",\"retry\":true,\"retry_in\":2.5", "failed", "why", true,
		2500},
	    {"\"error\":{\"message\":\"\"},\"retry_in\":0", "failed", "", true, 0},
	    {"\"error\":{\"message\":\"m\",\"stack\":[1]},\"retry_in\":31622400",
		"failed", "m", true, 31622400000},
	};
	char line[512];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = ERR_INIT;
		struct stream_error e;
		struct stream_msg m;

		snprintf(
		    line, sizeof(line), "{\"id\":\"" ID "\",%s}", cases[i].members);
		parse(line, &m);
		if (stream_msg_error(&m, &e, &err) != 0)
			fail_msg("%s: %s", line, err.text);
		assert_string_equal(e.code, cases[i].code);
		if (cases[i].message == NULL)
			assert_null(e.message);
		else
			assert_string_equal(e.message, cases[i].message);
		assert_true(e.retry == cases[i].retry);
		assert_int_equal(e.retry_ms, cases[i].retry_ms);
		mem_free(e.message);
	}
}

static void
errors_of_another_form_are_refused(void **state)
{
	static const char *const cases[] = {"\"error\":7", "\"error\":[]",
	    "\"error\":{\"code\":\"\"}", "\"error\":{\"code\":\"a b\"}",
	    "\"error\":{\"code\":7}",
	    "\"error\":{\"code\":\"123456789012345678901234567890123456789012345678\"}",
	    "\"error\":{\"message\":7}", "\"error\":{},\"retry\":1",
	    "\"error\":{},\"retry_in\":\"1\"", "\"error\":{},\"retry_in\":-0.1",
	    "\"error\":{},\"retry_in\":31622401", "\"error\":{},\"retry_in\":1e300"};
	char line[512];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = ERR_INIT;
		struct stream_error e;
		struct stream_msg m;

		snprintf(line, sizeof(line), "{\"id\":\"" ID "\",%s}", cases[i]);
		parse(line, &m);
		assert_int_equal(stream_msg_error(&m, &e, &err), -1);
		assert_int_equal(err.code, ERR_INVALID);
	}
}

static void
long_messages_are_cut_between_characters(void **state)
{
	struct err err = ERR_INIT;
	struct stream_error e;
	struct stream_msg m;
	size_t room = 3 * STREAM_MESSAGE_MOST, at;
	char *line = malloc(room);

	(void)state;
	assert_non_null(line);
	at = (size_t)snprintf(line, room, "{\"id\":\"" ID "\",\"error\":\"x");
	for (int i = 0; i < STREAM_MESSAGE_MOST; i++, at += 2)
		memcpy(line + at, "\xc3\xa4", 2);
	snprintf(line + at, room - at, "\"}");
	parse(line, &m);
	assert_int_equal(stream_msg_error(&m, &e, &err), 0);
	assert_int_equal(e.message_len, STREAM_MESSAGE_MOST - 1);
	assert_int_equal(strlen(e.message), STREAM_MESSAGE_MOST - 1);
	assert_memory_equal(e.message + e.message_len - 2, "\xc3\xa4", 2);
	mem_free(e.message);
	free(line);
}

static void
what_the_node_says_is_one_line_of_json_that_begins_with_its_kind(void **state)
{
	static const char payload[] = "{\n \"a\":\t[1,\r\n2], \"b\":\"\\n\" }";
	struct strbuf sb;
	struct uuid id;
	struct stream_task t = {.id = &id,
	    .type = "thumb\"nail",
	    .queue = "default",
	    .fence = "1-x-2",
	    .attempt = 1,
	    .max_attempts = 25,
	    .deadline_us = 1,
	    .timeout_ms = 1500,
	    .payload = payload,
	    .payload_len = sizeof(payload) - 1};
	const struct jscan_limits limits = {.max_depth = 32, .check_keys = 2};
	struct jspan root;
	char *at, *end;
	int lines = 0;

	(void)state;
	assert_int_equal(uuid_parse(ID, 36, &id), 0);
	strbuf_init(&sb, 65536);
	stream_put_hello(&sb, "thumbnail", "abc-1", 1114112);
	stream_put_task(&sb, &t);
	t.payload = NULL;
	t.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
	t.tracestate = "a=\"b";
	stream_put_task(&sb, &t);
	stream_put_ping(&sb, 7);
	stream_put_cancel(&sb, &id);
	stream_put_drain(&sb);
	assert_false(strbuf_failed(&sb));
	for (at = sb.data; *at != '\0'; at = end + 1, lines++) {
		static const char *const heads[] = {"{\"hello\":", "{\"task\":",
		    "{\"task\":", "{\"ping\":", "{\"cancel\":", "{\"drain\":"};

		end = strchr(at, '\n');
		assert_non_null(end);
		assert_memory_equal(at, heads[lines], strlen(heads[lines]));
		assert_int_equal(
		    jscan_check(at, (size_t)(end - at), &limits, &root, NULL), 0);
	}
	assert_int_equal(lines, 6);
	assert_non_null(strstr(sb.data,
	    "\"timeout\":1.5,\"payload\":{  \"a\":\t[1,\r 2], \"b\":\"\\n\" }}}\n"));
	assert_non_null(strstr(sb.data,
	    "\"timeout\":1.5,\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-"
	    "b7ad6b7169203331-01\",\"tracestate\":\"a=\\\"b\",\"payload\":null}}\n"));
	strbuf_fini(&sb);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(hellos_are_read),
	    cmocka_unit_test(what_the_protocol_does_not_know_is_refused_with_a_reason),
	    cmocka_unit_test(results_are_spans_of_the_line),
	    cmocka_unit_test(deep_results_pass_up_to_the_bound_of_tasks),
	    cmocka_unit_test(the_task_of_a_broken_line_can_be_guessed),
	    cmocka_unit_test(errors_say_whether_and_when_to_try_again),
	    cmocka_unit_test(errors_of_another_form_are_refused),
	    cmocka_unit_test(long_messages_are_cut_between_characters),
	    cmocka_unit_test(
		what_the_node_says_is_one_line_of_json_that_begins_with_its_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
