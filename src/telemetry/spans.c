/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spans.c - spans of requests and attempts, for an OpenTelemetry collector; see
 * spans.h.
 *
 * The JSON is that of the OTLP specification: ids in hexadecimal, 64-bit numbers as
 * strings, kinds and codes as numbers.  A span is written once, into the batch that is
 * being filled; the head of the batch is there from its start, its tail is added when
 * it is closed.
 *
 * One request is under way at a time.  A failure that may pass (no answer, 429, 502,
 * 503, 504) is tried again after a pause that doubles, TRIES times; while it lasts new
 * batches wait behind it, BATCHES of them, and then spans are dropped.  Whatever else
 * the collector refuses is dropped at once: it would refuse it again.
 *
 * libcurl with the operator's own address: the rules of egress are for addresses that
 * come from applications, so the guard here lets all addresses pass.
 */
#include "telemetry/spans.h"
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/jsonw.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "http/fetch.h"
#include "http/guard.h"
#include "proc/child.h"

#define BATCH_SPANS  512
#define BATCH_BYTES  (512 * 1024)
#define SPAN_BYTES   4096 /* more than one has: names are bounded */
#define BATCHES	     8	  /* that wait, with the one being filled */
#define FLUSH_MS     1000
#define TIMEOUT_MS   10000
#define CONNECT_MS   5000
#define IDLE_MS	     10000
#define TRIES	     5
#define PAUSE_MS     1000
#define ANSWER_BYTES 4096
#define HEADERS_MOST 20
#define COMPLAIN_MS  60000 /* of a collector that does not take spans */
#define NS_DIGITS    24

enum span_kind {
	KIND_SERVER = 2,
	KIND_PRODUCER = 4,
	KIND_CONSUMER = 5,
};

#define STATUS_ERROR 2

struct batch {
	TAILQ_ENTRY(batch) link;
	struct strbuf json;
	struct jsonw w;
	size_t count;
	int tries;
};

TAILQ_HEAD(batches, batch);

struct spans {
	struct loop *loop;
	struct score_slot *slot;
	struct weburl url;
	char **words; /* of traces.headers */
	const char *headers[HEADERS_MOST + 2];
	uint64_t threshold; /* random numbers below it begin a trace */
	char service[128];
	char instance[32];
	struct guard *guard;
	struct fetch *fetch;
	struct fetch_run *run; /* under way; NULL: none */
	struct batches line;   /* the first is sent, the last is filled */
	size_t batch_count;
	bool open; /* the last one takes more */
	struct loop_timer *flush, *pause;
	int64_t complained_ms;
	uint64_t failures; /* since the last complaint */
};

static void send_next(struct spans *s);

/* ---------------------------------------------------------------- JSON */

static void
attribute(struct jsonw *w, const char *key, const char *value)
{
	jsonw_object(w);
	jsonw_key(w, "key");
	jsonw_string(w, key);
	jsonw_key(w, "value");
	jsonw_object(w);
	jsonw_key(w, "stringValue");
	jsonw_string(w, value);
	jsonw_end(w);
	jsonw_end(w);
}

static void
attribute_int(struct jsonw *w, const char *key, int64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)n);
	jsonw_object(w);
	jsonw_key(w, "key");
	jsonw_string(w, key);
	jsonw_key(w, "value");
	jsonw_object(w);
	jsonw_key(w, "intValue");
	jsonw_string(w, text);
	jsonw_end(w);
	jsonw_end(w);
}

static void
member_ns(struct jsonw *w, const char *key, int64_t us)
{
	char text[NS_DIGITS];

	snprintf(text, sizeof(text), "%lld000", (long long)us);
	jsonw_key(w, key);
	jsonw_string(w, text);
}

