/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shoald.c - the node's program: reads its arguments and does one thing.
 *
 * Run a node, or check a configuration, signal a running node, ask it, migrate, write a
 * sample. What a node is, is in src/master and src/worker; here they are only put
 * together.
 *
 * New option?  A row in long_options, a case in parse(), a line in usage() and in
 * shoald.8.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/uuid.h"
#include "dev/dev.h"
#include "master/control.h"
#include "master/handover.h"
#include "master/master.h"
#include "model/command.h"
#include "model/settings.h"
#include "proc/procutil.h"
#include "store/migrate.h"
#include "tls/tlsbag.h"
#include "tls/tlsctx.h"
#include "worker/worker.h"

#define DEFAULT_CONFIG SHOAL_SYSCONFDIR "/shoald.conf"
#define ASK_TIMEOUT_MS 5000
#define OUTPUT_MAX     (1 << 20)
#define TOKEN_BYTES    32

enum exit_status {
	EXIT_OK = 0,
	EXIT_RUNTIME = 1,   /* could not do it now */
	EXIT_USAGE = 64,    /* sysexits: wrong arguments */
	EXIT_SETTINGS = 78, /* sysexits: the configuration has to be changed first */
};

enum command {
	DO_RUN = 0,
	DO_CHECK,
	DO_DUMP,
	DO_SIGNAL,
	DO_STATUS,
	DO_LOG_LEVEL,
	DO_MIGRATE,
	DO_INIT_CONFIG,
	DO_DEV,
	DO_VERSION,
	DO_HELP,
	DO_HELP_SETTINGS,
};

struct args {
	enum command command;
	const char *config; /* -c; NULL: the default one, if it is there */
	bool daemon, json;
	const char *signal_name; /* -s */
	const char *log_level;
	const char *dev_dir;
	char **options; /* -o, NULL-terminated */
	/* to be started so again, in our place; NULL: it cannot be found */
	char *program;
	char **argv;
};

/* where the settings come from, the same at each reload */
struct sources {
	char path[PATH_MAX]; /* "": no file */
	char **options;
};

enum {
	OPT_STATUS = 256,
	OPT_LOG_LEVEL,
	OPT_JSON,
	OPT_MIGRATE,
	OPT_INIT_CONFIG,
	OPT_DEV,
	OPT_HELP_SETTINGS
};

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"daemon", no_argument, NULL, 'd'},
    {"test", no_argument, NULL, 't'},
    {"dump", no_argument, NULL, 'T'},
    {"signal", required_argument, NULL, 's'},
    {"option", required_argument, NULL, 'o'},
    {"status", no_argument, NULL, OPT_STATUS},
    {"log-level", required_argument, NULL, OPT_LOG_LEVEL},
    {"json", no_argument, NULL, OPT_JSON},
    {"migrate", no_argument, NULL, OPT_MIGRATE},
    {"init-config", no_argument, NULL, OPT_INIT_CONFIG},
    {"dev", optional_argument, NULL, OPT_DEV},
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, 'h'},
    {"help-settings", no_argument, NULL, OPT_HELP_SETTINGS},
    {NULL, 0, NULL, 0},
};

static void
usage(FILE *out)
{
	fputs("usage: shoald [-c FILE] [-d] [-o SECTION.KEY=VALUE]...   run a node\n"
	      "       shoald -t | -T                check the configuration; -T also "
	      "shows it\n"
	      "       shoald -s stop|quit|reload|reopen|upgrade   signal the running "
	      "node\n"
	      "       shoald --status [--json]      what the running node does\n"
	      "       shoald --log-level LEVEL      how much the running node logs, "
	      "from now on\n"
	      "       shoald --migrate              bring the database's schema up to "
	      "date\n"
	      "       shoald --init-config          print a configuration file to "
	      "begin with\n"
	      "       shoald --dev[=DIR]            a whole cluster of one, for "
	      "development\n"
	      "       shoald --help-settings        every setting, its default and its "
	      "meaning\n"
	      "       shoald -V | -h                version; this text\n"
	      "-c and -o apply to all of them.  See shoald(8) and shoald.conf(5).\n",
	    out);
}

static int
complain(const struct err *err, enum exit_status status)
{
	fprintf(stderr, "shoald: %s\n", err->text);
	return (int)status;
}

/* what the caller of the program can do about an error */
static enum exit_status
status_of(const struct err *err)
{
	return err->code == ERR_INVALID || err->code == ERR_NOT_FOUND ? EXIT_SETTINGS
								      : EXIT_RUNTIME;
}

/* ---- arguments ---------------------------------------------------------------------
 */

