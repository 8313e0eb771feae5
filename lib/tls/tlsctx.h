/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlsctx.h - a TLS server: what each of its connections is begun with.
 *
 * TLS 1.2 and 1.3 only, key exchange by elliptic curves, ciphers that authenticate; no
 * renegotiation, no compression, no early data.  HTTP/1.1 is what is spoken (ALPN).
 * Sessions are resumed by tickets alone, so that no process has to remember any.
 */
#ifndef TLS_TLSCTX_H
#define TLS_TLSCTX_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "base/attr.h"
#include "base/err.h"
#include "tls/tlsbag.h"

struct tlsctx;

/* what is wrong with the files is an error that says what to do; dates are no matter */
struct tlsctx *tlsctx_create(const struct tlsbag *bag, struct err *err) ATTR_CHECK;
void tlsctx_free(struct tlsctx *tc); /* after its connections; NULL is fine */
/*
 * Whether a server can be made of it now: also none of the certificates is over.  What
 * is odd but no reason to refuse (an OCSP response) is logged.
 */
int tlsctx_check(const struct tlsbag *bag, int64_t now_s, struct err *err) ATTR_CHECK;
/* for one connection, taken; it chooses its certificate by the client's wish.  NULL: no
 * memory */
SSL *tlsctx_accept(struct tlsctx *tc);

/* the certificates, by their numbers from 0 */
size_t tlsctx_count(const struct tlsctx *tc);
const char *tlsctx_title(const struct tlsctx *tc, size_t i);
int64_t tlsctx_seconds_left(const struct tlsctx *tc, size_t i, int64_t now_s);
/* why its OCSP response is left out; "": it is not, or there is none */
const char *tlsctx_staple_fault(const struct tlsctx *tc, size_t i);
/* which one is chosen for that name; 0, the first, also for strangers and NULL */
size_t tlsctx_choose(const struct tlsctx *tc, const char *name);

#endif
