/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sql.h - the statements of the task protocol.
 *
 * Most call a function of conf/schema, where the meaning is; the comment gives the
 * columns that come back.  Statements that only read for the API are in reads.h.
 */
#ifndef STORE_SQL_H
#define STORE_SQL_H

#include "pg/pgconn.h"

/* 12 arrays, aging ms; id, state, run_at (a number of ours made of it would cost a
 * microsecond a row) */
extern const struct pgstmt sql_submit;
/* the same, me, batch, which to adopt; as sql_submit */
extern const struct pgstmt sql_submit_adopt;
/* both with one array more behind all others: the traces */
extern const struct pgstmt sql_submit_traced, sql_submit_adopt_traced;
/* apps, keys, prints, groups, counts, specifications, aging_ms, bounded queues; request
 * (from 1), id, state, run_at, outcome, replayed, sqlstate, message */
extern const struct pgstmt sql_submit_each;
/* me, batch, apps, ids, types; app, id, attempt, type, queue, failures, max_attempts,
 * timeout_ms, payload, backoff, deadline, trace */
extern const struct pgstmt sql_claim;
extern const struct pgstmt sql_claimed; /* me, batch; as sql_claim */
extern const struct pgstmt
    sql_claim_direct; /* me, batch, aging, types, takes, most, pool; as sql_claim */
extern const struct pgstmt
    sql_finish; /* see finish_tasks; app, id, state, waiter, special */
extern const struct pgstmt
    sql_finished; /* me, apps, ids, attempts, claims; as sql_finish */
extern const struct pgstmt sql_mark_dead; /* ids; ids that were alive */
/* owners, those of them that crashed, and that were killed; app, id, type, owner,
 * attempt, state, waiter, pool */
extern const struct pgstmt sql_take;
extern const struct pgstmt
    sql_suspects; /* apps, ids; app, id, crashes of those that are */
extern const struct pgstmt sql_strays; /* ; owners as an array */
extern const struct pgstmt sql_held;   /* me, before; app, id, attempt, claim */
extern const struct pgstmt
    sql_register; /* id, host, version, slots, aging_ms, max_attempts, the largest
		     payload, newest step known, takes no tasks; now in
		     microseconds, database id, cluster name, epoch */
extern const struct pgstmt sql_leave; /* id */
/* ; newest step, and the newest that a program must know to run on it */
extern const struct pgstmt sql_schema;
/* node, its mode, ids, and of each: running, generation, takes no tasks; id, now us,
 * leaderless, cluster beat, epoch, count of those that take tasks, registry rev, number
 * and mode of the last order to the node */
extern const struct pgstmt sql_beat;
/* node, span_ms, counts, cpu_ms, memory_bytes, waiters, load x 100 */
extern const struct pgstmt sql_pulse;
extern const struct pgstmt sql_lead; /* me, lease ms; leader epoch, beat, epoch */
extern const struct pgstmt
    sql_unlead; /* owners: whoever of them leads gives the lease up */
/* me, lease ms, aging ms, types, takes, most, known lanes' queues, types, where to
 * begin and how many rows, where to begin with what comes due, fresh ms, pool (NULL:
 * main), whether this pass renews the lease; kind, app, id, type, age ms, next due ms,
 * beat, epoch, queue, order us, weight, asked, room, paused, pool */
extern const struct pgstmt sql_feed;
/* ; id, beat of all that are alive, whether an operation is open, and in how many
 * milliseconds the first schedule is to be looked at, and the first lease is over */
extern const struct pgstmt sql_watch;
extern const struct pgstmt sql_forget; /* ; removes incarnations that ended a day ago */
extern const struct pgstmt
    sql_next_epoch; /* the epoch that was seen; the epoch now, database id */
extern const struct pgstmt
    sql_names; /* app, queues, types, limit; kind, name, id, policy as below */
/* ids; id, app, name, paused, limited, priority, max_length, shed ppm, shed below, pool
 */
extern const struct pgstmt sql_queues_by_id;
/* me, my types; of those with settings: their numbers, limits, rates and periods */
extern const struct pgstmt sql_serve;
/* me, my pools; names of queues and their pools by the settings */
extern const struct pgstmt sql_serve_pools;
extern const struct pgstmt sql_wait; /* app, id, me; state */
extern const struct pgstmt
    sql_ended; /* apps, ids; app, id of those that ended or are missing */

extern const struct pgstmt sql_cancels; /* me; app, id, attempt, claim to be ended */

/* operate.c */
extern const struct pgstmt sql_operations; /* most; ids of those that are open */
extern const struct pgstmt sql_operate;	   /* id, most, aging; see shoal.operate */
extern const struct pgstmt sql_operation_failed; /* id, reason */

/* prune.c */
/* ; numbers of applications in order, the shortest time that a queue of each keeps
 * tasks for */
extern const struct pgstmt sql_prune_apps;
/* ; bytes that tasks take, estimated, the first id of all or null */
extern const struct pgstmt sql_task_bytes;
/* apps, ids, bound, keep ms of finished and of failed ones, most; app, id, ended, rows
 * looked at, rows removed */
extern const struct pgstmt sql_prune;

/* app, key, look, how long groups are kept; where it stands: app, key; removed */
extern const struct pgstmt sql_prune_keys;

#endif
