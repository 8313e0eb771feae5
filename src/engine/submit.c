/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * submit.c - tasks into PostgreSQL, many callers in one statement; see submit.h.
 *
 * One statement is under way at a time; groups that come meanwhile wait and leave
 * together.  A batch that was idle starts at the end of the loop's turn, so that all
 * requests read in one turn share it.
 *
 * Callers that come back at once with their next task would be two parties under load,
 * of which one always waits for the other's commit: twice the statements with half the
 * rows.  So the next batch waits a moment for those who were just answered.
 *
 * While the connection is lost, callers wait for the next one for PATIENCE_MS; then
 * they, and who comes after them, are told to try again.  Only what was certainly not
 * executed is sent again.
 *
 * Commit first, push second.  The other way round a worker could pop an id whose row it
 * cannot see yet, call it unknown and drop it.  Whatever is lost between the two the
 * feeder finds.
 */
#include "engine/submit.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"

#define BATCH_ROWS  512
#define BATCH_BYTES (1024 * 1024)
#define ADOPT_LEAST 64 /* with fewer places a batch is not cut to them */
#define WAIT_ROWS   100000
#define WAIT_BYTES  (64 * 1024 * 1024)
#define TRIES	    3
/* a connection that was lost is mostly back within this: callers wait for it */
#define PATIENCE_MS 1000
/* under load: how long a batch waits for the callers of the one before */
#define HOLD_US	   700
#define HOLD_LEAST 8 /* load: so many rows in the two together */
/* how long a batch waits until what ran here is recorded, and it can be adopted */
#define STALL_US 10000
/* a queue that was found paused or limited is taken for it so long */
#define HELD_MS	  1000
#define HELD_MOST 16

TAILQ_HEAD(groups, submit_group);

struct batch {
	struct groups groups;
	size_t count; /* groups */
	size_t rows;
	int tries;
	int adopts;  /* the claim batch for what this worker runs itself; 0: nothing */
	bool traced; /* some of it has a trace */
};

struct submit {
	struct engine *engine;
	struct groups waiting;
	size_t waiting_rows, waiting_bytes;
	struct batch sent;  /* under way, when open */
	struct groups redo; /* halves of a batch that failed on data: before all else */
	size_t redo_most;   /* groups that the next batch from redo may have */
	bool open;
	bool down; /* the connection is lost, and not back yet */
	struct loop_defer *defer;
	struct loop_timer *patience; /* runs from the loss of the connection on */
	struct loop_timer *hold;     /* runs while a batch waits for more */
	size_t hold_rows;	     /* with so many it waits no longer */
	bool stalled;		     /* it waits for room to adopt it */
	bool measured;		     /* submit_measure */
	struct pgparam params;
	struct elem *pushes; /* room for one batch */
	size_t push_room;
	struct {
		int queue_id;
		int64_t until_ms;
	} held[HELD_MOST]; /* the latest ones that would not be adopted from */
	size_t held_next;
};

static void send_next(void *arg);
static void on_impatient(void *arg);

struct submit *
submit_create(struct engine *e, struct err *err)
{
	struct submit *s = mem_zero(sizeof(*s));

	if (s == NULL) {
		err_set(err, ERR_NOMEM, "submit");
		return NULL;
	}
	s->engine = e;
	TAILQ_INIT(&s->waiting);
	TAILQ_INIT(&s->redo);
	TAILQ_INIT(&s->sent.groups);
	pgparam_init(&s->params);
	s->defer = loop_defer_create(e->loop, send_next, s);
	s->patience = loop_timer_create(e->loop, on_impatient, s);
	s->hold = loop_timer_create(e->loop, send_next, s);
	if (s->defer == NULL || s->patience == NULL || s->hold == NULL) {
		submit_free(s);
		err_set(err, ERR_NOMEM, "submit");
		return NULL;
	}
	return s;
}

static void
tell(struct submit_group *g, const struct err *err)
{
	g->cb(g, err, g->arg);
}

static void
fail_all(struct groups *groups, const struct err *err)
{
	struct submit_group *g;

	while ((g = TAILQ_FIRST(groups)) != NULL) {
		TAILQ_REMOVE(groups, g, link);
		tell(g, err);
	}
}

