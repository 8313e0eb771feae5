/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * launchread.h - a message to the spawner, taken off its socket and apart.
 *
 * For spawner.c alone.  Nothing here believes a length or a count.
 */
#ifndef PROC_LAUNCHREAD_H
#define PROC_LAUNCHREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/attr.h"
#include "proc/keeper.h"
#include "proc/launchwire.h"

/* the words behind a message; pointers into it */
struct launch_words {
	const char *list[WIRE_WORDS + 8];
	size_t used;
	const char *at, *end;
};

/* the next message, at most size bytes, and its descriptors; 0: end of file; -1: none
 */
ssize_t launchread_take(
    int fd, void *to, size_t size, int fds[LAUNCH_FDS], size_t *fd_count) ATTR_CHECK;
/* A message of len bytes, the whole head at least, becomes a job, which borrows from it
 * and from w.  False: it is not well-formed. */
bool launchread_parse(const struct wire_launch *m, size_t len, const int *fds,
    size_t fd_count, struct launch_words *w, struct keeper_job *job) ATTR_CHECK;

#endif
