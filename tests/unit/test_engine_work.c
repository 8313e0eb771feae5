/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_engine_work.c - what a worker does with ids, claims and outcomes when answers
 * are lost, late or refused: dispatch.c, finish.c, suspect.c, audit.c, submit.c and
 * adopt.c over fake stores.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "fake_stores.h"

#define CLAIM_COLS "iuiiiiiittlt"
#define DONE_COLS  "iuhui"

static void
add_claimed(struct pgrows *rows, int n, int attempt, int type_id, int queue_id)
{
	struct uuid id;

	task_id(n, &id);
	rows_add(
	    rows, "iuiiiiintnnn", 1, &id, attempt, type_id, queue_id, 0, 25, "null");
}

/* queue 1 is known from here on */
static void
learn_queue(int queue_id)
{
	struct pgrows *rows = rows_new("iitbbiiiit");

	rows_add(rows, "iitbbnnnnn", queue_id, 1, "q", 0, 0);
	answer(&sql_queues_by_id, rows);
}

/* tasks 1 to count are claimed as attempt 1 and run */
static void
run_tasks(int count)
{
	struct pgrows *rows = rows_new(CLAIM_COLS);

	for (int n = 1; n <= count; n++)
		pop_id(n, 1);
	/* the first claim left with the first id; the rest go in the second */
	add_claimed(rows, 1, 1, 1, 1);
	answer(&sql_claim, rows);
	learn_queue(1);
	if (count > 1) {
		rows = rows_new(CLAIM_COLS);
		for (int n = 2; n <= count; n++)
			add_claimed(rows, n, 1, 1, 1);
		answer(&sql_claim, rows);
	}
	assert_int_equal(started_count, count);
}

static void
record(const struct pgstmt *st, int from, int to, int state)
{
	struct pgrows *rows = rows_new(DONE_COLS);
	struct uuid id;

	for (int n = from; n <= to; n++) {
		task_id(n, &id);
		rows_add(rows, "iuhnn", 1, &id, state);
	}
	answer(st, rows);
}

static uint64_t
counted(enum score_counter c)
{
	return score_total(test_engine->board, c);
}

/* ---------------------------------------------------------------- claims */

static void
lost_claim_is_asked_by_its_number_and_runs_once(void **state)
{
	struct pgrows *rows;

	(void)state;
	pop_id(1, 1);
	pop_id(2, 1);
	answer(&sql_claim, rows_new(CLAIM_COLS)); /* 1 was a duplicate */
	assert_true(listed(&fakes.acked, 1));
	assert_int_equal(param_int(&sql_claim, 1), 2);
	answer_error(&sql_claim, PGERR_LOST, "");
	assert_int_equal(waiting(&sql_claim), 0);
	UNTIL(waiting(&sql_claimed) == 1);
	assert_int_equal(param_int(&sql_claimed, 1), 2);
	/* nothing is said for its ids meanwhile */
	pop_id(3, 1);
	assert_int_equal(waiting(&sql_claim), 0);
	assert_false(listed(&fakes.acked, 2));

	rows = rows_new(CLAIM_COLS);
	add_claimed(rows, 2, 1, 1, 1);
	answer(&sql_claimed, rows);
	learn_queue(1);
	assert_int_equal(started_count, 1);
	assert_int_equal(started[0]->claim, 2);
	/* the next batch has a number of its own */
	assert_int_equal(param_int(&sql_claim, 1), 3);
}

static void
lost_claim_that_never_happened_is_released(void **state)
{
	(void)state;
	pop_id(1, 1);
	answer_error(&sql_claim, PGERR_LOST, "");
	UNTIL(waiting(&sql_claimed) == 1);
	answer(&sql_claimed, rows_new(CLAIM_COLS));
	assert_int_equal(started_count, 0);
	assert_true(listed(&fakes.acked, 1));
	assert_true(dispatch_idle(test_engine->dispatch));
}

static void
id_popped_twice_is_claimed_once(void **state)
{
	(void)state;
	pop_id(1, 1);
	pop_id(1, 1);
	assert_int_equal(array_count(&sql_claim, 3), 1);
	assert_int_equal(fakes.acked.count, 1);
	run_tasks(1); /* pops it a third time */
	pop_id(1, 1); /* and once more while it runs */
	assert_int_equal(waiting(&sql_claim), 0);
	assert_int_equal(fakes.acked.count, 3);
}

static void
busy_database_is_not_asked_again_at_once(void **state)
{
	int64_t from_ms = clock_mono_ms();

	(void)state;
	pop_id(1, 1);
	answer_error(&sql_claim, PGERR_BUSY, "53100");
	assert_int_equal(waiting(&sql_claim), 0);
	UNTIL(waiting(&sql_claim) == 1);
	assert_true(clock_mono_ms() - from_ms >= 150);
	/* nor with the question for a lost answer */
	answer_error(&sql_claim, PGERR_LOST, "");
	UNTIL(waiting(&sql_claimed) == 1);
	answer_error(&sql_claimed, PGERR_BUSY, "53100");
	assert_int_equal(waiting(&sql_claimed), 0);
	UNTIL(waiting(&sql_claimed) == 1);
}

static void
claim_that_fails_at_a_drain_leaves_nothing_behind(void **state)
{
	(void)state;
	pop_id(1, 1);
	engine_drain(test_engine);
	answer_error(&sql_claim, PGERR_BUSY, "57014");
	assert_true(listed(&fakes.given_back, 1));
	assert_true(dispatch_idle(test_engine->dispatch));
	assert_int_equal(waiting(&sql_leave), 1);
}

