/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rtalk.c - what goes over a Redis connection: commands out, replies and messages in.
 *
 * Every command is answered exactly once, in the order of sending, or by the loss of
 * the connection (rconn.c).
 *
 * What a turn sends collects in rc->out and leaves in one write by a deferred
 * call, without asking the kernel first whether the socket is writable.  Only what the
 * socket does not take goes through the bufferevent; with TLS, all of it.
 *
 * Bounds: commands without a reply, bytes not sent, bytes and elements of one reply
 * (rwire.c).
 */
#include "redis/internal.h"

#include <errno.h>
#include <sys/ioctl.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <hiredis/hiredis.h>

#include "base/mem.h"
#include "base/str.h"

/* ---- commands ------------------------------------------------------------ */

static void
watch_oldest(struct rconn *rc, int64_t now_ms)
{
	struct rcommand *c = rqueue_oldest(&rc->commands);

	if (c == NULL)
		return;
	/*
	 * A timer that is set too early only looks and sets itself again, so it is left
	 * alone: a command costs no timer as long as replies come.
	 */
	if (rc->reply_due_ms != 0 && rc->reply_due_ms <= c->deadline_ms)
		return;
	rc->reply_due_ms = c->deadline_ms;
	loop_timer_start_ms(rc->reply, c->deadline_ms - now_ms);
}

int64_t
rconn_late_ms(struct rconn *rc)
{
	const struct rcommand *c = rqueue_oldest(&rc->commands);

	if (c == NULL)
		return 0;
	return loop_now_ms(rc->loop) - (c->deadline_ms - rc->reply_timeout_ms);
}

int
rconn_send(struct rconn *rc, enum rcommand_kind kind, int timeout_ms,
    rconn_reply_cb *cb, void *arg, struct err *err, int argc, const char *const argv[],
    const size_t lens[])
{
	size_t unsent = evbuffer_get_length(bufferevent_get_output(rc->bev));
	int64_t now_ms = loop_now_ms(rc->loop);
	struct rcommand *c;

	c = rqueue_get(&rc->commands);
	if (c == NULL)
		return err_set(err, ERR_NOMEM, "a command");
	if (rwire_append(rc->out,
		unsent < rc->max_output_bytes ? rc->max_output_bytes - unsent : 0, argc,
		argv, lens, err) != 0) {
		rqueue_unget(&rc->commands, c);
		return -1;
	}
	c->kind = kind;
	c->cb = cb;
	c->arg = arg;
	c->deadline_ms = now_ms + timeout_ms;
	rqueue_push(&rc->commands, c);
	rc->sent_ms = now_ms;
	watch_oldest(rc, now_ms);
	loop_defer_start(rc->flush);
	return 0;
}

int
rconn_send_sign_in(struct rconn *rc, enum rcommand_kind kind, struct err *err, int argc,
    const char *const argv[])
{
	if (rconn_send(rc, kind, rc->connect_timeout_ms, NULL, NULL, err, argc, argv,
		NULL) != 0)
		return -1;
	rc->signing_in++;
	return 0;
}

void
rconn_flush(void *arg)
{
	struct rconn *rc = arg;
	struct err why = ERR_INIT;
	size_t len = evbuffer_get_length(rc->out);

	STAMP_CHECK(rc, RCONN_STAMP);
	if (rc->bev == NULL || len == 0)
		return;
	/* what the socket did not take earlier goes first */
	if (rc->tls == NULL &&
	    evbuffer_get_length(bufferevent_get_output(rc->bev)) == 0 &&
	    evbuffer_write(rc->out, rc->fd) < 0 && errno != EAGAIN && errno != EINTR) {
		err_errno(&why, errno, "sending to %s", rc->peer);
		rconn_teardown(rc, &why);
		return;
	}
	len = evbuffer_get_length(rc->out);
	if (len > 0 && bufferevent_write_buffer(rc->bev, rc->out) != 0) {
		err_set(&why, ERR_NOMEM, "%zu bytes to send", len);
		rconn_teardown(rc, &why);
	}
}

