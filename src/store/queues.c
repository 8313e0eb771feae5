/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queues.c - statements about queues; the meaning is in conf/schema/0008-queues.sql, of
 * pools in 0013-pools.sql.
 */
#include "store/queues.h"

#include <string.h>

#define TEXT_OF(n) #n
#define TEXT(n)	   TEXT_OF(n)

const struct pgstmt queues_set = {
    "queues_set",
    "SELECT shoal.set_queue($1::int, $2::text, $3::int, $4::text, $5::int, $6::int, "
    "$7::int, $8::int, $9::int, $10::int, $11::int, $12::int, $13::int8, $14::int8, "
    "$15::text, $16::text)",
};

const struct pgstmt queues_pause = {
    "queues_pause",
    "SELECT shoal.pause_queue($1::int, $2::text, $3::bool, $4::text, $5::text)",
};

const struct pgstmt queues_list = {
    "queues_list",
    "SELECT l.*, coalesce(q.pool, 'main') FROM shoal.list_queues($1::int, $2::text, "
    "$3::text, $4::int, $5::int) l JOIN shoal.queue q ON q.id = l.id ORDER BY l.name",
};

const struct pgstmt queues_why = {
    "queues_why",
    "SELECT w.*, l.pull, l.worker, l.leased_at, l.expires_at, p.pool, p.pool_served, "
    "p.type_served, e.endpoint, e.disabled_at, e.reason, l.others, l.latest_at "
    "FROM shoal.why_task($1::int, "
    "$2::uuid, " TEXT(
	WHY_AHEAD) ") w LEFT JOIN shoal.why_endpoint($1::int, $2::uuid) e ON true, "
		   "shoal.why_lease($1::int, $2::uuid) l, "
		   "LATERAL shoal.pool_why($1::int, $2::uuid) p",
};

static void
put_int4(struct pgparam *p, const struct queue_settings_row *v, unsigned what, int n)
{
	if (v->set & what)
		pgparam_int4(p, n);
	else
		pgparam_null(p, PGTYPE_INT4);
}

static void
put_int8(
    struct pgparam *p, const struct queue_settings_row *v, unsigned what, int64_t n)
{
	if (v->set & what)
		pgparam_int8(p, n);
	else
		pgparam_null(p, PGTYPE_INT8);
}

void
queues_set_params(struct pgparam *p, int app_id, const char *name, int name_limit,
    const char *by, unsigned given, const struct queue_settings_row *v,
    const char *detail, size_t detail_len)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	pgparam_text(p, name);
	pgparam_int4(p, name_limit);
	pgparam_text(p, by);
	pgparam_int4(p, (int32_t)given);
	put_int4(p, v, QUEUE_PRIORITY, v->priority);
	put_int4(p, v, QUEUE_MAX_LENGTH, v->max_length);
	put_int4(p, v, QUEUE_CONCURRENCY, v->concurrency);
	put_int4(p, v, QUEUE_RATE, v->rate);
	put_int4(p, v, QUEUE_RATE, v->rate_ms);
	put_int4(p, v, QUEUE_SHED, v->shed_ppm);
	put_int4(p, v, QUEUE_SHED_BELOW, v->shed_below);
	put_int8(p, v, QUEUE_KEEP_FINISHED, v->keep_finished_ms);
	put_int8(p, v, QUEUE_KEEP_FAILED, v->keep_failed_ms);
	pgparam_textn(p, detail, detail_len);
	pgparam_text(p, v->set & QUEUE_POOL ? v->pool : NULL);
}

void
queues_pause_params(struct pgparam *p, int app_id, const char *name, bool paused,
    const char *by, const char *reason)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	pgparam_text(p, name);
	pgparam_bool(p, paused);
	pgparam_text(p, by);
	pgparam_text(p, reason);
}

void
queues_list_params(
    struct pgparam *p, int app_id, const char *name, const char *after, int limit)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	pgparam_text(p, name);
	pgparam_text(p, after);
	pgparam_int4(p, limit);
	pgparam_int4(p, name != NULL ? QUEUES_COUNT_ONE : QUEUES_COUNT);
}

static int64_t
int_or(const struct pgrows *rows, int row, int col, int64_t otherwise)
{
	return pgrows_is_null(rows, row, col) ? otherwise : pgrows_int(rows, row, col);
}

