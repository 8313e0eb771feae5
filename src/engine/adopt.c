/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * adopt.c - tasks that the worker which stores them runs itself.
 *
 * A worker that waits in the blocking pop has seen the list empty and has places: what
 * it pushed now, somebody like it would pop and claim.  The same holds while all that
 * is in the list would fit into half of this worker's free places: it is on its way,
 * and nothing waits for room.  So the statement that stores such tasks claims them too,
 * under a batch number of this worker: the rows are inserted as running, attempt 1, and
 * noted in shoal.claim.  To the protocol that is a submit and a claim with nothing
 * between; one commit instead of two, no message, and no attempt starts before it.
 * PostgreSQL looks at the mark of the incarnation, and at queues and types that are
 * paused or limited, as it does for a claim, and at queues of pools that are not served
 * here; from those nothing is adopted.
 *
 * Never while tasks wait for room: a backlog and a type with places of its own (the
 * feeder's) keep their order.  An eighth of the slots is left alone, so
 * that a burst at one worker is shared with the others.
 *
 * One batch at a time, from adopt_begin to adopt_end.  If its answer was lost, it is
 * asked for by its number like a claim's.
 */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/dispatch_int.h"

/* nothing waits in the pool that could not start at once in so much room */
static bool
is_short(const struct dispatch *d, int pool, int room)
{
	struct engine *e = d->engine;
	int list = list_of(pool, false);
	bool line_is_short;

	if (d->stopped || d->suspect != NULL || !e->serving || e->ending ||
	    !engine_serves(e, pool) || !store_is_up(e->store, STORE_WORK))
		return false;
	if (d->direct)
		line_is_short = d->empty_claims >= 2 * e->served_count;
	else
		line_is_short = broker_is_up(e->broker) &&
				(broker_is_waiting(e->broker, list) ||
				    2 * broker_last_length(e->broker, list) <= room);
	return line_is_short && !engine_is_spilling(e, pool);
}

bool
adopt_may(const struct dispatch *d, int pool)
{
	return is_short(d, pool, dispatch_room(d));
}

bool
adopt_soon(const struct dispatch *d, int pool)
{
	int free_slots = types_free_slots(d->engine->types);

	return dispatch_room(d) < free_slots &&
	       free_slots > d->engine->settings->node_slots / 2 &&
	       is_short(d, pool, free_slots);
}

int
adopt_room(const struct dispatch *d)
{
	return dispatch_room(d) - d->engine->settings->node_slots / 8;
}

struct type_entry *
adopt_place(struct dispatch *d, int type_id)
{
	struct types *ts = d->engine->types;
	struct type_entry *t = types_by_id(ts, type_id);

	if (t == NULL || t->metered || t->limited || adopt_room(d) <= 0 ||
	    !types_take_place(ts, t))
		return NULL;
	return t;
}

int
adopt_begin(struct dispatch *d)
{
	d->adopting = ++d->batches;
	return d->adopting;
}

void
adopt_task(struct dispatch *d, struct type_entry *place, int app_id,
    const struct submit_item *it)
{
	int pool = names_pool(d->engine->names, it->queue_id);
	struct elem el = {
	    it->id, app_id, it->type_id, pool >= 0 ? list_of(pool, false) : LIST_MAIN};
	struct attempt *a = attempt_hold(d, &el, place);

	if (a == NULL) {
		types_put_place(d->engine->types, place);
		dispatch_ghost(d, &el, 1, d->adopting);
		return;
	}
	if (d->adopted == NULL && (d->adopted = mem_zero(sizeof(*d->adopted))) != NULL)
		d->adopted->claim = d->adopting;
	if (it->payload != NULL)
		a->payload = mem_dup(it->payload, it->payload_len);
	if (it->trace != NULL)
		a->trace = mem_dup(it->trace, it->trace_len);
	if (d->adopted == NULL || (it->payload != NULL && a->payload == NULL) ||
	    (it->trace != NULL && a->trace == NULL)) {
		/* ours, and there is no memory to run it: for others */
		attempt_let_go(d, a);
		dispatch_ghost(d, &el, 1, d->adopting);
		return;
	}
	/* it never waited for anybody but the database */
	if (d->engine->spans != NULL && a->trace != NULL)
		a->due_us = it->due_us - (engine_now_us(d->engine) - clock_wall_us());
	a->payload_len = it->payload_len;
	a->number = 1;
	a->claim = d->adopting;
	a->queue_id = it->queue_id;
	a->max_attempts = it->max_attempts;
	a->timeout_ms = it->timeout_ms;
	a->state = ATTEMPT_CLAIMED;
	a->note = d->adopted;
	a->note->left++;
	TAILQ_INSERT_TAIL(&d->newborn, a, link);
}

void
adopt_end(struct dispatch *d, bool lost)
{
	struct claim_note *note = NULL;
	struct attempt *a;
	uint64_t count = 0;

	if (lost && (note = mem_zero(sizeof(*note))) != NULL) {
		/* without memory the audit gives back what it brought */
		note->claim = d->adopting;
		TAILQ_INSERT_TAIL(&d->in_doubt, note, link);
	}
	d->adopting = 0;
	if (d->adopted != NULL && d->adopted->left == 0)
		mem_free(d->adopted); /* there was no memory for what it brought */
	d->adopted = NULL;	      /* its attempts have it */
	while ((a = TAILQ_FIRST(&d->newborn)) != NULL) {
		TAILQ_REMOVE(&d->newborn, a, link);
		count++;
		claim_ready(d, a);
	}
	score_add(d->engine->slot, SCORE_tasks_claimed_total, count);
	if (note != NULL || !TAILQ_EMPTY(&d->unnamed))
		dispatch_wake(d);
}

void
adopt_ask(struct dispatch *d)
{
	struct claim_note *note = TAILQ_FIRST(&d->in_doubt);

	if (note == NULL || d->claim_state != CLAIM_NONE)
		return;
	TAILQ_REMOVE(&d->in_doubt, note, link);
	d->claim = note->claim;
	d->claim_direct = false;
	d->claim_gates = false;
	d->claim_state = CLAIM_LOST; /* claim.c does the rest */
	mem_free(note);
}
