/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rconn.c - one asynchronous Redis connection that comes back by itself.
 *
 * Owns the socket, the commands that wait for a reply, and the attempts to get a
 * connection again.  Leaves to others what a command means and whether it is worth
 * sending once more.
 *
 *     RESTING -> RESOLVING -> CONNECTING (-> SHAKING_HANDS) -> SIGNING_IN -> UP
 *        ^----------+-------------+---------------+--------------+--------'
 *                           any trouble: teardown()
 *
 * Every command is answered exactly once, in the order of sending.  teardown() only
 * takes things apart: it moves the waiting commands to the lost list and postpones the
 * telling, so that no callback runs inside another one's call.  tell_loss() then
 * answers the lost ones, tells the owner and starts the pause.  Since nothing is up
 * meanwhile, a queue never mixes commands of two connections.
 *
 * Callbacks may close or free the connection.  Whoever calls one holds it (hold,
 * unhold) and looks at the generation afterwards, which each teardown moves on.
 *
 * What a turn sends collects in rc->out and leaves in one write by a deferred
 * call, without asking the kernel first whether the socket is writable.  Only what the
 * socket does not take goes through the bufferevent; with TLS, all of it.
 *
 * The records of commands are in rqueue.c, the protocol is in rwire.c.
 *
 * Bounds: commands without a reply, bytes not sent, bytes and elements of one reply
 * (rwire.c), one connection attempt at a time, never less than a pause between two.
 */
#include "redis/rconn.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <hiredis/hiredis.h>

#include "base/conf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/uuid.h"
#include "event/moved.h"
#include "redis/rqueue.h"
#include "redis/rwire.h"
#include "tls/tlsclient.h"

#define RCONN_STAMP 0x52434f4eu

#define CONNECT_TIMEOUT_MS 5000
#define REPLY_TIMEOUT_MS   2000
#define MAX_WAITING	   10000
#define MAX_OUTPUT_BYTES   ((size_t)8 << 20)

#define PAUSE_FIRST_MS 50
#define PAUSE_MAX_MS   1000
#define PAUSE_FLOOR_MS 5 /* chance may not make a pause none at all */
/* so long up, and the pauses begin anew: a link that flaps must not find us eager */
#define HEALTHY_MS    30000
#define TELL_EVERY_MS 1000

enum rconn_state {
	RCONN_NONE = 0,
	RCONN_RESTING, /* between two attempts */
	RCONN_RESOLVING,
	RCONN_CONNECTING,
	RCONN_SHAKING_HANDS, /* TLS */
	RCONN_SIGNING_IN,    /* AUTH, SELECT, PING and subscriptions are sent */
	RCONN_UP,
	RCONN_STATE_COUNT /* keep last */
};

static const char *const state_names[RCONN_STATE_COUNT] = {
    [RCONN_NONE] = "none",
    [RCONN_RESTING] = "resting",
    [RCONN_RESOLVING] = "resolving",
    [RCONN_CONNECTING] = "connecting",
    [RCONN_SHAKING_HANDS] = "shaking_hands",
    [RCONN_SIGNING_IN] = "signing_in",
    [RCONN_UP] = "up",
};

struct channel {
	TAILQ_ENTRY(channel) link;
	char *name;
};

struct rconn {
	unsigned stamp;
	struct loop *loop;   /* borrowed */
	struct resolver *rv; /* borrowed */
	struct log_ctx log;
	char *name;
	char *host;	       /* NULL: not known yet */
	char *username;	       /* NULL: none */
	char *password;	       /* NULL: no AUTH */
	char *password_file;   /* NULL: none */
	bool file_told;	       /* that it cannot be read */
	struct tlsclient *tls; /* borrowed; NULL: none */
	char *tls_name;	       /* NULL: none */
	bool primary;
	struct moved *moved; /* NULL: not watched */
	bool leaving;	     /* closes when the last reply has come */
	uint16_t port;
	int database;
	int connect_timeout_ms;
	int reply_timeout_ms;
	int ping_ms;
	size_t max_waiting;
	size_t max_output_bytes;
	rconn_state_cb *state_cb;
	rconn_message_cb *message_cb;
	void *arg;

