/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * names.h - queues and task types by name and by number.
 *
 * PostgreSQL keeps numbers; a worker caches both directions, bounded (the oldest
 * leave).  A queue belongs to an application, a type's name is known to all.  Names not
 * seen before are made by the statement that asks for them.
 *
 * Of each queue the cache also knows what people have set for it.  That is at most
 * NAMES_FRESH_MS old while the queue is used, and is asked for again at once when a
 * message says that it changed; PostgreSQL decides all the same where it must be exact.
 */
#ifndef ENGINE_NAMES_H
#define ENGINE_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/loop.h"
#include "model/pools.h"
#include "store/store.h"

struct names;

/* most queues, and most new type names, of one application */
#define NAMES_LIMIT 1000

#define NAMES_FRESH_MS 2000

struct names *names_create(struct loop *l, struct store *st, struct pools *pools,
    struct err *err) ATTR_CHECK;  /* pools: borrowed */
void names_free(struct names *n); /* waiting callbacks are dropped */

/* from the cache alone; 0: not in it */
int names_queue_id(struct names *n, int app, const char *queue);
int names_type_id(const struct names *n, const char *type);
/* NULL: not in the cache; borrowed until the next turn of the loop */
const char *names_queue(const struct names *n, int queue_id);

struct queue_policy {
	bool paused;
	bool limited;	/* by concurrency or rate: the feeder pushes its tasks */
	int priority;	/* of tasks that say nothing else; -1: the settings' */
	int max_length; /* 0: none */
	int shed_ppm;	/* share of submits to refuse, in millionths */
	int shed_below; /* of those with a greater priority number; -1: all */
};

/* the pool that it is in, by number (model/pools.h); main if the queue is not known,
 * -1 if the pool cannot be */
int names_pool(const struct names *n, int queue_id);

/* whether anything is set for any queue, as far as is known */
bool names_have_policies(const struct names *n);
/* NULL: nothing is set for that queue.  Borrowed until the next turn of the loop. */
const struct queue_policy *names_policy(const struct names *n, int queue_id);
/* somebody has changed what is set for it */
void names_queue_changed(struct names *n, int queue_id);

/*
 * Asks PostgreSQL for names (and makes them); afterwards the three above know them.
 * Arrays are copied. err in the callback: ERR_LIMIT (too many names in this
 * application), ERR_IO (later).
 */
typedef void names_cb(const struct err *err, void *arg);
int names_learn(struct names *n, int app, const char *const queues[],
    size_t queue_count, const char *const types[], size_t type_count, names_cb *cb,
    void *arg, struct err *err) ATTR_CHECK;
/* the same by queue number, for tasks that were claimed */
int names_learn_queues(struct names *n, const int ids[], size_t count, names_cb *cb,
    void *arg, struct err *err) ATTR_CHECK;

#endif
