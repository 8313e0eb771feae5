/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * events.h - statements about events, and about what running tasks report.
 *
 * The functions are in conf/schema/0010-events.sql.  An event's place in the stream of
 * its application is (xid, seq); a reader that has seen all up to one place asks for
 * what is behind it.
 */
#ifndef STORE_EVENTS_H
#define STORE_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/uuid.h"
#include "model/event.h"
#include "pg/pgconn.h"
#include "pg/pgparam.h"
#include "pg/pgrows.h"
#include "store/reads.h"

struct event_place {
	int64_t xid, seq;
};

/* below 0, 0, above 0 */
int event_place_cmp(const struct event_place *a, const struct event_place *b);
/* "<xid>-<seq>"; returns buf */
#define EVENT_PLACE_SIZE 44
char *event_place_text(const struct event_place *p, char buf[EVENT_PLACE_SIZE]);
int event_place_parse(const char *text, struct event_place *p) ATTR_CHECK;

struct event_row {
	struct event_place place; /* xid 0: it is read from the task's own row */
	enum event_kind kind;	  /* 0: no event, see the statements */
	int64_t at_us;
	int state;   /* enum task_state; -1: none */
	int attempt; /* 0: none */
	bool has_task, owned;
	struct uuid task, owner;
	const char *code, *message; /* NULL: none */
	struct task_text detail;
	const char *type, *queue; /* NULL: not known any more, or not asked for */
	const char *trace_id;	  /* NULL: none, or not known any more */
	/* of one task: the place in its life */
	int64_t sort;
	int rank;
};

/* app; the first xid of a stream that begins now, the first that was never given */
extern const struct pgstmt events_follow;

/* app, xid, seq, most: the next events of the stream, then a row of kind 0 whose xid is
 * the horizon: all events before it are in here or behind what is */
extern const struct pgstmt events_after;
void events_after_params(
    struct pgparam *p, int app_id, const struct event_place *after, int most);
void events_after_get(const struct pgrows *rows, int row, struct event_row *e);

/* app, id, the place in its life, most: a row of kind 0, then the next events of one
 * task; no row: there is no such task */
extern const struct pgstmt events_of_task;
void events_of_task_params(struct pgparam *p, int app_id, const struct uuid *id,
    int64_t sort, int rank, int64_t seq, int most);
void events_of_task_get(
    const struct pgrows *rows, int row, const struct uuid *id, struct event_row *e);

/* app, id; the log, NULL for none; no row: there is no such task */
extern const struct pgstmt events_log;

/* me, apps, ids, attempts, claims, progress, logs */
extern const struct pgstmt events_report;

/* app, keep ms, look; app or NULL, removed, more */
extern const struct pgstmt events_prune;
/* app, id, look; app and id or NULL, removed */
extern const struct pgstmt events_prune_reports;

#endif