	enum rconn_state state;
	unsigned generation; /* of the connection; each teardown adds one */
	unsigned held;	     /* callbacks on the stack */
	bool freed; /* rconn_free was called; the memory goes with the last hold */
	unsigned attempts;  /* in a row, none of them healthy for long */
	unsigned next_addr; /* which of the name's addresses is tried next */
	int64_t up_since_ms;
	int64_t told_ms; /* when the owner last heard that it is down; 0: never */
	char peer[ADDR_TEXT_SIZE];

	struct resolve *question;
	struct bufferevent *bev;
	int fd; /* of bev; -1: none */
	struct rwire_reader *reader;
	struct evbuffer *out;	  /* not handed to the socket yet */
	struct loop_defer *flush; /* sends out */
	struct loop_timer *phase; /* RESTING: pause; UP: ping; else: connect deadline */
	struct loop_timer *reply; /* looks at the oldest waiting command */
	int64_t reply_due_ms;	  /* when it does so next; 0: it is not set */
	int64_t sent_ms;	  /* when the last command was sent */
	unsigned signing_in;	  /* sign-in commands without a reply */

	struct rqueue commands;
	TAILQ_HEAD(, channel) channels;

	struct loop_defer *telling;
	bool tell_state; /* the owner hears of this loss */
	struct err loss; /* why the last connection or attempt ended */
};

static void teardown(struct rconn *rc, const struct err *why);

static bool
is_given(const char *text)
{
	return text != NULL && text[0] != '\0';
}

static void
set_state(struct rconn *rc, enum rconn_state state)
{
	log_debug(&rc->log, "redis connection state", "from=%s to=%s",
	    state_names[rc->state], state_names[state]);
	rc->state = state;
}

/* ---- holding ------------------------------------------------------------- */

static void
destroy(struct rconn *rc)
{
	struct channel *ch;

	while ((ch = TAILQ_FIRST(&rc->channels)) != NULL) {
		TAILQ_REMOVE(&rc->channels, ch, link);
		mem_free(ch->name);
		mem_free(ch);
	}
	rqueue_fini(&rc->commands);
	loop_defer_free(rc->flush);
	loop_defer_free(rc->telling);
	loop_timer_free(rc->phase);
	loop_timer_free(rc->reply);
	if (rc->out != NULL)
		evbuffer_free(rc->out);
	if (rc->password != NULL)
		mem_free_secret(rc->password, strlen(rc->password));
	moved_free(rc->moved);
	mem_free(rc->password_file);
	mem_free(rc->tls_name);
	mem_free(rc->username);
	mem_free(rc->host);
	mem_free(rc->name);
	rc->stamp = 0;
	mem_free(rc);
}

static void
hold(struct rconn *rc)
{
	rc->held++;
}

static void
unhold(struct rconn *rc)
{
	if (--rc->held == 0 && rc->freed)
		destroy(rc);
}

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

static int
send_command(struct rconn *rc, enum rcommand_kind kind, int timeout_ms,
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

static void
flush_out(void *arg)
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
		teardown(rc, &why);
		return;
	}
	len = evbuffer_get_length(rc->out);
	if (len > 0 && bufferevent_write_buffer(rc->bev, rc->out) != 0) {
		err_set(&why, ERR_NOMEM, "%zu bytes to send", len);
		teardown(rc, &why);
	}
}

static void
reply_due(void *arg)
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
	teardown(rc, &why);
}

/* ---- losing a connection ------------------------------------------------- */

static void
answer_lost(struct rconn *rc)
{
	struct rcommand c;
	struct err err;

	while (rqueue_pop_lost(&rc->commands, &c)) {
		err = rc->loss;
		err.code = c.late ? ERR_TIMEOUT : ERR_CLOSED;
		if (c.cb != NULL)
			c.cb(rc, NULL, &err, c.arg);
	}
}

