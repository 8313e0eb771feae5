/* SPDX-License-Identifier: BSD-2-Clause */
/* test_turns.c - workers at which clients wait for the same divide what comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/turns.h"

#define NAME 0x00c0ffee00c0ffeeULL
#define LOTS 1000

static const char *const names[3] = {"n1-w1-aaaa", "n1-w2-bbbb", "n2-w1-cccc"};
static struct turns *workers[3];
static int64_t now_ms;

static int
setup(void **state)
{
	(void)state;
	now_ms = 5000;
	for (int i = 0; i < 3; i++) {
		workers[i] = turns_create(names[i]);
		assert_non_null(workers[i]);
	}
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		turns_free(workers[i]);
	return 0;
}

static void
enter(int worker, int count)
{
	while (count-- > 0)
		turns_enter(workers[worker], NAME, now_ms);
}

/* what one says is heard by all, itself too; how many things it tells of */
static size_t
tell(int worker)
{
	struct strbuf text;
	char copy[256];
	size_t told;

	strbuf_init(&text, sizeof(copy) - 1);
	told = turns_tell(workers[worker], &text, now_ms);
	assert_false(strbuf_failed(&text));
	for (int i = 0; i < 3; i++) {
		memcpy(copy, text.data, text.len + 1);
		turns_told(workers[i], names[worker], copy, now_ms);
	}
	strbuf_fini(&text);
	return told;
}

static bool
ours(int worker, int lot)
{
	return turns_is_ours(
	    workers[worker], NAME, (uint32_t)(UINT32_MAX / LOTS * lot), now_ms);
}

/* how many of all lots are each one's; no lot is nobody's or two workers' */
static void
divide(int parts[3])
{
	memset(parts, 0, 3 * sizeof(*parts));
	for (int lot = 0; lot < LOTS; lot++) {
		int takers = 0;

		for (int i = 0; i < 3; i++) {
			if (ours(i, lot)) {
				parts[i]++;
				takers++;
			}
		}
		assert_int_equal(takers, 1);
	}
}

static void
each_has_the_part_of_those_who_wait_there(void **state)
{
	int parts[3];

	(void)state;
	enter(0, 10);
	enter(1, 30);
	enter(2, 60);
	now_ms += 1000;
	for (int i = 0; i < 3; i++)
		assert_int_equal(tell(i), 1);
	divide(parts);
	assert_in_range(parts[0], 99, 101);
	assert_in_range(parts[1], 299, 301);
	assert_in_range(parts[2], 599, 601);
}

static void
who_waits_half_of_the_time_counts_half(void **state)
{
	int parts[3];

	(void)state;
	enter(0, 1);
	enter(1, 1);
	enter(2, 2);
	now_ms += 500;
	turns_leave(workers[0], NAME, now_ms);
	now_ms += 500;
	for (int i = 0; i < 3; i++)
		tell(i);
	divide(parts);
	assert_in_range(parts[0], 142, 144); /* 1 of 7 */
	assert_in_range(parts[1], 285, 287);
	assert_in_range(parts[2], 570, 572);
}

static void
who_is_alone_or_unheard_looks_at_every_hint(void **state)
{
	(void)state;
	for (int lot = 0; lot < LOTS; lot += 100)
		assert_true(ours(0, lot)); /* it knows nothing */
	enter(0, 1);
	enter(1, 1);
	now_ms += 1000;
	tell(1);
	for (int lot = 0; lot < LOTS; lot += 100)
		assert_true(ours(0, lot)); /* the other one counts without it */
	tell(0);
	assert_int_equal(ours(0, 1) + ours(0, 999), 1);
	assert_int_equal(ours(0, 1) + ours(1, 1), 1);
	/* the other one is gone, and says so by its silence */
	now_ms += TURNS_OLD_MS;
	assert_true(ours(0, 1));
	assert_true(ours(0, 999));
}

static void
what_is_left_over_is_not_scarce(void **state)
{
	(void)state;
	enter(0, 5);
	now_ms += 1000;
	tell(0);
	assert_false(turns_is_scarce(workers[0], NAME, now_ms)); /* it waits alone */
	enter(1, 1);
	now_ms += 1000;
	tell(1);
	tell(0);
	assert_true(turns_is_scarce(workers[0], NAME, now_ms));
	assert_true(turns_is_scarce(workers[1], NAME, now_ms));
	assert_false(turns_is_scarce(workers[2], NAME, now_ms));
	turns_left_over(workers[0], NAME, true);
	assert_false(turns_is_scarce(workers[0], NAME, now_ms));
	turns_left_over(workers[0], NAME, false);
	assert_true(turns_is_scarce(workers[0], NAME, now_ms));
	/* who waits there for a moment only is served at once whenever it comes */
	turns_leave(workers[1], NAME, now_ms + 1);
	now_ms += 1000;
	tell(1);
	assert_false(turns_is_scarce(workers[0], NAME, now_ms));
}

