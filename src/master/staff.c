/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * staff.c - how many workers there are, and of which configuration.
 *
 * The newest configuration gets as many as are wanted; when they have all that the
 * former ones have it takes over, and those leave.  A worker that has grown or served
 * long is replaced, one at a time.  Only decisions: who starts, tells and buries
 * workers is workers.c.
 */
#include "master/node.h"

#include "base/log.h"

#define WORKERS_MAX 64

/* workers of g that are there to stay */
static int
count_wanted(const struct master *m, const struct generation *g)
{
	int n = 0;

	for (int i = 0; i < SCORE_SLOTS; i++)
		n += m->workers[i].gen == g && m->workers[i].slot.wanted &&
		     i != m->recycle_old;
	return n;
}

static void
retire(struct master *m, size_t i, const char *why)
{
	worker_leave(m, i, WORKER_RETIRE, why,
	    m->workers[i].gen->settings->node_shutdown_timeout_ms + STOP_MARGIN_MS);
}

void
staff_keep_count(struct master *m)
{
	int more = m->requests.more_workers, n;

	m->requests.more_workers = 0;
	if (m->stop != STOP_NO)
		return;
	if (more != 0) {
		m->wanted_workers += more;
		if (m->wanted_workers < 1)
			m->wanted_workers = 1;
		if (m->wanted_workers > WORKERS_MAX)
			m->wanted_workers = WORKERS_MAX;
		log_info(
		    NULL, "number of workers changed", "workers=%d", m->wanted_workers);
	}
	n = count_wanted(m, m->newest);
	for (; n < m->wanted_workers; n++)
		if (worker_want(m, m->newest) == NO_SLOT)
			return; /* when old ones have left */
	for (int i = SCORE_SLOTS - 1; i >= 0 && n > m->wanted_workers; i--) {
		const struct worker *w = &m->workers[i];

		if (w->gen != m->newest || !w->slot.wanted || i == m->recycle_old ||
		    i == m->recycle_new)
			continue;
		retire(m, (size_t)i, "one worker less was asked for");
		n--;
	}
}

static int
count_ready(const struct master *m, const struct generation *g)
{
	int n = 0;

	for (size_t i = 0; i < SCORE_SLOTS; i++)
		n += m->workers[i].gen == g && m->workers[i].slot.state == SLOT_READY;
	return n;
}

int
count_serving(const struct master *m, const struct generation *g)
{
	int n = 0;

	for (size_t i = 0; i < SCORE_SLOTS; i++)
		n += m->workers[i].gen == g && m->workers[i].slot.state == SLOT_READY &&
		     atomic_load(&m->board->slots[i].serving) != 0 &&
		     atomic_load(&m->board->slots[i].database_up) != 0;
	return n;
}

int
count_with_redis(const struct master *m, const struct generation *g)
{
	int n = 0;

	for (size_t i = 0; i < SCORE_SLOTS; i++)
		n += m->workers[i].gen == g && m->workers[i].slot.state == SLOT_READY &&
		     atomic_load(&m->board->slots[i].redis_up) != 0;
	return n;
}

/* why the newest generation may not take over yet; NULL: it may.  All of it are ready;
 * and where the old ones have a store they have it too: a configuration that leads to
 * none must not take over from one that does */
static const char *
missing(const struct master *m)
{
	const struct generation *g = m->newest, *old = m->serving;

	if (count_ready(m, g) < m->wanted_workers)
		return "not all of them listen";
	if (old != NULL && count_serving(m, old) > 0 &&
	    count_serving(m, g) < m->wanted_workers)
		return "not all of them have PostgreSQL, which the old ones have: look "
		       "at what this configuration says in [database]";
	if (old != NULL && count_with_redis(m, old) > 0 &&
	    count_with_redis(m, g) < m->wanted_workers)
		return "not all of them have Redis, which the old ones have: look at "
		       "what this configuration says in [redis]";
	return NULL;
}

