/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * until.h - turns a loop until something holds, which need not be an event of its own.
 */
#ifndef UNIT_UNTIL_H
#define UNIT_UNTIL_H

#include <event2/event.h>

#include "base/clock.h"
#include "event/loop.h"

/* the loop comes round so often, whatever happens in it */
#define UNTIL_TICK_MS 20

static inline void
until_tick(void *arg)
{
	loop_timer_start_ms(*(struct loop_timer **)arg, UNTIL_TICK_MS);
}

#define UNTIL_WITHIN(loop, patience_ms, condition)                                     \
	do {                                                                           \
		int64_t until_limit = clock_mono_ms() + (patience_ms);                 \
		struct loop_timer *until_timer =                                       \
		    loop_timer_create(loop, until_tick, &until_timer);                 \
		loop_timer_start_ms(until_timer, UNTIL_TICK_MS);                       \
		while (!(condition) && clock_mono_ms() < until_limit)                  \
			event_base_loop(loop_base(loop), EVLOOP_ONCE);                 \
		loop_timer_free(until_timer);                                          \
		assert_true(condition);                                                \
	} while (0)

#endif
