/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * launch.c - starts commands by forking in this very process; see launch.h.
 *
 * The plain way: no spawner, so the door is not used, and a request for what only a
 * spawner can do (a directory of its own, seccomp, Landlock) is refused.  The tree is
 * the command's process group.
 *
 * A dead command stays a zombie until its group was killed: the zombie pins its pid, so
 * the group's id cannot belong to a stranger.
 */
#include "proc/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "proc/procutil.h"

#define FREE_WAIT_MS 2000 /* for killed commands at teardown */
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"
#define STATUS_FD    LAUNCH_FDS /* in the new process */

enum step { STEP_DUP = 0, STEP_PARENT, STEP_LIMIT, STEP_USER, STEP_CHDIR, STEP_EXEC };

static const char *const step_names[] = {
    "descriptors", "parent", "limit", "user", "chdir", "exec"};

struct report {
	int step; /* enum step */
	int errnum;
};

struct launched {
	TAILQ_ENTRY(launched) link;
	struct launcher *launcher;
	pid_t pid;
	int status_fd;
	bool started_told, dead, abandoned;
	launch_cb *cb;
	void *arg;
};

struct launcher {
	struct loop *loop; /* borrowed */
	struct loop_signal *sigchld;
	struct loop_defer *tell;
	TAILQ_HEAD(, launched) trees;
	size_t count;
};

/* ---------------------------------------------------------------- the new process */

ATTR_NORETURN static void
fail(int fd, enum step step)
{
	const struct report report = {(int)step, errno};
	ssize_t n = write(fd, &report, sizeof(report));

	_exit(n == sizeof(report) ? 127 : 126);
}

static void
take_descriptors(const struct launch_spec *spec, int *status)
{
	int fds[LAUNCH_FDS];

	*status = fcntl(*status, F_DUPFD_CLOEXEC, 10);
	if (*status == -1)
		_exit(126);
	for (int i = 0; i < LAUNCH_FDS; i++) {
		fds[i] = spec->fds[i];
		if (fds[i] == -1 && i < 3)
			fds[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (fds[i] == -1 && i == 3)
			continue;
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 10);
		if (fds[i] == -1)
			fail(*status, STEP_DUP);
	}
	for (int i = 0; i < LAUNCH_FDS; i++) {
		if (fds[i] == -1)
			close(i);
		else if (dup2(fds[i], i) == -1)
			fail(*status, STEP_DUP);
	}
	if (dup3(*status, STATUS_FD, O_CLOEXEC) == -1)
		fail(*status, STEP_DUP);
	*status = STATUS_FD;
	fd_close_from(STATUS_FD + 1);
}

static void
take_limits(const struct launch_spec *spec, int status)
{
	struct rlimit rl;

	for (size_t i = 0; i < spec->limit_count; i++) {
		__rlimit_resource_t resource =
		    (__rlimit_resource_t)spec->limits[i].resource;

		if (getrlimit(resource, &rl) != 0)
			fail(status, STEP_LIMIT);
		if (spec->limits[i].value < rl.rlim_max)
			rl.rlim_max = spec->limits[i].value;
		rl.rlim_cur = rl.rlim_max;
		if (setrlimit(resource, &rl) != 0)
			fail(status, STEP_LIMIT);
	}
}

static void
become(const struct launch_spec *spec, const char *path)
{
	size_t name_len = strlen(spec->argv[0]);
	bool denied = false;
	char file[PATH_MAX];

	if (strchr(spec->argv[0], '/') != NULL) {
		execve(spec->argv[0], spec->argv, spec->env);
		return;
	}
	for (;; path++) {
		size_t len = strcspn(path, ":");

		/* an empty element would mean the current directory: never */
		if (len > 0 && len + 1 + name_len < sizeof(file)) {
			memcpy(file, path, len);
			file[len] = '/';
			memcpy(file + len + 1, spec->argv[0], name_len + 1);
			execve(file, spec->argv, spec->env);
			if (errno == EACCES)
				denied = true;
			else if (errno != ENOENT && errno != ENOTDIR)
				return;
		}
		path += len;
		if (*path == '\0')
			break;
	}
	errno = denied ? EACCES : ENOENT;
}

