/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_weburl.c - URLs that may be sent to, those that may not, and headers that others
 * add.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "http/guard.h"
#include "http/reqhead.h"
#include "http/weburl.h"

static void
what_is_read_is_written_anew(void **state)
{
	static const struct {
		const char *text, *made, *host;
		int port;
		bool tls, literal;
	} cases[] = {
	    {"https://example.com", "https://example.com/", "example.com", 443, true,
		false},
	    {"http://example.com/", "http://example.com/", "example.com", 80, false,
		false},
	    {"HTTPS://Example.COM/Path?q=A", "https://example.com/Path?q=A",
		"example.com", 443, true, false},
	    {"https://example.com:443/x", "https://example.com/x", "example.com", 443,
		true, false},
	    {"http://example.com:443/x", "http://example.com:443/x", "example.com", 443,
		false, false},
	    {"https://example.com?x=1", "https://example.com/?x=1", "example.com", 443,
		true, false},
	    {"https://example.com/a/../b//c", "https://example.com/a/../b//c",
		"example.com", 443, true, false},
	    {"https://example.com/%41%2f", "https://example.com/%41%2f", "example.com",
		443, true, false},
	    {"https://example.com/a@b", "https://example.com/a@b", "example.com", 443,
		true, false},
	    {"https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/",
		"xn--bcher-kva.example", 443, true, false},
	    {"http://192.0.2.7:8080/h", "http://192.0.2.7:8080/h", "192.0.2.7", 8080,
		false, true},
	    {"http://[2001:DB8:0:0::1]:8443/h", "http://[2001:db8::1]:8443/h",
		"2001:db8::1", 8443, false, true},
	    {"http://[::ffff:192.0.2.7]/", "http://[::ffff:192.0.2.7]/",
		"::ffff:192.0.2.7", 80, false, true},
	    {"http://3com.example/", "http://3com.example/", "3com.example", 80, false,
		false},
	    {"http://0x7f.example/", "http://0x7f.example/", "0x7f.example", 80, false,
		false},
	    {"http://localhost:65535/", "http://localhost:65535/", "localhost", 65535,
		false, false},
	};
	struct weburl u;
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		if (weburl_parse(cases[i].text, &u, &err) != 0)
			fail_msg("%s: %s", cases[i].text, err.text);
		assert_string_equal(u.text, cases[i].made);
		assert_string_equal(u.host, cases[i].host);
		assert_int_equal(u.port, cases[i].port);
		assert_int_equal(u.tls, cases[i].tls);
		assert_int_equal(u.literal, cases[i].literal);
		/* what was made is read as the same */
		assert_int_equal(weburl_parse(u.text, &u, &err), 0);
		assert_string_equal(u.text, cases[i].made);
	}
}

/*
 * What a request for a server inside might be dressed as.  Each is refused by the
 * reader of URLs, or its address by the guard; names are the resolver's matter
 * (test_fetch).
 */
