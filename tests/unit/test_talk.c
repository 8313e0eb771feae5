/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_talk.c - what talk.h promises, with real processes.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "event/loop.h"
#include "own_spawner.h"
#include "proc/talk.h"

#define UNSENT_MAX (256 * 1024)
#define LINE_MAX_  1000

struct fixture {
	struct loop *loop;
	struct own_spawner spawner;
	struct launcher *launcher;
	struct talk *talk; /* NULL once it has ended */
	struct loop_timer *timer;
	struct strbuf out, err; /* "line|" for each */
	int lines, flushed, deaf, mute, too_long, ended;
	int status, errnum;
	int stop_at; /* lines, until the loop stops */
	uint64_t bytes;
};

static char *const plain_env[] = {(char *)"PATH=/usr/bin:/bin", NULL};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err err;

	own_spawner_start(
	    &f->spawner, &(struct spawner_opts){.uid = (uid_t)-1, .gid = (gid_t)-1});
	f->loop = loop_create(&err);
	assert_non_null(f->loop);
	f->launcher = launcher_create(f->loop, f->spawner.door[SPAWNER_OUTSIDE], &err);
	assert_non_null(f->launcher);
	strbuf_init(&f->out, 1 << 20);
	strbuf_init(&f->err, 1 << 20);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	talk_free(f->talk);
	loop_timer_free(f->timer);
	launcher_free(f->launcher);
	own_spawner_stop(&f->spawner);
	loop_free(f->loop);
	strbuf_fini(&f->out);
	strbuf_fini(&f->err);
	free(f);
	return 0;
}

static void
put(struct strbuf *sb, const struct talk_event *e)
{
	strbuf_put(sb, e->line, e->len);
	strbuf_putc(sb, '|');
}

static void
on_talk(struct talk *t, const struct talk_event *e, void *arg)
{
	struct fixture *f = arg;

	assert_ptr_equal(t, f->talk);
	switch (e->kind) {
	case TALK_LINE:
		f->lines++;
		f->bytes += e->len;
		if (f->lines <= 1000)
			put(&f->out, e);
		if (f->lines == f->stop_at)
			loop_stop(f->loop);
		break;
	case TALK_ERROR_LINE:
		put(&f->err, e);
		break;
	case TALK_TOO_LONG:
		f->too_long++;
		talk_end(t, 0);
		break;
	case TALK_FLUSHED:
		f->flushed++;
		loop_stop(f->loop);
		break;
	case TALK_DEAF:
		f->deaf++;
		break;
	case TALK_MUTE:
		f->mute++;
		break;
	case TALK_ENDED:
		f->ended++;
		f->status = e->end->status;
		f->errnum = e->end->errnum;
		f->talk = NULL;
		loop_stop(f->loop);
		break;
	}
}

static void
start(struct fixture *f, const char *script)
{
	char *const argv[] = {
	    (char *)"/bin/sh", (char *)"-c", (char *)(uintptr_t)script, NULL};
	struct talk_opts opts = {
	    .launch = {.argv = argv,
		.env = plain_env,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1},
	    .line_max = LINE_MAX_,
	    .unsent_max = UNSENT_MAX,
	};
	struct err err = ERR_INIT;

	f->talk = talk_start(f->loop, f->launcher, &opts, on_talk, f, &err);
	if (f->talk == NULL)
		fail_msg("%s", err.text);
}

static void
on_late(void *arg)
{
	(void)arg;
	fail_msg("not within 20 s");
}

static void
run(struct fixture *f)
{
	if (f->timer == NULL)
		f->timer = loop_timer_create(f->loop, on_late, f);
	loop_timer_start_ms(f->timer, 20000);
	assert_int_equal(loop_run(f->loop, NULL), 0);
}

static void
say(struct fixture *f, const char *text)
{
	struct err err = ERR_INIT;

	if (talk_write(f->talk, text, strlen(text), &err) != 0)
		fail_msg("%s", err.text);
}

