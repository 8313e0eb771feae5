/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_fetch.c - requests out, against servers of the test's own on the same loop.
 *
 * The endpoint listens on 127.0.0.2, which the guard allows; the victim on the same
 * port of 127.0.0.1, which it does not: nobody ever may connect there.  The name server
 * answers by the name's first letter:
 *
 *     e...   127.0.0.2
 *     v...   127.0.0.1
 *     b...   both
 *     r...   127.0.0.2 to the first question, 127.0.0.1 to all later ones
 *     others have no address
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "base/attr.h"
#include "base/mem.h"
#include "http/fetch.h"

static struct loop *l;
static struct resolver *rv;
static struct guard *g;
static struct fetch *f;
static struct event *dns_event;
static struct evconnlistener *endpoint, *victim;
static int dns_fd;
static unsigned dns_questions, connections, victims, requests;
static uint16_t port;
static char last_request[8192];

/* ---- the name server ------------------------------------------------------ */

static size_t
put_address(unsigned char *to, unsigned char last)
{
	const unsigned char answer[] = {
	    0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, last};

	memcpy(to, answer, sizeof(answer));
	return sizeof(answer);
}

static void
dns_readable(evutil_socket_t fd, short what, void *arg)
{
	static unsigned asked_r;
	unsigned char p[512];
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	ssize_t n =
	    recvfrom(fd, p, sizeof(p) - 64, 0, (struct sockaddr *)&from, &from_len);
	size_t end = 12;
	unsigned char kind, count = 0;

	(void)what;
	(void)arg;
	assert_true(n > 17);
	kind = p[13] | 0x20;
	while (p[end] != 0)
		end += p[end] + 1u;
	if (p[end + 2] == 1) { /* A; there is no AAAA */
		dns_questions++;
		end += 5;
		if (kind == 'e' || kind == 'b' || (kind == 'r' && asked_r == 0)) {
			end += put_address(p + end, 2);
			count++;
		}
		if (kind == 'v' || kind == 'b' || (kind == 'r' && asked_r > 0)) {
			end += put_address(p + end, 1);
			count++;
		}
		asked_r += kind == 'r';
	} else {
		end += 5;
	}
	p[2] = 0x81;
	p[3] = strchr("evbr", kind) != NULL ? 0x80 : 0x83;
	p[7] = count;
	memset(p + 8, 0, 4);
	assert_int_equal(
	    sendto(fd, p, end, 0, (struct sockaddr *)&from, from_len), end);
}

/* ---- the endpoint --------------------------------------------------------- */

