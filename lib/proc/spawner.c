/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spawner.c - the process that forks and executes commands for all others of a node.
 *
 * One loop over poll: the signals, the door, the supervisor's socket, and the
 * connections. It owns two tables of fixed size and one buffer, and allocates nothing.
 * It never waits: what takes time (removing a directory, killing a tree) its children
 * do.
 *
 * A tree is an entry from the fork of its keeper to the keeper's end:
 *
 *     KEPT      its keeper lives, and tells the launcher what happens
 *     LEFT      its keeper was killed before it had told the end: the command died
 *               with it, and what else that had started came to us as strays;
 *               when none is left we tell the end ourselves
 *     CLEANED   a last process removes what such a keeper should have removed
 *
 * Every child that is no keeper is a stray and is killed.
 *
 * A connection is an entry until its other end is closed and its trees have ended.  The
 * moment that the other end is closed nothing more is read from it: the one who asked
 * is dead.
 */
#include "proc/spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proc/keeper.h"
#include "proc/launchread.h"
#include "proc/launchwire.h"
#include "proc/privdir.h"
#include "proc/procutil.h"
#include "proc/sandbox.h"

#define STRAYS_MOST	256
#define STRAY_LOOK_MS	50 /* while strays are left */
#define BEAT_MS		500
#define REQUESTS_A_TURN 16 /* of one connection: the others wait */
#define BUFFER_BYTES	(sizeof(struct wire_launch) + LAUNCH_REQUEST_BYTES)

enum tree_state { TREE_FREE = 0, TREE_KEPT, TREE_LEFT, TREE_CLEANED };

struct tree {
	enum tree_state state;
	pid_t keeper; /* LEFT: none */
	uint64_t id;
	int conn; /* index */
	int status;
	char directory[PRIVDIR_PATH]; /* "": none */
	uint64_t group;		      /* number in its control group's name; 0: none */
};

struct conn {
	bool used;
	int fd;	      /* -1: its other end is closed */
	pid_t pid;    /* whose */
	bool asked;   /* the supervisor wants to hear when it is settled */
	size_t trees; /* KEPT and LEFT */
};

static struct spawner {
	const struct spawner_opts *opts;
	int signal_fd;
	bool ending;	 /* everything dies, and then we end */
	bool supervised; /* control has not come to its end */
	bool strays;	 /* some may be left */
	struct conn conns[SPAWNER_CONNECTIONS];
	struct tree trees[SPAWNER_TREES];
	size_t tree_top; /* no tree at or above it */
	uint64_t groups; /* made so far: their names */
	_Alignas(struct wire_launch) char buffer[BUFFER_BYTES];
} sp;

/* ---- telling -----------------------------------------------------------------------
 */

