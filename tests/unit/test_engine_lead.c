/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_engine_lead.c - what one worker does for others: the audit of itself, recovery,
 * the leader's watch and the feeder, over fake stores.
 */
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/lanes.h"
#include "fake_stores.h"
#include "store/schedules.h"

#define FEED_COLS "hiuilllliliiilt"

static const struct uuid other = {{9, 9, 9}};

/* ---------------------------------------------------------------- recovery */

static void
recovery_marks_before_it_takes(void **state)
{
	struct pgrows *rows;
	struct uuid id, owner;

	(void)state;
	recover_owners(test_engine->recover, &other, 1, true);
	assert_int_equal(waiting(&sql_take), 0);
	array_uuid(&sql_mark_dead, 0, 0, &owner);
	assert_true(uuid_eq(&owner, &other));
	answer_error(&sql_mark_dead, PGERR_LOST, "");
	assert_int_equal(waiting(&sql_take), 0);
	UNTIL(waiting(&sql_mark_dead) == 1); /* said again, before anything else */
	answer(&sql_mark_dead, rows_new("u"));
	answer(&sql_unlead, rows_new("u"));
	task_id(5, &id);
	rows = rows_new("iuiuihut");
	rows_add(rows, "iuiuihnn", 1, &id, 1, &other, 1, TASK_QUEUED);
	answer(&sql_take, rows);
	assert_true(listed(&fakes.pushed_first, 5));
	assert_non_null(strstr(fakes.published, " sweep"));
	assert_true(recover_idle(test_engine->recover));
}

static void
open_burial(int n, const struct uuid *owner, enum burial_end end)
{
	struct score_burial *bu = &test_engine->board->burials[n];

	score_set_uuid(bu->incarnation, owner);
	atomic_store(&bu->end, (uint8_t)end);
	atomic_store(&bu->state, BURIAL_OPEN);
}

static void
recovery_says_which_crashed_and_which_were_killed(void **state)
{
	static const struct uuid fell = {{8, 8, 8}}, killed = {{7, 7, 7}};
	struct pgrows *rows;
	struct uuid id, owner;

	(void)state;
	open_burial(0, &fell, BURIAL_CRASHED);
	open_burial(1, &killed, BURIAL_KILLED);
	recover_burials(test_engine->recover);
	answer(&sql_mark_dead, rows_new("u"));
	answer(&sql_unlead, rows_new("u"));
	if (waiting(&sql_take) == 0) { /* the first went alone */
		answer(&sql_mark_dead, rows_new("u"));
		answer(&sql_unlead, rows_new("u"));
	}
	assert_int_equal(array_count(&sql_take, 1), 1);
	assert_int_equal(array_count(&sql_take, 2), 0);
	array_uuid(&sql_take, 1, 0, &owner);
	assert_true(uuid_eq(&owner, &fell));
	/* what has ended is not queued again */
	rows = rows_new("iuiuihut");
	task_id(5, &id);
	rows_add(rows, "iuiuihnn", 1, &id, 1, &other, 1, TASK_FAILED);
	task_id(6, &id);
	rows_add(rows, "iuiuihnn", 1, &id, 1, &other, 1, TASK_CANCELLED);
	task_id(7, &id);
	rows_add(rows, "iuiuihnn", 1, &id, 1, &other, 1, TASK_QUEUED);
	answer(&sql_take, rows);
	assert_false(listed(&fakes.pushed_first, 5));
	assert_false(listed(&fakes.pushed_first, 6));
	assert_true(listed(&fakes.pushed_first, 7));
	assert_int_equal(score_total(test_engine->board, SCORE_tasks_failed_total), 1);
	assert_int_equal(score_total(test_engine->board, SCORE_tasks_lost_total), 1);
	if (waiting(&sql_mark_dead) > 0) {
		answer(&sql_mark_dead, rows_new("u"));
		answer(&sql_unlead, rows_new("u"));
		assert_int_equal(array_count(&sql_take, 1), 0);
		assert_int_equal(array_count(&sql_take, 2), 1);
		answer(&sql_take, rows_new("iuiuihut"));
	}
	assert_true(recover_idle(test_engine->recover));
}

/* ---------------------------------------------------------------- the audit */

static void
start_task(int n)
{
	struct pgrows *rows = rows_new("iuiiiiiittlt");
	struct uuid id;

	pop_id(n, 1);
	task_id(n, &id);
	rows_add(rows, "iuiiiiintnnn", 1, &id, 1, 1, 1, 0, 25, "null");
	answer(&sql_claim, rows);
	if (waiting(&sql_queues_by_id) > 0) {
		rows = rows_new("iitbbiiiit");
		rows_add(rows, "iitbbnnnnn", 1, 1, "q", 0, 0);
		answer(&sql_queues_by_id, rows);
	}
}

static void
audit_leaves_out_what_has_a_request_under_way(void **state)
{
	struct pgrows *rows;
	struct uuid id;

	(void)state;
	start_task(1);
	start_task(2);
	start_task(3);
	pop_id(4, 1); /* claim 4 is under way */
	audit_now(test_engine->audit);
	assert_int_equal(param_int(&sql_held, 1), 4);
	/* 2 ends while the question is under way; 1 is held there too; 3 was taken from
	 * us; 7 is a ghost of an old claim */
	attempt_succeeded(started[1], NULL, 0);
	turn();
	rows = rows_new("iuii");
	task_id(1, &id);
	rows_add(rows, "iuii", 1, &id, 1, started[0]->claim);
	task_id(7, &id);
	rows_add(rows, "iuii", 1, &id, 5, 2);
	answer(&sql_held, rows);
	assert_int_equal(started[0]->state, ATTEMPT_RUNNING);
	task_id(3, &id);
	assert_null(dispatch_find(test_engine->dispatch, &id));
	task_id(4, &id);
	assert_non_null(dispatch_find(test_engine->dispatch, &id));
	/* the outcome of 2 goes its way, and behind it the ghost goes back */
	assert_int_equal(array_count(&sql_finish, 2), 1);
	rows = rows_new("iuhnn");
	task_id(2, &id);
	rows_add(rows, "iuhnn", 1, &id, TASK_SUCCEEDED);
	answer(&sql_finish, rows);
	assert_int_equal(array_int(&sql_finish, 3, 0), 5);
	assert_int_equal(array_int(&sql_finish, 4, 0), 2);
	assert_int_equal(array_int(&sql_finish, 5, 0), TASK_QUEUED);
}

