/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_child.c - what child.h promises, with real processes.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/strbuf.h"
#include "event/loop.h"
#include "own_spawner.h"
#include "proc/child.h"

#define CHILDREN_AT_ONCE 100

static struct own_spawner spawner;

struct fixture {
	struct loop *loop;
	struct launcher *launcher;
	struct children *cs;
	int told; /* callbacks so far */
	int wanted;
	struct child_result last;
	char *head, *tail, *errors; /* copies of the last child's output */
};

static char *const plain_env[] = {(char *)"PATH=/usr/bin:/bin", NULL};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err err;

	f->loop = loop_create(&err);
	assert_non_null(f->loop);
	f->launcher = launcher_create(f->loop, spawner.door[SPAWNER_OUTSIDE], &err);
	assert_non_null(f->launcher);
	f->cs = children_create(f->loop, f->launcher, &err);
	assert_non_null(f->cs);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	children_free(f->cs);
	launcher_free(f->launcher);
	loop_free(f->loop);
	mem_free(f->head);
	mem_free(f->tail);
	mem_free(f->errors);
	free(f);
	return 0;
}

static void
ended(struct child *c, const struct child_result *r, void *arg)
{
	struct fixture *f = arg;

	(void)c;
	mem_free(f->head);
	mem_free(f->tail);
	mem_free(f->errors);
	f->last = *r;
	f->head = mem_dup(r->out.head, r->out.head_len);
	f->tail = r->out.tail != NULL ? mem_dup(r->out.tail, r->out.tail_len) : NULL;
	f->errors = mem_dup(r->err.head, r->err.head_len);
	if (++f->told == f->wanted)
		loop_stop(f->loop);
}

static void
wait_for(struct fixture *f, int told)
{
	struct err err;

	f->wanted = told;
	if (f->told < told)
		assert_int_equal(loop_run(f->loop, &err), 0);
	assert_int_equal(f->told, told);
}

static struct child *
spawn(struct fixture *f, const struct child_spec *spec)
{
	struct err err;
	struct child *c = child_spawn(f->cs, spec, ended, f, &err);

	assert_non_null(c);
	return c;
}

static struct child_spec
shell(char *argv[4], const char *script)
{
	struct child_spec spec = {
	    .launch = {.argv = argv, .env = plain_env, .uid = (uid_t)-1},
	    .max_output_bytes = 65536,
	    .max_error_bytes = 65536,
	    .grace_ms = 5000,
	};

	argv[0] = (char *)"/bin/sh";
	argv[1] = (char *)"-c";
	argv[2] = (char *)script;
	argv[3] = NULL;
	return spec;
}

static void
run_shell(struct fixture *f, const char *script)
{
	char *argv[4];
	struct child_spec spec = shell(argv, script);

	spawn(f, &spec);
	wait_for(f, f->told + 1);
}

static void
tells_status_and_both_outputs(void **state)
{
	struct fixture *f = *state;

	run_shell(f, "echo out; echo err >&2; exit 3");
	assert_true(WIFEXITED(f->last.status));
	assert_int_equal(WEXITSTATUS(f->last.status), 3);
	assert_string_equal(f->head, "out\n");
	assert_string_equal(f->errors, "err\n");
	assert_null(f->tail);
	assert_int_equal(f->last.out.total, 4);
	assert_int_equal(f->last.exec_errno, 0);
	assert_false(f->last.timed_out);
	assert_false(f->last.killed);
	assert_int_equal(children_count(f->cs), 0);
}

