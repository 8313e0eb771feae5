/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * handover.c - attempts that go on outside, under a lease.
 *
 * Their handlers have ended with them, and their places are free.  Here they wait until
 * PostgreSQL knows that the lease has them; then this worker forgets them, and nothing
 * that befalls it is theirs.  Until then they are the worker's, and fall with it.
 *
 * The statement may be sent again, and somebody else may have sent the same (who tells
 * of a lease before its answer has come): both find that the lease has it already.
 * What fails for a reason of ours is dropped: the audit then finds the attempt and
 * gives it back.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"
#include "store/leases.h"

#define ROWS	 256
#define RETRY_MS 200

TAILQ_HEAD(attempts, attempt);

struct handover {
	struct engine *engine;
	struct attempts waiting;
	struct attempt *batch[ROWS];
	size_t count; /* 0: nothing is sent, or to be sent again */
	bool open;
	struct loop_defer *defer;
	struct loop_timer *timer;
	struct pgparam params;
};

static void send_next(void *arg);

struct handover *
handover_create(struct engine *e, struct err *err)
{
	struct handover *h = mem_zero(sizeof(*h));

	if (h == NULL)
		goto fail;
	h->engine = e;
	TAILQ_INIT(&h->waiting);
	pgparam_init(&h->params);
	h->defer = loop_defer_create(e->loop, send_next, h);
	h->timer = loop_timer_create(e->loop, send_next, h);
	if (h->defer == NULL || h->timer == NULL)
		goto fail;
	return h;
fail:
	handover_free(h);
	err_set(err, ERR_NOMEM, "handover");
	return NULL;
}

/* the attempts are dispatch's, and freed there */
void
handover_free(struct handover *h)
{
	if (h == NULL)
		return;
	loop_defer_free(h->defer);
	loop_timer_free(h->timer);
	pgparam_fini(&h->params);
	mem_free(h);
}

void
handover_add(struct handover *h, struct attempt *a)
{
	TAILQ_INSERT_TAIL(&h->waiting, a, link);
	loop_defer_start(h->defer);
}

void
handover_store_up(struct handover *h)
{
	loop_defer_start(h->defer);
}

static void
put_batch(struct handover *h)
{
	struct pgparam *p = &h->params;

	pgparam_reset(p);
	pgparam_array(p, PGTYPE_UUID);
	for (size_t i = 0; i < h->count; i++)
		pgparam_elem_uuid(p, &h->engine->owner);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < h->count; i++)
		pgparam_elem_int4(p, h->batch[i]->elem.app_id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_UUID);
	for (size_t i = 0; i < h->count; i++)
		pgparam_elem_uuid(p, &h->batch[i]->elem.id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < h->count; i++)
		pgparam_elem_int4(p, h->batch[i]->number);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < h->count; i++)
		pgparam_elem_int4(p, h->batch[i]->claim);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_UUID);
	for (size_t i = 0; i < h->count; i++)
		pgparam_elem_uuid(p, &h->batch[i]->lease);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < h->count; i++)
		pgparam_elem_int4(p, (int32_t)h->batch[i]->retry_ms);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	for (size_t i = 0; i < h->count; i++) {
		const char *by = h->batch[i]->error_message;

		if (by != NULL)
			pgparam_elem_text(p, by, strlen(by));
		else
			pgparam_elem_null(p);
	}
	pgparam_array_end(p);
}

/* all of the batch is settled: outcomes by its places, LOST where there is none */
static void
settle(struct handover *h, const enum hand_over_outcome outcomes[ROWS])
{
	struct engine *e = h->engine;
	struct attempt *batch[ROWS];
	size_t count = h->count;
	struct attempt_log al;

	memcpy(batch, h->batch, count * sizeof(batch[0]));
	h->count = 0;
	if (!TAILQ_EMPTY(&h->waiting))
		loop_defer_start(h->defer);
	for (size_t i = 0; i < count; i++) {
		struct attempt *a = batch[i];

		if (outcomes[i] == HAND_OVER_DONE) {
			score_add(e->slot, SCORE_leases_given_total, 1);
			score_add(e->slot, SCORE_leases_handed_over_total, 1);
		} else if (outcomes[i] == HAND_OVER_LOST) {
			score_add(e->slot, SCORE_tasks_fenced_total, 1);
			log_warn(attempt_log(a, &al),
			    "an attempt cannot go on outside: it was lost before",
			    "attempt=%d", a->number);
		}
		dispatch_release(e->dispatch, a);
	}
}

static void
on_handed_over(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct handover *h = arg;
	enum hand_over_outcome outcomes[ROWS];

	h->open = false;
	if (pe != NULL && pe->class != PGERR_BUG && pe->class != PGERR_DATA) {
		if (pe->class != PGERR_LOST && pe->class != PGERR_RETRY)
			log_warn(NULL,
			    "attempts cannot go on outside yet, to be tried again",
			    "class=%s sqlstate=%s reason=\"%.200s\"",
			    pgerr_class_name(pe->class), pe->sqlstate, pe->text);
		loop_timer_start_ms(h->timer, RETRY_MS);
		return;
	}
	for (size_t i = 0; i < h->count; i++)
		outcomes[i] = HAND_OVER_LOST;
	if (pe != NULL)
		log_error(NULL, "attempts cannot go on outside",
		    "sqlstate=%s rows=%zu reason=\"%.200s\"", pe->sqlstate, h->count,
		    pe->text);
	for (int i = 0; pe == NULL && i < pgrows_count(rows); i++)
		outcomes[pgrows_int(rows, i, 0) - 1] =
		    (enum hand_over_outcome)pgrows_int(rows, i, 1);
	settle(h, outcomes);
}

static void
send_next(void *arg)
{
	struct handover *h = arg;
	struct attempt *a;

	if (h->open || !store_is_up(h->engine->store, STORE_WORK))
		return; /* its end, or handover_store_up, comes by again */
	while (h->count < ROWS && (a = TAILQ_FIRST(&h->waiting)) != NULL) {
		TAILQ_REMOVE(&h->waiting, a, link);
		a->state = ATTEMPT_RECORDING;
		h->batch[h->count++] = a;
	}
	if (h->count == 0)
		return;
	put_batch(h);
	h->open = store_exec(h->engine->store, STORE_WORK, &leases_hand_over,
		      &h->params, on_handed_over, h, NULL) == 0;
	if (!h->open)
		loop_timer_start_ms(h->timer, RETRY_MS);
}
