/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * logsink.h - where lines go, and how a write is kept from blocking.
 *
 * A file, a FIFO or a terminal is opened by us without blocking; so is standard error,
 * through /proc, because setting the flag on the descriptor itself would set it for
 * everybody who shares it.  A socket takes the flag by call.  Where /proc refuses us we
 * ask poll first, which leaves a small race with other writers.
 *
 * syslog and the journal are datagram sockets, sent to by their path each time: a
 * daemon that is started again needs nothing from us.  libc's syslog and libsystemd
 * say the same bytes, but wait while the daemon's queue is full.
 */
#ifndef BASE_LOGSINK_H
#define BASE_LOGSINK_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

#include "base/attr.h"
#include "base/err.h"

enum logsink_kind {
	LOGSINK_POLL = 0, /* a descriptor that may block: ask first */
	LOGSINK_NONBLOCK,
	LOGSINK_STREAM, /* a socket as standard error */
	LOGSINK_SYSLOG,
	LOGSINK_JOURNAL,
};

struct logsink {
	enum logsink_kind kind;
	int fd;
	bool owned;	     /* fd is ours to close */
	bool torn;	     /* the last write ended inside a line */
	char path[PATH_MAX]; /* of a file; "": none */
	struct sockaddr_un to;
};

/* each replaces what was there, and leaves it on failure */
void logsink_stderr(struct logsink *s);
int logsink_file(struct logsink *s, const char *path, struct err *err) ATTR_CHECK;
/* path "": its usual place; fails when nobody listens there */
int logsink_syslog(struct logsink *s, const char *path, struct err *err) ATTR_CHECK;
int logsink_journal(struct logsink *s, const char *path, struct err *err) ATTR_CHECK;
/* standard error is the journal's, as systemd says by JOURNAL_STREAM */
bool logsink_is_journal(void);
/* a file only: the same path again */
int logsink_reopen(struct logsink *s, struct err *err) ATTR_CHECK;
void logsink_close(struct logsink *s); /* it is standard error's again */

/*
 * One line with its newline, or one datagram.  line[-1] is spare: it becomes a newline
 * when the line before was torn.  false: it was dropped, in part or as a whole.
 */
bool logsink_write(struct logsink *s, char *line, size_t len);

#endif
