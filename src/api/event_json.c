/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * event_json.c - one order of keys for every answer that shows an event.
 *
 * An event that has a row of its own is named by its place in the stream; what is read
 * from the task's row has a name that stays the same as long as it is true.
 */
#include "api/event_json.h"

#include <stdio.h>

#include "base/clock.h"
#include "model/task.h"
#include "model/trace.h"

static void
key_id(struct jsonw *w, const struct event_row *e)
{
	char text[EVENT_PLACE_SIZE + 32];

	if (e->place.xid != 0)
		(void)event_place_text(&e->place, text);
	else if (e->attempt != 0)
		snprintf(
		    text, sizeof(text), "%s-%d", event_kind_name(e->kind), e->attempt);
	else
		snprintf(text, sizeof(text), "%s", event_kind_name(e->kind));
	jsonw_member_string(w, "id", text);
}

/* an event of an attempt belongs to the attempt's span */
static void
key_trace(struct jsonw *w, const struct event_row *e)
{
	char span[TRACE_SPAN_SIZE];

	jsonw_member_string(w, "trace_id", e->trace_id);
	if (e->has_task && e->attempt != 0)
		jsonw_member_string(
		    w, "span_id", trace_span(&e->task, e->attempt, span));
}

void
event_json(struct jsonw *w, const struct event_row *e, bool names)
{
	char at[CLOCK_TEXT_SIZE], id[UUID_TEXT_SIZE], worker[OWNER_WORKER_SIZE],
	    owner[OWNER_TEXT_SIZE];

	jsonw_object(w);
	key_id(w, e);
	jsonw_member_string(w, "kind", event_kind_name(e->kind));
	jsonw_member_string(w, "at", clock_format(e->at_us, at));
	jsonw_member_string(w, "task", e->has_task ? uuid_format(&e->task, id) : NULL);
	if (names) {
		jsonw_member_string(w, "type", e->type);
		jsonw_member_string(w, "queue", e->queue);
	}
	jsonw_member_string(w, "state",
	    e->state >= 0 ? task_state_name((enum task_state)e->state) : NULL);
	jsonw_key(w, "attempt");
	if (e->attempt != 0)
		jsonw_int(w, e->attempt);
	else
		jsonw_null(w);
	jsonw_member_string(
	    w, "worker", e->owned ? owner_worker_text(&e->owner, worker) : NULL);
	jsonw_member_string(
	    w, "incarnation", e->owned ? owner_text(&e->owner, owner) : NULL);
	if (e->trace_id != NULL)
		key_trace(w, e);
	jsonw_member_string(w, "code", e->code);
	jsonw_member_string(w, "message", e->message);
	jsonw_key(w, "detail");
	if (e->detail.len > 0)
		jsonw_raw(w, e->detail.at, e->detail.len);
	else
		jsonw_null(w);
	jsonw_end(w);
}
