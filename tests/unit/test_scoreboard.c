/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_scoreboard.c - what scoreboard.h promises.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/scoreboard.h"

static void
is_shared_with_children_and_starts_free(void **state)
{
	struct err err;
	struct scoreboard *sb = scoreboard_create(&err);
	int status;
	pid_t pid;

	(void)state;
	assert_non_null(sb);
	assert_int_equal(strlen(sb->node_text), 12);
	assert_int_equal(sb->slots[SCORE_SLOTS - 1].state, SCORE_FREE);
	pid = fork();
	if (pid == 0) {
		score_add(&sb->slots[3], SCORE_tasks_claimed_total, 41);
		score_add(&sb->slots[3], SCORE_tasks_claimed_total, 1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(score_total(sb, SCORE_tasks_claimed_total), 42);
	scoreboard_free(sb);
}

static void
ended_workers_leave_their_counters_and_take_their_gauges(void **state)
{
	struct err err;
	struct scoreboard *sb = scoreboard_create(&err);

	(void)state;
	assert_non_null(sb);
	score_add(&sb->slots[0], SCORE_tasks_succeeded_total, 5);
	score_set(&sb->slots[0], SCORE_tasks_running, 7);
	score_set(&sb->slots[1], SCORE_tasks_running, 2);
	score_retire(sb, &sb->slots[0]);
	score_add(&sb->slots[0], SCORE_tasks_succeeded_total, 3);
	assert_int_equal(score_total(sb, SCORE_tasks_succeeded_total), 8);
	assert_int_equal(score_total(sb, SCORE_tasks_running), 2);
	scoreboard_free(sb);
}

static void
uuids_come_back_or_are_none(void **state)
{
	_Atomic uint64_t place[2] = {0, 0};
	struct uuid id, back;

	(void)state;
	assert_false(score_get_uuid(place, &back));
	random_bytes(id.b, sizeof(id.b));
	score_set_uuid(place, &id);
	assert_true(score_get_uuid(place, &back));
	assert_memory_equal(id.b, back.b, sizeof(id.b));
}

static void
every_counter_has_a_row(void **state)
{
	(void)state;
	for (int c = 0; c < SCORE_COUNTER_COUNT; c++) {
		assert_true(strlen(score_counter_name(c)) > 0);
		assert_true(strcmp(score_counter_kind(c), "counter") == 0 ||
			    strcmp(score_counter_kind(c), "gauge") == 0);
		assert_true(strlen(score_counter_help(c)) > 0);
	}
	assert_string_equal(score_counter_name(SCORE_memory_bytes), "memory_bytes");
	for (int s = 0; s < SCORE_STATE_COUNT; s++)
		assert_non_null(score_state_name(s));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(is_shared_with_children_and_starts_free),
	    cmocka_unit_test(ended_workers_leave_their_counters_and_take_their_gauges),
	    cmocka_unit_test(uuids_come_back_or_are_none),
	    cmocka_unit_test(every_counter_has_a_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