static void
idle_worker_is_audited_each_time(void **state)
{
	(void)state;
	audit_now(test_engine->audit);
	answer(&sql_held, rows_new("iuii"));
	audit_now(test_engine->audit);
	assert_int_equal(waiting(&sql_held), 1);
}

/* ---------------------------------------------------------------- the leader */

static void
lead(void)
{
	struct pgrows *rows = rows_new("lll");

	leader_campaign(test_engine->leader);
	rows_add(rows, "lll", (int64_t)1, (int64_t)10, (int64_t)7);
	answer(&sql_lead, rows);
	assert_true(leader_is(test_engine->leader));
	fakes.store_cb(STORE_LEAD, true, NULL, fakes.store_arg);
	UNTIL(fakes.look_cb != NULL && waiting(&sql_watch) == 1);
}

static int64_t list_length; /* in passes that do not read the list; 0: as listed */

static void
see_redis(int64_t epoch, const int ids[], size_t count, int type_id, const char *places)
{
	struct elem list[64] = {0};
	const char *const texts[] = {places};
	struct broker_view view = {.epoch = epoch,
	    .length = list_length > 0 ? list_length : (int64_t)count,
	    .list = list,
	    .list_count = count};
	broker_view_cb *cb = fakes.look_cb;

	for (size_t i = 0; i < count; i++) {
		list[i] = (struct elem){.app_id = 1, .type_id = type_id};
		task_id(ids[i], &list[i].id);
	}
	view.places = texts;
	view.place_owners = &test_engine->owner;
	view.place_count = places != NULL ? 1 : 0;
	fakes.look_cb = NULL;
	cb(&view, NULL, fakes.look_arg);
}

#define QUEUE 4		       /* of most tasks here */
#define STEP  INT64_C(1000000) /* between two of them */

static int64_t paused_set; /* what passes tell of it */
static int lane_asked; /* rows that add_due's lane was asked for; 0: it has no more */

static struct pgrows *
fed(void)
{
	struct pgrows *rows = rows_new(FEED_COLS);

	rows_add(rows, "hnnnnnllnnnnnln", 0, (int64_t)11, (int64_t)7, paused_set);
	return rows;
}

/* a task of an application's lane, of which so many were asked for; 0: its limits ended
 * it */
static void
add_task(struct pgrows *rows, int n, int app, int weight, int asked)
{
	struct uuid id;

	task_id(n, &id);
	if (asked > 0)
		rows_add(rows,
		    "hiuilnnnilii"
		    "nnn",
		    2, app, &id, 1, (int64_t)10, QUEUE + app, STEP * n, weight, asked);
	else
		rows_add(rows,
		    "hiuilnnnili"
		    "nnnn",
		    2, app, &id, 1, (int64_t)10, QUEUE + app, STEP * n, weight);
}

static void
add_due(struct pgrows *rows, int kind, int n, int type_id, int64_t age_ms)
{
	struct uuid id;

	task_id(n, &id);
	if (lane_asked > 0)
		rows_add(rows, "hiuilnnniliinnn", kind, 1, &id, type_id, age_ms, QUEUE,
		    STEP * n, 1, lane_asked);
	else
		rows_add(rows, "hiuilnnnilinnnn", kind, 1, &id, type_id, age_ms, QUEUE,
		    STEP * n, 1);
}

/* the pass under way reads the lanes from their heads */
static bool
is_whole(void)
{
	return array_count(&sql_feed, 8) == 0 || array_null(&sql_feed, 8, 0);
}

static void
next_pass(void)
{
	leader_hint(test_engine->leader, -1);
	UNTIL(fakes.look_cb != NULL);
}

static void
feeder_keeps_the_order_on_both_sides(void **state)
{
	static const int there[] = {3};
	struct pgrows *rows;

	(void)state;
	lead();
	see_redis(7, there, 1, 1, "256/256 1:-1");
	assert_int_equal(param_int(&sql_feed, 5), 513); /* twice the slots, and one */
	rows = fed();
	for (int n = 1; n <= 5; n++)
		add_due(rows, 2, n, 1, 2000);
	answer(&sql_feed, rows);
	/* 1 and 2 before 3: pushed in reverse, so that 1 is popped first; 4, 5 behind
	 */
	assert_int_equal(fakes.pushed_first.count, 2);
	assert_int_equal(fakes.pushed_first.elems[0].id.b[15], 2);
	assert_int_equal(fakes.pushed_first.elems[1].id.b[15], 1);
	assert_int_equal(fakes.pushed.count, 2);
	assert_int_equal(fakes.pushed.elems[0].id.b[15], 4);
	assert_int_equal(fakes.pushed.elems[1].id.b[15], 5);
	/* absent still: not again for a second or two */
	next_pass();
	see_redis(7, NULL, 0, 1, "256/256 1:-1");
	rows = fed();
	add_due(rows, 2, 1, 1, 2000);
	add_due(rows, 2, 3, 1, 2000);
	answer(&sql_feed, rows);
	assert_int_equal(fakes.pushed_first.count, 2);
	assert_int_equal(fakes.pushed.count, 3);
	assert_int_equal(fakes.pushed.elems[2].id.b[15], 3);
}

static void
feeder_spills_beyond_the_window(void **state)
{
	struct pgrows *rows;

	(void)state;
	lead();
	see_redis(7, NULL, 0, 1, "8/8 1:-1"); /* the least window: 64 */
	rows = fed();
	for (int n = 1; n <= 65; n++)
		add_due(rows, 2, n, 1, 10);
	answer(&sql_feed, rows);
	assert_int_equal(fakes.pushed.count, 64);
	assert_non_null(strstr(fakes.published, " spill"));
	assert_null(strstr(fakes.published, " flow"));
	/* a short pass finds nothing to read on: that may be the end, or not */
	next_pass();
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	assert_int_equal(array_count(&sql_feed, 6), 1);
	answer(&sql_feed, fed());
	assert_null(strstr(fakes.published, " flow"));
	next_pass();
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	assert_true(is_whole());
	answer(&sql_feed, fed());
	assert_non_null(strstr(fakes.published, " flow"));
}

/* 64 of many are in the list; the next pass has begun */
static void
spill(void)
{
	struct pgrows *rows;

	list_length = 0;
	lead();
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	rows = fed();
	for (int n = 1; n <= 65; n++)
		add_due(rows, 2, n, 1, 10);
	answer(&sql_feed, rows);
	fakes.pushed.count = 0;
	next_pass();
}