static void
nothing_inside_is_reached_by_any_spelling(void **state)
{
	static const char *const urls[] = {
	    /* plain */
	    "http://127.0.0.1/",
	    "http://127.255.255.254/",
	    "http://10.0.0.1/",
	    "http://100.64.0.1/",
	    "http://169.254.169.254/latest/meta-data/",
	    "http://169.254.170.2/v2/credentials",
	    "http://172.16.0.1/",
	    "http://172.31.255.255/",
	    "http://192.168.1.1/",
	    "http://0.0.0.0/",
	    "http://0.1.2.3/",
	    "http://192.0.0.8/",
	    "http://192.0.2.1/",
	    "http://192.88.99.1/",
	    "http://198.18.0.1/",
	    "http://198.19.255.255/",
	    "http://198.51.100.1/",
	    "http://203.0.113.1/",
	    "http://224.0.0.1/",
	    "http://239.255.255.255/",
	    "http://240.0.0.1/",
	    "http://255.255.255.255/",
	    /* IPv4 in disguise */
	    "http://2130706433/",
	    "http://0x7f000001/",
	    "http://0x7f.1/",
	    "http://0X7F.0.0.1/",
	    "http://0177.0.0.1/",
	    "http://017700000001/",
	    "http://127.1/",
	    "http://127.0.1/",
	    "http://127.0.0.1./",
	    "http://127.0.0.01/",
	    "http://127.0.0.0x1/",
	    "http://1.2.3.4.5/",
	    "http://256.0.0.1/",
	    "http://127.0.0.1.:80/",
	    "http://%31%32%37.0.0.1/",
	    "http://\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1/",
	    "http://127\xe3\x80\x82"
	    "0\xe3\x80\x82"
	    "0\xe3\x80\x82"
	    "1/",
	    "http://\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.0.0.1/",
	    /* IPv6 */
	    "http://[::]/",
	    "http://[::1]/",
	    "http://[0:0:0:0:0:0:0:1]/",
	    "http://[::ffff:127.0.0.1]/",
	    "http://[::ffff:7f00:1]/",
	    "http://[::ffff:169.254.169.254]/",
	    "http://[::127.0.0.1]/",
	    "http://[64:ff9b::7f00:1]/",
	    "http://[64:ff9b::10.0.0.1]/",
	    "http://[64:ff9b:1::a00:1]/",
	    "http://[2002:7f00:1::]/",
	    "http://[2001:0:7f00:1::]/",
	    "http://[2001:db8::1]/",
	    "http://[3fff::1]/",
	    "http://[100::1]/",
	    "http://[fc00::1]/",
	    "http://[fd00:ec2::254]/",
	    "http://[fe80::1]/",
	    "http://[fe80::1%25eth0]/",
	    "http://[fe80::1%eth0]/",
	    "http://[fec0::1]/",
	    "http://[ff02::1]/",
	    "http://[5f00::1]/",
	    "http://[4000::1]/",
	    "http://[::1",
	    "http://[::1]x/",
	    "http://[]/",
	    "http://[127.0.0.1]/",
	    "http://[v1.fe80::a]/",
	    "http://::1/",
	    /* two readers */
	    "http://example.com@127.0.0.1/",
	    "http://user:pw@example.com/",
	    "http://@example.com/",
	    "http://example.com\\@127.0.0.1/",
	    "http:\\\\127.0.0.1/",
	    "http:/\\127.0.0.1/",
	    "http://example.com\t.127.0.0.1/",
	    "http://exa mple.com/",
	    "http://example.com\r\nHost: inside/",
	    "http://example.com/\r\nX: y",
	    "http://example.com#@127.0.0.1/",
	    "http://example.com/#x",
	    "http://example.com;127.0.0.1/",
	    "http://example.com,127.0.0.1/",
	    "http://exa%6dple.com/",
	    "http://b\xc3\xbc"
	    "cher.example/",
	    "http:///etc/passwd",
	    "http://",
	    "http:example.com",
	    "//example.com/",
	    "example.com",
	    "",
	    " http://example.com/",
	    "http://example.com/ ",
	    /* names that are none */
	    "http://example..com/",
	    "http://.example.com/",
	    "http://example.com./",
	    "http://-example.com/",
	    "http://example-.com/",
	    "http://exa_mple.com/",
	    "http://*.example.com/",
	    /* ports */
	    "http://example.com:/",
	    "http://example.com:0/",
	    "http://example.com:080/",
	    "http://example.com:65536/",
	    "http://example.com:4294967376/",
	    "http://example.com:99999999999999999999/",
	    "http://example.com:8x/",
	    "http://example.com:-80/",
	    "http://example.com:80:80/",
	    /* schemes */
	    "https:/example.com/",
	    "file:///etc/passwd",
	    "gopher://127.0.0.1:6379/_FLUSHALL",
	    "ftp://example.com/",
	    "dict://127.0.0.1:11211/",
	    "unix:/run/x.sock",
	    "javascript:alert(1)",
	    "httpx://example.com/",
	    "ws://example.com/",
	    /* what has to be encoded */
	    "http://example.com/%",
	    "http://example.com/%4",
	    "http://example.com/%zz",
	    "http://example.com/\"",
	    "http://example.com/<script>",
	    "http://example.com/{}",
	    "http://example.com/^",
	    "http://example.com/\x7f",
	};
	const struct guard_opts opts = {"", "", "80, 443"};
	struct guard *g = guard_create(&opts, NULL);
	struct weburl u;
	struct err err;

	(void)state;
	assert_non_null(g);
	for (size_t i = 0; i < COUNT_OF(urls); i++) {
		err.text[0] = '\0';
		if (weburl_parse(urls[i], &u, &err) == 0) {
			if (!u.literal || guard_why_not_text(g, u.host) == NULL)
				fail_msg("'%s' is let out, as %s", urls[i], u.text);
		} else {
			assert_int_equal(err.code, ERR_INVALID);
			assert_true(strlen(err.text) > 10);
		}
	}
	guard_free(g);
}

