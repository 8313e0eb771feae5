/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_hconn.c - every request gets its answer or one reason, from a server in the same
 * loop.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <openssl/ssl.h>

#include "base/str.h"
#include "cli/finished.h"
#include "cli/hconn.h"
#include "self_signed.h"
#include "tls/tlsclient.h"

/* what the server does with the n-th request it sees */
struct script {
	const char *bytes; /* sent at once; NULL: nothing */
	bool close;	   /* afterwards */
};

/* in place of bytes: the connection ends without a word of TLS's */
static const char cut[] = "";

static struct {
	struct loop *loop;
	struct addr addr;
	struct evconnlistener *listener;
	const struct script *script;
	size_t step;
	struct bufferevent *peers[8];
	size_t peer_count;
	int statuses[8];
	char bodies[8][64];
	size_t lens[8];
	enum err_code codes[8];
	char reasons[8][sizeof(((struct err *)0)->text)];
	size_t told;
	size_t wanted; /* stop after so many */
	bool free_in_callback;
	struct hconn *hc;
	SSL_CTX *server; /* NULL: it speaks no TLS */
	struct tlsclient *client;
} t;

static const char request[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

static void
drop_peer(struct bufferevent *bev)
{
	for (size_t i = 0; i < t.peer_count; i++) {
		if (t.peers[i] == bev)
			t.peers[i] = NULL;
	}
	bufferevent_free(bev);
}

static void
peer_wrote(struct bufferevent *bev, void *arg)
{
	(void)arg;
	if (evbuffer_get_length(bufferevent_get_output(bev)) == 0)
		drop_peer(bev);
}

static void
peer_read(struct bufferevent *bev, void *arg)
{
	const struct script *s = &t.script[t.step++];

	(void)arg;
	evbuffer_drain(bufferevent_get_input(bev), SIZE_MAX);
	if (s->bytes != NULL && s->bytes != cut)
		bufferevent_write(bev, s->bytes, strlen(s->bytes));
	if (s->bytes == cut)
		(void)shutdown(bufferevent_getfd(bev), SHUT_RDWR);
	else if (s->close && s->bytes != NULL)
		bufferevent_setcb(bev, NULL, peer_wrote, NULL, NULL);
	else if (s->close)
		drop_peer(bev);
}

static void
peer_event(struct bufferevent *bev, short what, void *arg)
{
	(void)arg;
	if ((what & BEV_EVENT_CONNECTED) == 0)
		drop_peer(bev);
}

static void
on_accept(struct evconnlistener *l, int fd, struct sockaddr *sa, int len, void *arg)
{
	struct event_base *base = evconnlistener_get_base(l);
	struct bufferevent *bev =
	    t.server == NULL
		? bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE)
		: bufferevent_openssl_socket_new(base, fd, SSL_new(t.server),
		      BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);

	(void)sa;
	(void)len;
	(void)arg;
	bufferevent_setcb(bev, peer_read, NULL, peer_event, NULL);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
	assert_true(t.peer_count < COUNT_OF(t.peers));
	t.peers[t.peer_count++] = bev;
}

static void
on_answer(
    struct hconn *hc, const struct hconn_answer *a, const struct err *err, void *arg)
{
	struct err ignored = ERR_INIT;

	assert_ptr_equal(arg, &t);
	assert_true((a == NULL) != (err == NULL));
	if (err != NULL) {
		t.codes[t.told] = err->code;
		str_copy(t.reasons[t.told], sizeof(t.reasons[0]), err->text);
	} else {
		t.statuses[t.told] = a->status;
		t.lens[t.told] = a->len;
		memcpy(t.bodies[t.told], a->body,
		    a->len < sizeof(t.bodies[0]) ? a->len : sizeof(t.bodies[0]) - 1);
	}
	t.told++;
	if (t.told == t.wanted) {
		if (t.free_in_callback) {
			hconn_free(hc);
			t.hc = NULL;
		}
		loop_stop(t.loop);
		return;
	}
	assert_int_equal(hconn_send(hc, request, strlen(request), 5000, &ignored), 0);
}

