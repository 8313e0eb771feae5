/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * claim.c - from popped ids to started attempts.
 *
 * Nothing read from Redis is believed before the claim; no attempt starts before its
 * claim is committed.
 *
 * One claim is under way at a time, numbered by this worker: the number is part of the
 * owner, so that no two claims ever share a fence.  A claim whose answer was lost is
 * asked again by its number; until then nothing else is said for its ids.  What comes
 * back cannot be running here, since nothing of that batch was ever started.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/dispatch_int.h"
#include "model/backoff.h"
#include "model/trace.h"
#include "store/endpoints.h"

#define CLAIM_ROWS    512
#define DIRECT_MIN_MS 20
#define DIRECT_MAX_MS 100
#define DUE_AGAIN_MS  1000 /* between looks for what endpoints run */
#define DUE_BUSY_MS   10
#define DUE_REST      10 /* times as long as a look took is its pause, at least */

static void on_claimed(const struct pgrows *rows, const struct pgerr *pe, void *arg);

/* ids are sorted in every batch, and statements visit in that order: no deadlocks */
static size_t
gather(struct dispatch *d, struct attempt *batch[CLAIM_ROWS])
{
	struct attempt *a;
	size_t count = 0;

	while (count < CLAIM_ROWS && (a = TAILQ_FIRST(&d->popped)) != NULL) {
		TAILQ_REMOVE(&d->popped, a, link);
		TAILQ_INSERT_TAIL(&d->claiming, a, link);
		a->state = ATTEMPT_CLAIMING;
		batch[count++] = a;
	}
	qsort(batch, count, sizeof(batch[0]), attempt_by_key);
	return count;
}

static void
fill_claim(struct dispatch *d, struct attempt *const batch[], size_t count)
{
	struct pgparam *p = &d->params;

	pgparam_reset(p);
	pgparam_uuid(p, &d->engine->owner);
	pgparam_int4(p, d->claim);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < count; i++)
		pgparam_elem_int4(p, batch[i]->elem.app_id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_UUID);
	for (size_t i = 0; i < count; i++)
		pgparam_elem_uuid(p, &batch[i]->elem.id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < count; i++)
		pgparam_elem_int4(p, batch[i]->elem.type_id);
	pgparam_array_end(p);
}

/* nothing happened: the ids wait for the next claim, or for others if there is none */
static void
unclaim(struct dispatch *d)
{
	struct attempt *a;

	while ((a = TAILQ_LAST(&d->claiming, attempts)) != NULL) {
		TAILQ_REMOVE(&d->claiming, a, link);
		TAILQ_INSERT_HEAD(&d->popped, a, link);
		a->state = ATTEMPT_POPPED;
	}
	d->claim_state = CLAIM_NONE;
	d->due |= d->claim_gates;
	if (d->stopped)
		dispatch_give_back_popped(d);
}

static void
send_claim(struct dispatch *d, const struct pgstmt *stmt)
{
	struct err err = ERR_INIT;

	d->claim_state = CLAIM_SENT;
	score_add(d->engine->slot, SCORE_batches_total, 1);
	if (store_exec(d->engine->store, STORE_WORK, stmt, &d->params, on_claimed, d,
		&err) != 0) {
		unclaim(d);
		dispatch_claim_later(d);
	}
}

void
claim_popped(struct dispatch *d)
{
	struct attempt *batch[CLAIM_ROWS];
	size_t count = gather(d, batch);

	d->claim = ++d->batches;
	d->claim_direct = d->claim_gates = false;
	fill_claim(d, batch, count);
	send_claim(d, &sql_claim);
}

/*
 * Free places by type, as the feeder would be told them.  Types share purses, so that
 * their places do not add up; a claim asks for one purse, and so never for more than
 * there is room for.
 */
