/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * str.h - small helpers on NUL-terminated text.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

/* decimal, the whole text, no white space, no leading plus; -1 if it is not that */
int str_to_i64(const char *text, int64_t *n) ATTR_CHECK;
int str_to_u64(const char *text, uint64_t *n) ATTR_CHECK;
bool str_eq(const char *a, const char *b);
bool str_ieq(const char *a, const char *b); /* ASCII case folded */
bool str_starts(const char *text, const char *prefix);
/* copies at most size-1 bytes and a NUL; false if it was cut */
bool str_copy(char *to, size_t size, const char *from);
/* cuts white space at both ends, in place; returns the new start */
char *str_trim(char *text);
/* how many single-character edits turn a into b, at most 64 characters each looked at
 */
unsigned str_distance(const char *a, const char *b);
/* lower-case hexadecimal; to has 2*len+1 bytes */
void str_hex(char *to, const void *bytes, size_t len);
/* exactly 2*len hexadecimal digits; -1 otherwise */
int str_unhex(const char *text, void *bytes, size_t len) ATTR_CHECK;
/* 0 to 15; -1 if c is no hexadecimal digit */
int str_hex_digit(char c);
/* bytes of the well-formed UTF-8 character that text begins with; 0: there is none */
size_t str_utf8(const char *text, size_t len);
/* escapes control characters, quotes and invalid UTF-8 for one log field; always
 * terminates */
void str_printable(char *to, size_t size, const char *from, size_t len);
/* the same for a whole line: quotes and backslashes stay; how many bytes of from fitted
 */
size_t str_one_line(char *to, size_t size, const char *from, size_t len);

#endif