static int
setup(void **state)
{
	struct err err = ERR_INIT;
	int fd;

	(void)state;
	memset(&t, 0, sizeof(t));
	t.loop = loop_create(&err);
	if (t.loop == NULL || addr_parse("127.0.0.1:0", &t.addr, &err) != 0 ||
	    addr_listen(&t.addr, 8, &fd, &err) != 0 ||
	    addr_of_socket(fd, &t.addr, &err) != 0)
		return -1;
	t.listener = evconnlistener_new(
	    loop_base(t.loop), on_accept, NULL, LEV_OPT_CLOSE_ON_FREE, 0, fd);
	t.hc = hconn_create(t.loop, &t.addr, 1, on_answer, &t, &err);
	return t.listener == NULL || t.hc == NULL ? -1 : 0;
}

static int
teardown(void **state)
{
	(void)state;
	hconn_free(t.hc);
	for (size_t i = 0; i < t.peer_count; i++) {
		if (t.peers[i] != NULL)
			bufferevent_free(t.peers[i]);
	}
	if (t.listener != NULL)
		evconnlistener_free(t.listener);
	tlsclient_free(t.client);
	SSL_CTX_free(t.server);
	loop_free(t.loop);
	return 0;
}

static void
run_until(size_t answers, const struct script *script, int timeout_ms)
{
	struct err err = ERR_INIT;

	t.script = script;
	t.wanted = answers;
	assert_int_equal(
	    hconn_send(t.hc, request, strlen(request), timeout_ms, &err), 0);
	assert_int_equal(t.told, 0); /* never during the call */
	assert_int_equal(
	    hconn_send(t.hc, request, strlen(request), timeout_ms, &err), -1);
	assert_int_equal(err.code, ERR_CONFLICT);
	assert_int_equal(loop_run(t.loop, &err), 0);
	assert_int_equal(t.told, answers);
}

static void
one_connection_serves_many_requests(void **state)
{
	static const struct script script[] = {
	    {"HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\none", false},
	    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 "
	     "No\r\ncontent-length:3\r\n\r\ntwo",
		false},
	    {"HTTP/1.1 204 No Content\r\n\r\n", false},
	};

	(void)state;
	run_until(3, script, 5000);
	assert_int_equal(t.statuses[0], 201);
	assert_string_equal(t.bodies[0], "one");
	assert_int_equal(t.statuses[1], 404);
	assert_string_equal(t.bodies[1], "two");
	assert_int_equal(t.statuses[2], 204);
	assert_int_equal(t.peer_count, 1);
}

static void
it_connects_again_after_the_server_has_closed(void **state)
{
	static const struct script script[] = {
	    {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\none",
		true},
	    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo", false},
	};

	(void)state;
	run_until(2, script, 5000);
	assert_string_equal(t.bodies[0], "one");
	assert_string_equal(t.bodies[1], "two");
	assert_int_equal(t.peer_count, 2);
}

