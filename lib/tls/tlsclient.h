/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlsclient.h - TLS to servers: Redis and its sentinels, and nodes, to which the shoal
 * program speaks.  What all connections share, and how one is made.
 *
 * TLS 1.2 and later.  The server's certificate must come from an authority that is
 * trusted, and bear a name that was asked for: there is no way to leave that out.
 */
#ifndef TLS_TLSCLIENT_H
#define TLS_TLSCLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/loop.h"

struct bufferevent;
struct ssl_st;
struct tlsclient;

struct tlsclient_opts {
	const char *ca_file;	 /* PEM; NULL or "": those that the system trusts */
	const char *certificate; /* PEM, ours and its chain; NULL or "": none */
	const char *key;	 /* PEM, of certificate */
	const char *hint; /* for who reads that a certificate is refused; borrowed */
};

/* reads the files; ERR_INVALID says which of them is wrong, and how */
struct tlsclient *tlsclient_create(
    const struct tlsclient_opts *opts, struct err *err) ATTR_CHECK;
void tlsclient_free(struct tlsclient *t); /* NULL is fine; no connection may be left */

/*
 * A connection to be, of which the server's certificate must name host (an address
 * counts as one); or other, which may be NULL.  NULL: no memory.
 */
struct ssl_st *tlsclient_ssl(
    const struct tlsclient *t, const char *host, const char *other) ATTR_CHECK;
void tlsclient_ssl_free(struct ssl_st *ssl); /* NULL is fine */
/*
 * The same as a bufferevent that owns fd, a connected socket, and begins the handshake;
 * fd -1: it is to be connected.  BEV_EVENT_CONNECTED says that the handshake is done.
 */
struct bufferevent *tlsclient_open(const struct tlsclient *t, struct loop *l, int fd,
    const char *host, const char *other, struct err *err) ATTR_CHECK;
/* -1, and a sentence about peer: why there is no connection.  code is OpenSSL's, errnum
 * the system's, 0 where there is none */
int tlsclient_why(const struct tlsclient *t, const struct ssl_st *ssl,
    unsigned long code, int errnum, const char *peer, struct err *err);
/* the same, once BEV_EVENT_ERROR has come */
int tlsclient_why_bev(const struct tlsclient *t, struct bufferevent *bev, int errnum,
    const char *peer, struct err *err);
/* bytes that are decrypted already and that no event of the socket will tell of */
size_t tlsclient_pending(struct bufferevent *bev);

#endif
