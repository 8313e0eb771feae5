/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * task_spec.c - one JSON object, its members those of shoal.make_task
 * (0006-submit.sql).
 */
#include "api/task_spec.h"

#include <string.h>

#include "base/jsonw.h"

static void
key_raw(struct jsonw *w, const char *key, const struct jspan *value)
{
	if (value->at == NULL)
		return;
	jsonw_key(w, key);
	jsonw_raw(w, value->at, value->len);
}

static void
key_id(struct jsonw *w, const char *key, const struct uuid *id)
{
	char text[UUID_TEXT_SIZE];

	if (id == NULL)
		return;
	jsonw_key(w, key);
	jsonw_string(w, uuid_format(id, text));
}

static void
put_names(struct jsonw *w, const struct task_spec *ts)
{
	if (ts->queue_id != 0 && ts->type_id != 0) {
		jsonw_member_int(w, "queue_id", ts->queue_id);
		jsonw_member_int(w, "type_id", ts->type_id);
		return;
	}
	jsonw_key(w, "queue");
	jsonw_string(w, ts->tr->queue);
	jsonw_key(w, "type");
	jsonw_string(w, ts->tr->type);
}

static void
put_times(struct jsonw *w, const struct task_request *tr)
{
	if (tr->timeout_ms > 0)
		jsonw_member_int(w, "timeout_ms", tr->timeout_ms);
	if (tr->run_at_us > 0)
		jsonw_member_int(w, "run_at_us", tr->run_at_us);
	if (tr->delay_ms > 0)
		jsonw_member_int(w, "delay_ms", tr->delay_ms);
	if (tr->deadline_us > 0)
		jsonw_member_int(w, "deadline_us", tr->deadline_us);
	if (tr->retry_until_us > 0)
		jsonw_member_int(w, "retry_until_us", tr->retry_until_us);
	if (tr->backoff[0] != '\0') {
		jsonw_key(w, "backoff");
		jsonw_raw(w, tr->backoff, strlen(tr->backoff));
	}
}

static void
put_keys(struct jsonw *w, const struct task_options *o)
{
	if (o->unique_key.at != NULL) {
		key_raw(w, "unique_key", &o->unique_key);
		jsonw_member_int(w, "unique_scope", o->unique_scope);
		if (o->unique_for_ms > 0)
			jsonw_member_int(w, "unique_ms", o->unique_for_ms);
		jsonw_member_int(w, "on_conflict", o->on_conflict);
	}
	if (o->concurrency_key.at != NULL) {
		key_raw(w, "concurrency_key", &o->concurrency_key);
		if (o->concurrency_limit > 0)
			jsonw_member_int(w, "concurrency_limit", o->concurrency_limit);
	}
}

static void
put_parents(struct jsonw *w, const struct task_spec *ts)
{
	char text[UUID_TEXT_SIZE];

	if (ts->parent_count == 0)
		return;
	jsonw_key(w, "after");
	jsonw_array(w);
	for (size_t i = 0; i < ts->parent_count; i++)
		jsonw_string(w, uuid_format(&ts->parents[i], text));
	jsonw_end(w);
	jsonw_key(w, "run_anyway");
	jsonw_bool(w, ts->tr->options.run_anyway);
}

void
task_spec_write(struct strbuf *out, const struct task_spec *ts)
{
	const struct task_request *tr = ts->tr;
	struct jsonw w;

	jsonw_init(&w, out);
	jsonw_object(&w);
	key_id(&w, "id", ts->id);
	put_names(&w, ts);
	jsonw_key(&w, "payload");
	jsonw_raw(&w, tr->payload, tr->payload_len);
	if (tr->metadata != NULL) {
		jsonw_key(&w, "metadata");
		jsonw_raw(&w, tr->metadata, tr->metadata_len);
	}
	/* the queue's own, as PostgreSQL has it, comes before the settings' */
	jsonw_member_int(
	    &w, tr->own_priority ? "priority" : "default_priority", tr->priority);
	/* else its type's, as PostgreSQL has it when the task is made: perhaps long
	 * after this was written */
	if (tr->own_attempts)
		jsonw_member_int(&w, "max_attempts", tr->max_attempts);
	put_times(&w, tr);
	put_keys(&w, &tr->options);
	put_parents(&w, ts);
	key_id(&w, "group_id", ts->group);
	if (tr->trace != NULL) {
		jsonw_key(&w, "trace");
		jsonw_stringn(&w, tr->trace, tr->trace_len);
	}
	jsonw_end(&w);
}
