/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * task_json.c - one order of keys for every answer that shows a task.
 *
 * Payload, result, progress and metadata are JSON in the database and go out as the
 * bytes they are; nothing here parses them.
 */
#include "api/task_json.h"

static void
key_raw(struct jsonw *w, const char *key, const struct task_text *json)
{
	jsonw_key(w, key);
	if (json->at == NULL || json->len == 0)
		jsonw_null(w);
	else
		jsonw_raw(w, json->at, json->len);
}

static void
key_error(struct jsonw *w, const struct task_row *t)
{
	jsonw_key(w, "error");
	if (t->error_code == NULL) {
		jsonw_null(w);
		return;
	}
	jsonw_object(w);
	jsonw_member_string(w, "code", t->error_code);
	jsonw_member_string(
	    w, "message", t->error_message != NULL ? t->error_message : "");
	jsonw_end(w);
}

static void
key_options(struct jsonw *w, const struct task_row *t)
{
	jsonw_member_uuid(w, "group", &t->group);
	jsonw_member_int(w, "waits_for", t->waits_for);
	jsonw_member_string(w, "concurrency_key", t->concurrency_key);
	jsonw_member_time(w, "deadline", t->deadline_us);
}

void
task_json(struct jsonw *w, const struct task_row *t, bool bodies)
{
	char id[UUID_TEXT_SIZE], worker[OWNER_WORKER_SIZE];

	jsonw_object(w);
	jsonw_member_string(w, "id", uuid_format(&t->id, id));
	jsonw_member_string(w, "type", t->type);
	jsonw_member_string(w, "queue", t->queue);
	jsonw_member_string(w, "state", task_state_name(t->state));
	jsonw_member_int(w, "priority", t->priority);
	if (bodies) {
		key_raw(w, "payload", &t->payload);
		key_raw(w, "result", &t->result);
	}
	key_error(w, t);
	jsonw_member_int(w, "attempt", t->attempt);
	jsonw_member_int(w, "max_attempts", t->max_attempts);
	jsonw_member_int(w, "failures", t->failures);
	key_raw(w, "progress", &t->progress);
	key_raw(w, "metadata", &t->metadata);
	if (bodies)
		key_options(w, t);
	jsonw_member_time(w, "created_at", task_created_us(&t->id));
	jsonw_member_time(w, "run_at", t->run_at_us);
	jsonw_member_time(w, "started_at", t->started_us);
	jsonw_member_time(w, "finished_at", t->finished_us);
	jsonw_member_string(
	    w, "worker", t->owned ? owner_worker_text(&t->owner, worker) : NULL);
	if (t->trace_id.at != NULL) {
		jsonw_key(w, "trace_id");
		jsonw_stringn(w, t->trace_id.at, t->trace_id.len);
	}
	jsonw_end(w);
}
