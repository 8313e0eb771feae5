/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * apikey.h - what an application's key looks like, and what is kept of it.
 *
 *     shoal_live_Ab3dEf9h_<43 characters: 32 random bytes, base64url>_<6 hex digits>
 *
 * The prefix lets secret scanners find leaked keys, the public id finds the row, the
 * checksum (CRC-32 of all before it, lowest 24 bits) tells a typing error without a
 * query.  PostgreSQL keeps SHA-256 of the whole key; a 256-bit secret needs no slow
 * hash.
 */
#ifndef STORE_APIKEY_H
#define STORE_APIKEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

#define APIKEY_PUBLIC	 8
#define APIKEY_TEXT_SIZE 80
#define APIKEY_HASH	 32

struct apikey {
	char text[APIKEY_TEXT_SIZE]; /* the secret itself: wipe it */
	char public_id[APIKEY_PUBLIC + 1];
	uint8_t hash[APIKEY_HASH];
};

void apikey_generate(struct apikey *key);
/* fills public_id and hash from a presented key; false: not of that form */
bool apikey_parse(const char *text, size_t len, struct apikey *key);
/* the hash alone, of what may be a key; false: it is not as long as one */
bool apikey_digest(const char *text, size_t len, uint8_t hash[APIKEY_HASH]);
bool apikey_hash_equal(
    const uint8_t a[APIKEY_HASH], const uint8_t b[APIKEY_HASH]); /* constant time */

#endif
