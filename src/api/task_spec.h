/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * task_spec.h - a task as shoal.make_task reads it.
 */
#ifndef API_TASK_SPEC_H
#define API_TASK_SPEC_H

#include "api/task_request.h"
#include "base/strbuf.h"
#include "base/uuid.h"

/* all but tr may be missing: 0, NULL */
struct task_spec {
	const struct task_request *tr;
	const struct uuid *id;
	int queue_id, type_id; /* 0: the statement looks them up by name */
	const struct uuid *group;
	const struct uuid *parents;
	size_t parent_count;
};

/* appended to out */
void task_spec_write(struct strbuf *out, const struct task_spec *ts);

#endif
