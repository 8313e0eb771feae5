/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tasks_why.c - GET /v1/tasks/{id}/why: why does this task not run?
 *
 * One read brings all that is known; the table below has a row for each reason, the
 * most decisive first, with what must hold, its words, and what it tells beside them.
 *
 * New reason?  A column of shoal.why_task if need be, a row here, a line in
 * api/openapi.yaml.
 */
#include <stdio.h>
#include <string.h>

#include "api/call.h"
#include "base/clock.h"
#include "base/units.h"
#include "store/queues.h"

#define MESSAGE_SIZE 800

typedef bool holds_fn(const struct why_row *r);
typedef void say_fn(const struct why_row *r, char *to, size_t size);
typedef void tell_fn(const struct why_row *r, struct jsonw *w);

static const char *
when(int64_t us, char text[CLOCK_TEXT_SIZE])
{
	return us != 0 ? clock_format(us, text) : "an unknown time";
}

static bool
waits(const struct why_row *r)
{
	return r->state == TASK_SCHEDULED || r->state == TASK_QUEUED;
}

/* ---------------------------------------------------------------- it has ended, or
 * runs */

static bool
has_ended(const struct why_row *r)
{
	return task_is_final(r->state);
}

static void
say_ended(const struct why_row *r, char *to, size_t size)
{
	char text[CLOCK_TEXT_SIZE];

	snprintf(to, size, "It has ended: %s, at %s.%s%s", task_state_name(r->state),
	    when(r->finished_us, text), r->message != NULL ? " " : "",
	    r->message != NULL ? r->message : "");
}

static void
tell_ended(const struct why_row *r, struct jsonw *w)
{
	jsonw_member_time(w, "since", r->finished_us);
	jsonw_member_string(w, "code", r->code);
}

static bool
is_running(const struct why_row *r)
{
	return r->state == TASK_RUNNING && r->lease_until_us == 0;
}

static void
say_running(const struct why_row *r, char *to, size_t size)
{
	char text[CLOCK_TEXT_SIZE], worker[OWNER_WORKER_SIZE];

	snprintf(to, size, "It runs on worker %s since %s, as attempt %d.",
	    owner_worker_text(&r->owner, worker), when(r->started_us, text),
	    r->attempt);
}

static void
tell_running(const struct why_row *r, struct jsonw *w)
{
	char worker[OWNER_WORKER_SIZE];

	jsonw_member_string(w, "worker", owner_worker_text(&r->owner, worker));
	jsonw_member_time(w, "since", r->started_us);
	jsonw_member_int(w, "attempt", r->attempt);
}

static bool
is_leased(const struct why_row *r)
{
	return r->state == TASK_RUNNING && r->lease_until_us != 0;
}

static void
say_leased(const struct why_row *r, char *to, size_t size)
{
	char text[CLOCK_TEXT_SIZE], until[CLOCK_TEXT_SIZE];

	snprintf(to, size,
	    "An outside worker%s%s has it since %s, as attempt %d; its lease lasts "
	    "until %s.",
	    r->holder != NULL ? ", " : "", r->holder != NULL ? r->holder : "",
	    when(r->leased_us, text), r->attempt, when(r->lease_until_us, until));
}

static void
tell_leased(const struct why_row *r, struct jsonw *w)
{
	jsonw_member_string(w, "holder", r->holder);
	jsonw_member_time(w, "since", r->leased_us);
	jsonw_member_time(w, "until", r->lease_until_us);
	jsonw_member_int(w, "attempt", r->attempt);
}

static bool
is_cancelling(const struct why_row *r)
{
	return r->state == TASK_RUNNING && r->cancel_us != 0;
}

static void
say_cancelling(const struct why_row *r, char *to, size_t size)
{
	char text[CLOCK_TEXT_SIZE];

	snprintf(to, size, "It was asked to stop at %s.", when(r->cancel_us, text));
}

static void
tell_cancelling(const struct why_row *r, struct jsonw *w)
{
	jsonw_member_time(w, "since", r->cancel_us);
}

/* ---------------------------------------------------------------- it waits */

static bool
is_over(const struct why_row *r)
{
	return waits(r) && r->deadline_over;
}

