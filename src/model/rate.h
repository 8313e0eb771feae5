/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rate.h - how many tasks may start in a period: "100/1s".
 */
#ifndef MODEL_RATE_H
#define MODEL_RATE_H

#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"

#define RATE_MAX	1000000
#define RATE_PER_MIN_MS 1000 /* the feeder looks each second at least */
#define RATE_PER_MAX_MS (24LL * 3600 * 1000)
#define LIMIT_MAX	100000 /* of tasks at a time */

struct rate {
	int32_t limit; /* 0: none */
	int32_t per_ms;
};

/* a whole number, a slash and a duration of units.h; "" is none */
int rate_parse(const char *text, struct rate *rate, struct err *err) ATTR_CHECK;
int rate_check(int64_t limit, int64_t per_ms, struct err *err) ATTR_CHECK;

#endif
