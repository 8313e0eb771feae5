/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_str.c - text helpers do what they say and nothing more.
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
#include "base/str.h"

static void
numbers_are_parsed_whole_or_not_at_all(void **state)
{
	static const struct {
		const char *text;
		int rc;
		int64_t n;
	} rows[] = {
	    {"0", 0, 0},
	    {"007", 0, 7},
	    {"-0", 0, 0},
	    {"-12", 0, -12},
	    {"9223372036854775807", 0, INT64_MAX},
	    {"-9223372036854775808", 0, INT64_MIN},
	    {"9223372036854775808", -1, 0},
	    {"-9223372036854775809", -1, 0},
	    {"18446744073709551616", -1, 0},
	    {"99999999999999999999999", -1, 0},
	    {"", -1, 0},
	    {"-", -1, 0},
	    {"--1", -1, 0},
	    {"+1", -1, 0},
	    {" 1", -1, 0},
	    {"1 ", -1, 0},
	    {"1x", -1, 0},
	    {"0x1", -1, 0},
	    {"1.0", -1, 0},
	};
	uint64_t u = 1;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT_OF(rows); i++) {
		int64_t n = 0;

		if (str_to_i64(rows[i].text, &n) != rows[i].rc || n != rows[i].n)
			fail_msg("'%s' gave %lld", rows[i].text, (long long)n);
	}
	assert_int_equal(str_to_u64("18446744073709551615", &u), 0);
	assert_true(u == UINT64_MAX);
	assert_int_equal(str_to_u64("18446744073709551616", &u), -1);
	assert_int_equal(str_to_u64("-1", &u), -1);
	assert_true(u == UINT64_MAX);
}

static void
comparisons_fold_only_ascii(void **state)
{
	(void)state;
	assert_true(str_eq("a", "a"));
	assert_false(str_eq("a", "A"));
	assert_true(str_ieq("Content-LENGTH", "content-length"));
	assert_false(str_ieq("content-length", "content-lengt"));
	assert_false(str_ieq("@[`{", "`{@["));
	assert_true(str_ieq("", ""));
	assert_true(str_starts("abc", "ab"));
	assert_true(str_starts("abc", ""));
	assert_false(str_starts("ab", "abc"));
}

static void
copy_terminates_and_says_when_it_cuts(void **state)
{
	char buf[4];

	(void)state;
	assert_true(str_copy(buf, sizeof(buf), "abc"));
	assert_string_equal(buf, "abc");
	assert_false(str_copy(buf, sizeof(buf), "wxyz"));
	assert_string_equal(buf, "wxy");
	assert_false(str_copy(buf, 0, ""));
	assert_string_equal(buf, "wxy");
}

static void
trim_cuts_both_ends(void **state)
{
	char both[] = " \t a b \r\n", all[] = " \v\f ", none[] = "a", empty[] = "";

	(void)state;
	assert_string_equal(str_trim(both), "a b");
	assert_string_equal(str_trim(all), "");
	assert_string_equal(str_trim(none), "a");
	assert_string_equal(str_trim(empty), "");
}

static void
distance_counts_edits(void **state)
{
	char long_a[101], long_b[101];

	(void)state;
	assert_int_equal(str_distance("", ""), 0);
	assert_int_equal(str_distance("abc", ""), 3);
	assert_int_equal(str_distance("workers", "wokers"), 1);
	assert_int_equal(str_distance("kitten", "sitting"), 3);
	assert_int_equal(str_distance("ab", "ba"), 2);
	memset(long_a, 'a', 100);
	memset(long_b, 'b', 100);
	long_a[100] = long_b[100] = '\0';
	assert_int_equal(str_distance(long_a, long_b), 64);
}

