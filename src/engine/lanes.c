/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lanes.c - a small sorted table; see lanes.h.
 */
#include "engine/lanes.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define FEW_LANES  64 /* of all applications together, that a short pass reads */
#define IDLE_TAKE  8
#define LEAST_TAKE 2

void
lanes_fini(struct lanes *ls)
{
	mem_free(ls->all);
	*ls = (struct lanes){0};
}

/* the first lane that is not before (queue, type) */
static size_t
find(const struct lanes *ls, int queue_id, int type_id)
{
	size_t low = 0, high = ls->count;

	while (low < high) {
		size_t mid = (low + high) / 2;
		const struct lane *l = &ls->all[mid];

		if (l->queue_id < queue_id ||
		    (l->queue_id == queue_id && l->type_id < type_id))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct lane *
lanes_find(const struct lanes *ls, int queue_id, int type_id)
{
	size_t i = find(ls, queue_id, type_id);
	struct lane *l;

	if (i == ls->count)
		return NULL;
	l = &ls->all[i];
	return l->queue_id == queue_id && l->type_id == type_id ? l : NULL;
}

static int
make_room(struct lanes *ls)
{
	size_t room = ls->room > 0 ? 2 * ls->room : 16;
	struct lane *more;

	if (ls->count < ls->room)
		return 0;
	if (ls->count == LANES_MOST ||
	    (more = mem_resize(ls->all, room, sizeof(*more))) == NULL)
		return -1;
	ls->all = more;
	ls->room = room;
	return 0;
}

struct lane *
lanes_note(struct lanes *ls, int queue_id, int type_id)
{
	struct lane *l = lanes_find(ls, queue_id, type_id);
	size_t i;

	if (l != NULL)
		return l;
	if (make_room(ls) != 0)
		return NULL;
	i = find(ls, queue_id, type_id);
	l = &ls->all[i];
	memmove(l + 1, l, (ls->count - i) * sizeof(*l));
	*l = (struct lane){.queue_id = queue_id, .type_id = type_id};
	ls->count++;
	return l;
}

void
lanes_rewind(struct lanes *ls)
{
	for (size_t i = 0; i < ls->count; i++) {
		ls->all[i].from_us = 0;
		ls->all[i].ties = 0;
		ls->all[i].dry = false;
	}
}

void
lanes_forget(struct lanes *ls, int64_t before_ms)
{
	size_t kept = 0;

	for (size_t i = 0; i < ls->count; i++) {
		if (ls->all[i].busy || ls->all[i].busy_ms >= before_ms)
			ls->all[kept++] = ls->all[i];
	}
	ls->count = kept;
}

/* ---------------------------------------------------------------- shares */

/* by application; those of one by what comes next in them */
static int
by_next(const void *x, const void *y)
{
	const struct lane *a = *(struct lane *const *)x, *b = *(struct lane *const *)y;

	if (a->app_id != b->app_id)
		return a->app_id < b->app_id ? -1 : 1;
	return a->next_us < b->next_us ? -1 : a->next_us > b->next_us;
}

/* the busy ones in that order; *apps and *weights are of their applications */
static size_t
list_busy(struct lanes *ls, struct lane **busy, bool on, size_t *apps, int64_t *weights)
{
	size_t count = 0;

	*apps = 0;
	*weights = 0;
	for (size_t i = 0; i < ls->count; i++) {
		ls->all[i].take = IDLE_TAKE;
		if (ls->all[i].busy && !(on && ls->all[i].dry))
			busy[count++] = &ls->all[i];
	}
	qsort(busy, count, sizeof(*busy), by_next);
	for (size_t i = 0; i < count; i++) {
		if (i > 0 && busy[i]->app_id == busy[i - 1]->app_id)
			continue;
		(*apps)++;
		*weights += busy[i]->weight;
	}
	return count;
}

static int
part_of(int64_t most, int64_t weight, int64_t weights, size_t lanes)
{
	int64_t part = (2 * most * weight / weights + (int64_t)lanes) / (int64_t)lanes;

	if (part < LEAST_TAKE)
		part = LEAST_TAKE;
	return (int)(part < most ? part : most);
}

void
lanes_share(struct lanes *ls, int most, bool on)
{
	struct lane **busy;
	size_t count, apps, each, n;
	int64_t weights;
	int part;

	if (ls->count == 0)
		return;
	busy = mem_array(ls->count, sizeof(struct lane *));
	if (busy == NULL) {
		for (size_t i = 0; i < ls->count; i++)
			ls->all[i].take = IDLE_TAKE; /* slowly, then */
		return;
	}
	count = list_busy(ls, busy, on, &apps, &weights);
	if (count == 1)
		busy[0]->take = most;
	each = on && count > FEW_LANES ? FEW_LANES / apps : count;
	if (each < LEAST_TAKE)
		each = LEAST_TAKE;
	for (size_t i = 0; count > 1 && i < count; i += n) {
		n = 1;
		while (i + n < count && busy[i + n]->app_id == busy[i]->app_id)
			n++;
		part = part_of(most, busy[i]->weight, weights, n < each ? n : each);
		for (size_t k = 0; k < n; k++)
			busy[i + k]->take = k < each ? part : 0;
	}
	mem_free(busy);
}

void
lanes_rest(struct lanes *ls)
{
	for (size_t i = 0; i < ls->count; i++) {
		struct lane *l = &ls->all[i];

		l->take = l->busy && !l->dry ? LANE_FRESH : IDLE_TAKE;
	}
}

static void
put_from(const struct lane *l, enum lanes_from from, struct pgparam *p)
{
	int64_t us = from == LANES_ON ? l->from_us : from == LANES_LOW ? l->low_us : 0;

	if (us > 0)
		pgparam_elem_int8(p, us);
	else
		pgparam_elem_null(p);
}

void
lanes_put(const struct lanes *ls, enum lanes_from from, struct pgparam *p)
{
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < ls->count; i++)
		pgparam_elem_int4(p, ls->all[i].queue_id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < ls->count; i++)
		pgparam_elem_int4(p, ls->all[i].type_id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT8);
	for (size_t i = 0; i < ls->count; i++)
		put_from(&ls->all[i], from, p);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	for (size_t i = 0; i < ls->count; i++) {
		const struct lane *l = &ls->all[i];

		pgparam_elem_int4(
		    p, l->take > 0 && from == LANES_ON ? l->take + l->ties : l->take);
	}
	pgparam_array_end(p);
}
