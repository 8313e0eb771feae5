/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hconn.h - one keep-alive HTTP/1.1 connection to a node, one request at a time.
 *
 * Made to cost little beside the server that it measures: requests are bytes that were
 * formatted before, answers are parsed where they lie.  It connects by itself when
 * there is something to send, and again after the server has closed.  Answers must
 * carry a Content-Length (a node's do).
 */
#ifndef CLI_HCONN_H
#define CLI_HCONN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/addr.h"
#include "event/loop.h"

#define HCONN_HEAD_MAX (32 * 1024)
#define HCONN_BODY_MAX (256L * 1024 * 1024)

struct hconn;
struct tlsclient;

struct hconn_answer {
	int status;
	const char *body; /* borrowed until the callback returns; no NUL after it */
	size_t len;
};

/*
 * Exactly one of answer and err is set, once for each hconn_send that returned 0.  The
 * callback may send the next request and may free hc.  err: ERR_IO (not connected; text
 * says why), ERR_CLOSED (the connection ended before the answer: its outcome is
 * unknown), ERR_TIMEOUT, ERR_INVALID (no HTTP).
 */
typedef void hconn_cb(struct hconn *hc, const struct hconn_answer *answer,
    const struct err *err, void *arg);

/* addrs: borrowed for life, tried in turn at each connect */
struct hconn *hconn_create(struct loop *l, const struct addr *addrs, size_t addr_count,
    hconn_cb *cb, void *arg, struct err *err) ATTR_CHECK;
void hconn_free(struct hconn *hc); /* NULL is fine; no callback comes any more */
/* from the next connect on TLS is spoken, with a server that is host; both borrowed for
 * life */
void hconn_set_tls(struct hconn *hc, const struct tlsclient *tls, const char *host);
/* bytes: borrowed until the callback; ERR_CONFLICT: a request is under way */
int hconn_send(struct hconn *hc, const void *bytes, size_t len, int timeout_ms,
    struct err *err) ATTR_CHECK;

/* what the first lines of an answer say */
struct hconn_head {
	int status;
	size_t head_len; /* with the empty line */
	size_t body_len;
	bool close; /* the server closes after it */
};
/* 1: whole; 0: more bytes are needed; -1: ERR_INVALID, no answer that we understand */
int hconn_head_parse(
    const char *bytes, size_t len, struct hconn_head *head, struct err *err) ATTR_CHECK;

#endif
