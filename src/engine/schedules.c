/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedules.c - the leader's part that makes the tasks of schedules.
 *
 * It sleeps until the earliest instant that PostgreSQL named, asks which schedules are
 * due, computes for each what to fire and when it is next, and says both in one
 * statement.  That statement decides: by PostgreSQL's clock, by the schedule's rev, and
 * by the row of each fire.  Nothing is remembered here, so a leader that goes takes
 * nothing with it, and two of them fire nothing twice.
 *
 * A change of a schedule, on any node, comes as a message; whoever missed it is told by
 * the leader's watch, each few seconds, or looks by itself while Redis is away.
 *
 * A schedule that cannot be computed (this node has no such zone any more) keeps its
 * instant and says what is wrong; it is tried again each minute, and what it missed
 * meanwhile goes by its policy.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"
#include "model/rule.h"
#include "store/schedules.h"

#define LOOK_MS	      60000 /* schedules_told comes before */
#define LOOK_ALONE_MS 1000
#define AGAIN_MS      500 /* after an error */
#define SCHEDULES_DUE 50  /* schedules in one statement */
#define FIRES_MOST    200 /* fires in one statement, of which one schedule may have */
#define FIRES_OF_ONE  100
#define HINT_GAP_MS   1

struct schedules {
	struct engine *engine;
	struct loop_timer *timer;
	bool running;
	bool open;   /* a statement is under way */
	bool hinted; /* look again when it has ended */
	bool full;   /* there was more than one statement takes */
	int64_t asked_ms;
	int64_t at_ms;	 /* the timer runs until then */
	int64_t wait_ms; /* until another is due, when last asked; -1: none */
	struct rule_due due;
};

/* the arrays of sql_fire_schedules, in its order */
enum list {
	LIST_IDS = 0,
	LIST_REVS,
	LIST_NEXTS,
	LIST_PASSED,
	LIST_MORE,
	LIST_FIRSTS,
	LIST_PROBLEMS,
	LIST_COUNTS,
	LIST_ATS,
	LIST_RUNS,
	LIST_COUNT
};

/* what is to be said of one schedule */
struct firing {
	int id, rev;
	int64_t jitter_ms;
	int64_t next_us, passed, first_us;
	bool more;
	char problem[200]; /* "": none */
	size_t at, count;  /* of the batch's instants */
};

struct firing_batch {
	struct firing firings[SCHEDULES_DUE];
	size_t count;
	int64_t at_us[FIRES_MOST];
	size_t fires;
};

static void on_time(void *arg);
static void on_due(const struct pgrows *rows, const struct pgerr *pe, void *arg);
static void on_fired(const struct pgrows *rows, const struct pgerr *pe, void *arg);

struct schedules *
schedules_create(struct engine *e, struct err *err)
{
	struct schedules *s = mem_zero(sizeof(*s));

	if (s == NULL || (s->timer = loop_timer_create(e->loop, on_time, s)) == NULL) {
		mem_free(s);
		err_set(err, ERR_NOMEM, "schedules");
		return NULL;
	}
	s->engine = e;
	return s;
}

void
schedules_free(struct schedules *s)
{
	if (s == NULL)
		return;
	loop_timer_free(s->timer);
	mem_free(s);
}

void
schedules_start(struct schedules *s)
{
	s->running = true;
	loop_timer_start_ms(s->timer, 0);
}

void
schedules_stop(struct schedules *s)
{
	s->running = false;
	loop_timer_stop(s->timer);
}

void
schedules_hint(struct schedules *s)
{
	s->hinted = true;
	if (s->running && !s->open)
		loop_timer_start_ms(s->timer, HINT_GAP_MS);
}

/* ---------------------------------------------------------------- pace */

static void
look_in(struct schedules *s, int64_t ms)
{
	s->at_ms = loop_now_ms(s->engine->loop) + ms;
	loop_timer_start_ms(s->timer, ms);
}

void
schedules_told(struct schedules *s, int64_t wait_ms)
{
	if (wait_ms < HINT_GAP_MS)
		wait_ms = HINT_GAP_MS;
	if (s->running && !s->open && loop_now_ms(s->engine->loop) + wait_ms < s->at_ms)
		look_in(s, wait_ms);
}

