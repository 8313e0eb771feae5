/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_proxyhead.c - PROXY headers, and whom X-Forwarded-For names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/cidr.h"
#include "http/forward.h"
#include "http/proxyhead.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"

static enum proxyhead_verdict
parse(const char *bytes, size_t len, struct proxyhead *out)
{
	memset(out, 0xff, sizeof(*out));
	return proxyhead_parse((const uint8_t *)bytes, len, out);
}

/* what is good is good whole, and with more behind it; each part of it is "more" */
static void
assert_good(
    const char *bytes, size_t len, const char *client, uint16_t port, bool local)
{
	char more[600];
	struct proxyhead head;

	for (size_t n = 0; n < len; n++)
		assert_int_equal(parse(bytes, n, &head), PROXYHEAD_MORE);
	memcpy(more, bytes, len);
	memcpy(more + len, "GET / ", 6);
	for (size_t behind = 0; behind <= 6; behind += 6) {
		assert_int_equal(parse(more, len + behind, &head), PROXYHEAD_GOOD);
		assert_int_equal(head.len, len);
		assert_string_equal(head.client, client);
		assert_int_equal(head.port, port);
		assert_int_equal(head.local, local);
	}
}

static void
the_text_of_version_1_is_read(void **state)
{
	static const struct {
		const char *text, *client;
		uint16_t port;
	} cases[] = {
	    {"PROXY TCP4 203.0.113.7 10.0.0.1 51234 443\r\n", "203.0.113.7", 443},
	    {"PROXY TCP6 2001:db8::7 ::1 51234 8443\r\n", "2001:db8::7", 8443},
	    {"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n", "203.0.113.7", 2},
	    {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
		"255.255.255.255", 65535},
	    {"PROXY UNKNOWN\r\n", "", 0},
	    {"PROXY UNKNOWN ffff:f...f:ffff what ever it says\r\n", "", 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_good(cases[i].text, strlen(cases[i].text), cases[i].client,
		    cases[i].port, false);
}

static void
whatever_is_a_little_different_is_refused(void **state)
{
	static const char *const cases[] = {
	    "GET / HTTP/1.1\r\n",
	    "\x16\x03\x01",
	    "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
	    "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
	    "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
	    "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
	    "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
	    "PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
	    "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
	    "PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
	    "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
	    "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
	    "PROXY TCP4 ::1 ::1 1 2\r\n",
	    "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
	    "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
	    "PROXY UNKNOWNS\r\n",
	    "PROXY \r\n",
	    "PROXY\r\n",
	};
	char longest[200] = "PROXY UNKNOWN ";
	struct proxyhead head, untouched;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(
		    parse(cases[i], strlen(cases[i]), &head), PROXYHEAD_BAD);
	memset(&untouched, 0xff, sizeof(untouched));
	assert_memory_equal(&head, &untouched, sizeof(head));
	/* 107 bytes with the line's end, and no more */
	memset(longest + 14, 'x', 91);
	memcpy(longest + 105, "\r\n", 2);
	assert_int_equal(parse(longest, 107, &head), PROXYHEAD_GOOD);
	memcpy(longest + 105, "x\r\n", 3);
	assert_int_equal(parse(longest, 106, &head), PROXYHEAD_MORE);
	assert_int_equal(parse(longest, 107, &head), PROXYHEAD_BAD);
}

static void
the_bytes_of_version_2_are_read(void **state)
{
	static const char tcp4[] = V2 "\x21\x11\0\x0c"
				      "\xcb\0\x71\x07\x0a\0\0\x01\xc8\x22\x01\xbb";
	static const char more[] = V2 "\x21\x11\0\x13"
				      "\xcb\0\x71\x07\x0a\0\0\x01\xc8\x22\x01\xbb"
				      "\x03\0\x04"
				      "abcd";
	static const char tcp6[] = V2 "\x21\x21\0\x24"
				      "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07"
				      "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"
				      "\xc8\x22\x20\xfb";
	static const char local[] = V2 "\x20\0\0\0";
	static const char unspecified[] = V2 "\x21\0\0\x02zz";

	(void)state;
	assert_good(tcp4, sizeof(tcp4) - 1, "203.0.113.7", 443, false);
	assert_good(more, sizeof(more) - 1, "203.0.113.7", 443, false);
	assert_good(tcp6, sizeof(tcp6) - 1, "2001:db8::7", 8443, false);
	assert_good(local, sizeof(local) - 1, "", 0, true);
	assert_good(unspecified, sizeof(unspecified) - 1, "", 0, false);
}

static void
bytes_that_no_balancer_sends_are_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} cases[] = {
	    /* another version, another command, datagrams, too short for its address,
	     * longer than is taken */
	    {V2 "\x31\x11\0\x0c", 16},
	    {V2 "\x11\x11\0\x0c", 16},
	    {V2 "\x22\x11\0\x0c", 16},
	    {V2 "\x21\x12\0\x0c"
		"123456789012",
		28},
	    {V2 "\x21\x11\0\x0b"
		"12345678901",
		27},
	    {V2 "\x21\x21\0\x0c"
		"123456789012",
		28},
	    {V2 "\x21\x11\x0f\xf1", 16},
	    {"\r\n\r\n\0\r\nQUIR\n", 12},
	};
	struct proxyhead head;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(
		    parse(cases[i].bytes, cases[i].len, &head), PROXYHEAD_BAD);
	assert_int_equal(parse(V2 "\x21\x11\x0f\xf0", 16, &head), PROXYHEAD_MORE);
}

