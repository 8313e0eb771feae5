/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_proclist.c - how a worker remembers its processing list, and what it may trim.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/proclist.h"

static struct elem
elem(unsigned n)
{
	struct elem e = {.app_id = 1, .type_id = 2};

	e.id.b[14] = (uint8_t)(n >> 8);
	e.id.b[15] = (uint8_t)n;
	return e;
}

static void
popped(struct proclist *pl, unsigned n)
{
	struct elem e = elem(n);

	proclist_popped(pl, &e);
}

static bool
ack(struct proclist *pl, unsigned n)
{
	struct elem e = elem(n);

	return proclist_ack(pl, &e);
}

static int
setup(void **state)
{
	*state = proclist_create();
	return *state == NULL;
}

static int
teardown(void **state)
{
	proclist_free(*state);
	return 0;
}

static void
the_oldest_are_trimmed_together_in_whatever_order_they_ended(void **state)
{
	struct proclist *pl = *state;
	struct elem e;

	for (unsigned n = 1; n <= 5; n++)
		popped(pl, n);
	assert_true(ack(pl, 3));
	assert_true(ack(pl, 1));
	assert_true(ack(pl, 2));
	assert_int_equal(proclist_trim(pl), 3);
	assert_false(proclist_stray(pl, &e));
	assert_int_equal(proclist_trim(pl), 0);
}

static void
what_ended_behind_one_that_runs_is_named_once(void **state)
{
	struct proclist *pl = *state;
	struct elem e;

	for (unsigned n = 1; n <= 4; n++)
		popped(pl, n);
	ack(pl, 2);
	ack(pl, 4);
	assert_int_equal(proclist_trim(pl), 0);
	assert_true(proclist_stray(pl, &e));
	assert_int_equal(e.id.b[15], 2);
	assert_true(proclist_stray(pl, &e));
	assert_int_equal(e.id.b[15], 4);
	assert_false(proclist_stray(pl, &e));
	/* those two are in the list no more: only the first and the third count */
	ack(pl, 1);
	ack(pl, 3);
	assert_int_equal(proclist_trim(pl), 2);
}

static void
an_id_that_lies_there_twice_is_done_with_twice(void **state)
{
	struct proclist *pl = *state;

	popped(pl, 1);
	popped(pl, 1);
	assert_true(ack(pl, 1));
	assert_int_equal(proclist_trim(pl), 1);
	assert_true(ack(pl, 1));
	assert_int_equal(proclist_trim(pl), 1);
	assert_false(ack(pl, 1));
}

static void
strangers_and_what_is_too_much_are_not_in_the_picture(void **state)
{
	struct proclist *pl = *state;
	struct elem other = elem(1);

	popped(pl, 1);
	other.type_id = 3;
	assert_false(proclist_ack(pl, &other));
	for (unsigned n = 2; n <= PROCLIST_MOST + 1; n++)
		popped(pl, n);
	assert_false(ack(pl, PROCLIST_MOST + 1));
	for (unsigned n = 1; n <= PROCLIST_MOST; n++)
		assert_true(ack(pl, n));
	assert_int_equal(proclist_trim(pl), PROCLIST_MOST);
	popped(pl, 7); /* the ring has gone round */
	proclist_clear(pl);
	assert_false(ack(pl, 7));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(the_oldest_are_trimmed_together_in_whatever_order_they_ended),
	    TEST(what_ended_behind_one_that_runs_is_named_once),
	    TEST(an_id_that_lies_there_twice_is_done_with_twice),
	    TEST(strangers_and_what_is_too_much_are_not_in_the_picture),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
