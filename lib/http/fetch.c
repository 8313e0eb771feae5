/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fetch.c - requests to other people's servers; see fetch.h.
 *
 * One multi handle of libcurl on our loop: it tells which sockets and which time it
 * waits for, we tell it what happened.  Callbacks of libcurl only take notes; what
 * ended is gathered after they have returned, so that callers may do what they like.
 *
 * The guard is asked three times: for every address of the name (one bad one spoils
 * all: a name that points outside and inside is an attack, or a mistake); for the
 * address that libcurl wants a socket for, which must be one of those; and for the peer
 * of the connection, which may be an old one, before a request goes out on it.
 *
 * Addresses of a name are kept for RESOLVED_MS: a destination that is called a hundred
 * times a second is not resolved a hundred times.  They are judged anew each time.
 */
#include "http/fetch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <curl/curl.h>
#include <event2/event.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "http/addrcache.h"

#define FETCH_STAMP 0x46544348u
#define RUN_STAMP   0x46525548u

#define RESOLVED_MS	  5000
#define HEADS_MOST	  (64 * 1024)
#define CONNECTION_IDLE_S 60L
#define CONNECTION_LIFE_S 300L /* then the name is resolved anew */
#define DETAIL_SIZE	  (CURL_ERROR_SIZE + 64)
#define KEPT_SIZE	  64 /* of a header that is kept */

struct fetch {
	unsigned stamp;
	struct loop *loop; /* borrowed */
	struct resolver *resolver;
	struct guard *guard;
	char *ca_file, *user_agent;
	int64_t connect_timeout_ms, idle_timeout_ms;
	bool global; /* curl_global_init has been called */
	CURLM *multi;
	struct loop_timer *timer;
	struct addrcache *known;
	unsigned open; /* requests */
};

struct fetch_run {
	unsigned stamp;
	struct fetch *fetch;
	struct weburl url;
	struct curl_slist *headers;
	const void *body;
	size_t body_len;
	int64_t until_ms;
	fetch_cb *cb;
	void *arg;
	struct resolve *resolve;  /* NULL: not asking */
	struct loop_timer *timer; /* ends it: at once, or when its answer idles */
	CURL *easy;		  /* NULL: not with libcurl */
	struct curl_slist *pinned;
	size_t addr_count; /* that were looked at */
	struct addr addrs[RESOLVE_MAX];
	struct strbuf in;
	size_t max_in;
	size_t head_bytes; /* of all its heads, with those before the last */
	bool head_ended;   /* the last of them */
	bool cut, begun;
	int64_t fed_ms; /* when something of the answer came last */
	/* headers of the answer that are kept: Retry-After, and what was asked for */
	const char *keep[1 + FETCH_KEPT];
	char kept[1 + FETCH_KEPT][KEPT_SIZE];
	enum fetch_fault fault; /* what a callback of libcurl, or the timer, has seen */
	char detail[DETAIL_SIZE];
	char curl_error[CURL_ERROR_SIZE];
};

static void harvest(struct fetch *f);

/* ---------------------------------------------------------------- sockets and time */

static void
on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct fetch *f = arg;
	int running, mask = 0;

	STAMP_CHECK(f, FETCH_STAMP);
	if ((what & EV_READ) != 0)
		mask |= CURL_CSELECT_IN;
	if ((what & EV_WRITE) != 0)
		mask |= CURL_CSELECT_OUT;
	curl_multi_socket_action(f->multi, fd, mask, &running);
	harvest(f);
}

static void
on_time(void *arg)
{
	struct fetch *f = arg;
	int running;

	STAMP_CHECK(f, FETCH_STAMP);
	curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	harvest(f);
}

/* libcurl: what it wants to know of a socket; data is ours, the event */
static int
want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *data)
{
	struct fetch *f = arg;
	struct event *ev = data;
	short events = EV_PERSIST;

	(void)easy;
	if (ev != NULL)
		event_free(ev);
	curl_multi_assign(f->multi, fd, NULL);
	if (what == CURL_POLL_REMOVE)
		return 0;
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		events |= EV_READ;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		events |= EV_WRITE;
	ev = event_new(loop_base(f->loop), fd, events, on_socket, f);
	if (ev == NULL || event_add(ev, NULL) != 0) {
		if (ev != NULL)
			event_free(ev);
		/* its transfer runs into its deadline */
		log_error(NULL, "no memory to watch a socket", " ");
		return 0;
	}
	curl_multi_assign(f->multi, fd, ev);
	return 0;
}

