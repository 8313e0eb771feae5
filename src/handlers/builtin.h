/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * builtin.h - the types that are built in: for trials and benchmarks, and to deliver
 * webhooks.
 *
 *     shoal.noop                          succeeds with null
 *     shoal.echo   any payload            succeeds with the payload
 *     shoal.sleep  {"seconds":S}          succeeds with {"slept":S} after S seconds, 0
 * to 86,400 shoal.fail   {"times":N,"message":M,"retry_in":R} fails while it has failed
 * fewer than N times (default: always); R seconds until the next attempt instead of the
 * backoff
 *     shoal.webhook                       see webhook.h; not for applications
 */
#ifndef HANDLERS_BUILTIN_H
#define HANDLERS_BUILTIN_H

#include "engine/handler.h"
#include "event/loop.h"

struct builtin;
struct http;

struct builtin *builtin_create(struct loop *l, struct err *err) ATTR_CHECK;
/* attempts that sleep are forgotten; the engine must be gone before */
void builtin_free(struct builtin *b);
struct handler builtin_handler(struct builtin *b);
/* what delivers webhooks; before the first attempt, borrowed for life */
void builtin_set_http(struct builtin *b, struct http *h);

#endif
