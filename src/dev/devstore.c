/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * devstore.c - the private PostgreSQL and Redis of shoald --dev.
 *
 * Knows the two programs: where they are, how they are started on 127.0.0.1 with a
 * password, and when they answer.  Whether they run, and what to do when they don't, is
 * dev.c's business.
 *
 * No password is ever an argument or a readable file: initdb reads it from a
 * file that exists for the moment, Redis reads its whole configuration from standard
 * input.
 */
#include "dev/devstore.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "dev/spawn.h"
#include "proc/procutil.h"
#include "store/session.h"

#define DATABASE	    "shoal"
#define ROLE		    "shoal"
#define ANSWER_TIMEOUT_MS   2000
#define LEFTOVER_TIMEOUT_MS 10000
#define LEFTOVER_PAUSE_MS   20

/* the stores get nothing of our environment: it may hold SHOALD_ secrets or odd PG*
 * variables */
static char store_path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
static char store_locale[] = "LC_ALL=C";
static char *const store_env[] = {store_path, store_locale, NULL};

/* ------------------------------------------------------------- the programs */

static bool
program_in(const char *dir, const char *name, char path[PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s/%s", dir, name);

	return n > 0 && n < PATH_MAX && access(path, X_OK) == 0;
}

static bool
program_in_path(const char *name, char path[PATH_MAX])
{
	const char *list = getenv("PATH");
	char dir[PATH_MAX];
	size_t len;

	for (; list != NULL && *list != '\0'; list += len + (list[len] == ':')) {
		len = strcspn(list, ":");
		if (len == 0 || len >= sizeof(dir) || list[0] != '/')
			continue;
		memcpy(dir, list, len);
		dir[len] = '\0';
		if (program_in(dir, name, path))
			return true;
	}
	return false;
}

static bool
postgres_in(struct devstore *st, const char *dir)
{
	return program_in(dir, "initdb", st->initdb) &&
	       program_in(dir, "postgres", st->postgres);
}

/* of several installed versions: the one that made our cluster, else the newest */
static bool
postgres_installed(struct devstore *st)
{
	char path[DEVDIR_PATH_SIZE], version[16] = "", best[PATH_MAX] = "";
	double newest = 0, v;
	glob_t g;
	ssize_t n;
	int fd;

	fd = open(
	    devdir_path(st->dir, "postgres/PG_VERSION", path), O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, version, sizeof(version) - 1);
		version[n > 0 ? strcspn(version, "\n") : 0] = '\0';
		close(fd);
	}
	if (glob("/usr/lib/postgresql/*/bin", 0, NULL, &g) != 0)
		return false;
	for (size_t i = 0; i < g.gl_pathc; i++) {
		v = strtod(g.gl_pathv[i] + strlen("/usr/lib/postgresql/"), NULL);
		if (version[0] != '\0' && v == strtod(version, NULL))
			v = 1e9;
		if (v > newest && postgres_in(st, g.gl_pathv[i]) &&
		    str_copy(best, sizeof(best), g.gl_pathv[i]))
			newest = v;
	}
	globfree(&g);
	return best[0] != '\0' && postgres_in(st, best);
}

int
devstore_init(struct devstore *st, const struct devdir *dir, struct devstate *state,
    const struct settings *settings, struct err *err)
{
	char initdb[PATH_MAX], *slash;

	memset(st, 0, sizeof(*st));
	st->dir = dir;
	st->state = state;
	st->fsync = settings->dev_fsync;
	if (settings->dev_postgres_bin[0] != '\0') {
		if (!postgres_in(st, settings->dev_postgres_bin))
			return err_set(err, ERR_NOT_FOUND,
			    "dev.postgres_bin: %s has no initdb and postgres",
			    settings->dev_postgres_bin);
	} else if (!postgres_installed(st)) {
		if (!program_in_path("initdb", initdb) ||
		    (slash = strrchr(initdb, '/')) == NULL)
			return err_set(err, ERR_NOT_FOUND,
			    "PostgreSQL is not installed: apt-get install "
			    "postgresql, or set dev.postgres_bin");
		*slash = '\0';
		if (!postgres_in(st, initdb))
			return err_set(
			    err, ERR_NOT_FOUND, "%s has no postgres", initdb);
	}
	if (settings->dev_redis_server[0] != '\0') {
		if (access(settings->dev_redis_server, X_OK) != 0 ||
		    !str_copy(st->redis_server, sizeof(st->redis_server),
			settings->dev_redis_server))
			return err_set(err, ERR_NOT_FOUND,
			    "dev.redis_server: no program at %s",
			    settings->dev_redis_server);
	} else if (!program_in_path("redis-server", st->redis_server)) {
		return err_set(err, ERR_NOT_FOUND,
		    "Redis is not installed: apt-get install redis-server, "
		    "or set dev.redis_server");
	}
	return 0;
}