static void
drain_waits_for_the_look_at_its_own_list(void **state)
{
	(void)state;
	fakes.looking = true;
	engine_drain(test_engine);
	assert_int_equal(waiting(&sql_leave), 0);
	pop_id(1, 1);
	assert_true(listed(&fakes.given_back, 1));
	assert_int_equal(waiting(&sql_leave), 0);
	fakes.looking = false;
	fakes.events->settled(fakes.events_arg);
	assert_int_equal(waiting(&sql_leave), 1);
}

static void
drain_without_a_database_waits_for_outcomes_only(void **state)
{
	(void)state;
	run_tasks(1);
	pop_id(2, 1);
	engine_drain(test_engine);
	answer_error(&sql_claim, PGERR_LOST, "");
	for (int i = STORE_SUBMIT; i <= STORE_READ; i++)
		fakes.lane_up[i] = false;
	fakes.store_cb(STORE_WORK, false, NULL, fakes.store_arg);
	attempt_succeeded(started[0], NULL, 0);
	/* a claim in doubt, and an outcome: that is kept until patience ends */
	UNTIL(loop_now_ms(test_loop) - test_engine->work_down_ms > 2700);
	assert_int_equal(engine_ended, 0);
	engine_give_up(test_engine);
	assert_int_equal(engine_ended, 1);
}

static void
id_that_comes_without_a_database_goes_back(void **state)
{
	(void)state;
	fakes.lane_up[STORE_WORK] = false;
	fakes.store_cb(STORE_WORK, false, NULL, fakes.store_arg);
	pop_id(1, 1);
	assert_true(listed(&fakes.given_back, 1));
}

static void
queue_asked_for_later_is_not_gone(void **state)
{
	struct pgrows *rows = rows_new(CLAIM_COLS);

	(void)state;
	pop_id(1, 1);
	add_claimed(rows, 1, 1, 1, 1);
	answer(&sql_claim, rows); /* queue 1 is being asked for */
	pop_id(2, 1);
	rows = rows_new(CLAIM_COLS);
	add_claimed(rows, 2, 1, 1, 2);
	answer(&sql_claim, rows);
	learn_queue(1);
	assert_int_equal(started_count, 1);
	assert_int_equal(waiting(&sql_finish), 0);
	UNTIL(waiting(&sql_queues_by_id) == 1);
	learn_queue(2);
	assert_int_equal(started_count, 2);
	attempt_succeeded(started[0], NULL, 0);
	attempt_succeeded(started[1], NULL, 0);
}

static void
direct_claim_returns_what_has_no_place(void **state)
{
	struct pgrows *rows = rows_new(CLAIM_COLS);

	(void)state;
	dispatch_refused(test_engine->dispatch);
	turn();
	assert_int_equal(waiting(&sql_claim_direct), 1);
	add_claimed(rows, 1, 4, 99, 1); /* no type of ours */
	answer(&sql_claim_direct, rows);
	assert_int_equal(waiting(&sql_finish), 1);
	assert_int_equal(array_int(&sql_finish, 3, 0), 4);
	assert_int_equal(array_int(&sql_finish, 5, 0), TASK_QUEUED);
}

static void
late_redis_is_not_waited_for(void **state)
{
	(void)state;
	fakes.events->late(fakes.events_arg);
	fakes.events->late(fakes.events_arg); /* as at each command */
	turn();
	assert_int_equal(waiting(&sql_claim_direct), 1);
	answer(&sql_claim_direct, rows_new(CLAIM_COLS));
}

/* ---------------------------------------------------------------- outcomes */

static void
lost_finish_is_sent_again_and_checked(void **state)
{
	(void)state;
	run_tasks(2);
	attempt_succeeded(started[0], NULL, 0);
	attempt_succeeded(started[1], NULL, 0);
	turn();
	answer_error(&sql_finish, PGERR_LOST, "");
	UNTIL(waiting(&sql_finish) == 1);
	assert_int_equal(array_count(&sql_finish, 2), 2);
	/* the first was recorded by the lost one; the second by nobody */
	record(&sql_finish, 2, 2, TASK_SUCCEEDED);
	assert_int_equal(waiting(&sql_finished), 1);
	assert_false(listed(&fakes.acked, 1));
	record(&sql_finished, 1, 1, TASK_SUCCEEDED);
	assert_true(listed(&fakes.acked, 1));
	assert_int_equal(counted(SCORE_tasks_succeeded_total), 2);
	assert_int_equal(counted(SCORE_tasks_fenced_total), 0);
	assert_true(finish_idle(test_engine->finish));
}

static void
late_outcome_is_fenced_without_a_question(void **state)
{
	(void)state;
	run_tasks(1);
	attempt_succeeded(started[0], NULL, 0);
	turn();
	answer(&sql_finish, rows_new(DONE_COLS));
	assert_int_equal(waiting(&sql_finished), 0);
	assert_int_equal(counted(SCORE_tasks_fenced_total), 1);
	assert_true(dispatch_idle(test_engine->dispatch));
}

