/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxyhead.h - the header of the PROXY protocol, version 1 and 2.
 *
 * A balancer that passes on bytes without looking into them says in front of the first
 * of them whose connection it is.  Only version 1's text and version 2's bytes as the
 * protocol's paper has them are taken; whatever is a little different is refused, since
 * who sends it is no balancer.  What version 2 carries beside the addresses is skipped.
 */
#ifndef HTTP_PROXYHEAD_H
#define HTTP_PROXYHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* the longest that is taken; version 2 could be 64 KiB, and is 1 KiB where it is long
 */
#define PROXYHEAD_MAX	  4096
#define PROXYHEAD_ADDRESS 46

struct proxyhead {
	size_t len; /* of the header */
	/*
	 * The client, numeric; an IPv4 address inside IPv6 as IPv4.  "": the balancer
	 * speaks for itself, or does not know whose connection it is.
	 */
	char client[PROXYHEAD_ADDRESS];
	bool local; /* the balancer speaks for itself, as when it looks whether we live
		     */
	uint16_t port; /* that the client has connected to; 0: not said */
};

enum proxyhead_verdict {
	PROXYHEAD_BAD = 0, /* no such header */
	PROXYHEAD_MORE,	   /* so far it could be one */
	PROXYHEAD_GOOD,
};

/* bytes: the connection's first; out is written only for GOOD */
enum proxyhead_verdict proxyhead_parse(
    const uint8_t *bytes, size_t len, struct proxyhead *out);

#endif
