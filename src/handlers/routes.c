/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * routes.c - where requests go, and when an endpoint is left alone; see http_int.h.
 *
 * The operator's routes stay.  An application's comes with its first call and goes with
 * its last one, unless its breaker has something to remember; of those at most
 * ROUTES_MOST.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "handlers/http_int.h"
#include "proc/child.h"

#define ROUTES_MOST 2000

static void on_pause_over(void *arg);

/* ---------------------------------------------------------------- destinations */

struct destination *
destination_take(struct http *h, const struct weburl *url)
{
	struct destination *d;
	char key[sizeof(d->key)];

	snprintf(key, sizeof(key), "%s://%s:%u", url->tls ? "https" : "http", url->host,
	    url->port);
	TAILQ_FOREACH (d, &h->destinations, link) {
		if (str_eq(d->key, key)) {
			d->users++;
			return d;
		}
	}
	d = mem_zero(sizeof(*d));
	if (d == NULL)
		return NULL;
	memcpy(d->key, key, sizeof(key));
	d->users = 1;
	TAILQ_INIT(&d->waiting);
	TAILQ_INSERT_TAIL(&h->destinations, d, link);
	return d;
}

void
destination_put(struct http *h, struct destination *d)
{
	if (d == NULL || --d->users > 0)
		return;
	TAILQ_REMOVE(&h->destinations, d, link);
	mem_free(d);
}

/* ---------------------------------------------------------------- routes */

static struct route *
route_create(struct http *h)
{
	struct route *r = mem_zero(sizeof(*r));

	if (r == NULL)
		return NULL;
	r->http = h;
	r->breaker.faults = h->settings->egress_breaker_faults;
	r->breaker.pause_ms = h->settings->egress_breaker_pause_ms;
	r->timer = loop_timer_create(h->loop, on_pause_over, r);
	if (r->timer == NULL) {
		mem_free(r);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&h->routes, r, link);
	return r;
}

int
route_add(struct http *h, const struct type_settings *t, struct err *err)
{
	struct route *r = route_create(h);

	if (r == NULL)
		return err_set(err, ERR_NOMEM, "a type's endpoint");
	r->settings = t;
	/* settings_check has passed all three */
	if (weburl_parse(t->url, &r->url, err) != 0 ||
	    whsecrets_parse(t->secret, &r->secrets, err) != 0 ||
	    argv_split(t->headers, &r->headers, err) != 0)
		return err_wrap(err, "type:%s", t->type);
	r->destination = destination_take(h, &r->url);
	if (r->destination == NULL)
		return err_set(err, ERR_NOMEM, "a type's endpoint");
	return 0;
}

struct route *
route_of_type(struct http *h, const struct type_settings *t)
{
	struct route *r;

	TAILQ_FOREACH (r, &h->routes, link) {
		if (r->settings == t)
			break;
	}
	return r;
}

void
route_free(struct route *r)
{
	TAILQ_REMOVE(&r->http->routes, r, link);
	destination_put(r->http, r->destination);
	loop_timer_free(r->timer);
	whsecrets_fini(&r->secrets);
	mem_free(r->headers);
	mem_free(r);
}

/* nothing of it is lost if it is made anew */
static bool
is_blank(const struct route *r)
{
	return r->settings == NULL && r->calls == 0 &&
	       r->breaker.state == BREAKER_CLOSED && r->breaker.in_a_row == 0;
}

/* what failed and was not used since is forgotten, the oldest first */
static void
make_room(struct http *h)
{
	struct route *r, *next;
	size_t count = 0;

	TAILQ_FOREACH (r, &h->routes, link)
		count += r->settings == NULL;
	for (r = TAILQ_FIRST(&h->routes); r != NULL && count >= ROUTES_MOST; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->settings != NULL || r->calls > 0)
			continue;
		if (r->type != NULL)
			handler_restrain(r->dispatch, r->type, -1);
		route_free(r);
		count--;
	}
}

struct route *
route_take(struct http *h, int app_id, const char *name)
{
	struct route *r;

	TAILQ_FOREACH (r, &h->routes, link) {
		if (r->settings == NULL && r->app_id == app_id && str_eq(r->name, name))
			break;
	}
	if (r == NULL) {
		make_room(h);
		r = route_create(h);
		if (r == NULL)
			return NULL;
		r->app_id = app_id;
		str_copy(r->name, sizeof(r->name), name);
	}
	r->calls++;
	return r;
}

void
route_put(struct route *r)
{
	if (r->settings != NULL)
		return;
	r->calls--;
	if (is_blank(r))
		route_free(r);
}

bool
route_is_open(const struct route *r)
{
	return r->breaker.state == BREAKER_CLOSED ||
	       (r->breaker.state == BREAKER_HALF_OPEN && !r->probing);
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

static const char *
name_of(const struct route *r, char *buf, size_t size)
{
	if (r->settings != NULL)
		snprintf(buf, size, "type=%s", r->settings->type);
	else
		snprintf(buf, size, "application=%d endpoint=%s", r->app_id, r->name);
	return buf;
}

/* the breaker's state has changed: so have the places of what runs there */
static void
state_changed(struct route *r)
{
	int64_t now_ms = loop_now_ms(r->http->loop);
	enum breaker_state state = r->breaker.state;
	char name[NAME_MAX_BYTES + 64];

	r->probing = false;
	loop_timer_stop(r->timer);
	name_of(r, name, sizeof(name));
	if (state == BREAKER_OPEN) {
		loop_timer_start_ms(r->timer, r->breaker.until_ms - now_ms);
		log_warn(NULL, "an endpoint is left alone", "%s pause_ms=%lld", name,
		    (long long)(r->breaker.until_ms - now_ms));
		http_give_back(r);
	} else {
		log_info(NULL, "an endpoint's breaker has changed", "%s state=\"%s\"",
		    name, breaker_state_name(state));
	}
	count_open(r->http);
	if (r->type != NULL)
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

void
route_worked(struct route *r)
{
	if (breaker_worked(&r->breaker))
		state_changed(r);
}

void
route_fault(struct route *r)
{
	if (breaker_fault(&r->breaker, loop_now_ms(r->http->loop)))
		state_changed(r);
}

void
route_trip(struct route *r, int64_t pause_ms)
{
	if (breaker_trip(&r->breaker, loop_now_ms(r->http->loop), pause_ms))
		state_changed(r);
}
