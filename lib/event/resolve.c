/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * resolve.c - names to addresses without blocking.
 *
 * Owns the process' evdns_base.  Numeric addresses and unix paths never reach it.
 * There is no cache: an address that moved is seen at the next question.  The C
 * library's resolver would block, so nsswitch modules other than files and dns do
 * not count here.
 *
 * Evdns looks at its files once and repeats a lost query after five seconds, as long as
 * the whole deadline of a typical caller.  So the files are compared at each question,
 * and the repeat comes after one second.
 *
 * A cancelled question is a corner of evdns that shapes this file: its callback still
 * comes, one turn later, and touches the evdns_base.  The record of such a question
 * stays until then as an orphan, and a resolver that is freed meanwhile leaves with its
 * last orphan.
 */
#include "event/resolve.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <event2/dns.h>
#include <event2/util.h>

#include "base/mem.h"

#define RESOLVER_STAMP 0x52534c56u
#define RESOLVE_STAMP  0x52534c51u

#define HOST_MAX    253
#define HOSTS_FILE  "/etc/hosts"
#define SERVER_FILE "/etc/resolv.conf"

/* what tells one version of a file from another */
struct file_mark {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime;
};

struct resolver {
	unsigned stamp;
	struct loop *loop; /* borrowed */
	struct evdns_base *dns;
	bool own_server; /* resolver_set_server was called: the files don't count */
	struct file_mark hosts;
	struct file_mark servers;
	unsigned open;	  /* questions that still owe a callback */
	unsigned orphans; /* cancelled ones whose evdns callback is still to come */
	bool freed;	  /* resolver_free was called; ends with the last orphan */
	struct loop_defer *ending;
};

struct resolve {
	unsigned stamp;
	struct resolver *rv; /* borrowed, or kept for us while we are an orphan */
	struct evdns_getaddrinfo_request *request; /* NULL: none under way */
	struct loop_timer *timer; /* the deadline; at once if the answer is known */
	bool starting;		  /* inside resolve_start: an answer must wait */
	bool answered;
	resolve_cb *cb;
	void *arg;
	struct err err; /* ERR_NONE: addrs */
	size_t count;
	struct addr addrs[RESOLVE_MAX];
	char host[HOST_MAX + 1]; /* for the sentence of a failure */
};

static bool
file_changed(const char *path, struct file_mark *mark)
{
	struct file_mark now = {.dev = 0};
	struct stat st;

	if (stat(path, &st) == 0) {
		now.dev = st.st_dev;
		now.ino = st.st_ino;
		now.size = st.st_size;
		now.mtime = st.st_mtim;
	}
	if (now.dev == mark->dev && now.ino == mark->ino && now.size == mark->size &&
	    now.mtime.tv_sec == mark->mtime.tv_sec &&
	    now.mtime.tv_nsec == mark->mtime.tv_nsec)
		return false;
	*mark = now;
	return true;
}

static void
set_patience(struct evdns_base *dns)
{
	evdns_base_set_option(dns, "timeout", "1");
	evdns_base_set_option(dns, "attempts", "4");
	evdns_base_set_option(dns, "initial-probe-timeout", "1");
}

/*
 * A file that cannot be read is no failure: evdns then knows localhost and a name
 * server on this machine, and the question's own failure says the rest.
 */
static void
read_files(struct resolver *rv)
{
	if (rv->own_server)
		return;
	if (file_changed(HOSTS_FILE, &rv->hosts)) {
		evdns_base_clear_host_addresses(rv->dns);
		evdns_base_load_hosts(rv->dns, HOSTS_FILE);
	}
	if (file_changed(SERVER_FILE, &rv->servers)) {
		evdns_base_clear_nameservers_and_suspend(rv->dns);
		evdns_base_search_clear(rv->dns);
		evdns_base_resolv_conf_parse(rv->dns,
		    DNS_OPTION_SEARCH | DNS_OPTION_NAMESERVERS | DNS_OPTION_MISC,
		    SERVER_FILE);
		set_patience(rv->dns);
		evdns_base_resume(rv->dns);
	}
}

static void
resolver_end(void *arg)
{
	struct resolver *rv = arg;

	if (rv->dns != NULL)
		evdns_base_free(rv->dns, 0);
	loop_defer_free(rv->ending);
	rv->stamp = 0;
	mem_free(rv);
}

