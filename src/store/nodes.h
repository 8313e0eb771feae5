/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nodes.h - what the developers' listener asks PostgreSQL about nodes, and what it
 * orders them.
 *
 * As in reads.h: the constant, a function that fills its parameters, one that takes a
 * row apart.  Texts in a row are borrowed from the result.
 */
#ifndef STORE_NODES_H
#define STORE_NODES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/uuid.h"
#include "model/scoreboard.h"
#include "pg/pgconn.h"
#include "pg/pgparam.h"
#include "pg/pgrows.h"

#define NODE_TEXT_SIZE	13 /* 6 bytes in hexadecimal */
#define NODE_REASON_MAX 1000

/* all living workers, node by node */
extern const struct pgstmt nodes_workers;

struct node_worker {
	struct uuid id; /* the incarnation */
	const char *host, *version;
	int slots;
	int64_t started_us;
	bool leads;
	const char *pools; /* that it serves, between commas */
	/* as told with the last beat */
	int64_t running;
	int64_t generation;
	bool idle;
	enum node_mode mode; /* of its node */
	int64_t beat_age_ms; /* -1: it has not beaten yet */
	/* the last order to its node; ordered_us 0: none */
	enum node_mode ordered;
	int64_t ordered_us;
	const char *reason; /* NULL: none was given */
};
void node_worker_get(const struct pgrows *rows, int row, struct node_worker *w);

/* one row, true: the node will see it; false: there is no such node */
extern const struct pgstmt nodes_order;
void nodes_order_params(
    struct pgparam *p, const char *node, enum node_mode mode, const char *reason);

#endif
