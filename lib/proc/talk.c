/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * talk.c - a long-lived command that one talks to in lines; see talk.h.
 *
 * Owns the three pipes, the lines between them, and the end.  What is to be written
 * waits for the end of the turn, so that a hundred lines cost one write; while the
 * command does not read, it waits in the buffer, and the loop says when it may go on.
 */
#include "proc/talk.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/clock.h"
#include "base/linebuf.h"
#include "base/mem.h"
#include "proc/procutil.h"

#define TALK_STAMP	 0x74616c6bu
#define READ_CHUNK_BYTES 65536 /* what a pipe holds */
#define READS_A_TURN	 4     /* a flood must not starve the other descriptors */
#define UNSENT_KEPT	 (256 * 1024)

/* one of its outputs */
struct ear {
	struct talk *talk;
	int fd; /* -1: at its end */
	struct event *ev;
	struct linebuf lines;
	enum talk_event_kind kind; /* of its lines */
	bool deaf;		   /* its bytes are dropped */
};

enum talk_state {
	TALK_RUNNING = 1,
	TALK_TERMED, /* it got TERM, and has its grace */
	TALK_KILLED,
	TALK_LINGERING, /* it is dead, some of what it started is not */
	TALK_DONE,	/* told */
};

struct talk {
	uint32_t stamp;
	struct loop *loop;	  /* borrowed */
	struct launched *process; /* NULL: nothing of it is left */
	enum talk_state state;
	struct ear out, err;
	int in_fd; /* -1: closed */
	struct event *in_ev;
	struct strbuf unsent;
	size_t sent; /* of what is in unsent */
	uint64_t taken, written;
	bool waits;   /* the command does not read: in_ev is set */
	bool closing; /* standard input ends behind what is unsent */
	struct loop_defer *flush;
	struct loop_timer *timer; /* grace, then linger */
	int64_t kill_at_ms;
	talk_cb *cb;
	void *arg;
};

static void
tell(struct talk *t, enum talk_event_kind kind)
{
	const struct talk_event event = {.kind = kind};

	t->cb(t, &event, t->arg);
}

/* ---------------------------------------------------------------- what it says */

static bool
on_line(const char *line, size_t len, void *arg)
{
	struct ear *ear = arg;
	const struct talk_event event = {.kind = ear->kind, .line = line, .len = len};

	ear->talk->cb(ear->talk, &event, ear->talk->arg);
	return true;
}

static void
ear_close(struct ear *ear)
{
	if (ear->ev != NULL)
		event_free(ear->ev);
	ear->ev = NULL;
	if (ear->fd != -1)
		close(ear->fd);
	ear->fd = -1;
}

/* standard error may hold anything: a long line is told in parts */
static void
feed_errors(struct ear *ear, const char *bytes, size_t len)
{
	size_t part;

	while (len > 0) {
		part = TALK_ERROR_LINE_MAX - ear->lines.begun.len;
		if (part > len)
			part = len;
		if (linebuf_feed(&ear->lines, bytes, part, on_line, ear, NULL) != 0)
			return; /* no memory: so much of its log is lost */
		if (ear->lines.begun.len == TALK_ERROR_LINE_MAX)
			linebuf_end(&ear->lines, on_line, ear);
		bytes += part;
		len -= part;
	}
}

static void
feed(struct ear *ear, const char *bytes, size_t len)
{
	if (ear->kind == TALK_ERROR_LINE) {
		feed_errors(ear, bytes, len);
		return;
	}
	if (ear->deaf)
		return;
	if (linebuf_feed(&ear->lines, bytes, len, on_line, ear, NULL) != 0) {
		ear->deaf = true;
		tell(ear->talk, TALK_TOO_LONG);
	}
}