/* anywhere below a ceiling that doubles, so that nodes don't come in step */
static int64_t
choose_pause_ms(struct rconn *rc)
{
	int64_t ceiling = PAUSE_MAX_MS;

	if (rc->attempts < 5 && (PAUSE_FIRST_MS << rc->attempts) < PAUSE_MAX_MS)
		ceiling = PAUSE_FIRST_MS << rc->attempts;
	rc->attempts++;
	return PAUSE_FLOOR_MS +
	       (int64_t)random_below((uint64_t)(ceiling - PAUSE_FLOOR_MS + 1));
}

static void
tell_loss(void *arg)
{
	struct rconn *rc = arg;
	struct err why;

	STAMP_CHECK(rc, RCONN_STAMP);
	hold(rc);
	answer_lost(rc);
	if (!rc->freed && rc->tell_state) {
		rc->tell_state = false;
		rc->told_ms = loop_now_ms(rc->loop);
		why = rc->loss;
		if (rc->state_cb != NULL)
			rc->state_cb(rc, false, &why, rc->arg);
	}
	/* a server that moved in good order is worth no pause */
	if (!rc->freed)
		loop_timer_start_ms(rc->phase, rc->leaving ? 0 : choose_pause_ms(rc));
	rc->leaving = false;
	unhold(rc);
}

/* closes whatever there is; no callback runs here */
static void
disconnect(struct rconn *rc)
{
	rc->generation++;
	if (rc->moved != NULL)
		moved_stop(rc->moved);
	resolve_cancel(rc->question);
	rc->question = NULL;
	if (rc->bev != NULL) {
		/* libevent closes in its next turn; the server should know at once */
		shutdown(rc->fd, SHUT_RDWR);
		bufferevent_free(rc->bev);
	}
	rc->bev = NULL;
	rc->fd = -1;
	rwire_reader_free(rc->reader);
	rc->reader = NULL;
	evbuffer_drain(rc->out, evbuffer_get_length(rc->out));
	loop_defer_stop(rc->flush);
	loop_timer_stop(rc->phase);
	loop_timer_stop(rc->reply);
	rc->reply_due_ms = 0;
	rc->signing_in = 0;
	rqueue_lose(&rc->commands);
}

static void
teardown(struct rconn *rc, const struct err *why)
{
	int64_t now_ms = loop_now_ms(rc->loop);

	if (rc->state == RCONN_UP) {
		rc->tell_state = true;
		if (now_ms - rc->up_since_ms >= HEALTHY_MS)
			rc->attempts = 0;
	} else {
		rc->tell_state =
		    rc->told_ms == 0 || now_ms - rc->told_ms >= TELL_EVERY_MS;
	}
	/* perhaps another of the name's addresses is the one to talk to */
	rc->next_addr++;
	rc->loss = *why;
	disconnect(rc);
	set_state(rc, RCONN_RESTING);
	loop_defer_start(rc->telling);
}

/* ---- leaving -------------------------------------------------------------- */

static void
leave(struct rconn *rc)
{
	struct err why = ERR_INIT;

	err_set(
	    &why, ERR_CLOSED, "%s does not lead to %s any more", rc->host, rc->peer);
	teardown(rc, &why);
}

static void
on_moved(void *arg)
{
	struct rconn *rc = arg;

	STAMP_CHECK(rc, RCONN_STAMP);
	log_info(&rc->log, "redis has moved: the connection is made again",
	    "host=%s address=%s", rc->host, rc->peer);
	rc->leaving = true;
	if (rqueue_oldest(&rc->commands) == NULL)
		leave(rc);
}

static void
watch_name(struct rconn *rc)
{
	struct addr used;

	used.len = sizeof(used.storage);
	if (rc->moved != NULL && getpeername(rc->fd, &used.sa, &used.len) == 0)
		moved_watch(rc->moved, &used);
}

/* ---- replies ------------------------------------------------------------- */

static void
phase_next_ping(struct rconn *rc)
{
	if (rc->ping_ms > 0)
		loop_timer_start_ms(
		    rc->phase, rc->sent_ms + rc->ping_ms - loop_now_ms(rc->loop));
}

