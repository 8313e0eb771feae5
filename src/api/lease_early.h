/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_early.h - what is told of a lease before it is one; internal to src/api.
 *
 * An endpoint that was told the lease of its attempt may come with it before its own
 * answer, which turns the attempt into that lease, has reached the node that waits for
 * it.  So what finds no lease looks whether it is that of an attempt under way, and
 * makes it so.
 */
#ifndef API_LEASE_EARLY_H
#define API_LEASE_EARLY_H

#include "api/call.h"
#include "model/lease_name.h"

struct lease_early_one {
	struct lease_name name;
	struct lease_attempt attempt;
	bool ours; /* the lease is that of this attempt */
};

/* first in c->extra of what may come early */
struct lease_early {
	bool looked; /* once for each call */
	int64_t ttl_ms;
	call_question *again; /* what found no lease */
	size_t count;
	struct lease_early_one *at; /* borrowed: it is in c->extra too */
};

/* a lease was not found: true if it is looked for among the attempts under way, after
 * which again asks anew */
bool lease_look_early(struct call *c, call_question *again) ATTR_CHECK;

#endif
