/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keeper.c - the process that stands over one command and all that it starts.
 *
 * It is forked from the spawner and single-threaded.  The command is started by vfork:
 * the child borrows our memory until exec, so that a failed step is simply written to a
 * variable, and no page table is copied for it.  What the child does until then must
 * therefore change nothing that we rely on: system calls, and its own few variables.
 *
 * Killing everything goes in rounds: all direct children, and the groups that they
 * lead, get KILL; those that they leave behind become direct children and die in the
 * next round.  A command that makes processes faster than that is frozen first: all
 * descendants are stopped until a look at /proc finds no new one; who is stopped makes
 * none, and holds its place within the limit of processes.
 */
#include "proc/keeper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proc/cgroup.h"
#include "proc/launchwire.h"
#include "proc/privdir.h"
#include "proc/procutil.h"
#include "proc/sandbox.h"

#define DEFAULT_PATH	 "/usr/local/bin:/usr/bin:/bin"
#define CHILDREN_MOST	 1024 /* of one round */
#define PROCESSES_MOST	 8192 /* that a look at /proc takes in */
#define FREEZE_PASSES	 64
#define ROUNDS_UNFROZEN	 16
#define ROUND_MS	 2
#define ROUND_SLOW_MS	 20 /* when the kernel has its own reasons */
#define ROUNDS_QUICK	 100
#define CHILD_STACK_PATH PATH_MAX

struct keeper {
	struct keeper_job *job;
	pid_t pid; /* of the command; 0: none */
	int status;
	bool dead; /* the command is */
	bool told_exited;
	bool silent;
};

/* ---- the command's process, until exec ---------------------------------------------
 */

/* in memory that child and keeper share until exec */
struct birth {
	const struct keeper_job *job;
	pid_t keeper;
	int group_fd; /* what is written here goes into the group; -1: none */
	const char *path;
	int cwd_errno;
	volatile int step, errnum;
};

ATTR_NORETURN static void
birth_fail(struct birth *b, enum wire_step step)
{
	b->errnum = errno != 0 ? errno : EINVAL;
	b->step = (int)step;
	_exit(127);
}

static void
birth_exec(const struct birth *b)
{
	const struct launch_spec *spec = &b->job->spec;
	const char *from = b->path;
	size_t name_len = strlen(spec->argv[0]);
	bool denied = false;

	if (strchr(spec->argv[0], '/') != NULL) {
		execve(spec->argv[0], spec->argv, spec->env);
		return;
	}
	for (;;) {
		size_t len = strcspn(from, ":");
		char path[CHILD_STACK_PATH];

		/* an empty element would mean the current directory: never */
		if (len > 0 && len + 1 + name_len < sizeof(path)) {
			memcpy(path, from, len);
			path[len] = '/';
			memcpy(path + len + 1, spec->argv[0], name_len + 1);
			execve(path, spec->argv, spec->env);
			if (errno == EACCES)
				denied = true;
			else if (errno != ENOENT && errno != ENOTDIR)
				return;
		}
		if (from[len] == '\0')
			break;
		from += len + 1;
	}
	errno = denied ? EACCES : ENOENT;
}

/*
 * The C library's own wrappers of these three would change all threads, of which it
 * keeps a list in the memory that is not ours
 */
static int
become(uid_t uid, gid_t gid)
{
	if (syscall(SYS_setgroups, 0, NULL) != 0 ||
	    syscall(SYS_setresgid, gid, gid, gid) != 0 ||
	    syscall(SYS_setresuid, uid, uid, uid) != 0)
		return -1;
	return 0;
}

static void
birth_descriptors(struct birth *b)
{
	const struct launch_spec *spec = &b->job->spec;

	/* the keeper holds them above LAUNCH_FDS */
	for (int i = 0; i < LAUNCH_FDS; i++) {
		int fd = spec->fds[i];

		if (fd == -1 && i < 3)
			fd = open("/dev/null", O_RDWR);
		if (fd == -1 && i >= 3)
			continue;
		if (fd == -1 || dup2(fd, i) == -1)
			birth_fail(b, STEP_DUP);
	}
	fd_close_from(spec->fds[LAUNCH_FDS - 1] == -1 ? LAUNCH_FDS - 1 : LAUNCH_FDS);
}

