/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_histogram.c - latencies keep their order and their size to 1.6 %.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/histogram.h"

static struct histogram h;

static int
fresh(void **state)
{
	(void)state;
	histogram_init(&h);
	return 0;
}

static void
an_empty_one_says_zero(void **state)
{
	(void)state;
	assert_int_equal(histogram_quantile(&h, 0.5), 0);
	assert_true(histogram_mean(&h) == 0.0);
}

static void
one_value_is_every_quantile(void **state)
{
	(void)state;
	histogram_add(&h, 123456);
	assert_int_equal(histogram_quantile(&h, 0.0), 123456);
	assert_int_equal(histogram_quantile(&h, 0.5), 123456);
	assert_int_equal(histogram_quantile(&h, 1.0), 123456);
}

static void
small_values_are_exact(void **state)
{
	(void)state;
	for (int64_t us = 1; us <= 100; us++)
		histogram_add(&h, us);
	assert_int_equal(histogram_quantile(&h, 0.5), 50);
	assert_int_equal(histogram_quantile(&h, 0.9), 90);
	assert_int_equal(histogram_quantile(&h, 0.99), 99);
	assert_int_equal(histogram_quantile(&h, 1.0), 100);
	assert_int_equal(h.min_us, 1);
	assert_int_equal(h.max_us, 100);
	assert_true(histogram_mean(&h) == 50.5);
}

static void
a_bucket_is_never_wider_than_a_sixty_fourth(void **state)
{
	(void)state;
	for (int64_t us = 1; us < INT64_C(1) << 40; us = us + us / 7 + 1) {
		int64_t said;

		histogram_init(&h);
		histogram_add(&h, us);
		histogram_add(
		    &h, us * 4); /* so that the maximum does not cut the answer */
		said = histogram_quantile(&h, 0.5);
		assert_true(said >= us);
		assert_true(said - us <= us / 64);
	}
}

static void
quantiles_do_not_fall(void **state)
{
	int64_t before = 0, now;

	(void)state;
	for (int64_t i = 0; i < 10000; i++)
		histogram_add(&h, i * i % 7919 * 13);
	for (int share = 0; share <= 1000; share++) {
		now = histogram_quantile(&h, share / 1000.0);
		assert_true(now >= before);
		before = now;
	}
	assert_int_equal(before, h.max_us);
}

static void
powers_of_two_divide_exactly(void **state)
{
	(void)state;
	for (int64_t us = 0; us < 5000; us++)
		histogram_add(&h, us);
	for (unsigned power = 0; power <= 12; power++)
		assert_int_equal(histogram_below_power(&h, power), 1U << power);
	assert_int_equal(histogram_below_power(&h, 13), 5000);
	histogram_add(&h, INT64_MAX);
	assert_int_equal(histogram_below_power(&h, 41), 5000);
	assert_int_equal(histogram_below_power(&h, 64), 5001);
}

static void
values_out_of_range_are_counted_at_the_ends(void **state)
{
	(void)state;
	histogram_add(&h, -5);
	histogram_add(&h, INT64_MAX);
	assert_int_equal(h.count, 2);
	assert_int_equal(h.min_us, 0);
	assert_int_equal(histogram_quantile(&h, 0.5), 0);
	assert_int_equal(h.max_us, INT64_MAX);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(an_empty_one_says_zero, fresh),
	    cmocka_unit_test_setup(one_value_is_every_quantile, fresh),
	    cmocka_unit_test_setup(small_values_are_exact, fresh),
	    cmocka_unit_test_setup(a_bucket_is_never_wider_than_a_sixty_fourth, fresh),
	    cmocka_unit_test_setup(quantiles_do_not_fall, fresh),
	    cmocka_unit_test_setup(powers_of_two_divide_exactly, fresh),
	    cmocka_unit_test_setup(values_out_of_range_are_counted_at_the_ends, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
