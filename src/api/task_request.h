/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * task_request.h - the JSON that asks for a task, taken apart and judged.
 *
 * Pure: bytes, settings and the time go in, a struct or a refusal comes out.  Nothing
 * is copied but names and rules; payload and metadata stay the caller's bytes.
 */
#ifndef API_TASK_REQUEST_H
#define API_TASK_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/jscan.h"
#include "model/backoff.h"
#include "model/names.h"
#include "model/settings.h"

#define TASK_BATCH_MAX	    1000
#define TASK_METADATA_MAX   (16 * 1024)
#define TASK_TIMEOUT_MAX_MS (7LL * 86400 * 1000)

struct task_request {
	char type[NAME_MAX_BYTES + 1];
	char queue[NAME_MAX_BYTES + 1];
	const char *payload; /* JSON; never NULL: "null" when none was given */
	size_t payload_len;
	const char *metadata; /* a JSON object; NULL: none */
	size_t metadata_len;
	int16_t priority;
	int16_t max_attempts;
	int32_t timeout_ms; /* 0: the type's */
	int64_t run_at_us;  /* 0: now */
	int64_t delay_ms;
	int64_t retry_until_us;		 /* 0: none */
	int64_t deadline_us;		 /* 0: none */
	char backoff[BACKOFF_TEXT_SIZE]; /* canonical JSON; "": none */
};

/* what the client is told; code is one of those in api/openapi.yaml */
struct refusal {
	int status;
	const char *code;
	char detail[400];
};

/* all three: 0, or -1 with why filled.  now_us: microseconds since 1970 */
int task_request_parse(const char *body, size_t len, const struct settings *s,
    int64_t now_us, struct task_request *tr, struct refusal *why) ATTR_CHECK;
/* {"tasks":[...]} or a bare array, of 1 to TASK_BATCH_MAX; the elements are not yet
 * looked at */
int task_batch_parse(const char *body, size_t len, struct jspan *tasks, size_t *count,
    struct refusal *why) ATTR_CHECK;
/* one element of such a batch, the index-th */
int task_batch_item(const char *body, const struct jspan *item, size_t index,
    const struct settings *s, int64_t now_us, struct task_request *tr,
    struct refusal *why) ATTR_CHECK;

int refuse(struct refusal *why, int status, const char *code, const char *fmt, ...)
    ATTR_PRINTF(4, 5);

#endif
