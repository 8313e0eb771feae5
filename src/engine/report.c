/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.c - what running attempts say, into PostgreSQL, many in one statement.
 *
 * The latest progress of an attempt and the tail of its log are kept here and written
 * over its row in shoal.task_report, whole, once a second at most: so a statement whose
 * answer was lost is sent again without harm, and a handler that floods costs memory
 * only once.  An attempt that says nothing has nothing here.
 *
 * The last words of an attempt are written after its end, beside its finish: the guard
 * of the statement is the attempt, its owner and its claim, whatever the state.  What
 * was taken from this worker is another's to report, and the statement says nothing of
 * it.
 *
 * Reports are no outcome.  They go by a connection that carries nothing hot, and what
 * the database refuses is said in the log and forgotten.
 */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"
#include "store/events.h"

#define TICK_MS	     250
#define PACE_MS	     1000 /* of one attempt */
#define BATCH	     128  /* 2 MiB of logs */
#define REPORTS_MOST 4096
#define LOG_SPARE    (ATTEMPT_LOG_BYTES / 4) /* freed at once when the tail is full */

struct report {
	TAILQ_ENTRY(report) link;
	struct uuid id;
	int app_id;
	int number, claim;
	char *progress; /* JSON; NULL: none */
	char *log;	/* of ATTEMPT_LOG_BYTES; NULL: none */
	size_t log_len;
	bool dirty; /* something is not written */
	bool sent;  /* in the statement that is under way */
	bool ended; /* its attempt has */
	int64_t sent_ms;
};

struct reports {
	struct engine *engine;
	TAILQ_HEAD(, report) list;
	size_t count;
	size_t last_words; /* ended, and not written */
	struct report *batch[BATCH];
	size_t batch_count;
	bool asking;
	struct loop_timer *timer;
	struct pgparam params;
};

static void on_tick(void *arg);

struct reports *
reports_create(struct engine *e, struct err *err)
{
	struct reports *rs = mem_zero(sizeof(*rs));

	if (rs == NULL ||
	    (rs->timer = loop_timer_create(e->loop, on_tick, rs)) == NULL) {
		mem_free(rs);
		err_set(err, ERR_NOMEM, "reports");
		return NULL;
	}
	rs->engine = e;
	TAILQ_INIT(&rs->list);
	pgparam_init(&rs->params);
	return rs;
}

static void
report_free(struct reports *rs, struct report *r)
{
	rs->last_words -= r->ended;
	rs->count--;
	TAILQ_REMOVE(&rs->list, r, link);
	mem_free(r->progress);
	mem_free(r->log);
	mem_free(r);
}

void
reports_free(struct reports *rs)
{
	struct report *r;

	if (rs == NULL)
		return;
	while ((r = TAILQ_FIRST(&rs->list)) != NULL)
		report_free(rs, r);
	loop_timer_free(rs->timer);
	pgparam_fini(&rs->params);
	mem_free(rs);
}

bool
reports_idle(const struct reports *rs)
{
	return rs->last_words == 0;
}

/* ---------------------------------------------------------------- what is said */

/* while the database is away, last words pile up: the oldest go */
static void
make_room(struct reports *rs)
{
	struct report *r, *next;

	for (r = TAILQ_FIRST(&rs->list); r != NULL && rs->count >= REPORTS_MOST;
	     r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->ended && !r->sent) {
			log_warn(NULL, "a task's last report was dropped", "held=%zu",
			    rs->count);
			report_free(rs, r);
		}
	}
}

static struct report *
report_of(struct reports *rs, struct attempt *a)
{
	struct report *r = a->report;

	if (r != NULL)
		return r;
	make_room(rs);
	r = mem_zero(sizeof(*r));
	if (r == NULL)
		return NULL;
	r->id = a->elem.id;
	r->app_id = a->elem.app_id;
	r->number = a->number;
	r->claim = a->claim;
	r->sent_ms = loop_now_ms(rs->engine->loop) - PACE_MS;
	TAILQ_INSERT_TAIL(&rs->list, r, link);
	rs->count++;
	a->report = r;
	return r;
}

/* how much of the beginning goes so that len bytes fit: whole lines, if there are */
static size_t
cut_at(const struct report *r, size_t len)
{
	size_t least = r->log_len + len - ATTEMPT_LOG_BYTES;
	const char *end;

	if (least < LOG_SPARE)
		least = LOG_SPARE;
	if (least >= r->log_len)
		return r->log_len;
	end = memchr(r->log + least, '\n', r->log_len - least);
	if (end != NULL)
		return (size_t)(end - r->log) + 1;
	while (least < r->log_len && ((unsigned char)r->log[least] & 0xc0) == 0x80)
		least++; /* not in the middle of a character */
	return least;
}

