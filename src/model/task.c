/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * task.c - the table of legal transitions; see task.h.
 *
 * A forgotten cell must mean forbidden, and state 0 is a real one, so cells hold
 * the next state plus one.
 */
#include "model/task.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define TO(state) ((state) + 1)

static const uint8_t transitions[TASK_STATE_COUNT][TASK_EVENT_COUNT] = {
    [TASK_SCHEDULED] =
	{
	    [TASK_EV_DUE] = TO(TASK_QUEUED),
	    [TASK_EV_CANCELLED] = TO(TASK_CANCELLED),
	    [TASK_EV_EXPIRED] = TO(TASK_EXPIRED),
	},
    [TASK_QUEUED] =
	{
	    [TASK_EV_CLAIMED] = TO(TASK_RUNNING),
	    [TASK_EV_CANCELLED] = TO(TASK_CANCELLED),
	    [TASK_EV_EXPIRED] = TO(TASK_EXPIRED),
	},
    [TASK_RUNNING] =
	{
	    [TASK_EV_SUCCEEDED] = TO(TASK_SUCCEEDED),
	    [TASK_EV_RETRY] = TO(TASK_SCHEDULED),
	    [TASK_EV_EXHAUSTED] = TO(TASK_FAILED),
	    [TASK_EV_LOST] = TO(TASK_QUEUED),
	    [TASK_EV_CANCELLED] = TO(TASK_CANCELLED),
	},
    /* by hand only; a task that succeeded is done for good */
    [TASK_FAILED] =
	{
	    [TASK_EV_AGAIN] = TO(TASK_QUEUED),
	},
    [TASK_CANCELLED] =
	{
	    [TASK_EV_AGAIN] = TO(TASK_QUEUED),
	},
    [TASK_EXPIRED] =
	{
	    [TASK_EV_AGAIN] = TO(TASK_QUEUED),
	},
};

static const char *const state_names[TASK_STATE_COUNT] = {
    [TASK_SCHEDULED] = "scheduled",
    [TASK_QUEUED] = "queued",
    [TASK_RUNNING] = "running",
    [TASK_SUCCEEDED] = "succeeded",
    [TASK_FAILED] = "failed",
    [TASK_CANCELLED] = "cancelled",
    [TASK_EXPIRED] = "expired",
};

enum task_state
task_next(enum task_state state, enum task_event event)
{
	uint8_t cell;

	if ((unsigned)state >= TASK_STATE_COUNT || (unsigned)event >= TASK_EVENT_COUNT)
		return TASK_FORBIDDEN;
	cell = transitions[state][event];
	return cell == 0 ? TASK_FORBIDDEN : (enum task_state)(cell - 1);
}

bool
task_is_final(enum task_state state)
{
	return state >= TASK_SUCCEEDED && state < TASK_STATE_COUNT;
}

const char *
task_state_name(enum task_state state)
{
	return (unsigned)state < TASK_STATE_COUNT ? state_names[state] : "unknown";
}

int
task_state_parse(const char *name, enum task_state *state)
{
	for (unsigned i = 0; i < TASK_STATE_COUNT; i++) {
		if (str_eq(name, state_names[i])) {
			*state = (enum task_state)i;
			return 0;
		}
	}
	return -1;
}

int64_t
task_created_us(const struct uuid *id)
{
	int64_t ms = 0;

	for (int i = 0; i < 6; i++)
		ms = ms << 8 | id->b[i];
	return ms * 1000;
}

void
task_first_id(int64_t wall_us, struct uuid *id)
{
	uint64_t ms = wall_us > 0 ? (uint64_t)(wall_us + 999) / 1000 : 0;

	memset(id, 0, sizeof(*id));
	for (int i = 5; i >= 0; i--, ms >>= 8)
		id->b[i] = (uint8_t)ms;
}

void
owner_make(const uint8_t node[6], unsigned worker, struct uuid *owner)
{
	memcpy(owner->b, node, 6);
	owner->b[6] = (uint8_t)(worker >> 8);
	owner->b[7] = (uint8_t)worker;
	random_bytes(owner->b + 8, 8);
}

void
lease_make(struct uuid *lease)
{
	random_bytes(lease->b, sizeof(lease->b));
	owner_mark_lease(lease);
}

void
owner_mark_lease(struct uuid *owner)
{
	owner->b[6] = owner->b[7] = 0xff;
}

bool
owner_is_lease(const struct uuid *owner)
{
	return owner->b[6] == 0xff && owner->b[7] == 0xff;
}

char *
owner_worker_text(const struct uuid *owner, char buf[OWNER_WORKER_SIZE])
{
	char node[13];

	if (owner_is_lease(owner)) {
		snprintf(buf, OWNER_WORKER_SIZE, "lease");
		return buf;
	}
	str_hex(node, owner->b, 6);
	snprintf(buf, OWNER_WORKER_SIZE, "%s-%u", node,
	    (unsigned)(owner->b[6] << 8 | owner->b[7]));
	return buf;
}

char *
owner_text(const struct uuid *owner, char buf[OWNER_TEXT_SIZE])
{
	char worker[OWNER_WORKER_SIZE], drawn[17];

	if (owner_is_lease(owner)) {
		snprintf(buf, OWNER_TEXT_SIZE, "lease");
		return buf;
	}
	str_hex(drawn, owner->b + 8, 8);
	snprintf(
	    buf, OWNER_TEXT_SIZE, "%s-%s", owner_worker_text(owner, worker), drawn);
	return buf;
}
