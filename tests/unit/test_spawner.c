/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_spawner.c - what launch.h, spawner.h and privdir.h promise, with real processes.
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
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "event/loop.h"
#include "own_spawner.h"
#include "proc/keeper.h"
#include "proc/launch.h"
#include "proc/privdir.h"
#include "proc/sandbox.h"

#define TREES 40

static struct own_spawner spawner;

struct fixture {
	struct loop *loop;
	struct launcher *launcher;
	int started, exited, ended, lost;
	pid_t pid;
	struct launch_event last;
	/* the loop stops when all are there */
	int wanted_started, wanted_exited, wanted_ended;
	int out; /* read end of what commands write to 1 */
};

static char *const plain_env[] = {(char *)"PATH=/usr/bin:/bin", NULL};

static bool
has_all(const struct fixture *f)
{
	return f->started >= f->wanted_started && f->exited >= f->wanted_exited &&
	       f->ended >= f->wanted_ended;
}

static void
on_event(struct launched *p, const struct launch_event *event, void *arg)
{
	struct fixture *f = arg;

	f->last = *event;
	switch (event->kind) {
	case LAUNCH_STARTED:
		assert_int_equal(launched_pid(p), event->pid);
		f->pid = event->pid;
		f->started++;
		break;
	case LAUNCH_EXITED:
		f->exited++;
		break;
	case LAUNCH_ENDED:
		f->ended++;
		f->lost += event->lost;
		break;
	}
	if (has_all(f))
		loop_stop(f->loop);
}

static void
wait_for(struct fixture *f, int started, int ended)
{
	struct err err;

	f->wanted_started = started;
	f->wanted_ended = ended;
	if (!has_all(f))
		assert_int_equal(loop_run(f->loop, &err), 0);
}

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err err;

	f->loop = loop_create(&err);
	assert_non_null(f->loop);
	f->launcher = launcher_create(f->loop, spawner.door[SPAWNER_OUTSIDE], &err);
	assert_non_null(f->launcher);
	f->out = -1;
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	launcher_free(f->launcher);
	loop_free(f->loop);
	if (f->out != -1)
		close(f->out);
	free(f);
	return 0;
}

static struct launch_spec
shell(char *argv[4], const char *script)
{
	struct launch_spec spec = {
	    .argv = argv,
	    .env = plain_env,
	    .fds = {-1, -1, -1, -1},
	    .uid = (uid_t)-1,
	};

	argv[0] = (char *)"/bin/sh";
	argv[1] = (char *)"-c";
	argv[2] = (char *)script;
	argv[3] = NULL;
	return spec;
}

/* what it writes to 1 can be read from f->out */
static struct launched *
run(struct fixture *f, struct launch_spec *spec)
{
	struct err err;
	struct launched *p;
	int fds[2];

	if (f->out != -1)
		close(f->out);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	f->out = fds[0];
	spec->fds[1] = fds[1];
	p = launch(f->launcher, spec, on_event, f, &err);
	assert_non_null(p);
	return p;
}

