/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_node.h - httpd, engine and store without sockets: what the faces do is recorded,
 * and the test decides when and how it is answered.
 *
 * Linked before the libraries, so that none of the real ones is taken.
 */
#ifndef TESTS_FAKE_NODE_H
#define TESTS_FAKE_NODE_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/each.h"
#include "engine/leases.h"
#include "engine/names.h"
#include "engine/submit.h"
#include "engine/waiters.h"
#include "http/httpd.h"
#include "pg/pgconn.h"

#define FAKE_MAX 512

/* a request that the test makes, and the answer that it gets */
struct httpreq {
	enum http_method method;
	const char *path; /* of the route's table */
	const char *segment;
	const char *query[8][2]; /* ended by NULL */
	const char *headers[8][2];
	const char *body;
	/* filled */
	unsigned needs;
	bool ended, dropped, is_gone;
	int status;
	char *answer; /* owned; of a stream: all that was sent */
	bool streaming;
	size_t unsent; /* what the test says of a stream */
	char reply_headers[512];
	httpreq_cb *gone_cb;
	void *gone_arg;
	_Alignas(16) char notes[HTTPREQ_NOTES];
};

struct fake_question {
	const struct pgstmt *stmt;
	pgconn_done_cb *cb;
	void *arg;
	int64_t numbers[4]; /* its first parameters, where they are int4 or int8 */
};

struct waiter {
	bool open;
	struct uuid id;
	waiter_cb *cb;
	void *arg;
};

struct fake_node {
	struct fake_question questions[FAKE_MAX]; /* in order, not yet answered */
	size_t question_count;
	size_t asked;	    /* since the start */
	bool database_away; /* store_exec fails */
	struct submit_group *submits[FAKE_MAX];
	size_t submit_count;
	bool submit_refuses;
	bool each_taken;	   /* each_add takes requests */
	struct each_request *each; /* the last of them */
	struct waiter waiters[FAKE_MAX];
	size_t waiter_count;
	const struct queue_policy *policy; /* of every queue; NULL: none */
	int queue_changed;
	bool names_known;   /* every name has a number */
	size_t names_asked; /* names in the last question */
	void (*names_cb)(const struct err *err, void *arg);
	void *names_arg;
	size_t hints, operates; /* told to the leader */
	struct uuid again;	/* the last one that it was told of */
	size_t cancels, tells;	/* told to a holder, to a waiter */
	/* the request for leases that waits; cb NULL: none does */
	struct lease_request leasing;
	lease_cb *lease_cb;
	void *lease_arg;
	bool lease_full;  /* no more may wait */
	int lease_hinted; /* queue */
};
extern struct fake_node fake;

void fake_reset(void);
void fake_request(const struct httpd_opts *opts, struct httpreq *req); /* routes it */
void fake_hang_up(struct httpreq *req);
void fake_request_fini(struct httpreq *req);
/* answers the oldest question; res is cleared.  NULL: the connection was lost */
void fake_answer(PGresult *res);
void fake_names_learned(const struct err *err);
void fake_committed(const struct err *err); /* the oldest group */

/* results in binary form */
PGresult *fake_rows(int columns);
void fake_int(PGresult *res, int row, int col, int width, long long n);
void fake_text(PGresult *res, int row, int col, const void *bytes, int len);

#endif
