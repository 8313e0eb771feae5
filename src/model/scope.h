/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scope.h - what an API key may do.
 *
 * Words: "work" is taking and ending tasks of all queues, "work:mail" of one.  A key
 * without any may do everything.
 */
#ifndef MODEL_SCOPE_H
#define MODEL_SCOPE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"

#define SCOPES_MOST  32
#define SCOPES_BYTES 4096

struct scope {
	bool all;
	size_t count;
	const char *names[SCOPES_MOST]; /* of single queues; borrowed from buf */
	char buf[SCOPES_BYTES];
};

/* as the database has them, with spaces between; NULL: everything */
void scope_read(const char *scopes, struct scope *s);
bool scope_has(const struct scope *s, const char *queue);
/* as who makes a key writes them, with commas between */
int scope_check(const char *list, struct err *err) ATTR_CHECK;

#endif
