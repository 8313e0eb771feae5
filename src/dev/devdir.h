/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * devdir.h - the directory that everything of shoald --dev lives in.
 */
#ifndef DEV_DEVDIR_H
#define DEV_DEVDIR_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/err.h"

#define DEVDIR_MAX	 80  /* unix sockets live in it, and their paths are short */
#define DEVDIR_PATH_SIZE 160 /* a path in it */

struct devdir {
	char path[DEVDIR_MAX + 1]; /* absolute */
	bool temporary;		   /* removed at the end */
	int lock_fd;		   /* -1: not locked */
	bool drop;		   /* we are root: the stores run as uid and gid */
	uid_t uid;
	gid_t gid;
};

/*
 * dir NULL: a fresh one.  Locks it: ERR_CONFLICT when another shoald --dev runs in it.
 * ERR_INVALID: it is somebody else's, or holds other things.
 */
int devdir_open(struct devdir *dd, const char *dir, struct err *err) ATTR_CHECK;
/* unlocks; a temporary one is removed with all that is in it */
void devdir_close(struct devdir *dd);
/* the path of name in it; returns buf */
char *devdir_path(
    const struct devdir *dd, const char *name, char buf[DEVDIR_PATH_SIZE]);
/* a directory in it that belongs to the stores' user, mode 0700; fine when it exists */
int devdir_make(const struct devdir *dd, const char *name, struct err *err) ATTR_CHECK;
/* a file of mode 0600 that belongs to us, replaced as a whole or not at all */
int devdir_write(const struct devdir *dd, const char *name, const char *text,
    struct err *err) ATTR_CHECK;
/* removes a file or directory in it with all below; fine when there is none */
int devdir_remove(
    const struct devdir *dd, const char *name, struct err *err) ATTR_CHECK;

#endif
