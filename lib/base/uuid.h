/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * uuid.h - 128-bit ids as RFC 9562 writes them.
 */
#ifndef BASE_UUID_H
#define BASE_UUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

#define UUID_TEXT_SIZE 37 /* 36 characters and a NUL */

struct uuid {
	uint8_t b[16]; /* network order: memcmp orders as the text does */
};

/* 48 bits of Unix milliseconds, version 7, a counter of 18 bits and 56 random ones
 * (RFC 9562, sections 5.7 and 6.2); ids of one process and millisecond go up */
void uuid_v7(int64_t unix_ms, struct uuid *id);
/* the lower-case canonical form; returns buf */
char *uuid_format(const struct uuid *id, char buf[UUID_TEXT_SIZE]);
/* exactly 36 characters at text (len is checked), any case, any version; -1 otherwise
 */
int uuid_parse(const char *text, size_t len, struct uuid *id) ATTR_CHECK;
int uuid_cmp(const struct uuid *a, const struct uuid *b);
bool uuid_eq(const struct uuid *a, const struct uuid *b);

/* getrandom(2), buffered per process (a fork starts afresh); aborts if the kernel has
 * none */
void random_bytes(void *to, size_t len);
uint64_t random_u64(void);
/* 0 <= result < bound, unbiased enough for jitter; bound 0 gives 0 */
uint64_t random_below(uint64_t bound);

#endif
