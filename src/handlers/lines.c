/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lines.c - a command's report, taken apart; see lines.h.
 */
#include "handlers/lines.h"

#include <string.h>

#include "base/jscan.h"
#include "base/str.h"

/* what is no UTF-8, or a NUL, becomes a question mark, in place */
static void
clean(char *text, size_t len)
{
	size_t n;

	for (size_t i = 0; i < len; i += n) {
		n = text[i] != '\0' ? str_utf8(text + i, len - i) : 0;
		if (n == 0) {
			text[i] = '?';
			n = 1;
		}
	}
}

static bool
is_percentage(const struct jspan *value)
{
	double n;

	return value->kind == JSON_NUMBER && jspan_double(value, &n, NULL) == 0 &&
	       n >= 0 && n <= 100;
}

/* false: it is text */
static bool
tell_json(const struct jspan *value, lines_cb *cb, void *arg)
{
	char progress[LINES_BYTES + 1], log[LINES_BYTES + 1];
	struct jspan of_progress = {0}, of_log = {0};
	bool has_progress, has_log;
	size_t len = 0;

	if (is_percentage(value)) {
		of_progress = *value;
		has_progress = true;
		has_log = false;
	} else {
		has_progress = jspan_get(value, "progress", &of_progress);
		has_log = jspan_get(value, "log", &of_log) &&
			  jspan_string(&of_log, log, sizeof(log), &len, NULL) == 0;
	}
	if (has_progress) {
		memcpy(progress, of_progress.at, of_progress.len);
		progress[of_progress.len] = '\0';
	}
	if (has_progress || has_log)
		cb(has_progress ? progress : NULL, has_log ? log : NULL, len, arg);
	return has_progress || has_log;
}

static void
tell(struct lines *l, lines_cb *cb, void *arg)
{
	const struct jscan_limits limits = {.max_depth = 32, .check_keys = 1};
	struct jspan value;

	if (l->len > 0 && l->bytes[l->len - 1] == '\r')
		l->len--;
	if (l->len == 0)
		return;
	if (jscan_check(l->bytes, l->len, &limits, &value, NULL) != 0 ||
	    !tell_json(&value, cb, arg)) {
		clean(l->bytes, l->len);
		l->bytes[l->len] = '\0';
		cb(NULL, l->bytes, l->len, arg);
	}
	l->len = 0;
}

void
lines_feed(struct lines *l, const char *bytes, size_t len, lines_cb *cb, void *arg)
{
	while (len > 0) {
		const char *end = memchr(bytes, '\n', len);
		size_t part = end != NULL ? (size_t)(end - bytes) : len;
		size_t room = LINES_BYTES - l->len;

		memcpy(l->bytes + l->len, bytes, part < room ? part : room);
		l->len += part < room ? part : room;
		if (end == NULL)
			return;
		tell(l, cb, arg);
		bytes = end + 1;
		len -= part + 1;
	}
}

void
lines_end(struct lines *l, lines_cb *cb, void *arg)
{
	tell(l, cb, arg);
}
