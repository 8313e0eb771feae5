/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * migrate.h - brings the schema to what this program needs.
 *
 * Steps are numbered SQL files (conf/schema), compiled in.  Each is applied in a
 * transaction of its own under one advisory lock, so any number of nodes may start at
 * once.  Blocking: for a helper process or a command, never for a worker.
 */
#ifndef STORE_MIGRATE_H
#define STORE_MIGRATE_H

#include "base/attr.h"
#include "base/err.h"
#include "model/settings.h"

int migrate_newest(void); /* the newest step that this program knows */
int migrate_oldest(void); /* the oldest schema that all of its statements work on */
/*
 * Whether this program runs on a schema that is at step and lets nobody on it who knows
 * less than floor: 0, -1 when it is too old (the steps are to be applied first), 1 when
 * it is too new.
 */
int migrate_fits(int step, int floor);

struct session;
/* the step that the database is at, 0: no schema yet.  ERR_INVALID: this program is too
 * old for it.  Changes nothing. */
int migrate_look(struct session *se, int *step, struct err *err) ATTR_CHECK;

/*
 * A migrator_fn (master/migrator.h): 0 when the schema has all steps of this program;
 * it may have newer ones, if these let it on.  ERR_IO: not reachable now.  ERR_INVALID:
 * too new for this program, or it would be for nodes that still run; without rights, or
 * the database of another cluster.  With database.migrate off it only checks, and a
 * schema that is too old is ERR_INVALID.
 */
int migrate_run(
    const struct settings *settings, const char *node, struct err *err) ATTR_CHECK;
/* what shoald --migrate does: applies whatever database.migrate says, and tells each
 * step on out */
int migrate_apply(
    const struct settings *settings, FILE *out, struct err *err) ATTR_CHECK;

#endif
