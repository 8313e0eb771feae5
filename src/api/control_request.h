/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control_request.h - the JSON that asks for a change of tasks, taken apart and judged.
 *
 * Pure: bytes go in, a struct or a refusal comes out.
 */
#ifndef API_CONTROL_REQUEST_H
#define API_CONTROL_REQUEST_H

#include "api/task_request.h"
#include "store/controls.h"

#define CONTROL_REASON_MAX   1000
#define CONTROL_ATTEMPTS_MAX 1000
#define OPERATION_IDS_MAX    1000
#define OPERATION_FILTER_MAX (64 * 1024)

/* of one task; the body may be empty */
struct control_request {
	bool has_reason;
	char reason[CONTROL_REASON_MAX + 1];
	int attempts; /* 1 unless given */
};
/* with_attempts: that field is known too */
int control_request_parse(const char *body, size_t len, bool with_attempts,
    struct control_request *cr, struct refusal *why) ATTR_CHECK;

/* of many; self-contained, but for filter_json */
struct operation_request {
	struct operation_filter filter; /* points into this struct */
	bool dry_run;
	struct control_request common;
	char queue[NAME_MAX_BYTES + 1], type[NAME_MAX_BYTES + 1];
	struct uuid ids[OPERATION_IDS_MAX]; /* sorted, each once */
	struct jspan filter_json;	    /* in the body */
};
int operation_request_parse(const char *body, size_t len, struct operation_request * or,
    struct refusal *why) ATTR_CHECK;

#endif
