/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lanes.h - how far the feeder has read each lane.
 *
 * A lane is (queue, type); its tasks are in the order of order_at.  Reading on from the
 * last one that was seen costs what is new; reading from the head costs also what was
 * claimed since the last vacuum.
 */
#ifndef ENGINE_LANES_H
#define ENGINE_LANES_H

#include <stddef.h>
#include <stdint.h>

#include "pg/pgparam.h"

#define LANES_MOST 256 /* more are not remembered, and read from their heads */

struct lanes {
	struct lane {
		int queue_id, type_id;
		int64_t from_us; /* order_at of the last task seen */
	} all[LANES_MOST]; /* sorted by queue and type, as the statement wants them */
	size_t count;
};

void lanes_clear(struct lanes *ls);
/* a task of this lane has been seen */
void lanes_note(struct lanes *ls, int queue_id, int type_id, int64_t order_us);
/* three arrays: queues, types, where to begin */
void lanes_put(const struct lanes *ls, struct pgparam *p);

#endif
