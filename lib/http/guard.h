/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guard.h - which addresses and ports requests to others' servers may go to.
 *
 * In this order: what the operator denies is denied; what he allows is allowed; this
 * node's own addresses (guard_add_interfaces) and those told by guard_set_own are
 * denied; of all others only addresses that the whole internet can reach are allowed.
 * IPv4 inside IPv6 (mapped, NAT64) is judged as IPv4.  The question is asked for
 * addresses, after names are resolved, and again for each connection's peer.
 */
#ifndef HTTP_GUARD_H
#define HTTP_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/addr.h"

#define GUARD_OWN_MOST 128

struct guard;

struct guard_opts {
	const char *allow, *deny; /* networks, separated by commas */
	const char *ports;	  /* port numbers, separated by commas */
};

struct guard *guard_create(const struct guard_opts *opts, struct err *err) ATTR_CHECK;
void guard_free(struct guard *g); /* NULL is fine */
/* this node's own addresses, as they are now, are denied too */
int guard_add_interfaces(struct guard *g, struct err *err) ATTR_CHECK;
/* the stores' addresses, say; copied, in place of those told before; beyond
 * GUARD_OWN_MOST: -1, and nothing changes */
int guard_set_own(struct guard *g, const struct addr *addrs, size_t count,
    struct err *err) ATTR_CHECK;
/* NULL: may be connected to; else a word for the operator's log, such as "loopback" */
const char *guard_why_not(const struct guard *g, const struct addr *a);
/* the same for a numeric address as text; what is none is refused */
const char *guard_why_not_text(const struct guard *g, const char *address);
bool guard_port(const struct guard *g, uint16_t port);

#endif
