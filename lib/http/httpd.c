/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * httpd.c - the server: its listeners and its bounds on connections.
 *
 * evhttp accepts, and reads what plain.c does not; what it lacks lives beside it:
 * conn.c knows each connection and its deadlines and writes its replies, httpreq.c
 * leads a request through the gate to its handler.
 *
 * Accepting stops at max_connections until one leaves, and for a moment when the
 * process is out of descriptors, where a ready listener would otherwise spin.  No more
 * than a few connections are accepted in one turn, so that processes that share the
 * socket share a burst as well.
 *
 * Freeing comes in this order: connections (their gone callbacks run), evhttp, the
 * rest.  Requests that handlers still keep become orphans, which they end as usual.
 */
#include "http/httpd_int.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#define BURST_MAX	 32  /* connections accepted in a turn */
#define PAUSE_MS	 100 /* without descriptors */
#define SWEEP_MS_MAX	 250
#define SWEEP_MS_MIN	 5
#define EVHTTP_SLACK	 4096 /* what evhttp takes more than we, so that we refuse it */
#define EVHTTP_SLACK_SEC 60
#define HEAD_USUAL	 1024 /* bytes of a reply's head: no more is asked for later */
#define HEAD_MAX	 (64u << 10)

struct listener {
	struct httpd *httpd;		  /* borrowed */
	struct intake *intake;		  /* httpd's */
	struct evconnlistener *evl;	  /* evhttp's */
	struct evhttp_bound_socket *sock; /* evhttp's */
	TAILQ_ENTRY(listener) link;
};

/*
 * libevent hands evhttp's argument to the error callback of a listener, so the way back
 * to our own is by its address.
 */
static TAILQ_HEAD(, httpd) all_httpds = TAILQ_HEAD_INITIALIZER(all_httpds);

void
httpd_opts_default(struct httpd_opts *opts)
{
	*opts = (struct httpd_opts){
	    .name = "http",
	    .max_header_bytes = 16 * 1024,
	    .max_body_bytes = 8 * 1024 * 1024,
	    .max_uri_bytes = 8 * 1024,
	    .max_headers = 100,
	    .max_connections = 10000,
	    .header_ms = 15000,
	    .body_ms = 60000,
	    .write_ms = 60000,
	    .idle_ms = 350000,
	    .hello_ms = 10000,
	    .min_rate = 1024,
	};
}

/* ---------------------------------------------------------------- accepting */

/* accepts or does not, by what is known */
static void
accept_or_not(struct httpd *h)
{
	bool pause = h->conn_count >= h->opts.max_connections ||
		     h->burst >= BURST_MAX || loop_timer_pending(h->resume);
	struct listener *l;

	if (pause == h->paused)
		return;
	h->paused = pause;
	TAILQ_FOREACH (l, &h->listeners, link) {
		if ((pause ? evconnlistener_disable(l->evl)
			   : evconnlistener_enable(l->evl)) != 0)
			log_error(NULL,
			    "cannot change whether connections are accepted",
			    "listener=%s", h->name);
	}
}

void
httpd_conn_came(struct httpd *h)
{
	h->conn_count++;
	h->burst++;
	if (h->conn_count == h->opts.max_connections)
		log_warn(NULL, "accepting paused: too many connections",
		    "listener=%s connections=%zu", h->name, h->conn_count);
	accept_or_not(h);
}

void
httpd_conn_left(struct httpd *h)
{
	h->conn_count--;
	accept_or_not(h);
}

static void
resume(void *arg)
{
	accept_or_not(arg);
}

static struct listener *
listener_of(const struct evconnlistener *evl)
{
	struct httpd *h;
	struct listener *l;

	TAILQ_FOREACH (h, &all_httpds, link) {
		TAILQ_FOREACH (l, &h->listeners, link) {
			if (l->evl == evl)
				return l;
		}
	}
	return NULL;
}

static void
accept_failed(struct evconnlistener *evl, void *arg)
{
	int why = errno;
	struct listener *l = listener_of(evl);

	(void)arg;
	if (l == NULL)
		return; /* being freed */
	log_warn(NULL, "accepting paused: accept failed", "listener=%s reason=\"%s\"",
	    l->httpd->name, strerror(why));
	loop_timer_start_ms(l->httpd->resume, PAUSE_MS);
	accept_or_not(l->httpd);
}

/* ---------------------------------------------------------------- the loop */

