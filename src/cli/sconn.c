/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sconn.c - one connection whose answer goes on; see sconn.h.
 *
 * Nothing else is to be done meanwhile, so it blocks.  A refusal has a Content-Length,
 * as every answer of a node that is no stream.
 */
#include "cli/sconn.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "cli/hconn.h"
#include "tls/tlsclient.h"

#define SILENCE_S 60
#define HEAD_MOST HCONN_HEAD_MAX

enum chunk_state { CHUNK_SIZE = 0, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_END, CHUNK_LF };

bool
sconn_unchunk(struct sconn_chunks *c, struct sse *s, const char *bytes, size_t len)
{
	size_t part;
	int digit;

	for (size_t i = 0; i < len && !c->ended; i++) {
		switch ((enum chunk_state)c->state) {
		case CHUNK_SIZE:
			digit = str_hex_digit(bytes[i]);
			if (digit >= 0 && c->digits < 8) {
				c->left = c->left * 16 + (size_t)digit;
				c->digits++;
				break;
			}
			if (digit >= 0 || c->digits == 0)
				return false;
			c->state = CHUNK_EXTENSION;
			/* fall through */
		case CHUNK_EXTENSION:
			if (bytes[i] != '\n')
				break;
			c->ended = c->left == 0;
			c->state = CHUNK_DATA;
			break;
		case CHUNK_DATA:
			part = len - i < c->left ? len - i : c->left;
			if (!sse_feed(s, bytes + i, part))
				return false;
			i += part - 1;
			c->left -= part;
			if (c->left == 0)
				c->state = CHUNK_END;
			break;
		case CHUNK_END:
			if (bytes[i] != '\r')
				return false;
			c->state = CHUNK_LF;
			break;
		case CHUNK_LF:
			if (bytes[i] != '\n')
				return false;
			c->state = CHUNK_SIZE;
			c->digits = 0;
			break;
		}
	}
	return true;
}

/* a connection, with TLS or without */
struct wire {
	int fd;
	SSL *ssl; /* NULL: plain */
};

/* as recv: 0 is the end, -1 an error or a silence */
static ssize_t
wire_read(struct wire *w, void *to, size_t len)
{
	size_t n = 0;
	int rc;

	if (w->ssl == NULL)
		return recv(w->fd, to, len, 0);
	rc = SSL_read_ex(w->ssl, to, len, &n);
	if (rc == 1)
		return (ssize_t)n;
	rc = SSL_get_error(w->ssl, rc) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
	ERR_clear_error();
	return rc;
}

static ssize_t
wire_write(struct wire *w, const void *bytes, size_t len)
{
	size_t n = 0;

	if (w->ssl == NULL)
		return send(w->fd, bytes, len, MSG_NOSIGNAL);
	if (SSL_write_ex(w->ssl, bytes, len, &n) == 1)
		return (ssize_t)n;
	ERR_clear_error();
	if (errno == 0)
		errno = EPIPE;
	return -1;
}

static void
wire_close(struct wire *w)
{
	tlsclient_ssl_free(w->ssl);
	if (w->fd != -1)
		close(w->fd);
}

static int
agree_tls(struct wire *w, const struct target *t, struct err *err)
{
	int rc;

	w->ssl = tlsclient_ssl(t->tls, t->url.host, NULL);
	if (w->ssl == NULL || SSL_set_fd(w->ssl, w->fd) != 1)
		return err_set(err, ERR_NOMEM, "a connection");
	errno = 0;
	rc = SSL_connect(w->ssl);
	if (rc == 1)
		return 0;
	return tlsclient_why(
	    t->tls, w->ssl, ERR_peek_last_error(), errno, t->url.authority, err);
}

static int
dial(const struct target *t, struct err *err)
{
	const struct timeval silence = {.tv_sec = SILENCE_S};
	int fd = -1, why = ENOENT;

	for (size_t i = 0; i < t->addr_count; i++) {
		const struct addr *a = &t->addrs[i];

		fd = socket(a->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd == -1 ||
		    setsockopt(
			fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof(silence)) != 0 ||
		    setsockopt(
			fd, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof(silence)) != 0 ||
		    connect(fd, (const struct sockaddr *)&a->storage, a->len) != 0) {
			why = errno;
			if (fd != -1)
				close(fd);
			fd = -1;
			continue;
		}
		return fd;
	}
	return err_errno(err, why, "%s://%s", t->url.scheme, t->url.authority);
}

