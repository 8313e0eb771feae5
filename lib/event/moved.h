/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * moved.h - notices that names do not lead to the address in use any more.
 *
 * A healthy connection outlives the change of its name: a primary that was replaced in
 * good order goes on answering as if nothing had happened.  So while a connection is
 * up, its names are asked for again in regular intervals.  A round in which one of them
 * cannot be resolved says nothing.
 */
#ifndef EVENT_MOVED_H
#define EVENT_MOVED_H

#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/addr.h"
#include "event/loop.h"
#include "event/resolve.h"

#define MOVED_EVERY_MS 30000
#define MOVED_NAMES    16

struct moved;

/* once for a moved_watch, from the loop: the watch is over */
typedef void moved_cb(void *arg);

/* every_ms 0: MOVED_EVERY_MS */
struct moved *moved_create(struct loop *l, struct resolver *rv, int every_ms,
    moved_cb *cb, void *arg, struct err *err) ATTR_CHECK;
void moved_free(struct moved *m); /* NULL is fine; allowed in its callback */
/*
 * One more name that may lead to the server; copied.  Addresses and unix paths are
 * taken and cost nothing: they are asked of nobody.
 */
int moved_add(struct moved *m, const char *host, struct err *err) ATTR_CHECK;
void moved_forget(struct moved *m); /* all names, and the watch */
/* begins a watch over this address, in place of any before; nothing for a unix path, or
 * without a name */
void moved_watch(struct moved *m, const struct addr *used);
void moved_stop(struct moved *m); /* no callback after this */

#endif
