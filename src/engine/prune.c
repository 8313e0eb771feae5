/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * prune.c - the leader's part that removes finished tasks whose time is over.
 *
 * Nothing is kept for it in the table: no index, no column.  An id begins with the time
 * of its submit, so the rows of an application, walked by the primary key, come in
 * order of age, and what is younger than the shortest time that anything is kept cannot
 * be over.  A pass takes each application's walk from where the last one left it to
 * that bound.  What it passes over, it has seen: tasks that had not finished, or not
 * for long enough, and failed ones, which are kept for longer.  A lap, a pass from the
 * beginning of everything, finds those that came due since.
 *
 * The bound lies a slack behind that, so that what finished within the slack after its
 * submit is removed at the first look and only the others wait for a lap.  So a task is
 * removed up to a slack and a lap later than it might be, each a hundredth of the time
 * and an hour at most, and never sooner: finished_at decides, by PostgreSQL's clock, in
 * the statement that removes.
 *
 * Queues may have times of their own.  The shortest one of an application's moves the
 * bound of its walk alone, so a statement is for applications of one bound.
 *
 * Where all tasks together take more than tasks.keep_size, finished ones are kept for
 * less time than the settings say: before each pass the size is estimated, and the time
 * moved towards the one at which what is kept fits.
 *
 * One statement is under way at a time, and then there is a rest of three times as
 * long, so that it costs a quarter of one backend at most; less rest the longer a pass
 * lasts, since it is behind then.  A slow statement halves the batch.
 *
 * It has a connection of its own, STORE_TIDY.  On the leader's the feeder would wait
 * behind each batch, and types with limited places with it; in the reads' pool, which
 * has one connection by default, callers would.  The commits are asynchronous: what a
 * crash brings back is removed again.
 *
 * All that is remembered are the walks; a new leader begins with a lap.  Of two leaders
 * one removes a row and the other finds it gone.
 *
 * New table with rows for tasks?  They must go with their task, in shoal.prune and
 * shoal.delete_tasks.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"

#define BATCH_FIRST 500 /* rows looked at in one statement */
#define BATCH_LEAST 50
#define BATCH_MOST  2000
#define SLOW_MS	    100	  /* halves the batch; half of it lets it grow */
#define APPS_MOST   200	  /* applications in one statement */
#define REST	    3	  /* times what the statement took */
#define CALM_MS	    10000 /* a pass that lasts longer is behind */
#define AGAIN_MS    1000  /* after an error, and at the start */
#define SECOND_MS   1000LL
#define MINUTE_MS   (60 * SECOND_MS)
#define HOUR_MS	    (60 * MINUTE_MS)
#define LAP_REST    20 /* times what the last lap took, or an hour, between two */
#define FOR_EVER_MS                                                                    \
	MINUTE_MS /* nothing is over: between two questions whether it is so */
#define LARGE	     100000 /* a pass that removes more is told, once an hour */
#define SIZE_KEEP_MS (10 * MINUTE_MS) /* the size makes no task go sooner than that */

/* of one application */
struct walk {
	int32_t app_id;
	bool ended;	   /* it has come to this pass' bound */
	struct uuid at;	   /* the last id looked at; zero: the beginning */
	int64_t keep_ms;   /* the shortest time that its tasks are kept; 0: for ever */
	struct uuid bound; /* it goes no further in this pass */
};

struct prune {
	struct engine *engine;
	struct loop_timer *timer;
	struct pgparam params;
	bool running;
	bool open; /* a statement is under way */
	int64_t asked_ms;
	int batch;
	int64_t
	    size_keep_ms; /* how long finished ones are kept for their size; 0: any */
	int64_t size_told_ms; /* that they go before their time; 0: never */
	int64_t finished_ms;  /* how long finished ones are kept; 0: for ever */
	int64_t keep_all_ms;  /* the shortest time of any but queues'; 0: for ever */
	int64_t keep_ms;      /* the shortest time that anything is kept; 0: for ever */
	/* one for each application, by its number: as many as there are */
	struct walk *walks;
	size_t count;
	size_t next; /* the walk whose turn it is */
	size_t left; /* walks that have not ended */
	/* the pass */
	bool passing;
	bool lap;     /* from the beginning */
	bool lap_due; /* whatever the time: we have just begun to lead */
	int64_t started_ms;
	int64_t looked, removed;
	/* before it */
	int64_t lap_ms, lap_took_ms; /* the last lap: its start, how long it took */
	int64_t told_ms;	     /* of a large one; 0: never */
};

static void on_time(void *arg);
static void on_bytes(const struct pgrows *rows, const struct pgerr *pe, void *arg);
static void on_apps(const struct pgrows *rows, const struct pgerr *pe, void *arg);
static void on_pruned(const struct pgrows *rows, const struct pgerr *pe, void *arg);