static void
send_ping(struct rconn *rc)
{
	static const char *const argv[] = {"PING"};
	struct err why = ERR_INIT;

	if (send_command(rc, RCOMMAND_PING, rc->reply_timeout_ms, NULL, NULL, &why, 1,
		argv, NULL) != 0)
		teardown(rc, &why);
	else
		phase_next_ping(rc);
}

static void
become_up(struct rconn *rc)
{
	set_state(rc, RCONN_UP);
	rc->up_since_ms = loop_now_ms(rc->loop);
	watch_name(rc);
	phase_next_ping(rc);
	if (rc->ping_ms == 0)
		loop_timer_stop(rc->phase);
	if (rc->state_cb != NULL)
		rc->state_cb(rc, true, NULL, rc->arg);
}

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
		teardown(rc, &why);
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
		teardown(rc, &why);
		return;
	}
	if (c.kind == RCOMMAND_ROLE && is_replica(reply)) {
		err_set(&why, ERR_CLOSED, "%s is a replica", rc->peer);
		teardown(rc, &why);
		return;
	}
	if ((c.kind == RCOMMAND_SIGN_IN || c.kind == RCOMMAND_ROLE) &&
	    --rc->signing_in == 0)
		become_up(rc);
	else if (rc->leaving && rqueue_oldest(&rc->commands) == NULL)
		leave(rc);
}

static void
on_readable(struct bufferevent *bev, void *arg)
{
	struct rconn *rc = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	unsigned generation = rc->generation;
	struct redisReply *reply;
	struct err why = ERR_INIT;
	size_t len;

	STAMP_CHECK(rc, RCONN_STAMP);
	hold(rc);
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
	unhold(rc);
	return;
broken:
	err_wrap(&why, "%s", rc->peer);
	teardown(rc, &why);
	unhold(rc);
}

/* ---- getting a connection ------------------------------------------------ */

static int
sign_in_as(struct rconn *rc, enum rcommand_kind kind, struct err *err, int argc,
    const char *const argv[])
{
	if (send_command(rc, kind, rc->connect_timeout_ms, NULL, NULL, err, argc, argv,
		NULL) != 0)
		return -1;
	rc->signing_in++;
	return 0;
}

static int
sign_in_step(struct rconn *rc, struct err *err, int argc, const char *const argv[])
{
	return sign_in_as(rc, RCOMMAND_SIGN_IN, err, argc, argv);
}

/* a file that cannot be read leaves the password as it is, which may still be right */
static void
refresh_password(struct rconn *rc)
{
	struct err err = ERR_INIT;

	if (rc->password_file == NULL)
		return;
	if (conf_refresh_secret(rc->password_file, &rc->password, &err) == 0) {
		rc->file_told = false;
	} else if (!rc->file_told) {
		rc->file_told = true;
		log_warn(&rc->log,
		    "the password's file cannot be read again: a new one needs a "
		    "reload",
		    "reason=\"%s\"", err.text);
	}
}

/*
 * All in one write, answered in order.  The PING makes a server that is loading, full
 * or out of disk say so before anybody relies on it.
 */
static int
sign_in(struct rconn *rc, struct err *err)
{
	const char *auth[3] = {"AUTH"};
	const char *select_db[2] = {"SELECT"};
	const char *const ping[] = {"PING"};
	const char *const role[] = {"ROLE"};
	const char *subscribe[2] = {"SUBSCRIBE"};
	const struct channel *ch;
	char number[16];
	int argc = 1;

	refresh_password(rc);
	if (is_given(rc->password)) {
		if (rc->username != NULL)
			auth[argc++] = rc->username;
		auth[argc++] = rc->password;
		if (sign_in_step(rc, err, argc, auth) != 0)
			return -1;
	}
	if (rc->database != 0) {
		snprintf(number, sizeof(number), "%d", rc->database);
		select_db[1] = number;
		if (sign_in_step(rc, err, 2, select_db) != 0)
			return -1;
	}
	if (sign_in_step(rc, err, 1, ping) != 0 ||
	    (rc->primary && sign_in_as(rc, RCOMMAND_ROLE, err, 1, role) != 0))
		return -1;
	TAILQ_FOREACH (ch, &rc->channels, link) {
		subscribe[1] = ch->name;
		if (sign_in_step(rc, err, 2, subscribe) != 0)
			return -1;
	}
	return 0;
}