void
rconn_reply_due(void *arg)
{
	struct rconn *rc = arg;
	struct rcommand *c = rqueue_oldest(&rc->commands);
	int64_t now_ms = loop_now_ms(rc->loop);
	struct err why = ERR_INIT;
	int unread = 0;

	STAMP_CHECK(rc, RCONN_STAMP);
	rc->reply_due_ms = 0;
	if (c == NULL)
		return;
	if (now_ms < c->deadline_ms) {
		watch_oldest(rc, now_ms);
		return;
	}
	/*
	 * Perhaps it is us who are late: after a stall, or behind a large reply, the
	 * answer lies in the socket, of which libevent reads a piece a turn.
	 */
	if ((ioctl(rc->fd, FIONREAD, &unread) == 0 && unread > 0) ||
	    (rc->tls != NULL && tlsclient_pending(rc->bev) > 0)) {
		rc->reply_due_ms = now_ms + 1;
		loop_timer_start_ms(rc->reply, 1);
		return;
	}
	c->late = true;
	err_set(&why, ERR_TIMEOUT, "no reply from %s in time", rc->peer);
	rconn_teardown(rc, &why);
}

int
rconn_command_within(struct rconn *rc, int reply_timeout_ms, rconn_reply_cb *cb,
    void *arg, struct err *err, int argc, const char *const argv[], const size_t lens[])
{
	STAMP_CHECK(rc, RCONN_STAMP);
	if (rc->state != RCONN_UP || rc->leaving)
		return err_set(err, ERR_CLOSED, "no connection to Redis");
	if (!TAILQ_EMPTY(&rc->channels))
		return err_set(err, ERR_CONFLICT, "this connection only subscribes");
	if (rc->commands.count >= rc->max_waiting)
		return err_set(err, ERR_LIMIT, "%zu commands wait for Redis already",
		    rc->commands.count);
	return rconn_send(rc, RCOMMAND_CALLER,
	    reply_timeout_ms > 0 ? reply_timeout_ms : rc->reply_timeout_ms, cb, arg,
	    err, argc, argv, lens);
}

int
rconn_command(struct rconn *rc, rconn_reply_cb *cb, void *arg, struct err *err,
    int argc, const char *const argv[], const size_t lens[])
{
	return rconn_command_within(rc, 0, cb, arg, err, argc, argv, lens);
}

int
rconn_subscribe(struct rconn *rc, const char *channel, struct err *err)
{
	const char *const argv[] = {"SUBSCRIBE", channel};
	struct channel *ch;

	STAMP_CHECK(rc, RCONN_STAMP);
	TAILQ_FOREACH (ch, &rc->channels, link) {
		if (str_eq(ch->name, channel))
			return 0;
	}
	ch = mem_zero(sizeof(*ch));
	if (ch == NULL || (ch->name = mem_strdup(channel)) == NULL) {
		mem_free(ch);
		return err_set(err, ERR_NOMEM, "channel %s", channel);
	}
	/* while it signs in, the command may join the pipeline; before that, it is
	 * remembered */
	if ((rc->state == RCONN_UP &&
		rconn_send(rc, RCOMMAND_SUBSCRIBE, rc->reply_timeout_ms, NULL, NULL,
		    err, 2, argv, NULL) != 0) ||
	    (rc->state == RCONN_SIGNING_IN &&
		rconn_send_sign_in(rc, RCOMMAND_SIGN_IN, err, 2, argv) != 0)) {
		mem_free(ch->name);
		mem_free(ch);
		return -1;
	}
	TAILQ_INSERT_TAIL(&rc->channels, ch, link);
	return 0;
}

/* ---- replies ------------------------------------------------------------- */

