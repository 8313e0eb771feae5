/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * operate.c - the leader's part that works at operations: cancel, again by hand, and
 * delete, by filter.
 *
 * All that matters is in PostgreSQL: shoal.operate takes the next batch of an
 * operation, changes its tasks, counts them and notes how far it came, in one
 * transaction.  So this module remembers nothing but which operations are open; a
 * leader that dies loses the batch under way as a whole, and the next one goes on from
 * the note.  Of two leaders one waits for the other's batch and goes on behind it.
 *
 * Operations take turns, a batch each.  One statement is under way at a time, on the
 * connection that tidies up, and then there is a rest, both paced as prune.c paces its
 * own: a large operation costs a part of one backend and never holds up a claim.
 *
 * After a commit those concerned are told: who waits for a task that has ended, and who
 * runs one that shall end.
 *
 * A new operation is told by a message; the leader's watch over the incarnations
 * (leader.c) sees it within a few seconds all the same.
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"

#define BATCH_FIRST 500 /* tasks looked at in one statement */
#define AGAIN_MS    1000
#define OPEN_MOST   64 /* that take turns; the others come when one is done */
#define OWNERS_MOST 64 /* told of one batch; others find out by themselves */

enum operate_state {
	OPERATE_NONE = 0,
	OPERATE_LISTING,
	OPERATE_WORKING,
	OPERATE_FAILING
};

struct operate {
	struct engine *engine;
	struct loop_timer *timer;
	struct pgparam params;
	bool running;
	bool listed; /* the list is as new as the last call of operate_look */
	enum operate_state state;   /* the statement that is under way */
	int64_t asked_ms, since_ms; /* of the statement; of the work */
	int batch;
	struct uuid asked; /* the one that is worked at */
	struct uuid open[OPEN_MOST];
	size_t count;
	size_t next; /* whose turn it is */
};

static void go_on(void *arg);
static void on_listed(const struct pgrows *rows, const struct pgerr *pe, void *arg);
static void on_worked(const struct pgrows *rows, const struct pgerr *pe, void *arg);
static void on_failed(const struct pgrows *rows, const struct pgerr *pe, void *arg);

struct operate *
operate_create(struct engine *e, struct err *err)
{
	struct operate *o = mem_zero(sizeof(*o));

	if (o == NULL || (o->timer = loop_timer_create(e->loop, go_on, o)) == NULL) {
		mem_free(o);
		err_set(err, ERR_NOMEM, "operate");
		return NULL;
	}
	o->engine = e;
	o->batch = BATCH_FIRST;
	pgparam_init(&o->params);
	return o;
}

void
operate_free(struct operate *o)
{
	if (o == NULL)
		return;
	loop_timer_free(o->timer);
	pgparam_fini(&o->params);
	mem_free(o);
}

void
operate_start(struct operate *o)
{
	o->running = true;
	o->count = 0;
	operate_look(o);
}

void
operate_stop(struct operate *o)
{
	o->running = false;
	loop_timer_stop(o->timer);
}

void
operate_look(struct operate *o)
{
	o->listed = false;
	if (o->running && o->state == OPERATE_NONE && o->count == 0)
		loop_timer_start_ms(o->timer, 0);
	/* else it is looked at when this batch is done */
}

static void
ask(struct operate *o, enum operate_state state, const struct pgstmt *st,
    pgconn_done_cb *cb)
{
	o->asked_ms = loop_now_ms(o->engine->loop);
	if (store_exec(o->engine->store, STORE_TIDY, st, &o->params, cb, o, NULL) == 0)
		o->state = state;
	else /* the connection is not there yet */
		loop_timer_start_ms(o->timer, AGAIN_MS);
}

static void
go_on(void *arg)
{
	struct operate *o = arg;

	if (!o->running || o->state != OPERATE_NONE)
		return;
	pgparam_reset(&o->params);
	if (!o->listed) {
		pgparam_int4(&o->params, OPEN_MOST);
		o->listed = true; /* what comes from here on is looked for again */
		ask(o, OPERATE_LISTING, &sql_operations, on_listed);
		o->listed = o->state == OPERATE_LISTING;
	} else if (o->count > 0) {
		o->next %= o->count;
		o->asked = o->open[o->next];
		pgparam_uuid(&o->params, &o->asked);
		pgparam_int4(&o->params, o->batch);
		pgparam_int4(
		    &o->params, (int32_t)o->engine->settings->tasks_priority_aging_ms);
		ask(o, OPERATE_WORKING, &sql_operate, on_worked);
	}
}

