/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * httpd_client.h - a httpd under test and raw sockets against it, in one thread.
 *
 * Waiting means turning the loop until a condition holds; a minute without it fails.
 */
#ifndef HTTPD_CLIENT_H
#define HTTPD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/addr.h"
#include "event/loop.h"
#include "http/httpd.h"

#define HELD_MAX  2048
#define BIG_BYTES (16 * 1024 * 1024)

struct stage {
	struct loop *loop;
	struct httpd *httpd;
	struct addr addr;
	struct httpreq *held[HELD_MAX]; /* by GET /hold */
	unsigned held_count, gone_count, handled, afters;
	int last_status;
};

struct client {
	struct stage *stage;
	int fd;
	char *in; /* all that came, with a NUL */
	size_t len, cap;
	bool eof, reset;
	bool head; /* the replies have no bodies */
};

/* the routes: GET /hello (echoes q), POST /echo, GET /hold, GET /big, GET /drop,
 * GET and POST /stream (held, begun) */
void stage_opts(struct stage *st, struct httpd_opts *opts);
void stage_open(struct stage *st, const struct httpd_opts *opts);
void stage_close(struct stage *st);
void stage_turn(struct stage *st); /* once, without waiting for more than a moment */
/* turns until cond is true */
#define STAGE_WAIT(st, cond)                                                           \
	do {                                                                           \
		int64_t until_ = clock_mono_ms() + 60000;                              \
		while (!(cond)) {                                                      \
			assert_true(clock_mono_ms() < until_);                         \
			stage_turn(st);                                                \
		}                                                                      \
	} while (0)

void client_open(struct client *c, struct stage *st);
void client_close(struct client *c);
void client_reset(struct client *c); /* closes by RST */
/* all of it, turning the loop while the server does not read; false: it closed */
bool client_send(struct client *c, const void *bytes, size_t len);
void client_text(struct client *c, const char *text);
void client_read(struct client *c); /* what is there */
void client_read_within(
    struct client *c, int ms); /* waits for something; the loop stands */
unsigned client_replies(const struct client *c); /* complete ones */
void client_wait_replies(struct client *c, unsigned count);
void client_wait_end(struct client *c);
int client_status(const struct client *c, unsigned n); /* of the n-th, from 0 */

#endif
