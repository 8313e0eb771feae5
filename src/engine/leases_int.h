/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leases_int.h - the inside of leases, shared by their files: leases.c has those who
 * wait and the statement, lease_hints.c tells and hears that there is something,
 * lease_undo.c gives back what nobody has.
 */
#ifndef ENGINE_LEASES_INT_H
#define ENGINE_LEASES_INT_H

#include "engine/internal.h"
#include "engine/leases.h"

/*
 * leases.c: there may be something in a queue (0: in any) of an application (0: of
 * any).  lot: by a hint that all workers hear, see turns.h; NULL: look at once.
 */
void leases_wake(struct leases *ls, int app_id, int queue_id, const uint32_t *lot);

/* lease_hints.c */
struct lease_hints;
struct lease_hints *lease_hints_create(struct engine *e) ATTR_CHECK; /* NULL: memory */
void lease_hints_free(struct lease_hints *h);
void lease_hints_add(struct lease_hints *h, int app_id, int queue_id);
void lease_hints_told(struct lease_hints *h, char *text); /* a message; it is cut up */
/* what a line's key is called among workers; who waits comes and goes by that name */
uint64_t lease_hints_name(const void *key, size_t len);
void lease_hints_enter(struct lease_hints *h, uint64_t name);
void lease_hints_leave(struct lease_hints *h, uint64_t name);
bool lease_hints_is_ours(struct lease_hints *h, uint64_t name, uint32_t lot);
/* what comes goes by turns: whoever begins to wait need not look for it */
bool lease_hints_is_scarce(struct lease_hints *h, uint64_t name);
/* whether turns leave something over */
void lease_hints_left_over(struct lease_hints *h, uint64_t name, bool left);
void lease_hints_tell(struct lease_hints *h);	   /* who waits, once a second ... */
bool lease_hints_any(const struct lease_hints *h); /* ... while this is true */

/* lease_undo.c */
#define LEASE_UNDO_TRIES 4 /* of one that may be committed later than it is undone */
struct lease_undo;
struct lease_undo *lease_undo_create(struct engine *e) ATTR_CHECK; /* NULL: memory */
void lease_undo_free(struct lease_undo *u);
void lease_undo_add(struct lease_undo *u, const struct uuid *lease, int tries);
bool lease_undo_idle(const struct lease_undo *u);

#endif
