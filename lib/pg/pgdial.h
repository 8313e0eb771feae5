/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgdial.h - from a connection string to a connected PGconn, without blocking.
 *
 * For pgconn alone.  Names are resolved anew at each start, every address of every
 * host in the string is tried by libpq in turn, and one deadline bounds it all.  After
 * a deadline the next start begins with the next address, so that one host that
 * swallows packets does not hide the others.
 */
#ifndef PG_PGDIAL_H
#define PG_PGDIAL_H

#include <libpq-fe.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/loop.h"
#include "event/moved.h"
#include "event/resolve.h"

struct pgdial;

/* exactly once for a start, from the loop: conn (taken: PQfinish it) or err */
typedef void pgdial_cb(PGconn *conn, const struct err *err, void *arg);

/* all texts are copied */
struct pgdial_opts {
	const char *name;
	const char *url;
	const char *password; /* NULL or "": that of the url */
	/* read again at each start; what it holds then is the password; NULL or "":
	 * none */
	const char *password_file;
	int timeout_ms;
	pgdial_cb *cb;
	void *arg;
};

/* ERR_INVALID: the url is no conninfo string or URI, or asks for what we refuse (a
 * service file) */
struct pgdial *pgdial_create(struct loop *l, struct resolver *rv,
    const struct pgdial_opts *opts, struct err *err) ATTR_CHECK;
void pgdial_free(struct pgdial *d);  /* NULL is fine; allowed in the callback */
void pgdial_start(struct pgdial *d); /* not while one is under way */
void pgdial_stop(struct pgdial *d);  /* no callback after this */
/* the hosts that a connection may be to, but for unix sockets */
int pgdial_watch(const struct pgdial *d, struct moved *m, struct err *err) ATTR_CHECK;

#endif
