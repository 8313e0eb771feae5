/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * child.c - one command as a child process with pipes, bounds and a process group.
 *
 * Owns the pipes, the timer and the process group of each child; decides when the group
 * gets TERM and KILL; tells the end exactly once.  What a task is, and what an exit
 * status means for it, is the caller's business.
 *
 * A child's life is one small machine with one timer:
 *
 *     RUNNING --timeout, child_kill--> TERMED --grace--> KILLED
 *        \______________ \________________ \__________ died --> DEAD
 *     DEAD --all pipes at their end, or CHILD_LINGER_MS--> DONE, told from a deferred
 * call
 *
 * A dead child stays a zombie until DONE.  The zombie pins its pid, so the process
 * group's id cannot belong to a stranger when the group is killed; only then is the
 * child reaped.
 *
 * Between fork and exec only async-signal-safe calls are made, with every signal
 * blocked until the dispositions are back at their defaults: the parent's handlers
 * write to the parent's descriptors and must never run here.
 */
#include "proc/child.h"

#include "base/clock.h"
#include "base/mem.h"
#include "proc/procutil.h"

#include <event2/event.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN_STAMP	 0x63686e73u
#define CHILD_STAMP	 0x6368696cu
#define CHILD_LINGER_MS	 1000  /* how long a grandchild may hold a pipe */
#define READ_CHUNK_BYTES 65536 /* what a pipe holds */
#define READS_A_TURN	 4     /* a flood must not starve the other descriptors */
#define KEEP_FIRST_BYTES 4096  /* first block for kept output */
#define FREE_WAIT_MS	 2000  /* for killed children at teardown */
#define DEFAULT_PATH	 "/usr/local/bin:/usr/bin:/bin"

enum child_state {
	CHILD_NONE = 0,
	CHILD_RUNNING,
	CHILD_TERMED, /* the group got TERM */
	CHILD_KILLED, /* the group got KILL */
	CHILD_DEAD,   /* a zombie; its pipes may still be open */
	CHILD_DONE,   /* the end is to be told */
};

/* what the child tells through the status pipe when it cannot become the command */
enum child_step {
	STEP_NONE = 0,
	STEP_DUP,
	STEP_PARENT,
	STEP_LIMIT,
	STEP_USER,
	STEP_CHDIR,
	STEP_EXEC
};

static const char *const step_names[] = {
    [STEP_NONE] = "nothing",
    [STEP_DUP] = "descriptors",
    [STEP_PARENT] = "parent",
    [STEP_LIMIT] = "limit",
    [STEP_USER] = "user",
    [STEP_CHDIR] = "chdir",
    [STEP_EXEC] = "exec",
};

struct step_report {
	int step; /* enum child_step */
	int errnum;
};

/*
 * One of the child's outputs.  Kept bytes fill buf from its start; when it is full and
 * may not grow, its second half becomes a ring of the newest bytes.
 */
struct stream {
	struct child *child;
	int fd; /* -1: at its end */
	struct event *ev;
	char *buf;
	size_t cap;	/* of buf */
	size_t max;	/* cap never exceeds it */
	size_t len;	/* bytes in use */
	size_t ring_at; /* where the next byte goes once the ring runs */
	uint64_t total;
};

struct child {
	uint32_t stamp;
	TAILQ_ENTRY(child) link;
	struct children *cs; /* borrowed: outlives us */
	enum child_state state;
	pid_t pid;
	int status_fd; /* read when the child is dead */
	int in_fd;     /* -1: closed */
	struct event *in_ev;
	char *input;
	size_t input_len, input_sent;
	struct stream out, err;
	struct stream spoken; /* descriptor 3: nothing is kept */
	void (*spoken_cb)(const char *bytes, size_t len, void *arg);
	void *spoken_arg;
	struct loop_timer *timer; /* timeout, then grace, then linger */
	int64_t started_ms, duration_ms;
	int64_t kill_at_ms; /* when TERMED */
	int64_t grace_ms;
	bool timed_out, killed;
	child_cb *cb;
	void *arg;
};

TAILQ_HEAD(child_list, child);

struct children {
	uint32_t stamp;
	struct loop *loop; /* borrowed */
	struct loop_signal *sigchld;
	struct loop_defer *tell;
	struct child_list list;
	size_t count;
};