static int
want_time(CURLM *multi, long ms, void *arg)
{
	struct fetch *f = arg;

	(void)multi;
	if (ms < 0)
		loop_timer_stop(f->timer);
	else
		loop_timer_start_ms(f->timer, ms);
	return 0;
}

/* ---------------------------------------------------------------- life */

struct fetch *
fetch_create(struct loop *l, const struct fetch_opts *opts, struct err *err)
{
	struct fetch *f = mem_zero(sizeof(*f));

	if (f == NULL)
		goto nomem;
	f->stamp = FETCH_STAMP;
	f->loop = l;
	f->resolver = opts->resolver;
	f->guard = opts->guard;
	f->connect_timeout_ms = opts->connect_timeout_ms;
	f->idle_timeout_ms = opts->idle_timeout_ms;
	if (opts->ca_file[0] != '\0' && access(opts->ca_file, R_OK) != 0) {
		err_errno(err, errno, "ca_file %s", opts->ca_file);
		fetch_free(f);
		return NULL;
	}
	if ((opts->ca_file[0] != '\0' &&
		(f->ca_file = mem_strdup(opts->ca_file)) == NULL) ||
	    (f->user_agent = mem_strdup(opts->user_agent)) == NULL ||
	    (f->known = addrcache_create(RESOLVED_MS)) == NULL ||
	    (f->timer = loop_timer_create(l, on_time, f)) == NULL)
		goto nomem;
	/* not in the master: what it sets up belongs to one process */
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		goto nomem;
	f->global = true;
	f->multi = curl_multi_init();
	if (f->multi == NULL ||
	    curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, want_socket) !=
		CURLM_OK ||
	    curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f) != CURLM_OK ||
	    curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, want_time) !=
		CURLM_OK ||
	    curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f) != CURLM_OK ||
	    curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS,
		(long)opts->idle_connections) != CURLM_OK)
		goto nomem;
	return f;
nomem:
	err_set(err, ERR_NOMEM, "outbound HTTP");
	fetch_free(f);
	return NULL;
}

void
fetch_free(struct fetch *f)
{
	if (f == NULL)
		return;
	STAMP_CHECK(f, FETCH_STAMP);
	if (f->open > 0) {
		fprintf(stderr, "fetch: freed with %u requests open\n", f->open);
		abort();
	}
	if (f->multi != NULL)
		curl_multi_cleanup(f->multi); /* asks for sockets and time no more */
	if (f->global)
		curl_global_cleanup();
	loop_timer_free(f->timer);
	addrcache_free(f->known);
	mem_free(f->ca_file);
	mem_free(f->user_agent);
	f->stamp = 0;
	mem_free(f);
}

static void
run_free(struct fetch_run *r)
{
	struct fetch *f = r->fetch;

	if (r->easy != NULL) {
		curl_multi_remove_handle(f->multi, r->easy);
		curl_easy_cleanup(r->easy);
	}
	resolve_cancel(r->resolve);
	loop_timer_free(r->timer);
	curl_slist_free_all(r->headers);
	curl_slist_free_all(r->pinned);
	strbuf_fini(&r->in);
	f->open--;
	r->stamp = 0;
	mem_free(r);
}

void
fetch_cancel(struct fetch_run *r)
{
	if (r == NULL)
		return;
	STAMP_CHECK(r, RUN_STAMP);
	run_free(r);
}

/* ---------------------------------------------------------------- the end of one */

static void
deliver(struct fetch_run *r, int status)
{
	fetch_cb *cb = r->cb;
	void *arg = r->arg;
	char detail[DETAIL_SIZE], kept[1 + FETCH_KEPT][KEPT_SIZE];
	struct fetch_answer answer = {
	    .fault = r->fault,
	    .detail = detail,
	    .status = status,
	    .body = "",
	    .cut = r->cut,
	    .retry_after = kept[0],
	};
	char *body = NULL;

	memcpy(detail, r->detail, sizeof(detail));
	memcpy(kept, r->kept, sizeof(kept));
	for (size_t i = 0; i < FETCH_KEPT; i++)
		answer.kept[i] = kept[1 + i];
	if (r->fault == FETCH_ANSWERED && r->in.len > 0) {
		body = strbuf_take(&r->in, &answer.body_len);
		answer.body = body;
	}
	run_free(r);
	cb(&answer, arg);
	mem_free(body);
}

