/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * task_request.c - the fields of a task, one row each.
 *
 * The bytes pass jscan_check first, so whatever is walked here is sound JSON, valid
 * UTF-8 and free of NULs; then each member is looked up in the table of fields, which
 * knows its reader.  What the table does not know is refused: a misspelt "max_attemts"
 * must not quietly mean the default.  A refusal names the field, and the byte where it
 * stands.
 *
 * New field?  A reader, a row in the table, the same rule for shoal.submit (the newest
 * step of conf/schema that has it), a line in api/openapi.yaml and in tests/unit.
 */
#include "api/task_request.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/task_fields.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/units.h"
#include "model/task.h"

#define MAX_DEPTH 32
#define NEAR	  3 /* single-character edits that still count as a misspelling */

int
refuse(struct refusal *why, int status, const char *code, const char *fmt, ...)
{
	va_list ap;

	why->status = status;
	why->code = code;
	va_start(ap, fmt);
	vsnprintf(why->detail, sizeof(why->detail), fmt, ap);
	va_end(ap);
	return -1;
}

/* "tasks[17].type", or "type" alone */
static const char *
field_path(const struct place *at, const char *name, char buf[120])
{
	if (at->index < 0)
		snprintf(buf, 120, "%s", name);
	else
		snprintf(buf, 120, "tasks[%d]%s%s", at->index,
		    name[0] != '\0' ? "." : "", name);
	return buf;
}

int
field_refuse(const struct place *at, const char *name, const struct jspan *value,
    const char *rule)
{
	char buf[120];

	return refuse(at->why, 400, "invalid_field", "%s (at byte %zu): %s.",
	    field_path(at, name, buf), (size_t)(value->at - at->body), rule);
}

static int
read_name(const struct place *at, const char *name, const struct jspan *value,
    char to[NAME_MAX_BYTES + 1])
{
	/* room for more than a name, so that "too long" comes from name_check */
	char text[4 * NAME_MAX_BYTES];
	struct err err = ERR_INIT;
	size_t len;

	if (value->kind != JSON_STRING)
		return field_refuse(at, name, value, "it must be a string");
	if (jspan_string(value, text, sizeof(text), &len, &err) != 0)
		return field_refuse(at, name, value, "it is longer than 64 bytes");
	if (name_check(name, text, len, &err) != 0)
		return field_refuse(at, name, value, err.text);
	memcpy(to, text, len + 1);
	return 0;
}

static int
read_type(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	if (read_name(at, name, value, tr->type) != 0)
		return -1;
	if (str_eq(tr->type, "shoal.webhook"))
		return field_refuse(at, name, value,
		    "tasks of this type are made by webhooks alone; choose another");
	return 0;
}

static int
read_queue(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	return read_name(at, name, value, tr->queue);
}

static int
read_payload(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	char buf[120];

	if (value->len > (size_t)at->settings->tasks_max_payload_bytes)
		return refuse(at->why, 413, "payload_too_large",
		    "%s (at byte %zu): it has %zu bytes, and %lld are the most.",
		    field_path(at, name, buf), (size_t)(value->at - at->body),
		    value->len, (long long)at->settings->tasks_max_payload_bytes);
	tr->payload = value->at;
	tr->payload_len = value->len;
	return 0;
}

static int
read_metadata(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	if (value->kind == JSON_NULL)
		return 0;
	if (value->kind != JSON_OBJECT)
		return field_refuse(at, name, value, "it must be an object");
	if (value->len > TASK_METADATA_MAX)
		return field_refuse(at, name, value, "it is longer than 16384 bytes");
	tr->metadata = value->at;
	tr->metadata_len = value->len;
	return 0;
}

static int
read_whole(const struct place *at, const char *name, const struct jspan *value,
    int64_t min, int64_t max, int16_t *to)
{
	char rule[80];
	int64_t n;

	if (value->kind != JSON_NUMBER || jspan_i64(value, &n, NULL) != 0 || n < min ||
	    n > max) {
		snprintf(rule, sizeof(rule),
		    "it must be a whole number from %lld to %lld", (long long)min,
		    (long long)max);
		return field_refuse(at, name, value, rule);
	}
	*to = (int16_t)n;
	return 0;
}

static int
read_priority(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	return read_whole(at, name, value, 0, TASK_PRIORITY_MAX, &tr->priority);
}

static int
read_max_attempts(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	return read_whole(at, name, value, 1, 1000, &tr->max_attempts);
}

