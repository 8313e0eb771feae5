/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lanes.h - how far the feeder has read each lane, and how much it reads next.
 *
 * A lane is (queue, type); its tasks are in the order of order_at.  Reading on from the
 * last one that was put into the list costs what is new; reading from the head costs
 * also what was claimed since the last vacuum.
 *
 * Lanes that have run dry stay for a while: a search for new lanes ends at those that
 * are known, and so never walks over what is dead in them.
 */
#ifndef ENGINE_LANES_H
#define ENGINE_LANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "pg/pgparam.h"

#define LANES_MOST 4096 /* more are not remembered: found anew by each pass */

#define LANE_FRESH (-1)

struct lane {
	int queue_id, type_id, app_id, weight;
	int64_t
	    from_us; /* order_at of the last task in the list; 0: read from the head */
	int ties;    /* tasks in the list that are as late: they are read again */
	int64_t low_us;	 /* of the first that was queued when last looked at; 0: none */
	int64_t next_us; /* of the first behind from_us that was seen; 0: unknown */
	int64_t busy_ms; /* when it last had anything */
	bool busy;	 /* it had something when it was last read from its head */
	bool dry;	 /* but nothing behind from_us */
	int take; /* rows that this pass asks of it; LANE_FRESH: only what came in
		     lately */
};

struct lanes {
	struct lane *all; /* sorted by queue and type, as the statement wants them */
	size_t count, room;
};

enum lanes_from {
	LANES_ON,   /* where the list ends */
	LANES_LOW,  /* what may still be queued */
	LANES_HEAD, /* all of the lane */
};

void lanes_fini(struct lanes *ls);
void lanes_rewind(struct lanes *ls); /* all are to be read from their heads */
struct lane *lanes_find(
    const struct lanes *ls, int queue_id, int type_id); /* or NULL */
/* the same, made if it is missing; NULL: no room for it */
struct lane *lanes_note(struct lanes *ls, int queue_id, int type_id);
/* lanes that have had nothing since then are forgotten */
void lanes_forget(struct lanes *ls, int64_t before_ms);

/*
 * Shares most rows out: to each application by its weight, twice that if it has
 * several lanes or is not alone, since others may have less; to its lanes in like
 * parts.  on: they are read on, so that dry ones have no share, and of an application
 * with many lanes only those whose next tasks come first are read; the others wait, and
 * with them what is behind their next tasks.
 */
void lanes_share(struct lanes *ls, int most, bool on);
/* the list is full: only those that have had nothing, and what came in lately */
void lanes_rest(struct lanes *ls);
/* four arrays: queues, types, where to begin, how many rows */
void lanes_put(const struct lanes *ls, enum lanes_from from, struct pgparam *p);

#endif
