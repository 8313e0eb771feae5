/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sql.c - the statements of the task protocol; see sql.h.
 */
#include "store/sql.h"

/* when what u says is due, as x.at */
#define DUE_AT                                                                         \
	" LATERAL (SELECT CASE"                                                        \
	" WHEN u.run_at_us IS NOT NULL"                                                \
	" THEN timestamptz 'epoch' + u.run_at_us * interval '1 microsecond'"           \
	" WHEN u.delay_ms IS NOT NULL"                                                 \
	" THEN now() + u.delay_ms * interval '1 millisecond'"                          \
	" ELSE now() END AS at) x) v"

/*
 * Not a function: INSERT ... SELECT from unnest has one plan only, and the arrays go
 * straight in. A row whose time is to come is scheduled; PostgreSQL's clock decides. A
 * batch with traces has one array more, so that all others pay nothing for it.
 */
#define SUBMIT(column, value, param, name)                                             \
	"INSERT INTO shoal.task (id, app_id, queue_id, type_id, state, priority, "     \
	"max_attempts, timeout_ms,"                                                    \
	" run_at, order_at, due_at, waiter, payload, metadata" column ")"              \
	" SELECT v.id, v.app_id, v.queue_id, v.type_id, CASE WHEN v.later THEN 0 "     \
	"ELSE 1 END, v.priority,"                                                      \
	" v.max_attempts, v.timeout_ms, v.at,"                                         \
	" CASE WHEN NOT v.later THEN v.at + v.priority * $13::int * interval '1 "      \
	"millisecond' END,"                                                            \
	" CASE WHEN v.later THEN v.at END, v.waiter, v.payload, v.metadata" value      \
	" FROM (SELECT u.*, x.at, x.at > now() AS later"                               \
	"  FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::int2[], "      \
	"$6::int2[], $7::int[],"                                                       \
	"   $8::int8[], $9::int8[], $10::uuid[], $11::text[], $12::text[]" param ")"   \
	"   AS u (id, app_id, queue_id, type_id, priority, max_attempts, timeout_ms, " \
	"run_at_us, delay_ms,"                                                         \
	"   waiter, payload, metadata" name ")," DUE_AT " RETURNING id, state, run_at"

const struct pgstmt sql_submit = {
    "submit",
    SUBMIT("", "", "", ""),
};

const struct pgstmt sql_submit_traced = {
    "submit_traced",
    SUBMIT(", trace", ", v.trace", ", $14::text[]", ", trace"),
};

/*
 * The same, and what is due now and marked is adopted by the caller ($14, under its
 * claim batch $15): stored as its first attempt, running, and noted like any claim. Not
 * if the caller is not alive any more, nor from a queue that is paused or limited, nor
 * of a limited type.
 */
#define SUBMIT_ADOPT(column, value, param, name)                                       \
	"WITH may AS (SELECT shoal.may_adopt($14::uuid) AS held), made AS ("           \
	"INSERT INTO shoal.task (id, app_id, queue_id, type_id, state, attempt, "      \
	"claim, owner, started_at,"                                                    \
	" priority, max_attempts, timeout_ms, run_at, order_at, due_at, waiter, "      \
	"payload, metadata" column ")"                                                 \
	" SELECT v.id, v.app_id, v.queue_id, v.type_id,"                               \
	" CASE WHEN v.later THEN 0 WHEN v.mine THEN 2 ELSE 1 END,"                     \
	" CASE WHEN v.mine THEN 1 ELSE 0 END, CASE WHEN v.mine THEN $15::int ELSE 0 "  \
	"END,"                                                                         \
	" CASE WHEN v.mine THEN $14::uuid END, CASE WHEN v.mine THEN "                 \
	"clock_timestamp() END,"                                                       \
	" v.priority, v.max_attempts, v.timeout_ms, v.at,"                             \
	" CASE WHEN NOT v.later AND NOT v.mine"                                        \
	"  THEN v.at + v.priority * $13::int * interval '1 millisecond' END,"          \
	" CASE WHEN v.later THEN v.at END, v.waiter, v.payload, v.metadata" value      \
	" FROM (SELECT u.*, x.at, x.at > now() AS later,"                              \
	"   u.adopt AND x.at <= now()"                                                 \
	"   AND coalesce(u.queue_id <> ALL ((SELECT held FROM may)::int[])"            \
	"    AND -u.type_id <> ALL ((SELECT held FROM may)::int[]), false)"            \
	"   AS mine"                                                                   \
	"  FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::int2[], "      \
	"$6::int2[], $7::int[],"                                                       \
	"   $8::int8[], $9::int8[], $10::uuid[], $11::text[], $12::text[], "           \
	"$16::bool[]" param ")"                                                        \
	"   AS u (id, app_id, queue_id, type_id, priority, max_attempts, timeout_ms, " \
	"run_at_us, delay_ms,"                                                         \
	"   waiter, payload, metadata, adopt" name ")," DUE_AT                         \
	" RETURNING app_id, id, state, run_at"                                         \
	"), noted AS ("                                                                \
	"INSERT INTO shoal.claim (owner, batch, apps, ids)"                            \
	" SELECT $14::uuid, $15::int, array_agg(m.app_id), array_agg(m.id)"            \
	" FROM made m WHERE m.state = 2 HAVING count(*) > 0)"                          \
	" SELECT id, state, run_at FROM made"

