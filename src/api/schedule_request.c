/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedule_request.c - the fields of a schedule, one row each; see schedule_request.h.
 *
 * The same ways as task_request.c: what the table does not know is refused, and a
 * refusal names the field and the byte.  A task within a schedule says nothing about
 * times: these are the schedule's.
 *
 * New field?  A reader, a row in the table, a column (store/schedules.c), a line in
 * schedule_json.c and in api/openapi.yaml.
 */
#include "api/schedule_request.h"

#include <stdio.h>
#include <string.h>

#include "api/task_fields.h"
#include "api/task_spec.h"
#include "base/clock.h"
#include "base/str.h"

#define NEAR 3 /* single-character edits that still count as a misspelling */

/* (the place of a preview has no settings) */
struct member {
	const char *name;
	bool previewed, kept; /* a preview, a schedule has it */
	int (*read)(const struct place *at, const char *name, const struct jspan *value,
	    struct schedule_request *sr);
};

static int
read_cron(const struct place *at, const char *name, const struct jspan *value,
    struct schedule_request *sr)
{
	struct err err = ERR_INIT;

	if (value->kind != JSON_STRING ||
	    jspan_string(value, sr->cron, sizeof(sr->cron), NULL, NULL) != 0)
		return field_refuse(at, name, value,
		    "it must be a string of at most 200 bytes, such as \"30 2 * * *\"");
	if (cron_parse(sr->cron, &sr->rule.cron, &err) != 0)
		return field_refuse(at, name, value, err.text);
	return 0;
}

static int
read_zone(const struct place *at, const char *name, const struct jspan *value,
    struct schedule_request *sr)
{
	struct err err = ERR_INIT;

	if (value->kind != JSON_STRING ||
	    jspan_string(value, sr->zone, sizeof(sr->zone), NULL, NULL) != 0)
		return field_refuse(at, name, value,
		    "it must be the name of a time zone, such as \"Europe/Berlin\"");
	if ((sr->rule.zone = zone_get(sr->zone, &err)) == NULL)
		return field_refuse(at, name, value, err.text);
	return 0;
}

/* one of the names, by its number */
static int
read_choice(const struct place *at, const char *name, const struct jspan *value,
    const char *(*name_of)(int), int *to)
{
	char rule[100] = "it must be ";

	for (int i = 0; name_of(i) != NULL; i++) {
		size_t len = strlen(rule);

		if (value->kind == JSON_STRING && jspan_is(value, name_of(i))) {
			*to = i;
			return 0;
		}
		snprintf(rule + len, sizeof(rule) - len, "%s\"%s\"",
		    i == 0		     ? ""
		    : name_of(i + 1) == NULL ? " or "
					     : ", ",
		    name_of(i));
	}
	return field_refuse(at, name, value, rule);
}

static int
read_gap(const struct place *at, const char *name, const struct jspan *value,
    struct schedule_request *sr)
{
	int n;

	if (read_choice(at, name, value, rule_gap_name, &n) != 0)
		return -1;
	sr->rule.gap = (enum rule_gap)n;
	return 0;
}

static int
read_overlap(const struct place *at, const char *name, const struct jspan *value,
    struct schedule_request *sr)
{
	int n;

	if (read_choice(at, name, value, rule_overlap_name, &n) != 0)
		return -1;
	sr->rule.overlap = (enum rule_overlap)n;
	return 0;
}

static int
read_missed(const struct place *at, const char *name, const struct jspan *value,
    struct schedule_request *sr)
{
	int n;

	if (read_choice(at, name, value, rule_missed_name, &n) != 0)
		return -1;
	sr->missed = (enum rule_missed)n;
	return 0;
}

static const char *
while_open_name(int n)
{
	static const char *const names[] = {"allow", "skip"};

	return n >= 0 && n < 2 ? names[n] : NULL;
}

static int
read_while_open(const struct place *at, const char *name, const struct jspan *value,
    struct schedule_request *sr)
{
	int n;

	if (read_choice(at, name, value, while_open_name, &n) != 0)
		return -1;
	sr->skip_open = n == 1;
	return 0;
}

