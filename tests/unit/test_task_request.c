/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_task_request.c - what a request for a task may look like, case by case.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/task_request.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/strbuf.h"

#define NOW_US 1800000000000000 /* 2027-01-15T08:00:00Z */

static struct settings *
settings_with_names(void)
{
	static char texts[][40] = {"type:thumbnail.handler=exec",
	    "type:thumbnail.command=/bin/true", "type:thumbnail.max_attempts=7",
	    "queue:mail.priority=2", "tasks.max_payload=1KiB"};
	char *options[] = {texts[0], texts[1], texts[2], texts[3], texts[4], NULL};
	char *env[] = {NULL};
	struct err err = ERR_INIT;
	struct settings *s = settings_load(NULL, env, options, &err);

	if (s == NULL)
		fail_msg("%s", err.text);
	return s;
}

static int
group_setup(void **state)
{
	*state = settings_with_names();
	return 0;
}

static int
group_teardown(void **state)
{
	settings_free(*state);
	return 0;
}

/* the bytes are given without a terminator, so that reading past the end is caught */
static int
parse(const struct settings *s, const char *text, struct task_request *tr,
    struct refusal *why)
{
	size_t len = strlen(text);
	char *bytes = malloc(len > 0 ? len : 1);
	int rc;

	assert_non_null(bytes);
	memcpy(bytes, text, len);
	rc = task_request_parse(bytes, len, s, NOW_US, tr, why);
	free(bytes);
	return rc;
}

