/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hello.c - what comes before the first request: a PROXY header, a TLS handshake; and
 * what comes last, a TLS good-bye.
 *
 * The header is looked at in the socket first, so that no byte behind it is ever read
 * with it: the next bytes are the handshake's, or a request's.  On a plain connection
 * an event of plain.c's calls; on a TLS one OpenSSL does, through a BIO of ours that
 * has nothing to read until the header has come.
 *
 * The handshake is libevent's bufferevent's.  Who speaks plain HTTP to it gets an
 * answer all the same, since only that tells him.
 */
#include "http/httpd_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/sslerr.h>

#include "base/cidr.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "http/problem.h"

#define COMPLAIN_MS 60000 /* of strangers, at most so often */
#define LEFT_OVER   65536 /* bytes of a wrong client that are read before the close */

static void
tell(const struct conn *c, enum httpd_hello what)
{
	const struct httpd_opts *o = &c->httpd->opts;

	if (o->hello != NULL)
		o->hello(what, o->arg);
}

/* ---------------------------------------------------------------- PROXY headers */

/* "": a unix socket's */
static const char *
address_of(const struct conn *c)
{
	char *address = NULL;
	ev_uint16_t port;

	evhttp_connection_get_peer(c->evc, &address, &port);
	return address == NULL ? "" : address;
}

static bool
is_local(int fd)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(ss);

	return getsockname(fd, (struct sockaddr *)&ss, &len) == 0 &&
	       ss.ss_family == AF_UNIX;
}

/* whoever may open a unix socket may speak for others there */
static bool
may_speak(const struct conn *c)
{
	const struct cidr_list *trusted = c->httpd->opts.trusted;

	return (trusted != NULL && cidr_list_has(trusted, address_of(c))) ||
	       is_local(bufferevent_getfd(c->bev));
}

static void
stranger(struct conn *c, const char *why)
{
	struct httpd *h = c->httpd;
	int64_t now_ms = loop_now_ms(h->loop);
	char address[PEER_SIZE];

	tell(c, HTTPD_HELLO_STRANGER);
	conn_doom(c);
	if (h->complained_ms != 0 && now_ms - h->complained_ms < COMPLAIN_MS)
		return;
	h->complained_ms = now_ms;
	str_printable(address, sizeof(address), address_of(c), strlen(address_of(c)));
	log_warn(NULL, "connection closed at a listener for proxies",
	    "listener=%s address=%s reason=\"%s\"", h->name, address, why);
}

static void
greeted(struct conn *c, const struct proxyhead *head)
{
	(void)str_copy(c->proxied, sizeof(c->proxied), head->client);
	c->proxied_port = head->port;
	mem_free(c->greeting);
	c->greeting = NULL;
}

/* 1: it is complete, 0: more has to come, -1: it never will */
static int
take_greeting(struct conn *c, int fd)
{
	struct greeting *g = c->greeting;
	enum proxyhead_verdict verdict;
	struct proxyhead head;
	ssize_t n, used;

	n = recv(
	    fd, g->bytes + g->len, sizeof(g->bytes) - g->len, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return -1;
	verdict = proxyhead_parse(g->bytes, g->len + (size_t)n, &head);
	if (verdict == PROXYHEAD_BAD) {
		stranger(c, "it does not begin with a PROXY header");
		return -1;
	}
	/* what is looked at again and again would be ready again and again */
	used = verdict == PROXYHEAD_GOOD ? (ssize_t)(head.len - g->len) : n;
	if (recv(fd, g->bytes + g->len, (size_t)used, MSG_DONTWAIT) != used)
		return -1;
	g->len += (size_t)used;
	if (verdict == PROXYHEAD_MORE)
		return 0;
	greeted(c, &head);
	return 1;
}

void
hello_readable(struct conn *c, int fd)
{
	switch (take_greeting(c, fd)) {
	case 1:
		conn_become(c, CONN_IDLE);
		break;
	case 0:
		break;
	default:
		conn_doom(c);
		break;
	}
}

/* ---------------------------------------------------------------- below TLS */

static int
bio_read(BIO *bio, char *to, int size)
{
	struct conn *c = BIO_get_data(bio);
	ssize_t n;
	int fd;

	BIO_clear_retry_flags(bio);
	if (c == NULL)
		return -1;
	fd = bufferevent_getfd(c->bev);
	if (c->greeting != NULL) {
		switch (take_greeting(c, fd)) {
		case 1:
			break;
		case 0:
			BIO_set_retry_read(bio);
			return -1;
		default:
			return -1;
		}
	}
	n = recv(fd, to, (size_t)size, MSG_DONTWAIT);
	if (n == 0)
		BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
	else if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_read(bio);
	return (int)n;
}

static long
bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)number;
	(void)pointer;
	if (command == BIO_CTRL_EOF)
		return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
	return command == BIO_CTRL_FLUSH;
}

