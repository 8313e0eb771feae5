/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * addr.c - numeric socket addresses as text, and sockets for them.
 *
 * Nothing here asks a name server: a host name is refused with a sentence.  A socket
 * file is replaced only when it is a socket and nobody accepts on it; any other
 * kind of file in that place is left alone.
 */
#include "event/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNIX_PREFIX "unix:"

static int
parse_port(const char *text, uint16_t *port)
{
	unsigned n = 0;
	size_t i;

	for (i = 0; text[i] != '\0'; i++) {
		if (text[i] < '0' || text[i] > '9' || i == 5)
			return -1;
		n = n * 10 + (unsigned)(text[i] - '0');
	}
	if (i == 0 || n > UINT16_MAX)
		return -1;
	*port = (uint16_t)n;
	return 0;
}

static int
parse_unix(const char *path, struct addr *a, struct err *err)
{
	struct addr out = {.len = 0};
	size_t len = strlen(path);

	if (len == 0)
		return err_set(err, ERR_INVALID, "a unix address needs a path");
	if (len >= sizeof(out.un.sun_path))
		return err_set(err, ERR_INVALID,
		    "a unix socket's path has at most %zu bytes, this one has %zu",
		    sizeof(out.un.sun_path) - 1, len);
	out.un.sun_family = AF_UNIX;
	memcpy(out.un.sun_path, path, len + 1);
	out.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	*a = out;
	return 0;
}

int
addr_parse(const char *text, struct addr *a, struct err *err)
{
	struct addr out = {.len = 0};
	struct sockaddr_in *in4 = (struct sockaddr_in *)&out.storage;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out.storage;
	char host[INET6_ADDRSTRLEN];
	const char *start = text, *end;
	uint16_t port;
	bool v6;

	if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
		return parse_unix(text + strlen(UNIX_PREFIX), a, err);

	v6 = text[0] == '[';
	if (v6) {
		start = text + 1;
		end = strchr(start, ']');
		if (end == NULL || end[1] != ':')
			goto malformed;
		text = end + 1;
	} else {
		end = strchr(start, ':');
		if (end == NULL)
			goto malformed;
		text = end;
	}
	if ((size_t)(end - start) >= sizeof(host) || parse_port(text + 1, &port) != 0)
		goto malformed;
	memcpy(host, start, (size_t)(end - start));
	host[end - start] = '\0';

	if (v6) {
		if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1)
			goto malformed;
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		out.len = sizeof(*in6);
	} else {
		if (strcmp(host, "*") == 0)
			in4->sin_addr.s_addr = htonl(INADDR_ANY);
		else if (inet_pton(AF_INET, host, &in4->sin_addr) != 1)
			goto malformed;
		in4->sin_family = AF_INET;
		in4->sin_port = htons(port);
		out.len = sizeof(*in4);
	}
	*a = out;
	return 0;
malformed:
	return err_set(err, ERR_INVALID,
	    "not an address such as 127.0.0.1:80, [::1]:80, *:80 or unix:/path");
}

char *
addr_format(const struct addr *a, char buf[ADDR_TEXT_SIZE])
{
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)&a->storage;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a->storage;
	char host[INET6_ADDRSTRLEN];
	size_t path_max;

	switch (a->sa.sa_family) {
	case AF_INET:
		if (in4->sin_addr.s_addr == htonl(INADDR_ANY))
			snprintf(buf, ADDR_TEXT_SIZE, "*:%u", ntohs(in4->sin_port));
		else if (inet_ntop(AF_INET, &in4->sin_addr, host, sizeof(host)) != NULL)
			snprintf(
			    buf, ADDR_TEXT_SIZE, "%s:%u", host, ntohs(in4->sin_port));
		break;
	case AF_INET6:
		if (inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host)) != NULL)
			snprintf(buf, ADDR_TEXT_SIZE, "[%s]:%u", host,
			    ntohs(in6->sin6_port));
		break;
	case AF_UNIX:
		/* the kernel may give a path without a NUL, or none (an unnamed peer)
		 */
		path_max = a->len > offsetof(struct sockaddr_un, sun_path)
			       ? a->len - offsetof(struct sockaddr_un, sun_path)
			       : 0;
		if (path_max > sizeof(a->un.sun_path))
			path_max = sizeof(a->un.sun_path);
		snprintf(buf, ADDR_TEXT_SIZE, UNIX_PREFIX "%.*s",
		    (int)strnlen(a->un.sun_path, path_max), a->un.sun_path);
		break;
	default:
		snprintf(buf, ADDR_TEXT_SIZE, "family %d", a->sa.sa_family);
		break;
	}
	return buf;
}

