/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_run.h - a command run for one leased task after the other.
 */
#ifndef CLI_LEASE_RUN_H
#define CLI_LEASE_RUN_H

#include <stdint.h>

#include "base/strbuf.h"
#include "cli/cli.h"

struct lease_ask_opts {
	char *const *queues; /* borrowed */
	size_t queue_count;
	int64_t max, wait_ms, ttl_ms;
};

/* the body of POST /v1/leases; types and worker are read from the options */
void lease_ask_body(
    const struct args *a, const struct lease_ask_opts *o, struct strbuf *body);
/*
 * Connects, and goes on until count tasks were run (0: for ever) or a signal comes;
 * returns the exit status.  A failure of the command is told to the node, and no reason
 * to end.
 */
int lease_run(struct cli *cli, const struct lease_ask_opts *o, const char *command,
    uint64_t count);

#endif
