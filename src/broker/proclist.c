/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proclist.c - a ring of ids, oldest first; see proclist.h.
 *
 * An id that is done with is marked where it stands.  A search begins at the oldest,
 * where it mostly ends.
 */
#include "broker/proclist.h"

#include "base/mem.h"

enum mark { HELD = 0, DONE, GONE };

struct entry {
	struct elem elem;
	enum mark mark;
};

struct proclist {
	struct entry *ring;
	size_t head, count;
	size_t done; /* marked and not taken out yet */
};

struct proclist *
proclist_create(void)
{
	struct proclist *pl = mem_zero(sizeof(*pl));

	if (pl != NULL &&
	    (pl->ring = mem_array(PROCLIST_MOST, sizeof(*pl->ring))) == NULL) {
		mem_free(pl);
		return NULL;
	}
	return pl;
}

void
proclist_free(struct proclist *pl)
{
	if (pl == NULL)
		return;
	mem_free(pl->ring);
	mem_free(pl);
}

void
proclist_clear(struct proclist *pl)
{
	pl->head = pl->count = pl->done = 0;
}

static struct entry *
at(struct proclist *pl, size_t i)
{
	return &pl->ring[(pl->head + i) % PROCLIST_MOST];
}

void
proclist_popped(struct proclist *pl, const struct elem *e)
{
	if (pl->count == PROCLIST_MOST)
		return;
	*at(pl, pl->count++) = (struct entry){*e, HELD};
}

bool
proclist_ack(struct proclist *pl, const struct elem *e)
{
	for (size_t i = 0; i < pl->count; i++) {
		struct entry *en = at(pl, i);

		if (en->mark == HELD && uuid_eq(&en->elem.id, &e->id) &&
		    en->elem.app_id == e->app_id && en->elem.type_id == e->type_id) {
			en->mark = DONE;
			pl->done++;
			return true;
		}
	}
	return false;
}

size_t
proclist_trim(struct proclist *pl)
{
	size_t count = 0;

	while (pl->count > 0 && at(pl, 0)->mark != HELD) {
		if (at(pl, 0)->mark == DONE) {
			count++;
			pl->done--;
		}
		pl->head = (pl->head + 1) % PROCLIST_MOST;
		pl->count--;
	}
	return count;
}

bool
proclist_stray(struct proclist *pl, struct elem *e)
{
	for (size_t i = 0; i < pl->count && pl->done > 0; i++) {
		struct entry *en = at(pl, i);

		if (en->mark == DONE) {
			en->mark = GONE;
			pl->done--;
			*e = en->elem;
			return true;
		}
	}
	return false;
}
