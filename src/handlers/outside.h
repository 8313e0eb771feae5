/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outside.h - bytes that others gave us, as results and messages.
 */
#ifndef HANDLERS_OUTSIDE_H
#define HANDLERS_OUTSIDE_H

#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"

#define OUTSIDE_MESSAGE_MOST 4096

/*
 * Bytes as a result: JSON stays as it is, other text becomes a string (without one
 * final newline), nothing is NULL with length 0.  *json is taken by the caller.
 * ERR_LIMIT: it would have more than most bytes.
 */
int outside_result(const char *bytes, size_t len, size_t most, char **json,
    size_t *json_len, struct err *err) ATTR_CHECK;
/* the first bytes as a message: UTF-8 without a NUL, white space at its end cut;
 * returns its length */
size_t outside_message(const char *bytes, size_t len, char to[OUTSIDE_MESSAGE_MOST]);

#endif