bool
field_duration(const struct jspan *value, int64_t max_ms, int64_t *ms)
{
	char text[64];
	double seconds;

	if (value->kind == JSON_STRING)
		return jspan_string(value, text, sizeof(text), NULL, NULL) == 0 &&
		       units_iso8601_ms(text, ms) == 0 && *ms <= max_ms;
	if (value->kind != JSON_NUMBER || jspan_double(value, &seconds, NULL) != 0 ||
	    !isfinite(seconds) || seconds < 0 || seconds * 1000 > (double)max_ms)
		return false;
	*ms = (int64_t)(seconds * 1000 + 0.5);
	return true;
}

static int
read_delay(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	if (!field_duration(value, TASK_DELAY_MAX_MS, &tr->delay_ms))
		return field_refuse(at, name, value,
		    "it must be seconds, or a duration such as \"PT5M\", from 0 to "
		    "31622400 (366 days)");
	return 0;
}

static int
read_timeout(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	int64_t ms;

	if (!field_duration(value, TASK_TIMEOUT_MAX_MS, &ms) || ms == 0)
		return field_refuse(at, name, value,
		    "it must be seconds, or a duration such as \"PT5M\", from 0.001 to "
		    "604800 (7 days)");
	tr->timeout_ms = (int32_t)ms;
	return 0;
}

static int
read_run_at(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	char text[64];
	int64_t us;

	if (value->kind != JSON_STRING ||
	    jspan_string(value, text, sizeof(text), NULL, NULL) != 0 ||
	    clock_parse(text, &us) != 0)
		return field_refuse(at, name, value,
		    "it must be a time as RFC 3339 writes it, such as "
		    "\"2030-01-31T09:30:00Z\"");
	if (us > at->now_us + TASK_DELAY_MAX_MS * 1000)
		return field_refuse(at, name, value, "it is more than 366 days away");
	/* what is past is due now: an older date must not buy a better place in the
	 * queue */
	tr->run_at_us = us > at->now_us ? us : 0;
	return 0;
}

static bool
read_time(const struct jspan *value, int64_t *us)
{
	char text[64];

	return value->kind == JSON_STRING &&
	       jspan_string(value, text, sizeof(text), NULL, NULL) == 0 &&
	       clock_parse(text, us) == 0;
}

/* no attempt begins later, but the first */
static int
read_retry_until(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	int64_t us;

	if (!read_time(value, &us))
		return field_refuse(at, name, value,
		    "it must be a time as RFC 3339 writes it, such as "
		    "\"2030-01-31T09:30:00Z\"");
	/* what is past says that there shall be one attempt */
	tr->retry_until_us = us > 0 ? us : 1;
	tr->special = true;
	return 0;
}

/* no attempt begins later */
static int
read_deadline(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	int64_t us, ms;

	if (field_duration(value, TASK_DELAY_MAX_MS, &ms))
		us = at->now_us + ms * 1000;
	else if (!read_time(value, &us))
		return field_refuse(at, name, value,
		    "it must be a time as RFC 3339 writes it, or a duration of at most "
		    "366 days, as a number of seconds or as ISO 8601 writes it");
	if (us > at->now_us + 2 * TASK_DELAY_MAX_MS * 1000)
		return field_refuse(at, name, value, "it is more than 732 days away");
	/* one that is past already: the task is stored, and expires */
	tr->deadline_us = us > 0 ? us : 1;
	tr->special = true;
	return 0;
}

static int
read_backoff(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	struct backoff rule;
	struct err err = ERR_INIT;

	if (backoff_read(value, &rule, &err) != 0)
		return field_refuse(at, name, value, err.text);
	(void)backoff_text(&rule, tr->backoff);
	tr->special = true;
	return 0;
}

/* a text that is no trace is none: whoever hands it on cannot do anything about it */
static int
read_traceparent(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	if (value->kind == JSON_NULL)
		return 0;
	if (value->kind != JSON_STRING)
		return field_refuse(at, name, value, "it must be a string");
	tr->traceparent = *value;
	return 0;
}

static int
read_tracestate(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	if (value->kind == JSON_NULL)
		return 0;
	if (value->kind != JSON_STRING)
		return field_refuse(at, name, value, "it must be a string");
	tr->tracestate = *value;
	return 0;
}

