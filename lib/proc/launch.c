/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * launch.c - one process's connection to the spawner, and the trees it has there.
 *
 * Owns the connection, what waits to be sent on it, and an entry a tree.  A tree's
 * number names its place in the table and how often that place was used, so that news
 * of one that is forgotten finds nobody.
 *
 * The connection is a socket pair made here, of which one end goes through the door. It
 * does not matter whether a spawner stands behind the door: what is sent waits in the
 * pair, and the next spawner takes it.  The end of file means that a spawner which had
 * taken it is dead, with everything that it ran: its keepers hold copies of that end,
 * so that it comes after the last of them.
 */
#include "proc/launch.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/clock.h"
#include "base/mem.h"
#include "proc/launchwire.h"

#define LAUNCHER_STAMP 0x6c6e6368u
#define LAUNCHED_STAMP 0x6c6e6364u
#define OUT_MOST       (4 * LAUNCH_TREES) /* messages that wait */
#define NEWS_A_TURN    64
#define RETRY_MS       20   /* while the door is full */
#define LOOK_MS	       1000 /* at those that were not started yet */

static const char *const step_names[STEP_COUNT] = {
    [STEP_NONE] = "nothing",
    [STEP_REQUEST] = "request",
    [STEP_REFUSED] = "refused",
    [STEP_FORK] = "fork",
    [STEP_DIRECTORY] = "directory",
    [STEP_GROUP] = "control group",
    [STEP_DUP] = "descriptors",
    [STEP_PARENT] = "parent",
    [STEP_USER] = "user",
    [STEP_LIMIT] = "limit",
    [STEP_CHDIR] = "chdir",
    [STEP_SANDBOX] = "sandbox",
    [STEP_EXEC] = "exec",
};

/* a message that waits for room in the socket */
struct out {
	TAILQ_ENTRY(out) link;
	size_t len;
	int fds[LAUNCH_FDS];
	size_t fd_count;
	_Alignas(uint64_t) char bytes[];
};

struct launched {
	uint32_t stamp;
	struct launcher *l; /* borrowed: outlives us */
	uint64_t id;
	pid_t pid;
	int64_t asked_ms;
	bool sent; /* on the present connection */
	bool lost;
	bool abandoned; /* nobody is told any more */
	launch_cb *cb;
	void *arg;
};

struct launcher {
	uint32_t stamp;
	struct loop *loop; /* borrowed */
	int door;
	int fd; /* -1: no connection */
	struct event *read_ev, *write_ev;
	TAILQ_HEAD(, out) outs;
	size_t out_count;
	struct launched *trees[LAUNCH_TREES];
	size_t count;
	uint64_t uses;
	struct loop_defer *tell; /* of those that are lost */
	struct loop_timer *timer;
	int telling; /* callbacks that are under way */
	bool doomed; /* launcher_free was called in one: only its memory is left */
};

static void pump(struct launcher *l);
static void order(struct launcher *l, uint64_t id, enum wire_kind kind, int signo);

/* ---- the table ---------------------------------------------------------------------
 */

static struct launched *
by_id(const struct launcher *l, uint64_t id)
{
	struct launched *p = l->trees[id % LAUNCH_TREES];

	return p != NULL && p->id == id ? p : NULL;
}

static void
launched_free(struct launched *p)
{
	struct launcher *l = p->l;

	l->trees[p->id % LAUNCH_TREES] = NULL;
	l->count--;
	p->stamp = 0;
	mem_free(p);
}

/* the callback may free the launcher: false, and l must not be touched */
static bool
deliver(struct launcher *l, struct launched *p, const struct launch_event *event)
{
	bool last = event->kind == LAUNCH_ENDED;

	l->telling++;
	if (!p->abandoned)
		p->cb(p, event, p->arg);
	l->telling--;
	if (l->doomed) {
		if (l->telling == 0)
			mem_free(l);
		return false;
	}
	if (last)
		launched_free(p);
	return true;
}

