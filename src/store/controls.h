/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * controls.h - what people do to tasks, one by one and by filter: the statements, their
 * parameters, and their rows as structs.
 *
 * Each carries the application's number, so that nobody touches another's tasks.
 * detail is JSON for the event: by whom, and why.
 */
#ifndef STORE_CONTROLS_H
#define STORE_CONTROLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"
#include "model/task.h"
#include "pg/pgconn.h"
#include "pg/pgparam.h"
#include "pg/pgrows.h"

/* ---------------------------------------------------------------- one task */

/* no row: there is no such task, or it is another application's */
extern const struct pgstmt controls_cancel, controls_retry, controls_delete,
    controls_erase;
/* of erase, too */
void controls_cancel_params(
    struct pgparam *p, int app_id, const struct uuid *id, const char *detail);
void controls_retry_params(struct pgparam *p, int app_id, const struct uuid *id,
    int attempts, int aging_ms, const char *detail);
void controls_delete_params(struct pgparam *p, int app_id, const struct uuid *id);

struct control_row {
	bool changed;
	enum task_state state; /* afterwards; not of one that was deleted */
	/* cancel: the waiter of a task that has ended, the holder of one that runs */
	bool tells;
	struct uuid tell;
	bool erased; /* retry: refused for want of its payload */
};
void control_row_get(
    const struct pgstmt *st, const struct pgrows *rows, struct control_row *c);

/* ---------------------------------------------------------------- operations */

enum operation_action { OPERATION_CANCEL = 0, OPERATION_RETRY, OPERATION_DELETE };
enum operation_state {
	OPERATION_RUNNING = 0,
	OPERATION_DONE,
	OPERATION_FAILED,
	OPERATION_STOPPED,
	OPERATION_STATE_COUNT
};
const char *operation_action_name(enum operation_action action); /* "cancel" */
int operation_action_parse(const char *name, enum operation_action *action) ATTR_CHECK;
const char *operation_state_name(enum operation_state state); /* "running" */

/* which tasks are meant; texts are borrowed */
struct operation_filter {
	enum operation_action action;
	bool states[TASK_STATE_COUNT];
	const char *queue, *type; /* NULL: any */
	struct uuid from, below;  /* by time: ids from one to before another */
	const struct uuid *ids;	  /* NULL: all */
	size_t id_count;
	int attempts; /* retry: how many more */
};

/* how many there are among the next CONTROLS_WINDOW behind *at; n, and the last one
 * looked at, NULL: these were all */
#define CONTROLS_WINDOW 10000
extern const struct pgstmt controls_count;
void controls_count_params(struct pgparam *p, int app_id,
    const struct operation_filter *f, const struct uuid *at);

/* true, or false: OPERATIONS_OPEN of the application are at work already */
#define OPERATIONS_OPEN 20
extern const struct pgstmt controls_operate;
void controls_operate_params(struct pgparam *p, int app_id, const struct uuid *id,
    const struct operation_filter *f, const char *filter, size_t filter_len,
    const char *detail);

/* one; the newest below an id; one, after having stopped it if it was at work */
extern const struct pgstmt controls_operation, controls_operations, controls_stop;
void controls_operation_params(struct pgparam *p, int app_id, const struct uuid *id);
void controls_operations_params(
    struct pgparam *p, int app_id, const struct uuid *below, int limit);

struct operation_row {
	struct uuid id;
	enum operation_action action;
	const char *filter; /* JSON */
	size_t filter_len;
	const char *detail; /* JSON */
	size_t detail_len;
	enum operation_state state;
	int64_t matched, done;
	const char *error;   /* NULL: none */
	int64_t finished_us; /* 0: not yet */
};
void operation_row_get(const struct pgrows *rows, int row, struct operation_row *o);

#endif
