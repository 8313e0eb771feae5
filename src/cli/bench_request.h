/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_request.h - the requests of a measurement, formatted once and sent many times.
 */
#ifndef CLI_BENCH_REQUEST_H
#define CLI_BENCH_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/strbuf.h"
#include "cli/target.h"

#define BENCH_REQUEST_MAX (64UL * 1024 * 1024)

struct bench_request {
	const char *type;
	const char *queue;     /* NULL: the node's default */
	const char *run_at;    /* RFC 3339; NULL: at once */
	int64_t payload_bytes; /* of JSON; at least BENCH_PAYLOAD_LEAST */
	int64_t tasks;
	bool batch; /* to the route for many, even if it is one task */
	int wait_s; /* 0: answer after the commit; not with batch */
};

#define BENCH_PAYLOAD_LEAST 10

/* out: initialised, with room for BENCH_REQUEST_MAX.  ERR_INVALID: longer than that */
int bench_request_build(const struct target *target, const struct bench_request *what,
    struct strbuf *out, struct err *err) ATTR_CHECK;

#endif