static void
short_passes_read_on_for_what_the_list_has_room_for(void **state)
{
	struct pgrows *rows;

	(void)state;
	spill();
	list_length = 44;
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	/* from the last row that is in the list, in the lane that it stands in */
	assert_int_equal(array_count(&sql_feed, 6), 1);
	assert_int_equal(array_int(&sql_feed, 6, 0), QUEUE);
	assert_int_equal(array_int(&sql_feed, 7, 0), 1);
	assert_int_equal(array_int(&sql_feed, 8, 0), 64 * STEP);
	assert_int_equal(param_int(&sql_feed, 5), 20);
	/* no other is as late as that one, which may come again */
	assert_int_equal(array_int(&sql_feed, 9, 0), 20 + 1);
	rows = fed();
	lane_asked = 4; /* as if it went on */
	for (int n = 65; n <= 68; n++)
		add_due(rows, 2, n, 1, 10);
	lane_asked = 0;
	answer(&sql_feed, rows);
	assert_int_equal(fakes.pushed.count, 4);
	/* a full list: a few are read, for others than those who are in it */
	next_pass();
	list_length = 64;
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	assert_int_equal(array_int(&sql_feed, 9, 0), LANE_FRESH);
	answer(&sql_feed, fed());
	assert_int_equal(fakes.pushed.count, 4);
	/* what was seen before, and nothing else: the next one looks at all */
	next_pass();
	list_length = 42;
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	assert_int_equal(array_int(&sql_feed, 8, 0), 68 * STEP);
	rows = fed();
	add_due(rows, 2, 67, 1, 10);
	add_due(rows, 2, 68, 1, 10);
	answer(&sql_feed, rows);
	assert_int_equal(fakes.pushed.count, 4);
	next_pass();
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	assert_true(is_whole());
	list_length = 0;
}

static void
a_lost_list_is_filled_from_the_heads_of_the_lanes(void **state)
{
	struct pgrows *rows;

	(void)state;
	spill();
	list_length = 40;
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	rows = fed();
	lane_asked = 4;
	for (int n = 66; n <= 69; n++)
		add_due(rows, 2, n, 1, 10);
	lane_asked = 0;
	answer(&sql_feed, rows);
	list_length = 0;
	next_pass();
	see_redis(0, NULL, 0, 1, "8/8 1:-1");
	answer(&sql_feed, fed());
	rows = rows_new("l");
	rows_add(rows, "l", (int64_t)8);
	answer(&sql_next_epoch, rows);
	UNTIL(fakes.look_cb != NULL);
	see_redis(8, NULL, 0, 1, "8/8 1:-1");
	assert_true(is_whole());
	rows = fed();
	lane_asked = 65;
	for (int n = 1; n <= 65; n++)
		add_due(rows, 2, n, 1, 10);
	lane_asked = 0;
	answer(&sql_feed, rows);
	next_pass();
	see_redis(8, NULL, 0, 1, "8/8 1:-1");
	/* on from what this pass has seen, not from where the list once was */
	assert_int_equal(array_int(&sql_feed, 8, 0), 65 * STEP);
}

static void
whole_passes_come_all_the_same(void **state)
{
	int64_t began_ms = clock_mono_ms();

	(void)state;
	spill();
	list_length = 60;
	for (int n = 66;; n++) {
		struct pgrows *rows;

		see_redis(7, NULL, 0, 1, "8/8 1:-1");
		if (is_whole())
			break;
		rows = fed();
		for (int i = 0; i < 4; i++)
			add_due(rows, 2, 4 * n + i, 1, 10);
		answer(&sql_feed, rows);
		next_pass();
	}
	assert_true(clock_mono_ms() - began_ms < 2000);
	list_length = 0;
}

static void
types_with_places_of_their_own_get_whole_passes(void **state)
{
	struct pgrows *rows;

	(void)state;
	lead();
	see_redis(7, NULL, 0, 1, "8/8 1:-1 50:1");
	rows = fed();
	for (int n = 1; n <= 65; n++)
		add_due(rows, 2, n, 1, 10);
	add_due(rows, 2, 66, 50, 10);
	answer(&sql_feed, rows);
	next_pass();
	see_redis(7, NULL, 0, 1, "8/8 1:-1 50:1");
	assert_true(is_whole());
}

/* ---------------------------------------------------------------- shares */

#define APP_A 1
#define APP_B 2

/* the list is full of A's, of which there are more; the next pass has begun */
static void
fill_with_a(void)
{
	struct pgrows *rows;

	list_length = 0;
	lead();
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	rows = fed();
	for (int n = 1; n <= 65; n++)
		add_task(rows, n, APP_A, 1, 65);
	answer(&sql_feed, rows);
	assert_int_equal(fakes.pushed.count, 64);
	fakes.pushed.count = 0;
	next_pass();
	list_length = 64;
}

/* how many of B's tasks (from 100 on) are among the first count of a list */
static int
count_b(const struct fake_list *l, size_t count)
{
	int found = 0;

	for (size_t i = 0; i < count; i++)
		found += l->elems[i].app_id == APP_B;
	return found;
}

static void
a_newcomer_goes_to_the_popping_end_of_a_full_list(void **state)
{
	struct pgrows *rows;

	(void)state;
	fill_with_a();
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	rows = fed();
	for (int n = 65; n <= 80; n++)
		add_task(rows, n, APP_A, 1, 16);
	add_task(rows, 100, APP_B, 1, 16);
	answer(&sql_feed, rows);
	assert_int_equal(fakes.pushed_first.count, 1);
	assert_true(listed(&fakes.pushed_first, 100));
	assert_int_equal(fakes.pushed.count, 0);
	list_length = 0;
}

static void
what_is_more_urgent_than_the_list_goes_in_front_of_it(void **state)
{
	struct pgrows *rows;

	(void)state;
	fill_with_a();
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	assert_true(param_int(&sql_feed, 11) >= 200);
	rows = fed();
	for (int n = 65; n <= 80; n++)
		add_task(rows, n, APP_A, 1, 16);
	/* of the same lane, from a place that the list has left behind */
	add_task(rows, 3, APP_A, 1, 0);
	answer(&sql_feed, rows);
	/* the fake list has room for none, and 3 was pushed before: it is on its way */
	assert_int_equal(fakes.pushed_first.count, 0);
	next_pass();
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	rows = fed();
	add_task(rows, 0, APP_A, 1, 0);
	answer(&sql_feed, rows);
	assert_int_equal(fakes.pushed_first.count, 1);
	list_length = 0;
}

