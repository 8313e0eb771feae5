/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * addrcache.h - the addresses of names that were resolved a moment ago.
 *
 * ADDRCACHE_MOST names at most, the oldest goes first.
 */
#ifndef HTTP_ADDRCACHE_H
#define HTTP_ADDRCACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "event/addr.h"

#define ADDRCACHE_MOST 256

struct addrcache;

struct addrcache *addrcache_create(int64_t keep_ms) ATTR_CHECK; /* NULL: no memory */
void addrcache_free(struct addrcache *ac);			/* NULL is fine */
/* copied; at most RESOLVE_MAX; without memory it is not kept */
void addrcache_put(struct addrcache *ac, const char *host, uint16_t port,
    const struct addr *addrs, size_t count, int64_t now_ms);
/* borrowed until the next call; NULL: not known, or too old */
const struct addr *addrcache_get(struct addrcache *ac, const char *host, uint16_t port,
    int64_t now_ms, size_t *count);

#endif
