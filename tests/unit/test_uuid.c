/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_uuid.c - ids are well formed, and no two processes make the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/uuid.h"

static void
version_7_begins_with_the_time(void **state)
{
	struct uuid a, b;
	char text[UUID_TEXT_SIZE];

	(void)state;
	uuid_v7(0x0123456789ab, &a);
	uuid_format(&a, text);
	assert_memory_equal(text, "01234567-89ab-7", 15);
	assert_non_null(strchr("89ab", text[19]));
	assert_int_equal(strlen(text), 36);
	uuid_v7(0x0123456789ab, &b);
	assert_false(uuid_eq(&a, &b));
	uuid_v7(0x0123456789ac, &b);
	assert_true(uuid_cmp(&a, &b) < 0);
	assert_true(uuid_cmp(&b, &a) > 0);
	assert_true(uuid_eq(&b, &b));
}

static void
those_of_one_millisecond_go_up(void **state)
{
	struct uuid last, id;

	(void)state;
	for (int round = 0; round < 20; round++) {
		uuid_v7(1700000000000 + round, &last);
		for (int i = 0; i < 10000; i++) {
			uuid_v7(1700000000000 + round, &id);
			assert_true(uuid_cmp(&last, &id) < 0);
			assert_int_equal(id.b[6] >> 4, 7);
			assert_int_equal(id.b[8] >> 6, 2);
			last = id;
		}
	}
}

static void
text_form_is_read_in_any_case_and_only_whole(void **state)
{
	static const char good[] = "0192f3a4-b5c6-7d8e-9f01-23456789abcd";
	static const char *const bad[] = {"0192f3a4-b5c6-7d8e-9f01-23456789abc",
	    "0192f3a4-b5c6-7d8e-9f01-23456789abcde",
	    "0192f3a4-b5c6-7d8e-9f01-23456789abcg",
	    "0192f3a4b-5c6-7d8e-9f01-23456789abcd",
	    "0192f3a4-b5c6-7d8e-9f01+23456789abcd",
	    "{192f3a4-b5c6-7d8e-9f01-23456789abc}", "0192f3a4b5c67d8e9f0123456789abcd",
	    ""};
	struct uuid id, same;
	char text[UUID_TEXT_SIZE];
	size_t i;

	(void)state;
	assert_int_equal(uuid_parse(good, 36, &id), 0);
	assert_string_equal(uuid_format(&id, text), good);
	assert_int_equal(
	    uuid_parse("0192F3A4-B5C6-7D8E-9F01-23456789ABCD", 36, &same), 0);
	assert_true(uuid_eq(&id, &same));
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(uuid_parse(bad[i], strlen(bad[i]), &same), -1);
	assert_true(uuid_eq(&id, &same));
}

static void
forked_child_draws_other_bytes(void **state)
{
	unsigned char mine[64], its[64];
	int pipefd[2], status;
	pid_t pid;

	(void)state;
	random_bytes(mine, 1); /* the block is filled before the fork */
	assert_int_equal(pipe(pipefd), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		random_bytes(its, sizeof(its));
		_exit(write(pipefd[1], its, sizeof(its)) == sizeof(its) ? 0 : 1);
	}
	random_bytes(mine, sizeof(mine));
	assert_int_equal(read(pipefd[0], its, sizeof(its)), sizeof(its));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_memory_not_equal(mine, its, sizeof(mine));
	close(pipefd[0]);
	close(pipefd[1]);
}

static void
random_bytes_come_in_every_length(void **state)
{
	static unsigned char bytes[5000];
	size_t len, i, zeros;

	(void)state;
	for (len = 0; len < sizeof(bytes); len = len * 2 + 1) {
		memset(bytes, 0, sizeof(bytes));
		random_bytes(bytes, len);
		for (zeros = 0, i = 0; i < len; i++)
			zeros += bytes[i] == 0;
		/* 1 of 256 is expected; 16 zeros in a row come once in 2^128 */
		assert_true(zeros < 16 + len / 32);
		assert_int_equal(bytes[len], 0);
	}
}

static void
random_below_stays_below_and_reaches_all(void **state)
{
	unsigned seen[5] = {0};
	int i;

	(void)state;
	for (i = 0; i < 1000; i++) {
		uint64_t n = random_below(5);

		assert_true(n < 5);
		seen[n]++;
	}
	for (i = 0; i < 5; i++)
		assert_true(seen[i] > 0);
	assert_true(random_below(0) == 0);
	assert_true(random_below(1) == 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(version_7_begins_with_the_time),
	    cmocka_unit_test(those_of_one_millisecond_go_up),
	    cmocka_unit_test(text_form_is_read_in_any_case_and_only_whole),
	    cmocka_unit_test(forked_child_draws_other_bytes),
	    cmocka_unit_test(random_bytes_come_in_every_length),
	    cmocka_unit_test(random_below_stays_below_and_reaches_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
