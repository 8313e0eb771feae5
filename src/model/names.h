/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * names.h - what a name of a task type, queue or application may look like.
 */
#ifndef MODEL_NAMES_H
#define MODEL_NAMES_H

#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"

#define NAME_MAX_BYTES 64

/*
 * 1 to 64 of A-Z a-z 0-9 and . _ - : /, the first a letter or a digit.  ERR_INVALID
 * names what ("queue") and the offending character.
 */
int name_check(
    const char *what, const char *name, size_t len, struct err *err) ATTR_CHECK;

#endif
