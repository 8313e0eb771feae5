/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conn.c - one connection: its deadlines, its end.
 *
 * evhttp counts inactivity only, never looks at a connection while its request is
 * worked on, and tells nobody when it closes an idle one.  So each connection has a
 * conn beside evhttp's own object.  It is made with the bufferevent, before evhttp has
 * its part ready; in the next step of the loop it is adopted: the callback argument of
 * the bufferevent is evhttp's connection, whose close callback ends the conn.
 *
 *     HELLO -> IDLE (hello.c)
 *     IDLE -> HEAD -> BODY -> HELD -> WRITING -> IDLE
 *                             HELD -> STREAM (stream.c), which ends with the connection
 *             HEAD -> REFUSED (refuse.c), DOOMED from anywhere
 *
 * A tap on the input buffer sees bytes before anybody else and starts the clocks; one
 * sweep over all connections finds what is late.  Nothing on the way of a request costs
 * a timer.
 *
 * While a request is held its client's end is no reason to do anything: evhttp does not
 * read then, and plain.c only remembers it, since a client that has closed its half may
 * wait for the reply all the same.  Nothing is registered with the loop to tell those
 * who are gone: most requests are held for
 * milliseconds, and epoll reports a reset, unlike an end, only to those who read or
 * write, and then for ever.  The sweep asks the kernel about those held for longer.
 *
 * Closing is always done from the loop, never inside a callback of evhttp, which would
 * go on with freed memory.
 */
#include "http/httpd_int.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/http_struct.h>

#include "base/log.h"
#include "base/mem.h"
#include "tls/tlsctx.h"

#define RATE_GRACE_MS	   5000
#define REQUEST_LINE_SLACK 64	/* method, version, spaces */
#define LINGER_MS	   2000 /* for a refused client to read why */
#define QUIET_MS	   1000 /* idle that long, when the process leaves: closed */
#define HELLO_LEAVING_MS   3000 /* the same, for those who still shake hands */
#define RECORD_MAX	   16384
#define ASKED_AT_ONCE	   256

void
conn_become(struct conn *c, enum conn_state state)
{
	bool was = c->state == CONN_HELD || c->state == CONN_WRITING;
	bool is = state == CONN_HELD || state == CONN_WRITING;

	c->httpd->busy += (size_t)is;
	c->httpd->busy -= (size_t)was;
	c->state = state;
	c->since_ms = loop_now_ms(c->httpd->loop);
	if (state == CONN_HEAD)
		c->begun_ms = c->since_ms;
}

/* what can be refused by the head's bytes alone */
static void
check_head(struct conn *c)
{
	const struct httpd_opts *o = &c->httpd->opts;
	const struct headscan *head = &c->head;

	if (head->status != 0)
		conn_refuse(c, head->status, head->code, head->detail);
	else if (head->lines == 0 &&
		 head->line_len > o->max_uri_bytes + REQUEST_LINE_SLACK)
		conn_refuse(c, 414, "uri_too_long", "The URI is too long.");
	else if (head->bytes > o->max_header_bytes + o->max_uri_bytes ||
		 head->bytes - head->first_len > o->max_header_bytes)
		conn_refuse(c, 431, "headers_too_large", "The headers are too large.");
	else if (head->ended && head->encodings > 0 && !o->allow_chunked)
		conn_refuse(c, 411, "length_required",
		    "Send the body with Content-Length; Transfer-Encoding is not "
		    "taken.");
	else if (head->ended && head->encodings > 0 &&
		 (head->encodings > 1 || !head->chunked))
		conn_refuse(c, 400, "malformed_request",
		    "The only Transfer-Encoding taken is chunked.");
	else if (head->ended && head->length > o->max_body_bytes)
		conn_refuse(c, 413, "body_too_large", "The body is too large.");
}

