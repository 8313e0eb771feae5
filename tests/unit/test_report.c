/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_report.c - what attempts say is written in batches, at a pace, and to the last
 * word.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "fake_stores.h"
#include "store/events.h"

#define CLAIM_COLS "iuiiiiiittlt"

/* tasks 1 to count run */
static void
run_tasks(int count)
{
	struct pgrows *rows;
	struct uuid id;

	for (int n = 1; n <= count; n++) {
		pop_id(n, 1);
		task_id(n, &id);
		rows = rows_new(CLAIM_COLS);
		rows_add(rows, "iuiiiiintnnn", 1, &id, 1, 1, 1, 0, 25, "null");
		UNTIL(waiting(&sql_claim) == 1);
		answer(&sql_claim, rows);
		if (n == 1) {
			rows = rows_new("iitbbiiiit");
			rows_add(rows, "iitbbnnnnn", 1, 1, "q", 0, 0);
			answer(&sql_queues_by_id, rows);
		}
	}
	assert_int_equal(started_count, count);
}

static void
expect_text(int param, int i, const char *text)
{
	char got[ATTEMPT_LOG_BYTES + 1];

	assert_false(array_null(&events_report, param, i));
	array_text(&events_report, param, i, got, sizeof(got));
	assert_string_equal(got, text);
}

static void
many_reports_are_one_statement_once_a_second(void **state)
{
	int64_t since;

	(void)state;
	run_tasks(3);
	attempt_report(started[0], "1", NULL, 0);
	attempt_report(started[0], "2", "first", 5);
	attempt_report(started[1], NULL, "only text", 9);
	UNTIL(waiting(&events_report) == 1);
	since = clock_mono_ms();
	assert_int_equal(array_count(&events_report, 1), 2);
	assert_int_equal(array_int(&events_report, 3, 0), 1); /* the attempt */
	expect_text(5, 0, "2");
	expect_text(6, 0, "first\n");
	assert_true(array_null(&events_report, 5, 1));
	expect_text(6, 1, "only text\n");
	attempt_report(started[0], "3", "second", 6);
	answer_nothing(&events_report);
	/* the task that has just been written waits, another does not */
	attempt_report(started[2], "9", NULL, 0);
	UNTIL(waiting(&events_report) == 1);
	assert_int_equal(array_count(&events_report, 1), 1);
	expect_text(5, 0, "9");
	answer_nothing(&events_report);
	UNTIL(waiting(&events_report) == 1);
	assert_true(clock_mono_ms() - since >= 950);
	expect_text(5, 0, "3");
	expect_text(6, 0, "first\nsecond\n");
	answer_nothing(&events_report);
	for (int i = 0; i < 20; i++)
		turn();
	assert_int_equal(waiting(&events_report), 0);
}

static void
the_last_words_are_written_after_the_end(void **state)
{
	(void)state;
	run_tasks(1);
	attempt_report(started[0], "99", "bye", 3);
	assert_true(reports_idle(test_engine->reports));
	attempt_succeeded(started[0], NULL, 0);
	assert_false(reports_idle(test_engine->reports));
	UNTIL(waiting(&events_report) == 1);
	expect_text(5, 0, "99");
	/* lost: the same again */
	answer_error(&events_report, PGERR_LOST, "");
	assert_false(reports_idle(test_engine->reports));
	UNTIL(waiting(&events_report) == 1);
	expect_text(6, 0, "bye\n");
	answer_nothing(&events_report);
	assert_true(reports_idle(test_engine->reports));
}

static void
what_is_refused_is_forgotten(void **state)
{
	(void)state;
	run_tasks(1);
	attempt_report(started[0], NULL, "bad", 3);
	attempt_succeeded(started[0], NULL, 0);
	UNTIL(waiting(&events_report) == 1);
	answer_error(&events_report, PGERR_DATA, "22021");
	assert_true(reports_idle(test_engine->reports));
	/* an attempt that said nothing leaves nothing */
	for (int i = 0; i < 20; i++)
		turn();
	assert_int_equal(waiting(&events_report), 0);
}

static void
a_log_keeps_its_end_in_whole_lines(void **state)
{
	char got[ATTEMPT_LOG_BYTES + 1], line[64];
	static char large[2 * ATTEMPT_LOG_BYTES];
	size_t len;

	(void)state;
	run_tasks(1);
	for (int i = 0; i < 5000; i++) {
		snprintf(line, sizeof(line), "line %d", i);
		attempt_report(started[0], NULL, line, strlen(line));
	}
	UNTIL(waiting(&events_report) == 1);
	array_text(&events_report, 6, 0, got, sizeof(got));
	len = strlen(got);
	assert_true(len > ATTEMPT_LOG_BYTES / 2 && len <= ATTEMPT_LOG_BYTES);
	assert_memory_equal(got, "line ", 5);
	assert_string_equal(got + len - 10, "line 4999\n");
	answer_nothing(&events_report);
	/* larger than all of it: cut between characters */
	for (size_t i = 0; i + 1 < sizeof(large); i += 2)
		memcpy(large + i, "\xc3\xa4", 2);
	for (int i = 0; i < 3; i++)
		attempt_report(started[0], NULL, large, sizeof(large));
	attempt_succeeded(started[0], NULL, 0);
	UNTIL(waiting(&events_report) == 1);
	array_text(&events_report, 6, 0, got, sizeof(got));
	len = strlen(got);
	assert_true(len <= ATTEMPT_LOG_BYTES && len >= ATTEMPT_LOG_BYTES / 2);
	assert_memory_equal(got, "\xc3\xa4", 2);
	answer_nothing(&events_report);
}

static void
without_memory_the_task_runs_on(void **state)
{
	(void)state;
	run_tasks(1);
	for (unsigned n = 1; n < 6; n++) {
		mem_fail_nth(n);
		attempt_report(started[0], "1", "line", 4);
		mem_fail_nth(0);
	}
	attempt_report(started[0], "2", "end", 3);
	attempt_succeeded(started[0], NULL, 0);
	UNTIL(waiting(&events_report) == 1);
	expect_text(5, 0, "2");
	answer_nothing(&events_report);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, engine_setup, engine_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(many_reports_are_one_statement_once_a_second),
	    TEST(the_last_words_are_written_after_the_end),
	    TEST(what_is_refused_is_forgotten),
	    TEST(a_log_keeps_its_end_in_whole_lines),
	    TEST(without_memory_the_task_runs_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
