/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * names.c - what a name may look like; see names.h.
 */
#include "model/names.h"

#include <stdbool.h>

static bool
is_alnum(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
	       (c >= 'a' && c <= 'z');
}

int
name_check(const char *what, const char *name, size_t len, struct err *err)
{
	if (len == 0)
		return err_set(err, ERR_INVALID, "the %s's name is empty", what);
	if (len > NAME_MAX_BYTES)
		return err_set(err, ERR_INVALID,
		    "the %s's name is longer than %d bytes", what, NAME_MAX_BYTES);
	if (!is_alnum((unsigned char)name[0]))
		return err_set(err, ERR_INVALID,
		    "the %s's name must begin with a letter or a digit", what);
	for (size_t i = 1; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (is_alnum(c) || c == '.' || c == '_' || c == '-' || c == ':' ||
		    c == '/')
			continue;
		return err_set(err, ERR_INVALID,
		    "the %s's name has a character at position %zu that is not a "
		    "letter, a digit or one of . _ - : /",
		    what, i + 1);
	}
	return 0;
}
