/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * events.c - statements about events and reports; see events.h.
 */
#include "store/events.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

const struct pgstmt events_follow = {
    "events_follow",
    "SELECT f.first_xid, f.next_xid FROM shoal.follow($1::int) f",
};

const struct pgstmt events_after = {
    "events_after",
    "SELECT e.xid, e.seq, e.at_us, e.kind, e.state, e.attempt, e.owner, e.code, "
    "e.message, e.detail, e.task_id, e.type, e.queue, e.trace_id"
    " FROM shoal.events_after($1::int, $2::int8, $3::int8, $4::int) e",
};

const struct pgstmt events_of_task = {
    "events_of_task",
    "SELECT e.xid, e.seq, e.at_us, e.kind, e.state, e.attempt, e.owner, e.code, "
    "e.message, e.detail, e.sort, e.rank, (SELECT shoal.trace_id_of($1::int, "
    "$2::uuid))"
    " FROM shoal.task_events($1::int, $2::uuid, $3::int8, $4::int, $5::int8, "
    "$6::int) e",
};

const struct pgstmt events_log = {
    "events_log",
    "SELECT l.log FROM shoal.log_of($1::int, $2::uuid) l",
};

const struct pgstmt events_report = {
    "events_report",
    "SELECT shoal.report_tasks($1::uuid, $2::int[], $3::uuid[], $4::int[], $5::int[],"
    " $6::text[], $7::text[])",
};

const struct pgstmt events_prune = {
    "events_prune",
    "SELECT p.app_id, p.removed, p.more"
    " FROM shoal.prune_events($1::int, $2::int8, $3::int) p",
};

const struct pgstmt events_prune_reports = {
    "events_prune_reports",
    "SELECT p.app_id, p.id, p.removed"
    " FROM shoal.prune_reports($1::int, $2::uuid, $3::int) p",
};

/* the order of columns in both statements about events */
enum event_column {
	COL_XID = 0,
	COL_SEQ,
	COL_AT,
	COL_KIND,
	COL_STATE,
	COL_ATTEMPT,
	COL_OWNER,
	COL_CODE,
	COL_MESSAGE,
	COL_DETAIL,
	COL_TASK, /* of the stream */
	COL_TYPE,
	COL_QUEUE,
	COL_TRACE,
	COL_SORT = COL_TASK, /* of one task */
	COL_RANK,
	COL_OWN_TRACE,
};

int
event_place_cmp(const struct event_place *a, const struct event_place *b)
{
	if (a->xid != b->xid)
		return a->xid < b->xid ? -1 : 1;
	return (a->seq > b->seq) - (a->seq < b->seq);
}

char *
event_place_text(const struct event_place *p, char buf[EVENT_PLACE_SIZE])
{
	snprintf(buf, EVENT_PLACE_SIZE, "%" PRId64 "-%" PRId64, p->xid, p->seq);
	return buf;
}

int
event_place_parse(const char *text, struct event_place *p)
{
	char xid[24];
	size_t len = strcspn(text, "-");
	struct event_place read;

	if (len >= sizeof(xid) || text[len] == '\0')
		return -1;
	memcpy(xid, text, len);
	xid[len] = '\0';
	if (str_to_i64(xid, &read.xid) != 0 ||
	    str_to_i64(text + len + 1, &read.seq) != 0 || read.xid < 0 || read.seq < 0)
		return -1;
	*p = read;
	return 0;
}

void
events_after_params(
    struct pgparam *p, int app_id, const struct event_place *after, int most)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	pgparam_int8(p, after->xid);
	pgparam_int8(p, after->seq);
	pgparam_int4(p, most);
}

static void
get_common(const struct pgrows *rows, int row, struct event_row *e)
{
	memset(e, 0, sizeof(*e));
	e->place.xid = pgrows_int(rows, row, COL_XID);
	e->place.seq = pgrows_int(rows, row, COL_SEQ);
	e->at_us = pgrows_int(rows, row, COL_AT);
	e->kind = (enum event_kind)pgrows_int(rows, row, COL_KIND);
	e->state = pgrows_is_null(rows, row, COL_STATE)
		       ? -1
		       : (int)pgrows_int(rows, row, COL_STATE);
	e->attempt = (int)pgrows_int(rows, row, COL_ATTEMPT);
	e->owned = !pgrows_is_null(rows, row, COL_OWNER);
	pgrows_uuid(rows, row, COL_OWNER, &e->owner);
	e->code = pgrows_text_or_null(rows, row, COL_CODE, NULL);
	e->message = pgrows_text_or_null(rows, row, COL_MESSAGE, NULL);
	if (!pgrows_is_null(rows, row, COL_DETAIL))
		e->detail.at = pgrows_text(rows, row, COL_DETAIL, &e->detail.len);
}

void
events_after_get(const struct pgrows *rows, int row, struct event_row *e)
{
	get_common(rows, row, e);
	e->has_task = !pgrows_is_null(rows, row, COL_TASK);
	pgrows_uuid(rows, row, COL_TASK, &e->task);
	e->type = pgrows_text_or_null(rows, row, COL_TYPE, NULL);
	e->queue = pgrows_text_or_null(rows, row, COL_QUEUE, NULL);
	e->trace_id = pgrows_text_or_null(rows, row, COL_TRACE, NULL);
}

void
events_of_task_params(struct pgparam *p, int app_id, const struct uuid *id,
    int64_t sort, int rank, int64_t seq, int most)
{
	pgparam_reset(p);
	pgparam_int4(p, app_id);
	pgparam_uuid(p, id);
	pgparam_int8(p, sort);
	pgparam_int4(p, rank);
	pgparam_int8(p, seq);
	pgparam_int4(p, most);
}

void
events_of_task_get(
    const struct pgrows *rows, int row, const struct uuid *id, struct event_row *e)
{
	get_common(rows, row, e);
	e->has_task = true;
	e->task = *id;
	e->sort = pgrows_int(rows, row, COL_SORT);
	e->rank = (int)pgrows_int(rows, row, COL_RANK);
	e->trace_id = pgrows_text_or_null(rows, row, COL_OWN_TRACE, NULL);
}
