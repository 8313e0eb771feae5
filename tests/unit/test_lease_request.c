/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_lease_request.c - what workers outside send, and what a key may do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/lease_request.h"
#include "base/mem.h"

static void
a_lease_has_one_text(void **state)
{
	struct lease_name name = {{{1, 2, 3}}, {{0}}}, back;
	char text[LEASE_TEXT_SIZE];

	(void)state;
	lease_make(&name.lease);
	assert_true(owner_is_lease(&name.lease));
	lease_format(&name, text);
	assert_int_equal(lease_parse(text, strlen(text), &back), 0);
	assert_memory_equal(&back, &name, sizeof(name));
	assert_int_equal(lease_parse(text, strlen(text) - 1, &back), -1);
	text[36] = ':';
	assert_int_equal(lease_parse(text, strlen(text), &back), -1);
	/* an incarnation is no lease: nobody ends what a worker runs */
	owner_make((const uint8_t *)"abcdef", 255, &name.lease);
	assert_false(owner_is_lease(&name.lease));
	lease_format(&name, text);
	assert_int_equal(lease_parse(text, strlen(text), &back), -1);
}

static void
a_scope_gives_what_it_names_and_no_more(void **state)
{
	static const char *const bad[] = {"", "work:", "works", "work:a b", "work,",
	    ",work", "work,,work", "work work"};
	char many[5 * SCOPES_MOST + 8] = "";
	struct scope s;
	struct err err;

	(void)state;
	scope_read(NULL, &s);
	assert_true(scope_has(&s, "mail"));
	scope_read("work", &s);
	assert_true(s.all);
	scope_read("work:mail read work:sms", &s);
	assert_true(scope_has(&s, "mail") && scope_has(&s, "sms"));
	assert_false(scope_has(&s, "read") || scope_has(&s, "mai"));
	scope_read("", &s);
	assert_false(s.all || scope_has(&s, ""));
	assert_int_equal(scope_check("work", &err), 0);
	assert_int_equal(scope_check("work:mail,work:sms,work", &err), 0);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(scope_check(bad[i], &err), -1);
	for (size_t i = 0; i < SCOPES_MOST; i++)
		strcat(many, i == 0 ? "work" : ",work");
	assert_int_equal(scope_check(many, &err), 0);
	strcat(many, ",work");
	assert_int_equal(scope_check(many, &err), -1);
}

static void
what_is_asked_for_is_read_and_bounded(void **state)
{
	static const char good[] =
	    "{\"queues\":[\"a\",\"b\",\"a\"],\"types\":[\"t\"],\"max\":100,"
	    "\"wait\":0.5,\"ttl\":\"PT1H\",\"worker\":\"w\"}";
	static const char *const bad[] = {"", "[]", "{}", "{\"queues\":\"a\"}",
	    "{\"queues\":[\"\"]}", "{\"queues\":[\"a\"],\"max\":0}",
	    "{\"queues\":[\"a\"],\"ttl\":4.9}", "{\"queues\":[\"a\"],\"wait\":-1}",
	    "{\"queues\":[\"a\"],\"queues\":[\"b\"]}",
	    "{\"queues\":[\"a\"],\"worker\":1}"};
	struct lease_ask la;
	struct refusal why;

	(void)state;
	assert_int_equal(lease_ask_parse(good, strlen(good), &la, &why), 0);
	assert_int_equal(la.queue_count, 2);
	assert_int_equal(la.type_count, 1);
	assert_int_equal(la.max, 100);
	assert_int_equal(la.wait_ms, 500);
	assert_int_equal(la.ttl_ms, 3600000);
	assert_string_equal(la.worker, "w");
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		assert_int_equal(
		    lease_ask_parse(bad[i], strlen(bad[i]), &la, &why), -1);
		assert_int_equal(why.status, 400);
	}
}

