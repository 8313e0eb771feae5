/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * err.h - errors as values.
 *
 * A function that can fail returns 0 or -1 (or NULL) and leaves the reason in
 * the caller's struct err.  Outputs are untouched on failure.  An error travels
 * up and gains context by err_wrap until someone can act on it; it is logged or
 * returned, never both.  Every function here accepts err == NULL.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

#include "base/attr.h"

/* chosen by what the caller can do about it */
enum err_code {
	ERR_NONE = 0,
	ERR_INVALID,   /* the input is wrong: tell whoever sent it */
	ERR_NOT_FOUND, /* there is no such thing */
	ERR_CONFLICT,  /* someone was faster, or the state forbids it */
	ERR_TIMEOUT,   /* no answer in time; the outcome may be unknown */
	ERR_CLOSED,    /* the peer or the object is gone */
	ERR_IO,	       /* the world misbehaved: try again later */
	ERR_NOMEM,
	ERR_LIMIT,     /* a bound that we set is reached */
	ERR_BUG,       /* ours */
	ERR_CODE_COUNT /* keep last */
};

struct err {
	enum err_code code;
	char text[480]; /* lower-case sentence without a full stop */
};

#define ERR_INIT                                                                       \
	{                                                                              \
		.code = ERR_NONE                                                       \
	}

/* all return -1, so that failing is one line */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
    ATTR_PRINTF(3, 4);
/* ERR_IO (ERR_NOMEM for ENOMEM) with ": " and the system's text for errnum */
int err_errno(struct err *err, int errnum, const char *fmt, ...) ATTR_PRINTF(3, 4);
/* puts "context: " in front of what is there; the code stays */
int err_wrap(struct err *err, const char *fmt, ...) ATTR_PRINTF(2, 3);
void err_clear(struct err *err);

#endif