/* made once, and the process's for good */
static const BIO_METHOD *
bio_method(void)
{
	static BIO_METHOD *method;

	if (method == NULL) {
		method = BIO_meth_new(
		    BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "behind a proxy");
		if (method == NULL || BIO_meth_set_read(method, bio_read) != 1 ||
		    BIO_meth_set_ctrl(method, bio_ctrl) != 1) {
			BIO_meth_free(method);
			method = NULL;
		}
	}
	return method;
}

/* OpenSSL reads through us, and writes as libevent has it */
static int
put_below(struct conn *c)
{
	const BIO_METHOD *method = bio_method();
	BIO *bio = method == NULL ? NULL : BIO_new(method);

	if (bio == NULL) {
		ERR_clear_error();
		return -1;
	}
	BIO_set_data(bio, c);
	BIO_set_init(bio, 1);
	SSL_set0_rbio(c->ssl, bio);
	return 0;
}

/* ---------------------------------------------------------------- begin and end */

void
hello_begin(struct conn *c)
{
	bool proxied = (c->kind & HTTPD_PROXY) != 0;

	if ((c->kind & HTTPD_TLS) != 0)
		c->ssl = bufferevent_openssl_get_ssl(c->bev);
	conn_become(c, CONN_HELLO);
	if (proxied && !may_speak(c)) {
		c->broken = true;
		stranger(c, "it does not come from http.trusted_proxies");
		return;
	}
	if (proxied)
		c->greeting = mem_zero(sizeof(*c->greeting));
	if ((proxied && c->greeting == NULL) ||
	    (proxied && c->ssl != NULL && put_below(c) != 0)) {
		log_warn(NULL, "connection dropped: out of memory", "listener=%s",
		    c->httpd->name);
		conn_doom(c);
		return;
	}
	conn_plain_begin(c);
	if (!c->plain)
		conn_doom(c);
}

void
hello_goodbye(struct conn *c)
{
	if (c->ssl == NULL || c->broken || !SSL_is_init_finished(c->ssl) ||
	    (SSL_get_shutdown(c->ssl) & SSL_SENT_SHUTDOWN) != 0)
		return;
	/* what the socket does not take now is lost: the end itself says the same */
	(void)SSL_shutdown(c->ssl);
	ERR_clear_error();
}

void
hello_end(struct conn *c)
{
	if (c->ssl != NULL) {
		hello_goodbye(c);
		/* libevent finds what it had made */
		if ((c->kind & HTTPD_PROXY) != 0 &&
		    BIO_up_ref(SSL_get_wbio(c->ssl)) == 1)
			SSL_set0_rbio(c->ssl, SSL_get_wbio(c->ssl));
	}
	mem_free(c->greeting);
	c->greeting = NULL;
}

/* ---------------------------------------------------------------- the handshake */

/* plain HTTP came where TLS is spoken: an answer in the same tongue */
static void
answer_plain(struct conn *c)
{
	static const char detail[] = "This is plain HTTP, and TLS is spoken here: use "
				     "https.";
	int fd = bufferevent_getfd(c->bev);
	struct strbuf body, all;
	char waste[4096];
	ssize_t n;

	strbuf_init(&body, PROBLEM_MAX);
	strbuf_init(&all, 2 * PROBLEM_MAX);
	problem_write(&body, 400, "malformed_request", detail);
	strbuf_printf(&all,
	    "HTTP/1.1 400 %s\r\nContent-Type: application/problem+json\r\n"
	    "Content-Length: %zu\r\nConnection: close\r\n\r\n",
	    problem_phrase(400), body.len);
	strbuf_put(&all, body.data, body.len);
	if (!strbuf_failed(&body) && !strbuf_failed(&all))
		(void)send(fd, all.data, all.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	strbuf_fini(&body);
	strbuf_fini(&all);
	/* a close with bytes unread would be a reset, which overtakes the answer */
	for (size_t read = 0; read < LEFT_OVER; read += (size_t)n) {
		n = recv(fd, waste, sizeof(waste), MSG_DONTWAIT);
		if (n <= 0)
			break;
	}
}

static void
failed(struct conn *c)
{
	unsigned long first = bufferevent_get_openssl_error(c->bev), code = first;
	const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
	bool plain_http = false;

	c->broken = true;
	for (; code != 0; code = bufferevent_get_openssl_error(c->bev))
		plain_http |= ERR_GET_LIB(code) == ERR_LIB_SSL &&
			      ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST;
	if (c->state != CONN_HELLO)
		return;
	tell(c, HTTPD_HELLO_FAILED);
	log_debug(NULL, "tls handshake failed", "listener=%s reason=\"%s\"",
	    c->httpd->name, reason == NULL ? "the connection broke" : reason);
	if (plain_http)
		answer_plain(c);
}

bool
hello_told(struct conn *c, short what)
{
	if (what & BEV_EVENT_CONNECTED) {
		if (c->state == CONN_HELLO)
			conn_become(c, CONN_IDLE);
		tell(c,
		    SSL_session_reused(c->ssl) ? HTTPD_HELLO_RESUMED : HTTPD_HELLO_TLS);
	}
	if (what & BEV_EVENT_ERROR)
		failed(c);
	return (what & ~BEV_EVENT_CONNECTED) == 0;
}
