/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dispatch.c - from an id in Redis to a running attempt.
 *
 * An attempt begins as a popped id (POPPED), takes a place of its type, goes out in the
 * next claim (CLAIMING), and is ours when the claim's answer says so (CLAIMED); then
 * its handler has it (RUNNING) until it has an outcome (ENDED, RECORDING: finish.c). No
 * slot, no pop; nothing read from Redis is believed before the claim; no attempt starts
 * before its claim is committed.
 *
 * One claim is under way at a time, numbered by this worker: the number is part of the
 * owner, so that no two claims ever share a fence.  A claim whose answer was lost is
 * asked again by its number; until then nothing else is said for its ids.  What comes
 * back cannot be running here, since nothing of that batch was ever started.
 *
 * Without Redis (or when it refuses pops) the worker claims straight from PostgreSQL.
 *
 * Every id held here is in one map, so that an id popped twice is seen at once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"

#define CLAIM_ROWS	512
#define RETRY_MS	200
#define FIRST_MORE	4
#define DIRECT_MIN_MS	20
#define DIRECT_MAX_MS	100
#define DIRECT_AFTER_MS 300
#define BOUNCE_MAX_MS	50
#define REFUSED_MS	2000

enum claim_state {
	CLAIM_NONE = 0,
	CLAIM_SENT,
	CLAIM_LOST,   /* the answer is lost; waits for the connection to ask */
	CLAIM_ASKING, /* asked again */
};

/* a batch that took something: its row in shoal.claim goes when its last attempt goes
 */
struct claim_note {
	TAILQ_ENTRY(claim_note) link;
	int claim;
	int left;
};

TAILQ_HEAD(attempts, attempt);
TAILQ_HEAD(claim_notes, claim_note);

struct dispatch {
	struct engine *engine;
	struct hmap *held; /* every attempt but ghosts, by task id */
	struct attempts popped;
	struct attempts claiming;
	struct attempts unnamed; /* CLAIMED, their queue's name is not known */
	struct attempts naming;	 /* the same, and the question is under way */
	struct attempts spare;	 /* free list */
	size_t spare_count;
	struct claim_notes ended; /* batches that ended without a finish */
	enum claim_state claim_state;
	bool claim_direct; /* the claim under way was a direct one */
	bool commands;	   /* which purse the latest direct claim was for */
	int empty_claims;  /* direct ones in a row that brought nothing */
	int claim;	   /* number of the latest batch */
	int ghosts;
	bool stopped;
	bool polling; /* the last look at the list found more */
	int bounces;  /* ids given back in a row */
	int64_t left; /* in the list, when last told */
	struct loop_defer *defer;
	/* pauses: after bounces, failures, between direct claims */
	struct loop_timer *timer;
	struct loop_timer *direct_timer; /* redis has been away long enough */
	bool direct;			 /* claim from PostgreSQL */
	int64_t try_redis_ms;		 /* when pops were refused: not before this */
	int64_t pause_until_ms;		 /* no pop, no direct claim before this */
	int64_t claim_after_ms; /* no statement for a claim before this: one failed */
	struct pgparam params;
};

static void look(void *arg);
static void go_direct(void *arg);
static void on_claimed(const struct pgrows *rows, const struct pgerr *pe, void *arg);

struct dispatch *
dispatch_create(struct engine *e, struct err *err)
{
	struct dispatch *d = mem_zero(sizeof(*d));

	if (d == NULL)
		goto fail;
	d->engine = e;
	TAILQ_INIT(&d->popped);
	TAILQ_INIT(&d->claiming);
	TAILQ_INIT(&d->unnamed);
	TAILQ_INIT(&d->naming);
	TAILQ_INIT(&d->spare);
	TAILQ_INIT(&d->ended);
	pgparam_init(&d->params);
	d->held = hmap_create();
	d->defer = loop_defer_create(e->loop, look, d);
	d->timer = loop_timer_create(e->loop, look, d);
	d->direct_timer = loop_timer_create(e->loop, go_direct, d);
	if (d->held == NULL || d->defer == NULL || d->timer == NULL ||
	    d->direct_timer == NULL)
		goto fail;
	loop_timer_start_ms(d->direct_timer, DIRECT_AFTER_MS);
	return d;
fail:
	dispatch_free(d);
	err_set(err, ERR_NOMEM, "dispatch");
	return NULL;
}

