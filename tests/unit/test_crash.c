/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_crash.c - what a process that dies says, and that it dies as it would have.
 */
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

#include "base/attr.h"
#include "base/crash.h"
#include "base/log.h"
#include "slurp.h"

static char path[64];
static char text[200000];

static size_t
count(const char *what)
{
	return count_in(text, what);
}

static size_t
tell_two(void)
{
	log_urgent("crash report: request", "request=%s", "one");
	log_urgent("crash report: request", "request=%s", "two");
	return 2;
}

static size_t
fault(void)
{
	return (size_t) * (volatile int *)(uintptr_t)8;
}

/* the first descriptor that a report takes */
static int parent_pipe;

static volatile int *volatile nowhere = (volatile int *)(uintptr_t)16;

/* runs fn in a process of its own that is watched; its log is in text after it */
static int
die_by(void (*fn)(void))
{
	static const struct rlimit none = {0, 0};
	struct err err = ERR_INIT;
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "test-crash-%ld", (long)getpid());
	unlink(path);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* the sanitizers' own, and cmocka's */
		for (int signo = 1; signo < NSIG; signo++)
			(void)signal(signo, SIG_DFL);
		(void)setrlimit(RLIMIT_CORE, &none);
		if (log_open(path, LOG_ERROR, &err) != 0)
			_exit(1);
		log_identity("worker=2");
		parent_pipe = dup(STDIN_FILENO);
		close(parent_pipe);
		if (crash_watch(&err) != 0)
			_exit(2);
		fn();
		_exit(3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	(void)slurp_into(path, text, sizeof(text));
	unlink(path);
	return status;
}

static void
hold(int n, int *places)
{
	for (int i = 0; i < n; i++) {
		struct uuid id = {.b = {(uint8_t)(i + 1)}};

		places[i] = crash_hold(&id, 10 + i, 7);
	}
}

static void
segfault(void)
{
	int places[4];

	hold(4, places);
	crash_drop(places[1]);
	crash_at(places[2]);
	crash_set_more(tell_two);
	*nowhere = 1;
}

static void
a_fault_tells_what_ran_and_kills_by_its_signal(void **state)
{
	int status = die_by(segfault);

	(void)state;
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	assert_non_null(strstr(text, "Z error worker=2 crash report signal=SIGSEGV "));
	assert_non_null(strstr(text, " by=\"the kernel\" from_pid=0 address=0x"));
	assert_int_equal(count("crash report: running"), 3);
	/* the one that it was at comes first */
	assert_non_null(
	    strstr(text, "running task=03000000-0000-0000-0000-000000000000 attempt=12 "
			 "application=7 "
			 "now=yes\n"));
	assert_true(strstr(text, "now=yes") < strstr(text, "now=no"));
	assert_int_equal(count("task=02000000"), 0);
	assert_int_equal(count("crash report: request request=one\n"), 1);
	assert_true(count("crash report: frame n=") > 3);
	assert_int_equal(count("(+0x") > 0, 1);
	assert_non_null(
	    strstr(text, "crash report ends running=3 told=3 requests=2 frames="));
}

static void
be_killed(void)
{
	(void)kill(getpid(), SIGBUS);
}

static void
give_up(void)
{
	abort();
}

static void
a_signal_from_outside_and_an_abort_do_too(void **state)
{
	int status = die_by(be_killed);
	char want[40];

	(void)state;
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	assert_int_equal(
	    count("crash report signal=SIGBUS by=\"a process\" from_pid="), 1);
	assert_int_equal(count("crash report: running"), 0);
	assert_int_equal(count("crash report ends running=0"), 1);
	snprintf(want, sizeof(want), "from_pid=%ld", (long)getpid());
	assert_int_equal(count(want), 0); /* by itself, it was */
	status = die_by(give_up);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_int_equal(count("crash report signal=SIGABRT"), 1);
	assert_int_equal(count("crash report ends"), 1);
}

static void
fault_twice(void)
{
	int places[2];

	hold(2, places);
	crash_set_more(fault);
	*nowhere = 1;
}

static void
a_fault_within_the_report_ends_it(void **state)
{
	int status = die_by(fault_twice);

	(void)state;
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	assert_int_equal(count("crash report signal="), 1);
	assert_int_equal(count("crash report: running"), 2);
	assert_int_equal(count("crash report ends"), 0);
}

static volatile long left = 1L << 40;

static void
recurse(volatile char *before)
{
	volatile char here[4096];

	here[0] = before != NULL ? before[0] : 0;
	if (--left > 0)
		recurse(here);
	here[1] = 1; /* no tail call */
}

static void
overflow(void)
{
	recurse(NULL);
}

static void
a_stack_that_is_full_is_reported_from_another(void **state)
{
	int status = die_by(overflow);

	(void)state;
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	assert_int_equal(count("crash report ends"), 1);
}

static void
many(void)
{
	static int places[CRASH_TASKS + 10];

	hold(CRASH_TASKS + 10, places);
	if (places[CRASH_TASKS - 1] != CRASH_TASKS || places[CRASH_TASKS] != CRASH_NONE)
		_exit(4);
	for (int i = 0; i < CRASH_TASKS + 10; i++)
		if (i != 4000 && i != 8000)
			crash_drop(places[i]);
	/* places are used again */
	hold(CRASH_TASKS - 2, places);
	for (int i = 0; i < CRASH_TASKS - 2; i++) {
		if (places[i] == CRASH_NONE)
			_exit(5);
		crash_drop(places[i]);
	}
	abort();
}

static void
the_table_is_bounded_and_used_again(void **state)
{
	int status = die_by(many);

	(void)state;
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_int_equal(count("crash report: running"), 2);
	assert_int_equal(count("attempt=4010 "), 1);
	assert_int_equal(count("attempt=8010 "), 1);
	assert_int_equal(count("crash report ends running=2 told=2"), 1);
}

static void
child_first(void)
{
	struct err err = ERR_INIT;
	pid_t pid = fork();
	int status, fd;

	if (pid == 0) {
		(void)signal(SIGABRT, SIG_DFL);
		crash_forget();
		/* nothing of the parent's report is left open */
		fd = dup(STDIN_FILENO);
		log_identity("worker=3");
		if (fd != parent_pipe || close(fd) != 0 || crash_watch(&err) != 0)
			_exit(4);
		abort();
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
		_exit(5);
	abort();
}

static void
a_child_of_who_is_watched_is_watched_by_itself(void **state)
{
	int status;

	(void)state;
	status = die_by(child_first);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_int_equal(count("worker=3 crash report signal=SIGABRT"), 1);
	assert_int_equal(count("worker=2 crash report signal=SIGABRT"), 1);
	assert_int_equal(count("crash report ends"), 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_fault_tells_what_ran_and_kills_by_its_signal),
	    cmocka_unit_test(a_signal_from_outside_and_an_abort_do_too),
	    cmocka_unit_test(a_fault_within_the_report_ends_it),
	    cmocka_unit_test(a_stack_that_is_full_is_reported_from_another),
	    cmocka_unit_test(the_table_is_bounded_and_used_again),
	    cmocka_unit_test(a_child_of_who_is_watched_is_watched_by_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
