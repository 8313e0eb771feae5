/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * http.c - tasks run by servers, the operator's and the applications'; see http.h, and
 * http_int.h for the parts.
 *
 * The line of a destination is short: http types are counted against places (types.c),
 * so that no more attempts of a type are here than may run.  What waits has cost
 * nothing but its place.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "config.h"
#include "handlers/http_int.h"
#include "handlers/outside.h"
#include "handlers/ownhosts.h"
#include "model/trace.h"

#define HEADERS_MOST	 40
#define ERROR_BODY_BYTES OUTSIDE_MESSAGE_MOST
#define IDLE_CONNECTIONS 128

static void run_lines(void *arg);

/* ---------------------------------------------------------------- life */

/* once there is something to send */
static int
open_client(struct http *h, struct err *err)
{
	const struct settings *s = h->settings;
	const struct guard_opts go = {
	    s->egress_allow_networks, s->egress_deny_networks, s->egress_ports};
	const struct fetch_opts fo = {
	    .resolver = h->resolver,
	    .ca_file = s->egress_ca_file,
	    .user_agent = "shoal/" PACKAGE_VERSION,
	    .connect_timeout_ms = s->egress_connect_timeout_ms,
	    .idle_timeout_ms = s->egress_idle_timeout_ms,
	    .idle_connections = IDLE_CONNECTIONS,
	};
	struct fetch_opts with_guard = fo;

	h->guard = guard_create(&go, err);
	if (h->guard == NULL || guard_add_interfaces(h->guard, err) != 0)
		goto fail;
	with_guard.guard = h->guard;
	h->own = ownhosts_create(h->loop, h->resolver, h->guard, s, err);
	if (h->own == NULL)
		goto fail;
	h->fetch = fetch_create(h->loop, &with_guard, err);
	if (h->fetch != NULL)
		return 0;
fail: /* the next request tries again */
	ownhosts_free(h->own);
	guard_free(h->guard);
	h->own = NULL;
	h->guard = NULL;
	return err_wrap(err, "egress");
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
	h->resolver = rv;
	settings_url(settings, h->url);
	TAILQ_INIT(&h->routes);
	TAILQ_INIT(&h->destinations);
	TAILQ_INIT(&h->running);
	TAILQ_INIT(&h->reading);
	h->lines = loop_defer_create(l, run_lines, h);
	if (h->lines == NULL) {
		err_set(err, ERR_NOMEM, "http handler");
		goto fail;
	}
	TAILQ_FOREACH (t, &settings->types, link) {
		if (t->handler == HANDLER_HTTP && route_add(h, t, err) != 0)
			goto fail;
	}
	if (!TAILQ_EMPTY(&h->routes) && open_client(h, err) != 0)
		goto fail;
	return h;
fail:
	http_free(h);
	return NULL;
}

/* its call is over, whatever the attempt's end */
static void
call_free(struct call *c)
{
	struct route *r = c->route;
	struct http *h = r->http;

	endpoint_let_go(c->endpoint);
	mem_free(c->id);
	mem_free(c->body);
	destination_put(h, c->destination);
	mem_free(c);
	route_put(r);
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
		call_free(c);
	}
	/* (the engine is gone, and with it what they wait for) */
	while ((c = TAILQ_FIRST(&h->reading)) != NULL) {
		TAILQ_REMOVE(&h->reading, c, link);
		call_free(c);
	}
	TAILQ_FOREACH (d, &h->destinations, link)
		d->users++; /* they stay for the loop below */
	while ((d = TAILQ_FIRST(&h->destinations)) != NULL) {
		while ((c = TAILQ_FIRST(&d->waiting)) != NULL) {
			TAILQ_REMOVE(&d->waiting, c, link);
			call_free(c);
		}
		TAILQ_REMOVE(&h->destinations, d, link);
		mem_free(d);
	}
	while (!TAILQ_EMPTY(&h->routes)) {
		TAILQ_FIRST(&h->routes)->destination = NULL;
		route_free(TAILQ_FIRST(&h->routes));
	}
	ownhosts_free(h->own);
	fetch_free(h->fetch);
	guard_free(h->guard);
	loop_defer_free(h->lines);
	mem_free(h);
}

