/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ownhosts.h - keeps the guard told where our own PostgreSQL and Redis are.
 *
 * Their names are resolved at the start and each minute; until a name has an answer
 * nothing is known of it, and an answer stays until there is another one.  Stores with
 * private addresses are out of reach anyway: this is for those that have public ones.
 */
#ifndef HANDLERS_OWNHOSTS_H
#define HANDLERS_OWNHOSTS_H

#include "base/attr.h"
#include "event/loop.h"
#include "event/resolve.h"
#include "http/guard.h"
#include "model/settings.h"

struct ownhosts;

/* all borrowed for life */
struct ownhosts *ownhosts_create(struct loop *l, struct resolver *rv, struct guard *g,
    const struct settings *s, struct err *err) ATTR_CHECK;
void ownhosts_free(struct ownhosts *o); /* NULL is fine */

#endif
