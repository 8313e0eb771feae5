/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgserver.c - a private PostgreSQL server for tests; see pgserver.h.
 *
 * initdb and postgres refuse to run as root: then both run as postgres, or nobody, in a
 * directory that is theirs.
 */
#include "pgserver.h"

#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char bin[256];
static char dir[64];
static char url[160];
static pid_t server;
static uid_t uid;
static gid_t gid;

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static bool
find_binaries(void)
{
	const char *given = getenv("SHOAL_TEST_PG_BIN");
	char initdb[300];
	glob_t found;

	bin[0] = '\0';
	if (given != NULL) {
		snprintf(bin, sizeof(bin), "%s", given);
	} else if (glob("/usr/lib/postgresql/[0-9]*/bin", 0, NULL, &found) == 0) {
		snprintf(bin, sizeof(bin), "%s", found.gl_pathv[found.gl_pathc - 1]);
		globfree(&found);
	}
	snprintf(initdb, sizeof(initdb), "%s/initdb", bin);
	return bin[0] != '\0' && access(initdb, X_OK) == 0;
}

/* argv[0] is a name in bin */
static pid_t
spawn(const char *const argv[])
{
	char path[300], log[96];
	pid_t parent = getpid(), pid;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", bin, argv[0]);
	snprintf(log, sizeof(log), "%s/log", dir);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid > 0)
		return pid;
	if (uid != 0 &&
	    (setgroups(0, NULL) != 0 || setgid(gid) != 0 || setuid(uid) != 0))
		_exit(126);
	/* after setuid, which forgets it */
	if (prctl(PR_SET_PDEATHSIG, SIGQUIT) != 0 || getppid() != parent)
		_exit(126);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0 || chdir(dir) != 0)
		_exit(126);
	/* execv's const is one too few: it changes nothing */
	execv(path, (char *const *)(uintptr_t)argv);
	_exit(127);
}

bool
pgserver_open(void)
{
	const char *tmp = getenv("TMPDIR");
	struct passwd *pw;
	char data[96];
	/* clang-format off */
	const char *const initdb[] = {
		"initdb", "-D", data, "-U", "shoal", "-A", "trust", "-E", "UTF8",
		"--no-locale", "--no-sync", NULL,
	};
	/* clang-format on */
	int status;
	pid_t pid;

	if (!find_binaries())
		return false;
	/* a socket's path has to stay below 108 bytes */
	snprintf(dir, sizeof(dir), "%s/shoal-pg-XXXXXX",
	    tmp != NULL && strlen(tmp) < 30 ? tmp : "/tmp");
	if (mkdtemp(dir) == NULL)
		die(dir);
	if (geteuid() == 0) {
		pw = getpwnam("postgres");
		if (pw == NULL)
			pw = getpwnam("nobody");
		if (pw == NULL)
			return false;
		uid = pw->pw_uid;
		gid = pw->pw_gid;
		if (chown(dir, uid, gid) != 0)
			die(dir);
	}
	snprintf(url, sizeof(url), "host=%s port=5432 user=shoal dbname=postgres", dir);
	snprintf(data, sizeof(data), "%s/data", dir);
	pid = spawn(initdb);
	if (waitpid(pid, &status, 0) != pid || status != 0) {
		fprintf(stderr, "initdb failed: see %s/log\n", dir);
		exit(1);
	}
	pgserver_start();
	return true;
}

int
pgserver_missing(void)
{
	const char *ci = getenv("CI");

	fprintf(stderr, "no PostgreSQL server here: set SHOAL_TEST_PG_BIN\n");
	return ci != NULL && strcmp(ci, "true") == 0 ? 1 : 77;
}

void
pgserver_start(void)
{
	char data[96];
	/* clang-format off */
	const char *const argv[] = {
		"postgres", "-D", data, "-k", dir,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off",
		"-c", "shared_buffers=16MB", "-c", "max_connections=20", "-c", "autovacuum=off",
		NULL,
	};
	/* clang-format on */

	snprintf(data, sizeof(data), "%s/data", dir);
	server = spawn(argv);
}

static void
end_by(int signo)
{
	if (server == 0)
		return;
	kill(server, signo);
	if (waitpid(server, NULL, 0) != server)
		die("waitpid");
	server = 0;
}

void
pgserver_stop(void)
{
	end_by(SIGINT);
}

void
pgserver_kill(void)
{
	end_by(SIGQUIT);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void
pgserver_close(void)
{
	pgserver_stop();
	if (dir[0] != '\0')
		nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *
pgserver_dir(void)
{
	return dir;
}

const char *
pgserver_url(void)
{
	return url;
}