static void
fail(struct fetch_run *r, enum fetch_fault fault, const char *detail)
{
	r->fault = fault;
	str_copy(r->detail, sizeof(r->detail), detail);
}

/* from the loop: what was known at the start, or an answer that stands still */
static void
on_run_time(void *arg)
{
	struct fetch_run *r = arg;
	int64_t left_ms;

	STAMP_CHECK(r, RUN_STAMP);
	if (r->easy != NULL) {
		left_ms =
		    r->fed_ms + r->fetch->idle_timeout_ms - loop_now_ms(r->fetch->loop);
		if (left_ms > 0) {
			loop_timer_start_ms(r->timer, left_ms);
			return;
		}
		fail(r, FETCH_TIMEOUT, "the answer stood still");
	}
	deliver(r, 0);
}

static void
fail_later(struct fetch_run *r, enum fetch_fault fault, const char *detail)
{
	fail(r, fault, detail);
	loop_timer_start_ms(r->timer, 0);
}

static enum fetch_fault
fault_of(struct fetch_run *r, CURLcode code)
{
	curl_off_t connected_us = 0, sent_us = 0;

	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
		return FETCH_UNREACHABLE;
	case CURLE_OPERATION_TIMEDOUT:
		curl_easy_getinfo(r->easy, CURLINFO_CONNECT_TIME_T, &connected_us);
		return connected_us > 0 ? FETCH_TIMEOUT : FETCH_UNREACHABLE;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_INVALIDCERTSTATUS:
		return FETCH_TLS;
	case CURLE_OUT_OF_MEMORY:
		/* of a line of the answer that is too long for it too */
		curl_easy_getinfo(r->easy, CURLINFO_PRETRANSFER_TIME_T, &sent_us);
		return sent_us > 0 ? FETCH_BROKEN : FETCH_FAILED;
	case CURLE_FAILED_INIT:
	case CURLE_SSL_CACERT_BADFILE:
		return FETCH_FAILED;
	default:
		return FETCH_BROKEN;
	}
}

static void
end_run(struct fetch_run *r, CURLcode code)
{
	long status = 0;

	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	if (code == CURLE_WRITE_ERROR && r->cut)
		code = CURLE_OK;		/* we stopped it: the status is known */
	if (code == CURLE_OK && !r->head_ended) /* libcurl takes it for a whole one */
		fail(r, FETCH_BROKEN, "the answer ended within its headers");
	else if (code == CURLE_OK)
		r->fault = FETCH_ANSWERED; /* one of several addresses was none */
	else if (r->fault == FETCH_ANSWERED)
		fail(r, fault_of(r, code),
		    r->curl_error[0] != '\0' ? r->curl_error
					     : curl_easy_strerror(code));
	deliver(r, (int)status);
}

static void
harvest(struct fetch *f)
{
	struct fetch_run *r;
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(f->multi, &left)) != NULL) {
		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&r);
		STAMP_CHECK(r, RUN_STAMP);
		end_run(r, msg->data.result);
	}
}

/* ---------------------------------------------------------------- what libcurl asks */

static void
note_fed(struct fetch_run *r)
{
	r->fed_ms = loop_now_ms(r->fetch->loop);
	if (r->begun)
		return;
	r->begun = true;
	loop_timer_start_ms(r->timer, r->fetch->idle_timeout_ms);
}

static size_t
on_body(char *bytes, size_t size, size_t count, void *arg)
{
	struct fetch_run *r = arg;
	size_t len = size * count, room = r->max_in - r->in.len;

	note_fed(r);
	strbuf_put(&r->in, bytes, len < room ? len : room);
	if (strbuf_failed(&r->in)) {
		fail(r, FETCH_FAILED, "no memory for the answer");
		return 0;
	}
	r->cut = len > room;
	return r->cut ? 0 : len;
}

