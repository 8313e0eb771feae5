/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * http.c - tasks run by servers that the operator listed; see http.h.
 *
 *     route          a type: its URL, secrets, headers and breaker
 *     destination    a server, shared by the routes that lead there: how many requests
 *                    are under way, and the line of those that wait for a turn
 *     call           one attempt, waiting in that line or under way
 *
 * The line is short: http types are counted against places (types.c), so that no more
 * attempts of a type are here than may run.  What waits has cost nothing but its place.
 *
 * What a tenant is told of an endpoint that was not reached is one sentence, whether
 * its name is unknown, its address is forbidden or nobody listens there: the answer
 * must not be a map of the network that this node stands in.  The log has the reason.
 */
#include "handlers/http.h"

#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "base/whsign.h"
#include "config.h"
#include "handlers/breaker.h"
#include "handlers/outside.h"
#include "handlers/ownhosts.h"
#include "http/fetch.h"
#include "http/guard.h"
#include "http/weburl.h"
#include "model/trace.h"
#include "proc/child.h"

#define GONE_MS		 (10LL * 60 * 1000)
#define RETRY_LEAST_MS	 1000LL
#define RETRY_MOST_MS	 (86400LL * 1000)
#define HEADERS_MOST	 32
#define ERROR_BODY_BYTES OUTSIDE_MESSAGE_MOST
#define IDLE_CONNECTIONS 128

TAILQ_HEAD(calls, call);

struct destination {
	TAILQ_ENTRY(destination) link;
	char key[280]; /* scheme://host:port */
	int running;
	struct calls waiting;
};

struct route {
	TAILQ_ENTRY(route) link;
	struct http *http;
	const struct type_settings *settings;
	struct weburl url;
	struct whsecrets secrets;
	char **headers;
	struct destination *destination;
	struct breaker breaker;
	struct loop_timer *timer; /* the end of the breaker's pause */
	bool probing;		  /* the one request of a half open breaker is out */
	/* of the first attempt; NULL before */
	struct dispatch *dispatch;
	struct type_entry *type;
};

struct call {
	TAILQ_ENTRY(call) link; /* of the destination's line, or of those under way */
	struct route *route;
	struct attempt *attempt;
	struct fetch_run *run; /* NULL: waits */
	bool probe;
};

struct http {
	struct loop *loop;
	const struct settings *settings;
	struct score_slot *slot;
	struct guard *guard;
	struct fetch *fetch;
	struct ownhosts *own;
	TAILQ_HEAD(, route) routes;
	TAILQ_HEAD(, destination) destinations;
	struct calls running;
	struct loop_defer *lines; /* somebody's turn may have come */
};

static void run_lines(void *arg);
static void on_pause_over(void *arg);

/* ---------------------------------------------------------------- life */

static struct destination *
destination_of(struct http *h, const struct weburl *url)
{
	struct destination *d;
	char key[sizeof(d->key)];

	snprintf(key, sizeof(key), "%s://%s:%u", url->tls ? "https" : "http", url->host,
	    url->port);
	TAILQ_FOREACH (d, &h->destinations, link) {
		if (str_eq(d->key, key))
			return d;
	}
	d = mem_zero(sizeof(*d));
	if (d == NULL)
		return NULL;
	memcpy(d->key, key, sizeof(key));
	TAILQ_INIT(&d->waiting);
	TAILQ_INSERT_TAIL(&h->destinations, d, link);
	return d;
}

