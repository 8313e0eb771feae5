/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * event_json.h - an event as clients see it.
 */
#ifndef API_EVENT_JSON_H
#define API_EVENT_JSON_H

#include "base/jsonw.h"
#include "store/events.h"

/* names: with the task's type and queue, which only the stream tells */
void event_json(struct jsonw *w, const struct event_row *e, bool names);

#endif