static int
read_count_to(const struct place *at, const char *name, const struct jspan *value,
    int most, int *to)
{
	char rule[80];
	int64_t n;

	if (value->kind != JSON_NUMBER || jspan_i64(value, &n, NULL) != 0 || n < 1 ||
	    n > most) {
		snprintf(
		    rule, sizeof(rule), "it must be a whole number from 1 to %d", most);
		return field_refuse(at, name, value, rule);
	}
	*to = (int)n;
	return 0;
}

static int
read_missed_limit(const struct place *at, const char *name, const struct jspan *value,
    struct schedule_request *sr)
{
	return read_count_to(at, name, value, RULE_MISSED_MOST, &sr->missed_limit);
}

static int
read_count(const struct place *at, const char *name, const struct jspan *value,
    struct schedule_request *sr)
{
	return read_count_to(at, name, value, SCHEDULE_PREVIEW_MOST, &sr->count);
}

static int
read_from(const struct place *at, const char *name, const struct jspan *value,
    struct schedule_request *sr)
{
	char text[64];

	if (value->kind != JSON_STRING ||
	    jspan_string(value, text, sizeof(text), NULL, NULL) != 0 ||
	    clock_parse(text, &sr->from_us) != 0)
		return field_refuse(at, name, value,
		    "it must be a time as RFC 3339 writes it, such as "
		    "\"2030-01-31T09:30:00Z\"");
	return 0;
}

static int
read_jitter(const struct place *at, const char *name, const struct jspan *value,
    struct schedule_request *sr)
{
	int64_t ms;

	if (!field_duration(value, SCHEDULE_JITTER_MAX_MS, &ms))
		return field_refuse(at, name, value,
		    "it must be a number of seconds, or an ISO 8601 duration, from 0 "
		    "to a day");
	sr->jitter_ms = (int32_t)ms;
	return 0;
}

static int
read_paused(const struct place *at, const char *name, const struct jspan *value,
    struct schedule_request *sr)
{
	if (value->kind != JSON_BOOL || jspan_bool(value, &sr->paused, NULL) != 0)
		return field_refuse(at, name, value, "it must be true or false");
	return 0;
}

static int
read_task(const struct place *at, const char *name, const struct jspan *value,
    struct schedule_request *sr)
{
	static const char *const times[] = {"run_at", "delay", "deadline",
	    "retry_until", "after", "after_failure", "ref", "traceparent",
	    "tracestate"};
	struct refusal inner;
	struct jspan found;

	if (value->kind != JSON_OBJECT)
		return field_refuse(at, name, value, "it must be an object");
	for (size_t i = 0; i < COUNT_OF(times); i++) {
		if (jspan_get(value, times[i], &found))
			return refuse(at->why, 400, "invalid_field",
			    "task.%s (at byte %zu): a schedule's task cannot have it; "
			    "each is made anew when the schedule fires.",
			    times[i], (size_t)(found.at - at->body));
	}
	if (task_request_at(
		at->body, value, at->settings, at->now_us, &sr->made_of, &inner) != 0)
		return refuse(
		    at->why, inner.status, inner.code, "task.%.340s", inner.detail);
	sr->task = *value;
	return 0;
}

static const struct member members[] = {
    {"cron", true, true, read_cron},
    {"zone", true, true, read_zone},
    {"gap", true, true, read_gap},
    {"overlap", true, true, read_overlap},
    {"missed", false, true, read_missed},
    {"missed_limit", false, true, read_missed_limit},
    {"while_open", false, true, read_while_open},
    {"jitter", false, true, read_jitter},
    {"paused", false, true, read_paused},
    {"task", false, true, read_task},
    {"count", true, false, read_count},
    {"from", true, false, read_from},
};

static bool
is_taken(const struct place *at, const struct member *f)
{
	return at->settings == NULL ? f->previewed : f->kept;
}

