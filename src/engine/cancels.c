/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cancels.c - running attempts whose end somebody has asked for.
 *
 * A request stands in PostgreSQL, under the owner that held the task; a message only
 * says that there may be one.  So a worker asks for its own requests when it hears a
 * message, and, since messages get lost, each 0.8 s while something has run here for
 * longer than a moment.  Short tasks never cause a question, nor does an idle worker;
 * with Redis away nothing changes but that every request is found that way.
 *
 * A handler is told once.  What it then ends with, unless it succeeds, is recorded as
 * cancelled (attempt.c); the request goes with the next question after that.
 */
#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"

#define POLL_MS	   800
#define AGAIN_MS   200 /* it was claimed for us, and we have not heard of that yet */
#define RUNNING_MS 300 /* what has run for less is not asked for */

struct cancels {
	struct engine *engine;
	struct loop_timer *timer;
	bool open;
	bool again;   /* asked for while a question was under way */
	bool pending; /* the last answer had requests that are not settled */
};

static void on_time(void *arg);

struct cancels *
cancels_create(struct engine *e, struct err *err)
{
	struct cancels *c = mem_zero(sizeof(*c));

	if (c == NULL || (c->timer = loop_timer_create(e->loop, on_time, c)) == NULL) {
		mem_free(c);
		err_set(err, ERR_NOMEM, "cancels");
		return NULL;
	}
	c->engine = e;
	loop_timer_start_ms(c->timer, POLL_MS);
	return c;
}

void
cancels_free(struct cancels *c)
{
	if (c == NULL)
		return;
	loop_timer_free(c->timer);
	mem_free(c);
}

/* tells the handlers; returns whether one was meant that is not known here yet */
static bool
tell(struct cancels *c, const struct pgrows *rows)
{
	struct dispatch *d = c->engine->dispatch;
	struct attempt *a;
	struct uuid id;
	struct attempt_log al;
	bool unknown = false;

	for (int i = 0; i < pgrows_count(rows); i++) {
		pgrows_uuid(rows, i, 1, &id);
		a = dispatch_find(d, &id);
		if (a == NULL || a->state < ATTEMPT_CLAIMED ||
		    a->elem.app_id != (int)pgrows_int(rows, i, 0) ||
		    a->number != (int)pgrows_int(rows, i, 2) ||
		    a->claim != (int)pgrows_int(rows, i, 3)) {
			unknown = true;
			continue;
		}
		if (a->cancelled || a->state > ATTEMPT_RUNNING)
			continue;
		log_info(attempt_log(a, &al), "a running task is told to end",
		    "attempt=%d", a->number);
		dispatch_cancel(d, a);
	}
	return unknown;
}

static void
on_cancels(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct cancels *c = arg;
	struct engine *e = c->engine;
	bool unknown;

	c->open = false;
	if (e->ending)
		return;
	if (pe != NULL) {
		c->pending = true; /* by the next second, at the latest */
		return;
	}
	unknown = tell(c, rows);
	c->pending = pgrows_count(rows) > 0;
	if (c->again)
		cancels_look(c);
	else if (unknown && dispatch_is_claiming(e->dispatch))
		loop_timer_start_ms(c->timer, AGAIN_MS);
}

void
cancels_look(struct cancels *c)
{
	struct engine *e = c->engine;
	struct pgparam p;

	c->again = c->open;
	if (c->open || !e->registered)
		return;
	pgparam_init(&p);
	pgparam_uuid(&p, &e->owner);
	c->open = store_exec(
		      e->store, STORE_WORK, &sql_cancels, &p, on_cancels, c, NULL) == 0;
	pgparam_fini(&p);
	c->pending |= !c->open;
}

static bool
has_long(const struct engine *e)
{
	const struct attempt *a;
	int64_t before_ms = loop_now_ms(e->loop) - RUNNING_MS;
	size_t cursor = 0;

	if (types_running(e->types) == 0)
		return false;
	while ((a = dispatch_next(e->dispatch, &cursor)) != NULL) {
		if (a->state == ATTEMPT_RUNNING && a->started_ms <= before_ms)
			return true;
	}
	return false;
}

static void
on_time(void *arg)
{
	struct cancels *c = arg;

	loop_timer_start_ms(c->timer, POLL_MS);
	if (c->pending || has_long(c->engine))
		cancels_look(c);
}
