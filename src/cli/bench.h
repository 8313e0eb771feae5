/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench.h - a load generator that is light enough to share the machine with what it
 * measures.
 */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "cli/finished.h"
#include "cli/histogram.h"
#include "cli/target.h"

#define BENCH_LOAD_BATCH 100 /* tasks in a request that loads a backlog */
#define BENCH_TARGETS	 FINISHED_NODES

enum bench_mode {
	BENCH_SUBMIT = 0, /* requests as fast as the connections answer */
	BENCH_E2E,     /* the same, a bounded backlog, until all tasks have finished */
	BENCH_DRAIN,   /* a backlog that was held back, from its release to its end */
	BENCH_BACKLOG, /* the same, with submits beside it */
	BENCH_WAIT,    /* submit and wait for the result, one after the other */
	BENCH_START,   /* from the submit to the handler's start, on an idle queue */
	BENCH_MODE_COUNT
};

struct bench_opts {
	enum bench_mode mode;
	int connections;
	int64_t count; /* tasks, or those of the backlog; 0: by time */
	int64_t
	    duration_ms; /* how long to submit, without a count or beside a backlog */
	int64_t batch;	 /* tasks in one request, but those that load a backlog */
	int64_t payload_bytes;
	int64_t outstanding; /* E2E: accepted and not finished, at most */
	/*
	 * DRAIN, BACKLOG: the loaded tasks are due this long after the start of
	 * loading; 0: somebody else holds them back (a paused queue, a type that nobody
	 * serves), and releases them once on_loaded has been called.
	 */
	int64_t hold_ms;
	void (*on_loaded)(uint64_t tasks, double seconds, void *arg);
	void *arg;
	const char *type;
	const char *queue; /* NULL: the node's default */
	/* connections go round these; 1 to BENCH_TARGETS; borrowed */
	const struct target *targets;
	size_t target_count;
	/* those with a backlog or an end: whose /metrics are counted; borrowed */
	const struct target *nodes;
	size_t node_count;
};

struct bench_result {
	uint64_t accepted;
	uint64_t finished;     /* as the nodes counted; WAIT, START: results seen */
	uint64_t errors;       /* requests without success; they were repeated */
	struct err last_error; /* of them */
	bool stalled;	       /* no task finished for 30 s though some were left */
	double submit_seconds; /* first request to last answer */
	/* first request, or release of the backlog, to last finish or answer */
	double total_seconds;
	double cpu_seconds; /* of this program, while it measured */
	/* tasks a second, of the kind that the mode is about */
	double rate, submit_rate;
	/* microseconds: of requests (DRAIN: those that loaded, BACKLOG: those beside);
	 * START: from the submit to started_at */
	struct histogram latency;
	/* DRAIN, BACKLOG */
	uint64_t loaded;
	double load_seconds;
	/* BACKLOG: while both went on, until time or backlog was over */
	double beside_seconds;
	uint64_t beside_submitted, beside_finished;
};

const char *bench_mode_name(enum bench_mode mode);
/* also "latency", an older name of wait */
int bench_mode_parse(const char *name, enum bench_mode *mode) ATTR_CHECK;
/* does it count finished tasks at /metrics? */
bool bench_mode_counts(enum bench_mode mode);
/* does it hold a backlog back first? */
bool bench_mode_loads(enum bench_mode mode);

/* ERR_INVALID: refused for good (a wrong key, a type that is none), or the backlog did
 * not wait to be loaded; ERR_IO: no node answers */
int bench_run(const struct bench_opts *opts, struct bench_result *result,
    struct err *err) ATTR_CHECK;

#endif
