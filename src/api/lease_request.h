/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_request.h - the JSON that workers outside send, taken apart and judged.
 *
 * Pure: bytes go in, a struct or a refusal comes out.  What is not known is refused.
 */
#ifndef API_LEASE_REQUEST_H
#define API_LEASE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/task_request.h"
#include "base/uuid.h"
#include "engine/leases.h"
#include "model/backoff.h"
#include "model/lease_name.h"
#include "model/names.h"
#include "model/scope.h"
#include "model/task.h"

#define LEASE_WORKER_MAX   100
#define LEASE_CODE_MAX	   47
#define LEASE_MESSAGE_MAX  8192
#define LEASE_BATCH_MAX	   100
#define LEASE_LOG_LINES	   100
#define LEASE_LOG_MAX	   (16 * 1024)
#define LEASE_PROGRESS_MAX 4096
#define LEASE_RETRY_MAX_MS (30LL * 86400 * 1000)

/* POST /v1/leases */
struct lease_ask {
	char queues[LEASE_MAX_QUEUES][NAME_MAX_BYTES + 1];
	size_t queue_count;
	char types[LEASE_MAX_QUEUES][NAME_MAX_BYTES + 1];
	size_t type_count;
	int max;
	int64_t wait_ms, ttl_ms;
	char worker[LEASE_WORKER_MAX + 1]; /* "": none */
};
int lease_ask_parse(
    const char *body, size_t len, struct lease_ask *la, struct refusal *why) ATTR_CHECK;

/* .../extend */
struct lease_extend {
	int64_t ttl_ms;
	struct jspan progress;	     /* kind 0: none */
	char log[LEASE_LOG_MAX + 1]; /* lines, each ended; "": none */
};
int lease_extend_parse(const char *body, size_t len, struct lease_extend *lx,
    struct refusal *why) ATTR_CHECK;

/* what a lease ends with */
struct lease_end {
	struct lease_name name;
	enum task_state state; /* SUCCEEDED, FAILED, SCHEDULED (to be tried again),
				  QUEUED (given back) */
	struct jspan result;   /* kind 0: null */
	char code[LEASE_CODE_MAX + 1];
	struct jspan message; /* a string that fits; kind 0: none */
	int64_t retry_ms;     /* -1: by the backoff */
};
/* .../complete, .../fail, .../release: the body of one, without its name */
int lease_complete_parse(const char *body, size_t len, size_t result_max,
    struct lease_end *le, struct refusal *why) ATTR_CHECK;
int lease_fail_parse(
    const char *body, size_t len, struct lease_end *le, struct refusal *why) ATTR_CHECK;
int lease_release_parse(
    const char *body, size_t len, struct lease_end *le, struct refusal *why) ATTR_CHECK;
/* {"leases":[{"lease","result"}]}, 1 to LEASE_BATCH_MAX into ends */
int lease_batch_parse(const char *body, size_t len, size_t result_max,
    struct lease_end *ends, size_t *count, struct refusal *why) ATTR_CHECK;

/* PUT /v1/types/{name} */
struct type_request {
	int handler;
	int64_t timeout_ms;		   /* 0: none */
	int max_attempts;		   /* 0: the node's */
	char endpoint[NAME_MAX_BYTES + 1]; /* of an http type */
	char backoff[BACKOFF_TEXT_SIZE];   /* canonical JSON; "": the default */
};
int type_request_parse(const char *body, size_t len, struct type_request *tr,
    struct refusal *why) ATTR_CHECK;

#endif
