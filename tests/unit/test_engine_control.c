/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_engine_control.c - tasks that shall end, and operations: cancels.c and operate.c
 * over fake stores.
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

#define CLAIM_COLS  "iuiiiiiittlt"
#define CANCEL_COLS "iuii"
#define WORK_COLS   "hiuuib"

static void
claim_one(void)
{
	struct pgrows *rows = rows_new(CLAIM_COLS);
	struct uuid id;

	task_id(1, &id);
	pop_id(1, 1);
	rows_add(rows, "iuiiiiintnnn", 1, &id, 1, 1, 1, 0, 25, "null");
	answer(&sql_claim, rows);
}

static void
learn_queue(void)
{
	struct pgrows *rows = rows_new("iitbbiiiit");

	rows_add(rows, "iitbbnnnnn", 1, 1, "q", 0, 0);
	answer(&sql_queues_by_id, rows);
}

static void
run_one(void)
{
	claim_one();
	learn_queue();
	assert_int_equal(started_count, 1);
}

/* a message on ctl, for this worker's incarnation or another's */
static void
hear(const struct uuid *owner)
{
	char text[128], name[OWNER_TEXT_SIZE], id_text[UUID_TEXT_SIZE];
	struct uuid id;

	task_id(1, &id);
	snprintf(text, sizeof(text), "cancel %s 1/%s", owner_text(owner, name),
	    uuid_format(&id, id_text));
	fakes.events->ctl(text, strlen(text), fakes.events_arg);
}

/* what is to be ended: this attempt of task 1 */
static void
answer_cancel(int number, int claim)
{
	struct pgrows *rows = rows_new(CANCEL_COLS);
	struct uuid id;

	task_id(1, &id);
	rows_add(rows, CANCEL_COLS, 1, &id, number, claim);
	answer(&sql_cancels, rows);
	turn();
}

/* ---------------------------------------------------------------- tasks that shall end
 */

static void
a_message_makes_its_worker_ask_and_tell_the_handler(void **state)
{
	struct uuid other = test_engine->owner;

	(void)state;
	run_one();
	other.b[15] ^= 1;
	hear(&other);
	assert_int_equal(waiting(&sql_cancels), 0);
	hear(&test_engine->owner);
	assert_int_equal(waiting(&sql_cancels), 1);
	answer_cancel(1, 1);
	assert_int_equal(waiting(&sql_finish), 1);
	assert_int_equal(array_int(&sql_finish, 5, 0), TASK_CANCELLED);
}

static void
a_message_that_comes_during_a_question_is_not_lost(void **state)
{
	(void)state;
	run_one();
	hear(&test_engine->owner);
	hear(&test_engine->owner);
	assert_int_equal(waiting(&sql_cancels), 1);
	answer(&sql_cancels, rows_new(CANCEL_COLS));
	assert_int_equal(waiting(&sql_cancels), 1);
	answer(&sql_cancels, rows_new(CANCEL_COLS));
	assert_int_equal(waiting(&sql_cancels), 0);
	assert_int_equal(waiting(&sql_finish), 0);
}

static void
a_request_of_another_attempt_does_not_end_this_one(void **state)
{
	(void)state;
	run_one();
	hear(&test_engine->owner);
	answer_cancel(2, 1);
	hear(&test_engine->owner);
	answer_cancel(1, 2);
	assert_int_equal(waiting(&sql_finish), 0);
	assert_false(started[0]->cancelled);
}

static void
what_has_not_started_is_not_started_any_more(void **state)
{
	(void)state;
	claim_one(); /* its queue's name is not known yet */
	hear(&test_engine->owner);
	answer_cancel(1, 1);
	assert_int_equal(waiting(&sql_finish), 0);
	learn_queue();
	turn();
	assert_int_equal(started_count, 0);
	assert_int_equal(array_int(&sql_finish, 5, 0), TASK_CANCELLED);
}

static void
success_wins_over_a_cancel(void **state)
{
	(void)state;
	run_one();
	started[0]->cancelled = true; /* told, and its handler makes an end at once */
	attempt_succeeded(started[0], NULL, 0);
	turn();
	assert_int_equal(waiting(&sql_finish), 1);
	assert_true(array_count(&sql_finish, 5) <= 0); /* all plain: succeeded */
}

static void
a_worker_that_leaves_does_not_give_a_cancelled_task_back(void **state)
{
	(void)state;
	run_one();
	started[0]->cancelled = true;
	engine_give_up(test_engine);
	turn();
	assert_int_equal(array_int(&sql_finish, 5, 0), TASK_CANCELLED);
}

static void
without_messages_what_runs_for_long_is_asked_for(void **state)
{
	int64_t began_ms = clock_mono_ms();

	(void)state;
	run_one();
	UNTIL(waiting(&sql_cancels) == 1);
	assert_true(clock_mono_ms() - began_ms < 1900);
	answer_error(&sql_cancels, PGERR_LOST, "");
	UNTIL(waiting(&sql_cancels) == 1); /* and again */
	answer_cancel(1, 1);
	assert_int_equal(array_int(&sql_finish, 5, 0), TASK_CANCELLED);
}

static void
a_holder_elsewhere_is_told_by_message(void **state)
{
	struct uuid other = test_engine->owner, id;
	char text[128], name[OWNER_TEXT_SIZE];

	(void)state;
	task_id(1, &id);
	other.b[0] ^= 1;
	engine_cancel(test_engine, &test_engine->owner, 1, &id);
	assert_int_equal(waiting(&sql_cancels), 1); /* no message to itself */
	assert_null(strstr(fakes.published, "cancel"));
	engine_cancel(test_engine, &other, 1, &id);
	snprintf(text, sizeof(text), "cancel %s 1/", owner_text(&other, name));
	assert_non_null(strstr(fakes.published, text));
}

