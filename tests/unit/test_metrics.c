/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_metrics.c - every counter of the scoreboard, summed, in Prometheus' format.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "portal/metrics.h"

static void
every_counter_is_there_once_and_summed(void **state)
{
	struct err err;
	struct scoreboard *sb = scoreboard_create(&err);
	struct strbuf out;
	char line[120];

	(void)state;
	assert_non_null(sb);
	strbuf_init(&out, 1 << 18);
	score_add(&sb->slots[0], SCORE_tasks_submitted_total, 40);
	score_add(&sb->slots[7], SCORE_tasks_submitted_total, 2);
	atomic_store(&sb->slots[0].state, SCORE_READY);
	atomic_store(&sb->slots[7].state, SCORE_READY);
	atomic_store(&sb->slots[8].state, SCORE_DRAINING);
	atomic_store(&sb->slots[8].restarts, 3);
	sb->started_wall_us = 1700000000000042;
	metrics_write(&out, sb);
	assert_false(strbuf_failed(&out));
	assert_non_null(strstr(out.data, "\nshoal_tasks_submitted_total 42\n"));
	assert_non_null(strstr(out.data, "# TYPE shoal_tasks_running gauge\n"));
	assert_non_null(strstr(out.data, "shoal_workers{state=\"ready\"} 2\n"));
	assert_non_null(strstr(out.data, "shoal_workers{state=\"draining\"} 1\n"));
	assert_non_null(strstr(out.data, "shoal_worker_restarts_total 3\n"));
	assert_non_null(
	    strstr(out.data, "shoal_start_time_seconds 1700000000.000042\n"));
	for (int c = 0; c < SCORE_COUNTER_COUNT; c++) {
		const char *at;

		snprintf(line, sizeof(line), "\nshoal_%s ",
		    score_counter_name((enum score_counter)c));
		at = strstr(out.data, line);
		assert_non_null(at);
		assert_null(strstr(at + 1, line));
	}
	assert_int_equal(out.data[out.len - 1], '\n');
	strbuf_fini(&out);
	scoreboard_free(sb);
}

static void
lists_are_told_by_pool(void **state)
{
	struct pools *pools = pools_create();
	struct list_told lists[2] = {{.list = LIST_MAIN, .length = 12}};
	struct strbuf out;

	(void)state;
	assert_non_null(pools);
	lists[1].list = list_of(pools_number(pools, "gpu", 3), true);
	lists[1].spilling = true;
	strbuf_init(&out, 1 << 16);
	metrics_lists(&out, pools, lists, 2);
	assert_false(strbuf_failed(&out));
	assert_non_null(strstr(out.data,
	    "\nshoal_list_length{pool=\"main\",list=\"dispatch:main\"} 12\n"));
	assert_non_null(strstr(
	    out.data, "\nshoal_list_spilling{pool=\"gpu\",list=\"commands:gpu\"} 1\n"));
	strbuf_fini(&out);
	pools_free(pools);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_counter_is_there_once_and_summed),
	    cmocka_unit_test(lists_are_told_by_pool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
