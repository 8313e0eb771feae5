/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_clock.c - see fake_clock.h.
 */
#include "fake_clock.h"

#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)
#define SKIP_NS	  2000000 /* longer between two looks was the machine's doing */

static int64_t last_ns, ahead_ns;

void
fake_clock_pass_ms(int64_t ms)
{
	ahead_ns += ms * 1000000;
}

int
clock_gettime(clockid_t id, struct timespec *ts)
{
	bool monotonic = id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE;
	int64_t now_ns;

	/* (one for both: what is coarse would go back) */
	if (syscall(SYS_clock_gettime, monotonic ? CLOCK_MONOTONIC : id, ts) != 0)
		return -1;
	if (!monotonic)
		return 0;
	now_ns = (int64_t)ts->tv_sec * SECOND_NS + ts->tv_nsec;
	if (last_ns != 0 && now_ns - last_ns > SKIP_NS)
		ahead_ns -= now_ns - last_ns - SKIP_NS;
	last_ns = now_ns;
	now_ns += ahead_ns;
	ts->tv_sec = now_ns / SECOND_NS;
	ts->tv_nsec = now_ns % SECOND_NS;
	return 0;
}
