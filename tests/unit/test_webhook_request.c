/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_webhook_request.c - webhooks as JSON: what is taken, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/webhook_request.h"
#include "base/strbuf.h"

static void
all_that_is_given_is_read(void **state)
{
	static const char body[] =
	    "{\"endpoint\":\"shop\",\"states\":[\"failed\",\"expired\",\"failed\"],"
	    "\"types\":[\"a\",\"b:c\"],\"queues\":null,\"payload\":true}";
	struct webhook_request wr;
	struct refusal why;

	(void)state;
	if (webhook_request_parse(body, strlen(body), &wr, &why) != 0)
		fail_msg("%s", why.detail);
	assert_string_equal(wr.endpoint, "shop");
	assert_true(wr.states[TASK_FAILED] && wr.states[TASK_EXPIRED]);
	assert_false(wr.states[TASK_SUCCEEDED] || wr.states[TASK_CANCELLED] ||
		     wr.states[TASK_QUEUED]);
	assert_int_equal(wr.types.count, 2);
	assert_string_equal(wr.types.names[1], "b:c");
	assert_int_equal(wr.queues.count, 0);
	assert_true(wr.payload);
}

static void
what_is_wrong_is_named(void **state)
{
	static const struct {
		const char *body, *code, *says;
	} rows[] = {
	    {"", "invalid_json", "empty"},
	    {"{", "invalid_json", "acceptable"},
	    {"[]", "invalid_request", "array"},
	    {"{\"endpoint\":\"e\"}", "missing_field", "states"},
	    {"{\"states\":[\"failed\"]}", "missing_field", "endpoint"},
	    {"{\"endpoint\":\"e\",\"states\":[]}", "invalid_field", "states"},
	    {"{\"endpoint\":\"e\",\"states\":[\"queued\"]}", "invalid_field", "states"},
	    {"{\"endpoint\":\"e\",\"states\":[1]}", "invalid_field", "states"},
	    {"{\"endpoint\":\"e\",\"states\":\"failed\"}", "invalid_field", "states"},
	    {"{\"endpoint\":\"\",\"states\":[\"failed\"]}", "invalid_field",
		"endpoint"},
	    {"{\"endpoint\":7,\"states\":[\"failed\"]}", "invalid_field", "endpoint"},
	    {"{\"endpoint\":\"e\",\"states\":[\"failed\"],\"types\":[]}",
		"invalid_field", "types"},
	    {"{\"endpoint\":\"e\",\"states\":[\"failed\"],\"queues\":[\"-\"]}",
		"invalid_field", "queues"},
	    {"{\"endpoint\":\"e\",\"states\":[\"failed\"],\"payload\":1}",
		"invalid_field", "payload"},
	    {"{\"endpoint\":\"e\",\"states\":[\"failed\"],\"quees\":[\"q\"]}",
		"unknown_field", "quees"},
	    {"{\"endpoint\":\"e\",\"endpoint\":\"f\",\"states\":[\"failed\"]}",
		"invalid_json", "already"},
	};
	struct webhook_request wr;
	struct refusal why;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (webhook_request_parse(
			rows[i].body, strlen(rows[i].body), &wr, &why) == 0)
			fail_msg("%s was taken", rows[i].body);
		assert_int_equal(why.status, 400);
		assert_string_equal(why.code, rows[i].code);
		if (strstr(why.detail, rows[i].says) == NULL)
			fail_msg("%s: %s", rows[i].body, why.detail);
	}
}

static void
a_list_of_names_has_a_bound(void **state)
{
	struct webhook_request wr;
	struct refusal why;
	struct strbuf sb;

	(void)state;
	for (int count = WEBHOOK_NAMES; count <= WEBHOOK_NAMES + 1; count++) {
		strbuf_init(&sb, 4096);
		strbuf_puts(
		    &sb, "{\"endpoint\":\"e\",\"states\":[\"failed\"],\"types\":[");
		for (int i = 0; i < count; i++)
			strbuf_printf(&sb, "%s\"t%d\"", i > 0 ? "," : "", i);
		strbuf_puts(&sb, "]}");
		assert_int_equal(webhook_request_parse(sb.data, sb.len, &wr, &why),
		    count > WEBHOOK_NAMES ? -1 : 0);
		strbuf_fini(&sb);
	}
	assert_string_equal(why.code, "invalid_field");
}

static void
a_resend_names_a_task(void **state)
{
	static const char *const bad[] = {"", "{}", "{\"task\":null}",
	    "{\"task\":\"019ac0de\"}",
	    "{\"task\":\"019ac0de-7b1e-7cc2-9d0a-6f1d2e3c4b5a\",\"x\":1}"};
	static const char good[] =
	    "{\"task\":\"019ac0de-7b1e-7cc2-9d0a-6f1d2e3c4b5a\"}";
	char text[UUID_TEXT_SIZE];
	struct refusal why;
	struct uuid task;

	(void)state;
	if (resend_request_parse(good, strlen(good), &task, &why) != 0)
		fail_msg("%s", why.detail);
	assert_string_equal(
	    uuid_format(&task, text), "019ac0de-7b1e-7cc2-9d0a-6f1d2e3c4b5a");
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		if (resend_request_parse(bad[i], strlen(bad[i]), &task, &why) == 0)
			fail_msg("%s was taken", bad[i]);
		assert_int_equal(why.status, 400);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_that_is_given_is_read),
	    cmocka_unit_test(what_is_wrong_is_named),
	    cmocka_unit_test(a_list_of_names_has_a_bound),
	    cmocka_unit_test(a_resend_names_a_task),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
