/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * controls.c - what people do to tasks; see controls.h.
 *
 * The meaning is in conf/schema/0012-operations.sql.
 */
#include "store/controls.h"

#include <string.h>

#include "base/str.h"

#define TEXT_OF(n)  #n
#define TEXT(n)	    TEXT_OF(n)
#define MICROS(col) "(extract(epoch FROM " col ") * 1000000)::bigint"

/* ---------------------------------------------------------------- one task */

const struct pgstmt controls_cancel = {
    "controls_cancel",
    "SELECT * FROM shoal.cancel_task($1::int, $2::uuid, $3::text)",
};

const struct pgstmt controls_retry = {
    "controls_retry",
    "SELECT * FROM shoal.retry_task($1::int, $2::uuid, $3::int, $4::int, $5::text)",
};

const struct pgstmt controls_delete = {
    "controls_delete",
    "SELECT * FROM shoal.delete_task($1::int, $2::uuid)",
};

const struct pgstmt controls_erase = {
    "controls_erase",
    "SELECT * FROM shoal.erase_task($1::int, $2::uuid, $3::text)",
};

void
controls_cancel_params(
    struct pgparam *p, int app_id, const struct uuid *id, const char *detail)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	pgparam_uuid(p, id);
	pgparam_text(p, detail);
}

void
controls_retry_params(struct pgparam *p, int app_id, const struct uuid *id,
    int attempts, int aging_ms, const char *detail)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	pgparam_uuid(p, id);
	pgparam_int4(p, attempts);
	pgparam_int4(p, aging_ms);
	pgparam_text(p, detail);
}

void
controls_delete_params(struct pgparam *p, int app_id, const struct uuid *id)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	pgparam_uuid(p, id);
}

void
control_row_get(
    const struct pgstmt *st, const struct pgrows *rows, struct control_row *c)
{
	memset(c, 0, sizeof(*c));
	c->changed = pgrows_bool(rows, 0, 0);
	if (!pgrows_is_null(rows, 0, 1))
		c->state = (enum task_state)pgrows_int(rows, 0, 1);
	if (st == &controls_cancel && !pgrows_is_null(rows, 0, 2)) {
		c->tells = true;
		pgrows_uuid(rows, 0, 2, &c->tell);
	} else if (st == &controls_retry) {
		c->erased = pgrows_bool(rows, 0, 2);
	}
}

/* ---------------------------------------------------------------- operations */

static const char *const action_names[] = {
    [OPERATION_CANCEL] = "cancel",
    [OPERATION_RETRY] = "retry",
    [OPERATION_DELETE] = "delete",
};

static const char *const state_names[OPERATION_STATE_COUNT] = {
    [OPERATION_RUNNING] = "running",
    [OPERATION_DONE] = "done",
    [OPERATION_FAILED] = "failed",
    [OPERATION_STOPPED] = "stopped",
};

const char *
operation_action_name(enum operation_action action)
{
	return (unsigned)action < COUNT_OF(action_names) ? action_names[action]
							 : "unknown";
}

int
operation_action_parse(const char *name, enum operation_action *action)
{
	for (unsigned i = 0; i < COUNT_OF(action_names); i++) {
		if (str_eq(name, action_names[i])) {
			*action = (enum operation_action)i;
			return 0;
		}
	}
	return -1;
}

const char *
operation_state_name(enum operation_state state)
{
	return (unsigned)state < COUNT_OF(state_names) ? state_names[state] : "unknown";
}

const struct pgstmt controls_count = {
    "controls_count",
    "SELECT * FROM shoal.count_some($1::int, $2::int2[], $3::text, $4::text, "
    "$5::uuid[], $6::uuid, $7::uuid, " TEXT(CONTROLS_WINDOW) ")",
};

const struct pgstmt controls_operate = {
    "controls_operate",
    "SELECT shoal.new_operation($1::int, $2::uuid, $3::int2, $4::text, $5::text, "
    "$6::int2[], $7::text, $8::text, $9::uuid[], $10::int, $11::uuid, "
    "$12::uuid, " TEXT(OPERATIONS_OPEN) ")",
};

