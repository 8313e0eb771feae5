/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * procutil.c - the small print of being a daemon on Linux.
 *
 * Process title, privileges, pid file, detaching, descriptors.  Each function stands
 * alone and keeps no state, but for the title, whose place is remembered from the start
 * of main.
 */
#include "proc/procutil.h"

#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAME_BUFFER_BYTES 16384
#define CLOSE_WITHOUT_HELP                                                             \
	65536 /* descriptors tried one by one on kernels before 5.9 */

/* ---- the title ------------------------------------------------------------------- */

static char *title_start; /* the block of argv and environment strings */
static size_t title_size;
/* the moved strings, which unsetenv may take out of environ, stay reachable; volatile,
 * since nobody reads it but the leak checker */
static char **volatile title_strings;
static char **volatile title_environ; /* setenv may have made another of it */

int
proctitle_init(int argc, char **argv, struct err *err)
{
	char **moved, **kept, *end;
	size_t count = 0;

	if (argc < 1 || argv[0] == NULL)
		return 0;
	end = argv[0];
	for (int i = 0; i < argc; i++)
		if (argv[i] == end)
			end += strlen(argv[i]) + 1;
	while (environ != NULL && environ[count] != NULL)
		count++;
	moved = mem_array(count + 1, sizeof(*moved));
	kept = mem_array(count + 1, sizeof(*kept));
	if (moved == NULL || kept == NULL) {
		mem_free(moved);
		mem_free(kept);
		return err_set(err, ERR_NOMEM, "environment");
	}
	for (size_t i = 0; i < count; i++) {
		moved[i] = mem_strdup(environ[i]);
		if (moved[i] == NULL) {
			while (i > 0)
				mem_free(moved[--i]);
			mem_free(moved);
			mem_free(kept);
			return err_set(err, ERR_NOMEM, "environment");
		}
		kept[i] = moved[i];
	}
	for (size_t i = 0; i < count; i++) {
		size_t size = strlen(environ[i]) + 1;

		if (environ[i] == end)
			end += size;
		memset(environ[i], 0, size);
	}
	environ = title_environ = moved;
	title_strings = kept;
	title_start = argv[0];
	title_size = (size_t)(end - argv[0]);
	return 0;
}

void
proctitle_set(const char *fmt, ...)
{
	va_list ap;
	int n;

	if (title_start == NULL || title_size < 2)
		return;
	va_start(ap, fmt);
	n = vsnprintf(title_start, title_size, fmt, ap);
	va_end(ap);
	if (n < 0)
		n = 0;
	if ((size_t)n < title_size)
		memset(title_start + n, 0, title_size - (size_t)n);
}

/* ---- privileges ------------------------------------------------------------------ */

static int
user_lookup(const char *user, uid_t *uid, gid_t *gid, struct err *err)
{
	struct passwd pw, *found = NULL;
	char buffer[NAME_BUFFER_BYTES];
	int64_t number;
	int rc;

	if (str_to_i64(user, &number) == 0 && number >= 0 && number < UINT32_MAX) {
		*uid = (uid_t)number;
		rc = getpwuid_r(*uid, &pw, buffer, sizeof(buffer), &found);
		/* a number needs no entry; its group is then the same number */
		*gid = rc == 0 && found != NULL ? pw.pw_gid : (gid_t)number;
		return 0;
	}
	rc = getpwnam_r(user, &pw, buffer, sizeof(buffer), &found);
	if (rc != 0)
		return err_errno(err, rc, "user '%s'", user);
	if (found == NULL)
		return err_set(err, ERR_NOT_FOUND, "there is no user '%s'", user);
	*uid = pw.pw_uid;
	*gid = pw.pw_gid;
	return 0;
}

static int
group_lookup(const char *group, gid_t *gid, struct err *err)
{
	struct group gr, *found = NULL;
	char buffer[NAME_BUFFER_BYTES];
	int64_t number;
	int rc;

	if (str_to_i64(group, &number) == 0 && number >= 0 && number < UINT32_MAX) {
		*gid = (gid_t)number;
		return 0;
	}
	rc = getgrnam_r(group, &gr, buffer, sizeof(buffer), &found);
	if (rc != 0)
		return err_errno(err, rc, "group '%s'", group);
	if (found == NULL)
		return err_set(err, ERR_NOT_FOUND, "there is no group '%s'", group);
	*gid = gr.gr_gid;
	return 0;
}

