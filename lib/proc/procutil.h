/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * procutil.h - the small print of being a daemon on Linux.
 */
#ifndef PROC_PROCUTIL_H
#define PROC_PROCUTIL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/err.h"

/*
 * At the start of main, before anything keeps a pointer from getenv: moves the
 * environment away from behind argv and wipes the old place, so that no secret shows in
 * /proc/PID/environ
 */
int proctitle_init(int argc, char **argv, struct err *err) ATTR_CHECK;
/* names the process as ps shows it; without proctitle_init nothing happens */
void proctitle_set(const char *fmt, ...) ATTR_PRINTF(1, 2);

/* user by name or number, its group unless one is given; -1 if there is no such */
int priv_lookup(const char *user, const char *group, uid_t *uid, gid_t *gid,
    struct err *err) ATTR_CHECK;
/*
 * setgroups, setresgid, setresuid, no_new_privs, not dumpable; checks that there is no
 * way back. Without root only our own ids are possible.
 */
int priv_drop(uid_t uid, gid_t gid, struct err *err) ATTR_CHECK;

/*
 * An exclusively locked file with our pid; ERR_CONFLICT names the pid that holds it.
 * The lock is the process's own: a forked child does not hold it, and daemonize loses
 * it.
 */
int pidfile_write(const char *path, int *fd, struct err *err) ATTR_CHECK;
/* only of a live holder; ERR_NOT_FOUND: there is none.  Never in the holder itself. */
int pidfile_read(const char *path, pid_t *pid, struct err *err) ATTR_CHECK;
/* removes the file if it is still ours, and closes fd */
void pidfile_remove(const char *path, int fd);

/* detach: fork, setsid, fork, stdio to /dev/null; returns in the grandchild only */
int daemonize(struct err *err) ATTR_CHECK;

int fd_set_cloexec(int fd, struct err *err) ATTR_CHECK;
int fd_clear_cloexec(int fd, struct err *err) ATTR_CHECK;
int fd_set_nonblock(int fd, struct err *err) ATTR_CHECK;
int pipe_cloexec(int fds[2], struct err *err) ATTR_CHECK;
/* closes every descriptor from first on; async-signal-safe */
void fd_close_from(int first);
/* what a small file holds, NUL-terminated: its length; -1 and errno.  Async-signal-safe
 */
ssize_t file_read_small(const char *path, char *to, size_t size) ATTR_CHECK;
/* raises the soft RLIMIT_NOFILE to the hard one, at most max; returns what is in force
 */
size_t nofile_raise(size_t max);
/* resident minus shared pages of this process, in bytes; 0 if it cannot be read */
size_t memory_private_bytes(void);
/* resident pages of another process, in bytes; 0 if they cannot be read */
size_t memory_resident_bytes(pid_t pid);
/* processor time that another process has used, in its life; 0 if it cannot be read */
int64_t process_cpu_ms(pid_t pid);

#endif