static void
refused_data_fail_their_own_task_only(void **state)
{
	(void)state;
	run_tasks(3);
	for (int i = 0; i < 3; i++)
		attempt_succeeded(started[i], mem_strdup("1"), 1);
	turn();
	assert_int_equal(array_count(&sql_finish, 2), 3);
	answer_error(&sql_finish, PGERR_DATA, "22021");
	assert_int_equal(array_count(&sql_finish, 2), 1);
	record(&sql_finish, 1, 1, TASK_SUCCEEDED);
	answer_error(&sql_finish, PGERR_DATA, "22021"); /* the culprit */
	assert_int_equal(array_int(&sql_finish, 5, 0), TASK_FAILED);
	assert_true(array_null(&sql_finish, 7, 0));
	/* even its reason is refused: it rests, and the third does not wait for it */
	answer_error(&sql_finish, PGERR_DATA, "22021");
	UNTIL(waiting(&sql_finish) == 1);
	record(&sql_finish, 3, 3, TASK_SUCCEEDED);
	UNTIL(waiting(&sql_finish) == 1);
	assert_true(array_null(&sql_finish, 9, 0));
	record(&sql_finish, 2, 2, TASK_FAILED);
	assert_true(dispatch_idle(test_engine->dispatch));
}

static void
outcome_that_always_fails_blocks_no_other(void **state)
{
	struct uuid id, first;

	(void)state;
	run_tasks(2);
	attempt_succeeded(started[0], NULL, 0);
	attempt_succeeded(started[1], NULL, 0);
	turn();
	answer_error(&sql_finish, PGERR_BUG, "XX001");
	task_id(1, &first);
	for (int i = 0; i < 3; i++) {
		UNTIL(waiting(&sql_finish) == 1);
		assert_int_equal(array_count(&sql_finish, 2), 1);
		array_uuid(&sql_finish, 2, 0, &id);
		if (uuid_eq(&id, &first))
			answer_error(&sql_finish, PGERR_BUG, "XX001");
		else
			record(&sql_finish, 2, 2, TASK_SUCCEEDED);
	}
	assert_int_equal(counted(SCORE_tasks_succeeded_total), 1);
	UNTIL(waiting(&sql_finish) == 1);
	record(&sql_finish, 1, 1, TASK_SUCCEEDED);
	assert_true(dispatch_idle(test_engine->dispatch));
}

/* ---------------------------------------------------------------- retries */

/* task n is claimed under a rule of its own, and runs */
static void
run_with_backoff(int n, const char *rule)
{
	struct pgrows *rows = rows_new(CLAIM_COLS);
	struct uuid id;

	task_id(n, &id);
	pop_id(n, 1);
	rows_add(rows, "iuiiiiinttln", 1, &id, 1, 1, 1, 0, 25, "null", rule,
	    (int64_t)1000000);
	answer(&sql_claim, rows);
	if (waiting(&sql_queues_by_id) > 0)
		learn_queue(1);
}

static void
task_rests_by_its_own_rule_or_its_types(void **state)
{
	struct type_entry *t = types_by_id(test_engine->types, 1);

	(void)state;
	assert_int_equal(
	    backoff_parse_setting("fixed delay=7s", &t->own_backoff, NULL), 0);
	t->backoff = &t->own_backoff;
	run_with_backoff(1, "[5,60]");
	run_with_backoff(2, "{\"kind\":\"none\"}"); /* somebody else wrote it */
	assert_int_equal(started_count, 2);
	/* a second of 1970, told since 2000 on the wire */
	assert_true(started[0]->deadline_us == 946684800LL * 1000000 + 1000000);
	attempt_failed(started[0], OUTCOME_RETRY, "failed", "", 0, -1);
	attempt_failed(started[1], OUTCOME_RETRY, "failed", "", 0, -1);
	turn();
	assert_int_equal(array_int(&sql_finish, 6, 0), 5000);
	assert_int_equal(array_int(&sql_finish, 6, 1), 7000);
	record(&sql_finish, 1, 2, TASK_SCHEDULED);
}

static void
outcome_is_what_the_database_decided(void **state)
{
	struct pgrows *rows = rows_new(DONE_COLS);
	struct uuid id;

	(void)state;
	run_tasks(3);
	for (int i = 0; i < 3; i++)
		attempt_failed(started[i], OUTCOME_RETRY, "failed", "", 0, -1);
	turn();
	task_id(1, &id);
	rows_add(rows, "iuhnn", 1, &id, TASK_FAILED); /* the retry would be too late */
	task_id(2, &id);
	rows_add(rows, "iuhnn", 1, &id, TASK_CANCELLED);
	task_id(3, &id);
	rows_add(rows, "iuhnn", 1, &id, TASK_SCHEDULED);
	answer(&sql_finish, rows);
	assert_int_equal(counted(SCORE_tasks_failed_total), 1);
	assert_int_equal(counted(SCORE_tasks_cancelled_total), 1);
	assert_int_equal(counted(SCORE_tasks_retried_total), 1);
	assert_true(dispatch_idle(test_engine->dispatch));
}

static void
retry_that_was_recorded_and_moved_on_is_counted_as_one(void **state)
{
	(void)state;
	run_tasks(1);
	attempt_failed(started[0], OUTCOME_RETRY, "failed", "", 0, -1);
	turn();
	answer_error(&sql_finish, PGERR_LOST, "");
	UNTIL(waiting(&sql_finish) == 1);
	answer(&sql_finish, rows_new(DONE_COLS));
	record(&sql_finished, 1, 1, TASK_EXPIRED);
	assert_int_equal(counted(SCORE_tasks_retried_total), 1);
}

/* ---------------------------------------------------------------- suspects */