static int
add_route(struct http *h, const struct type_settings *t, struct err *err)
{
	struct route *r = mem_zero(sizeof(*r));

	if (r == NULL)
		return err_set(err, ERR_NOMEM, "a type's endpoint");
	TAILQ_INSERT_TAIL(&h->routes, r, link);
	r->http = h;
	r->settings = t;
	r->breaker.faults = h->settings->egress_breaker_faults;
	r->breaker.pause_ms = h->settings->egress_breaker_pause_ms;
	/* settings_check has passed all three */
	if (weburl_parse(t->url, &r->url, err) != 0 ||
	    whsecrets_parse(t->secret, &r->secrets, err) != 0 ||
	    argv_split(t->headers, &r->headers, err) != 0)
		return err_wrap(err, "type:%s", t->type);
	r->destination = destination_of(h, &r->url);
	r->timer = loop_timer_create(h->loop, on_pause_over, r);
	if (r->destination == NULL || r->timer == NULL)
		return err_set(err, ERR_NOMEM, "a type's endpoint");
	return 0;
}

static int
open_client(struct http *h, struct resolver *rv, struct err *err)
{
	const struct settings *s = h->settings;
	const struct guard_opts go = {
	    s->egress_allow_networks, s->egress_deny_networks, s->egress_ports};
	const struct fetch_opts fo = {
	    .resolver = rv,
	    .ca_file = s->egress_ca_file,
	    .user_agent = "shoal/" PACKAGE_VERSION,
	    .connect_timeout_ms = s->egress_connect_timeout_ms,
	    .idle_timeout_ms = s->egress_idle_timeout_ms,
	    .idle_connections = IDLE_CONNECTIONS,
	};
	struct fetch_opts with_guard = fo;

	h->guard = guard_create(&go, err);
	if (h->guard == NULL || guard_add_interfaces(h->guard, err) != 0)
		return err_wrap(err, "egress");
	with_guard.guard = h->guard;
	h->fetch = fetch_create(h->loop, &with_guard, err);
	if (h->fetch == NULL)
		return err_wrap(err, "egress");
	h->own = ownhosts_create(h->loop, rv, h->guard, s, err);
	return h->own != NULL ? 0 : -1;
}

struct http *
http_create(struct loop *l, struct resolver *rv, const struct settings *settings,
    struct score_slot *slot, struct err *err)
{
	struct http *h = mem_zero(sizeof(*h));
	const struct type_settings *t;

	if (h == NULL) {
		err_set(err, ERR_NOMEM, "http handler");
		return NULL;
	}
	h->loop = l;
	h->settings = settings;
	h->slot = slot;
	TAILQ_INIT(&h->routes);
	TAILQ_INIT(&h->destinations);
	TAILQ_INIT(&h->running);
	h->lines = loop_defer_create(l, run_lines, h);
	if (h->lines == NULL) {
		err_set(err, ERR_NOMEM, "http handler");
		goto fail;
	}
	TAILQ_FOREACH (t, &settings->types, link) {
		if (t->handler == HANDLER_HTTP && add_route(h, t, err) != 0)
			goto fail;
	}
	if (!TAILQ_EMPTY(&h->routes) && open_client(h, rv, err) != 0)
		goto fail;
	return h;
fail:
	http_free(h);
	return NULL;
}

static void
route_free(struct route *r)
{
	TAILQ_REMOVE(&r->http->routes, r, link);
	loop_timer_free(r->timer);
	whsecrets_fini(&r->secrets);
	mem_free(r->headers);
	mem_free(r);
}

void
http_free(struct http *h)
{
	struct destination *d;
	struct call *c;

	if (h == NULL)
		return;
	while ((c = TAILQ_FIRST(&h->running)) != NULL) {
		TAILQ_REMOVE(&h->running, c, link);
		fetch_cancel(c->run);
		mem_free(c);
	}
	while (!TAILQ_EMPTY(&h->routes))
		route_free(TAILQ_FIRST(&h->routes));
	while ((d = TAILQ_FIRST(&h->destinations)) != NULL) {
		while ((c = TAILQ_FIRST(&d->waiting)) != NULL) {
			TAILQ_REMOVE(&d->waiting, c, link);
			mem_free(c);
		}
		TAILQ_REMOVE(&h->destinations, d, link);
		mem_free(d);
	}
	ownhosts_free(h->own);
	fetch_free(h->fetch);
	guard_free(h->guard);
	loop_defer_free(h->lines);
	mem_free(h);
}