static bool
is_message(const struct rconn *rc, const struct redisReply *reply)
{
	const struct redisReply *kind;

	if (TAILQ_EMPTY(&rc->channels) || reply->type != REDIS_REPLY_ARRAY ||
	    reply->elements != 3)
		return false;
	kind = reply->element[0];
	return kind->type == REDIS_REPLY_STRING && str_eq(kind->str, "message") &&
	       reply->element[1]->type == REDIS_REPLY_STRING &&
	       reply->element[2]->type == REDIS_REPLY_STRING;
}

/* an error reply that ends the connection, as a reason with printable text */
static void
blame_reply(const struct rconn *rc, const char *what, const struct redisReply *reply,
    struct err *why)
{
	char text[200];

	str_printable(text, sizeof(text), reply->str, (size_t)reply->len);
	err_set(why, ERR_CLOSED, "%s %s: %s", rc->peer, what, text);
}

static bool
is_replica(const struct redisReply *reply)
{
	return reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
	       reply->element[0]->type == REDIS_REPLY_STRING &&
	       str_eq(reply->element[0]->str, "slave");
}

/* after each callback rc may be torn down or freed: the caller looks at the generation
 */
static void
handle_reply(struct rconn *rc, const struct redisReply *reply)
{
	unsigned generation = rc->generation;
	struct err why = ERR_INIT;
	struct rcommand c;

	if (is_message(rc, reply)) {
		const struct redisReply *channel = reply->element[1];
		const struct redisReply *text = reply->element[2];

		if (rc->message_cb != NULL)
			rc->message_cb(rc, channel->str, (size_t)channel->len,
			    text->str, (size_t)text->len, rc->arg);
		return;
	}
	if (!rqueue_pop_waiting(&rc->commands, &c)) {
		if (reply->type == REDIS_REPLY_ERROR)
			blame_reply(rc, "says unasked", reply, &why);
		else
			err_set(&why, ERR_IO, "%s sent a reply that nothing asked for",
			    rc->peer);
		rconn_teardown(rc, &why);
		return;
	}
	if (c.cb != NULL)
		c.cb(rc, reply, NULL, c.arg);
	if (rc->generation != generation)
		return;
	if (rwire_is_failover(reply) ||
	    (reply->type == REDIS_REPLY_ERROR && c.kind != RCOMMAND_CALLER &&
		c.kind != RCOMMAND_ROLE)) {
		blame_reply(rc, c.kind == RCOMMAND_SIGN_IN ? "refuses us" : "says",
		    reply, &why);
		rconn_teardown(rc, &why);
		return;
	}
	if (c.kind == RCOMMAND_ROLE && is_replica(reply)) {
		err_set(&why, ERR_CLOSED, "%s is a replica", rc->peer);
		rconn_teardown(rc, &why);
		return;
	}
	if ((c.kind == RCOMMAND_SIGN_IN || c.kind == RCOMMAND_ROLE) &&
	    --rc->signing_in == 0)
		rconn_become_up(rc);
	else if (rc->leaving && rqueue_oldest(&rc->commands) == NULL)
		rconn_leave(rc);
}

void
rconn_readable(struct bufferevent *bev, void *arg)
{
	struct rconn *rc = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	unsigned generation = rc->generation;
	struct redisReply *reply;
	struct err why = ERR_INIT;
	size_t len;

	STAMP_CHECK(rc, RCONN_STAMP);
	rconn_hold(rc);
	while ((len = evbuffer_get_contiguous_space(in)) > 0) {
		if (rwire_reader_feed(rc->reader, evbuffer_pullup(in, (ev_ssize_t)len),
			len, &why) != 0)
			goto broken;
		evbuffer_drain(in, len);
		for (;;) {
			if (rwire_reader_next(rc->reader, &reply, &why) != 0)
				goto broken;
			if (reply == NULL)
				break;
			handle_reply(rc, reply);
			freeReplyObject(reply);
			/* closed or freed by a callback: bev and in are gone as well */
			if (rc->generation != generation)
				goto out;
		}
	}
out:
	rconn_unhold(rc);
	return;
broken:
	err_wrap(&why, "%s", rc->peer);
	rconn_teardown(rc, &why);
	rconn_unhold(rc);
}
