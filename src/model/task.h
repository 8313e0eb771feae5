/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * task.h - the states of a task, and the one table of what may follow what.
 *
 * The numbers are those in the column shoal.task.state and in the functions of
 * conf/schema; they never change meaning.  Every statement that changes a state carries
 * the state that it expects, so the database refuses what this table forbids.
 */
#ifndef MODEL_TASK_H
#define MODEL_TASK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/uuid.h"

enum task_state {
	TASK_SCHEDULED = 0, /* due later, or resting between attempts */
	TASK_QUEUED,	    /* due: its id belongs in Redis, and may be missing there */
	TASK_RUNNING,	    /* claimed by one incarnation under one attempt number */
	TASK_SUCCEEDED,
	TASK_FAILED,
	TASK_CANCELLED,
	TASK_EXPIRED,
	TASK_STATE_COUNT, /* keep last */
	TASK_FORBIDDEN = 255
};

enum task_event {
	TASK_EV_DUE = 0, /* its time has come */
	TASK_EV_CLAIMED, /* a worker took it */
	TASK_EV_SUCCEEDED,
	TASK_EV_RETRY,	   /* the attempt failed and another may follow, later */
	TASK_EV_EXHAUSTED, /* the attempt failed and none may follow */
	TASK_EV_LOST,	   /* its holder is gone, or gave it back */
	TASK_EV_CANCELLED, /* somebody did not want it any more */
	TASK_EV_EXPIRED,   /* its deadline passed while it waited */
	TASK_EV_AGAIN,	   /* tried again by hand */
	TASK_EVENT_COUNT   /* keep last */
};

/*
 * shoal.task.special: what a task uses beyond the ordinary; NULL, 0 here: nothing.
 */
enum task_special {
	TASK_SPECIAL_KEYED = 1,	   /* concurrency_key */
	TASK_SPECIAL_GROUPED = 2,  /* it belongs to a group */
	TASK_SPECIAL_PARENT = 4,   /* others wait for its end */
	TASK_SPECIAL_RETRY = 8,	   /* backoff, retry_until or deadline of its own */
	TASK_SPECIAL_LIMITED = 16, /* claimed under a limit: its end makes room */
	TASK_SPECIAL_OTHERS =
	    TASK_SPECIAL_KEYED | TASK_SPECIAL_GROUPED | TASK_SPECIAL_PARENT,
};

/* TASK_FORBIDDEN when the table does not list it */
enum task_state task_next(enum task_state state, enum task_event event);
bool task_is_final(enum task_state state);
const char *task_state_name(
    enum task_state state); /* "queued"; "unknown" out of range */
int task_state_parse(const char *name, enum task_state *state) ATTR_CHECK;

/* UUIDv7: the time of the submit, microseconds since 1970 (whole milliseconds) */
int64_t task_created_us(const struct uuid *id);

/* the lowest id of the first millisecond that is not before the time */
void task_first_id(int64_t wall_us, struct uuid *id);

#define TASK_PRIORITY_NORMAL 5
#define TASK_PRIORITY_MAX    9
#define TASK_DELAY_MAX_MS    (366LL * 86400 * 1000)
#define TASK_WAIT_MAX_S	     60

/*
 * The owner of an attempt: node id (6 bytes), worker number (2), random (8) in one
 * uuid. "9f3c0a1b2c3d-1" names node and worker, "9f3c0a1b2c3d-1-<16 digits>" the
 * incarnation.
 */
#define OWNER_WORKER_SIZE 24
#define OWNER_TEXT_SIZE	  48
/* a lease is its own owner: random, but for the worker's number, which no worker has */
void lease_make(struct uuid *lease);
void owner_mark_lease(struct uuid *owner); /* bytes of other origin become one */
bool owner_is_lease(const struct uuid *owner);
void owner_make(const uint8_t node[6], unsigned worker, struct uuid *owner);
/* both "lease" for a lease, whose id is nobody else's business */
char *owner_worker_text(const struct uuid *owner, char buf[OWNER_WORKER_SIZE]);
char *owner_text(const struct uuid *owner, char buf[OWNER_TEXT_SIZE]);

#endif
