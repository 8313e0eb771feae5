/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * privdir.h - a directory for one command alone.
 */
#ifndef PROC_PRIVDIR_H
#define PROC_PRIVDIR_H

#include <limits.h>
#include <sys/types.h>

#define PRIVDIR_PATH 512

/* a new one under base, mode 0700, of this owner; 0, or -1 and errno */
int privdir_make(const char *base, uid_t uid, gid_t gid, char path[PRIVDIR_PATH]);
/*
 * Removes it with all that is in it, following no link, whatever its depth, with three
 * descriptors; 0, or -1 and errno
 */
int privdir_remove(const char *path);

#endif
