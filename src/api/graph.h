/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * graph.h - which task of a request runs after which.
 *
 * "after" names tasks by id, or by the "ref" of another task in the same request.
 * Those of the request are brought into an order in which parents come first; a circle
 * is refused.  Tasks that exist already can get no new parents, so no circle can lead
 * through them.  Pure.
 */
#ifndef API_GRAPH_H
#define API_GRAPH_H

#include <stddef.h>

#include "api/task_request.h"
#include "base/uuid.h"

struct graph {
	size_t *order;	      /* order[k]: the task that is made k-th */
	size_t *place;	      /* place[i]: when task i is made */
	struct uuid *parents; /* of task i: from first[i] to first[i + 1] */
	size_t *first;
};

/* ids: what the tasks of the request will be called.  -1: refused */
int graph_build(struct graph *g, const struct task_request *trs, const struct uuid *ids,
    size_t count, struct refusal *why) ATTR_CHECK;
void graph_fini(struct graph *g);

#endif
