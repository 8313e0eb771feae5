/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_slot.c - supervision, promise by promise, without a process.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "master/slot.h"
#include "worker/worker.h"

#define EXIT_BY_SIGNAL(signo) (signo)
#define EXIT_STATUS(status)   ((status) << 8)

static const struct slot_rules rules = {
    .start_timeout_ms = 30000,
    .hang_timeout_ms = 8000,
    .abort_grace_ms = 2000,
    .young_ms = 2000,
    .backoff_first_ms = 100,
    .backoff_max_ms = 30000,
};

static int
setup(void **state)
{
	static struct slot s;

	slot_init(&s, &rules);
	*state = &s;
	return 0;
}

static void
run_until_ready(struct slot *s, int64_t now)
{
	assert_true(slot_on_wanted(s, now));
	assert_int_equal(slot_action(s, now), SLOT_SPAWN);
	assert_true(slot_on_spawned(s, now));
	assert_true(slot_on_ready(s, now));
}

/* written out once more, so that a change of behaviour is a visible diff */
static void
only_the_listed_transitions_are_allowed(void **state)
{
	enum {
		no = SLOT_NONE,
		E = SLOT_EMPTY,
		W = SLOT_WAITING,
		S = SLOT_STARTING,
		R = SLOT_READY,
		L = SLOT_LEAVING,
		A = SLOT_ABORTED,
		K = SLOT_KILLED
	};
	/* clang-format off */
	static const int expected[SLOT_STATE_COUNT][SLOT_EVENT_COUNT] = {
		/*              wanted spawned !spawned ready leave aborted killed died gone */
		[SLOT_NONE]     = { no, no, no, no, no, no, no, no, no },
		[SLOT_EMPTY]    = {  W, no, no, no, no, no, no, no, no },
		[SLOT_WAITING]  = { no,  S,  W, no,  E, no, no, no, no },
		[SLOT_STARTING] = { no, no, no,  R,  L,  A,  K,  W, no },
		[SLOT_READY]    = { no, no, no, no,  L,  A,  K,  W, no },
		[SLOT_LEAVING]  = { no, no, no, no,  L,  A,  K, no,  E },
		[SLOT_ABORTED]  = { no, no, no, no,  A, no,  K,  W,  E },
		[SLOT_KILLED]   = { no, no, no, no,  K, no, no,  W,  E },
	};
	/* clang-format on */

	(void)state;
	for (int s = 0; s < SLOT_STATE_COUNT; s++)
		for (int e = 0; e < SLOT_EVENT_COUNT; e++)
			if ((int)slot_next(s, e) != expected[s][e])
				fail_msg("%s + %s leads to %s", slot_state_name(s),
				    slot_event_name(e),
				    slot_state_name(slot_next(s, e)));
}

static void
every_state_can_be_reached_and_left(void **state)
{
	(void)state;
	for (int to = SLOT_EMPTY; to < SLOT_STATE_COUNT; to++) {
		bool reached = false, left = false;

		for (int s = SLOT_EMPTY; s < SLOT_STATE_COUNT; s++)
			for (int e = 0; e < SLOT_EVENT_COUNT; e++) {
				reached |= s != to && (int)slot_next(s, e) == to;
				left |= s == to && slot_next(s, e) != SLOT_NONE &&
					(int)slot_next(s, e) != to;
			}
		assert_true(reached && left);
	}
}

static void
a_killed_worker_is_replaced_at_once(void **state)
{
	struct slot *s = *state;
	enum slot_end end;

	run_until_ready(s, 1000);
	assert_true(slot_on_exit(s, EXIT_BY_SIGNAL(SIGKILL), 1100, &end));
	assert_int_equal(end, SLOT_END_CRASH);
	assert_string_equal(s->why, "killed by signal 9 (SIGKILL)");
	assert_int_equal(slot_action(s, 1100), SLOT_SPAWN);
	/* and again and again, when each had lived for a while */
	for (int64_t now = 1100; now < 100000; now += 5000) {
		assert_true(slot_on_spawned(s, now));
		assert_true(slot_on_exit(s, EXIT_BY_SIGNAL(SIGKILL), now + 5000, &end));
		assert_int_equal(slot_action(s, now + 5000), SLOT_SPAWN);
	}
}

static void
crash_loop_waits_longer_each_time(void **state)
{
	struct slot *s = *state;
	enum slot_end end;
	int64_t now = 0, pauses[] = {0, 100, 200, 400, 800, 1600, 3200, 6400, 12800,
			     25600, 30000, 30000};

	assert_true(slot_on_wanted(s, now));
	for (size_t i = 0; i < COUNT_OF(pauses); i++) {
		assert_int_equal(slot_action(s, now), SLOT_SPAWN);
		assert_true(slot_on_spawned(s, now));
		assert_true(slot_on_exit(s, EXIT_BY_SIGNAL(SIGSEGV), now + 10, &end));
		assert_int_equal(slot_deadline(s), now + 10 + pauses[i]);
		if (pauses[i] > 0)
			assert_int_equal(slot_action(s, now + 10), SLOT_WAIT);
		now = slot_deadline(s);
	}
	/* one long life and all is forgiven */
	assert_true(slot_on_spawned(s, now));
	assert_true(slot_on_exit(s, EXIT_STATUS(3), now + 2000, &end));
	assert_int_equal(slot_action(s, now + 2000), SLOT_SPAWN);
	assert_string_equal(s->why, "exit status 3");
}

