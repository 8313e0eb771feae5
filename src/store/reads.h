/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reads.h - what the faces ask PostgreSQL, and how its rows look as structs.
 *
 * For each statement: the constant, a function that fills its parameters, and one that
 * takes a row apart.  Texts in a row are borrowed from the result.  Whatever concerns
 * tasks carries the application's number, so that nobody reads another's.
 */
#ifndef STORE_READS_H
#define STORE_READS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"
#include "model/task.h"
#include "pg/pgconn.h"
#include "pg/pgparam.h"
#include "pg/pgrows.h"
#include "store/apikey.h"

/* ---------------------------------------------------------------- keys */

/* all keys of an array of public ids that exist */
extern const struct pgstmt reads_keys;

struct key_row {
	const char *public_id;
	int app_id;
	const uint8_t *hash; /* NULL: not 32 bytes */
	const char *scopes;  /* words; NULL: everything */
	bool live;	     /* neither revoked nor expired, by PostgreSQL's clock */
};
void key_row_get(const struct pgrows *rows, int row, struct key_row *k);

/* ---------------------------------------------------------------- tasks */

struct task_text {
	const char *at; /* NULL: none */
	size_t len;
};

struct task_row {
	struct uuid id;
	const char *type, *queue;
	enum task_state state;
	int priority;
	int attempt, max_attempts, failures;
	int64_t run_at_us, started_us, finished_us; /* 0: not yet */
	bool owned;
	struct uuid owner;	/* holds it, or held it last */
	const char *error_code; /* NULL: none */
	const char *error_message;
	struct task_text metadata;
	struct task_text payload;  /* none in lists */
	struct task_text result;   /* none in lists */
	struct task_text progress; /* likewise */
	/* options; none in lists */
	struct uuid group; /* zeros: none */
	int waits_for;	   /* parents that have not ended */
	const char *concurrency_key;
	int64_t deadline_us;	   /* 0: none */
	struct task_text trace_id; /* in lists too */
};

/* one task with payload and result; no row: not there, or not this application's */
extern const struct pgstmt reads_task;
void reads_task_params(struct pgparam *p, int app_id, const struct uuid *id);
void task_row_get(const struct pgrows *rows, int row, struct task_row *t);

/*
 * Newest first, below an id and not below another.  With a filter, one statement looks
 * at no more than READS_WINDOW tasks: task_list_get tells where to go on.
 */
#define READS_WINDOW 10000
extern const struct pgstmt reads_list;

struct task_filter {
	int state;	   /* enum task_state; -1: any */
	const char *queue; /* NULL: any */
	const char *type;
	struct uuid below; /* ids from here on are left out */
	struct uuid from;  /* and those before this */
	int limit;
};
/* app, group, below, limit; as reads_list; one row without an id: no such group */
extern const struct pgstmt reads_group_tasks;
void reads_list_params(struct pgparam *p, int app_id, const struct task_filter *f);

struct task_page {
	int count; /* rows to show, by task_list_row_get */
	bool more;
	struct uuid next; /* the next page is below this one */
};
void task_page_get(
    const struct pgrows *rows, const struct task_filter *f, struct task_page *page);
void task_list_row_get(const struct pgrows *rows, int row, struct task_row *t);

/* app, id */
extern const struct pgstmt reads_group;
struct group_row {
	bool open;
	int total, succeeded, failed, cancelled, expired;
	struct uuid completion, success, failure; /* zeros: not made */
	struct task_text metadata;
	const char *error; /* why one of the three could not be made; NULL: none */
	int64_t created_us, ended_us;
};
void group_row_get(const struct pgrows *rows, int row, struct group_row *g);

/* ---------------------------------------------------------------- the cluster */

/* living incarnations, the leader marked */
extern const struct pgstmt reads_workers;
struct worker_row {
	struct uuid id;
	const char *host, *version;
	int slots;
	int64_t started_us;
	bool leads;
	const char *pools; /* that it serves, between commas */
};
void worker_row_get(const struct pgrows *rows, int row, struct worker_row *w);

/*
 * Queues with unfinished tasks, at most READS_QUEUES, each counted up to READS_COUNT
 * tasks in dispatch order, and scheduled ones among the next READS_COUNT of the
 * cluster.
 */
#define READS_QUEUES 100
#define READS_COUNT  10000
extern const struct pgstmt reads_queues;
struct queue_row {
	const char *application, *queue;
	bool paused;
	int64_t queued, running, scheduled;
	bool more;	  /* there are more than were counted */
	int64_t lag_ms;	  /* since the oldest queued one was due */
	const char *pool; /* NULL: the queue is gone */
};
void queue_row_get(const struct pgrows *rows, int row, struct queue_row *q);

/*
 * The whole cluster at a glance, one row: parts of it as JSON that is passed on as it
 * is.  Its cost is bounded whatever the backlog: so many queues, lanes, and tasks
 * counted in each.
 */
#define OVERVIEW_QUEUES 50
#define OVERVIEW_LANES	200
#define OVERVIEW_COUNT	1000
#define OVERVIEW_TASKS	20
extern const struct pgstmt reads_overview;
struct overview_row {
	int64_t now_us; /* of PostgreSQL */
	int64_t waiting;
	bool estimated;
	struct task_text nodes, queues, oldest, running;
};
void overview_row_get(const struct pgrows *rows, int row, struct overview_row *o);

#endif
