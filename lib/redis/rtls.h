/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rtls.h - TLS to Redis and its sentinels: what all connections share, and the one that
 * is made of a connected socket.
 *
 * TLS 1.2 and later.  The server's certificate must come from an authority that is
 * trusted, and bear a name that was asked for: there is no way to leave that out.
 */
#ifndef REDIS_RTLS_H
#define REDIS_RTLS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/loop.h"

struct bufferevent;
struct rtls;

struct rtls_opts {
	const char *ca_file;	 /* PEM; NULL or "": those that the system trusts */
	const char *certificate; /* PEM, ours and its chain; NULL or "": none */
	const char *key;	 /* PEM, of certificate */
};

/* reads the files; ERR_INVALID says which of them is wrong, and how */
struct rtls *rtls_create(const struct rtls_opts *opts, struct err *err) ATTR_CHECK;
void rtls_free(struct rtls *t); /* NULL is fine; no connection may be left */

/*
 * A bufferevent that owns fd, a connected socket, and begins the handshake.  Its
 * certificate must name host (an address counts as one); or other, which may be NULL.
 * BEV_EVENT_CONNECTED says that the handshake is done.
 */
struct bufferevent *rtls_open(struct rtls *t, struct loop *l, int fd, const char *host,
    const char *other, struct err *err) ATTR_CHECK;
/* what went wrong, once BEV_EVENT_ERROR has come: a sentence about peer */
int rtls_why(struct bufferevent *bev, const char *peer, int errnum, struct err *err);
/* bytes that are decrypted already and that no event of the socket will tell of */
size_t rtls_pending(struct bufferevent *bev);

#endif
