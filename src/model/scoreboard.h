/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scoreboard.h - the shared page by which a node's processes know of each other.
 *
 * Mapped by the master before the first fork.  Every field names its one writer.  All
 * are atomics read without locks: a reader sees each field whole, not a slot as one.
 *
 * A slot belongs to one worker process at a time; its index is the worker's number.
 * When a worker dies the master has the spawner kill all that it ran, then moves the
 * incarnation to the burials and wakes the workers: one of them takes the burial and
 * recovers its tasks.
 */
#ifndef MODEL_SCOREBOARD_H
#define MODEL_SCOREBOARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/log.h"
#include "base/uuid.h"

#define SCORE_SLOTS   256
#define SCORE_BURIALS 256
#define SCORE_HELPERS 4 /* processes beside the workers: master/node.h */
#define SCORE_REASON  120

/* what a node is there for; told to PostgreSQL by these numbers (0020) */
enum node_mode {
	NODE_MODE_WORK = 0,
	NODE_MODE_IDLE,	 /* maintenance: takes no tasks, serves HTTP */
	NODE_MODE_DRAIN, /* the same, and /health says 503 */
	NODE_MODE_LEAVE, /* it stops */
	NODE_MODE_COUNT
};

enum score_state {
	SCORE_FREE = 0,
	SCORE_STARTING,
	SCORE_READY,	/* listeners armed */
	SCORE_DRAINING, /* leaving on purpose */
	/* has left the cluster, and keeps what clients keep open until it is used */
	SCORE_LINGERING,
	SCORE_STATE_COUNT
};

/* one row a counter: X(name, kind, help); exported as shoal_<name> */
#define SCORE_COUNTERS(X)                                                              \
	X(http_requests_total, "counter", "HTTP requests answered.")                   \
	X(http_errors_total, "counter", "HTTP requests answered with a 5xx status.")   \
	X(http_connections, "gauge", "HTTP connections open.")                         \
	X(tls_handshakes_total, "counter",                                             \
	    "TLS handshakes that began a session of their own.")                       \
	X(tls_resumed_total, "counter", "TLS handshakes that resumed a session.")      \
	X(tls_failed_total, "counter", "TLS handshakes that failed.")                  \
	X(proxy_refused_total, "counter",                                              \
	    "Connections closed at a listener for proxies: no PROXY header, or not "   \
	    "from http.trusted_proxies.")                                              \
	X(tasks_submitted_total, "counter", "Tasks committed.")                        \
	X(tasks_claimed_total, "counter", "Attempts claimed.")                         \
	X(tasks_succeeded_total, "counter", "Attempts that ended in success.")         \
	X(tasks_retried_total, "counter", "Attempts that ended in a later retry.")     \
	X(tasks_failed_total, "counter", "Tasks that ended in failure.")               \
	X(tasks_cancelled_total, "counter",                                            \
	    "Tasks that ended because somebody cancelled them, while they ran.")       \
	X(tasks_fenced_total, "counter",                                               \
	    "Outcomes refused because the attempt was lost before.")                   \
	X(tasks_lost_total, "counter", "Attempts given back by recovery or audit.")    \
	X(tasks_pruned_total, "counter",                                               \
	    "Finished tasks removed because their time was over.")                     \
	X(schedules_fired_total, "counter", "Tasks made by schedules.")                \
	X(submits_shed_total, "counter",                                               \
	    "Submits refused with 429 as the share that a queue sheds.")               \
	X(submits_full_total, "counter",                                               \
	    "Submits refused with 429 because a queue was full.")                      \
	X(tasks_running, "gauge", "Attempts running now.")                             \
	X(commands_running, "gauge", "Commands running now.")                          \
	X(commands_lost_total, "counter",                                              \
	    "Commands that ended without an outcome because the spawner died.")        \
	X(ids_dropped_total, "counter",                                                \
	    "Ids from Redis that no claim took: duplicates, strangers.")               \
	X(feeder_pushed_total, "counter", "Ids pushed by the feeder.")                 \
	X(feeder_passes_total, "counter", "Passes of the feeder.")                     \
	X(batches_total, "counter", "Statements of the hot path sent to PostgreSQL.")  \
	X(redis_connections_lost_total, "counter", "Redis connections lost.")          \
	X(database_connections_lost_total, "counter", "PostgreSQL connections lost.")  \
	X(leases_given_total, "counter", "Tasks leased to workers outside.")           \
	X(leases_handed_over_total, "counter",                                         \
	    "Of those, attempts that an endpoint took to tell of their end later.")    \
	X(leases_undone_total, "counter",                                              \
	    "Leases given back because their client had hung up.")                     \
	X(leases_expired_total, "counter", "Leases whose time ran out.")               \
	X(lease_waiters, "gauge", "Requests that wait for a task to lease.")           \
	X(egress_requests_total, "counter", "Requests that http types have sent.")     \
	X(egress_succeeded_total, "counter", "Requests answered with a 2xx status.")   \
	X(egress_refused_total, "counter", "Requests answered with another status.")   \
	X(egress_faults_total, "counter",                                              \
	    "Requests that had no answer: not connected, cut off, too slow.")          \
	X(egress_blocked_total, "counter",                                             \
	    "Of those, the ones that the rules of egress did not let out.")            \
	X(egress_endpoints_disabled_total, "counter",                                  \
	    "Endpoints of applications that said that they are gone (410).")           \
	X(egress_breakers_open, "gauge",                                               \
	    "Endpoints that are left alone, once for each worker that does.")          \
	X(children, "gauge", "Children of stream types.")                              \
	X(children_failed_total, "counter",                                            \
	    "Children of stream types that ended without being told to, or had to "    \
	    "be ended.")                                                               \
	X(webhook_deliveries_total, "counter",                                         \
	    "Deliveries made for ends of tasks, by hand not counted.")                 \
	X(webhooks_disabled_total, "counter",                                          \
	    "Webhooks disabled because nothing was taken there.")                      \
	X(waiters, "gauge", "Requests that wait for a task's end.")                    \
	X(log_lines_dropped_total, "counter",                                          \
	    "Lines of workers' logs that could not be written.")                       \
	X(access_lines_dropped_total, "counter",                                       \
	    "Lines of the access log that could not be written.")                      \
	X(spans_exported_total, "counter", "Spans that the collector has taken.")      \
	X(spans_dropped_total, "counter",                                              \
	    "Spans given up: too many waited, or the collector did not take them.")    \
	X(span_exports_failed_total, "counter",                                        \
	    "Requests to the collector that failed, those tried again too.")           \
	X(memory_bytes, "gauge", "Private resident memory.")