/* ---- the connection ----------------------------------------------------------------
 */

static void
out_free(struct launcher *l, struct out *o)
{
	for (size_t i = 0; i < o->fd_count; i++)
		close(o->fds[i]);
	TAILQ_REMOVE(&l->outs, o, link);
	l->out_count--;
	mem_free(o);
}

static void
disconnect(struct launcher *l)
{
	if (l->read_ev != NULL)
		event_free(l->read_ev);
	if (l->write_ev != NULL)
		event_free(l->write_ev);
	l->read_ev = l->write_ev = NULL;
	if (l->fd != -1)
		close(l->fd);
	l->fd = -1;
}

/* whatever was asked on this connection is lost; what waits goes to the next one */
static void
connection_lost(struct launcher *l)
{
	disconnect(l);
	for (size_t i = 0; i < LAUNCH_TREES; i++)
		if (l->trees[i] != NULL && l->trees[i]->sent)
			l->trees[i]->lost = true;
	loop_defer_start(l->tell);
}

static void
tell_lost(void *arg)
{
	struct launcher *l = arg;
	struct launch_event event = {.kind = LAUNCH_ENDED, .lost = true};

	STAMP_CHECK(l, LAUNCHER_STAMP);
	for (size_t i = 0; i < LAUNCH_TREES; i++) {
		struct launched *p = l->trees[i];

		if (p == NULL || !p->lost)
			continue;
		event.pid = p->pid;
		if (!deliver(l, p, &event))
			return;
	}
	pump(l);
}

static void
on_news(struct launcher *l, const struct wire_news *news, bool *freed)
{
	struct launched *p = by_id(l, news->id);
	struct launch_event event = {
	    .pid = news->pid, .status = news->status, .errnum = news->errnum};

	if (p == NULL || p->lost) {
		/* told twice; or so late that it was given up */
		if (news->kind == WIRE_STARTED)
			order(l, news->id, WIRE_KILL, SIGKILL);
		return;
	}
	switch (news->kind) {
	case WIRE_STARTED:
		event.kind = LAUNCH_STARTED;
		p->pid = news->pid;
		break;
	case WIRE_EXITED:
		event.kind = LAUNCH_EXITED;
		break;
	case WIRE_ENDED:
		event.kind = LAUNCH_ENDED;
		if (event.pid == 0)
			event.pid = p->pid;
		if (event.errnum != 0 && news->step < STEP_COUNT)
			event.failed_step = step_names[news->step];
		break;
	default:
		return;
	}
	*freed = !deliver(l, p, &event);
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct launcher *l = arg;
	bool freed = false;

	(void)what;
	STAMP_CHECK(l, LAUNCHER_STAMP);
	for (int i = 0; i < NEWS_A_TURN && !freed && l->fd == fd; i++) {
		struct wire_news news;
		ssize_t n = recv(fd, &news, sizeof(news), MSG_DONTWAIT);

		if (n == -1 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			connection_lost(l);
			return;
		}
		if (n == sizeof(news))
			on_news(l, &news, &freed);
	}
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct launcher *l = arg;

	(void)fd;
	(void)what;
	STAMP_CHECK(l, LAUNCHER_STAMP);
	pump(l);
}

