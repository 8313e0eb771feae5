/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tidy.c - the leader's part that removes old events, and what goes with tasks that
 * are gone.
 *
 * Events stay as long as failed tasks do.  A pass looks at each application that has
 * events, from its oldest on, then walks over all reports and removes those whose task
 * is gone, however it went, likewise over deliveries of webhooks, then over the keys of
 * tasks and requests and removes those that are free again.  It shares the connection
 * of prune.c, where nobody waits: one statement at a time, and a rest of three times as
 * long behind each.
 *
 * Where a pass stands is remembered nowhere else; a new leader begins one.
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"
#include "store/events.h"
#include "store/webhooks.h"

#define LOOK	    1000 /* rows in one statement */
#define REST	    3	 /* times what it took */
#define AGAIN_MS    1000
#define PASS_MS	    60000 /* between two, at most; a hundredth of what is kept */
#define PASS_MS_MIN 1000

struct tidy {
	struct engine *engine;
	struct loop_timer *timer;
	struct pgparam params;
	bool running;
	bool open;					 /* a statement is under way */
	enum { EVENTS, REPORTS, DELIVERIES, KEYS } part; /* of the pass */
	int64_t asked_ms;
	/* where the pass stands */
	int app_id;
	struct uuid id;
	char *key; /* owned; NULL: the beginning */
	int64_t removed;
};

static void on_time(void *arg);

struct tidy *
tidy_create(struct engine *e, struct err *err)
{
	struct tidy *t = mem_zero(sizeof(*t));

	if (t == NULL || (t->timer = loop_timer_create(e->loop, on_time, t)) == NULL) {
		mem_free(t);
		err_set(err, ERR_NOMEM, "tidy");
		return NULL;
	}
	t->engine = e;
	pgparam_init(&t->params);
	return t;
}

void
tidy_free(struct tidy *t)
{
	if (t == NULL)
		return;
	loop_timer_free(t->timer);
	mem_free(t->key);
	pgparam_fini(&t->params);
	mem_free(t);
}

static void
begin(struct tidy *t, int part)
{
	t->part = part;
	mem_free(t->key);
	t->key = NULL;
	t->app_id = 0;
	memset(&t->id, 0, sizeof(t->id));
}

void
tidy_start(struct tidy *t)
{
	t->running = true;
	begin(t, EVENTS);
	t->removed = 0;
	loop_timer_start_ms(t->timer, AGAIN_MS);
}

void
tidy_stop(struct tidy *t)
{
	t->running = false;
	loop_timer_stop(t->timer);
}

static void
end_pass(struct tidy *t)
{
	int64_t ms = t->engine->settings->tasks_keep_failed_ms / 100;

	log_debug(NULL, "looked for events and reports whose time is over",
	    "removed=%lld", (long long)t->removed);
	t->removed = 0;
	begin(t, EVENTS);
	if (ms < PASS_MS_MIN)
		ms = PASS_MS_MIN;
	loop_timer_start_ms(t->timer, ms < PASS_MS ? ms : PASS_MS);
}

/* false: the statement failed, or is nobody's any more */
static bool
answered(struct tidy *t, const struct pgerr *pe)
{
	t->open = false;
	if (!t->running)
		return false;
	if (pe == NULL)
		return true;
	if (pe->class != PGERR_LOST && pe->class != PGERR_RETRY)
		log_warn(NULL, "old events could not be removed",
		    "class=%s sqlstate=%s reason=\"%.200s\"",
		    pgerr_class_name(pe->class), pe->sqlstate, pe->text);
	loop_timer_start_ms(t->timer, AGAIN_MS);
	return false;
}

static void
rest(struct tidy *t)
{
	loop_timer_start_ms(
	    t->timer, 1 + REST * (loop_now_ms(t->engine->loop) - t->asked_ms));
}

static void
on_events(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct tidy *t = arg;

	if (!answered(t, pe))
		return;
	t->removed += pgrows_int(rows, 0, 1);
	if (pgrows_is_null(rows, 0, 0))
		begin(t, REPORTS);
	else if (!pgrows_bool(rows, 0, 2))
		t->app_id = (int)pgrows_int(rows, 0, 0);
	rest(t);
}

/* rows that go with a task: of reports, and of deliveries */
static void
on_reports(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct tidy *t = arg;

	if (!answered(t, pe))
		return;
	t->removed += pgrows_int(rows, 0, 2);
	if (pgrows_is_null(rows, 0, 0)) {
		begin(t, t->part + 1);
	} else {
		t->app_id = (int)pgrows_int(rows, 0, 0);
		pgrows_uuid(rows, 0, 1, &t->id);
	}
	rest(t);
}

static void
on_keys(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct tidy *t = arg;

	if (!answered(t, pe))
		return;
	t->removed += pgrows_int(rows, 0, 2);
	mem_free(t->key);
	t->key = NULL;
	if (!pgrows_is_null(rows, 0, 0)) {
		t->app_id = (int)pgrows_int(rows, 0, 0);
		t->key = mem_strdup(pgrows_text(rows, 0, 1, NULL));
	}
	/* without memory for the place the next pass begins anew */
	if (t->key == NULL)
		end_pass(t);
	else
		rest(t);
}

static void
put_keep(const struct tidy *t, struct pgparam *p)
{
	int64_t keep_ms = t->engine->settings->tasks_keep_failed_ms;

	if (keep_ms == 0)
		pgparam_null(p, PGTYPE_INT8);
	else
		pgparam_int8(p, keep_ms);
}

static void
on_time(void *arg)
{
	struct tidy *t = arg;
	struct pgparam *p = &t->params;
	static const struct {
		const struct pgstmt *stmt;
		pgconn_done_cb *cb;
	} parts[] = {
	    [EVENTS] = {&events_prune, on_events},
	    [REPORTS] = {&events_prune_reports, on_reports},
	    [DELIVERIES] = {&webhooks_prune, on_reports},
	    [KEYS] = {&sql_prune_keys, on_keys},
	};

	if (t->open || !t->running)
		return;
	pgparam_reset(p);
	pgparam_int4(p, t->app_id);
	if (t->part == REPORTS || t->part == DELIVERIES)
		pgparam_uuid(p, &t->id);
	else if (t->part == EVENTS)
		put_keep(t, p);
	else
		pgparam_text(p, t->key != NULL ? t->key : "");
	pgparam_int4(p, LOOK);
	if (t->part == KEYS)
		put_keep(t, p);
	t->asked_ms = loop_now_ms(t->engine->loop);
	t->open = store_exec(t->engine->store, STORE_TIDY, parts[t->part].stmt, p,
		      parts[t->part].cb, t, NULL) == 0;
	if (!t->open) /* the connection is not there yet */
		loop_timer_start_ms(t->timer, AGAIN_MS);
}
