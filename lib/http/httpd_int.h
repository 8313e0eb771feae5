/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * httpd_int.h - what the files of the server know of each other.
 *
 * httpd owns its listeners, its conns and the spare httpreqs.  A conn stands for one
 * connection of evhttp and dies with it.  A httpreq belongs to whoever answers it and
 * may outlive its conn and its httpd.
 */
#ifndef HTTP_HTTPD_INT_H
#define HTTP_HTTPD_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <event2/event_struct.h>
#include <openssl/ssl.h>

#include "base/hmap.h"
#include "base/strbuf.h"
#include "http/gate.h"
#include "http/headscan.h"
#include "http/httpd.h"
#include "http/proxyhead.h"
#include "http/route.h"

struct bufferevent;
struct evbuffer;
struct evbuffer_cb_entry;
struct evhttp;
struct evhttp_connection;
struct evhttp_request;

#define HTTPD_STAMP   0x68747064u
#define CONN_STAMP    0x636f6e6eu
#define HTTPREQ_STAMP 0x68726571u

/* ---------------------------------------------------------------- connections */

enum conn_state {
	CONN_IDLE,    /* no byte of a request yet */
	CONN_HELLO,   /* the same: PROXY header or handshake are to come (hello.c) */
	CONN_HEAD,    /* the head is arriving */
	CONN_BODY,    /* the head is complete */
	CONN_HELD,    /* a handler has the request */
	CONN_WRITING, /* the reply is on its way */
	CONN_STREAM,  /* the same, and its end is not known; nobody waits for it */
	CONN_REFUSED, /* we answer instead of evhttp, then close */
	CONN_DOOMED,  /* to be closed in the next step of the loop */
};

struct conn_refusal {
	int status;
	const char *code, *detail; /* static */
};

enum conn_trust { CONN_TRUST_UNKNOWN = 0, CONN_TRUSTED, CONN_UNTRUSTED };

/* of a PROXY header that is not complete yet */
struct greeting {
	size_t len;
	uint8_t bytes[PROXYHEAD_MAX];
};

struct conn {
	unsigned stamp;
	unsigned kind;		       /* HTTPD_TLS, HTTPD_PROXY */
	struct httpd *httpd;	       /* borrowed */
	struct bufferevent *bev;       /* evhttp's, and ours too until adopted */
	struct evhttp_connection *evc; /* evhttp's; NULL until adopted */
	struct evbuffer_cb_entry *tap; /* sees what arrives */
	struct httpreq *req;	       /* while HELD, and in STREAM until its end */
	enum conn_state state;	       /* written by conn_become alone */
	int64_t since_ms;  /* in this state; WRITING, STREAM: of the last progress */
	int64_t begun_ms;  /* the first byte of this request */
	size_t body_bytes; /* that have come, in BODY */
	/* at the last look: what was unsent, in WRITING; what was taken, in STREAM */
	size_t out_len;
	size_t streamed;	 /* put into the buffer, in STREAM */
	bool chunked;		 /* STREAM in chunks */
	struct conn_refusal why; /* while REFUSED */
	bool answered;		 /* REFUSED, and the answer is on its way */
	bool close_after;	 /* this reply is the last */
	/* plain.c: the callbacks of bev are ours, and these were evhttp's */
	bool plain;
	bool paused; /* does not read: too much was sent ahead */
	bool ended;  /* the client has ended, while its request was worked on */
	bool seen;   /* what is put into the buffer now has been looked at */
	struct event readable;
	void (*evhttp_read)(struct bufferevent *bev, void *evc);
	void (*evhttp_wrote)(struct bufferevent *bev, void *evc);
	void (*evhttp_event)(struct bufferevent *bev, short what, void *evc);
	SSL *ssl;    /* bev's; NULL: no TLS */
	bool broken; /* TLS: of no more use, not even to say good-bye */
	/* the proxy's word, while it is to come and then */
	struct greeting *greeting;
	enum conn_trust trust; /* whether whoever speaks here may say for whom */
	uint16_t proxied_port; /* 0: not said */
	char proxied[PROXYHEAD_ADDRESS]; /* "": not said */
	struct headscan head;
	TAILQ_ENTRY(conn) link;	     /* all, or those not yet adopted */
	TAILQ_ENTRY(conn) step_link; /* DOOMED, or REFUSED and not answered */
};

TAILQ_HEAD(conn_list, conn);