static void
step(void *arg)
{
	struct httpd *h = arg;

	STAMP_CHECK(h, HTTPD_STAMP);
	conn_adopt_all(h);
	conn_answer_refused(h);
	conn_close_doomed(h);
	h->burst = 0;
	accept_or_not(h);
	httpreq_tell_gone(h);
}

static void
sweep(void *arg)
{
	struct httpd *h = arg;

	STAMP_CHECK(h, HTTPD_STAMP);
	conn_sweep(h);
	if (!TAILQ_EMPTY(&h->conns))
		loop_timer_start_ms(h->sweep, h->sweep_ms);
}

/* ---------------------------------------------------------------- life */

static int
least(int a, int b)
{
	return a < b ? a : b;
}

static int
make_evhttp(struct intake *in, struct err *err)
{
	const struct httpd_opts *o = &in->httpd->opts;
	struct evhttp *http = evhttp_new(loop_base(in->httpd->loop));

	if (http == NULL)
		return err_set(err, ERR_NOMEM, "no memory for an HTTP server");
	in->http = http;
	evhttp_set_bevcb(http, conn_accepted, in);
	evhttp_set_gencb(http, httpreq_arrived, in->httpd);
	evhttp_set_default_content_type(http, NULL);
	/* what headscan lets pass: we refuse by path, with a list of what is allowed */
	evhttp_set_allowed_methods(
	    http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT |
		      EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_PATCH);
	evhttp_set_max_headers_size(
	    http, (ev_ssize_t)(o->max_header_bytes + o->max_uri_bytes + EVHTTP_SLACK));
	evhttp_set_max_body_size(http, (ev_ssize_t)(o->max_body_bytes + EVHTTP_SLACK));
	/* our own clocks come first; this one is for a connection that has none */
	evhttp_set_timeout(http, o->idle_ms / 1000 + EVHTTP_SLACK_SEC);
	return 0;
}

struct httpd *
httpd_create(struct loop *l, const struct httpd_opts *opts, struct err *err)
{
	struct httpd *h = mem_zero(sizeof(*h));
	int shortest = least(least(opts->header_ms, opts->body_ms),
	    least(opts->write_ms, opts->idle_ms));

	if (h == NULL)
		goto no_memory;
	h->stamp = HTTPD_STAMP;
	h->loop = l;
	h->opts = *opts;
	str_copy(h->name, sizeof(h->name), opts->name == NULL ? "http" : opts->name);
	h->opts.name = h->name;
	h->limits = (struct gate_limits){
	    .max_header_bytes = opts->max_header_bytes,
	    .max_uri_bytes = opts->max_uri_bytes,
	    .max_body_bytes = opts->max_body_bytes,
	    .max_headers = opts->max_headers,
	    .allow_chunked = opts->allow_chunked,
	};
	TAILQ_INIT(&h->listeners);
	TAILQ_INIT(&h->conns);
	TAILQ_INIT(&h->fresh);
	TAILQ_INIT(&h->doomed);
	TAILQ_INIT(&h->refused);
	TAILQ_INIT(&h->spare);
	TAILQ_INIT(&h->gone);
	TAILQ_INIT(&h->held);
	for (unsigned kind = 0; kind < HTTPD_KINDS; kind++)
		h->intakes[kind] = (struct intake){.httpd = h, .kind = kind};
	TAILQ_INSERT_TAIL(&all_httpds, h, link);
	h->sweep_ms = least(shortest / 8, SWEEP_MS_MAX);
	if (h->sweep_ms < SWEEP_MS_MIN)
		h->sweep_ms = SWEEP_MS_MIN;
	strbuf_init(&h->head, HEAD_MAX);
	h->by_bev = hmap_create();
	h->sweep = loop_timer_create(l, sweep, h);
	h->resume = loop_timer_create(l, resume, h);
	h->step = loop_defer_create(l, step, h);
	if (h->by_bev == NULL || h->sweep == NULL || h->resume == NULL ||
	    h->step == NULL || strbuf_room(&h->head, HEAD_USUAL) == NULL)
		goto no_memory;
	h->routes = route_table_create(opts->routes, err);
	if (h->routes == NULL) {
		httpd_free(h);
		return NULL;
	}
	return h;

no_memory:
	httpd_free(h);
	err_set(err, ERR_NOMEM, "no memory for an HTTP server");
	return NULL;
}

static void
close_all(struct httpd *h)
{
	struct conn *c;

	conn_adopt_all(h);
	while ((c = TAILQ_FIRST(&h->conns)) != NULL)
		conn_close(c);
	httpreq_tell_gone(h);
}

