/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlscert.h - one certificate of a server: its chain, its key, its names, its dates.
 */
#ifndef TLS_TLSCERT_H
#define TLS_TLSCERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "base/attr.h"
#include "base/err.h"
#include "tls/tlsbag.h"

#define TLSCERT_NAMES_MOST 512
#define TLSCERT_WHY	   200

struct tlscert {
	SSL_CTX *ctx; /* owned; has chain and key, the rest is tlsctx.c's */
	char **names; /* lower-case: "a.example.com", "*.example.com" */
	size_t name_count;
	int64_t from_s, until_s; /* since 1970 */
	/* the response to be stapled; NULL: none, or one that is no good */
	uint8_t *ocsp;
	size_t ocsp_len;
	int64_t ocsp_until_s;
	char ocsp_why[TLSCERT_WHY]; /* what is wrong with it; "": nothing */
};

/*
 * The key belongs to the first certificate and each of the others issued the one before
 * it.  Dates are not looked at: tlscert_check_dates.  A bad OCSP response is no error.
 */
int tlscert_init(
    struct tlscert *c, const struct tlsbag_cert *from, struct err *err) ATTR_CHECK;
void tlscert_fini(struct tlscert *c); /* of zeroed storage too */
int tlscert_check_dates(
    const struct tlscert *c, int64_t now_s, struct err *err) ATTR_CHECK;
/* name: as the client sent it; exact: not by a wildcard */
bool tlscert_has_name(const struct tlscert *c, const char *name, bool exact);
/* for people and metrics: its first name, "unnamed" without one */
const char *tlscert_title(const struct tlscert *c);
/* what OpenSSL says of its last error; its queue is empty then */
const char *tls_reason(void);

#endif