void
conn_bytes(struct conn *c, const char *bytes, size_t len)
{
	size_t used = 0;

	if (c->state == CONN_IDLE || c->state == CONN_HELLO)
		conn_become(c, CONN_HEAD);
	if (c->state == CONN_HEAD) {
		used = headscan_feed(&c->head, bytes, len);
		if (c->head.ended) {
			c->body_bytes = 0;
			conn_become(c, CONN_BODY);
		}
		check_head(c);
	}
	if (c->state == CONN_BODY)
		c->body_bytes += len - used;
}

void
conn_feed(struct conn *c, struct evbuffer *buf, size_t len)
{
	struct evbuffer_iovec v[8];
	struct evbuffer_ptr at;
	size_t all = evbuffer_get_length(buf);

	if (c->state > CONN_BODY)
		return; /* the next request: conn_next looks at it when its turn comes
			 */
	if (c->state == CONN_BODY) {
		c->body_bytes += len;
		return;
	}
	while (len > 0) {
		int n;

		if (evbuffer_ptr_set(buf, &at, all - len, EVBUFFER_PTR_SET) != 0)
			return;
		n = evbuffer_peek(buf, (ev_ssize_t)len, &at, v, 8);
		for (int i = 0; i < n && i < 8 && len > 0; i++) {
			size_t part = v[i].iov_len < len ? v[i].iov_len : len;

			conn_bytes(c, v[i].iov_base, part);
			len -= part;
		}
		if (n <= 0)
			return;
	}
}

static void
conn_tap(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	struct conn *c = arg;

	STAMP_CHECK(c, CONN_STAMP);
	if (info->n_added == 0 || c->seen)
		return;
	if (c->state == CONN_IDLE && c->evc != NULL &&
	    evbuffer_get_length(buf) == info->n_added)
		conn_plain_begin(c);
	conn_feed(c, buf, info->n_added);
	if (c->state == CONN_REFUSED)
		conn_refused_bytes(c);
}

/* (a callback of OpenSSL's half of libevent comes from within our own writing,
 * otherwise) */
