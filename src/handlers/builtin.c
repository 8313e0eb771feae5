/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * builtin.c - noop, echo, sleep, fail and webhook; see builtin.h.
 *
 * All but sleep and webhook end within their start.
 */
#include "handlers/builtin.h"

#include <stdio.h>
#include <string.h>

#include "base/jscan.h"
#include "base/mem.h"
#include "base/str.h"
#include "handlers/webhook.h"

#define SLEEP_MAX_S	   86400.0
#define DEFAULT_TIMEOUT_MS (15LL * 60 * 1000)

struct sleeper {
	TAILQ_ENTRY(sleeper) link;
	struct builtin *builtin;
	struct attempt *attempt;
	struct loop_timer *timer;
	double seconds;
	bool too_long;
};

struct builtin {
	struct loop *loop;
	struct http *http;
	TAILQ_HEAD(, sleeper) sleepers;
};

/* the members of the payload that the types know; each is optional */
struct wishes {
	double seconds;
	int64_t times;
	double retry_in; /* negative: none */
	char message[512];
};

struct builtin *
builtin_create(struct loop *l, struct err *err)
{
	struct builtin *b = mem_zero(sizeof(*b));

	if (b == NULL) {
		err_set(err, ERR_NOMEM, "built-in handlers");
		return NULL;
	}
	b->loop = l;
	TAILQ_INIT(&b->sleepers);
	return b;
}

static void
sleeper_free(struct sleeper *s)
{
	TAILQ_REMOVE(&s->builtin->sleepers, s, link);
	loop_timer_free(s->timer);
	mem_free(s);
}

void
builtin_free(struct builtin *b)
{
	if (b == NULL)
		return;
	while (!TAILQ_EMPTY(&b->sleepers))
		sleeper_free(TAILQ_FIRST(&b->sleepers));
	mem_free(b);
}

static int
read_member(const struct jspan *key, const struct jspan *value, struct wishes *w,
    struct err *err)
{
	if (jspan_is(key, "seconds")) {
		if (jspan_double(value, &w->seconds, err) != 0 || w->seconds < 0 ||
		    w->seconds > SLEEP_MAX_S)
			return err_set(err, ERR_INVALID,
			    "seconds must be a number from 0 to 86400");
	} else if (jspan_is(key, "times")) {
		if (jspan_i64(value, &w->times, err) != 0 || w->times < 0)
			return err_set(
			    err, ERR_INVALID, "times must be a whole number from 0");
	} else if (jspan_is(key, "retry_in")) {
		if (jspan_double(value, &w->retry_in, err) != 0 || w->retry_in < 0 ||
		    w->retry_in > SLEEP_MAX_S)
			return err_set(err, ERR_INVALID,
			    "retry_in must be a number from 0 to 86400");
	} else if (jspan_is(key, "message")) {
		if (jspan_string(value, w->message, sizeof(w->message), NULL, err) != 0)
			return err_set(err, ERR_INVALID,
			    "message must be a string of less than 512 bytes");
	}
	return 0;
}

static int
read_payload(const struct attempt *a, struct wishes *w, struct err *err)
{
	const struct jscan_limits limits = {.max_depth = 32, .check_keys = 1};
	struct jspan root, key, value;
	struct jwalk walk;

	*w = (struct wishes){
	    .times = INT64_MAX, .retry_in = -1, .message = "failed on request"};
	if (a->payload == NULL)
		return 0;
	if (jscan_check(a->payload, a->payload_len, &limits, &root, err) != 0)
		return -1;
	if (root.kind == JSON_NULL)
		return 0;
	if (root.kind != JSON_OBJECT)
		return err_set(err, ERR_INVALID, "the payload must be an object");
	jwalk_start(&walk, &root);
	while (jwalk_member(&walk, &key, &value)) {
		if (read_member(&key, &value, w, err) != 0)
			return -1;
	}
	return 0;
}

static void
on_awake(void *arg)
{
	struct sleeper *s = arg;
	struct attempt *a = s->attempt;
	char text[64], *result;
	double seconds = s->seconds;
	bool too_long = s->too_long;

	sleeper_free(s);
	if (too_long) {
		attempt_failed(
		    a, OUTCOME_RETRY, "timeout", "the attempt took too long", 25, -1);
		return;
	}
	snprintf(text, sizeof(text), "{\"slept\":%.15g}", seconds);
	result = mem_strdup(text);
	attempt_succeeded(a, result, result != NULL ? strlen(result) : 0);
}

static int
start_sleep(
    struct builtin *b, struct attempt *a, const struct wishes *w, struct err *err)
{
	int64_t timeout_ms = a->timeout_ms > 0 ? a->timeout_ms : DEFAULT_TIMEOUT_MS;
	int64_t ms = (int64_t)(w->seconds * 1000 + 0.5);
	struct sleeper *s = mem_zero(sizeof(*s));

	if (s == NULL || (s->timer = loop_timer_create(b->loop, on_awake, s)) == NULL) {
		mem_free(s);
		return err_set(err, ERR_NOMEM, "a timer");
	}
	s->builtin = b;
	s->attempt = a;
	s->seconds = w->seconds;
	s->too_long = ms > timeout_ms;
	TAILQ_INSERT_TAIL(&b->sleepers, s, link);
	a->run = s;
	loop_timer_start_ms(s->timer, s->too_long ? timeout_ms : ms);
	return 0;
}

static void
end_fail(struct attempt *a, const struct wishes *w)
{
	if (a->failures >= w->times) {
		attempt_succeeded(a, NULL, 0);
		return;
	}
	attempt_failed(a, OUTCOME_RETRY, "failed", w->message, strlen(w->message),
	    w->retry_in < 0 ? -1 : (int64_t)(w->retry_in * 1000));
}

static int
start(void *self, struct attempt *a, struct err *err)
{
	struct builtin *b = self;
	const char *type = attempt_type_name(a);
	struct wishes w;
	char *copy;

	if (str_eq(type, "shoal.noop")) {
		attempt_succeeded(a, NULL, 0);
		return 0;
	}
	if (str_eq(type, "shoal.echo")) {
		copy = a->payload != NULL ? mem_dup(a->payload, a->payload_len) : NULL;
		if (copy == NULL && a->payload != NULL)
			return err_set(err, ERR_NOMEM, "an echo");
		attempt_succeeded(a, copy, copy != NULL ? a->payload_len : 0);
		return 0;
	}
	if (str_eq(type, "shoal.webhook"))
		return webhook_start(b->http, a, err);
	if (read_payload(a, &w, err) != 0) {
		attempt_failed(
		    a, OUTCOME_FAILED, "bad_payload", err->text, strlen(err->text), -1);
		return 0;
	}
	if (str_eq(type, "shoal.sleep"))
		return start_sleep(b, a, &w, err);
	end_fail(a, &w);
	return 0;
}

static void
cancel(void *self, struct attempt *a)
{
	struct builtin *b = self;
	struct sleeper *s = a->run;

	if (str_eq(attempt_type_name(a), "shoal.webhook")) {
		http_cancel(b->http, a);
		return;
	}
	if (s == NULL)
		return;
	a->run = NULL;
	sleeper_free(s);
	attempt_failed(a, OUTCOME_RETRY, "cancelled", "ended before its time", 21, -1);
}

static const struct handler_ops ops = {
    .name = "builtin", .start = start, .cancel = cancel};

void
builtin_set_http(struct builtin *b, struct http *h)
{
	b->http = h;
}

struct handler
builtin_handler(struct builtin *b)
{
	return (struct handler){&ops, b};
}
