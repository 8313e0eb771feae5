/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream.c - attempts of stream types, and the pools that run them; see stream.h.
 *
 * Owns each type's line, its seats, and what the engine is told of its places.  What is
 * said between a node and a child is stream_kid.c's.
 *
 * Places.  A type whose tasks are short must cost nothing to dispatch: it shares the
 * worker's slots, its ids go the direct way, and what its children have no room for
 * waits here for a moment.  But with long tasks that would hoard what others could run,
 * and take the slots from other types.  So the pool measures how long an answer takes.
 * Children that hold C tasks, of which each takes T, work off C / T of them: when the
 * last of all that fit into the slots would wait for much longer than LINE_MS, the type
 * gets places of its own, as many as its children work off in that time, and the feeder
 * pushes no more.
 *
 * A type whose children do not come up has no places at all, and nothing waits here.
 */
#include "handlers/stream_int.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/engine.h"

#define LINE_MS		 250 /* what waits here shall wait no longer */
#define MEASURE_MS	 1000
#define HOARDED_MS	 2000 /* what has waited for so long goes back */
#define RESTART_MS	 100
#define RESTART_MOST	 30000
#define FAILURES_MOST	 3 /* of one seat in a row, until the type is not served */
#define LEAVING_GRACE_MS 3000
#define SCRATCH_BYTES	 (16 * 1024 * 1024)

static void on_restart(void *arg);
static void on_done(void *arg);

/* ---------------------------------------------------------------- runs */

void
run_free(struct run *r)
{
	r->attempt->run = NULL;
	mem_free(r->queue);
	mem_free(r);
}

void
run_succeed(struct run *r, char *result, size_t len)
{
	struct attempt *a = r->attempt;

	run_free(r);
	attempt_succeeded(a, result, len);
}

void
run_fail(struct run *r, enum attempt_outcome outcome, const char *code,
    const char *message, size_t message_len, int64_t retry_ms)
{
	struct attempt *a = r->attempt;

	run_free(r);
	attempt_failed(a, outcome, code, message, message_len, retry_ms);
}

void
run_give_back(struct run *r)
{
	run_fail(r, OUTCOME_BACK, "given_back", "", 0, -1);
}

static void
leave_line(struct run *r)
{
	TAILQ_REMOVE(&r->pool->line, r, link);
	r->pool->line_count--;
}

static int
busy_of(const struct pool *p)
{
	const struct kid *k;
	int busy = 0;

	TAILQ_FOREACH (k, &p->kids, link)
		busy += k->count;
	return busy;
}

/* all but the first few that wait */
static void
shorten_line(struct pool *p, int keep)
{
	struct run *r;

	while (p->line_count > keep && (r = TAILQ_LAST(&p->line, runs)) != NULL) {
		leave_line(r);
		run_give_back(r);
	}
}

/* ---------------------------------------------------------------- places */

/* tasks that the children take at a time; busy (may be NULL): the longest that one has
 * been at work */
static int
total_of(const struct pool *p, int64_t now_ms, int64_t *busy_ms)
{
	const struct kid *k;
	const struct run *r;
	int total = 0;

	TAILQ_FOREACH (k, &p->kids, link) {
		if (k->state != KID_READY)
			continue;
		total += k->concurrency;
		r = TAILQ_FIRST(&k->runs);
		if (busy_ms != NULL && r != NULL && now_ms - r->since_ms > *busy_ms)
			*busy_ms = now_ms - r->since_ms;
	}
	return total;
}

/*
 * -1: the direct way.  It is left only when the wait is clearly too long, and taken
 * again only when it is short, so that a few slow ones change nothing.
 */
