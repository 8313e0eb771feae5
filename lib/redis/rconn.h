/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rconn.h - one asynchronous Redis connection that comes back by itself.
 *
 * hiredis parses the replies; a bufferevent carries the bytes.
 * A connection resolves its name, connects (with TLS, if it is told to), signs in
 * (AUTH, SELECT), and is up; when it is lost it tries again after a pause with jitter,
 * up to a second, until it is freed.  Commands are accepted only while it is up;
 * nothing is queued for later and nothing is ever sent twice.  What is sent in one turn
 * of the loop leaves in one write.
 *
 * While it is up, its name is resolved again now and then.  When that does not lead to
 * the address in use any more, the connection takes no more commands, closes when the
 * last reply has come, and is made again at once.
 *
 * It closes itself when: a connect or a reply is late, the peer closes, the bytes are
 * no RESP, or a reply says that the server is not the one to talk to (READONLY,
 * LOADING, MASTERDOWN, MISCONF, NOREPLICAS, UNBLOCKED, NOAUTH, WRONGPASS).  The
 * callback whose reply that was still gets the reply.  On any close every waiting
 * callback gets ERR_CLOSED (ERR_TIMEOUT for the late one), in order, before
 * state_cb(up=false).
 *
 * -OOM, WRONGTYPE and other errors are replies like any other: reply->type is
 * REDIS_REPLY_ERROR, the connection stays.
 */
#ifndef REDIS_RCONN_H
#define REDIS_RCONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/loop.h"
#include "event/resolve.h"

struct rconn;
struct tlsclient;
struct redisReply;

/*
 * Exactly one of reply and err is set.  Both belong to rconn and are gone when the
 * callback returns.  The callback may issue commands and may free or close rc.
 */
typedef void rconn_reply_cb(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg);
/* up: err NULL.  Down (also each failed attempt, at most one a second told): err says
 * why. */
typedef void rconn_state_cb(
    struct rconn *rc, bool up, const struct err *err, void *arg);
/* a message of a channel that this connection is subscribed to */
typedef void rconn_message_cb(struct rconn *rc, const char *channel, size_t channel_len,
    const char *text, size_t len, void *arg);

struct rconn_opts {
	const char *name; /* for the log: "command", "pop", "subscribe"; copied */
	/* name, address or "unix:/path"; copied.  NULL: rconn_set_server will tell */
	const char *host;
	uint16_t port;
	const char *username; /* NULL or "": none; copied */
	const char *password; /* NULL or "": no AUTH; copied */
	/* read again at each attempt, so that a rotated password is taken up; NULL or
	 * "": password is all there is; copied */
	const char *password_file;
	struct tlsclient *tls; /* NULL: none; borrowed */
	const char *tls_name;  /* another name that its certificate may bear; copied */
	bool primary;	       /* a server that says that it is a replica is refused */
	int moved_ms;	       /* how often its name is resolved again; 0: never */
	int database;
	int connect_timeout_ms;	 /* resolve, connect and sign-in together; 0: 5,000 */
	int reply_timeout_ms;	 /* for the oldest waiting command; 0: 2,000 */
	int ping_ms;		 /* a PING after this long without a command; 0: none */
	size_t max_waiting;	 /* commands without a reply; 0: 10,000 */
	size_t max_output_bytes; /* unsent bytes; 0: 8 MiB */
	rconn_state_cb *state_cb;     /* may be NULL */
	rconn_message_cb *message_cb; /* may be NULL */
	void *arg;		      /* of the two above */
};

struct rconn *rconn_create(struct loop *l, struct resolver *rv,
    const struct rconn_opts *opts, struct err *err) ATTR_CHECK;
/* NULL is fine; waiting callbacks get ERR_CLOSED first (from inside this call),
 * state_cb is not called */
void rconn_free(struct rconn *rc);
bool rconn_is_up(const struct rconn *rc);
/* how long the oldest command without a reply has waited, of those that have the
 * connection's own timeout; 0: there is none */
int64_t rconn_late_ms(struct rconn *rc);
/* the address connected to, for logs; "" before the first */
const char *rconn_peer(const struct rconn *rc);
size_t rconn_waiting(const struct rconn *rc);

/*
 * Closes now and connects again after the usual pause; the callers' callbacks get
 * reason. For news that only the caller has: a stale Redis, a sister connection that
 * died.
 */
void rconn_close(struct rconn *rc, const char *reason);

/*
 * Another server from now on: whoever knows says where it is.  A connection that leads
 * elsewhere, or is being made, is closed as by rconn_close; one that waits for its
 * pause goes there at its end.  The same server again: nothing happens.
 */
int rconn_set_server(
    struct rconn *rc, const char *host, uint16_t port, struct err *err) ATTR_CHECK;

/*
 * Sends one command.  cb may be NULL (the reply is dropped).  Fails with ERR_CLOSED
 * while down, ERR_CONFLICT on a connection that subscribes, ERR_LIMIT at max_waiting or
 * max_output_bytes.  Arguments are copied; lens NULL: strlen. reply_timeout_ms 0 in
 * rconn_command_within means the connection's own; a blocking pop gives its server-side
 * timeout plus a margin.
 */
int rconn_command(struct rconn *rc, rconn_reply_cb *cb, void *arg, struct err *err,
    int argc, const char *const argv[], const size_t lens[]) ATTR_CHECK;
int rconn_command_within(struct rconn *rc, int reply_timeout_ms, rconn_reply_cb *cb,
    void *arg, struct err *err, int argc, const char *const argv[],
    const size_t lens[]) ATTR_CHECK;

/*
 * Subscribes this connection to a channel; from then on it takes only subscriptions
 * (and pings itself).  Subscriptions are made again after each reconnect.  Before the
 * first "up" it is only remembered.
 */
int rconn_subscribe(struct rconn *rc, const char *channel, struct err *err) ATTR_CHECK;

#endif