/* ---- output ---------------------------------------------------------------------- */

static void
reverse(char *bytes, size_t len)
{
	for (size_t i = 0, j = len; i + 1 < j; i++) {
		char c = bytes[i];

		bytes[i] = bytes[--j];
		bytes[j] = c;
	}
}

/* more room while that is allowed and to be had; without memory the ring just starts
 * earlier */
static void
stream_make_room(struct stream *s, size_t want)
{
	size_t cap = s->cap > 0 ? s->cap : KEEP_FIRST_BYTES;
	char *buf;

	if (s->total > s->len)
		return; /* the ring runs: its size is decided */
	while (cap < want && cap < s->max)
		cap *= 2;
	if (cap > s->max)
		cap = s->max;
	if (cap <= s->cap)
		return;
	buf = mem_resize(s->buf, cap, 1);
	if (buf == NULL)
		return;
	s->buf = buf;
	s->cap = cap;
}

static void
stream_keep(struct stream *s, const char *bytes, size_t len)
{
	size_t ring, n;

	stream_make_room(s, s->len + len);
	n = s->cap - s->len < len ? s->cap - s->len : len;
	if (n > 0)
		memcpy(s->buf + s->len, bytes, n);
	s->len += n;
	s->total += len;
	bytes += n;
	len -= n;
	ring = s->cap - s->cap / 2;
	if (len == 0 || ring == 0)
		return;
	if (len > ring) {
		/* all but the newest would be overwritten at once */
		s->ring_at = (s->ring_at + (len - ring) % ring) % ring;
		bytes += len - ring;
		len = ring;
	}
	while (len > 0) {
		n = ring - s->ring_at < len ? ring - s->ring_at : len;
		memcpy(s->buf + s->cap / 2 + s->ring_at, bytes, n);
		s->ring_at = (s->ring_at + n) % ring;
		bytes += n;
		len -= n;
	}
}

static void
stream_result(struct stream *s, struct child_output *out)
{
	size_t half = s->cap / 2, ring = s->cap - half;

	out->total = s->total;
	out->head = s->buf != NULL ? s->buf : "";
	out->head_len = s->len;
	out->tail = NULL;
	out->tail_len = 0;
	if (s->total == s->len)
		return;
	out->head_len = half;
	out->tail = s->buf != NULL ? s->buf + half : "";
	out->tail_len = ring;
	if (ring > 0) {
		/* the oldest byte of the ring to its front, in place */
		reverse(s->buf + half, s->ring_at);
		reverse(s->buf + half + s->ring_at, ring - s->ring_at);
		reverse(s->buf + half, ring);
	}
}

static void
stream_close(struct stream *s)
{
	if (s->ev != NULL)
		event_free(s->ev);
	s->ev = NULL;
	if (s->fd != -1)
		close(s->fd);
	s->fd = -1;
}

/* ---- the machine ----------------------------------------------------------------- */

static void
child_done(struct child *c)
{
	c->state = CHILD_DONE;
	loop_timer_stop(c->timer);
	loop_defer_start(c->cs->tell);
}

static void
child_check_done(struct child *c)
{
	if (c->state == CHILD_DEAD && c->out.fd == -1 && c->err.fd == -1 &&
	    c->spoken.fd == -1)
		child_done(c);
}

static void
stream_readable(evutil_socket_t fd, short what, void *arg)
{
	struct stream *s = arg;
	struct child *c = s->child;
	char chunk[READ_CHUNK_BYTES];

	(void)what;
	STAMP_CHECK(c, CHILD_STAMP);
	for (int i = 0; i < READS_A_TURN; i++) {
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n > 0 && s == &c->spoken) {
			c->spoken_cb(chunk, (size_t)n, c->spoken_arg);
			continue;
		}
		if (n > 0) {
			stream_keep(s, chunk, (size_t)n);
			continue;
		}
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		/* end of file; a pipe knows no error that a second read would mend */
		stream_close(s);
		child_check_done(c);
		return;
	}
}

static void
input_close(struct child *c)
{
	if (c->in_ev != NULL)
		event_free(c->in_ev);
	c->in_ev = NULL;
	if (c->in_fd != -1)
		close(c->in_fd);
	c->in_fd = -1;
	mem_free(c->input);
	c->input = NULL;
}