static void
who_took_anothers_rests_by_the_size_of_its_part(void **state)
{
	(void)state;
	enter(0, 1);
	enter(1, 3);
	now_ms += 1000;
	tell(0);
	turns_rest(workers[0], NAME, 20, now_ms); /* it is alone, as far as it knows */
	assert_false(turns_rests(workers[0], NAME, now_ms));
	tell(1);
	now_ms += 1000;
	tell(0);
	tell(1);
	turns_rest(workers[0], NAME, 20, now_ms); /* a quarter */
	assert_true(turns_rests(workers[0], NAME, now_ms + 79));
	assert_false(turns_rests(workers[0], NAME, now_ms + 80));
	turns_rest(workers[1], NAME, 20, now_ms);
	assert_true(turns_rests(workers[1], NAME, now_ms + 25));
	assert_false(turns_rests(workers[1], NAME, now_ms + 27));
	turns_rest(workers[0], NAME, 900, now_ms); /* bounded */
	assert_false(turns_rests(workers[0], NAME, now_ms + TURNS_REST_MS));
	turns_rest(workers[2], NAME, 20, now_ms); /* nobody waits there */
	assert_false(turns_rests(workers[2], NAME, now_ms));
}

static void
what_nobody_waits_for_any_more_is_forgotten(void **state)
{
	(void)state;
	enter(0, 1);
	turns_leave(workers[0], NAME, now_ms);
	turns_leave(workers[0], NAME, now_ms); /* one too many changes nothing */
	assert_int_equal(tell(0), 0);	       /* it was there for no time */
	now_ms += TURNS_OLD_MS - 1;
	assert_int_equal(tell(0), 0);
	assert_true(turns_any(workers[0]));
	now_ms++;
	tell(0);
	assert_false(turns_any(workers[0]));
}

static void
messages_may_say_anything(void **state)
{
	static const char *const said[] = {"", " ", ":", "00c0ffee00c0ffee",
	    "00c0ffee00c0ffee:", "00c0ffee00c0ffee:-1", "00c0ffee00c0ffee:0",
	    "00c0ffee00c0ffee:1000001", "00c0ffee00c0ffee:99999999999999999999",
	    "c0ffee:5", "00c0ffee00c0ffeg:5", "1111111111111111:5"};
	char text[64], who[16];

	(void)state;
	enter(0, 1);
	now_ms += 1000;
	tell(0);
	for (size_t i = 0; i < sizeof(said) / sizeof(*said); i++) {
		snprintf(text, sizeof(text), "%s", said[i]);
		turns_told(workers[0], "other", text, now_ms);
		assert_false(turns_is_scarce(workers[0], NAME, now_ms));
		assert_true(ours(0, 1) && ours(0, 999));
	}
	/* any number of workers, each with the most that one may say */
	for (int i = 0; i < 2 * TURNS_MATES; i++) {
		snprintf(who, sizeof(who), "w%d", i);
		snprintf(text, sizeof(text), "00c0ffee00c0ffee:1000000");
		turns_told(workers[0], who, text, now_ms);
	}
	assert_true(turns_is_scarce(workers[0], NAME, now_ms));
	assert_false(ours(0, 1) && ours(0, 999));
}

static void
things_to_wait_for_are_bounded(void **state)
{
	struct strbuf text;
	size_t told;

	(void)state;
	for (uint64_t name = 0; name < TURNS_CROWDS + 10; name++)
		turns_enter(workers[0], name, now_ms);
	for (uint64_t name = 0; name < TURNS_CROWDS + 10; name++)
		turns_enter(workers[1], name, now_ms);
	now_ms += 1000;
	strbuf_init(&text, 1 << 20);
	told = turns_tell(workers[0], &text, now_ms);
	assert_int_equal(told, TURNS_TOLD);
	assert_false(strbuf_failed(&text));
	strbuf_fini(&text);
	/* the rest goes on without turns */
	assert_true(turns_is_ours(workers[0], TURNS_CROWDS + 5, UINT32_MAX, now_ms));
	for (uint64_t name = 0; name < TURNS_CROWDS + 10; name++)
		turns_leave(workers[0], name, now_ms);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(each_has_the_part_of_those_who_wait_there),
	    TEST(who_waits_half_of_the_time_counts_half),
	    TEST(who_is_alone_or_unheard_looks_at_every_hint),
	    TEST(what_is_left_over_is_not_scarce),
	    TEST(who_took_anothers_rests_by_the_size_of_its_part),
	    TEST(what_nobody_waits_for_any_more_is_forgotten),
	    TEST(messages_may_say_anything),
	    TEST(things_to_wait_for_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