static void
hexadecimal_goes_both_ways(void **state)
{
	unsigned char bytes[3] = {0x00, 0xab, 0xff}, back[3] = {1, 2, 3};
	char text[7];

	(void)state;
	str_hex(text, bytes, sizeof(bytes));
	assert_string_equal(text, "00abff");
	assert_int_equal(str_unhex("00abf", back, 3), -1);
	assert_int_equal(str_unhex("00abfff", back, 3), -1);
	assert_int_equal(str_unhex("00abfg", back, 3), -1);
	assert_int_equal(back[0], 1);
	assert_int_equal(str_unhex("00AbFf", back, 3), 0);
	assert_memory_equal(back, bytes, 3);
	str_hex(text, bytes, 0);
	assert_string_equal(text, "");
}

/* by decoding, where the code under test looks at ranges */
static bool
well_formed(const unsigned char *p, size_t len)
{
	static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
	static const unsigned char mask[5] = {0, 0x80, 0xe0, 0xf0, 0xf8};
	static const unsigned char lead[5] = {0, 0x00, 0xc0, 0xe0, 0xf0};
	uint32_t c = p[0] & (unsigned char)~mask[len];
	size_t i;

	if ((p[0] & mask[len]) != lead[len])
		return false;
	for (i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return false;
		c = c << 6 | (p[i] & 0x3f);
	}
	return c >= least[len] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
}

static void
utf8_is_judged_as_the_standard_does(void **state)
{
	static const unsigned char edge[] = {0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xff};
	unsigned first, second, rest;
	unsigned char p[4];
	size_t len, wanted;

	(void)state;
	for (first = 0; first < 256; first++)
		for (second = 0; second < 256; second++)
			for (rest = 0; rest < COUNT_OF(edge) * COUNT_OF(edge); rest++) {
				p[0] = (unsigned char)first;
				p[1] = (unsigned char)second;
				p[2] = edge[rest % COUNT_OF(edge)];
				p[3] = edge[rest / COUNT_OF(edge)];
				wanted = 0;
				for (len = 1; len <= 4 && wanted == 0; len++)
					if (well_formed(p, len))
						wanted = len;
				if (str_utf8((char *)p, 4) != wanted)
					fail_msg("%02x %02x %02x %02x", p[0], p[1],
					    p[2], p[3]);
			}
	assert_int_equal(str_utf8("\xe2\x82\xac", 2), 0);
	assert_int_equal(str_utf8("", 0), 0);
}

static void
printable_escapes_what_could_forge_a_line(void **state)
{
	static const struct {
		const char *from;
		size_t len;
		const char *to;
	} rows[] = {
	    {"plain", 5, "plain"},
	    {"a\"b\\c", 5, "a\\\"b\\\\c"},
	    {"a\nb\r\t", 5, "a\\nb\\r\\t"},
	    {"\0\x1b\x7f", 3, "\\x00\\x1b\\x7f"},
	    {"\xc3\xa9", 2, "\xc3\xa9"},
	    {"\xc2\x9b", 2, "\\xc2\\x9b"},
	    {"\xe9", 1, "\\xe9"},
	};
	char to[32];
	size_t i;

	(void)state;
	for (i = 0; i < COUNT_OF(rows); i++) {
		str_printable(to, sizeof(to), rows[i].from, rows[i].len);
		assert_string_equal(to, rows[i].to);
	}
	/* never half an escape, never half a character */
	str_printable(to, 5, "ab\x01", 3);
	assert_string_equal(to, "ab");
	str_printable(to, 3, "\xe2\x82\xac", 3);
	assert_string_equal(to, "");
	assert_int_equal(str_one_line(to, sizeof(to), "a=\"b\"\n", 6), 6);
	assert_string_equal(to, "a=\"b\"\\n");
	assert_int_equal(str_one_line(to, 4, "abcdef", 6), 3);
	assert_string_equal(to, "abc");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(numbers_are_parsed_whole_or_not_at_all),
	    cmocka_unit_test(comparisons_fold_only_ascii),
	    cmocka_unit_test(copy_terminates_and_says_when_it_cuts),
	    cmocka_unit_test(trim_cuts_both_ends),
	    cmocka_unit_test(distance_counts_edits),
	    cmocka_unit_test(hexadecimal_goes_both_ways),
	    cmocka_unit_test(utf8_is_judged_as_the_standard_does),
	    cmocka_unit_test(printable_escapes_what_could_forge_a_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