/* false: there is nothing more for now */
static bool
hear(struct ear *ear)
{
	char chunk[READ_CHUNK_BYTES];
	ssize_t n = read(ear->fd, chunk, sizeof(chunk));

	if (n > 0) {
		feed(ear, chunk, (size_t)n);
		return true;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	/* end of file; a pipe knows no error that a second read would mend */
	ear_close(ear);
	if (ear->kind == TALK_ERROR_LINE)
		linebuf_end(&ear->lines, on_line, ear);
	return false;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct ear *ear = arg;
	struct talk *t = ear->talk;

	(void)fd;
	(void)what;
	STAMP_CHECK(t, TALK_STAMP);
	for (int i = 0; i < READS_A_TURN; i++) {
		if (!hear(ear))
			break;
	}
	if (ear->fd == -1 && ear == &t->out && t->process != NULL)
		tell(t, TALK_MUTE);
}

/* ---------------------------------------------------------------- what it hears */

static void
input_close(struct talk *t)
{
	if (t->in_ev != NULL)
		event_free(t->in_ev);
	t->in_ev = NULL;
	if (t->in_fd != -1)
		close(t->in_fd);
	t->in_fd = -1;
	t->waits = false;
	strbuf_fini(&t->unsent);
	t->sent = 0;
}

/* all is written */
static void
rest(struct talk *t)
{
	bool waited = t->waits;

	if (waited)
		event_del(t->in_ev);
	t->waits = false;
	t->sent = 0;
	if (t->unsent.cap > UNSENT_KEPT)
		strbuf_fini(&t->unsent);
	else
		strbuf_reset(&t->unsent);
	if (t->closing)
		input_close(t);
	else if (waited)
		tell(t, TALK_FLUSHED);
}

static void
flush(void *arg)
{
	struct talk *t = arg;
	ssize_t n;

	STAMP_CHECK(t, TALK_STAMP);
	if (t->in_fd == -1)
		return;
	if (t->sent < t->unsent.len) {
		n = write(t->in_fd, t->unsent.data + t->sent, t->unsent.len - t->sent);
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			input_close(t);
			tell(t, TALK_DEAF);
			return;
		}
		if (n > 0) {
			t->sent += (size_t)n;
			t->written += (uint64_t)n;
		}
	}
	if (t->sent == t->unsent.len) {
		rest(t);
	} else if (!t->waits && event_add(t->in_ev, NULL) == 0) {
		t->waits = true;
	}
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	flush(arg);
}

int
talk_write(struct talk *t, const void *bytes, size_t len, struct err *err)
{
	STAMP_CHECK(t, TALK_STAMP);
	if (t->in_fd == -1 || t->closing)
		return err_set(err, ERR_CLOSED, "it cannot hear");
	if (t->sent > 0 && t->unsent.len + len > t->unsent.cap) {
		/* rather than growing for what was written already */
		memmove(
		    t->unsent.data, t->unsent.data + t->sent, t->unsent.len - t->sent);
		t->unsent.len -= t->sent;
		t->sent = 0;
	}
	if (t->unsent.len + len > t->unsent.max)
		return err_set(err, ERR_LIMIT, "%zu bytes wait to be written",
		    t->unsent.len - t->sent);
	if (strbuf_room(&t->unsent, len) == NULL) {
		t->unsent.failed = false; /* what is there is whole */
		return err_set(err, ERR_NOMEM, "%zu bytes to be written", len);
	}
	strbuf_put(&t->unsent, bytes, len);
	t->taken += len;
	if (!t->waits)
		loop_defer_start(t->flush);
	return 0;
}

size_t
talk_unsent(const struct talk *t)
{
	return t->unsent.len - t->sent;
}

uint64_t
talk_taken(const struct talk *t)
{
	return t->taken;
}

uint64_t
talk_written(const struct talk *t)
{
	return t->written;
}

void
talk_close(struct talk *t)
{
	t->closing = true;
	if (t->in_fd != -1 && !t->waits)
		loop_defer_start(t->flush);
}

/* ---------------------------------------------------------------- its end */

void
talk_end(struct talk *t, int64_t grace_ms)
{
	int64_t now_ms = clock_mono_ms();

	STAMP_CHECK(t, TALK_STAMP);
	if (t->process == NULL || (t->state != TALK_RUNNING && t->state != TALK_TERMED))
		return;
	if (t->state == TALK_TERMED && t->kill_at_ms < now_ms + grace_ms)
		return; /* sooner already */
	if (grace_ms > 0) {
		t->state = TALK_TERMED;
		t->kill_at_ms = now_ms + grace_ms;
		launched_signal(t->process, SIGTERM);
		loop_timer_start_ms(t->timer, grace_ms);
		return;
	}
	t->state = TALK_KILLED;
	loop_timer_stop(t->timer);
	launched_kill(t->process);
}

static void
on_time(void *arg)
{
	struct talk *t = arg;

	STAMP_CHECK(t, TALK_STAMP);
	if (t->process == NULL)
		return;
	if (t->state == TALK_TERMED)
		t->state = TALK_KILLED;
	launched_kill(t->process);
}

static void
release(struct talk *t)
{
	input_close(t);
	ear_close(&t->out);
	ear_close(&t->err);
	linebuf_fini(&t->out.lines);
	linebuf_fini(&t->err.lines);
	loop_timer_free(t->timer);
	loop_defer_free(t->flush);
	t->stamp = 0;
	mem_free(t);
}

