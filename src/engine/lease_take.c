/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_take.c - the statement that leases tasks for those who wait, one at a time.
 *
 * It takes dirty lines, those of one statement by who waits longest, with slots for
 * those who wait; a row names its slot.  Its ids are drawn here, so that whatever
 * becomes of the answer they can be undone (lease_undo.c).
 *
 * Why a lease is not first the worker's own, and handed over when its answer is
 * written: that needs a second statement, and between the answer and its commit a node
 * that dies takes the task from a client that has it and works.  As it is, a node that
 * dies in the fraction of a millisecond between the commit and the write leaves a task
 * that rests until its lease runs out; nothing runs twice.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "engine/leases_int.h"
#include "store/leases.h"

#define SLOTS_OF_LINE 256
#define BUSY_MIN_MS   3 /* another leases for that application just now */
#define BUSY_MAX_MS   15

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

	if (most > LEASE_SLOTS_MOST)
		most = LEASE_SLOTS_MOST;
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
	while ((line = TAILQ_FIRST(&ls->dirty)) != NULL && n < LEASE_LINES_MOST) {
		TAILQ_REMOVE(&ls->dirty, line, dirty_link);
		line->dirty = false;
		if (!TAILQ_EMPTY(&line->waits)) /* (it is not there for long) */
			ls->asks[n++] = line;
	}
	qsort(ls->asks, n, sizeof(*ls->asks), by_first);
	for (size_t i = 0; i < n; i++) {
		if (ls->slot_count == LEASE_SLOTS_MOST) {
			lease_line_due(ls, ls->asks[i]);
			continue;
		}
		ls->asks[i]->sent = true;
		ls->asks[i]->after = ls->asks[i]->late;
		ls->ask_count++;
		fill_line(ls, ls->asks[i]);
	}
}

/* the parameters of leases_take, in their order: what is asked for ... */
static void
put_asks(struct leases *ls, struct pgparam *p)
{
	size_t n = ls->ask_count;

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
		const char *name = lease_line_types(ls->asks[i]);

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
}

/* ... and by whom */
static void
put_slots(struct leases *ls, struct pgparam *p)
{
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

static void
fill_params(struct leases *ls)
{
	pgparam_reset(&ls->params);
	pgparam_uuid(&ls->params, &ls->engine->owner);
	pgparam_int4(&ls->params, ls->batch);
	put_asks(ls, &ls->params);
	put_slots(ls, &ls->params);
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
		lease_line_put(ls, ls->asks[i]);
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
			lease_tell_none(w, err);
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
	if (lease_tell(w, rows, grants, count, NULL)) {
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
	int64_t turn_ms = leases_turn_ms(ls);
	int64_t left_before_us = engine_now_us(ls->engine) - 1000 * turn_ms;
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
		if (line->after && l.run_at_us >= left_before_us)
			lease_hints_rest(ls->hints, line->name, turn_ms);
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
		lease_line_due(ls, line);
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
			lease_line_due(ls, ls->asks[i]);
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

void
lease_take_next(void *arg)
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

void
lease_take_forget(struct leases *ls, struct lease_wait *w)
{
	for (size_t i = 0; w->slots > 0 && i < ls->slot_count; i++) {
		if (ls->slots[i].wait == w) {
			ls->slots[i].wait = NULL;
			w->slots--;
		}
	}
}
