/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * body.h - a request's body as a JSON object, and how its members are refused.
 */
#ifndef API_BODY_H
#define API_BODY_H

#include <stddef.h>

#include "api/task_request.h"
#include "base/jscan.h"

/* borrowed from body; members of the first levels objects are there once.  400
 * invalid_json, invalid_request */
int body_object(const char *body, size_t len, unsigned depth, unsigned levels,
    struct jspan *object, struct refusal *why) ATTR_CHECK;
/* -1: 400 invalid_field, "name: rule." */
int body_bad_field(struct refusal *why, const char *name, const char *rule);
/* -1: 400 unknown_field; in: what stands before the key, "filter." or "" */
int body_unknown_field(struct refusal *why, const char *in, const struct jspan *key);

#endif
