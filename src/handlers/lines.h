/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lines.h - what a running command says, line by line.
 *
 *     42                       a number from 0 to 100: its progress
 *     {"progress": ...}        any JSON: its progress
 *     {"log": "text"}          a line of its log; both may stand in one object
 *     anything else            a line of its log, as it is
 *
 * Garbage is text: bytes that are no UTF-8 become question marks, a line above
 * LINES_BYTES loses its end, an empty one is nothing.  Pure: bytes go in, reports come
 * out.
 */
#ifndef HANDLERS_LINES_H
#define HANDLERS_LINES_H

#include <stdbool.h>
#include <stddef.h>

#define LINES_BYTES 4095 /* of one line; ATTEMPT_PROGRESS_BYTES with a NUL */

/* progress: JSON, NULL: none; line: UTF-8 without a NUL, NULL: none; both for the call
 */
typedef void lines_cb(const char *progress, const char *line, size_t len, void *arg);

/* zeroed: nothing has come yet */
struct lines {
	char bytes[LINES_BYTES + 1]; /* of a line whose end has not come */
	size_t len;
};

/* calls cb once for each line that these bytes end */
void lines_feed(
    struct lines *l, const char *bytes, size_t len, lines_cb *cb, void *arg);
/* the last line may have no end */
void lines_end(struct lines *l, lines_cb *cb, void *arg);

#endif
