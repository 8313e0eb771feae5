/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * child.c - one command with pipes, bounds and a timeout.
 *
 * Owns the pipes and the timer of each child; decides when its group gets TERM and its
 * tree KILL; tells the end exactly once.  Processes are launch.h's, and what a task is,
 * and what an exit status means for it, is the caller's business.
 *
 * A child's life is one small machine with one timer:
 *
 *     RUNNING --timeout, child_kill--> TERMED --grace--> KILLED
 *        \______________ \________________ \__________ died --> DEAD
 *     DEAD --all pipes at their end, or CHILD_LINGER_MS--> the rest of the tree is
 * killed the tree has ended, and the pipes are at their end or had CHILD_LINGER_MS -->
 * DONE, told from a deferred call
 */
#include "proc/child.h"

#include "base/clock.h"
#include "base/mem.h"
#include "proc/procutil.h"

#include <event2/event.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#define CHILDREN_STAMP	 0x63686e73u
#define CHILD_STAMP	 0x6368696cu
#define CHILD_LINGER_MS	 1000  /* how long a grandchild may hold a pipe */
#define READ_CHUNK_BYTES 65536 /* what a pipe holds */
#define READS_A_TURN	 4     /* a flood must not starve the other descriptors */
#define KEEP_FIRST_BYTES 4096  /* first block for kept output */

enum child_state {
	CHILD_NONE = 0,
	CHILD_RUNNING,
	CHILD_TERMED, /* the group got TERM */
	CHILD_KILLED, /* the tree got KILL */
	CHILD_DEAD,   /* the command is; others of its tree, or its pipes, may not be */
	CHILD_DONE,   /* the end is to be told */
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
	struct launched *tree;	    /* NULL: it has ended */
	struct child_result result; /* as far as it is known */
	int in_fd;		    /* -1: closed */
	struct event *in_ev;
	char *input;
	size_t input_len, input_sent;
	struct stream out, err;
	struct stream spoken; /* descriptor 3: nothing is kept */
	void (*spoken_cb)(const char *bytes, size_t len, void *arg);
	void *spoken_arg;
	struct loop_timer *timer; /* timeout, then grace, then linger */
	int64_t started_ms;
	int64_t kill_at_ms; /* when TERMED */
	int64_t grace_ms;
	child_cb *cb;
	void *arg;
};

TAILQ_HEAD(child_list, child);

