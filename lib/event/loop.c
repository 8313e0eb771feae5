/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loop.c - one event base, its timers and deferred calls.
 *
 * The base uses libevent's precise clock (a timerfd beside epoll): with the coarse one
 * a timer of half a millisecond may be late by a whole kernel tick, and batches are
 * held for less than that.
 *
 * Deferred calls are a list of our own behind one event.  Libevent runs an event that
 * a callback activates in the same pass, after those already active; so what
 * one turn started is gathered first and then handled once, without another trip to
 * the kernel.  A call that is started while the list runs waits for the next turn:
 * two calls that keep starting each other cannot starve the sockets.
 *
 * Arming a timer has no way to fail that a caller could handle: a deadline that is
 * silently not set is worse than a process that ends and is started again.  So memory
 * that runs out there ends the process.
 */
#include "event/loop.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#define LOOP_STAMP  0x4c4f4f50u
#define TIMER_STAMP 0x54494d52u
#define DEFER_STAMP 0x44464552u

/* about 34 years: beyond any use, and far from overflow in a struct timeval */
#define DELAY_MAX_US (INT64_C(1) << 50)

TAILQ_HEAD(defer_list, loop_defer);

struct loop {
	unsigned stamp;
	struct event_base *base;
	struct event *defer_event;
	struct defer_list waiting; /* started since the list last ran */
	struct defer_list running; /* the rest of the list that runs now */
	bool in_defers;
	bool stopping;	     /* loop_stop was called, loop_run has not returned yet */
	struct timeval turn; /* the base's cached wall clock when now_ms was read */
	int64_t now_ms;
	unsigned children; /* timers and defers not freed yet */
};

struct loop_timer {
	unsigned stamp;
	struct loop *loop; /* borrowed */
	struct event event;
	loop_cb *cb;
	void *arg;
};

struct loop_defer {
	unsigned stamp;
	struct loop *loop;	 /* borrowed */
	struct defer_list *list; /* the one it is on, NULL: not started */
	TAILQ_ENTRY(loop_defer) link;
	loop_cb *cb;
	void *arg;
};

static void
fatal(const char *what)
{
	fprintf(stderr, "loop: %s: out of memory\n", what);
	abort();
}

/* ---- deferred calls ------------------------------------------------------ */

static void
run_defers(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;
	struct loop_defer *d;
	static const struct timeval soon = {0, 0};

	(void)fd;
	(void)what;
	l->in_defers = true;
	TAILQ_CONCAT(&l->running, &l->waiting, link);
	TAILQ_FOREACH (d, &l->running, link)
		d->list = &l->running;
	while ((d = TAILQ_FIRST(&l->running)) != NULL) {
		TAILQ_REMOVE(&l->running, d, link);
		d->list = NULL;
		d->cb(d->arg);
	}
	l->in_defers = false;
	if (!TAILQ_EMPTY(&l->waiting) && event_add(l->defer_event, &soon) != 0)
		fatal("deferring a call");
}

struct loop_defer *
loop_defer_create(struct loop *l, loop_cb *cb, void *arg)
{
	struct loop_defer *d;

	STAMP_CHECK(l, LOOP_STAMP);
	d = mem_zero(sizeof(*d));
	if (d == NULL)
		return NULL;
	d->stamp = DEFER_STAMP;
	d->loop = l;
	d->cb = cb;
	d->arg = arg;
	l->children++;
	return d;
}

void
loop_defer_free(struct loop_defer *d)
{
	if (d == NULL)
		return;
	STAMP_CHECK(d, DEFER_STAMP);
	loop_defer_stop(d);
	d->loop->children--;
	d->stamp = 0;
	mem_free(d);
}

void
loop_defer_start(struct loop_defer *d)
{
	struct loop *l = d->loop;

	STAMP_CHECK(d, DEFER_STAMP);
	if (d->list != NULL)
		return;
	if (TAILQ_EMPTY(&l->waiting) && !l->in_defers)
		event_active(l->defer_event, EV_TIMEOUT, 0);
	d->list = &l->waiting;
	TAILQ_INSERT_TAIL(&l->waiting, d, link);
}

void
loop_defer_stop(struct loop_defer *d)
{
	STAMP_CHECK(d, DEFER_STAMP);
	if (d->list == NULL)
		return;
	TAILQ_REMOVE(d->list, d, link);
	d->list = NULL;
}

/* ---- timers -------------------------------------------------------------- */

static void
timer_fired(evutil_socket_t fd, short what, void *arg)
{
	struct loop_timer *t = arg;

	(void)fd;
	(void)what;
	STAMP_CHECK(t, TIMER_STAMP);
	t->cb(t->arg);
}

struct loop_timer *
loop_timer_create(struct loop *l, loop_cb *cb, void *arg)
{
	struct loop_timer *t;

	STAMP_CHECK(l, LOOP_STAMP);
	t = mem_zero(sizeof(*t));
	if (t == NULL)
		return NULL;
	t->stamp = TIMER_STAMP;
	t->loop = l;
	t->cb = cb;
	t->arg = arg;
	if (event_assign(&t->event, l->base, -1, 0, timer_fired, t) != 0) {
		mem_free(t);
		return NULL;
	}
	l->children++;
	return t;
}

void
loop_timer_free(struct loop_timer *t)
{
	if (t == NULL)
		return;
	STAMP_CHECK(t, TIMER_STAMP);
	event_del(&t->event);
	t->loop->children--;
	t->stamp = 0;
	mem_free(t);
}

