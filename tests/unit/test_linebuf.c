/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_linebuf.c - bytes in any pieces, whole lines, bounded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/linebuf.h"
#include "base/mem.h"

struct heard {
	char text[512]; /* "line|" for each */
	int left;	/* so many more, then it wants none */
};

static bool
hear(const char *line, size_t len, void *arg)
{
	struct heard *h = arg;
	size_t at = strlen(h->text);

	snprintf(h->text + at, sizeof(h->text) - at, "%.*s|", (int)len, line);
	return --h->left > 0;
}

static void
lines_come_whole_however_they_are_cut(void **state)
{
	static const char text[] = "one\ntwo\r\n\n\r\nfour\rfour\nrest";
	struct err err = ERR_INIT;

	(void)state;
	for (size_t step = 1; step <= sizeof(text); step++) {
		struct heard h = {.left = 100};
		struct linebuf lb;

		linebuf_init(&lb, 16);
		for (size_t at = 0; at < sizeof(text) - 1; at += step) {
			size_t len = sizeof(text) - 1 - at;

			assert_int_equal(linebuf_feed(&lb, text + at,
					     len < step ? len : step, hear, &h, &err),
			    0);
		}
		assert_string_equal(h.text, "one|two|||four\rfour|");
		linebuf_end(&lb, hear, &h);
		linebuf_end(&lb, hear, &h);
		assert_string_equal(h.text, "one|two|||four\rfour|rest|");
		linebuf_fini(&lb);
	}
}

static void
the_longest_line_passes_and_one_byte_more_does_not(void **state)
{
	(void)state;
	for (size_t step = 1; step <= 10; step++) {
		for (size_t len = 7; len <= 10; len++) {
			struct heard h = {.left = 100};
			struct err err = ERR_INIT;
			struct linebuf lb;
			char text[16];
			int rc = 0;

			memset(text, 'x', len);
			text[len] = '\n';
			linebuf_init(&lb, 8);
			for (size_t at = 0; at <= len && rc == 0; at += step)
				rc = linebuf_feed(&lb, text + at,
				    len + 1 - at < step ? len + 1 - at : step, hear, &h,
				    &err);
			assert_int_equal(rc, len <= 8 ? 0 : -1);
			if (rc != 0)
				assert_int_equal(err.code, ERR_LIMIT);
			assert_int_equal(strlen(h.text), len <= 8 ? len + 1 : 0);
			linebuf_fini(&lb);
		}
	}
}

static void
a_line_without_an_end_is_bounded_too(void **state)
{
	struct heard h = {.left = 100};
	struct err err = ERR_INIT;
	struct linebuf lb;
	int fed = 0;

	(void)state;
	linebuf_init(&lb, 100);
	while (fed < 1000 && linebuf_feed(&lb, "0123456", 7, hear, &h, &err) == 0)
		fed++;
	assert_int_equal(fed, 14);
	assert_string_equal(h.text, "");
	assert_int_equal(lb.begun.cap, 0);
	linebuf_fini(&lb);
}

static void
who_has_heard_enough_hears_no_more(void **state)
{
	struct heard h = {.left = 2};
	struct err err = ERR_INIT;
	struct linebuf lb;

	(void)state;
	linebuf_init(&lb, 100);
	assert_int_equal(linebuf_feed(&lb, "a\nb\nc\nd", 7, hear, &h, &err), 0);
	assert_string_equal(h.text, "a|b|");
	linebuf_fini(&lb);
}

static void
without_memory_it_says_so(void **state)
{
	struct heard h = {.left = 100};
	struct err err = ERR_INIT;
	struct linebuf lb;

	(void)state;
	linebuf_init(&lb, 100);
	mem_fail_nth(1);
	assert_int_equal(linebuf_feed(&lb, "a\nbegun", 7, hear, &h, &err), -1);
	mem_fail_nth(0);
	assert_int_equal(err.code, ERR_NOMEM);
	assert_string_equal(h.text, "a|");
	/* and goes on afterwards */
	assert_int_equal(linebuf_feed(&lb, "c\n", 2, hear, &h, &err), 0);
	assert_string_equal(h.text, "a|c|");
	linebuf_fini(&lb);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lines_come_whole_however_they_are_cut),
	    cmocka_unit_test(the_longest_line_passes_and_one_byte_more_does_not),
	    cmocka_unit_test(a_line_without_an_end_is_bounded_too),
	    cmocka_unit_test(who_has_heard_enough_hears_no_more),
	    cmocka_unit_test(without_memory_it_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
