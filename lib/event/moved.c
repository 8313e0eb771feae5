/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * moved.c - notices that names do not lead to the address in use any more; see moved.h.
 *
 * All names are asked at once, and judged when the last has answered.  The intervals
 * vary by a tenth, so that the workers of a node do not ask in step.
 */
#include "event/moved.h"

#include "base/mem.h"
#include "base/uuid.h"

#define MOVED_STAMP 0x4d4f5645u
#define ANSWER_MS   5000

struct moved_name {
	struct moved *moved;
	char *host;	       /* owned */
	struct resolve *query; /* NULL: none open */
};

struct moved {
	unsigned stamp;
	struct loop *loop;   /* borrowed */
	struct resolver *rv; /* borrowed */
	int every_ms;
	moved_cb *cb;
	void *arg;
	struct loop_timer *timer;
	struct moved_name names[MOVED_NAMES];
	size_t count, resolvable;
	struct addr used;
	/* the round under way */
	size_t asking;
	bool failed, found;
};

static void
next_round(struct moved *m)
{
	int64_t tenth = m->every_ms / 10;

	loop_timer_start_ms(m->timer,
	    m->every_ms - tenth + (int64_t)random_below((uint64_t)(2 * tenth + 1)));
}

static void
round_over(struct moved *m)
{
	if (m->asking > 0)
		return;
	if (m->found || m->failed)
		next_round(m);
	else
		m->cb(m->arg);
}

static void
on_resolved(const struct addr *addrs, size_t count, const struct err *err, void *arg)
{
	struct moved_name *n = arg;
	struct moved *m = n->moved;

	STAMP_CHECK(m, MOVED_STAMP);
	n->query = NULL;
	m->asking--;
	if (err != NULL)
		m->failed = true;
	/* more answers than are kept: what is in use may be among those left out */
	if (count == RESOLVE_MAX)
		m->failed = true;
	for (size_t i = 0; err == NULL && i < count; i++)
		m->found = m->found || addr_same_host(&addrs[i], &m->used);
	round_over(m);
}

static void
on_time(void *arg)
{
	struct moved *m = arg;

	STAMP_CHECK(m, MOVED_STAMP);
	m->found = m->failed = false;
	for (size_t i = 0; i < m->count; i++) {
		struct moved_name *n = &m->names[i];

		n->query =
		    resolve_start(m->rv, n->host, 0, ANSWER_MS, on_resolved, n, NULL);
		if (n->query != NULL)
			m->asking++;
		else
			m->failed = true;
	}
	round_over(m);
}

struct moved *
moved_create(struct loop *l, struct resolver *rv, int every_ms, moved_cb *cb, void *arg,
    struct err *err)
{
	struct moved *m = mem_zero(sizeof(*m));

	if (m == NULL || (m->timer = loop_timer_create(l, on_time, m)) == NULL) {
		mem_free(m);
		err_set(err, ERR_NOMEM, "a watch over names");
		return NULL;
	}
	m->stamp = MOVED_STAMP;
	m->loop = l;
	m->rv = rv;
	m->every_ms = every_ms > 0 ? every_ms : MOVED_EVERY_MS;
	m->cb = cb;
	m->arg = arg;
	return m;
}

void
moved_free(struct moved *m)
{
	if (m == NULL)
		return;
	STAMP_CHECK(m, MOVED_STAMP);
	moved_forget(m);
	loop_timer_free(m->timer);
	m->stamp = 0;
	mem_free(m);
}

int
moved_add(struct moved *m, const char *host, struct err *err)
{
	struct moved_name *n = &m->names[m->count];

	STAMP_CHECK(m, MOVED_STAMP);
	if (m->count == MOVED_NAMES)
		return err_set(err, ERR_LIMIT, "more than %d names", MOVED_NAMES);
	n->host = mem_strdup(host);
	if (n->host == NULL)
		return err_set(err, ERR_NOMEM, "a watch over names");
	n->moved = m;
	m->resolvable += resolve_is_numeric(host) ? 0 : 1;
	m->count++;
	return 0;
}

void
moved_forget(struct moved *m)
{
	moved_stop(m);
	for (size_t i = 0; i < m->count; i++)
		mem_free(m->names[i].host);
	m->count = m->resolvable = 0;
}

void
moved_watch(struct moved *m, const struct addr *used)
{
	moved_stop(m);
	m->used = *used;
	if (m->resolvable > 0 && used->sa.sa_family != AF_UNIX)
		next_round(m);
}

void
moved_stop(struct moved *m)
{
	STAMP_CHECK(m, MOVED_STAMP);
	loop_timer_stop(m->timer);
	for (size_t i = 0; i < m->count; i++) {
		resolve_cancel(m->names[i].query);
		m->names[i].query = NULL;
	}
	m->asking = 0;
}
