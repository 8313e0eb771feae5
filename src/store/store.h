/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store.h - a worker's connections to PostgreSQL, one for each kind of work.
 *
 * Submits have a connection of their own (and those that go one by one another, once
 * there are any), claims, finishes and beats share one that
 * carries nothing slow, reads (and all that is not hot) go through a small pool.  The
 * leader opens two more while it leads, one for the feeder and one for what tidies up
 * in large batches, behind which nobody shall wait.  Statements are constants in sql.h;
 * this module only knows where they go.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>

#include "event/loop.h"
#include "event/resolve.h"
#include "model/settings.h"
#include "pg/pgconn.h"

struct store;

enum store_lane {
	STORE_SUBMIT = 0,
	STORE_EACH,
	STORE_WORK,
	STORE_READ,
	STORE_LEAD,
	STORE_TIDY,
	STORE_LANE_COUNT
};

/* told when a lane goes up or down; err as in pgconn_state_cb */
typedef void store_state_cb(
    enum store_lane lane, bool up, const struct err *err, void *arg);

struct store *store_create(struct loop *l, struct resolver *rv,
    const struct settings *settings, store_state_cb *cb, void *arg,
    struct err *err) ATTR_CHECK;
void store_free(struct store *st);
/* closes all connections; what waits there gets its error.  Nothing is opened before
 * store_reopen, which opens those that every worker has. */
void store_release(struct store *st);
int store_reopen(struct store *st, struct err *err) ATTR_CHECK;
bool store_is_up(const struct store *st, enum store_lane lane);
/* submit, work and read are all up */
bool store_is_ready(const struct store *st);
/* opens the connection for submits one by one, if it is not open */
int store_open_each(struct store *st, struct err *err) ATTR_CHECK;
/* opens (or closes) the leader's connections */
int store_lead(struct store *st, bool on, struct err *err) ATTR_CHECK;

/* pgconn_exec on the lane */
int store_exec(struct store *st, enum store_lane lane, const struct pgstmt *stmt,
    const struct pgparam *p, pgconn_done_cb *cb, void *arg, struct err *err) ATTR_CHECK;

#endif
