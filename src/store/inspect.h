/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inspect.h - asks PostgreSQL for what budget.h judges.  Blocking: for helpers and
 * commands.
 */
#ifndef STORE_INSPECT_H
#define STORE_INSPECT_H

#include "base/attr.h"
#include "base/err.h"
#include "model/settings.h"
#include "store/budget.h"
#include "store/session.h"

/*
 * What se says, and what the settings will do with it.  A database without our schema
 * counts as one node.  node: the id of one that starts, and that the database may know
 * already or not ("": it has none yet); NULL: ours is among those that live.
 */
int inspect_database(struct session *se, const struct settings *s, const char *node,
    struct budget_facts *facts, struct err *err) ATTR_CHECK;
/*
 * What a starting node says of its stores, once, in the log: the budget, what is not
 * set up as it should be, and ways over a network without TLS.  Nothing here stops it.
 */
void inspect_and_log(struct session *se, const struct settings *s, const char *node);

#endif
