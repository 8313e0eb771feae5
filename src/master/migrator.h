/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * migrator.h - what the master needs of the store without knowing it: a function for
 * the helper process that brings the schema up to date.
 *
 * Declared here, implemented by src/store/migrate.c, handed over by main, so that the
 * master links no PostgreSQL by itself.
 */
#ifndef MASTER_MIGRATOR_H
#define MASTER_MIGRATOR_H

#include "base/err.h"
#include "model/settings.h"

/*
 * Runs in a process of its own and may block.  node: the id of the node that starts. 0:
 * the schema is what this program needs. -1: ERR_IO: the database cannot be reached
 * now, try again later; ERR_INVALID: it will not help to try again (the schema is
 * newer, the rights are missing).
 */
typedef int migrator_fn(
    const struct settings *settings, const char *node, struct err *err);

#endif