/* ---------------------------------------------------------------- operations */

static void
lead(void)
{
	struct pgrows *rows = rows_new("lll");

	leader_campaign(test_engine->leader);
	rows_add(rows, "lll", (int64_t)1, (int64_t)10, (int64_t)7);
	answer(&sql_lead, rows);
	fakes.store_cb(STORE_LEAD, true, NULL, fakes.store_arg);
	UNTIL(waiting(&sql_operations) == 1);
}

/* operations 1 to count are open */
static void
list(int count)
{
	struct pgrows *rows = rows_new("u");
	struct uuid id;

	for (int n = 1; n <= count; n++) {
		task_id(n, &id);
		rows_add(rows, "u", &id);
	}
	UNTIL(waiting(&sql_operations) == 1);
	answer(&sql_operations, rows);
}

static struct pgrows *
worked(int n, int looked, bool ended)
{
	struct pgrows *rows = rows_new(WORK_COLS);
	struct uuid id;

	task_id(n, &id);
	rows_add(rows, "hiunib", 0, 1, &id, looked, ended);
	return rows;
}

/* which operation the statement that waits is for */
static int
turn_of(void)
{
	UNTIL(waiting(&sql_operate) == 1);
	return (int)param_int(&sql_operate, 1);
}

static void
operations_take_turns_until_none_is_left(void **state)
{
	(void)state;
	lead();
	list(2);
	turn_of();
	answer(&sql_operate, worked(1, 500, false));
	turn_of();
	answer(&sql_operate, worked(2, 3, true));
	turn_of();
	answer(&sql_operate, worked(1, 3, true));
	/* more than the list could hold may have been open */
	list(0);
	turn();
	assert_int_equal(waiting(&sql_operate), 0);
	assert_int_equal(waiting(&sql_operations), 0);
	/* a message, or the watch, tells of a new one */
	fakes.events->ctl("operate", 7, fakes.events_arg);
	list(1);
	turn_of();
	/* and one that comes during a batch is seen after it */
	fakes.events->ctl("operate", 7, fakes.events_arg);
	assert_int_equal(waiting(&sql_operations), 0);
	answer(&sql_operate, worked(1, 500, false));
	list(2);
	turn_of();
}

static void
a_stopped_operation_is_left(void **state)
{
	(void)state;
	lead();
	list(1);
	turn_of();
	answer(&sql_operate, rows_new(WORK_COLS)); /* it is not open any more */
	list(0);
	turn();
	assert_int_equal(waiting(&sql_operate), 0);
}

static void
those_concerned_are_told_once_a_batch(void **state)
{
	struct pgrows *rows;
	struct uuid id, waiter = test_engine->owner, holder = test_engine->owner;
	const char *first;

	(void)state;
	waiter.b[0] ^= 1;
	holder.b[0] ^= 2;
	lead();
	list(1);
	turn_of();
	rows = worked(1, 500, false);
	task_id(7, &id);
	rows_add(rows, WORK_COLS, 2, 1, &id, &holder, 0, false);
	task_id(8, &id);
	rows_add(rows, WORK_COLS, 2, 1, &id, &holder, 0, false);
	task_id(9, &id);
	rows_add(rows, "hiunib", 1, 1, &id, 0, false);
	answer(&sql_operate, rows);
	first = strstr(fakes.published, "cancel ");
	assert_non_null(first);
	assert_null(strstr(first + 1, "cancel "));
}

static void
a_batch_that_cannot_be_done_fails_its_operation(void **state)
{
	(void)state;
	lead();
	list(1);
	turn_of();
	answer_error(&sql_operate, PGERR_LOST, "");
	turn_of(); /* again */
	answer_error(&sql_operate, PGERR_DATA, "22000");
	UNTIL(waiting(&sql_operation_failed) == 1);
	answer_nothing(&sql_operation_failed);
	list(0);
	turn();
	assert_int_equal(waiting(&sql_operate), 0);
}

static void
a_leader_that_comes_back_during_a_batch_begins_anew(void **state)
{
	(void)state;
	lead();
	list(1);
	turn_of();
	fakes.store_cb(STORE_LEAD, false, NULL, fakes.store_arg);
	fakes.store_cb(STORE_LEAD, true, NULL, fakes.store_arg);
	answer(&sql_operate, worked(1, 3, true));
	list(0);
	turn();
	assert_int_equal(waiting(&sql_operate), 0);
}

#define ENGINE_TEST(f) cmocka_unit_test_setup_teardown(f, engine_setup, engine_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    ENGINE_TEST(a_message_makes_its_worker_ask_and_tell_the_handler),
	    ENGINE_TEST(a_message_that_comes_during_a_question_is_not_lost),
	    ENGINE_TEST(a_request_of_another_attempt_does_not_end_this_one),
	    ENGINE_TEST(what_has_not_started_is_not_started_any_more),
	    ENGINE_TEST(success_wins_over_a_cancel),
	    ENGINE_TEST(a_worker_that_leaves_does_not_give_a_cancelled_task_back),
	    ENGINE_TEST(without_messages_what_runs_for_long_is_asked_for),
	    ENGINE_TEST(a_holder_elsewhere_is_told_by_message),
	    ENGINE_TEST(operations_take_turns_until_none_is_left),
	    ENGINE_TEST(a_stopped_operation_is_left),
	    ENGINE_TEST(those_concerned_are_told_once_a_batch),
	    ENGINE_TEST(a_batch_that_cannot_be_done_fails_its_operation),
	    ENGINE_TEST(a_leader_that_comes_back_during_a_batch_begins_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
