/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * refuse.c - answers in evhttp's place.
 *
 * A head that must not be read further is answered here: evhttp would send a page of
 * its own, wait for a body that is too large, or close so hastily that the reset
 * overtakes the answer.  The callbacks of the bufferevent become ours; the answer is
 * written, our side is shut down, and what the client still sends is thrown away until
 * it closes too or the sweep loses patience.
 *
 * evhttp's connection waits for a request all the while and is freed as any other.
 */
#include "http/httpd_int.h"

#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/util.h>

#include "base/log.h"
#include "http/problem.h"

static void
refused_read(struct bufferevent *bev, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(bev);

	(void)arg;
	evbuffer_drain(in, evbuffer_get_length(in));
}

static void
refused_written(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;

	STAMP_CHECK(c, CONN_STAMP);
	if (c->answered) {
		hello_goodbye(c);
		(void)shutdown(bufferevent_getfd(bev), SHUT_WR);
	}
}

static void
refused_event(struct bufferevent *bev, short what, void *arg)
{
	struct conn *c = arg;

	(void)bev;
	STAMP_CHECK(c, CONN_STAMP);
	if (c->ssl != NULL && hello_told(c, what))
		return;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT))
		conn_doom(c);
}

void
conn_refused_bytes(struct conn *c)
{
	conn_plain_end(c);
	bufferevent_setcb(c->bev, refused_read, refused_written, refused_event, c);
}

void
conn_refuse(struct conn *c, int status, const char *code, const char *detail)
{
	conn_become(c, CONN_REFUSED);
	c->why = (struct conn_refusal){status, code, detail};
	c->answered = false;
	TAILQ_INSERT_TAIL(&c->httpd->refused, c, step_link);
	loop_defer_start(c->httpd->step);
}

/* to whoever writes the access log: no more than that somebody was refused */
static void
tell(struct conn *c, const char *name)
{
	const struct httpd_opts *o = &c->httpd->opts;
	char *peer = NULL;
	ev_uint16_t port;

	if (o->refused == NULL)
		return;
	evhttp_connection_get_peer(c->evc, &peer, &port);
	if (c->proxied[0] != '\0')
		peer = c->proxied;
	o->refused(peer == NULL ? "" : peer, name, c->why.status, o->arg);
}

static void
answer(struct conn *c)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);
	struct strbuf sb;
	char date[50], name[HTTPREQ_NAME + 1];

	facts_make_name(facts_next_id(), name);
	log_debug(NULL, "request refused",
	    "request=%s listener=%s status=%d reason=\"%s\"", name, c->httpd->name,
	    c->why.status, c->why.detail);
	tell(c, name);
	strbuf_init(&sb, PROBLEM_MAX);
	problem_write(&sb, c->why.status, c->why.code, c->why.detail);
	if (evutil_date_rfc1123(date, sizeof(date), NULL) <= 0 ||
	    evbuffer_add_printf(out,
		"HTTP/1.1 %d %s\r\n"
		"X-Request-Id: %s\r\n"
		"Content-Type: application/problem+json\r\n"
		"Date: %s\r\nContent-Length: %zu\r\n"
		"Connection: close\r\n\r\n",
		c->why.status, problem_phrase(c->why.status), name, date, sb.len) < 0 ||
	    evbuffer_add(out, sb.data, sb.len) != 0 ||
	    bufferevent_enable(c->bev, EV_READ | EV_WRITE) != 0)
		conn_doom(c);
	strbuf_fini(&sb);
}

void
conn_answer_refused(struct httpd *h)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&h->refused)) != NULL) {
		TAILQ_REMOVE(&h->refused, c, step_link);
		c->answered = true;
		conn_refused_bytes(c);
		refused_read(c->bev, c);
		answer(c);
	}
}
