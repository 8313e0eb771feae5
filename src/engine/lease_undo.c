/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_undo.c - leases that nobody has are given back, at no cost.
 *
 * Those of a client that has hung up are undone at once.  Where nobody knows whether
 * the statement was executed its leases are undone again and again, for a while: it may
 * be executed later than what undoes it.
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/leases_int.h"
#include "store/leases.h"

#define AGAIN_MS 1000 /* after an error */
#define ROWS	 256  /* in one statement */
#define MOST	 20000

static const int64_t steps_ms[LEASE_UNDO_TRIES] = {0, 1000, 5000, 15000};

struct undo {
	struct uuid lease;
	int tries;	/* that are left; 1: the last one */
	int64_t due_ms; /* not before */
};

struct lease_undo {
	struct engine *engine;
	struct undo *all;
	size_t count, room;
	size_t sent; /* the first so many are in the statement under way */
	struct loop_timer *timer;
};

static void on_time(void *arg);

struct lease_undo *
lease_undo_create(struct engine *e)
{
	struct lease_undo *u = mem_zero(sizeof(*u));

	if (u == NULL || (u->timer = loop_timer_create(e->loop, on_time, u)) == NULL) {
		mem_free(u);
		return NULL;
	}
	u->engine = e;
	return u;
}

void
lease_undo_free(struct lease_undo *u)
{
	if (u == NULL)
		return;
	loop_timer_free(u->timer);
	mem_free(u->all);
	mem_free(u);
}

bool
lease_undo_idle(const struct lease_undo *u)
{
	return u->count == 0;
}

void
lease_undo_add(struct lease_undo *u, const struct uuid *lease, int tries)
{
	struct undo *more;

	if (u->count == u->room) {
		size_t room = u->room == 0 ? 256 : 2 * u->room;

		more =
		    u->count >= MOST ? NULL : mem_resize(u->all, room, sizeof(*more));
		if (more == NULL) {
			log_warn(NULL,
			    "a lease that nobody has is not undone: it "
			    "runs out by itself",
			    " ");
			return;
		}
		u->all = more;
		u->room = room;
	}
	u->all[u->count++] = (struct undo){*lease, tries, loop_now_ms(u->engine->loop)};
	if (u->sent == 0)
		loop_timer_start_ms(u->timer, 0);
}

static void
later(struct lease_undo *u)
{
	int64_t first_ms = INT64_MAX, now_ms = loop_now_ms(u->engine->loop);

	for (size_t i = 0; i < u->count; i++) {
		if (u->all[i].due_ms < first_ms)
			first_ms = u->all[i].due_ms;
	}
	if (u->count > 0)
		loop_timer_start_ms(
		    u->timer, first_ms > now_ms ? first_ms - now_ms : 0);
}

static void
on_undone(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct lease_undo *u = arg;
	struct engine *e = u->engine;
	int64_t now_ms = loop_now_ms(e->loop);
	size_t kept = 0;

	for (size_t i = 0; i < u->count; i++) {
		struct undo one = u->all[i];

		if (i < u->sent && pe == NULL) {
			if (--one.tries == 0)
				continue;
			one.due_ms = now_ms + steps_ms[LEASE_UNDO_TRIES - one.tries];
		} else if (i < u->sent) {
			one.due_ms = now_ms + AGAIN_MS;
		}
		u->all[kept++] = one;
	}
	u->count = kept;
	u->sent = 0;
	if (pe == NULL)
		score_add(
		    e->slot, SCORE_leases_undone_total, (uint64_t)pgrows_count(rows));
	else if (pe->class != PGERR_LOST)
		log_warn(NULL, "leases could not be undone yet",
		    "sqlstate=%s reason=\"%.200s\"", pe->sqlstate, pe->text);
	for (int i = 0; pe == NULL && i < pgrows_count(rows); i++)
		leases_hint(e->leases, (int)pgrows_int(rows, i, 0),
		    (int)pgrows_int(rows, i, 1));
	if (e->ending)
		return;
	later(u);
	engine_check_drained(e);
}

static int
by_due(const void *x, const void *y)
{
	const struct undo *a = x, *b = y;

	return a->due_ms < b->due_ms ? -1 : a->due_ms > b->due_ms;
}

static void
on_time(void *arg)
{
	struct lease_undo *u = arg;
	struct pgparam p;

	if (u->sent > 0 || u->count == 0)
		return;
	qsort(u->all, u->count, sizeof(*u->all), by_due);
	pgparam_init(&p);
	pgparam_array(&p, PGTYPE_UUID);
	while (u->sent < ROWS && u->sent < u->count &&
	       u->all[u->sent].due_ms <= loop_now_ms(u->engine->loop))
		pgparam_elem_uuid(&p, &u->all[u->sent++].lease);
	pgparam_array_end(&p);
	if (u->sent > 0 && store_exec(u->engine->store, STORE_READ, &leases_undo, &p,
			       on_undone, u, NULL) != 0) {
		u->sent = 0;
		loop_timer_start_ms(u->timer, AGAIN_MS);
	} else if (u->sent == 0) {
		later(u);
	}
	pgparam_fini(&p);
}
