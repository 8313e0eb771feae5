/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream.c - replies that go on: a head, parts as they come, an end.
 *
 * Whoever read the request, from the begin on the connection is ours until it closes:
 * the bufferevent writes what is put into its buffer and calls nobody but us.  What a
 * client of such a reply sends is left unread behind a bound (plain.c), and the sweep
 * sees its end, as with a request that is held.
 *
 * A slow client costs HTTPREQ_UNSENT_MAX here and what the kernel keeps: then it is
 * dropped, since one that may fall behind for ever would need a buffer without a bound.
 * It is told apart from one that hung up by nobody.
 *
 * A stream is not counted as a request under way, nor is its end while it is written: a
 * process that leaves ends its streams, and waits for none of them.
 */
#include "http/httpd_int.h"

#include <stdio.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "base/clock.h"
#include "base/log.h"

/* all is written: closes what has ended */
static void
stream_wrote(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;

	(void)bev;
	STAMP_CHECK(c, CONN_STAMP);
	if (c->state == CONN_STREAM && c->req == NULL)
		conn_doom(c);
}

static void
stream_failed(struct bufferevent *bev, short what, void *arg)
{
	struct conn *c = arg;

	(void)bev;
	STAMP_CHECK(c, CONN_STAMP);
	if (c->ssl == NULL || !hello_told(c, what))
		conn_lose(c);
}

static struct evbuffer *
output(const struct conn *c)
{
	return bufferevent_get_output(c->bev);
}

static void
lose(struct conn *c, const char *why)
{
	log_debug(
	    NULL, "stream closed", "listener=%s reason=\"%s\"", c->httpd->name, why);
	conn_lose(c);
}

/* false: no memory */
static bool
put(struct conn *c, const void *bytes, size_t len)
{
	if (evbuffer_add(output(c), bytes, len) != 0)
		return false;
	c->streamed += len;
	return true;
}

bool
httpreq_stream_begin(struct httpreq *req, int status, const char *type)
{
	struct httpd *h = req->httpd;
	struct conn *c = req->conn;
	struct reply_facts r = {.status = status,
	    .minor = req->minor,
	    .type = type,
	    .says_close = true,
	    .stream = true};

	STAMP_CHECK(req, HTTPREQ_STAMP);
	if (req->gone || c->state != CONN_HELD)
		return false;
	if (reply_write(&h->head, req, &r) != 0)
		return false;
	c->close_after = true;
	c->chunked = r.minor > 0;
	c->streamed = c->out_len = 0;
	req->status = status;
	req->streamed = h->head.len;
	conn_become(c, CONN_STREAM);
	bufferevent_setcb(c->bev, NULL, stream_wrote, stream_failed, c);
	/* nobody would bound what it reads; the sweep sees the client's end */
	if (c->ssl != NULL)
		(void)bufferevent_disable(c->bev, EV_READ);
	if (!put(c, h->head.data, h->head.len) ||
	    bufferevent_enable(c->bev, EV_WRITE) != 0) {
		lose(c, "out of memory");
		return true; /* the gone callback comes */
	}
	if (h->opts.after != NULL)
		h->opts.after(
		    req, status, clock_mono_us() - req->since_us, h->opts.arg);
	return true;
}

void
httpreq_stream_send(struct httpreq *req, const void *bytes, size_t len)
{
	struct conn *c = req->conn;
	char size[24];
	bool whole;

	STAMP_CHECK(req, HTTPREQ_STAMP);
	/* a chunk without bytes would be the last one */
	if (req->gone || c->state != CONN_STREAM || len == 0)
		return;
	req->streamed += len;
	/* each part would be a record of its own */
	if (c->ssl != NULL)
		(void)bufferevent_disable(c->bev, EV_WRITE);
	if (c->chunked) {
		int n = snprintf(size, sizeof(size), "%zx\r\n", len);

		whole =
		    put(c, size, (size_t)n) && put(c, bytes, len) && put(c, "\r\n", 2);
	} else {
		whole = put(c, bytes, len);
	}
	if (!whole || (c->ssl != NULL && bufferevent_enable(c->bev, EV_WRITE) != 0))
		lose(c, "out of memory");
	else if (evbuffer_get_length(output(c)) > HTTPREQ_UNSENT_MAX)
		lose(c, "client too slow");
}

size_t
httpreq_stream_unsent(const struct httpreq *req)
{
	return req->gone ? 0 : evbuffer_get_length(output(req->conn));
}

void
httpreq_stream_end(struct httpreq *req)
{
	struct conn *c = req->conn;

	STAMP_CHECK(req, HTTPREQ_STAMP);
	if (c != NULL) {
		c->req = NULL;
		if (c->state == CONN_STREAM &&
		    ((c->chunked && !put(c, "0\r\n\r\n", 5)) ||
			evbuffer_get_length(output(c)) == 0))
			conn_doom(c);
	}
	facts_tell(req, req->status, req->streamed, 0);
	httpreq_recycle(req);
}
