/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * httpreq.c - one request from the gate to its reply.
 *
 * A request arrives complete, with a head that conn.c let pass.  It passes the gate,
 * its query is taken apart, the route table names its handler; what fails on the way is
 * answered here.  After that the request is its handler's until httpreq_reply,
 * httpreq_problem or httpreq_drop.
 *
 * A plain request (plain.c) is a text of its own here.  One that evhttp has read stays
 * evhttp's, who frees it with the connection or when the reply is written, so nothing
 * of it is touched after conn_reply.  If the connection goes first, it is taken from
 * evhttp (evhttp_request_own).  So either way what the handler borrowed stays valid
 * until the handler ends the request.  The same holds when the httpd itself is freed
 * first.
 */
#include "http/httpd_int.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "http/problem.h"

#define SPARE_MAX	1024
#define TEXT_KEEP_MAX	4096 /* bytes of each text a spare request keeps */
#define FIELDS_USUAL	16
#define FIELDS_KEEP_MAX 64
#define RAW_USUAL	1024
#define HEADERS_MAX	16384 /* bytes of headers a handler may add */

/* ---------------------------------------------------------------- life */

static struct httpreq *
take(struct httpd *h)
{
	struct httpreq *req = TAILQ_FIRST(&h->spare);

	if (req != NULL) {
		TAILQ_REMOVE(&h->spare, req, link);
		h->spare_count--;
	} else {
		req = mem_zero(sizeof(*req));
		if (req == NULL)
			return NULL;
		strbuf_init(&req->headers, HEADERS_MAX);
	}
	req->stamp = HTTPREQ_STAMP;
	req->httpd = h;
	req->list = &h->held;
	TAILQ_INSERT_TAIL(&h->held, req, link);
	return req;
}

static void
discard(struct httpreq *req)
{
	mem_free(req->text);
	mem_free(req->raw);
	mem_free(req->fields);
	strbuf_fini(&req->headers);
	mem_free(req);
}

static bool
keeps_much(const struct httpreq *req)
{
	return req->text_cap > TEXT_KEEP_MAX || req->raw_cap > TEXT_KEEP_MAX ||
	       req->headers.cap > TEXT_KEEP_MAX || req->field_cap > FIELDS_KEEP_MAX;
}

/* ready for the next; the blocks of text stay */
void
httpreq_recycle(struct httpreq *req)
{
	struct httpd *h = req->httpd;

	if (req->list != NULL)
		TAILQ_REMOVE(req->list, req, link);
	if (req->gone && req->ev != NULL)
		evhttp_request_free(req->ev);
	if (h == NULL || h->spare_count >= SPARE_MAX || keeps_much(req)) {
		req->stamp = 0;
		discard(req);
		return;
	}
	req->stamp = 0;
	req->list = NULL;
	req->conn = NULL;
	req->ev = NULL;
	req->gone = req->close = req->sleeps = false;
	req->name[0] = '\0';
	req->phase = HTTP_WORK;
	memset(req->phase_us, 0, sizeof(req->phase_us));
	req->status = 0;
	req->streamed = 0;
	req->told = false;
	memset(req->notes, 0, sizeof(req->notes));
	req->gone_cb = NULL;
	req->uri = req->body = NULL;
	req->body_len = req->field_count = 0;
	req->path = NULL;
	req->pair_count = 0;
	req->tls = req->by_proxy = req->told_tls = req->origin = false;
	req->port = 0;
	strbuf_reset(&req->headers);
	memset(&req->match, 0, sizeof(req->match));
	TAILQ_INSERT_HEAD(&h->spare, req, link);
	h->spare_count++;
}

void
httpreq_free_spare(struct httpd *h)
{
	struct httpreq *req;

	while ((req = TAILQ_FIRST(&h->spare)) != NULL) {
		TAILQ_REMOVE(&h->spare, req, link);
		discard(req);
	}
	h->spare_count = 0;
}

