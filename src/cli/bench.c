/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench.c - the load generator; see bench.h.
 *
 * A lane is a connection with one request on its way.  Its answer makes it send the
 * next one, so that the load is closed: as many requests as connections, never a queue
 * in here.  Requests are formatted once and sent again and again; answers are judged by
 * their status alone, but in LATENCY mode.
 *
 * E2E needs to know how many tasks have finished, cheaply and wherever they ran: it
 * polls each node's /metrics 50 times a second and adds up the counters of succeeded
 * and failed tasks since the start.  That asks no store, so it disturbs nothing; the
 * price is that the cluster must have no other work meanwhile, and that the end is
 * known to 20 ms.  Lanes rest while `outstanding` tasks are accepted and not finished.
 *
 * Failures of passing kind are counted and repeated after a pause; a refusal that will
 * not change ends the run.
 */
#include "cli/bench.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "cli/answer.h"
#include "cli/hconn.h"
#include "event/loop.h"

#define REQUEST_MS  60000
#define WAIT_S	    30
#define PAUSE_MS    100	  /* after a failure */
#define PATIENCE_MS 10000 /* without any success */
#define POLL_MS	    20
#define STALL_MS    30000
#define REQUEST_MAX (64UL * 1024 * 1024)

enum lane_state { LANE_BUSY = 0, LANE_PAUSED, LANE_PARKED, LANE_DONE };

struct bench;

struct lane {
	struct bench *b;
	struct hconn *hc;
	struct loop_timer *pause;
	enum lane_state state;
	int64_t sent_us;
	int64_t tasks; /* in the request under way */
};

struct node {
	struct bench *b;
	const struct target *target; /* borrowed */
	struct hconn *hc;
	struct strbuf request;
	bool seen;
	uint64_t counter;  /* finished tasks, as it counted them last */
	uint64_t finished; /* of these, since we began */
};

struct bench {
	const struct bench_opts *o;
	struct bench_result *r;
	struct loop *loop;
	struct lane *lanes;
	struct node nodes[BENCH_NODES];
	size_t polls_open;
	struct loop_timer *poll;     /* E2E */
	struct loop_timer *duration; /* by time */
	struct strbuf full, rest; /* requests of a whole batch, and of the last one */
	int64_t rest_tasks;
	int64_t left;	   /* tasks still to be sent; INT64_MAX by time */
	int64_t under_way; /* tasks in requests */
	int open_lanes;
	bool started, stopped;
	int64_t first_us, last_answer_us, last_finish_us;
	int64_t success_ms; /* the last one */
	struct err fatal;
};

static const char *const mode_names[BENCH_MODE_COUNT] = {"submit", "e2e", "latency"};

const char *
bench_mode_name(enum bench_mode mode)
{
	return mode_names[mode];
}

int
bench_mode_parse(const char *name, enum bench_mode *mode)
{
	for (int i = 0; i < BENCH_MODE_COUNT; i++) {
		if (str_eq(mode_names[i], name)) {
			*mode = (enum bench_mode)i;
			return 0;
		}
	}
	return -1;
}

uint64_t
bench_metric_sum(const char *text, size_t len, const char *name)
{
	size_t name_len = strlen(name);
	const char *at = text, *end = text + len, *line_end, *value;
	uint64_t sum = 0, n;
	char digits[24];

	for (; at < end; at = line_end + 1) {
		line_end = memchr(at, '\n', (size_t)(end - at));
		if (line_end == NULL)
			line_end = end;
		if ((size_t)(line_end - at) <= name_len ||
		    memcmp(at, name, name_len) != 0 ||
		    (at[name_len] != ' ' && at[name_len] != '{'))
			continue;
		value = memrchr(at, ' ', (size_t)(line_end - at));
		if (value == NULL || (size_t)(line_end - value) > sizeof(digits))
			continue;
		memcpy(digits, value + 1, (size_t)(line_end - value - 1));
		digits[line_end - value - 1] = '\0';
		if (str_to_u64(digits, &n) == 0)
			sum += n;
	}
	return sum;
}

/* ---- requests ---- */

static void
put_task(struct jsonw *w, const struct bench_opts *o)
{
	static const char filler[] = "0123456789abcdef";
	int64_t fill = o->payload_bytes - (int64_t)strlen("{\"pad\":\"\"}");
	struct strbuf pad;

	jsonw_object(w);
	jsonw_key(w, "type");
	jsonw_string(w, o->type);
	if (o->queue != NULL) {
		jsonw_key(w, "queue");
		jsonw_string(w, o->queue);
	}
	jsonw_key(w, "payload");
	strbuf_init(&pad, REQUEST_MAX);
	strbuf_puts(&pad, "{\"pad\":\"");
	for (int64_t i = 0; i < fill; i++)
		strbuf_putc(&pad, filler[i % 16]);
	strbuf_puts(&pad, "\"}");
	jsonw_raw(w, pad.data, pad.len);
	strbuf_fini(&pad);
	jsonw_end(w);
}

