/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * target.h - the node that a command talks to: its URL, addresses, and the caller's
 * key.
 */
#ifndef CLI_TARGET_H
#define CLI_TARGET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/strbuf.h"
#include "cli/url.h"
#include "event/addr.h"

struct tlsclient;

#define TARGET_ADDRS  8
#define TARGET_SECRET 320

struct target {
	struct url url;
	struct addr addrs[TARGET_ADDRS];
	size_t addr_count;
	char secret[TARGET_SECRET]; /* sent as Authorization: Bearer; "": none.  Wipe
				       it. */
	bool developers; /* their listener, for what is said; else applications */
	const struct tlsclient *tls; /* borrowed; NULL: the URL is no https */
};

/*
 * Resolves the name, blocking.  secret NULL: none; copied.  tls: borrowed for life, for
 * https; NULL: https is refused.  ERR_INVALID: the URL or the secret; ERR_IO: no such
 * host.
 */
int target_open(struct target *t, const char *url, const char *secret,
    const struct tlsclient *tls, struct err *err) ATTR_CHECK;
void target_wipe(struct target *t);
/* the first line of a file, without white space around it; for target_open's secret */
int target_secret_file(
    const char *path, char secret[TARGET_SECRET], struct err *err) ATTR_CHECK;
/* a whole HTTP/1.1 request; body NULL: none (otherwise JSON) */
void target_request(const struct target *t, const char *method, const char *path,
    const char *body, size_t len, struct strbuf *out);

#endif
