/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedules.h - what is asked about schedules, and how a row looks as a struct.
 *
 * Statements of the API carry the application's number; those of the leader go by the
 * schedule's.  Texts in a row are borrowed from the result.
 */
#ifndef STORE_SCHEDULES_H
#define STORE_SCHEDULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"
#include "pg/pgconn.h"
#include "pg/pgparam.h"
#include "pg/pgrows.h"

#define SCHEDULES_MOST 1000 /* of one application */

/* ---------------------------------------------------------------- the API */

struct schedule_row {
	const char *name;
	const char *cron, *zone;
	int gap, overlap, missed; /* enums of model/rule.h */
	int missed_limit;
	bool skip_open; /* while_open is skip */
	int64_t jitter_ms;
	bool paused;
	const char *type, *queue;
	int64_t next_us, last_us; /* 0: none */
	bool has_last_task;
	struct uuid last_task;
	int64_t fired, skipped, passed, refused;
	const char *problem; /* NULL: none */
	int64_t created_us, updated_us;
	int rev;
	const char *task; /* JSON; NULL in lists */
	size_t task_len;
};

/* app, name; one row or none */
extern const struct pgstmt sql_schedule;
/* app, names above this one, limit; rows in the order of names, without task */
extern const struct pgstmt sql_schedules;
void schedule_row_get(const struct pgrows *rows, int row, struct schedule_row *s);

/* see shoal.put_schedule; 0 made, 1 replaced, 2 there are too many */
extern const struct pgstmt sql_put_schedule;
extern const struct pgstmt sql_delete_schedule; /* app, name; whether there was one */
extern const struct pgstmt sql_pause_schedule;	/* app, name; whether there is one */
/* app, name, rev, next us; whether it was still so */
extern const struct pgstmt sql_resume_schedule;

/* ---------------------------------------------------------------- the leader */

/* app, name, below in microseconds (NULL: the newest), limit; instant, outcome (0 made
 * a task, 1 skipped, 2 refused), task, when it fired, message; one row without an
 * instant: no such schedule */
extern const struct pgstmt sql_schedule_fires;
/* most; see shoal.due_schedules */
extern const struct pgstmt sql_due_schedules;
enum due_column {
	DUE_ID = 0, /* NULL in the first row, which has the last two columns only */
	DUE_REV,
	DUE_NAME,
	DUE_CRON,
	DUE_ZONE,
	DUE_GAP,
	DUE_OVERLAP,
	DUE_MISSED,
	DUE_MISSED_LIMIT,
	DUE_JITTER,
	DUE_NEXT,
	DUE_NOW,
	DUE_WAIT, /* ms until another is due; NULL: none is */
};
/* see shoal.fire_schedules; id, tasks made, left out, refused, message */
extern const struct pgstmt sql_fire_schedules;

#endif
