/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * webhook.h - tasks of the type shoal.webhook: deliveries, which the leader makes
 * (engine/webhooks.c), and those who resend one or send a test.
 *
 * The payload is {"endpoint": name, "id": webhook-id, "body": JSON}: body goes to that
 * endpoint of the task's application as the bytes it is, by http_deliver.
 */
#ifndef HANDLERS_WEBHOOK_H
#define HANDLERS_WEBHOOK_H

#include "handlers/http.h"

/* as handler_ops.start; the attempt is http's until it ends, and http_cancel ends it */
int webhook_start(struct http *h, struct attempt *a, struct err *err) ATTR_CHECK;

#endif
