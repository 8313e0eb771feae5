/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wait.h - waiting for a task's end, shared by submit and wait.
 */
#ifndef CLI_WAIT_H
#define CLI_WAIT_H

#include <stdint.h>

#include "cli/cli.h"

#define WAIT_FOREVER (-1)
#define WAIT_SLICE_S                                                                   \
	50 /* one request waits at most this long: below every idle timeout on the way \
	    */

/*
 * Asks until the task has ended or timeout_ms is over, also across restarts of nodes;
 * then says its result and returns the exit status.
 */
int wait_for_task(struct cli *cli, const char *id, int64_t timeout_ms);
/* the same once the end is known: the result on standard output, an error on standard
 * error */
int wait_tell(const struct cli *cli, const struct client_answer *answer);

#endif