static void
say_over(const struct why_row *r, char *to, size_t size)
{
	char text[CLOCK_TEXT_SIZE];

	snprintf(to, size, "Its deadline, %s, has passed: no attempt starts any more.",
	    when(r->deadline_us, text));
}

static void
tell_over(const struct why_row *r, struct jsonw *w)
{
	jsonw_member_time(w, "since", r->deadline_us);
}

static bool
is_paused(const struct why_row *r)
{
	return waits(r) && r->paused;
}

static void
say_paused(const struct why_row *r, char *to, size_t size)
{
	char text[CLOCK_TEXT_SIZE];

	snprintf(to, size, "Its queue, %s, is paused%s%s since %s%s%s", r->queue,
	    r->paused_by != NULL ? " by " : "",
	    r->paused_by != NULL ? r->paused_by : "", when(r->paused_us, text),
	    r->paused_reason != NULL ? ": " : ".",
	    r->paused_reason != NULL ? r->paused_reason : "");
}

static void
tell_paused(const struct why_row *r, struct jsonw *w)
{
	jsonw_member_string(w, "queue", r->queue);
	jsonw_member_string(w, "by", r->paused_by);
	jsonw_member_time(w, "since", r->paused_us);
	jsonw_member_string(w, "note", r->paused_reason);
}

static bool
has_parents(const struct why_row *r)
{
	return waits(r) && r->parents_open > 0;
}

static void
say_parents(const struct why_row *r, char *to, size_t size)
{
	snprintf(to, size, "It waits for %d other task%s to end.", r->parents_open,
	    r->parents_open == 1 ? "" : "s");
}

static void
tell_parents(const struct why_row *r, struct jsonw *w)
{
	struct pgarray walk = r->parents;
	char id[UUID_TEXT_SIZE];
	const char *value;
	struct uuid uuid;
	size_t len;

	jsonw_member_int(w, "count", r->parents_open);
	jsonw_key(w, "tasks");
	jsonw_array(w);
	while (pgarray_next(&walk, &value, &len)) {
		if (value == NULL || len != sizeof(uuid.b))
			continue;
		memcpy(uuid.b, value, sizeof(uuid.b));
		jsonw_string(w, uuid_format(&uuid, id));
	}
	jsonw_end(w);
}

static bool
waits_for_key(const struct why_row *r)
{
	return waits(r) && r->key_ahead >= 0;
}

static void
say_key(const struct why_row *r, char *to, size_t size)
{
	snprintf(to, size,
	    "As many tasks of its concurrency_key, %s, are under way as are allowed; "
	    "%s%d run or come before it.",
	    r->key, r->key_ahead >= WHY_AHEAD ? "more than " : "",
	    r->key_ahead >= WHY_AHEAD ? WHY_AHEAD - 1 : r->key_ahead);
}

static void
tell_key(const struct why_row *r, struct jsonw *w)
{
	jsonw_member_string(w, "concurrency_key", r->key);
	jsonw_member_int(
	    w, "ahead", r->key_ahead >= WHY_AHEAD ? WHY_AHEAD - 1 : r->key_ahead);
	jsonw_key(w, "more");
	jsonw_bool(w, r->key_ahead >= WHY_AHEAD);
}

static bool
is_resting(const struct why_row *r)
{
	return r->state == TASK_SCHEDULED && r->timed && r->failures > 0;
}

static void
say_resting(const struct why_row *r, char *to, size_t size)
{
	char text[CLOCK_TEXT_SIZE];

	snprintf(to, size,
	    "It failed %d time%s and rests until %s; of %d attempts %d are left.",
	    r->failures, r->failures == 1 ? "" : "s", when(r->run_at_us, text),
	    r->max_attempts,
	    r->max_attempts > r->failures ? r->max_attempts - r->failures : 0);
}

static void
tell_resting(const struct why_row *r, struct jsonw *w)
{
	jsonw_member_time(w, "until", r->run_at_us);
	jsonw_member_int(w, "failures", r->failures);
	jsonw_member_int(w, "max_attempts", r->max_attempts);
}

static bool
is_scheduled(const struct why_row *r)
{
	return r->state == TASK_SCHEDULED && r->timed && r->failures == 0;
}