/* the same again, after a pause; smaller, if it is the size that is the trouble */
static void
try_again(struct operate *o, const struct pgerr *pe)
{
	if (pe->class != PGERR_LOST && pe->class != PGERR_RETRY)
		log_warn(NULL, "an operation waits",
		    "class=%s sqlstate=%s reason=\"%.200s\"",
		    pgerr_class_name(pe->class), pe->sqlstate, pe->text);
	o->batch = prune_batch(o->batch, INT32_MAX, false);
	loop_timer_start_ms(o->timer, AGAIN_MS);
}

static void
on_listed(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct operate *o = arg;

	o->state = OPERATE_NONE;
	if (pe != NULL) {
		o->listed = false;
		if (o->running)
			try_again(o, pe);
		return;
	}
	if (!o->running)
		return;
	if (o->count == 0)
		o->since_ms = loop_now_ms(o->engine->loop);
	o->count = 0;
	for (int i = 0; i < pgrows_count(rows) && o->count < OPEN_MOST; i++)
		pgrows_uuid(rows, i, 0, &o->open[o->count++]);
	go_on(o);
}

/* done, or stopped: others that did not fit in the list may come */
static void
drop(struct operate *o)
{
	for (size_t i = 0; i < o->count; i++) {
		if (!uuid_eq(&o->open[i], &o->asked))
			continue;
		memmove(o->open + i, o->open + i + 1,
		    (--o->count - i) * sizeof(o->open[0]));
		break;
	}
	if (o->count == 0)
		o->listed = false;
}

/* whom to tell of a task: its waiter, or once for each batch its holder */
static void
tell(struct operate *o, const struct pgrows *rows)
{
	struct engine *e = o->engine;
	struct uuid told[OWNERS_MOST], id, who;
	size_t count = 0, k;

	for (int i = 0; i < pgrows_count(rows); i++) {
		int kind = (int)pgrows_int(rows, i, 0),
		    app_id = (int)pgrows_int(rows, i, 1);

		if (kind == 0 || pgrows_is_null(rows, i, 3))
			continue;
		pgrows_uuid(rows, i, 2, &id);
		pgrows_uuid(rows, i, 3, &who);
		if (kind == 1) {
			waiters_tell(e->waiters, &who, app_id, &id);
			continue;
		}
		for (k = 0; k < count && !uuid_eq(&told[k], &who); k++)
			;
		if (k < count || count == OWNERS_MOST)
			continue;
		told[count++] = who;
		engine_cancel(e, &who, app_id, &id);
	}
}

static void
on_worked(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct operate *o = arg;
	int64_t now_ms = loop_now_ms(o->engine->loop), took_ms = now_ms - o->asked_ms;
	bool at_work = false, full = false;

	o->state = OPERATE_NONE;
	if (pe != NULL) {
		if (!o->running)
			return;
		if (pe->class != PGERR_DATA && pe->class != PGERR_BUG) {
			try_again(o, pe);
			return;
		}
		log_error(NULL, "an operation failed", "sqlstate=%s reason=\"%.200s\"",
		    pe->sqlstate, pe->text);
		pgparam_reset(&o->params);
		pgparam_uuid(&o->params, &o->asked);
		pgparam_text(&o->params, "the database refused a batch");
		ask(o, OPERATE_FAILING, &sql_operation_failed, on_failed);
		return;
	}
	tell(o, rows); /* it is committed, whoever leads now */
	engine_hint(o->engine);
	if (!o->running)
		return;
	for (int i = 0; i < pgrows_count(rows); i++) {
		if (pgrows_int(rows, i, 0) != 0)
			continue;
		at_work = !pgrows_bool(rows, i, 5);
		full = pgrows_int(rows, i, 4) >= o->batch;
	}
	if (at_work)
		o->next++;
	else
		drop(o);
	o->batch = prune_batch(o->batch, took_ms, full);
	loop_timer_start_ms(o->timer, prune_rest_ms(took_ms, now_ms - o->since_ms));
}

static void
on_failed(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct operate *o = arg;

	(void)rows;
	o->state = OPERATE_NONE;
	if (!o->running)
		return;
	if (pe != NULL) { /* its batch fails again, and this is said again */
		try_again(o, pe);
		return;
	}
	drop(o);
	loop_timer_start_ms(o->timer, AGAIN_MS);
}
