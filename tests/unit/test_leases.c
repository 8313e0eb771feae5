/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_leases.c - who gets which task, and what becomes of leases that nobody has:
 * leases.c over fake stores.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/str.h"
#include "fake_stores.h"
#include "store/leases.h"

#define ROW_COLS "iutihiiittllllt"

enum { COL_SLOTS = 3, COL_QUEUES = 4, COL_LEASES = 8, COL_TTLS = 9 };

struct client {
	struct lease_wait *wait;
	size_t told, got;
	bool failed, absent; /* absent: it does not take what it gets */
	struct uuid lease;   /* the last one */
};

static bool
on_tasks(const struct pgrows *rows, const struct lease_grant grants[], size_t count,
    const struct err *err, void *arg)
{
	struct client *c = arg;

	(void)rows;
	c->told++;
	c->got += count;
	c->failed = err != NULL;
	if (count > 0)
		c->lease = grants[count - 1].lease;
	return !c->absent;
}

static void
ask(struct client *c, int queue, int max, int64_t wait_ms)
{
	struct lease_request lr = {.app_id = 1,
	    .queues = {queue},
	    .queue_count = 1,
	    .max = max,
	    .wait_ms = wait_ms,
	    .ttl_ms = 60000,
	    .key = "abcdefgh"};
	struct err err;

	memset(c, 0, sizeof(*c));
	c->wait = leases_wait(test_engine->leases, &lr, on_tasks, c, &err);
	assert_non_null(c->wait);
}

static void
add_task(struct pgrows *rows, int slot)
{
	struct uuid id;

	task_id(slot, &id);
	rows_add(rows, "iutihiiitnlnlnn", slot, &id, "mail", 7, 5, 1, 0, 25, "null",
	    (int64_t)0, (int64_t)0);
}

static void
answer_tasks(int count)
{
	struct pgrows *rows = rows_new(ROW_COLS);

	for (int i = 1; i <= count; i++)
		add_task(rows, i);
	answer(&leases_take, rows);
	turn();
}

static void
hear(const char *who, const char *what)
{
	char text[128];

	snprintf(text, sizeof(text), "pull %s %s", who, what);
	fakes.events->ctl(text, strlen(text), fakes.events_arg);
	turn();
}

