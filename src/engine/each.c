/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * each.c - submits one by one, many in a statement; see each.h.
 *
 * One statement is under way at a time.  What was certainly not executed is sent again
 * while callers are patient; so is, after a lost answer, what carries a key, since it
 * cannot be done twice.
 */
#include "engine/each.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/internal.h"

#define BATCH_REQUESTS 64
#define BATCH_TASKS    1000
#define BATCH_BYTES    (2 * 1024 * 1024)
#define WAIT_TASKS     10000
#define WAIT_BYTES     (16 * 1024 * 1024)
#define TRIES	       5
/* without a connection, so long */
#define PATIENCE_MS 2000

TAILQ_HEAD(requests, each_request);

struct each {
	struct engine *engine;
	struct requests waiting;
	size_t waiting_tasks, waiting_bytes;
	struct requests sent; /* under way, when open */
	size_t sent_count;
	int tries;
	size_t most; /* requests in the next batch; fewer while a culprit is searched */
	bool open;
	struct loop_defer *defer;
	struct loop_timer *patience; /* runs while requests wait for a connection */
	struct pgparam params;
};

static void send_next(void *arg);
static void on_impatient(void *arg);
static void on_done(const struct pgrows *rows, const struct pgerr *pe, void *arg);

struct each *
each_create(struct engine *e, struct err *err)
{
	struct each *s = mem_zero(sizeof(*s));

	if (s == NULL) {
		err_set(err, ERR_NOMEM, "each");
		return NULL;
	}
	s->engine = e;
	s->most = BATCH_REQUESTS;
	TAILQ_INIT(&s->waiting);
	TAILQ_INIT(&s->sent);
	pgparam_init(&s->params);
	s->defer = loop_defer_create(e->loop, send_next, s);
	s->patience = loop_timer_create(e->loop, on_impatient, s);
	if (s->defer == NULL || s->patience == NULL) {
		each_free(s);
		err_set(err, ERR_NOMEM, "each");
		return NULL;
	}
	return s;
}

static void
fail_all(struct requests *list, const struct err *err)
{
	struct each_request *r;

	while ((r = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, r, link);
		r->cb(r, err, r->arg);
	}
}

void
each_free(struct each *s)
{
	struct err err = ERR_INIT;

	if (s == NULL)
		return;
	err_set(&err, ERR_TIMEOUT,
	    "the worker is leaving: the tasks may have been accepted");
	fail_all(&s->sent, &err);
	err_set(&err, ERR_IO, "the worker is leaving: nothing was accepted");
	fail_all(&s->waiting, &err);
	loop_defer_free(s->defer);
	loop_timer_free(s->patience);
	pgparam_fini(&s->params);
	mem_free(s);
}

bool
each_idle(const struct each *s)
{
	return !s->open && TAILQ_EMPTY(&s->waiting);
}

int
each_add(struct each *s, struct each_request *r, struct err *err)
{
	r->bytes = 0;
	r->replayed = false;
	r->refusal = EACH_ACCEPTED;
	for (size_t i = 0; i < r->count; i++)
		r->bytes += r->items[i].spec_len;
	if (!s->engine->registered)
		return err_set(
		    err, ERR_IO, "the database is away; nothing was accepted");
	if (s->waiting_tasks + r->count > WAIT_TASKS ||
	    s->waiting_bytes + r->bytes > WAIT_BYTES)
		return err_set(
		    err, ERR_LIMIT, "too many submits wait for the database already");
	TAILQ_INSERT_TAIL(&s->waiting, r, link);
	s->waiting_tasks += r->count;
	s->waiting_bytes += r->bytes;
	if (!s->open)
		loop_defer_start(s->defer);
	return 0;
}

void
each_store(struct each *s, bool up)
{
	if (!up)
		return;
	loop_timer_stop(s->patience);
	if (!s->open)
		loop_defer_start(s->defer);
}

static void
on_impatient(void *arg)
{
	struct each *s = arg;
	struct requests all = TAILQ_HEAD_INITIALIZER(all);
	struct err err = ERR_INIT;

	if (s->open)
		return; /* its end looks again */
	err_set(&err, ERR_IO, "the database is away; nothing was accepted");
	TAILQ_CONCAT(&all, &s->waiting, link);
	s->waiting_tasks = s->waiting_bytes = 0;
	fail_all(&all, &err);
	engine_check_drained(s->engine);
}

/* ---------------------------------------------------------------- the batch */