/* these are suspects */
static void
suspect(int first, int last)
{
	struct pgrows *rows = rows_new("iui");
	struct uuid id;

	for (int n = first; n <= last; n++) {
		task_id(n, &id);
		rows_add(rows, "iui", 1, &id, 2);
	}
	answer(&sql_suspects, rows);
}

static void
suspect_runs_when_nothing_else_does(void **state)
{
	struct pgrows *rows;

	(void)state;
	run_tasks(1);
	for (int n = 2; n <= 4; n++)
		pop_id(n, 1);
	rows = rows_new(CLAIM_COLS);
	add_claimed(rows, 2, 3, 1, 1);
	answer(&sql_claim, rows);
	rows = rows_new(CLAIM_COLS);
	add_claimed(rows, 3, 4, 1, 1);
	add_claimed(rows, 4, 2, 1, 1); /* only one was lost: not asked about */
	assert_int_equal(waiting(&sql_suspects), 1);
	answer(&sql_claim, rows);
	assert_int_equal(started_count, 2);
	suspect(2, 2);
	pop_id(5, 1); /* nothing else is taken */
	assert_true(listed(&fakes.given_back, 5));
	/* of the second one it is not known yet; it goes back */
	suspect(3, 3);
	assert_int_equal(array_int(&sql_finish, 5, 0), TASK_QUEUED);
	assert_true(array_null(&sql_finish, 8, 0)); /* it never began */
	record(&sql_finish, 3, 3, TASK_QUEUED);
	assert_true(listed(&fakes.pushed_first, 3));
	fakes.line_empty = true;
	assert_false(adopt_may(test_engine->dispatch, POOL_MAIN));
	attempt_succeeded(started[0], NULL, 0);
	turn();
	record(&sql_finish, 1, 1, TASK_SUCCEEDED);
	assert_int_equal(started_count, 2);
	attempt_succeeded(started[1], NULL, 0);
	turn();
	assert_int_equal(started_count, 2); /* not before that is recorded */
	record(&sql_finish, 4, 4, TASK_SUCCEEDED);
	assert_int_equal(started_count, 3);
	assert_int_equal(started[2]->number, 3);
	assert_true(dispatch_has_suspect(test_engine->dispatch));
	attempt_succeeded(started[2], NULL, 0);
	turn();
	record(&sql_finish, 2, 2, TASK_SUCCEEDED);
	assert_false(dispatch_has_suspect(test_engine->dispatch));
	assert_true(adopt_may(test_engine->dispatch, POOL_MAIN));
	pop_id(6, 1);
	assert_int_equal(waiting(&sql_claim), 1);
}

static void
task_that_was_lost_twice_and_is_no_suspect_runs_beside_others(void **state)
{
	struct pgrows *rows = rows_new(CLAIM_COLS);

	(void)state;
	run_tasks(1);
	pop_id(2, 1);
	add_claimed(rows, 2, 3, 1, 1);
	answer(&sql_claim, rows);
	assert_int_equal(started_count, 1);
	answer_error(&sql_suspects, PGERR_BUSY, "57014");
	UNTIL(waiting(&sql_suspects) == 1);
	suspect(1, 0);
	assert_int_equal(started_count, 2);
	attempt_succeeded(started[0], NULL, 0);
	attempt_succeeded(started[1], NULL, 0);
}

static void
suspect_goes_back_when_the_worker_leaves(void **state)
{
	struct pgrows *rows = rows_new(CLAIM_COLS);

	(void)state;
	run_tasks(1);
	pop_id(2, 1);
	add_claimed(rows, 2, 3, 1, 1);
	answer(&sql_claim, rows);
	suspect(2, 2);
	engine_drain(test_engine);
	turn();
	assert_int_equal(array_int(&sql_finish, 5, 0), TASK_QUEUED);
	record(&sql_finish, 2, 2, TASK_QUEUED);
	attempt_succeeded(started[0], NULL, 0);
	turn();
	record(&sql_finish, 1, 1, TASK_SUCCEEDED);
	assert_true(dispatch_idle(test_engine->dispatch));
}

/* ---------------------------------------------------------------- submits */

static int told_ok, told_invalid, told_unknown;

static void
on_submitted(struct submit_group *g, const struct err *err, void *arg)
{
	(void)g;
	(void)arg;
	told_ok += err == NULL;
	told_invalid += err != NULL && err->code == ERR_INVALID;
	told_unknown += err != NULL && err->code == ERR_TIMEOUT;
}

static void
accept_batch(void)
{
	struct pgrows *rows = rows_new("uhl");
	struct uuid id;

	for (int i = 0; i < array_count(&sql_submit, 0); i++) {
		array_uuid(&sql_submit, 0, i, &id);
		rows_add(rows, "uhl", &id, TASK_QUEUED, (int64_t)1);
	}
	answer(&sql_submit, rows);
}

static bool
has_culprit(const struct uuid *culprit)
{
	struct uuid id;

	for (int i = 0; i < array_count(&sql_submit, 0); i++) {
		array_uuid(&sql_submit, 0, i, &id);
		if (uuid_eq(&id, culprit))
			return true;
	}
	return false;
}