static void
a_lost_incarnation_starts_again_at_once_and_is_not_blamed(void **state)
{
	struct slot *s = *state;
	enum slot_end end;
	int64_t now = 0;

	assert_true(slot_on_wanted(s, now));
	for (int i = 0; i < 20; i++) {
		assert_true(slot_on_spawned(s, now));
		assert_true(
		    slot_on_exit(s, EXIT_STATUS(WORKER_EXIT_LOST), now + 500, &end));
		assert_int_equal(end, SLOT_END_LOST);
		assert_int_equal(slot_action(s, now + 500), SLOT_SPAWN);
		now += 500;
	}
	assert_int_equal(s->young_deaths, 0);
	assert_true(slot_on_spawned(s, now));
	assert_true(slot_on_exit(s, EXIT_STATUS(WORKER_EXIT_LOST), now, &end));
	assert_int_equal(slot_deadline(s), now + 100);
}

static void
a_hopeless_exit_is_told_as_such(void **state)
{
	struct slot *s = *state;
	enum slot_end end;

	run_until_ready(s, 0);
	assert_true(slot_on_exit(s, EXIT_STATUS(WORKER_EXIT_CONFIG), 10, &end));
	assert_int_equal(end, SLOT_END_CONFIG);
}

static void
silence_is_answered_by_abort_then_kill(void **state)
{
	struct slot *s = *state;
	enum slot_end end;

	run_until_ready(s, 0);
	for (int64_t now = 1000; now <= 60000; now += 1000) {
		slot_on_heartbeat(s, now);
		assert_int_equal(slot_action(s, now), SLOT_WAIT);
	}
	assert_int_equal(slot_deadline(s), 68000);
	assert_int_equal(slot_action(s, 67999), SLOT_WAIT);
	assert_int_equal(slot_action(s, 70200), SLOT_ABORT);
	assert_true(slot_on_aborted(s, 70200));
	assert_string_equal(s->why, "no heartbeat for 10.2 s");
	slot_on_heartbeat(s, 71000); /* too late to matter */
	assert_int_equal(slot_action(s, 72199), SLOT_WAIT);
	assert_int_equal(slot_action(s, 72200), SLOT_KILL);
	assert_true(slot_on_killed(s, "unused", 72200));
	assert_int_equal(slot_deadline(s), SLOT_NEVER);
	assert_true(slot_on_exit(s, EXIT_BY_SIGNAL(SIGKILL), 72300, &end));
	assert_string_equal(s->why, "no heartbeat for 10.2 s");
	assert_int_equal(slot_action(s, 72300), SLOT_SPAWN);
}

static void
an_old_heartbeat_does_not_shorten_life(void **state)
{
	struct slot *s = *state;

	run_until_ready(s, 5000);
	slot_on_heartbeat(s, 10);
	assert_int_equal(slot_deadline(s), 13000);
}

static void
who_never_gets_ready_is_ended(void **state)
{
	struct slot *s = *state;
	enum slot_end end;

	assert_true(slot_on_wanted(s, 0));
	assert_true(slot_on_spawned(s, 0));
	slot_on_heartbeat(s, 29999);
	assert_int_equal(slot_action(s, 29999), SLOT_WAIT);
	assert_int_equal(slot_action(s, 30000), SLOT_ABORT);
	assert_true(slot_on_aborted(s, 30000));
	assert_true(slot_on_exit(s, EXIT_BY_SIGNAL(SIGABRT), 30100, &end));
	assert_string_equal(s->why, "not ready after 30.0 s");
}

static void
who_left_as_told_is_not_replaced(void **state)
{
	struct slot *s = *state;
	enum slot_end end;

	run_until_ready(s, 0);
	assert_true(slot_on_leave(s, "max_requests reached", 40000, 100));
	assert_int_equal(
	    slot_deadline(s), 8100); /* it still has to give signs of life */
	slot_on_heartbeat(s, 39000);
	assert_int_equal(slot_deadline(s), 40100);
	assert_true(slot_on_exit(s, EXIT_STATUS(0), 39100, &end));
	assert_int_equal(end, SLOT_END_GOOD);
	assert_int_equal(s->state, SLOT_EMPTY);
	assert_string_equal(s->why, "max_requests reached");
	assert_int_equal(slot_deadline(s), SLOT_NEVER);
}

