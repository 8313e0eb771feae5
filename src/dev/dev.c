/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dev.c - the supervisor of shoald --dev.
 *
 * Three children: PostgreSQL, Redis and an ordinary node, the same program with a
 * configuration of its own.  The supervisor starts the stores, prepares the
 * database, starts the node, passes signals on to it, starts a store again
 * that dies, and takes the stores down once the node is gone.
 *
 * All signals are blocked and taken one by one by sigtimedwait, so there is no handler
 * and nothing asynchronous: dev_turn() is the only place where the world is looked at.
 *
 * No child outlives us, however we end: each asks the kernel for a signal at our
 * death (spawn.c).  Each has a process group of its own, or a Ctrl-C would take the
 * stores from under a node that is still draining.
 */
#include "dev/dev.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "base/uuid.h"
#include "dev/devdir.h"
#include "dev/devstate.h"
#include "dev/devstore.h"
#include "dev/devtext.h"
#include "dev/spawn.h"
#include "model/settings.h"
#include "proc/procutil.h"
#include "store/admin.h"
#include "store/migrate.h"
#include "store/session.h"

#define TURN_MS		  20 /* between two looks at something that sends no signal */
#define IDLE_TURN_MS	  1000
#define ANSWER_TIMEOUT_MS 60000 /* a cluster may have to recover first */
#define START_TRIES	  3
#define STOP_TIMEOUT_MS	  10000
#define RESTART_MIN_MS	  100
#define RESTART_MAX_MS	  5000
#define YOUNG_MS	  10000
#define DEMO_APPLICATION  "demo"
#define OPTIONS_MAX	  1024

enum store_kind { STORE_POSTGRES = 0, STORE_REDIS, STORE_COUNT };

struct store_server {
	pid_t pid;	  /* 0: does not run */
	int64_t since_ms; /* when it was started */
	int64_t again_ms; /* when it is to be started again; 0: not waiting for that */
	int64_t pause_ms; /* before the next start */
	int status;	  /* of the last end */
	bool answered;	  /* once; from then on its port is settled */
	unsigned starts;
};

struct dev {
	struct devdir dir;
	struct devstate state;
	struct devstore store;
	char *const *options;
	/* in force for the node, once its configuration is written */
	struct settings *settings;
	struct store_server servers[STORE_COUNT];
	pid_t initdb;
	int initdb_status;
	pid_t node; /* 0: not started, or gone */
	int node_status;
	bool node_ended;
	bool leave; /* asked to end before there was a node */
	bool down;  /* stores that end stay down */
};

static const struct {
	const char *name;
	int stop_signals[2]; /* kindly, then firmly; after both comes KILL */
	int (*start)(const struct devstore *st, bool pick, pid_t *pid, struct err *err);
	int (*answers)(const struct devstore *st, struct err *err);
} kinds[STORE_COUNT] = {
    [STORE_POSTGRES] = {"postgres", {SIGINT, SIGQUIT}, devstore_postgres_start,
	devstore_postgres_answers},
    [STORE_REDIS] = {"redis", {SIGTERM, SIGTERM}, devstore_redis_start,
	devstore_redis_answers},
};

static const int node_signals[] = {
    SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGTTIN, SIGTTOU};

/* ------------------------------------------------------------------- one turn */

static void
store_ended(struct dev *d, enum store_kind kind, int status)
{
	struct store_server *sv = &d->servers[kind];
	int64_t now = clock_mono_ms();

	sv->pid = 0;
	sv->status = status;
	if (d->down || !sv->answered)
		return;
	if (now - sv->since_ms > YOUNG_MS || sv->pause_ms == 0)
		sv->pause_ms = RESTART_MIN_MS;
	else
		sv->pause_ms = sv->pause_ms * 2 > RESTART_MAX_MS ? RESTART_MAX_MS
								 : sv->pause_ms * 2;
	sv->again_ms = now + sv->pause_ms;
	log_warn(NULL, "private server ended, starting it again",
	    "server=%s wait_status=%#x pause_ms=%lld", kinds[kind].name,
	    (unsigned)status, (long long)sv->pause_ms);
}

