/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leases.c - workers outside of Shoal that wait for tasks; see leases.h.
 *
 * A line is dirty when it may get something: at a hint, when its turn has come, when
 * somebody begins to wait, and each second.  lease_take.c asks for what is dirty, in
 * the order in which it became so.
 */
#include "engine/leases.h"

#include <stdlib.h>
#include <string.h>

#include "base/hmap.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/internal.h"
#include "engine/leases_int.h"

#define POLL_MS	      1000
#define FIRST_POLL_MS 100
/* another worker's turn: what it has left after so long is ours; longer where
 * statements take long */
#define TURN_MIN_MS 15
#define TURN_MAX_MS 150

struct by_key {
	size_t count;
	char id[APIKEY_PUBLIC + 1];
};

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
	ls->defer = loop_defer_create(e->loop, lease_take_next, ls);
	ls->poll = loop_timer_create(e->loop, on_poll, ls);
	ls->again = loop_timer_create(e->loop, lease_take_next, ls);
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

void
lease_line_due(struct leases *ls, struct line *line)
{
	line->late = false;
	if (!line->dirty) {
		line->dirty = true;
		TAILQ_INSERT_TAIL(&ls->dirty, line, dirty_link);
	}
	if (!ls->open)
		loop_defer_start(ls->defer);
}

int64_t
leases_turn_ms(const struct leases *ls)
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
		loop_timer_start_ms(ls->turn, leases_turn_ms(ls));
}

void
lease_line_put(struct leases *ls, struct line *line)
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
const char *
lease_line_types(const struct line *line)
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

	lease_take_forget(ls, w);
	TAILQ_REMOVE(&line->waits, w, link);
	lease_hints_leave(ls->hints, line->name);
	ls->count--;
	score_set(ls->engine->slot, SCORE_lease_waiters, ls->count);
	discount_key(ls, w->by);
	lease_line_put(ls, line);
	loop_timer_free(w->timer);
	mem_free(w->worker);
	mem_free(w);
}

/* gone before the call: the callback may add another */
bool
lease_tell(struct lease_wait *w, const struct pgrows *rows,
    const struct lease_grant grants[], size_t count, const struct err *err)
{
	lease_cb *cb = w->cb;
	void *arg = w->arg;

	wait_free(w);
	return cb(rows, grants, count, err, arg);
}

void
lease_tell_none(struct lease_wait *w, const struct err *err)
{
	(void)lease_tell(w, NULL, NULL, 0, err);
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
		lease_line_put(ls, line);
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
		lease_line_due(ls, line);
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
		lease_tell_none(w, NULL);
}

void
leases_end_all(struct leases *ls)
{
	struct line *line;
	size_t cursor = 0;

	while ((line = hmap_next(ls->lines, &cursor)) != NULL) {
		if (TAILQ_EMPTY(&line->waits))
			continue; /* only its statement is under way */
		lease_tell_none(TAILQ_FIRST(&line->waits), NULL);
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
		lease_line_due(ls, line);
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
		/* (a hint, or the next second, has another one) */
		if (line->dirty || lease_hints_rests(ls->hints, line->name))
			continue;
		lease_line_due(ls, line);
		line->late = true;
	}
}

static void
wake_line(struct leases *ls, struct line *line, const uint32_t *lot)
{
	if (lot == NULL || lease_hints_is_ours(ls->hints, line->name, *lot))
		lease_line_due(ls, line);
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