static struct bufferevent *
tls_bufferevent(struct event_base *base, struct httpd *h)
{
	SSL *ssl = tlsctx_accept(h->opts.tls);

	/* ssl is given, also on failure */
	return ssl == NULL ? NULL
			   : bufferevent_openssl_socket_new(base, -1, ssl,
				 BUFFEREVENT_SSL_ACCEPTING,
				 BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
}

struct bufferevent *
conn_accepted(struct event_base *base, void *arg)
{
	const struct intake *in = arg;
	struct httpd *h = in->httpd;
	struct bufferevent *bev =
	    (in->kind & HTTPD_TLS) != 0
		? tls_bufferevent(base, h)
		: bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	struct conn *c = mem_zero(sizeof(*c));

	STAMP_CHECK(h, HTTPD_STAMP);
	if (bev == NULL || c == NULL)
		goto fail;
	c->stamp = CONN_STAMP;
	c->kind = in->kind;
	c->httpd = h;
	c->bev = bev;
	c->since_ms = loop_now_ms(h->loop);
	c->tap = evbuffer_add_cb(bufferevent_get_input(bev), conn_tap, c);
	if (c->tap == NULL ||
	    hmap_put(h->by_bev, &c->bev, sizeof(c->bev), c, NULL) != 0)
		goto fail;
	/*
	 * While a reply is written evhttp reads on without looking; a request that is
	 * allowed must fit all the same.
	 */
	bufferevent_setwatermark(bev, EV_READ, 0,
	    h->opts.max_body_bytes + h->opts.max_header_bytes + h->opts.max_uri_bytes +
		65536);
	bufferevent_incref(bev);
	TAILQ_INSERT_TAIL(&h->fresh, c, link);
	httpd_conn_came(h);
	loop_defer_start(h->step);
	return bev;

fail:
	/* evhttp makes a bufferevent of its own then; its request is refused in time */
	log_warn(
	    NULL, "connection without a guard: out of memory", "listener=%s", h->name);
	if (c != NULL && c->tap != NULL)
		evbuffer_remove_cb_entry(bufferevent_get_input(bev), c->tap);
	if (bev != NULL)
		bufferevent_free(bev);
	mem_free(c);
	return NULL;
}

/* evhttp's part is going or gone */
static void
conn_end(struct conn *c)
{
	struct httpd *h = c->httpd;
	struct httpreq *req = c->req;

	if (c->state == CONN_DOOMED)
		TAILQ_REMOVE(&h->doomed, c, step_link);
	if (c->state == CONN_REFUSED && !c->answered)
		TAILQ_REMOVE(&h->refused, c, step_link);
	conn_become(c, CONN_IDLE);
	hello_end(c);
	if (c->evc != NULL) {
		TAILQ_REMOVE(&h->conns, c, link);
		conn_plain_end(c);
	}
	(void)hmap_remove(h->by_bev, &c->bev, sizeof(c->bev));
	evbuffer_remove_cb_entry(bufferevent_get_input(c->bev), c->tap);
	c->stamp = 0;
	mem_free(c);
	if (req != NULL)
		httpreq_lost(req);
	httpd_conn_left(h);
}

static void
conn_closed(struct evhttp_connection *evc, void *arg)
{
	struct conn *c = arg;

	(void)evc;
	STAMP_CHECK(c, CONN_STAMP);
	conn_end(c);
}

void
conn_adopt_all(struct httpd *h)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&h->fresh)) != NULL) {
		struct bufferevent *bev = c->bev;
		void *evc = NULL;

		TAILQ_REMOVE(&h->fresh, c, link);
		bufferevent_getcb(bev, NULL, NULL, NULL, &evc);
		if (evc == NULL) {
			/* evhttp could not take it and has freed its reference */
			conn_end(c);
		} else {
			c->evc = evc;
			TAILQ_INSERT_TAIL(&h->conns, c, link);
			evhttp_connection_set_closecb(c->evc, conn_closed, c);
			/* evhttp's, for those that we do not know */
			bufferevent_set_timeouts(bev, NULL, NULL);
			conn_plain_init(c);
			if (c->kind != 0)
				hello_begin(c);
			if (!loop_timer_pending(h->sweep))
				loop_timer_start_ms(h->sweep, h->sweep_ms);
		}
		bufferevent_decref(bev);
	}
}

struct conn *
conn_of(struct httpd *h, struct evhttp_connection *evc)
{
	struct bufferevent *bev = evhttp_connection_get_bufferevent(evc);

	return hmap_get(h->by_bev, &bev, sizeof(bev));
}

void
conn_hold(struct conn *c, struct httpreq *req)
{
	c->req = req;
	conn_become(c, CONN_HELD);
}

/* ---------------------------------------------------------------- the reply */

static void
written(struct evhttp_request *ev, void *arg)
{
	struct conn *c = arg;
	struct evbuffer *in = bufferevent_get_input(c->bev);

	(void)ev;
	STAMP_CHECK(c, CONN_STAMP);
	if (c->state != CONN_WRITING)
		return;
	conn_become(c, CONN_IDLE);
	headscan_reset(&c->head);
	if (c->close_after) {
		/* evhttp closes too, by the same rules */
		conn_doom(c);
		return;
	}
	/* what came meanwhile is the next request */
	if (evbuffer_get_length(in) > 0)
		conn_feed(c, in, evbuffer_get_length(in));
	/* evhttp looks at what is there right after this */
	if (c->state == CONN_REFUSED)
		evbuffer_drain(in, evbuffer_get_length(in));
}

/* the first bytes of both; 0 as well if that fails, which the next try will find */
static size_t
send_now(int fd, const struct strbuf *head, const void *body, size_t len)
{
	struct iovec v[2] = {{head->data, head->len}, {(void *)(uintptr_t)body, len}};
	struct msghdr msg = {.msg_iov = v, .msg_iovlen = len > 0 ? 2 : 1};
	ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

	return n < 0 ? 0 : (size_t)n;
}

