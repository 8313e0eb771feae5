/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notify.c - tells a service manager how the service is; see notify.h.
 */
#include "proc/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/str.h"

#define TEXT_MAX 1024

static int
address(struct notify *n, struct err *err)
{
	size_t len = strlen(n->name);

	/* an abstract name begins with @, which stands for a NUL */
	if (n->name[0] != '/' && n->name[0] != '@')
		return err_set(err, ERR_INVALID,
		    "NOTIFY_SOCKET is '%s': only paths and abstract names are known",
		    n->name);
	n->to.sun_family = AF_UNIX;
	memcpy(n->to.sun_path, n->name, len);
	if (n->name[0] == '@')
		n->to.sun_path[0] = '\0';
	n->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	return 0;
}

static void
read_watchdog(struct notify *n, bool successor)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	int64_t number;

	if (usec == NULL || str_to_i64(usec, &number) != 0 || number < 1000)
		return;
	n->watchdog_ms = number / 1000;
	/* it may be meant for who started us */
	if (!successor && pid != NULL &&
	    (str_to_i64(pid, &number) != 0 || number != getpid()))
		n->watchdog_ms = 0;
}

int
notify_open(struct notify *n, bool successor, struct err *err)
{
	const char *name = getenv("NOTIFY_SOCKET");
	int rc = 0;

	memset(n, 0, sizeof(*n));
	n->fd = -1;
	if (name != NULL && name[0] != '\0') {
		read_watchdog(n, successor);
		if (!str_copy(n->name, sizeof(n->name), name))
			rc = err_set(err, ERR_INVALID, "NOTIFY_SOCKET is too long");
		else
			rc = address(n, err);
	}
	(void)unsetenv("NOTIFY_SOCKET");
	(void)unsetenv("WATCHDOG_USEC");
	(void)unsetenv("WATCHDOG_PID");
	if (rc != 0 || n->name[0] == '\0')
		return rc;
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return n->fd != -1 ? 0 : err_errno(err, errno, "socket");
}

void
notify_close(struct notify *n)
{
	if (n->fd != -1)
		close(n->fd);
	n->fd = -1;
}

int
notify_bequeath(const struct notify *n)
{
	char usec[32];

	if (n->name[0] == '\0')
		return 0;
	if (setenv("NOTIFY_SOCKET", n->name, 1) != 0)
		return -1;
	if (n->watchdog_ms == 0)
		return 0;
	snprintf(usec, sizeof(usec), "%lld", (long long)n->watchdog_ms * 1000);
	return setenv("WATCHDOG_USEC", usec, 1);
}

int
notify_send(const struct notify *n, struct err *err, const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;
	int len;

	if (n->fd == -1)
		return 0;
	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (len < 0 || (size_t)len >= sizeof(text))
		return err_set(err, ERR_BUG, "a notice of %d bytes", len);
	if (sendto(n->fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT,
		(const struct sockaddr *)&n->to, n->to_len) != len)
		return err_errno(err, errno, "notifying %s", n->name);
	return 0;
}