/* ---------------------------------------------------------------- X-Forwarded-For */

static void
the_client_is_whom_the_last_trusted_proxy_names(void **state)
{
	static const struct {
		const char *peer, *value, *client;
		bool is_origin;
	} cases[] = {
	    /* whoever is not trusted names nobody */
	    {"203.0.113.7", "1.1.1.1", "203.0.113.7", false},
	    {"10.0.0.1", "203.0.113.7", "203.0.113.7", true},
	    {"10.0.0.1", "203.0.113.7:51234", "203.0.113.7", true},
	    {"10.0.0.1", "[2001:db8::7]:51234", "2001:db8::7", true},
	    {"10.0.0.1", "[2001:db8::7]", "2001:db8::7", true},
	    {"10.0.0.1", "2001:DB8:0::7", "2001:db8::7", true},
	    {"10.0.0.1", "::ffff:203.0.113.7", "203.0.113.7", true},
	    {"::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7", true},
	    /* what stands before the first stranger anybody may have written */
	    {"10.0.0.1", "127.0.0.1, 203.0.113.7", "203.0.113.7", false},
	    {"10.0.0.1", "127.0.0.1, 203.0.113.7 ,10.0.0.9", "203.0.113.7", false},
	    {"10.0.0.1", "203.0.113.7, 10.0.0.8,10.0.0.9", "203.0.113.7", true},
	    /* all of them trusted: the first */
	    {"10.0.0.1", "10.0.0.7, 10.0.0.8", "10.0.0.7", true},
	    /* what cannot be read ends it, with whoever came after */
	    {"10.0.0.1", "203.0.113.7, unknown", "10.0.0.1", false},
	    {"10.0.0.1", "localhost", "10.0.0.1", false},
	    {"10.0.0.1", "203.0.113.7, ", "10.0.0.1", false},
	    {"10.0.0.1", "203.0.113.7, x, 10.0.0.9", "10.0.0.9", false},
	    {"10.0.0.1", "[2001:db8::7]x", "10.0.0.1", false},
	    {"10.0.0.1", "", "10.0.0.1", false},
	    {"10.0.0.1", ",", "10.0.0.1", false},
	};
	struct cidr_list trusted;
	struct err err = ERR_INIT;
	struct forward f;

	(void)state;
	assert_int_equal(cidr_list_parse("10.0.0.0/8", &trusted, &err), 0);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		forward_begin(&f, cases[i].peer);
		forward_for(&f, &trusted, cases[i].value);
		assert_string_equal(f.client, cases[i].client);
		assert_int_equal(f.is_origin, cases[i].is_origin);
	}
	/* several headers, the last one first; and no header at all */
	forward_begin(&f, "10.0.0.1");
	forward_for(&f, &trusted, "10.0.0.9");
	forward_for(&f, &trusted, "127.0.0.1, 203.0.113.7");
	forward_for(&f, &trusted, "127.0.0.1");
	assert_string_equal(f.client, "203.0.113.7");
	forward_begin(&f, "10.0.0.1");
	assert_false(f.is_origin);
	cidr_list_fini(&trusted);
}

static void
of_a_list_the_last_word_counts(void **state)
{
	char word[8];

	(void)state;
	forward_last("https", word, sizeof(word));
	assert_string_equal(word, "https");
	forward_last("http, https ", word, sizeof(word));
	assert_string_equal(word, "https");
	forward_last("https,", word, sizeof(word));
	assert_string_equal(word, "");
	forward_last("something-long", word, sizeof(word));
	assert_string_equal(word, "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_text_of_version_1_is_read),
	    cmocka_unit_test(whatever_is_a_little_different_is_refused),
	    cmocka_unit_test(the_bytes_of_version_2_are_read),
	    cmocka_unit_test(bytes_that_no_balancer_sends_are_refused),
	    cmocka_unit_test(the_client_is_whom_the_last_trusted_proxy_names),
	    cmocka_unit_test(of_a_list_the_last_word_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
