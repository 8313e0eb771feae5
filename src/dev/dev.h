/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dev.h - shoald --dev: a whole cluster of one node that needs no services.
 */
#ifndef DEV_DEV_H
#define DEV_DEV_H

#include "base/attr.h"
#include "base/err.h"

/* in the environment of its node: a process that is waited for */
#define DEV_ENV "SHOAL_DEV"

/*
 * Starts a private PostgreSQL, a private Redis and a node on them; returns when the
 * node has ended and everything was taken down.  dir NULL: a fresh directory that is
 * removed at the end; otherwise it is made if missing, kept and used again.  options
 * are the user's own "section.key=value" (NULL-terminated, may be NULL); they win over
 * what dev sets.
 *
 * Returns the node's exit status (128 + n if signal n ended it), or -1 with err set
 * when it never got so far.
 */
int dev_main(const char *dir, char *const options[], struct err *err) ATTR_CHECK;

#endif