static void
claim_purse(struct dispatch *d, int pool, int most)
{
	struct engine *e = d->engine;
	struct pgparam *p = &d->params;
	struct type_entry *t;
	int places;

	if (most > CLAIM_ROWS)
		most = CLAIM_ROWS;
	d->claim = ++d->batches;
	d->claim_direct = true;
	d->claim_gates = false;
	pgparam_reset(p);
	pgparam_uuid(p, &e->owner);
	pgparam_int4(p, d->claim);
	pgparam_int4(p, (int32_t)e->settings->tasks_priority_aging_ms);
	pgparam_array(p, PGTYPE_INT4);
	for (t = types_next(e->types, NULL); t != NULL; t = types_next(e->types, t))
		pgparam_elem_int4(p, t->id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (t = types_next(e->types, NULL); t != NULL; t = types_next(e->types, t)) {
		places = t->kind == HANDLER_PULL ? 0 : types_free_places(e->types, t);
		if ((t->kind == HANDLER_EXEC) != d->commands || places < 0)
			places = 0;
		pgparam_elem_int4(p, places);
	}
	pgparam_array_end(p);
	pgparam_int4(p, most);
	pgparam_text(p, pool != POOL_MAIN ? pools_name(e->pools, pool) : NULL);
	send_claim(d, &sql_claim_direct);
}

/* the two purses in turn, while they have places, and each for the pools in turn */
void
claim_straight(struct dispatch *d)
{
	int turns = 2 * d->engine->served_count, most;

	for (int i = 0; i < turns; i++) {
		d->turn = (d->turn + 1) % turns;
		d->commands = d->turn % 2 != 0;
		most = d->commands ? types_free_commands(d->engine->types)
				   : dispatch_room(d);
		if (most > 0) {
			claim_purse(d, d->engine->served[d->turn / 2], most);
			return;
		}
	}
}

/*
 * Tasks of applications' http types are in no list: whoever has room takes them from
 * the tables.  A worker that heard of one looks for its application's; each second it
 * looks for all.
 */
void
claim_endpoints(struct dispatch *d)
{
	struct engine *e = d->engine;
	struct pgparam *p = &d->params;
	int64_t now_ms = loop_now_ms(e->loop);
	int most = types_free_gates(e->types);

	if (now_ms < d->due_after_ms || most <= 0 || dispatch_room(d) <= 0)
		return; /* due as it was: the timer, or an end, asks again */
	if (most > CLAIM_ROWS)
		most = CLAIM_ROWS;
	d->claim = ++d->batches;
	d->claim_direct = false;
	d->claim_gates = true;
	pgparam_reset(p);
	pgparam_uuid(p, &e->owner);
	pgparam_int4(p, d->claim);
	if (d->due_app != 0)
		pgparam_int4(p, d->due_app);
	else
		pgparam_null(p, PGTYPE_INT4);
	pgparam_int4(p, most);
	pgparam_int4(p, (int32_t)e->settings->egress_per_destination);
	gates_put_params(e->gates, p);
	d->due = false;
	d->due_sent_ms = now_ms;
	send_claim(d, &endpoints_claim);
}

void
claim_ask(struct dispatch *d)
{
	struct err err = ERR_INIT;

	pgparam_reset(&d->params);
	pgparam_uuid(&d->params, &d->engine->owner);
	pgparam_int4(&d->params, d->claim);
	d->claim_state = CLAIM_ASKING;
	if (store_exec(d->engine->store, STORE_WORK, &sql_claimed, &d->params,
		on_claimed, d, &err) != 0) {
		d->claim_state = CLAIM_LOST;
		dispatch_claim_later(d);
	}
}

/* ---------------------------------------------------------------- start */

void
claim_start(struct dispatch *d, struct attempt *a)
{
	struct engine *e = d->engine;
	const struct handler *h = &e->handlers[a->type->kind];
	struct err err = ERR_INIT;
	int place;

	if (d->stopped || e->ending) {
		/* claimed while the worker began to leave: others shall run it */
		a->state = ATTEMPT_RUNNING;
		attempt_failed(a, OUTCOME_BACK, "", "", 0, -1);
		return;
	}
	a->state = ATTEMPT_RUNNING;
	a->started_ms = loop_now_ms(e->loop);
	if (a->cancelled) { /* while it waited for its queue's name */
		attempt_failed(a, OUTCOME_CANCELLED, "cancelled", "", 0, -1);
		return;
	}
	a->queue_name = names_queue(e->names, a->queue_id);
	score_set(e->slot, SCORE_tasks_running, (uint64_t)types_running(e->types));
	if (e->spans != NULL && a->trace != NULL)
		a->span_us = clock_wall_us();
	place = crash_hold(&a->elem.id, a->number, a->elem.app_id);
	a->crash = place;
	crash_at(place);
	/* (it may have ended, and be another's, when start comes back) */
	if (h->ops->start(h->self, a, &err) != 0)
		attempt_failed(
		    a, OUTCOME_RETRY, "start_failed", err.text, strlen(err.text), -1);
	crash_at(CRASH_NONE);
}

void
claim_ready(struct dispatch *d, struct attempt *a)
{
	if (names_queue(d->engine->names, a->queue_id) != NULL)
		claim_start(d, a);
	else
		TAILQ_INSERT_TAIL(&d->unnamed, a, link);
}

static void
on_named(const struct err *err, void *arg)
{
	struct dispatch *d = arg;
	struct attempts ready = TAILQ_HEAD_INITIALIZER(ready);
	struct attempt *a;

	/* those that came meanwhile were not in the question: its answer says nothing
	 * of them */
	TAILQ_CONCAT(&ready, &d->naming, link);
	while ((a = TAILQ_FIRST(&ready)) != NULL) {
		TAILQ_REMOVE(&ready, a, link);
		if (names_queue(d->engine->names, a->queue_id) != NULL) {
			claim_start(d, a);
		} else if (err == NULL) {
			/* the queue's row is gone: its application was removed */
			a->state = ATTEMPT_RUNNING;
			attempt_failed(a, OUTCOME_FAILED, "queue_gone",
			    "the task's queue is gone", 24, -1);
		} else {
			TAILQ_INSERT_TAIL(&d->unnamed, a, link);
		}
	}
	if (!TAILQ_EMPTY(&d->unnamed))
		loop_timer_start_ms(d->timer, err != NULL ? DISPATCH_RETRY_MS : 0);
}

void
claim_ask_names(struct dispatch *d)
{
	struct attempt *a;
	int ids[CLAIM_ROWS];
	size_t count = 0;

	while (count < COUNT_OF(ids) && (a = TAILQ_FIRST(&d->unnamed)) != NULL) {
		TAILQ_REMOVE(&d->unnamed, a, link);
		TAILQ_INSERT_TAIL(&d->naming, a, link);
		ids[count++] = a->queue_id;
	}
	if (names_learn_queues(d->engine->names, ids, count, on_named, d, NULL) != 0) {
		TAILQ_CONCAT(&d->unnamed, &d->naming, link);
		loop_timer_start_ms(d->timer, DISPATCH_RETRY_MS);
	}
}

/* the task's own rule; a row that was written by other hands may hold anything */
static int
take_backoff(struct attempt *a, const struct pgrows *rows, int row)
{
	struct err err = ERR_INIT;
	const char *text;
	size_t len;

	text = pgrows_text(rows, row, 9, &len);
	a->backoff = mem_zero(sizeof(*a->backoff));
	if (a->backoff == NULL)
		return -1;
	if (backoff_parse_json(text, len, a->backoff, &err) != 0) {
		char id[UUID_TEXT_SIZE];

		log_warn(NULL, "a task's backoff cannot be read: its type's counts",
		    "task=%s reason=\"%.200s\"", uuid_format(&a->elem.id, id),
		    err.text);
		mem_free(a->backoff);
		a->backoff = NULL;
	}
	return 0;
}

/* a row that was written by other hands may hold anything here too */
static int
take_trace(struct attempt *a, const struct pgrows *rows, int row)
{
	size_t len;
	const char *text = pgrows_text(rows, row, 11, &len);

	if (!trace_check(text, len))
		return 0;
	a->trace = mem_dup(text, len);
	return a->trace != NULL ? 0 : -1;
}

/* PostgreSQL's time, as this node's clock would have shown it */
static int64_t
on_this_clock(struct engine *e, int64_t us)
{
	return us - (engine_now_us(e) - clock_wall_us());
}

/* ours from now on; 0, or -1 when there is no memory for it */
static int
take_row(struct dispatch *d, struct attempt *a, const struct pgrows *rows, int row,
    struct claim_note *note)
{
	const char *payload;

	if (!pgrows_is_null(rows, row, 8)) {
		payload = pgrows_text(rows, row, 8, &a->payload_len);
		a->payload = mem_dup(payload, a->payload_len);
		if (a->payload == NULL)
			return -1;
	}
	if (!pgrows_is_null(rows, row, 9) && take_backoff(a, rows, row) != 0)
		return -1;
	if (!pgrows_is_null(rows, row, 10))
		a->deadline_us = pgrows_time_us(rows, row, 10);
	if (!pgrows_is_null(rows, row, 11) && take_trace(a, rows, row) != 0)
		return -1;
	if (d->engine->spans != NULL && a->trace != NULL)
		a->due_us = on_this_clock(d->engine, pgrows_time_us(rows, row, 12));
	a->number = (int)pgrows_int(rows, row, 2);
	a->claim = d->claim;
	a->queue_id = (int)pgrows_int(rows, row, 4);
	a->failures = (int)pgrows_int(rows, row, 5);
	a->max_attempts = (int)pgrows_int(rows, row, 6);
	a->timeout_ms = pgrows_int(rows, row, 7);
	a->state = ATTEMPT_CLAIMED;
	a->note = note;
	note->left++;
	return 0;
}

/* its type, of an attempt that is not here yet */
static struct type_entry *
type_for(struct dispatch *d, const struct pgrows *rows, int row)
{
	int app_id = (int)pgrows_int(rows, row, 0),
	    type_id = (int)pgrows_int(rows, row, 3);

	if (!d->claim_gates)
		return types_by_id(d->engine->types, type_id);
	/* (one that was asked for again has no more than a claim's columns) */
	return d->claim_asked ? gates_type(d->engine->gates, app_id, type_id)
			      : gates_learn(d->engine->gates, rows, row);
}

/* the attempt that a row of the answer belongs to; direct claims make it now */
static struct attempt *
attempt_for(struct dispatch *d, const struct pgrows *rows, int row)
{
	struct engine *e = d->engine;
	struct type_entry *t;
	struct attempt *a;
	struct elem el;

	el.list = LIST_MAIN; /* it is in none */
	el.app_id = (int)pgrows_int(rows, row, 0);
	pgrows_uuid(rows, row, 1, &el.id);
	el.type_id = (int)pgrows_int(rows, row, 3);
	a = dispatch_find(d, &el.id);
	if (a != NULL) {
		if (a->state == ATTEMPT_CLAIMING) {
			TAILQ_REMOVE(&d->claiming, a, link);
			return a;
		}
		if (a->state != ATTEMPT_POPPED)
			return NULL; /* cannot be; the audit gives it back */
		TAILQ_REMOVE(&d->popped, a, link);
		return a;
	}
	t = type_for(d, rows, row);
	if (t == NULL || !types_take_place(e->types, t))
		return NULL;
	a = attempt_hold(d, &el, t);
	if (a == NULL)
		types_put_place(e->types, t);
	return a;
}

static void
return_row(struct dispatch *d, const struct pgrows *rows, int row)
{
	struct elem el;

	el.list = LIST_MAIN; /* it is in none */
	el.app_id = (int)pgrows_int(rows, row, 0);
	pgrows_uuid(rows, row, 1, &el.id);
	el.type_id = (int)pgrows_int(rows, row, 3);
	dispatch_ghost(d, &el, (int)pgrows_int(rows, row, 2), d->claim);
}

/* no task, but a word of claim_endpoints */
static bool
is_busy(const struct pgrows *rows)
{
	return pgrows_count(rows) == 1 && pgrows_int(rows, 0, 0) == 0;
}

/* what a look for endpoints brought: more may be there, or another worker is at it */
static void
note_due(struct dispatch *d, const struct pgrows *rows)
{
	int64_t now_ms = loop_now_ms(d->engine->loop), wait_ms = DUE_AGAIN_MS, took_ms;

	d->due_after_ms = 0;
	if (is_busy(rows)) {
		wait_ms = DUE_BUSY_MS + (int64_t)random_below(DUE_BUSY_MS);
		d->due_after_ms = now_ms + wait_ms;
		d->due = true;
	} else if (pgrows_count(rows) > 0) {
		dispatch_endpoints_due(d, 0);
	} else {
		took_ms = now_ms - d->due_sent_ms;
		if (DUE_REST * took_ms > wait_ms)
			wait_ms = DUE_REST * took_ms;
	}
	if (!d->stopped)
		loop_timer_start_ms(d->due_timer, wait_ms);
}

static void
take_rows(struct dispatch *d, const struct pgrows *rows)
{
	struct claim_note *note = mem_zero(sizeof(*note));
	struct attempts ready = TAILQ_HEAD_INITIALIZER(ready);
	struct attempt *a;
	int count = pgrows_count(rows);

	if (note == NULL)
		return; /* the audit gives all of it back */
	note->claim = d->claim;
	note->left = 1; /* held until the loop is done */
	if (is_busy(rows))
		count = 0;
	for (int i = 0; i < count; i++) {
		a = attempt_for(d, rows, i);
		if (a != NULL && take_row(d, a, rows, i, note) == 0) {
			TAILQ_INSERT_TAIL(
			    suspect_may_be(a) ? &d->doubtful : &ready, a, link);
			continue;
		}
		/* it is ours and cannot run here: others need not wait for the audit */
		if (a != NULL)
			dispatch_release(d, a);
		return_row(d, rows, i);
	}
	if (--note->left == 0)
		mem_free(note);
	score_add(d->engine->slot, SCORE_tasks_claimed_total, (uint64_t)count);
	while ((a = TAILQ_FIRST(&ready)) != NULL) {
		TAILQ_REMOVE(&ready, a, link);
		claim_ready(d, a);
	}
}

/* what the claim did not return: duplicates, strangers, or not for here */
static void
drop_unclaimed(struct dispatch *d)
{
	struct attempt *a;

	while ((a = TAILQ_FIRST(&d->claiming)) != NULL) {
		TAILQ_REMOVE(&d->claiming, a, link);
		score_add(d->engine->slot, SCORE_ids_dropped_total, 1);
		dispatch_release(d, a);
	}
}

static void
on_claimed(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct dispatch *d = arg;
	bool asked = d->claim_state == CLAIM_ASKING;

	if (pe == NULL) {
		d->claim_state = CLAIM_NONE;
		d->claim_asked = asked;
		take_rows(d, rows);
		drop_unclaimed(d);
		if (d->claim_gates)
			note_due(d, rows);
		d->empty_claims = pgrows_count(rows) == 0 ? d->empty_claims + 1 : 0;
		/* both purses have been asked for, if there are two, from all pools */
		if (d->claim_direct && d->empty_claims >= 2 * d->engine->served_count)
			dispatch_pause_ms(d,
			    DIRECT_MIN_MS +
				(int64_t)random_below(DIRECT_MAX_MS - DIRECT_MIN_MS));
	} else if (pe->class == PGERR_LOST || asked) {
		d->claim_state = CLAIM_LOST;
		dispatch_claim_later(d);
	} else {
		if (pe->class != PGERR_RETRY)
			log_warn(NULL, "a claim failed",
			    "class=%s sqlstate=%s reason=\"%.200s\"",
			    pgerr_class_name(pe->class), pe->sqlstate, pe->text);
		unclaim(d);
		if (pe->class == PGERR_DATA || pe->class == PGERR_BUG ||
		    pe->class == PGERR_SCHEMA) {
			/* would fail again: the feeder brings the ids back, if they are
			 * any good */
			struct attempt *a;

			while ((a = TAILQ_FIRST(&d->popped)) != NULL) {
				TAILQ_REMOVE(&d->popped, a, link);
				dispatch_release(d, a);
			}
		}
		if (pe->class != PGERR_RETRY)
			dispatch_claim_later(d);
	}
	dispatch_wake(d);
	engine_check_drained(d->engine);
}