static void
birth_limits(struct birth *b)
{
	const struct launch_spec *spec = &b->job->spec;

	for (size_t i = 0; i < spec->limit_count; i++) {
		struct rlimit rl;
		__rlimit_resource_t resource =
		    (__rlimit_resource_t)spec->limits[i].resource;

		if (getrlimit(resource, &rl) != 0)
			birth_fail(b, STEP_LIMIT);
		/* only ever lowered: what is out of our own reach is no reason to
		 * refuse */
		if (spec->limits[i].value < rl.rlim_max)
			rl.rlim_max = spec->limits[i].value;
		rl.rlim_cur = rl.rlim_max;
		if (setrlimit(resource, &rl) != 0)
			birth_fail(b, STEP_LIMIT);
	}
}

ATTR_NORETURN static void
birth_child(struct birth *b)
{
	const struct keeper_job *job = b->job;
	const struct launch_spec *spec = &job->spec;
	bool other_user = spec->uid != (uid_t)-1;
	struct sigaction dfl;
	sigset_t none;

	if (setpgid(0, 0) != 0)
		birth_fail(b, STEP_PARENT);
	/* before the change of user, who may not */
	if (b->group_fd != -1 && write(b->group_fd, "0", 1) != 1)
		birth_fail(b, STEP_GROUP);
	memset(&dfl, 0, sizeof(dfl));
	dfl.sa_handler = SIG_DFL;
	for (int signo = 1; signo < NSIG; signo++)
		(void)sigaction(signo, &dfl,
		    NULL); /* refused for KILL, STOP and the C library's own */
	umask(077);
	/* before the change of user: only root may ask for more */
	if (spec->nice != 0 && (errno = 0, nice(spec->nice)) == -1 && errno != 0)
		birth_fail(b, STEP_LIMIT);
	if (other_user && become(spec->uid, spec->gid) != 0)
		birth_fail(b, STEP_USER);
	/* what the node was given to bind a low port is not the command's */
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		birth_fail(b, STEP_USER);
	/* after the change of user, which clears it */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != b->keeper) {
		errno = ESRCH;
		birth_fail(b, STEP_PARENT);
	}
	if (chdir(job->directory != NULL ? job->directory
		  : spec->cwd != NULL	 ? spec->cwd
					 : "/") != 0)
		birth_fail(b, STEP_CHDIR);
	if ((spec->allow_read != NULL || spec->allow_write != NULL) &&
	    sandbox_landlock(spec->allow_read, spec->allow_write, job->directory) != 0)
		birth_fail(b, STEP_SANDBOX);
	birth_descriptors(b);
	/* after the change of user: how many processes he has is looked at when they
	 * fork, not by exec */
	birth_limits(b);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (spec->seccomp != LAUNCH_SECCOMP_NONE && sandbox_seccomp(spec->seccomp) != 0)
		birth_fail(b, STEP_SANDBOX);
	birth_exec(b);
	birth_fail(b, STEP_EXEC);
}

static const char *
env_path(char *const *env)
{
	for (; *env != NULL; env++)
		if (strncmp(*env, "PATH=", 5) == 0)
			return *env + 5;
	return DEFAULT_PATH;
}

/* ---- killing -----------------------------------------------------------------------
 */

struct process {
	pid_t pid, parent;
	bool ours, stopped;
};

/* the process and its parent from /proc/PID/stat: the name may have any character */
static bool
read_parent(const char *pid, struct process *p)
{
	char path[64], text[512], *end;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	if (file_read_small(path, text, sizeof(text)) <= 0)
		return false;
	end = strrchr(text, ')');
	if (end == NULL || strlen(end) < 5)
		return false;
	p->pid = (pid_t)strtol(pid, NULL, 10);
	p->parent = (pid_t)strtol(end + 4, NULL, 10);
	return true;
}

static size_t
look(struct process *list, size_t max)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;
	size_t n = 0;

	if (dir == NULL)
		return 0;
	while (n < max && (e = readdir(dir)) != NULL) {
		struct process p = {0, 0, false, false};

		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' &&
		    read_parent(e->d_name, &p))
			list[n++] = p;
	}
	closedir(dir);
	return n;
}

/* marks those that come from us; they need not be in the order of their birth */
static size_t
mark_ours(struct process *list, size_t n)
{
	pid_t self = getpid();
	size_t ours = 0;
	bool more = true;

	while (more) {
		more = false;
		for (size_t i = 0; i < n; i++) {
			bool is = list[i].parent == self;

			if (list[i].ours)
				continue;
			for (size_t j = 0; !is && j < n; j++)
				is = list[j].ours && list[j].pid == list[i].parent;
			if (!is)
				continue;
			list[i].ours = more = true;
			ours++;
		}
	}
	return ours;
}