int
priv_lookup(
    const char *user, const char *group, uid_t *uid, gid_t *gid, struct err *err)
{
	uid_t u;
	gid_t g;

	if (user_lookup(user, &u, &g, err) != 0)
		return -1;
	if (group != NULL && group[0] != '\0' && group_lookup(group, &g, err) != 0)
		return -1;
	*uid = u;
	*gid = g;
	return 0;
}

int
priv_drop(uid_t uid, gid_t gid, struct err *err)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;

	if (geteuid() == 0) {
		if (setgroups(0, NULL) != 0)
			return err_errno(err, errno, "dropping groups");
		if (setresgid(gid, gid, gid) != 0)
			return err_errno(
			    err, errno, "becoming group %u", (unsigned)gid);
		if (setresuid(uid, uid, uid) != 0)
			return err_errno(err, errno, "becoming user %u", (unsigned)uid);
	}
	if (getresuid(&r, &e, &s) != 0 || getresgid(&rg, &eg, &sg) != 0)
		return err_errno(err, errno, "reading our ids");
	if (r != uid || e != uid || s != uid || rg != gid || eg != gid || sg != gid)
		return err_set(err, ERR_INVALID,
		    "cannot run as user %u, group %u: we are user %u, group "
		    "%u and not root",
		    (unsigned)uid, (unsigned)gid, (unsigned)e, (unsigned)eg);
	if (uid != 0 && (setuid(0) == 0 || seteuid(0) == 0))
		return err_set(
		    err, ERR_BUG, "user %u could become root again", (unsigned)uid);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return err_errno(err, errno, "no_new_privs");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return err_errno(err, errno, "not dumpable");
	return 0;
}

/* ---- the pid file ---------------------------------------------------------------- */

static bool
is_same_file(const char *path, int fd)
{
	struct stat by_path, by_fd;

	return stat(path, &by_path) == 0 && fstat(fd, &by_fd) == 0 &&
	       by_path.st_dev == by_fd.st_dev && by_path.st_ino == by_fd.st_ino;
}

static struct flock
whole_file(void)
{
	struct flock fl;

	memset(&fl, 0, sizeof(fl));
	fl.l_type = F_WRLCK;
	fl.l_whence = SEEK_SET;
	return fl;
}

int
pidfile_write(const char *path, int *fd, struct err *err)
{
	struct flock fl;
	char text[32];
	int f, len;

	for (;;) {
		f = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
		if (f == -1)
			return err_errno(err, errno, "pid file %s", path);
		fl = whole_file();
		if (fcntl(f, F_SETLK, &fl) != 0) {
			int locked = errno;

			fl = whole_file();
			if (locked != EAGAIN && locked != EACCES)
				err_errno(err, locked, "locking pid file %s", path);
			else if (fcntl(f, F_GETLK, &fl) == 0 && fl.l_type != F_UNLCK)
				err_set(err, ERR_CONFLICT,
				    "pid file %s is held by process %ld", path,
				    (long)fl.l_pid);
			else {
				close(f); /* its holder left in between */
				continue;
			}
			close(f);
			return -1;
		}
		/* the holder before us may have removed it while we waited for the lock
		 */
		if (is_same_file(path, f))
			break;
		close(f);
	}
	len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	if (ftruncate(f, 0) != 0 || pwrite(f, text, (size_t)len, 0) != len) {
		err_errno(err, errno, "writing pid file %s", path);
		close(f);
		return -1;
	}
	*fd = f;
	return 0;
}

int
pidfile_read(const char *path, pid_t *pid, struct err *err)
{
	struct flock fl = whole_file();
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int rc;

	if (fd == -1 && errno == ENOENT)
		return err_set(err, ERR_NOT_FOUND, "there is no pid file %s", path);
	if (fd == -1)
		return err_errno(err, errno, "pid file %s", path);
	rc = fcntl(fd, F_GETLK, &fl);
	if (rc != 0)
		err_errno(err, errno, "pid file %s", path);
	else if (fl.l_type == F_UNLCK)
		rc = err_set(
		    err, ERR_NOT_FOUND, "pid file %s belongs to no live process", path);
	else
		*pid = fl.l_pid;
	close(fd);
	return rc;
}