static void
a_loaded_newcomer_gets_its_share_of_the_list_and_no_more(void **state)
{
	int there[64];
	struct pgrows *rows;
	size_t first;

	(void)state;
	for (int n = 0; n < 64; n++)
		there[n] = n + 1;
	fill_with_a();
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	rows = fed();
	for (int n = 65; n <= 80; n++)
		add_task(rows, n, APP_A, 1, 16);
	for (int n = 100; n < 132; n++)
		add_task(rows, n, APP_B, 1, 32);
	answer(&sql_feed, rows);
	/* some at once, and the next pass makes the list anew */
	first = fakes.pushed_first.count;
	assert_true(first > 0 && first <= 16);
	assert_int_equal(fakes.pushed_first.elems[first - 1].id.b[15], 100);
	list_length = 0;
	UNTIL(fakes.look_cb != NULL);
	see_redis(7, there, 64, 1, "8/8 1:-1");
	assert_true(is_whole());
	assert_int_equal(param_int(&sql_feed, 5), 65);
	rows = fed();
	for (int n = 1; n <= 65; n++)
		add_task(rows, n, APP_A, 1, 65);
	for (int n = 100; n < 165; n++)
		add_task(rows, n, APP_B, 1, 65);
	answer(&sql_feed, rows);
	assert_int_equal(fakes.replaced_count, 1);
	assert_int_equal(fakes.replaced.count, 64);
	/* what it got in front counts: the rest of its share lies behind it */
	assert_in_range(count_b(&fakes.replaced, 64) + (int)first, 32, 40);
	assert_in_range(count_b(&fakes.replaced, 32) + (int)first, 16, 24);
}

static void
a_weight_of_three_gets_three_quarters(void **state)
{
	struct pgrows *rows;

	(void)state;
	list_length = 0;
	lead();
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	rows = fed();
	for (int n = 1; n <= 65; n++)
		add_task(rows, n, APP_A, 1, 65);
	for (int n = 100; n < 165; n++)
		add_task(rows, n, APP_B, 3, 65);
	answer(&sql_feed, rows);
	assert_int_equal(fakes.pushed.count, 64);
	for (size_t count = 8; count <= 64; count += 8)
		assert_in_range(count_b(&fakes.pushed, count), count * 3 / 4 - 1,
		    count * 3 / 4 + 1);
	/* and of what the list has room for, however little that is */
	fakes.pushed.count = 0;
	for (int pass = 0; pass < 12; pass++) {
		int a = 64 - 48 + 1, b = 100 + 48;

		next_pass();
		list_length = 47;
		see_redis(7, NULL, 0, 1, "8/8 1:-1");
		rows = fed();
		for (int n = a; n < a + 20; n++)
			add_task(rows, n, APP_A, 1, 20);
		for (int n = b; n < b + 20; n++)
			add_task(rows, n, APP_B, 3, 20);
		answer(&sql_feed, rows);
	}
	list_length = 0;
	assert_in_range(count_b(&fakes.pushed, fakes.pushed.count),
	    fakes.pushed.count * 3 / 4 - 1, fakes.pushed.count * 3 / 4 + 1);
}

static void
where_the_heads_are_slow_passes_begin_at_the_first_that_is_queued(void **state)
{
	int64_t began_ms = clock_mono_ms();
	struct pgrows *rows;

	(void)state;
	lead();
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	while (clock_mono_ms() < began_ms + 200)
		turn(); /* so long the statement takes */
	rows = fed();
	for (int n = 3; n <= 5; n++)
		add_due(rows, 2, n, 1, 2000);
	answer(&sql_feed, rows);
	next_pass();
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	assert_int_equal(array_int(&sql_feed, 8, 0), 3 * STEP);
	assert_true(param_int(&sql_feed, 11) >= 2000);
	/* what came in lately, in front of that, is no reason to begin there */
	rows = fed();
	add_due(rows, 2, 4, 1, 2000);
	add_task(rows, 1, APP_A, 1, 0);
	answer(&sql_feed, rows);
	assert_true(listed(&fakes.pushed, 1) || listed(&fakes.pushed_first, 1));
	next_pass();
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	assert_int_equal(array_int(&sql_feed, 8, 0), 4 * STEP);
	answer(&sql_feed, fed());
	/* a new connection knows nothing of how slow it was */
	fakes.store_cb(STORE_LEAD, false, NULL, fakes.store_arg);
	fakes.store_cb(STORE_LEAD, true, NULL, fakes.store_arg);
	UNTIL(fakes.look_cb != NULL);
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	assert_true(is_whole());
}

static void
a_lane_that_goes_on_hides_what_is_behind_it_in_others(void **state)
{
	struct pgrows *rows;

	(void)state;
	lead();
	see_redis(7, NULL, 0, 1, "8/8 1:-1");
	rows = fed();
	/* of one lane two were asked for, and may be followed by more than these */
	add_due(rows, 2, 9, 1, 2000);
	add_task(rows, 5, APP_A, 1, 2);
	add_task(rows, 6, APP_A, 1, 2);
	answer(&sql_feed, rows);
	assert_true(listed(&fakes.pushed, 5) && listed(&fakes.pushed, 6));
	assert_false(listed(&fakes.pushed, 9));
	UNTIL(fakes.look_cb != NULL); /* it is not waited for */
}

static void
a_list_is_made_anew_when_told(void **state)
{
	static const int there[] = {1, 2, 3, 4};
	struct pgrows *rows;

	(void)state;
	lead();
	see_redis(7, there, 4, 1, "256/256 1:-1");
	rows = fed();
	for (int n = 1; n <= 4; n++)
		add_due(rows, 2, n, 1, 2000);
	answer(&sql_feed, rows);
	assert_int_equal(fakes.replaced_count, 0);
	fakes.events->ctl("requeue", 7, fakes.events_arg);
	UNTIL(fakes.look_cb != NULL);
	see_redis(7, there, 4, 1, "256/256 1:-1");
	rows = fed();
	add_due(rows, 2, 2, 1, 2000); /* the others' queue is paused */
	add_due(rows, 2, 5, 1, 2000);
	answer(&sql_feed, rows);
	assert_int_equal(fakes.replaced_count, 1);
	assert_int_equal(fakes.replaced.count, 2);
	assert_int_equal(fakes.replaced.elems[0].id.b[15], 2);
	assert_int_equal(fakes.replaced.elems[1].id.b[15], 5);
	/* what it took out comes back when it may run again; but not more than ten
	 * times a second */
	fakes.events->ctl("requeue", 7, fakes.events_arg);
	UNTIL(fakes.look_cb != NULL);
	see_redis(7, there + 1, 1, 1, "256/256 1:-1");
	answer(&sql_feed, fed());
	assert_int_equal(fakes.replaced_count, 1);
	UNTIL(fakes.look_cb != NULL);
	see_redis(7, there + 1, 1, 1, "256/256 1:-1");
	rows = fed();
	for (int n = 1; n <= 4; n++)
		add_due(rows, 2, n, 1, 2000);
	answer(&sql_feed, rows);
	assert_int_equal(fakes.replaced_count, 2);
	assert_int_equal(fakes.replaced.count, 4);
}