static void
freeze_and_kill(void)
{
	static struct process list[PROCESSES_MOST];
	size_t n, before = 0, still = 0;

	for (int pass = 0; pass < FREEZE_PASSES && still < 2; pass++) {
		size_t ours;

		n = look(list, PROCESSES_MOST);
		ours = mark_ours(list, n);
		for (size_t i = 0; i < n; i++)
			if (list[i].ours)
				(void)kill(list[i].pid, SIGSTOP);
		still = ours == before ? still + 1 : 0;
		before = ours;
	}
	n = look(list, PROCESSES_MOST);
	(void)mark_ours(list, n);
	for (size_t i = 0; i < n; i++)
		if (list[i].ours)
			(void)kill(list[i].pid, SIGKILL);
}

size_t
keeper_children(pid_t *pids, size_t max)
{
	char path[64], text[4096], *rest, *end;
	static struct process list[PROCESSES_MOST];
	size_t n = 0, all;
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%ld/children", (long)getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd != -1) {
		got = read(fd, text, sizeof(text) - 1);
		close(fd);
		if (got < 0)
			got = 0;
		text[got] = '\0';
		for (rest = text; n < max; rest = end) {
			long pid = strtol(rest, &end, 10);

			/* (one that is cut short has no space after it) */
			if (end == rest || *end != ' ')
				break;
			pids[n++] = (pid_t)pid;
		}
		return n;
	}
	/* a kernel without it */
	all = look(list, PROCESSES_MOST);
	for (size_t i = 0; i < all && n < max; i++)
		if (list[i].parent == getpid())
			pids[n++] = list[i].pid;
	return n;
}

static void
kill_round(void)
{
	pid_t pids[CHILDREN_MOST], own = getpgrp();
	size_t n = keeper_children(pids, CHILDREN_MOST);

	for (size_t i = 0; i < n; i++) {
		pid_t group = getpgid(pids[i]);

		/* all of a group at once: between two of its members none can fork */
		if (group > 1 && group != own)
			(void)kill(-group, SIGKILL);
		(void)kill(pids[i], SIGKILL);
	}
}

/* kills all children of this process and all that comes after them; returns when
 * waitpid knows none.  Told of each that it reaps. */
static void
kill_all(void (*reaped)(pid_t pid, int status, void *arg), void *arg)
{
	sigset_t chld;
	int status;
	pid_t pid;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	for (int round = 0;; round++) {
		struct timespec pause = {
		    .tv_nsec =
			(round < ROUNDS_QUICK ? ROUND_MS : ROUND_SLOW_MS) * 1000000L};

		if (round > 0 && round % ROUNDS_UNFROZEN == 0) {
			(void)setpriority(PRIO_PROCESS, 0, -20); /* if we may */
			freeze_and_kill();
		} else {
			kill_round();
		}
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
			if (reaped != NULL)
				reaped(pid, status, arg);
		if (pid == -1 && errno == ECHILD)
			return;
		(void)sigtimedwait(&chld, NULL, &pause);
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
			if (reaped != NULL)
				reaped(pid, status, arg);
		if (pid == -1 && errno == ECHILD)
			return;
	}
}

/* ---- its life ----------------------------------------------------------------------
 */

static void
tell(const struct keeper *k, enum wire_kind kind, enum wire_step step, int errnum)
{
	const struct wire_news news = {
	    .kind = kind,
	    .step = step,
	    .id = k->job->id,
	    .pid = k->pid,
	    .status = k->status,
	    .errnum = errnum,
	};

	/* waits while the launcher does not read, which has a supervisor of its own;
	 * when it is dead nobody wants to know */
	(void)send(k->job->answer, &news, sizeof(news), MSG_NOSIGNAL);
}

static void
reaped(pid_t pid, int status, void *arg)
{
	struct keeper *k = arg;

	if (pid != k->pid)
		return;
	k->status = status;
	k->dead = true;
}

ATTR_NORETURN static void
keeper_end(struct keeper *k, enum wire_step step, int errnum)
{
	if (!k->silent)
		tell(k, WIRE_ENDED, step, errnum);
	close(k->job->answer);
	/* what cannot be removed stays for whoever cleans the place: it is empty of
	 * processes */
	if (k->job->directory != NULL)
		(void)privdir_remove(k->job->directory);
	if (k->job->group != NULL)
		cgroup_remove(k->job->group);
	_exit(0);
}