enum score_counter {
#define SCORE_ENUM(name, kind, help) SCORE_##name,
	SCORE_COUNTERS(SCORE_ENUM)
#undef SCORE_ENUM
	    SCORE_COUNTER_COUNT
};

struct score_slot {
	/* master */
	_Atomic int32_t pid;	     /* 0: no process */
	_Atomic uint32_t generation; /* of the configuration */
	_Atomic int64_t started_ms;  /* monotonic */
	_Atomic uint8_t idle;	     /* takes no tasks */
	_Atomic uint32_t restarts;   /* in this slot, but for planned ones */
	_Atomic int64_t restarted_wall_us;
	char last_reason[SCORE_REASON]; /* why the last process ended; master only, torn
					   reads are harmless */
	/* worker */
	_Atomic uint8_t state; /* enum score_state; master sets STARTING and FREE */
	_Atomic int64_t heartbeat_ms;	 /* monotonic, each second from the loop */
	_Atomic uint64_t incarnation[2]; /* a struct uuid; both 0: none registered */
	_Atomic uint8_t database_up, redis_up; /* for /ready */
	/* registered, and all that it needs of the database is known to it */
	_Atomic uint8_t serving;
	_Atomic uint64_t counters[SCORE_COUNTER_COUNT];
	/* the node's beater (engine/beat.c), about any slot */
	/* when PostgreSQL last counted its beat, monotonic */
	_Atomic int64_t beaten_ms;
	/* its incarnation is no longer alive there: it must end */
	_Atomic uint8_t disowned;
};

enum burial_state { BURIAL_FREE = 0, BURIAL_FILLING, BURIAL_OPEN, BURIAL_TAKEN };

/* how it ended; only a crash counts against what it ran */
enum burial_end {
	BURIAL_TOLD = 0, /* it had been told to, or knew itself that it had to */
	BURIAL_CRASHED,
	BURIAL_KILLED, /* by a KILL that was not the master's */
};