/* all but the end of the batch, which close_batch writes */
static void
begin_json(const struct spans *s, struct batch *b)
{
	struct jsonw *w = &b->w;

	strbuf_reset(&b->json);
	jsonw_init(w, &b->json);
	jsonw_object(w);
	jsonw_key(w, "resourceSpans");
	jsonw_array(w);
	jsonw_object(w);
	jsonw_key(w, "resource");
	jsonw_object(w);
	jsonw_key(w, "attributes");
	jsonw_array(w);
	attribute(w, "service.name", s->service);
	attribute(w, "service.version", PACKAGE_VERSION);
	attribute(w, "service.instance.id", s->instance);
	jsonw_end(w);
	jsonw_end(w);
	jsonw_key(w, "scopeSpans");
	jsonw_array(w);
	jsonw_object(w);
	jsonw_key(w, "scope");
	jsonw_object(w);
	jsonw_key(w, "name");
	jsonw_string(w, "shoal");
	jsonw_key(w, "version");
	jsonw_string(w, PACKAGE_VERSION);
	jsonw_end(w);
	jsonw_key(w, "spans");
	jsonw_array(w);
}

/* of the batch that is being filled: no span may be added any more */
static void
close_batch(struct spans *s)
{
	struct batch *b = TAILQ_LAST(&s->line, batches);

	if (!s->open)
		return;
	s->open = false;
	while (b->w.depth > 0)
		jsonw_end(&b->w);
}

struct span {
	const char *trace; /* its id stands in here, as in a traceparent */
	const char *id, *up;
	const char *name;
	enum span_kind kind;
	int64_t start_us, end_us;
};

static void
begin_span(struct jsonw *w, const struct span *sp)
{
	char trace[TRACE_ID_SIZE];

	jsonw_object(w);
	jsonw_key(w, "traceId");
	jsonw_string(w, trace_id(sp->trace, trace));
	jsonw_key(w, "spanId");
	jsonw_string(w, sp->id);
	if (sp->up[0] != '\0') {
		jsonw_key(w, "parentSpanId");
		jsonw_string(w, sp->up);
	}
	jsonw_key(w, "flags");
	jsonw_int(w, 1);
	jsonw_key(w, "name");
	jsonw_string(w, sp->name);
	jsonw_key(w, "kind");
	jsonw_int(w, sp->kind);
	member_ns(w, "startTimeUnixNano", sp->start_us);
	member_ns(w, "endTimeUnixNano",
	    sp->end_us < sp->start_us ? sp->start_us : sp->end_us);
	jsonw_key(w, "attributes");
	jsonw_array(w);
}

/* error NULL: none; "": one without a word */
static void
end_span(struct jsonw *w, const char *error)
{
	jsonw_end(w);
	jsonw_key(w, "status");
	jsonw_object(w);
	if (error != NULL) {
		jsonw_key(w, "code");
		jsonw_int(w, STATUS_ERROR);
	}
	if (error != NULL && error[0] != '\0') {
		jsonw_key(w, "message");
		jsonw_string(w, error);
	}
	jsonw_end(w);
	jsonw_end(w);
}

/* ---------------------------------------------------------------- batches */

static void
drop(struct spans *s, size_t count)
{
	score_add(s->slot, SCORE_spans_dropped_total, count);
}

static void
batch_free(struct spans *s, struct batch *b)
{
	TAILQ_REMOVE(&s->line, b, link);
	s->batch_count--;
	strbuf_fini(&b->json);
	mem_free(b);
}

static struct batch *
batch_create(struct spans *s)
{
	struct batch *b;

	if (s->batch_count == BATCHES || (b = mem_zero(sizeof(*b))) == NULL)
		return NULL;
	strbuf_init(&b->json, BATCH_BYTES + SPAN_BYTES);
	begin_json(s, b);
	if (strbuf_failed(&b->json)) {
		strbuf_fini(&b->json);
		mem_free(b);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&s->line, b, link);
	s->batch_count++;
	s->open = true;
	if (!loop_timer_pending(s->flush))
		loop_timer_start_ms(s->flush, FLUSH_MS);
	return b;
}

/* where the next span goes; NULL: it is dropped, and counted */
static struct batch *
take_room(struct spans *s)
{
	struct batch *b = s->open ? TAILQ_LAST(&s->line, batches) : NULL;

	if (b != NULL &&
	    (b->count == BATCH_SPANS || b->json.len + 2 * SPAN_BYTES > BATCH_BYTES)) {
		close_batch(s);
		send_next(s);
		b = NULL;
	}
	if (b == NULL && (b = batch_create(s)) == NULL)
		drop(s, 1);
	return b;
}