/* of two times that tasks are kept; 0: for ever */
static int64_t
shorter(int64_t a_ms, int64_t b_ms)
{
	return a_ms == 0 || (b_ms != 0 && b_ms < a_ms) ? b_ms : a_ms;
}

static void
set_times(struct prune *p)
{
	const struct settings *s = p->engine->settings;

	p->finished_ms = shorter(s->tasks_keep_finished_ms, p->size_keep_ms);
	p->keep_all_ms = shorter(p->finished_ms, s->tasks_keep_failed_ms);
}

struct prune *
prune_create(struct engine *e, struct err *err)
{
	struct prune *p = mem_zero(sizeof(*p));

	if (p == NULL || (p->timer = loop_timer_create(e->loop, on_time, p)) == NULL) {
		mem_free(p);
		err_set(err, ERR_NOMEM, "prune");
		return NULL;
	}
	p->engine = e;
	p->batch = BATCH_FIRST;
	set_times(p);
	p->keep_ms = p->keep_all_ms;
	pgparam_init(&p->params);
	return p;
}

void
prune_free(struct prune *p)
{
	if (p == NULL)
		return;
	loop_timer_free(p->timer);
	pgparam_fini(&p->params);
	mem_free(p->walks);
	mem_free(p);
}

void
prune_start(struct prune *p)
{
	p->running = true;
	p->passing = false;
	p->lap_due = true;
	loop_timer_start_ms(p->timer, AGAIN_MS);
}

void
prune_stop(struct prune *p)
{
	p->running = false;
	loop_timer_stop(p->timer);
}

/* ---------------------------------------------------------------- pace */

int64_t
prune_rest_ms(int64_t took_ms, int64_t pass_ms)
{
	int64_t rest_ms = REST * took_ms;

	if (pass_ms > CALM_MS)
		rest_ms = rest_ms * CALM_MS / pass_ms;
	return rest_ms > 1 ? rest_ms : 1;
}

int
prune_batch(int batch, int64_t took_ms, bool full)
{
	if (took_ms > SLOW_MS)
		batch /= 2;
	else if (took_ms <= SLOW_MS / 2 && full)
		batch += batch / 4;
	if (batch < BATCH_LEAST)
		return BATCH_LEAST;
	return batch < BATCH_MOST ? batch : BATCH_MOST;
}

int64_t
prune_size_keep_ms(const struct prune_size *s, int64_t now_ms)
{
	int64_t ms = now_ms;
	double fits;

	if (s->limit == 0)
		return 0;
	if (s->bytes > s->limit) {
		ms = shorter(shorter(ms, s->keep_ms), s->oldest_ms);
		/* as if as many had been submitted at all times, and a little less;
		 * they were not, so no more than half is believed at once */
		fits = 0.97 * (double)s->limit / (double)s->bytes;
		ms = (int64_t)((double)ms * (fits > 0.5 ? fits : 0.5));
		return ms > SIZE_KEEP_MS ? ms : SIZE_KEEP_MS;
	}
	if (s->bytes < s->limit / 20 * 19)
		ms += ms / 10;
	/* it binds no more */
	return ms >= (s->keep_ms != 0 ? s->keep_ms : 2 * s->oldest_ms) ? 0 : ms;
}

/* a hundredth of the time that tasks are kept, within bounds */
static int64_t
hundredth_ms(int64_t keep_ms, int64_t least_ms, int64_t most_ms)
{
	int64_t ms = keep_ms / 100;

	if (ms < least_ms)
		return least_ms;
	return ms < most_ms ? ms : most_ms;
}

/* ---------------------------------------------------------------- the pass */

static void
fail(struct prune *p, const struct pgerr *pe)
{
	if (pe->class != PGERR_LOST && pe->class != PGERR_RETRY)
		log_warn(NULL, "finished tasks could not be removed",
		    "class=%s sqlstate=%s reason=\"%.200s\"",
		    pgerr_class_name(pe->class), pe->sqlstate, pe->text);
	/* also when its answer did not come in time: it must get through some day */
	p->batch = prune_batch(p->batch, SLOW_MS + 1, false);
	loop_timer_start_ms(p->timer, AGAIN_MS);
}

static void
ask(struct prune *p, const struct pgstmt *st, const struct pgparam *params,
    pgconn_done_cb *cb)
{
	p->asked_ms = loop_now_ms(p->engine->loop);
	p->open =
	    store_exec(p->engine->store, STORE_TIDY, st, params, cb, p, NULL) == 0;
	if (!p->open) /* the connection is not there yet */
		loop_timer_start_ms(p->timer, AGAIN_MS);
}

