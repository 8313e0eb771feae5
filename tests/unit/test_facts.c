/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_facts.c - each request has one name and is told of once, whichever way it goes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#include "base/attr.h"
#include "base/clock.h"
#include "httpd_client.h"

#define GET(path, name)                                                                \
	"GET " path " HTTP/1.1\r\nHost: a\r\nX-Request-Id: " name "\r\n\r\n"
/* what plain.c leaves to evhttp */
#define CHUNKED(name)                                                                  \
	"POST /echo HTTP/1.1\r\nHost: a\r\nX-Request-Id: " name                        \
	"\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"

static struct {
	unsigned count, refused;
	char name[8][HTTPREQ_NAME + 1];
	struct httpreq_facts facts[8];
	int refused_status;
	char refused_name[HTTPREQ_NAME + 1];
} seen;

static void
told(struct httpreq *req, const struct httpreq_facts *facts, void *arg)
{
	(void)arg;
	assert_true(seen.count < COUNT_OF(seen.facts));
	memcpy(seen.name[seen.count], httpreq_name(req), strlen(httpreq_name(req)) + 1);
	seen.facts[seen.count++] = *facts;
	/* of a plain request all is still there */
	assert_non_null(httpreq_method_name(req));
	assert_true(strlen(httpreq_target(req)) > 0);
}

static void
refused(const char *peer, const char *name, int status, void *arg)
{
	(void)arg;
	assert_string_equal(peer, "127.0.0.1");
	seen.refused++;
	seen.refused_status = status;
	memcpy(seen.refused_name, name, strlen(name) + 1);
}

static void
open_stage(struct stage *st)
{
	struct httpd_opts opts;

	memset(&seen, 0, sizeof(seen));
	stage_opts(st, &opts);
	opts.told = told;
	opts.refused = refused;
	opts.allow_chunked = true;
	stage_open(st, &opts);
}

/* the X-Request-Id of the first reply */
static void
name_of(const struct client *c, char to[HTTPREQ_NAME + 1])
{
	const char *at = strstr(c->in, "X-Request-Id: ");
	size_t len;

	assert_non_null(at);
	at += sizeof("X-Request-Id: ") - 1;
	len = strcspn(at, "\r");
	assert_true(len <= HTTPREQ_NAME);
	memcpy(to, at, len);
	to[len] = '\0';
}

static void
ask(struct stage *st, const char *request, char name[HTTPREQ_NAME + 1])
{
	struct client c;

	client_open(&c, st);
	client_text(&c, request);
	client_wait_replies(&c, 1);
	name_of(&c, name);
	client_close(&c);
}

static void
a_name_that_is_well_formed_is_taken_another_is_made(void **state)
{
	static const char long_name[] =
	    "1234567890123456789012345678901234567890123456789012345678901234";
	static const char *const bad[] = {GET("/hello", ""), GET("/hello", "a b"),
	    GET("/hello", "a;b"), GET("/hello", "\xc3\xa9"), GET("/hello", "a\tb"),
	    GET("/hello",
		"12345678901234567890123456789012345678901234567890123456789012345"),
	    "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"};
	char name[HTTPREQ_NAME + 1], before[HTTPREQ_NAME + 1] = "", request[400];
	struct stage st = {0};

	(void)state;
	open_stage(&st);
	ask(&st, GET("/hello", "Root=1-67891233:a_b.c/d+e@f"), name);
	assert_string_equal(name, "Root=1-67891233:a_b.c/d+e@f");
	ask(&st, CHUNKED("by-evhttp"), name);
	assert_string_equal(name, "by-evhttp");
	ask(&st, GET("/nowhere", "x"), name);
	assert_string_equal(name, "x");
	snprintf(request, sizeof(request), GET("/hello", "%s"), long_name);
	ask(&st, request, name);
	assert_string_equal(name, long_name);
	assert_string_equal(seen.name[3], long_name);
	seen.count = 0;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		ask(&st, bad[i], name);
		assert_int_equal(strspn(name, "0123456789abcdef"), 16);
		assert_int_equal(name[16], '-');
		assert_string_not_equal(name, before);
		assert_string_equal(seen.name[i], name);
		memcpy(before, name, sizeof(name));
	}
	stage_close(&st);
}