static void
refused_submit_is_found_by_halving(void **state)
{
	struct submit_item items[7];
	struct submit_group groups[7];
	struct err err = ERR_INIT;

	(void)state;
	memset(items, 0, sizeof(items));
	memset(groups, 0, sizeof(groups));
	told_ok = told_invalid = 0;
	for (int i = 0; i < 7; i++) {
		items[i].queue_id = items[i].type_id = 1;
		groups[i] = (struct submit_group){
		    .app_id = 1, .items = &items[i], .count = 1, .cb = on_submitted};
		assert_int_equal(submit_add(test_engine->submit, &groups[i], &err), 0);
	}
	turn();
	assert_int_equal(array_count(&sql_submit, 0), 7);
	for (int rounds = 0; waiting(&sql_submit) > 0; rounds++) {
		assert_true(rounds < 12);
		if (has_culprit(&items[4].id))
			answer_error(&sql_submit, PGERR_DATA, "22021");
		else
			accept_batch();
	}
	assert_int_equal(told_ok, 6);
	assert_int_equal(told_invalid, 1);
	assert_int_equal(fakes.pushed.count, 6);
	assert_true(submit_idle(test_engine->submit));
}

static struct submit_item line_items[32];
static struct submit_group line_groups[32];

/* tasks first to last, one caller each */
static void
submit_tasks(int first, int last)
{
	struct err err = ERR_INIT;

	for (int i = first; i <= last; i++) {
		line_items[i] = (struct submit_item){.queue_id = 1, .type_id = 1};
		line_groups[i] = (struct submit_group){.app_id = 1,
		    .items = &line_items[i],
		    .count = 1,
		    .cb = on_submitted};
		assert_int_equal(
		    submit_add(test_engine->submit, &line_groups[i], &err), 0);
	}
	turn();
}

static void
under_load_a_batch_waits_for_the_callers_of_the_one_before(void **state)
{
	(void)state;
	submit_tasks(0, 7);
	submit_tasks(8, 11);
	assert_int_equal(array_count(&sql_submit, 0), 8);
	accept_batch();
	assert_int_equal(waiting(&sql_submit), 0);
	submit_tasks(12, 19); /* they are back: nobody else is waited for */
	assert_int_equal(array_count(&sql_submit, 0), 12);
	/* if they do not come back, the others go without them */
	submit_tasks(20, 21);
	accept_batch();
	assert_int_equal(waiting(&sql_submit), 0);
	UNTIL(waiting(&sql_submit) == 1);
	assert_int_equal(array_count(&sql_submit, 0), 2);
	/* without load nobody waits */
	submit_tasks(22, 23);
	accept_batch();
	assert_int_equal(waiting(&sql_submit), 1);
	accept_batch();
}

/* ---------------------------------------------------------------- adoption */

static struct submit_item adoptees[4];
static struct submit_group adopters[4];

/* a worker in the blocking pop is given so many tasks of type shoal.noop, queue 1 */
static void
submit_while_nothing_waits(int count)
{
	struct err err = ERR_INIT;

	memset(adoptees, 0, sizeof(adoptees));
	told_ok = told_invalid = told_unknown = 0;
	fakes.line_empty = true;
	for (int i = 0; i < count; i++) {
		adoptees[i] = (struct submit_item){.queue_id = 1,
		    .type_id = 1,
		    .max_attempts = 25,
		    .payload = "{\"n\":1}",
		    .payload_len = 7};
		adopters[i] = (struct submit_group){
		    .app_id = 1, .items = &adoptees[i], .count = 1, .cb = on_submitted};
		assert_int_equal(
		    submit_add(test_engine->submit, &adopters[i], &err), 0);
	}
	turn();
	assert_int_equal(waiting(&sql_submit_adopt), 1);
	assert_int_equal(waiting(&sql_submit), 0);
}

/* the rows of the batch, in these states */
static void
store_batch(const enum task_state states[], int count)
{
	struct pgrows *rows = rows_new("uhl");

	for (int i = 0; i < count; i++)
		rows_add(rows, "uhl", &adoptees[i].id, (int)states[i], (int64_t)1);
	answer(&sql_submit_adopt, rows);
}

static void
task_that_nothing_waits_before_runs_where_it_was_stored(void **state)
{
	static const enum task_state running[] = {TASK_RUNNING, TASK_RUNNING};

	(void)state;
	submit_while_nothing_waits(2);
	assert_int_equal(array_count(&sql_submit_adopt, 15), 2);
	assert_int_equal(types_running(test_engine->types), 2);
	store_batch(running, 2);
	learn_queue(1);
	assert_int_equal(told_ok, 2);
	assert_int_equal(started_count, 2);
	assert_int_equal(started[0]->number, 1);
	assert_int_equal(started[0]->payload_len, 7);
	assert_int_equal(fakes.pushed.count, 0);
	attempt_succeeded(started[0], NULL, 0);
	attempt_succeeded(started[1], NULL, 0);
	assert_int_equal(types_running(test_engine->types), 0);
	turn();
	/* under the batch's number, and its note goes with the last of them */
	assert_int_equal(array_int(&sql_finish, 4, 0), 1);
	assert_int_equal(array_count(&sql_finish, 10), 1);
	assert_int_equal(fakes.acked.count, 0);
}

#define TRACE_ID "0af7651916cd43dd8448eb211c80319c"

