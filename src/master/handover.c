/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * handover.c - what one master says to the next, and what a new one finds when it
 * starts.
 *
 * The sockets themselves travel with the messages, so that nothing but the channel has
 * to survive the exec, and no number of a descriptor means anything to two programs.
 *
 * systemd's way (sd_listen_fds(3)) is documented as stable: descriptors from 3 on,
 * their count and whose they are in the environment.  It is read here without its
 * library, which would be the largest thing in the master.
 */
#include "master/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "master/listeners.h"
#include "proc/procutil.h"

#define TOLD_MS	    10000 /* the old master has told all before it starts us */
#define SYSTEMD_FDS 3

/* ---------------------------------------------------------------- messages */

int
handover_send(int channel, int fd, struct err *err, const char *fmt, ...)
{
	char text[HANDOVER_MAX];
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.room = {0}};
	struct iovec v = {.iov_base = text};
	struct msghdr msg = {.msg_iov = &v, .msg_iovlen = 1};
	struct cmsghdr *c;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0)
		return err_set(err, ERR_BUG, "a message cannot be written");
	v.iov_len = (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
	if (fd != -1) {
		msg.msg_control = control.room;
		msg.msg_controllen = sizeof(control.room);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	if (sendmsg(channel, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)v.iov_len)
		return err_errno(err, errno, "telling the other master");
	return 0;
}

static int
descriptor_of(struct msghdr *msg)
{
	struct cmsghdr *c;
	int fd;

	for (c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
		    c->cmsg_len != CMSG_LEN(sizeof(int)))
			continue;
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		return fd;
	}
	return -1;
}

int
handover_receive(int channel, char text[HANDOVER_MAX], int *fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec v = {.iov_base = text, .iov_len = HANDOVER_MAX - 1};
	struct msghdr msg = {.msg_iov = &v,
	    .msg_iovlen = 1,
	    .msg_control = control.room,
	    .msg_controllen = sizeof(control.room)};
	ssize_t n = recvmsg(channel, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	/* one that ended without reading all of ours is told first, once; its last
	 * words are behind that */
	if (n < 0 && errno == ECONNRESET)
		n = recvmsg(channel, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	*fd = -1;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n == 0)
		return -1;
	text[n] = '\0';
	*fd = descriptor_of(&msg);
	return 1;
}

void
handover_failed(int channel, const char *reason)
{
	if (channel != -1)
		(void)handover_send(channel, -1, NULL, "failed %s", reason);
}

/* ---------------------------------------------------------------- from a master */

static int
add(struct inheritance *in, struct inherited socket, const char *address,
    struct err *err)
{
	struct inherited *s = &in->sockets[in->count];

	if (in->count == INHERITED_MAX) {
		close(socket.fd);
		return err_set(
		    err, ERR_LIMIT, "more than %d sockets were passed", INHERITED_MAX);
	}
	*s = socket;
	(void)str_copy(s->address, sizeof(s->address), address);
	in->count++;
	return 0;
}

/* fd is given */
static int
heed(struct inheritance *in, const char *text, int fd, bool *end, struct err *err)
{
	int audience, ours, mode, at = 0;

	if (fd != -1 && sscanf(text, "listen %d %d %n", &audience, &ours, &at) == 2 &&
	    at > 0)
		return add(in,
		    (struct inherited){.fd = fd,
			.audience = audience,
			.ours = ours != 0,
			.kept = true},
		    text + at, err);
	if (str_starts(text, "control ") && fd != -1 && in->control == -1) {
		in->control = fd;
		(void)str_copy(in->control_path, sizeof(in->control_path), text + 8);
		return 0;
	}
	if (fd != -1)
		close(fd);
	if (str_starts(text, "pid "))
		(void)str_copy(in->pid_path, sizeof(in->pid_path), text + 4);
	else if (sscanf(text, "mode %d", &mode) == 1 && mode > 0 &&
		 mode < NODE_MODE_LEAVE)
		in->mode = (enum node_mode)mode;
	else if (str_eq(text, "redis"))
		in->redis = true;
	else if (str_eq(text, "end"))
		*end = true;
	/* a newer one may say more */
	return 0;
}

static int
take_from_master(struct inheritance *in, const char *number, struct err *err)
{
	struct pollfd pfd = {.events = POLLIN};
	char text[HANDOVER_MAX];
	bool end = false;
	int64_t channel;
	struct stat st;
	int rc, fd;

	if (str_to_i64(number, &channel) != 0 || channel < 3 || channel > INT32_MAX ||
	    fstat((int)channel, &st) != 0 || !S_ISSOCK(st.st_mode))
		return err_set(err, ERR_INVALID,
		    HANDOVER_ENV
		    " is set, and no master has started this one: unset it");
	in->channel = pfd.fd = (int)channel;
	if (fd_set_cloexec(in->channel, err) != 0 ||
	    fd_set_nonblock(in->channel, err) != 0)
		return -1;
	while (!end) {
		rc = handover_receive(in->channel, text, &fd);
		if (rc == -1)
			return err_set(err, ERR_CLOSED, "the old master is gone");
		if (rc == 1 && heed(in, text, fd, &end, err) != 0)
			return -1;
		if (rc == 0 && poll(&pfd, 1, TOLD_MS) == 0)
			return err_set(
			    err, ERR_TIMEOUT, "the old master tells nothing");
	}
	return 0;
}

/* ---------------------------------------------------------------- from systemd */

/* the name that the socket unit gives (FileDescriptorName=) may say for whom it is */
static int
audience_of(const char *name)
{
	for (int a = 0; a < AUDIENCE_COUNT; a++) {
		if (str_eq(name, audience_name((enum audience)a)))
			return a;
	}
	return -1;
}

static int
check_socket(int fd, const char *name, struct addr *addr, struct err *err)
{
	int listens = 0, type = 0;
	socklen_t size = sizeof(listens);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
	    type != SOCK_STREAM ||
	    (size = sizeof(listens),
		getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size)) != 0 ||
	    listens == 0)
		return err_set(err, ERR_INVALID,
		    "descriptor %d (%s) of the socket unit is no listening stream "
		    "socket: use ListenStream= and Accept=no",
		    fd, name);
	return addr_of_socket(fd, addr, err);
}