/* puts what is left after sent bytes behind what waits already */
static int
queue_rest(struct evbuffer *out, const struct strbuf *head, const void *body,
    size_t len, size_t sent)
{
	size_t of_head = sent < head->len ? sent : head->len;
	size_t of_body = sent - of_head;

	if (evbuffer_add(out, head->data + of_head, head->len - of_head) != 0)
		return -1;
	return len == of_body
		   ? 0
		   : evbuffer_add(out, (const char *)body + of_body, len - of_body);
}

/*
 * TLS: what is put into the buffer waits until writing is enabled, and lies in one
 * piece, since each piece is sent as a record of its own.  That failing costs a record.
 */
static void
gather(struct conn *c, size_t len)
{
	(void)bufferevent_disable(c->bev, EV_WRITE);
	(void)evbuffer_expand(
	    bufferevent_get_output(c->bev), len < RECORD_MAX ? len : RECORD_MAX);
}

/* as evhttp does it: nothing is read, but the client's end is seen */
static void
write_later(struct bufferevent *bev)
{
	bufferevent_data_cb wrote;
	bufferevent_event_cb event;
	void *evc;

	bufferevent_getcb(bev, NULL, &wrote, &event, &evc);
	bufferevent_setcb(bev, NULL, wrote, event, evc);
	(void)bufferevent_enable(bev, EV_READ | EV_WRITE);
}

/*
 * evhttp_send_reply_end, without a start, is evhttp's way to end a request whose reply
 * somebody else has put into the output buffer: with the callback of the last byte
 * written, or at once if nothing waits there.  At once it goes on with the next request
 * but must not close: the last reply of a connection takes the longer way.
 */
void
conn_reply(struct conn *c, struct evhttp_request *ev, const struct strbuf *head,
    const void *body, size_t len, bool last)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);
	size_t sent = 0;

	c->req = NULL;
	c->close_after = last;
	c->out_len = 0;
	conn_become(c, CONN_WRITING);
	if (c->ssl != NULL)
		gather(c, head->len + len);
	else if ((ev == NULL || !last) && evbuffer_get_length(out) == 0)
		sent = send_now(bufferevent_getfd(c->bev), head, body, len);
	c->httpd->unsent = head->len + len - sent;
	if (sent < head->len + len && queue_rest(out, head, body, len, sent) != 0) {
		log_warn(NULL, "reply cut short: out of memory", "listener=%s",
		    c->httpd->name);
		conn_doom(c);
		return;
	}
	if (ev == NULL) {
		if (sent < head->len + len)
			(void)bufferevent_enable(c->bev, EV_WRITE);
		else
			conn_plain_done(c);
		return;
	}
	if (sent < head->len + len && c->ssl == NULL)
		write_later(c->bev);
	evhttp_request_set_on_complete_cb(ev, written, c);
	ev->chunked = 0; /* the request was; of this reply it would mean a last chunk */
	evhttp_send_reply_end(ev);
	/* with TLS it is written at once: evhttp shall know before that it must wait */
	if (c->ssl != NULL)
		write_later(c->bev);
}

/* ---------------------------------------------------------------- closing */

void
conn_lose(struct conn *c)
{
	if (c->state == CONN_DOOMED)
		return;
	if (c->state == CONN_REFUSED && !c->answered)
		TAILQ_REMOVE(&c->httpd->refused, c, step_link);
	conn_become(c, CONN_DOOMED);
	TAILQ_INSERT_TAIL(&c->httpd->doomed, c, step_link);
	loop_defer_start(c->httpd->step);
}

void
conn_doom(struct conn *c)
{
	c->req = NULL;
	conn_lose(c);
}

void
conn_close(struct conn *c)
{
	evhttp_connection_free(c->evc); /* ends in conn_closed */
}

void
conn_close_doomed(struct httpd *h)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&h->doomed)) != NULL)
		conn_close(c);
}