static void
input_writable(evutil_socket_t fd, short what, void *arg)
{
	struct child *c = arg;
	ssize_t n;

	(void)what;
	STAMP_CHECK(c, CHILD_STAMP);
	n = write(fd, c->input + c->input_sent, c->input_len - c->input_sent);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		c->input_sent += (size_t)n;
	/* a child that does not want its input (EPIPE) is within its rights */
	if (n < 0 || c->input_sent == c->input_len)
		input_close(c);
}

static void
child_signal_group(const struct child *c, int signo)
{
	/* ESRCH cannot happen before we reap; EPERM only for what another user's exec
	 * left */
	(void)kill(-c->pid, signo);
}

static void
child_term(struct child *c, int64_t grace_ms)
{
	int64_t now = clock_mono_ms();

	if (c->state == CHILD_TERMED && c->kill_at_ms < now + grace_ms)
		grace_ms = c->kill_at_ms > now ? c->kill_at_ms - now : 0;
	c->kill_at_ms = now + grace_ms;
	c->state = CHILD_TERMED;
	child_signal_group(c, SIGTERM);
	loop_timer_start_ms(c->timer, grace_ms);
}

static void
child_timer(void *arg)
{
	struct child *c = arg;

	STAMP_CHECK(c, CHILD_STAMP);
	switch (c->state) {
	case CHILD_RUNNING:
		c->timed_out = true;
		child_term(c, c->grace_ms);
		break;
	case CHILD_TERMED:
		c->state = CHILD_KILLED;
		child_signal_group(c, SIGKILL);
		break;
	case CHILD_DEAD:
		child_done(c);
		break;
	case CHILD_NONE:
	case CHILD_KILLED:
	case CHILD_DONE:
		break;
	}
}

void
child_kill(struct child *c, int64_t grace_ms)
{
	STAMP_CHECK(c, CHILD_STAMP);
	if (c->state != CHILD_RUNNING && c->state != CHILD_TERMED)
		return;
	c->killed = true;
	child_term(c, grace_ms > 0 ? grace_ms : 0);
}

pid_t
child_pid(const struct child *c)
{
	return c->pid;
}

static bool
child_is_dead(const struct child *c)
{
	siginfo_t info;

	info.si_pid = 0;
	/* WNOWAIT: it stays a zombie, see the top */
	return waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == c->pid;
}

static void
children_sigchld(int signo, void *arg)
{
	struct children *cs = arg;
	struct child *c;

	(void)signo;
	STAMP_CHECK(cs, CHILDREN_STAMP);
	/* signals merge: look at each of ours */
	TAILQ_FOREACH (c, &cs->list, link) {
		if (c->state == CHILD_DEAD || c->state == CHILD_DONE ||
		    !child_is_dead(c))
			continue;
		c->state = CHILD_DEAD;
		c->duration_ms = clock_mono_ms() - c->started_ms;
		input_close(c);
		loop_timer_start_ms(c->timer, CHILD_LINGER_MS);
		child_check_done(c);
	}
}

/* everything but the memory: the group is dead and reaped after it */
static void
child_release(struct child *c, int *status)
{
	child_signal_group(c, SIGKILL);
	/* it is a zombie already, but for one that even KILL did not end: see
	 * children_free */
	(void)waitpid(c->pid, status, WNOHANG);
	input_close(c);
	stream_close(&c->out);
	stream_close(&c->err);
	stream_close(&c->spoken);
	close(c->status_fd);
	c->status_fd = -1;
	loop_timer_free(c->timer);
	c->timer = NULL;
	TAILQ_REMOVE(&c->cs->list, c, link);
	c->cs->count--;
	c->cs = NULL;
}

static void
child_free(struct child *c)
{
	mem_free(c->out.buf);
	mem_free(c->err.buf);
	c->stamp = 0;
	mem_free(c);
}

