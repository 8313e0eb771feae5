/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * top.h - GET /api/overview as lines of text for a terminal of some size.
 *
 * Pure: a document goes in, lines come out.  What came from outside is made harmless,
 * and no line is longer than the view is wide.
 */
#ifndef CLI_TOP_H
#define CLI_TOP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"

struct json_object;

#define TOP_WIDTH_LEAST 40
#define TOP_WIDTH_MOST	400

enum top_sort { TOP_WAITING = 0, TOP_RUNNING, TOP_OLDEST, TOP_NAME, TOP_SORT_COUNT };

struct top_view {
	int width;  /* columns; from TOP_WIDTH_LEAST to TOP_WIDTH_MOST counts */
	int height; /* lines; 0: as many as it takes */
	enum top_sort sort;
	bool ansi;	    /* heads and faults are marked for a terminal */
	bool paused;	    /* said in the first line */
	const char *notice; /* a line of its own, such as why it is old; NULL: none */
};

/* "waiting", "running", "oldest", "name"; -1 if it is none of these */
int top_sort_parse(const char *name, enum top_sort *sort);
/* appends whole lines */
void top_frame(
    struct strbuf *out, struct json_object *overview, const struct top_view *v);

#endif
