/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * span.c - durations and counts as people read them; see span.h.
 */
#include "cli/span.h"

#include <stdio.h>

#include "base/str.h"

char *
span_text(int64_t ms, char buf[SPAN_SIZE])
{
	long long s = (long long)(ms / 1000);

	if (ms < 0)
		str_copy(buf, SPAN_SIZE, "-");
	else if (ms < 1000)
		snprintf(buf, SPAN_SIZE, "%lldms", (long long)ms);
	else if (s < 100)
		snprintf(buf, SPAN_SIZE, "%lld.%llds", s, (long long)(ms % 1000) / 100);
	else if (s < 6000)
		snprintf(buf, SPAN_SIZE, "%lldm%02llds", s / 60, s % 60);
	else if (s < 48 * 3600)
		snprintf(buf, SPAN_SIZE, "%lldh%02lldm", s / 3600, s / 60 % 60);
	else if (s < 1000LL * 86400)
		snprintf(buf, SPAN_SIZE, "%lldd%02lldh", s / 86400, s / 3600 % 24);
	else
		snprintf(buf, SPAN_SIZE, "%lldd", s / 86400 % 100000);
	return buf;
}

static char *
scaled(double n, double step, char buf[SPAN_SIZE])
{
	static const char units[] = {'\0', 'k', 'M', 'G', 'T', 'P'};
	size_t unit = 0;

	if (!(n > 0))
		n = 0;
	/* what would be rounded to the next unit is in it */
	while (n >= step - 0.5 && unit + 1 < sizeof(units)) {
		n /= step;
		unit++;
	}
	if (unit == 0)
		snprintf(buf, SPAN_SIZE,
		    n < 9.95 && n != (double)(int)n ? "%.1f" : "%.0f", n);
	else
		snprintf(buf, SPAN_SIZE, n < 9.95 ? "%.1f%c" : "%.0f%c",
		    n < 9999 ? n : 9999, units[unit]);
	return buf;
}

char *
span_count(double n, char buf[SPAN_SIZE])
{
	return scaled(n, 1000, buf);
}

char *
span_bytes(int64_t bytes, char buf[SPAN_SIZE])
{
	return scaled((double)bytes, 1024, buf);
}