void
httpreq_lost(struct httpreq *req)
{
	STAMP_CHECK(req, HTTPREQ_STAMP);
	req->conn = NULL;
	req->gone = true;
	if (req->ev != NULL)
		evhttp_request_own(req->ev);
	if (req->gone_cb == NULL)
		return;
	TAILQ_REMOVE(req->list, req, link);
	req->list = &req->httpd->gone;
	TAILQ_INSERT_TAIL(req->list, req, link);
	loop_defer_start(req->httpd->step);
}

void
httpreq_tell_gone(struct httpd *h)
{
	struct httpreq *req;

	while ((req = TAILQ_FIRST(&h->gone)) != NULL) {
		httpreq_cb *cb = req->gone_cb;

		TAILQ_REMOVE(&h->gone, req, link);
		req->list = &h->held;
		TAILQ_INSERT_TAIL(req->list, req, link);
		req->gone_cb = NULL;
		if (cb != NULL)
			cb(req, req->gone_arg);
	}
}

/* ---------------------------------------------------------------- arrival */

static enum http_method
method_of(const struct evhttp_request *ev)
{
	switch (ev->type) {
	case EVHTTP_REQ_GET:
		return HTTP_GET;
	case EVHTTP_REQ_POST:
		return HTTP_POST;
	case EVHTTP_REQ_PUT:
		return HTTP_PUT;
	case EVHTTP_REQ_DELETE:
		return HTTP_DELETE;
	case EVHTTP_REQ_HEAD:
		return HTTP_HEAD;
	default:
		return 0;
	}
}

static void
check(struct gate *g, struct httpreq *req)
{
	gate_begin(g, &req->httpd->limits);
	gate_uri(g, req->uri);
	for (size_t i = 0; i < req->field_count; i++)
		gate_header(g, req->fields[i].name, req->fields[i].value);
	gate_end(g, req->minor, req->takes_body, req->body_len);
}

/* cuts the query into pairs; false: it was refused */
static bool
split_query(struct httpreq *req, char *query)
{
	char *pair;

	while ((pair = strsep(&query, "&")) != NULL) {
		char *value = strchr(pair, '=');

		if (*pair == '\0')
			continue;
		if (value != NULL)
			*value++ = '\0';
		else
			value = pair + strlen(pair);
		route_unescape(pair, true);
		route_unescape(value, true);
		if (httpreq_query(req, pair) != NULL) {
			httpreq_problem(req, 400, "repeated_parameter",
			    "A query parameter is given twice.");
			return false;
		}
		if (req->pair_count == QUERY_PAIRS_MAX) {
			httpreq_problem(req, 400, "too_many_parameters",
			    "There are too many query parameters.");
			return false;
		}
		req->pairs[req->pair_count].name = pair;
		req->pairs[req->pair_count++].value = value;
	}
	return true;
}

/* text: the path as sent, the path to be decoded, the query; false: no memory */
static bool
copy_uri(struct httpreq *req, char **decoded, char **query)
{
	const char *uri = req->uri;
	size_t path_len = strcspn(uri, "?");
	size_t query_len = uri[path_len] == '?' ? strlen(uri + path_len + 1) : 0;
	size_t need = 2 * (path_len + 1) + query_len + 1;

	if (need > req->text_cap) {
		char *text = mem_alloc(need < 256 ? 256 : need);

		if (text == NULL)
			return false;
		mem_free(req->text);
		req->text = text;
		req->text_cap = need < 256 ? 256 : need;
	}
	req->path = req->text;
	memcpy(req->path, uri, path_len);
	req->path[path_len] = '\0';
	*decoded = req->path + path_len + 1;
	memcpy(*decoded, req->path, path_len + 1);
	*query = *decoded + path_len + 1;
	memcpy(*query, uri + path_len + (query_len > 0), query_len);
	(*query)[query_len] = '\0';
	return true;
}