const struct pgstmt sql_submit_adopt = {
    "submit_adopt",
    SUBMIT_ADOPT("", "", "", ""),
};

const struct pgstmt sql_submit_adopt_traced = {
    "submit_adopt_traced",
    SUBMIT_ADOPT(", trace", ", v.trace", ", $17::text[]", ", trace"),
};

const struct pgstmt sql_submit_each = {
    "submit_each",
    "SELECT * FROM shoal.submit_each($1::int[], $2::text[], $3::text[], $4::text[], "
    "$5::int[], $6::text[], $7::int, $8::int[])",
};

const struct pgstmt sql_claim = {
    "claim",
    "SELECT * FROM shoal.claim_tasks($1::uuid, $2::int, $3::int[], $4::uuid[], "
    "$5::int[])",
};

const struct pgstmt sql_claimed = {
    "claimed",
    "SELECT * FROM shoal.claimed_tasks($1::uuid, $2::int)",
};

const struct pgstmt sql_claim_direct = {
    "claim_direct",
    "SELECT * FROM shoal.claim_direct($1::uuid, $2::int, $3::int, $4::int[], "
    "$5::int[], $6::int, $7::text)",
};

const struct pgstmt sql_finish = {
    "finish",
    "SELECT * FROM shoal.finish_tasks($1::uuid, $2::int[], $3::uuid[], $4::int[], "
    "$5::int[],"
    " $6::int2[], $7::int8[], $8::text[], $9::text[], $10::text[], $11::int[])",
};

const struct pgstmt sql_finished = {
    "finished",
    "SELECT * FROM shoal.finished_tasks($1::uuid, $2::int[], $3::uuid[], $4::int[], "
    "$5::int[])",
};

const struct pgstmt sql_mark_dead = {
    "mark_dead",
    "UPDATE shoal.incarnation SET state = 1, ended_at = clock_timestamp()"
    " WHERE id = ANY ($1::uuid[]) AND state = 0 RETURNING id",
};

const struct pgstmt sql_take = {
    "take",
    "SELECT k.*, shoal.pool_of(k.app_id, k.id) FROM shoal.take_tasks($1::uuid[], "
    "$2::uuid[], $3::uuid[]) k",
};

const struct pgstmt sql_suspects = {
    "suspects",
    "SELECT * FROM shoal.suspects($1::int[], $2::uuid[])",
};

const struct pgstmt sql_strays = {
    "strays",
    "SELECT shoal.strays()",
};

const struct pgstmt sql_held = {
    "held",
    "SELECT * FROM shoal.held_tasks($1::uuid, $2::int)",
};

