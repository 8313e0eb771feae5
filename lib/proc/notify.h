/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notify.h - tells a service manager how the service is (sd_notify(3)).
 *
 * The protocol is datagrams of NAME=VALUE lines to a unix socket that NOTIFY_SOCKET
 * names; systemd documents it as stable and to be implemented by oneself.  It is these
 * few lines, so that what uses them links no more than before.
 */
#ifndef PROC_NOTIFY_H
#define PROC_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/attr.h"
#include "base/err.h"

struct notify {
	int fd; /* -1: nobody listens, and nothing is sent */
	struct sockaddr_un to;
	socklen_t to_len;
	int64_t watchdog_ms; /* a sign of life is wanted so often; 0: none is */
	/* NOTIFY_SOCKET as it was, for a process that takes our place; "": none */
	char name[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/*
 * From the environment, of which nothing of it is left then, so that no child speaks in
 * our name.  successor: we take the place of the process that WATCHDOG_PID means.
 * Without NOTIFY_SOCKET: 0, and nothing will be sent.
 */
int notify_open(struct notify *n, bool successor, struct err *err) ATTR_CHECK;
void notify_close(struct notify *n);
/* puts the environment back for a program that is to be executed in our place */
int notify_bequeath(const struct notify *n) ATTR_CHECK;
/* lines between "\n"; never waits.  -1: not sent. */
int notify_send(const struct notify *n, struct err *err, const char *fmt, ...)
    ATTR_PRINTF(3, 4);

#endif