static int
refuse_unknown(const struct place *at, const struct jspan *key)
{
	char name[65], shown[100], hint[60] = ".";
	unsigned best = NEAR + 1;
	size_t len;

	/* a name that does not fit is like none of ours */
	if (jspan_string(key, name, sizeof(name), &len, NULL) != 0) {
		str_copy(name, sizeof(name), "(a long name)");
		len = strlen(name);
	}
	for (size_t i = 0; i < COUNT_OF(members); i++) {
		unsigned d = str_distance(name, members[i].name);

		if (!is_taken(at, &members[i]) || d >= best ||
		    d >= strlen(members[i].name))
			continue;
		best = d;
		snprintf(hint, sizeof(hint), "; did you mean \"%s\"?", members[i].name);
	}
	str_printable(shown, sizeof(shown), name, len);
	return refuse(at->why, 400, "unknown_field",
	    "%s (at byte %zu): there is no such field%s", shown,
	    (size_t)(key->at - at->body), hint);
}

static int
read_members(
    const struct place *at, const struct jspan *object, struct schedule_request *sr)
{
	struct jspan key, value;
	struct jwalk walk;

	jwalk_start(&walk, object);
	while (jwalk_member(&walk, &key, &value)) {
		size_t i = 0;

		while (i < COUNT_OF(members) &&
		       !(jspan_is(&key, members[i].name) && is_taken(at, &members[i])))
			i++;
		if (i == COUNT_OF(members))
			return refuse_unknown(at, &key);
		if (members[i].read(at, members[i].name, &value, sr) != 0)
			return -1;
	}
	return 0;
}

static int
parse(
    const struct place *at, const char *body, size_t len, struct schedule_request *made)
{
	struct err err = ERR_INIT;
	struct jspan object;

	memset(made, 0, sizeof(*made));
	str_copy(made->zone, sizeof(made->zone), "UTC");
	made->missed_limit = SCHEDULE_MISSED_DEFAULT;
	made->count = SCHEDULE_PREVIEW;
	made->from_us = at->now_us;
	/* a task within an object: as deep as it may be alone */
	if (task_json_check(body, len, 1, &object, at->why) != 0)
		return -1;
	if (object.kind != JSON_OBJECT)
		return refuse(at->why, 400, "invalid_request",
		    "The body must be an object with the schedule's fields, and is %s.",
		    json_kind_name(object.kind));
	if (read_members(at, &object, made) != 0)
		return -1;
	if (made->cron[0] == '\0')
		return refuse(at->why, 400, "missing_field", "cron: it is missing.");
	if (made->rule.zone == NULL &&
	    (made->rule.zone = zone_get(made->zone, &err)) == NULL)
		return refuse(at->why, 400, "invalid_field", "zone: %s.", err.text);
	return 0;
}

int
schedule_request_parse(const char *body, size_t len, const struct settings *s,
    int64_t now_us, struct schedule_request *sr, struct refusal *why)
{
	struct place at = {body, -1, s, now_us, why};
	struct schedule_request made;

	if (parse(&at, body, len, &made) != 0)
		return -1;
	if (made.task.at == NULL)
		return refuse(why, 400, "missing_field", "task: it is missing.");
	*sr = made;
	return 0;
}

int
schedule_preview_parse(const char *body, size_t len, int64_t now_us,
    struct schedule_request *sr, struct refusal *why)
{
	struct place at = {body, -1, NULL, now_us, why};
	struct schedule_request made;

	if (parse(&at, body, len, &made) != 0)
		return -1;
	*sr = made;
	return 0;
}

void
schedule_spec(const struct schedule_request *sr, struct strbuf *out)
{
	struct task_request bare = sr->made_of;

	bare.metadata = NULL;
	task_spec_write(out, &(struct task_spec){.tr = &bare});
}

bool
schedule_metadata(const struct schedule_request *sr, bool *marked)
{
	const struct jspan object = {
	    sr->made_of.metadata, sr->made_of.metadata_len, JSON_OBJECT};
	struct jspan key, value;
	struct jwalk walk;

	*marked = false;
	if (object.at == NULL)
		return false;
	jwalk_start(&walk, &object);
	if (!jwalk_member(&walk, &key, &value))
		return false;
	*marked = jspan_get(&object, "schedule", &value);
	return true;
}