static void
no_method(struct httpreq *req)
{
	unsigned m = req->match.methods;
	char allow[64];

	snprintf(allow, sizeof(allow), "%s%s%s%s", m & HTTP_GET ? ", GET, HEAD" : "",
	    m & HTTP_POST ? ", POST" : "", m & HTTP_PUT ? ", PUT" : "",
	    m & HTTP_DELETE ? ", DELETE" : "");
	httpreq_set_header(req, "Allow", allow + 2);
	httpreq_problem(
	    req, 405, "method_not_allowed", "This path takes: %s.", allow + 2);
}

static void
no_memory(struct httpreq *req)
{
	req->close = true;
	httpreq_problem(req, 503, "overloaded", "The server is out of memory.");
}

static void
handle(struct httpreq *req)
{
	struct httpd *h = req->httpd;

	if (h->opts.before == NULL || h->opts.before(req, h->opts.arg))
		req->match.route->handler(req, h->opts.arg);
}

static void
sleep_on(struct httpreq *req)
{
	struct httpd *h = req->httpd;

	req->sleeps = true;
	h->asleep(h->asleep_arg);
}

void
httpreq_wake_all(struct httpd *h)
{
	struct httpreq *req;

	do {
		/* (a handler may end others than its own: from the start each time) */
		TAILQ_FOREACH (req, &h->held, link)
			if (req->sleeps)
				break;
		if (req == NULL)
			return;
		req->sleeps = false;
		if (req->gone)
			httpreq_drop(req);
		else
			handle(req);
	} while (true);
}

static void
dispatch(struct httpreq *req)
{
	struct httpd *h = req->httpd;
	char *decoded, *query;
	struct gate g;

	if (!copy_uri(req, &decoded, &query)) {
		no_memory(req);
		return;
	}
	check(&g, req);
	if (g.status != 0) {
		req->close = true;
		httpreq_problem(req, g.status, g.code, "%s", g.detail);
		return;
	}
	origin_find(req);
	if (!split_query(req, query))
		return;
	route_find(h->routes, req->method, decoded, &req->match);
	if (req->match.methods == 0)
		httpreq_problem(req, 404, "not_found", "There is no such path.");
	else if (req->match.route == NULL)
		no_method(req);
	else if (h->asleep != NULL)
		sleep_on(req);
	else
		handle(req);
}

/* the address without the port; evhttp knows no more of unix sockets than we show */
static void
set_peer(struct httpreq *req, struct evhttp_connection *evc)
{
	char *address = NULL;
	ev_uint16_t port;

	evhttp_connection_get_peer(evc, &address, &port);
	str_copy(req->peer, sizeof(req->peer), address == NULL ? "" : address);
	/* of one that is passed on nothing is known until its proxy has told */
	if (req->conn->proxied[0] != '\0')
		str_copy(req->peer, sizeof(req->peer), req->conn->proxied);
}

struct httpreq *
httpreq_begin(struct conn *c)
{
	struct httpreq *req = take(c->httpd);

	if (req == NULL)
		return NULL;
	req->conn = c;
	req->id = facts_next_id();
	req->since_us = clock_mono_us();
	req->tls = c->ssl != NULL;
	set_peer(req, c->evc);
	return req;
}

static int
fields_room(struct httpreq *req, size_t count)
{
	struct httpreq_pair *fields;

	if (count <= req->field_cap)
		return 0;
	if (count < FIELDS_USUAL)
		count = FIELDS_USUAL;
	fields = mem_array(count, sizeof(*fields));
	if (fields == NULL)
		return -1;
	mem_free(req->fields);
	req->fields = fields;
	req->field_cap = count;
	return 0;
}

int
httpreq_room(struct httpreq *req, size_t len, size_t lines)
{
	size_t cap = len < RAW_USUAL ? RAW_USUAL : len + 1;
	char *raw;

	if (fields_room(req, lines) != 0)
		return -1;
	if (len < req->raw_cap)
		return 0;
	raw = mem_alloc(cap);
	if (raw == NULL)
		return -1;
	mem_free(req->raw);
	req->raw = raw;
	req->raw_cap = cap;
	return 0;
}