/* an incarnation that died on this node and waits to be recovered */
struct score_burial {
	/* master: FREE -> FILLING -> OPEN; a worker: OPEN -> TAKEN (by
	 * compare-and-swap) -> FREE (or OPEN again) */
	_Atomic uint8_t state;
	_Atomic int32_t taker; /* pid of the worker that has it; master reopens it if
				  that one dies */
	_Atomic uint8_t end;   /* enum burial_end; master, FILLING */
	_Atomic uint64_t incarnation[2];
};

struct scoreboard {
	uint8_t node[6]; /* the node's id, drawn at start */
	char node_text[13];
	pid_t master_pid;
	int64_t started_wall_us;
	_Atomic uint32_t generation;
	_Atomic uint32_t reload_failures;
	_Atomic uint32_t upgrade_failures;
	_Atomic uint8_t draining;     /* the node is to stop: /health says 503 */
	_Atomic uint8_t schema_ready; /* the migration helper is done */
	/* when a worker last warned of a certificate's end, monotonic; the master
	 * resets it with each generation */
	_Atomic int64_t tls_warned_ms;
	_Atomic uint8_t mode; /* enum node_mode; master */
	/* master: the level that was asked for at run time, plus 1; 0: as configured */
	_Atomic uint8_t log_level;
	/* helpers that live on: the last sign of life, monotonic */
	_Atomic int64_t helper_beats_ms[SCORE_HELPERS];
	/* what the node's beater (engine/beat.c) learned from PostgreSQL */
	_Atomic int64_t beat_sent_ms; /* when it last asked, monotonic */
	_Atomic int64_t cluster_beat; /* the leader's count */
	_Atomic int64_t
	    clock_offset_us; /* PostgreSQL's clock minus this node's wall clock */
	_Atomic int64_t registry_rev; /* of the types in PostgreSQL; 0: not known yet */
	/* living workers of the cluster that take tasks; 0: not known yet */
	_Atomic int32_t peers;
	/* the last order to this node, with its number: score_order_make; 0: none */
	_Atomic uint64_t order;
	_Atomic uint64_t retired[SCORE_COUNTER_COUNT]; /* counters of ended workers,
							  added by the master */
	struct score_slot slots[SCORE_SLOTS];
	struct score_burial burials[SCORE_BURIALS];
};

/* zeroed shared memory with a fresh node id; aborts nothing, returns NULL with err */
struct scoreboard *scoreboard_create(struct err *err) ATTR_CHECK;
void scoreboard_free(struct scoreboard *sb);
void score_set_uuid(_Atomic uint64_t to[2], const struct uuid *id);
bool score_get_uuid(_Atomic uint64_t from[2], struct uuid *id); /* false: none */
static inline void
score_add(struct score_slot *slot, enum score_counter c, uint64_t n)
{
	atomic_fetch_add_explicit(&slot->counters[c], n, memory_order_relaxed);
}
static inline void
score_set(struct score_slot *slot, enum score_counter c, uint64_t n)
{
	atomic_store_explicit(&slot->counters[c], n, memory_order_relaxed);
}
/* an order's number, which only grows, and the mode that it asks for */
static inline uint64_t
score_order_make(int64_t number, enum node_mode mode)
{
	return (uint64_t)number << 8 | (uint64_t)mode;
}
static inline int64_t
score_order_number(uint64_t order)
{
	return (int64_t)(order >> 8);
}
static inline enum node_mode
score_order_mode(uint64_t order)
{
	return (enum node_mode)(order & 0xff);
}
/* the level that counts, where the configuration says this one */
static inline enum log_level
score_log_level(struct scoreboard *sb, int configured)
{
	int asked = atomic_load_explicit(&sb->log_level, memory_order_relaxed);

	return (enum log_level)(asked > 0 ? asked - 1 : configured);
}
/* the node's sum over slots and the retired */
uint64_t score_total(const struct scoreboard *sb, enum score_counter c);
/* a worker ended: its counters go to the retired ones, its gauges away; master only */
void score_retire(struct scoreboard *sb, struct score_slot *slot);
const char *score_counter_name(enum score_counter c);
const char *score_counter_kind(enum score_counter c);
const char *score_counter_help(enum score_counter c);
const char *score_state_name(enum score_state state);
const char *node_mode_name(enum node_mode mode); /* "running", "maintenance" ... */

#endif