/* ------------------------------------------------------------------- starting */

static int
log_open_for(const struct devstore *st, const char *name, int *fd, struct err *err)
{
	char path[DEVDIR_PATH_SIZE];

	*fd = open(devdir_path(st->dir, name, path),
	    O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	return *fd < 0 ? err_errno(err, errno, "%s", path) : 0;
}

static int
store_spawn(const struct devstore *st, char *const argv[], const char *cwd,
    const char *input, int death_signal, const char *log, pid_t *pid, struct err *err)
{
	struct spawn_spec spec = {
	    .argv = argv,
	    .env = store_env,
	    .cwd = cwd,
	    .input = input,
	    .death_signal = death_signal,
	    .drop = st->dir->drop,
	    .uid = st->dir->uid,
	    .gid = st->dir->gid,
	};
	int rc;

	if (log_open_for(st, log, &spec.out_fd, err) != 0)
		return -1;
	rc = spawn(&spec, pid, err);
	close(spec.out_fd);
	return rc;
}

bool
devstore_has_cluster(const struct devstore *st)
{
	char path[DEVDIR_PATH_SIZE];

	return access(devdir_path(st->dir, "postgres/PG_VERSION", path), F_OK) == 0;
}

/* for the moment of initdb, readable by the user that it runs as */
static int
password_write(const struct devstore *st, struct err *err)
{
	char path[DEVDIR_PATH_SIZE];

	if (devdir_write(
		st->dir, "initdb-password", st->state->database_password, err) != 0)
		return -1;
	if (st->dir->drop && lchown(devdir_path(st->dir, "initdb-password", path),
				 st->dir->uid, st->dir->gid) != 0)
		return err_errno(err, errno, "%s", path);
	return 0;
}

/* password hashing of the server that initdb belongs to: scram came with version 10 */
static bool
knows_scram(const struct devstore *st)
{
	char version[64] = "", *number;
	int fds[2];
	pid_t pid;
	ssize_t n;
	char *const argv[] = {(char *)st->initdb, (char *)"--version", NULL};
	struct spawn_spec spec = {
	    .argv = argv, .env = store_env, .death_signal = SIGKILL};

	if (pipe_cloexec(fds, NULL) != 0)
		return true;
	spec.out_fd = fds[1];
	if (spawn(&spec, &pid, NULL) != 0) {
		close(fds[0]);
		close(fds[1]);
		return true;
	}
	close(fds[1]);
	n = read(fds[0], version, sizeof(version) - 1);
	close(fds[0]);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	number = n > 0 ? strpbrk(version, "0123456789") : NULL;
	return number == NULL || strtol(number, NULL, 10) >= 10;
}

int
devstore_initdb_start(const struct devstore *st, pid_t *pid, struct err *err)
{
	char data[DEVDIR_PATH_SIZE], password[DEVDIR_PATH_SIZE + 16];
	char *argv[] = {(char *)st->initdb, (char *)"-D", data, (char *)"-U",
	    (char *)ROLE, (char *)"-E", (char *)"UTF8", (char *)"--locale=C",
	    (char *)"-A", (char *)(knows_scram(st) ? "scram-sha-256" : "md5"), password,
	    (char *)(st->fsync ? NULL : "-N"), NULL};
	char path[DEVDIR_PATH_SIZE];

	if (devdir_remove(st->dir, "postgres.new", err) != 0 ||
	    devdir_remove(st->dir, "postgres", err) != 0 ||
	    devdir_make(st->dir, "postgres.new", err) != 0 ||
	    password_write(st, err) != 0)
		return -1;
	devdir_path(st->dir, "postgres.new", data);
	snprintf(password, sizeof(password), "--pwfile=%s",
	    devdir_path(st->dir, "initdb-password", path));
	return store_spawn(st, argv, data, NULL, SIGTERM, "postgres.log", pid, err);
}

int
devstore_initdb_done(const struct devstore *st, int status, struct err *err)
{
	char made[DEVDIR_PATH_SIZE], data[DEVDIR_PATH_SIZE];

	if (devdir_remove(st->dir, "initdb-password", err) != 0)
		return -1;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return err_set(
		    err, ERR_IO, "initdb failed (wait status %#x)", (unsigned)status);
	if (rename(devdir_path(st->dir, "postgres.new", made),
		devdir_path(st->dir, "postgres", data)) != 0)
		return err_errno(err, errno, "%s", data);
	return 0;
}

int
devstore_postgres_start(
    const struct devstore *st, bool pick, pid_t *pid, struct err *err)
{
	char data[DEVDIR_PATH_SIZE], port[32], socket_dir[DEVDIR_PATH_SIZE + 32];
	char path[DEVDIR_PATH_SIZE];
	char *argv[] = {(char *)st->postgres, (char *)"-D", data, (char *)"-c",
	    (char *)"listen_addresses=127.0.0.1", (char *)"-c", port, (char *)"-c",
	    socket_dir, (char *)"-c", (char *)(st->fsync ? "fsync=on" : "fsync=off"),
	    (char *)"-c", (char *)"synchronous_commit=on", (char *)"-c",
	    (char *)"max_connections=200", (char *)"-c", (char *)"shared_buffers=256MB",
	    (char *)"-c", (char *)"logging_collector=off", (char *)"-c",
	    (char *)"log_destination=stderr", NULL};

	if (devdir_make(st->dir, "socket", err) != 0)
		return -1;
	if (pick && (devstate_pick_port(&st->state->database_port, err) != 0 ||
			devstate_save(st->state, st->dir, err) != 0))
		return err_wrap(err, "port for PostgreSQL");
	devdir_path(st->dir, "postgres", data);
	snprintf(port, sizeof(port), "port=%u", st->state->database_port);
	snprintf(socket_dir, sizeof(socket_dir), "unix_socket_directories=%s",
	    devdir_path(st->dir, "socket", path));
	/* INT is a fast shutdown: what is committed is flushed, clients are sent away
	 */
	return store_spawn(st, argv, data, NULL, SIGINT, "postgres.log", pid, err);
}

int
devstore_redis_start(const struct devstore *st, bool pick, pid_t *pid, struct err *err)
{
	char path[DEVDIR_PATH_SIZE], config[1024];
	char *const argv[] = {(char *)st->redis_server, (char *)"-", NULL};

	if (devdir_make(st->dir, "redis", err) != 0)
		return -1;
	if (pick && (devstate_pick_port(&st->state->redis_port, err) != 0 ||
			devstate_save(st->state, st->dir, err) != 0))
		return err_wrap(err, "port for Redis");
	devdir_path(st->dir, "redis", path);
	snprintf(config, sizeof(config),
	    "bind 127.0.0.1\nport %u\nrequirepass %s\ndir %s\nsave "
	    "\"\"\nappendonly no\n"
	    "daemonize no\nlogfile \"\"\nmaxmemory-policy noeviction\n",
	    st->state->redis_port, st->state->redis_password, path);
	return store_spawn(st, argv, path, config, SIGTERM, "redis.log", pid, err);
}

/* ------------------------------------------------------------------ answering */

static struct session *
database_open(const struct devstore *st, const char *database, struct err *err)
{
	char url[DEVSTORE_URL_SIZE];

	snprintf(url, sizeof(url), "postgresql://" ROLE "@127.0.0.1:%u/%s",
	    st->state->database_port, database);
	return session_open(url, st->state->database_password, err);
}

int
devstore_postgres_answers(const struct devstore *st, struct err *err)
{
	struct session *se = database_open(st, "postgres", err);

	if (se == NULL)
		return -1;
	session_close(se);
	return 0;
}

int
devstore_create_database(const struct devstore *st, struct err *err)
{
	struct session *se = database_open(st, "postgres", err);
	char one[8];
	int rc;

	if (se == NULL)
		return -1;
	rc = session_value(se,
	    "SELECT 1 FROM pg_database WHERE datname = '" DATABASE "'", 0, NULL, one,
	    sizeof(one), err);
	if (rc != 0 && err->code == ERR_NOT_FOUND) {
		err_clear(err);
		rc = session_run(se, "CREATE DATABASE " DATABASE, 0, NULL, err);
	}
	session_close(se);
	return rc;
}

static int
redis_status(redisContext *rc, const char *expected, struct err *err, const char *fmt,
    const char *arg)
{
	redisReply *reply = redisCommand(rc, fmt, arg);
	int result = 0;

	if (reply == NULL)
		return err_set(err, ERR_IO, "redis: %s", rc->errstr);
	if (reply->type != REDIS_REPLY_STATUS || !str_eq(reply->str, expected))
		result = err_set(
		    err, ERR_IO, "redis: %s", reply->str != NULL ? reply->str : "?");
	freeReplyObject(reply);
	return result;
}

int
devstore_redis_answers(const struct devstore *st, struct err *err)
{
	struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_MS / 1000};
	redisContext *rc =
	    redisConnectWithTimeout("127.0.0.1", st->state->redis_port, timeout);
	int result = -1;

	if (rc == NULL)
		return err_set(err, ERR_NOMEM, "redis");
	if (rc->err != 0 || redisSetTimeout(rc, timeout) != REDIS_OK)
		err_set(err, ERR_IO, "redis: %s", rc->errstr);
	else if (redis_status(rc, "OK", err, "AUTH %s", st->state->redis_password) == 0)
		result = redis_status(rc, "PONG", err, "PING%s", "");
	redisFree(rc);
	return result;
}