void
http_set_endpoints(struct http *h, struct endpoints *es)
{
	h->endpoints = es;
}

/* ---------------------------------------------------------------- the breaker */

/* a delivery has no places that could be closed: it comes back when the pause is over
 */
static void
end_resting(struct attempt *a, const struct route *r, bool delivery)
{
	static const char text[] = "the endpoint failed too often and is left alone";
	int64_t pause_ms = r->breaker.until_ms - loop_now_ms(r->http->loop);

	if (delivery)
		attempt_failed(a, OUTCOME_RETRY, "endpoint_resting", text,
		    sizeof(text) - 1,
		    pause_ms > HTTP_RETRY_LEAST_MS ? pause_ms : HTTP_RETRY_LEAST_MS);
	else
		attempt_failed(a, OUTCOME_BACK, "given_back", "", 0, -1);
}

void
http_give_back(struct route *r)
{
	struct destination *d, *after;
	struct call *c, *next;

	r->calls++; /* it stays meanwhile */
	for (d = TAILQ_FIRST(&r->http->destinations); d != NULL; d = after) {
		d->users++;
		for (c = TAILQ_FIRST(&d->waiting); c != NULL; c = next) {
			struct attempt *a = c->attempt;
			bool delivery = c->delivery;

			next = TAILQ_NEXT(c, link);
			if (c->route != r)
				continue;
			TAILQ_REMOVE(&d->waiting, c, link);
			call_free(c);
			a->run = NULL;
			end_resting(a, r, delivery);
		}
		after = TAILQ_NEXT(d, link);
		destination_put(r->http, d);
	}
	r->calls--;
}

/* ---------------------------------------------------------------- the answer */

