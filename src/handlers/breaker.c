/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * breaker.c - when an endpoint that does not work is left alone; see breaker.h.
 */
#include "handlers/breaker.h"

enum breaker_state
breaker_state(struct breaker *b, int64_t now_ms)
{
	if (b->state == BREAKER_OPEN && now_ms >= b->until_ms)
		b->state = BREAKER_HALF_OPEN;
	return b->state;
}

bool
breaker_worked(struct breaker *b)
{
	bool changed = b->state != BREAKER_CLOSED;

	b->state = BREAKER_CLOSED;
	b->in_a_row = 0;
	b->last_ms = 0;
	return changed;
}

static void
open_for(struct breaker *b, int64_t now_ms, int64_t pause_ms)
{
	b->state = BREAKER_OPEN;
	b->until_ms = now_ms + pause_ms;
	b->last_ms = pause_ms;
	b->in_a_row = 0;
}

bool
breaker_fault(struct breaker *b, int64_t now_ms)
{
	int64_t pause_ms = b->last_ms > 0 ? 2 * b->last_ms : b->pause_ms;

	if (b->faults == 0 && b->state == BREAKER_CLOSED)
		return false;
	if (b->state == BREAKER_OPEN)
		return false; /* of a request that went out before */
	if (b->state == BREAKER_CLOSED && ++b->in_a_row < b->faults)
		return false;
	if (pause_ms > BREAKER_PAUSE_MOST_MS)
		pause_ms = BREAKER_PAUSE_MOST_MS;
	open_for(b, now_ms, pause_ms);
	return true;
}

bool
breaker_trip(struct breaker *b, int64_t now_ms, int64_t pause_ms)
{
	bool changed = b->state != BREAKER_OPEN;

	open_for(b, now_ms, pause_ms);
	return changed;
}

const char *
breaker_state_name(enum breaker_state state)
{
	switch (state) {
	case BREAKER_CLOSED:
		return "closed";
	case BREAKER_OPEN:
		return "open";
	case BREAKER_HALF_OPEN:
		return "half open";
	}
	return "unknown";
}