/* without memory for one span none of the batch can be sent: its JSON is not whole */
static void
added(struct spans *s, struct batch *b)
{
	b->count++;
	if (!strbuf_failed(&b->json))
		return;
	drop(s, b->count);
	s->open = false;
	batch_free(s, b);
}

/* ---------------------------------------------------------------- sending */

static bool
may_pass(const struct fetch_answer *an)
{
	if (an->fault != FETCH_ANSWERED)
		return an->fault != FETCH_FAILED;
	return an->status == 429 || an->status == 502 || an->status == 503 ||
	       an->status == 504;
}

/* "partialSuccess":{"rejectedSpans":"3"} */
static size_t
rejected(const struct fetch_answer *an, size_t count)
{
	const char *at = strstr(an->body, "\"rejectedSpans\"");
	size_t n = 0;

	if (at == NULL)
		return 0;
	at += sizeof("\"rejectedSpans\"") - 1;
	at += strspn(at, " :\"");
	for (; *at >= '0' && *at <= '9' && n <= count; at++)
		n = n * 10 + (size_t)(*at - '0');
	return n < count ? n : count;
}

static void
complain(struct spans *s, const struct fetch_answer *an, size_t dropped)
{
	int64_t now_ms = loop_now_ms(s->loop);

	score_add(s->slot, SCORE_span_exports_failed_total, 1);
	s->failures++;
	if (s->complained_ms != 0 && now_ms - s->complained_ms < COMPLAIN_MS)
		return;
	log_warn(NULL, "the collector does not take spans",
	    "endpoint=%s status=%d reason=\"%s\" failures=%llu dropped=%zu",
	    s->url.text, an->status,
	    an->fault != FETCH_ANSWERED ? an->detail : "it answered with that status",
	    (unsigned long long)s->failures, dropped);
	s->complained_ms = now_ms;
	s->failures = 0;
}

static void
on_answer(const struct fetch_answer *an, void *arg)
{
	struct spans *s = arg;
	struct batch *b = TAILQ_FIRST(&s->line);
	size_t lost;

	s->run = NULL;
	if (an->fault == FETCH_ANSWERED && an->status >= 200 && an->status < 300) {
		lost = rejected(an, b->count);
		drop(s, lost);
		score_add(s->slot, SCORE_spans_exported_total, b->count - lost);
		batch_free(s, b);
		if (s->complained_ms != 0)
			log_info(NULL, "the collector takes spans again", " ");
		s->complained_ms = 0;
	} else if (may_pass(an) && b->tries < TRIES) {
		complain(s, an, 0);
		loop_timer_start_ms(s->pause, (int64_t)PAUSE_MS << (b->tries - 1));
		return;
	} else {
		complain(s, an, b->count);
		drop(s, b->count);
		batch_free(s, b);
	}
	send_next(s);
}

/* the first one, unless it is being filled */
static void
send_next(struct spans *s)
{
	struct batch *b = TAILQ_FIRST(&s->line);
	struct err err = ERR_INIT;
	struct fetch_request rq = {
	    .url = &s->url,
	    .headers = s->headers,
	    .timeout_ms = TIMEOUT_MS,
	    .max_response_bytes = ANSWER_BYTES,
	};

	if (b == NULL || s->run != NULL || loop_timer_pending(s->pause) ||
	    (s->open && TAILQ_NEXT(b, link) == NULL))
		return;
	rq.body = b->json.data;
	rq.body_len = b->json.len;
	b->tries++;
	s->run = fetch_start(s->fetch, &rq, on_answer, s, &err);
	if (s->run != NULL)
		return;
	log_warn(NULL, "spans could not be sent", "dropped=%zu reason=\"%s\"", b->count,
	    err.text);
	drop(s, b->count);
	batch_free(s, b);
	/* (the next one has its turn when it is closed) */
}

static void
on_pause(void *arg)
{
	send_next(arg);
}

static void
on_flush(void *arg)
{
	struct spans *s = arg;

	/* while others wait in front of it, it may be filled */
	if (s->batch_count > 1 && s->open) {
		loop_timer_start_ms(s->flush, FLUSH_MS);
		return;
	}
	close_batch(s);
	send_next(s);
}

void
spans_flush(struct spans *s)
{
	if (s == NULL)
		return;
	close_batch(s);
	send_next(s);
}

