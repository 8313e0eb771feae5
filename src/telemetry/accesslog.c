/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * accesslog.c - one line a request; see accesslog.h.
 *
 * A line is a struct logline as the log's are, without level and sentence: the same
 * escapes, the same two formats.  The file is shared by all workers: each write is of
 * whole lines, and into a pipe of no more than the kernel takes in one piece.
 */
#include "telemetry/accesslog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/logline.h"
#include "base/mem.h"
#include "base/str.h"

#define ROOM	   (256 * 1024)
#define FULL_AT	   (64 * 1024)
#define PIPE_PIECE 4096
#define NAME_MOST  32
#define AGENT_MOST 256
#define HIDDEN	   "***"

struct accesslog {
	char path[PATH_MAX]; /* "": standard output */
	enum log_format format;
	struct score_slot *slot; /* borrowed */
	int fd;
	bool is_file; /* takes any piece whole */
	bool torn;    /* the last write ended inside a line */
	bool stuck;   /* it took nothing: not tried before the next flush */
	size_t len;
	uint64_t dropped, told;
	char lines[ROOM];
};

/* parameters whose values are no secret; params_known refuses all that have no row in
 * their handler, but after they were sent */
static const char *const known[] = {"after", "count", "cursor", "from", "kind", "limit",
    "queue", "since", "state", "task", "type", "until", "wait"};

/* ---- where it goes --------------------------------------------------------------- */

static int
open_file(struct accesslog *al, struct err *err)
{
	const char *path = al->path[0] != '\0' ? al->path : "/proc/self/fd/1";
	struct stat st;
	int fd;

	/* (a flag on the descriptor itself would be set for all who share it) */
	fd = open(path,
	    O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC |
		(al->path[0] != '\0' ? O_CREAT : 0),
	    0640);
	if (fd == -1)
		return err_errno(err, errno, "log.access: cannot open %s",
		    al->path[0] != '\0' ? al->path : "standard output");
	if (al->fd != -1)
		close(al->fd);
	al->fd = fd;
	al->torn = false;
	al->is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	return 0;
}

struct accesslog *
accesslog_create(const struct accesslog_opts *opts, struct err *err)
{
	struct accesslog *al = mem_zero(sizeof(*al));

	if (al == NULL) {
		err_set(err, ERR_NOMEM, "access log");
		return NULL;
	}
	al->fd = -1;
	al->format = opts->format;
	al->slot = opts->slot;
	if (!str_eq(opts->path, "-") &&
	    !str_copy(al->path, sizeof(al->path), opts->path)) {
		err_set(err, ERR_INVALID, "log.access is too long");
		mem_free(al);
		return NULL;
	}
	if (open_file(al, err) != 0) {
		mem_free(al);
		return NULL;
	}
	return al;
}

int
accesslog_reopen(struct accesslog *al, struct err *err)
{
	if (al == NULL || al->path[0] == '\0')
		return 0;
	accesslog_flush(al); /* into the file that it was written for */
	return open_file(al, err);
}

/* the first bytes of what waits, up to the end of a line */
static size_t
piece(const struct accesslog *al)
{
	const char *end;

	if (al->is_file || al->len <= PIPE_PIECE)
		return al->len;
	end = memrchr(al->lines, '\n', PIPE_PIECE);
	return end != NULL ? (size_t)(end - al->lines) + 1 : PIPE_PIECE;
}

/* these bytes have left; of a line that was torn the rest is given up */
static void
gone(struct accesslog *al, size_t n)
{
	const char *end;

	if (n > 0 && al->lines[n - 1] != '\n') {
		end = memchr(al->lines + n, '\n', al->len - n);
		n = end != NULL ? (size_t)(end - al->lines) + 1 : al->len;
		al->torn = true;
		al->dropped++;
	}
	memmove(al->lines, al->lines + n, al->len - n);
	al->len -= n;
}

static void
tell_dropped(struct accesslog *al)
{
	if (al->dropped == al->told)
		return;
	score_add(al->slot, SCORE_access_lines_dropped_total, al->dropped - al->told);
	log_warn(NULL, "access log lines dropped", "count=%llu",
	    (unsigned long long)(al->dropped - al->told));
	al->told = al->dropped;
}

static void
write_out(struct accesslog *al)
{
	ssize_t n;

	while (al->len > 0) {
		size_t want = piece(al);

		al->stuck = al->torn && write(al->fd, "\n", 1) != 1;
		if (al->stuck)
			return;
		al->torn = false;
		n = write(al->fd, al->lines, want);
		if (n == -1 && errno == EINTR)
			continue;
		al->stuck = n <= 0; /* a full pipe or disk */
		if (al->stuck)
			return;
		gone(al, (size_t)n);
	}
}

void
accesslog_flush(struct accesslog *al)
{
	if (al == NULL)
		return;
	write_out(al);
	tell_dropped(al);
}

void
accesslog_free(struct accesslog *al)
{
	if (al == NULL)
		return;
	accesslog_flush(al);
	if (al->fd != -1)
		close(al->fd);
	mem_free(al);
}

