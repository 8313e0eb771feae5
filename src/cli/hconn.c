/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hconn.c - one keep-alive HTTP/1.1 connection; see hconn.h.
 *
 * Owns a bufferevent, the deadline of the request under way and the parser of answers.
 * It never sends a request a second time: whether that is safe only the caller knows.
 * Failures are noted and told from a deferred call, because bufferevent_socket_connect
 * may call back at once.
 *
 *     IDLE --send--> CONNECTING --connected--> WAITING --answer--> IDLE (open, or
 * closed if the server wants)
 */
#include "cli/hconn.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/str.h"
#include "tls/tlsclient.h"

enum state { IDLE = 0, CONNECTING, WAITING, FAILING };

struct hconn {
	struct loop *loop;	  /* borrowed */
	const struct addr *addrs; /* borrowed */
	size_t addr_count, addr_next, addr_tries;
	const struct tlsclient *tls; /* borrowed; NULL: plain */
	const char *host;	     /* borrowed; whom the server has to be, over TLS */
	hconn_cb *cb;
	void *arg;
	struct bufferevent *bev; /* NULL: not connected */
	struct loop_timer *deadline;
	struct loop_defer *fail_soon;
	enum state state;
	int timeout_ms;
	const void *request; /* borrowed while a request is under way */
	size_t request_len;
	struct hconn_head head; /* head_len 0: not seen yet */
	struct err failure;
};

static void on_deadline(void *arg);
static void on_fail(void *arg);
static void connect_next(struct hconn *hc);

/* ---- parser ---- */