static void
a_pause_that_nobody_told_of_is_seen(void **state)
{
	static const int there[] = {1, 2};
	struct pgrows *rows;

	(void)state;
	lead();
	see_redis(7, there, 2, 1, "256/256 1:-1");
	answer(&sql_feed, fed());
	next_pass();
	see_redis(7, there, 2, 1, "256/256 1:-1");
	paused_set = 77;
	rows = fed();
	add_due(rows, 2, 2, 1, 2000);
	answer(&sql_feed, rows);
	UNTIL(fakes.look_cb != NULL);
	see_redis(7, there, 2, 1, "256/256 1:-1");
	rows = fed();
	add_due(rows, 2, 2, 1, 2000);
	answer(&sql_feed, rows);
	paused_set = 0;
	assert_int_equal(fakes.replaced_count, 1);
	assert_int_equal(fakes.replaced.count, 1);
}

static void
a_list_in_a_wrong_order_is_made_anew(void **state)
{
	struct pgrows *rows;
	int there[60];

	(void)state;
	/* 60 stands where 1 belongs, and so on */
	for (int n = 0; n < 60; n++)
		there[n] = 60 - n;
	lead();
	see_redis(7, there, 60, 1, "8/8 1:-1");
	for (int pass = 0; pass < 2; pass++) {
		rows = fed();
		for (int n = 1; n <= 60; n++)
			add_due(rows, 2, n, 1, 10);
		answer(&sql_feed, rows);
		if (pass == 1)
			break;
		UNTIL(fakes.look_cb != NULL);
		see_redis(7, there, 60, 1, "8/8 1:-1");
	}
	assert_int_equal(fakes.replaced_count, 1);
	assert_int_equal(fakes.replaced.elems[0].id.b[15], 1);
	assert_int_equal(fakes.replaced.elems[59].id.b[15], 60);
}

static void
limits_leave_no_more_than_their_room(void **state)
{
	struct pgrows *rows;
	struct uuid id;

	(void)state;
	lead();
	see_redis(7, NULL, 0, 1, "256/256 1:-1 2:-1 50:2");
	rows = fed();
	/* two types of a queue that has room for three; each lane was cut to that */
	for (int n = 1; n <= 6; n++) {
		task_id(n, &id);
		rows_add(rows, "hiuilnnnilininn", 2, 1, &id, n <= 3 ? 1 : 2,
		    (int64_t)2000, QUEUE, STEP * n, 1, 3);
	}
	/* two lanes of a type with two places */
	for (int n = 11; n <= 14; n++) {
		task_id(n, &id);
		rows_add(rows, "hiuilnnnilinnnn", 2, 1, &id, 50, (int64_t)2000,
		    QUEUE + 1 + n / 13, STEP * n, 1);
	}
	answer(&sql_feed, rows);
	assert_int_equal(fakes.pushed.count, 5);
	for (int n = 1; n <= 3; n++)
		assert_true(listed(&fakes.pushed, n));
	assert_true(listed(&fakes.pushed, 11) && listed(&fakes.pushed, 12));
}

static void
metered_types_are_asked_for_by_their_places(void **state)
{
	(void)state;
	lead();
	see_redis(7, NULL, 0, 1, "256/256 1:-1 50:3 51:0");
	assert_int_equal(array_int(&sql_feed, 3, 1), 50);
	assert_int_equal(array_int(&sql_feed, 4, 0), 513);
	assert_int_equal(array_int(&sql_feed, 4, 1), 3);
	assert_int_equal(array_int(&sql_feed, 4, 2), 0);
}

static void
types_that_nobody_serves_stay_out_of_the_list(void **state)
{
	static const int there[] = {8};
	struct pgrows *rows;

	(void)state;
	lead();
	see_redis(7, there, 1, 99, "256/256 1:-1");
	assert_true(listed(&fakes.dropped, 8));
	rows = fed();
	add_due(rows, 1, 9, 99, 0); /* came due just now */
	add_due(rows, 1, 10, 1, 0);
	add_due(rows, 2, 10, 1, 0); /* and so it stands in its lane */
	answer(&sql_feed, rows);
	assert_false(listed(&fakes.pushed, 9));
	assert_true(listed(&fakes.pushed, 10));
	/* a Redis that knows no places yet says nothing of who serves what */
	next_pass();
	fakes.dropped.count = 0;
	see_redis(7, there, 1, 99, NULL);
	assert_int_equal(fakes.dropped.count, 0);
}

static size_t
pushed_of_one(void)
{
	struct pgrows *rows = fed();
	size_t before = fakes.pushed.count + fakes.pushed_first.count;

	add_due(rows, 2, 1, 1, 2000);
	answer(&sql_feed, rows);
	return fakes.pushed.count + fakes.pushed_first.count - before;
}

static void
what_is_queued_once_more_is_pushed_once_more(void **state)
{
	struct pgrows *rows;
	char text[UUID_TEXT_SIZE + 8] = "again ";
	struct uuid id;

	(void)state;
	lead();
	see_redis(7, NULL, 0, 1, "256/256 1:-1");
	assert_int_equal(pushed_of_one(), 1);
	next_pass();
	see_redis(7, NULL, 0, 1, "256/256 1:-1");
	assert_int_equal(pushed_of_one(), 0); /* it may be on its way to a claim */
	/* it failed, and its rest is over */
	next_pass();
	see_redis(7, NULL, 0, 1, "256/256 1:-1");
	rows = fed();
	add_due(rows, 1, 1, 1, 0);
	add_due(rows, 2, 1, 1, 0);
	fakes.pushed.count = fakes.pushed_first.count = 0;
	answer(&sql_feed, rows);
	assert_int_equal(fakes.pushed.count + fakes.pushed_first.count, 1);
	/* a worker that leaves gives it back */
	task_id(1, &id);
	uuid_format(&id, text + 6);
	fakes.events->ctl(text, strlen(text), fakes.events_arg);
	next_pass();
	see_redis(7, NULL, 0, 1, "256/256 1:-1");
	assert_int_equal(pushed_of_one(), 1);
}