static void
rest(struct schedules *s)
{
	int64_t most_ms = broker_is_up(s->engine->broker) ? LOOK_MS : LOOK_ALONE_MS;
	int64_t ms = most_ms;

	if (s->hinted || s->full)
		ms = HINT_GAP_MS;
	else if (s->wait_ms >= 0) {
		/* it was told at some moment after the question left */
		ms = s->wait_ms - (loop_now_ms(s->engine->loop) - s->asked_ms);
		ms = ms < HINT_GAP_MS ? HINT_GAP_MS : ms > most_ms ? most_ms : ms;
	}
	look_in(s, ms);
}

static void
fail(struct schedules *s, const struct pgerr *pe)
{
	if (pe != NULL && pe->class != PGERR_LOST && pe->class != PGERR_RETRY)
		log_warn(NULL, "schedules could not be fired",
		    "class=%s sqlstate=%s reason=\"%.200s\"",
		    pgerr_class_name(pe->class), pe->sqlstate, pe->text);
	look_in(s, AGAIN_MS);
}

static void
on_time(void *arg)
{
	struct schedules *s = arg;
	struct pgparam p;

	if (s->open) /* from before we were stopped and started */
		return;
	s->hinted = false;
	s->asked_ms = loop_now_ms(s->engine->loop);
	pgparam_init(&p);
	pgparam_int4(&p, SCHEDULES_DUE);
	s->open = store_exec(s->engine->store, STORE_LEAD, &sql_due_schedules, &p,
		      on_due, s, NULL) == 0;
	pgparam_fini(&p);
	if (!s->open) /* the connection is not there yet */
		look_in(s, AGAIN_MS);
}

/* ---------------------------------------------------------------- what to fire */

static int
rule_of(const struct pgrows *rows, int row, struct rule *r, struct err *err)
{
	const char *zone = pgrows_text(rows, row, DUE_ZONE, NULL);

	r->gap = (enum rule_gap)pgrows_int(rows, row, DUE_GAP);
	r->overlap = (enum rule_overlap)pgrows_int(rows, row, DUE_OVERLAP);
	if (cron_parse(pgrows_text(rows, row, DUE_CRON, NULL), &r->cron, err) != 0)
		return -1;
	r->zone = zone_get(zone, err);
	return r->zone != NULL ? 0 : -1;
}

/* false: the batch has no room for it */
static bool
compute(struct schedules *s, const struct pgrows *rows, int row, int64_t now_us,
    struct firing_batch *b)
{
	struct firing *f = &b->firings[b->count];
	struct rule_due *due = &s->due;
	struct err err = ERR_INIT;
	struct rule r;
	size_t count;

	memset(f, 0, sizeof(*f));
	f->id = (int)pgrows_int(rows, row, DUE_ID);
	f->rev = (int)pgrows_int(rows, row, DUE_REV);
	f->jitter_ms = pgrows_int(rows, row, DUE_JITTER);
	f->at = b->fires;
	if (rule_of(rows, row, &r, &err) != 0 ||
	    rule_due(&r, (enum rule_missed)pgrows_int(rows, row, DUE_MISSED),
		(int)pgrows_int(rows, row, DUE_MISSED_LIMIT),
		pgrows_int(rows, row, DUE_NEXT), now_us, due, &err) != 0) {
		snprintf(f->problem, sizeof(f->problem), "%.190s", err.text);
		log_error(NULL, "a schedule cannot be computed",
		    "schedule=%s id=%d reason=\"%s\"",
		    pgrows_text(rows, row, DUE_NAME, NULL), f->id, f->problem);
		b->count++;
		return true;
	}
	count = (size_t)due->count;
	if (count > FIRES_OF_ONE)
		count = FIRES_OF_ONE;
	if (b->fires + count > FIRES_MOST)
		return false;
	memcpy(b->at_us + b->fires, due->at_us, count * sizeof(due->at_us[0]));
	b->fires += count;
	f->count = count;
	/* what does not fit is due still, and comes in the next statement */
	f->next_us = count < (size_t)due->count ? due->at_us[count] : due->next_us;
	s->full |= count < (size_t)due->count;
	f->passed = due->missed;
	f->more = due->more;
	f->first_us = due->first_us;
	if (f->passed > 0)
		log_warn(NULL, "a schedule was not fired in time",
		    "schedule=%s id=%d missed=%lld fired=%d",
		    pgrows_text(rows, row, DUE_NAME, NULL), f->id, (long long)f->passed,
		    due->count);
	b->count++;
	return true;
}

static void
put_us(struct pgparam *p, int64_t us)
{
	if (us != 0)
		pgparam_elem_int8(p, us);
	else
		pgparam_elem_null(p);
}