/* ---------------------------------------------------------------- the breaker */

static void
count_open(struct http *h)
{
	struct route *r;
	uint64_t n = 0;

	TAILQ_FOREACH (r, &h->routes, link)
		n += r->breaker.state != BREAKER_CLOSED;
	score_set(h->slot, SCORE_egress_breakers_open, n);
}

/* what waits for an endpoint that is left alone: others may have more luck with it */
static void
give_back_waiting(struct route *r)
{
	struct calls *line = &r->destination->waiting;
	struct call *c, *next;

	for (c = TAILQ_FIRST(line); c != NULL; c = next) {
		struct attempt *a = c->attempt;

		next = TAILQ_NEXT(c, link);
		if (c->route != r)
			continue;
		TAILQ_REMOVE(line, c, link);
		mem_free(c);
		a->run = NULL;
		attempt_failed(a, OUTCOME_BACK, "given_back", "", 0, -1);
	}
}

/* the breaker's state has changed: so have the type's places */
static void
state_changed(struct route *r)
{
	int64_t now_ms = loop_now_ms(r->http->loop);
	enum breaker_state state = r->breaker.state;

	r->probing = false;
	loop_timer_stop(r->timer);
	if (state == BREAKER_OPEN) {
		loop_timer_start_ms(r->timer, r->breaker.until_ms - now_ms);
		log_warn(NULL, "an endpoint is left alone", "type=%s pause_ms=%lld",
		    r->settings->type, (long long)(r->breaker.until_ms - now_ms));
		give_back_waiting(r);
	} else {
		log_info(NULL, "an endpoint's breaker has changed",
		    "type=%s state=\"%s\"", r->settings->type,
		    breaker_state_name(state));
	}
	count_open(r->http);
	handler_restrain(r->dispatch, r->type,
	    state == BREAKER_CLOSED ? -1
	    : state == BREAKER_OPEN ? 0
				    : 1);
}

static void
on_pause_over(void *arg)
{
	struct route *r = arg;

	breaker_state(&r->breaker, r->breaker.until_ms);
	state_changed(r);
}

static void
note_worked(struct route *r)
{
	if (breaker_worked(&r->breaker))
		state_changed(r);
}

static void
note_fault(struct route *r)
{
	if (breaker_fault(&r->breaker, loop_now_ms(r->http->loop)))
		state_changed(r);
}

static void
note_gone(struct route *r)
{
	log_error(NULL, "an endpoint says that it is gone for good",
	    "type=%s url=\"%s\"", r->settings->type, r->url.text);
	if (breaker_trip(&r->breaker, loop_now_ms(r->http->loop), GONE_MS))
		state_changed(r);
}

/* ---------------------------------------------------------------- the answer */

int64_t
http_retry_after_ms(const char *value, int64_t now_us)
{
	int64_t ms, seconds;
	time_t at;

	if (value[0] == '\0')
		return -1;
	if (str_to_i64(value, &seconds) == 0) {
		if (seconds < 0)
			return -1;
		ms = seconds > RETRY_MOST_MS / 1000 ? RETRY_MOST_MS : seconds * 1000;
	} else {
		/* a number that is none ("1.5") is no date to libcurl either */
		at = curl_getdate(value, NULL);
		if (at == -1 || strchr(value, ':') == NULL)
			return -1;
		ms = (int64_t)at * 1000 - now_us / 1000;
	}
	if (ms > RETRY_MOST_MS)
		ms = RETRY_MOST_MS;
	return ms < RETRY_LEAST_MS ? RETRY_LEAST_MS : ms;
}

static void
fail(
    struct attempt *a, enum attempt_outcome outcome, const char *code, const char *text)
{
	attempt_failed(a, outcome, code, text, strlen(text), -1);
}

