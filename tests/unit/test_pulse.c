/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_pulse.c - what a node has done is told every three seconds, by one worker, while
 * there is something to tell.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fake_clock.h"
#include "fake_stores.h"

#define TELL_MS	 3000
#define QUIET_MS 30000

static void
count(int slot, enum score_counter c, uint64_t n)
{
	score_add(&test_engine->board->slots[slot], c, n);
}

/* one pulse's time goes by; whether it was told */
static bool
beats(void)
{
	size_t before = waiting(&sql_pulse);

	fake_clock_pass_ms(TELL_MS);
	turn();
	return waiting(&sql_pulse) > before;
}

static void
expect_counts(int submitted, int started_, int succeeded, int retried, int failed)
{
	const int expected[] = {submitted, started_, succeeded, retried, failed};

	assert_int_equal(waiting(&sql_pulse), 1);
	assert_int_equal(array_count(&sql_pulse, 2), 5);
	for (int i = 0; i < 5; i++)
		assert_int_equal(array_int(&sql_pulse, 2, i), expected[i]);
}

static void
what_all_workers_did_since_is_told_by_one(void **state)
{
	int64_t span_ms;

	(void)state;
	/* of what was before it nobody knows how long it took */
	count(0, SCORE_tasks_submitted_total, 1000);
	assert_false(beats());
	count(0, SCORE_tasks_submitted_total, 5);
	count(1, SCORE_tasks_submitted_total, 2);
	count(1, SCORE_tasks_claimed_total, 4);
	count(1, SCORE_leases_given_total, 1);
	count(2, SCORE_tasks_succeeded_total, 3);
	count(0, SCORE_tasks_retried_total, 2);
	count(0, SCORE_tasks_failed_total, 1);
	score_set(&test_engine->board->slots[0], SCORE_memory_bytes, 700);
	score_set(&test_engine->board->slots[1], SCORE_memory_bytes, 300);
	score_set(&test_engine->board->slots[0], SCORE_waiters, 6);
	score_set(&test_engine->board->slots[1], SCORE_lease_waiters, 1);
	assert_true(beats());
	expect_counts(7, 5, 3, 2, 1);
	span_ms = param_int(&sql_pulse, 1);
	assert_in_range(span_ms, TELL_MS, TELL_MS + 1000);
	assert_int_equal(param_int(&sql_pulse, 4), 1000);
	assert_int_equal(param_int(&sql_pulse, 5), 7);
	/* until that is written nothing more is; it is in the next span, then */
	count(0, SCORE_tasks_submitted_total, 9);
	assert_false(beats());
	answer_nothing(&sql_pulse);
	assert_true(beats());
	expect_counts(9, 0, 0, 0, 0);
	assert_in_range(param_int(&sql_pulse, 1), 2 * TELL_MS, 2 * TELL_MS + 1000);
	/* what was lost is a gap, and told again by nobody */
	answer_error(&sql_pulse, PGERR_LOST, "");
	count(0, SCORE_tasks_submitted_total, 1);
	assert_true(beats());
	expect_counts(1, 0, 0, 0, 0);
	answer_nothing(&sql_pulse);
}

static void
the_end_of_work_is_told_once_and_then_hardly_anything(void **state)
{
	int told = 0;

	(void)state;
	assert_false(beats());
	count(0, SCORE_tasks_submitted_total, 1);
	assert_true(beats());
	answer_nothing(&sql_pulse);
	assert_true(beats());
	expect_counts(0, 0, 0, 0, 0);
	answer_nothing(&sql_pulse);
	for (int n = 0; n < 2 * QUIET_MS / TELL_MS; n++) {
		if (!beats())
			continue;
		expect_counts(0, 0, 0, 0, 0);
		answer_nothing(&sql_pulse);
		told++;
	}
	assert_int_equal(told, 2);
	/* and what happens then is told at once */
	count(0, SCORE_tasks_submitted_total, 1);
	assert_true(beats());
	expect_counts(1, 0, 0, 0, 0);
	answer_nothing(&sql_pulse);
}

static void
only_who_beats_for_the_node_tells(void **state)
{
	struct scoreboard *board = test_engine->board;
	struct score_slot *first = &board->slots[0], *ours = &board->slots[3];
	struct uuid id;

	(void)state;
	/* another worker stands before this one, and lives */
	assert_true(score_get_uuid(first->incarnation, &id));
	score_set_uuid(ours->incarnation, &id);
	test_engine->slot = ours;
	for (int n = 0; n < 3; n++) {
		count(3, SCORE_tasks_submitted_total, 1);
		atomic_store(&first->heartbeat_ms, clock_mono_ms() + TELL_MS);
		assert_false(beats());
	}
	/* it is dead: what this one has not seen the beginning of it does not tell */
	atomic_store(&first->heartbeat_ms, 0);
	assert_false(beats());
	count(3, SCORE_tasks_submitted_total, 2);
	assert_true(beats());
	expect_counts(2, 0, 0, 0, 0);
	answer_nothing(&sql_pulse);
	test_engine->slot = first;
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, engine_setup, engine_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(what_all_workers_did_since_is_told_by_one),
	    TEST(the_end_of_work_is_told_once_and_then_hardly_anything),
	    TEST(only_who_beats_for_the_node_tells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
