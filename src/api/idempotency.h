/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * idempotency.h - the header Idempotency-Key and what its request is known by.
 *
 * The key is the caller's, for one application, for 24 hours
 * (draft-ietf-httpapi-idempotency-key-header).  The print is a digest of path and body:
 * the same key with another print is another request, and refused.
 */
#ifndef API_IDEMPOTENCY_H
#define API_IDEMPOTENCY_H

#include "api/task_request.h"
#include "http/httpd.h"

#define IDEMPOTENCY_KEY_MAX    255
#define IDEMPOTENCY_PRINT_SIZE 65

/* borrowed from req; NULL in *key: none.  -1: refused */
int idempotency_key(
    const struct httpreq *req, const char **key, struct refusal *why) ATTR_CHECK;
/* false: no memory */
bool idempotency_print(
    struct httpreq *req, char print[IDEMPOTENCY_PRINT_SIZE]) ATTR_CHECK;

#endif