static ssize_t
send_with(int to, const void *bytes, size_t len, const int *fds, size_t fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(LAUNCH_FDS * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd_count > 0) {
		struct cmsghdr *h;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		h = CMSG_FIRSTHDR(&msg);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(h), fds, fd_count * sizeof(int));
	}
	return sendmsg(to, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* -1: not now */
static int
connect_through(struct launcher *l)
{
	const struct wire_process hello = {.kind = WIRE_HELLO};
	int ends[2];
	bool sent;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		return -1;
	l->fd = ends[0];
	l->read_ev =
	    event_new(loop_base(l->loop), l->fd, EV_READ | EV_PERSIST, on_readable, l);
	l->write_ev = event_new(loop_base(l->loop), l->fd, EV_WRITE, on_writable, l);
	sent = l->read_ev != NULL && l->write_ev != NULL &&
	       event_add(l->read_ev, NULL) == 0 &&
	       send_with(l->door, &hello, sizeof(hello), &ends[1], 1) > 0;
	close(ends[1]);
	if (sent)
		return 0;
	disconnect(l);
	return -1;
}

/* the message of a launch that waits to be sent; 0: another message */
static uint64_t
waiting_id(const struct out *o)
{
	struct wire_launch head;

	if (o->len < sizeof(head))
		return 0;
	memcpy(&head, o->bytes, sizeof(head));
	return head.id;
}

/* launches are noted as sent: they are lost with this connection */
static void
note_sent(struct launcher *l, const struct out *o)
{
	uint64_t id = waiting_id(o);
	struct launched *p = id != 0 ? by_id(l, id) : NULL;

	if (p != NULL)
		p->sent = true;
}

/* what waits goes out as far as there is room */
static void
pump(struct launcher *l)
{
	struct out *o;

	if (TAILQ_EMPTY(&l->outs))
		return;
	if (l->fd == -1 && connect_through(l) != 0) {
		loop_timer_start_ms(l->timer, RETRY_MS);
		return;
	}
	while ((o = TAILQ_FIRST(&l->outs)) != NULL) {
		if (send_with(l->fd, o->bytes, o->len, o->fds, o->fd_count) == -1) {
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN)
				(void)event_add(l->write_ev, NULL);
			else if (errno == ETOOMANYREFS || errno == ENOBUFS ||
				 errno == ENOMEM)
				loop_timer_start_ms(l->timer, RETRY_MS);
			else
				connection_lost(l);
			return;
		}
		note_sent(l, o);
		out_free(l, o);
	}
}

/*
 * Nobody took it, or a spawner that is stuck.  Should that one start it after all, it
 * is killed then (on_news)
 */
static void
give_up(struct launcher *l, struct launched *p)
{
	struct out *o;

	TAILQ_FOREACH (o, &l->outs, link)
		if (waiting_id(o) == p->id)
			break;
	if (o != NULL)
		out_free(l, o);
	p->lost = true;
	loop_defer_start(l->tell);
}

static void
on_timer(void *arg)
{
	struct launcher *l = arg;
	int64_t now = clock_mono_ms();
	bool waiting = false;

	STAMP_CHECK(l, LAUNCHER_STAMP);
	for (size_t i = 0; i < LAUNCH_TREES; i++) {
		struct launched *p = l->trees[i];

		if (p == NULL || p->pid != 0 || p->lost)
			continue;
		waiting = true;
		if (now - p->asked_ms >= LAUNCH_PATIENCE_MS)
			give_up(l, p);
	}
	if (waiting)
		loop_timer_start_ms(l->timer, LOOK_MS);
	pump(l);
}

/* ---- requests ----------------------------------------------------------------------
 */

static void
close_given(const struct launch_spec *spec)
{
	for (int i = 0; i < LAUNCH_FDS; i++)
		if (spec->fds[i] != -1)
			close(spec->fds[i]);
}

static void
enqueue(struct launcher *l, struct out *o)
{
	TAILQ_INSERT_TAIL(&l->outs, o, link);
	l->out_count++;
	pump(l);
}

struct words {
	size_t count, bytes;
};

static struct words
measure(char *const *list)
{
	struct words w = {0, 0};

	for (; list != NULL && list[w.count] != NULL; w.count++)
		w.bytes += strlen(list[w.count]) + 1;
	return w;
}

static char *
put_words(char *to, char *const *list)
{
	for (; list != NULL && *list != NULL; list++) {
		size_t size = strlen(*list) + 1;

		memcpy(to, *list, size);
		to += size;
	}
	return to;
}

