/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.c - one line an event, one write a line.
 *
 * The log is the one thing of the process that is not passed around: it belongs
 * to the process as its standard error does.  Nothing here allocates, blocks or
 * fails to the caller, and errno survives a call.
 *
 * Where lines go decides how a write is kept from blocking.  A file, a FIFO or a
 * terminal is opened by us without blocking; so is standard error, through /proc,
 * because setting the flag on the descriptor itself would set it for everybody
 * who shares it.  A socket (the journal) takes the flag by call.  Where /proc
 * refuses us we ask poll first, which leaves a small race with other writers.
 *
 * Lines that could not be written are counted and told by the next one that can.
 * The same sentence too often in a second is counted too: see struct fold.
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

#define FOLD_AFTER     20 /* lines of one sentence in one window */
#define FOLD_WINDOW_MS 1000
#define FOLD_SETS      32
#define FOLD_WAYS      4

enum sink {
	SINK_POLL = 0, /* a descriptor that may block: ask first */
	SINK_NONBLOCK,
	SINK_SOCKET,
};

/* how often one sentence was said in its window */
struct fold {
	char sentence[96]; /* its beginning; empty: unused */
	enum log_level level;
	int64_t since_ms;
	unsigned seen;
	unsigned left_out;
};

static struct {
	int fd;
	bool owned; /* fd is ours to close */
	enum sink sink;
	enum log_level level;
	char path[PATH_MAX]; /* empty: standard error */
	char identity[64];
	unsigned long dropped;
	bool torn;	  /* the last write ended inside a line */
	unsigned folding; /* folds with left_out > 0 */
	struct fold folds[FOLD_SETS][FOLD_WAYS];
} logger = {.fd = STDERR_FILENO, .level = LOG_INFO};

