/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * finished.h - how many tasks the nodes of a cluster have finished since a moment.
 *
 * Reads the counters at each node's /metrics, which asks no store: cheap enough for 50
 * times a second.  The price is that it counts every task, so that the cluster must
 * have no other work, and that it must know every node.
 */
#ifndef CLI_FINISHED_H
#define CLI_FINISHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "cli/target.h"
#include "event/loop.h"

#define FINISHED_NODES 16

struct finished;

/*
 * Every node was asked once more.  complete: each has answered at least once, so the
 * count is one; last: what the latest failure was, if any.  Comes every 20 ms or
 * slower; may not free f.
 */
typedef void finished_cb(
    struct finished *f, bool complete, const struct err *last, void *arg);

/* nodes: borrowed for life, at most FINISHED_NODES; asks from the next turn of the loop
 */
struct finished *finished_create(struct loop *l, const struct target *nodes,
    size_t node_count, finished_cb *cb, void *arg, struct err *err) ATTR_CHECK;
void finished_free(struct finished *f); /* NULL is fine */
/* tasks that succeeded or failed since each node was first heard */
uint64_t finished_count(const struct finished *f);

/* the sum of a metric over its labels, in Prometheus' text form; 0 when absent */
uint64_t finished_metric_sum(const char *text, size_t len, const char *name);

#endif
