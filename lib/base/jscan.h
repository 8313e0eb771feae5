/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * jscan.h - strict JSON, checked and walked in place.
 *
 * json-c silently changes data (clamped integers, cut keys, replaced surrogates,
 * last duplicate wins), so bytes from outside pass here first and are then stored
 * and forwarded as they came.  Grammar: RFC 8259, nothing more.  Also refused, with the
 * byte offset: invalid UTF-8, a NUL or \u0000 in a string (PostgreSQL cannot keep
 * it), unpaired surrogates, more than max_depth levels, and a key that appears twice in
 * an object when check_keys covers its level.
 */
#ifndef BASE_JSCAN_H
#define BASE_JSCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"

enum json_kind {
	JSON_NULL = 1,
	JSON_BOOL,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT
};

/* a value inside the caller's bytes; borrowed from them */
struct jspan {
	const char *at; /* first byte: the quote of a string, the brace of an object */
	size_t len;
	enum json_kind kind;
};

struct jscan_limits {
	unsigned max_depth;  /* 32; never more than 128 */
	unsigned check_keys; /* levels in which a duplicate key is an error; 1: the top
				object only */
};

/*
 * Checks that bytes hold exactly one value, white space around it allowed, and
 * gives its span.  ERR_INVALID says what is wrong and "at byte N".
 */
int jscan_check(const char *bytes, size_t len, const struct jscan_limits *limits,
    struct jspan *value, struct err *err) ATTR_CHECK;

/*
 * Walk the members of an object or the elements of an array that jscan_check has
 * passed (no checks are made again).  Start with the span of the container.
 */
struct jwalk {
	const char *at, *end;
};
void jwalk_start(struct jwalk *w, const struct jspan *container);
/* false at the end; key is the raw span with its quotes */
bool jwalk_member(struct jwalk *w, struct jspan *key, struct jspan *value);
bool jwalk_element(struct jwalk *w, struct jspan *value);
size_t jspan_count(const struct jspan *array); /* elements */
/* the member of that name; false if there is none or this is no object */
bool jspan_get(const struct jspan *object, const char *name, struct jspan *value);

/* true if the string (escapes resolved) is the given text */
bool jspan_is(const struct jspan *string, const char *text);
/*
 * A string with its escapes resolved, copied into buf and terminated; ERR_LIMIT if it
 * does not fit, ERR_INVALID if the span is no string.  len (may be NULL) without the
 * NUL.
 */
int jspan_string(const struct jspan *string, char *buf, size_t size, size_t *len,
    struct err *err) ATTR_CHECK;
/* an integer without fraction or exponent that fits; ERR_INVALID otherwise */
int jspan_i64(const struct jspan *number, int64_t *n, struct err *err) ATTR_CHECK;
int jspan_double(const struct jspan *number, double *n, struct err *err) ATTR_CHECK;
int jspan_bool(const struct jspan *value, bool *b, struct err *err) ATTR_CHECK;
/* "null", "boolean", "number", "string", "array", "object" */
const char *json_kind_name(enum json_kind kind);

#endif