static void
say_scheduled(const struct why_row *r, char *to, size_t size)
{
	char text[CLOCK_TEXT_SIZE];

	snprintf(to, size, "It is scheduled for %s.", when(r->run_at_us, text));
}

static void
tell_scheduled(const struct why_row *r, struct jsonw *w)
{
	jsonw_member_time(w, "until", r->run_at_us);
}

static bool
is_not_served(const struct why_row *r)
{
	return waits(r) && !r->served && !r->pull && r->endpoint == NULL;
}

/* the application's own, which any node calls */
static bool
is_disabled(const struct why_row *r)
{
	return waits(r) && r->endpoint_disabled_us != 0;
}

static void
say_disabled(const struct why_row *r, char *to, size_t size)
{
	char text[CLOCK_TEXT_SIZE];

	snprintf(to, size,
	    "The endpoint that its type runs at, %s, is disabled since %s.%s%s",
	    r->endpoint, when(r->endpoint_disabled_us, text),
	    r->endpoint_reason != NULL ? " The reason: " : "",
	    r->endpoint_reason != NULL ? r->endpoint_reason : "");
}

static void
tell_disabled(const struct why_row *r, struct jsonw *w)
{
	jsonw_member_string(w, "endpoint", r->endpoint);
	jsonw_member_time(w, "since", r->endpoint_disabled_us);
}

static void
say_not_served(const struct why_row *r, char *to, size_t size)
{
	snprintf(to, size, "No node serves its type, %s.", r->type);
}

static void
tell_not_served(const struct why_row *r, struct jsonw *w)
{
	jsonw_member_string(w, "type", r->type);
}

static bool
pool_is_not_served(const struct why_row *r)
{
	return waits(r) && !r->pool_served;
}

static void
say_pool_not_served(const struct why_row *r, char *to, size_t size)
{
	snprintf(to, size,
	    "No node serves its pool, %s: its queue, %s, has to be moved to another "
	    "one, "
	    "or %s to be named in a node's node.pools.",
	    r->pool, r->queue, r->pool);
}

static void
tell_pool(const struct why_row *r, struct jsonw *w)
{
	jsonw_member_string(w, "queue", r->queue);
	jsonw_member_string(w, "pool", r->pool);
}

static bool
is_not_served_there(const struct why_row *r)
{
	return waits(r) && r->served && r->pool_served && !r->served_in_pool;
}

static void
say_not_served_there(const struct why_row *r, char *to, size_t size)
{
	snprintf(to, size, "No node of its pool, %s, serves its type, %s.", r->pool,
	    r->type);
}

static void
tell_not_served_there(const struct why_row *r, struct jsonw *w)
{
	jsonw_member_string(w, "type", r->type);
	jsonw_member_string(w, "pool", r->pool);
}

/* ---------------------------------------------------------------- limits */

static bool
is_full(const struct why_row *r, const struct why_limit *l)
{
	return r->state == TASK_QUEUED && l->concurrency > 0 &&
	       l->running >= l->concurrency;
}

static bool
is_too_fast(const struct why_row *r, const struct why_limit *l)
{
	return r->state == TASK_QUEUED && l->rate > 0 && l->until_us != 0;
}

static void
say_full(const char *what, const char *name, const struct why_limit *l, char *to,
    size_t size)
{
	char text[CLOCK_TEXT_SIZE];

	snprintf(to, size,
	    "Its %s, %s, may have %d tasks running at a time, and has them since %s.",
	    what, name, l->concurrency, when(l->since_us, text));
}

static void
tell_full(
    const char *limit, const char *name, const struct why_limit *l, struct jsonw *w)
{
	jsonw_member_string(w, "limit", limit);
	jsonw_member_string(w, "name", name);
	jsonw_member_int(w, "concurrency", l->concurrency);
	jsonw_member_int(w, "running", l->running);
	jsonw_member_time(w, "since", l->since_us);
}

static void
say_too_fast(const char *what, const char *name, const struct why_limit *l, char *to,
    size_t size)
{
	char text[CLOCK_TEXT_SIZE], per[UNITS_TEXT_SIZE];

	snprintf(to, size,
	    "Its %s, %s, may start %d tasks in %s; the next one at %s at the soonest.",
	    what, name, l->rate, units_duration_text(l->rate_ms, per),
	    when(l->until_us, text));
}

