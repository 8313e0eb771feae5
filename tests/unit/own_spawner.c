/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * own_spawner.c - a spawner of the test's own, and a launcher on it.
 */
#include "own_spawner.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void
fork_it(struct own_spawner *s)
{
	int control[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
	fflush(NULL);
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (s->pid == 0) {
		struct err err;

		close(control[0]);
		close(s->door[SPAWNER_OUTSIDE]);
		s->opts.control = control[1];
		_exit(spawner_run(&s->opts, &err) == 0 ? 0 : 1);
	}
	close(control[1]);
	s->control = control[0];
}

void
own_spawner_start(struct own_spawner *s, const struct spawner_opts *opts)
{
	struct err err;

	s->opts = *opts;
	assert_int_equal(spawner_door(s->door, &err), 0);
	s->opts.door = s->door[SPAWNER_INSIDE];
	if (s->opts.temporary == NULL)
		s->opts.temporary = "/tmp";
	fork_it(s);
}

void
own_spawner_again(struct own_spawner *s)
{
	close(s->control);
	fork_it(s);
}

void
own_spawner_kill(struct own_spawner *s)
{
	int status;

	assert_int_equal(kill(s->pid, SIGKILL), 0);
	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
}

void
own_spawner_stop(struct own_spawner *s)
{
	int status;

	assert_int_equal(kill(s->pid, SIGTERM), 0);
	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
	assert_int_equal(status, 0);
	close(s->control);
	close(s->door[SPAWNER_INSIDE]);
	close(s->door[SPAWNER_OUTSIDE]);
}
