/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recent.c - two sets of ids that take turns; see recent.h.
 */
#include "engine/recent.h"

#include "base/hmap.h"
#include "base/mem.h"

#define TURN_MS 1000

struct entry {
	struct uuid id;
};

int
recent_init(struct recent *rc)
{
	rc->turned_ms = 0;
	rc->ids[0] = hmap_create();
	rc->ids[1] = hmap_create();
	return rc->ids[0] != NULL && rc->ids[1] != NULL ? 0 : -1;
}

static void
empty(struct hmap *ids)
{
	struct entry *en;
	size_t cursor = 0;

	while ((en = hmap_next(ids, &cursor)) != NULL) {
		hmap_remove(ids, en->id.b, sizeof(en->id.b));
		mem_free(en);
	}
}

void
recent_clear(struct recent *rc)
{
	empty(rc->ids[0]);
	empty(rc->ids[1]);
}

void
recent_fini(struct recent *rc)
{
	for (int i = 0; i < 2; i++) {
		if (rc->ids[i] != NULL)
			empty(rc->ids[i]);
		hmap_free(rc->ids[i]);
	}
}

void
recent_age(struct recent *rc, int64_t now_ms)
{
	struct hmap *older = rc->ids[1];

	if (now_ms - rc->turned_ms < TURN_MS)
		return;
	rc->turned_ms = now_ms;
	empty(older);
	rc->ids[1] = rc->ids[0];
	rc->ids[0] = older;
}

void
recent_add(struct recent *rc, const struct uuid *id)
{
	struct entry *en = mem_alloc(sizeof(*en));
	void *old = NULL;

	if (en == NULL)
		return; /* costs a duplicate at worst */
	en->id = *id;
	if (hmap_put(rc->ids[0], en->id.b, sizeof(en->id.b), en, &old) != 0)
		mem_free(en);
	mem_free(old);
}

void
recent_remove(struct recent *rc, const struct uuid *id)
{
	for (int i = 0; i < 2; i++)
		mem_free(hmap_remove(rc->ids[i], id->b, sizeof(id->b)));
}

bool
recent_has(const struct recent *rc, const struct uuid *id)
{
	return hmap_get(rc->ids[0], id->b, sizeof(id->b)) != NULL ||
	       hmap_get(rc->ids[1], id->b, sizeof(id->b)) != NULL;
}
