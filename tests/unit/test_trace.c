/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_trace.c - what is a trace, what of it is kept, and what an attempt hands on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "model/trace.h"

#define T	"0af7651916cd43dd8448eb211c80319c"
#define S	"b7ad6b7169203331"
#define Z32	"00000000000000000000000000000000"
#define Z16	"0000000000000000"
#define KEPT(f) "00-" T "-" S "-" f

static void
traceparents_are_read_as_the_standard_says(void **state)
{
	static const struct {
		const char *what, *text, *kept; /* NULL: no trace */
	} cases[] = {
	    {"sampled", "00-" T "-" S "-01", KEPT("01")},
	    {"not sampled", "00-" T "-" S "-00", KEPT("00")},
	    {"random", "00-" T "-" S "-03", KEPT("03")},
	    {"flags without a meaning are cleared", "00-" T "-" S "-fd", KEPT("01")},
	    {"white space around it", " \t00-" T "-" S "-01 ", KEPT("01")},
	    {"a version to come", "01-" T "-" S "-01", KEPT("01")},
	    {"a version to come, with more", "cc-" T "-" S "-01-what", KEPT("01")},
	    {"a version to come, with a bare dash", "cc-" T "-" S "-01-", KEPT("01")},
	    {"a version to come, with more and no dash", "cc-" T "-" S "-01.what",
		NULL},
	    {"version ff", "ff-" T "-" S "-01", NULL},
	    {"version 00 with more", "00-" T "-" S "-01-what", NULL},
	    {"version 00 with a dash", "00-" T "-" S "-01-", NULL},
	    {"nothing", "", NULL},
	    {"white space", " ", NULL},
	    {"too short", "00-" T "-" S "-0", NULL},
	    {"without flags", "00-" T "-" S, NULL},
	    {"capital letters in the trace",
		"00-0AF7651916CD43DD8448EB211C80319C-" S "-01", NULL},
	    {"capital letters in the span", "00-" T "-B7AD6B7169203331-01", NULL},
	    {"capital letters in the version", "0A-" T "-" S "-01", NULL},
	    {"capital letters in the flags", "00-" T "-" S "-0A", NULL},
	    {"no digits", "00-" T "-" S "-0x", NULL},
	    {"no version", ".0-" T "-" S "-01", NULL},
	    {"a trace of zeros", "00-" Z32 "-" S "-01", NULL},
	    {"a span of zeros", "00-" T "-" Z16 "-01", NULL},
	    {"another sign between them", "00_" T "-" S "-01", NULL},
	    {"another sign before the span", "00-" T "_" S "-01", NULL},
	    {"another sign before the flags", "00-" T "-" S "_01", NULL},
	    {"two of them", "00-" T "-" S "-01,00-" T "-" S "-01", NULL},
	};
	char kept[TRACE_TEXT_SIZE];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		size_t len =
		    trace_make(cases[i].text, strlen(cases[i].text), NULL, 0, kept);

		if (len != (cases[i].kept != NULL ? TRACE_PARENT_LEN : 0) ||
		    (len > 0 && strcmp(kept, cases[i].kept) != 0))
			fail_msg("%s: %zu bytes", cases[i].what, len);
		if (len > 0 && !trace_check(kept, len))
			fail_msg("%s: not known again", cases[i].what);
	}
}

static void
tracestates_are_kept_whole_or_not_at_all(void **state)
{
	static const char parent[] = "00-" T "-" S "-01";
	static char long_value[300], long_list[600], full_list[600], many[200];
	const struct {
		const char *what, *text, *kept; /* NULL: left out */
	} cases[] = {
	    {"one", "rojo=00f067aa0ba902b7", "rojo=00f067aa0ba902b7"},
	    {"two", "rojo=1,congo=t61rcWkgMzE", "rojo=1,congo=t61rcWkgMzE"},
	    {"white space between", "rojo=1 ,\tcongo=2", "rojo=1,congo=2"},
	    {"empty members", ",rojo=1,, ,congo=2,", "rojo=1,congo=2"},
	    {"a tenant", "fw529a3039@dt=FfAAAAAC", "fw529a3039@dt=FfAAAAAC"},
	    {"all signs", "0a_-*/@z=!\"#~ x", "0a_-*/@z=!\"#~ x"},
	    {"512 bytes", full_list, full_list},
	    {"nothing", "", NULL},
	    {"commas", ",,,", NULL},
	    {"no sign", "rojo", NULL},
	    {"no key", "=1", NULL},
	    {"no value", "rojo=", NULL},
	    {"a capital letter in a key", "Rojo=1", NULL},
	    {"a key that begins otherwise", "_rojo=1", NULL},
	    {"a second sign", "rojo=1=2", NULL},
	    {"one of two is wrong", "rojo=1,congo", NULL},
	    {"a line break", "rojo=1\r\nX: y", NULL},
	    {"a letter beyond ASCII", "rojo=\xc3\xa9", NULL},
	    {"a value of 257 bytes", long_value, NULL},
	    {"513 bytes", long_list, NULL},
	    {"33 members", many, NULL},
	};
	char kept[TRACE_TEXT_SIZE];

	(void)state;
	memset(long_value, 'x', 2 + 257);
	memcpy(long_value, "a=", 2);
	memset(full_list, 'x', 512);
	memcpy(full_list, "a=", 2);
	memcpy(full_list + 255, ",b=", 3);
	memcpy(long_list, full_list, 512);
	long_list[512] = 'x';
	for (int i = 0; i < 33; i++)
		memcpy(many + 4 * i, "a=1,", 4);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		size_t len = trace_make(parent, strlen(parent), cases[i].text,
			   strlen(cases[i].text), kept),
		       want = cases[i].kept != NULL ? 1 + strlen(cases[i].kept) : 0;

		if (len != TRACE_PARENT_LEN + want || strlen(kept) != len)
			fail_msg("%s: %zu bytes", cases[i].what, len);
		if (!trace_check(kept, len))
			fail_msg("%s: not known again", cases[i].what);
		if (want == 0)
			assert_null(trace_state(kept));
		else
			assert_string_equal(trace_state(kept), cases[i].kept);
	}
}