/* all that comes until the last writer is gone */
static const char *
output(struct fixture *f)
{
	static char text[4096];
	size_t len = 0;
	ssize_t n;

	while ((n = read(f->out, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	return text;
}

static long
read_number(struct fixture *f)
{
	char text[32];
	size_t len = 0;

	while (len < sizeof(text) - 1 && read(f->out, text + len, 1) == 1 &&
	       text[len] != '\n')
		len++;
	text[len] = '\0';
	return strtol(text, NULL, 10);
}

static bool
is_gone(long pid)
{
	assert_true(pid > 1);
	return kill((pid_t)pid, 0) == -1 && errno == ESRCH;
}

static void
a_command_that_leaves_nothing_starts_and_ends(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct launch_spec spec = shell(argv, "exit 9");

	run(f, &spec);
	wait_for(f, 1, 1);
	assert_int_equal(f->exited, 0);
	assert_int_equal(WEXITSTATUS(f->last.status), 9);
	assert_int_equal(f->last.pid, f->pid);
	assert_true(is_gone(f->pid));
	assert_int_equal(launcher_count(f->launcher), 0);
}

static void
exited_waits_for_the_owner_to_kill_the_rest(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	/* (setsid as the leader of its group forks: nobody waits for what it becomes)
	 */
	struct launch_spec spec = shell(argv,
	    "setsid -f sh -c 'trap \"\" TERM HUP; echo $$; exec sleep 1000'; exit 3");
	struct launched *p = run(f, &spec);
	long escapee = read_number(f);

	f->wanted_exited = 1;
	wait_for(f, 1, 0);
	assert_int_equal(WEXITSTATUS(f->last.status), 3);
	assert_false(is_gone(escapee));
	launched_signal(p, SIGTERM); /* goes to nobody any more */
	launched_kill(p);
	wait_for(f, 1, 1);
	assert_true(is_gone(escapee));
	assert_int_equal(WEXITSTATUS(f->last.status), 3);
}

static void
signals_reach_the_group(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct launch_spec spec = shell(
	    argv, "trap 'echo usr1; exit 4' USR1; echo up; while :; do read x; done");
	struct launched *p = run(f, &spec);
	char byte[3];

	assert_int_equal(read(f->out, byte, 3), 3);
	launched_signal(p, SIGUSR1);
	wait_for(f, 1, 1);
	assert_string_equal(output(f), "usr1\n");
	assert_int_equal(WEXITSTATUS(f->last.status), 4);
}

static void
a_launcher_that_goes_takes_everything_along(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct launch_spec spec = shell(argv,
	    "setsid sh -c 'setsid sleep 1000 & sleep 1000' & trap '' TERM; sleep 1000");
	struct err err;

	for (int i = 0; i < 3; i++)
		run(f, &spec);
	wait_for(f, 3, 0);
	launcher_free(f->launcher);
	/* ends when the last process that holds the pipe does */
	assert_string_equal(output(f), "");
	assert_int_equal(f->ended, 0);
	f->launcher = launcher_create(f->loop, spawner.door[SPAWNER_OUTSIDE], &err);
}

static void
an_abandoned_tree_is_killed_and_nobody_is_told(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct launch_spec spec = shell(argv, "sleep 1000");

	launched_abandon(run(f, &spec));
	assert_string_equal(output(f), "");
	argv[2] = (char *)"exit 0";
	run(f, &spec);
	wait_for(f, 1, 1);
	assert_int_equal(f->started, 1);
	assert_int_equal(f->ended, 1);
}

static void
who_kills_his_keeper_dies_with_all_and_counts_as_killed(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct launch_spec spec = shell(argv, "setsid sh -c 'echo $$; exec sleep 1000' "
					      "& read x; kill -9 $PPID; sleep 1000");
	int in[2];
	long escapee;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	spec.fds[0] = in[0];
	spec.private_directory = true;
	run(f, &spec);
	escapee = read_number(f);
	assert_int_equal(write(in[1], "\n", 1), 1);
	wait_for(f, 1, 1);
	assert_false(f->last.lost);
	assert_true(WIFSIGNALED(f->last.status));
	assert_true(is_gone(escapee));
	assert_true(is_gone(f->pid));
	close(in[1]);
}

static void
the_spawners_death_loses_what_runs_and_the_next_serves_at_the_same_door(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct launch_spec spec =
	    shell(argv, "setsid sh -c 'setsid sleep 1000 & sleep 1000' & sleep 1000");

	for (int i = 0; i < TREES; i++)
		run(f, &spec);
	wait_for(f, TREES, 0);
	own_spawner_kill(&spawner);
	wait_for(f, TREES, TREES);
	assert_int_equal(f->lost, TREES);
	assert_string_equal(output(f), "");
	/* asked for while there is none: it waits */
	argv[2] = (char *)"exit 5";
	run(f, &spec);
	own_spawner_again(&spawner);
	wait_for(f, TREES + 1, TREES + 1);
	assert_int_equal(f->lost, TREES);
	assert_int_equal(WEXITSTATUS(f->last.status), 5);
}

static void
a_dead_process_is_settled_when_nothing_of_it_is_left(void **state)
{
	struct fixture *f = *state;
	int fds[2], status;
	pid_t pid, settled;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct err err;
		struct loop *loop = loop_create(&err);
		struct launcher *l =
		    launcher_create(loop, spawner.door[SPAWNER_OUTSIDE], &err);
		char *argv[4];
		struct launch_spec spec =
		    shell(argv, "setsid sleep 1000 & trap '' TERM; sleep 1000");

		/* the last of them are on their way when it dies */
		for (int i = 0; i < TREES; i++) {
			spec.fds[1] = dup(fds[1]);
			if (launch(l, &spec, on_event, f, &err) == NULL)
				_exit(1);
		}
		_exit(0);
	}
	close(fds[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(spawner_ask_gone(spawner.control, pid), 0);
	while ((settled = spawner_settled(spawner.control)) == 0)
		(void)poll(
		    &(struct pollfd){.fd = spawner.control, .events = POLLIN}, 1, -1);
	assert_int_equal(settled, pid);
	/* nothing holds the pipe: at once */
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(read(fds[0], &status, 1), 0);
	close(fds[0]);
	/* one that never asked for anything is settled too */
	assert_int_equal(spawner_ask_gone(spawner.control, pid), 0);
	while ((settled = spawner_settled(spawner.control)) == 0)
		(void)poll(
		    &(struct pollfd){.fd = spawner.control, .events = POLLIN}, 1, -1);
	assert_int_equal(settled, pid);
}

static void
long_requests_and_too_many_are_refused_and_their_descriptors_closed(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct launch_spec spec = shell(argv, "exit 0");
	char *big = malloc(LAUNCH_REQUEST_BYTES);
	struct err err;
	int fd = dup(1);

	memset(big, 'x', LAUNCH_REQUEST_BYTES - 1);
	big[LAUNCH_REQUEST_BYTES - 1] = '\0';
	argv[2] = big;
	spec.fds[0] = fd;
	assert_null(launch(f->launcher, &spec, on_event, f, &err));
	assert_int_equal(err.code, ERR_LIMIT);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	/* the largest that fits arrives whole */
	spec.fds[0] = -1;
	big[LAUNCH_REQUEST_BYTES - 200] = '\0';
	memcpy(big, "exit 6 #", 8);
	run(f, &spec);
	wait_for(f, 1, 1);
	assert_int_equal(WEXITSTATUS(f->last.status), 6);
	free(big);
}

static void
garbage_does_the_spawner_no_harm(void **state)
{
	struct fixture *f = *state;
	char *argv[4], bytes[300];
	struct launch_spec spec = shell(argv, "exit 7");

	for (uint32_t kind = 0; kind < 12; kind++) {
		int ends[2];
		struct msghdr msg = {0};
		struct iovec iov = {.iov_base = bytes, .iov_len = 8};
		char control[CMSG_SPACE(sizeof(int))] = {0};
		struct cmsghdr *h;

		/* a connection of our own, by hand: a HELLO, then nonsense */
		assert_int_equal(
		    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
		memset(bytes, 0, sizeof(bytes));
		bytes[0] = 1;
		msg.msg_iov = &iov;
		msg.msg_iovlen = 1;
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		h = CMSG_FIRSTHDR(&msg);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &ends[1], sizeof(int));
		assert_int_equal(
		    sendmsg(spawner.door[SPAWNER_OUTSIDE], &msg, MSG_NOSIGNAL), 8);
		close(ends[1]);
		for (size_t len = 1; len <= sizeof(bytes); len += 13) {
			memset(bytes, 0xff, sizeof(bytes));
			memcpy(bytes, &kind, len < 4 ? len : 4);
			(void)send(ends[0], bytes, len, MSG_NOSIGNAL);
		}
		run(f, &spec);
		wait_for(f, (int)kind + 1, (int)kind + 1);
		assert_int_equal(WEXITSTATUS(f->last.status), 7);
		close(ends[0]);
	}
}

static void
private_directories_are_the_commands_own_and_removed(void **state)
{
	struct fixture *f = *state;
	char *argv[4], first[PRIVDIR_PATH], *end;
	struct launch_spec spec = shell(argv,
	    "pwd; test $TMPDIR = $PWD && test $HOME = $PWD && stat -c %a . && umask; "
	    "mkdir -p a/b; touch a/b/c; chmod 0 a; ln -s / root");

	spec.private_directory = true;
	run(f, &spec);
	wait_for(f, 1, 1);
	(void)snprintf(first, sizeof(first), "%s", output(f));
	end = strchr(first, '\n');
	assert_non_null(end);
	assert_string_equal(end, "\n700\n0077\n");
	*end = '\0';
	assert_int_equal(strncmp(first, "/tmp/shoal-", 11), 0);
	/* after the end was told, by the keeper: an order that it follows is its end */
	for (int i = 0; i < 5000 && access(first, F_OK) == 0; i++)
		(void)poll(NULL, 0, 1);
	assert_int_equal(access(first, F_OK), -1);
}

static void
a_tree_of_any_depth_is_removed_and_no_link_followed(void **state)
{
	char path[PRIVDIR_PATH], kept[] = "/tmp/test_spawner.XXXXXX", inside[64];
	int at, next;

	(void)state;
	assert_non_null(mkdtemp(kept));
	snprintf(inside, sizeof(inside), "%s/file", kept);
	close(open(inside, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_int_equal(privdir_make("/tmp", (uid_t)-1, (gid_t)-1, path), 0);
	at = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int depth = 0; depth < 3000; depth++) {
		assert_int_equal(mkdirat(at, "deeper", 0700), 0);
		assert_int_equal(symlinkat(kept, at, "link"), 0);
		close(openat(at, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0));
		/* a name that the removal would like to use */
		assert_int_equal(mkdirat(at, ".shoal-moved-0", 0), 0);
		next = openat(at, "deeper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(at);
		at = next;
	}
	close(at);
	assert_int_equal(privdir_remove(path), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(access(inside, F_OK), 0);
	unlink(inside);
	rmdir(kept);
	assert_int_equal(privdir_remove(path), -1);
	assert_int_equal(errno, ENOENT);
}

static bool
refuse_true(const struct launch_spec *spec, void *arg)
{
	(void)arg;
	return strcmp(spec->argv[0], "/bin/true") != 0;
}

static void
what_is_not_allowed_is_not_started(void **state)
{
	struct fixture *f = *state;
	struct own_spawner strict;
	const struct spawner_opts opts = {.uid = (uid_t)-1, .allow = refuse_true};
	char *argv[4];
	struct launch_spec spec = shell(argv, "exit 0");
	struct err err;

	launcher_free(f->launcher);
	own_spawner_start(&strict, &opts);
	f->launcher = launcher_create(f->loop, strict.door[SPAWNER_OUTSIDE], &err);
	run(f, &spec);
	wait_for(f, 1, 1);
	assert_int_equal(f->last.status, 0);
	argv[0] = (char *)"/bin/true";
	run(f, &spec);
	wait_for(f, 1, 2);
	assert_int_equal(f->last.errnum, EPERM);
	assert_string_equal(f->last.failed_step, "refused");
	own_spawner_stop(&strict);
}

static void
landlock_hides_all_but_what_is_named(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	char *none[] = {NULL}, *reads[] = {(char *)"/etc/hostname", NULL};
	struct launch_spec spec =
	    shell(argv, "cat /etc/passwd >/dev/null && echo "
			"passwd; cat /etc/hostname >/dev/null && "
			"echo hostname; echo >/tmp/test_spawner.no "
			"&& echo wrote; echo >mine && echo mine; "
			"ls /proc >/dev/null && echo proc; true");

	if (sandbox_landlock_abi() == 0) {
		print_message("this kernel has no Landlock: nothing was tried\n");
		skip();
	}
	spec.private_directory = true;
	spec.allow_read = reads;
	spec.allow_write = none;
	run(f, &spec);
	wait_for(f, 1, 1);
	assert_string_equal(output(f), "hostname\nmine\n");
	reads[0] = (char *)"/nonexistent/path";
	run(f, &spec);
	wait_for(f, 1, 2);
	assert_string_equal(f->last.failed_step, "sandbox");
	assert_int_equal(f->last.errnum, ENOENT);
}

static void
niceness_and_umask_are_set(void **state)
{
	struct fixture *f = *state;
	char *argv[4], expected[32];
	struct launch_spec spec = shell(argv, "nice; umask");

	spec.nice = 3;
	run(f, &spec);
	wait_for(f, 1, 1);
	snprintf(expected, sizeof(expected), "%d\n0077\n",
	    getpriority(PRIO_PROCESS, 0) + 3 > 19 ? 19
						  : getpriority(PRIO_PROCESS, 0) + 3);
	assert_string_equal(output(f), expected);
}

static void
without_memory_nothing_is_launched_and_no_descriptor_leaks(void **state)
{
	struct fixture *f = *state;
	char *argv[4];
	struct launch_spec spec = shell(argv, "exit 0");
	bool started = false;
	struct err err;

	for (unsigned n = 1; !started; n++) {
		int fd = dup(0);

		assert_true(n < 20);
		spec.fds[0] = fd;
		mem_fail_nth(n);
		started = launch(f->launcher, &spec, on_event, f, &err) != NULL;
		mem_fail_nth(0);
		if (!started)
			assert_int_equal(err.code, ERR_NOMEM);
		assert_int_equal(fcntl(fd, F_GETFD), -1);
	}
	wait_for(f, 1, 1);
}

/* it was forked by a spawner that died before it could be told of that */
static void
a_keeper_without_its_spawner_leaves_no_outcome(void **state)
{
	static const char *const argv[] = {"/bin/true", NULL};
	int ends[2], status;
	char byte;
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct keeper_job job = {
		    .answer = ends[1],
		    .spawner = getpid(), /* whoever it is, its parent it is not */
		    .spec = {.argv = (char *const *)(uintptr_t)argv,
			.env = plain_env,
			.fds = {-1, -1, -1, -1}},
		};

		keeper_main(&job);
	}
	close(ends[1]);
	/* no word of an end: the connection's own is all that the launcher sees */
	assert_int_equal(recv(ends[0], &byte, 1, 0), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(ends[0]);
}

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

#define WITH_LAUNCHER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_keeper_without_its_spawner_leaves_no_outcome),
	    WITH_LAUNCHER(a_command_that_leaves_nothing_starts_and_ends),
	    WITH_LAUNCHER(exited_waits_for_the_owner_to_kill_the_rest),
	    WITH_LAUNCHER(signals_reach_the_group),
	    WITH_LAUNCHER(a_launcher_that_goes_takes_everything_along),
	    WITH_LAUNCHER(an_abandoned_tree_is_killed_and_nobody_is_told),
	    WITH_LAUNCHER(who_kills_his_keeper_dies_with_all_and_counts_as_killed),
	    WITH_LAUNCHER(
		the_spawners_death_loses_what_runs_and_the_next_serves_at_the_same_door),
	    WITH_LAUNCHER(a_dead_process_is_settled_when_nothing_of_it_is_left),
	    WITH_LAUNCHER(
		long_requests_and_too_many_are_refused_and_their_descriptors_closed),
	    WITH_LAUNCHER(garbage_does_the_spawner_no_harm),
	    WITH_LAUNCHER(private_directories_are_the_commands_own_and_removed),
	    cmocka_unit_test(a_tree_of_any_depth_is_removed_and_no_link_followed),
	    WITH_LAUNCHER(what_is_not_allowed_is_not_started),
	    WITH_LAUNCHER(landlock_hides_all_but_what_is_named),
	    WITH_LAUNCHER(niceness_and_umask_are_set),
	    WITH_LAUNCHER(without_memory_nothing_is_launched_and_no_descriptor_leaks),
	};

	return cmocka_run_group_tests(tests, start_spawner, stop_spawner);
}