static int
usage_error(const char *what)
{
	fprintf(stderr, "shoald: %s\n", what);
	usage(stderr);
	return -1;
}

static int
parse(int argc, char **argv, struct args *a)
{
	size_t options = 0;
	int c;

	while ((c = getopt_long(argc, argv, "c:dtTs:o:Vh", long_options, NULL)) != -1) {
		enum command command = DO_RUN;

		switch (c) {
		case 'c':
			a->config = optarg;
			break;
		case 'd':
			a->daemon = true;
			break;
		case 'o':
			a->options[options++] = optarg;
			break;
		case OPT_JSON:
			a->json = true;
			break;
		case 's':
			a->signal_name = optarg;
			command = DO_SIGNAL;
			break;
		case OPT_DEV:
			a->dev_dir = optarg;
			command = DO_DEV;
			break;
		case 't':
			command = DO_CHECK;
			break;
		case 'T':
			command = DO_DUMP;
			break;
		case OPT_STATUS:
			command = DO_STATUS;
			break;
		case OPT_LOG_LEVEL:
			a->log_level = optarg;
			command = DO_LOG_LEVEL;
			break;
		case OPT_MIGRATE:
			command = DO_MIGRATE;
			break;
		case OPT_INIT_CONFIG:
			command = DO_INIT_CONFIG;
			break;
		case OPT_HELP_SETTINGS:
			command = DO_HELP_SETTINGS;
			break;
		case 'V':
			command = DO_VERSION;
			break;
		case 'h':
			command = DO_HELP;
			break;
		default:
			usage(stderr);
			return -1;
		}
		/* -t -T together is -T; any other pair is a mistake */
		if (command == DO_RUN || (command == DO_CHECK && a->command == DO_DUMP))
			continue;
		if (a->command != DO_RUN && a->command != command &&
		    !(command == DO_DUMP && a->command == DO_CHECK))
			return usage_error("these options exclude each other");
		a->command = command;
	}
	if (optind < argc)
		return usage_error("arguments without an option are not understood");
	if (a->json && a->command != DO_STATUS)
		return usage_error("--json goes with --status");
	if (a->daemon && a->command != DO_RUN)
		return usage_error("-d is for running a node");
	if (a->config != NULL && a->command == DO_DEV)
		return usage_error("--dev makes its own configuration: use -o");
	return 0;
}

/* ---- settings ----------------------------------------------------------------------
 */

static int
find_sources(const struct args *a, struct sources *src, struct err *err)
{
	const char *path = a->config;
	size_t len;

	src->options = a->options;
	src->path[0] = '\0';
	if (path == NULL && getenv("SHOALD_CONFIG") == NULL &&
	    access(DEFAULT_CONFIG, F_OK) == 0)
		path = DEFAULT_CONFIG;
	if (path == NULL)
		return 0;
	/* a reload must find it again, wherever the process is then */
	if (path[0] != '/') {
		if (getcwd(src->path, sizeof(src->path)) == NULL)
			return err_errno(err, errno, "working directory");
		len = strlen(src->path);
		if (len + 1 < sizeof(src->path))
			src->path[len++] = '/';
	} else
		len = 0;
	if (!str_copy(src->path + len, sizeof(src->path) - len, path))
		return err_set(
		    err, ERR_INVALID, "the configuration's path is too long");
	return 0;
}

static struct settings *
load(const struct sources *src, struct err *err)
{
	return settings_load(
	    src->path[0] != '\0' ? src->path : NULL, environ, src->options, err);
}

static const char *
source_name(const struct sources *src)
{
	if (src->path[0] != '\0')
		return src->path;
	return getenv("SHOALD_CONFIG") != NULL ? "of SHOALD_CONFIG" : "without a file";
}

/*
 * The default places under SHOAL_RUNDIR are made for a service.  Somebody who just
 * starts a node has no rights there: that is no reason not to run, only not to be
 * found.
 */
static void
forgo_default_path(char **path)
{
	if (!str_starts(*path, SHOAL_RUNDIR "/"))
		return;
	if (mkdir(SHOAL_RUNDIR, 0755) == 0 || access(SHOAL_RUNDIR, W_OK) == 0)
		return;
	log_warn(
	    NULL, "no rights to the default place, going on without", "path=%s", *path);
	(*path)[0] = '\0';
}

static struct settings *
load_to_run(void *arg, struct err *err)
{
	struct settings *s = load(arg, err);

	if (s != NULL) {
		forgo_default_path(&s->node_pid_file);
		forgo_default_path(&s->node_control_socket);
	}
	return s;
}

