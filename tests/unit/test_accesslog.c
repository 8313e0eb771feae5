/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_accesslog.c - whole lines in few writes, bounded, and without secrets.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/attr.h"
#include "slurp.h"
#include "telemetry/accesslog.h"

static struct score_slot slot;
static char path[64];
static char text[1 << 20];

static size_t
slurp(const char *name)
{
	return slurp_into(name, text, sizeof(text));
}

static size_t
count(const char *what)
{
	return count_in(text, what);
}

static struct accesslog *
open_one(enum log_format format)
{
	struct accesslog_opts opts = {.path = path, .format = format, .slot = &slot};
	struct err err = ERR_INIT;
	struct accesslog *al = accesslog_create(&opts, &err);

	if (al == NULL)
		fail_msg("%s", err.text);
	return al;
}

static int
begin(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "test-accesslog-%ld", (long)getpid());
	unlink(path);
	memset(&slot, 0, sizeof(slot));
	log_identity("worker=2");
	return 0;
}

static int
end(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

static void
only_known_parameters_show_their_values(void **state)
{
	static const struct {
		const char *target, *shown;
	} rows[] = {
	    {"/v1/tasks", "/v1/tasks"},
	    {"/v1/tasks?", "/v1/tasks?"},
	    {"/v1/tasks?wait=5&limit=3", "/v1/tasks?wait=5&limit=3"},
	    {"/v1/tasks?api_key=abc&wait=5", "/v1/tasks?api_key=***&wait=5"},
	    {"/v1/tasks?abc", "/v1/tasks?***"},
	    {"/v1/tasks?ABC=1", "/v1/tasks?***"},
	    {"/v1/tasks?wait", "/v1/tasks?***"},
	    {"/v1/tasks?%77ait=5", "/v1/tasks?***"},
	    {"/v1/tasks?cursor=shoal_live_abc", "/v1/tasks?cursor=***"},
	    {"/v1/tasks?&&wait=1&", "/v1/tasks?&&wait=1&"},
	    {"/v1/tasks?a_name_that_is_longer_than_32_bytes=1", "/v1/tasks?***"},
	    {"/v1/tasks?x=a=b=c?d", "/v1/tasks?x=***"},
	};
	char shown[ACCESSLOG_TARGET], long_target[3000];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		accesslog_target(rows[i].target, shown);
		assert_string_equal(shown, rows[i].shown);
	}
	memset(long_target, 'x', sizeof(long_target) - 1);
	long_target[sizeof(long_target) - 1] = '\0';
	accesslog_target(long_target, shown);
	assert_int_equal(strlen(shown), ACCESSLOG_TARGET - 1);
}

static void
lines_wait_for_the_flush_and_have_one_format(void **state)
{
	struct accesslog *al = open_one(LOG_TEXT);

	(void)state;
	accesslog_put_refused(al, "applications", "127.0.0.1", "id-1", 400);
	assert_int_equal(slurp(path), 0);
	accesslog_flush(al);
	slurp(path);
	assert_string_equal(text + 24,
	    " worker=2 client=127.0.0.1 request=id-1 listener=applications method=- "
	    "target=\"\" status=400\n");
	accesslog_put_refused(al, "applications", "", "id-2", 431);
	accesslog_free(al);
	slurp(path);
	assert_int_equal(count("\n"), 2);
	unlink(path);
	al = open_one(LOG_JSON);
	accesslog_put_refused(al, "developers", "::1", "id-\"3", 400);
	accesslog_free(al);
	slurp(path);
	assert_non_null(strstr(text,
	    "\"worker\":2,\"client\":\"::1\",\"request\":\"id-\\\"3\",\"listener\":"
	    "\"developers\",\"method\":\"-\",\"target\":\"\",\"status\":400}\n"));
}

static void
many_lines_are_written_before_anybody_asks(void **state)
{
	struct accesslog *al = open_one(LOG_TEXT);

	(void)state;
	for (int i = 0; i < 5000; i++)
		accesslog_put_refused(al, "applications", "127.0.0.1", "id-1", 400);
	assert_true(slurp(path) > 200000);
	accesslog_free(al);
	slurp(path);
	assert_int_equal(count("\n"), 5000);
	assert_int_equal(
	    atomic_load(&slot.counters[SCORE_access_lines_dropped_total]), 0);
}

static void
a_pipe_that_nobody_reads_costs_lines_and_never_tears_one(void **state)
{
	struct accesslog *al;
	size_t lines, dropped;
	ssize_t n;
	int fd;

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	fd = open(path, O_RDONLY | O_NONBLOCK);
	assert_true(fd >= 0);
	al = open_one(LOG_TEXT);
	for (int i = 0; i < 6000; i++)
		accesslog_put_refused(al, "applications", "127.0.0.1", "id-1", 400);
	accesslog_flush(al);
	dropped = atomic_load(&slot.counters[SCORE_access_lines_dropped_total]);
	assert_true(dropped > 1000);
	lines = 0;
	for (;;) {
		n = read(fd, text, sizeof(text) - 1);
		if (n <= 0) {
			accesslog_flush(al);
			n = read(fd, text, sizeof(text) - 1);
			if (n <= 0)
				break;
		}
		text[n] = '\0';
		assert_int_equal(strncmp(text, "20", 2), 0);
		assert_int_equal(text[n - 1], '\n');
		lines += count(" status=400\n");
		assert_int_equal(count("\n"), count(" status=400\n"));
	}
	assert_int_equal(lines + dropped, 6000);
	accesslog_put_refused(al, "applications", "127.0.0.1", "again", 400);
	accesslog_flush(al);
	n = read(fd, text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	assert_non_null(strstr(text, "request=again"));
	accesslog_free(al);
	close(fd);
}

static void
rotation_keeps_what_was_for_the_old_file(void **state)
{
	struct accesslog *al = open_one(LOG_TEXT);
	struct err err = ERR_INIT;
	char rotated[80];

	(void)state;
	snprintf(rotated, sizeof(rotated), "%s.1", path);
	accesslog_put_refused(al, "applications", "", "before", 400);
	assert_int_equal(rename(path, rotated), 0);
	/* something that cannot be opened for writing */
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(accesslog_reopen(al, &err), -1);
	assert_non_null(strstr(err.text, "log.access"));
	accesslog_put_refused(al, "applications", "", "still", 400);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(accesslog_reopen(al, &err), 0);
	accesslog_put_refused(al, "applications", "", "after", 400);
	accesslog_free(al);
	slurp(rotated);
	unlink(rotated);
	assert_int_equal(count("\n"), 2);
	assert_int_equal(count("request=still"), 1);
	slurp(path);
	assert_int_equal(count("\n"), 1);
	assert_int_equal(count("request=after"), 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_known_parameters_show_their_values),
	    cmocka_unit_test_setup_teardown(
		lines_wait_for_the_flush_and_have_one_format, begin, end),
	    cmocka_unit_test_setup_teardown(
		many_lines_are_written_before_anybody_asks, begin, end),
	    cmocka_unit_test_setup_teardown(
		a_pipe_that_nobody_reads_costs_lines_and_never_tears_one, begin, end),
	    cmocka_unit_test_setup_teardown(
		rotation_keeps_what_was_for_the_old_file, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
