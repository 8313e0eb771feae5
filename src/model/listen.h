/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listen.h - one item of listen.applications or listen.developers: an address, and the
 * words behind it that say what is spoken there.
 */
#ifndef MODEL_LISTEN_H
#define MODEL_LISTEN_H

#include <stdbool.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/addr.h"

#define LISTEN_ITEM_SIZE (ADDR_TEXT_SIZE + 32)

struct listen_item {
	struct addr addr;
	bool tls;   /* TLS */
	bool proxy; /* each connection begins with a header of the PROXY protocol */
};

/* "127.0.0.1:8443 tls proxy", without blanks around it; any order of the words */
int listen_parse(
    const char *text, struct listen_item *item, struct err *err) ATTR_CHECK;

typedef int listen_fn(const struct listen_item *item, void *arg, struct err *err);
/* calls fn for each item of a list with commas, empty ones left out; -1 of fn ends it
 */
int listen_each(const char *list, listen_fn *fn, void *arg, struct err *err) ATTR_CHECK;

#endif
