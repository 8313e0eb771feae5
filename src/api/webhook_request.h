/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * webhook_request.h - the JSON that sets a webhook, and the JSON that shows webhooks
 * and their deliveries.
 *
 * Pure, as task_request.h is.
 */
#ifndef API_WEBHOOK_REQUEST_H
#define API_WEBHOOK_REQUEST_H

#include <stddef.h>

#include "api/task_request.h"
#include "base/jsonw.h"
#include "model/task.h"
#include "store/webhooks.h"

#define WEBHOOK_NAMES 32 /* types, or queues, that one webhook may list */

struct webhook_names {
	size_t count; /* 0: all */
	char names[WEBHOOK_NAMES][NAME_MAX_BYTES + 1];
};

struct webhook_request {
	char endpoint[NAME_MAX_BYTES + 1];
	bool states[TASK_STATE_COUNT];
	struct webhook_names types, queues;
	bool payload;
};

/* both: 0, or -1 with why filled */
int webhook_request_parse(const char *body, size_t len, struct webhook_request *wr,
    struct refusal *why) ATTR_CHECK;
/* {"task": "..."} */
int resend_request_parse(
    const char *body, size_t len, struct uuid *task, struct refusal *why) ATTR_CHECK;

void webhook_json(struct jsonw *w, const struct webhook_row *row);
void webhook_delivery_json(struct jsonw *w, const struct webhook_delivery_row *d);

#endif