static void
lost_redis_gets_a_new_epoch_and_all_that_is_due(void **state)
{
	struct pgrows *rows;

	(void)state;
	lead();
	see_redis(0, NULL, 0, 1, "256/256 1:-1");
	answer(&sql_feed, fed());
	assert_int_equal(param_int(&sql_next_epoch, 0), 7);
	rows = rows_new("l");
	rows_add(rows, "l", (int64_t)8);
	answer(&sql_next_epoch, rows);
	assert_int_equal(fakes.epoch_set, 8);
	UNTIL(fakes.look_cb != NULL);
	see_redis(8, NULL, 0, 1, "256/256 1:-1");
	rows = fed();
	add_due(rows, 2, 1, 1, 5); /* young: in a pass nobody asked for it would wait */
	answer(&sql_feed, rows);
	assert_true(listed(&fakes.pushed, 1));
}

static void
leader_without_redis_gives_way_once(void **state)
{
	struct pgrows *rows;
	struct err err = ERR_INIT;

	(void)state;
	lead();
	fakes.redis_up = false;
	err_set(&err, ERR_CLOSED, "away");
	fakes.events->state(false, &err, fakes.events_arg);
	see_redis(7, NULL, 0, 1, NULL); /* the look that was under way */
	UNTIL(!leader_is(test_engine->leader));
	answer(&sql_unlead, rows_new("u"));
	/* others first: whoever has Redis takes the lease now, we after a while */
	leader_campaign(test_engine->leader);
	assert_int_equal(waiting(&sql_lead), 0);
	UNTIL(waiting(&sql_lead) == 1);
	rows = rows_new("lll");
	rows_add(rows, "lll", (int64_t)2, (int64_t)12, (int64_t)7);
	answer(&sql_lead, rows);
	assert_true(leader_is(test_engine->leader));
	fakes.redis_up = true;
	fakes.events->state(true, NULL, fakes.events_arg);
	assert_true(leader_is(test_engine->leader));
}

static void
whoever_gets_redis_back_asks_for_the_lease(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	leader_campaign(test_engine->leader);
	answer(&sql_lead, rows_new("lll")); /* another leads */
	fakes.redis_up = false;
	err_set(&err, ERR_CLOSED, "away");
	fakes.events->state(false, &err, fakes.events_arg);
	assert_int_equal(waiting(&sql_lead), 0);
	/* that one may have given way without a word */
	fakes.redis_up = true;
	fakes.events->state(true, NULL, fakes.events_arg);
	assert_int_equal(waiting(&sql_lead), 1);
}

/* ---------------------------------------------------------------- pruning */

static void
add_walk(struct pgrows *rows, int app, int n, bool ended, int looked, int removed)
{
	struct uuid id;

	task_id(n, &id);
	rows_add(rows, "iubii", app, &id, ended, looked, removed);
}

static void
pruning_begins(void)
{
	struct pgrows *rows = rows_new("lu");

	UNTIL(waiting(&sql_task_bytes) == 1);
	rows_add(rows, "ln", (int64_t)0);
	answer(&sql_task_bytes, rows);
	assert_int_equal(waiting(&sql_prune_apps), 1);
}

static void
pruning_takes_applications_by_turns(void **state)
{
	struct pgrows *rows = rows_new("il");
	struct uuid id, zero = {{0}};

	(void)state;
	lead();
	pruning_begins();
	for (int app = 1; app <= 3; app++)
		rows_add(rows, "in", app);
	answer(&sql_prune_apps, rows);
	/* all of them, from the beginning; 1 uses the batch up */
	assert_int_equal(array_count(&sql_prune, 0), 3);
	array_uuid(&sql_prune, 1, 0, &id);
	assert_true(uuid_eq(&id, &zero));
	assert_int_equal(param_int(&sql_prune, 3), 7 * 86400000LL);
	assert_int_equal(param_int(&sql_prune, 4), 30 * 86400000LL);
	assert_int_equal(param_int(&sql_prune, 5), 500);
	rows = rows_new("iubii");
	add_walk(rows, 1, 70, false, 500, 400);
	answer(&sql_prune, rows);
	/* now 2 comes first, and 1 goes on where it was */
	UNTIL(waiting(&sql_prune) == 1);
	assert_int_equal(array_int(&sql_prune, 0, 0), 2);
	assert_int_equal(array_int(&sql_prune, 0, 2), 1);
	task_id(70, &zero);
	array_uuid(&sql_prune, 1, 2, &id);
	assert_true(uuid_eq(&id, &zero));
	assert_int_equal(param_int(&sql_prune, 5), 625);
	rows = rows_new("iubii");
	add_walk(rows, 2, 5, true, 3, 3);
	add_walk(rows, 3, 6, true, 0, 0);
	add_walk(rows, 1, 80, false, 622, 0);
	answer(&sql_prune, rows);
	/* an error halves the batch, and is not the end */
	UNTIL(waiting(&sql_prune) == 1);
	assert_int_equal(array_count(&sql_prune, 0), 1);
	assert_int_equal(param_int(&sql_prune, 5), 781);
	answer_error(&sql_prune, PGERR_BUSY, "57014");
	assert_int_equal(waiting(&sql_prune), 0);
	UNTIL(waiting(&sql_prune) == 1);
	assert_int_equal(param_int(&sql_prune, 5), 390);
	rows = rows_new("iubii");
	add_walk(rows, 1, 90, true, 100, 100);
	answer(&sql_prune, rows);
	turn();
	assert_int_equal(waiting(&sql_prune) + waiting(&sql_prune_apps), 0);
	assert_int_equal(
	    atomic_load(&test_engine->slot->counters[SCORE_tasks_pruned_total]),
	    400 + 3 + 100);
}

static void
pruning_stops_with_the_lease(void **state)
{
	struct pgrows *rows = rows_new("il");

	(void)state;
	lead();
	pruning_begins();
	rows_add(rows, "in", 1);
	answer(&sql_prune_apps, rows);
	leader_lost(test_engine->leader);
	rows = rows_new("iubii");
	add_walk(rows, 1, 70, false, 500, 500);
	answer(&sql_prune, rows); /* it was under way */
	turn();
	assert_int_equal(waiting(&sql_prune) + waiting(&sql_prune_apps), 0);
}

#define HOUR   3600000LL
#define DAY_MS (24 * HOUR)