static int
places_wanted(const struct pool *p, int64_t now_ms)
{
	int slots = (int)p->stream->settings->node_slots, places;
	int64_t busy_ms = 0;
	int total = total_of(p, now_ms, &busy_ms);
	double took_ms = p->took_ms, wait_ms;

	if (!p->served)
		return 0;
	if (total == 0)
		return p->places; /* others are on their way */
	if (p->settings->concurrency > 0)
		return 2 * total < slots ? 2 * total : slots;
	if ((double)busy_ms > took_ms)
		took_ms = (double)busy_ms;
	if (took_ms < 1)
		took_ms = 1;
	wait_ms = took_ms * (slots - total) / total;
	if (wait_ms <= (p->places == -1 ? 4 * LINE_MS : 2 * LINE_MS))
		return -1;
	places = (int)(total * (1 + LINE_MS / took_ms));
	/* small changes are not worth a message */
	if (p->places > 0 && places < p->places + p->places / 4 &&
	    places > p->places - p->places / 4)
		return p->places;
	return places;
}

static void
tell_places(struct pool *p)
{
	int places = places_wanted(p, loop_now_ms(p->stream->loop));

	if (places == p->places || p->stream->engine == NULL || p->stream->draining)
		return;
	log_debug(NULL, "places of a stream type", "type=%s places=%d took_ms=%.1f",
	    p->settings->type, places, p->took_ms);
	p->places = places;
	engine_set_places(p->stream->engine, p->settings->type, places);
}

void
pool_measure(struct pool *p, int64_t now_ms)
{
	const struct run *first;
	int busy;

	if (now_ms - p->measured_ms < MEASURE_MS)
		return;
	p->measured_ms = now_ms;
	tell_places(p);
	first = TAILQ_FIRST(&p->line);
	if (p->places <= 0 || first == NULL || now_ms - first->since_ms <= HOARDED_MS)
		return;
	busy = busy_of(p);
	shorten_line(p, p->places > busy ? p->places - busy : 0);
}

/* ---------------------------------------------------------------- to the children */

static struct kid *
freest(const struct pool *p)
{
	struct kid *k, *best = NULL;

	TAILQ_FOREACH (k, &p->kids, link) {
		if (kid_has_room(k) && (best == NULL || k->count < best->count))
			best = k;
	}
	return best;
}

static void
serve_line(struct pool *p)
{
	struct err err = ERR_INIT;
	struct run *r;
	struct kid *k;

	while ((r = TAILQ_FIRST(&p->line)) != NULL && (k = freest(p)) != NULL) {
		leave_line(r);
		if (kid_give(k, r, r->queue, &err) != 0)
			run_fail(r, OUTCOME_RETRY, "start_failed", err.text,
			    strlen(err.text), -1);
	}
}

static void
leave_all(struct pool *p)
{
	struct kid *k, *next;

	for (k = TAILQ_FIRST(&p->kids); k != NULL; k = next) {
		next = TAILQ_NEXT(k, link);
		if (k->state == KID_STARTING || k->state == KID_READY)
			kid_leave(k);
	}
}

/* ready children, or the hope of some */
static void
judge_served(struct pool *p)
{
	bool served = false, given_up = false;
	const struct kid *k;

	TAILQ_FOREACH (k, &p->kids, link)
		served |= k->state == KID_READY;
	for (int i = 0; i < p->seat_count; i++)
		given_up |= p->seats[i].failures >= FAILURES_MOST;
	if (served && !p->served)
		log_info(NULL, "a stream type is served", "type=%s", p->settings->type);
	if (!served && given_up && !p->given_up)
		log_error(NULL, "a stream type is not served: its children do not stay",
		    "type=%s", p->settings->type);
	p->given_up = !served && given_up;
	p->served = served || (p->served && !given_up);
}

static bool
has_children(const struct pool *p)
{
	const struct kid *k;

	TAILQ_FOREACH (k, &p->kids, link) {
		if (k->state == KID_STARTING || k->state == KID_READY)
			return true;
	}
	return false;
}

void
pool_changed(struct pool *p)
{
	judge_served(p);
	if (!p->served || (p->stream->draining && !has_children(p)))
		shorten_line(p, 0);
	serve_line(p);
	tell_places(p);
	if (p->stream->draining && TAILQ_EMPTY(&p->line))
		leave_all(p);
}

/* ---------------------------------------------------------------- seats */

