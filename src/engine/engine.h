/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine.h - the task queue in one worker, put together.
 *
 * The engine owns the store, the broker and the modules between them.  Faces (api,
 * portal) use the parts below; nobody else does.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/strbuf.h"
#include "base/uuid.h"
#include "engine/handler.h"
#include "event/loop.h"
#include "event/resolve.h"
#include "model/pools.h"
#include "model/scoreboard.h"
#include "model/settings.h"

struct each;
struct endpoints;
struct engine;
struct leases;
struct names;
struct registry;
struct store;
struct spans;
struct submit;
struct waiters;

struct engine_opts {
	const struct settings *settings; /* borrowed for life */
	struct scoreboard *board;	 /* borrowed for life */
	int slot;
	bool idle;	     /* takes no tasks; all else is as with those that do */
	struct spans *spans; /* borrowed for life; NULL: off */
	struct handler handlers[HANDLER_KIND_COUNT];
	/* told once when requests can be served: registered, and connected to
	 * PostgreSQL */
	void (*serving)(void *arg);
	/* told once when the worker must end: its incarnation was called dead, or it
	 * has drained */
	void (*ended)(bool lost, void *arg);
	void *arg;
};

struct engine *engine_create(struct loop *l, struct resolver *rv,
    const struct engine_opts *opts, struct err *err) ATTR_CHECK;
void engine_free(struct engine *e);

/* takes no new tasks from now on; ended(false) when none is left and all is settled.
 * Again: looks again */
void engine_drain(struct engine *e);
/* what still runs is given back now, at no cost to it; ended(false) soon */
void engine_give_up(struct engine *e);
/*
 * After ended(false): closes the connections to both stores.  engine_reopen opens those
 * to PostgreSQL once more, for requests that still come: serving is called when they
 * are up.  Such a worker is in no cluster any more, and tells Redis nothing: hint is
 * called, at most once a turn, when it has submitted what the leader shall look for.
 */
void engine_release(struct engine *e);
int engine_reopen(struct engine *e, void (*serving)(void *arg), void (*hint)(void *arg),
    void *arg, struct err *err) ATTR_CHECK;
/* the master says that a worker of this node died */
void engine_bury(struct engine *e);

/*
 * A handler's word on how many attempts of its type this worker may hold: -1 as many as
 * there are slots, 0 none: the type is not served here now.  Of stream types; others
 * have what the settings give.  Attempts that are there stay.
 */
void engine_set_places(struct engine *e, const char *type, int places);

/* somebody has paused, resumed or changed this queue: all workers and the feeder shall
 * look */
void engine_queue_changed(struct engine *e, int queue_id);
/* the leader shall look now; sent to whoever leads, at most once a turn */
void engine_hint(struct engine *e);
/* somebody asked for the end of a task that owner runs, committed: it shall look now */
void engine_cancel(
    struct engine *e, const struct uuid *owner, int app_id, const struct uuid *id);
/* there is an operation to work at, committed */
void engine_operate(struct engine *e);
/* there is an order to a node, committed: it shall look now */
void engine_nodes_ordered(struct engine *e);
/* what may run, or in which order, has changed (a pause, a priority, a weight, a
 * limit): the leader shall make the list anew.  After the commit. */
void engine_requeue(struct engine *e);
/* this task is queued once more, committed: the leader shall not take it for one that
 * it has pushed just now.  Before engine_hint. */
void engine_again(struct engine *e, const struct uuid *id);

struct submit *engine_submit(struct engine *e);
struct each *engine_each(struct engine *e);
struct names *engine_names(struct engine *e);
struct waiters *engine_waiters(struct engine *e);
struct store *engine_store(struct engine *e);
const struct uuid *engine_owner(const struct engine *e); /* this incarnation */
struct registry *engine_registry(struct engine *e);
struct leases *engine_leases(struct engine *e);
struct endpoints *engine_endpoints(struct engine *e);
/* the types of an application have changed, and PostgreSQL knows: told to all workers
 */
void engine_types_changed(struct engine *e);
/* a task of this application is queued, by a way that does not know its type: if it has
 * tasks for workers outside, those who wait for one look */
void engine_due_outside(struct engine *e, int app_id);
/* a leased task is queued again, committed: whoever may run it shall look */
void engine_back_in_line(struct engine *e, int app_id, int queue_id);

/* a list of Redis as the leader last told it; see model/pools.h */
struct list_told {
	int64_t length;
	int list;
	bool spilling; /* there is more in PostgreSQL than the list may hold */
};
/* all lists, of the last ENGINE_TOLD_MS; count 0: nobody has told.  Borrowed until the
 * next turn of the loop. */
#define ENGINE_TOLD_MS 10000
const struct list_told *engine_lists(struct engine *e, size_t *count);
const struct pools *engine_pools(const struct engine *e);

/* a schedule has changed, and PostgreSQL knows: told to the leader */
void engine_schedules_changed(struct engine *e);
/* PostgreSQL's time as learned from the last beat, microseconds since 1970; this node's
 * before that */
int64_t engine_now_us(struct engine *e);

#endif