/* until exec: async-signal-safe calls only, all signals blocked */
ATTR_NORETURN static void
run(const struct launch_spec *spec, const char *path, pid_t parent, int status)
{
	struct sigaction dfl;
	sigset_t none;

	if (setpgid(0, 0) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 ||
	    getppid() != parent)
		fail(status, STEP_PARENT);
	take_descriptors(spec, &status);
	memset(&dfl, 0, sizeof(dfl));
	dfl.sa_handler = SIG_DFL;
	for (int signo = 1; signo < NSIG; signo++)
		(void)sigaction(signo, &dfl, NULL); /* refused for some, rightly */
	umask(077);
	take_limits(spec, status);
	if (spec->nice != 0 && setpriority(PRIO_PROCESS, 0,
				   getpriority(PRIO_PROCESS, 0) + spec->nice) != 0)
		fail(status, STEP_LIMIT);
	if (spec->uid != (uid_t)-1 &&
	    (setgroups(0, NULL) != 0 ||
		setresgid(spec->gid, spec->gid, spec->gid) != 0 ||
		setresuid(spec->uid, spec->uid, spec->uid) != 0))
		fail(status, STEP_USER);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		fail(status, STEP_USER);
	/* a change of user clears it, so once more; and the parent may be gone by now
	 */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
		fail(status, STEP_PARENT);
	if (chdir(spec->cwd != NULL ? spec->cwd : "/") != 0)
		fail(status, STEP_CHDIR);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	become(spec, path);
	fail(status, STEP_EXEC);
}

/* ---------------------------------------------------------------- what is told */

static bool
is_dead(const struct launched *p)
{
	siginfo_t info;

	info.si_pid = 0;
	return waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == p->pid;
}

static void
release(struct launched *p, int *status)
{
	(void)kill(-p->pid, SIGKILL);
	(void)waitpid(p->pid, status, WNOHANG);
	close(p->status_fd);
	TAILQ_REMOVE(&p->launcher->trees, p, link);
	p->launcher->count--;
}

static void
end(struct launched *p)
{
	struct launch_event event = {.kind = LAUNCH_ENDED, .pid = p->pid};
	struct report report;

	if (read(p->status_fd, &report, sizeof(report)) == sizeof(report)) {
		event.errnum = report.errnum;
		event.failed_step = step_names[report.step];
	}
	release(p, &event.status);
	if (!p->abandoned)
		p->cb(p, &event, p->arg);
	mem_free(p);
}

static struct launched *
next_to_tell(struct launcher *l)
{
	struct launched *p;

	TAILQ_FOREACH (p, &l->trees, link) {
		if (p->dead || (!p->started_told && !p->abandoned))
			return p;
	}
	return NULL;
}

/* one a turn: the callback may free the launcher */
static void
on_tell(void *arg)
{
	struct launcher *l = arg;
	struct launched *p = next_to_tell(l);

	if (p == NULL)
		return;
	loop_defer_start(l->tell);
	if (p->dead) {
		end(p);
	} else {
		const struct launch_event event = {
		    .kind = LAUNCH_STARTED, .pid = p->pid};

		p->started_told = true;
		p->cb(p, &event, p->arg);
	}
}

static void
on_sigchld(int signo, void *arg)
{
	struct launcher *l = arg;
	struct launched *p;

	(void)signo;
	TAILQ_FOREACH (p, &l->trees, link)
		p->dead |= is_dead(p);
	loop_defer_start(l->tell);
}

/* ---------------------------------------------------------------- the interface */