static const struct field fields[] = {
    {"type", read_type},
    {"payload", read_payload},
    {"queue", read_queue},
    {"priority", read_priority},
    {"run_at", read_run_at},
    {"delay", read_delay},
    {"timeout", read_timeout},
    {"max_attempts", read_max_attempts},
    {"metadata", read_metadata},
    {"unique_key", field_unique_key},
    {"unique_until", field_unique_until},
    {"unique_for", field_unique_for},
    {"on_conflict", field_on_conflict},
    {"concurrency_key", field_concurrency_key},
    {"concurrency_limit", field_concurrency_limit},
    {"after", field_after},
    {"after_failure", field_after_failure},
    {"ref", field_ref},
    {"backoff", read_backoff},
    {"retry_until", read_retry_until},
    {"deadline", read_deadline},
    {"traceparent", read_traceparent},
    {"tracestate", read_tracestate},
};
#define FIELD_COUNT COUNT_OF(fields)

_Static_assert(FIELD_COUNT <= 32, "what was seen fits a word");

static int
refuse_unknown(const struct place *at, const struct jspan *key)
{
	char name[65], shown[100], buf[120];
	const char *near = NULL;
	unsigned best = NEAR + 1;
	size_t len;

	/* a name that does not fit is like none of ours */
	if (jspan_string(key, name, sizeof(name), &len, NULL) != 0) {
		str_copy(name, sizeof(name), "(a long name)");
		len = strlen(name);
	}
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		unsigned d = str_distance(name, fields[i].name);

		if (d < best && d < strlen(fields[i].name)) {
			best = d;
			near = fields[i].name;
		}
	}
	str_printable(shown, sizeof(shown), name, len);
	field_path(at, shown, buf);
	if (near != NULL)
		return refuse(at->why, 400, "unknown_field",
		    "%s (at byte %zu): there is no such field; did you mean \"%s\"?",
		    buf, (size_t)(key->at - at->body), near);
	return refuse(at->why, 400, "unknown_field",
	    "%s (at byte %zu): there is no such field.", buf,
	    (size_t)(key->at - at->body));
}

static const struct field *
field_find(const struct jspan *key, unsigned *index)
{
	for (unsigned i = 0; i < FIELD_COUNT; i++) {
		if (jspan_is(key, fields[i].name)) {
			*index = i;
			return &fields[i];
		}
	}
	return NULL;
}

static void
fill_defaults(const struct settings *s, bool has_priority, bool has_attempts,
    struct task_request *tr)
{
	const struct queue_settings *q;
	const struct type_settings *t;

	if (tr->queue[0] == '\0')
		str_copy(tr->queue, sizeof(tr->queue), "default");
	if (tr->payload == NULL) {
		tr->payload = "null";
		tr->payload_len = 4;
	}
	if (!has_priority) {
		tr->priority = TASK_PRIORITY_NORMAL;
		TAILQ_FOREACH (q, &s->queues, link) {
			if (str_eq(q->queue, tr->queue))
				tr->priority = (int16_t)q->priority;
		}
	}
	tr->own_attempts = has_attempts;
	if (!has_attempts) {
		tr->max_attempts = (int16_t)s->tasks_max_attempts;
		TAILQ_FOREACH (t, &s->types, link) {
			if (t->max_attempts > 0 && str_eq(t->type, tr->type))
				tr->max_attempts = (int16_t)t->max_attempts;
		}
	}
}

static int
read_task(const struct place *at, const struct jspan *object, struct task_request *tr)
{
	struct task_request made;
	struct jspan key, value;
	struct jwalk walk;
	char buf[120];
	bool has_run_at = false, has_delay = false, has_priority = false,
	     has_attempts = false;

	if (object->kind != JSON_OBJECT)
		return refuse(at->why, 400, "invalid_request",
		    "%s (at byte %zu) must be an object with the task's "
		    "fields, and is %s.",
		    at->index < 0 ? "The body" : field_path(at, "", buf),
		    (size_t)(object->at - at->body), json_kind_name(object->kind));
	memset(&made, 0, sizeof(made));
	jwalk_start(&walk, object);
	while (jwalk_member(&walk, &key, &value)) {
		unsigned i;
		const struct field *f = field_find(&key, &i);

		if (f == NULL)
			return refuse_unknown(at, &key);
		if (f->read(at, f->name, &value, &made) != 0)
			return -1;
		has_run_at |= f->read == read_run_at;
		has_delay |= f->read == read_delay;
		has_priority |= f->read == read_priority;
		has_attempts |= f->read == read_max_attempts;
	}
	if (made.type[0] == '\0')
		return refuse(at->why, 400, "missing_field", "%s: it is missing.",
		    field_path(at, "type", buf));
	if (has_run_at && has_delay)
		return refuse(at->why, 400, "invalid_field",
		    "%s: run_at and delay exclude each other.",
		    field_path(at, "delay", buf));
	if (field_check_options(at, object, &made) != 0)
		return -1;
	fill_defaults(at->settings, has_priority, has_attempts, &made);
	made.own_priority = has_priority;
	*tr = made;
	return 0;
}

