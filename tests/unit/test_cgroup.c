/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_cgroup.c - commands in control groups of their own, with real ones.
 *
 * The test goes into a group that it makes, as systemd makes one for a service with
 * Delegate=yes.  It needs root and a mounted hierarchy of version 2, and what is about
 * limits a controller that version 1 does not have; else it is skipped.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "event/loop.h"
#include "own_spawner.h"
#include "proc/cgroup.h"
#include "proc/launch.h"

static struct own_spawner spawner;
static char before[CGROUP_PATH], home[CGROUP_PATH]; /* "": none could be made */
static unsigned controllers;			    /* that the home has */

struct fixture {
	struct loop *loop;
	struct launcher *launcher;
	struct launched *p;
	struct launch_event last;
	bool ended;
	int out;
};

static char *const plain_env[] = {(char *)"PATH=/usr/bin:/bin", NULL};

static int
put(const char *group, const char *name, const char *text)
{
	char path[CGROUP_PATH + 64];
	int fd, rc;

	snprintf(path, sizeof(path), "%s/%s", group, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd == -1)
		return -1;
	rc = write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
	close(fd);
	return rc;
}

static int
go_there(void **state)
{
	struct err err;
	unsigned each[] = {CGROUP_MEMORY, CGROUP_PIDS, CGROUP_CPU};
	char found[CGROUP_PATH];

	(void)state;
	if (cgroup_home(0, before, &err) != 0) {
		print_message("skipped: %s\n", err.text);
		return 0;
	}
	snprintf(home, sizeof(home), "%.400s/shoal-test-%ld", before, (long)getpid());
	/* what the group above has not passed on is not ours to take */
	if (mkdir(home, 0755) != 0 || put(home, "cgroup.procs", "0") != 0) {
		print_message("skipped: %s: %s\n", home, strerror(errno));
		(void)rmdir(home);
		home[0] = '\0';
		return 0;
	}
	for (size_t i = 0; i < sizeof(each) / sizeof(each[0]); i++) {
		if (cgroup_home(each[i], found, &err) == 0)
			controllers |= each[i];
	}
	assert_int_equal(cgroup_prepare(controllers, getpid(), found, &err), 0);
	assert_string_equal(found, home);
	/* a second one, of a reload, finds it as it is */
	assert_int_equal(cgroup_prepare(controllers, getpid(), found, &err), 0);
	assert_string_equal(found, home);
	own_spawner_start(
	    &spawner, &(struct spawner_opts){.uid = (uid_t)-1, .group_home = home});
	return 0;
}

static int
go_back(void **state)
{
	char node[CGROUP_PATH + 16];

	(void)state;
	if (home[0] == '\0')
		return 0;
	own_spawner_stop(&spawner);
	assert_int_equal(put(before, "cgroup.procs", "0"), 0);
	snprintf(node, sizeof(node), "%s/shoal.node", home);
	(void)rmdir(node);
	assert_int_equal(rmdir(home), 0);
	return 0;
}

static void
on_event(struct launched *p, const struct launch_event *event, void *arg)
{
	struct fixture *f = arg;

	(void)p;
	f->last = *event;
	f->ended |= event->kind == LAUNCH_ENDED;
	if (event->kind == LAUNCH_EXITED)
		launched_kill(f->p);
	if (f->ended)
		loop_stop(f->loop);
}

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err err;

	*state = f;
	if (home[0] == '\0')
		return 0;
	f->loop = loop_create(&err);
	f->launcher = launcher_create(f->loop, spawner.door[SPAWNER_OUTSIDE], &err);
	assert_non_null(f->launcher);
	f->out = -1;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	if (f->launcher != NULL) {
		launcher_free(f->launcher);
		loop_free(f->loop);
		if (f->out != -1)
			close(f->out);
	}
	free(f);
	return 0;
}

static void
start(struct fixture *f, const char *script, const struct cgroup_limits *limits)
{
	char *argv[] = {(char *)"/bin/sh", (char *)"-c", (char *)script, NULL};
	struct launch_spec spec = {
	    .argv = argv,
	    .env = plain_env,
	    .fds = {-1, -1, -1, -1},
	    .uid = (uid_t)-1,
	    .grouped = true,
	    .group = *limits,
	};
	struct err err;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	f->out = fds[0];
	spec.fds[1] = fds[1];
	f->p = launch(f->launcher, &spec, on_event, f, &err);
	assert_non_null(f->p);
}

static void
wait_end(struct fixture *f)
{
	struct err err;

	if (!f->ended)
		assert_int_equal(loop_run(f->loop, &err), 0);
}

static size_t
read_some(struct fixture *f, char *to, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while ((n = read(f->out, to + len, size - 1 - len)) > 0)
		len += (size_t)n;
	to[len] = '\0';
	return len;
}

/* groups of commands that are there */
static int
count_groups(void)
{
	DIR *dir = opendir(home);
	const struct dirent *e;
	int n = 0;

	assert_non_null(dir);
	while ((e = readdir(dir)) != NULL)
		n += strncmp(e->d_name, "shoal.", 6) == 0 &&
		     strcmp(e->d_name, "shoal.node") != 0;
	closedir(dir);
	return n;
}

