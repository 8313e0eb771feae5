/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waiters.c - requests that wait for a task's end; see waiters.h.
 *
 * Waiters of one task form a group.  Ends come as messages, from this worker's own
 * finishes, and, since messages are only hints, from one statement every POLL_MS for
 * all groups that have waited that long.
 */
#include "engine/waiters.h"

#include <sys/queue.h>

#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"

#define POLL_MS	     2000
#define WAITERS_MOST 10000
#define POLL_MOST    WAITERS_MOST

TAILQ_HEAD(waiter_list, waiter);

struct group {
	struct uuid id;
	int app_id;
	struct waiter_list list;
};

struct waiter {
	TAILQ_ENTRY(waiter) link;
	struct waiters *set;
	struct group *group;
	struct loop_timer *timer;
	waiter_cb *cb;
	void *arg;
};

struct waiters {
	struct engine *engine;
	struct hmap *
	    groups; /* by task id: ids are random, so the application is only checked */
	size_t count;
	struct loop_timer *poll;
	bool polling;
};

/* a question about one task: asked once, by the first waiter of a group that is not
 * marked */
struct mark {
	struct waiters *set;
	struct uuid id;
	int app_id;
};

static void on_poll_time(void *arg);
static void on_timeout(void *arg);

struct waiters *
waiters_create(struct engine *e, struct err *err)
{
	struct waiters *ws = mem_zero(sizeof(*ws));

	if (ws == NULL || (ws->groups = hmap_create()) == NULL ||
	    (ws->poll = loop_timer_create(e->loop, on_poll_time, ws)) == NULL) {
		if (ws != NULL)
			hmap_free(ws->groups);
		mem_free(ws);
		err_set(err, ERR_NOMEM, "waiters");
		return NULL;
	}
	ws->engine = e;
	return ws;
}

static void
waiter_free(struct waiter *w)
{
	struct waiters *ws = w->set;
	struct group *g = w->group;

	TAILQ_REMOVE(&g->list, w, link);
	if (TAILQ_EMPTY(&g->list)) {
		hmap_remove(ws->groups, g->id.b, sizeof(g->id.b));
		mem_free(g);
	}
	ws->count--;
	score_set(ws->engine->slot, SCORE_waiters, ws->count);
	loop_timer_free(w->timer);
	mem_free(w);
}

/* unlinked before the call: the callback may add another */
static void
tell(struct waiter *w, bool ended)
{
	waiter_cb *cb = w->cb;
	void *arg = w->arg;

	waiter_free(w);
	cb(ended, arg);
}

void
waiters_end_all(struct waiters *ws)
{
	struct group *g;
	size_t cursor = 0;

	while ((g = hmap_next(ws->groups, &cursor)) != NULL) {
		tell(TAILQ_FIRST(&g->list), false);
		cursor = 0; /* the map has changed */
	}
}

void
waiters_free(struct waiters *ws)
{
	if (ws == NULL)
		return;
	waiters_end_all(ws);
	loop_timer_free(ws->poll);
	hmap_free(ws->groups);
	mem_free(ws);
}

size_t
waiters_count(const struct waiters *ws)
{
	return ws->count;
}

void
waiters_done(struct waiters *ws, int app_id, const struct uuid *id)
{
	struct group *g;

	while ((g = hmap_get(ws->groups, id->b, sizeof(id->b))) != NULL &&
	       g->app_id == app_id)
		tell(TAILQ_FIRST(&g->list), true);
}

void
waiters_tell(
    struct waiters *ws, const struct uuid *waiter, int app_id, const struct uuid *id)
{
	static const struct uuid everyone;
	struct engine *e = ws->engine;

	if (uuid_eq(waiter, &e->owner) || uuid_eq(waiter, &everyone))
		waiters_done(ws, app_id, id);
	if (!uuid_eq(waiter, &e->owner))
		broker_publish_done(e->broker, waiter, app_id, id);
}

/* ---------------------------------------------------------------- the row shall name
 * us */

static void
on_marked(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct mark *m = arg;
	struct waiters *ws = m->set;
	struct uuid id = m->id;
	int app_id = m->app_id;

	mem_free(m);
	if (pe != NULL || pgrows_count(rows) == 0)
		return; /* the poll covers it */
	if (pgrows_is_null(rows, 0, 0) ||
	    task_is_final((enum task_state)pgrows_int(rows, 0, 0)))
		waiters_done(ws, app_id, &id);
}