void
submit_free(struct submit *s)
{
	struct err err = ERR_INIT;

	if (s == NULL)
		return;
	err_set(&err, ERR_TIMEOUT,
	    "the worker is leaving: the task may have been accepted");
	fail_all(&s->sent.groups, &err);
	err_set(&err, ERR_IO, "the worker is leaving: the task was not accepted");
	fail_all(&s->redo, &err);
	fail_all(&s->waiting, &err);
	loop_defer_free(s->defer);
	loop_timer_free(s->patience);
	loop_timer_free(s->hold);
	pgparam_fini(&s->params);
	mem_free(s->pushes);
	mem_free(s);
}

bool
submit_idle(const struct submit *s)
{
	return !s->open && TAILQ_EMPTY(&s->waiting) && TAILQ_EMPTY(&s->redo);
}

int
submit_add(struct submit *s, struct submit_group *g, struct err *err)
{
	int64_t now_ms = engine_now_us(s->engine) / 1000;

	if (!s->down && !store_is_up(s->engine->store, STORE_SUBMIT))
		submit_store(s, false); /* the news is on its way */
	if (!s->engine->registered || (s->down && !loop_timer_pending(s->patience)))
		return err_set(
		    err, ERR_IO, "the database is away; the task was not accepted");
	g->bytes = 0;
	for (size_t i = 0; i < g->count; i++) {
		uuid_v7(now_ms, &g->items[i].id);
		g->bytes += g->items[i].payload_len + g->items[i].metadata_len +
			    g->items[i].trace_len + 100;
	}
	if (s->waiting_rows + g->count > WAIT_ROWS ||
	    s->waiting_bytes + g->bytes > WAIT_BYTES)
		return err_set(
		    err, ERR_LIMIT, "too many submits wait for the database already");
	TAILQ_INSERT_TAIL(&s->waiting, g, link);
	s->waiting_rows += g->count;
	s->waiting_bytes += g->bytes;
	if (!s->open &&
	    (!loop_timer_pending(s->hold) || s->waiting_rows >= s->hold_rows))
		loop_defer_start(s->defer);
	return 0;
}

void
submit_store(struct submit *s, bool up)
{
	if (!up) {
		if (!s->down)
			loop_timer_start_ms(s->patience, PATIENCE_MS);
		s->down = true;
		return;
	}
	s->down = false;
	loop_timer_stop(s->patience);
	if (!s->open)
		loop_defer_start(s->defer);
}

static void
on_impatient(void *arg)
{
	struct submit *s = arg;
	struct groups all = TAILQ_HEAD_INITIALIZER(all);
	struct err err = ERR_INIT;

	err_set(&err, ERR_IO, "the database is away; the task was not accepted");
	TAILQ_CONCAT(&all, &s->redo, link);
	TAILQ_CONCAT(&all, &s->waiting, link);
	s->waiting_rows = s->waiting_bytes = 0;
	fail_all(&all, &err);
	engine_check_drained(s->engine);
}

/* ---------------------------------------------------------------- the batch */

/* its queue or type is paused or limited, as the caller knows or the database said */
static bool
is_held(const struct submit *s, const struct submit_item *it)
{
	int64_t now_ms = loop_now_ms(s->engine->loop);

	if (it->held != SUBMIT_FREE)
		return true;
	for (size_t i = 0; i < HELD_MOST; i++) {
		if (s->held[i].queue_id == it->queue_id)
			return now_ms < s->held[i].until_ms;
	}
	return false;
}

/* it would start here at once, were there a place */
static bool
is_adoptable(const struct submit *s, const struct submit_item *it)
{
	const struct type_entry *t = types_by_id(s->engine->types, it->type_id);

	return t != NULL && !t->metered && !t->limited && it->run_at_us == 0 &&
	       it->delay_ms == 0 && !is_held(s, it);
}

/*
 * Rows that the next batch may have.  While tasks are adopted, what has no place here
 * would have to be pushed, popped and claimed, and nothing after it could be adopted
 * before the list is short again: it waits for the next batch, when places are free.
 */
static size_t
most_rows(const struct submit *s, const struct submit_item *first)
{
	struct dispatch *d = s->engine->dispatch;
	int pool = names_pool(s->engine->names, first->queue_id);
	int places = is_adoptable(s, first) && adopt_may(d, pool) ? adopt_room(d) : 0;

	return places >= ADOPT_LEAST && places < BATCH_ROWS ? (size_t)places
							    : BATCH_ROWS;
}