static void
tell_end(const struct conn *c, uint64_t id, enum wire_step step, int errnum, int status)
{
	const struct wire_news news = {
	    .kind = WIRE_ENDED,
	    .step = step,
	    .id = id,
	    .errnum = errnum,
	    .status = status,
	};

	/* a launcher that reads nothing while it asks for more gives up on us itself */
	if (c->fd != -1)
		(void)send(c->fd, &news, sizeof(news), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void
tell_settled(pid_t pid)
{
	const struct wire_process settled = {.kind = WIRE_SETTLED, .pid = pid};

	if (sp.opts->control != -1)
		(void)send(sp.opts->control, &settled, sizeof(settled),
		    MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* ---- connections -------------------------------------------------------------------
 */

static void
conn_check(struct conn *c)
{
	bool others = false, asked = c->asked;
	pid_t pid = c->pid;

	if (!c->used || c->fd != -1 || c->trees > 0)
		return;
	c->used = false;
	for (size_t i = 0; i < SPAWNER_CONNECTIONS; i++)
		others |= sp.conns[i].used && sp.conns[i].pid == pid;
	if (asked && !others)
		tell_settled(pid);
}

static void
conn_close(struct conn *c)
{
	if (c->fd == -1)
		return;
	close(c->fd);
	c->fd = -1;
	for (size_t i = 0; i < sp.tree_top; i++)
		if (sp.trees[i].state == TREE_KEPT && &sp.conns[sp.trees[i].conn] == c)
			(void)kill(sp.trees[i].keeper, KEEPER_KILL);
	conn_check(c);
}

static void
conn_add(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	for (size_t i = 0; i < SPAWNER_CONNECTIONS; i++) {
		struct conn *c = &sp.conns[i];

		if (c->used)
			continue;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
			break;
		*c = (struct conn){.used = true, .fd = fd, .pid = peer.pid};
		return;
	}
	close(fd);
}

static void
close_all(const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (fds[i] != -1)
			close(fds[i]);
}

static void
read_door(void)
{
	struct wire_process hello;
	int fds[LAUNCH_FDS];
	size_t count;
	ssize_t n;

	while ((n = launchread_take(
		    sp.opts->door, &hello, sizeof(hello), fds, &count)) > 0) {
		if (n == sizeof(hello) && hello.kind == WIRE_HELLO && count == 1)
			conn_add(fds[0]);
		else
			close_all(fds, count);
	}
}

/* ---- starting ----------------------------------------------------------------------
 */

static struct tree *
tree_free(void)
{
	for (size_t i = 0; i < SPAWNER_TREES; i++)
		if (sp.trees[i].state == TREE_FREE)
			return &sp.trees[i];
	return NULL;
}

static void
tree_used(struct tree *t, enum tree_state state)
{
	size_t i = (size_t)(t - sp.trees);

	t->state = state;
	if (i >= sp.tree_top)
		sp.tree_top = i + 1;
}

static const char *
group_name(uint64_t number, char buf[64])
{
	snprintf(buf, 64, "shoal.%ld-%llu", (long)getpid(), (unsigned long long)number);
	return buf;
}

/* of a tree that has one */
static const char *
group_path(const struct tree *t, char path[CGROUP_PATH])
{
	char name[64];

	snprintf(path, CGROUP_PATH, "%s/%s", sp.opts->group_home,
	    group_name(t->group, name));
	return path;
}

static bool
allowed(const struct launch_spec *spec)
{
	struct launch_spec shown = *spec;

	for (int i = 0; i < LAUNCH_FDS; i++)
		shown.fds[i] = -1;
	return sp.opts->allow == NULL || sp.opts->allow(&shown, sp.opts->allow_arg);
}

static int
make_group(struct tree *t, const struct launch_spec *spec, char path[CGROUP_PATH])
{
	char name[64];

	if (sp.opts->group_home == NULL) {
		errno = ENOTSUP;
		return -1;
	}
	if (cgroup_make(sp.opts->group_home, group_name(++sp.groups, name),
		&spec->group, path) != 0)
		return -1;
	t->group = sp.groups;
	return 0;
}

/* it was never started: errno stays */
static void
unmake(const struct tree *t)
{
	char path[CGROUP_PATH];
	int saved = errno;

	if (t->directory[0] != '\0')
		(void)rmdir(t->directory);
	if (t->group != 0)
		cgroup_remove(group_path(t, path));
	errno = saved;
}

/* 0, or the errno of *step */
static int
start(struct conn *c, struct keeper_job *job, enum wire_step *step)
{
	static char group[CGROUP_PATH]; /* forked with us: the keeper reads it on */
	struct tree *t = tree_free();
	pid_t pid;

	if (!allowed(&job->spec)) {
		*step = STEP_REFUSED;
		return EPERM;
	}
	if (job->spec.uid == (uid_t)-1 && sp.opts->uid != (uid_t)-1) {
		job->spec.uid = sp.opts->uid;
		job->spec.gid = sp.opts->gid;
	}
	*step = STEP_FORK;
	if (t == NULL || sp.ending)
		return EAGAIN;
	*step = STEP_DIRECTORY;
	t->directory[0] = '\0';
	if (job->spec.private_directory) {
		if (privdir_make(sp.opts->temporary, job->spec.uid, job->spec.gid,
			t->directory) != 0) {
			t->directory[0] = '\0';
			return errno;
		}
		job->directory = t->directory;
	}
	*step = STEP_GROUP;
	t->group = 0;
	if (job->spec.grouped) {
		if (make_group(t, &job->spec, group) != 0) {
			unmake(t);
			return errno;
		}
		job->group = group;
	}
	*step = STEP_FORK;
	pid = fork();
	if (pid == 0)
		keeper_main(job);
	if (pid == -1) {
		unmake(t);
		return errno;
	}
	t->keeper = pid;
	t->id = job->id;
	t->conn = (int)(c - sp.conns);
	tree_used(t, TREE_KEPT);
	c->trees++;
	return 0;
}

static void
on_launch(struct conn *c, size_t len, const int *fds, size_t fd_count)
{
	static struct launch_words words; /* forked with us: the keeper reads it on */
	struct keeper_job job = {.answer = c->fd, .spawner = getpid()};
	struct wire_launch head;
	enum wire_step step = STEP_REQUEST;
	int errnum = EINVAL;

	memcpy(&head, sp.buffer, sizeof(head));
	job.id = head.id;
	if (launchread_parse((const struct wire_launch *)sp.buffer, len, fds, fd_count,
		&words, &job))
		errnum = start(c, &job, &step);
	if (errnum != 0)
		tell_end(c, head.id, step, errnum, 0);
}

/* what a keeper passes on; anything else would end or stop the keeper itself */
static bool
may_be_sent(int signo)
{
	return signo == SIGTERM || signo == SIGINT || signo == SIGHUP ||
	       signo == SIGQUIT || signo == SIGUSR1 || signo == SIGCONT;
}

static void
on_order(const struct conn *c)
{
	struct wire_order order;

	memcpy(&order, sp.buffer, sizeof(order));
	for (size_t i = 0; i < sp.tree_top; i++) {
		const struct tree *t = &sp.trees[i];

		if (t->state != TREE_KEPT || t->id != order.id ||
		    &sp.conns[t->conn] != c)
			continue;
		if (order.kind == WIRE_KILL)
			(void)kill(t->keeper, KEEPER_KILL);
		else if (may_be_sent(order.signo))
			(void)kill(t->keeper, order.signo);
		return;
	}
}

static void
read_conn(struct conn *c)
{
	for (int i = 0; i < REQUESTS_A_TURN; i++) {
		int fds[LAUNCH_FDS];
		size_t fd_count;
		ssize_t n = launchread_take(
		    c->fd, sp.buffer, sizeof(sp.buffer), fds, &fd_count);
		uint32_t kind = 0;

		if (n == -1 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			conn_close(c);
			return;
		}
		if ((size_t)n >= sizeof(kind))
			memcpy(&kind, sp.buffer, sizeof(kind));
		if (kind == WIRE_LAUNCH && (size_t)n >= sizeof(struct wire_launch))
			on_launch(c, (size_t)n, fds, fd_count);
		else if ((kind == WIRE_SIGNAL || kind == WIRE_KILL) &&
			 n == sizeof(struct wire_order))
			on_order(c);
		close_all(fds, fd_count);
	}
}

/* ---- ends --------------------------------------------------------------------------
 */

static bool
is_ours(pid_t pid)
{
	for (size_t i = 0; i < sp.tree_top; i++)
		if (sp.trees[i].keeper == pid && (sp.trees[i].state == TREE_KEPT ||
						     sp.trees[i].state == TREE_CLEANED))
			return true;
	return false;
}

static void
tree_clean(struct tree *t)
{
	char path[CGROUP_PATH];
	pid_t pid;

	if (t->group != 0)
		cgroup_remove(group_path(t, path));
	pid = t->directory[0] != '\0' ? fork() : -1;

	if (pid == 0) {
		fd_close_from(3);
		(void)privdir_remove(t->directory);
		_exit(0);
	}
	t->state = TREE_FREE;
	if (pid > 0) {
		t->keeper = pid;
		t->state = TREE_CLEANED;
	}
}

/* trees whose keepers did not tell their end, when no stray may be a part of them */
static void
strays_look(void)
{
	pid_t pids[STRAYS_MOST];
	size_t n = keeper_children(pids, STRAYS_MOST), left = 0;

	for (size_t i = 0; i < n; i++) {
		if (is_ours(pids[i]))
			continue;
		left++;
		(void)kill(pids[i], SIGKILL);
	}
	sp.strays = left > 0 || n == STRAYS_MOST;
	if (sp.strays)
		return;
	for (size_t i = 0; i < sp.tree_top; i++) {
		struct tree *t = &sp.trees[i];
		struct conn *c = &sp.conns[t->conn];

		if (t->state != TREE_LEFT)
			continue;
		tell_end(c, t->id, STEP_NONE, 0, t->status);
		c->trees--;
		tree_clean(t);
		conn_check(c);
	}
}

static void
keeper_ended(struct tree *t, int status)
{
	char path[CGROUP_PATH];
	struct conn *c = &sp.conns[t->conn];

	if (t->state == TREE_CLEANED) {
		t->state = TREE_FREE;
		return;
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		/* it counts as the command's own end: who kills his keeper gains
		 * nothing */
		t->state = TREE_LEFT;
		t->status = SIGKILL;
		t->keeper = 0;
		if (t->group != 0)
			cgroup_kill(group_path(t, path));
		sp.strays = true;
		return;
	}
	t->state = TREE_FREE;
	c->trees--;
	conn_check(c);
}

static void
reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (size_t i = 0; i < sp.tree_top; i++) {
			struct tree *t = &sp.trees[i];

			if (t->keeper == pid &&
			    (t->state == TREE_KEPT || t->state == TREE_CLEANED)) {
				keeper_ended(t, status);
				break;
			}
		}
	}
	while (sp.tree_top > 0 && sp.trees[sp.tree_top - 1].state == TREE_FREE)
		sp.tree_top--;
	if (sp.strays)
		strays_look();
}

/* ---- the supervisor ----------------------------------------------------------------
 */

static void
on_gone(pid_t pid)
{
	bool any = false;

	/* what it sent before its death is here by now */
	read_door();
	for (size_t i = 0; i < SPAWNER_CONNECTIONS; i++) {
		struct conn *c = &sp.conns[i];

		if (!c->used || c->pid != pid)
			continue;
		any = true;
		c->asked = true;
		if (c->fd != -1)
			conn_close(c);
	}
	if (!any)
		tell_settled(pid);
}

static void
read_control(void)
{
	struct wire_process order;
	ssize_t n;

	while ((n = recv(sp.opts->control, &order, sizeof(order), MSG_DONTWAIT)) > 0)
		if (n == sizeof(order) && order.kind == WIRE_GONE)
			on_gone(order.pid);
	if (n == 0)
		sp.supervised = false;
}

static void
read_signals(void)
{
	struct signalfd_siginfo info;

	while (read(sp.signal_fd, &info, sizeof(info)) == sizeof(info))
		if (info.ssi_signo == SIGTERM)
			sp.ending = true;
}

/* ---- the loop ----------------------------------------------------------------------
 */

static bool
is_over(void)
{
	bool any = false;

	for (size_t i = 0; i < SPAWNER_CONNECTIONS; i++)
		any |= sp.conns[i].used;
	if (!sp.supervised && sp.opts->control != -1 && !any)
		sp.ending = true;
	if (!sp.ending)
		return false;
	for (size_t i = 0; i < SPAWNER_CONNECTIONS; i++)
		if (sp.conns[i].used)
			conn_close(&sp.conns[i]);
	return sp.tree_top == 0 && !sp.strays;
}

static void
turn(void)
{
	static struct pollfd fds[3 + SPAWNER_CONNECTIONS];
	static size_t conn_of[SPAWNER_CONNECTIONS];
	size_t n = 0;

	fds[0] = (struct pollfd){.fd = sp.signal_fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = sp.opts->door, .events = POLLIN};
	fds[2] = (struct pollfd){
	    .fd = sp.supervised ? sp.opts->control : -1, .events = POLLIN};
	for (size_t i = 0; i < SPAWNER_CONNECTIONS; i++) {
		if (!sp.conns[i].used || sp.conns[i].fd == -1)
			continue;
		fds[3 + n] = (struct pollfd){.fd = sp.conns[i].fd, .events = POLLIN};
		conn_of[n++] = i;
	}
	if (poll(fds, 3 + n, sp.strays ? STRAY_LOOK_MS : BEAT_MS) == -1)
		return;
	if (fds[0].revents != 0)
		read_signals();
	/* every turn: it costs one system call, and strays are looked at by the clock
	 */
	reap();
	/* the dead first: nothing that they still asked for is started */
	for (size_t i = 0; i < n; i++)
		if ((fds[3 + i].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0)
			conn_close(&sp.conns[conn_of[i]]);
	if (fds[2].revents != 0)
		read_control();
	for (size_t i = 0; i < n; i++) {
		struct conn *c = &sp.conns[conn_of[i]];

		if ((fds[3 + i].revents & POLLIN) != 0 && c->used && c->fd != -1)
			read_conn(c);
	}
	if (fds[1].revents != 0)
		read_door();
}

int
spawner_run(const struct spawner_opts *opts, struct err *err)
{
	sigset_t all;
	int null;

	memset(&sp, 0, sizeof(sp));
	sp.opts = opts;
	sp.supervised = opts->control != -1;
	/* 0 to 2 are something, so that what is handed over never lands there */
	do
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (null != -1 && null <= 2);
	if (null == -1)
		return err_errno(err, errno, "/dev/null");
	close(null);
	if (sandbox_prepare(err) != 0)
		return -1;
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
		return err_errno(err, errno, "becoming the subreaper");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return err_errno(err, errno, "not dumpable");
	/* keepers and commands start with everything blocked */
	sigfillset(&all);
	if (sigprocmask(SIG_SETMASK, &all, NULL) != 0)
		return err_errno(err, errno, "signal mask");
	sp.signal_fd = signalfd(-1, &all, SFD_NONBLOCK | SFD_CLOEXEC);
	if (sp.signal_fd == -1)
		return err_errno(err, errno, "signalfd");
	while (!is_over()) {
		if (opts->beat != NULL)
			opts->beat(opts->beat_arg);
		turn();
	}
	close(sp.signal_fd);
	return 0;
}

/* ---- for others --------------------------------------------------------------------
 */

int
spawner_door(int ends[2], struct err *err)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		return err_errno(err, errno, "socketpair");
	return 0;
}

int
spawner_ask_gone(int control, pid_t pid)
{
	const struct wire_process gone = {.kind = WIRE_GONE, .pid = pid};

	return send(control, &gone, sizeof(gone), MSG_NOSIGNAL | MSG_DONTWAIT) ==
		       sizeof(gone)
		   ? 0
		   : -1;
}

pid_t
spawner_settled(int control)
{
	struct wire_process news;
	ssize_t n;

	while ((n = recv(control, &news, sizeof(news), MSG_DONTWAIT)) > 0)
		if (n == sizeof(news) && news.kind == WIRE_SETTLED)
			return news.pid;
	return n == 0 || (errno != EAGAIN && errno != EINTR) ? -1 : 0;
}
