/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_gate.c - what may come in: the gate over strings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "http/gate.h"

static const struct gate_limits limits = {
    .max_header_bytes = 1024,
    .max_uri_bytes = 40,
    .max_body_bytes = 100,
    .max_headers = 4,
};
static const struct gate_limits chunked_limits = {
    .max_header_bytes = 1024,
    .max_uri_bytes = 40,
    .max_body_bytes = 100,
    .max_headers = 4,
    .allow_chunked = true,
};

struct header_case {
	const char *sentence;
	const char *headers[12]; /* name, value, ...; NULL ends */
	int minor;
	bool has_body, chunked;
	size_t body_len;
	int status; /* 0: passes */
};

static const struct header_case header_cases[] = {
    {"a plain GET passes", {"Host", "a.example:80"}, 1, false, false, 0, 0},
    {"an IPv6 host passes", {"host", "[::1]:80"}, 1, false, false, 0, 0},
    {"HTTP/1.0 needs no host", {NULL}, 0, false, false, 0, 0},
    {"HTTP/1.1 does", {NULL}, 1, false, false, 0, 400},
    {"two hosts", {"Host", "a", "host", "a"}, 1, false, false, 0, 400},
    {"two hosts in 1.0", {"Host", "a", "Host", "b"}, 0, false, false, 0, 400},
    {"an empty host", {"Host", ""}, 1, false, false, 0, 400},
    {"a host with a path", {"Host", "a/b"}, 1, false, false, 0, 400},
    {"a host with a user", {"Host", "a@b"}, 1, false, false, 0, 400},
    {"a list of hosts", {"Host", "a, b"}, 1, false, false, 0, 400},
    {"a port of letters", {"Host", "a:b"}, 1, false, false, 0, 400},
    {"an open bracket", {"Host", "[::1"}, 1, false, false, 0, 400},
    {"an empty bracket", {"Host", "[]"}, 1, false, false, 0, 400},
    {"a body of its length", {"Host", "a", "Content-Length", "3"}, 1, true, false, 3,
	0},
    {"an empty body on GET", {"Host", "a", "Content-Length", "0"}, 1, false, false, 0,
	0},
    {"a body on GET", {"Host", "a", "Content-Length", "3"}, 1, false, false, 3, 400},
    {"another length", {"Host", "a", "Content-Length", "4"}, 1, true, false, 3, 400},
    {"the same length twice",
	{"Host", "a", "Content-Length", "3", "content-length", "3"}, 1, true, false, 3,
	400},
    {"two lengths", {"Host", "a", "Content-Length", "3", "Content-Length", "4"}, 1,
	true, false, 3, 400},
    {"a list of lengths", {"Host", "a", "Content-Length", "3, 3"}, 1, true, false, 3,
	400},
    {"a signed length", {"Host", "a", "Content-Length", "+3"}, 1, true, false, 3, 400},
    {"a negative length", {"Host", "a", "Content-Length", "-3"}, 1, true, false, 3,
	400},
    {"a hexadecimal length", {"Host", "a", "Content-Length", "0x3"}, 1, true, false, 3,
	400},
    {"an empty length", {"Host", "a", "Content-Length", ""}, 1, true, false, 0, 400},
    {"a length beyond 64 bits", {"Host", "a", "Content-Length", "18446744073709551619"},
	1, true, false, 3, 400},
    {"a body over the limit", {"Host", "a", "Content-Length", "101"}, 1, true, false,
	101, 413},
    {"a body at the limit", {"Host", "a", "Content-Length", "100"}, 1, true, false, 100,
	0},
    {"chunks when they are not taken", {"Host", "a", "Transfer-Encoding", "chunked"}, 1,
	true, false, 3, 411},
    {"chunks when they are", {"Host", "a", "Transfer-Encoding", "Chunked"}, 1, true,
	true, 3, 0},
    {"chunks on GET", {"Host", "a", "Transfer-Encoding", "chunked"}, 1, false, true, 0,
	400},
    {"chunks in 1.0", {"Host", "a", "Transfer-Encoding", "chunked"}, 0, true, true, 3,
	400},
    {"chunks and a length",
	{"Host", "a", "Transfer-Encoding", "chunked", "Content-Length", "3"}, 1, true,
	true, 3, 400},
    {"two codings",
	{"Host", "a", "Transfer-Encoding", "chunked", "Transfer-Encoding", "chunked"},
	1, true, true, 3, 400},
    {"a coding within chunks", {"Host", "a", "Transfer-Encoding", "gzip, chunked"}, 1,
	true, true, 3, 400},
    {"identity", {"Host", "a", "Transfer-Encoding", "identity"}, 1, true, true, 3, 400},
    {"a vertical tab", {"Host", "a", "Transfer-Encoding", "\vchunked"}, 1, true, true,
	3, 400},
    {"a space before the colon", {"Host", "a", "Transfer-Encoding ", "chunked"}, 1,
	true, true, 3, 400},
    {"an empty name", {"Host", "a", "", "b"}, 1, false, false, 0, 400},
    {"a name beyond ASCII", {"Host", "a", "\xc3\xa4", "b"}, 1, false, false, 0, 400},
    {"a value beyond ASCII", {"Host", "a", "X", "\xc3\xa4\t"}, 1, false, false, 0, 0},
    {"a value with DEL", {"Host", "a", "X", "\x7f"}, 1, false, false, 0, 400},
    {"as many headers as allowed", {"Host", "a", "A", "", "B", "", "C", ""}, 1, false,
	false, 0, 0},
    {"one more", {"Host", "a", "A", "", "B", "", "C", "", "D", ""}, 1, false, false, 0,
	431},
};