static void
attempt_free(struct attempt *a)
{
	mem_free(a->payload);
	mem_free(a->result);
	mem_free(a->error_message);
	mem_free(a);
}

void
dispatch_free(struct dispatch *d)
{
	struct attempt *a;
	struct claim_note *note;
	size_t cursor = 0;

	if (d == NULL)
		return;
	while (d->held != NULL && (a = hmap_next(d->held, &cursor)) != NULL) {
		hmap_remove(d->held, a->elem.id.b, sizeof(a->elem.id.b));
		if (a->note != NULL && --a->note->left == 0)
			mem_free(a->note);
		attempt_free(a);
	}
	while ((a = TAILQ_FIRST(&d->spare)) != NULL) {
		TAILQ_REMOVE(&d->spare, a, link);
		mem_free(a);
	}
	while ((note = TAILQ_FIRST(&d->ended)) != NULL) {
		TAILQ_REMOVE(&d->ended, note, link);
		mem_free(note);
	}
	hmap_free(d->held);
	loop_defer_free(d->defer);
	loop_timer_free(d->timer);
	loop_timer_free(d->direct_timer);
	pgparam_fini(&d->params);
	mem_free(d);
}

/* ---------------------------------------------------------------- what is held */

static struct attempt *
hold(struct dispatch *d, const struct elem *el, struct type_entry *t)
{
	struct attempt *a = TAILQ_FIRST(&d->spare);

	if (a != NULL) {
		TAILQ_REMOVE(&d->spare, a, link);
		d->spare_count--;
		memset(a, 0, sizeof(*a));
	} else if ((a = mem_zero(sizeof(*a))) == NULL) {
		return NULL;
	}
	a->dispatch = d;
	a->elem = *el;
	a->type = t;
	if (hmap_put(d->held, a->elem.id.b, sizeof(a->elem.id.b), a, NULL) != 0) {
		mem_free(a);
		return NULL;
	}
	return a;
}

/* the end of an attempt's life here; its place is free again */
static void
let_go(struct dispatch *d, struct attempt *a)
{
	if (a->ghost) {
		d->ghosts--;
	} else {
		hmap_remove(d->held, a->elem.id.b, sizeof(a->elem.id.b));
		types_put_place(d->engine->types, a->type);
		score_set(d->engine->slot, SCORE_tasks_running,
		    (uint64_t)types_running(d->engine->types));
		if (a->type->metered) /* a place for another command */
			engine_places_changed(d->engine, true);
	}
	mem_free(a->payload);
	mem_free(a->result);
	mem_free(a->error_message);
	if (d->spare_count < 1024) {
		TAILQ_INSERT_HEAD(&d->spare, a, link);
		d->spare_count++;
	} else {
		mem_free(a);
	}
}

struct attempt *
dispatch_find(struct dispatch *d, const struct uuid *id)
{
	return hmap_get(d->held, id->b, sizeof(id->b));
}

struct attempt *
dispatch_next(struct dispatch *d, size_t *cursor)
{
	return hmap_next(d->held, cursor);
}

bool
dispatch_leave_claim(struct attempt *a, int *claim)
{
	struct claim_note *note = a->note;

	if (note == NULL)
		return false;
	a->note = NULL;
	if (--note->left > 0)
		return false;
	*claim = note->claim;
	mem_free(note);
	return true;
}

bool
dispatch_ended_claim(struct dispatch *d, int *claim)
{
	struct claim_note *note = TAILQ_FIRST(&d->ended);

	if (note == NULL)
		return false;
	TAILQ_REMOVE(&d->ended, note, link);
	*claim = note->claim;
	mem_free(note);
	return true;
}

