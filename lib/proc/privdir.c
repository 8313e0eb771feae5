/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * privdir.c - a directory for one command alone.
 *
 * Removing never recurses: a directory found inside is moved to the top first, under a
 * name that is free there, and is emptied when its turn comes.  So a tree of any depth
 * needs no stack and no path, only the top and the one that is being emptied.  Who
 * made the tree is dead, but may have friends of the same user: nothing is followed,
 * and every step that cannot be made ends the work.
 */
#include "proc/privdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define MOVED_PREFIX   ".shoal-moved-"

int
privdir_make(const char *base, uid_t uid, gid_t gid, char path[PRIVDIR_PATH])
{
	int n = snprintf(path, PRIVDIR_PATH, "%s/shoal-XXXXXX", base);

	if (n < 0 || n >= PRIVDIR_PATH) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (mkdtemp(path) == NULL)
		return -1;
	if ((uid != (uid_t)-1 && uid != geteuid()) ||
	    (gid != (gid_t)-1 && gid != getegid())) {
		if (chown(path, uid, gid) != 0) {
			int saved = errno;

			(void)rmdir(path);
			errno = saved;
			return -1;
		}
	}
	return 0;
}

static int
open_to_empty(int at, const char *name)
{
	int fd = openat(at, name, OPEN_DIRECTORY);

	/* its owner may have closed it to himself */
	if (fd == -1 && errno == EACCES && fchmodat(at, name, 0700, 0) == 0)
		fd = openat(at, name, OPEN_DIRECTORY);
	if (fd != -1)
		(void)fchmod(fd, 0700);
	return fd;
}

static bool
is_directory(int at, const struct dirent *e)
{
	struct stat st;

	if (e->d_type != DT_UNKNOWN)
		return e->d_type == DT_DIR;
	return fstatat(at, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISDIR(st.st_mode);
}

/* a directory below the top: its own directories move up, all else goes */
static int
empty_one(int top, const char *name, uint64_t *moved)
{
	int fd = open_to_empty(top, name);
	DIR *dir = fd != -1 ? fdopendir(fd) : NULL;
	struct dirent *e;
	int rc = 0;

	if (dir == NULL) {
		if (fd != -1)
			close(fd);
		return -1;
	}
	while (rc == 0 && (errno = 0, e = readdir(dir)) != NULL) {
		char to[64];

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (!is_directory(fd, e)) {
			rc = unlinkat(fd, e->d_name, 0);
			continue;
		}
		if (unlinkat(fd, e->d_name, AT_REMOVEDIR) == 0)
			continue;
		/* (to move a directory one must be able to write to it; if this fails,
		 * the move does and says why) */
		rc = fchmodat(fd, e->d_name, 0700, 0);
		do {
			snprintf(to, sizeof(to), MOVED_PREFIX "%llu",
			    (unsigned long long)(*moved)++);
			rc = renameat(fd, e->d_name, top, to);
		} while (rc != 0 && (errno == EEXIST || errno == ENOTEMPTY));
	}
	if (rc == 0 && errno != 0)
		rc = -1;
	closedir(dir);
	/* (entries that came while it was read: the next pass sees them) */
	if (rc == 0 && unlinkat(top, name, AT_REMOVEDIR) != 0 && errno != ENOTEMPTY)
		rc = -1;
	return rc;
}

int
privdir_remove(const char *path)
{
	int top = open_to_empty(AT_FDCWD, path), rc = 0;
	uint64_t moved = 0;
	bool any = true;

	if (top == -1)
		return -1;
	while (rc == 0 && any) {
		int again = openat(top, ".", OPEN_DIRECTORY);
		DIR *dir = again != -1 ? fdopendir(again) : NULL;
		struct dirent *e;

		any = false;
		if (dir == NULL) {
			if (again != -1)
				close(again);
			rc = -1;
			break;
		}
		while (rc == 0 && (errno = 0, e = readdir(dir)) != NULL) {
			if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
				continue;
			any = true;
			rc = is_directory(top, e) ? empty_one(top, e->d_name, &moved)
						  : unlinkat(top, e->d_name, 0);
			if (rc != 0 && errno == ENOENT)
				rc = 0; /* read before it was moved or removed */
		}
		closedir(dir);
	}
	if (rc == 0)
		rc = rmdir(path);
	close(top);
	return rc;
}
