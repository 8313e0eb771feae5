/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_httpd_life.c - deadlines, hang-ups, bounds on connections, and how it ends.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "httpd_client.h"

#define GOOD	  "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
#define MOMENT_MS 1000 /* httpd_close_idle leaves so long to who was not idle */
#define HOLD	  "GET /hold HTTP/1.1\r\nHost: a\r\nX: kept\r\n\r\n"

/* says first, then one byte after the other until the server closes; how many it took
 */
static unsigned
drip(struct stage *st, const char *first)
{
	struct client c;
	unsigned sent = 0;

	client_open(&c, st);
	client_text(&c, first);
	STAGE_WAIT(st, (client_read(&c), c.eof || !client_send(&c, "x", 1) || !++sent));
	assert_int_equal(c.len, 0);
	client_close(&c);
	STAGE_WAIT(st, httpd_connections(st->httpd) == 0);
	return sent;
}

/*
 * Drips into a server whose heads or bodies have that long.  False: on a busy machine
 * the time passed before there was a drip to speak of, which shows nothing.
 */
static bool
drip_ends_in_time(const char *first, bool head, int deadline_ms)
{
	struct stage st = {0};
	struct httpd_opts opts;
	int64_t since = clock_mono_ms();
	unsigned sent;

	stage_opts(&st, &opts);
	if (head)
		opts.header_ms = deadline_ms;
	else
		opts.body_ms = deadline_ms;
	stage_open(&st, &opts);
	sent = drip(&st, first);
	assert_true(clock_mono_ms() - since >= deadline_ms);
	assert_int_equal(st.handled, 0);
	stage_close(&st);
	return sent > 2;
}

static void
a_head_has_a_deadline_however_busy_it_is(void **state)
{
	int deadline_ms = 60;

	(void)state;
	while (!drip_ends_in_time(
	    "GET /hello HTTP/1.1\r\nHost: a\r\nX: ", true, deadline_ms)) {
		deadline_ms *= 2;
		assert_true(deadline_ms < 5000);
	}
}

static void
a_body_has_a_deadline_however_busy_it_is(void **state)
{
	int deadline_ms = 60;

	(void)state;
	while (!drip_ends_in_time(
	    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n", false,
	    deadline_ms)) {
		deadline_ms *= 2;
		assert_true(deadline_ms < 5000);
	}
}

/* false: on a busy machine it took longer than that to read a request */
static bool
idle_is_closed_held_is_not(int idle_ms)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client fresh, used, held;
	bool read;

	stage_opts(&st, &opts);
	opts.idle_ms = idle_ms;
	stage_open(&st, &opts);
	client_open(&held, &st);
	client_text(&held, HOLD);
	STAGE_WAIT(&st, (client_read(&held), st.held_count == 1 || held.eof));
	if (held.eof) {
		client_close(&held);
		stage_close(&st);
		return false;
	}
	client_open(&fresh, &st);
	client_open(&used, &st);
	client_text(&used, GOOD);
	client_wait_end(&used);
	client_wait_end(&fresh);
	read = client_replies(&used) == 1;
	assert_int_equal(fresh.len, 0);
	assert_int_equal(httpd_connections(st.httpd), 1);
	assert_int_equal(st.gone_count, 0);
	httpreq_reply(st.held[0], 200, NULL, "1", 1);
	client_wait_end(&held);
	assert_int_equal(client_replies(&held), 1);
	client_close(&fresh);
	client_close(&used);
	client_close(&held);
	stage_close(&st);
	return read;
}

static void
an_idle_connection_is_closed_a_held_one_is_not(void **state)
{
	int idle_ms = 80;

	(void)state;
	while (!idle_is_closed_held_is_not(idle_ms)) {
		idle_ms *= 2;
		assert_true(idle_ms < 10000);
	}
}

