/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * event.h - what happens to a task, by number.
 *
 * The numbers are those in the column shoal.event.kind and in the functions of
 * conf/schema; they never change meaning.  The names are what clients see.
 */
#ifndef MODEL_EVENT_H
#define MODEL_EVENT_H

#include "base/attr.h"

enum event_kind {
	EVENT_CREATED = 1, /* read from the row, or written for a watched application */
	EVENT_STARTED,	   /* likewise */
	EVENT_SUCCEEDED,   /* likewise */
	EVENT_RETRYING,	   /* an attempt failed, and another follows */
	EVENT_FAILED,	   /* an attempt failed, and none follows */
	EVENT_LOST,	   /* its holder is gone; queued again at no cost */
	EVENT_CANCELLING,  /* running, and asked to stop */
	EVENT_CANCELLED,
	EVENT_EXPIRED,	       /* its deadline passed while it waited */
	EVENT_RETRIED,	       /* again by hand */
	EVENT_REPLACED,	       /* its payload, by another submit of its unique_key */
	EVENT_POSTPONED,       /* its run_at, by the same */
	EVENT_RELEASED,	       /* its parents have ended, or its key has room */
	EVENT_PAYLOAD_DELETED, /* on request, the record stays */
	EVENT_QUEUE_PAUSED,    /* no task; by whom is in detail */
	EVENT_QUEUE_RESUMED,
	EVENT_QUEUE_CHANGED,
	EVENT_SCHEDULE_CHANGED,
	EVENT_SCHEDULE_MISSED,
	EVENT_APPLICATION_CHANGED, /* by an operator; by whom is in detail */
	EVENT_ENDPOINT_CHANGED, /* what and by whom is in detail; by nobody: it is gone
				 */
	EVENT_WEBHOOK_CHANGED,	/* what and by whom is in detail */
	EVENT_WEBHOOK_DISABLED, /* nothing was taken there; why is its message */
	EVENT_KIND_COUNT	/* keep last */
};

/* "retrying"; "unknown" out of range */
const char *event_kind_name(enum event_kind kind);
int event_kind_parse(const char *name, enum event_kind *kind) ATTR_CHECK;

#endif
