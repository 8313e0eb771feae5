/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * histogram.c - latencies in fixed memory; see histogram.h.
 *
 * Values below 128 microseconds have a bucket each.  Above, a power of two is divided
 * into 64 equal steps, so that a bucket is never wider than 1/64 of its values.
 */
#include "cli/histogram.h"

#include <string.h>

#define STEP_BITS 6 /* log2 of HISTOGRAM_STEPS */

static size_t
bucket_of(uint64_t us)
{
	unsigned top, shift;
	size_t bucket;

	if (us < 2 * HISTOGRAM_STEPS)
		return (size_t)us;
	top = 63 - (unsigned)__builtin_clzll(us);
	shift = top - STEP_BITS;
	bucket = (size_t)shift * HISTOGRAM_STEPS + (size_t)(us >> shift);
	return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/* the largest value that falls into the bucket */
static int64_t
bucket_end(size_t bucket)
{
	size_t shift;

	if (bucket < 2 * HISTOGRAM_STEPS)
		return (int64_t)bucket;
	shift = bucket / HISTOGRAM_STEPS - 1;
	return (int64_t)((bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS + 1) << shift) - 1;
}

void
histogram_init(struct histogram *h)
{
	memset(h, 0, sizeof(*h));
}

void
histogram_add(struct histogram *h, int64_t us)
{
	if (us < 0)
		us = 0;
	if (h->count == 0 || us < h->min_us)
		h->min_us = us;
	if (us > h->max_us)
		h->max_us = us;
	h->count++;
	h->sum_us += (uint64_t)us;
	h->buckets[bucket_of((uint64_t)us)]++;
}

int64_t
histogram_quantile(const struct histogram *h, double share)
{
	uint64_t seen = 0, wanted;
	int64_t end;

	if (h->count == 0)
		return 0;
	wanted = (uint64_t)(share * (double)h->count);
	if ((double)wanted < share * (double)h->count)
		wanted++;
	if (wanted < 1)
		wanted = 1;
	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen >= wanted) {
			end = bucket_end(i);
			return end < h->max_us ? end : h->max_us;
		}
	}
	return h->max_us;
}

uint64_t
histogram_below_power(const struct histogram *h, unsigned power)
{
	size_t end = power < 64 ? bucket_of(UINT64_C(1) << power) : HISTOGRAM_BUCKETS;
	uint64_t n = 0;

	for (size_t i = 0; i < end; i++)
		n += h->buckets[i];
	return n;
}

double
histogram_mean(const struct histogram *h)
{
	return h->count == 0 ? 0.0 : (double)h->sum_us / (double)h->count;
}
