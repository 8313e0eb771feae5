/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * webhook_request.c - webhooks as JSON; see webhook_request.h.
 *
 * What is not known is refused, as in task_request.c: a misspelt "quees" must not
 * quietly mean all queues.  New field?  A reader and a row here, a line in
 * webhook_json, shoal.put_webhook, api/openapi.yaml and man/shoal.1.
 */
#include "api/webhook_request.h"

#include <string.h>

#include "api/body.h"

#define MAX_DEPTH 4

static int
read_name(const char *what, const struct jspan *value, char to[NAME_MAX_BYTES + 1],
    struct refusal *why)
{
	/* room for more than a name, so that "too long" comes from name_check */
	char text[4 * NAME_MAX_BYTES];
	struct err err = ERR_INIT;
	size_t len;

	if (value->kind != JSON_STRING)
		return body_bad_field(why, what, "it must be a string");
	if (jspan_string(value, text, sizeof(text), &len, &err) != 0)
		return body_bad_field(why, what, "it is longer than 64 bytes");
	if (name_check(what, text, len, &err) != 0)
		return body_bad_field(why, what, err.text);
	memcpy(to, text, len + 1);
	return 0;
}

static int
read_endpoint(
    const struct jspan *value, struct webhook_request *wr, struct refusal *why)
{
	return read_name("endpoint", value, wr->endpoint, why);
}

#define STATES_RULE                                                                    \
	"it must be a list of one or more of \"succeeded\", \"failed\", "              \
	"\"cancelled\" and \"expired\""

static int
read_states(const struct jspan *value, struct webhook_request *wr, struct refusal *why)
{
	enum task_state state;
	struct jspan one;
	struct jwalk walk;
	char text[16];

	if (value->kind != JSON_ARRAY || jspan_count(value) == 0)
		return body_bad_field(why, "states", STATES_RULE);
	jwalk_start(&walk, value);
	while (jwalk_element(&walk, &one)) {
		if (one.kind != JSON_STRING ||
		    jspan_string(&one, text, sizeof(text), NULL, NULL) != 0 ||
		    task_state_parse(text, &state) != 0 || !task_is_final(state))
			return body_bad_field(why, "states", STATES_RULE);
		wr->states[state] = true;
	}
	return 0;
}

static int
read_names(const char *what, const struct jspan *value, struct webhook_names *to,
    struct refusal *why)
{
	struct jspan one;
	struct jwalk walk;

	if (value->kind == JSON_NULL)
		return 0;
	if (value->kind != JSON_ARRAY || jspan_count(value) < 1 ||
	    jspan_count(value) > WEBHOOK_NAMES)
		return body_bad_field(
		    why, what, "it must be a list of 1 to 32 names, or null for all");
	jwalk_start(&walk, value);
	while (jwalk_element(&walk, &one)) {
		if (read_name(what, &one, to->names[to->count], why) != 0)
			return -1;
		to->count++;
	}
	return 0;
}

static int
read_types(const struct jspan *value, struct webhook_request *wr, struct refusal *why)
{
	return read_names("types", value, &wr->types, why);
}

static int
read_queues(const struct jspan *value, struct webhook_request *wr, struct refusal *why)
{
	return read_names("queues", value, &wr->queues, why);
}

static int
read_payload(const struct jspan *value, struct webhook_request *wr, struct refusal *why)
{
	if (value->kind != JSON_BOOL || jspan_bool(value, &wr->payload, NULL) != 0)
		return body_bad_field(why, "payload", "it must be true or false");
	return 0;
}

static const struct {
	const char *name;
	int (*read)(
	    const struct jspan *value, struct webhook_request *wr, struct refusal *why);
	bool needed;
} fields[] = {
    {"endpoint", read_endpoint, true},
    {"states", read_states, true},
    {"types", read_types, false},
    {"queues", read_queues, false},
    {"payload", read_payload, false},
};

int
webhook_request_parse(
    const char *body, size_t len, struct webhook_request *wr, struct refusal *why)
{
	bool given[COUNT_OF(fields)] = {false};
	struct jspan top, key, value;
	struct jwalk walk;
	size_t i;

	memset(wr, 0, sizeof(*wr));
	if (body_object(body, len, MAX_DEPTH, 1, &top, why) != 0)
		return -1;
	jwalk_start(&walk, &top);
	while (jwalk_member(&walk, &key, &value)) {
		for (i = 0; i < COUNT_OF(fields) && !jspan_is(&key, fields[i].name);
		     i++)
			;
		if (i == COUNT_OF(fields))
			return body_unknown_field(why, "", &key);
		if (fields[i].read(&value, wr, why) != 0)
			return -1;
		given[i] = true;
	}
	for (i = 0; i < COUNT_OF(fields); i++) {
		if (fields[i].needed && !given[i])
			return refuse(why, 400, "missing_field", "%s: it is missing.",
			    fields[i].name);
	}
	return 0;
}