static void
a_table_that_is_too_large_shortens_the_time(void **state)
{
	static const struct {
		const char *why;
		int64_t bytes, limit, keep_ms, oldest_ms, now_ms, then_ms;
	} rows[] = {
	    {"no limit", 1000, 0, DAY_MS, DAY_MS, HOUR, 0},
	    {"it fits", 900, 1000, DAY_MS, DAY_MS, 0, 0},
	    {"a tenth too much", 1100, 1000, 7 * DAY_MS, 10 * HOUR, 0, 31745454},
	    {"further from there", 1100, 1000, 7 * DAY_MS, 10 * HOUR, 9 * HOUR,
		28570909},
	    {"never more than half", 9000, 1000, 7 * DAY_MS, 10 * HOUR, 0, 5 * HOUR},
	    {"kept for ever", 1100, 1000, 0, 10 * HOUR, 0, 31745454},
	    {"not below ten minutes", 9000, 1000, DAY_MS, DAY_MS, 700000, 600000},
	    {"almost full: it stays", 990, 1000, DAY_MS, DAY_MS, HOUR, HOUR},
	    {"room again: longer", 900, 1000, DAY_MS, DAY_MS, HOUR, HOUR + HOUR / 10},
	    {"as long as the settings say", 900, 1000, DAY_MS, DAY_MS, 23 * HOUR, 0},
	    {"longer than for ever needs", 900, 1000, 0, HOUR, 2 * HOUR, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct prune_size size = {
		    rows[i].bytes, rows[i].limit, rows[i].keep_ms, rows[i].oldest_ms};

		if (prune_size_keep_ms(&size, rows[i].now_ms) != rows[i].then_ms)
			fail_msg("%s: %lld", rows[i].why,
			    (long long)prune_size_keep_ms(&size, rows[i].now_ms));
	}
}

static void
what_does_not_fit_goes_before_its_time(void **state)
{
	int64_t limit = test_engine->settings->tasks_keep_size_bytes;
	struct pgrows *rows = rows_new("lu");
	struct uuid first = {{0}};
	int64_t born_ms, kept_ms;

	(void)state;
	lead();
	UNTIL(waiting(&sql_task_bytes) == 1);
	born_ms = engine_now_us(test_engine) / 1000 - DAY_MS;
	for (int i = 0; i < 6; i++)
		first.b[i] = (uint8_t)(born_ms >> (40 - 8 * i));
	rows_add(rows, "lu", limit + limit / 10, &first);
	answer(&sql_task_bytes, rows);
	rows = rows_new("il");
	rows_add(rows, "in", 1);
	answer(&sql_prune_apps, rows);
	kept_ms = param_int(&sql_prune, 3);
	assert_true(kept_ms > DAY_MS / 10 * 8 && kept_ms < DAY_MS / 10 * 9);
	assert_int_equal(param_int(&sql_prune, 4), 30 * DAY_MS);
}

static void
pruning_rests_and_backs_off(void **state)
{
	static const struct {
		const char *why;
		int64_t took_ms, pass_ms, rest_ms;
	} rests[] = {
	    {"even a quick one rests", 0, 0, 1},
	    {"a quarter of one backend", 20, 0, 60},
	    {"... for ten seconds", 20, 10000, 60},
	    {"a pass that lasts is behind: half", 20, 30000, 20},
	    {"... and more", 20, 600000, 1},
	};
	static const struct {
		const char *why;
		int batch, took_ms;
		bool full;
		int next;
	} batches[] = {
	    {"quick and full grows", 500, 50, true, 625},
	    {"quick, but there was no more", 500, 1, false, 500},
	    {"neither quick nor slow", 500, 100, true, 500},
	    {"slow is halved", 500, 101, true, 250},
	    {"slow is halved, full or not", 500, 3000, false, 250},
	    {"never below", 60, 3000, true, 50},
	    {"never above", 1900, 1, true, 2000},
	    {"the least grows again", 50, 1, true, 62},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rests); i++) {
		if (prune_rest_ms(rests[i].took_ms, rests[i].pass_ms) !=
		    rests[i].rest_ms)
			fail_msg("%s", rests[i].why);
	}
	for (size_t i = 0; i < COUNT_OF(batches); i++) {
		if (prune_batch(batches[i].batch, batches[i].took_ms,
			batches[i].full) != batches[i].next)
			fail_msg("%s", batches[i].why);
	}
}

/* ---------------------------------------------------------------- schedules */

#define NOON_US 1767268800000000LL /* 2026-01-01T12:00:00Z */
#define DUE	"iitttiiiiilll"

static void
answer_due(int64_t wait_ms, const char *zone)
{
	struct pgrows *rows = rows_new(DUE);

	UNTIL(waiting(&sql_due_schedules) == 1);
	rows_add(rows, "nnnnnnnnnnnll", NOON_US + 1000, wait_ms);
	/* hourly, three of them missed; all up to two; then one each ten minutes */
	rows_add(rows, "iitttiiiiilnn", 4, 9, "hourly", "0 * * * *", "UTC", 0, 0, 2, 2,
	    0, NOON_US - 3 * 3600 * 1000000LL);
	rows_add(rows, "iitttiiiiilnn", 5, 1, "each", "*/10 * * * *", zone, 0, 0, 0, 10,
	    60000, NOON_US);
	answer(&sql_due_schedules, rows);
	UNTIL(waiting(&sql_fire_schedules) == 1);
}

static void
schedules_are_computed_and_fired_together(void **state)
{
	struct pgrows *rows = rows_new("iiiit");
	int64_t run_us;

	(void)state;
	lead();
	answer_due(3600000, "UTC");
	assert_int_equal(array_count(&sql_fire_schedules, 2), 2);
	assert_int_equal(array_int(&sql_fire_schedules, 2, 1), 5);
	assert_int_equal(array_int(&sql_fire_schedules, 3, 0), 9);
	assert_int_equal(
	    array_int(&sql_fire_schedules, 4, 0), NOON_US + 3600 * 1000000LL);
	assert_int_equal(
	    array_int(&sql_fire_schedules, 4, 1), NOON_US + 600 * 1000000LL);
	assert_int_equal(array_int(&sql_fire_schedules, 5, 0), 2); /* passed over */
	assert_int_equal(array_int(&sql_fire_schedules, 5, 1), 0);
	assert_int_equal(
	    array_int(&sql_fire_schedules, 7, 0), NOON_US - 3 * 3600 * 1000000LL);
	assert_true(array_null(&sql_fire_schedules, 7, 1));
	assert_true(array_null(&sql_fire_schedules, 8, 0)); /* no problem */
	assert_int_equal(array_int(&sql_fire_schedules, 9, 0), 2);
	assert_int_equal(array_int(&sql_fire_schedules, 9, 1), 1);
	assert_int_equal(array_count(&sql_fire_schedules, 10), 3);
	assert_int_equal(
	    array_int(&sql_fire_schedules, 10, 0), NOON_US - 3600 * 1000000LL);
	assert_int_equal(array_int(&sql_fire_schedules, 10, 2), NOON_US);
	run_us = array_int(&sql_fire_schedules, 11, 2); /* within the jitter */
	assert_true(run_us >= NOON_US && run_us <= NOON_US + 60000000);
	rows_add(rows, "iiiin", 4, 2, 0, 0);
	rows_add(rows, "iiiin", 5, 1, 0, 0);
	answer(&sql_fire_schedules, rows);
	assert_int_equal(
	    atomic_load(&test_engine->slot->counters[SCORE_schedules_fired_total]), 3);
	UNTIL(waiting(&sql_due_schedules) == 1); /* when is the next? */
}