void
queue_detail_row_get(const struct pgrows *rows, int row, struct queue_detail_row *q)
{
	/* columns of settings, and which of them says that it is set */
	static const struct {
		int col;
		unsigned what;
	} settings[] = {{12, QUEUE_PRIORITY}, {13, QUEUE_MAX_LENGTH},
	    {14, QUEUE_CONCURRENCY}, {15, QUEUE_RATE}, {17, QUEUE_SHED},
	    {18, QUEUE_SHED_BELOW}, {19, QUEUE_KEEP_FINISHED}, {20, QUEUE_KEEP_FAILED}};
	struct queue_settings_row *s = &q->settings;

	memset(q, 0, sizeof(*q));
	q->id = (int)pgrows_int(rows, row, 0);
	q->name = pgrows_text(rows, row, 1, NULL);
	q->created_us = pgrows_time_us(rows, row, 2);
	q->paused = pgrows_bool(rows, row, 3);
	q->paused_by = pgrows_text_or_null(rows, row, 4, NULL);
	q->paused_us = pgrows_time_us(rows, row, 5);
	q->paused_reason = pgrows_text_or_null(rows, row, 6, NULL);
	q->queued = pgrows_int(rows, row, 7);
	q->running = pgrows_int(rows, row, 8);
	q->scheduled = pgrows_int(rows, row, 9);
	q->more = pgrows_bool(rows, row, 10);
	q->oldest_ms = int_or(rows, row, 11, -1);
	for (size_t i = 0; i < COUNT_OF(settings); i++) {
		if (!pgrows_is_null(rows, row, settings[i].col))
			s->set |= settings[i].what;
	}
	s->priority = (int)pgrows_int(rows, row, 12);
	s->max_length = (int)pgrows_int(rows, row, 13);
	s->concurrency = (int)pgrows_int(rows, row, 14);
	s->rate = (int)pgrows_int(rows, row, 15);
	s->rate_ms = (int)pgrows_int(rows, row, 16);
	s->shed_ppm = (int)pgrows_int(rows, row, 17);
	s->shed_below = (int)pgrows_int(rows, row, 18);
	s->keep_finished_ms = pgrows_int(rows, row, 19);
	s->keep_failed_ms = pgrows_int(rows, row, 20);
	q->pool = pgrows_text(rows, row, 21, NULL);
}

void
queues_why_params(struct pgparam *p, int app_id, const struct uuid *id)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	pgparam_uuid(p, id);
}

static void
limit_get(const struct pgrows *rows, int row, int col, struct why_limit *l)
{
	l->concurrency = (int)pgrows_int(rows, row, col);
	l->running = (int)pgrows_int(rows, row, col + 1);
	l->since_us = pgrows_time_us(rows, row, col + 2);
	l->rate = (int)pgrows_int(rows, row, col + 3);
	l->rate_ms = (int)pgrows_int(rows, row, col + 4);
	l->until_us = pgrows_time_us(rows, row, col + 5);
}

void
why_row_get(const struct pgrows *rows, int row, struct why_row *w)
{
	memset(w, 0, sizeof(*w));
	w->state = (enum task_state)pgrows_int(rows, row, 0);
	w->type = pgrows_text(rows, row, 1, NULL);
	w->queue = pgrows_text(rows, row, 2, NULL);
	w->attempt = (int)pgrows_int(rows, row, 3);
	w->failures = (int)pgrows_int(rows, row, 4);
	w->max_attempts = (int)pgrows_int(rows, row, 5);
	w->run_at_us = pgrows_time_us(rows, row, 6);
	w->timed = !pgrows_is_null(rows, row, 7);
	w->started_us = pgrows_time_us(rows, row, 8);
	w->finished_us = pgrows_time_us(rows, row, 9);
	w->owned = !pgrows_is_null(rows, row, 10);
	pgrows_uuid(rows, row, 10, &w->owner);
	w->code = pgrows_text_or_null(rows, row, 11, NULL);
	w->message = pgrows_text_or_null(rows, row, 12, NULL);
	w->deadline_us = pgrows_time_us(rows, row, 13);
	w->deadline_over = pgrows_bool(rows, row, 14);
	pgrows_array(rows, row, 15, &w->parents);
	w->parents_open = (int)pgrows_int(rows, row, 16);
	w->key = pgrows_text_or_null(rows, row, 17, NULL);
	w->key_ahead = (int)int_or(rows, row, 18, -1);
	w->cancel_us = pgrows_time_us(rows, row, 19);
	w->paused = pgrows_bool(rows, row, 20);
	w->paused_by = pgrows_text_or_null(rows, row, 21, NULL);
	w->paused_us = pgrows_time_us(rows, row, 22);
	w->paused_reason = pgrows_text_or_null(rows, row, 23, NULL);
	w->served = pgrows_bool(rows, row, 24);
	w->ahead = (int)int_or(rows, row, 25, -1);
	limit_get(rows, row, 26, &w->by_queue);
	limit_get(rows, row, 32, &w->by_type);
	w->pull = pgrows_bool(rows, row, 38);
	w->holder = pgrows_text_or_null(rows, row, 39, NULL);
	w->leased_us = pgrows_time_us(rows, row, 40);
	w->lease_until_us = pgrows_time_us(rows, row, 41);
	w->pool = pgrows_text(rows, row, 42, NULL);
	w->pool_served = pgrows_bool(rows, row, 43);
	w->served_in_pool = pgrows_bool(rows, row, 44);
	w->endpoint = pgrows_text_or_null(rows, row, 45, NULL);
	w->endpoint_disabled_us = pgrows_time_us(rows, row, 46);
	w->endpoint_reason = pgrows_text_or_null(rows, row, 47, NULL);
	w->leased = (int)int_or(rows, row, 48, 0);
	w->latest_lease_us = pgrows_time_us(rows, row, 49);
}