void
httpreq_cancel(struct httpreq *req)
{
	httpreq_recycle(req);
}

void
httpreq_go(struct httpreq *req)
{
	conn_hold(req->conn, req);
	facts_begin(req);
	dispatch(req);
}

/* what evhttp made of it, as if it were ours; -1: no memory */
static int
borrow(struct httpreq *req, struct evhttp_request *ev)
{
	const struct evkeyval *header;
	size_t count = 0;

	TAILQ_FOREACH (header, ev->input_headers, next)
		count++;
	if (fields_room(req, count) != 0)
		return -1;
	TAILQ_FOREACH (header, ev->input_headers, next)
		req->fields[req->field_count++] =
		    (struct httpreq_pair){header->key, header->value};
	req->body_len = evbuffer_get_length(ev->input_buffer);
	if (req->body_len > 0) {
		req->body = (const char *)evbuffer_pullup(ev->input_buffer, -1);
		if (req->body == NULL)
			return -1;
	}
	req->uri = ev->uri;
	req->minor = ev->minor;
	req->method = method_of(ev);
	req->takes_body =
	    (req->method & (HTTP_POST | HTTP_PUT)) != 0 || ev->type == EVHTTP_REQ_PATCH;
	return 0;
}

void
httpreq_arrived(struct evhttp_request *ev, void *arg)
{
	struct httpd *h = arg;
	struct conn *c = conn_of(h, evhttp_request_get_connection(ev));
	struct httpreq *req = c == NULL ? NULL : httpreq_begin(c);

	STAMP_CHECK(h, HTTPD_STAMP);
	if (req == NULL) {
		log_warn(
		    NULL, "request refused: out of memory", "listener=%s", h->name);
		evhttp_add_header(ev->output_headers, "Connection", "close");
		evhttp_send_reply(ev, 503, problem_phrase(503), NULL);
		return;
	}
	req->ev = ev;
	if (borrow(req, ev) == 0) {
		httpreq_go(req);
		return;
	}
	conn_hold(c, req);
	facts_begin(req);
	no_memory(req);
}

/* ---------------------------------------------------------------- questions */

enum http_method
httpreq_method(const struct httpreq *req)
{
	return req->method;
}

const char *
httpreq_path(const struct httpreq *req)
{
	return req->path == NULL ? "" : req->path;
}

unsigned
httpreq_needs(const struct httpreq *req)
{
	return req->match.route == NULL ? 0 : req->match.route->needs;
}

const char *
httpreq_segment(const struct httpreq *req, unsigned n)
{
	return n < req->match.capture_count ? req->match.captures[n] : NULL;
}

const char *
httpreq_query(const struct httpreq *req, const char *name)
{
	for (size_t i = 0; i < req->pair_count; i++) {
		if (str_eq(req->pairs[i].name, name))
			return req->pairs[i].value;
	}
	return NULL;
}

bool
httpreq_query_next(
    const struct httpreq *req, size_t *cursor, const char **name, const char **value)
{
	if (*cursor >= req->pair_count)
		return false;
	*name = req->pairs[*cursor].name;
	*value = req->pairs[(*cursor)++].value;
	return true;
}

const char *
httpreq_header(const struct httpreq *req, const char *name)
{
	STAMP_CHECK(req, HTTPREQ_STAMP);
	for (size_t i = 0; i < req->field_count; i++) {
		if (str_ieq(req->fields[i].name, name))
			return req->fields[i].value;
	}
	return NULL;
}

const char *
httpreq_body(struct httpreq *req, size_t *len)
{
	STAMP_CHECK(req, HTTPREQ_STAMP);
	if (len != NULL)
		*len = req->body_len;
	return req->body_len == 0 ? NULL : req->body;
}

const char *
httpreq_peer(const struct httpreq *req)
{
	return req->peer;
}

