/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leases.c - workers outside of Shoal that wait for tasks; see leases.h.
 *
 * A line is dirty when it may get something.  The statement takes dirty lines in the
 * order in which they became so, those of one statement by who waits longest, with
 * slots for those who wait; a row names its slot.  Its ids are drawn here, so that
 * whatever becomes of the answer they can be undone (lease_undo.c).  Hints, and whose
 * turn it is among workers, are in lease_hints.c.
 *
 * Why a lease is not first the worker's own, and handed over when its answer is
 * written: that needs a second statement, and between the answer and its commit a node
 * that dies takes the task from a client that has it and works.  As it is, a node that
 * dies in the fraction of a millisecond between the commit and the write leaves a task
 * that rests until its lease runs out; nothing runs twice.
 */
#include "engine/leases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/internal.h"
#include "engine/leases_int.h"
#include "store/leases.h"

#define POLL_MS	      1000
#define FIRST_POLL_MS 100
#define LINES_MOST    64  /* in one statement */
#define SLOTS_MOST    512 /* in one statement */
#define SLOTS_OF_LINE 256
#define BUSY_MIN_MS   3 /* another leases for that application just now */
#define BUSY_MAX_MS   15
/* another worker's turn: what it has left after so long is ours; longer where
 * statements take long */
#define TURN_MIN_MS 15
#define TURN_MAX_MS 150

TAILQ_HEAD(wait_list, lease_wait);
TAILQ_HEAD(line_list, line);

struct line {
	TAILQ_ENTRY(line) dirty_link;
	TAILQ_ENTRY(line) later_link;
	TAILQ_ENTRY(line) app_link;
	struct app *app;
	struct wait_list waits; /* in the order of their coming */
	bool dirty, later, sent;
	uint64_t name; /* of the key, the same at all workers */
	size_t wanted; /* of the statement under way: its slots; got: rows that came */
	size_t got;
	int queues[LEASE_MAX_QUEUES];
	size_t queue_count;
	size_t type_count;
	size_t key_len;
	char
	    key[]; /* application, queues, names of types: all that makes it one line */
};

/* lines of one application */
struct app {
	int id;
	struct line_list lines;
};

struct lease_wait {
	TAILQ_ENTRY(lease_wait) link;
	struct leases *set;
	struct line *line;
	struct loop_timer *timer;
	lease_cb *cb;
	void *arg;
	int max;
	uint64_t number; /* in the order of their coming, to all lines */
	int64_t ttl_ms;
	unsigned slots; /* of the statement under way */
	bool over;	/* its time is up, and it waits for that statement */
	char *worker;	/* owned; NULL: none */
	char by[APIKEY_PUBLIC + 1];
};

struct slot {
	struct uuid lease;
	struct lease_wait *wait; /* NULL: it is gone */
	int row;		 /* -1: nothing came for it */
};

struct by_key {
	size_t count;
	char id[APIKEY_PUBLIC + 1];
};

struct leases {
	struct engine *engine;
	struct hmap *lines; /* by their key */
	struct hmap *apps;
	struct hmap *keys; /* how many of each key wait */
	struct line_list dirty;
	struct line_list later; /* dirty when it is time */
	size_t count;
	uint64_t last_number;
	bool ending;
	struct loop_defer *defer;
	struct loop_timer *poll; /* runs while somebody waits */
	struct loop_timer *again;
	struct loop_timer *turn;
	/* the statement under way */
	bool open;
	int64_t sent_ms;
	int64_t took_ms; /* those that brought something, on the average */
	int batch;	 /* counts down: dispatch's batches count up */
	struct line *asks[LINES_MOST];
	size_t ask_count;
	struct slot slots[SLOTS_MOST];
	size_t slot_count;
	struct pgparam params;
	struct lease_undo *undo;
	struct lease_hints *hints;
};

static void send_next(void *arg);
static void on_poll(void *arg);
static void on_wait_over(void *arg);
static void on_turn(void *arg);

