/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reads.c - every SELECT of the HTTP faces.
 *
 * Statements are shaped so that their cost has a bound whatever the tables hold: ids
 * first, through the primary key, in an inner query with a limit of its own; names are
 * joined to what is left.  Times leave PostgreSQL as microseconds, so neither DateStyle
 * nor TimeZone matters.
 *
 * New column of a task?  task_columns here, struct task_row, and the enum of columns
 * below.
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
    "clock_timestamp())"
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
	COL_MARK = COL_PAYLOAD, /* lists: this row only tells where the window ended */
};

#define TASK_COLUMNS                                                                   \
	"t.id, y.name, q.name, t.state, t.priority, t.attempt, t.max_attempts, "       \
	"t.failures, " MICROS("t.run_at") ", " MICROS("t.started_at") ", " MICROS(     \
	    "t.finished_at") ", t.owner, t.error_code, t.error_message, t.metadata"

/* what an inner query must carry for TASK_COLUMNS */
#define LIST_COLUMNS                                                                   \
	"i.id, i.type_id, i.queue_id, i.state, i.priority, i.attempt, i.max_attempts," \
	" i.failures, i.run_at, i.started_at, i.finished_at, i.owner, i.error_code,"   \
	" i.error_message, i.metadata"

#define NAMES_OF_T                                                                     \
	" JOIN shoal.queue q ON q.id = t.queue_id JOIN shoal.task_type y ON y.id = "   \
	"t.type_id"

#define LIST_RANGE "i.app_id = $1 AND i.id < $2 AND i.id >= $3"

const struct pgstmt reads_task = {
    "reads_task",
    "SELECT " TASK_COLUMNS ", t.payload, t.result FROM shoal.task t" NAMES_OF_T
    " WHERE t.app_id = $1 AND t.id = $2",
};

const struct pgstmt reads_list = {
    "reads_list",
    "SELECT " TASK_COLUMNS ", false FROM (SELECT " LIST_COLUMNS
    " FROM shoal.task i WHERE " LIST_RANGE " ORDER BY i.id DESC LIMIT $4) t" NAMES_OF_T
    " ORDER BY t.id DESC",
};

/*
 * The window makes a rare filter over a long history cheap: after READS_WINDOW rows
 * the statement ends with a row that says how far it came, and only if the page is not
 * full (the condition on the count is evaluated once, before that branch would run).
 */
const struct pgstmt reads_list_filtered = {
    "reads_list_filtered",
    "WITH hit AS (SELECT i.* FROM (SELECT " LIST_COLUMNS
    " FROM shoal.task i WHERE " LIST_RANGE "  ORDER BY i.id DESC LIMIT " TEXT(
	READS_WINDOW) ") i"
		      "  WHERE ($5::int2 IS NULL OR i.state = $5)"
		      "   AND ($6::text IS NULL OR i.queue_id ="
		      "    (SELECT u.id FROM shoal.queue u WHERE u.app_id = $1 AND "
		      "u.name = $6))"
		      "   AND ($7::text IS NULL OR i.type_id ="
		      "    (SELECT z.id FROM shoal.task_type z WHERE z.name = $7))"
		      "  ORDER BY i.id DESC LIMIT $4)"
		      " SELECT l.* FROM (SELECT " TASK_COLUMNS
		      ", false AS mark FROM hit t" NAMES_OF_T
		      " UNION ALL SELECT e.id, NULL, NULL, NULL, NULL, NULL, NULL, "
		      "NULL, NULL, NULL, NULL, NULL,"
		      "  NULL, NULL, NULL, true FROM (SELECT i.id FROM shoal.task i "
		      "WHERE " LIST_RANGE "   ORDER BY i.id DESC OFFSET " TEXT(
			  READS_WINDOW) " - 1 LIMIT 1) e"
					"  WHERE (SELECT count(*) FROM hit) < $4"
					"   AND ($6::text IS NULL OR EXISTS"
					"    (SELECT 1 FROM shoal.queue u WHERE "
					"u.app_id = $1 AND u.name = $6))"
					"   AND ($7::text IS NULL OR EXISTS"
					"    (SELECT 1 FROM shoal.task_type z WHERE "
					"z.name = $7))) l"
					" ORDER BY l.mark, l.id DESC",
};

const struct pgstmt reads_workers = {
    "reads_workers",
    "SELECT n.id, n.host, n.version, n.slots, " MICROS(
	"n.started_at") ", coalesce(n.id = c.leader AND c.lease_until > "
			"clock_timestamp(), false)"
			" FROM shoal.incarnation n, shoal.cluster c WHERE n.state = 0 "
			"ORDER BY n.id LIMIT 4096",
};