/* the keeper tells the end first, and removes it then */
static void
wait_no_groups(void)
{
	int64_t until = clock_mono_ms() + 20000;

	while (count_groups() > 0) {
		assert_true(clock_mono_ms() < until);
		(void)poll(NULL, 0, 5);
	}
}

static void
a_command_and_all_that_it_starts_is_in_a_group_of_its_own(void **state)
{
	static const struct cgroup_limits none;
	struct fixture *f = *state;
	char text[4096], want[64];

	if (home[0] == '\0')
		skip();
	start(f, "grep ^0:: /proc/self/cgroup; (setsid grep ^0:: /proc/self/cgroup)",
	    &none);
	wait_end(f);
	assert_int_equal(f->last.errnum, 0);
	read_some(f, text, sizeof(text));
	snprintf(want, sizeof(want), "/shoal-test-%ld/shoal.%ld-", (long)getpid(),
	    (long)spawner.pid);
	assert_non_null(strstr(text, want));
	assert_non_null(strstr(strchr(text, '\n'), want));
	/* we are not */
	assert_int_equal(cgroup_home(0, text, &(struct err){0}), 0);
	assert_string_equal(text, home);
	wait_no_groups();
}

static void
a_tree_that_forks_all_the_time_is_killed_at_once(void **state)
{
	static const struct cgroup_limits none;
	struct fixture *f = *state;
	char text[8];
	int64_t since;

	if (home[0] == '\0')
		skip();
	start(f,
	    "for i in 1 2 3 4 5 6 7 8; do setsid -f sh -c 'trap \"\" TERM; "
	    "while :; do setsid -f sleep 0.05; done' ; done; echo; sleep 300",
	    &none);
	assert_int_equal(read(f->out, text, 1), 1);
	since = clock_mono_ms();
	launched_kill(f->p);
	wait_end(f);
	assert_true(clock_mono_ms() - since < 20000);
	wait_no_groups();
}

static void
a_killed_keepers_group_goes_too(void **state)
{
	static const struct cgroup_limits none;
	struct fixture *f = *state;
	char text[64];
	pid_t keeper;

	if (home[0] == '\0')
		skip();
	start(f, "setsid -f sleep 300; echo $PPID; sleep 300", &none);
	assert_true(read(f->out, text, sizeof(text) - 1) > 0);
	keeper = (pid_t)strtol(text, NULL, 10);
	assert_true(keeper > 1);
	assert_int_equal(kill(keeper, SIGKILL), 0);
	wait_end(f);
	wait_no_groups();
}

static void
a_limit_that_cannot_be_kept_starts_nothing(void **state)
{
	static const struct cgroup_limits all = {64 << 20, 100, 100};
	struct fixture *f = *state;
	struct err err;
	char path[CGROUP_PATH];

	if (home[0] == '\0' || cgroup_controllers(&all) == controllers)
		skip(); /* here all of them can */
	assert_int_equal(cgroup_home(cgroup_controllers(&all), path, &err), -1);
	assert_int_equal(err.code, ERR_INVALID);
	assert_non_null(strstr(err.text, "Delegate=yes"));
	start(f, "echo no", &all);
	wait_end(f);
	assert_int_not_equal(f->last.errnum, 0);
	assert_string_equal(f->last.failed_step, "control group");
	assert_int_equal(read_some(f, path, sizeof(path)), 0);
	wait_no_groups();
}

static void
processes_are_counted_over_the_tree(void **state)
{
	static const struct cgroup_limits limits = {.processes = 8};
	struct fixture *f = *state;
	char text[256];

	if ((controllers & CGROUP_PIDS) == 0)
		skip();
	start(f,
	    "n=0; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do "
	    "setsid sleep 300 2>/dev/null & done; sleep 0.2; exit 0",
	    &limits);
	wait_end(f);
	read_some(f, text, sizeof(text));
	/* the shell could not fork a ninth */
	assert_true(WIFEXITED(f->last.status) && WEXITSTATUS(f->last.status) != 0);
	wait_no_groups();
}

static void
who_wants_more_memory_is_killed(void **state)
{
	static const struct cgroup_limits limits = {.memory_bytes = 16 << 20};
	struct fixture *f = *state;

	if ((controllers & CGROUP_MEMORY) == 0)
		skip();
	start(f, "x=aaaaaaaa; while :; do x=$x$x; done", &limits);
	wait_end(f);
	assert_true(WIFSIGNALED(f->last.status));
	assert_int_equal(WTERMSIG(f->last.status), SIGKILL);
	wait_no_groups();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_command_and_all_that_it_starts_is_in_a_group_of_its_own),
	    TEST(a_tree_that_forks_all_the_time_is_killed_at_once),
	    TEST(a_killed_keepers_group_goes_too),
	    TEST(a_limit_that_cannot_be_kept_starts_nothing),
	    TEST(processes_are_counted_over_the_tree),
	    TEST(who_wants_more_memory_is_killed),
	};

	return cmocka_run_group_tests(tests, go_there, go_back);
}