static const struct refused {
	const char *because; /* a sentence for people */
	const char *body;
	int status;
	const char *code;
	const char *says; /* must be part of the detail */
} refused[] = {
    {"nothing at all", "", 400, "invalid_json", "empty"},
    {"white space", "  \n", 400, "invalid_json", "byte"},
    {"cut off", "{\"type\":\"a\"", 400, "invalid_json", "byte"},
    {"trailing junk", "{\"type\":\"a\"} x", 400, "invalid_json", "byte 13"},
    {"two values", "{\"type\":\"a\"}{}", 400, "invalid_json", "byte 12"},
    {"a trailing comma", "{\"type\":\"a\",}", 400, "invalid_json", "byte"},
    {"single quotes", "{'type':'a'}", 400, "invalid_json", "byte 1"},
    {"NaN", "{\"type\":\"a\",\"payload\":NaN}", 400, "invalid_json", "byte"},
    {"a leading zero", "{\"type\":\"a\",\"priority\":05}", 400, "invalid_json", "byte"},
    {"bad UTF-8", "{\"type\":\"a\",\"payload\":\"\xff\"}", 400, "invalid_json", "byte"},
    {"a lone surrogate", "{\"type\":\"a\",\"payload\":\"\\ud800\"}", 400,
	"invalid_json", "byte"},
    {"an escaped NUL", "{\"type\":\"a\",\"payload\":\"\\u0000\"}", 400, "invalid_json",
	"byte"},
    {"a raw control character", "{\"type\":\"a\",\"payload\":\"\x01\"}", 400,
	"invalid_json", "byte"},
    {"a key given twice", "{\"type\":\"a\",\"type\":\"b\"}", 400, "invalid_json",
	"byte"},
    {"a key given twice in disguise", "{\"type\":\"a\",\"t\\u0079pe\":\"b\"}", 400,
	"invalid_json", "byte"},
    {"an array", "[]", 400, "invalid_request", "array"},
    {"a string", "\"type\"", 400, "invalid_request", "string"},
    {"null", "null", 400, "invalid_request", "null"},
    {"no type", "{}", 400, "missing_field", "type"},
    {"no type but others", "{\"payload\":1}", 400, "missing_field", "type"},
    {"an empty type", "{\"type\":\"\"}", 400, "invalid_field", "type (at byte 8)"},
    {"a number as type", "{\"type\":1}", 400, "invalid_field", "type (at byte 8)"},
    {"null as type", "{\"type\":null}", 400, "invalid_field", "type"},
    {"a type with a space", "{\"type\":\"a b\"}", 400, "invalid_field", "position 2"},
    {"a type that starts with a dot", "{\"type\":\".a\"}", 400, "invalid_field",
	"begin"},
    {"a type of 65 bytes",
	"{\"type\":"
	"\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
	400, "invalid_field", "longer than 64"},
    {"a very long type",
	"{\"type\":"
	"\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	"aaa"
	"aaaa"
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	"aaa"
	"aaaaaaaaaaa"
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	"aaa"
	"aaaaaaaaaaa"
	"aaaaaaaaaaaa\"}",
	400, "invalid_field", "longer than 64"},
    {"an empty queue", "{\"type\":\"a\",\"queue\":\"\"}", 400, "invalid_field",
	"queue"},
    {"an object as queue", "{\"type\":\"a\",\"queue\":{}}", 400, "invalid_field",
	"queue"},
    {"a misspelt field", "{\"type\":\"a\",\"max_attemts\":3}", 400, "unknown_field",
	"did you mean \"max_attempts\"?"},
    {"another one", "{\"tipe\":\"a\"}", 400, "unknown_field", "did you mean \"type\"?"},
    {"a foreign field", "{\"type\":\"a\",\"zzzzzzzzzz\":3}", 400, "unknown_field",
	"zzzzzzzzzz (at byte 12): there is no such field."},
    {"a field with control characters", "{\"type\":\"a\",\"x\\n\":3}", 400,
	"unknown_field", "no such field"},
    {"an empty key", "{\"type\":\"a\",\"\":3}", 400, "unknown_field", "no such field"},
    {"a later version's field", "{\"type\":\"a\",\"sticky\":\"k\"}", 400,
	"unknown_field", "sticky"},
    {"a key that is a number", "{\"type\":\"a\",\"unique_key\":1}", 400,
	"invalid_field", "unique_key"},
    {"a scope without a key", "{\"type\":\"a\",\"unique_until\":\"start\"}", 400,
	"invalid_field", "it goes with unique_key"},
    {"a limit without a key", "{\"type\":\"a\",\"concurrency_limit\":2}", 400,
	"invalid_field", "it goes with concurrency_key"},
    {"a duration of months", "{\"type\":\"a\",\"delay\":\"P1M\"}", 400, "invalid_field",
	"delay"},
    {"a field in the wrong case", "{\"Type\":\"a\"}", 400, "unknown_field", "\"type\""},
    {"a negative priority", "{\"type\":\"a\",\"priority\":-1}", 400, "invalid_field",
	"from 0 to 9"},
    {"priority ten", "{\"type\":\"a\",\"priority\":10}", 400, "invalid_field",
	"priority (at byte 23)"},
    {"half a priority", "{\"type\":\"a\",\"priority\":1.5}", 400, "invalid_field",
	"whole number"},
    {"a huge priority", "{\"type\":\"a\",\"priority\":99999999999999999999}", 400,
	"invalid_field", "from 0 to 9"},
    {"a priority in words", "{\"type\":\"a\",\"priority\":\"5\"}", 400, "invalid_field",
	"priority"},
    {"no attempts", "{\"type\":\"a\",\"max_attempts\":0}", 400, "invalid_field",
	"from 1 to 1000"},
    {"too many attempts", "{\"type\":\"a\",\"max_attempts\":1001}", 400,
	"invalid_field", "1000"},
    {"a negative delay", "{\"type\":\"a\",\"delay\":-0.001}", 400, "invalid_field",
	"delay"},
    {"a delay of 367 days", "{\"type\":\"a\",\"delay\":31708800}", 400, "invalid_field",
	"366 days"},
    {"a delay beyond doubles", "{\"type\":\"a\",\"delay\":1e400}", 400, "invalid_field",
	"delay"},
    {"a delay as text", "{\"type\":\"a\",\"delay\":\"5s\"}", 400, "invalid_field",
	"delay"},
    {"no timeout at all", "{\"type\":\"a\",\"timeout\":0}", 400, "invalid_field",
	"timeout"},
    {"a timeout that rounds to nothing", "{\"type\":\"a\",\"timeout\":0.0001}", 400,
	"invalid_field", "timeout"},
    {"a timeout of 8 days", "{\"type\":\"a\",\"timeout\":691200}", 400, "invalid_field",
	"7 days"},
    {"a date without a time", "{\"type\":\"a\",\"run_at\":\"2027-02-01\"}", 400,
	"invalid_field", "RFC 3339"},
    {"a time without an offset", "{\"type\":\"a\",\"run_at\":\"2027-02-01T00:00:00\"}",
	400, "invalid_field", "RFC 3339"},
    {"the 30th of February", "{\"type\":\"a\",\"run_at\":\"2027-02-30T00:00:00Z\"}",
	400, "invalid_field", "RFC 3339"},
    {"a number as time", "{\"type\":\"a\",\"run_at\":1800000000}", 400, "invalid_field",
	"run_at"},
    {"a time in two years", "{\"type\":\"a\",\"run_at\":\"2029-01-15T08:00:00Z\"}", 400,
	"invalid_field", "366 days"},
    {"both ways to be late",
	"{\"type\":\"a\",\"delay\":1,\"run_at\":\"2027-02-01T00:00:00Z\"}", 400,
	"invalid_field", "exclude each other"},
    {"a backoff of no kind", "{\"type\":\"a\",\"backoff\":{}}", 400, "invalid_field",
	"backoff (at byte 22): kind must be \"polynomial\", \"exponential\" or "
	"\"fixed\"."},
    {"a backoff that says something twice",
	"{\"type\":\"a\",\"backoff\":{\"kind\":\"fixed\",\"delay\":1,\"delay\":2}}",
	400, "invalid_field", "delay is said twice"},
    {"a backoff of two kinds",
	"{\"type\":\"a\",\"backoff\":{\"kind\":\"fixed\",\"delay\":1,\"kind\":"
	"\"fixed\"}}",
	400, "invalid_field", "kind is said twice"},
    {"no backoff at all", "{\"type\":\"a\",\"backoff\":null}", 400, "invalid_field",
	"it must be an object with a kind, or a list of delays"},
    {"a retry_until as a duration", "{\"type\":\"a\",\"retry_until\":\"PT5M\"}", 400,
	"invalid_field", "RFC 3339"},
    {"a deadline in words", "{\"type\":\"a\",\"deadline\":\"tomorrow\"}", 400,
	"invalid_field", "deadline (at byte 23): it must be a time as RFC 3339 writes"},
    {"a deadline of 367 days", "{\"type\":\"a\",\"deadline\":\"P367D\"}", 400,
	"invalid_field", "at most 366 days"},
    {"a deadline in three years",
	"{\"type\":\"a\",\"deadline\":\"2030-01-15T08:00:00Z\"}", 400, "invalid_field",
	"more than 732 days away"},
    {"metadata as a list", "{\"type\":\"a\",\"metadata\":[]}", 400, "invalid_field",
	"object"},
    {"metadata as text", "{\"type\":\"a\",\"metadata\":\"{}\"}", 400, "invalid_field",
	"object"},
};