static int64_t
restart_ms(const struct seat *seat)
{
	int64_t ms = RESTART_MS;

	if (seat->failures == 0)
		return 0;
	for (int i = 1; i < seat->failures && ms < RESTART_MOST; i++)
		ms *= 2;
	return ms < RESTART_MOST ? ms : RESTART_MOST;
}

static void
fill_seat(struct seat *seat)
{
	struct err err = ERR_INIT;

	if (seat->kid != NULL || seat->pool->stream->draining ||
	    seat->pool->stream->engine == NULL)
		return;
	if (kid_start(seat, &err) == 0)
		return;
	seat->failures++;
	log_error(NULL, "a child cannot be started",
	    "type=%s again_ms=%lld reason=\"%.300s\"", seat->pool->settings->type,
	    (long long)restart_ms(seat), err.text);
	loop_timer_start_ms(seat->timer, restart_ms(seat));
	pool_changed(seat->pool);
}

static void
on_restart(void *arg)
{
	fill_seat(arg);
}

void
pool_kid_ended(struct pool *p, struct seat *seat, bool failed, bool was_useful)
{
	struct stream *s = p->stream;

	if (failed)
		score_add(s->slot, SCORE_children_failed_total, 1);
	if (seat != NULL) {
		seat->failures = was_useful ? 0 : seat->failures + 1;
		if (!s->draining)
			loop_timer_start_ms(seat->timer, restart_ms(seat));
	}
	pool_changed(p);
	if (s->draining && s->kids == 0)
		loop_defer_start(s->done_defer);
}

/* ---------------------------------------------------------------- the handler */

static struct pool *
pool_of(struct stream *s, const struct type_settings *t)
{
	struct pool *p;

	TAILQ_FOREACH (p, &s->pools, link) {
		if (p->settings == t)
			return p;
	}
	return NULL;
}

static int
start(void *self, struct attempt *a, struct err *err)
{
	struct stream *s = self;
	struct pool *p = pool_of(s, attempt_settings(a));
	struct run *r;
	struct kid *k;

	if (p == NULL)
		return err_set(err, ERR_BUG, "a stream type without a pool");
	r = mem_zero(sizeof(*r));
	if (r == NULL)
		return err_set(err, ERR_NOMEM, "a run");
	if (a->timeout_ms <= 0 || a->timeout_ms > p->settings->timeout_ms)
		a->timeout_ms = p->settings->timeout_ms; /* a task may ask for less */
	r->pool = p;
	r->attempt = a;
	r->since_ms = loop_now_ms(s->loop);
	a->run = r;
	if (!p->served) { /* not any more, since its claim was sent */
		run_give_back(r);
		return 0;
	}
	k = TAILQ_EMPTY(&p->line) ? freest(p) : NULL;
	if (k != NULL) {
		if (kid_give(k, r, a->queue_name, err) == 0)
			return 0;
	} else if ((r->queue = mem_strdup(a->queue_name)) != NULL) {
		TAILQ_INSERT_TAIL(&p->line, r, link);
		p->line_count++;
		return 0;
	} else {
		err_set(err, ERR_NOMEM, "a run");
	}
	run_free(r);
	return -1;
}

static void
cancel(void *self, struct attempt *a)
{
	struct run *r = a->run;
	int64_t grace_ms = attempt_settings(a)->grace_ms;

	(void)self;
	if (r == NULL)
		return;
	if (r->kid == NULL) {
		leave_line(r);
		run_fail(
		    r, OUTCOME_RETRY, "cancelled", "ended before it began", 21, -1);
		return;
	}
	/* a worker that leaves must record what it gives back before its own time is up
	 */
	if (a->giving_up && grace_ms > LEAVING_GRACE_MS)
		grace_ms = LEAVING_GRACE_MS;
	kid_cancel(r->kid, r, grace_ms);
}

static const struct handler_ops ops = {
    .name = "stream", .start = start, .cancel = cancel};

struct handler
stream_handler(struct stream *s)
{
	return (struct handler){&ops, s};
}

/* ---------------------------------------------------------------- life */

static void
pool_free(struct pool *p)
{
	for (int i = 0; i < p->seat_count; i++)
		loop_timer_free(p->seats[i].timer);
	mem_free(p->seats);
	mem_free(p);
}