/* the value, if this line has that name and is not too long */
static void
keep_header(const char *name, const char *line, size_t len, char to[KEPT_SIZE])
{
	size_t from = name != NULL ? strlen(name) : len;

	if (from >= len || line[from] != ':' || strncasecmp(line, name, from) != 0)
		return;
	from++;
	while (from < len && (line[from] == ' ' || line[from] == '\t'))
		from++;
	while (len > from && (unsigned char)line[len - 1] <= ' ')
		len--;
	if (len - from >= KEPT_SIZE)
		return;
	memcpy(to, line + from, len - from);
	to[len - from] = '\0';
}

static size_t
on_header(char *bytes, size_t size, size_t count, void *arg)
{
	struct fetch_run *r = arg;
	size_t len = size * count;

	note_fed(r);
	r->head_bytes += len;
	if (r->head_bytes > HEADS_MOST) {
		fail(r, FETCH_BROKEN, "the answer's headers do not end");
		return 0;
	}
	if (len >= 5 && strncasecmp(bytes, "HTTP/", 5) == 0) {
		/* a new head: the one before was a 1xx */
		memset(r->kept, 0, sizeof(r->kept));
		r->head_ended = false;
	} else if (len > 0 && (bytes[0] == '\r' || bytes[0] == '\n')) {
		r->head_ended = true;
	} else {
		for (size_t i = 0; i < COUNT_OF(r->keep); i++)
			keep_header(r->keep[i], bytes, len, r->kept[i]);
	}
	return len;
}

/* is it one of those that were looked at? */
static bool
is_checked(const struct fetch_run *r, const struct sockaddr *sa)
{
	for (size_t i = 0; i < r->addr_count; i++) {
		const struct sockaddr *mine = &r->addrs[i].sa;

		if (mine->sa_family != sa->sa_family)
			continue;
		if (sa->sa_family == AF_INET &&
		    memcmp(&((const struct sockaddr_in *)(const void *)sa)->sin_addr,
			&((const struct sockaddr_in *)(const void *)mine)->sin_addr,
			4) == 0)
			return true;
		if (sa->sa_family == AF_INET6 &&
		    memcmp(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr,
			&((const struct sockaddr_in6 *)(const void *)mine)->sin6_addr,
			16) == 0)
			return true;
	}
	return false;
}

static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
	struct fetch_run *r = arg;

	if (purpose != CURLSOCKTYPE_IPCXN || !is_checked(r, &to->addr)) {
		fail(r, FETCH_BLOCKED, "an address that was not looked at");
		return CURL_SOCKET_BAD;
	}
	/* no command that a worker starts may inherit it */
	return socket(
	    to->family, to->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, to->protocol);
}

static int
before_request(void *arg, char *peer, char *local, int peer_port, int local_port)
{
	struct fetch_run *r = arg;
	const char *why = guard_why_not_text(r->fetch->guard, peer);

	(void)local;
	(void)peer_port;
	(void)local_port;
	if (why == NULL)
		return CURL_PREREQFUNC_OK;
	r->fault = FETCH_BLOCKED;
	snprintf(r->detail, sizeof(r->detail), "connected to %.60s: %s", peer, why);
	return CURL_PREREQFUNC_ABORT;
}

/* ---------------------------------------------------------------- the start of one */

static bool
set_protocols(CURL *e)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	return curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
#else
	return curl_easy_setopt(e, CURLOPT_PROTOCOLS,
		   (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS)) == CURLE_OK;
#endif
}

#define SET(option, value) (curl_easy_setopt(e, (option), (value)) == CURLE_OK)

