/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shares.c - start-time fair queueing over applications; see shares.h.
 */
#include "engine/shares.h"

#include <string.h>

#include "base/mem.h"

void
shares_fini(struct shares *sh)
{
	mem_free(sh->all);
	*sh = (struct shares){0};
}

int64_t
share_cost(const struct share *s)
{
	return SHARE_UNIT / (s->weight > 0 ? s->weight : 1);
}

struct share *
shares_of(struct shares *sh, int app_id)
{
	size_t low = 0, high = sh->count, room = sh->room > 0 ? 2 * sh->room : 16;
	struct share *more;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (sh->all[mid].app_id < app_id)
			low = mid + 1;
		else
			high = mid;
	}
	if (low < sh->count && sh->all[low].app_id == app_id)
		return &sh->all[low];
	if (sh->count == SHARES_MOST)
		return NULL;
	if (sh->count == sh->room) {
		more = mem_resize(sh->all, room, sizeof(*more));
		if (more == NULL)
			return NULL;
		sh->all = more;
		sh->room = room;
	}
	memmove(&sh->all[low + 1], &sh->all[low], (sh->count - low) * sizeof(*sh->all));
	sh->all[low] =
	    (struct share){.app_id = app_id, .weight = 1, .seen_to_us = INT64_MAX};
	sh->count++;
	return &sh->all[low];
}

void
shares_begin_list(struct shares *sh)
{
	for (size_t i = 0; i < sh->count; i++)
		sh->all[i].listed = 0;
}

void
shares_anchor(struct shares *sh)
{
	sh->now = sh->pop = 0;
	for (size_t i = 0; i < sh->count; i++)
		sh->all[i].known = false;
}

static void
begin(struct share *s)
{
	s->rows = 0;
	s->first_pushed = 0;
	s->seen_to_us = INT64_MAX;
}

void
shares_begin_whole(struct shares *sh)
{
	int64_t had, least = INT64_MAX;

	for (size_t i = 0; i < sh->count; i++) {
		const struct share *s = &sh->all[i];

		had = s->tag - s->listed * share_cost(s);
		if (s->known && s->listed > 0 && had < least)
			least = had;
	}
	/* an empty list: its ends are one; and time does not go back */
	if (least == INT64_MAX)
		least = sh->now;
	if (least > sh->pop)
		sh->pop = least;
	for (size_t i = 0; i < sh->count; i++) {
		struct share *s = &sh->all[i];

		begin(s);
		s->active = s->listed > 0;
		s->base = s->known ? s->tag - s->listed * share_cost(s) : 0;
		if (s->base < sh->pop)
			s->base = sh->pop;
		s->tag = s->base + s->listed * share_cost(s);
		s->known = true;
		if (s->listed > 0 && s->tag > sh->now)
			sh->now = s->tag;
	}
}

void
shares_begin_brief(struct shares *sh, int64_t length)
{
	int64_t weights = 0, pop;

	for (size_t i = 0; i < sh->count; i++) {
		if (sh->all[i].active)
			weights += sh->all[i].weight;
	}
	pop = sh->now - length * SHARE_UNIT / (weights > 0 ? weights : 1);
	if (pop > sh->pop)
		sh->pop = pop;
	for (size_t i = 0; i < sh->count; i++) {
		struct share *s = &sh->all[i];

		begin(s);
		if (!s->known || s->tag < sh->pop)
			s->tag = sh->pop;
		s->known = true;
		s->base = s->tag;
	}
}

void
shares_tidy(struct shares *sh)
{
	size_t kept = 0;

	for (size_t i = 0; i < sh->count; i++) {
		if (sh->all[i].active || sh->all[i].tag > sh->pop)
			sh->all[kept++] = sh->all[i];
	}
	sh->count = kept;
}