struct leases *
leases_create(struct engine *e, struct err *err)
{
	struct leases *ls = mem_zero(sizeof(*ls));

	if (ls == NULL) {
		err_set(err, ERR_NOMEM, "leases");
		return NULL;
	}
	ls->engine = e;
	TAILQ_INIT(&ls->dirty);
	TAILQ_INIT(&ls->later);
	pgparam_init(&ls->params);
	ls->lines = hmap_create();
	ls->apps = hmap_create();
	ls->keys = hmap_create();
	ls->defer = loop_defer_create(e->loop, send_next, ls);
	ls->poll = loop_timer_create(e->loop, on_poll, ls);
	ls->again = loop_timer_create(e->loop, send_next, ls);
	ls->turn = loop_timer_create(e->loop, on_turn, ls);
	ls->undo = lease_undo_create(e);
	ls->hints = lease_hints_create(e);
	if (ls->lines == NULL || ls->apps == NULL || ls->keys == NULL ||
	    ls->defer == NULL || ls->poll == NULL || ls->again == NULL ||
	    ls->turn == NULL || ls->undo == NULL || ls->hints == NULL) {
		leases_free(ls);
		err_set(err, ERR_NOMEM, "leases");
		return NULL;
	}
	return ls;
}

void
leases_free(struct leases *ls)
{
	if (ls == NULL)
		return;
	ls->ending = true;
	if (ls->lines != NULL)
		leases_end_all(ls);
	hmap_free(ls->lines);
	hmap_free(ls->apps);
	hmap_free(ls->keys);
	loop_defer_free(ls->defer);
	loop_timer_free(ls->poll);
	loop_timer_free(ls->again);
	loop_timer_free(ls->turn);
	lease_undo_free(ls->undo);
	lease_hints_free(ls->hints);
	pgparam_fini(&ls->params);
	mem_free(ls);
}

bool
leases_idle(const struct leases *ls)
{
	return !ls->open && lease_undo_idle(ls->undo);
}

/* ---------------------------------------------------------------- lines */

static void
set_dirty(struct leases *ls, struct line *line)
{
	if (!line->dirty) {
		line->dirty = true;
		TAILQ_INSERT_TAIL(&ls->dirty, line, dirty_link);
	}
	if (!ls->open)
		loop_defer_start(ls->defer);
}

static int64_t
turn_ms(const struct leases *ls)
{
	int64_t ms = 3 * ls->took_ms;

	return ms < TURN_MIN_MS ? TURN_MIN_MS : ms > TURN_MAX_MS ? TURN_MAX_MS : ms;
}

static void
set_later(struct leases *ls, struct line *line)
{
	if (line->later)
		return;
	line->later = true;
	TAILQ_INSERT_TAIL(&ls->later, line, later_link);
	if (!loop_timer_pending(ls->turn))
		loop_timer_start_ms(ls->turn, turn_ms(ls));
}

static void
line_free_if_empty(struct leases *ls, struct line *line)
{
	struct app *app = line->app;

	if (!TAILQ_EMPTY(&line->waits) || line->sent)
		return;
	if (line->dirty)
		TAILQ_REMOVE(&ls->dirty, line, dirty_link);
	if (line->later)
		TAILQ_REMOVE(&ls->later, line, later_link);
	hmap_remove(ls->lines, line->key, line->key_len);
	TAILQ_REMOVE(&app->lines, line, app_link);
	if (TAILQ_EMPTY(&app->lines)) {
		hmap_remove(ls->apps, &app->id, sizeof(app->id));
		mem_free(app);
	}
	mem_free(line);
}

static int
by_int(const void *x, const void *y)
{
	const int *a = x, *b = y;

	return *a < *b ? -1 : *a > *b;
}

static int
by_text(const void *x, const void *y)
{
	return strcmp(*(const char *const *)x, *(const char *const *)y);
}

static struct app *
app_for(struct leases *ls, int app_id)
{
	struct app *app = hmap_get(ls->apps, &app_id, sizeof(app_id));

	if (app != NULL)
		return app;
	app = mem_zero(sizeof(*app));
	if (app == NULL)
		return NULL;
	app->id = app_id;
	TAILQ_INIT(&app->lines);
	if (hmap_put(ls->apps, &app->id, sizeof(app->id), app, NULL) != 0) {
		mem_free(app);
		return NULL;
	}
	return app;
}

