/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_headscan.c - what is seen in the bytes of a head, however they are cut.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "http/headscan.h"

#define BYTES(text) text, sizeof(text) - 1
#define GET	    "GET / HTTP/1.1\r\n"
#define POST	    "POST /v1/tasks?a=b HTTP/1.1\r\n"

static void
scan(struct headscan *hs, const char *bytes, size_t len, size_t cut)
{
	size_t used = 0;

	headscan_reset(hs);
	for (size_t at = 0; at < len; at += cut)
		used += headscan_feed(hs, bytes + at, len - at < cut ? len - at : cut);
	assert_int_equal(hs->bytes, used);
}

static const struct {
	const char *bytes;
	size_t len, used;
	unsigned lines;
	uint64_t length;
	bool ended;
} ends[] = {
    {BYTES(GET "Host: a\r\n\r\nbody"), 27, 2, 0, true},
    {BYTES(GET "Host: a\r\n"), 25, 2, 0, false},
    {BYTES(GET "\r\n" GET "\r\n"), 18, 1, 0, true},
    {BYTES(POST "Content-Length: 12\r\n\r\n"), 51, 2, 12, true},
    {BYTES(POST "CONTENT-LENGTH:5 \t\r\n\r\n"), 51, 2, 5, true},
    {BYTES("Content-Length: 9\r\n\r\n"), 21, 1, 0, true},
    {BYTES("G\nHost: a\n\n"), 11, 2, 0, true},
    {BYTES("G\r\nA: b\r\n c\r\n\r\n"), 15, 3, 0, true},
    {BYTES("G\r\nA: b\r\r\n\r\n"), 12, 2, 0, true},
    {BYTES("\r\n"), 2, 0, 0, true},
};

static void
the_head_ends_where_evhttp_sees_it(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(ends); i++) {
		for (size_t cut = 1; cut <= ends[i].len; cut++) {
			struct headscan hs;

			scan(&hs, ends[i].bytes, ends[i].len, cut);
			if (hs.bytes != ends[i].used || hs.lines != ends[i].lines ||
			    hs.ended != ends[i].ended || hs.length != ends[i].length)
				fail_msg("case %zu cut at %zu: used %zu lines %u "
					 "length %llu",
				    i, cut, hs.bytes, hs.lines,
				    (unsigned long long)hs.length);
		}
	}
}