/* moves what fits from a line into the batch; a group that is too large goes alone */
static void
gather(struct submit *s, struct groups *from, size_t most)
{
	struct batch *b = &s->sent;
	struct submit_group *g;
	size_t bytes = 0, rows = most_rows(s, TAILQ_FIRST(from)->items);

	b->count = 0;
	b->rows = 0;
	b->tries = 0;
	while ((g = TAILQ_FIRST(from)) != NULL && b->count < most) {
		if (b->count > 0 &&
		    (b->rows + g->count > rows || bytes + g->bytes > BATCH_BYTES))
			break;
		TAILQ_REMOVE(from, g, link);
		TAILQ_INSERT_TAIL(&b->groups, g, link);
		b->count++;
		b->rows += g->count;
		bytes += g->bytes;
		if (from == &s->waiting) {
			s->waiting_rows -= g->count;
			s->waiting_bytes -= g->bytes;
		}
	}
}

#define EACH(s, g, it)                                                                 \
	TAILQ_FOREACH ((g), &(s)->sent.groups, link)                                   \
		for (struct submit_item *it = (g)->items;                              \
		     it < (g)->items + (g)->count; it++)

/* one array: put says what each item gives to it */
#define COLUMN(s, type, put)                                                           \
	do {                                                                           \
		pgparam_array(&(s)->params, type);                                     \
		EACH(s, g, it)                                                         \
		put(&(s)->params, s, g, it);                                           \
		pgparam_array_end(&(s)->params);                                       \
	} while (0)

#define PUT_ID(p, s, g, it)	      pgparam_elem_uuid(p, &(it)->id)
#define PUT_APP(p, s, g, it)	      pgparam_elem_int4(p, (g)->app_id)
#define PUT_QUEUE(p, s, g, it)	      pgparam_elem_int4(p, (it)->queue_id)
#define PUT_TYPE(p, s, g, it)	      pgparam_elem_int4(p, (it)->type_id)
#define PUT_PRIORITY(p, s, g, it)     pgparam_elem_int2(p, (it)->priority)
#define PUT_MAX_ATTEMPTS(p, s, g, it) pgparam_elem_int2(p, (it)->max_attempts)
#define PUT_TIMEOUT(p, s, g, it)                                                       \
	((it)->timeout_ms > 0 ? pgparam_elem_int4(p, (it)->timeout_ms)                 \
			      : pgparam_elem_null(p))
#define PUT_RUN_AT(p, s, g, it)                                                        \
	((it)->run_at_us > 0 ? pgparam_elem_int8(p, (it)->run_at_us)                   \
			     : pgparam_elem_null(p))
#define PUT_DELAY(p, s, g, it)                                                         \
	((it)->delay_ms > 0 ? pgparam_elem_int8(p, (it)->delay_ms)                     \
			    : pgparam_elem_null(p))
#define PUT_WAITER(p, s, g, it)                                                        \
	((it)->wait ? pgparam_elem_uuid(p, &(s)->engine->owner) : pgparam_elem_null(p))
#define PUT_ADOPT(p, s, g, it) pgparam_elem_bool(p, (it)->place != NULL)
#define PUT_PAYLOAD(p, s, g, it)                                                       \
	((it)->payload != NULL                                                         \
		? pgparam_elem_text(p, (it)->payload, (it)->payload_len)               \
		: pgparam_elem_null(p))
#define PUT_METADATA(p, s, g, it)                                                      \
	((it)->metadata != NULL                                                        \
		? pgparam_elem_text(p, (it)->metadata, (it)->metadata_len)             \
		: pgparam_elem_null(p))

#define PUT_TRACE(p, s, g, it)                                                         \
	((it)->trace != NULL ? pgparam_elem_text(p, (it)->trace, (it)->trace_len)      \
			     : pgparam_elem_null(p))

/* the parameters of the statement that send_batch sends, in their order */
static void
fill_params(struct submit *s)
{
	struct submit_group *g;

	pgparam_reset(&s->params);
	COLUMN(s, PGTYPE_UUID, PUT_ID);
	COLUMN(s, PGTYPE_INT4, PUT_APP);
	COLUMN(s, PGTYPE_INT4, PUT_QUEUE);
	COLUMN(s, PGTYPE_INT4, PUT_TYPE);
	COLUMN(s, PGTYPE_INT2, PUT_PRIORITY);
	COLUMN(s, PGTYPE_INT2, PUT_MAX_ATTEMPTS);
	COLUMN(s, PGTYPE_INT4, PUT_TIMEOUT);
	COLUMN(s, PGTYPE_INT8, PUT_RUN_AT);
	COLUMN(s, PGTYPE_INT8, PUT_DELAY);
	COLUMN(s, PGTYPE_UUID, PUT_WAITER);
	COLUMN(s, PGTYPE_TEXT, PUT_PAYLOAD);
	COLUMN(s, PGTYPE_TEXT, PUT_METADATA);
	pgparam_int4(&s->params, (int32_t)s->engine->settings->tasks_priority_aging_ms);
	if (s->sent.adopts != 0) {
		pgparam_uuid(&s->params, &s->engine->owner);
		pgparam_int4(&s->params, s->sent.adopts);
		COLUMN(s, PGTYPE_BOOL, PUT_ADOPT);
	}
	if (s->sent.traced)
		COLUMN(s, PGTYPE_TEXT, PUT_TRACE);
}