char *
devstore_database_url(const struct devstore *st, char buf[DEVSTORE_URL_SIZE])
{
	snprintf(buf, DEVSTORE_URL_SIZE,
	    "postgresql://" ROLE ":%s@127.0.0.1:%u/" DATABASE,
	    st->state->database_password, st->state->database_port);
	return buf;
}

char *
devstore_redis_url(const struct devstore *st, char buf[DEVSTORE_URL_SIZE])
{
	snprintf(buf, DEVSTORE_URL_SIZE, "redis://:%s@127.0.0.1:%u/0",
	    st->state->redis_password, st->state->redis_port);
	return buf;
}

/* ------------------------------------------------------------------ leftovers */

/* a process that works in DIR/name; each of our stores does, and its children too */
static bool
works_in(const struct devstore *st, pid_t pid, const char *name)
{
	char link[64], cwd[DEVDIR_PATH_SIZE], expected[DEVDIR_PATH_SIZE];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%ld/cwd", (long)pid);
	n = readlink(link, cwd, sizeof(cwd) - 1);
	if (n < 0)
		return false;
	cwd[n] = '\0';
	return str_eq(cwd, devdir_path(st->dir, name, expected));
}

/* signals every process that works in DIR/name; returns how many there are */
static unsigned
signal_all_in(const struct devstore *st, const char *name, int sig)
{
	unsigned count = 0;
	int64_t pid;
	glob_t g;

	if (glob("/proc/[0-9]*", GLOB_NOSORT, NULL, &g) != 0)
		return 0;
	for (size_t i = 0; i < g.gl_pathc; i++) {
		if (str_to_i64(g.gl_pathv[i] + strlen("/proc/"), &pid) != 0 ||
		    !works_in(st, (pid_t)pid, name))
			continue;
		count++;
		if (sig != 0)
			kill((pid_t)pid, sig);
	}
	globfree(&g);
	return count;
}

static int
end_leftover(const struct devstore *st, const char *name, int sig, struct err *err)
{
	int64_t deadline = clock_mono_ms() + LEFTOVER_TIMEOUT_MS;
	struct timespec pause = {.tv_nsec = LEFTOVER_PAUSE_MS * 1000000L};

	if (signal_all_in(st, name, sig) == 0)
		return 0;
	log_info(NULL, "waiting for a server of an earlier run", "server=%s", name);
	while (signal_all_in(st, name, clock_mono_ms() > deadline ? SIGKILL : 0) > 0) {
		if (clock_mono_ms() > deadline + LEFTOVER_TIMEOUT_MS)
			return err_set(err, ERR_TIMEOUT,
			    "%s of an earlier run in %s does not end", name,
			    st->dir->path);
		nanosleep(&pause, NULL);
	}
	return 0;
}

int
devstore_end_leftovers(const struct devstore *st, struct err *err)
{
	if (end_leftover(st, "postgres", SIGINT, err) != 0)
		return -1;
	return end_leftover(st, "redis", SIGTERM, err);
}
