/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * devdir.c - the directory that everything of shoald --dev lives in.
 *
 *     lock             locked while a supervisor runs in it, with its pid
 *     state            passwords, ports and the key (devstate.c)
 *     shoald.conf      what the node is started with
 *     secrets.key      seals the secrets of endpoints; made once
 *     env              for a shell to read
 *     postgres/        the cluster; postgres.log beside it
 *     redis/           empty; redis.log beside it
 *     socket/          PostgreSQL's unix socket
 *
 * The directory is ours and closed to others.  When we are root the two stores run as
 * another user, who must be able to pass through it to his own
 * directories: then it has mode 0711, and each thing in it a mode of its own that keeps
 * others out.
 *
 * A directory that holds other people's things is refused rather than used: a slip such
 * as --dev=$HOME must not change anything.
 */
#include "dev/devdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "proc/procutil.h"

#define REMOVE_DEPTH_MAX 32
#define FRESH_PREFIX	 "shoal-dev-"
#define SWEEP_AGE_S	 60

char *
devdir_path(const struct devdir *dd, const char *name, char buf[DEVDIR_PATH_SIZE])
{
	/* names are short words of ours, so this is never cut */
	snprintf(buf, DEVDIR_PATH_SIZE, "%s/%s", dd->path, name);
	return buf;
}

/* deletes what dir_fd/name is; opens directories without following links, whoever owns
 * them */
static int
remove_at(int dir_fd, const char *name, int depth)
{
	struct dirent *entry;
	DIR *dir;
	int fd;

	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -1;
	if (depth > REMOVE_DEPTH_MAX) {
		errno = ELOOP;
		return -1;
	}
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	dir = fdopendir(fd);
	if (dir == NULL) {
		close(fd);
		return -1;
	}
	while ((entry = readdir(dir)) != NULL) {
		if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, ".."))
			continue;
		if (remove_at(dirfd(dir), entry->d_name, depth + 1) != 0)
			break;
	}
	closedir(dir);
	return entry != NULL ? -1 : unlinkat(dir_fd, name, AT_REMOVEDIR);
}

int
devdir_remove(const struct devdir *dd, const char *name, struct err *err)
{
	char path[DEVDIR_PATH_SIZE];

	if (remove_at(AT_FDCWD, devdir_path(dd, name, path), 0) != 0)
		return err_errno(err, errno, "cannot remove %s", path);
	return 0;
}

/* directories of supervisors that were killed: nobody else removes them */
static void
sweep(const char *base)
{
	char pattern[DEVDIR_PATH_SIZE], lock[PATH_MAX];
	struct stat st;
	pid_t pid;
	glob_t g;

	snprintf(pattern, sizeof(pattern), "%s/" FRESH_PREFIX "??????", base);
	if (glob(pattern, 0, NULL, &g) != 0)
		return;
	for (size_t i = 0; i < g.gl_pathc; i++) {
		if (lstat(g.gl_pathv[i], &st) != 0 || !S_ISDIR(st.st_mode) ||
		    st.st_uid != geteuid())
			continue;
		snprintf(lock, sizeof(lock), "%s/lock", g.gl_pathv[i]);
		/* a young one may be about to be locked, or its servers still be ending
		 */
		if (lstat(lock, &st) != 0 || time(NULL) - st.st_mtime < SWEEP_AGE_S ||
		    pidfile_read(lock, &pid, NULL) == 0)
			continue;
		log_info(
		    NULL, "removing what a killed run left", "path=%s", g.gl_pathv[i]);
		if (remove_at(AT_FDCWD, g.gl_pathv[i], 0) != 0)
			log_warn(NULL, "directory could not be removed",
			    "path=%s reason=\"%s\"", g.gl_pathv[i], strerror(errno));
	}
	globfree(&g);
}

static int
make_fresh(struct devdir *dd, struct err *err)
{
	const char *base = getenv("XDG_RUNTIME_DIR");
	int n;

	/* root's runtime directory is closed to the user that the stores run as */
	if (dd->drop || base == NULL || base[0] != '/' || access(base, W_OK) != 0)
		base = "/tmp";
	n = snprintf(dd->path, sizeof(dd->path), "%s/" FRESH_PREFIX "XXXXXX", base);
	if (n < 0 || (size_t)n >= sizeof(dd->path))
		return err_set(
		    err, ERR_INVALID, "XDG_RUNTIME_DIR is too long: %s", base);
	sweep(base);
	if (mkdtemp(dd->path) == NULL)
		return err_errno(err, errno, "%s", dd->path);
	dd->temporary = true;
	return 0;
}