static void
tell_too_fast(
    const char *limit, const char *name, const struct why_limit *l, struct jsonw *w)
{
	char per[UNITS_TEXT_SIZE];

	jsonw_member_string(w, "limit", limit);
	jsonw_member_string(w, "name", name);
	jsonw_key(w, "rate");
	jsonw_object(w);
	jsonw_member_int(w, "limit", l->rate);
	jsonw_member_string(w, "per", units_duration_text(l->rate_ms, per));
	jsonw_end(w);
	jsonw_member_time(w, "until", l->until_us);
}

static bool
queue_is_full(const struct why_row *r)
{
	return is_full(r, &r->by_queue);
}

static void
say_queue_full(const struct why_row *r, char *to, size_t size)
{
	say_full("queue", r->queue, &r->by_queue, to, size);
}

static void
tell_queue_full(const struct why_row *r, struct jsonw *w)
{
	tell_full("queue_concurrency", r->queue, &r->by_queue, w);
}

static bool
type_is_full(const struct why_row *r)
{
	return is_full(r, &r->by_type);
}

static void
say_type_full(const struct why_row *r, char *to, size_t size)
{
	say_full("type", r->type, &r->by_type, to, size);
}

static void
tell_type_full(const struct why_row *r, struct jsonw *w)
{
	tell_full("type_concurrency", r->type, &r->by_type, w);
}

static bool
queue_is_too_fast(const struct why_row *r)
{
	return is_too_fast(r, &r->by_queue);
}

static void
say_queue_too_fast(const struct why_row *r, char *to, size_t size)
{
	say_too_fast("queue", r->queue, &r->by_queue, to, size);
}

static void
tell_queue_too_fast(const struct why_row *r, struct jsonw *w)
{
	tell_too_fast("queue_rate", r->queue, &r->by_queue, w);
}

static bool
type_is_too_fast(const struct why_row *r)
{
	return is_too_fast(r, &r->by_type);
}

static void
say_type_too_fast(const struct why_row *r, char *to, size_t size)
{
	say_too_fast("type", r->type, &r->by_type, to, size);
}

static void
tell_type_too_fast(const struct why_row *r, struct jsonw *w)
{
	tell_too_fast("type_rate", r->type, &r->by_type, w);
}

/* ---------------------------------------------------------------- nothing but its turn
 */

static bool
waits_for_worker(const struct why_row *r)
{
	return r->state == TASK_QUEUED && r->pull && r->ahead >= 0;
}

static void
say_for_worker(const struct why_row *r, char *to, size_t size)
{
	char text[CLOCK_TEXT_SIZE];
	int len = snprintf(to, size,
	    "No worker outside has leased it yet: its type, %s, is for those that ask "
	    "for tasks of queue %s. ",
	    r->type, r->queue);

	if (len < 0 || (size_t)len >= size)
		return;
	to += len;
	size -= (size_t)len;
	if (r->leased == 0)
		snprintf(to, size, "None of that queue is leased now.");
	else
		snprintf(to, size,
		    "%s%d of that queue %s leased now, the latest since %s.",
		    r->leased >= WHY_LEASED ? "At least " : "", r->leased,
		    r->leased == 1 ? "is" : "are", when(r->latest_lease_us, text));
}

static void
tell_for_worker(const struct why_row *r, struct jsonw *w)
{
	jsonw_member_string(w, "type", r->type);
	jsonw_member_int(w, "leased", r->leased);
	jsonw_member_time(w, "since", r->latest_lease_us);
}

static bool
is_in_line(const struct why_row *r)
{
	return r->state == TASK_QUEUED && r->ahead >= 0;
}

static void
say_in_line(const struct why_row *r, char *to, size_t size)
{
	if (r->ahead == 0)
		snprintf(to, size, "It is the next one of its queue, %s.", r->queue);
	else
		snprintf(to, size, "%s%d task%s of its queue, %s, come before it.",
		    r->ahead >= WHY_AHEAD ? "More than " : "",
		    r->ahead >= WHY_AHEAD ? WHY_AHEAD - 1 : r->ahead,
		    r->ahead == 1 ? "" : "s", r->queue);
}

