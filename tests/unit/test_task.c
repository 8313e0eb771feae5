/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_task.c - what may follow what, and how owners are written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/attr.h"
#include "model/task.h"

#define NO TASK_FORBIDDEN

/* written out in full: a change of behaviour is a visible change here */
/* clang-format off */
static const enum task_state matrix[TASK_STATE_COUNT][TASK_EVENT_COUNT] = {
    /* due, claimed, succeeded, retry, exhausted, lost, cancelled, expired, again */
    /* scheduled */ {TASK_QUEUED, NO, NO, NO, NO, NO, TASK_CANCELLED, TASK_EXPIRED, NO},
    /* queued */ {NO, TASK_RUNNING, NO, NO, NO, NO, TASK_CANCELLED, TASK_EXPIRED, NO},
    /* running */ {NO, NO, TASK_SUCCEEDED, TASK_SCHEDULED, TASK_FAILED, TASK_QUEUED, TASK_CANCELLED, NO, NO},
    /* succeeded */ {NO, NO, NO, NO, NO, NO, NO, NO, NO},
    /* failed */ {NO, NO, NO, NO, NO, NO, NO, NO, TASK_QUEUED},
    /* cancelled */ {NO, NO, NO, NO, NO, NO, NO, NO, TASK_QUEUED},
    /* expired */ {NO, NO, NO, NO, NO, NO, NO, NO, TASK_QUEUED},
};
/* clang-format on */

static void
every_transition_is_as_written(void **state)
{
	(void)state;
	for (int s = 0; s < TASK_STATE_COUNT; s++) {
		for (int e = 0; e < TASK_EVENT_COUNT; e++)
			assert_int_equal(
			    task_next((enum task_state)s, (enum task_event)e),
			    matrix[s][e]);
	}
	assert_int_equal(task_next((enum task_state)99, TASK_EV_DUE), NO);
	assert_int_equal(task_next(TASK_QUEUED, (enum task_event)99), NO);
}

static void
a_final_state_is_left_by_hand_only(void **state)
{
	(void)state;
	for (int s = 0; s < TASK_STATE_COUNT; s++) {
		for (int e = 0; e < TASK_EV_AGAIN && task_is_final((enum task_state)s);
		     e++)
			assert_int_equal(
			    task_next((enum task_state)s, (enum task_event)e), NO);
	}
	assert_int_equal(task_next(TASK_SUCCEEDED, TASK_EV_AGAIN), NO);
}

static void
names_of_states_lead_back(void **state)
{
	enum task_state got;

	(void)state;
	for (int s = 0; s < TASK_STATE_COUNT; s++) {
		assert_int_equal(
		    task_state_parse(task_state_name((enum task_state)s), &got), 0);
		assert_int_equal(got, s);
	}
	assert_int_equal(task_state_parse("Queued", &got), -1);
	assert_string_equal(task_state_name((enum task_state)99), "unknown");
}

static void
an_id_tells_when_it_was_made(void **state)
{
	struct uuid id;

	(void)state;
	uuid_v7(1700000000123, &id);
	assert_true(task_created_us(&id) == 1700000000123000);
}

static void
an_owner_names_node_and_worker(void **state)
{
	const uint8_t node[6] = {0x9f, 0x3c, 0x0a, 0x1b, 0x2c, 0x3d};
	char worker[OWNER_WORKER_SIZE], whole[OWNER_TEXT_SIZE];
	struct uuid a, b;

	(void)state;
	owner_make(node, 257, &a);
	owner_make(node, 257, &b);
	assert_false(uuid_eq(&a, &b)); /* each start is another incarnation */
	assert_string_equal(owner_worker_text(&a, worker), "9f3c0a1b2c3d-257");
	owner_text(&a, whole);
	assert_int_equal(strlen(whole), strlen(worker) + 17);
	assert_memory_equal(whole, worker, strlen(worker));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_transition_is_as_written),
	    cmocka_unit_test(a_final_state_is_left_by_hand_only),
	    cmocka_unit_test(names_of_states_lead_back),
	    cmocka_unit_test(an_id_tells_when_it_was_made),
	    cmocka_unit_test(an_owner_names_node_and_worker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