struct children {
	uint32_t stamp;
	struct loop *loop;	   /* borrowed */
	struct launcher *launcher; /* borrowed */
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

static bool
pipes_ended(const struct child *c)
{
	return c->out.fd == -1 && c->err.fd == -1 && c->spoken.fd == -1;
}

static void
child_check_done(struct child *c)
{
	if (c->state != CHILD_DEAD || !pipes_ended(c))
		return;
	if (c->tree == NULL)
		child_done(c);
	else
		launched_kill(c->tree); /* nobody listens to the rest any more */
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
child_term(struct child *c, int64_t grace_ms)
{
	int64_t now = clock_mono_ms();

	if (c->state == CHILD_TERMED && c->kill_at_ms < now + grace_ms)
		grace_ms = c->kill_at_ms > now ? c->kill_at_ms - now : 0;
	c->kill_at_ms = now + grace_ms;
	c->state = CHILD_TERMED;
	launched_signal(c->tree, SIGTERM);
	loop_timer_start_ms(c->timer, grace_ms);
}

static void
child_timer(void *arg)
{
	struct child *c = arg;

	STAMP_CHECK(c, CHILD_STAMP);
	switch (c->state) {
	case CHILD_RUNNING:
		c->result.timed_out = true;
		child_term(c, c->grace_ms);
		break;
	case CHILD_TERMED:
		c->state = CHILD_KILLED;
		launched_kill(c->tree);
		break;
	case CHILD_DEAD:
		/* what still holds a pipe is not the tree's, or dies now */
		if (c->tree == NULL)
			child_done(c);
		else
			launched_kill(c->tree);
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
	c->result.killed = true;
	child_term(c, grace_ms > 0 ? grace_ms : 0);
}

static void
child_died(struct child *c, const struct launch_event *event)
{
	c->state = CHILD_DEAD;
	c->result.status = event->status;
	c->result.duration_ms = clock_mono_ms() - c->started_ms;
	input_close(c);
}

static void
on_tree(struct launched *tree, const struct launch_event *event, void *arg)
{
	struct child *c = arg;

	(void)tree;
	STAMP_CHECK(c, CHILD_STAMP);
	c->result.pid = event->pid;
	switch (event->kind) {
	case LAUNCH_STARTED:
		return;
	case LAUNCH_EXITED:
		child_died(c, event);
		break;
	case LAUNCH_ENDED:
		if (c->state != CHILD_DEAD)
			child_died(c, event);
		c->tree = NULL;
		c->result.lost = event->lost;
		c->result.exec_errno = event->errnum;
		c->result.failed_step = event->failed_step;
		break;
	}
	loop_timer_start_ms(c->timer, CHILD_LINGER_MS);
	child_check_done(c);
}

/* everything but the memory */
static void
child_release(struct child *c)
{
	if (c->tree != NULL)
		launched_abandon(c->tree);
	c->tree = NULL;
	input_close(c);
	stream_close(&c->out);
	stream_close(&c->err);
	stream_close(&c->spoken);
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

	child_release(c);
	stream_result(&c->out, &c->result.out);
	stream_result(&c->err, &c->result.err);
	c->cb(c, &c->result, c->arg);
	child_free(c);
}

/* ---- starting ----------------------------------------------------------------------
 */

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
	struct launch_spec how = spec->launch;
	struct child *c;

	STAMP_CHECK(cs, CHILDREN_STAMP);
	for (int i = 0; i < LAUNCH_FDS; i++)
		how.fds[i] = -1;
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
	c->in_fd = c->out.fd = c->err.fd = c->spoken.fd = -1;
	c->spoken_cb = spec->spoken;
	c->spoken_arg = spec->spoken_arg;
	c->timer = loop_timer_create(cs->loop, child_timer, c);
	if (c->timer == NULL) {
		err_set(err, ERR_NOMEM, "child timer");
		goto fail;
	}
	if (input_open(c, &how.fds[0], spec, err) != 0 ||
	    stream_open(&c->out, c, &how.fds[1], spec->max_output_bytes, err) != 0 ||
	    stream_open(&c->err, c, &how.fds[2], spec->max_error_bytes, err) != 0 ||
	    (spec->spoken != NULL &&
		stream_open(&c->spoken, c, &how.fds[3], 0, err) != 0))
		goto fail;
	c->started_ms = clock_mono_ms();
	c->tree = launch(cs->launcher, &how, on_tree, c, err);
	/* given, whatever came of it */
	for (int i = 0; i < LAUNCH_FDS; i++)
		how.fds[i] = -1;
	if (c->tree == NULL)
		goto fail;
	c->state = CHILD_RUNNING;
	if (spec->timeout_ms > 0)
		loop_timer_start_ms(c->timer, spec->timeout_ms);
	TAILQ_INSERT_TAIL(&cs->list, c, link);
	cs->count++;
	return c;
fail:
	for (int i = 0; i < LAUNCH_FDS; i++)
		close_if_open(how.fds[i]);
	input_close(c);
	stream_close(&c->out);
	stream_close(&c->err);
	stream_close(&c->spoken);
	loop_timer_free(c->timer);
	child_free(c);
	err_wrap(err, "starting %s", spec->launch.argv[0]);
	return NULL;
}

/* ---- all of them ----------------------------------------------------------------- */

struct children *
children_create(struct loop *l, struct launcher *launcher, struct err *err)
{
	struct children *cs = mem_zero(sizeof(*cs));
	struct sigaction sa;

	if (cs == NULL) {
		err_set(err, ERR_NOMEM, "children");
		return NULL;
	}
	cs->stamp = CHILDREN_STAMP;
	cs->loop = l;
	cs->launcher = launcher;
	TAILQ_INIT(&cs->list);
	cs->tell = loop_defer_create(l, children_tell, cs);
	if (cs->tell == NULL) {
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
	struct child *c;

	if (cs == NULL)
		return;
	STAMP_CHECK(cs, CHILDREN_STAMP);
	while ((c = TAILQ_FIRST(&cs->list)) != NULL) {
		child_release(c);
		child_free(c);
	}
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
