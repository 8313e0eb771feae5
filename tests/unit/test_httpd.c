/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_httpd.c - what the server makes of bytes on the wire.
 *
 * Most rows are a request that evhttp would take in a way of its own, with a good one
 * right behind it: if the second is answered, something was smuggled.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "httpd_client.h"

#define GOOD  "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST  "POST /echo HTTP/1.1\r\nHost: a\r\n"
#define CHUNK "3\r\nabc\r\n0\r\n\r\n"

#define BYTES(text) text, sizeof(text) - 1

struct wire_case {
	const char *sentence;
	const char *bytes;
	size_t len;
	int status; /* of the first reply */
	/* 0: the server closes after it; else how many replies there are, all 200 or
	 * 201 from the second on, and the connection stays */
	unsigned replies;
	const char *code; /* in the problem document; NULL: none */
};

static const struct wire_case wire_cases[] = {
    {"a body", BYTES(POST "Content-Length: 3\r\n\r\nabc"), 201, 1, NULL},
    {"pipelined", BYTES(POST "Content-Length: 3\r\n\r\nabc" GOOD GOOD), 201, 3, NULL},
    {"no body", BYTES(POST "\r\n" GOOD), 201, 2, NULL},
    {"the same length twice",
	BYTES(POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc" GOOD), 400, 0,
	"malformed_request"},
    {"two lengths",
	BYTES(POST "Content-Length: 3\r\nContent-Length: 60\r\n\r\nabc" GOOD), 400, 0,
	"malformed_request"},
    {"length and coding",
	BYTES(
	    POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" CHUNK GOOD),
	400, 0, "malformed_request"},
    {"coding and length",
	BYTES(
	    POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" CHUNK GOOD),
	400, 0, "malformed_request"},
    {"chunked", BYTES(POST "Transfer-Encoding: chunked\r\n\r\n" CHUNK GOOD), 411, 0,
	"length_required"},
    {"gzip", BYTES(POST "Transfer-Encoding: gzip\r\n\r\n" GOOD), 411, 0,
	"length_required"},
    {"identity", BYTES(POST "Transfer-Encoding: identity\r\n\r\n" GOOD), 411, 0,
	"length_required"},
    {"a vertical tab", BYTES(POST "Transfer-Encoding: \vchunked\r\n\r\n" CHUNK GOOD),
	411, 0, "length_required"},
    {"a space before the colon",
	BYTES(POST "Transfer-Encoding : chunked\r\n\r\n" CHUNK GOOD), 400, 0,
	"malformed_request"},
    {"a signed length", BYTES(POST "Content-Length: +3\r\n\r\nabc" GOOD), 400, 0,
	"malformed_request"},
    {"a hexadecimal length", BYTES(POST "Content-Length: 0x3\r\n\r\nabc" GOOD), 400, 0,
	"malformed_request"},
    {"two hosts", BYTES("GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" GOOD), 400,
	0, "malformed_request"},
    {"no host", BYTES("GET /hello HTTP/1.1\r\n\r\n" GOOD), 400, 0, "malformed_request"},
    {"a NUL in a value",
	BYTES("GET /hello HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n" GOOD), 400, 0,
	"malformed_request"},
    {"a NUL in a name", BYTES("GET /hello HTTP/1.1\r\nHost\0: a\r\n\r\n" GOOD), 400, 0,
	"malformed_request"},
    {"a NUL in the URI", BYTES("GET /hel\0lo HTTP/1.1\r\nHost: a\r\n\r\n" GOOD), 400, 0,
	"malformed_request"},
    {"an escaped NUL", BYTES("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n" GOOD), 400, 0,
	"malformed_request"},
    {"a bad escape", BYTES("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n" GOOD), 400, 0,
	"malformed_request"},
    {"absolute-form", BYTES("GET http://a/hello HTTP/1.1\r\nHost: a\r\n\r\n" GOOD), 400,
	0, "malformed_request"},
    {"a space in the URI", BYTES("GET /hel lo HTTP/1.1\r\nHost: a\r\n\r\n" GOOD), 400,
	0, "malformed_request"},
    {"dots", BYTES("GET /x/%2e./hello HTTP/1.1\r\nHost: a\r\n\r\n" GOOD), 400, 0,
	"malformed_request"},
    {"bare line feeds", BYTES("GET /hello HTTP/1.1\nHost: a\n\n" GOOD), 400, 0,
	"malformed_request"},
    {"a folded header",
	BYTES("GET /hello HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n" GOOD), 400, 0,
	"malformed_request"},
    {"a bare carriage return",
	BYTES("GET /hello HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n" GOOD), 400, 0,
	"malformed_request"},
    {"an empty name", BYTES("GET /hello HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n" GOOD), 400,
	0, "malformed_request"},
    {"a body on GET",
	BYTES("GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n" GOOD GOOD),
	400, 0, "malformed_request"},
    {"a parameter twice", BYTES("GET /hello?q=1&q=2 HTTP/1.1\r\nHost: a\r\n\r\n" GOOD),
	400, 2, "repeated_parameter"},
    {"no such path", BYTES("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n" GOOD), 404, 2,
	"not_found"},
    {"another method", BYTES("DELETE /hello HTTP/1.1\r\nHost: a\r\n\r\n" GOOD), 405, 2,
	"method_not_allowed"},
    {"a method without routes", BYTES("PATCH /hello HTTP/1.1\r\nHost: a\r\n\r\n" GOOD),
	405, 2, "method_not_allowed"},
    {"TRACE", BYTES("TRACE /hello HTTP/1.1\r\nHost: a\r\n\r\n" GOOD), 501, 0,
	"method_not_implemented"},
    {"an unknown method", BYTES("FOO /hello HTTP/1.1\r\nHost: a\r\n\r\n" GOOD), 501, 0,
	"method_not_implemented"},
    {"CONNECT", BYTES("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n" GOOD), 501, 0,
	"method_not_implemented"},
    {"HTTP/1.0 closes", BYTES("GET /hello HTTP/1.0\r\n\r\n" GOOD), 200, 0, NULL},
    {"HTTP/1.0 that stays",
	BYTES("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" GOOD), 200, 2,
	NULL},
    {"a client that closes",
	BYTES("GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" GOOD), 200,
	0, NULL},
    {"HTTP/0.9", BYTES("GET /hello\r\n" GOOD), 400, 0, "malformed_request"},
    {"HTTP/1.2", BYTES("GET /hello HTTP/1.2\r\nHost: a\r\n\r\n" GOOD), 505, 0,
	"version_not_supported"},
    {"HTTP/2", BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505, 0,
	"version_not_supported"},
    {"an empty line first", BYTES("\r\n" GOOD), 400, 0, "malformed_request"},
    {"two slashes", BYTES("GET //hello HTTP/1.1\r\nHost: a\r\n\r\n" GOOD), 400, 0,
	"malformed_request"},
    {"two slashes alone", BYTES("GET // HTTP/1.1\r\nHost: a\r\n\r\n" GOOD), 400, 0,
	"malformed_request"},
    {"no colon", BYTES("GET /hello HTTP/1.1\r\nHost: a\r\nX\r\n\r\n" GOOD), 400, 0,
	"malformed_request"},
    {"a connection that stays, without a length",
	BYTES(POST "Connection: keep-alive\r\n\r\n" GOOD), 411, 0, "length_required"},
    {"TLS", BYTES("\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"), 400, 0,
	"malformed_request"},
    {"an expectation that we don't know",
	BYTES(POST "Expect: foo\r\nContent-Length: 35\r\n\r\n" GOOD), 417, 0,
	"expectation_failed"},
    {"a body over the limit", BYTES(POST "Content-Length: 1001\r\n\r\nabc"), 413, 0,
	"body_too_large"},
    {"one that is announced",
	BYTES(POST "Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n"), 413,
	0, "body_too_large"},
};

/* sends in blocks, so that the server reads more than once */
static void
say(struct client *c, const char *bytes, size_t len, size_t block)
{
	while (len > 0) {
		size_t n = len < block ? len : block;

		if (!client_send(c, bytes, n))
			return;
		bytes += n;
		len -= n;
		stage_turn(c->stage);
		stage_turn(c->stage);
	}
}

static void
one_case(struct stage *st, const struct wire_case *w, size_t block)
{
	struct client c;
	unsigned before = st->handled;

	client_open(&c, st);
	say(&c, w->bytes, w->len, block);
	if (w->replies == 0)
		client_wait_end(&c);
	else
		client_wait_replies(&c, w->replies);
	if (client_status(&c, 0) != w->status ||
	    client_replies(&c) != (w->replies == 0 ? 1 : w->replies))
		fail_msg("%s, %zu at a time: %s", w->sentence, block, c.in);
	if (w->code != NULL && strstr(c.in, w->code) == NULL)
		fail_msg("%s: %s", w->sentence, c.in);
	/* a page of evhttp's own */
	if (strstr(c.in, "HTML") != NULL)
		fail_msg("%s: %s", w->sentence, c.in);
	assert_true(st->handled - before <= (w->replies == 0 ? 1 : w->replies));
	if (w->status >= 400 && w->replies == 0)
		assert_int_equal(st->handled, before);
	client_close(&c);
	STAGE_WAIT(st, httpd_connections(st->httpd) == 0);
}

static void
every_request_is_read_in_one_way(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;

	(void)state;
	stage_opts(&st, &opts);
	opts.max_body_bytes = 1000;
	stage_open(&st, &opts);
	for (size_t i = 0; i < sizeof(wire_cases) / sizeof(wire_cases[0]); i++) {
		one_case(&st, &wire_cases[i], 100000);
		one_case(&st, &wire_cases[i], 7);
	}
	stage_close(&st);
}

static void
what_is_right_in_front_of_a_flaw_is_answered(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client c;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	client_open(&c, &st);
	client_text(&c, GOOD POST "Content-Length: 3\r\n\r\nabc"
				  "FOO /hello HTTP/1.1\r\nHost: a\r\n\r\n" GOOD);
	client_wait_end(&c);
	assert_int_equal(client_replies(&c), 3);
	assert_int_equal(client_status(&c, 0), 200);
	assert_int_equal(client_status(&c, 1), 201);
	assert_int_equal(client_status(&c, 2), 501);
	assert_int_equal(st.handled, 2);
	assert_non_null(strstr(c.in, "\r\nConnection: close\r\n"));
	assert_non_null(strstr(c.in, "\"code\":\"method_not_implemented\""));
	client_close(&c);
	stage_close(&st);
}

/* a request of GET with a URI and headers of that many bytes */
static char *
long_request(size_t uri_len, size_t header_len)
{
	size_t size = uri_len + header_len + 200;
	char *text = malloc(size);
	int n;

	assert_non_null(text);
	n = snprintf(text, size, "GET /hello?q=");
	memset(text + n, 'u', uri_len);
	n += (int)uri_len;
	n += snprintf(text + n, size - (size_t)n, " HTTP/1.1\r\nHost: a\r\nX: ");
	memset(text + n, 'h', header_len);
	n += (int)header_len;
	snprintf(text + n, size - (size_t)n, "\r\n\r\n");
	return text;
}

static void
heads_have_bounds(void **state)
{
	static const struct {
		size_t uri, header;
		int status;
	} cases[] = {
	    {8000, 0, 200},
	    {8192, 0, 414},
	    {100000, 0, 414},
	    {0, 16000, 200},
	    {0, 16384, 431},
	    {8000, 16000, 200},
	    {0, 1000000, 431},
	};
	struct stage st = {0};
	struct httpd_opts opts;
	struct client c;
	char *text, *at;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		client_open(&c, &st);
		text = long_request(cases[i].uri, cases[i].header);
		(void)client_send(&c, text, strlen(text));
		client_wait_replies(&c, 1);
		assert_int_equal(client_status(&c, 0), cases[i].status);
		if (cases[i].status != 200)
			client_wait_end(&c);
		free(text);
		client_close(&c);
	}
	/* count: Host and 99 others fit, one more does not */
	text = long_request(0, 2000);
	for (unsigned count = 99; count <= 100; count++) {
		at = strstr(text, "X: ");
		for (unsigned i = 0; i < count; i++)
			at += sprintf(at, "A: b\r\n");
		sprintf(at, "\r\n");
		client_open(&c, &st);
		client_text(&c, text);
		client_wait_replies(&c, 1);
		assert_int_equal(client_status(&c, 0), count == 99 ? 200 : 431);
		client_close(&c);
		free(text);
		text = long_request(0, 2000);
	}
	free(text);
	stage_close(&st);
}

static void
a_large_body_is_refused_before_it_is_sent_and_the_answer_arrives(void **state)
{
	static char block[100000];
	struct stage st = {0};
	struct httpd_opts opts;
	struct client c;

	(void)state;
	stage_opts(&st, &opts);
	opts.max_body_bytes = 1000;
	stage_open(&st, &opts);
	client_open(&c, &st);
	client_text(&c, POST "Content-Length: 100000000\r\n\r\n");
	for (unsigned i = 0; i < 20; i++) {
		if (!client_send(&c, block, sizeof(block)))
			break;
		stage_turn(&st);
	}
	client_wait_end(&c);
	assert_int_equal(client_status(&c, 0), 413);
	assert_false(c.reset);
	client_close(&c);
	stage_close(&st);
}

static void
who_expects_to_continue_is_told_to(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client c;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	client_open(&c, &st);
	client_text(&c, POST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
	client_wait_replies(&c, 1);
	assert_int_equal(client_status(&c, 0), 100);
	client_text(&c, "abc" GOOD);
	client_wait_replies(&c, 3);
	assert_int_equal(client_status(&c, 1), 201);
	assert_int_equal(client_status(&c, 2), 200);
	client_close(&c);
	stage_close(&st);
}

static void
replies_have_what_they_need_and_no_more(void **state)
{
	struct stage st = {0};
	struct httpd_opts opts;
	struct client c;

	(void)state;
	stage_opts(&st, &opts);
	stage_open(&st, &opts);
	client_open(&c, &st);
	client_text(&c, "GET /hello?q=a+b%26 HTTP/1.1\r\nHost: a\r\n\r\n");
	client_wait_replies(&c, 1);
	assert_non_null(strstr(c.in, "\r\nDate: "));
	assert_non_null(strstr(c.in, "\r\nContent-Length: 4\r\n"));
	assert_non_null(strstr(c.in, "\r\nContent-Type: text/plain\r\n"));
	assert_non_null(strstr(c.in, "\r\n\r\na b&"));
	assert_null(strstr(c.in, "Connection"));
	client_close(&c);

	client_open(&c, &st);
	c.head = true;
	client_text(&c, "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n");
	client_wait_replies(&c, 1);
	assert_non_null(strstr(c.in, "\r\nContent-Length: 5\r\n"));
	assert_string_equal(strstr(c.in, "\r\n\r\n"), "\r\n\r\n");
	client_close(&c);

	client_open(&c, &st);
	client_text(&c, "PUT /echo HTTP/1.1\r\nHost: a\r\n\r\n");
	client_wait_replies(&c, 1);
	assert_non_null(strstr(c.in, "\r\nAllow: POST\r\n"));
	assert_non_null(strstr(c.in, "\r\nContent-Type: application/problem+json\r\n"));
	assert_non_null(strstr(c.in, "{\"type\":\"about:blank\",\"title\":\"Method Not "
				     "Allowed\",\"status\":405,"));
	client_close(&c);

	client_open(&c, &st);
	client_text(&c, POST "\r\n");
	client_wait_replies(&c, 1);
	assert_non_null(strstr(c.in, "\r\nContent-Length: 0\r\n"));
	assert_null(strstr(c.in, "Content-Type"));
	client_close(&c);
	stage_close(&st);
}

static void
chunks_are_taken_where_they_are_allowed(void **state)
{
	static const struct wire_case cases[] = {
	    {"chunked", BYTES(POST "Transfer-Encoding: chunked\r\n\r\n" CHUNK GOOD),
		201, 2, NULL},
	    {"gzip", BYTES(POST "Transfer-Encoding: gzip\r\n\r\n" GOOD), 400, 0,
		"malformed_request"},
	    {"twice",
		BYTES(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: "
			   "chunked\r\n\r\n" CHUNK GOOD),
		400, 0, "malformed_request"},
	    {"in 1.0",
		BYTES("POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" CHUNK
			GOOD),
		400, 0, "malformed_request"},
	};
	struct stage st = {0};
	struct httpd_opts opts;

	(void)state;
	stage_opts(&st, &opts);
	opts.allow_chunked = true;
	stage_open(&st, &opts);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		one_case(&st, &cases[i], 100000);
		one_case(&st, &cases[i], 7);
	}
	stage_close(&st);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_request_is_read_in_one_way),
	    cmocka_unit_test(what_is_right_in_front_of_a_flaw_is_answered),
	    cmocka_unit_test(heads_have_bounds),
	    cmocka_unit_test(
		a_large_body_is_refused_before_it_is_sent_and_the_answer_arrives),
	    cmocka_unit_test(who_expects_to_continue_is_told_to),
	    cmocka_unit_test(replies_have_what_they_need_and_no_more),
	    cmocka_unit_test(chunks_are_taken_where_they_are_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