void
dispatch_release(struct dispatch *d, struct attempt *a)
{
	struct claim_note *note = a->note;

	if (note != NULL && --note->left == 0)
		TAILQ_INSERT_TAIL(&d->ended, note, link);
	if (a->in_list)
		broker_ack(d->engine->broker, &a->elem);
	let_go(d, a);
	dispatch_wake(d);
	engine_check_drained(d->engine);
}

void
dispatch_ghost(struct dispatch *d, const struct elem *el, int number, int claim)
{
	struct attempt *a = mem_zero(sizeof(*a));

	if (a == NULL)
		return; /* the next audit sees it again */
	a->dispatch = d;
	a->elem = *el;
	a->number = number;
	a->claim = claim;
	a->ghost = true;
	a->state = ATTEMPT_ENDED;
	a->outcome = OUTCOME_BACK;
	d->ghosts++;
	finish_add(d->engine->finish, a);
}

int
dispatch_first_open_claim(const struct dispatch *d)
{
	return d->claim_state == CLAIM_NONE ? d->claim + 1 : d->claim;
}

bool
dispatch_idle(const struct dispatch *d)
{
	return hmap_count(d->held) == 0 && d->ghosts == 0 &&
	       d->claim_state == CLAIM_NONE;
}

void
dispatch_wake(struct dispatch *d)
{
	loop_defer_start(d->defer);
}

static void
pause_ms(struct dispatch *d, int64_t ms)
{
	d->pause_until_ms = loop_now_ms(d->engine->loop) + ms;
	loop_timer_start_ms(d->timer, ms);
}

/* the statement for a claim failed: no other for a moment */
static void
claim_later(struct dispatch *d)
{
	d->claim_after_ms = loop_now_ms(d->engine->loop) + RETRY_MS;
	loop_timer_start_ms(d->timer, RETRY_MS);
}

/* ---------------------------------------------------------------- popped ids */

/*
 * An id that this worker has no place for goes back.  The others that wait in a pop are
 * served before us then, so it finds a free one soon; pauses keep a list of nothing
 * else from spinning.
 */
static void
bounce(struct dispatch *d, const struct elem *el)
{
	int64_t ms = d->bounces < 6 ? 1LL << d->bounces : BOUNCE_MAX_MS;

	broker_give_back(d->engine->broker, el);
	d->bounces++;
	pause_ms(d, ms);
}

void
dispatch_popped(struct dispatch *d, const struct elem *el)
{
	struct engine *e = d->engine;
	struct type_entry *t = types_by_id(e->types, el->type_id);
	struct attempt *a = dispatch_find(d, &el->id);

	if (a != NULL) {
		/* a duplicate, or our own list read again after a reconnect */
		if (a->in_list) {
			broker_ack(e->broker, el);
			score_add(e->slot, SCORE_ids_dropped_total, 1);
		}
		a->in_list = true;
		return;
	}
	if (d->stopped || t == NULL || !store_is_up(e->store, STORE_WORK) ||
	    !types_take_place(e->types, t)) {
		bounce(d, el);
		return;
	}
	a = hold(d, el, t);
	if (a == NULL) {
		types_put_place(e->types, t);
		bounce(d, el);
		return;
	}
	a->in_list = true;
	d->bounces = 0;
	if (t->metered)
		engine_places_changed(e, false);
	TAILQ_INSERT_TAIL(&d->popped, a, link);
	dispatch_wake(d);
}

void
dispatch_wait_ended(struct dispatch *d)
{
	d->polling = !TAILQ_EMPTY(&d->popped);
	d->left = d->polling ? FIRST_MORE : 0;
	dispatch_wake(d);
}

void
dispatch_more_ended(struct dispatch *d, int got, int64_t left)
{
	(void)got;
	d->left = left;
	d->polling = left > 0;
	dispatch_wake(d);
}

/* all that is popped and not claimed goes back, for others to take */
static void
give_back_popped(struct dispatch *d)
{
	struct attempt *a;

	while ((a = TAILQ_FIRST(&d->popped)) != NULL) {
		TAILQ_REMOVE(&d->popped, a, link);
		if (a->in_list)
			broker_give_back(d->engine->broker, &a->elem);
		let_go(d, a);
	}
}

/* ---------------------------------------------------------------- claims */

