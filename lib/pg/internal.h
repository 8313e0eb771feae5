/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * internal.h - a PostgreSQL connection's inside, shared by pgconn.c and pgtalk.c only.
 */
#ifndef PG_INTERNAL_H
#define PG_INTERNAL_H

#include <event2/event_struct.h>
#include <libpq-fe.h>

#include "base/log.h"
#include "event/moved.h"
#include "pg/pganswer.h"
#include "pg/pgconn.h"
#include "pg/pgdial.h"

#define PGCONN_STAMP 0x5047434eu /* PGCN */

/* more statements than the program has; beyond it they are sent unprepared */
#define PREPARED_MAX 128

enum pgconn_state {
	PGCONN_NONE = 0,
	PGCONN_PAUSED,	 /* until the retry timer */
	PGCONN_DIALING,	 /* pgdial is at it */
	PGCONN_CHECKING, /* connected; the first unit asks whether this is a server for
			   us */
	PGCONN_UP,
	PGCONN_LEAVING, /* the server is no good any more; answers that are here are
			  still read */
	PGCONN_DOWN,	/* libpq's part is gone; the loss is not told yet */
	PGCONN_FREED,	/* pgconn_free was called from a callback */
	PGCONN_COUNT	/* keep last */
};

struct unit {
	const struct pgstmt *st; /* borrowed: a constant */
	pgconn_done_cb *cb;
	void *arg;
	int64_t sent_ms;
	bool named;    /* went out under its prepared name */
	bool prepares; /* its first result is that of a PQsendPrepare */
};

struct pgconn {
	uint32_t stamp;
	struct loop *loop; /* borrowed */
	char *name;
	struct log_ctx ctx;
	bool prepare_wanted; /* as the settings say */
	int connect_timeout_ms;
	int statement_timeout_ms;
	pgconn_state_cb *state_cb;
	void *arg;

	enum pgconn_state state;
	unsigned depth; /* loop callbacks of ours on the stack */
	struct pgdial *dial;
	PGconn *conn; /* NULL unless CHECKING, UP or LEAVING */
	struct event readable, writable;
	struct moved *moved; /* NULL: not watched */
	char leaving[120];   /* why it closes with the last answer; "": it does not */
	bool read_only;	     /* the server said so while we were up */
	struct loop_timer *retry;
	struct loop_timer *deadline; /* of the oldest unit, at the latest */
	struct loop_defer *flush;
	struct loop_defer *down;
	int server_version;

	/* the way down and up again */
	struct err why;	 /* the reason of the last loss */
	char fatal[200]; /* what the server said before it closed; "" if nothing */
	unsigned attempts;
	int64_t up_ms;	    /* when it came up; 0: not since the last loss */
	int64_t told_ms;    /* when state_cb was last told of a failure */
	bool told_anything; /* told_ms is set */

	/* units without an answer: a ring, the oldest at head */
	struct unit *units;
	size_t max_units;
	size_t head, count;

	struct pganswer answer; /* to the oldest unit, as far as it has come */

	/* statements whose prepare was sent and has not failed */
	bool prepare;
	const struct pgstmt *prepared[PREPARED_MAX];
	size_t prepared_count;
};

/* pgconn.c */
void pgconn_set_state(struct pgconn *pc, enum pgconn_state next);
/* around each loop callback; the object may be gone after the second */
void pgconn_enter(struct pgconn *pc);
void pgconn_unwind(struct pgconn *pc);
/* end the libpq part at once; no callback runs in them */
void pgconn_go_down(struct pgconn *pc, const struct err *why);
void pgconn_go_down_because(struct pgconn *pc, enum err_code code, const char *reason);
/* the connection died under us: says what is known about it */
void pgconn_go_down_broken(struct pgconn *pc);
/* takes our events off the socket */
void pgconn_quiet(struct pgconn *pc);

/* pgtalk.c */
int pgconn_send(struct pgconn *pc, const struct pgstmt *st, const struct pgparam *p,
    pgconn_done_cb *cb, void *arg, struct err *err) ATTR_CHECK;
/* tells all units that they are lost, for pc->why */
void pgconn_lose_units(struct pgconn *pc);
void pgconn_readable(evutil_socket_t fd, short what, void *arg);
void pgconn_writable(evutil_socket_t fd, short what, void *arg);
void pgconn_flush(void *arg);
void pgconn_deadline_passed(void *arg);

#endif