static void
app_free_if_empty(struct leases *ls, struct app *app)
{
	if (app == NULL || !TAILQ_EMPTY(&app->lines))
		return;
	hmap_remove(ls->apps, &app->id, sizeof(app->id));
	mem_free(app);
}

/* the line of such requests, a new one if need be; NULL: no memory */
static struct line *
line_for(struct leases *ls, const struct lease_request *lr)
{
	const char *names[LEASE_MAX_QUEUES];
	int queues[LEASE_MAX_QUEUES];
	struct strbuf key;
	struct line *line = NULL;

	memcpy(queues, lr->queues, lr->queue_count * sizeof(*queues));
	qsort(queues, lr->queue_count, sizeof(*queues), by_int);
	for (size_t i = 0; i < lr->type_count; i++)
		names[i] = lr->types[i];
	if (lr->type_count > 1)
		qsort(names, lr->type_count, sizeof(*names), by_text);
	strbuf_init(&key, sizeof(queues) + LEASE_MAX_QUEUES * 80 + 64);
	strbuf_put(&key, &lr->app_id, sizeof(lr->app_id));
	strbuf_put(&key, &lr->queue_count, sizeof(lr->queue_count));
	strbuf_put(&key, queues, lr->queue_count * sizeof(*queues));
	for (size_t i = 0; i < lr->type_count; i++)
		strbuf_put(&key, names[i], strlen(names[i]) + 1);
	if (strbuf_failed(&key))
		goto out;
	line = hmap_get(ls->lines, key.data, key.len);
	if (line != NULL)
		goto out;
	line = mem_zero(sizeof(*line) + key.len);
	if (line == NULL)
		goto out;
	line->app = app_for(ls, lr->app_id);
	line->key_len = key.len;
	memcpy(line->key, key.data, key.len);
	line->name = lease_hints_name(key.data, key.len);
	if (line->app == NULL ||
	    hmap_put(ls->lines, line->key, line->key_len, line, NULL) != 0) {
		app_free_if_empty(ls, line->app);
		mem_free(line);
		line = NULL;
		goto out;
	}
	TAILQ_INIT(&line->waits);
	memcpy(line->queues, queues, lr->queue_count * sizeof(*queues));
	line->queue_count = lr->queue_count;
	line->type_count = lr->type_count;
	TAILQ_INSERT_TAIL(&line->app->lines, line, app_link);
out:
	strbuf_fini(&key);
	return line;
}

/* the names of its types lie behind the queues in the key, each ended by a NUL */
static const char *
line_types(const struct line *line)
{
	return line->key + sizeof(int) + sizeof(size_t) +
	       line->queue_count * sizeof(int);
}

/* ---------------------------------------------------------------- who waits */

static int
count_key(struct leases *ls, const char *id)
{
	struct by_key *k = hmap_get(ls->keys, id, strlen(id));

	if (k == NULL) {
		k = mem_zero(sizeof(*k));
		if (k == NULL)
			return -1;
		str_copy(k->id, sizeof(k->id), id);
		if (hmap_put(ls->keys, k->id, strlen(k->id), k, NULL) != 0) {
			mem_free(k);
			return -1;
		}
	}
	k->count++;
	return 0;
}

static size_t
waiting_of_key(const struct leases *ls, const char *id)
{
	const struct by_key *k = hmap_get(ls->keys, id, strlen(id));

	return k != NULL ? k->count : 0;
}

static void
discount_key(struct leases *ls, const char *id)
{
	struct by_key *k = hmap_get(ls->keys, id, strlen(id));

	if (k == NULL || --k->count > 0)
		return;
	hmap_remove(ls->keys, k->id, strlen(k->id));
	mem_free(k);
}

static void
wait_free(struct lease_wait *w)
{
	struct leases *ls = w->set;
	struct line *line = w->line;

	for (size_t i = 0; w->slots > 0 && i < ls->slot_count; i++) {
		if (ls->slots[i].wait == w) {
			ls->slots[i].wait = NULL;
			w->slots--;
		}
	}
	TAILQ_REMOVE(&line->waits, w, link);
	lease_hints_leave(ls->hints, line->name);
	ls->count--;
	score_set(ls->engine->slot, SCORE_lease_waiters, ls->count);
	discount_key(ls, w->by);
	line_free_if_empty(ls, line);
	loop_timer_free(w->timer);
	mem_free(w->worker);
	mem_free(w);
}