/* libcurl has a reader of URLs of its own: it must have understood the same */
static bool
is_same_url(const struct weburl *u)
{
	CURLU *cu = curl_url();
	char *host = NULL, *port = NULL, *scheme = NULL, expected[8];
	size_t len = strlen(u->host);
	bool same;

	snprintf(expected, sizeof(expected), "%u", u->port);
	same =
	    cu != NULL && curl_url_set(cu, CURLUPART_URL, u->text, 0) == CURLUE_OK &&
	    curl_url_get(cu, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
	    curl_url_get(cu, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
	    curl_url_get(cu, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
	    str_eq(scheme, u->tls ? "https" : "http") && str_eq(port, expected) &&
	    (str_eq(host, u->host) ||
		(host[0] == '[' && strncmp(host + 1, u->host, len) == 0 &&
		    str_eq(host + 1 + len, "]")));
	curl_free(host);
	curl_free(port);
	curl_free(scheme);
	curl_url_cleanup(cu);
	return same;
}

static int
pin(struct fetch_run *r)
{
	char text[INET6_ADDRSTRLEN];
	struct strbuf sb;

	if (r->url.literal)
		return 0; /* libcurl takes it as it is */
	strbuf_init(&sb, 4096);
	/* the plus: libcurl forgets it after a minute */
	strbuf_printf(&sb, "+%s:%u:", r->url.host, r->url.port);
	for (size_t i = 0; i < r->addr_count; i++) {
		const struct sockaddr *sa = &r->addrs[i].sa;
		bool v6 = sa->sa_family == AF_INET6;
		const void *at =
		    v6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)sa)
			     ->sin6_addr
		       : (const void *)&((const struct sockaddr_in *)(const void *)sa)
			     ->sin_addr;

		inet_ntop(sa->sa_family, at, text, sizeof(text));
		strbuf_printf(&sb, "%s%s%s%s", i > 0 ? "," : "", v6 ? "[" : "", text,
		    v6 ? "]" : "");
	}
	if (!strbuf_failed(&sb))
		r->pinned = curl_slist_append(NULL, sb.data);
	strbuf_fini(&sb);
	return r->pinned != NULL ? 0 : -1;
}

static bool
set_options(struct fetch_run *r, CURL *e, long left_ms)
{
	struct fetch *f = r->fetch;
	long connect_ms =
	    (long)(f->connect_timeout_ms < left_ms ? f->connect_timeout_ms : left_ms);

	if (f->ca_file != NULL &&
	    !(SET(CURLOPT_CAINFO, f->ca_file) && SET(CURLOPT_CAPATH, NULL)))
		return false;
	return SET(CURLOPT_PRIVATE, r) && SET(CURLOPT_ERRORBUFFER, r->curl_error) &&
	       SET(CURLOPT_NOSIGNAL, 1L) && SET(CURLOPT_URL, r->url.text) &&
	       SET(CURLOPT_PATH_AS_IS, 1L) && set_protocols(e) &&
	       SET(CURLOPT_PROXY, "") && SET(CURLOPT_NOPROXY, "*") &&
	       SET(CURLOPT_FOLLOWLOCATION, 0L) &&
	       SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS) &&
	       SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
	       SET(CURLOPT_SSL_VERIFYPEER, 1L) && SET(CURLOPT_SSL_VERIFYHOST, 2L) &&
	       SET(CURLOPT_HTTP_CONTENT_DECODING, 0L) &&
	       SET(CURLOPT_USERAGENT, f->user_agent) &&
	       SET(CURLOPT_HTTPHEADER, r->headers) && SET(CURLOPT_POST, 1L) &&
	       SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len) &&
	       SET(CURLOPT_POSTFIELDS, r->body) && SET(CURLOPT_TIMEOUT_MS, left_ms) &&
	       SET(CURLOPT_CONNECTTIMEOUT_MS, connect_ms) &&
	       SET(CURLOPT_MAXAGE_CONN, CONNECTION_IDLE_S) &&
	       SET(CURLOPT_MAXLIFETIME_CONN, CONNECTION_LIFE_S) &&
	       SET(CURLOPT_TCP_KEEPALIVE, 1L) && SET(CURLOPT_RESOLVE, r->pinned) &&
	       SET(CURLOPT_OPENSOCKETFUNCTION, open_socket) &&
	       SET(CURLOPT_OPENSOCKETDATA, r) &&
	       SET(CURLOPT_PREREQFUNCTION, before_request) &&
	       SET(CURLOPT_PREREQDATA, r) && SET(CURLOPT_WRITEFUNCTION, on_body) &&
	       SET(CURLOPT_WRITEDATA, r) && SET(CURLOPT_HEADERFUNCTION, on_header) &&
	       SET(CURLOPT_HEADERDATA, r);
}

#undef SET

/* false: one of them may not be connected to, and why is in detail */
static bool
all_allowed(struct fetch_run *r, const struct addr *addrs, size_t count)
{
	char text[ADDR_TEXT_SIZE];
	const char *why;

	for (size_t i = 0; i < count; i++) {
		why = guard_why_not(r->fetch->guard, &addrs[i]);
		if (why == NULL)
			continue;
		r->fault = FETCH_BLOCKED;
		snprintf(r->detail, sizeof(r->detail), "%s is %s",
		    addr_format(&addrs[i], text), why);
		return false;
	}
	return true;
}