static void
add_keep(struct pgparam *params, int64_t keep_ms)
{
	if (keep_ms == 0)
		pgparam_null(params, PGTYPE_INT8);
	else
		pgparam_int8(params, keep_ms);
}

/* asks for the next rows of those that have not come to their bound, by turns: of the
 * first of them, and of all with its bound */
static void
look(struct prune *p)
{
	const struct settings *s = p->engine->settings;
	struct pgparam *params = &p->params;
	const struct walk *asked[APPS_MOST];
	size_t count = 0;

	for (size_t i = 0; i < p->count && count < APPS_MOST; i++) {
		const struct walk *w = &p->walks[(p->next + i) % p->count];

		if (!w->ended && (count == 0 || uuid_eq(&w->bound, &asked[0]->bound)))
			asked[count++] = w;
	}
	if (count == 0)
		return; /* left says that there is one */
	pgparam_reset(params);
	pgparam_array(params, PGTYPE_INT4);
	for (size_t i = 0; i < count; i++)
		pgparam_elem_int4(params, asked[i]->app_id);
	pgparam_array_end(params);
	pgparam_array(params, PGTYPE_UUID);
	for (size_t i = 0; i < count; i++)
		pgparam_elem_uuid(params, &asked[i]->at);
	pgparam_array_end(params);
	pgparam_uuid(params, &asked[0]->bound);
	add_keep(params, p->finished_ms);
	add_keep(params, s->tasks_keep_failed_ms);
	pgparam_int4(params, p->batch);
	ask(p, &sql_prune, params, on_pruned);
}

static void
on_time(void *arg)
{
	struct prune *p = arg;

	if (p->open || !p->running)
		return;
	if (p->passing)
		look(p);
	else if (p->engine->settings->tasks_keep_size_bytes > 0)
		ask(p, &sql_task_bytes, NULL, on_bytes);
	else
		ask(p, &sql_prune_apps, NULL, on_apps);
}

/* milliseconds since 1970 that an id begins with */
static int64_t
id_ms(const struct uuid *id)
{
	int64_t ms = 0;

	for (int i = 0; i < 6; i++)
		ms = ms << 8 | id->b[i];
	return ms;
}

static void
tell_size(struct prune *p, const struct prune_size *s)
{
	int64_t now_ms = loop_now_ms(p->engine->loop);

	if (p->size_told_ms != 0 && now_ms - p->size_told_ms < HOUR_MS)
		return;
	p->size_told_ms = now_ms;
	log_warn(NULL,
	    "tasks take more than tasks.keep_size: finished ones go before their time",
	    "bytes=%lld keep_size=%lld kept_seconds=%lld", (long long)s->bytes,
	    (long long)s->limit, (long long)(p->size_keep_ms / 1000));
}

static void
on_bytes(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct prune *p = arg;
	const struct settings *set = p->engine->settings;
	struct prune_size s = {.limit = set->tasks_keep_size_bytes,
	    .keep_ms = set->tasks_keep_finished_ms};
	struct uuid first;

	p->open = false;
	if (!p->running)
		return;
	if (pe != NULL) {
		fail(p, pe);
		return;
	}
	/* there is no task at all: nothing is too large */
	if (pgrows_count(rows) == 1 && !pgrows_is_null(rows, 0, 1)) {
		s.bytes = pgrows_int(rows, 0, 0);
		pgrows_uuid(rows, 0, 1, &first);
		s.oldest_ms = engine_now_us(p->engine) / 1000 - id_ms(&first);
		if (s.oldest_ms < 1)
			s.oldest_ms = 1;
	}
	p->size_keep_ms = prune_size_keep_ms(&s, p->size_keep_ms);
	if (s.bytes > s.limit)
		tell_size(p, &s);
	set_times(p);
	ask(p, &sql_prune_apps, NULL, on_apps);
}

static void
set_bound(const struct prune *p, struct walk *w)
{
	int64_t ms = engine_now_us(p->engine) / 1000 - w->keep_ms -
		     hundredth_ms(w->keep_ms, SECOND_MS, HOUR_MS);

	memset(&w->bound, 0, sizeof(w->bound));
	for (int i = 0; ms > 0 && i < 6; i++)
		w->bound.b[i] = (uint8_t)(ms >> (40 - 8 * i));
}