static const struct {
	const char *sentence, *bytes;
	size_t len;
	int status; /* 0: nothing wrong */
} flaws[] = {
    {"the least", BYTES(GET "\r\n"), 0},
    {"HTTP/1.0", BYTES("HEAD /a HTTP/1.0\r\n\r\n"), 0},
    {"a body", BYTES(POST "Host: a\r\nContent-Length: 0\r\n\r\n"), 0},
    {"no length and no Connection", BYTES(POST "\r\n"), 0},
    {"no length and a Connection that closes", BYTES(POST "Connection: Close\r\n\r\n"),
	0},
    {"no length and one that stays", BYTES(POST "Connection: keep-alive\r\n\r\n"), 411},
    {"one that stays and a length",
	BYTES(POST "Connection: keep-alive\r\nContent-Length: 1\r\n\r\n"), 0},
    {"one that stays on GET", BYTES(GET "Connection: keep-alive\r\n\r\n"), 0},

    {"a bare line feed", BYTES("GET / HTTP/1.1\nHost: a\n\n"), 400},
    {"a bare line feed at the end", BYTES(GET "Host: a\n\r\n"), 400},
    {"a folded header", BYTES(GET "A: b\r\n c\r\n\r\n"), 400},
    {"one folded by a tab", BYTES(GET "A: b\r\n\tc\r\n\r\n"), 400},
    {"a carriage return in a value", BYTES(GET "A: b\rc\r\n\r\n"), 400},
    {"two at the end", BYTES(GET "A: b\r\r\n\r\n"), 400},
    {"one in the URI", BYTES("GET /\rX HTTP/1.1\r\n\r\n"), 400},
    {"a NUL", BYTES(GET "A: \0b\r\n\r\n"), 400},
    {"a NUL in the first line, at once", BYTES("\x16\x03\x01\0\0"), 400},
    {"no request line", BYTES("\r\n"), 400},
    {"a header without a colon", BYTES(GET "nonsense\r\n\r\n"), 400},
    {"a colon far behind",
	BYTES(GET
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	    "aa: b\r\n\r\n"),
	0},

    {"HTTP/0.9", BYTES("GET /\r\n"), 400},
    {"a method alone", BYTES("GET\r\n"), 400},
    {"HTTP/1.2", BYTES("GET / HTTP/1.2\r\n"), 505},
    {"HTTP/2.0", BYTES("GET / HTTP/2.0\r\n"), 505},
    {"the preface of HTTP/2", BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505},
    {"HTTP/0.9 by name", BYTES("GET / HTTP/0.9\r\n"), 505},
    {"a version in lower case", BYTES("GET / http/1.1\r\n"), 400},
    {"a version of more digits", BYTES("GET / HTTP/1.10\r\n"), 400},
    {"a version with a sign", BYTES("GET / HTTP/+1.1\r\n"), 400},
    {"another protocol", BYTES("GET / ICAP/1.0\r\n"), 400},
    {"a space behind the version", BYTES("GET / HTTP/1.1 \r\n"), 400},
    {"a space in the URI", BYTES("GET /a b HTTP/1.1\r\n"), 400},
    {"two spaces", BYTES("GET  / HTTP/1.1\r\n"), 400},
    {"a tab instead", BYTES("GET\t/ HTTP/1.1\r\n"), 400},
    {"no target", BYTES("GET HTTP/1.1\r\n"), 400},
    {"a space in front", BYTES(" GET / HTTP/1.1\r\n"), 400},

    {"PATCH, which a route refuses", BYTES("PATCH / HTTP/1.1\r\n\r\n"), 0},
    {"OPTIONS, likewise", BYTES("OPTIONS / HTTP/1.1\r\n\r\n"), 0},
    {"an unknown method", BYTES("FOO / HTTP/1.1\r\n"), 501},
    {"one that begins well", BYTES("GETS / HTTP/1.1\r\n"), 501},
    {"one in lower case", BYTES("get / HTTP/1.1\r\n"), 501},
    {"TRACE", BYTES("TRACE / HTTP/1.1\r\n"), 501},
    {"CONNECT", BYTES("CONNECT a:80 HTTP/1.1\r\n"), 501},

    {"two slashes", BYTES("GET //v1/tasks HTTP/1.1\r\n"), 400},
    {"two slashes alone", BYTES("GET // HTTP/1.1\r\n"), 400},
    {"two slashes later", BYTES("GET /v1//tasks HTTP/1.1\r\n\r\n"), 0},
    {"an absolute target", BYTES("GET http://a/ HTTP/1.1\r\n"), 400},
    {"an asterisk", BYTES("OPTIONS * HTTP/1.1\r\n"), 400},

    {"the same length twice",
	BYTES(POST "Content-Length: 3\r\ncontent-length: 3\r\n\r\n"), 400},
    {"a list of lengths", BYTES(POST "Content-Length: 3, 3\r\n\r\n"), 400},
    {"a signed length", BYTES(POST "Content-Length: +3\r\n\r\n"), 400},
    {"a negative length", BYTES(POST "Content-Length: -3\r\n\r\n"), 400},
    {"a hexadecimal length", BYTES(POST "Content-Length: 0x3\r\n\r\n"), 400},
    {"an empty length", BYTES(POST "Content-Length:\r\n\r\n"), 400},
    {"a length of spaces", BYTES(POST "Content-Length:  \r\n\r\n"), 400},
    {"a length behind a tab", BYTES(POST "Content-Length:\t3\r\n\r\n"), 400},
    {"a length of 18 digits", BYTES(POST "Content-Length: 999999999999999999\r\n\r\n"),
	0},
    {"a length of 19", BYTES(POST "Content-Length: 1000000000000000000\r\n\r\n"), 400},
    {"a length that only seems to end",
	BYTES(POST "Content-Length:                                                1"
		   "x\r\n\r\n"),
	400},
    {"a length on GET is still one", BYTES(GET "Content-Length: x\r\n\r\n"), 400},
    {"length and coding",
	BYTES(POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"), 400},
    {"coding and length",
	BYTES(POST "transfer-encoding:identity\r\nContent-Length: 3\r\n\r\n"), 400},
    {"a coding is for others to judge", BYTES(POST "Transfer-Encoding: gzip\r\n\r\n"),
	0},

    {"to continue", BYTES(POST "Expect: 100-Continue \r\n\r\n"), 0},
    {"another expectation", BYTES(POST "Expect: 200-ok\r\n\r\n"), 417},
    {"no expectation", BYTES(POST "Expect:\r\n\r\n"), 417},
    {"two expectations", BYTES(POST "Expect: 100-continue\r\nExpect: x\r\n\r\n"), 417},
    {"the first flaw stays", BYTES("FOO / HTTP/1.1\r\nnonsense\r\n\r\n"), 501},
};

static void
flaws_are_seen_however_they_are_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(flaws); i++) {
		for (size_t cut = 1; cut <= flaws[i].len; cut++) {
			struct headscan hs;

			scan(&hs, flaws[i].bytes, flaws[i].len, cut);
			if (hs.status != flaws[i].status)
				fail_msg("%s, cut at %zu: %d, not %d",
				    flaws[i].sentence, cut, hs.status, flaws[i].status);
			assert_true(
			    hs.status == 0 || (hs.code != NULL && hs.detail != NULL));
		}
	}
}

static void
codings_are_told_apart(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		unsigned encodings;
		bool chunked;
	} cases[] = {
	    {BYTES(POST "\r\n"), 0, false},
	    {BYTES(POST "Transfer-Encoding: Chunked\r\n\r\n"), 1, true},
	    {BYTES(POST "Transfer-Encoding: gzip, chunked\r\n\r\n"), 1, false},
	    {BYTES(POST "Transfer-Encoding: \vchunked\r\n\r\n"), 1, false},
	    {BYTES(POST "Transfer-Encoding:\r\n\r\n"), 1, false},
	    {BYTES(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: "
			"chunked\r\n\r\n"),
		2, true},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct headscan hs;

		scan(&hs, cases[i].bytes, cases[i].len, 5);
		assert_int_equal(hs.encodings, cases[i].encodings);
		assert_int_equal(hs.chunked, cases[i].chunked);
		assert_int_equal(hs.status, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_head_ends_where_evhttp_sees_it),
	    cmocka_unit_test(flaws_are_seen_however_they_are_cut),
	    cmocka_unit_test(codings_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
