/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recent.h - what was pushed lately, and so may be on its way between the list and a
 * claim.
 *
 * An id is remembered for one to two seconds.
 */
#ifndef ENGINE_RECENT_H
#define ENGINE_RECENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/uuid.h"

struct hmap;

struct recent {
	struct hmap *ids[2]; /* now, before */
	int64_t turned_ms;
};

int recent_init(struct recent *rc) ATTR_CHECK; /* -1: no memory */
void recent_fini(struct recent *rc);
void recent_clear(struct recent *rc);
void recent_age(struct recent *rc, int64_t now_ms);
void recent_add(struct recent *rc, const struct uuid *id);
void recent_remove(struct recent *rc, const struct uuid *id);
bool recent_has(const struct recent *rc, const struct uuid *id);

#endif