/* whether the commands can be run as they say, on this machine and by this user */
static int
check_commands(const struct settings *s, struct err *err)
{
	struct commands *cs = commands_create(s, err);

	if (cs == NULL)
		return -1;
	commands_free(cs);
	return commands_check_files(s, err);
}

/* whether TLS can be spoken with what the files hold */
static int
check_certificates(const struct settings *s, struct err *err)
{
	struct tls_opts opts;
	struct tlsbag *bag;
	int rc;

	if (!settings_tls(s, &opts))
		return 0;
	bag = tlsbag_load(&opts, err);
	rc = bag == NULL ? -1 : tlsctx_check(bag, clock_wall_us() / 1000000, err);
	tlsbag_free(bag);
	return rc;
}

static int
check(const struct sources *src, bool dump)
{
	struct err err = ERR_INIT;
	struct settings *s = load(src, &err);
	struct strbuf out;

	if (s == NULL)
		return complain(&err, EXIT_SETTINGS);
	if (dump) {
		strbuf_init(&out, OUTPUT_MAX);
		settings_dump(s, &out);
		fputs(out.data, stdout);
		strbuf_fini(&out);
	} else if (check_commands(s, &err) != 0 || check_certificates(s, &err) != 0) {
		settings_free(s);
		return complain(&err, EXIT_SETTINGS);
	}
	settings_free(s);
	fflush(stdout);
	fprintf(stderr, "configuration %s is good\n", source_name(src));
	return EXIT_OK;
}

static int
print_sample(bool with_secrets)
{
	static const char row[] = "\n#token =";
	struct strbuf out;
	uint8_t secret[TOKEN_BYTES];
	char token[2 * TOKEN_BYTES + 1];
	const char *at;

	strbuf_init(&out, OUTPUT_MAX);
	conf_sample(&settings_schema, &out);
	if (strbuf_failed(&out)) {
		strbuf_fini(&out);
		fputs("shoald: out of memory\n", stderr);
		return EXIT_RUNTIME;
	}
	at = with_secrets ? strstr(out.data, row) : NULL;
	if (at == NULL)
		fputs(out.data, stdout);
	else {
		random_bytes(secret, sizeof(secret));
		str_hex(token, secret, sizeof(secret));
		printf("%.*s\ntoken = %s%s", (int)(at - out.data), out.data, token,
		    at + sizeof(row) - 1);
	}
	strbuf_fini(&out);
	return fflush(stdout) == 0 ? EXIT_OK : EXIT_RUNTIME;
}

/* ---- a running node ----------------------------------------------------------------
 */

static const struct {
	const char *name;
	int signo;
} signal_names[] = {
    {"stop", SIGTERM},
    {"quit", SIGQUIT},
    {"reload", SIGHUP},
    {"reopen", SIGUSR1},
    {"upgrade", SIGUSR2},
};

static int
send_signal(const struct sources *src, const char *name)
{
	struct err err = ERR_INIT;
	struct settings *s;
	pid_t pid = 0;
	int signo = -1, rc;

	for (size_t i = 0; i < COUNT_OF(signal_names); i++)
		if (str_eq(signal_names[i].name, name))
			signo = signal_names[i].signo;
	if (signo == -1) {
		usage_error("-s takes stop, quit, reload, reopen or upgrade");
		return EXIT_USAGE;
	}
	s = load(src, &err);
	if (s == NULL)
		return complain(&err, EXIT_SETTINGS);
	if (s->node_pid_file[0] == '\0')
		rc = err_set(&err, ERR_NOT_FOUND,
		    "node.pid_file is empty: the node cannot be found");
	else
		rc = pidfile_read(s->node_pid_file, &pid, &err);
	if (rc == 0 && kill(pid, signo) != 0)
		rc = err_errno(&err, errno, "signalling process %ld", (long)pid);
	settings_free(s);
	return rc == 0 ? EXIT_OK : complain(&err, EXIT_RUNTIME);
}

static int
ask_status(const struct sources *src, bool json)
{
	struct err err = ERR_INIT;
	struct settings *s = load(src, &err);
	int rc;

	if (s == NULL)
		return complain(&err, EXIT_SETTINGS);
	if (s->node_control_socket[0] == '\0')
		rc = err_set(&err, ERR_NOT_FOUND,
		    "node.control_socket is empty: the node cannot be asked");
	else
		rc = control_ask(s->node_control_socket, json ? "status" : "table",
		    stdout, ASK_TIMEOUT_MS, &err);
	settings_free(s);
	return rc == 0 ? EXIT_OK : complain(&err, EXIT_RUNTIME);
}