const struct pgstmt sql_register = {
    "register",
    /* may be sent again after a lost answer: the row is made once */
    "WITH made AS (INSERT INTO shoal.incarnation (id, host, version, slots, knows, "
    "idle) SELECT $1::uuid, $2::text, $3::text, $4::int, $8::int, $9::bool"
    " WHERE NOT EXISTS (SELECT 1 FROM shoal.incarnation WHERE id = $1::uuid)), "
    /* for tasks that are submitted from SQL */
    "told AS (UPDATE shoal.cluster SET aging_ms = $5::int, max_attempts = $6::int,"
    " max_payload_bytes = $7::int WHERE aging_ms <> $5::int OR max_attempts <> $6::int"
    " OR max_payload_bytes <> $7::int)"
    " SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8, c.database_id, "
    "c.name, c.epoch"
    " FROM shoal.cluster c",
};

const struct pgstmt sql_leave = {
    "leave",
    "UPDATE shoal.incarnation SET state = 2, ended_at = clock_timestamp()"
    " WHERE id = $1::uuid AND state = 0",
};

const struct pgstmt sql_schema = {
    "schema",
    "SELECT coalesce(max(step), 0), (SELECT step FROM shoal.schema_floor)"
    " FROM shoal.schema_step",
};

const struct pgstmt sql_beat = {
    "beat",
    /* those that take no tasks have no share of them */
    "SELECT b.id, b.now_us, b.leaderless, b.beat, b.epoch,"
    " (SELECT count(*) FROM shoal.incarnation WHERE state = 0 AND idle IS NOT TRUE),"
    " (SELECT r.rev FROM shoal.registry r), b.order_number, b.order_mode"
    " FROM shoal.beat_node($1::text, $2::int, $3::uuid[], $4::int[], $5::int[], "
    "$6::bool[]) b",
};

const struct pgstmt sql_pulse = {
    "pulse",
    "SELECT shoal.pulse($1::text, $2::int, $3::int8[], $4::int8, $5::int8, $6::int, "
    "($7::int / 100.0)::real)",
};

const struct pgstmt sql_lead = {
    "lead",
    "SELECT * FROM shoal.lead($1::uuid, $2::int)",
};

const struct pgstmt sql_unlead = {
    "unlead",
    /* nobody's, so that what its holder has still under way cannot keep it */
    "UPDATE shoal.cluster SET leader = NULL, lease_until = NULL"
    " WHERE leader = ANY ($1::uuid[])",
};

const struct pgstmt sql_feed = {
    "feed",
    "SELECT * FROM shoal.feed($1::uuid, $2::int, $3::int, $4::int[], $5::int[], "
    "$6::int, $7::int[], $8::int[], $9::int8[], $10::int[], $11::int8, $12::int, "
    "$13::text, $14::bool)",
};

const struct pgstmt sql_watch = {
    "watch",
    /* and, since it comes by every few seconds, whether an operation is open, and when
       the first schedule is to be looked at */
    "SELECT id, beat, EXISTS (SELECT 1 FROM shoal.operation WHERE finished_at IS NULL),"
    " (SELECT (date_part('epoch', s.look_at - clock_timestamp()) * 1000)::int8"
    " FROM shoal.schedule s WHERE s.look_at IS NOT NULL ORDER BY s.look_at LIMIT 1),"
    /* and when the first lease is over */
    " (SELECT greatest(0, (date_part('epoch', l.expires_at - clock_timestamp()) * "
    "1000)::int8) FROM shoal.lease l ORDER BY l.expires_at LIMIT 1)"
    " FROM shoal.incarnation WHERE state = 0",
};

const struct pgstmt sql_forget = {
    "forget",
    "WITH deaf AS (DELETE FROM shoal.cancel_request r"
    " WHERE r.at < now() - interval '1 hour' AND NOT EXISTS"
    " (SELECT 1 FROM shoal.incarnation i WHERE i.id = r.owner AND i.state = 0)),"
    " obeyed AS (DELETE FROM shoal.node_order o"
    " WHERE o.ordered_at < now() - interval '1 hour' AND NOT EXISTS"
    " (SELECT 1 FROM shoal.incarnation i WHERE i.state = 0"
    " AND i.id BETWEEN shoal.node_first(o.node) AND shoal.node_last(o.node)))"
    " DELETE FROM shoal.incarnation i WHERE i.state <> 0 AND i.ended_at < now() - "
    "interval '1 day'"
    " AND NOT EXISTS (SELECT 1 FROM shoal.claim c WHERE c.owner = i.id)",
};

