/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * announce.c - what the service manager is told: ready, reloading, stopping, alive.
 *
 * By level: what is true now is compared with what was said last.  The sign of life is
 * sent by decide() alone, and only while some worker's heart beats: a master that turns
 * over workers that are all stuck is no living node.
 *
 * A new master says nothing before the node is its, an old one nothing after.
 */
#include "config.h"
#include "master/node.h"

#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define FRESH_MS 5000 /* as /health has it */

static enum announced
truth(const struct master *m)
{
	if (m->stop != STOP_NO)
		return ANNOUNCED_STOPPING;
	if (m->serving == NULL)
		return ANNOUNCED_NOTHING;
	return m->newest != m->serving || m->requests.reload ? ANNOUNCED_RELOADING
							     : ANNOUNCED_READY;
}

/* as RELOADING=1 wants it: the same clock as systemd's */
static long long
monotonic_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (long long)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int
say(struct master *m, enum announced what, struct err *err)
{
	switch (what) {
	case ANNOUNCED_NOTHING:
		break;
	case ANNOUNCED_READY:
		/* (the first word of a new master names it too) */
		return notify_send(&m->notify, err,
		    "READY=1\nMAINPID=%ld\nSTATUS=node %s, %d workers, generation "
		    "%u%s%s",
		    (long)getpid(), m->board->node_text, m->wanted_workers,
		    m->newest->number, m->mode != NODE_MODE_WORK ? ", " : "",
		    m->mode != NODE_MODE_WORK ? node_mode_name(m->mode) : "");
	case ANNOUNCED_RELOADING:
		return notify_send(&m->notify, err,
		    "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=starting new workers",
		    monotonic_us());
	case ANNOUNCED_STOPPING:
		return notify_send(
		    &m->notify, err, "STOPPING=1\nSTATUS=running tasks end");
	}
	return 0;
}

static bool
any_fresh(const struct master *m)
{
	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		const struct slot *s = &m->workers[i].slot;

		if ((s->state == SLOT_READY || s->state == SLOT_LEAVING) &&
		    m->now_ms - s->alive_ms <= FRESH_MS)
			return true;
	}
	return false;
}

static void
watchdog(struct master *m)
{
	struct err err = ERR_INIT;

	if (m->notify.watchdog_ms == 0 || m->now_ms < m->watchdog_at_ms)
		return;
	m->watchdog_at_ms = m->now_ms + m->notify.watchdog_ms / 3;
	if (any_fresh(m) && notify_send(&m->notify, &err, "WATCHDOG=1") != 0)
		log_warn(
		    NULL, "no sign of life could be given", "reason=\"%s\"", err.text);
}

void
announce_turn(struct master *m)
{
	enum announced now;
	struct err err = ERR_INIT;

	if (m->notify.fd == -1 || m->before.waits)
		return;
	watchdog(m);
	now = truth(m);
	if (now == m->announced)
		return;
	/* a reload that was refused, or was over within a turn, is said as well */
	if (say(m, now, &err) != 0)
		log_warn(NULL, "the service manager was not told", "reason=\"%s\"",
		    err.text);
	m->announced = now;
}
