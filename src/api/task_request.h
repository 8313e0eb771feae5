/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * task_request.h - the JSON that asks for a task, taken apart and judged.
 *
 * Pure: bytes, settings and the time go in, a struct or a refusal comes out.  Nothing
 * is copied but names and rules; payload and metadata stay the caller's bytes.
 */
#ifndef API_TASK_REQUEST_H
#define API_TASK_REQUEST_H

#include <stdbool.h>
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

/* how long a unique_key is taken, and what a second one of it is; numbers as in
 * shoal.make_task */
enum task_unique { UNIQUE_UNTIL_START = 0, UNIQUE_UNTIL_FINISH, UNIQUE_FOR };
enum task_conflict {
	CONFLICT_EXISTING = 0,
	CONFLICT_REJECT,
	CONFLICT_REPLACE,
	CONFLICT_POSTPONE
};

struct task_request {
	char type[NAME_MAX_BYTES + 1];
	char queue[NAME_MAX_BYTES + 1];
	const char *payload; /* JSON; never NULL: "null" when none was given */
	size_t payload_len;
	const char *metadata; /* a JSON object; NULL: none */
	size_t metadata_len;
	int16_t priority;
	bool own_priority; /* the task says it */
	int16_t max_attempts;
	bool own_attempts;  /* the task says it */
	int32_t timeout_ms; /* 0: the type's */
	int64_t run_at_us;  /* 0: now */
	int64_t delay_ms;
	bool special; /* it uses one of the options below: engine/each.h */
	struct task_options {
		/* the caller's bytes; kind 0: not given */
		struct jspan unique_key, concurrency_key, after, ref;
		enum task_unique unique_scope;
		int64_t unique_for_ms;
		enum task_conflict on_conflict;
		int32_t concurrency_limit; /* 0: as it is, 1 for a new key */
		bool run_anyway;	   /* also after parents that did not succeed */
		unsigned given;		   /* of those with a default: TASK_GIVEN_* */
	} options;
	int64_t retry_until_us;		      /* 0: none */
	int64_t deadline_us;		      /* 0: none */
	char backoff[BACKOFF_TEXT_SIZE];      /* canonical JSON; "": none */
	struct jspan traceparent, tracestate; /* the caller's bytes; kind 0: not given
					       */
	/* what is kept of these or of the request's headers; filled by call_trace */
	const char *trace; /* the call's; NULL: none */
	size_t trace_len;
};

#define TASK_GIVEN_UNTIL    1u
#define TASK_GIVEN_FOR	    2u
#define TASK_GIVEN_CONFLICT 4u
#define TASK_GIVEN_LIMIT    8u
#define TASK_GIVEN_FAILURE  16u

/* one key of task_options, unescaped; a task can have so many parents */
#define TASK_KEY_MAX	 255
#define TASK_PARENTS_MAX 100

/* what the client is told; code is one of those in api/openapi.yaml */
struct refusal {
	int status;
	const char *code;
	char detail[400];
};

/* all three: 0, or -1 with why filled.  now_us: microseconds since 1970 */
int task_request_parse(const char *body, size_t len, const struct settings *s,
    int64_t now_us, struct task_request *tr, struct refusal *why) ATTR_CHECK;
/* the same for a value inside a body that was checked; refusals do not say where it is
 */
int task_request_at(const char *body, const struct jspan *object,
    const struct settings *s, int64_t now_us, struct task_request *tr,
    struct refusal *why) ATTR_CHECK;
/* a body with tasks inside so many arrays and objects */
int task_json_check(const char *body, size_t len, unsigned wrap, struct jspan *value,
    struct refusal *why) ATTR_CHECK;
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
