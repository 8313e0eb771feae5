/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rate.c - rates as people write them; see rate.h.
 */
#include "model/rate.h"

#include <string.h>

#include "base/str.h"
#include "base/units.h"

int
rate_check(int64_t limit, int64_t per_ms, struct err *err)
{
	if (limit < 1 || limit > RATE_MAX)
		return err_set(err, ERR_INVALID,
		    "a rate is from 1 to %d tasks in its period", RATE_MAX);
	if (per_ms < RATE_PER_MIN_MS || per_ms > RATE_PER_MAX_MS)
		return err_set(
		    err, ERR_INVALID, "the period of a rate is from 1s to 1d");
	return 0;
}

int
rate_parse(const char *text, struct rate *rate, struct err *err)
{
	const char *slash = strchr(text, '/');
	char number[16];
	int64_t limit, per_ms;
	size_t len;

	if (text[0] == '\0') {
		*rate = (struct rate){0, 0};
		return 0;
	}
	len = slash != NULL ? (size_t)(slash - text) : 0;
	if (len == 0 || len >= sizeof(number))
		return err_set(
		    err, ERR_INVALID, "'%.40s' is not a rate such as 100/1s", text);
	memcpy(number, text, len);
	number[len] = '\0';
	if (str_to_i64(number, &limit) != 0)
		return err_set(
		    err, ERR_INVALID, "'%.40s' is not a rate such as 100/1s", text);
	if (units_duration_ms(slash + 1, &per_ms, err) != 0 ||
	    rate_check(limit, per_ms, err) != 0)
		return -1;
	*rate = (struct rate){(int32_t)limit, (int32_t)per_ms};
	return 0;
}
