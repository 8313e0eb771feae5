/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * jstr.h - the inside of a JSON string that was checked; private to jscan and jspan.
 */
#ifndef BASE_JSTR_H
#define BASE_JSTR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/jscan.h"

struct jstr {
	const char *at; /* behind the opening quote */
	size_t len;	/* up to the closing one */
	bool escaped;	/* has a backslash */
};

/* resolves what is at *at, at least one byte; how many bytes (1 to 4) it put into out
 */
size_t jstr_next(const char **at, char out[4]);
/* by their bytes in UTF-8, escapes resolved */
int jstr_cmp_slow(const struct jstr *a, const struct jstr *b);

static inline int
jstr_cmp(const struct jstr *a, const struct jstr *b)
{
	size_t shorter = a->len < b->len ? a->len : b->len;
	int order;

	if (a->escaped || b->escaped)
		return jstr_cmp_slow(a, b);
	order = memcmp(a->at, b->at, shorter);
	if (order != 0)
		return order;
	return a->len < b->len ? -1 : a->len > b->len;
}

static inline bool
jstr_eq(const struct jstr *a, const struct jstr *b)
{
	if (a->escaped || b->escaped)
		return jstr_cmp_slow(a, b) == 0;
	return a->len == b->len && memcmp(a->at, b->at, a->len) == 0;
}

/* of the value that begins with this byte */
static inline enum json_kind
jstr_kind(char first)
{
	switch (first) {
	case '{':
		return JSON_OBJECT;
	case '[':
		return JSON_ARRAY;
	case '"':
		return JSON_STRING;
	case 't':
	case 'f':
		return JSON_BOOL;
	case 'n':
		return JSON_NULL;
	default:
		return JSON_NUMBER;
	}
}

#endif
