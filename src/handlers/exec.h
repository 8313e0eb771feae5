/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exec.h - tasks run as commands that the operator listed.
 *
 * The command is the type's, never a request's.  It gets the payload on standard input,
 * and this environment and nothing else: PATH, the type's own NAME=VALUE words, and
 *
 *     SHOAL_TASK_ID  SHOAL_TYPE  SHOAL_QUEUE  SHOAL_ATTEMPT  SHOAL_MAX_ATTEMPTS
 *     SHOAL_FENCE    the token that tells this attempt from any other, for stores
 *                    downstream
 *     SHOAL_DEADLINE when the attempt will be ended, or the task's deadline if that is
 *                    earlier (RFC 3339)
 *     SHOAL_WORKER   who runs it, such as 9f3c0a1b2c3d-1
 *
 *     SHOAL_PROGRESS_FD  3: what it writes there, line by line, is its progress and its
 *                        log while it runs; lines.h says how
 *
 * With a private directory also TMPDIR and HOME, which name it.
 *
 * Exit 0: standard output is the result, as JSON if it is JSON, else as a string
 * (without one final newline).  75, a signal, or the timeout: the attempt failed and is
 * tried again.  126, 127: the command cannot be run. Any other status: failed for good.
 * The end of standard error is the message.
 */
#ifndef HANDLERS_EXEC_H
#define HANDLERS_EXEC_H

#include "engine/handler.h"
#include "event/loop.h"
#include "model/scoreboard.h"
#include "proc/child.h"

struct exec;

/* all borrowed for life */
struct exec *exec_create(struct children *cs, const struct settings *settings,
    struct score_slot *slot, struct err *err) ATTR_CHECK;
void exec_free(struct exec *x); /* after children_free */
struct handler exec_handler(struct exec *x);

#endif