/* gone before the call: the callback may add another */
static bool
tell(struct lease_wait *w, const struct pgrows *rows, const struct lease_grant grants[],
    size_t count, const struct err *err)
{
	lease_cb *cb = w->cb;
	void *arg = w->arg;

	wait_free(w);
	return cb(rows, grants, count, err, arg);
}

static void
tell_none(struct lease_wait *w, const struct err *err)
{
	(void)tell(w, NULL, NULL, 0, err);
}

struct lease_wait *
leases_wait(struct leases *ls, const struct lease_request *lr, lease_cb *cb, void *arg,
    struct err *err)
{
	struct lease_wait *w;
	struct line *line;

	if (!ls->engine->serving || ls->ending) {
		err_set(err, ERR_IO, "the database is away; nothing was leased");
		return NULL;
	}
	if (ls->count >= LEASE_WAITERS ||
	    waiting_of_key(ls, lr->key) >= LEASE_WAITERS_OF_KEY) {
		err_set(err, ERR_LIMIT, "too many requests wait for tasks already");
		return NULL;
	}
	w = mem_zero(sizeof(*w));
	if (w == NULL ||
	    (w->timer = loop_timer_create(ls->engine->loop, on_wait_over, w)) == NULL ||
	    (lr->worker != NULL && (w->worker = mem_strdup(lr->worker)) == NULL) ||
	    (line = line_for(ls, lr)) == NULL)
		goto nomem;
	if (count_key(ls, lr->key) != 0) {
		line_free_if_empty(ls, line);
		goto nomem;
	}
	w->set = ls;
	w->line = line;
	w->cb = cb;
	w->arg = arg;
	w->max = lr->max;
	w->ttl_ms = lr->ttl_ms;
	str_copy(w->by, sizeof(w->by), lr->key);
	w->number = ++ls->last_number;
	TAILQ_INSERT_TAIL(&line->waits, w, link);
	lease_hints_enter(ls->hints, line->name);
	ls->count++;
	score_set(ls->engine->slot, SCORE_lease_waiters, ls->count);
	/* (who drains claims nothing any more: nobody shall wait for it) */
	if (lr->wait_ms > 0 && !ls->engine->draining)
		loop_timer_start_ms(w->timer, lr->wait_ms);
	else
		w->over = true; /* it looks once */
	if (!w->over && lease_hints_is_scarce(ls->hints, line->name))
		set_later(ls, line); /* it would take what is another's turn */
	else
		set_dirty(ls, line);
	if (!loop_timer_pending(ls->poll)) /* others shall hear of us soon */
		loop_timer_start_ms(ls->poll, FIRST_POLL_MS);
	return w;
nomem:
	if (w != NULL) {
		loop_timer_free(w->timer);
		mem_free(w->worker);
	}
	mem_free(w);
	err_set(err, ERR_NOMEM, "lease");
	return NULL;
}

void
leases_cancel(struct lease_wait *w)
{
	wait_free(w);
}

static void
on_wait_over(void *arg)
{
	struct lease_wait *w = arg;

	if (w->slots > 0)
		w->over = true; /* something may be on its way */
	else
		tell_none(w, NULL);
}

void
leases_end_all(struct leases *ls)
{
	struct line *line;
	size_t cursor = 0;

	while ((line = hmap_next(ls->lines, &cursor)) != NULL) {
		if (TAILQ_EMPTY(&line->waits))
			continue; /* only its statement is under way */
		tell_none(TAILQ_FIRST(&line->waits), NULL);
		cursor = 0; /* the map may have changed */
	}
}

static void
on_poll(void *arg)
{
	struct leases *ls = arg;
	struct line *line;
	size_t cursor = 0;

	lease_hints_tell(ls->hints);
	if (ls->count == 0 && !lease_hints_any(ls->hints))
		return; /* the next one who waits starts it again */
	loop_timer_start_ms(ls->poll, POLL_MS);
	while ((line = hmap_next(ls->lines, &cursor)) != NULL)
		set_dirty(ls, line);
}

/* ---------------------------------------------------------------- the statement */