static int
build_request(
    const struct bench_opts *o, int64_t tasks, struct strbuf *out, struct err *err)
{
	const char *path = "/v1/tasks";
	struct strbuf body;
	struct jsonw w;
	char wait[32];

	strbuf_init(&body, REQUEST_MAX);
	jsonw_init(&w, &body);
	if (o->mode == BENCH_LATENCY) {
		snprintf(wait, sizeof(wait), "/v1/tasks?wait=%d", WAIT_S);
		path = wait;
	}
	if (o->batch > 1) {
		path = "/v1/tasks/batch";
		jsonw_object(&w);
		jsonw_key(&w, "tasks");
		jsonw_array(&w);
		for (int64_t i = 0; i < tasks; i++)
			put_task(&w, o);
		jsonw_end(&w);
		jsonw_end(&w);
	} else {
		put_task(&w, o);
	}
	if (!strbuf_failed(&body))
		target_request(o->target, "POST", path, body.data, body.len, out);
	if (strbuf_failed(&body) || strbuf_failed(out)) {
		strbuf_fini(&body);
		return err_set(err, ERR_INVALID,
		    "a request would be longer than %lu bytes", REQUEST_MAX);
	}
	strbuf_fini(&body);
	return 0;
}

/* ---- lanes ---- */

static uint64_t
finished(const struct bench *b)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < b->o->node_count; i++)
		sum += b->nodes[i].finished;
	return sum;
}

static void
end_run(struct bench *b, const struct err *fatal)
{
	if (fatal != NULL && b->fatal.code == ERR_NONE)
		b->fatal = *fatal;
	b->stopped = true;
	loop_stop(b->loop);
}

static void
lane_done(struct lane *lane)
{
	struct bench *b = lane->b;

	lane->state = LANE_DONE;
	b->open_lanes--;
	if (b->open_lanes == 0 && b->o->mode != BENCH_E2E)
		end_run(b, NULL);
}

static void
lane_next(struct lane *lane)
{
	struct bench *b = lane->b;
	const struct strbuf *request = &b->full;
	struct err err = ERR_INIT;
	int64_t open;

	if (b->left <= 0) {
		lane_done(lane);
		return;
	}
	if (b->o->mode == BENCH_E2E) {
		open = (int64_t)b->r->accepted + b->under_way - (int64_t)finished(b);
		if (open >= b->o->outstanding) {
			lane->state = LANE_PARKED;
			return;
		}
	}
	lane->tasks = b->o->batch;
	if (b->left < lane->tasks) {
		lane->tasks = b->rest_tasks;
		request = &b->rest;
	}
	if (b->left != INT64_MAX)
		b->left -= lane->tasks;
	b->under_way += lane->tasks;
	lane->state = LANE_BUSY;
	lane->sent_us = clock_mono_us();
	if (hconn_send(lane->hc, request->data, request->len, REQUEST_MS, &err) != 0)
		end_run(b, &err);
}

static void
on_pause_over(void *arg)
{
	lane_next(arg);
}

/* the request's tasks go back to what is left, but not beyond a run that stops by time
 */
static void
lane_failed(struct lane *lane, const struct err *err, bool final)
{
	struct bench *b = lane->b;

	b->r->errors++;
	b->r->last_error = *err;
	err_wrap(&b->r->last_error, "http://%s", b->o->target->url.authority);
	if (final || clock_mono_ms() - b->success_ms > PATIENCE_MS) {
		end_run(b, &b->r->last_error);
		return;
	}
	if (b->left != INT64_MAX && b->o->count > 0)
		b->left += lane->tasks;
	lane->state = LANE_PAUSED;
	loop_timer_start_ms(lane->pause, PAUSE_MS);
}

/* LATENCY: did the task end well within the request? */
static bool
result_is_there(const struct hconn_answer *a)
{
	struct json_object *task = answer_parse(a->body, a->len, NULL);
	const char *state = answer_text(task, "state");
	bool there = state != NULL && str_eq(state, "succeeded");

	json_object_put(task);
	return there;
}

static void
refused(struct lane *lane, const struct hconn_answer *a)
{
	struct json_object *doc = answer_parse(a->body, a->len, NULL);
	const char *code = answer_text(doc, "code"),
		   *detail = answer_text(doc, "detail");
	bool passing = a->status == 429 || a->status >= 500;
	struct err err = ERR_INIT;

	err_set(&err, passing ? ERR_IO : ERR_INVALID, "%d %s: %s", a->status,
	    code != NULL ? code : "error", detail != NULL ? detail : "no detail");
	json_object_put(doc);
	lane_failed(lane, &err, !passing);
}