static void
refuses_with_the_field_and_the_byte(void **state)
{
	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		const struct refused *r = &refused[i];
		struct task_request tr;
		struct refusal why = {0};

		if (parse(*state, r->body, &tr, &why) == 0)
			fail_msg("%s: was accepted", r->because);
		if (why.status != r->status || strcmp(why.code, r->code) != 0 ||
		    strstr(why.detail, r->says) == NULL)
			fail_msg("%s: %d %s: %s", r->because, why.status, why.code,
			    why.detail);
	}
}

static void
fills_what_is_not_said(void **state)
{
	struct task_request tr;
	struct refusal why;

	assert_int_equal(parse(*state, " {\"type\":\"a\"}\n", &tr, &why), 0);
	assert_string_equal(tr.type, "a");
	assert_string_equal(tr.queue, "default");
	assert_int_equal(tr.priority, 5);
	assert_int_equal(tr.max_attempts, 25);
	assert_int_equal(tr.timeout_ms, 0);
	assert_int_equal(tr.run_at_us, 0);
	assert_int_equal(tr.delay_ms, 0);
	assert_memory_equal(tr.payload, "null", 4);
	assert_int_equal(tr.payload_len, 4);
	assert_null(tr.metadata);
}

static void
takes_defaults_of_the_queue_and_the_type(void **state)
{
	struct task_request tr;
	struct refusal why;

	assert_int_equal(
	    parse(*state, "{\"type\":\"thumbnail\",\"queue\":\"mail\"}", &tr, &why), 0);
	assert_int_equal(tr.priority, 2);
	assert_int_equal(tr.max_attempts, 7);
	assert_int_equal(parse(*state,
			     "{\"max_attempts\":1,\"priority\":0,\"type\":"
			     "\"thumbnail\",\"queue\":\"mail\"}",
			     &tr, &why),
	    0);
	assert_int_equal(tr.priority, 0);
	assert_int_equal(tr.max_attempts, 1);
}

