/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * event.c - names of events; see event.h.
 */
#include "model/event.h"

#include "base/str.h"

static const char *const names[EVENT_KIND_COUNT] = {
    [EVENT_CREATED] = "created",
    [EVENT_STARTED] = "started",
    [EVENT_SUCCEEDED] = "succeeded",
    [EVENT_RETRYING] = "retrying",
    [EVENT_FAILED] = "failed",
    [EVENT_LOST] = "lost",
    [EVENT_CANCELLING] = "cancelling",
    [EVENT_CANCELLED] = "cancelled",
    [EVENT_EXPIRED] = "expired",
    [EVENT_RETRIED] = "retried",
    [EVENT_REPLACED] = "replaced",
    [EVENT_POSTPONED] = "postponed",
    [EVENT_RELEASED] = "released",
    [EVENT_PAYLOAD_DELETED] = "payload_deleted",
    [EVENT_QUEUE_PAUSED] = "queue_paused",
    [EVENT_QUEUE_RESUMED] = "queue_resumed",
    [EVENT_QUEUE_CHANGED] = "queue_changed",
    [EVENT_SCHEDULE_CHANGED] = "schedule_changed",
    [EVENT_SCHEDULE_MISSED] = "schedule_missed",
    [EVENT_APPLICATION_CHANGED] = "application_changed",
    [EVENT_ENDPOINT_CHANGED] = "endpoint_changed",
    [EVENT_WEBHOOK_CHANGED] = "webhook_changed",
    [EVENT_WEBHOOK_DISABLED] = "webhook_disabled",
};

const char *
event_kind_name(enum event_kind kind)
{
	if ((int)kind < 0 || kind >= EVENT_KIND_COUNT || names[kind] == 0)
		return "unknown";
	return names[kind];
}

int
event_kind_parse(const char *name, enum event_kind *kind)
{
	for (int i = EVENT_CREATED; i < EVENT_KIND_COUNT; i++) {
		if (str_eq(event_kind_name((enum event_kind)i), name)) {
			*kind = (enum event_kind)i;
			return 0;
		}
	}
	return -1;
}
