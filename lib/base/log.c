/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.c - one line an event, one write a line.
 *
 * The log is the one thing of the process that is not passed around: it belongs
 * to the process as its standard error does.  Nothing here allocates, blocks or
 * fails to the caller, and errno survives a call.
 *
 * What a line looks like is logline.c's business, how it leaves is logsink.c's.  Here
 * is what is left out: what is below the level, what could not be written (counted, and
 * told by the next line that can be), and the same sentence too often in a second
 * (counted too: see struct fold).
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/logline.h"
#include "base/logsink.h"
#include "base/str.h"

#define FOLD_AFTER     20 /* lines of one sentence in one window */
#define FOLD_WINDOW_MS 1000
#define FOLD_SETS      32
#define FOLD_WAYS      4
#define IDENT	       "shoald" /* what daemons file our lines under */

/* how often one sentence was said in its window */
struct fold {
	char sentence[96]; /* its beginning; empty: unused */
	enum log_level level;
	int64_t since_ms;
	unsigned seen;
	unsigned left_out;
};

static struct {
	struct logsink sink;
	enum log_level level;
	enum log_format format;
	char node[24];
	char identity[96];
	long pid;		   /* for syslog */
	unsigned long dropped;	   /* not told yet */
	unsigned long all_dropped; /* of this process */
	unsigned folding;	   /* folds with left_out > 0 */
	struct fold folds[FOLD_SETS][FOLD_WAYS];
} logger = {.sink = {.fd = STDERR_FILENO}, .level = LOG_INFO};