static void
reads_every_field_at_its_limits(void **state)
{
	struct task_request tr;
	struct refusal why;
	int64_t us;

	assert_int_equal(
	    parse(*state,
		"{\"type\":\"a:b/c.d_e-f\",\"priority\":9,\"max_attempts\":1000,"
		"\"timeout\":604800,\"delay\":31622400}",
		&tr, &why),
	    0);
	assert_string_equal(tr.type, "a:b/c.d_e-f");
	assert_int_equal(tr.priority, 9);
	assert_int_equal(tr.max_attempts, 1000);
	assert_int_equal(tr.timeout_ms, 604800000);
	assert_true(tr.delay_ms == 31622400000);
	assert_int_equal(
	    parse(*state, "{\"t\\u0079pe\":\"\\u0061\",\"timeout\":1.5,\"delay\":0.25}",
		&tr, &why),
	    0);
	assert_string_equal(tr.type, "a");
	assert_int_equal(tr.timeout_ms, 1500);
	assert_int_equal(tr.delay_ms, 250);
	assert_int_equal(clock_parse("2027-02-01T01:00:00+01:00", &us), 0);
	assert_int_equal(
	    parse(*state, "{\"type\":\"a\",\"run_at\":\"2027-02-01T01:00:00+01:00\"}",
		&tr, &why),
	    0);
	assert_true(tr.run_at_us == us);
}

static void
reads_what_follows_a_failure(void **state)
{
	struct task_request tr;
	struct refusal why;
	int64_t us;

	assert_int_equal(parse(*state, "{\"type\":\"a\"}", &tr, &why), 0);
	assert_string_equal(tr.backoff, "");
	assert_true(tr.deadline_us == 0 && tr.retry_until_us == 0);
	assert_int_equal(
	    parse(*state,
		"{\"type\":\"a\",\"backoff\": [ 5, \"PT1M\" ],"
		"\"retry_until\":\"2027-02-01T01:00:00+01:00\",\"deadline\":1.5}",
		&tr, &why),
	    0);
	assert_string_equal(tr.backoff, "[5,60]"); /* in the one way */
	assert_int_equal(clock_parse("2027-02-01T01:00:00+01:00", &us), 0);
	assert_true(tr.retry_until_us == us);
	assert_true(tr.deadline_us == NOW_US + 1500000);
	assert_int_equal(
	    parse(*state, "{\"type\":\"a\",\"deadline\":\"P1D\"}", &tr, &why), 0);
	assert_true(tr.deadline_us == NOW_US + 86400LL * 1000000);
	/* what is past is not forgotten: the one expires, the other runs once */
	assert_int_equal(parse(*state,
			     "{\"type\":\"a\",\"deadline\":\"1970-01-01T00:00:00Z\","
			     "\"retry_until\":\"1970-01-01T00:00:00Z\"}",
			     &tr, &why),
	    0);
	assert_true(tr.deadline_us == 1 && tr.retry_until_us == 1);
}

static void
takes_any_text_for_a_trace(void **state)
{
	struct task_request tr;
	struct refusal why;

	assert_int_equal(
	    parse(*state, "{\"type\":\"a\",\"traceparent\":\"x\"}", &tr, &why), 0);
	assert_int_equal(tr.traceparent.kind, JSON_STRING);
	assert_int_equal(tr.tracestate.kind, 0);
	assert_false(tr.special);
	assert_int_equal(parse(*state,
			     "{\"type\":\"a\",\"traceparent\":null,"
			     "\"tracestate\":null}",
			     &tr, &why),
	    0);
	assert_int_equal(tr.traceparent.kind, 0);
	assert_int_equal(
	    parse(*state, "{\"type\":\"a\",\"tracestate\":[\"a=b\"]}", &tr, &why), -1);
	assert_string_equal(why.code, "invalid_field");
	assert_non_null(
	    strstr(why.detail, "tracestate (at byte 25): it must be a string"));
}

static void
a_date_in_the_past_is_now(void **state)
{
	struct task_request tr;
	struct refusal why;

	assert_int_equal(
	    parse(*state, "{\"type\":\"a\",\"run_at\":\"1970-01-02T00:00:00Z\"}", &tr,
		&why),
	    0);
	assert_int_equal(tr.run_at_us, 0);
}

