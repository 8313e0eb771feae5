/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * linebuf.h - bytes in, whole lines out.
 *
 * A line that came whole is told where it lies; only one whose end has not come is
 * copied.  What is kept never exceeds the longest line that is allowed.  Pure.
 */
#ifndef BASE_LINEBUF_H
#define BASE_LINEBUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/strbuf.h"

struct linebuf {
	struct strbuf begun; /* a line whose end has not come */
	size_t max;
};

/* the line without its "\n" or "\r\n", borrowed for the call; false: hear no more */
typedef bool linebuf_cb(const char *line, size_t len, void *arg);

void linebuf_init(struct linebuf *lb, size_t max_line_bytes);
void linebuf_fini(struct linebuf *lb);
/*
 * Tells each line that these bytes end.  ERR_LIMIT: a line is longer than allowed, and
 * nothing behind it can be told from its middle; ERR_NOMEM.  After a failure, and when
 * cb said false, the rest of the bytes is dropped.
 */
int linebuf_feed(struct linebuf *lb, const char *bytes, size_t len, linebuf_cb *cb,
    void *arg, struct err *err) ATTR_CHECK;
/* a last line without an end, if there is one */
void linebuf_end(struct linebuf *lb, linebuf_cb *cb, void *arg);

#endif