static void
answer(struct bufferevent *bev, const char *path)
{
	static char big[100000];

	if (strcmp(path, "/ok") == 0) {
		evbuffer_add_printf(bufferevent_get_output(bev),
		    "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}");
	} else if (strcmp(path, "/early") == 0) {
		evbuffer_add_printf(bufferevent_get_output(bev),
		    "HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n"
		    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	} else if (strcmp(path, "/retry") == 0) {
		evbuffer_add_printf(bufferevent_get_output(bev),
		    "HTTP/1.1 503 Later\r\nretry-AFTER: \t7 \r\nContent-Length: "
		    "4\r\nx-kePT:a b \r\nX-Kept: "
		    "0123456789012345678901234567890123456789012345678901234567890123"
		    "\r\nX-Kept-Not: c\r\n\r\n"
		    "busy");
	} else if (strcmp(path, "/redirect") == 0) {
		evbuffer_add_printf(bufferevent_get_output(bev),
		    "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%u/ok\r\n"
		    "Content-Length: 0\r\n\r\n",
		    port);
	} else if (strcmp(path, "/big") == 0) {
		memset(big, 'x', sizeof(big));
		evbuffer_add_printf(bufferevent_get_output(bev),
		    "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", sizeof(big));
		bufferevent_write(bev, big, sizeof(big));
	} else if (strcmp(path, "/half") == 0) {
		evbuffer_add_printf(bufferevent_get_output(bev),
		    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
	} else if (strcmp(path, "/heads") == 0) {
		/* each of them is a small one */
		for (int i = 0; i < 3000; i++)
			evbuffer_add_printf(bufferevent_get_output(bev),
			    "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n");
	} else if (strcmp(path, "/junk") == 0) {
		bufferevent_write(bev, "220 mail.example ESMTP\r\n", 24);
	} else if (strcmp(path, "/gzip") == 0) {
		evbuffer_add_printf(bufferevent_get_output(bev),
		    "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n"
		    "\r\nabc");
	} /* others: silence */
}

static void
endpoint_read(struct bufferevent *bev, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(bev);
	char path[64];
	const char *at;
	size_t len, head, body;

	(void)arg;
	len = evbuffer_copyout(in, last_request, sizeof(last_request) - 1) > 0
		  ? evbuffer_get_length(in)
		  : 0;
	assert_true(len < sizeof(last_request));
	last_request[len] = '\0';
	at = strstr(last_request, "\r\n\r\n");
	if (at == NULL)
		return;
	head = (size_t)(at - last_request) + 4;
	at = strstr(last_request, "Content-Length: ");
	assert_non_null(at);
	body = (size_t)strtoul(at + 16, NULL, 10);
	if (len < head + body)
		return;
	evbuffer_drain(in, head + body);
	assert_int_equal(sscanf(last_request, "POST %60s HTTP/1.1", path), 1);
	requests++;
	if (strcmp(path, "/close") == 0)
		bufferevent_free(bev);
	else
		answer(bev, path);
}

static void
endpoint_event(struct bufferevent *bev, short what, void *arg)
{
	(void)what;
	(void)arg;
	bufferevent_free(bev);
}

static void
endpoint_accept(struct evconnlistener *el, evutil_socket_t fd, struct sockaddr *from,
    int len, void *arg)
{
	struct bufferevent *bev;

	(void)el;
	(void)from;
	(void)len;
	(void)arg;
	connections++;
	bev = bufferevent_socket_new(loop_base(l), fd, BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(bev, endpoint_read, NULL, endpoint_event, NULL);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static void
victim_accept(struct evconnlistener *el, evutil_socket_t fd, struct sockaddr *from,
    int len, void *arg)
{
	(void)el;
	(void)from;
	(void)len;
	(void)arg;
	victims++;
	close(fd);
}

static struct evconnlistener *
listen_on(const char *host, evconnlistener_cb accepted)
{
	char text[64];
	struct addr a;
	int fd;

	snprintf(text, sizeof(text), "%s:%u", host, port);
	assert_int_equal(addr_parse(text, &a, NULL), 0);
	assert_int_equal(addr_listen(&a, 16, &fd, NULL), 0);
	assert_int_equal(addr_of_socket(fd, &a, NULL), 0);
	port = addr_port(&a);
	return evconnlistener_new(
	    loop_base(l), accepted, NULL, LEV_OPT_CLOSE_ON_FREE, 0, fd);
}

/* ---- each test ------------------------------------------------------------ */

static int
open_all(void **state)
{
	struct fetch_opts fo = {.ca_file = "",
	    .user_agent = "test/1",
	    .connect_timeout_ms = 2000,
	    .idle_timeout_ms = 200,
	    .idle_connections = 8};
	struct guard_opts go = {.allow = "127.0.0.2/32", .deny = ""};
	struct addr a;
	char ports[32];

	(void)state;
	l = loop_create(NULL);
	rv = resolver_create(l, NULL);
	port = 0;
	endpoint = listen_on("127.0.0.2", endpoint_accept);
	victim = listen_on("127.0.0.1", victim_accept);
	snprintf(ports, sizeof(ports), "%u, 1", port);
	go.ports = ports;
	g = guard_create(&go, NULL);
	dns_fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (addr_parse("127.0.0.1:0", &a, NULL) != 0 ||
	    bind(dns_fd, &a.sa, a.len) != 0 || addr_of_socket(dns_fd, &a, NULL) != 0 ||
	    resolver_set_server(rv, &a, NULL) != 0)
		return -1;
	dns_event =
	    event_new(loop_base(l), dns_fd, EV_READ | EV_PERSIST, dns_readable, NULL);
	fo.resolver = rv;
	fo.guard = g;
	f = fetch_create(l, &fo, NULL);
	dns_questions = connections = victims = requests = 0;
	return f != NULL ? event_add(dns_event, NULL) : -1;
}

static int
close_all(void **state)
{
	(void)state;
	assert_int_equal(victims, 0);
	fetch_free(f);
	guard_free(g);
	event_free(dns_event);
	close(dns_fd);
	evconnlistener_free(endpoint);
	evconnlistener_free(victim);
	resolver_free(rv);
	/* the endpoint's connections see the end */
	event_base_loop(loop_base(l), EVLOOP_NONBLOCK);
	event_base_loop(loop_base(l), EVLOOP_NONBLOCK);
	loop_free(l);
	return 0;
}

struct got {
	int calls, stop_at;
	enum fetch_fault fault;
	int status;
	size_t len;
	bool cut;
	char body[64], retry_after[64], kept[FETCH_KEPT][64], detail[200];
};

static void
note(const struct fetch_answer *an, void *arg)
{
	struct got *got = arg;

	got->calls++;
	got->fault = an->fault;
	got->status = an->status;
	got->len = an->body_len;
	got->cut = an->cut;
	snprintf(got->body, sizeof(got->body), "%.60s", an->body);
	snprintf(got->retry_after, sizeof(got->retry_after), "%s", an->retry_after);
	for (size_t i = 0; i < FETCH_KEPT; i++)
		snprintf(got->kept[i], sizeof(got->kept[i]), "%s", an->kept[i]);
	snprintf(got->detail, sizeof(got->detail), "%.190s", an->detail);
	if (got->calls >= got->stop_at)
		loop_stop(l);
}

static struct fetch_run *
start(const char *host, const char *path, int64_t timeout_ms, struct got *got)
{
	static const char *const headers[] = {
	    "X-One: 1", "Content-Type: text/plain", NULL};
	struct fetch_request rq = {.headers = headers,
	    .body = "hello",
	    .body_len = 5,
	    .timeout_ms = timeout_ms,
	    .max_response_bytes = 1000,
	    .keep = {"X-Kept", "Content-Length"}};
	struct fetch_run *run;
	struct weburl url;
	char text[300];

	snprintf(text, sizeof(text), "http://%s:%u%s", host, port, path);
	assert_int_equal(weburl_parse(text, &url, NULL), 0);
	rq.url = &url;
	run = fetch_start(f, &rq, note, got, NULL);
	assert_non_null(run);
	assert_int_equal(got->calls, 0);
	return run;
}

static void
run_loop(void)
{
	struct err err = ERR_INIT;

	assert_int_equal(loop_run(l, &err), 0);
}

static struct got
fetch(const char *host, const char *path)
{
	struct got got = {.stop_at = 1};

	(void)start(host, path, 5000, &got);
	run_loop();
	assert_int_equal(got.calls, 1);
	return got;
}

static void
a_request_is_sent_and_its_answer_told(void **state)
{
	struct got got = fetch("127.0.0.2", "/ok");
	char host[64];

	(void)state;
	assert_int_equal(got.fault, FETCH_ANSWERED);
	assert_int_equal(got.status, 200);
	assert_string_equal(got.body, "{\"a\":1}");
	assert_false(got.cut);
	snprintf(host, sizeof(host), "\r\nHost: 127.0.0.2:%u\r\n", port);
	assert_non_null(strstr(last_request, host));
	assert_non_null(strstr(last_request, "\r\nX-One: 1\r\n"));
	assert_non_null(strstr(last_request, "\r\nUser-Agent: test/1\r\n"));
	assert_non_null(strstr(last_request, "\r\nContent-Type: text/plain\r\n"));
	assert_null(strstr(last_request, "Expect"));
	assert_null(strstr(last_request, "Encoding"));
	assert_non_null(strstr(last_request, "\r\n\r\nhello"));
}

static void
connections_are_used_again(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++)
		assert_int_equal(fetch("e.test", "/ok").status, 200);
	assert_int_equal(requests, 5);
	assert_int_equal(connections, 1);
	assert_int_equal(dns_questions, 1); /* known for a moment */
}

static void
what_is_not_allowed_is_not_connected_to(void **state)
{
	static const char *const hosts[] = {
	    "127.0.0.1", "v.test", "b.test", "[::1]", "[::ffff:127.0.0.1]"};
	struct got got;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(hosts); i++) {
		got = fetch(hosts[i], "/ok");
		assert_int_equal(got.fault, FETCH_BLOCKED);
		assert_non_null(strstr(got.detail, " is "));
	}
	assert_int_equal(connections, 0);
	port++; /* is in nobody's list */
	got = fetch("127.0.0.2", "/ok");
	port--;
	assert_int_equal(got.fault, FETCH_BLOCKED);
	assert_string_equal(got.detail, "the port is not allowed");
}

static void
a_name_that_changes_its_address_is_caught(void **state)
{
	struct got got = fetch("r1.test", "/ok");

	(void)state;
	/* one look-up: what was looked at is what was connected to */
	assert_int_equal(got.fault, FETCH_ANSWERED);
	assert_int_equal(dns_questions, 1);
	/* from now on its answer is the victim's; other names, so that nothing is known
	 */
	for (int i = 2; i < 8; i++) {
		char host[32];

		snprintf(host, sizeof(host), "r%d.test", i);
		assert_int_equal(fetch(host, "/ok").fault, FETCH_BLOCKED);
	}
	assert_int_equal(connections, 1);
}

static void
redirects_are_answers(void **state)
{
	(void)state;
	assert_int_equal(fetch("e.test", "/redirect").status, 302);
	assert_int_equal(requests, 1);
}

static void
answers_are_read_up_to_a_bound(void **state)
{
	struct got got = fetch("e.test", "/big");

	(void)state;
	assert_int_equal(got.fault, FETCH_ANSWERED);
	assert_int_equal(got.status, 200);
	assert_true(got.cut);
	assert_int_equal(got.len, 1000);
	/* and never unpacked */
	got = fetch("e.test", "/gzip");
	assert_string_equal(got.body, "abc");
}

static void
retry_after_is_that_of_the_last_head(void **state)
{
	struct got got = fetch("e.test", "/retry");

	(void)state;
	assert_int_equal(got.status, 503);
	assert_string_equal(got.retry_after, "7");
	/* and others that were asked for: a name in any case, no longer ones */
	assert_string_equal(got.kept[0], "a b");
	assert_string_equal(got.kept[1], "4");
	assert_string_equal(got.body, "busy");
	got = fetch("e.test", "/early");
	assert_int_equal(got.status, 200);
	assert_string_equal(got.retry_after, "");
}

static void
faults_are_told_apart(void **state)
{
	struct got got;
	uint16_t mine = port;

	(void)state;
	assert_int_equal(fetch("nobody.test", "/ok").fault, FETCH_UNREACHABLE);
	port = 1;
	assert_int_equal(fetch("127.0.0.2", "/ok").fault, FETCH_UNREACHABLE);
	port = mine;
	assert_int_equal(fetch("e.test", "/close").fault, FETCH_BROKEN);
	assert_int_equal(fetch("e.test", "/junk").fault, FETCH_BROKEN);
	got = fetch("e.test", "/heads");
	assert_int_equal(got.fault, FETCH_BROKEN);
	assert_string_equal(got.detail, "the answer's headers do not end");
	got = fetch("e.test", "/half"); /* stands still */
	assert_int_equal(got.fault, FETCH_TIMEOUT);
	assert_string_equal(got.detail, "the answer stood still");
	got = (struct got){.stop_at = 1};
	(void)start("e.test", "/silence", 300, &got);
	run_loop();
	assert_int_equal(got.fault, FETCH_TIMEOUT);
}

static void
tls_is_verified(void **state)
{
	static const char *const headers[] = {NULL};
	struct got got = {.stop_at = 1};
	struct fetch_request rq = {.headers = headers,
	    .body = "",
	    .timeout_ms = 2000,
	    .max_response_bytes = 10};
	struct weburl url;
	char text[64];

	(void)state;
	snprintf(text, sizeof(text), "https://127.0.0.2:%u/ok", port);
	assert_int_equal(weburl_parse(text, &url, NULL), 0);
	rq.url = &url;
	/* a server that speaks no TLS; certificates are test_http_handler.py's matter
	 */
	assert_non_null(fetch_start(f, &rq, note, &got, NULL));
	evconnlistener_set_cb(endpoint, victim_accept, NULL);
	run_loop();
	assert_int_equal(victims, 1);
	victims = 0;
	assert_int_equal(got.fault, FETCH_TLS);
}

static void
what_is_cancelled_is_never_told(void **state)
{
	struct got never = {.stop_at = 1}, got;
	struct fetch_run *asking, *silent;

	(void)state;
	asking = start("e2.test", "/ok", 5000, &never);
	fetch_cancel(asking);
	silent = start("127.0.0.2", "/silence", 5000, &never);
	got = fetch("e.test", "/ok"); /* meanwhile it was sent */
	assert_int_equal(got.status, 200);
	assert_int_equal(requests, 2);
	fetch_cancel(silent);
	fetch_cancel(NULL);
	got = fetch("e.test", "/ok");
	assert_int_equal(got.status, 200);
	assert_int_equal(never.calls, 0);
}

static void
many_at_a_time(void **state)
{
	struct got got = {.stop_at = 60};

	(void)state;
	for (int i = 0; i < 60; i++) {
		got.calls = 0;
		(void)start(i % 2 ? "e.test" : "127.0.0.2", "/ok", 5000, &got);
	}
	run_loop();
	assert_int_equal(got.calls, 60);
	assert_int_equal(requests, 60);
}

static void
without_memory_nothing_is_half_started(void **state)
{
	static const char *const headers[] = {"X: y", NULL};
	struct got got = {.stop_at = 1};
	struct fetch_request rq = {.headers = headers,
	    .body = "hello",
	    .body_len = 5,
	    .timeout_ms = 5000,
	    .max_response_bytes = 100};
	struct fetch_run *run = NULL;
	struct weburl url;
	struct err err;
	char text[64];

	(void)state;
	snprintf(text, sizeof(text), "http://e.test:%u/ok", port);
	assert_int_equal(weburl_parse(text, &url, NULL), 0);
	rq.url = &url;
	for (unsigned n = 1; run == NULL; n++) {
		mem_fail_nth(n);
		run = fetch_start(f, &rq, note, &got, &err);
		if (run == NULL)
			assert_int_equal(err.code, ERR_NOMEM);
	}
	mem_fail_nth(0);
	run_loop();
	assert_int_equal(got.calls, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_request_is_sent_and_its_answer_told),
	    TEST(connections_are_used_again),
	    TEST(what_is_not_allowed_is_not_connected_to),
	    TEST(a_name_that_changes_its_address_is_caught),
	    TEST(redirects_are_answers),
	    TEST(answers_are_read_up_to_a_bound),
	    TEST(retry_after_is_that_of_the_last_head),
	    TEST(faults_are_told_apart),
	    TEST(tls_is_verified),
	    TEST(what_is_cancelled_is_never_told),
	    TEST(many_at_a_time),
	    TEST(without_memory_nothing_is_half_started),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