static int
ask_log_level(const struct sources *src, const char *name)
{
	struct err err = ERR_INIT;
	struct settings *s;
	enum log_level level;
	char command[32];
	int rc;

	if (!str_eq(name, "default") && log_level_parse(name, &level) != 0) {
		(void)usage_error(
		    "--log-level takes error, warn, info, debug or default");
		return EXIT_USAGE;
	}
	s = load(src, &err);
	if (s == NULL)
		return complain(&err, EXIT_SETTINGS);
	snprintf(command, sizeof(command), "log-level %s", name);
	if (s->node_control_socket[0] == '\0')
		rc = err_set(&err, ERR_NOT_FOUND,
		    "node.control_socket is empty: the node cannot be told");
	else
		rc = control_ask(
		    s->node_control_socket, command, stdout, ASK_TIMEOUT_MS, &err);
	settings_free(s);
	return rc == 0 ? EXIT_OK : complain(&err, EXIT_RUNTIME);
}

static int
migrate(const struct sources *src)
{
	struct err err = ERR_INIT;
	struct settings *s = load(src, &err);
	enum exit_status status;

	if (s == NULL)
		return complain(&err, EXIT_SETTINGS);
	status = migrate_apply(s, stdout, &err) == 0 ? EXIT_OK : status_of(&err);
	settings_free(s);
	return status == EXIT_OK ? EXIT_OK : complain(&err, status);
}

static int
dev(const struct args *a)
{
	struct err err = ERR_INIT;
	int status = dev_main(a->dev_dir, a->options, &err);

	return status == -1 ? complain(&err, status_of(&err)) : status;
}

/* ---- run ---------------------------------------------------------------------------
 */

/* what would only be noticed when nobody looks any more */
static int
check_daemon(const struct settings *s, struct err *err)
{
	bool daemon =
	    s->log_target == LOG_TO_SYSLOG || s->log_target == LOG_TO_JOURNALD;

	if (!daemon && (s->log_file[0] != '/' || s->log_target == LOG_TO_STDERR))
		return err_set(err, ERR_INVALID,
		    "-d needs log.file to be an absolute path, or log.target to be "
		    "syslog or journald: there is no standard error then");
	if (str_eq(s->log_access, "-"))
		return err_set(err, ERR_INVALID,
		    "-d needs log.access to be a file, or off: there is no standard "
		    "output then");
	return 0;
}

/* where who starts the node does not see it */
static bool
log_is_elsewhere(const struct settings *s)
{
	if (s->log_target == LOG_TO_AUTO)
		return !str_eq(s->log_file, "-");
	return s->log_target != LOG_TO_STDERR;
}

static int
start_log(const struct settings *s, struct err *err)
{
	const struct log_opts opts = {
	    .target = (enum log_target)s->log_target,
	    .format = (enum log_format)s->log_format,
	    .file = s->log_file,
	    .socket = s->log_socket,
	};

	return log_start(&opts, (enum log_level)s->log_level, err);
}

static int
check_alone(const struct settings *s, struct err *err)
{
	pid_t pid;

	if (s->node_pid_file[0] == '\0' ||
	    pidfile_read(s->node_pid_file, &pid, NULL) != 0)
		return 0;
	return err_set(err, ERR_CONFLICT, "a node runs already: process %ld holds %s",
	    (long)pid, s->node_pid_file);
}

static int
run_node(
    const struct args *a, struct sources *src, struct inheritance *in, struct err *err)
{
	struct settings *s = load_to_run(src, err);
	struct master_opts opts = {
	    .load = load_to_run,
	    .load_arg = src,
	    .worker = worker_main,
	    .migrate = migrate_run,
	    .title = src->path[0] != '\0' ? src->path : NULL,
	    /* whoever started it for --dev waits for its end: it stays this process */
	    .program = getenv(DEV_ENV) == NULL ? a->program : NULL,
	    .argv = a->argv,
	    .inheritance = in,
	};
	struct master *m;
	/* in place of another node, which is not alone, and is a daemon already */
	bool succeeds = in->channel != -1;
	bool elsewhere;
	int status = -1, channel = in->channel;

	if (s == NULL) {
		handover_failed(channel, err->text);
		inheritance_drop(in);
		return complain(err, EXIT_SETTINGS);
	}
	elsewhere = log_is_elsewhere(s);
	if ((a->daemon && check_daemon(s, err) != 0) ||
	    (!succeeds && check_alone(s, err) != 0) || start_log(s, err) != 0) {
		settings_free(s);
		handover_failed(channel, err->text);
		inheritance_drop(in);
		return complain(err, status_of(err));
	}
	/* bound and checked before it detaches: what fails until here is seen by who
	 * starts it */
	opts.settings = s;
	m = master_create(&opts, err);
	inheritance_drop(in); /* what it had no use for */
	if (m != NULL && (!a->daemon || succeeds || daemonize(err) == 0))
		status = master_run(m, err);
	if (status == -1) {
		log_error(NULL, "the node cannot start", "reason=\"%s\"", err->text);
		if (elsewhere)
			fprintf(stderr, "shoald: %s\n", err->text);
		handover_failed(channel, err->text);
		status = (int)status_of(err);
	}
	master_free(m);
	log_close();
	return status;
}

