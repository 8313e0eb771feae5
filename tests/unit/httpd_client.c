/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * httpd_client.c - the httpd under test, its handlers, and clients that speak in bytes.
 */
#include "httpd_client.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "base/clock.h"

/* ---------------------------------------------------------------- handlers */

static void
hello(struct httpreq *req, void *arg)
{
	struct stage *st = arg;
	const char *q = httpreq_query(req, "q");

	st->handled++;
	httpreq_reply(req, 200, "text/plain", q == NULL ? "hello" : q,
	    strlen(q == NULL ? "hello" : q));
}

static void
echo(struct httpreq *req, void *arg)
{
	struct stage *st = arg;
	size_t len;
	const char *body = httpreq_body(req, &len);

	st->handled++;
	httpreq_reply(req, 201, NULL, body, len);
}

static void
gone(struct httpreq *req, void *arg)
{
	struct stage *st = arg;

	assert_true(httpreq_is_gone(req));
	st->gone_count++;
}

static void
hold(struct httpreq *req, void *arg)
{
	struct stage *st = arg;

	st->handled++;
	assert_true(st->held_count < HELD_MAX);
	st->held[st->held_count++] = req;
	httpreq_on_gone(req, gone, st);
}

static void
big(struct httpreq *req, void *arg)
{
	struct stage *st = arg;
	char *body = calloc(1, BIG_BYTES);

	st->handled++;
	assert_non_null(body);
	memset(body, 'x', BIG_BYTES);
	httpreq_reply(req, 200, NULL, body, BIG_BYTES);
	free(body);
}

static void
drop(struct httpreq *req, void *arg)
{
	struct stage *st = arg;

	st->handled++;
	httpreq_drop(req);
}

static void
stream(struct httpreq *req, void *arg)
{
	struct stage *st = arg;

	st->handled++;
	assert_true(st->held_count < HELD_MAX);
	st->held[st->held_count++] = req;
	httpreq_on_gone(req, gone, st);
	assert_true(httpreq_stream_begin(req, 200, "text/event-stream"));
}

static void
after(struct httpreq *req, int status, int64_t duration_us, void *arg)
{
	struct stage *st = arg;

	assert_non_null(httpreq_path(req));
	assert_true(duration_us >= 0);
	st->afters++;
	st->last_status = status;
}

static const struct http_route routes[] = {
    {HTTP_GET, "/hello", hello, 0},
    {HTTP_POST, "/echo", echo, 7},
    {HTTP_GET, "/hold", hold, 0},
    {HTTP_GET, "/big", big, 0},
    {HTTP_GET, "/drop", drop, 0},
    {HTTP_GET, "/stream", stream, 0},
    {HTTP_POST, "/stream", stream, 0},
    {0, NULL, NULL, 0},
};

/* ---------------------------------------------------------------- the stage */

void
stage_opts(struct stage *st, struct httpd_opts *opts)
{
	httpd_opts_default(opts);
	opts->name = "test";
	opts->routes = routes;
	opts->arg = st;
	opts->after = after;
}

void
stage_open(struct stage *st, const struct httpd_opts *opts)
{
	struct err err = ERR_INIT;
	struct addr any;
	int fd = -1;

	st->loop = loop_create(&err);
	assert_non_null(st->loop);
	st->httpd = httpd_create(st->loop, opts, &err);
	assert_non_null(st->httpd);
	assert_int_equal(addr_parse("127.0.0.1:0", &any, &err), 0);
	assert_int_equal(addr_listen(&any, 128, &fd, &err), 0);
	assert_int_equal(addr_of_socket(fd, &st->addr, &err), 0);
	assert_int_equal(httpd_listen(st->httpd, fd, &err), 0);
}

void
stage_close(struct stage *st)
{
	httpd_free(st->httpd);
	loop_free(st->loop);
}

void
stage_turn(struct stage *st)
{
	struct timespec moment = {.tv_nsec = 200000};

	if (event_base_loop(loop_base(st->loop), EVLOOP_ONCE | EVLOOP_NONBLOCK) < 0)
		fail();
	/* not for luck: only so that waiting does not burn a processor */
	(void)ppoll(NULL, 0, &moment, NULL);
}

/* ---------------------------------------------------------------- clients */

void
client_open(struct client *c, struct stage *st)
{
	memset(c, 0, sizeof(*c));
	c->stage = st;
	c->in = calloc(1, 1);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(c->fd >= 0);
	/* the kernel completes it; nobody need have accepted */
	assert_int_equal(connect(c->fd, &st->addr.sa, st->addr.len), 0);
}

void
client_close(struct client *c)
{
	close(c->fd);
	free(c->in);
	c->in = NULL;
	c->fd = -1;
}

void
client_reset(struct client *c)
{
	struct linger none = {.l_onoff = 1, .l_linger = 0};

	assert_int_equal(
	    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)), 0);
	client_close(c);
}

bool
client_send(struct client *c, const void *bytes, size_t len)
{
	const char *at = bytes;
	int64_t until = clock_mono_ms() + 60000;

	while (len > 0) {
		ssize_t n = send(c->fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		assert_true(clock_mono_ms() < until);
		if (n < 0 && errno != EAGAIN)
			return false;
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		} else {
			stage_turn(c->stage);
		}
	}
	return true;
}

void
client_text(struct client *c, const char *text)
{
	assert_true(client_send(c, text, strlen(text)));
}

void
client_read(struct client *c)
{
	char block[65536];
	ssize_t n = recv(c->fd, block, sizeof(block), MSG_DONTWAIT);

	if (n == 0)
		c->eof = true;
	else if (n < 0 && errno == ECONNRESET)
		c->eof = c->reset = true;
	if (n <= 0)
		return;
	if (c->len + (size_t)n >= c->cap) {
		c->cap = 2 * (c->len + (size_t)n + 1);
		c->in = realloc(c->in, c->cap);
		assert_non_null(c->in);
	}
	memcpy(c->in + c->len, block, (size_t)n);
	c->len += (size_t)n;
	c->in[c->len] = '\0';
}

void
client_read_within(struct client *c, int ms)
{
	struct pollfd pfd = {.fd = c->fd, .events = POLLIN};

	(void)poll(&pfd, 1, ms);
	client_read(c);
}

/* the reply that begins at at: NULL if it is not complete, else where it ends */
static const char *
reply_end(const struct client *c, const char *at)
{
	const char *end = strstr(at, "\r\n\r\n"), *length;
	size_t n = 0;

	if (end == NULL)
		return NULL;
	end += 4;
	length = strcasestr(at, "\r\nContent-Length:");
	if (c->head)
		return end;
	if (length != NULL && length < end)
		n = strtoul(length + 17, NULL, 10);
	else if (strncmp(at + 9, "100", 3) != 0)
		return c->eof ? c->in + c->len : NULL;
	return (size_t)(c->in + c->len - end) < n ? NULL : end + n;
}

unsigned
client_replies(const struct client *c)
{
	const char *at = c->in;
	unsigned count = 0;

	while (*at != '\0' && (at = reply_end(c, at)) != NULL)
		count++;
	return count;
}

int
client_status(const struct client *c, unsigned n)
{
	const char *at = c->in;

	while (n-- > 0 && at != NULL)
		at = reply_end(c, at);
	return at == NULL || strlen(at) < 12 ? 0 : atoi(at + 9);
}

void
client_wait_replies(struct client *c, unsigned count)
{
	STAGE_WAIT(c->stage, (client_read(c), client_replies(c) >= count));
}

void
client_wait_end(struct client *c)
{
	STAGE_WAIT(c->stage, (client_read(c), c->eof));
}