static int
by_key(const void *x, const void *y)
{
	const struct attempt *a = *(struct attempt *const *)x,
			     *b = *(struct attempt *const *)y;

	if (a->elem.app_id != b->elem.app_id)
		return a->elem.app_id < b->elem.app_id ? -1 : 1;
	return uuid_cmp(&a->elem.id, &b->elem.id);
}

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
	qsort(batch, count, sizeof(batch[0]), by_key);
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
	if (d->stopped)
		give_back_popped(d);
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
		claim_later(d);
	}
}

static void
claim_popped(struct dispatch *d)
{
	struct attempt *batch[CLAIM_ROWS];
	size_t count = gather(d, batch);

	d->claim++;
	d->claim_direct = false;
	fill_claim(d, batch, count);
	send_claim(d, &sql_claim);
}

/*
 * Free places by type, as the feeder would be told them.  Types share purses, so that
 * their places do not add up; a claim asks for one purse, and so never for more than
 * there is room for.
 */
static void
claim_purse(struct dispatch *d, int most)
{
	struct engine *e = d->engine;
	struct pgparam *p = &d->params;
	struct type_entry *t;
	int places;

	if (most > CLAIM_ROWS)
		most = CLAIM_ROWS;
	d->claim++;
	d->claim_direct = true;
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
		places = types_free_places(e->types, t);
		if ((t->kind == HANDLER_EXEC) != d->commands || places < 0)
			places = 0;
		pgparam_elem_int4(p, places);
	}
	pgparam_array_end(p);
	pgparam_int4(p, most);
	send_claim(d, &sql_claim_direct);
}

/* the two purses in turn, while they have places */
static void
claim_straight(struct dispatch *d)
{
	int most;

	for (int i = 0; i < 2; i++) {
		d->commands = !d->commands;
		most = d->commands ? types_free_commands(d->engine->types)
				   : types_free_slots(d->engine->types);
		if (most > 0) {
			claim_purse(d, most);
			return;
		}
	}
}

static void
ask_claim(struct dispatch *d)
{
	struct err err = ERR_INIT;

	pgparam_reset(&d->params);
	pgparam_uuid(&d->params, &d->engine->owner);
	pgparam_int4(&d->params, d->claim);
	d->claim_state = CLAIM_ASKING;
	if (store_exec(d->engine->store, STORE_WORK, &sql_claimed, &d->params,
		on_claimed, d, &err) != 0) {
		d->claim_state = CLAIM_LOST;
		claim_later(d);
	}
}

/* ---------------------------------------------------------------- start */

static void
start(struct dispatch *d, struct attempt *a)
{
	struct engine *e = d->engine;
	const struct handler *h = &e->handlers[a->type->kind];
	struct err err = ERR_INIT;

	if (d->stopped || e->ending) {
		/* claimed while the worker began to leave: others shall run it */
		a->state = ATTEMPT_RUNNING;
		attempt_failed(a, OUTCOME_BACK, "drain", "", 0, -1);
		return;
	}
	a->state = ATTEMPT_RUNNING;
	a->started_ms = loop_now_ms(e->loop);
	a->queue_name = names_queue(e->names, a->queue_id);
	score_set(e->slot, SCORE_tasks_running, (uint64_t)types_running(e->types));
	if (h->ops->start(h->self, a, &err) != 0)
		attempt_failed(
		    a, OUTCOME_RETRY, "start_failed", err.text, strlen(err.text), -1);
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
			start(d, a);
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
		loop_timer_start_ms(d->timer, err != NULL ? RETRY_MS : 0);
}

static void
ask_names(struct dispatch *d)
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
		loop_timer_start_ms(d->timer, RETRY_MS);
	}
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

/* the attempt that a row of the answer belongs to; direct claims make it now */
static struct attempt *
attempt_for(struct dispatch *d, const struct pgrows *rows, int row)
{
	struct engine *e = d->engine;
	struct type_entry *t;
	struct attempt *a;
	struct elem el;

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
	t = types_by_id(e->types, el.type_id);
	if (t == NULL || !types_take_place(e->types, t))
		return NULL;
	a = hold(d, &el, t);
	if (a == NULL)
		types_put_place(e->types, t);
	return a;
}