void
httpd_free(struct httpd *h)
{
	struct httpreq *req;

	if (h == NULL)
		return;
	STAMP_CHECK(h, HTTPD_STAMP);
	httpd_stop_listening(h);
	close_all(h);
	for (unsigned kind = 0; kind < HTTPD_KINDS; kind++) {
		if (h->intakes[kind].http != NULL)
			evhttp_free(h->intakes[kind].http);
	}
	TAILQ_REMOVE(&all_httpds, h, link);
	httpreq_wake_all(h); /* gone by now: dropped */
	while ((req = TAILQ_FIRST(&h->held)) != NULL) {
		TAILQ_REMOVE(&h->held, req, link);
		req->list = NULL;
		req->httpd = NULL;
	}
	httpreq_free_spare(h);
	route_table_free(h->routes);
	loop_defer_free(h->step);
	loop_timer_free(h->resume);
	loop_timer_free(h->sweep);
	hmap_free(h->by_bev);
	strbuf_fini(&h->head);
	h->stamp = 0;
	mem_free(h);
}

/* ---------------------------------------------------------------- listeners */

int
httpd_listen(struct httpd *h, int fd, struct err *err)
{
	return httpd_listen_as(h, fd, 0, err);
}

int
httpd_listen_as(struct httpd *h, int fd, unsigned kind, struct err *err)
{
	static const int yes = 1;
	struct listener *l = mem_zero(sizeof(*l));
	struct intake *in = &h->intakes[kind % HTTPD_KINDS];

	STAMP_CHECK(h, HTTPD_STAMP);
	if (l == NULL) {
		close(fd);
		return err_set(err, ERR_NOMEM, "no memory for a listener");
	}
	if ((kind & HTTPD_TLS) != 0 && h->opts.tls == NULL) {
		close(fd);
		mem_free(l);
		return err_set(err, ERR_BUG, "a TLS listener without certificates");
	}
	if (in->http == NULL && make_evhttp(in, err) != 0) {
		close(fd);
		mem_free(l);
		return -1;
	}
	/* programs that handlers run have no business with it */
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
		mem_free(l);
		return err_errno(err, errno, "cannot listen on descriptor %d", fd);
	}
	/* what is accepted inherits it; a unix socket has no such thing */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	l->httpd = h;
	l->intake = in;
	l->evl = evconnlistener_new(loop_base(h->loop), NULL, NULL,
	    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	l->sock = l->evl == NULL ? NULL : evhttp_bind_listener(in->http, l->evl);
	if (l->sock == NULL) {
		if (l->evl != NULL)
			evconnlistener_free(l->evl);
		else
			close(fd);
		mem_free(l);
		return err_set(err, ERR_NOMEM, "no memory for a listener");
	}
	evconnlistener_set_error_cb(l->evl, accept_failed);
	TAILQ_INSERT_TAIL(&h->listeners, l, link);
	if (h->paused)
		(void)evconnlistener_disable(l->evl);
	return 0;
}

void
httpd_stop_listening(struct httpd *h)
{
	struct listener *l;

	while ((l = TAILQ_FIRST(&h->listeners)) != NULL) {
		TAILQ_REMOVE(&h->listeners, l, link);
		evhttp_del_accept_socket(l->intake->http, l->sock);
		mem_free(l);
	}
}

size_t
httpd_tell_held(size_t most)
{
	const struct httpd *h;
	size_t told = 0;

	TAILQ_FOREACH (h, &all_httpds, link)
		told += httpd_tell_held_of(h, most - told);
	return told;
}

void
httpd_set_closing(struct httpd *h, bool closing)
{
	h->closing = closing;
}

void
httpd_close_idle(struct httpd *h)
{
	STAMP_CHECK(h, HTTPD_STAMP);
	h->closing = true;
	h->leaving = true; /* the sweep does it */
}

void
httpd_sleep(struct httpd *h, void (*asleep)(void *arg), void *arg)
{
	h->asleep = asleep;
	h->asleep_arg = arg;
}

void
httpd_wake(struct httpd *h)
{
	h->asleep = NULL;
	httpreq_wake_all(h);
}

size_t
httpd_connections(const struct httpd *h)
{
	return h->conn_count;
}

size_t
httpd_requests(const struct httpd *h)
{
	const struct conn *c;
	size_t count = h->busy;

	if (!h->leaving)
		return count;
	TAILQ_FOREACH (c, &h->conns, link)
		count += c->state <= CONN_BODY;
	TAILQ_FOREACH (c, &h->fresh, link)
		count++;
	return count;
}
