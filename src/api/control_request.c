/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control_request.c - the fields of a cancel, a retry by hand, and an operation.
 *
 * As in task_request.c, what is not known is refused: a filter with a misspelt "quee"
 * must not quietly mean all tasks.  For the same reason an operation without a filter
 * is refused; {} means all, and says so.
 */
#include "api/control_request.h"

#include <stdlib.h>
#include <string.h>

#include "api/body.h"
#include "base/clock.h"

#define MAX_DEPTH 8

static const bool may[][TASK_STATE_COUNT] = {
    [OPERATION_CANCEL] =
	{
	    [TASK_SCHEDULED] = true,
	    [TASK_QUEUED] = true,
	    [TASK_RUNNING] = true,
	},
    [OPERATION_RETRY] =
	{
	    [TASK_FAILED] = true,
	    [TASK_CANCELLED] = true,
	    [TASK_EXPIRED] = true,
	},
    [OPERATION_DELETE] =
	{
	    [TASK_SUCCEEDED] = true,
	    [TASK_FAILED] = true,
	    [TASK_CANCELLED] = true,
	    [TASK_EXPIRED] = true,
	},
};

static int
read_reason(const struct jspan *value, struct control_request *cr, struct refusal *why)
{
	if (value->kind == JSON_NULL)
		return 0;
	if (jspan_string(value, cr->reason, sizeof(cr->reason), NULL, NULL) != 0)
		return body_bad_field(
		    why, "reason", "it must be a string of at most 1000 bytes");
	cr->has_reason = true;
	return 0;
}

static int
read_attempts(
    const struct jspan *value, struct control_request *cr, struct refusal *why)
{
	int64_t n;

	if (value->kind != JSON_NUMBER || jspan_i64(value, &n, NULL) != 0 || n < 1 ||
	    n > CONTROL_ATTEMPTS_MAX)
		return body_bad_field(
		    why, "attempts", "it must be a whole number from 1 to 1000");
	cr->attempts = (int)n;
	return 0;
}

int
control_request_parse(const char *body, size_t len, bool with_attempts,
    struct control_request *cr, struct refusal *why)
{
	struct jspan top, key, value;
	struct jwalk walk;

	*cr = (struct control_request){.attempts = 1};
	if (body == NULL || len == 0)
		return 0;
	if (body_object(body, len, MAX_DEPTH, 1, &top, why) != 0)
		return -1;
	jwalk_start(&walk, &top);
	while (jwalk_member(&walk, &key, &value)) {
		int rc = 0;

		if (jspan_is(&key, "reason"))
			rc = read_reason(&value, cr, why);
		else if (with_attempts && jspan_is(&key, "attempts"))
			rc = read_attempts(&value, cr, why);
		else
			rc = body_unknown_field(why, "", &key);
		if (rc != 0)
			return -1;
	}
	return 0;
}

/* ---------------------------------------------------------------- filters */

static int
add_state(const struct jspan *value, struct operation_filter *f, struct refusal *why)
{
	enum task_state state;
	char name[16];

	if (jspan_string(value, name, sizeof(name), NULL, NULL) != 0 ||
	    task_state_parse(name, &state) != 0)
		return body_bad_field(why, "filter.state",
		    "it must be scheduled, queued, running, succeeded, failed, "
		    "cancelled or expired, or a list of these");
	f->states[state] = true;
	return 0;
}

static int
read_states(const struct jspan *value, struct operation_filter *f, struct refusal *why)
{
	struct jspan one;
	struct jwalk walk;

	if (value->kind != JSON_ARRAY)
		return add_state(value, f, why);
	jwalk_start(&walk, value);
	while (jwalk_element(&walk, &one)) {
		if (add_state(&one, f, why) != 0)
			return -1;
	}
	return 0;
}

static int
read_name(const char *name, const struct jspan *value, char to[NAME_MAX_BYTES + 1],
    struct refusal *why)
{
	struct err err = ERR_INIT;
	size_t len;

	if (jspan_string(value, to, NAME_MAX_BYTES + 1, &len, NULL) != 0)
		return body_bad_field(
		    why, name, "it must be a string of at most 64 bytes");
	if (name_check(name, to, len, &err) != 0)
		return body_bad_field(why, name, err.text);
	return 0;
}

static int
read_time(
    const char *name, const struct jspan *value, struct uuid *id, struct refusal *why)
{
	char text[64];
	int64_t us;

	if (value->kind != JSON_STRING ||
	    jspan_string(value, text, sizeof(text), NULL, NULL) != 0 ||
	    clock_parse(text, &us) != 0)
		return body_bad_field(why, name,
		    "it must be a time as RFC 3339 writes it, such as "
		    "\"2030-01-31T09:30:00Z\"");
	task_first_id(us, id);
	return 0;
}

static int
by_uuid(const void *x, const void *y)
{
	return uuid_cmp(x, y);
}