static void on_event(struct bufferevent *bev, short what, void *arg);

/* the socket is connected: from the bufferevent that waited for that to one with TLS */
static int
shake_hands(struct rconn *rc, struct err *err)
{
	int fd = rc->fd;

	set_state(rc, RCONN_SHAKING_HANDS);
	bufferevent_setfd(rc->bev, -1); /* it would close what we go on with */
	bufferevent_free(rc->bev);
	rc->bev = NULL;
	rc->fd = -1;
	rc->bev = tlsclient_open(rc->tls, rc->loop, fd, rc->host, rc->tls_name, err);
	if (rc->bev == NULL)
		return -1;
	rc->fd = fd;
	bufferevent_setcb(rc->bev, on_readable, NULL, on_event, rc);
	return 0;
}

static void
on_event(struct bufferevent *bev, short what, void *arg)
{
	struct rconn *rc = arg;
	int errnum = EVUTIL_SOCKET_ERROR();
	struct err why = ERR_INIT;

	STAMP_CHECK(rc, RCONN_STAMP);
	if ((what & BEV_EVENT_CONNECTED) != 0 && rc->tls != NULL &&
	    rc->state == RCONN_CONNECTING) {
		if (shake_hands(rc, &why) == 0)
			return;
	} else if ((what & BEV_EVENT_CONNECTED) != 0) {
		set_state(rc, RCONN_SIGNING_IN);
		if (sign_in(rc, &why) == 0) {
			if (bufferevent_enable(bev, EV_READ) == 0)
				return;
			err_set(&why, ERR_NOMEM, "reading from %s", rc->peer);
		}
	} else if ((what & BEV_EVENT_EOF) != 0 && rc->tls != NULL &&
		   rc->state == RCONN_SIGNING_IN) {
		err_set(&why, ERR_CLOSED,
		    "%s closed the connection after the handshake: perhaps it wants a "
		    "certificate of ours, or another",
		    rc->peer);
	} else if ((what & BEV_EVENT_EOF) != 0) {
		err_set(&why, ERR_CLOSED, "%s closed the connection", rc->peer);
	} else if (rc->state > RCONN_CONNECTING && rc->tls != NULL) {
		tlsclient_why_bev(rc->tls, bev, errnum, rc->peer, &why);
	} else {
		err_errno(&why, errnum, "%s %s",
		    rc->state == RCONN_CONNECTING ? "connecting to" : "connection to",
		    rc->peer);
	}
	teardown(rc, &why);
}

static int
open_socket(struct rconn *rc, const struct addr *a, struct err *err)
{
	int fd;

	addr_format(a, rc->peer);
	/*
	 * The connect is ours and the bufferevent only waits for its end: libevent
	 * reports a refusal that comes at once without its errno, or from inside its
	 * own call.
	 */
	if (addr_connect(a, &fd, err) != 0)
		return -1;
	rc->bev =
	    bufferevent_socket_new(loop_base(rc->loop), fd, BEV_OPT_CLOSE_ON_FREE);
	if (rc->bev == NULL) {
		close(fd);
		return err_set(err, ERR_NOMEM, "connection to %s", rc->peer);
	}
	rc->fd = fd;
	rc->reader = rwire_reader_create();
	bufferevent_setcb(rc->bev, on_readable, NULL, on_event, rc);
	/* nothing is read before the connection is there */
	if (rc->reader == NULL || bufferevent_disable(rc->bev, EV_READ) != 0 ||
	    bufferevent_socket_connect(rc->bev, NULL, 0) != 0)
		return err_set(err, ERR_NOMEM, "connection to %s", rc->peer);
	return 0;
}