void
pidfile_remove(const char *path, int fd)
{
	if (is_same_file(path, fd))
		(void)unlink(path);
	close(fd);
}

/* ---- detaching ------------------------------------------------------------------- */

int
daemonize(struct err *err)
{
	int null;
	pid_t pid;

	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null == -1)
		return err_errno(err, errno, "/dev/null");
	pid = fork();
	if (pid > 0)
		_exit(0);
	if (pid == 0) {
		if (setsid() == -1)
			_exit(1);
		pid = fork();
		if (pid > 0)
			_exit(0);
	}
	if (pid == -1) {
		err_errno(err, errno, "fork");
		close(null);
		return -1;
	}
	for (int fd = 0; fd <= 2; fd++)
		if (dup2(null, fd) == -1)
			return err_errno(err, errno, "/dev/null");
	if (null > 2)
		close(null);
	return 0;
}

/* ---- descriptors ----------------------------------------------------------------- */

int
fd_set_cloexec(int fd, struct err *err)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags == -1 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) == -1)
		return err_errno(err, errno, "close-on-exec of descriptor %d", fd);
	return 0;
}

int
fd_clear_cloexec(int fd, struct err *err)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags == -1 || fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC) == -1)
		return err_errno(err, errno, "inheriting descriptor %d", fd);
	return 0;
}

int
fd_set_nonblock(int fd, struct err *err)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1)
		return err_errno(err, errno, "non-blocking mode of descriptor %d", fd);
	return 0;
}

int
pipe_cloexec(int fds[2], struct err *err)
{
	if (pipe2(fds, O_CLOEXEC) != 0)
		return err_errno(err, errno, "pipe");
	return 0;
}

void
fd_close_from(int first)
{
	struct rlimit rl;
	int last = CLOSE_WITHOUT_HELP;

#ifdef SYS_close_range
	if (syscall(SYS_close_range, (unsigned)first, ~0u, 0u) == 0)
		return;
#endif
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < CLOSE_WITHOUT_HELP)
		last = (int)rl.rlim_cur;
	for (int fd = first; fd < last; fd++)
		close(fd);
}

size_t
nofile_raise(size_t max)
{
	struct rlimit rl;
	rlim_t want;

	if (getrlimit(RLIMIT_NOFILE, &rl) != 0)
		return 0;
	want = rl.rlim_max < max ? rl.rlim_max : max;
	if (want > rl.rlim_cur) {
		struct rlimit raised = {.rlim_cur = want, .rlim_max = rl.rlim_max};

		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			rl = raised;
	}
	return rl.rlim_cur;
}

ssize_t
file_read_small(const char *path, char *to, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = -1;

	if (fd == -1)
		return -1;
	while (len + 1 < size && (n = read(fd, to + len, size - 1 - len)) > 0)
		len += (size_t)n;
	to[len] = '\0';
	close(fd);
	return n < 0 ? -1 : (ssize_t)len;
}

/* pages; false: they cannot be read */
static bool
read_statm(const char *path, unsigned long long *resident, unsigned long long *shared)
{
	char text[128];
	unsigned long long size;

	return file_read_small(path, text, sizeof(text)) > 0 &&
	       sscanf(text, "%llu %llu %llu", &size, resident, shared) == 3;
}

size_t
memory_private_bytes(void)
{
	unsigned long long resident, shared;

	if (!read_statm("/proc/self/statm", &resident, &shared) || shared > resident)
		return 0;
	return (size_t)(resident - shared) * (size_t)sysconf(_SC_PAGESIZE);
}

size_t
memory_resident_bytes(pid_t pid)
{
	unsigned long long resident, shared;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	if (!read_statm(path, &resident, &shared))
		return 0;
	return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

int64_t
process_cpu_ms(pid_t pid)
{
	unsigned long long user, sys;
	char path[64], text[1024], *at;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (file_read_small(path, text, sizeof(text)) <= 0)
		return 0;
	/* the name may hold blanks and brackets; the fields begin behind the last one
	 */
	at = strrchr(text, ')');
	if (at == NULL ||
	    sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
		&user, &sys) != 2)
		return 0;
	return (
	    int64_t)((user + sys) * 1000 / (unsigned long long)sysconf(_SC_CLK_TCK));
}