/* without its words and descriptors */
static struct wire_launch
request_head(const struct launch_spec *spec, uint64_t id)
{
	struct wire_launch head = {
	    .kind = WIRE_LAUNCH,
	    .id = id,
	    .uid = spec->uid == (uid_t)-1 ? -1 : (int64_t)spec->uid,
	    .gid = spec->uid == (uid_t)-1 ? -1 : (int64_t)spec->gid,
	    .nice = spec->nice,
	    .seccomp = spec->seccomp,
	    .limit_count = (uint32_t)spec->limit_count,
	    .group_memory = spec->group.memory_bytes,
	    .group_processes = spec->group.processes,
	    .group_cpu = spec->group.cpu_percent,
	};

	if (spec->private_directory)
		head.flags |= WIRE_PRIVATE_DIRECTORY;
	if (spec->cwd != NULL)
		head.flags |= WIRE_CWD;
	if (spec->allow_read != NULL || spec->allow_write != NULL)
		head.flags |= WIRE_LANDLOCK;
	if (spec->grouped)
		head.flags |= WIRE_GROUPED;
	for (size_t i = 0; i < spec->limit_count; i++) {
		head.limits[i].resource = spec->limits[i].resource;
		head.limits[i].value = spec->limits[i].value;
	}
	return head;
}

/* the descriptors are the message's from here on */
static struct out *
request_create(const struct launch_spec *spec, uint64_t id, struct err *err)
{
	struct words argv = measure(spec->argv), env = measure(spec->env),
		     reads = measure(spec->allow_read),
		     writes = measure(spec->allow_write);
	size_t cwd = spec->cwd != NULL ? strlen(spec->cwd) + 1 : 0;
	size_t bytes = argv.bytes + env.bytes + reads.bytes + writes.bytes + cwd;
	struct wire_launch head;
	struct out *o;
	char *to;

	if (bytes > LAUNCH_REQUEST_BYTES || spec->limit_count > LAUNCH_LIMITS ||
	    reads.count + writes.count > LAUNCH_PATHS ||
	    argv.count + env.count + reads.count + writes.count > WIRE_WORDS) {
		err_set(err, ERR_LIMIT,
		    "its words are too many or too long: at most %d, %d paths, and %d "
		    "bytes",
		    WIRE_WORDS, LAUNCH_PATHS, LAUNCH_REQUEST_BYTES);
		return NULL;
	}
	o = mem_alloc(sizeof(*o) + sizeof(head) + bytes);
	if (o == NULL) {
		err_set(err, ERR_NOMEM, "a request of %zu bytes", bytes);
		return NULL;
	}
	head = request_head(spec, id);
	head.argv_count = (uint32_t)argv.count;
	head.env_count = (uint32_t)env.count;
	head.read_count = (uint32_t)reads.count;
	head.write_count = (uint32_t)writes.count;
	o->fd_count = 0;
	for (int i = 0; i < LAUNCH_FDS; i++) {
		if (spec->fds[i] == -1)
			continue;
		head.fds |= 1u << i;
		o->fds[o->fd_count++] = spec->fds[i];
	}
	o->len = sizeof(head) + bytes;
	memcpy(o->bytes, &head, sizeof(head));
	to = o->bytes + sizeof(head);
	if (cwd != 0) {
		memcpy(to, spec->cwd, cwd);
		to += cwd;
	}
	to = put_words(to, spec->argv);
	to = put_words(to, spec->env);
	to = put_words(to, spec->allow_read);
	(void)put_words(to, spec->allow_write);
	return o;
}

struct launched *
launch(struct launcher *l, const struct launch_spec *spec, launch_cb *cb, void *arg,
    struct err *err)
{
	struct launched *p = NULL;
	struct out *o;
	size_t place = 0;