static void
on_resolved(const struct addr *addrs, size_t count, const struct err *err, void *arg)
{
	struct rconn *rc = arg;
	struct err why = ERR_INIT;

	STAMP_CHECK(rc, RCONN_STAMP);
	rc->question = NULL;
	if (err != NULL) {
		teardown(rc, err);
		return;
	}
	set_state(rc, RCONN_CONNECTING);
	if (open_socket(rc, &addrs[rc->next_addr % count], &why) != 0)
		teardown(rc, &why);
}

static void
start_attempt(struct rconn *rc)
{
	struct err why = ERR_INIT;

	/* rconn_set_server goes on from here */
	if (rc->host == NULL)
		return;
	set_state(rc, RCONN_RESOLVING);
	loop_timer_start_ms(rc->phase, rc->connect_timeout_ms);
	rc->question = resolve_start(
	    rc->rv, rc->host, rc->port, rc->connect_timeout_ms, on_resolved, rc, &why);
	if (rc->question == NULL)
		teardown(rc, &why);
}

static void
phase_over(void *arg)
{
	struct rconn *rc = arg;
	struct err why = ERR_INIT;

	STAMP_CHECK(rc, RCONN_STAMP);
	switch (rc->state) {
	case RCONN_RESTING:
		start_attempt(rc);
		break;
	case RCONN_UP:
		/* while commands wait, their own deadline watches over the connection
		 */
		if (rqueue_oldest(&rc->commands) == NULL && !rc->leaving &&
		    loop_now_ms(rc->loop) - rc->sent_ms >= rc->ping_ms)
			send_ping(rc);
		else if (rqueue_oldest(&rc->commands) == NULL)
			phase_next_ping(rc);
		else
			loop_timer_start_ms(rc->phase, rc->ping_ms);
		break;
	default:
		err_set(&why, ERR_TIMEOUT, "no connection to %s within %d ms (%s)",
		    rc->state == RCONN_RESOLVING ? rc->host : rc->peer,
		    rc->connect_timeout_ms, state_names[rc->state]);
		teardown(rc, &why);
		break;
	}
}

/* ---- for the owner ------------------------------------------------------- */

static int
copy_texts(struct rconn *rc, const struct rconn_opts *opts)
{
	const struct {
		char **to;
		const char *from;
	} texts[] = {
	    {&rc->username, opts->username},
	    {&rc->password, opts->password},
	    {&rc->password_file, opts->password_file},
	    {&rc->tls_name, opts->tls_name},
	};

	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		if (is_given(texts[i].from) &&
		    (*texts[i].to = mem_strdup(texts[i].from)) == NULL)
			return -1;
	}
	return 0;
}

struct rconn *
rconn_create(
    struct loop *l, struct resolver *rv, const struct rconn_opts *opts, struct err *err)
{
	struct rconn *rc;

	rc = mem_zero(sizeof(*rc));
	if (rc == NULL) {
		err_set(err, ERR_NOMEM, "redis connection");
		return NULL;
	}
	rc->stamp = RCONN_STAMP;
	rc->loop = l;
	rc->rv = rv;
	rc->fd = -1;
	rqueue_init(&rc->commands);
	TAILQ_INIT(&rc->channels);
	rc->database = opts->database;
	rc->connect_timeout_ms = opts->connect_timeout_ms > 0 ? opts->connect_timeout_ms
							      : CONNECT_TIMEOUT_MS;
	rc->reply_timeout_ms =
	    opts->reply_timeout_ms > 0 ? opts->reply_timeout_ms : REPLY_TIMEOUT_MS;
	rc->ping_ms = opts->ping_ms > 0 ? opts->ping_ms : 0;
	rc->max_waiting = opts->max_waiting > 0 ? opts->max_waiting : MAX_WAITING;
	rc->max_output_bytes =
	    opts->max_output_bytes > 0 ? opts->max_output_bytes : MAX_OUTPUT_BYTES;
	rc->state_cb = opts->state_cb;
	rc->message_cb = opts->message_cb;
	rc->arg = opts->arg;

