/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_request.c - the JSON that workers outside send; see lease_request.h.
 */
#include "api/lease_request.h"

#include <string.h>

#include "api/body.h"
#include "api/task_fields.h"
#include "base/str.h"

#define MAX_DEPTH 32

/* ---------------------------------------------------------------- reading */

static int
read_names(const char *what, const struct jspan *value,
    char to[LEASE_MAX_QUEUES][NAME_MAX_BYTES + 1], size_t *count, struct refusal *why)
{
	struct err err = ERR_INIT;
	struct jspan one;
	struct jwalk walk;
	size_t len, n = 0;

	if (value->kind != JSON_ARRAY || jspan_count(value) < 1 ||
	    jspan_count(value) > LEASE_MAX_QUEUES)
		return body_bad_field(why, what, "it must be a list of 1 to 32 names");
	jwalk_start(&walk, value);
	while (jwalk_element(&walk, &one)) {
		bool twice = false;

		if (jspan_string(&one, to[n], NAME_MAX_BYTES + 1, &len, NULL) != 0)
			return body_bad_field(
			    why, what, "its names must be strings of at most 64 bytes");
		if (name_check(what, to[n], len, &err) != 0)
			return body_bad_field(why, what, err.text);
		for (size_t i = 0; i < n; i++)
			twice |= str_eq(to[i], to[n]);
		if (!twice)
			n++;
	}
	*count = n;
	return 0;
}

static int
read_ttl(const struct jspan *value, int64_t *ms, struct refusal *why)
{
	if (!field_duration(value, LEASE_TTL_MAX_S * 1000LL, ms) ||
	    *ms < LEASE_TTL_MIN_S * 1000LL)
		return body_bad_field(why, "ttl",
		    "it must be seconds, or a duration such as \"PT1M\", from 5 to "
		    "3600 s");
	return 0;
}

static int
read_ask(const struct jspan *key, const struct jspan *value, struct lease_ask *la,
    struct refusal *why)
{
	int64_t n;

	if (jspan_is(key, "queues"))
		return read_names("queues", value, la->queues, &la->queue_count, why);
	if (jspan_is(key, "types"))
		return read_names("types", value, la->types, &la->type_count, why);
	if (jspan_is(key, "ttl"))
		return read_ttl(value, &la->ttl_ms, why);
	if (jspan_is(key, "max")) {
		if (value->kind != JSON_NUMBER || jspan_i64(value, &n, NULL) != 0 ||
		    n < 1 || n > LEASE_MAX_TASKS)
			return body_bad_field(
			    why, "max", "it must be a whole number from 1 to 100");
		la->max = (int)n;
		return 0;
	}
	if (jspan_is(key, "wait")) {
		if (!field_duration(value, LEASE_WAIT_MAX_S * 1000LL, &la->wait_ms))
			return body_bad_field(
			    why, "wait", "it must be seconds, from 0 to 60");
		return 0;
	}
	if (jspan_is(key, "worker")) {
		if (jspan_string(value, la->worker, sizeof(la->worker), NULL, NULL) !=
		    0)
			return body_bad_field(
			    why, "worker", "it must be a string of at most 100 bytes");
		return 0;
	}
	return body_unknown_field(why, "", key);
}

int
lease_ask_parse(const char *body, size_t len, struct lease_ask *la, struct refusal *why)
{
	struct jspan top, key, value;
	struct jwalk walk;

	memset(la, 0, sizeof(*la));
	la->max = 1;
	la->ttl_ms = 60000;
	if (body_object(body, len, MAX_DEPTH, 1, &top, why) != 0)
		return -1;
	jwalk_start(&walk, &top);
	while (jwalk_member(&walk, &key, &value)) {
		if (read_ask(&key, &value, la, why) != 0)
			return -1;
	}
	if (la->queue_count == 0)
		return refuse(why, 400, "missing_field",
		    "queues: say which queues to lease from.");
	return 0;
}

