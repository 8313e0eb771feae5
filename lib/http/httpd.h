/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * httpd.h - an HTTP server: evhttp behind a gate, and a short way past it.
 *
 * One httpd serves the listeners of one audience in one worker.  Every request
 * passes the gate first: a request line of a known method (or 501), a target and
 * HTTP/1.0 or 1.1 (or 505), framing (one Content-Length of digits only,
 * Transfer-Encoding refused with 411), no expectation but 100-continue (or 417),
 * exactly one Host for HTTP/1.1, an origin-form URI of legal bytes, header names of
 * token characters, bounds on counts and sizes.  What fails gets one problem document
 * and the connection closes; a page of evhttp's own is left only for what is wrong
 * within the chunks of a body, where these are allowed.  Then the route table decides:
 * 404 for no path, 405 with Allow for no method.
 *
 * A connection has deadlines of its own, not mere inactivity: headers must be complete
 * header_ms after the first byte, the body body_ms after the headers (and at no less
 * than min_rate bytes a second), a reply must be taken within write_ms of standing
 * still; idle ones live idle_ms.  At max_connections, or out of descriptors, accepting
 * pauses; it never spins.
 *
 * A listener may be of another kind than plain.  HTTPD_PROXY: each connection begins
 * with a header of the PROXY protocol (proxyhead.h), from a trusted address, or it is
 * closed.  HTTPD_TLS: then, TLS.  Both together have hello_ms from accepting on.  All
 * that is said here of connections and requests holds for every kind.
 *
 * httpreq_peer is the client's address as far as trusted proxies have said so, by their
 * PROXY header or by X-Forwarded-For; whoever is not trusted can say what he likes.
 *
 * A handler may answer at once or keep the request and answer later, exactly once.  If
 * the client hangs up meanwhile (closing its half for writing is enough), the gone
 * callback says so within half a second; the request stays valid (replies are dropped)
 * until httpreq_reply, httpreq_problem or httpreq_drop ends it, even if that comes
 * after httpd_free.
 */
#ifndef HTTP_HTTPD_H
#define HTTP_HTTPD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/loop.h"

struct cidr_list;
struct httpd;
struct httpreq;
struct tlsctx;

/* kinds of listeners; together too */
#define HTTPD_TLS   0x1u
#define HTTPD_PROXY 0x2u
#define HTTPD_KINDS 4

/* how a connection began that did not begin with a request */
enum httpd_hello {
	HTTPD_HELLO_TLS,      /* a handshake from nothing */
	HTTPD_HELLO_RESUMED,  /* one that resumed a session */
	HTTPD_HELLO_FAILED,   /* one that failed */
	HTTPD_HELLO_STRANGER, /* no PROXY header, a bad one, or from who is not trusted
			       */
	HTTPD_HELLO_COUNT
};

enum http_method {
	HTTP_GET = 1,
	HTTP_POST = 2,
	HTTP_PUT = 4,
	HTTP_DELETE = 8,
	HTTP_HEAD = 16
};

typedef void httpreq_cb(struct httpreq *req, void *arg);

/* segments in braces match one segment each: "/v1/tasks/{id}"; HEAD is served wherever
 * GET is */
struct http_route {
	enum http_method method;
	const char *path;
	httpreq_cb *handler;
	unsigned needs; /* bits of the caller's own; httpreq_needs returns them */
};

/*
 * Where the time of a request goes.  It begins in WORK; whoever knows better says so.
 */
enum http_phase {
	HTTP_WORK = 0,
	HTTP_LINE,  /* until its turn at a store */
	HTTP_STORE, /* until a store has answered */
	HTTP_WAIT,  /* because the client asked to wait */
	HTTP_PHASES /* keep last */
};

struct httpreq_facts {
	int status;	  /* 0: nobody waited for an answer any more */
	size_t bytes_in;  /* head and body */
	size_t bytes_out; /* head and body; of a stream, all of it */
	size_t unsent;	  /* of these, what the client had not taken at once */
	int64_t since_us; /* when it was there whole, as clock_mono_us counts */
	int64_t read_us;  /* before that, from its first byte on, in whole ms */
	int64_t phase_us[HTTP_PHASES];
	int64_t write_us;
};

