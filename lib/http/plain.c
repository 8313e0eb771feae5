/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * plain.c - requests that evhttp never sees.
 *
 * Most requests have nothing in which evhttp is of help: a head that headscan.c found
 * good, and a body of known length or none.  When such a request is complete it is
 * copied out of the connection's buffer in one piece, cut into strings in place and
 * handed on; its reply is written here as well.  What is left for evhttp are bodies in
 * chunks, the client that waits for "100 Continue", and everything when memory is out:
 * it is given the buffer untouched, with the callbacks it had, and all goes as if this
 * file did not exist.  Who reads a request, reads all of it: nothing is parsed by both.
 *
 * From the first byte of a request on, which finds evhttp's connection waiting for a
 * request line, the callbacks of the bufferevent are ours, and an event of our own
 * reads the socket in its place: libevent would ask the kernel first how much there is.
 * What comes in one piece never sees an evbuffer.  evhttp's connection still waits when
 * the reply is written, and is freed as any other.
 *
 * Reading goes on while a request is held, so that a request costs no change of what
 * epoll looks at.  What a client sends ahead waits in the buffer, up to a bound.  If it
 * ends meanwhile, its reply is still written: it may have closed its half only.  The
 * sweep finds those who are gone.
 *
 * On a TLS connection the bufferevent reads, and only that is different: its callbacks
 * are ours from the start, and what it reads it puts into the buffer.
 */
#include "http/httpd_int.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/attr.h"

#define AHEAD_MAX 16384 /* sent ahead of a reply; more waits in the kernel */

/* ---------------------------------------------------------------- the request */

static enum http_method
method_of(const char *name)
{
	static const struct {
		const char *name;
		enum http_method method;
	} methods[] = {
	    {"GET", HTTP_GET},
	    {"POST", HTTP_POST},
	    {"PUT", HTTP_PUT},
	    {"DELETE", HTTP_DELETE},
	    {"HEAD", HTTP_HEAD},
	};

	for (size_t i = 0; i < COUNT_OF(methods); i++) {
		if (strcmp(methods[i].name, name) == 0)
			return methods[i].method;
	}
	return 0; /* no route has it */
}

/* what the first c separates: it becomes a NUL, and *at moves behind it */
static char *
cut(char **at, char c)
{
	char *from = *at, *end = strchr(from, c);

	*end = '\0';
	*at = end + 1;
	return from;
}

/*
 * headscan.c has seen these bytes: two spaces in the first line, a colon in each of the
 * others, CR LF at their ends, no NUL, one blank line.  Spaces around a value go by
 * evhttp's rule: a tab before it belongs to it.
 */
static void
take_apart(struct httpreq *req, size_t lines)
{
	char *at = req->raw;

	req->method = method_of(cut(&at, ' '));
	req->uri = cut(&at, ' ');
	req->minor = cut(&at, '\n')[sizeof("HTTP/1.") - 1] == '0' ? 0 : 1;
	for (req->field_count = 0; req->field_count + 1 < lines; req->field_count++) {
		struct httpreq_pair *field = &req->fields[req->field_count];
		char *line = cut(&at, '\n'), *end = at - 2; /* at the CR */

		field->name = cut(&line, ':');
		line += strspn(line, " ");
		while (end > line && (end[-1] == ' ' || end[-1] == '\t'))
			end--;
		*end = '\0';
		field->value = line;
	}
}

static bool
is_plain(const struct headscan *head)
{
	return head->encodings == 0 && !head->expects &&
	       (head->takes_body || head->length == 0);
}

/* bytes: all of it; NULL: it is in the buffer.  false: evhttp has to. */
static bool
take_request(struct conn *c, const char *bytes)
{
	size_t head_len = c->head.bytes, body_len = (size_t)c->head.length;
	struct httpreq *req = httpreq_begin(c);

	if (req == NULL)
		return false;
	if (httpreq_room(req, head_len + body_len, c->head.lines) != 0) {
		httpreq_cancel(req);
		return false;
	}
	if (bytes != NULL)
		memcpy(req->raw, bytes, head_len + body_len);
	else
		(void)evbuffer_remove(
		    bufferevent_get_input(c->bev), req->raw, head_len + body_len);
	req->raw[head_len + body_len] = '\0';
	req->body = req->raw + head_len;
	req->body_len = body_len;
	req->takes_body = c->head.takes_body;
	take_apart(req, c->head.lines);
	httpreq_go(req);
	return true;
}

/* ---------------------------------------------------------------- callbacks */

static void
hand_over(struct conn *c)
{
	(void)bufferevent_enable(c->bev, EV_READ);
	conn_plain_end(c);
	bufferevent_setcb(
	    c->bev, c->evhttp_read, c->evhttp_wrote, c->evhttp_event, c->evc);
	c->evhttp_read(c->bev, c->evc);
}

/* of a plain request; of another, all that can be known here */
static bool
is_complete(const struct conn *c)
{
	return c->state == CONN_BODY && c->body_bytes >= c->head.length;
}