static int
pool_add(struct stream *s, const struct type_settings *t, struct err *err)
{
	struct pool *p = mem_zero(sizeof(*p));

	if (p == NULL)
		return err_set(err, ERR_NOMEM, "type %s", t->type);
	p->stream = s;
	p->settings = t;
	TAILQ_INIT(&p->line);
	TAILQ_INIT(&p->kids);
	TAILQ_INSERT_TAIL(&s->pools, p, link);
	p->seats = mem_array((size_t)t->children, sizeof(*p->seats));
	if (p->seats == NULL)
		return err_set(err, ERR_NOMEM, "type %s", t->type);
	for (; p->seat_count < t->children; p->seat_count++) {
		struct seat *seat = &p->seats[p->seat_count];

		seat->pool = p;
		seat->timer = loop_timer_create(s->loop, on_restart, seat);
		if (seat->timer == NULL)
			return err_set(err, ERR_NOMEM, "type %s", t->type);
	}
	return 0;
}

struct stream *
stream_create(struct loop *l, struct launcher *launcher,
    const struct settings *settings, struct score_slot *slot, struct err *err)
{
	struct stream *s = mem_zero(sizeof(*s));
	const struct type_settings *t;

	if (s == NULL) {
		err_set(err, ERR_NOMEM, "stream handler");
		return NULL;
	}
	s->loop = l;
	s->launcher = launcher;
	s->settings = settings;
	s->slot = slot;
	TAILQ_INIT(&s->pools);
	strbuf_init(&s->scratch, SCRATCH_BYTES);
	s->done_defer = loop_defer_create(l, on_done, s);
	if (s->done_defer == NULL) {
		err_set(err, ERR_NOMEM, "stream handler");
		goto fail;
	}
	s->commands = commands_create(settings, err);
	if (s->commands == NULL)
		goto fail;
	TAILQ_FOREACH (t, &settings->types, link) {
		if (t->handler == HANDLER_STREAM && pool_add(s, t, err) != 0)
			goto fail;
	}
	return s;
fail:
	stream_free(s);
	return NULL;
}

void
stream_stop(struct stream *s)
{
	struct pool *p;
	struct kid *k;
	struct run *r;

	if (s == NULL)
		return;
	s->engine = NULL;
	s->draining = true;
	TAILQ_FOREACH (p, &s->pools, link) {
		while ((k = TAILQ_FIRST(&p->kids)) != NULL)
			kid_free(k);
		while ((r = TAILQ_FIRST(&p->line)) != NULL) {
			leave_line(r);
			run_free(r);
		}
	}
}

void
stream_free(struct stream *s)
{
	struct pool *p;

	if (s == NULL)
		return;
	while ((p = TAILQ_FIRST(&s->pools)) != NULL) {
		TAILQ_REMOVE(&s->pools, p, link);
		pool_free(p);
	}
	commands_free(s->commands);
	loop_defer_free(s->done_defer);
	strbuf_fini(&s->scratch);
	mem_free(s);
}

void
stream_start(struct stream *s, struct engine *e)
{
	struct pool *p;

	s->engine = e;
	owner_worker_text(engine_owner(e), s->worker);
	TAILQ_FOREACH (p, &s->pools, link) {
		for (int i = 0; i < p->seat_count; i++)
			fill_seat(&p->seats[i]);
	}
}

static void
on_done(void *arg)
{
	struct stream *s = arg;

	if (s->done != NULL && stream_is_drained(s))
		s->done(s->done_arg);
}

void
stream_drain(struct stream *s, void (*done)(void *arg), void *arg)
{
	struct pool *p;

	s->done = done;
	s->done_arg = arg;
	s->draining = true;
	TAILQ_FOREACH (p, &s->pools, link) {
		for (int i = 0; i < p->seat_count; i++)
			loop_timer_stop(p->seats[i].timer);
		pool_changed(p);
	}
	if (s->kids == 0)
		loop_defer_start(s->done_defer);
}

bool
stream_is_drained(const struct stream *s)
{
	return s->draining && s->kids == 0;
}