struct httpd_opts {
	const char *name; /* for the log: "applications"; copied */
	/* borrowed for life, ended by a row without a path */
	const struct http_route *routes;
	void *arg; /* handed to every handler */
	/* called before every handler; false: it has answered (or will).  NULL: none */
	bool (*before)(struct httpreq *req, void *arg);
	/*
	 * Called when a reply is on its way, for counters and access log; NULL: none.
	 * Not for replies that nobody waits for any more, nor for heads refused unread.
	 */
	void (*after)(struct httpreq *req, int status, int64_t duration_us, void *arg);
	/*
	 * Called once for each request when all that will be done for it is done, with
	 * what it took: for the access log.  NULL: none, and nothing is measured.
	 */
	void (*told)(struct httpreq *req, const struct httpreq_facts *facts, void *arg);
	/* the same for a head that was refused unread */
	void (*refused)(const char *peer, const char *name, int status, void *arg);
	size_t max_header_bytes;		   /* 16 KiB */
	size_t max_body_bytes;			   /* 8 MiB */
	size_t max_uri_bytes;			   /* 8 KiB */
	unsigned max_headers;			   /* 100 */
	size_t max_connections;			   /* 10,000 */
	int header_ms, body_ms, write_ms, idle_ms; /* 15,000 60,000 60,000 350,000 */
	size_t min_rate;    /* bytes a second of body, after the first 5 s; 1,024 */
	bool allow_chunked; /* false: any Transfer-Encoding is answered 411 */
	/* whose word on clients counts; borrowed for life; NULL: nobody's */
	const struct cidr_list *trusted;
	struct tlsctx *tls; /* of TLS listeners; borrowed for life */
	int hello_ms;	    /* for PROXY header and handshake; 10,000 */
	int64_t hsts_s;	    /* Strict-Transport-Security where TLS is; 0: not said */
	/* for counters; NULL: none */
	void (*hello)(enum httpd_hello what, void *arg);
};

void httpd_opts_default(struct httpd_opts *opts);
struct httpd *httpd_create(
    struct loop *l, const struct httpd_opts *opts, struct err *err) ATTR_CHECK;
void httpd_free(struct httpd *h); /* closes what is left; gone callbacks come first */
/* fd: listening, non-blocking, shared with other processes; given, also on failure */
int httpd_listen(struct httpd *h, int fd, struct err *err) ATTR_CHECK;
/* the same with a kind, HTTPD_TLS, HTTPD_PROXY or both; TLS needs opts.tls */
int httpd_listen_as(struct httpd *h, int fd, unsigned kind, struct err *err) ATTR_CHECK;
/* stops accepting; listeners are closed */
void httpd_stop_listening(struct httpd *h);
/*
 * Every reply from now on carries Connection: close; connections that are idle for a
 * second are closed.  One that was accepted or used a moment ago may have a request
 * under way to us.
 */
void httpd_close_idle(struct httpd *h);
/* only the header; idle connections stay (the drain delay) */
void httpd_set_closing(struct httpd *h, bool closing);
/*
 * For a server whose handlers are not able to work for now: requests wait, and asleep
 * is called for each, from the loop, until httpd_wake lets them all through.
 */
void httpd_sleep(struct httpd *h, void (*asleep)(void *arg), void *arg);
void httpd_wake(struct httpd *h);
size_t httpd_connections(const struct httpd *h);
/*
 * With a handler, or with a reply that is not written yet; after httpd_close_idle those
 * that are arriving or may still come as well: at 0 nothing is lost.
 */
size_t httpd_requests(const struct httpd *h);

/* the request: all borrowed from it */
enum http_method httpreq_method(const struct httpreq *req);
const char *httpreq_path(const struct httpreq *req);
unsigned httpreq_needs(const struct httpreq *req);
/* a path segment in braces, percent-decoded, by its position from 0; NULL: none */
const char *httpreq_segment(const struct httpreq *req, unsigned n);
/* a query parameter, decoded; NULL: absent.  Given twice: the request was refused with
 * 400 */