static int
run(const struct args *a, struct sources *src)
{
	struct err err = ERR_INIT;
	struct inheritance in;

	if (inheritance_take(&in, &err) == 0)
		return run_node(a, src, &in, &err);
	handover_failed(in.channel, err.text);
	return complain(&err, status_of(&err));
}

/* 0, 1 and 2 are never anything but the standard ones */
static void
fill_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd != -1 && fd <= 2);
	if (fd > 2)
		close(fd);
}

static int
dispatch(const struct args *a)
{
	struct err err = ERR_INIT;
	struct sources src;

	if (find_sources(a, &src, &err) != 0)
		return complain(&err, EXIT_SETTINGS);
	switch (a->command) {
	case DO_RUN:
		return run(a, &src);
	case DO_CHECK:
		return check(&src, false);
	case DO_DUMP:
		return check(&src, true);
	case DO_SIGNAL:
		return send_signal(&src, a->signal_name);
	case DO_STATUS:
		return ask_status(&src, a->json);
	case DO_LOG_LEVEL:
		return ask_log_level(&src, a->log_level);
	case DO_MIGRATE:
		return migrate(&src);
	case DO_INIT_CONFIG:
		return print_sample(true);
	case DO_HELP_SETTINGS:
		return print_sample(false);
	case DO_DEV:
		return dev(a);
	case DO_VERSION:
		puts("shoald " PACKAGE_VERSION);
		return EXIT_OK;
	case DO_HELP:
		usage(stdout);
		return EXIT_OK;
	}
	return EXIT_USAGE;
}

/* naming the process overwrites argv, so that what is parsed is a copy */
static char **
copy_arguments(int argc, char **argv)
{
	char **copy = mem_array((size_t)argc + 1, sizeof(*copy));

	for (int i = 0; copy != NULL && i < argc; i++) {
		copy[i] = mem_strdup(argv[i]);
		if (copy[i] == NULL)
			return NULL; /* the program ends */
	}
	return copy;
}

/*
 * Where the program was started from, as a path that stays good in any directory; not
 * what it leads to, so that a link to a new version leads there.  NULL: not found.
 */
static char *
program_path(const char *name)
{
	char path[PATH_MAX], directory[PATH_MAX];
	char *search, *rest, *part, *found = NULL;

	if (name == NULL)
		return NULL;
	if (strchr(name, '/') != NULL) {
		if (name[0] == '/')
			return mem_strdup(name);
		if (getcwd(directory, sizeof(directory)) == NULL ||
		    snprintf(path, sizeof(path), "%s/%s", directory, name) >=
			(int)sizeof(path))
			return NULL;
		return mem_strdup(path);
	}
	search = rest = mem_strdup(getenv("PATH") != NULL ? getenv("PATH") : "");
	while (rest != NULL && found == NULL && (part = strsep(&rest, ":")) != NULL) {
		if (part[0] == '/' &&
		    snprintf(path, sizeof(path), "%s/%s", part, name) <
			(int)sizeof(path) &&
		    access(path, X_OK) == 0)
			found = mem_strdup(path);
	}
	mem_free(search);
	return found;
}

int
main(int argc, char **argv)
{
	struct args a = {0};
	char **args;
	int status;

	fill_standard_descriptors();
	args = copy_arguments(argc, argv);
	a.options = mem_array((size_t)argc + 1, sizeof(*a.options));
	a.argv = args;
	if (args == NULL || a.options == NULL ||
	    proctitle_init(argc, argv, NULL) != 0) {
		fputs("shoald: out of memory\n", stderr);
		return EXIT_RUNTIME;
	}
	a.program = program_path(args[0]);
	status = parse(argc, args, &a) == 0 ? dispatch(&a) : (int)EXIT_USAGE;
	for (int i = 0; i < argc; i++)
		mem_free(args[i]);
	mem_free(args);
	mem_free(a.options);
	mem_free(a.program);
	return status;
}
