/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_spans.c - which requests are traced, and that a collector that is not there
 * costs a bounded number of bytes, and spans.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/clock.h"
#include "telemetry/spans.h"

#define TRACE  "0af7651916cd43dd8448eb211c80319c"
#define SPAN   "b7ad6b7169203331"
#define PARENT "00-" TRACE "-" SPAN "-"

static struct loop *l;
static struct resolver *rv;
static struct scoreboard *board;
static struct settings *settings;

static struct spans *
make(const char *const options[])
{
	static char *const no_env[] = {NULL};
	struct err err = ERR_INIT;
	struct spans *s;

	settings_free(settings);
	settings = settings_load(NULL, no_env, (char *const *)(uintptr_t)options, &err);
	if (settings == NULL)
		fail_msg("%s", err.text);
	s = spans_create(l, rv, settings, board, 3, &err);
	if (err.code != ERR_NONE)
		fail_msg("%s", err.text);
	return s;
}

static int
begin(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	l = loop_create(&err);
	rv = l == NULL ? NULL : resolver_create(l, &err);
	board = scoreboard_create(&err);
	return rv == NULL || board == NULL ? -1 : 0;
}

static int
end(void **state)
{
	(void)state;
	settings_free(settings);
	settings = NULL;
	scoreboard_free(board);
	resolver_free(rv);
	loop_free(l);
	return 0;
}

static uint64_t
counted(enum score_counter c)
{
	return atomic_load(&board->slots[3].counters[c]);
}

static void
without_an_endpoint_there_are_none(void **state)
{
	static const char *const none[] = {NULL};

	(void)state;
	assert_null(make(none));
	assert_true(spans_are_sent(NULL));
	spans_flush(NULL);
	spans_free(NULL);
}

static void
a_client_decides_or_chance_does(void **state)
{
	static const char *const never[] = {
	    "traces.endpoint=http://127.0.0.1:9/v1/traces", "traces.sample=0", NULL};
	static const char *const half[] = {
	    "traces.endpoint=http://127.0.0.1:9/v1/traces", "traces.sample=0.5", NULL};
	struct spans *s = make(never);
	struct span_request sr;
	int traced = 0;

	(void)state;
	spans_begin(s, PARENT "01", &sr);
	assert_true(span_request_is_traced(&sr));
	assert_int_equal(strlen(sr.parent), TRACE_PARENT_LEN);
	assert_int_equal(strncmp(sr.parent, "00-" TRACE "-", 36), 0);
	assert_string_equal(sr.parent + 52, "-01");
	assert_string_equal(sr.up, SPAN);
	assert_int_not_equal(strncmp(sr.parent + 36, SPAN, 16), 0);
	/* not sampled, none, and none that is valid */
	spans_begin(s, PARENT "00", &sr);
	assert_false(span_request_is_traced(&sr));
	spans_begin(s, NULL, &sr);
	assert_false(span_request_is_traced(&sr));
	spans_begin(s, "nonsense", &sr);
	assert_false(span_request_is_traced(&sr));
	spans_free(s);

	s = make(half);
	for (int i = 0; i < 2000; i++) {
		spans_begin(s, NULL, &sr);
		if (!span_request_is_traced(&sr))
			continue;
		traced++;
		assert_true(trace_check(sr.parent, TRACE_PARENT_LEN));
		assert_string_equal(sr.up, "");
	}
	assert_in_range(traced, 800, 1200);
	spans_begin(s, PARENT "00", &sr);
	assert_false(span_request_is_traced(&sr));
	spans_free(s);
}

static void
stop(void *arg)
{
	(void)arg;
	loop_stop(l);
}

static void
a_collector_that_is_gone_costs_spans_within_bounds(void **state)
{
	static const char *const gone[] = {
	    "traces.endpoint=http://127.0.0.1:9/v1/traces", NULL};
	struct spans *s = make(gone);
	struct loop_timer *t = loop_timer_create(l, stop, NULL);
	struct uuid id = {.b = {1}};
	struct span_run run = {
	    .trace = PARENT "01",
	    .task = &id,
	    .attempt = 1,
	    .application = 1,
	    .type = "t",
	    .queue = "q",
	    .due_us = 1000000,
	    .start_us = 2000000,
	    .end_us = 1500000,
	    .outcome = "succeeded",
	    .error = "",
	};
	struct err err = ERR_INIT;
	uint64_t dropped;

	(void)state;
	for (int i = 0; i < 10000; i++)
		spans_add_run(s, &run);
	/* 8 batches of at most 512, two spans a run */
	dropped = counted(SCORE_spans_dropped_total);
	assert_in_range(dropped, 20000 - 8 * 512, 19999);
	assert_false(spans_are_sent(s));
	run.trace = PARENT "00";
	spans_add_run(s, &run);
	assert_int_equal(counted(SCORE_spans_dropped_total), dropped);
	for (int i = 0; i < 100 && counted(SCORE_span_exports_failed_total) == 0; i++) {
		loop_timer_start_ms(t, 50);
		assert_int_equal(loop_run(l, &err), 0);
	}
	assert_true(counted(SCORE_span_exports_failed_total) > 0);
	assert_int_equal(counted(SCORE_spans_exported_total), 0);
	loop_timer_free(t);
	spans_free(s);
	/* what was still there is counted too */
	assert_int_equal(counted(SCORE_spans_dropped_total), 20000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		without_an_endpoint_there_are_none, begin, end),
	    cmocka_unit_test_setup_teardown(
		a_client_decides_or_chance_does, begin, end),
	    cmocka_unit_test_setup_teardown(
		a_collector_that_is_gone_costs_spans_within_bounds, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