static int
read_log(const struct jspan *value, struct lease_extend *lx, struct refusal *why)
{
	static const char rule[] =
	    "it must be a list of at most 100 lines, 16 KiB in all";
	struct jspan line;
	struct jwalk walk;
	size_t at = 0, len;

	if (value->kind != JSON_ARRAY || jspan_count(value) > LEASE_LOG_LINES)
		return body_bad_field(why, "log", rule);
	jwalk_start(&walk, value);
	while (jwalk_element(&walk, &line)) {
		if (jspan_string(
			&line, lx->log + at, sizeof(lx->log) - at, &len, NULL) != 0 ||
		    at + len + 1 >= sizeof(lx->log))
			return body_bad_field(why, "log", rule);
		for (size_t i = at; i < at + len; i++) {
			if (lx->log[i] == '\n')
				lx->log[i] = ' '; /* one line stays one */
		}
		at += len;
		lx->log[at++] = '\n';
		lx->log[at] = '\0';
	}
	return 0;
}

int
lease_extend_parse(
    const char *body, size_t len, struct lease_extend *lx, struct refusal *why)
{
	struct jspan top, key, value;
	struct jwalk walk;
	int rc = 0;

	memset(lx, 0, sizeof(*lx));
	lx->ttl_ms = 60000;
	if (body == NULL || len == 0)
		return 0;
	if (body_object(body, len, MAX_DEPTH, 1, &top, why) != 0)
		return -1;
	jwalk_start(&walk, &top);
	while (rc == 0 && jwalk_member(&walk, &key, &value)) {
		if (jspan_is(&key, "ttl")) {
			rc = read_ttl(&value, &lx->ttl_ms, why);
		} else if (jspan_is(&key, "progress")) {
			if (value.len > LEASE_PROGRESS_MAX)
				rc = body_bad_field(why, "progress",
				    "it must be at most 4096 bytes of JSON");
			if (value.kind != JSON_NULL)
				lx->progress = value;
		} else if (jspan_is(&key, "log")) {
			rc = read_log(&value, lx, why);
		} else {
			rc = body_unknown_field(why, "", &key);
		}
	}
	return rc;
}

/* ---------------------------------------------------------------- ends */

static int
read_result(
    const struct jspan *value, size_t most, struct lease_end *le, struct refusal *why)
{
	if (value->len > most)
		return refuse(why, 413, "result_too_large",
		    "result: it has %zu bytes, and %zu are the most.", value->len,
		    most);
	le->result = *value;
	return 0;
}

int
lease_complete_parse(const char *body, size_t len, size_t result_max,
    struct lease_end *le, struct refusal *why)
{
	struct jspan top, key, value;
	struct jwalk walk;

	le->state = TASK_SUCCEEDED;
	if (body == NULL || len == 0)
		return 0;
	if (body_object(body, len, MAX_DEPTH, 1, &top, why) != 0)
		return -1;
	jwalk_start(&walk, &top);
	while (jwalk_member(&walk, &key, &value)) {
		if (!jspan_is(&key, "result"))
			return body_unknown_field(why, "", &key);
		if (read_result(&value, result_max, le, why) != 0)
			return -1;
	}
	return 0;
}

static int
read_code(const struct jspan *value, struct lease_end *le, struct refusal *why)
{
	static const char rule[] = "it must have 1 to 47 letters, digits and . _ -";
	size_t len;

	if (jspan_string(value, le->code, sizeof(le->code), &len, NULL) != 0 ||
	    len == 0)
		return body_bad_field(why, "code", rule);
	if (strspn(le->code, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			     "0123456789._-") != len)
		return body_bad_field(why, "code", rule);
	return 0;
}

static int
read_failure(const struct jspan *key, const struct jspan *value, struct lease_end *le,
    struct refusal *why)
{
	bool retry;

