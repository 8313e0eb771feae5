/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reads.c - every SELECT of the HTTP faces.
 *
 * Statements are shaped so that their cost has a bound whatever the tables hold: ids
 * first, through the primary key, in an inner query with a limit of its own; names are
 * joined to what is left.  Times leave PostgreSQL as microseconds, so neither DateStyle
 * nor TimeZone matters.
 *
 * New column of a task?  TASK_COLUMNS and list_tasks, struct task_row, and the enum of
 * columns below.
 */
#include "store/reads.h"

#include <string.h>

#define TEXT_OF(n)  #n
#define TEXT(n)	    TEXT_OF(n)
#define MICROS(col) "(extract(epoch FROM " col ") * 1000000)::bigint"

const struct pgstmt reads_keys = {
    "reads_keys",
    "SELECT k.public_id, k.app_id, k.secret_hash,"
    " k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > "
    "clock_timestamp()), array_to_string(k.scopes, ' ')"
    " FROM shoal.api_key k WHERE k.public_id = ANY ($1::text[])",
};

/* the order of columns in all statements about tasks */
enum task_column {
	COL_ID = 0,
	COL_TYPE,
	COL_QUEUE,
	COL_STATE,
	COL_PRIORITY,
	COL_ATTEMPT,
	COL_MAX_ATTEMPTS,
	COL_FAILURES,
	COL_RUN_AT,
	COL_STARTED,
	COL_FINISHED,
	COL_OWNER,
	COL_ERROR_CODE,
	COL_ERROR_MESSAGE,
	COL_METADATA,
	COL_PAYLOAD,
	COL_RESULT,
	COL_GROUP,
	COL_WAITS_FOR,
	COL_CONCURRENCY_KEY,
	COL_DEADLINE,
	COL_PROGRESS,
	COL_TRACE_ID,
	/* lists */
	COL_MARK = COL_PAYLOAD, /* this row only tells where the window ended */
	COL_LIST_TRACE_ID,
};

#define TASK_COLUMNS                                                                   \
	"t.id, y.name, q.name, t.state, t.priority, t.attempt, t.max_attempts, "       \
	"t.failures, " MICROS("t.run_at") ", " MICROS("t.started_at") ", " MICROS(     \
	    "t.finished_at") ", t.owner, t.error_code, t.error_message, t.metadata"

#define NAMES_OF_T                                                                     \
	" JOIN shoal.queue q ON q.id = t.queue_id JOIN shoal.task_type y ON y.id = "   \
	"t.type_id"

const struct pgstmt reads_task = {
    "reads_task",
    "SELECT " TASK_COLUMNS
    ", t.payload, t.result, t.group_id, coalesce(t.waits_for, 0), "
    "t.concurrency_key, " MICROS(
	"t.deadline") ", shoal.progress_of($1::int, "
		      "$2::uuid), shoal.trace_id(t.trace)"
		      " FROM shoal.task_of($1::int, $2::uuid) t" NAMES_OF_T,
};

/* list_tasks gives the columns in our order */
#define LIST_COLUMNS                                                                   \
	"t.id, t.type, t.queue, t.state, t.priority, t.attempt, t.max_attempts, "      \
	"t.failures, " MICROS("t.run_at") ", " MICROS("t.started_at") ", " MICROS(     \
	    "t.finished_at") ", t.owner, t.error_code, t.error_message, t.metadata, "  \
			     "t.mark, t.trace_id"

const struct pgstmt reads_list = {
    "reads_list",
    "SELECT " LIST_COLUMNS
    " FROM shoal.list_tasks($1, $2, $3, $4, " TEXT(READS_WINDOW) ", $5, $6, $7) t",
};

const struct pgstmt reads_group_tasks = {
    "reads_group_tasks",
    "SELECT " LIST_COLUMNS
    " FROM shoal.group_tasks($1::int, $2::uuid, $3::uuid, $4::int) t",
};

const struct pgstmt reads_workers = {
    "reads_workers",
    "SELECT n.id, n.host, n.version, n.slots, " MICROS(
	"n.started_at") ", coalesce(n.id = c.leader AND c.lease_until > "
			"clock_timestamp(), false), "
			"array_to_string(coalesce(n.pools, '{main}'), ',')"
			" FROM shoal.incarnation n, shoal.cluster c WHERE n.state = 0 "
			"ORDER BY n.id LIMIT 4096",
};

