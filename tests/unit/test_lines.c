/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_lines.c - what a command says while it runs: numbers, objects, text, garbage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "handlers/lines.h"

struct heard {
	char text[4 * LINES_BYTES]; /* "P<json> L<line>|" for each */
	unsigned count;
};

static void
hear(const char *progress, const char *line, size_t len, void *arg)
{
	struct heard *h = arg;
	size_t at = strlen(h->text);

	h->count++;
	if (line != NULL)
		assert_int_equal(strlen(line), len);
	snprintf(h->text + at, sizeof(h->text) - at, "%s%s%s%s|",
	    progress != NULL ? "P" : "", progress != NULL ? progress : "",
	    line != NULL ? "L" : "", line != NULL ? line : "");
}

static void
each_kind_of_line_is_told_apart(void **state)
{
	static const char *const cases[][2] = {
	    {"42\n", "P42|"},
	    {" 12.5 \n", "P12.5|"},
	    {"0\n100\n", "P0|P100|"},
	    {"101\n-1\n", "L101|L-1|"},
	    {"{\"progress\": {\"done\": [1, 2]}}\n", "P{\"done\": [1, 2]}|"},
	    {"{\"progress\":null}\n", "Pnull|"},
	    {"{\"log\":\"a \\u00e4 \\\"b\\\"\"}\n", "La \xc3\xa4 \"b\"|"},
	    {"{\"progress\":7,\"log\":\"both\"}\n", "P7Lboth|"},
	    {"{\"log\":7}\n", "L{\"log\":7}|"},
	    {"{\"other\":1}\n", "L{\"other\":1}|"},
	    {"\"42\"\n[1]\ntrue\n", "L\"42\"|L[1]|Ltrue|"},
	    {"{\"progress\":\n", "L{\"progress\":|"},
	    {"{\"progress\":1,\"progress\":2}\n", "L{\"progress\":1,\"progress\":2}|"},
	    {"plain text\r\n", "Lplain text|"},
	    {"\n\r\n\n", ""},
	    {"\xff\xfe x\n", "L?? x|"},
	    {"no end", ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct lines l = {.len = 0};
		struct heard h = {.count = 0};

		lines_feed(&l, cases[i][0], strlen(cases[i][0]), hear, &h);
		assert_string_equal(h.text, cases[i][1]);
	}
}

static void
a_line_may_come_in_pieces_and_without_an_end(void **state)
{
	static const char text[] = "first\n{\"progress\": 5}\nlast";
	struct lines l = {.len = 0};
	struct heard h = {.count = 0};

	(void)state;
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		lines_feed(&l, text + i, 1, hear, &h);
	assert_string_equal(h.text, "Lfirst|P5|");
	lines_end(&l, hear, &h);
	assert_string_equal(h.text, "Lfirst|P5|Llast|");
	lines_end(&l, hear, &h);
	assert_int_equal(h.count, 3);
}

static void
a_nul_and_a_long_line_are_borne(void **state)
{
	static char flood[3 * LINES_BYTES];
	struct lines l = {.len = 0};
	struct heard h = {.count = 0};

	(void)state;
	lines_feed(&l, "a\0b\n", 4, hear, &h);
	assert_string_equal(h.text, "La?b|");
	memset(flood, 'x', sizeof(flood));
	memset(&h, 0, sizeof(h));
	lines_feed(&l, flood, sizeof(flood), hear, &h);
	lines_feed(&l, flood, sizeof(flood), hear, &h);
	lines_feed(&l, "\nshort\n", 7, hear, &h);
	assert_int_equal(h.count, 2);
	assert_int_equal(strcspn(h.text, "|"), LINES_BYTES + 1);
	assert_string_equal(h.text + LINES_BYTES + 2, "Lshort|");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_kind_of_line_is_told_apart),
	    cmocka_unit_test(a_line_may_come_in_pieces_and_without_an_end),
	    cmocka_unit_test(a_nul_and_a_long_line_are_borne),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
