/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cli.c - the shoal program's table of commands and what they share; see cli.h.
 *
 * Finds the command, reads its options, runs it.  Decides how errors look and which
 * exit status they have, so that scripts can rely on both.
 *
 * New command?  A file cmd_NAME.c with its descriptor, a line in cli.h and in the table
 * here, a section in man/shoal.1, and a line in cli.am.
 */
#include "cli/cli.h"

#include <assert.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/answer.h"
#include "tls/tlsclient.h"

const struct cli_command *const cli_commands[] = {
    &cli_submit,
    &cli_get,
    &cli_wait,
    &cli_list,
    &cli_schedules,
    &cli_events,
    &cli_log,
    &cli_why,
    &cli_queues,
    &cli_types,
    &cli_endpoints,
    &cli_webhooks,
    &cli_pause,
    &cli_resume,
    &cli_cancel,
    &cli_retry,
    &cli_operations,
    &cli_lease,
    &cli_top,
    &cli_nodes,
    &cli_drain,
    &cli_doctor,
    &cli_apps,
    &cli_keys,
    &cli_secrets,
    &cli_bench,
    &cli_complete,
    &cli_help,
    &cli_version,
    NULL,
};

const struct args_option cli_no_options[] = {{.name = NULL}};

static const struct args_option common_options[] = {
    {0, "json", ARGS_FLAG, NULL, "Print JSON, as it came, instead of text."},
    {'h', "help", ARGS_FLAG, NULL, "Show this help."},
    {.name = NULL},
};

static const struct args_option server_options[] = {
    {0, "url", ARGS_VALUE, "URL",
	"The node, or the load balancer. Default: SHOAL_URL."},
    {0, "key-file", ARGS_VALUE, "FILE", "Holds the API key. Default: SHOAL_API_KEY."},
    {0, "ca-file", ARGS_VALUE, "FILE",
	"Authorities for https, PEM. Default: SHOAL_CA_FILE, or the system's."},
    {.name = NULL},
};

static const struct args_option portal_options[] = {
    {0, "portal", ARGS_VALUE, "URL",
	"The node's address for developers. Default: SHOAL_PORTAL_URL."},
    {0, "token-file", ARGS_VALUE, "FILE",
	"Holds the access token. Default: SHOAL_ACCESS_TOKEN."},
    {0, "ca-file", ARGS_VALUE, "FILE",
	"Authorities for https, PEM. Default: SHOAL_CA_FILE, or the system's."},
    {.name = NULL},
};

static const struct args_option database_options[] = {
    {'c', "config", ARGS_VALUE, "FILE", "The node's configuration, for its database."},
    {'o', "option", ARGS_VALUE, "S.K=V",
	"A setting, as shoald takes it. May be given again."},
    {.name = NULL},
};

const struct cli_command *
cli_find(const char *name)
{
	for (size_t i = 0; cli_commands[i] != NULL; i++) {
		if (str_eq(cli_commands[i]->name, name))
			return cli_commands[i];
	}
	return NULL;
}

static const char *
nearest_command(const char *name)
{
	const char *nearest = NULL;
	unsigned best = 3;

	for (size_t i = 0; cli_commands[i] != NULL; i++) {
		unsigned d = str_distance(name, cli_commands[i]->name);

		if (d < best) {
			best = d;
			nearest = cli_commands[i]->name;
		}
	}
	return nearest;
}

void
cli_print_help(FILE *out, const struct cli_command *cmd)
{
	fprintf(out, "usage: shoal %s%s%s\n\n%s\n", cmd->name,
	    cmd->usage[0] != '\0' ? " " : "", cmd->usage, cmd->summary);
	if (cmd->help != NULL)
		fprintf(out, "\n%s\n", cmd->help);
	fputs("\noptions:\n", out);
	args_print(out, cmd->options);
	if (cmd->needs & CLI_SERVER)
		args_print(out, server_options);
	if (cmd->needs & CLI_PORTAL)
		args_print(out, portal_options);
	if (cmd->needs & CLI_DATABASE)
		args_print(out, database_options);
	args_print(out, common_options);
}

