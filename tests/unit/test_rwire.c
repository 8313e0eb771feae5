/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <event2/buffer.h>
#include <hiredis/hiredis.h>

#include "redis/rwire.h"

static void
a_command_looks_as_hiredis_would_format_it(void **state)
{
	static char big[100001];
	const char *argv[12] = {"SET", "", "a\r\n\0b", big};
	size_t lens[12] = {3, 0, 5, 100000};
	struct evbuffer *out = evbuffer_new();
	char *want;
	int len;

	(void)state;
	memset(big, 'z', sizeof(big) - 1);
	for (int argc = 1; argc <= 12; argc++) {
		if (argc > 4) {
			argv[argc - 1] = "more";
			lens[argc - 1] = 4;
		}
		assert_int_equal(rwire_append(out, 1 << 20, argc, argv, lens, NULL), 0);
		len = redisFormatCommandArgv(&want, argc, argv, lens);
		assert_true(len > 0);
		assert_int_equal(evbuffer_get_length(out), len);
		assert_memory_equal(evbuffer_pullup(out, -1), want, len);
		evbuffer_drain(out, (size_t)len);
		redisFreeCommand(want);
	}
	evbuffer_free(out);
}

static void
a_full_output_takes_nothing_of_a_command(void **state)
{
	const char *const argv[] = {"SET", "key", "value"};
	const size_t huge[] = {3, 3, SIZE_MAX};
	struct evbuffer *out = evbuffer_new();
	struct err err = ERR_INIT;
	size_t held;

	(void)state;
	while (rwire_append(out, 300, 3, argv, NULL, &err) == 0)
		continue;
	assert_int_equal(err.code, ERR_LIMIT);
	held = evbuffer_get_length(out);
	assert_true(held > 0 && held <= 300);
	assert_int_equal(rwire_append(out, 1 << 20, 3, argv, huge, &err), -1);
	assert_int_equal(err.code, ERR_LIMIT);
	assert_int_equal(evbuffer_get_length(out), held);
	evbuffer_free(out);
}

static void
an_array_that_promises_too_much_is_not_allocated(void **state)
{
	static const char *const cases[] = {
	    "*2147483647\r\n",
	    "*1048577\r\n",
	    "*2\r\n*1048000\r\n",
	    "*3\r\n*0\r\n*-1\r\n*1048575\r\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct rwire_reader *r = rwire_reader_create();
		struct redisReply *reply = NULL;
		struct err err = ERR_INIT;
		int rc;

		assert_int_equal(
		    rwire_reader_feed(r, cases[i], strlen(cases[i]), NULL), 0);
		rc = rwire_reader_next(r, &reply, &err);
		/* 2 + 1,048,000 is within the bound */
		if (i == 2) {
			assert_int_equal(rc, 0);
			assert_null(reply);
		} else {
			assert_int_equal(rc, -1);
			assert_int_equal(err.code, ERR_LIMIT);
		}
		rwire_reader_free(r);
	}
}

static void
the_budget_is_that_of_one_reply(void **state)
{
	struct rwire_reader *r = rwire_reader_create();
	struct redisReply *reply = NULL;
	static char nils[8 + 5 * 1000];
	size_t len;

	(void)state;
	len = (size_t)snprintf(nils, sizeof(nils), "*1000\r\n");
	for (int i = 0; i < 1000; i++, len += 5)
		memcpy(nils + len, "$-1\r\n", 5);
	for (int i = 0; i < 1100; i++) {
		assert_int_equal(rwire_reader_feed(r, nils, len, NULL), 0);
		assert_int_equal(rwire_reader_next(r, &reply, NULL), 0);
		assert_non_null(reply);
		assert_int_equal(reply->elements, 1000);
		freeReplyObject(reply);
	}
	rwire_reader_free(r);
}

static void
a_string_without_end_is_cut(void **state)
{
	struct rwire_reader *r = rwire_reader_create();
	struct redisReply *reply = NULL;
	size_t len = 1 << 20, fed = 0;
	char *bytes = calloc(1, len);
	struct err err = ERR_INIT;

	(void)state;
	memcpy(bytes, "$500000000\r\n", 12);
	for (;;) {
		if (rwire_reader_feed(r, bytes, len, &err) != 0)
			break;
		fed += len;
		assert_true(fed <= RWIRE_REPLY_MAX_BYTES);
		assert_int_equal(rwire_reader_next(r, &reply, NULL), 0);
		assert_null(reply);
	}
	assert_int_equal(err.code, ERR_LIMIT);
	assert_int_equal(fed, RWIRE_REPLY_MAX_BYTES);
	free(bytes);
	rwire_reader_free(r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_command_looks_as_hiredis_would_format_it),
	    cmocka_unit_test(a_full_output_takes_nothing_of_a_command),
	    cmocka_unit_test(an_array_that_promises_too_much_is_not_allocated),
	    cmocka_unit_test(the_budget_is_that_of_one_reply),
	    cmocka_unit_test(a_string_without_end_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