static void
children_tell(void *arg)
{
	struct children *cs = arg;
	struct child *c, *next;
	struct child_result result = {0};
	struct step_report report;

	STAMP_CHECK(cs, CHILDREN_STAMP);
	TAILQ_FOREACH (c, &cs->list, link)
		if (c->state == CHILD_DONE)
			break;
	if (c == NULL)
		return;
	/* one a turn: the callback may free cs, so it must be the last thing that we do
	 */
	for (next = TAILQ_NEXT(c, link); next != NULL; next = TAILQ_NEXT(next, link))
		if (next->state == CHILD_DONE)
			break;
	if (next != NULL)
		loop_defer_start(cs->tell);

	if (read(c->status_fd, &report, sizeof(report)) == sizeof(report)) {
		result.exec_errno = report.errnum;
		result.failed_step = step_names[report.step];
	}
	child_release(c, &result.status);
	result.pid = c->pid;
	result.timed_out = c->timed_out;
	result.killed = c->killed;
	result.duration_ms = c->duration_ms;
	stream_result(&c->out, &result.out);
	stream_result(&c->err, &result.err);
	c->cb(c, &result, c->arg);
	child_free(c);
}

/* ---- starting -------------------------------------------------------------------- */

/* what the new process needs, gathered before the fork */
struct launch {
	const struct child_spec *spec;
	const char *path; /* PATH of its environment */
	pid_t parent;
	int in_fd, out_fd, err_fd, status_fd;
	int spoken_fd; /* -1: not wanted */
};

ATTR_NORETURN static void
launch_fail(int fd, enum child_step step)
{
	struct step_report report = {.step = (int)step, .errnum = errno};
	ssize_t n = write(fd, &report, sizeof(report));

	_exit(n == sizeof(report) ? 127 : 126);
}