/* the walks of the applications that there are; those that were there go on */
static int
set_walks(struct prune *p, const struct pgrows *rows)
{
	size_t count = (size_t)pgrows_count(rows), old = 0;
	struct walk *walks = mem_array(count > 0 ? count : 1, sizeof(*walks));

	if (walks == NULL)
		return -1;
	p->keep_ms = p->keep_all_ms;
	p->left = 0;
	for (size_t i = 0; i < count; i++) {
		walks[i].app_id = (int32_t)pgrows_int(rows, (int)i, 0);
		while (old < p->count && p->walks[old].app_id < walks[i].app_id)
			old++;
		if (!p->lap && old < p->count &&
		    p->walks[old].app_id == walks[i].app_id)
			walks[i].at = p->walks[old].at;
		walks[i].keep_ms = shorter(p->keep_all_ms, pgrows_int(rows, (int)i, 1));
		p->keep_ms = shorter(p->keep_ms, walks[i].keep_ms);
		walks[i].ended = walks[i].keep_ms == 0;
		p->left += !walks[i].ended;
		set_bound(p, &walks[i]);
	}
	mem_free(p->walks);
	p->walks = walks;
	p->count = count;
	p->next = 0;
	return 0;
}

static void
end_pass(struct prune *p)
{
	int64_t now_ms = loop_now_ms(p->engine->loop), took_ms = now_ms - p->started_ms;

	log_debug(NULL, "looked for finished tasks whose time is over",
	    "applications=%zu looked=%lld removed=%lld ms=%lld lap=%d batch=%d",
	    p->count, (long long)p->looked, (long long)p->removed, (long long)took_ms,
	    p->lap, p->batch);
	if (p->removed > LARGE && (p->told_ms == 0 || now_ms - p->told_ms >= HOUR_MS)) {
		p->told_ms = now_ms;
		log_info(NULL, "many finished tasks were removed",
		    "tasks=%lld seconds=%lld", (long long)p->removed,
		    (long long)(took_ms / 1000));
	}
	if (p->lap)
		p->lap_took_ms = took_ms;
	p->passing = false;
	loop_timer_start_ms(p->timer,
	    p->keep_ms == 0 ? FOR_EVER_MS
			    : hundredth_ms(p->keep_ms, SECOND_MS, 10 * SECOND_MS));
}

static bool
is_lap_due(const struct prune *p)
{
	int64_t gap_ms = hundredth_ms(p->keep_ms, MINUTE_MS, HOUR_MS);

	if (gap_ms < LAP_REST * p->lap_took_ms)
		gap_ms = LAP_REST * p->lap_took_ms;
	if (gap_ms > HOUR_MS)
		gap_ms = HOUR_MS;
	return p->lap_due || loop_now_ms(p->engine->loop) - p->lap_ms >= gap_ms;
}

static void
on_apps(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct prune *p = arg;

	p->open = false;
	if (!p->running)
		return;
	if (pe != NULL) {
		fail(p, pe);
		return;
	}
	p->lap = is_lap_due(p);
	if (set_walks(p, rows) != 0) {
		loop_timer_start_ms(p->timer, AGAIN_MS);
		return;
	}
	p->passing = true;
	p->started_ms = loop_now_ms(p->engine->loop);
	p->looked = p->removed = 0;
	if (p->lap) {
		p->lap_due = false;
		p->lap_ms = p->started_ms;
	}
	if (p->left == 0)
		end_pass(p);
	else
		look(p);
}

static int
by_app(const void *x, const void *y)
{
	const struct walk *a = x, *b = y;

	return (a->app_id > b->app_id) - (a->app_id < b->app_id);
}

/* where the walks stand now; returns whether the whole batch was looked at */
static bool
move_on(struct prune *p, const struct pgrows *rows)
{
	struct walk key = {0}, *w;
	int64_t looked = 0, removed = 0;

	for (int i = 0; i < pgrows_count(rows); i++) {
		looked += pgrows_int(rows, i, 3);
		removed += pgrows_int(rows, i, 4);
		key.app_id = (int32_t)pgrows_int(rows, i, 0);
		w = bsearch(&key, p->walks, p->count, sizeof(*w), by_app);
		if (w == NULL)
			continue;
		pgrows_uuid(rows, i, 1, &w->at);
		w->ended = pgrows_bool(rows, i, 2);
		p->left -= w->ended;
		p->next = (size_t)(w - p->walks) + 1;
	}
	p->looked += looked;
	p->removed += removed;
	score_add(p->engine->slot, SCORE_tasks_pruned_total, (uint64_t)removed);
	return looked >= p->batch;
}

static void
on_pruned(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct prune *p = arg;
	int64_t now_ms = loop_now_ms(p->engine->loop), took_ms = now_ms - p->asked_ms;
	bool full;

	p->open = false;
	if (!p->running)
		return;
	if (pe != NULL) {
		fail(p, pe);
		return;
	}
	full = move_on(p, rows);
	p->batch = prune_batch(p->batch, took_ms, full);
	if (p->passing && p->left == 0)
		end_pass(p);
	else /* (not passing: it was under way when we were stopped and started) */
		loop_timer_start_ms(
		    p->timer, prune_rest_ms(took_ms, now_ms - p->started_ms));
}