static void
judge_fault(struct http *h, struct attempt *a, const struct fetch_answer *an)
{
	static const struct {
		const char *code, *message;
	} rows[] = {
	    [FETCH_BLOCKED] = {"connect_failed", "the endpoint cannot be reached"},
	    [FETCH_UNREACHABLE] = {"connect_failed", "the endpoint cannot be reached"},
	    [FETCH_TLS] = {"tls_failed",
		"the endpoint has no certificate that can be trusted, or no TLS"},
	    [FETCH_TIMEOUT] = {"timeout", "the endpoint did not answer in time"},
	    [FETCH_BROKEN] = {"broken_answer",
		"the connection ended, or what came was no whole HTTP answer"},
	    [FETCH_FAILED] = {"start_failed", "the request could not be made"},
	};
	char id[UUID_TEXT_SIZE];
	struct log_ctx ctx = {"task", uuid_format(&a->elem.id, id)};

	score_add(h->slot, SCORE_egress_faults_total, 1);
	if (an->fault == FETCH_BLOCKED) {
		score_add(h->slot, SCORE_egress_blocked_total, 1);
		log_warn(&ctx,
		    "a request was blocked: it would leave what egress allows",
		    "type=%s reason=\"%s\"", attempt_type_name(a), an->detail);
	} else {
		log_info(&ctx, "a request had no answer",
		    "type=%s code=%s reason=\"%s\"", attempt_type_name(a),
		    rows[an->fault].code, an->detail);
	}
	fail(a, OUTCOME_RETRY, rows[an->fault].code, rows[an->fault].message);
}

/* bytes of an answer that may become a result */
static size_t
body_most(const struct http *h, const struct type_settings *t)
{
	int64_t most = h->settings->tasks_max_result_bytes;

	return (size_t)(t->max_output_bytes < most ? t->max_output_bytes : most);
}

static void
judge_success(struct http *h, struct attempt *a, const struct fetch_answer *an)
{
	size_t most = (size_t)h->settings->tasks_max_result_bytes, len;
	struct err err = ERR_INIT;
	char *json;

	score_add(h->slot, SCORE_egress_succeeded_total, 1);
	if (an->cut || an->body_len > body_most(h, attempt_settings(a)))
		fail(a, OUTCOME_FAILED, "result_too_large",
		    "the answer is larger than the type's max_output or "
		    "tasks.max_result");
	else if (outside_result(an->body, an->body_len, most, &json, &len, &err) == 0)
		attempt_succeeded(a, json, len);
	else if (err.code == ERR_LIMIT)
		fail(a, OUTCOME_FAILED, "result_too_large",
		    "the result is larger than tasks.max_result");
	else
		fail(a, OUTCOME_RETRY, "no_memory", err.text);
}

static void
judge_refusal(struct http *h, struct attempt *a, const struct fetch_answer *an)
{
	bool again = an->status == 408 || an->status == 425 || an->status == 429 ||
		     an->status >= 500;
	char message[OUTSIDE_MESSAGE_MOST], code[24];
	size_t len;

	score_add(h->slot, SCORE_egress_refused_total, 1);
	snprintf(code, sizeof(code), "http_%d", an->status);
	len = outside_message(an->body, an->body_len, message);
	if (len == 0)
		len = (size_t)snprintf(message, sizeof(message),
		    "the endpoint answered with status %d", an->status);
	attempt_failed(a, again ? OUTCOME_RETRY : OUTCOME_FAILED, code, message, len,
	    again ? http_retry_after_ms(an->retry_after, attempt_now_us(a)) : -1);
}

