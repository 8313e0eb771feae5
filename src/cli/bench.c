/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench.c - the load generator; see bench.h.
 *
 * A lane is a connection with one request on its way.  Its answer makes it send the
 * next one, so that the load is closed: as many requests as connections, never a queue
 * in here.  Requests are formatted once and sent again and again; answers are judged by
 * their status alone, but in WAIT and START.
 *
 * Modes that must know how many tasks have finished, cheaply and wherever they ran,
 * count at the nodes (finished.h); so the end is known to 20 ms.  In E2E lanes rest
 * while `outstanding` tasks are accepted and not finished.
 *
 * DRAIN and BACKLOG load first and measure from the release on.  A backlog that is held
 * by its time (run_at) is released at a moment that this machine's clock knows, which
 * must agree with PostgreSQL's, as it does on one machine; making the tasks due is then
 * part of what is measured.  One that somebody else holds is taken as released when the
 * first of it have finished, and these do not count.
 *
 * START compares this machine's clock, read before the request is sent, with the task's
 * started_at, which is PostgreSQL's within the claim: the two must be one machine's,
 * and the commit of the claim, before which no handler starts, is not in it.
 *
 * Failures of passing kind are counted and repeated after a pause; a refusal that will
 * not change ends the run.
 */
#include "cli/bench.h"

#include <json-c/json.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "cli/answer.h"
#include "cli/bench_request.h"
#include "cli/hconn.h"
#include "event/loop.h"

#define REQUEST_MS  60000
#define WAIT_S	    30
#define PAUSE_MS    100	  /* after a failure */
#define PATIENCE_MS 10000 /* without any success */
#define STALL_MS    30000
#define IDLE_MS	    10 /* START: between two tasks, so that the queue comes to rest */

enum lane_state { LANE_BUSY = 0, LANE_PAUSED, LANE_PARKED, LANE_DONE };

enum phase {
	PHASE_OPENING = 0, /* the nodes' counters are not known yet */
	PHASE_LOADING,	   /* requests carry the backlog */
	PHASE_HELD,	   /* all of it is there, and waits */
	PHASE_MEASURING,
};

struct bench;

struct lane {
	struct bench *b;
	size_t target; /* which of the options' */
	struct hconn *hc;
	struct loop_timer *pause;
	enum lane_state state;
	int64_t sent_us, sent_wall_us;
	int64_t tasks; /* in the request under way */
};

/* what the lanes send: whole batches, then one with the rest; by target */
struct load {
	struct strbuf full[BENCH_TARGETS], rest[BENCH_TARGETS];
	int64_t batch, rest_tasks;
	int64_t left; /* tasks still to be sent; INT64_MAX by time */
	bool by_time;
};

struct bench {
	const struct bench_opts *o;
	struct bench_result *r;
	struct loop *loop;
	struct lane *lanes;
	struct finished *finished;   /* in modes that count */
	struct loop_timer *duration; /* in modes by time */
	struct load backlog, run;
	struct load *load; /* which of them now */
	enum phase phase;
	int64_t under_way; /* tasks in requests */
	int open_lanes;
	bool stopped, beside_over;
	int64_t due_wall_us;
	int64_t first_us, last_answer_us, last_finish_us;
	uint64_t finished_before; /* the measuring */
	double cpu_before;
	int64_t success_ms; /* the last one */
	struct err fatal;
};

static const struct {
	const char *name;
	bool counts, loads;
} modes[BENCH_MODE_COUNT] = {
    [BENCH_SUBMIT] = {"submit", false, false},
    [BENCH_E2E] = {"e2e", true, false},
    [BENCH_DRAIN] = {"drain", true, true},
    [BENCH_BACKLOG] = {"backlog", true, true},
    [BENCH_WAIT] = {"wait", false, false},
    [BENCH_START] = {"start", false, false},
};

const char *
bench_mode_name(enum bench_mode mode)
{
	return modes[mode].name;
}

