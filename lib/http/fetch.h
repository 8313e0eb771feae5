/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fetch.h - requests to other people's servers, many at a time, without blocking.
 *
 * POST with a body over HTTP/1.1 or HTTP/2, by libcurl.  Names are resolved by our
 * resolver, every address is put to the guard, and the connection goes to one of
 * the addresses that were looked at: there is no second look-up that could say
 * something else.  Certificates are verified; no proxy, no redirects, no cookies, no
 * decompression; connections are kept and used again.
 */
#ifndef HTTP_FETCH_H
#define HTTP_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/loop.h"
#include "event/resolve.h"
#include "http/guard.h"
#include "http/weburl.h"

#define FETCH_KEPT 2 /* headers of an answer that a request may ask for */

struct fetch;	  /* one a process, made after the fork */
struct fetch_run; /* one request */

struct fetch_opts {
	struct resolver *resolver; /* borrowed for life */
	struct guard *guard;	   /* borrowed for life */
	const char *ca_file;	/* copied; PEM, in place of the system's; "": those */
	const char *user_agent; /* copied */
	int64_t connect_timeout_ms; /* resolve, connect, TLS */
	int64_t
	    idle_timeout_ms; /* an answer that has begun and of which nothing comes */
	size_t idle_connections; /* kept at most */
};

struct fetch_request {
	const struct weburl *url;   /* copied */
	const char *const *headers; /* "Name: value", NULL-terminated; copied */
	const void *body;	    /* borrowed until the end */
	size_t body_len;
	int64_t timeout_ms;	   /* for everything together */
	size_t max_response_bytes; /* reading stops there */
	/* names of headers whose values are wanted; borrowed until the end; NULL: none
	 */
	const char *keep[FETCH_KEPT];
};

enum fetch_fault {
	FETCH_ANSWERED = 0,
	FETCH_BLOCKED,	   /* the guard says no; nothing was sent */
	FETCH_UNREACHABLE, /* not resolved, refused, or not connected in time */
	FETCH_TLS,	   /* no TLS, or a certificate that does not hold */
	FETCH_TIMEOUT,	   /* connected, but no whole answer in time */
	FETCH_BROKEN,	   /* the connection ended, or what came is no HTTP */
	FETCH_FAILED,	   /* ours: out of memory, a ca_file that cannot be read */
};

/* all borrowed for the call */
struct fetch_answer {
	enum fetch_fault fault;
	const char *detail; /* of a fault, for the operator's log only */
	/* FETCH_ANSWERED */
	int status;
	const char *body; /* never NULL; NUL-terminated */
	size_t body_len;
	bool cut;		 /* it had more than max_response_bytes */
	const char *retry_after; /* that header's value; "" */
	/* those of keep, in its order; "": it had none, or one that is too long */
	const char *kept[FETCH_KEPT];
};

/* exactly once, never during fetch_start; may start and cancel others */
typedef void fetch_cb(const struct fetch_answer *answer, void *arg);

struct fetch *fetch_create(
    struct loop *l, const struct fetch_opts *opts, struct err *err) ATTR_CHECK;
void fetch_free(struct fetch *f); /* NULL is fine; no request may be open */
/* NULL with err: cannot even try */
struct fetch_run *fetch_start(struct fetch *f, const struct fetch_request *rq,
    fetch_cb *cb, void *arg, struct err *err) ATTR_CHECK;
/* the connection is closed if it was sent; no callback after this; NULL is fine */
void fetch_cancel(struct fetch_run *r);

#endif
