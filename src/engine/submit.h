/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * submit.h - tasks into PostgreSQL, many callers in one statement.
 *
 * A group is what one caller wants committed together: one task, or a batch of up to
 * 1,000.  Groups that arrive while a statement is under way leave together in the next
 * one, up to 512 rows or 1 MiB (a larger group goes alone).  The callback runs after
 * the commit: 201 may be said then.  After it the ids are pushed to Redis, or the
 * feeder gets a hint; what this worker adopted starts (adopt.c).
 *
 * All data must have been validated (names known, JSON checked, UTF-8, sizes).  If a
 * statement fails on data all the same, it is halved until the culprit alone is
 * refused.
 */
#ifndef ENGINE_SUBMIT_H
#define ENGINE_SUBMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/uuid.h"
#include "model/task.h"

struct submit;
struct type_entry;

enum submit_held {
	SUBMIT_FREE = 0,
	SUBMIT_LIMITED, /* neither adopted nor pushed: the feeder brings it */
	SUBMIT_PAUSED,	/* nor is the feeder asked for it */
};

struct submit_item {
	struct uuid id; /* filled by submit_add */
	int queue_id, type_id;
	int16_t priority;     /* 0 to 9 */
	bool own_priority;    /* it was asked for, and is no default */
	int16_t max_attempts; /* 1 to 1,000 */
	int32_t timeout_ms;   /* 0: the type's */
	int64_t run_at_us;    /* microseconds since 1970; 0: now */
	int64_t delay_ms;     /* from PostgreSQL's now; 0: none */
	/* JSON as the caller wrote it; borrowed until the callback */
	const char *payload;
	size_t payload_len;
	const char *metadata; /* JSON object; NULL: none */
	size_t metadata_len;
	const char *trace; /* as model/trace.h keeps it; NULL: none; borrowed as well */
	size_t trace_len;
	enum submit_held held; /* what the caller knows of its queue */
	bool wait; /* someone will wait: the row names this worker as the waiter */
	struct type_entry *place; /* submit's until the callback: to run it here */
	/* filled before the callback */
	bool scheduled;	       /* not due yet */
	enum task_state state; /* the caller's own */
	int64_t due_us;	       /* run_at as PostgreSQL decided it */
};

struct submit_group;
/*
 * err NULL: committed.  ERR_INVALID: refused for its data.  ERR_IO: not accepted, try
 * again later. ERR_TIMEOUT: nobody knows; it may have been accepted.  Clients are shown
 * the text.  The group is the caller's again.
 */
typedef void submit_cb(struct submit_group *g, const struct err *err, void *arg);

struct submit_group {
	TAILQ_ENTRY(submit_group) link; /* submit's until the callback */
	int app_id;
	struct submit_item *items; /* borrowed until the callback */
	size_t count;
	submit_cb *cb;
	void *arg;
	size_t bytes; /* filled by submit_add */
	/* filled before the callback if submit_measure said so; 0: it was never sent */
	int64_t sent_us; /* as clock_mono_us counts */
};

/*
 * Takes the group; the callback comes later, exactly once.  ERR_IO: PostgreSQL is away
 * now. ERR_LIMIT: too much waits already (64 MiB or 100,000 tasks a worker).
 */
int submit_add(struct submit *s, struct submit_group *g, struct err *err) ATTR_CHECK;
/* from now on groups are told when their statement was sent */
void submit_measure(struct submit *s);

#endif
