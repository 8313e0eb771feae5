/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reqhead.h - headers that somebody else adds to our requests.
 *
 * "Name: value": the name is a token, the value has no control character, and the name
 * is none that tells where a request ends, whom it is for, or what we vouch for.
 */
#ifndef HTTP_REQHEAD_H
#define HTTP_REQHEAD_H

#include "base/attr.h"
#include "base/err.h"

/* the value, which may be a secret, is never in the error */
int reqhead_check(const char *line, struct err *err) ATTR_CHECK;

#endif