static void
add_slot(struct leases *ls, struct lease_wait *w)
{
	struct slot *s = &ls->slots[ls->slot_count++];

	lease_make(&s->lease);
	s->wait = w;
	s->row = -1;
	w->slots++;
}

/* each who waits gets one slot, in order, then each a second one, while there is room
 */
static void
fill_line(struct leases *ls, struct line *line)
{
	size_t most = ls->slot_count + SLOTS_OF_LINE, first = ls->slot_count;
	struct lease_wait *w;
	bool any = true;

	if (most > SLOTS_MOST)
		most = SLOTS_MOST;
	for (int round = 0; any && ls->slot_count < most; round++) {
		any = false;
		TAILQ_FOREACH (w, &line->waits, link) {
			if (ls->slot_count == most)
				break;
			if (round < w->max) {
				add_slot(ls, w);
				any = true;
			}
		}
	}
	line->wanted = ls->slot_count - first;
	line->got = 0;
}

static int
by_first(const void *x, const void *y)
{
	const struct line *a = *(struct line *const *)x, *b = *(struct line *const *)y;
	uint64_t m = TAILQ_FIRST(&a->waits)->number, n = TAILQ_FIRST(&b->waits)->number;

	return m < n ? -1 : m > n;
}

/* lines may want the same tasks: who waits longest is in the first one */
static void
fill_lines(struct leases *ls)
{
	struct line *line;
	size_t n = 0;

	ls->ask_count = ls->slot_count = 0;
	while ((line = TAILQ_FIRST(&ls->dirty)) != NULL && n < LINES_MOST) {
		TAILQ_REMOVE(&ls->dirty, line, dirty_link);
		line->dirty = false;
		if (!TAILQ_EMPTY(&line->waits)) /* (it is not there for long) */
			ls->asks[n++] = line;
	}
	qsort(ls->asks, n, sizeof(*ls->asks), by_first);
	for (size_t i = 0; i < n; i++) {
		if (ls->slot_count == SLOTS_MOST) {
			set_dirty(ls, ls->asks[i]);
			continue;
		}
		ls->asks[i]->sent = true;
		ls->ask_count++;
		fill_line(ls, ls->asks[i]);
	}
}

/* the parameters of leases_take, in their order */
static void
fill_params(struct leases *ls)
{
	struct pgparam *p = &ls->params;
	size_t n = ls->ask_count;

	pgparam_reset(p);
	pgparam_uuid(p, &ls->engine->owner);
	pgparam_int4(p, ls->batch);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < n; i++)
		pgparam_elem_int4(p, ls->asks[i]->app->id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < n; i++)
		pgparam_elem_int4(p, (int32_t)ls->asks[i]->wanted);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < ls->asks[i]->queue_count; k++)
			pgparam_elem_int4(p, ls->asks[i]->queues[k]);
	}
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < ls->asks[i]->queue_count; k++)
			pgparam_elem_int4(p, (int32_t)i + 1);
	}
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	for (size_t i = 0; i < n; i++) {
		const char *name = line_types(ls->asks[i]);

		for (size_t k = 0; k < ls->asks[i]->type_count; k++) {
			pgparam_elem_text(p, name, strlen(name));
			name += strlen(name) + 1;
		}
	}
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < ls->asks[i]->type_count; k++)
			pgparam_elem_int4(p, (int32_t)i + 1);
	}
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_UUID);
	for (size_t i = 0; i < ls->slot_count; i++)
		pgparam_elem_uuid(p, &ls->slots[i].lease);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < ls->slot_count; i++)
		pgparam_elem_int4(p, (int32_t)ls->slots[i].wait->ttl_ms);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	for (size_t i = 0; i < ls->slot_count; i++) {
		const char *worker = ls->slots[i].wait->worker;

		if (worker != NULL)
			pgparam_elem_text(p, worker, strlen(worker));
		else
			pgparam_elem_null(p);
	}
	pgparam_array_end(p);
}

/* the statement has ended: lines that were in it, and those in them, stand free again
 */
static void
close_lines(struct leases *ls)
{
	for (size_t i = 0; i < ls->slot_count; i++) {
		if (ls->slots[i].wait != NULL)
			ls->slots[i].wait->slots = 0;
		ls->slots[i].wait = NULL;
	}
	ls->slot_count = 0;
	for (size_t i = 0; i < ls->ask_count; i++) {
		ls->asks[i]->sent = false;
		line_free_if_empty(ls, ls->asks[i]);
	}
	ls->ask_count = 0;
}