const struct pgstmt reads_queues = {
    "reads_queues",
    "SELECT b.application, b.queue, b.paused, b.queued, b.running, b.scheduled, "
    "b.more, b.lag_ms, (SELECT coalesce(q.pool, 'main') FROM shoal.queue q JOIN "
    "shoal.application a ON a.id = q.app_id WHERE a.name = b.application AND q.name = "
    "b.queue LIMIT 1)"
    " FROM shoal.busy_queues(" TEXT(READS_QUEUES) ", " TEXT(
	READS_COUNT) ") b"
		     " ORDER BY b.application, b.queue",
};

const struct pgstmt reads_overview = {
    "reads_overview",
    "SELECT " MICROS(
	"clock_timestamp()") ", q.waiting, q.estimated, shoal.overview_nodes()::text, "
			     "q.queues::text, q.oldest::text, "
			     "shoal.overview_running(" TEXT(OVERVIEW_COUNT) ", " TEXT(
				 OVERVIEW_TASKS) ")::text"
						 " FROM "
						 "shoal.overview_queues(" TEXT(OVERVIEW_QUEUES) ", " TEXT(
						     OVERVIEW_LANES) ", " TEXT(OVERVIEW_COUNT) ", " TEXT(OVERVIEW_TASKS) ") q",
};

void
key_row_get(const struct pgrows *rows, int row, struct key_row *k)
{
	size_t len;
	const char *hash = pgrows_text(rows, row, 2, &len);

	k->public_id = pgrows_text(rows, row, 0, NULL);
	k->app_id = (int)pgrows_int(rows, row, 1);
	k->hash = len == APIKEY_HASH ? (const uint8_t *)hash : NULL;
	k->live = pgrows_bool(rows, row, 3);
	k->scopes = pgrows_text_or_null(rows, row, 4, NULL);
}

void
reads_task_params(struct pgparam *p, int app_id, const struct uuid *id)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	pgparam_uuid(p, id);
}

static struct task_text
span_or_none(const struct pgrows *rows, int row, int col)
{
	struct task_text t = {NULL, 0};

	if (!pgrows_is_null(rows, row, col))
		t.at = pgrows_text(rows, row, col, &t.len);
	return t;
}

void
task_list_row_get(const struct pgrows *rows, int row, struct task_row *t)
{
	memset(t, 0, sizeof(*t));
	pgrows_uuid(rows, row, COL_ID, &t->id);
	t->type = pgrows_text(rows, row, COL_TYPE, NULL);
	t->queue = pgrows_text(rows, row, COL_QUEUE, NULL);
	t->state = (enum task_state)pgrows_int(rows, row, COL_STATE);
	t->priority = (int)pgrows_int(rows, row, COL_PRIORITY);
	t->attempt = (int)pgrows_int(rows, row, COL_ATTEMPT);
	t->max_attempts = (int)pgrows_int(rows, row, COL_MAX_ATTEMPTS);
	t->failures = (int)pgrows_int(rows, row, COL_FAILURES);
	t->run_at_us = pgrows_int(rows, row, COL_RUN_AT);
	t->started_us = pgrows_int(rows, row, COL_STARTED);
	t->finished_us = pgrows_int(rows, row, COL_FINISHED);
	t->owned = !pgrows_is_null(rows, row, COL_OWNER);
	pgrows_uuid(rows, row, COL_OWNER, &t->owner);
	t->error_code = pgrows_text_or_null(rows, row, COL_ERROR_CODE, NULL);
	t->error_message = pgrows_text_or_null(rows, row, COL_ERROR_MESSAGE, NULL);
	t->metadata = span_or_none(rows, row, COL_METADATA);
	t->trace_id = span_or_none(rows, row, COL_LIST_TRACE_ID);
}

void
task_row_get(const struct pgrows *rows, int row, struct task_row *t)
{
	task_list_row_get(rows, row, t);
	t->trace_id = span_or_none(rows, row, COL_TRACE_ID);
	t->payload = span_or_none(rows, row, COL_PAYLOAD);
	t->result = span_or_none(rows, row, COL_RESULT);
	pgrows_uuid(rows, row, COL_GROUP, &t->group);
	t->waits_for = (int)pgrows_int(rows, row, COL_WAITS_FOR);
	t->concurrency_key = pgrows_text_or_null(rows, row, COL_CONCURRENCY_KEY, NULL);
	t->deadline_us = pgrows_int(rows, row, COL_DEADLINE);
	t->progress = span_or_none(rows, row, COL_PROGRESS);
}

