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

static void
key_text(struct jsonw *w, const char *key, const char *text)
{
	jsonw_key(w, key);
	jsonw_string(w, text);
}

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
	key_text(w, "id", text);
}

void
event_json(struct jsonw *w, const struct event_row *e, bool names)
{
	char at[CLOCK_TEXT_SIZE], id[UUID_TEXT_SIZE], worker[OWNER_WORKER_SIZE],
	    owner[OWNER_TEXT_SIZE];

	jsonw_object(w);
	key_id(w, e);
	key_text(w, "kind", event_kind_name(e->kind));
	key_text(w, "at", clock_format(e->at_us, at));
	key_text(w, "task", e->has_task ? uuid_format(&e->task, id) : NULL);
	if (names) {
		key_text(w, "type", e->type);
		key_text(w, "queue", e->queue);
	}
	key_text(w, "state",
	    e->state >= 0 ? task_state_name((enum task_state)e->state) : NULL);
	jsonw_key(w, "attempt");
	if (e->attempt != 0)
		jsonw_int(w, e->attempt);
	else
		jsonw_null(w);
	key_text(w, "worker", e->owned ? owner_worker_text(&e->owner, worker) : NULL);
	key_text(w, "incarnation", e->owned ? owner_text(&e->owner, owner) : NULL);
	key_text(w, "code", e->code);
	key_text(w, "message", e->message);
	jsonw_key(w, "detail");
	if (e->detail.len > 0)
		jsonw_raw(w, e->detail.at, e->detail.len);
	else
		jsonw_null(w);
	jsonw_end(w);
}
