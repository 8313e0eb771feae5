/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control.h - the control socket: one line in, one answer out.
 *
 * A unix socket that only the master's own user can connect to.  A client sends a
 * command and a newline, gets the whole answer and the end of file.  Nothing about a
 * client can make the master wait: all is non-blocking, bounded and has a deadline.
 */
#ifndef MASTER_CONTROL_H
#define MASTER_CONTROL_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/strbuf.h"

#define CONTROL_CLIENTS 8
#define CONTROL_FDS	(CONTROL_CLIENTS + 1)

struct control;

/* writes the answer to command; false: there is no such command */
typedef bool control_answer_fn(const char *command, struct strbuf *out, void *arg);

struct control *control_open(
    const char *path, control_answer_fn *answer, void *arg, struct err *err) ATTR_CHECK;
/* the same on a socket that listens at path already; fd is given.  Its file is not
 * removed before control_own. */
struct control *control_adopt(const char *path, int fd, control_answer_fn *answer,
    void *arg, struct err *err) ATTR_CHECK;
void control_own(struct control *c); /* NULL is fine */
int control_socket(
    const struct control *c);	       /* that listens; -1: none.  It stays ours. */
void control_close(struct control *c); /* removes the socket's file too; NULL is fine */
void control_leave(struct control *c); /* in a new process: only closes; NULL is fine */

/* what to poll: always CONTROL_FDS entries, -1 where there is nothing */
void control_fds(const struct control *c, struct pollfd fds[CONTROL_FDS]);
/* the same entries after poll */
void control_turn(
    struct control *c, const struct pollfd fds[CONTROL_FDS], int64_t now_ms);
/* when a client has to be given up; INT64_MAX: none */
int64_t control_deadline(const struct control *c);

/* the client's side, blocking for at most timeout_ms: copies the answer to out */
int control_ask(const char *path, const char *command, FILE *out, int timeout_ms,
    struct err *err) ATTR_CHECK;

#endif
