/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_redis.c - a Redis server made of scripts; see fake_redis.h.
 */
#include "fake_redis.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <hiredis/hiredis.h>

#include "event/addr.h"

struct fake_peer {
	LIST_ENTRY(fake_peer) link;
	struct fake_redis *server;
	int fd;
	struct event *readable;
	struct loop_timer *sender;
	struct evbuffer *out;
	redisReader *reader;
	bool dribbles;
	bool hanging_up;
	unsigned burst;
};

struct fake_redis {
	struct loop *loop;
	struct addr addr;
	int fd;
	struct event *readable;
	fake_redis_cb *cb;
	void *arg;
	unsigned accepted;
	LIST_HEAD(, fake_peer) peers;
};

static void
must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fake redis: %s: %s\n", what, strerror(errno));
	abort();
}

static void
end_peer(struct fake_peer *p)
{
	LIST_REMOVE(p, link);
	event_free(p->readable);
	loop_timer_free(p->sender);
	evbuffer_free(p->out);
	redisReaderFree(p->reader);
	close(p->fd);
	free(p);
}

static void
send_now(void *arg)
{
	struct fake_peer *p = arg;
	size_t len = evbuffer_get_length(p->out);
	unsigned char *bytes;
	ssize_t n;

	if (len > 0) {
		bytes = evbuffer_pullup(p->out, -1);
		n = send(p->fd, bytes, p->dribbles ? 1 : len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN) {
			end_peer(p);
			return;
		}
		if (n > 0)
			evbuffer_drain(p->out, (size_t)n);
	}
	if (evbuffer_get_length(p->out) > 0)
		loop_timer_start_us(p->sender, 50);
	else if (p->hanging_up)
		end_peer(p);
}

void
fake_peer_send(struct fake_peer *p, const char *bytes, size_t len)
{
	evbuffer_add(p->out, bytes, len);
	loop_timer_start_us(p->sender, 0);
}

void
fake_peer_say(struct fake_peer *p, const char *text)
{
	fake_peer_send(p, text, strlen(text));
}

void
fake_peer_dribble(struct fake_peer *p)
{
	p->dribbles = true;
}

void
fake_peer_hang_up(struct fake_peer *p)
{
	p->hanging_up = true;
	loop_timer_start_us(p->sender, 0);
}

void
fake_peer_reset(struct fake_peer *p)
{
	const struct linger none = {.l_onoff = 1, .l_linger = 0};

	must(setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)) == 0,
	    "linger");
	evbuffer_drain(p->out, evbuffer_get_length(p->out));
	fake_peer_hang_up(p);
}

unsigned
fake_peer_burst(const struct fake_peer *p)
{
	return p->burst;
}

static void
answer(struct fake_peer *p, const redisReply *cmd)
{
	struct fake_redis *f = p->server;
	const char *name = cmd->element[0]->str;

	if (f->cb != NULL && f->cb(f, p, cmd, f->arg))
		return;
	if (strcasecmp(name, "PING") == 0) {
		fake_peer_say(p, "+PONG\r\n");
	} else if (strcasecmp(name, "SUBSCRIBE") == 0) {
		char text[256];

		snprintf(text, sizeof(text),
		    "*3\r\n$9\r\nsubscribe\r\n$%zu\r\n%s\r\n:1\r\n",
		    (size_t)cmd->element[1]->len, cmd->element[1]->str);
		fake_peer_say(p, text);
	} else {
		fake_peer_say(p, "+OK\r\n");
	}
}

static void
on_bytes(evutil_socket_t fd, short what, void *arg)
{
	struct fake_peer *p = arg;
	char bytes[65536];
	unsigned commands = 0;
	void *cmd;
	ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

	(void)what;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		end_peer(p);
		return;
	}
	must(redisReaderFeed(p->reader, bytes, (size_t)n) == REDIS_OK, "feed");
	for (;;) {
		must(redisReaderGetReply(p->reader, &cmd) == REDIS_OK, "parse");
		if (cmd == NULL)
			break;
		commands++;
		if (commands > p->burst)
			p->burst = commands;
		answer(p, cmd);
		freeReplyObject(cmd);
	}
}

static void
on_connection(evutil_socket_t fd, short what, void *arg)
{
	struct fake_redis *f = arg;
	struct fake_peer *p;
	int s = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (s < 0)
		return;
	p = calloc(1, sizeof(*p));
	must(p != NULL, "peer");
	p->server = f;
	p->fd = s;
	p->out = evbuffer_new();
	p->reader = redisReaderCreate();
	/* a test may have asked for one allocation to fail: not for ours */
	do
		p->sender = loop_timer_create(f->loop, send_now, p);
	while (p->sender == NULL);
	p->readable =
	    event_new(loop_base(f->loop), s, EV_READ | EV_PERSIST, on_bytes, p);
	must(p->readable != NULL && event_add(p->readable, NULL) == 0, "event");
	LIST_INSERT_HEAD(&f->peers, p, link);
	f->accepted++;
}

void
fake_redis_refuse(struct fake_redis *f, bool refuse)
{
	if (refuse && f->fd >= 0) {
		event_free(f->readable);
		close(f->fd);
		f->fd = -1;
	} else if (!refuse && f->fd < 0) {
		must(addr_listen(&f->addr, 64, &f->fd, NULL) == 0, "listen");
		must(addr_of_socket(f->fd, &f->addr, NULL) == 0, "address");
		f->readable = event_new(
		    loop_base(f->loop), f->fd, EV_READ | EV_PERSIST, on_connection, f);
		must(f->readable != NULL && event_add(f->readable, NULL) == 0, "event");
	}
}

struct fake_redis *
fake_redis_open(struct loop *l, fake_redis_cb *cb, void *arg)
{
	struct fake_redis *f = calloc(1, sizeof(*f));

	must(f != NULL, "server");
	f->loop = l;
	f->cb = cb;
	f->arg = arg;
	f->fd = -1;
	LIST_INIT(&f->peers);
	must(addr_parse("127.0.0.1:0", &f->addr, NULL) == 0, "address");
	fake_redis_refuse(f, false);
	return f;
}

void
fake_redis_close(struct fake_redis *f)
{
	while (!LIST_EMPTY(&f->peers))
		end_peer(LIST_FIRST(&f->peers));
	fake_redis_refuse(f, true);
	free(f);
}

uint16_t
fake_redis_port(const struct fake_redis *f)
{
	return addr_port(&f->addr);
}

unsigned
fake_redis_accepted(const struct fake_redis *f)
{
	return f->accepted;
}

struct fake_peer *
fake_redis_peer(struct fake_redis *f)
{
	return LIST_FIRST(&f->peers);
}