/* NULL: it may stay */
static const char *
overdue(struct conn *c, int64_t now_ms)
{
	const struct httpd_opts *o = &c->httpd->opts;
	int64_t age_ms = now_ms - c->since_ms;
	size_t out;

	switch (c->state) {
	case CONN_IDLE:
		if (c->httpd->leaving && age_ms > QUIET_MS)
			return "leaving";
		return age_ms > o->idle_ms ? "idle" : NULL;
	case CONN_HELLO:
		if (c->httpd->leaving && age_ms > HELLO_LEAVING_MS)
			return "leaving";
		return age_ms > o->hello_ms ? "greeting too slow" : NULL;
	case CONN_HEAD:
		return age_ms > o->header_ms ? "headers too slow" : NULL;
	case CONN_BODY:
		if (age_ms > o->body_ms)
			return "body too slow";
		if (age_ms > RATE_GRACE_MS &&
		    c->body_bytes <
			(uint64_t)(age_ms - RATE_GRACE_MS) * o->min_rate / 1000)
			return "body below the least rate";
		return NULL;
	case CONN_WRITING:
		out = evbuffer_get_length(bufferevent_get_output(c->bev));
		if (out != c->out_len) {
			c->out_len = out;
			c->since_ms = now_ms;
			return NULL;
		}
		return age_ms > o->write_ms ? "reply not taken" : NULL;
	case CONN_STREAM:
		out = evbuffer_get_length(bufferevent_get_output(c->bev));
		if (out == 0 || c->streamed - out != c->out_len) {
			c->out_len = c->streamed - out;
			c->since_ms = now_ms;
			return NULL;
		}
		return age_ms > o->write_ms ? "reply not taken" : NULL;
	case CONN_REFUSED:
		return age_ms > LINGER_MS ? "refused" : NULL;
	case CONN_HELD:
	case CONN_DOOMED:
		break;
	}
	return NULL;
}

static void
close_for(struct conn *c, const char *why)
{
	log_debug(NULL, "connection closed", "listener=%s reason=\"%s\"",
	    c->httpd->name, why);
	conn_close(c);
}

/* connections that are held, and what the kernel says of them */
struct inquiry {
	nfds_t count;
	struct conn *conns[ASKED_AT_ONCE];
	struct pollfd fds[ASKED_AT_ONCE];
};

static void
inquire(struct inquiry *q)
{
	nfds_t count = q->count;

	q->count = 0;
	if (count == 0)
		return;
	/* EINTR, ENOMEM: the next sweep asks again */
	if (poll(q->fds, count, 0) < 0) {
		log_debug(NULL, "clients were not looked at", "reason=\"%s\"",
		    strerror(errno));
		return;
	}
	for (nfds_t i = 0; i < count; i++) {
		if (q->fds[i].revents != 0)
			close_for(q->conns[i], "client gone");
	}
}

/* a client's end (also of its half only) and its reset; unread bytes are no news */
static void
ask(struct inquiry *q, struct conn *c)
{
	q->conns[q->count] = c;
	q->fds[q->count].fd = bufferevent_getfd(c->bev);
	q->fds[q->count].events = POLLRDHUP;
	if (++q->count == ASKED_AT_ONCE)
		inquire(q);
}

void
conn_sweep(struct httpd *h)
{
	int64_t now_ms = loop_now_ms(h->loop);
	struct conn *c, *next;
	struct inquiry q;

	q.count = 0;
	for (c = TAILQ_FIRST(&h->conns); c != NULL; c = next) {
		const char *why = overdue(c, now_ms);

		/* what is asked about, and perhaps closed, is behind it */
		next = TAILQ_NEXT(c, link);
		if (why != NULL)
			close_for(c, why);
		else if (c->state == CONN_STREAM ||
			 (c->state == CONN_HELD && now_ms - c->since_ms >= h->sweep_ms))
			ask(&q, c);
	}
	inquire(&q);
}