/* workers that linger are bounded: of those over it nothing is kept for idle clients */
static void
bound_lingering(struct master *m)
{
	int n = 0;

	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		const struct worker *w = &m->workers[i];

		if (w->pid != 0 && w->lingers && !w->hurried &&
		    ++n > GENERATIONS_MAX * m->wanted_workers)
			worker_hurry(m, i);
	}
}

void
staff_take_over(struct master *m)
{
	const char *why = NULL;
	struct generation *g;

	if (m->stop != STOP_NO)
		return;
	bound_lingering(m);
	if (!m->newest->established)
		why = missing(m);
	if (why != NULL && m->serving != NULL && m->newest != m->serving &&
	    m->now_ms - m->newest->since_ms >=
		2 * m->newest->settings->node_start_timeout_ms) {
		log_error(NULL, "the new workers do not get ready",
		    "generation=%u reason=\"%s\"", m->newest->number, why);
		master_give_up(m, m->newest);
	}
	if (!m->newest->established && why == NULL) {
		m->newest->established = true;
		m->serving = m->newest;
		log_info(NULL, "node ready", "node=%s generation=%u workers=%d",
		    m->board->node_text, m->newest->number, m->wanted_workers);
	}
	TAILQ_FOREACH (g, &m->generations, link) {
		/* one that a later reload overtook before it was ready does not wait
		 * for that one */
		if (g == m->newest || g->retired ||
		    (g->established && !m->newest->established))
			continue;
		g->retired = true;
		for (size_t i = 0; i < SCORE_SLOTS; i++)
			if (m->workers[i].gen == g)
				retire(m, i, "a new configuration took over");
	}
}

static const char *
recycling_reason(const struct master *m, size_t i)
{
	const struct worker *w = &m->workers[i];
	const struct settings *s = w->gen->settings;
	struct score_slot *score = &m->board->slots[i];
	uint64_t requests = atomic_load(&score->counters[SCORE_http_requests_total]);
	uint64_t memory = atomic_load(&score->counters[SCORE_memory_bytes]);

	if (s->node_max_requests > 0 && requests >= (uint64_t)s->node_max_requests)
		return "max_requests reached";
	if (s->node_max_memory_bytes > 0 &&
	    memory >= (uint64_t)s->node_max_memory_bytes)
		return "max_memory reached";
	return NULL;
}

static void
recycle_begin(struct master *m)
{
	for (int i = 0; i < SCORE_SLOTS; i++) {
		const struct worker *w = &m->workers[i];
		const char *why;

		if (w->gen != m->serving || w->slot.state != SLOT_READY)
			continue;
		why = recycling_reason(m, (size_t)i);
		if (why == NULL)
			continue;
		m->recycle_new = worker_want(m, m->serving);
		if (m->recycle_new == NO_SLOT)
			return;
		m->recycle_old = i;
		log_info(NULL, "replacing a worker",
		    "worker=%d successor=%d reason=\"%s\"", i, m->recycle_new, why);
		return;
	}
}

void
staff_recycle(struct master *m)
{
	struct slot *old;

	if (m->stop != STOP_NO)
		return;
	if (m->recycle_old == NO_SLOT) {
		if (m->newest == m->serving)
			recycle_begin(m);
		return;
	}
	old = &m->workers[m->recycle_old].slot;
	if (old->state == SLOT_WAITING)
		/* it died meanwhile: its successor is there already */
		(void)slot_on_leave(old, "", 0, m->now_ms);
	else if (old->wanted && m->workers[m->recycle_new].slot.state == SLOT_READY) {
		const char *why = recycling_reason(m, (size_t)m->recycle_old);

		retire(m, (size_t)m->recycle_old, why != NULL ? why : "replaced");
	}
	if (old->state == SLOT_EMPTY || m->workers[m->recycle_old].lingers)
		m->recycle_old = m->recycle_new = NO_SLOT;
}