static void
ends_say_how(void **state)
{
	static const char fail[] =
	    "{\"code\":\"smtp\",\"message\":\"no\",\"retry_in\":2}";
	static const char last[] = "{\"retry\":false}";
	static const char both[] = "{\"retry\":false,\"retry_in\":1}";
	static const char many[] = "{\"result\":\"123456789\"}";
	struct lease_end le = {0};
	struct refusal why;

	(void)state;
	assert_int_equal(lease_fail_parse(fail, strlen(fail), &le, &why), 0);
	assert_int_equal(le.state, TASK_SCHEDULED);
	assert_int_equal(le.retry_ms, 2000);
	assert_string_equal(le.code, "smtp");
	assert_int_equal(lease_fail_parse(last, strlen(last), &le, &why), 0);
	assert_int_equal(le.state, TASK_FAILED);
	assert_int_equal(lease_fail_parse(both, strlen(both), &le, &why), -1);
	/* nothing said: it failed, and is tried again by the rule */
	assert_int_equal(lease_fail_parse(NULL, 0, &le, &why), 0);
	assert_int_equal(le.retry_ms, -1);
	assert_int_equal(lease_complete_parse(many, strlen(many), 11, &le, &why), 0);
	assert_int_equal(le.result.len, 11);
	assert_int_equal(lease_complete_parse(many, strlen(many), 10, &le, &why), -1);
	assert_int_equal(why.status, 413);
	assert_int_equal(lease_release_parse("{}", 2, &le, &why), 0);
	assert_int_equal(le.state, TASK_QUEUED);
	assert_int_equal(lease_release_parse("{\"x\":1}", 7, &le, &why), -1);
}

static void
log_lines_are_lines(void **state)
{
	static const char two[] = "{\"log\":[\"a\\nb\",\"c\"],\"progress\":{\"n\":1}}";
	struct lease_extend *lx = mem_zero(sizeof(*lx));
	char body[LEASE_LOG_MAX + 100];
	struct refusal why;

	(void)state;
	assert_non_null(lx);
	assert_int_equal(lease_extend_parse(two, strlen(two), lx, &why), 0);
	assert_string_equal(lx->log, "a b\nc\n");
	assert_int_equal(lx->progress.len, 7);
	assert_int_equal(lx->ttl_ms, 60000);
	memset(body, 'x', sizeof(body));
	memcpy(body, "{\"log\":[\"", 9);
	memcpy(body + 9 + LEASE_LOG_MAX, "\"]}", 4);
	assert_int_equal(lease_extend_parse(body, strlen(body), lx, &why), -1);
	mem_free(lx);
}

static void
types_of_workers_outside_and_endpoints_can_be_made_and_no_others(void **state)
{
	static const char http[] = "{\"handler\":\"http\",\"endpoint\":\"mail\"}";
	static const char good[] = "{\"handler\":\"pull\",\"timeout\":60,\"max_"
				   "attempts\":3,\"backoff\":[1,2]}";
	static const struct {
		const char *body, *code;
	} bad[] = {{"{}", "missing_field"}, {"{\"handler\":\"http\"}", "missing_field"},
	    {"{\"handler\":\"http\",\"endpoint\":\"\"}", "invalid_field"},
	    {"{\"handler\":\"pull\",\"endpoint\":\"mail\"}", "invalid_field"},
	    {"{\"handler\":\"exec\"}", "handler_unavailable"},
	    {"{\"handler\":\"magic\"}", "invalid_field"},
	    {"{\"handler\":\"pull\",\"timeout\":0.5}", "invalid_field"},
	    {"{\"handler\":\"pull\",\"command\":\"rm\"}", "unknown_field"}};
	struct type_request tr;
	struct refusal why;

	(void)state;
	assert_int_equal(type_request_parse(good, strlen(good), &tr, &why), 0);
	assert_int_equal(tr.handler, HANDLER_PULL);
	assert_int_equal(tr.timeout_ms, 60000);
	assert_string_equal(tr.backoff, "[1,2]");
	assert_int_equal(type_request_parse(http, strlen(http), &tr, &why), 0);
	assert_int_equal(tr.handler, HANDLER_HTTP);
	assert_string_equal(tr.endpoint, "mail");
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		assert_int_equal(
		    type_request_parse(bad[i].body, strlen(bad[i].body), &tr, &why),
		    -1);
		assert_string_equal(why.code, bad[i].code);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_lease_has_one_text),
	    cmocka_unit_test(a_scope_gives_what_it_names_and_no_more),
	    cmocka_unit_test(what_is_asked_for_is_read_and_bounded),
	    cmocka_unit_test(ends_say_how),
	    cmocka_unit_test(log_lines_are_lines),
	    cmocka_unit_test(
		types_of_workers_outside_and_endpoints_can_be_made_and_no_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
