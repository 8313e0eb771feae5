/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sse.h - server-sent events: from bytes to events, as an EventSource reads them.
 */
#ifndef CLI_SSE_H
#define CLI_SSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"

#define SSE_ID_SIZE 64

/* name: "message" when none was given; both borrowed for the call */
typedef void sse_cb(const char *name, const char *data, void *arg);

struct sse {
	sse_cb *cb;
	void *arg;
	char id[SSE_ID_SIZE]; /* the last one: what a client sends to go on; "": none */
	char name[64];
	struct strbuf line, data;
	bool has_data;
};

void sse_init(struct sse *s, sse_cb *cb, void *arg);
void sse_fini(struct sse *s);
/* a new connection: what was not complete is forgotten, the id stays */
void sse_restart(struct sse *s);
/* false: a line, or an event, is larger than anything a node sends */
bool sse_feed(struct sse *s, const char *bytes, size_t len);

#endif
