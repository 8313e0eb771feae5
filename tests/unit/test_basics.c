/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_basics.c - errors, memory and buffers fail in the ways that they promise.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/base64.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/strbuf.h"

static void
error_gains_context_and_keeps_its_code(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(err_set(&err, ERR_CONFLICT, "task %d", 7), -1);
	assert_int_equal(err_wrap(&err, "queue %s", "mail"), -1);
	assert_int_equal(err.code, ERR_CONFLICT);
	assert_string_equal(err.text, "queue mail: task 7");
	err_errno(&err, ENOENT, "open %s", "x");
	assert_int_equal(err.code, ERR_IO);
	assert_string_equal(err.text, "open x: No such file or directory");
	err_errno(&err, ENOMEM, "fork");
	assert_int_equal(err.code, ERR_NOMEM);
	err_clear(&err);
	assert_int_equal(err.code, ERR_NONE);
	assert_string_equal(err.text, "");
}

static void
long_errors_are_cut_and_terminated(void **state)
{
	struct err err = ERR_INIT;
	char text[1000];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	err_errno(&err, EIO, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	err_wrap(&err, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	err_set(&err, ERR_BUG, "short");
	err_wrap(&err, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void
nobody_needs_to_listen(void **state)
{
	(void)state;
	assert_int_equal(err_set(NULL, ERR_BUG, "x"), -1);
	assert_int_equal(err_errno(NULL, EIO, "x"), -1);
	assert_int_equal(err_wrap(NULL, "x"), -1);
	err_clear(NULL);
}

static void
allocation_fails_when_it_is_told_to_and_only_once(void **state)
{
	void *block;

	(void)state;
	mem_fail_nth(2);
	block = mem_alloc(1);
	assert_non_null(block);
	assert_null(mem_resize(block, 2, 1));
	mem_free(block);
	block = mem_zero(1);
	assert_non_null(block);
	mem_free_secret(block, 1);
	mem_free_secret(NULL, 0);
	mem_fail_nth(1);
	assert_null(mem_strdup("x"));
	mem_fail_nth(0);
}

static void
sizes_that_overflow_are_out_of_memory(void **state)
{
	static const size_t half = SIZE_MAX / 2 + 1;
	char *block;

	(void)state;
	assert_null(mem_resize(NULL, half, 2));
	assert_null(mem_dup("", SIZE_MAX));
	block = mem_dup("abc", 2);
	assert_string_equal(block, "ab");
	mem_free(block);
	block = mem_dup(NULL, 0);
	assert_string_equal(block, "");
	mem_free(block);
	block = mem_alloc(0);
	assert_non_null(block);
	mem_free(block);
}

static void
buffer_grows_to_its_ceiling_and_not_past_it(void **state)
{
	struct strbuf sb;
	int i;

	(void)state;
	strbuf_init(&sb, 1000);
	assert_string_equal(sb.data, "");
	for (i = 0; i < 100; i++)
		strbuf_puts(&sb, "0123456789");
	assert_false(strbuf_failed(&sb));
	assert_int_equal(sb.len, 1000);
	strbuf_put(&sb, NULL, 0);
	assert_false(strbuf_failed(&sb));
	strbuf_putc(&sb, 'x');
	assert_true(strbuf_failed(&sb));
	assert_int_equal(sb.len, 1000);
	assert_null(strbuf_room(&sb, 0));
	assert_null(strbuf_take(&sb, NULL));
	strbuf_reset(&sb);
	assert_false(strbuf_failed(&sb));
	assert_string_equal(sb.data, "");
	strbuf_fini(&sb);
	assert_string_equal(sb.data, "");
}

static void
failure_sticks_so_that_it_is_checked_once(void **state)
{
	struct strbuf sb;

	(void)state;
	strbuf_init(&sb, 10);
	strbuf_puts(&sb, "12345678901");
	strbuf_puts(&sb, "a");
	assert_true(strbuf_failed(&sb));
	assert_int_equal(sb.len, 0);
	strbuf_fini(&sb);
	strbuf_init(&sb, 10);
	strbuf_printf(&sb, "%s", "12345678901");
	assert_true(strbuf_failed(&sb));
	strbuf_fini(&sb);
}

static void
integers_are_written_as_printf_does(void **state)
{
	static const int64_t cases[] = {0, 1, -1, 9, 10, 99, 100, 12345678901234567,
	    INT64_MAX, -INT64_MAX, INT64_MIN};
	struct strbuf sb;
	char text[32];

	(void)state;
	strbuf_init(&sb, 100);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		strbuf_reset(&sb);
		strbuf_int(&sb, cases[i]);
		snprintf(text, sizeof(text), "%lld", (long long)cases[i]);
		assert_string_equal(sb.data, text);
	}
	strbuf_fini(&sb);
}

static void
block_is_taken_with_its_terminator(void **state)
{
	struct strbuf sb;
	size_t len = 9;
	char *block;

	(void)state;
	strbuf_init(&sb, 100);
	block = strbuf_take(&sb, &len);
	assert_string_equal(block, "");
	assert_int_equal(len, 0);
	mem_free(block);
	strbuf_printf(&sb, "%d-%s", 7, "x");
	memcpy(strbuf_room(&sb, 2), "yz", 2);
	strbuf_grow(&sb, 2);
	block = strbuf_take(&sb, &len);
	assert_string_equal(block, "7-xyz");
	assert_int_equal(len, 5);
	assert_int_equal(sb.len, 0);
	mem_free(block);
	strbuf_fini(&sb);
}

static void
huge_ceiling_does_not_overflow(void **state)
{
	struct strbuf sb;

	(void)state;
	strbuf_init(&sb, SIZE_MAX);
	strbuf_puts(&sb, "x");
	assert_null(strbuf_room(&sb, SIZE_MAX - 2));
	assert_true(strbuf_failed(&sb));
	strbuf_fini(&sb);
}

static void
no_memory_fails_the_buffer(void **state)
{
	unsigned n;
	bool failed = true;

	(void)state;
	for (n = 1; failed; n++) {
		struct strbuf sb;
		char *block = NULL;
		int i;

		mem_fail_nth(n);
		strbuf_init(&sb, 10000);
		for (i = 0; i < 100; i++)
			strbuf_printf(&sb, "%d ", i);
		block = strbuf_take(&sb, NULL);
		mem_fail_nth(0);
		failed = block == NULL;
		mem_free(block);
		strbuf_fini(&sb);
	}
	assert_true(n > 2);
}

static void
base64_is_taken_exactly(void **state)
{
	static const char *const bad[] = {"Zg",
	    "Zg=", "Zg===", "=Zg=", "Z=g=", "Zg==\n", " Zg==", "Zm-v",
	    "====", "Zm9vYg==Zg=="};
	static const struct {
		const char *text, *bytes;
	} good[] = {{"", ""}, {"Zg==", "f"}, {"Zm8=", "fo"}, {"Zm9v", "foo"},
	    {"Zm9vYmFy", "foobar"}};
	char bytes[6];
	size_t len = 77;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		assert_int_equal(base64_decode(bad[i], bytes, sizeof(bytes), &len), -1);
		assert_int_equal(len, 77);
	}
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		assert_int_equal(
		    base64_decode(good[i].text, bytes, sizeof(bytes), &len), 0);
		assert_int_equal(len, strlen(good[i].bytes));
		assert_memory_equal(bytes, good[i].bytes, len);
	}
	assert_int_equal(base64_decode("Zm9vYmFy", bytes, 5, &len), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(error_gains_context_and_keeps_its_code),
	    cmocka_unit_test(long_errors_are_cut_and_terminated),
	    cmocka_unit_test(nobody_needs_to_listen),
	    cmocka_unit_test(base64_is_taken_exactly),
	    cmocka_unit_test(allocation_fails_when_it_is_told_to_and_only_once),
	    cmocka_unit_test(sizes_that_overflow_are_out_of_memory),
	    cmocka_unit_test(buffer_grows_to_its_ceiling_and_not_past_it),
	    cmocka_unit_test(failure_sticks_so_that_it_is_checked_once),
	    cmocka_unit_test(integers_are_written_as_printf_does),
	    cmocka_unit_test(block_is_taken_with_its_terminator),
	    cmocka_unit_test(huge_ceiling_does_not_overflow),
	    cmocka_unit_test(no_memory_fails_the_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