uint16_t
addr_port(const struct addr *a)
{
	switch (a->sa.sa_family) {
	case AF_INET:
		return ntohs(((const struct sockaddr_in *)&a->storage)->sin_port);
	case AF_INET6:
		return ntohs(((const struct sockaddr_in6 *)&a->storage)->sin6_port);
	default:
		return 0;
	}
}

/*
 * Whether somebody accepts on the socket file, judged by a connect.  A full backlog
 * (EAGAIN) counts as somebody.
 */
static bool
unix_is_stale(const struct addr *a)
{
	struct stat st;
	bool stale;
	int fd;

	if (lstat(a->un.sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	stale = connect(fd, &a->sa, a->len) != 0 && errno == ECONNREFUSED;
	close(fd);
	return stale;
}

int
addr_listen(const struct addr *a, int backlog, int *fd, struct err *err)
{
	const int on = 1;
	char text[ADDR_TEXT_SIZE];
	int saved, s;

	s = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0)
		return err_errno(err, errno, "socket for %s", addr_format(a, text));
	if (a->sa.sa_family != AF_UNIX &&
	    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0)
		goto fail;
	if (a->sa.sa_family == AF_INET6 &&
	    setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0)
		goto fail;
	if (bind(s, &a->sa, a->len) != 0) {
		if (errno != EADDRINUSE || a->sa.sa_family != AF_UNIX)
			goto fail;
		if (!unix_is_stale(a)) {
			errno = EADDRINUSE;
			goto fail;
		}
		if (unlink(a->un.sun_path) != 0 || bind(s, &a->sa, a->len) != 0)
			goto fail;
	}
	if (listen(s, backlog) != 0)
		goto fail;
	*fd = s;
	return 0;
fail:
	saved = errno;
	close(s);
	return err_errno(err, saved, "listening on %s", addr_format(a, text));
}

static int
set_tcp_options(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
	    {IPPROTO_TCP, TCP_NODELAY, 1},
	    {SOL_SOCKET, SO_KEEPALIVE, 1},
	    {IPPROTO_TCP, TCP_KEEPIDLE, 15},
	    {IPPROTO_TCP, TCP_KEEPINTVL, 5},
	    {IPPROTO_TCP, TCP_KEEPCNT, 3},
	    {IPPROTO_TCP, TCP_USER_TIMEOUT, 10000},
	};

	for (size_t i = 0; i < COUNT_OF(options); i++)
		if (setsockopt(fd, options[i].level, options[i].name, &options[i].value,
			sizeof(options[i].value)) != 0)
			return -1;
	return 0;
}

int
addr_connect(const struct addr *a, int *fd, struct err *err)
{
	char text[ADDR_TEXT_SIZE];
	int saved, s;

	s = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0)
		return err_errno(err, errno, "socket for %s", addr_format(a, text));
	if ((a->sa.sa_family != AF_UNIX && set_tcp_options(s) != 0) ||
	    (connect(s, &a->sa, a->len) != 0 && errno != EINPROGRESS)) {
		saved = errno;
		close(s);
		return err_errno(err, saved, "connecting to %s", addr_format(a, text));
	}
	*fd = s;
	return 0;
}

int
addr_of_socket(int fd, struct addr *a, struct err *err)
{
	struct addr out = {.len = sizeof(out.storage)};

	if (getsockname(fd, &out.sa, &out.len) != 0)
		return err_errno(err, errno, "asking a socket for its address");
	*a = out;
	return 0;
}

bool
addr_same_host(const struct addr *a, const struct addr *b)
{
	const struct sockaddr_in *a4 = (const void *)&a->storage;
	const struct sockaddr_in *b4 = (const void *)&b->storage;
	const struct sockaddr_in6 *a6 = (const void *)&a->storage;
	const struct sockaddr_in6 *b6 = (const void *)&b->storage;

	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	switch (a->sa.sa_family) {
	case AF_INET:
		return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	case AF_INET6:
		return memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) ==
		       0;
	case AF_UNIX:
		return strcmp(a->un.sun_path, b->un.sun_path) == 0;
	default:
		return false;
	}
}

bool
addr_host_is_local(const char *host)
{
	struct in6_addr in6;
	struct in_addr in4;

	if (strcasecmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &in4) == 1)
		return ntohl(in4.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, host, &in6) == 1 && IN6_IS_ADDR_LOOPBACK(&in6);
}
