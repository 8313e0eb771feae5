/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route.h - finds the row of a route table for a path; percent-decoding.  Pure.
 */
#ifndef HTTP_ROUTE_H
#define HTTP_ROUTE_H

#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "http/httpd.h"

#define ROUTE_DEPTH_MAX	   12 /* segments of a path */
#define ROUTE_CAPTURES_MAX 4  /* of them in braces */

struct route_table;

struct route_match {
	const struct http_route *route; /* NULL: none for this method */
	unsigned methods; /* what the path has; 0: there is no such path */
	const char *captures[ROUTE_CAPTURES_MAX];
	unsigned capture_count;
};

/* routes are borrowed for life */
struct route_table *route_table_create(
    const struct http_route *routes, struct err *err) ATTR_CHECK;
void route_table_free(struct route_table *rt);
/* path begins with a slash, is cut and decoded in place, and lives as long as *m */
void route_find(const struct route_table *rt, enum http_method method, char *path,
    struct route_match *m);

/* in place, once; plus_is_space for query strings.  The new length; the end is a NUL.
 */
size_t route_unescape(char *text, bool plus_is_space);

#endif
