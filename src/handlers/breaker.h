/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * breaker.h - when an endpoint that does not work is left alone.
 *
 *     closed      requests go; so many faults in a row open it
 *     open        none go, for a pause
 *     half open   one goes: if it works the breaker closes, else it opens for twice
 *                 as long, BREAKER_PAUSE_MOST_MS at most
 *
 * Pure: the caller brings the time, asks breaker_state when it has come, and keeps the
 * rule of the one request.
 */
#ifndef HANDLERS_BREAKER_H
#define HANDLERS_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#define BREAKER_PAUSE_MOST_MS (5LL * 60 * 1000)

enum breaker_state { BREAKER_CLOSED = 0, BREAKER_OPEN, BREAKER_HALF_OPEN };

struct breaker {
	/* set by the owner; faults 0: it never opens by itself */
	int64_t faults;	  /* in a row that open it */
	int64_t pause_ms; /* the first */
	/* its own */
	enum breaker_state state;
	int64_t in_a_row;
	int64_t until_ms; /* OPEN: until then */
	int64_t last_ms;  /* the length of the last pause; 0: none since it closed */
};

/* OPEN becomes HALF_OPEN here when its time has come */
enum breaker_state breaker_state(struct breaker *b, int64_t now_ms);
/* all three: true if the state changed */
bool breaker_worked(struct breaker *b);
bool breaker_fault(struct breaker *b, int64_t now_ms);
/* opens for so long, whatever was before */
bool breaker_trip(struct breaker *b, int64_t now_ms, int64_t pause_ms);
const char *breaker_state_name(enum breaker_state state);

#endif
