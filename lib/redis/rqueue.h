/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rqueue.h - the commands of one connection that still owe somebody an answer.
 *
 * Two lists: waiting (sent on the present connection, in order) and lost (of a
 * connection that is gone, not told yet).  Records are used again, so a busy connection
 * allocates nothing for a command.
 */
#ifndef REDIS_RQUEUE_H
#define REDIS_RQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "redis/rconn.h"

/* whom a reply is for */
enum rcommand_kind {
	RCOMMAND_CALLER,
	RCOMMAND_SIGN_IN, /* the connection is up when the last of these is answered */
	RCOMMAND_ROLE,	  /* part of the sign-in; who will not say what it is passes */
	RCOMMAND_PING,
	RCOMMAND_SUBSCRIBE, /* made while up */
};

struct rcommand {
	STAILQ_ENTRY(rcommand) link;
	enum rcommand_kind kind;
	bool late;
	int64_t
	    deadline_ms;    /* of loop_now_ms; never before that of the command ahead */
	rconn_reply_cb *cb; /* NULL: nobody wants to know */
	void *arg;
};

STAILQ_HEAD(rcommand_list, rcommand);

struct rqueue {
	struct rcommand_list waiting;
	struct rcommand_list lost;
	struct rcommand_list spare;
	size_t count;		  /* waiting and lost */
	int64_t last_deadline_ms; /* of the youngest waiting command */
};

void rqueue_init(struct rqueue *q);
void rqueue_fini(struct rqueue *q); /* nobody may wait */

/* a record that rqueue_push takes without a way to fail, or rqueue_unget back; NULL: no
 * memory */
struct rcommand *rqueue_get(struct rqueue *q) ATTR_CHECK;
void rqueue_unget(struct rqueue *q, struct rcommand *c);
void rqueue_push(struct rqueue *q, struct rcommand *c);

/* the oldest waiting command, or NULL */
struct rcommand *rqueue_oldest(struct rqueue *q);
/* takes the oldest out: a copy, so that the record is free again before any callback */
bool rqueue_pop_waiting(struct rqueue *q, struct rcommand *copy);
bool rqueue_pop_lost(struct rqueue *q, struct rcommand *copy);
/* the connection is gone: whatever waits is lost */
void rqueue_lose(struct rqueue *q);

#endif