static void
reap(struct dev *d)
{
	int status;
	pid_t pid;

	/* any child: as the first process of a container we inherit strangers too */
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == d->node) {
			d->node = 0;
			d->node_ended = true;
			d->node_status = status;
		} else if (pid == d->initdb) {
			d->initdb = 0;
			d->initdb_status = status;
		}
		for (int i = 0; i < STORE_COUNT; i++) {
			if (pid == d->servers[i].pid)
				store_ended(d, (enum store_kind)i, status);
		}
	}
}

static void
take_signal(struct dev *d, int sig)
{
	if (sig == SIGCHLD) {
		reap(d);
		return;
	}
	if (d->node > 0)
		kill(d->node, sig);
	else if (sig == SIGTERM || sig == SIGINT || sig == SIGQUIT)
		d->leave = true;
}

static void
signals_of_ours(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGCHLD);
	for (size_t i = 0; i < COUNT_OF(node_signals); i++)
		sigaddset(set, node_signals[i]);
}

static int
store_start(struct dev *d, enum store_kind kind, struct err *err)
{
	struct store_server *sv = &d->servers[kind];

	sv->again_ms = 0;
	sv->starts++;
	sv->since_ms = clock_mono_ms();
	return kinds[kind].start(&d->store, !sv->answered, &sv->pid, err);
}

static void
restart_due(struct dev *d, int64_t now)
{
	struct err err = ERR_INIT;

	for (int i = 0; i < STORE_COUNT; i++) {
		if (d->servers[i].again_ms == 0 || d->servers[i].again_ms > now ||
		    d->down)
			continue;
		if (store_start(d, (enum store_kind)i, &err) == 0)
			continue;
		log_error(NULL, "private server cannot be started",
		    "server=%s reason=\"%s\"", kinds[i].name, err.text);
		d->servers[i].again_ms = now + RESTART_MAX_MS;
	}
}

/* waits for news for at most timeout_ms and deals with it */
static void
dev_turn(struct dev *d, int64_t timeout_ms)
{
	int64_t now = clock_mono_ms(), until = now + timeout_ms;
	struct timespec ts;
	sigset_t set;
	int sig;

	for (int i = 0; i < STORE_COUNT; i++) {
		if (d->servers[i].again_ms != 0 && d->servers[i].again_ms < until)
			until = d->servers[i].again_ms;
	}
	timeout_ms = until > now ? until - now : 0;
	ts.tv_sec = timeout_ms / 1000;
	ts.tv_nsec = timeout_ms % 1000 * 1000000;
	signals_of_ours(&set);
	sig = sigtimedwait(&set, NULL, &ts);
	if (sig > 0)
		take_signal(d, sig);
	restart_due(d, clock_mono_ms());
}

/* ------------------------------------------------------------------- starting */

