/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_help.c - shoal help: the commands, or one of them.
 */
#include <stdio.h>

#include "cli/cli.h"

static int
run(struct cli *cli)
{
	const struct cli_command *cmd;
	int rc;

	if ((rc = cli_operands(cli, 0, 1)) != 0)
		return rc;
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
		printf("  %-9s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
	puts("\nshoal help COMMAND tells about one. All take --json.\n\n"
	     "environment:\n"
	     "  SHOAL_URL           where applications reach a node, such as "
	     "http://127.0.0.1:8000\n"
	     "  SHOAL_API_KEY       the application's key (or --key-file FILE)\n"
	     "  SHOAL_PORTAL_URL    where developers reach it: bench counts finished "
	     "tasks there\n"
	     "  SHOAL_DATABASE_URL  for apps and keys, when no configuration is "
	     "given\n\n"
	     "exit status:\n"
	     "  0 done  1 task failed or request refused  2 not found  64 usage\n"
	     "  69 no node or database answers  75 not finished in time  77 the key is "
	     "refused");
	return CLI_OK;
}

const struct cli_command cli_help = {
    .name = "help",
    .usage = "[COMMAND]",
    .summary = "Shows the commands, or one of them.",
    .options = cli_no_options,
    .run = run,
};
