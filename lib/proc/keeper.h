/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keeper.h - the process that stands over one command and all that it starts.
 *
 * A subreaper: whatever loses its parent below it becomes its child, in whichever group
 * or session, so that nothing can leave.  It executes nothing itself, tells the
 * launcher what happens, and ends when no child is left and the private directory is
 * removed.
 *
 * Orders are signals: TERM, INT, HUP, QUIT, USR1, CONT go on to the command's process
 * group; KEEPER_KILL kills everything, and is what the spawner's death sends.
 */
#ifndef PROC_KEEPER_H
#define PROC_KEEPER_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "proc/launch.h"

#define KEEPER_KILL SIGUSR2

/* a request as the spawner read it; all borrowed from its buffer */
struct keeper_job {
	uint64_t id;
	int answer; /* the launcher's connection, in blocking mode */
	pid_t spawner;
	struct launch_spec spec; /* with its descriptors; ids are filled in */
	const char **env; /* the same as spec.env, with KEEPER_ENV_SPARE places */
	size_t env_count;
	const char *directory; /* made by keeper_make_directory; NULL: none */
	const char *group;     /* its control group, made for it; NULL: none */
};

#define KEEPER_ENV_SPARE 3 /* TMPDIR, HOME, NULL */

/* in the new process, all signals blocked */
ATTR_NORETURN void keeper_main(struct keeper_job *job);

/* direct children of this process: how many, at most max of them in pids */
size_t keeper_children(pid_t *pids, size_t max);

#endif
