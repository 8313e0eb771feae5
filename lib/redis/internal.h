/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * internal.h - a Redis connection's inside, shared by rconn.c, rdial.c and rtalk.c
 * only.
 */
#ifndef REDIS_INTERNAL_H
#define REDIS_INTERNAL_H

#include <sys/queue.h>

#include "base/log.h"
#include "event/moved.h"
#include "redis/rconn.h"
#include "redis/rqueue.h"
#include "redis/rwire.h"
#include "tls/tlsclient.h"

#define RCONN_STAMP 0x52434f4eu

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

/* one that is subscribed to, on this connection and each that follows */
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

/* rconn.c */
void rconn_set_state(struct rconn *rc, enum rconn_state state);
/* around whatever may call one of the owner's callbacks */
void rconn_hold(struct rconn *rc);
void rconn_unhold(struct rconn *rc);
/* the sign-in is answered; tells the owner */
void rconn_become_up(struct rconn *rc);
/* takes things apart; no callback runs in it */
void rconn_teardown(struct rconn *rc, const struct err *why);
/* the last reply of a connection that leaves has come */
void rconn_leave(struct rconn *rc);

/* rdial.c: from RESTING to the sign-in */
void rconn_dial(struct rconn *rc);

/* rtalk.c: loop callbacks, and how the module itself sends */
int rconn_send(struct rconn *rc, enum rcommand_kind kind, int timeout_ms,
    rconn_reply_cb *cb, void *arg, struct err *err, int argc, const char *const argv[],
    const size_t lens[]) ATTR_CHECK;
/* a part of the sign-in: the connection is up when all of it is answered */
int rconn_send_sign_in(struct rconn *rc, enum rcommand_kind kind, struct err *err,
    int argc, const char *const argv[]) ATTR_CHECK;
void rconn_flush(void *arg);
void rconn_reply_due(void *arg);
void rconn_readable(struct bufferevent *bev, void *arg);

#endif