static void
a_schedule_without_its_zone_says_so_beside_the_others(void **state)
{
	(void)state;
	lead();
	answer_due(3600000, "Europe/Atlantis");
	assert_int_equal(array_count(&sql_fire_schedules, 2), 2);
	assert_true(array_null(&sql_fire_schedules, 8, 0));
	assert_false(array_null(&sql_fire_schedules, 8, 1));
	assert_int_equal(array_int(&sql_fire_schedules, 9, 1), 0);
	assert_int_equal(array_count(&sql_fire_schedules, 10), 2);
	answer_error(&sql_fire_schedules, PGERR_RETRY, "40P01");
	UNTIL(waiting(&sql_due_schedules) == 1); /* again from the start */
}

static void
a_changed_schedule_is_looked_at_by_the_leader(void **state)
{
	struct pgrows *rows = rows_new(DUE);

	(void)state;
	lead();
	UNTIL(waiting(&sql_due_schedules) == 1);
	/* a hint while the question is under way is not lost */
	fakes.events->ctl("schedules", 9, fakes.events_arg);
	rows_add(rows, "nnnnnnnnnnnln", NOON_US);
	answer(&sql_due_schedules, rows);
	UNTIL(waiting(&sql_due_schedules) == 1);
	rows = rows_new(DUE);
	rows_add(rows, "nnnnnnnnnnnln", NOON_US);
	answer(&sql_due_schedules, rows);
	turn();
	assert_int_equal(waiting(&sql_due_schedules), 0);
	fakes.events->ctl("schedules", 9, fakes.events_arg);
	UNTIL(waiting(&sql_due_schedules) == 1);
	leader_step_down(test_engine->leader);
	assert_true(!leader_is(test_engine->leader));
}

#define ENGINE_TEST(f) cmocka_unit_test_setup_teardown(f, engine_setup, engine_teardown)

/* a list is fed against the places of its pool and kind alone */
static void
places_count_for_their_pool_and_kind(void **state)
{
	(void)state;
	lead();
	see_redis(7, NULL, 0, 1, "8/8 1:-1 2:3 3:2 commands=2");
	assert_int_equal(array_count(&sql_feed, 3), 2);
	assert_int_equal(array_int(&sql_feed, 3, 0), 1);
	assert_int_equal(array_int(&sql_feed, 3, 1), 3);
	answer(&sql_feed, fed());
	next_pass();
	see_redis(7, NULL, 0, 1, "8/8 1:-1 pools=gpu,main:1");
	assert_int_equal(array_count(&sql_feed, 3), 0);
	answer(&sql_feed, fed());
	next_pass();
	see_redis(7, NULL, 0, 1, "8/8 1:-1 pools=gpu,main");
	assert_int_equal(array_count(&sql_feed, 3), 1);
	answer(&sql_feed, fed());
	assert_non_null(strstr(fakes.published, " lists dispatch:main=0,0"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    ENGINE_TEST(recovery_marks_before_it_takes),
	    ENGINE_TEST(recovery_says_which_crashed_and_which_were_killed),
	    ENGINE_TEST(audit_leaves_out_what_has_a_request_under_way),
	    ENGINE_TEST(idle_worker_is_audited_each_time),
	    ENGINE_TEST(places_count_for_their_pool_and_kind),
	    ENGINE_TEST(feeder_keeps_the_order_on_both_sides),
	    ENGINE_TEST(feeder_spills_beyond_the_window),
	    ENGINE_TEST(short_passes_read_on_for_what_the_list_has_room_for),
	    ENGINE_TEST(a_lost_list_is_filled_from_the_heads_of_the_lanes),
	    ENGINE_TEST(whole_passes_come_all_the_same),
	    ENGINE_TEST(types_with_places_of_their_own_get_whole_passes),
	    ENGINE_TEST(a_newcomer_goes_to_the_popping_end_of_a_full_list),
	    ENGINE_TEST(what_is_more_urgent_than_the_list_goes_in_front_of_it),
	    ENGINE_TEST(a_loaded_newcomer_gets_its_share_of_the_list_and_no_more),
	    ENGINE_TEST(a_weight_of_three_gets_three_quarters),
	    ENGINE_TEST(
		where_the_heads_are_slow_passes_begin_at_the_first_that_is_queued),
	    ENGINE_TEST(a_lane_that_goes_on_hides_what_is_behind_it_in_others),
	    ENGINE_TEST(a_list_is_made_anew_when_told),
	    ENGINE_TEST(a_pause_that_nobody_told_of_is_seen),
	    ENGINE_TEST(a_list_in_a_wrong_order_is_made_anew),
	    ENGINE_TEST(limits_leave_no_more_than_their_room),
	    ENGINE_TEST(metered_types_are_asked_for_by_their_places),
	    ENGINE_TEST(types_that_nobody_serves_stay_out_of_the_list),
	    ENGINE_TEST(leader_without_redis_gives_way_once),
	    ENGINE_TEST(whoever_gets_redis_back_asks_for_the_lease),
	    ENGINE_TEST(what_is_queued_once_more_is_pushed_once_more),
	    ENGINE_TEST(lost_redis_gets_a_new_epoch_and_all_that_is_due),
	    ENGINE_TEST(pruning_takes_applications_by_turns),
	    ENGINE_TEST(pruning_stops_with_the_lease),
	    ENGINE_TEST(what_does_not_fit_goes_before_its_time),
	    cmocka_unit_test(a_table_that_is_too_large_shortens_the_time),
	    cmocka_unit_test(pruning_rests_and_backs_off),
	    ENGINE_TEST(schedules_are_computed_and_fired_together),
	    ENGINE_TEST(a_schedule_without_its_zone_says_so_beside_the_others),
	    ENGINE_TEST(a_changed_schedule_is_looked_at_by_the_leader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
