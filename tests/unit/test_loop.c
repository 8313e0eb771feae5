/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#include "base/clock.h"
#include "event/loop.h"

static struct loop *l;

static int
open_loop(void **state)
{
	(void)state;
	l = loop_create(NULL);
	return l == NULL ? -1 : 0;
}

static int
close_loop(void **state)
{
	(void)state;
	loop_free(l);
	return 0;
}

static void
stop(void *arg)
{
	(void)arg;
	loop_stop(l);
}

static void
run(void)
{
	struct err err = ERR_INIT;

	assert_int_equal(loop_run(l, &err), 0);
}

struct trace {
	char text[64];
	struct loop_defer *a, *b;
	struct loop_timer *t;
	int64_t started_us;
	int64_t seen_us;
	int rounds;
};

static void
add(struct trace *tr, const char *word)
{
	strncat(tr->text, word, sizeof(tr->text) - strlen(tr->text) - 1);
}

static void
note_a(void *arg)
{
	add(arg, "a");
}

static void
note_b(void *arg)
{
	add(arg, "b");
}

static void
start_both_and_stop(void *arg)
{
	struct trace *tr = arg;

	loop_defer_start(tr->a);
	loop_defer_start(tr->b);
	loop_defer_start(tr->a);
	add(tr, "(");
	loop_stop(l);
	add(tr, ")");
}

static void
defers_run_once_in_order_and_never_inside_start(void **state)
{
	struct trace tr = {.text = ""};
	struct loop_timer *t = loop_timer_create(l, start_both_and_stop, &tr);

	(void)state;
	tr.a = loop_defer_create(l, note_a, &tr);
	tr.b = loop_defer_create(l, note_b, &tr);
	loop_timer_start_ms(t, 0);
	run();
	/* the stop lets this turn's callbacks, deferred ones included, come first */
	assert_string_equal(tr.text, "()ab");
	loop_timer_free(t);
	loop_defer_free(tr.a);
	loop_defer_free(tr.b);
}

static void
again_and_again(void *arg)
{
	struct trace *tr = arg;

	tr->rounds++;
	loop_defer_start(tr->a);
}

static void
defer_that_starts_itself_does_not_starve_timers(void **state)
{
	struct trace tr = {.text = ""};
	struct loop_timer *t = loop_timer_create(l, stop, NULL);

	(void)state;
	tr.a = loop_defer_create(l, again_and_again, &tr);
	loop_defer_start(tr.a);
	loop_timer_start_ms(t, 5);
	run();
	assert_true(tr.rounds > 1);
	loop_defer_free(tr.a);
	loop_timer_free(t);
}

static void
free_both(void *arg)
{
	struct trace *tr = arg;

	add(tr, "f");
	loop_defer_free(tr->a);
	loop_defer_free(tr->b);
	loop_stop(l);
}

static void
defer_may_free_itself_and_the_next(void **state)
{
	struct trace tr = {.text = ""};

	(void)state;
	tr.a = loop_defer_create(l, free_both, &tr);
	tr.b = loop_defer_create(l, note_b, &tr);
	loop_defer_start(tr.a);
	loop_defer_start(tr.b);
	run();
	assert_string_equal(tr.text, "f");
}

static void
stopped_defer_does_not_run(void **state)
{
	struct trace tr = {.text = ""};
	struct loop_timer *t = loop_timer_create(l, stop, NULL);

	(void)state;
	tr.a = loop_defer_create(l, note_a, &tr);
	tr.b = loop_defer_create(l, note_b, &tr);
	loop_defer_start(tr.a);
	loop_defer_start(tr.b);
	loop_defer_stop(tr.a);
	loop_timer_start_ms(t, 1);
	run();
	assert_string_equal(tr.text, "b");
	loop_defer_free(tr.a);
	loop_defer_free(tr.b);
	loop_timer_free(t);
}

static void
three_rounds(void *arg)
{
	struct trace *tr = arg;

	assert_false(loop_timer_pending(tr->t));
	if (++tr->rounds < 3) {
		loop_timer_start_us(tr->t, 700);
		assert_true(loop_timer_pending(tr->t));
		return;
	}
	tr->seen_us = clock_mono_us();
	loop_timer_free(tr->t);
	loop_stop(l);
}

static void
timer_restarts_from_its_callback_and_is_never_early(void **state)
{
	struct trace tr = {.rounds = 0};

	(void)state;
	tr.t = loop_timer_create(l, three_rounds, &tr);
	tr.started_us = clock_mono_us();
	loop_timer_start_us(tr.t, 700);
	run();
	assert_int_equal(tr.rounds, 3);
	assert_true(tr.seen_us - tr.started_us >= 2100);
}

static void
starting_a_timer_again_replaces_it(void **state)
{
	struct trace tr = {.text = ""};
	struct loop_timer *a = loop_timer_create(l, note_a, &tr);
	struct loop_timer *b = loop_timer_create(l, stop, NULL);

	(void)state;
	loop_timer_start_ms(a, 1);
	loop_timer_start_ms(a, INT64_MAX);
	assert_true(loop_timer_pending(a));
	loop_timer_start_ms(b, 5);
	run();
	assert_string_equal(tr.text, "");
	loop_timer_stop(a);
	assert_false(loop_timer_pending(a));
	loop_timer_free(a);
	loop_timer_free(b);
}

static void
burn_and_compare(void *arg)
{
	int64_t *seen = arg;
	int64_t until = clock_mono_ms() + 5;

	seen[0] = loop_now_ms(l);
	while (clock_mono_ms() < until)
		continue;
	seen[1] = loop_now_ms(l);
	loop_stop(l);
}

static void
now_stands_still_within_a_turn(void **state)
{
	int64_t seen[2] = {0}, before = loop_now_ms(l);
	struct loop_timer *t = loop_timer_create(l, burn_and_compare, seen);

	(void)state;
	loop_timer_start_ms(t, 2);
	run();
	assert_int_equal(seen[0], seen[1]);
	assert_true(seen[0] >= before + 2);
	assert_true(loop_now_ms(l) >= seen[0] + 5);
	loop_timer_free(t);
}

static void
stop_before_run_ends_it_at_once_and_only_once(void **state)
{
	int64_t begin = clock_mono_ms();
	struct loop_timer *t = loop_timer_create(l, stop, NULL);

	(void)state;
	loop_stop(l);
	loop_stop(l);
	run();
	loop_timer_start_ms(t, 10);
	run();
	assert_true(clock_mono_ms() - begin >= 9);
	loop_timer_free(t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, open_loop, close_loop)
	    CASE(defers_run_once_in_order_and_never_inside_start),
	    CASE(defer_that_starts_itself_does_not_starve_timers),
	    CASE(defer_may_free_itself_and_the_next),
	    CASE(stopped_defer_does_not_run),
	    CASE(timer_restarts_from_its_callback_and_is_never_early),
	    CASE(starting_a_timer_again_replaces_it),
	    CASE(now_stands_still_within_a_turn),
	    CASE(stop_before_run_ends_it_at_once_and_only_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
