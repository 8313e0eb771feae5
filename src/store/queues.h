/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queues.h - what the faces ask PostgreSQL about queues, and why a task does not run.
 *
 * As in reads.h: the constant, a function that fills its parameters, one that takes a
 * row apart.  Texts in a row are borrowed from the result.
 */
#ifndef STORE_QUEUES_H
#define STORE_QUEUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"
#include "model/names.h"
#include "model/task.h"
#include "pg/pgconn.h"
#include "pg/pgparam.h"
#include "pg/pgrows.h"

/* what people may set for a queue; the numbers are those of shoal.set_queue */
enum queue_setting {
	QUEUE_PRIORITY = 1,
	QUEUE_MAX_LENGTH = 2,
	QUEUE_CONCURRENCY = 4,
	QUEUE_RATE = 8,
	QUEUE_SHED = 16,
	QUEUE_SHED_BELOW = 32,
	QUEUE_KEEP_FINISHED = 64,
	QUEUE_KEEP_FAILED = 128,
	QUEUE_POOL = 256,
};

struct queue_settings_row {
	unsigned set; /* enum queue_setting: these have a value */
	int priority, max_length, concurrency;
	int rate, rate_ms;
	int shed_ppm, shed_below;
	int64_t keep_finished_ms, keep_failed_ms; /* 0: for ever */
	char pool[NAME_MAX_BYTES + 1];
};

/* ---------------------------------------------------------------- changes */

/* the queue's number; 54000: too many queues */
extern const struct pgstmt queues_set;
/* given: which of values count; those that are not in values.set are taken away.
 * detail: JSON */
void queues_set_params(struct pgparam *p, int app_id, const char *name, int name_limit,
    const char *by, unsigned given, const struct queue_settings_row *values,
    const char *detail, size_t detail_len);

/* the queue's number; NULL: there is none of that name */
extern const struct pgstmt queues_pause;
void queues_pause_params(struct pgparam *p, int app_id, const char *name, bool paused,
    const char *by, const char *reason);

/* ---------------------------------------------------------------- reads */

#define QUEUES_COUNT_ONE 10000 /* tasks that are counted for one queue */
#define QUEUES_COUNT	 1000  /* ... and for each of a list */

/* by name, behind after (NULL: from the first), or the one called name */
extern const struct pgstmt queues_list;
void queues_list_params(
    struct pgparam *p, int app_id, const char *name, const char *after, int limit);

struct queue_detail_row {
	int id;
	const char *name;
	int64_t created_us;
	bool paused;
	const char *paused_by, *paused_reason; /* NULL: not known */
	int64_t paused_us;		       /* 0: not known */
	int64_t queued, running, scheduled;
	bool more;	   /* there are more than were counted */
	int64_t oldest_ms; /* since the oldest queued one was due; -1: none is */
	const char *pool;  /* that it is in, whoever said so */
	struct queue_settings_row settings;
};
void queue_detail_row_get(
    const struct pgrows *rows, int row, struct queue_detail_row *q);

/* ---------------------------------------------------------------- why */

#define WHY_AHEAD 1001 /* one more than is said exactly */

/* no row: there is no such task */
extern const struct pgstmt queues_why;
void queues_why_params(struct pgparam *p, int app_id, const struct uuid *id);

struct why_limit {
	int concurrency; /* 0: none */
	int running;
	int64_t since_us;  /* it is full; 0: not known */
	int rate, rate_ms; /* 0: none */
	int64_t until_us;  /* no token before this; 0: there is one */
};

struct why_row {
	enum task_state state;
	const char *type, *queue;
	int attempt, failures, max_attempts;
	int64_t run_at_us;
	bool timed; /* scheduled for run_at, and not held back otherwise */
	int64_t started_us, finished_us;
	bool owned;
	struct uuid owner;
	const char *code, *message; /* NULL: none */
	int64_t deadline_us;	    /* 0: none */
	bool deadline_over;
	struct pgarray parents; /* ids, some of them */
	int parents_open;
	const char *key; /* concurrency_key; NULL: none */
	int key_ahead;	 /* -1: it does not wait in that line */
	int64_t cancel_us;
	bool paused;
	const char *paused_by, *paused_reason;
	int64_t paused_us;
	bool served;
	const char *pool;
	bool pool_served;    /* some node does */
	bool served_in_pool; /* and its type too */
	int ahead;	     /* in the queue's line; -1: not in it */
	struct why_limit by_queue, by_type;
	bool pull;	    /* workers outside lease tasks of its type */
	const char *holder; /* what the one that has it calls itself; NULL: nothing */
	int64_t leased_us, lease_until_us; /* 0: it is not leased */
	const char *endpoint;		   /* its type runs there; NULL: nowhere */
	int64_t endpoint_disabled_us;	   /* 0: it is in use */
	const char *endpoint_reason;
	int leased; /* of a pull type's queue that is waited in: now, up to WHY_LEASED
		     */
	int64_t latest_lease_us; /* when the last of those began */
};
#define WHY_LEASED 1000
void why_row_get(const struct pgrows *rows, int row, struct why_row *w);

#endif
