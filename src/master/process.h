/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process.h - what every new process of the node goes through between fork and its own
 * work.
 */
#ifndef MASTER_PROCESS_H
#define MASTER_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/err.h"
#include "model/settings.h"

/* whose rights the node's processes have */
struct process_user {
	bool change; /* false: they stay what the master is */
	uid_t uid;
	gid_t gid;
};

/* node.user and node.group; ERR_INVALID, ERR_NOT_FOUND: no such user, or we are not
 * root */
int process_user_lookup(const struct settings *settings, struct process_user *user,
    struct err *err) ATTR_CHECK;

/*
 * fork.  In the child: a process group of its own (so that the terminal's ^C reaches
 * the master alone), default signal dispositions but for ignored SIGPIPE and SIGXFSZ,
 * and an empty signal mask
 */
pid_t process_fork(void);
/* in the child: name, limits, a higher out-of-memory score than the master's, then the
 * user; core_dumps: it may leave one */
int process_begin(const char *name, const struct process_user *user, bool core_dumps,
    struct err *err) ATTR_CHECK;
/* in the child: the end.  With sanitizers through exit, so that leaks are looked for.
 */
ATTR_NORETURN void process_end(int status);

/* the master itself, at its start: it should be the last one that runs out of memory */
void process_protect(void);
void process_unprotect(void); /* in a child that takes its place, before the exec */

#endif
