/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_hconn.c - every request gets its answer or one reason, from a server in the same
 * loop.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "cli/finished.h"
#include "cli/hconn.h"

/* what the server does with the n-th request it sees */
struct script {
	const char *bytes; /* sent at once; NULL: nothing */
	bool close;	   /* afterwards */
};

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
	enum err_code codes[8];
	size_t told;
	size_t wanted; /* stop after so many */
	bool free_in_callback;
	struct hconn *hc;
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
	if (s->bytes != NULL)
		bufferevent_write(bev, s->bytes, strlen(s->bytes));
	if (s->close && s->bytes != NULL)
		bufferevent_setcb(bev, NULL, peer_wrote, NULL, NULL);
	else if (s->close)
		drop_peer(bev);
}

static void
peer_event(struct bufferevent *bev, short what, void *arg)
{
	(void)what;
	(void)arg;
	drop_peer(bev);
}

static void
on_accept(struct evconnlistener *l, int fd, struct sockaddr *sa, int len, void *arg)
{
	struct bufferevent *bev = bufferevent_socket_new(
	    evconnlistener_get_base(l), fd, BEV_OPT_CLOSE_ON_FREE);

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
	} else {
		t.statuses[t.told] = a->status;
		assert_true(a->len < sizeof(t.bodies[0]));
		memcpy(t.bodies[t.told], a->body, a->len);
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
	    cmocka_unit_test(a_head_is_understood_at_whatever_byte_it_was_cut),
	    cmocka_unit_test(metrics_are_added_up_over_their_labels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