/* for evhttp_set_bevcb, arg is the intake */
struct bufferevent *conn_accepted(struct event_base *base, void *arg);
/* evhttp has made its part of those that were accepted; from the loop */
void conn_adopt_all(struct httpd *h);
struct conn *conn_of(struct httpd *h, struct evhttp_connection *evc); /* or NULL */
void conn_hold(struct conn *c, struct httpreq *req);
/* new bytes of a request that is still arriving */
void conn_bytes(struct conn *c, const char *bytes, size_t len);
/* the last len bytes of buf are new */
void conn_feed(struct conn *c, struct evbuffer *buf, size_t len);
/* the first bytes of a request came: plain.c looks at them before evhttp does */
void conn_plain_begin(struct conn *c);
void conn_plain_init(struct conn *c); /* once, when the socket is known */
void conn_plain_end(struct conn *c);  /* reads no more in the bufferevent's place */
void conn_plain_done(struct conn *c); /* the reply to a plain request is written */
/*
 * Sends the reply to ev, or to a plain request (NULL): what the socket takes at once,
 * the rest later; last: then it closes.  c may be gone after this.
 */
void conn_reply(struct conn *c, struct evhttp_request *ev, const struct strbuf *head,
    const void *body, size_t len, bool last);
/* once, when evhttp's part is there: of kinds that do not begin with a request */
void hello_begin(struct conn *c);
/* the socket is readable, and a PROXY header is to come */
void hello_readable(struct conn *c, int fd);
/* what the bufferevent of a TLS connection tells; true: it was only that */
bool hello_told(struct conn *c, short what);
void hello_goodbye(struct conn *c); /* TLS: nothing more will be sent */
void hello_end(struct conn *c);
/* closes in the next step of the loop; c->req is forgotten */
void conn_doom(struct conn *c);
/* the same, but its request is told that it is gone */
void conn_lose(struct conn *c);
void conn_close_doomed(struct httpd *h);
/* the head of a request is bad: evhttp shall not see more of it.  Answered in the next
 * step of the loop. */
void conn_refuse(struct conn *c, int status, const char *code, const char *detail);
void conn_answer_refused(struct httpd *h);
/* bytes came to one that is REFUSED */
void conn_refused_bytes(struct conn *c);
/* for the three files of a connection; nobody else sets the state */
void conn_become(struct conn *c, enum conn_state state);
/* at once; never from a callback of evhttp.  A held request becomes a gone one. */
void conn_close(struct conn *c);
/* closes what is past its deadline, and what is held for a client that is gone */
void conn_sweep(struct httpd *h);

/* ---------------------------------------------------------------- requests */

struct httpreq_pair {
	const char *name, *value; /* parameters: inside text */
};

#define QUERY_PAIRS_MAX 32
#define PEER_SIZE	64

struct httpreq {
	unsigned stamp;
	struct httpd *httpd;	   /* NULL: freed before the request */
	struct conn *conn;	   /* NULL: gone */
	struct evhttp_request *ev; /* ours to free once gone; NULL: a plain one */
	bool gone;
	struct httpreq_list *list; /* the one it is on; NULL: none */
	bool close;
	enum http_method method;
	int minor;	 /* of HTTP/1.x */
	bool takes_body; /* the method does */
	const char *uri; /* as sent; in raw, or evhttp's */
	const char *body;
	size_t body_len;
	struct httpreq_pair *fields; /* the headers; kept for reuse */
	size_t field_count, field_cap;
	char *raw; /* a plain request as it came, cut into strings; kept for reuse */
	size_t raw_cap;
	uint64_t id;
	char name[HTTPREQ_NAME + 1]; /* "": not asked for yet */
	int64_t since_us;
	/* facts.c */
	size_t bytes_in;
	int64_t read_us;
	enum http_phase phase;
	int64_t phase_us_at; /* when it began */
	int64_t phase_us[HTTP_PHASES];
	int status; /* of a stream */
	size_t streamed;
	bool told;
	_Alignas(16) char notes[HTTPREQ_NOTES];
	httpreq_cb *gone_cb;
	void *gone_arg;
	struct route_match match;
	char *path; /* as sent, without the query; in text */
	char *text; /* the path as sent, then decoded, then the query; kept for reuse */
	size_t text_cap;
	struct httpreq_pair pairs[QUERY_PAIRS_MAX];
	size_t pair_count;
	bool sleeps; /* its handler is not called before httpd_wake */
	char peer[PEER_SIZE];
	bool tls;	       /* the client's, with us or with a trusted proxy */
	bool by_proxy;	       /* peer and origin are */
	bool told_tls;	       /* by a proxy: tls */
	bool origin;	       /* if by_proxy */
	uint16_t port;	       /* that the client has connected to; 0: nobody told */
	struct strbuf headers; /* of the reply, the lines as they go out; kept too */
	TAILQ_ENTRY(httpreq) link; /* spare, or gone and to be told */
};