static void
tell_in_line(const struct why_row *r, struct jsonw *w)
{
	jsonw_member_string(w, "queue", r->queue);
	jsonw_member_int(w, "ahead", r->ahead >= WHY_AHEAD ? WHY_AHEAD - 1 : r->ahead);
	jsonw_key(w, "more");
	jsonw_bool(w, r->ahead >= WHY_AHEAD);
}

static const struct reason {
	const char *name; /* NULL: the state's */
	holds_fn *holds;
	say_fn *say;
	tell_fn *tell;
} reasons[] = {
    {NULL, has_ended, say_ended, tell_ended},
    {"cancelling", is_cancelling, say_cancelling, tell_cancelling},
    {"running", is_running, say_running, tell_running},
    {"leased", is_leased, say_leased, tell_leased},
    {"deadline", is_over, say_over, tell_over},
    {"paused", is_paused, say_paused, tell_paused},
    {"parents", has_parents, say_parents, tell_parents},
    {"concurrency_key", waits_for_key, say_key, tell_key},
    {"resting", is_resting, say_resting, tell_resting},
    {"scheduled", is_scheduled, say_scheduled, tell_scheduled},
    {"pool_not_served", pool_is_not_served, say_pool_not_served, tell_pool},
    {"endpoint_disabled", is_disabled, say_disabled, tell_disabled},
    {"not_served", is_not_served, say_not_served, tell_not_served},
    {"not_served", is_not_served_there, say_not_served_there, tell_not_served_there},
    {"limited", queue_is_full, say_queue_full, tell_queue_full},
    {"limited", type_is_full, say_type_full, tell_type_full},
    {"limited", queue_is_too_fast, say_queue_too_fast, tell_queue_too_fast},
    {"limited", type_is_too_fast, say_type_too_fast, tell_type_too_fast},
    {"waits_for_worker", waits_for_worker, say_for_worker, tell_for_worker},
    {"in_line", is_in_line, say_in_line, tell_in_line},
};

static void
write_words(struct jsonw *w, const struct reason *why, const struct why_row *r)
{
	char message[MESSAGE_SIZE];

	why->say(r, message, sizeof(message));
	jsonw_member_string(
	    w, "reason", why->name != NULL ? why->name : task_state_name(r->state));
	jsonw_member_string(w, "message", message);
}

static void
write_why(struct call *c, const struct why_row *r)
{
	char id[UUID_TEXT_SIZE];
	const struct reason *first = NULL;
	struct jsonw w;

	for (size_t i = 0; i < COUNT_OF(reasons) && first == NULL; i++) {
		if (reasons[i].holds(r))
			first = &reasons[i];
	}
	call_body(c, &w);
	jsonw_object(&w);
	jsonw_member_string(&w, "id", uuid_format(&c->id, id));
	jsonw_member_string(&w, "state", task_state_name(r->state));
	if (first != NULL) {
		write_words(&w, first, r);
	} else { /* it is between two steps: the leader's pass is about to move it */
		jsonw_member_string(&w, "reason", "moving");
		jsonw_member_string(&w, "message", "It is about to be moved on.");
	}
	jsonw_key(&w, "reasons");
	jsonw_array(&w);
	for (size_t i = 0; i < COUNT_OF(reasons); i++) {
		if (!reasons[i].holds(r))
			continue;
		jsonw_object(&w);
		write_words(&w, &reasons[i], r);
		reasons[i].tell(r, &w);
		jsonw_end(&w);
	}
	jsonw_end(&w);
	jsonw_end(&w);
}

static void
on_row(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct call *c = arg;
	struct api *api = c->api;
	struct why_row r;

	if (pe != NULL) {
		call_read_failed(c, pe);
	} else if (pgrows_count(rows) == 0) {
		task_not_found(c);
	} else {
		why_row_get(rows, 0, &r);
		write_why(c, &r);
		call_reply_no_store(c, 200);
	}
	call_answered(api);
}

static bool
ask_row(struct call *c)
{
	queues_why_params(&c->api->params, c->app_id, &c->id);
	return call_send(c, &queues_why, on_row);
}

void
tasks_why(struct api *api, struct httpreq *req, int app_id)
{
	call_ask_id(api, req, app_id, ask_row, task_not_found);
}