/* why a server did not start is in its log, which may be removed with the directory */
static void
show_log(const struct dev *d, const char *name)
{
	char file[32], path[DEVDIR_PATH_SIZE], text[2048];
	size_t n;
	FILE *f;

	snprintf(file, sizeof(file), "%s.log", name);
	f = fopen(devdir_path(&d->dir, file, path), "re");
	if (f == NULL)
		return;
	if (fseek(f, -(long)(sizeof(text) - 1), SEEK_END) != 0)
		rewind(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	fclose(f);
	fprintf(stderr, "--- the end of %s:\n%s---\n", path, text);
}

static int
left(struct err *err)
{
	return err_set(err, ERR_CLOSED, "told to end while starting");
}

static int
make_cluster(struct dev *d, struct err *err)
{
	if (devstore_has_cluster(&d->store))
		return 0;
	if (devstore_initdb_start(&d->store, &d->initdb, err) != 0)
		return -1;
	while (d->initdb != 0) {
		dev_turn(d, IDLE_TURN_MS);
		if (d->leave && d->initdb != 0)
			kill(d->initdb, SIGTERM);
	}
	if (d->leave)
		return left(err);
	if (devstore_initdb_done(&d->store, d->initdb_status, err) != 0) {
		show_log(d, "postgres");
		return -1;
	}
	return 0;
}

static int
await_store(struct dev *d, enum store_kind kind, struct err *err)
{
	struct store_server *sv = &d->servers[kind];
	int64_t deadline = clock_mono_ms() + ANSWER_TIMEOUT_MS;
	struct err why = ERR_INIT;

	while (!d->leave) {
		if (sv->pid == 0 && sv->starts >= START_TRIES) {
			show_log(d, kinds[kind].name);
			return err_set(err, ERR_IO, "%s ended at once, wait status %#x",
			    kinds[kind].name, (unsigned)sv->status);
		}
		/* somebody may have been faster with the port */
		if (sv->pid == 0 && store_start(d, kind, err) != 0)
			return -1;
		if (kinds[kind].answers(&d->store, &why) == 0) {
			sv->answered = true;
			return 0;
		}
		if (clock_mono_ms() > deadline) {
			show_log(d, kinds[kind].name);
			return err_set(err, ERR_TIMEOUT, "%s does not answer: %s",
			    kinds[kind].name, why.text);
		}
		dev_turn(d, TURN_MS);
	}
	return left(err);
}

struct key_search {
	const char *public_id;
	bool live;
};

/* a row of admin_key_list: public id, application, label, created_at, expires_at,
 * revoked_at */
static int
key_row(int columns, const char *const values[], void *arg)
{
	struct key_search *search = arg;

	if (columns >= 6 && str_eq(values[0], search->public_id) && values[5] == NULL)
		search->live = true;
	return search->live;
}

static int
make_key(struct dev *d, struct session *se, struct err *err)
{
	struct apikey key;
	struct key_search search = {.public_id = key.public_id};

	if (apikey_parse(d->state.api_key, strlen(d->state.api_key), &key)) {
		if (admin_key_list(se, DEMO_APPLICATION, key_row, &search, err) != 0)
			return -1;
		explicit_bzero(&key, sizeof(key));
		if (search.live)
			return 0;
	}
	if (admin_key_create(
		se, DEMO_APPLICATION, "shoald --dev", 0, NULL, &key, err) != 0)
		return -1;
	str_copy(d->state.api_key, sizeof(d->state.api_key), key.text);
	explicit_bzero(&key, sizeof(key));
	return devstate_save(&d->state, &d->dir, err);
}

static int
make_application(struct dev *d, const struct settings *settings, struct err *err)
{
	struct session *se =
	    session_open(settings->database_url, settings->database_password, err);
	int rc;

	if (se == NULL)
		return -1;
	rc = admin_app_create(se, DEMO_APPLICATION, NULL, err);
	if (rc != 0 && err->code == ERR_CONFLICT) {
		err_clear(err);
		rc = 0;
	}
	if (rc == 0)
		rc = make_key(d, se, err);
	session_close(se);
	return rc;
}

static int
write_text(struct dev *d, const char *name, struct strbuf *sb, struct err *err)
{
	int rc = strbuf_failed(sb) ? err_set(err, ERR_NOMEM, "%s", name)
				   : devdir_write(&d->dir, name, sb->data, err);

	strbuf_fini(sb);
	return rc;
}

/* made once: what is in the database was sealed with it */
static int
make_keys(struct dev *d, struct err *err)
{
	char path[DEVDIR_PATH_SIZE], text[64] = "dev ";
	unsigned char bytes[32];
	int rc;

	if (access(devdir_path(&d->dir, DEV_KEY_FILE, path), F_OK) == 0)
		return 0;
	random_bytes(bytes, sizeof(bytes));
	EVP_EncodeBlock((unsigned char *)text + 4, bytes, sizeof(bytes));
	rc = devdir_write(&d->dir, DEV_KEY_FILE, text, err);
	explicit_bzero(bytes, sizeof(bytes));
	explicit_bzero(text, sizeof(text));
	return rc;
}

/* the configuration is written and read back as the node will read it */
static int
make_settings(struct dev *d, struct err *err)
{
	char path[DEVDIR_PATH_SIZE];
	struct strbuf sb;

	if (make_keys(d, err) != 0)
		return -1;
	strbuf_init(&sb, DEVTEXT_MAX);
	devtext_conf(&d->store, &sb);
	if (write_text(d, "shoald.conf", &sb, err) != 0)
		return -1;
	d->settings = settings_load(
	    devdir_path(&d->dir, "shoald.conf", path), environ, d->options, err);
	return d->settings == NULL ? -1 : 0;
}

static int
node_start(struct dev *d, struct err *err)
{
	char conf[DEVDIR_PATH_SIZE], program[PATH_MAX];
	char *argv[OPTIONS_MAX];
	struct spawn_spec spec = {
	    .argv = argv, .env = environ, .out_fd = -1, .death_signal = SIGTERM};
	size_t n = 0;
	ssize_t len;

	/* by its name, so that ps shows it; by the link when the file was replaced
	 * since */
	len = readlink("/proc/self/exe", program, sizeof(program) - 1);
	if (len > 0)
		program[len] = '\0';
	if (len <= 0 || access(program, X_OK) != 0)
		str_copy(program, sizeof(program), "/proc/self/exe");
	argv[n++] = program;
	argv[n++] = (char *)"-c";
	argv[n++] = devdir_path(&d->dir, "shoald.conf", conf);
	for (size_t i = 0; d->options != NULL && d->options[i] != NULL; i++) {
		if (n + 3 > OPTIONS_MAX)
			return err_set(
			    err, ERR_LIMIT, "more than %d options", OPTIONS_MAX / 2);
		argv[n++] = (char *)"-o";
		argv[n++] = d->options[i];
	}
	argv[n] = NULL;
	if (setenv(DEV_ENV, "1", 1) != 0)
		return err_errno(err, errno, "environment");
	spec.env = environ;
	return spawn(&spec, &d->node, err);
}

/* a node of an earlier run whose supervisor was killed is draining: it need not take
 * its time */
static int
end_old_node(struct dev *d, struct err *err)
{
	int64_t deadline = clock_mono_ms() + STOP_TIMEOUT_MS;
	char path[DEVDIR_PATH_SIZE];
	bool told = false;
	pid_t pid;

	devdir_path(&d->dir, "shoald.pid", path);
	while (pidfile_read(path, &pid, NULL) == 0) {
		if (clock_mono_ms() > deadline + STOP_TIMEOUT_MS)
			return err_set(err, ERR_TIMEOUT,
			    "the node of an earlier run, pid %ld, does not end",
			    (long)pid);
		if (clock_mono_ms() > deadline)
			kill(pid, SIGKILL);
		else if (!told)
			kill(pid, SIGTERM);
		told = true;
		dev_turn(d, TURN_MS);
		if (d->leave)
			return left(err);
	}
	return 0;
}

static int
dev_start(struct dev *d, struct err *err)
{
	struct strbuf sb;

	if (devdir_remove(&d->dir, "env", err) != 0 || end_old_node(d, err) != 0 ||
	    devstore_end_leftovers(&d->store, err) != 0)
		return -1;
	if (store_start(d, STORE_REDIS, err) != 0 || make_cluster(d, err) != 0 ||
	    store_start(d, STORE_POSTGRES, err) != 0)
		return -1;
	if (await_store(d, STORE_REDIS, err) != 0 ||
	    await_store(d, STORE_POSTGRES, err) != 0)
		return -1;
	if (devstore_create_database(&d->store, err) != 0 || make_settings(d, err) != 0)
		return -1;
	if (migrate_run(d->settings, "", err) != 0)
		return err_wrap(err, "schema");
	if (make_application(d, d->settings, err) != 0)
		return err_wrap(err, "demo application");
	if (d->leave)
		return left(err);
	if (node_start(d, err) != 0)
		return -1;
	strbuf_init(&sb, DEVTEXT_MAX);
	devtext_env(d->settings, d->state.api_key, &sb);
	return write_text(d, "env", &sb, err);
}

/* -------------------------------------------------------------------- running */

static bool
node_listens(const struct dev *d)
{
	struct addr a;
	bool ok, tls;
	int fd;

	if (devtext_first_address(d->settings->listen_applications, &a, &tls) != 0)
		return true; /* nothing that we could ask */
	fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	ok = connect(fd, &a.sa, a.len) == 0;
	close(fd);
	return ok;
}

static void
dev_run(struct dev *d)
{
	bool greeted = false;

	while (!d->node_ended) {
		dev_turn(d, greeted ? IDLE_TURN_MS : TURN_MS);
		if (!greeted && d->node > 0 && node_listens(d)) {
			devtext_welcome(d->settings, &d->dir, d->state.api_key, stdout);
			greeted = true;
		}
	}
}

static bool
any_store_runs(const struct dev *d)
{
	for (int i = 0; i < STORE_COUNT; i++) {
		if (d->servers[i].pid > 0)
			return true;
	}
	return d->initdb > 0;
}

static void
signal_stores(const struct dev *d, int step)
{
	for (int i = 0; i < STORE_COUNT; i++) {
		if (d->servers[i].pid <= 0)
			continue;
		if (step > 0)
			log_warn(NULL, "private server does not end",
			    "server=%s step=%d", kinds[i].name, step);
		kill(d->servers[i].pid,
		    step < 2 ? kinds[i].stop_signals[step] : SIGKILL);
	}
	if (d->initdb > 0)
		kill(d->initdb, step < 2 ? SIGTERM : SIGKILL);
}

/* the node first: it gives back what it holds while its stores still answer */
static void
dev_stop(struct dev *d)
{
	int64_t until;

	while (d->node > 0) {
		kill(d->node,
		    SIGTERM); /* only after a failed start: otherwise it is gone */
		dev_turn(d, IDLE_TURN_MS);
	}
	d->down = true;
	for (int step = 0; any_store_runs(d); step += step < 2) {
		signal_stores(d, step);
		until = clock_mono_ms() + STOP_TIMEOUT_MS;
		while (any_store_runs(d) && clock_mono_ms() < until)
			dev_turn(d, until - clock_mono_ms());
	}
}

/* where the stores' programs are: environment and options alone, before there is a
 * configuration */
static int
find_programs(struct dev *d, struct err *err)
{
	struct settings *settings = settings_load(NULL, environ, d->options, err);
	int rc;

	if (settings == NULL)
		return -1;
	rc = devstore_init(&d->store, &d->dir, &d->state, settings, err);
	settings_free(settings);
	return rc;
}

static int
run_in_dir(struct dev *d, struct err *err)
{
	struct err ignored = ERR_INIT;
	int rc = -1;

	if (devstate_load(&d->state, &d->dir, err) != 0 || find_programs(d, err) != 0)
		return -1;
	if (dev_start(d, err) == 0) {
		dev_run(d);
		rc = WIFEXITED(d->node_status) ? WEXITSTATUS(d->node_status)
					       : 128 + WTERMSIG(d->node_status);
	}
	dev_stop(d);
	/* a shell that reads it later would talk to whoever has the ports then */
	if (devdir_remove(&d->dir, "env", &ignored) != 0)
		log_warn(NULL, "file stays", "reason=\"%s\"", ignored.text);
	return rc;
}

int
dev_main(const char *dir, char *const options[], struct err *err)
{
	struct dev *d = mem_zero(sizeof(*d));
	struct sigaction dfl = {.sa_handler = SIG_DFL}, was;
	sigset_t set, old;
	int rc = -1;

	if (d == NULL)
		return err_set(err, ERR_NOMEM, "dev");
	if (unsetenv("SHOALD_CONFIG") != 0)
		log_warn(NULL, "SHOALD_CONFIG stays in force", "%s", "");
	d->options = options;
	log_identity("dev");
	signals_of_ours(&set);
	sigprocmask(SIG_BLOCK, &set, &old);
	/* a parent that ignores it would have our children reaped without us */
	sigaction(SIGCHLD, &dfl, &was);
	if (devdir_open(&d->dir, dir, err) == 0) {
		rc = run_in_dir(d, err);
		devdir_close(&d->dir);
	}
	sigaction(SIGCHLD, &was, NULL);
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (rc == -1 && d->leave)
		rc = 0; /* what was asked for */
	settings_free(d->settings);
	explicit_bzero(d, sizeof(*d));
	mem_free(d);
	return rc;
}