static void
keeps_head_and_tail_within_the_bound(void **state)
{
	struct fixture *f = *state;
	static const size_t bounds[] = {
	    0, 1, 2, 3, 7, 100, 4095, 4096, 4097, 100000, 588893};
	struct strbuf all;
	char *argv[4];

	strbuf_init(&all, 1 << 20);
	for (int i = 1; i <= 100000; i++)
		strbuf_printf(&all, "%d\n", i);
	for (size_t i = 0; i < COUNT_OF(bounds); i++) {
		struct child_spec spec = shell(argv, "exec seq 1 100000");
		size_t half = bounds[i] / 2, rest = bounds[i] - half;

		spec.max_output_bytes = bounds[i];
		spawn(f, &spec);
		wait_for(f, f->told + 1);
		assert_int_equal(f->last.out.total, all.len);
		assert_int_equal(f->last.out.head_len, half);
		assert_memory_equal(f->head, all.data, half);
		assert_non_null(f->tail);
		assert_int_equal(f->last.out.tail_len, rest);
		assert_memory_equal(f->tail, all.data + all.len - rest, rest);
	}
	strbuf_fini(&all);
}

static void
output_that_just_fits_is_whole(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct child_spec spec = shell(argv, "exec seq 1 100000");

	spec.max_output_bytes = 588895;
	spawn(f, &spec);
	wait_for(f, 1);
	assert_null(f->tail);
	assert_int_equal(f->last.out.head_len, 588895);
	assert_memory_equal(f->head + 588895 - 7, "100000\n", 7);
}

static void
a_flood_is_bounded_and_ends_at_the_timeout(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct child_spec spec = shell(argv, "exec cat /dev/zero");

	spec.max_output_bytes = 1000;
	spec.timeout_ms = 100;
	spawn(f, &spec);
	wait_for(f, 1);
	assert_true(f->last.timed_out);
	assert_true(WIFSIGNALED(f->last.status));
	assert_int_equal(WTERMSIG(f->last.status), SIGTERM);
	assert_true(f->last.out.total > 1000);
	assert_int_equal(f->last.out.head_len + f->last.out.tail_len, 1000);
	assert_true(f->last.duration_ms >= 100);
}

static void
input_arrives_whole(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct child_spec spec = shell(argv, "exec cat");
	size_t len = 1 << 20;
	char *input = malloc(len);

	for (size_t i = 0; i < len; i++)
		input[i] = (char)(i * 31 + i / 251);
	spec.input = input;
	spec.input_len = len;
	spec.max_output_bytes = len;
	spawn(f, &spec);
	wait_for(f, 1);
	assert_int_equal(f->last.out.head_len, len);
	assert_memory_equal(f->head, input, len);
	free(input);
}

static void
refused_input_is_no_failure(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct child_spec spec = shell(argv, "exec 0<&-; echo fine");
	char *input = calloc(1, 1 << 20);

	spec.input = input;
	spec.input_len = 1 << 20;
	spawn(f, &spec);
	wait_for(f, 1);
	assert_int_equal(f->last.status, 0);
	assert_string_equal(f->head, "fine\n");
	free(input);
}

static void
no_input_is_end_of_file(void **state)
{
	struct fixture *f = *state;

	run_shell(f, "cat; echo end");
	assert_string_equal(f->head, "end\n");
}

static void
who_ignores_term_is_killed_after_the_grace(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct child_spec spec =
	    shell(argv, "trap '' TERM; echo up; sleep 1000; sleep 1000");

	spec.timeout_ms = 100;
	spec.grace_ms = 100;
	spawn(f, &spec);
	wait_for(f, 1);
	assert_true(f->last.timed_out);
	assert_int_equal(WTERMSIG(f->last.status), SIGKILL);
	assert_true(f->last.duration_ms >= 200);
	assert_true(f->last.duration_ms < 5000);
}

/* the end was told: whatever the output names is dead and reaped */
static void
assert_gone(const char *text)
{
	pid_t pid = (pid_t)strtol(text, NULL, 10);

	assert_true(pid > 1);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
}

static void
a_grandchild_that_holds_the_pipes_is_killed(void **state)
{
	struct fixture *f = *state;

	run_shell(f, "sleep 1000 & echo $!; exit 5");
	assert_int_equal(WEXITSTATUS(f->last.status), 5);
	assert_gone(f->head);
}