static void
mark(struct waiters *ws, int app_id, const struct uuid *id)
{
	struct mark *m = mem_zero(sizeof(*m));
	struct pgparam p;

	if (m == NULL)
		return;
	m->set = ws;
	m->id = *id;
	m->app_id = app_id;
	pgparam_init(&p);
	pgparam_int4(&p, app_id);
	pgparam_uuid(&p, id);
	pgparam_uuid(&p, &ws->engine->owner);
	if (store_exec(
		ws->engine->store, STORE_READ, &sql_wait, &p, on_marked, m, NULL) != 0)
		mem_free(m); /* the poll covers it */
	pgparam_fini(&p);
}

struct waiter *
waiters_add(struct waiters *ws, int app_id, const struct uuid *id, int64_t timeout_ms,
    bool marked, waiter_cb *cb, void *arg, struct err *err)
{
	struct group *g = hmap_get(ws->groups, id->b, sizeof(id->b));
	bool fresh = g == NULL;
	struct waiter *w;

	if (ws->count >= WAITERS_MOST) {
		err_set(err, ERR_LIMIT, "%d requests wait at this worker already",
		    WAITERS_MOST);
		return NULL;
	}
	w = mem_zero(sizeof(*w));
	if (w == NULL ||
	    (w->timer = loop_timer_create(ws->engine->loop, on_timeout, w)) == NULL)
		goto nomem;
	if (fresh) {
		g = mem_zero(sizeof(*g));
		if (g == NULL)
			goto nomem;
		g->id = *id;
		g->app_id = app_id;
		TAILQ_INIT(&g->list);
		if (hmap_put(ws->groups, g->id.b, sizeof(g->id.b), g, NULL) != 0) {
			mem_free(g);
			goto nomem;
		}
	}
	w->set = ws;
	w->group = g;
	w->cb = cb;
	w->arg = arg;
	TAILQ_INSERT_TAIL(&g->list, w, link);
	ws->count++;
	score_set(ws->engine->slot, SCORE_waiters, ws->count);
	loop_timer_start_ms(w->timer, timeout_ms);
	/* a later waiter asks too: the task may have ended since the first one did */
	if (!marked)
		mark(ws, app_id, id);
	if (!loop_timer_pending(ws->poll))
		loop_timer_start_ms(ws->poll, POLL_MS);
	return w;
nomem:
	if (w != NULL)
		loop_timer_free(w->timer);
	mem_free(w);
	err_set(err, ERR_NOMEM, "waiter");
	return NULL;
}

void
waiters_cancel(struct waiter *w)
{
	if (w != NULL)
		waiter_free(w);
}

static void
on_timeout(void *arg)
{
	tell(arg, false);
}

/* ---------------------------------------------------------------- the poll */

static void
on_polled(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct waiters *ws = arg;
	struct uuid id;

	ws->polling = false;
	if (pe != NULL)
		return;
	for (int i = 0; i < pgrows_count(rows); i++) {
		pgrows_uuid(rows, i, 1, &id);
		waiters_done(ws, (int)pgrows_int(rows, i, 0), &id);
	}
}

static void
on_poll_time(void *arg)
{
	struct waiters *ws = arg;
	struct pgparam p;
	struct group *g;
	size_t cursor = 0, count = 0;

	if (ws->count == 0)
		return; /* the next waiter starts the timer again */
	loop_timer_start_ms(ws->poll, POLL_MS);
	if (ws->polling)
		return;
	pgparam_init(&p);
	pgparam_array(&p, PGTYPE_INT4);
	while ((g = hmap_next(ws->groups, &cursor)) != NULL && count++ < POLL_MOST)
		pgparam_elem_int4(&p, g->app_id);
	pgparam_array_end(&p);
	cursor = count = 0;
	pgparam_array(&p, PGTYPE_UUID);
	while ((g = hmap_next(ws->groups, &cursor)) != NULL && count++ < POLL_MOST)
		pgparam_elem_uuid(&p, &g->id);
	pgparam_array_end(&p);
	ws->polling = store_exec(ws->engine->store, STORE_READ, &sql_ended, &p,
			  on_polled, ws, NULL) == 0;
	pgparam_fini(&p);
}