/* busy queues are found by skipping along the lane index, one step a queue */
const struct pgstmt
    reads_queues =
	{
	    "reads_queues",
	    "WITH RECURSIVE step (id) AS ("
	    "  (SELECT t.queue_id FROM shoal.task t WHERE t.order_at IS NOT NULL"
	    "   ORDER BY t.queue_id LIMIT 1)"
	    "  UNION ALL SELECT (SELECT t.queue_id FROM shoal.task t WHERE t.order_at "
	    "IS NOT NULL"
	    "   AND t.queue_id > s.id ORDER BY t.queue_id LIMIT 1) FROM step s WHERE "
	    "s.id IS NOT NULL),"
	    " later AS (SELECT x.queue_id AS id, count(*) AS n FROM (SELECT t.queue_id "
	    "FROM shoal.task t"
	    "   WHERE t.due_at IS NOT NULL ORDER BY t.due_at LIMIT " TEXT(
		READS_COUNT) ") x GROUP BY 1),"
			     " both_kinds AS ((SELECT s.id FROM step s WHERE s.id IS "
			     "NOT NULL LIMIT " TEXT(
				 READS_QUEUES) ")"
					       "   UNION SELECT l.id FROM later l "
					       "LIMIT " TEXT(
						   READS_QUEUES) ")"
								 " SELECT a.name, "
								 "u.name, u.paused, "
								 "c.queued, c.running, "
								 "coalesce(l.n, 0),"
								 "  c.queued + "
								 "c.running >= " TEXT(READS_COUNT) " OR coalesce(l.n, 0) >= " TEXT(
								     READS_COUNT) ","
										  "  "
										  "coal"
										  "esce"
										  "(gre"
										  "ates"
										  "t("
										  "extr"
										  "act("
										  "epoc"
										  "h "
										  "FROM"
										  " clo"
										  "ck_"
										  "time"
										  "stam"
										  "p() "
										  "- "
										  "c."
										  "olde"
										  "st) "
										  "* "
										  "1000"
										  ", "
										  "0), "
										  "0)::"
										  "bigi"
										  "nt"
										  " FRO"
										  "M "
										  "both"
										  "_kin"
										  "ds "
										  "b "
										  "JOIN"
										  " sho"
										  "al."
										  "queu"
										  "e u "
										  "ON "
										  "u."
										  "id "
										  "= "
										  "b.id"
										  " JOI"
										  "N "
										  "shoa"
										  "l."
										  "appl"
										  "icat"
										  "ion "
										  "a "
										  "ON "
										  "a."
										  "id "
										  "= "
										  "u."
										  "app_"
										  "id "
										  "LEFT"
										  " JOI"
										  "N "
										  "late"
										  "r l "
										  "ON "
										  "l."
										  "id "
										  "= "
										  "b."
										  "id,"
										  " LAT"
										  "ERAL"
										  " ("
										  "SELE"
										  "CT "
										  "coun"
										  "t(*)"
										  " FIL"
										  "TER "
										  "(WHE"
										  "RE "
										  "w."
										  "stat"
										  "e = "
										  "1) "
										  "AS "
										  "queu"
										  "ed,"
										  "   "
										  "coun"
										  "t(*)"
										  " FIL"
										  "TER "
										  "(WHE"
										  "RE "
										  "w."
										  "stat"
										  "e = "
										  "2) "
										  "AS "
										  "runn"
										  "ing,"
										  "   "
										  "min("
										  "w."
										  "run_"
										  "at) "
										  "FILT"
										  "ER "
										  "(WHE"
										  "RE "
										  "w."
										  "stat"
										  "e = "
										  "1) "
										  "AS "
										  "olde"
										  "st"
										  "  "
										  "FROM"
										  " ("
										  "SELE"
										  "CT "
										  "t."
										  "stat"
										  "e, "
										  "t."
										  "run_"
										  "at "
										  "FROM"
										  " sho"
										  "al."
										  "task"
										  " t"
										  "   "
										  "WHER"
										  "E "
										  "t."
										  "queu"
										  "e_"
										  "id "
										  "= "
										  "b."
										  "id "
										  "AND "
										  "t."
										  "orde"
										  "r_"
										  "at "
										  "IS "
										  "NOT "
										  "NULL"
										  " LIM"
										  "IT"
										  " " TEXT(
										      READS_COUNT) ") w) c"
												   " ORDER BY a.name, u.name",
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
}

void
reads_task_params(struct pgparam *p, int app_id, const struct uuid *id)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	pgparam_uuid(p, id);
}

static const char *
text_or_null(const struct pgrows *rows, int row, int col)
{
	return pgrows_is_null(rows, row, col) ? NULL
					      : pgrows_text(rows, row, col, NULL);
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
	t->error_code = text_or_null(rows, row, COL_ERROR_CODE);
	t->error_message = text_or_null(rows, row, COL_ERROR_MESSAGE);
	t->metadata = span_or_none(rows, row, COL_METADATA);
}

void
task_row_get(const struct pgrows *rows, int row, struct task_row *t)
{
	task_list_row_get(rows, row, t);
	t->payload = span_or_none(rows, row, COL_PAYLOAD);
	t->result = span_or_none(rows, row, COL_RESULT);
}

const struct pgstmt *
reads_list_params(struct pgparam *p, int app_id, const struct task_filter *f)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	pgparam_uuid(p, &f->below);
	pgparam_uuid(p, &f->from);
	pgparam_int8(p, f->limit +
			    1); /* one more than shown tells whether there is more */
	if (f->state < 0 && f->queue == NULL && f->type == NULL)
		return &reads_list;
	if (f->state < 0)
		pgparam_null(p, PGTYPE_INT2);
	else
		pgparam_int2(p, (int16_t)f->state);
	pgparam_text(p, f->queue);
	pgparam_text(p, f->type);
	return &reads_list_filtered;
}

void
task_page_get(const struct pgrows *rows, const struct task_filter *f,
	      struct task_page *page)
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

void
worker_row_get(const struct pgrows *rows, int row, struct worker_row *w)
{
	pgrows_uuid(rows, row, 0, &w->id);
	w->host = pgrows_text(rows, row, 1, NULL);
	w->version = pgrows_text(rows, row, 2, NULL);
	w->slots = (int)pgrows_int(rows, row, 3);
	w->started_us = pgrows_int(rows, row, 4);
	w->leads = pgrows_bool(rows, row, 5);
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
}