static const char *
header_value(const char *line, size_t len, const char *name, size_t *value_len)
{
	size_t n = strlen(name);
	const char *end = line + len, *at;

	if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
		return NULL;
	at = line + n + 1;
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	while (end > at && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*value_len = (size_t)(end - at);
	return at;
}

static int
content_length(const char *text, size_t len, size_t *n, struct err *err)
{
	char digits[20];
	int64_t value;

	if (len == 0 || len >= sizeof(digits))
		return err_set(
		    err, ERR_INVALID, "the answer's Content-Length is no number");
	memcpy(digits, text, len);
	digits[len] = '\0';
	if (str_to_i64(digits, &value) != 0 || value < 0)
		return err_set(
		    err, ERR_INVALID, "the answer's Content-Length is no number");
	if (value > HCONN_BODY_MAX)
		return err_set(err, ERR_INVALID, "the answer is longer than %ld bytes",
		    HCONN_BODY_MAX);
	*n = (size_t)value;
	return 0;
}

static int
header_line(const char *line, size_t len, struct hconn_head *out, bool *has_length,
    struct err *err)
{
	const char *value;
	size_t value_len;

	/* most headers of an answer are none of these three */
	if ((line[0] | 0x20) != 'c' && (line[0] | 0x20) != 't')
		return 0;
	if ((value = header_value(line, len, "Content-Length", &value_len)) != NULL) {
		*has_length = true;
		return content_length(value, value_len, &out->body_len, err);
	}
	if ((value = header_value(line, len, "Connection", &value_len)) != NULL) {
		if (value_len == 5 && strncasecmp(value, "close", 5) == 0)
			out->close = true;
		return 0;
	}
	if (header_value(line, len, "Transfer-Encoding", &value_len) != NULL)
		return err_set(err, ERR_INVALID,
		    "the answer comes in chunks: something between here and "
		    "the node rebuilds it");
	return 0;
}

int
hconn_head_parse(
    const char *bytes, size_t len, struct hconn_head *head, struct err *err)
{
	struct hconn_head out = {.status = 0};
	const char *at, *stop = memmem(bytes, len, "\r\n\r\n", 4), *end;
	bool has_length = false;

	if (len >= 5 && memcmp(bytes, "HTTP/", 5) != 0)
		return err_set(
		    err, ERR_INVALID, "the answer is no HTTP: is that the right port?");
	if (stop == NULL) {
		if (len >= HCONN_HEAD_MAX)
			return err_set(
			    err, ERR_INVALID, "the answer's headers are too long");
		return 0;
	}
	if (stop - bytes < 12 || memcmp(bytes, "HTTP/1.", 7) != 0 || bytes[8] != ' ')
		return err_set(err, ERR_INVALID, "the answer is no HTTP/1.1");
	for (int i = 9; i < 12; i++) {
		if (bytes[i] < '0' || bytes[i] > '9')
			return err_set(err, ERR_INVALID, "the answer has no status");
		out.status = out.status * 10 + (bytes[i] - '0');
	}
	out.close = bytes[7] == '0';
	at = memchr(bytes, '\n', (size_t)(stop + 2 - bytes));
	for (at = at + 1; at < stop + 2; at = end + 1) {
		end = memchr(at, '\n', (size_t)(stop + 2 - at));
		if (end == NULL)
			break;
		if (header_line(at, (size_t)(end - at) - (end[-1] == '\r'), &out,
			&has_length, err) != 0)
			return -1;
	}
	if (!has_length && out.status >= 200 && out.status != 204 && out.status != 304)
		return err_set(err, ERR_INVALID, "the answer has no Content-Length");
	out.head_len = (size_t)(stop - bytes) + 4;
	*head = out;
	return 1;
}

/* ---- connection ---- */

static void
disconnect(struct hconn *hc)
{
	if (hc->bev != NULL)
		bufferevent_free(hc->bev);
	hc->bev = NULL;
}

/* the request under way has failed; told in the next step of the loop */
static void
fail(struct hconn *hc, const struct err *err)
{
	if (hc->state == FAILING)
		return;
	hc->state = FAILING;
	hc->failure = *err;
	loop_timer_stop(hc->deadline);
	loop_defer_start(hc->fail_soon);
}

static void
on_fail(void *arg)
{
	struct hconn *hc = arg;
	struct err failure = hc->failure;

	disconnect(hc);
	hc->state = IDLE;
	hc->request = NULL;
	hc->cb(hc, NULL, &failure, hc->arg);
}

static void
on_deadline(void *arg)
{
	struct hconn *hc = arg;
	struct err err = ERR_INIT;

	if (hc->state == CONNECTING)
		err_set(
		    &err, ERR_IO, "no connection within %d s", hc->timeout_ms / 1000);
	else
		err_set(
		    &err, ERR_TIMEOUT, "no answer within %d s", hc->timeout_ms / 1000);
	fail(hc, &err);
}

/* hc may be gone afterwards */
static void
answer(struct hconn *hc, const char *body)
{
	struct hconn_answer a = {
	    .status = hc->head.status, .body = body, .len = hc->head.body_len};
	struct evbuffer *in = bufferevent_get_input(hc->bev);
	size_t whole = hc->head.head_len + hc->head.body_len;
	bool close = hc->head.close || evbuffer_get_length(in) > whole;
	struct bufferevent *bev = hc->bev;

	loop_timer_stop(hc->deadline);
	hc->state = IDLE;
	hc->request = NULL;
	hc->head.head_len = 0;
	/*
	 * The body lies in the input buffer.  Should the callback free or reconnect hc,
	 * it must not go with it: a reference keeps the bufferevent until the callback
	 * is done.
	 */
	bufferevent_incref(bev);
	if (close)
		disconnect(hc);
	hc->cb(hc, &a, NULL, hc->arg);
	evbuffer_drain(in, whole);
	bufferevent_decref(bev);
}

static void
on_read(struct bufferevent *bev, void *arg)
{
	struct hconn *hc = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	struct err err = ERR_INIT;
	size_t len = evbuffer_get_length(in);
	const char *bytes;
	int rc;

	if (hc->state != WAITING) {
		/* nothing was asked: a server that is about to close may say 408 */
		if (hc->state == IDLE)
			disconnect(hc);
		return;
	}
	while (hc->head.head_len == 0) {
		bytes = (const char *)evbuffer_pullup(
		    in, len < HCONN_HEAD_MAX ? (ev_ssize_t)len : HCONN_HEAD_MAX);
		rc = hconn_head_parse(bytes,
		    len < HCONN_HEAD_MAX ? len : HCONN_HEAD_MAX, &hc->head, &err);
		if (rc < 0) {
			fail(hc, &err);
			return;
		}
		if (rc == 0)
			return;
		if (hc->head.status < 200) { /* interim: the answer itself follows */
			evbuffer_drain(in, hc->head.head_len);
			hc->head.head_len = 0;
			len = evbuffer_get_length(in);
			if (len == 0)
				return;
		}
	}
	if (len < hc->head.head_len + hc->head.body_len)
		return;
	bytes = (const char *)evbuffer_pullup(
	    in, (ev_ssize_t)(hc->head.head_len + hc->head.body_len));
	if (bytes == NULL) {
		err_set(&err, ERR_NOMEM, "the answer of %zu bytes", hc->head.body_len);
		fail(hc, &err);
		return;
	}
	answer(hc, bytes + hc->head.head_len);
}

/*
 * The socket is nearly always writable: asking first, as a bufferevent does, would cost
 * two more system calls a request, a third of what the client costs.  Only what the
 * socket does not take, and what finds it broken, goes through the bufferevent.
 */
static void
send_now(struct hconn *hc)
{
	struct err err = ERR_INIT;
	size_t sent = 0;
	ssize_t n;

	if (hc->tls == NULL) {
		n = send(bufferevent_getfd(hc->bev), hc->request, hc->request_len,
		    MSG_DONTWAIT | MSG_NOSIGNAL);
		sent = n > 0 ? (size_t)n : 0;
	}
	hc->state = WAITING;
	hc->head.head_len = 0;
	if (sent == hc->request_len)
		return;
	if (bufferevent_write(hc->bev, (const char *)hc->request + sent,
		hc->request_len - sent) != 0) {
		err_set(&err, ERR_NOMEM, "a request of %zu bytes", hc->request_len);
		fail(hc, &err);
	}
}

static void
on_event(struct bufferevent *bev, short what, void *arg)
{
	struct hconn *hc = arg;
	struct err err = ERR_INIT;
	int reason = EVUTIL_SOCKET_ERROR(), one = 1;

	if (what & BEV_EVENT_CONNECTED) {
		(void)setsockopt(bufferevent_getfd(bev), IPPROTO_TCP, TCP_NODELAY, &one,
		    sizeof(one));
		if (hc->state == CONNECTING)
			send_now(hc);
		return;
	}
	switch (hc->state) {
	case IDLE: /* the server let an idle connection go */
		disconnect(hc);
		break;
	case CONNECTING:
		if (hc->addr_tries < hc->addr_count) {
			connect_next(hc);
			break;
		}
		if (hc->tls == NULL)
			err_errno(&err, reason, "cannot connect");
		else
			tlsclient_why_bev(hc->tls, bev, reason, hc->host, &err);
		err.code = ERR_IO; /* no request was sent, whoever refused whom */
		fail(hc, &err);
		break;
	case WAITING:
		if (what & BEV_EVENT_EOF)
			err_set(&err, ERR_CLOSED,
			    "the node closed the connection before its answer");
		else if (hc->tls != NULL) {
			/* as when it misses a certificate of ours, in TLS 1.3 */
			tlsclient_why_bev(hc->tls, bev, reason, hc->host, &err);
			err.code = ERR_CLOSED;
			err_wrap(&err, "the connection broke before the answer");
		} else
			err_set(&err, ERR_CLOSED,
			    "the connection broke before the answer: %s",
			    evutil_socket_error_to_string(reason));
		fail(hc, &err);
		break;
	case FAILING:
		break;
	}
}

static struct bufferevent *
new_bufferevent(struct hconn *hc, struct err *err)
{
	struct bufferevent *bev;

	if (hc->tls != NULL)
		return tlsclient_open(hc->tls, hc->loop, -1, hc->host, NULL, err);
	bev = bufferevent_socket_new(
	    loop_base(hc->loop), -1, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	if (bev == NULL)
		err_set(err, ERR_NOMEM, "a connection");
	return bev;
}

static int
connect_to(struct hconn *hc, const struct addr *a, struct err *err)
{
	hc->bev = new_bufferevent(hc, err);
	if (hc->bev == NULL)
		return -1;
	bufferevent_setcb(hc->bev, on_read, NULL, on_event, hc);
	if (bufferevent_enable(hc->bev, EV_READ | EV_WRITE) != 0 ||
	    bufferevent_socket_connect(hc->bev, &a->sa, (int)a->len) != 0)
		return err_errno(err, EVUTIL_SOCKET_ERROR(), "cannot connect");
	return 0;
}

/* some addresses fail at once (no IPv6 here), others from the loop */
static void
connect_next(struct hconn *hc)
{
	struct err err = ERR_INIT;

	while (hc->addr_tries < hc->addr_count) {
		const struct addr *a = &hc->addrs[hc->addr_next];

		hc->addr_next = (hc->addr_next + 1) % hc->addr_count;
		hc->addr_tries++;
		disconnect(hc);
		if (connect_to(hc, a, &err) == 0)
			return;
	}
	fail(hc, &err);
}

struct hconn *
hconn_create(struct loop *l, const struct addr *addrs, size_t addr_count, hconn_cb *cb,
    void *arg, struct err *err)
{
	struct hconn *hc = mem_zero(sizeof(*hc));

	if (hc == NULL)
		goto fail;
	hc->loop = l;
	hc->addrs = addrs;
	hc->addr_count = addr_count;
	hc->cb = cb;
	hc->arg = arg;
	hc->deadline = loop_timer_create(l, on_deadline, hc);
	hc->fail_soon = loop_defer_create(l, on_fail, hc);
	if (hc->deadline == NULL || hc->fail_soon == NULL)
		goto fail;
	return hc;
fail:
	err_set(err, ERR_NOMEM, "a connection");
	hconn_free(hc);
	return NULL;
}

void
hconn_set_tls(struct hconn *hc, const struct tlsclient *tls, const char *host)
{
	hc->tls = tls;
	hc->host = host;
}

void
hconn_free(struct hconn *hc)
{
	if (hc == NULL)
		return;
	disconnect(hc);
	loop_timer_free(hc->deadline);
	loop_defer_free(hc->fail_soon);
	mem_free(hc);
}

int
hconn_send(
    struct hconn *hc, const void *bytes, size_t len, int timeout_ms, struct err *err)
{
	if (hc->state != IDLE)
		return err_set(err, ERR_CONFLICT, "a request is under way");
	hc->request = bytes;
	hc->request_len = len;
	hc->timeout_ms = timeout_ms;
	loop_timer_start_ms(hc->deadline, timeout_ms);
	if (hc->bev != NULL) {
		send_now(hc);
		return 0;
	}
	hc->state = CONNECTING;
	hc->addr_tries = 0;
	connect_next(hc);
	return 0;
}
