/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlskeys.h - the keys that session tickets are encrypted with.
 *
 * Who has the keys can resume a session that another process, or another node, began.
 * The first key encrypts, all of them decrypt: a new one goes in front, and an old one
 * is taken out when no client has a ticket of it any more.
 *
 * A key is 80 random bytes (16 its name, 32 for HMAC-SHA-256, 32 for AES-256), or 48
 * (16, 16, and 16 for AES-128).  A file is one key as it is, or lines of base64.
 */
#ifndef TLS_TLSKEYS_H
#define TLS_TLSKEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

#include "base/attr.h"
#include "base/err.h"

#define TLSKEY_SHORT	  48
#define TLSKEY_LONG	  80
#define TLSKEY_NAME	  16
#define TLSKEYS_MOST	  8
#define TLSKEYS_FILE_MOST 4096
/* so long a ticket is good for */
#define TLSKEYS_TICKET_S 7200

struct tlskey {
	uint8_t bytes[TLSKEY_LONG];
	size_t len; /* TLSKEY_SHORT or TLSKEY_LONG */
};

struct tlskeys {
	struct tlskey at[TLSKEYS_MOST];
	size_t count;
};

int tlskeys_parse(
    const char *bytes, size_t len, struct tlskeys *keys, struct err *err) ATTR_CHECK;
/*
 * What SSL_CTX_set_tlsext_ticket_key_evp_cb wants of its callback, encrypt and answer
 * included: 1, 0 for a ticket of an unknown key, 2 for one that shall be renewed, -1.
 */
int tlskeys_use(const struct tlskeys *keys, uint8_t name[TLSKEY_NAME], uint8_t *iv,
    EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, bool encrypt);

#endif