static void
long_urls_are_refused(void **state)
{
	char text[WEBURL_MOST + 2], host[300];
	struct weburl u;
	struct err err;

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text, "http://h.example/", 17);
	text[WEBURL_MOST] = '\0';
	assert_int_equal(weburl_parse(text, &u, &err), 0);
	text[WEBURL_MOST] = 'a';
	text[WEBURL_MOST + 1] = '\0';
	assert_int_equal(weburl_parse(text, &u, &err), -1);
	/* a part has 63 bytes at most, a host 253 */
	snprintf(host, sizeof(host), "http://%063d.a/", 1);
	assert_int_equal(weburl_parse(host, &u, &err), 0);
	snprintf(host, sizeof(host), "http://%064d.a/", 1);
	assert_int_equal(weburl_parse(host, &u, &err), -1);
	snprintf(
	    host, sizeof(host), "http://%060d.%060d.%060d.%060d.%09da/", 1, 1, 1, 1, 1);
	assert_int_equal(weburl_parse(host, &u, &err), -1);
}

static void
the_guard_lets_out_what_is_global_and_what_is_allowed(void **state)
{
	static const struct {
		const char *allow, *deny, *address;
		bool out;
	} cases[] = {
	    {"", "", "8.8.8.8", true},
	    {"", "", "1.1.1.1", true},
	    {"", "", "172.15.255.255", true},
	    {"", "", "172.32.0.0", true},
	    {"", "", "100.63.255.255", true},
	    {"", "", "100.128.0.0", true},
	    {"", "", "126.255.255.255", true},
	    {"", "", "128.0.0.0", true},
	    {"", "", "223.255.255.255", true},
	    {"", "", "2606:4700::1111", true},
	    {"", "", "2a00:1450::1", true},
	    {"", "", "::ffff:8.8.8.8", true},
	    {"", "", "64:ff9b::8.8.8.8", true},
	    {"", "", "10.1.2.3", false},
	    {"10.1.0.0/16", "", "10.1.2.3", true},
	    {"10.1.0.0/16", "", "10.2.2.3", false},
	    {"10.1.0.0/16", "", "::ffff:10.1.2.3", true},
	    {"10.1.0.0/16", "", "64:ff9b::10.1.2.3", true},
	    {"10.1.0.0/16", "10.1.2.0/24", "10.1.2.3", false},
	    {"10.1.0.0/16", "10.1.2.0/24", "64:ff9b::10.1.2.3", false},
	    {"", "8.8.8.0/24", "8.8.8.8", false},
	    {"", "8.8.8.0/24", "::ffff:8.8.8.8", false},
	    {"", "64:ff9b::/96", "64:ff9b::1.1.1.1", false},
	    {"127.0.0.0/8", "", "127.0.0.1", true},
	    {"::1/128", "", "::1", true},
	    {"fd00::/8", "", "fd12::1", true},
	    {"0.0.0.0/0, ::/0", "", "169.254.169.254", true},
	    {"0.0.0.0/0, ::/0", "169.254.0.0/16", "169.254.169.254", false},
	    {"0.0.0.0/0", "", "example.com", false},
	    {"0.0.0.0/0", "", "10.0.0.0/8", false},
	    {"0.0.0.0/0", "", "", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct guard_opts opts = {cases[i].allow, cases[i].deny, ""};
		struct guard *g = guard_create(&opts, NULL);
		const char *why;

		assert_non_null(g);
		why = guard_why_not_text(g, cases[i].address);
		if ((why == NULL) != cases[i].out)
			fail_msg("case %zu, %s: %s", i, cases[i].address,
			    why != NULL ? why : "let out");
		guard_free(g);
	}
}

static void
our_own_stores_are_out_of_reach_unless_allowed(void **state)
{
	const struct guard_opts none = {"", "", "80"}, all = {"8.8.8.8", "", "80"};
	struct guard *g = guard_create(&none, NULL), *open = guard_create(&all, NULL);
	struct addr store, many[GUARD_OWN_MOST + 1];
	struct err err;

	(void)state;
	assert_int_equal(addr_parse("8.8.8.8:5432", &store, NULL), 0);
	assert_null(guard_why_not(g, &store));
	assert_int_equal(guard_set_own(g, &store, 1, &err), 0);
	assert_int_equal(guard_set_own(open, &store, 1, &err), 0);
	assert_string_equal(guard_why_not(g, &store), "one of the stores");
	assert_null(guard_why_not(open, &store));
	for (size_t i = 0; i < COUNT_OF(many); i++)
		many[i] = store;
	assert_int_equal(guard_set_own(g, many, COUNT_OF(many), &err), -1);
	assert_string_equal(guard_why_not(g, &store), "one of the stores");
	assert_int_equal(guard_set_own(g, NULL, 0, &err), 0);
	assert_null(guard_why_not(g, &store));
	/* nor is the node itself, in whatever network it is (it has a loopback, at
	 * least) */
	assert_int_equal(guard_add_interfaces(open, &err), 0);
	assert_string_equal(guard_why_not_text(open, "127.0.0.1"), "this node");
	assert_string_equal(guard_why_not_text(g, "127.0.0.1"), "loopback");
	assert_int_equal(addr_parse("unix:/run/x", &store, NULL), 0);
	assert_non_null(guard_why_not(open, &store));
	guard_free(g);
	guard_free(open);
}

static void
ports_are_those_of_the_list(void **state)
{
	static const char *const bad[] = {"x", "0", "65536", "-1", "80 443", "80-90"};
	const struct guard_opts opts = {"", "", " 80,443 ,, 8443"};
	struct guard *g = guard_create(&opts, NULL);
	struct err err;

	(void)state;
	assert_non_null(g);
	assert_true(guard_port(g, 80) && guard_port(g, 443) && guard_port(g, 8443));
	assert_false(guard_port(g, 81) || guard_port(g, 0) || guard_port(g, 22));
	guard_free(g);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		const struct guard_opts wrong = {"", "", bad[i]};

		assert_null(guard_create(&wrong, &err));
		assert_non_null(strstr(err.text, "ports: "));
	}
}