/* to libcurl with these addresses; what it cannot take ends from the loop */
static void
launch(struct fetch_run *r, const struct addr *addrs, size_t count)
{
	int64_t left_ms = r->until_ms - loop_now_ms(r->fetch->loop);
	CURL *easy;

	if (!all_allowed(r, addrs, count)) {
		loop_timer_start_ms(r->timer, 0);
		return;
	}
	if (left_ms <= 0) {
		fail_later(r, FETCH_UNREACHABLE, "no time was left to connect");
		return;
	}
	memcpy(r->addrs, addrs, count * sizeof(addrs[0]));
	r->addr_count = count;
	easy = curl_easy_init();
	if (easy == NULL || pin(r) != 0 || !set_options(r, easy, (long)left_ms) ||
	    curl_multi_add_handle(r->fetch->multi, easy) != CURLM_OK) {
		curl_easy_cleanup(easy);
		fail_later(r, FETCH_FAILED, "no memory for a request");
		return;
	}
	r->easy = easy;
}

static void
on_resolved(const struct addr *addrs, size_t count, const struct err *err, void *arg)
{
	struct fetch_run *r = arg;

	STAMP_CHECK(r, RUN_STAMP);
	r->resolve = NULL;
	if (err != NULL) {
		fail_later(r, err->code == ERR_NOMEM ? FETCH_FAILED : FETCH_UNREACHABLE,
		    err->text);
		return;
	}
	if (!r->url.literal)
		addrcache_put(r->fetch->known, r->url.host, r->url.port, addrs, count,
		    loop_now_ms(r->fetch->loop));
	launch(r, addrs, count);
}

static int
begin(struct fetch_run *r, struct err *err)
{
	struct fetch *f = r->fetch;
	const struct addr *known;
	size_t count;
	int64_t ms = r->until_ms - loop_now_ms(f->loop);

	if (!guard_port(f->guard, r->url.port)) {
		fail_later(r, FETCH_BLOCKED, "the port is not allowed");
		return 0;
	}
	if (!is_same_url(&r->url)) {
		fail_later(r, FETCH_BLOCKED, "the URL can be read in two ways");
		return 0;
	}
	known = addrcache_get(
	    f->known, r->url.host, r->url.port, loop_now_ms(f->loop), &count);
	if (known != NULL) {
		launch(r, known, count);
		return 0;
	}
	if (ms > f->connect_timeout_ms)
		ms = f->connect_timeout_ms;
	r->resolve = resolve_start(
	    f->resolver, r->url.host, r->url.port, (int)ms, on_resolved, r, err);
	return r->resolve != NULL ? 0 : -1;
}

struct fetch_run *
fetch_start(struct fetch *f, const struct fetch_request *rq, fetch_cb *cb, void *arg,
    struct err *err)
{
	struct fetch_run *r = mem_zero(sizeof(*r));
	struct curl_slist *more;

	STAMP_CHECK(f, FETCH_STAMP);
	if (r == NULL) {
		err_set(err, ERR_NOMEM, "a request");
		return NULL;
	}
	f->open++;
	r->stamp = RUN_STAMP;
	r->fetch = f;
	r->url = *rq->url;
	r->body = rq->body;
	r->body_len = rq->body_len;
	r->max_in = rq->max_response_bytes;
	r->keep[0] = "retry-after";
	memcpy(r->keep + 1, rq->keep, sizeof(rq->keep));
	strbuf_init(&r->in, r->max_in + 1);
	r->until_ms = loop_now_ms(f->loop) + rq->timeout_ms;
	r->cb = cb;
	r->arg = arg;
	r->timer = loop_timer_create(f->loop, on_run_time, r);
	if (r->timer == NULL)
		goto nomem;
	/* libcurl would wait for a 100 that many servers never send */
	r->headers = curl_slist_append(NULL, "Expect:");
	for (size_t i = 0; r->headers != NULL && rq->headers[i] != NULL; i++) {
		more = curl_slist_append(r->headers, rq->headers[i]);
		if (more == NULL)
			goto nomem;
		r->headers = more;
	}
	if (r->headers == NULL)
		goto nomem;
	if (begin(r, err) != 0) {
		run_free(r);
		return NULL;
	}
	return r;
nomem:
	run_free(r);
	err_set(err, ERR_NOMEM, "a request");
	return NULL;
}
