/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_jsonw.c - what is written is JSON or fails.
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
#include "base/jscan.h"
#include "base/jsonw.h"
#include "base/mem.h"

static void
commas_are_placed_by_the_writer(void **state)
{
	struct strbuf sb;
	struct jsonw w;

	(void)state;
	strbuf_init(&sb, 1000);
	jsonw_init(&w, &sb);
	jsonw_object(&w);
	jsonw_key(&w, "a");
	jsonw_array(&w);
	jsonw_int(&w, INT64_MIN);
	jsonw_bool(&w, true);
	jsonw_bool(&w, false);
	jsonw_null(&w);
	jsonw_object(&w);
	jsonw_end(&w);
	jsonw_array(&w);
	jsonw_end(&w);
	jsonw_end(&w);
	jsonw_key(&w, "b\"");
	jsonw_string(&w, NULL);
	jsonw_key(&w, "c");
	jsonw_raw(&w, "{ \"x\": 1 }", 10);
	jsonw_end(&w);
	assert_false(strbuf_failed(&sb));
	assert_string_equal(sb.data,
	    "{\"a\":[-9223372036854775808,true,false,null,{},[]],"
	    "\"b\\\"\":null,\"c\":{ \"x\": 1 }}");
	strbuf_fini(&sb);
}

static void
strings_are_escaped_and_made_valid(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		const char *json;
	} rows[] = {
	    {"", 0, "\"\""},
	    {"abc", 3, "\"abc\""},
	    {"\"\\/", 3, "\"\\\"\\\\/\""},
	    {"\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\""},
	    {"\0\x1f\x7f", 3, "\"\\u0000\\u001f\x7f\""},
	    {"\xe2\x82\xac", 3, "\"\xe2\x82\xac\""},
	    {"a\xff\xfez", 4, "\"a\xef\xbf\xbd\xef\xbf\xbdz\""},
	    {"\xe2\x82", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\""},
	    {"\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
	};
	struct strbuf sb;
	struct jsonw w;
	size_t i;

	(void)state;
	strbuf_init(&sb, 1000);
	for (i = 0; i < COUNT_OF(rows); i++) {
		strbuf_reset(&sb);
		jsonw_init(&w, &sb);
		jsonw_stringn(&w, rows[i].text, rows[i].len);
		assert_string_equal(sb.data, rows[i].json);
	}
	strbuf_fini(&sb);
}

static void
doubles_read_back_as_they_were(void **state)
{
	static const double rows[] = {0, -0.0, 0.1, 1e21, 1e-300, 1.0 / 3,
	    123456789.125, 5e-324, 1.7976931348623157e308};
	struct jscan_limits limits = {.max_depth = 1};
	struct err err;
	struct jspan span;
	struct strbuf sb;
	struct jsonw w;
	double back;
	size_t i;

	(void)state;
	strbuf_init(&sb, 1000);
	for (i = 0; i < COUNT_OF(rows); i++) {
		strbuf_reset(&sb);
		jsonw_init(&w, &sb);
		jsonw_double(&w, rows[i]);
		assert_int_equal(jscan_check(sb.data, sb.len, &limits, &span, &err), 0);
		assert_int_equal(jspan_double(&span, &back, &err), 0);
		assert_memory_equal(&back, &rows[i], sizeof(back));
	}
	strbuf_reset(&sb);
	jsonw_init(&w, &sb);
	jsonw_array(&w);
	jsonw_double(&w, 0.1);
	jsonw_double(&w, 1e308 * 10);
	jsonw_end(&w);
	assert_string_equal(sb.data, "[0.1,null]");
	strbuf_fini(&sb);
}

static void
use_value_without_key(struct jsonw *w)
{
	jsonw_object(w);
	jsonw_int(w, 1);
}

static void
use_key_in_array(struct jsonw *w)
{
	jsonw_array(w);
	jsonw_key(w, "a");
}

static void
use_key_at_top(struct jsonw *w)
{
	jsonw_key(w, "a");
}

