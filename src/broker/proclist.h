/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proclist.h - what lies in this worker's processing list in Redis, as far as it knows.
 *
 * Pops put ids at one end, and most are acknowledged in the order in which they came,
 * so one LTRIM from the other end does for many LREMs, each of which would walk the
 * list. This is the picture of the list that tells how much may be trimmed.  If it is
 * wrong, an id is missing from the list or left in it: both are harmless, since the
 * claim decides, and the feeder finds what is in no list.
 */
#ifndef BROKER_PROCLIST_H
#define BROKER_PROCLIST_H

#include <stdbool.h>
#include <stddef.h>

#include "broker/elem.h"

#define PROCLIST_MOST 4096 /* beyond it ids are not pictured, and cost an LREM each */

struct proclist;

struct proclist *proclist_create(void); /* NULL: no memory */
void proclist_free(struct proclist *pl);
void proclist_clear(struct proclist *pl);
/* an id has come in, as the latest */
void proclist_popped(struct proclist *pl, const struct elem *e);
/* it is done with; false: it is not in the picture and must be removed by itself */
bool proclist_ack(struct proclist *pl, const struct elem *e);
/* how many may be trimmed from the oldest end; they leave the picture */
size_t proclist_trim(struct proclist *pl);
/* the next one that is done with behind one that is not; it leaves the picture.  After
 * proclist_trim; false: none */
bool proclist_stray(struct proclist *pl, struct elem *e);

#endif