#define OPERATION_COLUMNS                                                              \
	"o.id, o.action, o.filter, o.detail, o.state, o.matched, o.done, "             \
	"o.error, " MICROS("o.finished_at")

const struct pgstmt controls_operation = {
    "controls_operation",
    "SELECT " OPERATION_COLUMNS " FROM shoal.operation o"
    " WHERE o.app_id = $1::int AND o.id = $2::uuid",
};

const struct pgstmt controls_operations = {
    "controls_operations",
    "SELECT " OPERATION_COLUMNS " FROM shoal.operation o"
    " WHERE o.app_id = $1::int AND o.id < $2::uuid ORDER BY o.id DESC LIMIT $3::int",
};

/* the outer SELECT sees the row as it was: what was stopped comes from the UPDATE */
const struct pgstmt controls_stop = {
    "controls_stop",
    "WITH o AS (UPDATE shoal.operation SET state = 3, finished_at = clock_timestamp()"
    " WHERE app_id = $1::int AND id = $2::uuid AND finished_at IS NULL RETURNING *)"
    " SELECT " OPERATION_COLUMNS " FROM o UNION ALL"
    " SELECT " OPERATION_COLUMNS " FROM shoal.operation o WHERE o.app_id = $1::int AND "
    "o.id = $2::uuid AND o.finished_at IS NOT NULL",
};

static void
put_states(struct pgparam *p, const struct operation_filter *f)
{
	pgparam_array(p, PGTYPE_INT2);
	for (int i = 0; i < TASK_STATE_COUNT; i++) {
		if (f->states[i])
			pgparam_elem_int2(p, (int16_t)i);
	}
	pgparam_array_end(p);
}

static void
put_ids(struct pgparam *p, const struct operation_filter *f)
{
	if (f->ids == NULL) {
		pgparam_null(p, PGTYPE_UUID_ARRAY);
		return;
	}
	pgparam_array(p, PGTYPE_UUID);
	for (size_t i = 0; i < f->id_count; i++)
		pgparam_elem_uuid(p, &f->ids[i]);
	pgparam_array_end(p);
}

void
controls_count_params(struct pgparam *p, int app_id, const struct operation_filter *f,
    const struct uuid *at)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	put_states(p, f);
	pgparam_text(p, f->queue);
	pgparam_text(p, f->type);
	put_ids(p, f);
	pgparam_uuid(p, at);
	pgparam_uuid(p, &f->below);
}

void
controls_operate_params(struct pgparam *p, int app_id, const struct uuid *id,
    const struct operation_filter *f, const char *filter, size_t filter_len,
    const char *detail)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	pgparam_uuid(p, id);
	pgparam_int2(p, (int16_t)f->action);
	pgparam_textn(p, filter, filter_len);
	pgparam_text(p, detail);
	put_states(p, f);
	pgparam_text(p, f->queue);
	pgparam_text(p, f->type);
	put_ids(p, f);
	pgparam_int4(p, f->attempts);
	pgparam_uuid(p, &f->from);
	pgparam_uuid(p, &f->below);
}

void
controls_operation_params(struct pgparam *p, int app_id, const struct uuid *id)
{
	controls_delete_params(p, app_id, id);
}

void
controls_operations_params(
    struct pgparam *p, int app_id, const struct uuid *below, int limit)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	pgparam_uuid(p, below);
	pgparam_int4(p, limit);
}

void
operation_row_get(const struct pgrows *rows, int row, struct operation_row *o)
{
	memset(o, 0, sizeof(*o));
	pgrows_uuid(rows, row, 0, &o->id);
	o->action = (enum operation_action)pgrows_int(rows, row, 1);
	o->filter = pgrows_text(rows, row, 2, &o->filter_len);
	o->detail = pgrows_text(rows, row, 3, &o->detail_len);
	o->state = (enum operation_state)pgrows_int(rows, row, 4);
	o->matched = pgrows_int(rows, row, 5);
	o->done = pgrows_int(rows, row, 6);
	if (!pgrows_is_null(rows, row, 7))
		o->error = pgrows_text(rows, row, 7, NULL);
	o->finished_us = pgrows_int(rows, row, 8);
}