static int
send_all(struct wire *w, const char *bytes, size_t len, struct err *err)
{
	while (len > 0) {
		ssize_t n = wire_write(w, bytes, len);

		if (n < 0)
			return err_errno(err, errno, "sending the request");
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

static int
send_request(struct wire *w, const struct target *t, const char *path, const char *id,
    struct err *err)
{
	struct strbuf request;
	int rc;

	strbuf_init(&request, HEAD_MOST);
	target_request(t, "GET", path, NULL, 0, &request);
	if (id[0] != '\0' && request.len > 2) {
		request.len -= 2; /* before the empty line */
		strbuf_printf(&request, "Last-Event-ID: %s\r\n\r\n", id);
	}
	if (strbuf_failed(&request))
		rc = err_set(err, ERR_LIMIT, "the request is too large");
	else
		rc = send_all(w, request.data, request.len, err);
	explicit_bzero(request.data, request.len); /* the key is in it */
	strbuf_fini(&request);
	return rc;
}

/* reads until the head is whole; what follows it is in in as well */
static int
read_head(struct wire *w, struct strbuf *in, size_t *head_len, struct err *err)
{
	const char *end = NULL;

	while (end == NULL) {
		char *room = strbuf_room(in, 4096);
		ssize_t n;

		if (room == NULL)
			return err_set(err, ERR_INVALID, "the answer is no HTTP");
		n = wire_read(w, room, 4096);
		if (n <= 0)
			return err_set(
			    err, ERR_CLOSED, "the connection ended before the answer");
		strbuf_grow(in, (size_t)n);
		end = strstr(in->data, "\r\n\r\n");
	}
	*head_len = (size_t)(end - in->data) + 4;
	return 0;
}

static enum sconn_end
refuse(
    struct wire *w, struct strbuf *in, struct client_answer *refused, struct err *err)
{
	struct hconn_head head;

	if (hconn_head_parse(in->data, in->len, &head, err) != 1)
		return SCONN_FAILED;
	while (in->len < head.head_len + head.body_len) {
		char *room = strbuf_room(in, 4096);
		ssize_t n = room != NULL ? wire_read(w, room, 4096) : 0;

		if (n <= 0) {
			err_set(err, ERR_CLOSED, "the answer was cut short");
			return SCONN_FAILED;
		}
		strbuf_grow(in, (size_t)n);
	}
	refused->status = head.status;
	refused->len = head.body_len;
	refused->body = mem_dup(in->data + head.head_len, head.body_len);
	if (refused->body != NULL)
		return SCONN_REFUSED;
	err_set(err, ERR_NOMEM, "an answer");
	return SCONN_FAILED;
}

static void
read_on(struct wire *w, struct sse *s, const char *bytes, size_t len)
{
	struct sconn_chunks chunks = {0};
	char piece[65536];
	ssize_t n;

	sse_restart(s);
	while (sconn_unchunk(&chunks, s, bytes, len) && !chunks.ended) {
		n = wire_read(w, piece, sizeof(piece));
		if (n <= 0)
			return;
		bytes = piece;
		len = (size_t)n;
	}
}

static enum sconn_end
talk(struct wire *w, const struct target *t, const char *path, struct sse *s,
    struct client_answer *refused, struct err *err)
{
	enum sconn_end how = SCONN_FAILED;
	struct strbuf in;
	size_t head_len = 0;

	strbuf_init(&in, HEAD_MOST);
	if (send_request(w, t, path, s->id, err) == 0 &&
	    read_head(w, &in, &head_len, err) == 0) {
		if (str_starts(in.data, "HTTP/1.1 200 ")) {
			read_on(w, s, in.data + head_len, in.len - head_len);
			how = SCONN_LOST;
		} else {
			how = refuse(w, &in, refused, err);
		}
	}
	strbuf_fini(&in);
	return how;
}

enum sconn_end
sconn_follow(const struct target *t, const char *path, struct sse *s,
    struct client_answer *refused, struct err *err)
{
	struct wire w = {.fd = dial(t, err), .ssl = NULL};
	enum sconn_end how = SCONN_FAILED;

	if (w.fd != -1 && (t->tls == NULL || agree_tls(&w, t, err) == 0))
		how = talk(&w, t, path, s, refused, err);
	wire_close(&w);
	return how;
}
