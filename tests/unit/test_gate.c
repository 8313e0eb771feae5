/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_gate.c - what may come in: the gate over strings, the scan over bytes.
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
#include "http/headscan.h"

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
	gate_refuse(&g, 405, "x", "y");
	gate_uri(&g, "bad");
	gate_header(&g, "", "");
	gate_end(&g, 1, false, 1000);
	assert_int_equal(g.status, 405);
}

#define BYTES(text) text, sizeof(text) - 1

static const struct {
	const char *bytes;
	size_t len, used;
	unsigned lines;
	uint64_t length;
	bool ended, flawed;
} scan_cases[] = {
    {BYTES("GET / HTTP/1.1\r\nHost: a\r\n\r\nbody"), 27, 2, 0, true, false},
    {BYTES("GET / HTTP/1.1\r\nHost: a\r\n"), 25, 2, 0, false, false},
    {BYTES("P\r\nContent-Length: 12\r\n\r\n"), 25, 2, 12, true, false},
    {BYTES("P\r\ncontent-length:\t7\r\nCONTENT-LENGTH:5\r\n\r\n"), 42, 3, 7, true,
	false},
    {BYTES("Content-Length: 9\r\n\r\n"), 21, 1, 0, true, false},
    {BYTES("P\r\nContent-Length: 99999999999999999999999\r\n\r\n"), 46, 2,
	9999999999999999ull, true, false},
    {BYTES("G\nHost: a\n\n"), 11, 2, 0, true, true},
    {BYTES("G\r\nA: b\r\n c\r\n\r\n"), 15, 3, 0, true, true},
    {BYTES("G\r\nA: b\rc\r\n\r\n"), 13, 2, 0, true, true},
    {BYTES("G\r\nA: b\r\r\n\r\n"), 12, 2, 0, true, true},
    {BYTES("G\r\nA: \0b\r\n\r\n"), 12, 2, 0, true, true},
    {BYTES("\x16\x03\x01\0\0"), 5, 0, 0, false, true},
    {BYTES("\r\n"), 2, 0, 0, true, false},
};

static void
the_head_ends_where_evhttp_sees_it_however_it_is_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(scan_cases); i++) {
		for (size_t cut = 1; cut <= scan_cases[i].len; cut++) {
			struct headscan hs;
			size_t used = 0;

			headscan_reset(&hs);
			for (size_t at = 0; at < scan_cases[i].len; at += cut) {
				size_t left = scan_cases[i].len - at;

				used += headscan_feed(&hs, scan_cases[i].bytes + at,
				    left < cut ? left : cut);
			}
			if (used != scan_cases[i].used || hs.bytes != used ||
			    hs.lines != scan_cases[i].lines ||
			    hs.ended != scan_cases[i].ended ||
			    (hs.flaw != NULL) != scan_cases[i].flawed)
				fail_msg(
				    "case %zu cut at %zu: used %zu lines %u flaw %s", i,
				    cut, used, hs.lines,
				    hs.flaw == NULL ? "none" : hs.flaw);
			if (scan_cases[i].length > 1000)
				assert_true(hs.length >= scan_cases[i].length);
			else
				assert_int_equal(hs.length, scan_cases[i].length);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(headers_can_be_read_in_one_way_only),
	    cmocka_unit_test(uris_are_paths_of_legal_bytes),
	    cmocka_unit_test(the_first_failure_stays),
	    cmocka_unit_test(the_head_ends_where_evhttp_sees_it_however_it_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