/* false: on a busy machine the one that reads on had no turn in that time either */
static bool
who_takes_nothing_is_cut(int write_ms)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client stalled, slow;
	int small = 4096;
	bool taken;

	stage_opts(&st, &opts);
	opts.write_ms = write_ms;
	stage_open(&st, &opts);
	client_open(&stalled, &st);
	client_open(&slow, &st);
	assert_int_equal(
	    setsockopt(stalled.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	client_text(&stalled, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
	client_text(&slow, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n" GOOD);
	STAGE_WAIT(&st, st.handled >= 2);
	/* one reads on while the other waits for its end */
	STAGE_WAIT(&st, (client_read(&slow), httpd_connections(st.httpd) <= 1));
	STAGE_WAIT(&st, (client_read(&slow), slow.eof || client_replies(&slow) == 2));
	taken = !slow.eof;
	if (taken) {
		assert_int_equal(client_status(&slow, 1), 200);
		assert_int_equal(httpd_requests(st.httpd), 0);
	}
	client_close(&stalled);
	client_close(&slow);
	stage_close(&st);
	return taken;
}

static void
a_reply_that_nobody_takes_ends_one_that_is_taken_slowly_does_not(void **state)
{
	int write_ms = 250;

	(void)state;
	while (!who_takes_nothing_is_cut(write_ms)) {
		write_ms *= 2;
		assert_true(write_ms < 10000);
	}
}

static void
a_held_request_learns_soon_that_its_client_is_gone(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client c;
	int64_t since;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	client_open(&c, &st);
	/* also with bytes behind it that nobody has read */
	client_text(&c, HOLD GOOD);
	STAGE_WAIT(&st, st.held_count == 1);
	assert_int_equal(httpd_requests(st.httpd), 1);
	since = clock_mono_ms();
	client_close(&c);
	STAGE_WAIT(&st, st.gone_count == 1);
	assert_true(clock_mono_ms() - since < 5000);
	assert_int_equal(httpd_connections(st.httpd), 0);
	assert_int_equal(httpd_requests(st.httpd), 0);

	/* what was borrowed stays; the reply goes nowhere */
	assert_string_equal(httpreq_path(st.held[0]), "/hold");
	assert_string_equal(httpreq_header(st.held[0], "x"), "kept");
	assert_string_equal(httpreq_peer(st.held[0]), "127.0.0.1");
	httpreq_set_header(st.held[0], "A", "b");
	httpreq_reply(st.held[0], 200, NULL, "1", 1);
	assert_int_equal(st.afters, 0);
	stage_close(&st);
	assert_int_equal(st.gone_count, 1);
}

/* of this process, in milliseconds */
static int64_t
cpu_ms(void)
{
	struct rusage u;

	assert_int_equal(getrusage(RUSAGE_SELF, &u), 0);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
	       (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

/* the loop as it runs in a worker, for that long; the share of a processor, in % */
static int64_t
run_for(struct stage *st, int ms)
{
	struct timeval span = {.tv_usec = ms * 1000};
	int64_t cpu = cpu_ms();

	event_base_loopexit(loop_base(st->loop), &span);
	assert_true(event_base_loop(loop_base(st->loop), 0) >= 0);
	return (cpu_ms() - cpu) * 100 / ms;
}

static void
however_a_client_goes_a_held_request_learns_of_it_once(void **state)
{
	static const struct {
		const char *sentence, *behind;
		bool reset, half;
	} cases[] = {
	    {"an end", "", false, false},
	    {"an end behind unread bytes", GOOD GOOD, false, false},
	    {"the end of the half that writes", "", false, true},
	    {"a reset", "", true, false},
	    {"a reset behind unread bytes", GOOD GOOD, true, false},
	};
	struct stage st = {0};
	struct httpd_opts opts;

	(void)state;
	stage_opts(&st, &opts);
	opts.write_ms = 400; /* an eighth of it: the sweep */
	stage_open(&st, &opts);
	for (unsigned i = 0; i < COUNT_OF(cases); i++) {
		struct client c;

		client_open(&c, &st);
		client_text(&c, HOLD);
		client_text(&c, cases[i].behind);
		STAGE_WAIT(&st, st.held_count == i + 1);
		if (cases[i].reset)
			client_reset(&c);
		else if (cases[i].half)
			assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
		else
			client_close(&c);
		if (run_for(&st, 300) > 50)
			fail_msg("%s: the loop spins", cases[i].sentence);
		/* (on a busy machine there was hardly a turn in that time) */
		STAGE_WAIT(&st, st.gone_count > i);
		if (st.gone_count != i + 1)
			fail_msg(
			    "%s: told %u times", cases[i].sentence, st.gone_count - i);
		assert_int_equal(httpd_connections(st.httpd), 0);
		httpreq_drop(st.held[i]);
		if (cases[i].half)
			client_close(&c);
	}
	stage_close(&st);
	assert_int_equal(st.gone_count, COUNT_OF(cases));
}

/* more than the kernel is asked about at once; every second client goes */
static void
of_thousands_held_those_that_are_gone_are_told(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client *c;
	struct rlimit old, wide;
	unsigned count = HELD_MAX;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	wide = (struct rlimit){.rlim_cur = old.rlim_max, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &wide), 0);
	if (wide.rlim_cur < 2 * HELD_MAX + 64)
		count = (unsigned)(wide.rlim_cur - 64) / 2;
	c = calloc(count, sizeof(*c));
	assert_non_null(c);
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	for (unsigned i = 0; i < count; i++) {
		client_open(&c[i], &st);
		client_text(&c[i], HOLD);
		/* no more than the backlog takes */
		if (i % 32 == 31)
			STAGE_WAIT(&st, st.held_count == i + 1);
	}
	STAGE_WAIT(&st, st.held_count == count);
	for (unsigned i = 0; i < count; i += 2) {
		if (i % 4 == 0)
			client_close(&c[i]);
		else
			client_reset(&c[i]);
	}
	STAGE_WAIT(&st, st.gone_count == (count + 1) / 2);
	assert_int_equal(httpd_connections(st.httpd), count / 2);
	assert_true(run_for(&st, 600) < 50);
	assert_int_equal(st.gone_count, (count + 1) / 2);
	for (unsigned i = 0; i < count; i++)
		httpreq_reply(st.held[i], 200, NULL, "1", 1);
	for (unsigned i = 1; i < count; i += 2) {
		client_wait_replies(&c[i], 1);
		client_close(&c[i]);
	}
	STAGE_WAIT(&st, httpd_connections(st.httpd) == 0);
	stage_close(&st);
	free(c);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

static void
at_rest_the_loop_sleeps(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client c;
	int at_rest;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	at_rest = event_base_get_num_events(loop_base(st.loop), EVENT_BASE_COUNT_ADDED);
	client_open(&c, &st);
	client_text(&c, HOLD);
	STAGE_WAIT(&st, st.held_count == 1);
	httpreq_reply(st.held[0], 200, NULL, "1", 1);
	client_wait_replies(&c, 1);
	client_close(&c);
	STAGE_WAIT(&st, httpd_connections(st.httpd) == 0);
	STAGE_WAIT(&st, event_base_get_num_events(
			    loop_base(st.loop), EVENT_BASE_COUNT_ADDED) == at_rest);
	stage_close(&st);
}

static void
nobody_is_told_who_does_not_care(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client c;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	client_open(&c, &st);
	client_text(&c, HOLD);
	STAGE_WAIT(&st, st.held_count == 1);
	httpreq_on_gone(st.held[0], NULL, NULL);
	client_close(&c);
	STAGE_WAIT(&st, httpreq_is_gone(st.held[0]));
	stage_turn(&st);
	assert_int_equal(st.gone_count, 0);
	httpreq_problem(st.held[0], 503, "x", "y");
	stage_close(&st);
}

static void
late_replies_come_in_order(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client c;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	client_open(&c, &st);
	client_text(&c, HOLD HOLD GOOD);
	STAGE_WAIT(&st, st.held_count == 1);
	for (unsigned i = 0; i < 5; i++)
		stage_turn(&st);
	assert_int_equal(st.held_count, 1);
	httpreq_reply(st.held[0], 200, NULL, "1", 1);
	STAGE_WAIT(&st, st.held_count == 2);
	httpreq_reply(st.held[1], 202, NULL, "2", 1);
	client_wait_replies(&c, 3);
	assert_int_equal(client_status(&c, 1), 202);
	assert_int_equal(client_status(&c, 2), 200);
	assert_int_equal(st.afters, 3);
	/* and after that a hang-up ends the connection as well */
	client_close(&c);
	STAGE_WAIT(&st, httpd_connections(st.httpd) == 0);
	stage_close(&st);
}

static void
a_reply_leaves_at_once(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client c;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	client_open(&c, &st);
	client_text(&c, HOLD GOOD);
	STAGE_WAIT(&st, st.held_count == 1);
	httpreq_set_header(st.held[0], "X-One", "1");
	httpreq_set_header(st.held[0], "X-Two", "2\r\nX-Three: 3");
	httpreq_set_header(st.held[0], "X-Four", "4");
	httpreq_reply(st.held[0], 201, NULL, "{}", 2);
	assert_int_equal(httpd_requests(st.httpd), 0);
	/* no turn of the loop since; a busy kernel may take its time with it */
	client_read_within(&c, 10000);
	assert_int_equal(client_replies(&c), 1);
	assert_non_null(
	    strstr(c.in, "HTTP/1.1 201 Created\r\nX-One: 1\r\n"
			 "X-Four: 4\r\nContent-Type: application/json\r\n"));
	assert_null(strstr(c.in, "X-T"));
	/* the headers of one reply are not those of the next */
	client_wait_replies(&c, 2);
	assert_null(strstr(strstr(c.in, "{}"), "X-One"));
	client_close(&c);
	stage_close(&st);
}

static void
who_has_gone_when_the_reply_comes_does_no_harm(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client half, whole, reset;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	client_open(&half, &st);
	client_open(&whole, &st);
	client_open(&reset, &st);
	client_text(&half, HOLD);
	STAGE_WAIT(&st, st.held_count == 1);
	client_text(&whole, HOLD HOLD);
	STAGE_WAIT(&st, st.held_count == 2);
	client_text(&reset, HOLD GOOD);
	STAGE_WAIT(&st, st.held_count == 3);
	assert_int_equal(shutdown(half.fd, SHUT_WR), 0);
	client_close(&whole);
	client_reset(&reset);
	for (unsigned i = 0; i < 3; i++)
		httpreq_reply(st.held[i], 200, NULL, "1", 1);
	client_wait_end(&half);
	assert_int_equal(client_status(&half, 0), 200);
	/* whole sent a second request before it went: that is held, then lost */
	STAGE_WAIT(&st, httpd_connections(st.httpd) == 0);
	for (unsigned i = 3; i < st.held_count; i++)
		httpreq_drop(st.held[i]);
	client_close(&half);
	stage_close(&st);
}

static void
what_is_sent_ahead_waits_and_is_answered(void **state)
{
	enum { AHEAD = 3000 };
	static const char chunked[] = "POST /echo HTTP/1.1\r\nHost: a\r\n"
				      "Transfer-Encoding: chunked\r\n\r\n"
				      "3\r\nabc\r\n0\r\n\r\n";
	struct stage st = {0};
	struct httpd_opts opts;
	struct client c;

	(void)state;
	stage_opts(&st, &opts);
	opts.allow_chunked = true;
	stage_open(&st, &opts);
	client_open(&c, &st);
	client_text(&c, HOLD);
	for (unsigned i = 0; i < AHEAD; i++)
		client_text(&c, i % 100 == 99 ? chunked : GOOD);
	STAGE_WAIT(&st, st.held_count == 1);
	for (unsigned i = 0; i < 5; i++)
		stage_turn(&st);
	assert_int_equal(st.handled, 1);
	/* the end comes behind all of them; seen before the reply it would say that
	 * nobody waits for that any more */
	assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
	httpreq_reply(st.held[0], 200, NULL, "1", 1);
	client_wait_end(&c);
	assert_int_equal(client_replies(&c), AHEAD + 1);
	assert_int_equal(client_status(&c, 100), 201);
	assert_int_equal(client_status(&c, AHEAD), 201);
	STAGE_WAIT(&st, httpd_connections(st.httpd) == 0);
	client_close(&c);
	stage_close(&st);
}

/* what comes behind a held request, in every order: small, larger than is read ahead,
 * and one that evhttp reads */
static void
whatever_is_behind_a_held_request_is_answered(void **state)
{
	enum { LARGE = 40000 };
	static const char chunked[] = "POST /echo HTTP/1.1\r\nHost: a\r\n"
				      "Transfer-Encoding: chunked\r\n\r\n"
				      "2\r\n{}\r\n0\r\n\r\n";
	static const char large[] = "POST /echo HTTP/1.1\r\nHost: a\r\n"
				    "Content-Length: 40000\r\n\r\n";
	struct stage st = {0};
	struct httpd_opts opts;
	char *body = calloc(1, LARGE + 1);

	(void)state;
	assert_non_null(body);
	memset(body, 'x', LARGE);
	stage_opts(&st, &opts);
	opts.max_body_bytes = LARGE;
	opts.allow_chunked = true;
	stage_open(&st, &opts);
	for (unsigned n = 0; n < 27 * 2; n++) {
		unsigned kinds = n / 2;
		struct client c;

		client_open(&c, &st);
		client_text(&c, HOLD);
		STAGE_WAIT(&st, st.held_count == n + 1);
		for (unsigned i = 0; i < 3; i++, kinds /= 3) {
			client_text(&c, kinds % 3 == 0	 ? GOOD
					: kinds % 3 == 1 ? large
							 : chunked);
			if (kinds % 3 == 1)
				client_text(&c, body);
			/* on the one way it is all there, on the other it comes later
			 */
			if (n % 2 == 0)
				stage_turn(&st);
		}
		httpreq_reply(st.held[n], 200, NULL, "1", 1);
		client_text(&c, GOOD);
		client_wait_replies(&c, 5);
		assert_int_equal(client_status(&c, 4), 200);
		client_close(&c);
	}
	free(body);
	stage_close(&st);
}

static void
headers_read_the_same_on_either_way(void **state)
{
	/* with an Expect it is evhttp who reads it */
	static const char *const ways[] = {"", "Expect: 100-continue\r\n"};
	static const char head[] = "X-Spaces:   a  b \t \r\nX-Tab:\tb\r\nX-None:\r\n"
				   "X-Blank: \t\r\nx-twice: 1\r\nX-Twice: 2\r\n"
				   "X-Colon: a:b\r\n\r\n";
	struct stage st = {0};
	struct httpd_opts opts;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	for (unsigned i = 0; i < COUNT_OF(ways); i++) {
		struct httpreq *req;
		struct client c;

		client_open(&c, &st);
		client_text(&c, "GET /hold?a=%41 HTTP/1.1\r\nHost: a\r\n");
		client_text(&c, ways[i]);
		client_text(&c, head);
		STAGE_WAIT(&st, st.held_count == i + 1);
		req = st.held[i];
		assert_string_equal(httpreq_header(req, "x-spaces"), "a  b");
		assert_string_equal(httpreq_header(req, "X-Tab"), "\tb");
		assert_string_equal(httpreq_header(req, "X-None"), "");
		assert_string_equal(httpreq_header(req, "X-Twice"), "1");
		assert_string_equal(httpreq_header(req, "X-Colon"), "a:b");
		assert_string_equal(httpreq_header(req, "host"), "a");
		assert_null(httpreq_header(req, "X"));
		assert_string_equal(httpreq_header(req, "X-Blank"), "");
		assert_string_equal(httpreq_path(req), "/hold");
		assert_string_equal(httpreq_query(req, "a"), "A");
		assert_string_equal(httpreq_peer(req), "127.0.0.1");
		assert_null(httpreq_body(req, NULL));
		httpreq_reply(req, 200, NULL, NULL, 0);
		client_wait_replies(&c, 1);
		client_close(&c);
	}
	stage_close(&st);
}

static void
a_dropped_request_closes_its_connection(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client c;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	client_open(&c, &st);
	client_text(&c, "GET /drop HTTP/1.1\r\nHost: a\r\n\r\n" GOOD);
	client_wait_end(&c);
	assert_int_equal(c.len, 0);
	assert_int_equal(st.handled, 1);
	client_close(&c);
	stage_close(&st);
}

static void
no_more_connections_than_allowed_are_accepted(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client c[3];

	(void)state;
	stage_opts(&st, &opts);
	opts.max_connections = 2;
	stage_open(&st, &opts);
	for (unsigned i = 0; i < 3; i++) {
		client_open(&c[i], &st);
		client_text(&c[i], GOOD);
	}
	client_wait_replies(&c[0], 1);
	client_wait_replies(&c[1], 1);
	for (unsigned i = 0; i < 20; i++)
		stage_turn(&st);
	client_read(&c[2]);
	assert_int_equal(c[2].len, 0);
	assert_int_equal(httpd_connections(st.httpd), 2);
	client_close(&c[0]);
	client_wait_replies(&c[2], 1);
	assert_int_equal(httpd_connections(st.httpd), 2);
	client_close(&c[1]);
	client_close(&c[2]);
	stage_close(&st);
}

static void
a_burst_is_left_for_others_too(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client c[48];

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	for (unsigned i = 0; i < 48; i++)
		client_open(&c[i], &st);
	while (httpd_connections(st.httpd) == 0)
		assert_true(event_base_loop(loop_base(st.loop),
				EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
	assert_int_equal(httpd_connections(st.httpd), 32);
	STAGE_WAIT(&st, httpd_connections(st.httpd) == 48);
	for (unsigned i = 0; i < 48; i++)
		client_close(&c[i]);
	stage_close(&st);
}

static void
without_descriptors_accepting_waits_and_does_not_spin(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct rlimit old, tight;
	struct client c;
	unsigned turns = 0;
	int64_t until;
	int next;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	client_open(&c, &st);
	client_text(&c, GOOD);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	next = dup(c.fd);
	close(next);
	tight = (struct rlimit){.rlim_cur = (rlim_t)next, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	/* a ready listener that is not paused would end each turn at once */
	until = clock_mono_ms() + 150;
	while (clock_mono_ms() < until) {
		struct timeval most = {.tv_usec = 20000};

		event_base_loopexit(loop_base(st.loop), &most);
		assert_true(event_base_loop(loop_base(st.loop), EVLOOP_ONCE) >= 0);
		turns++;
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_true(turns < 50);
	client_wait_replies(&c, 1);
	assert_int_equal(client_status(&c, 0), 200);
	client_close(&c);
	stage_close(&st);
}

static void
a_drain_answers_what_it_has_and_closes_the_rest(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client idle, held, late;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	client_open(&idle, &st);
	client_text(&idle, GOOD);
	client_wait_replies(&idle, 1);
	client_open(&held, &st);
	client_text(&held, HOLD);
	STAGE_WAIT(&st, st.held_count == 1);

	/* first only the header: an idle connection may still be used once */
	httpd_set_closing(st.httpd, true);
	client_text(&idle, GOOD);
	client_wait_end(&idle);
	assert_int_equal(client_replies(&idle), 2);
	assert_non_null(strstr(idle.in, "\r\nConnection: close\r\n"));
	httpd_set_closing(st.httpd, false);

	client_open(&late, &st);
	client_text(&late, GOOD);
	client_wait_replies(&late, 1);
	httpd_stop_listening(st.httpd);
	httpd_close_idle(st.httpd);
	client_wait_end(&late);
	assert_null(strstr(late.in, "Connection"));
	client_close(&idle);
	client_close(&late);
	STAGE_WAIT(&st, httpd_connections(st.httpd) == 1);
	assert_int_equal(httpd_requests(st.httpd), 1);
	assert_int_equal(st.gone_count, 0);

	httpreq_reply(st.held[0], 200, NULL, "1", 1);
	client_wait_end(&held);
	assert_int_equal(client_replies(&held), 1);
	assert_non_null(strstr(held.in, "\r\nConnection: close\r\n"));
	assert_int_equal(httpd_requests(st.httpd), 0);
	STAGE_WAIT(&st, httpd_connections(st.httpd) == 0);

	/* nobody listens any more */
	late.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_not_equal(connect(late.fd, &st.addr.sa, st.addr.len), 0);
	close(late.fd);
	client_close(&held);
	stage_close(&st);
}

/* false: on a busy machine it was no moment any more */
static bool
used_a_moment_ago_has_time(void)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client young, kept, silent, half;
	int64_t since = clock_mono_ms();
	bool in_time;

	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	client_open(&young, &st);
	client_open(&kept, &st);
	client_open(&silent, &st);
	client_open(&half, &st);
	client_text(&half, "GET / HT");
	STAGE_WAIT(&st, httpd_connections(st.httpd) == 4);
	client_text(&kept, GOOD);
	client_wait_replies(&kept, 1);
	httpd_stop_listening(st.httpd);
	httpd_close_idle(st.httpd);
	assert_int_equal(httpd_requests(st.httpd), 4);
	client_text(&young, GOOD);
	client_text(&kept, GOOD);
	client_wait_end(&young);
	client_wait_end(&kept);
	in_time = clock_mono_ms() - since < MOMENT_MS;
	if (in_time) {
		assert_int_equal(client_status(&kept, 1), 200);
		assert_int_equal(client_status(&young, 0), 200);
		assert_non_null(strstr(young.in, "\r\nConnection: close\r\n"));
	}
	/* one that has nothing to say is not waited for */
	client_wait_end(&silent);
	client_close(&half);
	STAGE_WAIT(&st, httpd_requests(st.httpd) == 0);
	client_close(&young);
	client_close(&kept);
	client_close(&silent);
	stage_close(&st);
	return in_time;
}

static void
a_connection_used_a_moment_ago_has_time_for_a_request(void **state)
{
	int tries = 0;

	(void)state;
	while (!used_a_moment_ago_has_time())
		assert_true(++tries < 50);
}

static void
requests_outlive_the_server(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client c[3];

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	for (unsigned i = 0; i < 3; i++) {
		client_open(&c[i], &st);
		client_text(&c[i], HOLD);
		STAGE_WAIT(&st, st.held_count == i + 1);
	}
	stage_close(&st);
	assert_int_equal(st.gone_count, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_true(httpreq_is_gone(st.held[i]));
	assert_string_equal(httpreq_header(st.held[0], "x"), "kept");
	httpreq_reply(st.held[0], 200, NULL, "1", 1);
	httpreq_problem(st.held[1], 503, "x", "y");
	httpreq_drop(st.held[2]);
	for (unsigned i = 0; i < 3; i++)
		client_close(&c[i]);
}

static void
a_server_is_made_whole_or_not_at_all(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct err err = ERR_INIT;
	struct httpd *h = NULL;
	unsigned n;

	(void)state;
	stage_opts(&st, &opts);
	st.loop = loop_create(&err);
	assert_non_null(st.loop);
	for (n = 1; h == NULL; n++) {
		assert_true(n < 100);
		mem_fail_nth(n);
		h = httpd_create(st.loop, &opts, &err);
		mem_fail_nth(0);
		assert_true(h != NULL || err.code == ERR_NOMEM);
	}
	assert_true(n > 3);
	httpd_free(h);
	httpd_free(NULL);
	loop_free(st.loop);
}

static void
without_memory_a_request_fails_alone(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client c;

	(void)state;
	stage_opts(&st, &opts);
	opts.header_ms = opts.idle_ms = 10000;
	stage_open(&st, &opts);
	for (unsigned n = 1; n < 12; n++) {
		mem_fail_nth(n);
		client_open(&c, &st);
		client_text(&c, "GET /nothing?a=b HTTP/1.1\r\nHost: a\r\n"
				"Connection: close\r\n\r\n");
		client_wait_end(&c);
		assert_true(client_status(&c, 0) == 404 || client_status(&c, 0) == 503);
		client_close(&c);
	}
	mem_fail_nth(0);
	client_open(&c, &st);
	client_text(&c, GOOD);
	client_wait_replies(&c, 1);
	assert_int_equal(client_status(&c, 0), 200);
	client_close(&c);
	stage_close(&st);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_head_has_a_deadline_however_busy_it_is),
	    cmocka_unit_test(a_body_has_a_deadline_however_busy_it_is),
	    cmocka_unit_test(an_idle_connection_is_closed_a_held_one_is_not),
	    cmocka_unit_test(
		a_reply_that_nobody_takes_ends_one_that_is_taken_slowly_does_not),
	    cmocka_unit_test(a_held_request_learns_soon_that_its_client_is_gone),
	    cmocka_unit_test(however_a_client_goes_a_held_request_learns_of_it_once),
	    cmocka_unit_test(of_thousands_held_those_that_are_gone_are_told),
	    cmocka_unit_test(at_rest_the_loop_sleeps),
	    cmocka_unit_test(nobody_is_told_who_does_not_care),
	    cmocka_unit_test(late_replies_come_in_order),
	    cmocka_unit_test(a_reply_leaves_at_once),
	    cmocka_unit_test(who_has_gone_when_the_reply_comes_does_no_harm),
	    cmocka_unit_test(what_is_sent_ahead_waits_and_is_answered),
	    cmocka_unit_test(whatever_is_behind_a_held_request_is_answered),
	    cmocka_unit_test(headers_read_the_same_on_either_way),
	    cmocka_unit_test(a_dropped_request_closes_its_connection),
	    cmocka_unit_test(no_more_connections_than_allowed_are_accepted),
	    cmocka_unit_test(a_burst_is_left_for_others_too),
	    cmocka_unit_test(without_descriptors_accepting_waits_and_does_not_spin),
	    cmocka_unit_test(a_drain_answers_what_it_has_and_closes_the_rest),
	    cmocka_unit_test(a_connection_used_a_moment_ago_has_time_for_a_request),
	    cmocka_unit_test(requests_outlive_the_server),
	    cmocka_unit_test(a_server_is_made_whole_or_not_at_all),
	    cmocka_unit_test(without_memory_a_request_fails_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