	if (jspan_is(key, "code"))
		return read_code(value, le, why);
	if (jspan_is(key, "message")) {
		char text[LEASE_MESSAGE_MAX + 1];

		if (jspan_string(value, text, sizeof(text), NULL, NULL) != 0)
			return body_bad_field(why, "message",
			    "it must be a string of at most 8192 bytes");
		le->message = *value;
		return 0;
	}
	if (jspan_is(key, "retry")) {
		if (jspan_bool(value, &retry, NULL) != 0)
			return body_bad_field(why, "retry", "it must be true or false");
		le->state = retry ? TASK_SCHEDULED : TASK_FAILED;
		return 0;
	}
	if (jspan_is(key, "retry_in")) {
		if (value->kind != JSON_NULL &&
		    !field_duration(value, LEASE_RETRY_MAX_MS, &le->retry_ms))
			return body_bad_field(why, "retry_in",
			    "it must be seconds, or a duration such as \"PT5M\", up "
			    "to 30 days");
		return 0;
	}
	return body_unknown_field(why, "", key);
}

int
lease_fail_parse(
    const char *body, size_t len, struct lease_end *le, struct refusal *why)
{
	struct jspan top, key, value;
	struct jwalk walk;

	le->state = TASK_SCHEDULED;
	le->retry_ms = -1;
	str_copy(le->code, sizeof(le->code), "failed");
	if (body == NULL || len == 0)
		return 0;
	if (body_object(body, len, MAX_DEPTH, 1, &top, why) != 0)
		return -1;
	jwalk_start(&walk, &top);
	while (jwalk_member(&walk, &key, &value)) {
		if (read_failure(&key, &value, le, why) != 0)
			return -1;
	}
	if (le->state == TASK_FAILED && le->retry_ms >= 0)
		return body_bad_field(
		    why, "retry_in", "it makes no sense where retry is false");
	return 0;
}

int
lease_release_parse(
    const char *body, size_t len, struct lease_end *le, struct refusal *why)
{
	struct jspan top, key, value;
	struct jwalk walk;

	le->state = TASK_QUEUED;
	if (body == NULL || len == 0)
		return 0;
	if (body_object(body, len, MAX_DEPTH, 1, &top, why) != 0)
		return -1;
	jwalk_start(&walk, &top);
	return jwalk_member(&walk, &key, &value) ? body_unknown_field(why, "", &key)
						 : 0;
}

static int
read_item(const struct jspan *item, size_t result_max, struct lease_end *le,
    struct refusal *why)
{
	struct jspan key, value;
	struct jwalk walk;
	char text[LEASE_TEXT_SIZE];
	bool named = false;
	size_t len;

	if (item->kind != JSON_OBJECT)
		return body_bad_field(why, "leases",
		    "it must be a list of objects with lease and result");
	le->state = TASK_SUCCEEDED;
	jwalk_start(&walk, item);
	while (jwalk_member(&walk, &key, &value)) {
		if (jspan_is(&key, "lease")) {
			if (jspan_string(&value, text, sizeof(text), &len, NULL) != 0 ||
			    lease_parse(text, len, &le->name) != 0)
				return body_bad_field(why, "lease",
				    "it must be the lease of an answer, unchanged");
			named = true;
		} else if (!jspan_is(&key, "result")) {
			return body_unknown_field(why, "", &key);
		} else if (read_result(&value, result_max, le, why) != 0) {
			return -1;
		}
	}
	return named ? 0
		     : refuse(why, 400, "missing_field",
			   "lease: each of leases must name one.");
}

int
lease_batch_parse(const char *body, size_t len, size_t result_max,
    struct lease_end *ends, size_t *count, struct refusal *why)
{
	struct jspan top, key, value, list = {0}, item;
	struct jwalk walk;
	size_t n = 0;

	if (body_object(body, len, MAX_DEPTH, 3, &top, why) != 0)
		return -1;
	jwalk_start(&walk, &top);
	while (jwalk_member(&walk, &key, &value)) {
		if (!jspan_is(&key, "leases"))
			return body_unknown_field(why, "", &key);
		list = value;
	}
	if (list.kind != JSON_ARRAY || jspan_count(&list) < 1 ||
	    jspan_count(&list) > LEASE_BATCH_MAX)
		return body_bad_field(
		    why, "leases", "it must be a list of 1 to 100 objects");
	jwalk_start(&walk, &list);
	while (jwalk_element(&walk, &item)) {
		if (read_item(&item, result_max, &ends[n++], why) != 0)
			return -1;
	}
	*count = n;
	return 0;
}

