/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream_msg.h - the lines of docs/stream-protocol.md, written and read.
 *
 * A line from a child is checked once and read in place: its parts are spans in the
 * caller's bytes.  Pure.
 */
#ifndef HANDLERS_STREAM_MSG_H
#define HANDLERS_STREAM_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/jscan.h"
#include "base/strbuf.h"
#include "base/uuid.h"

#define STREAM_VERSION		1
#define STREAM_CONCURRENCY_MOST 256
#define STREAM_CODE_SIZE	48   /* as an attempt keeps it */
#define STREAM_MESSAGE_MOST	4096 /* bytes that are kept */

enum stream_msg_kind {
	STREAM_MSG_OTHER = 0, /* no member that we know */
	STREAM_MSG_HELLO,
	STREAM_MSG_PONG,
	STREAM_MSG_TASK, /* about the task with this id */
};

/* spans of kind 0 are not there */
struct stream_msg {
	enum stream_msg_kind kind;
	int64_t version, concurrency; /* HELLO */
	struct uuid id;		      /* TASK */
	struct jspan result, error, progress, log;
	struct jspan retry, retry_in;
};

/* what an error says, read and bounded */
struct stream_error {
	char code[STREAM_CODE_SIZE];
	char *message; /* the caller frees it; NULL: none */
	size_t message_len;
	bool retry;
	int64_t retry_ms; /* -1: by the backoff */
};

/* ERR_INVALID: it is none of the protocol's, and says why */
int stream_msg_parse(
    const char *line, size_t len, struct stream_msg *m, struct err *err) ATTR_CHECK;
/*
 * The id that such a line begins with: it is no JSON, but whose it is can be told.
 * False: it cannot.
 */
bool stream_msg_guess(const char *line, size_t len, struct uuid *id);
/* a string with its escapes resolved, its first bytes; the caller frees it.  NULL: no
 * string, or no memory */
char *stream_msg_text(
    const struct jspan *string, size_t most, size_t *len, struct err *err) ATTR_CHECK;
/* the error of a TASK; ERR_INVALID: it is not as it must be */
int stream_msg_error(
    const struct stream_msg *m, struct stream_error *e, struct err *err) ATTR_CHECK;

/* what the node says of a task; borrowed */
struct stream_task {
	const struct uuid *id;
	const char *type, *queue, *fence;
	int attempt, max_attempts;
	int64_t deadline_us, timeout_ms;
	const char *payload; /* JSON; NULL: null */
	size_t payload_len;
	const char *traceparent, *tracestate; /* NULL: none */
};

/* each appends one line; failure sticks in the strbuf */
void stream_put_hello(
    struct strbuf *sb, const char *type, const char *worker, size_t max_line_bytes);
void stream_put_task(struct strbuf *sb, const struct stream_task *t);
void stream_put_ping(struct strbuf *sb, int64_t n);
void stream_put_cancel(struct strbuf *sb, const struct uuid *id);
void stream_put_drain(struct strbuf *sb);

#endif