static void
headers_that_tell_lies_are_refused(void **state)
{
	static const char *const good[] = {"Authorization: Bearer abc", "X-A:b",
	    "x-a:\tb c", "Accept: */*", "Cookie: a=b; c=d"};
	static const char *const bad[] = {"", "X", "X :y", ": y", "X y: z",
	    "X:", "X: ", "Host: inside", "HOST: inside", "Content-Length: 0",
	    "Transfer-Encoding: chunked", "Connection: close", "Proxy-Authorization: x",
	    "Shoal-Task-Id: x", "webhook-signature: v1,x", "Content-Type: text/plain",
	    "Expect: 100-continue", "Upgrade: h2c", "TE: trailers", "X: a\r\nHost: b",
	    "X: a\nb", "X\r: b", "X: \x01", "X: \x7f", "X(y): z"};
	char text[2200];
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++)
		assert_int_equal(reqhead_check(good[i], &err), 0);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		if (reqhead_check(bad[i], &err) == 0)
			fail_msg("'%s' is accepted", bad[i]);
		assert_null(strstr(err.text, "Bearer"));
	}
	snprintf(text, sizeof(text), "X: %02050d", 7);
	assert_int_equal(reqhead_check(text, &err), -1);
	snprintf(text, sizeof(text), "X%065d: 7", 7);
	assert_int_equal(reqhead_check(text, &err), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_read_is_written_anew),
	    cmocka_unit_test(nothing_inside_is_reached_by_any_spelling),
	    cmocka_unit_test(long_urls_are_refused),
	    cmocka_unit_test(the_guard_lets_out_what_is_global_and_what_is_allowed),
	    cmocka_unit_test(our_own_stores_are_out_of_reach_unless_allowed),
	    cmocka_unit_test(ports_are_those_of_the_list),
	    cmocka_unit_test(headers_that_tell_lies_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