static void
headers_can_be_read_in_one_way_only(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(header_cases); i++) {
		const struct header_case *c = &header_cases[i];
		struct gate g;

		gate_begin(&g, c->chunked ? &chunked_limits : &limits);
		for (size_t h = 0; c->headers[h] != NULL; h += 2)
			gate_header(&g, c->headers[h], c->headers[h + 1]);
		gate_end(&g, c->minor, c->has_body, c->body_len);
		if (g.status != c->status)
			fail_msg("%s: %d, not %d", c->sentence, g.status, c->status);
		assert_true(g.status == 0 || (g.code != NULL && g.detail != NULL));
	}
}

static const struct {
	const char *uri;
	int status;
} uri_cases[] = {
    {"/", 0},
    {"/v1/tasks?state=queued&limit=2", 0},
    {"/a%20b", 0},
    {"/...", 0},
    {"/a.b/.c", 0},
    {"/?a=/../", 0},
    {"", 400},
    {"*", 400},
    {"a", 400},
    {"http://a/", 400},
    {"/a b", 400},
    {"/\x7f", 400},
    {"/\xff", 400},
    {"/a#b", 400},
    {"/a\\b", 400},
    {"/%", 400},
    {"/%4", 400},
    {"/%zz", 400},
    {"/%00", 400},
    {"/a?b=%00", 400},
    {"/.", 400},
    {"/..", 400},
    {"/a/../b", 400},
    {"/a/%2e%2E", 400},
    {"/a/.%2e/b", 400},
    {"/a/..?b", 400},
    {"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0},
    {"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 414},
};

static void
uris_are_paths_of_legal_bytes(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(uri_cases); i++) {
		struct gate g;

		gate_begin(&g, &limits);
		gate_uri(&g, uri_cases[i].uri);
		if (g.status != uri_cases[i].status)
			fail_msg("%s: %d", uri_cases[i].uri, g.status);
	}
}

static void
the_first_failure_stays(void **state)
{
	struct gate g;

	(void)state;
	gate_begin(&g, &limits);
	gate_header(&g, "Transfer-Encoding", "chunked");
	gate_uri(&g, "bad");
	gate_header(&g, "", "");
	gate_end(&g, 1, false, 1000);
	assert_int_equal(g.status, 411);
}

static void
names_have_the_characters_of_a_token(void **state)
{
	static const char token[] =
	    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	(void)state;
	for (int c = 1; c < 256; c++) {
		char name[] = {'X', (char)c, '\0'};
		struct gate g;

		gate_begin(&g, &limits);
		gate_header(&g, name, "v");
		assert_int_equal(g.status, strchr(token, c) != NULL ? 0 : 400);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(headers_can_be_read_in_one_way_only),
	    cmocka_unit_test(uris_are_paths_of_legal_bytes),
	    cmocka_unit_test(names_have_the_characters_of_a_token),
	    cmocka_unit_test(the_first_failure_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