static void
lines_go_both_ways(void **state)
{
	struct fixture *f = *state;

	start(f, "while read -r l; do echo \"<$l>\"; echo \"!$l\" >&2; done; echo end");
	f->stop_at = 2;
	say(f, "one\n");
	say(f, "two\n");
	run(f);
	assert_string_equal(f->out.data, "<one>|<two>|");
	assert_int_equal(talk_taken(f->talk), 8);
	assert_int_equal(talk_written(f->talk), 8);
	f->stop_at = 3;
	say(f, "three\n");
	run(f);
	talk_close(f->talk);
	f->stop_at = 0;
	run(f);
	assert_string_equal(f->out.data, "<one>|<two>|<three>|end|");
	assert_string_equal(f->err.data, "!one|!two|!three|");
	assert_int_equal(f->ended, 1);
	assert_int_equal(f->status, 0);
}

static void
all_that_it_wrote_is_told_before_its_end(void **state)
{
	struct fixture *f = *state;

	start(f, "seq 1 50000; printf 'no end' >&2; exit 3");
	run(f);
	assert_int_equal(f->lines, 50000);
	assert_int_equal(f->bytes, 9 + 90 * 2 + 900 * 3 + 9000 * 4 + 40001 * 5);
	assert_string_equal(f->err.data, "no end|");
	assert_int_equal(f->ended, 1);
	assert_int_equal(WEXITSTATUS(f->status), 3);
}

static void
one_that_does_not_read_is_waited_for_within_a_bound(void **state)
{
	struct fixture *f = *state;
	char line[1000];
	struct err err = ERR_INIT;
	int taken = 0;

	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	start(f, "exec wc -l");
	for (int i = 0; i < 1000 && talk_write(f->talk, line, sizeof(line), &err) == 0;
	     i++)
		taken++;
	assert_int_equal(err.code, ERR_LIMIT);
	assert_int_equal(taken, UNSENT_MAX / sizeof(line));
	assert_int_equal(talk_unsent(f->talk), taken * sizeof(line));
	assert_int_equal(talk_written(f->talk), 0);
	/* more than a pipe holds: until all is written */
	run(f);
	assert_int_equal(f->flushed, 1);
	assert_int_equal(talk_unsent(f->talk), 0);
	assert_int_equal(talk_written(f->talk), taken * sizeof(line));
	say(f, "more\n");
	talk_close(f->talk);
	run(f);
	assert_int_equal(strtol(f->out.data, NULL, 10), taken + 1);
	assert_int_equal(f->ended, 1);
}

static void
the_end_comes_by_term_and_by_kill(void **state)
{
	struct fixture *f = *state;

	start(f, "trap 'echo bye; exit 4' TERM; echo up; while :; do sleep 0.05; done");
	f->stop_at = 1;
	run(f);
	talk_end(f->talk, 10000);
	f->stop_at = 0;
	run(f);
	assert_string_equal(f->out.data, "up|bye|");
	assert_int_equal(WEXITSTATUS(f->status), 4);

	strbuf_reset(&f->out);
	f->lines = 0;
	start(f, "trap '' TERM; echo up; while :; do sleep 0.05; done");
	f->stop_at = 1;
	run(f);
	talk_end(f->talk, 100);
	talk_end(f->talk, 60000); /* the earlier one counts */
	f->stop_at = 0;
	run(f);
	assert_int_equal(WTERMSIG(f->status), SIGKILL);

	start(f, "exec sleep 100");
	talk_end(f->talk, 0);
	run(f);
	assert_int_equal(WTERMSIG(f->status), SIGKILL);
	assert_int_equal(f->ended, 3);
}

