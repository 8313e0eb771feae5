/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * histogram.h - latencies counted in buckets of at most 1.6 % width, in fixed memory.
 */
#ifndef CLI_HISTOGRAM_H
#define CLI_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_STEPS 64 /* buckets for each power of two */
#define HISTOGRAM_BUCKETS                                                              \
	(36 * HISTOGRAM_STEPS) /* to 2^41 microseconds, some 25 days */

struct histogram {
	uint64_t count;
	uint64_t sum_us;
	int64_t min_us, max_us;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_init(struct histogram *h);
/* negative counts as 0; beyond the last bucket as the last */
void histogram_add(struct histogram *h, int64_t us);
/*
 * The smallest value that at least this share of the values does not exceed, rounded up
 * to its bucket's end, never above the maximum; share 0 to 1; 0 when empty.
 */
int64_t histogram_quantile(const struct histogram *h, double share);
/* how many are below 2^power microseconds: powers are edges of buckets, so it is exact
 */
uint64_t histogram_below_power(const struct histogram *h, unsigned power);
double histogram_mean(const struct histogram *h);

#endif
