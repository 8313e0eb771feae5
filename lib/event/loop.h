/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loop.h - one event base, its timers and deferred calls.
 *
 * A loop is made after the fork, one a process.  Callbacks run from loop_run only,
 * never from inside the function that registered them.
 */
#ifndef EVENT_LOOP_H
#define EVENT_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"

struct event_base;
struct loop;
struct loop_timer;
struct loop_defer;

typedef void loop_cb(void *arg);

/* from now on the process ignores SIGPIPE, and libevent speaks through our log */
struct loop *loop_create(struct err *err) ATTR_CHECK;
/*
 * All timers, defers and whatever else was built on the base must be freed
 * before. Lets libevent finish what it postponed (freed bufferevents, cancelled
 * questions).
 */
void loop_free(struct loop *l);
int loop_run(struct loop *l, struct err *err); /* until loop_stop */
void loop_stop(struct loop *l);		       /* after the callbacks of this turn */
struct event_base *loop_base(
    struct loop *l); /* borrowed, for evhttp and bufferevents */
/* monotonic milliseconds, read once a turn: cheap, and the same for one turn */
int64_t loop_now_ms(struct loop *l);

/* a one-shot timer that can be started again and again, also from its own callback */
struct loop_timer *loop_timer_create(struct loop *l, loop_cb *cb, void *arg) ATTR_CHECK;
void loop_timer_free(struct loop_timer *t); /* NULL is fine; allowed in its callback */
void loop_timer_start_ms(struct loop_timer *t, int64_t ms); /* replaces what was set */
void loop_timer_start_us(struct loop_timer *t, int64_t us);
void loop_timer_stop(struct loop_timer *t);
bool loop_timer_pending(const struct loop_timer *t);

/*
 * A call in the next step of the loop, before it waits again.  Several loop_defer_start
 * before it runs are one call.
 */
struct loop_defer *loop_defer_create(struct loop *l, loop_cb *cb, void *arg) ATTR_CHECK;
void loop_defer_free(struct loop_defer *d);
void loop_defer_start(struct loop_defer *d);
void loop_defer_stop(struct loop_defer *d);

#endif