bool
bench_mode_counts(enum bench_mode mode)
{
	return modes[mode].counts;
}

bool
bench_mode_loads(enum bench_mode mode)
{
	return modes[mode].loads;
}

int
bench_mode_parse(const char *name, enum bench_mode *mode)
{
	for (int i = 0; i < BENCH_MODE_COUNT; i++) {
		if (str_eq(modes[i].name, name)) {
			*mode = (enum bench_mode)i;
			return 0;
		}
	}
	if (!str_eq(name, "latency"))
		return -1;
	*mode = BENCH_WAIT;
	return 0;
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

/* ---- lanes ---- */

static void
end_run(struct bench *b, const struct err *fatal)
{
	if (fatal != NULL && b->fatal.code == ERR_NONE)
		b->fatal = *fatal;
	b->stopped = true;
	loop_stop(b->loop);
}

static void
loaded(struct bench *b)
{
	b->r->loaded = b->r->accepted;
	b->r->load_seconds = (double)(b->last_answer_us - b->first_us) / 1e6;
	b->phase = PHASE_HELD;
	if (b->o->on_loaded != NULL)
		b->o->on_loaded(b->r->loaded, b->r->load_seconds, b->o->arg);
}

static void
lane_done(struct lane *lane)
{
	struct bench *b = lane->b;

	lane->state = LANE_DONE;
	if (--b->open_lanes > 0)
		return;
	if (b->phase == PHASE_LOADING)
		loaded(b);
	else if (!bench_mode_counts(b->o->mode))
		end_run(b, NULL);
}

static void
lane_next(struct lane *lane)
{
	struct bench *b = lane->b;
	struct load *load = b->load;
	const struct strbuf *request = &load->full[lane->target];
	struct err err = ERR_INIT;
	int64_t open;

	if (load->left <= 0) {
		lane_done(lane);
		return;
	}
	if (b->o->mode == BENCH_E2E) {
		open = (int64_t)b->r->accepted + b->under_way -
		       (int64_t)finished_count(b->finished);
		if (open >= b->o->outstanding) {
			lane->state = LANE_PARKED;
			return;
		}
	}
	lane->tasks = load->batch;
	if (load->left < lane->tasks) {
		lane->tasks = load->rest_tasks;
		request = &load->rest[lane->target];
	}
	if (!load->by_time)
		load->left -= lane->tasks;
	b->under_way += lane->tasks;
	lane->state = LANE_BUSY;
	lane->sent_wall_us = clock_wall_us();
	lane->sent_us = clock_mono_us();
	if (hconn_send(lane->hc, request->data, request->len, REQUEST_MS, &err) != 0)
		end_run(b, &err);
}

static void
on_pause_over(void *arg)
{
	lane_next(arg);
}

static void
lane_pause(struct lane *lane, int ms)
{
	lane->state = LANE_PAUSED;
	loop_timer_start_ms(lane->pause, ms);
}

/* the request's tasks go back to what is left */
static void
lane_failed(struct lane *lane, const struct err *err, bool final)
{
	struct bench *b = lane->b;

	b->r->errors++;
	b->r->last_error = *err;
	err_wrap(&b->r->last_error, "%s://%s", b->o->targets[lane->target].url.scheme,
	    b->o->targets[lane->target].url.authority);
	if (final || clock_mono_ms() - b->success_ms > PATIENCE_MS) {
		end_run(b, &b->r->last_error);
		return;
	}
	if (!b->load->by_time)
		b->load->left += lane->tasks;
	lane_pause(lane, PAUSE_MS);
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

/* WAIT, START: did the task end well within the request, and when did it start? */
static bool
result_is_there(const struct hconn_answer *a, int64_t *started_wall_us)
{
	struct json_object *task = answer_parse(a->body, a->len, NULL);
	const char *state = answer_text(task, "state"),
		   *started = answer_text(task, "started_at");
	bool there = state != NULL && str_eq(state, "succeeded") && started != NULL &&
		     clock_parse(started, started_wall_us) == 0;

	json_object_put(task);
	return there;
}

static void
on_answer(
    struct hconn *hc, const struct hconn_answer *a, const struct err *err, void *arg)
{
	struct lane *lane = arg;
	struct bench *b = lane->b;
	int64_t now_us = clock_mono_us(), started_wall_us;
	int64_t took_us = now_us - lane->sent_us;
	bool waits = b->o->mode == BENCH_WAIT || b->o->mode == BENCH_START;
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
	if (waits) {
		if (!result_is_there(a, &started_wall_us)) {
			err_set(&late, ERR_TIMEOUT, "no success within %d s", WAIT_S);
			lane_failed(lane, &late, false);
			return;
		}
		b->r->finished++;
		if (b->o->mode == BENCH_START)
			took_us = started_wall_us - lane->sent_wall_us;
	}
	histogram_add(&b->r->latency, took_us);
	b->last_answer_us = now_us;
	b->success_ms = now_us / 1000;
	if (b->o->mode == BENCH_START)
		lane_pause(lane, IDLE_MS);
	else
		lane_next(lane);
}

static void
start_lanes(struct bench *b, struct load *load)
{
	b->load = load;
	b->success_ms = clock_mono_ms();
	b->open_lanes = b->o->connections;
	if (load->by_time)
		loop_timer_start_ms(b->duration, b->o->duration_ms);
	for (int i = 0; i < b->o->connections; i++)
		lane_next(&b->lanes[i]);
}

/* the lanes stop as their answers come; those that rest, at once */
static void
stop_lanes(struct bench *b)
{
	b->load->left = 0;
	for (int i = 0; i < b->o->connections; i++) {
		if (b->lanes[i].state == LANE_PARKED)
			lane_done(&b->lanes[i]);
	}
}

/* ---- phases ---- */

static void
begin(struct bench *b, enum phase phase, int64_t now_us)
{
	b->phase = phase;
	b->cpu_before = cpu_seconds();
	b->first_us = b->last_answer_us = b->last_finish_us = now_us;
}

static void
open_run(struct bench *b)
{
	int64_t now_us = clock_mono_us();

	if (!bench_mode_loads(b->o->mode)) {
		begin(b, PHASE_MEASURING, now_us);
		start_lanes(b, &b->run);
		return;
	}
	begin(b, PHASE_LOADING, now_us);
	start_lanes(b, &b->backlog);
}

static void
beside_over(struct bench *b, int64_t now_us)
{
	if (b->beside_over || b->o->mode != BENCH_BACKLOG)
		return;
	b->beside_over = true;
	b->r->beside_seconds = (double)(now_us - b->first_us) / 1e6;
	b->r->beside_submitted = b->r->accepted - b->r->loaded;
	b->r->beside_finished = finished_count(b->finished) - b->finished_before;
	stop_lanes(b);
}

static void
on_duration(void *arg)
{
	struct bench *b = arg;

	if (b->o->mode == BENCH_BACKLOG)
		beside_over(b, clock_mono_us());
	else
		stop_lanes(b);
}

/* a backlog is being loaded, or waits: nothing of it may have run before its time */
static void
watch_held(struct bench *b, int64_t now_us)
{
	int64_t since_due_us = clock_wall_us() - b->due_wall_us;
	bool by_time = b->o->hold_ms > 0;
	struct err err = ERR_INIT;

	if ((b->phase == PHASE_LOADING || (by_time && since_due_us < 0)) &&
	    finished_count(b->finished) > 0) {
		err_set(&err, ERR_INVALID, "tasks finished before %s",
		    b->phase == PHASE_LOADING ? "all were loaded" : "they were due");
		end_run(b, &err);
	} else if (b->phase == PHASE_LOADING && by_time && since_due_us >= 0) {
		err_set(&err, ERR_INVALID,
		    "%lld tasks were not loaded when the first were due: hold them "
		    "longer",
		    (long long)b->o->count);
		end_run(b, &err);
	} else if (b->phase == PHASE_HELD &&
		   (by_time ? since_due_us >= 0 : finished_count(b->finished) > 0)) {
		begin(b, PHASE_MEASURING, by_time ? now_us - since_due_us : now_us);
		if (!by_time)
			b->finished_before = finished_count(b->finished);
		if (b->o->mode == BENCH_BACKLOG) {
			histogram_init(&b->r->latency);
			start_lanes(b, &b->run);
		}
	}
}

static void
watch_finished(struct bench *b, int64_t now_us)
{
	uint64_t before = b->r->finished;

	b->r->finished = finished_count(b->finished);
	if (b->r->finished != before)
		b->last_finish_us = now_us;
	for (int i = 0; i < b->o->connections; i++) {
		if (b->lanes[i].state == LANE_PARKED)
			lane_next(&b->lanes[i]);
	}
	if (b->o->mode == BENCH_BACKLOG && b->r->finished >= b->r->loaded)
		beside_over(b, now_us);
	if (b->open_lanes == 0 && b->r->finished >= b->r->accepted) {
		end_run(b, NULL);
	} else if (now_us - b->last_finish_us > STALL_MS * 1000 &&
		   b->r->finished < b->r->accepted) {
		b->r->stalled = true;
		end_run(b, NULL);
	}
}

static void
on_counted(struct finished *f, bool complete, const struct err *last, void *arg)
{
	struct bench *b = arg;
	int64_t now_us = clock_mono_us();

	(void)f;
	if (b->stopped)
		return;
	if (!complete) {
		if (now_us / 1000 - b->success_ms > PATIENCE_MS)
			end_run(b, last);
	} else if (b->phase == PHASE_OPENING) {
		open_run(b);
	} else if (b->phase == PHASE_MEASURING) {
		watch_finished(b, now_us);
	} else {
		watch_held(b, now_us);
	}
}

/* ---- construction ---- */

static int
create_load(struct load *load, const struct bench_opts *o, struct bench_request what,
    int64_t count, int64_t batch, struct err *err)
{
	load->by_time = count == 0;
	load->left = count > 0 ? count : INT64_MAX;
	load->batch = batch;
	load->rest_tasks = count % batch != 0 ? count % batch : batch;
	what.batch = batch > 1;
	for (size_t i = 0; i < o->target_count; i++) {
		what.tasks = load->batch;
		if (bench_request_build(&o->targets[i], &what, &load->full[i], err) !=
		    0)
			return -1;
		what.tasks = load->rest_tasks;
		if (bench_request_build(&o->targets[i], &what, &load->rest[i], err) !=
		    0)
			return -1;
	}
	return 0;
}

static int
create_loads(struct bench *b, struct err *err)
{
	const struct bench_opts *o = b->o;
	bool loads = bench_mode_loads(o->mode);
	struct bench_request what = {
	    .type = o->type, .queue = o->queue, .payload_bytes = o->payload_bytes};
	char due[CLOCK_TEXT_SIZE];

	if (o->mode == BENCH_WAIT || o->mode == BENCH_START)
		what.wait_s = WAIT_S;
	if (create_load(&b->run, o, what, loads ? 0 : o->count, o->batch, err) != 0)
		return -1;
	if (!loads)
		return 0;
	b->due_wall_us = clock_wall_us() + o->hold_ms * 1000;
	if (o->hold_ms > 0)
		what.run_at = clock_format(b->due_wall_us, due);
	return create_load(&b->backlog, o, what, o->count, BENCH_LOAD_BATCH, err);
}

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
		lane->target = (size_t)i % o->target_count;
		lane->pause = loop_timer_create(b->loop, on_pause_over, lane);
		if (lane->pause == NULL)
			return err_set(
			    err, ERR_NOMEM, "%d connections", o->connections);
		lane->hc = hconn_create(b->loop, o->targets[lane->target].addrs,
		    o->targets[lane->target].addr_count, on_answer, lane, err);
		if (lane->hc == NULL)
			return -1;
		hconn_set_tls(lane->hc, o->targets[lane->target].tls,
		    o->targets[lane->target].url.host);
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
	b->duration = loop_timer_create(b->loop, on_duration, b);
	if (b->duration == NULL)
		return err_set(err, ERR_NOMEM, "bench");
	if (create_loads(b, err) != 0 || create_lanes(b, err) != 0)
		return -1;
	if (!bench_mode_counts(o->mode))
		return 0;
	b->finished =
	    finished_create(b->loop, o->nodes, o->node_count, on_counted, b, err);
	return b->finished != NULL ? 0 : -1;
}

static void
init_load(struct load *load)
{
	for (size_t i = 0; i < BENCH_TARGETS; i++) {
		strbuf_init(&load->full[i], BENCH_REQUEST_MAX);
		strbuf_init(&load->rest[i], BENCH_REQUEST_MAX);
	}
}

static void
fini_load(struct load *load)
{
	for (size_t i = 0; i < BENCH_TARGETS; i++) {
		if (load->full[i].data != NULL) /* the key is in it */
			explicit_bzero(load->full[i].data, load->full[i].len);
		if (load->rest[i].data != NULL)
			explicit_bzero(load->rest[i].data, load->rest[i].len);
		strbuf_fini(&load->full[i]);
		strbuf_fini(&load->rest[i]);
	}
}

static void
destroy(struct bench *b)
{
	for (int i = 0; b->lanes != NULL && i < b->o->connections; i++) {
		hconn_free(b->lanes[i].hc);
		loop_timer_free(b->lanes[i].pause);
	}
	mem_free(b->lanes);
	finished_free(b->finished);
	loop_timer_free(b->duration);
	fini_load(&b->run);
	fini_load(&b->backlog);
	if (b->loop != NULL)
		loop_free(b->loop);
}

static double
per_second(uint64_t n, double seconds)
{
	return seconds > 0 ? (double)n / seconds : 0.0;
}

static void
conclude(struct bench *b)
{
	struct bench_result *r = b->r;
	bool counts = bench_mode_counts(b->o->mode);
	uint64_t submitted = r->accepted - r->loaded;

	r->cpu_seconds = cpu_seconds() - b->cpu_before;
	r->submit_seconds = (double)(b->last_answer_us - b->first_us) / 1e6;
	r->total_seconds = counts ? (double)(b->last_finish_us - b->first_us) / 1e6
				  : r->submit_seconds;
	r->submit_rate = per_second(submitted, r->submit_seconds);
	r->rate = counts
		      ? per_second(r->finished - b->finished_before, r->total_seconds)
		      : r->submit_rate;
	if (b->o->mode == BENCH_DRAIN) {
		r->submit_seconds = r->load_seconds;
		r->submit_rate = per_second(r->loaded, r->load_seconds);
	} else if (b->o->mode == BENCH_BACKLOG) {
		r->rate = per_second(r->beside_finished, r->beside_seconds);
		r->submit_rate = per_second(r->beside_submitted, r->beside_seconds);
	}
}

int
bench_run(const struct bench_opts *opts, struct bench_result *result, struct err *err)
{
	struct bench b = {.o = opts, .r = result};
	int rc = -1;

	memset(result, 0, sizeof(*result));
	histogram_init(&result->latency);
	init_load(&b.run);
	init_load(&b.backlog);
	if (create(&b, err) != 0)
		goto out;
	b.success_ms = clock_mono_ms();
	if (!bench_mode_counts(opts->mode))
		open_run(&b); /* the others once the counters are known */
	if (loop_run(b.loop, err) != 0)
		goto out;
	if (b.fatal.code != ERR_NONE) {
		if (err != NULL)
			*err = b.fatal;
		goto out;
	}
	conclude(&b);
	rc = 0;
out:
	destroy(&b);
	return rc;
}
