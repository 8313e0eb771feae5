/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * expiry.c - takes back leases whose time is over; the leader's.
 *
 * The watch, which comes by every few seconds anyway, tells when the first lease is
 * over, so that a cluster without leases asks nothing.  What a lease held is queued
 * again, or has ended; those who wait for it, or for its end, are told.
 */
#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"
#include "store/leases.h"

#define BATCH	 500
#define AGAIN_MS 1000 /* after a failure; the watch tells again too */
#define LATE_MS	 5    /* after the time: at it the row may still be a hair too early */

struct expiry {
	struct engine *engine;
	struct loop_timer *timer;
	bool running, open;
};

static void on_time(void *arg);

struct expiry *
expiry_create(struct engine *e, struct err *err)
{
	struct expiry *x = mem_zero(sizeof(*x));

	if (x == NULL || (x->timer = loop_timer_create(e->loop, on_time, x)) == NULL) {
		mem_free(x);
		err_set(err, ERR_NOMEM, "expiry");
		return NULL;
	}
	x->engine = e;
	return x;
}

void
expiry_free(struct expiry *x)
{
	if (x == NULL)
		return;
	loop_timer_free(x->timer);
	mem_free(x);
}

void
expiry_start(struct expiry *x)
{
	x->running = true;
	x->open = false;
}

void
expiry_stop(struct expiry *x)
{
	x->running = false;
	loop_timer_stop(x->timer);
}

void
expiry_told(struct expiry *x, int64_t wait_ms)
{
	if (x->running && !x->open)
		loop_timer_start_ms(x->timer, wait_ms + LATE_MS);
}

static void
on_expired(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct expiry *x = arg;
	struct engine *e = x->engine;
	struct uuid id, waiter;
	int count, queue_id, app_id;
	bool others = false;

	x->open = false;
	if (!x->running)
		return;
	if (pe != NULL) {
		if (pe->class != PGERR_LOST && pe->class != PGERR_RETRY)
			log_warn(NULL, "leases that are over were not taken back",
			    "class=%s sqlstate=%s reason=\"%.200s\"",
			    pgerr_class_name(pe->class), pe->sqlstate, pe->text);
		loop_timer_start_ms(x->timer, AGAIN_MS);
		return;
	}
	count = pgrows_count(rows) - 1; /* the last one tells of the next time */
	for (int i = 0; i < count; i++) {
		app_id = (int)pgrows_int(rows, i, 0);
		pgrows_uuid(rows, i, 1, &id);
		queue_id = (int)pgrows_int(rows, i, 2);
		if (pgrows_int(rows, i, 3) == TASK_QUEUED)
			engine_back_in_line(e, app_id, queue_id);
		else if (!pgrows_is_null(rows, i, 4)) {
			pgrows_uuid(rows, i, 4, &waiter);
			waiters_tell(e->waiters, &waiter, app_id, &id);
		}
		others |= pgrows_int(rows, i, 5) != 0;
	}
	if (count > 0) {
		log_info(NULL, "leases ran out", "tasks=%d", count);
		score_add(e->slot, SCORE_leases_expired_total, (uint64_t)count);
	}
	if (others)
		engine_hint(
		    e); /* what their end means for others is settled by a pass */
	if (count == BATCH)
		expiry_told(x, 0);
	else if (count >= 0 && !pgrows_is_null(rows, count, 6))
		expiry_told(
		    x, pgrows_int(rows, count, 6) > 0 ? pgrows_int(rows, count, 6) : 0);
}

static void
on_time(void *arg)
{
	struct expiry *x = arg;
	struct pgparam p;

	if (!x->running || x->open)
		return;
	pgparam_init(&p);
	pgparam_int4(&p, BATCH);
	x->open = store_exec(x->engine->store, STORE_LEAD, &leases_expire, &p,
		      on_expired, x, NULL) == 0;
	pgparam_fini(&p);
	if (!x->open)
		loop_timer_start_ms(x->timer, AGAIN_MS);
}