/* err: all that wait in the line hear of it, and try another node; NULL: those whose
 * time is up have had their look */
static void
end_waits(struct line *line, const struct err *err)
{
	struct lease_wait *w, *next;

	for (w = TAILQ_FIRST(&line->waits); w != NULL; w = next) {
		next = TAILQ_NEXT(w, link);
		if (err != NULL || w->over)
			tell_none(w, err);
	}
}

static void
fail_waits(struct leases *ls, const struct err *err)
{
	/* (a line that is sent stays, with nobody in it too) */
	for (size_t i = 0; i < ls->ask_count; i++)
		end_waits(ls->asks[i], err);
}

/* what came for one who waits, from its first slot on; it is told */
static void
grant(struct leases *ls, const struct pgrows *rows, size_t first)
{
	struct lease_grant grants[LEASE_MAX_TASKS];
	struct lease_wait *w = ls->slots[first].wait;
	char owner[OWNER_TEXT_SIZE];
	size_t count = 0;

	owner_text(&ls->engine->owner, owner);
	for (size_t i = first; i < ls->slot_count && count < LEASE_MAX_TASKS; i++) {
		struct slot *s = &ls->slots[i];
		struct leased_row l;

		if (s->wait != w || s->row < 0)
			continue;
		leased_row_get(rows, s->row, &l);
		grants[count].row = s->row;
		grants[count].lease = s->lease;
		/* no two leases share it: each statement has a number of its own */
		snprintf(grants[count].fence, sizeof(grants[count].fence), "%d-%s-%d",
		    l.attempt, owner, ls->batch);
		s->row = -1;
		count++;
	}
	if (tell(w, rows, grants, count, NULL)) {
		score_add(ls->engine->slot, SCORE_leases_given_total, count);
		return;
	}
	for (size_t i = 0; i < count; i++)
		lease_undo_add(ls->undo, &grants[i].lease, 1);
}

/* which line a slot belongs to: they follow each other */
static struct line *
line_of(struct leases *ls, size_t slot)
{
	size_t ask = 0;

	while (slot >= ls->asks[ask]->wanted)
		slot -= ls->asks[ask++]->wanted;
	return ls->asks[ask];
}

static void
take_rows(struct leases *ls, const struct pgrows *rows, bool *busy)
{
	int64_t left_before_us = engine_now_us(ls->engine) - 2000 * turn_ms(ls);
	struct line *line;

	for (int i = 0; i < pgrows_count(rows); i++) {
		struct leased_row l;

		leased_row_get(rows, i, &l);
		if (l.slot == 0) {
			*busy = true;
			continue;
		}
		line = line_of(ls, (size_t)l.slot - 1);
		ls->slots[l.slot - 1].row = i;
		line->got++;
		lease_hints_left_over(
		    ls->hints, line->name, l.run_at_us < left_before_us);
	}
	for (size_t i = 0; i < ls->slot_count; i++) {
		if (ls->slots[i].row < 0)
			continue;
		if (ls->slots[i].wait != NULL)
			grant(ls, rows, i);
		else
			lease_undo_add(ls->undo, &ls->slots[i].lease,
			    1); /* it hung up meanwhile */
	}
}

static void
end_ask(struct leases *ls, struct line *line, bool busy)
{
	if (line->got < line->wanted)
		lease_hints_left_over(ls->hints, line->name, false);
	/* all slots were filled, or another had its turn: there may be more */
	if (line->got == line->wanted || (busy && line->got == 0))
		set_dirty(ls, line);
	else
		end_waits(line, NULL);
}