static const char *const level_names[] = {
    [LOG_ERROR] = "error",
    [LOG_WARN] = "warn",
    [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug",
};

/* ---- where lines go ---------------------------------------------------------- */

static void
ignore_if_default(int signo)
{
	struct sigaction sa;

	if (sigaction(signo, NULL, &sa) != 0 || (sa.sa_flags & SA_SIGINFO) != 0 ||
	    sa.sa_handler != SIG_DFL)
		return;
	sa.sa_handler = SIG_IGN;
	(void)sigaction(signo, &sa, NULL); /* cannot fail for these signals */
}

static void
set_sink(int fd, bool owned, enum sink sink)
{
	if (logger.owned)
		close(logger.fd);
	logger.fd = fd;
	logger.owned = owned;
	logger.sink = sink;
	logger.torn = false;
	ignore_if_default(SIGPIPE);
	ignore_if_default(SIGXFSZ);
}

static void
use_stderr(void)
{
	struct stat st;
	int fd;

	if (fstat(STDERR_FILENO, &st) == 0) {
		if (S_ISSOCK(st.st_mode)) {
			set_sink(STDERR_FILENO, false, SINK_SOCKET);
			return;
		}
		/* a file keeps its descriptor: the offset is shared with others */
		if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
			fd = open("/proc/self/fd/2",
			    O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
			if (fd >= 0) {
				set_sink(fd, true, SINK_NONBLOCK);
				return;
			}
		}
	}
	set_sink(STDERR_FILENO, false, SINK_POLL);
}

static int
use_file(const char *path, struct err *err)
{
	int fd = open(path,
	    O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);

	if (fd < 0)
		return err_errno(err, errno, "cannot open the log %s", path);
	set_sink(fd, true, SINK_NONBLOCK);
	return 0;
}

int
log_open(const char *path, enum log_level level, struct err *err)
{
	if (path == NULL || str_eq(path, "-"))
		path = "";
	if (strlen(path) >= sizeof(logger.path))
		return err_set(err, ERR_INVALID, "the path of the log is too long");
	if (path[0] == '\0')
		use_stderr();
	else if (use_file(path, err) != 0)
		return -1;
	str_copy(logger.path, sizeof(logger.path), path);
	logger.level = level;
	return 0;
}

int
log_reopen(struct err *err)
{
	if (logger.path[0] == '\0')
		return 0;
	return use_file(logger.path, err);
}

static ssize_t
write_once(const char *bytes, size_t len)
{
	struct pollfd pfd = {.fd = logger.fd, .events = POLLOUT};
	ssize_t n;

	do {
		if (logger.sink == SINK_POLL && poll(&pfd, 1, 0) == 0) {
			errno = EAGAIN;
			return -1;
		}
		if (logger.sink == SINK_SOCKET)
			n = send(logger.fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		else
			n = write(logger.fd, bytes, len);
	} while (n < 0 && errno == EINTR);
	return n;
}

/* ---- one line ---------------------------------------------------------------- */

/* line begins with a spare newline, used when the last line was torn */
static bool
write_line(const char *line, size_t len)
{
	const char *from = logger.torn ? line : line + 1;
	size_t want = logger.torn ? len : len - 1;
	ssize_t n = write_once(from, want);

	if (n == (ssize_t)want) {
		logger.torn = false;
		return true;
	}
	if (n > 0)
		logger.torn = from[n - 1] != '\n';
	return false;
}

/* the text is "identity kind=id sentence fields", raw; cut: there was more of it */
static bool
write_text(enum log_level level, const char *text, bool cut)
{
	char line[LOG_LINE_MAX], when[CLOCK_TEXT_SIZE];
	size_t len, used, textlen = strlen(text);
	int head;

	clock_format(clock_wall_us(), when);
	head = snprintf(line, sizeof(line), "\n%.23sZ %-5s ", when, level_names[level]);
	/* room for "...", the newline, and the NUL that only this function sees */
	used =
	    str_one_line(line + head, sizeof(line) - (size_t)head - 5, text, textlen);
	len = strlen(line);
	if (cut || used < textlen) {
		memcpy(line + len, "...", 3);
		len += 3;
	}
	line[len++] = '\n';
	return write_line(line, len);
}

static void
put_text(enum log_level level, const char *text, bool cut)
{
	char note[128];

	if (logger.dropped > 0) {
		snprintf(note, sizeof(note), "%s%slog lines dropped count=%lu",
		    logger.identity, logger.identity[0] != '\0' ? " " : "",
		    logger.dropped);
		if (!write_text(LOG_WARN, note, false)) {
			logger.dropped++;
			return;
		}
		logger.dropped = 0;
	}
	if (!write_text(level, text, cut))
		logger.dropped++;
}

/* ---- folding ----------------------------------------------------------------- */

static void
fold_tell(struct fold *f)
{
	char text[256];

	if (f->left_out == 0)
		return;
	snprintf(text, sizeof(text), "%s%s%s left_out=%u", logger.identity,
	    logger.identity[0] != '\0' ? " " : "", f->sentence, f->left_out);
	f->left_out = 0;
	logger.folding--;
	put_text(f->level, text, false);
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
	if (logger.owned)
		close(logger.fd);
	logger.fd = STDERR_FILENO;
	logger.owned = false;
	logger.sink = SINK_POLL;
	logger.path[0] = '\0';
}

void
log_identity(const char *text)
{
	str_copy(logger.identity, sizeof(logger.identity), text);
	logger.dropped = 0;
	logger.torn = false;
	logger.folding = 0;
	memset(logger.folds, 0, sizeof(logger.folds));
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

bool
log_enabled(enum log_level level)
{
	return level <= logger.level;
}

void
log_line(enum log_level level, const struct log_ctx *ctx, const char *sentence,
    const char *fmt, ...)
{
	char text[LOG_LINE_MAX];
	int saved = errno;
	int64_t now_ms;
	size_t len;
	int more = 0;
	va_list ap;

	if (!log_enabled(level))
		return;
	now_ms = clock_mono_ms();
	fold_tell_due(now_ms, false);
	if (fold_count(level, sentence, now_ms)) {
		errno = saved;
		return;
	}
	snprintf(text, sizeof(text), "%s%s%s%s%s%s%s", logger.identity,
	    logger.identity[0] != '\0' ? " " : "", ctx != NULL ? ctx->kind : "",
	    ctx != NULL ? "=" : "", ctx != NULL ? ctx->id : "", ctx != NULL ? " " : "",
	    sentence);
	len = strlen(text);
	if (fmt[0] != '\0' && len + 1 < sizeof(text)) {
		text[len++] = ' ';
		va_start(ap, fmt);
		more = vsnprintf(text + len, sizeof(text) - len, fmt, ap);
		va_end(ap);
	}
	put_text(level, text, more >= (int)(sizeof(text) - len));
	errno = saved;
}