static void
put_options(struct jsonw *w, const struct args_option *table)
{
	static const char *const takes[] = {
	    [ARGS_FLAG] = "nothing",
	    [ARGS_VALUE] = "value",
	    [ARGS_OPTIONAL] = "optional",
	};
	char letter[2] = "";

	for (const struct args_option *o = table; o->name != NULL; o++) {
		letter[0] = o->letter;
		jsonw_object(w);
		jsonw_member_string(w, "name", o->name);
		jsonw_member_string(w, "letter", o->letter != 0 ? letter : NULL);
		jsonw_member_string(w, "takes", takes[o->kind]);
		jsonw_member_string(w, "value", o->value);
		jsonw_member_string(w, "help", o->help);
		jsonw_end(w);
	}
}

void
cli_put_command(struct jsonw *w, const struct cli_command *cmd)
{
	jsonw_object(w);
	jsonw_member_string(w, "name", cmd->name);
	jsonw_member_string(w, "usage", cmd->usage);
	jsonw_member_string(w, "summary", cmd->summary);
	jsonw_key(w, "options");
	jsonw_array(w);
	put_options(w, cmd->options);
	if (cmd->needs & CLI_SERVER)
		put_options(w, server_options);
	if (cmd->needs & CLI_PORTAL)
		put_options(w, portal_options);
	if (cmd->needs & CLI_DATABASE)
		put_options(w, database_options);
	put_options(w, common_options);
	jsonw_end(w);
	jsonw_end(w);
}

int
cli_exit_for_err(const struct err *err)
{
	switch (err->code) {
	case ERR_NONE:
		return CLI_OK;
	case ERR_NOT_FOUND:
		return CLI_NOT_FOUND;
	case ERR_TIMEOUT:
	case ERR_CLOSED:
	case ERR_IO:
		return CLI_UNAVAILABLE;
	default:
		return CLI_FAILED;
	}
}

int
cli_exit_for_status(int status)
{
	if (status >= 200 && status < 300)
		return CLI_OK;
	if (status == 404)
		return CLI_NOT_FOUND;
	if (status == 401 || status == 403)
		return CLI_DENIED;
	if (status == 429 || status >= 500)
		return CLI_UNAVAILABLE;
	return CLI_FAILED;
}

int
cli_error(const struct cli *cli, const struct err *err)
{
	fprintf(stderr, "shoal: %s: %s\n", cli->command->name, err->text);
	return cli_exit_for_err(err);
}

int
cli_usage(const struct cli *cli, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "shoal: %s: ", cli->command->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (shoal help %s tells more)\n", cli->command->name);
	return CLI_USAGE;
}

int
cli_problem(const struct cli *cli, const struct client_answer *answer)
{
	struct json_object *doc = answer_parse(answer->body, answer->len, NULL);
	const char *code = answer_text(doc, "code"),
		   *detail = answer_text(doc, "detail");
	char shown[400], shown_code[80];

	if (cli->json && doc != NULL)
		cli_put_json(answer->body, answer->len);
	if (detail == NULL)
		detail = answer_text(doc, "title");
	if (detail == NULL)
		detail =
		    cli->command->needs & CLI_PORTAL
			? "the answer says nothing more; is SHOAL_PORTAL_URL the "
			  "address for developers?"
			: "the answer says nothing more; is SHOAL_URL the address for "
			  "applications?";
	if (code == NULL)
		code = "error";
	str_printable(shown, sizeof(shown), detail, strlen(detail));
	str_printable(shown_code, sizeof(shown_code), code, strlen(code));
	fprintf(stderr, "shoal: %s: %d %s: %s%s\n", cli->command->name, answer->status,
	    shown_code, shown,
	    cli->command->needs & CLI_PORTAL &&
		    (answer->status == 401 || answer->status == 403)
		? " Set SHOAL_ACCESS_TOKEN, or give --token-file: the token is "
		  "access.token of the nodes."
		: "");
	json_object_put(doc);
	return cli_exit_for_status(answer->status);
}

int
cli_operands(const struct cli *cli, int min, int max)
{
	if (cli->args.operand_count < min)
		return cli_usage(cli, "something is missing: shoal %s %s",
		    cli->command->name, cli->command->usage);
	if (cli->args.operand_count > max)
		return cli_usage(cli, "'%s' is too much: shoal %s %s",
		    cli->args.operands[max], cli->command->name, cli->command->usage);
	return 0;
}

void
cli_put_json(const char *bytes, size_t len)
{
	fwrite(bytes, 1, len, stdout);
	if (len == 0 || bytes[len - 1] != '\n')
		putchar('\n');
}