static void
gather(struct each *s)
{
	struct each_request *r;
	size_t tasks = 0, bytes = 0;

	s->sent_count = 0;
	s->tries = 0;
	while (s->sent_count < s->most && (r = TAILQ_FIRST(&s->waiting)) != NULL) {
		if (s->sent_count > 0 &&
		    (tasks + r->count > BATCH_TASKS || bytes + r->bytes > BATCH_BYTES))
			break;
		TAILQ_REMOVE(&s->waiting, r, link);
		TAILQ_INSERT_TAIL(&s->sent, r, link);
		s->waiting_tasks -= r->count;
		s->waiting_bytes -= r->bytes;
		s->sent_count++;
		tasks += r->count;
		bytes += r->bytes;
	}
	s->most = BATCH_REQUESTS;
}

static void
put_text(struct pgparam *p, const char *text, size_t len)
{
	if (text != NULL)
		pgparam_elem_text(p, text, len);
	else
		pgparam_elem_null(p);
}

static void
fill_params(struct each *s)
{
	struct pgparam *p = &s->params;
	struct each_request *r;

	pgparam_reset(p);
	pgparam_array(p, PGTYPE_INT4);
	TAILQ_FOREACH (r, &s->sent, link)
		pgparam_elem_int4(p, r->app_id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	TAILQ_FOREACH (r, &s->sent, link)
		put_text(p, r->key, r->key != NULL ? strlen(r->key) : 0);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	TAILQ_FOREACH (r, &s->sent, link)
		put_text(p, r->print, r->print != NULL ? strlen(r->print) : 0);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	TAILQ_FOREACH (r, &s->sent, link)
		put_text(p, r->group, r->group_len);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	TAILQ_FOREACH (r, &s->sent, link)
		pgparam_elem_int4(p, (int32_t)r->count);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	TAILQ_FOREACH (r, &s->sent, link)
		for (size_t i = 0; i < r->count; i++)
			pgparam_elem_text(p, r->items[i].spec, r->items[i].spec_len);
	pgparam_array_end(p);
	pgparam_int4(p, (int32_t)s->engine->settings->tasks_priority_aging_ms);
	pgparam_array(p, PGTYPE_INT4);
	TAILQ_FOREACH (r, &s->sent, link)
		for (size_t i = 0; i < r->bounded_count; i++)
			pgparam_elem_int4(p, r->bounded[i]);
	pgparam_array_end(p);
}

/* nothing happened: first in line for the next connection, or until patience ends */
static void
put_back(struct each *s)
{
	struct each_request *r;

	s->open = false;
	TAILQ_FOREACH (r, &s->sent, link) {
		s->waiting_tasks += r->count;
		s->waiting_bytes += r->bytes;
	}
	TAILQ_CONCAT(&s->sent, &s->waiting, link);
	TAILQ_CONCAT(&s->waiting, &s->sent, link);
	if (!loop_timer_pending(s->patience))
		loop_timer_start_ms(s->patience, PATIENCE_MS);
}

static void
send_batch(struct each *s)
{
	struct err err = ERR_INIT;

	s->tries++;
	fill_params(s);
	s->open = true;
	score_add(s->engine->slot, SCORE_batches_total, 1);
	if (store_exec(s->engine->store, STORE_EACH, &sql_submit_each, &s->params,
		on_done, s, &err) == 0)
		return;
	if (!store_is_up(s->engine->store, STORE_EACH)) {
		put_back(s);
		return;
	}
	s->open = false; /* no memory for so large a statement */
	err.code = ERR_IO;
	err_wrap(&err, "not accepted");
	fail_all(&s->sent, &err);
	loop_defer_start(s->defer);
}

static void
send_next(void *arg)
{
	struct each *s = arg;
	struct err err = ERR_INIT;

	if (s->open || TAILQ_EMPTY(&s->waiting))
		return;
	if (!store_is_up(s->engine->store, STORE_EACH)) {
		if (!loop_timer_pending(s->patience))
			loop_timer_start_ms(s->patience, PATIENCE_MS);
		if (store_open_each(s->engine->store, &err) != 0)
			log_error(NULL, "no connection for submits with keys",
			    "reason=\"%s\"", err.text);
		return;
	}
	gather(s);
	send_batch(s);
}

/* ---------------------------------------------------------------- the answer */

enum {
	COL_REQUEST,
	COL_ID,
	COL_STATE,
	COL_RUN_AT,
	COL_OUTCOME,
	COL_REPLAYED,
	COL_CODE,
	COL_MESSAGE
};

static const struct {
	const char *sqlstate;
	enum each_refusal refusal;
} refusals[] = {
    {"SH001", EACH_UNIQUE_TAKEN},
    {"SH002", EACH_NO_PARENT},
    {"SH003", EACH_OTHER_REQUEST},
    {"SH004", EACH_GROUP_CLOSED},
    {"SH005", EACH_QUEUE_FULL},
    {"54000", EACH_TOO_MANY_NAMES},
};

static enum each_refusal
refusal_of(const char *sqlstate)
{
	for (size_t i = 0; i < COUNT_OF(refusals); i++) {
		if (str_eq(refusals[i].sqlstate, sqlstate))
			return refusals[i].refusal;
	}
	return EACH_BAD_DATA;
}

/* reads r's rows from row on; the next row, -1 if they are not what was asked for */
static int
take_rows(struct each_request *r, const struct pgrows *rows, int row)
{
	if (!pgrows_is_null(rows, row, COL_CODE)) {
		r->refusal = refusal_of(pgrows_text(rows, row, COL_CODE, NULL));
		return row + 1;
	}
	r->replayed = pgrows_bool(rows, row, COL_REPLAYED);
	if (r->count == 0)
		return row + 1;
	for (size_t i = 0; i < r->count; i++, row++) {
		struct each_item *it = &r->items[i];

		if (row >= pgrows_count(rows) || pgrows_is_null(rows, row, COL_ID))
			return -1;
		pgrows_uuid(rows, row, COL_ID, &it->id);
		it->state = (enum task_state)pgrows_int(rows, row, COL_STATE);
		it->due_us = pgrows_time_us(rows, row, COL_RUN_AT);
		it->outcome = (enum each_outcome)pgrows_int(rows, row, COL_OUTCOME);
	}
	return row;
}

static void
accepted(struct each *s, const struct pgrows *rows)
{
	struct requests done = TAILQ_HEAD_INITIALIZER(done);
	struct each_request *r, *next;
	struct err err = ERR_INIT;
	int row = 0, first;

	TAILQ_CONCAT(&done, &s->sent, link);
	for (r = TAILQ_FIRST(&done); r != NULL; r = next) {
		next = TAILQ_NEXT(r, link);
		first = row;
		row =
		    row < 0 || row >= pgrows_count(rows) ? -1 : take_rows(r, rows, row);
		TAILQ_REMOVE(&done, r, link);
		if (row < 0) {
			log_error(NULL,
			    "BUG: a submit returned other rows than were sent",
			    "rows=%d", pgrows_count(rows));
			err_set(&err, ERR_BUG, "the tasks may have been accepted");
			r->cb(r, &err, r->arg);
		} else if (r->refusal != EACH_ACCEPTED) {
			err_set(&err, ERR_CONFLICT, "%s",
			    pgrows_text(rows, first, COL_MESSAGE, NULL));
			r->cb(r, &err, r->arg);
		} else {
			score_add(s->engine->slot, SCORE_tasks_submitted_total,
			    r->replayed ? 0 : r->count);
			engine_due_outside(s->engine, r->app_id);
			r->cb(r, NULL, r->arg);
		}
	}
	/* what waits, and in which line, is the feeder's to know */
	engine_hint(s->engine);
}

/* the answer is lost: what has a key is asked again, of the others nobody knows */
static void
lost(struct each *s)
{
	struct requests unknown = TAILQ_HEAD_INITIALIZER(unknown);
	struct each_request *r, *next;
	struct err err = ERR_INIT;

	for (r = TAILQ_FIRST(&s->sent); r != NULL; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->key != NULL)
			continue;
		TAILQ_REMOVE(&s->sent, r, link);
		TAILQ_INSERT_TAIL(&unknown, r, link);
	}
	put_back(s);
	err_set(&err, ERR_TIMEOUT,
	    "the connection to the database was lost: the tasks may have been "
	    "accepted");
	fail_all(&unknown, &err);
}

static void
on_done(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct each *s = arg;
	struct err err = ERR_INIT;

	s->open = false;
	if (pe == NULL) {
		accepted(s, rows);
	} else if (pe->class == PGERR_RETRY && s->tries < TRIES) {
		send_batch(s);
		if (!s->open)
			loop_defer_start(s->defer);
		return;
	} else if (pe->class == PGERR_RECONNECT) {
		put_back(s);
	} else if (pe->class == PGERR_LOST) {
		lost(s);
	} else if (s->sent_count > 1) {
		/* one of them is the culprit, and none shall stand for it */
		s->most = (s->sent_count + 1) / 2;
		put_back(s);
	} else {
		log_warn(NULL, "a submit failed",
		    "class=%s sqlstate=%s reason=\"%.200s\"",
		    pgerr_class_name(pe->class), pe->sqlstate, pe->text);
		if (pe->class == PGERR_DATA)
			err_set(&err, ERR_INVALID, "the database refuses this: %s",
			    pe->text);
		else
			err_set(&err, ERR_IO,
			    "the database cannot take tasks now; nothing was accepted");
		fail_all(&s->sent, &err);
	}
	loop_defer_start(s->defer);
	engine_check_drained(s->engine);
}
