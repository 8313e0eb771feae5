/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pulse.c - what this node has done since it last told, for views of the whole cluster.
 *
 * The worker that beats for the node tells for it, all workers together, from the
 * scoreboard.  Not while nothing is counted: then once in half a minute, so that
 * memory and load are not forgotten.  What is lost with a statement is a gap in a
 * curve.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"
#include "proc/procutil.h"

#define TELL_MS	 3000
#define QUIET_MS 30000

enum { SUBMITTED = 0, STARTED, SUCCEEDED, RETRIED, FAILED, COUNTS };

struct pulse {
	struct engine *engine;
	struct loop_timer *timer;
	bool open;
	bool begun; /* what follows is of now or before */
	int64_t since_ms, told_ms;
	uint64_t counts[COUNTS];
	int64_t cpu_ms;
};

static void on_tick(void *arg);

struct pulse *
pulse_create(struct engine *e, struct err *err)
{
	struct pulse *p = mem_zero(sizeof(*p));

	if (p == NULL || (p->timer = loop_timer_create(e->loop, on_tick, p)) == NULL) {
		mem_free(p);
		err_set(err, ERR_NOMEM, "pulse");
		return NULL;
	}
	p->engine = e;
	loop_timer_start_ms(p->timer, TELL_MS);
	return p;
}

void
pulse_free(struct pulse *p)
{
	if (p == NULL)
		return;
	loop_timer_free(p->timer);
	mem_free(p);
}

static void
read_counts(const struct scoreboard *b, uint64_t counts[COUNTS])
{
	counts[SUBMITTED] = score_total(b, SCORE_tasks_submitted_total);
	counts[STARTED] = score_total(b, SCORE_tasks_claimed_total) +
			  score_total(b, SCORE_leases_given_total);
	counts[SUCCEEDED] = score_total(b, SCORE_tasks_succeeded_total);
	counts[RETRIED] = score_total(b, SCORE_tasks_retried_total);
	counts[FAILED] = score_total(b, SCORE_tasks_failed_total);
}

/* of the workers that live */
static int64_t
read_cpu_ms(const struct scoreboard *b)
{
	int64_t sum = 0;

	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		pid_t pid = atomic_load(&b->slots[i].pid);

		if (pid != 0)
			sum += process_cpu_ms(pid);
	}
	return sum;
}

static void
on_told(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct pulse *p = arg;

	(void)rows;
	p->open = false;
	if (pe != NULL && pe->class != PGERR_LOST)
		log_debug(NULL, "the pulse was not written",
		    "sqlstate=%s reason=\"%.200s\"", pe->sqlstate, pe->text);
}

static void
tell(struct pulse *p, int64_t span_ms, const uint64_t more[COUNTS], int64_t cpu_ms)
{
	struct engine *e = p->engine;
	const struct scoreboard *b = e->board;
	double load = 0;
	struct pgparam params;

	pgparam_init(&params);
	pgparam_text(&params, b->node_text);
	pgparam_int4(&params, (int32_t)span_ms);
	pgparam_array(&params, PGTYPE_INT8);
	for (int i = 0; i < COUNTS; i++)
		pgparam_elem_int8(&params, (int64_t)more[i]);
	pgparam_array_end(&params);
	pgparam_int8(&params, cpu_ms);
	pgparam_int8(&params, (int64_t)score_total(b, SCORE_memory_bytes));
	pgparam_int4(&params, (int32_t)(score_total(b, SCORE_waiters) +
					score_total(b, SCORE_lease_waiters)));
	if (getloadavg(&load, 1) == 1)
		pgparam_int4(&params, (int32_t)(load * 100));
	else
		pgparam_null(&params, PGTYPE_INT4);
	p->open = store_exec(
		      e->store, STORE_READ, &sql_pulse, &params, on_told, p, NULL) == 0;
	pgparam_fini(&params);
}

static void
on_tick(void *arg)
{
	struct pulse *p = arg;
	struct engine *e = p->engine;
	int64_t now_ms = clock_mono_ms(), span_ms, cpu_ms, more_cpu_ms;
	uint64_t counts[COUNTS], more[COUNTS];
	bool quiet = true;

	loop_timer_start_ms(p->timer, TELL_MS);
	if (p->open)
		return; /* what comes meanwhile is in the next span */
	if (!e->registered || e->ending || !beat_is_ours(e, now_ms)) {
		p->begun = false;
		return;
	}
	read_counts(e->board, counts);
	cpu_ms = read_cpu_ms(e->board);
	for (int i = 0; i < COUNTS; i++) {
		more[i] = counts[i] - p->counts[i];
		quiet &= more[i] == 0;
		p->counts[i] = counts[i];
	}
	/* one that was replaced has taken its time with it */
	more_cpu_ms = cpu_ms > p->cpu_ms ? cpu_ms - p->cpu_ms : 0;
	span_ms = now_ms - p->since_ms;
	p->since_ms = now_ms;
	p->cpu_ms = cpu_ms;
	if (!p->begun) {
		p->begun = true;
		return;
	}
	if (quiet && now_ms - p->told_ms < QUIET_MS)
		return;
	/* the end of a busy time is told too: its last rates must not stay */
	p->told_ms = quiet ? now_ms : now_ms - QUIET_MS;
	tell(p, span_ms, more, more_cpu_ms);
}
