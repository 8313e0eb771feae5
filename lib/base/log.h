/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.h - one line an event: time, level, identity, sentence, key=value pairs.
 *
 *     log_warn(&ctx, "redis connection lost", "addr=%s reason=\"%s\"", ...);
 *
 * The sentence is fixed, lower case, without a full stop, so that people can
 * grep for it.  error: someone should look; warn: we coped, but it is odd; info:
 * life cycle and one line a task's outcome; debug: transitions by name.  Never a
 * secret, never a payload.
 *
 * What is behind the sentence are pairs: "key=%d" or "key=\"%s\"", with one space
 * between.  As JSON each is a member of its own; so the bounds of a value are those
 * that stand in the format, whatever the value says (logline.h).
 *
 * A line is one write(2) of at most LOG_LINE_MAX bytes (JSON: LOG_JSON_MAX); a full
 * pipe or disk drops lines (counted, and said once it works again), never blocks or
 * kills.  The same sentence more than 20 times in a second is folded into one line that
 * tells how many were left out (sentence left_out=N).
 *
 *     2026-11-23T12:00:00.123Z info  node=... worker=2 task=... task finished attempt=1
 *
 * Control characters and invalid UTF-8 are escaped in the whole line; what is too
 * long ends in "...".
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

#include "base/attr.h"
#include "base/err.h"

#define LOG_LINE_MAX 2048
#define LOG_JSON_MAX 4096 /* what a pipe takes in one piece */

enum log_level { LOG_ERROR = 0, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* auto: the file if there is one, else the journal if standard error is, else that */
enum log_target {
	LOG_TO_AUTO = 0,
	LOG_TO_STDERR,
	LOG_TO_FILE,
	LOG_TO_SYSLOG,
	LOG_TO_JOURNALD
};
enum log_format { LOG_TEXT = 0, LOG_JSON };

/* who speaks: filled by the owner, borrowed for the call; NULL: the process alone */
struct log_ctx {
	const char *kind; /* such as "conn" or "task"; NULL: none */
	const char *id;
	const char *trace, *span; /* of what it belongs to; NULL: none */
};

struct log_opts {
	enum log_target target;
	enum log_format format;
	const char *file;   /* "-": none */
	const char *socket; /* of syslog or the journal; "": the usual one */
};

/*
 * May be called again; on failure the log before it stays.  SIGPIPE and SIGXFSZ are
 * ignored from here on if they had their default action: a log that nobody reads must
 * not end the process.
 */
int log_start(
    const struct log_opts *opts, enum log_level level, struct err *err) ATTR_CHECK;
/* the same with text into a file; path NULL or "-": standard error */
int log_open(const char *path, enum log_level level, struct err *err) ATTR_CHECK;
/* opens the same path again (USR1, after rotation); keeps the old file on failure */
int log_reopen(struct err *err) ATTR_CHECK;
void log_close(void);
/*
 * The process's part of each line, such as "worker=2"; copied.  Forgets what was
 * folded or dropped so far: after a fork that is the parent's to say.
 */
void log_identity(const char *text);
const char *log_identity_text(void);
/* the node's id, in front of the identities that are set from now on; copied */
void log_node(const char *id);
void log_set_level(enum log_level level);
enum log_level log_level(void);
enum log_format log_format(void);
/* "error", "warn", "info", "debug"; -1 if none of these */
int log_level_parse(const char *name, enum log_level *level) ATTR_CHECK;
const char *log_level_name(enum log_level level);
bool log_enabled(enum log_level level);
/* lines of this process that could not be written, so far */
unsigned long log_dropped(void);

/* says what is folded and due; a timer once a second is right, silence delays it only
 */
void log_flush(void);

void log_line(enum log_level level, const struct log_ctx *ctx, const char *sentence,
    const char *fmt, ...) ATTR_PRINTF(4, 5);
/* the same at any level, never folded, and allowed in a signal handler (no %f) */
void log_urgent(const char *sentence, const char *fmt, ...) ATTR_PRINTF(2, 3);

/* fmt may be "" when there is nothing to add */
#define log_error(ctx, sentence, ...) log_line(LOG_ERROR, ctx, sentence, __VA_ARGS__)
#define log_warn(ctx, sentence, ...)  log_line(LOG_WARN, ctx, sentence, __VA_ARGS__)
#define log_info(ctx, sentence, ...)  log_line(LOG_INFO, ctx, sentence, __VA_ARGS__)
#define log_debug(ctx, sentence, ...)                                                  \
	do {                                                                           \
		if (log_enabled(LOG_DEBUG))                                            \
			log_line(LOG_DEBUG, ctx, sentence, __VA_ARGS__);               \
	} while (0)

#endif