struct resolver *
resolver_create(struct loop *l, struct err *err)
{
	struct resolver *rv;

	rv = mem_zero(sizeof(*rv));
	if (rv == NULL)
		goto fail;
	rv->stamp = RESOLVER_STAMP;
	rv->loop = l;
	rv->ending = loop_defer_create(l, resolver_end, rv);
	if (rv->ending == NULL)
		goto fail;
	/* an idle resolver neither keeps a loop alive nor probes servers */
	rv->dns = evdns_base_new(loop_base(l), EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (rv->dns == NULL)
		goto fail;
	read_files(rv);
	return rv;
fail:
	err_set(err, ERR_NOMEM, "resolver");
	if (rv != NULL)
		resolver_end(rv);
	return NULL;
}

void
resolver_free(struct resolver *rv)
{
	if (rv == NULL)
		return;
	STAMP_CHECK(rv, RESOLVER_STAMP);
	if (rv->open > 0) {
		fprintf(stderr, "resolve: freed with %u questions open\n", rv->open);
		abort();
	}
	rv->freed = true;
	if (rv->orphans == 0)
		resolver_end(rv);
}

int
resolver_set_server(struct resolver *rv, const struct addr *server, struct err *err)
{
	STAMP_CHECK(rv, RESOLVER_STAMP);
	evdns_base_clear_host_addresses(rv->dns);
	evdns_base_clear_nameservers_and_suspend(rv->dns);
	evdns_base_search_clear(rv->dns);
	rv->own_server = true;
	if (evdns_base_nameserver_sockaddr_add(rv->dns, &server->sa, server->len, 0) !=
	    0)
		return err_set(err, ERR_IO, "cannot use this name server");
	set_patience(rv->dns);
	evdns_base_resume(rv->dns);
	return 0;
}

/* ---- one question -------------------------------------------------------- */

static void
destroy(struct resolve *r)
{
	loop_timer_free(r->timer);
	r->stamp = 0;
	mem_free(r);
}

/* after this r owes nobody anything; it is gone, or an orphan */
static void
close_question(struct resolve *r)
{
	struct resolver *rv = r->rv;

	rv->open--;
	if (r->request == NULL) {
		destroy(r);
		return;
	}
	r->cb = NULL;
	rv->orphans++;
	loop_timer_free(r->timer);
	r->timer = NULL;
	evdns_getaddrinfo_cancel(r->request);
}

static void
deliver(struct resolve *r)
{
	struct addr addrs[RESOLVE_MAX];
	size_t count = r->count;
	struct err err = r->err;
	resolve_cb *cb = r->cb;
	void *arg = r->arg;

	memcpy(addrs, r->addrs, count * sizeof(addrs[0]));
	close_question(r);
	if (err.code != ERR_NONE)
		cb(NULL, 0, &err, arg);
	else
		cb(addrs, count, NULL, arg);
}

static void
timer_fired(void *arg)
{
	struct resolve *r = arg;

	STAMP_CHECK(r, RESOLVE_STAMP);
	if (!r->answered)
		err_set(&r->err, ERR_TIMEOUT, "name '%s' was not resolved in time",
		    r->host);
	deliver(r);
}

static void
take_answer(struct resolve *r, int code, const struct evutil_addrinfo *list)
{
	const struct evutil_addrinfo *ai;

	if (code == EVUTIL_EAI_MEMORY) {
		err_set(&r->err, ERR_NOMEM, "resolving '%s'", r->host);
		return;
	}
	if (code == EVUTIL_EAI_NONAME || code == EVUTIL_EAI_NODATA) {
		err_set(
		    &r->err, ERR_NOT_FOUND, "no address is known for '%s'", r->host);
		return;
	}
	if (code != 0) {
		err_set(&r->err, ERR_IO, "resolving '%s': %s", r->host,
		    evutil_gai_strerror(code));
		return;
	}
	for (ai = list; ai != NULL && r->count < RESOLVE_MAX; ai = ai->ai_next) {
		struct addr *a = &r->addrs[r->count];

		if (ai->ai_addrlen > sizeof(a->storage))
			continue;
		memset(a, 0, sizeof(*a));
		memcpy(&a->storage, ai->ai_addr, ai->ai_addrlen);
		a->len = (socklen_t)ai->ai_addrlen;
		r->count++;
	}
	if (r->count == 0)
		err_set(
		    &r->err, ERR_NOT_FOUND, "no address is known for '%s'", r->host);
}

static void
evdns_answered(int code, struct evutil_addrinfo *list, void *arg)
{
	struct resolve *r = arg;
	struct resolver *rv = r->rv;

	STAMP_CHECK(r, RESOLVE_STAMP);
	r->request = NULL;
	if (r->cb == NULL) {
		if (list != NULL)
			evutil_freeaddrinfo(list);
		destroy(r);
		rv->orphans--;
		/* not here: evdns is on the stack below us */
		if (rv->freed && rv->orphans == 0)
			loop_defer_start(rv->ending);
		return;
	}
	r->answered = true;
	take_answer(r, code, list);
	if (list != NULL)
		evutil_freeaddrinfo(list);
	if (!r->starting)
		deliver(r);
}

/* true: the address is in r->addrs, or r->err says what is wrong with it */
static bool
answer_numeric(struct resolve *r, const char *host, uint16_t port)
{
	struct addr *a = &r->addrs[0];
	struct sockaddr_in *in4 = (struct sockaddr_in *)&a->storage;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a->storage;

	if (strncmp(host, "unix:", 5) == 0) {
		if (addr_parse(host, a, &r->err) == 0)
			r->count = 1;
		return true;
	}
	if (inet_pton(AF_INET, host, &in4->sin_addr) == 1) {
		in4->sin_family = AF_INET;
		in4->sin_port = htons(port);
		a->len = sizeof(*in4);
		r->count = 1;
		return true;
	}
	if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		a->len = sizeof(*in6);
		r->count = 1;
		return true;
	}
	return false;
}