/* which of the batch would start here at once: each gets a place; and whether any has a
 * trace, for which there are statements of their own */
static void
adopt(struct submit *s)
{
	struct dispatch *d = s->engine->dispatch;
	int pool = POOL_MAIN, its;
	bool may = adopt_may(d, pool), any = false, traced = false;
	struct submit_group *g;

	EACH(s, g, it)
	{
		its = names_pool(s->engine->names, it->queue_id);
		if (its != pool) {
			pool = its;
			may = adopt_may(d, pool);
		}
		it->place =
		    may && is_adoptable(s, it) ? adopt_place(d, it->type_id) : NULL;
		any |= it->place != NULL;
		traced |= it->trace != NULL;
	}
	s->sent.adopts = any ? adopt_begin(d) : 0;
	s->sent.traced = traced;
}

/* the batch has ended, and what it did not bring needs no place */
static void
adopted(struct submit *s, bool lost)
{
	struct submit_group *g;

	if (s->sent.adopts == 0)
		return;
	s->sent.adopts = 0;
	EACH(s, g, it)
	{
		if (it->place != NULL)
			types_put_place(s->engine->types, it->place);
		it->place = NULL;
	}
	adopt_end(s->engine->dispatch, lost);
}

/* nothing happened: first in line for the next connection, or until patience ends */
static void
put_back(struct submit *s)
{
	struct submit_group *g;

	s->open = false;
	TAILQ_FOREACH (g, &s->sent.groups, link) {
		s->waiting_rows += g->count;
		s->waiting_bytes += g->bytes;
	}
	TAILQ_CONCAT(&s->sent.groups, &s->waiting, link);
	TAILQ_CONCAT(&s->waiting, &s->sent.groups, link);
	if (!s->down)
		submit_store(s, false);
}

static void on_inserted(const struct pgrows *rows, const struct pgerr *pe, void *arg);

static const struct pgstmt *
statement(const struct batch *b)
{
	if (b->traced)
		return b->adopts != 0 ? &sql_submit_adopt_traced : &sql_submit_traced;
	return b->adopts != 0 ? &sql_submit_adopt : &sql_submit;
}

void
submit_measure(struct submit *s)
{
	s->measured = true;
}

static void
note_sent(struct submit *s)
{
	int64_t now_us = clock_mono_us();
	struct submit_group *g;

	TAILQ_FOREACH (g, &s->sent.groups, link)
		g->sent_us = now_us;
}

static void
send_batch(struct submit *s)
{
	struct err err = ERR_INIT;

	s->sent.tries++;
	if (s->measured)
		note_sent(s);
	adopt(s);
	fill_params(s);
	s->open = true;
	score_add(s->engine->slot, SCORE_batches_total, 1);
	if (store_exec(s->engine->store, STORE_SUBMIT, statement(&s->sent), &s->params,
		on_inserted, s, &err) == 0)
		return;
	adopted(s, false);
	if (!store_is_up(s->engine->store, STORE_SUBMIT)) {
		put_back(s);
		return;
	}
	s->open = false; /* no memory for so large a statement */
	err.code = ERR_IO;
	err_wrap(&err, "not accepted");
	fail_all(&s->sent.groups, &err);
	loop_defer_start(s->defer); /* the rest must not wait for another caller */
}

static void
send_next(void *arg)
{
	struct submit *s = arg;
	const struct submit_group *first;

	if (s->open || !store_is_up(s->engine->store, STORE_SUBMIT))
		return;
	loop_timer_stop(s->hold);
	first = TAILQ_FIRST(&s->waiting);
	if (!s->stalled && TAILQ_EMPTY(&s->redo) && first != NULL &&
	    is_adoptable(s, first->items) &&
	    adopt_soon(s->engine->dispatch,
		names_pool(s->engine->names, first->items->queue_id))) {
		s->stalled = true;
		s->hold_rows = SIZE_MAX;
		loop_timer_start_us(s->hold, STALL_US);
		return;
	}
	s->stalled = false;
	if (!TAILQ_EMPTY(&s->redo))
		gather(s, &s->redo, s->redo_most);
	else if (!TAILQ_EMPTY(&s->waiting))
		gather(s, &s->waiting, SIZE_MAX);
	else
		return;
	send_batch(s);
}

