/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leases.h - workers outside of Shoal that wait for tasks, and what they are given.
 *
 * Requests that ask for the same (application, queues, types) stand in one line.  One
 * statement at a time leases for all lines that may have something: at a hint, and each
 * second, since hints get lost.  Of what it brings each waiting request gets one task
 * in turn, who came first first, then each a second one, and so on.
 *
 * A lease is committed before its answer is written, and belongs to whoever reads that:
 * no node holds it.  If the client has hung up by then the lease is undone at once, at
 * no cost.
 */
#ifndef ENGINE_LEASES_H
#define ENGINE_LEASES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/uuid.h"
#include "pg/pgrows.h"
#include "store/apikey.h"

struct leases;
struct lease_wait;

#define LEASE_MAX_TASKS	 100
#define LEASE_MAX_QUEUES 32
#define LEASE_WAIT_MAX_S 60
#define LEASE_TTL_MIN_S	 5
#define LEASE_TTL_MAX_S	 3600
/* requests that wait at one worker: in all, and of one key */
#define LEASE_WAITERS	     8000
#define LEASE_WAITERS_OF_KEY 4000

struct lease_request {
	int app_id;
	int queues[LEASE_MAX_QUEUES]; /* numbers */
	size_t queue_count;
	const char *const *types; /* names, copied; none: all */
	size_t type_count;
	int max;
	int64_t wait_ms, ttl_ms;
	const char *worker;	     /* copied; NULL: it has no name */
	char key[APIKEY_PUBLIC + 1]; /* whose key asks */
};

/* one task: its row of leases_take, and the lease that holds it */
struct lease_grant {
	int row;
	struct uuid lease;
	char
	    fence[80]; /* refuses stale writers downstream; larger attempts are later */
};

/*
 * Exactly once, from the loop: tasks, or none when the time is up, or err (nothing was
 * leased).  rows and grants are gone afterwards.  false: nobody was there to take them,
 * and they are undone.
 */
typedef bool lease_cb(const struct pgrows *rows, const struct lease_grant grants[],
    size_t count, const struct err *err, void *arg);

/* ERR_LIMIT: too many wait already */
struct lease_wait *leases_wait(struct leases *ls, const struct lease_request *lr,
    lease_cb *cb, void *arg, struct err *err) ATTR_CHECK;
void leases_cancel(struct lease_wait *w); /* no callback after this */
void leases_end_all(struct leases *ls);	  /* the worker leaves: nobody waits any more */

/* committed: a task for workers outside is due in this queue (0: in one of the
 * application's); told to all nodes, once a turn */
void leases_hint(struct leases *ls, int app_id, int queue_id);

#endif