static void
return_row(struct dispatch *d, const struct pgrows *rows, int row)
{
	struct elem el;

	el.app_id = (int)pgrows_int(rows, row, 0);
	pgrows_uuid(rows, row, 1, &el.id);
	el.type_id = (int)pgrows_int(rows, row, 3);
	dispatch_ghost(d, &el, (int)pgrows_int(rows, row, 2), d->claim);
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
	for (int i = 0; i < count; i++) {
		a = attempt_for(d, rows, i);
		if (a != NULL && take_row(d, a, rows, i, note) == 0) {
			TAILQ_INSERT_TAIL(&ready, a, link);
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
		if (names_queue(d->engine->names, a->queue_id) != NULL)
			start(d, a);
		else
			TAILQ_INSERT_TAIL(&d->unnamed, a, link);
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
		take_rows(d, rows);
		drop_unclaimed(d);
		d->empty_claims = pgrows_count(rows) == 0 ? d->empty_claims + 1 : 0;
		/* both purses have been asked for, if there are two */
		if (d->claim_direct && d->empty_claims >= 2)
			pause_ms(d, DIRECT_MIN_MS + (int64_t)random_below(
							DIRECT_MAX_MS - DIRECT_MIN_MS));
	} else if (pe->class == PGERR_LOST || asked) {
		d->claim_state = CLAIM_LOST;
		claim_later(d);
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
			claim_later(d);
	}
	dispatch_wake(d);
	engine_check_drained(d->engine);
}

/* ---------------------------------------------------------------- what to do next */

static void
pop(struct dispatch *d)
{
	struct engine *e = d->engine;
	int room = types_free_slots(e->types);
	int64_t share;

	if (room <= 0)
		return;
	if (d->polling) {
		share = (d->left + e->peers - 1) / e->peers;
		if (share > room)
			share = room;
		if (share > 256)
			share = 256;
		if (broker_pop_more(e->broker, share > 0 ? (int)share : 1, NULL) == 0)
			d->polling = false; /* until its answer says otherwise */
		return;
	}
	/* ERR_CONFLICT: one of the two is under way; its end wakes us */
	if (broker_is_idle(e->broker))
		(void)!broker_pop_wait(e->broker, NULL);
}

static void
look(void *arg)
{
	struct dispatch *d = arg;
	struct engine *e = d->engine;
	int64_t now_ms = loop_now_ms(e->loop), wait;
	bool may_claim = now_ms >= d->claim_after_ms;

	if (!e->serving || !store_is_up(e->store, STORE_WORK))
		return;
	if (!may_claim && !loop_timer_pending(d->timer))
		loop_timer_start_ms(d->timer, d->claim_after_ms - now_ms);
	if (d->claim_state == CLAIM_LOST && may_claim)
		ask_claim(d);
	if (!TAILQ_EMPTY(&d->unnamed) && TAILQ_EMPTY(&d->naming))
		ask_names(d);
	if (d->stopped ||
	    !may_claim) /* nor is anything popped that cannot be claimed */
		return;
	if (d->claim_state == CLAIM_NONE && !TAILQ_EMPTY(&d->popped))
		claim_popped(d);
	wait = d->pause_until_ms - now_ms;
	if (wait > 0) {
		if (!loop_timer_pending(d->timer))
			loop_timer_start_ms(d->timer, wait);
		return;
	}
	if (d->direct && broker_is_up(e->broker) && now_ms >= d->try_redis_ms)
		d->direct = false;
	if (d->direct) {
		if (d->claim_state == CLAIM_NONE)
			claim_straight(d);
	} else if (broker_is_up(e->broker)) {
		pop(d);
	}
}

static void
go_direct(void *arg)
{
	struct dispatch *d = arg;

	if (d->stopped || d->direct)
		return;
	d->direct = true;
	log_warn(
	    NULL, "tasks are claimed from the database alone until redis is back", " ");
	dispatch_wake(d);
}

void
dispatch_broker(struct dispatch *d, bool up)
{
	struct attempt *a;
	size_t cursor = 0;

	if (up) {
		loop_timer_stop(d->direct_timer);
		if (d->direct)
			log_info(NULL, "redis is back", " ");
		d->direct = false;
		d->pause_until_ms = 0;
		d->polling = true;
		d->left = FIRST_MORE;
	} else {
		/* another Redis may come: what lies in our list there is not known */
		while ((a = hmap_next(d->held, &cursor)) != NULL)
			a->in_list = false;
		d->polling = false;
		if (!d->stopped && !loop_timer_pending(d->direct_timer))
			loop_timer_start_ms(d->direct_timer, DIRECT_AFTER_MS);
	}
	dispatch_wake(d);
}

void
dispatch_refused(struct dispatch *d)
{
	/* redis lives and refuses pops (out of memory, a key of a wrong type) */
	d->try_redis_ms = loop_now_ms(d->engine->loop) + REFUSED_MS;
	go_direct(d);
}

void
dispatch_store(struct dispatch *d, bool up)
{
	if (up)
		d->claim_after_ms = 0; /* a new connection, a new chance */
	else
		give_back_popped(d); /* nobody here can claim them; others may */
	dispatch_wake(d);
}

/* ---------------------------------------------------------------- the end */

void
dispatch_stop(struct dispatch *d)
{
	if (d->stopped)
		return;
	d->stopped = true;
	loop_timer_stop(d->direct_timer);
	broker_stop_popping(d->engine->broker);
	give_back_popped(d);
	dispatch_wake(d);
}

static void
cancel(struct dispatch *d, struct attempt *a)
{
	const struct handler *h = &d->engine->handlers[a->type->kind];

	if (a->state == ATTEMPT_RUNNING)
		h->ops->cancel(h->self, a);
}

void
dispatch_give_up(struct dispatch *d)
{
	struct attempt *a;
	size_t cursor = 0;

	while ((a = hmap_next(d->held, &cursor)) != NULL) {
		a->giving_up = true;
		cancel(d, a);
	}
}

void
dispatch_lose(struct dispatch *d, struct attempt *a)
{
	if (a->lost)
		return;
	a->lost = true;
	score_add(d->engine->slot, SCORE_tasks_lost_total, 1);
	cancel(d, a);
}

/* ---------------------------------------------------------------- what handlers call
 */

const struct type_settings *
attempt_settings(const struct attempt *a)
{
	return a->type->settings;
}

const char *
attempt_type_name(const struct attempt *a)
{
	return a->type->name;
}

const struct uuid *
attempt_owner(const struct attempt *a)
{
	return &a->dispatch->engine->owner;
}

char *
attempt_fence(const struct attempt *a, char buf[FENCE_TEXT_SIZE])
{
	char owner[OWNER_TEXT_SIZE];

	snprintf(buf, FENCE_TEXT_SIZE, "%d-%s-%d", a->number,
	    owner_text(attempt_owner(a), owner), a->claim);
	return buf;
}

static void
ended(struct attempt *a)
{
	struct dispatch *d = a->dispatch;

	a->state = ATTEMPT_ENDED;
	score_set(d->engine->slot, SCORE_tasks_running,
	    (uint64_t)types_running(d->engine->types));
	if (a->lost) {
		dispatch_release(d, a);
		return;
	}
	if (a->giving_up && a->outcome != OUTCOME_SUCCEEDED)
		a->outcome = OUTCOME_BACK;
	finish_add(d->engine->finish, a);
}

void
attempt_succeeded(struct attempt *a, char *result, size_t len)
{
	a->outcome = OUTCOME_SUCCEEDED;
	a->result = result;
	a->result_len = len;
	ended(a);
}

void
attempt_failed(struct attempt *a, enum attempt_outcome outcome, const char *code,
    const char *message, size_t message_len, int64_t retry_ms)
{
	a->outcome = outcome;
	a->retry_ms = retry_ms;
	snprintf(a->error_code, sizeof(a->error_code), "%s", code);
	a->error_message =
	    mem_dup(message, message_len); /* without memory: the code alone */
	ended(a);
}