void
submit_room(struct submit *s)
{
	if (s->stalled && adopt_room(s->engine->dispatch) >= ADOPT_LEAST)
		loop_defer_start(s->defer);
}

/* ---------------------------------------------------------------- after the commit */

static bool
room_for(struct submit *s, size_t rows)
{
	struct elem *more;

	if (rows <= s->push_room)
		return true;
	more = mem_resize(s->pushes, rows, sizeof(*more));
	if (more == NULL)
		return false;
	s->pushes = more;
	s->push_room = rows;
	return true;
}

static void
note_held(struct submit *s, int queue_id)
{
	size_t i = 0;

	while (i < HELD_MOST && s->held[i].queue_id != queue_id)
		i++;
	if (i == HELD_MOST)
		i = s->held_next++ % HELD_MOST;
	s->held[i].queue_id = queue_id;
	s->held[i].until_ms = loop_now_ms(s->engine->loop) + HELD_MS;
}

/* the list that it belongs to; what comes due later is the first list's */
static void
hint(struct engine *e, const struct submit_item *it, const struct type_entry *t,
    int pool)
{
	if (pool < 0 || t == NULL)
		engine_hint(e);
	else if (it->scheduled)
		engine_hint_list(e, LIST_MAIN);
	else
		engine_hint_list(e, list_of(pool, t->kind == HANDLER_EXEC));
}

/*
 * Ids go straight to the list where that cannot disturb an order: no backlog, and a
 * type that every free slot can run.  For all others the feeder is asked.  Those of a
 * limited queue or type would be refused by the claim most of the time: the feeder
 * knows how much room there is.  Of a paused queue it finds them when it is resumed.
 */
static void
push_batch(struct submit *s)
{
	struct engine *e = s->engine;
	bool room = broker_is_up(e->broker) && room_for(s, s->sent.rows);
	int pool = POOL_MAIN, its;
	bool direct = room && !engine_is_spilling(e, pool);
	struct submit_group *g;
	size_t count = 0;

	EACH(s, g, it)
	{
		const struct type_entry *t = types_by_id(e->types, it->type_id);

		if (it->place != NULL || (!it->scheduled && it->held == SUBMIT_PAUSED))
			continue; /* it runs here, or not now */
		if (t == NULL && !it->scheduled &&
		    registry_is_pull(e->registry, g->app_id, it->type_id)) {
			leases_hint(e->leases, g->app_id, it->queue_id);
			continue; /* no worker of ours runs it */
		}
		its = names_pool(e->names, it->queue_id);
		if (t == NULL && !it->scheduled &&
		    registry_is_http(e->registry, g->app_id, it->type_id)) {
			engine_endpoints_due(e, g->app_id, its);
			continue; /* in no list */
		}
		if (its != pool) {
			pool = its;
			direct = room && pool >= 0 && !engine_is_spilling(e, pool);
		}
		if (it->scheduled || !direct || t == NULL || t->metered || t->limited ||
		    is_held(s, it))
			hint(e, it, t, pool);
		else
			s->pushes[count++] = (struct elem){
			    it->id, g->app_id, it->type_id, list_of(pool, false)};
	}
	if (count > 0)
		broker_push(e->broker, s->pushes, count);
	if (!broker_is_up(e->broker))
		dispatch_wake(e->dispatch);
}

/* the database decided whether it is ours: the queue may be paused or limited */
static void
take_place(struct submit *s, struct submit_item *it, bool running)
{
	if (it->place == NULL || running)
		return;
	types_put_place(s->engine->types, it->place);
	it->place = NULL;
	note_held(s, it->queue_id);
}

static bool
take_rows(struct submit *s, const struct pgrows *rows)
{
	struct submit_group *g;
	struct uuid id;
	int row = 0;

	if ((size_t)pgrows_count(rows) != s->sent.rows)
		return false;
	EACH(s, g, it)
	{
		pgrows_uuid(rows, row, 0, &id);
		if (!uuid_eq(&id, &it->id))
			return false;
		it->scheduled = pgrows_int(rows, row, 1) == TASK_SCHEDULED;
		take_place(s, it, pgrows_int(rows, row, 1) == TASK_RUNNING);
		it->due_us = pgrows_time_us(rows, row, 2);
		row++;
	}
	return true;
}