const struct pgstmt sql_next_epoch = {
    "next_epoch",
    "UPDATE shoal.cluster SET epoch = epoch + 1 WHERE epoch = $1::int8"
    " RETURNING epoch",
};

const struct pgstmt sql_names = {
    "names",
    "SELECT n.*, q.pool FROM shoal.names_of($1::int, $2::text[], $3::text[], "
    "$4::int) n LEFT JOIN shoal.queue q ON n.kind = 0 AND q.id = n.id",
};

const struct pgstmt sql_queues_by_id = {
    "queues_by_id",
    "SELECT p.*, q.pool FROM shoal.policy_of($1::int[]) p JOIN shoal.queue q ON q.id = "
    "p.id",
};

const struct pgstmt sql_serve = {
    "serve",
    "SELECT shoal.serve_types($1::uuid, $2::int[], $3::int[], $4::int[], $5::int[], "
    "$6::int[])",
};

const struct pgstmt sql_serve_pools = {
    "serve_pools",
    "SELECT shoal.serve_pools($1::uuid, $2::text[], $3::text[], $4::text[])",
};

const struct pgstmt sql_wait = {
    "wait",
    "SELECT shoal.wait_for($1::int, $2::uuid, $3::uuid)",
};

const struct pgstmt sql_ended = {
    "ended",
    "SELECT * FROM shoal.ended_tasks($1::int[], $2::uuid[])",
};

const struct pgstmt sql_cancels = {
    "cancels",
    "SELECT * FROM shoal.cancels_of($1::uuid)",
};

/* ---------------------------------------------------------------- operations */

const struct pgstmt sql_operations = {
    "operations",
    "SELECT id FROM shoal.operation WHERE finished_at IS NULL ORDER BY id LIMIT "
    "$1::int",
};

const struct pgstmt sql_operate = {
    "operate",
    "SELECT * FROM shoal.operate($1::uuid, $2::int, $3::int)",
};

const struct pgstmt sql_operation_failed = {
    "operation_failed",
    "UPDATE shoal.operation SET state = 2, error = $2::text, finished_at = "
    "clock_timestamp() WHERE id = $1::uuid AND finished_at IS NULL",
};

/* ---------------------------------------------------------------- prune */

const struct pgstmt sql_prune_apps = {
    "prune_apps",
    /* the shortest time of those that its queues have for themselves */
    "SELECT a.id, (SELECT min(least(nullif(q.keep_finished_ms, 0),"
    " nullif(q.keep_failed_ms, 0))) FROM shoal.queue q WHERE q.app_id = a.id"
    " AND (q.keep_finished_ms IS NOT NULL OR q.keep_failed_ms IS NOT NULL))"
    " FROM shoal.application a ORDER BY a.id",
};

/* By the statistics that the server keeps: a row and its head, as often again for the
 * half of each page that stays free, its keys in the indexes, and chunks of what lies
 * apart.  Not the size of the files: what was removed is used again, and they do not
 * shrink. */
const struct pgstmt sql_task_bytes = {
    "task_bytes",
    "SELECT (pg_stat_get_live_tuples(c.oid) * (2 * (28 + coalesce((SELECT"
    " sum(s.avg_width * (1 - s.null_frac)) FROM pg_stats s"
    " WHERE s.schemaname = 'shoal' AND s.tablename = 'task'), 0)) + 50)"
    " + coalesce(pg_stat_get_live_tuples(c.reltoastrelid), 0) * 2048)::int8,"
    " (SELECT f.id FROM shoal.application a, LATERAL (SELECT t.id FROM shoal.task t"
    " WHERE t.app_id = a.id ORDER BY t.id LIMIT 1) f ORDER BY f.id LIMIT 1)"
    " FROM pg_class c WHERE c.oid = 'shoal.task'::regclass",
};

const struct pgstmt sql_prune = {
    "prune",
    "SELECT * FROM shoal.prune($1::int[], $2::uuid[], $3::uuid, $4::int8, $5::int8, "
    "$6::int)",
};

const struct pgstmt sql_prune_keys = {
    "prune_keys",
    "SELECT * FROM shoal.prune_keys($1::int, $2::text, $3::int, $4::int8)",
};
