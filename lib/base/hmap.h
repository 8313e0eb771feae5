/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hmap.h - a hash map from byte strings to pointers.
 *
 * Keys are borrowed: they usually lie inside the value, and stay unchanged until
 * it is removed.  The hash is keyed with random bytes (SipHash-1-3), so keys may
 * come from outside.  Values are never NULL.
 * During a walk nothing is put, and nothing removed but the entry just returned.
 */
#ifndef BASE_HMAP_H
#define BASE_HMAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct hmap;

struct hmap *hmap_create(void) ATTR_CHECK; /* NULL: no memory */
void hmap_free(struct hmap *m);		   /* values are the caller's */
/* -1: no memory; *old (may be NULL) gets the value that was replaced, or NULL */
int hmap_put(
    struct hmap *m, const void *key, size_t len, void *value, void **old) ATTR_CHECK;
void *hmap_get(const struct hmap *m, const void *key, size_t len);
void *hmap_remove(struct hmap *m, const void *key, size_t len); /* the value, or NULL */
size_t hmap_count(const struct hmap *m);
/* start with *cursor 0; NULL at the end */
void *hmap_next(const struct hmap *m, size_t *cursor);

/* the hash itself, for tests and for other keyed tables */
uint64_t hmap_siphash13(const uint64_t secret[2], const void *bytes, size_t len);

#endif
