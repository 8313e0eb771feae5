/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_bench.c - what the load generator sends, and the modes it knows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "cli/answer.h"
#include "cli/bench.h"
#include "cli/bench_request.h"

static struct target target;

static int
open_target(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	return target_open(&target, "http://127.0.0.1:8000", "secret", NULL, &err);
}

/* the body of the request, which must be as long as its head says; taken */
static struct json_object *
build(const struct bench_request *what, const char *first_line)
{
	struct strbuf out;
	struct json_object *doc;
	const char *body, *length;
	struct err err = ERR_INIT;

	strbuf_init(&out, BENCH_REQUEST_MAX);
	assert_int_equal(bench_request_build(&target, what, &out, &err), 0);
	strbuf_putc(&out, '\0');
	assert_int_equal(strncmp(out.data, first_line, strlen(first_line)), 0);
	body = strstr(out.data, "\r\n\r\n") + 4;
	length = strcasestr(out.data, "Content-Length: ");
	assert_int_equal(strtol(length + 16, NULL, 10), (long)strlen(body));
	doc = answer_parse(body, strlen(body), &err);
	assert_non_null(doc);
	strbuf_fini(&out);
	return doc;
}

static void
a_payload_has_the_bytes_it_should(void **state)
{
	struct bench_request what = {.type = "t", .tasks = 1};
	struct json_object *doc;

	(void)state;
	for (int64_t bytes = BENCH_PAYLOAD_LEAST; bytes < 300; bytes += 29) {
		what.payload_bytes = bytes;
		doc = build(&what, "POST /v1/tasks HTTP/1.1\r\n");
		assert_int_equal(
		    strlen(json_object_to_json_string_ext(
			answer_member(doc, "payload"), JSON_C_TO_STRING_PLAIN)),
		    bytes);
		assert_null(answer_member(doc, "queue"));
		assert_null(answer_member(doc, "run_at"));
		json_object_put(doc);
	}
}

static void
a_request_says_what_it_was_told(void **state)
{
	struct bench_request what = {.type = "t",
	    .queue = "q",
	    .run_at = "2030-01-31T12:00:00Z",
	    .payload_bytes = 20,
	    .tasks = 1,
	    .wait_s = 30};
	struct json_object *doc = build(&what, "POST /v1/tasks?wait=30 HTTP/1.1\r\n");

	(void)state;
	assert_string_equal(answer_text(doc, "type"), "t");
	assert_string_equal(answer_text(doc, "queue"), "q");
	assert_string_equal(answer_text(doc, "run_at"), what.run_at);
	json_object_put(doc);
}

static void
a_batch_holds_so_many(void **state)
{
	struct bench_request what = {
	    .type = "t", .payload_bytes = 200, .tasks = 7, .batch = true};
	struct json_object *doc = build(&what, "POST /v1/tasks/batch HTTP/1.1\r\n");

	(void)state;
	assert_int_equal(json_object_array_length(answer_member(doc, "tasks")), 7);
	json_object_put(doc);
}

static void
a_request_has_a_ceiling(void **state)
{
	struct bench_request what = {
	    .type = "t", .payload_bytes = 1024 * 1024, .tasks = 100, .batch = true};
	struct strbuf out;
	struct err err = ERR_INIT;

	(void)state;
	strbuf_init(&out, BENCH_REQUEST_MAX);
	assert_int_equal(bench_request_build(&target, &what, &out, &err), -1);
	assert_int_equal(err.code, ERR_INVALID);
	strbuf_fini(&out);
}

static void
modes_have_names(void **state)
{
	enum bench_mode mode = BENCH_MODE_COUNT;

	(void)state;
	for (int i = 0; i < BENCH_MODE_COUNT; i++) {
		assert_int_equal(
		    bench_mode_parse(bench_mode_name((enum bench_mode)i), &mode), 0);
		assert_int_equal(mode, i);
	}
	assert_int_equal(bench_mode_parse("latency", &mode), 0);
	assert_int_equal(mode, BENCH_WAIT);
	assert_int_equal(bench_mode_parse("sideways", &mode), -1);
	/* what loads must see what finishes */
	for (int i = 0; i < BENCH_MODE_COUNT; i++)
		assert_true(!bench_mode_loads((enum bench_mode)i) ||
			    bench_mode_counts((enum bench_mode)i));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_payload_has_the_bytes_it_should),
	    cmocka_unit_test(a_request_says_what_it_was_told),
	    cmocka_unit_test(a_batch_holds_so_many),
	    cmocka_unit_test(a_request_has_a_ceiling),
	    cmocka_unit_test(modes_have_names),
	};

	return cmocka_run_group_tests(tests, open_target, NULL);
}
