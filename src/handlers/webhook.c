/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * webhook.c - deliveries; see webhook.h.
 *
 * The payload was made by shoal.make_delivery, but stood in the database since, where
 * people may have been at it: it is read as strictly as anything.
 */
#include "handlers/webhook.h"

#include <string.h>

#include "base/jscan.h"
#include "base/mem.h"

/* a payload of 32 levels in a task, in "data", in "body", in this one */
#define MAX_DEPTH 64

struct delivery {
	char endpoint[NAME_MAX_BYTES + 1];
	char id[UUID_TEXT_SIZE];
	struct jspan body;
};

static int
read_text(const struct jspan *top, const char *name, char *to, size_t size)
{
	struct jspan value;

	if (!jspan_get(top, name, &value) || value.kind != JSON_STRING)
		return -1;
	return jspan_string(&value, to, size, NULL, NULL);
}

static int
read_payload(const struct attempt *a, struct delivery *d, struct err *err)
{
	const struct jscan_limits limits = {.max_depth = MAX_DEPTH, .check_keys = 1};
	struct jspan top;

	if (a->payload == NULL)
		return err_set(err, ERR_INVALID, "a delivery without a payload");
	if (jscan_check(a->payload, a->payload_len, &limits, &top, err) != 0)
		return -1;
	if (read_text(&top, "endpoint", d->endpoint, sizeof(d->endpoint)) != 0 ||
	    read_text(&top, "id", d->id, sizeof(d->id)) != 0 ||
	    !jspan_get(&top, "body", &d->body))
		return err_set(err, ERR_INVALID,
		    "the payload of a delivery has an endpoint, an id and a body");
	return 0;
}

int
webhook_start(struct http *h, struct attempt *a, struct err *err)
{
	struct http_delivery request = {0};
	struct delivery d;

	if (read_payload(a, &d, err) != 0) {
		attempt_failed(
		    a, OUTCOME_FAILED, "bad_payload", err->text, strlen(err->text), -1);
		return 0;
	}
	request.endpoint = d.endpoint;
	request.id = d.id;
	request.timeout_ms = a->timeout_ms;
	request.body_len = d.body.len;
	request.body = mem_dup(d.body.at, d.body.len);
	if (request.body == NULL)
		return err_set(err, ERR_NOMEM, "a delivery");
	return http_deliver(h, a, &request, err);
}