void
reads_list_params(struct pgparam *p, int app_id, const struct task_filter *f)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	pgparam_uuid(p, &f->below);
	pgparam_uuid(p, &f->from);
	pgparam_int4(
	    p, f->limit + 1); /* one more than shown tells whether there is more */
	if (f->state < 0)
		pgparam_null(p, PGTYPE_INT2);
	else
		pgparam_int2(p, (int16_t)f->state);
	pgparam_text(p, f->queue);
	pgparam_text(p, f->type);
}

void
task_page_get(
    const struct pgrows *rows, const struct task_filter *f, struct task_page *page)
{
	int count = pgrows_count(rows);

	memset(page, 0, sizeof(*page));
	page->count = count;
	if (count == 0)
		return;
	if (pgrows_bool(rows, count - 1, COL_MARK)) {
		page->count = count - 1;
		page->more = true;
		pgrows_uuid(rows, count - 1, COL_ID, &page->next);
	} else if (count > f->limit) {
		page->count = f->limit;
		page->more = true;
		pgrows_uuid(rows, f->limit - 1, COL_ID, &page->next);
	}
}

const struct pgstmt reads_group = {
    "reads_group",
    "SELECT g.open, g.total, g.succeeded, g.failed, g.cancelled, g.expired, "
    "g.completion_id, g.success_id, g.failure_id, g.metadata, " MICROS(
	"g.created_at") ", " MICROS("g.ended_at") ", g.error"
						  " FROM shoal.task_group g WHERE "
						  "g.app_id = $1::int AND g.id = "
						  "$2::uuid",
};

void
group_row_get(const struct pgrows *rows, int row, struct group_row *g)
{
	g->open = pgrows_bool(rows, row, 0);
	g->total = (int)pgrows_int(rows, row, 1);
	g->succeeded = (int)pgrows_int(rows, row, 2);
	g->failed = (int)pgrows_int(rows, row, 3);
	g->cancelled = (int)pgrows_int(rows, row, 4);
	g->expired = (int)pgrows_int(rows, row, 5);
	pgrows_uuid(rows, row, 6, &g->completion);
	pgrows_uuid(rows, row, 7, &g->success);
	pgrows_uuid(rows, row, 8, &g->failure);
	g->metadata = span_or_none(rows, row, 9);
	g->created_us = pgrows_int(rows, row, 10);
	g->ended_us = pgrows_int(rows, row, 11);
	g->error = pgrows_text_or_null(rows, row, 12, NULL);
}

void
worker_row_get(const struct pgrows *rows, int row, struct worker_row *w)
{
	pgrows_uuid(rows, row, 0, &w->id);
	w->host = pgrows_text(rows, row, 1, NULL);
	w->version = pgrows_text(rows, row, 2, NULL);
	w->slots = (int)pgrows_int(rows, row, 3);
	w->started_us = pgrows_int(rows, row, 4);
	w->leads = pgrows_bool(rows, row, 5);
	w->pools = pgrows_text(rows, row, 6, NULL);
}

void
queue_row_get(const struct pgrows *rows, int row, struct queue_row *q)
{
	q->application = pgrows_text(rows, row, 0, NULL);
	q->queue = pgrows_text(rows, row, 1, NULL);
	q->paused = pgrows_bool(rows, row, 2);
	q->queued = pgrows_int(rows, row, 3);
	q->running = pgrows_int(rows, row, 4);
	q->scheduled = pgrows_int(rows, row, 5);
	q->more = pgrows_bool(rows, row, 6);
	q->lag_ms = pgrows_int(rows, row, 7);
	q->pool = pgrows_text_or_null(rows, row, 8, NULL);
}

void
overview_row_get(const struct pgrows *rows, int row, struct overview_row *o)
{
	o->now_us = pgrows_int(rows, row, 0);
	o->waiting = pgrows_int(rows, row, 1);
	o->estimated = pgrows_bool(rows, row, 2);
	o->nodes = span_or_none(rows, row, 3);
	o->queues = span_or_none(rows, row, 4);
	o->oldest = span_or_none(rows, row, 5);
	o->running = span_or_none(rows, row, 6);
}