static void
a_grandchild_that_holds_nothing_is_killed_too(void **state)
{
	struct fixture *f = *state;

	run_shell(f, "sleep 1000 </dev/null >/dev/null 2>&1 & echo $!");
	assert_int_equal(f->last.status, 0);
	assert_gone(f->head);
}

static void
the_timeout_reaches_the_whole_group(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct child_spec spec = shell(argv, "sleep 1000 & echo $!; wait");

	spec.timeout_ms = 100;
	spawn(f, &spec);
	wait_for(f, 1);
	assert_int_equal(WTERMSIG(f->last.status), SIGTERM);
	assert_gone(f->head);
}

static void
what_cannot_start_says_why(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *command, *cwd, *step;
		int errnum;
	} cases[] = {
	    {"/nonexistent/command", NULL, "exec", ENOENT},
	    {"no-such-command-in-path", NULL, "exec", ENOENT},
	    {"/etc/passwd", NULL, "exec", EACCES},
	    {"/bin/true", "/nonexistent", "chdir", ENOENT},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char *argv[] = {(char *)cases[i].command, NULL};
		struct child_spec spec = {
		    .launch = {.argv = argv,
			.env = plain_env,
			.cwd = cases[i].cwd,
			.uid = (uid_t)-1},
		};

		spawn(f, &spec);
		wait_for(f, f->told + 1);
		assert_int_equal(f->last.exec_errno, cases[i].errnum);
		assert_string_equal(f->last.failed_step, cases[i].step);
	}
}

static void
commands_are_found_in_the_path_of_their_environment(void **state)
{
	struct fixture *f = *state;
	char *env[] = {(char *)"PATH=:/nonexistent:/etc/passwd:/usr/bin:/bin", NULL};
	char *argv[] = {(char *)"true", NULL};
	struct child_spec spec = {
	    .launch = {.argv = argv, .env = env, .uid = (uid_t)-1}};

	spawn(f, &spec);
	wait_for(f, 1);
	assert_int_equal(f->last.exec_errno, 0);
	assert_int_equal(f->last.status, 0);
}

static void
only_three_descriptors_are_handed_over(void **state)
{
	struct fixture *f = *state;
	int leaks[20];

	for (size_t i = 0; i < COUNT_OF(leaks); i++)
		leaks[i] = dup(2);
	/* ls has the directory open as 3 */
	run_shell(f, "exec ls /proc/self/fd");
	assert_string_equal(f->head, "0\n1\n2\n3\n");
	for (size_t i = 0; i < COUNT_OF(leaks); i++)
		close(leaks[i]);
}

struct spoken {
	char text[64];
	size_t len; /* of all that came */
	int told;   /* callbacks of the end before the last bytes */
	const struct fixture *f;
};

static void
on_spoken(const char *bytes, size_t len, void *arg)
{
	struct spoken *s = arg;
	size_t room = sizeof(s->text) - 1;

	if (s->len < room)
		memcpy(
		    s->text + s->len, bytes, len < room - s->len ? len : room - s->len);
	s->len += len;
	s->told = s->f->told;
}

