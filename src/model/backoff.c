/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backoff.c - how long a task rests before its next attempt; see backoff.h.
 */
#include "model/backoff.h"

int64_t
backoff_ms(int failures_before, uint64_t random)
{
	int64_t n = failures_before < 0	     ? 0
		    : failures_before > 1000 ? 1000
					     : failures_before;
	int64_t ms = (n * n * n * n + 15) * 1000;

	ms += (int64_t)(random % (uint64_t)(10000 * (n + 1)));
	return ms > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : ms;
}