static void
on_answer(const struct fetch_answer *an, void *arg)
{
	struct call *c = arg;
	struct route *r = c->route;
	struct http *h = r->http;
	struct attempt *a = c->attempt;

	TAILQ_REMOVE(&h->running, c, link);
	c->destination->running--;
	if (c->probe)
		r->probing = false;
	a->run = NULL;
	http_judge(c, a, an);
	call_free(c);
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
sign(const struct call *c, const char *id, int64_t now_s, const char *body,
    size_t body_len, char signature[WHSIGN_SIZE], struct err *err)
{
	const struct whsecrets *secrets =
	    c->endpoint != NULL ? &c->endpoint->secrets : &c->route->secrets;

	signature[0] = '\0';
	if (secrets->count == 0)
		return 0;
	return whsign(secrets, id, now_s, body, body_len, signature, err);
}

/* what the endpoint needs to answer later; nothing without a key file */
static int
put_lease(struct call *c, struct strbuf *sb, size_t *at, size_t *count, struct err *err)
{
	const struct http *h = c->route->http;
	const struct attempt *a = c->attempt;
	const struct sealkeys *keys =
	    h->endpoints != NULL && !c->delivery ? endpoints_keys(h->endpoints) : NULL;
	const struct lease_attempt la = {
	    a->elem.app_id, a->elem.id, *attempt_owner(a), a->number, a->claim};
	char name[LEASE_TEXT_SIZE], token[LEASE_TOKEN_SIZE],
	    url[SETTINGS_URL_SIZE + LEASE_TEXT_SIZE + 16];

	if (keys == NULL)
		return 0;
	c->lease.task = a->elem.id;
	if (lease_of_attempt(keys, &la, &c->lease.lease) != 0 ||
	    lease_token(keys, a->elem.app_id, &c->lease, token) != 0)
		return err_set(err, ERR_NOMEM, "a lease");
	lease_format(&c->lease, name);
	snprintf(url, sizeof(url), "%s/v1/leases/%s", h->url, name);
	put(sb, at, count, "Shoal-Lease", name);
	put(sb, at, count, "Shoal-Lease-Url", url);
	put(sb, at, count, "Shoal-Lease-Token", token);
	return 0;
}

static int
make_headers(struct call *c, const char *body, size_t body_len, struct strbuf *sb,
    const char *headers[HEADERS_MOST], struct err *err)
{
	const struct attempt *a = c->attempt;
	char *const *more =
	    c->endpoint != NULL ? c->endpoint->headers : c->route->headers;
	char id[UUID_TEXT_SIZE], fence[FENCE_TEXT_SIZE], when[CLOCK_TEXT_SIZE],
	    signature[WHSIGN_SIZE], number[24], parent[TRACE_PARENT_SIZE];
	int64_t now_s = attempt_now_us(a) / 1000000;
	size_t at[HEADERS_MOST], count = 0, own;
	const char *message = c->id != NULL ? c->id : uuid_format(&a->elem.id, id);

	if (sign(c, message, now_s, body, body_len, signature, err) != 0)
		return -1;
	uuid_format(&a->elem.id, id);
	put(sb, at, &count, "Content-Type", "application/json");
	put(sb, at, &count, "Webhook-Id", message);
	snprintf(number, sizeof(number), "%lld", (long long)now_s);
	put(sb, at, &count, "Webhook-Timestamp", number);
	if (signature[0] != '\0')
		put(sb, at, &count, "Webhook-Signature", signature);
	put(sb, at, &count, "Shoal-Task-Id", id);
	put(sb, at, &count, "Shoal-Type", attempt_type_name(a));
	snprintf(number, sizeof(number), "%d", a->number);
	put(sb, at, &count, "Shoal-Attempt", number);
	put(sb, at, &count, "Shoal-Fence", attempt_fence(a, fence));
	put(sb, at, &count, "Shoal-Deadline",
	    clock_format(attempt_done_by_us(a, a->timeout_ms), when));
	if (put_lease(c, sb, at, &count, err) != 0)
		return -1;
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
	/* whoever stored them has counted them */
	for (size_t i = 0; more[i] != NULL && count < HEADERS_MOST - 1; i++)
		headers[count++] = more[i];
	headers[count] = NULL;
	return 0;
}

static int
send_request(struct call *c, struct err *err)
{
	struct http *h = c->route->http;
	struct attempt *a = c->attempt;
	const char *headers[HEADERS_MOST];
	size_t most = http_body_most(h, a, c->delivery);
	struct fetch_request rq = {
	    .url = c->endpoint != NULL ? &c->endpoint->url : &c->route->url,
	    .headers = headers,
	    .body = "null",
	    .body_len = 4,
	    .timeout_ms = a->timeout_ms,
	    .keep = {[KEPT_ASYNC] = "shoal-async", [KEPT_TTL] = "shoal-lease-ttl"},
	};
	struct strbuf sb;

	if (c->delivery) {
		rq.body = c->body;
		rq.body_len = c->body_len;
	} else if (a->payload != NULL) {
		rq.body = a->payload;
		rq.body_len = a->payload_len;
	}
	/* of a refusal more may be wanted */
	rq.max_response_bytes = most > ERROR_BODY_BYTES ? most : ERROR_BODY_BYTES;
	strbuf_init(&sb, 8192);
	if (make_headers(c, rq.body, rq.body_len, &sb, headers, err) == 0)
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

	TAILQ_REMOVE(&c->destination->waiting, c, link);
	if (send_request(c, &err) != 0) {
		call_free(c);
		a->run = NULL;
		http_fail(a, OUTCOME_RETRY, "start_failed", err.text);
		return;
	}
	TAILQ_INSERT_TAIL(&h->running, c, link);
	c->destination->running++;
	score_add(h->slot, SCORE_egress_requests_total, 1);
	if (r->breaker.state == BREAKER_HALF_OPEN) {
		c->probe = true;
		r->probing = true;
	}
}

static void
run_line(struct http *h, struct destination *d)
{
	struct call *c, *next;

	d->users++; /* it stays meanwhile */
	for (c = TAILQ_FIRST(&d->waiting); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		if (d->running >= h->settings->egress_per_destination)
			break;
		if (route_is_open(c->route))
			start_call(c);
	}
	destination_put(h, d);
}

static void
run_lines(void *arg)
{
	struct http *h = arg;
	struct destination *d, *next;

	for (d = TAILQ_FIRST(&h->destinations); d != NULL; d = next) {
		d->users++; /* it is still in the list when its line was run */
		run_line(h, d);
		next = TAILQ_NEXT(d, link);
		destination_put(h, d);
	}
}

/* ---------------------------------------------------------------- an attempt */

static void
stand_in_line(struct call *c, struct destination *d)
{
	c->destination = d; /* a user more */
	TAILQ_INSERT_TAIL(&d->waiting, c, link);
	run_line(c->route->http, d);
}

/* the end of a call that was never sent */
static void
drop(struct call *c, enum attempt_outcome outcome, const char *code, const char *text)
{
	struct attempt *a = c->attempt;

	call_free(c);
	a->run = NULL;
	http_fail(a, outcome, code, text);
}

/* the least of what the task, its type and the endpoint say */
static void
bound_timeout(struct attempt *a, int64_t its_ms, int64_t endpoint_ms)
{
	int64_t most_ms = its_ms > 0 ? its_ms : HTTP_TIMEOUT_MS;

	if (endpoint_ms > 0 && (its_ms <= 0 || endpoint_ms < its_ms))
		most_ms = endpoint_ms;
	if (a->timeout_ms <= 0 || a->timeout_ms > most_ms)
		a->timeout_ms = most_ms; /* a task may ask for less */
}

/* c is in no list */
static void
go_to(struct call *c, const struct endpoint *ep)
{
	struct http *h = c->route->http;
	struct attempt *a = c->attempt;
	struct err err = ERR_INIT;
	struct destination *d;

	if (ep->disabled) {
		/* of a task: claimed just before; it stays queued from now on */
		drop(c, c->delivery ? OUTCOME_FAILED : OUTCOME_BACK,
		    "endpoint_disabled", "the endpoint is disabled");
		return;
	}
	c->endpoint = endpoint_hold(ep);
	if (!c->delivery)
		bound_timeout(a, attempt_settings(a)->timeout_ms, ep->timeout_ms);
	else
		bound_timeout(a, a->timeout_ms, ep->timeout_ms);
	if (h->fetch == NULL && open_client(h, &err) != 0) {
		drop(c, OUTCOME_RETRY, "start_failed", err.text);
		return;
	}
	d = destination_take(h, &ep->url);
	if (d == NULL)
		drop(c, OUTCOME_RETRY, "start_failed", "no memory");
	else
		stand_in_line(c, d);
}

static void
on_endpoint(const struct endpoint *ep, const struct err *err, void *arg)
{
	struct call *c = arg;
	struct route *r = c->route;

	TAILQ_REMOVE(&r->http->reading, c, link);
	c->wait = NULL;
	if (ep != NULL) {
		go_to(c, ep);
	} else if (err == NULL) {
		drop(c, c->delivery ? OUTCOME_FAILED : OUTCOME_BACK, "endpoint_gone",
		    "the application has no such endpoint any more");
	} else {
		/* the database, or a key that is missing: not the task's doing */
		r->calls++;
		drop(c, c->delivery ? OUTCOME_RETRY : OUTCOME_BACK,
		    "endpoint_unreadable", "the endpoint cannot be read at the moment");
		route_trip(r, HTTP_UNREAD_PAUSE_MS);
		route_put(r);
	}
}

/* version: what a copy must be as new as */
static int
find_endpoint(struct call *c, int64_t version, struct err *err)
{
	struct http *h = c->route->http;
	const struct endpoint *ep =
	    endpoints_known(h->endpoints, c->route->app_id, c->route->name, version);

	if (ep != NULL) {
		go_to(c, ep);
		return 0;
	}
	c->wait = endpoints_get(
	    h->endpoints, c->route->app_id, c->route->name, on_endpoint, c, err);
	if (c->wait == NULL)
		return -1;
	TAILQ_INSERT_TAIL(&h->reading, c, link);
	return 0;
}

static struct call *
call_create(struct route *r, struct attempt *a, struct err *err)
{
	struct call *c = mem_zero(sizeof(*c));

	if (c == NULL) {
		err_set(err, ERR_NOMEM, "a request");
		return NULL;
	}
	c->route = r;
	c->attempt = a;
	a->run = c;
	return c;
}

static int
start(void *self, struct attempt *a, struct err *err)
{
	struct http *h = self;
	int64_t version = 0;
	const char *endpoint = attempt_endpoint(a, &version);
	struct route *r;
	struct call *c;

	r = endpoint != NULL ? route_take(h, a->elem.app_id, endpoint)
			     : route_of_type(h, attempt_settings(a));
	if (r == NULL)
		return err_set(
		    err, endpoint != NULL ? ERR_NOMEM : ERR_BUG, "a type's endpoint");
	r->dispatch = a->dispatch;
	r->type = a->type;
	if (r->breaker.state == BREAKER_OPEN) {
		/* it was on its way when the type's places were closed */
		route_put(r);
		attempt_failed(a, OUTCOME_BACK, "given_back", "", 0, -1);
		return 0;
	}
	c = call_create(r, a, err);
	if (c == NULL) {
		route_put(r);
		return -1;
	}
	if (endpoint != NULL) {
		if (find_endpoint(c, version, err) == 0)
			return 0;
		a->run = NULL;
		call_free(c);
		return -1;
	}
	bound_timeout(a, r->settings->timeout_ms, 0);
	r->destination->users++;
	stand_in_line(c, r->destination);
	return 0;
}

int
http_deliver(
    struct http *h, struct attempt *a, struct http_delivery *d, struct err *err)
{
	struct route *r = route_take(h, a->elem.app_id, d->endpoint);
	struct call *c = NULL;

	if (r == NULL || (c = call_create(r, a, err)) == NULL) {
		err_set(err, ERR_NOMEM, "a request");
		goto fail;
	}
	c->delivery = true;
	c->body = d->body;
	c->body_len = d->body_len;
	d->body = NULL;
	if (d->id != NULL && (c->id = mem_strdup(d->id)) == NULL) {
		err_set(err, ERR_NOMEM, "a request");
		goto fail;
	}
	a->timeout_ms = d->timeout_ms;
	if (r->breaker.state == BREAKER_OPEN) {
		r->calls++;
		call_free(c);
		a->run = NULL;
		end_resting(a, r, true);
		route_put(r);
		return 0;
	}
	if (find_endpoint(c, 0, err) == 0)
		return 0;
fail:
	mem_free(d->body);
	d->body = NULL;
	if (c != NULL)
		call_free(c);
	else if (r != NULL)
		route_put(r);
	a->run = NULL;
	return -1;
}

void
http_cancel(struct http *h, struct attempt *a)
{
	struct call *c = a->run;

	if (c == NULL)
		return;
	a->run = NULL;
	if (c->wait != NULL) {
		TAILQ_REMOVE(&h->reading, c, link);
		endpoints_cancel(c->wait);
	} else if (c->run != NULL) {
		TAILQ_REMOVE(&h->running, c, link);
		fetch_cancel(c->run);
		c->destination->running--;
		if (c->probe)
			c->route->probing = false;
	} else {
		TAILQ_REMOVE(&c->destination->waiting, c, link);
	}
	call_free(c);
	http_fail(
	    a, OUTCOME_RETRY, "cancelled", "the request was ended before its answer");
	/* later: when a worker leaves, those that wait are cancelled in this turn too
	 */
	loop_defer_start(h->lines);
}

static void
cancel(void *self, struct attempt *a)
{
	http_cancel(self, a);
}

static const struct handler_ops ops = {
    .name = "http", .start = start, .cancel = cancel};

struct handler
http_handler(struct http *h)
{
	return (struct handler){&ops, h};
}
