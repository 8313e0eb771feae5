/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keycache.h - what is known of API keys, for a few seconds.
 *
 * Entries are found by the SHA-256 of the whole key; no secret is kept.  Ages count
 * from the moment PostgreSQL was asked, so that a revocation committed before that is
 * in the answer. Pure: the time is a parameter.
 */
#ifndef API_KEYCACHE_H
#define API_KEYCACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "store/apikey.h"

struct keycache;

#define KEYCACHE_GOOD_MS 5000 /* a good key is believed this long */
#define KEYCACHE_RENEW_MS                                                              \
	2500 /* and asked about again from here on, while it is served */
#define KEYCACHE_AGAIN_MS 500  /* but not more often than this */
#define KEYCACHE_BAD_MS	  2000 /* a bad one is refused without a question this long */
#define KEYCACHE_GOOD_MAX 10000
#define KEYCACHE_BAD_MAX  1000

enum key_verdict {
	KEY_UNKNOWN = 0, /* ask PostgreSQL, and wait */
	KEY_GOOD,
	KEY_GOOD_ASK, /* good, but ask again in the background */
	KEY_BAD,
};

struct keycache *keycache_create(void) ATTR_CHECK; /* NULL: no memory */
void keycache_free(struct keycache *kc);
/* what a good key stands for; borrowed until the cache is changed */
struct key_facts {
	int app_id;
	const char *scopes; /* words with spaces between; NULL: it may do everything */
};
/* facts are filled when the key is good */
enum key_verdict keycache_look(struct keycache *kc, const uint8_t hash[APIKEY_HASH],
    int64_t now_ms, struct key_facts *facts);
/* both replace what was known; out of memory: nothing is */
void keycache_good(struct keycache *kc, const uint8_t hash[APIKEY_HASH],
    const struct key_facts *facts, int64_t asked_ms);
void keycache_bad(
    struct keycache *kc, const uint8_t hash[APIKEY_HASH], int64_t asked_ms);
size_t keycache_count(const struct keycache *kc);

#endif
