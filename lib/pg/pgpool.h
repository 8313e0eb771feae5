/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgpool.h - a few pgconns alike; each unit goes to the one that is up and has least
 * waiting.
 */
#ifndef PG_PGPOOL_H
#define PG_PGPOOL_H

#include "pg/pgconn.h"

struct pgpool;

/* opts->state_cb is told of each connection; opts->name gets "-N" appended */
struct pgpool *pgpool_create(struct loop *l, struct resolver *rv,
    const struct pgconn_opts *opts, size_t count, struct err *err) ATTR_CHECK;
void pgpool_free(struct pgpool *pp);
bool pgpool_is_up(const struct pgpool *pp); /* at least one is */
int pgpool_exec(struct pgpool *pp, const struct pgstmt *st, const struct pgparam *p,
    pgconn_done_cb *cb, void *arg, struct err *err) ATTR_CHECK;

#endif
