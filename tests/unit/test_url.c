/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_url.c - what SHOAL_URL may be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "cli/target.h"
#include "cli/url.h"

static void
urls_of_the_one_form_are_taken(void **state)
{
	static const struct {
		const char *text, *host, *prefix, *authority;
		uint16_t port;
	} cases[] = {
	    {"http://127.0.0.1:8000", "127.0.0.1", "", "127.0.0.1:8000", 8000},
	    {"http://tasks.example.com", "tasks.example.com", "", "tasks.example.com",
		80},
	    {"http://tasks.example.com/", "tasks.example.com", "", "tasks.example.com",
		80},
	    {"http://h:1/a/b//", "h", "/a/b", "h:1", 1},
	    {"http://[::1]:8000", "::1", "", "[::1]:8000", 8000},
	    {"http://[::1]", "::1", "", "[::1]", 80},
	    {"http://h:80", "h", "", "h", 80},
	    {"http://h:443", "h", "", "h:443", 443},
	    {"https://h", "h", "", "h", 443},
	    {"https://h:443/p", "h", "/p", "h", 443},
	    {"https://h:80", "h", "", "h:80", 80},
	    {"https://[::1]", "::1", "", "[::1]", 443},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = ERR_INIT;
		struct url u;

		if (url_parse(cases[i].text, &u, &err) != 0)
			fail_msg("%s", err.text);
		assert_string_equal(u.host, cases[i].host);
		assert_string_equal(u.prefix, cases[i].prefix);
		assert_string_equal(u.authority, cases[i].authority);
		assert_int_equal(u.port, cases[i].port);
		assert_int_equal(u.tls, str_starts(cases[i].text, "https://"));
		assert_string_equal(u.scheme, u.tls ? "https" : "http");
	}
}

static void
all_others_are_refused_with_the_reason(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
	    {"", "begin with http://"},
	    {"127.0.0.1:8000", "begin with http://"},
	    {"ftp://h", "begin with http://"},
	    {"https://", "no host"},
	    {"HTTPS://h", "begin with http://"},
	    {"http://", "no host"},
	    {"http://:80", "no host"},
	    {"http://user:key@h", "user name"},
	    {"http://h:0", "outside"},
	    {"http://h:65536", "outside"},
	    {"http://h:", "not a number"},
	    {"http://h:x", "outside"},
	    {"http://h:123456789", "not a number"},
	    {"http://[::1", "not closed"},
	    {"http://[h]", "IPv6"},
	    {"http://a b", "character"},
	    {"http://h/a b", "blank"},
	    {"http://h/a\r\nX: y", "blank"},
	    {"http://h/?q", "query"},
	    {"http://h#f", "query"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = ERR_INIT;
		struct url u;

		if (url_parse(cases[i].text, &u, &err) == 0)
			fail_msg("'%s' is taken", cases[i].text);
		if (strstr(err.text, cases[i].says) == NULL)
			fail_msg("'%s': %s", cases[i].text, err.text);
	}
}

static void
all_but_unreserved_characters_are_encoded(void **state)
{
	struct strbuf out;

	(void)state;
	strbuf_init(&out, 256);
	url_encode(&out, "aZ09-._~/?&=% \xc3\xa4\n");
	assert_string_equal(out.data, "aZ09-._~%2F%3F%26%3D%25%20%C3%A4%0A");
	strbuf_fini(&out);
}

static void
a_key_that_would_break_the_request_is_refused(void **state)
{
	struct err err = ERR_INIT;
	struct target t;
	char longest[TARGET_SECRET + 1];

	(void)state;
	assert_int_equal(
	    target_open(&t, "http://127.0.0.1:1", "a\r\nb", NULL, &err), -1);
	assert_int_equal(target_open(&t, "http://127.0.0.1:1", "a b", NULL, &err), -1);
	memset(longest, 'k', TARGET_SECRET);
	longest[TARGET_SECRET] = '\0';
	assert_int_equal(
	    target_open(&t, "http://127.0.0.1:1", longest, NULL, &err), -1);
	assert_int_equal(err.code, ERR_INVALID);
}

static void
a_request_carries_host_key_and_length(void **state)
{
	struct err err = ERR_INIT;
	struct strbuf out;
	struct target t;

	(void)state;
	assert_int_equal(
	    target_open(&t, "http://127.0.0.1:8000/p", "k1", NULL, &err), 0);
	strbuf_init(&out, 4096);
	target_request(&t, "POST", "/v1/tasks", "{}", 2, &out);
	assert_string_equal(out.data,
	    "POST /p/v1/tasks HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n"
	    "User-Agent: shoal\r\nAuthorization: Bearer k1\r\n"
	    "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
	strbuf_reset(&out);
	target_wipe(&t);
	target_request(&t, "GET", "/v1/tasks", NULL, 0, &out);
	assert_string_equal(out.data,
	    "GET /p/v1/tasks HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n"
	    "User-Agent: shoal\r\n\r\n");
	strbuf_fini(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(urls_of_the_one_form_are_taken),
	    cmocka_unit_test(all_others_are_refused_with_the_reason),
	    cmocka_unit_test(all_but_unreserved_characters_are_encoded),
	    cmocka_unit_test(a_key_that_would_break_the_request_is_refused),
	    cmocka_unit_test(a_request_carries_host_key_and_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