static void
on_leased(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct leases *ls = arg;
	struct err err = ERR_INIT;
	bool busy = false;

	if (pe == NULL) {
		if (pgrows_count(rows) > 0)
			ls->took_ms = (3 * ls->took_ms + loop_now_ms(ls->engine->loop) -
					  ls->sent_ms) /
				      4;
		take_rows(ls, rows, &busy);
		for (size_t i = 0; i < ls->ask_count; i++)
			end_ask(ls, ls->asks[i], busy);
	} else if (pe->class == PGERR_RETRY) {
		busy = true;
		for (size_t i = 0; i < ls->ask_count; i++)
			set_dirty(ls, ls->asks[i]);
	} else {
		log_warn(NULL, "tasks could not be leased",
		    "class=%s sqlstate=%s reason=\"%.200s\"",
		    pgerr_class_name(pe->class), pe->sqlstate, pe->text);
		for (size_t i = 0; pe->class == PGERR_LOST && i < ls->slot_count; i++)
			lease_undo_add(ls->undo, &ls->slots[i].lease, LEASE_UNDO_TRIES);
		err_set(&err,
		    pe->class == PGERR_BUG || pe->class == PGERR_SCHEMA ? ERR_BUG
									: ERR_IO,
		    "the database is away; nothing was leased");
		fail_waits(ls, &err);
	}
	ls->open = false;
	close_lines(ls);
	if (busy)
		loop_timer_start_ms(ls->again,
		    BUSY_MIN_MS + (int64_t)random_below(BUSY_MAX_MS - BUSY_MIN_MS));
	else if (!TAILQ_EMPTY(&ls->dirty))
		loop_defer_start(ls->defer);
	if (!ls->engine->ending)
		engine_check_drained(ls->engine);
}

static void
send_next(void *arg)
{
	struct leases *ls = arg;
	struct err err = ERR_INIT;

	if (ls->open || ls->ending || TAILQ_EMPTY(&ls->dirty) || !ls->engine->serving)
		return;
	fill_lines(ls);
	if (ls->ask_count == 0)
		return;
	ls->open = true;
	ls->sent_ms = loop_now_ms(ls->engine->loop);
	ls->batch--;
	fill_params(ls);
	if (store_exec(ls->engine->store, STORE_READ, &leases_take, &ls->params,
		on_leased, ls, &err) == 0)
		return;
	ls->open = false;
	fail_waits(ls, &err);
	close_lines(ls);
	if (!TAILQ_EMPTY(&ls->dirty))
		loop_defer_start(ls->defer);
}

/* ---------------------------------------------------------------- hints */

static bool
has_queue(const struct line *line, int queue_id)
{
	return bsearch(&queue_id, line->queues, line->queue_count, sizeof(queue_id),
		   by_int) != NULL;
}

static void
on_turn(void *arg)
{
	struct leases *ls = arg;
	struct line *line;

	while ((line = TAILQ_FIRST(&ls->later)) != NULL) {
		TAILQ_REMOVE(&ls->later, line, later_link);
		line->later = false;
		set_dirty(ls, line);
	}
}

static void
wake_line(struct leases *ls, struct line *line, const uint32_t *lot)
{
	if (lot == NULL || lease_hints_is_ours(ls->hints, line->name, *lot))
		set_dirty(ls, line);
	else
		set_later(ls, line);
}

void
leases_wake(struct leases *ls, int app_id, int queue_id, const uint32_t *lot)
{
	struct line *line;
	struct app *app;
	size_t cursor = 0;

	if (app_id == 0) {
		while ((line = hmap_next(ls->lines, &cursor)) != NULL) {
			if (queue_id == 0 || has_queue(line, queue_id))
				wake_line(ls, line, lot);
		}
		return;
	}
	app = hmap_get(ls->apps, &app_id, sizeof(app_id));
	if (app == NULL)
		return;
	TAILQ_FOREACH (line, &app->lines, app_link) {
		if (queue_id == 0 || has_queue(line, queue_id))
			wake_line(ls, line, lot);
	}
}

void
leases_queue_changed(struct leases *ls, int queue_id)
{
	leases_wake(ls, 0, queue_id, NULL);
}

void
leases_hint(struct leases *ls, int app_id, int queue_id)
{
	lease_hints_add(ls->hints, app_id, queue_id);
}

void
leases_told(struct leases *ls, const char *text, size_t len)
{
	char *copy;

	if ((ls->count == 0 && !lease_hints_any(ls->hints)) ||
	    (copy = mem_dup(text, len)) == NULL)
		return;
	lease_hints_told(ls->hints, copy);
	mem_free(copy);
}
