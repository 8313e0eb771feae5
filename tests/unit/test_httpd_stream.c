/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_httpd_stream.c - replies that go on: chunks, bounds, ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/mem.h"
#include "httpd_client.h"

#define STREAM "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"

static struct httpreq *
open_stream(struct stage *st, struct client *c, const char *request)
{
	unsigned count = st->held_count;

	client_open(c, st);
	client_text(c, request);
	STAGE_WAIT(st, st->held_count > count);
	return st->held[count];
}

static void
until_in(struct client *c, const char *text)
{
	STAGE_WAIT(c->stage, (client_read(c), c->in != NULL && strstr(c->in, text)));
}

static void
parts_come_in_chunks_and_the_end_closes(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct httpreq *req;
	struct client c;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	req = open_stream(&st, &c, STREAM);
	assert_int_equal(st.afters, 1);
	assert_int_equal(st.last_status, 200);
	assert_int_equal(httpd_requests(st.httpd), 0);
	until_in(&c, "\r\n\r\n");
	assert_non_null(strstr(c.in, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(c.in, "Transfer-Encoding: chunked\r\n"));
	assert_non_null(strstr(c.in, "Connection: close\r\n"));
	assert_null(strstr(c.in, "Content-Length"));
	httpreq_stream_send(req, "hello", 5);
	until_in(&c, "5\r\nhello\r\n");
	httpreq_stream_send(req, "", 0);
	httpreq_stream_send(req, "0123456789abcdef", 16);
	until_in(&c, "10\r\n0123456789abcdef\r\n");
	assert_int_equal(httpreq_stream_unsent(req), 0);
	httpreq_stream_end(req);
	client_wait_end(&c);
	assert_string_equal(c.in + c.len - 7, "\r\n0\r\n\r\n");
	assert_false(c.reset);
	assert_int_equal(st.gone_count, 0);
	client_close(&c);
	stage_close(&st);
}

static void
http_1_0_reads_until_the_end(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct httpreq *req;
	struct client c;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	req = open_stream(&st, &c, "GET /stream HTTP/1.0\r\n\r\n");
	httpreq_stream_send(req, "hello", 5);
	httpreq_stream_end(req);
	client_wait_end(&c);
	assert_null(strstr(c.in, "chunked"));
	assert_string_equal(c.in + c.len - 9, "\r\n\r\nhello");
	client_close(&c);
	stage_close(&st);
}

static void
evhttp_requests_stream_too(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct httpreq *req;
	struct client c;

	(void)state;
	stage_opts(&st, &opts);
	opts.allow_chunked = true;
	stage_open(&st, &opts);
	/* a body in chunks is evhttp's to read */
	req = open_stream(&st, &c,
	    "POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	    "3\r\nabc\r\n0\r\n\r\n");
	httpreq_stream_send(req, "one", 3);
	until_in(&c, "3\r\none\r\n");
	httpreq_stream_send(req, "two", 3);
	httpreq_stream_end(req);
	client_wait_end(&c);
	assert_non_null(strstr(c.in, "3\r\ntwo\r\n0\r\n\r\n"));
	client_close(&c);
	/* and one that hangs up */
	req = open_stream(&st, &c,
	    "POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	    "3\r\nabc\r\n0\r\n\r\n");
	client_close(&c);
	STAGE_WAIT(&st, st.gone_count == 1);
	httpreq_stream_send(req, "late", 4);
	httpreq_stream_end(req);
	stage_close(&st);
}

static void
who_hangs_up_is_told_and_sends_go_nowhere(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct httpreq *req;
	struct client c;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	for (unsigned i = 0; i < 2; i++) {
		req = open_stream(&st, &c, STREAM);
		httpreq_stream_send(req, "x", 1);
		if (i == 0)
			client_close(&c);
		else
			client_reset(&c);
		STAGE_WAIT(&st, st.gone_count == i + 1);
		assert_true(httpreq_is_gone(req));
		httpreq_stream_send(req, "y", 1);
		assert_int_equal(httpreq_stream_unsent(req), 0);
		if (i == 0)
			httpreq_stream_end(req);
		else
			httpreq_drop(req);
	}
	STAGE_WAIT(&st, httpd_connections(st.httpd) == 0);
	stage_close(&st);
}

static void
one_that_does_not_read_is_dropped_at_the_bound(void **state)
{
	static char piece[65536];
	struct stage st = {0};
	struct httpd_opts opts;
	struct httpreq *req;
	struct client c;
	size_t most = 0;

	(void)state;
	memset(piece, 'x', sizeof(piece));
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	req = open_stream(&st, &c, STREAM);
	for (unsigned i = 0; i < 1000 && st.gone_count == 0; i++) {
		httpreq_stream_send(req, piece, sizeof(piece));
		if (httpreq_stream_unsent(req) > most)
			most = httpreq_stream_unsent(req);
		stage_turn(&st);
	}
	assert_int_equal(st.gone_count, 1);
	assert_true(most <= HTTPREQ_UNSENT_MAX + sizeof(piece) + 64);
	httpreq_drop(req);
	client_close(&c);
	stage_close(&st);
}

static void
one_that_stands_still_is_dropped_in_time(void **state)
{
	static char piece[512 * 1024];
	struct stage st = {0};
	struct httpd_opts opts;
	struct httpreq *req;
	struct client c;
	int64_t until;

	(void)state;
	memset(piece, 'x', sizeof(piece));
	stage_opts(&st, &opts);
	opts.write_ms = 100;
	stage_open(&st, &opts);
	req = open_stream(&st, &c, STREAM);
	/* nothing to take is no standing still */
	until = clock_mono_ms() + 300;
	while (clock_mono_ms() < until)
		stage_turn(&st);
	assert_int_equal(st.gone_count, 0);
	until = clock_mono_ms() + 60000;
	/* the kernel takes some megabytes before it takes nothing */
	while (st.gone_count == 0) {
		assert_true(clock_mono_ms() < until);
		if (httpreq_stream_unsent(req) == 0)
			httpreq_stream_send(req, piece, sizeof(piece));
		stage_turn(&st);
	}
	httpreq_stream_end(req);
	client_close(&c);
	stage_close(&st);
}

static void
a_leaving_server_waits_for_no_stream(void **state)
{
	static char piece[HTTPREQ_UNSENT_MAX / 2];
	struct stage st = {0};
	struct httpd_opts opts;
	struct httpreq *req[2];
	struct client c[2];

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	for (unsigned i = 0; i < 2; i++)
		req[i] = open_stream(&st, &c[i], STREAM);
	httpd_close_idle(st.httpd);
	assert_int_equal(httpd_requests(st.httpd), 0);
	/* one is ended with bytes that nobody takes, one stays open to the end */
	while (httpreq_stream_unsent(req[0]) == 0) {
		httpreq_stream_send(req[0], piece, sizeof(piece));
		for (unsigned i = 0; i < 4; i++)
			stage_turn(&st);
	}
	httpreq_stream_end(req[0]);
	assert_int_equal(httpd_requests(st.httpd), 0);
	httpd_free(st.httpd);
	st.httpd = NULL;
	assert_int_equal(st.gone_count, 1);
	httpreq_drop(req[1]);
	for (unsigned i = 0; i < 2; i++)
		client_close(&c[i]);
	stage_close(&st);
}

static void
without_memory_a_stream_ends_or_does_not_begin(void **state)
{
	(void)state;
	for (unsigned n = 1; n < 12; n++) {
		struct stage st = {0};
		struct httpd_opts opts;
		struct httpreq *req;
		struct client c;

		stage_opts(&st, &opts);
		stage_open(&st, &opts);
		req = open_stream(&st, &c, STREAM);
		mem_fail_nth(n);
		for (unsigned i = 0; i < 4; i++)
			httpreq_stream_send(req, "hello", 5);
		mem_fail_nth(0);
		httpreq_stream_end(req);
		client_wait_end(&c);
		client_close(&c);
		stage_close(&st);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(parts_come_in_chunks_and_the_end_closes),
	    cmocka_unit_test(http_1_0_reads_until_the_end),
	    cmocka_unit_test(evhttp_requests_stream_too),
	    cmocka_unit_test(who_hangs_up_is_told_and_sends_go_nowhere),
	    cmocka_unit_test(one_that_does_not_read_is_dropped_at_the_bound),
	    cmocka_unit_test(one_that_stands_still_is_dropped_in_time),
	    cmocka_unit_test(a_leaving_server_waits_for_no_stream),
	    cmocka_unit_test(without_memory_a_stream_ends_or_does_not_begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