int
cli_target(struct cli *cli, struct target *t, const char *url, const char *secret,
    struct err *err)
{
	struct tlsclient_opts opts = {
	    .ca_file = args_text(&cli->args, "ca-file"),
	    .hint = "; --ca-file names an authority of your own",
	};

	if (opts.ca_file == NULL)
		opts.ca_file = getenv("SHOAL_CA_FILE");
	/* the system's authorities are many: read only where they count */
	if (cli->tls == NULL && str_starts(url, "https://") &&
	    (cli->tls = tlsclient_create(&opts, err)) == NULL)
		return -1;
	return target_open(t, url, secret, cli->tls, err);
}

int
cli_connect(struct cli *cli)
{
	bool portal = (cli->command->needs & CLI_PORTAL) != 0;
	const char *url = args_text(&cli->args, portal ? "portal" : "url");
	const char *file = args_text(&cli->args, portal ? "token-file" : "key-file");
	const char *secret = getenv(portal ? "SHOAL_ACCESS_TOKEN" : "SHOAL_API_KEY");
	char from_file[TARGET_SECRET];
	struct err err = ERR_INIT;
	int rc;

	assert(cli->client == NULL);
	if (url == NULL)
		url = getenv(portal ? "SHOAL_PORTAL_URL" : "SHOAL_URL");
	if (url == NULL || url[0] == '\0')
		return portal
			   ? cli_usage(cli, "which node?  Set SHOAL_PORTAL_URL or give "
					    "--portal: its address for developers")
			   : cli_usage(cli,
				 "which node?  Set SHOAL_URL or give --url; "
				 "shoald --dev=DIR writes both it and a key to "
				 "DIR/env");
	if (file != NULL) {
		if (target_secret_file(file, from_file, &err) != 0) {
			cli_error(cli, &err);
			return CLI_DENIED;
		}
		secret = from_file;
	}
	rc = cli_target(cli, &cli->target, url, secret, &err);
	cli->target.developers = portal;
	explicit_bzero(from_file, sizeof(from_file));
	if (rc == 0)
		cli->client = client_create(&cli->target, &err);
	if (rc != 0 || cli->client == NULL) {
		rc = cli_error(cli, &err);
		return err.code == ERR_INVALID ? CLI_USAGE : rc;
	}
	return 0;
}

void
cli_tables(const struct cli_command *cmd, const struct args_option *tables[CLI_TABLES])
{
	size_t n = 0;

	tables[n++] = cmd->options;
	if (cmd->needs & CLI_SERVER)
		tables[n++] = server_options;
	if (cmd->needs & CLI_PORTAL)
		tables[n++] = portal_options;
	if (cmd->needs & CLI_DATABASE)
		tables[n++] = database_options;
	tables[n++] = common_options;
	tables[n] = NULL;
}

static int
run_command(struct cli *cli, int argc, char *argv[])
{
	const struct args_option *tables[CLI_TABLES];
	struct err err = ERR_INIT;
	int rc;

	cli_tables(cli->command, tables);
	if (args_parse(&cli->args, tables, argc, argv, &err) != 0)
		return cli_usage(cli, "%s", err.text);
	cli->json = args_has(&cli->args, "json");
	if (args_has(&cli->args, "help")) {
		cli_print_help(stdout, cli->command);
		return CLI_OK;
	}
	rc = cli->command->run(cli);
	client_free(cli->client);
	tlsclient_free(cli->tls);
	target_wipe(&cli->target);
	return rc;
}

int
cli_main(int argc, char *argv[])
{
	struct cli cli = {.command = NULL};
	const char *name = argc > 1 ? argv[1] : "help", *nearest;
	int rc;

	if (str_eq(name, "-h") || str_eq(name, "--help"))
		name = "help";
	if (str_eq(name, "-V") || str_eq(name, "--version"))
		name = "version";
	cli.command = cli_find(name);
	if (cli.command == NULL) {
		nearest = nearest_command(name);
		fprintf(stderr,
		    "shoal: there is no command %s%s%s%s (shoal help lists them)\n",
		    name, nearest != NULL ? "; " : "", nearest != NULL ? nearest : "",
		    nearest != NULL ? "?" : "");
		return CLI_USAGE;
	}
	rc = run_command(&cli, argc > 1 ? argc - 1 : argc, argc > 1 ? argv + 1 : argv);
	/* a full disk or a closed pipe must not look like success */
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fputs("shoal: standard output cannot be written\n", stderr);
		if (rc == CLI_OK)
			rc = CLI_FAILED;
	}
	return rc;
}
