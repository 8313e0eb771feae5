/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * logsink.c - where lines go, and how a write is kept from blocking; see logsink.h.
 */
#include "base/logsink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

#define SYSLOG_PATH  "/dev/log"
#define JOURNAL_PATH "/run/systemd/journal/socket"

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
use(struct logsink *s, enum logsink_kind kind, int fd, bool owned)
{
	if (s->owned)
		close(s->fd);
	s->kind = kind;
	s->fd = fd;
	s->owned = owned;
	s->torn = false;
	s->path[0] = '\0';
	/* a log that nobody reads, or that is full, must not end the process */
	ignore_if_default(SIGPIPE);
	ignore_if_default(SIGXFSZ);
}

void
logsink_stderr(struct logsink *s)
{
	struct stat st;
	int fd;

	if (fstat(STDERR_FILENO, &st) == 0) {
		if (S_ISSOCK(st.st_mode)) {
			use(s, LOGSINK_STREAM, STDERR_FILENO, false);
			return;
		}
		/* a file keeps its descriptor: the offset is shared with others */
		if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
			fd = open("/proc/self/fd/2",
			    O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
			if (fd >= 0) {
				use(s, LOGSINK_NONBLOCK, fd, true);
				return;
			}
		}
	}
	use(s, LOGSINK_POLL, STDERR_FILENO, false);
}

int
logsink_file(struct logsink *s, const char *path, struct err *err)
{
	char copy[PATH_MAX];
	int fd;

	/* (it may be the sink's own, which use empties) */
	if (!str_copy(copy, sizeof(copy), path))
		return err_set(err, ERR_INVALID, "the path of the log is too long");
	fd = open(copy,
	    O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);
	if (fd < 0)
		return err_errno(err, errno, "cannot open the log %s", copy);
	use(s, LOGSINK_NONBLOCK, fd, true);
	(void)str_copy(s->path, sizeof(s->path), copy);
	return 0;
}

int
logsink_reopen(struct logsink *s, struct err *err)
{
	return s->path[0] == '\0' ? 0 : logsink_file(s, s->path, err);
}

static int
use_daemon(struct logsink *s, enum logsink_kind kind, const char *path,
    const char *whose, struct err *err)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd, rc;

	if (!str_copy(to.sun_path, sizeof(to.sun_path), path))
		return err_set(err, ERR_INVALID, "log.socket is longer than %zu bytes",
		    sizeof(to.sun_path) - 1);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(err, errno, "socket");
	/* only to see whether somebody is there */
	rc = connect(fd, (const struct sockaddr *)&to, sizeof(to));
	if (rc != 0) {
		rc = err_errno(err, errno,
		    "no %s takes datagrams at %s: start it, or set log.socket or "
		    "log.target",
		    whose, path);
		close(fd);
		return rc;
	}
	close(fd);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(err, errno, "socket");
	use(s, kind, fd, true);
	s->to = to;
	return 0;
}

int
logsink_syslog(struct logsink *s, const char *path, struct err *err)
{
	return use_daemon(s, LOGSINK_SYSLOG, path[0] != '\0' ? path : SYSLOG_PATH,
	    "syslog daemon", err);
}

int
logsink_journal(struct logsink *s, const char *path, struct err *err)
{
	return use_daemon(
	    s, LOGSINK_JOURNAL, path[0] != '\0' ? path : JOURNAL_PATH, "journal", err);
}

bool
logsink_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char text[64];
	struct stat st;

	if (stream == NULL || fstat(STDERR_FILENO, &st) != 0)
		return false;
	snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)st.st_dev,
	    (unsigned long long)st.st_ino);
	return str_eq(stream, text);
}

void
logsink_close(struct logsink *s)
{
	if (s->owned)
		close(s->fd);
	*s = (struct logsink){.fd = STDERR_FILENO};
}

static ssize_t
write_once(struct logsink *s, const char *bytes, size_t len)
{
	struct pollfd pfd = {.fd = s->fd, .events = POLLOUT};
	ssize_t n = -1;

	do {
		switch (s->kind) {
		case LOGSINK_POLL:
			if (poll(&pfd, 1, 0) == 0) {
				errno = EAGAIN;
				return -1;
			}
			n = write(s->fd, bytes, len);
			break;
		case LOGSINK_NONBLOCK:
			n = write(s->fd, bytes, len);
			break;
		case LOGSINK_STREAM:
			n = send(s->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
			break;
		case LOGSINK_SYSLOG:
		case LOGSINK_JOURNAL:
			n = sendto(s->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL,
			    (const struct sockaddr *)&s->to, sizeof(s->to));
			break;
		}
	} while (n < 0 && errno == EINTR);
	return n;
}

bool
logsink_write(struct logsink *s, char *line, size_t len)
{
	ssize_t n;

	if (s->torn) {
		*--line = '\n';
		len++;
	}
	n = write_once(s, line, len);
	if (n == (ssize_t)len) {
		s->torn = false;
		return true;
	}
	if (n > 0)
		s->torn = line[n - 1] != '\n';
	return false;
}