static void
a_close_before_the_answer_leaves_the_outcome_open(void **state)
{
	static const struct script script[] = {
	    {NULL, true},
	    {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", true},
	    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nall", false},
	};

	(void)state;
	run_until(3, script, 5000);
	assert_int_equal(t.codes[0], ERR_CLOSED);
	assert_int_equal(t.codes[1], ERR_CLOSED);
	assert_string_equal(t.bodies[2], "all");
}

static void
a_silent_server_is_given_up_at_the_deadline(void **state)
{
	static const struct script script[] = {{NULL, false}};

	(void)state;
	run_until(1, script, 20);
	assert_int_equal(t.codes[0], ERR_TIMEOUT);
}

static void
what_is_no_http_is_refused(void **state)
{
	static const struct script script[] = {
	    {"-ERR wrong number of arguments\r\n", false},
	    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false},
	    {"HTTP/1.1 200 OK\r\n\r\n", false},
	    {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", false},
	    {"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n", false},
	};

	(void)state;
	run_until(5, script, 5000);
	for (int i = 0; i < 5; i++)
		assert_int_equal(t.codes[i], ERR_INVALID);
}

static void
a_port_where_nobody_listens_is_an_io_error(void **state)
{
	(void)state;
	evconnlistener_free(t.listener);
	t.listener = NULL;
	run_until(1, NULL, 5000);
	assert_int_equal(t.codes[0], ERR_IO);
}

static void
the_callback_may_free_the_connection(void **state)
{
	static const struct script script[] = {
	    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none", false}};

	(void)state;
	t.free_in_callback = true;
	run_until(1, script, 5000);
	assert_string_equal(t.bodies[0], "one");
}

static void
the_callback_of_a_failure_may_free_it_too(void **state)
{
	static const struct script script[] = {{NULL, true}};

	(void)state;
	t.free_in_callback = true;
	run_until(1, script, 5000);
	assert_int_equal(t.codes[0], ERR_CLOSED);
}

/* ---------------------------------------------------------------- TLS */

/* the server's certificate names localhost; the client trusts that one alone, or
 * another that nobody has */
static int
setup_tls(const char *asked_for, bool trusted)
{
	static const char *const files[] = {
	    "test_hconn.pem", "test_hconn.key", "test_hconn.other.pem"};
	struct tlsclient_opts opts = {.ca_file = files[trusted ? 0 : 2]};
	struct err err = ERR_INIT;

	self_signed(files[0], files[1], "localhost", "DNS:localhost", -3600, 3600);
	self_signed(files[2], NULL, "other", "DNS:localhost", -3600, 3600);
	t.server = SSL_CTX_new(TLS_server_method());
	assert_non_null(t.server);
	assert_int_equal(SSL_CTX_use_certificate_chain_file(t.server, files[0]), 1);
	assert_int_equal(
	    SSL_CTX_use_PrivateKey_file(t.server, files[1], SSL_FILETYPE_PEM), 1);
	t.client = tlsclient_create(&opts, &err);
	assert_non_null(t.client);
	for (size_t i = 0; i < COUNT_OF(files); i++)
		unlink(files[i]);
	hconn_set_tls(t.hc, t.client, asked_for);
	return 0;
}

static void
over_tls_one_connection_serves_many_requests(void **state)
{
	static char large[60000 + 100];
	int n =
	    snprintf(large, 100, "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n");
	const struct script script[] = {
	    {"HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\none", false},
	    {large, false}, /* more than one record */
	    {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nend",
		true},
	    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain", false},
	};

	(void)state;
	memset(large + n, 'x', 60000);
	setup_tls("localhost", true);
	run_until(4, script, 5000);
	assert_int_equal(t.statuses[0], 201);
	assert_string_equal(t.bodies[0], "one");
	assert_int_equal(t.lens[1], 60000);
	assert_string_equal(t.bodies[2], "end");
	assert_string_equal(t.bodies[3], "again");
	assert_int_equal(t.peer_count, 2);
}

static void
a_server_that_is_not_who_was_asked_for_gets_no_request(void **state)
{
	(void)state;
	setup_tls("elsewhere.example", true);
	run_until(1, NULL, 5000);
	assert_int_equal(t.codes[0], ERR_IO);
	assert_non_null(strstr(t.reasons[0], "certificate is refused"));
	assert_int_equal(t.step, 0);
}

static void
nor_does_one_whose_certificate_nobody_vouches_for(void **state)
{
	(void)state;
	setup_tls("localhost", false);
	run_until(1, NULL, 5000);
	assert_int_equal(t.codes[0], ERR_IO);
	assert_non_null(strstr(t.reasons[0], "certificate is refused"));
	assert_int_equal(t.step, 0);
}

static void
nor_does_one_that_speaks_no_tls(void **state)
{
	static const struct script script[] = {
	    {"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", true}};

	(void)state;
	setup_tls("localhost", true);
	SSL_CTX_free(t.server);
	t.server = NULL;
	run_until(1, script, 5000);
	assert_int_equal(t.codes[0], ERR_IO);
	assert_true(t.reasons[0][0] != '\0');
}

static void
what_the_server_has_against_us_is_said(void **state)
{
	(void)state;
	setup_tls("localhost", true);
	SSL_CTX_set_verify(
	    t.server, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	run_until(1, NULL, 5000);
	/* by then the handshake is over for us: the request may have been sent */
	assert_int_equal(t.codes[0], ERR_CLOSED);
	assert_non_null(strstr(t.reasons[0], "certificate required"));
	assert_int_equal(t.step, 0);
}

static void
a_cut_before_the_answer_leaves_the_outcome_open_over_tls_too(void **state)
{
	static const struct script script[] = {
	    {NULL, true},
	    {cut, false},
	    {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", true},
	    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nall", false},
	};

	(void)state;
	setup_tls("localhost", true);
	run_until(4, script, 5000);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(t.codes[i], ERR_CLOSED);
		assert_non_null(strstr(t.reasons[i], "before"));
		assert_null(strstr(t.reasons[i], "Success"));
	}
	assert_string_equal(t.bodies[3], "all");
}

static void
a_head_is_understood_at_whatever_byte_it_was_cut(void **state)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length:  "
				   "12 \r\nConnection: close\r\n\r\nbody";
	size_t whole = strlen(text) - 4;
	struct hconn_head head;
	struct err err = ERR_INIT;

	(void)state;
	for (size_t len = 0; len < whole; len++)
		assert_int_equal(hconn_head_parse(text, len, &head, &err), 0);
	assert_int_equal(hconn_head_parse(text, whole, &head, &err), 1);
	assert_int_equal(head.status, 200);
	assert_int_equal(head.head_len, whole);
	assert_int_equal(head.body_len, 12);
	assert_true(head.close);
}

static void
metrics_are_added_up_over_their_labels(void **state)
{
	static const char text[] =
	    "# HELP shoal_a_total Text.\n# TYPE shoal_a_total counter\n"
	    "shoal_a_total{worker=\"1\"} 40\nshoal_a_total{worker=\"2\"} 2\n"
	    "shoal_a_total_more 1000\nshoal_b_total 7";

	(void)state;
	assert_int_equal(finished_metric_sum(text, strlen(text), "shoal_a_total"), 42);
	assert_int_equal(finished_metric_sum(text, strlen(text), "shoal_b_total"), 7);
	assert_int_equal(finished_metric_sum(text, strlen(text), "shoal_c_total"), 0);
	assert_int_equal(finished_metric_sum("", 0, "shoal_c_total"), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		one_connection_serves_many_requests, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		it_connects_again_after_the_server_has_closed, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		a_close_before_the_answer_leaves_the_outcome_open, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		a_silent_server_is_given_up_at_the_deadline, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		what_is_no_http_is_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		a_port_where_nobody_listens_is_an_io_error, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		the_callback_may_free_the_connection, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		the_callback_of_a_failure_may_free_it_too, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		over_tls_one_connection_serves_many_requests, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		a_server_that_is_not_who_was_asked_for_gets_no_request, setup,
		teardown),
	    cmocka_unit_test_setup_teardown(
		nor_does_one_whose_certificate_nobody_vouches_for, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		nor_does_one_that_speaks_no_tls, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		what_the_server_has_against_us_is_said, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		a_cut_before_the_answer_leaves_the_outcome_open_over_tls_too, setup,
		teardown),
	    cmocka_unit_test(a_head_is_understood_at_whatever_byte_it_was_cut),
	    cmocka_unit_test(metrics_are_added_up_over_their_labels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
