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

/* the newest step that this program knows, and the oldest that it can work with */
int migrate_newest(void);

/*
 * A migrator_fn (master/migrator.h): 0 when the schema is at migrate_newest().  ERR_IO:
 * not reachable now.  ERR_INVALID: newer than this program, without rights, or the
 * database of another cluster.  With database.migrate off it only checks, and an old
 * schema is ERR_INVALID.
 */
int migrate_run(const struct settings *settings, struct err *err) ATTR_CHECK;
/* what shoald --migrate does: applies whatever database.migrate says, and tells each
 * step on out */
int migrate_apply(
    const struct settings *settings, FILE *out, struct err *err) ATTR_CHECK;

#endif
