/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * webhooks.c - the leader's part that makes the deliveries of webhooks.
 *
 * What there is to tell stands in the events of the applications that have webhooks, in
 * the order of the stream.  One statement settles the next events of one application:
 * it makes their deliveries, which are tasks, and moves the application's place in one
 * transaction (shoal.settle_webhooks).  So nothing is remembered here, a leader that
 * goes takes nothing with it, and two of them make nothing twice.
 *
 * When a round over all applications found nothing it rests for ROUND_MS; that, and the
 * oldest transaction that is still open, is how late a delivery begins.  Without any
 * webhook that is one statement a second on an empty table.
 */
#include "store/webhooks.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"

#define LOOK	    500 /* events in one statement */
#define ROUND_MS    1000
#define AGAIN_MS    1000		     /* after an error */
#define REST	    1			     /* times what a statement took */
#define PATIENCE_MS (5LL * 24 * 3600 * 1000) /* of failure, until one is disabled */

struct webhooks {
	struct engine *engine;
	struct loop_timer *timer;
	bool running;
	bool open;  /* a statement is under way */
	bool found; /* this round has made something */
	int app_id; /* the round is behind this one */
	int64_t asked_ms;
};

static void on_time(void *arg);

struct webhooks *
webhooks_create(struct engine *e, struct err *err)
{
	struct webhooks *ws = mem_zero(sizeof(*ws));

	if (ws == NULL ||
	    (ws->timer = loop_timer_create(e->loop, on_time, ws)) == NULL) {
		mem_free(ws);
		err_set(err, ERR_NOMEM, "webhooks");
		return NULL;
	}
	ws->engine = e;
	return ws;
}

void
webhooks_free(struct webhooks *ws)
{
	if (ws == NULL)
		return;
	loop_timer_free(ws->timer);
	mem_free(ws);
}

void
webhooks_start(struct webhooks *ws)
{
	ws->running = true;
	ws->app_id = 0;
	ws->found = false;
	loop_timer_start_ms(ws->timer, ROUND_MS);
}

void
webhooks_stop(struct webhooks *ws)
{
	ws->running = false;
	loop_timer_stop(ws->timer);
}

/* ---------------------------------------------------------------- a statement */

static void
take(struct webhooks *ws, const struct pgrows *rows)
{
	struct engine *e = ws->engine;
	int64_t made = pgrows_int(rows, 0, 1);

	if (made < 0)
		log_error(NULL, "an application's webhooks could not be settled",
		    "application=%lld reason=\"%.200s\"",
		    (long long)pgrows_int(rows, 0, 0), pgrows_text(rows, 0, 4, NULL));
	for (int i = 1; i < pgrows_count(rows); i++) {
		log_warn(NULL, "a webhook is disabled",
		    "application=%lld webhook=%s reason=\"%.200s\"",
		    (long long)pgrows_int(rows, i, 0), pgrows_text(rows, i, 3, NULL),
		    pgrows_text(rows, i, 4, NULL));
		score_add(e->slot, SCORE_webhooks_disabled_total, 1);
	}
	if (made > 0) {
		score_add(e->slot, SCORE_webhook_deliveries_total, (uint64_t)made);
		engine_hint(e); /* they are committed: let them be pushed */
	}
}

static void
on_settled(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct webhooks *ws = arg;
	int64_t took_ms = loop_now_ms(ws->engine->loop) - ws->asked_ms;

	ws->open = false;
	if (pe == NULL && pgrows_count(rows) > 0)
		take(ws, rows); /* it is committed, whoever leads now */
	if (!ws->running)
		return;
	if (pe != NULL) {
		if (pe->class != PGERR_LOST && pe->class != PGERR_RETRY)
			log_warn(NULL, "webhooks could not be settled",
			    "class=%s sqlstate=%s reason=\"%.200s\"",
			    pgerr_class_name(pe->class), pe->sqlstate, pe->text);
		loop_timer_start_ms(ws->timer, AGAIN_MS);
		return;
	}
	if (pgrows_count(rows) > 0) {
		/* an application with many events has its next turn in the next round
		 */
		ws->app_id = (int)pgrows_int(rows, 0, 0);
		ws->found |= pgrows_bool(rows, 0, 2);
		loop_timer_start_ms(ws->timer, 1 + REST * took_ms);
		return;
	}
	ws->app_id = 0;
	loop_timer_start_ms(ws->timer, ws->found ? 1 + REST * took_ms : ROUND_MS);
	ws->found = false;
}

static void
on_time(void *arg)
{
	struct webhooks *ws = arg;
	struct engine *e = ws->engine;
	struct pgparam p;

	if (ws->open || !ws->running)
		return;
	pgparam_init(&p);
	pgparam_int4(&p, ws->app_id);
	pgparam_int4(&p, LOOK);
	pgparam_int4(&p, (int32_t)e->settings->tasks_priority_aging_ms);
	pgparam_int8(&p, PATIENCE_MS);
	ws->asked_ms = loop_now_ms(e->loop);
	ws->open = store_exec(e->store, STORE_TIDY, &webhooks_settle, &p, on_settled,
		       ws, NULL) == 0;
	pgparam_fini(&p);
	if (!ws->open) /* the connection is not there yet */
		loop_timer_start_ms(ws->timer, AGAIN_MS);
}
