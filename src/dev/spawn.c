/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spawn.c - start one program that must not outlive us.
 *
 * lib/proc/child.h runs commands inside an event loop and collects what they
 * print.  Here there is no loop yet, and the programs are servers that live as
 * long as we do, so this is only the fork: credentials, process group, death
 * signal, descriptors, exec.  A pipe that exec closes tells the parent whether the
 * program really runs.
 *
 * The order in the child matters: a change of credentials clears the death
 * signal, so the signal is asked for after it; and a parent that died before
 * that is seen by getppid.
 */
#include "config.h"

#include "dev/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#ifdef HAVE_CLOSE_RANGE
#include <linux/close_range.h>
#endif
#include <unistd.h>

#include "proc/procutil.h"

static int
input_open(const char *input, struct err *err)
{
	int fds[2], fd;
	size_t len;
	ssize_t n;

	if (input == NULL) {
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return err_errno(err, errno, "/dev/null");
		return fd;
	}
	if (pipe_cloexec(fds, err) != 0)
		return -1;
	/* fits into an empty pipe (4 KiB at least), so that nobody has to read first */
	len = strlen(input);
	n = write(fds[1], input, len);
	close(fds[1]);
	if (n < 0 || (size_t)n != len) {
		close(fds[0]);
		return err_set(
		    err, ERR_BUG, "input of %zu bytes does not fit a pipe", len);
	}
	return fds[0];
}

/* at exec, so that the report still has its way out until then */
static void
keep_stdio_only(void)
{
	int max;

#ifdef HAVE_CLOSE_RANGE
	if (close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
		return;
#endif
	max = (int)sysconf(_SC_OPEN_MAX);
	for (int fd = STDERR_FILENO + 1; fd < max; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* in the child; returns only on failure, with the reason in errno */
static void
become(const struct spawn_spec *spec, pid_t parent, int in_fd)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		sigaction(
		    sig, &dfl, NULL); /* fails for KILL, STOP and libc's own: fine */
	if (setpgid(0, 0) != 0)
		return;
	if (spec->drop && priv_drop(spec->uid, spec->gid, NULL) != 0) {
		errno = EPERM;
		return;
	}
	if (prctl(PR_SET_PDEATHSIG, spec->death_signal) != 0)
		return;
	if (getppid() != parent) {
		errno = ESRCH;
		return;
	}
	if (spec->cwd != NULL && chdir(spec->cwd) != 0)
		return;
	if (dup2(in_fd, STDIN_FILENO) < 0)
		return;
	if (spec->out_fd >= 0 && (dup2(spec->out_fd, STDOUT_FILENO) < 0 ||
				     dup2(spec->out_fd, STDERR_FILENO) < 0))
		return;
	keep_stdio_only();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(spec->argv[0], spec->argv, spec->env);
}

static void
child(const struct spawn_spec *spec, pid_t parent, int in_fd, int report_fd)
{
	int reason;

	become(spec, parent, in_fd);
	reason = errno;
	/* a report that cannot be written leaves the parent with an exit status */
	if (write(report_fd, &reason, sizeof(reason)) < 0)
		_exit(126);
	_exit(127);
}

int
spawn(const struct spawn_spec *spec, pid_t *pid, struct err *err)
{
	int report[2], in_fd, reason = 0;
	pid_t parent = getpid(), p;
	ssize_t n;

	in_fd = input_open(spec->input, err);
	if (in_fd < 0)
		return err_wrap(err, "%s", spec->argv[0]);
	if (pipe_cloexec(report, err) != 0) {
		close(in_fd);
		return err_wrap(err, "%s", spec->argv[0]);
	}
	p = fork();
	if (p == 0)
		child(spec, parent, in_fd, report[1]);
	close(in_fd);
	close(report[1]);
	if (p < 0) {
		close(report[0]);
		return err_errno(err, errno, "fork for %s", spec->argv[0]);
	}
	do
		n = read(report[0], &reason, sizeof(reason));
	while (n < 0 && errno == EINTR);
	close(report[0]);
	if (n == (ssize_t)sizeof(reason)) {
		while (waitpid(p, NULL, 0) < 0 && errno == EINTR)
			;
		return err_errno(err, reason, "cannot start %s", spec->argv[0]);
	}
	*pid = p;
	return 0;
}