const char *httpreq_query(const struct httpreq *req, const char *name);
/* walks the query parameters: start with *cursor 0; false at the end */
bool httpreq_query_next(
    const struct httpreq *req, size_t *cursor, const char **name, const char **value);
const char *httpreq_header(
    const struct httpreq *req, const char *name); /* NULL: absent */
const char *httpreq_body(
    struct httpreq *req, size_t *len); /* contiguous; NULL when empty */
/* the client's address without the port; once a handler has the request, as proxies
 * that are trusted have told */
const char *httpreq_peer(const struct httpreq *req);
/* false: somebody else may be behind that address, since a proxy did not say whom it
 * speaks for, or the client says that it speaks for another */
bool httpreq_is_origin(const struct httpreq *req);
/* how the client reaches us, for links; false: nobody knows */
bool httpreq_reached(const struct httpreq *req, bool *tls, uint16_t *port);
/*
 * Its name, for logs here and there: the client's X-Request-Id if that is well-formed
 * (1 to HTTPREQ_NAME bytes of letters, digits and -_.:+/=@), or one of ours.  Every
 * answer carries it.
 */
#define HTTPREQ_NAME 64
const char *httpreq_name(struct httpreq *req);
/* the route's path, with its braces; NULL: none was found */
const char *httpreq_route(const struct httpreq *req);
const char *httpreq_method_name(const struct httpreq *req);
/* the target as sent, with the query */
const char *httpreq_target(const struct httpreq *req);
/* HTTPREQ_NOTES bytes for whoever serves, zeroed at its beginning */
#define HTTPREQ_NOTES 160
void *httpreq_notes(struct httpreq *req);
/* from now on, or since then, its time goes there; nothing where nobody asked for facts
 */
void httpreq_phase(struct httpreq *req, enum http_phase phase);
void httpreq_phase_since(struct httpreq *req, enum http_phase phase, int64_t mono_us);
/* at most most of those that handlers have, by log_urgent; for crash reports */
size_t httpd_tell_held(size_t most);

/* cb once, from the loop, if the client hangs up before the reply; NULL: nobody cares
 */
void httpreq_on_gone(struct httpreq *req, httpreq_cb *cb, void *arg);
bool httpreq_is_gone(const struct httpreq *req);
/* the same, but the kernel is asked now: for an answer that must not be lost */
bool httpreq_look_gone(const struct httpreq *req);

/* headers of the reply; name and value are copied; may be called any time before the
 * reply */
void httpreq_set_header(struct httpreq *req, const char *name, const char *value);
/* body is copied; type NULL: application/json.  req is gone after this. */
void httpreq_reply(
    struct httpreq *req, int status, const char *type, const void *body, size_t len);
/*
 * RFC 9457: {"type":"about:blank","title":...,"status":...,"code":...,"detail":...} as
 * application/problem+json; title is the status' phrase.  req is gone after this.
 */
void httpreq_problem(struct httpreq *req, int status, const char *code, const char *fmt,
    ...) ATTR_PRINTF(4, 5);
/* ends a request without an answer: closes its connection.  req is gone after this. */
void httpreq_drop(struct httpreq *req);

/*
 * A long reply: its head now, parts as they come, and an end, after which the
 * connection closes.  In chunks to a client of HTTP/1.1, to one of 1.0 until it closes.
 * It is no request that httpd_requests counts: whoever leaves ends it.  A client that
 * leaves HTTPREQ_UNSENT_MAX bytes, or anything for write_ms, is dropped, as one that
 * hangs up: the gone callback comes, also after the begin, and httpreq_drop or
 * httpreq_stream_end ends the request.
 *
 * false: it cannot begin, the client is gone or memory out; httpreq_drop it.  Not for
 * HEAD.
 */
#define HTTPREQ_UNSENT_MAX (1u << 20)
bool httpreq_stream_begin(struct httpreq *req, int status, const char *type) ATTR_CHECK;
/* copied; to one that is gone: nothing happens */
void httpreq_stream_send(struct httpreq *req, const void *bytes, size_t len);
/* what was given and is not with the kernel yet */
size_t httpreq_stream_unsent(const struct httpreq *req);
void httpreq_stream_end(struct httpreq *req); /* req is gone after this */

#endif