static void
launch_exec(const struct launch *la)
{
	char *const *argv = la->spec->argv;
	const char *from = la->path;
	size_t name_len = strlen(argv[0]);
	bool denied = false;

	if (strchr(argv[0], '/') != NULL) {
		execve(argv[0], argv, la->spec->env);
		return;
	}
	for (;;) {
		size_t len = strcspn(from, ":");
		char path[PATH_MAX];

		/* an empty element would mean the current directory: never */
		if (len > 0 && len + 1 + name_len < sizeof(path)) {
			memcpy(path, from, len);
			path[len] = '/';
			memcpy(path + len + 1, argv[0], name_len + 1);
			execve(path, argv, la->spec->env);
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

/* the new process, until exec: async-signal-safe calls only, all signals blocked */
ATTR_NORETURN static void
launch_child(const struct launch *la)
{
	const struct child_spec *spec = la->spec;
	struct sigaction dfl;
	sigset_t none;
	/* out of the way of 0 to 4, whatever was closed in the parent */
	int status = fcntl(la->status_fd, F_DUPFD_CLOEXEC, 10);
	int in = fcntl(la->in_fd, F_DUPFD_CLOEXEC, 10);
	int out = fcntl(la->out_fd, F_DUPFD_CLOEXEC, 10);
	int err = fcntl(la->err_fd, F_DUPFD_CLOEXEC, 10);
	int spoken =
	    la->spoken_fd == -1 ? -1 : fcntl(la->spoken_fd, F_DUPFD_CLOEXEC, 10);

	if (status == -1)
		_exit(126);
	if (in == -1 || out == -1 || err == -1 || (spoken == -1 && la->spoken_fd != -1))
		launch_fail(status, STEP_DUP);
	/* the group first: from in_child on the world may kill it by name */
	if (setpgid(0, 0) != 0)
		launch_fail(status, STEP_PARENT);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != la->parent) {
		errno = ESRCH;
		launch_fail(status, STEP_PARENT);
	}
	if (spec->in_child != NULL)
		spec->in_child(getpid(), spec->in_child_arg);

	if (dup2(in, 0) == -1 || dup2(out, 1) == -1 || dup2(err, 2) == -1 ||
	    dup3(status, 4, O_CLOEXEC) == -1 || (spoken != -1 && dup2(spoken, 3) == -1))
		launch_fail(status, STEP_DUP);
	status = 4;
	if (spoken == -1)
		close(3);
	fd_close_from(5);

	memset(&dfl, 0, sizeof(dfl));
	dfl.sa_handler = SIG_DFL;
	for (int signo = 1; signo < NSIG; signo++)
		(void)sigaction(signo, &dfl,
		    NULL); /* refused for KILL, STOP and the C library's own */

	for (const struct child_limit *l = spec->limits; l != NULL && l->resource != -1;
	     l++) {
		struct rlimit rl;

		if (getrlimit((__rlimit_resource_t)l->resource, &rl) != 0)
			launch_fail(status, STEP_LIMIT);
		/* only ever lowered: what is out of our own reach is no reason to
		 * refuse */
		if (l->value < rl.rlim_max)
			rl.rlim_max = l->value;
		rl.rlim_cur = rl.rlim_max;
		if (setrlimit((__rlimit_resource_t)l->resource, &rl) != 0)
			launch_fail(status, STEP_LIMIT);
	}
	if (spec->uid != (uid_t)-1 &&
	    (setgroups(0, NULL) != 0 ||
		setresgid(spec->gid, spec->gid, spec->gid) != 0 ||
		setresuid(spec->uid, spec->uid, spec->uid) != 0))
		launch_fail(status, STEP_USER);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		launch_fail(status, STEP_USER);
	/* a change of user clears it, so once more; and the parent may be gone by now
	 */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != la->parent) {
		errno = ESRCH;
		launch_fail(status, STEP_PARENT);
	}
	if (chdir(spec->cwd != NULL ? spec->cwd : "/") != 0)
		launch_fail(status, STEP_CHDIR);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	launch_exec(la);
	launch_fail(status, STEP_EXEC);
}

static const char *
env_path(char *const *env)
{
	for (; *env != NULL; env++)
		if (strncmp(*env, "PATH=", 5) == 0)
			return *env + 5;
	return DEFAULT_PATH;
}

static int
stream_open(
    struct stream *s, struct child *c, int *child_end, size_t max, struct err *err)
{
	int fds[2];

	s->child = c;
	s->max = max;
	if (pipe_cloexec(fds, err) != 0)
		return -1;
	s->fd = fds[0];
	*child_end = fds[1];
	if (fd_set_nonblock(s->fd, err) != 0)
		return -1;
	s->ev = event_new(
	    loop_base(c->cs->loop), s->fd, EV_READ | EV_PERSIST, stream_readable, s);
	if (s->ev == NULL || event_add(s->ev, NULL) != 0)
		return err_set(err, ERR_NOMEM, "watching a pipe");
	return 0;
}

static int
input_open(
    struct child *c, int *child_end, const struct child_spec *spec, struct err *err)
{
	int fds[2];

	if (pipe_cloexec(fds, err) != 0)
		return -1;
	*child_end = fds[0];
	c->in_fd = fds[1];
	if (spec->input_len == 0) {
		input_close(c);
		return 0;
	}
	c->input = mem_dup(spec->input, spec->input_len);
	c->input_len = spec->input_len;
	if (c->input == NULL)
		return err_set(err, ERR_NOMEM, "input of %zu bytes", spec->input_len);
	if (fd_set_nonblock(c->in_fd, err) != 0)
		return -1;
	c->in_ev = event_new(
	    loop_base(c->cs->loop), c->in_fd, EV_WRITE | EV_PERSIST, input_writable, c);
	if (c->in_ev == NULL || event_add(c->in_ev, NULL) != 0)
		return err_set(err, ERR_NOMEM, "watching a pipe");
	return 0;
}

static void
close_if_open(int fd)
{
	if (fd != -1)
		close(fd);
}

struct child *
child_spawn(struct children *cs, const struct child_spec *spec, child_cb *cb, void *arg,
    struct err *err)
{
	struct launch la = {.spec = spec,
	    .in_fd = -1,
	    .out_fd = -1,
	    .err_fd = -1,
	    .status_fd = -1,
	    .spoken_fd = -1};
	struct child *c;
	sigset_t all, before;
	int fds[2];

	STAMP_CHECK(cs, CHILDREN_STAMP);
	c = mem_zero(sizeof(*c));
	if (c == NULL) {
		err_set(err, ERR_NOMEM, "child");
		return NULL;
	}
	c->stamp = CHILD_STAMP;
	c->cs = cs;
	c->cb = cb;
	c->arg = arg;
	c->grace_ms = spec->grace_ms;
	c->in_fd = c->out.fd = c->err.fd = c->spoken.fd = c->status_fd = -1;
	c->spoken_cb = spec->spoken;
	c->spoken_arg = spec->spoken_arg;
	c->timer = loop_timer_create(cs->loop, child_timer, c);
	if (c->timer == NULL) {
		err_set(err, ERR_NOMEM, "child timer");
		goto fail;
	}
	if (input_open(c, &la.in_fd, spec, err) != 0 ||
	    stream_open(&c->out, c, &la.out_fd, spec->max_output_bytes, err) != 0 ||
	    stream_open(&c->err, c, &la.err_fd, spec->max_error_bytes, err) != 0 ||
	    (spec->spoken != NULL &&
		stream_open(&c->spoken, c, &la.spoken_fd, 0, err) != 0) ||
	    pipe_cloexec(fds, err) != 0)
		goto fail;
	c->status_fd = fds[0];
	la.status_fd = fds[1];
	if (fd_set_nonblock(c->status_fd, err) != 0)
		goto fail;
	la.path = env_path(spec->env);
	la.parent = getpid();

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	c->started_ms = clock_mono_ms();
	c->pid = fork();
	if (c->pid == 0)
		launch_child(&la);
	if (c->pid == -1)
		err_errno(err, errno, "fork");
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (c->pid == -1)
		goto fail;
	/* here too, so that a kill right after this finds the group; EACCES: it was
	 * faster */
	(void)setpgid(c->pid, c->pid);

	close(la.in_fd);
	close(la.out_fd);
	close(la.err_fd);
	close(la.status_fd);
	close_if_open(la.spoken_fd);
	c->state = CHILD_RUNNING;
	if (spec->timeout_ms > 0)
		loop_timer_start_ms(c->timer, spec->timeout_ms);
	TAILQ_INSERT_TAIL(&cs->list, c, link);
	cs->count++;
	return c;
fail:
	close_if_open(la.in_fd);
	close_if_open(la.out_fd);
	close_if_open(la.err_fd);
	close_if_open(la.status_fd);
	close_if_open(la.spoken_fd);
	close_if_open(c->status_fd);
	input_close(c);
	stream_close(&c->out);
	stream_close(&c->err);
	stream_close(&c->spoken);
	loop_timer_free(c->timer);
	child_free(c);
	err_wrap(err, "starting %s", spec->argv[0]);
	return NULL;
}

/* ---- the watcher ----------------------------------------------------------------- */

struct children *
children_create(struct loop *l, struct err *err)
{
	struct children *cs = mem_zero(sizeof(*cs));
	struct sigaction sa;

	if (cs == NULL) {
		err_set(err, ERR_NOMEM, "children");
		return NULL;
	}
	cs->stamp = CHILDREN_STAMP;
	cs->loop = l;
	TAILQ_INIT(&cs->list);
	cs->tell = loop_defer_create(l, children_tell, cs);
	cs->sigchld = loop_signal_create(l, SIGCHLD, children_sigchld, cs);
	if (cs->tell == NULL || cs->sigchld == NULL) {
		children_free(cs);
		err_set(err, ERR_NOMEM, "children");
		return NULL;
	}
	if (sigaction(SIGPIPE, NULL, &sa) == 0 && sa.sa_handler == SIG_DFL) {
		sa.sa_handler = SIG_IGN;
		(void)sigaction(SIGPIPE, &sa, NULL);
	}
	return cs;
}

void
children_free(struct children *cs)
{
	struct child *c, *next;
	int status;

	if (cs == NULL)
		return;
	STAMP_CHECK(cs, CHILDREN_STAMP);
	TAILQ_FOREACH (c, &cs->list, link)
		child_signal_group(c, SIGKILL);
	/* a process in a disk wait ignores even KILL: leave it to init then, do not
	 * hang with it */
	TAILQ_FOREACH (c, &cs->list, link)
		for (int waited = 0; !child_is_dead(c) && waited < FREE_WAIT_MS;
		     waited++)
			(void)poll(NULL, 0, 1);
	for (c = TAILQ_FIRST(&cs->list); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		child_release(c, &status);
		child_free(c);
	}
	if (cs->sigchld != NULL)
		loop_signal_free(cs->sigchld);
	if (cs->tell != NULL)
		loop_defer_free(cs->tell);
	cs->stamp = 0;
	mem_free(cs);
}

size_t
children_count(const struct children *cs)
{
	return cs->count;
}