static void
what_is_said_on_the_fourth_descriptor_is_heard_before_the_end(void **state)
{
	static const struct {
		const char *script;
		size_t len;
		const char *text; /* NULL: not compared */
	} cases[] = {
	    {"echo hello >&3; echo out; echo again >&3", 12, "hello\nagain\n"},
	    {"exec 3>&-; echo out", 0, ""},
	    /* a flood is read to its end, and nothing of it kept */
	    {"head -c 3000000 /dev/zero >&3; echo out", 3000000, NULL},
	    {"exec sh -c 'ls /proc/self/fd >&3; echo out'", 10, "0\n1\n2\n3\n4\n"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct spoken s = {.f = f};
		char *argv[4];
		struct child_spec spec = shell(argv, cases[i].script);

		spec.spoken = on_spoken;
		spec.spoken_arg = &s;
		spawn(f, &spec);
		wait_for(f, f->told + 1);
		assert_int_equal(f->last.status, 0);
		assert_string_equal(f->head, "out\n");
		assert_int_equal(s.len, cases[i].len);
		assert_true(s.told < f->told);
		if (cases[i].text != NULL)
			assert_string_equal(s.text, cases[i].text);
	}
}

static void
closed_standard_descriptors_of_the_parent_do_no_harm(void **state)
{
	struct fixture *f = *state;
	int saved = dup(0);

	close(0);
	run_shell(f, "cat; echo out; echo err >&2");
	dup2(saved, 0);
	close(saved);
	assert_string_equal(f->head, "out\n");
	assert_string_equal(f->errors, "err\n");
}

static void
the_environment_is_exactly_the_given_one(void **state)
{
	struct fixture *f = *state;
	char *env[] = {(char *)"A=1", (char *)"B=two words", (char *)"C=", NULL};
	char *argv[] = {(char *)"/usr/bin/env", NULL};
	struct child_spec spec = {
	    .launch = {.argv = argv, .env = env, .uid = (uid_t)-1},
	    .max_output_bytes = 1000,
	};

	setenv("SECRET", "not for children", 1);
	spawn(f, &spec);
	wait_for(f, 1);
	assert_string_equal(f->head, "A=1\nB=two words\nC=\n");
}

static void
signal_mask_and_dispositions_are_reset(void **state)
{
	struct fixture *f = *state;
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigaddset(&mask, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	signal(SIGHUP, SIG_IGN);
	/* grep itself: a shell would block and ignore as it likes */
	run_shell(f, "exec grep -E '^Sig(Blk|Ign)' /proc/self/status");
	signal(SIGHUP, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &mask, NULL);
	/*
	 * glibc's posix_spawn, by which make runs us, leaves its own two signals (32
	 * and 33) ignored, and nobody can change them back through libc.
	 */
	if (strstr(f->head, "SigIgn:\t0000000180000000\n") == NULL)
		assert_string_equal(f->head, "SigBlk:\t0000000000000000\n"
					     "SigIgn:\t0000000000000000\n");
	else
		assert_non_null(strstr(f->head, "SigBlk:\t0000000000000000\n"));
}

static void
the_child_leads_its_group_and_cannot_gain_privileges(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct child_spec spec =
	    shell(argv, "[ \"$(cut -d' ' -f5 /proc/$$/stat)\" = $$ ] && echo leads; "
			"grep NoNewPrivs /proc/self/status");

	spawn(f, &spec);
	wait_for(f, 1);
	assert_string_equal(f->head, "leads\nNoNewPrivs:\t1\n");
}

static void
limits_hold(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct child_spec spec = shell(argv, "ulimit -n; ulimit -c; ulimit -H -n");

	spec.launch.limits[0] = (struct launch_limit){RLIMIT_NOFILE, 17};
	spec.launch.limits[1] = (struct launch_limit){RLIMIT_CORE, 0};
	spec.launch.limit_count = 2;
	spawn(f, &spec);
	wait_for(f, 1);
	assert_string_equal(f->head, "17\n0\n17\n");
}

static void
kill_after_the_timeout_never_lengthens_the_grace(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct child_spec spec = shell(argv, "trap '' TERM; sleep 1000; sleep 1000");
	struct child *c;

	spec.grace_ms = 60000;
	c = spawn(f, &spec);
	child_kill(c, 30000);
	child_kill(c, 50);
	child_kill(c, 60000);
	wait_for(f, 1);
	assert_true(f->last.killed);
	assert_false(f->last.timed_out);
	assert_true(WIFSIGNALED(f->last.status));
	assert_true(f->last.duration_ms < 10000);
}

static void
many_at_once(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct child_spec spec = shell(argv, "read x; echo $x; exit 4");

	spec.input = "word\n";
	spec.input_len = 5;
	for (int i = 0; i < CHILDREN_AT_ONCE; i++)
		spawn(f, &spec);
	assert_int_equal(children_count(f->cs), CHILDREN_AT_ONCE);
	wait_for(f, CHILDREN_AT_ONCE);
	assert_int_equal(children_count(f->cs), 0);
	assert_int_equal(WEXITSTATUS(f->last.status), 4);
	assert_string_equal(f->head, "word\n");
}

static void
free_kills_who_still_runs(void **state)
{
	struct fixture *f = *state;
	char *argv[4], byte;
	struct child_spec spec = shell(argv, "trap '' TERM; sleep 1000 & sleep 1000");
	struct err err;
	int lifeline[2];

	/* every process of the trees holds an end */
	assert_int_equal(pipe(lifeline), 0);
	for (int i = 0; i < 5; i++) {
		struct launch_spec how = spec.launch;

		for (int fd = 0; fd < LAUNCH_FDS; fd++)
			how.fds[fd] = -1;
		how.fds[1] = dup(lifeline[1]);
		assert_non_null(launch(f->launcher, &how, NULL, NULL, &err));
		spawn(f, &spec);
	}
	close(lifeline[1]);
	children_free(f->cs);
	launcher_free(f->launcher);
	assert_int_equal(read(lifeline[0], &byte, 1), 0);
	close(lifeline[0]);
	assert_int_equal(f->told, 0);
	f->launcher = launcher_create(f->loop, spawner.door[SPAWNER_OUTSIDE], &err);
	assert_non_null(f->launcher);
	f->cs = children_create(f->loop, f->launcher, &err);
	assert_non_null(f->cs);
}

/* called when the command has said that it runs */
static void
kill_spawner(const char *bytes, size_t len, void *arg)
{
	(void)bytes;
	(void)len;
	(void)arg;
	own_spawner_kill(&spawner);
	own_spawner_again(&spawner);
}

static void
a_spawner_that_dies_loses_its_children_and_the_next_one_serves(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct child_spec spec = shell(argv, "sleep 1000 & echo $!; echo up >&3; wait");

	spec.spoken = kill_spawner;
	spawn(f, &spec);
	wait_for(f, 1);
	assert_true(f->last.lost);
	assert_gone(f->head);
	run_shell(f, "echo again");
	assert_false(f->last.lost);
	assert_string_equal(f->head, "again\n");
}

static void
spawn_again(struct child *c, const struct child_result *r, void *arg)
{
	struct fixture *f = arg;
	char *argv[4];
	struct child_spec spec = shell(argv, "echo second");

	(void)c;
	assert_int_equal(r->status, 0);
	spawn(f, &spec);
}

static void
free_all(struct child *c, const struct child_result *r, void *arg)
{
	struct fixture *f = arg;
	struct err err;

	(void)c;
	(void)r;
	children_free(f->cs);
	f->cs = children_create(f->loop, f->launcher, &err);
	assert_non_null(f->cs);
	loop_stop(f->loop);
}

static void
the_callback_may_start_and_free(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct child_spec spec = shell(argv, "exit 0");
	struct err err;

	assert_non_null(child_spawn(f->cs, &spec, spawn_again, f, &err));
	wait_for(f, 1);
	assert_string_equal(f->head, "second\n");

	for (int i = 0; i < 3; i++)
		assert_non_null(child_spawn(f->cs, &spec, free_all, f, &err));
	assert_int_equal(loop_run(f->loop, &err), 0);
	assert_int_equal(f->told, 1);
}

static void
without_memory_nothing_starts_and_nothing_leaks(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct child_spec spec = shell(argv, "exit 0");
	struct err err;
	bool started = false;

	spec.input = "x";
	spec.input_len = 1;
	for (unsigned n = 1; !started; n++) {
		assert_true(n < 100);
		mem_fail_nth(n);
		started = child_spawn(f->cs, &spec, ended, f, &err) != NULL;
		mem_fail_nth(0);
		if (!started)
			assert_int_equal(err.code, ERR_NOMEM);
	}
	wait_for(f, 1);
}

static void
commands_split_at_spaces_with_quotes(void **state)
{
	static const struct {
		const char *command;
		const char *words[5];
	} cases[] = {
	    {"/usr/bin/wc -w", {"/usr/bin/wc", "-w"}},
	    {"  a\t b\n", {"a", "b"}},
	    {"a", {"a"}},
	    {"", {NULL}},
	    {" \t ", {NULL}},
	    {"a \"b c\" d", {"a", "b c", "d"}},
	    {"a\"b c\"d", {"ab cd"}},
	    {"\"\"", {""}},
	    {"a \"\" b", {"a", "", "b"}},
	    {"\"a\\\"b\\\\c\"", {"a\"b\\c"}},
	    {"a\\ b", {"a\\", "b"}},
	    {"'a b'", {"'a", "b'"}},
	};
	char **argv;
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		size_t n = 0;

		assert_int_equal(argv_split(cases[i].command, &argv, &err), 0);
		for (; cases[i].words[n] != NULL; n++)
			assert_string_equal(argv[n], cases[i].words[n]);
		assert_null(argv[n]);
		mem_free(argv);
	}
	assert_int_equal(argv_split("a \"b", &argv, &err), -1);
	assert_int_equal(err.code, ERR_INVALID);
	assert_int_equal(argv_split("\"a\\", &argv, &err), -1);
}

#define WITH_LOOP(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

static int
start_spawner(void **state)
{
	const struct spawner_opts opts = {.uid = (uid_t)-1};

	(void)state;
	own_spawner_start(&spawner, &opts);
	return 0;
}

static int
stop_spawner(void **state)
{
	(void)state;
	own_spawner_stop(&spawner);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    WITH_LOOP(tells_status_and_both_outputs),
	    WITH_LOOP(keeps_head_and_tail_within_the_bound),
	    WITH_LOOP(output_that_just_fits_is_whole),
	    WITH_LOOP(a_flood_is_bounded_and_ends_at_the_timeout),
	    WITH_LOOP(input_arrives_whole),
	    WITH_LOOP(refused_input_is_no_failure),
	    WITH_LOOP(no_input_is_end_of_file),
	    WITH_LOOP(who_ignores_term_is_killed_after_the_grace),
	    WITH_LOOP(a_grandchild_that_holds_the_pipes_is_killed),
	    WITH_LOOP(a_grandchild_that_holds_nothing_is_killed_too),
	    WITH_LOOP(the_timeout_reaches_the_whole_group),
	    WITH_LOOP(what_cannot_start_says_why),
	    WITH_LOOP(commands_are_found_in_the_path_of_their_environment),
	    WITH_LOOP(only_three_descriptors_are_handed_over),
	    WITH_LOOP(what_is_said_on_the_fourth_descriptor_is_heard_before_the_end),
	    WITH_LOOP(closed_standard_descriptors_of_the_parent_do_no_harm),
	    WITH_LOOP(the_environment_is_exactly_the_given_one),
	    WITH_LOOP(signal_mask_and_dispositions_are_reset),
	    WITH_LOOP(the_child_leads_its_group_and_cannot_gain_privileges),
	    WITH_LOOP(limits_hold),
	    WITH_LOOP(kill_after_the_timeout_never_lengthens_the_grace),
	    WITH_LOOP(many_at_once),
	    WITH_LOOP(free_kills_who_still_runs),
	    WITH_LOOP(a_spawner_that_dies_loses_its_children_and_the_next_one_serves),
	    WITH_LOOP(the_callback_may_start_and_free),
	    WITH_LOOP(without_memory_nothing_starts_and_nothing_leaks),
	    cmocka_unit_test(commands_split_at_spaces_with_quotes),
	};

	return cmocka_run_group_tests(tests, start_spawner, stop_spawner);
}
