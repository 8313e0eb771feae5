/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * task_fields.h - what the readers of a task's fields share; internal to task_request.c
 * and task_options.c.
 */
#ifndef API_TASK_FIELDS_H
#define API_TASK_FIELDS_H

#include "api/task_request.h"

/* where we are, for messages */
struct place {
	const char *body;
	int index; /* in a batch; -1: alone */
	const struct settings *settings;
	int64_t now_us;
	struct refusal *why;
};

/* reads one member's value into tr; -1: refused, why is filled */
typedef int field_reader(const struct place *at, const char *name,
    const struct jspan *value, struct task_request *tr);

struct field {
	const char *name;
	field_reader *read;
};

int field_refuse(const struct place *at, const char *name, const struct jspan *value,
    const char *rule);
/* seconds with a fraction, or an ISO 8601 duration */
bool field_duration(const struct jspan *value, int64_t max_ms, int64_t *ms);

/* task_options.c */
field_reader field_unique_key, field_unique_until, field_unique_for, field_on_conflict,
    field_concurrency_key, field_concurrency_limit, field_after, field_after_failure,
    field_ref;
/* what concerns more than one of them; fills their defaults */
int field_check_options(
    const struct place *at, const struct jspan *object, struct task_request *tr);

#endif