static void
plain_read(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;

	STAMP_CHECK(c, CONN_STAMP);
	if (c->state == CONN_HELD || c->state == CONN_WRITING ||
	    c->state == CONN_STREAM) {
		if (evbuffer_get_length(bufferevent_get_input(bev)) > AHEAD_MAX)
			c->paused = (c->ssl != NULL ? bufferevent_disable(bev, EV_READ)
						    : event_del(&c->readable)) == 0;
		return;
	}
	if (c->state != CONN_BODY)
		return;
	if (!is_plain(&c->head) || (is_complete(c) && !take_request(c, NULL)))
		hand_over(c);
}

static void
plain_wrote(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;

	(void)bev;
	STAMP_CHECK(c, CONN_STAMP);
	if (c->state == CONN_WRITING)
		conn_plain_done(c);
}

static void
plain_event(struct bufferevent *bev, short what, void *arg)
{
	struct conn *c = arg;

	(void)bev;
	STAMP_CHECK(c, CONN_STAMP);
	if (c->ssl != NULL && hello_told(c, what))
		return;
	(void)event_del(&c->readable);
	/* an end may come after a whole request */
	if (c->state == CONN_HELD || c->state == CONN_STREAM ||
	    (what & BEV_EVENT_EOF && (c->state == CONN_WRITING || is_complete(c))))
		c->ended = true;
	else
		conn_doom(c);
}

/* bytes that the tap shall see, or has seen already */
static void
put(struct conn *c, const char *bytes, size_t len, bool seen)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);

	/* to others than the bufferevent its end is closed */
	c->seen = seen;
	if (evbuffer_unfreeze(in, 0) != 0 || evbuffer_add(in, bytes, len) != 0)
		conn_doom(c);
	(void)evbuffer_freeze(in, 0);
	c->seen = false;
}

static void
readable(int fd, short what, void *arg)
{
	static char bytes[16384];
	struct conn *c = arg;
	size_t buffered;
	ssize_t n;

	STAMP_CHECK(c, CONN_STAMP);
	if (c->state == CONN_DOOMED)
		return;
	if (what & EV_TIMEOUT) {
		plain_read(c->bev, c);
		return;
	}
	if (c->greeting != NULL) {
		hello_readable(c, fd);
		return;
	}
	n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n <= 0) {
		if (n == 0)
			plain_event(c->bev, BEV_EVENT_READING | BEV_EVENT_EOF, c);
		else if (errno != EAGAIN && errno != EINTR)
			plain_event(c->bev, BEV_EVENT_READING | BEV_EVENT_ERROR, c);
		return;
	}
	buffered = evbuffer_get_length(bufferevent_get_input(c->bev));
	if (c->state != CONN_IDLE || buffered > 0) {
		put(c, bytes, (size_t)n, false);
	} else {
		conn_bytes(c, bytes, (size_t)n);
		if (c->state == CONN_REFUSED) {
			conn_refused_bytes(c);
			return;
		}
		if (is_complete(c) && is_plain(&c->head) &&
		    c->head.bytes + c->head.length == (size_t)n &&
		    take_request(c, bytes))
			return;
		put(c, bytes, (size_t)n, true);
	}
	plain_read(c->bev, c);
}

void
conn_plain_init(struct conn *c)
{
	(void)event_assign(&c->readable, bufferevent_get_base(c->bev),
	    bufferevent_getfd(c->bev), EV_READ | EV_PERSIST, readable, c);
}

void
conn_plain_end(struct conn *c)
{
	if (event_initialized(&c->readable))
		(void)event_del(&c->readable);
	c->plain = false;
}

void
conn_plain_begin(struct conn *c)
{
	void *evc;

	/* first the one, then the other: to epoll nothing changes */
	if (c->plain || (c->ssl == NULL && event_add(&c->readable, NULL) != 0))
		return;
	if (c->ssl == NULL)
		(void)bufferevent_disable(c->bev, EV_READ);
	bufferevent_getcb(
	    c->bev, &c->evhttp_read, &c->evhttp_wrote, &c->evhttp_event, &evc);
	bufferevent_setcb(c->bev, plain_read, plain_wrote, plain_event, c);
	c->plain = true;
}

void
conn_plain_done(struct conn *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);

	conn_become(c, CONN_IDLE);
	headscan_reset(&c->head);
	(void)bufferevent_disable(c->bev, EV_WRITE);
	if (c->close_after) {
		conn_doom(c);
		return;
	}
	/* first of all: libevent does not add an event that is active */
	if (c->paused && (c->ssl != NULL ? bufferevent_enable(c->bev, EV_READ)
					 : event_add(&c->readable, NULL)) != 0) {
		conn_doom(c);
		return;
	}
	c->paused = false;
	/* what came meanwhile is the next request */
	if (evbuffer_get_length(in) > 0) {
		conn_feed(c, in, evbuffer_get_length(in));
		if (c->state == CONN_REFUSED) {
			evbuffer_drain(in, evbuffer_get_length(in));
			return;
		}
		/*
		 * Its turn is another callback's: our own, which ends with our turn.
		 * One that the bufferevent has postponed would find evhttp's in its
		 * place.
		 */
		event_active(&c->readable, EV_TIMEOUT, 0);
	}
	if (c->ended && !is_complete(c))
		conn_doom(c);
}