	rc->tls = opts->tls;
	rc->primary = opts->primary;
	rc->name = mem_strdup(is_given(opts->name) ? opts->name : "redis");
	if (copy_texts(rc, opts) != 0) {
		err_set(err, ERR_NOMEM, "redis connection %s", opts->name);
		destroy(rc);
		return NULL;
	}
	if (opts->moved_ms > 0 && (rc->moved = moved_create(l, rv, opts->moved_ms,
				       on_moved, rc, err)) == NULL) {
		destroy(rc);
		return NULL;
	}
	if (is_given(opts->host) &&
	    rconn_set_server(rc, opts->host, opts->port, err) != 0) {
		destroy(rc);
		return NULL;
	}
	rc->out = evbuffer_new();
	rc->flush = loop_defer_create(l, flush_out, rc);
	rc->telling = loop_defer_create(l, tell_loss, rc);
	rc->phase = loop_timer_create(l, phase_over, rc);
	rc->reply = loop_timer_create(l, reply_due, rc);
	if (rc->name == NULL || rc->out == NULL || rc->flush == NULL ||
	    rc->telling == NULL || rc->phase == NULL || rc->reply == NULL) {
		err_set(err, ERR_NOMEM, "redis connection %s", opts->name);
		destroy(rc);
		return NULL;
	}
	rc->log.kind = "redis";
	rc->log.id = rc->name;
	rc->state = RCONN_RESTING;
	loop_timer_start_ms(rc->phase, 0);
	return rc;
}

void
rconn_free(struct rconn *rc)
{
	if (rc == NULL)
		return;
	STAMP_CHECK(rc, RCONN_STAMP);
	/* a callback that hears the news below may well want to free us, too */
	if (rc->freed)
		return;
	rc->freed = true;
	if (rc->state != RCONN_RESTING)
		err_set(&rc->loss, ERR_CLOSED, "the connection is not needed any more");
	disconnect(rc);
	set_state(rc, RCONN_RESTING);
	loop_defer_stop(rc->telling);
	hold(rc);
	answer_lost(rc);
	unhold(rc);
}

bool
rconn_is_up(const struct rconn *rc)
{
	return rc->state == RCONN_UP && !rc->leaving;
}

const char *
rconn_peer(const struct rconn *rc)
{
	return rc->peer;
}

size_t
rconn_waiting(const struct rconn *rc)
{
	return rc->commands.count;
}

void
rconn_close(struct rconn *rc, const char *reason)
{
	struct err why = ERR_INIT;

	STAMP_CHECK(rc, RCONN_STAMP);
	if (rc->freed || rc->state == RCONN_RESTING)
		return;
	err_set(&why, ERR_CLOSED, "%s", reason);
	teardown(rc, &why);
}

int
rconn_set_server(struct rconn *rc, const char *host, uint16_t port, struct err *err)
{
	bool waited = rc->host == NULL;
	struct err why = ERR_INIT;
	char *copy;

	STAMP_CHECK(rc, RCONN_STAMP);
	if (!waited && str_eq(rc->host, host) && rc->port == port)
		return 0;
	copy = mem_strdup(host);
	if (copy == NULL)
		return err_set(err, ERR_NOMEM, "redis connection %s", rc->name);
	mem_free(rc->host);
	rc->host = copy;
	rc->port = port;
	if (rc->moved != NULL) {
		moved_forget(rc->moved);
		if (moved_add(rc->moved, host, err) != 0)
			return -1;
	}
	if (rc->freed || rc->state == RCONN_NONE)
		return 0;
	if (rc->state != RCONN_RESTING) {
		err_set(&why, ERR_CLOSED, "the server is %s now", host);
		teardown(rc, &why);
	} else if (waited) {
		loop_timer_start_ms(rc->phase, 0);
	}
	return 0;
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
	return send_command(rc, RCOMMAND_CALLER,
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
		send_command(rc, RCOMMAND_SUBSCRIBE, rc->reply_timeout_ms, NULL, NULL,
		    err, 2, argv, NULL) != 0) ||
	    (rc->state == RCONN_SIGNING_IN && sign_in_step(rc, err, 2, argv) != 0)) {
		mem_free(ch->name);
		mem_free(ch);
		return -1;
	}
	TAILQ_INSERT_TAIL(&rc->channels, ch, link);
	return 0;
}
