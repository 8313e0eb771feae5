/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * each.h - requests whose tasks are made one by one: those with keys, parents, groups
 * or retry rules of their own, those for queues with a max_length, and all with an
 * Idempotency-Key.
 *
 * They go through shoal.submit_each on a connection of their own, opened with the first
 * of them: there a statement may wait for another caller's commit, and one request that
 * is refused takes nothing with it.  What arrives while a statement is under way leaves
 * together in the next one.
 */
#ifndef ENGINE_EACH_H
#define ENGINE_EACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/uuid.h"
#include "model/task.h"

struct each;

/* what became of a task; the numbers are those of shoal.make_task */
enum each_outcome {
	EACH_MADE = 0,
	EACH_EXISTING, /* another task has its unique_key */
	EACH_REPLACED, /* ... and got this one's payload */
	EACH_POSTPONED /* ... and its time as well */
};

struct each_item {
	const char *spec; /* JSON for shoal.make_task; borrowed until the callback */
	size_t spec_len;
	/* filled before the callback */
	struct uuid id;
	enum task_state state;
	int64_t due_us;
	enum each_outcome outcome;
};

/* why a request was refused, by the SQLSTATEs of submit_each; nothing of it was done */
enum each_refusal {
	EACH_ACCEPTED = 0,
	EACH_UNIQUE_TAKEN,
	EACH_NO_PARENT,
	EACH_OTHER_REQUEST, /* its Idempotency-Key belongs to another one */
	EACH_GROUP_CLOSED,
	EACH_TOO_MANY_NAMES,
	EACH_QUEUE_FULL,
	EACH_BAD_DATA
};

struct each_request;
/*
 * err NULL: committed.  ERR_CONFLICT: refused, refusal says why and err->text may be
 * shown.  ERR_IO: not accepted, try again later.  ERR_TIMEOUT: nobody knows; with a key
 * it may be sent again.  The request is the caller's again.
 */
typedef void each_cb(struct each_request *r, const struct err *err, void *arg);

struct each_request {
	TAILQ_ENTRY(each_request) link; /* each's until the callback */
	int app_id;
	const char *key;   /* Idempotency-Key; NULL: none; all borrowed */
	const char *print; /* of the whole request; with key */
	const char *group; /* JSON for submit_each; NULL: none */
	size_t group_len;
	struct each_item *items; /* borrowed until the callback */
	size_t count;
	/* queues of its items that have a max_length, borrowed; one more than once is
	 * fine */
	const int *bounded;
	size_t bounded_count;
	each_cb *cb;
	void *arg;
	/* filled before the callback */
	bool replayed; /* it was done before, under its key */
	enum each_refusal refusal;
	size_t bytes; /* each's own */
};

/*
 * Takes the request; the callback comes later, exactly once.  ERR_LIMIT: too much waits
 * already (16 MiB or 10,000 tasks).
 */
int each_add(struct each *s, struct each_request *r, struct err *err) ATTR_CHECK;

#endif