static void
on_answer(
    struct hconn *hc, const struct hconn_answer *a, const struct err *err, void *arg)
{
	struct lane *lane = arg;
	struct bench *b = lane->b;
	int64_t now_us = clock_mono_us();
	struct err late = ERR_INIT;

	(void)hc;
	b->under_way -= lane->tasks;
	if (b->stopped)
		return;
	if (err != NULL) {
		lane_failed(lane, err, err->code == ERR_INVALID);
		return;
	}
	if (a->status < 200 || a->status >= 300) {
		refused(lane, a);
		return;
	}
	b->r->accepted += (uint64_t)lane->tasks;
	if (b->o->mode == BENCH_LATENCY) {
		if (!result_is_there(a)) {
			err_set(&late, ERR_TIMEOUT, "no success within %d s", WAIT_S);
			lane_failed(lane, &late, false);
			return;
		}
		b->r->finished++;
	}
	histogram_add(&b->r->latency, now_us - lane->sent_us);
	b->last_answer_us = now_us;
	b->success_ms = now_us / 1000;
	lane_next(lane);
}

static void
start_lanes(struct bench *b)
{
	b->started = true;
	b->first_us = b->last_answer_us = b->last_finish_us = clock_mono_us();
	b->success_ms = b->first_us / 1000;
	if (b->duration != NULL)
		loop_timer_start_ms(b->duration, b->o->duration_ms);
	b->open_lanes = b->o->connections;
	for (int i = 0; i < b->o->connections; i++)
		lane_next(&b->lanes[i]);
}

static void
on_duration(void *arg)
{
	struct bench *b = arg;

	b->left = 0;
	for (int i = 0; i < b->o->connections; i++) {
		if (b->lanes[i].state == LANE_PARKED)
			lane_done(&b->lanes[i]);
	}
}

/* ---- what has finished ---- */

static void
polled(struct bench *b)
{
	uint64_t before = b->r->finished;
	int64_t now_us = clock_mono_us();
	bool all = true;

	for (size_t i = 0; i < b->o->node_count; i++)
		all = all && b->nodes[i].seen;
	loop_timer_start_ms(b->poll, POLL_MS);
	if (!all) {
		if (now_us / 1000 - b->success_ms > PATIENCE_MS)
			end_run(b, &b->r->last_error);
		return;
	}
	if (!b->started) {
		start_lanes(b);
		return;
	}
	b->r->finished = finished(b);
	if (b->r->finished != before)
		b->last_finish_us = now_us;
	for (int i = 0; i < b->o->connections; i++) {
		if (b->lanes[i].state == LANE_PARKED)
			lane_next(&b->lanes[i]);
	}
	if (b->open_lanes == 0 && b->r->finished >= b->r->accepted) {
		end_run(b, NULL);
	} else if (now_us - b->last_finish_us > STALL_MS * 1000 &&
		   b->r->finished < b->r->accepted) {
		b->r->stalled = true;
		end_run(b, NULL);
	}
}

static void
on_metrics(
    struct hconn *hc, const struct hconn_answer *a, const struct err *err, void *arg)
{
	struct node *node = arg;
	struct bench *b = node->b;
	uint64_t counter;

	(void)hc;
	if (err != NULL) {
		b->r->last_error = *err;
		err_wrap(&b->r->last_error, "http://%s/metrics",
		    node->target->url.authority);
	} else if (a->status != 200) {
		err_set(&b->r->last_error, ERR_IO, "http://%s/metrics answers %d",
		    node->target->url.authority, a->status);
	} else {
		counter =
		    bench_metric_sum(a->body, a->len, "shoal_tasks_succeeded_total") +
		    bench_metric_sum(a->body, a->len, "shoal_tasks_failed_total");
		/* a counter that went back is that of a node that was restarted */
		if (node->seen)
			node->finished += counter >= node->counter
					      ? counter - node->counter
					      : counter;
		node->counter = counter;
		node->seen = true;
	}
	if (--b->polls_open == 0 && !b->stopped)
		polled(b);
}

static void
on_poll(void *arg)
{
	struct bench *b = arg;
	struct err err = ERR_INIT;

	b->polls_open = b->o->node_count;
	for (size_t i = 0; i < b->o->node_count; i++) {
		if (hconn_send(b->nodes[i].hc, b->nodes[i].request.data,
			b->nodes[i].request.len, PATIENCE_MS, &err) != 0) {
			end_run(b, &err);
			return;
		}
	}
}

/* ---- construction ---- */