static void
on_answer(const struct fetch_answer *an, void *arg)
{
	struct call *c = arg;
	struct route *r = c->route;
	struct http *h = r->http;
	struct attempt *a = c->attempt;

	TAILQ_REMOVE(&h->running, c, link);
	r->destination->running--;
	if (c->probe)
		r->probing = false;
	mem_free(c);
	a->run = NULL;
	if (an->fault != FETCH_ANSWERED) {
		judge_fault(h, a, an);
		if (an->fault != FETCH_FAILED)
			note_fault(r);
	} else if (an->status >= 200 && an->status < 300) {
		judge_success(h, a, an);
		note_worked(r);
	} else {
		judge_refusal(h, a, an);
		if (an->status == 410)
			note_gone(r);
		else if (an->status >= 500)
			note_fault(r);
		else
			note_worked(r);
	}
	loop_defer_start(h->lines);
}

/* ---------------------------------------------------------------- the request */

static void
put(struct strbuf *sb, size_t *at, size_t *count, const char *name, const char *value)
{
	at[(*count)++] = sb->len;
	strbuf_printf(sb, "%s: %s", name, value);
	strbuf_put(sb, "", 1);
}

static int
make_headers(struct route *r, struct attempt *a, struct strbuf *sb,
    const char *headers[HEADERS_MOST], struct err *err)
{
	char id[UUID_TEXT_SIZE], fence[FENCE_TEXT_SIZE], when[CLOCK_TEXT_SIZE],
	    signature[WHSIGN_SIZE], number[24], parent[TRACE_PARENT_SIZE];
	int64_t now_s = attempt_now_us(a) / 1000000;
	const char *body = a->payload != NULL ? a->payload : "null";
	size_t body_len = a->payload != NULL ? a->payload_len : 4;
	size_t at[HEADERS_MOST], count = 0, own;

	uuid_format(&a->elem.id, id);
	put(sb, at, &count, "Content-Type", "application/json");
	put(sb, at, &count, "Webhook-Id", id);
	snprintf(number, sizeof(number), "%lld", (long long)now_s);
	put(sb, at, &count, "Webhook-Timestamp", number);
	if (r->secrets.count > 0) {
		if (whsign(&r->secrets, id, now_s, body, body_len, signature, err) != 0)
			return -1;
		put(sb, at, &count, "Webhook-Signature", signature);
	}
	put(sb, at, &count, "Shoal-Task-Id", id);
	put(sb, at, &count, "Shoal-Type", attempt_type_name(a));
	snprintf(number, sizeof(number), "%d", a->number);
	put(sb, at, &count, "Shoal-Attempt", number);
	put(sb, at, &count, "Shoal-Fence", attempt_fence(a, fence));
	put(sb, at, &count, "Shoal-Deadline",
	    clock_format(attempt_done_by_us(a, a->timeout_ms), when));
	if (a->trace != NULL) {
		put(sb, at, &count, "traceparent",
		    trace_parent(a->trace, &a->elem.id, a->number, parent));
		if (trace_state(a->trace) != NULL)
			put(sb, at, &count, "tracestate", trace_state(a->trace));
	}
	if (strbuf_failed(sb))
		return err_set(err, ERR_NOMEM, "headers");
	own = count;
	for (size_t i = 0; i < own; i++)
		headers[i] = sb->data + at[i];
	/* settings_check has counted them */
	for (size_t i = 0; r->headers[i] != NULL && count < HEADERS_MOST - 1; i++)
		headers[count++] = r->headers[i];
	headers[count] = NULL;
	return 0;
}

static int
send_request(struct call *c, struct err *err)
{
	struct route *r = c->route;
	struct http *h = r->http;
	struct attempt *a = c->attempt;
	const char *headers[HEADERS_MOST];
	size_t most = body_most(h, r->settings);
	struct fetch_request rq = {
	    .url = &r->url,
	    .headers = headers,
	    .body = a->payload != NULL ? a->payload : "null",
	    .body_len = a->payload != NULL ? a->payload_len : 4,
	    .timeout_ms = a->timeout_ms,
	};
	struct strbuf sb;

	/* of a refusal more may be wanted */
	rq.max_response_bytes = most > ERROR_BODY_BYTES ? most : ERROR_BODY_BYTES;
	strbuf_init(&sb, 8192);
	if (make_headers(r, a, &sb, headers, err) == 0)
		c->run = fetch_start(h->fetch, &rq, on_answer, c, err);
	strbuf_fini(&sb);
	return c->run != NULL ? 0 : -1;
}

