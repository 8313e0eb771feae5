/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control.c - the control socket: one line in, one answer out.
 *
 * Owns the listening socket and at most CONTROL_CLIENTS conversations; when all places
 * are taken the next client waits in the kernel's queue.  What the commands are is the
 * master's business.
 */
#include "master/control.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/addr.h"

#define CONTROL_BACKLOG	  16
#define COMMAND_MAX	  128
#define ANSWER_MAX_BYTES  (4 << 20)
#define CLIENT_TIMEOUT_MS 2000

struct client {
	int fd; /* -1: free */
	char in[COMMAND_MAX];
	size_t in_len;
	struct strbuf out; /* empty: still listening to it */
	size_t sent;
	int64_t deadline_ms;
};

struct control {
	int fd;
	struct addr addr;
	control_answer_fn *answer;
	void *arg;   /* borrowed */
	bool ours;   /* closing removes the file */
	bool paused; /* accept failed: not polled for one turn, or it would be tried
			without end */
	struct client clients[CONTROL_CLIENTS];
};

static int
control_addr(const char *path, struct addr *addr, struct err *err)
{
	char text[sizeof(addr->un.sun_path) + sizeof("unix:")];
	size_t len = strlen(path);

	if (len >= sizeof(addr->un.sun_path))
		return err_set(err, ERR_INVALID,
		    "node.control_socket is longer than %zu bytes",
		    sizeof(addr->un.sun_path) - 1);
	memcpy(text, "unix:", 5);
	memcpy(text + 5, path, len + 1);
	return addr_parse(text, addr, err);
}

static struct control *
control_create(control_answer_fn *answer, void *arg, struct err *err)
{
	struct control *c = mem_zero(sizeof(*c));

	if (c == NULL) {
		err_set(err, ERR_NOMEM, "control socket");
		return NULL;
	}
	c->answer = answer;
	c->arg = arg;
	c->fd = -1;
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		c->clients[i].fd = -1;
	return c;
}

struct control *
control_open(const char *path, control_answer_fn *answer, void *arg, struct err *err)
{
	struct control *c = control_create(answer, arg, err);
	mode_t before;
	int rc;

	if (c == NULL)
		return NULL;
	if (control_addr(path, &c->addr, err) != 0)
		goto fail;
	/* who may connect is decided by the file's mode, from its first moment on */
	before = umask(0177);
	rc = addr_listen(&c->addr, CONTROL_BACKLOG, &c->fd, err);
	(void)umask(before);
	if (rc != 0)
		goto fail;
	c->ours = true;
	return c;
fail:
	err_wrap(err, "control socket %s", path);
	mem_free(c);
	return NULL;
}

struct control *
control_adopt(
    const char *path, int fd, control_answer_fn *answer, void *arg, struct err *err)
{
	struct control *c = control_create(answer, arg, err);

	if (c == NULL || control_addr(path, &c->addr, err) != 0) {
		close(fd);
		mem_free(c);
		return NULL;
	}
	c->fd = fd;
	return c;
}

void
control_own(struct control *c)
{
	if (c != NULL)
		c->ours = true;
}

int
control_socket(const struct control *c)
{
	return c != NULL ? c->fd : -1;
}

static void
client_close(struct client *cl)
{
	if (cl->fd == -1)
		return;
	close(cl->fd);
	cl->fd = -1;
	strbuf_fini(&cl->out);
}

void
control_leave(struct control *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		client_close(&c->clients[i]);
	if (c->fd != -1)
		close(c->fd);
	c->fd = -1;
}

void
control_close(struct control *c)
{
	if (c == NULL)
		return;
	if (c->fd != -1 && c->ours)
		(void)unlink(c->addr.un.sun_path);
	control_leave(c);
	mem_free(c);
}

void
control_fds(const struct control *c, struct pollfd fds[CONTROL_FDS])
{
	bool room = false;

	for (size_t i = 0; i < CONTROL_FDS; i++)
		fds[i] = (struct pollfd){.fd = -1};
	if (c == NULL)
		return;
	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		const struct client *cl = &c->clients[i];

		room |= cl->fd == -1;
		fds[i + 1].fd = cl->fd;
		fds[i + 1].events = cl->out.len > 0 ? POLLOUT : POLLIN;
	}
	fds[0].fd = room && !c->paused ? c->fd : -1;
	fds[0].events = POLLIN;
}