static void
each_who_waits_gets_one_before_anybody_gets_two(void **state)
{
	struct client c[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		ask(&c[i], 7, 2, 10000);
	turn();
	assert_int_equal(waiting(&leases_take), 1);
	assert_int_equal(array_count(&leases_take, COL_SLOTS), 1);
	assert_int_equal(array_int(&leases_take, COL_SLOTS, 0), 6);
	answer_tasks(4);
	assert_int_equal(c[0].got, 2);
	assert_int_equal(c[1].got, 1);
	assert_int_equal(c[2].got, 1);
	/* nobody waits any more */
	assert_int_equal(waiting(&leases_take), 0);
	assert_int_equal(waiting(&leases_undo), 0);
}

static void
who_gets_nothing_waits_on_until_a_hint_or_the_second(void **state)
{
	struct client c;
	char me[OWNER_TEXT_SIZE];

	(void)state;
	ask(&c, 7, 1, 60000);
	turn();
	answer_tasks(0);
	assert_int_equal(c.told, 0);
	assert_int_equal(waiting(&leases_take), 0);
	hear("another", "1:8 2:7 x 1: :7"); /* another queue, another application */
	assert_int_equal(waiting(&leases_take), 0);
	hear(owner_text(&test_engine->owner, me), "1:7"); /* said by ourselves */
	assert_int_equal(waiting(&leases_take), 0);
	hear("another", "1:7");
	assert_int_equal(waiting(&leases_take), 1);
	answer_tasks(0);
	hear("another", "1:0"); /* any queue of it */
	assert_int_equal(waiting(&leases_take), 1);
	answer_tasks(0);
	UNTIL(waiting(&leases_take) == 1); /* messages get lost */
	answer_tasks(1);
	assert_int_equal(c.got, 1);
}

/* the name under which the only line is told, as the last message says it */
static void
line_told(char name[17])
{
	const char *told;

	fakes.published[0] = '\0';
	UNTIL((told = strstr(fakes.published, " waits ")) != NULL &&
	      strchr(told, ':') != NULL);
	snprintf(name, 17, "%.16s", strchr(told, ':') - 16);
	while (waiting(&leases_take) > 0)
		answer_tasks(0); /* it has looked too */
}

static void
hear_that_one_waits_elsewhere(const char *name)
{
	char text[128];

	snprintf(text, sizeof(text), "waits another %s:100", name);
	fakes.events->ctl(text, strlen(text), fakes.events_arg);
	turn();
}

static void
it_is_the_turn_of_one_worker_and_then_of_all(void **state)
{
	struct client c, late;
	char name[17];
	int first;

	(void)state;
	ask(&c, 7, 1, 60000);
	turn();
	answer_tasks(0);
	line_told(name);
	/* one waits there and one here: of two lots far apart one is ours */
	hear_that_one_waits_elsewhere(name);
	hear("another", "1 1:7");
	first = (int)waiting(&leases_take);
	if (first > 0)
		answer_tasks(0);
	hear("another", "4294967295 1:7");
	assert_int_equal((int)waiting(&leases_take), 1 - first);
	if (first == 0)
		answer_tasks(0);
	/* that of the other one comes to us a moment later, if it is still there */
	UNTIL(waiting(&leases_take) == 1);
	answer_tasks(0);
	/* whoever begins to wait takes nothing out of its turn, but for a last look */
	ask(&late, 7, 1, 60000);
	turn();
	assert_int_equal(waiting(&leases_take), 0);
	UNTIL(waiting(&leases_take) == 1);
	/* who waits longest comes first */
	answer_tasks(1);
	assert_int_equal(c.got, 1);
	assert_int_equal(late.got, 0);
	leases_end_all(test_engine->leases);
}

static void
lines_go_by_who_waits_longest(void **state)
{
	struct client c[2];

	(void)state;
	ask(&c[0], 7, 1, 60000);
	ask(&c[1], 8, 1, 60000);
	turn();
	assert_int_equal(array_int(&leases_take, COL_QUEUES, 0), 7);
	answer_tasks(1);
	assert_int_equal(c[0].got, 1);
	ask(&c[0], 7, 1, 60000);
	turn();
	answer_tasks(0);
	hear("another", "1 1:0");
	assert_int_equal(array_count(&leases_take, COL_SLOTS), 2);
	assert_int_equal(array_int(&leases_take, COL_QUEUES, 0), 8);
	answer_tasks(1);
	assert_int_equal(c[1].got, 1);
	assert_int_equal(c[0].got, 0);
	leases_end_all(test_engine->leases);
}

static void
what_nobody_is_there_to_take_is_undone(void **state)
{
	struct client gone, absent;
	struct uuid id;
	struct pgrows *rows;

	(void)state;
	ask(&gone, 7, 1, 10000);
	ask(&absent, 7, 1, 10000);
	absent.absent = true;
	turn();
	leases_cancel(gone.wait); /* while the statement is under way */
	answer_tasks(2);
	assert_int_equal(gone.told, 0);
	assert_int_equal(absent.told, 1);
	UNTIL(waiting(&leases_undo) == 1);
	assert_int_equal(array_count(&leases_undo, 0), 2);
	array_uuid(&leases_undo, 0, 1, &id);
	assert_true(owner_is_lease(&id));
	assert_false(leases_idle(test_engine->leases));
	rows = rows_new("ii");
	rows_add(rows, "ii", 1, 7);
	answer(&leases_undo, rows);
	turn();
	assert_true(leases_idle(test_engine->leases));
	/* others may have it now */
	assert_non_null(strstr(fakes.published, " 1:7"));
}

static void
a_lost_statement_is_undone_again_and_again(void **state)
{
	struct client c;
	struct uuid sent, undone;

	(void)state;
	ask(&c, 7, 1, 10000);
	turn();
	array_uuid(&leases_take, COL_LEASES, 0, &sent);
	answer_error(&leases_take, PGERR_LOST, "");
	turn();
	assert_true(c.failed);
	UNTIL(waiting(&leases_undo) == 1);
	array_uuid(&leases_undo, 0, 0, &undone);
	assert_true(uuid_eq(&sent, &undone));
	answer(&leases_undo, rows_new("ii"));
	/* it may have been executed after that */
	UNTIL(waiting(&leases_undo) == 1);
	assert_false(leases_idle(test_engine->leases));
}

static void
another_has_its_turn_and_then_we(void **state)
{
	struct client c, at_once;
	struct pgrows *rows = rows_new(ROW_COLS);

	(void)state;
	ask(&c, 7, 1, 10000);
	ask(&at_once, 8, 1, 0);
	turn();
	rows_add(rows, "innnnnnnnnnnnnn", 0);
	answer(&leases_take, rows);
	turn();
	/* nobody was told that there is nothing: nobody has looked */
	assert_int_equal(c.told + at_once.told, 0);
	UNTIL(waiting(&leases_take) == 1);
	answer_tasks(0);
	assert_int_equal(at_once.told, 1);
	assert_int_equal(at_once.got, 0);
	assert_int_equal(c.told, 0);
	leases_end_all(test_engine->leases);
	assert_int_equal(c.told, 1);
}

static void
those_who_wait_are_bounded_for_each_key(void **state)
{
	struct lease_request lr = {.app_id = 1,
	    .queues = {7},
	    .queue_count = 1,
	    .max = 1,
	    .wait_ms = 10000,
	    .ttl_ms = 60000,
	    .key = "abcdefgh"};
	static struct client c;
	struct err err;

	(void)state;
	for (int i = 0; i < LEASE_WAITERS_OF_KEY; i++)
		assert_non_null(
		    leases_wait(test_engine->leases, &lr, on_tasks, &c, &err));
	assert_null(leases_wait(test_engine->leases, &lr, on_tasks, &c, &err));
	assert_int_equal(err.code, ERR_LIMIT);
	str_copy(lr.key, sizeof(lr.key), "another1");
	assert_non_null(leases_wait(test_engine->leases, &lr, on_tasks, &c, &err));
	turn();
	/* those who came first, as many as one statement has room for */
	assert_int_equal(array_int(&leases_take, COL_SLOTS, 0), 256);
	leases_end_all(test_engine->leases);
	assert_int_equal(c.told, LEASE_WAITERS_OF_KEY + 1);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, engine_setup, engine_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(each_who_waits_gets_one_before_anybody_gets_two),
	    TEST(who_gets_nothing_waits_on_until_a_hint_or_the_second),
	    TEST(it_is_the_turn_of_one_worker_and_then_of_all),
	    TEST(lines_go_by_who_waits_longest),
	    TEST(what_nobody_is_there_to_take_is_undone),
	    TEST(a_lost_statement_is_undone_again_and_again),
	    TEST(another_has_its_turn_and_then_we),
	    TEST(those_who_wait_are_bounded_for_each_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