static int
take_from_systemd(struct inheritance *in, int64_t count, char *names, struct err *err)
{
	char address[ADDR_TEXT_SIZE], *rest = names;
	const char *name;
	struct addr addr;

	for (int fd = SYSTEMD_FDS; fd < SYSTEMD_FDS + count; fd++) {
		name = rest != NULL ? strsep(&rest, ":") : NULL;
		if (name == NULL)
			name = "unknown";
		if (check_socket(fd, name, &addr, err) != 0 ||
		    fd_set_cloexec(fd, err) != 0 || fd_set_nonblock(fd, err) != 0 ||
		    add(in, (struct inherited){.fd = fd, .audience = audience_of(name)},
			addr_format(&addr, address), err) != 0)
			return -1;
	}
	return 0;
}

/* ---------------------------------------------------------------- */

int
inheritance_take(struct inheritance *in, struct err *err)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS"),
		   *names = getenv("LISTEN_FDNAMES"), *old = getenv(HANDOVER_ENV);
	int64_t for_pid, count = 0;
	char copy[HANDOVER_MAX], number[32];
	int rc = 0;

	memset(in, 0, sizeof(*in));
	in->channel = in->control = -1;
	if (old != NULL) {
		(void)str_copy(number, sizeof(number), old);
		(void)unsetenv(HANDOVER_ENV);
		rc = take_from_master(in, number, err);
	} else if (pid != NULL && fds != NULL && str_to_i64(pid, &for_pid) == 0 &&
		   for_pid == getpid()) {
		(void)str_copy(copy, sizeof(copy), names != NULL ? names : "");
		if (str_to_i64(fds, &count) != 0 || count < 0 || count > INHERITED_MAX)
			rc = err_set(err, ERR_INVALID,
			    "LISTEN_FDS is '%s': it must be a number from 0 to %d", fds,
			    INHERITED_MAX);
		else
			rc = take_from_systemd(
			    in, count, names != NULL ? copy : NULL, err);
	}
	/* nobody whom we start shall take them for his own */
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	if (rc != 0)
		inheritance_drop(in);
	return rc;
}

void
inheritance_drop(struct inheritance *in)
{
	for (size_t i = 0; i < in->count; i++)
		if (in->sockets[i].fd != -1)
			close(in->sockets[i].fd);
	in->count = 0;
	if (in->control != -1)
		close(in->control);
	in->control = -1;
}