	STAMP_CHECK(l, LAUNCHER_STAMP);
	while (place < LAUNCH_TREES && l->trees[place] != NULL)
		place++;
	if (place == LAUNCH_TREES || l->out_count >= OUT_MOST) {
		err_set(err, ERR_LIMIT, "%zu commands run already", l->count);
		goto fail;
	}
	p = mem_zero(sizeof(*p));
	if (p == NULL) {
		err_set(err, ERR_NOMEM, "a command");
		goto fail;
	}
	p->stamp = LAUNCHED_STAMP;
	p->l = l;
	p->id = ++l->uses * LAUNCH_TREES + place;
	p->cb = cb;
	p->arg = arg;
	p->asked_ms = clock_mono_ms();
	o = request_create(spec, p->id, err);
	if (o == NULL)
		goto fail;
	l->trees[place] = p;
	l->count++;
	loop_timer_start_ms(l->timer, LOOK_MS);
	enqueue(l, o);
	return p;
fail:
	close_given(spec);
	mem_free(p);
	return NULL;
}

static void
order(struct launcher *l, uint64_t id, enum wire_kind kind, int signo)
{
	const struct wire_order message = {.kind = kind, .signo = signo, .id = id};
	struct out *o;

	/* the usual case needs no memory */
	if (TAILQ_EMPTY(&l->outs) && l->fd != -1 &&
	    send_with(l->fd, &message, sizeof(message), NULL, 0) > 0)
		return;
	o = l->out_count < 2 * OUT_MOST ? mem_zero(sizeof(*o) + sizeof(message)) : NULL;
	if (o == NULL) {
		/* an order that cannot be given: rather lose all than let one run on */
		connection_lost(l);
		return;
	}
	o->len = sizeof(message);
	memcpy(o->bytes, &message, sizeof(message));
	enqueue(l, o);
}

void
launched_signal(struct launched *p, int signo)
{
	STAMP_CHECK(p, LAUNCHED_STAMP);
	if (!p->lost)
		order(p->l, p->id, WIRE_SIGNAL, signo);
}

void
launched_kill(struct launched *p)
{
	STAMP_CHECK(p, LAUNCHED_STAMP);
	if (!p->lost)
		order(p->l, p->id, WIRE_KILL, SIGKILL);
}

void
launched_abandon(struct launched *p)
{
	STAMP_CHECK(p, LAUNCHED_STAMP);
	p->abandoned = true;
	if (!p->lost)
		order(p->l, p->id, WIRE_KILL, SIGKILL);
}

pid_t
launched_pid(const struct launched *p)
{
	return p->pid;
}

/* ---- making and ending -------------------------------------------------------------
 */

struct launcher *
launcher_create(struct loop *loop, int door, struct err *err)
{
	struct launcher *l = mem_zero(sizeof(*l));

	if (l == NULL) {
		err_set(err, ERR_NOMEM, "launcher");
		return NULL;
	}
	l->stamp = LAUNCHER_STAMP;
	l->loop = loop;
	l->door = door;
	l->fd = -1;
	TAILQ_INIT(&l->outs);
	l->tell = loop_defer_create(loop, tell_lost, l);
	l->timer = loop_timer_create(loop, on_timer, l);
	if (l->tell == NULL || l->timer == NULL) {
		launcher_free(l);
		err_set(err, ERR_NOMEM, "launcher");
		return NULL;
	}
	return l;
}

void
launcher_free(struct launcher *l)
{
	if (l == NULL)
		return;
	STAMP_CHECK(l, LAUNCHER_STAMP);
	/* the end of file is the order to kill */
	disconnect(l);
	while (!TAILQ_EMPTY(&l->outs))
		out_free(l, TAILQ_FIRST(&l->outs));
	for (size_t i = 0; i < LAUNCH_TREES; i++)
		if (l->trees[i] != NULL)
			launched_free(l->trees[i]);
	if (l->tell != NULL)
		loop_defer_free(l->tell);
	if (l->timer != NULL)
		loop_timer_free(l->timer);
	l->stamp = 0;
	l->doomed = true;
	if (l->telling == 0)
		mem_free(l);
}

size_t
launcher_count(const struct launcher *l)
{
	return l->count;
}