/* an empty directory, or one that was used by us before */
static int
is_usable(const char *path, struct err *err)
{
	struct dirent *entry;
	struct stat st;
	bool empty = true, known = false;
	DIR *dir;

	if (lstat(path, &st) != 0)
		return err_errno(err, errno, "%s", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) != 0)
		return err_set(err, ERR_INVALID,
		    "%s must be a directory of ours that others cannot write to", path);
	dir = opendir(path);
	if (dir == NULL)
		return err_errno(err, errno, "%s", path);
	while ((entry = readdir(dir)) != NULL) {
		if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, ".."))
			continue;
		empty = false;
		known = known || str_eq(entry->d_name, "lock");
	}
	closedir(dir);
	if (!empty && !known)
		return err_set(err, ERR_INVALID,
		    "%s holds other things: give --dev a directory of its own", path);
	return 0;
}

static int
use_given(struct devdir *dd, const char *dir, struct err *err)
{
	char path[PATH_MAX];

	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return err_errno(err, errno, "%s", dir);
	if (realpath(dir, path) == NULL)
		return err_errno(err, errno, "%s", dir);
	if (!str_copy(dd->path, sizeof(dd->path), path))
		return err_set(err, ERR_INVALID,
		    "%s is longer than %d bytes, too long for the sockets in it", path,
		    DEVDIR_MAX);
	/* it goes into configuration files of three programs, each with quoting of its
	 * own */
	for (const char *p = path; *p != '\0'; p++) {
		if ((unsigned char)*p <= ' ' || *p == 0x7f ||
		    strchr(",;#'\"\\", *p) != NULL)
			return err_set(err, ERR_INVALID,
			    "%s has a space or another character that --dev cannot use",
			    path);
	}
	return is_usable(path, err);
}

int
devdir_open(struct devdir *dd, const char *dir, struct err *err)
{
	char path[DEVDIR_PATH_SIZE];

	memset(dd, 0, sizeof(*dd));
	dd->lock_fd = -1;
	if (geteuid() == 0) {
		dd->drop = true;
		if (priv_lookup("postgres", NULL, &dd->uid, &dd->gid, NULL) != 0 &&
		    priv_lookup("nobody", NULL, &dd->uid, &dd->gid, err) != 0)
			return err_wrap(
			    err, "root needs another user to run the stores as");
	}
	if ((dir == NULL ? make_fresh(dd, err) : use_given(dd, dir, err)) != 0)
		return -1;
	if (chmod(dd->path, dd->drop ? 0711 : 0700) != 0) {
		err_errno(err, errno, "%s", dd->path);
		devdir_close(dd);
		return -1;
	}
	if (pidfile_write(devdir_path(dd, "lock", path), &dd->lock_fd, err) != 0) {
		err_wrap(err, "another shoald --dev");
		dd->lock_fd = -1;
		devdir_close(dd);
		return -1;
	}
	return 0;
}

void
devdir_close(struct devdir *dd)
{
	char path[DEVDIR_PATH_SIZE];

	if (dd->temporary) {
		if (remove_at(AT_FDCWD, dd->path, 0) != 0)
			log_warn(NULL, "directory could not be removed",
			    "path=%s reason=\"%s\"", dd->path, strerror(errno));
	} else if (dd->lock_fd >= 0) {
		/* the file stays: it marks the directory as ours */
		if (ftruncate(dd->lock_fd, 0) != 0)
			log_warn(NULL, "lock file could not be emptied", "path=%s",
			    devdir_path(dd, "lock", path));
	}
	if (dd->lock_fd >= 0)
		close(dd->lock_fd);
	dd->lock_fd = -1;
	dd->temporary = false;
}

int
devdir_make(const struct devdir *dd, const char *name, struct err *err)
{
	char path[DEVDIR_PATH_SIZE];

	devdir_path(dd, name, path);
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return err_errno(err, errno, "%s", path);
	if (dd->drop && lchown(path, dd->uid, dd->gid) != 0)
		return err_errno(err, errno, "%s", path);
	return 0;
}

int
devdir_write(
    const struct devdir *dd, const char *name, const char *text, struct err *err)
{
	char path[DEVDIR_PATH_SIZE], fresh[DEVDIR_PATH_SIZE];
	size_t len = strlen(text);
	ssize_t n;
	int fd;

	devdir_path(dd, name, path);
	snprintf(fresh, sizeof(fresh), "%s/%s.new", dd->path, name);
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(err, errno, "%s", fresh);
	n = write(fd, text, len);
	if (n < 0 || (size_t)n != len) {
		err_errno(err, n < 0 ? errno : ENOSPC, "%s", fresh);
		close(fd);
		unlink(fresh);
		return -1;
	}
	if (fsync(fd) != 0 || close(fd) != 0 || rename(fresh, path) != 0)
		return err_errno(err, errno, "%s", path);
	return 0;
}
