/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leases.h - statements about leased tasks and about types; the meaning is in
 * conf/schema/0015-leases.sql.
 */
#ifndef STORE_LEASES_H
#define STORE_LEASES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"
#include "model/task.h"
#include "pg/pgconn.h"
#include "pg/pgparam.h"
#include "pg/pgrows.h"

/* ---------------------------------------------------------------- leases */

/* me, batch, apps, slots, queues, their asks, types, their asks, leases, ttls ms,
 * workers; see leased_row_get */
extern const struct pgstmt leases_take;

struct leased_row {
	int slot; /* from 1; 0: an ask could not be served now */
	struct uuid task;
	const char *type;
	int queue_id;
	int priority, attempt, failures, max_attempts;
	const char *payload, *metadata; /* JSON; NULL: none */
	size_t payload_len, metadata_len;
	int64_t run_at_us, deadline_us; /* 0: none */
	int64_t expires_us, ends_us;	/* ends: 0: never */
	const char *trace;		/* as model/trace.h keeps it; NULL: none */
};
void leased_row_get(const struct pgrows *rows, int row, struct leased_row *l);

/* what became of what was asked for a lease */
enum lease_outcome {
	LEASE_DONE = 0,
	LEASE_DONE_BEFORE, /* by this lease: its answer was lost */
	LEASE_LOST,	   /* it holds the task no more */
	LEASE_FORBIDDEN,   /* the key may not touch tasks of that queue */
};

/* app, task, lease, ttl ms, progress, log, scope; outcome, expires_at, cancelled */
extern const struct pgstmt leases_extend;
/* app, tasks, leases, states, delays, results, codes, messages, scope; n from 1,
 * outcome, state (NULL: not known), waiter, special, queue */
extern const struct pgstmt leases_end;
/* app, tasks, leases; n from 1, failures, backoff (JSON or words; NULL: the default) */
extern const struct pgstmt leases_rules;
/* leases; app, queue of those that were given back */
extern const struct pgstmt leases_undo;
/* most; app, id, queue, state, waiter, special of each that was over; last a row
 * without id: in how many ms the next one is */
extern const struct pgstmt leases_expire;

/* owners, apps, tasks, attempts, claims, leases, ttls ms, workers: attempts that become
 * leases; n from 1, and one of: */
extern const struct pgstmt leases_hand_over;
enum hand_over_outcome {
	HAND_OVER_DONE = 0,
	HAND_OVER_DONE_BEFORE, /* it is this lease's already, or was */
	HAND_OVER_LOST,	       /* the attempt did not hold it any more */
};
/* app, tasks; n from 1, owner, attempt, claim of those that run */
extern const struct pgstmt leases_holders;

/* an array of texts, or NULL when there are none */
void leases_put_scope(struct pgparam *p, const char *const names[], size_t count);

/* ---------------------------------------------------------------- types */

/* ids, handlers, timeouts, max_attempts, backoffs */
extern const struct pgstmt types_tell;
/* most; rev, app (0: of nodes), type, handler, max_attempts (NULL: none), name: all
 * of them */
extern const struct pgstmt types_registry;
/* app, name, limit of names, most, handler, timeout ms, max_attempts, backoff, config;
 * 0 made, 1 replaced, 2 too many, 3 it is the operator's.  54000: too many names */
extern const struct pgstmt types_put;
extern const struct pgstmt types_delete; /* app, name; was there one */
/* app, name (NULL: all), behind, most; see type_row_get */
extern const struct pgstmt types_list;

struct type_row {
	const char *name;
	int handler;
	bool own;			/* the application's, not the operator's */
	int64_t timeout_ms;		/* 0: none */
	int max_attempts;		/* 0: the node's */
	const char *backoff;		/* as it was set; NULL: the default */
	const char *config;		/* JSON, the handler's own; NULL: none */
	int64_t created_us, updated_us; /* 0: not known */
};
void type_row_get(const struct pgrows *rows, int row, struct type_row *t);

/* ---------------------------------------------------------------- why */

/* app, id; pull, worker, leased_at, expires_at */
extern const struct pgstmt leases_why;

#endif