TAILQ_HEAD(httpreq_list, httpreq);

/* for evhttp_set_gencb, arg is the httpd */
void httpreq_arrived(struct evhttp_request *ev, void *arg);
/*
 * For plain.c: begin, room for len bytes of raw and a NUL, and for the headers among
 * lines; then go on, or cancel.  NULL, -1: no memory.
 */
struct httpreq *httpreq_begin(struct conn *c);
int httpreq_room(struct httpreq *req, size_t len, size_t lines) ATTR_CHECK;
void httpreq_go(struct httpreq *req);
void httpreq_cancel(struct httpreq *req);
void httpreq_wake_all(struct httpd *h); /* those that sleep go on */
/* its handler has ended it: kept for the next */
void httpreq_recycle(struct httpreq *req);
/* origin.c: takes what trusted proxies say of the client */
void origin_find(struct httpreq *req);
/* its connection is going; c has forgotten it.  The callback comes from the loop. */
void httpreq_lost(struct httpreq *req);
void httpreq_tell_gone(struct httpd *h); /* calls what is due */
void httpreq_free_spare(struct httpd *h);

/* ---------------------------------------------------------------- replies */

struct reply_facts {
	int status;
	int minor;	  /* of the request's HTTP/1.x */
	const char *type; /* of the body; NULL: not said */
	size_t len;	  /* of the body, also where only its length is told */
	bool kept_alive;  /* asked for by a client of HTTP/1.0 */
	bool says_close;
	bool stream; /* the length is not known */
};

/* facts.c */
uint64_t facts_next_id(void);
void facts_make_name(uint64_t id, char name[HTTPREQ_NAME + 1]);
void facts_begin(struct httpreq *req); /* it is there whole */
/* status 0: nobody waits; reply_us: when the reply began to be handed over; 0: it was
 * not */
void facts_tell(struct httpreq *req, int status, size_t bytes_out, int64_t reply_us);
size_t httpd_tell_held_of(const struct httpd *h, size_t most);

/* one more line for the reply's head; one that cannot be is left out and logged */
void reply_header(struct httpreq *req, const char *name, const char *value);
bool reply_has_body(const struct httpreq *req, int status);
/* the whole head, into out; -1: no memory */
int reply_write(
    struct strbuf *out, struct httpreq *req, const struct reply_facts *r) ATTR_CHECK;

/* ---------------------------------------------------------------- the server */

struct listener;

TAILQ_HEAD(listener_list, listener);

/* the listeners of one kind: evhttp cannot tell for which of them it asks */
struct intake {
	struct httpd *httpd;
	unsigned kind;
	struct evhttp *http; /* NULL: there was no such listener yet */
};

struct httpd {
	unsigned stamp;
	struct loop *loop; /* borrowed */
	struct httpd_opts opts;
	char name[32];
	struct gate_limits limits;
	struct route_table *routes;
	struct intake intakes[HTTPD_KINDS]; /* by kind */
	struct listener_list listeners;
	struct loop_timer *sweep;
	int sweep_ms;
	struct loop_timer *resume; /* accepting again, after a lack of descriptors */
	struct loop_defer *step;   /* adopt, close the doomed, tell the gone, accept */
	unsigned burst;		   /* accepted in this turn */
	bool paused;		   /* not accepting, whatever the reason */
	bool closing;
	bool leaving;		   /* httpd_close_idle: quiet connections are closed */
	int64_t complained_ms;	   /* of strangers at a PROXY listener; 0: never */
	void (*asleep)(void *arg); /* NULL: handlers are called at once */
	void *asleep_arg;
	struct hmap *by_bev;
	struct conn_list conns; /* adopted */
	struct conn_list fresh; /* not yet */
	struct conn_list doomed;
	struct conn_list refused; /* to be answered */
	size_t conn_count;	  /* of all */
	size_t busy;		  /* HELD or WRITING */
	size_t unsent;	    /* of the last reply: what could not be sent at once */
	struct strbuf head; /* of the reply that is being sent */
	struct httpreq_list spare;
	size_t spare_count;
	struct httpreq_list gone; /* to be told */
	struct httpreq_list held; /* with a handler, connected or gone */
	TAILQ_ENTRY(httpd) link;
};

/* one more or one less connection: pauses or resumes accepting */
void httpd_conn_came(struct httpd *h);
void httpd_conn_left(struct httpd *h);

#endif
