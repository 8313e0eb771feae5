/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client.h - one request, one answer: HTTP for commands that have nothing else to do.
 */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "cli/target.h"

struct client;

struct client_answer {
	int status;
	char *body; /* owned, NUL-terminated; never NULL */
	size_t len;
};

struct client *client_create(
    const struct target *t, struct err *err) ATTR_CHECK; /* t: borrowed for life */
void client_free(struct client *c);
/*
 * Blocks until the answer, whatever its status, is there.  body NULL: none.  Errors are
 * those of hconn_cb, with the URL in front.  *out is the caller's: client_answer_fini.
 */
int client_call(struct client *c, const char *method, const char *path,
    const char *body, size_t len, int timeout_ms, struct client_answer *out,
    struct err *err) ATTR_CHECK;
void client_answer_fini(struct client_answer *a);

#endif
