/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sconn.h - one connection to a node whose answer goes on: a stream of events.
 */
#ifndef CLI_SCONN_H
#define CLI_SCONN_H

#include "base/attr.h"
#include "base/err.h"
#include "cli/client.h"
#include "cli/sse.h"
#include "cli/target.h"

enum sconn_end {
	SCONN_LOST = 0, /* it was open, and has ended or broken */
	SCONN_REFUSED,	/* another status: *refused is the caller's, client_answer_fini
			 */
	SCONN_FAILED,	/* no connection, or no answer; err says why */
};

/*
 * Asks for path and feeds what comes to s until it ends; blocks.  s->id is sent to go
 * on where another connection ended.  A minute without a byte counts as an end: a node
 * sends a comment four times as often.
 */
enum sconn_end sconn_follow(const struct target *t, const char *path, struct sse *s,
    struct client_answer *refused, struct err *err) ATTR_CHECK;

/* a body in chunks, taken apart as it comes: zeroed at its start */
struct sconn_chunks {
	size_t left; /* of the chunk that is open */
	int state;
	int digits;
	bool ended; /* the last chunk was there */
};
/* calls s for what is inside; false: this is no such body */
bool sconn_unchunk(
    struct sconn_chunks *c, struct sse *s, const char *bytes, size_t len);

#endif
