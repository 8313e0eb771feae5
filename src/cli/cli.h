/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cli.h - the shoal program: one descriptor a command, and what all commands share.
 *
 * A command is one file cmd_NAME.c with one struct cli_command, named in the table in
 * cli.c.  Human output by default, raw JSON with --json; errors are one line on
 * standard error.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/jsonw.h"
#include "cli/args.h"
#include "cli/client.h"
#include "cli/target.h"

/* exit statuses; shoal(1) documents them, sysexits.h has the larger ones */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,	      /* the task failed, or the request was refused */
	CLI_NOT_FOUND = 2,    /* no such task, application or key */
	CLI_USAGE = 64,	      /* the command line */
	CLI_UNAVAILABLE = 69, /* no node, or no database, answers */
	CLI_TIMEOUT = 75,     /* not finished within the time */
	CLI_DENIED = 77,      /* the key is missing, wrong, or may not */
};

/* which common options a command takes */
enum cli_needs {
	CLI_NOTHING = 0,
	CLI_SERVER = 1,	  /* a node, as an application */
	CLI_DATABASE = 2, /* the settings, for the database */
	CLI_PORTAL = 4,	  /* a node, as an operator */
};

struct cli;

struct cli_command {
	const char *name;
	const char *usage;   /* behind the name: "TYPE [JSON|-]" */
	const char *summary; /* one line for the list of commands */
	const char *help;    /* paragraphs for shoal help NAME; NULL: none */
	unsigned needs;
	const struct args_option *options;
	int (*run)(struct cli *cli); /* an enum cli_exit */
};

struct cli {
	const struct cli_command *command;
	struct args args;
	bool json;
	struct tlsclient *tls; /* once an https URL was met */
	struct target target;  /* filled by cli_connect */
	struct client *client; /* the same; NULL before */
};

/* all of them, NULL-terminated */
extern const struct cli_command *const cli_commands[];
extern const struct args_option cli_no_options[];

/* the whole program, but for main; argv[0] is "shoal" */
int cli_main(int argc, char *argv[]);
const struct cli_command *cli_find(const char *name);
void cli_print_help(FILE *out, const struct cli_command *cmd);
/* the same tables as an object, common options too */
void cli_put_command(struct jsonw *w, const struct cli_command *cmd);
/* all options that a command takes, NULL behind the last table */
#define CLI_TABLES 6
void cli_tables(
    const struct cli_command *cmd, const struct args_option *tables[CLI_TABLES]);

/* "shoal: NAME: text" on standard error; each returns the exit status to leave with */
int cli_error(const struct cli *cli, const struct err *err);
int cli_usage(const struct cli *cli, const char *fmt, ...) ATTR_PRINTF(2, 3);
/* an answer that is no success: its code and detail, and with --json the document on
 * standard output */
int cli_problem(const struct cli *cli, const struct client_answer *answer);
int cli_exit_for_err(const struct err *err);
int cli_exit_for_status(int status);

/* once, of a command that needs CLI_SERVER: --url or SHOAL_URL, --key-file or
 * SHOAL_API_KEY; of one that needs CLI_PORTAL: --portal or SHOAL_PORTAL_URL,
 * --token-file or SHOAL_ACCESS_TOKEN; 0, or an exit status after saying why */
int cli_connect(struct cli *cli);
/* target_open, with --ca-file or SHOAL_CA_FILE for https */
int cli_target(struct cli *cli, struct target *t, const char *url, const char *secret,
    struct err *err) ATTR_CHECK;
/* operands between min and max; 0, or CLI_USAGE after saying so */
int cli_operands(const struct cli *cli, int min, int max);
/* bytes and a newline on standard output */
void cli_put_json(const char *bytes, size_t len);

extern const struct cli_command cli_submit, cli_get, cli_wait, cli_list, cli_schedules,
    cli_events, cli_log, cli_apps, cli_keys, cli_bench, cli_help, cli_version;
extern const struct cli_command cli_types, cli_endpoints, cli_secrets, cli_webhooks;
extern const struct cli_command cli_why, cli_queues, cli_pause, cli_resume;
extern const struct cli_command cli_complete;
extern const struct cli_command cli_cancel, cli_retry, cli_operations;
extern const struct cli_command cli_doctor, cli_drain, cli_lease, cli_nodes, cli_top;

#endif
