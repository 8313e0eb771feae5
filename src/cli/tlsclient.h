/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlsclient.h - TLS to a node, or to the load balancer in front of it.
 *
 * TLS 1.2 or later, and no connection to a server whose certificate does not come from
 * a known authority, is not valid now or names somebody else.
 */
#ifndef CLI_TLSCLIENT_H
#define CLI_TLSCLIENT_H

#include "base/attr.h"
#include "base/err.h"

struct ssl_st;
struct tlsclient;

/* ca_file: PEM, the only authorities that count; NULL: those of the system.
 * ERR_INVALID: it cannot be read, or holds none */
struct tlsclient *tlsclient_create(const char *ca_file, struct err *err) ATTR_CHECK;
void tlsclient_free(struct tlsclient *tc); /* NULL is fine; no connection may be left */
/* for one connection to host, a name or an address; NULL: no memory */
struct ssl_st *tlsclient_ssl(const struct tlsclient *tc, const char *host) ATTR_CHECK;
void tlsclient_ssl_free(struct ssl_st *ssl);
/* why the handshake failed: code is OpenSSL's, errnum the system's, 0 each when there
 * is none.  Returns -1. */
int tlsclient_why(
    const struct ssl_st *ssl, unsigned long code, int errnum, struct err *err);

#endif
