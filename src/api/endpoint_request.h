/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * endpoint_request.h - the JSON that sets an endpoint, taken apart and judged.
 *
 * Pure: bytes go in, a struct or a refusal comes out.  What is not known is refused.
 */
#ifndef API_ENDPOINT_REQUEST_H
#define API_ENDPOINT_REQUEST_H

#include "api/task_request.h"
#include "http/weburl.h"

#define ENDPOINT_REASON_MAX  400
#define ENDPOINT_HEADERS_MAX 8192 /* bytes, as JSON */
#define ENDPOINT_OVERLAP_MS  (24LL * 3600 * 1000)
#define ENDPOINT_OVERLAP_MAX (30LL * 86400 * 1000)
#define ENDPOINT_TIMEOUT_MAX (3600LL * 1000)

struct endpoint_request {
	unsigned given; /* enum endpoint_given */
	struct weburl url;
	char headers[ENDPOINT_HEADERS_MAX + 1]; /* canonical JSON; "": none */
	int64_t timeout_ms;			/* 0: the type's */
	bool disabled;
	char reason[4 * ENDPOINT_REASON_MAX + 1];
};

int endpoint_request_parse(const char *body, size_t len, struct endpoint_request *er,
    struct refusal *why) ATTR_CHECK;
/* {"overlap": ...}, or no body at all */
int rotate_request_parse(
    const char *body, size_t len, int64_t *overlap_ms, struct refusal *why) ATTR_CHECK;

#endif