static const char *const level_names[] = {
    [LOG_ERROR] = "error",
    [LOG_WARN] = "warn",
    [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug",
};

/* ---- where lines go ---------------------------------------------------------- */

static bool
has_file(const struct log_opts *opts)
{
	return opts->file != NULL && opts->file[0] != '\0' && !str_eq(opts->file, "-");
}

/* the journal if standard error is its own; without it there is standard error */
static void
use_journal_or_stderr(const struct log_opts *opts)
{
	if (!logsink_is_journal() ||
	    logsink_journal(&logger.sink, opts->socket, NULL) != 0)
		logsink_stderr(&logger.sink);
}

int
log_start(const struct log_opts *opts, enum log_level level, struct err *err)
{
	int rc = 0;

	switch (opts->target) {
	case LOG_TO_AUTO:
		if (has_file(opts))
			rc = logsink_file(&logger.sink, opts->file, err);
		else
			use_journal_or_stderr(opts);
		break;
	case LOG_TO_STDERR:
		logsink_stderr(&logger.sink);
		break;
	case LOG_TO_FILE:
		rc = has_file(opts) ? logsink_file(&logger.sink, opts->file, err)
				    : err_set(err, ERR_INVALID,
					  "log.target is file: say which by log.file");
		break;
	case LOG_TO_SYSLOG:
		rc = logsink_syslog(&logger.sink, opts->socket, err);
		break;
	case LOG_TO_JOURNALD:
		rc = logsink_journal(&logger.sink, opts->socket, err);
		break;
	}
	if (rc != 0)
		return -1;
	logger.level = level;
	logger.format = opts->format;
	logger.pid = (long)getpid();
	return 0;
}

int
log_open(const char *path, enum log_level level, struct err *err)
{
	const struct log_opts opts = {
	    .target = path == NULL || str_eq(path, "-") ? LOG_TO_STDERR : LOG_TO_FILE,
	    .file = path,
	    .socket = "",
	};

	return log_start(&opts, level, err);
}

int
log_reopen(struct err *err)
{
	return logsink_reopen(&logger.sink, err);
}

/* ---- one line ---------------------------------------------------------------- */

static bool
write_line(const struct logline *l)
{
	char line[LOG_JSON_MAX], *at = line + 1; /* one is spare: logsink_write */
	size_t size = LOG_LINE_MAX - 1, len = 0;

	switch (logger.sink.kind) {
	case LOGSINK_POLL:
	case LOGSINK_NONBLOCK:
	case LOGSINK_STREAM:
		len = logger.format == LOG_JSON ? logline_json(l, at, sizeof(line) - 1)
						: logline_text(l, at, size);
		break;
	case LOGSINK_SYSLOG:
		if (logger.format == LOG_JSON)
			size = sizeof(line) - 1;
		len = logline_syslog(
		    l, IDENT, logger.pid, logger.format == LOG_JSON, at, size);
		break;
	case LOGSINK_JOURNAL:
		len = logline_journal(l, IDENT, at, sizeof(line) - 1);
		break;
	}
	return logsink_write(&logger.sink, at, len);
}

/* ready to be filled; the text of values is not cleared */
static void
begin_line(struct logline *l, enum log_level level, const struct log_ctx *ctx,
    const char *sentence)
{
	l->bare = false;
	l->level = level;
	l->wall_us = clock_wall_us();
	l->identity = logger.identity;
	l->ctx = ctx;
	l->sentence = sentence;
	l->count = l->used = 0;
	l->cut = false;
}

static bool
tell_dropped(void)
{
	struct logline l;

	begin_line(&l, LOG_WARN, NULL, "log lines dropped");
	logline_add_int(&l, "count", (int64_t)logger.dropped);
	return write_line(&l);
}

static void
put_line(const struct logline *l)
{
	if (logger.dropped > 0) {
		if (!tell_dropped()) {
			logger.dropped++;
			logger.all_dropped++;
			return;
		}
		logger.dropped = 0;
	}
	if (!write_line(l)) {
		logger.dropped++;
		logger.all_dropped++;
	}
}

/* ---- folding ----------------------------------------------------------------- */

static void
fold_tell(struct fold *f)
{
	struct logline l;

	if (f->left_out == 0)
		return;
	begin_line(&l, f->level, NULL, f->sentence);
	logline_add_int(&l, "left_out", f->left_out);
	f->left_out = 0;
	logger.folding--;
	put_line(&l);
}

static void
fold_tell_due(int64_t now_ms, bool all)
{
	size_t set, way;

	for (set = 0; logger.folding > 0 && set < FOLD_SETS; set++)
		for (way = 0; way < FOLD_WAYS; way++) {
			struct fold *f = &logger.folds[set][way];

			if (all || now_ms - f->since_ms >= FOLD_WINDOW_MS)
				fold_tell(f);
		}
}

/* the sentence's record, or the one of its set that was begun longest ago */
static struct fold *
fold_find(const char *sentence)
{
	struct fold *set, *oldest;
	uint32_t hash =
	    2166136261u; /* FNV-1a: sentences are ours, not an adversary's */
	const char *p;
	size_t way;

	for (p = sentence; *p != '\0'; p++)
		hash = (hash ^ (unsigned char)*p) * 16777619u;
	set = logger.folds[(hash >> 16 ^ hash) % FOLD_SETS];
	oldest = &set[0];
	for (way = 0; way < FOLD_WAYS; way++) {
		if (strncmp(set[way].sentence, sentence,
			sizeof(set[way].sentence) - 1) == 0)
			return &set[way];
		if (set[way].since_ms < oldest->since_ms)
			oldest = &set[way];
	}
	fold_tell(oldest);
	memset(oldest, 0, sizeof(*oldest));
	str_copy(oldest->sentence, sizeof(oldest->sentence), sentence);
	return oldest;
}

/* true if this one is left out */
static bool
fold_count(enum log_level level, const char *sentence, int64_t now_ms)
{
	struct fold *f = fold_find(sentence);

	if (f->seen == 0 || now_ms - f->since_ms >= FOLD_WINDOW_MS) {
		f->since_ms = now_ms;
		f->seen = 0;
	}
	f->level = level;
	if (++f->seen <= FOLD_AFTER)
		return false;
	if (f->left_out++ == 0)
		logger.folding++;
	return true;
}

void
log_flush(void)
{
	int saved = errno;

	fold_tell_due(clock_mono_ms(), false);
	errno = saved;
}

/* ---- the interface ----------------------------------------------------------- */

void
log_close(void)
{
	fold_tell_due(0, true);
	logsink_close(&logger.sink);
	logger.format = LOG_TEXT;
}

void
log_identity(const char *text)
{
	/* (a name of a process that is too long for a line's room is cut) */
	snprintf(logger.identity, sizeof(logger.identity), "%s%s%s%.63s",
	    logger.node[0] != '\0' ? "node=" : "", logger.node,
	    logger.node[0] != '\0' && text[0] != '\0' ? " " : "", text);
	logger.pid = (long)getpid();
	logger.dropped = logger.all_dropped = 0;
	logger.sink.torn = false;
	logger.folding = 0;
	memset(logger.folds, 0, sizeof(logger.folds));
}

const char *
log_identity_text(void)
{
	return logger.identity;
}

void
log_node(const char *id)
{
	(void)str_copy(logger.node, sizeof(logger.node), id);
}

void
log_set_level(enum log_level level)
{
	logger.level = level;
}

enum log_level
log_level(void)
{
	return logger.level;
}

enum log_format
log_format(void)
{
	return logger.format;
}

int
log_level_parse(const char *name, enum log_level *level)
{
	size_t i;

	for (i = 0; i < COUNT_OF(level_names); i++)
		if (str_eq(name, level_names[i])) {
			*level = (enum log_level)i;
			return 0;
		}
	return -1;
}

const char *
log_level_name(enum log_level level)
{
	return (unsigned)level < COUNT_OF(level_names) ? level_names[level] : "unknown";
}

bool
log_enabled(enum log_level level)
{
	return level <= logger.level;
}

unsigned long
log_dropped(void)
{
	return logger.all_dropped;
}

void
log_line(enum log_level level, const struct log_ctx *ctx, const char *sentence,
    const char *fmt, ...)
{
	int saved = errno;
	struct logline l;
	int64_t now_ms;
	va_list ap;

	if (!log_enabled(level))
		return;
	now_ms = clock_mono_ms();
	fold_tell_due(now_ms, false);
	if (fold_count(level, sentence, now_ms)) {
		errno = saved;
		return;
	}
	begin_line(&l, level, ctx, sentence);
	va_start(ap, fmt);
	logline_fill(&l, fmt, ap);
	va_end(ap);
	if (ctx != NULL) {
		logline_add(&l, "trace", ctx->trace);
		logline_add(&l, "span", ctx->span);
	}
	put_line(&l);
	errno = saved;
}

void
log_urgent(const char *sentence, const char *fmt, ...)
{
	int saved = errno;
	struct logline l;
	va_list ap;

	begin_line(&l, LOG_ERROR, NULL, sentence);
	va_start(ap, fmt);
	logline_fill(&l, fmt, ap);
	va_end(ap);
	put_line(&l);
	errno = saved;
}
