/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgpool.c - a few pgconns alike; see pgpool.h.
 *
 * Nothing is queued here: a unit is on a connection or it is refused.  With few
 * connections a look at each is cheaper than any order kept among them.
 */
#include "pg/pgpool.h"

#include <stdio.h>

#include "base/mem.h"

struct pgpool {
	size_t count;
	bool closing;		/* pgpool_free is telling the waiting units */
	struct pgconn *conns[]; /* owned; NULL once freed */
};

struct pgpool *
pgpool_create(struct loop *l, struct resolver *rv, const struct pgconn_opts *opts,
    size_t count, struct err *err)
{
	struct pgconn_opts each = *opts;
	struct pgpool *pp;
	char name[64];

	if (count == 0 || count > 256) {
		err_set(err, ERR_INVALID, "a pool of %zu connections", count);
		return NULL;
	}
	pp = mem_zero(sizeof(*pp) + count * sizeof(pp->conns[0]));
	if (pp == NULL) {
		err_set(err, ERR_NOMEM, "no memory for a connection pool");
		return NULL;
	}
	pp->count = count;
	each.name = name;
	for (size_t i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s-%zu", opts->name, i + 1);
		pp->conns[i] = pgconn_create(l, rv, &each, err);
		if (pp->conns[i] == NULL) {
			pgpool_free(pp);
			return NULL;
		}
	}
	return pp;
}

void
pgpool_free(struct pgpool *pp)
{
	struct pgconn *pc;

	if (pp == NULL)
		return;
	pp->closing = true;
	for (size_t i = 0; i < pp->count; i++) {
		pc = pp->conns[i];
		pp->conns[i] = NULL;
		pgconn_free(pc);
	}
	mem_free(pp);
}

bool
pgpool_is_up(const struct pgpool *pp)
{
	for (size_t i = 0; i < pp->count; i++) {
		if (pp->conns[i] != NULL && pgconn_is_up(pp->conns[i]))
			return true;
	}
	return false;
}

int
pgpool_exec(struct pgpool *pp, const struct pgstmt *st, const struct pgparam *p,
    pgconn_done_cb *cb, void *arg, struct err *err)
{
	struct pgconn *best;
	struct err why;
	size_t i;

	/* a connection may be found dead by sending: it is down then, and another is
	 * asked */
	for (;;) {
		best = NULL;
		for (i = 0; i < pp->count && !pp->closing; i++) {
			if (pp->conns[i] == NULL || !pgconn_is_up(pp->conns[i]))
				continue;
			if (best == NULL ||
			    pgconn_waiting(pp->conns[i]) < pgconn_waiting(best))
				best = pp->conns[i];
		}
		if (best == NULL)
			return err_set(
			    err, ERR_CLOSED, "no postgresql connection is up");
		if (pgconn_exec(best, st, p, cb, arg, &why) == 0)
			return 0;
		if (why.code != ERR_CLOSED || pgconn_is_up(best)) {
			if (err != NULL)
				*err = why;
			return -1;
		}
	}
}
