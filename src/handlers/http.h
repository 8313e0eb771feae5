/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * http.h - tasks run by servers that the operator or an application listed: each
 * attempt is one POST.
 *
 * The URL is the type's or the endpoint's, never a request's.  The body is the payload,
 * and beside the headers that it has of its own go
 *
 *     content-type        application/json
 *     webhook-id          the task's id, the same in all attempts
 *     webhook-timestamp   seconds since 1970, by PostgreSQL's clock
 *     webhook-signature   by its secrets (Standard Webhooks), if it has any
 *     shoal-task-id  shoal-type  shoal-attempt  shoal-fence
 *     shoal-deadline      when the attempt will be ended (RFC 3339)
 *     shoal-lease  shoal-lease-url  shoal-lease-token
 *                         what a later answer needs; with a key file only
 *
 * 2xx: the answer's body is the result, as JSON if it is JSON, else as a string.  202
 * with "Shoal-Async: 1": the attempt goes on outside, under that lease, and its end is
 * told to POST /v1/leases/... (docs/http-handlers.md).  408,
 * 425, 429, 5xx and faults of the network: tried again, not before Retry-After if the
 * answer has one.  410: failed, and the endpoint is left alone for GONE_MS, or disabled
 * if it is an application's.  Any other status: failed for good.  The answer's first
 * 4 KiB are the message.
 *
 * An endpoint that fails again and again is left alone by its breaker (breaker.h):
 * meanwhile the type has no places here, so that its tasks stay queued, and what this
 * worker has of it is given back at no cost.  At one server (scheme, host and port) go
 * at most egress.per_destination requests of this worker at a time; the others wait.
 */
#ifndef HANDLERS_HTTP_H
#define HANDLERS_HTTP_H

#include "engine/endpoints.h"
#include "engine/handler.h"
#include "event/loop.h"
#include "event/resolve.h"
#include "model/scoreboard.h"

struct http;

/* all borrowed for life; costs next to nothing while no type is of this kind */
struct http *http_create(struct loop *l, struct resolver *rv,
    const struct settings *settings, struct score_slot *slot,
    struct err *err) ATTR_CHECK;
/* requests under way are dropped; the engine must be gone before */
void http_free(struct http *h);
struct handler http_handler(struct http *h);
/* before the first attempt; borrowed for life */
void http_set_endpoints(struct http *h, struct endpoints *es);

/*
 * Runs an attempt of another handler by a request to an application's endpoint: the
 * signature, the breaker, the bounds, and what an answer means, are as above.  The
 * attempt ends by attempt_succeeded or attempt_failed, as if this handler had started
 * it, and a->run is this handler's meanwhile.  Beyond the rules above:
 *
 *     no such endpoint       failed for good, "endpoint_gone"
 *     it is disabled         failed for good, "endpoint_disabled"; 410 disables it
 *     its breaker is open    tried again when the pause is over, "endpoint_resting"
 *
 * -1: nothing was begun, and the attempt is still the caller's.
 */
struct http_delivery {
	const char *endpoint; /* copied; of the attempt's application */
	const char *id;	      /* webhook-id, copied; NULL: the task's id */
	char *body;	      /* given (mem_free), also on failure */
	size_t body_len;
	int64_t timeout_ms; /* 0: the endpoint's, else HTTP_TIMEOUT_MS */
};
#define HTTP_TIMEOUT_MS 30000
int http_deliver(struct http *h, struct attempt *a, struct http_delivery *d,
    struct err *err) ATTR_CHECK;
/* please end it soon; the end still comes */
void http_cancel(struct http *h, struct attempt *a);

/* how long a lease is that an endpoint asks for by "Shoal-Lease-TTL: seconds", within
 * the bounds of all leases; by the attempt's timeout where it says nothing that we
 * understand */
int64_t http_lease_ttl_ms(const char *value, int64_t timeout_ms);

/* how long Retry-After wants us to wait, in ms; -1: it says nothing that we understand;
 * at least 1 s and at most a day */
int64_t http_retry_after_ms(const char *value, int64_t now_us);

#endif
