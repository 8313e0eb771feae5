/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * procutil.h - the small print of being a daemon on Linux.
 */
#ifndef PROC_PROCUTIL_H
#define PROC_PROCUTIL_H

#include <stddef.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/err.h"

/* remember where argv lies (start of main), then name the process as ps shows it */
void proctitle_init(int argc, char **argv);
void proctitle_set(const char *fmt, ...) ATTR_PRINTF(1, 2);

/* user by name or number, its group unless one is given; -1 if there is no such */
int priv_lookup(const char *user, const char *group, uid_t *uid, gid_t *gid, struct err *err)
    ATTR_CHECK;
/* setgroups, setresgid, setresuid, no_new_privs, not dumpable; checks that there is no way back */
int priv_drop(uid_t uid, gid_t gid, struct err *err) ATTR_CHECK;

/* an exclusively locked file with our pid; ERR_CONFLICT names the pid that holds it */
int pidfile_write(const char *path, int *fd, struct err *err) ATTR_CHECK;
int pidfile_read(const char *path, pid_t *pid, struct err *err) ATTR_CHECK; /* only of a live holder */
void pidfile_remove(const char *path, int fd);

/* detach: fork, setsid, fork, stdio to /dev/null; returns in the grandchild only */
int daemonize(struct err *err) ATTR_CHECK;

int fd_set_cloexec(int fd, struct err *err);
int fd_set_nonblock(int fd, struct err *err);
int pipe_cloexec(int fds[2], struct err *err) ATTR_CHECK;
/* closes every descriptor from first on; async-signal-safe */
void fd_close_from(int first);
/* raises the soft RLIMIT_NOFILE to the hard one, at most max; returns what is in force */
size_t nofile_raise(size_t max);
/* resident minus shared pages of this process, in bytes; 0 if it cannot be read */
size_t memory_private_bytes(void);

#endif
