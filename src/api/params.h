/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * params.h - what the handlers share in reading a request's head.
 */
#ifndef API_PARAMS_H
#define API_PARAMS_H

#include <stdint.h>

#include "api/task_request.h"
#include "http/httpd.h"

/* every query parameter is one of names (NULL-terminated) */
int params_known(const struct httpreq *req, const char *const names[],
    struct refusal *why) ATTR_CHECK;
/* a key in the query would end in logs of proxies: refused whatever the route */
int params_no_key(const struct httpreq *req, struct refusal *why) ATTR_CHECK;
/* wait: whole seconds, 0 to TASK_WAIT_MAX_S; absent: 0 */
int params_wait(
    const struct httpreq *req, int64_t *wait_ms, struct refusal *why) ATTR_CHECK;
/* limit: a whole number from 1 to most; absent: otherwise */
int params_limit(const struct httpreq *req, int otherwise, int most, int *limit,
    struct refusal *why) ATTR_CHECK;
/* limit, and the cursor of a list by names, which is the last name of a page; absent:
 * NULL; else borrowed from req */
int params_names(const struct httpreq *req, int otherwise, int most, const char **after,
    int *limit, struct refusal *why) ATTR_CHECK;
/* -1, for a cursor that no page has given */
int params_bad_cursor(struct refusal *why);
/* Content-Type is absent or JSON */
int params_post_headers(const struct httpreq *req, struct refusal *why) ATTR_CHECK;

#endif
