/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lanes.c - a small sorted table; see lanes.h.
 */
#include "engine/lanes.h"

#include <string.h>

void
lanes_clear(struct lanes *ls)
{
	ls->count = 0;
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

void
lanes_note(struct lanes *ls, int queue_id, int type_id, int64_t order_us)
{
	size_t i = find(ls, queue_id, type_id);
	struct lane *l = &ls->all[i];

	if (i < ls->count && l->queue_id == queue_id && l->type_id == type_id) {
		if (order_us > l->from_us)
			l->from_us = order_us;
		return;
	}
	if (ls->count == LANES_MOST)
		return;
	memmove(l + 1, l, (ls->count - i) * sizeof(*l));
	*l = (struct lane){queue_id, type_id, order_us};
	ls->count++;
}

void
lanes_put(const struct lanes *ls, struct pgparam *p)
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
		pgparam_elem_int8(p, ls->all[i].from_us);
	pgparam_array_end(p);
}