int
resend_request_parse(
    const char *body, size_t len, struct uuid *task, struct refusal *why)
{
	struct jspan top, key, value;
	char text[UUID_TEXT_SIZE];
	struct jwalk walk;
	bool given = false;
	size_t n;

	if (body_object(body, len, MAX_DEPTH, 1, &top, why) != 0)
		return -1;
	jwalk_start(&walk, &top);
	while (jwalk_member(&walk, &key, &value)) {
		if (!jspan_is(&key, "task"))
			return body_unknown_field(why, "", &key);
		if (value.kind != JSON_STRING ||
		    jspan_string(&value, text, sizeof(text), &n, NULL) != 0 ||
		    uuid_parse(text, n, task) != 0)
			return body_bad_field(why, "task", "it must be a task's id");
		given = true;
	}
	if (!given)
		return refuse(why, 400, "missing_field", "task: it is missing.");
	return 0;
}

/* ---------------------------------------------------------------- output */

static void
put_names(struct jsonw *w, const char *name, bool all, struct pgarray names)
{
	const char *value;
	size_t len;

	jsonw_key(w, name);
	if (all) {
		jsonw_null(w);
		return;
	}
	jsonw_array(w);
	while (pgarray_next(&names, &value, &len))
		jsonw_stringn(w, value, len);
	jsonw_end(w);
}

void
webhook_json(struct jsonw *w, const struct webhook_row *row)
{
	struct pgarray states = row->states;
	const char *value;
	size_t len;

	jsonw_object(w);
	jsonw_member_string(w, "name", row->name);
	jsonw_member_string(w, "endpoint", row->endpoint);
	jsonw_key(w, "states");
	jsonw_array(w);
	while (pgarray_next(&states, &value, &len))
		jsonw_string(
		    w, task_state_name((enum task_state)pgarray_int(value, len)));
	jsonw_end(w);
	put_names(w, "types", row->all_types, row->types);
	put_names(w, "queues", row->all_queues, row->queues);
	jsonw_member_bool(w, "payload", row->payload);
	jsonw_member_bool(w, "disabled", row->disabled_us != 0);
	jsonw_member_time(w, "disabled_at", row->disabled_us);
	jsonw_member_string(w, "disabled_reason", row->disabled_why);
	jsonw_member_time(w, "last_success_at", row->worked_us);
	jsonw_member_time(w, "last_failure_at", row->failed_us);
	jsonw_member_time(w, "failing_since", row->failing_since_us);
	jsonw_member_string(w, "last_error", row->last_error);
	jsonw_member_time(w, "created_at", row->created_us);
	jsonw_member_time(w, "updated_at", row->updated_us);
	jsonw_end(w);
}

void
webhook_delivery_json(struct jsonw *w, const struct webhook_delivery_row *d)
{
	bool test = d->told < 0;
	char id[UUID_TEXT_SIZE];

	jsonw_object(w);
	jsonw_member_string(w, "id", uuid_format(&d->id, id));
	jsonw_member_string(w, "webhook_id", uuid_format(&d->message, id));
	jsonw_member_string(w, "task", test ? NULL : uuid_format(&d->task, id));
	jsonw_member_string(
	    w, "told", test ? NULL : task_state_name((enum task_state)d->told));
	jsonw_member_string(w, "state", task_state_name((enum task_state)d->state));
	jsonw_member_int(w, "attempt", d->attempt);
	jsonw_member_int(w, "max_attempts", d->max_attempts);
	jsonw_key(w, "error");
	if (d->code != NULL) {
		jsonw_object(w);
		jsonw_member_string(w, "code", d->code);
		jsonw_member_string(w, "message", d->error != NULL ? d->error : "");
		jsonw_end(w);
	} else {
		jsonw_null(w);
	}
	jsonw_member_time(w, "created_at", d->made_us);
	jsonw_member_time(w, "next_attempt_at", d->next_us);
	jsonw_member_time(w, "finished_at", d->finished_us);
	jsonw_end(w);
}
