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
#include "cli/histogram.h"
#include "cli/target.h"

#define BENCH_NODES 16

enum bench_mode {
	BENCH_SUBMIT = 0, /* requests as fast as the connections answer */
	BENCH_E2E, /* the same, with a bounded backlog, until all tasks have finished */
	BENCH_LATENCY, /* submit and wait for the result, one after the other */
	BENCH_MODE_COUNT
};

struct bench_opts {
	enum bench_mode mode;
	int connections;
	int64_t count;	     /* tasks; 0: by time */
	int64_t duration_ms; /* how long to submit, when count is 0 */
	int64_t batch;	     /* tasks in one request */
	int64_t payload_bytes;
	int64_t outstanding; /* E2E: accepted and not finished, at most */
	const char *type;
	const char *queue;	     /* NULL: the node's default */
	const struct target *target; /* borrowed */
	/* E2E: whose /metrics count what has finished; borrowed */
	const struct target *nodes;
	size_t node_count;
};

struct bench_result {
	uint64_t accepted;
	uint64_t finished;     /* E2E: as the nodes counted; LATENCY: results seen */
	uint64_t errors;       /* requests without success; they were repeated */
	struct err last_error; /* of them */
	bool stalled; /* E2E: no task finished for 30 s though some were left */
	double submit_seconds;	  /* first request to last answer */
	double total_seconds;	  /* E2E: first request to last finish; else the same */
	double cpu_seconds;	  /* of this program */
	struct histogram latency; /* of requests, microseconds */
};

const char *bench_mode_name(enum bench_mode mode);
int bench_mode_parse(const char *name, enum bench_mode *mode) ATTR_CHECK;

/* ERR_INVALID: refused for good (a wrong key, a type that is none); ERR_IO: no node
 * answers */
int bench_run(const struct bench_opts *opts, struct bench_result *result,
    struct err *err) ATTR_CHECK;

/* the sum of a metric over its labels, in Prometheus' text form; 0 when absent */
uint64_t bench_metric_sum(const char *text, size_t len, const char *name);

#endif
