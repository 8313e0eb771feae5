/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_help.c - shoal help: the commands, or one of them, or everything.
 *
 * help --all --json is for what completes command lines in shells and checks manuals:
 * it says what the tables say, and nothing that is not in them.
 */
#include <stdio.h>

#include "base/jsonw.h"
#include "base/strbuf.h"
#include "cli/cli.h"

#define JSON_MOST (1u << 20)

static void
show_all(void)
{
	for (size_t i = 0; cli_commands[i] != NULL; i++) {
		if (i > 0)
			putchar('\n');
		cli_print_help(stdout, cli_commands[i]);
	}
}

static int
show_json(const struct cli *cli)
{
	struct err err = ERR_INIT;
	struct strbuf out;
	struct jsonw w;
	int rc = CLI_OK;

	strbuf_init(&out, JSON_MOST);
	jsonw_init(&w, &out);
	jsonw_object(&w);
	jsonw_key(&w, "commands");
	jsonw_array(&w);
	for (size_t i = 0; cli_commands[i] != NULL; i++)
		cli_put_command(&w, cli_commands[i]);
	jsonw_end(&w);
	jsonw_end(&w);
	if (strbuf_failed(&out)) {
		err_set(&err, ERR_NOMEM, "help");
		rc = cli_error(cli, &err);
	} else {
		cli_put_json(out.data, out.len);
	}
	strbuf_fini(&out);
	return rc;
}

static int
run(struct cli *cli)
{
	const struct cli_command *cmd;
	int rc;

	if ((rc = cli_operands(cli, 0, 1)) != 0)
		return rc;
	if (args_has(&cli->args, "all")) {
		if (cli->args.operand_count > 0)
			return cli_usage(cli, "--all is all commands");
		if (cli->json)
			return show_json(cli);
		show_all();
		return CLI_OK;
	}
	if (cli->args.operand_count == 1) {
		cmd = cli_find(cli->args.operands[0]);
		if (cmd == NULL)
			return cli_usage(
			    cli, "there is no command '%s'", cli->args.operands[0]);
		cli_print_help(stdout, cmd);
		return CLI_OK;
	}
	puts("usage: shoal COMMAND [options] [operands]\n\ncommands:");
	for (size_t i = 0; cli_commands[i] != NULL; i++)
		printf("  %-10s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
	puts("\nshoal help COMMAND tells about one. All take --json.\n\n"
	     "environment:\n"
	     "  SHOAL_URL           where applications reach a node, such as "
	     "http://127.0.0.1:8000\n"
	     "  SHOAL_API_KEY       the application's key (or --key-file FILE)\n"
	     "  SHOAL_PORTAL_URL    where developers reach it: for nodes, drain, top, "
	     "and bench\n"
	     "  SHOAL_ACCESS_TOKEN  access.token of the nodes, for the same (or "
	     "--token-file FILE)\n"
	     "  SHOAL_CA_FILE       authorities for https (or --ca-file FILE)\n"
	     "  SHOAL_DATABASE_URL  for apps and keys, when no configuration is "
	     "given\n\n"
	     "exit status:\n"
	     "  0 done  1 task failed or request refused  2 not found  64 usage\n"
	     "  69 no node or database answers  75 not finished in time  77 the key is "
	     "refused");
	return CLI_OK;
}

static const struct args_option options[] = {
    {'a', "all", ARGS_FLAG, NULL,
	"Everything of every command; with --json for programs."},
    {.name = NULL},
};

const struct cli_command cli_help = {
    .name = "help",
    .usage = "[COMMAND] | --all",
    .summary = "Shows the commands, or one of them.",
    .options = options,
    .run = run,
};
