/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * waiters.h - requests that wait for a task's end, wherever it runs.
 *
 * The row names the worker to tell; the finisher publishes to it after its commit.
 * Messages are hints: one statement a worker also asks for all waited-for tasks every 2
 * s.  The caller reads the row when it is told.
 */
#ifndef ENGINE_WAITERS_H
#define ENGINE_WAITERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/uuid.h"

struct waiters;
struct waiter;

/* exactly once, from the loop: the task has ended (true), or the time is up (false) */
typedef void waiter_cb(bool ended, void *arg);

/*
 * marked: the row names this worker already (submit_item.wait).  Otherwise that is
 * written first, and a task that has ended before is told at once; a task that does not
 * exist is told as ended too: the read that follows says 404.  ERR_LIMIT: 10,000 wait
 * already.
 */
struct waiter *waiters_add(struct waiters *ws, int app_id, const struct uuid *id,
    int64_t timeout_ms, bool marked, waiter_cb *cb, void *arg,
    struct err *err) ATTR_CHECK;
void waiters_cancel(struct waiter *w); /* no callback after this; NULL is fine */
/* a task has ended, and its row names this incarnation (all zeros: everyone) to be told
 */
void waiters_tell(
    struct waiters *ws, const struct uuid *waiter, int app_id, const struct uuid *id);
size_t waiters_count(const struct waiters *ws);

#endif