static void
keeps_payload_and_metadata_as_they_came(void **state)
{
	static const char body[] =
	    "{\"payload\": {\"n\": 12345678901234567890123, \"k\":1, \"k\":2 } ,"
	    "\"metadata\":{ \"a\" : \"\\u00e9\" },\"type\":\"a\"}";
	struct task_request tr;
	struct refusal why;

	assert_int_equal(
	    task_request_parse(body, sizeof(body) - 1, *state, NOW_US, &tr, &why), 0);
	assert_ptr_equal(tr.payload, strchr(body + 1, '{'));
	assert_int_equal(tr.payload_len,
	    strlen("{\"n\": 12345678901234567890123, \"k\":1, \"k\":2 }"));
	assert_int_equal(tr.metadata_len, strlen("{ \"a\" : \"\\u00e9\" }"));
	assert_memory_equal(tr.metadata, "{ \"a\" :", 7);
	assert_int_equal(
	    parse(*state, "{\"type\":\"a\",\"metadata\":null}", &tr, &why), 0);
	assert_null(tr.metadata);
}

static void
with_payload_of(struct strbuf *sb, size_t bytes, const char *field)
{
	strbuf_reset(sb);
	strbuf_printf(sb, "{\"type\":\"a\",\"%s\":{\"x\":\"", field);
	for (size_t i = 0; i < bytes - 8; i++)
		strbuf_putc(sb, 'x');
	strbuf_puts(sb, "\"}}");
}

static void
sizes_end_where_they_are_said_to(void **state)
{
	struct task_request tr;
	struct refusal why;
	struct strbuf sb;

	strbuf_init(&sb, 1 << 20);
	with_payload_of(&sb, 1024, "payload");
	assert_int_equal(parse(*state, sb.data, &tr, &why), 0);
	with_payload_of(&sb, 1025, "payload");
	assert_int_equal(parse(*state, sb.data, &tr, &why), -1);
	assert_int_equal(why.status, 413);
	assert_string_equal(why.code, "payload_too_large");
	assert_non_null(strstr(why.detail, "payload (at byte 22)"));
	with_payload_of(&sb, TASK_METADATA_MAX, "metadata");
	assert_int_equal(parse(*state, sb.data, &tr, &why), 0);
	with_payload_of(&sb, TASK_METADATA_MAX + 1, "metadata");
	assert_int_equal(parse(*state, sb.data, &tr, &why), -1);
	assert_string_equal(why.code, "invalid_field");
	strbuf_fini(&sb);
}

/* depth is counted from the task's own braces, alone or in a batch */
static void
nested(struct strbuf *sb, const char *before, unsigned arrays, const char *behind)
{
	strbuf_reset(sb);
	strbuf_puts(sb, before);
	strbuf_puts(sb, "{\"type\":\"a\",\"payload\":");
	for (unsigned i = 0; i < arrays; i++)
		strbuf_putc(sb, '[');
	for (unsigned i = 0; i < arrays; i++)
		strbuf_putc(sb, ']');
	strbuf_putc(sb, '}');
	strbuf_puts(sb, behind);
}

static void
a_payload_may_be_as_deep_in_a_batch_as_alone(void **state)
{
	static const struct {
		const char *before, *behind;
	} wraps[] = {{"[", "]"}, {"{\"tasks\":[", "]}"}, {" \n[ ", " ] "}};
	struct task_request tr;
	struct refusal why;
	struct jspan tasks;
	struct strbuf sb;
	size_t count;

	strbuf_init(&sb, 4096);
	nested(&sb, "", 31, "");
	assert_int_equal(parse(*state, sb.data, &tr, &why), 0);
	nested(&sb, "", 32, "");
	assert_int_equal(parse(*state, sb.data, &tr, &why), -1);
	for (size_t i = 0; i < COUNT_OF(wraps); i++) {
		nested(&sb, wraps[i].before, 31, wraps[i].behind);
		assert_int_equal(
		    task_batch_parse(sb.data, sb.len, &tasks, &count, &why), 0);
		nested(&sb, wraps[i].before, 32, wraps[i].behind);
		assert_int_equal(
		    task_batch_parse(sb.data, sb.len, &tasks, &count, &why), -1);
	}
	strbuf_fini(&sb);
}

static int
batch(const char *body, size_t *count, struct refusal *why)
{
	struct jspan tasks;

	return task_batch_parse(body, strlen(body), &tasks, count, why);
}

