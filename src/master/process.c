/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process.c - what every new process of the node goes through between fork and its own
 * work.
 *
 * The master may be root, its processes should not be: rights are dropped here, before
 * a byte from outside is read.  Descriptors are closed by their owners in the master,
 * who know which a process may keep.
 */
#include "master/process.h"
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/log.h"
#include "base/str.h"
#include "proc/procutil.h"

#define OOM_PATH    "/proc/self/oom_score_adj"
#define OOM_LESS    500 /* the master's advantage, as far as we may give it */
#define OOM_MORE    100 /* a worker's handicap */
#define OOM_MAX	    1000
#define DESCRIPTORS 1048576

static int64_t oom_base; /* the score that the node was started with */

int
process_user_lookup(
    const struct settings *settings, struct process_user *user, struct err *err)
{
	struct process_user found = {.change = settings->node_user[0] != '\0'};

	if (found.change) {
		if (priv_lookup(settings->node_user, settings->node_group, &found.uid,
			&found.gid, err) != 0)
			return err_wrap(err, "node.user");
		if (geteuid() != 0 &&
		    (found.uid != geteuid() || found.gid != getegid()))
			return err_set(err, ERR_INVALID,
			    "node.user is '%s', but only root can start "
			    "processes of another user",
			    settings->node_user);
	}
	*user = found;
	return 0;
}

static int64_t
oom_read(void)
{
	char text[32];
	int64_t score = 0;
	int fd = open(OOM_PATH, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd == -1)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	return str_to_i64(str_trim(text), &score) == 0 ? score : 0;
}

/* a wish, not a condition: containers and ordinary users may not be allowed to */
static void
oom_write(int64_t score)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%lld", (long long)score);
	int fd = open(OOM_PATH, O_WRONLY | O_CLOEXEC);

	if (fd == -1)
		return;
	if (write(fd, text, (size_t)len) != len)
		log_debug(NULL, "cannot set the out-of-memory score", "score=%s", text);
	close(fd);
}

void
process_protect(void)
{
	oom_base = oom_read();
	if (geteuid() == 0)
		oom_write(
		    oom_base - OOM_LESS < -OOM_MAX ? -OOM_MAX : oom_base - OOM_LESS);
}

void
process_unprotect(void)
{
	if (geteuid() == 0)
		oom_write(oom_base);
}

pid_t
process_fork(void)
{
	struct sigaction sa;
	sigset_t all, before;
	pid_t pid;

	/* what stdio holds would be written by both */
	(void)fflush(NULL);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid != 0) {
		int saved = errno;

		sigprocmask(SIG_SETMASK, &before, NULL);
		errno = saved;
		return pid;
	}
	(void)setpgid(0, 0);
	memset(&sa, 0, sizeof(sa));
	for (int signo = 1; signo < NSIG; signo++) {
		sa.sa_handler =
		    signo == SIGPIPE || signo == SIGXFSZ ? SIG_IGN : SIG_DFL;
		(void)sigaction(signo, &sa, NULL);
	}
	crash_forget();
	sigemptyset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	return 0;
}

/* a core holds payloads and secrets */
static int
limit_cores(bool wanted, struct err *err)
{
	struct rlimit limit = {0, 0};

	if (wanted) {
		if (getrlimit(RLIMIT_CORE, &limit) != 0)
			return err_errno(err, errno, "core limit");
		if (limit.rlim_max == 0)
			log_warn(NULL, "there will be no core dumps: the limit is 0",
			    "mend=\"LimitCORE=infinity in the unit\"");
		limit.rlim_cur = limit.rlim_max;
	}
	if (setrlimit(RLIMIT_CORE, &limit) != 0)
		return err_errno(err, errno, "core limit");
	return 0;
}

int
process_begin(
    const char *name, const struct process_user *user, bool core_dumps, struct err *err)
{

	proctitle_set("shoald: %s", name);
	oom_write(oom_base + OOM_MORE > OOM_MAX ? OOM_MAX : oom_base + OOM_MORE);
	if (limit_cores(core_dumps, err) != 0)
		return -1;
	(void)nofile_raise(DESCRIPTORS);
	if (user->change && priv_drop(user->uid, user->gid, err) != 0)
		return -1;
	/* the change of user has cleared it */
	if (core_dumps && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0)
		return err_errno(err, errno, "core dumps");
	return 0;
}

void
process_end(int status)
{
#ifdef SHOAL_SANITIZED
	/* the leak checker traces us, which it may not do with who is not dumpable */
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	exit(status);
#else
	_exit(status);
#endif
}