bool
resolve_is_numeric(const char *host)
{
	struct in6_addr any;

	return strncmp(host, "unix:", 5) == 0 || inet_pton(AF_INET, host, &any) == 1 ||
	       inet_pton(AF_INET6, host, &any) == 1;
}

static bool
is_host_name(const char *host)
{
	size_t i;

	for (i = 0; host[i] != '\0'; i++)
		if (i == HOST_MAX || host[i] <= ' ' || host[i] > '~')
			return false;
	return i > 0;
}

struct resolve *
resolve_start(struct resolver *rv, const char *host, uint16_t port, int timeout_ms,
    resolve_cb *cb, void *arg, struct err *err)
{
	struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC,
	    .ai_socktype = SOCK_STREAM,
	    .ai_protocol = IPPROTO_TCP,
	    .ai_flags = EVUTIL_AI_ADDRCONFIG};
	struct resolve *r;
	char service[8];

	STAMP_CHECK(rv, RESOLVER_STAMP);
	r = mem_zero(sizeof(*r));
	if (r == NULL)
		goto nomem;
	r->stamp = RESOLVE_STAMP;
	r->rv = rv;
	r->cb = cb;
	r->arg = arg;
	r->timer = loop_timer_create(rv->loop, timer_fired, r);
	if (r->timer == NULL)
		goto nomem;
	rv->open++;
	if (answer_numeric(r, host, port)) {
		r->answered = true;
	} else if (!is_host_name(host)) {
		err_set(&r->err, ERR_INVALID, "not a host name");
		r->answered = true;
	} else {
		snprintf(r->host, sizeof(r->host), "%s", host);
		snprintf(service, sizeof(service), "%u", port);
		read_files(rv);
		/* the answer may come from inside this call, and it returns NULL then
		 */
		r->starting = true;
		r->request = evdns_getaddrinfo(
		    rv->dns, host, service, &hints, evdns_answered, r);
		r->starting = false;
	}
	loop_timer_start_ms(r->timer, r->answered ? 0 : timeout_ms);
	return r;
nomem:
	err_set(err, ERR_NOMEM, "resolving '%s'", host);
	mem_free(r);
	return NULL;
}

void
resolve_cancel(struct resolve *r)
{
	if (r == NULL)
		return;
	STAMP_CHECK(r, RESOLVE_STAMP);
	close_question(r);
}