bool
spans_are_sent(const struct spans *s)
{
	return s == NULL || s->batch_count == 0;
}

/* ---------------------------------------------------------------- life */

static int
read_settings(struct spans *s, const struct settings *settings, struct err *err)
{
	double share = traces_share(settings->traces_sample);
	size_t count = 0;

	if (weburl_parse(settings->traces_endpoint, &s->url, err) != 0)
		return err_wrap(err, "traces.endpoint");
	if (argv_split(settings->traces_headers, &s->words, err) != 0)
		return err_wrap(err, "traces.headers");
	s->headers[count++] = "Content-Type: application/json";
	for (size_t i = 0; s->words[i] != NULL && count < HEADERS_MOST; i++)
		s->headers[count++] = s->words[i];
	s->threshold =
	    share >= 1 ? UINT64_MAX : (uint64_t)(share * 18446744073709551616.0);
	(void)str_copy(s->service, sizeof(s->service), settings->traces_service);
	return 0;
}

static int
open_client(struct spans *s, struct resolver *resolver, const struct settings *settings,
    struct err *err)
{
	char port[8];
	struct guard_opts go = {"0.0.0.0/0, ::/0", "", port};
	struct fetch_opts fo = {
	    .resolver = resolver,
	    .ca_file = settings->traces_ca_file,
	    .user_agent = "shoal/" PACKAGE_VERSION,
	    .connect_timeout_ms = CONNECT_MS,
	    .idle_timeout_ms = IDLE_MS,
	    .idle_connections = 1,
	};

	snprintf(port, sizeof(port), "%u", s->url.port);
	s->guard = guard_create(&go, err);
	if (s->guard == NULL)
		return -1;
	fo.guard = s->guard;
	s->fetch = fetch_create(s->loop, &fo, err);
	return s->fetch != NULL ? 0 : -1;
}

struct spans *
spans_create(struct loop *l, struct resolver *resolver, const struct settings *settings,
    const struct scoreboard *board, int slot, struct err *err)
{
	struct spans *s;

	if (settings->traces_endpoint[0] == '\0')
		return NULL;
	s = mem_zero(sizeof(*s));
	if (s == NULL) {
		err_set(err, ERR_NOMEM, "traces");
		return NULL;
	}
	TAILQ_INIT(&s->line);
	s->loop = l;
	/* (the board is everybody's; a slot is its worker's) */
	s->slot = (struct score_slot *)(uintptr_t)&board->slots[slot];
	snprintf(s->instance, sizeof(s->instance), "%s-%d", board->node_text, slot);
	s->flush = loop_timer_create(l, on_flush, s);
	s->pause = loop_timer_create(l, on_pause, s);
	if (s->flush == NULL || s->pause == NULL) {
		err_set(err, ERR_NOMEM, "traces");
		goto fail;
	}
	if (read_settings(s, settings, err) != 0 ||
	    open_client(s, resolver, settings, err) != 0)
		goto fail;
	return s;
fail:
	spans_free(s);
	return NULL;
}

void
spans_free(struct spans *s)
{
	struct batch *b;

	if (s == NULL)
		return;
	fetch_cancel(s->run);
	while ((b = TAILQ_FIRST(&s->line)) != NULL) {
		drop(s, b->count);
		batch_free(s, b);
	}
	fetch_free(s->fetch);
	guard_free(s->guard);
	loop_timer_free(s->flush);
	loop_timer_free(s->pause);
	mem_free(s->words);
	mem_free(s);
}

/* ---------------------------------------------------------------- requests */

static void
random_span(char to[TRACE_SPAN_SIZE])
{
	uint8_t bytes[8];

	do
		random_bytes(bytes, sizeof(bytes));
	while (memcmp(bytes, "\0\0\0\0\0\0\0\0", sizeof(bytes)) == 0);
	str_hex(to, bytes, sizeof(bytes));
}

