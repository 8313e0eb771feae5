/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backoff.h - how long a task rests before its next attempt.
 */
#ifndef MODEL_BACKOFF_H
#define MODEL_BACKOFF_H

#include <stdint.h>

#define BACKOFF_MAX_MS (30LL * 86400 * 1000)

/*
 * n^4 + 15 seconds and a jitter of up to 10 (n + 1) seconds, where n counts the
 * failures before this one: 15 s, 16 s, 31 s, 96 s ... about 20 days over 25 attempts.
 * Never above BACKOFF_MAX_MS. random: any 64 random bits.
 */
int64_t backoff_ms(int failures_before, uint64_t random);

#endif