static void
a_batch_is_an_array_or_wraps_one(void **state)
{
	static const struct refused cases[] = {
	    {"nothing", "", 400, "invalid_json", "empty"},
	    {"an empty array", "[]", 400, "invalid_request", "1 to 1000"},
	    {"an empty wrapped array", "{\"tasks\":[]}", 400, "invalid_request",
		"1 to 1000"},
	    {"no array", "{\"tasks\":{}}", 400, "invalid_request", "object"},
	    {"a number", "7", 400, "invalid_request", "number"},
	    {"nothing inside", "{}", 400, "missing_field", "tasks"},
	    {"more inside", "{\"tasks\":[{}],\"x\":1}", 400, "unknown_field",
		"byte 14"},
	    {"twice inside", "{\"tasks\":[{}],\"tasks\":[{}]}", 400, "invalid_json",
		"byte"},
	    {"a task's key twice", "[{\"type\":\"a\",\"type\":\"a\"}]", 400,
		"invalid_json", "byte"},
	    {"a wrapped task's key twice",
		"{\"tasks\":[{\"type\":\"a\",\"type\":\"a\"}]}", 400, "invalid_json",
		"byte"},
	};
	struct refusal why;
	size_t count;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct refused *r = &cases[i];

		if (batch(r->body, &count, &why) == 0)
			fail_msg("%s: was accepted", r->because);
		if (why.status != r->status || strcmp(why.code, r->code) != 0 ||
		    strstr(why.detail, r->says) == NULL)
			fail_msg("%s: %d %s: %s", r->because, why.status, why.code,
			    why.detail);
	}
	assert_int_equal(batch("[1,2,3]", &count, &why), 0);
	assert_int_equal(count, 3);
	assert_int_equal(
	    batch("{\"tasks\":[{\"payload\":{\"a\":1,\"a\":2}}]}", &count, &why), 0);
	assert_int_equal(batch("[{\"payload\":{\"a\":1,\"a\":2}}]", &count, &why), 0);
}

static void
a_thousand_tasks_and_no_more(void **state)
{
	struct strbuf sb;
	struct refusal why;
	size_t count;

	(void)state;
	strbuf_init(&sb, 1 << 20);
	strbuf_putc(&sb, '[');
	for (int i = 0; i < TASK_BATCH_MAX - 1; i++)
		strbuf_puts(&sb, "1,");
	strbuf_puts(&sb, "1]");
	assert_int_equal(batch(sb.data, &count, &why), 0);
	assert_int_equal(count, TASK_BATCH_MAX);
	sb.len--;
	strbuf_puts(&sb, ",1]");
	assert_int_equal(batch(sb.data, &count, &why), -1);
	assert_non_null(strstr(why.detail, "1001"));
	strbuf_fini(&sb);
}

static void
a_refusal_in_a_batch_names_the_element(void **state)
{
	static const char body[] =
	    "[{\"type\":\"a\"},{\"type\":\"b c\"},7,{\"typ\":\"a\"},{}]";
	static const char *const says[] = {NULL, "tasks[1].type (at byte 22)",
	    "tasks[2] (at byte 29)",
	    "tasks[3].typ (at byte 32): there is no such field; did you mean \"type\"?",
	    "tasks[4].type: it is missing"};
	struct jspan tasks, element;
	struct task_request tr;
	struct refusal why;
	struct jwalk walk;
	size_t count;

	assert_int_equal(
	    task_batch_parse(body, sizeof(body) - 1, &tasks, &count, &why), 0);
	assert_int_equal(count, COUNT_OF(says));
	jwalk_start(&walk, &tasks);
	for (size_t i = 0; i < count; i++) {
		int rc;

		assert_true(jwalk_element(&walk, &element));
		rc = task_batch_item(body, &element, i, *state, NOW_US, &tr, &why);
		assert_int_equal(rc, says[i] == NULL ? 0 : -1);
		if (says[i] != NULL && strstr(why.detail, says[i]) == NULL)
			fail_msg("%zu: %s", i, why.detail);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(refuses_with_the_field_and_the_byte),
	    cmocka_unit_test(fills_what_is_not_said),
	    cmocka_unit_test(takes_defaults_of_the_queue_and_the_type),
	    cmocka_unit_test(reads_every_field_at_its_limits),
	    cmocka_unit_test(reads_what_follows_a_failure),
	    cmocka_unit_test(a_date_in_the_past_is_now),
	    cmocka_unit_test(keeps_payload_and_metadata_as_they_came),
	    cmocka_unit_test(sizes_end_where_they_are_said_to),
	    cmocka_unit_test(a_payload_may_be_as_deep_in_a_batch_as_alone),
	    cmocka_unit_test(a_batch_is_an_array_or_wraps_one),
	    cmocka_unit_test(takes_any_text_for_a_trace),
	    cmocka_unit_test(a_thousand_tasks_and_no_more),
	    cmocka_unit_test(a_refusal_in_a_batch_names_the_element),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