/* what whoever made them said; the second has none */
static void
traces_go_in_with_the_batch_and_out_with_the_attempts(void **state)
{
	static const enum task_state running[] = {TASK_RUNNING, TASK_RUNNING};
	static const char trace[] = "00-" TRACE_ID "-b7ad6b7169203331-01 a=b";
	struct attempt_log al;
	struct err err = ERR_INIT;
	struct pgrows *rows;

	(void)state;
	told_ok = 0;
	fakes.line_empty = true;
	for (int i = 0; i < 2; i++) {
		adoptees[i] = (struct submit_item){.queue_id = 1,
		    .type_id = 1,
		    .max_attempts = 25,
		    .trace = i == 0 ? trace : NULL,
		    .trace_len = i == 0 ? sizeof(trace) - 1 : 0};
		adopters[i] = (struct submit_group){
		    .app_id = 1, .items = &adoptees[i], .count = 1, .cb = on_submitted};
		assert_int_equal(
		    submit_add(test_engine->submit, &adopters[i], &err), 0);
	}
	turn();
	assert_int_equal(waiting(&sql_submit_adopt_traced), 1);
	assert_int_equal(array_count(&sql_submit_adopt_traced, 16), 2);
	rows = rows_new("uhl");
	for (int i = 0; i < 2; i++)
		rows_add(rows, "uhl", &adoptees[i].id, (int)running[i], (int64_t)1);
	answer(&sql_submit_adopt_traced, rows);
	learn_queue(1);
	assert_int_equal(started_count, 2);
	assert_string_equal(started[0]->trace, trace);
	assert_null(started[1]->trace);
	assert_null(attempt_log(started[1], &al)->trace);
	assert_null(al.ctx.span);
	assert_string_equal(attempt_log(started[0], &al)->trace, TRACE_ID);
	assert_string_equal(al.ctx.kind, "task");
	assert_int_equal(strlen(al.ctx.id), 36);
	assert_int_equal(strlen(al.ctx.span), 16);
}

static void
trace_of_other_hands_is_none(void **state)
{
	static const char *const traces[] = {
	    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "",
	    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 \r\nX: y",
	    "00-00000000000000000000000000000000-b7ad6b7169203331-01"};
	struct pgrows *rows;
	struct uuid id;

	(void)state;
	for (int i = 0; i < (int)COUNT_OF(traces); i++) {
		task_id(i + 1, &id);
		pop_id(i + 1, 1);
		rows = rows_new(CLAIM_COLS);
		rows_add(
		    rows, "iuiiiiintnnt", 1, &id, 1, 1, 1, 0, 25, "null", traces[i]);
		answer(&sql_claim, rows);
		if (waiting(&sql_queues_by_id) > 0)
			learn_queue(1);
		assert_int_equal(started_count, i + 1);
		if (i == 0)
			assert_string_equal(started[i]->trace, traces[i]);
		else
			assert_null(started[i]->trace);
	}
}

static void
task_of_a_paused_queue_is_stored_and_not_run(void **state)
{
	static const enum task_state states[] = {TASK_RUNNING, TASK_QUEUED};

	(void)state;
	submit_while_nothing_waits(2);
	adoptees[1].queue_id = 2;
	store_batch(states, 2);
	learn_queue(1);
	assert_int_equal(told_ok, 2);
	assert_int_equal(started_count, 1);
	assert_int_equal(types_running(test_engine->types), 1);
	/* a push would bring it back for nothing */
	assert_int_equal(fakes.pushed.count, 0);
}

static void
adopted_batch_whose_answer_was_lost_is_asked_for(void **state)
{
	struct pgrows *rows;

	(void)state;
	submit_while_nothing_waits(2);
	assert_int_equal(dispatch_first_open_claim(test_engine->dispatch), 1);
	answer_error(&sql_submit_adopt, PGERR_LOST, "");
	assert_int_equal(told_unknown, 2);
	assert_int_equal(types_running(test_engine->types), 0);
	assert_false(dispatch_idle(test_engine->dispatch));
	/* the audit leaves it alone until the answer is here */
	assert_int_equal(dispatch_first_open_claim(test_engine->dispatch), 1);
	UNTIL(waiting(&sql_claimed) == 1);
	assert_int_equal(param_int(&sql_claimed, 1), 1);
	rows = rows_new(CLAIM_COLS);
	rows_add(rows, "iuiiiiintnnn", 1, &adoptees[1].id, 1, 1, 1, 0, 25, "null");
	answer(&sql_claimed, rows);
	learn_queue(1);
	assert_int_equal(started_count, 1);
	assert_int_equal(started[0]->claim, 1);
	assert_int_equal(dispatch_first_open_claim(test_engine->dispatch), 2);
}

static void
what_was_adopted_while_the_worker_began_to_leave_goes_back(void **state)
{
	static const enum task_state running[] = {TASK_RUNNING};

	(void)state;
	submit_while_nothing_waits(1);
	dispatch_stop(test_engine->dispatch);
	store_batch(running, 1);
	learn_queue(1);
	assert_int_equal(told_ok, 1);
	assert_int_equal(started_count, 0);
	turn();
	assert_int_equal(array_int(&sql_finish, 5, 0), TASK_QUEUED);
}

static void
tasks_are_not_adopted_while_others_wait_or_an_eighth_of_the_slots_is_left(void **state)
{
	struct type_entry *t;
	int taken = 0;

	(void)state;
	t = types_by_id(test_engine->types, 1);
	fakes.length = test_engine->settings->node_slots / 2 + 1;
	assert_false(adopt_may(test_engine->dispatch, POOL_MAIN));
	fakes.length--; /* all of it would fit here twice */
	assert_true(adopt_may(test_engine->dispatch, POOL_MAIN));
	fakes.length++;
	fakes.line_empty = true;
	assert_true(adopt_may(test_engine->dispatch, POOL_MAIN));
	fakes.length = 100000; /* spilling */
	assert_false(adopt_may(test_engine->dispatch, POOL_MAIN));
	while (adopt_place(test_engine->dispatch, 1) == t)
		taken++;
	assert_int_equal(taken, test_engine->settings->node_slots * 7 / 8);
}

