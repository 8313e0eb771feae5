/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * resolve.h - names to addresses without blocking.
 *
 * Numeric addresses and unix paths answer without a query.  Names go through
 * libevent's resolver (hosts file, then the name servers of resolv.conf), anew at
 * each call, bounded by a deadline.  Both files are read again when they have changed.
 */
#ifndef EVENT_RESOLVE_H
#define EVENT_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/addr.h"
#include "event/loop.h"

#define RESOLVE_MAX 16

struct resolver; /* one a process */
struct resolve;	 /* one question */

/* exactly once, never during resolve_start: count > 0 or err.  Addresses are borrowed.
 */
typedef void resolve_cb(
    const struct addr *addrs, size_t count, const struct err *err, void *arg);

struct resolver *resolver_create(struct loop *l, struct err *err) ATTR_CHECK;
/* no question may be open; what cancelled ones still hold is released by the loop */
void resolver_free(struct resolver *rv);
/* asks this server alone and no hosts file, from now on; for tests and odd networks */
int resolver_set_server(
    struct resolver *rv, const struct addr *server, struct err *err) ATTR_CHECK;
/* NULL with err: cannot even ask */
struct resolve *resolve_start(struct resolver *rv, const char *host, uint16_t port,
    int timeout_ms, resolve_cb *cb, void *arg, struct err *err) ATTR_CHECK;
/* an address or a "unix:" path, which answers without a query */
bool resolve_is_numeric(const char *host);
void resolve_cancel(struct resolve *r); /* no callback after this; NULL is fine */

#endif