/* ---------------------------------------------------------------- types */

static int
read_handler(const struct jspan *value, struct type_request *tr, struct refusal *why)
{
	char name[16];

	if (jspan_string(value, name, sizeof(name), NULL, NULL) != 0)
		return body_bad_field(
		    why, "handler", "it must be \"pull\" or \"http\"");
	for (int kind = 0; kind < HANDLER_KIND_COUNT; kind++) {
		if (!str_eq(name, handler_kind_name((enum handler_kind)kind)))
			continue;
		tr->handler = kind;
		if (kind == HANDLER_PULL || kind == HANDLER_HTTP)
			return 0;
		return refuse(why, 400, "handler_unavailable",
		    "handler: types that run on nodes are the operator's; an "
		    "application may have \"pull\" and \"http\".");
	}
	return body_bad_field(why, "handler", "it must be \"pull\" or \"http\"");
}

static int
read_type_field(const struct jspan *key, const struct jspan *value,
    struct type_request *tr, struct refusal *why)
{
	struct err err = ERR_INIT;
	struct backoff b;
	size_t len;
	int64_t n;

	if (jspan_is(key, "handler"))
		return read_handler(value, tr, why);
	if (jspan_is(key, "endpoint")) {
		if (jspan_string(
			value, tr->endpoint, sizeof(tr->endpoint), &len, NULL) != 0 ||
		    name_check("endpoint", tr->endpoint, len, &err) != 0)
			return body_bad_field(why, "endpoint",
			    "it must be the name of an endpoint of the application");
		return 0;
	}
	if (value->kind == JSON_NULL &&
	    (jspan_is(key, "timeout") || jspan_is(key, "max_attempts") ||
		jspan_is(key, "backoff")))
		return 0;
	if (jspan_is(key, "timeout")) {
		if (!field_duration(value, TASK_TIMEOUT_MAX_MS, &tr->timeout_ms) ||
		    tr->timeout_ms < 1000)
			return body_bad_field(why, "timeout",
			    "it must be seconds, or a duration such as \"PT1H\", from "
			    "1 s to 7 days, or null");
		return 0;
	}
	if (jspan_is(key, "max_attempts")) {
		if (value->kind != JSON_NUMBER || jspan_i64(value, &n, NULL) != 0 ||
		    n < 1 || n > 1000)
			return body_bad_field(why, "max_attempts",
			    "it must be a whole number from 1 to 1000, or null");
		tr->max_attempts = (int)n;
		return 0;
	}
	if (jspan_is(key, "backoff")) {
		if (backoff_read(value, &b, &err) != 0)
			return body_bad_field(why, "backoff", err.text);
		backoff_text(&b, tr->backoff);
		return 0;
	}
	return body_unknown_field(why, "", key);
}

int
type_request_parse(
    const char *body, size_t len, struct type_request *tr, struct refusal *why)
{
	struct jspan top, key, value;
	struct jwalk walk;

	memset(tr, 0, sizeof(*tr));
	tr->handler = -1;
	if (body_object(body, len, MAX_DEPTH, 2, &top, why) != 0)
		return -1;
	jwalk_start(&walk, &top);
	while (jwalk_member(&walk, &key, &value)) {
		if (read_type_field(&key, &value, tr, why) != 0)
			return -1;
	}
	if (tr->handler < 0)
		return refuse(why, 400, "missing_field",
		    "handler: say how tasks of the type are run, \"pull\" or "
		    "\"http\".");
	if (tr->handler == HANDLER_HTTP && tr->endpoint[0] == '\0')
		return refuse(why, 400, "missing_field",
		    "endpoint: say which endpoint of the application runs tasks of "
		    "the type.");
	if (tr->handler != HANDLER_HTTP && tr->endpoint[0] != '\0')
		return body_bad_field(why, "endpoint", "it is for http types alone");
	return 0;
}
