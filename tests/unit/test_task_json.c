/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_task_json.c - a task as applications see it, byte for byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/task_json.h"

static void
expect(const struct task_row *t, bool bodies, const char *json)
{
	struct strbuf sb;
	struct jsonw w;

	strbuf_init(&sb, 4096);
	jsonw_init(&w, &sb);
	task_json(&w, t, bodies);
	assert_false(strbuf_failed(&sb));
	assert_string_equal(sb.data, json);
	strbuf_fini(&sb);
}

static struct task_row
example(void)
{
	struct task_row t = {.type = "mail",
	    .queue = "default",
	    .state = TASK_QUEUED,
	    .priority = 5,
	    .max_attempts = 25,
	    .run_at_us = 1700000000123456,
	    .payload = {"{\"a\": 1}", 8}};

	assert_int_equal(
	    uuid_parse("018bcfe5-687b-7fff-bfff-ffffffffffff", 36, &t.id), 0);
	return t;
}

static void
a_new_task_has_all_its_keys_in_order(void **state)
{
	struct task_row t = example();

	(void)state;
	expect(&t, true,
	    "{\"id\":\"018bcfe5-687b-7fff-bfff-ffffffffffff\",\"type\":\"mail\","
	    "\"queue\":\"default\","
	    "\"state\":\"queued\",\"priority\":5,\"payload\":{\"a\": "
	    "1},\"result\":null,\"error\":null,"
	    "\"attempt\":0,\"max_attempts\":25,\"failures\":0,\"progress\":null,"
	    "\"metadata\":null,\"group\":null,\"waits_for\":0,\"concurrency_key\":null,"
	    "\"deadline\":null,"
	    "\"created_at\":\"2023-11-14T22:13:20.123000Z\",\"run_at\":\"2023-11-"
	    "14T22:13:20.123456Z\","
	    "\"started_at\":null,\"finished_at\":null,\"worker\":null}");
}

static void
a_finished_task_says_by_whom_and_with_what(void **state)
{
	struct task_row t = example();

	(void)state;
	t.state = TASK_FAILED;
	t.attempt = 3;
	t.failures = 2;
	t.started_us = t.finished_us = 1700000001000000;
	t.owned = true;
	t.owner = (struct uuid){{0x9f, 0x3c, 0x0a, 0x1b, 0x2c, 0x3d, 0, 1}};
	t.error_code = "exit";
	t.error_message = "line \"one\"\n";
	t.metadata = (struct task_text){"{}", 2};
	t.result = (struct task_text){"\"partly\"", 8};
	expect(&t, true,
	    "{\"id\":\"018bcfe5-687b-7fff-bfff-ffffffffffff\",\"type\":\"mail\","
	    "\"queue\":\"default\","
	    "\"state\":\"failed\",\"priority\":5,\"payload\":{\"a\": "
	    "1},\"result\":\"partly\","
	    "\"error\":{\"code\":\"exit\",\"message\":\"line \\\"one\\\"\\n\"},"
	    "\"attempt\":3,\"max_attempts\":25,\"failures\":2,\"progress\":null,"
	    "\"metadata\":{},\"group\":null,\"waits_for\":0,\"concurrency_key\":null,"
	    "\"deadline\":null,"
	    "\"created_at\":\"2023-11-14T22:13:20.123000Z\",\"run_at\":\"2023-11-"
	    "14T22:13:20.123456Z\","
	    "\"started_at\":\"2023-11-14T22:13:21.000000Z\",\"finished_at\":\"2023-"
	    "11-14T22:13:21.000000Z\","
	    "\"worker\":\"9f3c0a1b2c3d-1\"}");
}

static void
lists_leave_payload_and_result_out(void **state)
{
	struct task_row t = example();

	(void)state;
	expect(&t, false,
	    "{\"id\":\"018bcfe5-687b-7fff-bfff-ffffffffffff\",\"type\":\"mail\","
	    "\"queue\":\"default\","
	    "\"state\":\"queued\",\"priority\":5,\"error\":null,"
	    "\"attempt\":0,\"max_attempts\":25,\"failures\":0,\"progress\":null,"
	    "\"metadata\":null,"
	    "\"created_at\":\"2023-11-14T22:13:20.123000Z\",\"run_at\":\"2023-11-"
	    "14T22:13:20.123456Z\","
	    "\"started_at\":null,\"finished_at\":null,\"worker\":null}");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_new_task_has_all_its_keys_in_order),
	    cmocka_unit_test(a_finished_task_says_by_whom_and_with_what),
	    cmocka_unit_test(lists_leave_payload_and_result_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