struct launcher *
launcher_create(struct loop *loop, int door, struct err *err)
{
	struct launcher *l = mem_zero(sizeof(*l));

	(void)door;
	if (l == NULL) {
		err_set(err, ERR_NOMEM, "launcher");
		return NULL;
	}
	l->loop = loop;
	TAILQ_INIT(&l->trees);
	l->tell = loop_defer_create(loop, on_tell, l);
	l->sigchld = loop_signal_create(loop, SIGCHLD, on_sigchld, l);
	if (l->tell == NULL || l->sigchld == NULL) {
		launcher_free(l);
		err_set(err, ERR_NOMEM, "launcher");
		return NULL;
	}
	return l;
}

void
launcher_free(struct launcher *l)
{
	struct launched *p;
	int status;

	if (l == NULL)
		return;
	TAILQ_FOREACH (p, &l->trees, link)
		(void)kill(-p->pid, SIGKILL);
	/* a process in a disk wait ignores even KILL: left to init then */
	TAILQ_FOREACH (p, &l->trees, link)
		for (int waited = 0; !is_dead(p) && waited < FREE_WAIT_MS; waited++)
			(void)poll(NULL, 0, 1);
	while ((p = TAILQ_FIRST(&l->trees)) != NULL) {
		release(p, &status);
		mem_free(p);
	}
	if (l->sigchld != NULL)
		loop_signal_free(l->sigchld);
	if (l->tell != NULL)
		loop_defer_free(l->tell);
	mem_free(l);
}

size_t
launcher_count(const struct launcher *l)
{
	return l->count;
}

static const char *
path_of(char *const *env)
{
	for (; *env != NULL; env++) {
		if (strncmp(*env, "PATH=", 5) == 0)
			return *env + 5;
	}
	return DEFAULT_PATH;
}

static pid_t
fork_it(const struct launch_spec *spec, int status, struct err *err)
{
	pid_t parent = getpid(), pid;
	sigset_t all, before;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		run(spec, path_of(spec->env), parent, status);
	if (pid == -1)
		err_errno(err, errno, "fork");
	sigprocmask(SIG_SETMASK, &before, NULL);
	/* here too, so that a kill right after this finds the group */
	if (pid != -1)
		(void)setpgid(pid, pid);
	return pid;
}

struct launched *
launch(struct launcher *l, const struct launch_spec *spec, launch_cb *cb, void *arg,
    struct err *err)
{
	struct launched *p = mem_zero(sizeof(*p));
	int fds[2] = {-1, -1};

	if (p == NULL)
		err_set(err, ERR_NOMEM, "a command");
	else if (l->count >= LAUNCH_TREES)
		err_set(err, ERR_LIMIT, "%d commands run already", LAUNCH_TREES);
	else if (spec->private_directory || spec->seccomp != LAUNCH_SECCOMP_NONE ||
		 spec->allow_read != NULL || spec->allow_write != NULL)
		err_set(err, ERR_BUG, "only a spawner can fence a command in");
	else if (pipe_cloexec(fds, err) == 0 && fd_set_nonblock(fds[0], err) == 0)
		p->pid = fork_it(spec, fds[1], err);
	for (int i = 0; i < LAUNCH_FDS; i++) {
		if (spec->fds[i] != -1)
			close(spec->fds[i]);
	}
	if (fds[1] != -1)
		close(fds[1]);
	if (p == NULL || p->pid <= 0) {
		if (fds[0] != -1)
			close(fds[0]);
		mem_free(p);
		return NULL;
	}
	p->launcher = l;
	p->status_fd = fds[0];
	p->cb = cb;
	p->arg = arg;
	TAILQ_INSERT_TAIL(&l->trees, p, link);
	l->count++;
	loop_defer_start(l->tell);
	return p;
}

pid_t
launched_pid(const struct launched *p)
{
	return p->pid;
}

void
launched_signal(struct launched *p, int signo)
{
	(void)kill(-p->pid, signo);
}

void
launched_kill(struct launched *p)
{
	(void)kill(-p->pid, SIGKILL);
}

void
launched_abandon(struct launched *p)
{
	p->abandoned = true;
	(void)kill(-p->pid, SIGKILL);
}
