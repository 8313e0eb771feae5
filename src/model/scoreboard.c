/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scoreboard.c - the shared page by which a node's processes know of each other.
 *
 * One anonymous shared mapping, made by the master before the first fork; every process
 * of the node sees the same bytes at the same address.  The kernel hands it out zeroed,
 * which is what "free" means in every field.  Who writes what is in scoreboard.h; here
 * are only the making of it and the few readings that need more than one load.
 */
#include "model/scoreboard.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

_Static_assert(
    ATOMIC_LLONG_LOCK_FREE == 2, "counters are shared between processes without locks");

static const struct counter_row {
	const char *name, *kind, *help;
} counter_rows[SCORE_COUNTER_COUNT] = {
#define ROW(name, kind, help) [SCORE_##name] = {#name, kind, help},
    SCORE_COUNTERS(ROW)
#undef ROW
};

static const char *const state_names[SCORE_STATE_COUNT] = {
    [SCORE_FREE] = "free",
    [SCORE_STARTING] = "starting",
    [SCORE_READY] = "ready",
    [SCORE_DRAINING] = "draining",
    [SCORE_LINGERING] = "lingering",
};

static const char *const mode_names[NODE_MODE_COUNT] = {
    [NODE_MODE_WORK] = "running",
    [NODE_MODE_IDLE] = "maintenance",
    [NODE_MODE_DRAIN] = "draining",
    [NODE_MODE_LEAVE] = "stopping",
};

struct scoreboard *
scoreboard_create(struct err *err)
{
	struct scoreboard *sb = mmap(NULL, sizeof(*sb), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (sb == MAP_FAILED) {
		err_errno(err, errno, "shared memory of %zu bytes", sizeof(*sb));
		return NULL;
	}
	random_bytes(sb->node, sizeof(sb->node));
	str_hex(sb->node_text, sb->node, sizeof(sb->node));
	sb->master_pid = getpid();
	sb->started_wall_us = clock_wall_us();
	return sb;
}

void
scoreboard_free(struct scoreboard *sb)
{
	if (sb != NULL)
		(void)munmap(sb, sizeof(*sb));
}

void
score_set_uuid(_Atomic uint64_t to[2], const struct uuid *id)
{
	uint64_t half[2];

	memcpy(half, id->b, sizeof(half));
	/* the second half last: a reader that sees it not 0 sees the first one too */
	atomic_store_explicit(&to[0], half[0], memory_order_relaxed);
	atomic_store_explicit(&to[1], half[1], memory_order_release);
}

bool
score_get_uuid(_Atomic uint64_t from[2], struct uuid *id)
{
	uint64_t half[2];

	half[1] = atomic_load_explicit(&from[1], memory_order_acquire);
	half[0] = atomic_load_explicit(&from[0], memory_order_relaxed);
	if (half[0] == 0 && half[1] == 0)
		return false;
	memcpy(id->b, half, sizeof(half));
	return true;
}

static bool
is_counter(enum score_counter c)
{
	return counter_rows[c].kind[0] == 'c';
}

uint64_t
score_total(const struct scoreboard *sb, enum score_counter c)
{
	/* (C11 has no atomic load from a pointer to const) */
	struct scoreboard *board = (struct scoreboard *)(uintptr_t)sb;
	uint64_t sum = 0;

	for (size_t i = 0; i < SCORE_SLOTS; i++)
		sum += atomic_load_explicit(
		    &board->slots[i].counters[c], memory_order_relaxed);
	return sum + atomic_load_explicit(&board->retired[c], memory_order_relaxed);
}

void
score_retire(struct scoreboard *sb, struct score_slot *slot)
{
	for (size_t c = 0; c < SCORE_COUNTER_COUNT; c++) {
		uint64_t n = atomic_exchange_explicit(
		    &slot->counters[c], 0, memory_order_relaxed);

		if (is_counter((enum score_counter)c))
			atomic_fetch_add_explicit(
			    &sb->retired[c], n, memory_order_relaxed);
	}
}

const char *
score_counter_name(enum score_counter c)
{
	return counter_rows[c].name;
}

const char *
score_counter_kind(enum score_counter c)
{
	return counter_rows[c].kind;
}

const char *
score_counter_help(enum score_counter c)
{
	return counter_rows[c].help;
}

const char *
score_state_name(enum score_state state)
{
	return state < SCORE_STATE_COUNT ? state_names[state] : "unknown";
}

const char *
node_mode_name(enum node_mode mode)
{
	return mode < NODE_MODE_COUNT ? mode_names[mode] : "unknown";
}
