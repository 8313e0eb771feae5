/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * url.h - where a node is: http://host[:port][/prefix], or the same with https.
 */
#ifndef CLI_URL_H
#define CLI_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/strbuf.h"

struct url {
	bool tls;
	const char *scheme; /* "http" or "https", static */
	char host[256];	    /* without brackets */
	uint16_t port;
	char prefix[256];    /* "" or "/path" without a slash at its end */
	char authority[272]; /* for Host: with brackets, the port left out when it is
				the scheme's */
};

/*
 * ERR_INVALID: not of that form; also user names, queries and fragments.
 */
int url_parse(const char *text, struct url *u, struct err *err) ATTR_CHECK;
/* appends percent-encoded, everything but unreserved characters */
void url_encode(struct strbuf *out, const char *text);

#endif