static void
put_elem(struct pgparam *p, const struct firing *f, enum list list)
{
	switch (list) {
	case LIST_IDS:
		pgparam_elem_int4(p, f->id);
		break;
	case LIST_REVS:
		pgparam_elem_int4(p, f->rev);
		break;
	case LIST_NEXTS:
		put_us(p, f->next_us);
		break;
	case LIST_PASSED:
		pgparam_elem_int8(p, f->passed);
		break;
	case LIST_MORE:
		pgparam_elem_bool(p, f->more);
		break;
	case LIST_FIRSTS:
		put_us(p, f->first_us);
		break;
	case LIST_PROBLEMS:
		if (f->problem[0] != '\0')
			pgparam_elem_text(p, f->problem, strlen(f->problem));
		else
			pgparam_elem_null(p);
		break;
	default:
		pgparam_elem_int4(p, (int32_t)f->count);
		break;
	}
}

/* not before this, as microseconds; a time that has passed is none */
static int64_t
run_us(int64_t at_us, int64_t jitter_ms)
{
	return at_us + (int64_t)random_below((uint64_t)jitter_ms * 1000 + 1);
}

static void
put_params(const struct engine *e, const struct firing_batch *b, struct pgparam *p)
{
	static const enum pgtype types[LIST_COUNT] = {PGTYPE_INT4, PGTYPE_INT4,
	    PGTYPE_INT8, PGTYPE_INT8, PGTYPE_BOOL, PGTYPE_INT8, PGTYPE_TEXT,
	    PGTYPE_INT4, PGTYPE_INT8, PGTYPE_INT8};

	pgparam_uuid(p, &e->owner);
	pgparam_int4(p, (int32_t)e->settings->tasks_priority_aging_ms);
	for (int list = 0; list < LIST_COUNT; list++) {
		pgparam_array(p, types[list]);
		for (size_t i = 0; i < b->count; i++) {
			const struct firing *f = &b->firings[i];

			if (list < LIST_ATS) {
				put_elem(p, f, (enum list)list);
				continue;
			}
			for (size_t k = f->at; k < f->at + f->count; k++)
				pgparam_elem_int8(
				    p, list == LIST_ATS
					   ? b->at_us[k]
					   : run_us(b->at_us[k], f->jitter_ms));
		}
		pgparam_array_end(p);
	}
}

static bool
fire(struct schedules *s, const struct firing_batch *b)
{
	struct pgparam p;
	bool sent;

	pgparam_init(&p);
	put_params(s->engine, b, &p);
	sent = store_exec(s->engine->store, STORE_LEAD, &sql_fire_schedules, &p,
		   on_fired, s, NULL) == 0;
	pgparam_fini(&p);
	return sent;
}

static void
on_due(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct schedules *s = arg;
	struct firing_batch *b;
	int64_t now_us;
	int count;

	s->open = false;
	if (!s->running)
		return;
	if (pe != NULL) {
		fail(s, pe);
		return;
	}
	count = pgrows_count(rows);
	s->full = count > SCHEDULES_DUE;
	s->wait_ms =
	    pgrows_is_null(rows, 0, DUE_WAIT) ? -1 : pgrows_int(rows, 0, DUE_WAIT);
	if (count == 1) {
		rest(s);
		return;
	}
	now_us = pgrows_int(rows, 0, DUE_NOW);
	b = mem_zero(sizeof(*b));
	if (b == NULL) {
		fail(s, NULL);
		return;
	}
	for (int row = 1; row < count; row++)
		s->full |= !compute(s, rows, row, now_us, b);
	s->open = fire(s, b);
	mem_free(b);
	if (!s->open)
		fail(s, NULL);
}

static void
on_fired(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct schedules *s = arg;
	int64_t made = 0;

	s->open = false;
	if (!s->running)
		return;
	if (pe != NULL) {
		fail(s, pe);
		return;
	}
	for (int i = 0; i < pgrows_count(rows); i++) {
		made += pgrows_int(rows, i, 1);
		if (pgrows_int(rows, i, 3) > 0)
			log_warn(NULL, "a schedule's task was refused",
			    "id=%lld reason=\"%.200s\"",
			    (long long)pgrows_int(rows, i, 0),
			    pgrows_is_null(rows, i, 4) ? ""
						       : pgrows_text(rows, i, 4, NULL));
	}
	if (made > 0) {
		score_add(s->engine->slot, SCORE_schedules_fired_total, (uint64_t)made);
		engine_hint(s->engine); /* they are committed: let them be pushed */
	}
	/* their next instants are known to PostgreSQL alone */
	look_in(s, HINT_GAP_MS);
}
