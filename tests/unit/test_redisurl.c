/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "redis/redisurl.h"

static void
addresses_are_taken_apart(void **state)
{
	static const struct {
		const char *text, *host;
		uint16_t port;
		const char *username, *password;
		int database;
		bool tls;
	} cases[] = {
	    {"redis://localhost", "localhost", 6379, "", "", 0, false},
	    {"redis://localhost/", "localhost", 6379, "", "", 0, false},
	    {"redis://10.0.0.7:6380/3", "10.0.0.7", 6380, "", "", 3, false},
	    {"redis://[::1]:7000", "::1", 7000, "", "", 0, false},
	    {"redis://[fe80::1]/1", "fe80::1", 6379, "", "", 1, false},
	    {"redis://:secret@cache.internal", "cache.internal", 6379, "", "secret", 0,
		false},
	    {"redis://shoal:s%40%3A%2F%25@h:1/15", "h", 1, "shoal", "s@:/%", 15, false},
	    {"redis://u:a@b@h", "h", 6379, "u", "a@b", 0, false},
	    {"redis://u:a:b@h", "h", 6379, "u", "a:b", 0, false},
	    {"redis://:@h", "h", 6379, "", "", 0, false},
	    {"rediss://h", "h", 6379, "", "", 0, true},
	    {"rediss://u:p@h:6380/2", "h", 6380, "u", "p", 2, true},
	    {"unix:/run/redis.sock", "unix:/run/redis.sock", 6379, "", "", 0, false},
	    {"unix:/run/redis.sock?db=4", "unix:/run/redis.sock", 6379, "", "", 4,
		false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct redisurl url;
		struct err err = ERR_INIT;

		if (redisurl_parse(cases[i].text, &url, &err) != 0)
			fail_msg("%s: %s", cases[i].text, err.text);
		assert_string_equal(url.host, cases[i].host);
		assert_int_equal(url.port, cases[i].port);
		assert_string_equal(url.username, cases[i].username);
		assert_string_equal(url.password, cases[i].password);
		assert_int_equal(url.database, cases[i].database);
		assert_true(url.tls == cases[i].tls);
	}
}

static void
what_is_none_is_refused_without_repeating_it(void **state)
{
	static const char *const cases[] = {
	    "",
	    "localhost",
	    "http://secret",
	    "REDIS://h",
	    "rediss://",
	    "rediss:secret",
	    "redis://",
	    "redis:///0",
	    "redis://:6379",
	    "redis://h:",
	    "redis://h:0",
	    "redis://h:65536",
	    "redis://h:+1",
	    "redis://h:1x",
	    "redis://h/x",
	    "redis://h/-1",
	    "redis://h/70000",
	    "redis://h/0/1",
	    "redis://h/0?db=1",
	    "redis://h?db=1",
	    "redis://two words",
	    "redis://secret@h",
	    "redis://:secret%2@h",
	    "redis://:secret%@h",
	    "redis://:secret%00@h",
	    "redis://:secret%zz@h",
	    "redis://[::1",
	    "redis://[::1]x",
	    "redis://[]",
	    "unix:",
	    "unix:relative",
	    "unix:/s?x=1",
	    "unix:/s?db=",
	    "unix:/s?db=secret",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct redisurl url, untouched;
		struct err err = ERR_INIT;

		memset(&url, 7, sizeof(url));
		untouched = url;
		if (redisurl_parse(cases[i], &url, &err) == 0)
			fail_msg("accepted '%s'", cases[i]);
		assert_int_equal(err.code, ERR_INVALID);
		assert_null(strstr(err.text, "secret"));
		assert_memory_equal(&url, &untouched, sizeof(url));
	}
}

static void
each_part_has_a_limit(void **state)
{
	char text[1024], part[600];
	struct redisurl url;

	(void)state;
	memset(part, 'x', sizeof(part));
	snprintf(text, sizeof(text), "redis://%.255s", part);
	assert_int_equal(redisurl_parse(text, &url, NULL), 0);
	snprintf(text, sizeof(text), "redis://%.256s", part);
	assert_int_equal(redisurl_parse(text, &url, NULL), -1);
	snprintf(text, sizeof(text), "redis://:%.255s@h", part);
	assert_int_equal(redisurl_parse(text, &url, NULL), 0);
	snprintf(text, sizeof(text), "redis://:%.256s@h", part);
	assert_int_equal(redisurl_parse(text, &url, NULL), -1);
	snprintf(text, sizeof(text), "redis://%.128s:p@h", part);
	assert_int_equal(redisurl_parse(text, &url, NULL), -1);
	snprintf(text, sizeof(text), "unix:/%.106s", part);
	assert_int_equal(redisurl_parse(text, &url, NULL), 0);
	snprintf(text, sizeof(text), "unix:/%.107s", part);
	assert_int_equal(redisurl_parse(text, &url, NULL), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(addresses_are_taken_apart),
	    cmocka_unit_test(what_is_none_is_refused_without_repeating_it),
	    cmocka_unit_test(each_part_has_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
