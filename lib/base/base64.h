/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base64.h - keys as text.
 */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stddef.h>

#include "base/attr.h"

/*
 * -1: it is not exactly digits, and the padding that they need, or takes more than
 * size. Whole groups of 3 bytes are written, so size may have to be 2 more than *len
 * gets.
 */
int base64_decode(const char *text, void *to, size_t size, size_t *len) ATTR_CHECK;

#endif