/* descriptors that we keep: the answer, and those of the command, all above its own */
static void
keep_descriptors(struct keeper *k)
{
	int *fds = k->job->spec.fds, to = LAUNCH_FDS, kept[LAUNCH_FDS + 1];
	const int from[LAUNCH_FDS + 1] = {
	    k->job->answer, fds[0], fds[1], fds[2], fds[3]};

	/* out of the way first, so that none is overwritten */
	for (int i = 0; i <= LAUNCH_FDS; i++) {
		kept[i] = from[i] == -1
			      ? -1
			      : fcntl(from[i], F_DUPFD_CLOEXEC, 4 * LAUNCH_FDS);
		if (kept[i] == -1 && from[i] != -1)
			keeper_end(k, STEP_DUP, errno);
	}
	for (int i = 0; i <= LAUNCH_FDS; i++) {
		if (kept[i] == -1)
			continue;
		if (dup3(kept[i], to, O_CLOEXEC) == -1)
			_exit(1);
		if (i == 0)
			k->job->answer = to;
		else
			fds[i - 1] = to;
		to++;
	}
	/* (may have been one of them) */
	close(LAUNCH_FDS - 1);
	fd_close_from(to);
}

static void
add_env(struct keeper *k, const char *name, char *text, size_t size)
{
	snprintf(text, size, "%s=%s", name, k->job->directory);
	k->job->env[k->job->env_count++] = text;
	k->job->env[k->job->env_count] = NULL;
}

static void
start(struct keeper *k)
{
	struct birth b = {.job = k->job, .keeper = getpid(), .group_fd = -1};
	static char tmpdir[PRIVDIR_PATH + 16], home[PRIVDIR_PATH + 16];

	if (k->job->directory != NULL) {
		add_env(k, "TMPDIR", tmpdir, sizeof(tmpdir));
		add_env(k, "HOME", home, sizeof(home));
	}
	b.path = env_path(k->job->spec.env);
	if (k->job->group != NULL &&
	    (b.group_fd = cgroup_open_procs(k->job->group)) == -1)
		keeper_end(k, STEP_GROUP, errno);
	k->pid = vfork();
	if (k->pid == 0)
		birth_child(&b);
	if (b.group_fd != -1)
		close(b.group_fd);
	if (k->pid == -1) {
		k->pid = 0;
		keeper_end(k, STEP_FORK, errno);
	}
	if (b.step != STEP_NONE) {
		(void)waitpid(k->pid, NULL, 0);
		keeper_end(k, (enum wire_step)b.step, b.errnum);
	}
	tell(k, WIRE_STARTED, STEP_NONE, 0);
}

/* all that died; ends us with the last */
static void
reap(struct keeper *k)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		reaped(pid, status, k);
	if (pid == -1 && errno == ECHILD)
		keeper_end(k, STEP_NONE, 0);
	if (k->dead && !k->told_exited) {
		k->told_exited = true;
		tell(k, WIRE_EXITED, STEP_NONE, 0);
	}
}

ATTR_NORETURN void
keeper_main(struct keeper_job *job)
{
	struct keeper k = {.job = job};
	sigset_t all;

	proctitle_set("shoald: keeper");
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	keep_descriptors(&k);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0 ||
	    prctl(PR_SET_PDEATHSIG, KEEPER_KILL) != 0)
		keeper_end(&k, STEP_PARENT, errno);
	/* its spawner died before it could hear of that: it has no outcome, as below */
	k.silent = getppid() != job->spawner;
	if (k.silent)
		keeper_end(&k, STEP_NONE, 0);
	sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	start(&k);
	/* the command has its own by now */
	for (int i = 0; i < LAUNCH_FDS; i++)
		if (job->spec.fds[i] != -1)
			close(job->spec.fds[i]);
	for (;;) {
		int signo = sigwaitinfo(&all, NULL);

		switch (signo) {
		case SIGCHLD:
			reap(&k);
			break;
		case KEEPER_KILL:
			/* a command that dies of its spawner's death has no outcome:
			 * the end of file, after the last keeper, says that */
			if (!k.dead && getppid() != job->spawner)
				k.silent = true;
			/* none of them can fork any more; they are reaped below */
			if (job->group != NULL)
				cgroup_kill(job->group);
			kill_all(reaped, &k);
			keeper_end(&k, STEP_NONE, 0);
		case SIGTERM:
		case SIGINT:
		case SIGHUP:
		case SIGQUIT:
		case SIGUSR1:
		case SIGCONT:
			/* unreaped, so that the group's id is its own */
			if (!k.dead)
				(void)kill(-k.pid, signo);
			break;
		default:
			break;
		}
	}
}