static void
client_accept(struct control *c, int64_t now_ms)
{
	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *cl = &c->clients[i];

		if (cl->fd != -1)
			continue;
		cl->fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (cl->fd == -1)
			return; /* it went away, or we are out of descriptors: the next
				   turn */
		cl->in_len = cl->sent = 0;
		cl->deadline_ms = now_ms + CLIENT_TIMEOUT_MS;
		strbuf_init(&cl->out, ANSWER_MAX_BYTES);
	}
}

static void
client_write(struct client *cl)
{
	ssize_t n =
	    send(cl->fd, cl->out.data + cl->sent, cl->out.len - cl->sent, MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		cl->sent += (size_t)n;
	if (n < 0 || cl->sent == cl->out.len)
		client_close(cl);
}

static void
client_read(struct control *c, struct client *cl)
{
	ssize_t n = recv(cl->fd, cl->in + cl->in_len, sizeof(cl->in) - cl->in_len, 0);
	char *end;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_close(cl);
		return;
	}
	cl->in_len += (size_t)n;
	end = memchr(cl->in, '\n', cl->in_len);
	if (end == NULL) {
		if (cl->in_len == sizeof(cl->in))
			client_close(cl);
		return;
	}
	*end = '\0';
	if (!c->answer(cl->in, &cl->out, c->arg))
		strbuf_puts(&cl->out, "error: unknown command\n");
	if (strbuf_failed(&cl->out) || cl->out.len == 0)
		client_close(cl);
	else
		client_write(cl);
}

void
control_turn(struct control *c, const struct pollfd fds[CONTROL_FDS], int64_t now_ms)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *cl = &c->clients[i];

		if (cl->fd == -1 || cl->fd != fds[i + 1].fd)
			continue;
		if (fds[i + 1].revents != 0) {
			if (cl->out.len > 0)
				client_write(cl);
			else
				client_read(c, cl);
		}
		if (cl->fd != -1 && now_ms >= cl->deadline_ms)
			client_close(cl);
	}
	c->paused = false;
	if (fds[0].fd != -1 && fds[0].revents != 0)
		client_accept(c, now_ms);
}

int64_t
control_deadline(const struct control *c)
{
	int64_t first = INT64_MAX;

	for (size_t i = 0; c != NULL && i < CONTROL_CLIENTS; i++)
		if (c->clients[i].fd != -1 && c->clients[i].deadline_ms < first)
			first = c->clients[i].deadline_ms;
	return first;
}

/* ---- the client's side -------------------------------------------------------------
 */

static int
copy_answer(int fd, FILE *out, int64_t deadline_ms, struct err *err)
{
	char chunk[8192];

	for (;;) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		int64_t left = deadline_ms - clock_mono_ms();
		ssize_t n;

		if (left <= 0 || poll(&pfd, 1, (int)left) == 0)
			return err_set(err, ERR_TIMEOUT, "the node does not answer");
		n = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return err_errno(err, errno, "reading the answer");
		if (n == 0)
			return 0;
		if (fwrite(chunk, 1, (size_t)n, out) != (size_t)n)
			return err_errno(err, errno, "writing the answer");
	}
}

int
control_ask(
    const char *path, const char *command, FILE *out, int timeout_ms, struct err *err)
{
	struct addr addr;
	char line[COMMAND_MAX + 1];
	int fd, len, rc;

	if (control_addr(path, &addr, err) != 0)
		return -1;
	len = snprintf(line, sizeof(line), "%s\n", command);
	if (len < 0 || (size_t)len >= sizeof(line))
		return err_set(err, ERR_INVALID, "the command is too long");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return err_errno(err, errno, "socket");
	if (connect(fd, &addr.sa, addr.len) != 0)
		rc = errno == ENOENT || errno == ECONNREFUSED
			 ? err_set(err, ERR_NOT_FOUND, "no node answers at %s", path)
			 : err_errno(err, errno, "control socket %s", path);
	else if (send(fd, line, (size_t)len, MSG_NOSIGNAL) != len)
		rc = err_errno(err, errno, "control socket %s", path);
	else
		rc = copy_answer(fd, out, clock_mono_ms() + timeout_ms, err);
	close(fd);
	return rc;
}