static void
add_line(struct report *r, const char *line, size_t len)
{
	size_t cut;

	if (r->log == NULL && (r->log = mem_alloc(ATTEMPT_LOG_BYTES)) == NULL)
		return; /* progress is still told */
	if (len > ATTEMPT_LOG_BYTES / 2) {
		len = ATTEMPT_LOG_BYTES / 2;
		while (len > 0 && ((unsigned char)line[len] & 0xc0) == 0x80)
			len--;
	}
	if (r->log_len + len + 1 > ATTEMPT_LOG_BYTES) {
		cut = cut_at(r, len + 1);
		memmove(r->log, r->log + cut, r->log_len - cut);
		r->log_len -= cut;
	}
	memcpy(r->log + r->log_len, line, len);
	r->log_len += len;
	r->log[r->log_len++] = '\n';
	r->dirty = true;
}

static void
set_progress(struct report *r, const char *progress)
{
	size_t len = strlen(progress);
	char *copy = len < ATTEMPT_PROGRESS_BYTES ? mem_dup(progress, len) : NULL;

	if (copy == NULL)
		return; /* what was said before stands */
	mem_free(r->progress);
	r->progress = copy;
	r->dirty = true;
}

void
report_add(struct reports *rs, struct attempt *a, const char *progress,
    const char *line, size_t line_len)
{
	struct report *r = report_of(rs, a);

	if (r == NULL)
		return;
	if (progress != NULL)
		set_progress(r, progress);
	if (line != NULL)
		add_line(r, line, line_len);
	if (r->dirty && !loop_timer_pending(rs->timer))
		loop_timer_start_ms(rs->timer, TICK_MS);
}

void
report_end(struct reports *rs, struct attempt *a)
{
	struct report *r = a->report;

	if (r == NULL)
		return;
	a->report = NULL;
	r->ended = true;
	rs->last_words++;
	if (!r->dirty && !r->sent)
		report_free(rs, r);
	else
		loop_timer_start_ms(rs->timer, 0);
}

/* ---------------------------------------------------------------- the statement */

static void
put_text(struct pgparam *p, const char *text, size_t len)
{
	if (text != NULL)
		pgparam_elem_text(p, text, len);
	else
		pgparam_elem_null(p);
}

static void
put_batch(struct reports *rs)
{
	struct pgparam *p = &rs->params;
	struct report **b = rs->batch;
	size_t n = rs->batch_count;

	pgparam_reset(p);
	pgparam_uuid(p, &rs->engine->owner);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < n; i++)
		pgparam_elem_int4(p, b[i]->app_id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_UUID);
	for (size_t i = 0; i < n; i++)
		pgparam_elem_uuid(p, &b[i]->id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < n; i++)
		pgparam_elem_int4(p, b[i]->number);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < n; i++)
		pgparam_elem_int4(p, b[i]->claim);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	for (size_t i = 0; i < n; i++)
		put_text(p, b[i]->progress,
		    b[i]->progress != NULL ? strlen(b[i]->progress) : 0);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	for (size_t i = 0; i < n; i++)
		put_text(p, b[i]->log, b[i]->log_len);
	pgparam_array_end(p);
}

/* what a failure leaves to be said again; refused: never */
static void
settle(struct reports *rs, bool written, bool refused)
{
	for (size_t i = 0; i < rs->batch_count; i++) {
		struct report *r = rs->batch[i];

		r->sent = false;
		r->dirty |= !written && !refused;
		if (r->ended && !r->dirty)
			report_free(rs, r);
	}
	rs->batch_count = 0;
	rs->asking = false;
}

static void
on_written(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct reports *rs = arg;
	bool refused =
	    pe != NULL && (pe->class == PGERR_DATA || pe->class == PGERR_SCHEMA ||
			      pe->class == PGERR_BUG);

	(void)rows;
	if (refused)
		log_warn(NULL, "reports of tasks were refused",
		    "reports=%zu sqlstate=%s reason=\"%.200s\"", rs->batch_count,
		    pe->sqlstate, pe->text);
	settle(rs, pe == NULL, refused);
	if (rs->engine->ending)
		return;
	loop_timer_start_ms(rs->timer, pe == NULL ? 0 : PACE_MS);
	engine_check_drained(rs->engine);
}

/* those whose time has come; *later: some have to wait for it */
static void
gather(struct reports *rs, bool *later)
{
	int64_t now_ms = loop_now_ms(rs->engine->loop);
	struct report *r;

	*later = false;
	TAILQ_FOREACH (r, &rs->list, link) {
		if (!r->dirty)
			continue;
		if (rs->batch_count == BATCH ||
		    (!r->ended && now_ms - r->sent_ms < PACE_MS)) {
			*later = true;
			continue;
		}
		r->dirty = false;
		r->sent = true;
		r->sent_ms = now_ms;
		rs->batch[rs->batch_count++] = r;
	}
}

static void
on_tick(void *arg)
{
	struct reports *rs = arg;
	bool later;

	if (rs->asking)
		return; /* its answer starts the timer again */
	gather(rs, &later);
	if (rs->batch_count == 0) {
		if (later)
			loop_timer_start_ms(rs->timer, TICK_MS);
		return;
	}
	put_batch(rs);
	rs->asking = true;
	if (store_exec(rs->engine->store, STORE_READ, &events_report, &rs->params,
		on_written, rs, NULL) != 0) {
		settle(rs, false, false);
		loop_timer_start_ms(rs->timer, PACE_MS);
	}
}
