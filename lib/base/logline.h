/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * logline.h - one event, from the words of a call to the bytes of a line.
 *
 * A record holds what was said with the bounds of each value, so that no value can end
 * early, begin another field or leave its line, whatever is in it.  Four forms are made
 * of it: text, JSON, what the journal takes, and what syslog takes.
 *
 * Nothing here allocates, locks or fails; all but a number with a decimal point may be
 * used in a signal handler.
 */
#ifndef BASE_LOGLINE_H
#define BASE_LOGLINE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

#define LOGLINE_FIELDS 24

enum logline_form {
	LOGLINE_WORDS = 0, /* bare words, without a key */
	LOGLINE_PLAIN,	   /* key=value */
	LOGLINE_QUOTED,	   /* key="value" */
	LOGLINE_NUMBER,	   /* key=value, a number in JSON too */
};

/* all inside of its record, or borrowed for its life */
struct logline_field {
	enum logline_form form;
	const char *key;
	size_t key_len;
	const char *value; /* as it was given: nothing is escaped yet */
	size_t len;
};

struct logline {
	bool bare; /* an access log's: neither level nor sentence */
	enum log_level level;
	int64_t wall_us;
	const char *identity;	   /* "node=... worker=2"; "" */
	const struct log_ctx *ctx; /* NULL: the process alone */
	const char *sentence;
	struct logline_field fields[LOGLINE_FIELDS];
	size_t count;
	bool cut; /* there was more of it */
	size_t used;
	char text[LOG_LINE_MAX]; /* the values */
};

/*
 * Takes what fmt says: "key=%d key=\"%s\"" with the conversions of printf but %n; words
 * without a key are kept as words.
 */
void logline_fill(struct logline *l, const char *fmt, va_list ap);
/* one field more; key and value are borrowed; a value NULL or "": none */
void logline_add(struct logline *l, const char *key, const char *value);
void logline_add_int(struct logline *l, const char *key, int64_t n);

/* each ends with a newline, has size bytes at most, and returns how many; no NUL */
size_t logline_text(const struct logline *l, char *to, size_t size);
size_t logline_json(const struct logline *l, char *to, size_t size);
/* KEY=value lines of the journal's own protocol; ident: of whom */
size_t logline_journal(
    const struct logline *l, const char *ident, char *to, size_t size);
/* "<priority>ident[pid]: ", and text without time and level, or the JSON; no newline */
size_t logline_syslog(const struct logline *l, const char *ident, long pid, bool json,
    char *to, size_t size);

#endif