/* ---------------------------------------------------------------- queues that are held
 */

/* one task for queue 1, which its caller believes to be held; stored as queued */
static void
submit_held(enum submit_held held)
{
	struct err err = ERR_INIT;
	struct pgrows *rows = rows_new("uhl");

	fakes.line_empty = true;
	adoptees[0] = (struct submit_item){
	    .queue_id = 1, .type_id = 1, .max_attempts = 25, .held = held};
	adopters[0] = (struct submit_group){
	    .app_id = 1, .items = &adoptees[0], .count = 1, .cb = on_submitted};
	assert_int_equal(submit_add(test_engine->submit, &adopters[0], &err), 0);
	turn();
	assert_int_equal(waiting(&sql_submit_adopt), 0);
	rows_add(rows, "uhl", &adoptees[0].id, (int)TASK_QUEUED, (int64_t)1);
	answer(&sql_submit, rows);
	assert_int_equal(fakes.pushed.count, 0);
}

static void
task_of_a_limited_queue_is_left_to_the_feeder(void **state)
{
	(void)state;
	fakes.published[0] = '\0';
	submit_held(SUBMIT_PAUSED);
	turn();
	assert_null(strstr(fakes.published, "feed"));
	submit_held(SUBMIT_LIMITED);
	turn();
	assert_non_null(strstr(fakes.published, "feed"));
}

static void
answer_names(int queue_id, bool paused, bool known)
{
	struct pgrows *rows = rows_new(known ? "iitbbiiiit" : "htibbiiiit");

	if (known)
		rows_add(rows, "iitbbnnnnn", queue_id, 1, "q", paused, 0);
	else
		rows_add(rows, "htibbnnnnn", 0, "q", queue_id, paused, 0);
	answer(known ? &sql_queues_by_id : &sql_names, rows);
}

static void
no_answer(const struct err *err, void *arg)
{
	(void)arg;
	assert_null(err);
}

static void
what_is_set_for_a_queue_is_asked_again_when_it_changed(void **state)
{
	static const char *const queues[] = {"q"};
	struct names *n = test_engine->names;
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(
	    names_learn(n, 1, queues, 1, NULL, 0, no_answer, NULL, &err), 0);
	answer_names(9, false, false);
	assert_int_equal(names_queue_id(n, 1, "q"), 9);
	assert_false(names_have_policies(n));
	assert_null(names_policy(n, 9));
	/* fresh: its use asks nothing */
	turn();
	assert_int_equal(waiting(&sql_queues_by_id), 0);
	fakes.events->ctl("queue 9", 7, fakes.events_arg);
	fakes.events->ctl("queue 10", 8, fakes.events_arg); /* not known here */
	fakes.events->ctl("queue x", 7, fakes.events_arg);
	UNTIL(waiting(&sql_queues_by_id) == 1);
	assert_int_equal(array_count(&sql_queues_by_id, 0), 1);
	answer_names(9, true, true);
	assert_true(names_have_policies(n));
	assert_true(names_policy(n, 9)->paused);
	/* while one question is under way a second one waits for it */
	fakes.events->ctl("queue 9", 7, fakes.events_arg);
	UNTIL(waiting(&sql_queues_by_id) == 1);
	fakes.events->ctl("queue 9", 7, fakes.events_arg);
	turn();
	assert_int_equal(waiting(&sql_queues_by_id), 1);
	answer_error(&sql_queues_by_id, PGERR_LOST, "");
	assert_true(names_policy(n, 9)->paused);
	UNTIL(waiting(&sql_queues_by_id) == 1);
	answer_names(9, false, true);
	assert_null(names_policy(n, 9));
}

#define ENGINE_TEST(f) cmocka_unit_test_setup_teardown(f, engine_setup, engine_teardown)

/* ---------------------------------------------------------------- pools */

static int
two_pools_setup(void **state)
{
	int rc;

	engine_pools_served = "main, gpu";
	rc = engine_setup(state);
	engine_pools_served = NULL;
	return rc;
}

#define LIST_GPU 2 /* the first pool that is named after main */

static void
places_are_shared_between_lists_that_have_more(void **state)
{
	struct dispatch *d = test_engine->dispatch;

	(void)state;
	assert_int_equal(test_engine->settings->node_slots, 256);
	assert_int_equal(pools_number(test_engine->pools, "gpu", 3), 1);
	dispatch_more_ended(d, LIST_MAIN, 1000);
	dispatch_more_ended(d, LIST_GPU, 1000);
	turn();
	assert_int_equal(fakes.pops, 128);
	assert_int_equal(fakes.asked[LIST_GPU], 128);
	/* what is still under way for one of them is not asked for again */
	fakes.pops = 0;
	dispatch_more_ended(d, LIST_MAIN, 1000);
	turn();
	assert_int_equal(fakes.pops, 128);
	/* where one has nothing, the other gets all */
	fakes.pops = fakes.asked[LIST_GPU] = 0;
	dispatch_more_ended(d, LIST_GPU, 0);
	dispatch_more_ended(d, LIST_MAIN, 1000);
	turn();
	assert_int_equal(fakes.pops, 256);
}