/* its turn has come */
static void
start_call(struct call *c)
{
	struct route *r = c->route;
	struct http *h = r->http;
	struct attempt *a = c->attempt;
	struct err err = ERR_INIT;

	TAILQ_REMOVE(&r->destination->waiting, c, link);
	if (send_request(c, &err) != 0) {
		mem_free(c);
		a->run = NULL;
		fail(a, OUTCOME_RETRY, "start_failed", err.text);
		return;
	}
	TAILQ_INSERT_TAIL(&h->running, c, link);
	r->destination->running++;
	score_add(h->slot, SCORE_egress_requests_total, 1);
	if (r->breaker.state == BREAKER_HALF_OPEN) {
		c->probe = true;
		r->probing = true;
	}
}

static bool
may_go(const struct route *r)
{
	return r->breaker.state == BREAKER_CLOSED ||
	       (r->breaker.state == BREAKER_HALF_OPEN && !r->probing);
}

static void
run_line(struct http *h, struct destination *d)
{
	struct call *c, *next;

	for (c = TAILQ_FIRST(&d->waiting); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		if (d->running >= h->settings->egress_per_destination)
			return;
		if (may_go(c->route))
			start_call(c);
	}
}

static void
run_lines(void *arg)
{
	struct http *h = arg;
	struct destination *d;

	TAILQ_FOREACH (d, &h->destinations, link)
		run_line(h, d);
}

static struct route *
route_of(struct http *h, const struct attempt *a)
{
	const struct type_settings *t = attempt_settings(a);
	struct route *r;

	TAILQ_FOREACH (r, &h->routes, link) {
		if (r->settings == t)
			break;
	}
	return r;
}

static int
start(void *self, struct attempt *a, struct err *err)
{
	struct http *h = self;
	struct route *r = route_of(h, a);
	struct call *c;

	if (r == NULL)
		return err_set(err, ERR_BUG, "a type without an endpoint");
	r->dispatch = a->dispatch;
	r->type = a->type;
	if (r->breaker.state == BREAKER_OPEN) {
		/* it was on its way when the type's places were closed */
		attempt_failed(a, OUTCOME_BACK, "given_back", "", 0, -1);
		return 0;
	}
	c = mem_zero(sizeof(*c));
	if (c == NULL)
		return err_set(err, ERR_NOMEM, "a request");
	if (a->timeout_ms <= 0 || a->timeout_ms > r->settings->timeout_ms)
		a->timeout_ms = r->settings->timeout_ms; /* a task may ask for less */
	c->route = r;
	c->attempt = a;
	a->run = c;
	TAILQ_INSERT_TAIL(&r->destination->waiting, c, link);
	run_line(h, r->destination);
	return 0;
}

static void
cancel(void *self, struct attempt *a)
{
	struct http *h = self;
	struct call *c = a->run;
	struct route *r;

	if (c == NULL)
		return;
	r = c->route;
	a->run = NULL;
	if (c->run != NULL) {
		TAILQ_REMOVE(&h->running, c, link);
		fetch_cancel(c->run);
		r->destination->running--;
		if (c->probe)
			r->probing = false;
	} else {
		TAILQ_REMOVE(&r->destination->waiting, c, link);
	}
	mem_free(c);
	fail(a, OUTCOME_RETRY, "cancelled", "the request was ended before its answer");
	/* later: when a worker leaves, those that wait are cancelled in this turn too
	 */
	loop_defer_start(h->lines);
}

static const struct handler_ops ops = {
    .name = "http", .start = start, .cancel = cancel};

struct handler
http_handler(struct http *h)
{
	return (struct handler){&ops, h};
}
