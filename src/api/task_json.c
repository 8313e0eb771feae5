/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * task_json.c - one order of keys for every answer that shows a task.
 *
 * Payload, result, progress and metadata are JSON in the database and go out as the
 * bytes they are; nothing here parses them.
 */
#include "api/task_json.h"

#include "base/clock.h"

static void
key_text(struct jsonw *w, const char *key, const char *text)
{
	jsonw_key(w, key);
	jsonw_string(w, text);
}

static void
key_int(struct jsonw *w, const char *key, int64_t n)
{
	jsonw_key(w, key);
	jsonw_int(w, n);
}

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
key_time(struct jsonw *w, const char *key, int64_t wall_us)
{
	char text[CLOCK_TEXT_SIZE];

	key_text(w, key, wall_us != 0 ? clock_format(wall_us, text) : NULL);
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
	key_text(w, "code", t->error_code);
	key_text(w, "message", t->error_message != NULL ? t->error_message : "");
	jsonw_end(w);
}

static void
key_options(struct jsonw *w, const struct task_row *t)
{
	static const struct uuid none;
	char id[UUID_TEXT_SIZE];

	key_text(
	    w, "group", uuid_eq(&t->group, &none) ? NULL : uuid_format(&t->group, id));
	key_int(w, "waits_for", t->waits_for);
	key_text(w, "concurrency_key", t->concurrency_key);
	key_time(w, "deadline", t->deadline_us);
}

void
task_json(struct jsonw *w, const struct task_row *t, bool bodies)
{
	char id[UUID_TEXT_SIZE], worker[OWNER_WORKER_SIZE];

	jsonw_object(w);
	key_text(w, "id", uuid_format(&t->id, id));
	key_text(w, "type", t->type);
	key_text(w, "queue", t->queue);
	key_text(w, "state", task_state_name(t->state));
	key_int(w, "priority", t->priority);
	if (bodies) {
		key_raw(w, "payload", &t->payload);
		key_raw(w, "result", &t->result);
	}
	key_error(w, t);
	key_int(w, "attempt", t->attempt);
	key_int(w, "max_attempts", t->max_attempts);
	key_int(w, "failures", t->failures);
	key_raw(w, "progress", &t->progress);
	key_raw(w, "metadata", &t->metadata);
	if (bodies)
		key_options(w, t);
	key_time(w, "created_at", task_created_us(&t->id));
	key_time(w, "run_at", t->run_at_us);
	key_time(w, "started_at", t->started_us);
	key_time(w, "finished_at", t->finished_us);
	key_text(w, "worker", t->owned ? owner_worker_text(&t->owner, worker) : NULL);
	jsonw_end(w);
}