static void
an_id_without_a_place_goes_back_to_its_own_list(void **state)
{
	struct elem el = {.app_id = 1, .type_id = 77, .list = LIST_GPU};

	(void)state;
	task_id(9, &el.id);
	dispatch_popped(test_engine->dispatch, &el); /* nobody knows that type here */
	assert_int_equal(fakes.given_back.count, 1);
	assert_int_equal(fakes.given_back.elems[0].list, LIST_GPU);
}

/* ---------------------------------------------------------------- places */

static const char *
places(void)
{
	static char text[256];
	struct strbuf sb;

	strbuf_init(&sb, sizeof(text) - 1);
	types_places_text(test_engine->types, &sb);
	snprintf(text, sizeof(text), "%s", sb.data);
	strbuf_fini(&sb);
	return text;
}

static void
a_handler_may_take_its_types_places_away_and_give_them_back(void **state)
{
	struct type_entry *t = types_by_id(test_engine->types, 1);
	struct dispatch *d = test_engine->dispatch;

	(void)state;
	t->metered = true;
	t->limit = 8;
	run_tasks(3);
	assert_non_null(strstr(places(), " 1:5"));
	/* fewer than run: none are free, which is not the -1 of types without places */
	handler_restrain(d, t, 1);
	assert_non_null(strstr(places(), " 1:0"));
	assert_null(strstr(places(), "1:-"));
	/* what was on its way goes back, unclaimed */
	pop_id(4, 1);
	turn();
	assert_int_equal(waiting(&sql_claim), 0);
	assert_true(listed(&fakes.given_back, 4));
	/* those that run end as ever; then there is the one */
	for (size_t i = 0; i < 3; i++)
		attempt_succeeded(started[i], NULL, 0);
	assert_non_null(strstr(places(), " 1:1"));
	handler_restrain(d, t, 0);
	assert_non_null(strstr(places(), " 1:0"));
	handler_restrain(d, t, 100); /* its settings' limit stays */
	assert_non_null(strstr(places(), " 1:8"));
	handler_restrain(d, t, -1);
	assert_non_null(strstr(places(), " 1:8"));
	turn();
	record(&sql_finish, 1, 3, TASK_SUCCEEDED);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		places_are_shared_between_lists_that_have_more, two_pools_setup,
		engine_teardown),
	    cmocka_unit_test_setup_teardown(
		an_id_without_a_place_goes_back_to_its_own_list, two_pools_setup,
		engine_teardown),
	    ENGINE_TEST(lost_claim_is_asked_by_its_number_and_runs_once),
	    ENGINE_TEST(lost_claim_that_never_happened_is_released),
	    ENGINE_TEST(id_popped_twice_is_claimed_once),
	    ENGINE_TEST(busy_database_is_not_asked_again_at_once),
	    ENGINE_TEST(claim_that_fails_at_a_drain_leaves_nothing_behind),
	    ENGINE_TEST(drain_waits_for_the_look_at_its_own_list),
	    ENGINE_TEST(drain_without_a_database_waits_for_outcomes_only),
	    ENGINE_TEST(id_that_comes_without_a_database_goes_back),
	    ENGINE_TEST(queue_asked_for_later_is_not_gone),
	    ENGINE_TEST(direct_claim_returns_what_has_no_place),
	    ENGINE_TEST(late_redis_is_not_waited_for),
	    ENGINE_TEST(lost_finish_is_sent_again_and_checked),
	    ENGINE_TEST(late_outcome_is_fenced_without_a_question),
	    ENGINE_TEST(refused_data_fail_their_own_task_only),
	    ENGINE_TEST(outcome_that_always_fails_blocks_no_other),
	    ENGINE_TEST(task_rests_by_its_own_rule_or_its_types),
	    ENGINE_TEST(outcome_is_what_the_database_decided),
	    ENGINE_TEST(retry_that_was_recorded_and_moved_on_is_counted_as_one),
	    ENGINE_TEST(suspect_runs_when_nothing_else_does),
	    ENGINE_TEST(task_that_was_lost_twice_and_is_no_suspect_runs_beside_others),
	    ENGINE_TEST(suspect_goes_back_when_the_worker_leaves),
	    ENGINE_TEST(refused_submit_is_found_by_halving),
	    ENGINE_TEST(under_load_a_batch_waits_for_the_callers_of_the_one_before),
	    ENGINE_TEST(task_that_nothing_waits_before_runs_where_it_was_stored),
	    ENGINE_TEST(traces_go_in_with_the_batch_and_out_with_the_attempts),
	    ENGINE_TEST(trace_of_other_hands_is_none),
	    ENGINE_TEST(task_of_a_paused_queue_is_stored_and_not_run),
	    ENGINE_TEST(adopted_batch_whose_answer_was_lost_is_asked_for),
	    ENGINE_TEST(what_was_adopted_while_the_worker_began_to_leave_goes_back),
	    ENGINE_TEST(task_of_a_limited_queue_is_left_to_the_feeder),
	    ENGINE_TEST(what_is_set_for_a_queue_is_asked_again_when_it_changed),
	    ENGINE_TEST(a_handler_may_take_its_types_places_away_and_give_them_back),
	    ENGINE_TEST(
		tasks_are_not_adopted_while_others_wait_or_an_eighth_of_the_slots_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