static void
use_two_keys(struct jsonw *w)
{
	jsonw_object(w);
	jsonw_key(w, "a");
	jsonw_key(w, "b");
}

static void
use_end_after_key(struct jsonw *w)
{
	jsonw_object(w);
	jsonw_key(w, "a");
	jsonw_end(w);
}

static void
use_end_too_many(struct jsonw *w)
{
	jsonw_array(w);
	jsonw_end(w);
	jsonw_end(w);
}

static void
use_two_values(struct jsonw *w)
{
	jsonw_null(w);
	jsonw_null(w);
}

static void
use_too_deep(struct jsonw *w)
{
	int i;

	for (i = 0; i < 33; i++)
		jsonw_array(w);
}

static void
misuse_fails_the_buffer(void **state)
{
	static void (*const uses[])(struct jsonw *) = {use_value_without_key,
	    use_key_in_array, use_key_at_top, use_two_keys, use_end_after_key,
	    use_end_too_many, use_two_values, use_too_deep};
	struct strbuf sb;
	struct jsonw w;
	size_t i;

	(void)state;
	strbuf_init(&sb, 1000);
	for (i = 0; i < COUNT_OF(uses); i++) {
		strbuf_reset(&sb);
		jsonw_init(&w, &sb);
		uses[i](&w);
		if (!strbuf_failed(&sb))
			fail_msg("use %zu gave %s", i, sb.data);
	}
	strbuf_reset(&sb);
	jsonw_init(&w, &sb);
	for (i = 0; i < 32; i++)
		jsonw_array(&w);
	for (i = 0; i < 32; i++)
		jsonw_end(&w);
	assert_false(strbuf_failed(&sb));
	strbuf_fini(&sb);
}

static void
no_memory_fails_the_buffer_and_nothing_else(void **state)
{
	unsigned n;
	int i;

	(void)state;
	for (n = 1;; n++) {
		struct strbuf sb;
		struct jsonw w;
		bool failed;

		mem_fail_nth(n);
		strbuf_init(&sb, 100000);
		jsonw_init(&w, &sb);
		jsonw_array(&w);
		for (i = 0; i < 1000; i++)
			jsonw_string(&w, "0123456789");
		jsonw_end(&w);
		mem_fail_nth(0);
		failed = strbuf_failed(&sb);
		strbuf_fini(&sb);
		if (!failed)
			break;
	}
	assert_true(n > 3);
}

static void
a_byte_is_escaped_wherever_it_stands(void **state)
{
	struct strbuf one, all;
	struct jsonw w;

	(void)state;
	strbuf_init(&one, 100);
	strbuf_init(&all, 100);
	for (int byte = 0; byte < 256; byte++) {
		char c = (char)byte;

		strbuf_reset(&one);
		jsonw_init(&w, &one);
		jsonw_stringn(&w, &c, 1);
		for (size_t at = 0; at < 17; at++) {
			char text[17], want[64];

			memset(text, 'a', sizeof(text));
			text[at] = c;
			strbuf_reset(&all);
			jsonw_init(&w, &all);
			jsonw_stringn(&w, text, sizeof(text));
			snprintf(want, sizeof(want), "\"%.*s%.*s%.*s\"", (int)at,
			    "aaaaaaaaaaaaaaaa", (int)one.len - 2, one.data + 1,
			    (int)(16 - at), "aaaaaaaaaaaaaaaa");
			assert_string_equal(all.data, want);
		}
	}
	strbuf_fini(&all);
	strbuf_fini(&one);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(commas_are_placed_by_the_writer),
	    cmocka_unit_test(strings_are_escaped_and_made_valid),
	    cmocka_unit_test(doubles_read_back_as_they_were),
	    cmocka_unit_test(misuse_fails_the_buffer),
	    cmocka_unit_test(no_memory_fails_the_buffer_and_nothing_else),
	    cmocka_unit_test(a_byte_is_escaped_wherever_it_stands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