static int
check_json(const char *body, size_t len, unsigned max_depth, unsigned check_keys,
    struct jspan *value, struct refusal *why)
{
	struct jscan_limits limits = {.max_depth = max_depth, .check_keys = check_keys};
	struct err err = ERR_INIT;

	if (body == NULL || len == 0)
		return refuse(
		    why, 400, "invalid_json", "The body is empty; JSON is expected.");
	if (jscan_check(body, len, &limits, value, &err) != 0)
		return refuse(why, 400, "invalid_json",
		    "The body is not acceptable JSON: %.300s.", err.text);
	return 0;
}

int
task_request_at(const char *body, const struct jspan *object, const struct settings *s,
    int64_t now_us, struct task_request *tr, struct refusal *why)
{
	struct place at = {body, -1, s, now_us, why};

	return read_task(&at, object, tr);
}

/*
 * The same depth is left for each task as it has alone, and duplicate keys are looked
 * for in the tasks, not in their payloads: both depend on what is wrapped around.
 */
int
task_json_check(const char *body, size_t len, unsigned wrap, struct jspan *value,
    struct refusal *why)
{
	return check_json(body, len, MAX_DEPTH + wrap, 1 + wrap, value, why);
}

int
task_request_parse(const char *body, size_t len, const struct settings *s,
    int64_t now_us, struct task_request *tr, struct refusal *why)
{
	struct place at = {body, -1, s, now_us, why};
	struct jspan object;

	if (check_json(body, len, MAX_DEPTH, 1, &object, why) != 0)
		return -1;
	return read_task(&at, &object, tr);
}

/* the array in {"tasks":[...]}, and nothing beside it */
static int
unwrap(const char *body, const struct jspan *object, struct jspan *tasks,
    struct refusal *why)
{
	struct jspan key, value;
	struct jwalk walk;
	bool found = false;

	jwalk_start(&walk, object);
	while (jwalk_member(&walk, &key, &value)) {
		if (!jspan_is(&key, "tasks"))
			return refuse(why, 400, "unknown_field",
			    "A field beside \"tasks\" (at byte %zu): a batch "
			    "has no other.",
			    (size_t)(key.at - body));
		*tasks = value;
		found = true;
	}
	if (!found)
		return refuse(why, 400, "missing_field", "tasks: it is missing.");
	return 0;
}

int
task_batch_parse(const char *body, size_t len, struct jspan *tasks, size_t *count,
    struct refusal *why)
{
	struct jspan top, array;
	size_t n, start = 0;
	unsigned wrap;

	while (start < len && strchr(" \t\r\n", body[start]) != NULL &&
	       body[start] != '\0')
		start++;
	wrap = start < len && body[start] == '[' ? 1 : 2;
	if (task_json_check(body, len, wrap, &top, why) != 0)
		return -1;
	array = top;
	if (top.kind == JSON_OBJECT && unwrap(body, &top, &array, why) != 0)
		return -1;
	if (array.kind != JSON_ARRAY)
		return refuse(why, 400, "invalid_request",
		    "A batch is {\"tasks\":[...]} or a bare array; at byte %zu is %s.",
		    (size_t)(array.at - body), json_kind_name(array.kind));
	n = jspan_count(&array);
	if (n < 1 || n > TASK_BATCH_MAX)
		return refuse(why, 400, "invalid_request",
		    "A batch holds from 1 to %d tasks, and this one %zu.",
		    TASK_BATCH_MAX, n);
	*tasks = array;
	*count = n;
	return 0;
}

int
task_batch_item(const char *body, const struct jspan *item, size_t index,
    const struct settings *s, int64_t now_us, struct task_request *tr,
    struct refusal *why)
{
	struct place at = {body, (int)index, s, now_us, why};

	return read_task(&at, item, tr);
}
