/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * launch.h - the one way in which a process of this program starts another command.
 *
 * The caller never forks: the spawner (spawner.h) does, for all processes of the node.
 * A launcher is one process's connection to it, made when the first command is
 * started, and made anew after the spawner died.  Requests wait in the connection
 * while there is no spawner; one that nobody took for LAUNCH_PATIENCE_MS is lost.
 *
 * What is started is a tree: the command leads a process group, and whatever it
 * starts belongs to it, in whichever group or session.  The tree has exactly the
 * given descriptors, environment and limits, default signal dispositions and mask, no
 * way to gain privileges, umask 077.
 *
 * Who owns a tree hears, from the loop:
 *
 *     LAUNCH_STARTED   the command runs; once or never
 *     LAUNCH_EXITED    the command is dead, but some of its tree is not: it lives on
 *                      until launched_kill (the owner decides how long); once or never
 *     LAUNCH_ENDED     nothing of the tree is left; always, once, the last one
 *
 * A tree dies with the launcher's process and with the spawner.
 */
#ifndef PROC_LAUNCH_H
#define PROC_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/loop.h"
#include "proc/cgroup.h"

#define LAUNCH_FDS	     4
#define LAUNCH_LIMITS	     8
#define LAUNCH_PATHS	     64		 /* allow_read and allow_write together */
#define LAUNCH_REQUEST_BYTES (64 * 1024) /* of all words, names and paths together */
#define LAUNCH_TREES	     512	 /* a launcher may have at once */
#define LAUNCH_PATIENCE_MS   30000

struct launcher; /* one a process */
struct launched; /* one tree */

struct launch_limit {
	int resource; /* RLIMIT_... */
	/* soft and hard; one above the spawner's own hard limit leaves that one */
	uint64_t value;
};

/* what a command may not do beyond what its user may not; see sandbox.h */
enum launch_seccomp {
	LAUNCH_SECCOMP_NONE = 0,
	LAUNCH_SECCOMP_DEFAULT,	   /* no system administration, no tracing */
	LAUNCH_SECCOMP_NO_NETWORK, /* and no sockets but local ones */
	LAUNCH_SECCOMP_COUNT
};

/* all of it is copied before launch returns, but for the descriptors */
struct launch_spec {
	char *const *argv; /* argv[0] has a slash, or is looked up in PATH of env */
	char *const *env;  /* NAME=VALUE, NULL-terminated: all that the command gets */
	const char *cwd;   /* NULL: "/" */
	/*
	 * A new directory instead of cwd, the command's alone; TMPDIR and HOME name it;
	 * removed with all that is in it after the end
	 */
	bool private_directory;
	/*
	 * Become 0 to 3; -1: /dev/null for 0 to 2, closed for 3.  Given: closed when
	 * they were sent, and on failure
	 */
	int fds[LAUNCH_FDS];
	uid_t uid; /* (uid_t)-1: as the spawner is; needs a spawner that is root */
	gid_t gid;
	int nice; /* added to the spawner's own */
	struct launch_limit limits[LAUNCH_LIMITS];
	size_t limit_count;
	enum launch_seccomp seccomp;
	/*
	 * Landlock: with one of them not NULL, the command sees these paths (each a
	 * file or a directory with all below it), what sandbox.h names, and nothing
	 * else
	 */
	char *const *allow_read, *const *allow_write;
	/*
	 * A control group of its own, with these limits, for the whole tree.  Needs a
	 * spawner that has prepared for it
	 */
	bool grouped;
	struct cgroup_limits group;
};

enum launch_event_kind { LAUNCH_STARTED = 1, LAUNCH_EXITED, LAUNCH_ENDED };

struct launch_event {
	enum launch_event_kind kind;
	pid_t pid;  /* of the command, and of its group; 0: there never was one */
	int status; /* EXITED and ENDED: as waitpid gives it */
	/* ENDED */
	bool lost;		 /* the spawner died or did not answer: no outcome */
	int errnum;		 /* not 0: the command could not be started at all */
	const char *failed_step; /* with errnum: a static word such as "chdir" */
};

/* from the loop; with LAUNCH_ENDED p is freed after it */
typedef void launch_cb(struct launched *p, const struct launch_event *event, void *arg);

/* door: spawner.h; borrowed for life */
struct launcher *launcher_create(struct loop *l, int door, struct err *err) ATTR_CHECK;
/* every tree is killed by the spawner at once; no callbacks; NULL is fine */
void launcher_free(struct launcher *l);
size_t launcher_count(const struct launcher *l); /* trees whose end was not told */

/* ERR_LIMIT: too many trees, or too long a request */
struct launched *launch(struct launcher *l, const struct launch_spec *spec,
    launch_cb *cb, void *arg, struct err *err) ATTR_CHECK;
pid_t launched_pid(const struct launched *p); /* 0: not started yet */
/* TERM, INT, HUP, QUIT, USR1 or CONT, to the command's process group; no other is sent
 */
void launched_signal(struct launched *p, int signo);
/* KILL to the whole tree; LAUNCH_ENDED still comes */
void launched_kill(struct launched *p);
/* the same, but nobody is told any more: p must not be used again */
void launched_abandon(struct launched *p);

#endif
