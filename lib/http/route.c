/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route.c - which handler a path belongs to.
 *
 * Paths are cut at slashes first and decoded afterwards, so an escaped slash never
 * makes a segment.  A segment of the table is either literal or, in braces, takes any
 * one segment that is not empty.  Literal rows that fit win over rows with braces by
 * standing earlier in the table; the first row that fits with its method is taken.
 * Tables have a few dozen rows, so a walk is quick enough.
 *
 * The escapes were checked by the gate: two digits after each percent, and no NUL.
 */
#include "http/route.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"

struct row {
	const struct http_route *route;
	const char *text[ROUTE_DEPTH_MAX]; /* not terminated; NULL: in braces */
	size_t len[ROUTE_DEPTH_MAX];
	unsigned depth;
};

struct route_table {
	unsigned count;
	struct row rows[];
};

static int
row_parse(struct row *row, const struct http_route *route, struct err *err)
{
	const char *at = route->path;
	unsigned captures = 0;

	if (at[0] != '/')
		return err_set(
		    err, ERR_BUG, "route %s does not begin with a slash", at);
	row->route = route;
	while (*at == '/') {
		const char *end = strchrnul(++at, '/');
		bool braces = at[0] == '{' && end[-1] == '}';

		if (row->depth == ROUTE_DEPTH_MAX ||
		    (braces && ++captures > ROUTE_CAPTURES_MAX))
			return err_set(
			    err, ERR_BUG, "route %s is too deep", route->path);
		row->text[row->depth] = braces ? NULL : at;
		row->len[row->depth++] = (size_t)(end - at);
		at = end;
	}
	return 0;
}

struct route_table *
route_table_create(const struct http_route *routes, struct err *err)
{
	struct route_table *rt;
	size_t count = 0;

	while (routes[count].path != NULL)
		count++;
	rt = mem_zero(sizeof(*rt) + count * sizeof(rt->rows[0]));
	if (rt == NULL) {
		err_set(err, ERR_NOMEM, "no memory for a table of routes");
		return NULL;
	}
	for (; rt->count < count; rt->count++) {
		if (row_parse(&rt->rows[rt->count], &routes[rt->count], err) != 0) {
			mem_free(rt);
			return NULL;
		}
	}
	return rt;
}

void
route_table_free(struct route_table *rt)
{
	mem_free(rt);
}

size_t
route_unescape(char *text, bool plus_is_space)
{
	char *to = text;

	for (const char *from = text; *from != '\0'; from++) {
		if (*from == '%' && str_hex_digit(from[1]) >= 0 &&
		    str_hex_digit(from[2]) >= 0) {
			*to++ = (char)(str_hex_digit(from[1]) * 16 +
				       str_hex_digit(from[2]));
			from += 2;
		} else {
			*to++ = *from == '+' && plus_is_space ? ' ' : *from;
		}
	}
	*to = '\0';
	return (size_t)(to - text);
}

/* cuts at slashes and decodes; 0: too deep for any row */
static unsigned
cut(char *path, char *segments[ROUTE_DEPTH_MAX], size_t len[ROUTE_DEPTH_MAX])
{
	unsigned depth = 0;

	while (path != NULL) {
		char *next;

		if (depth == ROUTE_DEPTH_MAX)
			return 0;
		segments[depth] = ++path;
		next = strchr(path, '/');
		if (next != NULL)
			*next = '\0';
		len[depth++] = route_unescape(path, false);
		path = next;
	}
	return depth;
}

static bool
row_fits(const struct row *row, char *segments[], const size_t len[], unsigned depth)
{
	if (row->depth != depth)
		return false;
	for (unsigned i = 0; i < depth; i++) {
		if (row->text[i] == NULL) {
			if (len[i] == 0)
				return false;
		} else if (row->len[i] != len[i] ||
			   memcmp(row->text[i], segments[i], len[i]) != 0) {
			return false;
		}
	}
	return true;
}

void
route_find(const struct route_table *rt, enum http_method method, char *path,
    struct route_match *m)
{
	char *segments[ROUTE_DEPTH_MAX];
	size_t len[ROUTE_DEPTH_MAX];
	unsigned depth = cut(path, segments, len);

	memset(m, 0, sizeof(*m));
	if (method == HTTP_HEAD)
		method = HTTP_GET;
	for (unsigned i = 0; i < rt->count && depth != 0 && m->route == NULL; i++) {
		const struct row *row = &rt->rows[i];

		if (!row_fits(row, segments, len, depth))
			continue;
		m->methods |= row->route->method;
		if ((row->route->method & method) == 0)
			continue;
		m->route = row->route;
		for (unsigned s = 0; s < depth; s++) {
			if (row->text[s] == NULL)
				m->captures[m->capture_count++] = segments[s];
		}
	}
}
