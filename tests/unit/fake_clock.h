/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_clock.h - the monotonic clock as a test wants it, for us and for libevent.
 *
 * The program defines clock_gettime() itself, in place of the C library's.  Time in
 * which this machine did something else is left out, so that what goes by how long
 * things take sees what they take where nothing else runs; and a test may let time
 * pass at once.  Every turn of a loop asks for it.
 */
#ifndef TESTS_FAKE_CLOCK_H
#define TESTS_FAKE_CLOCK_H

#include <stdint.h>

void fake_clock_pass_ms(int64_t ms); /* timers are due at the next turn */

#endif
