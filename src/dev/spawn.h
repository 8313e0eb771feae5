/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spawn.h - start one program that must not outlive us.
 */
#ifndef DEV_SPAWN_H
#define DEV_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/err.h"

struct spawn_spec {
	char *const *argv; /* argv[0] is a path */
	char *const *env;
	const char *cwd; /* NULL: stay */
	/* what standard input holds, at most a few KiB; NULL: /dev/null */
	const char *input;
	int out_fd;	  /* standard output and error; -1: ours */
	int death_signal; /* sent to it when we die */
	bool drop;	  /* become uid and gid first */
	uid_t uid;
	gid_t gid;
};

/*
 * The program leads a process group of its own (a terminal's Ctrl-C must not reach it
 * past us), with default signals and only descriptors 0, 1 and 2.  When it cannot be
 * executed this fails and nothing is left to reap.
 */
int spawn(const struct spawn_spec *spec, pid_t *pid, struct err *err) ATTR_CHECK;

#endif
