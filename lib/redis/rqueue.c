/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rqueue.c - the commands of one connection that still owe somebody an answer.
 *
 * Deadlines never fall from one waiting command to the next: Redis answers in order, so
 * a command behind a blocking pop cannot be late before the pop is.  Hence only the
 * oldest needs to be watched.
 */
#include "redis/rqueue.h"

#include <assert.h>

#include "base/mem.h"

void
rqueue_init(struct rqueue *q)
{
	STAILQ_INIT(&q->waiting);
	STAILQ_INIT(&q->lost);
	STAILQ_INIT(&q->spare);
	q->count = 0;
	q->last_deadline_ms = 0;
}

void
rqueue_fini(struct rqueue *q)
{
	struct rcommand *c;

	assert(q->count == 0);
	while ((c = STAILQ_FIRST(&q->spare)) != NULL) {
		STAILQ_REMOVE_HEAD(&q->spare, link);
		mem_free(c);
	}
}

struct rcommand *
rqueue_get(struct rqueue *q)
{
	struct rcommand *c = STAILQ_FIRST(&q->spare);

	if (c == NULL)
		return mem_zero(sizeof(*c));
	STAILQ_REMOVE_HEAD(&q->spare, link);
	return c;
}

void
rqueue_unget(struct rqueue *q, struct rcommand *c)
{
	STAILQ_INSERT_HEAD(&q->spare, c, link);
}

void
rqueue_push(struct rqueue *q, struct rcommand *c)
{
	if (!STAILQ_EMPTY(&q->waiting) && c->deadline_ms < q->last_deadline_ms)
		c->deadline_ms = q->last_deadline_ms;
	q->last_deadline_ms = c->deadline_ms;
	c->late = false;
	STAILQ_INSERT_TAIL(&q->waiting, c, link);
	q->count++;
}

struct rcommand *
rqueue_oldest(struct rqueue *q)
{
	return STAILQ_FIRST(&q->waiting);
}

static bool
pop(struct rqueue *q, struct rcommand_list *list, struct rcommand *copy)
{
	struct rcommand *c = STAILQ_FIRST(list);

	if (c == NULL)
		return false;
	STAILQ_REMOVE_HEAD(list, link);
	q->count--;
	*copy = *c;
	rqueue_unget(q, c);
	return true;
}

bool
rqueue_pop_waiting(struct rqueue *q, struct rcommand *copy)
{
	return pop(q, &q->waiting, copy);
}

bool
rqueue_pop_lost(struct rqueue *q, struct rcommand *copy)
{
	return pop(q, &q->lost, copy);
}

void
rqueue_lose(struct rqueue *q)
{
	STAILQ_CONCAT(&q->lost, &q->waiting);
}
