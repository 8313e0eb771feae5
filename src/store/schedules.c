/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedules.c - the statements about schedules; see schedules.h.
 *
 * New column of a schedule?  SCHEDULE_COLUMNS, the enum, struct schedule_row and
 * shoal.put_schedule.
 */
#include "store/schedules.h"

#include <string.h>

enum schedule_column {
	COL_NAME = 0,
	COL_CRON,
	COL_ZONE,
	COL_GAP,
	COL_OVERLAP,
	COL_MISSED,
	COL_MISSED_LIMIT,
	COL_WHILE_OPEN,
	COL_JITTER,
	COL_PAUSED,
	COL_TYPE,
	COL_QUEUE,
	COL_NEXT,
	COL_LAST,
	COL_LAST_TASK,
	COL_FIRED,
	COL_SKIPPED,
	COL_PASSED,
	COL_REFUSED,
	COL_PROBLEM,
	COL_CREATED,
	COL_UPDATED,
	COL_REV,
	COL_TASK,
};

#define SCHEDULE_COLUMNS                                                               \
	"s.name, s.cron, s.zone, s.gap, s.overlap, s.missed, s.missed_limit, "         \
	"s.while_open, s.jitter_ms, s.paused, s.type, s.queue, "                       \
	"shoal.us_of(s.next_at), shoal.us_of(s.last_at), s.last_task, s.fired, "       \
	"s.skipped, s.passed, s.refused, s.problem, shoal.us_of(s.created_at), "       \
	"shoal.us_of(s.updated_at), s.rev"

const struct pgstmt sql_schedule = {
    "schedule",
    "SELECT " SCHEDULE_COLUMNS ", s.task FROM shoal.schedule s"
    " WHERE s.app_id = $1::int AND s.name = $2::text",
};

const struct pgstmt sql_schedules = {
    "schedules",
    "SELECT " SCHEDULE_COLUMNS ", NULL::text FROM shoal.schedule s"
    " WHERE s.app_id = $1::int AND s.name > $2::text ORDER BY s.name LIMIT $3::int",
};

const struct pgstmt sql_schedule_fires = {
    "schedule_fires",
    "SELECT at_us, outcome, task_id, fired_us, message"
    " FROM shoal.schedule_fires($1::int, $2::text, $3::int8, $4::int)",
};

const struct pgstmt sql_put_schedule = {
    "put_schedule",
    "SELECT shoal.put_schedule($1::int, $2::text, $3::text, $4::text, $5::int, "
    "$6::int, $7::int, $8::int, $9::int, $10::int, $11::bool, $12::text, $13::text, "
    "$14::text, $15::text, $16::text, $17::bool, $18::int8, $19::int)",
};

const struct pgstmt sql_delete_schedule = {
    "delete_schedule",
    "SELECT shoal.delete_schedule($1::int, $2::text)",
};

const struct pgstmt sql_pause_schedule = {
    "pause_schedule",
    "SELECT shoal.pause_schedule($1::int, $2::text)",
};

const struct pgstmt sql_resume_schedule = {
    "resume_schedule",
    "SELECT shoal.resume_schedule($1::int, $2::text, $3::int, $4::int8)",
};

const struct pgstmt sql_due_schedules = {
    "due_schedules",
    "SELECT id, rev, name, cron, zone, gap, overlap, missed, missed_limit, jitter_ms, "
    "next_us, now_us, wait_ms FROM shoal.due_schedules($1::int)",
};

const struct pgstmt sql_fire_schedules = {
    "fire_schedules",
    "SELECT schedule, tasks, left_out, refusals, note FROM "
    "shoal.fire_schedules($1::uuid, "
    "$2::int, $3::int[], $4::int[], $5::int8[], $6::int8[], $7::bool[], $8::int8[], "
    "$9::text[], $10::int[], $11::int8[], $12::int8[])",
};

void
schedule_row_get(const struct pgrows *rows, int row, struct schedule_row *s)
{
	memset(s, 0, sizeof(*s));
	s->name = pgrows_text(rows, row, COL_NAME, NULL);
	s->cron = pgrows_text(rows, row, COL_CRON, NULL);
	s->zone = pgrows_text(rows, row, COL_ZONE, NULL);
	s->gap = (int)pgrows_int(rows, row, COL_GAP);
	s->overlap = (int)pgrows_int(rows, row, COL_OVERLAP);
	s->missed = (int)pgrows_int(rows, row, COL_MISSED);
	s->missed_limit = (int)pgrows_int(rows, row, COL_MISSED_LIMIT);
	s->skip_open = pgrows_int(rows, row, COL_WHILE_OPEN) == 1;
	s->jitter_ms = pgrows_int(rows, row, COL_JITTER);
	s->paused = pgrows_bool(rows, row, COL_PAUSED);
	s->type = pgrows_text(rows, row, COL_TYPE, NULL);
	s->queue = pgrows_text(rows, row, COL_QUEUE, NULL);
	s->next_us = pgrows_int(rows, row, COL_NEXT);
	s->last_us = pgrows_int(rows, row, COL_LAST);
	s->has_last_task = !pgrows_is_null(rows, row, COL_LAST_TASK);
	pgrows_uuid(rows, row, COL_LAST_TASK, &s->last_task);
	s->fired = pgrows_int(rows, row, COL_FIRED);
	s->skipped = pgrows_int(rows, row, COL_SKIPPED);
	s->passed = pgrows_int(rows, row, COL_PASSED);
	s->refused = pgrows_int(rows, row, COL_REFUSED);
	s->problem = pgrows_text_or_null(rows, row, COL_PROBLEM, NULL);
	s->created_us = pgrows_int(rows, row, COL_CREATED);
	s->updated_us = pgrows_int(rows, row, COL_UPDATED);
	s->rev = (int)pgrows_int(rows, row, COL_REV);
	s->task = pgrows_text_or_null(rows, row, COL_TASK, &s->task_len);
}