/* ---- a line ---------------------------------------------------------------------- */

static void
put_line(struct accesslog *al, const struct logline *l)
{
	size_t room;

	if (al->len >= FULL_AT && !al->stuck)
		write_out(al);
	room = ROOM - al->len;
	if (room < LOG_JSON_MAX) {
		al->dropped++; /* told by the next flush */
		return;
	}
	al->len += al->format == LOG_JSON
		       ? logline_json(l, al->lines + al->len, LOG_JSON_MAX)
		       : logline_text(l, al->lines + al->len, LOG_LINE_MAX);
}

static void
begin(struct logline *l)
{
	l->bare = true;
	l->level = LOG_INFO;
	l->wall_us = clock_wall_us();
	l->identity = log_identity_text();
	l->ctx = NULL;
	l->sentence = "";
	l->count = l->used = 0;
	l->cut = false;
}

ATTR_PRINTF(2, 3)
static void
fill(struct logline *l, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	logline_fill(l, fmt, ap);
	va_end(ap);
}

/* ---- the target ------------------------------------------------------------------ */

static bool
is_known(const char *name, size_t len)
{
	for (size_t i = 0; i < COUNT_OF(known); i++) {
		if (strlen(known[i]) == len && memcmp(known[i], name, len) == 0)
			return true;
	}
	return false;
}

/* a name that nobody knows may be the secret itself */
static bool
may_be_shown(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (!((name[i] >= 'a' && name[i] <= 'z') || name[i] == '_' ||
			name[i] == '-' || name[i] == '.'))
			return false;
	}
	return len > 0 && len <= NAME_MOST;
}

static void
append(char to[ACCESSLOG_TARGET], size_t *at, const char *from, size_t len)
{
	if (len > ACCESSLOG_TARGET - 1 - *at)
		len = ACCESSLOG_TARGET - 1 - *at;
	memcpy(to + *at, from, len);
	*at += len;
	to[*at] = '\0';
}

void
accesslog_target(const char *target, char to[ACCESSLOG_TARGET])
{
	size_t len = strcspn(target, "?"), at = 0;

	append(to, &at, target, len);
	for (char sign = '?'; target[len] != '\0'; sign = '&') {
		const char *pair = target + len + 1;
		size_t name = strcspn(pair, "=&"), all = strcspn(pair, "&");
		bool show = name < all && is_known(pair, name) &&
			    strncmp(pair + name + 1, "shoal_", 6) != 0;

		len += 1 + all;
		append(to, &at, &sign, 1);
		if (show) {
			append(to, &at, pair, all);
		} else if (may_be_shown(pair, name) && name < all) {
			append(to, &at, pair, name + 1);
			append(to, &at, HIDDEN, sizeof(HIDDEN) - 1);
		} else if (all > 0) {
			append(to, &at, HIDDEN, sizeof(HIDDEN) - 1);
		}
	}
}

/* ---- what is told ---------------------------------------------------------------- */

void
accesslog_put(struct accesslog *al, struct httpreq *req, const struct httpreq_facts *f,
    const struct accesslog_more *more)
{
	char target[ACCESSLOG_TARGET], task[UUID_TEXT_SIZE];
	const char *agent = httpreq_header(req, "User-Agent");
	struct logline l;

	begin(&l);
	accesslog_target(httpreq_target(req), target);
	fill(&l,
	    "client=%s request=%s listener=%s method=%s target=\"%s\" status=%d "
	    "bytes_in=%zu bytes_out=%zu",
	    httpreq_peer(req), httpreq_name(req), more->listener,
	    httpreq_method_name(req), target, f->status, f->bytes_in, f->bytes_out);
	if (f->unsent > 0)
		logline_add_int(&l, "unsent", (int64_t)f->unsent);
	logline_add_int(&l, "read_us", f->read_us);
	logline_add_int(&l, "work_us", f->phase_us[HTTP_WORK]);
	logline_add_int(&l, "line_us", f->phase_us[HTTP_LINE]);
	logline_add_int(&l, "store_us", f->phase_us[HTTP_STORE]);
	logline_add_int(&l, "wait_us", f->phase_us[HTTP_WAIT]);
	logline_add_int(&l, "write_us", f->write_us);
	if (more->application != 0)
		logline_add_int(&l, "application", more->application);
	if (more->task != NULL)
		logline_add(&l, "task", uuid_format(more->task, task));
	logline_add(&l, "trace", more->trace);
	logline_add(&l, "span", more->span);
	if (agent != NULL)
		fill(&l, "agent=\"%.*s\"", AGENT_MOST, agent);
	put_line(al, &l);
}

void
accesslog_put_refused(struct accesslog *al, const char *listener, const char *peer,
    const char *name, int status)
{
	struct logline l;

	begin(&l);
	fill(&l, "client=%s request=%s listener=%s method=- target=\"\" status=%d",
	    peer, name, listener, status);
	put_line(al, &l);
}