void
httpreq_on_gone(struct httpreq *req, httpreq_cb *cb, void *arg)
{
	STAMP_CHECK(req, HTTPREQ_STAMP);
	req->gone_cb = cb;
	req->gone_arg = arg;
}

bool
httpreq_is_gone(const struct httpreq *req)
{
	STAMP_CHECK(req, HTTPREQ_STAMP);
	return req->gone;
}

bool
httpreq_look_gone(const struct httpreq *req)
{
	struct pollfd fd = {.events = POLLRDHUP};

	STAMP_CHECK(req, HTTPREQ_STAMP);
	if (req->gone || req->conn == NULL)
		return true;
	fd.fd = bufferevent_getfd(req->conn->bev);
	/* an end, also of the client's half only, or a reset */
	return poll(&fd, 1, 0) > 0 && fd.revents != 0;
}

/* ---------------------------------------------------------------- answers */

void
httpreq_set_header(struct httpreq *req, const char *name, const char *value)
{
	STAMP_CHECK(req, HTTPREQ_STAMP);
	reply_header(req, name, value);
}

void
httpreq_reply(
    struct httpreq *req, int status, const char *type, const void *body, size_t len)
{
	struct httpd *h = req->httpd;
	struct evhttp_request *ev = req->ev;
	struct reply_facts r = {.status = status, .minor = req->minor, .len = len};
	const char *connection;
	int64_t reply_us = 0;
	size_t bytes;
	bool last;

	STAMP_CHECK(req, HTTPREQ_STAMP);
	if (req->gone) {
		facts_tell(req, 0, 0, 0);
		httpreq_recycle(req);
		return;
	}
	/* evhttp closes by the same rules */
	connection = httpreq_header(req, "Connection");
	r.type = len > 0 && type == NULL ? "application/json" : type;
	r.kept_alive = connection != NULL && str_ieq(connection, "keep-alive");
	r.says_close = req->close || h->closing ||
		       (connection != NULL && str_ieq(connection, "close"));
	last = r.says_close || (r.minor == 0 && !r.kept_alive);
	if (reply_write(&h->head, req, &r) != 0 ||
	    (r.says_close && ev != NULL &&
		evhttp_add_header(ev->output_headers, "Connection", "close") != 0)) {
		log_warn(
		    NULL, "request dropped: out of memory", "listener=%s", h->name);
		httpreq_drop(req);
		return;
	}
	if (h->opts.after != NULL)
		h->opts.after(
		    req, status, clock_mono_us() - req->since_us, h->opts.arg);
	if (!reply_has_body(req, status))
		len = 0;
	bytes = h->head.len + len;
	/* what evhttp has read goes with the reply; what we have, we have after it too
	 */
	if (ev != NULL)
		facts_tell(req, status, bytes, 0);
	else if (h->opts.told != NULL)
		reply_us = clock_mono_us();
	/* the body may be a text of the request */
	conn_reply(req->conn, ev, &h->head, body, len, last);
	req->conn = NULL;
	if (ev == NULL)
		facts_tell(req, status, bytes, reply_us);
	httpreq_recycle(req);
}

void
httpreq_problem(struct httpreq *req, int status, const char *code, const char *fmt, ...)
{
	char detail[480];
	struct strbuf sb;
	va_list args;

	STAMP_CHECK(req, HTTPREQ_STAMP);
	va_start(args, fmt);
	vsnprintf(detail, sizeof(detail), fmt, args);
	va_end(args);
	strbuf_init(&sb, PROBLEM_MAX);
	problem_write(&sb, status, code, detail);
	httpreq_reply(req, status, "application/problem+json", sb.data, sb.len);
	strbuf_fini(&sb);
}

void
httpreq_drop(struct httpreq *req)
{
	STAMP_CHECK(req, HTTPREQ_STAMP);
	facts_tell(req, req->status, req->streamed, 0);
	if (req->conn != NULL)
		conn_doom(req->conn);
	httpreq_recycle(req);
}
