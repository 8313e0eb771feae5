/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgconn.h - one PostgreSQL connection in non-blocking pipeline mode that comes back by
 * itself.
 *
 * A unit is one statement with its parameters and a sync of its own: its own
 * transaction.  Units are sent at once and answered in order; an error in one touches
 * no other.  A callback comes when the sync has been answered: the unit is committed by
 * then.  BEGIN is never sent.
 *
 * A connection resolves its hosts itself (libpq would block), connects under a
 * deadline, refuses a server that is read-only (hot standby) or older than 9.4, and is
 * up; when lost, it tries again after a pause with jitter, up to a second.  Units are
 * accepted only while up.  It sets nothing in the session, so that PgBouncer in
 * transaction mode may stand between.
 *
 * While it is up, its hosts are resolved again now and then.  When none leads to the
 * address in use any more, the connection takes no more units, closes when the last is
 * answered, and is made again at once; pgconn_leave does the same for other reasons.
 *
 * When a connection dies, each waiting unit gets PGERR_LOST: it may have been
 * executed, may be executing still, or never will.  The caller asks again; nothing here
 * repeats a statement.
 */
#ifndef PG_PGCONN_H
#define PG_PGCONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/loop.h"
#include "event/resolve.h"
#include "pg/pgparam.h"
#include "pg/pgrows.h"

struct pgconn;

/* what a failed unit means to its caller; sqlstate.c has the table */
enum pgerr_class {
	PGERR_NONE = 0,
	/* outcome unknown: the connection went before the server confirmed the end */
	PGERR_LOST,
	/* nothing happened; the same unit may be sent again now (40001, 40P01) */
	PGERR_RETRY,
	/* nothing happened; the connection is being closed: ask another (25006, 57P0x)
	 */
	PGERR_RECONNECT,
	/* nothing happened; later: no room, locks, timeouts (53xxx, 55P03, 57014) */
	PGERR_BUSY,
	/* this unit's data is at fault (22xxx, 23xxx, 54xxx): never retry as it is */
	PGERR_DATA,
	/* a table, function or column is missing, or no right to it (42xxx, 3F000) */
	PGERR_SCHEMA,
	/* anything else: ours */
	PGERR_BUG,
};

struct pgerr {
	enum pgerr_class class;
	char sqlstate[6]; /* "" when the server did not answer */
	char text[400];	  /* the server's primary message, or ours */
};

/*
 * Exactly one of rows and err is set; both are gone when the callback returns.  The
 * callback may send units and may free the connection.
 */
typedef void pgconn_done_cb(
    const struct pgrows *rows, const struct pgerr *err, void *arg);
/*
 * up: err NULL.  Down (also each failed attempt, told at most once a second): err says
 * why, and is ERR_CONFLICT when a server that was up has turned out to be read-only.
 * Units that waited have had their callbacks before.
 */
typedef void pgconn_state_cb(
    struct pgconn *pc, bool up, const struct err *err, void *arg);

/* a statement: a static constant; name is its prepared name, unique in the program */
struct pgstmt {
	const char *name;
	const char *sql;
};

struct pgconn_opts {
	const char *name;     /* for the log and application_name: "submit"; copied */
	const char *url;      /* a libpq URI or conninfo string; copied */
	const char *password; /* overrides; NULL or "": what url says; copied, wiped */
	/* read again at each connect, so that a rotated password is taken up; NULL or
	 * "": password is all there is; copied */
	const char *password_file;
	int moved_ms;		/* how often the hosts are resolved again; 0: never */
	bool prepared;		/* false: unnamed statements each time (PgBouncer) */
	int connect_timeout_ms; /* 0: 5,000 */
	/* a unit without an answer this long closes the connection; 0: 30,000 */
	int statement_timeout_ms;
	size_t max_units;	   /* waiting; 0: 64 */
	pgconn_state_cb *state_cb; /* may be NULL */
	void *arg;
};

struct pgconn *pgconn_create(struct loop *l, struct resolver *rv,
    const struct pgconn_opts *opts, struct err *err) ATTR_CHECK;
/*
 * NULL is fine.  Waiting units get PGERR_LOST from inside this call, which no other
 * call does; state_cb is not called.
 */
void pgconn_free(struct pgconn *pc);
bool pgconn_is_up(const struct pgconn *pc);
size_t pgconn_waiting(const struct pgconn *pc); /* units without an answer */
/* such as 150004; 0 before the first connect */
int pgconn_server_version(const struct pgconn *pc);
/* closes now, connects again; what that makes fail is told from the loop */
void pgconn_close(struct pgconn *pc, const char *reason);
/* the same once the units that wait are answered; nothing while it is not up */
void pgconn_leave(struct pgconn *pc, const char *reason);

/*
 * Sends one unit.  p is only read (NULL: no parameters).  Results come in binary form.
 * Fails, and nothing has happened, with ERR_CLOSED while down or when sending shows
 * that it is, ERR_LIMIT at max_units, ERR_BUG for failed params.  Afterwards p may be
 * reused.
 */
int pgconn_exec(struct pgconn *pc, const struct pgstmt *st, const struct pgparam *p,
    pgconn_done_cb *cb, void *arg, struct err *err) ATTR_CHECK;

/* the class for a five-character SQLSTATE */
enum pgerr_class sqlstate_class(const char *sqlstate);
const char *pgerr_class_name(enum pgerr_class class);

#endif