void
spans_begin(struct spans *s, const char *traceparent, struct span_request *sr)
{
	char text[TRACE_TEXT_SIZE], trace[TRACE_ID_SIZE], span[TRACE_SPAN_SIZE];
	uint8_t bytes[16];

	sr->parent[0] = sr->up[0] = '\0';
	if (traceparent != NULL &&
	    trace_make(traceparent, strlen(traceparent), NULL, 0, text) > 0) {
		if (!trace_is_sampled(text))
			return;
		trace_own_span(text, sr->up);
		trace_id(text, trace);
	} else {
		if (s->threshold != UINT64_MAX && random_u64() >= s->threshold)
			return;
		random_bytes(bytes, sizeof(bytes));
		bytes[15] |= 1; /* zeros are no trace */
		str_hex(trace, bytes, sizeof(bytes));
	}
	random_span(span);
	snprintf(sr->parent, sizeof(sr->parent), "00-%s-%s-01", trace, span);
	sr->since_us = clock_wall_us();
}

void
spans_add_request(
    struct spans *s, const struct span_request *sr, const struct span_request_end *end)
{
	char own[TRACE_SPAN_SIZE], name[200], task[UUID_TEXT_SIZE];
	struct batch *b = take_room(s);
	const struct span sp = {
	    .trace = sr->parent,
	    .id = trace_own_span(sr->parent, own),
	    .up = sr->up,
	    .name = name,
	    .kind = KIND_SERVER,
	    .start_us = sr->since_us,
	    .end_us = sr->since_us + end->duration_us,
	};

	if (b == NULL)
		return;
	snprintf(name, sizeof(name), "%s%s%s", end->method,
	    end->route != NULL ? " " : "", end->route != NULL ? end->route : "");
	begin_span(&b->w, &sp);
	attribute(&b->w, "http.request.method", end->method);
	if (end->route != NULL)
		attribute(&b->w, "http.route", end->route);
	attribute_int(&b->w, "http.response.status_code", end->status);
	attribute(&b->w, "shoal.request.id", end->request);
	if (end->application != 0)
		attribute_int(&b->w, "shoal.application", end->application);
	if (end->task != NULL)
		attribute(&b->w, "shoal.task.id", uuid_format(end->task, task));
	/* of a server's span only its own failures are errors */
	end_span(&b->w, end->status >= 500 ? "" : NULL);
	added(s, b);
}

/* ---------------------------------------------------------------- attempts */

static void
add_of_run(struct spans *s, const struct span_run *r, const struct span *sp, bool runs)
{
	struct batch *b = take_room(s);
	char task[UUID_TEXT_SIZE];
	bool failed = runs && r->error[0] != '\0';

	if (b == NULL)
		return;
	begin_span(&b->w, sp);
	attribute(&b->w, "messaging.system", "shoal");
	attribute(&b->w, "messaging.destination.name", r->queue);
	attribute(&b->w, "messaging.operation.type", runs ? "process" : "send");
	attribute(&b->w, "shoal.task.id", uuid_format(r->task, task));
	attribute(&b->w, "shoal.task.type", r->type);
	attribute_int(&b->w, "shoal.task.attempt", r->attempt);
	attribute_int(&b->w, "shoal.application", r->application);
	if (runs)
		attribute(&b->w, "shoal.task.outcome", r->outcome);
	if (failed)
		attribute(&b->w, "error.type", r->error);
	end_span(&b->w, failed ? r->error : NULL);
	added(s, b);
}

void
spans_add_run(struct spans *s, const struct span_run *r)
{
	char wait_id[TRACE_SPAN_SIZE], run_id[TRACE_SPAN_SIZE], up[TRACE_SPAN_SIZE];
	char name[200];
	struct span sp = {.trace = r->trace, .id = wait_id, .up = up, .name = name};

	if (!trace_is_sampled(r->trace))
		return;
	trace_own_span(r->trace, up);
	if (r->due_us != 0) {
		snprintf(name, sizeof(name), "wait %s", r->queue);
		trace_wait_span(r->task, r->attempt, wait_id);
		sp.kind = KIND_PRODUCER;
		/* two clocks may differ by a little */
		sp.start_us = r->due_us < r->start_us ? r->due_us : r->start_us;
		sp.end_us = r->start_us;
		add_of_run(s, r, &sp, false);
		sp.up = wait_id;
	}
	snprintf(name, sizeof(name), "run %s", r->type);
	sp.id = trace_span(r->task, r->attempt, run_id);
	sp.kind = KIND_CONSUMER;
	sp.start_us = r->start_us;
	sp.end_us = r->end_us;
	add_of_run(s, r, &sp, true);
}
