/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * database.h - commands that go to the database instead of a node: applications and
 * keys.
 */
#ifndef CLI_DATABASE_H
#define CLI_DATABASE_H

#include "base/attr.h"
#include "base/err.h"
#include "cli/cli.h"
#include "store/session.h"

/*
 * The database of, in this order: -c and -o; SHOAL_DATABASE_URL; the settings in the
 * environment (SHOALD_*); the installed configuration file, if there is one.
 */
struct session *database_open(const struct cli *cli, struct err *err) ATTR_CHECK;

#endif