static void
a_crash_on_the_way_out_is_named(void **state)
{
	struct slot *s = *state;
	enum slot_end end;

	run_until_ready(s, 0);
	assert_true(slot_on_leave(s, "the node stops", 0, 100));
	assert_true(slot_on_exit(s, EXIT_BY_SIGNAL(SIGSEGV), 200, &end));
	assert_string_equal(s->why, "killed by signal 11 (SIGSEGV)");
	assert_int_equal(s->state, SLOT_EMPTY);
}

static void
who_does_not_leave_in_time_is_killed(void **state)
{
	struct slot *s = *state;

	run_until_ready(s, 0);
	assert_true(slot_on_leave(s, "the node stops", 5000, 0));
	assert_int_equal(slot_action(s, 5000), SLOT_KILL);
	/* a later order may shorten it */
	assert_true(slot_on_leave(s, "the node stops now", 1000, 500));
	assert_int_equal(slot_action(s, 1499), SLOT_WAIT);
	assert_int_equal(slot_action(s, 1500), SLOT_KILL);
	/* without a bound only silence ends it */
	setup(state);
	run_until_ready(s, 0);
	assert_true(slot_on_leave(s, "quit", 0, 0));
	slot_on_heartbeat(s, 1000000);
	assert_int_equal(slot_action(s, 1000000), SLOT_WAIT);
	assert_int_equal(slot_action(s, 1008000), SLOT_ABORT);
}

static void
who_is_being_ended_need_not_be_told_to_leave(void **state)
{
	struct slot *s = *state;
	enum slot_end end;

	run_until_ready(s, 0);
	assert_true(slot_on_aborted(s, 9000));
	assert_true(slot_on_leave(s, "the node stops", 0, 9500));
	assert_int_equal(slot_action(s, 11000), SLOT_KILL);
	assert_true(slot_on_killed(s, "", 11000));
	assert_true(slot_on_exit(s, EXIT_BY_SIGNAL(SIGKILL), 11001, &end));
	assert_int_equal(s->state, SLOT_EMPTY);
}

static void
leaving_while_waiting_needs_no_process(void **state)
{
	struct slot *s = *state;

	assert_true(slot_on_wanted(s, 0));
	assert_true(slot_on_leave(s, "the node stops", 0, 1));
	assert_int_equal(s->state, SLOT_EMPTY);
	assert_false(slot_has_process(s));
	assert_int_equal(slot_action(s, 100000), SLOT_WAIT);
}

static void
a_failed_fork_waits(void **state)
{
	struct slot *s = *state;

	assert_true(slot_on_wanted(s, 0));
	assert_true(slot_on_not_spawned(s, "fork: out of processes", 0));
	assert_int_equal(slot_deadline(s), 100);
	assert_true(slot_on_not_spawned(s, "fork: out of processes", 100));
	assert_int_equal(slot_deadline(s), 300);
	assert_string_equal(s->why, "fork: out of processes");
}

static void
limits_of_zero_are_none(void **state)
{
	struct slot s;
	struct slot_rules none = {.backoff_first_ms = 100, .backoff_max_ms = 1000};

	(void)state;
	slot_init(&s, &none);
	assert_true(slot_on_wanted(&s, 0));
	assert_true(slot_on_spawned(&s, 0));
	assert_int_equal(slot_deadline(&s), SLOT_NEVER);
	assert_true(slot_on_ready(&s, 0));
	assert_int_equal(slot_deadline(&s), SLOT_NEVER);
}

static void
events_out_of_place_change_nothing(void **state)
{
	struct slot *s = *state;
	enum slot_end end;

	assert_false(slot_on_ready(s, 1));
	assert_false(slot_on_spawned(s, 1));
	assert_false(slot_on_leave(s, "", 1, 1));
	assert_false(slot_on_exit(s, 0, 1, &end));
	assert_false(slot_on_killed(s, "", 1));
	assert_false(slot_on_aborted(s, 1));
	assert_false(slot_on_not_spawned(s, "", 1));
	assert_int_equal(s->state, SLOT_EMPTY);
	assert_int_equal(s->since_ms, 0);
}

#define T(test) cmocka_unit_test_setup(test, setup)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(only_the_listed_transitions_are_allowed),
	    T(every_state_can_be_reached_and_left),
	    T(a_killed_worker_is_replaced_at_once),
	    T(crash_loop_waits_longer_each_time),
	    T(a_lost_incarnation_starts_again_at_once_and_is_not_blamed),
	    T(a_hopeless_exit_is_told_as_such),
	    T(silence_is_answered_by_abort_then_kill),
	    T(an_old_heartbeat_does_not_shorten_life),
	    T(who_never_gets_ready_is_ended),
	    T(who_left_as_told_is_not_replaced),
	    T(a_crash_on_the_way_out_is_named),
	    T(who_does_not_leave_in_time_is_killed),
	    T(who_is_being_ended_need_not_be_told_to_leave),
	    T(leaving_while_waiting_needs_no_process),
	    T(a_failed_fork_waits),
	    T(limits_of_zero_are_none),
	    T(events_out_of_place_change_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
