/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_request.h - the JSON that sets a queue's settings, and the JSON that shows
 * them.
 *
 * Pure, as task_request.h is.
 */
#ifndef API_QUEUE_REQUEST_H
#define API_QUEUE_REQUEST_H

#include "api/task_request.h"
#include "base/jsonw.h"
#include "store/queues.h"

#define QUEUE_LENGTH_MAX 1000000
#define QUEUE_REASON_MAX 400

struct queue_request {
	unsigned given; /* enum queue_setting */
	struct queue_settings_row values;
};

/* 0, or -1 with why filled: settings, of which null takes one away */
int queue_request_parse(const char *body, size_t len, struct queue_request *qr,
    struct refusal *why) ATTR_CHECK;
/* {"reason": "..."}, or no body at all; reason "" when none was given */
int pause_request_parse(const char *body, size_t len,
    char reason[4 * QUEUE_REASON_MAX + 1], struct refusal *why) ATTR_CHECK;

/* members of an object that is open: all settings, null where there is none */
void queue_settings_json(struct jsonw *w, const struct queue_settings_row *s);
/* the queue as a whole, an object */
void queue_json(struct jsonw *w, const struct queue_detail_row *q);

#endif