void
loop_timer_start_us(struct loop_timer *t, int64_t us)
{
	struct timeval tv;

	STAMP_CHECK(t, TIMER_STAMP);
	if (us < 0)
		us = 0;
	if (us > DELAY_MAX_US)
		us = DELAY_MAX_US;
	tv.tv_sec = (time_t)(us / 1000000);
	tv.tv_usec = (suseconds_t)(us % 1000000);
	if (event_add(&t->event, &tv) != 0)
		fatal("starting a timer");
}

void
loop_timer_start_ms(struct loop_timer *t, int64_t ms)
{
	if (ms > DELAY_MAX_US / 1000)
		ms = DELAY_MAX_US / 1000;
	loop_timer_start_us(t, ms < 0 ? 0 : ms * 1000);
}

void
loop_timer_stop(struct loop_timer *t)
{
	STAMP_CHECK(t, TIMER_STAMP);
	event_del(&t->event);
}

bool
loop_timer_pending(const struct loop_timer *t)
{
	STAMP_CHECK(t, TIMER_STAMP);
	return event_pending(&t->event, EV_TIMEOUT, NULL) != 0;
}

/* ---- the loop ------------------------------------------------------------ */

/* libevent would write to standard error, past our log's format and limits */
static void
log_from_libevent(int severity, const char *msg)
{
	static const enum log_level levels[] = {
	    [EVENT_LOG_DEBUG] = LOG_DEBUG,
	    [EVENT_LOG_MSG] = LOG_INFO,
	    [EVENT_LOG_WARN] = LOG_WARN,
	    [EVENT_LOG_ERR] = LOG_ERROR,
	};
	char text[400];

	str_printable(text, sizeof(text), msg, strlen(msg));
	log_line(severity >= 0 && severity < (int)COUNT_OF(levels) ? levels[severity]
								   : LOG_ERROR,
	    NULL, "libevent says", "text=\"%s\"", text);
}

struct loop *
loop_create(struct err *err)
{
	struct event_config *cfg = NULL;
	struct loop *l;

	l = mem_zero(sizeof(*l));
	if (l == NULL)
		goto fail;
	l->stamp = LOOP_STAMP;
	event_set_log_callback(log_from_libevent);
	/* libevent writes to sockets whose peer may be gone, and asks for the signal */
	signal(SIGPIPE, SIG_IGN);
	TAILQ_INIT(&l->waiting);
	TAILQ_INIT(&l->running);
	cfg = event_config_new();
	if (cfg == NULL)
		goto fail;
	/* one thread; and the environment is not a place for settings of ours */
	if (event_config_set_flag(cfg, EVENT_BASE_FLAG_PRECISE_TIMER) != 0 ||
	    event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK) != 0 ||
	    event_config_set_flag(cfg, EVENT_BASE_FLAG_IGNORE_ENV) != 0)
		goto fail;
	l->base = event_base_new_with_config(cfg);
	if (l->base == NULL)
		goto fail;
	l->defer_event = event_new(l->base, -1, 0, run_defers, l);
	if (l->defer_event == NULL)
		goto fail;
	event_config_free(cfg);
	return l;
fail:
	/* libevent does not say why: memory, or no descriptor for epoll */
	err_set(err, ERR_IO, "no event base: out of memory or descriptors");
	if (cfg != NULL)
		event_config_free(cfg);
	loop_free(l);
	return NULL;
}

void
loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	STAMP_CHECK(l, LOOP_STAMP);
	/* a cancelled question takes two turns; the bound only guards against a bug */
	for (int i = 0; l->base != NULL && i < 16; i++) {
		if (event_base_get_num_events(l->base, EVENT_BASE_COUNT_ACTIVE) == 0)
			break;
		event_base_loop(l->base, EVLOOP_NONBLOCK);
	}
	if (l->children > 0) {
		fprintf(
		    stderr, "loop: freed with %u timers or defers left\n", l->children);
		abort();
	}
	if (l->defer_event != NULL)
		event_free(l->defer_event);
	if (l->base != NULL)
		event_base_free(l->base);
	l->stamp = 0;
	mem_free(l);
}

int
loop_run(struct loop *l, struct err *err)
{
	int rc;

	STAMP_CHECK(l, LOOP_STAMP);
	rc = event_base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY);
	l->stopping = false;
	if (rc < 0)
		return err_set(err, ERR_IO, "the event loop cannot wait for events");
	return 0;
}

void
loop_stop(struct loop *l)
{
	STAMP_CHECK(l, LOOP_STAMP);
	if (l->stopping)
		return;
	l->stopping = true;
	/* without a delay this is an active event: it runs after those active now */
	if (event_base_loopexit(l->base, NULL) != 0)
		fatal("stopping");
}

struct event_base *
loop_base(struct loop *l)
{
	STAMP_CHECK(l, LOOP_STAMP);
	return l->base;
}

/*
 * Libevent reads the clock once a turn, but shows its cache only as wall-clock time,
 * which may jump.  The cached value is a good mark for "still the same turn", though;
 * outside of callbacks there is no cache and each call reads anew.
 */
int64_t
loop_now_ms(struct loop *l)
{
	struct timeval turn;

	STAMP_CHECK(l, LOOP_STAMP);
	if (event_base_gettimeofday_cached(l->base, &turn) != 0 ||
	    turn.tv_sec != l->turn.tv_sec || turn.tv_usec != l->turn.tv_usec) {
		l->now_ms = clock_mono_ms();
		l->turn = turn;
	}
	return l->now_ms;
}