static void
closed_ends_are_told(void **state)
{
	struct fixture *f = *state;
	struct loop_timer *tick;
	struct err err = ERR_INIT;

	start(f, "exec <&-; echo closed; exec >&-; exec sleep 100");
	tick = loop_timer_create(f->loop, (loop_cb *)loop_stop, f->loop);
	f->stop_at = 1;
	run(f);
	/* whoever has started it may hold its ends for a moment longer */
	for (int i = 0; (f->deaf == 0 || f->mute == 0) && i < 2000; i++) {
		if (f->deaf == 0)
			say(f, "heard by nobody\n");
		loop_timer_start_ms(tick, 5);
		run(f);
	}
	loop_timer_free(tick);
	assert_int_equal(f->deaf, 1);
	assert_int_equal(f->mute, 1);
	assert_int_equal(talk_write(f->talk, "x", 1, &err), -1);
	assert_int_equal(err.code, ERR_CLOSED);
	talk_end(f->talk, 0);
	run(f);
	assert_int_equal(f->ended, 1);
}

static void
a_line_that_is_too_long_is_told_once(void **state)
{
	struct fixture *f = *state;

	start(
	    f, "echo ok; head -c 100000 /dev/zero | tr '\\0' x; echo; exec sleep 100");
	run(f);
	assert_string_equal(f->out.data, "ok|");
	assert_int_equal(f->too_long, 1);
	assert_int_equal(f->ended, 1);
}

static void
long_lines_of_standard_error_come_in_parts(void **state)
{
	struct fixture *f = *state;

	start(f, "head -c 10000 /dev/zero | tr '\\0' x >&2; echo y >&2; echo z >&2");
	run(f);
	assert_int_equal(f->err.len, 10000 + 1 + 1 + 4); /* three parts, and z */
	assert_int_equal(f->err.data[TALK_ERROR_LINE_MAX], '|');
	assert_string_equal(f->err.data + f->err.len - 4, "y|z|");
}

static void
what_cannot_be_started_says_why(void **state)
{
	struct fixture *f = *state;
	char *const argv[] = {(char *)"/nonexistent/program", NULL};
	struct talk_opts opts = {
	    .launch = {.argv = argv,
		.env = plain_env,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1},
	    .line_max = LINE_MAX_,
	    .unsent_max = UNSENT_MAX,
	};
	struct err err = ERR_INIT;

	f->talk = talk_start(f->loop, f->launcher, &opts, on_talk, f, &err);
	assert_non_null(f->talk);
	run(f);
	assert_int_equal(f->ended, 1);
	assert_int_equal(f->errnum, 2); /* ENOENT */
}

static void
without_memory_nothing_is_started(void **state)
{
	struct fixture *f = *state;
	char *const argv[] = {(char *)"/bin/true", NULL};
	struct talk_opts opts = {
	    .launch = {.argv = argv,
		.env = plain_env,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1},
	    .line_max = LINE_MAX_,
	    .unsent_max = UNSENT_MAX,
	};
	struct err err = ERR_INIT;
	unsigned n = 0;

	do {
		mem_fail_nth(++n);
		f->talk = talk_start(f->loop, f->launcher, &opts, on_talk, f, &err);
		mem_fail_nth(0);
		assert_true(f->talk != NULL || err.code == ERR_NOMEM);
		assert_true(n < 100);
	} while (f->talk == NULL);
	assert_true(n > 3);
	run(f);
	assert_int_equal(f->ended, 1);
}

static void
freeing_ends_it_without_a_word(void **state)
{
	struct fixture *f = *state;

	start(f, "echo up; exec sleep 100");
	f->stop_at = 1;
	run(f);
	talk_free(f->talk);
	f->talk = NULL;
	assert_int_equal(f->ended, 0);
}

#define TALK_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TALK_TEST(lines_go_both_ways),
	    TALK_TEST(all_that_it_wrote_is_told_before_its_end),
	    TALK_TEST(one_that_does_not_read_is_waited_for_within_a_bound),
	    TALK_TEST(the_end_comes_by_term_and_by_kill),
	    TALK_TEST(closed_ends_are_told),
	    TALK_TEST(a_line_that_is_too_long_is_told_once),
	    TALK_TEST(long_lines_of_standard_error_come_in_parts),
	    TALK_TEST(what_cannot_be_started_says_why),
	    TALK_TEST(without_memory_nothing_is_started),
	    TALK_TEST(freeing_ends_it_without_a_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