/* what is committed as ours becomes attempts, while the callers' texts are there */
static void
hand_over(struct submit *s)
{
	struct submit_group *g;

	if (s->sent.adopts == 0)
		return;
	EACH(s, g, it)
	{
		if (it->place == NULL)
			continue;
		adopt_task(s->engine->dispatch, it->place, g->app_id, it);
		it->place = NULL;
	}
}

static void
accepted(struct submit *s, const struct pgrows *rows)
{
	struct groups done = TAILQ_HEAD_INITIALIZER(done);
	struct submit_group *g;

	if (!take_rows(s, rows)) {
		/* PostgreSQL returns rows in the order of unnest; if not, we cannot
		 * tell who is who */
		struct err err = ERR_INIT;

		log_error(NULL, "BUG: an insert returned other rows than were sent",
		    "rows=%d sent=%zu", pgrows_count(rows), s->sent.rows);
		adopted(s, true);
		err_set(&err, ERR_BUG, "the task may have been accepted");
		fail_all(&s->sent.groups, &err);
		return;
	}
	score_add(s->engine->slot, SCORE_tasks_submitted_total, s->sent.rows);
	push_batch(s);
	hand_over(s);
	TAILQ_CONCAT(&done, &s->sent.groups, link);
	while ((g = TAILQ_FIRST(&done)) != NULL) {
		TAILQ_REMOVE(&done, g, link);
		tell(g, NULL);
	}
	/* the callers first: their answers do not wait for handlers to start */
	adopted(s, false);
}

/* somebody's data cannot be stored: halve until the culprit stands alone */
static void
halve(struct submit *s, const struct pgerr *pe)
{
	struct err err = ERR_INIT;

	if (s->sent.count > 1) {
		s->redo_most = (s->sent.count + 1) / 2;
		TAILQ_CONCAT(&s->sent.groups, &s->redo, link);
		TAILQ_CONCAT(&s->redo, &s->sent.groups, link);
		return;
	}
	log_warn(NULL, "a submit was refused by the database",
	    "application=%d sqlstate=%s reason=\"%.200s\"",
	    TAILQ_FIRST(&s->sent.groups)->app_id, pe->sqlstate, pe->text);
	err_set(&err, ERR_INVALID, "the database refuses this task: %s", pe->text);
	fail_all(&s->sent.groups, &err);
}

/* after a batch of so many rows: true if the next one waits for their callers */
static bool
hold(struct submit *s, size_t rows)
{
	if (s->waiting_rows == 0 || s->waiting_rows + rows < HOLD_LEAST ||
	    s->waiting_rows + rows > BATCH_ROWS || !TAILQ_EMPTY(&s->redo))
		return false;
	s->hold_rows = s->waiting_rows + rows;
	loop_timer_start_us(s->hold, HOLD_US);
	return true;
}

static void
on_inserted(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct submit *s = arg;
	size_t count = s->sent.rows;
	struct err err = ERR_INIT;

	s->open = false;
	if (pe != NULL)
		adopted(s, pe->class == PGERR_LOST);
	if (pe == NULL) {
		accepted(s, rows);
	} else if (pe->class == PGERR_RETRY && s->sent.tries < TRIES) {
		send_batch(s);
		if (!s->open) /* it failed at once: the next ones must not wait */
			loop_defer_start(s->defer);
		return;
	} else if (pe->class == PGERR_DATA) {
		halve(s, pe);
	} else if (pe->class == PGERR_RECONNECT) {
		put_back(s);
	} else {
		log_warn(NULL, "a batch of submits failed",
		    "class=%s sqlstate=%s rows=%zu reason=\"%.200s\"",
		    pgerr_class_name(pe->class), pe->sqlstate, s->sent.rows, pe->text);
		err_set(&err, pe->class == PGERR_LOST ? ERR_TIMEOUT : ERR_IO, "%s",
		    pe->class == PGERR_LOST ? "the connection to the database was "
					      "lost: the task may have been accepted"
					    : "the database cannot take tasks now; the "
					      "task was not accepted");
		fail_all(&s->sent.groups, &err);
	}
	if (pe != NULL || s->engine->draining || !hold(s, count))
		send_next(s);
	engine_check_drained(s->engine);
}