static void
each_request_is_told_of_once(void **state)
{
	static const char plain[] = GET("/hello", "plain");
	struct stage st = {0};
	struct client c;

	(void)state;
	open_stage(&st);
	client_open(&c, &st);
	client_text(&c, plain);
	client_wait_replies(&c, 1);
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.facts[0].status, 200);
	assert_int_equal(seen.facts[0].bytes_in, sizeof(plain) - 1);
	assert_int_equal(seen.facts[0].bytes_out, c.len);
	assert_int_equal(seen.facts[0].unsent, 0);
	assert_true(seen.facts[0].write_us >= 0);
	client_text(&c, CHUNKED("chunked"));
	client_wait_replies(&c, 2);
	assert_int_equal(seen.count, 2);
	assert_string_equal(seen.name[1], "chunked");

	/* its time goes where its handler says */
	client_text(&c, GET("/hold", "held"));
	STAGE_WAIT(&st, st.held_count == 1);
	httpreq_phase(st.held[0], HTTP_LINE);
	httpreq_phase_since(st.held[0], HTTP_STORE, clock_mono_us() + 5000000);
	httpreq_phase_since(st.held[0], HTTP_WORK, clock_mono_us() + 7000000);
	httpreq_reply(st.held[0], 202, NULL, "2", 1);
	assert_int_equal(seen.count, 3);
	assert_in_range(seen.facts[2].phase_us[HTTP_LINE], 4900000, 5100000);
	assert_in_range(seen.facts[2].phase_us[HTTP_STORE], 1900000, 2100000);
	assert_int_equal(seen.facts[2].phase_us[HTTP_WAIT], 0);

	/* nobody waits for it any more */
	client_wait_replies(&c, 3);
	client_text(&c, GET("/hold", "gone"));
	STAGE_WAIT(&st, st.held_count == 2);
	client_close(&c);
	STAGE_WAIT(&st, httpreq_is_gone(st.held[1]));
	httpreq_reply(st.held[1], 200, NULL, "3", 1);
	assert_int_equal(seen.count, 4);
	assert_string_equal(seen.name[3], "gone");
	assert_int_equal(seen.facts[3].status, 0);
	stage_close(&st);
	assert_int_equal(seen.count, 4);
}

static void
streams_and_refusals_are_told_of_too(void **state)
{
	struct stage st = {0};
	char name[HTTPREQ_NAME + 1];
	struct client c;

	(void)state;
	open_stage(&st);
	client_open(&c, &st);
	client_text(&c, GET("/stream", "stream"));
	STAGE_WAIT(&st, st.held_count == 1);
	httpreq_stream_send(st.held[0], "0123456789", 10);
	STAGE_WAIT(&st, (client_read(&c), c.len > 10));
	assert_int_equal(seen.count, 0);
	httpreq_stream_end(st.held[0]);
	assert_int_equal(seen.count, 1);
	assert_int_equal(seen.facts[0].status, 200);
	assert_true(seen.facts[0].bytes_out > 100);
	client_close(&c);

	client_open(&c, &st);
	client_text(&c, "NONSENSE\r\n\r\n");
	client_wait_end(&c);
	name_of(&c, name);
	assert_int_equal(seen.refused, 1);
	assert_int_equal(seen.refused_status, 400);
	assert_string_equal(seen.refused_name, name);
	assert_int_equal(seen.count, 1);
	client_close(&c);
	stage_close(&st);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_name_that_is_well_formed_is_taken_another_is_made),
	    cmocka_unit_test(each_request_is_told_of_once),
	    cmocka_unit_test(streams_and_refusals_are_told_of_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
