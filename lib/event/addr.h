/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * addr.h - numeric socket addresses as text, and sockets for them.
 *
 * Forms: "127.0.0.1:80", "[::1]:80", "*:80" (IPv4 any) and "unix:/path".
 */
#ifndef EVENT_ADDR_H
#define EVENT_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/attr.h"
#include "base/err.h"

#define ADDR_TEXT_SIZE 128

struct addr {
	union {
		struct sockaddr sa;
		struct sockaddr_storage storage;
		struct sockaddr_un un;
	};
	socklen_t len;
};

int addr_parse(const char *text, struct addr *a, struct err *err) ATTR_CHECK;
/* the same form back; returns buf */
char *addr_format(const struct addr *a, char buf[ADDR_TEXT_SIZE]);
/* 0 for unix */
uint16_t addr_port(const struct addr *a);
/*
 * A bound, listening, non-blocking, close-on-exec socket; IPv6 sockets are v6-only,
 * SO_REUSEADDR set.  Port 0 takes a free one (addr_of_socket tells which).  A stale
 * unix socket file that nobody answers on is replaced.
 */
int addr_listen(const struct addr *a, int backlog, int *fd, struct err *err) ATTR_CHECK;
/*
 * A non-blocking, close-on-exec socket whose connect has begun; it is over when the
 * socket is writable.  TCP: no delay, dead peers noticed (keepalive after 15 s, 3 times
 * 5 s; unacknowledged bytes 10 s).
 */
int addr_connect(const struct addr *a, int *fd, struct err *err) ATTR_CHECK;
int addr_of_socket(int fd, struct addr *a, struct err *err) ATTR_CHECK;
/* the same machine and family, whatever the ports; unix: the same path */
bool addr_same_host(const struct addr *a, const struct addr *b);
/* "localhost", or a literal of the loopback network: what never leaves this machine */
bool addr_host_is_local(const char *host);

#endif