static void
an_attempt_hands_on_its_own_span(void **state)
{
	static const char trace[] = KEPT("01") " a=b";
	char parent[TRACE_PARENT_SIZE], again[TRACE_PARENT_SIZE], id[TRACE_ID_SIZE],
	    span[TRACE_SPAN_SIZE], kept[TRACE_TEXT_SIZE];
	struct uuid task = {{0x01, 0x9a, 0xc0, 0xde}}, other = task;

	(void)state;
	other.b[15] = 1;
	assert_string_equal(trace_id(trace, id), T);
	trace_parent(trace, &task, 1, parent);
	assert_memory_equal(parent, "00-" T "-", 36);
	assert_memory_equal(parent + 36, trace_span(&task, 1, span), 16);
	assert_string_equal(parent + 52, "-01");
	assert_true(trace_make(parent, strlen(parent), NULL, 0, kept) > 0);
	/* the same whoever asks, another for each attempt and task */
	assert_string_equal(trace_parent(trace, &task, 1, again), parent);
	assert_string_not_equal(trace_parent(trace, &task, 2, again), parent);
	assert_string_not_equal(trace_parent(trace, &other, 1, again), parent);
	assert_string_not_equal(parent, KEPT("01"));
}

static void
what_other_hands_wrote_is_looked_at(void **state)
{
	static const char *const wrong[] = {"", "00", "00-" T "-" S "-0",
	    KEPT("01") "x", KEPT("01") " ", KEPT("01") " a=b\n", KEPT("01") " \xff"};
	char big[TRACE_TEXT_SIZE + 1];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		if (trace_check(wrong[i], strlen(wrong[i])))
			fail_msg("'%s'", wrong[i]);
	}
	memset(big, 'x', sizeof(big));
	memcpy(big, KEPT("01") " ", TRACE_PARENT_LEN + 1);
	assert_false(trace_check(big, TRACE_TEXT_SIZE));
	assert_true(trace_check(big, TRACE_TEXT_SIZE - 1));
}

static void
spans_of_one_task_differ_and_its_maker_is_known(void **state)
{
	static const struct uuid task = {.b = {1, 2, 3}};
	char run[TRACE_SPAN_SIZE], wait[TRACE_SPAN_SIZE], seen[64][TRACE_SPAN_SIZE];
	size_t count = 0;

	(void)state;
	for (int n = 1; n <= 32; n++) {
		memcpy(seen[count++], trace_span(&task, n, run), sizeof(run));
		memcpy(seen[count++], trace_wait_span(&task, n, wait), sizeof(wait));
	}
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(seen[i], seen[j]);
	assert_string_equal(trace_own_span(KEPT("00") " a=b", run), S);
	assert_true(trace_is_sampled(KEPT("01")));
	assert_true(trace_is_sampled(KEPT("03") " a=b"));
	assert_false(trace_is_sampled(KEPT("00")));
	assert_false(trace_is_sampled(KEPT("02")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(traceparents_are_read_as_the_standard_says),
	    cmocka_unit_test(tracestates_are_kept_whole_or_not_at_all),
	    cmocka_unit_test(an_attempt_hands_on_its_own_span),
	    cmocka_unit_test(what_other_hands_wrote_is_looked_at),
	    cmocka_unit_test(spans_of_one_task_differ_and_its_maker_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