/* nobody writes any more: what is in the pipes is all that there will be */
static void
finish(struct talk *t, const struct launch_event *end)
{
	const struct talk_event event = {.kind = TALK_ENDED, .end = end};

	t->process = NULL;
	input_close(t);
	while (t->out.fd != -1 && hear(&t->out))
		;
	while (t->err.fd != -1 && hear(&t->err))
		;
	linebuf_end(&t->err.lines, on_line, &t->err);
	t->state = TALK_DONE;
	t->cb(t, &event, t->arg);
	release(t);
}

static void
on_launch(struct launched *p, const struct launch_event *event, void *arg)
{
	struct talk *t = arg;

	(void)p;
	STAMP_CHECK(t, TALK_STAMP);
	switch (event->kind) {
	case LAUNCH_STARTED:
		break;
	case LAUNCH_EXITED:
		if (t->state == TALK_KILLED)
			break;
		t->state = TALK_LINGERING;
		loop_timer_start_ms(t->timer, TALK_LINGER_MS);
		break;
	case LAUNCH_ENDED:
		finish(t, event);
		break;
	}
}

void
talk_free(struct talk *t)
{
	if (t == NULL)
		return;
	STAMP_CHECK(t, TALK_STAMP);
	if (t->process != NULL)
		launched_abandon(t->process);
	release(t);
}

pid_t
talk_pid(const struct talk *t)
{
	return t->process != NULL ? launched_pid(t->process) : 0;
}

/* ---------------------------------------------------------------- its start */

static int
ear_open(struct ear *ear, struct talk *t, enum talk_event_kind kind, size_t max,
    int *command_end, struct err *err)
{
	int fds[2];

	ear->talk = t;
	ear->kind = kind;
	linebuf_init(&ear->lines, max);
	if (pipe_cloexec(fds, err) != 0)
		return -1;
	ear->fd = fds[0];
	*command_end = fds[1];
	if (fd_set_nonblock(ear->fd, err) != 0)
		return -1;
	ear->ev = event_new(
	    loop_base(t->loop), ear->fd, EV_READ | EV_PERSIST, on_readable, ear);
	if (ear->ev == NULL || event_add(ear->ev, NULL) != 0)
		return err_set(err, ERR_NOMEM, "watching a pipe");
	return 0;
}

static int
input_open(struct talk *t, int *command_end, struct err *err)
{
	int fds[2];

	if (pipe_cloexec(fds, err) != 0)
		return -1;
	*command_end = fds[0];
	t->in_fd = fds[1];
	if (fd_set_nonblock(t->in_fd, err) != 0)
		return -1;
	t->in_ev = event_new(
	    loop_base(t->loop), t->in_fd, EV_WRITE | EV_PERSIST, on_writable, t);
	if (t->in_ev == NULL)
		return err_set(err, ERR_NOMEM, "watching a pipe");
	return 0;
}

struct talk *
talk_start(struct loop *l, struct launcher *launcher, const struct talk_opts *opts,
    talk_cb *cb, void *arg, struct err *err)
{
	struct launch_spec spec = opts->launch;
	struct talk *t = mem_zero(sizeof(*t));

	if (t == NULL) {
		err_set(err, ERR_NOMEM, "a child");
		return NULL;
	}
	t->stamp = TALK_STAMP;
	t->loop = l;
	t->state = TALK_RUNNING;
	t->cb = cb;
	t->arg = arg;
	t->in_fd = t->out.fd = t->err.fd = -1;
	for (int i = 0; i < LAUNCH_FDS; i++)
		spec.fds[i] = -1;
	strbuf_init(&t->unsent, opts->unsent_max);
	t->timer = loop_timer_create(l, on_time, t);
	t->flush = loop_defer_create(l, flush, t);
	if (t->timer == NULL || t->flush == NULL) {
		err_set(err, ERR_NOMEM, "a child");
		goto fail;
	}
	if (input_open(t, &spec.fds[0], err) != 0 ||
	    ear_open(&t->out, t, TALK_LINE, opts->line_max, &spec.fds[1], err) != 0 ||
	    ear_open(&t->err, t, TALK_ERROR_LINE, TALK_ERROR_LINE_MAX, &spec.fds[2],
		err) != 0)
		goto fail;
	t->process = launch(launcher, &spec, on_launch, t, err);
	if (t->process != NULL)
		return t;
	for (int i = 0; i < LAUNCH_FDS; i++)
		spec.fds[i] = -1; /* closed by launch */
fail:
	for (int i = 0; i < LAUNCH_FDS; i++) {
		if (spec.fds[i] != -1)
			close(spec.fds[i]);
	}
	release(t);
	err_wrap(err, "starting %s", opts->launch.argv[0]);
	return NULL;
}