static int
create_lanes(struct bench *b, struct err *err)
{
	const struct bench_opts *o = b->o;

	b->lanes = mem_array((size_t)o->connections, sizeof(*b->lanes));
	if (b->lanes == NULL)
		return err_set(err, ERR_NOMEM, "%d connections", o->connections);
	for (int i = 0; i < o->connections; i++) {
		struct lane *lane = &b->lanes[i];

		lane->b = b;
		lane->pause = loop_timer_create(b->loop, on_pause_over, lane);
		if (lane->pause == NULL)
			return err_set(
			    err, ERR_NOMEM, "%d connections", o->connections);
		lane->hc = hconn_create(b->loop, o->target->addrs,
		    o->target->addr_count, on_answer, lane, err);
		if (lane->hc == NULL)
			return -1;
	}
	return 0;
}

static int
create_nodes(struct bench *b, struct err *err)
{
	b->poll = loop_timer_create(b->loop, on_poll, b);
	if (b->poll == NULL)
		return err_set(err, ERR_NOMEM, "bench");
	for (size_t i = 0; i < b->o->node_count; i++) {
		struct node *node = &b->nodes[i];
		const struct target *t = &b->o->nodes[i];

		node->b = b;
		node->target = t;
		target_request(t, "GET", "/metrics", NULL, 0, &node->request);
		node->hc = hconn_create(
		    b->loop, t->addrs, t->addr_count, on_metrics, node, err);
		if (node->hc == NULL)
			return -1;
	}
	return 0;
}

static int
create(struct bench *b, struct err *err)
{
	const struct bench_opts *o = b->o;

	b->loop = loop_create(err);
	if (b->loop == NULL)
		return -1;
	b->left = o->count > 0 ? o->count : INT64_MAX;
	b->rest_tasks =
	    o->count > 0 && o->count % o->batch != 0 ? o->count % o->batch : o->batch;
	if (build_request(o, o->batch, &b->full, err) != 0 ||
	    build_request(o, b->rest_tasks, &b->rest, err) != 0)
		return -1;
	if (o->count == 0) {
		b->duration = loop_timer_create(b->loop, on_duration, b);
		if (b->duration == NULL)
			return err_set(err, ERR_NOMEM, "bench");
	}
	if (create_lanes(b, err) != 0)
		return -1;
	return o->mode == BENCH_E2E ? create_nodes(b, err) : 0;
}

static void
destroy(struct bench *b)
{
	for (int i = 0; b->lanes != NULL && i < b->o->connections; i++) {
		hconn_free(b->lanes[i].hc);
		loop_timer_free(b->lanes[i].pause);
	}
	mem_free(b->lanes);
	for (size_t i = 0; i < BENCH_NODES; i++) {
		hconn_free(b->nodes[i].hc);
		strbuf_fini(&b->nodes[i].request);
	}
	loop_timer_free(b->poll);
	loop_timer_free(b->duration);
	explicit_bzero(b->full.data, b->full.len); /* the key is in it */
	explicit_bzero(b->rest.data, b->rest.len);
	strbuf_fini(&b->full);
	strbuf_fini(&b->rest);
	if (b->loop != NULL)
		loop_free(b->loop);
}

static double
cpu_seconds(void)
{
	struct rusage u;

	if (getrusage(RUSAGE_SELF, &u) != 0)
		return 0.0;
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int
bench_run(const struct bench_opts *opts, struct bench_result *result, struct err *err)
{
	struct bench b = {.o = opts, .r = result};
	double cpu = cpu_seconds();
	int rc = -1;

	memset(result, 0, sizeof(*result));
	histogram_init(&result->latency);
	strbuf_init(&b.full, REQUEST_MAX);
	strbuf_init(&b.rest, REQUEST_MAX);
	for (size_t i = 0; i < BENCH_NODES; i++)
		strbuf_init(&b.nodes[i].request, 65536);
	if (create(&b, err) != 0)
		goto out;
	b.success_ms = clock_mono_ms();
	if (opts->mode == BENCH_E2E)
		loop_timer_start_ms(
		    b.poll, 0); /* the lanes start once the counters are known */
	else
		start_lanes(&b);
	if (loop_run(b.loop, err) != 0)
		goto out;
	if (b.fatal.code != ERR_NONE) {
		if (err != NULL)
			*err = b.fatal;
		goto out;
	}
	result->submit_seconds = (double)(b.last_answer_us - b.first_us) / 1e6;
	result->total_seconds = opts->mode == BENCH_E2E
				    ? (double)(b.last_finish_us - b.first_us) / 1e6
				    : result->submit_seconds;
	result->cpu_seconds = cpu_seconds() - cpu;
	rc = 0;
out:
	destroy(&b);
	return rc;
}