static int
read_ids(const struct jspan *value, struct operation_request * or, struct refusal *why)
{
	char text[UUID_TEXT_SIZE];
	struct jspan one;
	struct jwalk walk;
	size_t n = 0, count = 0, len;

	if (value->kind != JSON_ARRAY || jspan_count(value) < 1 ||
	    jspan_count(value) > OPERATION_IDS_MAX)
		return body_bad_field(
		    why, "filter.ids", "it must be a list of 1 to 1000 ids");
	jwalk_start(&walk, value);
	while (jwalk_element(&walk, &one)) {
		if (jspan_string(&one, text, sizeof(text), &len, NULL) != 0 ||
		    uuid_parse(text, len, & or->ids[n]) != 0)
			return body_bad_field(
			    why, "filter.ids", "each must be the id of a task");
		n++;
	}
	qsort(or->ids, n, sizeof(or->ids[0]), by_uuid);
	for (size_t i = 0; i < n; i++) {
		if (count == 0 || !uuid_eq(& or->ids[i], & or->ids[count - 1]))
			or->ids[count++] = or->ids[i];
	}
	or->filter.ids = or->ids;
	or->filter.id_count = count;
	return 0;
}

static int
read_filter(
    const struct jspan *value, struct operation_request * or, struct refusal *why)
{
	struct operation_filter *f = & or->filter;
	struct jspan key, member;
	struct jwalk walk;

	if (value->kind != JSON_OBJECT)
		return body_bad_field(why, "filter", "it must be an object");
	if (value->len > OPERATION_FILTER_MAX)
		return body_bad_field(why, "filter", "it is longer than 65536 bytes");
	or->filter_json = *value;
	jwalk_start(&walk, value);
	while (jwalk_member(&walk, &key, &member)) {
		int rc = 0;

		if (jspan_is(&key, "state")) {
			rc = read_states(&member, f, why);
		} else if (jspan_is(&key, "queue")) {
			rc = read_name("filter.queue", &member, or->queue, why);
			f->queue = or->queue;
		} else if (jspan_is(&key, "type")) {
			rc = read_name("filter.type", &member, or->type, why);
			f->type = or->type;
		} else if (jspan_is(&key, "since")) {
			rc = read_time("filter.since", &member, &f->from, why);
		} else if (jspan_is(&key, "until")) {
			rc = read_time("filter.until", &member, &f->below, why);
		} else if (jspan_is(&key, "ids")) {
			rc = read_ids(&member, or, why);
		} else {
			rc = body_unknown_field(why, "filter.", &key);
		}
		if (rc != 0)
			return -1;
	}
	return 0;
}

static int
read_action(
    const struct jspan *value, enum operation_action *action, struct refusal *why)
{
	char name[16];

	if (jspan_string(value, name, sizeof(name), NULL, NULL) != 0 ||
	    operation_action_parse(name, action) != 0)
		return body_bad_field(
		    why, "action", "it must be cancel, retry or delete");
	return 0;
}

/* no state given: all that the action can be done to */
static int
check_states(struct operation_filter *f, struct refusal *why)
{
	bool any = false;
	char rule[120];

	for (int i = 0; i < TASK_STATE_COUNT; i++) {
		any |= f->states[i];
		if (!f->states[i] || may[f->action][i])
			continue;
		snprintf(rule, sizeof(rule), "%s does nothing to tasks that are %s",
		    operation_action_name(f->action),
		    task_state_name((enum task_state)i));
		return body_bad_field(why, "filter.state", rule);
	}
	if (!any)
		memcpy(f->states, may[f->action], sizeof(f->states));
	return 0;
}

int
operation_request_parse(
    const char *body, size_t len, struct operation_request * or, struct refusal *why)
{
	struct jspan top, key, value;
	struct jwalk walk;
	bool has_action = false, has_filter = false, has_attempts = false;

	memset(or, 0, sizeof(* or));
	or->common.attempts = 1;
	memset(& or->filter.below, 0xff, sizeof(or->filter.below));
	if (body == NULL || len == 0)
		return refuse(
		    why, 400, "invalid_json", "The body is empty; JSON is expected.");
	if (body_object(body, len, MAX_DEPTH, 2, &top, why) != 0)
		return -1;
	jwalk_start(&walk, &top);
	while (jwalk_member(&walk, &key, &value)) {
		int rc = 0;

		if (jspan_is(&key, "action")) {
			rc = read_action(&value, & or->filter.action, why);
			has_action = true;
		} else if (jspan_is(&key, "filter")) {
			rc = read_filter(&value, or, why);
			has_filter = true;
		} else if (jspan_is(&key, "dry_run")) {
			if (jspan_bool(&value, & or->dry_run, NULL) != 0)
				rc = body_bad_field(
				    why, "dry_run", "it must be true or false");
		} else if (jspan_is(&key, "reason")) {
			rc = read_reason(&value, & or->common, why);
		} else if (jspan_is(&key, "attempts")) {
			rc = read_attempts(&value, & or->common, why);
			has_attempts = true;
		} else {
			rc = body_unknown_field(why, "", &key);
		}
		if (rc != 0)
			return -1;
	}
	if (!has_action || !has_filter)
		return refuse(why, 400, "missing_field", "%s: it is missing.",
		    has_action ? "filter" : "action");
	if (has_attempts && or->filter.action != OPERATION_RETRY)
		return body_bad_field(why, "attempts", "only retry has it");
	or->filter.attempts = or->common.attempts;
	return check_states(& or->filter, why);
}
