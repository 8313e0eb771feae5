/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * weburl.h - the http and https URLs that we send requests to, read strictly.
 *
 * A subset of RFC 3986, so that no two readers of a URL can understand it differently:
 * printable ASCII, no user name, no fragment, no backslash; the host is a name of
 * letters, digits and '-' (international names as xn--), a plain dotted IPv4 address or
 * a bracketed IPv6 address without a zone.  What a lenient reader would take for an
 * IPv4 address in disguise (0x7f.1, 2130706433, 127.1) is refused.
 */
#ifndef HTTP_WEBURL_H
#define HTTP_WEBURL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"

#define WEBURL_MOST 2048 /* bytes of a URL */

struct weburl {
	bool tls;
	bool literal;		    /* the host is an address */
	uint16_t port;		    /* the scheme's own unless given */
	char host[254];		    /* lower case; IPv6 without brackets */
	char text[WEBURL_MOST + 8]; /* made anew from the parts */
};

int weburl_parse(const char *text, struct weburl *url, struct err *err) ATTR_CHECK;

#endif
