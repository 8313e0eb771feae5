/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * http_answer.c - what an endpoint's answer means for the attempt, and for the
 * endpoint; the table is in http.h.
 *
 * What a tenant is told of an endpoint that was not reached is one sentence, whether
 * its name is unknown, its address is forbidden or nobody listens there: the answer
 * must not be a map of the network that this node stands in.  The log has the reason.
 */
#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

#include "base/log.h"
#include "base/str.h"
#include "engine/leases.h"
#include "handlers/http_int.h"
#include "handlers/outside.h"

#define GONE_MS	      (10LL * 60 * 1000)
#define RETRY_MOST_MS (86400LL * 1000)

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
	} else if (value[strspn(value, "0123456789")] == '\0') {
		ms = RETRY_MOST_MS; /* more than we can count */
	} else {
		/* a number that is none ("1.5") is no date to libcurl either */
		at = curl_getdate(value, NULL);
		if (at == -1 || strchr(value, ':') == NULL)
			return -1;
		ms = (int64_t)at * 1000 - now_us / 1000;
	}
	if (ms > RETRY_MOST_MS)
		ms = RETRY_MOST_MS;
	return ms < HTTP_RETRY_LEAST_MS ? HTTP_RETRY_LEAST_MS : ms;
}

void
http_fail(
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
	struct attempt_log al;

	score_add(h->slot, SCORE_egress_faults_total, 1);
	if (an->fault == FETCH_BLOCKED) {
		score_add(h->slot, SCORE_egress_blocked_total, 1);
		log_warn(attempt_log(a, &al),
		    "a request was blocked: it would leave what egress allows",
		    "type=%s attempt=%d reason=\"%s\"", attempt_type_name(a), a->number,
		    an->detail);
	} else {
		log_info(attempt_log(a, &al), "a request had no answer",
		    "type=%s attempt=%d code=%s reason=\"%s\"", attempt_type_name(a),
		    a->number, rows[an->fault].code, an->detail);
	}
	http_fail(a, OUTCOME_RETRY, rows[an->fault].code, rows[an->fault].message);
}

size_t
http_body_most(const struct http *h, const struct attempt *a, bool delivery)
{
	int64_t most = h->settings->tasks_max_result_bytes;

	if (delivery)
		return 0; /* whoever is told of something has nothing to say */
	return (size_t)(attempt_settings(a)->max_output_bytes < most
			    ? attempt_settings(a)->max_output_bytes
			    : most);
}

int64_t
http_lease_ttl_ms(const char *value, int64_t timeout_ms)
{
	const int64_t least_ms = LEASE_TTL_MIN_S * 1000LL,
		      most_ms = LEASE_TTL_MAX_S * 1000LL;
	int64_t seconds, ms = timeout_ms;

	if (str_to_i64(value, &seconds) == 0 && seconds > 0)
		ms = seconds > LEASE_TTL_MAX_S ? most_ms : seconds * 1000;
	return ms < least_ms ? least_ms : ms > most_ms ? most_ms : ms;
}

static bool
is_asynchronous(const struct call *c, const struct fetch_answer *an)
{
	return an->status == 202 && !c->delivery && str_eq(an->kept[KEPT_ASYNC], "1");
}

/* it goes on there */
static void
judge_later(struct http *h, const struct call *c, struct attempt *a,
    const struct fetch_answer *an)
{
	static const struct uuid none;
	char by[NAME_MAX_BYTES + 32];

	score_add(h->slot, SCORE_egress_succeeded_total, 1);
	if (uuid_cmp(&c->lease.lease, &none) == 0) {
		http_fail(a, OUTCOME_FAILED, "async_unavailable",
		    "the endpoint answers that it will tell the end later, and was "
		    "given no lease: nodes give them when the operator sets "
		    "secrets.key_file");
		return;
	}
	snprintf(by, sizeof(by), "%s %s", c->endpoint != NULL ? "endpoint" : "type",
	    c->endpoint != NULL ? c->endpoint->name : attempt_type_name(a));
	attempt_goes_outside(a, &c->lease.lease,
	    http_lease_ttl_ms(an->kept[KEPT_TTL], a->timeout_ms), by);
}

static void
judge_success(
    struct http *h, struct attempt *a, const struct fetch_answer *an, bool delivery)
{
	size_t most = (size_t)h->settings->tasks_max_result_bytes, len;
	struct err err = ERR_INIT;
	char *json;

	score_add(h->slot, SCORE_egress_succeeded_total, 1);
	if (delivery)
		attempt_succeeded(a, NULL, 0);
	else if (an->cut || an->body_len > http_body_most(h, a, false))
		http_fail(a, OUTCOME_FAILED, "result_too_large",
		    "the answer is larger than the type's max_output or "
		    "tasks.max_result");
	else if (outside_result(an->body, an->body_len, most, &json, &len, &err) == 0)
		attempt_succeeded(a, json, len);
	else if (err.code == ERR_LIMIT)
		http_fail(a, OUTCOME_FAILED, "result_too_large",
		    "the result is larger than tasks.max_result");
	else
		http_fail(a, OUTCOME_RETRY, "no_memory", err.text);
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

/* 410: the operator's is left alone, an application's is not used any more */
static void
note_gone(struct route *r, const struct endpoint *ep)
{
	if (ep != NULL) {
		log_warn(NULL, "an endpoint says that it is gone for good",
		    "application=%d endpoint=%s", ep->app_id, ep->name);
		endpoints_disable(
		    r->http->endpoints, ep, "it answered with status 410 (Gone)");
	} else {
		log_error(NULL, "an endpoint says that it is gone for good",
		    "type=%s url=\"%s\"", r->settings->type, r->url.text);
	}
	route_trip(r, ep != NULL ? HTTP_UNREAD_PAUSE_MS : GONE_MS);
}

void
http_judge(struct call *c, struct attempt *a, const struct fetch_answer *an)
{
	struct route *r = c->route;
	struct http *h = r->http;

	if (an->fault != FETCH_ANSWERED) {
		judge_fault(h, a, an);
		if (an->fault != FETCH_FAILED)
			route_fault(r);
	} else if (is_asynchronous(c, an)) {
		judge_later(h, c, a, an);
		route_worked(r);
	} else if (an->status >= 200 && an->status < 300) {
		judge_success(h, a, an, c->delivery);
		route_worked(r);
	} else {
		judge_refusal(h, a, an);
		if (an->status == 410)
			note_gone(r, c->endpoint);
		else if (an->status >= 500)
			route_fault(r);
		else
			route_worked(r);
	}
}
